"""Makes a long tail: draws train rows so that the sizes of the domains follow a Zipf distribution, exactly and by seed: `sample`.

Long-tailed benchmarks are made like this from balanced ones. No row is lost: rows that are not drawn stay in the manifest,
rejected with the reason ``sampled_out``, and can be drawn by another call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.manifest import ids
from curate.manifest.manifest import Manifest
from curate.manifest.rows import SAMPLED_OUT, may_be_drawn
from curate.selection.policies import largest_remainder
from curate.selection.settings import SampleSettings
from curate.settings import takes

__all__ = ["SampleResult", "sample", "zipf"]


@dataclass(frozen=True)
class SampleResult:
    """The rows that `sample` drew.

    Attributes:
        manifest: the next version, or the same one where nothing changed.
        counts: train rows drawn per domain, head first.
    """

    manifest: Manifest
    counts: dict[str, int]


@takes(SampleSettings)
def sample(manifest: Manifest, settings: SampleSettings) -> SampleResult:
    """Draw real train rows so that the sizes of the domains follow Zipf's law; the others become rejected.

    The domain of rank r, from 1, gets a share of ``rows`` in proportion to r to the power of ``-exponent`` (Zipf, 1949), rounded
    by largest remainder, and at least one row. Rows of a domain are drawn in the order of a hash of seed and id, so that a
    larger draw from a domain contains the smaller one.

    Args:
        manifest: with real train rows, none of them selected yet.

    Raises:
        InputError: a domain has fewer rows than its share (the largest possible ``rows`` is named), or rows are selected.
        UnknownNameError: a domain is not in the manifest.
    """
    frame = manifest.rows()
    pool = frame.filter((pl.col("split") == "train") & (pl.col("source") == "real") & may_be_drawn())
    if frame.filter(pl.col("status") == "selected").height:
        raise InputError(
            f"{manifest} has selected rows; sample before balance: ingest the same source --to another name, and sample that"
        )
    sizes = dict(pool.group_by("domain").len().sort(["len", "domain"], descending=[True, False]).iter_rows())
    counts = zipf(_ranked(settings.domains, sizes), rows=settings.rows, exponent=settings.exponent)
    _check_capacity(counts, sizes, settings.rows)
    drawn = _draw(pool.select("id", "domain"), counts, settings.seed)
    is_drawn = pl.col("id").is_in(drawn.implode())
    in_pool = pl.col("id").is_in(pool["id"].implode())
    done = frame.with_columns(
        pl.when(is_drawn).then(pl.lit("candidate")).when(in_pool).then(pl.lit("rejected")).otherwise("status").alias("status"),
        pl.when(is_drawn).then(None).when(in_pool).then(pl.lit(SAMPLED_OUT)).otherwise("reason").alias("reason"),
    )
    if done.equals(frame):
        progress.note("sample", f"{manifest}: these rows are drawn already")
        return SampleResult(manifest, counts)
    parameters = {
        "rows": settings.rows,
        "exponent": settings.exponent,
        "domains": list(settings.domains) if settings.domains else None,
    }
    summary = {"drawn": len(drawn), "left_out": pool.height - len(drawn), "counts": counts}
    return SampleResult(manifest.commit(done, verb="sample", parameters=parameters, seed=settings.seed, summary=summary), counts)


def zipf(domains: Sequence[str], *, rows: int, exponent: float) -> dict[str, int]:
    """Return how many of `rows` each domain gets under Zipf's law; sums to `rows`, at least 1 each.

    Args:
        domains: from head to tail.
        rows: in all, at least one per domain.
        exponent: of the law, 0 or more.

    Raises:
        InputError: rows or exponent are out of range.

    Example:
        >>> zipf(["a", "b", "c"], rows=11, exponent=1)
        {'a': 6, 'b': 3, 'c': 2}
    """
    if not 0 <= exponent <= 20:
        raise InputError(f"--exponent {exponent}: from 0 (uniform) to 20; 1 is Zipf's law")
    if rows < max(len(domains), 1):
        raise InputError(f"--rows {rows}: needs at least one row for each of the {len(domains)} domains")
    weights = {domain: Fraction(rank**-exponent) for rank, domain in enumerate(domains, 1)}
    whole = sum(weights.values())
    counts = largest_remainder({domain: weight * rows / whole for domain, weight in weights.items()}, rows)
    for domain in [domain for domain in domains if counts[domain] == 0]:  # a tail is short, never empty
        counts[max(reversed(domains), key=lambda name: counts[name])] -= 1  # the last of the largest: order by rank stays
        counts[domain] = 1
    return {domain: counts[domain] for domain in domains}


def _ranked(domains: Sequence[str] | None, sizes: Mapping[str, int]) -> list[str]:
    ranked = list(domains or sizes)
    for domain in ranked:
        if domain not in sizes:
            raise UnknownNameError("domain", domain, sizes)
    if len(set(ranked)) < len(ranked):
        raise InputError(f"domains: each one once, from head to tail, got {ranked}")
    return ranked


def _check_capacity(counts: Mapping[str, int], sizes: Mapping[str, int], rows: int) -> None:
    short = {domain: n for domain, n in counts.items() if n > sizes[domain]}
    if short:
        domain = max(short, key=lambda name: short[name] / sizes[name])
        most = rows * sizes[domain] // short[domain]
        raise InputError(
            f"domain {domain!r} has {sizes[domain]} rows and its share of --rows {rows} is {short[domain]}: "
            f"at most about {most} rows follow this law here; take fewer, or another --exponent"
        )


def _draw(pool: pl.DataFrame, counts: Mapping[str, int], seed: int) -> pl.Series:
    """Return the ids drawn: of each domain those whose hash with the seed is lowest."""
    ranked = pool.with_columns(ids.draws(pool["id"], seed))
    rank = pl.col("draw").rank("ordinal").over("domain")
    wanted = pl.col("domain").replace_strict(dict(counts), default=0, return_dtype=pl.Int64)
    return ranked.filter(rank <= wanted)["id"]
