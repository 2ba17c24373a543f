"""Turns one frozen dataclass into the options of a verb: its Python keywords, its command's flags and its table in a plan.

Each field has a type, a default and one sentence of help, declared once:

    @dataclass(frozen=True, kw_only=True)
    class SampleSettings:
        rows: int = option(help="Rows to draw in all.")
        seed: int = option(0, help="Seed of every random choice.")

    @takes(SampleSettings)
    def sample(manifest: Manifest, settings: SampleSettings) -> SampleResult: ...

    sample(manifest, rows=4125)

A verb that takes no manifest has another subject in its place, and ``root`` among its options.

`curate.terminal.commands.settings_verb` makes the command, `baldistill.runs.plan` checks the table. Nothing here knows a verb,
and a module that declares settings imports nothing slow, so that help stays quick.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from curate.errors import InputError, UnknownNameError, nearest

__all__ = ["ROOT", "check_numbers", "help_of", "option", "options_of", "takes", "wrong_choices"]

P = ParamSpec("P")
M = TypeVar("M")
S = TypeVar("S")
R = TypeVar("R")

ROOT = "Folder or URL that holds manifests/; default: CURATE_ROOT, else the working directory."  # help of every --root
LARGEST = 2**53  # of any option's number; whole in a float, and within what a database counts
_HELP = "curate"  # the key of our metadata in a dataclass field


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    more: str = "",
    choices: Sequence[str] = (),
    metavar: str | None = None,
    heading: str | None = None,
    flag: str | None = None,
    positional: bool = False,
    bare: int | None = None,
) -> Any:
    """Return a dataclass field that is an option of a verb.

    Args:
        default: its value unless given; an option without one must be given.
        help: one sentence, for ``--help``.
        more: what a Python caller needs beyond that.
        choices: every value that it takes, where they are few and no plug-in adds one; `takes` checks them.
        metavar: what the help shows in the place of the value, such as ``"FILE"``; the choices, or by its type, unless given.
        heading: that the help lists it under.
        flag: of the command, where it is not the field's name (singular where the field is a list).
        positional: whether the command takes it without a flag, as an argument after its subject.
        bare: the number that the command's flag stands for where no number follows it.
    """
    about = {"help": help, "more": more, "metavar": metavar or "|".join(choices) or None, "heading": heading, "flag": flag}
    known = about | {"positional": positional, "choices": tuple(choices), "bare": bare}
    return dataclasses.field(default=default, kw_only=True, metadata={_HELP: known})


def help_of(field: dataclasses.Field[Any]) -> Mapping[str, Any]:
    """Return what `option` was given for a field: help, more, choices, metavar, heading, flag, positional, bare."""
    found: Mapping[str, Any] = field.metadata[_HELP]
    return found


def options_of(settings: type[Any]) -> list[inspect.Parameter]:
    """Return the options of a settings class as keyword-only parameters with resolved types; those that must be given first."""
    hints = typing.get_type_hints(settings)
    fields = sorted(dataclasses.fields(settings), key=lambda field: field.default is not dataclasses.MISSING)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields
    ]


def wrong_choices(settings: type[Any], values: Mapping[str, Any]) -> Iterator[UnknownNameError]:
    """Yield an error for each value that is not among the choices of its option; an option that may be None may be left out."""
    for field in dataclasses.fields(settings):
        choices, value = help_of(field)["choices"], values.get(field.name, field.default)
        if choices and value not in choices and not (value is None and field.default is None):
            yield UnknownNameError(f"--{field.name.replace('_', '-')}", str(value), choices)


def check_numbers(values: Mapping[str, Any]) -> None:
    """Refuse numbers that no option has a use for, before any arithmetic meets them.

    Args:
        values: by name of the option; other values, and numbers inside lists and mappings, are looked at too.

    Raises:
        InputError: a number is not finite, or beyond `LARGEST`.
    """
    for name, value in values.items():
        inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else (value,)
        for number in inside:
            if isinstance(number, float | int) and not abs(number) <= LARGEST:  # so that NaN is refused
                told = f"{number:.3g}" if isinstance(number, float) else "a whole number of more than 16 digits"
                raise InputError(f"--{name.replace('_', '-')} {told}: use a number between -{LARGEST:,} and {LARGEST:,}")


def takes(settings: Callable[P, S]) -> Callable[[Callable[[M, S], R]], Callable[Concatenate[M, P], R]]:
    """Return a decorator that gives a verb the options of a settings class as its keyword arguments.

    The verb is written as ``verb(manifest, settings)`` and called as ``verb(manifest, budget=2100, seed=1)``. Its signature and
    its docstring list the options, and type checkers know them. A value that is not among an option's choices is an
    `UnknownNameError`.

    Args:
        settings: a frozen dataclass whose fields are made by `option`.
    """
    assert isinstance(settings, type)
    kind: type[Any] = settings

    def decorate(verb: Callable[[M, S], R]) -> Callable[Concatenate[M, P], R]:
        first, *_ = inspect.signature(verb).parameters.values()
        known = [field.name for field in dataclasses.fields(kind)]

        @functools.wraps(verb)
        def call(*args: Any, **given: Any) -> R:
            subject = args or ((given.pop(first.name),) if first.name in given else ())
            if len(subject) != 1:
                raise TypeError(f"{verb.__name__}() takes its {first.name}, and its options by name, such as {known[0]}=…")
            for name in given:
                if name not in known:
                    guess = nearest(name, known)
                    hint = f"; did you mean {guess!r}?" if guess else f"; it has {', '.join(known)}"
                    raise TypeError(f"{verb.__name__}() has no option {name!r}{hint}")
            chosen = settings(**given)
            for mistake in wrong_choices(kind, vars(chosen)):
                raise mistake
            check_numbers(vars(chosen))
            return verb(*subject, chosen)

        call.__dict__["settings"] = kind
        call.__dict__["__signature__"] = inspect.Signature(
            [first.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD), *options_of(kind)],
            return_annotation=inspect.signature(verb).return_annotation,
        )
        call.__doc__ = _with_options(inspect.cleandoc(verb.__doc__ or ""), kind)
        return cast(Callable[Concatenate[M, P], R], call)

    return decorate


def _with_options(doc: str, settings: type[Any]) -> str:
    """Put a line for each option under ``Args:``, made where there is none, before the other sections."""
    lines = []
    for field in dataclasses.fields(settings):
        about = help_of(field)
        name = f"{field.name} ({'|'.join(about['choices'])})" if about["choices"] else field.name
        text = f"{name}: {' '.join(filter(None, (about['help'], about['more'])))}"
        lines += textwrap.wrap(text, 120, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False)
    options = "\n".join(lines)
    head, args, tail = doc.partition("\nArgs:\n")
    if args:
        own, gap, rest = tail.partition("\n\n")
        return f"{head}{args}{own}\n{options}{gap}{rest}"
    head, raises, tail = doc.partition("\n\nRaises:\n")
    return f"{head}\n\nArgs:\n{options}{raises}{tail}"
