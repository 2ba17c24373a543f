"""The scores of labels: those of a naive twin that reads every label after its prompt, whatever batches, trees and models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baldistill.student import label_scores, losses, students
from baldistill.student.checkpoints import Journal
from curate import progress
from tests.support import tiny_student

BEGINNING = list(range(40, 60))
END = 1


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> students.Student:
    return students.load(str(tiny_student.make(tmp_path_factory.mktemp("labels") / "tiny")), dtype="fp32")


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> students.Student:
    """A student with windows in every other layer and logits that are capped: Gemma 2, made small."""
    import torch
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    folder = tiny_student.make(tmp_path_factory.mktemp("labels") / "windowed")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = Gemma2Config(
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 16, "final_logit_softcapping": 3.0},
        initializer_range=0.5,
    )
    return students.Student(Gemma2ForCausalLM(config).eval(), tokenizer, "windowed", "none", "fp32")


def naive(student: students.Student, prompt: list[int], label: list[int]) -> float:
    """The naive twin: one label after one prompt, no cache, no padding, in double precision."""
    import torch

    with torch.inference_mode():
        logits = student.model(torch.tensor([prompt + label]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + n, token]) for n, token in enumerate(label))


ids = st.integers(3, 300)
few = st.integers(3, 5)  # so that labels share beginnings, and some are there twice
labels_of = st.lists(st.lists(few, max_size=4).map(lambda label: [*label, END]), min_size=1, max_size=12)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    prompts=st.lists(st.lists(ids, min_size=1, max_size=30), min_size=1, max_size=6),
    labels=labels_of,
    batch_tokens=st.integers(1, 300),
    shared=st.booleans(),
    nodes=st.sampled_from([1, 3, 512]),
)
def test_scores_are_those_of_the_naive_twin(
    student: students.Student,
    prompts: list[list[int]],
    labels: list[list[int]],
    batch_tokens: int,
    shared: bool,
    nodes: int,
) -> None:
    prompts = [BEGINNING + prompt for prompt in prompts] if shared else prompts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_scores, "_NODES", nodes)
        read = label_scores.label_scores(student, prompts, labels, batch_tokens=batch_tokens)
    for prompt, row in zip(prompts, read, strict=True):
        assert row == pytest.approx([naive(student, prompt, label) for label in labels], abs=1e-4)


def test_probabilities_of_all_that_may_come_first_sum_to_one(student: students.Student) -> None:
    import math

    labels = [[token] for token in range(student.model.config.vocab_size)]
    read = label_scores.label_scores(student, [[7, 8, 9]], labels)[0]
    assert math.fsum(map(math.exp, read)) == pytest.approx(1.0, abs=1e-4)


LABELS = [[100, 101, END], [100, 102, END], [103, END], [100, 101, 104, 105, END]]


@pytest.mark.parametrize("length", [5, 40])
def test_windows_shorter_than_a_prompt_are_found_by_a_trial(windowed: students.Student, length: int) -> None:
    prompts = [[70 + i] * length for i in range(3)]
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        read = label_scores.label_scores(windowed, prompts, LABELS)
    for prompt, row in zip(prompts, read, strict=True):
        assert row == pytest.approx([naive(windowed, prompt, label) for label in LABELS], abs=1e-4)
    slow = [message for message in heard if "takes no tree" in message]
    assert len(slow) == (length > 16), "one note, where labels are read one by one"


def test_a_model_that_ignores_the_mask_is_found_by_a_trial(student: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    body = student.model.base_model
    forward = type(body).forward

    def deaf(self: Any, input_ids: Any = None, **options: Any) -> Any:
        return forward(self, input_ids=input_ids, **options | {"attention_mask": None})

    monkeypatch.setattr(type(body), "forward", deaf)
    read = label_scores.label_scores(student, [[7, 8, 9]], LABELS)[0]
    assert read == pytest.approx([naive(student, [7, 8, 9], label) for label in LABELS], abs=1e-4)


def test_a_prompt_is_read_once_for_all_labels(student: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [[70 + i] * 30 for i in range(4)]
    read: list[tuple[int, ...]] = []
    body = student.model.base_model
    forward = type(body).forward

    def count(self: Any, input_ids: Any = None, **options: Any) -> Any:
        read.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **options)

    monkeypatch.setattr(type(body), "forward", count)
    monkeypatch.setattr(label_scores._Reader, "_takes_trees", lambda self, prompt: True)
    label_scores.label_scores(student, prompts, LABELS)
    assert read[-2:] == [(4, 30), (4, 6)], "four prompts, and the six places from which a label goes on"


def test_equal_prompts_are_read_once_and_a_journal_not_at_all(student: students.Student, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    prompts = [[7, 8], [9], [7, 8]]
    first = label_scores.label_scores(student, prompts, LABELS, journal=journal)
    assert (first[0], len(journal)) == (first[2], 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_scores, "_Reader", None)
        assert label_scores.label_scores(student, prompts, LABELS, journal=Journal(journal.path)) == first
        with pytest.raises(TypeError):
            label_scores.label_scores(student, prompts, LABELS[:-1], journal=journal)  # other labels have other scores


def test_fewer_prompts_at_once_where_memory_is_short(student: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    prompts = [[70 + i] * (5 + i) for i in range(6)]
    plain = label_scores.label_scores(student, prompts, LABELS)
    read = label_scores._Reader.read

    def short(self: Any, some: list[list[int]]) -> list[list[float]]:
        if len(some) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return read(self, some)

    monkeypatch.setattr(label_scores._Reader, "read", short)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        found = label_scores.label_scores(student, prompts, LABELS)
    assert [x for row in found for x in row] == pytest.approx([x for row in plain for x in row], abs=1e-5)
    assert "out of memory with 6 rows" in "".join(heard)


def test_progress_counts_prompts(student: students.Student) -> None:
    heard: list[tuple[int | None, int | None]] = []
    with progress.listen(lambda event: heard.append((event.done, event.total)) if event.step == "labels" else None):
        label_scores.label_scores(student, [[7], [8], [7]], LABELS)
    assert (heard[0], heard[-1]) == ((0, 3), (3, 3))


def test_a_score_that_is_no_number_is_the_worst(student: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_scores._Reader, "_takes_trees", lambda self, prompt: False)
    monkeypatch.setattr(losses, "mean_losses", lambda student, texts, **_: [None for _ in texts])
    assert label_scores.label_scores(student, [[7]], LABELS) == [[float("-inf")] * 4]
