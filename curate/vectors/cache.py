"""The vector cache on disk: vectors in shards, found by a hash of their text. Encodes nothing, knows no manifest.

A cache is a folder; its caller names it for everything that shapes the vectors. A shard is a vector file ``NAME.npy`` (n, d)
float32 and a key file ``NAME.keys.npy`` (n, 2) uint64, which is written last and marks the shard complete: a shard that is cut
short, or whose files do not fit together, is ignored. Files are memory-mapped, so that a cache may be larger than memory.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from curate.errors import ManifestError
from curate.files import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ShardWriter", "VectorCache", "hash_texts"]

_SHARD_ROWS = 16_384  # rows held in memory before a shard is written …
_SHARD_S = 30.0  # … or seconds, so that a stop loses at most that much work
_MANY_SHARDS = 64  # of fewer rows than the next line says; then they are merged into one
_SMALL_SHARD_ROWS = 4_096
_BLOCK = 65_536  # rows that are gathered at a time
_OPEN_SHARDS = 256  # large ones that are mapped at once: a process may have few files open

_KEYS = {"hi": pl.UInt64, "lo": pl.UInt64}


def hash_texts(texts: Sequence[str]) -> pl.DataFrame:
    """Return a 128-bit hash per text (XXH3) as two columns, ``hi`` and ``lo``."""
    import numpy as np
    import xxhash

    digests = b"".join(xxhash.xxh3_128_digest(text.encode()) for text in texts)
    pairs = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    return pl.DataFrame({"hi": pairs[:, 0], "lo": pairs[:, 1]}, schema=_KEYS)


class VectorCache:
    """The vectors of one encoder on disk.

    Args:
        folder: of the shards; it need not exist.
        load_dim: returns the length of a vector; called only where nothing is cached, since it may load an encoder.
    """

    def __init__(self, folder: Path, load_dim: Callable[[], int]) -> None:
        self.folder, self._load_dim = folder, load_dim
        self._dim: int | None = None
        self._paths: list[Path] = []
        self._small: dict[int, NDArray[np.float32]] = {}  # kept open: another process may merge and remove their files
        self._keys: list[pl.DataFrame] = []  # one frame per shard; concatenated at the first look-up
        for mark in sorted(self.folder.glob("*.keys.npy")):
            self._open(mark.with_name(mark.name.removesuffix(".keys.npy") + ".npy"))
        self._merge()

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._load_dim() if self._dim is None else self._dim

    def locate(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Return shard and position of each key, null where the cache lacks it, in the order of `keys`."""
        return keys.join(self._index(), on=["hi", "lo"], how="left", maintain_order="left").select("shard", "position")

    def gather(self, keys: pl.DataFrame, *, memory_bytes: float = float("inf")) -> NDArray[np.float32]:
        """Return the vectors of keys, (n, d) float32; every key must be in the cache.

        A result of more than `memory_bytes` is memory-mapped from a file in the cache's folder that is removed with the array.
        """
        import numpy as np

        located = self.locate(keys)
        shape = (keys.height, self.dim)
        out = np.empty(shape, np.float32) if 4 * shape[0] * shape[1] <= memory_bytes else self._mapped(shape)
        opened = functools.lru_cache(_OPEN_SHARDS)(self._shard)
        for start in range(0, located.height, _BLOCK):
            block = located.slice(start, _BLOCK).with_row_index("row", offset=start)
            for (number,), group in block.group_by("shard"):
                out[group["row"].to_numpy()] = opened(int(number))[group["position"].to_numpy()]
        return out

    def write(self, keys: pl.DataFrame, found: NDArray[np.float32]) -> None:
        """Add one shard; its key file is written last and marks it complete.

        Raises:
            ManifestError: the cache cannot be written.
        """
        import numpy as np

        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _save(path, found)
            _save(path.with_suffix(".keys.npy"), np.stack([keys["hi"].to_numpy(), keys["lo"].to_numpy()], axis=1))
        except OSError as e:
            path.unlink(missing_ok=True)
            raise _write_error(e) from e
        self._open(path)

    def _mapped(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        import numpy as np

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as f:  # the map outlives the file's name, and frees the disk space
                if hasattr(os, "posix_fallocate"):  # else a full disk would kill the process at a write
                    os.posix_fallocate(f.fileno(), 0, 4 * shape[0] * shape[1])
                return np.memmap(f, np.float32, "w+", shape=shape)
        except OSError as e:
            raise _write_error(e) from e

    def _shard(self, number: int) -> NDArray[np.float32]:
        import numpy as np

        small = self._small.get(number)
        return np.load(self._paths[number], mmap_mode="r", allow_pickle=False) if small is None else small

    def _index(self) -> pl.DataFrame:
        """Return hi, lo, shard, position, one row per key."""
        if len(self._keys) != 1:
            empty = pl.DataFrame(schema={**_KEYS, "shard": pl.Int32, "position": pl.Int64})
            self._keys = [pl.concat([empty, *self._keys]).unique(["hi", "lo"], keep="first", maintain_order=True)]
        return self._keys[0]

    def _open(self, path: Path) -> None:
        """Add one shard to the index; one that is cut short or damaged is ignored, and its texts are encoded again."""
        import numpy as np

        try:
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
            pairs = np.load(path.with_suffix(".keys.npy"), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return
        if pairs.dtype != np.uint64 or shard.dtype != np.float32 or shard.ndim != 2 or pairs.shape != (len(shard), 2):
            return
        if self._dim not in (None, shard.shape[1]):
            return
        number = len(self._paths)
        self._dim = int(shard.shape[1])
        self._paths.append(path)
        if len(shard) < _SMALL_SHARD_ROWS:
            self._small[number] = shard
        keys = pl.DataFrame({"hi": pairs[:, 0], "lo": pairs[:, 1]}).with_row_index("position")
        location = [pl.lit(number, pl.Int32).alias("shard"), pl.col("position").cast(pl.Int64)]
        self._keys.append(keys.select("hi", "lo", *location))

    def _merge(self) -> None:
        """Merge small shards into one where there are many; a reader that has the old ones open keeps them."""
        small = list(self._small)
        if len(small) <= _MANY_SHARDS:
            return
        keys = self._index().filter(pl.col("shard").is_in(small)).select("hi", "lo")
        self.write(keys, self.gather(keys))
        for path in (self._paths[number] for number in small):
            for file in (path.with_suffix(".keys.npy"), path):
                with contextlib.suppress(OSError):  # another process may have merged them too
                    file.unlink()


class ShardWriter:
    """Collects encoded chunks and writes them as few shards.

    Args:
        cache: to write to.
    """

    def __init__(self, cache: VectorCache) -> None:
        self._cache = cache
        self._held: list[tuple[pl.DataFrame, NDArray[np.float32]]] = []
        self._since = time.monotonic()

    def add(self, keys: pl.DataFrame, found: NDArray[np.float32]) -> None:
        """Hold one chunk; write a shard when enough rows are held, or 30 seconds after the last one."""
        self._held.append((keys, found))
        if sum(k.height for k, _ in self._held) >= _SHARD_ROWS or time.monotonic() - self._since > _SHARD_S:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        import numpy as np

        if self._held:
            self._cache.write(pl.concat([k for k, _ in self._held]), np.concatenate([v for _, v in self._held]))
        self._held, self._since = [], time.monotonic()


def _save(path: Path, array: NDArray[Any]) -> None:
    import numpy as np

    write_whole(path, lambda part: np.save(part, array, allow_pickle=False), sync=True)


def _write_error(error: OSError) -> ManifestError:
    return ManifestError(f"the vector cache cannot be written: {error.strerror or error}; free some space under cache/")
