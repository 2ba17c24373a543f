"""Runs in batch mode killed at every step: the batch is made once, and every row is bought once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

from curate.errors import TeacherError
from curate.ledger.ledger import Ledger
from curate.ledger.records import Charged
from tests.support.batchserver import (
    BOUND,
    Provider,
    ask,
    asked,
    echo,
    good,
    metered,
    providing,
    statuses,
    unrun,
)

CHILD = """
import os, signal, sys
from curate.calls import batch_steps
from curate.ledger.batches import BatchStore
from curate.calls.batch_steps import BatchSettings
from curate.teachers.base import Request
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers.prices import Price
from curate.calls.client import MeteredTeacher
from curate.teachers.openai import OpenAITeacher
url, path, n, die, first = sys.argv[1:]
batch_steps._CHUNK = 3
record, recorded = BatchStore.record, []
def record_and_die(self, *args):
    done = record(self, *args)
    recorded.append(done)
    if len(recorded) == int(die):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
BatchStore.record = record_and_die
requests = [Request("rationale", [{"role": "user", "content": f"question {k}"}], prompt=f"question {k}", max_tokens=50)
            for k in range(int(n))]
teacher = OpenAITeacher(url, model="m", price=Price(1.0, 2.0))
settings = BatchSettings(first=float(first), longest=float(first), grace=0.05, ask_first=False)
replies = MeteredTeacher(teacher, Ledger(path), "math", Caps(), "balance", 0, mode="batch", batch_settings=settings).ask(requests)
print([reply.text for reply in replies])
"""


def start(provider: Provider, ledger: Ledger, n: int, *, die: int = 0, first: float = 0.005) -> subprocess.Popen[str]:
    arguments = [provider.url, str(ledger.path), str(n), str(die), str(first)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# What the server sees before (?) and after it does something; with what the ledger says of the batch then.
KILLS = [
    ("upload?", 1, "planned"),
    ("upload", 1, "planned"),
    ("create?", 1, "creating"),
    ("create", 1, "creating"),
    ("look?", 1, "submitted"),
    ("look", 2, "submitted"),
    ("fetch?", 1, "submitted"),
    ("fetch", 1, "submitted"),
    ("fetch?", 2, "submitted"),
]


ALWAYS = (("create", 1, "creating"), ("fetch?", 2, "submitted"))  # where most can go wrong; the others are slow tests


@pytest.mark.parametrize(
    ("event", "times", "status"), [pytest.param(*kill, marks=[] if kill in ALWAYS else [pytest.mark.slow]) for kill in KILLS]
)
def test_a_run_killed_at_any_step_is_taken_up_and_buys_nothing_twice(ledger: Ledger, event: str, times: int, status: str) -> None:
    runs: list[subprocess.Popen[str]] = []
    seen: Counter[str] = Counter()

    def kill(name: str) -> None:
        seen[name] += 1
        if (name, seen[name]) == (event, times):
            while not runs:
                time.sleep(0.01)
            runs[0].kill()
            runs[0].wait()

    def reply(request: dict[str, Any]) -> Any:
        return unrun() if "question 3" in str(request) and len(provider.batches) == 1 else echo(request)

    provider = Provider(reply=reply, final=lambda number: "completed" if number else "expired", event=kill)
    with providing(provider):
        runs.append(start(provider, ledger, 5))
        runs[0].communicate()
        assert runs[0].returncode == -signal.SIGKILL
        assert ledger.query("SELECT status FROM batches") == [(status,)]
        assert ledger.charged("math").calls == 5
        asker = metered(provider, ledger)
        replies = asker.ask([asked(n) for n in range(5)])
    assert [reply.text for reply in replies] == good(5)
    assert provider.sizes == [5, 1]  # one batch, and one for the call that expired
    assert [row[:4] for row in statuses(ledger) if row[0] == "answered"] == [("answered", 1, 30, 20_000)] * 5
    assert ledger.charged("math") == Charged(5, 150, pytest.approx(5 * 20e-6))
    assert asker.account.charged().calls + asker.account.charged().saved == 5
    assert ledger.query("SELECT DISTINCT status FROM batches") == [("done",)]


def test_a_run_killed_when_half_of_the_results_are_written_down(ledger: Ledger) -> None:
    with providing(Provider()) as provider:
        run = start(provider, ledger, 8, die=2)
        run.communicate()
        assert run.returncode == -signal.SIGKILL
        assert Counter(row[0] for row in statuses(ledger)) == {"answered": 6, "sent": 2}
        assert ledger.charged("math").tokens == 8 * BOUND  # recorded, and nobody has read it yet
        replies = ask(provider, ledger, 8)
    assert [reply.text for reply in replies] == good(8)
    assert [reply.cached for reply in replies] == [True] * 6 + [False] * 2
    assert (provider.sizes, provider.seen["create"]) == ([8], 1)
    assert ledger.charged("math") == Charged(8, 240, pytest.approx(8 * 20e-6))


def test_two_processes_want_the_same_and_one_batch_is_made(ledger: Ledger) -> None:
    with providing(Provider(looks=20)) as provider:
        runs = [start(provider, ledger, 6, first=0.05) for _ in range(2)]
        told = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert {out for out, _ in told} == {f"{good(6)}\n"}
    assert (provider.sizes, provider.seen["create"], provider.seen["fetch"]) == ([6], 1, 1)
    assert ledger.charged("math") == Charged(6, 180, pytest.approx(6 * 20e-6))


@pytest.mark.slow
def test_who_polls_is_killed_and_the_one_who_waits_takes_over(ledger: Ledger) -> None:
    with providing(Provider(looks=10**6)) as provider:
        first = start(provider, ledger, 4)
        while provider.seen["look"] < 3:
            time.sleep(0.02)
        second = start(provider, ledger, 4)
        while first.poll() is None and second.poll() is None and ledger.query("SELECT 1 FROM batches WHERE holder > ''") == []:
            time.sleep(0.02)
        first.kill()
        first.communicate()
        provider.looks = 1
        out, err = second.communicate()
    assert (out, second.returncode) == (f"{good(4)}\n", 0), err
    assert (provider.sizes, provider.seen["fetch"]) == ([4], 1)


@pytest.mark.slow
def test_batches_that_nobody_asks_for_any_more_are_fetched_or_given_back(ledger: Ledger) -> None:
    with providing(Provider(looks=10**6)) as provider:
        for event in ("upload?", "look?"):
            run = [start(provider, ledger, 3 if event == "upload?" else 2)]
            provider.event = lambda name, event=event, run=run: run[0].kill() if name == event else None  # type: ignore[misc]
            run[0].communicate()
            provider.event = lambda name: None
        assert ledger.charged("math").calls == 3
        provider.looks = 0
        assert metered(provider, ledger).ask([asked(9)])[0].text == "re: question 9"
        assert ledger.charged("math") == Charged(4, 120, pytest.approx(4 * 20e-6))
        assert [row[0] for row in ledger.query("SELECT status FROM batches ORDER BY created")] == ["done", "done"]


def test_a_wrong_key_gives_up_nothing_that_an_earlier_run_may_have_made(ledger: Ledger) -> None:
    with providing(Provider()) as provider:
        run = [start(provider, ledger, 2)]
        provider.event = lambda name: run[0].kill() if name == "create" else None
        run[0].communicate()
        provider.event, provider.refuse = (lambda name: None), (lambda method, path: (401, "wrong key"))
        with pytest.raises(TeacherError, match="refuses: 401 wrong key"):
            ask(provider, ledger, 2)
        assert ledger.charged("math").tokens == 2 * BOUND
        provider.refuse = lambda method, path: None
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]


@pytest.mark.slow
def test_a_batch_that_nobody_waits_for_stops_nobody(ledger: Ledger) -> None:
    with providing(Provider(looks=10**6)) as provider:
        run = [start(provider, ledger, 2)]
        provider.event = lambda name: run[0].kill() if name == "look" else None
        run[0].communicate()
        provider.event, provider.looks = (lambda name: None), 1
        provider.refuse = lambda method, path: (404, "unknown") if path.endswith("batch_0") else None
        assert metered(provider, ledger).ask([asked(9)])[0].text == "re: question 9"
    assert [row[0] for row in statuses(ledger)] == ["sent", "sent", "answered"]
