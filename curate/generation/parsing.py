"""Parses the reply to a request for new examples: its JSON schema, and a parser that repairs what models do to JSON.

Parsing is free and can be done again from the recorded reply, so nothing here ever costs a call. What cannot be parsed is
None; nothing is made up.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.manifest.markup import split_thoughts

__all__ = ["NewExample", "parse_examples", "schema", "unwrap"]

_DEEPEST = 8  # levels of wrapping
_LIST = "examples"  # the key of the list, where several are asked for
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_WHOLE_FENCE = re.compile(r"```[a-z]*\s*\n(.*?)\n?```", re.DOTALL)
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
    repaired first. An example may stand at any depth, under any name, and as JSON in a string. What comes after the n-th is
    left out.
    """
    text = text.lstrip("\ufeff\ufffe")
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
    """Return the examples of what was parsed: of a list, of an object that holds them, or of one object, at whatever depth."""
    listed = found if isinstance(found, list) else _listed(found)
    if listed is not None and len(listed) > 1 and any(_innermost(item, 0) for item in listed):
        return [_innermost(item, 0) for item in listed]
    return [_innermost(found, 0)]


def _listed(found: Any) -> list[Any] | None:
    """Return the list of examples in an object of whatever wrapping; None where it holds none."""
    for _ in range(_DEEPEST):
        found = _unstrung(found)
        if isinstance(found, list):
            return found
        inner = (
            [value for value in found.values() if isinstance(_unstrung(value), dict | list)] if isinstance(found, dict) else []
        )
        lists = [value for value in map(_unstrung, inner) if isinstance(value, list) and value and isinstance(value[0], dict)]
        if lists:
            return lists[0]
        if len(inner) != 1 or _example(found):
            return None
        found = inner[0]
    return None


def _innermost(found: Any, depth: int) -> NewExample | None:
    """Return the innermost object that is an example: one that has an answer first, else any that has a question."""
    found = _unstrung(found)
    if depth > _DEEPEST or not isinstance(found, dict | list):
        return None
    own = _example(found) if isinstance(found, dict) else None
    parts = found.values() if isinstance(found, dict) else found
    inner = [example for part in parts if (example := _innermost(part, depth + 1))]
    return next((example for example in (*inner, own) if example and example.answer), own or (inner[0] if inner else None))


def _unstrung(found: Any) -> Any:
    """Return what stands as JSON in a string."""
    while isinstance(found, str) and found.lstrip()[:1] in ("{", "[", '"'):
        inner = _strict(found)
        if inner is None or inner == found or (isinstance(inner, str) and len(inner) >= len(found)):
            break
        found = inner
    return found


def _example(item: Mapping[str, Any]) -> NewExample | None:
    """Return an object as an example; None where it has no question, or a part that is neither text nor a number."""
    named = {str(name).strip().casefold(): value for name, value in item.items()}
    parts = [_as_text(named.get(name)) for name in ("prompt", "rationale", "answer")]
    prompt, rationale, answer = (part if part is None else split_thoughts(part)[0].strip() for part in parts)
    if not prompt or rationale is None or answer is None:
        return None
    return NewExample(prompt, rationale, answer)


def _as_text(value: Any) -> str | None:
    """Return a value as text: a list of one as that one, numbers and truth values as JSON writes them; None for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return value if isinstance(value, str) else None


def unwrap(text: str) -> str:
    """Return the text of a rationale that came in a code fence, as a JSON string, or as the one text of a JSON object."""
    stripped = text.strip().lstrip("\ufeff")
    fence = _WHOLE_FENCE.fullmatch(stripped)
    stripped = fence[1].strip() if fence else stripped
    if stripped[:1] not in ("{", '"', "["):
        return stripped
    found = _strict(stripped)
    while isinstance(found, list | dict) and len(found) == 1:
        found = found[0] if isinstance(found, list) else next(iter(found.values()))
    if isinstance(found, dict):
        found = {str(name).casefold(): value for name, value in found.items()}.get("rationale")
    return found.strip() if isinstance(found, str) and found.strip() else stripped
