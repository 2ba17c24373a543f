"""Answers from a closed set: which labels are scored, behind what, and what a prior changes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.evaluation import closed, evaluate
from baldistill.evaluation.closed import LabelSet
from baldistill.student import generate, label_scores, students
from baldistill.student.generate import Output
from baldistill.training import train
from curate import progress
from curate.errors import InputError
from curate.manifest.manifest import Manifest
from tests.support import tiny_student

TOPICS = {"tin": 8, "cpu": 4, "gas now": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_student.make(tmp_path_factory.mktemp("closed") / "tiny"))


def topics(*, rationale: bool = False, test: int = 3) -> list[dict[str, Any]]:
    rows = []
    for topic, n in TOPICS.items():
        for split, count in (("train", n), ("test", test)):
            for i in range(count):
                row = {"prompt": f"{split} text {i} of {topic[:1]}", "answer": topic, "domain": topic, "split": split}
                said = f"it is about {topic[:2]}" if rationale and split == "train" else None
                rows.append({**row, "rationale": said, "status": "selected" if split == "train" and i < 2 else "candidate"})
    return rows


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return tiny_student.manifest(tmp_path, topics())


def _evaluate(manifest: Manifest, base: str, **options: Any) -> evaluate.EvaluateResult:
    return evaluate.evaluate(manifest, student=base, **{"dtype": "fp32", "max_new_tokens": 8, **options})


def naive(student: students.Student, prompt: str, written: str) -> float:
    """Log P of what a student would write after a question, read by the template alone."""
    import torch

    text = f"<|start|>user\n{prompt}<|end|>\n<|start|>assistant\n"
    before = student.tokenizer(text, add_special_tokens=False)["input_ids"]
    label = student.tokenizer(written + "<|end|>", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = student.model(torch.tensor([before + label])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + n, token]) for n, token in enumerate(label))


def test_every_label_is_scored_after_the_prompt_up_to_what_ends_the_turn(manifest: Manifest, base: str) -> None:
    found = _evaluate(manifest, base, answers="score")
    student = students.load(base, dtype="fp32")
    for row in found.predictions.iter_rows(named=True):
        assert row["labels"] == ["cpu", "gas now", "tin"]
        wanted = [naive(student, row["prompt"], label) for label in row["labels"]]
        assert row["scores"] == pytest.approx(wanted, abs=1e-4)
        assert row["prediction"] == row["labels"][wanted.index(max(wanted))]
        assert row["correct"] == (row["prediction"] == row["answer"])
    assert (found.scored, found.unread, found.unended) == (9, 0, 0)
    assert set(found.predictions["output"]) == {None}


def test_a_score_per_token_is_the_sum_over_the_tokens_of_the_label(manifest: Manifest, base: str) -> None:
    whole, mean = (_evaluate(manifest, base, answers="score", per_token=on).predictions["scores"] for on in (False, True))
    tokenizer = students.load_tokenizer(base)
    sizes = [len(tokenizer(label + "<|end|>")["input_ids"]) for label in ("cpu", "gas now", "tin")]
    for one, other in zip(whole, mean, strict=True):
        assert [x / n for x, n in zip(one, sizes, strict=True)] == pytest.approx(list(other))


def test_labels_are_scored_behind_the_rationale_that_the_student_writes(
    manifest: Manifest, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ["we add 1 and 2.\nThe answer is: gas now", "so we take b", "The answer is: tin"]

    def write(student: Any, prompts: Sequence[Any], **_: Any) -> list[Output]:
        return [Output(said[i % 3], 5, True) for i, _ in enumerate(prompts)]

    monkeypatch.setattr(generate, "generate", write)
    found = _evaluate(manifest, base, answers="reason").predictions
    student = students.load(base, dtype="fp32")
    before = {said[0]: "we add 1 and 2.\nThe answer is: ", said[1]: "so we take b\nThe answer is: ", said[2]: ""}
    for row in found.iter_rows(named=True):
        wanted = [naive(student, row["prompt"], before[row["output"]] + label) for label in row["labels"]]
        # The rationale is the same for all labels, and so is what it adds to a score.
        assert [a - row["scores"][0] for a in row["scores"]] == pytest.approx([a - wanted[0] for a in wanted], abs=1e-4)


@pytest.mark.parametrize("rationale", [False, True])
def test_auto_scores_as_the_student_was_trained(tmp_path: Path, base: str, rationale: bool) -> None:
    manifest = tiny_student.manifest(tmp_path, topics(rationale=rationale, test=1))
    trained = train.train(manifest, student=base, **tiny_student.FAST)
    found = _evaluate(manifest, base, answers="auto", adapter=trained.adapter)
    assert found.scored == 3
    assert found.predictions["output"].is_null().all() == (not rationale)
    assert [(s.labels, s.learned, s.natural) for s in found.label_sets] == [
        (("cpu", "gas now", "tin"), (2, 2, 2), (4, 2, 8)),
    ], "two rows of each topic were selected"


def test_the_snapshot_that_the_adapter_names_says_what_was_learned(tmp_path: Path, base: str) -> None:
    manifest = tiny_student.manifest(tmp_path, topics(test=1))
    trained = train.train(manifest, student=base, **tiny_student.FAST)
    rows = manifest.rows().with_columns(
        status=pl.when(pl.col("domain") == "tin", split="train").then(pl.lit("selected")).otherwise("status")
    )
    later = manifest.commit(rows, verb="select")
    assert closed.learned_rows(later, trained.adapter).height == 6  # type: ignore[union-attr]
    record = json.loads((trained.adapter / "snapshot.json").read_text())
    (trained.adapter / "snapshot.json").write_text(json.dumps({**record, "snapshot": "other@3"}))
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        assert closed.learned_rows(later, trained.adapter).height == 12  # type: ignore[union-attr]
    assert heard == ["the adapter's snapshot, other@3, is not here: the selected train rows of tiny@1 stand for it"]
    assert closed.learned_rows(later, None) is None


def test_free_answers_are_written_and_refused_where_all_must_be_scored(tmp_path: Path, base: str) -> None:
    rows = [*topics(), *tiny_student.sums(30), *tiny_student.sums(2, split="test")]
    rows = [{**row, "domain": "sums" if row["prompt"].startswith("what is") else "news"} for row in rows]
    manifest = tiny_student.manifest(tmp_path, rows)
    found = _evaluate(manifest, base, answers="auto")
    assert found.predictions.group_by("domain").agg(pl.col("scores").is_not_null().sum()).sort("domain").rows() == [
        ("news", 9),
        ("sums", 0),
    ]
    with pytest.raises(
        InputError, match=r"^--answers score needs answers from a closed set, which sums \(number\) have not; use"
    ):
        _evaluate(manifest, base, answers="score")


def test_letters_of_the_options_that_a_prompt_offers_are_scored(tmp_path: Path, base: str) -> None:
    def ask(i: int, n: int) -> str:
        return f"Which is {i}?\n" + "\n".join(f"({letter}) {i + k}" for k, letter in enumerate("ABCD"[:n]))

    rows = [{"prompt": ask(i, 4), "answer": "ABCD"[i % 4], "domain": "quiz", "split": "train"} for i in range(12)]
    rows += [{"prompt": ask(20 + n, n), "answer": "A", "domain": "quiz", "split": "test"} for n in (2, 3)]
    found = _evaluate(tiny_student.manifest(tmp_path, rows), base, answers="score").predictions
    assert sorted(found["labels"].to_list()) == [["A", "B"], ["A", "B", "C"]]


def test_a_domain_without_train_rows_has_the_labels_of_all(tmp_path: Path, base: str) -> None:
    rows = [*topics(), {"prompt": "strange", "answer": "jet", "domain": "jet", "split": "test"}]
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        found = _evaluate(tiny_student.manifest(tmp_path, rows), base, answers="score")
    assert found.predictions.filter(domain="jet")["labels"].to_list() == [["cpu", "gas now", "tin"]]
    assert "1 rows have an answer that no train row has; they count as wrong" in heard


def test_a_label_without_room_for_a_prompt_is_named(manifest: Manifest, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students.Student, "window", 2)
    with pytest.raises(InputError, match=r"^label '(gas now|cpu)' has \d+ tokens, and tiny reads 2 with the prompt; use"):
        _evaluate(manifest, base, answers="score")


def test_one_scoring_gives_the_figures_of_every_prior(tmp_path: Path, base: str) -> None:
    manifest = tiny_student.manifest(tmp_path, topics())
    trained = train.train(manifest, student=base, **tiny_student.FAST)
    options = {"answers": "score", "adapter": trained.adapter, "metrics": ["class_f1"]}
    plain = _evaluate(manifest, base, **options)
    for prior in ("natural", "uniform", "3"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(label_scores, "_Reader", None)  # the scores are in the journal
            again = _evaluate(manifest, base, **options, prior=prior)
        under = plain.under(prior)
        assert under.predictions.equals(again.predictions)
        assert (under.domains, under.macro, under.micro, under.metrics) == (
            again.domains,
            again.macro,
            again.micro,
            again.metrics,
        )
        assert under.under(None).predictions.equals(plain.predictions)
        added = dict(zip(plain.label_sets[0].labels, closed.shift(plain.label_sets[0], prior), strict=True))
        for row in under.predictions.iter_rows(named=True):
            best = max(zip(row["scores"], row["labels"], strict=True), key=lambda pair: pair[0] + added[pair[1]])
            assert row["prediction"] == best[1]


def test_the_base_student_is_not_corrected(manifest: Manifest, base: str) -> None:
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        found = _evaluate(manifest, base, answers="score", prior="uniform")
    assert found.predictions.equals(_evaluate(manifest, base, answers="score").predictions)
    assert "the base student learned no shares of labels: its scores are not corrected" in heard


def test_what_is_no_prior_is_refused(manifest: Manifest, base: str) -> None:
    for wrong in ("flat", "0", "-1", "nan"):
        with pytest.raises(InputError, match=f"--prior '{wrong}': use natural, uniform or a temperature above 0, such as 2"):
            _evaluate(manifest, base, prior=wrong)


counts = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=9)


@given(found=counts, prior=st.sampled_from(["natural", "uniform", "0.5", "2", "50"]))
def test_a_shift_takes_what_was_learned_and_adds_what_is_wanted(found: list[tuple[int, int]], prior: str) -> None:
    learned, natural = (tuple(column) for column in zip(*found, strict=True))
    names = tuple(f"label {i}" for i in range(len(found)))
    shift = closed.shift(LabelSet(("news",), names, learned, natural), prior)
    p = [(n + 0.5) / (sum(learned) + len(found) / 2) for n in learned]
    target = [math.exp(x) * share for x, share in zip(shift, p, strict=True)]
    assert math.fsum(target) == pytest.approx(1.0), "the target is a distribution"
    if prior == "uniform":
        assert target == pytest.approx([1 / len(found)] * len(found))
    if prior == "natural" and learned == natural:
        assert shift == pytest.approx([0.0] * len(found), abs=1e-9)
    assert closed.shift(LabelSet(("news",), names, None, natural), prior) == [0.0] * len(found)
    assert closed.shift(LabelSet(("news",), names, learned, natural), None) == [0.0] * len(found)


def test_predictions_are_written_as_a_table_that_joins_the_manifest(tmp_path: Path, manifest: Manifest, base: str) -> None:
    found = _evaluate(manifest, base, answers="score", output=tmp_path / "new" / "folder")
    assert found.path == tmp_path / "new" / "folder" / "predictions.parquet"
    table = pl.read_parquet(found.path)
    assert table.equals(found.predictions)
    joined = manifest.rows().join(table, on="id")
    assert joined.height == 9
    assert joined["domain"].to_list() == joined["domain_right"].to_list()
    assert str(tmp_path) not in json.dumps(found.to_dict())
    assert found.to_dict()["file"] == "predictions.parquet"
    assert _evaluate(manifest, base, answers="score").path is None
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^--output '.*file' cannot be written: .*; name another folder$"):
        _evaluate(manifest, base, answers="score", output=tmp_path / "file")
