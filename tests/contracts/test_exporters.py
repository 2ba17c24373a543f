"""The battery that every registered export format passes. Files of a new kind join it by an entry in `ROWS_IN`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from curate.export.base import Snapshot, exporters, read_snapshot
from curate.export.export import export
from curate.manifest.manifest import Manifest
from tests.support.samples import ingested

# suffix → how many rows a file has; None: it holds no rows
ROWS_IN: dict[str, Callable[[Path], int] | None] = {
    ".parquet": lambda path: pl.read_parquet(path).height,
    ".jsonl": lambda path: pl.read_ndjson(path).height,
    ".md": None,
    ".png": None,
    ".yaml": None,
    ".json": None,
}
every_exporter = pytest.mark.parametrize("format", exporters.names())


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    train = [{"prompt": f"What is {i} + {i}?", "answer": str(2 * i), "status": "selected", "stage": 0} for i in range(7)]
    train += [
        {"prompt": "Größe?\n\\frac", "answer": "B", "domain": "law", "status": "selected", "stage": 0, "rationale": "So B."}
    ]
    held = [{"prompt": f"seen {i}?", "answer": "x", "split": split} for i, split in enumerate(["validation"] * 3 + ["test"] * 2)]
    left = [{"prompt": "left out?", "answer": "7"}, {"prompt": "bad?", "answer": "8", "status": "rejected"}]
    rows = [{**row, "extra": json.dumps({"rejected": "It is 8."})} for row in (*train, *held, *left)]  # for formats of pairs
    return ingested(tmp_path, rows, name="m")


@pytest.fixture
def snapshot(manifest: Manifest) -> Snapshot:
    return read_snapshot(manifest)


def counted(path: Path) -> int:
    assert path.suffix in ROWS_IN, f"say in ROWS_IN how many rows a {path.suffix} file has"
    count = ROWS_IN[path.suffix]
    return 0 if count is None else count(path)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_exporter
def test_paths_are_the_files_written_and_lie_under_the_destination(format: str, snapshot: Snapshot, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    paths = exporters.get(format)(snapshot, folder)
    assert paths
    assert len(set(paths)) == len(paths)
    assert {path.relative_to(folder).as_posix() for path in paths} == set(files(folder)), "nothing half written is left"


@every_exporter
def test_every_split_has_the_rows_of_the_snapshot(format: str, manifest: Manifest, snapshot: Snapshot, tmp_path: Path) -> None:
    result = export(manifest, to=format, destination=str(tmp_path / "out"))
    assert result.rows == snapshot.rows == {split: frame.height for split, frame in snapshot.splits.items()}
    assert result.rows == {"train": 8, "validation": 3, "test": 2}
    for split, rows in result.rows.items():
        assert sum(counted(path) for path in result.paths if path.name.startswith(split)) == rows
    assert sum(map(counted, result.paths)) == 13


@every_exporter
def test_the_same_export_again_gives_the_same_files(format: str, manifest: Manifest, tmp_path: Path) -> None:
    first = export(manifest, to=format, destination=str(tmp_path / "out"))
    before = files(tmp_path / "out")
    again = export(manifest, to=format, destination=str(tmp_path / "out"))
    elsewhere = export(manifest, to=format, destination=str(tmp_path / "other"))
    assert again.paths == first.paths
    assert files(tmp_path / "out") == before == files(tmp_path / "other")
    assert elsewhere.rows == first.rows


@every_exporter
def test_the_snapshot_is_not_changed(format: str, snapshot: Snapshot, tmp_path: Path) -> None:
    before = {split: frame.clone() for split, frame in snapshot.splits.items()}
    exporters.get(format)(snapshot, tmp_path)
    assert all(frame.equals(before[split]) for split, frame in snapshot.splits.items())


@every_exporter
def test_nothing_written_names_this_machine(format: str, manifest: Manifest, tmp_path: Path) -> None:
    export(manifest, to=format, destination=str(tmp_path / "out"))
    assert not [name for name, data in files(tmp_path / "out").items() if str(tmp_path).encode() in data]
