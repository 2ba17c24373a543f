import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.generation import parsing
from curate.generation.parsing import NewExample, parse_examples, unwrap

# Without what JSON escapes by a letter: a carriage return before "m" is read as the LaTeX command \\rm, and so on.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\b\f\n\r\t")).map(str.strip)
EXAMPLE = st.builds(NewExample, TEXT.filter(bool), TEXT, TEXT)
WRAPPINGS = ["{}", "```json\n{}\n```", "Here it is:\n{}\nI hope it helps.", "```\n{}\n```"]


def parse_example(text: str) -> NewExample | None:
    """Read a reply of one example."""
    return parse_examples(text, 1)[0]


@given(EXAMPLE, st.sampled_from(WRAPPINGS), st.booleans())
def test_an_example_is_found_in_whatever_it_is_wrapped(example: NewExample, wrapping: str, ascii_only: bool) -> None:
    text = json.dumps(vars(example), ensure_ascii=ascii_only)
    if "```" not in text:
        assert parse_example(wrapping.replace("{}", text)) == example


@pytest.mark.parametrize(
    "text", ["", "Sorry, I can't.", "[]", "null", '{"prompt": ""}', '{"prompt": null}', '{"prompt": "cut o', "{{}"]
)
def test_where_there_is_no_question_there_is_no_example(text: str) -> None:
    assert parse_example(text) is None


def test_missing_parts_are_empty_and_numbers_are_text() -> None:
    assert parse_example('{"prompt": "q", "answer": 4, "more": true}') == NewExample("q", "", "4")
    assert parse_example('{"prompt": "two\nlines", "rationale": null}') == NewExample("two\nlines", "", "")
    assert parse_example('{"prompt": "q", "answer": 0}') == NewExample("q", "", "0")


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "q", "rationale": "r", "answer": "1",}',
        "{'prompt': 'q', 'rationale': 'r', 'answer': '1'}",
        'Sure! [{"prompt": "q", "rationale": "r", "answer": 1}] Anything else?',
        '{"example": [{"prompt": "q", "rationale": "r", "answer": 1}]}',
        '{"thought": "hm"} {"prompt": "q", "rationale": "r", "answer": "1"}',
        '{"prompt": "q", "rationale": "r", "answer": "1"}\n{"prompt": "cut',
    ],
)
def test_what_models_do_to_json_is_forgiven(text: str) -> None:
    assert parse_example(text) == NewExample("q", "r", "1")


def test_an_apostrophe_with_a_backslash_is_an_apostrophe() -> None:
    assert parse_example(r'{"prompt": "it\'s", "rationale": "", "answer": "1"}') == NewExample("it's", "", "1")
    assert parse_example(r"{'prompt': 'it\'s', 'rationale': '', 'answer': '1'}") == NewExample("it's", "", "1")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\frac{1}{2}", r"\frac{1}{2}"),  # one backslash in JSON: a form feed and "rac"
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        (r"2 \times 3 \neq 7 \right)", r"2 \times 3 \neq 7 \right)"),
        (r"\(x\) and \sqrt{2}", r"\(x\) and \sqrt{2}"),
        (r"one\ntwo\tthree", "one\ntwo\tthree"),
        (r"one\nnever, \nTimes, \ttotal", "one\nnever, \nTimes, \ttotal"),
        (r"\u00e9\\\\ \"x\"", 'é\\\\ "x"'),
    ],
)
def test_lone_backslashes_of_latex_are_kept(written: str, read: str) -> None:
    found = parse_example(f'{{"prompt": "q {written} z", "rationale": "", "answer": "1"}}')
    assert found == NewExample(f"q {read} z", "", "1")


EXAMPLES = st.lists(EXAMPLE, min_size=1, max_size=4)


@given(EXAMPLES, st.integers(1, 6), st.sampled_from(WRAPPINGS))
def test_a_list_fills_the_slots_that_were_asked_for(examples: list[NewExample], n: int, wrapping: str) -> None:
    text = json.dumps({"examples": [vars(example) for example in examples]})
    if "```" not in text:
        found = parse_examples(wrapping.replace("{}", text), n)
        assert found == [*examples, *[None] * n][:n]


@given(EXAMPLES, st.data())
def test_of_a_list_that_was_cut_off_the_whole_ones_count(examples: list[NewExample], data: st.DataObject) -> None:
    text = json.dumps({"examples": [vars(example) for example in examples]})
    cut = data.draw(st.integers(0, len(text) - 3))
    found = parse_examples(text[:cut], len(examples))
    whole = sum(len(json.dumps({"examples": [vars(e) for e in examples[: k + 1]]})) - 2 <= cut for k in range(len(examples)))
    assert found[:whole] == examples[:whole]
    assert found[whole:] == [None] * (len(examples) - whole)


def test_one_that_has_no_question_leaves_the_others_their_places() -> None:
    one = {"prompt": "q", "rationale": "r", "answer": "1"}
    text = json.dumps({"examples": [{**one, "prompt": " "}, one, "what?"]})
    assert parse_examples(text, 4) == [None, NewExample("q", "r", "1"), None, None]


@given(st.text())
def test_any_text_can_be_read_without_an_error(text: str) -> None:
    assert len(parse_examples(text, 3)) == 3


def test_the_schema_asks_for_what_is_read() -> None:
    one = parsing.schema()
    assert one["required"] == list(one["properties"]) == ["prompt", "rationale", "answer"]
    assert one["additionalProperties"] is False
    assert parsing.schema(1, ["A", "B"])["properties"]["answer"] == {"type": "string", "enum": ["A", "B"]}
    three = parsing.schema(3)["properties"]["examples"]
    assert (three["items"], three["minItems"], three["maxItems"]) == (one, 3, 3)


WHOLE = {"prompt": "How many?", "rationale": "Two. The answer is: 2", "answer": "2"}


@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"example": WHOLE}),
        json.dumps({"type": "object", "properties": WHOLE}),
        json.dumps({"name": "synthesis", "arguments": WHOLE}),
        json.dumps({"name": "synthesis", "arguments": json.dumps(WHOLE)}),
        json.dumps({"Answer": {"result": [WHOLE]}}),
        json.dumps(json.dumps(WHOLE)),
        json.dumps([WHOLE]),
        "\ufeff" + json.dumps(WHOLE),
        json.dumps({"Prompt": WHOLE["prompt"], " rationale": WHOLE["rationale"], "ANSWER": 2}),
        json.dumps({**WHOLE, "answer": ["2"]}),
        json.dumps({**WHOLE, "answer": "2<|im_end|>"}),
        json.dumps({"prompt": "Write an example.", "response": WHOLE}),
    ],
)
def test_an_example_is_found_in_whatever_wrapping(said: str) -> None:
    assert parse_examples(said, 1) == [NewExample(**WHOLE)]


@pytest.mark.parametrize("answer", [["1", "2"], {"value": "2"}, [], [{"a": 1}]])
def test_a_part_that_is_no_text_makes_no_example_and_never_pythons_spelling(answer: object) -> None:
    assert parse_examples(json.dumps({**WHOLE, "answer": answer}), 1) == [None]


@pytest.mark.parametrize(("answer", "text"), [(True, "true"), (2.5, "2.5"), (12, "12"), (None, "")])
def test_numbers_and_truth_values_are_written_as_json_writes_them(answer: object, text: str) -> None:
    (found,) = parse_examples(json.dumps({**WHOLE, "answer": answer}), 1)
    assert found is not None
    assert found.answer == text


@pytest.mark.parametrize("wrapping", ["examples", "Answer"])
def test_several_examples_are_found_in_a_list_of_any_name(wrapping: str) -> None:
    several = [{**WHOLE, "answer": str(n)} for n in range(3)]
    assert [found and found.answer for found in parse_examples(json.dumps({wrapping: several}), 3)] == ["0", "1", "2"]
    assert [found and found.answer for found in parse_examples(json.dumps({"a": {wrapping: several}}), 3)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Two. The answer is: 2", "Two. The answer is: 2"),
        (json.dumps("Two.\nThe answer is: 2"), "Two.\nThe answer is: 2"),
        (json.dumps({"rationale": "Two. The answer is: 2"}), "Two. The answer is: 2"),
        (json.dumps([{"text": "Two."}]), "Two."),
        ("```text\nTwo.\n```", "Two."),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'),
        ("{not JSON}", "{not JSON}"),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_a_rationale_is_taken_out_of_its_wrapping(said: str, text: str) -> None:
    assert unwrap(said) == text
