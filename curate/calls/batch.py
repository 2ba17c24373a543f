"""Has requests answered in the provider's batches: which are planned, how large, polled when, and what goes into a further one.

Batches at the provider are never given up here: Ctrl-C leaves them there, and the same command goes on with them, as does any
other process that wants one of their calls. Knows nothing of live requests.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from curate import progress
from curate.calls.account import Account
from curate.calls.batch_steps import BatchSettings, BatchSteps
from curate.errors import InputError, TeacherError
from curate.ledger.batches import Batch, BatchStore
from curate.ledger.ledger import LEASE
from curate.ledger.records import CallSpec
from curate.teachers.base import RawResponse, Reply, Request
from curate.teachers.batch_api import BatchAPI

__all__ = ["BatchOutcome", "BatchRun", "TakesBatches", "ask_in_batches", "batch_api_of", "keys_in_batches"]

_LOOK = 0.2  # seconds between looks whether to stop
_SHOWN = 200  # characters of a line that cannot be read
_NO_REPLY = RawResponse("refused", error="its batch ended without a reply")
_LEAST_SHARE = 0.05  # of the calls asked for must fit under a cap for a further batch


@dataclass(frozen=True)
class BatchOutcome:
    """What came of it: replies by key, and the cap that was reached, in words."""

    replies: dict[str, Reply]
    cap: str = ""


@runtime_checkable
class TakesBatches(Protocol):
    """A teacher that takes batches."""

    @property
    def batches(self) -> BatchAPI: ...


def batch_api_of(teacher: object) -> BatchAPI:
    """Return the batch interface of a teacher.

    Raises:
        InputError: it takes no batches.
    """
    if isinstance(teacher, TakesBatches):
        return teacher.batches
    name = getattr(teacher, "endpoint", type(teacher).__name__)
    raise InputError(f"--mode batch: teacher {name!r} takes no batches; use --mode live")


def keys_in_batches(account: Account, keys: Sequence[str]) -> set[str]:
    """Return the keys whose calls are in a batch that is not over."""
    store, wanted = BatchStore(account.ledger), set(keys)
    found = [store.keys(batch.id) & wanted for batch in store.open_batches(account.teacher.endpoint, account.teacher.model)]
    return set().union(*found)


async def ask_in_batches(
    account: Account,
    missing: Sequence[tuple[Request, CallSpec]],
    *,
    stopped: Callable[[], bool],
    settings: BatchSettings = BatchSettings(),  # noqa: B008 - frozen
    make: bool = True,
) -> BatchOutcome:
    """Have requests answered in batches; returns when all are answered, failed or capped, or the run is stopped.

    Args:
        account: who is asked, and who pays.
        missing: requests that the ledger has no reply for, each once.
        stopped: whether to stop; batches stay at the provider.
        settings: how batches are made and polled.
        make: whether new batches may be made; else those that exist are waited for.

    Raises:
        InputError: the teacher takes no batches.
        TeacherError: the provider refuses, or cannot be reached; what it has stays there.
    """
    api = batch_api_of(account.teacher)
    with progress.step(missing[0][0].purpose, len(missing)) as step:
        run = BatchRun(account, api, missing, stopped, settings, make, step)
        renewing = asyncio.create_task(run.renew_leases())
        try:
            await run.run()
        finally:
            renewing.cancel()
            run.release()
            await account.teacher.close()
    return BatchOutcome(run.replies, run.cap)


class BatchRun:
    """One run of `ask_in_batches`, whose arguments it takes."""

    def __init__(
        self,
        account: Account,
        api: BatchAPI,
        missing: Sequence[tuple[Request, CallSpec]],
        stopped: Callable[[], bool],
        settings: BatchSettings,
        make: bool,
        step: progress.Step,
    ) -> None:
        self.account, self.api, self.store = account, api, BatchStore(account.ledger)
        self.steps = BatchSteps(account, api, self.store, settings)
        self.missing = {spec.key: (request, spec) for request, spec in missing}
        self.n_asked, self.stopped, self.settings, self.make, self.step = len(missing), stopped, settings, make, step
        self.replies: dict[str, Reply] = {}
        self.cap = ""
        self.open: dict[str, Batch] = {}  # batches with calls that are wanted
        self.keys: dict[str, set[str]] = {}  # of each of them
        self.tries: Counter[str] = Counter()
        self.wait = settings.first
        self.full = False  # a cap stands against more until a batch is over
        self.alone = False  # a whole batch was refused for a parameter, so one request goes first until one is answered

    async def run(self) -> None:
        """Plan, make and poll batches until nothing is missing, a cap is reached, or the run is stopped."""
        self._find_open()
        await self._tidy()
        while self.missing and not self.stopped():
            self._plan()
            if not self.open and (self.cap or not self.make):
                return
            moved = False
            for batch in list(self.open):
                if not self.stopped():
                    moved |= await self._advance(batch)
            self._find_open()
            if self.missing:
                self.step.advance(0, **self._facts())
                await self._sleep(moved)

    async def renew_leases(self) -> None:
        """Keep the leases for as long as the run goes on."""
        while True:
            await asyncio.sleep(LEASE / 4)
            self.store.renew()

    def release(self) -> None:
        """Let go of the batches; take back those that nobody made, and say where the others are."""
        stay = []
        for batch in filter(None, map(self.store.claim, self.open)):
            if batch.status == "planned":
                self.steps.drop(batch, "it was not sent")
            else:
                stay.append(f"{batch.provider or batch.id!r} ({batch.last_state or 'being created'})")
        self.store.release()
        if stay:
            these = "stays" if len(stay) == 1 else "stay"
            progress.note(
                "batch", f"{', '.join(stay)} {these} at {self.steps.where}; run the same command again to fetch their replies"
            )

    # What to do next

    def _find_open(self) -> None:
        """Look up which open batches hold calls that are wanted, and take the replies of those that ended."""
        teacher, before = self.account.teacher, set(self.open)
        self.open = {}
        for batch in self.store.open_batches(teacher.endpoint, teacher.model):
            if batch.id not in self.keys:
                self.keys[batch.id] = self.store.keys(batch.id)
            if not self.keys[batch.id].isdisjoint(self.missing):
                self.open[batch.id] = batch
        for ended in before - set(self.open):
            self._take_results(ended)

    def _plan(self) -> None:
        """Reserve what is in no batch yet, and write down the batches for it."""
        in_batches = set().union(*(self.keys[batch] for batch in self.open))
        new = [entry for key, entry in self.missing.items() if key not in in_batches]
        if not new or not self.make or ((self.full or self.alone) and self.open):
            return
        new = new[:1] if self.alone else new
        least = int(_LEAST_SHARE * self.n_asked) if self.replies and not self.alone else 0
        groups = [[(spec, self.account.bound(request, batched=True)) for request, spec in group] for group in self._split(new)]
        planned = self.store.plan(groups, self.account.caps, least=least)
        self.steps.planned_here |= set(planned.batches)
        self._find_open()
        self.full = bool(planned.cap)
        self.cap = planned.cap if not self.open else ""  # what is in flight is charged at its bound and mostly costs less
        self._take_stored([spec.key for _, spec in new if spec.key in self.missing])

    def _split(self, entries: Sequence[tuple[Request, CallSpec]]) -> Iterator[list[tuple[Request, CallSpec]]]:
        """Cut requests into groups that fit into one input file each."""
        group: list[tuple[Request, CallSpec]] = []
        size = 0
        for request, spec in entries:
            more = len(self.api.input_line(spec.key, request))
            if more > self.settings.bytes:
                error = f"the request has {more:,} bytes, and an input file holds {self.settings.bytes:,}"
                self._reply(spec.key, Reply(status="rejected", error=error))
                continue
            if group and (len(group) >= self.steps.max_requests or size + more > self.settings.bytes):
                yield group
                group, size = [], 0
            group.append((request, spec))
            size += more
        if group:
            yield group

    async def _tidy(self) -> None:
        """Look once at batches of this manifest that nobody waits for, such as unmade ones where none shall be made."""
        for batch in self.store.open_batches(self.account.teacher.endpoint, self.account.teacher.model):
            wanted = batch.id in self.open and (self.make or batch.status != "planned")
            if not wanted and batch.name == self.account.name and (claimed := self.store.claim(batch.id)):
                await self.steps.tidy(claimed)
        self._find_open()

    async def _advance(self, name: str) -> bool:
        """Take one step of a batch, if this run can hold it; return whether it got any further."""
        batch = self.store.claim(name)
        known = self.store.open_batches(self.account.teacher.endpoint, self.account.teacher.model)
        n_submitted = sum(other.status == "submitted" and other.id in self.open for other in known)
        return batch is not None and await self.steps.advance(batch, n_submitted)

    async def _sleep(self, moved: bool) -> None:
        """Wait before the next poll: shortly after a step, then longer and longer."""
        self.wait = self.settings.first if moved else min(self.settings.longest, self.wait * 2)
        loop = asyncio.get_running_loop()
        until = loop.time() + max(self.wait, self.steps.wait)
        while (left := until - loop.time()) > 0 and not self.stopped():
            await asyncio.sleep(min(left, _LOOK))

    # Results

    def _take_results(self, ended: str) -> None:
        """Take the replies of a batch that is over; a call without one goes into another batch, or is given up."""
        self.full = False
        keys = [key for key in self.keys.pop(ended) if key in self.missing]
        self._take_stored(keys, cached=not self.steps.close(ended))
        if ended in self.steps.dropped:
            return
        refusals = self.account.refusals
        if any(key not in self.missing for key in keys):
            refusals.record_answer()
            self.alone = False
        elif all(self._outcome(key) == "adapted" for key in keys):
            self.alone = bool(keys)
        self._check_readable([key for key in keys if key in self.missing])
        for key in [key for key in keys if key in self.missing]:
            response = self.steps.errors.get(key, _NO_REPLY)
            self.tries[key] += response.outcome != "adapted"  # it was refused for what is sent no more
            if response.outcome == "denied":
                raise TeacherError(f"{self.steps.where} refuses: {response.error}{response.advice}")
            if response.outcome in ("failed", "barred"):
                if refusals.record(response, again=False):
                    raise TeacherError(f"{self.steps.where} refuses: {response.error}{response.advice}; {refusals.summary}")
                self._reply(key, Reply(status="rejected", error=response.error))
            elif self.tries[key] >= self.settings.tries:
                self._reply(key, Reply(status="failed", error=response.error))

    def _outcome(self, key: str) -> str:
        """Return what became of a call without a reply."""
        return self.steps.errors.get(key, _NO_REPLY).outcome

    def _check_readable(self, keys: Sequence[str]) -> None:
        """End the run after a first batch of which nothing can be read, so that the same is not bought again."""
        unread = [self.steps.errors[key] for key in keys if key in self.steps.errors]
        if unread and all(response.outcome == "answered" for response in unread) and not self.account.refusals.answered:
            raise TeacherError(
                f"{self.steps.where}: nothing in its batch can be read: {unread[0].error}; the first line: "
                f"{' '.join(unread[0].raw.split())[:_SHOWN]!r}; all lines are kept and charged, none is bought again in this run"
            )

    def _take_stored(self, keys: Sequence[str], *, cached: bool = True) -> None:
        for key, reply in self.account.take_stored(keys, cached=cached).items():
            self._reply(key, reply)

    def _reply(self, key: str, reply: Reply) -> None:
        self.replies[key] = reply
        del self.missing[key]
        self.step.advance(**self._facts())

    def _facts(self) -> dict[str, Any]:
        states = [state for name, state in self.steps.states.items() if name in self.open]
        words = states[0].words if len(states) == 1 else f"{sum(s.done for s in states):,}/{sum(s.total for s in states):,}"
        in_flight = sum(batch.n for batch in self.open.values() if batch.status != "planned")
        return {**self.account.progress_facts(), "in_flight": in_flight, **({"batch": words} if states else {})}
