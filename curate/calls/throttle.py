"""Limits how hard a server is pressed: requests in flight, requests and tokens per minute, waits between tries. Sends nothing."""

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
_LONGEST_WAIT = 300.0  # seconds; a request whose server asks for a longer wait is given up
_ALL_WAIT = 3  # push-backs without a reply between them, after which everybody waits and not only whose request it was


@dataclass(frozen=True)
class Backoff:
    """Waits between tries: `first` seconds, then twice as long each time, `longest` at most; half of each is random.

    Attributes:
        first: seconds before the second try.
        longest: seconds before any try.
        tries: sendings of one request, the first included; those that a busy server turned away do not count.
        patience: seconds for which a server may be busy, with no reply in between, before it is given up.
    """

    first: float = 0.5
    longest: float = 30.0
    tries: int = 6
    patience: float = 300.0

    def seconds(self, tries: int, rng: random.Random) -> float:
        """Return the wait after a try that `tries` others came before."""
        return min(self.longest, self.first * 2.0**tries) * (0.5 + rng.random() / 2)


@dataclass
class Permit:
    """The permission to send one request: when it was given, and what counts of it in the minute after.

    Attributes:
        at: time, in seconds of the limit's clock.
        requests: 1, or 0 once it is known that nothing was sent.
        tokens: upper bound of the request, then what it used.
    """

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
        self._limits = (requests_per_minute, tokens_per_minute)
        self._permits: deque[Permit] = deque()  # given in the last minute
        self._sums = [0, 0]  # of requests and of tokens in it
        self._due = [float("-inf"), float("-inf")]  # when, at an even pace, the next may leave
        self.is_set = self._limits != (None, None)

    def delay(self, tokens: int, now: float) -> float:
        """Return the seconds until a request with that bound may leave; 0 or less where it may now."""
        while self._permits and self._permits[0].at <= now - MINUTE:
            self._count(self._permits.popleft(), -1)
        delays = [0.0]
        for limit, counted, more, due in zip(self._limits, self._sums, (1, tokens), self._due, strict=True):
            if limit is not None:
                delays.append(due - now)
                if self._permits and counted and counted + more > limit:
                    delays.append(self._permits[0].at + MINUTE - now)
        return max(delays)

    def issue(self, tokens: int, now: float) -> Permit:
        """Count a request that leaves now, and return its permit."""
        permit = Permit(now, 1, tokens)
        self._permits.append(permit)
        self._count(permit, 1)
        for side, limit in enumerate(self._limits):
            if limit is not None:
                earliest = now if self._due[side] == float("-inf") else now - _SLACK  # nothing is made up for at the start
                self._due[side] = max(self._due[side], earliest) + (1, tokens)[side] * MINUTE / limit
        return permit

    def correct(self, permit: Permit | None, tokens: int, *, sent: bool = True) -> None:
        """Count what a request used in place of its bound, and nothing where it was not `sent`."""
        if permit is None:
            return
        after = Permit(permit.at, int(sent), tokens if sent else 0)
        more = (after.requests - permit.requests, after.tokens - permit.tokens)
        counts = bool(self._permits) and self._permits[0].at <= permit.at
        for side, limit in enumerate(self._limits):
            if limit is not None:
                self._sums[side] += more[side] if counts else 0
                self._due[side] += more[side] * MINUTE / limit
        permit.requests, permit.tokens = after.requests, after.tokens

    def _count(self, permit: Permit, sign: int) -> None:
        self._sums[0] += sign * permit.requests
        self._sums[1] += sign * permit.tokens


class Throttle:
    """A gate whose width adapts: halved when the server pushes back, one wider after each round of good replies.

    This is additive increase, multiplicative decrease (Chiu and Jain 1989), as in TCP.

    Args:
        width: requests in flight, at most.
        backoff: waits between tries.
        stopped: whether nothing is to be sent any more; then nobody waits any longer.
        rate_limit: requests and tokens per minute.
    """

    def __init__(self, width: int, backoff: Backoff, stopped: Callable[[], bool], rate_limit: RateLimit | None = None) -> None:
        self._most, self.width, self._inside = width, float(width), 0
        self._backoff, self._stopped = backoff, stopped
        self._rng = random.Random()  # jitter; no result depends on it
        self._quiet_until = 0.0  # loop time before which nothing is sent
        self._busy_since: float | None = None  # loop time since which the server only pushes back
        self._pushbacks = 0  # in that time, those of one burst counted once
        self._released = asyncio.Event()
        self._rate_limit, self._turn = rate_limit or RateLimit(), asyncio.Lock()

    async def acquire(self, tokens: int = 0) -> Permit | None:
        """Wait for room in the gate, for the end of a wait that the server asked for, and for room under the limits per minute.

        Args:
            tokens: upper bound of the request.

        Returns:
            The permit, to be corrected by what is used; None where there is no limit per minute.
        """
        while True:
            await self._sleep_until(self._quiet_until)
            if self._inside < max(1, int(self.width)):
                break
            self._released.clear()
            await self._released.wait()
        self._inside += 1
        if not self._rate_limit.is_set:
            return None
        try:
            return await self._wait_for_turn(tokens)
        except asyncio.CancelledError:
            self.release()
            raise

    async def _wait_for_turn(self, tokens: int) -> Permit:
        loop = asyncio.get_running_loop()
        async with self._turn:  # one after the other, so that a large request is not passed by small ones for ever
            while not self._stopped():
                left = max(self._rate_limit.delay(tokens, loop.time()), self._quiet_until - loop.time())
                if left <= 0:
                    break
                await asyncio.sleep(min(left, _LOOK))
            return self._rate_limit.issue(tokens, loop.time())

    def release(self) -> None:
        """Give the room back."""
        self._inside -= 1
        self._released.set()

    def record_success(self) -> None:
        """Widen the gate a little after a good reply."""
        self.width = min(float(self._most), self.width + 1 / self.width)
        self._busy_since, self._pushbacks = None, 0

    async def wait_to_retry(self, response: RawResponse, tries: int) -> bool:
        """Wait before the next try; False where there is none.

        Args:
            response: what came of the last try.
            tries: how many came before that one.
        """
        asked, now = max(response.retry_after or 0.0, 0.0), asyncio.get_running_loop().time()
        if response.outcome == "refused":
            self.width = max(1.0, self.width / 2)
        if response.busy:
            self._note_busy(now)
        wait = asked or self._backoff.seconds(max(tries, self._pushbacks - 1) if response.busy else tries, self._rng)
        if self._stopped() or wait > _LONGEST_WAIT or not self._may_try(response, tries, now):
            return False
        if asked or self._pushbacks > _ALL_WAIT:
            self._quiet_until = max(self._quiet_until, now + wait)
        await self._sleep_until(now + wait)
        return not self._stopped()

    def _note_busy(self, now: float) -> None:
        self._busy_since = now if self._busy_since is None else self._busy_since
        if now >= self._quiet_until:  # else it was sent before the last push-back was known
            self._pushbacks += 1

    def _may_try(self, response: RawResponse, tries: int, now: float) -> bool:
        if response.busy and self._busy_since is not None:
            return now - self._busy_since < self._backoff.patience
        return tries + 1 < self._backoff.tries

    async def _sleep_until(self, when: float) -> None:
        loop = asyncio.get_running_loop()
        while (left := when - loop.time()) > 0 and not self._stopped():
            await asyncio.sleep(min(left, _LOOK))
