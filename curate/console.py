"""Owns everything that is printed. Works nothing out: `tables` lays results out for people, `payloads` for scripts.

A result goes to stdout. Progress, notes and errors go to stderr: bars on a terminal, plain lines in a pipe. With ``--json``
stdout carries one object and nothing else, whatever a library prints while the work is done.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from curate import progress
from curate.progress import Event

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["error", "figures", "say", "show", "watch"]

PIPE_WIDTH = 130  # columns of a table that goes into a file or a pipe
_STARTING = "starting"  # the bar until a verb tells of its first step
PLAIN_SECONDS = 5.0  # between two lines about one step in a pipe


def show(result: Any, *, as_json: bool = False) -> None:
    """Print what a verb returned: tables for people, or one JSON object."""
    if as_json:
        from curate import payloads

        print(json.dumps(payloads.payload(result), ensure_ascii=False, allow_nan=False))
        return
    from curate import grids, tables

    console = _screen(sys.stdout)
    for part in tables.render(result):
        if isinstance(part, grids.Verbatim):
            print(part, end="")
        else:
            console.print(part, markup=False)


def say(line: str) -> None:
    """Print one line on stdout."""
    print(line)


def error(message: str, details: Iterable[str] = ()) -> None:
    """Print one error line on stderr, and a line for each of its details."""
    console = _screen(sys.stderr)
    for line in (f"error: {message}", *(f"  - {detail}" for detail in details)):
        console.print(line.replace("\n", " "), style="red", markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def watch(*, as_json: bool = False) -> Iterator[None]:
    """Show the progress of the enclosed work on stderr; with `as_json`, keep stdout clear of what libraries print."""
    with contextlib.ExitStack() as stack:
        bars = _Bars(_screen(sys.stderr)) if sys.stderr.isatty() else None
        if as_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        listener = stack.enter_context(bars) if bars else _Lines()
        stack.enter_context(progress.listen(_once(listener)))
        yield


def _once(listener: progress.Listener) -> progress.Listener:
    """Return a listener that hears each note once, however often a verb says it."""
    said: set[str] = set()

    def listen(event: Event) -> None:
        if event.done is None:
            if (line := _sentence(event)) in said:
                return
            said.add(line)
        listener(event)

    return listen


def figures(facts: Mapping[str, Any]) -> str:
    """Return facts as ``accepted 40, usd 0.0031``."""
    told = {name: value for name, value in facts.items() if value is not None and value != ""}
    return ", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in told.items())


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total:,}"


def _screen(stream: Any) -> Console:
    from rich.console import Console

    plain = not stream.isatty()
    return Console(file=stream, highlight=False, width=PIPE_WIDTH if plain else None, emoji=False)


def _sentence(event: Event) -> str:
    return f"{event.step}: {event.message}" + (f" ({figures(event.facts)})" if event.facts else "")


class _Lines:
    """A listener for pipes and logs: a line when a step ends, and one now and then while it lasts."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._spoke: dict[str, float] = {}
        self._said: set[str] = set()

    def __call__(self, event: Event) -> None:
        if event.done is None:
            self._print(_sentence(event))
            return
        now = time.monotonic()
        if event.done == 0 or event.step not in self._started:
            self._started[event.step] = self._spoke[event.step] = now
        ended = event.done == event.total
        worth = event.step not in self._said or now - self._started[event.step] >= 1  # short repeats of a step go unsaid
        if not event.done or not (now - self._spoke[event.step] > PLAIN_SECONDS or (ended and worth)):
            return
        self._said.add(event.step)
        self._spoke[event.step] = now
        facts = f", {figures(event.facts)}" if event.facts else ""
        self._print(f"{event.step}: {event.done:,}{_of(event.total)} in {now - self._started[event.step]:.1f} s{facts}")

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _Bars:
    """A listener for terminals: a bar per running step, a line per note and per step that took a second or more."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[facts]}", style="dim"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}

    def __enter__(self) -> _Bars:
        self._tasks[_STARTING] = self._progress.add_task(_STARTING, total=None, count="", facts="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if event.done is None:
            self._line(_sentence(event))
            return
        self._remove(_STARTING)
        if event.done == event.total:
            self._finish(event)
        else:
            self._advance(event)

    def _advance(self, event: Event) -> None:
        if event.done == 0:
            self._remove(event.step)
        if event.step not in self._tasks:
            self._tasks[event.step] = self._progress.add_task(event.step, total=event.total, count="", facts="")
            self._started[event.step] = time.monotonic()
        task, counted = self._tasks[event.step], f"{event.done or 0:,}{_of(event.total)}"
        self._progress.update(task, completed=event.done, total=event.total, count=counted, facts=figures(event.facts))

    def _finish(self, event: Event) -> None:
        took = time.monotonic() - self._started.get(event.step, time.monotonic())
        self._remove(event.step)
        if took >= 1:
            facts = f", {figures(event.facts)}" if event.facts else ""
            self._line(f"{event.step}: {event.done:,} in {took:.1f} s{facts}")

    def _remove(self, step: str) -> None:
        if step in self._tasks:
            self._progress.remove_task(self._tasks.pop(step))

    def _line(self, line: str) -> None:
        self._progress.console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
