"""Where one more example helps: error rates that few rows do not mislead, shares per example spent, files that are refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.selection import feedback
from curate.selection.feedback import DomainResult

domain_result = st.integers(0, 60).flatmap(lambda n: st.builds(DomainResult, st.just(n), st.integers(0, n)))
results = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), domain_result, min_size=1, max_size=10)


def naive(found: dict[str, DomainResult]) -> dict[str, float]:
    """The naive second version, in floats and one sum after the other."""
    n = np.array([j.n for j in found.values()], dtype=float)
    right = np.array([j.correct for j in found.values()], dtype=float)
    mean = (right.sum() + 0.5) / (n.sum() + 1)
    seen = n > 0
    freedom, effective = seen.sum() - 1, n.sum() - (n**2).sum() / max(n.sum(), 1)
    spread = (n[seen] * (right[seen] / n[seen] - mean) ** 2).sum() / (mean * (1 - mean))
    rho = 0.0 if freedom < 1 or effective <= freedom else max(0.0, (spread - freedom) / (effective - freedom))
    strength = min(max(1.0, (1 - rho) / rho), 1000.0) if rho > 0 else 1000.0
    return dict(zip(found, 1 - (right + strength * mean) / (n + strength), strict=True))


@given(results)
def test_error_rates_equal_a_naive_version_and_are_never_0_or_1(found: dict[str, DomainResult]) -> None:
    rates = feedback.error_rates(found)
    assert {d: float(rate) for d, rate in rates.items()} == pytest.approx(naive(found), abs=1e-6)
    assert all(0 < rate < 1 for rate in rates.values())


def test_a_difference_that_chance_explains_counts_for_nothing() -> None:
    rates = feedback.error_rates({"a": DomainResult(4, 1), "b": DomainResult(4, 3), "c": DomainResult(4, 2)})
    assert rates["a"] > rates["c"] > rates["b"], "but keeps the order"
    assert all(abs(rate - Fraction(1, 2)) < Fraction(1, 500) for rate in rates.values())


def test_few_rows_are_drawn_to_the_mean_and_many_are_not() -> None:
    many = {f"d{i}": DomainResult(200, 200 * i // 10) for i in range(1, 10)}
    rates = feedback.error_rates({**many, "tiny": DomainResult(2, 0), "large": DomainResult(200, 0), "none": DomainResult(0, 0)})
    assert rates["large"] > Fraction(97, 100)
    assert rates["none"] < rates["tiny"] < rates["large"]
    assert abs(float(rates["d3"]) - 0.7) < 0.01
    assert float(rates["none"]) == pytest.approx(0.55, abs=0.05), "no rows: the rate of all"


def test_shrunk_rates_are_nearer_the_truth_than_raw_ones() -> None:
    rng = np.random.default_rng(0)
    ours = raw = 0.0
    for _ in range(200):
        truth = rng.beta(4, 6, size=12)
        sizes = rng.integers(3, 40, size=12)
        right = rng.binomial(sizes, truth)
        found = {f"{i:02}": DomainResult(int(n), int(k)) for i, (n, k) in enumerate(zip(sizes, right, strict=True))}
        rates = feedback.error_rates(found)
        ours += sum((float(rates[d]) - (1 - t)) ** 2 for d, t in zip(sorted(found), truth, strict=True))
        raw += float(((right / sizes - truth) ** 2).sum())
    assert ours < 0.8 * raw


@given(results, st.data())
def test_shares_sum_to_1_and_reach_every_domain(found: dict[str, DomainResult], data: st.DataObject) -> None:
    spent = {d: data.draw(st.integers(0, 200)) for d in [*found, "new"]}
    made = feedback.shares(found, spent)
    assert sum(made.values()) == 1
    assert set(made) == set(spent)
    assert all(share > 0 for share in made.values())


def test_a_domain_gets_less_for_each_example_that_it_had() -> None:
    found = {"a": DomainResult(50, 10), "b": DomainResult(50, 10)}
    made = feedback.shares(found, {"a": 0, "b": 30})
    assert made == {"a": Fraction(3, 4), "b": Fraction(1, 4)}, "the mean of 15 is added to both: 1/15 against 1/45"


def test_a_file_is_what_an_evaluation_prints(tmp_path: Path) -> None:
    path = tmp_path / "validation.json"
    lines = [{"domain": "b", "n": 4, "correct": 1, "accuracy": 0.25, "head": True}, {"domain": "a", "n": 2, "correct": 2}]
    path.write_text(json.dumps({"split": "validation", "domains": lines, "macro": {}}))
    assert feedback.read(path) == feedback.read(str(path)) == {"a": DomainResult(2, 2), "b": DomainResult(4, 1)}
    assert feedback.read({"split": "validation", "domains": lines}) == feedback.read(path)
    assert feedback.read(None) is None


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"split": "test", "domains": []}, "must be of split 'validation', got 'test'; test rows never steer a stage"),
        ({"split": "validation"}, "'domains' is missing; write the file with: baldistill evaluate"),
        ([1], "'domains' is missing"),
        ({"split": "validation", "domains": [{"n": 1, "correct": 1}]}, "needs domain, n and correct"),
        (
            {"split": "validation", "domains": [{"domain": "a", "n": 1, "correct": 2}]},
            "domain 'a' needs whole numbers 0 ≤ correct ≤ n, got 2 of 1",
        ),
        ({"split": "validation", "domains": [{"domain": "a", "n": 1, "correct": 1}] * 2}, "a domain comes twice"),
    ],
)
def test_what_is_no_evaluation_of_validation_rows_is_refused(tmp_path: Path, found: Any, message: str) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=f"metrics 'found.json'.*{message}"):
        feedback.read(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics 'none\.json' cannot be read: No such file"):
        feedback.read(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"split": "val')
    with pytest.raises(InputError, match=r"metrics 'cut\.json' is not JSON"):
        feedback.read(tmp_path / "cut.json")
