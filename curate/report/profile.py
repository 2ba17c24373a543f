"""`curate profile`: what the tail of one version looks like, in figures. Changes no decision.

The passes over the rows are in `curate.report.tail`. Nothing here reads a prompt; with ``tokens=True`` the rows that have no
count of tokens yet are counted first, and that is a commit (`curate.report.tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from curate import progress
from curate.answers.answers import SAYABLE
from curate.audit.kinds import given_kinds, read_kinds
from curate.errors import InputError, UnknownNameError
from curate.manifest.manifest import Manifest
from curate.manifest.rows import head_domains, per_label
from curate.report import tail
from curate.report.plot import check_ending, plot_tail
from curate.report.settings import ProfileSettings
from curate.report.tail import Lengths, Part, Profile, StageRows
from curate.report.tokens import count_tokens
from curate.settings import takes

__all__ = ["GROUPS", "Lengths", "Part", "Profile", "StageRows", "profile"]

# What the rows can be grouped by, and the columns that make up a group.
GROUPS = {"domain": ("domain",), "cluster": ("domain", "cluster")}


@takes(ProfileSettings)
def profile(manifest: Manifest, settings: ProfileSettings) -> Profile:
    """Say what the tail of a manifest looks like.

    Args:
        manifest: the version to look at.

    Raises:
        UnknownNameError: there is no such group, split or status.
        InputError: no row is left to look at, or the plot cannot be written.
    """
    if settings.plot is not None:
        check_ending(settings.plot)
    if settings.tokens:
        manifest = count_tokens(manifest, student=settings.student)
    if settings.kind:
        manifest = _say_kinds(manifest, settings.kind)
    found = _measure(manifest, settings)
    if settings.plot is not None:
        _plot(found, settings, settings.plot)
    return replace(found, kinds=read_kinds(manifest))


def _say_kinds(manifest: Manifest, told: Sequence[str]) -> Manifest:
    """Commit the kinds of answers that ``DOMAIN=KIND`` or ``KIND`` name; the same manifest where they were known."""
    rows, kinds = manifest.rows(), {}
    domains = per_label(rows)["domain"].unique().to_list()
    for entry in told:
        domain, _, kind = entry.rpartition("=")
        if kind not in SAYABLE:
            raise UnknownNameError("kind of answers", kind, SAYABLE)
        if domain and domain not in domains:
            raise UnknownNameError("domain", domain, domains)
        kinds[domain] = kind
    if kinds.items() <= given_kinds(manifest).items():
        return manifest
    return manifest.commit(rows, verb="profile", parameters={"kinds": kinds}, summary={"kinds": len(kinds)})


def _measure(manifest: Manifest, settings: ProfileSettings) -> Profile:
    by, status, split = settings.by, settings.status, settings.split
    rows = manifest.scan()
    wanted = (pl.col("status") == status) if status else (pl.col("status") != "rejected")
    kept = rows.filter(wanted)
    splits = tail.count_splits(kept)
    split = split or ("all" if splits and "train" not in splits else "train")
    in_split = pl.lit(True) if split == "all" else pl.col("split") == split
    chosen = rows.filter(wanted & in_split)
    parts = tail.count_parts(_parted(rows, by), GROUPS[by], in_split, wanted)
    counts = parts.filter(pl.col("rows") > 0)["rows"].to_list()
    if not counts:
        raise InputError(_nothing(manifest, split, status))
    n_rows, several = chosen.select(pl.len(), pl.col("labels").count()).collect(engine="streaming").row(0)
    prompts = tail.count_prompts(kept, split)
    return Profile(
        manifest=manifest,
        by=by,
        split=split,
        status=status,
        budget=settings.budget,
        rows=n_rows,
        splits=splits,
        **tail.imbalance(counts),
        duplicates=prompts.duplicates,
        empty=tail.count_empty(manifest, chosen),
        overlap=prompts.overlap,
        stages=tuple(StageRows(**row) for row in tail.count_stages(chosen).to_dicts()),
        several=several,
        **_lengths_and_parts(chosen, parts, n_rows, by, settings.budget, settings.max_tokens),
    )


def _parted(rows: pl.LazyFrame, by: str) -> pl.LazyFrame:
    """Return the rows once for each part that they are in: a row of several labels counts in each, clusters are of one domain."""
    return per_label(rows) if by == "domain" else rows


def _plot(found: Profile, settings: ProfileSettings, path: str) -> None:
    """Draw a profile; selected rows beside the tail of the version before the first `balance` that they stand on."""
    panels = [found]
    commits = found.manifest.lineage()
    first = next((i for i, commit in enumerate(commits) if commit.verb == "balance"), 0)
    if found.status == "selected" and first > 0:
        before = Manifest(found.manifest.name, commits[first - 1].version, found.manifest.root)
        panels = [_measure(before, replace(settings, status=None, split=found.split)), found]
    plot_tail(panels, path)
    progress.note("profile", f"the tail is drawn in {path!r}")


def _nothing(manifest: Manifest, split: str, status: str | None) -> str:
    kind = f"{status} row" if status else "row"
    where = "any split" if split == "all" else f"split {split!r}"
    hint = f"select some with: curate balance {manifest.name} --budget N" if status == "selected" else "try --split all"
    return f"{manifest} has no {kind} in {where}; {hint}"


def _lengths_and_parts(
    rows: pl.LazyFrame, parts: pl.DataFrame, n_rows: int, by: str, budget: int | None, max_tokens: int
) -> dict[str, Any]:
    keys, parted = GROUPS[by], _parted(rows, by)
    each = {name: tail.histogram(parted, keys, name) for name in ("n_chars", "n_tokens")}
    whole = each if parted is rows else {name: tail.histogram(rows, (), name) for name in each}
    tokens = whole["n_tokens"]
    return {
        "domains": _parts(parts, by, budget, _lengths(each["n_chars"], keys), _lengths(each["n_tokens"], keys)),
        "chars": _lengths(whole["n_chars"]).get(()),
        "tokens": _lengths(tokens).get(()),
        "uncounted": n_rows - int(tokens["n"].sum()),
        "max_tokens": max_tokens,
        "too_long": int(tokens.filter(pl.col("value") > max_tokens)["n"].sum()) if tokens.height else None,
    }


def _lengths(counts: pl.DataFrame, keys: Sequence[str] = ()) -> dict[tuple[Any, ...], Lengths]:
    """Return the quantiles of every part of a histogram by its keys; of all rows under the empty key."""
    found = tail.quantiles(counts, keys).to_dicts() if counts.height else []
    return {tuple(row[key] for key in keys): Lengths(row["p50"], row["p95"], row["max"]) for row in found}


def _parts(
    parts: pl.DataFrame,
    by: str,
    budget: int | None,
    chars: dict[tuple[Any, ...], Lengths],
    tokens: dict[tuple[Any, ...], Lengths],
) -> tuple[Part, ...]:
    """Make the bars, largest first."""
    heads = _heads(parts, budget)
    present = parts.filter(pl.col("rows") > 0).sort("rows", *GROUPS[by], descending=[True, *(False for _ in GROUPS[by])])
    total = int(present["rows"].sum())
    bars = []
    for row, upto in zip(present.to_dicts(), present["rows"].cum_sum(), strict=True):
        key = tuple(row[name] for name in GROUPS[by])
        fields: dict[str, Any] = {name: row[name] for name in ("rows", "real", "synthetic", "selected", "rejected")}
        fields |= {"domain": row["domain"] or "", "cluster": row.get("cluster"), "head": row["domain"] in heads}
        fields |= {"share": row["rows"] / total, "cumulative": upto / total}
        bars.append(Part(**fields, chars=chars.get(key), tokens=tokens.get(key)))
    return tuple(bars)


def _heads(parts: pl.DataFrame, budget: int | None) -> frozenset[str]:
    """Return the domains that are heads by their real train rows as ingested, whatever became of them since."""
    counts = parts.group_by("domain").agg(pl.col("train", "train_real").sum()).filter(pl.col("train") > 0)
    return head_domains(dict(zip(counts["domain"], counts["train_real"], strict=True)), budget)
