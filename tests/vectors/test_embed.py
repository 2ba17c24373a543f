"""The vector cache: each text is encoded once, in any order, and what a crash left is never believed."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate import models, progress
from curate.defaults import DEFAULT_ENCODER
from curate.errors import InputError, ManifestError, ModelError
from curate.manifest import ids, manifest
from curate.selection import select
from curate.vectors import cache, cluster, embed, neighbors
from curate.vectors.encoders import FakeEncoder
from tests.support import tiny_encoder
from tests.support.samples import ingested

TEXTS = ["What is 2 + 3?", "What is 2 + 4?", "Name a river in France.", ""]


def shards(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*.npy") if not p.name.endswith(".keys.npy"))


def test_vectors_come_in_the_order_of_the_texts_and_from_the_cache(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    plain = FakeEncoder().encode(TEXTS)
    np.testing.assert_array_equal(embed.vectors(TEXTS, encoder=encoder, root=tmp_path), plain)
    np.testing.assert_array_equal(embed.vectors(TEXTS[::-1], encoder=encoder, root=tmp_path), plain[::-1])
    assert encoder.encoded == 4
    assert embed.vectors([], encoder=encoder, root=tmp_path).shape == (0, 64)


@settings(max_examples=15)  # each writes and syncs files
@given(st.lists(st.lists(st.text(max_size=6), max_size=12), min_size=1, max_size=4))
def test_each_text_is_encoded_once_in_all(tmp_path_factory: pytest.TempPathFactory, calls: list[list[str]]) -> None:
    root, encoder = tmp_path_factory.mktemp("root"), FakeEncoder(16)
    for texts in calls:
        np.testing.assert_array_equal(embed.vectors(texts, encoder=encoder, root=root), FakeEncoder(16).encode(texts))
    assert encoder.encoded == len({text for texts in calls for text in texts})


def test_an_encoder_never_sees_the_cache_of_another(tmp_path: Path) -> None:
    first, second = FakeEncoder(64), FakeEncoder(64)
    second.fingerprint = "fake-64 with a prefix"
    embed.vectors(TEXTS, encoder=first, root=tmp_path)
    embed.vectors(TEXTS, encoder=second, root=tmp_path)
    assert second.encoded == 4
    assert {p.parent.name for p in shards(tmp_path)} == {"v1-fake-64", "v1-fake-64-with-a-prefix"}


@pytest.mark.parametrize("suffix", [".npy", ".keys.npy"])
@pytest.mark.parametrize("keep", [0, 60, -8, None], ids=["empty", "in the header", "8 bytes short", "gone"])
def test_a_cache_cut_short_is_encoded_again(tmp_path: Path, suffix: str, keep: int | None) -> None:
    embed.vectors(TEXTS, encoder=FakeEncoder(), root=tmp_path)
    cut = shards(tmp_path)[0].with_suffix(suffix)
    if keep is None:
        cut.unlink()
    else:
        cut.write_bytes(cut.read_bytes()[:keep])
    again = FakeEncoder()
    np.testing.assert_array_equal(embed.vectors(TEXTS, encoder=again, root=tmp_path), again.encode(TEXTS))
    assert again.encoded == 8, "four for the cache, four by the line above"


def test_a_shard_whose_files_disagree_is_encoded_again(tmp_path: Path) -> None:
    embed.vectors(TEXTS, encoder=FakeEncoder(), root=tmp_path)
    np.save(shards(tmp_path)[0], np.zeros((3, 64), np.float32))
    again = FakeEncoder()
    np.testing.assert_array_equal(embed.vectors(TEXTS, encoder=again, root=tmp_path), FakeEncoder().encode(TEXTS))
    assert again.encoded == 4


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(ManifestError, match="vector cache cannot be written: No space left on device; free some space"):
            embed.vectors(TEXTS, encoder=FakeEncoder(), root=tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert embed.vectors(TEXTS, encoder=FakeEncoder(), root=tmp_path).shape == (4, 64)


def test_what_was_encoded_before_ctrl_c_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(FakeEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if self.encoded:
                raise KeyboardInterrupt
            return super().encode(texts)

    monkeypatch.setattr(embed, "_CHUNK_CHARACTERS", 2_000)
    texts, stopped, after = [f"text {i}" for i in range(400)], Stopped(), FakeEncoder()
    with pytest.raises(KeyboardInterrupt):
        embed.fill_cache(texts, encoder=stopped, root=tmp_path)
    assert embed.fill_cache(texts, encoder=after, root=tmp_path) == 400 - stopped.encoded < 400


def test_many_small_shards_are_merged_and_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MANY_SHARDS", 4)
    texts, encoder = [f"text {i}" for i in range(9)], FakeEncoder()
    for text in texts:
        embed.fill_cache([text], encoder=encoder, root=tmp_path)
    assert len(shards(tmp_path)) < 6
    np.testing.assert_array_equal(embed.vectors(texts, encoder=encoder, root=tmp_path), FakeEncoder().encode(texts))
    assert encoder.encoded == 9


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.full((4, 64), np.nan, np.float32), "gave a vector that is not finite for 'Name a river in France.'"),
        (np.zeros((4, 3), np.float32), r"gave shape \(4, 3\) for 4 texts of 64 dimensions"),
    ],
)
def test_a_bad_vector_is_never_cached(tmp_path: Path, found: NDArray[np.float32], message: str) -> None:
    encoder = FakeEncoder()
    encoder.encode = lambda texts: found  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=message):
        embed.vectors(TEXTS, encoder=encoder, root=tmp_path)
    assert shards(tmp_path) == []


def test_progress_counts_the_texts_that_are_new(tmp_path: Path) -> None:
    events: list[progress.Event] = []
    with progress.listen(events.append):
        embed.vectors([*TEXTS, *TEXTS], encoder=FakeEncoder(), root=tmp_path)
        embed.vectors(TEXTS, encoder=FakeEncoder(), root=tmp_path)
    assert [(e.step, e.done, e.total) for e in events] == [("embed", 0, 4), ("embed", 4, 4)]


def test_embed_fills_the_cache_and_commits_nothing(tmp_path: Path) -> None:
    contents = pl.DataFrame({"prompt": [*TEXTS, TEXTS[0]], "answer": list("56abc")})
    contents = contents.with_columns(content=ids.content_keys(contents))
    rows = contents.select("content", domain=pl.lit("sums"), split=pl.lit("train")).with_columns(status=pl.lit("candidate"))
    empty = manifest.new("m", root=tmp_path)
    empty.append(contents)
    before = empty.commit(rows.with_columns(id=ids.row_ids(rows)), verb="ingest")
    encoder = FakeEncoder()
    first = embed.embed(before, encoder=encoder)
    assert (first.rows, first.new, first.cached, first.dim, first.encoder) == (5, 4, 0, 64, "fake")
    second = embed.embed(before, encoder=encoder)
    assert (second.new, second.cached, encoder.encoded) == (0, 4, 4)
    assert first.manifest == second.manifest == manifest.load("m", root=tmp_path) == before


def test_where_every_vector_is_cached_the_model_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors: loading it would fail")
    encoder, stand_in = embed.load_encoder(str(tmp_path)), FakeEncoder()
    stand_in.fingerprint = encoder.fingerprint
    embed.fill_cache(TEXTS, encoder=stand_in, root=tmp_path)
    np.testing.assert_array_equal(embed.vectors(TEXTS, encoder=encoder, root=tmp_path), FakeEncoder().encode(TEXTS))


def test_names_that_are_no_encoder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="unknown precision 'int4'; did you mean 'int8'"):
        embed.load_encoder(str(tmp_path), precision="int4")
    with pytest.raises(InputError, match="unknown backend 'onxx'; did you mean 'onnx'"):
        embed.load_encoder(str(tmp_path), backend="onxx")
    (tmp_path / "m.gguf").write_bytes(b"")
    with pytest.raises(ModelError, match=r"'m\.gguf' is GGUF; name a folder of safetensors"):
        embed.load_encoder(str(tmp_path / "m.gguf"))


def test_an_encoder_is_handed_through_as_it_is() -> None:
    encoder = FakeEncoder()
    assert embed.load_encoder(encoder) is encoder


def test_auto_precision_is_what_the_processor_has(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        encoder = embed.load_encoder(str(tmp_path), precision="auto", root=tmp_path)
    assert isinstance(encoder, embed.SentenceEncoder)
    assert encoder.precision == models.resolve_dtype("auto")
    assert notes == [f"auto: torch {encoder.precision}, by what the processor has"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text("ab", max_size=9), unique=True, max_size=30), st.randoms())
def test_an_encoder_gets_the_longest_first_in_chunks_that_no_order_changes(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], random: Random
) -> None:
    def chunks() -> list[list[str]]:
        class Listening(FakeEncoder):
            def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
                seen.append(list(texts))
                return super().encode(texts)

        seen: list[list[str]] = []
        embed.fill_cache(texts, encoder=Listening(8), root=tmp_path_factory.mktemp("root"))
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "_CHUNK_CHARACTERS", 20)
        first = chunks()
        random.shuffle(texts)
        assert chunks() == first
    lengths = [len(text) for chunk in first for text in chunk]
    assert lengths == sorted(lengths, reverse=True)
    assert sorted(text for chunk in first for text in chunk) == sorted(texts)
    assert all(sum(len(text) + 1 for text in chunk[1:]) <= 20 for chunk in first)


def test_vectors_larger_than_memory_are_mapped_from_a_file_that_goes_away(tmp_path: Path) -> None:
    texts, encoder = [f"text {i}" for i in range(50)], FakeEncoder()
    plain = embed.vectors(texts, encoder=encoder, root=tmp_path)
    files = {p for p in tmp_path.rglob("*") if p.is_file()}
    mapped = embed.vectors(texts[::-1], encoder=encoder, root=tmp_path, memory_bytes=50 * 64 * 4 - 1)
    assert isinstance(mapped, np.memmap)
    assert not isinstance(plain, np.memmap)
    assert not isinstance(embed.vectors(texts, encoder=encoder, root=tmp_path, memory_bytes=50 * 64 * 4), np.memmap)
    np.testing.assert_array_equal(mapped, plain[::-1])
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == files
    assert encoder.encoded == 50


def test_clusters_are_the_same_from_mapped_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{word} {i}" for word in ("sum", "river", "soup") for i in range(12)]
    found = []
    for share in (0.25, 0.0):
        monkeypatch.setattr(embed, "_IN_MEMORY", share)
        vectors = embed.vectors(texts, encoder=FakeEncoder(), root=tmp_path)
        assert isinstance(vectors, np.memmap) == (share == 0)
        found.append(neighbors.kmeans(vectors[:30], 3, seed=1))
    np.testing.assert_array_equal(found[0].labels, found[1].labels)
    np.testing.assert_array_equal(found[0].centres, found[1].centres)


def test_texts_that_were_cut_are_told(tmp_path: Path) -> None:
    folder, notes = tiny_encoder.make(tmp_path / "tiny"), []
    encoder = embed.load_encoder(str(folder))
    with progress.listen(lambda event: notes.append(event.message)):
        embed.fill_cache(["a" * 30, "a" * 31, "b"], encoder=encoder, root=tmp_path)
        embed.fill_cache(["a" * 30, "b"], encoder=encoder, root=tmp_path)
    assert [note for note in notes if note] == ["2 of 3 texts are longer than the encoder's 16 tokens and were cut there"]


def test_what_shapes_a_vector_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = str(tiny_encoder.make(tmp_path / "tiny"))
    for options in ({}, {"precision": "bf16"}, {"prefix": "ask: "}, {"precision": "bf16", "prefix": "ask: "}):
        encoder = embed.load_encoder(folder, **options)
        assert embed.fill_cache(["one", "two"], encoder=encoder, root=tmp_path) == 2
        assert embed.fill_cache(["two", "one"], encoder=encoder, root=tmp_path) == 0
    weights = Path(folder, "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x3e")  # the encoder has changed
    assert embed.fill_cache(["one"], encoder=embed.load_encoder(folder), root=tmp_path) == 1
    assert len({shard.parent for shard in shards(tmp_path / "cache" / "vectors")}) == 5


def test_a_cache_of_another_version_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed.fill_cache(TEXTS, encoder=FakeEncoder(), root=tmp_path)
    monkeypatch.setattr(embed, "_FORMAT", "v2")
    assert embed.fill_cache(TEXTS, encoder=FakeEncoder(), root=tmp_path) == 4


def test_a_manifest_has_the_encoder_of_its_clusters(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": text} for text in TEXTS])
    assert embed.encoder_of(start).fingerprint == embed.load_encoder().fingerprint
    made = {"encoder": DEFAULT_ENCODER, "precision": "bf16", "backend": "torch", "prefix": "query: "}
    clustered = start.commit(start.rows(), verb="cluster", parameters=made)
    own = embed.load_encoder(precision="bf16", prefix="query: ")
    assert embed.encoder_of(clustered).fingerprint == own.fingerprint
    assert embed.encoder_of(start).fingerprint != own.fingerprint, "an older version has the encoder of its time"
    at_once = embed.encoder_of(clustered, prefix="")
    assert at_once.fingerprint == embed.load_encoder(precision="bf16", prefix="").fingerprint
    named = embed.encoder_of(clustered, DEFAULT_ENCODER)
    assert named.fingerprint == embed.load_encoder().fingerprint, "who names one has it as it is by itself"


def test_an_encoder_of_clusters_that_has_no_name_to_find_it_by_is_told(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": text} for text in TEXTS])
    clustered = cluster.cluster(start, encoder=FakeEncoder()).manifest
    said: list[str] = []
    with progress.listen(lambda event: said.append(event.message)):
        assert embed.encoder_of(clustered).name == DEFAULT_ENCODER
    assert any("the encoder of the clusters, 'fake', is not found by that name" in line for line in said)


def test_a_chat_is_embedded_with_the_turns_before_it_the_newest_first(tmp_path: Path) -> None:
    heard: list[str] = []

    class Hearing(FakeEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            heard.extend(texts)
            return super().encode(texts)

    history = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])
    rows = [{"prompt": "Go on."}, {"prompt": "Go on.", "messages": history}, {"prompt": "  as it is \n"}]
    handle = ingested(tmp_path, rows)
    embed.embed(handle, encoder=Hearing())
    assert sorted(heard) == ["  as it is \n", "Go on.", "Go on.\n\nassistant: hello\n\nuser: hi"]
    clustered = cluster.cluster(handle, encoder=Hearing()).manifest
    select.select(clustered, n=2, selector="k_center", encoder=Hearing())
    assert len(heard) == 3, "clusters and selectors read the same texts from the cache"
