"""`curate explain`: what happened to one row, verb by verb, over the commits that a version stands on. Changes nothing.

The sentences are made in `curate.report.story`.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from curate.manifest.find import find_id
from curate.manifest.manifest import Manifest
from curate.report import story

__all__ = ["Explanation", "Step", "explain"]

_VERB, _TEXT = 12, 88  # columns of a printed story


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
        manifest: the version whose history was read.
        id: of the row.
        steps: what changed it, and what uses it.
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


def explain(manifest: Manifest, row: str) -> Explanation:
    """Return every decision about one row, in order, from its source to the exports and students that use it.

    Args:
        manifest: the version whose history is read.
        row: the row's id, or the beginning of it.

    Raises:
        InputError: no row, or more than one, has an id that begins like that.
    """
    row_id = find_id(manifest, row, example=f"curate explain {manifest.name} 7c1e")
    commits = manifest.lineage()
    history = []
    start, before = Manifest(manifest.name, -1, manifest.root), None
    for commit in commits:
        end = Manifest(manifest.name, commit.version, manifest.root)
        after = _row(end, row_id)
        history.append(story.RowChange(commit, start, end, before, after))
        start, before = end, after
    described = [(change.commit, story.describe(change)) for change in history]
    steps = [Step(commit.verb, tuple(lines), commit.version) for commit, lines in described if lines]
    steps += [Step(verb, tuple(lines), None) for verb, lines in story.describe_use(history)]
    return Explanation(manifest, row_id, tuple(steps))


def _row(manifest: Manifest, row_id: str) -> dict[str, Any] | None:
    found = manifest.scan().filter(pl.col("id") == row_id).collect()
    return found.row(0, named=True) if found.height else None
