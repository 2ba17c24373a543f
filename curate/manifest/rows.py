"""Owns what the columns of a row mean: status, split, source, origin, reason and findings, read and written. Reads no files."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from curate.manifest.manifest import Manifest

__all__ = ["comparable_scores", "domain_counts", "head_domains", "is_repeat", "may_be_shown"]


_REPEAT = "repeat:"  # at the start of a repeat's origin


def is_repeat() -> pl.Expr:
    """Say which rows repeat others (``--fill repeat``)."""
    return pl.col("origin").fill_null("").str.starts_with(_REPEAT)


def may_be_shown(rows: pl.DataFrame, domains: Collection[str]) -> pl.DataFrame:
    """Return the rows of some domains that a teacher may see: real train rows, once each, and none that was taken out.

    Held-out rows are never shown, nor rows rejected because they are among them, nor rows that `sample` left out.

    Args:
        rows: columns of `curate.manifest.schema.SCHEMA`.
        domains: names of domains.
    """
    wanted = pl.col("domain").is_in(list(domains)) & (pl.col("status") != "rejected") & ~is_repeat()
    return rows.filter(wanted, split="train", source="real")


def domain_counts(rows: pl.DataFrame) -> dict[str, int]:
    """Return the real train rows of each domain as ingested, n_d; rows sampled out, retired or repeated do not."""
    out = ((pl.col("status") == "rejected") & pl.col("stage").is_null()) | is_repeat()
    counted = rows.filter(pl.col("split") == "train", pl.col("source") == "real", ~out)
    return dict(counted.group_by("domain").len().sort("domain").iter_rows())


def head_domains(counts: Mapping[str, int], budget: int | None = None) -> frozenset[str]:
    """Return the head domains: those with n_d ≥ B/M, or n_d ≥ N/M without a budget.

    Args:
        counts: domain → real train rows as ingested.
        budget: accepted rows over all stages, B.
    """
    total = sum(counts.values()) if budget is None else budget
    return frozenset(d for d, n in counts.items() if n * len(counts) >= total)


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
