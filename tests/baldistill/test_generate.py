"""Tests of generate: greedy outputs, the same alone as in a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill import generate, students, tokens
from baldistill.students import Student
from tests.support import tiny_student


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    return students.load(str(tiny_student.make(tmp_path_factory.mktemp("generate") / "tiny")), dtype="fp32")


def _prompts(student: Student) -> list[list[int]]:
    questions = ["what is 1 + 2", "a", "so we add 1 and 2 and 3 and 4", "b", "take 5"]
    texts = [tokens.render(student.tokenizer, [{"role": "user", "content": question}]) for question in questions]
    return tokens.tokenize(student.tokenizer, texts)


def _one_by_one(student: Student, prompt: list[int], n: int) -> list[int]:
    """The naive twin: one prompt, no padding, no cache, the likeliest token again and again."""
    import torch

    written: list[int] = []
    ends = tokens.stops(student.tokenizer, student.model)
    while len(written) < n and (not written or written[-1] not in ends):
        with torch.inference_mode():
            logits = student.model(torch.tensor([prompt + written])).logits
        written.append(int(logits[0, -1].argmax()))
    return written


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_outputs_are_the_likeliest_tokens_in_the_order_of_the_prompts(student: Student, batch_size: int) -> None:
    prompts = _prompts(student)
    outputs = generate.generate(student, prompts, max_new_tokens=9, batch_size=batch_size)
    for prompt, output in zip(prompts, outputs, strict=True):
        written = _one_by_one(student, prompt, 9)
        ended = written[-1] in tokens.stops(student.tokenizer, student.model)
        assert output.n_tokens == len(written)
        assert output.ended == ended
        assert output.text == student.tokenizer.decode(written, skip_special_tokens=True).strip()


def test_an_output_ends_where_the_student_ends_it(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = _prompts(student)
    third = _one_by_one(student, prompts[0], 9)[2]
    monkeypatch.setattr(tokens, "stops", lambda tokenizer, model: [third])
    output = generate.generate(student, prompts[:1], max_new_tokens=9, batch_size=1)[0]
    assert output.ended
    assert output.n_tokens <= 3
    assert output.text == student.tokenizer.decode(_one_by_one(student, prompts[0], 9)[: output.n_tokens - 1]).strip()


def test_no_prompts_are_no_outputs(student: Student) -> None:
    assert generate.generate(student, [], max_new_tokens=4, batch_size=2) == []


def test_progress_counts_outputs(student: Student) -> None:
    from curate import progress

    heard: list[tuple[int | None, int | None]] = []
    with progress.listen(lambda event: heard.append((event.done, event.total))):
        generate.generate(student, _prompts(student), max_new_tokens=1, batch_size=2)
    assert heard == [(0, 5), (2, 5), (4, 5), (5, 5)]


def test_no_local_path_in_a_label(student: Student, tmp_path: Path) -> None:
    assert str(tmp_path.parent) not in student.label
    assert student.label.startswith("tiny@")
