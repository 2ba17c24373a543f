"""Tests of generate: greedy outputs, the same alone as in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baldistill.student import generate, students, tokens
from baldistill.student.students import Student
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


class Untouched:
    """A generation config of which nothing but the ends may be read."""

    eos_token_id = None


def test_greedy_whatever_the_checkpoints_generation_config_says(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GenerationConfig

    prompts = _prompts(student)
    plain = generate.generate(student, prompts, max_new_tokens=9, batch_size=5)
    found = student.model.generation_config
    hostile = GenerationConfig(
        do_sample=True, temperature=0.7, top_k=2, top_p=0.5, num_beams=3, repetition_penalty=9.0, no_repeat_ngram_size=1,
        min_new_tokens=9, max_time=0.0, suppress_tokens=list(range(100)), bad_words_ids=[[i] for i in range(100, 200)],
        forced_eos_token_id=250, sequence_bias=[[[9], 50.0]], stop_strings=["a", "e"], return_dict_in_generate=True,
        renormalize_logits=True, guidance_scale=3.0, num_return_sequences=2, prompt_lookup_num_tokens=3,
        eos_token_id=found.eos_token_id, decoder_start_token_id=3, encoder_repetition_penalty=4.0, use_cache=False,
    )  # fmt: skip
    for config in (hostile, Untouched()):
        monkeypatch.setattr(student.model, "generation_config", config)
        assert generate.generate(student, prompts, max_new_tokens=9, batch_size=5) == plain
        assert student.model.generation_config is config


def test_fewer_prompts_at_once_where_memory_is_short(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from curate import progress
    from curate.errors import ModelError

    prompts = _prompts(student)
    plain = generate.generate(student, prompts, max_new_tokens=3, batch_size=5)
    most, forward = 2, type(student.model).forward

    def short(self: Any, input_ids: Any = None, **options: Any) -> Any:
        if len(input_ids) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(self, input_ids=input_ids, **options)

    monkeypatch.setattr(type(student.model), "forward", short)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        assert generate.generate(student, prompts, max_new_tokens=3, batch_size=5) == plain
    longest = max(map(len, prompts)) + 3
    assert [message for message in heard if message] == [
        f"out of memory with 5 rows of up to {longest} tokens side by side: going on with 3; --batch-size 3 begins so",
        f"out of memory with 3 rows of up to {longest} tokens side by side: going on with 2; --batch-size 2 begins so",
    ]
    most = 0
    with pytest.raises(ModelError, match=r"^out of memory with a single row of \d+ tokens \(generate\): use --dtype bf16"):
        generate.generate(student, prompts, max_new_tokens=3, batch_size=5)


def test_other_errors_are_not_taken_for_a_lack_of_memory(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, **options: Any) -> Any:
        raise RuntimeError("shape '[1, 2]' is invalid")

    monkeypatch.setattr(type(student.model), "forward", broken)
    with pytest.raises(RuntimeError, match="is invalid"):
        generate.generate(student, _prompts(student), max_new_tokens=3, batch_size=5)


def test_a_student_without_padding_answers_prompts_of_unlike_length(tmp_path: Path) -> None:
    """It names no token for beginning, end or padding; its template closes turns with a special one."""
    bare = students.load(str(tiny_student.make(tmp_path / "bare", marks=False)), dtype="fp32")
    prompts = _prompts(bare)
    together, alone = (generate.generate(bare, prompts, max_new_tokens=5, batch_size=size) for size in (5, 1))
    assert together == alone


def test_no_prompts_are_no_outputs(student: Student) -> None:
    assert generate.generate(student, [], max_new_tokens=4, batch_size=2) == []


def test_progress_counts_outputs(student: Student) -> None:
    from curate import progress

    heard: list[tuple[int | None, int | None]] = []
    with progress.listen(lambda event: heard.append((event.done, event.total))):
        generate.generate(student, _prompts(student), max_new_tokens=1, batch_size=2)
    assert heard == [(0, 5), (2, 5), (4, 5), (5, 5)]


def test_batches_are_filled_by_tokens(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, sizes = _prompts(student), []
    greedy = generate._greedy
    monkeypatch.setattr(
        generate, "_greedy", lambda student, some, *rest: [sizes.append(len(some)), *greedy(student, some, *rest)][1:]
    )
    widest = max(map(len, prompts)) + 3
    alone = generate.generate(student, prompts, max_new_tokens=3, batch_tokens=1)
    assert generate.generate(student, prompts, max_new_tokens=3, batch_tokens=2 * widest) == alone
    assert sizes[:5] == [1] * 5
    assert sizes[5] == 2
    assert len(sizes) < 10


def test_a_long_batch_says_now_and_then_how_far_it_is(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    from baldistill.student import pace
    from curate import progress

    monkeypatch.setattr(pace, "EVERY", 0.0)
    heard: list[progress.Event] = []
    with progress.listen(heard.append):
        outputs = generate.generate(student, _prompts(student), max_new_tokens=6)
    assert len(heard) >= 2 + max(output.n_tokens for output in outputs), "one for every token, beside the first and the last"
    assert all(event.facts["tokens_per_s"] > 0 for event in heard[1:])
    assert (heard[-1].done, heard[-1].total) == (5, 5)


def test_no_local_path_in_a_label(student: Student, tmp_path: Path) -> None:
    assert str(tmp_path.parent) not in student.label
    assert student.label.startswith("tiny@")
