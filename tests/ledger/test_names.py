"""Charges that move from name to name: nothing is lost, whatever order the steps are done in and however often."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.calls import estimates
from curate.ledger.batches import BatchStore
from curate.ledger.ledger import Ledger
from curate.ledger.names import cover, is_at_work, move
from curate.ledger.records import Caps, Charged
from tests.support.charges import ELSEWHERE, bound, buy, spec


def test_what_is_charged_follows_the_name_and_caps_go_on_counting_it(ledger: Ledger) -> None:
    for n in range(3):
        buy(ledger, n, "old")
    ledger.hit([1], "old", "balance", 0)
    cover(ledger, "old", "new")
    assert ledger.charged("old") == ledger.charged("new") == Charged(3, 45, 21e-9)
    assert move(ledger, "old", "new") == 3
    assert (ledger.charged("old"), ledger.charged("new")) == (Charged(), Charged(3, 45, 21e-9))
    assert ledger.query("SELECT DISTINCT name FROM attempts UNION SELECT name FROM hits") == [("new",)]
    assert buy(ledger, 3, "new", caps=Caps(calls=3)) == "capped"


def test_each_step_may_be_done_again(ledger: Ledger) -> None:
    buy(ledger, 0, "old")
    buy(ledger, 1, "new")
    for step in (cover, cover, move, cover, move, move):
        step(ledger, "old", "new")
        assert ledger.charged("new") == Charged(2, 30, 14e-9)


def test_what_the_new_name_had_stays_charged_to_it_and_late_charges_can_follow(ledger: Ledger) -> None:
    buy(ledger, 0, "new")
    buy(ledger, 1, "old")
    cover(ledger, "old", "new")
    buy(ledger, 2, "old")  # between the two steps
    move(ledger, "old", "new")
    assert ledger.charged("new") == Charged(3, 45, 21e-9)
    buy(ledger, 3, "old")  # after them
    assert move(ledger, "old", "new") == 1
    assert ledger.charged("new") == Charged(4, 60, 28e-9)


def test_a_sum_that_only_covers_a_name_goes_on_with_it(ledger: Ledger) -> None:
    buy(ledger, 0, "first")
    buy(ledger, 1, "third")
    cover(ledger, "first", "second")  # and no more: the charges themselves have the first name
    cover(ledger, "second", "third")
    move(ledger, "second", "third")
    assert ledger.charged("third") == Charged(2, 30, 14e-9)


def test_without_a_price_calls_and_tokens_are_moved(ledger: Ledger) -> None:
    buy(ledger, 0, "old", nano=None)
    cover(ledger, "old", "new")
    move(ledger, "old", "new")
    assert ledger.charged("new") == Charged(1, 15, 0.0)


def test_a_ledger_that_does_not_know_the_name_gets_no_account(ledger: Ledger) -> None:
    cover(ledger, "old", "new")
    assert move(ledger, "old", "new") == 0
    assert ledger.query("SELECT name FROM accounts") == []


def test_open_batches_and_replies_used_again_move_and_none_is_there_twice(ledger: Ledger) -> None:
    BatchStore(ledger).plan([[(spec(1), bound("old"))]], Caps())
    for name in ("old", "new"):
        ledger.hit([5], name, "balance", 0)
    move(ledger, "old", "new")
    assert [batch.name for batch in BatchStore(ledger).open_batches("local", "m")] == ["new"]
    assert ledger.query("SELECT call, name, n FROM hits") == [(5, "new", 1)]


def test_an_estimate_is_compared_with_what_its_own_work_was_billed(ledger: Ledger, tmp_path: Path) -> None:
    told = json.dumps(estimates.Estimate(1, 0, 10, 5, 1.0, calls=2, calls_range=(1, 3)).to_dict())
    insert = (
        "INSERT INTO estimates (name, verb, stage, work, made, told, had_calls, had_tokens, had_nano_usd, had_hits) "
        "VALUES (?, 'balance', 0, '', 0, ?, 0, 0, 0, 0)"
    )
    buy(ledger, 0, "new")
    with ledger.transaction() as db:
        db.execute(insert, ("new", told))
        db.execute(insert, ("old", told))
    buy(ledger, 1, "old")
    buy(ledger, 2, "old")
    assert [found.calls for found in estimates.compare_with_bill(ledger, "old")] == [2]
    move(ledger, "old", "new")
    assert [found.calls for found in estimates.compare_with_bill(ledger, "new")] == [2]


@pytest.mark.parametrize("batch", [False, True])
def test_who_is_at_work_is_seen_by_calls_in_flight_and_by_batches(ledger: Ledger, batch: bool) -> None:
    assert not is_at_work(ledger, "math")
    if batch:
        store = BatchStore(ledger)
        store.plan([[(spec(1), bound("math"))]], Caps())
        assert is_at_work(ledger, "math")
        store.release()
    else:
        attempt = ledger.reserve(spec(1), bound("math"), Caps(), ELSEWHERE).attempt
        assert is_at_work(ledger, "math")
        ledger.lose(attempt, "gone")
    assert not is_at_work(ledger, "math")
