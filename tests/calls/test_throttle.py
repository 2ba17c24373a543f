import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.calls.throttle import MINUTE, Backoff, RateLimit, Throttle
from curate.errors import InputError
from curate.teachers.base import RawResponse

QUICK = Backoff(first=0.001, longest=0.002, tries=3)


def throttle(width: int = 4, backoff: Backoff = QUICK, stopped: bool = False) -> Throttle:
    return Throttle(width, backoff, lambda: stopped)


@given(st.integers(0, 50), st.integers())
def test_waits_double_up_to_the_longest_and_half_of_each_is_random(tries: int, seed: int) -> None:
    seconds = Backoff(first=0.5, longest=30.0).seconds(tries, random.Random(seed))
    full = min(30.0, 0.5 * 2**tries)
    assert full / 2 <= seconds <= full


def test_no_more_are_inside_than_the_gate_is_wide() -> None:
    async def crowd() -> int:
        gate, most, inside = throttle(3), 0, 0

        async def one() -> None:
            nonlocal most, inside
            await gate.acquire()
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1
            gate.release()

        await asyncio.gather(*(one() for _ in range(20)))
        return most

    assert asyncio.run(crowd()) == 3


def test_a_refusal_halves_the_gate_and_good_answers_widen_it_again() -> None:
    async def story() -> list[float]:
        gate, widths = throttle(8), []
        await gate.wait_to_retry(RawResponse("refused"), 0)
        widths.append(gate.width)
        await gate.wait_to_retry(RawResponse("lost"), 0)  # it may have answered; the server is not busy
        widths.append(gate.width)
        for _ in range(100):
            gate.record_success()
        return [*widths, gate.width]

    assert asyncio.run(story()) == [4.0, 4.0, 8.0]


def test_a_server_that_asks_for_a_wait_is_left_alone_by_everybody() -> None:
    async def story() -> float:
        gate, loop = throttle(), asyncio.get_running_loop()
        start = loop.time()
        waiting = asyncio.create_task(gate.wait_to_retry(RawResponse("refused", retry_after=0.05), 0))
        await asyncio.sleep(0)
        await gate.acquire()
        assert await waiting
        return loop.time() - start

    assert asyncio.run(story()) >= 0.05


def test_there_is_no_next_try_after_the_last_or_when_stopped_or_when_told_to_come_back_another_day() -> None:
    async def ends() -> list[bool]:
        return [
            await throttle().wait_to_retry(RawResponse("lost"), 1),
            await throttle().wait_to_retry(RawResponse("lost"), 2),
            await throttle(stopped=True).wait_to_retry(RawResponse("lost"), 0),
            await throttle().wait_to_retry(RawResponse("refused", retry_after=3600.0), 0),
        ]

    assert asyncio.run(ends()) == [True, False, False, False]


# Limits per minute, on a clock that jumps to whatever is waited for


class Jumping(asyncio.SelectorEventLoop):
    """An event loop whose clock does not run: when nothing is left to do, it is as late as the next timer."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def jump(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=Jumping) as runner:
        return runner.run(work)


async def press(limit: RateLimit, sendings: list[tuple[int, int, float]], workers: int) -> list[tuple[float, int]]:
    """Send (bound, used, seconds) by some workers; return when each left, and what it used."""
    gate, queue, left = Throttle(workers, QUICK, lambda: False, limit), iter(sendings), []
    loop = asyncio.get_running_loop()

    async def work() -> None:
        for bound, used, seconds in queue:
            permit = await gate.acquire(bound)
            left.append((loop.time(), used))
            await asyncio.sleep(seconds)
            limit.correct(permit, used)
            gate.release()

    await asyncio.gather(*(work() for _ in range(workers)))
    return left


def most_in_a_minute(left: list[tuple[float, int]]) -> tuple[int, int]:
    """Return the most requests, and the most tokens, that left within any minute."""
    minutes = [[used for at, used in left if start <= at < start + MINUTE] for start, _ in left]
    return max(map(len, minutes)), max(map(sum, minutes))


SENDINGS = st.lists(
    st.tuples(st.integers(1, 400), st.floats(0, 1), st.floats(0, 200)).map(lambda s: (s[0], round(s[0] * s[1]), s[2])),
    min_size=1,
    max_size=60,
)


@given(SENDINGS, st.integers(1, 40), st.integers(400, 4000), st.integers(1, 8))
def test_no_minute_holds_more_requests_or_tokens_than_its_limits(
    sendings: list[tuple[int, int, float]], requests: int, tokens: int, workers: int
) -> None:
    left = jump(press(RateLimit(requests, tokens), sendings, workers))
    assert len(left) == len(sendings)
    n, used = most_in_a_minute(left)
    assert n <= requests
    assert used <= tokens


def test_requests_are_spread_over_the_minute_from_the_first_on() -> None:
    left = jump(press(RateLimit(requests_per_minute=60), [(1, 1, 0.0)] * 150, 20))
    assert [at - 1000 for at, _ in left] == pytest.approx(list(range(150)))


def test_tokens_count_at_their_bound_until_the_reply_says_what_was_used() -> None:
    """Replies of a tenth of the bound let ten times as many leave as bounds alone would."""
    left = jump(press(RateLimit(tokens_per_minute=6000), [(1000, 100, 1.0)] * 200, 4))
    minutes = (left[-1][0] - left[0][0]) / MINUTE
    assert 3.3 <= minutes <= 6  # 20,000 tokens used; at the bounds it would be 33 minutes
    assert most_in_a_minute(left)[1] <= 6000


def test_what_was_never_sent_does_not_count() -> None:
    limit = RateLimit(requests_per_minute=2)
    for _ in range(5):
        limit.correct(limit.issue(1, now=0.0), 0, sent=False)
    assert limit.delay(1, now=0.0) == 0
    limit.issue(1, now=0.0)
    assert limit.delay(1, now=0.0) == 30


def test_after_a_lull_a_little_is_made_up_for_and_no_more() -> None:
    limit, left = RateLimit(requests_per_minute=600), 0
    limit.issue(1, now=0.0)
    while limit.delay(1, now=50.0) <= 0:
        limit.issue(1, now=50.0)
        left += 1
    assert left in (10, 11)  # those of one second, and the one that is due


def test_a_request_above_the_limit_leaves_alone() -> None:
    left = jump(press(RateLimit(tokens_per_minute=100), [(50, 50, 0.0), (900, 900, 0.0), (50, 50, 0.0)], 3))
    first, large, last = (at - 1000 for at, _ in left)
    assert (first, large) == (0, 60)
    assert last >= 120


def test_a_server_that_asks_for_a_wait_is_left_alone_by_those_whose_turn_comes_meanwhile() -> None:
    async def story() -> float:
        gate, loop = Throttle(4, QUICK, lambda: False, RateLimit(requests_per_minute=60)), asyncio.get_running_loop()
        await gate.acquire()
        waiting = asyncio.create_task(gate.acquire())
        await asyncio.sleep(0.5)
        await gate.wait_to_retry(RawResponse("refused", retry_after=20.0), 0)
        await waiting
        return loop.time() - 1000

    assert jump(story()) == pytest.approx(20.5)


def test_who_is_cancelled_while_waiting_for_a_turn_gives_the_place_back() -> None:
    async def story() -> bool:
        gate = Throttle(2, QUICK, lambda: False, RateLimit(requests_per_minute=1))
        await gate.acquire()
        waiting = asyncio.create_task(gate.acquire())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        gate.release()
        await asyncio.gather(*(gate.acquire() for _ in range(2)))
        return True

    assert jump(story())


@pytest.mark.parametrize(("limits", "name"), [((0, None), "--requests-per-minute"), ((None, -5), "--tokens-per-minute")])
def test_a_limit_below_one_is_an_error(limits: tuple[int | None, int | None], name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is 1 or more, got"):
        RateLimit(*limits)
