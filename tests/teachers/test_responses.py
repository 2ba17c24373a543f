"""What a raw response says: found wherever it stands, how it ended, and tokens that are never too few."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.teachers.base import Usage
from curate.teachers.responses import finish_kind, parse_response

USAGE = {"prompt_tokens": 120, "completion_tokens": 60, "total_tokens": 180}


def completion(text: Any = "It is 4.", *, finish: Any = "stop", usage: Any = USAGE) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}], "usage": usage}


def chunk(text: str, **more: Any) -> str:
    return "data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": None, **more}]})


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(completion()),
        "\ufeff" + json.dumps(completion()),
        json.dumps({"custom_id": "x", "response": {"body": completion()}, "error": None}),
        json.dumps({"custom_id": "x", "response": completion()}),
        json.dumps({"custom_id": "x", "response": {"body": json.dumps(completion())}}),
        json.dumps(
            {"result": {"message": {"role": "assistant", "content": "It is 4."}, "stop_reason": "end_turn", "usage": USAGE}}
        ),
        json.dumps({"choices": [{"text": "It is 4.", "finish_reason": "stop"}], "usage": USAGE}),
        "\n\n".join([chunk("It is"), chunk(" 4.", finish_reason="stop"), f"data: {json.dumps({'choices': [], 'usage': USAGE})}"])
        + "\n\ndata: [DONE]",
    ],
)
def test_a_reply_is_found_wherever_it_stands(raw: str) -> None:
    found = parse_response(raw)
    assert (found.text, found.usage, found.finish_reason, found.error) == ("It is 4.", Usage(120, 60), "stop", "")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("stop", "STOP", "eos", "end_turn", "stop_sequence", "COMPLETE", "<eos>", "eos_token"), "stop"),
        (("length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens"), "length"),
        (("content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "sensitive"), "content_filter"),
    ],
)
def test_ends_have_one_word_each_whatever_the_server_says(words: tuple[str, ...], kind: str) -> None:
    assert {finish_kind(word) for word in words} == {kind}
    assert {parse_response(json.dumps(completion(finish=word))).finish_reason for word in words} == {kind}


@given(st.none() | st.text() | st.integers() | st.lists(st.text()))
def test_a_word_that_nobody_knows_is_never_taken_for_a_whole_reply(word: Any) -> None:
    known = finish_kind(word) in ("stop", "length", "content_filter", "refusal", "")
    assert known or finish_kind(word) == str(word)


@pytest.mark.parametrize("word", ["error", "abort", "insufficient_system_resource", "TIMEOUT"])
def test_a_reply_that_the_server_broke_off_is_none_and_was_billed(word: str) -> None:
    found = parse_response(json.dumps(completion(finish=word)))
    assert (word in found.error, found.usage, found.unbilled) == (True, Usage(120, 60), False)


@pytest.mark.parametrize(
    ("body", "finish"),
    [({"choices": []}, ""), ({"choices": None}, ""), ({"choices": [], "promptFeedback": {"blockReason": 1}}, "content_filter")],
)
def test_no_choices_are_a_reply_that_says_nothing(body: dict[str, Any], finish: str) -> None:
    found = parse_response(json.dumps({**body, "usage": {**USAGE, "completion_tokens": 0, "total_tokens": 120}}))
    assert (found.text, found.error, found.usage, found.finish_reason) == ("", "", Usage(120, 0), finish)


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"prompt_tokens": 120, "completion_tokens": 60}, Usage(120, 60)),
        ({"prompt_tokens": 120, "completion_tokens": 60, "total_tokens": 1180}, Usage(120, 1060)),
        ({"prompt_tokens": 120, "total_tokens": 180}, Usage(120, 60)),
        ({"completion_tokens": 60, "total_tokens": 180}, Usage(120, 60)),
        ({"input_tokens": 120, "output_tokens": 60}, Usage(120, 60)),
        ({"prompt_tokens": "120", "completion_tokens": 59.5}, Usage(120, 60)),
        ({**USAGE, "completion_tokens_details": {"reasoning_tokens": 40}}, Usage(120, 60, 0, 40)),
        ({**USAGE, "completion_tokens_details": {"reasoning_tokens": 1000}}, Usage(120, 1060, 0, 1000)),
        ({**USAGE, "reasoning_tokens": 1000, "total_tokens": 1180}, Usage(120, 1060, 0, 1000)),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 100}}, Usage(120, 60, 100, 0)),
        ({**USAGE, "prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 100}}, Usage(120, 60, 100, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 60}, None),
        ({"prompt_tokens": 120, "completion_tokens": 0}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
    ],
)
def test_usage_is_believed_where_it_can_be_true_and_never_too_little(reported: dict[str, Any], usage: Usage | None) -> None:
    assert parse_response(json.dumps(completion(usage=reported))).usage == usage


def test_few_tokens_for_a_long_text_were_not_counted() -> None:
    assert (
        parse_response(json.dumps(completion("word " * 500, usage={"prompt_tokens": 120, "completion_tokens": 1}))).usage is None
    )


COUNTS = st.integers(0, 10**6)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_no_less_is_charged_than_any_figure_says(prompt: int, completion_: int, total: int, reasoning: int) -> None:
    reported = {"prompt_tokens": prompt, "completion_tokens": completion_, "total_tokens": total}
    reported |= {"completion_tokens_details": {"reasoning_tokens": reasoning}}  # type: ignore[dict-item]
    usage = parse_response(json.dumps(completion("", usage=reported))).usage
    assert (usage is None) == (not prompt)
    if usage is not None:
        assert usage.total >= max(total, prompt + completion_, prompt + reasoning)


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_nothing_that_comes_is_too_odd(body: Any) -> None:
    for raw in (json.dumps(body), json.dumps({"choices": body}), json.dumps({"choices": [{"message": body}]}), str(body)):
        found = parse_response(raw)
        assert isinstance(found.text, str)
        assert isinstance(found.error, str)
