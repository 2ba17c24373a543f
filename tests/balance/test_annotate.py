import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.answers.answers import TASKS
from curate.audit.audit import audit
from curate.balance.annotate import annotate
from curate.calls.client import MeteredTeacher
from curate.errors import ConflictError, InputError, TeacherError
from curate.files import ledger_path
from curate.generation.rationales import RATIONALES, write_rationales
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.manifest import manifest
from curate.report import costs
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.teachers.recorded import Recorded
from tests.support.samples import corpus, ingested

ROWS = pl.DataFrame(
    {"id": ["b", "a"], "prompt": ["2 + 2?", "3 + 3?"], "answer": ["4", "6"], "domain": ["sums", "sums"], "sample": [0, 1]}
)
RIGHT = {"2 + 2?": "4", "3 + 3?": "6"}


def test_one_line_comes_back_for_each_row_in_their_order(ledger: Ledger) -> None:
    teacher = Fake(RIGHT, script=lambda request, n: RawResponse("unanswered") if request.prompt == "2 + 2?" else None)
    told = write_rationales(ROWS, MeteredTeacher(teacher, ledger, "math"), context=corpus({"sums": "number"}))
    assert told.schema == RATIONALES
    assert told.select("id", "sample", "status").rows() == [("b", 0, "unanswered"), ("a", 1, "answered")]
    assert told["rationale"].to_list() == [None, "This is reasoning number 1.\nThe answer is: 6"]
    assert told["call_id"].is_not_null().to_list() == [False, True]


def test_the_answer_is_hidden_unless_it_is_to_be_shown(ledger: Ledger) -> None:
    teacher = Fake()
    metered = MeteredTeacher(teacher, ledger, "math")
    for shown in (False, True):
        write_rationales(ROWS.with_columns(answer=pl.lit("forty-two")), metered, context=corpus({}), show_answer=shown)
    asked = [json.dumps(request.messages) for request in teacher.sent]
    assert ["forty-two" in text for text in asked] == [False, False, True, True]


ASKED = {
    "classification": ("label", "The classes are: cocoa, tin."),
    "multiple-choice": ("choice", "options offered: A, B."),
    "mathematics": ("number", "mathematics problems"),
    "open-question": ("text", "You answer questions."),
    "instruction": ("text", "Do not write the answer itself."),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_prompt(ledger: Ledger, task: str) -> None:
    kind, words = ASKED[task]
    teacher = Fake()
    metered = MeteredTeacher(teacher, ledger, "math")
    context = corpus({"sums": kind}, {"sums": ("cocoa", "tin")}, tasks={"sums": task})
    write_rationales(ROWS.head(1).with_columns(prompt=pl.lit("Which? (A) one (B) two")), metered, context=context)
    assert words in teacher.sent[0].messages[0]["content"]


def test_a_prompt_file_of_ones_own_asks_anew(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "mine.j2").write_text("[user]\nExplain {{ prompt }}\n")
    teacher = Fake()
    metered = MeteredTeacher(teacher, ledger, "math")
    for file in (None, tmp_path / "mine.j2", tmp_path / "mine.j2"):
        write_rationales(ROWS.head(1), metered, context=corpus({}), prompt_file=file)
    assert [request.messages[-1]["content"] for request in teacher.sent] == ["2 + 2?", "Explain 2 + 2?"]
    with pytest.raises(InputError, match="cannot be read"):
        write_rationales(ROWS, metered, context=corpus({}), prompt_file=tmp_path / "none.j2")


def test_what_a_cap_left_out_is_said(ledger: Ledger) -> None:
    told = write_rationales(ROWS, MeteredTeacher(Fake(), ledger, "math", Caps(calls=0)), context=corpus({}))
    assert told["status"].to_list() == ["capped", "capped"]
    assert "--max-calls 0" in told["error"][0]


EXAMPLES = [
    {"prompt": "What is 2 + 2?", "answer": "4", "status": "selected"},
    {"prompt": "What is 3 + 3?", "answer": "6", "status": "selected"},
    {"prompt": "What is 4 + 4?", "answer": "8", "status": "selected", "rationale": "It is so. The answer is: 8"},
    {"prompt": "What is 5 + 5?", "answer": "10"},
    {"prompt": "What is 6 + 6?", "answer": "12", "split": "test"},
]
ANSWERS = {"What is 2 + 2?": "4", "What is 3 + 3?": "7"}


def test_selected_rows_without_a_rationale_get_one_if_it_comes_to_their_answer(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    teacher = Fake(ANSWERS)
    done = annotate(start, teacher=teacher)
    assert sorted(request.prompt for request in teacher.sent) == ["What is 2 + 2?", "What is 3 + 3?"]
    assert (done.rows, done.written, done.rejected, done.complete) == (2, 1, {"answer_mismatch": 1}, True)
    assert (done.short_by, done.to_dict()["short_by"]) == (1, 1)
    assert annotate(start, teacher=teacher, dry_run=True).short_by == 0
    after = done.manifest.examples().sort("prompt")
    assert after["rationale"].to_list() == [
        "This is reasoning number 0.\nThe answer is: 4",
        None,
        "It is so. The answer is: 8",
        None,
        None,
    ]
    assert after["status"].to_list() == ["selected"] * 3 + ["candidate"] * 2
    (finding,) = json.loads(after["findings"][1])
    assert (finding["auditor"], finding["decision"], finding["attempt"]) == ("answer_mismatch", "reject", 0)
    assert finding["call_id"] == after["call_id"][1]
    assert after["id"].to_list() == start.examples().sort("prompt")["id"].to_list()
    assert done.manifest.log()[-1].verb == "annotate"
    assert costs.read_costs("tail", root=tmp_path).by["verb"]["annotate"].answered == 2


def test_the_same_command_again_asks_for_another_sample_of_what_is_missing(tmp_path: Path) -> None:
    first = annotate(ingested(tmp_path, EXAMPLES), teacher=Fake(ANSWERS)).manifest
    teacher = Fake({"What is 3 + 3?": "6"})
    second = annotate(first, teacher=teacher)
    assert [(request.prompt, request.sample) for request in teacher.sent] == [("What is 3 + 3?", 1)]
    assert (second.written, second.rejected) == (1, {})
    third = annotate(second.manifest, teacher=Fake())
    assert (third.manifest.version, third.rows) == (second.manifest.version, 0)


def test_a_run_that_could_not_commit_replays_its_answers_and_pays_nothing(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    start.commit(start.rows(), verb="cluster")
    with pytest.raises(ConflictError):
        annotate(start, teacher=Fake(ANSWERS))
    done = annotate(manifest.load("tail", root=tmp_path), teacher=Fake(ANSWERS), max_calls=2)
    assert (done.written, done.spent.calls, done.spent.saved) == (1, 0, 2)


def test_what_a_recording_does_not_have_changes_nothing(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    (tmp_path / "t.jsonl").write_text('{"prompt": "other", "rationale": "r"}\n')
    with pytest.raises(TeacherError, match=r"none of the 2 requests has an answer in 'recorded:t\.jsonl'"):
        annotate(start, teacher=Recorded(tmp_path / "t.jsonl"))
    assert manifest.load("tail", root=tmp_path).version == 0


def test_a_cap_commits_what_was_bought_and_says_so(tmp_path: Path) -> None:
    done = annotate(ingested(tmp_path, EXAMPLES), teacher=Fake(dict.fromkeys(ANSWERS, "4")), max_calls=1)
    assert (done.manifest.version, done.complete, done.spent.calls) == (1, False, 1)


def test_a_dry_run_foresees_what_the_run_does_and_makes_nothing(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    without_key = annotate(start, teacher="openai", model="gpt-4o-mini", dry_run=True)
    assert without_key.estimate is not None
    assert (without_key.rows, without_key.estimate.rationales, (without_key.estimate.usd or 0) > 0) == (2, 2, True)
    teacher = Fake(ANSWERS)
    planned = annotate(start, teacher=teacher, dry_run=True)
    assert (teacher.sent, planned.manifest, ledger_path(str(tmp_path)).exists()) == ([], start, False)
    done = annotate(start, teacher=teacher)
    assert done.estimate is None
    assert done.reckoned is not None
    assert done.reckoned.estimate == planned.estimate
    again = annotate(done.manifest, teacher=teacher, dry_run=True)
    assert again.estimate is not None
    assert (again.estimate.rationales, again.estimate.replies) == (1, 2)


def test_a_dry_run_refuses_what_the_run_would(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    with pytest.raises(InputError, match="batch"):
        annotate(start, teacher="fake", mode="batch", dry_run=True)
    with pytest.raises(InputError, match="--timeout is a number of seconds above 0, got 0"):
        annotate(start, teacher="openai", model="m", timeout=0, dry_run=True)


def refusing(request: Request, n: int) -> RawResponse | None:
    return RawResponse("failed", error="400: content_filter") if "3 + 3" in request.prompt else None


def test_a_refused_row_keeps_the_servers_words_and_is_sent_again_only_with_fresh(tmp_path: Path) -> None:
    first = annotate(ingested(tmp_path, EXAMPLES), teacher=Fake(ANSWERS, script=refusing))
    assert (first.written, first.refused, first.rejected) == (1, 1, {})
    row = first.manifest.examples().sort("prompt").row(1, named=True)
    (finding,) = json.loads(row["findings"])
    assert (finding["auditor"], finding["decision"], finding["attempt"]) == ("refused", "note", None)
    assert finding["message"].endswith(": 400: content_filter")
    assert (row["status"], row["rationale"], finding["call_id"]) == ("selected", None, row["call_id"])
    audit(first.manifest, auditors=["malformed"])
    newest = manifest.load("tail", root=tmp_path)
    quiet, fresh = Fake({"What is 3 + 3?": "6"}), Fake({"What is 3 + 3?": "6"})
    again = annotate(newest, teacher=quiet)
    assert (again.rows, quiet.sent, again.manifest.version) == (0, [], newest.version)
    assert annotate(newest, teacher=quiet, dry_run=True).rows == 0
    other = annotate(newest, teacher=Fake(model="another"), dry_run=True)
    assert other.rows == 1, "another model may take it"
    done = annotate(newest, teacher=fresh, fresh=True)
    assert ([request.sample for request in fresh.sent], done.written) == ([0], 1)


def test_where_all_that_is_left_is_refused_that_is_kept_too(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    assert annotate(start, teacher=Fake({"What is 2 + 2?": "4", "What is 3 + 3?": "7"})).written == 1
    done = annotate(manifest.load("tail", root=tmp_path), teacher=Fake(script=refusing))
    assert (done.rows, done.refused, done.written) == (1, 1, 0)
    assert annotate(done.manifest, teacher=Fake()).rows == 0


def mixed(n: int = 10) -> list[dict[str, Any]]:
    """Selected rows of one domain: choices, sums and class names that their column says."""
    return [
        *({"prompt": f"Which, {i}?\n(A) this\n(B) that", "answer": "AB"[i % 2]} for i in range(n)),
        *({"prompt": f"What is {i} times 17?", "answer": str(17 * i)} for i in range(n)),
        *({"prompt": f"Review {i}: fine", "answer": ("bad", "good")[i % 2], "kind": "label"} for i in range(n)),
        *({"prompt": f"Tell of town {i}.", "answer": f"a town of {i} houses by the sea"} for i in range(n)),
    ]


def test_each_row_of_a_domain_of_several_kinds_is_asked_and_judged_by_its_own(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{**row, "status": "selected"} for row in mixed()])
    teacher = Fake({row["prompt"]: row["answer"] for row in mixed()})
    planned = annotate(start, teacher=teacher, dry_run=True)
    assert [(asked.how, asked.domains, asked.rationales, asked.examples) for asked in planned.asked] == [
        ("mixed", ("algebra",), 40, 0)
    ]
    assert "choice 33%" in planned.asked[0].why
    assert "10 rows say their own" in planned.asked[0].why
    assert planned.to_dict()["asked"][0]["rationales"] == 40
    done = annotate(start, teacher=teacher)
    assert (done.written, done.rejected) == (40, {})
    systems = {request.prompt[:5]: request.messages[0]["content"] for request in teacher.sent}
    assert len(set(systems.values())) == 4, "four templates"
