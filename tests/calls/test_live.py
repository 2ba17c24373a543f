"""Live requests: what is reported while they are in flight, and how they keep to the limits of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from curate import progress
from curate.calls import live
from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff, Permit, RateLimit
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.fake import Fake
from curate.teachers.prices import Price


def asked(n: int) -> Request:
    return Request("rationale", [{"role": "user", "content": f"question {n}"}], prompt=f"question {n}", max_tokens=50)


def facts_of(metered: MeteredTeacher, requests: Sequence[Request]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    with progress.listen(lambda event: told.append(event.facts)):
        metered.ask(requests)
    return [facts for facts in told if facts][1:]  # the first says what was spent before


def test_every_reply_tells_what_was_spent_what_was_saved_and_which_cap_is_near(ledger: Ledger) -> None:
    teacher = Fake(script=lambda request, n: RawResponse.of("x", usage=Usage(20, 30)), price=Price(1.0, 2.0), concurrency=1)
    MeteredTeacher(teacher, ledger, "math").ask([asked(0)])
    told = facts_of(MeteredTeacher(teacher, ledger, "math", Caps(calls=9)), [asked(n) for n in range(4)])
    assert [facts["calls"] for facts in told] == [1, 2, 3]
    assert [facts["tokens"] for facts in told] == [50, 100, 150]
    assert told[-1] == {
        "calls": 3,
        "tokens": 150,
        "usd": pytest.approx(240e-6),
        "saved": 1,
        "cap": "4 of 9 (--max-calls)",
        "in_flight": 0,
    }


def test_what_is_under_way_is_told_while_nothing_comes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_REPORT", 0.05)
    told = facts_of(MeteredTeacher(Fake(delay=0.4, concurrency=3, price=None), ledger, "math"), [asked(n) for n in range(3)])
    assert (3, 3, None) in [(facts["in_flight"], facts["calls"], facts["usd"]) for facts in told]


@pytest.mark.parametrize("outcome", ["refused", "lost", "unsent", "unanswered", "answered", "garbage", "failed"])
def test_a_rate_limit_counts_what_was_used_and_what_nobody_knows_of_at_its_bound(ledger: Ledger, outcome: str) -> None:
    left: list[tuple[int, int]] = []

    class Watched(RateLimit):
        def correct(self, permit: Any, tokens: int, *, sent: bool = True) -> None:
            super().correct(permit, tokens, sent=sent)
            left.append((permit.requests, permit.tokens))

    def script(request: Request, n: int) -> RawResponse:
        if n or outcome == "answered":
            return RawResponse.of("x", usage=Usage(20, 30))
        return RawResponse("answered", raw="{") if outcome == "garbage" else RawResponse(outcome, error="e")  # type: ignore[arg-type]

    metered = MeteredTeacher(Fake(script=script), ledger, "math", backoff=Backoff(0.0, 0.0, 2), rate_limit=Watched(10**6, 10**9))
    metered.ask([asked(0)])
    first = {"refused": [(1, 0)], "failed": [(1, 0)], "unsent": [(0, 0)], "unanswered": [(0, 0)]}.get(outcome, [])
    good = [] if outcome in ("unanswered", "failed") else [(1, 50)]
    assert left == first + good


def test_workers_keep_to_one_rate_limit_together_and_it_holds_for_two_runs(ledger: Ledger) -> None:
    given: list[float] = []

    class Watched(RateLimit):
        def issue(self, tokens: int, now: float) -> Permit:
            given.append(now)
            return super().issue(tokens, now)

    limit = Watched(requests_per_minute=1200)
    for run in range(2):
        metered = MeteredTeacher(Fake(concurrency=8), ledger, "math", stage=run, rate_limit=limit)
        metered.ask([asked(n) for n in range(run * 10, run * 10 + 10)])
    assert len(given) == 20
    assert all(at - given[0] >= number * 0.05 - 1e-6 for number, at in enumerate(given))
