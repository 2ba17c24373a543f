"""The built-in formats: parquet, jsonl, chat, and a folder for `datasets.load_dataset`. Decides nothing about rows.

What a format cannot carry is named and counted in one note before it is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import polars as pl

from curate import progress
from curate.export import card as cards
from curate.export import layout
from curate.export.base import WEIGHT, Snapshot, exporters, json_text
from curate.files import write_whole
from curate.manifest import chats

__all__ = ["write_chat", "write_datasets", "write_jsonl", "write_parquet"]

_DECODER = json.JSONDecoder()
_OF_CHATS = ("prompt", "answer", "messages", "extra")  # what a chat's keys are known by
# Keys of a chat's record that are its own, and those that trainers read in place of `messages`.
_OWN = ("id", "domain", "domains", "messages", "turns")
_OF_TRAINERS = ("prompt", "completion", "chosen", "rejected", "text", "input_ids", "labels", "completion_mask", "assistant_masks")


@exporters.register("parquet")
def write_parquet(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one Parquet file per split, zstd-compressed."""
    return layout.write_parquet(snapshot, destination)


@exporters.register("jsonl")
def write_jsonl(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one JSON Lines file per split; messages and extra are JSON strings, as they are in the manifest."""

    def write(part: Path, split: str) -> None:
        with part.open("wb") as file:
            for frame in snapshot.frames(split):
                frame.write_ndjson(file)

    return tuple(write_whole(destination / f"{split}.jsonl", partial(write, split=split)) for split in snapshot.rows)


@exporters.register("chat")
def write_chat(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one JSON Lines file per split with the whole chat as ``messages``, as chat trainers read it.

    Beside it stand the row's id, domain (and ``domains`` where rows have several) and weight, where it has one, every further
    column of its source (``tools``, say), and, where there are chats of several answers, ``turns``: whether the ``last`` turn of
    the assistant is trained on or ``all`` of them. Every record of an export has the same keys, since readers take them from the
    first.
    """
    keys, turns = _shape(snapshot)

    def records(split: str) -> Iterator[str]:
        for frame in snapshot.frames(split):
            yield from _chat_records(frame, keys, turns=turns)

    return tuple(_lines(destination / f"{split}.jsonl", records(split)) for split in snapshot.rows)


@exporters.register("datasets")
def write_datasets(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write the folder of a data set repository: typed shards in ``data/`` with configs of them, and a README card."""
    made = layout.write_layout(snapshot, destination)
    return (*made.paths, *cards.write_card(snapshot, destination, configs=made.configs))


def _shape(snapshot: Snapshot) -> tuple[list[str], bool]:
    """Return the keys of `extra` that stand beside `messages`, and whether a chat has several answers; tell of what cannot."""
    found: Counter[str] = Counter()
    unread, several = 0, False
    for frame in chain.from_iterable(snapshot.frames(split, columns=_OF_CHATS) for split in snapshot.rows):
        for text in frame["extra"].drop_nulls():
            found.update(_members(text).keys())
        for chat in chats.read_chats(frame.filter(pl.col("messages").is_not_null())):
            unread += chat.unread is not None
            several = several or any(turn.get("role") == "assistant" for turn in chat.leading)
    own = (*_OWN, *_OF_TRAINERS, *([WEIGHT] if WEIGHT in snapshot.schema else []))
    left = {name: n for name, n in sorted(found.items()) if name in own}
    left |= {"messages, which is no chat": unread} if unread else {}
    if left:
        which = ", ".join(f"{name} ({n:,} rows)" for name, n in left.items())
        progress.note(
            "export", f"chat: left out since a trainer would read them as something else: {which}; --to jsonl keeps everything"
        )
    return [name for name in found if name not in left], several


def _chat_records(frame: pl.DataFrame, keys: list[str], *, turns: bool) -> Iterator[str]:
    """Yield the JSON text of every row; values of `extra` are written as they are, digit by digit."""
    beside = frame.select(name for name in ("id", "domain", "domains", WEIGHT) if name in frame.columns)
    rows = zip(beside.iter_rows(named=True), frame["extra"], chats.read_chats(frame), strict=True)
    for here, extra, chat in rows:
        record = {**here, "messages": chat.all} | ({"turns": chat.train} if turns else {})
        members = _members(extra) if keys and extra else {}
        further = "".join(f", {json.dumps(key, ensure_ascii=False)}: {members.get(key, 'null')}" for key in keys)
        yield f"{json_text(record)[:-1]}{further}}}\n"


def _members(text: str) -> dict[str, str]:
    """Return the members of a JSON object with the text of each value as it is written; what is no object is itself, `extra`."""
    try:
        return dict(_each_member(text))
    except (ValueError, IndexError):
        return {"extra": json.dumps(text, ensure_ascii=False)}


def _each_member(text: str) -> Iterator[tuple[str, str]]:
    at = _skip(text, text.index("{", 0, _skip(text, 0) + 1) + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, at = _DECODER.raw_decode(text, start)
        yield key, text[start:at].replace("\n", " ").replace("\r", " ")  # line ends between values; a text has none
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _lines(path: Path, records: Iterable[str]) -> Path:
    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(records)

    return write_whole(path, write)
