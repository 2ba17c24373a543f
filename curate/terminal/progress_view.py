"""Shows steps under way: a bar each, and for paid calls the rates, the money spent and the cap. Prints nothing.

`curate.terminal.console` gives a `Board` the events and prints what it returns: `render` for a terminal, `line` for a pipe.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.progress import Event
from curate.teachers.prices import format_usd

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Board", "figures", "span"]

_WINDOW = 60.0  # seconds that rates are measured over
_LEAST = 2.0  # seconds before a rate or a projection is shown
_OF_CALLS = ("calls", "tokens", "usd", "saved", "in_flight", "cap")  # facts that `line` and `render` put in words


@dataclass
class _Step:
    """One step under way."""

    name: str
    total: int | None
    started: float
    done: int = 0
    before: float | None = None  # dollars that were spent when it began, by other steps
    facts: dict[str, Any] = field(default_factory=dict)


class _Meter:
    """Calls and tokens per minute, over the last minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()

    def add(self, calls: int, tokens: int, now: float) -> None:
        if self._samples and calls < self._samples[-1][1]:  # another account begins
            self._samples.clear()
        if len(self._samples) < 2 or now - self._samples[-2][0] >= 0.5:
            self._samples.append((now, calls, tokens))
        else:
            self._samples[-1] = (now, calls, tokens)
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()

    def per_minute(self) -> tuple[float, float] | None:
        """Return calls and tokens, or None where it is too early."""
        if not self._samples or self._samples[-1][0] - self._samples[0][0] < _LEAST:
            return None
        (begin, *before), (end, *after) = self._samples[0], self._samples[-1]
        calls, tokens = ((late - early) / (end - begin) * 60 for early, late in zip(before, after, strict=True))
        return calls, max(tokens, 0.0)


class Board:
    """The steps under way and what they have cost; safe to feed from one thread and to draw from another.

    Times are seconds of one clock that never turns back.
    """

    def __init__(self) -> None:
        self._steps: dict[str, _Step] = {}
        self._meter = _Meter()
        self._lock = threading.Lock()

    def add(self, event: Event, now: float) -> float:
        """Add an event with a count; return the seconds since its step began."""
        with self._lock:
            if event.done == 0 and not event.facts:
                self._steps.pop(event.step, None)  # it begins anew, below those that began before
            step = self._steps.setdefault(event.step, _Step(event.step, event.total, now))
            for later in list(self._steps)[list(self._steps).index(event.step) + 1 :]:
                del self._steps[later]  # whoever is outside goes on when those inside have ended, however they did
            step.done, step.total = event.done or 0, event.total
            step.facts = step.facts | event.facts
            if step.before is None and "usd" in event.facts:
                step.before = 0.0 if event.done else event.facts["usd"]
            if "calls" in event.facts:
                self._meter.add(event.facts["calls"], event.facts.get("tokens", 0), now)
            if event.done == event.total:
                del self._steps[event.step]
            return now - step.started

    def line(self, event: Event, now: float, took: float) -> str:
        """Return the state of a step in one line, for a pipe."""
        of = "" if event.total is None else f" of {event.total:,}"
        parts = [f"{event.step}: {event.done:,}{of} in {took:.1f} s"]
        others = figures({name: value for name, value in event.facts.items() if name not in _OF_CALLS})
        parts += [others] if others else []
        if "calls" in event.facts:
            parts += [f"{event.facts['in_flight']:,} in flight"] if event.facts.get("in_flight") else []
            parts += self._calls(event.facts)
            with self._lock:
                step = self._steps.get(event.step)
            parts += self._money(event.facts, event.done or 0, event.total, (step and step.before) or 0.0)
        left = _left(event.done or 0, event.total, took)
        return ", ".join([*parts, *([f"about {span(left)} left"] if left else [])])

    def render(self, now: float) -> RenderableType:
        """Return the bars, in a panel with the figures of paid calls where there are any."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        with self._lock:
            steps = [(step, now - step.started) for step in self._steps.values()]
            paid = next((step for step, _ in reversed(steps) if "calls" in step.facts), None)
            if not steps:
                return Text("starting", style="dim")
            bars = _bars(steps, figures_too=paid is None)
            if paid is None:
                return bars
            lines = self._lines([step for step, _ in steps], paid)
        return Panel(Group(bars, *(Text(line) for line in lines)), title="paid calls", title_align="left", expand=False)

    def _lines(self, steps: list[_Step], paid: _Step) -> list[str]:
        outer = next((step for step in steps if "rejected" in step.facts), None)
        judged = [f"{outer.done:,} accepted", f"{outer.facts['rejected']:,} rejected"] if outer else []
        measure = outer if outer and outer.done else paid
        money = self._money(paid.facts, measure.done, measure.total, measure.before or 0.0)
        under_way = [f"{paid.facts['in_flight']:,} in flight"] if paid.facts.get("in_flight") else []
        return [" · ".join(part) for part in ([*judged, *under_way], self._calls(paid.facts), money) if part]

    def _calls(self, facts: Mapping[str, Any]) -> list[str]:
        parts = [f"{facts['calls']:,} calls, {facts.get('tokens', 0):,} tokens"]
        if rates := self._meter.per_minute():
            parts.append(f"{rates[0]:,.0f} calls and {rates[1]:,.0f} tokens per minute")
        if facts.get("saved"):
            parts.append(f"{facts['saved']:,} from the ledger")
        return parts

    @staticmethod
    def _money(facts: Mapping[str, Any], done: int, total: int | None, before: float) -> list[str]:
        usd, parts = facts.get("usd"), []
        if usd is not None:
            whole = before + (usd - before) * total / done if usd and total is not None and 0 < done < total else None
            parts.append(f"{format_usd(usd)} spent" + ("" if whole is None else f", about {format_usd(whole)} in all"))
        return [*parts, f"cap: {facts['cap']}"] if facts.get("cap") else parts


def figures(facts: Mapping[str, Any]) -> str:
    """Return facts as ``accepted 40, usd 0.0031``; what is not known is left out."""
    known = {name: value for name, value in facts.items() if value is not None and value != ""}
    return ", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in known.items())


def span(seconds: float) -> str:
    """Return a duration, such as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _bars(steps: list[tuple[_Step, float]], *, figures_too: bool) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    for step, took in steps:
        bar = ProgressBar(total=step.total or None, completed=step.done, width=30, pulse=not step.total)
        counted = f"{step.done:,}" + ("" if step.total is None else f" of {step.total:,}")
        left = _left(step.done, step.total, took)
        facts = figures(step.facts) if figures_too else ""
        time = f"about {span(left)} left" if left else span(took)
        grid.add_row(Text(step.name), bar, Text(counted), Text(time), Text(facts, style="dim"))  # as they are, brackets too
    return grid


def _left(done: int, total: int | None, took: float) -> float | None:
    """Return the seconds left at the pace so far, or None where it is not known."""
    if total is None or not 0 < done < total or took < _LEAST:
        return None
    return took * (total - done) / done


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
