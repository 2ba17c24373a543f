"""The built-in formats: parquet, jsonl, chat, and a folder for `datasets.load_dataset`. Decides nothing about rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from curate.export import card as cards
from curate.export.base import Snapshot, exporters
from curate.files import write_whole
from curate.manifest.chats import to_chats

__all__ = ["write_chat", "write_datasets", "write_jsonl", "write_parquet"]


@exporters.register("parquet")
def write_parquet(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one Parquet file per split, zstd-compressed."""
    return tuple(write_whole(destination / f"{split}.parquet", frame.write_parquet) for split, frame in snapshot.splits.items())


@exporters.register("jsonl")
def write_jsonl(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one JSON Lines file per split; messages and extra are JSON strings, as they are in the manifest."""
    return tuple(write_whole(destination / f"{split}.jsonl", frame.write_ndjson) for split, frame in snapshot.splits.items())


@exporters.register("chat")
def write_chat(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one JSON Lines file per split with ``messages`` alone, as chat trainers read it, and the row's id and domain."""
    return tuple(
        _lines(
            destination / f"{split}.jsonl",
            (
                {"id": row_id, "domain": domain, "messages": turns}
                for row_id, domain, turns in zip(frame["id"], frame["domain"], to_chats(frame), strict=True)
            ),
        )
        for split, frame in snapshot.splits.items()
    )


@exporters.register("datasets")
def write_datasets(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write a folder that ``datasets.load_dataset`` reads back, splits and all, with a README card."""
    (destination / "data").mkdir(exist_ok=True)
    files = [
        write_whole(destination / "data" / f"{split}-00000-of-00001.parquet", frame.write_parquet)
        for split, frame in snapshot.splits.items()
    ]
    text = cards.card(snapshot.manifest)
    card = write_whole(destination / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
    return (*files, card)


def _lines(path: Path, records: Any) -> Path:
    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)

    return write_whole(path, write)
