"""Tests of curate.sources.discover: files, folders, globs and data sets are found, named without local paths, fingerprinted."""

from __future__ import annotations

import hashlib
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_labels_are_told_apart_by_as_few_folders_as_are_needed():
    files = [
        ("train.jsonl", "/d/en/train.jsonl"),
        ("train.jsonl", "/d/de/train.jsonl"),
        ("train.jsonl", "/e/de/train.jsonl"),
        ("sub/x.csv", "/d/a/sub/x.csv"),
        ("sub/x.csv", "/d/b/sub/x.csv"),
        ("one.csv", "/d/one.csv"),
        ("one.csv", "/d/one.csv"),
    ]
    assert discover.unique_labels(files) == [
        "en/train.jsonl",
        "d/de/train.jsonl",
        "e/de/train.jsonl",
        "a/sub/x.csv",
        "b/sub/x.csv",
        "one.csv",
        "one.csv",
    ]


places = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join((*parts, "x.csv")))


@given(st.lists(st.tuples(places, st.integers(1, 4))))
def test_labels_are_equal_where_places_are(drawn):
    files = [("/".join(place.split("/")[1:][-n:]), place) for place, n in drawn]
    made = discover.unique_labels(files)
    for label, (given_label, place) in zip(made, files, strict=True):
        assert label.endswith(given_label)
        assert {other for name, (_, other) in zip(made, files, strict=True) if name == label} == {place}
