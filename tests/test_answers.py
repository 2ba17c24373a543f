"""Final answers: kinds, extraction, equality. The cases are of real teachers' and students' replies."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import answers
from curate.answers import equal, extract, kind_of

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data sets are not on this machine")
CLASSES = ("tin", "gas", "nat-gas", "cpi", "cpu", "earn", "lei", "gold", "trade", "income", "money supply", "heat", "fuel")
OPTIONS = "Where do bees live?\nChoice: (A) hive (B) nest (C) old nest of a bird"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 * 4 = 12.\nThe answer is: 12", "12"),
        ("First the answer is 3. No: the answer is 4.", "4"),
        ("So \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}"),
        ("The answer is $\\boxed{7}$.", "7"),
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
        ('The topic is "nat-gas" (natural gas), not "gas".', None),
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


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3", "3.0"),
        ("1,234.50", "$1234.5"),
        ("10,\\!236", "10236"),
        ("50\\%", "50"),
        ("50%", "0.5"),
        ("18 eggs", "18"),
        ("18 dollars per day", "18"),
        ("12 \\text{ cm}^2", "12"),
        ("50^{\\circ}", "50"),
        ("90°", "90 degrees"),
        ("\\frac{7}{3}", "7/3"),
        ("\\dfrac73", "7/3"),
        ("5\\frac12", "5.5"),
        ("1 3/4", "1.75"),
        ("0.3333333", "1/3"),
        ("x = 5", "5"),
        ("-2, 2", "2,-2"),
        ("1103_6", "1103"),
        ("\\text{CBAD}", "CBAD"),
        ("−3", "-3"),
        ("8.", "8"),
    ],
)
def test_numbers_that_are_equal(a: str, b: str) -> None:
    assert equal(a, b, "number")
    assert equal(b, a, "number")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3", "4"),
        ("3", "-3"),
        ("12", "1,2"),
        ("5/0", "5"),
        ("2x", "2"),
        ("no such chord exists", "3"),
        ("", "0"),
        ("0.33", "1/3"),
        ("999999", "1000000"),
        ("5 pi", "5"),
    ],
)
def test_numbers_that_differ(a: str, b: str) -> None:
    assert not equal(a, b, "number")
    assert not equal(b, a, "number")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("\\sqrt{8}", "2\\sqrt2", True),
        ("-\\frac{\\sqrt{3}}{3}", "-\\frac{1}{\\sqrt{3}}", True),
        ("7-2\\pi", "-2\\pi+7", True),
        ("(3, \\pi/2)", "\\left(3,\\frac{\\pi}{2}\\right)", True),
        ("(-\\infty, 2]", "(-\\infty,2]", True),
        ("(1,2)", "(2,1)", False),
        ("(1,2)", "[1,2]", False),
        ("x^2+1", "x^2-1", False),
    ],
)
def test_latex_is_compared_by_value(a: str, b: str, same: bool) -> None:
    assert equal(a, b, "number") is same


def test_a_comparison_without_end_is_cut_off_in_any_thread() -> None:
    verdicts = []
    thread = threading.Thread(
        target=lambda: verdicts.append((equal("9^{9^{9}}", "2", "number"), equal("\\sqrt{9}", "3", "number")))
    )
    thread.start()
    thread.join()
    assert verdicts == [(False, True)]


def test_other_kinds_are_equal_by_their_own_rules() -> None:
    assert equal("(B)", "b", "choice")
    assert equal("B. nest", "B", "choice")
    assert not equal("A", "B", "choice")
    assert equal("Nat-Gas.", "nat-gas", "label")
    assert not equal("gas", "nat-gas", "label")
    assert equal("The New York City!", "new york city", "text")
    assert equal("86, 65, -29", "86,65,-29", "text")
    assert not equal("86, 65, 29", "29, 65, 86", "text")
    assert not equal("-5", "5", "text")
    assert not equal(None, "5", "text")


def test_f1_is_the_share_of_common_words() -> None:
    assert answers.f1("the red car", "red car") == 1.0
    assert answers.f1("red car", "blue car") == 0.5
    assert answers.f1("red", "blue") == 0.0
    assert answers.f1("", "") == 1.0


def test_kinds() -> None:
    plain = ["What is it?"] * 8
    assert kind_of(plain, ["1", "2", "3.5", "\\frac{1}{2}", "7", "8", "9", "about ten"]) == "number"
    assert kind_of(plain, ["3, 2, 1"] * 8) == "text"  # a sorted list has an order
    assert kind_of(plain, ["Yes", "No"] * 4) == "label"
    assert kind_of(plain, [f"He went to town number {i} today, and came back" for i in range(8)]) == "text"
    assert kind_of([OPTIONS] * 8, list("ABCABCAB")) == "choice"
    assert kind_of(plain, list("ABCDEFGH")) == "text"
    assert kind_of([], []) == "text"


def test_survey_sees_class_names_where_a_class_has_one_row() -> None:
    rows = pl.DataFrame(
        {"domain": ["earn"] * 30 + ["platinum"], "prompt": ["story"] * 31, "answer": ["earn"] * 30 + ["platinum"]}
    )
    found = answers.survey(rows)
    assert found.kinds == {"earn": "label", "platinum": "label"}
    assert found.labels["platinum"] == found.names == ("earn", "platinum")


def test_survey_judges_mixed_domains_one_by_one() -> None:
    sums = pl.DataFrame({"domain": ["sums"] * 40, "prompt": ["1 + ?"] * 40, "answer": [str(i) for i in range(40)]})
    logic = pl.DataFrame({"domain": ["logic"] * 8, "prompt": ["Does it follow?"] * 8, "answer": ["Yes", "No"] * 4})
    found = answers.survey(pl.concat([sums, logic]))
    assert found.kinds == {"sums": "number", "logic": "label"}
    assert found.labels == {"logic": ("No", "Yes")}


def test_choices_are_found_in_the_usual_forms() -> None:
    assert dict(answers.choices(OPTIONS)) == {"A": "hive", "B": "nest", "C": "old nest of a bird"}
    assert list(answers.choices("Which?\nA. one\nB. two\nC. three")) == ["A", "B", "C"]
    assert list(answers.choices("Which? A) one B) two")) == ["A", "B"]
    assert answers.choices("Plan A is here. (A) alone is no choice.") == {}


def test_long_texts_take_no_time() -> None:
    text = "5 " + "several words of text " * 4000 + "!"
    began = time.process_time()
    for kind in answers.KINDS:
        extract(text, kind, labels=CLASSES, prompt=text)
        equal(text, "5 words", kind)
        kind_of([text] * 4, [text] * 4)
    assert time.process_time() - began < 2


@given(st.text(max_size=80), st.sampled_from(answers.KINDS))
def test_no_text_breaks_the_reading(text: str, kind: str) -> None:
    found = extract(text, kind, labels=CLASSES, prompt=OPTIONS)
    assert found is None or found.strip()


@given(st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}", "{}.0", "${}$", "{} cm", "\\boxed{{{}}}"]))
def test_a_stated_number_is_read_back(value: int, form: str) -> None:
    found = extract(f"Some steps.\nThe answer is: {form.format(value)}", "number")
    assert equal(found, str(value), "number")
    assert not equal(found, str(value + 1), "number")


@needs_data
def test_gsm8k_students_are_graded_as_by_its_authors() -> None:
    rows = pl.read_parquet(DATA / "teacher_recorded" / "gsm8k_model_solutions.parquet").head(2000)
    graded = [equal(extract(r, "number"), a, "number") for r, a in rows.select("rationale", "label").iter_rows()]
    assert sum(g == c for g, c in zip(graded, rows["is_correct"], strict=True)) / len(graded) >= 0.99


@needs_data
def test_a_classifying_teacher_is_read_in_the_tail() -> None:
    rows = pl.read_parquet(DATA / "teacher_recorded" / "r52_teacher.parquet")
    labels = tuple(sorted(pl.read_parquet(DATA / "r52" / "r52.parquet", columns=["label"])["label"].unique()))
    for name in ("cpu", "heat", "carcass", "lei", "nat-gas"):
        mine = rows.filter(label=name, kind="real")
        right = mine.filter(pl.Series([extract(r, "label", labels=labels) == name for r in mine["rationale"]], dtype=pl.Boolean))
        assert right["text"].n_unique() == mine["text"].n_unique(), name
