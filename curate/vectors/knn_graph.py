"""The graph of nearest neighbours within one set of vectors: exact for small sets, searched in cells for large ones.

Searches by `curate.vectors.neighbors`. A graph carries its recall, the share of the true neighbours that it holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate import progress
from curate.errors import InputError
from curate.vectors import neighbors

__all__ = ["EXACT_ROWS", "TARGET", "Graph", "nearest_graph"]

EXACT_ROWS = 50_000  # up to which every pair of rows is compared: 2 · 10¹² multiplications at 384 dimensions
TARGET = 0.95  # recall of larger sets

_CELL_ROWS, _MAX_CELLS = 1_000, 4_096  # rows per cell on average, and cells at most
_ITERATIONS, _PER_CELL = 10, 64  # of k-means for the cells, which may be coarse
_TRANSPOSE_BLOCK = 2**20  # edges that are transposed together
_SAMPLE = 512  # rows whose true neighbours are found to measure recall


@dataclass(frozen=True)
class Graph:
    """The nearest rows of each row of a set.

    Attributes:
        position: (n, k) int32, nearest first.
        similarity: (n, k) float32, inner products.
        recall: share of the true neighbours that were found; 1 where the search was exact.
    """

    position: NDArray[np.int32]
    similarity: NDArray[np.float32]
    recall: float

    def transposed(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Return the transposed graph: for each row, the rows that have it among their neighbours.

        Returns:
            ``(starts, rows, similarity)``: the rows of row j are ``rows[starts[j]:starts[j + 1]]``, ascending; similarities are
            rounded to whole numbers, at least 0.
        """
        n, k = self.position.shape
        target = self.position.ravel()
        order = np.argsort(target, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=n))]).astype(np.int64)
        similarity, rows = np.empty(len(order), np.int32), np.empty(len(order), np.int32)
        flat = self.similarity.ravel()
        for start in range(0, len(order), _TRANSPOSE_BLOCK):  # in blocks, to save memory
            some = order[start : start + _TRANSPOSE_BLOCK]
            similarity[start : start + _TRANSPOSE_BLOCK] = np.maximum(flat[some], 0)
            rows[start : start + _TRANSPOSE_BLOCK] = some // max(k, 1)
        return starts, rows, similarity


def nearest_graph(
    vectors: NDArray[np.float32], k: int, *, seed: int = 0, target: float = TARGET, exact: int = EXACT_ROWS
) -> Graph:
    """Find the k nearest rows of each row, itself among them.

    Sets of up to `exact` rows are compared in full. Larger ones are divided into cells by k-means, and the rows of a cell are
    compared with those of the nearest cells: inverted lists as in Sivic and Zisserman (ICCV 2003). The number of cells probed
    is measured: the true neighbours of 512 rows are found in full, and the fewest cells are probed that hold `target` of them.

    Args:
        vectors: (n, d) float32.
        k: neighbours of a row, itself included; at most n come back.
        seed: of the cells.
        target: recall, the share of the true neighbours that must be found, 0 to 1; default 0.95.
        exact: rows up to which every pair is compared; default 50,000.

    Raises:
        InputError: the vectors are not a finite matrix, k is below 1, or `target` is not within 0 and 1.
    """
    if not 0 <= target <= 1:
        raise InputError(f"the recall of a graph must be within 0 and 1, got {target}")
    if len(vectors) <= exact or k >= len(vectors):
        similarity, position = neighbors.nearest(vectors, vectors, k)
        return Graph(position.astype(np.int32), similarity, 1.0)
    cells = neighbors.kmeans(vectors, _number_of_cells(len(vectors)), seed=seed, iterations=_ITERATIONS, per_centre=_PER_CELL)
    near = neighbors.nearest(cells.centres, cells.centres, len(cells.centres))[1]  # (c, c) cells by distance
    probes, recall = _n_probes(vectors, k, cells, near, target)
    progress.note("neighbours", f"{k} of {len(vectors):,} rows, in {probes} of {len(near)} cells: {recall:.1%} of them found")
    return _search_cells(vectors, k, cells, near[:, :probes], recall)


def _number_of_cells(rows: int) -> int:
    return max(1, min(rows // _CELL_ROWS, _MAX_CELLS))


def _n_probes(
    vectors: NDArray[np.float32], k: int, cells: neighbors.Clusters, near: NDArray[np.int64], target: float
) -> tuple[int, float]:
    """Return how many cells are probed for the neighbours of a row, and the recall of that.

    A probed cell is compared in full, so a neighbour is found where its cell is probed.
    """
    sample = np.linspace(0, len(vectors) - 1, min(_SAMPLE, len(vectors))).astype(np.int64)
    truly = neighbors.nearest(vectors, vectors[sample], k)[1]
    rank = np.empty(near.shape, np.int32)
    np.put_along_axis(rank, near, np.arange(len(near), dtype=np.int32)[None, :], axis=1)
    needed = np.sort(rank[cells.labels[sample][:, None], cells.labels[truly]].ravel())
    fewest = int(needed[max(math.ceil(target * len(needed)), 1) - 1]) + 1
    return fewest, float((needed < fewest).mean())


def _search_cells(
    vectors: NDArray[np.float32], k: int, cells: neighbors.Clusters, near: NDArray[np.int64], recall: float
) -> Graph:
    """Compare the rows of each cell with those of the nearest cells."""
    position = np.empty((len(vectors), k), np.int32)
    similarity = np.empty((len(vectors), k), np.float32)
    members = np.split(np.argsort(cells.labels, kind="stable"), np.cumsum(np.bincount(cells.labels))[:-1])
    with progress.step("neighbours", total=len(vectors)) as counter:
        for mine, around in zip(members, near, strict=True):
            others = np.sort(np.concatenate([members[cell] for cell in around]))
            if len(others) < k:  # fewer than k rows: search them all
                others = np.arange(len(vectors))
            similarity[mine], found = neighbors.nearest(vectors[others], vectors[mine], k)
            position[mine] = others[found]
            counter.advance(len(mine))
    return Graph(position, similarity, recall)
