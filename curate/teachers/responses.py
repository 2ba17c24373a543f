"""Parses raw responses: what was said, what was thought, how it ended, how many tokens it took. Sends and stores nothing.

A response is a chat completion, wherever it stands in what came: a line of a batch's result file is one with wrapping. Parsing is
free and can be done again from the recorded response.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from curate.manifest.markup import split_thoughts
from curate.teachers.base import Usage, parse_json

__all__ = ["ParsedResponse", "find_reply", "finish_kind", "parse_response"]

_MOST_TOKENS = 10**9  # of one reply; a server that reports more has miscounted
_LONGEST_TOKEN = 64  # characters; a text of more than so many for each token reported was not counted
_DEEPEST = 6  # levels of wrapping
_THOUGHTS = ("thinking", "reasoning", "redacted_thinking")  # types of parts

# How servers say that a reply is whole, that it was cut, held back, or broken off; in lower case, without signs.
_ENDS = {
    "stop": "stop eos endturn stopsequence complete completed eostoken eosstring stoptoken stopstring done finish finished end "
    "normal endofturn finishreasonstop success",
    "length": "length maxtokens maxoutputtokens modellength maxlength maxnewtokens tokenlimit outputlimit maxcompletiontokens "
    "contextlength contextlengthexceeded modelcontextwindowexceeded finishreasonmaxtokens incomplete",
    "content_filter": "contentfilter contentfiltered safety recitation prohibitedcontent blocklist spii sensitive imagesafety "
    "blocked guardrailintervened moderation moderated flagged finishreasonsafety contentpolicyviolation",
    "refusal": "refusal refused",
}
_KINDS = {word: kind for kind, words in _ENDS.items() for word in words.split()}
_BROKEN = {
    *("error", "errored", "abort", "aborted", "cancelled", "canceled", "insufficientsystemresource"),
    *("timeout", "networkerror", "failed", "failure"),
}


class ParsedResponse(NamedTuple):
    """What a raw response says.

    Attributes:
        text: the assistant's turn, visible reasoning and marks of chat templates left out.
        usage: tokens, or None where the server reported none that can be true.
        finish_reason: ``"stop"``, ``"length"``, ``"content_filter"``, ``"refusal"``, or what else the server says; empty where
            it says nothing.
        reasoning: what a reasoning model showed of its thoughts.
        seeds: prompts that a recorded example was written from, or None for the request's own.
        error: why the response is no reply; empty where it is one.
        unbilled: no reply came and nothing says that tokens were used.
    """

    text: str = ""
    usage: Usage | None = None
    finish_reason: str = ""
    reasoning: str = ""
    seeds: tuple[str, ...] | None = None
    error: str = ""
    unbilled: bool = False


def finish_kind(word: Any) -> str:
    """Return in our word how a reply ended; a word that nobody knows comes back as it is."""
    if word == "stop" or not word:  # most
        return str(word or "")
    said = str(word)
    return _KINDS.get("".join(filter(str.isalnum, said.casefold())), said)


def parse_response(raw: str) -> ParsedResponse:
    """Parse a raw response; what is no reply says so in `error`, and nothing is raised."""
    try:
        body = _read(raw)
    except (ValueError, RecursionError):
        return ParsedResponse(error="the reply is not JSON", unbilled=raw.lstrip("\ufeff \t\r\n").startswith("<"))
    found = find_reply(body)
    if found is None:
        return _no_reply(body)
    usage_of = found if "usage" in found else body if isinstance(body, dict) else {}
    choice = _first(found.get("choices"))
    if choice is None:
        return _empty(found, usage_of.get("usage"))
    message = choice.get("message")
    if not isinstance(message, dict) or "content" not in message:
        message = next((m for m in (message, choice.get("delta"), choice) if isinstance(m, dict) and _has_text(m)), None)
    if message is None:
        return ParsedResponse(error="the reply has no message", usage=_usage(usage_of.get("usage"), 0))
    return _parse_message(choice, message, found, usage_of.get("usage"))


def _parse_message(
    choice: Mapping[str, Any], message: Mapping[str, Any], found: Mapping[str, Any], reported: Any
) -> ParsedResponse:
    content = message["content"] if "content" in message else message.get("text")
    said, shown = _parts(content)
    text, thought = split_thoughts(said)
    text = text.strip()
    reasoning = _text(message.get("reasoning_content") or message.get("reasoning") or message.get("thinking")) or shown or thought
    word = choice.get("finish_reason") or choice.get("stop_reason") or choice.get("done_reason")
    usage, finish = _usage(reported, max(len(said), len(reasoning))), finish_kind(word)
    if finish not in ("stop", "") and "".join(filter(str.isalnum, finish.casefold())) in _BROKEN:
        return ParsedResponse(error=f"the server broke the reply off: {finish!r}", usage=usage)
    seeds = found.get("seeds")
    return ParsedResponse(
        text=text,
        usage=usage,
        finish_reason="refusal" if message.get("refusal") and not text else finish,
        reasoning=reasoning,
        seeds=tuple(map(str, seeds)) if isinstance(seeds, list) else None,
    )


def _has_text(message: Mapping[str, Any]) -> bool:
    return "content" in message or "text" in message or "refusal" in message or "tool_calls" in message or "role" in message


def _first(choices: Any) -> dict[str, Any] | None:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _empty(found: Mapping[str, Any], reported: Any) -> ParsedResponse:
    """Return a reply without choices: that nothing came is the answer to this request, and was billed as it says."""
    if found.get("error"):
        return ParsedResponse(
            error=f"the reply has no choices: {_short(found['error'])}", unbilled=not isinstance(reported, dict)
        )
    if found.get("choices"):
        return ParsedResponse(error="the reply has no message", usage=_usage(reported, 0))
    said = json.dumps({key: value for key, value in found.items() if key not in ("choices", "usage")}, default=str).casefold()
    blocked = any(word in said for word in ("block", "filter", "safety", "prohibited", "moderation"))
    return ParsedResponse(usage=_usage(reported, 0), finish_reason="content_filter" if blocked else "")


def _no_reply(body: Any) -> ParsedResponse:
    error = body.get("error") if isinstance(body, dict) else None
    billed = isinstance(body, dict) and isinstance(body.get("usage"), dict)
    said = f": {_short(error)}" if error else ""
    return ParsedResponse(error=f"the reply has no choices{said}", unbilled=bool(error) and not billed)


def _short(error: Any) -> str:
    return str(error.get("message") if isinstance(error, dict) and error.get("message") else error)[:200]


def find_reply(body: Any) -> dict[str, Any] | None:
    """Return the chat completion in what came, at whatever depth and as whatever JSON in a string; None where there is none.

    A message of the assistant that stands without choices is taken for one.
    """
    if isinstance(body, dict) and "choices" in body:  # most
        return body
    bare: dict[str, Any] | None = None
    for each in _walk(body, 0):
        if "choices" in each:
            return each
        if bare is None and each.get("role") == "assistant" and "content" in each:
            bare = each
    if bare is None:
        return None
    around = next((each for each in _walk(body, 0) if bare in each.values()), bare)
    usage = next((each["usage"] for each in _walk(body, 0) if isinstance(each.get("usage"), dict)), None)
    return {
        "choices": [{**around, "message": bare, "finish_reason": around.get("finish_reason") or around.get("stop_reason")}],
        **({"usage": usage} if usage else {}),
    }


def _walk(found: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Yield the objects in what came, outer ones first."""
    if depth > _DEEPEST:
        return
    if isinstance(found, str) and found.lstrip()[:1] == "{":
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return
    if isinstance(found, dict):
        yield found
        for value in found.values():
            yield from _walk(value, depth + 1)
    elif isinstance(found, list):
        for value in found[:100]:
            yield from _walk(value, depth + 1)


def _read(raw: str) -> Any:
    """Return what came as JSON; byte marks are taken off, pieces of a stream put together."""
    try:
        return parse_json(raw)
    except ValueError:
        text = raw.lstrip("\ufeff\ufffe \t\r\n")
        if text.startswith("data:"):
            return _join(text)
        if text == raw:
            raise
        return parse_json(text)


def _join(stream: str) -> dict[str, Any]:
    """Put together a reply that came in pieces, as server-sent events, though none were asked for."""
    parts: list[str] = []
    thoughts: list[str] = []
    joined: dict[str, Any] = {}
    finish = None
    for line in stream.split("\n"):
        piece = line.strip().removeprefix("data:").strip()
        if not piece.startswith("{"):
            continue
        event = parse_json(piece)
        joined |= {key: value for key, value in event.items() if value is not None and key != "choices"}
        choice = _first(event.get("choices")) or {}
        delta = choice.get("delta") or choice.get("message") or {}
        parts.append(_text(delta.get("content")))
        thoughts.append(_text(delta.get("reasoning_content") or delta.get("reasoning")))
        finish = choice.get("finish_reason") or finish
    message = {"role": "assistant", "content": "".join(parts), "reasoning_content": "".join(thoughts)}
    return {**joined, "choices": [{"message": message, "finish_reason": finish or "stream without an end"}]}


def _parts(content: Any) -> tuple[str, str]:
    """Return what a turn says, and what parts of their own show of the model's thoughts."""
    if not isinstance(content, list):
        return _text(content), ""
    thoughts = [part for part in content if isinstance(part, dict) and part.get("type") in _THOUGHTS]
    said = [part for part in content if part not in thoughts]
    return _text(said), "".join(_text(part.get("text") or part.get("thinking")) for part in thoughts)


def _text(content: Any) -> str:
    """Return a turn as text: some servers send it in parts, some cut it in the middle of a letter."""
    if isinstance(content, str) and content.isascii():  # most
        return content
    parts = content if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return "".join(str(text) for text in texts if text).encode("utf-8", "replace").decode("utf-8").lstrip("\ufeff")


# Tokens


def _usage(reported: Any, n_chars: int) -> Usage | None:
    """Return the tokens that a server reports, never too few; None where it reports none, or figures that cannot be true.

    What `total_tokens` has beyond prompt and completion was billed as output, such as reasoning that is counted beside it.
    Nothing for a prompt, or for a text of some length, is no figure.

    Args:
        reported: of the server.
        n_chars: characters that were written.
    """
    if not isinstance(reported, dict):
        return None
    prompt = _count(reported, "prompt_tokens", "input_tokens")
    completion = _count(reported, "completion_tokens", "output_tokens")
    total = _count(reported, "total_tokens")
    cached = _detail(reported, "prompt_tokens_details", "cached_tokens")
    reasoning = _detail(reported, "completion_tokens_details", "reasoning_tokens")
    if total is not None and (prompt is None) != (completion is None):
        prompt, completion = (prompt or max(total - (completion or 0), 0), completion or max(total - (prompt or 0), 0))
    if prompt is None or completion is None:
        return None
    if cached > prompt:  # counted beside it
        prompt += cached
    if reasoning > completion:
        completion += reasoning
    completion = max(completion, (total or 0) - prompt)
    if reported.get("exact") is not True and (not prompt or completion * _LONGEST_TOKEN < n_chars):
        return None
    return Usage(prompt, completion, cached, reasoning)


def _detail(reported: Mapping[str, Any], under: str, name: str) -> int:
    details = reported.get(under)
    if isinstance(details, dict) and (value := _count(details, name)):
        return value
    details = reported.get("input_tokens_details") or reported
    return (_count(details, name) or 0) if isinstance(details, dict) else 0


def _count(reported: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = reported.get(name)
        if type(value) is int:  # most
            return value if 0 <= value <= _MOST_TOKENS else None
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 11:
            value = float(value)
        if isinstance(value, float) and 0 <= value <= _MOST_TOKENS:
            return math.ceil(value)
    return None
