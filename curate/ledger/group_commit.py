"""Puts the ledger writes of many tasks of one event loop into few commits. Decides nothing about what is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from curate.ledger.ledger import Ledger

__all__ = ["GroupCommit"]

T = TypeVar("T")

_SHARE = 0.5  # of the time, at most, that goes into commits


class GroupCommit:
    """Does writes of many tasks of one event loop in few commits, in the order in which they were asked for.

    After a commit that took some milliseconds the next one waits as long, so that on a slow disk groups are large and the
    loop has time for other things.

    Args:
        ledger: that is written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._error: BaseException | None = None
        self._scheduled = False  # a commit
        self._idle_until = 0.0  # loop time

    def __enter__(self) -> GroupCommit:
        return self

    def __exit__(self, *_: object) -> None:
        self._commit_waiting()

    async def write(self, write: Callable[[], T]) -> T:
        """Do one write; returns once it is on disk."""
        done: T = await self.post(write)
        return done

    def post(self, write: Callable[[], T]) -> asyncio.Future[T]:
        """Do one write soon, after everything posted before it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((write, future))
        if not self._scheduled:
            self._scheduled = True
            if self._idle_until <= loop.time():
                loop.call_soon(self._commit_scheduled)
            else:
                loop.call_at(self._idle_until, self._commit_scheduled)
        return future

    async def flush(self) -> None:
        """Bring everything posted to disk.

        Raises:
            LedgerError: something posted could not be written.
        """
        self._commit_waiting()
        if self._error is not None:
            raise self._error

    def _commit_scheduled(self) -> None:
        self._scheduled = False
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._commit_waiting()
        ended = loop.time()
        self._idle_until = ended + (ended - started) * (1 / _SHARE - 1)

    def _commit_waiting(self) -> None:
        writes, self._waiting = self._waiting, []
        if writes:
            group = _Group([future for _, future in writes])
            with group, self._ledger.transaction():
                group.results = [write() for write, _ in writes]
            self._error = self._error or group.error


class _Group:
    """Sets the futures of those who wait for the enclosed commit: to the results, or to the error."""

    def __init__(self, futures: list[asyncio.Future[Any]]) -> None:
        self.results: list[Any] = []
        self.error: BaseException | None = None
        self._futures = futures

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error
        for number, future in enumerate(self._futures):
            if future.cancelled():
                continue
            if error is None:
                future.set_result(self.results[number])
            else:  # one transaction: where it fails, each of its writes has failed
                future.set_exception(error)
                future.exception()  # whoever posted without waiting hears of it from flush
        return isinstance(error, Exception)
