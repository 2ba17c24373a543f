"""`curate export`: writes the snapshot of a manifest as files that trainers read. Changes no manifest.

Which rows a snapshot has, `curate.manifest.rows.in_snapshot` says; the formats are in `curate.export.files` and
`curate.export.trainers`, and what may be replaced by them `curate.export.destination` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate import progress
from curate.errors import InputError
from curate.export.base import Snapshot, exporters, read_snapshot
from curate.export.destination import open_destination
from curate.export.settings import ExportSettings
from curate.files import reason
from curate.manifest.manifest import Manifest
from curate.settings import takes

__all__ = ["ExportResult", "export"]

_DATA = (".jsonl", ".parquet")  # suffixes of files that `datasets` finds in a folder by their splits


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote.

    Attributes:
        manifest: the version that was exported.
        paths: of the files written, the marker aside.
        rows: split → number of rows written; the format has no form for others, and a note says why.
        folder: that was written.
        load: the command that loads it; empty where the format is a plug-in's whose files nothing is known of.
    """

    manifest: Manifest
    paths: tuple[Path, ...]
    rows: dict[str, int]
    folder: Path
    load: str


@takes(ExportSettings)
def export(manifest: Manifest, settings: ExportSettings) -> ExportResult:
    """Write the snapshot of a manifest as files, all of them or none.

    Args:
        manifest: the version to export.

    Raises:
        InputError: no row is selected, or the destination holds other files, or cannot be written.
        UnknownNameError: there is no such format.
    """
    write = exporters.get(settings.to)
    label = settings.to if isinstance(settings.to, str) else getattr(settings.to, "__name__", "export")
    held_out = settings.held_out is not False
    snapshot = read_snapshot(manifest, held_out=held_out, complete_only=settings.complete_only)
    folder = Path(settings.destination or Path("exports") / f"{manifest.name}-v{manifest.version}-{label}")
    manifests = None if "://" in manifest.root else Path(manifest.root) / "manifests"
    about = {"manifest": manifest.name, "version": manifest.version, "format": label}
    try:
        destination = open_destination(folder, manifests=manifests, force=settings.force)
        earlier = destination.earlier or about
        if earlier.get("manifest") != manifest.name:
            progress.note("export", f"{str(folder)!r} held an export of {earlier.get('manifest')!r}, which this one replaces")
        found = destination.write(lambda part: write(snapshot, part), about)
    except OSError as e:
        raise InputError(f"export of {manifest}: {str(folder)!r} cannot be written: {reason(e)}") from e
    _say_what_is_missing(snapshot)
    without, train = snapshot.without_rationale["train"], snapshot.rows["train"]
    if 0 < without < train:
        progress.note(
            "export", f"{without:,} of {train:,} train rows have no rationale: what is learned from them is the answer alone"
        )
    written = {split: n - snapshot.left_out[split] for split, n in snapshot.rows.items() if n > snapshot.left_out[split]}
    paths = tuple(_below(path, destination.folder, folder) for path in found)
    loads = any(path.suffix in _DATA for path in paths)
    return ExportResult(manifest, paths, written, folder, f"datasets.load_dataset({str(folder)!r})" if loads else "")


def _say_what_is_missing(snapshot: Snapshot) -> None:
    """Say which rows were kept back, and which stages a cap cut short."""
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


def _below(path: Path, resolved: Path, folder: Path) -> Path:
    """Return a path as the user names its folder."""
    return folder / path.relative_to(resolved) if path.is_relative_to(resolved) else path
