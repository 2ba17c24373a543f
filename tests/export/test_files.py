"""The built-in formats: every one holds the same rows, and what was written is read back."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from curate.export import export
from curate.export.base import exporters, read_snapshot
from curate.sources import ingest


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "chat", "datasets"])
def test_every_format_holds_the_same_rows_and_is_written_whole(selected, tmp_path, form):
    done = export.export(selected, to=form, destination=tmp_path / "out ü")
    assert done.manifest == selected
    assert done.rows == {"train": 2, "validation": 1, "test": 1}
    assert all(path.is_file() for path in done.paths)
    assert {path for path in (tmp_path / "out ü").rglob("*") if path.is_file()} == set(done.paths), "nothing half written is left"
    assert set(exporters.names()) >= {form}
    again = export.export(selected, to=form, destination=tmp_path / "out ü")
    assert [path.name for path in again.paths] == [path.name for path in done.paths]


def test_parquet_and_jsonl_keep_what_is_known_of_a_row(selected, tmp_path):
    export.export(selected, to="parquet", destination=tmp_path / "p")
    export.export(selected, to="jsonl", destination=tmp_path / "j")
    row = pl.read_parquet(tmp_path / "p" / "train.parquet").to_dicts()[0]
    assert (row["prompt"], row["answer"], row["rationale"], row["stage"]) == ("2+3?", "5", "Two and three make 5.", 0)
    assert (row["origin"], row["extra"], row["source"]) == ("a.jsonl:1", '{"level":1}', "real")
    assert records(tmp_path / "j" / "train.jsonl")[0] == row


def test_chat_is_what_a_trainer_reads(selected, tmp_path):
    export.export(selected, to="chat", destination=tmp_path / "c")
    first, second = records(tmp_path / "c" / "train.jsonl")
    assert first["messages"] == [
        {"role": "user", "content": "2+3?"},
        {"role": "assistant", "content": "Two and three make 5.\nThe answer is: 5"},
    ]
    assert second["messages"][-1]["content"] == "B"
    assert (first["domain"], len(first["id"])) == ("sums", 32)


def test_load_dataset_reads_the_folder_back(selected, tmp_path):
    import datasets

    folder = tmp_path / "d"
    export.export(selected, to="datasets", destination=folder)
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: part["prompt"] for split, part in loaded.items()} == {
        split: frame["prompt"].to_list() for split, frame in read_snapshot(selected).splits.items()
    }
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("---\n")


@pytest.mark.parametrize("form", ["parquet", "jsonl", "datasets"])
def test_an_export_comes_back_in(selected, tmp_path, form):
    folder = tmp_path / "out"
    export.export(selected, to=form, destination=folder)
    back = ingest.ingest([str(folder)], to="back", root=tmp_path).manifest.examples()
    columns = ["prompt", "answer", "rationale", "messages", "domain", "split"]
    before = pl.concat(read_snapshot(selected).splits.values())
    assert set(back.select(columns).rows()) == set(before.select(columns).rows())
