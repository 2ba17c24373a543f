"""Where the project keeps its files, and how a file or folder is written so that it is whole or not there.

Knows the layout below a root (``manifests/``, ``cache/``), not what the files hold.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = [
    "cache_folder",
    "find_root",
    "ledger_path",
    "make_folder_once",
    "move_folder",
    "reason",
    "remove_folder",
    "replace_folder",
    "runs_folder",
    "sync_to_disk",
    "write_whole",
]

_STALE_S = 24 * 3600  # seconds; an unfinished file that nobody has written to for so long was left by a crash


def find_root(root: str | Path | None = None) -> str:
    """Return the folder or URL that holds ``manifests/`` and ``cache/``: `root`, CURATE_ROOT, or the working directory."""
    return str(root or os.environ.get("CURATE_ROOT") or ".")


def cache_folder(root: str) -> Path:
    """Return the folder of what can be made again; beside a root that is a URL it is in the working directory."""
    return Path("cache") if "://" in root else Path(root) / "cache"


def ledger_path(root: str) -> Path:
    """Return the path of a root's ledger; beside a root that is a URL it is in the working directory."""
    return (Path() if "://" in root else Path(root)) / "manifests" / "ledger.sqlite"


def runs_folder(root: str) -> Path:
    """Return the folder of training runs' records and adapters; beside a root that is a URL it is in the working directory."""
    return (Path() if "://" in root else Path(root)) / "manifests" / "runs"


def write_whole(path: Path, write: Callable[[Path], object], *, sync: bool = False) -> Path:
    """Write a file under another name and rename it, so that a reader finds the old file or the whole new one.

    Args:
        path: of the file; its folder exists.
        write: writes the file that it is given, in the same folder and with the same suffix.
        sync: also survive a loss of power: wait until the file and its name are on the disk.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written; one that was there before is as it was.
    """
    with _unfinished(path) as part:
        write(part)
        if sync:
            sync_to_disk(part)
        part.replace(path)
    if sync:
        sync_to_disk(path.parent)
    return path


def make_folder_once(folder: Path, make: Callable[[Path], object]) -> None:
    """Make a folder that is whole or not there; where it is there, or another process was first, that one is kept.

    Args:
        folder: to make, and the folders above it.
        make: fills the empty folder that it is given.

    Raises:
        OSError: the folder cannot be made.
    """
    if folder.is_dir():
        return
    try:
        _fill(folder, make, lambda part: part.rename(folder))
    except OSError:
        if not folder.is_dir():  # else another process was first, and made the same
            raise


def replace_folder(folder: Path, make: Callable[[Path], object]) -> None:
    """Make a folder and put it in the place of the one that is there, once it is whole.

    On Linux and macOS the two change places in one step, so that whatever stops the process, one of them is there.

    Args:
        folder: to make, and the folders above it.
        make: fills the empty folder that it is given.

    Raises:
        OSError: the folder cannot be made; one that was there before is as it was.
    """

    def swap(part: Path) -> None:
        if not folder.exists():
            part.rename(folder)
            return
        if _exchange(part, folder):  # what is removed in the end is then the old one
            return
        with _unfinished(folder) as old:  # removed once it is out of the way
            folder.rename(old)
            try:
                part.rename(folder)
            except BaseException:
                old.rename(folder)
                raise

    _fill(folder, make, swap)


def move_folder(folder: Path, to: Path) -> None:
    """Give a folder another name in the same parent, which survives a loss of power.

    Raises:
        OSError: it cannot be moved, or something of that name is there; the folder is as it was.
    """
    if os.path.lexists(to):
        raise FileExistsError(f"{to.name!r} exists")
    folder.rename(to)
    sync_to_disk(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder in one step: it is whole or gone, whatever stops the removal. Of a link, the link alone goes.

    Raises:
        OSError: it cannot be removed, and is as it was.
    """
    with _unfinished(folder) as gone:  # removed once it is out of the way
        folder.rename(gone)
        sync_to_disk(folder.parent)


def sync_to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: BaseException) -> str:
    """Return in a few words why a file cannot be read or written; a full disk by its name, whoever told of it."""
    text = str(error)
    full = ("No space left", "os error 28", "disk is full")
    if getattr(error, "errno", None) == errno.ENOSPC or any(words in text for words in full):
        return "the disk is full"
    words = getattr(error, "strerror", None) or next(iter(text.splitlines()), "")
    return str(words or type(error).__name__)


def _fill(folder: Path, make: Callable[[Path], object], finish: Callable[[Path], object]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(folder) as part:
        part.mkdir()
        make(part)
        for entry in part.rglob("*"):
            if not entry.is_symlink():
                sync_to_disk(entry)
        sync_to_disk(part)
        finish(part)
    sync_to_disk(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step, where the system and its file system can; return whether they did."""
    try:
        system = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return False
    names = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    if hasattr(system, "renameat2"):  # Linux: no folder that they are relative to, RENAME_EXCHANGE
        return bool(system.renameat2(-100, names[0], -100, names[1], 2) == 0)
    if hasattr(system, "renamex_np"):  # macOS: RENAME_SWAP
        return bool(system.renamex_np(*names, 2) == 0)
    return False


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Give a free hidden name beside a path, with its suffix; what is left under it at the end is removed."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                _remove(left)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.part{path.suffix}")
    try:
        yield part
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
