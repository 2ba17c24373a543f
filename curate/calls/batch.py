"""Owns the buying of requests in batches: which are planned, in what sizes, looked at when, and what goes into a further one.

What a provider has is never given up here: Ctrl-C leaves it there, and the same command picks it up, as does any other
process that wants one of its calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from curate import progress
from curate.calls.account import Account
from curate.calls.batch_steps import BatchJob, BatchSettings
from curate.errors import InputError, TeacherError
from curate.ledger.batches import Batch, BatchStore
from curate.ledger.ledger import LEASE
from curate.ledger.records import CallSpec
from curate.teachers.base import RawResponse, Reply, Request
from curate.teachers.batch_api import BatchAPI

__all__ = ["BatchOutcome", "BatchRun", "BatchSettings", "TakesBatches", "buy", "check", "under_way"]

_LOOK = 0.2  # seconds between looks whether somebody halts
_WORTH = 0.05  # share of the calls asked for that must fit under a cap for a further batch


@dataclass(frozen=True)
class BatchOutcome:
    """What came of it: replies by key, and the cap that stood against the rest, in words."""

    replies: dict[str, Reply]
    cap: str = ""


@runtime_checkable
class TakesBatches(Protocol):
    """A teacher that takes batches."""

    @property
    def batches(self) -> BatchAPI: ...


def check(teacher: object) -> BatchAPI:
    """Return the way to a teacher's batches.

    Raises:
        InputError: it takes none.
    """
    if isinstance(teacher, TakesBatches):
        return teacher.batches
    name = getattr(teacher, "endpoint", type(teacher).__name__)
    raise InputError(f"--mode batch: teacher {name!r} takes no batches; use --mode live")


def under_way(tab: Account, keys: Sequence[str]) -> set[str]:
    """Return the keys among `keys` that are under way in a batch."""
    book, wanted = BatchStore(tab.ledger), set(keys)
    found = [book.keys(batch.id) & wanted for batch in book.open(tab.teacher.endpoint, tab.teacher.model)]
    return set().union(*found)


async def buy(
    tab: Account,
    missing: Sequence[tuple[Request, CallSpec]],
    *,
    halted: Callable[[], bool],
    batching: BatchSettings = BatchSettings(),  # noqa: B008 - frozen
    make: bool = True,
) -> BatchOutcome:
    """Have requests answered in batches; comes back when all are answered, failed or capped, or somebody halts.

    Args:
        tab: who is asked, and who pays.
        missing: requests that the ledger has no answer for, each once.
        halted: whether to stop; batches stay at the provider.
        batching: see there.
        make: whether new batches may be made; else those that exist are waited for.

    Raises:
        InputError: the teacher takes no batches.
        TeacherError: the provider refuses, or cannot be reached; what it has stays there.
    """
    wire = check(tab.teacher)
    with progress.step(missing[0][0].purpose, len(missing)) as step:
        buyer = BatchRun(tab, wire, missing, halted, batching, make, step)
        renewing = asyncio.create_task(buyer.renew())
        try:
            await buyer.run()
        finally:
            renewing.cancel()
            buyer.leave()
            await tab.teacher.close()
    return BatchOutcome(buyer.replies, buyer.cap)


class BatchRun:
    """One run of `buy`."""

    def __init__(
        self,
        tab: Account,
        wire: BatchAPI,
        missing: Sequence[tuple[Request, CallSpec]],
        halted: Callable[[], bool],
        batching: BatchSettings,
        make: bool,
        step: progress.Step,
    ) -> None:
        self.tab, self.wire, self.book = tab, wire, BatchStore(tab.ledger)
        self.steps = BatchJob(tab, wire, self.book, batching)
        self.missing = {order.key: (request, order) for request, order in missing}
        self.n_asked, self.halted, self.batching, self.make, self.step = len(missing), halted, batching, make, step
        self.replies: dict[str, Reply] = {}
        self.cap = ""
        self.open: dict[str, Batch] = {}  # batches with calls that are wanted
        self.keys: dict[str, set[str]] = {}  # of each of them
        self.tries: Counter[str] = Counter()
        self.wait = batching.first
        self.full = False  # a cap stands against more until a batch is over

    async def run(self) -> None:
        self._find_open()
        await self._tidy()
        while self.missing and not self.halted():
            self._plan()
            if not self.open and (self.cap or not self.make):
                return
            moved = False
            for batch in list(self.open):
                if not self.halted():
                    moved |= await self._advance(batch)
            self._find_open()
            if self.missing:
                self.step.advance(0, **self._facts())
                await self._sleep(moved)

    async def renew(self) -> None:
        """Keep the leases for as long as we are at work."""
        while True:
            await asyncio.sleep(LEASE / 4)
            self.book.renew()

    def leave(self) -> None:
        """Let go of the batches; take back those that nobody made, and say where the others are."""
        stay = []
        for batch in filter(None, map(self.book.claim, self.open)):
            if batch.status == "planned":
                self.steps.drop(batch, "it was not sent")
            else:
                stay.append(f"{batch.provider or batch.id!r} ({batch.told or 'being made'})")
        self.book.let_go()
        if stay:
            these = "stays" if len(stay) == 1 else "stay"
            progress.note("batch", f"{', '.join(stay)} {these} at {self.steps.where}; the same command picks up what comes")

    # What to do next

    def _find_open(self) -> None:
        """Look up which open batches hold calls that are wanted, and take the answers of those that ended."""
        teacher, before = self.tab.teacher, set(self.open)
        self.open = {}
        for batch in self.book.open(teacher.endpoint, teacher.model):
            if batch.id not in self.keys:
                self.keys[batch.id] = self.book.keys(batch.id)
            if not self.keys[batch.id].isdisjoint(self.missing):
                self.open[batch.id] = batch
        for ended in before - set(self.open):
            self._take_answers(ended)

    def _plan(self) -> None:
        """Reserve what is in no batch yet, and write down the batches for it."""
        flying = set().union(*(self.keys[batch] for batch in self.open))
        fresh = [entry for key, entry in self.missing.items() if key not in flying]
        if not fresh or not self.make or (self.full and self.open):
            return
        least = int(_WORTH * self.n_asked) if self.replies else 0
        groups = [[(order, self.tab.charge(request, batched=True)) for request, order in group] for group in self._split(fresh)]
        planned = self.book.plan(groups, self.tab.caps, least=least)
        self.steps.fresh |= set(planned.batches)
        self._find_open()
        self.full = bool(planned.cap)
        self.cap = planned.cap if not self.open else ""  # what is under way is charged at its bound and mostly costs less
        self._take_stored([order.key for _, order in fresh if order.key in self.missing])

    def _split(self, entries: Sequence[tuple[Request, CallSpec]]) -> Iterator[list[tuple[Request, CallSpec]]]:
        """Cut requests into groups that fit into one input file each."""
        group: list[tuple[Request, CallSpec]] = []
        size = 0
        for request, order in entries:
            more = len(self.wire.line(order.key, request))
            if more > self.batching.bytes:
                error = f"the request has {more:,} bytes, and an input file holds {self.batching.bytes:,}"
                self._reply(order.key, Reply(status="failed", error=error))
                continue
            if group and (len(group) >= self.steps.most or size + more > self.batching.bytes):
                yield group
                group, size = [], 0
            group.append((request, order))
            size += more
        if group:
            yield group

    async def _tidy(self) -> None:
        """Look once at batches of this manifest that nobody waits for, such as unmade ones where none shall be made."""
        for batch in self.book.open(self.tab.teacher.endpoint, self.tab.teacher.model):
            wanted = batch.id in self.open and (self.make or batch.status != "planned")
            if not wanted and batch.name == self.tab.name and (claimed := self.book.claim(batch.id)):
                await self.steps.tidy(claimed)
        self._find_open()

    async def _advance(self, name: str) -> bool:
        """Take one step with a batch, if it is ours to take; say whether it got any further."""
        batch = self.book.claim(name)
        at_hand = self.book.open(self.tab.teacher.endpoint, self.tab.teacher.model)
        n_submitted = sum(other.status == "submitted" and other.id in self.open for other in at_hand)
        return batch is not None and await self.steps.advance(batch, n_submitted)

    async def _sleep(self, moved: bool) -> None:
        """Wait before the next look: shortly after a step, then longer and longer."""
        self.wait = self.batching.first if moved else min(self.batching.longest, self.wait * 2)
        loop = asyncio.get_running_loop()
        until = loop.time() + max(self.wait, self.steps.wait)
        while (left := until - loop.time()) > 0 and not self.halted():
            await asyncio.sleep(min(left, _LOOK))

    # What came

    def _take_answers(self, ended: str) -> None:
        """Take the answers of a batch that is over; what has none goes into another, or is given up."""
        self.full = False
        keys = [key for key in self.keys.pop(ended) if key in self.missing]
        self._take_stored(keys, cached=not self.steps.close(ended))
        if ended in self.steps.dropped:
            return
        for key in [key for key in keys if key in self.missing]:
            self.tries[key] += 1
            answer = self.steps.errors.get(key, RawResponse("refused", error="its batch ended without a reply"))
            if answer.outcome == "denied":
                raise TeacherError(f"{self.steps.where} refuses: {answer.error}")
            if answer.outcome == "failed" or self.tries[key] >= self.batching.tries:
                self._reply(key, Reply(status="failed", error=answer.error))

    def _take_stored(self, keys: Sequence[str], *, cached: bool = True) -> None:
        found = self.tab.ledger.find(keys)
        with self.tab.ledger.transaction():
            hits = []
            for key, stored in found.items():
                reply = self.tab.read_stored(stored)
                if reply is not None:
                    hits.append(stored.call_id)
                    self._reply(key, reply._replace(cached=cached))
            if cached:
                self.tab.count_hits(hits)

    def _reply(self, key: str, reply: Reply) -> None:
        self.replies[key] = reply
        del self.missing[key]
        self.step.advance(**self._facts())

    def _facts(self) -> dict[str, Any]:
        states = [state for name, state in self.steps.states.items() if name in self.open]
        told = states[0].words if len(states) == 1 else f"{sum(s.done for s in states):,}/{sum(s.total for s in states):,}"
        flying = sum(batch.n for batch in self.open.values() if batch.status != "planned")
        return {**self.tab.facts(), "in_flight": flying, **({"batch": told} if states else {})}
