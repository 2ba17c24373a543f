"""The building blocks of screens: bars that are true to scale, figures that people can read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.terminal import widgets


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=4), st.integers(4, 60))
def test_a_bar_is_as_long_as_its_values(values: list[float], width: int) -> None:
    largest = sum(values)
    text = widgets.Bar([(value, "red") for value in values], largest).text(width)
    assert len(text) <= width + len(values)
    assert (len(text) > 0) == any(values)
    alone = [widgets.Bar([(value, "red")], largest).text(width) for value in sorted(values)]
    assert [len(bar) for bar in alone] == sorted(len(bar) for bar in alone)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([8, 0], "████████"), ([0.1], "▏"), ([4.5, 3.5], "████▌███"), ([0, 2.25], "██▎"), ([0.5, 0.25], "▌"), ([], ""), ([0], "")],
)
def test_bars(values: list[float], expected: str) -> None:
    assert widgets.Bar([(value, "red") for value in values], 8).text(8).plain == expected


def test_two_stretches_share_a_character() -> None:
    spans = widgets.Bar([(4.5, "red"), (3.5, "blue")], 8).text(8).spans
    assert [str(span.style) for span in spans] == ["red", "red on blue", "blue"]


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (widgets.count, 1234567, "1,234,567"),
        (widgets.count, None, "–"),
        (widgets.count, 2.5, "2"),
        (widgets.share, 0.12345, "12.3%"),
        (widgets.share, None, "–"),
        (widgets.number, 0.46381, "0.464"),
        (widgets.number, None, "–"),
        (widgets.seconds, 8.14, "8.1 s"),
        (widgets.seconds, 125.4, "2 min 05 s"),
        (widgets.seconds, 59.99, "60.0 s"),
        (widgets.short_id, "7c1e0123456789", "7c1e0123"),
        (widgets.short_id, None, "–"),
    ],
)
def test_figures(function: object, value: object, expected: str) -> None:
    assert function(value) == expected  # type: ignore[operator]


def test_accuracy_has_its_interval_where_there_is_one() -> None:
    assert widgets.accuracy(0.3125, 0.24, 0.39) == "31.2% (24–39)"
    assert widgets.accuracy(0.5) == "50.0%"
    assert widgets.accuracy(None) == "–"
