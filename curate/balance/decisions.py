"""Owns what a stage decided about rows, until it is written: accepted, rejected, passed over, repeated, and why.

Collects decisions one by one and turns them into frames once, at the end; decides nothing itself.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from curate.manifest import ids as identity
from curate.manifest.rows import append_findings, repeat_origin, teacher_origin, write_findings
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, conform

__all__ = ["BATCH", "Settled", "as_batch"]


# What is judged in a round: one line per row or reply.
BATCH = pl.Schema(
    {
        **dict.fromkeys(("id", "domain", "source", "origin"), pl.String()),
        **dict.fromkeys(("prompt", "answer", "rationale", "messages", "extra"), pl.String()),
        "finish_reason": pl.String(),
        "call_id": pl.Int64(),
        "attempt": pl.Int64(),  # which answer of the teacher for this row, from 0; null where nobody was asked
        "parents": pl.List(pl.String()),
        "new": pl.Boolean(),  # not in the manifest yet
    }
)


class Settled:
    """The decisions of one stage over the rows that it starts from.

    Args:
        rows: every row of the version that the stage starts from, columns of `curate.manifest.schema.SCHEMA`.
        stage: the stage's index, from 0; None outside stages, where rows keep the stage that they have.
    """

    def __init__(self, rows: pl.DataFrame, *, stage: int | None) -> None:
        self._rows, self._stage = rows, stage
        self._decided: dict[str, dict[str, Any]] = {}  # id → the judged line with status, reason and findings
        self._reasons: list[pl.DataFrame] = []
        self._repeats: list[pl.DataFrame] = []

    def explain(self, reasons: pl.DataFrame) -> None:
        """Note why rows were chosen or not; columns id and reason, later notes win."""
        self._reasons.append(reasons.select("id", "reason"))

    def accept(self, line: dict[str, Any], findings: list[dict[str, Any]]) -> None:
        """Select a judged line (of `BATCH`)."""
        again = f"attempt {line['attempt']}: tried again, since its domain ran short" if line["attempt"] else None
        at_hand = "fills the tail" if line["source"] == "synthetic" else None
        self._decide(line, "selected", again or at_hand, findings)

    def offer(self, line: dict[str, Any], findings: list[dict[str, Any]]) -> None:
        """Keep a newly written line (of `BATCH`) as a candidate for later stages."""
        self._decide(line, "candidate", "written for later stages", findings)

    def reject(self, line: dict[str, Any], auditor: str, findings: list[dict[str, Any]], *, keep_candidate: bool) -> None:
        """Reject a judged line, or of a candidate that stays one only this attempt."""
        self._decide(line, "candidate" if keep_candidate else "rejected", auditor, findings)

    def _decide(self, line: dict[str, Any], status: str, reason: str | None, findings: list[dict[str, Any]]) -> None:
        marks = {"stage": self._stage, "attempt": line["attempt"], "call_id": line["call_id"]}
        earlier = self._decided.get(line["id"], {}).get("found", [])
        kept = [{k: v for k, v in f.items() if k != "id"} | marks for f in findings]
        self._decided[line["id"]] = {**line, "status": status, "why": reason, "found": earlier + kept}

    def repeat(self, domain: str, n: int) -> int:
        """Add `n` repeats of the domain's selected rows, in turn by id; return how many were added."""
        chosen = [i for i, line in self._decided.items() if line["status"] == "selected" and line["domain"] == domain]
        before = self._rows.filter(domain=domain, status="selected", split="train")["id"].to_list()
        ids = sorted(chosen + before)
        if not ids or n <= 0:
            return 0
        self._repeats.append(pl.DataFrame({"parent": [ids[i % len(ids)] for i in range(n)], "turn": range(n)}))
        return n

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

    @staticmethod
    def new_ids(lines: pl.DataFrame) -> pl.Series:
        """Return ids for newly written lines; `origin` tells equal texts apart."""
        keyed = lines.with_columns(content=_content(lines), split=pl.concat_str(pl.lit("train/"), "origin"))
        return identity.row_ids(keyed)

    def _explained(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not self._reasons:
            return rows
        reasons = pl.concat(self._reasons).unique("id", keep="last", maintain_order=True)
        return _overwrite(rows, reasons)

    def _lines(self) -> pl.DataFrame:
        """Return every decided line with its content key, size and findings as JSON."""
        schema = pl.Schema({**BATCH, "status": pl.String(), "why": pl.String(), "findings": pl.String()})
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


def _content(lines: pl.DataFrame) -> pl.Series:
    return identity.content_keys(lines.select("prompt", "answer", "rationale", "messages", "extra"))


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


def as_batch(replies: pl.DataFrame, model: str) -> pl.DataFrame:
    """Return answered replies as new synthetic rows to be judged; one that could not be read keeps its text in `extra`.

    Args:
        replies: columns of `EXAMPLES`.
        model: the teacher's name, for the rows' origin.

    Returns:
        A frame with the columns of `curate.balance.decisions.BATCH`.
    """
    answered = replies.filter(status="answered").with_columns(
        origin=teacher_origin(model),
        source=pl.lit("synthetic"),
        messages=pl.lit(None, pl.String),
        extra=pl.when((pl.col("prompt") == "") & pl.col("raw").is_not_null()).then(pl.struct(reply="raw").struct.json_encode()),
        attempt=pl.lit(None, pl.Int64),
        new=pl.lit(True),
    )
    return answered.with_columns(id=Settled.new_ids(answered)).select(BATCH.names())
