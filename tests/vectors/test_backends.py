"""Backends: the same vectors as torch where they are exact, near ones where they are not, and clear words where they cannot."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from curate import models, progress
from curate.errors import InputError, MissingPackageError, ModelError
from curate.vectors import backends
from curate.vectors.encoders import SentenceEncoder
from tests.support import tiny_encoder

TEXTS = ["what is 2 + 3?", "a", "", "name a river in france, and say where it ends", "what is 2 + 4?"]
PACKAGES = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino", "nncf")}


def needs(backend: str) -> None:
    missing = [name for name in PACKAGES[backend] if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize(("backend", "precisions"), [("onnx", ("fp32", "int8")), ("openvino", ("fp32", "bf16", "int8"))])
def test_another_backend_gives_the_vectors_of_torch(tmp_path: Path, backend: str, precisions: tuple[str, ...]) -> None:
    needs(backend)
    weights, notes = models.find(str(tiny_encoder.make(tmp_path / "tiny"))), []
    expected = SentenceEncoder(weights, prefix="ask: ").encode(TEXTS)
    for precision in precisions:
        with progress.listen(lambda event: notes.append(event.message)):
            options = {"backend": backend, "precision": precision, "prefix": "ask: ", "root": tmp_path}
            found = SentenceEncoder(weights, **options).encode(TEXTS)  # type: ignore[arg-type]
            again = SentenceEncoder(weights, **options).encode(TEXTS)  # type: ignore[arg-type]
        assert (found * expected).sum(axis=1).min() > (0.99999 if precision == "fp32" else 0.97)
        np.testing.assert_allclose(found, again, atol=1e-6)
    exported = [note for note in notes if "exporting" in note]
    assert len(exported) == len({"fp32", *precisions} - {"bf16"}), "once each; bf16 is computed from the fp32 export"
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name or ".tmp" in path.name]


def test_a_missing_package_is_named_with_the_option_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"--backend onnx needs .* pip install onnx onnxruntime onnxscript"):
        backends.check("onnx", "fp32")
    with pytest.raises(MissingPackageError, match=r"--backend openvino --precision int8 needs .* pip install openvino nncf"):
        backends.check("openvino", "int8")
    if not models.has_cuda():
        assert backends.installed() == [("torch", "fp32"), ("torch", "bf16")]


@pytest.mark.parametrize(
    ("backend", "precision", "message"),
    [
        ("torch", "int8", "--backend torch has no --precision int8, only fp32, bf16; take --backend onnx or --backend openvino"),
        ("onnx", "bf16", "--backend onnx has no --precision bf16, only fp32, int8; take --backend torch or --backend openvino"),
        ("tensorrt", "fp32", "unknown backend 'tensorrt'"),
        ("torch", "fp16", "unknown precision 'fp16'; did you mean 'bf16'"),
    ],
)
def test_pairs_that_there_are_not(backend: str, precision: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        backends.check(backend, precision)


def test_a_transformer_that_gives_no_token_vectors_is_refused(tmp_path: Path) -> None:
    other = SimpleNamespace(modality_config={"text": {"method": "get_text_features", "method_output_name": "pooler_output"}})
    with pytest.raises(ModelError, match="encoder 'clip' gives no token vectors that can be exported; use --backend torch"):
        backends.start("onnx", "fp32", other, folder=tmp_path / "x", label="clip")
