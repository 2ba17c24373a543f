"""How long `curate ingest` takes on 1,000,000 rows of JSONL and of CSV, beside Polars reading the file and writing Parquet.

Run it with ``python benchmarks/ingest.py``. Each run is a process of its own, the two take turns, and what is compared is
in one run: wall time, processor time (the two agree on an idle machine) and peak memory. The promise is within 3 times.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMISE = 3.0


def make(path: Path, rows: int, *, words_each: int, seed: int = 0) -> None:
    """Write `rows` records, each with a rationale of `words_each` words (none for 0), in 60 domains of Zipf sizes."""
    chance = random.Random(seed)
    words = [f"w{n}" for n in range(2000)]
    weights = [1 / rank for rank in range(1, 61)]
    domains = chance.choices([f"domain {n:02d}" for n in range(60)], weights, k=rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows_of_csv = csv.writer(file)
        for number, domain in enumerate(domains):
            text = f"Question {number}: {' '.join(chance.choices(words, k=22))}?"
            record = {"id": number, "text": text, "label": str(number % 1000), "domain": domain, "level": number % 5}
            if words_each:
                record["rationale"] = " ".join(chance.choices(words, k=words_each))
            if path.suffix == ".jsonl":
                file.write(json.dumps(record) + "\n")
                continue
            if not number:
                rows_of_csv.writerow(record)
            rows_of_csv.writerow(record.values())


def run_polars(path: Path, out: Path) -> None:
    """What a user would write instead."""
    import polars as pl

    read = pl.read_ndjson if path.suffix == ".jsonl" else pl.read_csv
    read(path).write_parquet(out / "rows.parquet")


def run_curate(path: Path, out: Path) -> None:
    """Ours."""
    from curate.sources.ingest import ingest

    ingest([str(path)], to="benchmark", prompt="text", answer="label", domain="domain", root=out)


RUNS = {"polars": run_polars, "curate": run_curate}


def measure(name: str, path: Path) -> dict[str, float]:
    """Run one of them in its own process; seconds of wall and processor, MiB at the peak."""
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        done = subprocess.run(
            [sys.executable, __file__, "--run", name, "--file", str(path), "--out", out], check=True, capture_output=True
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def run(name: str, path: Path, out: Path) -> None:
    """Inside that process: time the work without the imports."""
    import deltalake  # noqa: F401 - imported before the clock starts
    import polars  # noqa: F401

    import curate.sources.ingest  # noqa: F401

    wall, processor = time.perf_counter(), time.process_time()
    RUNS[name](path, out)
    seconds = {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**seconds, "peak_mib": peak}))


def main() -> None:
    """Make the file, take turns, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--words", type=int, nargs="+", default=[60, 0], help="words of each rationale; one table for each")
    parser.add_argument("--kinds", choices=("jsonl", "csv"), nargs="+", default=["jsonl", "csv"])
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given.run, given.file, given.out)
        return
    for kind, words_each in itertools.product(given.kinds, given.words):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"rows.{kind}"
            make(path, given.rows, words_each=words_each)
            turns = [{name: measure(name, path) for name in RUNS} for _ in range(given.repeats)]
            size = path.stat().st_size
        report(turns, rows=given.rows, size=size, kind=kind.upper())


def report(turns: list[dict[str, dict[str, float]]], *, rows: int, size: int, kind: str) -> None:
    """Print the medians, the ratio of each turn, and the machine."""
    from importlib.metadata import version

    print(f"{rows:,} rows of {size // rows} bytes of {kind}; medians of {len(turns)} turns\n")
    print("| | wall s | processor s | peak MiB |\n| --- | --- | --- | --- |")
    for name in RUNS:
        cells = [statistics.median(turn[name][key] for turn in turns) for key in ("wall_s", "processor_s", "peak_mib")]
        print(f"| {name} | {cells[0]:.2f} | {cells[1]:.2f} | {cells[2]:.0f} |")
    for key in ("wall_s", "processor_s"):
        ratios = sorted(turn["curate"][key] / turn["polars"][key] for turn in turns)
        middle = statistics.median(ratios)
        print(f"\nratio of {key}: {middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); promised: at most {PROMISE:g}")
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "polars-hash", "deltalake", "msgspec"))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"\n{machine}; Python {platform.python_version()}, {packages}\n")


if __name__ == "__main__":
    main()
