"""Collects what is decided about rows until it is written: accepted, kept as candidates, rejected, repeated, and why.

Takes decisions one by one and turns them into frames once, at the end. Decides nothing and commits nothing.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from curate.manifest import ids as identity
from curate.manifest.rows import append_findings, has_label, repeat_origin, teacher_origin, write_findings
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, conform

__all__ = ["CANDIDATE_ROWS", "Decisions", "as_candidate_rows"]


# What a round judges: one line for each row of the manifest or new example.
CANDIDATE_ROWS = pl.Schema(
    {
        **dict.fromkeys(("id", "domain", "source", "origin", "kind"), pl.String()),
        **dict.fromkeys(("prompt", "answer", "rationale", "messages", "extra"), pl.String()),
        "finish_reason": pl.String(),
        "call_id": pl.Int64(),  # of the ledger; null where no teacher was asked
        "attempt": pl.Int64(),  # which sample of the row's rationale, from 0; null where none was asked for
        "parents": pl.List(pl.String()),
        "new": pl.Boolean(),  # not in the manifest yet
    }
)


class Decisions:
    """The decisions of one stage, or of one verb, over the rows that it starts from.

    Args:
        rows: every row of the version that it starts from, columns of `curate.manifest.schema.SCHEMA`.
        stage: the stage's index, from 0; None outside stages, where rows keep the stage that they have.
    """

    def __init__(self, rows: pl.DataFrame, *, stage: int | None) -> None:
        self._rows, self._stage = rows, stage
        self._decided: dict[str, dict[str, Any]] = {}  # id → the judged row with status, reason and findings
        self._reasons: list[pl.DataFrame] = []
        self._repeats: list[pl.DataFrame] = []

    def explain(self, reasons: pl.DataFrame) -> None:
        """Note why rows were chosen or not; columns id and reason, later notes win."""
        self._reasons.append(reasons.select("id", "reason"))

    def accept(self, row: dict[str, Any], findings: list[dict[str, Any]]) -> None:
        """Select a judged row (of `CANDIDATE_ROWS`)."""
        again = f"attempt {row['attempt']}: tried again, since its domain ran short" if row["attempt"] else None
        of_tail = "fills the tail" if row["source"] == "synthetic" else None
        self._record(row, "selected", again or of_tail, findings)

    def add_candidate(self, row: dict[str, Any], findings: list[dict[str, Any]]) -> None:
        """Keep a newly written row (of `CANDIDATE_ROWS`) as a candidate for later stages."""
        self._record(row, "candidate", "written for later stages", findings)

    def reject(self, row: dict[str, Any], auditor: str, findings: list[dict[str, Any]], *, keep_candidate: bool) -> None:
        """Reject a judged row (of `CANDIDATE_ROWS`), or with `keep_candidate` only this attempt at its rationale."""
        self._record(row, "candidate" if keep_candidate else "rejected", auditor, findings)

    def _record(self, row: dict[str, Any], status: str, reason: str | None, findings: list[dict[str, Any]]) -> None:
        marks = {"stage": self._stage, "attempt": row["attempt"], "call_id": row["call_id"]}
        earlier = self._decided.get(row["id"], {}).get("found", [])
        further = [{k: v for k, v in f.items() if k != "id"} | marks for f in findings]
        self._decided[row["id"]] = {**row, "status": status, "why": reason, "found": earlier + further}

    def repeat(self, domain: str, n: int) -> list[dict[str, Any]]:
        """Add `n` repeats of the domain's selected rows, in turn by id; return the id and the domain of what each repeats."""
        mine = self._rows.filter(has_label([domain]), split="train")
        known = dict(mine.select("id", "domain").iter_rows())
        chosen = [i for i, line in self._decided.items() if line["status"] == "selected"]
        filed = {i: self._decided[i]["domain"] for i in chosen if i in known or self._decided[i]["domain"] == domain}
        filed |= {i: known[i] for i in mine.filter(status="selected")["id"]}
        ids = sorted(filed)
        if not ids or n <= 0:
            return []
        parents = [ids[i % len(ids)] for i in range(n)]
        repeated = {parent for repeats in self._repeats for parent in repeats["parent"]}  # for another of their labels
        first = sum(repeats.height for repeats in self._repeats) if repeated & set(parents) else 0
        self._repeats.append(pl.DataFrame({"parent": parents, "turn": range(first, first + n)}))
        return [{"id": parent, "domain": filed[parent]} for parent in parents]

    def contents(self) -> pl.DataFrame:
        """Return the content rows to append before the commit: everything that was selected or newly written."""
        lines = self._lines()
        return lines.filter(pl.col("new") | (pl.col("status") == "selected")).select(CONTENT_SCHEMA.names())

    def rows(self) -> pl.DataFrame:
        """Return every row of the next version, in the order of the last one, new rows after them."""
        lines = self._lines()
        rows = self._explained(self._rows)
        selected = lines.filter(~pl.col("new"), status="selected").select(
            "id", "content", "n_chars", "status", "stage", "call_id", reason="why"
        )
        others = lines.filter(~pl.col("new"), pl.col("status") != "selected").select(
            "id", "status", "call_id", reason="why", stage=pl.when(status="rejected").then("stage")
        )
        rows = _overwrite(_overwrite(rows, selected), others)
        rows = _with_findings(rows, lines.filter(~pl.col("new")).select("id", further="findings"))
        written = lines.filter("new").with_columns(split=pl.lit("train"), reason="why")
        rows = pl.concat([rows, conform(written, SCHEMA, drop=True)])
        return pl.concat([rows, *(self._repeated(rows, repeats) for repeats in self._repeats)])

    def _explained(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not self._reasons:
            return rows
        reasons = pl.concat(self._reasons).unique("id", keep="last", maintain_order=True)
        return _overwrite(rows, reasons)

    def _lines(self) -> pl.DataFrame:
        """Return every decided row with its content key, size and findings as JSON."""
        schema = pl.Schema({**CANDIDATE_ROWS, "status": pl.String(), "why": pl.String(), "findings": pl.String()})
        lines = pl.DataFrame(
            [{**line, "findings": write_findings(line["found"])} for line in self._decided.values()], schema=schema
        )
        text = sum((pl.col(name).str.len_chars().fill_null(0) for name in ("prompt", "rationale", "answer")), start=pl.lit(0))
        return lines.with_columns(
            content=_content(lines),
            prompt_key=identity.prompt_keys(lines["prompt"]),
            n_chars=text.cast(pl.Int32),
            stage=pl.lit(self._stage, pl.Int32),
        )

    def _repeated(self, rows: pl.DataFrame, repeats: pl.DataFrame) -> pl.DataFrame:
        """Return copies of selected rows as rows of their own, each with its original as parent."""
        copies = repeats.join(rows, left_on="parent", right_on="id", maintain_order="left")
        copies = copies.with_columns(
            origin=repeat_origin(self._stage),
            parents=pl.concat_list("parent"),
            reason=pl.lit("repeated: the domain has no other row"),
            stage=pl.lit(self._stage, pl.Int32),
            findings=pl.lit(None, pl.String),
        )
        keyed = copies.with_columns(split=pl.concat_str("split", pl.lit("/"), "origin", pl.lit("/"), "parent"))
        return conform(copies.with_columns(id=identity.row_ids(keyed)), SCHEMA, drop=True)


def _content(rows: pl.DataFrame) -> pl.Series:
    return identity.content_keys(rows.select("prompt", "answer", "rationale", "messages", "extra"))


def _with_findings(rows: pl.DataFrame, further: pl.DataFrame) -> pl.DataFrame:
    """Append findings (columns id and further) to those of the rows."""
    joined = rows.join(further, on="id", how="left", maintain_order="left")
    return joined.with_columns(findings=append_findings("findings", "further")).select(rows.columns)


def _overwrite(rows: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Set the non-null values of `changes` (by id) in `rows`."""
    if changes.is_empty():
        return rows
    columns = [name for name in changes.columns if name != "id"]
    renamed = changes.rename({name: f"new_{name}" for name in columns})
    joined = rows.join(renamed, on="id", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(f"new_{name}", name).alias(name) for name in columns).select(rows.columns)


def as_candidate_rows(replies: pl.DataFrame, model: str) -> pl.DataFrame:
    """Return answered replies as new synthetic rows to be judged; one that could not be read keeps its text in `extra`.

    Args:
        replies: columns of `curate.generation.examples.EXAMPLES`.
        model: the teacher's name, for the rows' origin.

    Returns:
        A frame with the columns of `CANDIDATE_ROWS`.
    """
    answered = replies.filter(status="answered").with_columns(
        origin=teacher_origin(model),
        source=pl.lit("synthetic"),
        messages=pl.lit(None, pl.String),
        extra=pl.when((pl.col("prompt") == "") & pl.col("raw").is_not_null()).then(pl.struct(reply="raw").struct.json_encode()),
        attempt=pl.lit(None, pl.Int64),
        new=pl.lit(True),
    )
    return answered.with_columns(id=_new_ids(answered)).select(CANDIDATE_ROWS.names())


def _new_ids(rows: pl.DataFrame) -> pl.Series:
    """Return ids for newly written rows; `origin` tells equal texts apart."""
    keyed = rows.with_columns(content=_content(rows), split=pl.concat_str(pl.lit("train/"), "origin"))
    return identity.row_ids(keyed)
