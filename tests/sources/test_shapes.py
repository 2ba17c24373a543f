"""Tests of curate.sources.shapes: public shapes of records come in whole by themselves, each record by its own keys."""

from __future__ import annotations

import json

import pytest

from curate.errors import InputError
from curate.manifest import chats
from curate.sources.columns import Columns
from curate.sources.settings import FORMATS
from curate.sources.shapes import SHAPES
from tests.support.records import shape


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


# Shape, record, and what it is read as: prompt, answer, rationale, domain.
KNOWN = {
    "alpaca": (
        {"instruction": "Sum up.", "input": "A long text.", "output": "Short."},
        "Sum up.\n\nA long text.",
        "Short.",
        None,
    ),
    "alpaca without input": ({"instruction": "Greet.", "input": "", "output": "Hi."}, "Greet.", "Hi.", None),
    "dolly": (
        {"instruction": "Who?", "context": "Ann did.", "response": "Ann", "category": "closed_qa"},
        *("Who?\n\nAnn did.", "Ann", None, "closed_qa"),
    ),
    "arc": (
        {"id": "1", "question": "Hot?", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "B"},
        *("Hot?\n\nA. ice\nB. fire", "B"),
    ),
    "mmlu": (
        {"question": "1+1?", "subject": "algebra", "choices": ["1", "2", "3", "4"], "answer": 1},
        *("1+1?\n\nA. 1\nB. 2\nC. 3\nD. 4", "B", None, "algebra"),
    ),
    "mmlu as CSV": ({"question": "1+1?", "A": "1", "B": "2", "C": "3", "answer": "B"}, "1+1?\n\nA. 1\nB. 2\nC. 3", "B"),
    "commonsense_qa": (
        {
            "question": "Where?",
            "question_concept": "x",
            "choices": {"label": ["A", "B"], "text": ["here", "there"]},
            "answerKey": "A",
        },
        *("Where?\n\nA. here\nB. there", "A"),
    ),
    "commonsense_qa's own files": (
        {
            "question": {"stem": "Where?", "choices": [{"label": "A", "text": "here"}, {"label": "B", "text": "there"}]},
            "answerKey": "A",
        },
        *("Where?\n\nA. here\nB. there", "A"),
    ),
    "squad": (
        {"context": "Ann sat.", "question": "Who?", "answers": {"text": ["Ann", "She"], "answer_start": [0, 3]}},
        *("Ann sat.\n\nWho?", "Ann"),
    ),
    "gsm8k": ({"question": "2+2?", "answer": "2 and 2.\n#### 4"}, "2+2?", "4", "2 and 2."),
    "question and answer": ({"question": "2+2?", "answer": 4}, "2+2?", "4", None),
    "trl": ({"prompt": "Sky?", "completion": "Blue"}, "Sky?", "Blue"),
    "trl conversational": (
        {"prompt": turns(("user", "Sky?")), "completion": turns(("assistant", "Blue"))},
        *("Sky?", "Blue"),
    ),
    "preference": ({"prompt": "Sky?", "chosen": "Blue", "rejected": "Red"}, "Sky?", "Blue"),
    "preference of chats": (
        {"chosen": turns(("user", "Sky?"), ("assistant", "Blue")), "rejected": turns(("user", "Sky?"), ("assistant", "Red"))},
        *("Sky?", "Blue"),
    ),
    "preference of answers": (
        {"prompt": turns(("user", "Sky?")), "chosen": turns(("assistant", "Blue")), "rejected": turns(("assistant", "Red"))},
        *("Sky?", "Blue"),
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Sky?"}, {"from": "gpt", "value": "Blue"}]},
        *("Sky?", "Blue"),
    ),
    "messages": ({"messages": turns(("user", "Sky?"), ("assistant", "Blue"))}, "Sky?", "Blue"),
    "classification": ({"text": "Great film", "label": "positive"}, "Great film", "positive", None, "positive"),
    "texts": ({"text": "Write a poem."}, "Write a poem.", ""),
    "table": ({"prompt": "q", "answer": "a", "rationale": "r", "domain": "d"}, "q", "a", "r", "d"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_shapes_come_in_by_themselves(name):
    record, *expected = KNOWN[name]
    made = shape([record]).frame.to_dicts()[0]
    prompt, answer, rationale, domain = [*expected, None, "auto"][:4] if len(expected) < 4 else expected
    if len(expected) == 2:
        rationale, domain = None, "auto"
    assert (made["prompt"], made["answer"], made["rationale"], made["domain"]) == (prompt, answer, rationale, domain or "auto")


def test_every_record_of_a_mixed_file_is_read_by_its_own_shape():
    records = [record for name, (record, *_) in KNOWN.items() if name != "table"]
    whole = shape(records).frame
    assert whole["number"].to_list() == [str(n + 1) for n in range(len(records))]
    for n, record in enumerate(records):
        alone = shape([record]).frame
        assert alone.drop("number").row(0) == whole.drop("number").row(n)


def test_what_is_drawn_on_in_parts_stays_in_extra():
    choice = shape([KNOWN["mmlu"][0]]).frame.to_dicts()[0]
    assert json.loads(choice["extra"]) == {"question": "1+1?", "choices": ["1", "2", "3", "4"], "answer": 1}
    pair = shape([KNOWN["preference of chats"][0]]).frame.to_dicts()[0]
    assert json.loads(pair["extra"]) == {"rejected": turns(("user", "Sky?"), ("assistant", "Red"))}


def test_alpaca_with_a_history_is_a_chat():
    record = {"system": "Be kind.", "history": [["Hi", "Hello"]], "instruction": "Who?", "input": "me", "output": "You."}
    made = shape([record]).frame.to_dicts()[0]
    expected = turns(
        ("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Who?\n\nme"), ("assistant", "You.")
    )
    assert chats.join_chat(made["prompt"], made["answer"], made["messages"]) == expected


def test_a_format_can_be_demanded():
    record = {"text": "Great film", "label": "positive", "question": "Good?", "answer": "yes"}
    assert shape([record]).frame["prompt"][0] == "Good?"
    assert shape([record], Columns(format="classification")).frame["prompt"][0] == "Great film"
    with pytest.raises(InputError, match=r"no record has the shape of --format alpaca\. Columns: answer, label"):
        shape([record], Columns(format="alpaca"))
    made = shape([record, {"instruction": "i", "output": "o"}], Columns(format="alpaca"), on_error="skip")
    assert (made.frame["prompt"].to_list(), len(made.skipped)) == (["i"], 1)


def test_flags_overrule_a_shape_one_by_one():
    record = KNOWN["mmlu"][0]
    made = shape([record], Columns(domain="answer")).frame.to_dicts()[0]
    assert (made["prompt"].count("\n"), made["domain"]) == (5, "1")
    made = shape([KNOWN["alpaca"][0]], Columns(prompt="instruction")).frame.to_dicts()[0]
    assert (made["prompt"], made["answer"]) == ("Sum up.", "Short.")


def test_a_forgotten_part_of_the_question_is_pointed_out():
    record = {"question": "1+1?", "choices": ["1", "2"], "answer": "B"}
    made = shape([record, record], Columns(prompt="question"))
    first, second = made.remarks
    assert first.startswith(
        "x.jsonl: 'choices' looks like a part of the question and is not in the prompt; to put it there: --prompt"
    )
    assert "{{ choices | options }}" in first
    assert second.startswith("x.jsonl: 2 of 2 answers are letters of options that their prompts do not show")
    given = {"prompt": "Sum up.", "input": "text", "answer": "s"}
    assert shape([given]).remarks == (
        "x.jsonl: 'input' looks like a part of the question and is not in the prompt; to put it there: --prompt prompt,input",
    )
    assert shape([KNOWN["arc"][0]] * 3).remarks == ()
    assert shape([KNOWN["alpaca"][0]]).remarks == ()


def test_the_formats_of_the_command_are_the_shapes():
    assert ("auto", *SHAPES) == FORMATS
