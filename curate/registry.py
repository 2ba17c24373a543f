"""Names → callables for every plug-in point. Knows nothing of what is registered.

A plug-in point is one `Registry` in the module that owns its contract (a folder's ``base``). The project's own plug-ins register
where they stand, in the modules that the registry lists as `builtin`; those are imported at the first look-up, so that the
contract imports none of them. Third parties register by entry point, under the group named ``curate.<point>``; a callable is
accepted wherever a name is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from curate.errors import UnknownNameError

__all__ = ["Registry"]

F = TypeVar("F", bound=Callable[..., object])


class Registry(Generic[F]):
    """The named callables of one plug-in point.

    Args:
        kind: what one entry is, in the singular; used in error messages.
        group: the entry-point group that third parties use, such as ``"curate.policies"``.
        builtin: modules whose import registers the project's own entries.

    Example:
        >>> shouts = Registry("shout", "curate.shouts")
        >>> @shouts.register("loud")
        ... def loud(text):
        ...     return text.upper()
        >>> shouts.get("loud")("hey")
        'HEY'
    """

    def __init__(self, kind: str, group: str, *, builtin: Sequence[str] = ()) -> None:
        self.kind, self.group = kind, group
        self._builtin = list(builtin)
        self._entries: dict[str, F] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Return a decorator that files a callable under `name`."""

        def file(entry: F) -> F:
            self._entries[name] = entry
            return entry

        return file

    def get(self, name: str | F) -> F:
        """Return the callable of that name; a callable is handed back as it is.

        Raises:
            UnknownNameError: nothing is registered under that name.
        """
        if not isinstance(name, str):
            return name
        if name not in self._entries:
            self._import_builtin()
        if name in self._entries:
            return self._entries[name]
        for point in entry_points(group=self.group):
            if point.name == name:
                loaded: F = point.load()
                return loaded
        raise UnknownNameError(self.kind, name, self.names())

    def names(self) -> list[str]:
        """Return every known name, sorted, those of entry points included."""
        self._import_builtin()
        return sorted({*self._entries, *(point.name for point in entry_points(group=self.group))})

    def _import_builtin(self) -> None:
        while self._builtin:
            import_module(self._builtin[0])
            self._builtin.pop(0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
