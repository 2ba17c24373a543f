"""Tests of curate.sources.columns: columns become examples, lists of labels need a rule, and what is left over is kept."""

from __future__ import annotations

import json

import polars as pl
import pytest

from curate.errors import InputError, UnknownNameError
from curate.manifest import chats
from curate.readers.tables import Column, Table
from curate.sources.columns import Columns, to_examples
from tests.support.records import shape


def test_defaults_are_the_names_of_the_fields():
    made = shape(
        [
            {"prompt": "q", "answer": 5, "rationale": "r", "domain": "d", "split": "dev"},
            {"prompt": "p", "answer": 2.5, "domain": "d"},
        ]
    )
    first, second = made.frame.to_dicts()
    texts = {"prompt": "q", "answer": "5", "rationale": "r", "messages": None, "extra": None}
    assert first.pop("record")
    assert first.pop("labels") is None
    assert first.pop("kind") is None
    assert first == {**texts, "domain": "d", "split": "validation", "number": "1"}
    assert (second["answer"], second["rationale"], second["split"]) == ("2.5", None, "train")


def test_named_columns_and_what_is_left_over():
    record = {"text": "q", "label": "l", "why": " ", "kind": "k", "n": 1, "none": None, "tags": ["a", {"b": 'x"\\'}], "ü": "é"}
    made = shape([record], Columns(prompt="text", answer="label", rationale="why", domain="kind")).frame.to_dicts()[0]
    assert (made["prompt"], made["answer"], made["rationale"], made["domain"]) == ("q", "l", None, "k")
    assert made["extra"] == '{"n":1,"tags":["a",{"b":"x\\"\\\\"}],"ü":"é"}'


def test_extra_does_not_depend_on_the_order_of_columns_or_on_other_rows():
    alone = shape([{"prompt": "q", "answer": "a", "x": 1, "w": "t"}]).frame["extra"][0]
    among = shape(
        [{"w": "t", "answer": "a", "x": 1, "prompt": "q"}, {"prompt": "p", "answer": "b", "x": 2.5, "z": "late"}]
    ).frame["extra"][0]
    assert alone == among == '{"w":"t","x":1}'


def test_a_missing_column_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown column of x\.jsonl for --prompt 'txt'; did you mean 'text'\?"):
        shape([{"text": "q", "answer": "a"}], Columns(prompt="txt"))
    with pytest.raises(InputError, match="no column 'answer': name it with --answer; did you mean 'answers'"):
        shape([{"prompt": "q", "answers": "a"}])
    for option in ("rationale", "domain"):
        with pytest.raises(UnknownNameError, match=f"for --{option} 'nothing'"):
            shape([{"prompt": "q", "answer": "a"}], Columns(**{option: "nothing"}))


def test_empty_prompts_and_answers_come_in_as_empty():
    frame = shape([{"prompt": None, "answer": ""}, {"prompt": "q", "answer": "a"}]).frame
    assert frame.select("prompt", "answer").rows() == [("", ""), ("q", "a")]


def test_answers_in_lists_are_joined():
    frame = shape(
        [{"prompt": "q", "answer": ["a", 2]}, {"prompt": "q", "answer": []}, {"prompt": "q", "answer": [{"b": 1}]}]
    ).frame
    assert frame["answer"].to_list() == ["a, 2", "", '[{"b":1}]']


@pytest.mark.parametrize(
    ("rule", "domains", "answers"), [("first", ["a", "c"], ["a", "c"]), ("explode", ["a", "b", "c"], ["a", "b", "c"])]
)
def test_lists_of_labels_follow_the_rule(rule, domains, answers):
    columns = Columns(answer="labels", domain="labels", domain_rule=rule)
    frame = shape([{"prompt": "q", "labels": ["a", "b", "a"]}, {"prompt": "p", "labels": ["c"]}], columns).frame
    assert frame["domain"].to_list() == domains
    assert frame["answer"].to_list() == answers
    assert frame["extra"][0] == '{"labels":["a","b","a"]}'
    assert frame["number"].to_list() == ["1"] * (len(domains) - 1) + ["2"]


def test_a_row_may_keep_all_its_labels():
    columns = Columns(answer="labels", domain="labels", domain_rule="all")
    records = [{"prompt": "q", "labels": ["a", "b", "a", " "]}, {"prompt": "p", "labels": ["c"]}, {"prompt": "r", "labels": "d"}]
    frame = shape(records, columns).frame
    assert frame["domain"].to_list() == ["a", "c", "d"]
    assert frame["labels"].to_list() == [["a", "b"], None, None]
    assert frame["answer"].to_list() == ["a, b", "c", "d"]
    assert (
        frame["record"].to_list()
        == shape(records, Columns(answer="labels", domain="labels", domain_rule="first")).frame["record"].to_list()
    )


def test_lists_of_labels_without_a_rule_say_how_to_choose():
    with pytest.raises(
        InputError, match=r"'labels' holds lists, such as \[\"a\",\"b\"\]: use --domain-rule first .*, all to keep .*, or explode"
    ):
        shape([{"prompt": "q", "answer": "a", "labels": ["a", "b"]}], Columns(domain="labels"))


@pytest.mark.parametrize("rule", ["first", "explode"])
def test_rows_without_a_domain_are_named(rule):
    records = [
        {"prompt": "q", "answer": "a", "d": ["x"]},
        {"prompt": "q", "answer": "a", "d": []},
        {"prompt": "q", "answer": "a"},
    ]
    columns = Columns(domain="d", domain_rule=rule)
    with pytest.raises(
        InputError, match=r"^x\.jsonl:2: column 'd' is empty; every row needs a domain \(2 rows in all\); .*--on-error skip"
    ):
        shape(records, columns)
    made = shape(records, columns, on_error="skip")
    assert made.frame["domain"].to_list() == ["x"]
    assert [line.split(":")[1] for line in made.skipped] == ["2", "3"]


def test_domains_of_numbers_auto_and_the_name_of_the_file():
    records = [{"prompt": "q", "answer": "a", "level": 3}]
    assert shape(records, Columns(domain="level")).frame["domain"].to_list() == ["3"]
    assert shape(records).frame["domain"].to_list() == ["auto"]
    assert shape(records, Columns(domain="auto")).frame["domain"].to_list() == ["auto"]
    assert shape(records, Columns(domain_from="filename")).frame["domain"].to_list() == ["x"]


def test_split_is_a_column_or_a_name_or_what_the_file_is_called():
    records = [{"prompt": "q", "answer": "a", "part": "Val"}, {"prompt": "q", "answer": "a", "part": None}]
    assert shape(records, Columns(split="part")).frame["split"].to_list() == ["validation", "train"]
    assert shape(records, Columns(split="test"), split="train").frame["split"].to_list() == ["test", "test"]
    assert shape(records, split="test").frame["split"].to_list() == ["test", "test"]
    with pytest.raises(InputError, match=r"--split 'parts': x\.jsonl has no such column.*did you mean 'part'"):
        shape(records, Columns(split="parts"))


def test_an_unknown_split_is_named_with_its_row():
    records = [{"prompt": "q", "answer": "a", "split": s} for s in ("train", "holdback")]
    with pytest.raises(InputError, match=r"^x\.jsonl:2: column 'split' is 'holdback', which is none of train, validation, test"):
        shape(records)


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def test_chats_are_recognised():
    chat = turns(("system", "s"), ("user", "q"), ("assistant", "a\\b"))
    records = [
        {"messages": chat, "prompt": "the first turn", "domain": "d"},
        {"messages": turns(("user", "p"), ("assistant", "b")), "domain": "d"},
    ]
    first, second = shape(records).frame.to_dicts()
    assert (first["prompt"], first["answer"], json.loads(first["messages"])) == ("q", "a\\b", chat[:1])
    assert (second["prompt"], second["messages"]) == ("p", None)
    assert first["extra"] == '{"prompt":"the first turn"}'


def test_a_chat_without_an_answer_is_named():
    records = [{"messages": turns(("user", "q"), ("assistant", "a"))}, {"messages": turns(("user", "q"))}]
    with pytest.raises(InputError, match=r"^x\.jsonl:2: the chat has no assistant turn to train on"):
        shape(records)
    assert shape(records, on_error="skip").frame["prompt"].to_list() == ["q"]


def test_turns_after_the_answer_stay():
    chat = turns(("user", "q"), ("assistant", "a"), ("user", "thanks"))
    row = shape([{"messages": chat}]).frame.row(0, named=True)
    assert chats.join_chat(row["prompt"], row["answer"], row["messages"]) == chat


def test_a_named_prompt_beats_messages_and_exported_history_is_kept():
    record = {"messages": turns(("user", "q"), ("assistant", "a")), "text": "t", "answer": "b"}
    assert shape([record], Columns(prompt="text")).frame["prompt"].to_list() == ["t"]
    exported = {"prompt": "q", "answer": "a", "messages": json.dumps(turns(("system", "s")))}
    made = shape([exported]).frame.to_dicts()[0]
    assert (made["prompt"], json.loads(made["messages"])) == ("q", turns(("system", "s")))


def test_records_are_told_apart_whatever_they_hold():
    cells = [
        ["x", "y"],
        ['x\1"p2"\0y', None],
        ['\2"x"', "y"],
        ["x\2", "y"],
        ['"x\\u0002"', "y"],
        ['\2"x\\u0002"', "y"],
        ["x", "\0"],
    ]
    columns = {name: Column(pl.Series([row[n] for row in cells]), False) for n, name in enumerate(("p1", "p2"))}
    columns["prompt"] = columns["answer"] = Column(pl.Series(["q"] * len(cells)), False)
    table = Table("x.csv", columns, pl.int_range(1, len(cells) + 1, eager=True))
    assert to_examples(table, Columns()).frame["record"].n_unique() == len(cells)


def test_columns_are_strings_whatever_the_file():
    columns = {"prompt": Column(pl.Series(["1"]), True), "answer": Column(pl.Series(["true"]), True)}
    frame = to_examples(Table("x.parquet", columns, pl.Series([1])), Columns()).frame
    assert {name for name, dtype in frame.schema.items() if dtype != pl.String} == {"labels"}
    assert frame.row(0)[:2] == ("1", "true")
