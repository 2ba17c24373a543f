"""Opens a source: a file, a folder, a glob, standard input or a data set becomes files with tables, splits, labels and hashes.

Knows no examples and no manifest; `curate.readers.discover` finds the files of a source. The only importer of datasets in curate.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from curate import progress
from curate.errors import InputError
from curate.hub import client
from curate.hub.client import Address
from curate.readers import json_files, text_files, typed
from curate.readers.discover import KINDS, Found, address_of, find, split_in_names
from curate.readers.streams import COMPRESSED, encoding, plain_name, unpacked
from curate.readers.tables import Column, Table
from curate.readers.text_files import TextOptions

__all__ = ["Source", "SourceFile", "TextOptions", "open_source", "read"]

_JSON = (".jsonl", ".ndjson", ".json")
_TEXT = {".csv": ",", ".tsv": "\t"}
_TYPED = {".parquet": typed.read_parquet, ".arrow": typed.read_arrow, ".feather": typed.read_arrow}
_HUB = "hf://"
_SAVED = ("dataset_dict.json", "state.json")  # in folders that `save_to_disk` wrote
_ROWS = 10_000  # of a data set that are read together
_PEEK = 4096  # bytes
_MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow"}


@dataclass(frozen=True)
class SourceFile:
    """One file of a source, or one split of a data set, read.

    Attributes:
        table: its records; ``table.name`` is the label.
        split: ``train``, ``validation`` or ``test`` where its name or a folder's says so; None where they say nothing.
        ambiguous: one line, with the flag to add, where its name says more than one split (then `split` is None); else None.
            It is an error unless ``--split`` or a column says the split.
        sha256: hex digest of the file's bytes as they are on disk; of a data set ``revision:…`` or ``fingerprint:…``.
        place: absolute path with links resolved (``-`` for standard input, the address for a data set of the Hub). For this
            machine only: it must not go into records as it is.
        label: its name in records and messages, relative to what was given: no local path.
    """

    table: Table
    split: str | None
    ambiguous: str | None
    sha256: str
    place: str
    label: str


@dataclass(frozen=True)
class Source:
    """One source, read.

    Attributes:
        address: what it is called in records: a file's, folder's or glob's own name, or the Hub address; no local path.
        files: its files that hold records or rows left out, sorted by label.
    """

    address: str
    files: tuple[SourceFile, ...]

    @property
    def fingerprint(self) -> str:
        """``sha256:…`` of the file (of the list of hashes and labels, for several), or ``revision:…`` of a data set."""
        if any(":" in file.sha256 for file in self.files):
            return "+".join(sorted({file.sha256 for file in self.files}))
        if len(self.files) == 1:
            return f"sha256:{self.files[0].sha256}"
        listing = "".join(f"{file.sha256}  {file.label}\n" for file in self.files)  # as sha256sum prints it
        return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def open_source(source: str, *, on_error: str = "fail", options: TextOptions | None = None) -> Source:
    """Read every file of a source.

    Args:
        source: a file, a folder (read with its subfolders), a glob, ``-`` (standard input), a folder that ``save_to_disk``
            wrote, or ``hf://org/name[@revision][:config]``.
        on_error: ``fail`` at the first record that cannot be read, or ``skip`` those and list them in each table.
        options: how text files are read, where they are not as usual.

    Raises:
        InputError: there is no such source, it is empty, or a record cannot be read.
    """
    options = options or TextOptions()
    if source == "-" or Path(source).is_fifo():
        return _open_stream(source, on_error, options)
    if source.startswith(_HUB):
        return _open_hub(source)
    if (path := Path(source).expanduser()).is_dir() and any((path / mark).is_file() for mark in _SAVED):
        return _open_saved(path)
    found = find(source)
    _refuse_idle(options, [file.label for file in found], source)
    with ThreadPoolExecutor(1) as hashing, progress.step("read", len(found)) as counter:
        hashes = hashing.map(_sha256, found)
        files = []
        for file in found:
            table = _with_partitions(read(file.path, name=file.label, on_error=on_error, options=options))
            files.append(SourceFile(table, file.split, file.ambiguous, "", str(file.path.resolve()), file.label))
            counter.advance()
        return _source(address_of(source), [replace(file, sha256=digest) for file, digest in zip(files, hashes, strict=True)])


def _source(address: str, files: list[SourceFile]) -> Source:
    """Return a source of the files that hold anything; the others are named in a note."""
    filled = [file for file in files if file.table.height or file.table.skipped]
    if not any(file.table.height for file in filled):
        raise InputError(f"{address}: there are no rows in it" + (f"; {filled[0].table.skipped[0]}" if filled else ""))
    for file in files:
        if file.table.height and not file.table.columns:
            raise InputError(f"{file.label}: no column of it can be read as text")
        if not file.table.height:
            progress.note("read", f"{file.label}: there are no rows in it")
    return Source(address, tuple(filled))


def _with_partitions(table: Table) -> Table:
    """Add what folders say in the way of Hive, ``domain=law/part-0.parquet``, as columns of text that the file does not have."""
    pairs = [part.split("=", 1) for part in Path(table.name).parts[:-1] if "=" in part]
    said = {key: unquote(value) for key, value in pairs if key and value != "__HIVE_DEFAULT_PARTITION__"}
    added = {key: Column(pl.repeat(value, table.height, eager=True), False) for key, value in said.items()}
    return replace(table, columns={**added, **table.columns})


def _refuse_idle(options: TextOptions, labels: list[str], source: str) -> None:
    """Refuse options that no file of a source is of the kind for."""
    kinds = {Path(plain_name(label)).suffix.lower() for label in labels}
    if kinds.isdisjoint(_TEXT) and ".zip" not in kinds and (asked := options.asked()):
        raise InputError(f"{asked[0]}: is for CSV and TSV, and {source!r} has {', '.join(sorted(kinds))}; leave it out")
    if kinds.isdisjoint(_JSON) and ".zip" not in kinds and options.records is not None:
        raise InputError(
            f"--records {options.records!r}: is for JSON, and {source!r} has {', '.join(sorted(kinds))}; leave it out"
        )


def _sha256(found: Found) -> str:
    try:
        with found.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise InputError(f"{found.label}: cannot be read: {e.strerror or e}") from e


def _open_stream(source: str, on_error: str, options: TextOptions) -> Source:
    """Read standard input or a pipe to its end; what it holds is told by its first bytes."""
    if source == "-" and sys.stdin.isatty():
        raise InputError("source '-' is standard input, and that is a terminal: pipe a file into it, or name one")
    with tempfile.TemporaryDirectory(prefix="curate-") as folder:
        copy = Path(folder, name := "stdin")
        with copy.open("wb") as file, sys.stdin.buffer if source == "-" else Path(source).open("rb") as stream:
            shutil.copyfileobj(stream, file)
        table = read(copy, name=name, on_error=on_error, options=options, kind="")
        return _source(name, [SourceFile(table, None, None, _sha256(Found(name, copy, None, None)), source, name)])


def _open_hub(source: str) -> Source:
    """Read a data set of the Hub, as it is at one commit, which the files' hashes name.

    It is called by its name and configuration and not by a revision, so that its rows are known again at a later one.
    """
    address = client.parse_address(source, scheme=_HUB)
    called = f"{_HUB}{address.name}" + (f":{address.config}" if address.config else "")
    if client.is_offline():
        if address.revision is not None:
            raise InputError(
                f"{source!r}: HF_HUB_OFFLINE is set, and nobody can say whether the cache holds that revision: unset it"
            )
        progress.note("read", f"{called}: HF_HUB_OFFLINE is set: what the cache holds is read, whatever its revision")
        found, marks = _load(address, None, source)
        return _from_datasets(found, called, called, marks=marks)
    commit, now = client.resolve(address)
    found, marks = _load(now, commit, source)
    return _from_datasets(found, called, called, marks=marks, revision=commit)


def _load(address: Address, commit: str | None, source: str) -> tuple[Any, dict[str, Any]]:
    """Return the splits of a data set at a commit, and what exports say of themselves in them; of None the newest in the cache.

    Where files of the Hub do not come, `datasets` takes an older copy from its cache, which has other rows than were asked for.
    """
    import datasets

    with client.asking(address, "reading"):
        try:
            builder = datasets.load_dataset_builder(address.name, address.config, revision=commit)
            if commit is not None and f"@{commit}" not in str(builder.base_path):
                raise ConnectionError("its files did not come, and the cache has another revision")
            builder.download_and_prepare()
            return builder.as_dataset(), _export_marks(builder, address, commit)
        except (ValueError, FileNotFoundError, datasets.exceptions.DatasetsError) as e:
            if commit is not None and str(e).startswith("Couldn't find cache"):
                raise ConnectionError("its files did not come") from e
            if type(e).__name__ == "LocalEntryNotFoundError":  # the Hub was not reached: for `asking`
                raise
            told = e.__cause__ if isinstance(e, datasets.exceptions.DatasetGenerationError) and e.__cause__ else e
            raise InputError(f"data set {source!r} cannot be loaded: {_first_line(told)}") from e


def _export_marks(builder: Any, address: Address, commit: str | None) -> dict[str, Any]:
    """Return split → what an export says of itself in all of its files; `datasets` does not pass it on."""
    found = {}
    for split, files in (getattr(builder.config, "data_files", None) or {}).items() if commit is not None else ():
        names = [str(file).partition(f"@{commit}/")[2] for file in files]
        kept = [client.cached(address, name, str(commit)) for name in names]
        marks = [typed.read_export_mark(path) if path is not None else None for path in kept]
        if marks and all(mark is not None and mark == marks[0] for mark in marks):
            found[str(split)] = marks[0]
    return found


def _open_saved(path: Path) -> Source:
    try:
        import datasets

        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, RuntimeError) as e:
        raise InputError(f"folder {str(path)!r} cannot be read as a saved data set: {_first_line(e)}") from e
    return _from_datasets(found, path.resolve().name, str(path.resolve()))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _from_datasets(
    found: Any, address: str, place: str, *, marks: Mapping[str, Any] | None = None, revision: str | None = None
) -> Source:
    files = []
    for name, part in found.items() if isinstance(found, dict) else [("", found)]:
        label = f"{address}/{name}" if name else address
        with typed.one_line(label, "a data set"):
            batches = part.with_format("arrow").iter(_ROWS)
            table = typed.from_batches(batches, part.features.arrow_schema, label, features=part.features.to_dict())
        table = replace(table, export=(marks or {}).get(name))
        split, ambiguous = split_in_names(name or str(part.split or address))
        content = f"revision:{revision}" if revision else f"fingerprint:{part._fingerprint}"
        files.append(SourceFile(table, split, ambiguous, content, f"{place}/{name}" if name else place, label))
    return _source(address, files)


def read(path: Path, *, name: str, on_error: str = "fail", options: TextOptions | None = None, kind: str | None = None) -> Table:
    """Read one file, plain or compressed.

    Args:
        path: of the file; its suffix, further one of a compression, says what it holds.
        name: what origins and messages call it.
        on_error: ``fail`` at the first record that cannot be read, or ``skip`` those and list them.
        options: how text files are read, where they are not as usual.
        kind: one of `KINDS` in place of the suffix, or ``""`` to tell it by the first bytes.

    Raises:
        InputError: a record cannot be read, the file is damaged, or it is of an unknown kind.
    """
    options = options or TextOptions()
    with unpacked(path, name) as (file, inner):
        begin = file.peek(_PEEK)
        kind = Path(inner).suffix.lower() if kind is None else kind or _kind_of(begin)
        if (typed_kind := _typed_kind(begin)) and kind not in _TYPED:
            raise InputError(f"{name}: is a {typed_kind[1:].capitalize()} file by its first bytes: name it {typed_kind}")
        if kind in _JSON:
            return json_files.read(file, name, on_error=on_error, records=options.records)
        if kind in _TEXT:
            return text_files.read(file, name, on_error=on_error, separator=_TEXT[kind], options=options)
        if kind in _TYPED:
            return _TYPED[kind](path if file.seekable() else io.BytesIO(file.read()), name)
    raise InputError(
        f"{name}: cannot tell its kind from the name; kinds are {', '.join(KINDS)}, also with {', '.join(COMPRESSED)}"
    )


def _typed_kind(begin: bytes) -> str | None:
    return next((kind for magic, kind in _MAGIC.items() if begin.startswith(magic)), None)


def _kind_of(begin: bytes) -> str:
    """Return the kind of a stream without a name: JSON begins with a bracket, and a first line with tabs alone is TSV."""
    if kind := _typed_kind(begin):
        return kind
    text = begin.decode(encoding(begin), errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith(("{", "[")):
        return ".jsonl"
    line = text.split("\n", 1)[0]
    return ".tsv" if "\t" in line and "," not in line else ".csv"
