"""Draws a tail before and after, as bars or, of many domains, as a distribution; and methods by two figures. PNG or SVG.

The only importer of altair. Computes no figure. Every text of data goes through `curate.escapes.drawable`: a character that XML
has not ends the whole process inside the renderer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from curate.errors import InputError
from curate.escapes import drawable
from curate.files import write_whole
from curate.report.tail import ENDS, MOST_LISTED

__all__ = ["FORMATS", "FrontPoint", "Part", "Tail", "check_ending", "plot_front", "plot_tail"]

FORMATS = (".png", ".svg")

_BLUE, _ORANGE, _INK, _FAINT = "#3b6ea8", "#e8853d", "#2b2f36", "#8a9099"
_HUES = ["#3b6ea8", "#b3541e", "#3d7a4b", "#7a4fa0", "#a83b5a", "#5c6370", "#8a6d1f", "#1f7a86"]  # dark enough on white
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_STEP, _TIGHT = 20, 11  # pixels from bar to bar, for few and for many domains
_MANY = 30  # bars from which on they are packed tightly
_WIDTH, _ROOM = 300, 34  # pixels of a panel, and of the room that its longest bar leaves for a number
_CURVE = 150  # pixels of height of a distribution
_PLAIN = {"if": "if\u200b"}  # a list of names in which Vega finds this one, it takes for a call of its function
_SCALE = 2  # PNG pixels per pixel


class Part(Protocol):
    """A bar: a domain, or a cluster of one, and its rows; see `curate.report.tail.Part`."""

    @property
    def domain(self) -> str: ...
    @property
    def cluster(self) -> int | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def real(self) -> int: ...
    @property
    def synthetic(self) -> int: ...


class Tail(Protocol):
    """What is drawn of a tail; a `curate.report.tail.Profile` is one."""

    @property
    def manifest(self) -> Any: ...
    @property
    def by(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def domains(self) -> Sequence[Part]: ...
    @property
    def imbalance_ratio(self) -> float: ...
    @property
    def gini(self) -> float: ...


def plot_tail(profiles: Tail | Sequence[Tail], path: str | Path, *, titles: Sequence[str] = ()) -> Path:
    """Draw the tail of one profile, or of several side by side, such as before and after balancing.

    Domains keep the order of the first profile, so that a bar is found in the same line everywhere. Every panel has its own
    scale, which starts at 0: the shapes are compared, and the rows are written beside the bars. More than `MOST_LISTED` domains
    are drawn as rows over rank, both on logarithmic scales, with the bars of the first and the last `ENDS` domains below.

    Args:
        profiles: one, or some of the same grouping.
        path: a file that ends in ``.png`` or ``.svg``.
        titles: one per profile; else ``before`` and ``after`` for two, and the manifest's name.

    Returns:
        The path that was written.

    Raises:
        InputError: the ending is another one, there is nothing to draw, it cannot be drawn, or the file cannot be written.
    """
    panels = list(profiles) if isinstance(profiles, Sequence) else [profiles]
    target = Path(path)
    check_ending(target)
    if not panels or (titles and len(titles) != len(panels)):
        raise InputError(f"plot {target.name!r}: give at least one profile, and as many titles as profiles or none")
    chart = _chart(panels, titles or _titles(panels))
    try:
        write_whole(target, lambda part: _render(chart, part, target))
    except OSError as e:
        raise InputError(f"plot {str(target)!r} cannot be written: {e.strerror or e}") from e
    return target


def _render(chart: Any, path: Path, target: Path) -> None:
    kind = target.suffix.lower().removeprefix(".")
    try:
        chart.save(str(path), format=kind, scale_factor=_SCALE if kind == "png" else 1)
    except BaseException as e:  # a panic of the renderer is no Exception, and its class cannot be imported
        if isinstance(e, Exception | KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        raise InputError(f"plot {target.name!r} cannot be drawn: {' '.join(str(e).split())[:200]}; try the other ending") from e


def check_ending(path: str | Path) -> None:
    """Refuse a file whose format cannot be drawn, before any work is done for it.

    Raises:
        InputError: the ending is none of `FORMATS`.
    """
    name, ending = Path(path).name, Path(path).suffix
    if ending.lower() not in FORMATS:
        raise InputError(f"plot {name!r}: the ending must be one of {', '.join(FORMATS)}, got {ending!r}")


def _titles(panels: Sequence[Tail]) -> list[str]:
    return ["before", "after"] if len(panels) == 2 else [str(profile.manifest) for profile in panels]


def _chart(panels: Sequence[Tail], titles: Sequence[str]) -> Any:
    import altair as alt

    names = _names(panels)
    draw = _panel if len(names) <= MOST_LISTED else _distribution
    drawn = [
        draw(profile, drawable(title), names, first=i == 0) for i, (profile, title) in enumerate(zip(panels, titles, strict=True))
    ]
    return (
        alt.hconcat(*drawn, spacing=28)
        .configure(font=_FONT, background="white", padding=14)
        .configure_view(stroke=None)
        .configure_title(anchor="start", color=_INK, fontSize=14, subtitleColor=_FAINT, subtitleFontSize=11, offset=10)
        .configure_legend(orient="bottom", title=None, labelColor=_INK, labelFontSize=11, symbolType="square")
    )


_Key = tuple[str, int | None]  # what tells parts apart: domain and cluster


def _key(part: Part) -> _Key:
    return part.domain, part.cluster


def _names(panels: Sequence[Tail]) -> dict[_Key, str]:
    """Return the name that is drawn for each part, each another one, in the order in which they are drawn."""
    names: dict[_Key, str] = {}
    used: Counter[str] = Counter()
    for key in dict.fromkeys(_key(part) for profile in panels for part in profile.domains):
        domain, cluster = key
        name = drawable(domain) or "(none)"
        name = name if cluster is None else f"{name} / {cluster}"
        used[name] += 1
        name = name if used[name] == 1 else f"{name} ({used[name]})"
        names[key] = _PLAIN.get(name, name)
    return names


def _panel(profile: Tail, title: str, names: Mapping[_Key, str], *, first: bool) -> Any:
    """Draw one profile: stacked bars of real and synthetic rows, and the rows as a number at the end."""
    import altair as alt

    heading = alt.TitleParams(title, subtitle=_subtitle(profile))
    return _bars(profile.domains, names, list(names.values()), first=first).properties(title=heading)


def _bars(parts: Sequence[Part], names: Mapping[_Key, str], order: Sequence[str], *, first: bool) -> Any:
    """Draw bars of some parts, in the lines of `order`."""
    import altair as alt

    step, size = (_TIGHT, 8) if len(order) > _MANY else (_STEP, 11)
    longest = max(part.rows for part in parts)
    labels = alt.Axis(
        title=None, labels=first, ticks=False, domain=False, labelPadding=6, labelColor=_INK, labelFontSize=size, labelLimit=220
    )
    y = alt.Y("domain:N", sort=list(order), axis=labels, scale=alt.Scale(domain=list(order), paddingInner=0.25))
    x = alt.X("rows:Q", stack="zero", axis=None, scale=alt.Scale(domain=[0, longest * _WIDTH / (_WIDTH - _ROOM)], nice=False))
    colour = alt.Color("source:N", scale=alt.Scale(domain=["real", "synthetic"], range=[_BLUE, _ORANGE]))
    pieces = [(part, source, getattr(part, source)) for part in parts for source in ("real", "synthetic")]
    drawn = alt.InlineData(values=[{"domain": names[_key(p)], "source": source, "rows": n} for p, source, n in pieces if n])
    bars = alt.Chart(drawn).mark_bar().encode(y=y, x=x, color=colour, order=alt.Order("source:N"))
    ends = alt.InlineData(values=[{"domain": names[_key(p)], "rows": p.rows, "text": f"{p.rows:,}"} for p in parts])
    numbers = (
        alt.Chart(ends)
        .mark_text(align="left", dx=4, fontSize=size, color=_FAINT, baseline="middle")
        .encode(y=y, x="rows:Q", text="text:N")
    )
    return (bars + numbers).properties(width=_WIDTH, height=alt.Step(step))


def _distribution(profile: Tail, title: str, names: Mapping[_Key, str], *, first: bool) -> Any:
    """Draw one profile of many parts: rows over rank, and under it the bars of the head and of the end of the tail."""
    import altair as alt

    heading = alt.TitleParams(title, subtitle=_subtitle(profile))
    axis: dict[str, Any] = {
        "grid": True,
        "gridColor": "#e6e8eb",
        "domain": False,
        "tickColor": "#e6e8eb",
        "labelColor": _FAINT,
        "format": "~s",
    }
    axis |= {"labelFontSize": 10, "titleColor": _FAINT, "titleFontSize": 10, "titleFontWeight": "normal", "tickCount": 5}
    ranks, most = len(profile.domains), profile.domains[0].rows
    x = alt.X("rank:Q", scale=alt.Scale(type="log", domain=[1, max(ranks, 2)], nice=False), axis=alt.Axis(title="rank", **axis))
    y = alt.Y("rows:Q", scale=alt.Scale(type="log", domain=[1, max(most, 2)]), axis=alt.Axis(title="rows", **axis))
    curve = alt.Chart(alt.InlineData(values=_steps(profile))).mark_line(color=_BLUE, strokeWidth=2).encode(x=x, y=y)
    order = list(names)
    shown, between = [*order[:ENDS], *order[-ENDS:]], f"… {len(order) - 2 * ENDS:,} more"
    lines = [*(names[key] for key in order[:ENDS]), between, *(names[key] for key in order[-ENDS:])]
    parts = [part for part in profile.domains if _key(part) in set(shown)]
    below = [_bars(parts, names, lines, first=first)] if parts else []
    return alt.vconcat(curve.properties(width=_WIDTH, height=_CURVE, title=heading), *below, spacing=14)


def _steps(profile: Tail) -> list[dict[str, int]]:
    """Return the corners of rows over rank: the first and the last rank of each number of rows."""
    rows = [part.rows for part in profile.domains]
    n = len(rows)
    corners = [i for i in range(n) if i in (0, n - 1) or rows[i] != rows[i - 1] or rows[i] != rows[i + 1]]
    return [{"rank": i + 1, "rows": rows[i]} for i in corners]


def _subtitle(profile: Tail) -> str:
    ratio = profile.imbalance_ratio
    figures = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
    several = "" if len(profile.domains) <= MOST_LISTED else f" in {len(profile.domains):,} {profile.by}s"
    return f"{profile.rows:,} rows{several}, largest to smallest {figures} : 1, Gini {profile.gini:.2f}"


@dataclass(frozen=True)
class FrontPoint:
    """A point of `plot_front`: two figures from 0 to 1 with their intervals (``value``, ``low``, ``high``).

    Attributes:
        name: written beside it.
        group: points of one group have one colour, and a line joins them.
        x: the figure along.
        y: the figure upwards.
    """

    name: str
    group: str
    x: Any
    y: Any


def plot_front(points: Sequence[FrontPoint], path: str | Path, *, x: str, y: str) -> Path:
    """Draw what methods reach by two figures that pull against each other; the best stand at the upper right.

    Args:
        points: of the methods, at least one.
        path: a file that ends in ``.png`` or ``.svg``.
        x: title of the axis along.
        y: title of the axis upwards.

    Raises:
        InputError: the ending is another one, there is nothing to draw, or the file cannot be written.
    """
    import altair as alt

    target = Path(path)
    check_ending(target)
    if not points:
        raise InputError(f"plot {target.name!r}: there is nothing to draw")
    values = [
        {"name": drawable(p.name), "group": drawable(p.group), "order": i, **_ends("x", p.x), **_ends("y", p.y)}
        for i, p in enumerate(points)
    ]
    drawn = alt.InlineData(values=values)
    axis: dict[str, Any] = {"format": "~%", "gridColor": "#e6e8eb", "domain": False, "tickColor": "#e6e8eb", "labelColor": _INK}
    axis |= {"titleColor": _INK, "titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 12}
    along = alt.X("x:Q", scale=alt.Scale(zero=False, padding=24), axis=alt.Axis(title=x, **axis))
    up = alt.Y("y:Q", scale=alt.Scale(zero=False, padding=24), axis=alt.Axis(title=y, **axis))
    colour = alt.Color("group:N", legend=None, scale=alt.Scale(range=_HUES))
    chart = alt.Chart(drawn)
    layers = (
        chart.mark_line(strokeWidth=1, opacity=0.6).encode(x=along, y=up, color=colour, order="order:Q"),
        chart.mark_rule(strokeWidth=1, opacity=0.35).encode(x=alt.X("x_low:Q"), x2="x_high:Q", y=up, color=colour),
        chart.mark_rule(strokeWidth=1, opacity=0.35).encode(x=along, y=alt.Y("y_low:Q"), y2="y_high:Q", color=colour),
        chart.mark_circle(size=70, opacity=1).encode(x=along, y=up, color=colour),
        chart.mark_text(align="left", dx=7, dy=-7, fontSize=11, color=_INK).encode(x=along, y=up, text="name:N"),
    )
    whole = alt.layer(*layers).properties(width=520, height=360).configure(font=_FONT, background="white", padding=14)
    try:
        write_whole(target, lambda part: _render(whole.configure_view(stroke=None), part, target))
    except OSError as e:
        raise InputError(f"plot {str(target)!r} cannot be written: {e.strerror or e}") from e
    return target


def _ends(name: str, figure: Any) -> dict[str, float]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
