"""Owns a teacher's tab in the ledger: what is ordered of it, what that may cost at most, and what it came to. Sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec, Caps, Charged, CostBound, StoredReply
from curate.teachers.base import (
    ParsedResponse,
    Reply,
    Request,
    Teacher,
    Usage,
    call_key,
    canonical_json,
    parse_response,
    prompt_token_bound,
)
from curate.teachers.prices import NANO, Price

__all__ = ["Account", "reply_of"]


class Account:
    """What one verb, in one stage, has with one teacher.

    The sums are kept here as well as in the ledger, so that looking at them costs nothing.

    Args:
        teacher: who answers.
        ledger: where every call is written down.
        name: of the manifest that pays.
        caps: hard limits over everything ever charged to that name.
        verb: that asks; for the ledger's report.
        stage: from 0, or None.
    """

    def __init__(self, teacher: Teacher, ledger: Ledger, name: str, caps: Caps, verb: str, stage: int | None) -> None:
        self.teacher, self.ledger, self.name, self.caps = teacher, ledger, name, caps
        self.verb, self.stage = verb, stage
        self.saved = 0
        self.bought = 0  # replies
        self.left = 0  # sendings whose replies were not waited for
        self._calls = self._tokens = self._nano = 0
        self._open_tokens = self._open_nano = 0  # bounds of what is under way
        self._before = ledger.charged(name)  # by others, and by earlier runs

    def key(self, request: Request) -> str:
        """Return the key under which the ledger knows a request."""
        return call_key(self.teacher.endpoint, self.teacher.model, canonical_json(self.teacher.shape(request)))

    def order(self, request: Request) -> CallSpec:
        """Return what the ledger writes down about a request."""
        endpoint, model = self.teacher.endpoint, self.teacher.model
        told = canonical_json(self.teacher.shape(request))
        return CallSpec(call_key(endpoint, model, told), endpoint, model, request.purpose, request.domain, request.sample, told)

    def charge(self, request: Request, *, batched: bool = False) -> CostBound:
        """Return the upper bound of what one sending of a request can cost, alone or in a batch, and who pays it."""
        prompt, price = prompt_token_bound(request), self._price(batched)
        nano = None if price is None else price.nano_usd(prompt, request.max_tokens)
        stage, bound = -1 if self.stage is None else self.stage, prompt + request.max_tokens
        return CostBound(self.name, self.verb, stage, bound, nano, request.refill)

    def spend(self) -> Charged:
        """Return what this account was charged so far, calls under way at their upper bounds."""
        return Charged(self._calls, self._tokens, self._usd(), self.saved)

    def facts(self) -> dict[str, Any]:
        """Return what progress tells of the tab: calls; tokens and usd without what is under way; saved; the cap in words."""
        usd = None if self.teacher.price is None else (self._nano - self._open_nano) / NANO
        tokens = self._tokens - self._open_tokens
        return {"calls": self._calls, "tokens": tokens, "usd": usd, "saved": self.saved, "cap": self._cap()}

    def begin(self, charge: CostBound) -> None:
        """Put the upper bound of a sending on the tab."""
        self.add(charge)
        self._open_tokens += charge.tokens
        self._open_nano += charge.nano_usd or 0

    def end(self, charge: CostBound) -> None:
        """A sending is no longer under way; what it is charged by now stays."""
        self._open_tokens -= charge.tokens
        self._open_nano -= charge.nano_usd or 0

    def add(self, charge: CostBound, sign: int = 1) -> None:
        """Put the upper bound of a sending on the tab; take it off again with a `sign` of -1."""
        self._calls += sign
        self._tokens += sign * charge.tokens
        self._nano += sign * (charge.nano_usd or 0)

    def free(self, charge: CostBound, *, sent: bool) -> None:
        """Take the bound of a refused sending off the tab; it stays a call if it was `sent`."""
        self.add(charge, -1)
        self._calls += sent

    def correct(self, charge: CostBound, reading: ParsedResponse, *, batched: bool = False) -> None:
        """Put what a reply says it used in the place of its bound."""
        self.bought += 1
        if reading.usage is not None:
            self._tokens += reading.usage.total - charge.tokens
            self._nano += (self._cost(reading, batched) or 0) - (charge.nano_usd or 0)

    def kept(self, *, batched: bool = False) -> str:
        """Say what an interruption leaves, in words; `batched` where batches may be under way."""
        left = f"{self.left:,} in flight stay charged at their upper bounds" if self.left else "none is in flight"
        left = "batches stay at the provider" if batched else left
        return f"calls bought and kept: {self.bought:,}, {left}; the same command goes on from there"

    def settle(self, attempt: int, reading: ParsedResponse, *, batched: bool = False) -> None:
        """Have the ledger charge what a reply says it used."""
        self.ledger.settle(attempt, reading.usage, self._cost(reading, batched), reading.finish_reason)

    def read_stored(self, stored: StoredReply) -> Reply | None:
        """Read an answer that is at hand; None, and written down, where nobody can read it."""
        reading = parse_response(stored.raw)
        if reading.error:
            self.ledger.reject(stored.attempt, reading.error)
            return None
        if not stored.billed:
            self.settle(stored.attempt, reading, batched=stored.batched)
        return reply_of(reading, stored.call_id, cached=True)

    def count_hits(self, call_ids: Sequence[int]) -> None:
        """Count answers that were at hand."""
        self.ledger.hit(call_ids, self.name, self.verb, -1 if self.stage is None else self.stage)
        self.saved += len(call_ids)

    def _price(self, batched: bool) -> Price | None:
        price = self.teacher.price
        return price.batched() if price and batched else price

    def _cost(self, reading: ParsedResponse, batched: bool) -> int | None:
        used, price = reading.usage, self._price(batched)
        return price.nano_usd(used.prompt, used.completion, used.cached) if used and price else None

    def _usd(self) -> float | None:
        return None if self.teacher.price is None else self._nano / NANO

    def _cap(self) -> str:
        """Return the cap of which the largest share is charged, such as ``$0.41 of $2.00 (--max-usd)``; empty without one."""
        before, caps = self._before, self.caps
        tokens, spent = before.tokens + self._tokens, (before.usd or 0.0) + self._nano / NANO
        digits = 2 if (caps.usd or 0) >= 1 else 4
        told = [
            (before.calls + self._calls, caps.calls, "{:,} of {:,} (--max-calls)"),
            (tokens, caps.tokens, "{:,} of {:,} (--max-tokens)"),
            (spent, caps.usd, f"${{:,.{digits}f}} of ${{:,.{digits}f}} (--max-usd)"),
        ]
        shares = [(charged / cap if cap else 1.0, words.format(charged, cap)) for charged, cap, words in told if cap is not None]
        return max(shares)[1] if shares else ""


def reply_of(reading: ParsedResponse, call_id: int, *, cached: bool) -> Reply:
    """Return what an account hands back for a reply that was read."""
    return Reply(
        text=reading.text,
        usage=reading.usage or Usage(),
        call_id=call_id,
        finish_reason=reading.finish_reason,
        seeds=reading.seeds,
        cached=cached,
    )
