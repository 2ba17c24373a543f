"""Records as the table that a file of them is, and as the examples that are made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from curate.readers.tables import Column, Table
from curate.sources.columns import Columns, Examples, to_examples


def table_of(records: Sequence[dict[str, Any]], name: str = "x.jsonl") -> Table:
    """Return the table that a file of these records is."""
    names = list(dict.fromkeys(key for record in records for key in record))
    literals = {
        key: [
            None if record.get(key) is None else json.dumps(record[key], ensure_ascii=False, separators=(",", ":"))
            for record in records
        ]
        for key in names
    }
    columns = {key: Column(pl.Series(key, values, dtype=pl.String), True) for key, values in literals.items()}
    return Table(name, columns, pl.int_range(1, len(records) + 1, eager=True))


def shape(records: Sequence[dict[str, Any]], columns: Columns | None = None, **options: Any) -> Examples:
    """Return the examples of these records."""
    return to_examples(table_of(records), columns or Columns(), **options)
