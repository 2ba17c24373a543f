"""Facility location and its blend with quality: against naive versions in whole numbers, and what they say."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.selection import facility_location
from curate.selection.selectors import choose
from tests.support.vectored import Vectored, dot, loader, vectored, whole

AXES = {"a": [1.0, 0.0], "b": [0.96, 0.28], "c": [0.96, -0.28], "d": [0.0, 1.0], "e": [0.28, 0.96], "f": [-1.0, 0.0]}
KNOWN = {i: np.array(row, np.float32) for i, row in AXES.items()}
POOL = pl.DataFrame({"id": list(AXES)})


def naive(request: Vectored, width: int, *, alpha: float = 0.0) -> list[str]:
    """Plain greedy: work out the whole objective for every row, every time."""
    pool, taken, n, known = request
    rows, gone = whole(pool, known), whole(taken, known)
    ids = sorted(rows)
    alike = {}
    for i in ids:
        near = sorted(ids, key=lambda j: (-dot(rows[i], rows[j]), j))[:width]
        alike[i] = {j: max(dot(rows[i], rows[j]), 0) for j in near}
        alike[i]["gone"] = max([0, *(dot(rows[i], row) for row in gone.values())])

    def worth(chosen: list[str]) -> int:
        return sum(max(alike[i].get(j, 0) for j in [*chosen, "gone"]) for i in ids)

    scored = {i: s for i, s in pool.select("id", "score").iter_rows() if s is not None}
    quality = {i: sum(other <= scored[i] for other in scored.values()) / len(scored) if i in scored else 0.0 for i in ids}
    kept: list[str] = []
    most = max([worth([i]) - worth([]) for i in ids] + [1])
    while len(kept) < n:
        gain = {i: worth([*kept, i]) - worth(kept) for i in ids if i not in kept}
        value = {i: (1 - alpha) * (gain[i] / most) + alpha * quality[i] for i in gain}
        kept.append(max(value, key=lambda i: (value[i], [-ord(letter) for letter in i])))
    return kept


@given(vectored(), st.integers(1, 30))
def test_facility_location_equals_a_naive_version(request: Vectored, width: int) -> None:
    pool, taken, n, known = request
    selector = partial(facility_location.facility_location, neighbours=width)
    made = choose(pool, selector=selector, n=n, taken=taken, vectors=loader(known))
    assert made.kept["id"].to_list() == naive(request, width)
    by_name = choose(pool, selector="facility_location", n=n, taken=taken, vectors=loader(known))
    assert by_name.kept["id"].to_list() == naive(request, pool.height), "small pools are compared in full"


@given(vectored(), st.integers(1, 30), st.sampled_from([0.25, 0.5, 1.0]))
def test_quality_diversity_equals_a_naive_version(request: Vectored, width: int, alpha: float) -> None:
    pool, taken, n, known = request
    selector = partial(facility_location.quality_diversity, alpha=alpha, neighbours=width)
    made = choose(pool, selector=selector, n=n, taken=taken, vectors=loader(known))
    assert made.kept["id"].to_list() == naive(request, width, alpha=alpha)


@given(vectored())
def test_quality_diversity_without_scores_or_weight_is_facility_location(request: Vectored) -> None:
    pool, taken, n, known = request
    plain = choose(pool, selector="facility_location", n=n, taken=taken, vectors=loader(known)).kept["id"]
    none = choose(pool.drop("score"), selector="quality_diversity", n=n, taken=taken, vectors=loader(known))
    selector = partial(facility_location.quality_diversity, alpha=0)
    weightless = choose(pool, selector=selector, n=n, taken=taken, vectors=loader(known))
    assert plain.equals(none.kept["id"])
    assert plain.equals(weightless.kept["id"])


def test_facility_location_takes_the_row_that_stands_for_most() -> None:
    made = choose(POOL, selector="facility_location", n=2, vectors=loader(KNOWN))
    assert made.kept.rows() == [
        ("b", "facility_location: choice 1, adds 3.62 to how well 5 rows are stood for", pytest.approx(3.619, abs=1e-3)),
        ("d", "facility_location: choice 2, adds 1.143 to how well 2 rows are stood for", pytest.approx(1.143, abs=1e-3)),
    ]
    assert made.dropped["id"].to_list() == ["f", "a", "c", "e"]
    assert made.dropped["because_of"].to_list() == [None, "b", "b", "d"]
    assert made.dropped["reason"][0] == "facility_location: would add 1.0, no chosen row among its nearest"
    assert made.dropped["reason"][3] == "facility_location: would add 0.04, 0.96 like a chosen row"


def test_facility_location_counts_what_was_taken() -> None:
    gone = POOL.filter(pl.col("id") == "a")
    made = choose(POOL.join(gone, on="id", how="anti"), selector="facility_location", n=1, taken=gone, vectors=loader(KNOWN))
    assert made.kept["id"].to_list() == ["d"]
    assert "like a row of an earlier stage" in made.dropped.filter(id="b")["reason"].item()


def test_quality_diversity_prefers_the_hard_among_the_alike() -> None:
    scored = POOL.with_columns(score=pl.Series([0.1, 0.2, 0.9, None, 0.3, 0.1]))
    made = choose(scored, selector="quality_diversity", n=2, vectors=loader(KNOWN))
    assert made.kept["id"].to_list()[0] == "c", "b stands for a little more and is easier"
    assert made.kept["reason"][0].startswith("quality_diversity: choice 1, quality 1.0, adds 2.803 to how well 3 rows")
    assert "no score, would add" in made.dropped.filter(id="d")["reason"].item()
    easy = choose(scored, selector=partial(facility_location.quality_diversity, alpha=1.0), n=2, vectors=loader(KNOWN))
    assert easy.kept["id"].to_list() == ["c", "e"], "alone, the highest scores"


def test_what_is_refused() -> None:
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="alpha must be within 0 and 1"):
            choose(POOL, selector=partial(facility_location.quality_diversity, alpha=alpha), n=1, vectors=loader(KNOWN))
    with pytest.raises(InputError, match="neighbours must be at least 1, got 0"):
        choose(POOL, selector=partial(facility_location.facility_location, neighbours=0), n=1, vectors=loader(KNOWN))


def test_large_pools_see_several_times_their_share() -> None:
    assert [
        facility_location.graph_width(*at) for at in ((2_048, 1), (20_000, 1_000), (20_000, 100), (10**6, 10), (10**6, 10**6))
    ] == [
        2_048,
        100,
        256,
        67,
        64,
    ]


def test_a_large_pool_is_served_nearly_as_well_as_in_full() -> None:
    rng = np.random.default_rng(0)
    rows = np.eye(32, dtype=np.float32)[rng.integers(0, 20, 2_100)] + rng.normal(scale=0.2, size=(2_100, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    known = {f"{i:04}": row for i, row in enumerate(rows)}
    pool = pl.DataFrame({"id": list(known)})

    def worth(selector: object) -> float:
        kept = choose(pool, selector=selector, n=100, vectors=loader(known)).kept["id"]
        return float((rows @ np.array([known[i] for i in kept]).T).max(axis=1).sum())

    full = worth(partial(facility_location.facility_location, neighbours=2_100))
    assert worth("facility_location") > 0.99 * full
    assert worth("random") < 0.97 * full
