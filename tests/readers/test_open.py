"""Tests of curate.readers.open: files are read by their kind; labels hold no local path; data sets keep splits and names."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import polars as pl
import pytest

from curate import progress
from curate.errors import CurateError, HubError, InputError
from curate.readers import open as opening
from curate.readers.text_files import TextOptions
from tests.support import hub as hubs


def read(folder, name, content, **options):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return opening.read(folder / name, name=name, **options)


def texts(table):
    return {name: column.texts().to_list() for name, column in table.columns.items()}


def test_every_kind_says_the_same(tmp_path):
    frame = pl.DataFrame({"a": ["x", "y"], "b": ["1", None]})
    said = {"a": ["x", "y"], "b": ["1", None]}
    for name, content in {
        "x.jsonl": '{"a":"x","b":1}\n{"a":"y"}\n',
        "x.ndjson": '{"a":"x","b":1}\n{"a":"y","b":null}\n',
        "x.json": '[{"a":"x","b":1},{"a":"y"}]',
        "x.csv": "a,b\nx,1\ny,\n",
        "X.TSV": "a\tb\nx\t1\ny\t\n",
    }.items():
        assert texts(read(tmp_path, name, content)) == said
        assert texts(read(tmp_path, name + ".gz", gzip.compress(content.encode()))) == said
        assert texts(read(tmp_path, "stream", content, kind="")) == said
    for name, write in {"x.parquet": frame.write_parquet, "x.arrow": frame.write_ipc, "x.feather": frame.write_ipc}.items():
        write(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert texts(read(tmp_path, name, content)) == said
        assert texts(read(tmp_path, name + ".gz", gzip.compress(content))) == said
        assert texts(read(tmp_path, "stream", content, kind="")) == said


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", "hello", r"cannot tell its kind.*\.jsonl"),
        ("noname", "hello", "cannot tell its kind"),
        ("x.jsonl", b"PAR1xxxx", r"is a Parquet file by its first bytes: name it \.parquet"),
        ("x.parquet", "junk", "cannot be read as Parquet"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        read(tmp_path, name, content)


@pytest.fixture
def folder(tmp_path):
    base = tmp_path / "My Data ü"
    for name, rows in {
        "train.jsonl": ["a", "b"],
        "val-00000-of-00001.jsonl": ["c"],
        "test/part one.jsonl": ["d"],
        ".hidden.jsonl": ["h"],
        ".git/x.jsonl": ["g"],
        "dataset_infos.json": ["i"],
    }.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("".join(json.dumps({"p": row}) + "\n" for row in rows), encoding="utf-8")
    return base


def test_a_file_is_named_without_its_folder_and_hashed(folder):
    path = folder / "train.jsonl"
    source = opening.open_source(str(path))
    (file,) = source.files
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source.address, source.fingerprint) == ("train.jsonl", f"sha256:{digest}")
    assert (file.label, file.table.name, file.split, file.sha256) == ("train.jsonl", "train.jsonl", "train", digest)
    assert file.place == str(path.resolve())


def test_a_folder_is_read_with_its_subfolders_and_its_names_give_splits(folder):
    source = opening.open_source(str(folder))
    assert source.address == "My Data ü"
    assert {file.label: file.split for file in source.files} == {
        "test/part one.jsonl": "test",
        "train.jsonl": "train",
        "val-00000-of-00001.jsonl": "validation",
    }
    assert not any(str(folder.parent) in text for file in source.files for text in (file.label, file.table.name))


def test_a_folder_has_another_fingerprint_when_a_file_changes(folder):
    before = opening.open_source(str(folder)).fingerprint
    assert opening.open_source(str(folder)).fingerprint == before
    (folder / "train.jsonl").write_text('{"p":"z"}\n', encoding="utf-8")
    assert opening.open_source(str(folder)).fingerprint != before


def test_empty_sources_are_refused_and_empty_files_among_others_are_noted(folder):
    (folder / "zero.jsonl").touch()
    with pytest.raises(InputError, match=r"^zero\.jsonl: there are no rows in it"):
        opening.open_source(str(folder / "zero.jsonl"))
    heard = []
    with progress.listen(heard.append):
        source = opening.open_source(str(folder))
    assert "zero.jsonl" not in {file.label for file in source.files}
    assert "zero.jsonl: there are no rows in it" in [event.message for event in heard]
    (folder / "bad.jsonl").write_text("no\n")
    with pytest.raises(InputError, match=r"^bad\.jsonl: there are no rows in it; bad\.jsonl:1: not JSON"):
        opening.open_source(str(folder / "bad.jsonl"), on_error="skip")


def test_a_file_without_a_column_of_text_is_refused(tmp_path):
    pl.DataFrame({"image": [b"x"]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"^x\.parquet: no column of it can be read as text"):
        opening.open_source(str(tmp_path / "x.parquet"))


def test_skipped_rows_are_listed(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"p":"a"}\nnot json\n')
    (file,) = opening.open_source(str(tmp_path / "x.jsonl"), on_error="skip").files
    assert [line.split(": ")[0] for line in file.table.skipped] == ["x.jsonl:2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a":"x"}\n{"a":"y"}\n', ["x", "y"]),
        (b'\xef\xbb\xbf [{"a":"x"}, {"a":"y"}]', ["x", "y"]),
        (b"a,b\nx,1\ny,2\n", ["x", "y"]),
        (b"a\tb\nx\t1\ny\t2\n", ["x", "y"]),
        (gzip.compress(b"a,b\nx,1\ny,2\n"), ["x", "y"]),
    ],
)
def test_standard_input_is_read_by_its_first_bytes(monkeypatch, content, said):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    source = opening.open_source("-")
    (file,) = source.files
    assert (source.address, file.label, file.place, file.split) == ("stdin", "stdin", "-", None)
    assert file.table.columns["a"].texts().to_list() == said
    assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_a_terminal_is_no_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    with pytest.raises(InputError, match="that is a terminal: pipe a file into it"):
        opening.open_source("-")


def test_a_named_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(path.write_text, '{"a":"x"}\n')
        (file,) = opening.open_source(str(path)).files
        assert written.result()
    assert file.table.columns["a"].texts().to_list() == ["x"]


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("x.jsonl", TextOptions(delimiter=";"), r"^--delimiter: is for CSV and TSV, and .* has \.jsonl"),
        ("x.jsonl", TextOptions(header=False), "^--no-header: is for CSV and TSV"),
        ("x.csv", TextOptions(records="data"), r"^--records 'data': is for JSON, and .* has \.csv"),
    ],
)
def test_options_that_no_file_is_read_by_are_refused(tmp_path, name, options, reason):
    (tmp_path / name).write_text('{"a":1}')
    with pytest.raises(InputError, match=reason):
        opening.open_source(str(tmp_path / name), options=options)


def test_options_reach_the_files_of_a_folder(tmp_path):
    (tmp_path / "a.csv").write_text("x;1\n")
    (tmp_path / "b.json").write_text('{"rows": [{"p": "y", "n": 2}]}')
    options = TextOptions(header=False, columns=("p", "n"), delimiter=";", records="rows")
    assert [texts(file.table) for file in opening.open_source(str(tmp_path), options=options).files] == [
        {"p": ["x"], "n": ["1"]},
        {"p": ["y"], "n": ["2"]},
    ]


def test_folders_in_the_way_of_hive_are_columns(tmp_path):
    for name in ("split=test/domain=civil%20law/x.csv", "split=train/domain=__HIVE_DEFAULT_PARTITION__/x.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("q,split\nx,own\n")
    files = opening.open_source(str(tmp_path)).files
    assert [texts(file.table) for file in files] == [
        {"q": ["x"], "split": ["own"], "domain": ["civil law"]},
        {"q": ["x"], "split": ["own"]},
    ]
    assert [file.split for file in files] == ["test", "train"]


def made(**columns):
    import datasets

    features = datasets.Features({"q": datasets.Value("string"), "kind": datasets.ClassLabel(names=["maths", "law"])})
    return datasets.Dataset.from_dict(columns, features=features)


def test_a_saved_data_set_keeps_its_splits_and_the_names_of_its_classes(tmp_path):
    import datasets

    parts = datasets.DatasetDict({"train": made(q=["a", "b"], kind=[1, -1]), "test_sft": made(q=["c"], kind=[0])})
    parts.save_to_disk(str(tmp_path / "saved"))
    source = opening.open_source(str(tmp_path / "saved"))
    assert source.address == "saved"
    assert source.fingerprint.startswith("fingerprint:")
    assert [(file.label, file.split) for file in source.files] == [("saved/train", "train"), ("saved/test_sft", "test")]
    assert source.files[0].place == str((tmp_path / "saved").resolve() / "train")
    assert texts(source.files[0].table) == {"q": ["a", "b"], "kind": ["law", None]}


def test_a_split_that_was_saved_alone_says_which_it_is(tmp_path):
    import datasets

    part = made(q=["a", "b"], kind=[1, 0])
    part.select([1]).save_to_disk(str(tmp_path / "none"))
    named = datasets.Dataset(part.data, split=datasets.Split.TEST)
    named.save_to_disk(str(tmp_path / "one"))
    assert [file.split for file in opening.open_source(str(tmp_path / "none")).files] == [None]
    assert [file.split for file in opening.open_source(str(tmp_path / "one")).files] == ["test"]
    assert texts(opening.open_source(str(tmp_path / "none")).files[0].table) == {"q": ["b"], "kind": ["maths"]}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Return a Hub that has one data set of two commits, of which the first is tagged."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr("curate.hub.client._WAITS", ())
    datasets.disable_progress_bars()
    with hubs.serving() as running:
        hubs.point(monkeypatch, running, tmp_path / "home")
        repo = running.repo("org/name")
        for text in ("old", "new"):
            part = io.BytesIO()
            made(q=[text], kind=[0]).to_parquet(part)
            repo.write(data__train_dot_parquet=part.getvalue(), other__test_dot_parquet=part.getvalue())
            repo.tags.setdefault("v1", repo.head.oid)
        config = {"config_name": "main", "data_files": "data/*"}, {"config_name": "other", "data_files": "other/*"}
        repo.write(README_dot_md=f"---\nconfigs: {json.dumps(config)}\n---\n".encode())
        yield running
        huggingface_hub.utils.close_session()
    datasets.enable_progress_bars()


def test_a_data_set_of_the_hub_is_read_by_configuration_and_called_without_its_revision(hub):
    source = opening.open_source("hf://org/name:main")
    assert (source.address, source.files[0].label) == ("hf://org/name:main", "hf://org/name:main/train")
    assert texts(source.files[0].table)["q"] == ["new"]
    assert source.fingerprint == f"revision:{hub.repos['dataset', 'org/name'].head.oid}"


def test_a_revision_is_read_as_it_was_and_recorded_as_its_commit(hub):
    tag = hub.repos["dataset", "org/name"].tags["v1"]
    for revision in ("v1", tag):
        source = opening.open_source(f"hf://org/name@{revision}")
        assert (source.address, source.fingerprint) == ("hf://org/name", f"revision:{tag}")
        assert texts(source.files[0].table)["q"][0] == "old"


def test_an_older_copy_in_the_cache_is_not_taken_for_what_was_asked(hub):
    opening.open_source("hf://org/name:main")
    hub.repos["dataset", "org/name"].write(LICENSE=b"a newer commit")
    hub.break_("resolve", status=503)
    for config in ("main", "other"):
        with pytest.raises(HubError, match=r"^reading org/name: the Hub at \S+ cannot be reached \(its files did not come"):
            opening.open_source(f"hf://org/name:{config}")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "hf://org/nothing",
            r"reading org/nothing: there is no such data set at http://\S+, or it is private and the token in HF_TOKEN",
        ),
        ("hf://other/secret", r"reading other/secret: there is no such data set"),
        ("hf://other/gated", r"reading other/gated: it is gated, and the token in HF_TOKEN has no access: ask for it at http"),
        ("hf://org/name@v9", r"reading org/name@v9: it has no revision 'v9': name a branch, a tag or a commit"),
        ("hf://org/name:x", r"data set 'hf://org/name:x' cannot be loaded: .*x.* not found. Available: \['main', 'other'\]"),
        ("hf://org/empty", r"data set 'hf://org/empty' cannot be loaded: "),
        ("hf://a/b/c", r"'hf://a/b/c' names no repository: write hf://ORG/NAME"),
        ("hf://org/name@", r"'hf://org/name@' ends in @"),
    ],
)
def test_a_data_set_that_cannot_be_loaded_is_one_line(hub, source, line):
    hub.repo("other/secret")
    hub.repo("other/gated", private=False).gated = True
    hub.repo("org/empty")
    with pytest.raises(CurateError, match=f"^{line}") as raised:
        opening.open_source(source)
    assert "\n" not in str(raised.value)


def test_a_renamed_data_set_is_read_and_its_name_told(hub):
    hub.rename("org/name", "org/other")
    notes = []
    with progress.listen(notes.append):
        source = opening.open_source("hf://org/name:main")
    assert source.address == "hf://org/name:main"
    assert "org/name is called org/other now; name it so from now on" in [note.message for note in notes]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("info", {"status": 500}),
        ("info", {"response": 30}),
        ("resolve", {"status": 500}),
        ("resolve", {"response": 100}),
        ("tree", {"status": 502}),
        ("download", {"status": 403}),
    ],
)
def test_a_hub_that_fails_while_a_data_set_is_read_is_one_line(hub, kind, fault, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    hub.break_(kind, **fault)
    with pytest.raises(CurateError, match=r"^(reading org/name|data set 'hf://org/name)") as raised:
        opening.open_source("hf://org/name:main")
    assert "\n" not in str(raised.value)


def test_without_a_network_a_data_set_is_one_line(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"^reading org/name: the Hub at http://127.0.0.1:9 cannot be reached"):
        opening.open_source("hf://org/name")


def test_offline_the_cache_is_read_and_no_revision_promised(hub, monkeypatch):
    opening.open_source("hf://org/name:main")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"^'hf://org/name@v1:main': HF_HUB_OFFLINE is set"):
        opening.open_source("hf://org/name@v1:main")
    assert opening.open_source("hf://org/name:main").fingerprint.startswith("fingerprint:")
