"""The battery that every registered teacher passes. A teacher of yours joins it by an entry in `OPENED`."""

from __future__ import annotations

import asyncio
import json
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from curate.teachers import openai
from curate.teachers.base import Outcome, RawResponse, Request, Teacher, call_key, canonical_json
from curate.teachers.options import TeacherOptions
from curate.teachers.prices import Price
from curate.teachers.registry import load_teacher, teachers
from curate.teachers.responses import parse_response
from tests.support.loopback import completion, serving

SECRET = "sk-very-secret"
RECORDS = [
    {"kind": "real", "prompt": "What is 2 + 2?", "rationale": "Two and two make four.\nThe answer is: 4"},
    {"kind": "synthetic", "domain": "sums", "prompt": "What is 3 + 4?", "rationale": "They make 7.", "answer": "7"},
]
REQUESTS = [
    *(Request("rationale", [{"role": "user", "content": "What is 2 + 2?"}], n, "sums", "What is 2 + 2?") for n in range(3)),
    Request("rationale", [{"role": "user", "content": "What is 9 + 9?"}], 0, "sums", "What is 9 + 9?"),
    *(Request("synthesis", [{"role": "user", "content": "Write a sum."}], n, "sums") for n in range(3)),
    Request("synthesis", [{"role": "user", "content": "Write a sum."}], 0, "law", label="A", schema={"type": "object"}),
]


@contextmanager
def _fake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    yield load_teacher(TeacherOptions(teacher="fake"))


@contextmanager
def _recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    path = folder / "replies.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    yield load_teacher(TeacherOptions(teacher=f"recorded:{path}"))


@contextmanager
def _url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    monkeypatch.setenv("MY_KEY", SECRET)
    with serving(lambda body, number: completion(f"reply {number}")) as server:
        yield load_teacher(TeacherOptions(teacher=server.url, model="m", api_key_env="MY_KEY"))


@contextmanager
def _openai(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    with serving(lambda body, number: completion(f"reply {number}")) as server:
        monkeypatch.setattr(openai, "OPENAI_URL", server.url)  # in the place of api.openai.com
        yield load_teacher(TeacherOptions(teacher="openai", model="m"))


OPENED = {"fake": _fake, "openai": _openai, "recorded": _recorded, "url": _url}


@pytest.fixture(params=teachers.names())
def teacher(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    assert request.param in OPENED, f"say in OPENED how the teacher {request.param!r} is made for a test"
    with OPENED[request.param](tmp_path, monkeypatch) as made:
        yield made


def submitted(teacher: Teacher, requests: Sequence[Request]) -> list[tuple[int, RawResponse]]:
    async def collect() -> list[tuple[int, RawResponse]]:
        try:
            return [pair async for pair in teacher.submit(requests)]
        finally:
            await teacher.close()

    return asyncio.run(collect())


def test_it_says_what_it_is(teacher: Teacher) -> None:
    assert isinstance(teacher, Teacher)
    for name in (teacher.endpoint, teacher.model):
        assert name
        assert name.isprintable()
        assert SECRET not in name
    assert teacher.concurrency >= 1
    assert teacher.price is None or isinstance(teacher.price, Price)


def test_every_position_is_answered_once(teacher: Teacher) -> None:
    found = submitted(teacher, REQUESTS)
    assert sorted(position for position, _ in found) == list(range(len(REQUESTS)))
    for _, response in found:
        assert response.outcome in typing.get_args(Outcome)
        assert bool(response.raw) == (response.outcome == "answered")
        if response.outcome == "answered":
            assert parse_response(response.raw).error == ""
            assert parse_response(response.raw).text


def test_no_requests_have_no_answers(teacher: Teacher) -> None:
    assert submitted(teacher, []) == []


def test_asking_changes_no_request(teacher: Teacher) -> None:
    before = [replace(request, messages=[dict(turn) for turn in request.messages]) for request in REQUESTS]
    submitted(teacher, REQUESTS)
    assert before == REQUESTS


def test_equal_requests_have_equal_keys_and_another_sample_another(teacher: Teacher) -> None:
    def key(request: Request) -> str:
        return call_key(teacher.endpoint, teacher.model, canonical_json(teacher.shape(request)))

    for request in REQUESTS:
        twin = replace(request, messages=[dict(turn) for turn in request.messages])
        assert key(request) == key(twin)
        assert key(request) == key(replace(request, refill=not request.refill)), "a refill is the same call"
        assert key(request) != key(replace(request, sample=request.sample + 1)), "or the same reply would be taken twice"
    assert key(REQUESTS[0]) != key(REQUESTS[4])


def test_what_shapes_a_reply_is_plain_json_without_secrets(teacher: Teacher) -> None:
    for request in REQUESTS:
        text = canonical_json(teacher.shape(request))
        assert json.loads(text) == json.loads(canonical_json(json.loads(text)))
        assert SECRET not in text


@pytest.mark.parametrize("domain", ["sums", "no such domain", ""])
def test_capacity_is_a_number_of_examples_or_no_bound(teacher: Teacher, domain: str) -> None:
    room = teacher.capacity(domain)
    assert room is None or room >= 0
    assert teacher.capacity(domain) == room


def test_it_can_be_closed_again_and_asked_again(teacher: Teacher) -> None:
    asyncio.run(teacher.close())
    asyncio.run(teacher.close())
    assert len(submitted(teacher, REQUESTS[:1])) == len(submitted(teacher, REQUESTS[:1])) == 1
