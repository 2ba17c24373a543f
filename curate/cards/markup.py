"""Makes Markdown of texts that come from data, of which nothing becomes markup, a link or another line. Reads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["clean", "count", "escape", "quoted", "table", "without_folder"]

# What Markdown reads as structure: an underscore only at the edge of a word.
_MARKUP = re.compile(r"[\\`*\[\]<>#!|~$&]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_ADDRESS = re.compile(r":(?=//)|(?<=\bmailto):|(?<=\bxmpp):|(?<=\bwww)\.|@", re.IGNORECASE)  # would become a link by itself
# Controls, overrides of the direction of a text, halves of surrogate pairs, and what is no character.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
_PATH = re.compile(r"[/\\]|~|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:")  # of a machine; ids of the Hub are none
_IN_FENCE = re.compile("[<>`~&]")  # what could end a fence of code, or be a mark of ours


def clean(text: object) -> str:
    """Return a text of data on one line; controls, and halves of letters, are ``\ufffd``."""
    return " ".join(_CONTROL.sub("\ufffd", " ".join(str(text).split())).split())


def escape(text: object) -> str:
    """Return a text that comes from data as one line of Markdown that shows it, and does nothing else.

    No character of it begins a heading, a cell, a link, an image, HTML or another line; controls are shown as ``\ufffd``.
    """
    return _ADDRESS.sub(r"\\\g<0>", _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), clean(text)))


def without_folder(name: str) -> str:
    """Return a name; of one that is a path on somebody's machine its last part alone.

    Example:
        >>> without_folder("/home/me/models/Qwen2.5-7B")
        'Qwen2.5-7B'
        >>> without_folder("Qwen/Qwen2.5-7B")
        'Qwen/Qwen2.5-7B'
    """
    if not _PATH.match(name):
        return name
    return next((part for part in reversed(re.split(r"[\\/]", name)) if part not in ("", "~", ".", "..")), "a folder")


def quoted(text: object) -> str:
    """Return a text of data as a string of TOML or JSON that can stand in a fence of code: no sign of it ends the fence."""
    line = json.dumps(clean(text), ensure_ascii=False)
    return _IN_FENCE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def count(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun, such as ``1 row`` and ``2,100 rows``."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def table(head: Sequence[str], lines: Iterable[Sequence[Any]], *, numbers: int = 0) -> str:
    """Return a table.

    Args:
        head: names of the columns; ours, so not escaped.
        lines: the cells, which are escaped; whole numbers get commas.
        numbers: columns at the end that are set to the right.
    """
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    cells = [head, rule, *([_cell(cell) for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(value)
