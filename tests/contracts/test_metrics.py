"""The battery that every registered metric passes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.evaluation.evaluate import metrics

every_metric = pytest.mark.parametrize("metric", metrics.names())
words = st.sampled_from(["", "7", "gas", "the gas", "gold and gas", "A"])
rows = st.lists(st.tuples(words, words.filter(bool), st.sampled_from(["sums", "news"])), min_size=1, max_size=12)


def figures(metric: str, found: list[tuple[str, str, str]]) -> dict[str, float]:
    predictions, answers, domains = (list(column) for column in zip(*found, strict=True))
    before = (list(predictions), list(answers), list(domains))
    made = dict(metrics.get(metric)(predictions, answers, domains))
    assert (predictions, answers, domains) == before, "a metric changes nothing that it is given"
    return made


@every_metric
@given(found=rows)
def test_figures_are_named_finite_numbers(metric: str, found: list[tuple[str, str, str]]) -> None:
    made = figures(metric, found)
    assert made
    assert all(isinstance(name, str) and name.isidentifier() for name in made)
    assert all(math.isfinite(value) for value in made.values())
    assert set(made) == set(figures(metric, [("gas", "gas", "news")])), "the same figures for any rows"


@every_metric
@given(found=rows, order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(metric: str, found: list[tuple[str, str, str]], order: object) -> None:
    shuffled = list(found)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert figures(metric, shuffled) == pytest.approx(figures(metric, found))


@every_metric
@given(found=rows)
def test_no_prediction_beats_the_right_one(metric: str, found: list[tuple[str, str, str]]) -> None:
    right = figures(metric, [(answer, answer, domain) for _, answer, domain in found])
    assert all(value <= right[name] + 1e-12 for name, value in figures(metric, found).items())


@every_metric
def test_rows_without_a_clear_answer_count_as_wrong(metric: str) -> None:
    none = figures(metric, [("", "gas", "news"), ("", "gold", "news")])
    some = figures(metric, [("gas", "gas", "news"), ("", "gold", "news")])
    assert all(none[name] < some[name] for name in none)
