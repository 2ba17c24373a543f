"""`curate export`: writes the snapshot of a manifest as files that trainers read. Changes no manifest.

Which rows a snapshot has, `curate.manifest.rows.in_snapshot` says; the formats are in `curate.export.files`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate import progress
from curate.errors import InputError
from curate.export.base import Snapshot, exporters, read_snapshot
from curate.export.settings import ExportSettings
from curate.files import reason
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SPLITS
from curate.settings import takes

__all__ = ["ExportResult", "export"]


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote.

    Attributes:
        manifest: the version that was exported.
        paths: of the files written.
        rows: split → number of rows.
    """

    manifest: Manifest
    paths: tuple[Path, ...]
    rows: dict[str, int]


@takes(ExportSettings)
def export(manifest: Manifest, settings: ExportSettings) -> ExportResult:
    """Write the snapshot of a manifest as files.

    Args:
        manifest: the version to export.

    Raises:
        InputError: no row is selected, or the destination cannot be written.
        UnknownNameError: there is no such format.
    """
    write = exporters.get(settings.to)
    label = settings.to if isinstance(settings.to, str) else getattr(settings.to, "__name__", "export")
    snapshot = read_snapshot(manifest)
    home = Path() if "://" in manifest.root else Path(manifest.root)
    folder = Path(settings.destination or home / "exports" / f"{manifest.name}-v{manifest.version}-{label}")
    rows = {split: frame.height for split, frame in snapshot.splits.items()}
    _check_folder(folder, snapshot)
    without, train = snapshot.splits["train"]["rationale"].null_count(), snapshot.splits["train"].height
    if 0 < without < train:
        progress.note(
            "export", f"{without:,} of {train:,} train rows have no rationale: what is learned from them is the answer alone"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = tuple(write(snapshot, folder))
    except OSError as e:
        raise InputError(f"export of {manifest}: {str(folder)!r} cannot be written: {reason(e)}") from e
    return ExportResult(manifest, paths, rows)


def _check_folder(folder: Path, snapshot: Snapshot) -> None:
    """Refuse a folder that holds a split of another export, which a reader would take for a part of this one."""
    for split in set(SPLITS) - set(snapshot.splits):
        for stale in folder.glob(f"**/{split}[.-]*"):
            raise InputError(f"export: {str(folder)!r} holds {stale.name!r} of another export; choose another --destination")
