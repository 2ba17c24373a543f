"""Tests of evaluation: shares and their intervals, heads and tails, what is asked and how it is judged."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.evaluation import evaluate
from baldistill.evaluation.settings import EvaluateSettings
from baldistill.student import generate, students
from baldistill.student.generate import Output
from baldistill.student.tokens import encode
from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.manifest.manifest import Manifest
from tests.support import tiny_student


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_student.make(tmp_path_factory.mktemp("evaluation") / "tiny"))


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    tail = [*tiny_student.sums(3, domain="tail"), *tiny_student.sums(4, domain="tail", split="test")]
    rows = [
        *tiny_student.sums(20, domain="head"),
        *tiny_student.sums(8, domain="head", split="test"),
        *({**row, "prompt": row["prompt"].replace("+", "plus")} for row in tail),
    ]
    return tiny_student.manifest(tmp_path, rows)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch, manifest: Manifest) -> SimpleNamespace:
    """A student that knows the answers for which ``knows`` is true, and says nothing clear otherwise."""
    seen = SimpleNamespace(knows=lambda row: True, prompts=[], options={})
    asked = manifest.examples().filter(pl.col("split") == "test")

    def from_oracle(student: Any, prompts: Sequence[Sequence[int]], **options: Any) -> list[Output]:
        seen.prompts, seen.options = [student.tokenizer.decode(prompt) for prompt in prompts], options
        rows = {f"user\n{row['prompt']}<|end|>": row for row in asked.iter_rows(named=True)}
        found = [next(row for key, row in rows.items() if key in text) for text in seen.prompts]
        return [
            Output(f"We add.\nThe answer is: {row['answer']}." if seen.knows(row) else "what is", 5, bool(seen.knows(row)))
            for row in found
        ]

    monkeypatch.setattr(generate, "generate", from_oracle)
    return seen


def _evaluate(manifest: Manifest, base: str, **options: Any) -> evaluate.EvaluateResult:
    return evaluate.evaluate(manifest, student=base, **{"dtype": "fp32", "max_new_tokens": 8, **options})


def test_counts_are_per_domain_and_macro_counts_domains_once(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    known = set(manifest.rows().filter((pl.col("split") == "test") & (pl.col("domain") == "head")).head(6)["id"])
    oracle.knows = lambda row: row["id"] in known
    found = _evaluate(manifest, base)
    assert [(d["domain"], d["n"], d["correct"], d["head"]) for d in found.domains] == [
        ("head", 8, 6, True),
        ("tail", 4, 0, False),
    ]
    assert found.macro.value == pytest.approx((6 / 8 + 0) / 2)
    assert found.micro.value == pytest.approx(6 / 12)
    assert found.head is not None
    assert found.tail is not None
    assert (found.head.value, found.tail.value) == (0.75, 0.0)
    assert 0 < found.tail.high < 1, "no right answer among four is not a proof of none"
    assert (found.rows, found.unended, found.split) == (12, 6, "test")


def test_predictions_hold_the_output_and_the_answer_read_from_it(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    oracle.knows = lambda row: row["domain"] == "head"
    predictions = _evaluate(manifest, base).predictions
    columns = ["id", "domain", "prompt", "answer", "prediction", "correct", "output", "n_tokens", "ended", "labels", "scores"]
    assert predictions.columns == columns
    right = predictions.filter("correct")
    assert right["prediction"].to_list() == right["answer"].to_list()
    assert predictions.filter(~pl.col("correct"))["prediction"].to_list() == [None] * 4


def test_prompts_are_those_of_training(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    _evaluate(manifest, base, split="test", batch_size=3)
    assert all(text.startswith("<|start|>user\nwhat is") and text.endswith("<|start|>assistant\n") for text in oracle.prompts)
    journal = oracle.options.pop("journal")
    assert oracle.options == {"max_new_tokens": 8, "batch_size": 3, "batch_tokens": None, "step": "evaluate"}
    assert journal.path.parent.name == "scores", "a stopped evaluation goes on where it stopped"


def test_micro_counts_every_row_of_the_split_once_under_a_limit(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    oracle.knows = lambda row: row["domain"] == "head"
    found = _evaluate(manifest, base, limit=6)
    assert [(d["domain"], d["n"]) for d in found.domains] == [("head", 3), ("tail", 3)]
    assert found.macro.value == pytest.approx(1 / 2)
    assert found.micro.value == pytest.approx(8 / 12), "the split has 8 head rows and 4 tail rows"


def test_budget_says_what_a_head_is(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    assert [d["head"] for d in _evaluate(manifest, base, budget=6).domains] == [True, True], "both have 6/2 rows"
    found = _evaluate(manifest, base, budget=1000)
    assert ([d["head"] for d in found.domains], found.head) == ([False, False], None)


def test_rows_that_sample_left_out_make_no_head(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    left_out = (pl.col("domain") == "head") & (pl.col("split") == "train")
    rows = manifest.rows().with_columns(
        reason=pl.when(left_out).then(pl.lit("sampled_out")),
        status=pl.when(left_out).then(pl.lit("rejected")).otherwise(pl.col("status")),
    )
    found = _evaluate(manifest.commit(rows, verb="sample"), base)
    assert {d["domain"]: d["head"] for d in found.domains} == {"head": False, "tail": True}


def test_to_dict_is_plain_json(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    found = json.loads(json.dumps(_evaluate(manifest, base, metrics=["token_f1"]).to_dict()))
    assert found["version"] == "tiny@0"
    assert found["student"].startswith("tiny@")
    assert set(found["macro"]) == {"value", "low", "high", "n"}
    keys = {"domain", "n", "correct", "accuracy", "low", "high", "head", "unread", "held"}
    assert set(found["domains"][0]) == keys
    assert found["metrics"] == {"token_f1": {"macro": 1.0, "micro": 1.0}}
    assert "predictions" not in found


def test_metrics_are_names_or_callables(manifest: Manifest, base: str, oracle: SimpleNamespace) -> None:
    def length(predictions: Sequence[str], answers: Sequence[str], domains: Sequence[str]) -> dict[str, float]:
        return {"rows": len(predictions), "same": sum(a == b for a, b in zip(predictions, answers, strict=True))}

    oracle.knows = lambda row: row["domain"] == "head"
    assert _evaluate(manifest, base, metrics=[length]).metrics == {"length": {"rows": 12.0, "same": 8.0}}
    with pytest.raises(UnknownNameError, match="unknown metric 'tokenf1'; did you mean 'token_f1'"):
        _evaluate(manifest, base, metrics=["tokenf1"])


def test_class_names_are_read_among_the_corpus_classes(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"prompt": f"text {d} {i}", "answer": d, "domain": d, "split": s}
        for d in ("tin", "cpu")
        for s in ("train", "test")
        for i in range(5)
    ]
    manifest = tiny_student.manifest(tmp_path, rows)
    text = 'Its topic is an operating system. The answer is: "cpu"'
    monkeypatch.setattr(generate, "generate", lambda student, prompts, **_: [Output(text, 3, True) for _ in prompts])
    found = _evaluate(manifest, base, metrics=["class_f1"])
    assert {d["domain"]: d["accuracy"] for d in found.domains} == {"cpu": 1.0, "tin": 0.0}
    assert found.metrics["class_f1"] == pytest.approx({"macro": (2 / 3) / 2, "micro": 0.5})


def test_results_per_label_count_a_row_for_each_of_its_labels() -> None:
    predictions = pl.DataFrame({"id": ["1", "2", "3"], "domain": ["a", "a", "b"], "correct": [True, False, True]})
    held = pl.DataFrame(
        {"id": ["1", "2", "3"], "labels": [["a", "b"], None, None]}, schema_overrides={"labels": pl.List(pl.String)}
    )
    assert evaluate._per_label(predictions, held) == [
        {"domain": "a", "n": 2, "correct": 1},
        {"domain": "b", "n": 2, "correct": 2},
    ]
    assert evaluate._per_label(predictions, held.with_columns(labels=pl.lit(None, pl.List(pl.String)))) == []


def test_a_row_is_graded_by_the_kind_that_it_says(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"{n} + 1?", "answer": str(n + 1), "domain": "d", "split": "train"} for n in range(10)]
    double = {"answer": "2x", "domain": "d", "split": "test"}
    rows += [{"prompt": f"Double x, {said}.", "kind": said, **double} for said in ("text", "number")]
    manifest = tiny_student.manifest(tmp_path, rows)
    said = [Output("The answer is: $x + x$", 3, True)]
    monkeypatch.setattr(generate, "generate", lambda student, prompts, **_: said * len(prompts))
    graded = _evaluate(manifest, base).predictions.select("prompt", "correct")
    assert dict(graded.iter_rows()) == {"Double x, text.": False, "Double x, number.": True}


def test_a_domain_without_train_rows_is_judged_by_its_own(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tiny_student.manifest(tmp_path, tiny_student.sums(4, split="test"))
    monkeypatch.setattr(
        generate, "generate", lambda student, prompts, **_: [Output("The answer is: 11", 3, True) for _ in prompts]
    )
    assert _evaluate(manifest, base).domains[0]["correct"] == 1


def test_a_split_without_rows_names_those_that_have(manifest: Manifest, base: str) -> None:
    with pytest.raises(
        InputError, match=r"tiny@0 has no rows of split 'validation'; there are: test \(12\), train \(23\)\. Choose"
    ):
        _evaluate(manifest, base, split="validation")


def test_domains_without_rows_in_the_split_are_said(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*tiny_student.sums(4), *tiny_student.sums(2, split="test")]
    rows += [{**tiny_student.sums(9)[i], "domain": f"d{i}"} for i in range(2, 9)]
    monkeypatch.setattr(generate, "generate", lambda student, prompts, **_: [Output("hm", 1, True) for _ in prompts])
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        _evaluate(tiny_student.manifest(tmp_path, rows), base)
    assert "7 domains have no test rows, and count in no figure: d2, d3, d4, d5, d6, …" in heard


def test_numbers_out_of_range_are_refused(manifest: Manifest, base: str) -> None:
    with pytest.raises(InputError, match="max_new_tokens 0 and batch_tokens -1: use at least 1"):
        _evaluate(manifest, base, max_new_tokens=0, batch_tokens=-1)
    with pytest.raises(InputError, match="max_new_tokens 256 leaves no room for a prompt: tiny reads 256 tokens"):
        _evaluate(manifest, base, max_new_tokens=256)


def test_long_prompts_are_cut_from_the_left_with_a_note(
    manifest: Manifest, base: str, oracle: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        student = students.load(base, dtype="fp32")
        examples = manifest.examples().filter(pl.col("split") == "test").head(2)
        prompts = [tokens.prompt for tokens in encode(student.tokenizer, examples)]
        evaluate._generate(student, examples, EvaluateSettings(max_new_tokens=256 - min(map(len, prompts)) + 1))
        assert oracle.prompts[0].endswith("<|start|>assistant\n")
        asked: list[list[list[int]]] = []
        monkeypatch.setattr(generate, "generate", lambda student, prompts, **_: asked.append(list(prompts)))
        evaluate._generate(student, examples, EvaluateSettings(max_prompt_tokens=5))
    assert asked == [[prompt[-5:] for prompt in prompts]]
    assert heard[0].startswith("2 of 2 prompts are longer than")
    assert heard[-1] == "2 of 2 prompts are longer than 5 tokens and were cut from the left"


def test_a_real_student_answers(manifest: Manifest, base: str) -> None:
    found = _evaluate(manifest, base, limit=3, max_new_tokens=4)
    assert found.rows == 3
    assert found.predictions["n_tokens"].max() == 4
    assert found.manifest == manifest, "nothing is committed"


def test_wilson_is_the_published_one() -> None:
    rate = evaluate.wilson(81, 263)  # Newcombe 1998, Statistics in Medicine 17, table I: 0.2553 to 0.3662
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.2553, 0.3662)
    assert round(evaluate.wilson(0, 20).high, 4) == 0.1611
    with pytest.raises(InputError, match="a share of 0 rows is not defined"):
        evaluate.wilson(0, 0)


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_holds_the_share_and_mirrors(pair: tuple[int, int]) -> None:
    correct, n = pair
    rate, other = evaluate.wilson(correct, n), evaluate.wilson(n - correct, n)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.low < rate.high
    assert math.isclose(rate.low, 1 - other.high, abs_tol=1e-12)


@given(st.lists(counts, min_size=1, max_size=6), st.integers(0, 5))
def test_combine_is_a_mean_within_its_interval(pairs: list[tuple[int, int]], shift: int) -> None:
    lines = [{"n": n, "accuracy": r.value, "low": r.low, "high": r.high} for c, n in pairs for r in [evaluate.wilson(c, n)]]
    rate = evaluate.combine(lines)
    assert rate.value == pytest.approx(sum(line["accuracy"] for line in lines) / len(lines))
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.n == sum(n for _, n in pairs)
    rotated = lines[shift % len(lines) :] + lines[: shift % len(lines)]
    assert evaluate.combine(rotated) == rate
    if len(lines) == 1:
        assert (rate.low, rate.high) == pytest.approx((lines[0]["low"], lines[0]["high"]))


def test_combined_intervals_cover_what_they_promise() -> None:
    """Eight domains of 20 rows, shares from 2% to 90%: about 95 of 100 intervals hold the true mean."""
    import random

    rng, shares = random.Random(0), [0.9, 0.1, 0.3, 0.6, 0.02, 0.02, 0.2, 0.5]
    held = 0
    for _ in range(400):
        rates = [evaluate.wilson(sum(rng.random() < p for _ in range(20)), 20) for p in shares]
        rate = evaluate.combine([{"n": r.n, "accuracy": r.value, "low": r.low, "high": r.high} for r in rates])
        held += rate.low <= sum(shares) / 8 <= rate.high
    assert 0.92 <= held / 400 <= 0.98


def test_token_f1_is_macro_over_domains() -> None:
    found = evaluate.token_f1(["a b", "c", "c"], ["a b", "c", "d"], ["x", "y", "y"])
    assert found == pytest.approx({"macro": (1 + 0.5) / 2, "micro": 2 / 3})
