"""Finds and reads a source: a file, a folder, a glob or a data set becomes tables of text.

A table is a `curate.sources.readers.Table`. The only importer of datasets in curate. Knows no examples and no manifest.
"""

from __future__ import annotations

import glob
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError, nearest
from curate.manifest.schema import SPLITS
from curate.sources import readers
from curate.sources.readers import Table

__all__ = ["Source", "read_source", "split_of"]

_ALIASES = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "eval": "validation"}
_ALIASES |= {"testing": "test"} | {split: split for split in SPLITS}
_HUB = "hf://"
_MARKS = ("dataset_dict.json", "state.json")  # of folders that `save_to_disk` wrote
_METADATA = {"dataset_info.json", "dataset_infos.json", *_MARKS}


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


def split_of(name: str) -> str | None:
    """Return the split that a name stands for (``val`` and ``dev`` are validation), or None."""
    return _ALIASES.get(name.strip().lower())


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
        fixed = _fixed_part(source)
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


def _fixed_part(pattern: str) -> Path:
    parts = Path(pattern).parts
    magic = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:magic])


def _address(source: str) -> str:
    if glob.has_magic(source) and not Path(source).exists():
        return Path(source).relative_to(_fixed_part(source)).as_posix()
    return Path(source).resolve().name


def _absent(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = nearest(path.name, beside)
    return f"no file, folder or glob {str(path)!r}" + (f"; did you mean {str(path.with_name(guess))!r}?" if guess else "")


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
