"""Parses the reply to a request for new examples: its JSON schema, and a parser that repairs what models do to JSON.

Parsing is free and can be done again from the recorded reply, so nothing here ever costs a call. What cannot be parsed is
None; nothing is made up.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NewExample", "parse_examples", "schema"]

_LIST = "examples"  # the key of the list, where several are asked for
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")
# In JSON "\\frac" written with one backslash is a form feed and "rac", "\\times" a tab and "imes": valid, and wrong.
_COMMANDS = (
    "backslash|bar|beta|begin|big[lr]?|binom|bmod|boxed|bullet|flat|forall|frac|frown|nabla|natural|ne|neg|neq|newline|ngeq|ni|"
    "nleq|nmid|not|notin|nu|rangle|rceil|Re|rfloor|rho|right|rightarrow|rm|root|rvert|tan|tanh|tau|tbinom|text|textbf|textit|"
    "textrm|tfrac|therefore|theta|tilde|times|to|top|triangle|triangleleft|triangleright|underbrace|underline|uparrow|upsilon"
)
_LONE = re.compile(rf'(?<!\\)((?:\\\\)*)\\(?=(?:{_COMMANDS})(?![A-Za-z])|(?![\\"\'/bfnrt]|u[0-9a-fA-F]{{4}}))')


@dataclass(frozen=True)
class NewExample:
    """What a synthesis reply says; missing parts are empty strings."""

    prompt: str
    rationale: str
    answer: str


def schema(n: int = 1, answers: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON schema of a synthesis reply.

    Args:
        n: examples in it; for more than one, an object with the one key ``examples``.
        answers: the only answers allowed; none for any text.
    """
    text: dict[str, Any] = {"type": "string"}
    answer = {**text, "enum": list(answers)} if answers else text
    one = _object({"prompt": text, "rationale": text, "answer": answer})
    return one if n == 1 else _object({_LIST: {"type": "array", "items": one, "minItems": n, "maxItems": n}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def parse_examples(text: str, n: int) -> list[NewExample | None]:
    """Parse a reply of `n` examples, in their order; None for each that is missing or has no question.

    JSON is looked for as it is, inside a code fence, between the outermost braces or brackets, and then object by object, so
    that the whole ones of a list that was cut off count. Lone backslashes, commas before a bracket and single quotes are
    repaired first. What comes after the n-th is left out.
    """
    found = next((items for items in _readings(text) if any(items)), [])[:n]
    return [*found, *[None] * (n - len(found))]


def _readings(text: str) -> Iterator[list[NewExample | None]]:
    """Yield what each way of parsing finds, the strictest first."""
    text = _LONE.sub(r"\1\\\\", text)
    fence = _FENCE.search(text)
    wholes = [text, fence.group(1) if fence else "", _outermost(text, "{}"), _outermost(text, "[]")]
    for whole in wholes:
        yield _items(_strict(whole))
    for whole in wholes:
        yield _items(_lenient(whole))
    yield [example for found in _objects(_tidy(text)) for example in _items(found) if example]


def _tidy(text: str) -> str:
    return _TRAILING_COMMA.sub("", text).replace(r"\'", "'")


def _outermost(text: str, pair: str) -> str:
    return text[text.find(pair[0]) : text.rfind(pair[1]) + 1] if pair[0] in text else ""


def _strict(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _lenient(text: str) -> Any:
    """Parse JSON with superfluous commas, or a Python literal; literals are evaluated, never run."""
    found = _strict(_tidy(text))
    if found is not None:
        return found
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _objects(text: str) -> Iterator[Any]:
    """Yield the JSON objects that are whole, wherever they stand."""
    decoder, start = json.JSONDecoder(strict=False), text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
            yield found
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)


def _items(found: Any) -> list[NewExample | None]:
    """Return the examples of what was parsed: of a list, of an object that holds one, or of one object."""
    if isinstance(found, dict) and "prompt" not in found:
        found = next((value for value in found.values() if isinstance(value, list)), None)
    return [_example(item) for item in found] if isinstance(found, list) else [_example(found)]


def _example(item: Any) -> NewExample | None:
    if not isinstance(item, dict) or not str(item.get("prompt") or "").strip():
        return None
    parts = (item.get(name) for name in ("prompt", "rationale", "answer"))
    return NewExample(*("" if part is None else str(part).strip() for part in parts))
