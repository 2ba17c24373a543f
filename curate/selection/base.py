"""The contracts of selection, and the registries of its plug-ins.

A selector chooses rows of one domain: it is given a pool (`POOL`) and a function that loads vectors, and returns a `Selection`. A
policy shares a stage's budget over the domains: it returns `Quotas`. Chooses nothing itself: selectors are in `selectors`,
`coreset` and `facility_location`, policies in `policies`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from curate.errors import InputError
from curate.registry import Registry
from curate.vectors import neighbors

__all__ = [
    "POOL",
    "Capacity",
    "Quotas",
    "Selection",
    "Vectors",
    "decide",
    "drop_all",
    "partition",
    "policies",
    "selectors",
    "unit_vectors",
]

# What every pool has; further columns are passed to the selector unchanged.
POOL = pl.Schema({"id": pl.String(), "cluster": pl.Int32(), "centrality": pl.Float32(), "score": pl.Float64()})

Vectors = Callable[[Sequence[str]], np.ndarray]  # ids → (n, d) float32 unit rows
Capacity = Mapping[str, int | None]  # domain → rows that it can still give in this stage; None: no bound


@dataclass(frozen=True)
class Selection:
    """A partition of a pool.

    Attributes:
        kept: ``id, reason, score``, best first; `score` is the figure that decided (a score, a centrality, a draw).
        dropped: ``id, reason, score, because_of``, best first; `because_of` is the kept row that took the last slot this
            row competed for, or null where there was none.
    """

    kept: pl.DataFrame
    dropped: pl.DataFrame


@dataclass(frozen=True)
class Quotas:
    """Slots per domain in one stage.

    Attributes:
        wanted: domain → slots that the policy gives it; sums to the budget.
        planned: domain → slots after capacity; sums to the budget too, unless all domains together have less.
        budget: of the stage, in accepted rows.
    """

    wanted: dict[str, int]
    planned: dict[str, int]
    budget: int


def partition(decided: pl.DataFrame, *keys: str) -> Selection:
    """Split decided rows into a `Selection`; a selector ends with this call.

    Args:
        decided: ``id, kept (bool), reason, score, because_of``, best first; further columns are ignored.
        keys: of them, those that are kept.
    """
    score = pl.col("score").cast(pl.Float64)
    kept = decided.filter("kept").select("id", "reason", score, *keys)
    dropped = decided.filter(~pl.col("kept")).select("id", "reason", score, "because_of", *keys)
    return Selection(kept, dropped)


def decide(
    pool: pl.DataFrame,
    chosen: Sequence[int],
    *,
    score: NDArray[np.float64],
    reason: pl.Expr,
    dropped: pl.Expr,
    because_of: NDArray[np.int64],
    **figures: NDArray[np.generic],
) -> Selection:
    """Make a `Selection` of rows that were chosen one after the other: in that order, then the others by score.

    Args:
        pool: the candidates.
        chosen: their positions in the pool, in the order of choice.
        score: (n,) figure of each row of the pool; NaN where there is none.
        reason: of a kept row; may use ``choice`` (1, 2 …), ``score`` and the names of `figures`.
        dropped: the same for a dropped row.
        because_of: (n,) for each row, the position of the kept row that decided against it, or -1.
        figures: further columns (n,) for the two reasons.
    """
    order = np.full(pool.height, len(chosen), np.int64)
    order[np.asarray(chosen, np.int64)] = np.arange(len(chosen))
    because = pl.Series("because_of", because_of, dtype=pl.Int64).replace(-1, None)
    decided = pl.DataFrame(
        {
            "id": pool["id"],
            "score": pl.Series(score).fill_nan(None),
            "order": order,
            "because_of": pool["id"].gather(because),
            **figures,
        }
    )
    decided = decided.with_columns(kept=pl.col("order") < len(chosen), choice=pl.col("order") + 1)
    decided = decided.with_columns(reason=pl.when("kept").then(reason).otherwise(dropped))
    return partition(decided.sort(["order", "score", "id"], descending=[False, True, False], nulls_last=True))


def drop_all(pool: pl.DataFrame, selector: str) -> Selection:
    """Drop every row of a pool of which no row is wanted."""
    nothing = pl.lit(None, dtype=pl.String)
    reason = pl.lit(f"{selector}: 0 places")
    return partition(pool.select("id", kept=False, reason=reason, score=pl.lit(None, dtype=pl.Float64), because_of=nothing))


def unit_vectors(frame: pl.DataFrame, vectors: Vectors | None, selector: str) -> NDArray[np.float32]:
    """Load the vectors of a frame's rows, rounded to the grid of `curate.vectors.neighbors.on_grid`.

    Raises:
        InputError: no vectors can be loaded, they are not one finite row of length 1 per id, or they differ in width.
    """
    if vectors is None:
        raise InputError(f"selector {selector!r} compares vectors: pass `vectors`, a function from ids to rows of length 1")
    ids = frame["id"].to_list()
    found = vectors(ids)
    if np.ndim(found) != 2 or len(found) != len(ids):
        raise InputError(f"selector {selector!r}: one vector per row is needed, got shape {np.shape(found)} for {len(ids)} rows")
    return neighbors.on_grid(found)


# The contract: (pool, *, n, taken, rng, vectors) -> Selection, as in `curate.selection.selectors.choose`.
selectors: Registry[Callable[..., Selection]] = Registry(
    "selector",
    "curate.selectors",
    builtin=("curate.selection.selectors", "curate.selection.coreset", "curate.selection.facility_location"),
)

# The contract: (counts, *, budget, stage, n_stages, taken, capacity, metrics, seed, **options) -> Quotas, as in
# `curate.selection.policies.quotas`.
policies: Registry[Callable[..., Quotas]] = Registry("policy", "curate.policies", builtin=("curate.selection.policies",))
