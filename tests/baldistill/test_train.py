"""Tests of train: training on a snapshot, and its record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baldistill import adapters, train
from curate import progress
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
        (part / "weights").write_text(str(made[-1]))
        return {"steps": 0, "losses": [], "rows": 8, "truncated": 0, "skipped": [], "seconds": 0.0}

    _fake_training(monkeypatch, work)
    output = tmp_path / "adapter"
    for seed in (0, 0, 1):
        train.train(manifest, student=base, output=output, seed=seed)
    assert made == [0, 1], "seed 0 stood already; seed 1 is another record"
    assert (output / "weights").read_text() == "1"
    assert json.loads((output / adapters.RECORD).read_text())["parameters"]["seed"] == 1


def test_a_loss_that_is_no_number_stops_and_leaves_no_trace(manifest: Manifest, base: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the loss is nan at step 2: lower --learning-rate, or use --dtype fp32"):
        train.train(manifest, student=base, output=tmp_path / "bad", **{**tiny_student.FAST, "learning_rate": 1e38})
    assert list(tmp_path.iterdir()) == []


def test_warm_start_goes_on_from_an_adapter(trained: train.TrainResult, manifest: Manifest, base: str, tmp_path: Path) -> None:
    more = train.train(
        manifest, student=base, warm_start=trained.adapter, output=tmp_path / "more", **{**tiny_student.FAST, "epochs": 1}
    )
    assert more.losses[0] < trained.losses[0]
    assert adapters.record(more.adapter)["parameters"]["warm_start"] == adapters.fingerprint(trained.adapter)


def test_another_version_with_the_same_rows_is_another_snapshot(trained: train.TrainResult, manifest: Manifest) -> None:
    later = replace(trained.manifest, version=1)
    assert train._default_output(later, {"snapshot": "tiny@1"}) != trained.adapter


@pytest.mark.slow
def test_smollm2_learns_sums(tmp_path: Path) -> None:
    manifest = tiny_student.manifest(tmp_path, tiny_student.sums(32, status="selected", rationale=True))
    made = train.train(manifest, epochs=2, gradient_accumulation=2, dtype="auto")
    assert made.losses[-1] < made.losses[0] / 2
