"""The cache on disk: what is whole is found, what is not is left out, and large results are read in blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ManifestError
from curate.vectors import cache

TEXTS = [f"text {i}" for i in range(10)]
VECTORS = np.arange(30, dtype=np.float32).reshape(10, 3)


def opened(folder: Path) -> cache.VectorCache:
    return cache.VectorCache(folder, lambda: 3)


def test_a_hash_tells_texts_apart_and_is_the_same_everywhere() -> None:
    found = cache.hash_texts(["", " ", "a", "A", "ä"])
    assert found.unique().height == 5
    assert cache.hash_texts(["a"]).row(0) == found.row(2)
    assert cache.hash_texts([]).height == 0


@settings(max_examples=15, deadline=None)
@given(wanted=st.lists(st.integers(0, 9), max_size=20), cuts=st.sets(st.integers(1, 9)), block=st.integers(1, 7))
def test_vectors_come_from_any_shards_in_any_order_and_blocks(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[int], cuts: set[int], block: int
) -> None:
    writing = opened(tmp_path_factory.mktemp("cache"))
    keys = cache.hash_texts(TEXTS)
    for part in np.split(np.arange(10), sorted(cuts)):
        writing.write(keys[part], VECTORS[part])
    reading = opened(writing.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_BLOCK", block)
        patch.setattr(cache, "_OPEN_SHARDS", 2)
        for limit in (float("inf"), 0):
            found = reading.gather(cache.hash_texts([TEXTS[i] for i in wanted]), memory_bytes=limit)
            np.testing.assert_array_equal(found, VECTORS[wanted].reshape(-1, 3))


def test_large_shards_are_opened_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SMALL_SHARD_ROWS", 5)
    keys = cache.hash_texts(TEXTS)
    writing = opened(tmp_path)
    writing.write(keys[:4], VECTORS[:4])
    writing.write(keys[4:], VECTORS[4:])
    reading = opened(tmp_path)
    assert [len(shard) for shard in reading._small.values()] == [4]
    np.testing.assert_array_equal(reading.gather(keys), VECTORS)


def test_the_length_of_a_vector_is_asked_only_where_nothing_is_cached(tmp_path: Path) -> None:
    asked: list[str] = []
    empty = cache.VectorCache(tmp_path, lambda: len(asked.append("asked") or "abc"))
    assert (empty.dim, len(asked)) == (3, 1)
    empty.write(cache.hash_texts(TEXTS), VECTORS)
    assert (cache.VectorCache(tmp_path, lambda: 1 / 0).dim, len(asked)) == (3, 1)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        (".npy", np.zeros((9, 3), np.float32)),
        (".npy", np.zeros((10, 3), np.float64)),
        (".npy", np.zeros(10, np.float32)),
        (".keys.npy", np.zeros((10, 2), np.int64)),
        (".keys.npy", np.zeros((10, 1), np.uint64)),
        (".npy", np.array([{}] * 10, dtype=object)),
    ],
    ids=["a row short", "double", "flat", "signed keys", "half keys", "a pickle"],
)
def test_files_that_do_not_fit_together_are_left_out(tmp_path: Path, name: str, array: np.ndarray) -> None:
    keys = cache.hash_texts(TEXTS)
    opened(tmp_path).write(keys, VECTORS)
    mark = next(tmp_path.glob("*.keys.npy"))
    np.save(mark.with_name(mark.name.removesuffix(".keys.npy") + name), array)
    assert opened(tmp_path).locate(keys)["shard"].null_count() == 10


def test_a_shard_without_its_mark_is_not_there(tmp_path: Path) -> None:
    keys = cache.hash_texts(TEXTS)
    opened(tmp_path).write(keys, VECTORS)
    next(tmp_path.glob("*.keys.npy")).unlink()
    assert opened(tmp_path).locate(keys)["shard"].null_count() == 10


def test_what_cannot_be_mapped_is_one_clear_error(tmp_path: Path) -> None:
    writing = opened(tmp_path / "cache")
    writing.write(cache.hash_texts(TEXTS), VECTORS)
    reading = opened(tmp_path / "cache")
    reading.folder = tmp_path / "file"
    reading.folder.write_bytes(b"")
    with pytest.raises(ManifestError, match="the vector cache cannot be written: File exists"):
        reading.gather(cache.hash_texts(TEXTS), memory_bytes=0)


def test_a_writer_writes_when_enough_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SHARD_ROWS", 4)
    keys, writing = cache.hash_texts(TEXTS), opened(tmp_path)
    writer = cache.ShardWriter(writing)
    for at in range(0, 10, 2):
        writer.add(keys[at : at + 2], VECTORS[at : at + 2])
    assert len(list(tmp_path.glob("*.keys.npy"))) == 2, "eight rows in two shards; two rows are held"
    writer.flush()
    np.testing.assert_array_equal(opened(tmp_path).gather(keys), VECTORS)
