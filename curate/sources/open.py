"""Opens a source: a file, a folder, a glob, standard input or a data set becomes files with tables, splits, labels and hashes.

Knows no examples and no manifest; which files belong to a source is decided in `curate.sources.discover`, what a file says in
`curate.sources.readers`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from curate.sources.tables import Table
from curate.sources.text_files import TextOptions

__all__ = ["Source", "SourceFile", "TextOptions", "open_source"]


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
