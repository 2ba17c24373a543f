"""The graph of nearest neighbours against sorting every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import graphs, neighbors
from curate.errors import InputError


@given(st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=30), st.integers(1, 40))
def test_the_graph_equals_sorting_every_pair(rows: list[tuple[int, ...]], k: int) -> None:
    found = np.array(rows, np.float32)
    graph = graphs.nearest_graph(found, k)
    products = found @ found.T
    for row, near in enumerate(graph.position):
        expected = sorted(range(len(rows)), key=lambda other: (-products[row, other], other))[:k]
        assert near.tolist() == expected
        assert graph.similarity[row].tolist() == products[row, expected].tolist()
    assert graph.recall == 1


@given(st.integers(1, 30), st.integers(1, 40))
def test_turned_round_it_holds_the_same_pairs(n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    graph = graphs.nearest_graph(np.rint(rng.normal(scale=50, size=(n, 4))).astype(np.float32), k)
    starts, rows, alike = graph.turned()
    turned = {
        (int(row), j, int(a))
        for j in range(n)
        for row, a in zip(*(x[starts[j] : starts[j + 1]] for x in (rows, alike)), strict=True)
    }
    straight = {
        (i, int(j), max(int(s), 0)) for i in range(n) for j, s in zip(graph.position[i], graph.similarity[i], strict=True)
    }
    assert turned == straight
    assert all(np.all(np.diff(rows[starts[j] : starts[j + 1]]) > 0) for j in range(n))


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="k of at least 1, got 0"):
        graphs.nearest_graph(np.eye(3, dtype=np.float32), 0)
    with pytest.raises(InputError, match="row 1 of the corpus holds NaN"):
        graphs.nearest_graph(np.array([[1, 0], [np.nan, 0]], np.float32), 1)
    assert neighbors.GRID == 2048
