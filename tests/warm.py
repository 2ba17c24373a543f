"""Owns a process that has everything imported and forks a run of ``curate`` at a word, so that many runs start at once.

Run as a program it is that process: it reads one run a line from stdin, a JSON object with the arguments and a file for what
the run says, and answers with the run's number and, when it has ended, with its exit status.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# What a run would import by and by. Nothing that starts a thread when it is imported: threads do not survive a fork.
MODULES = (
    *("curate.cli", "curate.console", "curate.tables", "curate.manifest", "curate.teachers", "curate.stories"),
    *("curate.balancing", "curate.annotation", "curate.synthesis", "curate.auditors", "curate.answers"),
    *("openai.resources.chat.completions", "anyio._backends._asyncio", "jinja2.meta", "jinja2.sandbox", "rich.console"),
)


class Warm:
    """A warm process; `start` begins a run, `wait` ends it."""

    def __init__(self, to: IO[str], told: IO[str]) -> None:
        self._to, self._told = to, told

    def start(self, arguments: Sequence[str], out: Path) -> int:
        """Begin a run of ``curate`` and return the number of its process; what it says goes into `out`."""
        self._to.write(json.dumps({"arguments": list(arguments), "out": str(out)}) + "\n")
        self._to.flush()
        return int(self._told.readline())

    def wait(self) -> int:
        """Wait for the end of the run; return its exit status, negative for the signal that killed it."""
        return int(self._told.readline())


@contextmanager
def warm() -> Iterator[Warm]:
    """Keep a warm process while the block lasts."""
    child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "ready\n"
        yield Warm(child.stdin, child.stdout)
        child.stdin.close()


def _run(arguments: list[str], out: str) -> None:
    """Be ``curate`` with these arguments; never comes back."""
    from curate.cli import app

    sys.argv = ["curate", *arguments]
    with Path(out).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        app()


def _main() -> None:
    import importlib
    import threading

    for name in MODULES:
        importlib.import_module(name)
    assert threading.active_count() == 1
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _run(**json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _main()
