"""Keeps what each domain has left to try in the rounds of one verb: rows, rows to retry, and the number of the next new example.

`open_pools` fills the pools of a stage from a manifest's rows; `curate.balance.rounds` takes from them. Decides nothing and reads
no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from curate.manifest.rows import n_attempts, next_indices
from curate.selection.base import POOL, Quotas
from curate.selection.pools import filling_order, label_view

__all__ = ["Pool", "open_pools"]


@dataclass
class Pool:
    """The state of one domain while its slots are filled.

    Attributes:
        name: of the domain.
        target: slots, that is rows to accept.
        untried: real candidates that no round has chosen yet, columns of `curate.selection.base.POOL`, sorted by id.
        taken: what earlier stages and rounds chose, columns of `curate.selection.base.POOL`.
        waiting: ids of synthetic candidates, in the order in which they came.
        retry: ids of real candidates whose rationale was rejected; asked for again when the domain runs short.
        next_index: number of the next request for a new example.
        judged: replies of the teacher that were judged so far.
        accepted: rows accepted so far.
        synthetic: those of them that are synthetic.
        rejected: how often each auditor rejected a reply or a row.
        exhausted: no further new example is asked for.
        closed: it could not fill its slots and gets no further ones.
    """

    name: str
    target: int
    untried: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=POOL))
    taken: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=POOL))
    waiting: list[str] = field(default_factory=list)
    retry: list[str] = field(default_factory=list)
    next_index: int = 0
    judged: int = 0
    accepted: int = 0
    synthetic: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    exhausted: bool = False
    closed: bool = False

    @property
    def open_slots(self) -> int:
        """Slots that are not filled."""
        return max(0, self.target - self.accepted)

    @property
    def n_left(self) -> int:
        """Rows that the domain could still give without a new example."""
        return self.untried.height + len(self.waiting) + len(self.retry)

    def take(self, ids: list[str]) -> list[str]:
        """Move untried rows to those that are taken, and return their ids."""
        chosen = set(ids)
        places: tuple[list[int], list[int]] = (
            [],
            [],
        )  # that stay, and that are taken; filters would take longer with many domains
        for place, row_id in enumerate(self.untried["id"]):
            places[row_id in chosen].append(place)
        taken = self.untried[places[True]]
        self.taken, self.untried = pl.concat([self.taken, taken]) if self.taken.height else taken, self.untried[places[False]]
        return ids

    def take_out(self, ids: Collection[str]) -> None:
        """Take rows out that another of their labels has chosen."""
        chosen = pl.col("id").is_in(list(ids))
        self.taken = pl.concat([self.taken, self.untried.filter(chosen)])
        self.untried = self.untried.filter(~chosen)
        self.waiting = [row_id for row_id in self.waiting if row_id not in ids]
        self.retry = [row_id for row_id in self.retry if row_id not in ids]


def open_pools(rows: pl.DataFrame, quotas: Quotas) -> tuple[dict[str, Pool], Counter[str]]:
    """Return the pool of each domain, and how many replies were judged for each real candidate so far.

    Pools are sorted by name; where rows have several labels they stand from the rarest label to the commonest, and such a row is
    in the pool of each of its labels.

    Args:
        rows: that the stage starts from, columns of `curate.manifest.schema.SCHEMA`.
        quotas: slots per domain.
    """
    train = label_view(rows.filter(split="train").sort("id"))
    candidates = train.filter(status="candidate")
    tried = candidates.filter(n_attempts() > 0, source="real")
    attempts: Counter[str] = Counter(dict(tried.select("id", n_attempts()).iter_rows()))
    untried = candidates.filter(n_attempts() == 0, source="real")
    waiting = candidates.filter(source="synthetic").sort("origin", "id")
    left, taken = _by_domain(untried), _by_domain(train.filter(status="selected"))
    retry, written, indices = _ids_by_domain(tried), _ids_by_domain(waiting), next_indices(train)
    none = pl.DataFrame(schema=POOL)
    pools = {
        name: Pool(
            name=name,
            target=quotas.planned[name],
            untried=left.get((name,), none),
            taken=taken.get((name,), none),
            waiting=written.get(name, []),
            retry=retry.get(name, []),
            next_index=indices.get(name, 0),
        )
        for name in filling_order(rows, sorted(quotas.planned))
    }
    return pools, attempts


def _by_domain(rows: pl.DataFrame) -> dict[tuple[Any, ...], pl.DataFrame]:
    """Divide rows by domain, with what a selector may use of them; of 20,000 domains each step on a frame of one counts."""
    return rows.select("domain", *POOL.names()).partition_by("domain", as_dict=True, include_key=False)


def _ids_by_domain(rows: pl.DataFrame) -> dict[str, list[str]]:
    return dict(rows.group_by("domain", maintain_order=True).agg("id").select("domain", "id").iter_rows())
