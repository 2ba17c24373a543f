"""Draws a tail as bars, before and after, as PNG or SVG. The only importer of altair. Computes no figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.errors import InputError
from curate.files import write_whole
from curate.report.tail import Part, Profile

__all__ = ["FORMATS", "check_ending", "plot_tail"]

FORMATS = (".png", ".svg")

_BLUE, _ORANGE, _INK, _FAINT = "#3b6ea8", "#e8853d", "#2b2f36", "#8a9099"
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_STEP, _TIGHT = 20, 11  # pixels from bar to bar, for few and for many domains
_MANY = 30  # bars from which on they are packed tightly
_WIDTH, _ROOM = 300, 34  # pixels of a panel, and of the room that its longest bar leaves for a number
_SCALE = 2  # PNG pixels per pixel


def plot_tail(profiles: Profile | Sequence[Profile], path: str | Path, *, titles: Sequence[str] = ()) -> Path:
    """Draw the tail of one profile, or of several side by side, such as before and after balancing.

    Domains keep the order of the first profile, so that a bar is found in the same line everywhere. Every panel has its own
    scale, which starts at 0: the shapes are compared, and the rows are written beside the bars.

    Args:
        profiles: one, or some of the same grouping.
        path: a file that ends in ``.png`` or ``.svg``.
        titles: one per profile; else ``before`` and ``after`` for two, and the manifest's name.

    Returns:
        The path that was written.

    Raises:
        InputError: the ending is another one, there is nothing to draw, or the file cannot be written.
    """
    panels = [profiles] if isinstance(profiles, Profile) else list(profiles)
    target = Path(path)
    check_ending(target)
    if not panels or (titles and len(titles) != len(panels)):
        raise InputError(f"plot {target.name!r}: give at least one profile, and as many titles as profiles or none")
    chart = _chart(panels, titles or _titles(panels))
    kind = target.suffix.lower().removeprefix(".")
    try:
        write_whole(target, lambda part: chart.save(str(part), format=kind, scale_factor=_SCALE if kind == "png" else 1))
    except OSError as e:
        raise InputError(f"plot {str(target)!r} cannot be written: {e.strerror or e}") from e
    return target


def check_ending(path: str | Path) -> None:
    """Refuse a file whose format cannot be drawn, before any work is done for it.

    Raises:
        InputError: the ending is none of `FORMATS`.
    """
    name, ending = Path(path).name, Path(path).suffix
    if ending.lower() not in FORMATS:
        raise InputError(f"plot {name!r}: the ending must be one of {', '.join(FORMATS)}, got {ending!r}")


def _titles(panels: Sequence[Profile]) -> list[str]:
    return ["before", "after"] if len(panels) == 2 else [str(profile.manifest) for profile in panels]


def _chart(panels: Sequence[Profile], titles: Sequence[str]) -> Any:
    import altair as alt

    order = list(dict.fromkeys(_label(part) for profile in panels for part in profile.domains))
    drawn = [_panel(profile, title, order, first=i == 0) for i, (profile, title) in enumerate(zip(panels, titles, strict=True))]
    return (
        alt.hconcat(*drawn, spacing=28)
        .configure(font=_FONT, background="white", padding=14)
        .configure_view(stroke=None)
        .configure_title(anchor="start", color=_INK, fontSize=14, subtitleColor=_FAINT, subtitleFontSize=11, offset=10)
        .configure_legend(orient="bottom", title=None, labelColor=_INK, labelFontSize=11, symbolType="square")
    )


def _panel(profile: Profile, title: str, order: Sequence[str], *, first: bool) -> Any:
    """Draw one profile: stacked bars of real and synthetic rows, and the rows as a number at the end."""
    import altair as alt

    step, size = (_TIGHT, 8) if len(order) > _MANY else (_STEP, 11)
    longest = max(part.rows for part in profile.domains)
    labels = alt.Axis(
        title=None, labels=first, ticks=False, domain=False, labelPadding=6, labelColor=_INK, labelFontSize=size, labelLimit=220
    )
    y = alt.Y("domain:N", sort=list(order), axis=labels, scale=alt.Scale(domain=list(order), paddingInner=0.25))
    x = alt.X("rows:Q", stack="zero", axis=None, scale=alt.Scale(domain=[0, longest * _WIDTH / (_WIDTH - _ROOM)], nice=False))
    colour = alt.Color("source:N", scale=alt.Scale(domain=["real", "synthetic"], range=[_BLUE, _ORANGE]))
    pieces = alt.InlineData(values=_pieces(profile))
    bars = alt.Chart(pieces).mark_bar().encode(y=y, x=x, color=colour, order=alt.Order("source:N"))
    ends = alt.InlineData(
        values=[{"domain": _label(part), "rows": part.rows, "text": f"{part.rows:,}"} for part in profile.domains]
    )
    numbers = (
        alt.Chart(ends)
        .mark_text(align="left", dx=4, fontSize=size, color=_FAINT, baseline="middle")
        .encode(y=y, x="rows:Q", text="text:N")
    )
    heading = alt.TitleParams(title, subtitle=_subtitle(profile))
    return (bars + numbers).properties(title=heading, width=_WIDTH, height=alt.Step(step))


def _pieces(profile: Profile) -> list[dict[str, Any]]:
    counts = [(part, source, getattr(part, source)) for part in profile.domains for source in ("real", "synthetic")]
    return [{"domain": _label(part), "source": source, "rows": rows} for part, source, rows in counts if rows]


def _subtitle(profile: Profile) -> str:
    ratio = profile.imbalance_ratio
    figures = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
    return f"{profile.rows:,} rows, largest to smallest {figures} : 1, Gini {profile.gini:.2f}"


def _label(part: Part) -> str:
    name = part.domain or "(none)"
    return name if part.cluster is None else f"{name} / {part.cluster}"
