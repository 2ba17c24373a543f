"""`curate ledger`: what was charged to a manifest's name, read from the ledger: sums, and single calls.

`read_costs` sums, in all and by stage, domain, model and so on; `read_receipts` lists every sending of a call; `read_call` is one
call in full. One thing is written: calls that were under way in a process that no longer runs are marked as lost.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curate.calls import estimates
from curate.calls.estimates import EstimateVsActual
from curate.errors import InputError, LedgerError
from curate.files import find_root
from curate.ledger.batches import OPEN
from curate.ledger.ledger import Ledger, existing_ledger
from curate.ledger.records import CostTotals
from curate.manifest.manifest import Manifest
from curate.teachers import prices
from curate.teachers.prices import NANO
from curate.teachers.responses import parse_response

__all__ = ["Call", "CostSummary", "OpenBatch", "Receipt", "Receipts", "iso", "read_call", "read_costs", "read_receipts"]

_COUNTED = """COALESCE(SUM(a.calls), 0), COUNT(*), COUNT(*) FILTER (WHERE a.status = 'answered'),
    COUNT(*) FILTER (WHERE a.status = 'failed'), COUNT(*) FILTER (WHERE a.status = 'lost'),
    COUNT(*) FILTER (WHERE a.status = 'sent'), COALESCE(SUM(a.tokens), 0), SUM(a.nano_usd) / 1e9,
    COALESCE(SUM(a.prompt_tokens), 0), COALESCE(SUM(a.cached_tokens), 0), COALESCE(SUM(a.completion_tokens), 0),
    COALESCE(SUM(a.reasoning_tokens), 0),
    COALESCE(SUM(a.tokens) FILTER (WHERE a.status = 'lost'), 0), SUM(a.nano_usd) FILTER (WHERE a.status = 'lost') / 1e9,
    COALESCE(SUM(a.tokens) FILTER (WHERE a.status = 'sent'), 0), SUM(a.nano_usd) FILTER (WHERE a.status = 'sent') / 1e9"""
_SAVED = "SUM(h.n), COALESCE(SUM(h.n * a.tokens), 0), SUM(h.n * a.nano_usd) / 1e9"
# What the sums are grouped by: the column of an attempt, and of an answer that was given again ("" for none).
_GROUPS = {
    "stage": ("a.stage", "h.stage"),
    "domain": ("c.domain", "c.domain"),
    "model": ("c.model", "c.model"),
    "verb": ("a.verb", "h.verb"),
    "purpose": ("c.purpose", "c.purpose"),
    "cause": ("a.cause", ""),
}


@dataclass(frozen=True)
class OpenBatch:
    """A batch whose results are not written down yet.

    Attributes:
        provider: the provider's name of it; None where it was not made yet.
        model: that is asked.
        calls: in it.
        created: when, UTC, in ISO 8601.
    """

    provider: str | None
    model: str
    calls: int
    created: str


@dataclass(frozen=True)
class CostSummary(CostTotals):
    """Everything charged to one manifest's name.

    Attributes:
        billed_usd: dollars that replies cost, or None where no model had a price: `usd` without what is lost or under way.
        finish_reasons: replies by how they ended: ``"stop"``, ``"length"`` (cut by the token limit), ``"content_filter"``,
            ``"refusal"``, or what the server says.
        listed: models priced by the table of this package, and the day of that price, which may have changed since.
        estimates: made when work began, with what was billed since; the newest of each verb and stage.
        batches: under way at the provider; their calls are among those under way.
        by: the figures by stage ("-1" for none), domain, model, verb, purpose and cause ("new", "retry", "refill").
    """

    billed_usd: float | None = None
    finish_reasons: dict[str, int] = field(default_factory=dict)
    listed: dict[str, str] = field(default_factory=dict)
    estimates: list[EstimateVsActual] = field(default_factory=list)
    batches: list[OpenBatch] = field(default_factory=list)
    by: dict[str, dict[str, CostTotals]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that ``--json`` promises."""
        return {**asdict(self), "estimates": [reckoned.to_dict() for reckoned in self.estimates]}


def read_costs(manifest: Manifest | str, *, root: str | Path | None = None) -> CostSummary:
    """Return what was charged to a manifest's name; nothing where no teacher was ever asked.

    Args:
        manifest: a handle, or a name.
        root: folder that holds ``manifests/``, for a name.
    """
    name, home = (manifest, find_root(root)) if isinstance(manifest, str) else (manifest.name, manifest.root)
    ledger = existing_ledger(home)
    if ledger is None:
        return CostSummary()
    try:
        with contextlib.suppress(LedgerError):  # another machine is at work in it; then nothing is known to be lost
            ledger.sweep(name)
        total = _totals(ledger, name, "0", "0").get("0", CostTotals())
        return CostSummary(
            **asdict(total),
            billed_usd=None if total.usd is None else total.usd - (total.lost_usd or 0) - (total.under_way_usd or 0),
            finish_reasons=_finish_reasons(ledger, name),
            listed=_listed(ledger, name, home),
            estimates=estimates.compare_with_bill(ledger, name),
            batches=_batches(ledger, name),
            by={group: _totals(ledger, name, *columns) for group, columns in _GROUPS.items()},
        )
    finally:
        ledger.close()


def _totals(ledger: Ledger, name: str, attempts_by: str, hits_by: str) -> dict[str, CostTotals]:
    """Return the sums by one column, in its order."""
    sql = f"SELECT {attempts_by}, {_COUNTED} FROM attempts a JOIN calls c ON c.id = a.call WHERE a.name = ? GROUP BY 1"
    found = {part: CostTotals(*sums) for part, *sums in ledger.query(sql, (name,))}
    for part, calls, tokens, usd in _hits(ledger, name, hits_by) if hits_by else ():
        had = found.get(part, CostTotals())
        found[part] = replace(had, saved_calls=calls, saved_tokens=tokens, saved=usd)
    return {str(part): found[part] for part in sorted(found)}


def _hits(ledger: Ledger, name: str, by: str) -> Iterable[tuple[str | int, int, int, float | None]]:
    sql = f"SELECT {by}, {_SAVED} FROM hits h JOIN calls c ON c.id = h.call JOIN attempts a ON a.id = c.answer"
    return ledger.query(f"{sql} WHERE h.name = ? GROUP BY 1", (name,))


def _finish_reasons(ledger: Ledger, name: str) -> dict[str, int]:
    sql = "SELECT finish_reason, COUNT(*) FROM attempts WHERE name = ? AND finish_reason > '' GROUP BY 1 ORDER BY 2 DESC, 1"
    return dict(ledger.query(sql, (name,)))


def _batches(ledger: Ledger, name: str) -> list[OpenBatch]:
    sql = f"SELECT provider, model, n, created FROM batches WHERE name = ? AND status IN {OPEN} ORDER BY created, id"
    return [OpenBatch(provider, model, n, iso(created)) for provider, model, n, created in ledger.query(sql, (name,))]


def _listed(ledger: Ledger, name: str, root: str) -> dict[str, str]:
    """Return the models whose price is the table's, each with the day of its price."""
    sql = "SELECT DISTINCT c.model, c.endpoint FROM attempts a JOIN calls c ON c.id = a.call WHERE a.name = ? AND a.nano_usd > 0"
    asked = [(model, prices.find(model, endpoint, root=root)) for model, endpoint in ledger.query(sql, (name,))]
    return {model: price.as_of for model, price in sorted(asked, key=lambda pair: pair[0]) if price is not None and price.as_of}


@dataclass(frozen=True)
class Receipt:
    """One sending of a call.

    Attributes:
        call_id: of the call, as the manifest's rows name it.
        sent: when, UTC, in ISO 8601.
        verb: that asked.
        stage: from 0, or None.
        domain, purpose, sample: see `curate.teachers.base.Request`.
        cause: ``"new"``, ``"retry"`` or ``"refill"``; ``"import"`` for an answer from another ledger.
        model: that was asked.
        status: ``"answered"``, ``"failed"``, ``"lost"`` or ``"sent"`` (under way).
        finish_reason: of the reply, or None.
        tokens: charged.
        usd: charged, or None where the model has no price.
        error: why there is no answer, or None.
        reply: text of the answer, or None.
    """

    call_id: int
    sent: str
    verb: str
    stage: int | None
    domain: str
    purpose: str
    sample: int
    cause: str
    model: str
    status: str
    finish_reason: str | None
    tokens: int
    usd: float | None
    error: str | None
    reply: str | None


@dataclass(frozen=True)
class Receipts:
    """Every sending that was charged to one manifest's name, in the order of sending."""

    name: str
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True)
class Call:
    """One call in full.

    Attributes:
        call_id: of the call.
        endpoint, model: who was asked.
        key: of the ledger.
        request: everything that shapes the answer.
        raw: the reply as it came, or None.
        receipts: its sendings, for whomever.
    """

    call_id: int
    endpoint: str
    model: str
    key: str
    request: dict[str, Any]
    raw: str | None
    receipts: tuple[Receipt, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``; the reply as the object that it is."""
        return {**asdict(self), "raw": _body(self.raw)}


_RECEIPT = (
    "SELECT c.id, a.started, a.verb, a.stage, c.domain, c.purpose, c.sample, a.cause, c.model, a.status, a.finish_reason, "
    "a.tokens, a.nano_usd, a.error, r.raw FROM attempts a JOIN calls c ON c.id = a.call LEFT JOIN replies r ON r.attempt = a.id"
)


def read_receipts(manifest: Manifest | str, *, root: str | Path | None = None) -> Receipts:
    """Return every sending that was charged to a manifest's name; none where no teacher was ever asked.

    Args:
        manifest: a handle, or a name.
        root: folder that holds ``manifests/``, for a name.
    """
    name, home = (manifest, find_root(root)) if isinstance(manifest, str) else (manifest.name, manifest.root)
    ledger = existing_ledger(home)
    if ledger is None:
        return Receipts(name, ())
    rows = ledger.query(f"{_RECEIPT} WHERE a.name = ? ORDER BY a.started, a.id", (name,))
    ledger.close()
    return Receipts(name, _receipts(rows))


def read_call(manifest: Manifest | str, call_id: int, *, root: str | Path | None = None) -> Call:
    """Return one call in full: what was asked, every sending of it, and the reply as it came.

    Args:
        manifest: a handle, or a name.
        call_id: as `read_receipts`, ``explain`` and the manifest's rows name it.
        root: folder that holds ``manifests/``, for a name.

    Raises:
        InputError: the ledger has no such call.
    """
    home = find_root(root) if isinstance(manifest, str) else manifest.root
    unknown = InputError(f"the ledger has no call {call_id}: curate ledger {manifest} --calls lists them")
    ledger = existing_ledger(home)
    if ledger is None:
        raise unknown
    sql = "SELECT c.endpoint, c.model, c.key, c.request, r.raw FROM calls c LEFT JOIN replies r ON r.attempt = c.answer"
    found = ledger.query(f"{sql} WHERE c.id = ?", (call_id,))
    sent = _receipts(ledger.query(f"{_RECEIPT} WHERE a.call = ? ORDER BY a.started, a.id", (call_id,)))
    ledger.close()
    if not found:
        raise unknown
    endpoint, model, key, request, raw = found[0]
    return Call(call_id, endpoint, model, key, json.loads(request), raw, sent)


def _receipts(rows: Iterable[tuple[Any, ...]]) -> tuple[Receipt, ...]:
    return tuple(map(_receipt, rows))


def _receipt(row: tuple[Any, ...]) -> Receipt:
    call, started, verb, stage, domain, purpose, sample, cause, model, status, finish_reason, tokens, nano, error, raw = row
    reading = None if raw is None else parse_response(raw)
    reply = reading.text if reading is not None and not reading.error else None
    return Receipt(
        call_id=call,
        sent=iso(started),
        verb=verb,
        stage=None if stage < 0 else stage,
        domain=domain,
        purpose=purpose,
        sample=sample,
        cause=cause,
        model=model,
        status=status,
        finish_reason=finish_reason,
        tokens=tokens,
        usd=None if nano is None else nano / NANO,
        error=error,
        reply=reply,
    )


def iso(time: float) -> str:
    """Return a time of the ledger, seconds since 1970, as UTC in ISO 8601."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")


def _body(raw: str | None) -> Any:
    try:
        return None if raw is None else json.loads(raw)
    except ValueError:
        return raw
