"""Tests of scoring: equal to a naive twin, never a silent 0, comparable only with its own kind."""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from baldistill.evaluation import score
from baldistill.evaluation.settings import FORMULAS
from baldistill.student import checkpoints, generate, students
from baldistill.student.tokens import Tokens, encode
from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.manifest.manifest import Manifest, load
from tests.support import tiny_student


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_student.make(tmp_path_factory.mktemp("scoring") / "tiny"))


@pytest.fixture(scope="module")
def student(base: str) -> students.Student:
    return students.load(base, dtype="fp32")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    rows = [
        *tiny_student.sums(4, rationale=True),
        *tiny_student.sums(3, domain="bare"),
        *tiny_student.sums(2, domain="taken", status="selected"),
        *tiny_student.sums(2, domain="out", status="rejected"),
        *tiny_student.sums(2, split="test"),
        {**tiny_student.sums(1, domain="made")[0], "source": "synthetic"},
    ]
    return tiny_student.manifest(tmp_path, rows)


def _mean_loss(student: students.Student, context: list[int], completion: list[int]) -> float:
    """The naive twin: one text, no padding, one token after the other."""
    import torch

    ids = torch.tensor([context + completion])
    with torch.inference_mode():
        log_probs = torch.log_softmax(student.model(ids).logits.double(), dim=-1)[0]
    return -sum(float(log_probs[len(context) + i - 1, token]) for i, token in enumerate(completion)) / len(completion)


def _naive(student: students.Student, prompt: str, completion: str, kind: str) -> float:
    asked = f"<|start|>user\n{prompt}<|end|>\n<|start|>assistant\n"
    before, whole = (student.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, asked + completion))
    assert whole[: len(before)] == before
    header = student.tokenizer("<|start|>assistant\n", add_special_tokens=False)["input_ids"]
    a, b = (_mean_loss(student, context, whole[len(before) :]) for context in (before, header))
    return math.exp(a) / math.exp(b) if kind == "ifd_ppl" else a / b


def _score(manifest: Manifest, base: str, **options: Any) -> score.ScoreResult:
    return score.score(manifest, student=base, **{"dtype": "fp32", **options})


@pytest.mark.parametrize("kind", FORMULAS)
def test_scores_are_those_of_the_naive_twin(manifest: Manifest, base: str, student: students.Student, kind: str) -> None:
    found = _score(manifest, base, kind=kind, batch_tokens=200)
    rows = found.manifest.examples().filter(pl.col("score").is_not_null())
    assert found.rows == rows.height == 7
    for row in rows.iter_rows(named=True):
        completion = f"{row['rationale']}\nThe answer is: {row['answer']}" if row["rationale"] else row["answer"]
        assert row["score"] == pytest.approx(_naive(student, row["prompt"], completion, kind), abs=1e-3)
        assert row["score"] > 0


def test_only_candidates_are_scored_and_the_rest_stays(manifest: Manifest, base: str) -> None:
    found = _score(manifest, base)
    before, after = manifest.rows(), found.manifest.rows()
    changed = ["score", "score_kind", "scored_by"]
    assert after.drop(changed).equals(before.drop(changed))
    scored = after.filter(pl.col("score").is_not_null())
    assert set(scored["domain"]) == {"sums", "bare"}
    assert set(scored["split"]) == {"train"}


def test_kind_says_what_was_read_and_by_whom(manifest: Manifest, base: str) -> None:
    found = _score(manifest, base)
    assert found.kinds == {"ifd_ppl:answer": 3, "ifd_ppl:rationale": 4}
    kinds = found.manifest.rows().filter(pl.col("score").is_not_null()).group_by("domain").agg(pl.col("score_kind").unique())
    assert dict(kinds.rows()) == {"sums": ["ifd_ppl:rationale"], "bare": ["ifd_ppl:answer"]}
    assert set(found.manifest.rows("scored_by")["scored_by"].drop_nulls()) == {students.identify(base, dtype="fp32")}
    commit = found.manifest.log()[-1]
    assert (commit.verb, commit.summary["scored"], commit.parameters["kind"]) == ("score", 7, "ifd_ppl")
    assert str(Path(base).parent) not in str(commit)


def test_the_same_again_is_a_no_op_and_another_kind_is_not(manifest: Manifest, base: str) -> None:
    first = _score(manifest, base)
    again = _score(first.manifest, base)
    assert (again.manifest, again.rows, again.already) == (first.manifest, 0, 7)
    answers = _score(first.manifest, base, over="answer")
    assert (answers.rows, answers.already, answers.kinds) == (4, 3, {"ifd_ppl:answer": 4})
    assert _score(answers.manifest, base, kind="ifd_loss").rows == 7


def test_generation_is_scored_over_the_students_own_outputs(manifest: Manifest, base: str, student: students.Student) -> None:
    found = _score(manifest, base, over="generation", domains=["bare"])
    assert found.kinds == {"ifd_ppl:generation": 3}
    row = found.manifest.examples().filter(pl.col("score").is_not_null()).row(0, named=True)
    (tokens,) = encode(student.tokenizer, pl.DataFrame([{"prompt": row["prompt"], "answer": "x"}]))
    (output,) = generate.generate(student, [tokens.prompt], max_new_tokens=128, batch_size=1)
    generated = pl.DataFrame([{"prompt": row["prompt"], "answer": output.text, "rationale": None}])
    scores, _ = score._scores(student, generated, "ifd_ppl", 256, 1, checkpoints.Journal())
    assert row["score"] == pytest.approx(scores[0], abs=1e-3)


def test_what_cannot_be_scored_has_no_score_and_is_reported(tmp_path: Path, base: str) -> None:
    rows = [*tiny_student.sums(2), {"prompt": "what is nothing", "answer": ""}]
    manifest = tiny_student.manifest(tmp_path, rows)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        found = _score(manifest, base)
    blank = found.manifest.examples().filter(pl.col("prompt") == "what is nothing").row(0, named=True)
    assert (blank["score"], blank["score_kind"], found.unscored) == (None, None, (blank["id"],))
    assert any("1 rows get no score (no completion, or a ratio that is not a number); the first is" in line for line in heard)


def test_blanks_and_rows_longer_than_the_student_are_stated(tmp_path: Path, base: str) -> None:
    blank = {"prompt": "what is a", "answer": " \n\t"}
    long = {"prompt": "what is b " * 200, "answer": "so it is 3 " * 200}
    found = _score(tiny_student.manifest(tmp_path, [blank, long, *tiny_student.sums(1)]), base, max_tokens=10_000)
    rows = {row["prompt"]: row for row in found.manifest.examples().iter_rows(named=True)}
    assert (found.rows, found.truncated, len(found.unscored)) == (2, 1, 1)
    assert rows[blank["prompt"]]["score"] is None, "a blank answer is no completion"
    assert rows[long["prompt"]]["score"] > 0


def test_a_proxy_scores_in_the_students_place(manifest: Manifest, base: str, tmp_path: Path) -> None:
    small = str(tiny_student.make(tmp_path / "small", seed=1))
    found = _score(manifest, base, proxy=small, adapter=tmp_path / "no-such-adapter")
    assert found.scored_by == students.identify(small, dtype="fp32")
    assert set(found.manifest.rows("scored_by")["scored_by"].drop_nulls()) == {found.scored_by}
    assert found.manifest.log()[-1].parameters["proxy"] is True
    again = _score(found.manifest, base, proxy=small)
    assert (again.manifest, again.already) == (found.manifest, 7), "the next stage has these scores already"


class TestAStoppedRun:
    """What was read before the stop is not read again, and the scores are those of an undisturbed run."""

    @staticmethod
    def _scores(found: score.ScoreResult) -> dict[str, float]:
        return dict(found.manifest.rows("id", "score").drop_nulls().iter_rows())

    @staticmethod
    def _journals(root: Path) -> list[Path]:
        return [next((root / name / "cache" / "scores").iterdir()) for name in ("stopped", "whole")]

    @pytest.mark.parametrize("over", ["rationale", "generation"])
    def test_it_goes_on_after_the_batch_where_it_stopped(
        self, tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch, over: str
    ) -> None:
        rows, common = tiny_student.sums(9, rationale=True), {"over": over, "batch_tokens": 90, "batch_size": 2}
        whole = self._scores(_score(tiny_student.manifest(tmp_path / "whole", rows), base, **common))
        manifest = tiny_student.manifest(tmp_path / "stopped", rows)
        add, batches = checkpoints.Journal.add, 0

        def stop(journal: checkpoints.Journal, entries: dict[str, Any]) -> None:
            nonlocal batches
            batches += 1
            if batches == 4:
                raise KeyboardInterrupt
            add(journal, entries)

        monkeypatch.setattr(checkpoints.Journal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            _score(manifest, base, **common)
        monkeypatch.setattr(checkpoints.Journal, "add", add)
        assert load("tiny", root=manifest.root) == manifest, "nothing is committed"
        path, undisturbed = self._journals(tmp_path)
        assert len(path.read_bytes().splitlines()) == 3
        path.write_bytes(path.read_bytes() + b'deadbeef {"torn": 1')
        assert self._scores(_score(manifest, base, **common)) == whole, "to the bit: the batches are the same"
        assert len(path.read_bytes().splitlines()) == len(undisturbed.read_bytes().splitlines()) + 1, "the torn line"

    def test_a_killed_process_leaves_what_it_read(self, tmp_path: Path, base: str) -> None:
        rows = tiny_student.sums(40, rationale=True)
        whole = self._scores(_score(tiny_student.manifest(tmp_path / "whole", rows), base, batch_tokens=60))
        manifest = tiny_student.manifest(tmp_path / "stopped", rows)
        # It kills itself as soon as the eleventh batch is on disk: no handler runs, nothing is flushed.
        code = (
            "import os, signal\nfrom baldistill.student.checkpoints import Journal\n"
            "from baldistill.evaluation.score import score\nfrom curate.manifest import load\n"
            "add, n = Journal.add, [0]\n"
            "def count(self, entries):\n    add(self, entries); n[0] += 1\n"
            "    if n[0] == 11: os.kill(os.getpid(), signal.SIGKILL)\n"
            "Journal.add = count\n"
            f"score(load('tiny', root={manifest.root!r}), student={base!r}, dtype='fp32', batch_tokens=60)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == -signal.SIGKILL, done.stderr
        path, undisturbed = self._journals(tmp_path)
        assert len(path.read_bytes().splitlines()) == 11
        assert self._scores(_score(manifest, base, batch_tokens=60)) == pytest.approx(whole, abs=1e-6)
        assert len(path.read_bytes().splitlines()) == len(undisturbed.read_bytes().splitlines()), "nothing was read twice"

    def test_without_its_cache_it_starts_from_the_beginning(self, tmp_path: Path, base: str) -> None:
        first = self._scores(_score(tiny_student.manifest(tmp_path, tiny_student.sums(3)), base))
        shutil.rmtree(tmp_path / "cache")
        again = tiny_student.manifest(tmp_path, tiny_student.sums(3), name="again")
        assert self._scores(_score(again, base)) == first


def test_nothing_but_unscorable_rows_commits_nothing(tmp_path: Path, base: str) -> None:
    manifest = tiny_student.manifest(tmp_path, [{"prompt": "what", "answer": ""}])
    found = _score(manifest, base)
    assert (found.manifest, found.rows, len(found.unscored)) == (manifest, 0, 1)


def test_no_candidates_is_a_no_op(tmp_path: Path, base: str) -> None:
    manifest = tiny_student.manifest(tmp_path, tiny_student.sums(2, status="selected"))
    assert _score(manifest, base).manifest == manifest


def test_limit_is_spread_over_the_domains(manifest: Manifest, base: str) -> None:
    found = _score(manifest, base, limit=4)
    scored = found.manifest.rows().filter(pl.col("score").is_not_null())
    assert sorted(scored["domain"]) == ["bare", "bare", "sums", "sums"]
    more = _score(found.manifest, base)
    assert (more.rows, more.already) == (3, 4)


def test_long_rows_are_cut_and_counted() -> None:
    assert score._cut(Tokens([1, 2, 3], [4, 5]), 5) == Tokens([1, 2, 3], [4, 5])
    assert score._cut(Tokens([1, 2, 3, 4, 5, 6], [7, 8]), 6) == Tokens([3, 4, 5, 6], [7, 8]), "the prompt loses its beginning"
    assert score._cut(Tokens([1, 2], [3] * 9), 6) == Tokens([1, 2], [3] * 4), "the completion fills what the prompt leaves"
    assert score._cut(Tokens([1] * 9, [2] * 9), 6) == Tokens([1] * 3, [2] * 3), "or half"


def test_truncation_is_reported(manifest: Manifest, base: str, student: students.Student) -> None:
    heights = [len(tokens) for tokens in encode(student.tokenizer, manifest.examples().head(4))]
    found = _score(manifest, base, max_tokens=min(heights) - 1)
    assert (found.truncated, found.rows) == (4, 7), "the four with a rationale are too long"


def test_loss_ratio_of_nothing_is_no_number() -> None:
    assert score._ratio(1.0, 0.0, "ifd_loss") is None
    assert score._ratio(None, 1.0, "ifd_ppl") is None
    assert score._ratio(2.0, 1.0, "ifd_ppl") == pytest.approx(math.e)
    assert math.isfinite(score._ratio(5000.0, 1.0, "ifd_ppl") or math.inf)


def test_unknown_names_suggest_the_nearest(manifest: Manifest, base: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown --kind 'ifd_pl'; did you mean 'ifd_ppl'"):
        _score(manifest, base, kind="ifd_pl")
    with pytest.raises(UnknownNameError, match="unknown --over 'answers'; did you mean 'answer'"):
        _score(manifest, base, over="answers")
    with pytest.raises(UnknownNameError, match="unknown domain 'sum'; did you mean 'sums'"):
        _score(manifest, base, domains=["sum"])
    with pytest.raises(InputError, match="max_tokens 1 and batch_size None: use at least 4 and 1"):
        _score(manifest, base, max_tokens=1)
    with pytest.raises(InputError, match="batch_tokens 0: use at least 1, or leave it out"):
        _score(manifest, base, batch_tokens=0)


@pytest.mark.slow
def test_smollm2_finds_right_answers_easier_with_their_question(tmp_path: Path) -> None:
    found = score.score(tiny_student.manifest(tmp_path, tiny_student.sums(16)), over="answer")
    scores = found.manifest.rows("score")["score"]
    assert scores.null_count() == 0
    assert float(scores.median() or 9) < 1  # type: ignore[arg-type]
