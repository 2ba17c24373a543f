"""Batches, over real HTTP on loopback: bought once, whatever dies in between, and charged as they are billed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batchserver import LateError, Provider, answer, echo, problem, providing, unrun

from curate import progress
from curate.batches import Batching
from curate.calls import Reply, Request
from curate.errors import InputError, TeacherError, UnknownNameError
from curate.ledger import Caps, Ledger, Spend
from curate.prices import Price
from curate.teachers import Account, Fake, Live

QUICK = Batching(first=0.005, longest=0.01, grace=0.05)
PRICE = Price(1.0, 2.0)
BOUND = 50 + 10 + 16 + 128  # tokens that one of these requests may take


def asked(n: int = 0, **changes: Any) -> Request:
    text = f"question {n}"
    return Request("rationale", [{"role": "user", "content": text}], **{"prompt": text, "max_tokens": 50, **changes})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "manifests" / "ledger.sqlite")


def account(provider: Provider, ledger: Ledger, *, caps: Caps = Caps(), mode: str = "batch", **options: Any) -> Account:  # noqa: B008
    batching = options.pop("batching", QUICK)
    teacher = Live(provider.url, **{"model": "m", "price": PRICE, **options})
    return Account(teacher, ledger, "math", caps, "balance", 0, mode=mode, batching=batching)


def ask(provider: Provider, ledger: Ledger, n: int, **options: Any) -> list[Reply]:
    return account(provider, ledger, **options).ask([asked(k) for k in range(n)])


def statuses(ledger: Ledger) -> list[tuple[Any, ...]]:
    return ledger.query("SELECT status, calls, tokens, nano_usd, error FROM attempts ORDER BY id")


def good(n: int) -> list[str]:
    return [f"re: question {k}" for k in range(n)]


def test_requests_go_as_one_file_and_come_back_in_order_at_half_the_price(ledger: Ledger) -> None:
    with providing(Provider(shuffle=True, looks=2)) as provider:
        asking = account(provider, ledger)
        replies = asking.ask([*(asked(n) for n in range(5)), asked(0)])
    assert [reply.text for reply in replies] == [*good(5), good(1)[0]]
    assert provider.seen == {"upload": 1, "create": 1, "look": 3, "fetch": 1}
    (batch,) = provider.batches.values()
    (name,) = ledger.query("SELECT id FROM batches")[0]
    assert batch["metadata"] == {"curate_batch": name}
    assert batch["input_file_id"].endswith(f"curate-{name}.jsonl")
    line = provider.lines(batch)[0]
    assert (line["method"], line["url"], line["body"]["model"], line["body"]["max_tokens"]) == (
        "POST",
        "/v1/chat/completions",
        "m",
        50,
    )
    assert statuses(ledger) == [("answered", 1, 30, 20_000, None)] * 5  # (20 * 1 + 10 * 2) / 1e6 USD, and half of that
    assert asking.spend().calls == 5
    assert asking.spend().usd == pytest.approx(5 * 20e-6)
    assert ledger.query("SELECT status, provider, n, told FROM batches") == [("done", "batch_0", 5, "completed 6/5")]
    assert [reply.cached for reply in replies] == [False] * 6


def test_what_was_bought_is_not_bought_again(ledger: Ledger) -> None:
    with providing(Provider()) as provider:
        ask(provider, ledger, 3)
        again = account(provider, ledger)
        assert [reply.cached for reply in again.ask([asked(n) for n in range(4)])] == [True, True, True, False]
        assert provider.sizes == [3, 1]
        live = account(provider, ledger, mode="live")
        assert [reply.cached for reply in live.ask([asked(n) for n in range(4)])] == [True] * 4
    assert (again.spend().calls, again.spend().saved, live.spend().saved) == (1, 3, 4)


def test_the_screen_says_where_the_batch_is(ledger: Ledger) -> None:
    events: list[progress.Event] = []
    with providing(Provider(looks=2)) as provider, progress.listen(events.append):
        ask(provider, ledger, 3)
    notes = [event.message for event in events if event.done is None]
    assert notes == [
        "3 requests are at teacher 'local' as 'batch_0'; Ctrl-C leaves them there",
        "'batch_0': in progress 0/3",
        "'batch_0': completed 3/3",
    ]
    counted = [event for event in events if event.done is not None]
    assert counted[-1].done == 3
    assert "in progress 0/3" in [event.facts.get("batch") for event in counted]
    assert max(event.facts.get("in_flight", 0) for event in counted) == 3


# Ends of batches that are not the usual one


def test_an_expired_batch_keeps_what_it_has_and_the_rest_goes_into_another(ledger: Ledger) -> None:
    sent: list[str] = []

    def late(request: dict[str, Any]) -> Any:
        sent.append(request["custom_id"])
        return echo(request) if len(sent) in (1, 3) or len(sent) > 4 else unrun() if len(sent) == 2 else None

    provider = Provider(reply=late, final=lambda number: "completed" if number else "expired")
    with providing(provider):
        asking = account(provider, ledger, caps=Caps(calls=4))
        assert [reply.text for reply in asking.ask([asked(n) for n in range(4)])] == good(4)
    assert provider.sizes == [4, 2]
    assert sent[4:] == [sent[1], sent[3]]
    free = [status for status in statuses(ledger) if status[0] == "failed"]
    assert free == [
        ("failed", 0, 0, 0, "batch_expired: This request could not be executed in time."),
        ("failed", 0, 0, 0, "the batch was expired before its turn came"),
    ]
    assert (asking.spend().calls, asking.spend().tokens) == (4, 120)
    assert ledger.charged("math").tokens == 120


def test_a_cancelled_batch_keeps_what_it_has_and_after_so_many_tries_the_reply_says_why(ledger: Ledger) -> None:
    provider = Provider(
        reply=lambda request: echo(request) if "question 0" in str(request) else unrun("batch_cancelled"),
        final=lambda number: "cancelled",
    )
    with providing(provider):
        replies = ask(provider, ledger, 2)
        assert provider.sizes == [2, 1, 1]
        provider.final, provider.reply = (lambda number: "completed"), echo
        assert [reply.status for reply in ask(provider, ledger, 2)] == ["answered", "answered"]
    assert [reply.status for reply in replies] == ["answered", "failed"]
    assert "batch_cancelled" in replies[1].error


def test_a_batch_that_the_provider_refuses_costs_nothing_and_says_why(ledger: Ledger) -> None:
    problems = [{"code": "model_not_found", "message": "no model m", "line": 1}]
    with (
        providing(Provider(final=lambda number: "failed", problems=problems)) as provider,
        pytest.raises(TeacherError, match="teacher 'local' refuses the batch: 400 model_not_found: no model m"),
    ):
        ask(provider, ledger, 3)
    assert ledger.charged("math") == Spend()
    assert ledger.query("SELECT status FROM batches") == [("dropped",)]


def test_too_many_tokens_in_waiting_mean_smaller_batches_one_after_the_other(ledger: Ledger) -> None:
    problems = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
    provider = Provider(problems=problems)
    provider.final = lambda number: "failed" if provider.sizes[number] > 2 else "completed"
    with providing(provider):
        replies = ask(provider, ledger, 8, batching=replace(QUICK, longest=0.02))
    assert [reply.text for reply in replies] == good(8)
    assert sorted(provider.sizes, reverse=True) == [8, 4, 4, 2, 2, 2, 2]
    assert ledger.charged("math") == Spend(8, 240, pytest.approx(8 * 20e-6))


def test_one_request_that_is_too_much_for_the_limit_is_an_error(ledger: Ledger) -> None:
    problems = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
    with (
        providing(Provider(final=lambda number: "failed", problems=problems)) as provider,
        pytest.raises(TeacherError, match=r"takes no more tokens into batches: .*; try again later, or use --mode live"),
    ):
        ask(provider, ledger, 2, batching=replace(QUICK, longest=0.02))
    assert ledger.charged("math") == Spend()


# Lines


def test_a_line_that_cannot_be_read_is_kept_charged_and_bought_again(ledger: Ledger) -> None:
    broken: list[str] = []

    def reply(request: dict[str, Any]) -> Any:
        if broken or "question 1" not in str(request):
            return echo(request)
        broken.append(f'{{"custom_id": "{request["custom_id"]}", "response": {{"status_co')
        return broken[0]

    with providing(Provider(reply=reply)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2, 1]
    assert sorted(statuses(ledger))[-1][0] == "failed"
    assert [row[2] for row in statuses(ledger) if row[0] == "failed"] == [BOUND]
    assert ledger.query("SELECT raw FROM replies ORDER BY attempt")[1] == (broken[0],)


def test_lines_for_nobody_and_second_copies_are_passed_over(ledger: Ledger) -> None:
    first = answer("first")

    def reply(request: dict[str, Any]) -> str:
        lines = [{"custom_id": request["custom_id"], **first}, {"custom_id": request["custom_id"], **answer("second")}]
        return "\n".join([*map(json.dumps, lines), json.dumps({"custom_id": "f" * 32, **first}), "what is this", '"or this"'])

    notes: list[str] = []
    with providing(Provider(reply=reply)) as provider, progress.listen(lambda event: notes.append(event.message)):
        assert [reply.text for reply in ask(provider, ledger, 1)] == ["first"]
    assert any("3 lines for nobody" in note for note in notes)
    assert [row[:3] for row in statuses(ledger)] == [("answered", 1, 30)]


def test_letters_that_some_take_for_line_ends_stay_in_their_lines(ledger: Ledger) -> None:
    text = "one\u2028two\x85three\x0bfour"
    with providing(
        Provider(reply=lambda request: json.dumps({"custom_id": request["custom_id"], **answer(text)}, ensure_ascii=False))
    ) as provider:
        assert ask(provider, ledger, 1)[0].text == text


def test_a_request_that_is_wrong_is_not_sent_again_and_one_that_met_a_limit_is(ledger: Ledger) -> None:
    times: Counter[str] = Counter()

    def reply(request: dict[str, Any]) -> Any:
        times[request["custom_id"]] += 1
        if "question 0" in str(request):
            return problem(400, "too long")
        return problem(429, "slow down") if "question 1" in str(request) and times[request["custom_id"]] == 1 else echo(request)

    with providing(Provider(reply=reply)) as provider:
        replies = ask(provider, ledger, 3)
    assert [(reply.status, reply.error) for reply in replies] == [("failed", "400 too long"), ("answered", ""), ("answered", "")]
    assert provider.sizes == [3, 1]
    assert sorted(row[1:3] for row in statuses(ledger) if row[0] == "failed") == [(1, 0), (1, 0)]


def test_a_parameter_that_the_model_does_not_take_is_left_out_of_the_next_batch(ledger: Ledger) -> None:
    def reply(request: dict[str, Any]) -> Any:
        return problem(400, "Unsupported parameter: 'temperature'") if "temperature" in request["body"] else echo(request)

    with providing(Provider(reply=reply)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2, 2]


def test_a_request_without_a_line_stays_charged_and_is_asked_again(ledger: Ledger) -> None:
    seen: list[str] = []

    def reply(request: dict[str, Any]) -> Any:
        seen.append(request["custom_id"])
        return None if len(seen) == 2 else echo(request)

    with providing(Provider(reply=reply)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert [row[:3] for row in statuses(ledger)] == [("answered", 1, 30), ("lost", 1, BOUND), ("answered", 1, 30)]


def test_results_that_the_provider_no_longer_has_stay_charged(ledger: Ledger) -> None:
    provider = Provider(refuse=lambda method, path: (404, "no such File") if "/content" in path else None)
    with providing(provider):
        (reply,) = ask(provider, ledger, 1, batching=replace(QUICK, tries=1))
    assert (reply.status, [row[0] for row in statuses(ledger)]) == ("failed", ["lost"])
    assert "no longer has its results" in reply.error
    assert ledger.charged("math").tokens == BOUND


# Caps and limits


def test_what_does_not_fit_under_a_cap_is_capped_and_nothing_passes_it(ledger: Ledger) -> None:
    with providing(Provider()) as provider:
        replies = ask(provider, ledger, 7, caps=Caps(calls=5))
        assert [reply.status for reply in replies] == ["answered"] * 5 + ["capped"] * 2
        assert "--max-calls 5 is reached" in replies[-1].error
        assert provider.sizes == [5]
        assert [reply.status for reply in ask(provider, ledger, 7, caps=Caps(calls=7))] == ["answered"] * 7
    assert provider.sizes == [5, 2]


def test_what_a_batch_did_not_use_makes_room_for_the_next_under_the_cap(ledger: Ledger) -> None:
    with providing(Provider()) as provider:
        replies = ask(provider, ledger, 6, caps=Caps(tokens=4 * BOUND))
    assert [reply.text for reply in replies] == good(6)
    assert provider.sizes == [4, 2]


def test_a_cap_in_money_counts_the_price_of_a_batch(ledger: Ledger) -> None:
    bound = (BOUND - 50) * 1.0 + 50 * 2.0  # millionths of a dollar, alone
    with providing(Provider(reply=lambda request: answer("x", prompt=BOUND - 50, reply=50))) as provider:
        replies = ask(provider, ledger, 9, caps=Caps(usd=2 * bound / 1e6))
    assert [reply.status for reply in replies] == ["answered"] * 4 + ["capped"] * 5
    assert ledger.charged("math").usd == pytest.approx(2 * bound / 1e6)


def test_requests_are_split_at_the_limits_of_the_provider(ledger: Ledger, tmp_path: Path) -> None:
    with providing(Provider()) as provider:
        assert [reply.text for reply in ask(provider, ledger, 7, batching=replace(QUICK, requests=3))] == good(7)
        assert provider.sizes == [3, 3, 1]
        size = len(provider.files[provider.batches["batch_2"]["input_file_id"]]) + 2  # a line, and its end
        other = Ledger(tmp_path / "other" / "ledger.sqlite")
        small = asked(0, max_tokens=10)
        large = replace(asked(1), messages=[{"role": "user", "content": "long " * 200}])
        replies = account(provider, other, batching=replace(QUICK, bytes=2 * size)).ask(
            [*(asked(n) for n in range(3)), large, small]
        )
    assert provider.sizes[3:] == [2, 2]
    assert [reply.status for reply in replies] == ["answered"] * 3 + ["failed", "answered"]
    assert "an input file holds" in replies[3].error


# Trouble on the way


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_batches_is_one_clear_line(ledger: Ledger, status: int) -> None:
    provider = Provider(refuse=lambda method, path: (status, "Not Found"))
    with (
        providing(provider),
        pytest.raises(TeacherError, match=rf"teacher 'local' has no batch interface \({status} .*: use --mode live"),
    ):
        ask(provider, ledger, 2)
    assert ledger.charged("math") == Spend()


def test_a_teacher_that_takes_no_batches_is_one_clear_line(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="--mode batch: teacher 'fake' takes no batches; use --mode live"):
        Account(Fake(), ledger, "math", mode="batch")
    with pytest.raises(UnknownNameError, match="unknown --mode 'bacth'; did you mean 'batch'"):
        Account(Fake(), ledger, "math", mode="bacth")


def test_a_wrong_key_is_an_error_that_costs_nothing_before_a_batch_is_made_and_loses_nothing_after(ledger: Ledger) -> None:
    provider = Provider(refuse=lambda method, path: (401, "wrong key"))
    with providing(provider):
        with pytest.raises(TeacherError, match="teacher 'local' refuses: 401 wrong key"):
            ask(provider, ledger, 2)
        assert ledger.charged("math") == Spend()
        provider.refuse = lambda method, path: (401, "wrong key") if method == "GET" else None
        with pytest.raises(TeacherError, match="teacher 'local' refuses: 401 wrong key"):
            ask(provider, ledger, 2)
        provider.refuse = lambda method, path: None
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]


def test_troubles_that_pass_are_borne(ledger: Ledger) -> None:
    counts: Counter[str] = Counter()

    def refuse(method: str, path: str) -> tuple[int, str] | None:
        counts[path] += 1
        return (503, "busy") if counts[path] <= 2 else None

    with providing(Provider(refuse=refuse)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]
    assert {"/v1/files", "/v1/batches", "/v1/batches/batch_0"} <= set(counts)


def test_a_server_that_is_gone_is_an_error_after_some_tries_and_nothing_is_lost(ledger: Ledger) -> None:
    with providing(Provider(looks=100)) as provider:
        provider.event = lambda name: setattr(provider, "refuse", lambda method, path: (503, "down")) if name == "look" else None
        with pytest.raises(TeacherError, match="cannot be reached: 503 down"):
            ask(provider, ledger, 2)
        assert [row[0] for row in statuses(ledger)] == ["sent", "sent"]
        provider.refuse, provider.event, provider.looks = (lambda method, path: None), (lambda name: None), 1
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]


def test_a_making_whose_fate_is_unknown_is_looked_up_before_it_is_repeated(ledger: Ledger) -> None:
    provider = Provider()
    answered: list[str] = []

    def gateway(method: str, path: str) -> tuple[int, str] | None:
        """Make the batch and say 504 all the same, once; then say 504 without making one."""
        if (method, path) != ("POST", "/v1/batches") or len(answered) > 1:
            return None
        answered.append(path)
        return 504, "gateway timeout"

    provider.refuse = gateway
    with providing(provider):
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]
    assert provider.seen["create"] == 3
    assert provider.seen["list"] >= 4  # twice for the time of grace, after each making


def test_a_batch_in_a_list_is_taken_by_its_name(ledger: Ledger) -> None:
    provider = Provider()
    provider.event = lambda name: _say_nothing_of_it(provider) if name == "create?" else None
    with providing(provider):
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert (provider.sizes, provider.seen["create"]) == ([2], 1)


def _say_nothing_of_it(provider: Provider) -> None:
    """Have the next making answered with 502 though it is done."""
    made = provider.create

    def create(told: dict[str, Any]) -> dict[str, Any]:
        made(told)
        provider.create = made  # type: ignore[method-assign]
        raise LateError

    provider.create = create  # type: ignore[method-assign]


def test_a_batch_that_the_provider_forgot_is_given_up_after_two_days(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    ledger = Ledger(tmp_path / "ledger.sqlite", clock=lambda: now[0])
    provider = Provider(looks=10**6)
    with providing(provider):
        provider.event = lambda name: provider.batches.clear() if name == "create" else None
        with pytest.raises(TeacherError, match="teacher 'local' refuses: 404 there is no such thing"):
            ask(provider, ledger, 1)
        with pytest.raises(TeacherError, match="refuses: 404"):
            ask(provider, ledger, 1)
        provider.event, provider.looks = (lambda name: None), 1
        now[0] += 49 * 3600
        assert [reply.text for reply in ask(provider, ledger, 1)] == good(1)
    assert [row[0] for row in statuses(ledger)] == ["lost", "answered"]


# Whoever dies, the batch is made once and every row is bought once

CHILD = """
import os, signal, sys
from curate import batchsteps
from curate.batchbook import Book
from curate.batches import Batching
from curate.calls import Request
from curate.ledger import Caps, Ledger
from curate.prices import Price
from curate.teachers import Account, Live
url, path, n, die, first = sys.argv[1:]
batchsteps._CHUNK = 3
record, recorded = Book.record, []
def record_and_die(self, *args):
    done = record(self, *args)
    recorded.append(done)
    if len(recorded) == int(die):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Book.record = record_and_die
requests = [Request("rationale", [{"role": "user", "content": f"question {k}"}], prompt=f"question {k}", max_tokens=50)
            for k in range(int(n))]
teacher = Live(url, model="m", price=Price(1.0, 2.0))
batching = Batching(first=float(first), longest=float(first), grace=0.05)
replies = Account(teacher, Ledger(path), "math", Caps(), "balance", 0, mode="batch", batching=batching).ask(requests)
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
        asking = account(provider, ledger)
        replies = asking.ask([asked(n) for n in range(5)])
    assert [reply.text for reply in replies] == good(5)
    assert provider.sizes == [5, 1]  # one batch, and one for the call that expired
    assert [row[:4] for row in statuses(ledger) if row[0] == "answered"] == [("answered", 1, 30, 20_000)] * 5
    assert ledger.charged("math") == Spend(5, 150, pytest.approx(5 * 20e-6))
    assert asking.spend().calls + asking.spend().saved == 5
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
    assert ledger.charged("math") == Spend(8, 240, pytest.approx(8 * 20e-6))


def test_two_processes_want_the_same_and_one_batch_is_made(ledger: Ledger) -> None:
    with providing(Provider(looks=20)) as provider:
        runs = [start(provider, ledger, 6, first=0.05) for _ in range(2)]
        told = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert {out for out, _ in told} == {f"{good(6)}\n"}
    assert (provider.sizes, provider.seen["create"], provider.seen["fetch"]) == ([6], 1, 1)
    assert ledger.charged("math") == Spend(6, 180, pytest.approx(6 * 20e-6))


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


def test_ctrl_c_leaves_the_batch_at_the_provider_and_says_so(ledger: Ledger) -> None:
    notes: list[str] = []
    with providing(Provider(looks=10**6)) as provider, progress.listen(lambda event: notes.append(event.message)):
        provider.event = lambda name: os.kill(os.getpid(), signal.SIGINT) if name == "look" else None
        with pytest.raises(KeyboardInterrupt):
            ask(provider, ledger, 3)
        provider.event, provider.looks = (lambda name: None), 1
        assert "'batch_0' (in progress 0/3) stays at teacher 'local'; the same command picks up what comes" in notes
        assert ledger.charged("math").tokens == 3 * BOUND
        assert [reply.text for reply in ask(provider, ledger, 3)] == good(3)
    assert provider.sizes == [3]


def test_ctrl_c_before_anything_was_made_gives_everything_back(ledger: Ledger) -> None:
    with providing(Provider(refuse=lambda method, path: (503, "busy"))) as provider:
        provider.event = lambda name: os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            ask(provider, ledger, 3, batching=replace(QUICK, longest=1, first=1))
    assert ledger.charged("math") == Spend()
    assert ledger.query("SELECT status FROM batches") == [("dropped",)]


def test_live_mode_waits_for_what_is_in_a_batch_and_sends_the_rest(ledger: Ledger) -> None:
    with providing(Provider(looks=10**6)) as provider:
        provider.event = lambda name: os.kill(os.getpid(), signal.SIGINT) if name == "look" else None
        with pytest.raises(KeyboardInterrupt):
            ask(provider, ledger, 2)
        provider.event, provider.looks = (lambda name: None), 1
        provider.refuse = lambda method, path: (400, "sent live") if "chat" in path else None
        replies = ask(provider, ledger, 3, mode="live")
    assert [reply.text for reply in replies] == [*good(2), ""]
    assert (replies[2].error, provider.sizes, provider.seen["chat"]) == ("400 sent live", [2], 1)


@pytest.mark.parametrize("jump", [-3 * 3600.0, 3 * 3600.0])
def test_a_clock_that_jumps_buys_nothing_twice(tmp_path: Path, jump: float) -> None:
    now = [1_800_000_000.0]
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, clock=lambda: now[0])
    with providing(Provider(looks=30)) as provider:

        def move(name: str) -> None:
            now[0] += jump if name in ("create", "fetch?") else 0

        provider.event = move
        others: list[list[Reply]] = []
        thread = threading.Thread(target=lambda: others.append(ask(provider, Ledger(path, clock=lambda: now[0]), 4)))
        thread.start()
        replies = ask(provider, ledger, 4)
        thread.join()
    assert [reply.text for reply in replies] == [reply.text for reply in others[0]] == good(4)
    assert (provider.sizes, provider.seen["create"]) == ([4], 1)
    assert ledger.charged("math") == Spend(4, 120, pytest.approx(4 * 20e-6))


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
        assert account(provider, ledger).ask([asked(9)])[0].text == "re: question 9"
        assert ledger.charged("math") == Spend(4, 120, pytest.approx(4 * 20e-6))
        assert [row[0] for row in ledger.query("SELECT status FROM batches ORDER BY created")] == ["done", "done"]
