import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.balance.synthesize import SynthesizeResult, synthesize
from curate.errors import ConflictError, InputError, TeacherError, UnknownNameError
from curate.files import ledger_path
from curate.manifest import manifest
from curate.manifest.manifest import Manifest
from curate.report import costs
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.vectors.encoders import FakeEncoder
from tests.support.samples import ingested

WORDS = ["apple", "brick", "cloud", "drum", "eagle", "flute", "grape", "house", "igloo", "jelly", "kite", "lemon"]
EXAMPLES = [
    {"prompt": f"What is {n} + {n}?", "answer": str(2 * n), "domain": domain, "cluster": n % 3}
    for domain in ("sums", "totals")
    for n in range(6)
]


def new(request: Request, n: int) -> RawResponse:
    """An example unlike all others; every third comes to another answer than it says."""
    word, said = WORDS[(request.sample + 6 * (request.domain == "totals")) % len(WORDS)], request.sample * 7
    came_to = said + 1 if request.sample % 3 == 0 else said
    prompt = f"{request.domain}: the {word} {word} {word} stands for {request.sample} times seven, how much is that?"
    return RawResponse.of(json.dumps({"prompt": prompt, "rationale": f"So. The answer is: {came_to}", "answer": str(said)}))


def run(start: Manifest, teacher: Any, **options: Any) -> SynthesizeResult:
    return synthesize(start, **{"domains": ["sums"], "n": 3, "teacher": teacher, "encoder": FakeEncoder(), **options})


def synthetic(handle: Manifest) -> pl.DataFrame:
    return handle.examples().filter(source="synthetic").sort("domain", "origin")


def test_what_passes_becomes_a_candidate_and_what_does_not_is_replaced_and_kept(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    teacher = Fake(script=new)
    done = run(start, teacher, domains=["totals", "sums"])
    assert done.written == {"sums": 3, "totals": 3}
    assert done.rejected == {"sums": {"answer_mismatch": 2}, "totals": {"answer_mismatch": 2}}
    assert (done.complete, done.spent.calls, len(teacher.sent)) == (True, 10, 10)
    rows = synthetic(done.manifest)
    assert rows.filter(domain="sums").select("origin", "status", "reason").rows() == [
        ("teacher:fake#0", "rejected", "answer_mismatch"),
        ("teacher:fake#1", "candidate", "written for later stages"),
        ("teacher:fake#2", "candidate", "written for later stages"),
        ("teacher:fake#3", "rejected", "answer_mismatch"),
        ("teacher:fake#4", "candidate", "written for later stages"),
    ]
    assert set(rows["split"]) == {"train"}
    assert rows["stage"].null_count() == rows.height
    assert rows["call_id"].null_count() == rows["content"].null_count() == 0
    real = set(start.rows().filter(domain="sums")["id"])
    assert all(set(parents) <= real and len(parents) == 4 for parents in rows.filter(domain="sums")["parents"])
    assert [finding["auditor"] for finding in json.loads(rows["findings"][0])] == ["answer_mismatch"]
    causes = costs.read_costs(done.manifest).by["cause"]
    assert {cause: figures.attempts for cause, figures in causes.items()} == {"new": 6, "refill": 4}
    untouched = done.manifest.rows().filter(source="real")
    assert untouched.sort("id").equals(start.rows().sort("id"))


def test_the_next_run_goes_on_with_other_requests(tmp_path: Path) -> None:
    first = run(ingested(tmp_path, EXAMPLES), Fake(script=new)).manifest
    teacher = Fake(script=new)
    second = run(first, teacher)
    assert min(request.sample for request in teacher.sent) == 5
    assert second.manifest.rows().filter(source="synthetic", status="candidate").height == 6


def test_the_same_ledger_gives_the_same_manifest_row_for_row(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    first = run(start, Fake(script=new, concurrency=1)).manifest.rows()
    other = ingested(tmp_path / "other", EXAMPLES)
    again = run(other, Fake(script=new, concurrency=8)).manifest.rows()
    assert first.equals(again)


def test_a_run_that_could_not_commit_pays_nothing_again(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    start.commit(start.rows(), verb="cluster")
    with pytest.raises(ConflictError):
        run(start, Fake(script=new))
    teacher = Fake(script=new)
    done = run(manifest.load("tail", root=tmp_path), teacher, max_calls=5)
    assert (done.written, teacher.sent, done.spent.saved) == ({"sums": 3}, [], 5)


def test_a_domain_stops_after_so_many_replies_for_each_example(tmp_path: Path) -> None:
    teacher = Fake(script=lambda request, n: RawResponse.of("Sorry, I can't."))
    done = run(ingested(tmp_path, EXAMPLES), teacher, n=2, max_attempts=3)
    assert (done.written, done.rejected, len(teacher.sent)) == ({"sums": 0}, {"sums": {"malformed": 6}}, 6)
    kept = [json.loads(extra)["reply"] for extra in synthetic(done.manifest)["extra"]]
    assert kept == ["Sorry, I can't."] * 6


def test_a_teacher_that_answers_nothing_of_what_is_asked_is_an_error(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    with pytest.raises(TeacherError, match=r"none of the \d+ requests has an answer in 'fake', so nothing was done"):
        run(start, Fake(new_examples=0))
    assert manifest.load("tail", root=tmp_path).version == 0


def test_a_near_copy_of_what_is_there_is_rejected(tmp_path: Path) -> None:
    text = json.dumps({"prompt": "What is 5 + 5?", "rationale": "The answer is: 10", "answer": "10"})
    done = run(ingested(tmp_path, EXAMPLES), Fake(script=lambda request, n: RawResponse.of(text)), n=1, max_attempts=2)
    assert done.rejected == {"sums": {"near_duplicate": 2}}


def test_a_copy_of_a_candidate_of_an_earlier_run_is_rejected(tmp_path: Path) -> None:
    once = RawResponse.of(json.dumps({"prompt": "How far is the moon?", "rationale": "The answer is: 9", "answer": "9"}))
    first = run(ingested(tmp_path, EXAMPLES), Fake(script=lambda request, n: once), n=1)
    second = run(first.manifest, Fake(script=lambda request, n: once), n=1, max_attempts=1)
    assert (first.written, second.rejected) == ({"sums": 1}, {"sums": {"near_duplicate": 1}})


def test_a_cap_commits_what_was_bought(tmp_path: Path) -> None:
    done = run(ingested(tmp_path, EXAMPLES), Fake(script=new), max_calls=2)
    assert (done.manifest.version, done.complete, done.spent.calls) == (1, False, 2)
    assert done.to_dict()["written"] == {"sums": 1}


def test_nobody_there_leaves_the_manifest_as_it_was(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    with pytest.raises(TeacherError):
        run(start, Fake(script=lambda request, n: RawResponse("denied", error="401")))
    assert manifest.load("tail", root=tmp_path) == start


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"domains": ["sumz"]}, UnknownNameError, "unknown domain 'sumz'; did you mean 'sums'"),
        ({"domains": []}, InputError, "name at least one with --domain NAME"),
        ({"n": 0}, InputError, "--n must be at least 1 new example per domain, got 0"),
        ({"auditors": ["leakeage"]}, UnknownNameError, "did you mean 'leakage'"),
        ({"teacher": "fakes"}, UnknownNameError, "did you mean 'fake'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_bought(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(ingested(tmp_path, EXAMPLES), **{"teacher": "fake", **options})
    assert not (tmp_path / "manifests" / "ledger.sqlite").exists()


def test_several_examples_per_call_are_rows_of_their_own(tmp_path: Path) -> None:
    def some(request: Request, n: int) -> RawResponse:
        """Answer with examples of which every second one has no question."""
        found = [
            json.loads(content_of(new(replace(request, sample=request.sample + k), n))) for k in range(len(request.wanted) or 1)
        ]
        for example in found[1::2]:
            example["prompt"] = ""
        return RawResponse.of(json.dumps({"examples": found} if request.wanted else found[0]))

    def content_of(answer: RawResponse) -> str:
        return str(json.loads(answer.raw)["choices"][0]["message"]["content"])

    teacher = Fake(script=some)
    done = run(ingested(tmp_path, EXAMPLES), teacher, n=3, rows_per_call=3, max_attempts=4)
    asked = [(request.sample, len(request.wanted) or 1, request.max_tokens) for request in teacher.sent]
    assert asked[0] == (0, 3, 3 * 1024)
    assert sum(n for _, n, _ in asked) <= 12
    rows = synthetic(done.manifest).sort(pl.col("origin").str.extract(r"#(\d+)$").cast(pl.Int64))
    assert rows["origin"].to_list() == [f"teacher:fake#{n}" for n in range(rows.height)]
    assert rows.height == sum(n for _, n, _ in asked)
    assert done.written["sums"] + sum(done.rejected["sums"].values()) == rows.height
    assert done.written["sums"] == rows.filter(status="candidate").height == 3
    assert done.rejected["sums"]["malformed"] == rows.filter(prompt="").height
    assert done.tokens_per_written == done.spent.tokens / 3
    assert done.usd_per_written == 0.0
    assert {"tokens_per_written", "usd_per_written"} <= set(done.to_dict())


def test_a_dry_run_foresees_what_the_run_does_and_makes_nothing(tmp_path: Path) -> None:
    start = ingested(tmp_path, EXAMPLES)
    teacher = Fake(script=new)
    planned = run(start, teacher, dry_run=True)
    assert planned.estimate is not None
    assert (planned.estimate.examples, planned.written) == (3, {"sums": 0})
    assert (teacher.sent, planned.manifest, ledger_path(str(tmp_path)).exists()) == ([], start, False)
    done = run(start, teacher)
    assert done.reckoned is not None
    assert done.reckoned.estimate == planned.estimate
    assert planned.to_dict()["estimate"]["examples"] == 3
