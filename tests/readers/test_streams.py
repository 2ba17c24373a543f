"""Tests of curate.readers.streams: compressed files are unpacked within a bound, and what is broken is one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import pyarrow
import pytest

from curate.errors import InputError
from curate.readers import streams

CONTENT = b'{"a":"x"}\n\n{"a":"y"}\n' * 50


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PACKED = {
    ".gz": gzip.compress(CONTENT),
    ".bz2": bz2.compress(CONTENT),
    ".xz": lzma.compress(CONTENT),
    ".zst": pyarrow.compress(CONTENT, codec="zstd", asbytes=True),
}


def unpack(folder, name, content):
    (folder / name).write_bytes(content)
    with streams.unpacked(folder / name, name) as (file, inner):
        return file.read(), inner


@pytest.mark.parametrize("suffix", PACKED)
def test_files_are_unpacked_by_their_first_bytes(tmp_path, suffix):
    assert unpack(tmp_path, "x.jsonl" + suffix, PACKED[suffix]) == (CONTENT, "x.jsonl")
    assert unpack(tmp_path, "x.jsonl", PACKED[suffix]) == (CONTENT, "x.jsonl")
    assert unpack(tmp_path, "two" + suffix, PACKED[suffix] * 2)[0] == CONTENT * 2
    with pytest.raises(InputError, match=r"^cut.*: cannot be read: ."):
        unpack(tmp_path, "cut.jsonl" + suffix, PACKED[suffix][:-12])


def test_an_archive_holds_one_data_file(tmp_path):
    hidden = {"__MACOSX/._x.jsonl": b"junk", ".DS_Store": b"junk", "sub/": b""}
    assert unpack(tmp_path, "a.zip", zipped(**{"sub/x.jsonl": CONTENT}, **hidden)) == (CONTENT, "sub/x.jsonl")
    with pytest.raises(
        InputError, match=r"^a\.zip: holds 4 files \(a\.csv, b\.csv, c\.csv, …\); a zip archive is read where one"
    ):
        unpack(tmp_path, "a.zip", zipped(**{f"{letter}.csv": b"" for letter in "abcd"}))
    with pytest.raises(InputError, match="holds no file"):
        unpack(tmp_path, "a.zip", zipped(**hidden))
    with pytest.raises(InputError, match=r"^a\.zip: cannot be read"):
        unpack(tmp_path, "a.zip", zipped(x=CONTENT)[:-12])


def test_unpacking_has_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_FREE", 1000)
    monkeypatch.setattr(streams, "_RATIO", 10)
    for suffix, content in {".gz": gzip.compress(bytes(10**6)), ".zip": zipped(x=bytes(10**6))}.items():
        with pytest.raises(InputError, match=r"unpacks to more than .* GiB.*unpack it yourself"):
            unpack(tmp_path, "x" + suffix, content)
    assert unpack(tmp_path, "x.gz", gzip.compress(bytes(900)))[0] == bytes(900)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^x: cannot be read: No such file"), streams.unpacked(tmp_path / "x", "x"):
        pass


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_blocks_end_where_lines_end(monkeypatch, size, encoding):
    text = "é😀\nshort\n\na line that is longer\nlast"
    monkeypatch.setattr(streams, "_BLOCK", size * 4)
    parts = list(streams.blocks(io.BytesIO(text.encode(encoding))))
    assert b"".join(parts).decode() == text
    assert all(part.endswith(b"\n") for part in parts[:-1])


def test_blocks_worked_on_ahead_come_back_in_order_and_only_some_are(monkeypatch):
    monkeypatch.setattr(streams, "_THREADS", 2)
    taken = []

    def blocks():
        for n in range(20):
            taken.append(n)
            yield b"%d" % n

    for n, (block, made) in enumerate(streams.read_ahead(blocks(), int)):
        assert (block, made) == (b"%d" % n, n)
        assert taken[-1] <= n + 2


def test_what_fails_in_the_work_on_a_block_fails_where_it_is_taken():
    ahead = streams.read_ahead([b"1", b"x", b"3"], int)
    assert next(ahead) == (b"1", 1)
    with pytest.raises(ValueError, match="invalid literal"):
        next(ahead)


def test_a_single_block_needs_no_thread(monkeypatch):
    monkeypatch.setattr(streams, "ThreadPoolExecutor", None)
    assert list(streams.read_ahead([b"1"], int)) == [(b"1", 1)]
    assert list(streams.read_ahead([], int)) == []
