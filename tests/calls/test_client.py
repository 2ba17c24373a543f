import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import progress
from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff
from curate.errors import InputError, TeacherError
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps, CostBound
from curate.report import costs
from curate.teachers.base import RawResponse, Reply, Request, Usage
from curate.teachers.fake import Fake
from curate.teachers.prices import Price

QUICK = Backoff(first=0.001, longest=0.002, tries=3)
NO_CAPS = Caps()
PRICE = Price(1.0, 2.0)


def asked(n: int = 0, *, sample: int = 0, max_tokens: int = 50) -> Request:
    messages = [{"role": "user", "content": f"question {n}"}]
    return Request("rationale", messages, sample=sample, domain="d", prompt=f"question {n}", max_tokens=max_tokens)


def metered(teacher: Fake, ledger: Ledger, caps: Caps = NO_CAPS, name: str = "math", backoff: Backoff = QUICK) -> MeteredTeacher:
    return MeteredTeacher(teacher, ledger, name, caps, "balance", 0, backoff=backoff)


def scripted(*answers: RawResponse | None) -> Callable[[Request, int], RawResponse | None]:
    return lambda request, n: answers[n] if n < len(answers) else None


def statuses(ledger: Ledger) -> list[str]:
    return [row[0] for row in ledger.query("SELECT status FROM attempts ORDER BY id")]


def test_replies_come_in_the_order_of_the_requests_whatever_the_order_of_arrival(ledger: Ledger) -> None:
    rng = random.Random(3)

    class Uneven(Fake):
        async def submit(self, requests: Sequence[Request]) -> AsyncIterator[tuple[int, RawResponse]]:
            await asyncio.sleep(rng.random() / 100)
            async for item in super().submit(requests):
                yield item

    teacher = Uneven({f"question {n}": str(n) for n in range(40)}, concurrency=16)
    replies = metered(teacher, ledger).ask([asked(n) for n in range(40)])
    assert [reply.text.splitlines()[-1] for reply in replies] == [f"The answer is: {n}" for n in range(40)]
    assert [request.prompt for request in teacher.sent] != sorted(request.prompt for request in teacher.sent)


def test_nothing_is_bought_twice_in_one_asking_or_in_two(ledger: Ledger) -> None:
    teacher = Fake()
    first = metered(teacher, ledger)
    replies = first.ask([asked(0), asked(1), asked(0)])
    assert (replies[0], len(teacher.sent)) == (replies[2], 2)
    again = metered(teacher, ledger, Caps(calls=0), name="another")
    repeated = again.ask([asked(1), asked(0)])
    assert [reply.text for reply in repeated] == [replies[1].text, replies[0].text]
    assert all(reply.cached and reply.call_id for reply in repeated)
    assert len(teacher.sent) == 2
    assert (again.account.charged().calls, again.account.charged().saved) == (0, 2)
    assert costs.read_costs("another", root=ledger.path.parents[1]).saved_calls == 2


def test_another_sample_is_another_call(ledger: Ledger) -> None:
    teacher = Fake({"question 0": "4"}, wrong=1)
    replies = metered(teacher, ledger).ask([asked(0), asked(0, sample=1)])
    assert [reply.text.splitlines()[-1] for reply in replies] == ["The answer is: not 4", "The answer is: 4"]
    assert replies[0].call_id != replies[1].call_id


def test_spend_tells_what_was_billed(ledger: Ledger) -> None:
    teacher = Fake(script=lambda request, n: RawResponse.of("x", usage=Usage(1000, 500, cached=0)), price=PRICE)
    first = metered(teacher, ledger)
    first.ask([asked(0), asked(1)])
    spent = first.account.charged()
    assert (spent.calls, spent.tokens, spent.usd) == (2, 3000, pytest.approx(2 * (1000 * 1 + 500 * 2) / 1e6))
    assert metered(Fake(price=None), ledger).account.charged().usd is None


def test_an_unanswered_request_is_free_and_leaves_no_trace(ledger: Ledger) -> None:
    teacher = Fake(script=scripted(RawResponse("unanswered")))
    asker = metered(teacher, ledger, Caps(calls=1))
    assert asker.ask([asked()]) == [Reply(status="unanswered")]
    assert (ledger.charged("math").calls, asker.account.charged().calls, statuses(ledger)) == (0, 0, [])


@pytest.mark.parametrize(
    ("failure", "left", "tokens"),
    [
        (RawResponse("refused", error="429 slow down"), "failed", 0),
        (RawResponse("refused", error="503", retry_after=0.01), "failed", 0),
        (RawResponse("lost", error="ReadError"), "lost", 50),
        (RawResponse("answered", raw='{"choices": [{"mess'), "failed", 50),
        (RawResponse("answered", raw='{"choices": [{}]}'), "failed", 50),
    ],
)
def test_a_failure_that_may_pass_is_tried_again_and_every_sending_counts(
    ledger: Ledger, failure: RawResponse, left: str, tokens: int
) -> None:
    asker = metered(Fake(script=scripted(failure)), ledger)
    (reply,) = asker.ask([asked()])
    assert reply.status == "answered"
    assert statuses(ledger) == [left, "answered"]
    assert asker.account.charged().calls == 2
    assert asker.account.charged().tokens - reply.usage.total >= tokens
    assert (asker.account.charged().tokens - reply.usage.total > 0) == bool(tokens)


def test_after_the_last_try_the_reply_says_why_and_the_next_run_asks_again(ledger: Ledger) -> None:
    teacher = Fake(script=scripted(*[RawResponse("refused", error="503 overloaded")] * 3))
    (reply,) = metered(teacher, ledger).ask([asked()])
    assert (reply.status, reply.error, len(teacher.sent)) == ("failed", "503 overloaded", 3)
    assert metered(teacher, ledger).ask([asked()])[0].status == "answered"


def test_a_request_that_is_wrong_is_sent_once(ledger: Ledger) -> None:
    teacher = Fake(
        script=lambda request, n: RawResponse("failed", error="400 too long") if request.prompt.endswith("0") else None
    )
    replies = metered(teacher, ledger).ask([asked(0), asked(1)])
    assert [reply.status for reply in replies] == ["rejected", "answered"]
    assert (replies[0].error, len(teacher.sent)) == ("400 too long", 2)


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
def test_a_reply_that_was_cut_or_filtered_is_paid_for_and_not_asked_for_again(ledger: Ledger, finish_reason: str) -> None:
    teacher = Fake(script=lambda request, n: RawResponse.of("", finish_reason=finish_reason, usage=Usage(5, 50)))
    for _ in range(2):
        (reply,) = metered(teacher, ledger).ask([asked()])
        assert (reply.status, reply.finish_reason) == ("answered", finish_reason)
    assert len(teacher.sent) == 1
    assert ledger.charged("math").tokens == 55


def test_who_refuses_everybody_is_asked_once_and_what_was_bought_is_kept(ledger: Ledger) -> None:
    teacher = Fake(
        script=lambda request, n: RawResponse("denied", error="401 wrong key") if request.prompt == "question 5" else None,
        concurrency=1,
    )
    with pytest.raises(TeacherError, match="teacher 'fake' refuses: 401 wrong key"):
        metered(teacher, ledger).ask([asked(n) for n in range(100)])
    assert len(teacher.sent) == 6
    assert len(ledger.find([metered(teacher, ledger).account.call_spec(asked(n)).key for n in range(5)])) == 5


def test_nobody_at_the_endpoint_is_an_error_and_costs_nothing(ledger: Ledger) -> None:
    teacher = Fake(script=lambda request, n: RawResponse("unsent", error="ConnectError: refused"))
    with pytest.raises(TeacherError, match="cannot be reached: ConnectError: refused; check the address"):
        metered(teacher, ledger).ask([asked()])
    assert (len(teacher.sent), ledger.charged("math").calls) == (3, 0)


def test_a_teacher_that_answers_nobody_is_given_up(ledger: Ledger) -> None:
    teacher = Fake(script=lambda request, n: RawResponse("refused", error="503"), concurrency=1)
    with pytest.raises(TeacherError, match="answered none of the last 10 requests: 503"):
        metered(teacher, ledger).ask([asked(n) for n in range(1000)])
    assert len(teacher.sent) == 30


def test_an_answer_is_found_whoever_asks_next_even_if_nobody_read_it(ledger: Ledger) -> None:
    teacher = Fake()
    asker = metered(teacher, ledger)
    spec, bound = asker.account.call_spec(asked()), asker.account.bound(asked())
    reservation = ledger.reserve(spec, bound, NO_CAPS, "[]")
    ledger.record(reservation.attempt, RawResponse.of("kept", usage=Usage(3, 4)).raw)  # and then the machine went down
    (reply,) = asker.ask([asked()])
    assert (reply.text, teacher.sent) == ("kept", [])
    assert ledger.charged("math").tokens == 7


def test_an_unreadable_reply_from_before_is_bought_again(ledger: Ledger) -> None:
    teacher = Fake()
    asker = metered(teacher, ledger)
    reservation = ledger.reserve(asker.account.call_spec(asked()), asker.account.bound(asked()), NO_CAPS, "[]")
    ledger.record(reservation.attempt, "<html>")
    assert asker.ask([asked()])[0].status == "answered"
    assert len(teacher.sent) == 1
    assert statuses(ledger) == ["failed", "answered"]


def test_a_second_asker_waits_for_the_first_and_buys_nothing(ledger: Ledger, tmp_path: Path) -> None:
    slow, other = Fake(delay=0.3), Fake()
    replies: list[list[Reply]] = []
    thread = threading.Thread(target=lambda: replies.append(metered(slow, ledger).ask([asked()])))
    thread.start()
    while not slow.sent:
        time.sleep(0.01)
    second = Ledger(tmp_path / "manifests" / "ledger.sqlite")
    replies.append(metered(other, second, name="another").ask([asked()]))
    thread.join()
    assert replies[0][0].text == replies[1][0].text
    assert (len(slow.sent), other.sent) == (1, [])
    assert ledger.charged("another").calls == 0


def test_what_a_dead_run_had_under_way_is_lost_charged_and_told(ledger: Ledger) -> None:
    teacher = Fake()
    asker = metered(teacher, ledger)
    ledger.reserve(asker.account.call_spec(asked()), CostBound("math", "balance", 0, 70, 0), NO_CAPS, '["elsewhere", 1, ""]')
    ledger.query("UPDATE attempts SET lease = 0")
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        resumed = metered(teacher, ledger)
    assert notes == ["1 calls were under way when an earlier run ended; they stay charged"]
    assert resumed.ask([asked()])[0].status == "answered"
    assert statuses(ledger) == ["lost", "answered"]
    assert ledger.charged("math").calls == 2


@pytest.mark.parametrize(
    ("caps", "bought", "words"),
    [(Caps(calls=3), 3, "--max-calls 3"), (Caps(calls=0), 0, "--max-calls 0"), (Caps(tokens=700), 10, "--max-tokens 700")],
)
def test_a_cap_ends_the_buying_in_order_and_says_so(ledger: Ledger, caps: Caps, bought: int, words: str) -> None:
    teacher = Fake(script=lambda request, n: RawResponse.of("x", usage=Usage(40, 10)), concurrency=1)
    replies = metered(teacher, ledger, caps).ask([asked(n) for n in range(20)])
    assert [reply.status for reply in replies] == ["answered"] * bought + ["capped"] * (20 - bought)
    assert words in replies[-1].error
    assert replies[-1].call_id is None


def test_room_that_comes_free_under_a_cap_is_used(ledger: Ledger) -> None:
    """Bounds are several times what is billed: what is under way must not end the buying before it has to."""
    teacher = Fake(script=lambda request, n: RawResponse.of("x", usage=Usage(1, 1)), concurrency=8, delay=0.001)
    bound = metered(teacher, ledger).account.bound(asked()).tokens
    replies = metered(teacher, ledger, Caps(tokens=bound + 40)).ask([asked(n) for n in range(20)])
    assert {reply.status for reply in replies} == {"answered"}


def test_replies_at_hand_are_given_whatever_the_cap(ledger: Ledger) -> None:
    teacher = Fake()
    metered(teacher, ledger).ask([asked(0)])
    replies = metered(teacher, ledger, Caps(calls=1)).ask([asked(0), asked(1)])
    assert [reply.status for reply in replies] == ["answered", "capped"]


def test_a_cap_in_dollars_needs_a_price(ledger: Ledger) -> None:
    with pytest.raises(InputError, match=r"--max-usd 2: model 'fake' at 'fake' has no known price; write one into prices.toml"):
        metered(Fake(price=None), ledger, Caps(usd=2.0))
    metered(Fake(), ledger, Caps(usd=2.0))
    with pytest.raises(InputError, match="--max-calls is a limit of 0 or more, got -1"):
        metered(Fake(), ledger, Caps(calls=-1))


OUTCOMES = st.sampled_from(["answered", "refused", "lost", "garbage", "unanswered", "failed"])


@given(
    outcomes=st.lists(st.lists(OUTCOMES, max_size=4), min_size=1, max_size=9),
    calls=st.integers(0, 20),
    tokens=st.integers(0, 3000),
    concurrency=st.integers(1, 8),
)
@settings(max_examples=25, deadline=None)
def test_no_schedule_passes_a_cap_and_nothing_stays_reserved(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[list[str]], calls: int, tokens: int, concurrency: int
) -> None:
    def script(request: Request, n: int) -> RawResponse:
        told = outcomes[int(request.prompt.split()[1])]
        outcome = told[n] if n < len(told) else "answered"
        if outcome == "answered":
            return RawResponse.of("x", usage=Usage(20, 30))
        return RawResponse("answered", raw="{") if outcome == "garbage" else RawResponse(outcome, error=outcome)  # type: ignore[arg-type]

    ledger = Ledger(tmp_path_factory.mktemp("caps") / "ledger.sqlite")
    teacher = Fake(script=script, concurrency=concurrency, price=PRICE)
    caps = Caps(calls=calls, tokens=tokens, usd=2000e-6)
    try:
        replies = metered(teacher, ledger, caps, backoff=Backoff(0.0, 0.0, 3)).ask([asked(n) for n in range(len(outcomes))])
    except TeacherError:  # three rows whose replies cannot be read, before anything was answered
        replies = []
    charged = ledger.charged("math")
    assert charged.calls <= calls
    assert charged.tokens <= tokens
    assert charged.usd <= 2000e-6
    assert "sent" not in statuses(ledger)
    sums = ledger.query("SELECT SUM(calls), SUM(tokens), SUM(nano_usd) FROM attempts")[0]
    assert (charged.calls, charged.tokens, round(charged.usd * 1e9)) == tuple(total or 0 for total in sums)
    for number, reply in enumerate(replies):
        told = [*outcomes[number], *["answered"] * 3][:3]
        first = next((n for n, o in enumerate(told) if o in ("answered", "unanswered", "failed")), None)
        if first is None or told[:first].count("garbage") == 2:
            assert reply.status in ("failed", "capped")
        else:
            assert reply.status in ({"failed": "rejected"}.get(told[first], told[first]), "capped")
    ledger.close()


def test_progress_is_heard_by_the_caller(ledger: Ledger) -> None:
    events: list[progress.Event] = []
    with progress.listen(events.append):
        metered(Fake(), ledger).ask([asked(n) for n in range(3)])
    assert [(event.step, event.done, event.total) for event in events] == [("rationale", n, 3) for n in (0, 0, 1, 2, 3)]
    assert events[-1].facts["calls"] == 3


def test_asking_works_inside_a_running_event_loop(ledger: Ledger) -> None:
    async def notebook() -> list[Reply]:
        return metered(Fake(), ledger).ask([asked()])

    assert asyncio.run(notebook())[0].status == "answered"


def test_a_bug_in_a_teacher_keeps_its_traceback_and_leaves_nothing_open(ledger: Ledger) -> None:
    def script(request: Request, n: int) -> RawResponse:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        metered(Fake(script=script), ledger).ask([asked(n) for n in range(3)])
    assert set(statuses(ledger)) == {"lost"}


def interrupt(times: int, after: float) -> None:
    def send() -> None:
        for _ in range(times):
            time.sleep(after)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_the_first_interrupt_waits_for_what_is_under_way(ledger: Ledger) -> None:
    teacher = Fake(delay=0.4, concurrency=2)
    interrupt(1, after=0.2)
    with pytest.raises(KeyboardInterrupt):
        metered(teacher, ledger).ask([asked(n) for n in range(50)])
    assert statuses(ledger) == ["answered"] * len(teacher.sent)
    assert 1 <= len(teacher.sent) <= 4


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_the_second_interrupt_does_not_wait_and_what_was_under_way_is_lost(ledger: Ledger) -> None:
    teacher = Fake(delay=30, concurrency=2)
    start = time.monotonic()
    interrupt(2, after=0.5)
    with pytest.raises(KeyboardInterrupt):
        metered(teacher, ledger).ask([asked(n) for n in range(50)])
    assert time.monotonic() - start < 15
    assert statuses(ledger) == ["lost", "lost"]
    assert ledger.charged("math").calls == 2
