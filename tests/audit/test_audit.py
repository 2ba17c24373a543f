"""Judging batches, and the verb `audit`: what it writes, what it changes, when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.audit import audit as auditing
from curate.audit.base import AUDITED_ROWS, FINDINGS, OTHER_THRESHOLD, THRESHOLDS, Context, Finding
from curate.audit.settings import DEFAULT_AUDITORS
from curate.errors import AuditFailedError, InputError, UnknownNameError
from curate.vectors.encoders import FakeEncoder
from tests.support.samples import corpus, ingested

SUMS = [{"prompt": f"What is {i} + {i}?", "answer": str(2 * i), "status": "selected", "stage": 0} for i in range(1, 9)]
BAD = [
    {**SUMS[0], "prompt": "What is 40 + 2?", "answer": "42", "rationale": "The answer is: 41"},
    {**SUMS[0], "prompt": "What is 50 + 2?", "answer": "", "rationale": "The answer is: 52"},
    {**SUMS[0], "prompt": "What's 2 + 2?", "answer": "4", "source": "synthetic"},
    {**SUMS[0], "prompt": "What is 60 + 6 ?", "answer": "66"},
]
HELDOUT = [{"prompt": "What is 60 + 6?", "answer": "66", "split": "test"}]


def audit(manifest: Any, **options: Any) -> auditing.AuditResult:
    limits = {"near_duplicate": 0.7, "leakage": 0.7}  # the fake encoder is coarser than a real one
    return auditing.audit(manifest, **{"encoder": FakeEncoder(), "thresholds": limits, **options})


def test_every_finding_has_its_row_reason_and_cause(tmp_path: Path) -> None:
    manifest = ingested(tmp_path, [*SUMS, *BAD, *HELDOUT])
    result = audit(manifest)
    found = {f["auditor"]: f for f in result.findings.iter_rows(named=True)}
    assert result.rows == 12
    assert {name: f["message"] for name, f in found.items() if name in ("malformed", "answer_mismatch")} == {
        "malformed": "the answer is empty",
        "answer_mismatch": "the rationale ends in '41', the answer is '42'",
    }
    ids = dict(manifest.examples().select("prompt", "id").iter_rows())
    assert (found["near_duplicate"]["id"], found["near_duplicate"]["because_of"]) == (ids["What's 2 + 2?"], ids["What is 2 + 2?"])
    assert (found["leakage"]["id"], found["leakage"]["because_of"]) == (ids["What is 60 + 6 ?"], ids["What is 60 + 6?"])
    assert set(result.findings["decision"]) == {"reject"}
    assert set(result.findings["domain"]) == {"algebra"}


def test_findings_are_written_and_statuses_left_alone(tmp_path: Path) -> None:
    before = ingested(tmp_path, [*SUMS, *BAD, *HELDOUT])
    result = audit(before)
    assert result.manifest.version == before.version + 1
    rows = result.manifest.rows()
    written = rows.filter(pl.col("findings").is_not_null())
    assert {json.loads(f)[0]["auditor"] for f in written["findings"]} == set(DEFAULT_AUDITORS)
    assert rows.drop("findings").equals(before.rows().drop("findings"))
    commit = result.manifest.log()[-1]
    assert (commit.verb, commit.summary["findings"], commit.parameters["apply"]) == ("audit", 4, False)


def test_the_same_audit_again_writes_nothing(tmp_path: Path) -> None:
    first = audit(ingested(tmp_path, [*SUMS, *BAD, *HELDOUT]))
    again = audit(first.manifest)
    assert again.manifest == first.manifest
    assert again.findings.equals(first.findings)


def test_a_finding_that_no_longer_holds_goes(tmp_path: Path) -> None:
    first = audit(ingested(tmp_path, [*SUMS, *BAD]))
    after = audit(first.manifest, thresholds={"near_duplicate": 1.0}, auditors=["near_duplicate"])
    assert after.manifest.rows()["findings"].null_count() == 12


def test_apply_rejects_with_the_reason(tmp_path: Path) -> None:
    result = audit(ingested(tmp_path, [*SUMS, *BAD]), apply=True)
    rejected = result.manifest.rows().filter(status="rejected").sort("reason")
    assert [reason.split(":")[0] for reason in rejected["reason"]] == ["answer_mismatch", "malformed", "near_duplicate"]
    assert rejected["reason"][0] == "answer_mismatch: the rationale ends in '41', the answer is '42'"
    assert result.manifest.rows().filter(status="selected").height == 9


def test_what_stages_wrote_stays(tmp_path: Path) -> None:
    attempt = {"auditor": "answer_mismatch", "score": 1.0, "decision": "reject", "because_of": None, "message": "an earlier one"}
    row = {**BAD[0], "findings": json.dumps([{**attempt, "stage": 0, "attempt": 0, "call_id": 8}])}
    result = audit(ingested(tmp_path, [*SUMS, row]))
    findings = json.loads(result.manifest.rows().filter(pl.col("findings").is_not_null())["findings"][0])
    assert [(f["message"], f["stage"]) for f in findings] == [
        ("an earlier one", 0),
        ("the rationale ends in '41', the answer is '42'", None),
    ]


@pytest.mark.parametrize(
    ("fail_on", "fails"), [("malformed=0.01", True), ("malformed=0.5,leakage=0", False), ("0.2", True), ("0.9", False)]
)
def test_fail_on_compares_shares_after_the_commit(tmp_path: Path, fail_on: str, fails: bool) -> None:
    manifest = ingested(tmp_path, [*SUMS, *BAD])
    if not fails:
        assert audit(manifest, fail_on=fail_on).shares["malformed"] == pytest.approx(1 / 12)
        return
    with pytest.raises(AuditFailedError, match=r"tail@1, 12 rows: .* rejected .*%, at most .*% is allowed") as caught:
        audit(manifest, fail_on=fail_on)
    assert caught.value.result.manifest.version == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"auditors": ["malfromed"]}, UnknownNameError, "did you mean 'malformed'"),
        ({"fail_on": "leekage=0.1"}, UnknownNameError, "did you mean 'leakage'"),
        ({"fail_on": "malformed=few"}, InputError, "AUDITOR=SHARE"),
        ({"fail_on": "2"}, InputError, "a share must be from 0 to 1"),
        ({"thresholds": {"leakage": 7.0}}, InputError, "the threshold of auditor 'leakage' must be from 0 to 1, got 7.0"),
        ({"thresholds": {"lekage": 0.7}}, UnknownNameError, "did you mean 'leakage'"),
        ({"status": "selekted"}, UnknownNameError, "did you mean 'selected'"),
        ({"status": "rejected"}, InputError, "no train row has the status 'rejected'"),
        ({"auditors": []}, InputError, "name at least one with --auditor"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    manifest = ingested(tmp_path, SUMS)
    with pytest.raises(error, match=message):
        audit(manifest, **options)
    assert len(manifest.log()) == 1


def test_candidates_are_audited_where_nothing_is_selected(tmp_path: Path) -> None:
    result = audit(ingested(tmp_path, [{**row, "status": "candidate"} for row in SUMS[:3]]))
    assert (result.rows, result.findings.height) == (3, 0)


def test_a_row_has_one_first_cause_and_makes_no_duplicate() -> None:
    rows = [
        {"id": "a", "prompt": "Who was it?", "answer": "", "rationale": None},
        {"id": "b", "prompt": "Who was it?", "answer": "me", "rationale": None},
    ]
    batch = pl.DataFrame(
        [{**row, "domain": "talk", "source": "synthetic", "finish_reason": None} for row in rows], schema=AUDITED_ROWS
    )
    empty = pl.DataFrame(
        schema={"id": pl.String, "domain": pl.String, "split": pl.String, "prompt": pl.String, "prompt_key": pl.Int64}
    )
    known = Context({}, (), empty, empty, empty, FakeEncoder().encode)
    assert auditing.judge(batch, known).rejected == {"a": "malformed"}
    good = auditing.judge(batch.tail(1), known)
    assert (good.rejected, good.findings.schema) == ({}, FINDINGS)
    known = auditing.with_accepted(known, batch.tail(1).with_columns(id=pl.lit("c")))
    assert auditing.judge(batch.tail(1), known).findings["because_of"].to_list() == ["c"]


def test_a_callable_is_an_auditor_and_is_held_to_the_contract(tmp_path: Path) -> None:
    def too_short(batch: pl.DataFrame, context: Context) -> Iterator[Finding]:
        for id_, prompt in batch.select("id", "prompt").iter_rows():
            yield Finding("too_short", id_, 1.0 if len(prompt) < 20 else 0.1, None, f"{len(prompt)} characters")

    def astray(batch: pl.DataFrame, context: Context) -> list[Finding]:
        return [Finding("astray", "no such row", 1.0, None, "?")]

    def beyond(batch: pl.DataFrame, context: Context) -> list[Finding]:
        return [Finding("beyond", batch["id"][0], 1.5, None, "?")]

    manifest = ingested(tmp_path, [*SUMS, {**SUMS[0], "prompt": "What is a number that is one more than 1?"}])
    result = audit(manifest, auditors=[too_short], thresholds=None)
    assert sorted(result.findings["decision"].unique()) == ["note", "reject"]
    assert result.shares == {"too_short": pytest.approx(8 / 9)}
    with pytest.raises(InputError, match="'astray' reported 'no such row', which is not in its batch"):
        audit(manifest, auditors=[astray], thresholds=None)
    with pytest.raises(InputError, match=r"'beyond' gave row '\w+' the score 1.5; scores are 0 to 1"):
        audit(manifest, auditors=[beyond], thresholds=None)


def test_the_context_of_a_manifest_tells_kinds_from_all_real_rows(tmp_path: Path) -> None:
    news = [
        {"domain": name, "prompt": f"{name} story {i}", "answer": name} for name, n in (("gas", 9), ("tin", 1)) for i in range(n)
    ]
    manifest = ingested(
        tmp_path, [*news, {"domain": "gas", "prompt": "new", "answer": "gas", "source": "synthetic", "status": "selected"}]
    )
    known = auditing.build_context(manifest, encoder=FakeEncoder())
    assert (known.kind("tin"), known.labels_of("tin"), known.kind("unknown")) == ("label", ("gas", "tin"), "text")
    assert (known.real.height, known.heldout.height, known.accepted["prompt"].to_list()) == (10, 0, ["new"])
    assert known.vectors(["a", "b"]).shape == (2, 64)


def test_a_score_at_the_threshold_rejects_and_one_below_is_a_note(tmp_path: Path) -> None:
    rows = pl.DataFrame([{"id": name, "source": "real"} for name in "ab"], schema=AUDITED_ROWS)
    for auditor, threshold in {**THRESHOLDS, "mine": OTHER_THRESHOLD}.items():

        def scoring(batch: pl.DataFrame, context: Context, limit: float = threshold) -> list[Finding]:
            return [Finding("", row, score, None, "") for row, score in (("a", limit), ("b", limit - 0.001))]

        scoring.__name__ = auditor
        judgement = auditing.judge(rows, corpus({}), auditors=[scoring])
        assert judgement.findings.select("id", "decision").rows() == [("a", "reject"), ("b", "note")]
    assert THRESHOLDS == {"malformed": 0.5, "answer_mismatch": 0.5, "leakage": 0.95, "near_duplicate": 0.95}
    assert OTHER_THRESHOLD == 0.5


def test_json_keeps_its_promise(tmp_path: Path) -> None:
    told = audit(ingested(tmp_path, [*SUMS, *BAD])).to_dict()
    assert set(told) >= {"rows", "findings"}
    assert set(told["findings"][0]) == {"id", "domain", "auditor", "score", "decision", "because_of", "message"}
    json.dumps(told)


def turns(*texts: str) -> str:
    """The turns before a question as a row keeps them."""
    return json.dumps([{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)])


def test_chats_are_compared_by_what_leads_to_the_answer_not_by_their_last_turn(tmp_path: Path) -> None:
    ask = {"prompt": "Go on.", "answer": "Yes.", "status": "selected", "stage": 0}
    held = {"prompt": "Go on.", "answer": "Yes.", "split": "test", "messages": turns("Tell me of rivers", "They flow.")}
    other, same = turns("How old is the moon", "Very old indeed."), held["messages"]
    manifest = ingested(tmp_path, [{**ask, "messages": other}, {**ask, "messages": same}, {**ask, "messages": None}, held])
    found = audit(manifest, auditors=["leakage"], thresholds=None).findings
    contents = manifest.examples().select("id", "messages")
    assert contents.filter(pl.col("id").is_in(found["id"].to_list()))["messages"].to_list() == [same]
    assert "the prompt is that of test row" in found["message"][0]


def test_new_examples_are_compared_with_whole_chats(tmp_path: Path) -> None:
    synthetic = {"source": "synthetic", "status": "selected", "stage": 0, "prompt": "Go on."}
    chat = {**SUMS[0], "prompt": "Go on.", "messages": turns("Tell me of rivers", "They flow to the sea, all of them.")}
    assert audit(ingested(tmp_path, [chat, synthetic]), auditors=["near_duplicate"], thresholds=None).findings.is_empty()
    plain = {**SUMS[0], "prompt": "Go on."}
    assert (
        audit(ingested(tmp_path, [plain, synthetic], name="plain"), auditors=["near_duplicate"], thresholds=None).findings.height
        == 1
    )
