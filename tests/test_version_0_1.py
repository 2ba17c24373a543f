"""What version 0.1 wrote is read as before: manifests and their logs, the ledger and its keys, plans, run records.

`tests/fixtures/version-0.1` was written by 0.1.0 and is never written again; every test works on a copy. `sums` was balanced in
two stages by ``baldistill run plan.toml`` from recorded replies, with a tiny student that scored rows between them (the student
and the adapters' weights are left out); `live` was balanced by a server on loopback. The tests use commands, as a user does, and
compare with what 0.1.0 said, so they stay as they are when modules and classes are renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from safetensors.numpy import save_file
from typer.testing import CliRunner

import baldistill.cli
import curate.terminal.cli
from baldistill.runs import plan
from curate.manifest import load
from tests.support.loopback import Server, refusal, serving

FIXTURE = Path(__file__).parent / "fixtures" / "version-0.1"
AUDITORS = ("--auditor", "malformed", "--auditor", "answer_mismatch")
SUMS = (
    "--budget",
    "18",
    "--stages",
    "2",
    "--policy",
    "adaptive",
    "--selector",
    "ifd",
    "--teacher",
    "recorded:replies.jsonl",
    *AUDITORS,
)
LIVE = ("--budget", "9", "--policy", "uniform", "--selector", "random", "--model", "tiny-teacher", *AUDITORS)
# Of each version: its verb, its rows by status, and how many of them are synthetic.
VERSIONS = {
    "sums": [
        ("ingest", {"candidate": 25}, 0),
        ("balance", {"candidate": 17, "selected": 9}, 1),
        ("score", {"candidate": 17, "selected": 9}, 1),
        ("balance", {"candidate": 11, "selected": 18}, 4),
    ],
    "live": [("ingest", {"candidate": 25}, 0), ("balance", {"candidate": 17, "selected": 9}, 1)],
}
COLUMNS = ("--prompt", "question", "--answer", "answer", "--domain", "topic")


def digests(folder: Path) -> dict[str, str]:
    """Return a hash of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module", autouse=True)
def _the_fixture_stays_as_it_is() -> Iterator[None]:
    before = digests(FIXTURE)
    yield
    assert digests(FIXTURE) == before


@pytest.fixture(autouse=True)
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of what 0.1.0 wrote, which is the working directory."""
    shutil.copytree(FIXTURE, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve refusals, and demand that nobody heard one."""
    with serving(lambda body, n: refusal(401, "nobody is to be asked")) as server:
        yield server
        assert server.seen == []


def call(program: Any, *arguments: str) -> Any:
    """Run a command with --json and return what it printed."""
    done = CliRunner().invoke(program.app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def curate_(*arguments: str) -> Any:
    return call(curate.terminal.cli, *arguments)


def rows(reference: str) -> pl.DataFrame:
    return load(reference).rows().sort("id")


def attempts(old: Path) -> int:
    """Return how often any teacher was asked, by the ledger's own table."""
    with closing(sqlite3.connect(old / "manifests" / "ledger.sqlite")) as ledger:
        return int(ledger.execute("SELECT count(*) FROM attempts").fetchone()[0])


@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_and_its_log_are_read(name: str) -> None:
    commits = curate_("log", name)["commits"]
    assert [commit["verb"] for commit in commits] == [verb for verb, _, _ in VERSIONS[name]]
    assert {commit["package"] for commit in commits} == {"0.1.0"}
    assert commits[0]["summary"]["added"] == 25
    for version, (_, statuses, synthetic) in enumerate(VERSIONS[name]):
        manifest = load(f"{name}@{version}")
        frame = manifest.rows()
        assert dict(frame["status"].value_counts().iter_rows()) == statuses
        assert frame.filter(source="synthetic").height == synthetic
        assert manifest.examples(frame)["prompt"].null_count() == 0


def test_the_same_file_again_adds_nothing_to_rows_of_old_ids() -> None:
    before = rows("sums")
    again = curate_("ingest", "sums.jsonl", "--to", "sums", *COLUMNS)
    assert (again["added"], again["already"], again["updated"]) == (0, 25, {})
    changed = curate_("ingest", "sums.jsonl", "--to", "sums", *COLUMNS[:-1], "answer", "--licence", "mit")
    assert (changed["added"], changed["gone"]) == (0, 0)
    assert changed["updated"] == {"domain": 25, "extra": 25}
    after = rows("sums")
    assert after["id"].to_list() == before["id"].to_list()
    assert after.filter(source="real")["record_key"].null_count() == 0
    assert after.filter(source="synthetic").drop("record_key").equals(before.filter(source="synthetic").drop("record_key"))
    back = curate_("ingest", "sums.jsonl", "--to", "sums", *COLUMNS)
    assert back["updated"] == {"domain": 25, "extra": 25}
    assert_frame_equal(
        rows("sums").drop("record_key", "cluster", "centrality"), before.drop("record_key", "cluster", "centrality")
    )


def test_a_file_that_grew_adds_its_new_rows_to_rows_of_old_ids(old: Path) -> None:
    lines = (old / "sums.jsonl").read_text(encoding="utf-8").splitlines()
    new = {"question": "What is 1 + 1?", "answer": "2", "topic": "tail"}
    (old / "sums.jsonl").write_text("\n".join([lines[-1], *lines[1:-1], json.dumps(new)]) + "\n", encoding="utf-8")
    done = curate_("ingest", "sums.jsonl", "--to", "sums", *COLUMNS)
    assert (done["added"], done["already"], done["gone"], done["updated"]) == (1, 24, 1, {})


def test_two_versions_are_compared() -> None:
    told = curate_("diff", "sums", "--old", "2")
    assert (told["added"], told["gone"], told["changed"]) == (3, 0, 14)
    assert told["columns"] == {"reason": 14, "call_id": 6, "content": 6, "n_chars": 6, "stage": 6, "status": 6}


def test_a_row_is_explained() -> None:
    told = CliRunner().invoke(curate.terminal.cli.app, ["explain", "sums", "09283905"])
    assert told.exit_code == 0, told.stderr
    words = " ".join(told.stdout.split())
    for part in ("row 09283905ee44b34f25baf26924e05b9c", "teacher:recorded:replies.jsonl#1", "521057998672143", "fills the tail"):
        assert part in words
    assert "stage 1 of run sums-run" in words, "it knows the run record"
    real = CliRunner().invoke(curate.terminal.cli.app, ["explain", "live", "0daf"])
    assert real.exit_code == 0, real.stderr
    assert "sums.jsonl" in real.stdout


@pytest.mark.parametrize(("name", "rows", "real"), [("sums", 26, 22), ("live", 23, 22)])
def test_the_tail_is_profiled(name: str, rows: int, real: int) -> None:
    told = curate_("profile", name)
    assert (told["rows"], told["splits"]["test"], told["duplicates"]) == (rows, 3, 0)
    assert sum(line["real"] for line in told["domains"]) == real
    assert sum(line["selected"] for line in told["domains"]) == {"sums": 18, "live": 9}[name]


@pytest.mark.parametrize(
    ("name", "calls", "tokens", "purposes"),
    [("sums", 18, 0, {"rationale": 14, "synthesis": 4}), ("live", 9, 270, {"rationale": 8, "synthesis": 1})],
)
def test_the_ledger_adds_up(name: str, calls: int, tokens: int, purposes: dict[str, int]) -> None:
    told = curate_("ledger", name)
    assert (told["calls"], told["answered"], told["lost"], told["tokens"]) == (calls, calls, 0, tokens)
    assert {purpose: sums["calls"] for purpose, sums in told["by"]["purpose"].items()} == purposes
    assert [line["ended"] for line in told["estimates"]] == [True] * len(told["estimates"])
    bought = curate_("ledger", name, "--calls")["receipts"]
    assert len(bought) == calls
    one = curate_("ledger", name, "--call", str(bought[0]["call_id"]))
    assert bought[0]["reply"].split()[0] in json.dumps(one)


def test_answers_move_to_another_ledger(old: Path) -> None:
    assert curate_("ledger-export", "answers.jsonl")
    assert curate_("ledger-import", "answers.jsonl", "--root", "elsewhere")
    with closing(sqlite3.connect(old / "elsewhere" / "manifests" / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT count(*) FROM calls").fetchone() == (27,)


def test_the_selected_rows_are_exported(old: Path) -> None:
    told = curate_("export", "live@latest", "--to", "jsonl", "--destination", "out")
    assert (told["manifest"], told["rows"]) == ("live@1", {"train": 9, "test": 3})
    written = [json.loads(line) for line in (old / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["id"] for row in written} == set(rows("live").filter(status="selected")["id"])


def test_balance_again_asks_nobody_and_commits_nothing(old: Path, server: Server) -> None:
    before, asked = [digests(old / "manifests" / name) for name in VERSIONS], attempts(old)
    sums = curate_("balance", "sums", *SUMS)
    live = curate_("balance", "live", *LIVE, "--teacher", server.url)
    assert (sums["version"], [stage["reused"] for stage in sums["stages"]]) == (3, [True, True])
    assert (live["version"], [stage["reused"] for stage in live["stages"]]) == (1, [True])
    assert [line["achieved"] for line in sums["domains"]] == [9, 5, 4]
    assert (sums["calls"], live["calls"], attempts(old)) == (0, 0, asked)
    assert [digests(old / "manifests" / name) for name in VERSIONS] == before


def test_what_was_bought_answers_a_new_manifest(old: Path, server: Server) -> None:
    """The same questions, the same requests, the same keys: rows of a new manifest, whose ids are others, cost no new call."""
    asked = attempts(old)
    manifest = load("live@1")
    bought = manifest.examples(manifest.rows().filter(status="selected", source="real"))
    columns = {"question": "prompt", "answer": "answer", "topic": "domain"}
    bought.select(**{name: pl.col(column) for name, column in columns.items()}).write_ndjson(old / "bought.jsonl")
    assert curate_("ingest", "bought.jsonl", "--to", "live2", *COLUMNS)["added"] == 8
    options = ("--budget", "8", "--policy", "natural", *LIVE[4:])
    told = curate_("balance", "live2", *options, "--teacher", server.url)
    assert (told["calls"], told["stages"][0]["saved"], told["stages"][0]["reused"]) == (0, 8, False)
    again = load("live2@1").examples()
    texts = ("prompt", "answer", "rationale", "call_id")
    assert_frame_equal(again.select(texts).sort("prompt"), bought.select(texts).sort("prompt"))
    assert set(again["id"]).isdisjoint(bought["id"])
    assert attempts(old) == asked


def test_the_plan_is_read() -> None:
    read = plan.load("plan.toml")
    assert (read.name, read.manifest) == ("sums-run", "sums")
    assert read.parameters("balance")["teacher"] == "recorded:replies.jsonl"


def test_the_run_is_finished_and_compared(old: Path) -> None:
    (old / "tiny").mkdir()  # the student: a finished run loads none
    for stage in (0, 1):  # the weights that the fixture leaves out
        adapter = old / "manifests" / "runs" / "sums-run" / f"stage-{stage}" / "adapter"
        weights = np.zeros((16, 32), dtype=np.float32)
        save_file({"base_model.model.model.layers.0.mlp.down_proj.lora_A.weight": weights}, adapter / "adapter_model.safetensors")
    before = {name: rows(name) for name in VERSIONS}
    told = call(baldistill.cli, "compare", "sums-run")
    assert [(line["stage"], line["snapshot"], line["rows"], line["calls"]) for line in told["lines"]] == [
        (-1, "sums@0", 0, 0),
        (0, "sums@1", 9, 9),
        (1, "sums@3", 18, 18),
    ]
    ran = call(baldistill.cli, "run", "plan.toml")
    assert (ran["manifest"], [stage["snapshot"] for stage in ran["stages"][1:]]) == ("sums@3", ["sums@1", "sums@3"])
    assert ran["stages"][2]["metrics"] == told["lines"][2]["metrics"]
    assert load("sums").version == 3
    for name, frame in before.items():
        assert_frame_equal(rows(name), frame)
