"""The graph of nearest neighbours against sorting every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import progress
from curate.errors import InputError
from curate.vectors import knn_graph, neighbors


@given(st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=30), st.integers(1, 40))
def test_the_graph_equals_sorting_every_pair(rows: list[tuple[int, ...]], k: int) -> None:
    found = np.array(rows, np.float32)
    graph = knn_graph.nearest_graph(found, k)
    products = found @ found.T
    for row, near in enumerate(graph.position):
        expected = sorted(range(len(rows)), key=lambda other: (-products[row, other], other))[:k]
        assert near.tolist() == expected
        assert graph.similarity[row].tolist() == products[row, expected].tolist()
    assert graph.recall == 1


@given(st.integers(1, 30), st.integers(1, 40))
def test_transposed_it_holds_the_same_pairs(n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    graph = knn_graph.nearest_graph(np.rint(rng.normal(scale=50, size=(n, 4))).astype(np.float32), k)
    starts, rows, similarity = graph.transposed()
    transposed = {
        (int(row), j, int(a))
        for j in range(n)
        for row, a in zip(*(x[starts[j] : starts[j + 1]] for x in (rows, similarity)), strict=True)
    }
    straight = {
        (i, int(j), max(int(s), 0)) for i in range(n) for j, s in zip(graph.position[i], graph.similarity[i], strict=True)
    }
    assert transposed == straight
    assert all(np.all(np.diff(rows[starts[j] : starts[j + 1]]) > 0) for j in range(n))


def spread(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 32))[rng.integers(0, 30, n)] + rng.normal(scale=0.8, size=(n, 32))
    return neighbors.on_grid((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))


@pytest.mark.parametrize("target", [0.8, 0.95])
def test_a_large_set_is_searched_in_cells_with_the_recall_that_it_says(target: float) -> None:
    rows = spread(8_000)
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message) if event.message else None):
        graph = knn_graph.nearest_graph(rows, 10, target=target, exact=1_000)
    truly = neighbors.nearest(rows, rows, 10)[1]
    found = np.mean([len(set(a) & set(b)) for a, b in zip(graph.position.tolist(), truly.tolist(), strict=True)]) / 10
    assert graph.recall >= target
    assert found == pytest.approx(graph.recall, abs=0.03), "a sample of 512 rows says what all say"
    assert notes[0].startswith("10 of 8,000 rows, in ")
    assert notes[0].endswith(f"{graph.recall:.1%} of them found")
    assert (graph.position[:, 0] == np.arange(8_000)).all(), "every row is nearest to itself"
    again = knn_graph.nearest_graph(rows, 10, target=target, exact=1_000)
    assert np.array_equal(again.position, graph.position)


def test_equal_rows_are_ranked_by_position_in_cells_too() -> None:
    rows = neighbors.on_grid(np.tile(np.eye(1, 8, dtype=np.float32), (3_000, 1)))
    graph = knn_graph.nearest_graph(rows, 5, exact=1_000)
    assert graph.position.tolist() == [[0, 1, 2, 3, 4]] * 3_000
    assert graph.recall == 1


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="the recall of a graph must be within 0 and 1, got 95"):
        knn_graph.nearest_graph(np.eye(3, dtype=np.float32), 1, target=95)
    with pytest.raises(InputError, match="k of at least 1, got 0"):
        knn_graph.nearest_graph(np.eye(3, dtype=np.float32), 0)
    with pytest.raises(InputError, match="row 1 of the corpus holds NaN"):
        knn_graph.nearest_graph(np.array([[1, 0], [np.nan, 0]], np.float32), 1)
