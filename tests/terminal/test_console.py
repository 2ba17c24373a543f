"""The console: results on stdout, everything else on stderr, one JSON object of plain data with --json."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from curate import progress
from curate.manifest.manifest import Manifest
from curate.report.show import show
from curate.terminal import console
from curate.terminal.commands import guarded
from curate.terminal.console import payload, plain
from tests.support.samples import ingested


@dataclass(frozen=True)
class Result:
    manifest: Manifest
    share: float
    rows: pl.DataFrame


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result() -> Result:
    return Result(Manifest("math", 7), 1 / 3, pl.DataFrame({"id": ["a", "b"], "n": [1, None]}))


def test_json_is_one_object_with_unrounded_numbers_and_the_manifest_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    console.show(result(), as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"manifest": "math@7", "share": 1 / 3, "rows": [{"id": "a", "n": 1}, {"id": "b", "n": None}]}


def test_json_has_no_nan_and_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    console.show({"x": math.nan, "y": -math.inf, "name": "Jürgen"}, as_json=True)
    assert capsys.readouterr().out == '{"x": null, "y": null, "name": "Jürgen"}\n'


def test_with_json_what_a_library_prints_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with console.watch(as_json=True):
        print("chatter")
    console.show({"a": 1}, as_json=True)
    streams = capsys.readouterr()
    assert streams.out == '{"a": 1}\n'
    assert "chatter" in streams.err


def test_a_pipe_gets_a_line_per_ended_step_and_per_note(capsys: pytest.CaptureFixture[str]) -> None:
    with console.watch():
        with progress.step("embed", 2000) as step:
            step.advance(500)
            step.advance(1500, accepted=1500)
        progress.note("models", "served by a package", size=12)
    streams = capsys.readouterr()
    assert streams.out == ""
    first, second = streams.err.splitlines()
    assert first.startswith("embed: 2,000 of 2,000 in ")
    assert first.endswith(", accepted 1,500")
    assert second == "models: served by a package (size 12)"


def test_a_pipe_hears_of_a_long_step_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.watch(), progress.step("score") as step:
        for _ in range(4):
            step.advance()
    assert [line.split(" in ")[0] for line in capsys.readouterr().err.splitlines()] == ["score: 2", "score: 4"]


def test_a_terminal_gets_bars_that_go_away_and_notes_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with console.watch():
        with progress.step("embed", 10) as step:
            step.advance(4, usd=0.5)
            step.advance(6)
        with progress.step("read") as step:
            step.advance(3)
        progress.note("embed", "all [of] it")
    assert "embed: all [of] it" in screen.getvalue()


def test_an_error_is_one_line_and_its_details_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    console.error("plan 'a.toml' has [2]\nmistakes", ["[balance] x", "y"])
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == "error: plan 'a.toml' has [2] mistakes\n  - [balance] x\n  - y\n"


def test_figures_are_rounded_for_people() -> None:
    assert console.figures({"accepted": 40_000, "usd": 0.00312345, "by": "policy", "dry_run": True}) == (
        "accepted 40,000, usd 0.003123, by policy, dry run True"
    )


def test_a_note_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    with console.watch():
        for _ in range(3):
            progress.note("models", "weights of an installed package")
    assert capsys.readouterr().err.count("weights of an installed package") == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Path("a") / "b", str(Path("a") / "b")),
        (datetime(2025, 1, 2, tzinfo=UTC), "2025-01-02T00:00:00+00:00"),
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (pl.Series([1, None]), [1, None]),
        ((1, ("x",)), [1, ["x"]]),
        ({"b", "a"}, ["a", "b"]),
        ({3: True}, {"3": True}),
        (None, None),
    ],
)
def test_plain_data(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_a_result_says_itself_what_its_object_holds() -> None:
    class Own:
        def to_dict(self) -> dict[str, Any]:
            return {"rows": np.int64(3)}

    assert payload(Own()) == {"rows": 3}


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """Return a result that is shown in a pager."""
    return show(ingested(tmp_path, [{"prompt": "a \x1b[2J question " * 200, "answer": "漢字 שלום"}]))


def paging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a terminal on both sides, and return the file into which the pager writes what it is given."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setenv("PAGER", f"cat > '{tmp_path}/paged'")
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "paged"


def test_rows_go_to_the_pager_of_a_terminal_without_styles_or_escapes(
    rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged = paging(tmp_path, monkeypatch)
    console.show(rows)
    assert sys.stdout.getvalue() == ""  # type: ignore[attr-defined]
    text = paged.read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "".join(text.split()).count("␛[2J") == 200
    assert text.startswith("tail@0: 1 row matches\n")
    assert max(map(len, text.splitlines())) <= 80


def test_a_pager_that_ends_early_or_that_is_not_there_is_no_error(
    rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paging(tmp_path, monkeypatch)
    monkeypatch.setenv("PAGER", "true")
    console.show(rows)
    monkeypatch.setenv("PAGER", "no-such-pager --flag")
    console.show(rows)
    assert "[answer]" in sys.stdout.getvalue()  # type: ignore[attr-defined]


def test_there_is_no_pager_in_a_pipe_or_with_json(rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paged = paging(tmp_path, monkeypatch)
    console.show(rows, as_json=True)
    assert json.loads(sys.stdout.getvalue())["matched"] == 1  # type: ignore[attr-defined]
    console.show({"a": 1})
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console.show(rows)
    assert "[answer]" in sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert not paged.exists()


def test_less_gets_styles_where_it_shows_them(rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paged = paging(tmp_path, monkeypatch)
    less = tmp_path / "less"
    less.write_text(f"#!/bin/sh\n(echo \"$LESS\"; cat) > '{paged}'\n", encoding="utf-8")
    less.chmod(0o755)
    monkeypatch.setenv("PAGER", str(less))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("LESS", raising=False)
    console.show(rows)
    assert paged.read_text(encoding="utf-8").startswith("FRX\n\x1b[1m")
    monkeypatch.setenv("LESS", "S")
    console.show(rows)
    assert paged.read_text(encoding="utf-8").startswith("S\ntail@0")


def test_what_is_asked_is_shown_on_stderr_and_a_pipe_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert console.ask("Sure? ") is None
    monkeypatch.setattr(sys, "stdin", Terminal(" yes \n"))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert console.ask("Sure\x1b? ") == "yes"
    assert sys.stderr.getvalue() == "Sure␛? "  # type: ignore[attr-defined]
    assert console.ask("Again? ") is None


@pytest.mark.parametrize(
    ("told", "ours"), [("extra column in file outside of expected schema: scre", True), ("no column 'x'", False)]
)
def test_a_file_with_other_columns_than_its_table_is_one_line_and_a_bug_is_not(
    told: str, ours: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = pl.exceptions.SchemaError(told)
    with pytest.raises(SystemExit if ours else pl.exceptions.SchemaError), guarded():
        raise error
    assert ("a table cannot be read: extra column in file" in capsys.readouterr().err) is ours
