"""The contract of exporters: what a `Snapshot` holds, and the registry. Writes nothing.

An exporter is ``(snapshot, destination, **options) -> paths``: it writes files below the folder `destination`, which exists,
and returns their paths. It registers itself where it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from curate.errors import InputError
from curate.manifest.manifest import Manifest
from curate.manifest.rows import in_snapshot, labels_of
from curate.manifest.schema import SPLITS
from curate.registry import Registry

__all__ = ["COLUMNS", "Exporter", "Snapshot", "exporters", "read_snapshot"]


# What a user of the files may want to know of a row; the rest of the manifest's columns steer the work on it.
COLUMNS = (
    *("id", "prompt", "answer", "rationale", "messages", "domain", "split", "source", "stage"),
    *("reason", "origin", "parents", "cluster", "score", "extra"),
)


@dataclass(frozen=True)
class Snapshot:
    """The rows of a manifest that leave it, by split.

    Attributes:
        manifest: the version that it is of.
        splits: split → its rows with content joined on (columns `COLUMNS`, and ``domains``, a list, where rows have several
            labels); only splits that have rows.
        left_out: split → rows that the format has no form for; an exporter that leaves some out counts them here.
    """

    manifest: Manifest
    splits: dict[str, pl.DataFrame]
    left_out: Counter[str] = field(default_factory=Counter)


Exporter = Callable[..., tuple[Path, ...]]


exporters: Registry[Exporter] = Registry(
    "export format", "curate.exporters", builtin=("curate.export.files", "curate.export.trainers")
)


def read_snapshot(manifest: Manifest) -> Snapshot:
    """Return the selected train rows of a manifest, and its validation and test rows that were not rejected.

    Raises:
        InputError: no train row is selected.
    """
    rows = manifest.examples(manifest.scan().filter(in_snapshot()).collect())
    several = [labels_of().alias("domains")] if rows["labels"].count() else []  # trainers read `labels` as something else
    rows = rows.select(*COLUMNS, *several)
    splits = {split: rows.filter(pl.col("split") == split) for split in SPLITS}
    if splits["train"].is_empty():
        raise InputError(
            f"{manifest} has no selected rows, so there is nothing to export: choose some first with "
            f"curate balance {manifest.name} --budget N"
        )
    return Snapshot(manifest, {split: frame for split, frame in splits.items() if not frame.is_empty()})
