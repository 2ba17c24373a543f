"""Prints everything that is printed. `layouts` lays a result out for people; `payload` turns it into one object for scripts.

A result goes to stdout. Progress, notes and errors go to stderr: live on a terminal, plain lines in a pipe. With ``--json``
stdout carries one object and nothing else, whatever a library prints while the work is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import progress
from curate.escapes import one_line, printable, printable_json
from curate.progress import Event
from curate.terminal.progress_view import Board, figures

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LAYOUTS", "ask", "error", "figures", "payload", "plain", "say", "show", "watch"]

LAYOUTS = "curate.terminal.layouts"  # how the results of curate's verbs look
PIPE_WIDTH = 130  # columns of a table that goes into a file or a pipe
PLAIN_SECONDS = 5.0  # between two lines about one step in a pipe, at least
PLAIN_SHARE = 0.05  # of the time that it has taken
PLAIN_MOST = 60.0  # seconds
_STYLES = re.compile(r"\x1b\[[0-9;]*m")  # as rich writes them; texts of rows have none left


def show(result: Any, *, as_json: bool = False, layouts: str | None = None) -> None:
    """Print the result of a verb: tables for people, or one JSON object.

    Args:
        result: the result.
        as_json: print it as one JSON object.
        layouts: module whose ``LAYOUTS`` say how results look; None for curate's. Imported only here: rich takes time to load.
    """
    if as_json:
        print(printable_json(json.dumps(payload(result), ensure_ascii=False, allow_nan=False)))
        return
    from curate.terminal.layouts import PAGED, render
    from curate.terminal.widgets import Verbatim

    console, kind = _screen(sys.stdout), type(result)
    with _pager(console) if f"{kind.__module__}:{kind.__qualname__}" in PAGED else contextlib.nullcontext():
        for part in render(result, importlib.import_module(layouts or LAYOUTS).LAYOUTS):
            if isinstance(part, Verbatim):
                print(part, end="")
            else:
                console.print(part, markup=False)


@contextlib.contextmanager
def _pager(console: Console) -> Iterator[None]:
    """Show what is printed meanwhile in the user's pager (``PAGER``, else less); where there is no terminal, print it.

    less ends by itself where all of it fits on the screen, unless ``LESS`` says otherwise.
    """
    command = os.environ.get("PAGER") or "less"
    program = next(iter(command.split()), "")
    if not (sys.stdout.isatty() and sys.stdin.isatty()) or shutil.which(program) is None:
        yield
        return
    flags = os.environ.get("LESS", "FRX")
    with console.capture() as captured:
        yield
    styled = Path(program).name == "less" and "R" in flags
    text = captured.get() if styled else _STYLES.sub("", captured.get())
    _run_pager(command, text, {**os.environ, "LESS": flags})


def _run_pager(command: str, text: str, environment: Mapping[str, str]) -> None:
    process = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt), process.stdin as pipe:  # the user may have seen enough
        pipe.write(text.encode("utf-8", "backslashreplace"))
    while process.poll() is None:
        with contextlib.suppress(KeyboardInterrupt):  # that was for the pager
            process.wait()


def ask(question: str) -> str | None:
    """Return what the user types on the terminal; None where there is none, or nothing is typed."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    print(printable(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or None


def say(line: str) -> None:
    """Print one line on stdout."""
    print(line)


def error(message: str, details: Iterable[str] = ()) -> None:
    """Print one error line on stderr, and a line for each of its details."""
    console = _screen(sys.stderr)
    for line in (f"error: {message}", *(f"  - {detail}" for detail in details)):
        console.print(printable(line.replace("\n", " ")), style="red", markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def watch(*, as_json: bool = False) -> Iterator[None]:
    """Show the progress of the enclosed work on stderr; with `as_json`, keep stdout clear of what libraries print."""
    with contextlib.ExitStack() as stack:
        panel = _Panel(_screen(sys.stderr)) if sys.stderr.isatty() else None
        if as_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        listener = stack.enter_context(panel) if panel else _Lines()
        stack.enter_context(progress.listen(_once(listener)))
        yield


def _once(listener: progress.Listener) -> progress.Listener:
    """Return a listener that passes each note on once, however often it comes."""
    seen: set[str] = set()

    def listen(event: Event) -> None:
        if event.done is None:
            if (line := _sentence(event)) in seen:
                return
            seen.add(line)
        listener(event)

    return listen


def _screen(stream: Any) -> Console:
    from rich.console import Console

    plain = not stream.isatty()
    return Console(file=stream, highlight=False, width=PIPE_WIDTH if plain else None, emoji=False)


def _sentence(event: Event) -> str:
    return f"{event.step}: {event.message}" + (f" ({figures(event.facts)})" if event.facts else "")


class _Lines:
    """A listener for pipes and logs: a line when a step ends, and one now and then while it lasts, ever more seldom."""

    def __init__(self) -> None:
        self._board = Board()
        self._printed_at: dict[str, float] = {}
        self._printed: set[str] = set()

    def __call__(self, event: Event) -> None:
        if event.done is None:
            self._print(_sentence(event))
            return
        now = time.monotonic()
        took = self._board.add(event, now)
        if took == 0:
            self._printed_at[event.step] = now
        ended = event.done == event.total
        worth = event.step not in self._printed or took >= 1  # short repeats of a step are left out
        pause = min(max(PLAIN_SECONDS, took * PLAIN_SHARE), PLAIN_MOST)
        waiting = bool(event.facts.get("in_flight"))
        if not (event.done or waiting) or not (now - self._printed_at[event.step] > pause or (ended and worth)):
            return
        self._printed.add(event.step)
        self._printed_at[event.step] = now
        self._print(self._board.line(event, now, took))

    @staticmethod
    def _print(line: str) -> None:
        print(one_line(line), file=sys.stderr, flush=True)


class _Panel:
    """A listener for terminals: the running steps as they stand, a line per note and per step that took a second or more."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._board = Board()
        self._live = Live(
            get_renderable=lambda: self._board.render(time.monotonic()), console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> _Panel:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        if event.done is None:
            self._line(_sentence(event))
            return
        now = time.monotonic()
        took = self._board.add(event, now)
        if event.done == event.total and took >= 1:
            self._line(self._board.line(event, now, took))

    def _line(self, line: str) -> None:
        self._live.console.print(one_line(line), style="dim", markup=False, highlight=False, soft_wrap=True)


def payload(result: Any) -> dict[str, Any]:
    """Return a result as one JSON object.

    Args:
        result: a result of a verb; where it has ``to_dict()``, that says what the object holds.
    """
    found = plain(result)
    return found if isinstance(found, dict) else {"result": found}


def plain(value: Any) -> Any:
    """Return `value` as JSON-able data."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_dict") and not isinstance(value, type):
        return plain(_named(value))
    return _container(value)


def _named(value: Any) -> Any:
    """Return what `value` says of itself; a Polars frame says it as rows."""
    return value.to_dicts() if hasattr(value, "to_dicts") else value.to_dict()


def _container(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if _is_handle(value):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # a NumPy array or number
        return plain(value.tolist())
    if isinstance(value, Set):  # in an order that does not change from run to run
        return sorted((plain(item) for item in value), key=str)
    if hasattr(value, "__iter__"):
        return [plain(item) for item in value]
    return str(value)


def _is_handle(value: Any) -> bool:
    from curate.manifest.manifest import Manifest  # here, since help must not load it

    return isinstance(value, Manifest)
