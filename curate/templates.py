"""Runs users' Jinja2 templates within bounds: they reach nothing but their fields, and come to an end.

A template is charged a step for every turn of a loop and every call of a macro, and more for the texts that its expressions make;
after `MOST_STEPS` it fails. So it ends whatever it loops over, and whether or not it writes anything; no clock decides.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.runtime import str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.visitor import NodeTransformer

__all__ = ["MOST_STEPS", "TooManyStepsError", "bounded", "make_environment"]

MOST_STEPS = 1_000_000  # of one filled template; it takes a second or two
_OF_TEXT = 1_000  # characters or items that count as a step where an expression reads or makes them
_MOST_EXPONENT, _MOST_BITS = 64, 100_000
_WRITING = frozenset(("format", "format_map", "string", "tojson", "json", "pprint", "urlencode", "xmlattr", "escape", "e"))
_FILLING = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs", "indent", "tojson", "batch", "slice", "round"))
_MOST_WIDTH = 10_000  # that a method or filter fills up to
_WIDE = re.compile(r"\d{5}")  # a width of a format that no text needs

_left: ContextVar[list[int] | None] = ContextVar("steps left", default=None)


class TooManyStepsError(OverflowError):
    """A template does not come to an end within `MOST_STEPS`."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Let one template be filled in the enclosed work, with `MOST_STEPS` for it alone."""
    before = _left.set([MOST_STEPS])
    try:
        yield
    finally:
        _left.reset(before)


def make_environment(*, most: int, immutable: bool = False, **options: Any) -> SandboxedEnvironment:
    """Return a sandbox whose templates come to an end.

    What a template does beyond the bounds is an `OverflowError`, whose text says which.

    Args:
        most: characters of any one text that an expression makes.
        immutable: whether lists and objects of fields cannot be changed.
        options: as `jinja2.Environment` takes them.
    """
    kind = _Immutable if immutable else _Sandbox
    show = options.pop("finalize", None)
    made: _Bounds = kind(**options)
    made.most, made.finalize = most, lambda value: made.shown(value, show)
    made.globals.pop("lipsum")
    made.filters.update({name: _charged(made, name, use) for name, use in made.filters.items()})
    return made


def _spend(n: int = 1) -> str:
    """Take steps off what is left; return an empty text, since a template may show what its calls return."""
    left = _left.get()
    if left is not None:
        left[0] -= n
        if left[0] < 0:
            raise TooManyStepsError(f"it takes more than {MOST_STEPS:,} steps: loop over less")
    return ""


def _size(value: Any) -> int:
    """Return the characters or items of a value, without those inside the items."""
    return len(value) if isinstance(value, str | bytes | list | tuple | dict | set | range) else 0


def _written(value: Any, most: int) -> int:
    """Return about how many characters a value is written with, whatever lists it is in; what is above `most` is not counted."""
    size, rest = 0, [value]
    while rest and size <= most:
        one = rest.pop()
        size += _size(one)
        if isinstance(one, list | tuple | set) and size <= most:
            rest += one
        elif isinstance(one, dict) and size <= most:
            rest += [*one, *one.values()]
    return size


class _Counting(NodeTransformer):
    """Puts a step at the beginning of each turn of a loop and each macro, and has joined texts counted."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        return self._with_step(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._with_step(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._with_step(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("join_texts", node.nodes, node.lineno)

    def _with_step(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body = [nodes.ExprStmt(_call("step", [], node.lineno), lineno=node.lineno), *node.body]
        return node  # type: ignore[no-any-return]


def _call(name: str, given: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name, lineno=line), given, [], None, None, lineno=line)


class _Bounds(SandboxedEnvironment):
    """The sandbox; how large one text may become is `most`."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    most: int = 0

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Counting().visit(super()._parse(source, name, filename))  # type: ignore[no-any-return]

    def shown(self, value: Any, show: Callable[[Any], Any] | None) -> Any:
        """Return how a value is written into the output, after a look at how long that is."""
        if isinstance(value, list | tuple | set | dict):
            self.check(_written(value, self.most))
        return value if show is None else show(value)

    def step(self) -> str:
        """Count one turn."""
        return _spend()

    def join_texts(self, *values: Any) -> str:
        """Join values as ``~`` does."""
        self.check(sum(_written(value, self.most) for value in values))
        return str(str_join(values))

    def check(self, size: int) -> None:
        """Refuse a text that is too long; count one that is long."""
        if size > self.most:
            raise OverflowError(f"it makes a text of more than {self.most:,} characters")
        _spend(1 + size // _OF_TEXT)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [_size(value) for value in (left, right)]
        if operator == "*" and any(isinstance(value, str | bytes | list | tuple) for value in (left, right)):
            times = next((abs(value) for value in (left, right) if isinstance(value, int | float)), 1)
            if max(sizes) * times > self.most:
                raise OverflowError(f"it repeats a text to more than {self.most:,} characters")
            self.check(int(max(sizes) * times))
        elif operator == "+":
            self.check(sum(sizes))
        elif operator == "%" and isinstance(left, str):
            self.check(sizes[0] + sizes[1])
            _refuse_wide(left)
        elif operator == "**" and abs(right) > _MOST_EXPONENT:
            raise OverflowError(f"an exponent is above {_MOST_EXPONENT}")
        if isinstance(left, int) and isinstance(right, int) and max(left.bit_length(), right.bit_length()) > _MOST_BITS:
            raise OverflowError(f"a number has more than {_MOST_BITS:,} bits")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, used: Any, /, *given: Any, **named: Any) -> Any:
        bound = getattr(used, "__wrapped__", used)  # the sandbox wraps the format of texts
        self.check_call(getattr(bound, "__name__", ""), getattr(bound, "__self__", None), [*given, *named.values()])
        return super().call(context, used, *given, **named)

    def check_call(self, name: str, subject: Any, given: list[Any]) -> None:
        """Refuse a call of a method or filter that would make something huge; count what it reads.

        Args:
            name: of the method or filter.
            subject: that it works on.
            given: what it is given beside.
        """
        if name in _FILLING and any(isinstance(value, int) and abs(value) > _MOST_WIDTH for value in given):
            raise OverflowError(f"{name} is given a number above {_MOST_WIDTH:,}")
        if name in ("format", "format_map") and isinstance(subject, str):
            _refuse_wide(subject)
        size = _size(subject) + sum(map(_size, given))
        if name == "replace" and isinstance(subject, str) and len(given) > 1:
            size += subject.count(str(given[0])) * len(str(given[1]))
        elif name == "join":
            items, mark = (given[0], subject) if isinstance(subject, str) and given else (subject, given[0] if given else "")
            size += _written(items, self.most) + _size(items) * _size(mark)
        elif name in _WRITING:
            size += sum(_written(value, self.most) for value in (subject, *given))
        if name in ("replace", "join", *_WRITING):
            self.check(size)
        _spend(1 + size // _OF_TEXT)


def _refuse_wide(text: str) -> None:
    if _WIDE.search(text):
        raise OverflowError(f"a format asks for a width of {_MOST_WIDTH:,} or more")


class _Sandbox(_Bounds):
    pass


class _Immutable(_Bounds, ImmutableSandboxedEnvironment):
    pass


def _charged(environment: _Bounds, name: str, use: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that is charged for what it reads; jinja2 hands it an environment or a context first where it wants one."""
    first = 1 if hasattr(use, "jinja_pass_arg") else 0

    @functools.wraps(use)
    def charged(*given: Any, **named: Any) -> Any:
        subject, further = given[first] if len(given) > first else None, [*given[first + 1 :], *named.values()]
        if name == "join" and isinstance(subject, Iterator):
            subject = list(subject)
        environment.check_call(name, subject, further)
        return use(*given[:first], *([subject] if len(given) > first else []), *given[first + 1 :], **named)

    return charged
