"""What stages came to: the sums of `balance --json`, and prices that nobody knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from curate.balance.results import BalanceResult, StageResult
from curate.manifest.manifest import Manifest
from curate.selection.base import Quotas

QUOTAS = Quotas(wanted={"a": 6, "b": 4}, planned={"a": 7, "b": 3}, budget=10)
STAGE = StageResult(
    stage=0,
    version=3,
    budget=10,
    quotas=QUOTAS,
    achieved={"a": 7, "b": 2},
    synthetic={"a": 0, "b": 2},
    rejected={"b": {"malformed": 2, "near_duplicate": 1}},
    moved={},
    calls=12,
    tokens=1000,
    usd=0.5,
    written=2,
    tokens_per_written=300.0,
    usd_per_written=0.05,
)


def told(*stages: StageResult) -> dict[str, Any]:
    return BalanceResult(Manifest("tail", 4, "."), 20, stages).to_dict()


def test_stages_are_summed_by_domain() -> None:
    second = replace(STAGE, stage=1, achieved={"a": 1, "b": 4}, synthetic={"a": 1, "b": 3}, rejected={"a": {"leakage": 5}})
    figures = told(STAGE, second)
    assert (figures["version"], figures["budget"], figures["calls"], figures["tokens"], figures["usd"]) == (4, 20, 24, 2000, 1.0)
    common = {"wanted": 12, "planned": 14}
    assert figures["domains"] == [
        {"domain": "a", **common, "achieved": 8, "real": 7, "synthetic": 1, "rejected": 5},
        {"domain": "b", "wanted": 8, "planned": 6, "achieved": 6, "real": 1, "synthetic": 5, "rejected": 3},
    ]
    assert [stage["stage"] for stage in figures["stages"]] == [0, 1]


def test_dollars_that_nobody_knows_are_not_nothing() -> None:
    """A model without a price makes the sum unknown; a null is never counted as $0."""
    unpriced = replace(STAGE, usd=None, usd_per_written=None)
    figures = told(STAGE, unpriced)
    assert (figures["usd"], figures["usd_per_written"], figures["tokens_per_written"]) == (None, None, 300.0)


def test_what_a_new_example_costs_is_weighed_by_how_many_there_are() -> None:
    figures = told(STAGE, replace(STAGE, written=6, tokens_per_written=100.0, usd_per_written=0.01))
    assert figures["written"] == 8
    assert figures["tokens_per_written"] == pytest.approx((2 * 300 + 6 * 100) / 8)
    assert figures["usd_per_written"] == pytest.approx((2 * 0.05 + 6 * 0.01) / 8)


def test_a_stage_without_new_examples_says_nothing_of_their_cost() -> None:
    none = replace(STAGE, written=0, tokens_per_written=None, usd_per_written=None)
    assert (told(none)["tokens_per_written"], told(none)["usd_per_written"]) == (None, None)
    assert told(STAGE, none)["tokens_per_written"] == 300.0


def test_one_stage_that_a_cap_stopped_makes_the_whole_incomplete() -> None:
    assert told(STAGE)["complete"]
    assert not told(STAGE, replace(STAGE, complete=False))["complete"]


def test_slots_that_stay_empty_are_counted_of_what_was_done_alone() -> None:
    done = BalanceResult(Manifest("tail", 4, "."), 20, (STAGE, replace(STAGE, stage=1, achieved={"a": 7, "b": 3})))
    assert (done.short_by, done.complete) == (1, True)
    assert BalanceResult(Manifest("tail", 4, "."), 20, (replace(STAGE, version=None, achieved={}),)).short_by == 0
