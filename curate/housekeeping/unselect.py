"""`curate unselect`: takes selected rows back to candidates, so that `balance` chooses again. Asks no teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.housekeeping.settings import UnselectSettings
from curate.manifest.find import find_id
from curate.manifest.history import done_stages
from curate.manifest.manifest import Manifest, load
from curate.manifest.rows import count_labels, has_label, is_repeat, per_label, without_stages
from curate.settings import takes

__all__ = ["UnselectResult", "unselect"]

_WAYS = ("stage", "domains", "ids", "all")
_WRITTEN = ("content", "n_chars", "n_tokens")  # that change when a rationale is written


@dataclass(frozen=True)
class UnselectResult:
    """What `unselect` took back.

    Attributes:
        manifest: the next version; the same one where nothing was selected.
        rows: rows that are candidates again.
        synthetic: those of them that a teacher wrote.
        repeats: rows that repeated others of these domains (``--fill repeat``) and are gone.
        domains: rows taken back per domain, by name.
        undone: stages that `balance` has to fill again.
    """

    manifest: Manifest
    rows: int
    synthetic: int
    repeats: int
    domains: dict[str, int]
    undone: tuple[int, ...]


@takes(UnselectSettings)
def unselect(manifest: Manifest, settings: UnselectSettings) -> UnselectResult:
    """Make selected train rows candidates again: those of a stage, of domains, by their ids, or all.

    A real row is as it was before it was selected: without stage, reason and call, and with the rationale that it had then. A
    synthetic row stays, as a candidate that is taken before new ones are written. Rows that repeat others of the same domains go:
    they fill what a domain lacks, and `balance` finds out anew what that is.

    The stages that lose rows and those after them count as not done, and what they found in candidates of the same domains goes.
    So `balance` fills the slots that are open, and takes the replies that were bought before from the ledger, wrong ones too.

    Args:
        manifest: the newest version.

    Raises:
        InputError: none or several ways to name the rows are given, the version is not the newest, or a row is not selected.
        UnknownNameError: there is no such domain.
        ConflictError: another command committed meanwhile; nothing was written.
    """
    given = [name for name in _WAYS if (value := getattr(settings, name)) is not None and value is not False]
    if len(given) != 1:
        raise InputError(f"unselect takes one of --stage, --domain, --id and --all, got {len(given)} of them")
    newest = load(manifest.name, root=manifest.root)
    if newest.version != manifest.version:
        raise InputError(f"unselect works on the newest version, {newest}, got {manifest}: leave out the version")
    rows = manifest.rows()
    chosen = _chosen(manifest, rows, settings)
    if chosen.is_empty():
        progress.note("unselect", f"{manifest}: no selected row is among them, nothing was committed")
        return UnselectResult(manifest, 0, 0, 0, {}, ())
    repeats = rows.filter(is_repeat(), has_label(count_labels(chosen)), status="selected")
    back = chosen.join(repeats, on="id", how="anti")
    first: Any = pl.concat([back, repeats])["stage"].min()
    undone = [stage for stage in sorted(done_stages(manifest)) if first is not None and stage >= first]
    result = {"rows": back.height, "synthetic": back.filter(source="synthetic").height, "repeats": repeats.height}
    domains = count_labels(back)
    parameters = {name: getattr(settings, name) for name in _WAYS}
    taken_back = _taken_back(rows, back, repeats, _before(manifest, back))
    after = manifest.commit(
        taken_back if first is None else _without_findings(taken_back, back, settings, first),
        verb="unselect",
        parameters=parameters,
        summary={**result, "domains": domains, "undone": undone},
    )
    return UnselectResult(after, **result, domains=domains, undone=tuple(undone))


def _chosen(manifest: Manifest, rows: pl.DataFrame, settings: UnselectSettings) -> pl.DataFrame:
    """Return the selected rows that are meant."""
    selected = rows.filter(split="train", status="selected")
    if settings.stage is not None:
        stages = selected["stage"].drop_nulls().unique().sort().to_list()
        if settings.stage not in stages:
            there = f"rows are selected by stages {stages}" if stages else "no row is selected by a stage"
            raise InputError(f"--stage {settings.stage}: {there}")
        return selected.filter(stage=settings.stage)
    if settings.domains is not None:
        known = set(per_label(rows)["domain"].drop_nulls())
        for domain in settings.domains:
            if domain not in known:
                raise UnknownNameError("domain", domain, known)
        return selected.filter(has_label(settings.domains))
    if settings.ids is not None:
        example = f"curate unselect {manifest.name} --id 7c1e"
        found = [find_id(manifest, row, example=example) for row in settings.ids]
        for row_id in found:
            if row_id not in selected["id"]:
                status = rows.filter(id=row_id)["status"].item()
                raise InputError(f"row {row_id} of {manifest} is not selected but {status}: leave it out")
        return selected.filter(pl.col("id").is_in(found))
    return selected


def _before(manifest: Manifest, back: pl.DataFrame) -> pl.DataFrame:
    """Return what each row was written as before it was selected, from the versions that this one stands on.

    Columns id and those of `_WRITTEN`; a row that was selected when it came is left out.
    """
    missing, found = back.select("id"), []
    for commit in reversed(manifest.lineage()):
        version = Manifest(manifest.name, commit.version, manifest.root)
        earlier = version.scan().filter(pl.col("status") != "selected").select("id", *_WRITTEN)
        there = earlier.join(missing.lazy(), on="id", how="semi").collect()
        found.append(there)
        missing = missing.join(there, on="id", how="anti")
        if missing.is_empty():
            break
    return pl.concat(found)


def _taken_back(rows: pl.DataFrame, back: pl.DataFrame, repeats: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Return every row of the next version."""
    is_back = pl.col("id").is_in(back["id"].implode())
    is_real = pl.col("source") == "real"  # the call of a synthetic row is the one that wrote it
    cleared = rows.with_columns(
        status=pl.when(is_back).then(pl.lit("candidate")).otherwise("status"),
        stage=pl.when(~is_back).then("stage"),
        reason=pl.when(~is_back).then("reason"),
        call_id=pl.when(~(is_back & is_real)).then("call_id"),
    )
    written = before.rename({name: f"{name} before" for name in _WRITTEN}).with_columns(known=True)
    joined = cleared.join(written, on="id", how="left", maintain_order="left")
    restored = joined.with_columns(pl.when("known").then(f"{name} before").otherwise(name).alias(name) for name in _WRITTEN)
    return restored.join(repeats, on="id", how="anti", maintain_order="left").select(rows.columns)


def _without_findings(rows: pl.DataFrame, back: pl.DataFrame, settings: UnselectSettings, first: int) -> pl.DataFrame:
    """Return the rows without what stages from `first` on found in candidates: in all, of the domains, or in those taken back."""
    meant = pl.lit(True)
    if settings.domains is not None:
        meant = has_label(settings.domains)
    elif settings.ids is not None:
        meant = pl.col("id").is_in(back["id"].implode())
    judged = rows.filter(meant, pl.col("findings").is_not_null(), split="train", status="candidate").select("id", "findings")
    left = judged.with_columns(
        pl.Series("findings left", [without_stages(text, first) for text in judged["findings"]], dtype=pl.String), judged=True
    ).drop("findings")
    joined = rows.join(left, on="id", how="left", maintain_order="left")
    return joined.with_columns(findings=pl.when("judged").then("findings left").otherwise("findings")).select(rows.columns)
