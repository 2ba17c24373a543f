"""Weights of rows, by which every domain counts as much as its balance wanted, whatever it got. Writes nothing.

The weight of a domain d with n_d of the n train rows, of which the policies of the stages wanted w_d slots, is

    (w_d / Σ w) / (n_d / n)        over the domains that have rows,

so that the weights of all rows have the mean 1. A row of several labels counts as an equal part of a row in each of them, and has
the mean of their weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import polars as pl

from curate import progress
from curate.errors import InputError
from curate.export.base import WEIGHT
from curate.manifest.history import done_stages
from curate.manifest.manifest import Manifest

__all__ = ["row_weights", "wanted_slots", "weights"]

_NAMED = 3  # domains in a note


def wanted_slots(manifest: Manifest, *, without: Collection[int] = ()) -> dict[str, int]:
    """Return domain → slots that the policies of the stages gave it, before anything was known of what it can fill.

    Args:
        manifest: the version.
        without: stages that do not count.

    Raises:
        InputError: no stage of a balance is part of the version.
    """
    wanted: Counter[str] = Counter()
    for stage, commit in done_stages(manifest).items():
        wanted.update({} if stage in without else commit.summary["quotas"]["wanted"])
    if not wanted.total():
        raise InputError(
            f"--weights: {manifest} stands on no balance, so nothing says which share of the rows a domain should have: run "
            f"curate balance {manifest.name} --budget N first, or leave out --weights"
        )
    return dict(wanted)


def weights(wanted: dict[str, int], counts: dict[str, float]) -> dict[str, float]:
    """Return domain → weight of its rows; the mean over all rows is 1.

    Args:
        wanted: domain → slots.
        counts: domain → rows that it has, more than 0; of a row of k labels 1/k in each.

    Example:
        >>> weights({"algebra": 50, "logic": 50}, {"algebra": 90, "logic": 10})
        {'algebra': 0.5555555555555556, 'logic': 5.0}
    """
    rows, slots = sum(counts.values()), sum(wanted.get(domain, 0) for domain in counts)
    return {domain: wanted.get(domain, 0) * rows / (slots * n) for domain, n in counts.items()} if slots else {}


def row_weights(manifest: Manifest, rows: pl.DataFrame, *, without: Collection[int] = ()) -> pl.Series:
    """Return the weight of each train row of a snapshot, (n,) Float64 with the mean 1; say what it cannot make good.

    Args:
        manifest: whose balance says what was wanted.
        rows: columns ``domain`` and, where rows have several labels, ``domains``.
        without: stages whose rows are not among them.

    Raises:
        InputError: no stage of a balance is part of the version, or it wanted rows of other domains alone.
    """
    wanted = wanted_slots(manifest, without=without)
    labels = rows["domains"] if "domains" in rows.columns else rows.select(pl.concat_list("domain")).to_series()
    each = pl.DataFrame({"row": pl.int_range(rows.height, eager=True), "label": labels, "part": 1 / labels.list.len()})
    each = each.explode("label")
    counts = dict(each.group_by("label").agg(pl.col("part").sum()).sort("label").iter_rows())
    found = weights(wanted, counts)
    if not found:
        raise InputError(f"--weights: the balance of {manifest} wanted no row of the domains that it has; leave out --weights")
    _tell(wanted, counts)
    of_label = pl.DataFrame({"label": list(found), "of": list(found.values())}, schema={"label": pl.String, "of": pl.Float64})
    each = each.join(of_label, on="label", how="left", nulls_equal=True, maintain_order="left")
    return each.group_by("row", maintain_order=True).agg(pl.col("of").mean())["of"].rename(WEIGHT)


def _tell(wanted: dict[str, int], counts: dict[str, float]) -> None:
    empty = [domain for domain, n in wanted.items() if n and domain not in counts]
    if empty:
        progress.note("export", f"--weights: no weight makes up for domains that were wanted and have no row: {_named(empty)}")
    unwanted = [domain for domain in counts if not wanted.get(domain)]
    if unwanted:
        progress.note("export", f"--weights: the balance wanted no row of {_named(unwanted)}: their rows have the weight 0")


def _named(domains: list[str]) -> str:
    more = f" and {len(domains) - _NAMED} more" if len(domains) > _NAMED else ""
    return ", ".join(map(repr, sorted(map(str, domains))[:_NAMED])) + more
