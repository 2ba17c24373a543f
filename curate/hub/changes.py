"""Says what a push of a snapshot is: its tag, and how it differs from the one before, for record and commit. Pushes nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from curate.cards.facts import fingerprint
from curate.escapes import one_line
from curate.manifest.manifest import Manifest
from curate.manifest.rows import count_labels

__all__ = ["COLUMNS", "describe", "difference", "tag_of"]

COLUMNS = ("id", "content", "split", "domain", "labels", "source", "stage")  # of the manifest, by which snapshots are compared
_SHOWN = 50  # domains in a commit's description


def describe(manifest: Manifest, rows: pl.DataFrame, options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return what the record of a push says of a snapshot, and the tag that names it.

    Args:
        manifest: the version.
        rows: of the snapshot, with `COLUMNS`.
        options: what chose them, as JSON-able data.
    """
    name = fingerprint(rows.lazy())
    counts = dict(sorted(rows["split"].value_counts().iter_rows()))
    about = {"manifest": manifest.name, "version": manifest.version, "snapshot": name, **options}
    told = {**about, "rows": counts, "domains": _domains(rows)}
    return told, tag_of(manifest.name, manifest.version, name.partition(":")[2])


def tag_of(name: str, version: int, digest: str) -> str:
    """Return the tag of a snapshot: the manifest's name, its version and the beginning of a hash of its rows; valid for git."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "snapshot"
    return f"{plain}-v{version}-{digest[:8]}"


def _domains(rows: pl.DataFrame) -> dict[str, int]:
    """Return domain → rows, sorted; a row of several labels counts in each."""
    return {domain or "": n for domain, n in count_labels(rows).items()}


def difference(
    manifest: Manifest, about: Mapping[str, Any], rows: pl.DataFrame, record: Mapping[str, Any], old: pl.DataFrame | None
) -> tuple[str, str]:
    """Return title and description of a commit: rows added, gone and changed per domain since what the repository holds.

    Args:
        manifest: the version.
        about: from `describe`.
        rows: of the snapshot, with `COLUMNS`.
        record: of the push before; empty without one.
        old: its rows, with `COLUMNS`, where this machine has them; only numbers are compared where their hash is another.
    """
    before = record.get("version")
    now = f"{manifest.name}@{manifest.version}"
    if record.get("manifest") != manifest.name or not isinstance(before, int):
        return f"{now}: {rows.height:,} rows", "\n".join(_lines(Counter(about["domains"]), Counter()))
    if old is None or fingerprint(old.lazy()) != record.get("snapshot"):  # only the numbers of rows are known
        are, were = Counter(about["domains"]), Counter(record.get("domains", {}))
        more, fewer = are - were, were - are
        title = f"{now}: {more.total():,} rows more and {fewer.total():,} fewer than {manifest.name}@{before}"
        return title, "\n".join(_lines(more, fewer))
    added, gone = rows.join(old, on="id", how="anti"), old.join(rows, on="id", how="anti")
    changed = rows.join(old, on="id", suffix="_old").filter(pl.col("content") != pl.col("content_old"))
    counts = f"{added.height:,} rows added, {gone.height:,} removed, {changed.height:,} changed"
    lines = _lines(*(Counter(_domains(part)) for part in (added, gone, changed)))
    return f"{now}: {counts} since {manifest.name}@{before}", "\n".join(lines)


def _lines(added: Counter[str], gone: Counter[str], changed: Counter[str] | None = None) -> Iterator[str]:
    """Yield a line per domain that differs, the most changed first."""
    changed = changed or Counter()
    total = added + gone + changed
    for domain, _ in total.most_common(_SHOWN):
        counts = ((added, "+{:,}"), (gone, "-{:,}"), (changed, "{:,} changed"))
        parts = ", ".join(form.format(count[domain]) for count, form in counts if count[domain])
        yield f"{one_line(domain) or '(no domain)'}: {parts}"
    if len(total) > _SHOWN:
        yield f"and {len(total) - _SHOWN:,} more domains"
