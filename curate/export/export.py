"""`curate export`: writes the snapshot of a manifest as files that trainers read. Changes no manifest.

Which rows a snapshot has, `curate.manifest.rows.in_snapshot` says; the formats are in `curate.export.files` and
`curate.export.trainers`, and what may be replaced by them `curate.export.destination` says.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from curate import progress
from curate.cards.languages import check_languages
from curate.defaults import DEFAULT_STUDENT
from curate.errors import InputError, ManifestError
from curate.export import recipes
from curate.export.base import Exporter, Snapshot, exporters, read_snapshot
from curate.export.card import write_eu_summary
from curate.export.destination import Destination, open_destination
from curate.export.settings import ExportSettings
from curate.export.weights import row_weights
from curate.files import reason
from curate.hub import changes
from curate.hub.push import SCHEME, PushResult, Work, check_manifest, open_repository, push_work
from curate.manifest.manifest import Manifest
from curate.manifest.rows import in_snapshot
from curate.report.tokens import DomainLengths, Lengths, measure_lengths
from curate.settings import takes

__all__ = ["ExportResult", "export"]

_OF_HUB = "datasets"  # the format that a repository of the Hub has
_DATA = (".jsonl", ".parquet")  # suffixes of files that `datasets` finds in a folder by their splits
_MEASURED = ("domain", "domains", "prompt", "answer", "rationale", "messages", "extra")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")  # a model that lines in a README may name, as no path may
_MOST = 0.5  # of a domain's rows, above which it is warned of
_NAMED = 5  # domains in a note


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote.

    Attributes:
        manifest: the version that was exported.
        paths: of the files written, the marker aside.
        rows: split → number of rows written; the format has no form for others, and a note says why.
        folder: that was written.
        load: the command that loads it; empty where the format is a plug-in's whose files nothing is known of.
        train: the command that trains on it, from inside the folder; empty where the format has none.
        lengths: per split and domain, how many rows are over ``--max-tokens``; empty unless that is given.
        pushed: what is at the Hub now, where the export went there.
        left: what of the manifest did not go there → rows.
    """

    manifest: Manifest
    paths: tuple[Path, ...]
    rows: dict[str, int]
    folder: Path
    load: str
    train: str = ""
    lengths: tuple[DomainLengths, ...] = ()
    pushed: PushResult | None = None
    left: dict[str, int] = field(default_factory=dict)


@takes(ExportSettings)
def export(manifest: Manifest, settings: ExportSettings) -> ExportResult:
    """Write the snapshot of a manifest as files, all of them or none.

    Args:
        manifest: the version to export.

    Raises:
        InputError: no row is selected, or the destination holds other files, or cannot be written.
        UnknownNameError: there is no such format.
        HubError: the Hub cannot be reached, or refuses.
    """
    if isinstance(settings.to, str) and settings.to.startswith(SCHEME):
        return _to_hub(manifest, settings)
    for flag in ("public", "dry_run"):
        if getattr(settings, flag):
            raise InputError(
                f"--{flag.replace('_', '-')} is for --to {SCHEME}ORG/NAME, and this is --to {settings.to}: leave it out"
            )
    return _write(manifest, settings)[0]


def _write(manifest: Manifest, settings: ExportSettings) -> tuple[ExportResult, Snapshot]:
    """Write the snapshot in one format, all of its files or none; return it beside the result."""
    _check(settings)
    write = exporters.get(settings.to)
    label = settings.to if isinstance(settings.to, str) else getattr(settings.to, "__name__", "export")
    held_out = settings.held_out is not False
    snapshot = read_snapshot(manifest, held_out=held_out, complete_only=settings.complete_only)
    snapshot = replace(snapshot, language=check_languages(settings.language or ()))
    default = Path("exports") / f"{manifest.name}-v{manifest.version}-{label}"
    folder = default if settings.destination is None else Path(settings.destination)
    about = {"manifest": manifest.name, "version": manifest.version, "format": label}
    with _refusals(manifest, folder):
        destination = _open(manifest, folder, force=settings.force)
    snapshot, lengths = _measured(snapshot, settings)
    if settings.weights:
        labels = [name for name in ("domain", "domains") if name in snapshot.schema]
        rows = pl.concat(snapshot.frames("train", columns=labels))
        snapshot = snapshot.weighted(row_weights(manifest, rows, without=snapshot.cut_short if snapshot.complete_only else ()))
    with _refusals(manifest, folder):
        found = destination.write(lambda part: _files(write, snapshot, part, eu_summary=settings.eu_summary), about)
    _say_what_is_missing(snapshot)
    written = {split: snapshot.records.get(split, n - snapshot.left_out[split]) for split, n in snapshot.rows.items()}
    paths = tuple(_below(path, destination.folder, folder) for path in found)
    loads = any(path.suffix in _DATA for path in paths)
    load = f"datasets.load_dataset({str(folder)!r})" if loads else ""
    counts = {split: n for split, n in written.items() if n}
    return ExportResult(manifest, paths, counts, folder, load, recipes.command(label), lengths), snapshot


def _to_hub(manifest: Manifest, settings: ExportSettings) -> ExportResult:
    """Write the snapshot as a folder, and push it; of a dry run neither stays."""
    found = open_repository(str(settings.to), private=not settings.public, dry_run=settings.dry_run)
    check_manifest(found, manifest.name, force=settings.force)
    held_out = bool(settings.held_out)
    with tempfile.TemporaryDirectory(prefix="curate-export-") as aside:
        destination = Path(aside) / "export" if settings.dry_run else settings.destination
        chosen = replace(settings, to=_OF_HUB, destination=destination, held_out=held_out)
        done, snapshot = _write(manifest, chosen)
        rows = snapshot.narrow(*changes.COLUMNS)
        options = {"held_out": held_out, "complete_only": settings.complete_only} | (
            {"weights": True} if settings.weights else {}
        )
        about, tag = changes.describe(manifest, rows, options)
        title, description = changes.difference(manifest, about, rows, found.record, _earlier(manifest, found.record))
        work = Work(done.folder, done.paths, about, tag, title, description)
        pushed = push_work(found, work, force=settings.force, dry_run=settings.dry_run)
    paths = () if settings.dry_run else done.paths
    return replace(done, pushed=pushed, left=_left(snapshot), load=pushed.load, paths=paths, train="")


def _earlier(manifest: Manifest, record: Mapping[str, Any]) -> pl.DataFrame | None:
    """Return the rows of the push before, where this machine still has that version; the caller compares their hash."""
    version = record.get("version")
    if record.get("manifest") != manifest.name or not isinstance(version, int):
        return None
    held_out, complete_only = bool(record.get("held_out")), bool(record.get("complete_only"))
    try:
        old = read_snapshot(Manifest(manifest.name, version, manifest.root), held_out=held_out, complete_only=complete_only)
        return old.narrow(*changes.COLUMNS)
    except (ManifestError, InputError):
        return None


def _left(snapshot: Snapshot) -> dict[str, int]:
    """Return what of the manifest is not in a snapshot → rows; only what there is."""
    train, rejected = pl.col("split") == "train", pl.col("status") == "rejected"
    counts = {
        "rejected rows": rejected.sum(),
        "train rows that are not selected": (train & ~in_snapshot() & ~rejected).sum(),
    }
    found = snapshot.manifest.scan().select(**counts).collect().to_dicts()[0]
    found["held-out rows (--held-out takes them along)"] = sum(snapshot.kept_back.values())
    found["rows of stages that a cap cut short"] = sum(snapshot.cut_short.values()) if snapshot.complete_only else 0
    return {what: n for what, n in found.items() if n}


def _files(write: Exporter, snapshot: Snapshot, part: Path, *, eu_summary: bool) -> tuple[Path, ...]:
    files = write(snapshot, part)
    has_card = any(path.name == "croissant.json" for path in files)
    if snapshot.language and not (has_card or eu_summary):
        progress.note("export", "--language is said by the card, which this format has not; --to datasets has one")
    return (*files, write_eu_summary(snapshot, part)) if eu_summary else files


def _check(settings: ExportSettings) -> None:
    if settings.max_tokens is None and settings.over_long != "keep":
        raise InputError(f"--over-long {settings.over_long} needs a limit: give --max-tokens N")
    if settings.max_tokens is not None and settings.max_tokens < 1:
        raise InputError(f"--max-tokens must be at least 1, got {settings.max_tokens}")


@contextmanager
def _refusals(manifest: Manifest, folder: Path) -> Iterator[None]:
    """Say in one line why a folder cannot be written."""
    try:
        yield
    except OSError as e:
        raise InputError(f"export of {manifest}: {str(folder)!r} cannot be written: {reason(e)}") from e


def _open(manifest: Manifest, folder: Path, *, force: bool) -> Destination:
    manifests = None if "://" in manifest.root else Path(manifest.root) / "manifests"
    destination = open_destination(folder, manifests=manifests, force=force)
    earlier = destination.earlier or {}
    if earlier.get("manifest", manifest.name) != manifest.name:
        progress.note("export", f"{str(folder)!r} held an export of {earlier['manifest']!r}, which this one replaces")
    return destination


def _measured(snapshot: Snapshot, settings: ExportSettings) -> tuple[Snapshot, tuple[DomainLengths, ...]]:
    """Return the snapshot with or without its train rows over `max_tokens`, as was asked for, and how long its rows are."""
    student = settings.student or ""
    hub_id = student if _HUB_ID.fullmatch(student) and not Path(student).exists() else ""
    if settings.max_tokens is None:
        return replace(snapshot, student=hub_id), ()
    columns = [name for name in _MEASURED if name in snapshot.schema]
    frames = ((split, frame) for split in snapshot.rows for frame in snapshot.frames(split, columns=columns))
    found = measure_lengths(frames, limit=settings.max_tokens, student=student or DEFAULT_STUDENT, root=snapshot.manifest.root)
    drops = settings.over_long == "drop"
    _tell_lengths(snapshot, found, drops=drops)
    over = found.over["train"]
    if drops and len(over) == snapshot.rows["train"]:
        raise InputError(
            f"export of {snapshot.manifest}: every train row has more than {found.limit:,} tokens for {found.student}, so "
            "none is left: raise --max-tokens"
        )
    kept = snapshot.without("train", over) if drops and over else snapshot
    return replace(kept, student=hub_id, max_tokens=found.limit), found.domains


def _tell_lengths(snapshot: Snapshot, found: Lengths, *, drops: bool) -> None:
    """Say how many rows are over the limit, and of which domains more than half are."""
    for split, over in found.over.items():
        if not over:
            continue
        longest = max(line.longest for line in found.domains if line.split == split)
        what = f"{len(over):,} of {snapshot.rows[split]:,} {split} rows have more than {found.limit:,} tokens for {found.student}"
        done = "they are left out" if drops and split == "train" else "they are written whole, and a trainer may cut them"
        progress.note("export", f"{what}, the longest {longest:,}: {done}")
    most = [line for line in found.domains if line.split == "train" and line.share > _MOST]
    if most:
        named = ", ".join(f"{line.domain!r} ({line.over:,} of {line.rows:,})" for line in most[:_NAMED])
        more = f" and {len(most) - _NAMED:,} more domains" if len(most) > _NAMED else ""
        done = "are left out, being over the limit" if drops else "are over the limit"
        progress.note("export", f"warning: more than half of the train rows of {named}{more} {done}")


def _say_what_is_missing(snapshot: Snapshot) -> None:
    """Say which rows were kept back, which stages a cap cut short, and how many rows have no rationale."""
    if snapshot.kept_back:
        which = " and ".join(f"{n:,} {split} rows" for split, n in snapshot.kept_back.items())
        progress.note("export", f"{which} are kept back, questions and answers; --held-out takes them along")
    for stage, n in snapshot.cut_short.items():
        what = (
            f"its {n:,} rows are left out"
            if snapshot.complete_only
            else f"its {n:,} rows are in the export; --complete-only leaves them out"
        )
        progress.note("export", f"a cap cut stage {stage} short: {what}, and the same balance with larger caps completes it")
    without, train = snapshot.without_rationale["train"], snapshot.rows["train"]
    if 0 < without < train:
        progress.note(
            "export", f"{without:,} of {train:,} train rows have no rationale: what is learned from them is the answer alone"
        )


def _below(path: Path, resolved: Path, folder: Path) -> Path:
    """Return a path as the user names its folder."""
    return folder / path.relative_to(resolved) if path.is_relative_to(resolved) else path
