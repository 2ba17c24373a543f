"""Owns asking a teacher through the ledger: answers at hand first, then one reservation for each sending, within the caps.

An `Account` is the only one who calls `Teacher.submit`, so that no teacher escapes a cap. Asking is synchronous for the
caller and runs on a thread of its own, so that verbs work in notebooks. The first Ctrl-C stops sending and waits for what is
under way; the second does not wait, and what was under way stays charged as lost.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from curate import calls, progress
from curate.calls import Answer, Reading, Reply, Request, Teacher
from curate.errors import InputError, TeacherError
from curate.ledger import LEASE, Caps, Charge, Grant, Ledger, Order, Stored
from curate.owners import this_process
from curate.prices import NANO, PRICE_FILE
from curate.throttling import Backoff, Throttle
from curate.writers import Writer

__all__ = ["Account", "Spent"]

T = TypeVar("T")

_GIVE_UP = 10  # requests in a row that fail after every try
_POLL = 0.2  # seconds between looks at a call that another process has under way


@dataclass(frozen=True)
class Spent:
    """What one account was charged so far.

    Attributes:
        calls: sendings, retries included.
        tokens: of prompts and completions.
        usd: dollars, or None where the model has no price.
        saved: answers that were at hand and not bought again.
    """

    calls: int
    tokens: int
    usd: float | None
    saved: int


class Account:
    """What a verb asks a teacher through.

    Args:
        teacher: who answers.
        ledger: where every call is written down.
        name: of the manifest that pays; the caps count everything ever charged to it.
        caps: hard limits.
        verb: that asks; for the ledger's report.
        stage: from 0, or None.
        backoff: waits between tries, and how many.

    Raises:
        InputError: a cap in dollars for a model without a price, or a cap below 0.
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
    ) -> None:
        _check(caps, teacher)
        self.teacher, self.ledger, self.name, self.caps = teacher, ledger, name, caps
        self.verb, self.stage, self.backoff = verb, stage, backoff
        self.saved = 0
        self.attempts: set[int] = set()
        if lost := ledger.sweep(name):
            progress.note("ledger", f"{lost} calls were under way when an earlier run ended; they stay charged")

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return one reply for each request, in their order; what cannot be bought within the caps comes back as ``capped``.

        Args:
            requests: what to ask; equal ones are asked once.

        Raises:
            TeacherError: nobody answers at the endpoint, or it refuses the key or the model. What was bought is kept.
            KeyboardInterrupt: Ctrl-C; what was bought is kept.
        """
        asking = _Asking(self, list(requests))
        return _on_own_thread(asking.run, asking.halt) if asking.requests else []

    def spend(self) -> Spent:
        """Return what this account was charged so far, calls under way at their upper bounds."""
        n, tokens, nano = self.ledger.sums(self.attempts)
        return Spent(n, tokens, None if self.teacher.price is None else nano / NANO, self.saved)

    def order(self, request: Request) -> Order:
        """Return what the ledger writes down about a request."""
        shaped = self.teacher.shape(request)
        endpoint, model = self.teacher.endpoint, self.teacher.model
        told = calls.canonical(shaped)
        return Order(calls.key(endpoint, model, told), endpoint, model, request.purpose, request.domain, request.sample, told)

    def charge(self, request: Request) -> Charge:
        """Return the upper bound of what one sending of a request can cost, and who pays it."""
        prompt, price = calls.token_bound(request), self.teacher.price
        nano = None if price is None else price.nano_usd(prompt, request.max_tokens)
        stage, bound = -1 if self.stage is None else self.stage, prompt + request.max_tokens
        return Charge(self.name, self.verb, stage, bound, nano, request.refill)


@dataclass
class _Asking:
    """One run of `Account.ask`; lives on the asking thread."""

    account: Account
    requests: list[Request]
    halted: bool = False  # take nothing new
    capped: str = ""
    under_way: int = 0
    replies: dict[str, Reply] = field(default_factory=dict)  # by key
    tokens: int = 0
    in_vain: int = 0  # requests in a row that failed however often they were sent

    def halt(self) -> None:
        """Send nothing more; what is under way comes to its end."""
        self.halted = True

    async def run(self) -> list[Reply]:
        orders = [self.account.order(request) for request in self.requests]
        keys = [order.key for order in orders]
        wanted = dict(zip(reversed(keys), reversed(list(zip(self.requests, orders, strict=True))), strict=True))
        wanted = {key: wanted[key] for key in dict.fromkeys(keys)}
        self._take_stored(list(wanted))
        missing = [entry for key, entry in wanted.items() if key not in self.replies]
        if missing:
            await self._buy_all(missing)
        unbought = Reply(status="capped", error=self.capped)
        return [self.replies.get(key, unbought) for key in keys]

    def _take_stored(self, keys: list[str]) -> None:
        """Answer what the ledger can answer; one transaction for everything that has to be written about it."""
        found = self.account.ledger.find(keys)
        if not found:
            return
        with self.account.ledger.transaction():
            for key, stored in found.items():
                if reply := self._read_stored(stored):
                    self.replies[key] = reply
            self._count_hits([reply.call_id for reply in self.replies.values() if reply.call_id is not None])

    def _read_stored(self, stored: Stored) -> Reply | None:
        reading = calls.read(stored.raw)
        if reading.error:
            self.account.ledger.reject(stored.attempt, reading.error)
            return None
        if not stored.billed:
            self._settle(stored.attempt, reading)
        return _reply(reading, stored.call_id, cached=True)

    def _count_hits(self, call_ids: list[int]) -> None:
        stage = -1 if self.account.stage is None else self.account.stage
        self.account.ledger.hit(call_ids, self.account.name, self.account.verb, stage)
        self.account.saved += len(call_ids)

    async def _buy_all(self, missing: list[tuple[Request, Order]]) -> None:
        concurrency = max(1, min(self.account.teacher.concurrency, len(missing)))
        self.throttle = Throttle(concurrency, self.account.backoff, lambda: self.halted)
        self.settled = asyncio.Event()  # set, and replaced, whenever something under way has ended
        queue = iter(missing)
        with Writer(self.account.ledger) as self.writer, progress.step(missing[0][0].purpose, len(missing)) as self.step:
            renewing = asyncio.create_task(self._renew())
            workers = [asyncio.create_task(self._work(queue)) for _ in range(concurrency)]
            try:
                ends = await asyncio.gather(*workers, return_exceptions=True)
            finally:
                renewing.cancel()
                await self.writer.flush()
                await self.account.teacher.close()
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 4)
            await self.writer.do(partial(self.account.ledger.renew, this_process()))

    async def _work(self, queue: Iterator[tuple[Request, Order]]) -> None:
        """Buy one call after the other until there are none, a cap is reached, or somebody halts."""
        finished = False
        try:
            for request, order in queue:
                reply = await self._buy(request, order)
                if reply is not None:
                    self.replies[order.key] = reply
                    self.tokens += reply.usage.total
                    self.step.advance(tokens=self.tokens, calls=len(self.account.attempts))
                if self.halted or self.capped:
                    break
            finished = True
        finally:
            self.halted = self.halted or not finished

    async def _buy(self, request: Request, order: Order) -> Reply | None:
        """Send a request until it is answered or tried often enough; None where a cap or a halt came first."""
        charge, tried = self.account.charge(request), 0
        while True:
            await self.throttle.enter()
            try:
                grant = await self._reserve(order, charge)
                if grant is None:
                    return None
                if grant.status == "answered":
                    return self._bought_elsewhere(order)
                answer = await self._send(request, grant)
                reply = await self._keep(order, grant, answer)
            finally:
                self.throttle.leave()
            if reply.status != "failed" or answer.outcome == "failed":
                self.in_vain = 0
                return reply
            if not await self.throttle.wait(answer, tried):
                return self._give_up(reply, answer)
            tried += 1

    def _give_up(self, reply: Reply, answer: Answer) -> Reply:
        """Hand back a failed reply, or end everything where the teacher seems to be gone."""
        self.in_vain += 1
        where = f"teacher {self.account.teacher.endpoint!r}"
        if answer.outcome == "unsent" and not self.halted:
            raise TeacherError(f"{where} cannot be reached: {reply.error}; check the address and that the server is up")
        if self.in_vain >= _GIVE_UP:
            raise TeacherError(f"{where} answered none of the last {_GIVE_UP} requests: {reply.error}; try again later")
        return reply

    async def _reserve(self, order: Order, charge: Charge) -> Grant | None:
        """Reserve a sending; waits for another process that has it under way, and for room under the caps."""
        ledger, caps = self.account.ledger, self.account.caps
        while not (self.halted or self.capped):
            settled = self.settled
            grant = await self._granted(self.writer.post(partial(ledger.reserve, order, charge, caps, this_process())))
            if grant.status == "granted":
                self.under_way += 1
                self.account.attempts.add(grant.attempt)
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

    async def _granted(self, reserving: asyncio.Future[Grant]) -> Grant:
        """Wait for a reservation; who is cancelled meanwhile takes it back, for nothing was sent."""
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            grant = await reserving
            if grant.status == "granted":
                self.account.ledger.fail(grant.attempt, "interrupted before it was sent", sent=False)
            raise

    async def _send(self, request: Request, grant: Grant) -> Answer:
        """Send once; whatever happens to us on the way, the attempt does not stay open."""
        answered = False
        try:
            async for _, answer in self.account.teacher.submit([request]):
                answered = True
                return answer
            answered = True
            return Answer("lost", error="the teacher ended without an answer")
        finally:
            if not answered:
                self.account.ledger.lose(grant.attempt, "interrupted while it was under way")
                self._end()

    async def _keep(self, order: Order, grant: Grant, answer: Answer) -> Reply:
        """Write down what came of a sending; a failed reply may be sent again, unless the outcome is ``failed``."""
        ledger, attempt = self.account.ledger, grant.attempt
        failed = Reply(status="failed", error=answer.error, call_id=grant.call_id)
        try:
            if answer.outcome == "answered":
                first = await self.writer.do(partial(ledger.record, attempt, answer.raw))  # durable before anyone reads it
                reply = await self._read(grant, answer)
                return reply if first else self._bought_elsewhere(order) or reply
            if answer.outcome == "unanswered":
                self.account.attempts.discard(attempt)
                await self.writer.do(partial(ledger.release, attempt))
                return Reply(status="unanswered")
            if answer.outcome == "lost":
                await self.writer.do(partial(ledger.lose, attempt, answer.error))
                return failed
            await self.writer.do(partial(ledger.fail, attempt, answer.error, sent=answer.outcome != "unsent"))
            if answer.outcome == "denied":
                raise TeacherError(f"teacher {self.account.teacher.endpoint!r} refuses: {answer.error}")
            return failed
        finally:
            self._end()

    async def _read(self, grant: Grant, answer: Answer) -> Reply:
        reading = calls.read(answer.raw)
        if reading.error:
            await self.writer.do(partial(self.account.ledger.reject, grant.attempt, reading.error))
            return Reply(status="failed", error=reading.error, call_id=grant.call_id)
        self.writer.post(partial(self._settle, grant.attempt, reading))
        self.throttle.praise()
        return _reply(reading, grant.call_id, cached=False)

    def _settle(self, attempt: int, reading: Reading) -> None:
        used, price = reading.usage, self.account.teacher.price
        nano = price.nano_usd(used.prompt, used.completion, used.cached) if used and price else None
        self.account.ledger.settle(attempt, used, nano, reading.finish_reason)

    def _bought_elsewhere(self, order: Order) -> Reply | None:
        """Take the answer that another process bought while we waited."""
        stored = self.account.ledger.find([order.key]).get(order.key)
        reply = self._read_stored(stored) if stored else None
        if reply is not None and reply.call_id is not None:
            self._count_hits([reply.call_id])
        return reply

    def _end(self) -> None:
        self.under_way -= 1
        self.settled.set()
        self.settled = asyncio.Event()


def _reply(reading: Reading, call_id: int, *, cached: bool) -> Reply:
    return Reply(
        text=reading.text,
        usage=reading.usage or calls.Usage(),
        call_id=call_id,
        finish_reason=reading.finish_reason,
        seeds=reading.seeds,
        cached=cached,
    )


def _check(caps: Caps, teacher: Teacher) -> None:
    for name, cap in (("--max-calls", caps.calls), ("--max-tokens", caps.tokens), ("--max-usd", caps.usd)):
        if cap is not None and cap < 0:
            raise InputError(f"{name} is a limit of 0 or more, got {cap}")
    if caps.usd is not None and teacher.price is None:
        raise InputError(
            f"--max-usd {caps.usd:g}: model {teacher.model!r} at {teacher.endpoint!r} has no known price; "
            f"write one into {PRICE_FILE} beside manifests/, or use --max-tokens"
        )


def _on_own_thread(work: Callable[[], Coroutine[Any, Any, T]], halt: Callable[[], None]) -> T:
    """Run a coroutine in an event loop on a thread of its own; the first Ctrl-C halts it, the second cancels it."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def main() -> T:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await work()

    interrupts = 0
    with ThreadPoolExecutor(1, thread_name_prefix="curate-teacher") as pool:
        future = pool.submit(contextvars.copy_context().run, lambda: asyncio.run(main()))
        while not future.done():
            try:
                wait([future], timeout=_POLL)
            except KeyboardInterrupt:
                interrupts += 1
                halt()
                if interrupts > 1 and running and running[0][1]:
                    running[0][0].call_soon_threadsafe(running[0][1].cancel)
    if interrupts:
        raise KeyboardInterrupt
    return future.result()
