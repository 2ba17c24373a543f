"""How long `curate export --to parquet` takes on 1 and 5 million rows of 600 bytes, beside Polars writing the same Parquet.

Run it with ``python benchmarks/export.py``. Each run is a process of its own, and they take turns. Polars is measured twice: from
the two Delta tables (filter, join, select, write), as a user would do it, and writing alone, the joined frame being in memory
already. The promise is within 1.5 times of the latter, with a peak under 2 GB that does not grow with the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMISE = 1.5
PEAK_MIB = 2000
_STEP = 250_000  # rows made at a time


def make(root: Path, rows: int, *, seed: int = 0) -> None:
    """Make a manifest of selected rows, each with a question, a rationale and an answer of about 600 bytes together."""
    import numpy as np
    import polars as pl

    from curate.manifest import delta, ids, manifest
    from curate.manifest.schema import CONTENT_SCHEMA, conform

    chance = np.random.default_rng(seed)
    words = [f"word{n}" for n in range(5000)]
    pool = pl.Series([" ".join(words[n] for n in each) for each in chance.integers(0, 5000, size=(200_000, 9))])
    base = manifest.new("benchmark", root=root)
    made = []
    for version, at in enumerate(range(0, rows, _STEP)):
        n = min(_STEP, rows - at)

        def text(phrases: int, n: int = n) -> pl.Series:
            parts = [pool.gather(chance.integers(0, len(pool), size=n)).alias(str(p)) for p in range(phrases)]
            return pl.DataFrame(parts).select(pl.concat_str(pl.all(), separator=" ")).to_series()

        numbers = pl.int_range(at, at + n, eager=True)
        texts = pl.DataFrame({"prompt": text(3), "rationale": text(4), "answer": numbers.cast(pl.String)})
        texts = texts.with_columns(ids.content_keys(texts))
        delta.write(f"{base.location}/examples", conform(texts, CONTENT_SCHEMA), version - 1, mode="append", metadata={})
        row = texts.select(
            "content",
            ids.prompt_keys(texts["prompt"]),
            pl.format("domain {}", numbers % 60).alias("domain"),
            pl.format("rows.jsonl:{}", numbers + 1).alias("origin"),
            pl.sum_horizontal(pl.col("prompt", "rationale", "answer").str.len_chars()).cast(pl.Int32).alias("n_chars"),
            split=pl.lit("train"),
            source=pl.lit("real"),
            status=pl.lit("selected"),
            stage=pl.lit(0),
            cluster=pl.Series(chance.integers(0, 40, size=n)),
            reason=pl.lit("representative: nearest to the centre of its cluster"),
            score=pl.Series(chance.random(n)),
        )
        made.append(row.with_columns(ids.row_ids(row)))
    base.commit(pl.concat(made), verb="balance", parameters={"stage": 0}, summary={"complete": True})


def run(name: str, root: Path, out: Path) -> None:
    """Inside a process of its own: time the work without the imports."""
    import polars as pl
    import pyarrow.parquet  # noqa: F401 - imported before the clock starts

    from curate.export import layout  # noqa: F401
    from curate.export.base import COLUMNS
    from curate.export.export import export
    from curate.manifest import manifest
    from curate.manifest.rows import in_snapshot

    loaded = manifest.load("benchmark", root=root)
    joined = loaded.scan().filter(in_snapshot()).join(loaded.scan_contents(), on="content", how="left", maintain_order="left")
    there = joined.select(COLUMNS).collect() if name == "polars, writing alone" else pl.DataFrame()
    wall, processor = time.perf_counter(), time.process_time()
    if name == "curate":
        export(loaded, to="parquet", destination=out / "export")
    else:
        frame = joined.select(COLUMNS).collect() if there.is_empty() else there
        frame.write_parquet(out / "train.parquet", compression="zstd")
    seconds = {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}
    size = sum(path.stat().st_size for path in out.rglob("*.parquet")) / 2**20
    print(json.dumps({**seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "file_mib": size}))


RUNS = ("polars", "polars, writing alone", "curate")


def measure(name: str, root: Path) -> dict[str, float]:
    """Run one of them; seconds of wall and processor, MiB at the peak and of the file."""
    with tempfile.TemporaryDirectory(dir=root) as out:
        command = [sys.executable, __file__, "--run", name, "--root", str(root), "--out", out]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Make the manifests, take turns, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the tables and files: about 3 KB for each row, for a while")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given.run, given.root, given.out)
        return
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            root = Path(folder)
            make(root, rows)
            turns = [{name: measure(name, root) for name in RUNS} for _ in range(given.repeats)]
        report(turns, rows=rows)


def report(turns: list[dict[str, dict[str, float]]], *, rows: int) -> None:
    """Print the medians, the ratio of each turn, and the machine."""
    from importlib.metadata import version

    print(f"{rows:,} rows; medians of {len(turns)} turns\n")
    print("| | wall s | processor s | peak MiB | file MiB |\n| --- | --- | --- | --- | --- |")
    for name in RUNS:
        keys = ("wall_s", "processor_s", "peak_mib", "file_mib")
        cells = [statistics.median(turn[name][key] for turn in turns) for key in keys]
        print(f"| {name} | {cells[0]:.1f} | {cells[1]:.1f} | {cells[2]:.0f} | {cells[3]:.0f} |")
    for against in RUNS[:2]:
        for key in ("wall_s", "processor_s"):
            ratios = sorted(turn["curate"][key] / turn[against][key] for turn in turns)
            print(f"\ncurate / {against}, {key}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"\npromised: at most {PROMISE:g} of writing alone, and {PEAK_MIB:,} MB at the peak")
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "pyarrow", "deltalake"))
    load = os.getloadavg()[0]
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}; Python {platform.python_version()}, {packages}\n")


if __name__ == "__main__":
    main()
