"""Which kind of answer a domain and a row has: recognised, said of a domain, said row by row, and several in one domain."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.answers.answers import KINDS, SAYABLE, TASKS, read_kind
from curate.audit import kinds
from curate.audit.audit import with_kinds
from curate.audit.base import Context, as_they_are, kind_in, task_in
from curate.audit.kinds import kinds_of, survey
from tests.support.samples import corpus, ingested

OPTIONS = "Where do bees live?\n(A) hive\n(B) nest"
LONG = "They went there because the town had asked for help and nobody else would come"


def test_survey_sees_class_names_where_a_class_has_one_row() -> None:
    rows = pl.DataFrame(
        {"domain": ["earn"] * 30 + ["platinum"], "prompt": ["story"] * 31, "answer": ["earn"] * 30 + ["platinum"]}
    )
    found = survey(rows)
    assert found.kinds == {"earn": "label", "platinum": "label"}
    assert found.labels["platinum"] == found.labels["earn"] == ("earn", "platinum")


def test_survey_judges_mixed_domains_one_by_one() -> None:
    sums = pl.DataFrame({"domain": ["sums"] * 40, "prompt": ["1 + ?"] * 40, "answer": [str(i) for i in range(40)]})
    logic = pl.DataFrame({"domain": ["logic"] * 8, "prompt": ["Does it follow?"] * 8, "answer": ["Yes", "No"] * 4})
    found = survey(pl.concat([sums, logic]))
    assert found.kinds == {"sums": "number", "logic": "label"}
    assert found.labels == {"logic": ("No", "Yes")}


def rated(n: int = 60) -> pl.DataFrame:
    """Reviews with stars as answers, in two domains, and a number in each prompt that is no star."""
    return pl.DataFrame(
        {
            "domain": ["books", "films"] * (n // 2),
            "prompt": [f"Rate this review from 1 (worst) to 5 (best).\n\nReview {i}: fine" for i in range(n)],
            "answer": [str(1 + i % 5) for i in range(n)],
        }
    )


def test_a_kind_that_is_given_overrules_and_a_column_does_so_row_by_row() -> None:
    rows = rated()
    assert survey(rows, given={"": "number", "films": "text"}).kinds == {"books": "number", "films": "text"}
    column = rows.with_columns(kind=pl.when(pl.col("domain") == "books").then(pl.lit("text")))
    found = survey(column)
    assert found.kinds == {"books": "text", "films": "label"}
    assert found.given == {"books"}
    assert survey(column, given={"books": "choice"}).kinds["books"] == "choice"


def test_a_domain_of_several_kinds_is_judged_row_by_row() -> None:
    options = "Where do bees live?\n(A) hive\n(B) nest"
    prompts = [*[options] * 10, *["How many?"] * 10, *["Who was it, and why?"] * 10]
    said = [
        *["A", "B"] * 5,
        *(f"{i} bees" for i in range(10)),
        *(f"It was town number {i}, since nobody came" for i in range(10)),
    ]
    found = survey(pl.DataFrame({"domain": ["all"] * 30, "prompt": prompts, "answer": said}))
    assert (found.kinds["all"], found.mixed) == ("text", {"all"})
    context = judged(found)
    kinds = [kind_in(context, "all", prompt, answer) for prompt, answer in zip(prompts, said, strict=True)]
    assert kinds == ["choice"] * 10 + ["number"] * 10 + ["text"] * 10


def judged(found: kinds.Survey) -> Context:
    """Return a context with these kinds."""
    return with_kinds(corpus({}), found)


def several(n: int = 10, *, said: Mapping[str, str | None] | None = None) -> pl.DataFrame:
    """Return one domain of choices, sums and explanations, `n` of each; `said` is what each kind of row says of itself."""
    rows = [
        *((OPTIONS, "AB"[i % 2], "choice") for i in range(n)),
        *((f"What is {i} times 17?", str(17 * i), "number") for i in range(n)),
        *((f"Explain why people left town {i}.", f"{LONG}, as was written in year number {i}", "text") for i in range(n)),
    ]
    frame = pl.DataFrame(rows, schema=["prompt", "answer", "is"], orient="row").with_columns(domain=pl.lit("all"))
    told = [(said or {}).get(kind) for kind in frame["is"]]
    return frame.with_columns(kind=pl.Series(told, dtype=pl.String))


def of_rows(rows: pl.DataFrame, found: kinds.Survey) -> list[tuple[str, str]]:
    """Return kind and task of each row."""
    columns = rows.select("domain", "prompt", "answer", "kind").iter_rows()
    return [(kind_in(judged(found), *row), task_in(judged(found), *row)) for row in columns]


def test_each_row_of_a_domain_of_several_kinds_is_asked_for_as_its_own() -> None:
    rows = several()
    found = survey(rows)
    assert (found.kinds["all"], found.tasks["all"], found.mixed) == ("text", "instruction", {"all"})
    expected = [("choice", "multiple-choice"), ("number", "mathematics"), ("text", "instruction")]
    assert of_rows(rows, found) == [each for each in expected for _ in range(10)]
    assert found.why["all"] == "of several kinds: choice 33%, number 33%, text 33% of the rows"
    assert as_they_are(judged(found), rows).to_list() == [False] * 20 + [True] * 10


def test_a_number_that_is_read_in_its_passage_is_asked_for_as_the_texts_beside_it() -> None:
    passage = [(f"In {i} he came. When, and who was it?", str(i) if i % 2 else f"the tall man of {i}") for i in range(1900, 1940)]
    rows = pl.DataFrame(passage, schema=["prompt", "answer"], orient="row").with_columns(domain=pl.lit("all"), kind=None)
    found = survey(rows.with_columns(pl.col("kind").cast(pl.String)))
    assert found.mixed == {"all"}
    assert task_in(judged(found), "all", *passage[1]) == "open-question"
    assert task_in(judged(found), "all", "In 1901 he came, and left 2 years later. When?", "1903") == "mathematics"
    assert task_in(judged(found), "all", *passage[1], "number") == "mathematics"


def test_class_names_among_texts_are_recognised_where_prompts_name_them() -> None:
    reviews = [(f"Is this review positive or negative? Book {i} was so-so", ("positive", "negative")[i % 2]) for i in range(12)]
    essays = [(f"Write of town {i}.", f"{LONG} in {i}") for i in range(12)]
    often = [
        (f"Which country is town {i} in?", "the free land") for i in range(6)
    ]  # often, and no class: its prompts do not name it
    rows = pl.DataFrame([*reviews, *essays, *often], schema=["prompt", "answer"], orient="row").with_columns(domain=pl.lit("all"))
    found = survey(rows)
    assert (found.mixed, found.labels) == ({"all"}, {"all": ("negative", "positive")})
    context = judged(found)
    assert kind_in(context, "all", *reviews[0]) == "label"
    assert task_in(context, "all", *reviews[0]) == "classification"
    assert kind_in(context, "all", *often[0]) == kind_in(context, "all", *essays[0]) == "text"


def test_what_rows_say_goes_before_what_is_recognised() -> None:
    rows = several(said={"choice": "text", "number": "label"})
    found = survey(rows)
    assert found.own == {"all"}
    told = of_rows(rows, found)
    assert told[0][0] == "text"
    assert told[10] == ("label", "classification")
    assert told[20] == ("text", "instruction")
    assert found.labels["all"] == tuple(sorted(str(17 * i) for i in range(10)))
    assert found.why["all"].endswith("; 20 rows say their own")


def test_a_domain_whose_rows_all_say_their_kind_is_of_most_of_them() -> None:
    rows = several(said={"choice": "multiple-choice", "number": "mathematics", "text": "mathematics"})
    found = survey(rows)
    assert (found.kinds["all"], found.tasks["all"], found.why["all"]) == (
        "number",
        "mathematics",
        "as the rows say: mathematics 67%, multiple-choice 33%",
    )
    assert [task for _, task in of_rows(rows, found)] == ["multiple-choice"] * 10 + ["mathematics"] * 20
    alike = survey(several(said=dict.fromkeys(KINDS, "text")))
    assert (alike.own, alike.given, alike.why["all"]) == (frozenset(), {"all"}, "as the rows say")


@pytest.mark.parametrize("given", [{"all": "number"}, {"": "number"}])
def test_what_is_said_of_a_domain_goes_before_what_its_rows_say(given: dict[str, str]) -> None:
    rows = several(said={"choice": "choice", "text": "text"})
    found = survey(rows, given=given)
    assert (found.own, found.mixed, found.why["all"]) == (frozenset(), frozenset(), "as given by --kind")
    assert set(of_rows(rows, found)) == {("number", "mathematics")}
    assert survey(rows, given={**given, "all": "auto"}).own == {"all"}


def test_one_classification_that_is_said_has_the_class_names_of_all_domains() -> None:
    rows = pl.DataFrame({"domain": [*"aab"], "prompt": ["story"] * 3, "answer": [*"aab"]})
    assert survey(rows, given={"": "label"}).labels == {"a": ("a", "b"), "b": ("a", "b")}


def test_a_task_says_more_of_texts_than_a_kind() -> None:
    assert [read_kind(said) for said in ("text", "instruction", "mathematics", "auto", "txt", None)] == [
        ("text", None),
        ("text", "instruction"),
        ("number", "mathematics"),
        None,
        None,
        None,
    ]
    short = pl.DataFrame({"domain": ["a"] * 8, "prompt": ["Who?"] * 8, "answer": [f"a man of {i}" for i in range(8)]})
    assert survey(short).tasks == {"a": "open-question"}
    assert survey(short, given={"a": "instruction"}).tasks == {"a": "instruction"}


def test_of_many_rows_some_of_every_domain_are_looked_at_and_all_class_names_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_JUDGED", 200)
    rows = rated(1000)
    rare = pl.DataFrame({"domain": ["films"], "prompt": ["Rate this review."], "answer": ["6"]})
    few = pl.DataFrame({"domain": ["few"] * 3, "prompt": ["Rate this review."] * 3, "answer": ["1", "2", "3"]})
    found = survey(pl.concat([rows, rare, few]))
    assert set(found.kinds) == {"books", "films", "few"}
    assert found.labels["films"] == ("1", "2", "3", "4", "5", "6")


@given(st.integers(0, 2**32), st.lists(st.sampled_from([*SAYABLE, None]), min_size=30, max_size=30))
def test_order_of_rows_changes_no_kind(seed: int, said: list[str | None]) -> None:
    rows = several().with_columns(kind=pl.Series(said, dtype=pl.String))
    order = random.Random(seed).sample(range(rows.height), rows.height)
    assert survey(rows) == survey(rows[order])
    assert {kind for kind, _ in of_rows(rows, survey(rows))} <= set(KINDS)
    assert {task for _, task in of_rows(rows, survey(rows))} <= set(TASKS)


def test_kinds_are_shown_with_their_domains_and_why() -> None:
    sums = pl.DataFrame({"domain": ["sums"] * 8, "prompt": ["1 + ?"] * 8, "answer": [str(i) for i in range(8)]})
    found = kinds_of(survey(pl.concat([several().select("domain", "prompt", "answer"), sums])))
    assert [(kind.kind, kind.task, kind.how, kind.domains) for kind in found] == [
        ("number", "mathematics", "recognised", ("sums",)),
        ("text", "instruction", "mixed", ("all",)),
    ]
    assert found[0].why == "answers are numbers or formulas"


def test_a_column_of_a_source_that_was_ingested_before_there_was_one_in_the_manifest_counts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows: Sequence[Mapping[str, str]] = [{"prompt": f"Q{i}?", "answer": str(i), "extra": '{"kind": "Label"}'} for i in range(6)]
    manifest = ingested(tmp_path, rows)
    found = kinds.survey_rows(manifest, manifest.rows())
    assert (found.kinds, found.given) == ({"algebra": "label"}, {"algebra"})
