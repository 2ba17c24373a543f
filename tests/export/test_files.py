"""The built-in formats: every one holds the same rows, and what was written is read back."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import progress
from curate.export import base, export, files
from curate.export.base import exporters, read_snapshot
from curate.export.destination import MARKER
from curate.manifest.chats import read_chats
from curate.sources import ingest


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "chat", "datasets"])
def test_every_format_holds_the_same_rows_and_is_written_whole(selected, tmp_path, form):
    done = export.export(selected, to=form, destination=tmp_path / "out ü")
    assert done.manifest == selected
    assert done.rows == {"train": 2, "validation": 1, "test": 1}
    assert all(path.is_file() for path in done.paths)
    there = {path for path in (tmp_path / "out ü").rglob("*") if path.is_file()}
    assert there == {*done.paths, tmp_path / "out ü" / MARKER}, "nothing half written is left"
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


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ASKED = {"role": "user", "content": "Weather in Oslo?"}
PICTURED = {"content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "x"}}], "role": "user"}
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.fixture
def write(tmp_path):
    """Ingest records as chats, select all of them, and return what an export wrote for train, with the notes."""

    def written(*rows, form="chat"):
        path = tmp_path / "chats.jsonl"
        lines = [row if isinstance(row, str) else json.dumps({"domain": "d", **row}) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = ingest.ingest([str(path)], to="chats", root=tmp_path).manifest
        chosen = found.commit(found.rows().with_columns(status=pl.lit("selected"), stage=0), verb="balance")
        heard: list[progress.Event] = []
        with progress.listen(heard.append):
            export.export(chosen, to=form, destination=tmp_path / form)
        path = tmp_path / form / "train.jsonl"
        return records(path) if path.exists() else [], [event.message for event in heard if event.step == "export"]

    return written


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [{**ASKED, "name": "kim"}, {"role": "assistant", "content": "4", "reasoning_content": "Two and two.", "weight": 1}],
        [PICTURED, {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Thanks."}],
    ],
)
def test_a_chat_leaves_as_it_came(write, messages):
    (row,), notes = write({"messages": messages})
    assert json.dumps(row["messages"]) == json.dumps(messages)
    assert not notes


def test_datasets_reads_chats_back_as_they_came(write, tmp_path):
    import datasets

    chats = [
        [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [PICTURED, {"role": "assistant", "content": "A cat.", "weight": 1}],
        [ASKED, {"role": "assistant", "content": "5C"}, {"role": "user", "content": "Thanks."}],
    ]
    write({"messages": chats[0], "tools": TOOLS}, {"messages": chats[1]}, {"messages": chats[2]})
    files = {"train": str(tmp_path / "chat" / "train.jsonl")}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert sorted(map(json.dumps, loaded["messages"])) == sorted(map(json.dumps, chats))
    assert [tools for tools in loaded["tools"] if tools] == [TOOLS]


def test_tools_and_other_keys_stand_beside_messages_in_every_record(write):
    plain = {"messages": [ASKED, {"role": "assistant", "content": "5C"}]}
    told = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "domain": "d", "price": 1.50}'
    rows, notes = write({**plain, "tools": TOOLS, "parallel_tool_calls": False}, told)
    assert [list(row) for row in rows] == [["id", "domain", "messages", "parallel_tool_calls", "tools", "price"]] * 2
    assert (rows[0]["tools"], rows[0]["parallel_tool_calls"], rows[1]["tools"]) == (TOOLS, False, None)
    assert not notes


def test_columns_that_a_trainer_would_misread_are_named_and_counted(write):
    chat = [ASKED, {"role": "assistant", "content": "5C"}]
    rows, notes = write({"messages": chat, "id": 7, "completion": "x"}, {"messages": chat, "id": 8})
    assert all(list(row) == ["id", "domain", "messages"] for row in rows)
    assert len(notes) == 1
    assert "completion (1 rows), id (2 rows)" in notes[0]


def test_chats_of_several_answers_say_which_turns_are_trained_on(write):
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}, ASKED]
    rows, _ = write({"messages": [*chat, {"role": "assistant", "content": "5C"}]})
    assert rows[0]["turns"] == "last"


values_of_a_row = st.text(max_size=9) | st.floats(allow_nan=False) | st.none()


@given(st.dictionaries(st.text(max_size=5), values_of_a_row, max_size=4), st.booleans())
def test_members_of_extra_are_written_as_they_are(values, indented):
    text = json.dumps(values, indent=2 if indented else None)
    found = files._members(text)
    assert {key: json.loads(value) for key, value in found.items()} == values
    assert "\n" not in "".join(found.values())


@pytest.mark.parametrize("text", ["[1]", "no JSON", '{"a": 1', ""])
def test_an_extra_that_is_no_object_is_kept_whole(text):
    assert files._members(text) == {"extra": json.dumps(text)}


@pytest.mark.parametrize("form", ["datasets", "parquet"])
def test_other_data_is_joined_to_an_export(selected, tmp_path, form):
    import datasets

    export.export(selected, to=form, destination=tmp_path / form)
    path = next((tmp_path / form).rglob("train*.parquet"))
    loaded = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert loaded.features["prompt"] == datasets.Value("string")
    assert loaded.features["parents"] == datasets.List(datasets.Value("string"))
    other = datasets.Dataset.from_dict({"prompt": ["x"], "answer": ["y"]})
    joined = datasets.concatenate_datasets([loaded.select_columns(["prompt", "answer"]), other])
    assert joined["prompt"][:] == ["2+3?", "Größe?\n\\frac", "x"]


def test_parquet_is_written_in_pieces(selected, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "_FRAME_ROWS", 1)
    export.export(selected, to="parquet", destination=tmp_path / "p")
    assert pl.read_parquet(tmp_path / "p" / "train.parquet")["prompt"].to_list() == ["2+3?", "Größe?\n\\frac"]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "datasets", "chat"])
def test_chats_come_back_in_as_they_left(write, tmp_path, form):
    chats = [
        [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [ASKED, {"role": "assistant", "content": "4"}, PICTURED, {"role": "assistant", "content": "5", "weight": 1}],
        [{**ASKED, "name": "kim"}, {"role": "assistant", "content": "5C"}, {"role": "user", "content": "Thanks."}],
    ]
    write(*({"messages": chat, "tools": TOOLS} for chat in chats), form=form)
    back = ingest.ingest([str(tmp_path / form)], to="back", root=tmp_path).manifest.examples()
    assert sorted(json.dumps(chat.all) for chat in read_chats(back)) == sorted(json.dumps(chat) for chat in chats)
