"""Owns search among vectors: k-means, k-nearest, range search. The only importer of faiss. Vectors in, positions out.

Vectors are (n, d) float32 rows of length 1, so that the inner product is the cosine. Nothing here knows of texts,
manifests or domains. Results are the same for one order of the input and one seed, whatever the number of threads; a
caller whose rows may come in any order sorts them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from curate.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GRID", "Clusters", "kmeans", "nearest", "on_grid", "pairs_within"]

GRID = 2_048  # steps from 0 to 1 of a coordinate on the grid

_BLOCK = 65_536  # rows that are checked at a time
_TIED = 1_024  # rows with a tie that are looked at together
_ROUNDING = 1e-6  # of a float32 inner product: a vector with itself may give 0.9999999


@dataclass(frozen=True)
class Clusters:
    """A clustering of vectors.

    Attributes:
        centres: (k, d) float32, rows of length 1; the largest cluster first.
        labels: (n,) int32, the cluster of each vector.
        similarity: (n,) float32, the cosine of each vector to its own centre.
    """

    centres: NDArray[np.float32]
    labels: NDArray[np.int32]
    similarity: NDArray[np.float32]


def kmeans(vectors: NDArray[np.float32], k: int, *, seed: int = 0, iterations: int = 20) -> Clusters:
    """Cluster vectors by spherical k-means (Dhillon and Modha 2001, doi:10.1023/A:1007612920971), as FAISS does it.

    Centres learn from at most 256 vectors per cluster (FAISS's default); every vector is then given its nearest centre.

    Args:
        vectors: (n, d) float32, rows of length 1.
        k: clusters wanted, at least 1. Fewer come back where there are fewer vectors or where vectors are equal: no
            cluster is empty.
        seed: of the first centres.
        iterations: of Lloyd's algorithm; 20 are within 1% of convergence on sentence embeddings.

    Raises:
        InputError: k is below 1, or the vectors are not a finite matrix with at least one row.
    """
    import faiss
    import numpy as np

    points = _checked(vectors, "vectors")
    if k < 1 or not len(points):
        raise InputError(f"k-means needs at least one cluster and one vector, got k={k} and {len(points)} vectors")
    k = min(k, len(points))
    # faiss draws its sample and its first centres from `seed`; a warning below 39 points per centre is not ours to print
    search = faiss.Kmeans(points.shape[1], k, niter=iterations, seed=seed, spherical=True, min_points_per_centroid=1)
    search.train(points)
    centres = np.asarray(search.centroids, np.float32)
    similarity, position = nearest(centres, points, 1)
    order, labels = _rename_by_size(position[:, 0].astype(np.int32))
    return Clusters(np.ascontiguousarray(centres[order]), labels, similarity[:, 0])


def nearest(corpus: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the k nearest corpus vectors of each query, nearest first, by exact search.

    Args:
        corpus: (n, d) float32.
        queries: (q, d) float32.
        k: neighbours wanted; min(k, n) come back.

    Returns:
        ``(similarity, position)``, each (q, min(k, n)); among equal similarities the lower position comes first.

    Raises:
        InputError: k is below 1, or the vectors are not finite matrices of one width.
    """
    import faiss
    import numpy as np

    corpus, queries = _pair(corpus, queries)
    if k < 1:
        raise InputError(f"k-nearest needs k of at least 1, got {k}")
    k = min(k, len(corpus))
    if not k or not len(queries):
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    more = min(k + 1, len(corpus))  # one more shows where the last place is a tie, which faiss gives to anyone
    similarity, position = faiss.knn(queries, corpus, more, metric=faiss.METRIC_INNER_PRODUCT)
    order = np.lexsort((position, -similarity), axis=1)
    similarity, position = np.take_along_axis(similarity, order, 1), np.take_along_axis(position, order, 1)
    if more > k:
        _break_ties(corpus, queries, similarity, position)
    return similarity[:, :k], position[:, :k]


def pairs_within(
    corpus: NDArray[np.float32], queries: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return every pair of a query and a corpus vector whose cosine is at least `threshold`, by exact search.

    Args:
        corpus: (n, d) float32.
        queries: (q, d) float32.
        threshold: cosine, -1 to 1; a pair within float32 rounding (1e-6) of it counts.

    Returns:
        ``(query position, corpus position, similarity)``, each (pairs,), by query, then nearest first.

    Raises:
        InputError: the vectors are not finite matrices of one width.
    """
    import faiss
    import numpy as np

    corpus, queries = _pair(corpus, queries)
    if not len(corpus) or not len(queries):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(corpus)
    limits, similarity, position = index.range_search(queries, float(threshold) - _ROUNDING)
    query = np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(limits.astype(np.int64)))
    order = np.lexsort((position, -similarity, query))
    return query[order], position[order], similarity[order]


def _break_ties(
    corpus: NDArray[np.float32], queries: NDArray[np.float32], similarity: NDArray[np.float32], position: NDArray[np.int64]
) -> None:
    """Give the places of equal similarity at the end of a row to the lowest positions; the last column is beyond the end."""
    import numpy as np

    tied = np.flatnonzero(similarity[:, -1] == similarity[:, -2])
    for start in range(0, len(tied), _TIED):
        some = tied[start : start + _TIED]
        for row, found in zip(some, queries[some] @ corpus.T, strict=True):
            last = found[position[row, -1]]
            places = np.flatnonzero(similarity[row, :-1] == similarity[row, -1])
            equal = np.flatnonzero(found == last)[: len(places)]
            position[row, places[: len(equal)]] = equal


def on_grid(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round unit vectors to whole numbers from -2,048 to 2,048, so that inner products are exact.

    Every product and every partial sum of an inner product is then a whole number below 2²⁴, which float32 holds: the
    result does not depend on the processor, its threads or the order of the additions, and ties are ties. A cosine moves
    by about 0.0002.

    Args:
        vectors: (n, d) float32, rows of length 1.

    Raises:
        InputError: the vectors are not a finite matrix of rows of length 1 (a row of zeros passes).
    """
    import numpy as np

    found = np.empty(np.shape(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        part = found[start : start + _BLOCK]
        np.rint(np.multiply(_checked(vectors[start : start + _BLOCK], "vectors", start), GRID, out=part), out=part)
        long = np.einsum("nd,nd->n", part, part) > 2 * GRID**2
        if long.any():
            raise InputError(f"row {start + int(np.argmax(long))} of the vectors is longer than 1: scale rows to length 1")
    return found


def _rename_by_size(labels: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return the old numbers of the clusters that have members, largest first, and the labels in new numbers."""
    import numpy as np

    found, first, counts = np.unique(labels, return_index=True, return_counts=True)
    ranked = np.lexsort((first, -counts))  # equal sizes: the one whose first member comes first
    new = np.empty(int(found[-1]) + 1, np.int32)
    new[found[ranked]] = np.arange(len(found), dtype=np.int32)
    return found[ranked].astype(np.intp), new[labels]


def _pair(corpus: NDArray[np.float32], queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    corpus, queries = _checked(corpus, "corpus"), _checked(queries, "queries")
    if corpus.shape[1] != queries.shape[1]:
        raise InputError(f"vectors of {corpus.shape[1]} and {queries.shape[1]} dimensions cannot be compared: use one encoder")
    return corpus, queries


def _checked(vectors: NDArray[np.float32], what: str, offset: int = 0) -> NDArray[np.float32]:
    """Return vectors as faiss wants them, C-contiguous float32 (n, d), or refuse them; `offset`: the number of the first."""
    import numpy as np

    if vectors.ndim != 2:
        raise InputError(f"{what} must be a matrix (n, d), got shape {vectors.shape}")
    for start in range(0, len(vectors), _BLOCK):
        finite = np.isfinite(vectors[start : start + _BLOCK]).all(axis=1)
        if not finite.all():
            row = offset + start + int(np.argmin(finite))
            raise InputError(f"row {row} of the {what} holds NaN or infinity: embed it again, in fp32 if it was bf16")
    return np.ascontiguousarray(vectors, dtype=np.float32)
