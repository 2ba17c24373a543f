import gzip
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate import progress
from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff
from curate.errors import InputError, TeacherError
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers import openai
from curate.teachers.base import Reply, Request, Teacher
from curate.teachers.openai import OpenAITeacher
from curate.teachers.options import TeacherOptions
from curate.teachers.prices import FREE
from curate.teachers.registry import load_teacher
from tests.support.loopback import Page, Script, Server, completion, refusal, serving

QUICK = Backoff(first=0.001, longest=0.002, tries=4)
SECRET = "sk-very-secret"
SCHEMA = {"type": "object", "properties": {"prompt": {"type": "string"}}}


def load(teacher: Any, *, root: Path | None = None, **options: Any) -> Teacher:
    """Load a teacher by the options that a verb would have."""
    return load_teacher(TeacherOptions(teacher=teacher, **options), root=root)


def asked(n: int = 0, **changes: Any) -> Request:
    messages = [{"role": "user", "content": f"question {n}"}]
    return Request("rationale", messages, **{"prompt": f"question {n}", "max_tokens": 50, **changes})


def ask(server: Server, ledger: Ledger, *requests: Request, caps: Caps = Caps(), **options: Any) -> list[Reply]:  # noqa: B008
    teacher = OpenAITeacher(server.url, **{"model": "m", "price": FREE, **options})
    return MeteredTeacher(teacher, ledger, "math", caps, "balance", 0, backoff=QUICK).ask(requests)


def first_then(*pages: Page) -> Script:
    """The pages in turn, then good answers."""
    return lambda body, n: pages[n] if n < len(pages) else completion("good")


def attempts(ledger: Ledger) -> list[tuple[Any, ...]]:
    return ledger.query("SELECT status, calls, tokens, error FROM attempts ORDER BY id")


# Good answers


def test_a_request_goes_out_as_it_should_and_comes_back(ledger: Ledger) -> None:
    with serving(first_then()) as server:
        (reply,) = ask(server, ledger, asked(sample=3, temperature=0.25, schema=SCHEMA), api_key=SECRET)
    body, headers = server.seen[0]
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "question 0"}],
        "temperature": 0.25,
        "seed": 3,
        "max_tokens": 50,
        "response_format": {"type": "json_schema", "json_schema": {"name": "rationale", "schema": SCHEMA, "strict": True}},
    }
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert (reply.text, reply.status, reply.usage.total) == ("good", "answered", 30)
    assert attempts(ledger) == [("answered", 1, 30, None)]


def test_user_password_and_query_of_an_address_are_used_and_never_written(ledger: Ledger) -> None:
    with serving(first_then(refusal(400, "no user jo with hush-hush"))) as server:
        url = server.url.replace("http://", "http://jo:hush-hush@") + "?token=also-secret"
        teacher = OpenAITeacher(url, model="m", price=FREE)
        replies = MeteredTeacher(teacher, ledger, "math", backoff=QUICK).ask([asked(0), asked(1)])
    assert server.seen[0][1]["authorization"].startswith("Basic ")
    assert {reply.status for reply in replies} == {"rejected", "answered"}
    assert "no user jo with ***" in " ".join(reply.error for reply in replies)
    assert teacher.endpoint == "local"
    assert_nowhere(ledger, "hush-hush", "also-secret")


def assert_nowhere(ledger: Ledger, *secrets: str) -> None:
    ledger.close()
    for path in ledger.path.parent.iterdir():
        for secret in secrets:
            assert secret.encode() not in path.read_bytes()


def test_a_key_that_the_server_echoes_is_nowhere_to_be_found(ledger: Ledger) -> None:
    echo = refusal(401, f"Incorrect API key provided: {SECRET}")
    with serving(lambda body, n: echo) as server, pytest.raises(TeacherError) as caught:
        ask(server, ledger, asked(), api_key=SECRET)
    assert str(caught.value) == "teacher 'local' refuses: 401 Incorrect API key provided: ***"
    assert_nowhere(ledger, SECRET)


def test_the_users_openai_key_goes_to_nobody_else(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, SECRET)
    with serving(first_then()) as server:
        teacher = load(server.url, model="m")
        MeteredTeacher(teacher, ledger, "math").ask([asked()])
        monkeypatch.setenv("MY_KEY", "mine")
        MeteredTeacher(load(server.url, model="m", api_key_env="MY_KEY"), ledger, "math").ask([asked(1)])
    assert SECRET not in str(server.seen)
    assert server.seen[1][1]["authorization"] == "Bearer mine"


def test_a_key_with_white_space_around_it_or_odd_letters_in_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    with serving(first_then()) as server:
        MeteredTeacher(load(server.url, model="m", api_key_env="MY_KEY"), ledger, "math").ask([asked()])
    assert server.seen[0][1]["authorization"] == f"Bearer {SECRET}"
    monkeypatch.setenv("MY_KEY", "sk-näh")
    with pytest.raises(InputError, match="'MY_KEY' has characters that no key has") as caught:
        load("http://127.0.0.1:1/v1", model="m", api_key_env="MY_KEY")
    assert "näh" not in str(caught.value)


def test_loopback_is_one_endpoint_whatever_its_port(ledger: Ledger) -> None:
    with serving(first_then()) as one:
        ask(one, ledger, asked())
    with serving(first_then()) as two:
        (reply,) = ask(two, ledger, asked())
    assert (reply.cached, two.seen) == (True, [])


def test_many_are_under_way_at_once_and_not_more_than_allowed(ledger: Ledger) -> None:
    inside, most = 0, 0

    def script(body: dict[str, Any], n: int) -> Page:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        inside -= 1
        return completion("good")

    with serving(script) as server:
        replies = ask(server, ledger, *(asked(n) for n in range(20)), concurrency=5)
    assert {reply.status for reply in replies} == {"answered"}
    assert 2 <= most <= 5


# Faults


@pytest.mark.parametrize(
    ("page", "attempt"),
    [
        (refusal(429, "slow down", Retry_After="0.01"), ("failed", 1, 0, "429 slow down")),
        (refusal(429, "slow down", retry_after_ms="10"), ("failed", 1, 0, "429 slow down")),
        (refusal(429, "slow down"), ("failed", 1, 0, "429 slow down")),
        (refusal(500, "oops"), ("failed", 1, 0, "500 oops")),
        (refusal(503, "overloaded"), ("failed", 1, 0, "503 overloaded")),
        (Page(503, "<html>busy</html>"), ("failed", 1, 0, "503 <html>busy</html>")),
        (replace(completion("cut"), cut=30), ("lost", 1, None, None)),
        (Page(body="x" * 100, cut=10, reset=True), ("lost", 1, None, None)),
        (refusal(502, "gateway"), ("lost", 1, None, "502 gateway")),
        (refusal(524, "gateway"), ("lost", 1, None, "524 gateway")),
        (refusal(504, "gateway"), ("lost", 1, None, "504 gateway")),
        (Page(body='{"choices": [{"mess'), ("failed", 1, None, "the reply is not JSON")),
        (Page(body='{"choices": [{}], "usage": {}}'), ("failed", 1, None, "the reply has no message")),
    ],
    ids=["429-after", "429-ms", "429", "500", "503", "html", "cut", "reset", "502", "524", "504", "malformed", "no-choices"],
)
def test_a_passing_fault_is_written_down_charged_as_it_must_be_and_tried_again(
    ledger: Ledger, page: Page, attempt: tuple[Any, ...]
) -> None:
    with serving(first_then(page)) as server:
        (reply,) = ask(server, ledger, asked())
    assert (reply.text, len(server.seen)) == ("good", 2)
    status, calls, tokens, error = attempts(ledger)[0]
    bound = ledger.query("SELECT reserved_tokens FROM attempts")[0][0]
    assert (status, calls) == attempt[:2]
    assert tokens == (bound if attempt[2] is None else attempt[2])
    assert attempt[3] is None or error == attempt[3]
    assert attempts(ledger)[1][:2] == ("answered", 1)


def test_a_reply_that_does_not_come_is_lost(ledger: Ledger) -> None:
    with serving(first_then(Page(delay=2.0))) as server:
        (reply,) = ask(server, ledger, asked(), timeout=0.3)
    assert reply.text == "good"
    assert attempts(ledger)[0] == ("lost", 1, ledger.query("SELECT reserved_tokens FROM attempts")[0][0], "no reply within 0.3 s")


def test_nobody_at_the_address_costs_nothing(ledger: Ledger) -> None:
    with serving(first_then()) as server:
        pass
    with pytest.raises(TeacherError, match="teacher 'local' cannot be reached: ConnectError"):
        ask(server, ledger, asked())
    assert ledger.charged("math").calls == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, None), (402, None), (403, None), (404, "model_not_found"), (405, None), (429, "insufficient_quota")],
)
def test_who_is_refused_for_good_hears_it_at_once(ledger: Ledger, status: int, code: str | None) -> None:
    words = f"teacher 'local' refuses: {status} no"
    with serving(lambda body, n: refusal(status, "no", code=code)) as server, pytest.raises(TeacherError, match=words):
        ask(server, ledger, *(asked(n) for n in range(50)), concurrency=2)
    assert len(server.seen) <= (4 if status in (403, 405) else 2)  # three rows, and one that was sent beside the third


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_wrong_request_is_sent_once_and_its_error_told(ledger: Ledger, status: int) -> None:
    with serving(lambda body, n: refusal(status, "the context is too long")) as server:
        (reply,) = ask(server, ledger, asked())
    assert (reply.status, reply.error, len(server.seen)) == ("rejected", f"{status} the context is too long", 1)


@pytest.mark.parametrize(
    ("complaint", "gone", "instead"),
    [
        ("'response_format' is not supported", "response_format", {}),
        ("Unsupported parameter: 'max_tokens' is not supported", "max_tokens", {"max_completion_tokens": 50}),
        ("Unsupported value: 'temperature' does not support 0.7", "temperature", {}),
        ("unknown field seed", "seed", {}),
    ],
)
def test_what_a_server_does_not_take_is_left_out_and_said_once(
    ledger: Ledger, complaint: str, gone: str, instead: dict[str, Any]
) -> None:
    notes: list[str] = []

    def script(body: dict[str, Any], n: int) -> Page:
        return refusal(400, complaint) if gone in body else completion("good")

    with serving(script) as server, progress.listen(lambda event: notes.append(event.message)):
        replies = ask(server, ledger, *(asked(n, schema=SCHEMA) for n in range(6)), concurrency=3)
    assert {reply.text for reply in replies} == {"good"}
    assert gone not in server.bodies[-1]
    assert instead.items() <= server.bodies[-1].items()
    assert [note for note in notes if gone in note] == [note for note in notes if note]
    assert len([note for note in notes if note]) == 1


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
def test_a_cut_or_filtered_reply_is_paid_for_recorded_and_not_sent_again(ledger: Ledger, finish_reason: str) -> None:
    with serving(lambda body, n: completion("half a tho", finish_reason=finish_reason)) as server:
        for _ in range(2):
            (reply,) = ask(server, ledger, asked())
            assert (reply.text, reply.finish_reason) == ("half a tho", finish_reason)
    assert len(server.seen) == 1
    assert ledger.query("SELECT finish_reason FROM attempts") == [(finish_reason,)]


def test_a_server_that_counts_wrongly_is_charged_as_it_counts_or_at_the_bound(ledger: Ledger) -> None:
    without = completion("good").body.replace('"usage"', '"other"')
    with serving(first_then(completion("good", reply=10**6), Page(body=without))) as server:
        ask(server, ledger, asked(0))
        ask(server, ledger, asked(1))
    bound = ledger.query("SELECT reserved_tokens FROM attempts")[0][0]
    assert [row[2] for row in attempts(ledger)] == [20 + 10**6, bound]


def test_reasoning_is_counted_and_kept_apart(ledger: Ledger) -> None:
    with serving(first_then(completion("The answer is: 4", reasoning_content="2 and 2"))) as server:
        (reply,) = ask(server, ledger, asked())
    assert reply.text == "The answer is: 4"
    assert "2 and 2" in ledger.query("SELECT raw FROM replies")[0][0]


def test_retries_count_against_the_caps_at_the_server(ledger: Ledger) -> None:
    with serving(lambda body, n: refusal(500, "oops")) as server:
        replies = ask(server, ledger, *(asked(n) for n in range(9)), caps=Caps(calls=5), concurrency=3)
    assert len(server.seen) == 5
    assert {reply.status for reply in replies} <= {"failed", "capped"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "ALL_PROXY",
            "socks://jo:hush-hush@127.0.0.1:1080/",
            "Unknown scheme .*; look at ALL_PROXY: a proxy is http://HOST:PORT",
        ),
        ("SSL_CERT_FILE", "/no/such/file.pem", "look at SSL_CERT_FILE.*: a file or folder of certificates"),
    ],
)
def test_a_proxy_or_certificates_that_cannot_be_used_are_one_line_and_nothing_is_reserved(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    openai._trusted.cache_clear()
    teacher = OpenAITeacher("https://api.example.com/v1", model="m", price=FREE)
    with pytest.raises(InputError, match=words) as caught:
        MeteredTeacher(teacher, ledger, "math").ask([asked()])
    openai._trusted.cache_clear()
    assert "hush" not in str(caught.value)
    assert ledger.query("SELECT * FROM attempts") == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_reply_of_any_size_is_read_up_to_a_limit_and_charged(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(openai, "MOST_BYTES", 2**20)
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "x" * 3_000_000}}]}).encode()
    large = Page(200, gzip.compress(body), {"Content-Encoding": "gzip"}) if packed else Page(200, body)
    assert not packed or len(large.body) < 2**16
    with serving(lambda body, n: large) as server:
        (reply,) = ask(server, ledger, asked())
    assert (reply.text, reply.finish_reason) == ("", "too_large")
    [(status, calls, tokens, _)] = attempts(ledger)
    assert (status, calls) == ("answered", 1)
    assert tokens > 50, "it was written and is paid for"
    small = gzip.compress(b'{"choices": [{"message": {"content": "small"}, "finish_reason": "stop"}]}')
    with serving(first_then(Page(200, small, {"Content-Encoding": "gzip"}))) as server:
        assert ask(server, ledger, asked(1))[0].text == "small"
