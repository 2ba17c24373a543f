"""Selectors that cover a domain by vectors alone, one row after the other: `k_center` and `herding`.

All arithmetic is in whole numbers (`curate.vectors.neighbors.on_grid`), so every machine chooses the same rows, and ties between
equal rows are broken by id.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from curate.errors import InputError
from curate.selection.base import Selection, Vectors, decide, drop_all, selectors, unit_vectors
from curate.vectors.neighbors import GRID

__all__ = ["herding", "k_center"]

_ONE = GRID * GRID  # a cosine of 1 in whole numbers
_BLOCK = 1_024  # rows compared or added up at a time
_MAX_PRODUCT = 2**40  # of rows and slots, beyond which the sums of herding do not fit 64 bits
_CHOSEN = -1  # the distance of a chosen row, below every other


@selectors.register("k_center")
def k_center(pool: pl.DataFrame, *, n: int, taken: pl.DataFrame, vectors: Vectors | None = None, **_: Any) -> Selection:
    """Leave no row far from a chosen one: each time the row that is farthest from all rows chosen so far.

    Where nothing was taken before, the first row is the most central one (the highest cosine to the mean of the pool). The
    largest distance that is left is at most twice the smallest that is possible. Outliers come early, so it
    is not for noisy data.

    Costs n·N·d multiplications for N rows, and one copy of their vectors.

    Args:
        pool, n, taken, vectors: as in `curate.selection.selectors.choose`.

    Raises:
        InputError: there are no vectors, or they are no finite rows of length 1.

    Source: Gonzalez, Theoretical Computer Science 38, 1985 (doi:10.1016/0304-3975(85)90224-5); for active learning Sener and
    Savarese, ICLR 2018 (arXiv 1708.00489), algorithm 1.
    """
    if not n:
        return drop_all(pool, "k_center")
    rows = unit_vectors(pool, vectors, "k_center")
    lengths = np.einsum("nd,nd->n", rows, rows)
    distance = (
        _from_taken(rows, lengths, unit_vectors(taken, vectors, "k_center")) if taken.height else np.full(len(rows), np.inf)
    )
    nearest = np.full(len(rows), -1, np.int64)  # the chosen row that is nearest, -1 for one of an earlier stage
    chosen: list[int] = []
    reached = np.full(len(rows), np.nan)
    while len(chosen) < n:
        if chosen or taken.height:
            at = int(np.argmax(distance))
            reached[at] = distance[at]
        else:
            at = int(np.argmax(_products(rows, rows.sum(axis=0, dtype=np.float64))))
        near = lengths + (lengths[at] - 2 * (rows @ rows[at]))
        closer = near < distance
        distance[closer], nearest[closer] = near[closer], len(chosen)
        distance[at] = _CHOSEN
        chosen.append(at)
    left = np.where(distance > _CHOSEN, distance, reached) / (2 * _ONE)  # of unit rows, |x − y|² = 2 (1 − cosine)
    owner = np.where(nearest >= 0, np.asarray(chosen)[nearest], -1)
    return decide(pool, chosen, score=left, reason=_k_center_kept(), dropped=_k_center_dropped(), because_of=owner)


def _from_taken(rows: NDArray[np.float32], lengths: NDArray[np.float32], taken: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the squared distance of each row to the nearest taken one."""
    found = np.full(len(rows), np.inf)
    for start in range(0, len(taken), _BLOCK):
        part = taken[start : start + _BLOCK]
        apart = np.einsum("nd,nd->n", part, part) - 2 * (rows @ part.T)
        np.minimum(found, lengths + apart.min(axis=1), out=found)
    return found


def _k_center_kept() -> pl.Expr:
    first = pl.lit("k_center: the most central row, chosen first")
    return (
        pl.when(pl.col("score").is_null()).then(first).otherwise(pl.format("k_center: {} from the nearest chosen row", _score()))
    )


def _k_center_dropped() -> pl.Expr:
    earlier = pl.when(pl.col("because_of").is_null()).then(pl.lit(", of an earlier stage")).otherwise(pl.lit(""))
    return pl.format("k_center: {} from the nearest chosen row{}", _score(), earlier)


@selectors.register("herding")
def herding(pool: pl.DataFrame, *, n: int, taken: pl.DataFrame, vectors: Vectors | None = None, **_: Any) -> Selection:
    """Keep the mean: each time the row that brings the mean of what is chosen nearest to the mean of the whole domain.

    Kernel herding with the linear kernel, without putting rows back: wₜ₊₁ = wₜ + μ − x, x the row with the largest ⟨wₜ, x⟩.
    What earlier stages took is in the mean and is counted as chosen. The typical comes first, outliers last.

    Costs n·N·d multiplications for N rows, and one copy of their vectors.

    Args:
        pool, n, taken, vectors: as in `curate.selection.selectors.choose`.

    Raises:
        InputError: there are no vectors, they are no finite rows of length 1, or rows times slots pass 2⁴⁰.

    Source: Welling, ICML 2009 (doi:10.1145/1553374.1553517); Chen, Welling and Smola, UAI 2010 (arXiv 1203.3472), section 3.
    """
    if not n:
        return drop_all(pool, "herding")
    total = pool.height + taken.height
    if total * (n + taken.height) > _MAX_PRODUCT:
        raise InputError(
            f"selector 'herding': {n} of {total} rows are too many for exact sums; choose fewer, or another selector"
        )
    rows = unit_vectors(pool, vectors, "herding")
    taken_rows = unit_vectors(taken, vectors, "herding") if taken.height else rows[:0]
    mean = rows.sum(axis=0, dtype=np.float64) + taken_rows.sum(axis=0, dtype=np.float64)  # times the number of rows
    pull = _products(rows, mean)
    weight = pull * (1 + taken.height) - total * _products(rows, taken_rows.sum(axis=0, dtype=np.float64))
    chosen: list[int] = []
    score, free = np.full(len(rows), np.nan), np.ones(len(rows), bool)
    unit = total * _ONE
    while len(chosen) < n:
        at = int(np.argmax(np.where(free, weight, np.iinfo(np.int64).min)))
        score[at], free[at] = weight[at] / unit / (len(chosen) + 1 + taken.height), False
        chosen.append(at)
        weight += pull - total * (rows @ rows[at]).astype(np.int64)
    score[free] = weight[free] / unit / (n + 1 + taken.height)
    last = np.full(len(rows), chosen[-1], np.int64)
    kept = pl.format("herding: choice {}, {} towards the mean that is missing", "choice", _score())
    dropped = pl.format("herding: {} towards the mean that is missing, {} places", _score(), pl.lit(n))
    return decide(pool, chosen, score=score, reason=kept, dropped=dropped, because_of=last)


def _products(rows: NDArray[np.float32], sums: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the inner product of each row with a sum of rows, exactly: below 2⁵³ in float64, block by block."""
    blocks = [rows[start : start + _BLOCK] @ sums for start in range(0, len(rows), _BLOCK)]
    return np.concatenate(blocks).astype(np.int64)


def _score() -> pl.Expr:
    return pl.col("score").round(3).cast(pl.String)
