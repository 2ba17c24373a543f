"""The reading of texts: equal to a naive twin, whatever the batches, the shared beginning, the head and the journal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baldistill.student import losses, students
from baldistill.student.checkpoints import Journal
from baldistill.student.tokens import Tokens
from curate import progress
from tests.support import tiny_student

BEGINNING = list(range(40, 60))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> students.Student:
    return students.load(str(tiny_student.make(tmp_path_factory.mktemp("losses") / "tiny")), dtype="fp32")


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> students.Student:
    """A student whose head caps its logits and whose attention has windows in every other layer: Gemma 2, made small."""
    import torch
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    folder = tiny_student.make(tmp_path_factory.mktemp("losses") / "capped")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = Gemma2Config(
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 16, "final_logit_softcapping": 3.0},
        initializer_range=0.2,
    )
    return students.Student(Gemma2ForCausalLM(config).eval(), tokenizer, "capped", "none", "fp32")


def naive(student: students.Student, text: Tokens) -> float | None:
    """The naive twin: one text, no padding, the whole model, in double precision."""
    import torch

    if not text.completion:
        return None
    with torch.inference_mode():
        logits = student.model(torch.tensor([text.prompt + text.completion]), use_cache=False).logits[0].double()
    read = logits[len(text.prompt) - 1 : -1].log_softmax(-1)
    return -float(read.gather(1, torch.tensor(text.completion)[:, None]).mean())


ids = st.integers(3, 300)
texts = st.lists(st.builds(Tokens, st.lists(ids, min_size=1, max_size=30), st.lists(ids, max_size=30)), max_size=9)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(found=texts, batch_tokens=st.integers(1, 200), shared=st.booleans())
def test_losses_are_those_of_the_naive_twin(
    student: students.Student, found: list[Tokens], batch_tokens: int, shared: bool
) -> None:
    found = [Tokens(BEGINNING + text.prompt, text.completion) for text in found] if shared else found
    read = losses.mean_losses(student, found, batch_tokens=batch_tokens)
    assert read == pytest.approx([naive(student, text) for text in found], abs=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 100, 1000])
def test_a_head_that_caps_its_logits_and_windows_are_read_right(capped: students.Student, batch_tokens: int) -> None:
    found = [Tokens(BEGINNING + [70 + i] * (1 + 5 * i), list(range(80, 90 + i))) for i in range(5)]
    head = losses.halves(capped.model)[1]
    assert head is not None, "the model caps what its head makes of states that are handed to it"
    assert head is not capped.model.lm_head
    assert losses.read_once(capped.model.base_model, BEGINNING, "cpu") == [], "windows keep less than the beginning"
    read = losses.mean_losses(capped, found, batch_tokens=batch_tokens)
    assert read == pytest.approx([naive(capped, text) for text in found], abs=1e-4)


def test_the_beginning_is_read_once(student: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Tokens([*BEGINNING, 70 + i], [80, 81, 82]) for i in range(4)]
    widths: list[int] = []
    body = student.model.base_model
    forward = type(body).forward

    def count(self: Any, input_ids: Any = None, **options: Any) -> Any:
        widths.append(input_ids.shape[1])
        return forward(self, input_ids=input_ids, **options)

    monkeypatch.setattr(type(body), "forward", count)
    plain = [naive(student, text) for text in found]
    widths.clear()
    assert losses.mean_losses(student, found, batch_tokens=8) == pytest.approx(plain, abs=1e-5)
    assert widths[2:] == [len(BEGINNING), 4, 4], "two of the head's trial, the beginning, two batches of what is left"


def test_logits_of_a_head_that_caps_them_are_made_in_parts(capped: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Tokens([70 + i], list(range(80, 90))) for i in range(6)]
    made: list[int] = []
    forward = type(capped.model).forward

    def count(self: Any, **options: Any) -> Any:
        out = forward(self, **options)
        made.append(out.logits.shape[1])
        return out

    plain = losses.mean_losses(capped, found)
    monkeypatch.setattr(type(capped.model), "forward", count)
    monkeypatch.setattr(losses, "_LOGITS", {"cpu": 7 * losses.halves(capped.model)[2]})
    made.clear()
    assert losses.mean_losses(capped, found) == pytest.approx(plain, abs=1e-5)
    assert made[2:] == [7] * 8 + [4], "60 positions, 7 at once"


def test_what_is_shared_counts_where_every_row_keeps_it(student: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Tokens([*BEGINNING, 70 + i], [80, 81, 82]) for i in range(4)]
    monkeypatch.setattr(losses, "WHOLE", {"cpu": 1})
    sizes: list[int] = []
    read = losses._Reader.read
    monkeypatch.setattr(losses._Reader, "read", lambda self, texts: [*read(self, texts), sizes.append(len(texts))][:-1])
    losses.mean_losses(student, found, batch_tokens=2 * len(found[0]))
    assert sizes == [2, 2]


def test_less_is_read_at_once_where_memory_is_short(student: students.Student, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Tokens([5 + i], list(range(80, 90 - i))) for i in range(8)]
    plain = losses.mean_losses(student, found)
    sizes: list[int] = []
    read = losses._Reader.read

    def short(self: Any, texts: list[Tokens]) -> list[float]:
        sizes.append(len(texts))
        if len(texts) * max(map(len, texts)) > 25:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.")
        return read(self, texts)

    monkeypatch.setattr(losses._Reader, "read", short)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        assert losses.mean_losses(student, found) == pytest.approx(plain, abs=1e-5)
    assert [message for message in heard if message] == [
        "out of memory with 8 rows of up to 11 tokens side by side: going on with 4; --batch-tokens 44 begins so",
        "out of memory with 4 rows of up to 11 tokens side by side: going on with 2; --batch-tokens 22 begins so",
    ]
    assert sizes == [8, 4, 2, 2, 2, 2]


def test_what_is_shared_leaves_each_prompt_a_token_and_must_pay() -> None:
    def shared(*prompts: list[int]) -> int:
        return losses.shared_beginning([Tokens(prompt, [9]) for prompt in prompts])

    assert shared([*BEGINNING, 1], [*BEGINNING, 2, 3]) == len(BEGINNING)
    assert shared(BEGINNING, [*BEGINNING, 2]) == len(BEGINNING) - 1, "the first of the completion is foretold from the last"
    assert shared(BEGINNING, BEGINNING) == len(BEGINNING) - 1
    assert shared([1, 2, 3, 4], [1, 2, 3, 5]) == 0, "three tokens do not pay"
    assert shared([*BEGINNING, 1], [*BEGINNING, *[2] * 299]) == 0, "nor do 20 tokens of 160 and more"
    assert shared([*BEGINNING, 1], [*BEGINNING, *[2] * 270]) == len(BEGINNING)
    assert shared(BEGINNING) == shared() == 0, "one text shares nothing"


def test_equal_texts_are_read_once_and_a_journal_not_at_all(student: students.Student) -> None:
    journal = Journal()
    found = [Tokens([1, 5], [6, 7]), Tokens([1, 5], [6, 7]), Tokens([1, 5, 6], [7]), Tokens([1, 5], [])]
    first = losses.mean_losses(student, found, journal=journal)
    assert len(journal) == 2, "where the boundary is makes another text; no completion makes none"
    assert first[0] == first[1] != first[2]
    assert first[3] is None
    unable = students.Student(student.model, None, "", "", "")  # would fail if it were to read
    assert losses.mean_losses(unable, found, journal=journal) == first


def test_a_loss_that_is_no_number_is_none(student: students.Student) -> None:
    from copy import deepcopy

    broken = students.Student(deepcopy(student.model), student.tokenizer, "", "", "fp32")
    broken.model.lm_head.weight.data.fill_(float("nan"))
    assert losses.mean_losses(broken, [Tokens([1, 5], [6])]) == [None]
    assert losses.mean_losses(student, []) == []


@pytest.mark.gpu
@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="needs a CUDA device")
def test_a_gpu_reads_as_a_processor_does(student: students.Student) -> None:
    from copy import deepcopy

    found = [Tokens(BEGINNING + [70 + i] * (1 + 5 * i), list(range(80, 90 + i))) for i in range(9)]
    here, there = (students.Student(deepcopy(student.model).to(d), student.tokenizer, "", "", "fp32") for d in ("cpu", "cuda"))
    assert losses.mean_losses(there, found) == pytest.approx(losses.mean_losses(here, found), abs=1e-3)
