"""Moves what is charged to one manifest's name to another name, and tells whether a command is at work on a name.

A manifest that is renamed takes its charges along, so that caps go on counting them. Its folder and the ledger cannot change in
one step. So `cover` first charges the new name as well, then the folder is renamed, then `move` moves everything: whichever of
the two names the manifest has after a crash, the caps count what was charged. Each of the two may be done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.ledger.batches import OPEN
from curate.ledger.leases import is_alive
from curate.ledger.ledger import BILLED, HITS, Ledger

__all__ = ["cover", "is_at_work", "move"]

_SUMS = "SELECT COALESCE(SUM(calls), 0), COALESCE(SUM(tokens), 0), COALESCE(SUM(nano_usd), 0) FROM attempts WHERE name = ?"


def is_at_work(ledger: Ledger, name: str) -> bool:
    """Return whether a process that runs has calls of a name in flight, or looks after a batch of it."""
    attempts = "SELECT owner, lease FROM attempts WHERE name = ? AND status = 'sent' AND batch IS NULL"
    batches = f"SELECT owner, lease FROM batches WHERE name = ? AND holder != '' AND status IN {OPEN}"
    owners = [*ledger.query(attempts, (name,)), *ledger.query(batches, (name,))]
    return any(is_alive(owner, lease, ledger.now()) for owner, lease in owners)


def cover(ledger: Ledger, old: str, new: str) -> None:
    """Charge a name at least what is charged to it and to another name together; the other one stays as it is."""
    with ledger.transaction() as db:
        _raise_to(db, new, [a + b for a, b in zip(db.execute(_SUMS, (new,)).fetchone(), _account(db, old), strict=True)])


def move(ledger: Ledger, old: str, new: str) -> int:
    """Move everything of a name to another one: charges, replies used again, batches, estimates; return how many attempts.

    What was charged to the new name before stays charged to it, and no sum gets smaller.
    """
    with ledger.transaction() as db:
        _move_estimates(db, old, new)
        moved = db.execute("UPDATE attempts SET name = ? WHERE name = ?", (new, old)).rowcount
        db.execute("UPDATE OR IGNORE hits SET name = ? WHERE name = ?", (new, old))
        db.execute("DELETE FROM hits WHERE name = ?", (old,))  # that the new name has too
        db.execute("UPDATE batches SET name = ? WHERE name = ?", (new, old))
        _raise_to(db, new, db.execute(_SUMS, (new,)).fetchone())
        db.execute("DELETE FROM accounts WHERE name = ?", (old,))
        return int(moved)


def _account(db: Any, name: str) -> tuple[int, int, int]:
    found = db.execute("SELECT calls, tokens, nano_usd FROM accounts WHERE name = ?", (name,)).fetchone()
    return found or (0, 0, 0)


def _raise_to(db: Any, name: str, least: Sequence[int]) -> None:
    """Set what a name is charged, where that is more than it is charged now."""
    calls, tokens, nano_usd = map(max, _account(db, name), least)
    if calls or tokens or nano_usd:
        db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?)", (name, calls, tokens, nano_usd))


def _move_estimates(db: Any, old: str, new: str) -> None:
    """Give one name's estimates to another, each with what the other name was billed before, so that it is not counted twice."""
    for name, other in ((old, new), (new, old)):
        for number, verb, stage in db.execute("SELECT id, verb, stage FROM estimates WHERE name = ?", (name,)).fetchall():
            calls, tokens, nano_usd = db.execute(BILLED, (other, verb, stage)).fetchone()
            (hits,) = db.execute(HITS, (other, verb, stage)).fetchone()
            db.execute(
                "UPDATE estimates SET had_calls = had_calls + ?, had_tokens = had_tokens + ?, had_nano_usd = had_nano_usd + ?, "
                "had_hits = had_hits + ? WHERE id = ?",
                (calls, tokens, nano_usd or 0, hits, number),
            )
    db.execute("UPDATE estimates SET name = ? WHERE name = ?", (new, old))
