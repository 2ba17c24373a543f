import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from curate.calls import Answer
from curate.throttling import Backoff, Throttle

QUICK = Backoff(first=0.001, longest=0.002, tries=3)


def throttle(width: int = 4, backoff: Backoff = QUICK, halted: bool = False) -> Throttle:
    return Throttle(width, backoff, lambda: halted)


@given(st.integers(0, 50), st.integers())
def test_waits_double_up_to_the_longest_and_half_of_each_is_random(tried: int, seed: int) -> None:
    seconds = Backoff(first=0.5, longest=30.0).seconds(tried, random.Random(seed))
    full = min(30.0, 0.5 * 2**tried)
    assert full / 2 <= seconds <= full


def test_no_more_are_inside_than_the_gate_is_wide() -> None:
    async def crowd() -> int:
        gate, most, inside = throttle(3), 0, 0

        async def one() -> None:
            nonlocal most, inside
            await gate.enter()
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1
            gate.leave()

        await asyncio.gather(*(one() for _ in range(20)))
        return most

    assert asyncio.run(crowd()) == 3


def test_a_refusal_halves_the_gate_and_good_answers_widen_it_again() -> None:
    async def story() -> list[float]:
        gate, widths = throttle(8), []
        await gate.wait(Answer("refused"), 0)
        widths.append(gate.width)
        await gate.wait(Answer("refused", retry_after=0.0), 0)  # we asked wrongly; the server is not busy
        widths.append(gate.width)
        for _ in range(100):
            gate.praise()
        return [*widths, gate.width]

    assert asyncio.run(story()) == [4.0, 4.0, 8.0]


def test_a_server_that_asks_for_a_wait_is_left_alone_by_everybody() -> None:
    async def story() -> float:
        gate, loop = throttle(), asyncio.get_running_loop()
        start = loop.time()
        waiting = asyncio.create_task(gate.wait(Answer("refused", retry_after=0.05), 0))
        await asyncio.sleep(0)
        await gate.enter()
        assert await waiting
        return loop.time() - start

    assert asyncio.run(story()) >= 0.05


def test_there_is_no_next_try_after_the_last_or_when_halted_or_when_told_to_come_back_another_day() -> None:
    async def ends() -> list[bool]:
        return [
            await throttle().wait(Answer("lost"), 1),
            await throttle().wait(Answer("lost"), 2),
            await throttle(halted=True).wait(Answer("lost"), 0),
            await throttle().wait(Answer("refused", retry_after=3600.0), 0),
        ]

    assert asyncio.run(ends()) == [True, False, False, False]
