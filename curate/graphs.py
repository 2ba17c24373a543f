"""Owns the graph of nearest neighbours within one set of vectors. Searches through `neighbors`; chooses nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate import neighbors

__all__ = ["Graph", "nearest_graph"]


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

    def turned(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Return the graph the other way round: for each row, those that have it among their neighbours.

        Returns:
            ``(starts, rows, similarity)``: the rows of row j are ``rows[starts[j]:starts[j + 1]]``, ascending; similarities are
            rounded to whole numbers, at least 0.
        """
        n, k = self.position.shape
        target = self.position.ravel()
        order = np.argsort(target, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=n))]).astype(np.int64)
        alike = np.maximum(self.similarity.ravel()[order], 0).astype(np.int32)
        return starts, (order // max(k, 1)).astype(np.int32), alike


def nearest_graph(vectors: NDArray[np.float32], k: int) -> Graph:
    """Find the k nearest rows of each row, itself among them.

    Args:
        vectors: (n, d) float32.
        k: neighbours of a row, itself included; at most n come back.

    Raises:
        InputError: the vectors are not a finite matrix, or k is below 1.
    """
    similarity, position = neighbors.nearest(vectors, vectors, k)
    return Graph(position.astype(np.int32), similarity, 1.0)
