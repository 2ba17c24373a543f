"""Owns the names of teachers: a URL, ``openai``, ``recorded:FILE``, ``fake``, or what a third party registered. Asks none."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from curate import progress
from curate.errors import InputError
from curate.registry import Registry
from curate.teachers import prices
from curate.teachers.base import Teacher, endpoint_name
from curate.teachers.fake import Fake
from curate.teachers.openai import OPENAI_URL, OpenAITeacher
from curate.teachers.options import TIMEOUT, TeacherOptions
from curate.teachers.recorded import Recorded

__all__ = ["Factory", "load_teacher", "teachers"]


_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # what people call them


Factory = Callable[..., Teacher]


# (place, *, model, api_key_env, concurrency, root) -> Teacher; place is what follows the name and a colon
teachers: Registry[Factory] = Registry("teacher", "curate.teachers")


def load_teacher(options: TeacherOptions, *, root: str | Path | None = None, to_ask: bool = True) -> Teacher:
    """Return the teacher that options name; a teacher object is handed back as it is.

    Args:
        options: teacher, model, api_key_env, concurrency and timeout are read.
        root: folder whose ``prices.toml`` is read.
        to_ask: whether it will be asked; a dry run needs a price and no key.

    Raises:
        UnknownNameError: no teacher of that name.
        InputError: a model is missing, or a file cannot be read.
    """
    teacher = options.teacher
    if not isinstance(teacher, str):
        return cast(Teacher, teacher)
    if options.concurrency < 1:
        raise InputError(f"--concurrency is 1 or more, got {options.concurrency}")
    if options.timeout <= 0:
        raise InputError(f"--timeout is a number of seconds above 0, got {options.timeout:g}")
    is_address = teacher.casefold().startswith(("http://", "https://"))
    name, _, place = ("url", "", teacher) if is_address else teacher.partition(":")
    if name not in teachers and ({"/", "@", "?"} & set(teacher)):  # an address may hold a password, so it is not said again
        raise InputError("teacher: an address begins with http:// or https://, such as http://127.0.0.1:8000/v1")
    given: dict[str, Any] = {"model": options.model, "api_key_env": options.api_key_env}
    given |= {"concurrency": options.concurrency, "root": root}
    if name in ("openai", "url"):
        given |= {"need_key": to_ask, "timeout": options.timeout}
    return teachers.get(name)(place, **given)


@teachers.register("fake")
def _fake(place: str, *, concurrency: int, **_: Any) -> Teacher:
    return Fake(concurrency=concurrency)


@teachers.register("recorded")
def _recorded(place: str, **_: Any) -> Teacher:
    if not place:
        raise InputError("teacher 'recorded' needs a file: --teacher recorded:FILE")
    return Recorded(place)


@teachers.register("openai")
def _openai(place: str, **options: Any) -> Teacher:
    return _url(OPENAI_URL, **options)


@teachers.register("url")
def _url(
    place: str,
    *,
    model: str | None,
    api_key_env: str | None,
    concurrency: int,
    root: str | Path | None,
    timeout: float = TIMEOUT,
    need_key: bool = True,
) -> Teacher:
    try:
        endpoint = endpoint_name(place)
    except ValueError:
        raise InputError("teacher: the address is not a URL, such as http://127.0.0.1:8000/v1") from None  # e may tell a password
    if not model:
        raise InputError(f"teacher {endpoint!r} needs the name of a model: --model NAME")
    at_openai = urlsplit(place).scheme == "https" and urlsplit(place).hostname == urlsplit(OPENAI_URL).hostname
    wanted = api_key_env or ("OPENAI_API_KEY" if at_openai else None)
    key = os.environ.get(wanted, "").strip() if wanted else ""
    if wanted and not key and need_key:
        if not _VARIABLE.fullmatch(wanted):  # it may be the key itself, which must not be said again
            raise InputError(
                "--api-key-env takes the name of an environment variable that holds the key, not the key; it is not set"
            )
        raise InputError(f"teacher {endpoint!r} needs a key in the environment variable {wanted!r}, which is not set")
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the key in the environment variable {wanted!r} has characters that no key has; set it again")
    price = prices.find(model, endpoint, root=root)
    if price is None and (near := prices.nearest(model, endpoint)):
        progress.note("teacher", f"model {model!r} has no known price; the nearest that has one is {near!r}")
    return OpenAITeacher(place, model=model, api_key=key, concurrency=concurrency, price=price, timeout=timeout)
