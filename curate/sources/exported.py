"""Reads rows that `curate export` wrote, and that say so in their file's metadata: they keep ids, sources, stages and origins.

A file is an export's by its metadata alone (`curate.manifest.schema.EXPORT_MARK`), never by its columns, so that no other data
with a column ``id`` is taken for one. Reads no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.manifest import chats
from curate.manifest.schema import SOURCES, SPLITS
from curate.readers.tables import Table
from curate.sources.columns import FIELDS, Examples

__all__ = ["KEPT", "check_ids", "licence_of", "original_sources", "to_exported"]

# What an export says of a row that nothing else that is read says.
KEPT = ("id", "source", "origin", "parents", "cluster", "score", "stage", "reason", "status")
_TEXTS = ("id", "prompt", "answer", "rationale", "domain", "kind", "split", "source", "origin", "reason", "extra")
_NEEDED = ("id", "prompt", "answer", "domain", "split", "source")
_ID = "^[0-9a-f]{32}$"
_AGAIN = "export it again, or take its metadata away to read it as any other file"


def to_exported(table: Table) -> Examples:
    """Return the examples of an export's table, with the columns `KEPT` beside `curate.sources.columns.FIELDS`.

    Train rows are selected, as they were.

    Raises:
        InputError: a column is missing, an id is no id, or a split or source is none.
    """
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        raise InputError(f"{table.name}: is an export of curate by its metadata, and has no column {missing[0]!r}: {_AGAIN}")
    frame = pl.DataFrame([_texts(table, name) for name in _TEXTS])
    frame = frame.with_columns(
        _values(table, "stage", pl.Int32()),
        _values(table, "cluster", pl.Int32()),
        _values(table, "score", pl.Float64()),
        _lists(table, "parents"),
        _lists(table, "domains").alias("labels"),
        _messages(table, frame),
        table.numbers.alias("number"),
        record=pl.col("id"),
        status=pl.when(pl.col("split") == "train").then(pl.lit("selected")).otherwise(pl.lit("candidate")),
    )
    frame = frame.with_columns(labels=pl.when(pl.col("labels").list.len() > 1).then("labels"))
    _check(table.name, frame)
    frame = frame.select(*(pl.col(name) for name in FIELDS if name != "number"), pl.col("number").cast(pl.String), *_left(frame))
    name = "export"
    return Examples(frame, (), {name: frame.height}, {name: "rows of an export, as they were"})


def _left(frame: pl.DataFrame) -> list[str]:
    return [name for name in KEPT if name not in FIELDS and name in frame.columns]


def original_sources(mark: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a commit records of the sources that an export's rows came from, from what the export says of itself."""
    found = mark.get("sources")
    kept = [source for source in found if isinstance(source, Mapping) and "address" in source] if isinstance(found, list) else []
    return [{key: source.get(key) for key in ("address", "hash", "rows", "source", "licence")} for source in kept]


def licence_of(marks: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the licences of all sources that exports' rows came from, joined as SPDX does; None where one has none."""
    named = [source["licence"] for mark in marks for source in original_sources(mark)]
    return " AND ".join(sorted(set(map(str, named)))) if named and all(named) else None


def check_ids(rows: pl.DataFrame) -> None:
    """Refuse keys that two rows have of which one or both came with an id of their own.

    Args:
        rows: columns ``key, source_label, number``.

    Raises:
        InputError: two rows have one id.
    """
    twice = rows.filter(pl.col("key").is_duplicated())
    if twice.is_empty():
        return
    first, second = twice.filter(key=twice["key"][0]).select("source_label", "number").rows()[:2]
    places = " and ".join(f"{label}:{number}" for label, number in (first, second))
    if first[0] == second[0]:
        raise InputError(f"{places}: two rows of an export have the id {twice['key'][0]}: {_AGAIN}")
    raise InputError(
        f"{places}: are one row, of id {twice['key'][0]}: an export has rows of the other source, or was given twice; ingest "
        "them one after the other"
    )


def _check(name: str, frame: pl.DataFrame) -> None:
    rules: tuple[tuple[str, pl.Expr, str], ...] = (
        ("id", pl.col("id").str.contains(_ID), "32 hex digits"),
        ("split", pl.col("split").is_in(SPLITS), f"one of {', '.join(SPLITS)}"),
        ("source", pl.col("source").is_in(SOURCES), f"one of {', '.join(SOURCES)}"),
        ("domain", pl.col("domain") != "", "a name"),
    )
    for column, holds, rule in rules:
        wrong = frame.filter(~holds.fill_null(False))
        if not wrong.is_empty():
            value, number = wrong[column][0], wrong["number"][0]
            raise InputError(
                f"{name}:{number}: is of an export of curate by its metadata, and its {column} is {value!r:.60}, not {rule}: "
                f"{_AGAIN}"
            )


def _texts(table: Table, name: str) -> pl.Series:
    column = table.columns.get(name)
    values = pl.Series([None] * table.height, dtype=pl.String) if column is None else column.texts()
    return values.cast(pl.String).alias(name)


def _values(table: Table, name: str, kind: pl.DataType) -> pl.Series:
    values = _texts(table, name)
    found = values.cast(kind, strict=False)
    if found.null_count() > values.null_count():
        wrong = (found.is_null() & values.is_not_null()).arg_true()[0]
        raise InputError(
            f"{table.name}:{table.numbers[wrong]}: is of an export of curate by its metadata, and its {name} is "
            f"{values[wrong]!r:.60}, no number: {_AGAIN}"
        )
    return found


def _lists(table: Table, name: str) -> pl.Series:
    column = table.columns.get(name)
    if column is None:
        return pl.Series(name, [None] * table.height, dtype=pl.List(pl.String))
    lists = (
        [value if isinstance(value, list) else None for value in column.objects()] if column.is_json else [None] * table.height
    )
    return pl.Series(name, lists, dtype=pl.List(pl.String), strict=False)


def _messages(table: Table, frame: pl.DataFrame) -> pl.Series:
    """Return the other turns of each row's chat, as rows keep them."""
    column = table.columns.get("messages")
    if column is None:
        return pl.Series("messages", [None] * table.height, dtype=pl.String)
    if not column.is_json:  # of the format parquet
        return column.values.alias("messages")
    whole = _texts(table, "messages_json")
    rows = zip(column.objects(), whole, frame["answer"], frame["rationale"], strict=True)
    return pl.Series(
        "messages", [_kept(turns, text, answer, rationale) for turns, text, answer, rationale in rows], dtype=pl.String
    )


def _kept(turns: Any, whole: str | None, answer: str | None, rationale: str | None) -> str | None:
    if whole is not None:
        return whole if whole.startswith("[") else json.loads(whole)
    chat = (
        chats.from_typed(turns, answer or "", rationale) if isinstance(turns, Sequence) and not isinstance(turns, str) else None
    )
    return None if chat is None else chat.messages
