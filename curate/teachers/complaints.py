"""Reads what a server says where it gives no reply: which parameter it does not take, and how long to wait. Sends nothing.

What an error has in its structure (``param``, ``code``, ``loc`` …) comes first. A sentence counts only where it says of that very
parameter that it is not known, and never where the same words stand in the request's own text: a list of the parameters that
there are, a value that is too large and a quoted question say nothing about what a server takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

__all__ = ["Complaint", "Dialect", "asked_wait", "read_complaint", "refused_parameters"]

_LONGEST = 4_000  # characters of an error that are read
_DEEPEST = 8  # levels of its structure

_MESSAGES = ("message", "msg", "detail", "error", "description", "error_description", "title", "raw", "reason")
_NAMES = (
    *("param", "parameter", "params", "parameters", "loc", "field", "fields", "path", "property", "additionalProperty"),
    *("argument", "attribute", "unknown_fields", "unsupported_params", "instancePath", "key"),
)
_CODES = ("code", "type", "status", "keyword", "reason")

# Words, lower case, that say that a thing is not known; and words that speak of a value or of a length instead.
_UNKNOWN = re.compile(
    r"un(?:supported|known|recogni[sz]ed|expected|permitted)|(?:not|n't)[ _](?:yet |currently )?"
    r"(?:support|allow|permit|accept|recogni[sz]e|implement|available|known|a valid (?:field|parameter|argument|propert))"
    r"|extra[ _](?:input|field|forbidden|param)|additional[ _]?propert|cannot find field|no such (?:param|field|arg)|deprecated"
    r"|no longer|\bonly\b"
)
_VALUE = re.compile(
    r"context (?:length|window|size)|too (?:large|long|big|many|small|high|low)|at (?:least|most)|must be|exceed|greater"
    r"|less than|(?:max|min)imum|between|out of range|larger|smaller"
)
_LENGTH = re.compile(r"context (?:length|window|size)|too (?:large|long|big|many)|exceed|maximum .{0,20}(?:length|tokens)")
_NOUN = r"(?:param(?:eter)?|field|argument|arg|option|property|propertie|key|keyword|input|name|attribute|setting)(?:\(?s\)?)?"
_DRESS = r"[\s\"'`\[\]{}()<>*:=,]*"
_SCHEMA = re.compile(
    r"response_?format|json[_ ]?schema|json_object|json mode|guided|grammar|structured[_ ]?output|response_?schema"
    r"|additionalproperties|\bschemas?\b"
)
_FINER = re.compile(r"strict|additionalproperties|minitems|maxitems|\benum\b|keyword|invalid schema|invalid json schema")


@dataclass(frozen=True)
class Complaint:
    """An error as a server sent it.

    Attributes:
        status: of HTTP; of the error itself where it came with 200.
        code: of the error, or empty.
        message: what a person should read: the server's own message, or all that came where it has another form.
        text: every message in it, in lower case.
        named: names of parameters that the structure names, each with what is said about it, in lower case.
    """

    status: int
    code: str = ""
    message: str = ""
    text: str = ""
    named: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Dialect:
    """Which of our parameters a server takes, as far as is known; a reply's length is limited in every dialect.

    Attributes:
        length: name of the limit of a reply: ``max_tokens`` or ``max_completion_tokens``.
        format: how a schema is sent: 0 strict, 1 plain, 2 as JSON mode without a schema, 3 in the prompt alone.
        left_out: of ``temperature`` and ``seed``, what the server does not take.
        limitless: the server takes neither name of the limit, so that it cannot be asked.
    """

    length: str = "max_tokens"
    format: int = 0
    left_out: frozenset[str] = frozenset()
    limitless: bool = False

    def body(self, name: str, messages: list[dict[str, str]], request: Any) -> dict[str, Any]:
        """Return the body of a chat completion for a `curate.teachers.base.Request`.

        Args:
            name: of the model.
            messages: chat turns.
            request: its temperature, sample, max_tokens, schema and purpose are sent.
        """
        sampling = {"temperature": request.temperature, "seed": request.sample}
        body = {"model": name, "messages": messages, **{k: v for k, v in sampling.items() if k not in self.left_out}}
        body[self.length] = request.max_tokens
        if request.schema and self.format < 3:
            schema = {"name": request.purpose, "schema": dict(request.schema), **({} if self.format else {"strict": True})}
            plain = {"type": "json_object"}
            body["response_format"] = plain if self.format == 2 else {"type": "json_schema", "json_schema": schema}
        return body

    def without(self, names: Iterable[str], complaint: Complaint) -> Dialect:
        """Return the dialect for a server that complained of these parameters as this dialect sends them."""
        dialect = self
        for name in names:
            if name in ("temperature", "seed"):
                dialect = replace(dialect, left_out=dialect.left_out | {name})
            elif name == "max_tokens" and dialect.length == name:
                dialect = replace(dialect, length="max_completion_tokens")
            elif name == dialect.length:
                dialect = replace(dialect, limitless=True)
            elif name == "response_format":
                dialect = replace(dialect, format=_next_format(self.format, complaint.text))
        return dialect

    def changes(self, before: Dialect) -> list[str]:
        """Return in words what this dialect does otherwise than another one, for a note each."""
        found = [f"{name!r}; continuing without it" for name in sorted(self.left_out - before.left_out)]
        if self.length != before.length:
            found.append(f"{before.length!r}; continuing with {self.length!r} instead")
        if self.format != before.format:
            how = ("", "a schema that is not strict", "JSON mode without a schema", "the format in the prompt alone")
            found.append(f"'response_format' as it was sent; continuing with {how[self.format]}")
        return found

    def to_json(self) -> str:
        """Return it as JSON, for the ledger."""
        return json.dumps({"length": self.length, "format": self.format, "left_out": sorted(self.left_out)})

    @staticmethod
    def from_json(text: str) -> Dialect:
        """Return a dialect that `to_json` wrote."""
        known = json.loads(text)
        return Dialect(known["length"], known["format"], frozenset(known["left_out"]))


def _next_format(before: int, complaint: str) -> int:
    """Return the next form to try: at most one step down, unless the server says of what it is that it does not take it."""
    if _FINER.search(complaint):
        return min(3, before + 1)
    if "json_schema" in complaint or "json schema" in complaint:
        return max(2, min(3, before + 1))
    return 3 if "response_format" in complaint and "json_object" not in complaint else min(3, before + 1)


def read_complaint(status: int, text: str) -> Complaint:
    """Read the body of an error, of whatever form; nothing is raised.

    Args:
        status: of HTTP.
        text: of the body.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Complaint(status, message=text, text=_folded(text))
    objects = list(_objects(found, 0))
    messages = list(dict.fromkeys(said for each in objects for said in _said(each)))
    if isinstance(found, str):
        messages = [found]
    codes = [str(each["code"]) for each in objects if isinstance(each.get("code"), str | int) and each["code"] != status]
    codes += [each["type"] for each in objects if isinstance(each.get("type"), str)]
    named = tuple((name, _folded(" ".join([*_coded(each), *_said(each)]))) for each in objects for name in _named(each))
    return Complaint(status, codes[0] if codes else "", messages[0] if messages else text, _folded("\n".join(messages)), named)


def _folded(text: str) -> str:
    return " ".join(text[:_LONGEST].casefold().replace("’", "'").split())


def _objects(found: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Yield the objects of a parsed error, outer ones first; what stands as JSON in a string is looked into as well."""
    if isinstance(found, str) and found.lstrip()[:1] in ("{", "[") and depth:
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return
    if depth > _DEEPEST:
        return
    if isinstance(found, dict):
        yield found
        for value in found.values():
            yield from _objects(value, depth + 1)
    elif isinstance(found, list):
        for value in found[:50]:
            yield from _objects(value, depth + 1)


def _said(error: Mapping[str, Any]) -> Iterator[str]:
    for name in _MESSAGES:
        if isinstance(said := error.get(name), str) and said.strip():
            yield said


def _coded(error: Mapping[str, Any]) -> Iterator[str]:
    return (value for name in _CODES if isinstance(value := error.get(name), str))


def _named(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words in which an error names parameters: ``seed`` of ``"body.seed"`` and of ``["body", "seed"]``."""
    for name in _NAMES:
        value = error.get(name)
        for part in value if isinstance(value, list | dict) else [value]:
            if isinstance(part, str):
                yield from re.findall(r"\w+", part.casefold())


@cache
def _sentences(name: str) -> tuple[re.Pattern[str], ...]:
    """Return what sentences say where they say of a parameter that it is not known."""
    this = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
    unknown = r"un(?:supported|known|recogni[sz]ed|expected|permitted)"
    adverb = r"(?:yet |currently |a )?"
    never = rf"(?:not|(?:is|are)n't) {adverb}"
    denied = (
        rf"(?:{unknown}|disallowed|forbidden|deprecated|(?:been )?removed|incompatible|no longer|extra inputs? (?:is|are) not"
        rf"|{never}(?:supported|allowed|permitted|accepted|recogni[sz]ed|available|implemented|known|enabled|compatible)"
        rf"|{never}valid (?:field|param\w*|argument|propert\w*|option|key)"
        r"|do(?:es)?(?:n't| not) (?:support|accept|allow)"
        r"|(?:can(?:not|'t| not)|may not|must not|should not) be (?:used|set|specified|given|present|combined))"
    )
    head = (
        rf"(?:{unknown}|extra inputs? (?:is|are) not permitted,?|(?:no|without|lacks?) support (?:for|of)"
        rf"|(?:{unknown}|not supported|extra|additional|disallowed|forbidden|illegal|invalid|deprecated)"
        rf"(?: \w+){{0,3}}? {_NOUN}(?: \w+){{0,2}}?"
        r"|(?:does|do|did|will|can)(?:n't|not| not) (?:support|accept|allow|recogni[sz]e|take|know|handle|use|specify)"
        r"|no \w+ (?:was |were )?found that (?:support|accept|can handle)s?|(?:please )?(?:remove|omit|unset|drop))"
    )
    listed = r"(?:[\"'`]?[\w.]+[\"'`]?\s*(?:,|:\s*[\w.]+,?|\band\b)\s*){0,20}"
    between = rf"(?: (?:the|this|any|a|use|of|requested|following|setting|custom)){{0,4}}(?: {_NOUN})?"
    found = [
        rf"{this}{_DRESS}(?:{_NOUN})?{_DRESS}(?:(?:is|are|was|were|has|have) )?(?:currently |yet )?{denied}",
        rf"{head}{between}{_DRESS}{listed}{_DRESS}(?:\w+\.){{0,4}}{this}",
        rf"extra_forbidden[^{{}}]{{0,80}}{this}",
    ]
    if name in ("temperature", "seed"):
        found.append(rf"{this}[^.;]{{0,60}}?\bonly\b")
    if name == "max_tokens":
        found.append(r"(?:use|replaced by|in favou?r of|renamed to)\W+max_completion_tokens|instead of\W+max_tokens")
    return tuple(re.compile(pattern) for pattern in found)


def refused_parameters(complaint: Complaint, sent: Mapping[str, Any]) -> list[str]:
    """Return the parameters of a request that a complaint says are not taken; none where it is about anything else.

    Args:
        complaint: from `read_complaint`.
        sent: body of the request.
    """
    ours = [name for name in ("response_format", "max_tokens", "max_completion_tokens", "temperature", "seed") if name in sent]
    if not ours or not complaint.text:
        return []
    own = _folded(" ".join(str(turn.get("content")) for turn in sent.get("messages", ())))[: 10 * _LONGEST]
    found = [name for name in ours if _is_named(name, complaint) or _is_said(name, complaint.text, own)]
    if not found and "response_format" in ours and not _LENGTH.search(complaint.text):
        found = [name for name in ours[:1] if any(word[0] not in own for word in _SCHEMA.finditer(complaint.text))]
    return found


def _is_named(name: str, complaint: Complaint) -> bool:
    """Return whether the structure names a parameter and says beside it that it is not known."""
    for named, said in complaint.named:
        of_schema = name == "response_format" and named in ("json_schema", "schema", "strict", "response_schema")
        if (named == name or of_schema) and _UNKNOWN.search(said) and (name[:3] != "max" or not _VALUE.search(said)):
            return True
    return False


def _is_said(name: str, text: str, own: str) -> bool:
    for pattern in _sentences(name):
        for match in pattern.finditer(text):
            sentence = text[text.rfind(". ", 0, match.start()) + 1 : match.end() + 80].partition(". ")[0]
            of_value = name[:3] == "max" and _VALUE.search(sentence) and "instead" not in text
            if match[0] not in own and not of_value:
                return True
    return False


# How long to wait

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli\w*|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)?(?![a-z])")
_SAID = re.compile(
    r"(?:retry|try again|wait|again|available|resets?|retrydelay)\b[^\d.]{0,40}"
    r"((?:\d+(?:\.\d+)?\s*(?:ms|milli\w*|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)(?![a-z])\s*)+)"
)
_TOLD = re.compile(r'"(?:estimated_time|retry_after|retry_after_seconds)"\s*:\s*"?(\d+(?:\.\d+)?)')
_EPOCH, _NEVER = 1e8, 1e15  # seconds; a number above the first is a time and not a wait, one above the second is neither
_FULL = 60.0  # seconds; a limit per minute may be full again later, but there is room before
_RESETS = ("requests", "tokens", "requests-minute", "tokens-minute", "input-tokens", "output-tokens")


def asked_wait(headers: Mapping[str, str], text: str, now: float) -> float | None:
    """Return the seconds that a server asks us to wait, or None; what is past, zero or no time at all is none.

    Args:
        headers: of the response, names in lower case.
        text: of the error, in lower case.
        now: seconds since 1970.

    Headers are ``retry-after-ms``, ``retry-after`` (RFC 9110, 10.2.3) and the various ``ratelimit-reset``; values are seconds,
    durations such as ``6m0s`` or ``20ms``, dates and times since 1970.
    """
    if wait := _seconds(headers.get("retry-after-ms", ""), now, 1e-3):
        return wait
    if wait := _seconds(headers.get("retry-after", ""), now):
        return wait
    if (said := _SAID.search(text)) and (wait := _seconds(said[1], now)):
        return wait
    if (told := re.search(r'"(?:estimated_time|retry_after|retry_after_seconds)"\s*:\s*"?(\d+(?:\.\d+)?)', text)) and float(
        told[1]
    ):
        return float(told[1])
    return _reset(headers, now)


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return when the limit that was met is over: that of which nothing remains, else the nearest of all."""
    empty: list[float] = []
    others: list[float] = []
    for prefix in ("x-ratelimit", "anthropic-ratelimit"):
        for kind in _RESETS:
            name = f"{prefix}-reset-{kind}" if prefix[0] == "x" else f"{prefix}-{kind}-reset"
            if wait := _seconds(headers.get(name, ""), now):
                left = headers.get(name.replace("reset", "remaining"), "")
                (empty if left.strip() in ("0", "0.0") else others).append(wait)
    others += [wait for name in ("x-ratelimit-reset", "ratelimit-reset") if (wait := _seconds(headers.get(name, ""), now))]
    if told := re.search(r"\b(?:reset|t)=(\d+)", headers.get("ratelimit", "")):
        others.append(float(told[1]))
    return min(max(empty) if empty else min(others), _FULL) if empty or others else None


def _seconds(value: str, now: float, unit: float = 1.0) -> float | None:
    """Return the seconds of a number, a duration, a date or a time since 1970; None unless they are above 0."""
    value = value.strip().casefold()
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        parts = _DURATION.findall(value)
        whole = parts and not _DURATION.sub("", value).strip(" ,and")
        return (sum(float(n) * _unit(name, unit) for n, name in parts) or None) if whole else _until(value, now)
    if not number < _NEVER:  # nor NaN
        return None
    at = number / (1e3 if number > _EPOCH * 1e3 else 1.0)  # in milliseconds, some
    after = at - now if number > _EPOCH and unit == 1.0 else number * unit
    return after if after > 0 else None


def _unit(name: str, otherwise: float) -> float:
    if name.startswith(("ms", "milli")):
        return 1e-3
    return {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}.get(name[:1], otherwise)


def _until(date: str, now: float) -> float | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = read(date.upper())
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        after = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
        return after if after > 0 else None
    return None
