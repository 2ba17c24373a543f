"""The contract of teachers: requests, raw responses, replies. Sends nothing; `curate.teachers.responses` parses a response.

Every teacher responds in one raw form, the body of an OpenAI-compatible chat completion, so that a response can be kept as it
came and parsed again later, for nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlsplit, urlunsplit

import orjson

from curate.errors import TeacherError
from curate.teachers.prices import Price

__all__ = [
    "LOOPBACK",
    "Asker",
    "Outcome",
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
    "parse_json",
    "prompt_token_bound",
]

LOOPBACK = "local"  # name of a server on this machine; of further ones, port and path follow it, see `curate.calls.client`

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

_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_TOKENS_PER_MESSAGE = 16  # at most, that a chat template writes around a turn
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
                "exact": True,  # also where they are 0
            },
        }
        if seeds is not None:
            body["seeds"] = list(seeds)
        return RawResponse("answered", raw=json.dumps(body, ensure_ascii=False))


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


def parse_json(text: str) -> Any:
    """Return JSON as Python has it; what orjson does not read (halves of letters, NaN, deep nesting) json may."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)


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


def endpoint_name(url: str) -> str:
    """Return an address without user, password, query and fragment; loopback is `LOOPBACK`, whatever its port."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if _is_loopback(host):
        return LOOPBACK
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, f"[{host}]{port}" if ":" in host else f"{host}{port}", parts.path.rstrip("/"), "", ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class RequestFailedError(TeacherError):
    """A request that the server answered with an error, or not at all.

    Args:
        response: its outcome says whether the server may have done what was asked all the same (``lost``).
        status: of HTTP, or None.
    """

    def __init__(self, response: RawResponse, status: int | None = None) -> None:
        self.response, self.status = response, status
        super().__init__(response.error)
