"""Chooses for ``auto`` the fastest backend and precision on this machine that keep the neighbours of fp32.

They are measured on a sample of the user's own texts, once per encoder and machine; the result is stored under
``cache/probes``. Loads no model: the caller makes the encoders.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from curate import progress
from curate.errors import ModelError
from curate.files import write_whole
from curate.vectors.encoders import Encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MIN_OVERLAP", "MIN_TEXTS", "Measurement", "choose", "stored_choice", "top_overlap"]

MIN_OVERLAP = 0.99  # of the 10 nearest texts, with fp32; below it clusters and near-duplicates begin to differ
MIN_TEXTS = 10_000  # to encode; for fewer, measuring takes longer than it saves
_SAMPLE = 512
_NEAREST = 10
_LIBRARIES = ("torch", "onnxruntime", "openvino", "nncf")  # whose versions change what is fast


@dataclass(frozen=True)
class Measurement:
    """One backend at one precision on the sample.

    Attributes:
        backend: its name.
        precision: its name.
        texts_per_s: texts encoded per second, the better of two runs.
        cosine: mean cosine with fp32.
        overlap: share of the 10 nearest texts of fp32 that are found, 0 to 1.
    """

    backend: str
    precision: str
    texts_per_s: float
    cosine: float
    overlap: float


def stored_choice(folder: Path, fingerprint: str) -> Measurement | None:
    """Return the choice that was stored for this encoder and machine, or None.

    Args:
        folder: ``cache/probes``.
        fingerprint: of the encoder and the candidates.
    """
    try:
        return Measurement(**json.loads(_file(folder, fingerprint).read_text(encoding="utf-8"))["chosen"])
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: measured again
        return None


def choose(
    candidates: Iterable[tuple[str, str]],
    make: Callable[[str, str], Encoder],
    texts: Sequence[str],
    *,
    folder: Path,
    fingerprint: str,
) -> Measurement:
    """Measure every candidate on a sample of the texts and return the fastest whose top-10 overlap is at least 0.99.

    Where none reaches it, the one with the largest overlap is returned.

    Args:
        candidates: (backend, precision) that can run here.
        make: returns the encoder for a backend and a precision.
        texts: at least two; a sample is drawn from them.
        folder: ``cache/probes``.
        fingerprint: of the encoder and the candidates.

    Raises:
        ModelError: no candidate can encode.
    """
    import numpy as np

    drawn = np.random.default_rng(0).choice(len(texts), min(_SAMPLE, len(texts)), replace=False)
    sample = [texts[i] for i in drawn]
    pairs = [pair for pair in candidates if pair != ("torch", "fp32")]
    progress.note(
        "embed", f"auto: measuring {len(pairs) + 1} backends and precisions on {len(sample)} of the texts, once for this machine"
    )
    reference, seconds = _timed(make("torch", "fp32"), sample)
    found = [Measurement("torch", "fp32", len(sample) / seconds, 1.0, 1.0)]
    for backend, precision in pairs:
        try:
            vectors, seconds = _timed(make(backend, precision), sample)
        except ModelError as e:
            progress.note("embed", f"auto: left out {backend} {precision}: {e}")
            continue
        cosine = float(np.einsum("nd,nd->n", reference, vectors).mean())
        found.append(Measurement(backend, precision, len(sample) / seconds, cosine, top_overlap(reference, vectors)))
    allowed = [one for one in found if (one.backend, one.precision) in set(candidates)]
    if not allowed:
        raise ModelError("auto: none of the backends can run this encoder; use --backend torch --precision fp32")
    good = [one for one in allowed if one.overlap >= MIN_OVERLAP]
    chosen = max(good, key=lambda one: one.texts_per_s) if good else max(allowed, key=lambda one: one.overlap)
    _store(_file(folder, fingerprint), chosen, found)
    return chosen


def top_overlap(reference: NDArray[np.float32], found: NDArray[np.float32], k: int = _NEAREST) -> float:
    """Return the mean share of each row's k nearest other rows that two sets of vectors agree on, 0 to 1.

    Args:
        reference: (n, d) float32 unit rows.
        found: (n, e) float32 unit rows of the same texts.
        k: neighbours; n - 1 where there are fewer.
    """
    import numpy as np

    n, k = len(reference), min(k, len(reference) - 1)
    if k < 1:
        return 1.0
    best = []
    for vectors in (reference, found):
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, -np.inf)
        best.append(np.argpartition(-similarity, k - 1, axis=1)[:, :k])
    both = [len(set(a) & set(b)) for a, b in zip(best[0].tolist(), best[1].tolist(), strict=True)]
    return sum(both) / (n * k)


def _timed(encoder: Encoder, sample: list[str]) -> tuple[NDArray[np.float32], float]:
    """Return vectors and the seconds of the better of two runs, after the model is loaded and exported."""
    encoder.encode(sample[:8])
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        vectors = encoder.encode(sample)
        seconds.append(time.perf_counter() - start)
    return vectors, min(seconds)


def _file(folder: Path, fingerprint: str) -> Path:
    import xxhash

    machine = [platform.machine(), _processor(), str(os.cpu_count()), os.environ.get("OMP_NUM_THREADS", "")]
    key = "\0".join([fingerprint, *machine, *(f"{name} {_version(name)}" for name in _LIBRARIES)])
    return folder / f"{xxhash.xxh3_64_hexdigest(key.encode())}.json"


def _processor() -> str:
    """Return the processor's name and whether an NVIDIA driver is there, without loading torch."""
    cards = Path("/proc/driver/nvidia/version").exists()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        name = platform.processor()
    return f"{name} {cards} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _store(file: Path, chosen: Measurement, found: list[Measurement]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"chosen": asdict(chosen), "measured": [asdict(one) for one in found]}, indent=1)
    write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
