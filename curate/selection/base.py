"""Owns what a choice is: the `Selection` that a selector hands back, the pool that it is handed, and the vectors it may ask for.

Chooses nothing: the selectors do, in `selection`, `covering` and `facilities`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from curate.errors import InputError
from curate.registry import Registry
from curate.vectors import neighbors

__all__ = ["POOL", "Selection", "Vectors", "decide", "no_places", "partition", "points", "selectors"]

# What every pool has; further columns pass through to the selector untouched.
POOL = pl.Schema({"id": pl.String(), "cluster": pl.Int32(), "centrality": pl.Float32(), "score": pl.Float64()})

Vectors = Callable[[Sequence[str]], np.ndarray]  # ids → (n, d) float32 unit rows


@dataclass(frozen=True)
class Selection:
    """A partition of a pool.

    Attributes:
        kept: ``id, reason, score``, best first; `score` is the figure that decided (a score, a centrality, a draw).
        dropped: ``id, reason, score, because_of``, best first; `because_of` is the kept row that took the last place this
            row competed for, or null where there was none.
    """

    kept: pl.DataFrame
    dropped: pl.DataFrame


def partition(decided: pl.DataFrame) -> Selection:
    """Split decided rows into a `Selection`; selectors end with this.

    Args:
        decided: ``id, kept (bool), reason, score, because_of``, best first; further columns are left out.
    """
    kept = decided.filter("kept").select("id", "reason", pl.col("score").cast(pl.Float64))
    dropped = decided.filter(~pl.col("kept")).select("id", "reason", pl.col("score").cast(pl.Float64), "because_of")
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
        because_of: (n,) for each row, the position of the kept row that spoke against it, or -1.
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


def no_places(pool: pl.DataFrame, selector: str) -> Selection:
    """Drop every row of a pool in which no row is wanted."""
    nothing = pl.lit(None, dtype=pl.String)
    reason = pl.lit(f"{selector}: 0 places")
    return partition(pool.select("id", kept=False, reason=reason, score=pl.lit(None, dtype=pl.Float64), because_of=nothing))


def points(frame: pl.DataFrame, vectors: Vectors | None, selector: str) -> NDArray[np.float32]:
    """Load the vectors of a frame's rows on the grid of `neighbors.on_grid`.

    Raises:
        InputError: no vectors can be loaded, they are not one finite row of length 1 per id, or they differ in width.
    """
    if vectors is None:
        raise InputError(f"selector {selector!r} compares vectors: hand it `vectors`, a function from ids to rows of length 1")
    ids = frame["id"].to_list()
    found = vectors(ids)
    if np.ndim(found) != 2 or len(found) != len(ids):
        raise InputError(f"selector {selector!r}: one vector per row is needed, got shape {np.shape(found)} for {len(ids)} rows")
    return neighbors.on_grid(found)


# The contract: (pool, *, n, taken, rng, vectors) -> Selection, as in `select`.
selectors: Registry[Callable[..., Selection]] = Registry(
    "selector",
    "curate.selectors",
    builtin=("curate.selection.selectors", "curate.selection.coreset", "curate.selection.facility_location"),
)
