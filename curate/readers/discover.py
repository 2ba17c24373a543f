"""Finds the files of a source, the split that a name stands for, and labels that tell files apart. Reads no file.

Symbolic links are followed once. A file has a label: its name relative to what was given, which holds no local path.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from curate import progress
from curate.errors import InputError, nearest
from curate.manifest.schema import SPLITS
from curate.readers.streams import plain_name

__all__ = [
    "KINDS",
    "Found",
    "address_of",
    "find",
    "is_readable",
    "split_in_names",
    "split_of",
    "stem",
    "with_folders",
]

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
# Of `datasets`, and what describes a data set beside it (https://mlcommons.org/croissant): no data themselves.
_METADATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "croissant.json"}
_MARKS = ("dataset_dict.json", "state.json")  # of folders that `save_to_disk` wrote
_HUB = "hf://"
_LISTED = 10  # files that are not read, by name

_SPLIT_OF = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "eval": "validation"}
_SPLIT_OF |= {"testing": "test"} | {split: split for split in SPLITS}
_SPLIT_OF |= {"trainset": "train", "testset": "test", "devset": "validation", "valset": "validation"}
_NEUTRAL = {"all", "chunk", "data", "dataset", "examples", "file", "files", "final", "full", "of", "part", "records", "rows"}
_NEUTRAL |= {"samples", "set", "shard", "split", "v"} | {kind[1:] for kind in KINDS}
_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Found:
    """A file of a source.

    Attributes:
        label: its name relative to what was given, with forward slashes.
        path: where it is.
        split: ``train``, ``validation`` or ``test`` where its name or a folder's says so, else None.
        ambiguous: one line, with the flag to add, where its name says more than one; else None.
    """

    label: str
    path: Path
    split: str | None
    ambiguous: str | None


def find(source: str) -> list[Found]:
    """Return the files of a source, sorted by label; files that are not read are named in a note.

    Args:
        source: a file, a folder (with its subfolders) or a glob.

    Raises:
        InputError: there is no such file, folder or glob, or no file to read in it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [_found(path.name, path, path.parent)]
    listing = _Listing()
    if path.is_dir():
        below, what = path, f"folder {source!r}"
        listing.add([("", path)])
    elif glob.has_magic(source):
        below, what = _fixed_part(path), f"glob {source!r}"
        listing.add(_matches(path, below))
    else:
        raise InputError(_absent(path))
    files = {label: file for label, file in listing.files.items() if is_readable(label) and file.name not in _METADATA}
    _say_what_is_left_out(listing, sorted(set(listing.files) - set(files)), address_of(source))
    if not files:
        raise InputError(f"{what}: no file to read in it; kinds are {', '.join(KINDS)}")
    return [_found(label, file, below) for label, file in sorted(files.items())]


def is_readable(name: str) -> bool:
    """Return whether a file's name is of a kind that is read; of an archive only its content can say."""
    return PurePath(plain_name(name)).suffix.lower() in KINDS or name.lower().endswith(".zip")


def stem(name: str) -> str:
    """Return a file's name without its folder and without the suffixes of kind and compression."""
    return PurePath(plain_name(name)).stem


def address_of(source: str) -> str:
    """Return what a file, folder or glob is called in records: its own name, without the folder it is in."""
    path = Path(source).expanduser()
    if glob.has_magic(source) and not path.exists():
        return path.relative_to(_fixed_part(path)).as_posix()
    return path.resolve().name


def split_of(name: str) -> str | None:
    """Return the split that a name stands for as a whole (``val`` and ``dev`` are validation), or None."""
    return _SPLIT_OF.get(name.strip().lower())


def split_in_names(label: str, above: Sequence[str] = ()) -> tuple[str | None, str | None]:
    """Return the split that a file's name, or a folder's above it, stands for; and one line where they contradict each other.

    Whole words count, wherever they stand: ``squad_test``, ``test-00000-of-00003`` and ``devSet2`` name a split, ``contest`` and
    ``latest`` do not. A file's name that says nothing else (``train.jsonl`` in a folder ``test``) decides; else it and the
    nearest folder that says a split must agree.

    Args:
        label: of the file, with the folders below what was given.
        above: folders above it, as they were given, the nearest last. Of these only a name that is a split and nothing else, or
            that ends in one, counts: a folder ``test_of_mine`` is no test split.

    Returns:
        The split and None, None and None where nothing is said, or None and the line.
    """
    folders = PurePath(label).parts[:-1]
    own = _splits_in(stem(label))
    if len(own) > 1:
        return None, _ambiguous(label, own, "its name")
    if own and _says_nothing_else(stem(label)):
        return own.pop(), None
    around = [found for folder in reversed(folders) if (found := _splits_in(folder))]
    around += [found for folder in reversed(above) if (found := _splits_in(folder) if _names_a_split(folder) else set())]
    nearest_folder = around[0] if around else set()
    said = own | nearest_folder
    if len(said) > 1:
        return None, _ambiguous(label, said, "its name and its folder's" if own else "its folder's name")
    return (said.pop() if said else None), None


def with_folders(label: str, place: str, n: int) -> str:
    """Return a label below the `n` folders that are above it in its place; with a number where there are no more.

    Example:
        >>> with_folders("train.jsonl", "/d/en/train.jsonl", 1)
        'en/train.jsonl'
    """
    parts, own = PurePath(place).parts, PurePath(label).parts
    folders = parts[: -len(own)] if parts[-len(own) :] == own else parts[:-1]
    return "/".join((*folders[-n:], label)) if n <= len(folders) else f"{label} ({n})"


def _splits_in(name: str) -> set[str]:
    return {_SPLIT_OF[word] for word in _words(name) if word in _SPLIT_OF}


def _says_nothing_else(name: str) -> bool:
    return all(word in _SPLIT_OF or word in _NEUTRAL or word.isdigit() for word in _words(name))


def _names_a_split(folder: str) -> bool:
    words = [word for word in _words(folder) if not word.isdigit()]
    return _says_nothing_else(folder) or (len(words) <= 3 and words[-1] in _SPLIT_OF)


def _words(name: str) -> list[str]:
    return _WORD.findall(_CAMEL.sub(" ", name).lower())


def _ambiguous(label: str, splits: set[str], what: str) -> str:
    flags = " or ".join(f"--split {split}" for split in sorted(splits))
    return f"{label}: {what} says {' and '.join(sorted(splits))}; say which with {flags}"


def _found(label: str, path: Path, below: Path) -> Found:
    return Found(label, path, *split_in_names(label, _given_folders(below)))


def _given_folders(below: Path) -> list[str]:
    """Return the folders that someone named, the nearest last; of a path outside the working directory the last two.

    The name of a user is no name of a split: ``/home/dev`` does not count.
    """
    if not below.is_absolute():
        return [part for part in below.parts if part not in ("..", ".")]
    for known in (Path.cwd(), Path.home()):
        if below.is_relative_to(known):
            return list(below.relative_to(known).parts)
    parts = below.parts[1:]
    return list(parts[2:] if parts[:1] in (("home",), ("Users",)) else parts)[-2:]


class _Listing:
    """Files by label. A folder is entered once; what is behind a link comes after everything that is not."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.unreadable: list[str] = []
        self.twice: list[str] = []
        self._folders: set[tuple[int, int]] = set()
        self._places: set[Path] = set()

    def add(self, found: Iterable[tuple[str, Path]]) -> None:
        """Add files, folders with what is in them, and links, by label."""
        links = [link for label, path in found for link in self._add_one(label, path)]
        while links:
            label, path = links.pop(0)
            links += self._add_one(label, path, follow=True)

    def _add_one(self, label: str, path: Path, *, follow: bool = False) -> list[tuple[str, Path]]:
        """Add a file, or the files of a folder and of those in it; return the links among them."""
        if path.is_symlink() and not follow:
            return [(label, path)]
        if path.is_dir():
            return self._add_folder(label, path)
        if not path.is_file() or not os.access(path, os.R_OK):
            self.unreadable.append(label)
        elif path.resolve() in self._places:
            self.twice.append(label)
        else:
            self._places.add(path.resolve())
            self.files[label] = path
        return []

    def _add_folder(self, label: str, folder: Path) -> list[tuple[str, Path]]:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in self._folders:
            return []
        self._folders.add((status.st_dev, status.st_ino))
        try:
            entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        except OSError:
            self.unreadable.append(label or folder.name)
            return []
        return [link for entry in entries for link in self._add_one(f"{label}/{entry.name}".lstrip("/"), entry)]


def _matches(pattern: Path, below: Path) -> Iterator[tuple[str, Path]]:
    """Yield what a glob matches, by its name below the part without wildcards; ``**`` is any number of folders."""
    patterns = pattern.relative_to(below).parts
    if "**" not in patterns:
        for path in sorted(below.glob("/".join(patterns))):
            parts = path.relative_to(below).parts
            if not any(part.startswith(".") and part[:1] != given[:1] for part, given in zip(parts, patterns, strict=True)):
                yield "/".join(parts), path
        return
    listing = _Listing()
    listing.add([("", below)])
    yield from ((label, path) for label, path in listing.files.items() if _is_match(PurePath(label).parts, patterns))


def _is_match(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    """Return whether a path, or a folder above it, matches."""
    if not patterns:
        return True
    if patterns[0] == "**":
        return any(_is_match(parts[at:], patterns[1:]) for at in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _is_match(parts[1:], patterns[1:])


def _say_what_is_left_out(listing: _Listing, others: list[str], address: str) -> None:
    for labels, why in (
        (others, "files of other kinds are not read"),
        (listing.unreadable, "what cannot be opened is left out"),
        (listing.twice, "links to files that are there already are left out"),
    ):
        if labels:
            more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
            progress.note("read", f"{address}: {why}: {', '.join(sorted(labels)[:_LISTED])}{more}")


def _fixed_part(pattern: Path) -> Path:
    parts = pattern.parts
    return Path(*parts[: next(at for at, part in enumerate(parts) if glob.has_magic(part))])


def _absent(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = nearest(path.name, beside)
    return f"no file, folder or glob {str(path)!r}" + (f"; did you mean {str(path.with_name(guess))!r}?" if guess else "")
