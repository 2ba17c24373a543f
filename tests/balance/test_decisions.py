"""Decisions become rows: status, stage, reason, findings and content of everything that a stage touched."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from curate.balance.decisions import CANDIDATE_ROWS, Decisions, as_candidate_rows
from curate.generation.examples import EXAMPLES
from curate.manifest.rows import read_findings, write_findings
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA
from tests.support.samples import frames

START, CONTENTS = frames(
    [
        {"id": "a", "prompt": "1 + 1?", "answer": "2"},
        {"id": "b", "prompt": "2 + 2?", "answer": "4"},
        {"id": "c", "prompt": "3 + 3?", "answer": "6", "status": "selected", "stage": 0, "reason": "chosen before"},
    ]
)
WRONG = {"id": "a", "auditor": "answer_mismatch", "score": 1.0, "decision": "reject", "because_of": None, "message": "wrong"}


def judged(row_id: str, **changes: Any) -> dict[str, Any]:
    """Return a row of the start as a round hands it over, with a rationale that was bought."""
    row = START.join(CONTENTS, on="content").filter(id=row_id).to_dicts()[0]
    bought = {"rationale": "So. The answer is: 2", "finish_reason": "stop", "call_id": 7, "attempt": 0, "new": False}
    return {name: {**row, **bought, **changes}.get(name) for name in CANDIDATE_ROWS}


def written(*, index: int = 0, prompt: str = "9 + 9?", raw: str = "{}", finish_reason: str = "stop") -> dict[str, Any]:
    """Return a new example as a round hands it over."""
    line = {"domain": "algebra", "index": index, "prompt": prompt, "rationale": "r", "answer": "18", "parents": ["a"]}
    line |= {"status": "answered", "finish_reason": finish_reason, "call_id": 9, "raw": raw, "tokens": 5}
    return as_candidate_rows(pl.DataFrame([line], schema=EXAMPLES), "m").to_dicts()[0]


def row(decisions: Decisions, row_id: str) -> dict[str, Any]:
    return decisions.rows().filter(id=row_id).to_dicts()[0]


def test_what_nothing_was_decided_about_stays_as_it_was() -> None:
    decisions = Decisions(START, stage=1)
    assert decisions.rows().equals(START)
    assert decisions.contents().is_empty()
    decisions.accept(judged("b"), [])
    assert decisions.rows().filter(pl.col("id") != "b").equals(START.filter(pl.col("id") != "b"))
    assert decisions.rows()["id"].to_list() == ["a", "b", "c"]


def test_an_accepted_row_is_selected_in_this_stage_with_its_new_content() -> None:
    decisions = Decisions(START, stage=1)
    decisions.accept(judged("a"), [])
    after = row(decisions, "a")
    assert (after["status"], after["stage"], after["call_id"], after["findings"]) == ("selected", 1, 7, None)
    assert after["n_chars"] == len("1 + 1?") + len("So. The answer is: 2") + len("2")
    content = decisions.contents().to_dicts()
    assert [(line["content"], line["rationale"]) for line in content] == [(after["content"], "So. The answer is: 2")]
    assert after["content"] != START["content"][0]
    assert decisions.rows().schema == SCHEMA
    assert decisions.contents().columns == CONTENT_SCHEMA.names()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attempt": 0}, None),
        ({"attempt": None}, None),
        ({"attempt": 2}, "attempt 2: tried again, since its domain ran short"),
        ({"source": "synthetic", "attempt": None}, "fills the tail"),
    ],
)
def test_an_accepted_row_says_why_where_no_selector_does(changes: dict[str, Any], reason: str | None) -> None:
    decisions = Decisions(START, stage=1)
    decisions.accept(judged("a", **changes), [])
    assert row(decisions, "a")["reason"] == reason


def test_a_rejected_row_leaves_the_candidates_with_the_stage_and_the_auditor() -> None:
    decisions = Decisions(START, stage=2)
    decisions.reject(judged("a"), "leakage", [WRONG], keep_candidate=False)
    after = row(decisions, "a")
    assert (after["status"], after["stage"], after["reason"]) == ("rejected", 2, "leakage")
    assert after["content"] == START["content"][0], "a rejected rationale is not kept"
    assert decisions.contents().is_empty()


def test_a_rejected_attempt_leaves_a_candidate_without_a_stage() -> None:
    """A row with a stage counts as used by that stage; one whose rationale was wrong can be chosen again."""
    decisions = Decisions(START, stage=2)
    decisions.reject(judged("a"), "answer_mismatch", [WRONG], keep_candidate=True)
    after = row(decisions, "a")
    assert (after["status"], after["stage"], after["reason"], after["call_id"]) == ("candidate", None, "answer_mismatch", 7)


def test_findings_say_at_which_attempt_and_are_added_to_the_earlier_ones() -> None:
    old = write_findings([{"auditor": "leakage", "score": 0.2}])
    decisions = Decisions(START.with_columns(findings=pl.when(id="a").then(pl.lit(old))), stage=2)
    decisions.reject(judged("a"), "answer_mismatch", [WRONG], keep_candidate=True)
    decisions.accept(judged("a", attempt=1, call_id=8), [{**WRONG, "decision": "note"}])
    after = row(decisions, "a")
    found = read_findings(after["findings"])
    assert [(f["auditor"], f.get("stage"), f.get("attempt"), f.get("call_id")) for f in found] == [
        ("leakage", None, None, None),
        ("answer_mismatch", 2, 0, 7),
        ("answer_mismatch", 2, 1, 8),
    ]
    assert all("id" not in f for f in found)
    assert after["status"] == "selected", "the last decision counts"


def test_outside_stages_a_row_keeps_the_stage_that_it_has() -> None:
    decisions = Decisions(START, stage=None)
    decisions.accept(judged("c"), [])
    assert (row(decisions, "c")["stage"], row(decisions, "c")["reason"]) == (0, "chosen before")


def test_new_examples_come_after_the_rows_as_train_rows() -> None:
    decisions = Decisions(START, stage=None)
    new = written()
    decisions.add_candidate(new, [])
    after = decisions.rows().to_dicts()
    assert [line["id"] for line in after] == ["a", "b", "c", new["id"]]
    last = after[-1]
    assert (last["status"], last["stage"], last["reason"]) == ("candidate", None, "written for later stages")
    assert (last["split"], last["source"], last["origin"], last["parents"]) == ("train", "synthetic", "teacher:m#0", ["a"])
    assert decisions.contents()["prompt"].to_list() == ["9 + 9?"]
    assert last["prompt_key"] == frames([{"prompt": "9 + 9?"}])[0]["prompt_key"][0]


def test_a_rejected_new_example_is_kept_with_its_stage_and_its_content() -> None:
    decisions = Decisions(START, stage=1)
    decisions.reject(written(), "near_duplicate", [], keep_candidate=False)
    last = decisions.rows().to_dicts()[-1]
    assert (last["status"], last["stage"], last["reason"]) == ("rejected", 1, "near_duplicate")
    assert decisions.contents().height == 1


def test_reasons_of_the_selector_stand_and_the_last_one_wins() -> None:
    decisions = Decisions(START, stage=1)
    decisions.explain(pl.DataFrame({"id": ["a", "b"], "reason": ["first", "first"], "score": [1, 2]}))
    decisions.explain(pl.DataFrame({"id": ["b"], "reason": ["second"]}))
    decisions.accept(judged("a"), [])
    assert decisions.rows()["reason"].to_list() == ["first", "second", "chosen before"]


def test_repeats_go_round_the_domains_own_selected_rows() -> None:
    decisions = Decisions(START, stage=1)
    decisions.accept(judged("b"), [])
    assert len(decisions.repeat("algebra", 3)) == 3
    after = decisions.rows()
    repeats = after.tail(3)
    assert repeats["parents"].to_list() == [["b"], ["c"], ["b"]]
    assert repeats["origin"].to_list() == ["repeat:1#0", "repeat:1#1", "repeat:1#2"]
    assert set(repeats["status"]) == {"selected"}
    assert set(repeats["stage"]) == {1}
    assert set(repeats["reason"]) == {"repeated: the domain has no other row"}
    assert repeats["content"].to_list() == [row(decisions, name)["content"] for name in "bcb"]
    assert after["id"].n_unique() == after.height == 6


def test_a_domain_without_a_selected_row_has_nothing_to_repeat() -> None:
    decisions = Decisions(START, stage=1)
    assert (decisions.repeat("geometry", 2), decisions.repeat("algebra", 0), decisions.repeat("algebra", -1)) == ([], [], [])
    assert decisions.rows().equals(START)


def test_equal_texts_of_two_requests_are_two_rows() -> None:
    one, other, again = written(index=0), written(index=1), written(index=0)
    assert one["id"] == again["id"] != other["id"]
    assert len(one["id"]) == 32
    assert (one["new"], one["attempt"], one["messages"]) == (True, None, None)


def test_a_reply_that_could_not_be_read_is_kept_as_it_came() -> None:
    assert json.loads(written(prompt="", raw="no JSON")["extra"]) == {"reply": "no JSON"}
    assert written()["extra"] is None


def test_only_answered_replies_become_rows() -> None:
    lines = [{"domain": "algebra", "index": n, "status": status} for n, status in enumerate(("unanswered", "failed", "capped"))]
    made = as_candidate_rows(pl.DataFrame(lines, schema=EXAMPLES), "m")
    assert made.is_empty()
    assert made.schema == CANDIDATE_ROWS
