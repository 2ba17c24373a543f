"""No control character of a text reaches a terminal: every one is shown, and everything else stays as it is."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from curate.escapes import drawable, one_line, printable, printable_json
from curate.terminal import console, widgets

# Many texts are full of what is dangerous or wide: controls, overrides of direction, halves of pairs, Arabic, Chinese, emoji.
WILD = "\x00\x07\x08\x0b\r\x1b\x7f\x85\x9b\u2028\u202e\u2066\ud800\udfffשלוםعربي漢字👩‍👩‍👧e\u0301[31m]0;"
CONTROLS = st.characters(categories=["Cc", "Cs", "Cf"])
TEXTS = st.one_of(st.text(), st.text(alphabet=st.sampled_from(WILD)), st.text(alphabet=CONTROLS))


def dangerous(text: str) -> list[str]:
    """Return the characters that must not be printed: controls but tab and line feed, and overrides of direction."""
    overrides = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    overrides += "\ufffe\uffff"  # no characters, which XML cannot hold
    return [c for c in text if (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\t\n") or c in overrides]


@given(TEXTS)
def test_nothing_dangerous_is_left_and_nothing_is_lost(text: str) -> None:
    shown = printable(text)
    assert not dangerous(shown)
    assert shown.encode("utf-8") or not text
    assert printable(shown) == shown
    kept = [c for c in text if not dangerous(c)]
    position = 0
    for character in kept:  # all of it is there, in its order
        position = shown.index(character, position) + 1


@given(TEXTS)
def test_a_text_without_them_stays_as_it_is(text: str) -> None:
    if not dangerous(text):
        assert printable(text) == text
    else:
        assert printable(text) != text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "␛[2J"),
        ("a\r\nb\tc", "a␍\nb\tc"),
        ("\x7f\x9b31m", "␡\\x9b31m"),
        ("\u202eabc\u2069", "\\u202eabc\\u2069"),
        ("\ud83d", "\\ud83d"),
        ("ab\u200dc\u200f", "ab\u200dc\u200f"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(TEXTS)
def test_json_says_the_same_and_sends_nothing(text: str) -> None:
    written = printable_json(json.dumps({"a": [text]}, ensure_ascii=False))
    assert not dangerous(written)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves in a row are one character
    assert json.loads(written) == {"a": [whole]}


@given(TEXTS)
def test_what_is_drawn_is_xml_on_one_line(text: str) -> None:
    shown = drawable(text)
    assert not dangerous(shown)
    assert "\t" not in shown
    assert "\n" not in shown
    assert ElementTree.fromstring(f"<a>{escape(shown)}</a>").text in (shown, shown or None)
    assert shown == text or dangerous(text) or set(text) & set("\t\n")


def printed(*parts: object) -> str:
    """Return what a terminal of 80 columns is sent, without the styles of our own."""
    screen = Console(file=io.StringIO(), width=80, force_terminal=True, highlight=False, emoji=False)
    for part in parts:
        screen.print(part, markup=False)
    assert isinstance(screen.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.file.getvalue())


@given(TEXTS)
def test_every_building_block_of_a_screen_is_safe_and_fits(text: str) -> None:
    sent = printed(
        widgets.grid([text], [[text]], total=[text]), *widgets.facts(text, [(text, text)]), widgets.rule(text), widgets.line(text)
    )
    assert not dangerous(sent)
    assert max(Text(line).cell_len for line in sent.split("\n")) <= 80


@given(TEXTS)
def test_a_cell_and_a_note_are_one_line_each(text: str) -> None:
    assert len(one_line(text).split("\n")) == 1
    sent = printed(widgets.grid(["name", "n"], [[f"a{text[:20]}\nb 99", 1]]))
    assert "\nb 99" not in sent


def test_errors_and_results_are_safe(capsys: pytest.CaptureFixture[str]) -> None:
    console.error("domain '\x1b]0;x\x07'", ["\x9b2J"])
    console.show("\x1b[2J")
    console.show({"a": "\x9b"}, as_json=True)
    streams = capsys.readouterr()
    assert not dangerous(streams.out + streams.err)
    assert streams.err == "error: domain '␛]0;x␇'\n  - \\x9b2J\n"
