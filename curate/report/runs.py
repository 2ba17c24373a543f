"""Run records: what `baldistill run` leaves of the stages of a run, as curate and baldistill read it. Writes nothing.

A run's folder is ``manifests/runs/NAME``; its record is a JSON list with one object per student, of which ``index`` is the
last stage that it learned from (-1 for the base student) and ``snapshot`` the version, as ``math@7``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curate.errors import InputError
from curate.files import runs_folder
from curate.manifest.manifest import Manifest

__all__ = ["RECORD", "LearnedSnapshot", "learned_snapshots", "read_run", "run_names"]

RECORD = "record.json"


@dataclass(frozen=True)
class LearnedSnapshot:
    """That the student of one stage of a run learned from one version of a manifest."""

    run: str
    stage: int
    version: int


def run_names(root: str) -> list[str]:
    """Return the names of the runs that have a record under a root, sorted."""
    return sorted(path.parent.name for path in runs_folder(root).glob(f"*/{RECORD}"))


def read_run(root: str, name: str) -> list[dict[str, Any]]:
    """Return the record of a run, one mapping per student in the order of training.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return list(json.loads((runs_folder(root) / name / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError) as e:
        raise InputError(f"the record of run {name!r} cannot be read ({e}); run its plan again") from e


def learned_snapshots(manifest: Manifest) -> Iterator[LearnedSnapshot]:
    """Yield which students learned from a manifest, from any version of it, by run and stage."""
    for run in run_names(manifest.root):
        for line in read_run(manifest.root, run):
            name, _, version = str(line["snapshot"]).partition("@")
            if name == manifest.name and line["index"] >= 0:
                yield LearnedSnapshot(run, int(line["index"]), int(version))
