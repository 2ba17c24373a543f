"""A process that has everything imported and forks a run of ``curate`` at a word, so that many runs start at once.

Run as a program it is that process. It reads one word a line from stdin, a JSON object: the arguments of a run and a file for
what the run says, answered with the number of its process; or that number, answered with the exit status when the run has ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# What a run would import by and by. Nothing that starts a thread when it is imported: threads do not survive a fork.
MODULES = (
    *(
        "curate.terminal.cli",
        "curate.terminal.console",
        "curate.terminal.layouts",
        "curate.manifest.manifest",
        "curate.teachers.openai",
        "curate.report.story",
    ),
    *(
        "curate.balance.balance",
        "curate.balance.annotate",
        "curate.balance.synthesize",
        "curate.audit.auditors",
        "curate.answers.answers",
    ),
    *("openai.resources.chat.completions", "anyio._backends._asyncio", "jinja2.meta", "jinja2.sandbox", "rich.console"),
)


class Warm:
    """A warm process; `start` begins a run, `wait` waits for its end."""

    def __init__(self, to: IO[str], told: IO[str]) -> None:
        self._to, self._told = to, told

    def start(self, arguments: Sequence[str], out: Path) -> int:
        """Begin a run of ``curate`` and return the number of its process; what it says is added to `out`."""
        return self._say({"arguments": list(arguments), "out": str(out)})

    def wait(self, pid: int) -> int:
        """Wait for the end of a run; return its exit status, negative for the signal that killed it."""
        return self._say({"wait": pid})

    def _say(self, word: dict[str, Any]) -> int:
        self._to.write(json.dumps(word) + "\n")
        self._to.flush()
        return int(self._told.readline())


@contextmanager
def warm(**environment: str) -> Iterator[Warm]:
    """Keep a warm process while the block lasts, with more in its environment."""
    command = [sys.executable, __file__]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "ready\n"
        yield Warm(child.stdin, child.stdout)
        child.stdin.close()


def _run(arguments: list[str], out: str) -> None:
    """Be ``curate`` with these arguments; never comes back."""
    from curate.terminal.cli import app

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
        word = json.loads(line)
        if "wait" in word:
            print(os.waitstatus_to_exitcode(os.waitpid(word["wait"], 0)[1]), flush=True)
            continue
        pid = os.fork()
        if not pid:
            _run(**word)
        print(pid, flush=True)


if __name__ == "__main__":
    _main()
