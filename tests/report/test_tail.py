"""The passes over rows give what counting one by one gives."""

from collections import Counter
from itertools import pairwise, product
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.manifest.schema import SPLITS
from curate.report import tail
from tests.support.samples import frames, ingested

SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=60)
LENGTHS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40) | st.none()), min_size=1, max_size=80)
KEYS = st.lists(st.tuples(st.integers(-3, 3), st.sampled_from(SPLITS)), max_size=60)


@given(SIZES)
def test_gini_is_the_mean_difference_between_two_domains(sizes: list[int]) -> None:
    differences = [abs(a - b) for a, b in product(sizes, sizes)]
    expected = np.mean(differences) / (2 * np.mean(sizes))
    assert tail.imbalance(sizes)["gini"] == pytest.approx(expected, abs=1e-12)


@given(SIZES)
def test_figures_stay_within_their_bounds(sizes: list[int]) -> None:
    found = tail.imbalance(sizes)
    assert found["imbalance_ratio"] == max(sizes) / min(sizes)
    assert 0 <= found["gini"] < 1
    assert 0 < found["entropy"] <= 1 + 1e-12
    assert 1 - 1e-9 <= found["effective_domains"] <= len(sizes) * (1 + 1e-12)


@given(SIZES, st.randoms())
def test_figures_do_not_depend_on_the_order_of_domains(sizes: list[int], random: object) -> None:
    shuffled = sorted(sizes, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert tail.imbalance(shuffled) == pytest.approx(tail.imbalance(sizes))


def test_equal_domains_are_balanced() -> None:
    found = tail.imbalance([7] * 9)
    assert found == pytest.approx({"imbalance_ratio": 1, "gini": 0, "entropy": 1, "effective_domains": 9})


def test_two_domains_have_the_entropy_of_a_coin() -> None:
    assert tail.imbalance([3, 1])["entropy"] == pytest.approx(-(0.75 * log(0.75) + 0.25 * log(0.25)) / log(2))


@given(LENGTHS)
def test_quantiles_are_those_of_numpy(rows: list[tuple[str, int | None]]) -> None:
    frame = pl.LazyFrame(rows, schema={"domain": pl.String, "n": pl.Int32}, orient="row")
    counts = tail.histogram(frame, ["domain"], "n")
    found = {row["domain"]: row for row in tail.quantiles(counts, ["domain"]).to_dicts()}
    for domain in {d for d, n in rows if n is not None}:
        values = [n for d, n in rows if d == domain and n is not None]
        assert found[domain]["p50"] == pytest.approx(np.quantile(values, 0.5))
        assert found[domain]["p95"] == pytest.approx(np.quantile(values, 0.95))
        assert found[domain]["max"] == max(values)
    every = [n for _, n in rows if n is not None]
    if every:
        assert tail.quantiles(counts)["p95"].item() == pytest.approx(np.quantile(every, 0.95))


@given(KEYS, st.sampled_from([*SPLITS, "all"]))
def test_duplicates_and_overlap_are_those_of_counting(rows: list[tuple[int, str]], split: str) -> None:
    frame = pl.LazyFrame(rows, schema={"prompt_key": pl.Int64, "split": pl.String}, orient="row")
    own = "train" if split == "all" else split
    profiled = Counter(key for key, s in rows if split in ("all", s))
    elsewhere = {key for key, s in rows if s != own}
    found = tail.count_prompts(frame, split)
    assert found.duplicates == sum(n - 1 for n in profiled.values())
    assert found.overlap == sum(key in elsewhere for key, s in rows if s == own)


def test_parts_count_chosen_rows_and_rejected_ones_apart() -> None:
    rows, _ = frames(
        [
            {"prompt": "a", "status": "selected", "n_tokens": 3, "stage": 0},
            {"prompt": "b"},
            {"prompt": "c", "source": "synthetic", "status": "rejected", "stage": 0},
            {"prompt": "d", "status": "rejected", "reason": "sampled_out"},
            {"prompt": "e", "split": "test"},
        ]
    )
    counts = tail.count_parts(rows.lazy(), ["domain"], pl.col("split") == "train", pl.col("status") != "rejected")
    (found,) = counts.to_dicts()
    expected = {"domain": "algebra", "rows": 2, "real": 2, "synthetic": 0, "selected": 1, "rejected": 2, "counted": 1}
    assert {key: found[key] for key in expected} == expected
    assert (found["train"], found["train_real"]) == (3, 2), (
        "a row that was sampled out makes no head, one that a stage rejected does"
    )


BLANK = ["", " ", "\n\t", None]
WRITTEN = ["0", " 4", "!", "\n x", "…"]


def test_blank_answers_and_prompts_are_empty(tmp_path: Path) -> None:
    blank = [{"prompt": f"q{i}", "answer": answer} for i, answer in enumerate(BLANK)]
    written = [{"prompt": f"w{i}", "answer": answer} for i, answer in enumerate(WRITTEN)]
    start = ingested(tmp_path, [*blank, *written, {"prompt": "  "}, {"prompt": "", "answer": " "}])
    assert tail.count_empty(start, start.scan()) == len(BLANK) + 2


def test_only_rows_of_this_version_are_empty(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": "a", "answer": ""}, {"prompt": "b", "answer": "2"}])
    kept = start.commit(start.rows()[1:], verb="audit")
    assert tail.count_empty(kept, kept.scan()) == 0


def test_splits_without_rows_are_left_out() -> None:
    rows, _ = frames([{"prompt": "a"}, {"prompt": "b", "split": "test"}, {"prompt": "c", "split": "test"}])
    assert tail.count_splits(rows.lazy()) == {"train": 1, "test": 2}


def test_stages_come_in_order() -> None:
    picked = [{"prompt": str(i), "status": "selected", "stage": stage} for i, stage in enumerate([2, 0, 2])]
    rows, _ = frames([*picked, {"prompt": "s", "status": "selected", "stage": 2, "source": "synthetic"}, {"prompt": "left"}])
    found = tail.count_stages(rows.lazy()).rows()
    assert found == [(0, 1, 1, 0), (2, 3, 2, 1)]
    assert all(a[0] < b[0] for a, b in pairwise(found))


@given(st.integers(1, 500) | st.integers(501, 12_000))
def test_ranges_of_ranks_hold_every_part_once_and_name_the_ends(n: int) -> None:
    part = tail.Part("d", None, 1, 1 / n, 1.0, False, 1, 0, 0, 0, None, None)
    fields = dict.fromkeys(tail.Profile.__dataclass_fields__) | {"domains": (part,) * n}
    ranges = tail.Profile(**fields).by_rank()  # type: ignore[arg-type]
    ranks = [rank for one in ranges for rank in range(one.first, one.last + 1)]
    assert ranks == list(range(1, n + 1))
    assert all(len(one.parts) == one.last - one.first + 1 for one in ranges)
    alone = {one.first for one in ranges if one.first == one.last}
    assert {*range(1, min(n, tail.ENDS) + 1), *range(max(1, n - tail.ENDS + 1), n + 1)} <= alone
    assert len(ranges) == n if n <= tail.MOST_LISTED else len(ranges) <= 2 * tail.ENDS + 4
