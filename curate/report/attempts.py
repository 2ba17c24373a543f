"""Finds texts that answer a question wrongly and were rejected for that, beside the row that answers it. Changes nothing.

There are two kinds: attempts at a row's rationale, whose texts the ledger alone has, and rejected rows with the question of an
accepted one. Each is judged again beside the accepted answer, by the auditors that judged it, before it is handed out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from curate.answers import answers
from curate.audit import audit
from curate.audit.base import AUDITED_ROWS, PROMPTS, Context, kind_in
from curate.audit.kinds import survey_rows, with_said_kinds
from curate.generation.parsing import unwrap
from curate.ledger.ledger import Ledger, existing_ledger
from curate.manifest import ids
from curate.manifest.chats import completion, conversation, tools_of
from curate.manifest.manifest import Manifest
from curate.manifest.rows import read_findings
from curate.teachers.responses import parse_response

__all__ = ["WrongText", "WrongTexts", "find_wrong_texts"]

_WRONG = "answer_mismatch"  # the auditor that finds fault with an answer, and with nothing else
_JUDGES = ("malformed", _WRONG)
_CALLS = 500  # read from the ledger at a time


class WrongText(NamedTuple):
    """A text that answers a question wrongly.

    Attributes:
        text: closed by its own final answer, as it states that.
        origin: ``attempt`` at the accepted row's rationale, or ``row``: one that was rejected.
        accepted: what the accepted row says, closed in the same way, so that the form does not tell the two apart.
    """

    text: str
    origin: str
    accepted: str


@dataclass(frozen=True)
class WrongTexts:
    """The wrong texts of a version.

    Attributes:
        by_row: id of an accepted train row → the wrong texts for its question, each once.
        unused: why → how many rejected attempts and rows are not among them.
    """

    by_row: Mapping[str, tuple[WrongText, ...]]
    unused: Counter[str]


class _Rejected(NamedTuple):
    """An attempt (with a call) or a row (without) that was rejected, and by which auditors."""

    id: str
    content: str
    prompt_key: int
    call: int | None
    auditors: frozenset[str]


class _Pair(NamedTuple):
    """A rejected text and the accepted row, with its texts, that answers the same question."""

    accepted: Mapping[str, Any]
    text: str
    origin: str


def find_wrong_texts(manifest: Manifest) -> WrongTexts:
    """Return the wrong texts for the questions of accepted train rows.

    A text is used where the auditor of answers alone rejected it, its final answer can be read, that is another one than the
    accepted row's, and the accepted row has a rationale of its own that passes.

    Args:
        manifest: the version to read.

    Raises:
        LedgerError: the ledger is there and cannot be read.
    """
    unused: Counter[str] = Counter()
    rejected = []
    for found in _rejections(manifest):
        others = sorted(found.auditors - {_WRONG})
        if others:
            unused[f"rejected as {others[0]}"] += 1
        else:
            rejected.append(found)
    pairs = list(_pairs(manifest, rejected, unused))
    by_row: dict[str, dict[WrongText, None]] = {}
    for row_id, text in _judged(manifest, pairs, unused):
        by_row.setdefault(row_id, {})[text] = None
    return WrongTexts({row_id: tuple(texts) for row_id, texts in by_row.items()}, unused)


def _rejections(manifest: Manifest) -> Iterator[_Rejected]:
    """Yield the attempts and rows of the train split that an auditor rejected."""
    marked = (pl.col("split") == "train") & pl.col("findings").str.contains('"reject"', literal=True)
    rows = manifest.scan().filter(marked).select("id", "content", "prompt_key", "status", "findings").collect()
    for row_id, content, key, status, findings in rows.iter_rows():
        by: dict[int | None, set[str]] = {}
        for finding in read_findings(findings):
            call = None if finding.get("attempt") is None else finding.get("call_id")
            if finding.get("decision") == "reject" and (call is not None or status == "rejected"):
                by.setdefault(call, set()).add(str(finding["auditor"]))
        for call, names in by.items():
            yield _Rejected(row_id, content, key, call, frozenset(names))


def _pairs(manifest: Manifest, rejected: list[_Rejected], unused: Counter[str]) -> Iterator[_Pair]:
    """Yield each rejected text with the accepted row that answers the same question."""
    accepted = _accepted(manifest, {found.prompt_key for found in rejected})
    own = {row["id"]: row for rows in accepted.values() for row in rows}
    keys = [found.content for found in rejected]
    contents = {row["content"]: row for row in manifest.contents(keys).unique("content").iter_rows(named=True)}
    matched = []
    for found in rejected:
        asked = contents.get(found.content)
        row = own.get(found.id) or (None if asked is None else next(iter(accepted.get(_question(asked), ())), None))
        if row is None:
            unused["whose question no accepted row answers"] += 1
        elif not (row["rationale"] or "").strip():
            unused["beside an accepted answer without a rationale"] += 1
        else:
            matched.append((found, row))
    replies = _replies(manifest, [found.call for found, _ in matched if found.call is not None])
    for found, row in matched:
        if found.call is None:
            yield _Pair(row, contents[found.content]["rationale"] or "", "row")
        elif replies is None:
            unused["whose texts are in no ledger, since there is none"] += 1
        elif found.call not in replies or not _asks(replies[found.call], row):
            unused["whose texts are not in this ledger"] += 1
        else:
            yield _Pair(row, replies[found.call].text, "attempt")


def _accepted(manifest: Manifest, keys: set[int]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return question → the accepted train rows that answer it, by id."""
    selected = (pl.col("split") == "train") & (pl.col("status") == "selected") & pl.col("prompt_key").is_in(list(keys))
    rows = manifest.scan().filter(selected).select("id", "content", "domain", "source", "kind").sort("id").collect()
    rows = with_said_kinds(manifest.examples(rows))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(_question(row), []).append(row)
    return found


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what leads to an answer: the conversation, and the tools that are offered."""
    return conversation(row["prompt"] or "", row["messages"]), json.dumps(tools_of(row["extra"]))


class _Reply(NamedTuple):
    request: str
    text: str


def _replies(manifest: Manifest, calls: list[int]) -> dict[int, _Reply] | None:
    """Return what a teacher replied to requests for rationales, by call; None where there is no ledger."""
    if not calls:
        return {}
    ledger = existing_ledger(manifest.root)
    if ledger is None:
        return None
    try:
        return dict(_read_replies(ledger, sorted(set(calls))))
    finally:
        ledger.close()


def _read_replies(ledger: Ledger, calls: list[int]) -> Iterator[tuple[int, _Reply]]:
    sql = "SELECT c.id, c.request, r.raw FROM calls c JOIN replies r ON r.attempt = c.answer WHERE c.purpose = 'rationale'"
    for start in range(0, len(calls), _CALLS):
        some = calls[start : start + _CALLS]
        for call, request, raw in ledger.query(f"{sql} AND c.id IN ({','.join('?' * len(some))})", some):
            parsed = parse_response(raw)
            if not parsed.error:
                yield call, _Reply(request, unwrap(parsed.text))


def _asks(reply: _Reply, row: Mapping[str, Any]) -> bool:
    """Return whether a reply is to a row's question: numbers of calls mean something in their own ledger alone."""
    text = json.dumps((row["prompt"] or "").strip(), ensure_ascii=False)[1:-1]
    key = ids.prompt_keys([conversation(row["prompt"] or "", row["messages"])])[0]  # what a recorded teacher is asked by
    return text in reply.request or f'"prompt":{key}' in reply.request


def _judged(manifest: Manifest, pairs: list[_Pair], unused: Counter[str]) -> Iterator[tuple[str, WrongText]]:
    """Yield the wrong texts of the pairs whose accepted row passes and whose other text answers wrongly, by the row's id."""
    if not pairs:
        return
    context = _context(manifest)
    accepted = {pair.accepted["id"]: pair.accepted for pair in pairs}
    doubtful = _rejections_of(context, ((row_id, row, {}) for row_id, row in accepted.items()))
    texts = ({"rationale": pair.text, "source": "synthetic" if pair.origin == "row" else "real"} for pair in pairs)
    wrong = _rejections_of(
        context, ((str(n), pair.accepted, text) for n, (pair, text) in enumerate(zip(pairs, texts, strict=True)))
    )
    for n, pair in enumerate(pairs):
        row = pair.accepted
        kind = kind_in(context, row["domain"], row["prompt"] or "", row["answer"] or "", row["kind"])
        labels = context.labels_of(row["domain"])
        said = answers.extract(pair.text, kind, labels=labels, prompt=row["prompt"] or "")
        if row["id"] in doubtful:
            unused["beside an accepted rationale that does not pass any more"] += 1
        elif said is None:
            unused["whose final answer cannot be read"] += 1
        elif wrong.get(str(n)) != _WRONG:
            unused["whose final answer is the accepted one, or cannot be compared with it"] += 1
        else:
            right = answers.extract(row["rationale"], kind, labels=labels, prompt=row["prompt"] or "")
            right = right if right and answers.equal(right, row["answer"], kind) else row["answer"]
            yield row["id"], WrongText(completion(pair.text, said), pair.origin, completion(row["rationale"], right))


def _rejections_of(context: Context, lines: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, str]:
    """Return which rows the auditors of rationales reject, and by which of them.

    Args:
        context: of the corpus.
        lines: a key, a row with its texts, and what is to be judged in the place of some of them.
    """
    schema = {**AUDITED_ROWS, "kind": pl.String()}
    batch = [{**{name: row.get(name) for name in schema}, **other, "id": key} for key, row, other in lines]
    return audit.judge(pl.DataFrame(batch, schema=schema), context, auditors=_JUDGES).rejected


def _context(manifest: Manifest) -> Context:
    """Return what these auditors need to know of the corpus: its kinds of answers."""
    none = pl.DataFrame(schema=PROMPTS)
    found = survey_rows(manifest, manifest.rows("content", "domain", "labels", "kind", "split", "source"))
    return audit.with_kinds(Context({}, {}, none, none, none, _no_vectors), found)


def _no_vectors(texts: list[str]) -> Any:
    raise AssertionError("the auditors of rationales compare no vectors")
