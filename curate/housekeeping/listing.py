"""`curate list`: which manifests there are, how large, and what was done to each last. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import CurateError, ManifestError
from curate.files import find_root
from curate.manifest import folders
from curate.manifest.manifest import Commit, load, names

__all__ = ["ListResult", "ListedManifest", "describe", "list_manifests"]


@dataclass(frozen=True)
class ListedManifest:
    """One manifest.

    Attributes:
        name: of the manifest.
        bytes: of all its files, earlier versions included.
        rows: of the newest version; None where it cannot be read.
        last: the newest commit; None where it cannot be read.
        problem: why it cannot be read, or None.
    """

    name: str
    bytes: int
    rows: int | None = None
    last: Commit | None = None
    problem: str | None = None

    def summary(self) -> str:
        """Return its versions, rows and size in words."""
        if self.last is None or self.rows is None:
            return f"{self.bytes:,} bytes, and cannot be read: {self.problem}"
        return f"{self.rows:,} rows, {self.last.version + 1:,} versions and {self.bytes:,} bytes"

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``; the keys are always the same."""
        last = self.last
        return {
            "name": self.name,
            "rows": self.rows,
            "bytes": self.bytes,
            "version": None if last is None else last.version,
            "verb": None if last is None else last.verb,
            "time": None if last is None else last.time.isoformat(),
            "problem": self.problem,
        }


@dataclass(frozen=True)
class ListResult:
    """The manifests under a root, sorted by name."""

    root: str
    manifests: tuple[ListedManifest, ...]


def list_manifests(*, root: str | Path | None = None) -> ListResult:
    """Return every manifest under a root, sorted by name; one that cannot be read is listed with the reason.

    Args:
        root: the folder that holds ``manifests/``.

    Raises:
        ManifestError: the root is a URL.
    """
    home = find_root(root)
    if "://" in home:
        raise ManifestError(f"manifests are listed under a local root alone, got {home!r}")
    return ListResult(home, tuple(describe(name, root=home) for name in names(root=home)))


def describe(name: str, *, root: str) -> ListedManifest:
    """Return one manifest as it is listed.

    Args:
        name: of the manifest.
        root: the folder that holds ``manifests/``.
    """
    size = folders.size(Path(root) / "manifests" / name)
    try:
        handle = load(name, root=root)
        rows = handle.scan().select(pl.len()).collect().item()
        return ListedManifest(name, size, rows, handle.log()[-1])
    except (CurateError, OSError, ValueError, KeyError, pl.exceptions.PolarsError) as e:  # a log or a file that is broken
        return ListedManifest(name, size, problem=(str(e).splitlines() or [type(e).__name__])[0])
