"""Selectors that maximise facility location: `facility_location`, and `quality_diversity`, which adds the score.

Facility location of a set S is Σᵢ maxⱼ s(i, j), j in S: the similarity of each row i of the pool to the chosen row that covers it
best; s is the cosine, at least 0. Small pools are compared in full; in larger ones a row can be covered by its k nearest rows
only (`curate.vectors.knn_graph`), so that memory is N·k and not N². All sums are in whole numbers
(`curate.vectors.neighbors.on_grid`): the lazy greedy chooses exactly the rows that the plain greedy would.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from curate.errors import InputError
from curate.selection.base import Selection, Vectors, decide, drop_all, selectors, unit_vectors
from curate.vectors import knn_graph, neighbors
from curate.vectors.neighbors import GRID

__all__ = ["facility_location", "graph_width", "quality_diversity"]

_ONE = GRID * GRID  # a cosine of 1 in whole numbers
_BLOCK = 16_384  # candidates whose gains are computed together
_DENSE = 2_048  # rows up to which every pair is compared: 32 MB
_WIDTHS = (64, 256)  # fewest and most neighbours of a row in larger pools
_MIN_WIDTH = 16  # neighbours of a row, however large the pool
_MAX_EDGES = 2**26  # of the graph: half a gigabyte, and three times that while it is transposed
_SHARE = 5  # a chosen row covers N / n rows on average; the graph must hold several times as many


def graph_width(rows: int, n: int) -> int:
    """Return how many of its nearest rows can cover a row: all in pools up to 2,048, else 5·N/n within 64 and 256.

    Above 262,144 rows there are fewer than 256, 67 at a million, so that the graph's memory stays bounded.

    Args:
        rows: N, of the pool.
        n: that are chosen.
    """
    if rows <= _DENSE:
        return rows
    return min(max(_SHARE * rows // max(n, 1), _WIDTHS[0]), _WIDTHS[1], max(_MAX_EDGES // rows, _MIN_WIDTH))


@selectors.register("facility_location")
def facility_location(
    pool: pl.DataFrame, *, n: int, taken: pl.DataFrame, vectors: Vectors | None = None, neighbours: int | None = None, **_: Any
) -> Selection:
    """Cover every row: each time the row that adds most to Σᵢ maxⱼ s(i, j) over the chosen rows j.

    A row that is similar to many others comes first; rows that are covered already, also by rows of earlier stages, add nothing
    again. The greedy choice is worth at least 63% of the best possible one (1 − 1/e).

    In pools above 2,048 rows s(i, j) is 0 unless j is one of the `graph_width` nearest rows of i, itself included; rows of
    earlier stages are compared in full. Neighbours are exact up to the size that `curate.vectors.knn_graph` names, and found with
    measured recall above it.

    Args:
        pool, n, taken, vectors: as in `curate.selection.selectors.choose`.
        neighbours: rows that can cover a row; by `graph_width` unless given.

    Raises:
        InputError: `neighbours` is below 1, there are no vectors, or they are no finite rows of length 1.

    Source: Cornuéjols, Fisher and Nemhauser, Management Science 23, 1977 (facility location); Minoux 1978
    (doi:10.1007/BFb0006528, lazy greedy); Lindgren, Wu and Dimakis, NeurIPS 2016 (the k-nearest graph, which keeps the value
    where k grows with N/n).
    """
    if not n:
        return drop_all(pool, "facility_location")
    state = _coverage_state(pool, taken, vectors, _width(pool, n, neighbours), "facility_location")
    chosen = _greedy(state, n, float, np.zeros(pool.height))
    kept = pl.format(
        "facility_location: choice {}, adds {} to how well {} rows are stood for", "choice", _round("score"), "n_covered"
    )
    return decide(
        pool,
        chosen,
        score=state.cosine_gains(),
        reason=kept,
        dropped=pl.format("facility_location: would add {}, {}", _round("score"), _covered_by()),
        because_of=state.covered_by,
        similarity=state.best / _ONE,
        n_covered=state.n_covered,
    )


@selectors.register("quality_diversity")
def quality_diversity(
    pool: pl.DataFrame,
    *,
    n: int,
    taken: pl.DataFrame,
    vectors: Vectors | None = None,
    alpha: float = 0.5,
    neighbours: int | None = None,
    **_: Any,
) -> Selection:
    """Cover every row by hard ones: greedy on (1 − alpha) · (the gain in facility location) + alpha · (the score).

    Both parts are within 0 and 1: a gain is divided by the largest gain at the start, and the score becomes the share of the
    scored rows of the pool that it is at least as high as. Rows without a score have quality 0; without any score
    this is facility location. Alone, facility location takes typical rows and a score takes extreme ones.

    Args:
        pool, n, taken, vectors: as in `curate.selection.selectors.choose`.
        alpha: weight of the score, 0 (facility location) to 1 (the highest scores); default 0.5. Set it with
            ``functools.partial(quality_diversity, alpha=0.7)``, which is a selector.
        neighbours: as in `facility_location`.

    Raises:
        InputError: `alpha` is not within 0 and 1, `neighbours` is below 1, there are no vectors, or they are no finite rows
            of length 1.

    Source: Bukharin and Zhao, Findings of EMNLP 2024 (QDIT, arXiv 2311.14736), section 3; its quality is a reward model's.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"quality_diversity: alpha must be within 0 and 1, got {alpha}")
    if not n:
        return drop_all(pool, "quality_diversity")
    state = _coverage_state(pool, taken, vectors, _width(pool, n, neighbours), "quality_diversity")
    quality = _quality(pool)
    most = max(int(state.first_gains.max()), 1)
    chosen = _greedy(state, n, lambda gain: (1 - alpha) * (gain / most), alpha * quality)
    quality_text = pl.when(pl.col("quality") > 0).then(pl.format("quality {}", _round("quality"))).otherwise(pl.lit("no score"))
    adds = pl.format("adds {} to how well {} rows are stood for", _round("gain"), "n_covered")
    return decide(
        pool,
        chosen,
        score=(1 - alpha) * (state.gains / most) + alpha * quality,
        reason=pl.format("quality_diversity: choice {}, {}, {}", "choice", quality_text, adds),
        dropped=pl.format("quality_diversity: {}, would add {}, {}", quality_text, _round("gain"), _covered_by()),
        because_of=state.covered_by,
        quality=quality,
        gain=state.cosine_gains(),
        similarity=state.best / _ONE,
        n_covered=state.n_covered,
    )


@dataclass
class _CoverageState:
    """Which rows each candidate could cover, and how well each row is covered so far."""

    starts: NDArray[np.int64]  # (N + 1,) where the rows of each candidate begin
    rows: NDArray[np.int32]  # (E,) positions of the rows that a candidate is among the neighbours of
    similarity: NDArray[np.int32]  # (E,) their cosine to it, in whole numbers
    best: NDArray[np.int32]  # (N,) the largest cosine of each row to a chosen one so far
    covered_by: NDArray[np.int64]  # (N,) position of that chosen row, -1 for none and for rows of earlier stages
    gains: NDArray[np.int64]  # (N,) what a row added when it was chosen, or would add after the last choice
    first_gains: NDArray[np.int64]  # (N,) what each row would add at the start
    n_covered: NDArray[np.int64]  # (N,) rows that a chosen row covers better than all chosen before

    def gain(self, at: int) -> int:
        """Return what a candidate would add now."""
        part = slice(self.starts[at], self.starts[at + 1])
        return int(np.maximum(self.similarity[part] - self.best[self.rows[part]], 0).sum(dtype=np.int64))

    def choose(self, at: int, gain: int) -> None:
        """Choose a candidate: it covers the rows that it is more similar to than all chosen before."""
        part = slice(self.starts[at], self.starts[at + 1])
        rows, similarity = self.rows[part], self.similarity[part]
        better = similarity > self.best[rows]
        self.best[rows[better]], self.covered_by[rows[better]] = similarity[better], at
        self.gains[at], self.n_covered[at] = gain, int(better.sum())

    def all_gains(self) -> NDArray[np.int64]:
        """Return what every candidate would add now."""
        out = np.empty(len(self.best), np.int64)
        for start in range(0, len(out), _BLOCK):
            at = self.starts[start : start + _BLOCK + 1]
            part = slice(at[0], at[-1])
            adds = np.maximum(self.similarity[part] - self.best[self.rows[part]], 0)
            sums = np.concatenate([[0], np.cumsum(adds, dtype=np.int64)])
            out[start : start + _BLOCK] = np.diff(sums[at - at[0]])
        return out

    def cosine_gains(self) -> NDArray[np.float64]:
        """Return the gains as sums of cosines."""
        return np.asarray(self.gains / _ONE, np.float64)


def _width(pool: pl.DataFrame, n: int, neighbours: int | None) -> int:
    if neighbours is not None and neighbours < 1:
        raise InputError(f"neighbours must be at least 1, got {neighbours}")
    return graph_width(pool.height, n) if neighbours is None else neighbours


def _coverage_state(
    pool: pl.DataFrame, taken: pl.DataFrame, vectors: Vectors | None, width: int, selector: str
) -> _CoverageState:
    """Compare the rows of the pool with each other and with those taken before."""
    rows = unit_vectors(pool, vectors, selector)
    best = np.zeros(len(rows), np.int32)
    if taken.height:
        best = np.maximum(neighbors.nearest(unit_vectors(taken, vectors, selector), rows, 1)[0][:, 0], 0).astype(np.int32)
    graph = knn_graph.nearest_graph(rows, width)
    starts, covers, similarity = graph.transposed()
    none, zeros = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64)
    state = _CoverageState(starts, covers, similarity, best, none, zeros, zeros, zeros.copy())
    state.first_gains = state.all_gains()
    state.gains = state.first_gains.copy()
    return state


def _greedy(state: _CoverageState, n: int, worth: Callable[[int], float], bonus: NDArray[np.float64]) -> list[int]:
    """Choose n rows, each time the one with the largest worth(gain) + bonus, then the smaller position.

    A gain never grows (facility location is submodular), so an old value is an upper bound, and only the row on top is computed
    again: where it keeps its value, it is the largest.
    """
    bounds = [
        (-(worth(gain) + more), at)
        for at, (gain, more) in enumerate(zip(state.first_gains.tolist(), bonus.tolist(), strict=True))
    ]
    heapq.heapify(bounds)
    chosen: list[int] = []
    while len(chosen) < n:
        bound, at = bounds[0]
        gain = state.gain(at)
        value = -(worth(gain) + float(bonus[at]))
        if value > bound:
            heapq.heapreplace(bounds, (value, at))
            continue
        heapq.heappop(bounds)
        state.choose(at, gain)
        chosen.append(at)
    left = np.ones(len(bonus), bool)
    left[chosen] = False
    state.gains[left] = state.all_gains()[left]
    return chosen


def _quality(pool: pl.DataFrame) -> NDArray[np.float64]:
    """Return the share of the scored rows that a row's score is at least as high as, 0 without a score."""
    rank = pool["score"].rank("max")
    return (rank / max(pool["score"].count(), 1)).fill_null(0.0).cast(pl.Float64).to_numpy()


def _covered_by() -> pl.Expr:
    earlier = pl.when(pl.col("similarity") > 0).then(pl.format("{} like a row of an earlier stage", _round("similarity")))
    uncovered = earlier.otherwise(pl.lit("no chosen row among its nearest"))
    return (
        pl.when(pl.col("because_of").is_null()).then(uncovered).otherwise(pl.format("{} like a chosen row", _round("similarity")))
    )


def _round(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Float64).round(3).cast(pl.String)
