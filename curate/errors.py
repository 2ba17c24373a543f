"""The exception tree. Every error that a user can cause is one of these; anything else is a bug.

    CurateError                     exit status 1 on the command line
    ├── InputError                  a file, row, column, option or value that breaks a rule
    │   ├── UnknownNameError        a name that is not registered; suggests the nearest
    │   └── MistakesError           several mistakes in one file, such as a plan; lists them all
    ├── ManifestError               a manifest that cannot be read or written
    │   ├── ManifestNotFoundError   no manifest, version or tag of that name
    │   ├── NewerSchemaError        written by a newer version of this package
    │   └── ConflictError           somebody else committed first; nothing was written
    ├── MissingPackageError         an optional package is not installed
    ├── ModelError                  weights that cannot be found or loaded
    ├── HubError                    the Hugging Face Hub cannot be reached or refuses the request
    ├── LedgerError                 a ledger that cannot be read or written
    ├── TeacherError                a teacher that cannot be reached or refuses the request
    └── AuditFailedError            findings above --fail-on; exit status 3

Messages name the thing, the rule, the value got and the next step, in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AuditFailedError",
    "ConflictError",
    "CurateError",
    "HubError",
    "InputError",
    "LedgerError",
    "ManifestError",
    "ManifestNotFoundError",
    "MissingPackageError",
    "MistakesError",
    "ModelError",
    "NewerSchemaError",
    "TeacherError",
    "UnknownNameError",
    "nearest",
]


class CurateError(Exception):
    """Base of every error that a user can cause and put right."""


class InputError(CurateError):
    """A file, row, column, option or value breaks a rule."""


class UnknownNameError(InputError):
    """A name that is not among the known ones.

    Args:
        kind: what is named, such as ``"policy"`` or ``"column"``.
        name: the unknown name.
        known: the names that would have been accepted.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        self.kind, self.name, self.known = kind, name, names
        guess = nearest(name, names)
        hint = f"; did you mean {guess!r}?" if guess else "."
        listed = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
        super().__init__(f"unknown {kind} {name!r}{hint} Known: {listed or 'none'}")


class MistakesError(InputError):
    """Several mistakes in one file, told all at once.

    Args:
        where: the file, such as ``"plan 'math.toml'"``.
        mistakes: one line each.
    """

    def __init__(self, where: str, mistakes: Iterable[str]) -> None:
        self.mistakes = list(mistakes)
        number = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        self.summary = f"{where} has {number}"
        super().__init__(f"{self.summary}: {'; '.join(self.mistakes)}")


class ManifestError(CurateError):
    """A manifest cannot be read or written."""


class ManifestNotFoundError(ManifestError):
    """No manifest, version or tag of that name."""


class NewerSchemaError(ManifestError):
    """The manifest was written by a newer version of this package."""


class ConflictError(ManifestError):
    """Another writer committed first; nothing was written."""


class MissingPackageError(CurateError):
    """An optional package is not installed.

    Args:
        package: the distribution to install, or several with spaces between them.
        needed_for: the option or feature that needs it.
    """

    def __init__(self, package: str, needed_for: str) -> None:
        noun = "packages" if " " in package else "package"
        super().__init__(f"{needed_for} needs the {noun} {package!r}: pip install {package}")


class ModelError(CurateError):
    """Weights cannot be found or loaded."""


class HubError(CurateError):
    """The Hugging Face Hub cannot be reached or refuses the request."""


class LedgerError(CurateError):
    """The ledger cannot be read or written."""


class TeacherError(CurateError):
    """A teacher cannot be reached or refuses the request."""


class AuditFailedError(CurateError):
    """An audit found more than ``--fail-on`` allows.

    Args:
        message: which auditor, how much, and what is allowed.
        result: the audit's result, so that it can be shown all the same.
    """

    def __init__(self, message: str, result: object = None) -> None:
        self.result = result
        super().__init__(message)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest in spelling, or None where nothing is near."""
    by_fold = {k.casefold(): k for k in known}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None
