import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.teachers.base import (
    RawResponse,
    Request,
    Usage,
    call_key,
    canonical_json,
    default_shape,
    endpoint_name,
    prompt_token_bound,
)
from curate.teachers.responses import parse_response

REQUEST = Request("rationale", [{"role": "user", "content": "Why?"}], domain="d", prompt="Why?")


def key(request: Request, endpoint: str = "local", model: str = "m") -> str:
    return call_key(endpoint, model, canonical_json(default_shape(request)))


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "Why not?"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]},
        {"messages": [{"role": "system", "content": "Why?"}]},
        {"sample": 1},
        {"temperature": 0.0},
        {"max_tokens": 511},
        {"schema": {"type": "object"}},
    ],
)
def test_everything_that_shapes_an_answer_is_in_the_key(change: dict[str, object]) -> None:
    assert key(dataclasses.replace(REQUEST, **change)) != key(REQUEST)


def test_endpoint_and_model_are_in_the_key_and_what_shapes_nothing_is_not() -> None:
    assert len({key(REQUEST), key(REQUEST, model="n"), key(REQUEST, endpoint="https://api.openai.com/v1")}) == 3
    assert key(dataclasses.replace(REQUEST, domain="e")) == key(REQUEST)
    assert key(REQUEST, "ab", "c") != key(REQUEST, "a", "bc")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8110/v1", "local"),
        ("http://localhost:1/", "local"),
        ("http://[::1]:9/v1", "local"),
        ("http://127.8.9.1", "local"),
        ("https://jo:secret@Example.com/v1/?key=secret#secret", "https://example.com/v1"),
        ("https://example.com:8443/v1", "https://example.com:8443/v1"),
        ("http://[2001:db8::1]:80/v1", "http://[2001:db8::1]:80/v1"),
        ("http://localhost.example.com/v1", "http://localhost.example.com/v1"),
    ],
)
def test_an_endpoints_name_has_no_secrets_and_loopback_no_port(url: str, name: str) -> None:
    assert endpoint_name(url) == name


@given(st.text(), st.integers(3, 10**6), st.integers(4, 10**6), st.sampled_from(["stop", "length", "content_filter"]))
def test_an_answer_is_read_as_it_was_made(text: str, prompt: int, completion: int, finish_reason: str) -> None:
    made = RawResponse.of(text, usage=Usage(prompt, completion, 3, 4), finish_reason=finish_reason, seeds=["a"])
    found = parse_response(made.raw)
    if not text.lstrip().startswith("<think"):
        assert found.text == text.strip()
    assert (found.usage, found.finish_reason, found.seeds, found.error) == (
        Usage(prompt, completion, 3, 4),
        finish_reason,
        ("a",),
        "",
    )


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("", "not JSON"),
        ('{"choices": [{"mess', "not JSON"),
        ("<html>", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no choices"),
        ("null", "no choices"),
        ('{"choices": [], "error": "busy"}', "no choices: busy"),
        ('{"error": {"message": "overloaded"}}', "overloaded"),
        ('{"choices": [{"message": null}]}', "no message"),
        ('{"choices": [{}]}', "no message"),
        ('{"choices": [4]}', "no message"),
    ],
)
def test_what_cannot_be_read_says_why_and_raises_nothing(raw: str, error: str) -> None:
    assert error in parse_response(raw).error


def test_visible_reasoning_is_kept_apart() -> None:
    body = {"choices": [{"message": {"content": "<think>\nhm\n</think>\n\nThe answer is: 4"}, "finish_reason": "stop"}]}
    found = parse_response(json.dumps(body))
    assert (found.text, found.reasoning, found.usage) == ("The answer is: 4", "hm", None)
    body["choices"][0]["message"] = {"content": "4", "reasoning_content": "two and two"}
    assert parse_response(json.dumps(body)).reasoning == "two and two"
    body["choices"][0]["message"] = {"content": "two and two\n</think>\n4"}  # the template had opened the tag
    assert (parse_response(json.dumps(body)).text, parse_response(json.dumps(body)).reasoning) == ("4", "two and two")
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "two"}]}, {"type": "text", "text": "4"}]
    body["choices"][0]["message"] = {"content": parts}
    assert (parse_response(json.dumps(body)).text, parse_response(json.dumps(body)).reasoning) == ("4", "two")
    body["choices"][0]["message"] = {"content": "I think so."}
    assert (parse_response(json.dumps(body)).text, parse_response(json.dumps(body)).reasoning) == ("I think so.", "")
    body["choices"][0]["message"] = {"content": "<think>cut off"}
    assert parse_response(json.dumps(body)).text == ""


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"prompt_tokens": 5},
        {"prompt_tokens": -5, "completion_tokens": 10},
        {"prompt_tokens": 5, "completion_tokens": "many"},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": 10**30},
        {"prompt_tokens": 5, "completion_tokens": float("inf")},
        {"prompt_tokens": float("nan"), "completion_tokens": 1},
        ["prompt_tokens", 5],
    ],
)
def test_usage_that_cannot_be_true_is_as_good_as_none(told: object) -> None:
    assert parse_response(json.dumps({"choices": [{"message": {"content": "x"}}], "usage": told})).usage is None


def test_a_part_of_the_tokens_is_never_more_than_all_of_them() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 99}, "completion_tokens_details": {"reasoning_tokens": 99}}
    body = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 7.0, **details}}
    assert parse_response(json.dumps(body)).usage == Usage(104, 106, 99, 99), "they were counted beside it"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}], "a b"),
        ("\ud83d", "?"),
        (4, "4"),
        ([None], ""),
    ],
)
def test_a_turn_is_text_in_whatever_form_it_comes(content: object, text: str) -> None:
    assert parse_response(json.dumps({"choices": [{"message": {"content": content}}]})).text == text


def test_a_model_that_declines_in_its_own_field_has_refused() -> None:
    body = {"choices": [{"message": {"content": None, "refusal": "I must decline."}, "finish_reason": "stop"}]}
    found = parse_response(json.dumps(body))
    assert (found.text, found.finish_reason, found.error) == ("", "refusal", "")


@given(st.text())
def test_the_bound_is_at_least_a_token_a_byte(text: str) -> None:
    request = Request("rationale", [{"role": "user", "content": text}], schema={"type": "object"})
    assert prompt_token_bound(request) > len(text.encode("utf-8", "surrogatepass"))


def test_a_refill_is_the_same_call_as_any_other() -> None:
    asked = Request("rationale", [{"role": "user", "content": "1 + 1?"}])
    assert default_shape(asked) == default_shape(dataclasses.replace(asked, refill=True))


@pytest.mark.parametrize(
    "odd", ["half a letter \ud83d", 2**70, {"deep": [[[]]] * 2}], ids=["surrogate", "long integer", "nested"]
)
def test_what_shapes_an_answer_is_told_in_one_way_whatever_it_is(odd: object) -> None:
    told = canonical_json({"b": 1, "a": odd})
    assert json.loads(told) == {"a": odd, "b": 1}
    assert told == canonical_json({"a": odd, "b": 1})
    assert told.startswith('{"a":')


def test_a_reply_with_half_a_letter_is_read() -> None:
    assert parse_response('{"choices": [{"message": {"content": "so \\ud83d"}}], "limit": NaN}').text == "so ?"
