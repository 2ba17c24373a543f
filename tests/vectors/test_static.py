"""Static encoders: a mean of token vectors, the same wherever a text stands, and named apart from what they were made of."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from curate import models, progress
from curate.errors import InputError, MissingPackageError
from curate.vectors import embed, static
from tests.support import tiny_encoder

TEXTS = ["what is 2 + 3?", "what is 2 + 4?", "name a river in france", ""]
here = pytest.mark.skipif(find_spec("model2vec") is None, reason="model2vec is not installed")
distils = pytest.mark.skipif(
    None in (find_spec("model2vec"), find_spec("skeletoken")), reason="model2vec and skeletoken are not installed"
)


def table(folder: Path) -> Path:
    """Write a model2vec model of the tiny encoder's tokens with random vectors."""
    from model2vec import StaticModel

    from curate.vectors.encoders import SentenceEncoder

    weights = models.find(str(tiny_encoder.make(folder / "tiny")))
    tokenizer = SentenceEncoder(weights)._model[0].tokenizer.backend_tokenizer
    vectors = np.random.default_rng(0).standard_normal((len(tokenizer.get_vocab()), 8)).astype(np.float32)
    StaticModel(vectors, tokenizer, config={"model_type": "model2vec"}, normalize=True).save_pretrained(folder / "table")
    return folder / "table"


@here
def test_a_static_model_is_recognised_and_encodes(tmp_path: Path) -> None:
    folder = str(table(tmp_path))
    plain, named = embed.load_encoder(folder), embed.load_encoder(f"static:{folder}")
    found = plain.encode(TEXTS)
    assert (plain.name, plain.dim, found.dtype) == ("static:table", 8, np.float32)
    assert plain.fingerprint == named.fingerprint
    np.testing.assert_allclose(np.linalg.norm(found[:3], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[3], 0)
    np.testing.assert_allclose(plain.encode(TEXTS[::-1]), found[::-1], atol=1e-6)
    assert plain.encode([]).shape == (0, 8)
    long = plain.encode(["a " * 1_000 + "b " * 1_000, "a b"])
    np.testing.assert_allclose(long[0], long[1], atol=1e-3), "nothing is cut"
    with pytest.raises(InputError, match="is static: it has no --precision, --backend or --prefix; leave them out"):
        embed.load_encoder(folder, precision="bf16")


@distils
def test_an_ordinary_encoder_is_distilled_once(tmp_path: Path) -> None:
    folder, notes = tiny_encoder.make(tmp_path / "tiny"), []
    with progress.listen(lambda event: notes.append(event.message)):
        first, second = (embed.load_encoder(f"static:{folder}", root=tmp_path) for _ in range(2))
        np.testing.assert_array_equal(first.encode(TEXTS), second.encode(TEXTS))
    assert [note for note in notes if "distilling" in note] == [
        "static:encoder: distilling it once, under cache/models (a minute or so)"
    ]
    assert first.fingerprint != embed.load_encoder(str(folder)).fingerprint


def test_without_the_packages_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "find_spec", lambda name: None)
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(MissingPackageError, match=r"--encoder static:\S+ needs the package 'model2vec': pip install model2vec$"):
        embed.load_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(MissingPackageError, match="pip install model2vec skeletoken"):
        embed.load_encoder(f"static:{tmp_path}")
    assert not static.is_static(models.find(str(tmp_path)))
