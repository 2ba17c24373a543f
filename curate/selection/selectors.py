"""Chooses rows within one domain: `choose`, which calls a registered selector, and the selectors that need no vectors.

The pool is a frame of candidates sorted by id, with what a selector may use: cluster, centrality and the newest comparable
score. No row disappears: a row that is dropped has a reason, the figure that decided, and the row that was preferred. Reads no
manifest, loads vectors only for a selector that asks for them, and draws only from the generator that it is given.

``random``             drawn by seed
``ifd``                the hardest rows for the student
``ifd_middle``         rows of middling difficulty
``ifd_below_1``        the hardest rows of those below 1
``representative``     slots shared over clusters, the highest scores of each, or even steps of centrality
``k_center``           no row is far from a chosen one (`curate.selection.coreset`)
``herding``            the mean of what is chosen is the mean of the domain (`curate.selection.coreset`)
``facility_location``  every row has a chosen row that is similar to it (`curate.selection.facility_location`)
``quality_diversity``  facility location and a high score together (`curate.selection.facility_location`)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from curate import progress
from curate.errors import InputError
from curate.selection.base import POOL, Selection, Vectors, partition, selectors
from curate.selection.policies import largest_remainder

__all__ = ["choose", "choose_each", "ifd", "ifd_below_1", "ifd_middle", "random", "representative"]


def choose(
    pool: pl.DataFrame,
    *,
    selector: str | Callable[..., Selection] = "representative",
    n: int,
    taken: pl.DataFrame | None = None,
    seed: int = 0,
    domain: str = "",
    stage: int = 0,
    vectors: Vectors | None = None,
) -> Selection:
    """Choose rows of one domain; the order of the pool's rows never matters.

    Args:
        pool: candidates of the domain: ``id`` and, where known, the other columns of `POOL`.
        selector: a registered name or a callable of the same contract.
        n: rows wanted; where the pool has fewer, all are kept.
        taken: rows of the domain that earlier stages took, with the columns of the pool.
        seed, domain, stage: the random generator is derived from these.
        vectors: loads unit vectors by id; called only by selectors that need them.

    Raises:
        UnknownNameError: no selector of that name.
        InputError: `n` is negative, an id comes twice, or a plug-in's result is not a partition.
    """
    chosen = selectors.get(selector)
    if n < 0:
        raise InputError(f"domain {domain!r}: rows to select must be at least 0, got {n}")
    pool, taken = _normalize(pool, "pool"), _normalize(pl.DataFrame(schema=POOL) if taken is None else taken, "taken")
    both = pool.join(taken, on="id", how="semi") if taken.height else taken
    if both.height:
        raise InputError(f"domain {domain!r}: row {both['id'][0]!r} is in the pool and taken; take it out of the pool")
    made = chosen(pool, n=min(n, pool.height), taken=taken, rng=_generator(seed, stage, domain), vectors=vectors)
    ids = pl.concat([made.kept["id"], made.dropped["id"]]).sort()
    if made.kept.height != min(n, pool.height) or not ids.equals(pool["id"]):
        name = selector if isinstance(selector, str) else getattr(selector, "__name__", repr(selector))
        raise InputError(
            f"selector {name!r}: kept and dropped must split the {pool.height} rows of the pool with {min(n, pool.height)} kept, "
            f"got {made.kept.height} kept and {made.dropped.height} dropped"
        )
    return made


def choose_each(
    pools: Mapping[str, tuple[pl.DataFrame, pl.DataFrame, int]],
    *,
    selector: str | Callable[..., Selection] = "representative",
    seed: int = 0,
    stage: int = 0,
    vectors: Vectors | None = None,
) -> dict[str, Selection]:
    """Choose rows of many domains, in each as `choose` does; ``representative`` does all of them in one pass.

    Args:
        pools: domain → its candidates, the rows of it that were taken before (both with the columns of `POOL`), and the rows
            wanted; no row is in two domains.
        selector, seed, stage, vectors: as in `choose`.
    """
    if len(pools) < 2 or selectors.get(selector) is not representative:
        return {
            domain: choose(pool, selector=selector, n=n, taken=taken, seed=seed, domain=domain, stage=stage, vectors=vectors)
            for domain, (pool, taken, n) in pools.items()
        }
    pool = _normalize(_side_by_side({domain: rows for domain, (rows, _, _) in pools.items()}), "pool")
    taken = _normalize(_side_by_side({domain: rows for domain, (_, rows, _) in pools.items()}), "taken")
    made = _representative(pool, taken, {domain: min(n, rows.height) for domain, (rows, _, n) in pools.items()})
    kept, dropped = (
        frame.partition_by("domain", as_dict=True, include_key=False, maintain_order=True) for frame in (made.kept, made.dropped)
    )
    no_kept, no_dropped = made.kept.clear().drop("domain"), made.dropped.clear().drop("domain")
    return {domain: Selection(kept.get((domain,), no_kept), dropped.get((domain,), no_dropped)) for domain in pools}


def _side_by_side(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all domains, with the columns of `POOL` and their domain."""
    names = [domain for domain, frame in frames.items() for _ in range(frame.height)]
    rows = pl.concat([pl.DataFrame(schema=POOL), *(frame.select(POOL.names()) for frame in frames.values() if frame.height)])
    return rows.with_columns(domain=pl.Series(names, dtype=pl.String))


@selectors.register("random")
def random(pool: pl.DataFrame, *, n: int, rng: np.random.Generator, **_: Any) -> Selection:
    """Keep the `n` rows that draw the smallest numbers; no row is the cause of a drop. Arguments as in `choose`."""
    draws = rng.random(pool.height)
    order = np.argsort(draws, kind="stable")  # the pool is sorted by id
    drawn = pl.DataFrame([pool["id"].gather(order), pl.Series("score", draws[order])])
    share = f"{n} of {pool.height}"
    kept, dropped = drawn.head(n), drawn.tail(pool.height - n)
    return Selection(
        kept.select("id", pl.lit(f"random: drawn, {share}").alias("reason"), "score"),
        dropped.select(
            "id", pl.lit(f"random: not drawn, {share}").alias("reason"), "score", pl.lit(None, pl.String).alias("because_of")
        ),
    )


@selectors.register("ifd")
def ifd(pool: pl.DataFrame, *, n: int, rng: np.random.Generator, **_: Any) -> Selection:
    """Keep the hardest rows: the highest score, and rows without one after them, at random.

    Before there is a student no row has a score, so the first stage is random, as in the paper. There is no cut at 1;
    `ifd_below_1` has one.

    Args:
        pool, n, rng: as in `choose`.

    Source: Zhou et al., Findings of EMNLP 2024, section 3 (arXiv 2406.13114); IFD: Li et al., NAACL 2024 (2308.12032).
    """
    return _by_score(pool, n, rng, name="ifd", key=-pl.col("score"))


@selectors.register("ifd_middle")
def ifd_middle(pool: pl.DataFrame, *, n: int, taken: pl.DataFrame, rng: np.random.Generator, **_: Any) -> Selection:
    """Keep the rows of middling difficulty: the scores nearest the domain's median, and rows without one after them, at random.

    With few rows in all, easy and typical ones teach more than the hardest (Sorscher et al., NeurIPS 2022, arXiv 2206.14486).

    Args:
        pool, n, taken, rng: as in `choose`; the median is of pool and `taken`.
    """
    median = pl.concat([pool["score"], taken["score"]]).median()
    middle = pl.lit(median, dtype=pl.Float64)
    note = pl.format(", {} from the median", (pl.col("score") - middle).abs().round(3))
    return _by_score(pool, n, rng, name="ifd_middle", key=(pl.col("score") - middle).abs(), note=note)


@selectors.register("ifd_below_1")
def ifd_below_1(pool: pl.DataFrame, *, n: int, rng: np.random.Generator, **_: Any) -> Selection:
    """Keep the highest scores below 1; then rows without a score, at random; then, where these are too few, the lowest from 1 on.

    At 1 or above the question does not make the answer likelier: the two may not belong together. Cherry LLM drops such rows.

    Args:
        pool, n, rng: as in `choose`.

    Source: Li et al., NAACL 2024, section 2.2 (arXiv 2308.12032).
    """
    high = pl.col("score") >= 1
    key = pl.when(high).then(pl.col("score")).otherwise(-pl.col("score"))
    note = pl.when(high).then(pl.lit(", not below 1")).otherwise(pl.lit(""))
    return _by_score(pool, n, rng, name="ifd_below_1", key=key, last=high, note=note)


@selectors.register("representative")
def representative(pool: pl.DataFrame, *, n: int, taken: pl.DataFrame, **_: Any) -> Selection:
    """Cover the domain: slots are shared over its clusters in proportion to their size, given what was taken before.

    After this stage each cluster should have its share of all rows taken so far; a cluster that has more already gets
    none and the others share the rest. Inside a cluster the highest score comes first. Rows without a score are
    ranked by centrality, then id, and taken at even steps of rank from the most central one on: systematic sampling, since
    the most central rows alone are all alike (measured in docs/selection.md). Rows without a cluster are one cluster.

    Args:
        pool, n, taken: as in `choose`.
    """
    made = _representative(pool.with_columns(domain=pl.lit("")), taken.with_columns(domain=pl.lit("")), {"": n})
    return Selection(made.kept.drop("domain"), made.dropped.drop("domain"))


def _representative(pool: pl.DataFrame, taken: pl.DataFrame, wanted: Mapping[str, int]) -> Selection:
    """Return `representative` of several domains at once; the frames, and those of the result, have a column ``domain``."""
    in_pool, gone = _sizes(pool), _sizes(taken)
    slots = pl.DataFrame(
        [
            (domain, cluster, n)
            for domain, sizes in in_pool.items()
            for cluster, n in _cluster_slots(sizes, gone.get(domain, {}), wanted[domain]).items()
        ],
        schema={"domain": pl.String, "cluster": pl.Int32, "slots": pl.Int64},
        orient="row",
    )
    known = pl.concat([pool.select("domain", "cluster"), taken.select("domain", "cluster")])
    clusters = known.group_by("domain").agg(clusters=1 + pl.col("cluster").max().fill_null(0))
    _say_if_unclustered(pool, wanted)
    mine = ["domain", "cluster"]
    ranked = (
        pool.sort(["score", "centrality", "id"], descending=[True, True, False], nulls_last=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over(mine), size=pl.len().over(mine))
        .join(slots, on=mine, how="left", nulls_equal=True, maintain_order="left")
        .join(clusters, on="domain", how="left", maintain_order="left")
        .with_columns(kept=_evenly(scored=pl.col("score").count().over(mine)))
        .with_columns(last=pl.when("kept").then("id").forward_fill().over(mine))
    )
    decided = ranked.with_columns(
        reason=_representative_reason(),
        because_of=pl.when(~pl.col("kept")).then("last"),
        score=pl.coalesce("score", pl.col("centrality").cast(pl.Float64)),
    )
    return partition(decided, "domain")


def _say_if_unclustered(pool: pl.DataFrame, wanted: Mapping[str, int]) -> None:
    """Note that a domain of which not all rows are wanted has neither clusters nor scores."""
    bare = pool.group_by("domain").agg(pl.len(), has=(pl.col("cluster").is_not_null() | pl.col("score").is_not_null()).any())
    if any(not has and height > wanted[domain] for domain, height, has in bare.iter_rows()):
        progress.note("choose", "there are no clusters, so representative draws like random; make them with: curate cluster NAME")


def _evenly(scored: pl.Expr) -> pl.Expr:
    """Return which ranks of a cluster are kept: the first `scored` in order, and of the rest every (rest ÷ slots)th."""
    rest, left = pl.col("size") - scored, (pl.col("slots") - scored).clip(lower_bound=0)
    passed = pl.col("rank") - 1 - scored  # unscored rows before this one
    step = (passed * left + rest - 1) // rest != ((passed + 1) * left + rest - 1) // rest
    return pl.when(passed < 0).then(pl.col("rank") <= pl.col("slots")).otherwise(step)


def _by_score(
    pool: pl.DataFrame,
    n: int,
    rng: np.random.Generator,
    *,
    name: str,
    key: pl.Expr,
    last: pl.Expr | None = None,
    note: pl.Expr | None = None,
) -> Selection:
    """Keep the first `n` rows: those with a score by `key`, then those without, as drawn, then those that are `last`."""
    draw = pl.Series(rng.random(pool.height), dtype=pl.Float64)
    unscored = pl.col("score").is_null()
    group = pl.when(unscored).then(1).when(pl.lit(False) if last is None else last).then(2).otherwise(0)
    ranked = pool.with_columns(draw=draw).sort(group, pl.when(unscored).then("draw").otherwise(key), "id")
    kept = pl.int_range(pl.len()) < n
    position = (~unscored).cum_sum()
    rank = pl.format(
        "{}: {}{}, rank {} of {}",
        pl.lit(name),
        _figure("score"),
        pl.lit("") if note is None else note,
        position,
        pl.lit(pool["score"].count()),
    )
    drawn = pl.when(kept).then(pl.lit("drawn at random")).otherwise(pl.lit("not drawn"))
    missed = pl.when(kept).then(pl.lit("")).otherwise(pl.lit(f", {n} places"))
    reason = pl.when(unscored).then(pl.format("{}: no score yet, {}", pl.lit(name), drawn)).otherwise(rank + missed)
    because = pl.when(~kept).then(pl.lit(ranked["id"][n - 1] if n else None, dtype=pl.String))
    return partition(ranked.with_columns(kept=kept, reason=reason, because_of=because))


def _cluster_slots(in_pool: Mapping[int | None, int], gone: Mapping[int | None, int], n: int) -> dict[int | None, int]:
    """Share `n` slots over the clusters of a pool: raise them to one common fraction of their size.

    The size of a cluster is the number of its rows in the pool and of those gone. With f such that Σ max(0, f·size − gone) = n,
    clusters that have more than f of their rows already get none; as n is at most the pool, no cluster gets more than it has.

    Args:
        in_pool: cluster → its rows in the pool.
        gone: cluster → its rows that were taken before.
        n: slots.
    """
    if len(in_pool) == 1:
        return dict.fromkeys(in_pool, n)
    rising = {c: in_pool[c] + gone.get(c, 0) for c in in_pool}
    while rising:
        fraction = Fraction(n + sum(gone.get(c, 0) for c in rising), sum(rising.values()))
        ahead = [c for c, size in rising.items() if fraction * size < gone.get(c, 0)]
        if not ahead:
            break
        rising = {c: size for c, size in rising.items() if c not in ahead}
    shares = {c: fraction * rising[c] - gone.get(c, 0) if c in rising else Fraction(0) for c in in_pool}
    return largest_remainder(shares, n)


def _sizes(rows: pl.DataFrame) -> dict[str, dict[int | None, int]]:
    """Return domain → cluster → rows."""
    sizes: dict[str, dict[int | None, int]] = {}
    for domain, cluster, n in rows.group_by("domain", "cluster").len().iter_rows():
        sizes.setdefault(domain, {})[cluster] = n
    return sizes


def _representative_reason() -> pl.Expr:
    cluster = (
        pl.when(pl.col("cluster").is_null())
        .then(pl.lit("no cluster"))
        .otherwise(pl.format("cluster {} of {}", "cluster", "clusters"))
    )
    figure = (
        pl.when(pl.col("score").is_not_null())
        .then(pl.format("score {}", _figure("score")))
        .when(pl.col("centrality").is_not_null())
        .then(pl.format("cosine {} to its centre", _figure("centrality")))
        .otherwise(pl.lit("no score and no centre"))
    )
    rank = pl.format("rank {} of {}", "rank", "size")
    steps = pl.when(pl.col("score").is_null() & (pl.col("slots") > 1)).then(pl.lit(" at even steps")).otherwise(pl.lit(""))
    slots = pl.when("kept").then(pl.lit("")).otherwise(pl.format(", {} places{}", "slots", steps))
    return pl.format("representative: {}, {}, {}{}", cluster, figure, rank, slots)


def _figure(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Float64).round(3).cast(pl.String)


def _normalize(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return a frame with the columns and types of `POOL`, NaN as null, sorted by id."""
    if "id" not in frame.columns:
        raise InputError(f"{what}: a column 'id' is needed, got {frame.columns}")
    if frame.is_empty():  # as most domains of many have taken nothing, and each step on a frame takes its time
        return pl.DataFrame(schema={**frame.schema, **POOL})
    if any(frame.schema.get(name) != dtype for name, dtype in POOL.items()):
        missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in POOL.items() if name not in frame.columns]
        frame = frame.with_columns(missing).with_columns(pl.col(name).cast(dtype) for name, dtype in POOL.items())
    if any(frame[name].is_nan().any() for name in ("centrality", "score")):
        frame = frame.with_columns(pl.col("centrality", "score").fill_nan(None))
    if not frame["id"].is_sorted():
        frame = frame.sort("id")
    if frame["id"].null_count() or frame["id"].n_unique() != frame.height:
        raise InputError(f"{what}: every row needs an id of its own, got {frame['id'].n_unique()} ids for {frame.height} rows")
    return frame


def _generator(seed: int, stage: int, domain: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}\0{stage}\0{domain}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
