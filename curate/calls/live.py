"""Owns one run of asking a teacher: what is at hand is taken, the rest is bought, each sending reserved, paced and written down.

Lives on one event loop. Nothing is sent before its reservation is on disk, and nothing is read before it is on disk itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from curate import progress
from curate.calls import batch
from curate.calls.account import Account, reply_of
from curate.calls.batch import BatchSettings
from curate.calls.throttle import Backoff, Permit, RateLimit, Throttle
from curate.errors import TeacherError
from curate.ledger.leases import this_process
from curate.ledger.ledger import LEASE, Ledger
from curate.ledger.records import CallSpec, CostBound, Reservation
from curate.teachers.base import RawResponse, Reply, Request, parse_response

__all__ = ["GroupCommit", "LiveRun"]

_GIVE_UP = 10  # requests in a row that fail after every try
_POLL = 0.2  # seconds between looks at a call that another process has under way
_TELL = 0.5  # seconds between two words on what is under way, while nothing comes


class _Slot:
    """Where a request stands: among those that were begun, and among those under way. Given back once, whoever says so."""

    def __init__(self, throttle: Throttle, begun: asyncio.Semaphore) -> None:
        self._throttle, self._begun = throttle, begun
        self._inside = False
        self._counts = True

    async def enter(self, tokens: int) -> Permit | None:
        """Wait until it may be sent."""
        leave = await self._throttle.enter(tokens)
        self._inside = True
        return leave

    def leave(self) -> None:
        """It is no longer under way."""
        if self._inside:
            self._inside = False
            self._throttle.leave()

    def give_up(self) -> None:
        """It is no longer under way, and another may begin."""
        self.leave()
        if self._counts:
            self._counts = False
            self._begun.release()


class LiveRun:
    """One run of `MeteredTeacher.ask`.

    Args:
        tab: who is asked, and who pays.
        requests: what to ask; equal ones are asked once.
        backoff: waits between tries, and how many.
        pace: requests and tokens per minute.
        mode: ``"live"`` or ``"batch"``.
        batching: how batches are made and looked after.
    """

    def __init__(
        self, tab: Account, requests: Sequence[Request], backoff: Backoff, pace: RateLimit, mode: str, batching: BatchSettings
    ) -> None:
        self.tab, self.requests = tab, list(requests)
        self.backoff, self.pace, self.mode, self.batching = backoff, pace, mode, batching
        self.halted = False  # take nothing new
        self.capped = ""
        self.under_way = 0
        self.replies: dict[str, Reply] = {}  # by key
        self.in_vain = 0  # requests in a row that failed however often they were sent
        self.said: set[str] = set()  # kinds of fault that were told of
        self.running: set[asyncio.Task[None]] = set()
        self.failed: list[asyncio.Task[None]] = []  # those that ended in an error

    def halt(self) -> None:
        """Send nothing more; what is under way comes to its end."""
        if self.halted:
            return
        self.halted = True
        n = self.under_way
        waited = f"waiting for {n:,} in flight; Ctrl-C again does not wait" if n else "none in flight"
        progress.note("teacher", f"no more calls are sent, {waited}")

    async def run(self) -> list[Reply]:
        keys = [self.tab.key(request) for request in self.requests]
        wanted: dict[str, Request] = {}
        for key, request in zip(keys, self.requests, strict=True):
            wanted.setdefault(key, request)
        self._take_stored(wanted)
        missing = [(request, self.tab.order(request)) for key, request in wanted.items() if key not in self.replies]
        if missing:
            await (self._buy_in_batches(missing) if self.mode == "batch" else self._buy_all(missing))
        if self.capped:
            progress.note("ledger", self.capped)
        unbought = Reply(status="capped", error=self.capped)
        return [self.replies.get(key, unbought) for key in keys]

    def _take_stored(self, keys: Iterable[str]) -> None:
        """Answer what the ledger can answer; one transaction for everything that has to be written about it."""
        with self.tab.ledger.transaction():
            for found in self.tab.ledger.find_each(keys):
                for key, stored in found.items():
                    if reply := self.tab.read_stored(stored):
                        self.replies[key] = reply
            self.tab.count_hits([reply.call_id for reply in self.replies.values() if reply.call_id is not None])

    async def _buy_in_batches(self, missing: list[tuple[Request, CallSpec]], *, make: bool = True) -> None:
        """Have requests answered in batches; without `make`, those that are in one already."""
        bought = await batch.buy(self.tab, missing, halted=lambda: self.halted, batching=self.batching, make=make)
        self.replies |= bought.replies
        self.capped = self.capped or bought.cap

    async def _buy_all(self, missing: list[tuple[Request, CallSpec]]) -> None:
        """Send each request on its own; what is in a batch that an earlier run left at the provider is waited for."""
        held = batch.under_way(self.tab, [order.key for _, order in missing])
        await self._send_all([entry for entry in missing if entry[1].key not in held])
        if held and not self.halted:
            progress.note("batch", f"{len(held):,} calls are in batches already; waiting for those, they are not bought twice")
            await self._buy_in_batches([entry for entry in missing if entry[1].key in held], make=False)
            await self._send_all([entry for entry in missing if entry[1].key in held and entry[1].key not in self.replies])

    async def _send_all(self, missing: list[tuple[Request, CallSpec]]) -> None:
        if not missing or self.halted:
            return
        concurrency = max(1, min(self.tab.teacher.concurrency, len(missing)))
        self.throttle = Throttle(concurrency, self.backoff, lambda: self.halted, self.pace)
        self.free = asyncio.Semaphore(concurrency)  # places for requests that begin
        self.settled = asyncio.Event()  # set, and replaced, whenever something under way has ended
        with GroupCommit(self.tab.ledger) as self.writer, progress.step(missing[0][0].purpose, len(missing)) as self.step:
            self.step.advance(0, **self._facts())  # what was spent before, of which nothing can be projected
            beside = [asyncio.create_task(self._renew()), asyncio.create_task(self._tell())]
            try:
                await self._buy_each(missing)
            finally:
                for task in beside:
                    task.cancel()
                await self.writer.flush()
                await self.tab.teacher.close()
        if self.failed:
            self.failed[0].result()

    async def _buy_each(self, missing: list[tuple[Request, CallSpec]]) -> None:
        """Begin one purchase after the other until there are none, a cap is reached, or somebody halts; wait for the last."""
        try:
            for request, order in missing:
                await self.free.acquire()
                if self.halted or self.capped:
                    break
                task = asyncio.create_task(self._buy(request, order))
                self.running.add(task)
                task.add_done_callback(self._note_end)
            while self.running:
                await asyncio.wait(self.running)
        except asyncio.CancelledError:
            for task in self.running:
                task.cancel()
            await asyncio.gather(*self.running, return_exceptions=True)
            raise

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if task.cancelled() or task.exception():
            self.halted = True
            self.failed.append(task)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 4)
            await self.writer.do(partial(self.tab.ledger.renew, this_process()))

    async def _tell(self) -> None:
        """Say now and then what is under way, for as long as no reply says it."""
        while True:
            await asyncio.sleep(_TELL)
            self.step.advance(0, **self._facts())

    def _facts(self) -> dict[str, Any]:
        return {**self.tab.facts(), "in_flight": self.under_way}

    async def _buy(self, request: Request, order: CallSpec) -> None:
        """Buy one call; the next may begin as soon as its reply is on its way to the disk, or it has ended otherwise."""
        place = _Slot(self.throttle, self.free)
        try:
            reply = await self._send_until_answered(request, order, place)
        finally:
            place.give_up()
        if reply is not None:
            self.replies[order.key] = reply
            self.step.advance(**self._facts())

    async def _send_until_answered(self, request: Request, order: CallSpec, place: _Slot) -> Reply | None:
        """Send a request until it is answered or tried often enough; None where a cap or a halt came first."""
        charge, tried = self.tab.charge(request), 0
        while True:
            leave = await place.enter(charge.tokens)
            try:
                grant = await self._reserve(order, charge)
                if grant is None or grant.status == "answered":
                    self.pace.correct(leave, 0, sent=False)
                    return self._bought_elsewhere(order) if grant else None
                answer = await self._send(request, grant, charge)
                reply = await self._keep(order, grant, charge, answer, place)
            finally:
                place.leave()
            self._correct_pace(leave, answer, reply)
            if reply.status != "failed" or answer.outcome == "failed":
                self.in_vain = 0
                return reply
            self._say(reply.error, answer)
            if not await self.throttle.wait(answer, tried):
                return self._give_up(reply, answer)
            tried += 1

    def _correct_pace(self, leave: Permit | None, answer: RawResponse, reply: Reply) -> None:
        """Replace the bound by what was used; what nobody knows of stays at its bound."""
        if answer.outcome in ("unsent", "unanswered"):
            self.pace.correct(leave, 0, sent=False)
        elif answer.outcome != "lost" and (answer.outcome != "answered" or reply.usage.total):
            self.pace.correct(leave, reply.usage.total)

    def _say(self, error: str, answer: RawResponse) -> None:
        """Tell of a fault that may pass, once for each kind: the words of one server differ in numbers and ids alone."""
        kind = f"{answer.outcome} {error.partition(' ')[0]}"
        if kind not in self.said and answer.retry_after != 0 and not self.halted:
            self.said.add(kind)
            progress.note("teacher", f"{self.tab.teacher.endpoint!r}: {error}; asking again")

    def _give_up(self, reply: Reply, answer: RawResponse) -> Reply:
        """Hand back a failed reply, or end everything where the teacher seems to be gone."""
        self.in_vain += 1
        where = f"teacher {self.tab.teacher.endpoint!r}"
        if answer.outcome == "unsent" and not self.halted:
            address = getattr(self.tab.teacher, "address", "")
            raise TeacherError(f"{where} cannot be reached: {reply.error}; check the address {address} and that the server is up")
        if self.in_vain >= _GIVE_UP:
            raise TeacherError(f"{where} answered none of the last {_GIVE_UP} requests: {reply.error}; try again later")
        return reply

    async def _reserve(self, order: CallSpec, charge: CostBound) -> Reservation | None:
        """Reserve a sending; waits for another process that has it under way, and for room under the caps."""
        ledger, caps = self.tab.ledger, self.tab.caps
        while not (self.halted or self.capped):
            settled = self.settled
            grant = await self._granted(self.writer.post(partial(ledger.reserve, order, charge, caps, this_process())))
            if grant.status == "granted":
                self.under_way += 1
                self.tab.begin(charge)
                return grant
            if grant.status == "answered":
                return grant
            if grant.status == "busy":
                await asyncio.sleep(_POLL)
            elif self.under_way and not settled.is_set():
                await settled.wait()  # what is under way is charged at its bound and will mostly cost less
            elif not settled.is_set():
                self.capped = grant.cap
        return None

    async def _granted(self, reserving: asyncio.Future[Reservation]) -> Reservation:
        """Wait for a reservation; who is cancelled meanwhile takes it back, for nothing was sent."""
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            grant = await reserving
            if grant.status == "granted":
                self.tab.ledger.fail(grant.attempt, "interrupted before it was sent", sent=False)
            raise

    async def _send(self, request: Request, grant: Reservation, charge: CostBound) -> RawResponse:
        """Send once; whatever happens to us on the way, the attempt does not stay open."""
        answered = False
        try:
            async for _, answer in self.tab.teacher.submit([request]):
                answered = True
                return answer
            answered = True
            return RawResponse("lost", error="the teacher ended without an answer")
        finally:
            if not answered:
                self.tab.ledger.lose(grant.attempt, "interrupted while it was under way")
                self.tab.left += 1
                self._end(charge)

    async def _keep(self, order: CallSpec, grant: Reservation, charge: CostBound, answer: RawResponse, place: _Slot) -> Reply:
        """Write down what came of a sending; a failed reply may be sent again, unless the outcome is ``failed``."""
        ledger, attempt = self.tab.ledger, grant.attempt
        failed = Reply(status="failed", error=answer.error, call_id=grant.call_id)
        try:
            if answer.outcome == "answered":
                recorded = self.writer.post(partial(ledger.record, attempt, answer.raw))
                place.give_up()  # whoever takes it is reserved in the same commit or later: no more are ever open on disk
                first = await recorded  # durable before anyone reads it
                reply = await self._read(grant, charge, answer)
                return reply if first else self._bought_elsewhere(order) or reply
            if answer.outcome == "unanswered":
                self.tab.add(charge, -1)
                await self.writer.do(partial(ledger.release, attempt))
                return Reply(status="unanswered")
            if answer.outcome == "lost":
                await self.writer.do(partial(ledger.lose, attempt, answer.error))
                return failed
            sent = answer.outcome != "unsent"
            self.tab.free(charge, sent=sent)
            await self.writer.do(partial(ledger.fail, attempt, answer.error, sent=sent))
            if answer.outcome == "denied":
                raise TeacherError(f"teacher {self.tab.teacher.endpoint!r} refuses: {answer.error}")
            return failed
        finally:
            self._end(charge)

    async def _read(self, grant: Reservation, charge: CostBound, answer: RawResponse) -> Reply:
        reading = parse_response(answer.raw)
        if reading.error:
            await self.writer.do(partial(self.tab.ledger.reject, grant.attempt, reading.error))
            return Reply(status="failed", error=reading.error, call_id=grant.call_id)
        self.tab.correct(charge, reading)
        self.writer.post(partial(self.tab.settle, grant.attempt, reading))
        self.throttle.record_success()
        return reply_of(reading, grant.call_id, cached=False)

    def _bought_elsewhere(self, order: CallSpec) -> Reply | None:
        """Take the answer that another process bought while we waited."""
        stored = self.tab.ledger.find([order.key]).get(order.key)
        reply = self.tab.read_stored(stored) if stored else None
        if reply is not None and reply.call_id is not None:
            self.tab.count_hits([reply.call_id])
        return reply

    def _end(self, charge: CostBound) -> None:
        self.under_way -= 1
        self.tab.end(charge)
        self.settled.set()
        self.settled = asyncio.Event()


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
        self._planned = False  # a commit
        self._rests_until = 0.0  # loop time

    def __enter__(self) -> GroupCommit:
        return self

    def __exit__(self, *_: object) -> None:
        self._commit_waiting()

    async def do(self, write: Callable[[], T]) -> T:
        """Do one write; comes back once it is on disk."""
        done: T = await self.post(write)
        return done

    def post(self, write: Callable[[], T]) -> asyncio.Future[T]:
        """Do one write soon, after everything posted before it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((write, future))
        if not self._planned:
            self._planned = True
            if self._rests_until <= loop.time():
                loop.call_soon(self._commit_planned)
            else:
                loop.call_at(self._rests_until, self._commit_planned)
        return future

    async def flush(self) -> None:
        """Bring everything posted to disk.

        Raises:
            LedgerError: something posted could not be written.
        """
        self._commit_waiting()
        if self._error is not None:
            raise self._error

    def _commit_planned(self) -> None:
        self._planned = False
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._commit_waiting()
        ended = loop.time()
        self._rests_until = ended + (ended - started) * (1 / _SHARE - 1)

    def _commit_waiting(self) -> None:
        writes, self._waiting = self._waiting, []
        if writes:
            group = _Group([future for _, future in writes])
            with group, self._ledger.transaction():
                group.results = [write() for write, _ in writes]
            self._error = self._error or group.error


class _Group:
    """Hands what came of the enclosed commit, results or the error, to those who wait for it."""

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
