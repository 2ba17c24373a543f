"""Asks a teacher through the ledger: replies that are stored first, then live requests or batches, within the caps.

A `MeteredTeacher` alone calls `Teacher.submit`, by way of `curate.calls.live` and `curate.calls.batch`, so that no teacher
escapes a cap. Asking is synchronous for the caller and runs on a thread of its own, so that verbs work in notebooks. The first
Ctrl-C stops sending and waits for what is in flight; the second does not wait, and what was in flight stays charged as lost.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol, TypeVar, runtime_checkable

from curate import progress
from curate.calls import batch
from curate.calls.account import Account
from curate.calls.batch_steps import BatchSettings
from curate.calls.live import LiveRun
from curate.calls.throttle import Backoff, RateLimit
from curate.errors import InputError, TeacherError, UnknownNameError
from curate.files import ledger_path
from curate.ledger import network_disk
from curate.ledger.ledger import Ledger, existing_ledger
from curate.ledger.records import CallSpec, Caps
from curate.teachers.base import LOOPBACK, Reply, Request, Teacher
from curate.teachers.options import TeacherOptions
from curate.teachers.prices import PRICE_FILE
from curate.teachers.registry import load_teacher

__all__ = ["MeteredTeacher", "check_mode", "open_metered_teacher", "open_teacher"]

MODES = ("live", "batch")

T = TypeVar("T")

_LOOK = 0.2  # seconds between looks whether a run has ended
_ONCE = Backoff(tries=2, patience=10.0)  # of a request that is sent to learn what a server takes


@runtime_checkable
class _ChecksConnection(Protocol):
    """A teacher that can tell whether a connection could be made at all, before anything is reserved."""

    def check_connection(self) -> None: ...


class MeteredTeacher:
    """A teacher behind the ledger and its caps: the `curate.teachers.base.Asker` of paid calls.

    Args:
        teacher: who answers.
        ledger: where every call is recorded.
        name: of the manifest that pays; the caps count everything ever charged to it.
        caps: hard limits.
        verb: that asks; for the ledger's report.
        stage: from 0, or None.
        backoff: waits between tries, and how many.
        rate_limit: requests and tokens per minute; metered teachers that share one keep to it together.
        mode: ``"live"``, each request on its own, or ``"batch"``, see `curate.calls.batch`.
        batch_settings: how batches are made and polled.
        renewed: keys that were asked for afresh, though the ledger had replies; None to take what it has.

    Attributes:
        account: what is charged.

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
        rate_limit: RateLimit | None = None,
        mode: str = "live",
        batch_settings: BatchSettings = BatchSettings(),  # noqa: B008 - frozen
        renewed: set[str] | None = None,
    ) -> None:
        _check_caps(caps, teacher)
        check_mode(mode, teacher)
        self.account = Account(teacher, ledger, name, caps, verb, stage, renewed)
        self.mode, self.backoff, self.rate_limit, self.batch_settings = mode, backoff, rate_limit or RateLimit(), batch_settings
        if lost := ledger.sweep(name):
            progress.note("ledger", f"{lost} calls were under way when an earlier run ended; they stay charged")

    @property
    def teacher(self) -> Teacher:
        """Who answers."""
        return self.account.teacher

    @property
    def n_bought(self) -> int:
        """Replies that were bought, and not in the ledger before."""
        return self.account.bought

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return one reply for each request, in their order; what cannot be bought within the caps comes back as ``capped``.

        Args:
            requests: what to ask; equal ones are asked once.

        Raises:
            InputError: the environment names a proxy or certificates that cannot be used; nothing was reserved.
            TeacherError: nobody answers at the endpoint, or it refuses the key, the model or everything. What was bought is kept.
            KeyboardInterrupt: Ctrl-C; what was bought is kept, and the message says how much that is.
        """
        run = _Run(self, requests)
        try:
            return _on_own_thread(run.run, run.stop) if requests else []
        except KeyboardInterrupt as e:
            raise KeyboardInterrupt(self.account.interruption_message(batched=self.mode == "batch")) from e


class _Run:
    """One run of `MeteredTeacher.ask`: takes what is stored, and has the rest answered live or in batches."""

    def __init__(self, metered: MeteredTeacher, requests: Sequence[Request]) -> None:
        self.account, self.mode, self.batch_settings = metered.account, metered.mode, metered.batch_settings
        self.requests = list(requests)
        self.live = LiveRun(metered.account, metered.backoff, metered.rate_limit)
        self.replies: dict[str, Reply] = {}  # by key
        self.cap = ""
        self.stopped = False

    def stop(self) -> None:
        """Send nothing more; what is in flight comes to its end."""
        if self.stopped:
            return
        self.stopped = True
        self.live.stop()
        n = self.live.in_flight
        waited = f"waiting for {n:,} in flight; Ctrl-C again does not wait" if n else "none in flight"
        progress.note("teacher", f"no more calls are sent, {waited}")

    async def run(self) -> list[Reply]:
        keys = [self.account.key(request) for request in self.requests]
        wanted: dict[str, Request] = {}
        for key, request in zip(keys, self.requests, strict=True):
            wanted.setdefault(key, request)
        self.account.renew(wanted)
        self.replies |= self.account.take_stored(wanted)
        missing = [(request, self.account.call_spec(request)) for key, request in wanted.items() if key not in self.replies]
        if missing:
            if isinstance(self.account.teacher, _ChecksConnection):
                self.account.teacher.check_connection()
            await (self._ask_in_batches(missing) if self.mode == "batch" else self._ask_live(missing))
        if self.cap:
            progress.note("ledger", self.cap)
        capped = Reply(status="capped", error=self.cap)
        return [self.replies.get(key, capped) for key in keys]

    async def _ask_live(self, missing: list[tuple[Request, CallSpec]]) -> None:
        """Send each request on its own; what is in a batch that an earlier run left at the provider is waited for."""
        in_batches = batch.keys_in_batches(self.account, [spec.key for _, spec in missing])
        await self._send([entry for entry in missing if entry[1].key not in in_batches])
        if in_batches and not self.stopped:
            n = f"{len(in_batches):,}"
            progress.note("batch", f"{n} calls are in batches already; waiting for those, they are not bought twice")
            await self._ask_in_batches([entry for entry in missing if entry[1].key in in_batches], make=False)
            await self._send([entry for entry in missing if entry[1].key in in_batches and entry[1].key not in self.replies])

    async def _send(self, missing: list[tuple[Request, CallSpec]]) -> None:
        if missing and not self.stopped:
            await self.live.send(missing)
            self.replies |= self.live.replies
            self.cap = self.cap or self.live.cap

    async def _ask_in_batches(self, missing: list[tuple[Request, CallSpec]], *, make: bool = True) -> None:
        """Have requests answered in batches; without `make`, those that are in one already."""
        if make and self.batch_settings.ask_first and len(missing) > 1 and self.account.is_unknown:
            missing = await self._ask_one_first(missing)
        outcome = await batch.ask_in_batches(
            self.account, missing, stopped=lambda: self.stopped, settings=self.batch_settings, make=make
        )
        self.replies |= outcome.replies
        self.cap = self.cap or outcome.cap

    async def _ask_one_first(self, missing: list[tuple[Request, CallSpec]]) -> list[tuple[Request, CallSpec]]:
        """Send one request live, so that what the server refuses is known before a batch is made; return what is still missing.

        A batch tells hours later that a parameter is not taken, of all of its requests, and of one parameter only. Where nothing
        comes of it the request goes into the batch as well; a server may take no live requests.
        """
        if batch.keys_in_batches(self.account, [spec.key for _, spec in missing]):
            return missing  # a batch is there, which will tell
        progress.note(
            "batch",
            f"nothing is known of {self.account.teacher.model!r} here, so one of {len(missing):,} requests is sent live first, "
            "at the price of a live one: what the server does not take would else be refused in a whole batch",
        )
        usual, self.live = self.live, LiveRun(self.account, _ONCE, self.live.rate_limit)
        try:
            await self.live.send(missing[:1])
        except TeacherError as e:
            progress.note("batch", f"nothing came of the live request: {e}; going on with batches")
        answered = {key: reply for key, reply in self.live.replies.items() if reply.status == "answered"}
        self.replies |= answered
        self.live = usual
        return [entry for entry in missing if entry[1].key not in answered]


def check_mode(mode: str, teacher: Teacher | None) -> None:
    """Refuse an unknown mode, and one that a teacher does not support.

    Raises:
        InputError: it is neither ``live`` nor ``batch``, or the teacher takes no batches.
    """
    if mode not in MODES:
        raise UnknownNameError("--mode", mode, MODES)
    if mode == "batch" and teacher is not None:
        batch.batch_api_of(teacher)


def _check_caps(caps: Caps, teacher: Teacher) -> None:
    for name, cap in (("--max-calls", caps.calls), ("--max-tokens", caps.tokens), ("--max-usd", caps.usd)):
        if cap is not None and cap < 0:
            raise InputError(f"{name} is a limit of 0 or more, got {cap}")
    if caps.usd is not None and teacher.price is None:
        raise InputError(
            f"--max-usd {caps.usd:g}: model {teacher.model!r} at {teacher.endpoint!r} has no known price; "
            f"write one into {PRICE_FILE} beside manifests/, in dollars per million tokens, as [{json.dumps(teacher.model)}] and "
            "below it input = 0.10 and output = 0.40 on a line each; or use --max-tokens"
        )


def _on_own_thread(work: Callable[[], Coroutine[Any, Any, T]], stop: Callable[[], None]) -> T:
    """Run a coroutine in an event loop on a thread of its own; the first Ctrl-C stops it, the second cancels it."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def main() -> T:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await work()

    def handle(number: int) -> None:
        if number == 1:
            stop()
        elif running and running[0][1]:
            running[0][0].call_soon_threadsafe(running[0][1].cancel)

    interrupts = handled = 0
    with ThreadPoolExecutor(1, thread_name_prefix="curate-teacher") as pool:
        future = pool.submit(contextvars.copy_context().run, lambda: asyncio.run(main()))
        while True:
            try:
                while handled < interrupts:  # in here, so that one that comes meanwhile is counted and not lost
                    handle(handled + 1)
                    handled += 1
                if wait([future], timeout=_LOOK).done:
                    break
            except KeyboardInterrupt:
                interrupts += 1
    if interrupts:
        raise KeyboardInterrupt
    return future.result()


@runtime_checkable
class _OnLoopback(Protocol):
    """A teacher whose server may be on this machine."""

    endpoint: str
    model: str

    @property
    def loopback_server(self) -> str: ...


def open_teacher(options: TeacherOptions, *, root: str, to_ask: bool = True) -> Teacher:
    """Return the teacher that options name; of two servers on loopback each has a name of its own in the ledger.

    The first server of a model in a ledger is ``local``, whoever bought from it before; another one, by port and path, is
    ``local:8001/v1``, so that it is not taken for the first. ``--endpoint-name`` says that they are one.

    Args:
        options: who is asked, and how.
        root: whose ledger is used.
        to_ask: whether it will be asked; else nothing is written.
    """
    teacher = load_teacher(options, root=root, to_ask=to_ask)
    named = not isinstance(options.teacher, str) or options.endpoint_name is not None
    if named or not isinstance(teacher, _OnLoopback) or not teacher.loopback_server:
        return teacher
    ours, ledger = teacher.loopback_server, Ledger(ledger_path(root)) if to_ask else existing_ledger(root)
    if ledger is None:
        return teacher
    first = ledger.claim_server(LOOPBACK, teacher.model, ours) if to_ask else ledger.find_server(LOOPBACK, teacher.model)
    if first not in (None, ours):
        teacher.endpoint = f"{LOOPBACK}:{ours}"
        if to_ask and not ledger.has_answered(teacher.endpoint, teacher.model):
            progress.note(
                "teacher",
                f"model {teacher.model!r} was asked at port {first} before; this is another server to the ledger, named "
                f"{teacher.endpoint!r}; if the two are one, say so with --endpoint-name {LOOPBACK}",
            )
    return teacher


def open_metered_teacher(name: str, options: TeacherOptions, *, root: str, verb: str) -> MeteredTeacher:
    """Return the teacher that options name, behind the ledger of a root.

    Args:
        name: of the manifest that pays.
        options: who is asked, how, and the caps.
        root: whose ledger is used.
        verb: that asks.
    """
    teacher = open_teacher(options, root=root)
    rate_limit = RateLimit(options.requests_per_minute, options.tokens_per_minute)
    caps = Caps(options.max_calls, options.max_tokens, options.max_usd)
    network_disk.warn(ledger_path(root))
    return MeteredTeacher(
        teacher,
        Ledger(ledger_path(root)),
        name,
        caps,
        verb,
        rate_limit=rate_limit,
        mode=options.mode,
        renewed=set() if options.fresh else None,
    )
