"""k-means, k-nearest and range search against plain numpy, and what they refuse."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.errors import InputError
from curate.vectors import neighbors

Matrix = NDArray[np.float32]


def unit(n: int, d: int = 8, *, seed: int = 0) -> Matrix:
    found = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def blobs(sizes: list[int], d: int = 16) -> tuple[Matrix, NDArray[np.int64]]:
    """Vectors close to as many orthogonal axes as there are sizes, and the axis of each."""
    axis = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(len(sizes), d, dtype=np.float32)[axis] + 0.1 * unit(len(axis), d, seed=1)
    return points / np.linalg.norm(points, axis=1, keepdims=True), axis


@given(st.integers(1, 60), st.integers(0, 9), st.integers(1, 70), st.integers(0, 99))
def test_nearest_equals_sorting_every_cosine(n: int, q: int, k: int, seed: int) -> None:
    corpus, queries = unit(n, seed=seed), unit(q, seed=seed + 1)
    similarity, position = neighbors.nearest(corpus, queries, k)
    cosines = queries @ corpus.T
    assert similarity.shape == position.shape == (q, min(k, n))
    np.testing.assert_allclose(similarity, -np.sort(-cosines, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(cosines, position, 1), similarity, atol=1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.floats(-0.9, 0.9), st.integers(0, 99))
def test_pairs_within_equals_comparing_every_pair(n: int, q: int, threshold: float, seed: int) -> None:
    corpus, queries = unit(n, seed=seed), unit(q, seed=seed + 1)
    query, position, similarity = neighbors.pairs_within(corpus, queries, threshold)
    cosines = queries @ corpus.T
    sure = {(int(i), int(j)) for i, j in np.argwhere(cosines > threshold + 1e-5)}
    maybe = {(int(i), int(j)) for i, j in np.argwhere(cosines > threshold - 1e-5)}
    assert sure <= set(zip(query.tolist(), position.tolist(), strict=True)) <= maybe
    assert np.all(np.diff(query) >= 0)
    np.testing.assert_allclose(cosines[query, position], similarity, atol=1e-6)


def test_a_vector_is_within_1_of_its_copy() -> None:
    points = unit(50, 384)
    query, position, _ = neighbors.pairs_within(points, points, 1.0)
    assert query.tolist() == position.tolist() == list(range(50))


def test_equal_neighbours_come_by_position() -> None:
    corpus = np.repeat(unit(1), 4, axis=0)
    assert neighbors.nearest(corpus, corpus[:1], 4)[1].tolist() == [[0, 1, 2, 3]]
    assert neighbors.pairs_within(corpus, corpus[:1], 0.9)[1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("scale", [0.02, 0.2], ids=["around few centres", "everywhere"])
def test_many_pairs_are_found_by_a_bound_and_none_is_missed(scale: float) -> None:
    rng = np.random.default_rng(0)
    points = np.eye(48, dtype=np.float32)[rng.integers(0, 40, 9_000)] + rng.normal(scale=scale, size=(9_000, 48)).astype(
        np.float32
    )
    points[:90] = points[-90:] + rng.normal(scale=0.001, size=(90, 48)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    threshold = 0.999 if scale < 0.1 else 0.95
    expected = set(zip(*(x.tolist() for x in np.nonzero(points @ points.T >= threshold)), strict=True))
    for queries in (points, points.copy()):  # with itself each pair is compared once, with others twice
        query, position, similarity = neighbors.pairs_within(points, queries, threshold)
        assert set(zip(query.tolist(), position.tolist(), strict=True)) == expected
        assert len(query) == len(expected) > 9_000
        assert np.all(np.diff(query) >= 0)
        np.testing.assert_allclose(np.einsum("nd,nd->n", points[query], points[position]), similarity, atol=1e-6)


def test_a_tie_for_the_last_place_goes_to_the_lower_positions() -> None:
    corpus = np.array([[0.5, 0], [0.5, 0], [0.9, 0], [0.5, 0], [0.7, 0]], np.float32)
    assert neighbors.nearest(corpus, np.eye(2, dtype=np.float32)[:1], 3)[1].tolist() == [[2, 4, 0]]
    many = np.tile(corpus, (1_000, 16))
    assert neighbors.nearest(many, many[:1], 1_005)[1][0, 1_000:].tolist() == [4, 9, 14, 19, 24]


def test_on_the_grid_inner_products_are_exact() -> None:
    points = neighbors.on_grid(unit(500, 384))
    exact = points.astype(np.int64) @ points.astype(np.int64).T
    assert np.array_equal(points @ points.T, exact.astype(np.float32))
    assert np.array_equal(neighbors.nearest(points, points, 500)[0], -np.sort(-exact, axis=1))
    np.testing.assert_allclose(exact / neighbors.GRID**2, unit(500, 384) @ unit(500, 384).T, atol=0.002)


def test_centres_learn_from_those_that_may_and_everybody_gets_one() -> None:
    points, axis = blobs([20, 50, 30])
    learns = axis != 1
    found = neighbors.kmeans(points, 3, training=learns)
    alone = neighbors.kmeans(points[learns], 3)
    assert np.array_equal(found.centres, alone.centres)
    assert np.array_equal(found.labels[learns], alone.labels)
    assert np.array_equal(found.labels, neighbors.nearest(found.centres, points, 1)[1][:, 0])
    with pytest.raises(InputError, match="at least one cluster and one vector, got k=3 and 0 vectors"):
        neighbors.kmeans(points, 3, training=np.zeros(100, bool))


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", unit(100_000, 32))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        found = neighbors.kmeans(mapped, 40, iterations=2)
        neighbors.nearest(mapped, mapped[:50], 5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mapped.nbytes / 2
    assert np.array_equal(found.labels, neighbors.kmeans(np.array(mapped), 40, iterations=2).labels)


def test_kmeans_finds_the_groups_and_numbers_them_by_size() -> None:
    points, axis = blobs([20, 50, 30])
    found = neighbors.kmeans(points, 3, seed=1)
    assert [set(found.labels[axis == number].tolist()) for number in range(3)] == [{2}, {0}, {1}]
    np.testing.assert_allclose(np.linalg.norm(found.centres, axis=1), 1, atol=1e-5)
    assert found.similarity.min() > 0.9


@given(st.integers(1, 80), st.integers(1, 100), st.integers(0, 9))
def test_every_vector_has_its_nearest_centre_and_no_cluster_is_empty(n: int, k: int, seed: int) -> None:
    points = unit(n, seed=seed)
    found = neighbors.kmeans(points, k, seed=seed)
    counts = np.bincount(found.labels, minlength=len(found.centres))
    assert len(found.centres) <= min(n, k)
    assert counts.min() >= 1
    assert np.all(np.diff(counts) <= 0)
    cosines = points @ found.centres.T
    np.testing.assert_allclose(found.similarity, cosines.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.similarity, cosines[np.arange(n), found.labels], atol=1e-6)


def test_kmeans_is_the_same_again_and_for_any_number_of_threads() -> None:
    import faiss

    points, before = unit(3000, 64), faiss.omp_get_max_threads()
    neighbors.kmeans(points, 1)  # threads are set at the first call and never again
    runs = []
    try:
        for threads in (1, 1, 2):
            faiss.omp_set_num_threads(threads)
            runs.append(neighbors.kmeans(points, 20, seed=5))
    finally:
        faiss.omp_set_num_threads(before)
    for run in runs[1:]:
        assert np.array_equal(run.labels, runs[0].labels)
        assert np.array_equal(run.centres, runs[0].centres)
    assert not np.array_equal(neighbors.kmeans(points, 20, seed=6).labels, runs[0].labels)


@pytest.mark.parametrize("points", [np.repeat(unit(1), 30, axis=0), np.zeros((30, 8), np.float32)], ids=["equal", "zero"])
def test_equal_vectors_make_one_cluster(points: Matrix) -> None:
    found = neighbors.kmeans(points, 5)
    assert found.centres.shape == (1, 8)
    assert set(found.labels.tolist()) == {0}


def test_one_vector_is_its_own_cluster(capfd: pytest.CaptureFixture[str]) -> None:
    found = neighbors.kmeans(unit(1), 7)
    np.testing.assert_allclose(found.centres, unit(1), atol=1e-6)
    assert found.similarity[0] == pytest.approx(1)
    assert capfd.readouterr() == ("", ""), "faiss must not print"


def test_nan_is_refused_with_its_row() -> None:
    bad = unit(5)
    bad[3, 2] = np.nan
    for call in (
        lambda: neighbors.kmeans(bad, 2),
        lambda: neighbors.nearest(bad, unit(1), 1),
        lambda: neighbors.pairs_within(unit(1), bad, 0.5),
    ):
        with pytest.raises(InputError, match=r"row 3 of the \w+ holds NaN or infinity"):
            call()


def test_what_else_is_refused() -> None:
    with pytest.raises(InputError, match="at least one cluster and one vector, got k=0"):
        neighbors.kmeans(unit(3), 0)
    with pytest.raises(InputError, match="0 vectors"):
        neighbors.kmeans(unit(0), 2)
    with pytest.raises(InputError, match="k of at least 1, got 0"):
        neighbors.nearest(unit(3), unit(3), 0)
    with pytest.raises(InputError, match="vectors of 8 and 4 dimensions cannot be compared"):
        neighbors.nearest(unit(3), unit(3, 4), 1)
    with pytest.raises(InputError, match=re.escape("corpus must be a matrix (n, d), got shape (8,)")):
        neighbors.nearest(unit(3)[0], unit(3), 1)
