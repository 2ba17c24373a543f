"""Reads and writes one Delta table, at the version that the caller has read and no other.

The only importer of deltalake; `curate.manifest.manifest` is its only caller.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from curate.errors import ConflictError, ManifestError
from curate.files import reason
from curate.manifest import commit_files

__all__ = ["history", "latest", "open_table", "scan", "write"]

# Nothing of a table's past is ever removed by itself. Without these, deltalake removes commit files after 30 days.
KEEP_FOR_EVER = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}

_WAY_OUT = "restore it from a backup, or name a version without it"


def latest(location: str) -> int:
    """Return the newest version of a Delta table, or -1 where there is none."""
    if "://" not in location:
        return commit_files.latest(location)
    from deltalake.exceptions import TableNotFoundError

    try:
        return int(open_table(location, None).version())
    except TableNotFoundError:
        return -1


def history(location: str, *, after: int = -1) -> list[dict[str, Any]]:
    """Return what is known of a table's commits, oldest first: ``version``, ``timestamp`` (ms) and their metadata.

    Args:
        location: of the table.
        after: return the commits after this version.
    """
    if "://" not in location:  # deltalake numbers them wrongly where a commit file is missing
        return commit_files.read(location, after=after)
    return [entry for entry in reversed(open_table(location, None).history()) if entry["version"] > after]


def open_table(location: str, version: int | None) -> Any:
    """Open a Delta table, at a version or at its newest.

    Raises:
        ManifestError: its log cannot be read: a commit file is missing, empty or damaged.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    local = "://" not in location
    wanted = latest(location) if version is None and local else version
    if local and wanted is not None:
        commit_files.check(location, wanted)
    try:
        return DeltaTable(location, version=version)
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as e:
        if local and wanted is not None:
            commit_files.raise_damage(location, wanted, e)
        raise ManifestError(f"{location!r} cannot be read as a Delta table: {str(e).splitlines()[0]}") from e


def scan(location: str, version: int | None, schema: pl.Schema) -> pl.LazyFrame:
    """Return the rows of a Delta table, at a version or at its newest, in the given columns and types.

    On a disk they are in the order in which they were written.

    Columns that it does not have yet, because an earlier version of this package wrote it, are null.

    Raises:
        ManifestError: its log cannot be read, or a data file is missing or cut.
    """
    table = open_table(location, version)
    if "://" in location:
        found = pl.scan_delta(table)
        there = found.collect_schema().names()
        return found.select(name if name in there else pl.lit(None, dtype=kind).alias(name) for name, kind in schema.items())
    added = pl.DataFrame(table.get_add_actions()).sort("modification_time", "path")  # as they were written
    # Paths are percent-encoded; `scan_delta` would not find roots with spaces, `%` or letters beyond ASCII.
    files = {f"{location}/{unquote(path)}": size for path, size in added.select("path", "size_bytes").iter_rows()}
    for file, size in files.items():
        _check_data(Path(file), size)
    if not files:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet([*files], glob=False, schema=schema, missing_columns="insert")


def _check_data(file: Path, size: int) -> None:
    try:
        found = file.stat().st_size
    except FileNotFoundError:
        raise ManifestError(
            f"data file {str(file)!r} is missing: restore it from a backup, or name a version without it"
        ) from None
    if found != size:
        raise ManifestError(
            f"data file {str(file)!r} has {found:,} bytes, its commit says {size:,}: restore it from a backup, or name a version "
            "without it"
        )


def write(location: str, frame: pl.DataFrame, version: int, *, mode: Any, metadata: Mapping[str, str]) -> int:
    """Write one version of a Delta table on top of `version`, or not at all; return its number.

    The version is on the disk when this returns. A table that was made without `KEEP_FOR_EVER` gets it first, which is a
    version of its own.

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
    from deltalake import CommitProperties
    from deltalake.exceptions import CommitFailedError, DeltaError

    local = "://" not in location
    options: dict[str, Any] = {"post_commithook_properties": _keep_log()}
    options["commit_properties"] = CommitProperties(custom_metadata=dict(metadata), max_commit_retries=0)
    try:
        table = open_table(location, version) if version >= 0 else None
        version = _keep_for_ever(table) if table is not None else version
        if local:
            Path(location).mkdir(parents=True, exist_ok=True)
            _write_local(location, frame, table, mode, options)
            if table is None:
                commit_files.without_folder(location)
            commit_files.sync_commit(location, version + 1)
        else:
            _write_remote(location, frame, table, mode, options)
    except CommitFailedError as e:
        raise ConflictError(str(e)) from e
    except DeltaError as e:
        if "already exists" in str(e):
            raise ConflictError(str(e)) from e
        raise ManifestError(f"{location!r} cannot be written, nothing was changed: {reason(e)}") from e
    except (OSError, pl.exceptions.PolarsError) as e:
        raise ManifestError(f"{location!r} cannot be written, nothing was changed: {reason(e)}") from e
    return version + 1


def _write_local(location: str, frame: pl.DataFrame, table: Any, mode: Any, options: Mapping[str, Any]) -> None:
    """Write the rows into a new data file by Polars, which compresses on every core, and commit it."""
    from deltalake import Schema
    from deltalake.transaction import AddAction, create_table_with_add_actions

    name = f"part-00000-{uuid.uuid4()}-c000.zstd.parquet"  # as deltalake names its own
    path = Path(location, name)
    try:
        frame.write_parquet(path, compression="zstd", compression_level=1)
    except BaseException as e:
        if isinstance(e, pl.exceptions.PolarsError):
            _try_disk(location, beside=path)
        path.unlink(missing_ok=True)
        raise
    status = path.stat()
    statistics = json.dumps({"numRecords": frame.height})
    added = [AddAction(name, status.st_size, {}, int(status.st_mtime * 1000), data_change=True, stats=statistics)]
    schema = Schema.from_arrow(frame.schema)
    if table is None:
        create_table_with_add_actions(location, schema, added, configuration=dict(KEEP_FOR_EVER), **options)
    else:
        table.create_write_transaction(added, mode, schema, **options)


def _try_disk(location: str, *, beside: Path) -> None:
    """Find out whether a disk is full, of which Polars tells as of a damaged file.

    Args:
        location: the folder.
        beside: what is written there already, which takes up the room that it needs.

    Raises:
        OSError: what the disk says to a megabyte.
    """
    probe = Path(location, f".{uuid.uuid4()}.probe")
    try:
        probe.write_bytes(bytes(1 << 20))
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    finally:
        probe.unlink(missing_ok=True)


def _write_remote(location: str, frame: pl.DataFrame, table: Any, mode: Any, options: Mapping[str, Any]) -> None:
    from deltalake import ColumnProperties, WriterProperties, write_deltalake

    # Keys are all different: a dictionary of them costs time and saves nothing. Zstandard at 1 is as fast as the default.
    keys = [name for name in frame.columns if name in ("id", "content", "record_key")]
    plain = dict.fromkeys(keys, ColumnProperties(dictionary_enabled=False))
    writer = WriterProperties(compression="ZSTD", compression_level=1, column_properties=plain)
    if table is None:
        write_deltalake(location, frame, mode="error", configuration=dict(KEEP_FOR_EVER), writer_properties=writer, **options)
        return
    grown = set(frame.columns) > {entry.name for entry in table.schema().fields}
    schema_mode: Any = "overwrite" if grown and mode == "overwrite" else None
    write_deltalake(table, frame, mode=mode, schema_mode=schema_mode, writer_properties=writer, **options)


def _keep_for_ever(table: Any) -> int:
    """Set the properties of a table that an earlier version of this package made; return the table's version after that."""
    from deltalake import CommitProperties

    missing = {key: value for key, value in KEEP_FOR_EVER.items() if table.metadata().configuration.get(key) != value}
    if missing:
        commit = CommitProperties(custom_metadata={"curate.verb": "upgrade"}, max_commit_retries=0)
        table.alter.set_table_properties(missing, commit_properties=commit, post_commithook_properties=_keep_log())
    return int(table.version())


def _keep_log() -> Any:
    from deltalake import PostCommitHookProperties

    return PostCommitHookProperties(cleanup_expired_logs=False)
