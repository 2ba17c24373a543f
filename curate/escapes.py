"""Makes texts safe to print and to draw: control characters and terminal escapes are shown, never sent. Prints nothing itself.

Texts of rows, replies, domains and errors come from anywhere. Sent to a terminal as they are, they could clear the screen, move
the cursor, change the title, or reorder what is read (CWE-150, and CVE-2021-42574 for directional overrides). In XML, and so in
a picture, most of them are no characters at all (https://www.w3.org/TR/xml/#charsets), and end the process that draws it.
"""

from __future__ import annotations

import re

__all__ = ["drawable", "one_line", "printable", "printable_json"]

# Controls other than tab and line feed; separators of lines and paragraphs; what overrides the direction of others' text; halves
# of surrogate pairs, which no encoding of a stream can write; the two of the plane's end that are no characters.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_UNDRAWABLE = re.compile(f"[\\t\\n]|{_UNSAFE.pattern}")
_PICTURES = 0x2400  # where Unicode has a picture of each control: ESC is shown as ␛
_DELETE = 0x7F


def printable(text: str) -> str:
    """Return a text with every control character in sight: ``␛[2J`` for one that would clear the screen.

    Tabs and line feeds stay; a carriage return is ``␍``, since it would overwrite its line. What Unicode has no picture for is
    written as Python writes it, such as ``\\x9b`` or ``\\u202e``. Letters of every script stay as they are, and so do the marks
    that join or direct only their neighbours.

    Example:
        >>> printable("a\\x1b[31mb\\r\\n")
        'a␛[31mb␍\\n'
    """
    return _UNSAFE.sub(_shown, text)


def drawable(text: str) -> str:
    """Return a text for one line of a picture: what `printable` would show, and tabs and line feeds, as Python writes them.

    XML can hold all of it, and every font has a form for it, as few have for ``␛``.

    Example:
        >>> drawable("Rock\\x0bPop")
        'Rock\\\\x0bPop'
    """
    return _UNDRAWABLE.sub(lambda found: _code(ord(found[0])), text)


def one_line(text: str) -> str:
    """Return a text as `printable` does, on one line: line feeds are ``␊``, so that none of it looks like a line of ours."""
    return printable(text).replace("\n", "␊")


def printable_json(text: str) -> str:
    """Return JSON that says the same, with every character escaped that `printable` would show.

    Args:
        text: JSON on one line, which has such characters in its strings alone.
    """
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    if code == _DELETE:
        return "␡"
    return _code(code)


def _code(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
