"""Opens a source: a file, a folder, a glob, standard input or a data set becomes files with tables, splits, labels and hashes.

Knows no examples and no manifest; which files belong to a source is decided in `curate.sources.discover`, what a file says in
`curate.sources.readers`.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from curate.errors import InputError
from curate.sources import json_files, text_files, typed
from curate.sources.streams import COMPRESSED, encoding, plain_name, unpacked
from curate.sources.tables import Table
from curate.sources.text_files import TextOptions

__all__ = ["Source", "SourceFile", "TextOptions", "is_readable", "open_source", "read"]

_JSON = (".jsonl", ".ndjson", ".json")
_TEXT = {".csv": ",", ".tsv": "\t"}
_TYPED = {".parquet": typed.read_parquet, ".arrow": typed.read_arrow, ".feather": typed.read_arrow}
KINDS = (*_JSON, *_TEXT, *_TYPED)
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
            wrote, or ``hf://org/name[:config]``.
        on_error: ``fail`` at the first record that cannot be read, or ``skip`` those and list them in each table.
        options: how text files are read, where they are not as usual.

    Raises:
        InputError: there is no such source, it is empty, or a record cannot be read.
    """
    raise NotImplementedError


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


def is_readable(name: str) -> bool:
    """Return whether a file's name is of a kind that `read` knows; of an archive only its content can say."""
    plain = plain_name(name)
    return Path(plain).suffix.lower() in KINDS or name.lower().endswith(".zip")


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
