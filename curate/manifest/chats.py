"""Chats to examples and back: which turn is the prompt, which one is trained on, and which stay around them.

`split_chat` and `join_chat` undo each other; `to_chats` makes what a student is trained on. Reads and writes no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

__all__ = ["Chat", "completion", "join_chat", "split_chat", "to_chats"]

ANSWER_LINE = "The answer is: "
# Stands in `messages` for the asked turn, where further turns (calls of tools) come between it and the answer.
_ASKED = {"role": "prompt"}
_CLOSING = re.compile(
    r"(?:^|(?<=\s))(?:so|thus|hence|therefore)?,?\s*the (?:final )?answer is:?\s*(?P<value>\S[^\n]*?)\s*\Z", re.I
)
_DRESS = re.compile(r"^[\s$*`'\"(]+|[\s$*`'\").]+$")


@dataclass(frozen=True)
class Chat:
    """A chat taken apart.

    Attributes:
        prompt: the last user turn before the answer.
        answer: the last assistant turn.
        messages: the other turns before the answer as a JSON list, or None where there are none.
        dropped: how many turns came after the answer; nothing is trained on them.
    """

    prompt: str
    answer: str
    messages: str | None
    dropped: int


def split_chat(turns: Any) -> Chat:
    """Take a chat apart: the last assistant turn is the answer, the last user turn before it the prompt.

    Args:
        turns: a list of messages with ``role`` and ``content``; content is a text or a list of parts, of which texts are read.

    Raises:
        ValueError: it is no list of turns, or has no user turn that an assistant turn answers. It says which.
    """
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError("the chat is not a list of turns with 'role' and 'content'")
    roles = [turn.get("role") for turn in turns]
    last = _last(roles, "assistant", len(roles))
    asked = _last(roles, "user", last)
    if last < 0 or asked < 0:
        raise ValueError(f"the chat has no {'assistant' if last < 0 else 'user'} turn to train on; its roles are {roles}")
    before, between = [dict(turn) for turn in turns[:asked]], [dict(turn) for turn in turns[asked + 1 : last]]
    rest = [*before, _ASKED, *between] if between else before
    messages = json.dumps(rest, ensure_ascii=False) if rest else None
    return Chat(_text(turns[asked]), _text(turns[last]), messages, len(turns) - last - 1)


def join_chat(prompt: str, answer: str, messages: str | None) -> list[dict[str, Any]]:
    """Put a chat together: the kept turns, the user's prompt in its place, and the assistant's answer last."""
    rest = json.loads(messages) if messages else []
    user = {"role": "user", "content": prompt}
    turns = [user if turn == _ASKED else turn for turn in rest]
    return [*turns, *([] if _ASKED in rest else [user]), {"role": "assistant", "content": answer}]


def to_chats(examples: pl.DataFrame) -> list[list[dict[str, Any]]]:
    """Return every example as chat messages: system and history, the user's prompt, and the assistant's completion last.

    Args:
        examples: with the columns prompt and answer, and, where there are any, rationale and messages.
    """
    columns = [pl.col(name) if name in examples.columns else pl.lit(None).alias(name) for name in ("rationale", "messages")]
    wanted = examples.select("prompt", "answer", *columns)
    return [
        join_chat(prompt or "", completion(rationale, answer or ""), messages)
        for prompt, answer, rationale, messages in wanted.iter_rows()
    ]


def completion(rationale: str | None, answer: str) -> str:
    """Return what the student learns to write: the rationale, closed by one line ``The answer is: X``.

    Where the rationale closes with the same answer in other words or dress (``the answer is $5$.``), that sentence is
    replaced; where it has none, the line is added. Without a rationale it is the answer alone.

    Example:
        >>> completion("2 + 3 = 5.", "5")
        '2 + 3 = 5.\\nThe answer is: 5'
        >>> completion(None, "5")
        '5'
    """
    text = (rationale or "").strip()
    if not text:
        return answer
    closing = _CLOSING.search(text)
    if closing and _bare(closing["value"]) == _bare(answer):
        text = text[: closing.start()].rstrip()
    return f"{text}\n{ANSWER_LINE}{answer}" if text else f"{ANSWER_LINE}{answer}"


def _last(roles: Sequence[Any], role: str, end: int) -> int:
    return next((i for i in reversed(range(max(end, 0))) if roles[i] == role), -1)


def _text(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type", "text") == "text"]
        return "\n".join(str(text) for text in texts if text)
    return "" if content is None else str(content)


def _bare(value: str) -> str:
    return re.sub(r"\s+", " ", _DRESS.sub("", value)).casefold()
