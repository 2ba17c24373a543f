"""Whose fault a refusal is, what is learned of a server and kept, how long a busy one is waited for; over HTTP on loopback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from curate import progress
from curate.balance.annotate import annotate
from curate.balance.synthesize import synthesize
from curate.calls.account import Refusals
from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff
from curate.errors import TeacherError
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.manifest.manifest import Manifest
from curate.teachers.base import RawResponse, Reply, Request
from curate.teachers.openai import OpenAITeacher
from tests.support.loopback import Page, Script, Server, completion, refusal, serving
from tests.support.samples import ingested

QUICK = Backoff(first=0.001, longest=0.002, tries=3)
TOO_LONG = "maximum context length is 512 tokens; your request has {} tokens plus 50 'max_tokens'"


def asked(n: int, **changes: Any) -> Request:
    return Request("rationale", [{"role": "user", "content": f"question {n}"}], prompt=f"question {n}", max_tokens=50, **changes)


def ask(server: Server, ledger: Ledger, n: int, *, caps: Caps = Caps(), backoff: Backoff = QUICK, **options: Any) -> list[Reply]:  # noqa: B008
    teacher = OpenAITeacher(server.url, model="m", concurrency=options.pop("concurrency", 4))
    return MeteredTeacher(teacher, ledger, "math", caps, backoff=backoff).ask([asked(k, **options) for k in range(n)])


def only(page: Page, *questions: int) -> Script:
    """Refuse some questions and answer the others."""
    these = {f"question {n}" for n in questions}
    return lambda body, n: page if body["messages"][-1]["content"] in these else completion("good")


def notes_of(work: Any) -> list[str]:
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        work()
    return [note for note in notes if note]


# The row's, or everybody's


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 422])
@pytest.mark.parametrize("which", [0, 5, 19])
def test_one_row_that_is_refused_is_passed_over_wherever_it_stands(ledger: Ledger, status: int, which: int) -> None:
    with serving(only(refusal(status, "flagged"), which)) as server:
        replies = ask(server, ledger, 20)
    assert [n for n, reply in enumerate(replies) if reply.status != "answered"] == [which]
    assert (replies[which].status, replies[which].error, len(server.seen)) == ("rejected", f"{status} flagged", 20)


@pytest.mark.parametrize("words", ["System role not supported", TOO_LONG, "cannot read 'question {}'"])
def test_the_same_refusal_of_the_first_ten_is_everybodys(ledger: Ledger, words: str) -> None:
    with serving(lambda body, n: refusal(400, words.format(n))) as server, pytest.raises(TeacherError, match="refuses: 400"):
        ask(server, ledger, 100)
    assert len(server.seen) <= 10 + 4


def test_ten_equal_refusals_after_good_replies_end_the_run_and_other_words_do_not(ledger: Ledger) -> None:
    with (
        serving(only(refusal(400, "no credit"), *range(10, 60))) as server,
        pytest.raises(TeacherError, match="400 no credit; 10"),
    ):
        ask(server, ledger, 60, concurrency=1)
    assert len(server.seen) == 20
    with serving(lambda body, n: refusal(400, TOO_LONG.format(n))) as server:
        assert {reply.status for reply in ask(server, ledger, 60)[10:]} == {"rejected"}


def test_rows_that_were_refused_before_prove_nothing() -> None:
    refusals = Refusals(lambda: False)
    assert not any(refusals.record(RawResponse("failed", error="400 no"), again=True) for _ in range(50))
    assert [refusals.record(RawResponse("failed", error="400 no"), again=False) for _ in range(10)] == [False] * 9 + [True]


def start(root: Any, n: int = 60) -> Manifest:
    rows = [{"prompt": f"{k} plus {k}?", "answer": str(2 * k), "domain": "sums", "status": "selected"} for k in range(n)]
    return ingested(root, rows)


def test_annotate_says_why_rows_are_left_out_and_has_done_its_work(tmp_path: Any) -> None:
    def script(body: dict[str, Any], n: int) -> Page:
        number = int(body["messages"][-1]["content"].partition(" plus")[0].split()[-1])
        return refusal(400, "flagged for violence") if number == 7 else completion(f"Added.\nThe answer is: {2 * number}")

    with serving(script) as server:
        results: list[Any] = []
        notes = notes_of(lambda: results.append(annotate(start(tmp_path, 12), teacher=server.url, model="m")))
    assert (results[0].written, results[0].complete) == (11, True)
    assert "the server rejected 1 of 12 requests, which are left out; the first: 400 flagged for violence" in notes


def test_annotate_and_synthesize_buy_a_pilot_where_nothing_passes(tmp_path: Any) -> None:
    manifest = start(tmp_path)
    with serving(lambda body, n: completion("")) as server:
        with pytest.raises(TeacherError, match=r"none of the first 40 rationales passes the auditors; the last: .* is empty"):
            annotate(manifest, teacher=server.url, model="m")
        assert len(server.seen) == 40
        with pytest.raises(TeacherError, match="bought before, and --fresh asks for them again"):
            annotate(manifest, teacher=server.url, model="m")
        assert len(server.seen) == 40
        done = synthesize(manifest, domains=["sums"], n=60, teacher=server.url, model="m", auditors=["malformed"])
    assert (done.complete, len(server.seen)) == (False, 80)


# What a server takes


def picky(*names: str, status: int = 400) -> Script:
    """Refuse parameters one after the other."""

    def script(body: dict[str, Any], n: int) -> Page:
        there = [name for name in names if name in body]
        return refusal(status, f"Unsupported parameter: '{there[0]}'") if there else completion("good")

    return script


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_what_a_server_does_not_take_is_found_out_by_one_request_and_kept_in_the_ledger(ledger: Ledger, status: int) -> None:
    with serving(picky("max_tokens", "temperature", "seed", status=status)) as server:
        assert {reply.text for reply in ask(server, ledger, 20)} == {"good"}
        assert len(server.seen) == 3 + 20
        assert notes_of(lambda: ask(server, ledger, 25)) == []
    assert len(server.seen) == 3 + 25
    assert all(body["max_completion_tokens"] == 50 for body in server.bodies[3:])


def test_a_server_that_takes_no_limit_of_a_reply_is_not_asked(ledger: Ledger) -> None:
    with serving(picky("max_tokens", "max_completion_tokens")) as server, pytest.raises(TeacherError, match="no cap would hold"):
        ask(server, ledger, 20)


def test_a_row_that_is_too_long_changes_nothing_for_the_others(ledger: Ledger) -> None:
    with serving(only(refusal(400, TOO_LONG.format(400), code="400"), 0)) as server:
        replies = ask(server, ledger, 20)
    assert [reply.status for reply in replies] == ["rejected"] + ["answered"] * 19
    assert all(body["max_tokens"] == 50 for body in server.bodies)


def test_a_schema_that_is_refused_with_500_is_sent_in_another_form(ledger: Ledger) -> None:
    def script(body: dict[str, Any], n: int) -> Page:
        form = body.get("response_format", {}).get("type")
        return (
            refusal(500, "response_format type must be one of text or json_object") if form == "json_schema" else completion("x")
        )

    with serving(script) as server:
        assert {reply.text for reply in ask(server, ledger, 6, schema={"type": "object"})} == {"x"}
    assert "response_format" not in server.bodies[-1] or server.bodies[-1]["response_format"] == {"type": "json_object"}


def test_a_cap_holds_where_a_server_writes_more_than_it_was_asked_for(ledger: Ledger) -> None:
    with serving(lambda body, n: completion("good", reply=5000)) as server:
        ask(server, ledger, 50, caps=Caps(tokens=40_000), concurrency=1)
    assert ledger.charged("math").tokens <= 40_000
    assert len(server.seen) == 7


# Waits


def test_a_server_that_says_to_wait_for_no_time_is_not_hammered(ledger: Ledger) -> None:
    inside: list[int] = []

    def script(body: dict[str, Any], n: int) -> Page:
        inside.append(n)
        page = refusal(429, "slow down", retry_after="0") if len(inside) % 3 else completion("good")
        return replace(page, delay=0.001)

    with serving(script) as server:
        assert {reply.text for reply in ask(server, ledger, 32, backoff=Backoff(first=0.01, longest=0.05))} == {"good"}
    assert len(server.seen) == 3 * 32


def test_a_busy_server_is_waited_for_beyond_the_tries_and_given_up_after_the_patience(ledger: Ledger) -> None:
    with serving(lambda body, n: refusal(429, "too many requests") if n < 40 else completion("good")) as server:
        assert {reply.text for reply in ask(server, ledger, 3)} == {"good"}
    impatient = replace(QUICK, patience=0.05)
    with (
        serving(lambda body, n: refusal(503, "loading model")) as server,
        pytest.raises(TeacherError, match=r"is busy: 503 loading model; .* --requests-per-minute"),
    ):
        ask(server, ledger, 40, backoff=impatient)


@pytest.mark.parametrize(
    ("page", "charged"),
    [
        (refusal(408, "Request timed out."), True),
        (refusal(408, "the request was not received in full"), False),
        (refusal(500, "litellm.Timeout: request timed out"), True),
        (refusal(499, "client closed request"), True),
        (refusal(520, "unknown error"), True),
        (refusal(522, "connection timed out"), True),
        (refusal(521, "web server is down"), False),
    ],
)
def test_what_may_have_been_answered_behind_a_gateway_is_charged(ledger: Ledger, page: Page, charged: bool) -> None:
    with serving(lambda body, n: completion("good") if n else page) as server:
        ask(server, ledger, 1)
    (first, bound), _ = ledger.query("SELECT tokens, reserved_tokens FROM attempts ORDER BY id")
    assert first == (bound if charged else 0)
