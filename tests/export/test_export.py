"""Tests of curate.export.export: a snapshot is what was selected, every format says the same, and load_dataset reads it back."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from curate.errors import InputError, UnknownNameError
from curate.export import export
from curate.export.base import exporters, snapshot
from curate.manifest.manifest import Manifest
from curate.sources import ingest

ROWS = [
    {"prompt": "2+3?", "answer": "5", "rationale": "Two and three make 5.", "domain": "sums", "level": 1},
    {"prompt": "Größe?\n\\frac", "answer": "B", "domain": "law"},
    {"prompt": "left out?", "answer": "7", "domain": "sums"},
    {"prompt": "seen later?", "answer": "8", "domain": "sums", "split": "val"},
    {"prompt": "held back?", "answer": "9", "domain": "law", "split": "test"},
]


@pytest.fixture
def candidates(tmp_path) -> Manifest:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return ingest.ingest([str(path)], to="m", root=tmp_path, licence="mit").manifest


@pytest.fixture
def selected(candidates) -> Manifest:
    rows = candidates.rows().with_columns(
        status=pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("selected")).otherwise("status"),
        stage=pl.when(pl.int_range(pl.len()) < 2).then(0),
    )
    return candidates.commit(rows, verb="balance")


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_nothing_selected_names_the_next_step(candidates):
    with pytest.raises(InputError, match=r"m@0 has no selected rows.*curate balance m --budget N"):
        export.export(candidates, to="parquet")


def test_a_snapshot_is_the_selected_rows_and_the_held_out_splits(selected):
    found = snapshot(selected).splits
    assert {split: frame["prompt"].to_list() for split, frame in found.items()} == {
        "train": ["2+3?", "Größe?\n\\frac"],
        "validation": ["seen later?"],
        "test": ["held back?"],
    }


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
        split: frame["prompt"].to_list() for split, frame in snapshot(selected).splits.items()
    }
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("---\n")


@pytest.mark.parametrize("form", ["parquet", "jsonl", "datasets"])
def test_an_export_comes_back_in(selected, tmp_path, form):
    folder = tmp_path / "out"
    export.export(selected, to=form, destination=folder)
    back = ingest.ingest([str(folder)], to="back", root=tmp_path).manifest.examples()
    columns = ["prompt", "answer", "rationale", "messages", "domain", "split"]
    before = pl.concat(snapshot(selected).splits.values())
    assert set(back.select(columns).rows()) == set(before.select(columns).rows())


def test_the_default_destination_is_beside_the_manifests(selected, tmp_path):
    done = export.export(selected)
    assert done.paths[0] == tmp_path / "exports" / "m-v1-parquet" / "train.parquet"


def test_a_callable_is_a_format(selected, tmp_path):
    def count(found, destination):
        path = destination / "count.txt"
        path.write_text(str(found.splits["train"].height))
        return (path,)

    assert export.export(selected, to=count, destination=tmp_path / "x").paths[0].read_text() == "2"


def test_unknown_formats_and_places_that_cannot_be_written(selected, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown export format 'parket'; did you mean 'parquet'"):
        export.export(selected, to="parket")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"export of m@1: .*cannot be written"):
        export.export(selected, destination=tmp_path / "file")
