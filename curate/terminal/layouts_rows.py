"""Lays out rows as a person reads them: the chat, the rationale, the answer, then why the row has its status. Prints nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from curate.report.story import describe_finding
from curate.teachers.prices import format_usd
from curate.terminal import widgets
from curate.terminal.widgets import count

__all__ = ["previewed", "shown"]


def shown(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.report.show.ShowResult`."""
    yield from widgets.facts(_title(result), [])
    for number, row in enumerate(result.rows, 1):
        yield ""
        yield widgets.rule(f"{count(number)} of {count(len(result.rows))}")
        yield from _row(row)


def previewed(result: Any) -> Iterable[Any]:
    """Return the layout of a result with a `curate.balance.preview.PreviewResult`."""
    preview = result.preview
    n, spent = len(preview.replies), preview.spent
    cost = "" if spent.usd is None else f", {format_usd(spent.usd)}"
    title = f"{result.manifest}: {count(n)} {'reply' if n == 1 else 'replies'} to read; nothing was changed"
    charged = f"{count(spent.calls)} calls, {count(spent.tokens)} tokens{cost}; {count(spent.saved)} from the ledger"
    yield from widgets.facts(title, [("charged", charged)])
    for number, reply in enumerate(preview.replies, 1):
        yield ""
        yield widgets.rule(f"{count(number)} of {count(n)}: {reply.purpose}, {reply.domain}")
        for turn in reply.messages:
            yield from _turn(turn, mark="sent")
        yield from _text("reply" if reply.status == "answered" else f"no reply: {reply.status}", reply.reply)
        for read, trained, findings in zip(reply.read_as, reply.trained, reply.findings, strict=True):
            parts = [f"{name}: {text}" for name, text in read.items() if text is not None]
            yield from _text("read as", "\n".join(parts))
            for finding in findings:
                yield from _text("finding", describe_finding({"stage": None, "attempt": None, **finding}))
            if trained is None:
                yield from _text("trained on", "nothing: an auditor rejects it")
            else:
                for turn in trained:
                    yield from _turn(turn, mark="of the row that is trained on")
    yield ""
    yield "the replies are in the ledger: the same command without --preview takes them from there"


def _title(result: Any) -> str:
    """Say how many rows matched, and how to see others."""
    matched, here, seed = result.matched, len(result.rows), result.seed
    n = "no row matches" if not matched else "1 row matches" if matched == 1 else f"{count(matched)} rows match"
    found = f"{result.manifest}: {n}"
    if here == matched:
        return found
    which = f"the first {count(here)} are shown" if seed is None else f"{count(here)} are shown, drawn by seed {seed}"
    return f"{found}; {which}; --n {min(10 * here, matched)} shows more, --seed {0 if seed is None else seed + 1} draws others"


def _row(row: Any) -> Iterator[Any]:
    chat = row.chat
    if chat.unread is not None:
        yield from _text("messages", chat.unread)
    learned = chat.trained()
    for position, turn in enumerate(chat.leading):
        yield from _turn(turn, mark="trained on" if position in learned else "")
    if row.options and not all(_offers(row.prompt, label, text) for label, text in row.options.items()):
        yield from _text("options", "\n".join(f"{label}. {text}" for label, text in row.options.items()))
    if row.rationale is not None:
        yield from _text("rationale", row.rationale)
    yield from _turn({**chat.answered, "role": "answer"})
    for turn in chat.after:
        yield from _turn(turn, mark="after the answer")
    yield ""
    yield widgets.pairs(_why(row))


def _offers(prompt: str, label: str, text: str) -> bool:
    """Return whether a prompt has an option in it, such as ``B. nest`` or ``(B) nest``."""
    return any(f"{label}{mark} {text}" in prompt for mark in (".", ")", ":"))


def _turn(turn: Mapping[str, Any], mark: str = "") -> Iterator[Any]:
    """Lay out one turn of a chat: its role, its text, and every further part of it, such as calls of tools, as JSON."""
    others = {name: value for name, value in turn.items() if name not in ("role", "content") and value is not None}
    further = [f"{name}: {_plain(value)}" for name, value in others.items()]
    heading = str(turn.get("role", "turn")) + (f", {mark}" if mark else "")
    yield from _text(heading, "\n".join([*_content(turn.get("content")), *further]))


def _content(content: Any) -> list[str]:
    parts = content if isinstance(content, list) else [content] if content is not None else []
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else None for part in parts]
    return [text if isinstance(text, str) else _plain(part) for text, part in zip(texts, parts, strict=True)]


def _text(heading: str, text: str) -> Iterator[Any]:
    yield ""
    yield from widgets.facts(f"[{heading}]", [])
    yield text


def _why(row: Any) -> list[tuple[str, Any]]:
    columns = row.columns
    stage = "" if columns["stage"] is None else f" in stage {columns['stage']}"
    other = [(name, _plain(value)) for name, value in row.extra.items() if name not in row.option_columns]
    return [
        ("status", f"{columns['status']}{stage}" + (f": {columns['reason']}" if columns["reason"] else "")),
        *(("finding", describe_finding(finding)) for finding in columns["findings"]),
        ("trained on", _trained(row.chat)),
        ("domain", columns["domain"]),
        ("labels", ", ".join(columns.get("labels") or ()) or None),
        ("split", f"{columns['split']}, {columns['source']}"),
        ("origin", columns["origin"]),
        ("written from", ", ".join(columns["parents"]) or None),
        *other,
        ("id", columns["id"]),
    ]


def _trained(chat: Any) -> str | None:
    """Say which answers of a chat are trained on, where it has several."""
    answers = 1 + sum(turn.get("role") == "assistant" for turn in chat.leading)
    learned = len(chat.trained())
    which = "the answer alone" if learned == 1 else f"{count(learned)} of {count(answers)} turns of the assistant"
    return which if answers > 1 else None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
