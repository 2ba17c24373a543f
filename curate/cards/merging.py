"""Puts a new card in the place of one that is there, and keeps what a person wrote in it.

A card of ours has *parts* between comments, ``<!-- curate:domains -->`` and ``<!-- /curate:domains -->``, and at its end a
comment that records what was generated. With it the three can be told apart: what a person wrote or took away since, what is
ours, and what is new. Text outside the comments is a person's, and stays byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from curate import progress
from curate.cards.markup import clean
from curate.cards.metadata import read_header, write_header
from curate.errors import InputError

__all__ = ["assemble", "is_edited", "is_ours", "merge"]

_NAME = r"[a-z][a-z0-9-]*"
_MARK = re.compile(rf"<!-- (?P<end>/?)curate:(?P<name>{_NAME}) -->")
_RECORD = re.compile(r"<!-- curate-generated (?P<record>\{.*\}) -->\n?")
_COMMENT = re.compile(r"(?:^|\s)(#.*)$")
_OPEN = ("tags",)  # keys of which each item is a person's or ours
_OF_FILES = ("configs", "dataset_info")  # keys that say which files there are, by config
_LONGEST = 60  # characters of a value in a note
_ABSENT = object()  # a field that is not there; None is a value


@dataclass(frozen=True)
class _Card:
    """A card, taken apart.

    Attributes:
        pieces: (name, text) in order; the name is None for what a person wrote.
        record: what was generated: ``metadata``, and ``parts``, name → hash of its text.
        comment: that has the record; "" where there is none.
    """

    pieces: list[tuple[str | None, str]]
    record: Mapping[str, Any]
    comment: str


def assemble(fields: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """Return a new card.

    Args:
        fields: of its header.
        parts: name → text, in order.
    """
    pieces = [(name, _wrapped(name, text)) for name, text in parts.items()]
    text = "\n\n".join(piece for _, piece in pieces)
    card = f"---\n{write_header(fields)}---\n\n{text}\n\n"
    return card + _record(fields, parts, card)


def is_ours(card: str) -> bool:
    """Return whether a card was made here, whatever a person changed of it since."""
    return _RECORD.search(card) is not None or _MARK.search(card) is not None


def is_edited(card: str) -> bool:
    """Return whether anybody wrote in a card, or took anything away, since it was made here."""
    records = list(_RECORD.finditer(card))
    if not records:
        return True
    last = records[-1]
    return _read_record(last["record"]).get("whole") != _hash(card[: last.start()]) or bool(card[last.end() :])


def merge(existing: str, new: str) -> str:
    """Return a new card with what a person wrote in the one that is there.

    Text outside the marks stays as it is. Parts that a person took out with their marks stay out, and fields of the header that
    a person added, changed or took out stay so; a note says which. Of the tags, each that was added or taken out stays so.
    ``configs`` and ``dataset_info`` say which files there are: theirs are kept under names that the new card has not. A card that
    was never ours stays whole, and the new parts follow it.

    Args:
        existing: the card that is there; "" for none.
        new: as `assemble` made it.

    Raises:
        InputError: the header that is there is no YAML, or a mark has no counterpart; nothing is to be overwritten.
    """
    if not existing.strip() or not is_edited(existing):
        return new
    old, fresh = read_header(existing), read_header(new)
    ours = _take_apart(fresh.text)
    theirs = _take_apart(old.text, [name for name, _ in ours.pieces if name is not None])
    fields, told = _merge_fields(old.values, theirs.record.get("metadata", {}), fresh.values)
    header = _write(fields, old.entries, old.before, old.values)
    body, removed = _merge_parts(theirs, ours)
    for line in [*told, *removed, *_changed_inside(theirs)]:
        progress.note("card", line)
    return f"---\n{header}---\n{body}"


def _wrapped(name: str, text: str) -> str:
    return f"<!-- curate:{name} -->\n{text}\n<!-- /curate:{name} -->"


def _record(fields: Mapping[str, Any], parts: Mapping[str, str], card: str) -> str:
    """Return the comment that records what was generated; nothing in it can end it.

    Args:
        fields: of the header.
        parts: name → text.
        card: all that stands before the comment.
    """
    record = {
        "metadata": dict(fields),
        "parts": {name: _hash(text) for name, text in parts.items()},
        "whole": _hash(card),
    }
    line = json.dumps(record, ensure_ascii=True, sort_keys=True, default=str)
    for sign in "<>&":
        line = line.replace(sign, f"\\u{ord(sign):04x}")
    return f"<!-- curate-generated {line.replace('--', '-' + chr(92) + 'u002d')} -->\n"


def _hash(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.strip().replace("\r\n", "\n").encode("utf-8", "surrogatepass"))


def _take_apart(text: str, known: Collection[str] = ()) -> _Card:
    """Split the text of a card at the marks of parts that are known, or that its record names; any other is a person's text."""
    records = list(_RECORD.finditer(text))
    record = _read_record(records[-1]["record"]) if records else {}
    text = text if not record else text[: records[-1].start()] + text[records[-1].end() :]
    names = {*known, *record.get("parts", {})}
    pieces: list[tuple[str | None, str]] = []
    at, opened = 0, None
    for mark in _MARK.finditer(text):
        name = mark["name"]
        if name not in names:
            continue
        if bool(mark["end"]) != (opened is not None) or (opened is not None and opened["name"] != name):
            raise _unpaired(mark if opened is None else opened)
        if opened is None:
            pieces.append((None, text[at : mark.start()]))
            at, opened = mark.start(), mark
        else:
            if any(name == other for other, _ in pieces):
                raise InputError(f"the card that is there has the part <!-- curate:{name} --> twice; {_WAY_OUT}")
            pieces.append((name, text[at : mark.end()]))
            at, opened = mark.end(), None
    if opened is not None:
        raise _unpaired(opened)
    pieces.append((None, text[at:]))
    return _Card(pieces, record, records[-1][0] if record else "")


_WAY_OUT = "nothing was overwritten: put its marks right, or move that README.md away to have a new one"


def _unpaired(mark: re.Match[str]) -> InputError:
    return InputError(f"the card that is there has a mark without its counterpart, {mark[0]}; {_WAY_OUT}")


def _read_record(line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _inside(piece: str) -> str:
    """Return the text of a part without its marks."""
    return _MARK.sub("", piece).strip()


def _merge_parts(theirs: _Card, ours: _Card) -> tuple[str, list[str]]:
    """Return the text: a person's as it is, parts that are there renewed, and new ones after the part that they follow."""
    fresh = {name: text for name, text in ours.pieces if name is not None}
    there = {name for name, _ in theirs.pieces if name is not None}
    removed = [name for name in fresh if name in theirs.record.get("parts", {}) and name not in there]
    pieces = [(name, text if name is None else fresh.get(name, "")) for name, text in theirs.pieces]
    order = list(fresh)
    for name in fresh:
        if name not in there and name not in removed:
            _insert(pieces, name, fresh[name], after=order[: order.index(name)])
    body = "".join(text for _, text in pieces)
    body = body if body.endswith("\n") else f"{body}\n"
    return body + ours.comment, [f"part {name!r} was taken out of the card by hand, and stays out" for name in removed]


def _insert(pieces: list[tuple[str | None, str]], name: str, text: str, *, after: Collection[str]) -> None:
    """Put a part after the last of some others; where none is there before the first of all, or else at the end."""
    places = [i for i, (other, _) in enumerate(pieces) if other in after]
    parts = [i for i, (other, _) in enumerate(pieces) if other is not None]
    at = places[-1] + 1 if places else parts[0] if parts else len(pieces)
    before, behind = ("".join(piece for _, piece in half) for half in (pieces[:at], pieces[at:]))
    lead = "" if not before or before.endswith("\n\n") else "\n\n"
    tail = "" if not behind or behind.startswith(("\n", "\r")) else "\n\n"
    pieces.insert(at, (name, f"{lead}{text}{tail}"))


def _changed_inside(card: _Card) -> Iterator[str]:
    was = card.record.get("parts", {})
    for name, text in card.pieces:
        if name is not None and name in was and _hash(_inside(text)) != was[name]:
            yield f"part {name!r} of the card was changed by hand between its marks, and is written anew: write outside of them"


def _merge_fields(old: Mapping[str, Any], was: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a header, and what to say of those that a person added, changed or took out.

    Args:
        old: those that are there.
        was: those that were generated then.
        new: those that are generated now.
    """
    fields: dict[str, Any] = {}
    told = []
    for key in dict.fromkeys([*old, *was, *new]):
        values = [each.get(key, _ABSENT) for each in (old, was, new)]
        value = _merge_field(key, *values)
        if value is not _ABSENT:
            fields[key] = value
        if key not in _OF_FILES and not _same(values[0], values[1]) and not _same(value, values[2]):
            made = "" if key not in new else f"; generated: {_short(new[key])}"
            what = "stays out" if value is _ABSENT else f"stays {_short(value)}"
            told.append(f"{key} of the card {what}, as a person wrote it{made}")
    return fields, told


def _merge_field(key: str, old: Any, was: Any, new: Any) -> Any:
    """Return the value of a field; `_ABSENT` where it is left out."""
    if key in _OF_FILES:
        return _merge_configs(old, was, new)
    if _same(old, was):
        return new
    if key in _OPEN and all(isinstance(value, list) and all(map(_is_plain, value)) for value in (old, was, new)):
        kept = [item for item in new if item in old or item not in was]
        return [*kept, *(item for item in old if item not in was and item not in kept)]
    return old


def _merge_configs(old: Any, was: Any, new: Any) -> Any:
    """Return the configs of files: the new ones, and a person's under other names."""
    lists = [value if isinstance(value, list) else [value] if isinstance(value, dict) else [] for value in (old, was, new)]
    there, generated, fresh = ([item for item in value if isinstance(item, dict)] for value in lists)
    names = {item.get("config_name") for item in [*generated, *fresh]}
    merged = [*fresh, *(item for item in there if item.get("config_name") not in names)]
    return (merged if isinstance(new, list) or len(merged) != 1 else merged[0]) or _ABSENT


def _is_plain(item: Any) -> bool:
    return isinstance(item, str | int | float | bool)


def _same(a: Any, b: Any) -> bool:
    """Return whether two values are the same in a header; a person's may be of any type that YAML has."""
    if a is _ABSENT or b is _ABSENT:
        return a is b
    return write_header({"value": a}) == write_header({"value": b})


def _short(value: Any) -> str:
    text = clean(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _write(fields: Mapping[str, Any], entries: Mapping[str, str], before: str, old: Mapping[str, Any]) -> str:
    """Return a header in which a field that did not change keeps its lines, and every comment stays."""
    lines = [before]
    for key, value in fields.items():
        if key in entries and _same(old[key], value):
            lines.append(entries[key])
        else:
            lines += [write_header({key: value}), *_comments(entries.get(key, ""), {key: old.get(key)})]
    lines += [comment for key in entries if key not in fields for comment in _comments(entries[key], {key: old.get(key)})]
    return "".join(line if not line or line.endswith("\n") else f"{line}\n" for line in lines)


def _comments(entry: str, generated: Mapping[str, Any]) -> list[str]:
    if not entry or entry == write_header(generated):
        return []
    return [f"{found[1]}\n" for line in entry.splitlines() if (found := _COMMENT.search(line))]
