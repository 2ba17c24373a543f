"""`curate show`: rows of one version as a person reads them, filtered by their columns and their texts. Changes nothing.

The rows are found by lazy scans that read the columns of the filters alone; everything about a row is read only of those that are
shown. A text that is searched in the JSON of other turns and columns is looked for in their values, never in their names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate.errors import InputError, UnknownNameError
from curate.manifest import ids
from curate.manifest.chats import Turns, read_chat
from curate.manifest.find import find_id
from curate.manifest.manifest import Manifest
from curate.manifest.rows import auditors_of_findings, has_finding, has_label, per_label, read_findings
from curate.manifest.schema import SCHEMA
from curate.report.settings import ShowSettings
from curate.settings import takes

__all__ = ["ShowResult", "ShownRow", "show"]

_FILTERS = ("domains", "status", "stage", "finding", "split", "source", "grep")
_TEXTS = ("prompt", "rationale", "answer")
_JSON = ("messages", "extra")
_OPTIONS = ("options", "choices")  # columns of a source that hold the options of a question
_NOT_SHOWN = ("content", "prompt_key")  # keys of the tables, which say nothing to a reader


@dataclass(frozen=True)
class ShownRow:
    """One row as a person reads it.

    Attributes:
        columns: the row, columns of `curate.manifest.schema.SCHEMA` without the keys of the tables, findings as objects.
        messages: the other turns of the chat, as they are kept.
        chat: the whole chat, without the rationale.
        prompt, rationale, answer: the texts.
        options: label → text of the options of a question that stand in columns of their own.
        extra: the source's other columns, those of options included.
        option_columns: names of those.
    """

    columns: dict[str, Any]
    messages: list[Any]
    chat: Turns
    prompt: str
    options: dict[str, str]
    rationale: str | None
    answer: str
    extra: dict[str, Any]
    option_columns: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON-able data; the keys are always the same."""
        texts = {"messages": self.messages, "prompt": self.prompt, "options": self.options, "rationale": self.rationale}
        chat = {"chat": self.chat.all, "turns": self.chat.train}
        return {**self.columns, **texts, "answer": self.answer, **chat, "extra": self.extra}


@dataclass(frozen=True)
class ShowResult:
    """The rows that `show` found.

    Attributes:
        manifest: the version that was read.
        rows: those that are shown, in the manifest's order or as drawn.
        matched: how many rows the filters let through.
        seed: that the rows were drawn by, or None where they are the first.
    """

    manifest: Manifest
    rows: tuple[ShownRow, ...]
    matched: int
    seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the rows for ``--json``."""
        return {"rows": [row.to_dict() for row in self.rows], "matched": self.matched}


@takes(ShowSettings)
def show(manifest: Manifest, settings: ShowSettings) -> ShowResult:
    """Return rows as a person reads them: one by its id, or the first that the filters let through, or a random draw of them.

    Args:
        manifest: the version to read.

    Raises:
        InputError: `row` is given with a filter, or the beginning of several ids; or `n` is below 1.
        ManifestNotFoundError: no row has that id.
        UnknownNameError: no row is of that domain, or has a finding of that auditor.
    """
    if settings.n < 1:
        raise InputError(f"--n must be at least 1, got {settings.n}")
    if settings.row is not None:
        given = [name for name in _FILTERS if getattr(settings, name) is not None]
        if given:
            raise InputError(f"row {settings.row!r} is one row: leave it out, or --{given[0].removesuffix('s')}")
        row_id = find_id(manifest, settings.row, example=f"curate show {manifest.name} 7c1e")
        return ShowResult(manifest, _read(manifest, [row_id]), 1)
    found = _matching(manifest, settings)
    if found.is_empty():
        _check_names(manifest, settings)
    if settings.seed is not None:
        found = found.with_columns(ids.draws(found["id"], settings.seed)).sort("draw")
    chosen = found["id"].head(settings.n).to_list()
    return ShowResult(manifest, _read(manifest, chosen), found.height, settings.seed)


def _matching(manifest: Manifest, settings: ShowSettings) -> pl.DataFrame:
    """Return the ids of the rows that every filter lets through, in the manifest's order."""
    named = {name: getattr(settings, name) for name in ("status", "stage", "split", "source")}
    wanted = [pl.col(name) == value for name, value in named.items() if value is not None]
    if settings.domains is not None:
        wanted.append(has_label(settings.domains))
    if settings.finding is not None:
        wanted.append(has_finding(settings.finding))
    rows = manifest.scan().filter(wanted) if wanted else manifest.scan()
    if settings.grep is None:
        return rows.select("id").collect()
    if not settings.grep:
        raise InputError("--grep is empty: give a text that the rows contain")
    hits = _contents_with(manifest, settings.grep, ignore_case=settings.ignore_case)
    found = rows.select("id", "content").collect()
    return found.join(hits.to_frame(), on="content", how="semi", maintain_order="left").select("id")


def _contents_with(manifest: Manifest, text: str, *, ignore_case: bool) -> pl.Series:
    """Return the keys of the contents that contain a text."""
    plain = pl.any_horizontal(_contains(pl.col(name), text, ignore_case) for name in _TEXTS).fill_null(False)
    # In JSON the text is escaped in one of two ways. This finds too much, names of columns for instance, but nothing too little.
    escaped = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)}
    within = pl.any_horizontal(_contains(pl.col(name), form, ignore_case) for name in _JSON for form in escaped).fill_null(False)
    found = (
        manifest.scan_contents()
        .select("content", plain.alias("plain"), *(pl.when(within & ~plain).then(name).alias(name) for name in _JSON))
        .filter(pl.col("plain") | pl.any_horizontal(pl.col(name).is_not_null() for name in _JSON))
        .collect(engine="streaming")
    )
    says = _sayer(text, ignore_case)
    sure, unsure = found.filter("plain")["content"], found.filter(~pl.col("plain"))
    checked = [
        key
        for key, messages, extra in unsure.select("content", *_JSON).iter_rows()
        if says(_turns(messages)) or says(extra and _parsed(extra))
    ]
    return pl.concat([sure, pl.Series("content", checked, dtype=pl.String)])


def _contains(column: pl.Expr, text: str, ignore_case: bool) -> pl.Expr:
    if ignore_case:
        return column.str.contains(f"(?i){pl.escape_regex(text)}")
    return column.str.contains(text, literal=True)


def _sayer(text: str, ignore_case: bool) -> Callable[[Any], bool]:
    """Return a function that says whether a value inside others contains a text."""
    wanted = re.compile(re.escape(text), re.IGNORECASE if ignore_case else 0)

    def says(written: Any) -> bool:
        return written is not None and any(wanted.search(value) for value in _values(written))

    return says


def _turns(messages: str | None) -> Any:
    """Return the turns that some messages hold, without the markers among them."""
    chat = read_chat("", "", messages)
    return chat.all if chat.unread is None else _parsed(chat.unread)


def _values(value: Any) -> Iterator[str]:
    """Yield every value inside some JSON as it is shown; no name of a column or of a part."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _values(part)
    elif isinstance(value, list):
        for part in value:
            yield from _values(part)
    else:
        yield value if isinstance(value, str) else json.dumps(value)


def _parsed(written: str) -> Any:
    """Read JSON; a text that is none is itself."""
    try:
        return json.loads(written)
    except ValueError:
        return written


def _check_names(manifest: Manifest, settings: ShowSettings) -> None:
    """Refuse a domain or an auditor that no row has, where nothing was found."""
    if settings.domains is not None:
        known = per_label(manifest.scan()).select(pl.col("domain").drop_nulls().unique()).collect()["domain"].to_list()
        for domain in settings.domains:
            if domain not in known:
                raise UnknownNameError("domain", domain, known)
    if settings.finding is not None:
        known = auditors_of_findings(manifest.rows("findings")["findings"])
        if settings.finding not in known:
            raise UnknownNameError("auditor with findings", settings.finding, known)


def _read(manifest: Manifest, chosen: list[str]) -> tuple[ShownRow, ...]:
    """Return rows by their ids, in that order."""
    rows = manifest.scan().filter(pl.col("id").is_in(chosen)).collect()
    keys = rows["content"].unique().to_list()
    contents = manifest.scan_contents().filter(pl.col("content").is_in(keys)).collect()
    known = {row["id"]: row for row in rows.join(contents.unique("content"), on="content", how="left").iter_rows(named=True)}
    return tuple(_shown(known[row_id]) for row_id in chosen)


def _shown(row: dict[str, Any]) -> ShownRow:
    columns = {name: row[name] for name in SCHEMA if name not in _NOT_SHOWN}
    columns |= {"parents": row["parents"] or [], "findings": read_findings(row["findings"])}
    extra = _parsed(row["extra"]) if row["extra"] else {}
    extra = extra if isinstance(extra, dict) else {"extra": extra}
    messages = _parsed(row["messages"]) if row["messages"] else []
    chat = read_chat(row["prompt"] or "", row["answer"] or "", row["messages"])
    options, option_columns = _options(extra)
    return ShownRow(
        columns=columns,
        messages=messages if isinstance(messages, list) else [{"role": "messages", "content": str(messages)}],
        chat=chat,
        prompt=row["prompt"] or "",
        options=options,
        rationale=row["rationale"],
        answer=row["answer"] or "",
        extra=extra,
        option_columns=option_columns,
    )


def _options(extra: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the options of a question by their labels, and where they stand: a list, an object, or columns A, B, C …"""
    for name in _OPTIONS:
        found = extra.get(name)
        if isinstance(found, Mapping) and isinstance(found.get("text"), list):  # as ARC has them
            texts, labels = found["text"], found.get("label")
            return _labelled(texts, labels if isinstance(labels, list) and len(labels) == len(texts) else None), (name,)
        if isinstance(found, Mapping):
            return {str(label): _plain(text) for label, text in found.items()}, (name,)
        if isinstance(found, list):
            return _labelled(found, None), (name,)
    letters = [name for name in extra if re.fullmatch("[A-Z]", name)]
    return ({name: _plain(extra[name]) for name in letters}, tuple(letters)) if letters[:2] == ["A", "B"] else ({}, ())


def _labelled(texts: list[Any], labels: list[Any] | None) -> dict[str, str]:
    names = labels or [chr(ord("A") + n) if n < 26 else str(n + 1) for n in range(len(texts))]
    return {str(name): _plain(text) for name, text in zip(names, texts, strict=True)}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
