"""Wrong texts: which rejected attempts and rows are handed out beside an accepted row, and why others are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.manifest.manifest import Manifest
from curate.report.attempts import WrongText, find_wrong_texts
from curate.teachers.base import RawResponse, Request
from tests.support.balancing import questions, run, teacher
from tests.support.samples import ingested


def balanced(root: Path, **options: Any) -> Manifest:
    return run(ingested(root, questions({"head": 6})), budget=6, teacher=teacher(**options)).manifest


def test_wrong_attempts_stand_beside_the_rationale_that_was_accepted(tmp_path: Path) -> None:
    done = balanced(tmp_path, wrong=2)
    found = find_wrong_texts(done)
    assert set(found.by_row) == set(done.rows().filter(status="selected")["id"])
    texts = [text for texts in found.by_row.values() for text in texts]
    assert [(text.text, text.origin) for text in texts] == [("Some reasoning.\nThe answer is: 999999", "attempt")] * 6, (
        "each once"
    )
    assert not found.unused


def test_an_attempt_is_closed_as_an_accepted_rationale_is(tmp_path: Path) -> None:
    def boxed(request: Request, _: int) -> RawResponse | None:
        return RawResponse.of(r"Adding gives \boxed{999999}.") if request.sample == 0 else None

    texts = [text for (text,) in find_wrong_texts(balanced(tmp_path, script=boxed)).by_row.values()]
    assert {text.text for text in texts} == {"Adding gives \\boxed{999999}.\nThe answer is: 999999"}


def test_an_accepted_rationale_is_closed_by_what_it_states(tmp_path: Path) -> None:
    said = {**GOOD, "rationale": "Two and three make 5 eggs.\nThe answer is: 5.0"}
    manifest = ingested(tmp_path, [said, {**WRONG, "findings": MISMATCH}, *FURTHER])
    ((text,),) = find_wrong_texts(manifest).by_row.values()
    assert text.accepted == "Two and three make 5 eggs.\nThe answer is: 5.0", "and not by another line with 5"


@pytest.mark.parametrize(
    ("text", "finish", "why"),
    [
        ("I am sorry, I cannot help with that.", "stop", "rejected as malformed"),
        ("So we add the two and", "length", "rejected as malformed"),
        ("It is hard to say how many there are.", "stop", "whose final answer cannot be read"),
    ],
)
def test_a_fault_of_form_is_no_wrong_answer(tmp_path: Path, text: str, finish: str, why: str) -> None:
    def script(request: Request, _: int) -> RawResponse | None:
        return RawResponse.of(text, finish_reason=finish) if request.sample == 0 else None

    found = find_wrong_texts(balanced(tmp_path, script=script))
    assert not found.by_row
    assert list(found.unused) == [why]


def test_without_the_ledger_attempts_have_no_text(tmp_path: Path) -> None:
    done = balanced(tmp_path, wrong=1)
    ledger_path(str(tmp_path)).unlink()
    found = find_wrong_texts(done)
    assert not found.by_row
    assert list(found.unused) == ["whose texts are in no ledger, since there is none"]


def test_the_calls_of_another_ledger_are_not_taken_for_these(tmp_path: Path) -> None:
    done = balanced(tmp_path, wrong=1)
    ledger = Ledger(ledger_path(str(tmp_path)))
    with ledger.transaction() as db:
        db.execute("UPDATE calls SET request = replace(request, 'head item', 'another question')")
    ledger.close()
    found = find_wrong_texts(done)
    assert not found.by_row
    assert list(found.unused) == ["whose texts are not in this ledger"]


def finding(auditor: str, **more: Any) -> str:
    return json.dumps([{"auditor": auditor, "score": 1.0, "decision": "reject", "because_of": None, "message": "m"} | more])


GOOD = {"prompt": "What is 2 + 3?", "answer": "5", "rationale": "Two and three.\nThe answer is: 5", "status": "selected"}
WRONG = {**GOOD, "rationale": "Two and four.\nThe answer is: 6", "status": "rejected", "source": "synthetic"}
FURTHER = [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(9)]
MISMATCH = finding("answer_mismatch", stage=0, attempt=None, call_id=3)


@pytest.mark.parametrize(
    ("accepted", "rejected", "why"),
    [
        ({}, {}, None),
        ({}, {"findings": finding("near_duplicate")}, "rejected as near_duplicate"),
        ({}, {"prompt": "What is 2 + 2?"}, "whose question no accepted row answers"),
        ({}, {"messages": json.dumps([{"role": "system", "content": "s"}])}, "whose question no accepted row answers"),
        ({}, {"extra": json.dumps({"tools": [{"name": "f"}]})}, "whose question no accepted row answers"),
        ({}, {"split": "test"}, ""),
        ({}, {"rationale": "Five it is.\nThe answer is: 5", "answer": "6"}, "whose final answer is the accepted one"),
        ({"rationale": None}, {}, "beside an accepted answer without a rationale"),
        ({"rationale": "The answer is: 7"}, {}, "beside an accepted rationale that does not pass any more"),
        ({"status": "candidate"}, {}, "whose question no accepted row answers"),
    ],
)
def test_a_rejected_row_with_the_question_of_an_accepted_one(
    tmp_path: Path, accepted: dict[str, Any], rejected: dict[str, Any], why: str | None
) -> None:
    rows = [{**GOOD, **accepted}, {**WRONG, "findings": MISMATCH, **rejected}, *FURTHER]
    manifest = ingested(tmp_path, rows)
    found = find_wrong_texts(manifest)
    if why is not None:
        assert not found.by_row
        assert [reason.startswith(why) for reason in found.unused] == [True] * bool(why)
        return
    chosen = manifest.rows().filter(pl.col("status") == "selected")["id"].item()
    assert found.by_row == {chosen: (WrongText(WRONG["rationale"], "row", GOOD["rationale"]),)}


def test_a_finding_of_an_audit_that_changed_nothing_is_no_attempt(tmp_path: Path) -> None:
    manifest = ingested(tmp_path, [{**GOOD, "findings": finding("answer_mismatch")}])
    found = find_wrong_texts(manifest)
    assert not found.by_row
    assert not found.unused
