"""Turns the name of a teacher into a teacher: a URL, ``openai``, ``recorded:FILE``, ``fake``, or what a third party registered.

Asks none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from curate.errors import InputError
from curate.registry import Registry
from curate.teachers.base import Teacher
from curate.teachers.options import TeacherOptions

__all__ = ["TeacherFactory", "load_teacher", "teachers"]

# (location, *, model, api_key_env, concurrency, timeout, root, need_key) -> Teacher. `location` is what follows the name and a
# colon, `timeout` seconds for one reply, `root` the folder of prices.toml; without `need_key` the teacher will not be asked, and
# a missing key is no error.
TeacherFactory = Callable[..., Teacher]

teachers: Registry[TeacherFactory] = Registry(
    "teacher", "curate.teachers", builtin=("curate.teachers.fake", "curate.teachers.recorded", "curate.teachers.openai")
)


def load_teacher(options: TeacherOptions, *, root: str | Path | None = None, to_ask: bool = True) -> Teacher:
    """Return the teacher that options name; a teacher object is returned as it is.

    Args:
        options: teacher, model, api_key_env, concurrency and timeout are read.
        root: folder whose ``prices.toml`` is read.
        to_ask: whether it will be asked; a dry run needs a price and no key.

    Raises:
        UnknownNameError: no teacher of that name.
        InputError: a model is missing, a file cannot be read, or a registered factory does not take every option.
    """
    teacher = options.teacher
    if not isinstance(teacher, str):
        return cast(Teacher, teacher)
    if options.concurrency < 1:
        raise InputError(f"--concurrency is 1 or more, got {options.concurrency}")
    if options.timeout <= 0:
        raise InputError(f"--timeout is a number of seconds above 0, got {options.timeout:g}")
    is_address = teacher.casefold().startswith(("http://", "https://"))
    name, _, location = ("url", "", teacher) if is_address else teacher.partition(":")
    if name not in teachers and ({"/", "@", "?"} & set(teacher)):  # an address may hold a password, so it is not said again
        raise InputError("teacher: an address begins with http:// or https://, such as http://127.0.0.1:8000/v1")
    given = {
        "model": options.model,
        "api_key_env": options.api_key_env,
        "concurrency": options.concurrency,
        "timeout": options.timeout,
        "root": root,
        "need_key": to_ask,
    }
    factory = teachers.get(name)
    _check_signature(name, factory, location, given)
    return _named(factory(location, **given), options.endpoint_name)


def _named(teacher: Teacher, endpoint_name: str | None) -> Teacher:
    """Give a teacher the name under which the ledger shall know its server."""
    if endpoint_name is not None:
        if not endpoint_name.strip() or not endpoint_name.isprintable():
            raise InputError(f"--endpoint-name is a name of printable characters, got {endpoint_name!r}")
        cast(Any, teacher).endpoint = endpoint_name.strip()
    return teacher


def _check_signature(name: str, factory: TeacherFactory, location: str, given: dict[str, Any]) -> None:
    """Refuse a factory that does not take every option, so that none is ignored in silence."""
    try:
        inspect.signature(factory).bind(location, **given)
    except TypeError as e:
        raise InputError(
            f"teacher {name!r}: its factory is called as factory(location, {', '.join(f'{key}=…' for key in given)}), and {e}; "
            "let it take **options for what it does not need"
        ) from e
    except ValueError:  # a callable of C, whose signature nobody knows
        return
