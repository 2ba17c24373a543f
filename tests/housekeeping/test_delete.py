"""A manifest is removed alone, after it was asked for or with --yes, and what stays is said."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import curate.terminal.cli
from curate.errors import InputError, ManifestNotFoundError
from curate.files import ledger_path, runs_folder
from curate.housekeeping.delete import delete
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps, Charged
from curate.manifest.manifest import Manifest, names
from tests.support.charges import ELSEWHERE, bound, buy, spec
from tests.support.samples import ingested


@pytest.fixture
def math(tmp_path: Path) -> Manifest:
    ingested(tmp_path, [{"prompt": "b"}], name="other")
    return ingested(tmp_path, [{"prompt": "a"}, {"prompt": "b"}], name="math")


def contents(root: Path) -> dict[str, bytes]:
    """Return every file under a root that is not of the manifest math, and what the ledger holds."""
    files = [path for path in root.rglob("*") if path.is_file() and "math" not in path.relative_to(root).parts]
    found = {str(path): path.read_bytes() for path in files if "ledger" not in path.name}
    with closing(sqlite3.connect(ledger_path(str(root)))) as ledger:
        return found | {"ledger": "\n".join(ledger.iterdump()).encode()}


def test_the_manifest_goes_and_nothing_else(math: Manifest, tmp_path: Path) -> None:
    run = runs_folder(str(tmp_path)) / "first"
    run.mkdir(parents=True)
    (run / "record.json").write_text(json.dumps([{"index": 0, "snapshot": "math@0"}]), encoding="utf-8")
    ledger = Ledger(ledger_path(str(tmp_path)))
    buy(ledger, 0, "math")
    ledger.close()
    before = contents(tmp_path)
    found = delete("math", yes=True, root=tmp_path)
    assert (found.removed.name, found.removed.rows, found.runs) == ("math", 2, ("first",))
    assert found.charged == Charged(1, 15, 7e-9)
    assert contents(tmp_path) == before
    assert names(root=tmp_path) == ["other"]
    assert not [path for path in (tmp_path / "manifests").iterdir() if "math" in path.name]


def test_a_new_manifest_of_the_name_counts_what_was_charged(math: Manifest, tmp_path: Path, ledger: Ledger) -> None:
    buy(ledger, 0, "math")
    delete("math", yes=True, root=tmp_path)
    ingested(tmp_path, [{"prompt": "new"}], name="math")
    assert buy(ledger, 1, "math", caps=Caps(calls=1)) == "capped"


def test_without_yes_nothing_is_removed(math: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'math' was not deleted: .* curate delete math --yes"):
        delete("math", root=tmp_path)
    assert names(root=tmp_path) == ["math", "other"]


def test_a_manifest_that_cannot_be_read_can_be_deleted(math: Manifest, tmp_path: Path) -> None:
    for path in (Path(math.location) / "manifest" / "_delta_log").iterdir():
        path.write_text("{", encoding="utf-8")
    assert delete("math", yes=True, root=tmp_path).removed.problem
    assert names(root=tmp_path) == ["other"]


@pytest.mark.parametrize("name", ["ledger.sqlite", "runs", "maths", "math@0", "../math"])
def test_what_is_no_manifest_is_not_deleted(math: Manifest, tmp_path: Path, ledger: Ledger, name: str) -> None:
    with pytest.raises((InputError, ManifestNotFoundError)):
        delete(name, yes=True, root=tmp_path)
    assert ledger.path.exists()
    assert names(root=tmp_path) == ["math", "other"]


def test_a_manifest_that_a_command_pays_for_is_not_deleted(math: Manifest, tmp_path: Path, ledger: Ledger) -> None:
    ledger.reserve(spec(0), bound("math"), Caps(), ELSEWHERE)
    with pytest.raises(InputError, match="a command is at work on 'math' and has calls in flight: wait until it has ended"):
        delete("math", yes=True, root=tmp_path)
    assert names(root=tmp_path) == ["math", "other"]


def test_the_command_in_a_script(math: Manifest, tmp_path: Path, ledger: Ledger) -> None:
    buy(ledger, 0, "math")
    refused = CliRunner().invoke(curate.terminal.cli.app, ["delete", "math", "--root", str(tmp_path)])
    assert refused.exit_code == 1
    assert "curate delete math --yes" in refused.stderr
    done = CliRunner().invoke(curate.terminal.cli.app, ["delete", "math", "--yes", "--root", str(tmp_path)])
    words = " ".join(done.stdout.split())
    assert words.startswith("math is deleted removed 2 rows, 1 versions and ")
    assert "the ledger keeps every reply; 1 call, 15 tokens" in words
    assert "a new manifest named math counts it against its caps" in words


def answered(root: Path, answer: bytes, *flags: str) -> tuple[int, str]:
    """Run ``curate delete math`` on a terminal, type an answer, and return the exit status and what the terminal showed."""
    code = "from curate.terminal.cli import main; main()"
    command = [sys.executable, "-c", f"import sys; sys.argv = ['curate', 'delete', 'math', *{flags!r}]; {code}"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "CURATE_ROOT": str(root), "PYTHONPATH": str(Path(curate.__file__).parents[1])}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=root)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
        if shown.endswith(b"Type its name to delete it: "):
            os.write(ours, answer)
    os.close(ours)
    return process.wait(), shown.decode()


@pytest.mark.parametrize(("answer", "status", "left"), [(b"math\n", 0, ["other"]), (b"y\n", 1, ["math", "other"])])
def test_on_a_terminal_the_name_is_asked_for(math: Manifest, tmp_path: Path, answer: bytes, status: int, left: Any) -> None:
    ended, shown = answered(tmp_path, answer)
    assert "math has 2 rows, 1 versions and " in shown
    assert ended == status, shown
    assert names(root=tmp_path) == left
    assert ("'y' is not its name" in shown) == (status == 1)


def test_with_yes_a_terminal_is_not_asked(math: Manifest, tmp_path: Path) -> None:
    ended, shown = answered(tmp_path, b"", "--yes")
    assert (ended, "Type its name" in shown) == (0, False)
