"""Building blocks of screens: grids, bars, shares, counts. Knows no result and prints nothing.

Whatever text goes into one passes through `curate.escapes.printable`, so that layouts need not think of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from curate.escapes import one_line, printable

__all__ = [
    "ABSENT",
    "Bar",
    "Verbatim",
    "accuracy",
    "count",
    "facts",
    "grid",
    "line",
    "number",
    "pairs",
    "rule",
    "seconds",
    "share",
    "short_id",
    "size",
]

ABSENT = "–"
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Verbatim(str):
    """Text that is printed as it is, neither wrapped nor coloured."""


class Bar:
    """A bar of blocks, as wide as there is room for; any value above 0 is visible.

    Args:
        parts: (value, style) of each stretch.
        largest: the value that fills `width`.
        width: in characters, at most.
    """

    def __init__(self, parts: Iterable[tuple[float, str]], largest: float, *, width: int = 28) -> None:
        self.parts, self.largest, self.width = list(parts), largest, width

    def text(self, width: int) -> Text:
        """Return the bar at a scale at which `largest` is `width` characters long."""
        text, rest, before = Text(no_wrap=True, overflow="crop"), 0, ""
        for value, style in self.parts:
            eighths = max(1, round(8 * width * value / self.largest)) if value and self.largest else 0
            if rest and eighths:  # this stretch begins within the last one's character
                text.append(_EIGHTHS[rest], style=f"{before} on {style}")
                eighths, rest = max(0, eighths - 8 + rest), 0
            text.append("█" * (eighths // 8), style=style)
            rest, before = (eighths % 8, style) if eighths else (rest, before)
        return text.append(_EIGHTHS[rest] if rest else "", style=before)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text(min(self.width, options.max_width))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(4, self.width), self.width)


def grid(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: Iterable[int] = (0,), total: Sequence[Any] | None = None
) -> Table:
    """Return a table without lines.

    Args:
        columns: headings.
        rows: cells, as text or renderables; None is shown as a dash.
        left: positions of the columns of texts and bars, which shrink where the terminal is narrow; the others are figures,
            aligned to the right and never cut.
        total: cells of a last row, set apart.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_footer=total is not None)
    lefts = set(left)
    for position, heading in enumerate(columns):
        footer = _cell(total[position]) if total is not None else ""
        to_left = position in lefts
        justify: Literal["left", "right"] = "left" if to_left else "right"
        table.add_column(printable(heading), footer, footer_style="bold", justify=justify, overflow="fold", no_wrap=not to_left)
    for row in rows:
        table.add_row(*(_cell(one_line(cell) if isinstance(cell, str) else cell) for cell in row))
    return table


def facts(title: str, about: Iterable[tuple[str, Any]]) -> list[Any]:
    """Return a title and, under it, a name and a value per line; pairs whose value is None are left out."""
    table = pairs(about)
    return [Text(printable(title), style="bold"), *([table] if table.row_count else [])]


def pairs(about: Iterable[tuple[str, Any]]) -> Table:
    """Return a name and a value per line; pairs whose value is None are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in about:
        if value is not None:
            table.add_row(_cell(name), _cell(value))
    return table


def rule(title: str) -> Rule:
    """Return a line across the screen with a title at its left."""
    return Rule(Text(printable(title), style="bold"), align="left", style="dim")


def line(text: str) -> Text:
    """Return a text that stays on one line and is cut where there is no room."""
    return Text(printable(" ".join(text.split())), no_wrap=True, overflow="ellipsis")


def count(value: int | float | None) -> str:
    """Return a whole number with separators of thousands."""
    return ABSENT if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """Return a fraction as a percentage."""
    return ABSENT if value is None else f"{value:.1%}"


def number(value: float | None) -> str:
    """Return a number with three significant digits; from 1,000 on as a whole number."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def size(value: int) -> str:
    """Return a number of bytes, such as ``8.1 MB``; 1 kB is 1,000 bytes."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= factor:
            return f"{value / factor:,.1f} {unit}"
    return f"{value} B"


def seconds(value: float) -> str:
    """Return a duration, such as ``8.1 s`` or ``2 min 05 s``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def accuracy(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return an accuracy with its interval, such as ``31.3% (24–39)``."""
    if value is None:
        return ABSENT
    return f"{value:.1%}" if low is None or high is None else f"{value:.1%} ({100 * low:.0f}–{100 * high:.0f})"


def short_id(value: str | None) -> str:
    """Return the first digits of an id, enough to tell rows apart on a screen."""
    return ABSENT if not value else value[:8]


def _cell(value: Any) -> Any:
    if value is None:
        return Text(ABSENT)
    return value if hasattr(value, "__rich_console__") else Text(printable(str(value)))
