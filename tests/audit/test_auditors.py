"""The built-in auditors: what each finds, what it leaves alone, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from curate.audit import auditors
from curate.audit.base import Context, Finding
from curate.manifest import ids
from curate.vectors.encoders import FakeEncoder

KINDS = {"sums": "number", "choices": "choice", "news": "label", "talk": "text"}
GOOD = {
    "domain": "sums",
    "source": "real",
    "prompt": "What is 3 + 4?",
    "answer": "7",
    "rationale": "3 + 4 = 7.\nThe answer is: 7",
}
OPTIONS = "Which one?\n(A) this (B) that"


def batch(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Rows that are in order unless they say otherwise, with ids r0, r1, …"""
    filled = [{"id": f"r{i}", "finish_reason": "stop", **GOOD, **row} for i, row in enumerate(rows)]
    return pl.DataFrame(filled, schema_overrides={"rationale": pl.String, "finish_reason": pl.String})


def prompts(*rows: tuple[str, str], split: str = "train") -> pl.DataFrame:
    """(id, prompt) pairs as the frames of a context."""
    frame = pl.DataFrame(rows, schema={"id": pl.String, "prompt": pl.String}, orient="row")
    return frame.with_columns(domain=pl.lit("sums"), split=pl.lit(split), prompt_key=ids.prompt_keys(frame["prompt"]))


def by_letters(texts: list[str]) -> np.ndarray:
    """Unit vectors of how often each letter occurs: paraphrases are near, figures do not count."""
    found = np.array([[text.casefold().count(chr(97 + i)) + 1e-6 for i in range(26)] for text in texts], np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def context(**parts: Any) -> Context:
    empty = prompts()
    made = {"kinds": KINDS, "labels": {"news": ("gas", "gold")}, "real": empty, "heldout": empty, "accepted": empty}
    return Context(**{**made, "vectors": by_letters, **parts})


def said(auditor: Callable[..., Any], rows: pl.DataFrame, **parts: Any) -> dict[str, Finding]:
    return {finding.id: finding for finding in auditor(rows, context(**parts))}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"answer": ""}, "the answer is empty"),
        ({"answer": None}, "the answer is empty"),
        ({"rationale": ""}, "the rationale is empty"),
        ({"finish_reason": "length"}, "the reply was cut off by its token limit"),
        (
            {"rationale": "I'm sorry, but I cannot help with that."},
            'the rationale is a refusal: "I\'m sorry, but I cannot help with that."',
        ),
        (
            {"rationale": "As an AI language model, I do not add."},
            "the rationale is a refusal: 'As an AI language model, I do not add.'",
        ),
        ({"rationale": "what is 3 + 4"}, "the reply repeats the question"),
        ({"domain": "choices", "prompt": OPTIONS, "answer": "C"}, "the answer 'C' is none of the choices A, B"),
        ({"domain": "choices", "prompt": "Which one?", "answer": "A"}, "the prompt offers no lettered choices"),
        ({"domain": "news", "answer": "tin"}, "the answer 'tin' is none of the 2 class names of 'news'"),
    ],
)
def test_malformed_rows_are_found(row: dict[str, Any], message: str) -> None:
    found = said(auditors.malformed, batch({}, row))
    assert {id_: (finding.score, finding.message) for id_, finding in found.items()} == {"r1": (1.0, message)}


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"rationale": None},
        {"finish_reason": None},
        {"domain": "choices", "prompt": OPTIONS, "answer": "B"},
        {"domain": "news", "answer": "Gold"},
        {"domain": "unheard of", "answer": "anything"},
        {"domain": "talk", "prompt": "I'm sorry I missed it. What does it mean?", "answer": "I can't say."},
    ],
)
def test_rows_in_order_are_left_alone(row: dict[str, Any]) -> None:
    assert said(auditors.malformed, batch(row)) == {}


def test_a_rationale_may_restate_the_question_but_not_only_that() -> None:
    """A few words around the whole question answer nothing; a solution that begins with it does, and so does a stated answer."""
    rows = batch(
        {"rationale": "What is 3 + 4? Let us see"},
        {"rationale": "What is 3 + 4? First we take three, then we add four to it."},
        {"rationale": "What is 3 + 4? The answer is 7"},
        {"answer": "What is 3 + 4? Let us see", "rationale": None, "source": "synthetic"},
        {"answer": "What is 3 + 4? Let us see", "rationale": None},
    )
    assert list(said(auditors.malformed, rows)) == ["r0", "r3"], "what people wrote as an answer is left alone"


def test_the_cause_is_the_row_that_is_most_alike() -> None:
    rows = batch({"prompt": "What is 3 + 4, then?", "source": "synthetic"})
    known = prompts(("near", "What is 3 + 4, thenn?"), ("equal", "what is 3 + 4, then?"), ("far", "What is 3 + 4, hen?"))
    for found in (
        said(auditors.leakage, rows, heldout=known, thresholds={"leakage": 0.9}),
        said(auditors.near_duplicate, rows, real=known, thresholds={"near_duplicate": 0.9}),
    ):
        assert [(finding.score, finding.because_of) for finding in found.values()] == [(1.0, "equal")]


def test_a_row_written_for_one_class_is_not_of_another() -> None:
    rows = batch(
        {"domain": "gold", "answer": "gas", "source": "synthetic"}, {"domain": "gold", "answer": "gas", "source": "real"}
    )
    found = said(auditors.malformed, rows, kinds={"gold": "label"}, labels=("gas", "gold"))
    assert {id_: finding.message for id_, finding in found.items()} == {
        "r0": "the answer 'gas' is another class than 'gold', for which it was written"
    }


def test_refusals_of_a_teacher_are_found_in_prompts_and_answers_too() -> None:
    rows = batch(
        {"source": "synthetic", "prompt": "I cannot write such a question."}, {"source": "synthetic", "answer": "Sorry, no."}
    )
    assert [f.message.split(":")[0] for f in said(auditors.malformed, rows).values()] == [
        "the prompt is a refusal",
        "the answer is a refusal",
    ]


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({}, None),
        ({"rationale": None}, None),
        ({"rationale": "3 + 4 = 8.\nThe answer is: 8"}, 1.0),
        ({"rationale": "There are several ways to see it."}, auditors.UNREADABLE),
        ({"domain": "news", "answer": "gas", "rationale": "The topic is 'gas'."}, None),
        ({"domain": "news", "answer": "gas", "rationale": "The topic is 'gold'."}, 1.0),
        ({"domain": "news", "answer": "gas", "rationale": "It is about a pipeline."}, auditors.UNREADABLE),
        (
            {"domain": "talk", "answer": "the mother", "rationale": "So she is her mother, and has been since the day of birth."},
            None,
        ),
        (
            {"domain": "talk", "answer": "the mother", "rationale": "So they are related, as was said in the first line of it."},
            auditors.UNREADABLE,
        ),
        ({"domain": "talk", "answer": "Paris, France", "rationale": "The answer is: Paris"}, 1 - 2 / 3),
        ({"domain": "talk", "answer": "husband", "rationale": "The answer is that they are husband and wife"}, auditors.UNSTATED),
        ({"domain": "talk", "answer": "1, 2, 3", "rationale": "The answer is: 3, 2, 1"}, 1.0),
        (
            {"domain": "talk", "answer": " ".join(["long"] * 20), "rationale": "Nothing of the sort, and several words of it."},
            None,
        ),
    ],
)
def test_the_rationale_of_a_real_row_must_reach_its_answer(row: dict[str, Any], score: float | None) -> None:
    found = said(auditors.answer_mismatch, batch(row))
    assert (found["r0"].score if found else None) == (pytest.approx(score) if score is not None else None)


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"rationale": "Adding them gives 7."}, None),
        ({"rationale": "The sum is 7, as 3 comes before 4."}, auditors.UNSTATED),
        ({"rationale": "The sum is found by adding 4."}, 1.0),
        ({"rationale": "The answer is 8, which is 7 + 1."}, 1.0),
        ({"rationale": "We add the two. It is as they say."}, auditors.UNREADABLE),
        ({"domain": "news", "answer": "gas", "rationale": "It is about a pipeline."}, auditors.UNSTATED),
    ],
)
def test_a_synthetic_rationale_may_leave_its_answer_unsaid(row: dict[str, Any], score: float | None) -> None:
    found = said(auditors.answer_mismatch, batch({"source": "synthetic", **row}))
    assert (found["r0"].score if found else None) == score


def test_a_mismatch_names_both_answers() -> None:
    found = said(auditors.answer_mismatch, batch({"rationale": "The answer is: 8"}))
    assert found["r0"].message == "the rationale ends in '8', the answer is '7'"


def test_leakage_finds_held_out_questions() -> None:
    rows = batch(
        {},
        {"prompt": "what is 3 + 4?  "},
        {"prompt": "What's 3 + 4?"},
        {"prompt": "What is 9 + 5?"},
        {"prompt": "How many seas?"},
    )
    heldout = prompts(("held-out-row", "What is 3 + 4?"), split="test")
    found = said(auditors.leakage, rows, heldout=heldout, thresholds={"leakage": 0.9})
    assert {id_: finding.score == 1 for id_, finding in found.items()} == {"r0": True, "r1": True, "r2": False}
    assert found["r0"].message == "the prompt is that of test row held-out"
    assert 0.9 <= found["r2"].score < 1
    assert {finding.because_of for finding in found.values()} == {"held-out-row"}


def test_near_duplicates_are_found_among_all_that_is_there() -> None:
    texts = [
        "What is 3 + 4 ?",
        "What's 5 + 6?",
        "Who was it?",
        "Who is that?",
        "who  was it?",
        "What is 3 + 5?",
        "Name 12 planets.",
    ]
    rows = batch(*({"source": "synthetic", "prompt": text} for text in texts))
    known = {"real": prompts(("real-one", "What is 3 + 4?")), "accepted": prompts(("accepted-one", "What is 5 + 6?"))}
    found = said(auditors.near_duplicate, rows, **known, thresholds={"near_duplicate": 0.9})
    assert {id_: finding.because_of for id_, finding in found.items()} == {"r0": "real-one", "r1": "accepted-one", "r4": "r2"}
    assert found["r0"].message == "the prompt has a cosine of 1.00 to that of real row real-one"
    assert found["r4"].message == "the prompt is that of synthetic row r2"


def test_a_duplicate_that_was_found_does_not_count_against_later_rows() -> None:
    def angles(texts: list[str]) -> np.ndarray:
        turned = np.array([{"first": 0.0, "second": 0.25, "third": 0.5}[text] for text in texts])
        return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)

    rows = batch(*({"source": "synthetic", "prompt": text} for text in ("first", "second", "third")))
    found = said(auditors.near_duplicate, rows, vectors=angles)
    assert list(found) == ["r1"]  # "third" is near "second" alone, which is not kept
    assert found["r1"].because_of == "r0"


def test_no_vector_is_asked_for_without_need() -> None:
    def refuse(texts: list[str]) -> np.ndarray:
        raise AssertionError(texts)

    known = {
        "real": prompts(("a", "What is 1 + 1?")),
        "heldout": prompts(("b", "What is 2 + 2?"), split="test"),
        "vectors": refuse,
    }
    assert said(auditors.near_duplicate, batch({}), **known) == {}  # real rows are no duplicates of real rows
    assert said(auditors.leakage, batch({}), **known) == {}  # other numbers
    assert said(auditors.near_duplicate, batch({"source": "synthetic"}), **known) == {}
    others = batch(*({"source": "synthetic", "prompt": f"What is {n} + {n}?"} for n in (5, 7)))
    assert said(auditors.near_duplicate, others, **known) == {}  # each has the numbers of no other row


PREAMBLE = "You are a careful assistant. Read the instruction, think step by step, then answer in one line. " * 12


class Beginnings(FakeEncoder):
    """An encoder that reads the first 700 characters of a text, as real ones cut at a number of tokens."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return super().encode([text[:700] for text in texts])


@pytest.mark.parametrize("auditor", [auditors.leakage, auditors.near_duplicate])
def test_texts_that_an_encoder_cuts_are_no_duplicates_for_a_common_beginning(auditor: Any) -> None:
    lands = ("France", "Italy", "Madagascar", "Peru")
    rows = batch(*({"prompt": f"{PREAMBLE}\n\nQuestion: Which city governs {land}?", "source": "synthetic"} for land in lands))
    known = prompts(("known", f"{PREAMBLE}\n\nQuestion: What is it that bees make in summer?"))
    given = {"heldout": known, "real": known, "vectors": Beginnings().encode}
    assert said(auditor, rows, **given) == {}
    same = batch({"prompt": f"{PREAMBLE}\n\nQuestion: What is it that bees make in summer ?", "source": "synthetic"})
    assert list(said(auditor, same, **given)) == ["r0"]


def test_texts_that_differ_at_their_beginning_alone_are_no_duplicates() -> None:
    rows = batch({"prompt": f"Translate this into the French of Quebec. {PREAMBLE}", "source": "synthetic"})
    known = prompts(("known", f"How many words of six letters has it? {PREAMBLE}"))
    assert said(auditors.leakage, rows, heldout=known, vectors=Beginnings().encode) == {}
