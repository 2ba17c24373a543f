"""How long `curate show --grep` takes over 1,000,000 rows, beside a scan of the same tables written by hand in Polars.

Run it with ``python benchmarks/show.py``. The manifest is made up: prompts of about 200 characters in 60 domains. Each run is a
process of its own, the two take turns, and both find and read the same rows. The promise is under 2 s.
"""

from __future__ import annotations

import argparse
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

PROMISE = 2.0  # seconds
RARE = "quetzal"  # a word of one prompt in 10,000


def make(root: Path, rows: int, *, seed: int = 0) -> None:
    """Commit a manifest of `rows` prompts of about 200 characters, one in 10,000 of them with a rare word."""
    import polars as pl

    from curate.manifest import ids, manifest
    from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, conform

    chance = random.Random(seed)
    words = [f"word{n}" for n in range(2000)]
    texts = [f"Question {n}: {' '.join(chance.choices(words, k=24))}?" for n in range(rows)]
    for n in range(0, rows, 10_000):
        texts[n] = f"{texts[n]} {RARE}"
    table = pl.DataFrame({"prompt": texts, "answer": [str(n % 1000) for n in range(rows)]}).with_columns(
        domain=pl.format("domain {}", pl.int_range(rows) % 60),
        split=pl.lit("train"),
        source=pl.lit("real"),
        status=pl.lit("candidate"),
        origin=pl.format("rows.jsonl:{}", pl.int_range(rows) + 1),
    )
    table = table.with_columns(ids.content_keys(table))
    table = table.with_columns(ids.row_ids(table), ids.prompt_keys(table["prompt"]))
    start = manifest.new("benchmark", root=root)
    start.append(conform(table, CONTENT_SCHEMA, drop=True))
    start.commit(conform(table, SCHEMA, drop=True), verb="ingest")


def run_polars(root: Path, text: str) -> int:
    """What a user would write instead, who knows that the text is in the prompt or the answer: five rows and their number."""
    import polars as pl

    from curate.manifest.manifest import load

    handle = load("benchmark", root=root)
    texts = handle.scan_contents().select("content", "prompt", "answer")
    hits = texts.filter(pl.any_horizontal(pl.col("prompt", "answer").str.contains(text, literal=True)))
    found = handle.scan().join(hits, on="content").collect()
    found.head(5).to_dicts()
    return found.height


def run_curate(root: Path, text: str) -> int:
    """Ours: every text of the rows is searched, those in JSON too."""
    from curate.manifest.manifest import load
    from curate.report.show import show

    matched: int = show(load("benchmark", root=root), grep=text).to_dict()["matched"]
    return matched


RUNS = {"polars": run_polars, "curate": run_curate}


def measure(name: str, root: Path, text: str) -> dict[str, float]:
    """Run one of them in its own process; seconds of wall and processor, MiB at the peak, rows found."""
    done = subprocess.run(
        [sys.executable, __file__, "--run", name, "--root", str(root), "--text", text], check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def run(name: str, root: Path, text: str) -> None:
    """Inside that process: time the work without the imports."""
    import deltalake  # noqa: F401 - imported before the clock starts
    import polars  # noqa: F401

    import curate.report.show  # noqa: F401

    wall, processor = time.perf_counter(), time.process_time()
    found = RUNS[name](root, text)
    seconds = {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**seconds, "peak_mib": peak, "found": found}))


def main() -> None:
    """Make the manifest, take turns, print a table in Markdown for a rare text and for a frequent one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help="where the manifest is kept; made there unless it is there")
    parser.add_argument("--text", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make(given.root, given.rows)
        return
    if given.run:
        run(given.run, given.root, given.text)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = given.root or Path(folder)
        if not (root / "manifests" / "benchmark").exists():  # in a process of its own, whose peak the others do not inherit
            subprocess.run([sys.executable, __file__, "--make", "--root", str(root), "--rows", str(given.rows)], check=True)
        for text in (RARE, "word1"):
            turns = [{name: measure(name, root, text) for name in RUNS} for _ in range(given.repeats)]
            report(turns, rows=given.rows)


def report(turns: list[dict[str, dict[str, float]]], *, rows: int) -> None:
    """Print the medians, the ratio of each turn, and the machine."""
    from importlib.metadata import version

    found = {turn[name]["found"] for turn in turns for name in RUNS}
    print(f"{rows:,} rows, {', '.join(f'{n:,}' for n in sorted(found))} of them with the text; medians of {len(turns)} turns\n")
    print("| | wall s | processor s | peak MiB |\n| --- | --- | --- | --- |")
    for name in RUNS:
        cells = [statistics.median(turn[name][key] for turn in turns) for key in ("wall_s", "processor_s", "peak_mib")]
        print(f"| {name} | {cells[0]:.2f} | {cells[1]:.2f} | {cells[2]:.0f} |")
    for key in ("wall_s", "processor_s"):
        ratios = sorted(turn["curate"][key] / turn["polars"][key] for turn in turns)
        print(f"\nratio of {key}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"\npromised: under {PROMISE:g} s; most: {max(turn['curate']['wall_s'] for turn in turns):.2f} s")
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "deltalake"))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"\n{machine}; Python {platform.python_version()}, {packages}\n")


if __name__ == "__main__":
    main()
