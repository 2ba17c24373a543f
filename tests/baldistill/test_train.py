"""Tests of train: training on a snapshot, and its record."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baldistill.student import adapters, students
from baldistill.training import train
from curate import models, progress
from curate.errors import InputError, ModelError
from curate.manifest.manifest import Manifest
from tests.support import tiny_student

ONE_EPOCH = {**tiny_student.FAST, "epochs": 1}
LOSSES = (6.5956, 6.2319, 5.6503, 5.3998)


def test_training_learns_and_its_losses_are_pinned(trained: train.TrainResult) -> None:
    assert (trained.rows, trained.steps) == (8, 4), (
        "8 selected train rows, 2 passes in batches of 4; candidates and test rows not"
    )
    assert trained.losses == pytest.approx(LOSSES, rel=0.02)


def test_record_says_what_the_adapter_was_made_from(trained: train.TrainResult, manifest: Manifest, base: str) -> None:
    record = adapters.record(trained.adapter)
    assert record["snapshot"] == str(manifest) == "tiny@0"
    assert record["student"]["name"] == "tiny"
    assert record["parameters"]["learning_rate"] == 1e-2
    assert record["parameters"]["dtype"] == "fp32"
    assert len(record["losses"]) == trained.steps
    assert set(record["packages"]) == {"torch", "transformers", "peft", "trl"}
    assert trained.adapter.parent == Path(manifest.root) / "manifests" / "runs" / "adapters"


def test_nothing_written_names_this_machine(trained: train.TrainResult, root: Path, base: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in trained.adapter.rglob("*") if path.suffix in (".json", ".md", ".txt")]
    assert texts
    assert not any(str(root) in text or base in text for text in texts)
    assert sorted(p.name for p in trained.adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "snapshot.json",
    ]


def test_the_same_command_again_trains_nothing(trained: train.TrainResult, manifest: Manifest, base: str) -> None:
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message or event.step)):
        again = train.train(manifest, student=base, **tiny_student.FAST)
    assert again == trained
    assert any("is there already, trained on tiny@0; nothing to do" in line for line in heard)
    assert "train" not in heard, "no step was taken"


def test_a_damaged_adapter_is_trained_again(
    trained: train.TrainResult, manifest: Manifest, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "adapter"
    shutil.copytree(trained.adapter, output)
    assert adapters.record(output)["adapter"] == adapters.fingerprint(output)
    weights = output / "adapter_model.safetensors"
    whole = weights.read_bytes()

    def work(part: Path, *_: Any) -> dict[str, Any]:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (part / name).write_bytes((trained.adapter / name).read_bytes())
        return {"steps": 0, "losses": [], "rows": 8, "truncated": 0, "skipped": [], "seconds": 0.0}

    _fake_training(monkeypatch, work)
    assert train.train(manifest, student=base, output=output, **tiny_student.FAST).steps == trained.steps
    weights.write_bytes(whole[:5000])
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        train.train(manifest, student=base, output=output, **tiny_student.FAST)
    assert "adapter holds a damaged adapter of tiny@0; it is trained again" in heard
    assert weights.read_bytes() == whole


REFUSED = {
    "a template that refuses": (
        {"template": "{{ raise_exception('no') }}"},
        r"row \w+: the student's chat template refuses a chat",
    ),
    "no end": (
        {"template": "{% for m in messages %}{{ m.content }};{% endfor %}", "marks": False},
        "no token that ends an answer",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_would_be_refused_is_refused_before_weights_are_loaded(
    why: str, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, words = REFUSED[why]
    student = str(tiny_student.make(tmp_path / "student", **options))
    monkeypatch.setattr(models, "load_causal", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(ModelError, match=words):
        train.rehearse(manifest, student=student)
    with pytest.raises(ModelError, match=words):
        train.train(manifest, student=student, output=tmp_path / "adapter")


def test_one_process_and_one_gpu(manifest: Manifest, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for verb in (train.train, train.rehearse):
        with pytest.raises(
            InputError, match=r"^4 GPUs are visible, and training uses one: choose it, such as CUDA_VISIBLE_DEVICES=0$"
        ):
            verb(manifest, student=base)
    monkeypatch.setenv("WORLD_SIZE", "4")
    for work in (lambda: train.train(manifest, student=base), lambda: students.load(base)):
        with pytest.raises(InputError, match=r"^a launcher started this command 4 times over \(WORLD_SIZE\).*: start it once"):
            work()


def test_rows_longer_than_the_positions_are_cut_to_them(manifest: Manifest, tmp_path: Path) -> None:
    from transformers import GPT2Config

    tokenizer = tiny_student.make_tokenizer(None)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=24)
    student = str(tiny_student.save(tmp_path / "gpt2", config, tokenizer))
    made = train.train(manifest, student=student, output=tmp_path / "adapter", **ONE_EPOCH)
    assert made.truncated + len(made.skipped) == 8
    assert made.truncated


def test_nothing_selected_is_one_clear_error(tmp_path: Path, base: str) -> None:
    empty = tiny_student.manifest(tmp_path, tiny_student.sums(3))
    with pytest.raises(InputError, match="tiny@0 has no selected train rows to learn from; select some: curate balance tiny"):
        train.train(empty, student=base, **tiny_student.FAST)


def test_every_parameter_out_of_range_is_named_at_once(manifest: Manifest, base: str) -> None:
    with pytest.raises(InputError, match=r"epochs 0 \(above 0\), rank -1 \(above 0\), dropout 1\.0 \(from 0 to below 1\)"):
        train.train(manifest, student=base, epochs=0, rank=-1, dropout=1.0)


def test_output_that_holds_something_else_is_left_alone(manifest: Manifest, base: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="output 'mine' holds something other than an adapter; name another --output"):
        train.train(manifest, student=base, output=tmp_path / "mine", **tiny_student.FAST)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def _fake_training(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    monkeypatch.setattr(train, "_train_into", work)


def test_an_adapter_of_another_record_is_replaced(
    manifest: Manifest, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def work(part: Path, *_: Any) -> dict[str, Any]:
        made.append(len(made))
        tiny_student.write_adapter(part, made[-1])
        return {"steps": 0, "losses": [], "rows": 8, "truncated": 0, "skipped": [], "seconds": 0.0}

    _fake_training(monkeypatch, work)
    output = tmp_path / "adapter"
    for seed in (0, 0, 1):
        train.train(manifest, student=base, output=output, seed=seed)
    assert made == [0, 1], "seed 0 stood already; seed 1 is another record"
    assert (output / "adapter_model.safetensors").read_bytes()[-1] == 1
    assert json.loads((output / adapters.RECORD).read_text())["parameters"]["seed"] == 1


def test_a_loss_that_is_no_number_stops_and_leaves_no_trace(manifest: Manifest, base: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the loss is nan at step \d: lower --learning-rate, or use --dtype fp32"):
        train.train(manifest, student=base, output=tmp_path / "bad", **{**tiny_student.FAST, "learning_rate": 1e15})
    assert list(tmp_path.iterdir()) == []


def test_warm_start_goes_on_from_an_adapter(trained: train.TrainResult, manifest: Manifest, base: str, tmp_path: Path) -> None:
    more = train.train(
        manifest, student=base, warm_start=trained.adapter, output=tmp_path / "more", **{**tiny_student.FAST, "epochs": 1}
    )
    assert more.losses[0] < trained.losses[0]
    assert adapters.record(more.adapter)["parameters"]["warm_start"] == adapters.fingerprint(trained.adapter)


def test_an_adapter_that_took_the_place_of_another_is_not_taken_for_it(base: str, tmp_path: Path) -> None:
    manifest = tiny_student.manifest(tmp_path, tiny_student.sums(4, status="selected"))
    folders = [tmp_path / "manifests" / "runs" / name for name in ("first", "second", "third")]
    first = train.train(manifest, student=base, output=folders[0], **ONE_EPOCH)
    made = adapters.fingerprint(first.adapter)
    copied = train.train(manifest, student=base, output=folders[1], **ONE_EPOCH)
    assert (adapters.fingerprint(copied.adapter), copied.losses) == (made, first.losses)
    for folder in folders[:2]:
        train.train(manifest, student=base, output=folder, **{**ONE_EPOCH, "seed": 7})
    assert adapters.fingerprint(folders[1]) != made
    again = train.train(manifest, student=base, output=folders[2], **ONE_EPOCH)
    assert adapters.record(again.adapter)["parameters"]["seed"] == 0
    assert adapters.fingerprint(again.adapter) == made


def test_another_version_with_the_same_rows_is_another_snapshot(trained: train.TrainResult, manifest: Manifest) -> None:
    later = replace(trained.manifest, version=1)
    assert train._default_output(later, {"snapshot": "tiny@1"}) != trained.adapter


@pytest.mark.slow
def test_smollm2_learns_sums(tmp_path: Path) -> None:
    manifest = tiny_student.manifest(tmp_path, tiny_student.sums(32, status="selected", rationale=True))
    made = train.train(manifest, epochs=2, gradient_accumulation=2, dtype="auto")
    assert made.losses[-1] < made.losses[0] / 2
