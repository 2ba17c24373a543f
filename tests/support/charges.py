"""Single calls in a ledger, for tests of what is charged to a name."""

from __future__ import annotations

import json

from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec, Caps, CostBound
from curate.teachers.base import Usage

ELSEWHERE = json.dumps(["elsewhere", 1, ""])  # an owner of another machine: alive as long as its lease


def spec(n: int) -> CallSpec:
    """Return the spec of call `n`."""
    return CallSpec(f"{n:032x}", "local", "m", "rationale", "algebra", 0, "{}")


def bound(name: str, nano_usd: int | None = 7) -> CostBound:
    """Return a bound of 100 tokens for a name, in stage 0 of balance."""
    return CostBound(name, "balance", 0, 100, nano_usd)


def buy(ledger: Ledger, n: int, name: str, *, nano: int | None = 7, caps: Caps = Caps()) -> str:  # noqa: B008
    """Buy call `n` for a name at 15 tokens; return what the reservation says."""
    reservation = ledger.reserve(spec(n), bound(name, nano), caps, ELSEWHERE)
    if reservation.status == "granted":
        ledger.record(reservation.attempt, "raw")
        ledger.settle(reservation.attempt, Usage(10, 5), nano, "stop")
    return reservation.status
