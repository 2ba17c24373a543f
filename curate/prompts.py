"""Owns the versioned prompt templates and the parsing of replies. Calls no teacher.

A template is a Jinja2 file with a ``[system]`` and a ``[user]`` part. The built-in ones are in ``curate/templates``; a
user copies one, changes it and names it with ``--prompt-file``. Its version is a hash of its text, which goes into the
key of every call made with it, so that a changed prompt never returns an answer to the old one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from curate.errors import InputError

__all__ = ["NewExample", "Template", "load", "parse_example", "render", "synthesis_schema"]

_PART = re.compile(r"^\[(system|user|assistant)\]\s*$", re.MULTILINE)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


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
        InputError: the file cannot be read or has no ``[user]`` part.
    """
    if prompt_file is None:
        text = resources.files("curate").joinpath("templates", f"{name}.j2").read_text(encoding="utf-8")
    else:
        try:
            text = Path(prompt_file).read_text(encoding="utf-8")
        except OSError as e:
            raise InputError(f"prompt file {str(prompt_file)!r} cannot be read: {e.strerror}") from e
        if "user" not in _PART.findall(text):
            raise InputError(f"prompt file {str(prompt_file)!r} needs a line '[user]' before the user's turn")
    return Template(name, hashlib.sha256(text.encode()).hexdigest()[:12], text)


def render(template: Template, **fields: Any) -> list[dict[str, str]]:
    """Fill a template and return chat messages, ``[{"role": …, "content": …}, …]``.

    Raises:
        InputError: the template is not valid Jinja2.
    """
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    try:
        text = SandboxedEnvironment(autoescape=False).from_string(template.text).render(**fields)  # noqa: S701 - no HTML
    except jinja2.TemplateError as e:
        raise InputError(f"prompt template {template.name!r}: {e}") from e
    pieces = _PART.split(text)
    return [
        {"role": role, "content": content.strip()}
        for role, content in zip(pieces[1::2], pieces[2::2], strict=True)
        if content.strip()
    ]


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
            return NewExample(*(str(found.get(k) or "").strip() for k in ("prompt", "rationale", "answer")))
    return None
