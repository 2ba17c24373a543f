"""Tests of curate.readers.discover: files, folders, globs and data sets are found, named without local paths, fingerprinted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate import progress
from curate.readers import discover


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


def labels(source) -> list[str]:
    return [file.label for file in discover.find(str(source))]


def notes(source) -> list[str]:
    heard = []
    with progress.listen(heard.append):
        discover.find(str(source))
    return [event.message for event in heard]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test.jsonl", "test"),
        ("squad_test.csv", "test"),
        ("test-00000-of-00003.parquet", "test"),
        ("gsm8k.dev.v2.jsonl.gz", "validation"),
        ("dev.tsv", "validation"),
        ("valid.json", "validation"),
        ("VAL.jsonl", "validation"),
        ("devSet2.csv", "validation"),
        ("train-v1.1.json", "train"),
        ("training_notes.jsonl", "train"),
        ("data/test/part-0.jsonl", "test"),
        ("squad_test/part-0.jsonl", "test"),
        ("test/en/part-0.jsonl", "test"),
        ("test/train.jsonl", "train"),
        ("train/dev/part-0.jsonl", "validation"),
        ("test/part-test-1.jsonl", "test"),
        ("contest.jsonl", None),
        ("latest.jsonl", None),
        ("pretraining.jsonl", None),
        ("unit_tests.jsonl", None),
        ("software_development.jsonl", None),
        ("trainer.jsonl", None),
        ("été.jsonl", None),
    ],
)
def test_whole_words_of_names_say_the_split(name, split):
    assert discover.split_in_names(name) == (split, None)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("train_test.jsonl", "--split test or --split train"),
        ("test_of_training.jsonl", "--split test or --split train"),
        ("train_test_split/part-0.jsonl", "--split test or --split train"),
        ("test/training_notes.jsonl", "--split test or --split train"),
        ("train/unit_test_questions.jsonl", "--split test or --split train"),
        ("dev-train.csv", "--split train or --split validation"),
    ],
)
def test_names_that_contradict_themselves_are_ambiguous(name, flags):
    split, line = discover.split_in_names(name)
    assert split is None
    assert line.startswith(f"{name}: ")
    assert line.endswith(flags)


@pytest.mark.parametrize(
    ("above", "split"),
    [
        (["data", "test"], "test"),
        (["test", "en"], "test"),
        (["squad_test"], "test"),
        (["test_set_2"], "test"),
        (["test_of_my_own0"], None),
        (["tests", "train_of_thought"], None),
    ],
)
def test_folders_above_what_was_given_say_less(above, split):
    assert discover.split_in_names("part-0.jsonl", above) == (split, None)


def test_the_split_is_the_same_alone_from_a_glob_and_from_a_folder(tmp_path, monkeypatch):
    for name in ("data/test/part-0.jsonl", "data/squad_dev/part-0.jsonl", "data/en/train.jsonl", "data/en/squad_test.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    said = {file.path.read_text(): file.split for file in discover.find("data")}
    assert list(said.values()) == ["test", "train", "validation", "test"]
    for source in (
        "data/*/*.jsonl",
        "data/**/*.jsonl",
        "data/*",
        "*",
        str(tmp_path / "data"),
        *said,
        *(str(tmp_path / n) for n in said),
    ):
        found = {file.path.read_text(): file.split for file in discover.find(source)}
        assert found == {name: said[name] for name in found}
        assert len(found) in (1, 4)


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("/srv/test", None),
        ("/srv/test/dev", "validation"),
        ("/home/me/test", "test"),
        ("/home/dev/data", None),
        ("/home/dev/test/en", "test"),
        ("/data/squad/test/en", "test"),
        ("/test/a/b/c", None),
    ],
)
def test_folders_of_users_and_of_the_working_directory_are_no_splits(monkeypatch, folder, split):
    monkeypatch.setattr(Path, "cwd", lambda: Path("/srv/test"))
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    (found,) = discover.find(f"{folder}/part-0.jsonl")
    assert found.split == split


def test_links_are_followed_once(tmp_path):
    data, more = tmp_path / "data", tmp_path / "more"
    (data / "z").mkdir(parents=True)
    more.mkdir()
    for name in ("a.jsonl", "z/real.jsonl"):
        (data / name).write_text(name)
    (more / "b.jsonl").write_text("b")
    for name, target in {
        "more": "../more",
        "loop": "..",
        "a_link": "z",
        "same.jsonl": "a.jsonl",
        "gone.jsonl": "nowhere",
    }.items():
        (data / name).symlink_to(target)
    (more / "back").symlink_to("../data")
    heard = []
    with progress.listen(heard.append):
        found = discover.find(str(data))
    assert [file.label for file in found] == ["a.jsonl", "loop/more/b.jsonl", "z/real.jsonl"]
    assert [event.message for event in heard] == [
        "data: what cannot be opened is left out: gone.jsonl",
        "data: links to files that are there already are left out: same.jsonl",
    ]
    assert sorted(file.path.name for file in discover.find(f"{data}/**/*.jsonl")) == ["a.jsonl", "b.jsonl", "real.jsonl"]


def test_files_that_are_not_read_are_named(tmp_path):
    for name in ("a.jsonl", "notes.txt", ".hidden.jsonl", "sub/README.md", *(f"{n}.png" for n in range(12))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (said,) = notes(tmp_path)
    assert said.startswith(f"{tmp_path.name}: files of other kinds are not read: 0.png, 1.png, ")
    assert said.endswith(" and 4 more")
    assert notes(tmp_path / "*.jsonl") == []
    assert notes(tmp_path / "*.[tj]*") == ["*.[tj]*: files of other kinds are not read: notes.txt"]


def test_globs_match_names_folders_and_any_number_of_folders(folder):
    assert labels(f"{folder}/*.jsonl") == ["train.jsonl", "val-00000-of-00001.jsonl"]
    assert labels(f"{folder}/**/*.jsonl") == ["test/part one.jsonl", "train.jsonl", "val-00000-of-00001.jsonl"]
    assert labels(f"{folder}/t*") == ["test/part one.jsonl", "train.jsonl"]
    assert labels(f"{folder}/**/te*") == ["test/part one.jsonl"]
    assert discover.address_of(f"{folder}/t*") == "t*"


def test_a_file_whose_name_has_wildcards_is_that_file(tmp_path):
    (tmp_path / "a[1].jsonl").touch()
    (tmp_path / "a1.jsonl").touch()
    assert labels(tmp_path / "a[1].jsonl") == ["a[1].jsonl"]
    assert discover.address_of(str(tmp_path / "a[1].jsonl")) == "a[1].jsonl"


def test_names_of_kinds_that_are_read():
    names = ["x.jsonl", "a/X.CSV", "x.json.xz", "x.zip", "x.parquet.gz", "x.txt", "x.gz", "csv"]
    assert [name for name in names if discover.is_readable(name)] == names[:5]


def test_stems():
    assert [discover.stem(name) for name in ("a.jsonl", "d/a.b.csv.gz", "a")] == ["a", "a.b", "a"]


def test_a_label_below_folders():
    assert discover.with_folders("train.jsonl", "/d/en/train.jsonl", 1) == "en/train.jsonl"
    assert discover.with_folders("sub/x.csv", "/d/a/sub/x.csv", 2) == "d/a/sub/x.csv"
    assert discover.with_folders("x.csv", "/x.csv", 9) == "x.csv (9)"
