import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from curate.errors import LedgerError
from curate.ledger.group_commit import GroupCommit
from curate.ledger.ledger import Ledger


def insert(ledger: Ledger, name: str) -> str:
    with ledger.transaction() as db:
        db.execute("INSERT INTO accounts VALUES (?, 0, 0, 0)", (name,))
    return name


def names(ledger: Ledger) -> list[str]:
    return [row[0] for row in ledger.query("SELECT name FROM accounts ORDER BY rowid")]


def test_waiting_writes_go_into_one_commit_in_their_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    done: list[str] = []
    ledger._db.set_trace_callback(lambda sql: done.append(sql) if sql == "COMMIT" else None)

    async def work() -> list[str]:
        with GroupCommit(ledger) as commits:
            return await asyncio.gather(*(commits.write(partial(insert, ledger, f"n{i}")) for i in range(50)))

    assert asyncio.run(work()) == [f"n{i}" for i in range(50)]
    assert names(ledger) == [f"n{i}" for i in range(50)]
    assert len(done) <= 2


def test_what_was_done_is_on_disk_for_everybody(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")

    async def work() -> list[tuple[str]]:
        with GroupCommit(ledger) as commits:
            await commits.write(partial(insert, ledger, "a"))
            other = sqlite3.connect(tmp_path / "ledger.sqlite")
            found: list[tuple[str]] = other.execute("SELECT name FROM accounts").fetchall()
            other.close()
            return found

    assert asyncio.run(work()) == [("a",)]


def test_a_write_that_fails_fails_its_whole_group_and_flush_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")

    async def work() -> None:
        with GroupCommit(ledger) as commits:
            commits.post(partial(insert, ledger, "a"))
            commits.post(partial(insert, ledger, "a"))  # the name is taken
            await commits.flush()

    with pytest.raises(LedgerError, match="UNIQUE"):
        asyncio.run(work())
    assert names(ledger) == []


def test_a_task_that_is_cancelled_does_not_undo_its_write(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")

    async def work() -> None:
        with GroupCommit(ledger) as commits:
            task = asyncio.create_task(commits.write(partial(insert, ledger, "a")))
            await asyncio.sleep(0)
            task.cancel()
            await commits.flush()

    asyncio.run(work())
    assert names(ledger) == ["a"]
