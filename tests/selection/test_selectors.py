"""Which rows a selector keeps, and what it says of those that it does not; each against a naive second version."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError, UnknownNameError
from curate.selection import selectors as module
from curate.selection.base import POOL as COLUMNS
from curate.selection.base import Selection, Vectors, partition, selectors
from curate.selection.selectors import choose, choose_each

POOL = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e", "f"],
        "cluster": [0, 0, 0, 0, 1, 1],
        "centrality": [0.5, 0.9, 0.7, 0.6, 0.81, 0.3],
        "score": [None, None, None, None, None, None],
    },
    schema_overrides={"score": pl.Float64},
)


@st.composite
def pools(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """A pool, what was taken before, and how many rows are wanted."""
    rows = draw(
        st.lists(
            st.tuples(
                st.none() | st.integers(0, 3), st.none() | st.integers(-9, 9), st.none() | st.integers(0, 4), st.booleans()
            ),
            min_size=1,
            max_size=40,
        )
    )
    frame = pl.DataFrame(
        {
            "id": [f"{i:02}" for i in range(len(rows))],
            "cluster": [row[0] for row in rows],
            "centrality": [None if row[1] is None else row[1] / 10 for row in rows],
            "score": [row[2] for row in rows],
        },
        schema=COLUMNS,
    )
    gone = pl.Series([row[3] for row in rows])
    return frame.filter(~gone), frame.filter(gone), draw(st.integers(0, len(rows)))


def test_representative_shares_places_by_cluster_size_and_takes_even_steps_from_the_most_central_on() -> None:
    made = choose(POOL, n=3)
    assert made.kept.rows() == [
        ("b", "representative: cluster 0 of 2, cosine 0.9 to its centre, rank 1 of 4", pytest.approx(0.9)),
        ("e", "representative: cluster 1 of 2, cosine 0.81 to its centre, rank 1 of 2", pytest.approx(0.81)),
        ("d", "representative: cluster 0 of 2, cosine 0.6 to its centre, rank 3 of 4", pytest.approx(0.6)),
    ]
    assert made.dropped.select("id", "because_of").rows() == [("c", "b"), ("a", "d"), ("f", "e")]
    assert made.dropped["reason"].to_list() == [
        "representative: cluster 0 of 2, cosine 0.7 to its centre, rank 2 of 4, 2 places at even steps",
        "representative: cluster 0 of 2, cosine 0.5 to its centre, rank 4 of 4, 2 places at even steps",
        "representative: cluster 1 of 2, cosine 0.3 to its centre, rank 2 of 2, 1 places",
    ]


def test_representative_spreads_over_a_cluster_and_not_over_its_centre() -> None:
    """As many places as one cluster has rows, halved: every other rank."""
    pool = pl.DataFrame(
        {"id": [f"{i:02}" for i in range(20)], "cluster": [0] * 20, "centrality": [1 - i / 20 for i in range(20)]}
    )
    assert choose(pool, n=10).kept["id"].to_list() == [f"{i:02}" for i in range(0, 20, 2)]
    assert choose(pool, n=3).kept["id"].to_list() == ["00", "06", "13"]


def test_representative_counts_what_earlier_stages_took() -> None:
    pool, taken = POOL.filter(~pl.col("id").is_in(["b", "c"])), POOL.filter(pl.col("id").is_in(["b", "c"]))
    made = choose(pool, n=1, taken=taken)  # cluster 0 has 2 of 4 already, cluster 1 has 0 of 2
    assert made.kept["id"].to_list() == ["e"]
    assert made.dropped.filter(pl.col("id") == "a")["because_of"].to_list() == [None]
    assert made.dropped["reason"][0].endswith("0 places")


def test_representative_prefers_the_highest_score_where_there_are_scores() -> None:
    scored = POOL.with_columns(score=pl.Series([0.2, 0.1, None, 1.4, None, float("nan")]))
    made = choose(scored, n=3)
    assert sorted(made.kept["id"]) == ["a", "d", "e"]
    assert made.kept["reason"][0] == "representative: cluster 0 of 2, score 1.4, rank 1 of 4"
    assert made.dropped.filter(pl.col("id") == "c")["score"].item() == pytest.approx(0.7)


def test_representative_takes_rows_without_a_cluster_as_one() -> None:
    bare = pl.DataFrame({"id": ["x", "y", "z"]})
    made = choose(bare, n=2)
    assert made.kept["id"].to_list() == ["x", "y"]
    assert made.kept["reason"][0] == "representative: no cluster, no score and no centre, rank 1 of 3"
    assert made.dropped["because_of"].to_list() == ["y"]


@given(pools())
def test_representative_equals_a_naive_version(request: tuple[pl.DataFrame, pl.DataFrame, int]) -> None:
    """Hand out places one by one to the cluster that is furthest below its share; then take the best of each, or even steps."""
    pool, taken, n = request
    n = min(n, pool.height)
    kept = choose(pool, n=n, taken=taken).kept["id"].to_list()
    rows = defaultdict(list)
    for row in pool.iter_rows(named=True):
        rows[row["cluster"]].append(row)
    got = {c: sum(1 for row in rows[c] if row["id"] in kept) for c in rows}
    gone = {c: taken.filter(pl.col("cluster").eq_missing(pl.lit(c, dtype=pl.Int32))).height for c in rows}
    size = {c: len(rows[c]) + gone[c] for c in rows}
    for a in rows:  # no cluster that got a place is ahead of another that could still take one, by more than rounding
        for b in rows:
            if got[a] > 0 and got[b] < len(rows[b]):
                assert (gone[a] + got[a] - 1) / size[a] <= (gone[b] + got[b] + 1) / size[b] + 1e-9
    best = []
    for c, members in rows.items():
        members.sort(
            key=lambda r: (r["score"] is None, -(r["score"] or 0), r["centrality"] is None, -(r["centrality"] or 0), r["id"])
        )
        scored = [row for row in members if row["score"] is not None][: got[c]]
        others = [row for row in members if row["score"] is None]
        left = got[c] - len(scored)
        best += [row["id"] for row in scored] + [others[i * len(others) // left]["id"] for i in range(left)]
    assert sorted(kept) == sorted(best)
    assert len(kept) == n


def test_ifd_takes_the_hardest_and_says_its_rank() -> None:
    scored = POOL.with_columns(score=pl.Series([0.4, 1.23, 0.9, 1.5, None, float("nan")]))
    made = choose(scored, selector="ifd", n=2)
    assert made.kept.rows() == [("d", "ifd: 1.5, rank 1 of 4", 1.5), ("b", "ifd: 1.23, rank 2 of 4", 1.23)]
    assert made.dropped.rows()[0] == ("c", "ifd: 0.9, rank 3 of 4, 2 places", 0.9, "b")
    assert made.dropped["reason"].to_list()[2:] == ["ifd: no score yet, not drawn"] * 2


def test_ifd_without_scores_is_random() -> None:
    first = [sorted(choose(POOL, selector="ifd", n=3, seed=seed).kept["id"]) for seed in range(20)]
    assert len({tuple(ids) for ids in first}) > 5
    assert choose(POOL, selector="ifd", n=1).kept["reason"].item() == "ifd: no score yet, drawn at random"


@given(pools(), st.integers(0, 5))
def test_ifd_equals_a_naive_version(request: tuple[pl.DataFrame, pl.DataFrame, int], seed: int) -> None:
    pool, _, n = request
    kept = set(choose(pool, selector="ifd", n=n, seed=seed).kept["id"])
    scored = sorted(((-score, i) for i, score in pool.select("id", "score").iter_rows() if score is not None))
    assert {i for _, i in scored[:n]} == kept & {i for _, i in scored}
    assert len(kept) == min(n, pool.height)


SCORED = POOL.with_columns(score=pl.Series([0.4, 1.23, 0.9, 1.5, None, 0.8]))


def test_the_middle_band_is_nearest_the_median_of_pool_and_taken() -> None:
    made = choose(SCORED, selector="ifd_middle", n=3)
    assert made.kept["id"].to_list() == ["c", "f", "b"], "the median is 0.9"
    assert made.kept["reason"][1] == "ifd_middle: 0.8, 0.1 from the median, rank 2 of 5"
    assert made.dropped.row(0) == ("a", "ifd_middle: 0.4, 0.5 from the median, rank 4 of 5, 3 places", 0.4, "b")
    taken = pl.DataFrame({"id": ["x", "y", "z"], "score": [0.1, 0.2, 0.3]})
    assert choose(SCORED, selector="ifd_middle", n=1, taken=taken).kept["id"].to_list() == ["f"], "0.6 of all eight"


def test_the_band_below_1_takes_what_is_above_only_for_want_of_others() -> None:
    made = choose(SCORED, selector="ifd_below_1", n=5)
    assert made.kept["id"].to_list() == ["c", "f", "a", "e", "b"]
    assert made.kept["reason"].to_list()[-2:] == [
        "ifd_below_1: no score yet, drawn at random",
        "ifd_below_1: 1.23, not below 1, rank 4 of 5",
    ]
    assert made.dropped.row(0) == ("d", "ifd_below_1: 1.5, not below 1, rank 5 of 5, 5 places", 1.5, "b")


@given(pools(), st.integers(0, 5), st.sampled_from(["ifd_middle", "ifd_below_1"]))
def test_a_band_equals_a_naive_version(request: tuple[pl.DataFrame, pl.DataFrame, int], seed: int, band: str) -> None:
    pool, taken, n = request
    draws = dict(zip(pool["id"], np.random.default_rng(seed).random(pool.height), strict=True))
    known = sorted(x for x in [*pool["score"], *taken["score"]] if x is not None)
    median = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else 0

    def order(row: tuple[str, float | None]) -> tuple[float, ...]:
        i, score = row
        if score is None:
            return 1, draws[i]
        if band == "ifd_middle":
            return 0, abs(score - median), int(i)
        return (2, score, int(i)) if score >= 1 else (0, -score, int(i))

    ranked = [i for i, _ in sorted(pool.select("id", "score").iter_rows(), key=order)]
    made = selectors.get(band)(pool, n=min(n, pool.height), taken=taken, rng=np.random.default_rng(seed))
    assert made.kept["id"].to_list() == ranked[:n]
    assert made.dropped["id"].to_list() == ranked[n:]


@given(pools(), st.integers(0, 5))
def test_random_equals_a_naive_version(request: tuple[pl.DataFrame, pl.DataFrame, int], seed: int) -> None:
    pool, _, n = request
    made = selectors.get("random")(pool, n=min(n, pool.height), rng=np.random.default_rng(seed))
    draws = dict(zip(pool["id"], np.random.default_rng(seed).random(pool.height), strict=True))
    assert made.kept["id"].to_list() == sorted(draws, key=draws.__getitem__)[:n]
    assert made.dropped["because_of"].null_count() == made.dropped.height


def test_random_keeps_every_row_about_equally_often() -> None:
    kept = pl.concat([choose(POOL, selector="random", n=2, seed=seed).kept for seed in range(600)])
    often = kept["id"].value_counts()["count"]
    assert often.sum() == 1200
    assert 150 < often.min() <= often.max() < 250  # type: ignore[operator]  # 200 expected, 3.5 standard deviations


def test_the_generator_knows_seed_stage_and_domain() -> None:
    def kept(**where: object) -> list[str]:
        pool = pl.DataFrame({"id": [f"{i:03}" for i in range(100)]})
        return choose(pool, selector="random", n=10, **where).kept["id"].to_list()  # type: ignore[arg-type]

    assert kept() == kept(seed=0, stage=0, domain="")
    assert len({tuple(kept(seed=s, stage=k, domain=d)) for s in (0, 1) for k in (0, 1) for d in ("x", "y")}) == 8


def test_vectors_are_loaded_only_by_a_selector_that_asks() -> None:
    asked: list[list[str]] = []

    def vectors(ids: list[str]) -> np.ndarray:
        asked.append(list(ids))
        return np.eye(len(ids), dtype=np.float32)

    def first(pool: pl.DataFrame, *, n: int, vectors: Vectors, **_: object) -> Selection:
        vectors(pool["id"].to_list())
        kept = pl.int_range(pl.len()) < n
        return partition(pool.with_columns(kept=kept, reason=pl.lit("first"), because_of=pl.lit(None, dtype=pl.String)))

    for name in ("random", "ifd", "ifd_middle", "ifd_below_1", "representative"):
        choose(POOL, selector=name, n=2, vectors=vectors)
    assert asked == []
    assert choose(POOL.reverse(), selector=first, n=2, vectors=vectors).kept["id"].to_list() == ["a", "b"]
    assert asked == [["a", "b", "c", "d", "e", "f"]]


def loser(pool: pl.DataFrame, *, n: int, **_: object) -> Selection:
    decided = pool.head(n).with_columns(kept=pl.lit(value=True), reason=pl.lit("x"), because_of=pl.lit(None, dtype=pl.String))
    return partition(decided)


def test_a_selector_that_loses_rows_is_refused() -> None:
    with pytest.raises(InputError, match=r"selector 'loser': kept and dropped must split the 6 rows .* got 2 kept and 0 dropped"):
        choose(POOL, selector=loser, n=2)


def test_a_broken_rule_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown selector 'representativ'; did you mean 'representative'"):
        choose(POOL, selector="representativ", n=1)
    with pytest.raises(InputError, match="domain 'geometry': rows to select must be at least 0, got -1"):
        choose(POOL, n=-1, domain="geometry")
    with pytest.raises(InputError, match="pool: every row needs an id of its own, got 6 ids for 12 rows"):
        choose(pl.concat([POOL, POOL]), n=1)
    with pytest.raises(InputError, match="pool: a column 'id' is needed"):
        choose(POOL.drop("id"), n=1)
    with pytest.raises(InputError, match="row 'a' is in the pool and taken"):
        choose(POOL, n=1, taken=POOL.head(1))


@given(st.lists(pools(), min_size=2, max_size=5), st.sampled_from(["representative", "random", "ifd"]))
def test_many_domains_at_once_choose_as_each_alone(made: list[tuple[pl.DataFrame, pl.DataFrame, int]], selector: str) -> None:
    apart = {
        f"d{i}": (*(frame.with_columns(pl.format("{}/{}", pl.lit(i), "id").alias("id")) for frame in (pool, taken)), n)
        for i, (pool, taken, n) in enumerate(made)
    }
    apart = {domain: (pool.cast(dict(COLUMNS)), taken.cast(dict(COLUMNS)), n) for domain, (pool, taken, n) in apart.items()}
    at_once = choose_each(apart, selector=selector, seed=3)
    for domain, (pool, taken, n) in apart.items():
        alone = choose(pool, selector=selector, n=n, taken=taken, seed=3, domain=domain)
        assert at_once[domain].kept.equals(alone.kept)
        assert at_once[domain].dropped.equals(alone.dropped)


def test_many_domains_take_one_call_of_the_selector(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    whole = module._representative
    monkeypatch.setattr(module, "_representative", lambda *args: calls.append(1) or whole(*args))
    pool = POOL.cast(dict(COLUMNS))
    domains = {f"d{i}": (pool.with_columns(id=pl.format("{}/{}", pl.lit(i), "id")), pool.clear(), 2) for i in range(50)}
    made = choose_each(domains)
    assert (len(calls), len(made), {one.kept.height for one in made.values()}) == (1, 50, {2})
