"""Events that verbs emit while they work. Prints nothing: a screen or a log listens.

Listeners live in a context variable, so that two verbs in two threads or notebooks do not hear each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event", "Listener", "Step", "emit", "listen", "note", "step"]


@dataclass(frozen=True)
class Event:
    """What a verb says about its work.

    Attributes:
        step: what is being done, such as ``"embed"``.
        done: units finished, or None for a plain note.
        total: units in all, or None where it is not known.
        message: a sentence for a note; empty for a count.
        facts: further figures by name (accepted, rejected, usd, …).
    """

    step: str
    done: int | None = None
    total: int | None = None
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("curate_progress_listeners", default=())


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Send every event of the enclosed work to `listener`."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def emit(event: Event) -> None:
    """Hand one event to whoever listens."""
    for listener in _listeners.get():
        listener(event)


def note(step_name: str, message: str, **facts: Any) -> None:
    """Say one thing that the user should know; it is shown once, as a line."""
    emit(Event(step_name, message=message, facts=facts))


class Step:
    """A counter of one step; made by `step`."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.done = name, total, 0

    def advance(self, n: int = 1, **facts: Any) -> None:
        """Count `n` more units as done."""
        self.done += n
        emit(Event(self.name, self.done, self.total, facts=facts))


@contextmanager
def step(name: str, total: int | None = None) -> Iterator[Step]:
    """Count the units of one step; the first event says 0 of `total`."""
    counter = Step(name, total)
    emit(Event(name, 0, total))
    yield counter
