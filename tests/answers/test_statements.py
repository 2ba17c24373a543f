"""Where texts state their final answers. The cases are of real teachers' and students' replies."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.answers import answers, languages, statements
from curate.answers.answers import equal, extract, kind_of

CLASSES = ("tin", "gas", "nat-gas", "cpi", "cpu", "earn", "lei", "gold", "trade", "income", "money supply", "heat", "fuel")
OPTIONS = "Where do bees live?\nChoice: (A) hive (B) nest (C) old nest of a bird"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 * 4 = 12.\nThe answer is: 12", "12"),
        ("First the answer is 3. No: the answer is 4.", "4"),
        ("So \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}"),
        ("The answer is $\\boxed{7}$.", "7"),
        ("So $\\boxed{\\frac{a}{b}", None),
        ("We add them. So it is $3 + 4 = 7$, that is all", "7"),
        ("So it is $7$ more than 3", "3"),
        ("So it is 3 more than $7$", "7"),
        ("So $x = \\boxed 9$. (Check that our answer is correct.)", "9"),
        ("We find \\boxed{3}. No, the answer is 4", "4"),
        ("9 + 9 = 18\n#### 1,818", "1,818"),
        ("He has <<5*5=25>>25 boots.\nA: 30", "30"),
        ("The answer is: $x = 5$.", "x = 5"),
        ("The answer is 3 + 4 = 7", "7"),
        ("Therefore, the answer is 18 eggs in all.", "18 eggs in all"),
        ("The answer is: Tom has 18 eggs.", "18"),
        ("The answer is: \\(\\sqrt{34}\\) meters", "\\sqrt{34}"),
        ("The answer is: $x=-2$ and $x=2$", "x=-2 and x=2"),
        ("the answer is: 0.5 (or simply 1/2 when expressed as a fraction)", "0.5"),
        ("The answer to this question is 12.5. That is all.", "12.5"),
        ("The final answer:\n\n42", "42"),
        ("194", "194"),
        ("Adding them gives 97 + 97 = 194.", "194"),
        ("We have 12 eggs. There is no way to tell.", None),
        ("Therefore, the answer is", None),
        ("The answer is still 2, as the brother has 2 sisters.", "2"),
        ("Question and answer is both correct and different from the given examples.", None),
        ("", None),
        (None, None),
    ],
)
def test_numbers_are_read(text: str | None, found: str | None) -> None:
    assert extract(text, "number") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Therefore, the answer is (B) nest.", "B"),
        ("The answer is B", "B"),
        ("The answer is: b) nest", "B"),
        ("The answer is hive.", "A"),
        ("The answer is old nest of a bird.", "C"),
        ("The answer is A nest.", "B"),
        ("The answer is (A), (B), and (C).", None),
        ("The answer is (A) hive, (B) nest", None),
        ("The answer is either (A) or (B).", None),
        ("The answer is (A), not (B).", "A"),
        ("Bees need a hive. So option C is correct.", "C"),
        ("B", "B"),
        ("(C) old nest of a bird", "C"),
        ("A swarm was seen in (B). It went away again.", None),
        ("The answer is honey.", None),
    ],
)
def test_choices_are_read(text: str, found: str | None) -> None:
    assert extract(text, "choice", prompt=OPTIONS) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The story is about operating profit. The answer is earn.", "earn"),
        ("The firm is operating in gas fields. The answer is nat-gas.", "nat-gas"),
        ("The operating company was maintained.", None),  # "tin" is no word of it
        ('The topic is "nat-gas" (natural gas), not "gas".', "nat-gas"),
        ("The topic that best fits is 'cpu', as it is about computers.", "cpu"),
        ('The appropriate topic is "crude". It is like "gold."', None),
        ('Topics such as tin, gas, cpi, cpu, earn are not relevant. The label "heat" fits, as it is heating oil.', "heat"),
        ("The most suitable topic would be:lei (leading economic indicators)", "lei"),
        ("The most relevant topic would be:goldThis is because of the mine.", "gold"),
        ("So the answer is cpi, cpu.", None),
        ("The answer is CPU.", "cpu"),
        ("The answer is money_supply", "money supply"),
        ("The answer is energy.", "energy"),
        ("The answer is nat-g", "nat-g"),
        ("None of gold, tin, gas or fuel is a category of this. Therefore, the", None),
        ("The label 'gold' fits better than gas", "gold"),
        ("earn", "earn"),
        ("Earn.", "earn"),
        ("Heat\nIt is about heating oil.", "heat"),
        ("the answer is trade. This is because gold is traded.", "trade"),
    ],
)
def test_class_names_are_read(text: str, found: str | None) -> None:
    assert extract(text, "label", labels=CLASSES) == found


def test_text_is_read_where_it_is_stated() -> None:
    assert extract("He was born there.\nThe answer is: New York City.", "text") == "New York City"
    assert extract("Paris", "text") == "Paris"
    assert extract("One line.\nAnother line.", "text") is None
    assert extract("In this story, Emma is the daughter of Tom and Sarah, so she is their child.", "text") is None


def test_choices_are_found_in_the_usual_forms() -> None:
    assert dict(answers.choices(OPTIONS)) == {"A": "hive", "B": "nest", "C": "old nest of a bird"}
    assert list(answers.choices("Which?\nA. one\nB. two\nC. three")) == ["A", "B", "C"]
    assert list(answers.choices("Which? A) one B) two")) == ["A", "B"]
    assert answers.choices("Plan A is here. (A) alone is no choice.") == {}


@given(st.text(max_size=80), st.sampled_from(answers.KINDS))
def test_no_text_breaks_the_reading(text: str, kind: str) -> None:
    found = extract(text, kind, labels=CLASSES, prompt=OPTIONS)
    assert found is None or found.strip()


def test_long_texts_take_no_time() -> None:
    text = "5 " + "several words of text " * 4000 + "!"
    began = time.process_time()
    for kind in answers.KINDS:
        extract(text, kind, labels=CLASSES, prompt=text)
        equal(text, "5 words", kind)
        kind_of([text] * 4, [text] * 4)
    assert time.process_time() - began < 2


def test_the_last_sentence_and_what_counts_as_stated() -> None:
    assert statements.last_sentence("It is 3.5 m. That is all! ") == "That is all"
    assert statements.last_sentence("") == ""
    assert statements.is_stated("So the answer is 4")
    assert statements.is_stated("\\boxed{4}")
    assert not statements.is_stated("So it is 4, which answers it.")


def test_blanks_are_folded_and_a_text_beyond_the_limit_is_not_read() -> None:
    assert statements.reply_of("a  b \t c" + "\n" * 9 + "d") == "a b c\n\nd"
    for kind in answers.KINDS:
        assert extract("The answer is 7" + " " * 40_000 + "and so on.", kind, labels=("7",), prompt=OPTIONS) == (
            None if kind == "choice" else "7 and so on" if kind == "text" else "7"
        )
        assert extract("The answer is 7. " + "and " * (statements.MOST_CHARS // 4), kind, labels=("7",)) is None


def test_statements_have_the_names_of_their_rules() -> None:
    text = "The answer is 5. Wait, that is wrong. It should be 6. So the answer is not 7.\n#### 6"
    rules = [(statement.rule, statement.holds) for statement in statements.statements(text)]
    assert rules == [("announced", True), ("withdrawn", False), ("corrected", True), ("denied", False), ("hashes", True)]
    assert {rule for rule, _ in rules} <= set(statements.RULES)


@given(st.sampled_from(["not {}", "cannot be {}"]), st.integers(-99, 99))
def test_a_denied_value_is_never_read(form: str, value: int) -> None:
    text = f"We look at it. The answer {form.format(value) if 'cannot' in form else 'is ' + form.format(value)}."
    assert extract(text, "number") is None
    assert extract(text.replace("answer", "answer to this"), "number") is None


def test_a_language_is_added_to_the_table() -> None:
    assert extract("Het antwoord luidt 12. Dat is 3 meer dan 9.", "number") == "9"
    languages.add("nl", languages.Language(answer=("antwoord",), says=("luidt", "is"), denies=("is niet",)))
    try:
        assert extract("Het antwoord luidt 12. Dat is 3 meer dan 9.", "number") == "12"
        assert extract("Het antwoord is niet 12.", "number") is None
    finally:
        languages.remove("nl")
    assert "nl" not in languages.known()


@pytest.mark.parametrize(
    "part", ["1", "The answer is 5. ", "no, ", "\\boxed{", "(A) ", "5 km ", "July 4, ", "<answer>", "Question: x\n", "x = "]
)
def test_replies_of_a_model_that_loops_are_read_to_a_bound(part: str) -> None:
    text = part * (20_000 // len(part))
    assert len(statements.statements(text)) <= 200
    assert all(len(statement.text) <= 20_000 for statement in statements.statements(text))
    for kind in answers.KINDS:
        found = extract(text, kind, labels=("5", "km"), prompt=OPTIONS)
        assert equal(found, "7", kind) is False


CARDS = ("lost_or_stolen_card", "card_arrival", "nat-gas", "gas")


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("number", "I don't think the answer is 12.", None),
        ("number", '{"why": "3 and 4", "answer": 7}', "7"),
        ("number", "The answer is 15 rather than 16.", "15"),
        ("number", "So the total is 45, not 54.", "45"),
        ("number", "42. She had 50 and gave 8 away.", "42"),
        ("number", "1. Add 3 and 4.\n2. So it is 7.", "7"),
        ("choice", "A does not fit, B does not fit. C?", "C"),
        ("choice", "A: no. B: yes. C: no.", "B"),
        ("choice", "A: yes. B: yes. C: no.", None),
        ("choice", "I don't think it is (B).", None),
        ("choice", "Only B remains.", "B"),
        ("choice", "Ⓑ", "B"),
        ("label", "This looks like natural gas.", "nat-gas"),
        ("label", "I lost it. -> lost_or_stolen_card", "lost_or_stolen_card"),
        ("label", "It could be gas, but card_arrival fits better.", "card_arrival"),
        ("label", "I would not call it gas.", None),
        ("text", "My answer is Rome. No, sorry, Milan.", "Milan"),
        ("text", "The answer is:\n- copper\n- zinc", "copper, zinc"),
        ("text", "La respuesta es Lima, no Quito.", "Lima"),
        ("text", "<b>Rome</b>", "Rome"),
        ("text", "```\nRome\n```", "Rome"),
    ],
)
def test_answers_are_read_in_prose(kind: str, text: str, found: str | None) -> None:
    assert extract(text, kind, labels=CARDS, prompt=OPTIONS) == found


def test_of_two_classes_the_denied_one_leaves_the_other() -> None:
    assert extract("This message is not spam.", "label", labels=("spam", "ham")) == "ham"
    assert extract("This message is not spam.", "label", labels=("spam", "ham", "news")) is None
