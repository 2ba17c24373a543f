"""What a file says, record by record: a `Table` of `Column`s that hold each value as its file writes it. Reads no file.

A column is either plain text (cells of CSV, strings of Parquet) or JSON literals (values of JSON, with their quotation marks;
typed values of Parquet). Both say what they hold as text and as JSON by rules that look at one value at a time, so that what a
row says never depends on the rows beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

__all__ = ["Column", "Number", "Table", "read_value", "text_of", "value_text"]

_STRINGS = msgspec.json.Decoder(list[str])


class Number(float):
    """A number of JSON that is shown as its file writes it: ``3.10`` stays ``3.10``."""

    literal: str

    def __new__(cls, literal: str) -> Number:
        number = super().__new__(cls, literal)
        number.literal = literal
        return number

    def __str__(self) -> str:
        return self.literal

    __repr__ = __str__


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        values: (n,) strings; null where the record has no such value, or has null.
        is_json: whether every value is a JSON literal rather than plain text.
    """

    values: pl.Series
    is_json: bool

    def texts(self) -> pl.Series:
        """Return every value as plain text, see `text_of`; (n,) strings."""
        if not self.is_json:
            return self.values
        strings = self.values.str.starts_with('"').fill_null(False)
        if (strings | self.values.is_null()).all():
            return _decoded(self.values)
        found = self.values.clone().scatter(strings.arg_true(), _decoded(self.values.filter(strings)))
        nested = self.values.str.starts_with("[").fill_null(False)
        if not nested.any():
            return found
        texts = pl.Series([text_of(literal) for literal in self.values.filter(nested).to_list()], dtype=pl.String)
        return found.scatter(nested.arg_true(), texts)

    def literals(self) -> pl.Series:
        """Return every value as JSON; (n,) strings, null where there is no value."""
        if self.is_json:
            return self.values
        whole = pl.struct(pl.col("v")).struct.json_encode()  # {"v":"…"}
        written = pl.when(pl.col("v").is_not_null()).then(whole.str.slice(5).str.strip_suffix("}"))
        return self.values.to_frame("v").select(written.alias(self.values.name)).to_series()

    def objects(self) -> list[Any]:
        """Return every value as a Python object: a string, a `Number`, a whole number, a truth value, a list, a dict or None."""
        if not self.is_json:
            return self.values.to_list()
        return [None if literal is None else read_value(literal) for literal in self.values.to_list()]

    def filter(self, kept: pl.Series) -> Column:
        """Return the column of the records that are kept."""
        return Column(self.values.filter(kept), self.is_json)


@dataclass(frozen=True)
class Table:
    """The records of one file, or of one split of a data set.

    Attributes:
        name: of the file, as origins and messages show it.
        columns: name → its values, n of each, in the order of the file.
        numbers: (n,) the row number of each record in its file, from 1; lines, for JSON Lines and CSV.
        skipped: ``file:row: why`` of every record that was left out.
        export: what an export of this package says of itself (`curate.manifest.schema.EXPORT_MARK`); None of other files.
    """

    name: str
    columns: Mapping[str, Column]
    numbers: pl.Series
    skipped: tuple[str, ...] = ()
    export: Mapping[str, Any] | None = None

    @property
    def height(self) -> int:
        """Number of records."""
        return len(self.numbers)


def read_value(literal: str) -> Any:
    """Return the Python object of a JSON literal; a number with a fraction or an exponent is a `Number`."""
    try:
        return json.loads(literal, parse_float=Number)
    except ValueError:  # a whole number of more digits than Python makes an int of
        return json.loads(literal, parse_float=Number, parse_int=Number)


def text_of(literal: str) -> str | None:
    """Return the plain text of a JSON literal.

    A string is its text, a number and a truth value is as it is written, a list of such values is their texts with commas between
    them (null ones left out), anything that is nested deeper is its JSON; null is None.
    """
    if not literal.startswith(('"', "[", "n")):
        return literal
    return value_text(read_value(literal), literal)


def value_text(value: Any, literal: str | None = None) -> str | None:
    """Return the plain text of a Python object as `Column.objects` gives it, by the rule of `text_of`.

    Args:
        value: the object.
        literal: its JSON as written, where it is at hand; else nested values are written compactly.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return ", ".join(text for item in value if (text := value_text(item)) is not None)
    if isinstance(value, bool):
        return "true" if value else "false"
    return literal if literal is not None else _written(value)


def _written(value: Any) -> str:
    if isinstance(value, Number):
        return value.literal
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_written(str(key))}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _decoded(literals: pl.Series) -> pl.Series:
    """Return the texts of JSON strings; null stays null."""
    escaped = literals.str.contains("\\", literal=True).fill_null(False)
    texts = literals.str.strip_chars('"')  # a quotation mark inside is escaped, and such strings are decoded below
    if not escaped.any():
        return texts
    slow = _STRINGS.decode("[" + ",".join(literals.filter(escaped).to_list()) + "]")
    return texts.scatter(escaped.arg_true(), pl.Series(slow, dtype=pl.String))
