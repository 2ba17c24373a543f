"""Owns asking a teacher through the ledger: answers at hand first, then one reservation for each sending, within the caps.

A `MeteredTeacher` is the only one who calls `Teacher.submit`, by way of `curate.calls.live`, so that no teacher escapes a cap.
Asking is
synchronous for the caller and runs on a thread of its own, so that verbs work in notebooks. The first Ctrl-C stops sending
and waits for what is under way; the second does not wait, and what was under way stays charged as lost.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from curate import progress
from curate.calls import batch
from curate.calls.account import Account
from curate.calls.batch import BatchSettings
from curate.calls.live import LiveRun
from curate.calls.throttle import Backoff, RateLimit
from curate.errors import InputError, UnknownNameError
from curate.files import ledger_path
from curate.ledger import network_disk
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers.base import Reply, Request, Teacher
from curate.teachers.options import TeacherOptions
from curate.teachers.prices import PRICE_FILE
from curate.teachers.registry import load_teacher

__all__ = ["MeteredTeacher", "check_mode", "open_metered_teacher"]

MODES = ("live", "batch")

T = TypeVar("T")

_LOOK = 0.2  # seconds between looks whether a run has ended


class MeteredTeacher(Account):
    """What a verb asks a teacher through.

    Args:
        teacher: who answers.
        ledger: where every call is written down.
        name: of the manifest that pays; the caps count everything ever charged to it.
        caps: hard limits.
        verb: that asks; for the ledger's report.
        stage: from 0, or None.
        backoff: waits between tries, and how many.
        pace: requests and tokens per minute; accounts that share one keep to it together.
        mode: ``"live"``, each request on its own, or ``"batch"``, see `curate.calls.batch`.
        batching: how batches are made.

    Raises:
        InputError: a cap in dollars for a model without a price, a cap below 0, or a teacher that takes no batches.
    """

    def __init__(
        self,
        teacher: Teacher,
        ledger: Ledger,
        name: str,
        caps: Caps = Caps(),  # noqa: B008 - frozen
        verb: str = "",
        stage: int | None = None,
        *,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
        pace: RateLimit | None = None,
        mode: str = "live",
        batching: BatchSettings = BatchSettings(),  # noqa: B008 - frozen
    ) -> None:
        _check(caps, teacher)
        check_mode(mode, teacher)
        super().__init__(teacher, ledger, name, caps, verb, stage)
        self.backoff, self.pace, self.mode, self.batching = backoff, pace or RateLimit(), mode, batching
        if lost := ledger.sweep(name):
            progress.note("ledger", f"{lost} calls were under way when an earlier run ended; they stay charged")

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return one reply for each request, in their order; what cannot be bought within the caps comes back as ``capped``.

        Args:
            requests: what to ask; equal ones are asked once.

        Raises:
            TeacherError: nobody answers at the endpoint, or it refuses the key or the model. What was bought is kept.
            KeyboardInterrupt: Ctrl-C; what was bought is kept, and the message says how much that is.
        """
        asking = LiveRun(self, requests, self.backoff, self.pace, self.mode, self.batching)
        try:
            return _on_own_thread(asking.run, asking.halt) if requests else []
        except KeyboardInterrupt as e:
            raise KeyboardInterrupt(self.kept(batched=self.mode == "batch")) from e


def check_mode(mode: str, teacher: Teacher | None) -> None:
    """Refuse a mode that there is not, or that a teacher has not.

    Raises:
        InputError: it is neither ``live`` nor ``batch``, or the teacher takes no batches.
    """
    if mode not in MODES:
        raise UnknownNameError("--mode", mode, MODES)
    if mode == "batch" and teacher is not None:
        batch.check(teacher)


def _check(caps: Caps, teacher: Teacher) -> None:
    for name, cap in (("--max-calls", caps.calls), ("--max-tokens", caps.tokens), ("--max-usd", caps.usd)):
        if cap is not None and cap < 0:
            raise InputError(f"{name} is a limit of 0 or more, got {cap}")
    if caps.usd is not None and teacher.price is None:
        raise InputError(
            f"--max-usd {caps.usd:g}: model {teacher.model!r} at {teacher.endpoint!r} has no known price; "
            f"write one into {PRICE_FILE} beside manifests/, in dollars per million tokens, as [{json.dumps(teacher.model)}] and "
            "below it input = 0.10 and output = 0.40 on a line each; or use --max-tokens"
        )


def _on_own_thread(work: Callable[[], Coroutine[Any, Any, T]], halt: Callable[[], None]) -> T:
    """Run a coroutine in an event loop on a thread of its own; the first Ctrl-C halts it, the second cancels it."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def main() -> T:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await work()

    def heed(number: int) -> None:
        if number == 1:
            halt()
        elif running and running[0][1]:
            running[0][0].call_soon_threadsafe(running[0][1].cancel)

    interrupts = heeded = 0
    with ThreadPoolExecutor(1, thread_name_prefix="curate-teacher") as pool:
        future = pool.submit(contextvars.copy_context().run, lambda: asyncio.run(main()))
        while True:
            try:
                while heeded < interrupts:  # in here, so that one that comes meanwhile is counted and not lost
                    heed(heeded + 1)
                    heeded += 1
                if wait([future], timeout=_LOOK).done:
                    break
            except KeyboardInterrupt:
                interrupts += 1
    if interrupts:
        raise KeyboardInterrupt
    return future.result()


def open_metered_teacher(name: str, options: TeacherOptions, *, root: str, verb: str) -> MeteredTeacher:
    """Return an account of a manifest with a teacher, on the ledger of its root.

    Args:
        name: of the manifest that pays.
        options: who is asked, how, and the caps.
        root: whose ledger is used.
        verb: that asks.
    """
    teacher = load_teacher(options, root=root)
    pace = RateLimit(options.requests_per_minute, options.tokens_per_minute)
    caps = Caps(options.max_calls, options.max_tokens, options.max_usd)
    network_disk.warn(ledger_path(root))
    return MeteredTeacher(teacher, Ledger(ledger_path(root)), name, caps, verb, pace=pace, mode=options.mode)
