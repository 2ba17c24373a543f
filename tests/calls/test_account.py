"""The tab: its sums are the ledger's, and its words on caps are what is charged to the name."""

from __future__ import annotations

import json

import pytest

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


def test_the_sums_of_a_tab_are_those_of_the_ledger_whatever_happens(ledger: Ledger) -> None:
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
