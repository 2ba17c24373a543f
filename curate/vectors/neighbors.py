"""Owns search among vectors: k-means, k-nearest, range search. The only importer of faiss. Vectors in, positions out.

Vectors are (n, d) float32 rows of length 1, so that the inner product is the cosine. Nothing here knows of texts,
manifests or domains. Results are the same for one order of the input and one seed, whatever the number of threads; a
caller whose rows may come in any order sorts them first. Memory-mapped arrays are read block by block and never copied
whole. Everything here is exact; `curate.vectors.knn_graph` is where larger sets are searched in parts.
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
_MANY_PAIRS = 2**26  # pairs above which a bound is worth its preparation
_SLACK = 1e-5  # of bounds, for rounding
_ASKED = 8_192  # queries whose pairs are bounded together
_GATHERED = 16_384  # pairs whose vectors are laid side by side at a time
_GATHERING = 20_000.0  # what looking at one pair in full costs, in dimensions of the bound
_TURNED, _TRIED = 20_000, 1_000  # sampled rows: for the directions, and for how well they bound
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


def kmeans(
    vectors: NDArray[np.float32],
    k: int,
    *,
    seed: int = 0,
    iterations: int = 20,
    learns: NDArray[np.bool_] | None = None,
    per_centre: int = 256,
) -> Clusters:
    """Cluster vectors by spherical k-means (Dhillon and Modha 2001, doi:10.1023/A:1007612920971), as FAISS does it.

    Centres learn from at most `per_centre` · k vectors, drawn by seed; every vector is then given its nearest centre. A
    memory-mapped array is read where it is: only the vectors that centres learn from are copied.

    Args:
        vectors: (n, d) float32, rows of length 1.
        k: clusters wanted, at least 1. Fewer come back where there are fewer vectors or where vectors are equal: every
            cluster has a vector that centres may learn from.
        seed: of the first centres, and of what they learn from where that is not everything.
        iterations: of Lloyd's algorithm; 20 are within 1% of convergence on sentence embeddings.
        learns: (n,) which vectors centres may learn from; all unless given.
        per_centre: 256 is FAISS's default.

    Raises:
        InputError: k is below 1, or the vectors are not a finite matrix with at least one row to learn from.
    """
    import numpy as np

    points = _checked(vectors, "vectors")
    chosen = np.arange(len(points)) if learns is None else np.flatnonzero(learns)
    if k < 1 or not len(chosen):
        raise InputError(f"k-means needs at least one cluster and one vector, got k={k} and {len(chosen)} vectors")
    k = min(k, len(chosen))
    if len(chosen) > per_centre * k:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, per_centre * k, replace=False))
    teachers = points if len(chosen) == len(points) else points[chosen]
    # faiss draws its first centres from `seed`; a warning below 39 points per centre is not ours to print
    options = {"min_points_per_centroid": 1, "max_points_per_centroid": max(per_centre, 1)}
    search = _faiss().Kmeans(points.shape[1], k, niter=iterations, seed=seed, spherical=True, **options)
    search.train(teachers)
    return _assign(np.asarray(search.centroids, np.float32), points, learns)


def _assign(centres: NDArray[np.float32], points: NDArray[np.float32], learns: NDArray[np.bool_] | None) -> Clusters:
    """Give every vector its nearest centre; centres that no learner is nearest to are left out, the largest comes first."""
    import numpy as np

    similarity, position = _top(centres, points)
    counted = position if learns is None else position[learns]
    found, first, counts = np.unique(counted, return_index=True, return_counts=True)
    kept = found[np.lexsort((first, -counts))]  # equal sizes: the one whose first member comes first
    new = np.full(len(centres), -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    labels, centres = new[position], np.ascontiguousarray(centres[kept])
    homeless = np.flatnonzero(labels < 0)
    if len(homeless):
        similarity[homeless], labels[homeless] = _top(centres, points[homeless])
    return Clusters(centres, labels, similarity)


def _top(centres: NDArray[np.float32], points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
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
    more = min(k + 1, len(corpus))  # one more shows where the last place is a tie, which faiss gives to anyone
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

    alone = corpus is queries
    corpus, queries = _pair(corpus, queries)
    if not len(corpus) or not len(queries):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    search = _pairs_by_bound if len(corpus) * len(queries) > _MANY_PAIRS else _pairs_by_scan
    query, position, similarity = search(corpus, corpus if alone else queries, float(threshold) - _ROUNDING)
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

    Vectors are turned so that the first m coordinates hold most of them, and what is left of a vector is one number, its
    length r: x·y = xₘ·yₘ + the product of the rests ≤ xₘ·yₘ + rₓ·r_y (Cauchy and Schwarz), an inner product of m + 1
    dimensions. One set with itself is compared once for each pair.
    """
    import numpy as np

    alone = corpus is queries
    turn = _turn(corpus, queries, least)
    if turn is None:
        return _pairs_by_scan(corpus, queries, least)
    short = _shorten(corpus, turn)
    asked = short if alone else _shorten(queries, turn)
    found: list[_Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for start in range(0, len(asked), _ASKED):
        offset = start if alone else 0
        query, position, _ = _pairs_by_scan(short[offset:], asked[start : start + _ASKED], least - _SLACK)
        query, position = query + start, position + offset
        if alone:
            later = position >= query
            query, position = query[later], position[later]
        for at in range(0, len(query), _GATHERED):
            q, p = query[at : at + _GATHERED], position[at : at + _GATHERED]
            similarity = np.einsum("nd,nd->n", queries[q], corpus[p])
            near = similarity >= least
            found.append((q[near], p[near], similarity[near]))
    query, position, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not alone:
        return query, position, similarity
    mirror = position > query
    return (
        np.concatenate([query, position[mirror]]),
        np.concatenate([position, query[mirror]]),
        np.concatenate([similarity, similarity[mirror]]),
    )


def _turn(corpus: NDArray[np.float32], queries: NDArray[np.float32], least: float) -> NDArray[np.float32] | None:
    """Return the (d, m) directions that make the bound cheapest, or None where comparing in full is cheaper.

    They are the first principal directions of a sample; m is chosen by how many pairs of another sample the bound lets pass.
    """
    import numpy as np

    d = corpus.shape[1]
    sample = corpus[:: max(1, len(corpus) // _TURNED)].astype(np.float64)
    directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1].astype(np.float32)
    left, right = (rows[:: max(1, len(rows) // _TRIED)] for rows in (corpus, queries))
    best, least_work = None, float(d)
    for m in (d // 24, d // 12, d // 6, d // 4, d // 2):
        turn = np.ascontiguousarray(directions[:, :m])
        passing = float((_shorten(left, turn) @ _shorten(right, turn).T >= least - _SLACK).mean())
        truly = float((left @ right.T >= least).mean())  # these must be looked at in any case
        work = m + _GATHERING * max(passing - truly, 0.0)
        if m and work < least_work:
            best, least_work = turn, work
    return best


def _shorten(rows: NDArray[np.float32], turn: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, m + 1): the first coordinates of the turned rows, and a length that the rest does not exceed."""
    import numpy as np

    out = np.empty((len(rows), turn.shape[1] + 1), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part, short = rows[start : start + _BLOCK], out[start : start + _BLOCK]
        short[:, :-1] = part @ turn
        rest = np.einsum("nd,nd->n", part, part) - np.einsum("nd,nd->n", short[:, :-1], short[:, :-1])
        short[:, -1] = np.sqrt(np.maximum(rest, 0) + _SLACK)
    return out


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
        part = vectors[start : start + _BLOCK]
        with np.errstate(invalid="ignore", over="ignore"):
            if np.isfinite(part.sum(axis=1)).all():
                continue  # a sum is finite only where all of its parts are; no product, whose threads would get in faiss's way
        finite = np.isfinite(part).all(axis=1)
        if not finite.all():
            row = offset + start + int(np.argmin(finite))
            raise InputError(f"row {row} of the {what} holds NaN or infinity: embed it again, in fp32 if it was bf16")
    return np.ascontiguousarray(vectors, dtype=np.float32)


@functools.cache
def _faiss() -> Any:
    """Load faiss, once, and let it use the processors that this process may run on, or what OMP_NUM_THREADS says."""
    import faiss

    if not os.environ.get("OMP_NUM_THREADS"):
        faiss.omp_set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return faiss
