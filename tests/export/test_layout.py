"""The layout of a data set repository: its configs, its types, and that `curate ingest` reads it back as it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import progress
from curate.errors import InputError
from curate.export import export, layout
from curate.manifest.chats import split_chat
from curate.manifest.manifest import Manifest
from curate.manifest.rows import in_snapshot
from curate.manifest.schema import EXPORT_MARK
from curate.sources import exported as exported_rows
from curate.sources import ingest
from tests.support.samples import ingested

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
# What a manifest states of a row that an export says; of a score whose it is stays behind.
STATED = (
    "id",
    "content",
    "domain",
    "labels",
    "kind",
    "split",
    "source",
    "origin",
    "parents",
    "cluster",
    "score",
    "stage",
    "status",
    "reason",
)


def written(manifest: Manifest, folder: Path, form: str = "datasets", **options: Any) -> tuple[export.ExportResult, list[str]]:
    heard: list[progress.Event] = []
    with progress.listen(heard.append):
        done = export.export(manifest, to=form, destination=folder, **options)
    return done, [event.message for event in heard if event.step == "export"]


def chosen(stage: int | None = 0, **row: Any) -> dict[str, Any]:
    return {"status": "selected", "stage": stage, **row}


def synthetic(n: int, **row: Any) -> dict[str, Any]:
    return chosen(**{"source": "synthetic", "origin": f"teacher:m#{n}", "parents": ["0" * 32], **row})


ROWS = [
    chosen(prompt="1?", cluster=3, score=0.5, reason="coreset: first"),
    chosen(prompt="2?", stage=1, extra='{"level":1.50}'),
    synthetic(0, prompt="3?", stage=1),
    {"prompt": "left?"},
    {"prompt": "held?", "split": "validation"},
]


def load(folder: Path, tmp_path: Path, config: str = "default") -> Any:
    import datasets

    return datasets.load_dataset(str(folder), config, cache_dir=str(tmp_path / "cache"))


def test_every_config_and_split_loads(tmp_path: Path) -> None:
    done, notes = written(ingested(tmp_path, ROWS), tmp_path / "out")
    configs = {
        name: {split: part["prompt"][:] for split, part in load(done.folder, tmp_path, name).items()}
        for name in ("default", "real", "synthetic", "stage-0", "stage-1")
    }
    assert configs == {
        "default": {"train": ["1?", "2?", "3?"], "validation": ["held?"]},
        "real": {"train": ["1?", "2?"], "validation": ["held?"]},
        "synthetic": {"train": ["3?"]},
        "stage-0": {"train": ["1?"]},
        "stage-1": {"train": ["2?", "3?"]},
    }
    assert "configs default (train 3, validation 1), real (train 2, validation 1), synthetic (train 1), stage-0" in notes[-1]
    assert "a split without rows has no file" in notes[-1]


def test_no_row_is_written_twice_and_names_say_how_many_shards_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_GROUP_BYTES", 1)
    monkeypatch.setattr(layout, "_SHARD_BYTES", 1)
    rows = [chosen(prompt=f"{n}?") for n in range(5)]
    monkeypatch.setattr("curate.export.base._FRAME_ROWS", 2)
    done, _ = written(ingested(tmp_path, rows), tmp_path / "out")
    paths = [path.relative_to(done.folder).as_posix() for path in done.paths if path.suffix == ".parquet"]
    assert paths == [f"data/stage-0/real/train-{n:05d}-of-00003.parquet" for n in range(3)]
    assert pl.concat(map(pl.read_parquet, done.paths[:3]))["prompt"].to_list() == [row["prompt"] for row in rows]


def test_rows_wait_for_a_group_no_longer_than_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_HELD_BYTES", 0)
    rows = [chosen(prompt=f"{n}?", stage=n % 3) for n in range(30)]
    done, _ = written(ingested(tmp_path, rows), tmp_path / "out")
    assert sum(pq.read_metadata(path).num_rows for path in done.paths if path.suffix == ".parquet") == 30


def test_a_set_without_synthetic_rows_has_no_such_config_and_says_so(tmp_path: Path) -> None:
    done, notes = written(ingested(tmp_path, ROWS[:2]), tmp_path / "out")
    assert "there are no synthetic rows, and no such config" in notes[-1]
    assert "synthetic" not in (done.folder / "README.md").read_text(encoding="utf-8").split("---")[1]


def test_held_out_rows_stay_when_they_are_not_asked_for(tmp_path: Path) -> None:
    done, notes = written(ingested(tmp_path, ROWS), tmp_path / "out", held_out=False)
    assert notes[-1] == "1 validation rows are kept back, questions and answers; --held-out takes them along"
    assert not any(b"held?" in path.read_bytes() for path in done.paths)
    assert set(load(done.folder, tmp_path)) == {"train"}


def test_types_are_those_that_other_data_has(tmp_path: Path) -> None:
    import datasets

    done, _ = written(ingested(tmp_path, ROWS), tmp_path / "out")
    loaded = load(done.folder, tmp_path)["train"]
    text = datasets.Value("string")
    assert loaded.features["prompt"] == loaded.features["domain"] == loaded.features["extra"] == text
    assert loaded.features["parents"] == datasets.List(text)
    assert "label" not in loaded.features, "answers are no closed set"
    assert "messages" not in loaded.features, "no row is a chat"
    other = datasets.Dataset.from_dict({"prompt": ["x"], "answer": ["y"]})
    joined = datasets.concatenate_datasets([loaded.select_columns(["prompt", "answer"]), other])
    assert joined["prompt"][:] == ["1?", "2?", "3?", "x"]


def test_class_names_are_a_label_beside_the_answer(tmp_path: Path) -> None:
    import datasets

    names = ["grain", "ship", "trade"]
    rows = [chosen(prompt=f"text {n}", answer=names[n % 3], domain=names[n % 3]) for n in range(30)]
    rows += [
        chosen(prompt="rare", answer="wheat", domain="wheat", split="train"),
        chosen(prompt="none", answer="", domain="ship"),
    ]
    done, _ = written(ingested(tmp_path, rows), tmp_path / "out")
    loaded = load(done.folder, tmp_path)["train"]
    assert loaded.features["label"] == datasets.ClassLabel(names=["grain", "ship", "trade", "wheat"])
    assert loaded.features["answer"] == datasets.Value("string")
    assert loaded["label"][:4] == [0, 1, 2, 0]
    assert loaded["label"][-2:] == [3, None]


def chat(*turns: Mapping[str, Any], **row: Any) -> dict[str, Any]:
    taken = split_chat(list(turns))
    return chosen(prompt=taken.prompt, answer=taken.answer, messages=taken.messages, **row)


ASKED = {"role": "user", "content": "Weather in Oslo?"}
TOOLS = [{"type": "function", "function": {"name": "weather"}}]
CHATS = [
    chat({"role": "system", "content": "Be brief."}, ASKED, {"role": "assistant", "content": "5C"}),
    chat(ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}, extra=json.dumps({"tools": TOOLS, "n": 1.5})),
    chat({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "4"}, ASKED, {"role": "assistant", "content": "5"}),
    chosen(prompt="plain?", answer="6", rationale="So it is."),
]
PICTURED = chat(
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": "A cat."},
)


def test_messages_are_typed_turns_and_tools_stand_beside_them(tmp_path: Path) -> None:
    done, notes = written(ingested(tmp_path, CHATS), tmp_path / "out")
    loaded = load(done.folder, tmp_path)["train"]
    assert list(loaded.features["messages"].feature) == ["role", "content", "tool_calls"]
    assert loaded.features["messages"].feature["tool_calls"].feature["function"]["arguments"].dtype == "string"
    assert "messages_json" not in loaded.features
    assert [[turn["role"] for turn in turns] for turns in loaded["messages"]] == [
        ["system", "user", "assistant"],
        ["user", "assistant"],
        ["user", "assistant", "user", "assistant"],
        ["user", "assistant"],
    ]
    assert loaded["messages"][1][1]["tool_calls"] == [CALL]
    assert loaded["messages"][3][1]["content"] == "So it is.\nThe answer is: 6"
    assert loaded["tools"][:2] == [None, json.dumps(TOOLS)]
    assert not any("typed turns" in note for note in notes)


def test_what_typed_turns_cannot_hold_stands_whole_as_json_and_is_told(tmp_path: Path) -> None:
    done, notes = written(ingested(tmp_path, [*CHATS, PICTURED]), tmp_path / "out")
    loaded = load(done.folder, tmp_path)["train"]
    assert loaded["messages"][4][0] == {"role": "user", "content": "What?", "tool_calls": None}
    assert loaded["messages_json"][:] == [None] * 4 + [PICTURED["messages"]]
    assert notes[0].startswith("datasets: 1 chats have what typed turns cannot hold")


# --- reading back ---


def stated(manifest: Manifest) -> list[tuple[Any, ...]]:
    rows = manifest.rows().filter(in_snapshot()).select(STATED)
    return sorted(rows.iter_rows(), key=str)


def read_back(folder: Path, root: Path, name: str = "back", **options: Any) -> Manifest:
    return ingest.ingest([str(folder)], to=name, root=root, **options).manifest


@pytest.mark.parametrize("form", ["datasets", "parquet"])
def test_an_export_is_read_back_as_it_was(tmp_path: Path, form: str) -> None:
    manifest = ingested(tmp_path, [*ROWS, *CHATS, PICTURED, chosen(prompt="both?", domain="x", labels=["x", "y"], kind="text")])
    done, _ = written(manifest, tmp_path / "out", form)
    back = read_back(done.folder, tmp_path)
    assert stated(back) == stated(manifest)
    again = ingest.ingest([str(done.folder)], to="back", root=tmp_path)
    assert (again.added, again.updated) == (0, {})
    assert again.manifest == back


texts = st.text(max_size=6)
turns = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "tool"]),
        "content": texts | st.none() | st.just([{"type": "image"}]),
    },
    optional={"name": texts, "weight": st.integers(0, 1), "tool_calls": st.just([CALL]), "x": st.integers()},
)


@given(st.lists(turns, max_size=3), texts, texts, st.none() | texts, st.none() | texts | st.just("null"), st.booleans())
def test_every_chat_comes_back_exactly(
    before, asked: str, said: str, rationale: str | None, other: str | None, whole: bool
) -> None:
    taken = split_chat([*before, {"role": "user", "content": asked}, {"role": "assistant", "content": said}])
    row = (taken.prompt, taken.answer, rationale, taken.messages if whole else other)
    typed, kept = layout._turns(row)
    keys = {key: None for turn in typed for key in turn}
    read = [{key: turn.get(key) for key in keys} for turn in typed]  # as a column of structs has them
    assert exported_rows._kept(read, kept, taken.answer, rationale) == row[3]


extras = st.dictionaries(texts, texts | st.integers() | st.floats(allow_nan=False), max_size=2).map(json.dumps)


@st.composite
def rows_of_manifests(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for n in range(draw(st.integers(1, 5))):
        before = draw(st.lists(turns, max_size=3))
        taken = split_chat([*before, {"role": "user", "content": draw(texts)}, {"role": "assistant", "content": draw(texts)}])
        row = {"prompt": taken.prompt, "answer": taken.answer, "messages": taken.messages}
        if draw(st.booleans()):
            row["messages"] = draw(st.none() | texts)
        row |= {
            "rationale": draw(st.none() | texts),
            "extra": draw(st.none() | extras),
            "domain": draw(st.text(min_size=1, max_size=4)),
        }
        row |= {"reason": draw(st.none() | texts), "cluster": draw(st.none() | st.integers(0, 9)), "origin": f"f.jsonl:{n}"}
        row |= {"score": draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))}
        kind = draw(st.sampled_from(["real", "synthetic", "held"])) if n else "real"
        row |= {"split": "test"} if kind == "held" else chosen(draw(st.integers(0, 2)))
        row |= {"source": "synthetic", "origin": f"teacher:m:x#{n}", "parents": ["a" * 32]} if kind == "synthetic" else {}
        found.append(row)
    return found


def files(paths: Iterable[Path], folder: Path) -> dict[str, pl.DataFrame]:
    return {path.relative_to(folder).as_posix(): pl.read_parquet(path) for path in paths if path.suffix == ".parquet"}


@settings(max_examples=8)
@given(rows=rows_of_manifests(), form=st.sampled_from(["datasets", "parquet"]))
def test_export_ingest_export_is_equal(tmp_path_factory, rows: list[dict[str, Any]], form: str) -> None:
    root = tmp_path_factory.mktemp("m")
    manifest = ingested(root, rows, name="m")
    first, _ = written(manifest, root / "first", form)
    back = read_back(first.folder, root)
    assert stated(back) == stated(manifest)
    second, _ = written(back, root / "second", form)
    before, after = files(first.paths, first.folder), files(second.paths, second.folder)
    assert before.keys() == after.keys()
    assert all(frame.equals(after[name]) for name, frame in before.items())


def test_an_export_of_rows_that_are_there_adds_none(tmp_path: Path) -> None:
    manifest = ingested(tmp_path, ROWS, name="m")
    done, _ = written(manifest, tmp_path / "out")
    result = ingest.ingest([str(done.folder)], to="m", root=tmp_path)
    assert (result.added, result.already, result.gone, result.updated) == (0, 4, 0, {})


def test_rows_of_an_export_are_known_again_by_their_ids_alone(tmp_path: Path) -> None:
    manifest = ingested(tmp_path, [chosen(prompt="p?", answer="1"), {"prompt": "p?", "answer": "2"}], name="m")
    read_back(written(manifest, tmp_path / "first")[0].folder, tmp_path)
    other = pl.when(pl.col("status") == "selected").then(pl.lit("candidate")).otherwise(pl.lit("selected"))
    later = manifest.commit(manifest.rows().with_columns(status=other, stage=0), verb="x")
    result = ingest.ingest([str(written(later, tmp_path / "second")[0].folder)], to="back", root=tmp_path)
    assert (result.added, result.updated) == (1, {})
    assert set(result.manifest.rows()["id"]) == set(manifest.rows()["id"])


def test_where_rows_and_licences_came_from_is_read_back(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"prompt": "q?", "answer": "a", "domain": "d"}\n', encoding="utf-8")
    manifest = ingest.ingest([str(source)], to="m", root=tmp_path, licence="mit").manifest
    manifest = manifest.commit(manifest.rows().with_columns(status=pl.lit("selected"), stage=0), verb="balance")
    done, _ = written(manifest, tmp_path / "out")
    back = read_back(done.folder, tmp_path)
    sources = {source["address"]: source["licence"] for source in back.log()[0].summary["sources"]}
    assert sources == {"out": "mit", "a.jsonl": "mit"}
    assert ingest.ingest([str(done.folder)], to="m", root=tmp_path).manifest == manifest, "which has it all"
    again = ingest.ingest([str(source)], to="back", root=tmp_path)
    assert (again.added, again.already, again.updated) == (0, 1, {})


def test_held_out_prompts_of_an_export_stay_held_out(tmp_path: Path) -> None:
    done, _ = written(ingested(tmp_path, [*ROWS, *(chosen(prompt=f"{n} more?") for n in range(20))]), tmp_path / "out")
    back = read_back(done.folder, tmp_path, holdout=0.5)
    held = back.rows().filter(split="validation")
    assert held.height > 5
    assert held["status"].unique().to_list() == ["candidate"]
    assert held["stage"].null_count() == held.height
    assert back.rows().filter(source="synthetic")["split"].to_list() == ["train"]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return written(ingested(tmp_path, ROWS), tmp_path / "out", "parquet")[0].folder / "train.parquet"


def changed(path: Path, change: Any, *, keep: bool = True) -> Path:
    table = pq.read_table(path)
    frame = change(pl.from_arrow(table))
    metadata = table.schema.metadata if keep else None
    pq.write_table(frame.to_arrow().replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.with_columns(id=pl.lit("7")), r"train.parquet:1: .*its id is '7', not 32 hex digits: export it again"),
        (lambda rows: rows.with_columns(id=pl.lit(None)), r"train.parquet:1: .*its id is None"),
        (lambda rows: rows.with_columns(id=pl.lit("0" * 32)), r"train.parquet:1 and train.parquet:2: two rows .* the id 0{32}"),
        (lambda rows: rows.with_columns(split=pl.lit("tain")), r"its split is 'tain', not one of train, validation, test"),
        (lambda rows: rows.with_columns(source=pl.lit("?")), r"its source is '\?', not one of real, synthetic"),
        (lambda rows: rows.with_columns(stage=pl.lit("first")), r"its stage is 'first', no number"),
        (lambda rows: rows.with_columns(domain=pl.lit("")), r"its domain is '', not a name"),
        (lambda rows: rows.drop("id"), r"train.parquet: is an export of curate by its metadata, and has no column 'id'"),
    ],
)
def test_damaged_exports_are_refused_in_one_line(exported: Path, tmp_path: Path, change: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        read_back(changed(exported, change), tmp_path)
    assert "\n" not in str(error.value)


def test_an_export_given_twice_is_refused(exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(exported.read_bytes())
    with pytest.raises(InputError, match=r"are one row.*one after the other"):
        ingest.ingest([str(exported), str(copy)], to="back", root=tmp_path)


def test_a_column_id_alone_makes_no_export(exported: Path, tmp_path: Path) -> None:
    before = pl.read_parquet(exported)["id"].to_list()
    back = read_back(changed(exported, lambda rows: rows, keep=False), tmp_path)
    assert not set(back.rows()["id"]) & set(before)
    assert back.rows()["status"].unique().to_list() == ["candidate"]


def test_flags_that_say_how_a_file_is_read_make_new_rows_of_an_export(exported: Path, tmp_path: Path) -> None:
    heard: list[progress.Event] = []
    with progress.listen(heard.append):
        back = read_back(exported, tmp_path, domain="source")
    assert not set(back.rows()["id"]) & set(pl.read_parquet(exported)["id"])
    assert any("is an export of curate; since --domain says how it is read" in event.message for event in heard)


def test_the_mark_names_no_version_so_that_shards_that_stay_are_the_same_files(tmp_path: Path) -> None:
    manifest = ingested(tmp_path, ROWS)
    first, _ = written(manifest, tmp_path / "first")
    later = manifest.commit(manifest.rows().with_columns(n_tokens=3), verb="x")
    second, _ = written(later, tmp_path / "second")
    for path in first.paths:
        if path.suffix == ".parquet":
            assert path.read_bytes() == (second.folder / path.relative_to(first.folder)).read_bytes()
            assert EXPORT_MARK.encode() in pq.read_schema(path).metadata


# --- odd rows ---


def test_halves_of_letters_long_texts_and_domains_like_paths(tmp_path: Path) -> None:
    half = split_chat([{"role": "system", "content": "\ud800"}, ASKED, {"role": "assistant", "content": "\udfff?"}])
    rows = [
        chosen(prompt="a?", messages=half.messages, extra='{"tools":[{"name":"\\ud800"}]}', domain="../../etc/passwd"),
        chosen(prompt="long?", answer="x" * 10_000_000, domain="a/b"),
        chosen(prompt="\x00\u2028", domain="C:\\x"),
    ]
    manifest = ingested(tmp_path, rows)
    done, _ = written(manifest, tmp_path / "out")
    assert all(path.is_relative_to(tmp_path / "out") for path in done.paths)
    assert stated(read_back(done.folder, tmp_path)) == stated(manifest)
    for form in ("parquet", "jsonl", "chat"):
        assert written(manifest, tmp_path / form, form)[0].rows == {"train": 3}
