"""Search among vectors: k-means, k-nearest, range search. The only importer of faiss. Vectors in, positions out.

Vectors are (n, d) float32 rows of length 1, so that the inner product is the cosine. Nothing here knows of texts, manifests or
domains. For one order of the input and one seed results are the same with any number of threads; a caller whose rows may come in
any order sorts them first. Memory-mapped arrays are read block by block and never copied whole. Every search here is exact;
`curate.vectors.knn_graph` searches larger sets in parts.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # queries, corpus positions, cosines

__all__ = ["GRID", "Clusters", "kmeans", "nearest", "on_grid", "pairs_within"]

GRID = 2_048  # steps from 0 to 1 of a coordinate on the grid

_BLOCK = 65_536  # rows that are checked at a time
_MANY_PAIRS = 2**26  # pairs above which the bound saves more than its preparation costs
_SLACK = 1e-5  # of bounds, for rounding
_QUERY_BLOCK = 8_192  # queries whose pairs are bounded together
_PAIR_BLOCK = 16_384  # pairs that are compared in full at a time
_PAIR_COST = 20_000.0  # of comparing one pair in full, in dimensions of the bound
_PCA_SAMPLE, _TRIAL_SAMPLE = 20_000, 1_000  # rows: for the directions, and to count the pairs that pass the bound
_TIE_BLOCK = 1_024  # rows with a tie that are settled together
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


def kmeans(
    vectors: NDArray[np.float32],
    k: int,
    *,
    seed: int = 0,
    iterations: int = 20,
    training: NDArray[np.bool_] | None = None,
    per_centre: int = 256,
) -> Clusters:
    """Cluster vectors by spherical k-means (Dhillon and Modha 2001, doi:10.1023/A:1007612920971), as FAISS does it.

    Centres are trained on at most `per_centre` · k vectors, drawn by seed; then every vector is assigned to its nearest centre.
    A memory-mapped array is read where it is: only the vectors that centres are trained on are copied.

    Args:
        vectors: (n, d) float32, rows of length 1.
        k: clusters wanted, at least 1. Fewer come back where there are fewer vectors or where vectors are equal: every
            cluster has at least one training vector.
        seed: of the first centres, and of the sample that they are trained on.
        iterations: of Lloyd's algorithm; 20 are within 1% of convergence on sentence embeddings.
        training: (n,) which vectors centres may be trained on; all unless given.
        per_centre: training vectors per centre, at most; 256 is FAISS's default.

    Raises:
        InputError: k is below 1, or the vectors are not a finite matrix with at least one row to train on.
    """
    import numpy as np

    points = _checked(vectors, "vectors")
    chosen = np.arange(len(points)) if training is None else np.flatnonzero(training)
    if k < 1 or not len(chosen):
        raise InputError(f"k-means needs at least one cluster and one vector, got k={k} and {len(chosen)} vectors")
    k = min(k, len(chosen))
    if len(chosen) > per_centre * k:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, per_centre * k, replace=False))
    training_points = points if len(chosen) == len(points) else points[chosen]
    # faiss draws its first centres from `seed`, and would print a warning below 39 points per centre
    options = {"min_points_per_centroid": 1, "max_points_per_centroid": max(per_centre, 1)}
    search = _faiss().Kmeans(points.shape[1], k, niter=iterations, seed=seed, spherical=True, **options)
    search.train(training_points)
    return _assign(np.asarray(search.centroids, np.float32), points, training)


def _assign(centres: NDArray[np.float32], points: NDArray[np.float32], training: NDArray[np.bool_] | None) -> Clusters:
    """Assign every vector to its nearest centre; centres without a training vector are dropped, the largest comes first."""
    import numpy as np

    similarity, position = _nearest_centre(centres, points)
    counted = position if training is None else position[training]
    found, first, counts = np.unique(counted, return_index=True, return_counts=True)
    kept = found[np.lexsort((first, -counts))]  # equal sizes: the one whose first member comes first
    new = np.full(len(centres), -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    labels, centres = new[position], np.ascontiguousarray(centres[kept])
    unassigned = np.flatnonzero(labels < 0)
    if len(unassigned):
        similarity[unassigned], labels[unassigned] = _nearest_centre(centres, points[unassigned])
    return Clusters(centres, labels, similarity)


def _nearest_centre(centres: NDArray[np.float32], points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return cosine and position of the nearest centre of each vector."""
    library = _faiss()
    similarity, position = library.knn(points, centres, 1, metric=library.METRIC_INNER_PRODUCT)
    return similarity[:, 0], position[:, 0]


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
    import numpy as np

    corpus, queries = _pair(corpus, queries)
    if k < 1:
        raise InputError(f"k-nearest needs k of at least 1, got {k}")
    k = min(k, len(corpus))
    if not k or not len(queries):
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    more = min(k + 1, len(corpus))  # one more shows where the last rank is tied, which faiss breaks in no fixed order
    library = _faiss()
    similarity, position = library.knn(queries, corpus, more, metric=library.METRIC_INNER_PRODUCT)
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
    import numpy as np

    same = corpus is queries
    corpus, queries = _pair(corpus, queries)
    if not len(corpus) or not len(queries):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    search = _pairs_by_bound if len(corpus) * len(queries) > _MANY_PAIRS else _pairs_by_scan
    query, position, similarity = search(corpus, corpus if same else queries, float(threshold) - _ROUNDING)
    order = np.lexsort((position, -similarity, query))
    return query[order], position[order], similarity[order]


def _pairs_by_scan(corpus: NDArray[np.float32], queries: NDArray[np.float32], least: float) -> _Pairs:
    """Compare every query with every corpus vector."""
    import numpy as np

    index = _faiss().IndexFlatIP(corpus.shape[1])
    index.add(corpus)
    limits, similarity, position = index.range_search(queries, least)
    query = np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(limits.astype(np.int64)))
    return query, position, similarity


def _pairs_by_bound(corpus: NDArray[np.float32], queries: NDArray[np.float32], least: float) -> _Pairs:
    """Compare every pair by an upper bound of its cosine in few dimensions, then what passes in full: no pair is missed.

    Vectors are projected on the m directions that hold most of them, and the rest of a vector becomes one number, its
    length r: x·y = xₘ·yₘ + the product of the rests ≤ xₘ·yₘ + rₓ·r_y (Cauchy and Schwarz), an inner product of m + 1
    dimensions. In one set with itself each pair is compared once.
    """
    import numpy as np

    same = corpus is queries
    directions = _directions(corpus, queries, least)
    if directions is None:
        return _pairs_by_scan(corpus, queries, least)
    bounded = _project(corpus, directions)
    bounded_queries = bounded if same else _project(queries, directions)
    found: list[_Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for start in range(0, len(bounded_queries), _QUERY_BLOCK):
        offset = start if same else 0
        block = bounded_queries[start : start + _QUERY_BLOCK]
        query, position, _ = _pairs_by_scan(bounded[offset:], block, least - _SLACK)
        query, position = query + start, position + offset
        if same:
            later = position >= query
            query, position = query[later], position[later]
        for at in range(0, len(query), _PAIR_BLOCK):
            q, p = query[at : at + _PAIR_BLOCK], position[at : at + _PAIR_BLOCK]
            similarity = np.einsum("nd,nd->n", queries[q], corpus[p])
            near = similarity >= least
            found.append((q[near], p[near], similarity[near]))
    query, position, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not same:
        return query, position, similarity
    mirror = position > query
    return (
        np.concatenate([query, position[mirror]]),
        np.concatenate([position, query[mirror]]),
        np.concatenate([similarity, similarity[mirror]]),
    )


def _directions(corpus: NDArray[np.float32], queries: NDArray[np.float32], least: float) -> NDArray[np.float32] | None:
    """Return the (d, m) directions that make the bound cheapest, or None where comparing in full is cheaper.

    They are the first principal directions of a sample; m is chosen by how many pairs of another sample pass the bound.
    """
    import numpy as np

    d = corpus.shape[1]
    sample = corpus[:: max(1, len(corpus) // _PCA_SAMPLE)].astype(np.float64)
    principal = np.linalg.eigh(sample.T @ sample)[1][:, ::-1].astype(np.float32)
    left, right = (rows[:: max(1, len(rows) // _TRIAL_SAMPLE)] for rows in (corpus, queries))
    best, least_work = None, float(d)
    for m in (d // 24, d // 12, d // 6, d // 4, d // 2):
        directions = np.ascontiguousarray(principal[:, :m])
        passing = float((_project(left, directions) @ _project(right, directions).T >= least - _SLACK).mean())
        truly = float((left @ right.T >= least).mean())  # these are compared in full in any case
        work = m + _PAIR_COST * max(passing - truly, 0.0)
        if m and work < least_work:
            best, least_work = directions, work
    return best


def _project(rows: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, m + 1): the coordinates of the rows in the directions, and a length that the rest does not exceed."""
    import numpy as np

    out = np.empty((len(rows), directions.shape[1] + 1), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part, into = rows[start : start + _BLOCK], out[start : start + _BLOCK]
        into[:, :-1] = part @ directions
        rest = np.einsum("nd,nd->n", part, part) - np.einsum("nd,nd->n", into[:, :-1], into[:, :-1])
        into[:, -1] = np.sqrt(np.maximum(rest, 0) + _SLACK)
    return out


def _break_ties(
    corpus: NDArray[np.float32], queries: NDArray[np.float32], similarity: NDArray[np.float32], position: NDArray[np.int64]
) -> None:
    """Give tied ranks at the end of a row to the lowest positions, in place; the last column is the rank after the end."""
    import numpy as np

    tied = np.flatnonzero(similarity[:, -1] == similarity[:, -2])
    for start in range(0, len(tied), _TIE_BLOCK):
        some = tied[start : start + _TIE_BLOCK]
        for row, found in zip(some, queries[some] @ corpus.T, strict=True):
            last = found[position[row, -1]]
            ranks = np.flatnonzero(similarity[row, :-1] == similarity[row, -1])
            equal = np.flatnonzero(found == last)[: len(ranks)]
            position[row, ranks[: len(equal)]] = equal


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


def _pair(corpus: NDArray[np.float32], queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    corpus, queries = _checked(corpus, "corpus"), _checked(queries, "queries")
    if corpus.shape[1] != queries.shape[1]:
        raise InputError(f"vectors of {corpus.shape[1]} and {queries.shape[1]} dimensions cannot be compared: use one encoder")
    return corpus, queries


def _checked(vectors: NDArray[np.float32], what: str, offset: int = 0) -> NDArray[np.float32]:
    """Return vectors as faiss needs them, C-contiguous float32 (n, d), or raise; `offset` is the number of the first row."""
    import numpy as np

    if vectors.ndim != 2:
        raise InputError(f"{what} must be a matrix (n, d), got shape {vectors.shape}")
    for start in range(0, len(vectors), _BLOCK):
        part = vectors[start : start + _BLOCK]
        with np.errstate(invalid="ignore", over="ignore"):
            if np.isfinite(part.sum(axis=1)).all():
                continue  # a sum is finite only where all terms are; a product would start threads beside faiss's
        finite = np.isfinite(part).all(axis=1)
        if not finite.all():
            row = offset + start + int(np.argmin(finite))
            raise InputError(f"row {row} of the {what} holds NaN or infinity: embed it again, in fp32 if it was bf16")
    return np.ascontiguousarray(vectors, dtype=np.float32)


@functools.cache
def _faiss() -> Any:
    """Load faiss, once, with as many threads as this process has processors, or as OMP_NUM_THREADS says."""
    import faiss

    if not os.environ.get("OMP_NUM_THREADS"):
        faiss.omp_set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return faiss
