"""How long `curate --help` and `import curate` take, beside an empty interpreter: nothing heavy is loaded before it is needed.

Run it with ``python benchmarks/startup.py``. The commands take turns; wall seconds of whole processes. The promises are 0.3 s
and 0.5 s.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

TURNS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import curate": [sys.executable, "-c", "import curate"],
    "curate --help": [str(Path(sys.executable).parent / "curate"), "--help"],
    "baldistill --help": [str(Path(sys.executable).parent / "baldistill"), "--help"],
}


def measure(command: list[str]) -> float:
    """Return the wall seconds of one run."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the medians and the spread."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(TURNS + 1):
        for name, command in COMMANDS.items():
            seconds[name].append(measure(command))
    print(f"{TURNS} turns after a warm-up, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| command | median s | least | most |\n| --- | --- | --- | --- |")
    for name, taken in seconds.items():
        counted = taken[1:]
        print(f"| {name} | {statistics.median(counted):.3f} | {min(counted):.3f} | {max(counted):.3f} |")


if __name__ == "__main__":
    main()
