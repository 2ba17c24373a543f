"""Tests of students: loading a base model, with and without an adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from baldistill.student import adapters, generate, losses, students
from baldistill.student.tokens import PLAIN_TEMPLATE, encode
from baldistill.training import sft, train
from baldistill.training.settings import TrainSettings
from curate import models, progress
from curate.errors import ModelError
from curate.manifest.manifest import Manifest
from tests.support import tiny_student


def test_adapter_is_merged_and_lowers_the_loss(trained: train.TrainResult, manifest: Manifest, base: str) -> None:
    before, after = students.load(base, dtype="fp32"), students.load(base, adapter=trained.adapter, dtype="fp32")
    rows = manifest.rows().filter(pl.col("status") == "selected")
    tokens = encode(before.tokenizer, manifest.examples(rows))
    found = [losses.mean_losses(student, tokens) for student in (before, after)]
    assert sum(filter(None, found[1])) < sum(filter(None, found[0]))
    assert not [name for name, _ in after.model.named_parameters() if "lora" in name]
    assert before.fingerprint == after.fingerprint.partition("+")[0]
    assert after.label == students.identify(base, adapter=trained.adapter, dtype="fp32") != before.label
    assert before.window == 256


def test_an_adapter_of_another_student_is_refused(trained: train.TrainResult, tmp_path: Path) -> None:
    other = str(tiny_student.make(tmp_path / "other", seed=1))
    with pytest.raises(ModelError, match=r"was trained on tiny .* not on other"):
        students.load(other, adapter=trained.adapter)


def _foreign(trained: train.TrainResult, folder: Path) -> Path:
    """Return a copy of an adapter, without the record."""
    shutil.copytree(trained.adapter, folder)
    (folder / adapters.RECORD).unlink()
    return folder


def test_tensors_without_a_place_and_places_without_a_tensor_are_refused(
    trained: train.TrainResult, base: str, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    foreign = _foreign(trained, tmp_path / "foreign")
    weights = foreign / "adapter_model.safetensors"
    held = load_file(weights)
    save_file({name.replace("layers.1.", "layers.9."): tensor for name, tensor in held.items()}, weights)
    with pytest.raises(ModelError, match=r"does not fit the model: 14 of its 28 tensors have no place there, and 14 places stay"):
        students.load(base, adapter=foreign, dtype="fp32")
    save_file({name: tensor[:1] for name, tensor in held.items()}, weights)
    with pytest.raises(ModelError, match=r"^adapter 'foreign' does not fit the model: [^\n]*size mismatch"):
        students.load(base, adapter=foreign, dtype="fp32")
    save_file({name: tensor * float("nan") for name, tensor in held.items()}, weights)
    with pytest.raises(ModelError, match="holds numbers that are not finite, in 28 tensors"):
        students.load(base, adapter=foreign, dtype="fp32")


def test_an_adapter_that_cannot_be_merged_is_refused(base: str, tmp_path: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model

    with adapters.quiet():
        prompts = get_peft_model(models.load_causal(base)[0], PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    prompts.save_pretrained(tmp_path / "prompts")
    with pytest.raises(ModelError, match="'prompts' is of the kind PROMPT_TUNING, which cannot be merged"):
        students.load(base, adapter=tmp_path / "prompts", dtype="fp32")


def test_a_base_model_without_a_template_gets_the_plain_one(tmp_path: Path) -> None:
    plain = str(tiny_student.make(tmp_path / "plain", template=None))
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        student = students.load(plain, dtype="fp32")
    assert student.tokenizer.chat_template == PLAIN_TEMPLATE
    assert heard == ["plain has no chat template; its turns are written one after the other"]


FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "opt": {"hidden_size": 32, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 128},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 64},
    "qwen2": {"hidden_size": 32, "intermediate_size": 64, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "gemma2": {"hidden_size": 32, "intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_trained_asked_and_scored(family: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    tokenizer = tiny_student.make_tokenizer()
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    layers = {} if "n_layer" in FAMILIES[family] else {"num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **ids, **layers, **FAMILIES[family])
    config.initializer_range = 0.2
    folder = str(tiny_student.save(tmp_path / family, config, tokenizer))
    assert sft.add_adapter(models.load_skeleton(folder), TrainSettings(rank=2)).peft_config
    student = students.load(folder, dtype="fp32")
    rows = encode(student.tokenizer, pl.DataFrame(tiny_student.sums(3, rationale=True)).select("prompt", "answer", "rationale"))
    prompts = [row.prompt for row in rows] + [rows[0].prompt[4:]]
    together, alone = (generate.generate(student, prompts, max_new_tokens=4, batch_size=size) for size in (4, 1))
    assert together == alone
    alone_read = [losses.mean_losses(student, [row])[0] for row in rows]
    assert losses.mean_losses(student, rows) == pytest.approx(alone_read, abs=1e-4)
