"""How long `curate profile` takes on a manifest of 10,000,000 rows, beside hand-written Polars and pandas for the same figures.

Run it with ``python benchmarks/profiling.py``. Each run is a process of its own and the three take turns; their figures are
compared first, then wall time, processor time (the two agree on an idle machine) and peak memory. The promises: within 1.5
times of Polars, at least 3 times faster than pandas, under 2 GB.
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
from typing import Any

ROWS, DOMAINS, SEED, LIMIT = 10_000_000, 50, 0, 1024
COLUMNS = ("domain", "split", "source", "status", "stage", "n_chars", "n_tokens", "prompt_key", "content")


def make(root: str, n: int) -> None:
    """Commit a manifest of `n` rows: Zipf domains, log-normal lengths, 5 % test, 3 % synthetic, 2 % repeated prompts."""
    import numpy as np
    import polars as pl

    from curate.manifest import manifest

    rng = np.random.default_rng(SEED)
    chances = 1 / np.arange(1, DOMAINS + 1) ** 1.3
    keys = rng.integers(-(2**62), 2**62, n)
    keys[rng.random(n) < 0.02] = keys[0]
    drawn = pl.DataFrame(
        {
            "row": np.arange(n),
            "prompt_key": keys,
            "domain": rng.choice(DOMAINS, n, p=chances / chances.sum()),
            "n_chars": np.minimum(rng.lognormal(5.5, 0.8, n), 60_000).astype(np.int32) + 1,
            "share": rng.random(n),
        }
    )
    share = pl.col("share")
    number = pl.col("row").cast(pl.String).str.zfill(16)
    selected = (share * 1000 % 1 < 0.2) & (share >= 0.05)
    rows = drawn.select(
        id=pl.format("{}{}", pl.col("row").hash(1).cast(pl.String).str.slice(0, 16).str.zfill(16), number),
        content=pl.format("{}{}", pl.col("row").hash(2).cast(pl.String).str.slice(0, 16).str.zfill(16), number),
        prompt_key="prompt_key",
        domain=pl.format("domain {}", "domain"),
        split=pl.when(share < 0.05).then(pl.lit("test")).otherwise(pl.lit("train")),
        source=pl.when(share > 0.97).then(pl.lit("synthetic")).otherwise(pl.lit("real")),
        origin=pl.format("rows.jsonl:{}", "row"),
        n_chars="n_chars",
        n_tokens=pl.col("n_chars") // 4 + 1,
        status=pl.when(selected)
        .then(pl.lit("selected"))
        .when(share > 0.999)
        .then(pl.lit("rejected"))
        .otherwise(pl.lit("candidate")),
        stage=pl.when(selected).then(pl.col("row") % 5).cast(pl.Int32),
    )
    start = manifest.new("tail", root=root).commit(rows, verb="ingest", seed=SEED)
    prompt = pl.format("What is question {} of {}?", "prompt_key", "domain")
    blank = pl.int_range(pl.len()) % 100_000 == 0
    answer = pl.when(blank).then(pl.lit("")).otherwise(pl.col("n_chars").cast(pl.String))
    start.append(rows.select("content", prompt=prompt, answer=answer))


def run_curate(root: str) -> dict[str, Any]:
    """Ours."""
    from curate.manifest import manifest
    from curate.report import profile

    found = profile.profile(manifest.load("tail", root=root), max_tokens=LIMIT).to_dict()
    parts = {
        part["domain"]: [part[name] for name in ("rows", "real", "synthetic", "selected")]
        + [*part["chars"].values(), *part["tokens"].values()]
        for part in found["domains"]
    }
    whole = {name: found[name] for name in ("rows", "splits", "duplicates", "overlap", "empty", "too_long")}
    stages = {str(stage["stage"]): [stage["real"], stage["synthetic"]] for stage in found["stages"]}
    return {**whole, "stages": stages, "parts": parts, "lengths": [*found["chars"].values(), *found["tokens"].values()]}


def run_polars(root: str) -> dict[str, Any]:
    """What a user of Polars would write instead: lazy queries, streamed."""
    import polars as pl

    folder = Path(root) / "manifests" / "tail"
    rows = pl.scan_parquet(folder / "manifest" / "*.parquet").filter(pl.col("status") != "rejected")
    train = rows.filter(pl.col("split") == "train")
    real = pl.col("source") == "real"
    quantiles = [
        expr.alias(f"{column} {name}")
        for column in ("n_chars", "n_tokens")
        for name, expr in (
            ("p50", pl.col(column).quantile(0.5, "linear")),
            ("p95", pl.col(column).quantile(0.95, "linear")),
            ("max", pl.col(column).max()),
        )
    ]
    selected = pl.col("status") == "selected"
    by_domain = train.group_by("domain").agg(
        pl.len(), real.sum().alias("real"), (~real).sum().alias("synthetic"), selected.sum().alias("selected"), *quantiles
    )
    over_all = train.select(*quantiles, pl.len().alias("rows"), (pl.col("n_tokens") > LIMIT).sum().alias("too_long"))
    distinct = train.select(pl.col("prompt_key").n_unique())
    elsewhere = rows.filter(pl.col("split") != "train").select("prompt_key").unique()
    overlap = train.select("prompt_key").join(elsewhere, on="prompt_key", how="semi").select(pl.len())
    stages = train.filter(selected).group_by("stage").agg(real.sum().alias("real"), (~real).sum().alias("synthetic"))
    splits = rows.group_by("split").len()
    blank = pl.scan_parquet(folder / "examples" / "*.parquet").filter(pl.col("answer").str.strip_chars() == "")
    empty = train.join(blank.select("content"), on="content", how="semi").select(pl.len())
    lazy = (by_domain, over_all, distinct, overlap, stages, splits, empty)
    by_domain_, all_, distinct_, overlap_, stages_, splits_, empty_ = (query.collect(engine="streaming") for query in lazy)
    whole = all_.row(0, named=True)
    return {
        "rows": whole["rows"],
        "splits": dict(splits_.iter_rows()),
        "duplicates": whole["rows"] - distinct_.item(),
        "overlap": overlap_.item(),
        "empty": empty_.item(),
        "too_long": whole["too_long"],
        "stages": {str(stage): counts for stage, *counts in stages_.sort("stage").iter_rows()},
        "parts": {domain: values for domain, *values in by_domain_.iter_rows()},
        "lengths": list(all_.row(0)[:6]),
    }


def run_pandas(root: str) -> dict[str, Any]:
    """What a user of pandas would write instead, reading only the columns that are needed."""
    import pandas as pd

    folder = Path(root) / "manifests" / "tail"
    rows = pd.read_parquet(sorted((folder / "manifest").glob("*.parquet")), columns=list(COLUMNS))
    rows = rows[rows["status"] != "rejected"]
    train = rows[rows["split"] == "train"]
    train = train.assign(
        real=train["source"] == "real", synthetic=train["source"] != "real", selected=train["status"] == "selected"
    )
    groups = train.groupby("domain")
    counts = groups[["real", "synthetic", "selected"]].sum()
    lengths = groups[["n_chars", "n_tokens"]]
    median, high, most, sizes = lengths.quantile(0.5), lengths.quantile(0.95), lengths.max(), groups.size()
    elsewhere = rows.loc[rows["split"] != "train", "prompt_key"]
    answers = pd.read_parquet(sorted((folder / "examples").glob("*.parquet")), columns=["content", "answer"])
    blank = answers.loc[answers["answer"].str.strip() == "", "content"]
    stages = train[train["selected"]].groupby("stage")[["real", "synthetic"]].sum()
    columns = ("n_chars", "n_tokens")
    return {
        "rows": len(train),
        "splits": {split: int(n) for split, n in rows["split"].value_counts().items()},
        "duplicates": int(train["prompt_key"].duplicated().sum()),
        "overlap": int(train["prompt_key"].isin(elsewhere.unique()).sum()),
        "empty": int(train["content"].isin(blank).sum()),
        "too_long": int((train["n_tokens"] > LIMIT).sum()),
        "stages": {str(int(stage)): [int(n) for n in row] for stage, row in zip(stages.index, stages.to_numpy(), strict=True)},
        "parts": {
            domain: [int(sizes[domain]), *(int(n) for n in counts.loc[domain])]
            + [float(table.loc[domain, column]) for column in columns for table in (median, high, most)]
            for domain in counts.index
        },
        "lengths": [float(value) for column in columns for value in (*train[column].quantile([0.5, 0.95]), train[column].max())],
    }


RUNS = {"polars": run_polars, "pandas": run_pandas, "curate": run_curate}


def run(name: str, root: str) -> None:
    """Inside a process of its own: time the work without the imports."""
    if name == "pandas":
        import pandas  # noqa: F401 - imported before the clock starts
        import pyarrow.parquet  # noqa: F401
    else:
        import deltalake  # noqa: F401
        import polars  # noqa: F401

        import curate.report.profile  # noqa: F401
    wall, processor = time.perf_counter(), time.process_time()
    figures = RUNS[name](root)
    seconds = {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**seconds, "peak_mib": peak, "figures": figures}))


def call(*arguments: str) -> str:
    """Run this file in a process of its own and return what it printed."""
    return subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def check(turn: dict[str, dict[str, Any]]) -> None:
    """Refuse to compare times of different figures."""
    ours = turn["curate"]["figures"]
    for name, theirs in ((name, found["figures"]) for name, found in turn.items()):
        for key, value in ours.items():
            if key in ("parts", "lengths"):
                continue
            assert theirs[key] == value, (name, key, theirs[key], value)
        parts = theirs["parts"]
        assert parts.keys() == ours["parts"].keys(), name
        pairs = [(parts[domain], values) for domain, values in ours["parts"].items()] + [(theirs["lengths"], ours["lengths"])]
        assert all(abs(a - b) < 1e-6 * max(1, abs(b)) for left, right in pairs for a, b in zip(left, right, strict=True)), name


def main() -> None:
    """Make the manifest, take turns, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="keep the manifest there, and use the one that is there; else a temporary folder")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make(given.make, given.rows)
        return
    if given.run:
        run(given.run, given.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = given.folder or temporary
        if not (Path(root) / "manifests" / "tail").exists():
            call("--make", root, "--rows", str(given.rows))
        turns = [{name: json.loads(call("--run", name, "--folder", root)) for name in RUNS} for _ in range(given.repeats)]
    for turn in turns:
        check(turn)
    report(turns, rows=given.rows)


def report(turns: list[dict[str, dict[str, Any]]], *, rows: int) -> None:
    """Print the medians, the ratios of the turns, and the machine."""
    from importlib.metadata import version

    print(f"{rows:,} rows in {DOMAINS} domains, equal figures; medians of {len(turns)} turns\n")
    print("| | wall s | processor s | peak MiB |\n| --- | --- | --- | --- |")
    for name in RUNS:
        wall, processor, peak = (
            statistics.median(turn[name][key] for turn in turns) for key in ("wall_s", "processor_s", "peak_mib")
        )
        print(f"| {name} | {wall:.2f} | {processor:.2f} | {peak:.0f} |")
    for key in ("wall_s", "processor_s"):
        for name, promise in (
            ("polars", "curate / polars, promised at most 1.5"),
            ("pandas", "pandas / curate, promised at least 3"),
        ):
            ratios = sorted(turn["curate"][key] / turn[name][key] for turn in turns)
            ratios = ratios if name == "polars" else sorted(1 / ratio for ratio in ratios)
            print(f"\n{key}, {promise}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "pandas", "pyarrow", "numpy", "deltalake"))
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"\n{platform.machine()}, {cores} cores, load {load:.1f}; Python {platform.python_version()}, {packages}")


if __name__ == "__main__":
    main()
