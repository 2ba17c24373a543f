"""Run records: what `baldistill run` leaves of the stages of a run, as curate and baldistill read it. Writes nothing.

A run's folder is ``manifests/runs/NAME``; its record is a JSON list with one object per student, of which ``index`` is the
last stage that it learned from (-1 for the base student) and ``snapshot`` the version, as ``math@7``. Records stay as they are
when a manifest is renamed: they are read by its former names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import InputError
from curate.files import runs_folder
from curate.manifest.folders import former_names
from curate.manifest.manifest import Manifest

__all__ = [
    "PREDICTIONS",
    "RECORD",
    "TRAINING",
    "LearnedSnapshot",
    "evaluation_folder",
    "learned_snapshots",
    "read_run",
    "run_names",
    "runs_of",
    "stage_folder",
    "version_identity",
]

RECORD = "record.json"
PREDICTIONS = "predictions.parquet"  # of an evaluation: the student's answer to every row
TRAINING = "train.json"  # in the folder of each stage: what was trained on, and how


@dataclass(frozen=True)
class LearnedSnapshot:
    """That the student of one stage of a run learned from one version of a manifest."""

    run: str
    stage: int
    version: int


def stage_folder(root: str, run: str, index: int) -> Path:
    """Return where a run keeps what it made in a stage; -1 is the base student."""
    return runs_folder(root) / run / (f"stage-{index}" if index >= 0 else "base")


def evaluation_folder(stage: Path, split: str | None = None) -> Path:
    """Return where the answers of a stage's student are: those to the plan's own split, unless another is named."""
    return stage if split is None else stage / f"evaluate-{split}"


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
    """Yield which students learned from a manifest, from any version of it, by run and stage.

    A record that has one of the manifest's former names is of this manifest too, unless what the run kept of its training says
    that the version was committed at another time, and so was of another manifest of that name.
    """
    names = {manifest.name, *former_names(manifest.location)}
    for run in run_names(manifest.root):
        for line in read_run(manifest.root, run):
            name, _, version = str(line["snapshot"]).partition("@")
            if name in names and line["index"] >= 0 and _is_same(manifest, run, line):
                yield LearnedSnapshot(run, int(line["index"]), int(version))


def runs_of(root: str, name: str) -> tuple[str, ...]:
    """Return the runs whose records name snapshots of a manifest, by name; a record that cannot be read is passed over."""
    found = []
    for run in run_names(root):
        try:
            record = read_run(root, run)
        except InputError:
            continue
        if any(str(line["snapshot"]).partition("@")[0] == name for line in record):
            found.append(run)
    return tuple(found)


def version_identity(snapshot: Manifest) -> str:
    """Return a version with its time, since a manifest that was deleted and made again counts its versions from 0."""
    return f"{snapshot} of {snapshot.log()[-1].time.isoformat()}"


def _is_same(manifest: Manifest, run: str, line: Mapping[str, Any]) -> bool:
    """Return whether the version that a student learned from is one of this manifest, by the time of its commit."""
    try:
        kept = (stage_folder(manifest.root, run, int(line["index"])) / TRAINING).read_text(encoding="utf-8")
        _, _, time = str(json.loads(kept)["inputs"]["snapshot"]).partition(" of ")
    except (OSError, ValueError, KeyError, TypeError):
        return True  # nothing else is known
    version = int(str(line["snapshot"]).partition("@")[2])
    times = {commit.version: commit.time.isoformat() for commit in manifest.log()}
    return not time or times.get(version, time) == time
