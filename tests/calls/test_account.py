"""The account of an asker: its sums are the ledger's, its nearest cap goes by what is charged to the name."""

from __future__ import annotations

import json

import pytest

from curate.calls.account import Account
from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.fake import Fake
from curate.teachers.prices import Price

FAULTS = (
    *("answered", "refused", "lost", "garbage", "unanswered", "unsent", "failed", "silent"),
    *("answered", "refused", "garbage", "lost"),
)


def asked(n: int) -> Request:
    return Request("rationale", [{"role": "user", "content": f"question {n}"}], prompt=str(n), max_tokens=50)


def script(request: Request, n: int) -> RawResponse | None:
    fault = FAULTS[int(request.prompt) % len(FAULTS)] if n == 0 else "answered"
    if fault == "answered":
        return RawResponse.of("x", usage=Usage(20, 30, cached=5))
    if fault == "silent":
        return RawResponse("answered", raw=json.dumps({"choices": [{"message": {"content": "x"}}]}))
    return RawResponse("answered", raw="{") if fault == "garbage" else RawResponse(fault, error=fault)  # type: ignore[arg-type]


def test_the_sums_of_an_account_are_those_of_the_ledger_whatever_happens(ledger: Ledger) -> None:
    metered = MeteredTeacher(Fake(script=script, price=Price(1.0, 2.0, 0.5)), ledger, "math", backoff=Backoff(0.0, 0.0, 3))
    metered.ask([asked(n) for n in range(24)])
    spent, charged = metered.account.charged(), ledger.charged("math")
    assert (spent.calls, spent.tokens) == (charged.calls, charged.tokens)
    assert spent.usd == pytest.approx(charged.usd)
    assert spent.calls > 24


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        (Caps(), ""),
        (Caps(usd=2.0), "$0.018 of $2.00 (--max-usd)"),
        (Caps(calls=1000, tokens=90_000, usd=2000.0), "15,000 of 90,000 (--max-tokens)"),
        (Caps(calls=10), "6 of 10 (--max-calls)"),
    ],
)
def test_the_nearest_cap_is_told_with_what_earlier_runs_were_charged(ledger: Ledger, caps: Caps, words: str) -> None:
    teacher = Fake(script=lambda request, n: RawResponse.of("x", usage=Usage(2000, 500)), price=Price(1.0, 2.0))
    MeteredTeacher(teacher, ledger, "math").ask([asked(n) for n in range(4)])
    metered = MeteredTeacher(teacher, ledger, "math", caps)
    metered.ask([asked(n) for n in range(6)])
    assert metered.account.progress_facts()["cap"] == words
    assert (metered.account.progress_facts()["calls"], metered.account.progress_facts()["saved"]) == (2, 4)


def test_a_reply_that_is_read_without_a_price_stays_charged_at_its_bound(ledger: Ledger) -> None:
    priced, unpriced = (Account(Fake(price=price), ledger, "math") for price in (Price(1.0, 2.0), None))
    spec, bound = priced.call_spec(asked(0)), priced.bound(asked(0))
    attempt = ledger.reserve(spec, bound, Caps(), "[]").attempt
    ledger.record(attempt, RawResponse.of("x", usage=Usage(20, 30)).raw)  # and then the process ended, and prices.toml is gone
    assert unpriced.take_stored([spec.key])[spec.key].usage.total == 50
    assert ledger.query("SELECT tokens, nano_usd, billed FROM attempts") == [(50, bound.nano_usd, 1)]


def test_stored_replies_are_saved_unless_this_run_bought_them(ledger: Ledger) -> None:
    MeteredTeacher(Fake(), ledger, "math").ask([asked(0), asked(1)])
    account = Account(Fake(), ledger, "math", verb="balance")
    keys = [account.key(asked(n)) for n in range(3)]
    assert [reply.cached for reply in account.take_stored(keys, cached=False).values()] == [False, False]
    assert (account.charged().saved, ledger.query("SELECT COUNT(*) FROM hits")) == (0, [(0,)])
    assert set(account.take_stored(keys)) == set(keys[:2])
    assert (account.charged().saved, ledger.query("SELECT verb, COUNT(*) FROM hits GROUP BY verb")) == (2, [("balance", 2)])
