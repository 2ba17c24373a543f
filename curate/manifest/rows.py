"""What the columns of a row mean: the one home of every rule about status, split, source, origin, reason and findings.

Rules are expressions over the columns of `curate.manifest.schema.SCHEMA`, so that they run on frames, on lazy frames and inside
larger expressions; where one row is at issue, a function takes it as a mapping. A string that the code writes into ``origin``,
``reason`` or ``findings`` and reads again is written and read here and nowhere else. Reads no files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

if TYPE_CHECKING:
    from curate.manifest.manifest import Manifest

__all__ = [
    "SAMPLED_OUT",
    "Origin",
    "append_findings",
    "auditors_of_findings",
    "comparable_scores",
    "count_labels",
    "counts_as_ingested",
    "domain_counts",
    "file_labels",
    "file_origin",
    "has_finding",
    "has_label",
    "head_domains",
    "held_out",
    "in_snapshot",
    "is_held_out",
    "is_rejected_before_stages",
    "is_repeat",
    "is_retired",
    "is_usable_real",
    "is_written_by",
    "labels_of",
    "may_be_drawn",
    "may_be_shown",
    "n_attempts",
    "next_indices",
    "not_chosen",
    "origin_file",
    "origin_index",
    "parse_origin",
    "per_label",
    "rarest_first",
    "read_findings",
    "repeat_origin",
    "retired",
    "several_labels",
    "snapshot_holds",
    "teacher_origin",
    "without_stages",
    "write_findings",
]


Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

# --- status, split and source ---


def in_snapshot(*, held_out: bool = True, without: Collection[int] = ()) -> pl.Expr:
    """Return which rows a snapshot holds: selected train rows, and held-out rows (validation, test) that were not rejected.

    Students learn from the train rows of it alone.

    Args:
        held_out: whether it has the held-out rows.
        without: stages whose train rows are left out.
    """
    kept: pl.Expr = _in_snapshot(pl.col("split"), pl.col("status"))
    train = pl.col("split") == "train"
    kept = kept if held_out else kept & train
    return kept & ~(train & pl.col("stage").is_in([*without]).fill_null(False)) if without else kept


def snapshot_holds(row: Mapping[str, Any]) -> bool:
    """Return whether a snapshot holds one row: `in_snapshot` for a row with ``split`` and ``status``."""
    return bool(_in_snapshot(row["split"], row["status"]))


def _in_snapshot(split: Any, status: Any) -> Any:
    return ((split == "train") & (status == "selected")) | ((split != "train") & (status != "rejected"))


def is_usable_real() -> pl.Expr:
    """Return which rows are real train rows that were not rejected: they can be chosen, clustered from, and learned from."""
    return (pl.col("split") == "train") & (pl.col("source") == "real") & (pl.col("status") != "rejected")


def is_rejected_before_stages() -> pl.Expr:
    """Return which rows were rejected outside any stage (``stage`` is null): sampled out, retired, or by an audit."""
    return (pl.col("status") == "rejected") & pl.col("stage").is_null()


def counts_as_ingested() -> pl.Expr:
    """Return which rows make up n_d, the real train rows of a domain as ingested, whatever stages did with them since."""
    real_train = (pl.col("split") == "train") & (pl.col("source") == "real")
    return real_train & ~is_rejected_before_stages() & ~is_repeat()


def domain_counts(rows: pl.DataFrame) -> dict[str, int]:
    """Return n_d of each domain, by name: see `counts_as_ingested`. A row of several labels counts in each.

    Args:
        rows: columns ``domain, split, source, origin, status, stage`` at least, and ``labels`` where rows may have several.
    """
    return count_labels(rows.filter(counts_as_ingested()))


def head_domains(counts: Mapping[str, int], budget: int | None = None) -> frozenset[str]:
    """Return the head domains: those with n_d ≥ B/M, or n_d ≥ N/M without a budget.

    Args:
        counts: domain → real train rows as ingested.
        budget: accepted rows over all stages, B.
    """
    total = sum(counts.values()) if budget is None else budget
    return frozenset(d for d, n in counts.items() if n * len(counts) >= total)


def may_be_shown(rows: pl.DataFrame, domains: Collection[str]) -> pl.DataFrame:
    """Return the rows of some domains that a teacher may see: real train rows, once each, and none that was taken out.

    Held-out rows are never shown, nor rows rejected because they are among them, nor rows that `sample` left out. A row of
    several of these labels comes once for each, with that label as its domain.

    Args:
        rows: columns of `curate.manifest.schema.SCHEMA`.
        domains: names of domains.
    """
    return per_label(rows.filter(is_usable_real() & ~is_repeat())).filter(pl.col("domain").is_in(list(domains)))


def comparable_scores(manifest: Manifest, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows without the scores that are not of the newest scorer and its commonest kind: those cannot be compared.

    Args:
        manifest: the version that the rows are of.
        rows: columns ``score, score_kind, scored_by`` at least.
    """
    newest = next((c for c in reversed(manifest.lineage()) if c.verb == "score"), None)
    if newest is None:
        return rows
    kinds: dict[str, int] = newest.summary["kinds"]
    kind = max(sorted(kinds), key=lambda name: kinds[name])
    comparable = (pl.col("score_kind") == kind) & (pl.col("scored_by") == newest.parameters["student"])
    return rows.with_columns(score=pl.when(comparable).then("score"))


# --- labels ---


def file_labels(labels: pl.Series) -> pl.DataFrame:
    """Return the columns ``domain`` and ``labels`` of rows with these labels (List(String)): what ``--domain-rule all`` means.

    A row is filed under the first of its labels, which depends on that row alone: other rows never move it. White space at the
    ends, nulls, empty texts and repeats are left out; of a row with one label ``labels`` is null, and of one with none both are.
    """
    cleaned = pl.col("labels").list.eval(pl.element().str.strip_chars()).list.eval(pl.element().filter(pl.element() != ""))
    found = pl.DataFrame({"labels": labels.cast(pl.List(pl.String))}).select(labels=cleaned.list.unique(maintain_order=True))
    return found.select(
        domain=pl.col("labels").list.first(), labels=pl.when(pl.col("labels").list.len() > 1).then(pl.col("labels"))
    )


def labels_of() -> pl.Expr:
    """Return all labels of each row as a list: those of ``labels``, or its domain alone."""
    return pl.coalesce("labels", pl.concat_list("domain"))


def has_label(names: Collection[str]) -> pl.Expr:
    """Return which rows have one of these labels; null where a row has none at all."""
    wanted = list(names)
    return pl.col("domain").is_in(wanted) | pl.col("labels").list.eval(pl.element().is_in(wanted)).list.any().fill_null(False)


def per_label(rows: Frame) -> Frame:
    """Return the rows once for each of their labels, with that label as ``domain`` and ``labels`` null; order is kept.

    Rows come back as they are where none has several labels, or there is no column ``labels``.
    """
    lazy = rows.lazy()
    several = pl.col("labels").is_not_null().any()
    if "labels" not in lazy.collect_schema() or not lazy.select(several).collect(engine="streaming").item():
        return rows
    each = lazy.with_columns(domain=labels_of()).explode("domain", empty_as_null=True, keep_nulls=True)
    each = each.with_columns(labels=pl.lit(None, dtype=pl.List(pl.String)))
    return each if isinstance(rows, pl.LazyFrame) else each.collect()


def count_labels(rows: pl.DataFrame) -> dict[str, int]:
    """Return how many rows have each label, by name; a row of several counts in each."""
    return dict(per_label(rows).group_by("domain").len().sort("domain").iter_rows())


def several_labels(rows: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return id → labels of the rows that have several."""
    if "labels" not in rows.columns:
        return {}
    found = rows.filter(pl.col("labels").is_not_null()).select("id", "labels")
    return {row_id: tuple(labels) for row_id, labels in found.iter_rows()}


def rarest_first(counts: Mapping[str, int]) -> list[str]:
    """Return labels from the rarest to the commonest, ties by name: the order in which shared rows are handed out.

    Args:
        counts: label → real train rows as ingested.
    """
    return sorted(counts, key=lambda label: (counts[label], label))


# --- reason ---

SAMPLED_OUT = "sampled_out"
_HELD_OUT = "held out"
_RETIRED = "retired"
_NOT_CHOSEN = "not chosen: "


def may_be_drawn() -> pl.Expr:
    """Return which rows `sample` may draw: candidates, and rows that an earlier sample left out."""
    return (pl.col("status") == "candidate") | (pl.col("reason") == SAMPLED_OUT)


def retired() -> pl.Expr:
    """Return the reason of a row whose source file no longer has it."""
    return pl.concat_str(pl.lit(f"{_RETIRED}: no longer in "), origin_file())


def is_retired() -> pl.Expr:
    """Return which rows an ingest with ``prune`` retired; they come back when their file has them again. Never null."""
    return pl.col("reason").str.starts_with(_RETIRED).fill_null(False)


def held_out(how: str) -> str:
    """Return the reason of a row that ``ingest --holdout`` made a validation row.

    Args:
        how: by which draw.
    """
    return f"{_HELD_OUT}: {how}"


def is_held_out() -> pl.Expr:
    """Return which rows ``ingest --holdout`` made validation rows; null where there is no reason."""
    return pl.col("reason").str.starts_with(_HELD_OUT)


def not_chosen(reason: str = "reason") -> pl.Expr:
    """Return the reason of a row that a selector passed over, by the selector's own.

    Args:
        reason: column of the selector's reason.
    """
    return pl.concat_str(pl.lit(_NOT_CHOSEN), reason)


# --- origin ---

_FILE = re.compile(r"(?P<name>.*):(?P<number>[0-9]+)", re.DOTALL)
_TEACHER = re.compile(r"teacher:(?P<name>.*)#(?P<number>[0-9]+)", re.DOTALL)
_REPEAT = re.compile(r"repeat:(?P<name>[0-9]+)#(?P<number>[0-9]+)")


@dataclass(frozen=True)
class Origin:
    """Where a row came from.

    Attributes:
        kind: ``"file"``, ``"teacher"``, ``"repeat"``, or ``"other"`` where nothing of this package wrote the origin.
        name: the source file, the teacher's model, the stage that repeats, or the whole origin of another kind.
        number: the row in its file (from 1), the teacher's request (from 0), the turn of the repeat (from 0), or None.
    """

    kind: str
    name: str
    number: int | None


def parse_origin(origin: str | None) -> Origin:
    """Read one row's origin: ``math.jsonl:41``, ``teacher:MODEL#7`` or ``repeat:STAGE#3``."""
    for kind, pattern in (("file", _FILE), ("teacher", _TEACHER), ("repeat", _REPEAT)):
        if found := pattern.fullmatch(origin or ""):
            return Origin(kind, found["name"], int(found["number"]))
    return Origin("other", origin or "", None)


def file_origin(file: str, number: str) -> pl.Expr:
    """Return the origin of rows of a source file.

    Args:
        file: its name as records show it, no local path.
        number: column of the row's number in it, from 1.
    """
    return pl.concat_str(pl.lit(f"{file}:"), pl.col(number).cast(pl.String))


def origin_file() -> pl.Expr:
    """Return the source file of each row; the whole origin where no file wrote it."""
    return pl.col("origin").str.replace(r":[0-9]+$", "")


def teacher_origin(model: str, index: str = "index") -> pl.Expr:
    """Return the origin of rows that a teacher wrote.

    Args:
        model: the teacher's.
        index: column of the request's number, from 0.
    """
    return pl.format("teacher:{}#{}", pl.lit(model), index)


def is_written_by(model: str | None = None) -> pl.Expr:
    """Return which rows a teacher wrote; null where there is no origin.

    Args:
        model: the teacher's; None for every teacher.
    """
    name = "(?s:.*)" if model is None else pl.escape_regex(model)
    return pl.col("origin").str.contains(f"^teacher:{name}#[0-9]+$")


def origin_index() -> pl.Expr:
    """Return the number at the end of an origin that a teacher or a repeat wrote, as Int64; null elsewhere."""
    return pl.col("origin").str.extract(r"#([0-9]+)$").cast(pl.Int64, strict=False)


def next_indices(rows: pl.DataFrame) -> dict[str, int]:
    """Return, of each domain with synthetic rows, the index of the next request for a new example; of any other it is 0.

    Args:
        rows: columns ``domain, source, origin`` at least.
    """
    highest = rows.filter(source="synthetic").group_by("domain").agg(origin_index().max().fill_null(-1) + 1)
    return dict(highest.iter_rows())


def repeat_origin(stage: int | None, turn: str = "turn") -> pl.Expr:
    """Return the origin of rows that repeat another row of their domain.

    Args:
        stage: that repeats them, from 0.
        turn: column of the repeat's number, from 0.
    """
    return pl.format("repeat:{}#{}", pl.lit(stage), turn)


def is_repeat() -> pl.Expr:
    """Return which rows repeat others (``--fill repeat``). Never null."""
    return pl.col("origin").str.contains("^repeat:[0-9]+#[0-9]+$").fill_null(False)


# --- findings ---


def read_findings(text: str | None) -> list[dict[str, Any]]:
    """Read what auditors and attempts found about one row; the JSON of its column ``findings``."""
    return list(json.loads(text)) if text else []


def write_findings(findings: Sequence[Mapping[str, Any]]) -> str | None:
    """Return findings as the JSON of the column ``findings``; None where there are none."""
    return json.dumps([dict(finding) for finding in findings], ensure_ascii=False) if findings else None


def without_stages(text: str | None, first: int) -> str | None:
    """Return the JSON of findings without those that stages from `first` on wrote."""
    stages = [(finding, finding.get("stage")) for finding in read_findings(text)]
    return write_findings([finding for finding, stage in stages if stage is None or stage < first])


def append_findings(column: str, further: str) -> pl.Expr:
    """Return the findings of two columns together, those of `further` last."""
    mine, theirs = (pl.when(pl.col(name) != "[]").then(name) for name in (column, further))
    both = pl.format("{}, {}", mine.str.strip_suffix("]"), theirs.str.strip_prefix("["))
    return pl.coalesce(both, theirs, mine)


def has_finding(auditor: str) -> pl.Expr:
    """Return in which rows an auditor found something, at any time; null where there are no findings."""
    name = pl.escape_regex(json.dumps(auditor, ensure_ascii=False))
    return pl.col("findings").str.contains(f'"auditor": *{name}')


def auditors_of_findings(findings: pl.Series) -> list[str]:
    """Return which auditors some rows have findings of, sorted.

    Args:
        findings: JSON of the column ``findings``.
    """
    written = findings.str.extract_all(r'"auditor": *"(?:[^"\\]|\\.)*"').explode().drop_nulls().unique()
    return sorted({str(json.loads(f"{{{entry}}}")["auditor"]) for entry in written})


def n_attempts() -> pl.Expr:
    """Return how many answers of a teacher were judged for each row and found wanting, as Int64; 0 where there are none.

    Counts the findings with an ``attempt``; they are the JSON of `write_findings`, where a key inside a text is escaped.
    """
    return pl.col("findings").str.count_matches(r'"attempt": *[0-9]').fill_null(0).cast(pl.Int64)
