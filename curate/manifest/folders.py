"""A manifest's folder as a whole: where it is, how large, what it was called before, moved and removed.

Knows no row and no version. Works on local roots alone: what is at a URL cannot be renamed in one step.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from curate.errors import InputError, ManifestError, ManifestNotFoundError, UnknownNameError
from curate.files import find_root, move_folder, remove_folder, write_whole
from curate.manifest.manifest import names, split_reference

__all__ = ["copy", "find_folder", "folder_of", "former_names", "free_folder", "move", "remove", "size"]

_TABLES = ("manifest", "examples")
_FORMER = "former_names.json"


def folder_of(name: str, *, root: str | Path | None = None) -> Path:
    """Return the folder of a manifest, whether it is there or not.

    Raises:
        InputError: the name breaks the rule for names, or has a version.
        ManifestError: the root is a URL.
    """
    if split_reference(name)[0] != name:
        raise InputError(f"{name!r} names a version: this is about the whole manifest, leave out what follows the '@'")
    home = find_root(root)
    if "://" in home:
        raise ManifestError(f"manifests are renamed and deleted under a local root alone, got {home!r}")
    return Path(home) / "manifests" / name


def find_folder(name: str, *, root: str | Path | None = None) -> Path:
    """Return the folder of a manifest, which may be one that cannot be read.

    Args:
        name: of the manifest, without a version.
        root: the folder that holds ``manifests/``.

    Raises:
        InputError: the name breaks the rule for names, or has a version.
        ManifestNotFoundError: there is no manifest of that name.
        ManifestError: the root is a URL.
    """
    folder = folder_of(name, root=root)
    if not any((folder / table).is_dir() for table in _TABLES):
        known = names(root=root)
        hint = str(UnknownNameError("manifest", name, known)) if known else f"no manifest {name!r}: there is none here yet"
        raise ManifestNotFoundError(f"{hint} (root {find_root(root)!r}; curate list shows what is there)")
    return folder


def free_folder(name: str, *, root: str | Path | None = None) -> Path:
    """Return the folder that a manifest of a new name would have.

    Raises:
        InputError: the name breaks the rule for names, has a version, or is taken.
        ManifestError: the root is a URL.
    """
    folder = folder_of(name, root=root)
    if folder.exists() or folder.is_symlink():
        raise InputError(
            f"{name!r} exists already in {str(folder.parent)!r}: choose another name, or remove it with curate delete"
        )
    return folder


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def former_names(folder: str | Path) -> tuple[str, ...]:
    """Return the names that a manifest had before, oldest first.

    Args:
        folder: of the manifest.
    """
    path = Path(folder) / _FORMER
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ()


def move(folder: Path, to: Path) -> None:
    """Rename a manifest's folder in one step, and keep its name among its former names.

    Raises:
        ManifestError: it cannot be moved, and is as it was.
    """
    known = _without(former_names(folder), (folder.name, to.name))
    try:
        text = json.dumps([*known, folder.name], indent=1)
        write_whole(folder / _FORMER, lambda part: part.write_text(text, encoding="utf-8"), sync=True)
        move_folder(folder, to)
    except OSError as e:
        raise ManifestError(f"manifest {folder.name!r} cannot be renamed, it is as it was: {e}") from e


def copy(folder: Path, to: Path) -> None:
    """Copy a manifest's folder under another name, whole or not at all; data files, which never change, are shared by links.

    Raises:
        ManifestError: it cannot be copied.
    """
    part = to.with_name(f".{to.name}.part")
    try:
        if part.exists():
            remove_folder(part)
        shutil.copytree(folder, part, copy_function=_link, ignore=shutil.ignore_patterns("*.lock", _FORMER))
        move_folder(part, to)
    except (OSError, shutil.Error) as e:
        raise ManifestError(f"manifest {folder.name!r} cannot be copied: {e}") from e


def _link(file: str, to: str) -> None:
    if file.endswith(".parquet"):
        with contextlib.suppress(OSError):  # no links here, or another disk
            os.link(file, to)
            return
    shutil.copy2(file, to)


def remove(folder: Path) -> None:
    """Remove a manifest's folder in one step.

    Raises:
        ManifestError: it cannot be removed, and is as it was.
    """
    try:
        remove_folder(folder)
    except OSError as e:
        raise ManifestError(f"manifest {folder.name!r} cannot be removed, it is as it was: {e}") from e


def _without(found: Iterable[str], taken: Iterable[str]) -> list[str]:
    return [name for name in found if name not in set(taken)]
