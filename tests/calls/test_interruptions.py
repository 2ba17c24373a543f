"""Ctrl-C as a user presses it: once and twice, at a command whose teacher is a real server; then the same command again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curate.ledger.ledger import Ledger
from tests.support.loopback import Page, Server, completion, serving
from tests.support.samples import ingested

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")

ROWS = [{"prompt": f"What is {i} plus {i}?", "answer": str(2 * i), "domain": "sums", "status": "selected"} for i in range(40)]


def start(root: Path, url: str) -> subprocess.Popen[str]:
    options = ["--teacher", url, "--model", "m", "--concurrency", "4", "--root", str(root), "--max-calls", "100"]
    command = [sys.executable, "-c", "from curate.terminal.cli import main; main()", "annotate", "math", *options, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def right(body: dict[str, Any]) -> Page:
    number = int(re.findall(r"What is (\d+) plus", body["messages"][-1]["content"])[-1])
    return completion(f"Twice {number}.\nThe answer is: {2 * number}")


def wait_until(run: subprocess.Popen[str], server: Server, seen: int) -> None:
    while len(server.seen) < seen and run.poll() is None:
        time.sleep(0.005)


def statuses(root: Path) -> Counter[str]:
    ledger = Ledger(root / "manifests" / "ledger.sqlite")
    found = Counter(status for (status,) in ledger.query("SELECT status FROM attempts"))
    ledger.close()
    return found


def test_the_first_ctrl_c_waits_keeps_and_says_how_to_go_on(tmp_path: Path) -> None:
    ingested(tmp_path, ROWS, name="math")
    opened = threading.Event()

    def script(body: dict[str, Any], n: int) -> Page:
        if n >= 8:
            opened.wait()
        return right(body)

    with serving(script) as server:
        run = start(tmp_path, server.url)
        wait_until(run, server, 12)
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        told = next(line for line in run.stderr if "no more calls are sent" in line)
        opened.set()
        out, rest = run.communicate()
        sent = len(server.seen)
        assert (run.returncode, out) == (130, "")
        assert "waiting for 4 in flight; Ctrl-C again does not wait" in told
        assert "error: interrupted; manifests are as their last commit left them; calls bought and kept: 12, none is in" in rest
        assert "run the same command again to continue" in rest
        assert (sent, statuses(tmp_path)) == (12, {"answered": 12})
        again = start(tmp_path, server.url)
        out, _ = again.communicate()
        assert (again.returncode, len(server.seen)) == (0, 40)
        assert '"written": 40' in out
        assert '"saved": 12' in out


def test_the_second_ctrl_c_does_not_wait_and_what_was_in_flight_stays_charged(tmp_path: Path) -> None:
    ingested(tmp_path, ROWS, name="math")
    opened = threading.Event()

    def script(body: dict[str, Any], n: int) -> Page:
        if 8 <= n < 12:
            opened.wait()
        return right(body)

    with serving(script) as server:
        run = start(tmp_path, server.url)
        wait_until(run, server, 12)
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        assert any("no more calls are sent" in line for line in run.stderr)
        run.send_signal(signal.SIGINT)
        _, rest = run.communicate()
        opened.set()
        assert run.returncode == 130
        assert "calls bought and kept: 8, 4 in flight stay charged at their upper bounds; run the same command again" in rest
        assert statuses(tmp_path) == {"answered": 8, "lost": 4}
        again = start(tmp_path, server.url)
        out, _ = again.communicate()
        assert (again.returncode, len(server.seen)) == (0, 44)
        assert '"written": 40' in out
