"""The manifest: a handle on one version of two Delta Lake tables, and its commits and tags.

``manifests/<name>/examples`` holds what was written (append-only, content-addressed); ``manifests/<name>/manifest`` holds
one narrow row per example and is rewritten by each verb. Every other module reads frames from here and hands frames
back; the columns and their types are spelt in `SCHEMA` and `CONTENT_SCHEMA` alone (docs/manifest.md is their data
dictionary). Content goes first, the manifest commit second, so that a crash leaves nothing that points nowhere.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from curate import __version__
from curate.errors import ConflictError, InputError, ManifestError, ManifestNotFoundError, NewerSchemaError, UnknownNameError
from curate.files import find_root, reason, write_whole
from curate.manifest import commit_files, delta
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, SCHEMA_VERSION, conform

__all__ = ["Commit", "Manifest", "load", "names", "new", "split_reference"]


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# What deltalake 1.6 cannot address in a local path: it takes %41 for A and some characters for parts of a URL, and finds no
# history behind # and ?.
_NOT_ADDRESSABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|#?\\\x00-\x1f]")
_TAKEN = {"runs", "ledger"}
_LONGEST_NAME = 200  # characters; file systems take 255, and what is being written has a longer name for a while
_DIGITS = 18  # of a version; a longer number is beyond every version
_PREFIX = "curate."  # of our keys in Delta's commit metadata


@dataclass(frozen=True)
class Commit:
    """One line of a manifest's log.

    Attributes:
        version: of the manifest after the commit, from 0.
        time: when it was written, UTC.
        verb: the command that wrote it.
        parameters: that command's parameters.
        seed: that command's seed, or None.
        summary: what it did, in figures.
        package: version of this package that wrote it.
    """

    version: int
    time: datetime
    verb: str
    parameters: dict[str, Any]
    seed: int | None
    summary: dict[str, Any]
    package: str

    @property
    def base(self) -> int:
        """The version that it was made on top of; -1 of the first."""
        return int(self.summary.get("base", self.version - 1))


@dataclass(frozen=True)
class Manifest:
    """A handle on one version of a manifest; nothing changes in place.

    Attributes:
        name: of the manifest.
        version: from 0; -1 for one that has no commit yet.
        root: the folder (or URL) that holds ``manifests/``.
    """

    name: str
    version: int
    root: str = field(default=".", compare=False)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def location(self) -> str:
        """Folder or URL of this manifest."""
        return f"{self.root.rstrip('/') or '/'}/manifests/{self.name}"

    def scan(self) -> pl.LazyFrame:
        """Return the rows of this version, one per example, with the columns of `SCHEMA`."""
        if self.version < 0:
            return pl.LazyFrame(schema=SCHEMA)
        return delta.scan(f"{self.location}/manifest", self.version, SCHEMA)

    def rows(self, *columns: str) -> pl.DataFrame:
        """Return the rows of this version as a frame; all columns unless some are named."""
        scan = self.scan()
        return (scan.select(columns) if columns else scan).collect()

    def scan_contents(self) -> pl.LazyFrame:
        """Return everything that was ever written to this manifest, with the columns of `CONTENT_SCHEMA`."""
        location = f"{self.location}/examples"
        return delta.scan(location, None, CONTENT_SCHEMA) if delta.latest(location) >= 0 else pl.LazyFrame(schema=CONTENT_SCHEMA)

    def contents(self, keys: pl.Series | Iterable[str] | None = None, *, columns: Iterable[str] | None = None) -> pl.DataFrame:
        """Return content rows (columns of `CONTENT_SCHEMA`), all of them or those with the given `content` keys."""
        scan = self.scan_contents()
        if keys is not None:
            wanted = pl.LazyFrame({"content": pl.Series(keys, dtype=pl.String)}).unique()
            scan = scan.join(wanted, on="content", how="semi")
        return (scan.select(columns) if columns else scan).collect()

    def examples(self, rows: pl.DataFrame | None = None) -> pl.DataFrame:
        """Return `rows` (all, unless given) with prompt, answer, rationale, messages and extra joined on, in the same order."""
        rows = self.rows() if rows is None else rows
        return rows.join(self.contents(rows["content"]), on="content", how="left", maintain_order="left")

    def append(self, contents: pl.DataFrame) -> int:
        """Write the content rows that are not there yet; return how many were written.

        Args:
            contents: a frame with the columns of `CONTENT_SCHEMA`.
        """
        fresh = conform(contents, CONTENT_SCHEMA)
        if fresh["content"].n_unique() < fresh.height:
            fresh = fresh.unique("content", keep="first", maintain_order=True)
        location = f"{self.location}/examples"
        for _ in range(20):  # another writer may append between our look and our write; then look again
            version = delta.latest(location)
            known = self.contents(columns=["content"]) if version >= 0 else pl.DataFrame(schema={"content": pl.String})
            missing = fresh.join(known, on="content", how="anti")
            if missing.is_empty():
                return 0
            try:
                delta.write(location, missing, version, mode="append", metadata={})
            except ConflictError:
                continue
            return missing.height
        raise ConflictError(f"manifest {self.name!r}: other writers kept appending; run the command again")

    def commit(
        self,
        rows: pl.DataFrame,
        *,
        verb: str,
        parameters: Mapping[str, Any] | None = None,
        seed: int | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write `rows` as the next version and return its handle.

        Args:
            rows: every row of the new version, with the columns of `SCHEMA`.
            verb: the command that made it.
            parameters: that command's parameters, JSON-able, without secrets or local paths.
            seed: that command's seed.
            summary: what it did, in figures, JSON-able.

        Raises:
            ConflictError: this handle is not the newest version; nothing was written.
            ManifestError: the disk is full or the location cannot be written; nothing was changed.
        """
        if rows.is_empty():
            raise InputError(f"manifest {self.name!r}: a version needs at least one row, got none")
        newest = delta.latest(f"{self.location}/manifest")
        if newest != self.version:
            raise ConflictError(_stale(self, newest))
        metadata = {
            "verb": verb,
            "parameters": json.dumps(dict(parameters or {}), ensure_ascii=False, default=str),
            "seed": json.dumps(seed),
            "summary": json.dumps(dict(summary or {}), ensure_ascii=False, default=str),
            "package": __version__,
            "schema": str(SCHEMA_VERSION),
        }
        metadata = {f"{_PREFIX}{key}": value for key, value in metadata.items()}
        try:
            version = delta.write(
                f"{self.location}/manifest", conform(rows, SCHEMA), self.version, mode="overwrite", metadata=metadata
            )
        except ConflictError as e:
            raise ConflictError(_stale(self, delta.latest(f"{self.location}/manifest"))) from e
        _keep_log(self)
        return Manifest(self.name, version, self.root)

    def log(self) -> list[Commit]:
        """Return the commits up to this version, oldest first; one that neither its file nor the copy tells of is left out."""
        entries = {entry["version"]: entry for entry in _kept(self)}
        entries |= {entry["version"]: entry for entry in delta.history(f"{self.location}/manifest")}
        return [_commit(entries[version]) for version in sorted(entries) if version <= self.version]

    def lineage(self, *, partial: bool = False) -> list[Commit]:
        """Return the commits that this version stands on, oldest first; a stage done again leaves out what it undid.

        Args:
            partial: where a commit is not known any more, return those after it; the first one then stands on another.

        Raises:
            ManifestError: a commit is not known any more, and `partial` is not set.
        """
        commits = {commit.version: commit for commit in self.log()}
        version, chain = self.version, []
        while version >= 0:
            if version not in commits:
                if partial:
                    break
                raise ManifestError(
                    f"{self} stands on version {version}, whose commit file is gone or damaged, so what was done there is not "
                    f"known: restore {f'{version:020d}.json'!r} in {f'{self.location}/manifest/_delta_log'!r} from a backup, or "
                    f"start a new manifest from its rows: curate export {self.name} --to jsonl"
                )
            chain.append(commits[version])
            version = commits[version].base
        return chain[::-1]

    def tags(self) -> dict[str, int]:
        """Return the version of each tag."""
        path = _tags_path(self)
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            return {str(tag): int(version) for tag, version in dict(found).items()}
        except (ValueError, TypeError) as e:
            raise ManifestError(f"{str(path)!r} is damaged ({e}): restore it from a backup, or move it away") from e

    def tag(self, tag: str, *, force: bool = False) -> None:
        """Name this version; an existing tag is moved only with `force`.

        Raises:
            InputError: the tag is taken or breaks the rule for names.
        """
        if not _NAME.fullmatch(tag) or tag.isdigit() or tag == "latest":
            raise InputError(f"tag {tag!r}: use [a-z0-9][a-z0-9._-]*, not a number and not 'latest'")
        tags = self.tags()
        if tags.get(tag, self.version) != self.version and not force:
            raise InputError(f"tag {tag!r} names {self.name}@{tags[tag]} already; move it with --force")
        path = _tags_path(self)
        text = json.dumps({**tags, tag: self.version}, indent=1, sort_keys=True)
        try:
            write_whole(path, lambda part: part.write_text(text, encoding="utf-8"), sync=True)
        except OSError as e:
            raise ManifestError(f"tag {tag!r} of {self} cannot be written, nothing was changed: {reason(e)}") from e


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``math@7`` into name and version or tag; the latter is ``latest`` where none is given.

    Raises:
        InputError: the name breaks the rule for names.
    """
    name, _, version = reference.partition("@")
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise InputError(f"manifest name {name!r}: use [a-z0-9][a-z0-9._-]*, and neither {' nor '.join(sorted(_TAKEN))}")
    if len(name) > _LONGEST_NAME:
        raise InputError(f"manifest name {name[:40]!r}…: use at most {_LONGEST_NAME} characters, got {len(name)}")
    return name, version or "latest"


def new(name: str, *, root: str | Path | None = None) -> Manifest:
    """Return the newest version of a manifest, or a handle at version -1 where there is none yet."""
    name, _ = split_reference(name)
    handle = Manifest(name, -1, _home(root))
    version = delta.latest(f"{handle.location}/manifest")
    return load(name, root=root) if version >= 0 else handle


def load(reference: str, *, root: str | Path | None = None) -> Manifest:
    """Return a handle on ``NAME``, ``NAME@VERSION``, ``NAME@TAG`` or ``NAME@latest``.

    Raises:
        ManifestNotFoundError: there is no such manifest, version or tag.
        NewerSchemaError: it was written by a newer version of this package.
        ManifestError: what the version needs of the log cannot be read.
    """
    name, wanted = split_reference(reference)
    handle = Manifest(name, -1, _home(root))
    newest = delta.latest(f"{handle.location}/manifest")
    if newest < 0:
        known = names(root=root)
        if Path(handle.location).is_dir():
            raise ManifestNotFoundError(
                f"{handle.location!r} is a folder without a manifest; known: {', '.join(known) or 'none'}"
            )
        hint = str(UnknownNameError("manifest", name, known)) if known else f"no manifest {name!r}: there is none here yet"
        raise ManifestNotFoundError(f"{hint} (root {handle.root!r}; make one with: curate ingest FILE --to {name})")
    if wanted == "latest":
        version = newest
    elif re.fullmatch("[0-9]+", wanted):
        version = int(wanted[-_DIGITS:]) if len(wanted.lstrip("0")) <= _DIGITS else 10**_DIGITS
    elif wanted in handle.tags():
        version = handle.tags()[wanted]
    else:
        raise ManifestNotFoundError(str(UnknownNameError(f"tag of {name}", wanted, handle.tags())))
    if version > newest:
        raise ManifestNotFoundError(f"{name}@{version} does not exist; the newest version is {name}@{newest}")
    found = Manifest(name, version, handle.root)
    delta.open_table(f"{found.location}/manifest", version)  # or says what of its log is damaged
    _check_schema(found)
    return found


def names(*, root: str | Path | None = None) -> list[str]:
    """Return the names of the manifests under a local root, sorted."""
    folder = Path(find_root(root)) / "manifests"
    found = (path.parent.parent.name for path in folder.glob("*/manifest/_delta_log"))
    return sorted(name for name in found if not name.startswith(".")) if folder.is_dir() else []  # hidden: being removed


def _home(root: str | Path | None) -> str:
    """Return the root, after a look at whether Delta tables can be there."""
    home = find_root(root)
    held = None if "://" in home else _NOT_ADDRESSABLE.search(Path(home).absolute().as_posix())
    if held:
        raise InputError(
            f"root {home!r}: its path holds {held.group()!r}, which Delta cannot address; use a folder of another name"
        )
    return home


def _check_schema(handle: Manifest) -> None:
    # The newest commit's, whichever version is asked for.
    newest = delta.latest(f"{handle.location}/manifest")
    metadata = next(iter(delta.history(f"{handle.location}/manifest", after=newest - 1)), {})
    written = int(metadata.get(f"{_PREFIX}schema", SCHEMA_VERSION))
    if written > SCHEMA_VERSION:
        package = metadata.get(f"{_PREFIX}package")
        raise NewerSchemaError(
            f"manifest {handle.name!r} has schema {written}, written by version {package}; this is {__version__}, "
            f"which reads up to schema {SCHEMA_VERSION}: pip install --upgrade baldistill"
        )


def _commit(entry: Mapping[str, Any]) -> Commit:
    ours = {k.removeprefix(_PREFIX): v for k, v in entry.items() if k.startswith(_PREFIX)}
    return Commit(
        version=int(entry["version"]),
        time=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
        verb=ours.get("verb", str(entry.get("operation", "")).lower()),
        parameters=json.loads(ours.get("parameters", "{}")),
        seed=json.loads(ours.get("seed", "null")),
        summary=json.loads(ours.get("summary", "{}")),
        package=ours.get("package", ""),
    )


def _kept(handle: Manifest) -> list[dict[str, Any]]:
    return [] if "://" in handle.root else commit_files.kept(handle.location)


def _keep_log(handle: Manifest) -> None:
    """Copy what the commits say that are not in the copy yet. The commit stands whether or not this can be written."""
    if "://" in handle.root:
        return
    table = f"{handle.location}/manifest"
    last = max((entry["version"] for entry in _kept(handle)), default=-1)
    last = -1 if last >= delta.latest(table) else last  # a table that was made anew
    with contextlib.suppress(OSError):  # the next commit copies what is missing
        commit_files.keep(handle.location, delta.history(table, after=last))


def _stale(handle: Manifest, newest: int) -> str:
    return (
        f"manifest {handle.name!r}: another command committed {handle.name}@{newest}, and this one worked on {handle}; "
        f"nothing was written, run the command again on {handle.name}"
    )


def _tags_path(handle: Manifest) -> Path:
    if "://" in handle.root:
        raise ManifestError(f"tags need a local root, got {handle.root!r}")
    return Path(handle.location) / "tags.json"
