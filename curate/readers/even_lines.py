"""Reads JSON Lines that are written alike: every record on a line, with the same keys in the same order and no value nested.

What is read so is exact, since a pattern says what each line may be, byte by byte; of anything else the answer is None, and
`curate.readers.json_files` reads it record by record, to the same result. Polars does the work, without a Python object for each
value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import polars as pl

__all__ = ["columns"]

_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_VALUE = f"({_STRING}|{_NUMBER}|true|false|null)"
_BLANK = r"[ \t\r]*"
_SEPARATOR = "\x1f"  # never part of a JSON text, so that a line is one cell
# A pattern is quick, several hundred MB a second, while it is small enough for a table of its states.
_KEYS, _CHARACTERS = 12, 400
_FIRST = 20  # lines that are tried before the others


def columns(block: bytes) -> dict[str, pl.Series] | None:
    """Return the columns of a block of lines, the literals as they are written; None where its lines are not alike.

    Args:
        block: whole lines, of which none is blank.
    """
    if not block.startswith(b"{") or _SEPARATOR.encode() in block:
        return None
    keys = _keys(block[: block.find(b"\n")] if b"\n" in block else block)
    if keys is None:
        return None
    try:
        cells = pl.read_csv(block, has_header=False, separator=_SEPARATOR, quote_char=None, schema={"line": pl.String})
        lines = cells.to_series().rechunk()
        if len(lines) != block.count(b"\n") + (not block.endswith(b"\n")) or _values(lines.head(_FIRST), keys) is None:
            return None
        found = _values(lines, keys)
    except pl.exceptions.PolarsError:  # not UTF-8, or a pattern that is too large
        return None
    return None if found is None else dict(zip(keys, found, strict=True))


def _keys(line: bytes) -> list[str] | None:
    """Return the keys of the record on a line; None where it is none, or a key is not written as it is read."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    keys = list(record) if isinstance(record, dict) else []
    return keys if keys and not any(re.search(r'["\\\x00-\x1f]', key) for key in keys) else None


def _values(lines: pl.Series, keys: Sequence[str]) -> list[pl.Series] | None:
    """Return the literals of every key; None where a line does not have these keys, in this order, and nothing else."""
    found: list[pl.Series] = []
    rest = lines
    begin = rf"^{_BLANK}\{{"
    while len(found) < len(keys):
        taken = _together(keys[len(found) :])
        last = len(found) + len(taken) == len(keys)
        pairs = ",".join(f"{_BLANK}{_key(key)}{_BLANK}:{_BLANK}{_VALUE}{_BLANK}" for key in taken)
        groups = rest.str.extract_groups(f"{begin}{pairs}" + (rf"\}}{_BLANK}$" if last else "(,.*)$"))
        values = groups.struct.unnest().get_columns()
        if values[0].has_nulls():
            return None
        found += values[: len(taken)]
        rest, begin = values[-1], "^,"
    return found


def _key(key: str) -> str:
    """Return the pattern of a key: as it is, or with escapes for all that is beyond ASCII."""
    spellings = dict.fromkeys((f'"{key}"', json.dumps(key)))
    return f"(?:{'|'.join(map(re.escape, spellings))})"


def _together(keys: Sequence[str]) -> Sequence[str]:
    """Return the first keys, as many as fit into one pattern."""
    size = 0
    for n, key in enumerate(keys):
        size += len(key.encode())
        if n == _KEYS or (n and size > _CHARACTERS):
            return keys[:n]
    return keys
