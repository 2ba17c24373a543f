"""The picture of a tail: it is written whole, shows every bar, and refuses what it cannot write."""

import struct
from pathlib import Path
from typing import Any

import pytest

from curate.errors import InputError
from curate.report import plot, profile
from curate.report.tail import Profile
from tests.support.samples import ingested


def profiled(root: Path, sizes: dict[str, int], **options: Any) -> Profile:
    rows = [
        {"prompt": f"{d}{i}", "domain": d, "cluster": i % 2, "source": "synthetic" if i > 4 else "real"}
        for d, n in sizes.items()
        for i in range(n)
    ]
    return profile.profile(ingested(root, rows), **options)


@pytest.fixture
def before(tmp_path: Path) -> Profile:
    return profiled(tmp_path / "before", {"algebra": 1200, "number theory": 30, "Mengenlehre & Größen": 2})


@pytest.fixture
def after(tmp_path: Path) -> Profile:
    return profiled(tmp_path / "after", {"algebra": 9, "number theory": 8, "Mengenlehre & Größen": 7})


def test_svg_holds_every_domain_and_its_rows(tmp_path: Path, before: Profile, after: Profile) -> None:
    svg = plot.plot_tail([before, after], tmp_path / "tail.svg").read_text(encoding="utf-8")
    for text in ("algebra", "number theory", "Mengenlehre &amp; Größen", "1,200", "before", "after", "synthetic"):
        assert f">{text}<" in svg
    assert "1,232 rows, largest to smallest 600 : 1, Gini 0.65" in svg
    assert "largest to smallest 1.3 : 1" in svg


def test_png_is_a_picture_of_twice_the_pixels(tmp_path: Path, before: Profile) -> None:
    data = plot.plot_tail(before, tmp_path / "tail.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 600
    assert height > 150


def test_many_domains_stay_apart(tmp_path: Path) -> None:
    found = profiled(tmp_path, {f"d{i:02d}": 90 - i for i in range(90)})
    svg = plot.plot_tail(found, tmp_path / "tail.svg").read_text(encoding="utf-8")
    assert all(f">d{i:02d}<" in svg for i in range(90))


def test_clusters_are_named_with_their_domain(tmp_path: Path) -> None:
    found = profiled(tmp_path, {"algebra": 3}, by="cluster")
    assert ">algebra / 1<" in plot.plot_tail(found, tmp_path / "tail.svg").read_text(encoding="utf-8")


def test_titles_can_be_given(tmp_path: Path, before: Profile) -> None:
    svg = plot.plot_tail(before, tmp_path / "tail.svg", titles=["MATH"]).read_text(encoding="utf-8")
    assert ">MATH<" in svg


# What XML has no character for; each ends the process of a renderer that is given it.
NO_XML = [chr(code) for code in (*range(0x20), 0xFFFE, 0xFFFF, 0x7F, 0x9B) if chr(code) not in "\t\n\r"]


@pytest.mark.parametrize("ending", [".svg", ".png"])
def test_characters_that_xml_has_not_are_drawn_as_marks(tmp_path: Path, ending: str) -> None:
    found = profiled(tmp_path, {f"a{character}b": 2 for character in (*NO_XML, "\t", "\n", "\r")})
    drawn = plot.plot_tail(found, tmp_path / f"tail{ending}", titles=["Rock\x0bPop"]).read_bytes()
    if ending == ".svg":
        text = drawn.decode("utf-8")
        assert all(f">{part}<" in text for part in ("a\\x0bb", "a\\ufffeb", "a\\x09b", "Rock\\x0bPop"))
        assert not set(text) & set(NO_XML)


def test_names_that_are_drawn_alike_stay_two_bars(tmp_path: Path) -> None:
    found = profiled(tmp_path, {"Rock\x0bPop": 7, "Rock\\x0bPop": 5})
    svg = plot.plot_tail(found, tmp_path / "tail.svg").read_text(encoding="utf-8")
    assert ">Rock\\x0bPop<" in svg
    assert ">Rock\\x0bPop (2)<" in svg


def test_more_domains_than_bars_are_a_distribution_with_its_ends_named(tmp_path: Path) -> None:
    sizes = {f"d{i:03d}": max(1, 40 // (i + 1)) for i in range(501)}
    before, after = profiled(tmp_path / "a", sizes), profiled(tmp_path / "b", dict.fromkeys(sizes, 2))
    svg = plot.plot_tail([before, after], tmp_path / "tail.svg").read_text(encoding="utf-8")
    shown = [name for name in sizes if f">{name}<" in svg]
    assert shown == [*list(sizes)[:10], *list(sizes)[-10:]]
    assert ">… 481 more<" in svg
    assert "in 501 domains, largest to smallest 40 : 1" in svg
    few = profiled(tmp_path / "c", {name: n for name, n in sizes.items() if name != "d500"})
    assert ">d250<" in plot.plot_tail(few, tmp_path / "few.svg").read_text(encoding="utf-8")


class Panic(BaseException):
    """What a panic of the renderer is: no Exception."""


def test_a_panic_of_the_renderer_is_one_line(tmp_path: Path, before: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    import altair

    def fail(*_: Any, **__: Any) -> None:
        raise Panic("called `Result::unwrap()`\non an `Err` value")

    monkeypatch.setattr(altair.HConcatChart, "save", fail)
    with pytest.raises(InputError, match=r"plot 'tail.png' cannot be drawn: called `Result::unwrap\(\)` on an `Err` value"):
        plot.plot_tail(before, tmp_path / "tail.png")
    assert not (tmp_path / "tail.png").exists()


@pytest.mark.parametrize(
    ("name", "count", "titles", "said"),
    [
        ("tail.gif", 1, [], r"plot 'tail.gif': the ending must be one of .png, .svg, got '.gif'"),
        ("tail.png", 0, [], "give at least one profile"),
        ("tail.png", 1, ["a", "b"], "as many titles as profiles"),
        ("nowhere/tail.png", 1, [], "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_says_why(
    tmp_path: Path, before: Profile, name: str, count: int, titles: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        plot.plot_tail([before] * count, tmp_path / name, titles=titles)
    assert [path.name for path in tmp_path.iterdir()] == ["before"], "nothing half written is left"


def test_a_domain_named_like_a_function_of_the_renderer_is_drawn(tmp_path: Path) -> None:
    drawn = plot.plot_tail(profiled(tmp_path, {"if": 2, "for": 1}), tmp_path / "tail.svg")
    assert ">if" in drawn.read_text(encoding="utf-8")
