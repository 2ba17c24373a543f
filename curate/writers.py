"""Owns the grouping of ledger writes: whatever waits when one commit ends goes into the next. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from curate.ledger import Ledger

__all__ = ["Writer"]

T = TypeVar("T")


class Writer:
    """Does writes of many tasks of one event loop in few commits, in the order in which they were asked for.

    Args:
        ledger: that is written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._error: BaseException | None = None
        self._committing: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="curate-ledger")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    async def do(self, write: Callable[[], T]) -> T:
        """Do one write; comes back once it is on disk."""
        done: T = await self.post(write)
        return done

    def post(self, write: Callable[[], T]) -> asyncio.Future[T]:
        """Do one write soon, after everything posted before it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        return future

    async def flush(self) -> None:
        """Wait until everything posted is on disk.

        Raises:
            LedgerError: something posted could not be written.
        """
        while self._committing is not None:
            await asyncio.shield(self._committing)
        if self._error is not None:
            raise self._error

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            commit = loop.run_in_executor(self._pool, self._commit, [write for write, _ in group])
            await asyncio.wait([commit])
            error = commit.exception()
            self._error = self._error or error
            for number, (_, future) in enumerate(group):
                if future.cancelled():
                    continue
                if error is None:
                    future.set_result(commit.result()[number])
                else:  # one transaction: where it fails, each of its writes has failed
                    future.set_exception(error)
                    future.exception()  # whoever posted without waiting hears of it from flush
        self._committing = None

    def _commit(self, writes: list[Callable[[], Any]]) -> list[Any]:
        with self._ledger.transaction():
            return [write() for write in writes]
