"""Finds a trained student by the name of a run, or by the folder of an adapter. Loads no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baldistill.student import adapters
from curate.errors import InputError, ModelError, nearest
from curate.files import find_root
from curate.report.runs import TRAINING, read_run, run_names, stage_folder

__all__ = ["Trained", "find_trained"]


@dataclass(frozen=True)
class Trained:
    """A trained student as it lies on the disk.

    Attributes:
        name: of it: the run's, with its stage, or the adapter folder's.
        root: the folder that holds ``manifests/``.
        folder: of the stage in the run, or of the adapter.
        adapter: its folder; None of the base student of a run.
        record: what the adapter says it was made from; empty for one that others made.
        metrics: what an evaluation found, where there was one.
        student: the base model, as it was named; a folder's name alone where only the adapter's record tells.
        run: name of the run; empty for an adapter alone.
        stage: of the run; -1 is the base student.
    """

    name: str
    root: str
    folder: Path
    adapter: Path | None
    record: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    student: str = ""
    run: str = ""
    stage: int = -1


def find_trained(source: str, *, stage: int | None = None, root: str | Path | None = None) -> Trained:
    """Find a trained student.

    Args:
        source: name of a run, or a folder that holds an adapter.
        stage: of the run, -1 for its base student; the last one unless given.
        root: the folder that holds ``manifests/``.

    Raises:
        InputError: there is neither, or the run has no such stage.
        ModelError: the adapter's record is damaged.
    """
    home = find_root(root)
    known = run_names(home)
    if source in known:
        return _of_run(source, stage, home)
    folder = Path(source)
    if not (folder / "adapter_config.json").is_file():
        guess = nearest(source, known)
        hint = f"did you mean {guess!r}?" if guess else f"runs: {', '.join(known) or 'none yet'}"
        raise InputError(f"{source!r} is neither a run that has a record nor a folder of an adapter: {hint} (root {home!r})")
    if stage is not None:
        raise InputError(f"--stage {stage}: {source!r} is the folder of one adapter, which has no stages: leave it out")
    record = adapters.record(folder)
    return Trained(folder.resolve().name, home, folder, folder, record, student=_named(record))


def _of_run(run: str, stage: int | None, home: str) -> Trained:
    lines = {int(line["index"]): line for line in read_run(home, run)}
    wanted = max(lines) if stage is None else stage
    if wanted not in lines:
        there = ", ".join(str(index) for index in sorted(lines))
        raise InputError(f"--stage {wanted}: run {run!r} has the stages {there} (-1 is the base student)")
    line = lines[wanted]
    folder = stage_folder(home, run, wanted)
    adapter = Path(home) / line["adapter"] if line.get("adapter") else None
    if adapter is not None and not adapter.is_dir():
        raise ModelError(f"the adapter of stage {wanted} of run {run!r} is gone ({line['adapter']}): run its plan again")
    record = adapters.record(adapter) if adapter is not None else {}
    return Trained(
        f"{run}, stage {wanted}" if wanted >= 0 else f"{run}, base student",
        home,
        folder,
        adapter,
        record,
        dict(line.get("metrics") or {}),
        _planned(folder) or _named(record),
        run,
        wanted,
    )


def _planned(folder: Path) -> str:
    """Return the student that the plan of a run named; "" where it named none."""
    path = folder / TRAINING
    if not path.is_file():
        return ""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["inputs"]["parameters"].get("student", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def _named(record: Mapping[str, Any]) -> str:
    return str((record.get("student") or {}).get("name") or "")
