"""Keeps batches in the ledger: planned, made, submitted, over. Sends nothing.

A batch is written down, with its calls reserved, before anything is sent; its own name goes to the provider, so that it is
found again whatever happens. One run at a time holds a batch, by a lease, and whoever has lost the lease can write nothing
more about it. The attempts of a batch are not lost when a process dies: they are at the provider.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from curate.ledger.leases import LeaseMonitor, this_process
from curate.ledger.ledger import LEASE, Ledger
from curate.ledger.records import CallSpec, Caps, CostBound
from curate.teachers.base import Request

__all__ = ["OPEN", "Batch", "BatchStore", "PendingCall", "PlannedBatches"]

OPEN = "('planned', 'creating', 'submitted')"  # in SQL
_COLUMNS = "id, name, n, status, file, provider, told, created"

# planned     written down and reserved; nothing was sent, or an input file at most
# creating    the provider was asked to make it, and may have done so
# submitted   the provider has it, under the name in `provider`
# done        its results are written down
# dropped     it was never made, or failed as a whole: nothing was billed
Status = Literal["planned", "creating", "submitted", "done", "dropped"]


@dataclass(frozen=True)
class Batch:
    """One batch as the ledger has it; see the table in `curate.ledger.schema`, where `last_state` is the column `told`."""

    id: str
    name: str
    n: int
    status: Status
    file: str | None
    provider: str | None
    last_state: str | None  # what the provider said of it last
    created: float


@dataclass(frozen=True)
class PendingCall:
    """One call of a batch that has no reply yet: its attempt, what was asked, and the bound that it is charged."""

    key: str
    attempt: int
    request: Request
    bound: CostBound


@dataclass(frozen=True)
class PlannedBatches:
    """What could be planned: names of the batches, calls in them, and the cap that was reached, in words."""

    batches: tuple[str, ...] = ()
    n: int = 0
    cap: str = ""


class _TooFewError(Exception):
    """Raised inside a transaction to take it back."""


class BatchStore:
    """The batches of a ledger, as one run sees and holds them.

    Args:
        ledger: that they are written in.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self._holder = ledger, uuid.uuid4().hex
        self._monitor = LeaseMonitor(LEASE / 2)

    def plan(self, groups: Iterable[Sequence[tuple[CallSpec, CostBound]]], caps: Caps, *, least: int = 0) -> PlannedBatches:
        """Reserve calls and write down a batch for each group, all or nothing; calls that others have in flight are left out.

        Args:
            groups: calls with their bounds.
            caps: hard limits; from the first call that would pass one, nothing is taken.
            least: where a cap leaves fewer calls than this, nothing is planned.
        """
        made, n, cap = [], 0, ""
        try:
            with self.ledger.transaction():
                for group in groups:
                    name, count, cap = self._plan_one(group, caps)
                    made += [name] if count else []
                    n += count
                    if cap:
                        break
                if cap and n < least:
                    raise _TooFewError
        except _TooFewError:
            return PlannedBatches(cap=cap)
        return PlannedBatches(tuple(made), n, cap)

    def _plan_one(self, group: Sequence[tuple[CallSpec, CostBound]], caps: Caps) -> tuple[str, int, str]:
        ledger, name, taken, cap = self.ledger, uuid.uuid4().hex, [], ""
        for spec, bound in group:
            reservation = ledger.reserve(spec, bound, caps, this_process())
            cap = reservation.cap
            if cap:
                break
            if reservation.status == "granted":
                taken.append((name, reservation.attempt))
        if taken:
            spec, bound = group[0]
            now = ledger.now()
            with ledger.transaction() as db:
                db.executemany("UPDATE attempts SET batch = ? WHERE id = ?", taken)
                db.execute(
                    "INSERT INTO batches (id, name, endpoint, model, n, status, owner, holder, lease, created) "
                    "VALUES (?, ?, ?, ?, ?, 'planned', ?, ?, ?, ?)",
                    (name, bound.name, spec.endpoint, spec.model, len(taken), this_process(), self._holder, now + LEASE, now),
                )
        return name, len(taken), cap

    def open_batches(self, endpoint: str, model: str) -> list[Batch]:
        """Return the batches of a teacher whose results are not written down, oldest first."""
        sql = f"SELECT {_COLUMNS} FROM batches WHERE endpoint = ? AND model = ? AND status IN {OPEN} ORDER BY created, id"
        return [Batch(*row) for row in self.ledger.query(sql, (endpoint, model))]

    def pending(self, batch: str) -> list[PendingCall]:
        """Return the calls of a batch that have no reply yet, in the order in which they were reserved."""
        sql = (
            "SELECT c.key, c.purpose, c.domain, c.request, a.id, a.name, a.verb, a.stage, a.reserved_tokens, a.reserved_nano_usd "
            "FROM attempts a JOIN calls c ON c.id = a.call WHERE a.batch = ? AND a.status = 'sent' ORDER BY a.id"
        )
        return [
            PendingCall(key, attempt, _request(purpose, domain, json.loads(shape)), CostBound(*bound))
            for key, purpose, domain, shape, attempt, *bound in self.ledger.query(sql, (batch,))
        ]

    def keys(self, batch: str) -> set[str]:
        """Return the keys of a batch's calls."""
        sql = "SELECT c.key FROM attempts a JOIN calls c ON c.id = a.call WHERE a.batch = ?"
        return {key for (key,) in self.ledger.query(sql, (batch,))}

    def claim(self, batch: str) -> Batch | None:
        """Hold an open batch, or go on holding it; None where another run that is at work holds it, or it is over."""
        sql = f"SELECT {_COLUMNS}, owner, holder, lease FROM batches WHERE id = ? AND status IN {OPEN}"
        rows, now = self.ledger.query(sql, (batch,)), self.ledger.now()
        if not rows:
            return None
        *columns, owner, holder, lease = rows[0]
        if holder == self._holder and now + LEASE / 2 < lease <= now + LEASE:  # which needs no writing
            return Batch(*columns)
        if holder not in ("", self._holder) and not self._monitor.is_gone(int(batch[:12], 16), owner, lease, now):
            return None
        with self.ledger.transaction() as db:
            sql = (
                "UPDATE batches SET owner = ?, holder = ?, lease = ? "
                f"WHERE id = ? AND holder = ? AND lease = ? AND status IN {OPEN} RETURNING {_COLUMNS}"
            )
            values = (this_process(), self._holder, now + LEASE, batch, holder, lease)
            row = db.execute(sql, values).fetchone()
        return Batch(*row) if row else None

    def renew(self) -> None:
        """Lengthen the leases of what this run holds."""
        with self.ledger.transaction() as db:
            sql = f"UPDATE batches SET lease = ? WHERE holder = ? AND status IN {OPEN}"
            db.execute(sql, (self.ledger.now() + LEASE, self._holder))

    def release(self, batch: str | None = None) -> None:
        """Let other runs hold a batch that this run holds, or all of them."""
        with self.ledger.transaction() as db:
            sql = f"UPDATE batches SET holder = '' WHERE holder = ?1 AND id = coalesce(?2, id) AND status IN {OPEN}"
            db.execute(sql, (self._holder, batch))

    def update(
        self,
        batch: str,
        *,
        status: Status | None = None,
        file: str | None = None,
        provider: str | None = None,
        last_state: str | None = None,
    ) -> bool:
        """Record a step of a batch that this run holds; False, and nothing is written, where it holds it no longer."""
        given = {"status": status, "file": file, "provider": provider, "told": last_state}
        columns = {name: value for name, value in given.items() if value is not None}
        with self.ledger.transaction() as db:
            assignments = ", ".join(f"{name} = ?" for name in columns)
            sql = f"UPDATE batches SET {assignments} WHERE id = ? AND holder = ? AND status IN {OPEN}"
            return db.execute(sql, (*columns.values(), batch, self._holder)).rowcount == 1

    def provider_id(self, batch: str) -> str | None:
        """Return the provider's name of a batch, whoever wrote it down."""
        rows = self.ledger.query("SELECT provider FROM batches WHERE id = ?", (batch,))
        return str(rows[0][0]) if rows and rows[0][0] else None

    def record(self, batch: str, replies: Iterable[tuple[str, str]]) -> int:
        """Record raw replies, by the keys of their calls; the first for a call counts. Return how many were new."""
        new = 0
        with self.ledger.transaction() as db:
            if not self._is_held(db, batch):
                return 0
            sql = (
                "SELECT a.id FROM calls c JOIN attempts a ON a.call = c.id WHERE c.key = ? AND a.batch = ? AND a.status = 'sent'"
            )
            for key, raw in replies:
                if row := db.execute(sql, (key, batch)).fetchone():
                    self.ledger.record(row[0], raw)
                    new += 1
        return new

    def unread(self, batch: str, n: int) -> list[tuple[int, str, str]]:
        """Return up to `n` recorded replies that nobody has read: attempt, key, raw reply."""
        sql = (
            "SELECT a.id, c.key, r.raw FROM attempts a JOIN calls c ON c.id = a.call JOIN replies r ON r.attempt = a.id "
            "WHERE a.batch = ? AND a.status = 'answered' AND a.billed = 0 ORDER BY a.id LIMIT ?"
        )
        return self.ledger.query(sql, (batch, n))

    def close(
        self, batch: str, outcomes: Iterable[tuple[int, str, str, str]], *, status: Status = "done", last_state: str = ""
    ) -> bool:
        """Record what became of the calls without a reply, and that the batch is over; False where this run does not hold it.

        Args:
            batch: its name.
            outcomes: attempt, ``"failed"`` (refused: a call without tokens), ``"unrun"`` (free) or ``"lost"`` (charged), why, and
                the line that came for it, or nothing.
            status: ``"done"`` or ``"dropped"``.
            last_state: of the provider.
        """
        ledger = self.ledger
        with ledger.transaction() as db:
            if not self._is_held(db, batch):
                return False
            for attempt, outcome, why, line in outcomes:
                if outcome == "lost":
                    ledger.lose(attempt, why)
                else:
                    ledger.fail(attempt, why, sent=outcome == "failed", raw=line)
            db.execute(
                "UPDATE batches SET status = ?, told = ?, ended = ? WHERE id = ?", (status, last_state, ledger.now(), batch)
            )
            return True

    def _is_held(self, db: Any, batch: str) -> bool:
        sql = f"SELECT 1 FROM batches WHERE id = ? AND holder = ? AND status IN {OPEN}"
        return db.execute(sql, (batch, self._holder)).fetchone() is not None


def _request(purpose: str, domain: str, shape: dict[str, Any]) -> Request:
    """Return the request of a call, as far as it shapes what is sent."""
    return Request(
        purpose,
        shape["messages"],
        sample=shape["sample"],
        domain=domain,
        temperature=shape["temperature"],
        max_tokens=shape["max_tokens"],
        schema=shape["schema"],
    )
