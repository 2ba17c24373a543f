"""`curate ingest`: reads sources, gives every row a stable id, and merges them into the rows that a manifest has already.

`curate.sources.discover` reads the files and `curate.sources.columns` makes examples of them. Content is written first and the
manifest is committed second, so that an ingest that stops leaves the manifest as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError
from curate.manifest import ids as identity
from curate.manifest import manifest as manifests
from curate.manifest.manifest import Manifest
from curate.manifest.rows import held_out, is_held_out, is_retired, origin_file, retired
from curate.manifest.schema import AUTO, CONTENT_SCHEMA, SCHEMA, conform
from curate.settings import takes
from curate.sources.columns import Columns, to_examples
from curate.sources.discover import read_source
from curate.sources.settings import IngestSettings

__all__ = ["IngestResult", "ingest"]

_LISTED = 20  # rows that the commit lists by name where some were skipped


@dataclass(frozen=True)
class IngestResult:
    """What `ingest` did.

    Attributes:
        manifest: the next version, or the same one where nothing was to do.
        added: rows that are new, or came back after they were retired.
        already: rows that were there, or that two sources share.
        gone: rows that the same files had before and no longer have.
        retired: how many of those were retired by this command (``prune``).
        skipped: ``file:row: why`` of every record left out (``on_error = "skip"``).
        domains: rows read per domain, most first.
    """

    manifest: Manifest
    added: int
    already: int
    gone: int
    retired: int
    skipped: tuple[str, ...]
    domains: dict[str, int]


@dataclass(frozen=True)
class _Sources:
    """All sources: of each its examples with content keys, and its record in the commit; and the lines about skipped rows."""

    frames: list[pl.DataFrame]
    records: list[dict[str, Any]]
    skipped: tuple[str, ...]


@takes(IngestSettings)
def ingest(sources: Sequence[str | Path], settings: IngestSettings) -> IngestResult:
    """Bring files, folders or data sets into a manifest; what is there already stays as it is.

    Args:
        sources: files (JSONL, CSV, TSV, Parquet, also .gz and .zst), folders, globs, or ``hf://org/name[:config]``.

    Raises:
        InputError: a source, column, row or option breaks a rule; the manifest is as it was.
        ConflictError: another command committed meanwhile; the manifest is as that one left it.
    """
    _check(sources, settings)
    base = manifests.new(settings.to, root=settings.root)
    columns = Columns(**{field.name: getattr(settings, field.name) for field in fields(Columns)})
    gathered = _read_sources([str(item) for item in sources], columns, settings)
    with _appending(base, gathered.frames):
        known = base.rows()
        rows = _with_ids(gathered.frames, settings.source)
        fresh = rows.filter(~pl.col("id").is_in(known["id"].implode()))
        fresh = _hold_out(fresh, known, share=settings.holdout, seed=settings.seed) if settings.source == "real" else fresh
        merged = _merge(known, rows, prune=settings.prune)
    result = _result(base, gathered, rows, merged, added=fresh.height + merged.returned)
    if not result.added and not merged.retired and not _new_licence(base, gathered.records):
        progress.note("ingest", f"{base}: nothing new, {result.already} rows are already there")
        return result
    parameters = {"sources": [record["address"] for record in gathered.records], "source": settings.source, **asdict(columns)}
    parameters |= {name: getattr(settings, name) for name in ("holdout", "licence", "on_error", "prune")}
    version = base.commit(
        pl.concat([merged.rows, fresh]),
        verb="ingest",
        parameters=parameters,
        seed=settings.seed,
        summary=_summary(result, gathered.records),
    )
    return replace(result, manifest=version)


def _check(sources: Sequence[str | Path], settings: IngestSettings) -> None:
    if isinstance(sources, str | Path) or not sources:
        raise InputError(f"sources: give a list of one or more files, folders or data sets, got {sources!r}")
    if "@" in settings.to:
        raise InputError(f"--to {settings.to!r}: rows are added to the newest version; leave out what follows the '@'")
    if not 0 <= settings.holdout < 1:
        raise InputError(f"--holdout {settings.holdout}: a share of the prompts, at least 0 and below 1, such as 0.05")
    if settings.domain and settings.domain_from:
        both = f"--domain {settings.domain!r} and --domain-from {settings.domain_from!r}"
        raise InputError(f"{both}: a row has one domain, choose one of the two")


def _read_sources(sources: Sequence[str], columns: Columns, settings: IngestSettings) -> _Sources:
    """Read every source and make examples of its tables."""
    frames: list[pl.DataFrame] = []
    skipped: list[str] = []
    records: list[dict[str, Any]] = []
    for item in sources:
        source = read_source(item, on_error=settings.on_error)
        splits = [None if columns.domain_from else split for split in source.splits]
        examples = [
            to_examples(table, columns, split=split, on_error=settings.on_error)
            for table, split in zip(source.tables, splits, strict=True)
        ]
        rows = pl.concat([part.frame for part in examples])
        _check_training(rows, settings.source)
        frames.append(rows.with_columns(identity.content_keys(rows)))
        left_out = [line for table, part in zip(source.tables, examples, strict=True) for line in (*table.skipped, *part.skipped)]
        skipped += left_out
        record = {"address": source.address, "hash": source.fingerprint, "rows": rows.height, "skipped": len(left_out)}
        records.append(record | {"source": settings.source, "licence": settings.licence})
    if not any(frame.height for frame in frames):
        raise InputError(f"no example is left of {', '.join(r['address'] for r in records)}; the first skipped: {skipped[0]}")
    return _Sources(frames, records, tuple(skipped))


def _check_training(rows: pl.DataFrame, source: str) -> None:
    held = rows.filter(pl.col("split") != "train") if source == "synthetic" else rows.clear()
    if not held.is_empty():
        raise InputError(
            f"{held['origin'][0]}: synthetic rows are for training, and this one is of split {held['split'][0]!r}; "
            f"use --split train, or leave out such rows"
        )


@contextmanager
def _appending(base: Manifest, frames: Sequence[pl.DataFrame]) -> Iterator[None]:
    """Write the content that is not there yet while the enclosed work goes on; it is written when that is done."""
    contents = pl.concat([frame.select(CONTENT_SCHEMA.names()) for frame in frames])
    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(base.append, contents)
        yield
        written.result()


def _with_ids(frames: Sequence[pl.DataFrame], source: str) -> pl.DataFrame:
    """Return the columns of new rows: id, prompt key, length, source, and that they are candidates.

    Occurrences of equal rows are counted within each source; a row that two sources share is one row.
    """
    ids = pl.concat([identity.row_ids(frame) for frame in frames])
    rows = pl.concat(frames).with_columns(ids)
    rows = rows.unique("id", keep="first", maintain_order=True) if len(frames) > 1 else rows
    if rows["domain"].eq(AUTO).any():
        progress.note("ingest", "domain 'auto': curate cluster will make domains of these rows")
    length = pl.sum_horizontal(pl.col("prompt", "rationale", "answer").str.len_chars().fill_null(0))
    known = rows.with_columns(
        identity.prompt_keys(rows["prompt"]),
        length.cast(pl.Int32).alias("n_chars"),
        pl.lit(source).alias("source"),
        pl.lit("candidate").alias("status"),
    )
    return conform(known, SCHEMA, drop=True)


def _hold_out(fresh: pl.DataFrame, known: pl.DataFrame, *, share: float, seed: int) -> pl.DataFrame:
    """Make validation rows of new train rows: those of prompts held out before, and a share of the prompts never seen."""
    train = pl.col("split") == "train"
    before = known.filter(is_held_out())["prompt_key"]
    unseen = fresh.filter(train & ~pl.col("prompt_key").is_in(known["prompt_key"].implode())) if share > 0 else fresh.clear()
    chosen = _draw_prompts(unseen.unique("prompt_key", keep="first", maintain_order=True), share, seed)
    reasons = (
        pl.when(pl.col("prompt_key").is_in(chosen.implode()))
        .then(pl.lit(held_out(f"share {share:g}, seed {seed}")))
        .when(pl.col("prompt_key").is_in(before.implode()))
        .then(pl.lit(held_out("as its prompt was before")))
    )
    held = fresh.with_columns(pl.when(train).then(reasons).alias("reason"))
    return held.with_columns(pl.when(pl.col("reason").is_null()).then("split").otherwise(pl.lit("validation")).alias("split"))


def _draw_prompts(prompts: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """Choose round(share · n) of n prompts by the hash of each, spread evenly over the domains.

    Systematic sampling over strata: the r-th of a domain's m prompts, in the order of their hashes, stands at (r + ½) / m,
    and the lowest positions of all are taken; so a domain with fewer than 1 / (2 · share) prompts keeps them all.
    """
    drawn = prompts.select("domain", "prompt_key", identity.draws(prompts["prompt_key"], seed))
    position = (pl.col("draw").rank("ordinal").over("domain") - 0.5) / pl.len().over("domain")
    return drawn.with_columns(position=position).sort("position", "draw")["prompt_key"].head(round(share * prompts.height))


@dataclass(frozen=True)
class _Merged:
    """The rows that the manifest had, brought up to date; and how many came back, are gone from their files, are retired."""

    rows: pl.DataFrame
    returned: int
    gone: int
    retired: int


def _merge(known: pl.DataFrame, read_rows: pl.DataFrame, *, prune: bool) -> _Merged:
    """Bring back retired rows that were read again; find, and with `prune` retire, those that their files no longer have."""
    if known.is_empty():
        return _Merged(known, 0, 0, 0)
    back = is_retired() & pl.col("id").is_in(read_rows["id"].implode())
    gone = _gone(known.filter(~is_retired()), read_rows)
    leaves = pl.col("id").is_in(gone.implode()) if prune else pl.lit(False)
    rows = known.with_columns(
        pl.when(back).then(pl.lit("candidate")).when(leaves).then(pl.lit("rejected")).otherwise("status").alias("status"),
        pl.when(back).then(None).when(leaves).then(retired()).otherwise("reason").alias("reason"),
    )
    return _Merged(rows, known.select(back.sum()).item(), gone.len(), gone.len() if prune else 0)


def _gone(known: pl.DataFrame, read_rows: pl.DataFrame) -> pl.Series:
    """Return ids of rows that came from a file of the same name and are no longer in it.

    A file of the same name that shares less than half of its prompts with the earlier one is another file: of that nothing
    is gone.
    """
    now = read_rows.select("id", "prompt_key", origin_file().alias("file"))
    before = known.select("id", "prompt_key", origin_file().alias("file")).join(
        now.select("file").unique(), on="file", how="semi"
    )
    ids = []
    for (file,), rows in before.group_by("file", maintain_order=True):
        prompts, others = rows["prompt_key"].unique(), now.filter(pl.col("file") == file)["prompt_key"].unique()
        if 2 * prompts.is_in(others.implode()).sum() >= min(len(prompts), len(others)):
            ids.append(rows.join(read_rows.select("id"), on="id", how="anti")["id"])
        else:
            progress.note("ingest", f"{file}: taken as a new file, since it shares few rows with the file of that name before")
    return pl.concat(ids) if ids else pl.Series("id", [], dtype=pl.String)


def _result(base: Manifest, gathered: _Sources, rows: pl.DataFrame, merged: _Merged, *, added: int) -> IngestResult:
    n_read = sum(record["rows"] for record in gathered.records)
    counted = rows["domain"].value_counts(name="n").sort(["n", "domain"], descending=[True, False])
    return IngestResult(base, added, n_read - added, merged.gone, merged.retired, gathered.skipped, dict(counted.iter_rows()))


def _new_licence(base: Manifest, records: Collection[dict[str, Any]]) -> bool:
    """Return whether a licence was named that the log does not have for its source."""
    stated = {source["address"]: source.get("licence") for commit in base.log() for source in commit.summary.get("sources", [])}
    return any(record["licence"] and stated.get(record["address"]) != record["licence"] for record in records)


def _summary(result: IngestResult, records: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {"added": result.added, "already": result.already, "gone": result.gone, "retired": result.retired}
    return {**counts, "skipped": len(result.skipped), "skipped_rows": result.skipped[:_LISTED], "sources": records}
