"""Reads and writes one Delta table, at the version that the caller has read and no other.

The only importer of deltalake; `curate.manifest.manifest` is its only caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from curate.errors import ConflictError, ManifestError

__all__ = ["latest", "open_table", "scan", "write"]


def latest(location: str) -> int:
    """Return the newest version of a Delta table, or -1 where there is none."""
    if "://" not in location and not (Path(location) / "_delta_log").is_dir():
        return -1
    from deltalake.exceptions import TableNotFoundError

    try:
        return int(open_table(location, None).version())
    except TableNotFoundError:
        return -1


def open_table(location: str, version: int | None) -> Any:
    """Open a Delta table, at a version or at its newest.

    Raises:
        ManifestError: its log cannot be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        return DeltaTable(location, version=version)
    except TableNotFoundError:
        raise
    except DeltaError as e:
        raise ManifestError(f"{location!r} cannot be read as a Delta table: {str(e).splitlines()[0]}") from e


def scan(location: str, version: int | None, schema: pl.Schema) -> pl.LazyFrame:
    """Return the rows of a Delta table, at a version or at its newest, in the given columns and types."""
    table = open_table(location, version)
    if "://" in location:
        return pl.scan_delta(table)
    # `file_uris` percent-encodes; `scan_delta` would not find roots with spaces, `%` or letters beyond ASCII.
    files = [f"{location}/{unquote(uri.rpartition('/')[2])}" for uri in table.file_uris()]
    return pl.scan_parquet(files, glob=False, schema=schema) if files else pl.LazyFrame(schema=schema)


def write(location: str, frame: pl.DataFrame, version: int, *, mode: Any, metadata: Mapping[str, str]) -> None:
    """Write one version of a Delta table on top of `version`, or not at all.

    An overwrite through a path would silently lose another writer's update, so the table is opened at the version that was
    read and the commit is not retried.

    Args:
        location: folder or URL of the table.
        frame: the rows; a table is made of them where `version` is -1.
        version: that the writer has read.
        mode: ``"overwrite"`` or ``"append"``.
        metadata: of the commit.

    Raises:
        ConflictError: somebody else wrote a version meanwhile; nothing was written.
        ManifestError: the disk is full, or the location cannot be written; nothing was changed.
    """
    from deltalake import ColumnProperties, CommitProperties, WriterProperties, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    # Keys are all different: a dictionary of them costs time and saves nothing. Zstandard at 1 is as fast as the default.
    keys = [name for name in frame.columns if name in ("id", "content")]
    plain = dict.fromkeys(keys, ColumnProperties(dictionary_enabled=False))
    writer = WriterProperties(compression="ZSTD", compression_level=1, column_properties=plain)
    properties = CommitProperties(custom_metadata=dict(metadata), max_commit_retries=0)
    try:
        if version < 0:
            Path(location).mkdir(parents=True, exist_ok=True) if "://" not in location else None
            write_deltalake(location, frame, mode="error", commit_properties=properties, writer_properties=writer)
        else:
            write_deltalake(
                open_table(location, version), frame, mode=mode, commit_properties=properties, writer_properties=writer
            )
    except CommitFailedError as e:
        raise ConflictError(str(e)) from e
    except DeltaError as e:
        if "already exists" in str(e):
            raise ConflictError(str(e)) from e
        raise ManifestError(f"{location!r} cannot be written, nothing was changed: {str(e).splitlines()[0]}") from e
    except OSError as e:
        raise ManifestError(f"{location!r} cannot be written, nothing was changed: {e}") from e
