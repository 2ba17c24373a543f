"""Finds the files of a source, the split that a name stands for, and labels that tell files apart. Reads no file.

Symbolic links are followed once. A file has a label: its name relative to what was given, which holds no local path.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError, nearest
from curate.manifest.schema import SPLITS
from curate.sources import readers
from curate.sources.readers import Table
from curate.sources.streams import plain_name

__all__ = [
    "KINDS",
    "Found",
    "Source",
    "address_of",
    "find",
    "is_readable",
    "read_source",
    "split_in_names",
    "split_of",
    "stem",
    "unique_labels",
]

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
_METADATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}  # of `datasets`, which are no data
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


def unique_labels(files: Sequence[tuple[str, str]]) -> list[str]:
    """Return labels that differ where places do, by adding as few of the folders above as are needed.

    Args:
        files: label and place of each file.

    Example:
        >>> unique_labels([("train.jsonl", "/d/en/train.jsonl"), ("train.jsonl", "/d/de/train.jsonl")])
        ['en/train.jsonl', 'de/train.jsonl']
    """
    labels = [label for label, _ in files]
    added = [0] * len(files)
    while True:
        places: dict[str, set[str]] = {}
        for label, (_, place) in zip(labels, files, strict=True):
            places.setdefault(label, set()).add(place)
        shared = [at for at, label in enumerate(labels) if len(places[label]) > 1]
        if not shared:
            return labels
        for at in shared:
            added[at] += 1
            labels[at] = _with_folders(*files[at], added[at])


def _with_folders(label: str, place: str, n: int) -> str:
    """Return a label below the `n` folders that are above it; the whole place where there are no more."""
    parts, own = PurePath(place).parts, PurePath(label).parts
    folders = parts[: -len(own)] if parts[-len(own) :] == own else parts[:-1]
    return "/".join((*folders[-n:], label)) if n <= len(folders) else f"{place} ({label}, {n})"


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
    """Return the folders that someone named, the nearest last: of a path outside the working directory the last two."""
    if not below.is_absolute():
        return [part for part in below.parts if part not in ("..", ".")]
    try:
        return list(below.relative_to(Path.cwd()).parts)
    except ValueError:
        return list(below.parts[1:][-2:])


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


@dataclass(frozen=True)
class Source:
    """One source, read.

    Attributes:
        address: what it is called in records: a file's, folder's or glob's own name, or the Hub address; no local path.
        fingerprint: ``sha256:…`` of the file (of the list of hashes and names, for several), or ``revision:…`` of a data set.
        tables: its files or splits, with content.
        splits: the split that each table's name gives (a folder's ``test.jsonl``), or None.
    """

    address: str
    fingerprint: str
    tables: tuple[Table, ...]
    splits: tuple[str | None, ...]


def read_source(source: str, *, on_error: str = "fail") -> Source:
    """Read every table of a source.

    Args:
        source: a file, a folder (read with its subfolders), a glob, a folder that ``save_to_disk`` wrote, or
            ``hf://org/name[:config]``.
        on_error: ``fail`` at the first record that cannot be read, or ``skip`` those and list them.

    Raises:
        InputError: there is no such source, it is empty, or a record cannot be read.
    """
    if source.startswith(_HUB):
        return _read_hub(source)
    path = Path(source)
    if path.is_dir() and any((path / mark).is_file() for mark in _MARKS):
        return _read_saved(path)
    files = _files(source)
    several = len(files) > 1 or path.is_dir()
    with ThreadPoolExecutor(1) as hashing, progress.step("read", len(files)) as counter:
        hashes = hashing.map(_sha256, files.values())
        tables = []
        for name, file in files.items():
            tables.append(readers.read(file, name=name, on_error=on_error))
            counter.advance()
        fingerprint = _combined(dict(zip(files, hashes, strict=True)))
    splits = [_split_in_name(name) if several else None for name in files]
    return _source(_address(source), fingerprint, tables, splits)


def _source(address: str, fingerprint: str, tables: list[Table], splits: list[str | None]) -> Source:
    filled = [(table, split) for table, split in zip(tables, splits, strict=True) if len(table.numbers) or table.skipped]
    if not any(len(table.numbers) for table, _ in filled):
        raise InputError(f"{address}: there are no rows in it" + (f"; {filled[0][0].skipped[0]}" if filled else ""))
    for table in tables:
        if not len(table.numbers):
            progress.note("read", f"{table.name}: there are no rows in it")
    return Source(address, fingerprint, tuple(t for t, _ in filled), tuple(s for _, s in filled))


def _files(source: str) -> dict[str, Path]:
    """Return the files of a source by the name below what was given, sorted."""
    path = Path(source)
    if path.is_file():
        return {path.name: path}
    if path.is_dir():
        found = [file for file in path.rglob("*") if _is_data(file, path)]
        if not found:
            raise InputError(f"folder {source!r}: no file to read in it; kinds are {', '.join(readers.SUFFIXES)}")
        return {file.relative_to(path).as_posix(): file for file in sorted(found)}
    if glob.has_magic(source):
        fixed = _fixed_part(path)
        matches = sorted(fixed.glob(path.relative_to(fixed).as_posix()))
        found = [file for match in matches for file in (sorted(match.rglob("*")) if match.is_dir() else [match])]
        files = {file.relative_to(fixed).as_posix(): file for file in found if _is_data(file, fixed)}
        if files:
            return files
        raise InputError(f"glob {source!r} matches no file to read; kinds are {', '.join(readers.SUFFIXES)}")
    raise InputError(_absent(path))


def _is_data(file: Path, below: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(below).parts)
    return file.is_file() and not hidden and readers.is_readable(file) and file.name not in _METADATA


def _address(source: str) -> str:
    if glob.has_magic(source) and not Path(source).exists():
        return Path(source).relative_to(_fixed_part(Path(source))).as_posix()
    return Path(source).resolve().name


def _split_in_name(name: str) -> str | None:
    """Return the split that a file's name, or a folder above it, stands for: ``test-00000-of-00001.parquet`` is test."""
    for part in (readers.stem(name), *reversed(Path(name).parts[:-1])):
        split = split_of(re.split(r"[-._ ]", part, maxsplit=1)[0])
        if split:
            return split
    return None


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise InputError(f"{path.name}: cannot be read: {e.strerror or e}") from e


def _combined(hashes: dict[str, str]) -> str:
    if len(hashes) == 1:
        return f"sha256:{next(iter(hashes.values()))}"
    listing = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())  # as sha256sum prints it
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _read_hub(source: str) -> Source:
    name, _, config = source.removeprefix(_HUB).partition(":")
    try:
        import datasets

        found = datasets.load_dataset(name, config or None)
    except (OSError, ValueError) as e:
        raise InputError(f"data set {source!r} cannot be loaded: {str(e).splitlines()[0]}") from e
    return _from_datasets(found, source)


def _read_saved(path: Path) -> Source:
    try:
        import datasets

        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as e:
        raise InputError(f"folder {str(path)!r} cannot be read as a saved data set: {str(e).splitlines()[0]}") from e
    return _from_datasets(found, path.resolve().name)


def _from_datasets(found: Any, address: str) -> Source:
    parts = dict(found) if isinstance(found, dict) else {"": found}
    tables = [readers.from_frame(_frame(part), f"{address}/{name}" if name else address) for name, part in parts.items()]
    revisions = sorted({_revision(part) for part in parts.values()})
    return _source(address, "+".join(revisions), tables, [_split_in_name(name) if name else None for name in parts])


def _frame(part: Any) -> pl.DataFrame:
    """Return a data set as a frame, with the names of classes in place of their numbers."""
    frame = pl.DataFrame(part.with_format("arrow")[:])
    classes = {column: feature.names for column, feature in part.features.items() if hasattr(feature, "int2str")}
    return frame.with_columns(
        pl.col(column).cast(pl.Int64).replace_strict(dict(enumerate(names)), default=None, return_dtype=pl.String)
        for column, names in classes.items()
    )


def _revision(part: Any) -> str:
    checksums = part.info.download_checksums or {}
    hub = {match[1] for address in checksums if (match := re.search(r"@([0-9a-f]{40})/", str(address)))}
    return f"revision:{'+'.join(sorted(hub))}" if hub else f"fingerprint:{part._fingerprint}"
