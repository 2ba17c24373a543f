"""The records that the ledger takes and returns: calls, caps, bounds, reservations, stored replies, sums. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["CallSpec", "Caps", "Charged", "CostBound", "CostTotals", "Reservation", "StoredReply"]


@dataclass(frozen=True)
class Caps:
    """Hard caps over everything ever charged to a manifest's name; None for no cap. `usd` in dollars."""

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True)
class CallSpec:
    """One call to be bought: its key, and what is recorded about it.

    Attributes:
        key: of everything that shapes the reply, see `curate.teachers.base.call_key`.
        endpoint, model: who is asked.
        purpose: ``"rationale"`` or ``"synthesis"``.
        domain: of the row.
        sample: number of the reply wanted, from 0.
        request: everything that shapes the reply, as canonical JSON.
    """

    key: str
    endpoint: str
    model: str
    purpose: str
    domain: str
    sample: int
    request: str


@dataclass(frozen=True)
class CostBound:
    """Who pays for one sending of a call, and how much at most.

    Attributes:
        name: of the manifest.
        verb: that asks.
        stage: from 0, or -1 for none.
        tokens: upper bound of prompt and completion.
        nano_usd: upper bound in billionths of a dollar, or None where the model has no price.
        refill: whether it is asked in place of something that was rejected.
    """

    name: str
    verb: str
    stage: int
    tokens: int
    nano_usd: int | None
    refill: bool = False


@dataclass(frozen=True)
class Reservation:
    """What `Ledger.reserve` says.

    Attributes:
        status: ``granted`` (send it), ``answered`` (another process bought it meanwhile), ``busy`` (another owner has it in
            flight) or ``capped``.
        attempt: its number where granted.
        call_id: of the call where granted.
        cap: which cap would be exceeded, in words.
        again: the same call was sent before, now or in an earlier run.
    """

    status: Literal["granted", "answered", "busy", "capped"]
    attempt: int = 0
    call_id: int = 0
    cap: str = ""
    again: bool = False


class StoredReply(NamedTuple):
    """The reply of a call as the ledger keeps it; `billed` is False where nobody has read it yet."""

    call_id: int
    attempt: int
    raw: str
    billed: bool
    batched: bool = False  # bought in a batch, at its price


@dataclass(frozen=True)
class Charged:
    """What was charged: by one command in one stage, or ever to a manifest's name.

    Attributes:
        calls: sendings, retries included.
        tokens: of prompts and completions; calls in flight and lost ones at their upper bounds.
        usd: dollars, or None where the model has no price.
        saved: replies that were in the ledger already and were not bought again.
    """

    calls: int = 0
    tokens: int = 0
    usd: float | None = 0.0
    saved: int = 0


@dataclass(frozen=True)
class CostTotals:
    """What was charged to one manifest's name, in all or for one stage, domain, model, verb, purpose or cause.

    Attributes:
        calls: sendings, retries included, as the caps count them.
        attempts: all of them, those too that never left.
        answered, failed, lost, under_way: attempts by what became of them; lost ones stay charged at their upper bound, as
            do those in flight.
        tokens: charged.
        usd: dollars charged, or None where no model had a price.
        prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens: as the replies tell.
        lost_tokens, lost_usd: of `tokens` and `usd`, what lost attempts stay charged.
        under_way_tokens, under_way_usd: what is reserved for attempts in flight.
        saved_calls, saved_tokens: what replies that were in the ledger already would have cost again; each counts once for a
            verb and stage.
        saved: the same in dollars, or None where no model had a price.
    """

    calls: int = 0
    attempts: int = 0
    answered: int = 0
    failed: int = 0
    lost: int = 0
    under_way: int = 0
    tokens: int = 0
    usd: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    lost_tokens: int = 0
    lost_usd: float | None = None
    under_way_tokens: int = 0
    under_way_usd: float | None = None
    saved_calls: int = 0
    saved_tokens: int = 0
    saved: float | None = None
