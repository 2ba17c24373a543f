"""Makes examples of a source's table: which column is what, chats, labels in lists, names of splits.

Columns that are not prompt, answer, rationale, messages, domain or split are kept in `extra`. Reads no file and writes none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError, UnknownNameError, nearest
from curate.manifest import chats
from curate.manifest.rows import file_origin
from curate.manifest.schema import AUTO, SPLITS
from curate.sources import readers
from curate.sources.discover import split_of
from curate.sources.readers import Table

__all__ = ["Columns", "Examples", "to_examples"]

_FIELDS = ("prompt", "answer", "rationale", "messages", "extra", "domain", "split", "origin")


@dataclass(frozen=True)
class Columns:
    """Which column of a source is what, as the user says; None is the default of each.

    Attributes:
        prompt: column of the question (``prompt``).
        answer: column of the final answer (``answer``).
        rationale: column of the reasoning (``rationale``, where there is one).
        domain: column of the domain (``domain``, where there is one), or ``auto``.
        split: a column (``split``, where there is one), or the name of a split for all rows.
        domain_from: ``filename`` where each file is one domain.
        domain_rule: ``first`` or ``explode``, for a domain column that holds lists.
    """

    prompt: str | None = None
    answer: str | None = None
    rationale: str | None = None
    domain: str | None = None
    split: str | None = None
    domain_from: str | None = None
    domain_rule: str | None = None


@dataclass(frozen=True)
class Examples:
    """The examples of one table.

    Attributes:
        frame: columns prompt, answer, rationale, messages, extra, domain, split and origin, all strings.
        skipped: ``file:row: why`` of every record that is no example.
    """

    frame: pl.DataFrame
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Draft:
    """A table in the making: its frame, with the columns made so far under ``\\0`` names, and which of its own are used up."""

    table: Table
    frame: pl.DataFrame
    used: frozenset[str] = frozenset()
    skipped: tuple[str, ...] = ()

    def put(self, *values: pl.Expr | pl.Series, used: str | None = None) -> _Draft:
        frame = self.frame.with_columns(values)
        return replace(self, frame=frame, used=self.used | ({used} if used else set()))

    def drop(self, bad: pl.Series, why: Callable[[dict[str, Any]], str]) -> _Draft:
        lines = [f"{self.table.name}:{row[_NUMBER]}: {why(row)}" for row in self.frame.filter(bad).iter_rows(named=True)]
        return replace(self, frame=self.frame.filter(~bad), skipped=(*self.skipped, *lines))


def _own(field: str) -> str:
    """Return a column name that no file has."""
    return f"\0{field}"


_NUMBER = _own("number")


def to_examples(table: Table, columns: Columns, *, split: str | None = None, on_error: str = "fail") -> Examples:
    """Return the examples of a table.

    Args:
        table: from `curate.sources.readers`.
        columns: which column is what.
        split: of all rows where no column and no option says it.
        on_error: ``fail`` at the first record that is no example, or ``skip`` those and list them.

    Raises:
        InputError: a column is missing (the nearest is named), a domain is a list and no rule says which to take, a
            split's name is unknown, or a record has no domain or, for chats, nothing to train on.
    """
    draft = _Draft(table, table.frame.with_columns(table.numbers.alias(_NUMBER)))
    draft = _take_chat(draft) if _is_chat(table, columns) else _take_texts(draft, columns)
    draft = _take_split(draft, columns, split)
    draft = _take_domain(draft, columns)
    if draft.skipped and on_error == "fail":
        more = f" ({len(draft.skipped)} rows in all)" if len(draft.skipped) > 1 else ""
        raise InputError(f"{draft.skipped[0]}{more}; correct the source, or leave such rows out with --on-error skip")
    origin = file_origin(table.name, _NUMBER).alias(_own("origin"))
    made = draft.put(_extra(draft).alias(_own("extra")), origin).frame
    return Examples(made.select(pl.col(_own(field)).cast(pl.String).alias(field) for field in _FIELDS), draft.skipped)


def _is_chat(table: Table, columns: Columns) -> bool:
    if columns.prompt is not None:
        return columns.prompt in table.json and columns.prompt == "messages"
    if "messages" not in table.frame.columns:
        return False
    # Messages as plain text beside a prompt are the history that this package exports.
    return "messages" in table.json or not {"prompt", "answer"} <= set(table.frame.columns)


def _take_chat(draft: _Draft) -> _Draft:
    split = [_chat(text) for text in draft.frame["messages"].to_list()]
    wrong = pl.Series([chat if isinstance(chat, str) else None for chat in split], dtype=pl.String)
    dropped = sum(chat.dropped > 0 for chat in split if isinstance(chat, chats.Chat))
    if dropped:
        progress.note("read", f"{draft.table.name}: in {dropped} chats turns come after the last answer; they are left out")
    values = {
        field: pl.Series(_own(field), [getattr(chat, field, None) for chat in split], dtype=pl.String)
        for field in ("prompt", "answer", "messages")
    }
    whole = draft.put(*values.values(), wrong.alias(_own("wrong")), used="messages")
    whole = whole.put(_optional(draft.table, "rationale").alias(_own("rationale")), used="rationale")
    return whole.drop(wrong.is_not_null(), lambda row: str(row[_own("wrong")]))


def _chat(text: str | None) -> chats.Chat | str:
    """Return a chat taken apart, or what is wrong with it."""
    try:
        return chats.split_chat(json.loads(text or "null"))
    except ValueError as e:
        return str(e)


def _take_texts(draft: _Draft, columns: Columns) -> _Draft:
    for field in ("prompt", "answer"):
        given, there = getattr(columns, field), draft.table.frame.columns
        if given is None and field not in there:
            guess = nearest(field, there)
            hint = f"; did you mean {guess!r}?" if guess else "."
            columns_there = ", ".join(sorted(there))
            raise InputError(f"{draft.table.name} has no column {field!r}: name it with --{field}{hint} Columns: {columns_there}")
        name = _require(draft.table, given or field, f"--{field}")
        draft = draft.put(_plain(draft.table, name).fill_null("").alias(_own(field)), used=name)
    name = _require(draft.table, columns.rationale, "--rationale") if columns.rationale else "rationale"
    rationale = _optional(draft.table, name)
    draft = draft.put(pl.when(rationale.str.strip_chars() != "").then(rationale).alias(_own("rationale")), used=name)
    history = _optional(draft.table, "messages")
    return draft.put(pl.when(history.str.starts_with("[")).then(history).alias(_own("messages")), used="messages")


def _take_split(draft: _Draft, columns: Columns, split: str | None) -> _Draft:
    named = columns.split or "split"
    if named not in draft.table.frame.columns:
        fixed = split_of(columns.split) if columns.split else split or "train"
        if fixed is None:
            guess = nearest(named, [*draft.table.frame.columns, *SPLITS])
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise InputError(
                f"--split {named!r}: {draft.table.name} has no such column, and it is none of {', '.join(SPLITS)}{hint}"
            )
        return draft.put(pl.lit(fixed).alias(_own("split")))
    values = draft.frame[named].fill_null("train")
    known = {value: split_of(value) for value in values.unique().to_list()}
    draft = draft.put(values.replace_strict(known, return_dtype=pl.String).alias(_own("split")), used=named)
    unknown = draft.frame[_own("split")].is_null()
    return draft.drop(unknown, lambda row: f"column {named!r} is {row[named]!r}, which is none of {', '.join(SPLITS)}, val, dev")


def _take_domain(draft: _Draft, columns: Columns) -> _Draft:
    if columns.domain_from:
        return draft.put(pl.lit(readers.stem(draft.table.name)).alias(_own("domain")))
    name = columns.domain or ("domain" if "domain" in draft.table.frame.columns else AUTO)
    if name == AUTO:
        return draft.put(pl.lit(AUTO).alias(_own("domain")))
    _require(draft.table, name, "--domain")
    lists = draft.frame[name].str.starts_with("[") if name in draft.table.json else pl.Series([False])
    if lists.any():
        draft = _take_labels(draft, name, columns)
    else:
        draft = draft.put(pl.col(name).alias(_own("domain")), used=name)
    draft = draft.put(pl.col(_own("domain")).str.strip_chars())
    if columns.answer == name and lists.any():  # the label taken is the answer too, and the whole list stays in `extra`
        draft = draft.put(pl.col(_own("domain")).fill_null("").alias(_own("answer")))
        draft = replace(draft, used=draft.used - {name})
    empty = draft.frame[_own("domain")].fill_null("").str.strip_chars() == ""
    return draft.drop(empty, lambda _: f"column {name!r} is empty; every row needs a domain")


def _take_labels(draft: _Draft, name: str, columns: Columns) -> _Draft:
    """Take the domain from a column of lists; the whole list stays in `extra`."""
    if columns.domain_rule is None:
        shown = next(text for text in draft.frame[name].to_list() if text and text.startswith("["))
        raise InputError(
            f"{draft.table.name}: column {name!r} holds lists, such as {shown[:60]}: use --domain-rule first to take the first "
            f"of each, or --domain-rule explode for one row per label"
        )
    labels = pl.Series(_own("domain"), [_labels(text) for text in draft.frame[name].to_list()], dtype=pl.List(pl.String))
    draft = draft.put(labels)
    if columns.domain_rule == "first":
        return draft.put(pl.col(_own("domain")).list.first())
    frame = draft.frame.explode(_own("domain"), empty_as_null=True, keep_nulls=True)
    return replace(draft, frame=frame)


def _labels(text: str | None) -> list[str]:
    found = json.loads(text) if text is not None else None
    items = found if isinstance(found, list) else [found]
    return list(dict.fromkeys(str(item) for item in items if item is not None))


def _plain(table: Table, name: str) -> pl.Expr:
    """Return a column as plain text: of a list of values, the values with commas between them."""
    if name not in table.json:
        return pl.col(name)
    lists = pl.col(name).str.starts_with("[")
    return pl.when(lists).then(pl.col(name).map_elements(_joined, return_dtype=pl.String)).otherwise(pl.col(name))


def _joined(text: str) -> str:
    found = json.loads(text)
    flat = isinstance(found, list) and not any(isinstance(item, dict | list) for item in found)
    return ", ".join(str(item) for item in found) if flat else text


def _optional(table: Table, name: str) -> pl.Expr:
    return _plain(table, name) if name in table.frame.columns else pl.lit(None, dtype=pl.String)


def _require(table: Table, name: str, option: str) -> str:
    if name not in table.frame.columns:
        raise UnknownNameError(f"column of {table.name} for {option}", name, table.frame.columns)
    return name


def _extra(draft: _Draft) -> pl.Expr:
    """Return the columns that are left as a JSON object, their names in order; values that are null are left out."""
    left = sorted(set(draft.table.frame.columns) - draft.used)
    if not left:
        return pl.lit(None, dtype=pl.String)
    keys = [json.dumps(name, ensure_ascii=False) + ":" for name in left]
    values = [pl.col(name) if name in draft.table.json else readers.json_text(name) for name in left]
    if not any(draft.frame[name].null_count() for name in left):  # one pass over the texts in place of two
        pairs = [part for key, value in zip(keys, values, strict=True) for part in (pl.lit("," + key), value)]
        return pl.concat_str(pl.lit("{" + keys[0]), *pairs[1:], pl.lit("}"))
    body = pl.concat_str(
        [pl.concat_str(pl.lit(key), value) for key, value in zip(keys, values, strict=True)], separator=",", ignore_nulls=True
    )
    return pl.when(body != "").then(pl.concat_str(pl.lit("{"), body, pl.lit("}")))
