"""Tests of students: loading a base model, with and without an adapter."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from baldistill import losses, students, train
from baldistill.tokens import PLAIN_TEMPLATE, encode
from curate import progress
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


def test_a_base_model_without_a_template_gets_the_plain_one(tmp_path: Path) -> None:
    plain = str(tiny_student.make(tmp_path / "plain", template=None))
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        student = students.load(plain, dtype="fp32")
    assert student.tokenizer.chat_template == PLAIN_TEMPLATE
    assert heard == ["plain has no chat template; its turns are written one after the other"]
