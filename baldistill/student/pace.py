"""Counts the rows and tokens of a step that a student works on, so that its progress and its speed are told every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from curate import progress

__all__ = ["EVERY", "Pace", "paced"]

EVERY = 2.0  # seconds without a word, after which `Pace.beat` says where the step is


class Pace:
    """The counter of one step; made by `paced`."""

    def __init__(self, counter: progress.Step) -> None:
        self._counter, self._tokens, self._rows = counter, 0, 0
        self._started = self._told = time.monotonic()

    def advance(self, rows: int, tokens: int = 0) -> None:
        """Count rows as done, and the tokens that were read and written for them; 0 where they were kept from before."""
        self._tokens += tokens
        self._rows += rows if tokens else 0
        self._tell(rows, 0)

    def beat(self, tokens: int) -> None:
        """Tell, where nothing was told for a while, to how many tokens the batch at work has come; they count when it is done."""
        if time.monotonic() - self._told >= EVERY:
            self._tell(0, tokens)

    def _tell(self, rows: int, under_way: int) -> None:
        self._told = time.monotonic()
        took = self._told - self._started
        tokens = self._tokens + under_way
        facts = {"rows_per_s": round(self._rows / took, 1), "tokens_per_s": round(tokens / took)} if tokens and took > 0 else {}
        self._counter.advance(rows, **facts)


@contextmanager
def paced(step: str, rows: int) -> Iterator[Pace]:
    """Count the rows of a step, and the tokens that a student reads and writes for them."""
    with progress.step(step, rows) as counter:
        yield Pace(counter)
