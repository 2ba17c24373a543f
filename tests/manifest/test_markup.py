"""Thoughts, control tokens and marks of roles, of whatever model, are taken off a reply or named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.manifest.markup import find_mark, split_thoughts

SAID = "We add, step by step. The answer is: 72"
THOUGHT = "5+5, I guess"


@pytest.mark.parametrize(
    "reply",
    [
        "<think>{T}</think>\n\n{S}",
        "<thinking>{T}</thinking>{S}",
        "<Thought>{T}</Thought>{S}",
        "<reasoning>{T}</reasoning>{S}",
        "<seed:think>{T}</seed:think>{S}",
        "[THINK]{T}[/THINK]{S}",
        "◁think▷{T}◁/think▷{S}",
        "<|begin_of_thought|>{T}<|end_of_thought|><|begin_of_solution|>{S}<|end_of_solution|>",
        "<|START_THINKING|>{T}<|END_THINKING|><|START_RESPONSE|>{S}<|END_RESPONSE|>",
        "<unused94>thought\n{T}<unused95>{S}",
        "<|channel>thought\n{T}<channel|>{S}",
        "<|channel|>analysis<|message|>{T}<|end|><|start|>assistant<|channel|>final<|message|>{S}<|return|>",
        "analysis{T}assistantfinal{S}",
        "{T}\n</think>\n{S}",
        "<think>{T}<think>more</think>and more</think>{S}",
        "<think>{T}</think>Some words. </think>\n{S}",
        "<think>{T}</think><answer>{S}</answer>",
        "{S}<think>{T}",
    ],
)
def test_thoughts_of_every_dialect_are_kept_apart(reply: str) -> None:
    said, thoughts = split_thoughts(reply.replace("{T}", THOUGHT).replace("{S}", SAID))
    assert said.strip() == SAID
    assert THOUGHT in thoughts
    assert find_mark(thoughts) is None


@pytest.mark.parametrize(
    "reply",
    [
        "{S}<|im_end|>",
        "{S}<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
        "{S}</s>",
        "<s> {S}</s>",
        "{S}<end_of_turn>\n<start_of_turn>user\nWhat next?",
        "{S}<|im_end|>\n<|im_start|>user\nWhat next?<|im_end|>",
        "<|im_start|>assistant\n{S}",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{S}",
        "<|assistant|>\n{S}<|user|>\nWhat next?",
        "{S}<｜end▁of▁sentence｜>",
        "{S}[/INST]",
        "{S} [INST] What next? [/INST]",
        "[/INST] {S}",
        "Assistant: {S}",
        "assistant\n{S}",
        "### Response:\n{S}\n\n### Instruction:\nWhat next?",
        "{S}\n\nHuman: What next?\n\nAssistant: 8",
        "{S}<|endoftext|>Once upon a time",
        "{S}<|im_en",
    ],
)
def test_control_tokens_and_further_turns_are_taken_off(reply: str) -> None:
    said, thoughts = split_thoughts(reply.replace("{S}", SAID))
    assert (said.strip(), thoughts, find_mark(said)) == (SAID, "", None)


@pytest.mark.parametrize("token", ["<|box_7|>", "<extra_id_3>", "[/INST]", "<｜tool▁sep｜>", "[gMASK]"])
def test_a_token_in_the_middle_stays_and_is_named(token: str) -> None:
    text = f"First {token} and then more."
    assert split_thoughts(text) == (text, "")
    assert find_mark(text) == token


@pytest.mark.parametrize(
    "text",
    [
        "I think so; x < 3 and y > 2, so [a, b] holds.",
        "Use <b>bold</b>, <s>not this</s> but that, and a list[int].",
        "if (a <| b) then a |> f",
        "User: hello\nBot: hi, what may I do for you?",
        "The interval [0, 1] and the set {1}.\n\n# A heading",
        "",
    ],
)
def test_texts_without_marks_stay_as_they_are(text: str) -> None:
    assert split_thoughts(text) == (text, "")
    assert find_mark(text) is None


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<|im_end|>", "<|", "|>", "</s>", "[INST]", "a", "\n", "Human: ", "<s>"]))
)
def test_no_order_of_marks_is_too_odd_and_no_thought_tag_is_left(parts: list[str]) -> None:
    said, thoughts = split_thoughts("".join(parts))
    assert "think>" not in said + thoughts
    assert set(said) <= set("".join(parts))


def test_long_texts_take_time_in_proportion() -> None:
    for unit in ("<think>", "<|", "<", "[", "<|a|>", "\n ", "analysis", "</s><s>", "<s>a</s>", " <|channel|>a", "<answer>"):
        said, _ = split_thoughts(unit * 20_000)
        assert len(said) <= len(unit) * 20_000
