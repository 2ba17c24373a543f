"""Tests of curate.sources.discover: files, folders, globs and data sets are found, named without local paths, fingerprinted."""

from __future__ import annotations

import hashlib
import json

import polars as pl
import pytest

from curate import progress
from curate.errors import InputError
from curate.sources import discover


@pytest.fixture
def folder(tmp_path):
    base = tmp_path / "My Data ü"
    for name, rows in {
        "train.jsonl": ["a", "b"],
        "val-00000-of-00001.jsonl": ["c"],
        "test/part one.jsonl": ["d"],
        "notes.txt": [],
        ".hidden.jsonl": ["h"],
        ".git/x.jsonl": ["g"],
        "dataset_infos.json": ["i"],
    }.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("".join(json.dumps({"p": row}) + "\n" for row in rows), encoding="utf-8")
    return base


def names(read: discover.Source) -> list[str]:
    return [table.name for table in read.tables]


def test_a_file_is_named_without_its_folder_and_hashed(folder):
    read = discover.read_source(str(folder / "train.jsonl"))
    digest = hashlib.sha256((folder / "train.jsonl").read_bytes()).hexdigest()
    assert (read.address, read.fingerprint, names(read), read.splits) == (
        "train.jsonl",
        f"sha256:{digest}",
        ["train.jsonl"],
        (None,),
    )


def test_a_folder_is_read_with_its_subfolders_and_its_names_give_splits(folder):
    read = discover.read_source(str(folder))
    assert read.address == "My Data ü"
    assert dict(zip(names(read), read.splits, strict=True)) == {
        "test/part one.jsonl": "test",
        "train.jsonl": "train",
        "val-00000-of-00001.jsonl": "validation",
    }
    assert str(folder.parent) not in repr(read)


def test_a_folder_has_another_fingerprint_when_a_file_changes(folder):
    before = discover.read_source(str(folder)).fingerprint
    assert discover.read_source(str(folder)).fingerprint == before
    (folder / "train.jsonl").write_text('{"p":"z"}\n', encoding="utf-8")
    assert discover.read_source(str(folder)).fingerprint != before


def test_globs(folder):
    assert names(discover.read_source(f"{folder}/*.jsonl")) == ["train.jsonl", "val-00000-of-00001.jsonl"]
    assert names(discover.read_source(f"{folder}/**/*.jsonl")) == [
        "test/part one.jsonl",
        "train.jsonl",
        "val-00000-of-00001.jsonl",
    ]
    assert discover.read_source(f"{folder}/t*").address == "t*"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("trian.jsonl", r"no file, folder or glob .*did you mean .*train\.jsonl"),
        ("*.parquet", "matches no file to read"),
        (".git/../empty", "no file, folder or glob"),
    ],
)
def test_what_is_not_there_is_named(folder, source, reason):
    with pytest.raises(InputError, match=reason):
        discover.read_source(f"{folder}/{source}")


def test_empty_sources_are_refused_and_empty_files_among_others_are_noted(folder):
    (folder / "none").mkdir()
    with pytest.raises(InputError, match="no file to read in it"):
        discover.read_source(str(folder / "none"))
    (folder / "zero.jsonl").touch()
    with pytest.raises(InputError, match=r"^zero\.jsonl: there are no rows in it"):
        discover.read_source(str(folder / "zero.jsonl"))
    heard = []
    with progress.listen(heard.append):
        assert "zero.jsonl" not in names(discover.read_source(str(folder)))
    assert "zero.jsonl: there are no rows in it" in [event.message for event in heard]


@pytest.mark.parametrize(
    ("name", "split"), [("VAL", "validation"), ("dev ", "validation"), ("train", "train"), ("testing", "test"), ("trainer", None)]
)
def test_names_of_splits(name, split):
    assert discover.split_of(name) == split


def made(**columns):
    import datasets

    features = datasets.Features({"q": datasets.Value("string"), "kind": datasets.ClassLabel(names=["maths", "law"])})
    return datasets.Dataset.from_dict(columns, features=features)


def test_a_saved_data_set_keeps_its_splits_and_the_names_of_its_classes(tmp_path):
    import datasets

    parts = datasets.DatasetDict({"train": made(q=["a", "b"], kind=[1, -1]), "test": made(q=["c"], kind=[0])})
    parts.save_to_disk(str(tmp_path / "saved"))
    read = discover.read_source(str(tmp_path / "saved"))
    assert read.address == "saved"
    assert read.splits == ("train", "test")
    assert read.tables[0].frame.to_dicts() == [{"q": "a", "kind": "law"}, {"q": "b", "kind": None}]
    assert names(read) == ["saved/train", "saved/test"]
    alone = tmp_path / "alone"
    made(q=["a"], kind=[1]).select([0]).save_to_disk(str(alone))
    assert discover.read_source(str(alone)).splits == (None,)


def test_a_data_set_of_the_hub_is_asked_for_by_name_and_configuration(monkeypatch):
    import datasets

    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *given: asked.append(given) or {"train": made(q=["a"], kind=[0])})
    read = discover.read_source("hf://org/name:main")
    assert asked == [("org/name", "main")]
    assert (read.address, names(read)) == ("hf://org/name:main", ["hf://org/name:main/train"])
    assert read.fingerprint.startswith("fingerprint:")


def test_a_data_set_that_cannot_be_loaded_is_one_line(monkeypatch):
    import datasets

    def fail(*_):
        raise ConnectionError("no network\nand a long story")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(InputError, match=r"^data set 'hf://org/name' cannot be loaded: no network$"):
        discover.read_source("hf://org/name")


def test_skipped_rows_are_listed(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"p":"a"}\nnot json\n')
    read = discover.read_source(str(tmp_path / "x.jsonl"), on_error="skip")
    assert [line.split(": ")[0] for line in read.tables[0].skipped] == ["x.jsonl:2"]
    assert isinstance(read.tables[0].frame, pl.DataFrame)
