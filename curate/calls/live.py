"""Sends requests one by one: each is reserved in the ledger, paced, sent, recorded and read. Knows nothing of batches.

Runs on one event loop. Nothing is sent before its reservation is on disk, and no reply is read before it is on disk itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from curate import progress
from curate.calls.account import Account
from curate.calls.throttle import Backoff, Permit, RateLimit, Throttle
from curate.errors import TeacherError
from curate.ledger.group_commit import GroupCommit
from curate.ledger.leases import this_process
from curate.ledger.ledger import LEASE
from curate.ledger.records import CallSpec, CostBound, Reservation
from curate.teachers.base import RawResponse, Reply, Request

__all__ = ["LiveRun"]

_GIVE_UP = 10  # requests in a row that fail at every try
_PAID_TRIES = 2  # sendings of one request whose replies were paid for and cannot be used
_ALONE = 2.0  # seconds, at most, that the first request is alone at a server of which nothing is known
_POLL = 0.2  # seconds between looks at a call that another process has in flight
_REPORT = 0.5  # seconds between two progress events while no reply comes


class _Slot:
    """The place of one request among those begun and among those in flight; each is given back once, however often it is said."""

    def __init__(self, throttle: Throttle, begun: asyncio.Semaphore) -> None:
        self._throttle, self._begun = throttle, begun
        self._in_flight = False
        self._counts = True

    async def acquire(self, tokens: int) -> Permit | None:
        """Wait until the request may be sent."""
        permit = await self._throttle.acquire(tokens)
        self._in_flight = True
        return permit

    def release(self) -> None:
        """The request is no longer in flight."""
        if self._in_flight:
            self._in_flight = False
            self._throttle.release()

    def close(self) -> None:
        """The request is no longer in flight, and another may begin."""
        self.release()
        if self._counts:
            self._counts = False
            self._begun.release()


class LiveRun:
    """The live requests of one run of `curate.calls.client.MeteredTeacher.ask`.

    Args:
        account: who is asked, and who pays.
        backoff: waits between tries, and how many.
        rate_limit: requests and tokens per minute.

    Attributes:
        replies: by the keys of their calls.
        cap: which cap was reached, in words; empty for none.
        in_flight: requests at the teacher now.
    """

    def __init__(self, account: Account, backoff: Backoff, rate_limit: RateLimit) -> None:
        self.account, self.backoff, self.rate_limit = account, backoff, rate_limit
        self.replies: dict[str, Reply] = {}
        self.cap = ""
        self.in_flight = 0
        self._stopped = False
        self._failures_in_row = 0  # requests that failed however often they were sent
        self._noted: set[str] = set()  # kinds of fault that the user was told of
        self._running: set[asyncio.Task[None]] = set()
        self._failed: list[asyncio.Task[None]] = []  # those that ended in an error

    def stop(self) -> None:
        """Send nothing more; what is in flight comes to its end."""
        self._stopped = True

    async def send(self, missing: Sequence[tuple[Request, CallSpec]]) -> None:
        """Have requests answered; the replies are in `replies`, and none is there for what a cap or `stop` prevented.

        Args:
            missing: requests that the ledger has no reply for, each once.

        Raises:
            TeacherError: the teacher refuses everybody, or seems to be gone; what was bought is in the ledger.
        """
        concurrency = max(1, min(self.account.teacher.concurrency, len(missing)))
        self._throttle = Throttle(concurrency, self.backoff, lambda: self._stopped, self.rate_limit)
        self._begun = asyncio.Semaphore(concurrency)
        self._changed = asyncio.Event()  # set, and replaced, whenever something in flight has ended
        self._known = asyncio.Event()  # set once it is known which parameters the server takes
        with GroupCommit(self.account.ledger) as self._commits, progress.step(missing[0][0].purpose, len(missing)) as self._step:
            self._step.advance(0, **self._facts())  # what was charged before, of which nothing can be projected
            beside = [asyncio.create_task(self._renew_leases()), asyncio.create_task(self._report())]
            try:
                await self._send_all(missing)
            finally:
                for task in beside:
                    task.cancel()
                await self._commits.flush()
                await self.account.teacher.close()
        if self._failed:
            self._failed[0].result()

    async def _send_all(self, missing: Sequence[tuple[Request, CallSpec]]) -> None:
        """Begin one request after the other until there are none, a cap is reached, or the run is stopped; wait for the last."""
        try:
            unknown = len(missing) > 1 and self.account.is_unknown
            for n, (request, spec) in enumerate(missing):
                if n == 1 and unknown:
                    await self._wait_for_first()
                await self._begun.acquire()
                if self._stopped or self.cap:
                    break
                task = asyncio.create_task(self._buy(request, spec))
                self._running.add(task)
                task.add_done_callback(self._note_end)
            while self._running:
                await asyncio.wait(self._running)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            raise

    async def _wait_for_first(self) -> None:
        """Let the first request find out which parameters the server refuses, which so many others would find out beside it."""
        try:
            async with asyncio.timeout(_ALONE):
                await self._known.wait()
        except TimeoutError:
            return

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled() or task.exception():
            self._stopped = True
            self._failed.append(task)

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 4)
            await self._commits.write(partial(self.account.ledger.renew, this_process()))

    async def _report(self) -> None:
        """Report what is in flight now and then, for as long as no reply does."""
        while True:
            await asyncio.sleep(_REPORT)
            self._step.advance(0, **self._facts())

    def _facts(self) -> dict[str, Any]:
        return {**self.account.progress_facts(), "in_flight": self.in_flight}

    async def _buy(self, request: Request, spec: CallSpec) -> None:
        """Buy one call; the next may begin as soon as its reply is on its way to the disk, or it has ended otherwise."""
        slot = _Slot(self._throttle, self._begun)
        try:
            reply = await self._send_until_answered(request, spec, slot)
        finally:
            slot.close()
            self._known.set()
        if reply is not None:
            self.replies[spec.key] = reply
            self._step.advance(**self._facts())

    async def _send_until_answered(self, request: Request, spec: CallSpec, slot: _Slot) -> Reply | None:
        """Send a request until it is answered or tried often enough; None where a cap or `stop` came first."""
        tries = paid = 0
        while True:
            bound = self.account.bound(request)
            permit = await slot.acquire(bound.tokens)
            try:
                reservation = await self._reserve(spec, bound)
                if reservation is None or reservation.status == "answered":
                    self.rate_limit.correct(permit, 0, sent=False)
                    return self._take_stored(spec) if reservation else None
                response = await self._send(request, reservation, bound)
                reply = await self._record(request, spec, reservation, bound, response, slot)
            finally:
                slot.release()
            self._correct_rate(permit, response, reply)
            if response.outcome == "adapted":
                continue
            self._known.set()
            if reply.status != "failed":
                self._failures_in_row = 0
                return reply
            paid += response.outcome == "answered"
            self._note_fault(reply.error, response)
            if paid >= _PAID_TRIES or not await self._throttle.wait_to_retry(response, tries):
                return self._give_up(reply, response)
            tries += not response.busy

    def _correct_rate(self, permit: Permit | None, response: RawResponse, reply: Reply) -> None:
        """Replace the bound by what was used; what nobody knows stays at its bound."""
        if response.outcome in ("unsent", "unanswered"):
            self.rate_limit.correct(permit, 0, sent=False)
        elif response.outcome != "lost" and (response.outcome != "answered" or reply.usage.total):
            self.rate_limit.correct(permit, reply.usage.total)

    def _note_fault(self, error: str, response: RawResponse) -> None:
        """Tell of a fault that may pass, once for each kind: the messages of one server differ in numbers and ids alone."""
        kind = f"{response.outcome} {error.partition(' ')[0]}"
        if kind not in self._noted and not self._stopped:
            self._noted.add(kind)
            how = f", for up to {self.backoff.patience / 60:g} minutes" if response.busy else ""
            progress.note("teacher", f"{self.account.teacher.endpoint!r}: {error}; asking again{how}")

    def _give_up(self, reply: Reply, response: RawResponse) -> Reply:
        """Return a failed reply, or end everything where the teacher seems to be gone."""
        self._failures_in_row += 1
        where = f"teacher {self.account.teacher.endpoint!r}"
        if response.outcome == "unsent" and not self._stopped:
            address = getattr(self.account.teacher, "address", "")
            raise TeacherError(f"{where} cannot be reached: {reply.error}; check the address {address} and that the server is up")
        if response.busy and not self._stopped:
            asked = f"it asks to wait {response.retry_after:,.0f} s" if response.retry_after else "it answered nothing meanwhile"
            raise TeacherError(
                f"{where} is busy: {reply.error}; {asked}; run the same command again later, or keep below its limits with "
                "--requests-per-minute and --tokens-per-minute"
            )
        refusals = self.account.refusals
        unreadable = response.outcome == "answered" and not refusals.answered
        if unreadable and refusals.record(RawResponse("barred", error=reply.error), again=False):
            raise TeacherError(f"{where} sends nothing that can be read: {reply.error}; look with curate ledger NAME --calls")
        if self._failures_in_row >= _GIVE_UP:
            raise TeacherError(f"{where} answered none of the last {_GIVE_UP} requests: {reply.error}; try again later")
        return reply

    async def _reserve(self, spec: CallSpec, bound: CostBound) -> Reservation | None:
        """Reserve a sending; waits for another process that has the call in flight, and for room under the caps."""
        ledger, caps = self.account.ledger, self.account.caps
        while not (self._stopped or self.cap):
            changed = self._changed
            reservation = await self._reserved(self._commits.post(partial(ledger.reserve, spec, bound, caps, this_process())))
            if reservation.status == "granted":
                self.in_flight += 1
                self.account.start(bound)
                return reservation
            if reservation.status == "answered":
                return reservation
            if reservation.status == "busy":
                await asyncio.sleep(_POLL)
            elif self.in_flight and not changed.is_set():
                await changed.wait()  # what is in flight is charged at its bound and will mostly cost less
            elif not changed.is_set():
                self.cap = reservation.cap
        return None

    async def _reserved(self, reserving: asyncio.Future[Reservation]) -> Reservation:
        """Wait for a reservation; one that is cancelled meanwhile is taken back, for nothing was sent."""
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reservation = await reserving
            if reservation.status == "granted":
                self.account.ledger.fail(reservation.attempt, "interrupted before it was sent", sent=False)
            raise

    async def _send(self, request: Request, reservation: Reservation, bound: CostBound) -> RawResponse:
        """Send once; whatever happens to us on the way, the attempt does not stay open."""
        answered = False
        try:
            async for _, response in self.account.teacher.submit([request]):
                answered = True
                return response
            answered = True
            return RawResponse("lost", error="the teacher ended without an answer")
        finally:
            if not answered:
                self.account.ledger.lose(reservation.attempt, "interrupted while it was under way")
                self.account.abandoned += 1
                self._end(bound)

    async def _record(
        self,
        request: Request,
        spec: CallSpec,
        reservation: Reservation,
        bound: CostBound,
        response: RawResponse,
        slot: _Slot,
    ) -> Reply:
        """Record what came of a sending, and read the reply; a failed one may be sent again, a rejected one not."""
        ledger, attempt = self.account.ledger, reservation.attempt
        failed = Reply(status="failed", error=response.error, call_id=reservation.call_id)
        try:
            if response.outcome == "answered":
                recorded = self._commits.post(partial(ledger.record, attempt, response.raw))
                slot.close()  # whoever takes it is reserved in the same commit or later: no more are ever open on disk
                is_answer = await recorded  # durable before anyone reads it
                reply = self.account.read_reply(
                    response.raw,
                    attempt,
                    call_id=reservation.call_id,
                    bound=bound,
                    limit=request.max_tokens,
                    write=self._commits.post,
                )
                if reply.status == "answered":
                    self._throttle.record_success()
                    self.account.refusals.record_answer()
                return reply if is_answer else self._take_stored(spec) or reply
            if response.outcome == "unanswered":
                self.account.refund(bound, sent=False)
                await self._commits.write(partial(ledger.release, attempt))
                return Reply(status="unanswered")
            if response.outcome == "lost":
                await self._commits.write(partial(ledger.lose, attempt, response.error))
                return failed
            sent = response.outcome != "unsent"
            self.account.refund(bound, sent=sent)
            await self._commits.write(partial(ledger.fail, attempt, response.error, sent=sent, raw=response.raw))
            if response.outcome == "adapted":
                await self._commits.write(self.account.store_dialect)
            return self._refuse(response, reservation) or failed
        finally:
            self._end(bound)

    def _refuse(self, response: RawResponse, reservation: Reservation) -> Reply | None:
        """Return what a refusal means for its row; None where the request may be sent again.

        Raises:
            TeacherError: everybody is refused.
        """
        where, refusals = f"teacher {self.account.teacher.endpoint!r}", self.account.refusals
        if response.outcome == "denied":
            raise TeacherError(f"{where} refuses: {response.error}{response.advice}")
        if response.outcome == "refused" and response.advice and not refusals.answered:
            raise TeacherError(f"{where} does not answer as one: {response.error}{response.advice}")
        if response.outcome not in ("failed", "barred"):
            return None
        if refusals.record(response, again=reservation.again):
            raise TeacherError(f"{where} refuses: {response.error}{response.advice}; {refusals.summary}")
        return Reply(status="rejected", error=response.error, call_id=reservation.call_id)

    def _take_stored(self, spec: CallSpec) -> Reply | None:
        """Take the reply that another process bought meanwhile; None where nobody can read it."""
        return self.account.take_stored([spec.key]).get(spec.key)

    def _end(self, bound: CostBound) -> None:
        self.in_flight -= 1
        self.account.finish(bound)
        self._changed.set()
        self._changed = asyncio.Event()
