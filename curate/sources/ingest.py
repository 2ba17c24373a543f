"""`curate ingest`: reads sources, gives every row a stable id, and merges them into the rows that a manifest has already.

`curate.readers.discover` reads the files, `curate.sources.columns` makes examples of them, `curate.sources.known` says which
source a file is and `curate.sources.merge` which row. Content is written first and the manifest is committed second, so that an
ingest that stops leaves the manifest as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from curate import progress
from curate.answers.answers import AUTO as ANY_KIND
from curate.errors import InputError
from curate.manifest import chats
from curate.manifest import ids as identity
from curate.manifest import manifest as manifests
from curate.manifest.manifest import Manifest
from curate.manifest.rows import file_origin, held_out, is_held_out, is_repeat, origin_file, per_label
from curate.manifest.schema import AUTO, CONTENT_SCHEMA, SCHEMA, SPLITS, conform
from curate.readers.open import Source, SourceFile, TextOptions, open_source
from curate.readers.tables import Table
from curate.settings import takes
from curate.sources.columns import Columns, to_examples
from curate.sources.exported import check_ids, licence_of, original_sources, to_exported
from curate.sources.expressions import read_template
from curate.sources.known import File, KnownFile, known_files, label_of, record_of
from curate.sources.merge import Merged, match, merge
from curate.sources.remarks import similar_domains
from curate.sources.settings import IngestSettings

__all__ = ["IngestResult", "ingest"]

_NOTHING = Table("", {}, pl.Series(dtype=pl.Int64))
_LISTED = 20  # rows that the commit lists by name where some were skipped
# Options that say how a file is read.
_READING = (
    *("prompt", "prompt_template", "answer", "answer_template", "rationale", "domain", "format", "turns", "split", "source"),
    *("kind", "domain_from", "domain_rule", "known_as"),
)


@dataclass(frozen=True)
class IngestResult:
    """What `ingest` did, or would do (``dry_run``).

    Attributes:
        manifest: the next version, or the same one where nothing was to do.
        added: rows that are new, or came back after they were retired.
        already: rows that were there.
        updated: what the flags changed in rows that were there → in how many: domain, kind, split, source, text, rationale,
            extra.
        changes: ``[what, before, after, rows]`` of every change of a domain or a split, most first.
        unselected: updated rows that a stage had selected and that are candidates again.
        gone: rows that the same files had before and no longer have.
        retired: how many of those were retired by this command (``prune``).
        skipped: ``file:row: why`` of every record left out (``on_error = "skip"``).
        domains: rows read per domain, most first; a row of several counts for each.
        splits: rows read per split.
        shapes: rows read per shape of record, see ``--format``.
        readings: shape → how its records were read, in one line.
        kinds: rows read per kind of answers that ``--kind`` or the source says; what is not here is recognised later.
        dry_run: whether nothing was written.
    """

    manifest: Manifest
    added: int
    already: int
    gone: int
    retired: int
    skipped: tuple[str, ...]
    domains: dict[str, int]
    splits: dict[str, int] = field(default_factory=dict)
    updated: dict[str, int] = field(default_factory=dict)
    changes: tuple[tuple[str, str, str, int], ...] = ()
    unselected: int = 0
    shapes: dict[str, int] = field(default_factory=dict)
    readings: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False


@dataclass(frozen=True)
class _Sources:
    """All sources: the rows of all files with their labels, a record of each source for the commit, and what was skipped."""

    rows: pl.DataFrame
    records: list[dict[str, Any]]
    skipped: tuple[str, ...]
    shapes: Mapping[str, int]
    readings: Mapping[str, str]
    unchanged: frozenset[str]


@takes(IngestSettings)
def ingest(sources: Sequence[str | Path], settings: IngestSettings) -> IngestResult:
    """Bring files, folders or data sets into a manifest, and what the flags say of rows that are there up to date.

    A row is known again by its source and what its record says, so the same file with another ``--split``, ``--domain``,
    ``--licence`` or template updates its rows and adds none.

    Args:
        sources: files (JSONL, JSON, CSV, TSV, Parquet, also compressed), folders, globs, ``-``, or ``hf://org/name[@revision][:config]``.

    Raises:
        InputError: a source, column, row or option breaks a rule; the manifest is as it was.
        ConflictError: another command committed meanwhile; the manifest is as that one left it.
    """
    _check(sources, settings)
    base = manifests.new(settings.to, root=settings.root)
    columns = _columns(settings)
    known, files = base.rows(), known_files(base)
    gathered = _read_sources([str(item) for item in sources], columns, settings, known, files)
    with nullcontext() if settings.dry_run else _appending(base, gathered.rows):
        found = gathered.rows
        earlier = {label for label, file in files.items() if not file.current}
        pairs = match(known, found, unchanged=gathered.unchanged, earlier=earlier)
        fresh = conform(found.join(pairs, on="key", how="anti").with_columns(id=pl.col("key")), SCHEMA, drop=True)
        fresh = _hold_out(fresh, known, share=settings.holdout, seed=settings.seed) if settings.source == "real" else fresh
        labels = found["source_label"].unique().to_list()
        was_auto = {label for label, file in files.items() if file.auto is not False}
        was_auto -= set(labels) if settings.domain == AUTO and False in [files[x].auto for x in labels if x in files] else set()
        texts = _texts_before(base, known, found, pairs)
        merged = merge(known, found, pairs, texts, labels=labels, was_auto=was_auto, prune=settings.prune)
    result = _result(base, gathered, merged, added=fresh.height + merged.returned, dry_run=settings.dry_run)
    if known.height or len(labels) > 1 or "exported" in found.columns:
        _note_repeats(fresh, known)
    changes_nothing = not (result.added or merged.retired or merged.updated)
    if changes_nothing and not _new_record(base, gathered.records):
        progress.note("ingest", f"{base}: nothing new, {result.already} rows are already there")
        return result
    if settings.dry_run:
        return result
    base.append(merged.contents)
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
    for name in ("prompt", "answer"):
        if getattr(settings, name) and getattr(settings, f"{name}_template"):
            raise InputError(f"--{name} and --{name}-template: one of the two says what the {name} is")
    if settings.known_as and len(sources) > 1:
        raise InputError(
            f"--as {settings.known_as!r}: names one file, and {len(sources)} sources are given; ingest them one by one"
        )


def _as_exported(label: str, settings: IngestSettings) -> bool:
    """Return whether the rows of an export are read as they were; not where a flag says how a file is read."""
    defaults = {field.name: field.default for field in fields(settings)}
    said = next((name for name in _READING if getattr(settings, name) != defaults[name]), None)
    if said is None:
        return True
    flag = "as" if said == "known_as" else said.replace("_", "-")
    progress.note(
        "ingest",
        f"{label}: is an export of curate; since --{flag} says how it is read, its rows are new ones, with ids of their own",
    )
    return False


def _columns(settings: IngestSettings) -> Columns:
    """Return how sources are read, with the text of template files in place of their paths."""
    given = {entry.name: getattr(settings, entry.name) for entry in fields(Columns)}
    for name in ("prompt", "answer"):
        path = getattr(settings, f"{name}_template")
        given[name] = read_template(path) if path is not None else given[name]
    return Columns(**given)


def _text_options(settings: IngestSettings) -> TextOptions:
    names = settings.columns
    return TextOptions(
        header=not settings.no_header,
        columns=tuple(name.strip() for name in names.split(",")) if names is not None else None,
        delimiter=settings.delimiter,
        quote=settings.quote,
        records=settings.records,
    )


def _read_sources(
    sources: Sequence[str], columns: Columns, settings: IngestSettings, known: pl.DataFrame, files: Mapping[str, KnownFile]
) -> _Sources:
    """Read every source, make examples of its files, and give every row its key."""
    reading = _Reading(columns, settings, known, files)
    for item in sources:
        reading.add(open_source(item, on_error=settings.on_error, options=_text_options(settings)))
    addresses = [record["address"] for record in reading.records]
    further = [{**source, "export": True} for address, source in reading.origins.items() if address not in addresses]
    if not any(frame.height for frame in reading.frames):
        first = f"; the first skipped: {reading.skipped[0]}" if reading.skipped else ""
        raise InputError(f"no example is left of {', '.join(addresses)}{first}")
    rows = pl.concat(reading.frames, how="diagonal")
    for remark in similar_domains([*known["domain"].unique().to_list(), *rows["domain"].unique().to_list()]):
        progress.note("ingest", remark)
    if "exported" in rows.columns:
        check_ids(rows)
        rows = rows.with_columns(pl.col("exported").fill_null(False))
    if rows["domain"].eq(AUTO).any():
        progress.note("ingest", "domain 'auto': curate cluster will make domains of these rows")
    unchanged, records = frozenset(reading.unchanged), [*reading.records, *further]
    return _Sources(rows.drop("number"), records, tuple(reading.skipped), reading.shapes, reading.readings, unchanged)


class _Reading:
    """Takes sources one by one; keeps the rows of their files with labels and keys, and what the commit records of them.

    Attributes:
        frames: the rows of each file.
        records: what the commit says of each source.
        origins: address → what it says of a source that an export's rows came from.
    """

    def __init__(self, columns: Columns, settings: IngestSettings, known: pl.DataFrame, files: Mapping[str, KnownFile]) -> None:
        self.frames: list[pl.DataFrame] = []
        self.records: list[dict[str, Any]] = []
        self.origins: dict[str, dict[str, Any]] = {}
        self.skipped: list[str] = []
        self.shapes: dict[str, int] = {}
        self.readings: dict[str, str] = {}
        self.unchanged: set[str] = set()
        self._columns, self._settings, self._files = columns, settings, files
        prompts = dict(known.group_by(file=origin_file()).agg("prompt_key").iter_rows()) if files else {}
        self._before = {label: pl.Series(keys, dtype=pl.Int64) for label, keys in prompts.items()}
        self._taken: list[str] = []
        self._places: set[str] = set()

    def add(self, source: Source) -> None:
        """Add the rows of a source's files; a file that was read before is left out."""
        begin, listed, n_skipped = len(self.frames), [], len(self.skipped)
        record: dict[str, Any] = {"address": source.address, "hash": source.fingerprint}
        marks = [entry.table.export for entry in source.files if entry.table.export is not None]
        entries = list(source.files)
        del source  # so that what a file says is let go of once its examples are made
        while entries:
            entry = entries.pop(0)
            if entry.place in self._places:
                progress.note("read", f"{entry.label}: was read already by this command; it is taken once")
                continue
            self._places.add(entry.place)
            frame, entry = self._examples(entry), replace(entry, table=_NOTHING)
            label = self._add_rows(entry, frame)
            auto = bool(frame.height) and bool((frame["domain"] == AUTO).all())
            listed.append(record_of(_file(entry, self.frames[-1]["prompt_key"]), label, auto=auto))
            if label in self._files and self._files[label].content == _content(entry):
                self.unchanged.add(label)
        record |= {"rows": sum(frame.height for frame in self.frames[begin:]), "skipped": len(self.skipped) - n_skipped}
        record |= {"files": listed, "source": self._settings.source, "licence": self._settings.licence}
        if marks and self._settings.licence is None:
            record |= {"licence": licence_of(marks), "export": True}
        self.records.append(record)

    def _examples(self, entry: SourceFile) -> pl.DataFrame:
        """Return the examples of a file; what was left out of it, its shapes and remarks are noted."""
        if entry.table.export is not None and _as_exported(entry.label, self._settings):
            made = to_exported(entry.table)
            self.origins |= {source["address"]: source for source in original_sources(entry.table.export)}
        else:
            split = _split(entry, self._columns)
            made = to_examples(entry.table, self._columns, split=split, on_error=self._settings.on_error)
        self.readings = {**made.readings, **self.readings}
        for remark in made.remarks:
            progress.note("ingest", remark)
        self.skipped += [*entry.table.skipped, *made.skipped]
        for shape, n in made.shapes.items():
            self.shapes[shape] = self.shapes.get(shape, 0) + n
        return _check_training(entry.label, made.frame, self._settings.source)

    def _add_rows(self, entry: SourceFile, frame: pl.DataFrame) -> str:
        """Add the rows of a file with their keys and the other columns of a row that is new; return the file's label.

        The key is the hash of source and record; of a row of an export it is its id, and what it says of itself stays.
        """
        exported = "id" in frame.columns
        with ThreadPoolExecutor(1) as thread:
            contents = thread.submit(identity.content_keys, frame)
            prompts = identity.prompt_keys(chats.conversations(frame))
            label = _label(entry, self._settings, self._files, self._before, self._taken, prompts)
            keys = frame["id"] if exported else identity.record_ids(frame["record"], label)
            origin = pl.coalesce("origin", file_origin(label, "number")) if exported else file_origin(label, "number")
            length = pl.sum_horizontal(pl.col("prompt", "rationale", "answer").str.len_chars().fill_null(0))
            rows = frame.drop("record", "id", strict=False).with_columns(
                prompts,
                contents.result(),
                keys.alias("key"),
                origin.alias("origin"),
                length.cast(pl.Int32).alias("n_chars"),
                pl.lit(label).alias("source_label"),
                _unless_said(frame, "source", self._settings.source),
                _unless_said(frame, "status", "candidate"),
                *([pl.lit(True).alias("exported")] if exported else []),
            )
        self._taken.append(label)
        self.frames.append(rows)
        return label


def _split(entry: SourceFile, columns: Columns) -> str | None:
    """Return the split that the file's name says; where the name says several, the user must say which."""
    if columns.split is not None or columns.domain_from:
        return None
    if entry.ambiguous is not None and "split" not in entry.table.columns:
        raise InputError(entry.ambiguous)
    return entry.split


def _file(entry: SourceFile, prompts: pl.Series) -> File:
    return File(entry.label, entry.place, _content(entry), prompts)


def _content(entry: SourceFile) -> str:
    return entry.sha256 if ":" in entry.sha256 else f"sha256:{entry.sha256}"


def _label(
    entry: SourceFile,
    settings: IngestSettings,
    files: Mapping[str, KnownFile],
    before: Mapping[str, pl.Series],
    taken: Sequence[str],
    prompts: pl.Series,
) -> str:
    if settings.known_as:
        if taken:
            raise InputError(f"--as {settings.known_as!r}: names one file, and the source has several; ingest them one by one")
        return settings.known_as
    label = label_of(_file(entry, prompts), files, before, taken)
    if label != entry.label and label not in files:
        progress.note("ingest", f"{entry.label}: another file of this name is there already; this one is called {label!r}")
    return label


def _check_training(label: str, rows: pl.DataFrame, source: str) -> pl.DataFrame:
    synthetic = pl.col("source") == "synthetic" if "source" in rows.columns else pl.lit(source == "synthetic")
    held = rows.filter(synthetic, pl.col("split") != "train")
    if not held.is_empty():
        raise InputError(
            f"{label}:{held['number'][0]}: synthetic rows are for training, and this one is of split {held['split'][0]!r}; "
            f"use --split train, or leave out such rows"
        )
    return rows


def _unless_said(rows: pl.DataFrame, name: str, value: str) -> pl.Expr:
    """Return a column in which rows of an export have their own value."""
    return (pl.col(name).fill_null(value) if name in rows.columns else pl.lit(value)).alias(name)


@contextmanager
def _appending(base: Manifest, rows: pl.DataFrame) -> Iterator[None]:
    """Write the content that is not there yet while the enclosed work goes on; it is written when that is done."""
    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(base.append, rows.select(CONTENT_SCHEMA.names()))
        yield
        written.result()


def _texts_before(base: Manifest, known: pl.DataFrame, found: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the texts that rows have whose record now makes others."""
    if pairs.is_empty():
        return pl.DataFrame(schema=CONTENT_SCHEMA)
    now = pairs.join(found.select("key", now="content"), on="key")
    keys = known.select("id", "content").join(now, on="id").filter(pl.col("content") != pl.col("now"))["content"].unique()
    return base.contents(keys) if len(keys) else pl.DataFrame(schema=CONTENT_SCHEMA)


def _hold_out(fresh: pl.DataFrame, known: pl.DataFrame, *, share: float, seed: int) -> pl.DataFrame:
    """Make validation rows of new real train rows: those of prompts held out before, and a share of the prompts never seen."""
    train = (pl.col("split") == "train") & (pl.col("source") == "real")
    before = known.filter(is_held_out())["prompt_key"]
    unseen = fresh.filter(train & ~pl.col("prompt_key").is_in(known["prompt_key"].implode())) if share > 0 else fresh.clear()
    chosen = _draw_prompts(unseen.unique("prompt_key", keep="first", maintain_order=True), share, seed)
    reasons = (
        pl.when(pl.col("prompt_key").is_in(chosen.implode()))
        .then(pl.lit(held_out(f"share {share:g}, seed {seed}")))
        .when(pl.col("prompt_key").is_in(before.implode()))
        .then(pl.lit(held_out("as its prompt was before")))
    )
    fresh = fresh.with_columns(pl.when(train).then(reasons).alias("held"))
    stays = pl.col("held").is_null()
    held = fresh.with_columns(
        reason=pl.coalesce("held", "reason"),
        split=pl.when(stays).then("split").otherwise(pl.lit("validation")),
        status=pl.when(stays).then("status").otherwise(pl.lit("candidate")),  # of an export it was selected
        stage=pl.when(stays).then("stage"),
    )
    return held.drop("held")


def _draw_prompts(prompts: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """Choose round(share · n) of n prompts by the hash of each, spread evenly over the domains.

    Systematic sampling over strata: the r-th of a domain's m prompts, in the order of their hashes, stands at (r + ½) / m,
    and the lowest positions of all are taken; so a domain with fewer than 1 / (2 · share) prompts keeps them all.
    """
    drawn = prompts.select("domain", "prompt_key", identity.draws(prompts["prompt_key"], seed))
    position = (pl.col("draw").rank("ordinal").over("domain") - 0.5) / pl.len().over("domain")
    return drawn.with_columns(position=position).sort("position", "draw")["prompt_key"].head(round(share * prompts.height))


def _note_repeats(fresh: pl.DataFrame, known: pl.DataFrame) -> None:
    """Say how many new rows say the same as rows of other sources: they are rows of their own."""
    both = pl.concat([rows.filter(~is_repeat()).select("content", file=origin_file()) for rows in (fresh, known)])
    if both["file"].n_unique() < 2:
        return
    others = both.unique()
    shared = others.group_by("content").len().filter(pl.col("len") > 1)
    repeats = fresh.join(shared, on="content", how="semi").height if not shared.is_empty() else 0
    if repeats:
        progress.note(
            "ingest", f"{repeats:,} of the new rows say the same as a row of another file; curate audit finds such repeats"
        )


def _result(base: Manifest, gathered: _Sources, merged: Merged, *, added: int, dry_run: bool) -> IngestResult:
    counted = per_label(gathered.rows)["domain"].value_counts(name="n").sort(["n", "domain"], descending=[True, False])
    splits = dict(gathered.rows["split"].value_counts(name="n").iter_rows())
    return IngestResult(
        manifest=base,
        added=added,
        already=gathered.rows.height - added,
        gone=merged.gone,
        retired=merged.retired,
        skipped=gathered.skipped,
        domains=dict(counted.iter_rows()),
        splits={split: splits[split] for split in SPLITS if split in splits},
        updated=dict(merged.updated),
        changes=tuple((*what, n) for what, n in merged.changes.items()),
        unselected=merged.unselected,
        shapes=dict(gathered.shapes),
        readings=dict(gathered.readings),
        kinds=_said(gathered.rows),
        dry_run=dry_run,
    )


def _said(rows: pl.DataFrame) -> dict[str, int]:
    """Return how many rows say which kind of answers, most first."""
    counted = rows.filter(pl.col("kind") != ANY_KIND)["kind"].value_counts(name="n")
    return dict(counted.sort(["n", "kind"], descending=[True, False]).iter_rows())


def _new_record(base: Manifest, records: Collection[Mapping[str, Any]]) -> bool:
    """Return whether a licence was named that the log does not have for its source."""
    if base.version < 0:
        return True
    commits = base.lineage()
    stated = {source["address"]: source.get("licence") for commit in commits for source in commit.summary.get("sources", [])}
    named = (record for record in records if record["licence"] and not record.get("export"))
    return any(stated.get(record["address"]) != record["licence"] for record in named)


def _summary(result: IngestResult, records: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {"added": result.added, "already": result.already, "gone": result.gone, "retired": result.retired}
    more = {"updated": result.updated, "shapes": result.shapes, "splits": result.splits, "kinds": result.kinds}
    return {**counts, **more, "skipped": len(result.skipped), "skipped_rows": result.skipped[:_LISTED], "sources": records}
