"""The bytes of one file: unpacked where they are compressed, turned into UTF-8 where a byte order mark says UTF-16, in blocks.

Knows no records. The bound on unpacking keeps a small file from filling the memory.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import polars as pl

from curate.errors import InputError

__all__ = ["COMPRESSED", "Mistake", "blocks", "encoding", "plain_name", "read_ahead", "refuse_or_list", "unpacked"]

_T = TypeVar("_T")

COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".zip")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bz2", b"PK\x03\x04": "zip"}
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_FREE, _RATIO = 1 << 30, 200  # bytes that any file may unpack to, and how many times its size beyond that
_BLOCK = 8 << 20  # bytes
_THREADS = 8  # at most, since each has a block
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # after UTF-32, whose mark begins like it


@dataclass(frozen=True)
class Mistake:
    """A record that cannot be read: its number in the file, from 1, and what is wrong with it."""

    number: int
    message: str


def refuse_or_list(mistakes: Iterable[Mistake], name: str, *, on_error: str) -> tuple[str, ...]:
    """Return ``file:row: why`` of every mistake, in order; with ``on_error="fail"``, raise the first."""
    lines = tuple(f"{name}:{wrong.number}: {wrong.message}" for wrong in sorted(mistakes, key=lambda wrong: wrong.number))
    if lines and on_error == "fail":
        more = f"; {len(lines)} rows in all" if len(lines) > 1 else ""
        raise InputError(f"{lines[0]}{more} (correct the file, or leave such rows out with --on-error skip)")
    return lines


def plain_name(name: str) -> str:
    """Return a file's name without the suffix of a compression."""
    return name[: name.rindex(".")] if PurePosixPath(name).suffix.lower() in COMPRESSED else name


@contextmanager
def unpacked(path: Path, name: str) -> Iterator[tuple[io.BufferedReader, str]]:
    """Open a file; what its first bytes say is compressed is unpacked.

    Args:
        path: of the file.
        name: what messages call it.

    Yields:
        The stream, and the name of what is in it: the file's without the suffix of the compression, or the archive's member's.

    Raises:
        InputError: it cannot be read or unpacked, an archive holds more than one data file, or it unpacks to more than the bound
            (1 GiB, or 200 times its size).
    """
    try:
        with path.open("rb") as file:
            first = file.read(6)
            file.seek(0)
            kind = next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), None)
            if kind is None:
                yield file, plain_name(path.name)
                return
            member = _only_member(zipfile.ZipFile(file), name) if kind == "zip" else plain_name(path.name)
            with _unpacker(kind, file, path, member) as stream:
                yield io.BufferedReader(_Bounded(stream, name, path.stat().st_size), _BLOCK), plain_name(member)
    except _BROKEN as e:
        raise InputError(f"{name}: cannot be read: {getattr(e, 'strerror', None) or str(e) or type(e).__name__}") from e


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the text of a file as UTF-8 in blocks of some MiB that end where lines end, without a byte order mark.

    UTF-16 and UTF-32 are known by their mark. Bytes that are not valid stay as they are in UTF-8 (whoever splits lines says in
    which of them) and become U+FFFD in UTF-16.
    """
    first = file.read(_BLOCK)
    decoder = None if encoding(first) == "utf-8" else codecs.getincrementaldecoder(encoding(first))(errors="replace")
    block = first.removeprefix(codecs.BOM_UTF8)
    before: list[bytes] = []  # a line that is longer than a block comes in pieces
    while block:
        text = decoder.decode(block).encode() if decoder else block
        end = text.rfind(b"\n") + 1
        if end:
            yield b"".join((*before, text[:end]))
            before = [text[end:]] if end < len(text) else []
        else:
            before.append(text)
        block = file.read(_BLOCK)
    rest = b"".join((*before, decoder.decode(b"", final=True).encode() if decoder else b""))
    if rest:
        yield rest


def read_ahead(blocks: Iterable[bytes], work: Callable[[bytes], _T]) -> Iterator[tuple[bytes, _T]]:
    """Yield every block with what the work makes of it, in order; as many are worked on ahead as there are threads.

    A single block is worked on where it is taken, without a thread.
    """
    parts = iter(blocks)
    begin = list(islice(parts, 2))
    if len(begin) < 2:
        yield from ((block, work(block)) for block in begin)
        return
    threads = min(pl.thread_pool_size(), _THREADS)
    ahead: deque[tuple[bytes, Future[_T]]] = deque()
    with ThreadPoolExecutor(threads, "read") as pool:
        for block in chain(begin, parts):
            ahead.append((block, pool.submit(work, block)))
            if len(ahead) > threads:
                first, made = ahead.popleft()
                yield first, made.result()
        while ahead:
            first, made = ahead.popleft()
            yield first, made.result()


def encoding(begin: bytes) -> str:
    """Return the encoding that a byte order mark at the beginning of a file stands for; UTF-8 where there is none."""
    return next((name for mark, name in _MARKS.items() if begin.startswith(mark)), "utf-8")


class _Bounded(io.RawIOBase):
    """A stream that ends in an error where it gives more bytes than the bound."""

    def __init__(self, stream: IO[bytes], name: str, packed: int) -> None:
        self._stream, self._name = stream, name
        self._left = max(_FREE, _RATIO * packed)
        self._bound = self._left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            size = f"{self._bound / (1 << 30):.3g} GiB, {_RATIO} times its size or more"
            raise InputError(f"{self._name}: unpacks to more than {size}; unpack it yourself if that is right")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _unpacker(kind: str, file: IO[bytes], path: Path, member: str) -> IO[bytes]:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if kind == "xz":
        return lzma.LZMAFile(file)
    if kind == "bz2":
        return bz2.BZ2File(file)
    if kind == "zip":
        try:
            return zipfile.ZipFile(file).open(member)
        except (RuntimeError, NotImplementedError) as e:  # a password, or a compression that Python has not
            raise OSError(str(e)) from e
    import pyarrow

    stream: IO[bytes] = pyarrow.input_stream(str(path), compression="zstd")
    return stream


def _only_member(archive: zipfile.ZipFile, name: str) -> str:
    """Return the one data file of an archive; folders, hidden files and what macOS adds do not count."""
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    found = [member for member in names if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(member).parts)]
    if len(found) != 1:
        listed = f"{len(found)} files ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})" if found else "no file"
        raise InputError(f"{name}: holds {listed}; a zip archive is read where one file is in it: unpack it")
    return found[0]
