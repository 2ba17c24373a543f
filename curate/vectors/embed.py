"""Texts become vectors through a cache on disk: `embed`, `vectors`; and `load_encoder` finds an encoder by name. Makes no commit.

Every text is encoded once per encoder. Vectors lie under ``cache/vectors``, in a folder named for everything that shapes them
(weights, prefix, backend, precision, format of the cache); deleting it costs the time to encode again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from curate import models, progress
from curate.defaults import DEFAULT_ENCODER
from curate.errors import InputError, ModelError
from curate.files import cache_folder, find_root
from curate.manifest.chats import conversations
from curate.manifest.manifest import Manifest
from curate.settings import takes
from curate.vectors import autotune, backends, static
from curate.vectors.cache import ShardWriter, VectorCache, hash_texts
from curate.vectors.encoders import Encoder, SentenceEncoder
from curate.vectors.settings import EmbedSettings

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["EmbedResult", "embed", "encoder_of", "fill_cache", "load_encoder", "vectors"]

_FORMAT = "v1"  # of the cache; another one gets another folder
_CHUNK_CHARACTERS = 200_000  # per call of an encoder, and per step of progress: a few seconds on two cores …
_MAX_CHARACTERS = 2_000  # … where a longer text counts as this many, since encoders truncate it
_IN_MEMORY = 0.25  # of the machine's memory: larger results are memory-mapped
_UNKNOWN_MEMORY = 8 << 30


@dataclass(frozen=True)
class EmbedResult:
    """The counts of an `embed`.

    Attributes:
        manifest: as it was; embedding makes no commit.
        rows: of the manifest.
        new: distinct texts that were encoded.
        cached: distinct texts whose vector was in the cache.
        dim: length of a vector.
        encoder: the encoder's name.
        cut: of the new texts, those that were longer than the encoder's limit and were truncated.
        backend: ``torch``, ``onnx`` or ``openvino``; empty for an encoder that has none.
        precision: ``fp32``, ``bf16`` or ``int8``; empty for an encoder that has none.
    """

    manifest: Manifest
    rows: int
    new: int
    cached: int
    dim: int
    encoder: str
    cut: int = 0
    backend: str = ""
    precision: str = ""


def load_encoder(
    name: str | Encoder = DEFAULT_ENCODER,
    *,
    precision: str = "fp32",
    backend: str = "torch",
    prefix: str | None = None,
    texts: Sequence[str] = (),
    root: str | Path | None = None,
) -> Encoder:
    """Find an encoder; its weights are loaded when the first text is encoded.

    Args:
        name: a path, a Hub id or ``package:NAME`` of a sentence-transformers or model2vec model; ``static:NAME`` for a
            static encoder, which is distilled from an ordinary one where NAME is not static itself. An `Encoder` is returned
            as it is, and the other arguments are ignored.
        precision: ``fp32``, ``bf16``, ``int8`` or ``auto``. fp32 gives the same clusters on every machine; how near the others
            come is in docs/selection.md. ``auto`` takes bf16 where the processor has it.
        backend: ``torch``, ``onnx``, ``openvino`` or ``auto``. With ``auto`` the backend, and the precision where that is
            ``auto`` too, is the fastest whose top-10 overlap with fp32 is at least 0.99, measured once per machine where
            there are 10,000 texts or more; for fewer it is torch.
        prefix: put before every text, such as ``"query: "`` for E5; None is the model's own default prompt.
        texts: that will be encoded, for ``auto`` to measure on.
        root: the folder that holds ``cache/``.

    Raises:
        InputError: an unknown backend or precision, or one that the other or the encoder does not have.
        MissingPackageError: an optional package is not installed.
        ModelError: the weights cannot be found or are not those of an encoder.
    """
    if not isinstance(name, str):
        return name
    backends.check(backend, precision)
    weights = models.find(name.removeprefix(static.PREFIX))
    if weights.path.is_file():
        raise ModelError(f"encoder {weights.label!r}: {weights.path.name!r} is GGUF; name a folder of safetensors")
    if name.startswith(static.PREFIX) or static.is_static(weights):
        if (precision, backend) not in (("fp32", "torch"), ("auto", "auto"), ("auto", "torch"), ("fp32", "auto")) or prefix:
            raise InputError(f"encoder {name!r} is static: it has no --precision, --backend or --prefix; leave them out")
        return static.StaticEncoder(weights, root=root)

    def make(backend: str, precision: str) -> SentenceEncoder:
        return SentenceEncoder(weights, precision=precision, backend=backend, prefix=prefix, root=root)

    if backend == backends.AUTO:
        chosen = _autotuned(precision, make, texts, cache_folder(find_root(root)) / "probes")
        backend, precision = chosen or ("torch", precision)
    if precision == backends.AUTO:
        precision = models.resolve_dtype(precision)
        precision = precision if precision in backends.BACKENDS[backend] else "fp32"
        progress.note("embed", f"auto: {backend} {precision}, by what the processor has")
    return make(backend, precision)


def encoder_of(
    manifest: Manifest,
    encoder: str | Encoder | None = None,
    *,
    precision: str | None = None,
    backend: str | None = None,
    prefix: str | None = None,
) -> Encoder:
    """Find the encoder of a manifest's vectors: by default that of its clusters, whose vectors are cached.

    Without clusters, or where their encoder was a path or an object that its name does not find, it is the default encoder.

    Args:
        manifest: the version whose clusters count.
        encoder, precision, backend, prefix: as for `load_encoder`; None for that of the clusters.

    Raises:
        InputError: an unknown backend or precision, or one that the other or the encoder does not have.
        ModelError: the weights cannot be found.
    """
    wanted = {"precision": precision, "backend": backend, "prefix": prefix}
    given = {key: value for key, value in wanted.items() if value is not None}
    if encoder is not None:
        return load_encoder(encoder, root=manifest.root, **given)
    clusterings = (commit.parameters for commit in reversed(manifest.lineage()) if commit.verb == "cluster")
    if made := next((parameters for parameters in clusterings if "encoder" in parameters), None):
        options = {key: made[key] for key in wanted} | given
        try:
            return load_encoder(made["encoder"], root=manifest.root, **options)
        except ModelError:
            note = f"the encoder of the clusters, {made['encoder']!r}, is not found by that name: {DEFAULT_ENCODER} is used"
            progress.note("embed", f"{note}; name another with --encoder")
    return load_encoder(root=manifest.root, **given)


@takes(EmbedSettings)
def embed(manifest: Manifest, settings: EmbedSettings) -> EmbedResult:
    """Embed the prompt of every row, of a chat with the turns before it, into the vector cache; nothing is committed.

    Args:
        manifest: whose rows are embedded.

    Raises:
        InputError: an unknown backend or precision, or one that the other or the encoder does not have.
        MissingPackageError: an optional package is not installed.
        ModelError: the encoder cannot be loaded.
        ManifestError: the manifest or the cache cannot be read or written.
    """
    contents = manifest.rows("content")["content"]
    texts = conversations(manifest.contents(contents, columns=["prompt", "messages"])).unique(maintain_order=True).to_list()
    chosen = load_encoder(
        settings.encoder,
        precision=settings.precision,
        backend=settings.backend,
        prefix=settings.prefix,
        texts=texts,
        root=manifest.root,
    )
    cache = _open(chosen, manifest.root)
    before = _cut(chosen)
    new = _fill(cache, chosen, texts)
    how = [str(getattr(chosen, attribute, "")) for attribute in ("backend", "precision")]
    cut = _cut(chosen) - before
    return EmbedResult(manifest, contents.len(), new, len(texts) - new, cache.dim, chosen.name, cut, *how)


def fill_cache(texts: Sequence[str], *, encoder: Encoder, root: str | Path | None = None) -> int:
    """Encode the texts that the cache lacks and store their vectors; return how many distinct texts were encoded.

    A stopped run keeps what it has encoded, and the next call continues there.

    Args:
        texts: any number of texts; equal ones are encoded once.
        encoder: whose cache is filled.
        root: the folder that holds ``cache/``.

    Raises:
        ModelError: the encoder gave a vector that is not finite.
        ManifestError: the cache cannot be written.
    """
    return _fill(_open(encoder, find_root(root)), encoder, list(dict.fromkeys(texts)))


def vectors(
    texts: Sequence[str],
    *,
    encoder: str | Encoder = DEFAULT_ENCODER,
    root: str | Path | None = None,
    memory_bytes: int | None = None,
) -> NDArray[np.float32]:
    """Return the vectors of texts from the cache; those that it lacks are encoded and cached.

    Args:
        texts: any number of texts; equal ones are encoded once. An empty text has a vector like any other.
        encoder: a model's name, or an `Encoder`.
        root: the folder that holds ``cache/``.
        memory_bytes: of vectors held in memory, at most; a larger result is memory-mapped from a file under ``cache/`` that
            is removed with it. A quarter of the machine's memory unless given.

    Returns:
        (n, d) float32, rows of length 1, in the order of `texts`.

    Raises:
        ModelError: the encoder cannot be loaded, or gave a vector that is not finite.
        ManifestError: the cache cannot be written.
    """
    chosen = load_encoder(encoder, texts=texts, root=root)
    cache = _open(chosen, find_root(root))
    keys = hash_texts(texts)
    if cache.locate(keys)["shard"].has_nulls():
        _fill(cache, chosen, list(dict.fromkeys(texts)))
    return cache.gather(keys, memory_bytes=_memory() * _IN_MEMORY if memory_bytes is None else memory_bytes)


def _autotuned(
    precision: str, make: Callable[[str, str], SentenceEncoder], texts: Sequence[str], folder: Path
) -> tuple[str, str] | None:
    """Return the backend and precision that measure best, now or before; None where nothing was measured."""
    candidates = [pair for pair in backends.installed() if precision in (pair[1], backends.AUTO)]
    fingerprint = f"{make('torch', 'fp32').fingerprint} {candidates}"
    found, since = autotune.stored_choice(folder, fingerprint), "measured before"
    if found is None and len(texts) >= autotune.MIN_TEXTS:
        found, since = autotune.choose(candidates, make, texts, folder=folder, fingerprint=fingerprint), "measured now"
    if found is None:
        return next((pair for pair in candidates if pair[1] == precision), None)
    rate = f"{found.texts_per_s:,.0f} texts a second, top-10 overlap {found.overlap:.3f}"
    progress.note("embed", f"auto: {found.backend} {found.precision} ({rate}; {since})")
    return found.backend, found.precision


def _open(encoder: Encoder, root: str) -> VectorCache:
    folder = cache_folder(root) / "vectors" / f"{_FORMAT}-{re.sub(r'[^A-Za-z0-9.]+', '-', encoder.fingerprint)}"
    return VectorCache(folder, lambda: encoder.dim)


def _fill(cache: VectorCache, encoder: Encoder, texts: Sequence[str]) -> int:
    """Encode and store the texts, all different, that the cache lacks; return how many."""
    keys = hash_texts(texts)
    missing = cache.locate(keys)["shard"].is_null().arg_true().to_numpy()
    if not len(missing):
        return 0
    before, writer = _cut(encoder), ShardWriter(cache)
    try:
        with progress.step("embed", total=len(missing)) as counter:
            for chunk in _chunks(texts, missing, keys):
                writer.add(keys[chunk], _encode(encoder, [texts[i] for i in chunk]))
                counter.advance(len(chunk))
    finally:  # vectors are stored after Ctrl-C, too
        writer.flush()
    if cut := _cut(encoder) - before:
        limit = getattr(encoder, "limit", None)
        progress.note(
            "embed", f"{cut:,} of {len(missing):,} texts are longer than the encoder's {limit} tokens and were cut there"
        )
    return len(missing)


def _chunks(texts: Sequence[str], missing: NDArray[np.uint32], keys: pl.DataFrame) -> Iterator[NDArray[np.uint32]]:
    """Yield positions of texts, the longest first: texts of like length share a batch, and memory peaks at the start.

    Texts of one length are ordered by their hashes, so that batches are the same for any order of the texts.
    """
    import numpy as np

    lengths = np.fromiter((len(texts[i]) for i in missing), np.int64, len(missing))
    part = keys[missing]
    order = np.lexsort((part["lo"].to_numpy(), part["hi"].to_numpy(), -lengths))
    size = np.minimum(lengths[order], _MAX_CHARACTERS) + 1
    number = np.cumsum(size) // _CHUNK_CHARACTERS
    yield from np.split(missing[order], np.flatnonzero(np.diff(number)) + 1)


def _encode(encoder: Encoder, texts: list[str]) -> NDArray[np.float32]:
    import numpy as np

    found = np.asarray(encoder.encode(texts), dtype=np.float32)
    if found.shape != (len(texts), encoder.dim):
        raise ModelError(f"encoder {encoder.name!r} gave shape {found.shape} for {len(texts)} texts of {encoder.dim} dimensions")
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        text = texts[int(np.argmin(finite))]
        fp32 = getattr(encoder, "precision", "fp32") == "fp32"
        step = "take another encoder" if fp32 else "use --precision fp32"
        raise ModelError(f"encoder {encoder.name!r} gave a vector that is not finite for {text[:60]!r}; {step}")
    return found


def _cut(encoder: Encoder) -> int:
    """Return how many texts the encoder has cut at its limit so far; 0 for one that does not count them."""
    return int(getattr(encoder, "cut", 0))


def _memory() -> int:
    """Return the machine's memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return _UNKNOWN_MEMORY
