"""How long choosing rows takes, and how much memory, beside what a user would pick instead.

    python benchmarks/choosing.py representative      1,000,000 rows in 50 domains: clusters, then a tenth of each domain
    python benchmarks/choosing.py facility-location   20,000 rows, choose 1,000
    python benchmarks/choosing.py million             1,000,000 rows in one domain, facility location chooses 10,000
    python benchmarks/choosing.py duplicates          pairs of cosine 0.95 and more among 130,000 vectors

Vectors are synthetic: 384 dimensions, length 1, around centres, some of them nearly equal; they lie in a file that every run
maps into memory. Each run is a process of its own and the contestants take turns; peak memory is that of the process, mapped
pages included. apricot-select and semhash must be importable by ``--peers PYTHON``, an interpreter of another environment.

The promises: `representative` within 60 s, 1.5 times the vectors and 1.2 times FAISS alone; `facility-location` at least 5 times
faster than apricot-select in a tenth of its memory, the objective within 1%; `duplicates` at least 4 times faster than semhash,
with the exact pairs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curate.selection.selectors import choose

SIZE, DOMAINS, SEED, THRESHOLD = 384, 50, 0, 0.95
BLOCK = 50_000


def make(file: Path, rows: int, *, centres: int) -> None:
    """Write unit vectors around random centres, the size of whose groups falls like 1/rank; 2% are near copies of others."""
    rng = np.random.default_rng(SEED)
    middle = rng.normal(size=(centres, SIZE)).astype(np.float32)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    chances = 1 / np.arange(1, centres + 1)
    out = np.lib.format.open_memmap(file, "w+", np.float32, (rows, SIZE))
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        part = middle[rng.choice(centres, n, p=chances / chances.sum())] + rng.normal(scale=0.05, size=(n, SIZE)).astype(
            np.float32
        )
        copies = rng.integers(0, n, n // 50)
        part[copies] = part[rng.integers(0, n, len(copies))] + rng.normal(scale=0.01, size=(len(copies), SIZE)).astype(np.float32)
        out[start : start + n] = part / np.linalg.norm(part, axis=1, keepdims=True)
    out.flush()


def domains(rows: int) -> list[slice]:
    """Return where each domain lies: a long tail of 50, the largest first."""
    chances = 1 / np.arange(1, DOMAINS + 1)
    ends = np.rint(np.cumsum(chances) / chances.sum() * rows).astype(int)
    return [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def representative_curate(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Ours: k-means in each domain, then the selector."""
    import polars as pl

    from curate.vectors import cluster, neighbors

    digest, kept, cosines = hashlib.blake2b(digest_size=8), 0, 0.0
    for number, part in enumerate(domains(len(vectors))):
        found = vectors[part]
        made = neighbors.kmeans(found, cluster.default_clusters(len(found)))
        ids = pl.format("{}", pl.int_range(part.start, part.stop)).str.pad_start(8, "0")
        pool = pl.select(ids.alias("id")).with_columns(cluster=pl.Series(made.labels), centrality=pl.Series(made.similarity))
        chosen = choose(pool, selector="representative", n=len(found) // 10, domain=str(number)).kept
        digest.update("".join(chosen["id"]).encode())
        kept, cosines = kept + chosen.height, cosines + float(made.similarity.sum(dtype=np.float64))
    return {"kept": kept, "rows": digest.hexdigest(), "mean cosine to the centre": cosines / len(vectors)}


def representative_faiss(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """FAISS alone: the same k-means, then the nearest centre of every row."""
    import faiss

    from curate.vectors import cluster

    cosines = 0.0
    for part in domains(len(vectors)):
        found = np.ascontiguousarray(vectors[part])
        options = {"niter": 20, "seed": 0, "spherical": True, "min_points_per_centroid": 1}
        search = faiss.Kmeans(SIZE, cluster.default_clusters(len(found)), **options)
        search.train(found)
        cosines += float(search.index.search(found, 1)[0].sum(dtype=np.float64))
    return {"mean cosine to the centre": cosines / len(vectors)}


def representative_sklearn(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """scikit-learn: MiniBatchKMeans with its defaults, then the nearest centre of every row."""
    from sklearn.cluster import MiniBatchKMeans

    from curate.vectors import cluster

    cosines = 0.0
    for part in domains(len(vectors)):
        found = np.asarray(vectors[part])
        made = MiniBatchKMeans(cluster.default_clusters(len(found)), random_state=0, n_init=1).fit(found)
        centres = made.cluster_centers_ / np.linalg.norm(made.cluster_centers_, axis=1, keepdims=True)
        labels = made.predict(found)
        for start in range(0, len(found), BLOCK):
            rows = found[start : start + BLOCK]
            cosines += float(np.einsum("nd,nd->", rows, centres[labels[start : start + BLOCK]]))
    return {"mean cosine to the centre": cosines / len(vectors)}


def facility_curate(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Ours: lazy greedy on the graph of nearest rows."""
    import polars as pl

    from curate import progress

    notes: list[str] = []
    pool = pl.DataFrame({"id": [f"{row:07}" for row in range(len(vectors))]})
    with progress.listen(lambda event: notes.append(event.message) if event.message else None):
        made = choose(pool, selector="facility_location", n=given.choose, vectors=lambda ids: vectors)
    return {"chosen": made.kept["id"].cast(pl.Int64).to_list(), "notes": notes}


def facility_apricot(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """apricot-select, lazy greedy on the full matrix of the same similarities."""
    from apricot import FacilityLocationSelection

    alike = np.maximum(vectors @ vectors.T, 0).astype(np.float64)
    made = FacilityLocationSelection(given.choose, metric="precomputed", optimizer="lazy").fit(alike)
    return {"chosen": [int(row) for row in made.ranking]}


def facility_random(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """A draw, to see what the objective of 1% means."""
    return {"chosen": np.random.default_rng(SEED).permutation(len(vectors))[: given.choose].tolist()}


def duplicates_curate(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Ours."""
    from curate.vectors import neighbors

    query, position, _ = neighbors.pairs_within(vectors, vectors, THRESHOLD)
    return pairs(query, position, given)


def duplicates_faiss(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """FAISS alone: a scan of every row for every row."""
    import faiss

    index = faiss.IndexFlatIP(SIZE)
    index.add(np.ascontiguousarray(vectors))
    limits, _, position = index.range_search(np.ascontiguousarray(vectors), THRESHOLD - 1e-6)
    return pairs(np.repeat(np.arange(len(vectors)), np.diff(limits.astype(np.int64))), position, given)


def duplicates_semhash(vectors: Any, given: argparse.Namespace) -> dict[str, Any]:
    """semhash: its index of the vectors, then every group of alike rows."""
    from semhash import SemHash

    hashed = SemHash.from_embeddings(np.ascontiguousarray(vectors), [f"{row:07}" for row in range(len(vectors))], model=None)
    found = hashed.index.query_threshold(hashed.index.vectors, threshold=THRESHOLD)
    query = np.repeat(np.arange(len(vectors)), [len(rows) for rows, _ in found])
    return pairs(query, np.concatenate([rows for rows, _ in found]), given)


def pairs(query: Any, position: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Write each pair of different rows once, the lower one first, for comparison; return how many there are."""
    low, high = np.minimum(query, position).astype(np.int64), np.maximum(query, position).astype(np.int64)
    codes = np.unique((low * 2**32 + high)[low < high])
    np.save(given.pairs, codes)
    return {"pairs": len(codes)}


RUNS: dict[str, dict[str, Callable[[Any, argparse.Namespace], dict[str, Any]]]] = {
    "representative": {
        "curate": representative_curate,
        "faiss": representative_faiss,
        "scikit-learn": representative_sklearn,
    },
    "facility-location": {"curate": facility_curate, "apricot": facility_apricot, "random": facility_random},
    "million": {"curate": facility_curate},
    "duplicates": {"curate": duplicates_curate, "faiss": duplicates_faiss, "semhash": duplicates_semhash},
}
ROWS = {"representative": 1_000_000, "facility-location": 20_000, "million": 1_000_000, "duplicates": 130_000}
CHOOSE = {"facility-location": 1_000, "million": 10_000}
TURNS = {"representative": 3, "facility-location": 3, "million": 1, "duplicates": 1}
PEERS = {"apricot", "semhash"}  # these need another environment


def run(given: argparse.Namespace) -> None:
    """Inside a process of its own: time the work, not the imports."""
    import faiss  # noqa: F401 - before the clock starts
    import polars  # noqa: F401

    import curate.selection.selectors  # noqa: F401

    if given.run == "scikit-learn":
        import sklearn.cluster  # noqa: F401
    elif given.run == "apricot":
        import apricot  # noqa: F401
    elif given.run == "semhash":
        import semhash  # noqa: F401
    vectors = np.load(given.file, mmap_mode="r")
    wall, processor = time.perf_counter(), time.process_time()
    found = RUNS[given.task][given.run](vectors, given)
    seconds = {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}
    print(json.dumps({**seconds, "peak_mib": peak_mib(), **found}))


def peak_mib() -> float:
    """Return the most memory that this process ever held, mapped pages included."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def call(name: str, file: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run one contestant in a process of its own."""
    python = given.peers if name in PEERS else sys.executable
    command = [python, __file__, given.task, "--run", name, "--file", str(file), "--choose", str(given.choose or 0)]
    command += ["--pairs", str(file.with_name(f"{name}.pairs.npy"))]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONPATH": root})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def objective(vectors: Any, chosen: list[int]) -> float:
    """Return Σᵢ maxⱼ s(i, j) over all rows, compared in full."""
    rows = np.asarray(vectors[np.sort(chosen)]).T
    blocks = (vectors[start : start + 2_000] @ rows for start in range(0, len(vectors), 2_000))
    return sum(float(np.maximum(block.max(axis=1), 0).sum(dtype=np.float64)) for block in blocks)


def judge(task: str, turn: dict[str, dict[str, Any]], file: Path) -> list[str]:
    """Say whether the contestants did the same work: objectives, pairs."""
    vectors = np.load(file, mmap_mode="r")
    if task == "facility-location":
        values = {name: objective(vectors, found["chosen"]) for name, found in turn.items()}
        best = values.get("apricot", values["curate"])
        return [f"objective of {name}: {value:.1f}, {value / best:.4f} of the full greedy's" for name, value in values.items()]
    if task == "duplicates":
        codes = {name: np.load(file.with_name(f"{name}.pairs.npy")) for name in turn}
        exact = codes.get("faiss", codes["curate"])
        return [
            f"pairs of {name}: {len(found):,}, {np.isin(exact, found).sum():,} of the {len(exact):,} of the scan, "
            f"{(~np.isin(found, exact)).sum()} others (others are within 1e-6 of the threshold or wrong)"
            for name, found in codes.items()
        ]
    told = ("notes", "kept", "rows", "mean cosine to the centre")
    return [f"{name}: " + "; ".join(f"{key} {found[key]}" for key in told if key in found) for name, found in turn.items()]


def main() -> None:
    """Make the vectors, take turns, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=RUNS)
    parser.add_argument("--rows", type=int, help="another number of vectors")
    parser.add_argument("--choose", type=int, help="another number of rows to choose")
    parser.add_argument("--turns", type=int)
    parser.add_argument("--only", nargs="+", help="these contestants alone")
    parser.add_argument("--peers", help="an interpreter that has apricot-select and semhash; without it they do not take part")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given)
        return
    given.choose = given.choose or CHOOSE.get(given.task)
    rows, names = given.rows or ROWS[given.task], given.only or [n for n in RUNS[given.task] if given.peers or n not in PEERS]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        make(file, rows, centres=2_000 if given.task != "facility-location" else 200)
        turns = [{name: call(name, file, given) for name in names} for _ in range(given.turns or TURNS[given.task])]
        report(given, rows, turns, judge(given.task, turns[-1], file))


def report(given: argparse.Namespace, rows: int, turns: list[dict[str, dict[str, Any]]], notes: list[str]) -> None:
    """Print the medians, the ratios of the turns, and the machine."""
    from importlib.metadata import version

    of = f", {given.choose:,} chosen" if given.choose else ""
    size = rows * SIZE * 4 / 2**20
    print(f"{given.task}: {rows:,} vectors of {SIZE} ({size:.0f} MiB){of}; medians of {len(turns)} turns\n")
    print("| | wall s | least | most | processor s | peak MiB | of the vectors |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name in turns[0]:
        wall = sorted(turn[name]["wall_s"] for turn in turns)
        processor, peak = (statistics.median(turn[name][key] for turn in turns) for key in ("processor_s", "peak_mib"))
        seconds = f"{statistics.median(wall):.2f} | {wall[0]:.2f} | {wall[-1]:.2f}"
        print(f"| {name} | {seconds} | {processor:.2f} | {peak:.0f} | {peak / size:.2f} |")
    for name in [name for name in turns[0] if name not in ("curate", "random")]:
        for key in ("wall_s", "processor_s", "peak_mib"):
            ratios = sorted(turn[name][key] / turn["curate"][key] for turn in turns)
            print(f"\n{name} / curate, {key}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", end="")
    print("\n\n" + "\n".join(notes))
    speed = gigaflops()
    print(f"\nthe limit: matrix products at {speed:.0f} billion operations a second; {limit(given.task, rows, speed)}")
    packages = ", ".join(f"{name} {version(name)}" for name in ("faiss-cpu", "numpy", "polars", "scikit-learn"))
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{platform.machine()}, {cores} cores, load {load:.1f}; Python {platform.python_version()}, {packages}")


def limit(task: str, rows: int, speed: float) -> str:
    """Say how long the multiplications alone take that nobody can leave out."""
    if task == "representative":
        from curate.vectors import cluster

        work = 0.0
        for part in domains(rows):
            n = part.stop - part.start
            k = cluster.default_clusters(n)
            work += 2.0 * SIZE * k * (20 * min(n, 256 * k) + n)
        return f"20 iterations and one assignment are {work / 1e12:.2f} · 10¹², {work / speed / 1e9:.1f} s"
    work = 2.0 * SIZE * rows * rows
    return f"comparing all rows in full is {work / 1e12:.1f} · 10¹², {work / speed / 1e9:.1f} s"


def gigaflops() -> float:
    """Measure the matrix products of this machine in float32, the best of five."""
    left, right = (np.random.default_rng(0).random((4_096, 4_096), np.float32) for _ in range(2))
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        left @ right
        best = max(best, 2 * 4_096**3 / (time.perf_counter() - start) / 1e9)
    return best


if __name__ == "__main__":
    main()
