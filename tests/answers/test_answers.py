"""Final answers: kinds, equality by kind, and agreement with real teachers and graders."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.answers import answers
from curate.answers.answers import equal, extract, kind_of

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data sets are not on this machine")
OPTIONS = "Where do bees live?\nChoice: (A) hive (B) nest (C) old nest of a bird"


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
    assert kind_of(plain, ["3, 2", "4, 1", "5, 2", "1", "2", "4", "5", "6"]) == "number"  # few solutions are sets of numbers
    assert kind_of(plain, ["3, 2", "4, 1", "5, 2", "6, 1", "2", "4", "5", "6"]) == "text"
    assert kind_of(plain, ["Yes", "No"] * 4) == "label"
    assert kind_of(plain, [f"He went to town number {i} today, and came back" for i in range(8)]) == "text"
    assert kind_of([OPTIONS] * 8, list("ABCABCAB")) == "choice"
    assert kind_of(plain, list("ABCDEFGH")) == "text"
    assert kind_of([], []) == "text"


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


def test_the_task_follows_from_the_kind_and_texts_from_their_length() -> None:
    assert [answers.task_of(kind) for kind in ("label", "choice", "number", "text")] == list(answers.TASKS[:4])
    short, long = ["in the red house"] * 3, ["word " * 13] * 3
    assert answers.task_of("text", [*short, *long[:2], ""]) == "open-question"
    assert answers.task_of("text", [*short[:2], *long]) == "instruction"


def test_steps_of_a_scale_are_class_names_and_results_of_sums_are_numbers() -> None:
    assert kind_of(["Is the sentence grammatical?"] * 20, ["0", "1"] * 10) == "label"
    assert kind_of(["Sentiment of: it was so-so"] * 30, ["-1", "0", "1"] * 10) == "label"
    assert kind_of([f"What is {i} + {7 * i}, modulo 5?" for i in range(60)], [str(i % 5) for i in range(60)]) == "number"


@pytest.mark.parametrize(
    ("options", "marks"),
    [
        ("А) молоток\nБ) ножницы\nВ) клей", "АБВ"),
        ("a) hammer\nb) scissors", "ab"),
        ("(1) hammer (2) scissors", "12"),
        ("① 망치\n② 가위", "①②"),
    ],
)
def test_letters_of_any_alphabet_are_choices(options: str, marks: str) -> None:
    prompts = [f"What cuts paper?\n{options}"] * 12
    assert list(answers.choices(prompts[0])) == list(marks)
    assert kind_of(prompts, [marks[i % 2] for i in range(12)]) == "choice"


@pytest.mark.parametrize(
    ("found", "gold", "same"),
    [
        ("Paris, the capital of France", "Paris", True),
        ("the city of Paris", "Paris", True),
        ("Paris Hilton", "Paris", False),
        ("iron oxide", "iron", False),
        ("South Africa", "Africa", False),
        ("the robber's wife", "the robber", False),
        ("bread, milk and eggs", "eggs, bread, milk", True),
        ("bread and milk", "bread, milk and eggs", False),
        ("1, 2, 3", "3, 2, 1", False),
        ("the 2nd floor", "the second floor", True),
        ("the U.S. Senate", "US Senate", True),
        ("5 p.m.", "5 PM", True),
        ("HCO3-", "HCO₃⁻", True),
        ("x[1:]", "x[:1]", False),
    ],
)
def test_free_texts_are_the_same_as_a_whole(found: str, gold: str, same: bool) -> None:
    assert (answers.text_distance(found, gold) < 0.5) is same
