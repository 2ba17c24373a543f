"""How many texts a second `curate embed` encodes, beside a plain ``SentenceTransformer.encode``, and how near its vectors come.

Run it with ``python benchmarks/embedding.py`` (speed and a second run from the cache) or ``--fidelity`` (every backend and
precision that is installed here, and a static encoder, against fp32). Texts are real where ``--data`` has them (Reuters, MATH,
GSM8K, Dolly; else $CURATE_DATA or ../shared/data), generated otherwise. The two take turns on slices of the texts, the order
changing, so that a busy machine slows both; the ratio is of each slice's turns. The promises: at least 1.9 times the texts per
second at a top-10 overlap of 0.99, and a second run from the cache at least 500 times faster than the plain encode.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TEXTS, SLICE, SEED = 10_000, 500, 0
FIDELITY_TEXTS = 2_000
SOURCES = ("r52/r52.parquet", "math/full_7500_5000.parquet", "gsm8k/gsm8k.jsonl.gz", "dolly15k/dolly15k.jsonl.gz")
Encode = Callable[[list[str]], Any]


def texts(folder: Path, n: int) -> tuple[list[str], str]:
    """Return `n` different texts of mixed length in random order, and where they are from."""
    import polars as pl

    rng = random.Random(SEED)
    if not all((folder / source).exists() for source in SOURCES):
        words = [f"{a}{b}" for a in ("ba", "ko", "ri", "tu", "se") for b in ("n", "lo", "ment", "tor", "sh", "ve")]
        made = [" ".join(rng.choices(words, k=min(400, int(rng.lognormvariate(3.9, 0.9)) + 1))) for _ in range(n)]
        return made, "generated texts"
    found = []
    for source in SOURCES:
        if source.endswith(".parquet"):
            column = pl.read_parquet(folder / source, columns=["text"])["text"].to_list()
        else:
            with gzip.open(folder / source, "rt", encoding="utf-8") as lines:
                column = [json.loads(line)["text"] for line in lines]
        distinct = sorted(set(column))
        found += rng.sample(distinct, min(-(-n // len(SOURCES)), len(distinct)))
    rng.shuffle(found)
    return found[:n], "real texts (R52, MATH, GSM8K, Dolly, a quarter each)"


def plain(name: str) -> Encode:
    """What a user would write instead: sentence-transformers, everything as it comes."""
    from sentence_transformers import SentenceTransformer

    from curate import models

    model = SentenceTransformer(str(models.find(name).path))
    return lambda part: model.encode(part, show_progress_bar=False)


def timed(encode: Encode, part: list[str]) -> tuple[Any, float, float]:
    """Return what came, wall seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    found = encode(part)
    return found, time.perf_counter() - wall, time.process_time() - processor


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """Take turns on slices; then fill a cache with our vectors and read them back."""
    import numpy as np

    from curate.vectors import autotune, embed

    data, source = texts(given.data, given.texts)
    ours = embed.load_encoder(given.encoder, precision=given.precision, backend=given.backend, root=given.root)
    runs: dict[str, Encode] = {"plain": plain(given.encoder), "curate": ours.encode}
    for encode in runs.values():
        encode(data[:16])  # loading and exporting is not measured
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    vectors: dict[str, list[Any]] = {name: [] for name in runs}
    for number, start in enumerate(range(0, len(data), SLICE)):
        for name in sorted(runs, reverse=bool(number % 2)):
            found, *took = timed(runs[name], data[start : start + SLICE])
            vectors[name].append(found)
            seconds[name].append((took[0], took[1]))
    reference, found = (np.concatenate(vectors[name]) for name in runs)
    cosine = np.einsum("nd,nd->n", reference, found)
    report: dict[str, Any] = {"texts": len(data), "source": source, "slices": len(seconds["plain"])}
    for position, clock in enumerate(("wall_s", "processor_s")):
        report[clock] = {name: sum(turn[position] for turn in turns) for name, turns in seconds.items()}
        pairs = zip(seconds["plain"], seconds["curate"], strict=True)
        ratios = sorted(theirs[position] / mine[position] for theirs, mine in pairs)
        report[f"{clock} ratio"] = [statistics.median(ratios), ratios[0], ratios[-1]]
    report |= {"cosine": float(cosine.mean()), "least cosine": float(cosine.min())}
    report["top-10 overlap"] = autotune.top_overlap(reference, found)
    report["cached"] = cached(data, ours, found)
    report["cached ratio"] = report["wall_s"]["plain"] / statistics.median(report["cached"])
    return report


def cached(data: list[str], encoder: Any, found: Any) -> list[float]:
    """Return the seconds of reading the vectors of all texts from a cache, nine times; the files were just written."""
    from curate.vectors import embed

    by_text = dict(zip(data, found, strict=True))

    class TeacherInfo:
        name, fingerprint, dim = encoder.name, encoder.fingerprint, encoder.dim

        def encode(self, part: list[str]) -> Any:
            import numpy as np

            return np.stack([by_text[text] for text in part])

    with tempfile.TemporaryDirectory() as root:
        embed.fill_cache(data, encoder=TeacherInfo(), root=root)
        return [timed(lambda part: embed.vectors(part, encoder=encoder, root=root), data)[1] for _ in range(9)]


def fidelity(given: argparse.Namespace) -> dict[str, Any]:
    """Encode the same texts in every way that can run here; fp32 under torch is what the others are held against."""
    import numpy as np

    from curate import models
    from curate.vectors import autotune, backends, embed

    data, source = texts(given.data, min(given.texts, FIDELITY_TEXTS))
    ways: list[tuple[str, dict[str, str]]] = [
        (f"{backend} {precision}", {"backend": backend, "precision": precision}) for backend, precision in backends.installed()
    ]
    rows, reference = [], None
    for name, options in ways:
        encoder = embed.load_encoder(given.encoder, root=given.root, **options)  # type: ignore[arg-type]
        encoder.encode(data[:16])
        found, wall, processor = timed(encoder.encode, data)
        reference = found if reference is None else reference
        cosine = float(np.einsum("nd,nd->n", reference, found).mean())
        rows.append([name, len(data) / wall, len(data) / processor, cosine, autotune.top_overlap(reference, found)])
    if find_spec("model2vec") and find_spec("skeletoken"):
        encoder = embed.load_encoder(f"static:{given.encoder}", root=given.root)
        encoder.encode(data[:16])
        found, wall, processor = timed(encoder.encode, data)
        rows.append(["static (distilled)", len(data) / wall, len(data) / processor, None, autotune.top_overlap(reference, found)])
    return {"texts": len(data), "source": source, "cuda": models.has_cuda(), "ways": rows}


def show(report: dict[str, Any], given: argparse.Namespace) -> None:
    """Print a report in Markdown."""
    print(f"{report['texts']:,} {report['source']}, {given.encoder}\n")
    if "ways" in report:
        print("| | texts per second | per processor second | cosine to fp32 | top-10 overlap |\n| --- | --- | --- | --- | --- |")
        for name, wall, processor, cosine, overlap in report["ways"]:
            print(f"| {name} | {wall:,.0f} | {processor:,.0f} | {'' if cosine is None else f'{cosine:.5f}'} | {overlap:.3f} |")
        return
    print("| | wall s | processor s | texts per second |\n| --- | --- | --- | --- |")
    for name, label in (("plain", "SentenceTransformer.encode"), ("curate", f"curate, {given.backend} {given.precision}")):
        wall, processor = report["wall_s"][name], report["processor_s"][name]
        print(f"| {label} | {wall:.1f} | {processor:.1f} | {report['texts'] / wall:.0f} |")
    for clock in ("wall_s", "processor_s"):
        median, least, most = report[f"{clock} ratio"]
        print(f"\nplain / curate, {clock}, promised at least 1.9: {median:.2f} ({least:.2f} to {most:.2f} of {report['slices']})")
    near = f"cosine {report['cosine']:.5f} (least {report['least cosine']:.5f})"
    print(f"\ntop-10 overlap with plain, promised at least 0.99: {report['top-10 overlap']:.4f}; {near}")
    times = sorted(report["cached"])
    again = f"{statistics.median(times):.3f} s ({times[0]:.3f} to {times[-1]:.3f})"
    print(f"\nfrom the cache: {again}; plain / cached, promised at least 500: {report['cached ratio']:.0f}")


def main() -> None:
    """Run one of the two and print a table in Markdown, or JSON."""
    here = Path(os.environ.get("CURATE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--data", type=Path, default=here)
    parser.add_argument("--fidelity", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--root", help="keeps exported and distilled models; else a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        given.root = given.root or temporary
        report = fidelity(given) if given.fidelity else speed(given)
    if given.json:
        print(json.dumps(report))
        return
    show(report, given)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"\n{machine}; Python {platform.python_version()}, {packages()}")


def packages() -> str:
    """Return the versions of what computes."""
    found = []
    for name in ("torch", "sentence-transformers", "transformers", "onnxruntime", "openvino", "nncf", "model2vec"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    main()
