"""k-center and herding: against naive versions in Python's whole numbers, and what they say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given

from curate.errors import InputError
from curate.selection import coreset
from curate.selection.selectors import choose
from tests.support.vectored import Vectored, dot, loader, vectored, whole

# Three rows near one axis, two near another, one far from both.
AXES = {"a": [1.0, 0.0], "b": [0.96, 0.28], "c": [0.96, -0.28], "d": [0.0, 1.0], "e": [0.28, 0.96], "f": [-1.0, 0.0]}
KNOWN = {i: np.array(row, np.float32) for i, row in AXES.items()}
POOL = pl.DataFrame({"id": list(AXES)})


def apart(a: list[int], b: list[int]) -> int:
    return dot(a, a) + dot(b, b) - 2 * dot(a, b)


@given(vectored())
def test_k_center_equals_a_naive_version(request: Vectored) -> None:
    pool, taken, n, known = request
    made = choose(pool, selector="k_center", n=n, taken=taken, vectors=loader(known))
    left, chosen = whole(pool, known), list(whole(taken, known).values())
    mean = [sum(column) for column in zip(*left.values(), strict=True)]
    kept = []
    while len(kept) < n:
        far = {i: min(apart(row, c) for c in chosen) if chosen else dot(row, mean) for i, row in left.items()}
        kept.append(max(left, key=lambda i: (far[i], [-ord(letter) for letter in i])))
        chosen.append(left.pop(kept[-1]))
    assert made.kept["id"].to_list() == kept


@given(vectored())
def test_k_center_leaves_no_row_further_than_twice_the_best_possible(request: Vectored) -> None:
    pool, taken, n, known = request
    made = choose(pool, selector="k_center", n=n, taken=taken, vectors=loader(known))
    rows = whole(pool, known)
    chosen = [rows[i] for i in made.kept["id"]] + list(whole(taken, known).values())
    if not n or not chosen or made.dropped.is_empty():
        return
    radius = max(min(apart(row, c) for c in chosen) for row in rows.values())
    # These n + 1 rows are pairwise at least the radius apart: any n centres leave one of them half of it away.
    spread = [rows[i] for i in [*made.kept["id"], made.dropped["id"][0]]]
    assert min([apart(a, b) for k, a in enumerate(spread) for b in spread[:k]]) >= radius


@given(vectored())
def test_herding_equals_a_naive_version(request: Vectored) -> None:
    pool, taken, n, known = request
    made = choose(pool, selector="herding", n=n, taken=taken, vectors=loader(known))
    left, gone = whole(pool, known), list(whole(taken, known).values())
    total = len(left) + len(gone)
    sums = [sum(column) for column in zip(*left.values(), *gone, strict=True)]
    kept, chosen = [], list(gone)
    while len(kept) < n:
        done = [sum(column) for column in zip(*chosen, strict=True)] or [0] * len(sums)
        missing = [(len(chosen) + 1) * s - total * d for s, d in zip(sums, done, strict=True)]
        kept.append(max(left, key=lambda i: (dot(left[i], missing), [-ord(letter) for letter in i])))
        chosen.append(left.pop(kept[-1]))
    assert made.kept["id"].to_list() == kept


def test_k_center_goes_where_nothing_is_chosen() -> None:
    made = choose(POOL, selector="k_center", n=3, vectors=loader(KNOWN))
    assert made.kept.rows() == [
        ("b", "k_center: the most central row, chosen first", None),
        ("f", "k_center: 1.96 from the nearest chosen row", pytest.approx(1.96, abs=1e-3)),
        ("d", "k_center: 0.72 from the nearest chosen row", pytest.approx(0.72, abs=1e-3)),
    ]
    assert made.dropped.select("id", "because_of").rows() == [("c", "b"), ("a", "b"), ("e", "d")]
    assert made.dropped["reason"][2] == "k_center: 0.04 from the nearest chosen row"


def test_k_center_keeps_away_from_what_was_taken() -> None:
    gone = POOL.filter(pl.col("id").is_in(["a", "d"]))
    made = choose(POOL.join(gone, on="id", how="anti"), selector="k_center", n=1, taken=gone, vectors=loader(KNOWN))
    assert made.kept["id"].to_list() == ["f"]
    assert made.dropped["because_of"].null_count() == 3
    assert made.dropped["reason"][2] == "k_center: 0.04 from the nearest chosen row, of an earlier stage"


def test_herding_takes_the_typical_first_and_brings_the_mean_near() -> None:
    made = choose(POOL, selector="herding", n=3, vectors=loader(KNOWN))
    assert made.kept["id"].to_list() == ["b", "d", "c"]
    assert made.kept["reason"][0] == "herding: choice 1, 0.443 towards the mean that is missing"
    assert "f" not in made.kept["id"]
    assert made.dropped["because_of"].to_list() == ["c"] * 3
    assert made.dropped["reason"][0].endswith("towards the mean that is missing, 3 places")


def test_herding_brings_the_mean_nearer_than_chance_does() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 16)).astype(np.float32) + np.eye(16, dtype=np.float32)[rng.integers(0, 3, 400)] * 4
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    known = {f"{i:03}": row for i, row in enumerate(rows)}
    pool = pl.DataFrame({"id": list(known)})

    def off(selector: str, seed: int = 0) -> float:
        kept = choose(pool, selector=selector, n=20, seed=seed, vectors=loader(known)).kept["id"]
        return float(np.linalg.norm(np.mean([known[i] for i in kept], axis=0) - rows.mean(axis=0)))

    assert off("herding") < min(off("random", seed) for seed in range(20)) / 2


def test_herding_refuses_sums_that_do_not_fit() -> None:
    pool = pl.DataFrame({"id": pl.int_range(1_100_000, eager=True).cast(pl.String)})
    with pytest.raises(InputError, match="'herding': 1000000 of 1100000 rows are too many for exact sums"):
        coreset.herding(pool, n=1_000_000, taken=pool.clear(), vectors=None)
