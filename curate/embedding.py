"""Owns texts → vectors: the `Encoder` protocol, the sentence-transformers adapter, the vector cache. Makes no commit.

Every text is encoded once per encoder: vectors live under ``cache/vectors``, keyed by a hash of the text, in a folder
named for everything that shapes them (weights, precision, format of the cache). A shard of the cache is a vector file and
a key file; the key file is written last and marks the shard complete, so what a crash cut short is ignored and encoded
again. Deleting the folder loses nothing but time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from curate import models, progress
from curate.errors import ManifestError, ModelError
from curate.manifest import Manifest, cache_folder, find_root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DEFAULT_ENCODER", "Embedded", "Encoder", "Fake", "SentenceEncoder", "embed", "fill", "load_encoder", "vectors"]

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"

_FORMAT = "v1"  # of the cache; another one gets another folder
_CHUNK = 256  # texts between two counts of progress
_SHARD_ROWS = 16_384  # rows held in memory before a shard is written …
_SHARD_S = 30.0  # … or seconds, so that a stop loses at most that much work
_MANY_SHARDS = 64  # of fewer rows than the next line says; then they are merged into one
_SMALL_SHARD_ROWS = 4_096


class Encoder(Protocol):
    """Anything that turns texts into unit vectors.

    Attributes:
        name: for records and logs; never a local path.
        fingerprint: differs whenever the vectors of a text would, or their length.
    """

    name: str
    fingerprint: str

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 per text, (n, d) float32, in the order of the texts."""
        ...


@dataclass(frozen=True)
class Embedded:
    """What `embed` did.

    Attributes:
        manifest: as it was; embedding makes no commit.
        rows: of the manifest.
        new: distinct texts that were encoded.
        cached: distinct texts whose vector was there already.
        dim: length of a vector.
        encoder: the encoder's name.
    """

    manifest: Manifest
    rows: int
    new: int
    cached: int
    dim: int
    encoder: str


class SentenceEncoder:
    """A sentence-transformers model as an `Encoder`; made by `load_encoder`.

    The model is loaded when the first text is encoded: where every vector is cached, nothing heavy is imported. Texts longer
    than the model's limit (256 tokens for the default) are cut there, as the model was trained.
    """

    def __init__(self, weights: models.Weights, *, precision: str = "fp32", batch_size: int = 32) -> None:
        self.name, self.precision, self.batch_size = weights.label, models.resolve_dtype(precision), batch_size
        self.fingerprint = f"{weights.fingerprint}-{self.precision}"
        self._weights = weights

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._model.get_embedding_dimension())

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 per text, (n, d) float32."""
        found = self._model.encode(list(texts), batch_size=self.batch_size, convert_to_tensor=True, show_progress_bar=False)
        return _unit(found.float().cpu().numpy())  # bf16 vectors are normalised again, in fp32

    @functools.cached_property
    def _model(self) -> Any:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer

        options = {"dtype": models.pick_dtype(self.precision), "use_safetensors": True}
        try:
            with models.quiet():
                return SentenceTransformer(str(self._weights.path), model_kwargs=options)
        except (OSError, ValueError, KeyError, SafetensorError) as e:
            raise ModelError(f"encoder {self.name!r} cannot be loaded: {str(e).strip().splitlines()[0]}") from e


class Fake:
    """A public encoder for tests: hashed character trigrams, so that similar texts are near. Needs no weights.

    Args:
        dim: length of a vector.

    Attributes:
        encoded: how many texts it was asked to encode so far.
    """

    def __init__(self, dim: int = 64) -> None:
        self.name, self.dim, self.encoded = "fake", dim, 0
        self.fingerprint = f"fake-{dim}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 per text, (n, d) float32."""
        import numpy as np
        import xxhash

        found = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            padded = f" {text.casefold()} "
            for start in range(len(padded) - 1):
                hashed = xxhash.xxh3_64_intdigest(padded[start : start + 3].encode())
                found[row, (hashed >> 1) % self.dim] += 1 if hashed & 1 else -1
        self.encoded += len(texts)
        return _unit(found)


def load_encoder(name: str = DEFAULT_ENCODER, *, precision: str = "fp32") -> SentenceEncoder:
    """Find a sentence-transformers model; its weights are loaded when the first text is encoded.

    Args:
        name: a path, a Hub id or ``package:NAME``.
        precision: ``fp32``; ``bf16``, about twice as fast on processors with bf16 arithmetic (cosine to fp32 above 0.999);
            or ``auto``, which takes bf16 where it is fast. fp32 gives the same clusters on every machine.

    Raises:
        ModelError: the weights cannot be found or are not those of an encoder.
    """
    weights = models.find(name)
    if weights.path.is_file():
        raise ModelError(f"encoder {weights.label!r}: {weights.path.name!r} is GGUF; name a folder of safetensors")
    return SentenceEncoder(weights, precision=precision)


def embed(manifest: Manifest, *, encoder: str | Encoder = DEFAULT_ENCODER, precision: str = "fp32") -> Embedded:
    """Embed the prompt of every row into the vector cache; nothing is committed.

    Args:
        manifest: whose rows are embedded.
        encoder: a model's name, or an `Encoder`.
        precision: ``fp32``, ``bf16`` or ``auto``; only for an encoder given by name.

    Raises:
        ModelError: the encoder cannot be loaded.
        ManifestError: the manifest or the cache cannot be read or written.
    """
    chosen = load_encoder(encoder, precision=precision) if isinstance(encoder, str) else encoder
    contents = manifest.rows("content")["content"]
    texts = manifest.contents(contents, columns=["prompt"])["prompt"].fill_null("").unique(maintain_order=True)
    cache = _Cache(chosen, manifest.root)
    new = _fill(cache, texts.to_list())
    return Embedded(manifest, contents.len(), new, texts.len() - new, cache.dim, chosen.name)


def fill(texts: Sequence[str], *, encoder: Encoder, root: str | Path | None = None) -> int:
    """Encode the texts that the cache lacks and keep their vectors; return how many distinct texts were encoded.

    A run that is stopped keeps what it has encoded, and goes on from there.

    Args:
        texts: any number of texts; equal ones are encoded once.
        encoder: whose cache is filled.
        root: the folder that holds ``cache/``.

    Raises:
        ModelError: the encoder gave a vector that is not finite.
        ManifestError: the cache cannot be written.
    """
    return _fill(_Cache(encoder, find_root(root)), list(dict.fromkeys(texts)))


def vectors(
    texts: Sequence[str], *, encoder: str | Encoder = DEFAULT_ENCODER, root: str | Path | None = None
) -> NDArray[np.float32]:
    """Return the vectors of texts, from the cache where they are there; the others are encoded and cached.

    Args:
        texts: any number of texts; equal ones are encoded once. An empty text has a vector like any other.
        encoder: a model's name, or an `Encoder`.
        root: the folder that holds ``cache/``.

    Returns:
        (n, d) float32, rows of length 1, in the order of `texts`.

    Raises:
        ModelError: the encoder cannot be loaded, or gave a vector that is not finite.
        ManifestError: the cache cannot be written.
    """
    chosen = load_encoder(encoder) if isinstance(encoder, str) else encoder
    cache = _Cache(chosen, find_root(root))
    _fill(cache, list(dict.fromkeys(texts)))
    return cache.gather(_keys(texts))


def _fill(cache: _Cache, texts: list[str]) -> int:
    """Encode and store the texts that the cache lacks; return how many."""
    keys = _keys(texts)
    lacking = cache.locate(keys)["shard"].is_null().arg_true()
    missing = [texts[i] for i in lacking]
    if not missing:
        return 0
    # Neighbours of one length share a batch with little padding; the longest first, so that what memory holds shows at once.
    order = sorted(range(len(missing)), key=lambda i: -len(missing[i]))
    writer = _Writer(cache)
    try:
        with progress.step("embed", total=len(missing)) as counter:
            for start in range(0, len(order), _CHUNK):
                chunk = order[start : start + _CHUNK]
                writer.add(keys[lacking[chunk]], _encode(cache.encoder, [missing[i] for i in chunk]))
                counter.advance(len(chunk))
    finally:  # what is encoded is kept, also after Ctrl-C
        writer.flush()
    return len(missing)


def _encode(encoder: Encoder, texts: list[str]) -> NDArray[np.float32]:
    import numpy as np

    found = np.asarray(encoder.encode(texts), dtype=np.float32)
    if found.shape != (len(texts), encoder.dim):
        raise ModelError(f"encoder {encoder.name!r} gave shape {found.shape} for {len(texts)} texts of {encoder.dim} dimensions")
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        text = texts[int(np.argmin(finite))]
        raise ModelError(f"encoder {encoder.name!r} gave a vector that is not finite for {text[:60]!r}; use --precision fp32")
    return found


def _unit(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1; a row of zeros stays one."""
    import numpy as np

    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


def _keys(texts: Sequence[str]) -> pl.DataFrame:
    """Return a 128-bit hash per text as two columns, ``hi`` and ``lo``."""
    import numpy as np
    import xxhash

    digests = b"".join(xxhash.xxh3_128_digest(text.encode()) for text in texts)
    pairs = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    return pl.DataFrame({"hi": pairs[:, 0], "lo": pairs[:, 1]}, schema={"hi": pl.UInt64, "lo": pl.UInt64})


class _Cache:
    """The vectors of one encoder on disk: shards ``NAME.npy`` (n, d) float32 with ``NAME.keys.npy`` (n, 2) uint64."""

    def __init__(self, encoder: Encoder, root: str) -> None:
        self.encoder = encoder
        self.folder = cache_folder(root) / "vectors" / f"{_FORMAT}-{re.sub(r'[^A-Za-z0-9.]+', '-', encoder.fingerprint)}"
        self._shards: list[NDArray[np.float32]] = []
        self._paths: list[Path] = []
        self._keys: list[pl.DataFrame] = []  # one frame per shard; concatenated when asked for
        for mark in sorted(self.folder.glob("*.keys.npy")):
            self._open(mark.with_name(mark.name.removesuffix(".keys.npy") + ".npy"))
        self._merge()

    @property
    def dim(self) -> int:
        """Length of a vector; asks the encoder, which may have to be loaded for it, only where nothing is cached."""
        return int(self._shards[0].shape[1]) if self._shards else self.encoder.dim

    def locate(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Return shard and position of each key, null where it is not there, in the order of `keys`."""
        return keys.join(self._index(), on=["hi", "lo"], how="left", maintain_order="left").select("shard", "position")

    def gather(self, keys: pl.DataFrame) -> NDArray[np.float32]:
        """Return the vectors of keys that are all there, (n, d) float32."""
        import numpy as np

        places = self.locate(keys)
        out = np.empty((keys.height, self.dim), np.float32)
        for (number,), group in places.with_row_index("row").group_by("shard"):
            out[group["row"].to_numpy()] = self._shards[int(number)][group["position"].to_numpy()]
        return out

    def write(self, keys: pl.DataFrame, found: NDArray[np.float32]) -> None:
        """Add one shard; its key file goes last and marks it complete."""
        import numpy as np

        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _save(path, found)
            _save(path.with_suffix(".keys.npy"), np.stack([keys["hi"].to_numpy(), keys["lo"].to_numpy()], axis=1))
        except OSError as e:
            path.unlink(missing_ok=True)
            raise ManifestError(f"the vector cache cannot be written: {e.strerror or e}; free some space under cache/") from e
        self._open(path)

    def _index(self) -> pl.DataFrame:
        """Return hi, lo, shard, position, one row per key."""
        if len(self._keys) != 1:
            empty = pl.DataFrame(schema={"hi": pl.UInt64, "lo": pl.UInt64, "shard": pl.Int32, "position": pl.Int64})
            self._keys = [pl.concat([empty, *self._keys]).unique(["hi", "lo"], keep="first", maintain_order=True)]
        return self._keys[0]

    def _open(self, path: Path) -> None:
        """Open one shard; one that is cut short or damaged is left out, and its texts are encoded again."""
        import numpy as np

        try:
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
            pairs = np.load(path.with_suffix(".keys.npy"), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return
        if pairs.dtype != np.uint64 or shard.dtype != np.float32 or shard.ndim != 2 or len(shard) != len(pairs):
            return
        number = pl.lit(len(self._shards), pl.Int32).alias("shard")
        keys = pl.DataFrame({"hi": pairs[:, 0], "lo": pairs[:, 1]}).with_row_index("position")
        self._keys.append(keys.select("hi", "lo", number, pl.col("position").cast(pl.Int64)))
        self._shards.append(shard)
        self._paths.append(path)

    def _merge(self) -> None:
        """Rewrite small shards as one where there are many; a reader that has the old ones open keeps them."""
        small = [number for number, shard in enumerate(self._shards) if len(shard) < _SMALL_SHARD_ROWS]
        if len(small) <= _MANY_SHARDS:
            return
        keys = self._index().filter(pl.col("shard").is_in(small)).select("hi", "lo")
        self.write(keys, self.gather(keys))
        for path in (self._paths[number] for number in small):
            for file in (path.with_suffix(".keys.npy"), path):
                with contextlib.suppress(OSError):  # another process may have merged them too
                    file.unlink()


class _Writer:
    """Collects encoded chunks and writes them as few shards."""

    def __init__(self, cache: _Cache) -> None:
        self._cache = cache
        self._held: list[tuple[pl.DataFrame, NDArray[np.float32]]] = []
        self._since = time.monotonic()

    def add(self, keys: pl.DataFrame, found: NDArray[np.float32]) -> None:
        """Hold one chunk; write a shard when enough is held, or when the last one was written long ago."""
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
    """Write an array so that it is whole or not there."""
    import numpy as np

    part = path.with_suffix(".part")
    try:
        with part.open("wb") as f:
            np.save(f, array, allow_pickle=False)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
