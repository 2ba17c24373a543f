"""Owns the steps of one batch: have it made, look at it, fetch and write down what came, take it back. Chooses nothing.

Each step is written down in the ledger around what is done at the provider, so that a process may die between any two: what
was planned is looked for under its own name before it is made, and results are recorded before they are read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from curate import progress
from curate.calls.account import Account
from curate.errors import TeacherError
from curate.ledger.batches import Batch, BatchStore
from curate.ledger.records import CostBound
from curate.teachers.base import RawResponse, RequestFailedError, parse_response
from curate.teachers.batch_api import BatchAPI, Line, State

__all__ = ["BatchJob", "BatchSettings"]

_CHUNK = 500  # lines written in one transaction
_VAIN_LOOKS, _VAIN_MAKINGS, _NOBODY = 30, 10, 5  # steps in a row that do not come about; the last where nobody listens
_FORGOTTEN = 48 * 3600.0  # seconds after which a batch that the provider does not know is given up; it has 24 hours for one
_SHOWN = 3600.0  # seconds after which a batch that is not in the provider's list was never made
_LATE_FILES = 20  # looks at a batch that is over and has answers, and whose file is not there yet


@dataclass(frozen=True)
class BatchSettings:
    """How batches are made and looked after.

    Attributes:
        requests: in one batch, at most; OpenAI takes 50,000.
        bytes: of one input file, at most; OpenAI takes 200 MB.
        first: seconds before the second look at a batch; then twice as long each time.
        longest: seconds between two looks, at most.
        grace: seconds that a batch may take to show in the provider's list, after a making of unknown outcome.
        tries: batches that one request may go into.
    """

    requests: int = 50_000
    bytes: int = 190_000_000
    first: float = 1.0
    longest: float = 60.0
    grace: float = 30.0
    tries: int = 3


class BatchJob:
    """The steps of the batches that one asking looks after.

    Args:
        tab: who is asked, and who pays.
        wire: to the provider.
        book: of the ledger.
        batching: how batches are made.
    """

    def __init__(self, tab: Account, wire: BatchAPI, book: BatchStore, batching: BatchSettings) -> None:
        self.tab, self.wire, self.book, self.batching = tab, wire, book, batching
        self.where = f"teacher {tab.teacher.endpoint!r}"
        self.fresh: set[str] = set()  # batches planned by us, which nobody can have made yet
        self.states: dict[str, State] = {}  # what the provider said last, by batch
        self.errors: dict[str, RawResponse] = {}  # why a call has no reply, by key
        self.dropped: set[str] = set()  # batches that were never run; being in one is no try
        self.most = batching.requests
        self.at_once: int | None = None  # batches at the provider together, where it told us of a limit
        self.wait = 0.0  # seconds that the provider asks us to wait
        self._not_before = 0.0  # loop time of the next making
        self._bounds: dict[str, dict[str, CostBound]] = {}  # on our tab, by batch and key
        self._unsure: dict[str, float] = {}  # batches that may have been made → loop time until when to look for them
        self._late: Counter[str] = Counter()
        self._in_vain = 0

    async def advance(self, batch: Batch, n_submitted: int) -> bool:
        """Take the next step with a batch that is in our hands; say whether it got any further.

        Args:
            batch: as `BatchStore.claim` gives it.
            n_submitted: batches at the provider now.

        Raises:
            TeacherError: the provider refuses, or cannot be reached for long.
        """
        self._put_on_tab(batch)
        try:
            moved = await (self._look if batch.status == "submitted" else self._make)(batch, n_submitted)
        except RequestFailedError as e:
            self._heed(batch, e)
            return False
        self._in_vain, self.wait = 0, 0.0
        return moved

    async def tidy(self, batch: Batch) -> None:
        """Look once at a batch in our hands that nobody waits for: drop what was never made, fetch what is over."""
        if batch.status == "planned":
            self.drop(batch, "a run that ended had planned it, and nobody asks for it any more")
        else:
            try:
                await (self.advance(batch, 0) if batch.status == "submitted" else self._settle_doubt(batch))
            except TeacherError as e:  # which is no reason not to go on with other things
                progress.note("batch", f"{batch.provider or batch.id!r}, which nobody waits for: {e}")
        self.close(batch.id)
        self.book.let_go(batch.id)

    async def _settle_doubt(self, batch: Batch) -> None:
        found = await self._seek(batch)
        if found is not None:
            self._take_as_submitted(batch, found)
        elif batch.created + _SHOWN < self.tab.ledger.now():
            self.drop(batch, "it was never made")

    def drop(self, batch: Batch, why: str) -> None:
        """Take a batch back that was never made or never run; nothing was billed."""
        fates = [(held.attempt, "unrun", why) for held in self.book.held(batch.id)]
        if self.book.end(batch.id, fates, status="dropped", told=why):
            self.dropped.add(batch.id)
            for bound in self._bounds.pop(batch.id, {}).values():
                self.tab.free(bound, sent=False)

    def close(self, batch: str) -> bool:
        """Take off the tab what we did not settle of a batch that is over; say whether we wrote its end down."""
        left = self._bounds.pop(batch, None)
        for bound in (left or {}).values():  # somebody else wrote its end down
            self.tab.add(bound, -1)
        return left == {}

    def _put_on_tab(self, batch: Batch) -> None:
        """Put the bounds of a batch on the tab, once, if it is our manifest that pays."""
        if batch.id not in self._bounds and batch.name == self.tab.name:
            self._bounds[batch.id] = {held.key: held.charge for held in self.book.held(batch.id)}
            for bound in self._bounds[batch.id].values():
                self.tab.add(bound)

    # Making

    async def _make(self, batch: Batch, n_submitted: int) -> bool:
        """Have a batch made, unless an earlier run had it made."""
        now = asyncio.get_running_loop().time()
        if batch.status == "creating" or batch.id not in self.fresh:
            found = await self._seek(batch)
            if found is not None:
                return self._take_as_submitted(batch, found)
            if batch.status == "creating" and now < self._unsure.setdefault(batch.id, now + self.batching.grace):
                return False
        if now < self._not_before or (self.at_once is not None and n_submitted >= self.at_once):
            return False
        file = batch.file or await self.wire.upload(batch.id, self._content(batch))
        if not self.book.write(batch.id, file=file, status="creating"):  # before it is asked for: it may be made from here on
            return False
        self.fresh.discard(batch.id)
        self._unsure.pop(batch.id, None)
        try:
            made = await self.wire.create(batch.id, file)
        except RequestFailedError as e:
            if e.answer.outcome in ("refused", "unsent"):
                self.book.write(batch.id, status="planned")
            raise
        if self._take_as_submitted(batch, made):
            return True
        if self.book.provider_of(batch.id) not in (None, made.id):  # we were too slow, and somebody made it again
            await self.wire.cancel(made.id)
        return False

    async def _seek(self, batch: Batch) -> State | None:
        """Return the batch if the provider has it already; where it has no list, what may be there is given up as lost."""
        try:
            return await self.wire.find(batch.id, batch.file)
        except RequestFailedError as e:
            if e.status not in (404, 405):
                raise
            if batch.status == "creating":
                self._lose(batch, "it may have been made, and the server has no list to look it up")
                raise RequestFailedError(RawResponse("refused", error=str(e))) from e
            return None

    def _content(self, batch: Batch) -> bytes:
        return b"".join(self.wire.line(held.key, held.request) for held in self.book.held(batch.id))

    def _take_as_submitted(self, batch: Batch, state: State) -> bool:
        if not self.book.write(batch.id, status="submitted", provider=state.id, told=state.words):
            return False
        self.states[batch.id] = state
        progress.note("batch", f"{batch.n:,} requests are at {self.where} as {state.id!r}; Ctrl-C leaves them there")
        return True

    # Looking

    async def _look(self, batch: Batch, n_submitted: int) -> bool:
        state = await self.wire.look(str(batch.provider))
        before, self.states[batch.id] = self.states.get(batch.id), state
        if state.status == "completed" and state.answered and not state.output and self._late[batch.id] < _LATE_FILES:
            self._late[batch.id] += 1
            return False
        if not state.is_over:
            if state.words != batch.told:
                self.book.write(batch.id, told=state.words)
            if before is None or (before.status, _tenth(before)) != (state.status, _tenth(state)):
                progress.note("batch", f"{state.id!r}: {state.words}")
            return before is None or before.words != state.words
        if state.status == "failed" and not state.output:
            self._take_failure(batch, state, n_submitted - 1)
        else:
            await self._fetch(batch, state)
        return True

    async def _fetch(self, batch: Batch, state: State) -> None:
        """Write down what came of every call of a batch that is over."""
        wanted = self.book.keys(batch.id)
        errors: dict[str, Line] = {}
        n_strange, gone = 0, ""
        for file in filter(None, (state.output, state.errors)):
            try:
                lines = await self.wire.fetch(file)
            except RequestFailedError as e:
                if e.status != 404:
                    raise
                gone = f"the provider no longer has its results: {e}"
                continue
            while some := list(islice(lines, _CHUNK)):
                errors |= {line.key: line for line in some if not line.raw}
                n_strange += sum(line.key not in wanted for line in some)
                self.book.record(batch.id, [(line.key, line.raw) for line in some if line.raw])
        self._read(batch)
        fates = list(self._fates(batch, errors, state, gone))
        if self.book.end(batch.id, fates, told=state.words):
            without = f", {len(fates):,} of {batch.n:,} without a reply" if fates else ""
            strange = f", {n_strange:,} lines for nobody" if n_strange else ""
            progress.note("batch", f"{state.id!r}: {state.words}{without}{strange}")

    def _read(self, batch: Batch) -> None:
        """Read what was recorded, and charge what it says it used."""
        bounds = self._bounds.get(batch.id, {})
        while unread := self.book.unread(batch.id, _CHUNK):
            with self.tab.ledger.transaction():
                for attempt, key, raw in unread:
                    reading, bound = parse_response(raw), bounds.pop(key, None)
                    if reading.error:
                        self.errors[key] = RawResponse("refused", error=reading.error)
                        self.tab.ledger.reject(attempt, reading.error)
                        continue
                    self.tab.settle(attempt, reading, batched=True)
                    if bound is not None:
                        self.tab.correct(bound, reading, batched=True)

    def _fates(self, batch: Batch, errors: dict[str, Line], state: State, gone: str) -> Iterator[tuple[int, str, str]]:
        """Yield what became of each call without a reply, for `BatchStore.end`."""
        bounds = self._bounds.get(batch.id, {})
        for held in self.book.held(batch.id):
            line, bound = errors.get(held.key), bounds.pop(held.key, None)
            answer = self._judge(line, state, gone)
            self.errors[held.key] = answer
            fate = {"lost": "lost", "unsent": "unrun"}.get(answer.outcome, "failed")
            if bound is not None and fate != "lost":
                self.tab.free(bound, sent=fate == "failed")
            yield held.attempt, fate, answer.error

    def _judge(self, line: Line | None, state: State, gone: str) -> RawResponse:
        if line is not None:
            return self.wire.judge(line)
        if gone or state.status == "completed":
            return RawResponse("lost", error=gone or "the batch ended without a line for it")
        return RawResponse("unsent", error=f"the batch was {state.status} before its turn came")

    # What goes wrong

    def _take_failure(self, batch: Batch, state: State, n_others: int) -> None:
        """Take back a batch that failed as a whole, which was not run: go on with less at once, or say why not."""
        answer = self.wire.judge_whole(state)
        self.drop(batch, answer.error)
        if any(code == "token_limit_exceeded" for code, _ in state.problems):
            self._slow_down(batch, answer.error, n_others)
        elif answer.outcome != "refused":
            raise TeacherError(f"{self.where} refuses the batch: {answer.error}")

    def _slow_down(self, batch: Batch, error: str, n_others: int) -> None:
        """Send less at once, after the provider said that too many tokens wait there."""
        if n_others <= 0 and batch.n == 1:
            raise TeacherError(f"{self.where} takes no more tokens into batches: {error}; try again later, or use --mode live")
        self.at_once = max(1, n_others)
        if n_others <= 0:
            self.most = max(1, batch.n // 2)
            self._not_before = asyncio.get_running_loop().time() + self.batching.longest
        progress.note("batch", f"{self.where} holds as many tokens in batches as it takes; going on with fewer at once ({error})")

    def _lose(self, batch: Batch, why: str) -> None:
        """Give a batch up whose fate nobody knows; its calls stay charged."""
        held = self.book.held(batch.id)
        for call in held:
            self._bounds.get(batch.id, {}).pop(call.key, None)
            self.errors[call.key] = RawResponse("lost", error=why)
        if self.book.end(batch.id, [(call.attempt, "lost", why) for call in held], told=why):
            progress.note("batch", f"{batch.provider or batch.id!r}: {why}; {len(held):,} calls stay charged")

    def _heed(self, batch: Batch, error: RequestFailedError) -> None:
        """Bear with what may pass, and end what will not."""
        answer, making = error.answer, batch.status != "submitted"
        if answer.outcome in ("denied", "failed"):
            if not making and error.status == 404 and batch.created + _FORGOTTEN < self.tab.ledger.now():
                self._lose(batch, "the provider no longer knows it")
                return
            if batch.status == "planned":  # one that an earlier run may have had made is not given up for this
                self.drop(batch, answer.error)
            if making and error.status in (404, 405):
                raise TeacherError(f"{self.where} has no batch interface ({answer.error}): use --mode live") from error
            raise TeacherError(f"{self.where} refuses: {answer.error}") from error
        self._in_vain += 1
        self.wait = answer.retry_after or 0.0
        progress.note("batch", f"{self.where}: {answer.error}; trying again")
        patience = _VAIN_LOOKS if not making else _NOBODY if answer.outcome == "unsent" else _VAIN_MAKINGS
        if self._in_vain >= patience:
            raise TeacherError(
                f"{self.where} cannot be reached: {answer.error}; check the address and that the server is up"
            ) from error


def _tenth(state: State) -> int:
    return 10 * state.done // state.total if state.total else 0
