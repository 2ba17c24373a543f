"""The folder of an export: what in it an earlier export wrote, and how a new one takes its place as a whole.

An export leaves a marker, `MARKER`, that lists its files with a hash of each. A file is an export's while it is as the marker
says; every other one is somebody's own, and is never written over. Of a card, README.md, a part may be somebody's own: that part
stays in the new card (`curate.cards.merging`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from curate.cards.merging import is_edited, is_ours, merge
from curate.errors import InputError
from curate.files import replace_folder
from curate.manifest.schema import SPLITS

__all__ = ["MARKER", "Destination", "open_destination"]

_CARD = "README.md"
MARKER = ".curate-export.json"  # hidden, so that no reader of data takes it for some
_FORMAT = 1  # of the marker
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Destination:
    """A folder that an export may be written to.

    Attributes:
        folder: without links and dots; it may not be there yet.
        others: paths below it, relative, that no export wrote; they stay.
        earlier: what the marker of the export that is there says, or None.
        card: the card of that export as it is now; "" where it has none.
    """

    folder: Path
    others: tuple[Path, ...] = ()
    earlier: Mapping[str, Any] | None = None
    card: str = ""

    def write(self, write: Callable[[Path], Iterable[Path]], about: Mapping[str, Any]) -> tuple[Path, ...]:
        """Write an export in the place of what is there, all of it or nothing.

        Args:
            write: writes files below the empty folder that it is given, and returns their paths.
            about: what the marker says of the export, beside its files.

        Returns:
            The paths that `write` returned, where the files are now.

        Raises:
            InputError: a file would be written over one that no export wrote.
            OSError: the folder cannot be written; what was there is as it was.
        """
        written: list[Path] = []

        def make(part: Path) -> None:
            written.extend(_moved(path, part, self.folder) for path in write(part))
            if self.card:
                self._keep_card(part / _CARD)
            files = {path.relative_to(part).as_posix(): _hash(path) for path in sorted(part.rglob("*")) if path.is_file()}
            marker = {"curate_export": _FORMAT, **about, "files": files}
            (part / MARKER).write_text(json.dumps(marker, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            if self.folder.is_dir():
                shutil.copymode(self.folder, part)
            for other in self.others:
                self._keep(other, part)

        replace_folder(self.folder, make)
        return tuple(written)

    def _keep_card(self, new: Path) -> None:
        """Put what somebody wrote in the card that is there into the new one."""
        text = new.read_text(encoding="utf-8") if new.exists() else ""
        if is_ours(text):
            new.write_text(merge(self.card, text), encoding="utf-8", newline="")
        elif is_edited(self.card):
            raise InputError(
                f"export: {str(self.folder / _CARD)!r} holds what somebody wrote, and this format has no card to keep it in: "
                "move it, or choose another --destination"
            )

    def _keep(self, other: Path, part: Path) -> None:
        source, target = self.folder / other, part / other
        if os.path.lexists(target):
            raise InputError(
                f"export: {str(source)!r} is no file of an export as it was written, and is not written over: "
                "move it, or choose another --destination"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            target.mkdir()
            return
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:  # a file system without hard links
            shutil.copy2(source, target, follow_symlinks=False)


def open_destination(path: str | Path, *, manifests: Path | None, force: bool = False) -> Destination:
    """Return the folder to write an export to, if nothing of anybody else would be lost by that.

    Args:
        path: of the folder, there or not.
        manifests: the folder of the manifests; None where they are not on this machine.
        force: let files stand in it that no export wrote.

    Raises:
        InputError: it is a file; or the folder holds such files, or one that a reader would take for a split; or it is around
            the working directory or around, or in, the manifests.
        OSError: it is no folder, or cannot be read.
    """
    folder = Path(os.path.realpath(path))  # which takes a link to itself for what it is, where `resolve` fails
    held = "the working directory" if Path.cwd().is_relative_to(folder) else ""
    if manifests is not None and (manifests.resolve().is_relative_to(folder) or folder.is_relative_to(manifests.resolve())):
        held = "the manifests"
    if held:
        raise InputError(
            f"export: {str(path)!r} is a folder of {held}, and an export needs one of its own: name another --destination"
        )
    if not os.path.lexists(folder):
        return Destination(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"export: {str(path)!r} is a file, and an export is a folder: name another --destination")
    marker = _read_marker(folder)
    files = {} if marker is None else marker["files"]
    card = _card(folder, files)
    found = (other for other in _others(folder, files) if not (card and other == Path(_CARD)))
    first = None if force else next(found, None)
    if first is not None:
        raise InputError(
            f"export: {str(path)!r} holds {str(first)!r}, which no export wrote or which was changed since; choose another "
            "--destination, or replace the files of the earlier export alone with --force"
        )
    others = tuple(found)
    for other in others:
        if other.name.startswith(tuple(f"{split}{sign}" for split in SPLITS for sign in ".-")):
            raise InputError(
                f"export: {str(path)!r} holds {str(other)!r}, which a reader would take for a part of this export; move it, or "
                "choose another --destination"
            )
    return Destination(folder, others, marker, card)


def _card(folder: Path, ours: Mapping[str, str]) -> str:
    """Return the card of an earlier export, with what somebody wrote in it since; "" where it is not there or not one of ours."""
    path = folder / _CARD
    if _CARD not in ours or path.is_symlink() or not path.is_file():
        return ""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
    except UnicodeDecodeError:
        return ""
    return text if is_ours(text) else ""


def _others(folder: Path, ours: Mapping[str, str]) -> Iterator[Path]:
    """Yield the paths below a folder that are not as the marker says, relative; of folders those that hold nothing."""
    for entry in sorted(folder.iterdir()):
        yield from _others_at(folder, entry.relative_to(folder), ours)


def _others_at(folder: Path, name: Path, ours: Mapping[str, str]) -> Iterator[Path]:
    path = folder / name
    if path.is_symlink():
        yield name
    elif path.is_dir():
        inside = sorted(path.iterdir())
        if not inside:
            yield name
        for each in inside:
            yield from _others_at(folder, each.relative_to(folder), ours)
    elif not (name == Path(MARKER) and ours) and not (name.as_posix() in ours and ours[name.as_posix()] == _hash(path)):
        yield name


def _read_marker(folder: Path) -> dict[str, Any] | None:
    """Return what the marker of a folder says, or None where it is not there or not one of ours."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(marker, dict) and "curate_export" in marker and isinstance(marker.get("files"), dict)
    return marker if whole else None


def _hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _moved(path: Path, part: Path, folder: Path) -> Path:
    return folder / path.relative_to(part) if path.is_relative_to(part) else path
