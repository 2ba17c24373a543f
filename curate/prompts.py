"""Owns the versioned prompt templates and the parsing of replies. Calls no teacher.

A template is a Jinja2 file with a ``[system]`` and a ``[user]`` part. The built-in ones are in ``curate/templates``; a
user copies one, changes it and names it with ``--prompt-file``. The rendered messages go into the key of every call, so that
a changed prompt never returns an answer to the old one; the version, a hash of the text, goes into commits.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from curate.errors import InputError, UnknownNameError

__all__ = ["FIELDS", "NewExample", "Template", "load", "parse_example", "render", "synthesis_schema"]

_PART = re.compile(r"^\[(system|user|assistant)\]\s*$", re.MULTILINE)
_MARK = re.compile(r"\0\[(system|user|assistant)\]\0")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


# What a template may use; one that is not filled is empty.
FIELDS = ("answer", "choices", "domain", "label", "labels", "prompt", "seeds", "style", "task", "words")


@dataclass(frozen=True)
class Template:
    """A prompt template.

    Attributes:
        name: ``"rationale"``, ``"synthesis"``, or the file's stem.
        version: 12 hex digits of the SHA-256 of its text.
        text: the Jinja2 source.
    """

    name: str
    version: str
    text: str


@dataclass(frozen=True)
class NewExample:
    """What a synthesis reply says; missing parts are empty strings."""

    prompt: str
    rationale: str
    answer: str


def load(name: str, prompt_file: str | Path | None = None) -> Template:
    """Read a built-in template, or a user's file in its place.

    Raises:
        InputError: the file cannot be read, is not valid Jinja2, or has no ``[user]`` part.
        UnknownNameError: the file uses a field that nobody fills.
    """
    if prompt_file is None:
        text = resources.files("curate").joinpath("templates", f"{name}.j2").read_text(encoding="utf-8")
        return Template(name, _version(text), text)
    try:
        text = Path(prompt_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"prompt file {str(prompt_file)!r} cannot be read: {getattr(e, 'strerror', None) or e}") from e
    if "user" not in _PART.findall(text):
        raise InputError(f"prompt file {str(prompt_file)!r} needs a line '[user]' before the user's turn")
    for field in sorted(_compiled(name, text)[1] - set(FIELDS)):
        raise UnknownNameError(f"field in prompt file {str(prompt_file)!r}:", field, FIELDS)
    return Template(name, _version(text), text)


def render(template: Template, **fields: Any) -> list[dict[str, str]]:
    """Fill a template and return chat messages, ``[{"role": …, "content": …}, …]``.

    A field is text, whatever it holds: a line ``[user]`` inside a question begins no turn.

    Raises:
        InputError: the template is not valid Jinja2.
    """
    import jinja2

    try:
        text = _compiled(template.name, template.text)[0].render(**fields)
    except jinja2.TemplateError as e:
        raise InputError(f"prompt template {template.name!r}: {e}") from e
    pieces = _MARK.split(text)
    return [
        {"role": role, "content": content.strip()}
        for role, content in zip(pieces[1::2], pieces[2::2], strict=True)
        if content.strip()
    ]


@lru_cache(maxsize=32)
def _compiled(name: str, text: str) -> tuple[Any, set[str]]:
    """Return the compiled template, its turns marked as no field can mark them, and the names of its fields."""
    import jinja2
    from jinja2.meta import find_undeclared_variables
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(autoescape=False)
    marked = _PART.sub(lambda part: f"\0[{part[1]}]\0", text)
    try:
        return environment.from_string(marked), find_undeclared_variables(environment.parse(marked))
    except jinja2.TemplateError as e:
        raise InputError(f"prompt template {name!r}: {e}") from e


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def synthesis_schema() -> dict[str, Any]:
    """Return the JSON schema of a synthesis reply."""
    keys = ("prompt", "rationale", "answer")
    return {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }


def parse_example(text: str) -> NewExample | None:
    """Read a synthesis reply; None where no question can be found in it.

    JSON is looked for as it is, inside a code fence, and between the outermost braces. Parsing is free and can be done
    again from the recorded reply.
    """
    fence = _FENCE.search(text)
    braces = text[text.find("{") : text.rfind("}") + 1]
    for candidate in (text, fence.group(1) if fence else "", braces):
        try:
            found = json.loads(candidate, strict=False)
        except ValueError:
            continue
        if isinstance(found, dict) and str(found.get("prompt") or "").strip():
            parts = (found.get(name) for name in ("prompt", "rationale", "answer"))
            return NewExample(*("" if part is None else str(part).strip() for part in parts))
    return None
