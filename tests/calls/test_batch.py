"""Batches, over real HTTP on loopback: what is put into them, under caps and limits, and who else may wait for them."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from curate import progress
from curate.balance.annotate import annotate
from curate.ledger.batches import BatchStore
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps, Charged
from curate.manifest.manifest import Manifest
from curate.teachers.base import Reply
from tests.support.batchserver import (
    BOUND,
    QUICK,
    Provider,
    answer,
    ask,
    asked,
    good,
    metered,
    providing,
    statuses,
)
from tests.support.loopback import Page, serving
from tests.support.samples import ingested


def test_requests_go_as_one_file_and_come_back_in_order_at_half_the_price(ledger: Ledger) -> None:
    with providing(Provider(shuffle=True, looks=2)) as provider:
        asker = metered(provider, ledger)
        replies = asker.ask([*(asked(n) for n in range(5)), asked(0)])
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
    assert asker.account.charged().calls == 5
    assert asker.account.charged().usd == pytest.approx(5 * 20e-6)
    assert ledger.query("SELECT status, provider, n, told FROM batches") == [("done", "batch_0", 5, "completed 6/5")]
    assert [reply.cached for reply in replies] == [False] * 6


def test_what_was_bought_is_not_bought_again(ledger: Ledger) -> None:
    with providing(Provider()) as provider:
        ask(provider, ledger, 3)
        again = metered(provider, ledger)
        assert [reply.cached for reply in again.ask([asked(n) for n in range(4)])] == [True, True, True, False]
        assert provider.sizes == [3, 1]
        live = metered(provider, ledger, mode="live")
        assert [reply.cached for reply in live.ask([asked(n) for n in range(4)])] == [True] * 4
    assert (again.account.charged().calls, again.account.charged().saved, live.account.charged().saved) == (1, 3, 4)


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
        assert [reply.text for reply in ask(provider, ledger, 7, settings=replace(QUICK, requests=3))] == good(7)
        assert provider.sizes == [3, 3, 1]
        size = len(provider.files[provider.batches["batch_2"]["input_file_id"]]) + 2  # a line, and its end
        other = Ledger(tmp_path / "other" / "ledger.sqlite")
        small = asked(0, max_tokens=10)
        large = replace(asked(1), messages=[{"role": "user", "content": "long " * 200}])
        replies = metered(provider, other, settings=replace(QUICK, bytes=2 * size)).ask(
            [*(asked(n) for n in range(3)), large, small]
        )
    assert provider.sizes[3:] == [2, 2]
    assert [reply.status for reply in replies] == ["answered"] * 3 + ["rejected", "answered"]
    assert "an input file holds" in replies[3].error


# Who leaves, and who else comes


def test_ctrl_c_leaves_the_batch_at_the_provider_and_says_so(ledger: Ledger) -> None:
    notes: list[str] = []
    with providing(Provider(looks=10**6)) as provider, progress.listen(lambda event: notes.append(event.message)):
        provider.event = lambda name: os.kill(os.getpid(), signal.SIGINT) if name == "look" else None
        with pytest.raises(KeyboardInterrupt):
            ask(provider, ledger, 3)
        provider.event, provider.looks = (lambda name: None), 1
        assert "'batch_0' (in progress 0/3) stays at teacher 'local'; run the same command again to fetch their replies" in notes
        assert ledger.charged("math").tokens == 3 * BOUND
        assert [reply.text for reply in ask(provider, ledger, 3)] == good(3)
    assert provider.sizes == [3]


def test_ctrl_c_before_anything_was_made_gives_everything_back(ledger: Ledger) -> None:
    with providing(Provider(refuse=lambda method, path: (503, "busy"))) as provider:
        provider.event = lambda name: os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            ask(provider, ledger, 3, settings=replace(QUICK, longest=1, first=1))
    assert ledger.charged("math") == Charged()
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


def test_live_mode_takes_back_a_batch_that_was_planned_and_never_made(ledger: Ledger) -> None:
    with providing(Provider(refuse=lambda method, path: (400, "sent live") if "chat" in path else None)) as provider:
        planning, dead = metered(provider, ledger), BatchStore(ledger)
        dead.plan([[(planning.account.call_spec(asked(0)), planning.account.bound(asked(0), batched=True))]], Caps())
        dead.release()
        (reply,) = ask(provider, ledger, 1, mode="live")
    assert (reply.error, provider.sizes) == ("400 sent live", [])
    assert ledger.query("SELECT status FROM batches") == [("dropped",)]


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
    assert ledger.charged("math") == Charged(4, 120, pytest.approx(4 * 20e-6))


def start(root: Path) -> Manifest:
    examples = [{"prompt": f"{n} plus {n}?", "answer": str(2 * n), "domain": "sums", "status": "selected"} for n in range(3, 9)]
    return ingested(root, examples)


def solve(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a question of `start`, the fourth of them wrongly."""
    number = int(str(request["body"]["messages"][-1]["content"]).split(" plus ")[0].split()[-1])
    return answer(f"Twice {number}.\nThe answer is: {2 * number if number != 6 else 0}")


def test_a_verb_gives_the_same_rows_in_either_mode(tmp_path: Path) -> None:
    def live(body: dict[str, Any], _: int) -> Page:
        return Page(body=json.dumps(solve({"body": body})["response"]["body"]))

    with serving(live) as server:
        one = annotate(start(tmp_path / "live"), teacher=server.url, model="m")
    with providing(Provider(reply=solve, looks=0, live=True)) as provider:
        other = annotate(start(tmp_path / "batch"), teacher=provider.url, model="m", mode="batch")
    assert (one.written, provider.sizes) == (5, [5]), "the first request is sent live, since the server is unknown"
    assert one.figures == other.figures
    assert_frame_equal(one.manifest.rows(), other.manifest.rows())
