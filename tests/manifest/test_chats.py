"""Tests of curate.manifest.chats: which turn is asked, which is trained on, what stays, and how a completion closes."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.manifest import chats

turns = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "user", "assistant", "tool"]),
    st.text(max_size=5),
)


def turn(role: str, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


def test_the_last_user_turn_is_asked_and_history_stays():
    history = [turn("system", "Be brief."), turn("user", "hi"), turn("assistant", "hello")]
    found = chats.split_chat([*history, turn("user", "2+3?"), turn("assistant", "5")])
    assert (found.prompt, found.answer, found.dropped) == ("2+3?", "5", 0)
    assert json.loads(found.messages) == history


def test_a_chat_of_two_turns_leaves_no_messages():
    assert chats.split_chat([turn("user", "q"), turn("assistant", "a")]).messages is None


def test_turns_after_the_answer_are_counted_as_dropped():
    assert chats.split_chat([turn("user", "q"), turn("assistant", "a"), turn("user", "thanks")]).dropped == 1


@given(st.lists(turns, max_size=6), st.text(), st.lists(turns.filter(lambda t: t["role"] != "user"), max_size=3), st.text())
def test_join_undoes_split(before, prompt, between, answer):
    chat = [*before, turn("user", prompt), *between, turn("assistant", answer)]
    found = chats.split_chat(chat)
    assert (found.prompt, found.answer) == (prompt, answer)
    assert chats.join_chat(found.prompt, found.answer, found.messages) == chat


def test_parts_are_read_as_text():
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", "url": "x"}, {"type": "text", "text": "Say."}]
    assert chats.split_chat([turn("user", parts), turn("assistant", None)]).prompt == "What is it?\nSay."


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ([turn("user", "q")], "no assistant turn"),
        ([turn("assistant", "a")], "no user turn"),
        ([], "no assistant turn"),
        ("user: q", "not a list of turns"),
        (None, "not a list of turns"),
        ([turn("user", "q"), "a"], "not a list of turns"),
    ],
)
def test_chats_that_cannot_be_trained_on_say_why(chat, reason):
    with pytest.raises(ValueError, match=reason):
        chats.split_chat(chat)


@pytest.mark.parametrize(
    ("rationale", "answer", "completion"),
    [
        (None, "5", "5"),
        ("  ", "5", "5"),
        ("2 + 3 = 5.", "5", "2 + 3 = 5.\nThe answer is: 5"),
        ("2 + 3 = 5.\nThe answer is: 5", "5", "2 + 3 = 5.\nThe answer is: 5"),
        ("So it is. The answer is: 5.", "5", "So it is.\nThe answer is: 5"),
        ("Half. Therefore, the final answer is $\\frac{1}{2}$.", "\\frac{1}{2}", "Half.\nThe answer is: \\frac{1}{2}"),
        ("The answer is: B\n", "B", "The answer is: B"),
        (
            "It was thought that the answer is 4.\nIt is 5.",
            "5",
            "It was thought that the answer is 4.\nIt is 5.\nThe answer is: 5",
        ),
        ("Sum.\nThe answer is: 4", "5", "Sum.\nThe answer is: 4\nThe answer is: 5"),
        ("The label is tin.\nTHE ANSWER IS: Tin", "tin", "The label is tin.\nThe answer is: tin"),
    ],
)
def test_a_completion_ends_with_its_answer_once(rationale, answer, completion):
    assert chats.completion(rationale, answer) == completion


@given(st.text(), st.text(min_size=1))
def test_completing_twice_changes_nothing(rationale, answer):
    once = chats.completion(rationale, answer)
    if rationale.strip() and answer == answer.strip() and answer.isalnum():
        assert chats.completion(once, answer) == once
        assert once.endswith(f"The answer is: {answer}")


def test_chat_puts_system_and_history_back():
    history = [{"role": "system", "content": "Be brief."}]
    frame = pl.DataFrame({"prompt": ["q"], "answer": ["a"], "messages": [json.dumps(history)]})
    assert chats.to_chats(frame) == [[*history, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
