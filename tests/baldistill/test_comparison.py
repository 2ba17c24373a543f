"""Tests of the comparison of methods: figures against plain definitions, intervals against what they promise."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from baldistill.runs import comparison
from baldistill.runs.comparison import difference, estimates, groups_of, rows_of, runs_of, sentence
from curate.errors import InputError

ANSWERS = ["wheat", "wheat", "wheat", "tin", "tin", "gold"]


def predictions(given: list[str | None], answers: list[str] = ANSWERS) -> pl.DataFrame:
    """A student's answers to rows whose domains are their answers."""
    return pl.DataFrame(
        {
            "id": [f"{n:02d}" for n in range(len(answers))],
            "domain": answers,
            "answer": answers,
            "prediction": given,
            "correct": [a == b for a, b in zip(given, answers, strict=True)],
        },
        schema_overrides={"prediction": pl.String},
    )


def compared(
    *students: dict[int, list[str | None]], population: dict[str, int] | None = None
) -> tuple[list[comparison.Runs], comparison.Rows]:
    tables = [{seed: predictions(given) for seed, given in student.items()} for student in students]
    first = next(iter(tables[0].values()))
    counts = population or {"wheat": 30, "tin": 20, "gold": 10}
    rows = rows_of(first, counts, {"wheat": "head", "tin": "middle", "gold": "tail"}, classes=True)
    return [runs_of(table, rows, ANSWERS) for table in tables], rows


ONE: list[str | None] = ["wheat", "wheat", "tin", "tin", None, "gold"]


def test_figures_are_what_their_names_say() -> None:
    (runs,), rows = compared({0: ONE})
    found = {name: interval.value for name, interval in estimates(runs, rows).items()}
    assert found["macro"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["micro"] == pytest.approx((30 * 2 / 3 + 20 / 2 + 10) / 60)  # weighed back to the split's own distribution
    assert (found["head"], found["middle"], found["tail"]) == pytest.approx((2 / 3, 1 / 2, 1))


def test_f1_is_that_of_scikit_learn_with_the_rows_weighed() -> None:
    (runs,), rows = compared({0: ONE}, population={"wheat": 300, "tin": 20, "gold": 10})
    weights = [100, 100, 100, 10, 10, 10]
    found = estimates(runs, rows)
    for kind in ("macro", "micro"):
        expected = f1_score(
            ANSWERS, [given or "" for given in ONE], labels=["wheat", "tin", "gold"], average=kind, sample_weight=weights
        )
        assert found[f"{kind}_f1"].value == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["wheat", "tin", "gold", "nothing"]), min_size=6, max_size=6))
def test_intervals_hold_their_figure_and_a_method_does_not_differ_from_itself(given: list[str | None]) -> None:
    (one, same), rows = compared({0: given, 1: ONE}, {0: given, 1: ONE})
    for figure, interval in estimates(one, rows).items():
        assert -1e-9 <= interval.low <= interval.high <= 1 + 1e-9
        found = difference(one, same, rows, figure)
        assert found is not None
        assert (found.value, found.low, found.high, found.wins) == (0, 0, 0, 1)
        assert found.rows_needed is None


def test_a_paired_difference_is_narrower_than_its_parts() -> None:
    """Students that fail on the same rows are told apart by rows on which one of them is right."""
    rng = np.random.default_rng(0)
    answers = [f"c{n % 5}" for n in range(500)]
    hard = rng.random(500) < 0.5
    base = [None if bad else answer for bad, answer in zip(hard, answers, strict=True)]
    better = [answer if n % 10 == 0 else given for n, (given, answer) in enumerate(zip(base, answers, strict=True))]
    table = predictions(base, answers)
    rows = rows_of(table, {}, {}, classes=False)
    one, other = (runs_of({0: predictions(given, answers)}, rows, answers) for given in (better, base))
    found = difference(one, other, rows, "macro")
    assert found is not None
    assert 0 < found.low < found.value < found.high
    alone = estimates(one, rows)["macro"]
    assert found.high - found.low < alone.high - alone.low


def test_seeds_that_disagree_widen_the_interval() -> None:
    right: list[str | None] = list(ANSWERS)
    wrong: list[str | None] = [None] * 6
    (one, other), rows = compared({0: right, 1: wrong, 2: right}, {0: wrong, 1: right, 2: wrong})
    found = difference(one, other, rows, "macro")
    assert found is not None
    assert found.value == pytest.approx(1 / 3)
    assert found.low < 0 < found.high
    assert found.wins == 2
    assert found.rows_needed is None  # every row says the same: only seeds can tell
    assert found.seeds_needed is not None
    assert found.seeds_needed > 3


def test_only_seeds_that_both_have_are_compared() -> None:
    (one, other), rows = compared({0: ONE, 1: ONE}, {1: ONE, 2: ONE})
    found = difference(one, other, rows, "macro")
    assert found is not None
    assert found.seeds == 1
    (one, other), rows = compared({0: ONE}, {2: ONE})
    assert difference(one, other, rows, "macro") is None


def test_rows_that_cannot_tell_say_how_many_could() -> None:
    answers = [f"c{n % 4}" for n in range(40)]
    one = [answer if n % 2 else None for n, answer in enumerate(answers)]
    other = [answer if n % 2 == 0 or n == 1 else None for n, answer in enumerate(answers)]
    rows = rows_of(predictions(one, answers), {}, {}, classes=False)
    found = difference(
        *(runs_of({0: predictions(given, answers)}, rows, answers) for given in (other, one)), rows, "macro", names=("a", "b")
    )
    assert found is not None
    assert found.rows_needed is not None
    assert found.rows_needed > 40
    told = sentence(found, {"a": "Ours", "b": "Random"})
    assert told.startswith("Ours − Random, macro: +")
    assert "1 seed, which says nothing about others" in told
    assert f"needs about {found.rows_needed:,}" in told


def test_students_that_were_asked_other_rows_do_not_compare() -> None:
    _, rows = compared({0: ONE})
    with pytest.raises(InputError, match="seed 7 answered other rows"):
        runs_of({7: predictions(ONE).head(5)}, rows, ANSWERS)


def test_domains_are_head_middle_and_tail() -> None:
    assert groups_of({"a": 100, "b": 40, "c": 30, "d": 3}, 40) == {"a": "head", "b": "middle", "c": "middle", "d": "tail"}
    assert groups_of({"a": 10, "b": 10}, 10) == {"a": "head", "b": "middle"}


def test_one_row_for_each_domain_is_no_certainty() -> None:
    answers = [f"c{n}" for n in range(40)]
    one: list[str | None] = [answer if n % 4 else None for n, answer in enumerate(answers)]
    other: list[str | None] = [answer if n % 4 > 1 else None for n, answer in enumerate(answers)]
    rows = rows_of(predictions(one, answers), {}, {}, classes=False)
    found = difference(*(runs_of({0: predictions(given, answers)}, rows, answers) for given in (one, other)), rows, "macro")
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert 0 < found.low < 0.2
    assert 0.3 < found.high < 0.5
