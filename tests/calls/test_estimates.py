from pathlib import Path
from typing import Any

import pytest

from curate.calls.client import MeteredTeacher
from curate.calls.estimates import close_estimate, compare_with_bill, estimate_and_store, store_estimate
from curate.calls.forecast import Estimate, Task
from curate.ledger.ledger import Ledger
from curate.progress import Event, listen
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.fake import Fake
from curate.teachers.prices import Price

ESTIMATE = Estimate(4, 0, 400, 200, 0.0008, 4, (4, 5), (500, 700), (0.0007, 0.0009))
PRICE = Price(1.0, 2.0)


def metered(ledger: Ledger, *, stage: int | None = 0, name: str = "math", price: Price | None = PRICE) -> MeteredTeacher:
    teacher = Fake(script=lambda request, _: RawResponse.of("four", usage=Usage(100, 60)), price=price)
    return MeteredTeacher(teacher, ledger, name, verb="balance", stage=stage)


def asked(*samples: int) -> list[Request]:
    return [Request("rationale", [{"role": "user", "content": "x" * 300}], sample=n, domain="a") for n in samples]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_what_was_billed_is_compared_with_what_was_estimated(ledger: Ledger) -> None:
    mine = metered(ledger)
    store_estimate(mine.account, ESTIMATE, {"budget": 4})
    mine.ask(asked(0, 1, 2, 3))
    told = close_estimate(mine.account, complete=True)
    assert told is not None
    assert (told.verb, told.stage, told.estimate, told.calls, told.tokens, told.at_hand) == ("balance", 0, ESTIMATE, 4, 640, 0)
    assert told.usd == pytest.approx(4 * 220e-6)
    assert told.off == pytest.approx(0.1)
    assert told.to_dict()["off"] == told.off


def test_a_run_that_goes_on_keeps_the_estimate_of_its_start(ledger: Ledger) -> None:
    first = metered(ledger)
    store_estimate(first.account, ESTIMATE, {"budget": 4})
    first.ask(asked(0, 1))
    again = metered(ledger)
    assert store_estimate(again.account, Estimate(0, 0, 9, 9, 9.0), {"budget": 4}) == ESTIMATE
    again.ask(asked(0, 1, 2, 3))
    told = close_estimate(again.account, complete=True)
    assert told is not None
    assert (told.calls, told.at_hand) == (4, 2)


def test_work_that_was_stopped_is_compared_so_far(ledger: Ledger) -> None:
    mine = metered(ledger)
    store_estimate(mine.account, ESTIMATE, {})
    stopped, done = close_estimate(mine.account, complete=False), close_estimate(mine.account, complete=True)
    assert stopped is not None
    assert done is not None
    assert (stopped.ended, done.ended, [told.ended for told in compare_with_bill(ledger, "math")]) == (False, True, [True])


def test_other_work_of_the_same_stage_is_compared_from_its_own_start(ledger: Ledger) -> None:
    mine = metered(ledger)
    store_estimate(mine.account, ESTIMATE, {"budget": 4})
    mine.ask(asked(0, 1))
    other = Estimate(1, 0, 100, 60, 0.0002, 1, (1, 1), (150, 170), (0.0001, 0.0003))
    store_estimate(mine.account, other, {"budget": 5})
    mine.ask(asked(1, 2))
    told = close_estimate(mine.account, complete=True)
    assert told is not None
    assert (told.estimate, told.calls, told.tokens, told.at_hand) == (other, 1, 160, 1)


def test_each_stage_and_name_has_its_own(ledger: Ledger) -> None:
    for stage, name in ((0, "math"), (1, "math"), (None, "math"), (0, "chats")):
        store_estimate(metered(ledger, stage=stage, name=name).account, ESTIMATE, {})
    assert [told.stage for told in compare_with_bill(ledger, "math")] == [None, 0, 1]
    assert compare_with_bill(ledger, "nobody") == []
    assert close_estimate(metered(ledger, stage=7).account, complete=True) is None


def test_what_is_lost_is_not_billed(ledger: Ledger) -> None:
    mine = metered(ledger)
    store_estimate(mine.account, ESTIMATE, {})
    reservation = ledger.reserve(mine.account.call_spec(asked(9)[0]), mine.account.bound(asked(9)[0]), mine.account.caps, "[]")
    ledger.lose(reservation.attempt, "reset")
    told = close_estimate(mine.account, complete=True)
    assert told is not None
    assert (told.calls, told.tokens, told.off) == (0, 0, None)


def test_a_bill_without_a_price_is_unknown_and_not_nothing(ledger: Ledger) -> None:
    mine = metered(ledger, price=None)
    store_estimate(mine.account, ESTIMATE, {})  # made when there was a price
    told = close_estimate(mine.account, complete=False)
    assert told is not None
    assert (told.calls, told.usd) == (0, 0.0)
    mine.ask(asked(0, 1, 2, 3))
    told = close_estimate(mine.account, complete=True)
    assert told is not None
    assert (told.calls, told.usd, told.unit, told.off) == (4, None, "tokens", pytest.approx(640 / 600 - 1))


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (Price(1.0, 2.0), "stage 0: about 3 calls (3–3), $0.00"),
        (None, "no price known; in brackets: 90% range"),
        (Price(0.0, 0.0), ""),
    ],
)
def test_it_is_said_once_before_money_is_spent(ledger: Ledger, price: Price | None, words: str) -> None:
    heard: list[Any] = []
    mine = metered(ledger, price=price)
    task = Task("rationale", {"a": 3}, asked(0))
    with listen(heard.append):
        first = estimate_and_store(mine.account, [task], {}, mode="live")
        mine.ask(asked(*range(20)))
        assert estimate_and_store(mine.account, [task], {}, mode="live") == first
        later = estimate_and_store(mine.account, [task], {"budget": 9}, mode="live")
    notes = [event.message for event in heard if isinstance(event, Event) and "about" in event.message]
    assert len(notes) == (2 if words else 0)
    assert all(words in note for note in notes)
    assert (first.replies, later.replies) == (0, 20)
    assert later.prompt_tokens == pytest.approx(300, rel=0.1)
    assert later.completion_tokens == pytest.approx(180, rel=0.1)
