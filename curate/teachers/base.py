"""The contract of teachers: requests, raw responses, replies, and the parsing of a raw response. Sends nothing.

Every teacher responds in one raw form, the body of an OpenAI-compatible chat completion, so that a response can be kept as it
came and parsed again later, for nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlsplit, urlunsplit

import orjson

from curate.errors import TeacherError
from curate.teachers.prices import Price

__all__ = [
    "Asker",
    "Outcome",
    "ParsedResponse",
    "RawResponse",
    "Reply",
    "Request",
    "RequestFailedError",
    "Teacher",
    "TeacherInfo",
    "Usage",
    "call_key",
    "canonical_json",
    "default_shape",
    "endpoint_name",
    "parse_response",
    "prompt_token_bound",
]

# answered    a body came; whether it can be parsed is seen after it is stored
# unanswered  the teacher has no reply to this request; free
# unsent      the request never left: nobody listened
# refused     the server said no before it did any work (429, 5xx); no tokens, may be sent again
# adapted     the server does not take a parameter, which is left out from now on; no tokens, to be sent again at once
# lost        sent, and what became of it is unknown; stays charged at its upper bound, may be sent again
# failed      the server rejects this request (400, 422); sending it again is no use
# barred      the same, with words that usually mean everybody with this model or address (403, 404)
# denied      the server rejects everybody with this key (401, 402)
Outcome = Literal["answered", "unanswered", "unsent", "refused", "adapted", "lost", "failed", "barred", "denied"]

# Some servers leave the opening tag in the prompt, so that the reply begins in the middle of a thought.
_THOUGHT = re.compile(r"\s*<think(?:ing)?>(.*?)(?:</think(?:ing)?>|\Z)|(.*?)</think(?:ing)?>", re.DOTALL)
_THOUGHTS = ("thinking", "reasoning")  # types of parts
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_TOKENS_PER_MESSAGE = 16  # at most, that a chat template writes around a turn
_MOST_TOKENS = 10**9  # of one reply; a server that reports more has miscounted
_TOKENS_PER_PROMPT = 128  # at most, that a template adds of its own (a default system turn, tools)


@dataclass(frozen=True)
class Request:
    """One thing asked of a teacher.

    Attributes:
        purpose: ``"rationale"`` or ``"synthesis"``.
        messages: chat turns, ``{"role": …, "content": …}``.
        sample: number of the reply wanted, from 0; sent as the seed, so that two samples differ.
        domain: that the row belongs to, or that a new one is written for.
        prompt: the row's question; empty for synthesis.
        label: the answer that a new row should have, where one is asked for.
        temperature: of sampling.
        max_tokens: of the reply, reasoning included.
        schema: JSON schema that the reply follows.
        wanted: of several new examples in one reply, the answer that each should have or None, in turn; empty for one example.
        refill: whether it is asked in place of something that was rejected; for the ledger's report, not part of the key.
    """

    purpose: str
    messages: Sequence[Mapping[str, str]]
    sample: int = 0
    domain: str = ""
    prompt: str = ""
    label: str | None = None
    temperature: float = 0.7
    max_tokens: int = 512
    schema: Mapping[str, Any] | None = None
    refill: bool = False
    wanted: Sequence[str | None] = ()


class Usage(NamedTuple):
    """Tokens of one reply; `completion` includes `reasoning`, `prompt` includes `cached`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Tokens that count: prompt and completion together."""
        return self.prompt + self.completion


@dataclass(frozen=True)
class RawResponse:
    """What a teacher returns for one sending.

    Attributes:
        outcome: see the list above.
        raw: body of the reply as it came; empty unless answered, or where something came with status 200 that is no reply.
        error: what the server said, in one line, without secrets.
        retry_after: seconds that the server asks us to wait, above 0, or None.
        busy: refused because the server has too much to do just now (429, 503): waiting helps.
        advice: what to look at where everybody is refused; empty where nobody knows.
    """

    outcome: Outcome
    raw: str = ""
    error: str = ""
    retry_after: float | None = None
    busy: bool = False
    advice: str = ""

    @staticmethod
    def of(
        text: str, *, usage: Usage | None = None, finish_reason: str = "stop", seeds: Sequence[str] | None = None
    ) -> RawResponse:
        """Return a response in the raw form that `parse_response` parses; for teachers that are not an HTTP server.

        Args:
            text: of the reply.
            usage: tokens, or None for none.
            finish_reason: ``"stop"``, ``"length"`` or ``"content_filter"``.
            seeds: prompts that a new example was written from, where the request's own seeds were not used.
        """
        used = usage or Usage()
        body: dict[str, Any] = {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
            "usage": {
                "prompt_tokens": used.prompt,
                "completion_tokens": used.completion,
                "prompt_tokens_details": {"cached_tokens": used.cached},
                "completion_tokens_details": {"reasoning_tokens": used.reasoning},
            },
        }
        if seeds is not None:
            body["seeds"] = list(seeds)
        return RawResponse("answered", raw=json.dumps(body, ensure_ascii=False))


class ParsedResponse(NamedTuple):
    """What a raw response says.

    Attributes:
        text: the assistant's turn, visible reasoning left out.
        usage: tokens, or None where the server reported none.
        finish_reason: ``"stop"``, ``"length"``, ``"content_filter"`` or what the server says; ``"refusal"`` where the model
            declined in the message's own field.
        reasoning: what a reasoning model showed of its thoughts.
        seeds: prompts that a recorded example was written from, or None for the request's own.
        error: why the response cannot be parsed; empty where it can.
    """

    text: str = ""
    usage: Usage | None = None
    finish_reason: str = ""
    reasoning: str = ""
    seeds: tuple[str, ...] | None = None
    error: str = ""


class Reply(NamedTuple):
    """What an `Asker` returns for one request.

    Attributes:
        text: of the reply; empty unless answered.
        usage: tokens of the reply.
        call_id: of the ledger, or None where nothing was recorded.
        status: ``"answered"``, ``"unanswered"``, ``"failed"`` (at every try), ``"rejected"`` (the server does not take this
            request), ``"capped"`` (a cap was reached first).
        finish_reason: of the reply.
        error: why it failed, or which cap was reached.
        seeds: see `ParsedResponse`.
        cached: whether it was bought before it was asked for.
    """

    text: str = ""
    usage: Usage = Usage()
    call_id: int | None = None
    status: Literal["answered", "unanswered", "failed", "rejected", "capped"] = "answered"
    finish_reason: str = ""
    error: str = ""
    seeds: tuple[str, ...] | None = None
    cached: bool = False


class TeacherInfo(Protocol):
    """What is known of a teacher without asking it; see `Teacher`."""

    @property
    def endpoint(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def price(self) -> Price | None: ...

    def capacity(self, domain: str) -> int | None:
        """Return how many new examples of a domain it could write; None for no bound."""
        ...


@runtime_checkable
class Teacher(TeacherInfo, Protocol):
    """What answers requests. `curate.calls.client.MeteredTeacher` alone asks it, so that no teacher escapes a cap.

    Attributes:
        endpoint: a name without secrets, such as ``"https://api.openai.com/v1"``, ``"local"`` or ``"fake"``.
        model: that answers.
        concurrency: requests in flight, at most.
        price: of its tokens, or None where it is not known.
    """

    @property
    def concurrency(self) -> int: ...

    def submit(self, requests: Sequence[Request]) -> AsyncIterator[tuple[int, RawResponse]]:
        """Send each request once and yield (its position, the response) in any order. Whoever submits does the retries."""
        ...

    def shape(self, request: Request) -> Mapping[str, Any]:
        """Return everything in a request that shapes its answer; it goes into the ledger's key. See `shape`."""
        ...

    async def close(self) -> None:
        """Let go of connections; called on the event loop of `submit` when a run has finished."""
        ...


class Asker(Protocol):
    """What takes requests to a teacher. Generation and rounds get one and know nothing of ledgers and caps.

    Attributes:
        teacher: who answers.
        mode: ``"live"``, each request on its own, or ``"batch"``, the provider's batches.
        n_bought: replies that it bought so far; those that it had already are not among them.
    """

    @property
    def teacher(self) -> TeacherInfo: ...

    @property
    def mode(self) -> str: ...

    @property
    def n_bought(self) -> int: ...

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return one reply for each request, in their order."""
        ...


def default_shape(request: Request) -> dict[str, Any]:
    """Return what shapes the reply of a model that reads messages; what a `Teacher.shape` usually is."""
    return {
        "messages": [dict(turn) for turn in request.messages],
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "schema": request.schema,
        "sample": request.sample,
    }


def canonical_json(shaped: Mapping[str, Any]) -> str:
    """Return what shapes a reply as JSON that is the same for the same content."""
    try:
        return orjson.dumps(shaped, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # halves of letters, integers of more than 64 bits
        return _CANONICAL.encode(shaped)


def call_key(endpoint: str, model: str, shaped: str) -> str:
    """Return the ledger's key of a call: 32 hex digits over endpoint, model and everything that shapes the reply.

    Args:
        endpoint: name of the server, without secrets.
        model: its name there.
        shaped: from `canonical_json`.
    """
    text = "\0".join((endpoint, model, shaped))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def prompt_token_bound(request: Request) -> int:
    """Return tokens of prompt, at most: no tokenizer makes more tokens than the text has bytes."""
    content = sum(len(turn["content"].encode("utf-8", "surrogatepass")) for turn in request.messages)
    schema = len(json.dumps(request.schema)) if request.schema else 0
    return content + schema + _TOKENS_PER_MESSAGE * len(request.messages) + _TOKENS_PER_PROMPT


def parse_response(raw: str) -> ParsedResponse:
    """Parse a raw response; what cannot be parsed says so in `error`, and nothing is raised."""
    try:
        body = _parse(raw)
        choice = body["choices"][0]
        message = choice["message"]
    except (ValueError, RecursionError):
        return ParsedResponse(error="the reply is not JSON")
    except (LookupError, TypeError):
        error = body.get("error") if isinstance(body, dict) else None
        return ParsedResponse(error=f"the reply has no choices{f': {str(error)[:200]}' if error else ''}")
    if not isinstance(message, dict):
        return ParsedResponse(error="the reply has no message")
    text, shown = _split(message.get("content"))
    reasoning = _text(message.get("reasoning_content") or message.get("reasoning")) or shown
    seeds = body.get("seeds")
    return ParsedResponse(
        text=text.strip(),
        usage=_usage(body.get("usage")),
        finish_reason="refusal" if message.get("refusal") and not text.strip() else str(choice.get("finish_reason") or ""),
        reasoning=reasoning,
        seeds=tuple(map(str, seeds)) if isinstance(seeds, list) else None,
    )


def endpoint_name(url: str) -> str:
    """Return an address without user, password, query and fragment; loopback is ``"local"``, whatever its port."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if _is_loopback(host):
        return "local"
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, f"[{host}]{port}" if ":" in host else f"{host}{port}", parts.path.rstrip("/"), "", ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _parse(raw: str) -> Any:
    """Return JSON as Python has it; what orjson does not read (halves of letters, NaN, deep nesting) json may."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return json.loads(raw)


def _split(content: Any) -> tuple[str, str]:
    """Return what a turn says and what it shows of the model's thoughts: parts of their own, or between tags before the rest."""
    shown = ""
    if isinstance(content, list):
        thoughts = [part for part in content if isinstance(part, dict) and part.get("type") in _THOUGHTS]
        content = [part for part in content if part not in thoughts]
        shown = "".join(_text(part.get("text") or part.get("thinking")) for part in thoughts)
    text = _text(content)
    if "think" in text and (thought := _THOUGHT.match(text)):
        return text[thought.end() :], shown or (thought.group(1) or thought.group(2) or "").strip()
    return text, shown


def _text(content: Any) -> str:
    """Return a turn as text: some servers send it in parts, some cut it in the middle of a letter."""
    if isinstance(content, str) and content.isascii():  # most
        return content
    parts = content if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return "".join(str(text) for text in texts if text).encode("utf-8", "replace").decode("utf-8")


def _usage(reported: Any) -> Usage | None:
    """Return the tokens that a server reports; None where it reports none, or figures that cannot be true."""
    prompt, completion = _count(reported, "prompt_tokens"), _count(reported, "completion_tokens")
    if prompt is None or completion is None:
        return None
    cached = _count(reported.get("prompt_tokens_details"), "cached_tokens") or 0
    reasoning = _count(reported.get("completion_tokens_details"), "reasoning_tokens") or 0
    return Usage(prompt, completion, min(cached, prompt), min(reasoning, completion))


def _count(reported: Any, name: str) -> int | None:
    value = reported.get(name) if isinstance(reported, dict) else None
    if type(value) is int:  # most
        return value if 0 <= value <= _MOST_TOKENS else None
    sane = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return int(value) if sane and value is not None else None


class RequestFailedError(TeacherError):
    """A request that the server answered with an error, or not at all.

    Args:
        response: its outcome says whether the server may have done what was asked all the same (``lost``).
        status: of HTTP, or None.
    """

    def __init__(self, response: RawResponse, status: int | None = None) -> None:
        self.response, self.status = response, status
        super().__init__(response.error)
