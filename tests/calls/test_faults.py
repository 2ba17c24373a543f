"""What goes wrong between us and a server: what is written down, what is charged, what the user sees.

Every case is a run of ``curate balance`` over real HTTP; docs/teachers.md has a line for each, and a test compares the two.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff
from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.manifest import manifest
from curate.manifest.manifest import Manifest
from curate.report import costs
from curate.teachers.base import Request
from curate.teachers.openai import OpenAITeacher
from curate.terminal.cli import app
from tests.support.loopback import Page, completion, refusal, serving
from tests.support.samples import ingested

QUICK = Backoff(first=0.001, longest=0.002, tries=3)
PATIENCE = 1.5  # seconds that a run waits for a reply
GOOD = "Added.\nThe answer is: 4"
BOUND = (1, "bound", "money")  # calls, tokens, money
CALL = (1, 0, 0)
REPORTED = (1, 30, 40_000)  # 20 tokens at $1 and 10 at $2 a million, in billionths of a dollar
USAGE = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
MORE = (1, 100_020, 200_020_000)
CUT = '{"choices": [{"message": {"role": "assistant", "content": "half a th'

# What a charge is called in the docs.
WORDS = {
    BOUND: "a call, at its upper bound",
    CALL: "a call, no tokens",
    REPORTED: "as reported",
    MORE: "as reported",
    (1, 1030, 2_040_000): "as reported, the difference as output",
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with the first request of a run; `ever` with every request.

    Attributes:
        page: what the server sends.
        attempts: status and error of the first call's attempts.
        charge: of the first of them: calls, tokens, billionths of a dollar.
        says: what stands on the screen; empty for nothing of it.
        raw: what is kept of the reply.
        finding: why the row was passed over and tried again, where it was.
        synthesis: it goes wrong with the first new example instead.
        status: exit status.
    """

    page: Page
    attempts: tuple[tuple[str, str | None], ...]
    charge: tuple[Any, ...]
    says: str = ""
    raw: str | None = None
    finding: str = ""
    synthesis: bool = False
    ever: bool = False
    status: int = 0


def passing(page: Page, left: str, error: str, charge: tuple[Any, ...], raw: str | None = None) -> Fault:
    """Return a fault that is tried again, and told of while it is."""
    return Fault(page, ((left, error), ("answered", None)), charge, f"teacher: 'local': {error}", raw)


def unfit(page: Page, finding: str, *, synthesis: bool = False) -> Fault:
    """Return a reply that is bought, paid for as it tells, never sent for again, and of no use."""
    return Fault(page, (("answered", None),), REPORTED, raw="choices", finding=finding, synthesis=synthesis)


def counted(charge: tuple[Any, ...], **usage: Any) -> Fault:
    """Return a good reply that tells of other tokens."""
    body = json.loads(completion(GOOD).body)
    return Fault(Page(body=json.dumps({**body, "usage": usage})), (("answered", None),), charge, raw="usage")


def fatal(page: Page, error: str, says: str, *, tries: int = 1, raw: str | None = None) -> Fault:
    """Return a fault that ends the run."""
    return Fault(page, (("failed", error),) * tries, CALL, f"error: {says}", raw, ever=True, status=1)


def later(fault: Fault) -> Fault:
    """Return a fault that comes with the first new example, after rationales were answered."""
    return replace(fault, synthesis=True)


HTML = Page(body="<html>We'll be back</html>", headers={"Content-Type": "text/html"})
NULL = Page(body=completion("").body.replace('"content": ""', '"content": null'))
FAULTS = {
    "429 with `Retry-After`": passing(refusal(429, "slow down", retry_after="0.05"), "failed", "429 slow down", CALL),
    "429 without it": passing(refusal(429, "slow down"), "failed", "429 slow down", CALL),
    "500": passing(refusal(500, "oops"), "failed", "500 oops", CALL),
    "503": passing(refusal(503, "overloaded"), "failed", "503 overloaded", CALL),
    "502, 504": passing(refusal(504, "gateway"), "lost", "504 gateway", BOUND),
    "no reply in time": passing(replace(completion("late"), delay=3.0), "lost", "no reply within 1.5 s", BOUND),
    "a reply that arrives too slowly": passing(replace(completion("late"), drip=0.02), "lost", "no reply within 1.5 s", BOUND),
    "connection reset in the middle of a reply": passing(Page(body="x" * 999, cut=9, reset=True), "lost", "ReadError", BOUND),
    "connection closed in the middle of a reply": passing(replace(completion("x"), cut=30), "lost", "RemoteProtocol", BOUND),
    "JSON that ends too early": passing(Page(body=CUT), "failed", "the reply is not JSON", BOUND, "half a th"),
    "malformed JSON": passing(Page(body="{'choices': []}"), "failed", "the reply is not JSON", BOUND, "{'choices'"),
    "a web page with status 200, after good replies": later(
        passing(HTML, "failed", "a web page came, with status 200: <html>We'll be back</html>", CALL, "We'll be back")
    ),
    "a web page with status 200, before anything was answered": fatal(
        HTML, "a web page came", "teacher 'local' does not answer as one: a web page came, with status 200: <h", raw="We'll be"
    ),
    "an error with status 200": passing(
        Page(body='{"error": "busy"}'), "failed", "an error came, with status 200: busy", CALL, "busy"
    ),
    "no choices": unfit(Page(body=json.dumps({"choices": [], "usage": USAGE})), "the rationale is empty"),
    "no choices and no usage": replace(unfit(Page(body='{"choices": null}'), "the rationale is empty"), charge=BOUND),
    "the server broke the reply off (`error`, `abort`)": passing(
        completion("half a", finish_reason="abort"), "failed", "the server broke the reply off: 'abort'", REPORTED, "half a"
    ),
    "ended with a word that nobody knows": unfit(
        completion("Half a thought.", finish_reason="odd"), "the reply ended with 'odd'"
    ),
    "a control token in the middle of the text": unfit(completion("Two <|box_7|> and.\nThe answer is: 4"), "holds '<|box_7|>'"),
    "a reply of another shape": passing(Page(body='{"choices": [{"message": 4}]}'), "failed", "the reply has no me", BOUND, "4"),
    "`null` in place of text": unfit(NULL, "the rationale is empty"),
    "cut off by the token limit (`length`)": unfit(completion("half a th", finish_reason="length"), "cut off by its token limit"),
    "held back by a filter (`content_filter`)": unfit(completion("", finish_reason="content_filter"), "content filter"),
    "a refusal": unfit(completion("", refusal="I must decline."), "the teacher declined to answer"),
    "a new example that breaks the schema": unfit(completion('{"question": "?"}'), "the prompt is empty", synthesis=True),
    "no usage figures": counted(BOUND),
    "zero tokens for a text": counted(BOUND, prompt_tokens=20, completion_tokens=0, total_tokens=20),
    "zero tokens for a prompt": counted(BOUND, prompt_tokens=0, completion_tokens=10, total_tokens=10),
    "reasoning that is counted beside the reply": counted(
        (1, 1030, 2_040_000), prompt_tokens=20, completion_tokens=10, completion_tokens_details={"reasoning_tokens": 1000}
    ),
    "a total above the sum": counted((1, 1030, 2_040_000), prompt_tokens=20, completion_tokens=10, total_tokens=1030),
    "negative usage figures": counted(BOUND, prompt_tokens=-5, completion_tokens=10),
    "absurd usage figures": counted(BOUND, prompt_tokens=20, completion_tokens=10**30),
    "more tokens than the upper bound": counted(MORE, prompt_tokens=20, completion_tokens=100_000),
    "400 or 422 to one request": Fault(
        refusal(400, "too long"),
        (("failed", "400 too long"),),
        CALL,
        "the server rejected 1 of 3 requests, which are left out; the first: 400 too long",
    ),
    "401 or 402": fatal(refusal(401, "wrong key"), "401 wrong key", "teacher 'local' refuses: 401 wrong key; no key was sent"),
    "403 or 404 to the first three rows": fatal(
        refusal(404, "no such model"), "404 no such model", "teacher 'local' refuses: 404 no such model; is the address"
    ),
    "an error at every try": fatal(refusal(500, "oops"), "500 oops", "every one of 3 calls failed; the first: 500 oops", tries=3),
}
LEFT_OUT = {  # with tests of their own
    "a proxy or certificates of the environment that cannot be used",
    *("no server at the address", "the clock jumps", "killed while requests were under way"),
}


def serve(fault: Fault) -> Any:
    """Return a script: the fault for the first request it concerns, or for all; good answers else."""
    met: list[str] = []

    def script(body: dict[str, Any], n: int) -> Page:
        synthesis = "response_format" in body
        if fault.ever or (synthesis == fault.synthesis and not met):
            met.append("")
            return fault.page
        told = {"prompt": f"How much is {body['seed']} and 4?", "rationale": GOOD, "answer": "4"}
        return completion(json.dumps(told) if synthesis else GOOD)

    return script


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Three questions, a price, and a run that does not wait long."""
    monkeypatch.setitem(MeteredTeacher.__init__.__kwdefaults__, "backoff", QUICK)
    (tmp_path / "prices.toml").write_text("[m]\ninput = 1\noutput = 2\n")
    return ingested(tmp_path, [{"prompt": f"Case {n}: how much is 2 plus 2?"} for n in range(3)], name="sums")


def run(start: Manifest, url: str) -> int:
    """Be ``curate balance``; return its exit status."""
    shaped = ["--budget", "4", "--policy", "natural", "--selector", "random", "--auditor", "malformed", "--concurrency", "1"]
    shaped += ["--timeout", str(PATIENCE)]
    with pytest.raises(SystemExit) as end:
        app(["balance", "sums", *shaped, "--teacher", url, "--model", "m", "--root", start.root])
    return int(end.value.code or 0)


def first_call(ledger: Ledger, purpose: str) -> list[tuple[Any, ...]]:
    """Return the attempts of the call of a purpose that was sent first."""
    return ledger.query(
        "SELECT a.status, a.error, a.calls, a.tokens, a.nano_usd, a.reserved_tokens, a.reserved_nano_usd, r.raw, c.request "
        "FROM attempts a JOIN calls c ON c.id = a.call LEFT JOIN replies r ON r.attempt = a.id WHERE a.call = "
        "(SELECT a.call FROM attempts a JOIN calls c ON c.id = a.call WHERE c.purpose = ? ORDER BY a.id LIMIT 1) ORDER BY a.id",
        (purpose,),
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_written_down_charged_and_told_of(name: str, start: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    fault = FAULTS[name]
    with serving(serve(fault)) as server:
        assert run(start, server.url) == fault.status
    said = "".join(capsys.readouterr())

    ledger = Ledger(ledger_path(start.root))
    attempts = first_call(ledger, "synthesis" if fault.synthesis else "rationale")
    assert [attempt[0] for attempt in attempts] == [status for status, _ in fault.attempts]
    assert all((error or "").startswith(told or "") for (_, error, *_), (_, told) in zip(attempts, fault.attempts, strict=True))
    calls, tokens, nano, bound, bound_nano, raw, request = attempts[0][2:]
    assert (calls, tokens, nano) == tuple({"bound": bound, "money": bound_nano}.get(side, side) for side in fault.charge)
    assert (fault.raw or "") in (raw or "")
    assert (raw is None) == (fault.raw is None)
    assert fault.says in said
    assert ("asking again" in said) == (len(fault.attempts) > 1)
    charged, spend = ledger.charged("sums"), costs.read_costs("sums", root=start.root)
    assert (charged.calls, charged.tokens) == (spend.attempts, spend.tokens)
    ledger.close()

    sent = [(body["messages"], body["seed"]) for body in server.bodies]
    shaped = json.loads(request)
    assert sent.count((shaped["messages"], shaped["sample"])) == len(fault.attempts)
    after = manifest.load("sums", root=start.root)
    if fault.status:
        assert after.version == 0
        return
    rows = after.examples(after.rows())
    assert rows.filter(status="selected").height == 4
    found = [finding["message"] for told in rows["findings"].drop_nulls() for finding in json.loads(told)]
    assert [fault.finding in message for message in found] == ([True] if fault.finding else [])


def test_nobody_at_the_address(start: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(serve(FAULTS["500"])) as server:
        pass
    assert run(start, server.url) == 1
    said = capsys.readouterr().err
    assert "error: teacher 'local' cannot be reached: ConnectError" in said
    assert f"check the address {server.url} and that the server is up" in said
    ledger = Ledger(ledger_path(start.root))
    assert (ledger.charged("sums").calls, ledger.charged("sums").tokens) == (0, 0)
    ledger.close()


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_the_clock_jumps(start: Manifest, jump: float) -> None:
    """A second asker whose clock is far off waits for the first all the same."""
    path = ledger_path(start.root)
    request = Request("rationale", [{"role": "user", "content": "How much is 2 plus 2?"}], max_tokens=50)
    texts: list[str] = []

    def ask(ledger: Ledger) -> None:
        texts.append(MeteredTeacher(OpenAITeacher(server.url, model="m", timeout=60.0), ledger, "sums").ask([request])[0].text)

    with serving(lambda body, n: replace(completion("4"), delay=0.3)) as server:
        first, second = Ledger(path), Ledger(path, clock=lambda: time.time() + jump)
        threads = [threading.Thread(target=ask, args=(ledger,)) for ledger in (first, second)]
        threads[0].start()
        while not server.seen:
            time.sleep(0.01)
        threads[1].start()
        for thread in threads:
            thread.join()
    assert (texts, len(server.seen)) == (["4", "4"], 1)
    first.close()
    second.close()


def test_the_docs_have_a_line_for_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
    section = page.partition("## When something goes wrong")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    table = {cells[0]: cells[2] for cells in lines[1:] if len(cells) == 4}
    assert table.keys() == FAULTS.keys() | LEFT_OUT
    assert {name: table[name] for name in FAULTS} == {name: WORDS[fault.charge] for name, fault in FAULTS.items()}
