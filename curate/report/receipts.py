"""Owns what was bought, call by call: what was asked, what came, what it cost. Reads the ledger and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curate.errors import InputError
from curate.ledger.ledger import existing_ledger
from curate.manifest.manifest import Manifest, find_root
from curate.teachers import base as calls
from curate.teachers.prices import NANO

__all__ = ["Call", "Receipt", "Receipts", "iso", "read_call", "read_receipts"]


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
    name, place = (manifest, find_root(root)) if isinstance(manifest, str) else (manifest.name, manifest.root)
    ledger = existing_ledger(place)
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
    place = find_root(root) if isinstance(manifest, str) else manifest.root
    unknown = InputError(f"the ledger has no call {call_id}: curate ledger {manifest} --calls lists them")
    ledger = existing_ledger(place)
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
    call, started, verb, stage, *told, tokens, nano, error, raw = row
    domain, purpose, sample, cause, model, status, finish_reason = told
    reading = None if raw is None else calls.read(raw)
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
