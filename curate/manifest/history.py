"""Reads what happened to a manifest: its log, its tags, and the differences between two versions. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.manifest.manifest import Commit, Manifest, load
from curate.manifest.rows import per_label
from curate.manifest.schema import SCHEMA

__all__ = ["Diff", "DomainChanges", "Log", "Tags", "diff", "done_stages", "log", "tags"]


@dataclass(frozen=True)
class Log:
    """What was done to a manifest.

    Attributes:
        manifest: up to which version.
        commits: oldest first.
        tags: version → the tags that name it.
    """

    manifest: Manifest
    commits: tuple[Commit, ...]
    tags: dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class Tags:
    """The tags of a manifest.

    Attributes:
        manifest: whose tags they are.
        tags: tag → version.
    """

    manifest: Manifest
    tags: dict[str, int]


def log(manifest: Manifest) -> Log:
    """Return the commits up to a version, oldest first, and which tags name them.

    Args:
        manifest: the version to stop at.
    """
    named: dict[int, tuple[str, ...]] = {}
    if "://" not in manifest.root:  # tags live beside a local root alone
        for tag, version in sorted(manifest.tags().items()):
            named[version] = (*named.get(version, ()), tag)
    return Log(manifest, tuple(manifest.log()), named)


def tags(manifest: Manifest) -> Tags:
    """Return the tags of a manifest, of every version.

    Args:
        manifest: any version of it.
    """
    return Tags(manifest, manifest.tags())


def done_stages(manifest: Manifest, *, partial: bool = False) -> dict[int, Commit]:
    """Return the stages of `balance` that a version stands on, with the commit of each; `unselect` undoes stages.

    Args:
        manifest: the version.
        partial: where a commit is not known any more, return those after it; otherwise that is an error.
    """
    done: dict[int, Commit] = {}
    for commit in manifest.lineage(partial=partial):
        if commit.verb == "balance" and "stage" in commit.parameters:
            done[int(commit.parameters["stage"])] = commit
        elif commit.verb == "unselect":
            for stage in commit.summary["undone"]:
                done.pop(int(stage), None)
    return done


@dataclass(frozen=True)
class DomainChanges:
    """How many rows of a domain were added, are gone, or changed."""

    domain: str
    added: int
    gone: int
    changed: int


@dataclass(frozen=True)
class Diff:
    """What differs between two versions.

    Attributes:
        manifest: the newer one.
        old: the other one.
        added, gone, changed: rows; a row is the same row where its id is the same.
        columns: how many rows changed in each column, most first; a column in which none did is left out.
        domains: the same counts per domain, by name; a row that moved counts in its new domain, one of several labels in each.
        rows: one line per row that differs, sorted by domain and id: id, domain, labels, change (added, gone or changed) and
            the names of the columns that changed.
    """

    manifest: Manifest
    old: Manifest
    added: int
    gone: int
    changed: int
    columns: dict[str, int]
    domains: tuple[DomainChanges, ...]
    rows: pl.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-able data, without the single rows."""
        counts = {"added": self.added, "gone": self.gone, "changed": self.changed, "columns": self.columns}
        return {"old": str(self.old), "new": str(self.manifest), **counts, "domains": [asdict(domain) for domain in self.domains]}


def diff(manifest: Manifest, *, old: Manifest | str | None = None) -> Diff:
    """Say which rows were added, are gone, or changed, by column and by domain.

    Args:
        manifest: the newer version.
        old: the version to compare it with: a handle, a reference such as ``"math@3"``, or a version or tag of the same
            manifest; the version before it, unless given.

    Raises:
        InputError: there is no version before the first.
        ManifestNotFoundError: there is no such version or tag.
    """
    old = _other(manifest, old)
    rows = _differences(old.rows, manifest.rows)
    changes = Counter(rows["change"])
    columns = Counter(rows["columns"].explode(empty_as_null=False).to_list())
    return Diff(
        manifest=manifest,
        old=old,
        added=changes["added"],
        gone=changes["gone"],
        changed=changes["changed"],
        columns=dict(sorted(columns.items(), key=lambda item: (-item[1], item[0]))),
        domains=_per_domain(rows),
        rows=rows,
    )


def _other(manifest: Manifest, old: Manifest | str | None) -> Manifest:
    if isinstance(old, str):
        return load(old if "@" in old else f"{manifest.name}@{old}", root=manifest.root)
    if old is not None:
        return old
    if manifest.version < 1:
        raise InputError(f"{manifest} is the first version, so there is none before it to compare it with")
    return Manifest(manifest.name, manifest.version - 1, manifest.root)


_Read = Callable[[str], pl.DataFrame]  # a column of a version, its rows in the same order each time


def _differences(old: _Read, new: _Read) -> pl.DataFrame:
    """Return one line per row that differs: id, domain, change, columns. One column of both is held at a time."""
    before, after = old("id").with_row_index("before"), new("id").with_row_index("after")
    pairs = before.join(after, on="id", how="full", coalesce=True, maintain_order="left_right")
    both = pairs.drop_nulls()
    changed = {name: _changed(old, new, name, both) for name in SCHEMA if name != "id"}
    is_changed = pl.any_horizontal(list(changed)) if both.height else pl.lit(False)
    names = pl.concat_list([pl.when(pl.col(name)).then(pl.lit(name)) for name in changed]).list.drop_nulls()
    found = both.with_columns(pl.Series(name, mask) for name, mask in changed.items()).filter(is_changed)
    there = found.select("id", "before", "after", change=pl.lit("changed"), columns=names)
    none = pl.lit([], dtype=pl.List(pl.String))
    added = pairs.filter(pl.col("before").is_null()).with_columns(change=pl.lit("added"), columns=none)
    gone = pairs.filter(pl.col("after").is_null()).with_columns(change=pl.lit("gone"), columns=none)
    lines = pl.concat([part.select("id", "before", "after", "change", "columns") for part in (added, gone, there)])
    filed = [_newest(old, new, name, lines) for name in ("domain", "labels")]
    return lines.select("id", *filed, "change", "columns").sort("domain", "id")


def _newest(old: _Read, new: _Read, column: str, lines: pl.DataFrame) -> pl.Series:
    """Return a column of rows that differ as the newer version has it, or the older one where they are gone."""
    was, now = old(column)[column].gather(lines["before"]), new(column)[column].gather(lines["after"])
    return now.zip_with(lines["after"].is_not_null(), was)


def _changed(old: _Read, new: _Read, column: str, both: pl.DataFrame) -> pl.Series:
    """Return for each row of both versions whether a column differs."""
    return old(column)[column].gather(both["before"]).ne_missing(new(column)[column].gather(both["after"]))


def _per_domain(rows: pl.DataFrame) -> tuple[DomainChanges, ...]:
    counts = (
        per_label(rows)
        .group_by("domain")
        .agg((pl.col("change") == kind).sum().alias(kind) for kind in ("added", "gone", "changed"))
    )
    return tuple(DomainChanges(**(row | {"domain": row["domain"] or ""})) for row in counts.sort("domain").to_dicts())
