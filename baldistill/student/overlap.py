"""Finds held-out rows among those that a student learns from: the same questions, and near copies of them.

The rule is that of the auditor ``leakage``. Near copies are looked for where the manifest has clusters, and so vectors; without
them only equal questions are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import compared
from curate.errors import InputError, ModelError
from curate.manifest import ids
from curate.manifest.manifest import Manifest

__all__ = ["Overlap", "find", "refuse"]


@dataclass(frozen=True)
class Overlap:
    """Rows that a student learns from and that are held out as well.

    Attributes:
        same: id of a row → id of the held-out row with the same question.
        near: the same of near copies.
    """

    same: Mapping[str, str]
    near: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.same) + len(self.near)

    def __str__(self) -> str:
        """Say how many there are, and name one."""
        row, other = next(iter([*self.same.items(), *self.near.items()]), ("", ""))
        return f"{len(self.same):,} the same question, {len(self.near):,} a near copy, such as {row[:8]} of {other[:8]}"


def find(manifest: Manifest, learned: pl.DataFrame, heldout: pl.DataFrame) -> Overlap:
    """Return which of some rows are held-out rows, or near copies of such.

    Args:
        manifest: that has the vectors.
        learned: that a student learns from; columns of `Manifest.examples`.
        heldout: validation or test rows, with columns of the manifest's rows.
    """
    if learned.is_empty() or heldout.is_empty():
        return Overlap({}, {})
    ours, theirs = (_keys(frame) for frame in (learned, manifest.examples(heldout.select("id", "content"))))
    pairs = ours.join(theirs, on="key", suffix="_other").unique("id", keep="first", maintain_order=True)
    same = {str(row): str(other) for row, other in pairs.select("id", "id_other").iter_rows()}
    left = learned.filter(~pl.col("id").is_in(list(same)))
    if left.is_empty() or not any(commit.verb == "cluster" for commit in manifest.lineage()):
        return Overlap(same, {})
    batch = left.with_columns(finish_reason=pl.lit(None, dtype=pl.String))
    try:
        found = audit.judge(batch, audit.build_context(manifest, heldout), auditors=["leakage"])
    except (ModelError, InputError) as e:
        progress.note("overlap", f"near copies of held-out rows were not looked for: {e}")
        return Overlap(same, {})
    rejected = found.findings.filter(decision="reject")
    return Overlap(same, {str(row): str(other) for row, other in rejected.select("id", "because_of").iter_rows()})


def refuse(manifest: Manifest, rows: pl.DataFrame, *, allow: bool) -> None:
    """Refuse to train on rows of which some are held out, or near copies of held-out rows, whatever held-out rows there are.

    Args:
        manifest: that the rows are of.
        rows: to train on, with their content.
        allow: say how many there are, and refuse nothing.

    Raises:
        InputError: there are some.
    """
    found = find(manifest, rows, manifest.rows().filter(pl.col("split") != "train", pl.col("status") != "rejected"))
    if not len(found):
        return
    what = f"{len(found):,} of {rows.height:,} rows to train on are held-out rows too: {found}"
    if not allow:
        name = manifest.name
        raise InputError(f"{what}; take them out with: curate audit {name} --auditor leakage --apply, or give --allow-overlap")
    progress.note("overlap", f"{what}; they are trained on, as --allow-overlap says")


def _keys(rows: pl.DataFrame) -> pl.DataFrame:
    """Return ids and the keys of questions, of chats those of the whole conversation; empty questions are left out."""
    read = compared(rows).select("id", "conversation", key=ids.prompt_keys(compared(rows)["conversation"]))
    return read.filter(pl.col("conversation").str.strip_chars() != "").select("id", "key")
