"""Owns the looking back: which scores can be compared, what differs between two versions, and the story of one row.

Reads only. The sentences of a story are in `curate.report.story`; time travel itself is `curate.manifest.manifest.load`.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from curate.errors import InputError, ManifestNotFoundError
from curate.manifest.manifest import SCHEMA, Manifest, load
from curate.report import story

__all__ = ["Diff", "DomainChanges", "Explanation", "Step", "comparable_scores", "diff", "explain"]

_PREFIX = re.compile(r"[0-9a-f]{1,32}")
_VERB, _TEXT = 12, 88  # columns of a printed story


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
        domains: the same counts per domain, by name; a row that moved counts in its new domain.
        rows: one line per row that differs, sorted by domain and id: id, domain, change (added, gone or changed) and the
            names of the columns that changed.
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


@dataclass(frozen=True)
class Step:
    """One step of a row's story: the verb, what it did to the row in sentences, and the version that it made, if any."""

    verb: str
    lines: tuple[str, ...]
    version: int | None


@dataclass(frozen=True)
class Explanation:
    """The story of one row, oldest step first.

    Attributes:
        manifest: the version that it is told of.
        id: of the row.
        steps: what touched it, and what holds it.
    """

    manifest: Manifest
    id: str
    steps: tuple[Step, ...]

    def lines(self) -> list[str]:
        """Return the story as text: the verb, what it did, and the version at the right."""
        out = []
        for step in self.steps:
            text = [part for line in step.lines for part in textwrap.wrap(line, _TEXT, break_on_hyphens=False)]
            mark = "" if step.version is None else f"v{step.version}"
            verbs = [step.verb, *("" for _ in text[1:])]
            out.append(f"{verbs[0]:<{_VERB}}{text[0]:<{_TEXT}} {mark}".rstrip())
            out += [f"{'':<{_VERB}}{part}" for part in text[1:]]
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the story as JSON-able data."""
        return {"manifest": str(self.manifest), "id": self.id, "steps": [asdict(step) for step in self.steps]}


def comparable_scores(manifest: Manifest, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows without the scores that are not of the newest scorer and its commonest kind: those cannot be compared.

    Args:
        manifest: the version that the rows are of.
        rows: columns ``score, score_kind, scored_by`` at least.
    """
    newest = next((c for c in reversed(manifest.lineage()) if c.verb == "score"), None)
    if newest is None:
        return rows
    kinds: dict[str, int] = newest.summary["kinds"]
    kind = max(sorted(kinds), key=lambda name: kinds[name])
    comparable = (pl.col("score_kind") == kind) & (pl.col("scored_by") == newest.parameters["student"])
    return rows.with_columns(score=pl.when(comparable).then("score"))


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
    rows = _differences(old.rows(), manifest.rows())
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


def explain(manifest: Manifest, row: str) -> Explanation:
    """Tell every decision about one row, in order, from where it came to what holds it.

    Args:
        manifest: the version to tell it of.
        row: the row's id, or the beginning of it.

    Raises:
        InputError: no row, or more than one, has an id that begins like that.
    """
    row_id = _find(manifest, row)
    commits = manifest.lineage()
    moments = []
    start, before = Manifest(manifest.name, -1, manifest.root), None
    for commit in commits:
        end = Manifest(manifest.name, commit.version, manifest.root)
        after = _row(end, row_id)
        moments.append(story.Moment(commit, start, end, before, after))
        start, before = end, after
    told = [(moment, story.tell(moment)) for moment in moments]
    steps = [Step(moment.commit.verb, tuple(lines), moment.commit.version) for moment, lines in told if lines]
    steps += [Step(verb, tuple(lines), None) for verb, lines in story.tell_use(moments)]
    return Explanation(manifest, row_id, tuple(steps))


def _other(manifest: Manifest, old: Manifest | str | None) -> Manifest:
    if isinstance(old, str):
        return load(old if "@" in old else f"{manifest.name}@{old}", root=manifest.root)
    if old is not None:
        return old
    if manifest.version < 1:
        raise InputError(f"{manifest} is the first version, so there is none before it to compare it with")
    return Manifest(manifest.name, manifest.version - 1, manifest.root)


def _differences(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Return one line per row that differs: id, domain, change, columns."""
    names = [name for name in SCHEMA if name != "id"]
    joined = old.with_columns(there=True).join(
        new.with_columns(there=True), on="id", how="full", coalesce=True, suffix=" now", maintain_order="left_right"
    )
    change = (
        pl.when(pl.col("there").is_null())
        .then(pl.lit("added"))
        .when(pl.col("there now").is_null())
        .then(pl.lit("gone"))
        .otherwise(pl.lit("changed"))
    )
    changed = [pl.when(pl.col(name).ne_missing(pl.col(f"{name} now"))).then(pl.lit(name)) for name in names]
    both = pl.col("there") & pl.col("there now")
    columns = pl.when(both).then(pl.concat_list(changed).list.drop_nulls()).otherwise(pl.lit([], dtype=pl.List(pl.String)))
    lines = joined.select(
        "id", pl.coalesce("domain now", "domain").alias("domain"), change.alias("change"), columns.alias("columns")
    )
    return lines.filter((pl.col("change") != "changed") | (pl.col("columns").list.len() > 0)).sort("domain", "id")


def _per_domain(rows: pl.DataFrame) -> tuple[DomainChanges, ...]:
    counts = rows.group_by("domain").agg((pl.col("change") == kind).sum().alias(kind) for kind in ("added", "gone", "changed"))
    return tuple(DomainChanges(**(row | {"domain": row["domain"] or ""})) for row in counts.sort("domain").to_dicts())


def _find(manifest: Manifest, row: str) -> str:
    """Return the one id that begins with `row`."""
    prefix = row.strip().removesuffix("…").lower()
    if not _PREFIX.fullmatch(prefix):
        raise InputError(
            f"row {row!r}: give the id, or the beginning of it, in hex digits, as in: curate explain {manifest.name} 7c1e"
        )
    begins = pl.col("id").str.starts_with(prefix)
    found = manifest.scan().filter(begins).select("id", "domain", "origin").head(6).collect().sort("id")
    if found.is_empty():
        raise ManifestNotFoundError(
            f"{manifest} has no row whose id begins with {prefix!r}; ids are in the column id of its exports"
        )
    if found.height > 1:
        some = ", ".join(f"{i[: len(prefix) + 6]}… ({domain}, {origin})" for i, domain, origin in found.head(5).iter_rows())
        n = "several" if found.height > 5 else str(found.height)
        raise InputError(f"{prefix!r} begins the ids of {n} rows of {manifest}: {some}; give more digits")
    return str(found["id"].item())


def _row(manifest: Manifest, row_id: str) -> dict[str, Any] | None:
    found = manifest.scan().filter(pl.col("id") == row_id).collect()
    return found.row(0, named=True) if found.height else None
