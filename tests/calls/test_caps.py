"""No schedule of askers, failures, retries and deaths passes a cap at any moment, and nothing stays reserved for ever.

Over real HTTP; several askers, each with a ledger of its own on the same file, want partly the same answers. A trigger in the
file looks at every change of what is charged, whoever makes it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.calls import live as live_calls
from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff
from curate.errors import TeacherError
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers.base import Reply, Request
from curate.teachers.openai import OpenAITeacher
from curate.teachers.prices import NANO, Price
from tests.support.loopback import Page, Server, completion, refusal, serving

PAGES = {
    "good": completion("4", prompt=20, reply=10),
    "full": completion("4", prompt=140, reply=50),
    "429": refusal(429, "slow down"),
    "500": refusal(500, "oops"),
    "400": refusal(400, "too long"),
    "garbage": Page(body='{"choices": ['),
    "reset": Page(body="x" * 99, cut=9, reset=True),
    "slow": replace(completion("4"), delay=0.01),
}
PRICE = Price(1.0, 2.0)
DEAD = json.dumps(["elsewhere", 1, ""])  # an owner whose lease has run out
BREACHES = """CREATE TRIGGER IF NOT EXISTS watch_{when} AFTER {when} ON accounts
    WHEN NEW.calls > {calls} OR NEW.tokens > {tokens} OR NEW.nano_usd > {nano}
    BEGIN INSERT INTO breaches VALUES (NEW.name, NEW.calls, NEW.tokens, NEW.nano_usd); END"""


class Script:
    """What the server says to the n-th sending of a question in the example that is under way."""

    def __init__(self) -> None:
        self.fates: list[list[str]] = []
        self.times: Counter[int] = Counter()

    def begin(self, fates: list[list[str]]) -> None:
        self.fates, self.times = fates, Counter()

    def __call__(self, body: dict[str, Any], n: int) -> Page:
        number = int(body["messages"][0]["content"].split()[1])
        told, time = self.fates[number], self.times[number]
        self.times[number] += 1
        return PAGES[told[time] if time < len(told) else "good"]


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Script, Server]]:
    script = Script()
    with pytest.MonkeyPatch.context() as patch, serving(script) as server:
        patch.setattr(live_calls, "_POLL", 0.005)  # an asker looks sooner for what another one buys
        yield script, server


def asked(number: int) -> Request:
    return Request("rationale", [{"role": "user", "content": f"question {number}"}], max_tokens=50)


@given(
    fates=st.lists(st.lists(st.sampled_from(sorted(PAGES)), max_size=4), min_size=1, max_size=7),
    askers=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=3),
    dead=st.sets(st.integers(0, 6), max_size=3),
    caps=st.tuples(st.integers(0, 16), st.integers(0, 3000), st.integers(0, 4000)),
)
@settings(max_examples=20, deadline=None)
def test_no_schedule_passes_a_cap_at_any_moment_and_nothing_stays_reserved(
    scripted: tuple[Script, Server],
    tmp_path_factory: pytest.TempPathFactory,
    fates: list[list[str]],
    askers: list[tuple[int, int]],
    dead: set[int],
    caps: tuple[int, int, int],
) -> None:
    script, server = scripted
    script.begin(fates)
    before, path = len(server.seen), tmp_path_factory.mktemp("caps") / "ledger.sqlite"
    limits = Caps(calls=caps[0], tokens=caps[1], usd=caps[2] * 1e-6)
    ledger = Ledger(path)
    ledger.query("CREATE TABLE breaches (name, calls, tokens, nano_usd)")
    for when in ("INSERT", "UPDATE"):
        ledger.query(BREACHES.format(when=when, calls=caps[0], tokens=caps[1], nano=caps[2] * NANO // 10**6))
    die_with(ledger, server, [number for number in dead if number < len(fates)], limits)

    replies: list[list[Reply]] = []
    threads = [
        threading.Thread(target=ask, args=(path, server, width, [*range(first % len(fates), len(fates))], limits, replies))
        for width, first in askers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(replies) == len(askers)
    assert ledger.query("SELECT * FROM breaches") == []
    assert ledger.query("SELECT COUNT(*) FROM attempts WHERE status = 'answered' AND NOT billed") == [(0,)]
    assert MeteredTeacher(live(server, 1), ledger, "math").account.ledger.sweep("math") == 0
    assert ledger.query("SELECT COUNT(*) FROM attempts WHERE status = 'sent'") == [(0,)]
    sums = ledger.query("SELECT COALESCE(SUM(calls), 0), COALESCE(SUM(tokens), 0), COALESCE(SUM(nano_usd), 0) FROM attempts")
    assert ledger.query("SELECT calls, tokens, nano_usd FROM accounts") in (sums, [])
    assert len(server.seen) - before <= ledger.query("SELECT COUNT(*) FROM attempts WHERE owner != ?", (DEAD,))[0][0]
    answers = "SELECT COUNT(*) FROM attempts WHERE status = 'answered' GROUP BY call HAVING COUNT(*) > 1"
    assert ledger.query(answers) == []  # nobody bought what another one had under way
    ledger.close()


def live(server: Server, width: int) -> OpenAITeacher:
    return OpenAITeacher(server.url, model="m", concurrency=width, price=PRICE)


def die_with(ledger: Ledger, server: Server, numbers: list[int], limits: Caps) -> None:
    """Leave requests under way behind, as a process does that was killed on another machine a while ago."""
    metered = MeteredTeacher(live(server, 1), ledger, "math")
    for number in numbers:
        ledger.reserve(metered.account.call_spec(asked(number)), metered.account.bound(asked(number)), limits, DEAD)
    ledger.query("UPDATE attempts SET lease = 0")


def ask(path: Path, server: Server, width: int, numbers: list[int], limits: Caps, replies: list[list[Reply]]) -> None:
    ledger = Ledger(path)
    try:
        metered = MeteredTeacher(live(server, width), ledger, "math", limits, backoff=Backoff(0.0, 0.0, 3))
        replies.append(metered.ask([asked(number) for number in numbers]))
    except TeacherError:
        replies.append([])
    finally:
        ledger.close()
