"""The provider's side of batches: what is sent, what is read, and what gateways leave out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from curate.teachers.base import Request, RequestFailedError
from curate.teachers.batch_api import BatchAPI, BatchState, ResultLine, _line
from curate.teachers.openai import OpenAITeacher
from tests.support.batchserver import Provider, providing

T = TypeVar("T")
KEY = "0" * 31 + "a"
SECRET = "sk-very-secret-indeed"


def run(live: OpenAITeacher, work: Callable[[BatchAPI], Awaitable[T]]) -> T:
    async def to_its_end() -> T:
        try:
            return await work(live.batches)
        finally:
            await live.close()

    return asyncio.run(to_its_end())


def asked(text: str = "q") -> Request:
    return Request("rationale", [{"role": "user", "content": text}], schema={"type": "object"}, sample=3)


def test_a_line_holds_what_a_live_request_would() -> None:
    live = OpenAITeacher("http://127.0.0.1:1/v1", model="m")
    line = live.batches.input_line(KEY, asked("a\u2028b\ud800"))
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "custom_id": KEY,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {**live.request_body(asked()), "messages": [{"role": "user", "content": "a\u2028b?"}]},
    }


def test_a_batch_is_found_by_its_name_or_by_its_file_and_not_otherwise() -> None:
    async def look(api: BatchAPI) -> list[BatchState | None]:
        file = await api.upload("mine", b"{}\n{}\n")
        other = await api.upload("other", b"{}\n")
        await api.create("mine", file)
        await api.create("other", other)
        return [await api.find(*asked) for asked in (("mine", None), ("lost", file), ("lost", None), ("lost", "no file"))]

    with providing(Provider()) as provider:
        live = OpenAITeacher(provider.url, model="m")
        found = run(live, look)
        names = [batch["metadata"] for batch in provider.batches.values()]
    assert [state and (state.id, state.total) for state in found] == [("batch_0", 2), ("batch_0", 2), None, None]
    assert names == [{"curate_batch": "mine"}, {"curate_batch": "other"}]


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"response": {"status_code": 200, "body": {"a": 1}}, "error": None}, ResultLine(KEY, raw='{"a": 1}', status=200)),
        (
            {"response": None, "error": {"code": "batch_expired", "message": "late"}},
            ResultLine(KEY, code="batch_expired", message="late"),
        ),
        (
            {"response": {"status_code": 429, "body": {"error": {"message": "slow", "code": None}}}, "error": None},
            ResultLine(KEY, status=429, message="slow"),
        ),
        ({"response": {"status_code": 500, "body": None}}, ResultLine(KEY, status=500)),
        ({"error": {"message": "x"}}, ResultLine(KEY, message="x")),
    ],
)
def test_lines_are_read_whatever_is_left_out(told: dict[str, object], read: ResultLine) -> None:
    assert _line(json.dumps({"custom_id": KEY, **told}).encode()) == read


@pytest.mark.parametrize(
    "told", [b"not JSON", b"[]", b'"text"', b'{"response": {}}', b"null", b'{"custom_id": "x", "response": 3}']
)
def test_a_line_that_cannot_be_read_is_kept_for_whom_it_names(told: bytes) -> None:
    assert _line(told) == ResultLine("", raw=told.decode())
    named = b'{"custom_id": "%s", ' % KEY.encode() + told
    assert _line(named) == ResultLine(KEY, raw=named.decode())


def test_an_error_line_that_says_nothing_else_may_pass_and_an_unrun_one_is_free() -> None:
    api = OpenAITeacher("http://127.0.0.1:1/v1", model="m").batches
    judged = [
        api.classify(line).outcome
        for line in (ResultLine(KEY), ResultLine(KEY, status=429), ResultLine(KEY, status=400), ResultLine(KEY, status=401))
    ]
    assert judged == ["refused", "refused", "failed", "denied"]
    assert api.classify(ResultLine(KEY, code="batch_cancelled")).outcome == "unsent"
    assert api.classify_failed_batch(BatchState("b", "failed")).error == "400 the batch failed, and the server does not say why"


def test_keys_are_in_no_error_and_no_result() -> None:
    lines = [{"custom_id": KEY, "response": {"status_code": 200, "body": {"text": f"your key is {SECRET}"}}}]

    async def work(api: BatchAPI) -> list[ResultLine]:
        fetched = list(await api.download("results"))
        with pytest.raises(RequestFailedError) as caught:
            await api.retrieve("batch_9")
        assert SECRET not in str(caught.value)
        return fetched

    provider = Provider(refuse=lambda method, path: (400, f"no {SECRET}") if "batches" in path else None)
    with providing(provider):
        provider.files["results"] = json.dumps(lines[0]).encode() + b"\n\n"
        live = OpenAITeacher(provider.url, model="m", api_key=SECRET)
        (line,) = run(live, work)
    assert line.raw == '{"text": "your key is ***"}'


@pytest.mark.parametrize(
    ("state", "words", "over"),
    [
        (BatchState("b", "in_progress", total=1200, done=30), "in progress 30/1,200", False),
        (BatchState("b", "validating"), "validating", False),
        (BatchState("b", "expired", total=2, done=1), "expired 1/2", True),
    ],
)
def test_a_state_in_words(state: BatchState, words: str, over: bool) -> None:
    assert (state.words, state.is_over) == (words, over)
