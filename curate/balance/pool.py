"""Owns what each domain has left in a stage: rows to choose from, rows to try again, and where its new examples go on.

Opened from the rows that the stage starts from; `curate.balance.rounds` takes from it. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import polars as pl

from curate.manifest.rows import n_attempts, next_indices
from curate.selection.base import POOL, Quotas

__all__ = ["Pool", "open_pools"]


@dataclass
class Pool:
    """The state of one domain within a stage."""

    name: str
    target: int
    fresh: pl.DataFrame  # real candidates not tried yet, columns of `selection.POOL`, sorted by id
    taken: pl.DataFrame  # what earlier stages and rounds chose, columns of `selection.POOL`
    written: list[str]  # ids of synthetic candidates, in the order in which they came
    failed: list[str]  # ids of real candidates with failed attempts; tried again when the domain runs short
    next_index: int  # of the next synthesis request
    judged: int = 0  # replies of the teacher that were judged in this stage
    accepted: int = 0
    synthetic: int = 0
    dry: bool = False  # the teacher has no further new example
    closed: bool = False  # it could not fill its places and gets no further ones
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def short(self) -> int:
        """Places that are still open."""
        return max(0, self.target - self.accepted)


def open_pools(rows: pl.DataFrame, quotas: Quotas) -> tuple[dict[str, Pool], Counter[str]]:
    """Return the pool of each domain, by name in order, and how many answers were judged for each real row so far.

    Args:
        rows: that the stage starts from, columns of `curate.manifest.schema.SCHEMA`.
        quotas: places per domain.
    """
    train = rows.filter(split="train").sort("id")
    candidates = train.filter(status="candidate")
    tried = candidates.filter(n_attempts() > 0, source="real")
    attempts: Counter[str] = Counter(dict(tried.select("id", n_attempts()).iter_rows()))
    fresh = candidates.filter(source="real").join(tried, on="id", how="anti", maintain_order="left")
    written = train.filter(source="synthetic").sort("origin", "id")
    parts = {
        "fresh": fresh.partition_by("domain", as_dict=True),
        "taken": train.filter(status="selected").partition_by("domain", as_dict=True),
        "failed": tried.partition_by("domain", as_dict=True),
        "written": written.partition_by("domain", as_dict=True),
    }
    indices = next_indices(train)
    empty = train.clear()
    out = {}
    for name in sorted(quotas.planned):
        mine = {kind: frames.get((name,), empty) for kind, frames in parts.items()}
        out[name] = Pool(
            name=name,
            target=quotas.planned[name],
            fresh=mine["fresh"].select(POOL.names()),
            taken=mine["taken"].select(POOL.names()),
            written=mine["written"].filter(status="candidate")["id"].to_list(),
            failed=mine["failed"]["id"].to_list(),
            next_index=indices.get(name, 0),
        )
    return out, attempts
