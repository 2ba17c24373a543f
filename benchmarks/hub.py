"""How many bytes a push of 100,000 rows sends, and how many the next one after a kill, at random bytes.

Run it with ``python benchmarks/hub.py``. The manifest is made up: texts of about 600 bytes in four stages, half of the rows
synthetic. Each push is the command ``curate export --to hub:…`` in a process of its own, to the Hub of ``tests/support/hub.py``,
which counts every byte that arrives, heads of requests included, and kills the process at a byte. The promise: at most 1.05 times
the files' sizes, and after a kill at most 1.05 times the sizes of the files that were not whole there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the Hub, which is the tests'

from tests.support import hub as hubs

PROMISE = 1.05
COMMAND = "import sys; from curate.terminal.cli import main; sys.argv[0] = 'curate'; main()"
SMALL = 1_000_000  # bytes; below them, heads of requests and listings are most of what is sent


def make(root: Path, rows: int, *, seed: int = 0) -> None:
    """Commit a manifest of `rows` selected rows of about 600 bytes."""
    import polars as pl

    from curate.manifest import ids, manifest
    from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, conform

    chance = random.Random(seed)
    words = [f"{chance.getrandbits(24):x}" for _ in range(20_000)]
    table = pl.DataFrame(
        {
            "prompt": [" ".join(chance.choices(words, k=40)) for _ in range(rows)],
            "rationale": [" ".join(chance.choices(words, k=45)) for _ in range(rows)],
            "answer": [str(chance.randrange(1000)) for _ in range(rows)],
        }
    ).with_columns(
        domain=pl.format("domain {}", pl.int_range(rows) % 60),
        split=pl.lit("train"),
        source=pl.when(pl.int_range(rows) % 2 == 0).then(pl.lit("real")).otherwise(pl.lit("synthetic")),
        status=pl.lit("selected"),
        stage=(pl.int_range(rows) * 4 // rows).cast(pl.Int32),
        origin=pl.format("rows.jsonl:{}", pl.int_range(rows) + 1),
    )
    table = table.with_columns(ids.content_keys(table))
    table = table.with_columns(ids.row_ids(table), ids.prompt_keys(table["prompt"]))
    start = manifest.new("benchmark", root=root)
    start.append(conform(table, CONTENT_SCHEMA, drop=True))
    start.commit(conform(table, SCHEMA, drop=True), verb="ingest")


def push(hub: hubs.Hub, root: Path, *, kill_at: int | None = None) -> tuple[int, int, float]:
    """Push; return bytes that arrived, bytes of files among them, and seconds. Kill the process at a byte, where one is given."""
    hub.received.clear()
    environment = {**hubs.environment(hub, root / "home"), "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    command = [sys.executable, "-c", COMMAND, "export", "benchmark", "--to", "hub:me/benchmark", "--root", str(root)]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def arrived(total: int) -> None:
        if kill_at is not None and total >= kill_at and process.poll() is None:
            process.send_signal(signal.SIGKILL)

    hub.arrived = arrived
    output, _ = process.communicate()
    if process.returncode != (0 if kill_at is None else -signal.SIGKILL):
        raise SystemExit(f"the push ended with {process.returncode}:\n{output}")
    return hub.received.total(), hub.received["upload"], time.perf_counter() - begun


def main() -> None:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--kills", type=int, default=6)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    chance, broken = random.Random(chosen.seed), 0
    with tempfile.TemporaryDirectory() as folder, hubs.serving() as hub:
        root, hub.keep = Path(folder), False
        make(root, chosen.rows)
        whole, _, seconds = push(hub, root)
        files = hub.repos["dataset", "me/benchmark"].head.files.values()
        size, large = sum(len(blob.data) for blob in files), [len(blob.data) for blob in files if blob.large]
        again, _, _ = push(hub, root)
        print(json.dumps({"rows": chosen.rows, "files": len(files), "data files": sorted(large), "bytes": size}))
        print("| push | bytes sent | files not whole there | times those | s |\n| --- | --- | --- | --- | --- |")
        print(f"| first | {whole:,} | {size:,} | {whole / size:.3f} | {seconds:.1f} |")
        print(f"| the same again | {again:,} | 0 | | |")
        broken += whole > PROMISE * size
        for _ in range(chosen.kills):
            at = chance.randrange(whole)
            hub.repos.clear()
            push(hub, root, kill_at=at)
            repo = hub.repos.get(("dataset", "me/benchmark"))
            there = sum(map(len, repo.stored.values())) if repo else 0
            missing = 0 if repo and len(repo.log) > 1 else size - there
            sent, data, seconds = push(hub, root)
            times = f"{sent / missing:.3f}" if missing > SMALL else ""
            print(f"| after a kill at byte {at:,} | {sent:,} | {missing:,} | {times} | {seconds:.1f} |", flush=True)
            broken += missing > SMALL and sent > PROMISE * missing
            broken += there + data < sum(large) or data > sum(large) - there + 20_000  # heads of requests count as well
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}.")
    if broken:
        raise SystemExit(f"{broken} promises were not kept")


if __name__ == "__main__":
    main()
