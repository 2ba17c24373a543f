"""The teacher ``recorded:FILE``, whose replies a user already has. Sends nothing, costs nothing.

The file is JSON lines (plain, gz, zst) or Parquet. Columns, by any of their names:

    kind                    ``real`` (answers a question of the data) or ``synthetic`` (a new example); real where absent
    prompt, text, question  the question
    rationale               what the teacher wrote
    answer, label           the final answer of a new example
    domain                  of a new example
    index, sample           order of several replies to one question; the order in the file where absent
    finish_reason, prompt_tokens, completion_tokens, parents    passed on where they are there

A ``prediction`` is never read: what counts is the answer that the rationale comes to. Real questions are found by their
normalised text, and their replies are samples 0, 1, 2 …; the distinct new questions of a domain are a pool, and sample n is
its n-th; after the last one come the second replies to those that have several. Where there is nothing left the reply is
``unanswered``, for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.manifest import ids
from curate.manifest.chats import conversations
from curate.teachers.base import RawResponse, Request, Teacher, Usage
from curate.teachers.prices import FREE, Price
from curate.teachers.registry import teachers

__all__ = ["Recorded"]

_NAMES = {
    "prompt": ("prompt", "text", "question"),
    "messages": ("messages",),
    "rationale": ("rationale",),
    "answer": ("answer", "label"),
    "domain": ("domain",),
    "kind": ("kind",),
    "index": ("index", "sample"),
    "finish_reason": ("finish_reason",),
    "prompt_tokens": ("prompt_tokens",),
    "completion_tokens": ("completion_tokens",),
    "parents": ("parents",),
}
_KINDS = {"real", "synthetic"}


class Recorded:
    """Recorded replies as a teacher.

    Args:
        path: of the file.
        concurrency: requests looked up at once.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """

    def __init__(self, path: str | Path, *, concurrency: int = 256) -> None:
        file = Path(path)
        try:
            records = _records(file, _read(file))
        except pl.exceptions.PolarsError as e:  # a column of lists, or of words where numbers belong
            raise InputError(
                f"recorded replies {file.name!r}: a column has values of another kind: {str(e).splitlines()[0]}"
            ) from e
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        self.endpoint, self.model = f"recorded:{file.name}:{digest}", f"recorded:{file.name}"
        self.concurrency = concurrency
        self.price: Price | None = FREE
        real, new = records.filter(kind="real"), records.filter(kind="synthetic")
        self._answers: dict[int, list[dict[str, Any]]] = {}
        for key, record in zip(ids.prompt_keys(conversations(real, newest_first=False)), real.iter_rows(named=True), strict=True):
            self._answers.setdefault(key, []).append(record)
        self._pools: dict[str, list[dict[str, Any]]] = {}
        self._distinct: Counter[str] = Counter()
        for record in _in_turn(new).iter_rows(named=True):
            self._pools.setdefault(record["domain"], []).append(record)
            self._distinct[record["domain"]] += record["turn"] == 0

    async def submit(self, requests: Sequence[Request]) -> AsyncIterator[tuple[int, RawResponse]]:
        """Yield the recorded reply to each request."""
        for position, request in enumerate(requests):
            yield position, self._answer(request)

    def capacity(self, domain: str) -> int | None:
        """Return how many distinct new examples of the domain are recorded."""
        return self._distinct[domain]

    def shape(self, request: Request) -> Mapping[str, Any]:
        """Return what shapes the reply: the question or the domain, and which sample; not the words of the prompt."""
        asked = {"domain": request.domain} if request.purpose == "synthesis" else {"prompt": _key(request.prompt)}
        return {"purpose": request.purpose, "sample": request.sample, **asked}

    async def close(self) -> None:
        """Do nothing; there are no connections."""

    def _answer(self, request: Request) -> RawResponse:
        new = request.purpose == "synthesis"
        known = self._pools.get(request.domain, []) if new else self._answers.get(_key(request.prompt), [])
        if not 0 <= request.sample < len(known):
            return RawResponse("unanswered")
        record = known[request.sample]
        usage = Usage(record["prompt_tokens"] or 0, record["completion_tokens"] or 0)
        parts = {name: record[name] or "" for name in ("prompt", "rationale", "answer")}
        text = json.dumps(parts, ensure_ascii=False) if new and parts["prompt"] else parts["rationale"]
        seeds = (record["parents"] or []) if new else None
        return RawResponse.of(text, usage=usage, finish_reason=record["finish_reason"] or "stop", seeds=seeds)


@teachers.register("recorded")
def _recorded(location: str, **_: Any) -> Teacher:
    if not location:
        raise InputError("teacher 'recorded' needs a file: --teacher recorded:FILE")
    return Recorded(location)


def _key(prompt: str) -> int:
    return int(ids.prompt_keys([prompt])[0])


def _read(path: Path) -> pl.DataFrame:
    """Read Parquet or JSON lines, by the file's first bytes."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return pl.read_parquet(path)
        return pl.read_ndjson(path, infer_schema_length=None)
    except OSError as e:
        raise InputError(f"recorded replies {path.name!r} cannot be read: {e.strerror or e}") from e
    except pl.exceptions.PolarsError as e:
        raise InputError(f"recorded replies {path.name!r} are neither Parquet nor JSON lines: {str(e).splitlines()[0]}") from e


def _records(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """Bring a file's columns to one form, in the order of the samples."""
    types: dict[str, Any] = dict.fromkeys(_NAMES, pl.String()) | {"parents": pl.List(pl.String())}
    types |= dict.fromkeys(("index", "prompt_tokens", "completion_tokens"), pl.Int64())
    columns = []
    for name, spellings in _NAMES.items():
        there = [pl.col(spelling).cast(types[name]) for spelling in spellings if spelling in frame.columns]
        if name == "messages" and frame.schema.get(name) != pl.String:
            there = []  # of another form than rows keep and exports write
        columns.append((pl.coalesce(there) if there else pl.lit(None, types[name])).alias(name))
    for name in ("prompt", "rationale"):
        if not set(_NAMES[name]) & set(frame.columns):
            raise InputError(
                f"recorded replies {path.name!r}: no column {' or '.join(map(repr, _NAMES[name]))}; columns: {frame.columns}"
            )
    records = frame.select(columns).with_columns(pl.col("kind").fill_null("real"))
    if unknown := sorted(set(records["kind"]) - _KINDS):
        raise InputError(f"recorded replies {path.name!r}: kind is 'real' or 'synthetic', got {unknown[0]!r}")
    return records.sort("index", maintain_order=True) if "index" in frame.columns or "sample" in frame.columns else records


def _in_turn(new: pl.DataFrame) -> pl.DataFrame:
    """Put the first record of each new question before all second ones, and so on; replies without a question are each first."""
    key = pl.when(pl.col("prompt").fill_null("") == "").then(None).otherwise(ids.prompt_keys(new["prompt"]))
    turn = pl.when(pl.col("key").is_null()).then(0).otherwise(pl.int_range(pl.len()).over("domain", "key"))
    return new.with_columns(key=key).with_columns(turn=turn).sort("turn", maintain_order=True)
