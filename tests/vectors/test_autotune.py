"""The choice behind auto: fidelity first, then speed; measured once, and never where it does not pay."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curate import progress
from curate.errors import ModelError
from curate.vectors import autotune, embed
from curate.vectors.encoders import FakeEncoder, unit
from tests.support import tiny_encoder

TEXTS = [f"question {i} about {'rivers' if i % 2 else 'sums'} {i * i}" for i in range(60)]


class Stand(FakeEncoder):
    """An encoder that takes its time: random vectors, off by some noise."""

    def __init__(self, pause: float, noise: float) -> None:
        super().__init__()
        self.pause, self.noise = pause, noise

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(self.pause)
        seeds = [TEXTS.index(text) for text in texts]
        drawn = np.stack([np.random.default_rng(seed).standard_normal((2, self.dim)) for seed in seeds]).astype(np.float32)
        return unit(drawn[:, 0] + self.noise * drawn[:, 1])


MADE = {
    ("torch", "fp32"): Stand(0.12, 0),
    ("torch", "bf16"): Stand(0.06, 1e-6),
    ("openvino", "int8"): Stand(0, 0.4),
    ("onnx", "int8"): Stand(0.03, 0.2),
}


def choose(folder: Path, *candidates: tuple[str, str]) -> autotune.Measurement:
    return autotune.choose(candidates, lambda *pair: MADE[pair], TEXTS, folder=folder, fingerprint="f")


def test_the_fastest_that_keeps_the_neighbours_is_chosen(tmp_path: Path) -> None:
    found = choose(tmp_path, *MADE)
    assert (found.backend, found.precision) == ("torch", "bf16"), "int8 is faster here, and loses neighbours"
    assert found.overlap >= autotune.MIN_OVERLAP
    record = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert {(one["backend"], one["precision"]) for one in record["measured"]} == set(MADE)
    assert min(one["overlap"] for one in record["measured"]) < autotune.MIN_OVERLAP


def test_where_none_keeps_them_the_nearest_is_chosen(tmp_path: Path) -> None:
    assert choose(tmp_path, ("onnx", "int8"), ("openvino", "int8")).backend == "onnx"


def test_a_choice_is_remembered_for_one_encoder_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert autotune.stored_choice(tmp_path, "f") is None
    chosen = choose(tmp_path, ("torch", "bf16"))
    assert autotune.stored_choice(tmp_path, "f") == chosen
    assert autotune.stored_choice(tmp_path, "another") is None
    next(tmp_path.glob("*.json")).write_text('{"chosen": {"backend"')
    assert autotune.stored_choice(tmp_path, "f") is None, "cut short"
    choose(tmp_path, ("torch", "bf16"))
    monkeypatch.setattr(autotune, "_processor", lambda: "another machine")
    assert autotune.stored_choice(tmp_path, "f") is None


def test_what_cannot_run_is_left_out_and_said(tmp_path: Path) -> None:
    notes: list[str] = []

    def make(backend: str, precision: str) -> FakeEncoder:
        if backend == "onnx":
            raise ModelError("no way")
        return MADE[backend, precision]

    with progress.listen(lambda event: notes.append(event.message)):
        found = autotune.choose([("torch", "fp32"), ("onnx", "int8")], make, TEXTS, folder=tmp_path, fingerprint="f")
        assert found.precision == "fp32"
        with pytest.raises(ModelError, match="none of the backends can run this encoder"):
            autotune.choose([("onnx", "int8")], make, TEXTS, folder=tmp_path, fingerprint="f")
    assert "auto: left out onnx int8: no way" in notes


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_overlap_is_the_share_of_nearest_rows_in_common(n: int) -> None:
    rng = np.random.default_rng(n)
    first, second = (unit(rng.standard_normal((n, 8)).astype(np.float32)) for _ in range(2))
    assert autotune.top_overlap(first, first) == 1

    def nearest(vectors: NDArray[np.float32], row: int) -> set[int]:
        ranked = sorted((i for i in range(n) if i != row), key=lambda i: -float(vectors[i] @ vectors[row]))
        return set(ranked[:3])

    if n > 1:
        k = min(3, n - 1)
        naive = np.mean([len(nearest(first, row) & nearest(second, row)) / k for row in range(n)])
        assert autotune.top_overlap(first, second, 3) == pytest.approx(naive)


def test_auto_measures_where_there_are_many_texts_and_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, notes = str(tiny_encoder.make(tmp_path / "tiny")), []
    monkeypatch.setattr(autotune, "MIN_TEXTS", 50)
    monkeypatch.setattr("curate.vectors.backends.installed", lambda: [("torch", "fp32"), ("torch", "bf16")])
    with progress.listen(lambda event: notes.append(event.message)):
        few = embed.load_encoder(folder, precision="auto", backend="auto", texts=TEXTS[:49], root=tmp_path)
        assert not (tmp_path / "cache" / "probes").exists()
        many = embed.load_encoder(folder, precision="auto", backend="auto", texts=TEXTS, root=tmp_path)
        later = embed.load_encoder(folder, precision="auto", backend="auto", root=tmp_path)
    assert many.fingerprint == later.fingerprint
    assert isinstance(few, embed.SentenceEncoder)
    assert [note.split("(")[0] for note in notes[:1]] == [f"auto: torch {few.precision}, by what the processor has"]
    assert "measured now" in notes[-2]
    assert "measured before" in notes[-1]
