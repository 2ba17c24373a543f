"""The battery that every registered selector passes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.selection.base import POOL, selectors
from curate.selection.selectors import choose

every_selector = pytest.mark.parametrize("selector", selectors.names())


def vectors(ids: list[str]) -> np.ndarray:
    """Unit rows that depend on the id alone."""
    rows = np.array([[np.cos(hash_free(i)), np.sin(hash_free(i))] for i in ids], dtype=np.float32)
    return rows.reshape(len(ids), 2)


def hash_free(name: str) -> float:
    return sum(ord(letter) * 31**i for i, letter in enumerate(name)) % 628 / 100


@st.composite
def pools(draw: st.DrawFn) -> pl.DataFrame:
    """Rows of one domain, with gaps in every column that may have them."""
    n = draw(st.integers(0, 25))
    column = st.lists(st.none() | st.floats(-1, 1, width=32), min_size=n, max_size=n)
    return pl.DataFrame(
        {
            "id": [f"{i:032x}" for i in draw(st.lists(st.integers(0, 10**9), min_size=n, max_size=n, unique=True))],
            "cluster": draw(st.lists(st.none() | st.integers(0, 4), min_size=n, max_size=n)),
            "centrality": draw(column),
            "score": draw(column),
        },
        schema=POOL,
    )


@every_selector
@given(pool=pools(), n=st.integers(0, 30), share=st.integers(1, 4), seed=st.integers(0, 3))
def test_kept_and_dropped_split_the_pool(selector: str, pool: pl.DataFrame, n: int, share: int, seed: int) -> None:
    taken, pool = pool[: pool.height // share - 1 if share > 1 else 0], pool[pool.height // share - 1 if share > 1 else 0 :]
    made = choose(pool, selector=selector, n=n, taken=taken, seed=seed, vectors=vectors)
    assert made.kept.columns == ["id", "reason", "score"]
    assert made.dropped.columns == ["id", "reason", "score", "because_of"]
    assert sorted([*made.kept["id"], *made.dropped["id"]]) == sorted(pool["id"])
    assert made.kept.height == min(n, pool.height)
    for side in (made.kept, made.dropped):
        assert side["reason"].null_count() == 0
        assert all(reason.startswith(f"{selector}: ") for reason in side["reason"])
    assert set(made.dropped["because_of"].drop_nulls()) <= set(made.kept["id"])


@every_selector
@given(pool=pools(), n=st.integers(0, 30), order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(selector: str, pool: pl.DataFrame, n: int, order: object) -> None:
    positions = list(range(pool.height))
    order.shuffle(positions)  # type: ignore[attr-defined]
    first = choose(pool, selector=selector, n=n, vectors=vectors)
    again = choose(pool[positions], selector=selector, n=n, vectors=vectors)
    assert first.kept.equals(again.kept)
    assert first.dropped.equals(again.dropped)


@every_selector
def test_the_same_seed_chooses_the_same_rows(selector: str) -> None:
    pool = pl.DataFrame({"id": [f"{i:03}" for i in range(50)], "cluster": [i % 3 for i in range(50)]})
    runs = [choose(pool, selector=selector, n=20, seed=7, domain="d", stage=1, vectors=vectors) for _ in range(2)]
    assert runs[0].kept.equals(runs[1].kept)


@every_selector
def test_nothing_and_everything_can_be_kept(selector: str) -> None:
    pool = pl.DataFrame({"id": ["a", "b"], "cluster": [0, 1]})
    none = choose(pool, selector=selector, n=0, vectors=vectors)
    assert none.dropped["because_of"].null_count() == 2
    assert choose(pool, selector=selector, n=2, vectors=vectors).dropped.is_empty()
    assert choose(pool.clear(), selector=selector, n=0, vectors=vectors).kept.is_empty()


@every_selector
@pytest.mark.parametrize("wanted", [0, 1, 5], ids=["none", "one", "more than there are"])
def test_one_row_is_kept_where_one_is_wanted(selector: str, wanted: int) -> None:
    made = choose(pl.DataFrame({"id": ["a"]}), selector=selector, n=wanted, vectors=vectors)
    assert made.kept["id"].to_list() == ["a"] * min(wanted, 1)


@every_selector
def test_equal_vectors_without_clusters_or_scores_are_told_apart_by_their_ids(selector: str) -> None:
    pool = pl.DataFrame({"id": [f"{i:02}" for i in range(30)]})
    made = choose(pool, selector=selector, n=7, vectors=lambda ids: np.tile(np.float32([0.6, 0.8]), (len(ids), 1)))
    again = choose(pool.reverse(), selector=selector, n=7, vectors=lambda ids: np.tile(np.float32([0.6, 0.8]), (len(ids), 1)))
    assert made.kept["id"].equals(again.kept["id"])
    assert made.kept["id"].n_unique() == 7


@every_selector
def test_what_was_taken_is_never_chosen_again_and_may_be_more_than_is_left(selector: str) -> None:
    rows = pl.DataFrame(
        {"id": [f"{i:02}" for i in range(20)], "cluster": [i % 3 for i in range(20)], "score": [i % 5 / 5 for i in range(20)]}
    )
    made = choose(rows[:4], selector=selector, n=9, taken=rows[4:], vectors=vectors)
    assert sorted(made.kept["id"]) == rows["id"][:4].to_list(), "a quota above the domain takes all of it"


@every_selector
def test_a_selector_that_looks_at_vectors_refuses_those_that_are_not_finite(selector: str) -> None:
    pool = pl.DataFrame({"id": ["a", "b", "c"]})
    asked: list[int] = []

    def broken(ids: list[str]) -> np.ndarray:
        return np.array([[1.0, 0.0]] * (len(ids) - 1) + [[np.nan, 0.0]], np.float32)

    def counted(ids: list[str]) -> np.ndarray:
        asked.append(len(ids))
        return vectors(ids)

    choose(pool, selector=selector, n=1, vectors=counted)
    if asked:
        with pytest.raises(InputError, match="row 2 of the vectors holds NaN or infinity"):
            choose(pool, selector=selector, n=1, vectors=broken)
    else:
        choose(pool, selector=selector, n=1, vectors=broken)
