"""Records every teacher call in SQLite: what was reserved, sent, answered, lost, and what it cost. Knows no teacher.

``manifests/ledger.sqlite`` serves every manifest of a root and any number of processes. A *call* is one thing asked, under
a key that covers everything that shapes its answer; it is bought once. An *attempt* is one sending of it. An attempt is
charged at an upper bound in the transaction that checks the caps; a reply corrects that to what was billed; an attempt whose
fate is unknown stays charged. The raw reply is durable before anyone reads it. Money is in whole billionths of a dollar; it is
NULL, and never 0, where the model has no price.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from curate.errors import LedgerError
from curate.files import ledger_path, reason
from curate.ledger.leases import LeaseMonitor, machine, this_process
from curate.ledger.network_disk import network_kind
from curate.ledger.records import CallSpec, Caps, Charged, CostBound, Reservation, StoredReply
from curate.ledger.schema import MIGRATIONS
from curate.teachers.base import Usage
from curate.teachers.prices import NANO, format_usd

__all__ = ["BILLED", "HITS", "Ledger", "existing_ledger"]

T = TypeVar("T")

LEASE = 60.0  # seconds; an owner renews it while it works
Adoption = Literal["new", "already", "conflicting"]
# What was billed to a name, verb and stage, and which replies were used again: parameters name, verb and stage.
BILLED = (
    "SELECT COUNT(*), COALESCE(SUM(tokens), 0), SUM(nano_usd) FROM attempts "
    "WHERE name = ? AND verb = ? AND stage = ? AND status IN ('answered', 'failed') AND calls > 0"
)
HITS = "SELECT COALESCE(SUM(n), 0) FROM hits WHERE name = ? AND verb = ? AND stage = ?"
_WAIT = 60.0  # seconds to wait for another process's write
_CHUNK = 1000  # keys in one query


class Ledger:
    """The ledger of one root, open for reading and writing; safe to share between threads.

    Where the file or its folder cannot be written, it is open for reading alone: whatever would write is a `LedgerError`.

    Args:
        path: of the SQLite file; made, with its folder, where it is missing.
        clock: seconds since 1970; leases are measured with it.
        disk_kind: tells the network file system that a path lies on, see `curate.ledger.network_disk`.

    Raises:
        LedgerError: the file cannot be opened, or a newer version of this package wrote it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Callable[[], float] = time.time,
        disk_kind: Callable[[Path], str | None] = network_kind,
    ) -> None:
        self.path, self._clock = Path(path), clock
        self._network = disk_kind(self.path)
        self._lock, self._depth = threading.RLock(), 0
        self._monitor = LeaseMonitor(LEASE / 2)
        self.read_only = _is_read_only(self.path)
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        try:
            if self.read_only:
                self._open_to_read()
            else:
                self._open_to_write()
        except (OSError, sqlite3.Error) as e:
            raise LedgerError(f"ledger {self.path.name!r} cannot be opened: {reason(e)}") from e
        self._migrate()

    def _open_to_write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        self._set_journal()
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")

    def _open_to_read(self) -> None:
        """Open a file that nobody can write; where its journal holds something, a copy of both, which SQLite brings together."""
        path, journal = self.path, Path(f"{self.path}-wal")
        if journal.exists() and journal.stat().st_size:
            self._copy = tempfile.TemporaryDirectory(prefix="curate-ledger-")  # removed by `close`
            path = Path(self._copy.name) / self.path.name
            shutil.copyfile(self.path, path)
            shutil.copyfile(journal, f"{path}-wal")
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            return
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)

    def _set_journal(self) -> None:
        """Write ahead on a disk of this machine; on a network, where machines share no memory, with a rollback journal."""
        if self._network is None:
            self._write_ahead(time.monotonic() + _WAIT)
            return
        with self.path.open("rb") as file:
            ahead = file.read(20)[18:] == b"\2\2"  # the header of a file that was last written ahead
        if ahead:  # alone in the file, SQLite needs no shared memory to bring it back
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = TRUNCATE")
        self._db.execute("PRAGMA locking_mode = NORMAL")
        self._db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # lets go of the file

    def _write_ahead(self, until: float) -> None:
        """Change the journal; while others open the new file too, SQLite refuses instead of waiting for its turn."""
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def __del__(self) -> None:
        if hasattr(self, "_db"):
            self.close()

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            self._db.close()
            if self._copy is not None:
                self._copy.cleanup()

    def now(self) -> float:
        """Return the time by the ledger's clock, seconds since 1970."""
        return self._clock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do the enclosed writes together or not at all; calls inside join the outermost one, which commits once.

        Raises:
            LedgerError: the disk is full, or another process holds the file for too long; nothing was written.
        """
        with self._lock:
            if self._depth:
                yield self._db
                return
            if self.read_only:
                raise LedgerError(
                    f"ledger {str(self.path)!r} cannot be written, nothing was changed: make its folder writable, or copy the "
                    "root and name the copy with --root"
                )
            self._depth = 1
            try:
                with self._db:  # commits, or rolls back
                    self._db.execute("BEGIN IMMEDIATE")
                    yield self._db
            except sqlite3.Error as e:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise LedgerError(f"ledger {self.path.name!r} cannot be written, nothing was changed: {reason(e)}") from e
            finally:
                self._depth = 0

    def query(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        try:
            with self._lock:
                return self._db.execute(sql, tuple(parameters)).fetchall()
        except (sqlite3.Error, OverflowError) as e:
            raise LedgerError(f"ledger {self.path.name!r} cannot be read: {reason(e)}") from e

    def find(self, keys: Iterable[str]) -> dict[str, StoredReply]:
        """Return the answered calls among `keys`."""
        return {key: stored for some in self.find_each(keys) for key, stored in some.items()}

    def find_each(self, keys: Iterable[str]) -> Iterator[dict[str, StoredReply]]:
        """Yield the answered calls among `keys`, some at a time, in the order in which they lie on the disk."""
        found = []
        for some in _chunks(sorted(keys)):
            sql = f"SELECT answer, key, id FROM calls WHERE answer IS NOT NULL AND key IN ({','.join('?' * len(some))})"
            found += self.query(sql, some)
        for lines in _chunks(sorted(found)):
            calls = {answer: (key, call) for answer, key, call in lines}
            sql = (
                "SELECT r.attempt, r.raw, a.billed, a.batch IS NOT NULL FROM replies r JOIN attempts a ON a.id = r.attempt "
                f"WHERE r.attempt IN ({','.join('?' * len(calls))})"
            )
            rows = self.query(sql, calls)
            yield {
                calls[answer][0]: StoredReply(calls[answer][1], answer, raw, bool(billed), bool(batched))
                for answer, raw, billed, batched in rows
            }

    def reserve(self, spec: CallSpec, bound: CostBound, caps: Caps, owner: str) -> Reservation:
        """Charge one sending of a call at its upper bound, unless a cap, a reply or another owner stands against it.

        The attempt counts as sent from here on: whoever is granted it sends it at once.
        """
        with self.transaction() as db:
            row = db.execute("SELECT id, answer FROM calls WHERE key = ?", (spec.key,)).fetchone()
            if row and row[1] is not None:
                return Reservation("answered", call_id=row[0])
            if row and self._is_in_flight(row[0]):
                return Reservation("busy", call_id=row[0])
            if cap := self._exceeded_cap(bound, caps):
                return Reservation("capped", cap=cap)
            call = row[0] if row else self._new_call(spec)
            cause = self._cause(call if row else None, bound)
            now = self._clock()
            who, most = (bound.name, bound.verb, bound.stage, cause, owner), (bound.tokens, bound.nano_usd)
            attempt = db.execute(
                "INSERT INTO attempts (call, name, verb, stage, cause, owner, lease, status, calls, tokens, nano_usd, "
                "reserved_tokens, reserved_nano_usd, started) VALUES (?, ?, ?, ?, ?, ?, ?, 'sent', 1, ?, ?, ?, ?, ?)",
                (call, *who, now + LEASE, *most, *most, now),
            ).lastrowid
            self._charge(bound.name, 1, bound.tokens, bound.nano_usd or 0)
            return Reservation("granted", attempt=int(attempt or 0), call_id=call, again=cause == "retry")

    def record(self, attempt: int, raw: str) -> bool:
        """Keep the raw reply of an attempt, which stays charged at its bound; return whether it is the reply of its call.

        It is not where the lease had run out and another process was quicker: the first reply stays.
        """
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO replies (attempt, raw) VALUES (?, ?)", (attempt, raw))
            db.execute("UPDATE attempts SET status = 'answered', ended = ? WHERE id = ?", (self._clock(), attempt))
            sql = "UPDATE calls SET answer = ?1 WHERE answer IS NULL AND id = (SELECT call FROM attempts WHERE id = ?1)"
            return db.execute(sql, (attempt,)).rowcount == 1

    def settle(self, attempt: int, usage: Usage | None, nano_usd: int | None, finish_reason: str) -> None:
        """Charge the tokens that a reply reports, at what they cost; what is None stays charged at its upper bound."""
        with self.transaction() as db:
            if usage is None:
                db.execute("UPDATE attempts SET billed = 1, finish_reason = ? WHERE id = ?", (finish_reason, attempt))
                return
            nano = self._adjust(attempt, 1, usage.total, nano_usd)
            db.execute(
                "UPDATE attempts SET billed = 1, calls = 1, tokens = ?, nano_usd = ?, prompt_tokens = ?, cached_tokens = ?, "
                "completion_tokens = ?, reasoning_tokens = ?, finish_reason = ? WHERE id = ?",
                (usage.total, nano, usage.prompt, usage.cached, usage.completion, usage.reasoning, finish_reason, attempt),
            )

    def reject(self, attempt: int, error: str, *, tokens: int | None = None, nano_usd: int | None = None) -> None:
        """Mark a stored reply as one that cannot be used: it is kept and stays charged, and the call may be sent again.

        Args:
            attempt: its number.
            error: why.
            tokens: that it is charged; None for its bound.
            nano_usd: what they cost, in billionths of a dollar; None where that is not known.
        """
        with self.transaction() as db:
            if tokens is not None:
                self._recharge(attempt, 1, tokens, nano_usd)
            db.execute("UPDATE attempts SET status = 'failed', billed = 1, error = ? WHERE id = ?", (error, attempt))
            db.execute("UPDATE calls SET answer = NULL WHERE answer = ?", (attempt,))

    def fail(self, attempt: int, error: str, *, sent: bool = True, raw: str = "") -> None:
        """Mark an attempt that the server refused: no tokens; it counts as a call if it was `sent`; what came instead is kept."""
        with self.transaction() as db:
            if raw:
                db.execute("INSERT OR REPLACE INTO replies (attempt, raw) VALUES (?, ?)", (attempt, raw))
            self._recharge(attempt, int(sent), 0, 0)
            db.execute(
                "UPDATE attempts SET status = 'failed', billed = 1, error = ?, ended = ? WHERE id = ?",
                (error, self._clock(), attempt),
            )

    def lose(self, attempt: int, error: str) -> None:
        """Mark an attempt whose fate is unknown: it stays charged at its upper bound."""
        with self.transaction() as db:
            db.execute("UPDATE attempts SET status = 'lost', error = ?, ended = ? WHERE id = ?", (error, self._clock(), attempt))

    def release(self, attempt: int) -> None:
        """Take an attempt back as if it had never been: the teacher has no reply, and charges nothing."""
        with self.transaction() as db:
            self._recharge(attempt, 0, 0, 0)
            (call,) = db.execute("DELETE FROM attempts WHERE id = ? RETURNING call", (attempt,)).fetchone()
            db.execute("DELETE FROM calls WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM attempts WHERE call = ?1)", (call,))

    def adopt(self, spec: CallSpec, raw: str, usage: Usage | None, nano_usd: int | None, finish_reason: str) -> Adoption:
        """Take in a reply that was bought into another ledger; nobody is charged for it, and one that is here stays.

        Args:
            spec: of the call.
            raw: the reply.
            usage: of the reply.
            nano_usd: what it cost where it was bought, in billionths of a dollar; None where that is not known.
            finish_reason: of the reply.
        """
        with self.transaction() as db:
            sql = "SELECT c.id, r.raw FROM calls c LEFT JOIN replies r ON r.attempt = c.answer WHERE c.key = ?"
            call, here = db.execute(sql, (spec.key,)).fetchone() or (None, None)
            if here is not None:
                return "already" if here == raw else "conflicting"
            used, now = usage or Usage(), self._clock()
            values = (call or self._new_call(spec), now, used.total, nano_usd, used.prompt, used.cached, used.completion)
            attempt = db.execute(
                "INSERT INTO attempts (call, name, verb, stage, cause, owner, lease, status, calls, reserved_tokens, billed, "
                "started, tokens, nano_usd, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, finish_reason) "
                "VALUES (?, '', 'ledger-import', -1, 'import', '', 0, 'answered', 0, 0, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, used.reasoning, finish_reason),
            ).lastrowid
            db.execute("INSERT INTO replies (attempt, raw) VALUES (?, ?)", (attempt, raw))
            db.execute("UPDATE calls SET answer = ? WHERE key = ?", (attempt, spec.key))
            return "new"

    def hit(self, calls: Iterable[int], name: str, verb: str, stage: int) -> None:
        """Count replies that were used again instead of being bought, each once for a name, verb and stage."""
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO hits VALUES (?, ?, ?, ?, 1) ON CONFLICT DO NOTHING",
                ((call, name, verb, stage) for call in sorted(calls)),
            )

    def renew(self, owner: str) -> None:
        """Lengthen the leases of an owner that is still at work."""
        with self.transaction() as db:
            sql = "UPDATE attempts SET lease = ? WHERE owner = ? AND status = 'sent' AND batch IS NULL"
            db.execute(sql, (self._clock() + LEASE, owner))

    def sweep(self, name: str) -> int:
        """Mark as lost what dead owners had in flight for a name; return how many. They stay charged.

        What is in a batch is not lost: it is at the provider, whoever sent it.

        Raises:
            LedgerError: on a network file system, another machine is at work in the ledger.
        """
        self._check_alone()
        with self.transaction() as db:
            sql = "SELECT id, owner, lease FROM attempts WHERE status = 'sent' AND batch IS NULL AND name = ?"
            rows = db.execute(sql, (name,)).fetchall()
            gone = [attempt for attempt, owner, lease in rows if self._monitor.is_gone(attempt, owner, lease, self._clock())]
            for attempt in gone:
                self.lose(attempt, "its process ended before the reply was recorded")
            return len(gone)

    def charged(self, name: str) -> Charged:
        """Return everything ever charged to a name, attempts in flight at their upper bounds; without a price they count $0."""
        rows = self.query("SELECT calls, tokens, nano_usd FROM accounts WHERE name = ?", (name,))
        return Charged(rows[0][0], rows[0][1], rows[0][2] / NANO) if rows else Charged()

    # What is known of a server and its model

    def has_answered(self, endpoint: str, model: str) -> bool:
        """Return whether a reply of a model at an endpoint was ever bought into this ledger."""
        join = "FROM calls c JOIN attempts a ON a.id = c.answer"
        sql = f"SELECT 1 {join} WHERE c.endpoint = ? AND c.model = ? AND a.name != '' LIMIT 1"
        return bool(self.query(sql, (endpoint, model)))

    def find_dialect(self, endpoint: str, model: str) -> str | None:
        """Return what `store_dialect` wrote last for a model at an endpoint; None for nothing."""
        rows = self.query("SELECT dialect FROM dialects WHERE endpoint = ? AND model = ?", (endpoint, model))
        return str(rows[0][0]) if rows else None

    def store_dialect(self, endpoint: str, model: str, dialect: str) -> None:
        """Write down, as JSON, which parameters a model at an endpoint takes, so that no later run pays to learn it again."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO dialects VALUES (?, ?, ?, ?)", (endpoint, model, dialect, self._clock()))

    def find_server(self, endpoint: str, model: str) -> str | None:
        """Return which server has the name of an endpoint for a model; None where none was written down."""
        rows = self.query("SELECT server FROM servers WHERE endpoint = ? AND model = ?", (endpoint, model))
        return str(rows[0][0]) if rows else None

    def claim_server(self, endpoint: str, model: str, server: str) -> str:
        """Give a server the name of an endpoint for a model, unless another has it; return which one has it."""
        with self.transaction() as db:
            db.execute("INSERT INTO servers VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (endpoint, model, server))
            return str(db.execute("SELECT server FROM servers WHERE endpoint = ? AND model = ?", (endpoint, model)).fetchone()[0])

    def forget(self, keys: Iterable[str]) -> int:
        """Have calls bought again, though they were answered; what was charged stays, and so do the replies. Return how many."""
        with self.transaction() as db:
            sql = "UPDATE calls SET answer = NULL WHERE key = ? AND answer IS NOT NULL"
            return sum(db.execute(sql, (key,)).rowcount for key in keys)

    def _migrate(self) -> None:
        if self.read_only:
            version = self.query("PRAGMA user_version")[0][0]
            if version != len(MIGRATIONS):
                raise LedgerError(
                    f"ledger {self.path.name!r} has schema {version}, this version reads {len(MIGRATIONS)}, and it cannot be "
                    "changed where it is: copy the root to a folder that can be written, and name that with --root"
                )
            return
        with self.transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise LedgerError(
                    f"ledger {self.path.name!r} has schema {version}, and this version reads up to {len(MIGRATIONS)}: "
                    "pip install --upgrade baldistill"
                )
            for statement in (statement for step in MIGRATIONS[version:] for statement in step):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _check_alone(self) -> None:
        if self._network is None:
            return
        sql = "SELECT DISTINCT owner FROM attempts WHERE status = 'sent' AND lease > ?"
        others = {machine(owner) for (owner,) in self.query(sql, (self._clock(),))} - {machine(this_process())}
        if others:
            raise LedgerError(
                f"ledger {self.path.name!r} is on a network file system ({self._network}) and machine {min(others)!r} is "
                "using it: wait until it has ended, or give each machine a --root on its own disk and move replies with "
                "curate ledger-export"
            )

    def _is_in_flight(self, call: int) -> bool:
        sql = "SELECT id, owner, lease, batch FROM attempts WHERE call = ? AND status = 'sent'"
        for attempt, owner, lease, batch in self._db.execute(sql, (call,)).fetchall():
            if batch is not None or not self._monitor.is_gone(attempt, owner, lease, self._clock()):
                return True
            self.lose(attempt, "its process ended before the reply was recorded")
        return False

    def _exceeded_cap(self, bound: CostBound, caps: Caps) -> str:
        row = self._db.execute("SELECT calls, tokens, nano_usd FROM accounts WHERE name = ?", (bound.name,)).fetchone()
        calls, tokens, nano_usd = row or (0, 0, 0)
        if caps.calls is not None and calls + 1 > caps.calls:
            return f"--max-calls {caps.calls} is reached: {calls} calls are charged to {bound.name!r}"
        if caps.tokens is not None and tokens + bound.tokens > caps.tokens:
            spent, more = f"{tokens} tokens are charged to {bound.name!r}", f"the next call may take {bound.tokens}"
            return f"--max-tokens {caps.tokens} would be passed: {spent}, {more}"
        if caps.usd is not None and nano_usd + (bound.nano_usd or 0) > round(caps.usd * NANO):
            spent, more = f"{format_usd(nano_usd / NANO)} is charged to {bound.name!r}", format_usd((bound.nano_usd or 0) / NANO)
            return f"--max-usd {caps.usd:g} would be passed: {spent}, the next call may cost {more}"
        return ""

    def _new_call(self, spec: CallSpec) -> int:
        """Insert a call; its number comes from its key, so that two ledgers with the same replies give the same manifests."""
        call = int(spec.key[:13], 16)  # 52 bits: whole in JSON everywhere
        values = (spec.key, spec.endpoint, spec.model, spec.purpose, spec.domain, spec.sample, spec.request)
        sql = (
            "INSERT INTO calls (id, key, endpoint, model, purpose, domain, sample, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO NOTHING"
        )
        while not self._db.execute(sql, (call, *values)).rowcount:
            call += 1
        return call

    def _cause(self, call: int | None, bound: CostBound) -> str:
        if call is not None and self._db.execute("SELECT 1 FROM attempts WHERE call = ? LIMIT 1", (call,)).fetchone():
            return "retry"
        return "refill" if bound.refill else "new"

    def _recharge(self, attempt: int, calls: int, tokens: int, nano_usd: int | None) -> None:
        """Replace what an attempt is charged."""
        values = (calls, tokens, self._adjust(attempt, calls, tokens, nano_usd), attempt)
        self._db.execute("UPDATE attempts SET calls = ?, tokens = ?, nano_usd = ? WHERE id = ?", values)

    def _adjust(self, attempt: int, calls: int, tokens: int, nano_usd: int | None) -> int | None:
        """Move the sums of its name by what an attempt is charged anew; return its money.

        That is None where the attempt was reserved without a price, and its bound where what it cost is not known.
        """
        sql = "SELECT name, calls, tokens, nano_usd FROM attempts WHERE id = ?"
        name, had_calls, had_tokens, had_nano = self._db.execute(sql, (attempt,)).fetchone()
        nano = had_nano if had_nano is None or nano_usd is None else nano_usd
        self._charge(name, calls - had_calls, tokens - had_tokens, (nano or 0) - (had_nano or 0))
        return nano

    def _charge(self, name: str, calls: int, tokens: int, nano_usd: int) -> None:
        self._db.execute(
            "INSERT INTO accounts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "calls = calls + excluded.calls, tokens = tokens + excluded.tokens, nano_usd = nano_usd + excluded.nano_usd",
            (name, calls, tokens, nano_usd),
        )


def _chunks(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def _is_read_only(path: Path) -> bool:
    """Return whether a ledger is there and cannot be written: the file, its folder (which gets journals), or the whole disk."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def existing_ledger(root: str) -> Ledger | None:
    """Open a root's ledger; None where no teacher was ever asked, and none is made."""
    path = ledger_path(root)
    return Ledger(path) if path.exists() else None
