"""Keys, what an address holds beside the place, and the user's own folders stand in no file and no line that a run makes."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

from tests.support.loopback import Page, Server, completion, refusal, serving
from tests.support.warm import Warm, warm

KEY = "sk-loopback-0123456789abcdef"
USER, PASSWORD, TOKEN = "gateway-user-name", "pass@word-of-gateway", "token-in-the-query"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CRASH = """
import sys
from curate.calls import account

def crash(raw):
    raise ZeroDivisionError(f"a bug, met with a reply of {len(raw)} characters")

account.parse_response = crash
from curate.terminal.cli import app
app(sys.argv[1:])
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="forks runs from a warm process")


def answer(body: dict[str, Any], n: int) -> Page:
    """Tell every secret in an error, in a reply that nobody can read and in a good one, as debugging servers do; then be good."""
    secrets = " ".join([KEY, USER, PASSWORD, quote(PASSWORD, safe=""), TOKEN, f"Basic {BASIC}", f"Bearer {KEY}"])
    if n == 0:
        return refusal(500, f"cannot serve {secrets}")
    if n == 2:
        return Page(body=f"<html>proxy: {secrets}</html>")
    if n == 3:
        return refusal(400, f"too long for {secrets}")
    if "response_format" in body:
        told = {"prompt": f"How much is {body['seed']} and 4?", "rationale": "The answer is: 4", "answer": "4"}
        return completion(json.dumps(told), debug=secrets)
    return completion(f"Added for {KEY}.\nThe answer is: 4", reasoning_content=secrets)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the user's home, with everything in it that runs of all kinds have made."""
    home = tmp_path_factory.mktemp("home-of-somebody")
    (home / "work").mkdir()
    rows = ({"q": f"Case {n}: how much is 2 plus 2?", "a": "4", "d": "sums"} for n in range(6))
    (home / "work" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with warm(OPENAI_LOG="debug", GATEWAY_KEY=KEY, HOME=str(home)) as process, serving(answer) as server:
        make_everything(process, home, server)
    return home


def make_everything(process: Warm, home: Path, server: Server) -> None:
    root = home / "work"

    def curate(*arguments: str, status: int = 0) -> None:
        said = root / f"{arguments[0]}.out"
        assert process.wait(process.start([*arguments, "--root", str(root)], said)) == status, said.read_text()

    def address(server: Server) -> list[str]:
        url = server.url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@") + f"?token={TOKEN}"
        return ["--teacher", url, "--model", "m", "--api-key-env", "GATEWAY_KEY", "--concurrency", "1"]

    balance = ["--policy", "uniform", "--selector", "random", "--auditor", "malformed", *address(server)]
    curate("ingest", str(root / "rows.jsonl"), "--to", "sums", "--prompt", "q", "--answer", "a", "--domain", "d")
    curate("balance", "sums", "--budget", "8", *balance)
    with serving(lambda body, n: refusal(401, f"Incorrect API key provided: {KEY}, Basic {BASIC}, {TOKEN}")) as refusing:
        curate("synthesize", "sums", "--domain", "sums", "--n", "2", "--auditor", "malformed", *address(refusing), status=1)
    curate("annotate", "sums", "--teacher", f"http://{USER}:pass/{PASSWORD}@[127.0.0.1/v1", "--model", "m", status=1)
    for looking in (["log"], ["ledger", "--calls"], ["ledger", "--json"], ["profile"]):
        curate(looking[0], "sums", *looking[1:])
    first = pl.read_parquet(next((root / "manifests" / "sums" / "manifest").rglob("*.parquet")))["id"][0]
    curate("explain", "sums", first)
    curate("diff", "sums", "--old", "0")
    curate("ledger-export", str(root / "answers.jsonl"))
    curate("export", "sums", "--to", "datasets", "--destination", str(root / "exported"))
    again = ["synthesize", "sums", "--domain", "sums", "--n", "1", *address(server), "--root", str(root)]
    crashed = subprocess.run([sys.executable, "-c", CRASH, *again], capture_output=True, text=True, env=environment(home))
    assert "ZeroDivisionError: a bug" in crashed.stderr
    (root / "crash.out").write_text(crashed.stdout + crashed.stderr)


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "OPENAI_LOG": "debug", "GATEWAY_KEY": KEY, "HOME": str(home)}


def texts(home: Path) -> Iterator[tuple[str, str]]:
    """Yield every file, unpacked where it is packed, by its name."""
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        yield path.name, path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            yield path.name, pl.read_parquet(path).write_ndjson()
        if path.suffix == ".sqlite":
            ledger = sqlite3.connect(path)
            yield path.name, "\n".join(ledger.iterdump())
            ledger.close()


def test_the_runs_made_what_they_should(home: Path) -> None:
    told = "".join(text for _, text in texts(home))
    for word in ("DEBUG", "refuses: 401", "the address is not a URL", "ZeroDivisionError", "cannot serve ***", "proxy: ***"):
        assert word in told
    names = {name for name, _ in texts(home)}
    assert {"ledger.sqlite", "answers.jsonl", "README.md", "crash.out", "balance.out"} <= names


@pytest.mark.parametrize("secret", [KEY, USER, PASSWORD, quote(PASSWORD, safe=""), TOKEN, BASIC], ids=repr)
def test_no_secret_stands_anywhere(home: Path, secret: str) -> None:
    assert [name for name, text in texts(home) if secret in text] == []


def test_no_folder_of_the_user_stands_anywhere(home: Path) -> None:
    told_where = {"export.out", "ledger-export.out"}  # say on the screen where they wrote, as they were told
    assert {name for name, text in texts(home) if str(home) in text} == told_where
