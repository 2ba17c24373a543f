"""Owns the ways out: a snapshot of a manifest as files that trainers read. Changes no manifest.

A snapshot is the selected train rows, with the validation and test rows as their splits. `exporters` is the plug-in point:
``(snapshot, destination, **options) -> paths``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError
from curate.export import card as cards
from curate.manifest import chats
from curate.manifest.manifest import Manifest
from curate.registry import Registry

__all__ = ["Exported", "Snapshot", "chat", "completion", "export", "exporters", "snapshot"]

SPLITS = ("train", "validation", "test")
# What a user of the files may want to know of a row; the rest of the manifest's columns steer the work on it.
COLUMNS = (
    *("id", "prompt", "answer", "rationale", "messages", "domain", "split", "source", "stage"),
    *("reason", "origin", "parents", "cluster", "score", "extra"),
)
completion = chats.completion


@dataclass(frozen=True)
class Snapshot:
    """What is exported.

    Attributes:
        manifest: the version that it is of.
        splits: split → its rows with content joined on (columns `COLUMNS`); only splits that have rows.
    """

    manifest: Manifest
    splits: dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        manifest: the version that was exported.
        paths: of the files written.
        rows: split → number of rows.
    """

    manifest: Manifest
    paths: tuple[Path, ...]
    rows: dict[str, int]


Exporter = Callable[..., tuple[Path, ...]]
exporters: Registry[Exporter] = Registry("export format", "curate.exporters")


def export(manifest: Manifest, *, to: str | Exporter = "parquet", destination: str | Path | None = None) -> Exported:
    """Write the snapshot of a manifest as files.

    Args:
        manifest: the version to export.
        to: a registered format (``parquet``, ``jsonl``, ``chat`` or ``datasets``) or a callable of the same contract.
        destination: folder to write in, made where it is missing; ``exports/NAME-vVERSION-FORMAT`` beside
            ``manifests/`` unless given. Files of the same names are replaced, each only once it is whole.

    Raises:
        InputError: no row is selected, or the destination cannot be written.
        UnknownNameError: there is no such format.
    """
    write = exporters.get(to)
    label = to if isinstance(to, str) else getattr(to, "__name__", "export")
    found = snapshot(manifest)
    home = Path() if "://" in manifest.root else Path(manifest.root)
    folder = Path(destination) if destination else home / "exports" / f"{manifest.name}-v{manifest.version}-{label}"
    rows = {split: frame.height for split, frame in found.splits.items()}
    _check_folder(folder, found)
    bare, train = found.splits["train"]["rationale"].null_count(), found.splits["train"].height
    if 0 < bare < train:
        progress.note(
            "export", f"{bare:,} of {train:,} train rows have no rationale: what is learned from them is the answer alone"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = tuple(write(found, folder))
    except OSError as e:
        raise InputError(f"export of {manifest}: {str(folder)!r} cannot be written: {e.strerror or e}") from e
    return Exported(manifest, paths, rows)


def _check_folder(folder: Path, found: Snapshot) -> None:
    """Refuse a folder that holds a split of another export, which a reader would take for a part of this one."""
    for split in set(SPLITS) - set(found.splits):
        for stale in folder.glob(f"**/{split}[.-]*"):
            raise InputError(f"export: {str(folder)!r} holds {stale.name!r} of another export; choose another --destination")


def snapshot(manifest: Manifest) -> Snapshot:
    """Return the selected train rows of a manifest, and its validation and test rows that were not rejected.

    Raises:
        InputError: no train row is selected.
    """
    train = pl.col("split") == "train"
    kept = manifest.scan().filter((train & (pl.col("status") == "selected")) | (~train & (pl.col("status") != "rejected")))
    rows = manifest.examples(kept.collect()).select(COLUMNS)
    splits = {split: rows.filter(pl.col("split") == split) for split in SPLITS}
    if splits["train"].is_empty():
        raise InputError(
            f"{manifest} has no selected rows, so there is nothing to export: choose some first with "
            f"curate balance {manifest.name} --budget N"
        )
    return Snapshot(manifest, {split: frame for split, frame in splits.items() if not frame.is_empty()})


def chat(examples: pl.DataFrame) -> list[list[dict[str, Any]]]:
    """Return every example as chat messages: system and history, the user's prompt, and the assistant's completion last.

    Args:
        examples: with the columns prompt and answer, and, where there are any, rationale and messages.
    """
    columns = [pl.col(name) if name in examples.columns else pl.lit(None).alias(name) for name in ("rationale", "messages")]
    wanted = examples.select("prompt", "answer", *columns)
    return [
        chats.join(prompt or "", completion(rationale, answer or ""), messages)
        for prompt, answer, rationale, messages in wanted.iter_rows()
    ]


@exporters.register("parquet")
def write_parquet(found: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one Parquet file per split, zstd-compressed."""
    return tuple(_whole(destination / f"{split}.parquet", frame.write_parquet) for split, frame in found.splits.items())


@exporters.register("jsonl")
def write_jsonl(found: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one JSON Lines file per split; messages and extra are JSON strings, as they are in the manifest."""
    return tuple(_whole(destination / f"{split}.jsonl", frame.write_ndjson) for split, frame in found.splits.items())


@exporters.register("chat")
def write_chat(found: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one JSON Lines file per split with ``messages`` alone, as chat trainers read it, and the row's id and domain."""
    return tuple(
        _lines(
            destination / f"{split}.jsonl",
            (
                {"id": row_id, "domain": domain, "messages": turns}
                for row_id, domain, turns in zip(frame["id"], frame["domain"], chat(frame), strict=True)
            ),
        )
        for split, frame in found.splits.items()
    )


@exporters.register("datasets")
def write_datasets(found: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write a folder that ``datasets.load_dataset`` reads back, splits and all, with a README card."""
    (destination / "data").mkdir(exist_ok=True)
    files = [
        _whole(destination / "data" / f"{split}-00000-of-00001.parquet", frame.write_parquet)
        for split, frame in found.splits.items()
    ]
    text = cards.card(found.manifest)
    card = _whole(destination / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
    return (*files, card)


def _lines(path: Path, records: Any) -> Path:
    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)

    return _whole(path, write)


def _whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file under another name and rename it, so that nobody finds half of it."""
    part = path.with_name(f"{path.name}.part")
    write(part)
    part.replace(path)
    return path
