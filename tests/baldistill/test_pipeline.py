"""The K-stage loop, with a tiny real student: what each stage leaves, and that a stopped run goes on where it was."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baldistill.evaluation import evaluate, score
from baldistill.runs import pipeline
from baldistill.runs.plan import Plan, parse
from baldistill.student import students
from baldistill.training import train
from curate import progress
from curate.errors import InputError, ModelError
from curate.housekeeping.rename import rename
from curate.manifest.manifest import Manifest, load
from curate.report.runs import learned_snapshots
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from tests.support import tiny_student


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_student.make(tmp_path_factory.mktemp("pipeline") / "tiny"))


@pytest.fixture
def start(tmp_path: Path) -> Manifest:
    tail = [{**row, "prompt": row["prompt"].replace("+", "plus")} for row in tiny_student.sums(4, domain="tail")]
    rows = [*tiny_student.sums(20, domain="head"), *tail, *tiny_student.sums(4, domain="head", split="test")]
    return tiny_student.manifest(tmp_path, rows)


def plan(student: str, **balance: Any) -> Plan:
    return parse(
        {
            "name": "tiny-run",
            "manifest": "tiny",
            "balance": {"budget": 12, "stages": 2, "policy": "uniform", "selector": "ifd", "auditors": ["malformed"], **balance},
            "train": {"student": student, "epochs": 1, "max_tokens": 128, "dtype": "fp32"},
            "score": {"batch_size": 4, "dtype": "fp32"},
            "evaluate": {"max_new_tokens": 4, "dtype": "fp32"},
        }
    )


def _counting(verb: Callable[..., Any], calls: dict[str, int]) -> Callable[..., Any]:
    @functools.wraps(verb)
    def count(*args: Any, **options: Any) -> Any:
        calls[verb.__name__] += 1
        return verb(*args, **options)

    return count


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the calls of the slow verbs."""
    calls = {"train": 0, "evaluate": 0, "score": 0}
    for module, verb in ((train, "train"), (evaluate, "evaluate"), (score, "score")):
        monkeypatch.setattr(module, verb, _counting(getattr(module, verb), calls))
    return calls


def test_each_stage_leaves_a_snapshot_an_adapter_scores_and_a_line(
    start: Manifest, student: str, counted: dict[str, int]
) -> None:
    run = pipeline.run(plan(student), root=start.root)
    assert [line.index for line in run.stages] == [-1, 0, 1]
    assert counted == {"train": 2, "evaluate": 3, "score": 1}  # the base student first; the last stage scores nothing
    assert [sum(line.achieved.values()) for line in run.stages[1:]] == [6, 6]
    verbs = [commit.verb for commit in run.manifest.log()]
    assert verbs == ["ingest", "balance", "score", "balance"]
    for line in run.stages[1:]:
        snapshot = load(line.snapshot, root=start.root)
        learned = json.loads((Path(start.root) / line.adapter / "snapshot.json").read_text())
        assert str(snapshot) in json.dumps(learned)
        assert line.metrics["macro"]["n"] == 4
    record = json.loads((run.folder / "record.json").read_text())
    assert [line["snapshot"] for line in record] == [line.snapshot for line in run.stages]
    learned_from = [f"{run.manifest.name}@{learned.version}" for learned in learned_snapshots(run.manifest)]
    assert learned_from == [line.snapshot for line in run.stages[1:]], "curate explain reads the record"


def test_the_second_stage_chooses_by_the_first_students_scores(start: Manifest, student: str) -> None:
    run = pipeline.run(plan(student), root=start.root)
    rows = run.manifest.rows().filter(domain="head", status="selected", stage=1)
    assert rows["reason"].str.starts_with("ifd: ").all()
    left = run.manifest.rows().filter(domain="head", status="candidate", split="train")["score"]
    assert rows["score"].min() >= left.max()


def test_the_same_plan_again_does_nothing_twice(start: Manifest, student: str, counted: dict[str, int]) -> None:
    once = pipeline.run(plan(student), root=start.root)
    counted.update(dict.fromkeys(counted, 0))
    again = pipeline.run(plan(student), root=start.root)
    assert counted == {"train": 0, "evaluate": 0, "score": 0}
    assert again.manifest == once.manifest
    assert [line.metrics for line in again.stages] == [line.metrics for line in once.stages]
    damaged = Path(start.root) / once.stages[1].adapter / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    pipeline.run(plan(student), root=start.root)
    assert counted == {"train": 1, "evaluate": 0, "score": 0}, "a damaged adapter is not taken for done"


def test_a_student_that_cannot_be_trained_is_refused_before_anything_is_paid(
    start: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tiny_student.make(tmp_path / "refusing", template="{{ raise_exception('no chats') }}")
    monkeypatch.setattr(pipeline, "_evaluate", lambda *_, **__: pytest.fail("the base student was measured first"))
    with pytest.raises(ModelError, match=r"row \w+: the student's chat template refuses a chat of the turns user: no chats"):
        pipeline.run(plan(str(refusing)), root=start.root)


def test_a_manifest_that_was_renamed_is_not_trained_on_again(start: Manifest, student: str, counted: dict[str, int]) -> None:
    once = pipeline.run(plan(student), root=start.root)
    rename(start.name, new="sums", root=start.root)
    counted.update(dict.fromkeys(counted, 0))
    again = pipeline.run(dataclasses.replace(plan(student), manifest="sums"), root=start.root)
    assert counted == {"train": 0, "evaluate": 0, "score": 0}
    assert [line.metrics for line in again.stages] == [line.metrics for line in once.stages]
    assert str(again.manifest) == f"sums@{once.manifest.version}"


def test_a_run_that_was_stopped_goes_on_at_the_step_where_it_was(
    start: Manifest, student: str, counted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = score.score

    @functools.wraps(counting)
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(score, "score", stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(plan(student), root=start.root)
    assert counted["train"] == 1
    monkeypatch.setattr(score, "score", counting)
    run = pipeline.run(plan(student), root=start.root)
    assert counted == {"train": 2, "evaluate": 3, "score": 1}
    assert len(run.stages) == 3


def test_a_manifest_made_anew_is_trained_on_anew(start: Manifest, student: str, counted: dict[str, int], tmp_path: Path) -> None:
    pipeline.run(plan(student), root=start.root)
    shutil.rmtree(tmp_path / "manifests" / "tiny")
    tiny_student.manifest(tmp_path, [*tiny_student.sums(20), *tiny_student.sums(4, split="test")])
    pipeline.run(plan(student), root=start.root)
    assert counted["train"] == 4


def test_a_stage_that_a_cap_stopped_is_not_trained_on(start: Manifest, student: str, counted: dict[str, int]) -> None:
    capped = plan(student, teacher="fake", max_calls=2, auditors=["malformed"])
    with pytest.raises(InputError, match=r"stage 0 stopped .* at a cap .*: 4 of its 6 slots are empty.*allow_short"):
        pipeline.run(capped, root=start.root)
    assert counted["train"] == 0


def test_a_stage_that_could_not_be_filled_is_trained_on_only_where_the_plan_allows_it(
    start: Manifest, student: str, counted: dict[str, int]
) -> None:
    def nothing_new(request: Request, _: int) -> RawResponse | None:
        return RawResponse.of("I cannot help with that.") if request.purpose == "synthesis" else None

    asked = plan(student, budget=28, teacher="fake", max_attempts=1, stages=1)
    balance = {**asked.tables["balance"], "teacher": Fake(script=nothing_new)}
    short = dataclasses.replace(asked, tables={**asked.tables, "balance": balance})
    with pytest.raises(InputError, match="stage 0 could not be filled: 4 of its 28 slots are empty, so no student is trained"):
        pipeline.run(short, root=start.root)
    assert counted["train"] == 0
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        allowed = pipeline.run(dataclasses.replace(short, allow_short=True), root=start.root)
    assert counted["train"] == 1
    assert any("4 of its 28 slots are empty; allow_short = true: a student is trained on what is there" in note for note in notes)
    assert [stage.short_by for stage in allowed.balanced] == [4]


def test_need_uses_the_last_students_validation_rows(start: Manifest, student: str, counted: dict[str, int]) -> None:
    held = [*tiny_student.sums(4, domain="head", split="validation"), *tiny_student.sums(2, domain="tail", split="validation")]
    held = [{**row, "prompt": f"so {row['prompt']}"} for row in held]  # no question that is trained on
    rows = start.examples().select("prompt", "answer", "domain", "split").to_dicts()
    tiny_student.manifest(Path(start.root), [*rows, *held], name="held")
    by_need = dataclasses.replace(plan(student, policy="need", need_weight=1.0), manifest="held", name="by-need")
    run = pipeline.run(by_need, root=start.root)
    assert counted == {"train": 2, "evaluate": 4, "score": 1}, "one more evaluation: stage 0 on validation rows"
    first, second = (c.parameters for c in run.manifest.log() if c.verb == "balance")
    found = json.loads((run.folder / "stage-0" / "evaluate-validation.json").read_text())["result"]
    assert found["split"] == "validation"
    assert first["metrics"] is None
    assert second["metrics"] == sorted([line["domain"], line["n"], line["correct"]] for line in found["domains"])
    assert [line.metrics["split"] for line in run.stages] == ["test"] * 3, "the record is of test rows"
    again = pipeline.run(by_need, root=start.root)
    assert again.manifest == run.manifest
    assert counted["evaluate"] == 4


def test_need_without_validation_rows_says_so_at_the_start(start: Manifest, student: str, counted: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"policy 'need' uses .* validation rows, and tiny@0 has none; .*holdout = 0\.05"):
        pipeline.run(plan(student, policy="need"), root=start.root)
    assert counted == {"train": 0, "evaluate": 0, "score": 0}


def test_changed_scores_do_not_undo_what_was_chosen_and_say_so(start: Manifest, student: str) -> None:
    plain = plan(student)
    first = pipeline.run(plain, root=start.root)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        again = pipeline.run(
            dataclasses.replace(plain, tables={**plain.tables, "score": {"kind": "ifd_loss", "dtype": "fp32"}}), root=start.root
        )
    assert [result.reused for result in again.balanced] == [True, True]
    assert again.balanced[1].achieved == first.balanced[1].achieved
    assert [line for line in heard if "chosen with earlier scores" in line] == [
        "stage 1 was chosen with earlier scores and is kept; to choose again, give the plan another manifest"
    ]


def test_a_proxy_scores_once_before_the_first_stage(
    start: Manifest, student: str, counted: dict[str, int], tmp_path: Path
) -> None:
    small = str(tiny_student.make(tmp_path / "small", seed=1))
    plain = plan(student)
    by_proxy = dataclasses.replace(plain, tables={**plain.tables, "score": {"proxy": small, "dtype": "fp32"}})
    run = pipeline.run(by_proxy, root=start.root)
    assert [commit.verb for commit in run.manifest.log()] == ["ingest", "score", "balance", "balance"], "scores stay good"
    first = run.manifest.rows().filter(domain="head", stage=0)
    assert first["reason"].str.contains("rank ").all(), "the first stage has scores to choose by"
    assert set(run.manifest.rows("scored_by")["scored_by"].drop_nulls()) == {students.identify(small, dtype="fp32")}
    counted.update(dict.fromkeys(counted, 0))
    assert pipeline.run(by_proxy, root=start.root).manifest == run.manifest
    assert counted == {"train": 0, "evaluate": 0, "score": 0}
