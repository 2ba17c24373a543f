import sqlite3
from pathlib import Path

import pytest

from curate.errors import LedgerError
from curate.ledger.ledger import Ledger
from curate.ledger.schema import MIGRATIONS


def version(path: Path) -> int:
    with sqlite3.connect(path) as db:
        found: int = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    return found


def test_a_new_ledger_has_every_step_done(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.sqlite").close()
    assert version(tmp_path / "ledger.sqlite") == len(MIGRATIONS)


def test_an_older_ledger_is_brought_up_to_date_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO accounts VALUES ('math', 1, 2, 3)")
    db.close()
    monkeypatch.setattr("curate.ledger.ledger.MIGRATIONS", (*MIGRATIONS, ("ALTER TABLE accounts ADD COLUMN note TEXT",)))
    ledger = Ledger(path)
    assert ledger.query("SELECT name, calls, note FROM accounts") == [("math", 1, None)]
    ledger.close()
    assert version(path) == len(MIGRATIONS) + 1


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    steps = (*MIGRATIONS, ("ALTER TABLE accounts ADD COLUMN note TEXT", "ALTER TABLE nothing ADD COLUMN note TEXT"))
    monkeypatch.setattr("curate.ledger.ledger.MIGRATIONS", steps)
    with pytest.raises(LedgerError, match="nothing was changed"):
        Ledger(path)
    monkeypatch.undo()
    ledger = Ledger(path)
    assert "note" not in [row[1] for row in ledger.query("PRAGMA table_info(accounts)")]
    ledger.close()


def test_a_ledger_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match=r"schema 99.*pip install --upgrade"):
        Ledger(path)
    assert version(path) == 99
