"""Reacts to a lack of memory: a batch that does not fit is cut in half, and so are those after it. Knows no model and no row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from curate import models, progress
from curate.errors import ModelError

__all__ = ["Batches", "lacks_memory"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches:
    """Works on batches, in smaller ones where memory is short.

    Args:
        step: under which a note is given.
        option: of the command that would begin with smaller batches, such as ``--batch-size``.
        in_tokens: that option counts tokens side by side, not rows.
    """

    def __init__(self, step: str, option: str, *, in_tokens: bool = False) -> None:
        self._step, self._option, self._in_tokens = step, option, in_tokens
        self._limit: int | None = None  # tokens side by side

    def work(
        self, do: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], width: Callable[[Item], int]
    ) -> list[Result]:
        """Return what `do` makes of the items, in their order.

        Args:
            do: the work on a batch; it is called again with a part of the items where it ran out of memory.
            items: at least one.
            width: tokens of an item.

        Raises:
            ModelError: one item alone does not fit.
        """
        widest = max(map(width, items))
        if self._limit is None or len(items) == 1 or widest * len(items) <= self._limit:
            try:
                return do(items)
            except (RuntimeError, MemoryError) as e:
                if not lacks_memory(e):
                    raise
            models.release_memory()  # here, since the error holds the tensors until its block ends
            if len(items) == 1:
                raise ModelError(
                    f"out of memory with a single row of {widest:,} tokens ({self._step}): use --dtype bf16, fewer tokens, or a "
                    "smaller student"
                )
            self._reduce(len(items), widest)
        half = (len(items) + 1) // 2
        return self.work(do, items[:half], width) + self.work(do, items[half:], width)

    def _reduce(self, n: int, widest: int) -> None:
        fits = (n + 1) // 2
        self._limit = fits * widest
        given = self._limit if self._in_tokens else fits
        progress.note(
            self._step,
            f"out of memory with {n} rows of up to {widest:,} tokens side by side: going on with {fits}; {self._option} {given} "
            "begins so",
        )


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is full, on a device or on the machine."""
    words = str(error)
    return isinstance(error, MemoryError) or any(said in words for said in ("out of memory", "can't allocate memory"))
