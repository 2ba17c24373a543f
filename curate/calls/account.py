"""Keeps account of what one verb, in one stage, has with one teacher: bounds, charges, and replies that the ledger has already.

Sends nothing. Every raw reply, live, batched or stored, is parsed and charged here, in `Account.read_reply`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from curate import progress
from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec, Caps, Charged, CostBound
from curate.teachers.base import (
    RawResponse,
    Reply,
    Request,
    Teacher,
    Usage,
    call_key,
    canonical_json,
    prompt_token_bound,
)
from curate.teachers.complaints import Dialect
from curate.teachers.prices import NANO, Price, format_usd
from curate.teachers.responses import parse_response

__all__ = ["Account", "Refusals"]

_SAME = 10  # refusals in the same words, one after the other, that are no longer a matter of single rows
_BARRED = 3  # the same, with a status that usually means everybody, where nothing was ever answered
_ANY = 20  # refusals in any words, where nothing was ever answered
_OF_ONE_ROW = re.compile(r"""(?:"[^"]*"|'[^']*'|`[^`]*`|\S*\d\S*)""")  # quotations, numbers and ids, which differ from row to row


@runtime_checkable
class _Adapts(Protocol):
    """A teacher that learns what its server takes."""

    endpoint: str
    model: str
    dialect: Dialect


class Refusals:
    """Tells whether what a server refuses is one row's fault or everybody's.

    Once something was answered, a refusal is its row's, unless many rows one after the other are refused in exactly the same
    words. Where nothing ever was, the same refusal of the first rows is everybody's. A row that was sent before proves nothing.

    Args:
        answered: whether the model ever answered.
    """

    def __init__(self, answered: Callable[[], bool]) -> None:
        self._ask_answered = answered
        self._answered = False
        self._words, self._same, self._any = "", 0, 0

    def record_answer(self) -> None:
        """Note that something was answered."""
        self._answered, self._same, self._any = True, 0, 0

    @property
    def answered(self) -> bool:
        """Whether anything was ever answered, now or in an earlier run."""
        self._answered = self._answered or self._ask_answered()
        return self._answered

    def record(self, response: RawResponse, *, again: bool) -> bool:
        """Note that a row was refused; return whether everybody is.

        Args:
            response: what the server said.
            again: the same request was sent before.
        """
        if again:
            return False
        words = response.error if self.answered else _OF_ONE_ROW.sub("", response.error)
        self._same = self._same + 1 if words == self._words else 1
        self._words, self._any = words, self._any + 1
        if self._answered:
            return self._same >= _SAME
        return self._same >= (_BARRED if response.outcome == "barred" else _SAME) or self._any >= _ANY

    @property
    def summary(self) -> str:
        """Return how many were refused, for an error."""
        n = self._same if self._same > 1 else self._any
        return f"{n} requests one after the other were refused so" if n > 1 else ""


class Account:
    """What one verb, in one stage, has with one teacher.

    The sums are kept here as well as in the ledger, so that reading them costs nothing.

    Args:
        teacher: who answers.
        ledger: where every call is recorded.
        name: of the manifest that pays.
        caps: hard limits over everything ever charged to that name.
        verb: that asks; for the ledger's report.
        stage: from 0, or None.
        renewed: keys of calls that were asked for afresh, though the ledger had replies; None to take what it has.
    """

    def __init__(
        self,
        teacher: Teacher,
        ledger: Ledger,
        name: str,
        caps: Caps = Caps(),  # noqa: B008 - frozen
        verb: str = "",
        stage: int | None = None,
        renewed: set[str] | None = None,
    ) -> None:
        self.teacher, self.ledger, self.name, self.caps = teacher, ledger, name, caps
        self.verb, self.stage, self.renewed = verb, stage, renewed
        self.saved = 0  # replies that were not bought again
        self.bought = 0  # replies
        self.abandoned = 0  # sendings whose replies were not waited for
        self._calls = self._tokens = self._nano = 0
        self._open_tokens = self._open_nano = 0  # bounds of what is in flight
        self._before = ledger.charged(name)  # by others, and by earlier runs
        self.refusals = Refusals(lambda: ledger.has_answered(teacher.endpoint, teacher.model))
        self._longest = 0  # tokens of the longest reply that passed the limit that was asked for
        self._restore_dialect()

    @property
    def stage_number(self) -> int:
        """The stage as the ledger has it: -1 for none."""
        return -1 if self.stage is None else self.stage

    # What is known of the server

    def _restore_dialect(self) -> None:
        """Ask as an earlier run learned that the server wants to be asked."""
        teacher = self.teacher
        if (
            self.renewed is None
            and isinstance(teacher, _Adapts)
            and (known := self.ledger.find_dialect(teacher.endpoint, teacher.model))
        ):
            teacher.dialect = Dialect.from_json(known)

    def renew(self, keys: Iterable[str]) -> None:
        """Have the calls of some keys bought again, each once, where that was asked for."""
        if self.renewed is not None:
            new = set(keys) - self.renewed
            self.renewed |= new
            if n := self.ledger.forget(new):
                progress.note("ledger", f"{n:,} replies were there already and are asked for again (--fresh)")

    def store_dialect(self) -> None:
        """Write down what the server was found to take."""
        if isinstance(self.teacher, _Adapts):
            self.ledger.store_dialect(self.teacher.endpoint, self.teacher.model, self.teacher.dialect.to_json())

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows yet which parameters the server takes, though it may refuse some."""
        return isinstance(self.teacher, _Adapts) and self.teacher.dialect == Dialect() and not self.refusals.answered

    # What a request is, and what it may cost

    def key(self, request: Request) -> str:
        """Return the key under which the ledger knows a request."""
        return call_key(self.teacher.endpoint, self.teacher.model, canonical_json(self.teacher.shape(request)))

    def call_spec(self, request: Request) -> CallSpec:
        """Return what the ledger records about a request."""
        endpoint, model = self.teacher.endpoint, self.teacher.model
        shape = canonical_json(self.teacher.shape(request))
        return CallSpec(call_key(endpoint, model, shape), endpoint, model, request.purpose, request.domain, request.sample, shape)

    def bound(self, request: Request, *, batched: bool = False) -> CostBound:
        """Return the upper bound of what one sending of a request can cost, alone or in a batch, and who pays it."""
        prompt, price, reply = prompt_token_bound(request), self._price(batched), max(request.max_tokens, self._longest)
        nano = None if price is None else price.nano_usd(prompt, reply)
        return CostBound(self.name, self.verb, self.stage_number, prompt + reply, nano, request.refill)

    # What is charged

    def charged(self) -> Charged:
        """Return what this account was charged so far, calls in flight at their upper bounds."""
        usd = None if self.teacher.price is None else self._nano / NANO
        return Charged(self._calls, self._tokens, usd, self.saved)

    def progress_facts(self) -> dict[str, Any]:
        """Return figures for a progress event: calls; tokens and usd without what is in flight; saved; the nearest cap."""
        usd = None if self.teacher.price is None else (self._nano - self._open_nano) / NANO
        tokens = self._tokens - self._open_tokens
        return {"calls": self._calls, "tokens": tokens, "usd": usd, "saved": self.saved, "cap": self._nearest_cap()}

    def reserve(self, bound: CostBound) -> None:
        """Charge a sending at its upper bound."""
        self._add(bound, 1)

    def start(self, bound: CostBound) -> None:
        """Charge a sending at its upper bound, and count it as in flight."""
        self._add(bound, 1)
        self._open_tokens += bound.tokens
        self._open_nano += bound.nano_usd or 0

    def finish(self, bound: CostBound) -> None:
        """Count a sending as no longer in flight; what it is charged by now stays."""
        self._open_tokens -= bound.tokens
        self._open_nano -= bound.nano_usd or 0

    def refund(self, bound: CostBound, *, sent: bool) -> None:
        """Take the bound of a sending without a reply off again; it stays a call where it was `sent`."""
        self._add(bound, -1)
        self._calls += sent

    def interruption_message(self, *, batched: bool = False) -> str:
        """Return what an interruption leaves, in words; `batched` where batches may be at the provider."""
        left = f"{self.abandoned:,} in flight stay charged at their upper bounds" if self.abandoned else "none is in flight"
        left = "batches stay at the provider" if batched else left
        return f"calls bought and kept: {self.bought:,}, {left}; run the same command again to continue"

    # Replies

    def read_reply(
        self,
        raw: str,
        attempt: int,
        *,
        call_id: int | None = None,
        bound: CostBound | None = None,
        batched: bool = False,
        cached: bool = False,
        billed: bool = False,
        limit: int | None = None,
        write: Callable[[Callable[[], None]], object] = lambda write: write(),
    ) -> Reply:
        """Parse a reply that the ledger has recorded, and charge the tokens that it reports.

        A reply that cannot be parsed comes back as ``failed``: it stays charged at its bound, and its call may be sent again.

        Args:
            raw: body of the reply.
            attempt: number of the sending that it answers.
            call_id: of its call.
            bound: that this account is charged for it, replaced by what the reply reports; None where it is charged none.
            batched: whether it came in a batch, at the price of batches.
            cached: whether it was bought before this account asked for it.
            billed: whether the ledger knows already what it cost.
            limit: tokens that were asked for at most.
            write: does a write to the ledger, now or soon; now unless given.
        """
        parsed = parse_response(raw)
        usage, price = parsed.usage, self._price(batched)
        nano = price.nano_usd(usage.prompt, usage.completion, usage.cached) if usage and price else None
        if bound is not None and usage is not None:
            self._tokens += usage.total - bound.tokens
            self._nano += (nano or 0) - (bound.nano_usd or 0)
        if parsed.error:
            tokens = usage.total if usage is not None else 0 if parsed.unbilled else None
            nano = nano if usage is not None else 0
            if bound is not None and parsed.unbilled and usage is None:
                self._add(bound, -1)
                self._calls += 1
            write(partial(self.ledger.reject, attempt, parsed.error, tokens=tokens, nano_usd=nano))
            return Reply(status="failed", error=parsed.error, call_id=call_id)
        if not billed:
            write(partial(self.ledger.settle, attempt, usage, nano, parsed.finish_reason))
        if bound is not None:
            self.bought += 1
        if limit is not None and usage is not None and usage.completion > limit:
            self._note_longer(usage.completion, limit)
        return Reply(
            text=parsed.text,
            usage=usage or Usage(),
            call_id=call_id,
            finish_reason=parsed.finish_reason,
            seeds=parsed.seeds,
            cached=cached,
        )

    def take_stored(self, keys: Iterable[str], *, cached: bool = True) -> dict[str, Reply]:
        """Return the replies that the ledger has for some of the keys; one that cannot be parsed is marked so and left out.

        Args:
            keys: of calls.
            cached: whether they were bought before this account asked for them, and so count as saved.
        """
        replies: dict[str, Reply] = {}
        with self.ledger.transaction():  # one for everything that has to be written about them
            for found in self.ledger.find_each(keys):
                for key, stored in found.items():
                    reply = self.read_reply(
                        stored.raw,
                        stored.attempt,
                        call_id=stored.call_id,
                        batched=stored.batched,
                        cached=cached,
                        billed=stored.billed,
                    )
                    if reply.status == "answered":
                        replies[key] = reply
            if cached:
                calls = [reply.call_id for reply in replies.values() if reply.call_id is not None]
                self.ledger.hit(calls, self.name, self.verb, self.stage_number)
                self.saved += len(calls)
        return replies

    def _note_longer(self, tokens: int, limit: int) -> None:
        """Reserve more from now on, after a reply that passed its limit, so that the caps go on holding."""
        if tokens > self._longest:
            if not self._longest:
                progress.note(
                    "teacher",
                    f"{self.teacher.endpoint!r} does not keep to the length of a reply: {tokens:,} tokens, at most {limit:,} "
                    "were asked for; as much is reserved for each from now on",
                )
            self._longest = tokens

    def _add(self, bound: CostBound, sign: int) -> None:
        self._calls += sign
        self._tokens += sign * bound.tokens
        self._nano += sign * (bound.nano_usd or 0)

    def _price(self, batched: bool) -> Price | None:
        price = self.teacher.price
        return price.batched() if price and batched else price

    def _nearest_cap(self) -> str:
        """Return the cap of which the largest share is charged, such as ``$0.41 of $2.00 (--max-usd)``; empty without one."""
        before, caps = self._before, self.caps
        figures: list[tuple[float, float | None, Callable[[Any], str], str]] = [
            (before.calls + self._calls, caps.calls, "{:,}".format, "--max-calls"),
            (before.tokens + self._tokens, caps.tokens, "{:,}".format, "--max-tokens"),
            ((before.usd or 0.0) + self._nano / NANO, caps.usd, format_usd, "--max-usd"),
        ]
        shares = [
            (charged / cap if cap else 1.0, f"{words(charged)} of {words(cap)} ({option})")
            for charged, cap, words, option in figures
            if cap is not None
        ]
        return max(shares)[1] if shares else ""
