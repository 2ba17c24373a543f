"""Runs killed at random moments and started again: nothing that was answered is sent again, and the rows are the same.

20 runs always, 180 more with ``-m slow``; ``-s`` prints the sums that docs/teachers.md shows.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.manifest import manifest
from curate.report import costs
from curate.terminal.commands import STOPPED
from tests.support.loopback import Page, Server, completion, serving
from tests.support.samples import ingested
from tests.support.warm import Warm, warm

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks after processes in /proc")

CONCURRENCY = 4
AUDITED = ["--auditor", "malformed", "--auditor", "answer_mismatch"]
VERBS = {
    "balance": ["--budget", "20", "--stages", "2", "--policy", "uniform", "--selector", "random", *AUDITED],
    "annotate": [],
    "synthesize": ["--domain", "head", "--domain", "tail", "--n", "6", *AUDITED],
}
ENDS = {"annotate": STOPPED}  # of an undisturbed run: some rationales are wrong, and annotate asks for each once
TURNS = ("balance", "balance", "balance", "annotate", "synthesize")  # by seed
LOST = re.compile(r"(\d+) calls were under way when an earlier run ended")


def questions(verb: str) -> list[dict[str, Any]]:
    status = "selected" if verb == "annotate" else "candidate"
    return [
        {
            "prompt": f"{domain} item {i}: {i * 17 + 3} plus {i * 5}?",
            "answer": str(i * 22 + 3),
            "domain": domain,
            "status": status,
        }
        for domain, n in {"head": 16, "tail": 3}.items()
        for i in range(n)
    ]


def answer(body: dict[str, Any], _: int) -> Page:
    """Answer as the request alone tells, some of them wrongly, so that there are further rounds."""
    odd = random.Random(json.dumps([body["messages"], body["seed"]]))
    time.sleep(odd.uniform(0.002, 0.02))
    if "response_format" in body:
        n = body["seed"]
        if odd.random() < 0.2:
            return completion("I cannot help with that.")
        told = {"prompt": f"A shelf holds {n} and {7 * n} more?", "rationale": f"The answer is: {8 * n}", "answer": str(8 * n)}
        return completion(json.dumps(told))
    first, second = map(int, re.findall(r"(\d+) plus (\d+)\?", body["messages"][-1]["content"])[-1])
    return completion(f"Added.\nThe answer is: {first + second + (odd.random() < 0.2)}")


@dataclass(frozen=True)
class Undisturbed:
    """One run that nobody killed: how long it took, after how much of that it was answered for the last time, its rows."""

    seconds: float
    answered: float
    calls: int
    version: int
    rows: pl.DataFrame


class Bench:
    """Starts runs, and keeps what undisturbed ones came to and what the others sum to."""

    def __init__(self, warm: Warm, folder: Path) -> None:
        self.warm, self.folder = warm, folder
        self.sums: Counter[str] = Counter()
        self._whole: dict[str, Undisturbed] = {}

    def start(self, verb: str, root: Path, server: Server, *more: str) -> int:
        asked = ["--teacher", server.url, "--model", "m", "--concurrency", str(CONCURRENCY), "--root", str(root)]
        return self.warm.start([verb, "sums", *VERBS[verb], *asked, *more], root / "said.txt")

    def whole(self, verb: str) -> Undisturbed:
        if verb not in self._whole:
            root = self.folder / verb
            ingested(root, questions(verb), name="sums")
            with serving(answer) as server:
                begun = time.monotonic()
                pid = self.start(verb, root, server)
                answered = begun
                while at_work(pid):
                    known = len(server.answered)
                    time.sleep(0.005)
                    answered = time.monotonic() if len(server.answered) > known else answered
                assert self.warm.wait(pid) == ENDS.get(verb, 0), (root / "said.txt").read_text()
                seconds = time.monotonic() - begun
                assert len(server.bodies) == len({sent(body) for body in server.bodies})
                last = manifest.load("sums", root=root).version
                self._whole[verb] = Undisturbed(seconds, answered - begun, len(server.bodies), last, final(root))
        return self._whole[verb]


def at_work(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def sent(body: dict[str, Any]) -> tuple[str, int]:
    return json.dumps(body["messages"], sort_keys=True), body["seed"]


def final(root: Path) -> pl.DataFrame:
    last = manifest.load("sums", root=root)
    return last.examples(last.rows()).sort("id")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with warm() as process:
        bench = Bench(process, tmp_path_factory.mktemp("whole"))
        yield bench
    print("\nkilled runs:", ", ".join(f"{name} {n:,}" for name, n in bench.sums.items()))


def kill_at(rng: random.Random, whole: Undisturbed, server: Server) -> Iterator[bool]:
    """Yield False until the moment has come: any moment of the run, or, one time in four, of what follows the last answer."""
    late = rng.random() < 0.25
    moment = time.monotonic() + rng.random() * (whole.seconds - whole.answered if late else whole.seconds)
    while late and len({sent(body) for body in server.bodies}) < whole.calls:
        moment += 0.002
        yield False
    while time.monotonic() < moment:
        yield False
    yield True


def run_killed(bench: Bench, verb: str, root: Path, server: Server, rng: random.Random) -> int:
    """Run a verb to its end, killed up to three times on the way; return how often."""
    kills, whole = 0, bench.whole(verb)
    for left in range(rng.randint(1, 3), -1, -1):
        if manifest.load("sums", root=root).version == whole.version:
            break
        pid = bench.start(verb, root, server)
        moment = kill_at(rng, whole, server)
        while left and at_work(pid):
            if next(moment):
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.002)
        status = bench.warm.wait(pid)
        assert status in (ENDS.get(verb, 0), -signal.SIGKILL), (root / "said.txt").read_text()
        kills += status == -signal.SIGKILL
    return kills


@pytest.mark.parametrize("seed", [*range(20), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 200))])
def test_a_killed_run_sends_nothing_answered_again_and_ends_with_the_same_rows(bench: Bench, tmp_path: Path, seed: int) -> None:
    rng, verb = random.Random(seed), TURNS[seed % len(TURNS)]
    ingested(tmp_path, questions(verb), name="sums")
    whole = bench.whole(verb)
    with serving(answer) as server:
        kills = run_killed(bench, verb, tmp_path, server, rng)
        received = Counter(sent(body) for body in server.bodies)

    assert final(tmp_path).equals(whole.rows)
    assert len(received) == whole.calls
    ledger = Ledger(ledger_path(str(tmp_path)))
    fates: dict[tuple[str, int], list[str]] = {}
    for request, status in ledger.query("SELECT c.request, a.status FROM attempts a JOIN calls c ON c.id = a.call ORDER BY a.id"):
        shaped = json.loads(request)
        fates.setdefault((json.dumps(shaped["messages"], sort_keys=True), shaped["sample"]), []).append(status)
    assert fates.keys() == received.keys()
    for call, fate in fates.items():
        assert fate == ["lost"] * (len(fate) - 1) + ["answered"]  # once answered, never sent again
        assert received[call] <= len(fate)
    lost = sum(map(len, fates.values())) - len(fates)
    assert received.total() - len(received) <= lost <= kills * CONCURRENCY
    told = costs.read_costs("sums", root=tmp_path)
    assert (told.lost, told.under_way, told.answered) == (lost, 0, len(fates))
    assert sum(map(int, LOST.findall((tmp_path / "said.txt").read_text()))) <= lost  # a run may be killed before it says so
    owed = "SELECT SUM(calls), SUM(tokens), MIN(status != 'lost' OR tokens = reserved_tokens) FROM attempts"
    assert ledger.query(owed) == [(*ledger.query("SELECT calls, tokens FROM accounts")[0], 1)]
    assert ledger.query("SELECT COUNT(*) FROM attempts WHERE status = 'answered' AND NOT billed") == [(0,)]
    ledger.close()
    again = received.total() - len(received)
    bench.sums.update(runs=1, kills=kills, sent=received.total(), answered=len(received))
    bench.sums.update({"sent again": again, "lost": lost})


@pytest.mark.parametrize("seed", range(3))
def test_a_cap_holds_over_kills_and_what_was_lost_stays_charged(bench: Bench, tmp_path: Path, seed: int) -> None:
    rng, cap = random.Random(seed), 14
    ingested(tmp_path, questions("balance"), name="sums")
    with serving(answer) as server:
        for left in range(3, -1, -1):
            pid = bench.start("balance", tmp_path, server, "--max-calls", str(cap))
            while left and at_work(pid) and len(server.bodies) < cap - 4 * left:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.1)
            if left and at_work(pid):
                os.kill(pid, signal.SIGKILL)
            assert bench.warm.wait(pid) in (STOPPED, -signal.SIGKILL)
    ledger = Ledger(ledger_path(str(tmp_path)))
    fates = Counter(status for (status,) in ledger.query("SELECT status FROM attempts"))
    assert len(server.bodies) <= fates.total() == cap
    assert ledger.charged("sums").calls == cap
    assert fates.keys() <= {"answered", "lost"}
    assert f"--max-calls {cap}" in (tmp_path / "said.txt").read_text()
    ledger.close()


def test_two_processes_that_want_the_same_answers_buy_them_once(bench: Bench, tmp_path: Path) -> None:
    for name in ("sums", "twin"):
        ingested(tmp_path, questions("annotate"), name=name)
    with serving(lambda body, n: replace(answer(body, n), delay=0.1)) as server:
        asked = ["--teacher", server.url, "--model", "m", "--concurrency", str(CONCURRENCY), "--root", str(tmp_path)]
        pids = [bench.warm.start(["annotate", name, *asked], tmp_path / f"{name}.txt") for name in ("sums", "twin")]
        assert [bench.warm.wait(pid) for pid in pids] == [ENDS["annotate"]] * 2
    received = Counter(sent(body) for body in server.bodies)
    assert (received.total(), len(received)) == (19, 19)
    told = [costs.read_costs(name, root=tmp_path) for name in ("sums", "twin")]
    assert (told[0].answered + told[1].answered, told[0].saved_calls + told[1].saved_calls) == (19, 19)
    twins = [manifest.load(name, root=tmp_path) for name in ("sums", "twin")]
    rationales = [twin.examples(twin.rows()).sort("prompt").select("prompt", "rationale", "call_id") for twin in twins]
    assert rationales[0].equals(rationales[1])
