"""The formats of trainers: read by `datasets`, by TRL and by our own ingest; what they cannot carry is told."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import models, progress
from curate.errors import InputError
from curate.export import export, trainers
from curate.manifest.chats import read_chat, read_chats, read_turns, split_chat
from curate.sources import ingest
from tests.support import tiny_student

TRAINERS = ["trl", "openai", "alpaca", "sharegpt", "llama-factory", "axolotl", "unsloth", "torchtune"]
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


PLAIN = [{"prompt": f"{n} + {n}?", "answer": str(n + n)} for n in range(12)]
TALK = [
    said("system", "Be brief."),
    *(said("user", "Hi"), said("assistant", "Hello"), said("user", "Größe \u2028?"), said("assistant", "5")),
]
CALLED = [said("user", "Weather in Oslo?"), said("assistant", None, tool_calls=[CALL])]
ANSWERED = [*CALLED, said("tool", "5C", tool_call_id="c1"), said("assistant", "It is 5C.")]
LONGER = [said("user", "Hi"), said("assistant", "Hello"), said("user", "Thanks.")]
PICTURED = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "q"}]
ODD = [said("user", "One"), said("user", "Two?"), said("assistant", "2")]


@pytest.fixture
def write(tmp_path):
    """Ingest rows, select all of them, and return what an export wrote for train, with its result and notes."""

    def written(form: str, rows: list[dict[str, Any]], **options: Any):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        path = root / "rows.jsonl"
        path.write_text("".join(json.dumps({"domain": "d", **row}) + "\n" for row in rows), encoding="utf-8")
        found = ingest.ingest([str(path)], to="rows", root=root, **options).manifest
        chosen = found.commit(found.rows().with_columns(status=pl.lit("selected"), stage=0), verb="balance")
        heard: list[progress.Event] = []
        with progress.listen(heard.append):
            done = export.export(chosen, to=form, destination=root / form)
        lines = (done.folder / "train.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines], done, [event.message for event in heard if event.step == "export"]

    return written


def chat_rows(*turns: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    return [{"messages": each, **more} for each in turns]


def talk(manifest) -> list[list[tuple[str, str]]]:
    return sorted([(turn["role"], turn["content"]) for turn in chat.all] for chat in read_chats(manifest.examples()))


@pytest.mark.parametrize("form", ["openai", "alpaca", "sharegpt", "trl"])
@pytest.mark.parametrize("rows", [PLAIN, chat_rows(TALK, *([said("user", str(n)), said("assistant", "x")] for n in range(11)))])
def test_what_is_written_comes_back_in(write, tmp_path, form, rows):
    _, done, notes = write(form, rows)
    assert not [note for note in notes if "not trained on" not in note]
    back = ingest.ingest(
        [str(path) for path in done.paths if path.suffix == ".jsonl"], to="back", root=tmp_path, domain_from="filename"
    )
    assert talk(back.manifest) == talk(done.manifest)
    columns = ["prompt", "answer"]
    assert sorted(back.manifest.examples().select(columns).rows()) == sorted(done.manifest.examples().select(columns).rows())


@pytest.mark.parametrize("form", ["openai", "sharegpt", "trl", "axolotl"])
def test_calls_of_tools_come_back_in(write, tmp_path, form):
    _, done, _ = write(form, chat_rows(CALLED, ANSWERED, tools=TOOLS))
    back = ingest.ingest([str(done.folder / "train.jsonl")], to="back", root=tmp_path, domain_from="filename").manifest.examples()
    calls = [turn["tool_calls"][0]["function"] for chat in read_chats(back) for turn in chat.all if turn.get("tool_calls")]
    texts = [call["arguments"] if isinstance(call["arguments"], str) else json.dumps(call["arguments"]) for call in calls]
    assert [call["name"] for call in calls] == ["weather", "weather"]
    assert texts == ['{"city": "Oslo"}'] * 2
    offered = [json.loads(extra)["tools"] for extra in back["extra"]]
    assert all("weather" in json.dumps(each) for each in offered)


@pytest.mark.parametrize("form", TRAINERS)
def test_datasets_reads_every_format(write, tmp_path, form):
    import datasets

    rows, done, _ = write(form, [*chat_rows(TALK, ANSWERED, tools=TOOLS), *chat_rows(LONGER[:2])])
    loaded = datasets.load_dataset(str(done.folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(loaded) == len(rows) == done.rows["train"]
    one = loaded[0]
    assert [one[key] for key in rows[0]] == [rows[0][key] for key in rows[0]]


def test_trl_trains_on_the_completion_alone(write, tmp_path):
    import datasets
    from trl import SFTConfig, SFTTrainer

    done = write("trl", PLAIN)[1]
    model, tokenizer = models.load_causal(str(tiny_student.make(tmp_path / "student")))
    config = SFTConfig(str(tmp_path / "out"), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none")
    train = datasets.load_dataset(str(done.folder), split="train", cache_dir=str(tmp_path / "cache"))
    found = SFTTrainer(model, args=config, train_dataset=train, processing_class=tokenizer).train_dataset
    for row, tokens in zip(PLAIN, found, strict=True):
        whole = tokenizer.decode(tokens["input_ids"])
        assert whole == f"<|start|>user\n{row['prompt']}<|end|>\n<|start|>assistant\n{row['answer']}<|end|>\n"
        learned = [token for token, label in zip(tokens["input_ids"], tokens["labels"], strict=True) if label >= 0]
        assert tokenizer.decode(learned) == f"{row['answer']}<|end|>\n"


def test_trl_trains_on_texts_and_on_chats_with_tools(write, tmp_path):
    import datasets
    from trl import SFTConfig, SFTTrainer

    base = tiny_student.make(tmp_path / "student", template=tiny_student.CALLING)
    for name, rows in (("texts", PLAIN), ("chats", chat_rows(TALK, ANSWERED, tools=TOOLS))):
        done = write("trl", rows)[1]
        model, tokenizer = models.load_causal(str(base))
        config = SFTConfig(
            str(tmp_path / name), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none", max_steps=2
        )
        train = datasets.load_dataset(str(done.folder), split="train", cache_dir=str(tmp_path / "cache" / name))
        trainer = SFTTrainer(model, args=config, train_dataset=train, processing_class=tokenizer)
        labels = [token for token in trainer.train_dataset[0]["labels"] if token >= 0]
        assert tokenizer.decode(labels).strip().startswith(done.manifest.examples()["answer"][0])
        assert trainer.train().global_step == 2


def test_trl_has_turns_for_plain_rows_too(write):
    (row, *_), _, notes = write("trl", [{"prompt": "1 + 1?", "answer": "2", "rationale": "One and one."}])
    assert row["prompt"] == [said("user", "1 + 1?")]
    assert row["completion"] == [said("assistant", "One and one.\nThe answer is: 2")]
    assert set(row) == {"id", "domain", "prompt", "completion"}
    assert not notes


texts = st.text(st.characters(codec="utf-8"), max_size=9)


@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=4), st.none() | texts.filter(bool), st.sampled_from(["last", "all"])
)
def test_no_text_of_a_chat_changes(pairs, system, train):
    turns = [] if system is None else [said("system", system)]
    for asked, answered in pairs:
        turns += [said("user", asked), said("assistant", answered)]
    chat = split_chat(turns, train)
    row = trainers.Row(read_chat(chat.prompt, chat.answer, chat.messages), None)
    assert read_turns(trainers._sharegpt(row)["conversations"]) == turns
    for make in (trainers._openai, trainers._axolotl, trainers._texts):
        assert [said(turn["role"], turn["content"]) for turn in make(row)["messages"]] == turns
    record = trainers._alpaca(row)
    history = [tuple(pair) for pair in record["history"] or []]
    assert [*history, (record["instruction"], record["output"])] == pairs
    assert record["system"] == system
    weights = [turn.get("weight", 1) for turn in trainers._openai(row)["messages"] if turn["role"] == "assistant"]
    assert weights == [int(train == "all")] * (len(pairs) - 1) + [1]


def test_rows_of_several_labels_keep_them(write):
    rows, _, _ = write("sharegpt", [{"prompt": "q?", "answer": "a", "domain": ["x", "y"]}], domain_rule="all")
    assert (rows[0]["domain"], rows[0]["domains"]) == ("x", ["x", "y"])


def test_trl_turns_with_tools(write):
    (row,), _, notes = write("trl", chat_rows(ANSWERED, tools=TOOLS))
    assert row["completion"] == [{"role": "assistant", "content": "It is 5C."}]
    assert [turn["role"] for turn in row["prompt"]] == ["user", "assistant", "tool"]
    assert row["prompt"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}
    assert json.loads(row["tools"]) == TOOLS
    assert not notes


def test_openai_says_by_weight_what_is_trained_on(write):
    (row,), _, _ = write("openai", chat_rows(TALK))
    assert list(row) == ["messages"]
    assert [turn.get("weight") for turn in row["messages"]] == [None, None, 0, None, None]
    (row,), _, notes = write("openai", chat_rows(CALLED, tools=TOOLS))
    assert row["tools"] == TOOLS
    assert row["messages"][1] == CALLED[1]
    assert notes == ["openai: 1 train rows, and a fine-tuning job takes 10 or more"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": CALLED, "tools": [{"type": "function", "function": {"name": "my weather"}}]}, "a tool whose name"),
        ({"messages": CALLED, "tools": TOOLS * 129}, "more than 128 tools"),
        ({"messages": [*CALLED, said("tool", "5C"), said("assistant", "5")]}, "a result of a tool without tool_call_id"),
        ({"messages": [said("user", ""), said("assistant", "5")]}, "a turn without content"),
        ({"messages": [said("narrator", "Once."), *LONGER[:2]]}, "the role 'narrator'"),
    ],
)
def test_what_a_fine_tuning_job_refuses_is_told(write, row, why):
    notes = write("openai", [row, *({"messages": [said("user", str(n)), said("assistant", "x")]} for n in range(10))])[2]
    assert len(notes) == 1
    assert f"openai: 1 rows have {why}" in notes[0]


def test_a_file_that_is_too_large_for_openai_is_told(write, monkeypatch):
    monkeypatch.setattr("curate.export.trainers._OPENAI_BYTES", 100)
    assert any("train.jsonl has 0 MB" in note for note in write("openai", PLAIN)[2])


@pytest.mark.parametrize("form", TRAINERS)
def test_rows_that_the_limit_of_the_lines_may_cut_are_told(write, form):
    rows = [*PLAIN, {"prompt": "a word and " * 600, "answer": "x"}, {"prompt": "ü" * 3073, "answer": "x"}]
    told = [note for note in write(form, rows)[2] if "limit them" in note]
    said = (
        "2 rows have more than 6,144 bytes, and may be longer than the 2,048 tokens to which the lines in its README limit them"
    )
    assert len(told) == (form not in ("openai", "torchtune"))
    assert all(note.startswith(f"{form}: {said}; --max-tokens N counts them") for note in told)


def test_examples_that_openai_may_cut_are_told(write):
    notes = write("openai", [*PLAIN, {"prompt": "ü" * 40_000, "answer": "x"}])[2]
    assert len(notes) == 1
    assert notes[0].startswith("openai: 1 rows have more than 65,536 bytes, and are cut if these are as many tokens")


def test_axolotl_says_of_every_turn_whether_it_is_trained_on(write):
    rows, _, notes = write("axolotl", chat_rows(TALK, [*ANSWERED, said("user", "Thanks.")], tools=TOOLS))
    assert [turn["train"] for turn in rows[0]["messages"]] == [False] * 4 + [True]
    assert [turn["train"] for turn in rows[1]["messages"]] == [False, False, False, True, False]
    assert rows[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Oslo"}'
    assert json.loads(rows[1]["tools"][0]["function"]["parameters"]) == FUNCTION["parameters"]
    assert not notes


def test_axolotl_trains_on_all_answers_where_a_row_says_so(write):
    (row,), _, _ = write("axolotl", chat_rows(TALK), turns="all")
    assert [turn["train"] for turn in row["messages"]] == [False, False, True, False, True]


def test_llama_factory_knows_the_files_by_name(write):
    (row,), done, _ = write("llama-factory", chat_rows(ANSWERED, tools=TOOLS))
    assert [turn["from"] for turn in row["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(row["conversations"][1]["value"])["name"] == "weather"
    assert json.loads(row["tools"]) == [FUNCTION]
    columns = {"messages": "conversations", "tools": "tools"}
    info = json.loads((done.folder / "dataset_info.json").read_text())
    assert info == {"rows_train": {"file_name": "train.jsonl", "formatting": "sharegpt", "columns": columns}}
    assert "dataset: rows_train" in (done.folder / "README.md").read_text()


@pytest.mark.parametrize(("turns", "mask"), [("last", "true"), ("all", "false")])
def test_llama_factory_is_told_which_answers_are_trained_on(write, turns, mask):
    _, done, notes = write("llama-factory", chat_rows(TALK), turns=turns)
    assert f"mask_history: {mask}" in (done.folder / "README.md").read_text()
    assert not notes


def test_llama_factory_masks_the_history_of_all_rows_or_of_none(write, tmp_path):
    mixed = [*chat_rows([*TALK[:2], {**TALK[2], "weight": 1}, *TALK[3:]]), *chat_rows(TALK)]
    _, _, notes = write("llama-factory", mixed)
    assert len(notes) == 1
    assert "that some answers are not trained on (all are) (1 rows)" in notes[0]


@pytest.mark.parametrize("form", ["llama-factory", "torchtune", "alpaca"])
def test_rows_that_a_trainer_skips_or_stops_at_are_left_out_and_counted(write, form):
    rows, done, notes = write(form, chat_rows(ODD, LONGER[:2]))
    assert len(rows) == 1
    assert done.rows == {"train": 1}
    assert any(note.startswith(f"{form}: 1 rows are left out, since ") for note in notes)


def test_an_export_with_no_row_left_is_refused(write):
    with pytest.raises(InputError, match=r"no train row is left: torchtune stops at .*--to chat"):
        write("torchtune", chat_rows(ODD))


@pytest.mark.parametrize(
    ("form", "turns", "what"),
    [
        ("trl", LONGER, "turns after the answer (1 rows)"),
        ("sharegpt", TALK, "that earlier answers are not trained on (all are) (1 rows)"),
        ("alpaca", [said("user", "q", name="kim"), said("assistant", "a")], "the key name of turns (1 rows)"),
        ("unsloth", CALLED, "tools that a row offers (1 rows)"),
        (
            "trl",
            [said("user", [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "q"}]), TALK[-1]],
            "images",
        ),
        ("sharegpt", [said("user", "q"), said("assistant", "Let me see.", tool_calls=[CALL])], "the text beside a call of tools"),
    ],
)
def test_what_a_format_has_no_place_for_is_named_and_counted(write, form, turns, what):
    notes = write(form, chat_rows(turns, tools=TOOLS, level=3))[2]
    assert len(notes) == 1
    assert what in notes[0]
    assert "the column level (1 rows)" in notes[0]
    assert "the column tools" not in notes[0]


@pytest.mark.parametrize("form", TRAINERS)
def test_the_readme_has_the_lines_that_train(write, tmp_path, form):
    import yaml

    rows = [*PLAIN, {"prompt": "held?", "answer": "1", "split": "validation"}]
    _, done, _ = write(form, rows)
    text = (done.folder / "README.md").read_text(encoding="utf-8")
    language, lines = text.split("```")[1].split("\n", 1)
    if language == "python":
        compile(lines, "README.md", "exec")
        return
    config = yaml.safe_load(lines)
    assert "train.jsonl" in json.dumps(config) or config["dataset_dir"] == "."
    if form != "torchtune":  # a part of a config
        (file,) = done.folder.glob("*.yaml")
        assert file.read_text(encoding="utf-8") == lines
        assert lines.startswith(f"# {done.train}\n")
        assert done.train.endswith(f" {file.name}")


def test_the_lines_for_trl_are_options_that_trl_has(write, tmp_path, monkeypatch):
    import yaml
    from transformers import HfArgumentParser
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, get_dataset

    _, done, _ = write("trl", PLAIN)
    monkeypatch.chdir(done.folder)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    lines = (done.folder / "README.md").read_text(encoding="utf-8").split("```")[1].split("\n", 1)[1]
    config = yaml.safe_load(lines) | {"bf16": False, "use_cpu": True, "activation_checkpointing": False}
    kinds = (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig)
    *_, mixture = HfArgumentParser(kinds).parse_dict(config)
    assert get_dataset(mixture)["train"]["prompt"][:] == [[said("user", row["prompt"])] for row in PLAIN]
