"""Keeps what scoring has computed so far, losses and outputs, batch by batch, so that a killed run continues where it stopped.

A journal is a file under ``cache/scores``; deleting it costs time and nothing else. Its name is a hash of the student's
weights, adapter and precision; the key of an entry is a hash of the token ids that were read. So whatever shapes an entry
(template, text, truncation, the question or its absence) is in its key. Knows no manifest and no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate import progress
from curate.files import cache_folder, find_root

__all__ = ["Journal", "checkpoint_path", "key_of"]

_FORMAT = 1  # of a line, and of what is computed; raise it to start new journals


class Journal:
    """Entries by key: those of a file, and those that are added to it, a batch at a time.

    A batch is one line with a checksum, on disk before `add` returns; a line that is cut short or damaged is
    ignored. Several processes may add to one file.

    Args:
        path: of the file, which need not be there; None keeps the entries in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._entries: dict[str, Any] = {}
        self._torn = False  # the file ends within a line
        if path is not None and path.exists():
            data = path.read_bytes()
            self._torn = bool(data) and not data.endswith(b"\n")
            for line in data.split(b"\n"):
                self._entries.update(_unpack(line))

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Mapping[str, Any]) -> None:
        """Store a batch. Where the file cannot be written, a note says so once, and the batch is kept in memory.

        Args:
            entries: key → anything that JSON holds.
        """
        self._entries.update(entries)
        if self.path is None or not entries:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            line = (b"\n" if self._torn else b"") + _pack(entries)
            try:
                self._torn = os.write(handle, line) < len(line)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as e:
            progress.note("score", f"cache/scores cannot be written ({e.strerror}): a stopped run would start from the beginning")
            self.path = None


def checkpoint_path(root: str | None, fingerprint: str, dtype: str) -> Path:
    """Return the file of a student's journal.

    Args:
        root: the folder that holds ``cache/``.
        fingerprint: of weights and adapter.
        dtype: of the weights, ``fp32`` or ``bf16``.
    """
    digest = hashlib.blake2b(f"{_FORMAT}\0{fingerprint}\0{dtype}".encode(), digest_size=12).hexdigest()
    return cache_folder(find_root(root)) / "scores" / f"{digest}.jsonl"


def key_of(*parts: Sequence[int]) -> str:
    """Return the key of what was read: a hash of lists of token ids or other whole numbers, and of where each list ends."""
    whole = hashlib.blake2b(digest_size=12)
    for part in parts:
        ids = array("q", part).tobytes()
        whole.update(len(ids).to_bytes(8, "little") + ids)
    return whole.hexdigest()


def _pack(entries: Mapping[str, Any]) -> bytes:
    body = json.dumps(dict(entries), ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _unpack(line: bytes) -> dict[str, Any]:
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return {}
    entries: dict[str, Any] = json.loads(body)
    return entries
