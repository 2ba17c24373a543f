"""Tests of training with TRL: its own ids, its own loss, and one loss reported for every step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from baldistill.training import sft
from baldistill.training.settings import TrainSettings
from curate import models, progress
from curate.errors import InputError, ModelError
from curate.manifest import chats
from curate.manifest.manifest import Manifest
from tests.support import tiny_student

SETTINGS = TrainSettings(
    epochs=2, learning_rate=1e-2, rank=4, alpha=8, dropout=0.0, batch_size=2, gradient_accumulation=2, seed=0
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_student.make(tmp_path_factory.mktemp("sft") / "tiny"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return tiny_student.manifest(tmp_path_factory.mktemp("root"), tiny_student.sums(9, rationale=True))


def _fit(base: str, manifest: Manifest, scratch: Path, *, dtype: str = "fp32", **changes: Any) -> list[float]:
    model, tokenizer = models.load_causal(base, dtype=dtype)
    data = sft.prepare(tokenizer, manifest.examples(), 512)
    return sft.fit(model, tokenizer, data, replace(SETTINGS, **changes), scratch)[1]


def test_loss_on_a_processor_is_that_of_trl(
    base: str, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    ours = _fit(base, manifest, tmp_path)
    monkeypatch.setattr(sft, "_trainer_class", lambda: SFTTrainer)
    theirs = _fit(base, manifest, tmp_path)
    assert len(ours) == 6, "9 rows are 5 batches of 2, 3 steps of 2 batches, in 2 passes"
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_bf16_weights_learn_like_fp32(base: str, manifest: Manifest, tmp_path: Path) -> None:
    fp32, bf16 = (_fit(base, manifest, tmp_path, dtype=dtype) for dtype in ("fp32", "bf16"))
    assert bf16 == pytest.approx(fp32, rel=0.03)
    assert bf16[-1] < bf16[0]


def test_adapters_stay_in_fp32_beside_bf16_weights(base: str, manifest: Manifest, tmp_path: Path) -> None:
    import torch

    model, tokenizer = models.load_causal(base, dtype="bf16")
    data = sft.prepare(tokenizer, manifest.examples(), 512)
    fitted, _ = sft.fit(model, tokenizer, data, replace(SETTINGS, epochs=1), tmp_path)
    kinds = {("lora" in name, parameter.dtype) for name, parameter in fitted.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_every_step_is_reported_with_its_loss(base: str, manifest: Manifest, tmp_path: Path) -> None:
    heard: list[tuple[int | None, int | None, Any]] = []
    with progress.listen(lambda event: heard.append((event.done, event.total, event.facts.get("loss")))):
        losses = _fit(base, manifest, tmp_path)
    assert heard == [(0, 6, None), *((i + 1, 6, loss) for i, loss in enumerate(losses))]


def test_a_loss_that_is_no_number_stops(base: str, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the loss is nan at step 2: lower --learning-rate, or use --dtype fp32"):
        _fit(base, manifest, tmp_path, learning_rate=1e38)


def test_the_seed_orders_rows_and_first_weights(base: str, manifest: Manifest, tmp_path: Path) -> None:
    one, again, other = (_fit(base, manifest, tmp_path, seed=seed, dropout=0.1) for seed in (3, 3, 4))
    assert one == again != other


def test_nothing_is_printed(base: str, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fit(base, manifest, tmp_path, epochs=1)
    assert capsys.readouterr().out == ""


def test_ids_and_labels_are_those_of_trl(manifest: Manifest, base: str, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from curate.manifest.chats import to_chats

    examples = manifest.examples(manifest.rows())
    model, tokenizer = models.load_causal(base)
    chats = to_chats(examples)
    pairs = Dataset.from_list([{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats])
    config = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none")
    theirs = SFTTrainer(model, args=config, train_dataset=pairs, processing_class=tokenizer).train_dataset
    ours = sft.prepare(tokenizer, examples, 512)
    assert ours.input_ids == theirs["input_ids"]
    assert ours.labels == theirs["labels"]
    assert (ours.truncated, ours.skipped) == (0, [])


def test_tools_and_calls_are_read_as_trl_reads_a_chat_export(base: str, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    turns = [{"role": "user", "content": "1 + 2"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "add"}}]
    model, tokenizer = models.load_causal(base)
    tokenizer.chat_template = tiny_student.CALLING
    config = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none")
    record = Dataset.from_list([{"messages": turns, "tools": tools, "id": "r", "domain": "d"}])
    theirs = SFTTrainer(model, args=config, train_dataset=record, processing_class=tokenizer).train_dataset
    chat = chats.split_chat(turns)
    row = {"id": "r", "prompt": chat.prompt, "answer": chat.answer, "messages": chat.messages}
    ours = sft.prepare(tokenizer, pl.DataFrame([{**row, "extra": json.dumps({"tools": tools})}]), 512)
    assert ours.input_ids == theirs["input_ids"]


def test_long_rows_are_cut_or_left_out_with_a_note(manifest: Manifest, base: str) -> None:
    tokenizer = models.load_tokenizer(base)
    examples = pl.DataFrame(
        {
            "id": ["fits", "cut", "out"],
            "prompt": ["a", "b", "what is " * 60],
            "answer": ["1", "1 + " * 60, "1"],
            "rationale": None,
        }
    )
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        data = sft.prepare(tokenizer, examples, 40)
    assert (data.truncated, data.skipped) == (1, ["out"])
    assert [len(ids) for ids in data.input_ids][1] == 40
    assert heard == ["1 rows were cut at 40 tokens, 1 left out: the prompt fills it"]
    with pytest.raises(InputError, match="every prompt fills the limit of 3 tokens"):
        sft.prepare(tokenizer, examples, 3)


def test_the_window_of_the_student_is_a_limit_too(manifest: Manifest, base: str) -> None:
    tokenizer = models.load_tokenizer(base)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        data = sft.prepare(tokenizer, manifest.examples(), 512, window=20)
    assert max(map(len, data.input_ids)) <= 20
    assert "rows were cut at 20 tokens (the student reads no more)" in heard[0]
    with pytest.raises(
        InputError, match="fills the limit of 3 tokens, nothing is left to train on; use a student that reads more"
    ):
        sft.prepare(tokenizer, manifest.examples(), 512, window=3)


def _short(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let a forward pass of more than `most` rows run out of memory, and return how many rows each had."""
    import torch

    sizes: list[int] = []
    whole = sft.completion_loss

    def loss(model: Any, inputs: Any, n_tokens: Any = None) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return whole(model, inputs, n_tokens)

    monkeypatch.setattr(sft, "completion_loss", loss)
    return sizes


def test_where_memory_is_short_the_same_steps_are_made_of_smaller_batches(
    base: str, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _fit(base, manifest, tmp_path, batch_size=4, gradient_accumulation=1)
    sizes = _short(monkeypatch, 1)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        found = _fit(base, manifest, tmp_path, batch_size=4, gradient_accumulation=1)
    assert sizes[:2] == [4, 2]
    assert set(sizes[2:]) == {1}
    assert len(found) == len(plain)
    assert found[0] == pytest.approx(plain[0], rel=0.2), "it starts again from the first weights"
    notes = [message for message in heard if message]
    assert notes[0].startswith("out of memory with 4 rows of up to ")
    assert notes[0].endswith("in 2 passes per step; --batch-size 2 --gradient-accumulation 2 begins so")
    assert notes[1].endswith("--batch-size 1 --gradient-accumulation 4 begins so")
    _short(monkeypatch, 0)
    with pytest.raises(ModelError, match=r"^out of memory with a single row of up to \d+ tokens \(train\): lower --max-tokens"):
        _fit(base, manifest, tmp_path, batch_size=4)


def test_on_cuda_adapters_compute_in_bf16_beside_bf16_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import trl

    monkeypatch.setattr(trl, "SFTConfig", lambda **options: options)
    for cuda, bf16 in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        found = sft._config(SETTINGS, tmp_path, bf16=bf16)
        assert (found["bf16"], found["use_cpu"]) == (cuda and bf16, not cuda)


def test_a_student_that_lora_does_not_fit_is_one_line(tmp_path: Path) -> None:
    from transformers import MambaConfig

    tokenizer = tiny_student.make_tokenizer()
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=32, state_size=8, num_hidden_layers=1)
    folder = tiny_student.save(tmp_path / "mamba", config, tokenizer)
    skeleton = models.load_skeleton(str(folder))
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
    with pytest.raises(ModelError, match=r"^LoRA does not fit the student, a model of the type 'mamba': [^\n]*out_proj[^\n]*$"):
        sft.add_adapter(skeleton, SETTINGS)


def test_nothing_of_a_student_stays_after_its_training(base: str, manifest: Manifest, tmp_path: Path) -> None:
    import weakref

    model, tokenizer = models.load_causal(base)
    data = sft.prepare(tokenizer, manifest.examples(), 512)
    fitted, _ = sft.fit(model, tokenizer, data, replace(SETTINGS, epochs=1), tmp_path)
    gone = weakref.ref(model.lm_head.weight)
    del model, fitted
    models.load_causal(base)
    assert gone() is None, "two students would need twice the memory"


def test_every_answer_of_a_chat_is_in_the_loss_where_its_row_says_so(base: str) -> None:
    tokenizer = models.load_tokenizer(base)
    turns = [
        {"role": role, "content": text} for role, text in (("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"))
    ]
    learned = {}
    for train in ("last", "all"):
        chat = chats.split_chat(turns, train)
        row = {"id": "r", "prompt": chat.prompt, "answer": chat.answer, "rationale": None, "messages": chat.messages}
        data = sft.prepare(tokenizer, pl.DataFrame([row], schema=dict.fromkeys(row, pl.String)), 512)
        learned[train] = tokenizer.decode([n for n in data.labels[0] if n != -100])
        assert all(label in (n, -100) for label, n in zip(data.labels[0], data.input_ids[0], strict=True))
    assert learned == {"last": "4<|end|>\n", "all": "2<|end|>4<|end|>\n"}


def test_an_answer_within_the_limit_is_learned_though_the_last_is_beyond_it(base: str) -> None:
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3 " * 60}]
    chat = chats.split_chat([*turns, {"role": "assistant", "content": "4"}], "all")
    row = {"id": "r", "prompt": chat.prompt, "answer": chat.answer, "rationale": None, "messages": chat.messages}
    data = sft.prepare(models.load_tokenizer(base), pl.DataFrame([row], schema=dict.fromkeys(row, pl.String)), 40)
    assert (data.truncated, data.skipped, len(data.labels[0])) == (1, [], 40)


def test_what_the_template_leaves_out_is_said(base: str) -> None:
    examples = pl.DataFrame(
        {"id": ["r"], "prompt": ["a"], "answer": ["1"], "rationale": None, "extra": ['{"tools": [{"name": "add"}]}']}
    )
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        sft.prepare(models.load_tokenizer(base), examples, 512)
    assert heard == ["the student's chat template does not show tools (1 times): nothing is learned from these"]
