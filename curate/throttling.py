"""Owns how hard a server is pressed: how many requests at once, and how long to wait before the next try. Sends nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from curate.calls import Answer

__all__ = ["Backoff", "Throttle"]

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


class Throttle:
    """A gate whose width adapts: halved when the server pushes back, one wider after each round of good answers.

    This is additive increase, multiplicative decrease (Chiu and Jain 1989), as TCP has it.

    Args:
        width: requests at once, at most.
        backoff: waits between tries.
        halted: whether nothing shall be sent any more; then nobody waits any longer.
    """

    def __init__(self, width: int, backoff: Backoff, halted: Callable[[], bool]) -> None:
        self._most, self.width, self._inside = width, float(width), 0
        self._backoff, self._halted = backoff, halted
        self._rng = random.Random()  # jitter; no result depends on it
        self._quiet_until = 0.0  # loop time before which nothing is sent
        self._moved = asyncio.Event()

    async def enter(self) -> None:
        """Wait for a place, and until the server wants to hear from us again."""
        while True:
            await self._sleep_until(self._quiet_until)
            if self._inside < max(1, int(self.width)):
                self._inside += 1
                return
            self._moved.clear()
            await self._moved.wait()

    def leave(self) -> None:
        """Give the place back."""
        self._inside -= 1
        self._moved.set()

    def praise(self) -> None:
        """Widen the gate a little after a good answer."""
        self.width = min(float(self._most), self.width + 1 / self.width)

    async def wait(self, answer: Answer, tried: int) -> bool:
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
