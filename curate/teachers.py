"""Owns the names of teachers and how a name becomes one. Asks nothing: an `Account` does.

A teacher is named by a URL (any OpenAI-compatible server), ``openai``, ``recorded:FILE``, ``fake``, a registered name, or is
an object with the methods of `Teacher`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.accounts import Account, Spent
from curate.calls import Answer, Reply, Request, Teacher, Usage
from curate.errors import InputError
from curate.fakes import Fake
from curate.recordings import Recorded
from curate.registry import Registry

__all__ = ["Account", "Answer", "Fake", "Recorded", "Reply", "Request", "Spent", "Teacher", "Usage", "load", "teachers"]

Factory = Callable[..., Teacher]

# (place, *, model, api_key_env, concurrency, root) -> Teacher; place is what follows the name and a colon
teachers: Registry[Factory] = Registry("teacher", "curate.teachers")


def load(
    teacher: str | Teacher,
    *,
    model: str | None = None,
    api_key_env: str | None = None,
    concurrency: int = 16,
    root: str | Path | None = None,
) -> Teacher:
    """Return the teacher of that name; a teacher is handed back as it is.

    Args:
        teacher: see above.
        model: the server's name for the model.
        api_key_env: name of the environment variable that holds the key.
        concurrency: requests under way at once, at most.
        root: folder whose ``prices.toml`` is read.

    Raises:
        UnknownNameError: no teacher of that name.
        InputError: a model is missing, or a file cannot be read.
    """
    if not isinstance(teacher, str):
        return teacher
    if concurrency < 1:
        raise InputError(f"--concurrency is 1 or more, got {concurrency}")
    name, _, place = ("url", "", teacher) if teacher.startswith(("http://", "https://")) else teacher.partition(":")
    return teachers.get(name)(place, model=model, api_key_env=api_key_env, concurrency=concurrency, root=root)


@teachers.register("fake")
def _fake(place: str, *, concurrency: int, **_: Any) -> Teacher:
    return Fake(concurrency=concurrency)


@teachers.register("recorded")
def _recorded(place: str, **_: Any) -> Teacher:
    if not place:
        raise InputError("teacher 'recorded' needs a file: --teacher recorded:FILE")
    return Recorded(place)
