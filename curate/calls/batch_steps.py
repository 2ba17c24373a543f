"""Takes the steps of one batch: have it made, poll it, download and record its results, or take it back. Plans none.

Each step is recorded in the ledger around what is done at the provider, so that a process may die between any two: a planned
batch is looked for under its own name before it is made, and results are recorded before they are read.
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
from curate.teachers.base import RawResponse, Request, RequestFailedError
from curate.teachers.batch_api import BatchAPI, BatchState, ResultLine
from curate.teachers.complaints import Dialect

__all__ = ["BatchSettings", "BatchSteps"]

_CHUNK = 500  # lines written in one transaction
_FAILED_POLLS, _FAILED_MAKINGS, _NOBODY_LISTENS = 30, 10, 5  # failures in a row after which a run gives up
_FORGOTTEN = 48 * 3600.0  # seconds after which a batch that the provider does not know is given up; it has 24 hours for one
_SHOWN = 3600.0  # seconds after which a batch that is not in the provider's list was never made
_LATE_FILES = 20  # polls of a batch that is over and has replies, and whose file is not there yet


@dataclass(frozen=True)
class BatchSettings:
    """How batches are made and polled.

    Attributes:
        requests: in one batch, at most; OpenAI takes 50,000.
        bytes: of one input file, at most; OpenAI takes 200 MB.
        first: seconds before the second poll of a batch; then twice as long each time.
        longest: seconds between two polls, at most.
        grace: seconds that a batch may take to show in the provider's list, after a making of unknown outcome.
        tries: batches that one request may go into.
        ask_first: send one request live to a server of which nothing is known, so that no batch is refused for a parameter.
    """

    requests: int = 50_000
    bytes: int = 190_000_000
    first: float = 1.0
    longest: float = 60.0
    grace: float = 30.0
    tries: int = 3
    ask_first: bool = True


class BatchSteps:
    """The steps of all batches that one run holds.

    Args:
        account: who is asked, and who pays.
        api: of the provider.
        store: of the ledger's batches.
        settings: how batches are made.

    Attributes:
        where: the teacher, as messages name it.
        planned_here: batches that this run planned, which nobody can have made yet.
        states: what the provider said last, by batch.
        errors: why a call has no reply, by key.
        dropped: batches that were never run; being in one is no try.
        max_requests: in one batch, at most; less after the provider had too many tokens to hold.
        wait: seconds that the provider asks us to wait.
    """

    def __init__(self, account: Account, api: BatchAPI, store: BatchStore, settings: BatchSettings) -> None:
        self.account, self.api, self.store, self.settings = account, api, store, settings
        self.where = f"teacher {account.teacher.endpoint!r}"
        self.planned_here: set[str] = set()
        self.states: dict[str, BatchState] = {}
        self.errors: dict[str, RawResponse] = {}
        self.dropped: set[str] = set()
        self.max_requests = settings.requests
        self.wait = 0.0
        self._max_submitted: int | None = None  # batches at the provider together, once it has named a limit
        self._not_before = 0.0  # loop time of the next making
        self._bounds: dict[str, dict[str, CostBound]] = {}  # charged to our account, by batch and key
        self._search_until: dict[str, float] = {}  # batches that may have been made → loop time until when to look for them
        self._late_files: Counter[str] = Counter()
        self._files_since: dict[str, float] = {}  # batches whose input file is not there yet → loop time since when
        self._dialects: dict[str, Dialect] = {}  # in which the requests of a batch were written, as far as this run wrote them
        self._failures_in_row = 0

    async def advance(self, batch: Batch, n_submitted: int) -> bool:
        """Take the next step of a batch that this run holds; return whether it got any further.

        Args:
            batch: from `BatchStore.claim`.
            n_submitted: batches at the provider now.

        Raises:
            TeacherError: the provider refuses, or cannot be reached for long.
        """
        self._reserve_bounds(batch)
        try:
            moved = await (self._poll if batch.status == "submitted" else self._make)(batch, n_submitted)
        except RequestFailedError as e:
            self._handle_failure(batch, e)
            return False
        self._failures_in_row, self.wait = 0, 0.0
        return moved

    async def tidy(self, batch: Batch) -> None:
        """Look once at a held batch that is not needed any more: drop it if it was never created, download it if it has ended."""
        if batch.status == "planned":
            self.drop(batch, "it was planned by a run that has ended, and is not needed any more")
        else:
            try:
                await (self.advance(batch, 0) if batch.status == "submitted" else self._settle_doubt(batch))
            except TeacherError as e:  # which is no reason not to go on with other things
                progress.note("batch", f"{batch.provider or batch.id!r}, which is not needed any more: {e}")
        self.close(batch.id)
        self.store.release(batch.id)

    async def _settle_doubt(self, batch: Batch) -> None:
        """Find out whether a batch was made, where a run ended while it was asked for."""
        found = await self._find(batch)
        if found is not None:
            self._mark_submitted(batch, found)
        elif batch.created + _SHOWN < self.account.ledger.now():
            self.drop(batch, "it was never created")

    def drop(self, batch: Batch, why: str) -> None:
        """Take a batch back that was never made or never run; nothing was billed."""
        outcomes = [(call.attempt, "unrun", why, "") for call in self.store.pending(batch.id)]
        if self.store.close(batch.id, outcomes, status="dropped", last_state=why):
            self.dropped.add(batch.id)
            for bound in self._bounds.pop(batch.id, {}).values():
                self.account.refund(bound, sent=False)

    def close(self, batch: str) -> bool:
        """Refund the bounds of a batch that another run closed; return whether this run closed it."""
        left = self._bounds.pop(batch, None)
        for bound in (left or {}).values():
            self.account.refund(bound, sent=False)
        return left == {}

    def _reserve_bounds(self, batch: Batch) -> None:
        """Charge the bounds of a batch to our account, once, if it is our manifest that pays."""
        if batch.id not in self._bounds and batch.name == self.account.name:
            self._bounds[batch.id] = {call.key: call.bound for call in self.store.pending(batch.id)}
            for bound in self._bounds[batch.id].values():
                self.account.reserve(bound)

    # Making

    async def _make(self, batch: Batch, n_submitted: int) -> bool:
        """Have a batch made, unless an earlier run had it made."""
        now = asyncio.get_running_loop().time()
        if batch.status == "creating" or batch.id not in self.planned_here:
            found = await self._find(batch)
            if found is not None:
                return self._mark_submitted(batch, found)
            if batch.status == "creating" and now < self._search_until.setdefault(batch.id, now + self.settings.grace):
                return False
        if now < self._not_before or (self._max_submitted is not None and n_submitted >= self._max_submitted):
            return False
        file = batch.file or await self.api.upload(batch.id, self._input_file(batch))
        if not await self.api.is_ready(file):
            self.store.update(batch.id, file=file)
            return False
        if not self.store.update(batch.id, file=file, status="creating"):  # before it is asked for: it may exist from here on
            return False
        self.planned_here.discard(batch.id)
        self._search_until.pop(batch.id, None)
        try:
            made = await self.api.create(batch.id, file)
        except RequestFailedError as e:
            if e.response.outcome in ("refused", "unsent"):
                self.store.update(batch.id, status="planned")
            if self._is_file_late(batch, e, now):
                self.store.update(batch.id, status="planned")
                self.planned_here.add(batch.id)
                return False
            raise
        if self._mark_submitted(batch, made):
            return True
        if self.store.provider_id(batch.id) not in (None, made.id):  # we were too slow, and another run made it again
            await self.api.cancel(made.id)
        return False

    def _is_file_late(self, batch: Batch, error: RequestFailedError, now: float) -> bool:
        """Return whether a provider that has taken the input file does not find it yet, or is still at work on it."""
        if error.status not in (400, 404, 409, 422) or "file" not in error.response.error.casefold():
            return False
        if batch.id not in self._files_since:
            progress.note("batch", f"{self.where}: {error.response.error}; trying again for {self.settings.grace:g} s")
        return now < self._files_since.setdefault(batch.id, now) + self.settings.grace

    async def _find(self, batch: Batch) -> BatchState | None:
        """Return the batch if the provider has it already; where it has no list, what may be there is given up as lost."""
        try:
            return await self.api.find(batch.id, batch.file)
        except RequestFailedError as e:
            if e.status not in (404, 405):
                raise
            if batch.status == "creating":
                self._lose(batch, "it may have been created, and the server has no list of batches to check")
                raise RequestFailedError(RawResponse("refused", error=str(e))) from e
            return None

    def _input_file(self, batch: Batch) -> bytes:
        self._dialects[batch.id] = self.api.dialect
        return b"".join(self.api.input_line(call.key, call.request) for call in self.store.pending(batch.id))

    def _mark_submitted(self, batch: Batch, state: BatchState) -> bool:
        if not self.store.update(batch.id, status="submitted", provider=state.id, last_state=state.words):
            return False
        self.states[batch.id] = state
        progress.note("batch", f"{batch.n:,} requests are at {self.where} as {state.id!r}; Ctrl-C leaves them there")
        return True

    # Polling

    async def _poll(self, batch: Batch, n_submitted: int) -> bool:
        state = await self.api.retrieve(str(batch.provider))
        before, self.states[batch.id] = self.states.get(batch.id), state
        if state.status == "completed" and state.answered and not state.output and self._late_files[batch.id] < _LATE_FILES:
            self._late_files[batch.id] += 1
            return False
        if not state.is_over:
            if state.words != batch.last_state:
                self.store.update(batch.id, last_state=state.words)
            if before is None or (before.status, _tenth(before)) != (state.status, _tenth(state)):
                progress.note("batch", f"{state.id!r}: {state.words}")
            return before is None or before.words != state.words
        if state.status == "failed" and not state.output:
            self._handle_failed_batch(batch, state, n_submitted - 1)
        else:
            await self._collect(batch, state)
        return True

    async def _collect(self, batch: Batch, state: BatchState) -> None:
        """Download the results of a batch that is over, and record what came of each of its calls."""
        wanted = self.store.keys(batch.id)
        errors: dict[str, ResultLine] = {}
        n_strange, gone = 0, ""
        for file in filter(None, (state.output, state.errors)):
            try:
                lines = await self.api.download(file)
            except RequestFailedError as e:
                if e.status != 404:
                    raise
                gone = f"the provider no longer has its results: {e}"
                continue
            while some := list(islice(lines, _CHUNK)):
                errors |= {line.key: line for line in some if not line.raw}
                n_strange += sum(line.key not in wanted for line in some)
                self.store.record(batch.id, [(line.key, line.raw) for line in some if line.raw])
        self._read_replies(batch)
        outcomes = list(self._outcomes(batch, errors, state, gone))
        self.account.store_dialect()
        if self.store.close(batch.id, outcomes, last_state=state.words):
            without = f", {len(outcomes):,} of {batch.n:,} without a reply" if outcomes else ""
            strange = f", {n_strange:,} lines with unknown ids" if n_strange else ""
            progress.note("batch", f"{state.id!r}: {state.words}{without}{strange}")

    def _read_replies(self, batch: Batch) -> None:
        """Read what was recorded, and charge the tokens that it reports."""
        bounds = self._bounds.get(batch.id, {})
        while unread := self.store.unread(batch.id, _CHUNK):
            with self.account.ledger.transaction():
                for attempt, key, raw in unread:
                    reply = self.account.read_reply(raw, attempt, bound=bounds.pop(key, None), batched=True)
                    if reply.status == "failed":
                        self.errors[key] = RawResponse("answered", raw=raw, error=reply.error)

    def _outcomes(
        self, batch: Batch, errors: dict[str, ResultLine], state: BatchState, gone: str
    ) -> Iterator[tuple[int, str, str, str]]:
        """Yield what became of each call without a reply, for `BatchStore.close`."""
        bounds = self._bounds.get(batch.id, {})
        dialect = self._dialects.get(batch.id, self.api.dialect)
        for call in self.store.pending(batch.id):
            line, bound = errors.get(call.key), bounds.pop(call.key, None)
            response = self._response_without_reply(line, state, gone, call.request, dialect)
            self.errors[call.key] = response
            outcome = {"lost": "lost", "unsent": "unrun"}.get(response.outcome, "failed")
            if bound is not None and outcome != "lost":
                self.account.refund(bound, sent=outcome == "failed")
            yield call.attempt, outcome, response.error, line.line if line else ""

    def _response_without_reply(
        self, line: ResultLine | None, state: BatchState, gone: str, request: Request, dialect: Dialect
    ) -> RawResponse:
        if line is not None:
            return self.api.classify(line, request, dialect)
        if gone or state.status == "completed":
            return RawResponse("lost", error=gone or "the batch ended without a line for it")
        return RawResponse("unsent", error=f"the batch was {state.status} before this request was processed")

    # What goes wrong

    def _handle_failed_batch(self, batch: Batch, state: BatchState, n_others: int) -> None:
        """Take back a batch that failed as a whole, which was not run: go on with less at once, or say why not."""
        calls = self.store.pending(batch.id)
        dialect = self._dialects.get(batch.id, self.api.dialect)
        response = self.api.classify_failed_batch(state, calls[0].request if calls else None, dialect)
        self.drop(batch, response.error)
        if any(code == "token_limit_exceeded" for code, _ in state.problems):
            self._slow_down(batch, response.error, n_others)
        elif response.outcome not in ("refused", "adapted"):
            raise TeacherError(f"{self.where} refuses the batch: {response.error}")

    def _slow_down(self, batch: Batch, error: str, n_others: int) -> None:
        """Send less at once, after the provider said that too many tokens wait there."""
        if n_others <= 0 and batch.n == 1:
            raise TeacherError(f"{self.where} accepts no more tokens in batches: {error}; try again later, or use --mode live")
        self._max_submitted = max(1, n_others)
        if n_others <= 0:
            self.max_requests = max(1, batch.n // 2)
            self._not_before = asyncio.get_running_loop().time() + self.settings.longest
        progress.note(
            "batch", f"{self.where} has reached its limit of tokens in batches; continuing with fewer at once ({error})"
        )

    def _lose(self, batch: Batch, why: str) -> None:
        """Give up a batch of unknown fate; its calls stay charged."""
        pending = self.store.pending(batch.id)
        for call in pending:
            self._bounds.get(batch.id, {}).pop(call.key, None)
            self.errors[call.key] = RawResponse("lost", error=why)
        if self.store.close(batch.id, [(call.attempt, "lost", why, "") for call in pending], last_state=why):
            progress.note("batch", f"{batch.provider or batch.id!r}: {why}; {len(pending):,} calls stay charged")

    def _handle_failure(self, batch: Batch, error: RequestFailedError) -> None:
        """Wait where a failure may pass, and end the run where it will not."""
        response, making = error.response, batch.status != "submitted"
        if response.outcome in ("denied", "barred", "failed"):
            if not making and error.status == 404 and batch.created + _FORGOTTEN < self.account.ledger.now():
                self._lose(batch, "the provider no longer knows it")
                return
            if batch.status == "planned":  # one that an earlier run may have had made is not given up for this
                self.drop(batch, response.error)
            if making and error.status in (404, 405) and batch.id not in self._files_since:
                raise TeacherError(f"{self.where} has no batch interface ({response.error}): use --mode live") from error
            raise TeacherError(f"{self.where} refuses: {response.error}{response.advice}") from error
        self._failures_in_row += 1
        self.wait = response.retry_after or 0.0
        progress.note("batch", f"{self.where}: {response.error}; trying again")
        patience = _FAILED_POLLS if not making else _NOBODY_LISTENS if response.outcome == "unsent" else _FAILED_MAKINGS
        if self._failures_in_row >= patience:
            raise TeacherError(
                f"{self.where} cannot be reached: {response.error}; check the address and that the server is up"
            ) from error


def _tenth(state: BatchState) -> int:
    return 10 * state.done // state.total if state.total else 0
