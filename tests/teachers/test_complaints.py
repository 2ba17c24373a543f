"""What servers say of parameters and waits: read by structure, then by sentences about that very parameter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.teachers.base import Request
from curate.teachers.complaints import Complaint, Dialect, asked_wait, read_complaint, refused_parameters

OWN = "Is the seed not supported by soil? Is 'temperature' an unknown field here, and response_format?"
SENT: dict[str, Any] = Dialect().body(
    "m", [{"role": "user", "content": OWN}], Request("synthesis", [], schema={"type": "object"})
)
RAW = {"error": {"message": "Unsupported parameter: 'seed'", "param": "seed", "code": "unsupported_parameter"}}


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}


def refused(body: Any, status: int = 400) -> list[str]:
    return sorted(refused_parameters(read_complaint(status, body if isinstance(body, str) else json.dumps(body)), SENT))


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (error("Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead.", param="max_tokens"), ["max_tokens"]),
        (error("`max_tokens` is no longer accepted; use `max_completion_tokens`"), ["max_tokens"]),
        (error("not for this model", param="temperature", code="unsupported_value"), ["temperature"]),
        (error("'temperature' does not support 0.2 with this model. Only the default (1) value is supported."), ["temperature"]),
        (error("invalid temperature: only 1 is allowed for this model"), ["temperature"]),
        (error("This model does not support custom temperature settings"), ["temperature"]),
        (error("temperature: Extra inputs are not permitted"), ["temperature"]),
        (error("Unrecognized request argument supplied: seed"), ["seed"]),
        (error("Additional properties are not allowed ('seed' was unexpected)"), ["seed"]),
        (error("Parameter seed isn't supported"), ["seed"]),
        (error("create() got an unexpected keyword argument 'seed'"), ["seed"]),
        (error("Please remove the 'seed' parameter and try again"), ["seed"]),
        (error("Extra inputs are not permitted, field: 'seed'"), ["seed"]),
        (error("does not support parameters: ['seed', 'temperature'], for model=x"), ["seed", "temperature"]),
        (error("does not support parameters: {'seed': 1}, for model=x"), ["seed"]),
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, ["seed"]),
        ({"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra"}]}}, ["seed"]),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]", ["seed"]),
        ({"error": 'json: unknown field "seed"'}, ["seed"]),
        ("unknown field `seed`, expected one of `messages`, `max_tokens`, `temperature` at line 1", ["seed"]),
        ({"error": {"details": [{"fieldViolations": [{"field": "seed", "description": "Cannot find field."}]}]}}, ["seed"]),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(RAW)}}}, ["seed"]),
        (error('response_format type must be one of "text" or "json_object", but got: json_schema'), ["response_format"]),
        (error("No endpoints found that support the requested parameters: response_format"), ["response_format"]),
        (error("Guided decoding is not available on this server"), ["response_format"]),
        (error("'additionalProperties' is required to be supplied", param="response_format"), ["response_format"]),
    ],
)
def test_a_server_says_which_parameter_it_does_not_take(body: Any, names: list[str]) -> None:
    assert refused(body) == names


@pytest.mark.parametrize(
    "body",
    [
        error("maximum context length is 512 tokens, 400 input plus 512 'max_tokens'", param="input_tokens, max_tokens"),
        error("max_tokens must be at least 1, got -186"),
        error("max_tokens is too large: 512. At most 256 completion tokens", param="max_tokens", code="invalid_value"),
        error("max_tokens (512) exceeds the remaining context"),
        error("The supported parameters are temperature, seed, max_tokens; 'stop' is not supported"),
        "unknown field `foo`, expected one of `messages`, `max_tokens`, `temperature`, `seed`",
        error(f"Your input {OWN[:60]!r} was flagged", code="content_filter"),
        error("System role not supported"),
        error("Credit balance is too low"),
        "Internal Server Error",
        "",
    ],
)
def test_what_is_about_anything_else_says_nothing_of_parameters(body: Any) -> None:
    assert refused(body) == []


@given(st.integers(0, 60), st.integers(10, 90))
def test_the_words_of_the_row_itself_are_no_complaint(start: int, length: int) -> None:
    part = OWN[start : start + length]
    assert refused(error(f"the text [{part}] was rejected by a filter")) == []


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_an_error_of_any_form_is_read(body: Any) -> None:
    complaint = read_complaint(400, json.dumps(body))
    assert isinstance(complaint.message, str)
    assert refused_parameters(complaint, {}) == []


def test_a_schema_degrades_in_steps_and_the_length_stays_limited() -> None:
    request, formats, dialect = Request("synthesis", [], schema={"type": "object"}, max_tokens=9), [], Dialect()
    for words in ("strict schemas are off", "json_schema is unknown", "no json_object either", "no"):
        formats.append(dialect.body("m", [], request).get("response_format"))
        assert 9 in (dialect.body("m", [], request).get(name) for name in ("max_tokens", "max_completion_tokens"))
        dialect = dialect.without(["response_format", "max_tokens", "seed"], Complaint(400, text=words))
    kinds = [form and form["type"] for form in formats]
    assert kinds == ["json_schema", "json_schema", "json_object", None]
    assert [("strict" in form["json_schema"]) for form in formats[:2]] == [True, False]
    assert Dialect.from_json(dialect.to_json()) == dialect
    assert dialect.without(["max_completion_tokens"], Complaint(400)).limitless


NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"retry-after": "2"}, "", 2.0),
        ({"retry-after": "1.5"}, "", 1.5),
        ({"retry-after": "30s"}, "", 30.0),
        ({"retry-after": "500ms"}, "", 0.5),
        ({"retry-after": "1800000020"}, "", 20.0),
        ({"retry-after": "1800000020000"}, "", 20.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, "", 30.0),
        ({"retry-after": "2027-01-15T08:00:30Z"}, "", 30.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, "", 1.5),
        ({"retry-after": "0", "x-ratelimit-reset-requests": "1s"}, "", 1.0),
        ({"x-ratelimit-reset-requests": "6m0s"}, "", 60.0),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "40s", "x-ratelimit-reset-tokens": "1s"},
            "",
            40.0,
        ),
        ({"ratelimit": "limit=10, remaining=0, reset=30"}, "", 30.0),
        ({}, "you exceeded your current rate. please retry in 38.1s.", 38.1),
        ({}, '"retrydelay": "38s"', 38.0),
        ({}, '{"error": "model is loading", "estimated_time": 20.5}', 20.5),
        *[({"retry-after": value}, "", None) for value in ("0", "-3", "soon", "nan", "inf", "1700000000")],
        ({"retry-after": "Fri, 15 Jan 2027 07:00:30 GMT"}, "", None),
        ({"retry-after-ms": "0"}, "limit of 5 per 1 minute", None),
        ({}, "", None),
    ],
)
def test_a_wait_is_understood_in_whatever_form_it_is_named(headers: dict[str, str], text: str, seconds: float | None) -> None:
    assert asked_wait(headers, text, NOW) == (seconds if seconds is None else pytest.approx(seconds))


@given(st.text(), st.text())
def test_no_header_and_no_words_are_too_odd_for_a_wait(value: str, text: str) -> None:
    wait = asked_wait({"retry-after": value, "x-ratelimit-reset": value}, text, NOW)
    assert wait is None or wait > 0
