"""Loads and renders prompt templates: the built-in ones, or a user's own. Calls no teacher.

A template is a Jinja2 file with a ``[system]`` and a ``[user]`` part. The built-in ones are in
``curate/generation/templates``, one for each task (`curate.answers.answers.TASKS`), each complete in itself; ``curate prompt``
prints one, a user changes the copy and names it with ``--prompt-file``. The rendered messages go into the key of every call, so
that a changed prompt never returns a reply to the old one; the version, a hash of the texts, goes into commits.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from curate.answers.answers import TASKS
from curate.errors import InputError, UnknownNameError
from curate.templates import bounded, make_environment

__all__ = ["FIELDS", "MOST_CHARACTERS", "PURPOSES", "Template", "Templates", "built_in", "load", "render"]

PURPOSES = ("rationale", "synthesis")

_PART = re.compile(r"^\[(system|user|assistant)\]\s*$", re.MULTILINE)
# Where a turn begins in a rendered text; drawn anew in each process, so that no text of data can hold it.
_NONCE = secrets.token_hex(16)
_MARK = re.compile(rf"<{_NONCE}:(system|user|assistant)>")

MOST_CHARACTERS = 10_000_000  # of one filled template; the longest contexts of models take fewer
# What expressions of a template raise beside Jinja2's own errors.
_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)

# What a template may use; one that is not filled is empty.
FIELDS = ("answer", "avoid", "domain", "label", "labels", "letters", "n", "prompt", "seeds", "wanted", "words")


@dataclass(frozen=True)
class Template:
    """A prompt template.

    Attributes:
        name: ``"rationale/mathematics"`` for a built-in one, or the file's name.
        version: 12 hex digits of the SHA-256 of its text.
        text: the Jinja2 source.
    """

    name: str
    version: str
    text: str


@dataclass(frozen=True)
class Templates:
    """The templates of one purpose.

    Attributes:
        version: 12 hex digits over all of them.
        by_task: one for each of `curate.answers.answers.TASKS`.
    """

    version: str
    by_task: Mapping[str, Template]


def built_in(purpose: str, task: str) -> Template:
    """Return a built-in template.

    Args:
        purpose: one of `PURPOSES`.
        task: one of `curate.answers.answers.TASKS`.

    Raises:
        UnknownNameError: there is no such template.
    """
    for kind, name, known in (("prompt", purpose, PURPOSES), ("--kind", task, TASKS)):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    text = resources.files("curate.generation").joinpath("templates", purpose, f"{task}.j2").read_text(encoding="utf-8")
    return Template(f"{purpose}/{task}", _version(text), text)


def load(purpose: str, prompt_file: str | Path | None = None) -> Templates:
    """Return the templates of a purpose, a user's own instead of built-in ones.

    Args:
        purpose: one of `PURPOSES`.
        prompt_file: a file that serves every task, or a folder of files named like the tasks, ``mathematics.j2``; tasks without
            one keep the built-in template.

    Raises:
        InputError: a file cannot be read, is not valid Jinja2, or has no ``[user]`` part.
        UnknownNameError: a file uses a field that does not exist, or the folder has a template for a task that does not exist.
    """
    chosen = {task: built_in(purpose, task) for task in TASKS}
    if prompt_file is not None and Path(prompt_file).is_dir():
        own = sorted(Path(prompt_file).glob("*.j2"))
        if not own:
            raise InputError(f"prompt folder {str(prompt_file)!r} has no file such as '{TASKS[0]}.j2'")
        for file in own:
            if file.stem not in TASKS:
                raise UnknownNameError(f"template in prompt folder {str(prompt_file)!r}:", file.stem, TASKS)
            chosen[file.stem] = _read(purpose, file)
    elif prompt_file is not None:
        chosen = dict.fromkeys(TASKS, _read(purpose, Path(prompt_file)))
    return Templates(_version("\0".join(chosen[task].text for task in TASKS)), chosen)


def _read(purpose: str, file: Path) -> Template:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"prompt file {str(file)!r} cannot be read: {getattr(e, 'strerror', None) or e}") from e
    if "user" not in _PART.findall(text):
        raise InputError(f"prompt file {str(file)!r} needs a line '[user]' before the user's turn")
    for field in sorted(_compiled(purpose, text)[1] - set(FIELDS)):
        raise UnknownNameError(f"field in prompt file {str(file)!r}:", field, FIELDS)
    return Template(file.name, _version(text), text)


def render(template: Template, *, n: int = 1, **fields: Any) -> list[dict[str, str]]:
    """Fill a template and return chat messages, ``[{"role": …, "content": …}, …]``.

    A field is text, whatever it holds: neither a line ``[user]`` inside a question nor any control character begins a turn.

    Args:
        template: from `Templates` or `built_in`.
        n: examples asked for.
        fields: some of `FIELDS`.

    Raises:
        InputError: the template is not valid Jinja2, fails on these fields, writes more than `MOST_CHARACTERS`, or takes more
            steps than `curate.templates.MOST_STEPS`.
    """
    with bounded():
        text = "".join(_rendered(template, {"n": n, **fields}))
    pieces = _MARK.split(text)
    return [
        {"role": role, "content": content.strip()}
        for role, content in zip(pieces[1::2], pieces[2::2], strict=True)
        if content.strip()
    ]


def _rendered(template: Template, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield the pieces of a filled template; whatever its expressions do wrong is an error of ours."""
    import jinja2

    length = 0
    try:
        for piece in _compiled(template.name, template.text)[0].generate(**fields):
            length += len(piece)
            if length > MOST_CHARACTERS:
                raise InputError(f"prompt template {template.name!r} writes more than {MOST_CHARACTERS:,} characters: shorten it")
            yield piece
    except (jinja2.TemplateError, *_FAULTS) as e:
        raise InputError(f"prompt template {template.name!r}: {_told(e)}") from e


def _told(error: BaseException) -> str:
    """Return an error of a template in one line."""
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    return " ".join(str(error).split()) or type(error).__name__


@lru_cache(maxsize=32)
def _compiled(name: str, text: str) -> tuple[Any, set[str]]:
    """Return the compiled template, its turns marked as no field can mark them, and the names of its fields."""
    import jinja2
    from jinja2.meta import find_undeclared_variables

    environment = make_environment(most=MOST_CHARACTERS, autoescape=False)
    environment.filters["json"] = partial(json.dumps, ensure_ascii=False)
    marked = _PART.sub(lambda part: f"<{_NONCE}:{part[1]}>", text)
    try:
        return environment.from_string(marked), find_undeclared_variables(environment.parse(marked))
    except (jinja2.TemplateError, *_FAULTS) as e:
        raise InputError(f"prompt template {name!r}: {_told(e)}") from e


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
