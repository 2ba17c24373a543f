"""Reads CSV and TSV: every cell as text, strictly, each record by itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TextOptions", "looks_like_data"]


@dataclass(frozen=True)
class TextOptions:
    """How text files are read.

    Attributes:
        header: whether the first line of CSV and TSV names the columns.
        columns: names of the columns of CSV and TSV, in place of the header's; None takes the header's, or ``column_1`` and
            so on where there is none.
        delimiter: one character (``\\t`` or ``tab`` for a tab); None is a comma, or a tab for ``.tsv``.
        quote: the character around cells that hold delimiters or line ends, or ``none`` where there is no quoting.
        records: key, or keys with dots between them, of the list of records in a JSON document that wraps it.
    """

    header: bool = True
    columns: tuple[str, ...] | None = None
    delimiter: str | None = None
    quote: str = '"'
    records: str | None = None


def looks_like_data(header: tuple[str, ...]) -> bool:
    """Return whether the first line of a file reads like a record rather than like names of columns."""
    raise NotImplementedError
