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
    assert (found.prompt, found.answer, found.after) == ("2+3?", "5", 0)
    assert json.loads(found.messages) == history


def test_a_chat_of_two_turns_leaves_no_messages():
    assert chats.split_chat([turn("user", "q"), turn("assistant", "a")]).messages is None


def test_turns_after_the_answer_are_kept_and_counted():
    chat = [turn("user", "q"), turn("assistant", "a"), turn("user", "thanks")]
    found = chats.split_chat(chat)
    assert (found.answer, found.after) == ("a", 1)
    assert chats.join_chat(found.prompt, found.answer, found.messages) == chat


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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
parts = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "input_audio"])}, optional={"text": st.text(max_size=4)}
    ),
    max_size=3,
)
keys = st.sampled_from(["name", "weight", "tool_calls", "reasoning_content", "turn", "train", "audio", "from"])


roles = st.sampled_from(["system", "user", "assistant", "tool", "prompt", "answer", "turn", ""])


@st.composite
def any_turn(draw, role=roles):
    """A turn with any keys in any order, whose content may be missing, null, a text, parts or anything else."""
    items = list(draw(st.dictionaries(keys, json_values | parts, max_size=3)).items())
    items += draw(st.just([]) | (st.text(max_size=4) | parts | json_values).map(lambda content: [("content", content)]))
    return dict(draw(st.permutations([("role", draw(role)), *items])))


@given(st.lists(any_turn(), max_size=5), st.sampled_from(chats.TRAINED))
def test_every_key_of_every_turn_comes_back_in_its_order(chat, train):
    try:
        found = chats.split_chat(chat, train)
    except ValueError:
        return
    assert json.dumps(chats.join_chat(found.prompt, found.answer, found.messages)) == json.dumps(chat)
    assert found.messages is None or json.loads(found.messages) is not None


few = st.lists(any_turn(), max_size=2)


@given(few, any_turn(st.just("user")), few, any_turn(st.just("assistant")), few, st.sampled_from(chats.TRAINED))
def test_a_question_and_its_answer_come_back_whatever_stands_around(before, asked, between, answered, after, train):
    chat = [*before, asked, *between, {**answered, "weight": 1}, *({**turn, "weight": 0} for turn in after)]
    found = chats.split_chat(chat, train)
    assert json.dumps(chats.join_chat(found.prompt, found.answer, found.messages)) == json.dumps(chat)
    assert found.after == len(after)


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def test_a_final_tool_call_is_the_answer_and_its_turn_stays_as_it_came():
    answering = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    found = chats.split_chat([turn("user", "Weather?"), answering])
    assert json.loads(found.answer) == [CALL]
    assert chats.join_chat(found.prompt, found.answer, found.messages)[-1] == answering
    thought = chats.join_chat(found.prompt, found.answer, found.messages, "Ask the service.")[-1]
    assert thought == {"role": "assistant", "content": "Ask the service.", "tool_calls": [CALL]}


def test_reasoning_and_weight_stay_with_the_answer_and_a_rationale_closes_with_it():
    answering = {"role": "assistant", "content": "4", "reasoning_content": "Two and two.", "weight": 1}
    found = chats.split_chat([{"role": "user", "content": "2+2?", "name": "kim"}, answering])
    assert found.answer == "4"
    assert chats.join_chat("2+2?", "4", found.messages)[1] == answering
    assert chats.join_chat("2+2?", "4", found.messages, "Sum.")[1] == {**answering, "content": "Sum.\nThe answer is: 4"}


def test_the_answer_is_the_last_turn_whose_weight_is_not_nought():
    chat = [turn("user", "q"), turn("assistant", "a"), turn("user", "r"), {**turn("assistant", "b"), "weight": 0}]
    found = chats.split_chat(chat)
    assert (found.prompt, found.answer, found.after) == ("q", "a", 2)
    with pytest.raises(ValueError, match="weight 0"):
        chats.split_chat(chat[:1] + chat[3:])


def test_messages_of_earlier_versions_are_read():
    call, result = turn("assistant", None), turn("tool", "5C")
    stored = json.dumps([turn("system", "s"), {"role": "prompt"}, call, result])
    assert chats.join_chat("q", "a", stored) == [turn("system", "s"), turn("user", "q"), call, result, turn("assistant", "a")]
    assert chats.read_chat("q", "a", "[draft] hello").unread == "[draft] hello"
    assert chats.join_chat("q", "a", "[draft] hello") == [turn("user", "q"), turn("assistant", "a")]


@pytest.mark.parametrize(
    ("train", "weights", "learned"),
    [
        ("last", (None, None), [4]),
        ("all", (None, None), [2, 4]),
        ("all", (0, None), [4]),
        ("last", (1, 1), [2, 4]),
        ("last", (0, 1), [4]),
    ],
)
def test_which_turns_are_trained_on(train, weights, learned):
    replies = [{**turn("assistant", "a"), "weight": weight} for weight in weights]
    chat = [turn("system", "s"), turn("user", "q"), replies[0], turn("user", "r"), replies[1]]
    found = chats.split_chat(chat, train)
    assert chats.read_chat(found.prompt, found.answer, found.messages).trained() == learned
    assert chats.join_chat(found.prompt, found.answer, found.messages) == chat


def test_turns_all_leaves_a_chat_of_one_answer_as_it_was():
    assert chats.split_chat([turn("user", "q"), turn("assistant", "a")], "all").messages is None


HISTORY = [turn("user", "hi"), turn("assistant", "hello")]
ASKED, REPLY = turn("user", "Name a noble gas."), turn("assistant", "Argon")


@pytest.mark.parametrize(
    ("messages", "whole"),
    [
        (HISTORY, [*HISTORY, ASKED, REPLY]),
        ([*HISTORY, ASKED], [*HISTORY, ASKED, REPLY]),
        ([ASKED, REPLY], [ASKED, REPLY]),
        ([*HISTORY, ASKED, REPLY, turn("user", "thanks")], [*HISTORY, ASKED, REPLY, turn("user", "thanks")]),
        ([ASKED, *HISTORY[::-1], REPLY], [ASKED, *HISTORY[::-1], REPLY]),
        ([turn("user", "Who?"), REPLY], [turn("user", "Who?"), REPLY, ASKED, REPLY]),
        ([], [ASKED, REPLY]),
        (None, [ASKED, REPLY]),
    ],
)
def test_messages_beside_prompt_and_answer_are_the_chat_or_the_history_before(messages, whole):
    for value in (messages, json.dumps(messages)):
        found = chats.history_before(value, "Name a noble gas.", "Argon")
        assert chats.join_chat("Name a noble gas.", "Argon", found and found.messages) == whole


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        ([*HISTORY, ASKED, turn("assistant", "It is Argon.")], "Argon"),
        ([turn("user", "Question: name a noble gas. Be brief."), turn("assistant", "Helium")], "Argon"),
        ([turn("user", "A gas, please"), turn("assistant", "Argon, which is noble.")], "Argon, which is noble."),
    ],
)
def test_messages_that_tell_the_row_again_are_no_history(messages, answer):
    assert chats.history_before(messages, "Name a noble gas.", answer) is None


def test_history_says_which_turns_are_trained_on():
    found = chats.history_before(HISTORY, "Name a noble gas.", "Argon", "all")
    whole = chats.read_chat("Name a noble gas.", "Argon", found.messages)
    assert (whole.trained(), whole.all, found.answers) == ([1, 3], [*HISTORY, ASKED, REPLY], 2)
    assert chats.history_before(HISTORY, "Name a noble gas.", "Argon").messages == json.dumps(HISTORY)


@pytest.mark.parametrize("value", ["see the notes", "[draft] hello", 7, {"role": "user"}, ["a"], [{"content": "q"}], "7"])
def test_messages_that_are_no_chat_are_a_further_column(value):
    assert chats.history_before(value, "q", "a") is None


@given(st.lists(any_turn(), max_size=4))
def test_messages_that_a_row_keeps_are_taken_as_they_are(chat):
    try:
        found = chats.split_chat([*chat, turn("user", "Which one is it?"), turn("assistant", "a b c")])
    except ValueError:
        return
    again = chats.history_before(found.messages, found.prompt, found.answer)
    assert chats.join_chat(again.prompt, again.answer, again.messages) == chats.join_chat(
        found.prompt, found.answer, found.messages
    )


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [([ASKED], [REPLY]), ("Name a noble gas.", [REPLY]), ([ASKED], "Argon"), (json.dumps([ASKED]), json.dumps([REPLY]))],
)
def test_conversational_prompt_and_completion_are_one_chat(prompt, completion):
    assert chats.chat_of_parts(prompt, completion) == chats.Chat("Name a noble gas.", "Argon", None)


@pytest.mark.parametrize(("prompt", "completion"), [([ASKED], [ASKED]), ([ASKED], 3), ({}, [REPLY]), ([], [REPLY])])
def test_parts_that_are_no_chat_say_why(prompt, completion):
    with pytest.raises(ValueError, match=r"completion|prompt"):
        chats.chat_of_parts(prompt, completion)


def test_sharegpt_turns_are_read_and_what_is_unknown_stays():
    call = {"name": "weather", "arguments": {"city": "Oslo"}}
    turns = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "Weather?", "id": 3},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "5C"},
        {"from": "narrator", "value": "aside"},
        {"from": "gpt", "value": "5C.", "weight": 1},
    ]
    assert chats.read_turns(turns) == [
        turn("system", "s"),
        {**turn("user", "Weather?"), "id": 3},
        {**turn("assistant", None), "tool_calls": [{"type": "function", "function": call}]},
        turn("tool", "5C"),
        turn("narrator", "aside"),
        {**turn("assistant", "5C."), "weight": 1},
    ]
    assert chats.read_turns([{"from": "function_call", "value": "not json"}]) == [turn("assistant", "not json")]
    assert chats.split_chat(turns).answer == "5C."


def test_turns_may_be_json_texts():
    assert chats.split_chat([json.dumps(ASKED), json.dumps(REPLY)]) == chats.Chat("Name a noble gas.", "Argon", None)


def test_a_conversation_is_the_prompt_alone_where_nothing_was_said_before():
    assert chats.conversation("q", None) == "q"
    named = chats.split_chat([{**turn("user", "q"), "name": "kim"}, {**turn("assistant", "a"), "weight": 1}])
    assert chats.conversation("q", named.messages) == "q"


def test_a_conversation_has_its_newest_turn_first_for_encoders_and_is_in_order_for_readers():
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    chat = [turn("system", "s"), *HISTORY, turn("user", "q"), call, turn("tool", "5C"), turn("assistant", "a")]
    kept = chats.split_chat(chat).messages
    made = json.dumps([CALL])
    lines = ["q", "tool: 5C", f"assistant: {made}", "assistant: hello", "user: hi", "system: s"]
    assert chats.conversation("q", kept, newest_first=True).split("\n\n") == lines
    in_order = ["system: s", "user: hi", "assistant: hello", "user: q", f"assistant: {made}", "tool: 5C"]
    assert chats.conversation("q", kept).split("\n\n") == in_order


def test_two_questions_about_two_images_differ():
    images = [[{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": f"data:{n}" * 99}}] for n in "ab"]
    kept = [chats.split_chat([turn("user", parts), turn("assistant", "a")]).messages for parts in images]
    first, second = (chats.conversation("What?", messages) for messages in kept)
    assert first != second
    assert first.startswith("What?\n[image_url ")
    assert len(first) < 50


def test_conversations_of_rows_without_history_are_their_prompts():
    frame = pl.DataFrame({"prompt": ["q", None, "r"], "messages": [None, None, json.dumps(HISTORY)]})
    assert chats.conversations(frame.drop("messages")).to_list() == ["q", "", "r"]
    assert chats.conversations(frame[:2]).to_list() == ["q", ""]
    assert chats.conversations(frame)[:2].to_list() == ["q", ""]
    assert chats.conversations(frame)[2] == chats.conversation("r", json.dumps(HISTORY), newest_first=True)
