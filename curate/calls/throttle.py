"""Owns how hard a server is pressed: how many requests at once, how many in a minute, waits between tries. Sends nothing."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from curate.errors import InputError
from curate.teachers.base import RawResponse

__all__ = ["Backoff", "Permit", "RateLimit", "Throttle"]

MINUTE = 60.0  # seconds
_SLACK = 1.0  # seconds' worth of sendings that may be made up for after a lull; the minute's limit holds all the same

_LOOK = 0.2  # seconds between looks whether to go on waiting
_LONGEST_ORDER = 300.0  # seconds; a server that asks for a longer wait has told us to come back another day


@dataclass(frozen=True)
class Backoff:
    """Waits between tries: `first` seconds, then twice as long each time, `longest` at most; half of each is random.

    Attributes:
        first: seconds before the second try.
        longest: seconds before any try.
        tries: sendings of one request, the first included.
    """

    first: float = 0.5
    longest: float = 30.0
    tries: int = 6

    def seconds(self, tried: int, rng: random.Random) -> float:
        """Return the wait after the try number `tried`, from 0."""
        return min(self.longest, self.first * 2.0**tried) * (0.5 + rng.random() / 2)


@dataclass
class Permit:
    """The leave to send one request: when it was given, and what counts of it in the minute after."""

    at: float
    requests: int
    tokens: int


class RateLimit:
    """Limits per minute: whatever minute is looked at, no more is sent in it, and what is sent is spread over it.

    A request counts with its upper bound of tokens until its reply says what it used. Times are seconds of one clock that
    never turns back. A request whose bound alone is above the limit leaves when nothing else counts.

    Args:
        requests_per_minute: at most; None for no limit.
        tokens_per_minute: of prompts and replies, at most; None for no limit.

    Raises:
        InputError: a limit below 1.
    """

    def __init__(self, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        for name, limit in (("--requests-per-minute", requests_per_minute), ("--tokens-per-minute", tokens_per_minute)):
            if limit is not None and limit < 1:
                raise InputError(f"{name} is 1 or more, got {limit}")
        self._most = (requests_per_minute, tokens_per_minute)
        self._minute: deque[Permit] = deque()  # given in the last minute
        self._sums = [0, 0]  # of requests and of tokens in it
        self._due = [float("-inf"), float("-inf")]  # when, at an even pace, the next may leave
        self.is_set = self._most != (None, None)

    def wait(self, tokens: int, now: float) -> float:
        """Return the seconds until a request with that bound may leave; 0 where it may now."""
        while self._minute and self._minute[0].at <= now - MINUTE:
            self._count(self._minute.popleft(), -1)
        waits = [0.0]
        for limit, counted, more, due in zip(self._most, self._sums, (1, tokens), self._due, strict=True):
            if limit is not None:
                waits.append(due - now)
                if self._minute and counted and counted + more > limit:
                    waits.append(self._minute[0].at + MINUTE - now)
        return max(waits)

    def give(self, tokens: int, now: float) -> Permit:
        """Count a request that leaves now."""
        leave = Permit(now, 1, tokens)
        self._minute.append(leave)
        self._count(leave, 1)
        for side, limit in enumerate(self._most):
            if limit is not None:
                earliest = now if self._due[side] == float("-inf") else now - _SLACK  # nothing is made up for at the start
                self._due[side] = max(self._due[side], earliest) + (1, tokens)[side] * MINUTE / limit
        return leave

    def correct(self, leave: Permit | None, tokens: int, *, sent: bool = True) -> None:
        """Count what a request used in the place of its bound, and nothing where it was not `sent`."""
        if leave is None:
            return
        after = Permit(leave.at, int(sent), tokens if sent else 0)
        more = (after.requests - leave.requests, after.tokens - leave.tokens)
        counts = bool(self._minute) and self._minute[0].at <= leave.at
        for side, limit in enumerate(self._most):
            if limit is not None:
                self._sums[side] += more[side] if counts else 0
                self._due[side] += more[side] * MINUTE / limit
        leave.requests, leave.tokens = after.requests, after.tokens

    def _count(self, leave: Permit, sign: int) -> None:
        self._sums[0] += sign * leave.requests
        self._sums[1] += sign * leave.tokens


class Throttle:
    """A gate whose width adapts: halved when the server pushes back, one wider after each round of good answers.

    This is additive increase, multiplicative decrease (Chiu and Jain 1989), as TCP has it.

    Args:
        width: requests at once, at most.
        backoff: waits between tries.
        halted: whether nothing shall be sent any more; then nobody waits any longer.
        pace: limits per minute.
    """

    def __init__(self, width: int, backoff: Backoff, halted: Callable[[], bool], pace: RateLimit | None = None) -> None:
        self._most, self.width, self._inside = width, float(width), 0
        self._backoff, self._halted = backoff, halted
        self._rng = random.Random()  # jitter; no result depends on it
        self._quiet_until = 0.0  # loop time before which nothing is sent
        self._moved = asyncio.Event()
        self._pace, self._turn = pace or RateLimit(), asyncio.Lock()

    async def enter(self, tokens: int = 0) -> Permit | None:
        """Wait for a place, until the server wants to hear from us again, and for our turn within the limits per minute.

        Args:
            tokens: upper bound of the request.

        Returns:
            The leave to send, to be corrected by what is used; None where there is no limit.
        """
        while True:
            await self._sleep_until(self._quiet_until)
            if self._inside < max(1, int(self.width)):
                break
            self._moved.clear()
            await self._moved.wait()
        self._inside += 1
        if not self._pace.is_set:
            return None
        try:
            return await self._wait_for_turn(tokens)
        except asyncio.CancelledError:
            self.leave()
            raise

    async def _wait_for_turn(self, tokens: int) -> Permit:
        loop = asyncio.get_running_loop()
        async with self._turn:  # one after the other, so that a large request is not passed by small ones for ever
            while not self._halted():
                left = max(self._pace.wait(tokens, loop.time()), self._quiet_until - loop.time())
                if left <= 0:
                    break
                await asyncio.sleep(min(left, _LOOK))
            return self._pace.give(tokens, loop.time())

    def leave(self) -> None:
        """Give the place back."""
        self._inside -= 1
        self._moved.set()

    def record_success(self) -> None:
        """Widen the gate a little after a good answer."""
        self.width = min(float(self._most), self.width + 1 / self.width)

    async def wait(self, answer: RawResponse, tried: int) -> bool:
        """Wait before the next try; False where there is none.

        Args:
            answer: what came of the last try.
            tried: its number, from 0.
        """
        asked = answer.retry_after
        if tried + 1 >= self._backoff.tries or self._halted() or (asked or 0) > _LONGEST_ORDER:
            return False
        now = asyncio.get_running_loop().time()
        if answer.outcome == "refused" and asked != 0:
            self.width = max(1.0, self.width / 2)
        if asked:
            self._quiet_until = max(self._quiet_until, now + asked)
        await self._sleep_until(now + (self._backoff.seconds(tried, self._rng) if asked is None else asked))
        return not self._halted()

    async def _sleep_until(self, when: float) -> None:
        loop = asyncio.get_running_loop()
        while (left := when - loop.time()) > 0 and not self._halted():
            await asyncio.sleep(min(left, _LOOK))
