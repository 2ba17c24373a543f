"""Reads CSV and TSV: every cell as text, strictly, each record by itself. An empty cell is no value.

A block of lines without a quotation mark is cut up by Polars, which then can only be right; every other by Python's `csv` in its
strict mode. What the first refuses, the second names.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any

import numpy as np
import polars as pl

from curate.errors import InputError
from curate.readers.streams import Mistake, blocks, read_ahead, refuse_or_list
from curate.readers.tables import Column, Table

__all__ = ["TextOptions", "looks_like_data", "read"]

_WORDS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}  # a shell takes some of them away
_NO_QUOTE = "none"
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,eE+-]*%?")
_SUSPECTS = (",", ";", "\t", "|")
_OR_TEXT = "; where quotation marks are text, add --quote none"
_LONGEST = 16_000_000  # characters of a record of several lines


@dataclass(frozen=True)
class TextOptions:
    """How text files are read.

    Attributes:
        header: whether the first line of CSV and TSV names the columns.
        columns: names of the columns of CSV and TSV, in place of the header's; None takes the header's, or ``column_1`` and
            so on where there is no header, or no name in it.
        delimiter: one character (``\\t`` or ``tab`` for a tab); None is a comma, or a tab for ``.tsv``.
        quote: the character around cells that hold delimiters or line ends, or ``none`` where there is no quoting.
        records: key, or keys with dots between them, of the list of records in a JSON document that wraps it.
    """

    header: bool = True
    columns: tuple[str, ...] | None = None
    delimiter: str | None = None
    quote: str = '"'
    records: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InputError: a delimiter or quote of more than one character, or equal ones; columns that are empty or stand twice.
        """
        if self.delimiter is not None and (len(self.separator) != 1 or self.separator in '"\r\n'):
            raise InputError(f"--delimiter {self.delimiter!r}: give one character, such as ';' or '|', or 'tab'")
        if self.quote != _NO_QUOTE and (len(self.quote) != 1 or self.quote in "\r\n" or not self.quote.isascii()):
            raise InputError(f"--quote {self.quote!r}: give one character, or 'none' where quotation marks are text")
        if self.quote == self.separator:
            raise InputError(f"--quote {self.quote!r} is the delimiter too; the two must differ")
        for name in self.columns or ():
            if not name.strip():
                raise InputError(f"--columns {','.join(self.columns or ())!r}: a column has no name")
            if (self.columns or ()).count(name) > 1:
                raise InputError(f"--columns: the name {name!r} stands twice; every column needs a name of its own")

    @property
    def separator(self) -> str:
        """The delimiter as a character; empty where the suffix decides."""
        return _WORDS.get(self.delimiter or "", self.delimiter or "")

    def asked(self) -> list[str]:
        """Return the flags of CSV and TSV that are not at their default."""
        given = {"--no-header": not self.header, "--columns": self.columns, "--delimiter": self.delimiter}
        return [flag for flag, value in given.items() if value] + (["--quote"] if self.quote != '"' else [])


def looks_like_data(header: Sequence[str]) -> bool:
    """Return whether the first line of a file reads like a record rather than like names of columns.

    A cell makes it a record that is a number, longer than 40 characters, of more than five words, or ends like a sentence.
    """
    filled = [cell.strip() for cell in header if cell.strip()]
    return len(set(filled)) < len(filled) or any(
        len(cell) > 40 or len(cell.split()) > 5 or cell.endswith((".", "?", "!", ":")) or _NUMBER.fullmatch(cell)
        for cell in filled
    )


def read(
    file: IO[bytes], name: str, *, on_error: str = "fail", separator: str = ",", options: TextOptions | None = None
) -> Table:
    """Read CSV.

    Args:
        file: its bytes.
        name: what origins and messages call it.
        on_error: ``fail`` at the first record that cannot be read, or ``skip`` those and list them: a record that is quoted
            wrongly by its first line, reading goes on with the next; one with another number of fields than the header by each
            of its lines.
        separator: what is between fields where the options do not say.
        options: header, names of columns, delimiter and quote, where they are not as usual.

    Returns:
        A table of plain text; its numbers are those of the lines in which records begin, from 1.

    Raises:
        InputError: the header is wrong, or a record cannot be read.
    """
    options = options or TextOptions()
    reader = _Reader(name, options.separator or separator, options)
    limit = csv.field_size_limit(2**31 - 1)
    try:
        parts = blocks(file)
        first = next(parts, b"")
        end = first.find(b"\n") + 1
        reader.add(first[:end], None)  # the header by itself, so that the rest can go the quick way
        for block, cells in read_ahead(chain((first[end:],), parts), reader.cells):
            reader.add(block, cells)
        reader.finish()
    finally:
        csv.field_size_limit(limit)
    skipped = refuse_or_list(reader.mistakes, name, on_error=on_error)
    frame = pl.concat(reader.frames) if reader.frames else pl.DataFrame(schema=dict.fromkeys(reader.names, pl.String))
    numbers = pl.concat(reader.numbers) if reader.numbers else pl.Series(dtype=pl.Int64)
    return Table(name, {column.name: Column(column, False) for column in frame}, numbers, skipped)


class _Reader:
    """Takes blocks of lines; keeps frames of cells, the line in which each record begins, and the mistakes."""

    def __init__(self, name: str, separator: str, options: TextOptions) -> None:
        self.names: list[str] = []
        self.frames: list[pl.DataFrame] = []
        self.numbers: list[pl.Series] = []
        self.mistakes: list[Mistake] = []
        self._file, self._separator, self._options = name, separator, options
        self._quote = "" if options.quote == _NO_QUOTE else options.quote
        self._dialect: dict[str, Any] = {"delimiter": separator, "strict": True}
        self._dialect |= {"quotechar": self._quote} if self._quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        self._line = 1  # number of the next line
        self._rest: list[str] = []  # lines of a record that the last block did not end

    def add(self, block: bytes, cells: pl.DataFrame | None) -> None:
        """Add a block of whole lines, and its `cells` where they are known."""
        if cells is not None and not self._rest:
            self.frames.append(cells.rename(dict(zip(cells.columns, self.names, strict=True))))
            self.numbers.append(pl.int_range(self._line, self._line + cells.height, dtype=pl.Int64, eager=True))
            self._line += cells.height
        elif block:
            self._add_strictly([*self._rest, *_lines(block)], last=False)

    def finish(self) -> None:
        self._add_strictly(self._rest, last=True)

    def cells(self, block: bytes) -> pl.DataFrame | None:
        """Return the cells of a block in which nothing is quoted and every line has its number of fields; None elsewhere.

        Polars refuses a line with too many fields, so that the right number of delimiters in all is the right number in each.
        """
        fields = len(self.names)
        if fields < 2 or not self._separator.isascii() or (self._quote and self._quote.encode() in block):
            return None
        n_lines = _filled_lines(block)
        if not n_lines or block.startswith(codecs.BOM_UTF8):
            return None
        if block.count(self._separator.encode()) != n_lines * (fields - 1):
            return None
        schema = {str(at): pl.String for at in range(fields)}
        try:
            cells = pl.read_csv(block, has_header=False, separator=self._separator, quote_char=None, schema=schema)
        except pl.exceptions.PolarsError:  # a line with too many fields, or not UTF-8
            return None
        return cells.rechunk() if cells.height == n_lines else None

    def _add_strictly(self, lines: list[str], *, last: bool) -> None:
        """Add lines record by record; those of a record that does not end in them are kept for the next block."""
        rows: list[list[str]] = []
        numbers: list[int] = []
        at = 0  # where the record that is read begins
        while at < len(lines):
            begin, reader = at, csv.reader(map(lines.__getitem__, range(at, len(lines))), **self._dialect)
            try:
                for cells in reader:
                    end = begin + reader.line_num
                    if self._is_record(cells, lines, at, end):
                        rows.append(cells)
                        numbers.append(self._line + at)
                    at = end
            except csv.Error as e:
                if "unexpected end" in str(e) and not last and not _is_too_long(lines, at, len(lines)):
                    break
                self._refuse(at, self._reason(lines, at, begin + reader.line_num, str(e)))
                if not self.names:
                    raise InputError(
                        f"{self._file}:{self._line + at}: {self.mistakes[-1].message}; correct the first line"
                    ) from e
                at += 1
        self._line += at
        self._rest = lines[at:]
        if rows:
            columns = [pl.Series(name, cells, pl.String) for name, cells in zip(self.names, zip(*rows, strict=True), strict=True)]
            self.frames.append(pl.DataFrame(columns).with_columns(pl.when(pl.all() != "").then(pl.all())))
            self.numbers.append(pl.Series(numbers, dtype=pl.Int64))

    def _is_record(self, cells: list[str], lines: list[str], at: int, end: int) -> bool:
        """Return whether the cells of some lines are a record; the first that are none name the columns."""
        if not cells:  # an empty line
            return False
        if not self.names and self._take_header(cells, self._line + at):
            return False
        if len(cells) == len(self.names) and end - at == 1 and lines[at].isascii():
            return True
        if len(cells) != len(self.names):
            wrong = f"{_counted(len(cells))} where the {'header has' if self._options.header else 'file has'} {len(self.names)}"
        elif _is_too_long(lines, at, end):
            wrong = f"a quotation mark opens here and does not close within {_LONGEST // 10**6} million characters"
        else:
            undecoded = [line for line in lines[at:end] if not _is_text(line)]
            if not undecoded:
                return True
            wrong = "not UTF-8 text; save the file as UTF-8, or as UTF-16 with a byte order mark"
        self._refuse(at, wrong)
        for line in range(at + 1, end):
            self._refuse(line, f"belongs to the record of line {self._line + at}, which is left out")
        return False

    def _take_header(self, cells: list[str], line: int) -> bool:
        """Take the names of the columns; return whether the cells are a header and no record."""
        given = self._options.columns
        numbered = [f"column_{n}" for n in range(1, len(cells) + 1)]
        names = [cell or number for cell, number in zip(cells, numbered, strict=True)] if self._options.header else numbered
        names = list(given) if given else names
        if not given:
            self._refuse_other_delimiter(cells)
        if given and self._options.header and len(given) != len(cells):
            raise InputError(
                f"{self._file}: --columns has {len(given)} names where the header has {len(cells)}: {', '.join(cells)}"
            )
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"{self._file}:{line}: the header has the column {name!r} twice; rename one, or add --no-header if it is data"
                )
            if not _is_text(name):
                raise InputError(f"{self._file}:{line}: not UTF-8 text in the header; save the file as UTF-8")
        self.names = names
        return self._options.header

    def _refuse_other_delimiter(self, cells: list[str]) -> None:
        if cells[0].lower().startswith("sep=") and len(cells) <= 2:
            raise InputError(
                f"{self._file}:1: {cells[0]!r} is a note to a spreadsheet; remove that line, and add --delimiter if need be"
            )
        if len(cells) != 1 or self._options.delimiter is not None:
            return
        for other in _SUSPECTS:
            parts = cells[0].split(other)
            if other != self._separator and len(parts) > 1 and all(part and part == part.strip() for part in parts):
                mine, its = (
                    next((word for word, mark in _WORDS.items() if mark == char), char) for char in (self._separator, other)
                )
                raise InputError(
                    f"{self._file}: its first line is one field with {mine} as delimiter, and {len(parts)} with {its}: "
                    f"add --delimiter {its}, or --delimiter {mine} if one column is right"
                )

    def _reason(self, lines: list[str], at: int, end: int, error: str) -> str:
        """Return in plain words why the record that begins with a line is not CSV."""
        if "new-line" in error:
            return "a carriage return stands alone; lines end in a line feed, or in a carriage return and a line feed"
        if "\0" in lines[at]:
            return f"not CSV: {error}"
        opening = at + _well_formed("".join(lines[at:end]), self._separator, self._quote).count("\n")
        where = "here" if opening == at else f"in line {self._line + opening}"
        if f"\\{self._quote}" in "".join(lines[at:end]):
            return f"not CSV: quotation marks escaped by a backslash, in the cell that opens {where}; write them twice instead"
        if "unexpected end" in error:
            return f"not CSV: a quotation mark opens {where} and is never closed{_OR_TEXT}"
        return f"not CSV: a quotation mark opens {where}, and no delimiter or end of the line follows the next one{_OR_TEXT}"

    def _refuse(self, at: int, message: str) -> None:
        self.mistakes.append(Mistake(self._line + at, message))


def _filled_lines(block: bytes) -> int | None:
    """Return how many lines a block has; None where one is empty, or a carriage return is elsewhere than before a line feed."""
    content = np.frombuffer(block if block.endswith(b"\n") else block + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(content == ord("\n"))  # (n,) places of the line feeds
    returns = content[ends - 1] == ord("\r")
    lengths = np.diff(ends, prepend=-1) - 1 - returns
    return len(ends) if lengths.all() and block.count(b"\r") == returns.sum() and not block.endswith(b"\r") else None


def _lines(block: bytes) -> list[str]:
    """Return the lines of a block with their ends; bytes that are not UTF-8 become halves of surrogate pairs."""
    return list(io.StringIO(block.decode(errors="surrogateescape"), newline="\n"))


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_too_long(lines: list[str], at: int, end: int) -> bool:
    return end - at > 1 and sum(map(len, lines[at:end])) > _LONGEST


def _well_formed(text: str, separator: str, quote: str) -> str:
    """Return the beginning of a text up to the cell that is not quoted as it should be."""
    if not quote:
        return ""
    d, q = re.escape(separator), re.escape(quote)
    cells = re.match(rf"(?:(?:{q}(?:[^{q}]+|{q}{q})*+{q}|(?!{q})[^{d}\r\n]*+)(?:{d}|\r?\n))*+", text)
    return cells[0] if cells else ""


def _counted(fields: int) -> str:
    return f"{fields} field{'s' if fields > 1 else ''}"
