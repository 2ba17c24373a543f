"""What a stage would ask for: places of real rows and of new examples, and prompts as they are rendered."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.audit.kinds import survey_rows
from curate.balance.balance import balance
from curate.balance.cost import stage_tasks, written_before
from curate.balance.settings import BalanceSettings
from curate.calls.forecast import Task
from curate.manifest.manifest import Manifest
from curate.selection.base import Quotas
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.teachers.prices import Price
from curate.vectors.encoders import FakeEncoder
from tests.support.samples import ingested

ENCODER = FakeEncoder()
SETTINGS = BalanceSettings(budget=18, encoder=ENCODER)
ROWS = [
    {"prompt": f"{d} item {i}: what is {i * 17} plus {i}?", "answer": str(i * 18), "domain": d}
    for d, n in {"head": 30, "tail": 3}.items()
    for i in range(1, n + 1)
]


def tasks(manifest: Manifest, quotas: Quotas, teacher: Fake | None, **changes: Any) -> dict[str, Task]:
    given = changes.pop("given", {})
    settings = replace(SETTINGS, **changes)
    rows = manifest.rows()
    kinds = survey_rows(manifest, rows)
    found = stage_tasks(manifest, rows, quotas, given=given, teacher=teacher, settings=settings, kinds=kinds)
    return {task.purpose: task for task in found}


@pytest.fixture
def start(tmp_path: Path) -> Manifest:
    return ingested(tmp_path, ROWS)


QUOTAS = Quotas(wanted={"head": 10, "tail": 8}, planned={"head": 10, "tail": 8}, budget=18)


def test_real_rows_come_first_and_what_is_short_is_written(start: Manifest) -> None:
    found = tasks(start, QUOTAS, Fake())
    assert found["rationale"].slots == {"head": 10, "tail": 3}
    assert found["synthesis"].slots == {"head": 0, "tail": 5}
    later = tasks(start, QUOTAS, Fake(), given={"head": 25, "tail": 1})
    assert later["rationale"].slots == {"head": 5, "tail": 2}
    assert later["synthesis"].slots == {"head": 5, "tail": 6}


def test_the_prompts_are_the_ones_that_would_be_sent(start: Manifest) -> None:
    asked = tasks(start, QUOTAS, Fake())
    teacher = Fake({row["prompt"]: row["answer"] for row in ROWS})
    balance(start, budget=18, policy="uniform", teacher=teacher, encoder=ENCODER)
    sent = {json.dumps(r.messages) for r in teacher.sent if r.purpose == "rationale"}
    foreseen = {json.dumps(r.messages) for r in asked["rationale"].requests}
    assert len(foreseen & sent) >= 3
    new = next(r for r in asked["synthesis"].requests)
    assert new.domain == "tail"
    assert "tail item" in json.dumps(new.messages)


@pytest.mark.parametrize(
    ("changes", "rationales", "examples"),
    [
        ({"rationales": "none"}, 0, 5),
        ({"rationales": "keep"}, 0, 5),
        ({"fill": "none"}, 13, 0),
        ({"rationales": "teacher", "fill": "repeat"}, 13, 0),
    ],
)
def test_what_is_not_asked_for_is_not_estimated(start: Manifest, changes: dict[str, Any], rationales: int, examples: int) -> None:
    found = tasks(start, QUOTAS, Fake(), **changes)
    assert (found["rationale"].rows, found["synthesis"].rows) == (rationales, examples)


def test_rows_that_have_a_rationale_are_not_asked_again(tmp_path: Path) -> None:
    rows = [{**row, "rationale": "It is so."} if row["domain"] == "head" else row for row in ROWS]
    start = ingested(tmp_path, rows)
    assert tasks(start, QUOTAS, Fake())["rationale"].slots == {"head": 0, "tail": 3}
    assert tasks(start, QUOTAS, Fake(), rationales="teacher")["rationale"].slots == {"head": 10, "tail": 3}


def test_what_was_rejected_before_is_counted(start: Manifest) -> None:
    def script(request: Request, _: int) -> RawResponse | None:
        bad = request.purpose == "rationale" and request.sample == 0 and "head item 1" in request.prompt
        return RawResponse.of("Some reasoning.\nThe answer is: 999999") if bad else None

    teacher = Fake({row["prompt"]: row["answer"] for row in ROWS}, script=script)
    after = balance(start, budget=18, policy="uniform", teacher=teacher, encoder=ENCODER).manifest
    rows = after.rows()
    found = tasks(after, QUOTAS, teacher)
    rejected = sum("answer_mismatch" in (told or "") for told in rows.filter(source="real")["findings"])
    assert found["rationale"].rejected == rejected
    assert found["rationale"].accepted == rows.filter(pl.col("call_id").is_not_null(), source="real", status="selected").height
    written = rows.filter(source="synthetic")
    assert (found["synthesis"].accepted, found["synthesis"].rejected) == (
        written.filter(status="selected").height,
        written.filter(status="rejected").height,
    )
    assert written_before(rows, "another") == (0, 0)


def test_a_real_run_says_how_far_off_its_estimate_was_and_a_later_one_knows_better(start: Manifest) -> None:
    teacher = Fake({row["prompt"]: row["answer"] for row in ROWS}, price=Price(1.0, 2.0))
    done = balance(start, budget=18, stages=2, stage=0, policy="uniform", teacher=teacher, encoder=ENCODER)
    told = done.stages[0].reckoned
    assert told is not None
    assert (told.estimate.replies, told.calls) == (0, done.stages[0].calls)
    dry = balance(done.manifest, budget=18, stages=2, policy="uniform", teacher=teacher, encoder=ENCODER, dry_run=True)
    estimate = dry.stages[1].estimate
    assert estimate is not None
    assert estimate.replies == told.calls
    again = balance(done.manifest, budget=18, stages=2, stage=0, policy="uniform", teacher=teacher, encoder=ENCODER)
    assert again.stages[0].reused
    assert "reckoned" not in json.dumps(again.manifest.log()[-1].summary)


def test_a_later_stage_is_estimated_by_the_rows_that_are_left(start: Manifest) -> None:
    teacher = Fake({row["prompt"]: row["answer"] for row in ROWS})
    done = balance(start, budget=18, stages=2, stage=0, policy="uniform", teacher=teacher, encoder=ENCODER).manifest
    quotas = Quotas(wanted={"head": 9, "tail": 0}, planned={"head": 9, "tail": 0}, budget=9)
    assert tasks(done, quotas, teacher)["rationale"].slots == {"head": 9, "tail": 0}
