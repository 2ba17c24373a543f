"""Two servers on this machine are two, unless the user says otherwise; replies are asked for afresh; two balances take turns."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate import progress
from curate.balance.annotate import annotate
from curate.balance.balance import balance
from curate.calls.client import open_teacher
from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.manifest.manifest import Manifest, load
from curate.teachers.options import TeacherOptions
from tests.support.loopback import Page, completion, serving
from tests.support.samples import ingested


def start(root: Path, n: int = 12, **more: Any) -> Manifest:
    return ingested(root, [{"prompt": f"{k} plus {k}?", "answer": str(2 * k), "domain": "sums", **more} for k in range(n)])


def solve(body: dict[str, Any], _: int) -> Page:
    number = int(body["messages"][-1]["content"].partition(" plus")[0].split()[-1])
    return completion(f"Added.\nThe answer is: {2 * number}")


def wrong(body: dict[str, Any], _: int) -> Page:
    return completion("No.\nThe answer is: none")


def names(url: str, root: Path, **options: Any) -> str:
    return open_teacher(TeacherOptions(teacher=url, model="m", **options), root=str(root)).endpoint


def test_two_servers_on_loopback_are_two_endpoints_unless_they_are_given_one_name(tmp_path: Path) -> None:
    first, other = "http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1"
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        assert [names(first, tmp_path), names(other, tmp_path), names(first, tmp_path)] == ["local", "local:8001/v1", "local"]
        assert names("http://localhost:8000/v1", tmp_path) == "local"
    assert "say so with --endpoint-name local" in notes[0]
    assert names(other, tmp_path, endpoint_name="local") == "local"
    assert names("https://api.example.com/v1", tmp_path, endpoint_name="mine") == "mine"
    dry = TeacherOptions(teacher=other, model="n")
    assert open_teacher(dry, root=str(tmp_path), to_ask=False).endpoint == "local"
    assert names(first, tmp_path) == "local"


def test_replies_of_one_server_are_not_those_of_another(tmp_path: Path) -> None:
    manifest = start(tmp_path, status="selected")
    with serving(wrong) as one:
        annotate(manifest, teacher=one.url, model="m")
        with serving(solve) as two:
            done = annotate(load("tail", root=str(tmp_path)), teacher=two.url, model="m")
    assert (len(one.seen), len(two.seen), done.written) == (12, 12, 12)


def test_replies_are_asked_for_again_where_that_is_wanted_and_charged(tmp_path: Path) -> None:
    manifest, broken = start(tmp_path, 60), [True]
    options: dict[str, Any] = {
        "budget": 20,
        "policy": "natural",
        "auditors": ["malformed", "answer_mismatch"],
        "model": "m",
        "concurrency": 2,
    }
    with serving(lambda body, n: wrong(body, n) if broken[0] and n % 2 else solve(body, n)) as server:
        options |= {"teacher": server.url, "fill": "none"}
        first = balance(manifest, **options)
        bought = len(server.seen)
        broken[0] = False
        balance(load("tail", root=str(tmp_path)), **options)
        assert len(server.seen) == bought, "the stage is done"
        again = balance(load("tail", root=str(tmp_path)), **options, fresh=True)
    ledger = Ledger(ledger_path(str(tmp_path)))
    assert len(server.seen) > bought
    assert ledger.charged("tail").calls == len(server.seen)
    assert sum(again.stages[0].achieved.values()) == 20
    assert first.stages[0].rejected != again.stages[0].rejected
    ledger.close()


def test_two_equal_balances_at_once_do_the_work_once(tmp_path: Path) -> None:
    manifest = start(tmp_path, 30)
    results: list[Any] = []

    def work() -> None:
        results.append(
            balance(manifest, budget=10, policy="natural", teacher=server.url, model="m", auditors=["malformed"], concurrency=2)
        )

    with serving(lambda body, n: replace(solve(body, n), delay=0.05)) as server:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.seen) == 10
    assert [result.manifest.version for result in results] == [results[0].manifest.version] * 2
    assert sorted(stage.reused for result in results for stage in result.stages) == [False, True]
    assert load("tail", root=str(tmp_path)).rows().filter(status="selected").height == 10
    assert json.dumps(results[0].to_dict()["domains"]) == json.dumps(results[1].to_dict()["domains"])
