"""Which source a file is: one that the manifest knows, known again by its place or its content, or a new one.

A source is named by its label, which origins and ids hold; no local path leaves this module but as a hash. Reads no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.manifest.manifest import Manifest
from curate.manifest.rows import origin_file
from curate.readers.discover import with_folders

__all__ = ["File", "KnownFile", "known_files", "label_of", "record_of"]


@dataclass(frozen=True)
class File:
    """One file that is being read.

    Attributes:
        name: its name below what the user gave.
        place: where it is: its absolute path, or the address of a data set.
        content: ``sha256:…`` of its bytes, or the revision of a data set.
        prompts: the prompt keys of its rows.
    """

    name: str
    place: str
    content: str
    prompts: pl.Series


@dataclass(frozen=True)
class KnownFile:
    """One file that the manifest has rows of.

    Attributes:
        label: what origins call it.
        content: as of its last ingest; None where earlier versions of this package did not record it.
        place: hash of where it was; None where it is not known.
        auto: whether its domains were to be made by `cluster`; None where it is not known.
        current: whether it was recorded since ids are of the row and its source.
    """

    label: str
    content: str | None
    place: str | None
    auto: bool | None
    current: bool


def known_files(base: Manifest) -> dict[str, KnownFile]:
    """Return the files that a manifest has rows of, by label, each as of its last ingest."""
    if base.version < 0:
        return {}
    found: dict[str, KnownFile] = {}
    for commit in base.lineage():
        for source in commit.summary.get("sources", []) if commit.verb == "ingest" else []:
            files = source.get("files")
            for file in files or []:
                place, auto = file.get("place"), file.get("auto")
                found[file["name"]] = KnownFile(file["name"], file.get("hash"), place, auto, current=True)
            if files is None:
                label = str(source["address"])
                found[label] = KnownFile(label, source.get("hash"), None, None, current=False)
    for label in base.scan().filter(source="real").select(origin_file().alias("file")).unique().collect()["file"].sort():
        found.setdefault(label, KnownFile(label, None, None, None, current=False))
    return found


def record_of(file: File, label: str, *, auto: bool) -> dict[str, Any]:
    """Return what a commit records of a file; `known_files` reads it."""
    return {"name": label, "hash": file.content, "place": _hashed(file.place), "auto": auto}


def label_of(file: File, known: Mapping[str, KnownFile], prompts: Mapping[str, pl.Series], taken: Sequence[str]) -> str:
    """Return the label of a file: of the source that it is, or a new one.

    Args:
        file: that is being read.
        known: from `known_files`.
        prompts: label → the prompt keys of its rows in the manifest.
        taken: labels of other files that are read by the same command.

    Raises:
        InputError: it has the content of a file that was elsewhere or had another name, so that the user must say whether its
            rows are there already.
    """
    place = _hashed(file.place)
    there = [entry for entry in known.values() if entry.label not in taken]
    at_place = next((entry.label for entry in there if entry.place == place), None)
    if at_place is not None:
        return at_place
    named = known.get(file.name) if file.name not in taken else None
    if named is not None and (named.content == file.content or (named.place is None and _alike(file, prompts.get(named.label)))):
        return named.label
    moved = next((entry.label for entry in there if entry.content == file.content), None)
    if moved is None and named is not None and _alike(file, prompts.get(named.label)):
        moved = named.label
    if moved is not None:
        same = "the content" if known[moved].content == file.content else "most of the prompts"
        raise InputError(
            f"{file.name} has {same} of {moved!r}, which the manifest has rows of from another place: add --as {moved!r} if it "
            f"was moved or renamed, or --as {_free(file, [*known, *taken])!r} if its rows are to be there twice"
        )
    return _free(file, [*known, *taken])


def _alike(file: File, before: pl.Series | None) -> bool:
    """Return whether a file shares at least half of its prompts with an earlier one."""
    if before is None or before.is_empty() or file.prompts.is_empty():
        return False
    now = file.prompts.unique()
    earlier = before.unique()
    return 2 * int(now.is_in(earlier.implode()).sum()) >= min(len(now), len(earlier))


def _free(file: File, taken: Sequence[str]) -> str:
    """Return a label that no other file has: the name, below as few of the folders above it as are needed."""
    names = (with_folders(file.name, file.place, n) if n else file.name for n in range(len(taken) + 1000))
    return next(name for name in names if name not in taken)


def _hashed(place: str) -> str:
    return hashlib.sha256(f"place\0{place}".encode(errors="surrogateescape")).hexdigest()[:32]
