"""Meets the rows that a manifest has with those that were read: which are the same, what the flags now say of them, what is gone.

Works on frames alone; `curate.sources.ingest` reads and commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from curate.manifest import ids as identity
from curate.manifest.rows import is_held_out, is_retired, origin_file, retired
from curate.manifest.schema import AUTO, CONTENT_SCHEMA, SCHEMA, conform

__all__ = ["Merged", "match", "merge"]

_TEXTS = ("prompt", "answer", "rationale", "messages", "extra")


@dataclass(frozen=True)
class Merged:
    """The rows that the manifest had, brought up to date.

    Attributes:
        rows: of the manifest's schema.
        contents: texts that updated rows now have, of the schema of `examples/`.
        returned: rows that were retired and are back.
        gone: rows that the files had and no longer have.
        retired: how many of these were retired now.
        updated: what changed → in how many rows: domain, kind, split, source, text, rationale, extra.
        changes: ``(what, before, after)`` → in how many rows, for domains and splits.
        unselected: rows that a stage had selected and that are candidates again, since their text or split is another.
    """

    rows: pl.DataFrame
    contents: pl.DataFrame
    returned: int = 0
    gone: int = 0
    retired: int = 0
    updated: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    unselected: int = 0


def match(known: pl.DataFrame, found: pl.DataFrame, *, unchanged: Collection[str], earlier: Collection[str]) -> pl.DataFrame:
    """Return which rows that were read are rows of the manifest: columns ``id`` (the manifest's) and ``key`` (of the row read).

    A row is known again by its key: the record and its source. Where a file is byte for byte what it was, a row is also known
    again by its number, since flags may change how a record is cut into columns; and rows of earlier versions of this package,
    whose ids were of another kind, by number or by prompt.

    Args:
        known: columns ``id, record_key, origin, prompt_key`` of the manifest's rows.
        found: columns ``key, origin, prompt_key`` of the rows read, and ``exported`` where some are of an export, which are known
            again by their key alone.
        unchanged: labels of files whose bytes are those of their last ingest.
        earlier: labels of files that were last read by an earlier version of this package.
    """
    mine = known.select("id", "origin", "prompt_key", key=pl.coalesce("record_key", "id"), file=origin_file())
    pairs = mine.join(found.select("key"), on="key", how="inner").select("id", "key")
    for on, labels in ((["origin"], unchanged), (["file", "prompt_key"], earlier)):
        if not labels:
            continue
        left = mine.join(pairs, on="id", how="anti").filter(pl.col("file").is_in(list(labels)))
        read = found.filter(~pl.col("exported")) if "exported" in found.columns else found
        right = read.join(pairs, on="key", how="anti").with_columns(file=origin_file())
        if left.is_empty() or right.is_empty():
            continue
        nth = pl.int_range(pl.len()).over(on).alias("nth")  # rows of one record stand in the order of its labels
        joined = left.with_columns(nth).join(right.with_columns(nth), on=[*on, "nth"], how="inner", suffix="_read")
        pairs = pl.concat([pairs, joined.select("id", key="key_read")])
    return pairs


def merge(
    known: pl.DataFrame,
    found: pl.DataFrame,
    pairs: pl.DataFrame,
    contents: pl.DataFrame,
    *,
    labels: Collection[str],
    was_auto: Collection[str],
    prune: bool,
) -> Merged:
    """Bring the rows of a manifest up to date with what was read.

    Args:
        known: the manifest's rows.
        found: the rows read: the schema's columns, ``key``, and the texts of `examples/`.
        pairs: from `match`.
        contents: texts of the manifest's rows whose content key is not that of the row read.
        labels: of the files that were read.
        was_auto: labels of files whose domains were left to `cluster` before; such domains stay.
        prune: retire the rows that their files no longer have.
    """
    if known.is_empty():
        return Merged(known, contents.clear())
    both, texts = _with_texts(_as_read(known, found, pairs, was_auto), contents)
    changed = {name: pl.col(name) != pl.col(f"{name}_read") for name in ("domain", "split", "source")}
    changed["kind"] = pl.col("kind").ne_missing(pl.col("kind_read"))
    changed["domain"] |= pl.col("labels").ne_missing(pl.col("labels_read"))
    changed |= {name: pl.col(f"{name} changed") for name in ("text", "rationale", "extra")}
    there, anew = pl.col("key").is_not_null(), changed["text"] | changed["split"] | changed["source"]
    cases = {
        "back": is_retired() & there,
        "leaves": origin_file().is_in(list(labels)) & ~there & ~is_retired(),
        "unselected": anew & (pl.col("status") == "selected"),
    }
    counts = both.select(condition.sum().alias(name) for name, condition in {**changed, **cases}.items()).row(0, named=True)
    rows = _brought_up(both, changed, anew, cases["back"], cases["leaves"] if prune else pl.lit(False))
    return Merged(
        rows=rows,
        contents=texts,
        returned=counts["back"],
        gone=counts["leaves"],
        retired=counts["leaves"] if prune else 0,
        updated={name: counts[name] for name in changed if counts[name]},
        changes={(name, old, new): n for name in ("domain", "split") if counts[name] for old, new, n in _moves(both, name)},
        unselected=counts["unselected"],
    )


def _as_read(known: pl.DataFrame, found: pl.DataFrame, pairs: pl.DataFrame, was_auto: Collection[str]) -> pl.DataFrame:
    """Return the manifest's rows with what was read of each beside it (``…_read``), where that is to count."""
    read = pairs.join(found, on="key", how="left").select(
        "id", "key", "domain", "labels", "kind", "split", "source", "origin", "content", "prompt_key", "n_chars", *_TEXTS
    )
    both = known.join(read, on="id", how="left", suffix="_read", maintain_order="left")
    there = pl.col("key").is_not_null()
    files_again = there & ~((pl.col("domain_read") == AUTO) & origin_file().is_in(list(was_auto)))
    split_again = there & ~(is_held_out().fill_null(False) & (pl.col("split_read") == "train"))
    return both.with_columns(
        domain_read=pl.when(files_again).then("domain_read").otherwise("domain"),
        labels_read=pl.when(files_again).then("labels_read").otherwise("labels"),
        split_read=pl.when(split_again).then("split_read").otherwise("split"),
        source_read=pl.coalesce("source_read", "source"),
        kind_read=pl.coalesce("kind_read", "kind"),  # where nothing is said now, what was said stays
    )


def _brought_up(
    both: pl.DataFrame, changed: Mapping[str, pl.Expr], anew: pl.Expr, back: pl.Expr, retires: pl.Expr
) -> pl.DataFrame:
    """Return the rows with what was read in place of what was there, and without what was said of another text or domain.

    Args:
        both: from `_with_texts`.
        changed: what → in which rows it changed.
        anew: rows that are candidates again.
        back: retired rows that their file has again.
        retires: rows to retire.
    """
    unset = dict.fromkeys(("n_tokens", "score", "score_kind", "scored_by", "findings", "call_id"), changed["text"])
    unset |= dict.fromkeys(("cluster", "centrality"), changed["text"] | changed["domain"]) | {"stage": anew}
    rows = both.with_columns(
        *(pl.when(~condition).then(name).alias(name) for name, condition in unset.items()),
        *(pl.col(f"{name}_read").alias(name) for name in ("domain", "labels", "kind", "split", "source", "content")),
        *(pl.when(changed["text"]).then(f"{name}_read").otherwise(name).alias(name) for name in ("prompt_key", "n_chars")),
        status=pl.when(back | anew).then(pl.lit("candidate")).when(retires).then(pl.lit("rejected")).otherwise("status"),
        reason=pl.when(back | anew).then(None).when(retires).then(retired()).otherwise("reason"),
        origin=pl.coalesce("origin_read", "origin"),
        record_key=pl.when(pl.col("key") != pl.col("id")).then("key").otherwise("record_key"),
    )
    return conform(rows, SCHEMA, drop=True)


def _moves(both: pl.DataFrame, name: str) -> Iterable[tuple[str, str, int]]:
    """Return before, after and number of rows of every change of a column, most first."""
    moved = both.filter(pl.col(name) != pl.col(f"{name}_read")).group_by(name, f"{name}_read").len()
    return moved.sort("len", name, f"{name}_read", descending=[True, False, False]).iter_rows()


def _with_texts(both: pl.DataFrame, contents: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows with their new content keys and what of the text changed, and the texts that are new.

    The rationale that a teacher wrote (``call_id``) stays while question and answer do.
    """
    different = pl.col("key").is_not_null() & (pl.col("content") != pl.col("content_read"))
    none = [pl.lit(False).alias(f"{name} changed") for name in ("text", "rationale", "extra")]
    rows = both.filter(different)
    if rows.is_empty():
        keys = pl.col("content").alias("content_read")
        return both.with_columns(keys, *none), contents.clear()
    before = contents.select("content", *(pl.col(name).alias(f"{name} before") for name in _TEXTS))
    work = rows.select("id", "content", "call_id", *_TEXTS).join(before, on="content", how="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} before")) for name in ("prompt", "answer", "messages"))
    keeps = same & pl.col("call_id").is_not_null() & pl.col("rationale before").is_not_null()
    work = work.with_columns(same.alias("same"), rationale=pl.when(keeps).then("rationale before").otherwise("rationale"))
    work = work.drop("content").with_columns(identity.content_keys(work))
    work = work.with_columns(
        (~pl.col("same")).alias("text changed"),
        *(
            (pl.col("same") & ~pl.col(name).eq_missing(pl.col(f"{name} before"))).alias(f"{name} changed")
            for name in ("rationale", "extra")
        ),
    )
    news = work.select(
        "id", pl.col("content").alias("content new"), *(f"{name} changed" for name in ("text", "rationale", "extra"))
    )
    joined = both.join(news, on="id", how="left", maintain_order="left").with_columns(
        content_read=pl.coalesce("content new", "content"),
        **{f"{name} changed": pl.col(f"{name} changed").fill_null(False) for name in ("text", "rationale", "extra")},
    )
    return joined, conform(work, CONTENT_SCHEMA, drop=True)
