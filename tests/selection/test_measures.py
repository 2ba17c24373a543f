"""How good a choice is, against the definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.selection import measures


def unit(n: int, d: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def naive_vendi(vectors: np.ndarray) -> float:
    """Definition 3.1 of arXiv 2210.02410, with the whole kernel."""
    values = np.linalg.eigvalsh((vectors @ vectors.T).astype(np.float64) / len(vectors))
    return float(np.exp(-sum(v * np.log(v) for v in values if v > 1e-9)))


@given(st.integers(1, 40), st.integers(2, 24), st.integers(0, 99))
def test_vendi_is_its_definition_whichever_matrix_is_smaller(n: int, d: int, seed: int) -> None:
    vectors = unit(n, d, seed)
    assert measures.vendi(vectors) == pytest.approx(naive_vendi(vectors), rel=1e-4)


def test_vendi_counts_what_is_different() -> None:
    assert measures.vendi(np.eye(5, dtype=np.float32)) == pytest.approx(5)
    assert measures.vendi(np.repeat(np.eye(5, dtype=np.float32)[:1], 9, axis=0)) == pytest.approx(1)


@given(st.integers(1, 30), st.integers(0, 99), st.data())
def test_coverage_is_the_mean_distance_to_the_nearest_chosen_row(n: int, seed: int, data: st.DataObject) -> None:
    vectors = unit(n, 6, seed)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any)))
    nearest = (1 - vectors @ vectors[chosen].T).min(axis=1)
    found = measures.measure(vectors, chosen)
    assert found.coverage == pytest.approx(nearest.mean(), abs=1e-5)
    assert found.farthest == pytest.approx(nearest.max(), abs=1e-5)


def test_everything_chosen_covers_everything() -> None:
    assert measures.measure(unit(8, 4, 1), np.ones(8, bool)).farthest == pytest.approx(0, abs=1e-6)


def test_nothing_chosen_is_refused() -> None:
    with pytest.raises(InputError, match="none of 3 rows is chosen"):
        measures.measure(unit(3, 4, 1), np.zeros(3, bool))
