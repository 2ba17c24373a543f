"""Owns the names of teachers, and the client for OpenAI-compatible servers; the only importer of openai.

A teacher is named by a URL (OpenAI, vLLM, llama.cpp, Ollama, gateways …), ``openai``, ``recorded:FILE``, ``fake``, a
registered name, or is an object with the methods of `Teacher`. Nothing here asks one: an `MeteredTeacher` does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import cache
from importlib import import_module
from time import time
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from curate import progress
from curate.teachers import prices
from curate.teachers.base import Outcome, RawResponse, Request, RequestFailedError, default_shape, endpoint_name
from curate.teachers.batch_api import BatchAPI
from curate.teachers.options import TIMEOUT
from curate.teachers.redaction import Redaction

__all__ = ["OpenAITeacher"]

T = TypeVar("T")

OPENAI_URL = "https://api.openai.com/v1"
FILE_TIMEOUT = 3600.0  # seconds for one file of a batch

_UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}  # httpx's names; the request never left
_DENIED = {401, 402, 403, 404, 405}
_UNKNOWN_FATE = {502, 504, 524}  # a gateway gave up; what stands behind it may have answered, and billed
_REFUSED = {408, 409, 425, 429}

# A parameter that some servers refuse, and words in their complaint that mean it.
_OPTIONAL = {
    "response_format": ("response_format", "json_schema", "json schema", "guided", "grammar"),
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "seed": ("seed",),
}


class OpenAITeacher:
    """A model behind an OpenAI-compatible server.

    Args:
        url: base address, with ``/v1`` where the server has it; user and password in it are sent to that server alone.
        model: its name there.
        api_key: sent to that server alone; empty for none.
        concurrency: requests under way at once, at most.
        price: of its tokens, or None.
        timeout: seconds for one reply.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str = "",
        concurrency: int = 16,
        price: prices.Price | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.endpoint, self.model = endpoint_name(url), model
        self.concurrency, self.price = concurrency, price
        self._url, self._key, self._timeout = urlsplit(url), api_key, timeout
        place = self._url.netloc.rpartition("@")[2]
        self.address = self._url._replace(netloc=place, query="", fragment="").geturl()  # without secrets
        self._redaction = Redaction(self._url, api_key)
        self._clients: list[Any] = []  # one for each request under way: a pool looks at all of its connections for each request
        self._idle: list[Any] = []
        self._refused: set[str] = set()  # names in _OPTIONAL that this server does not take

    async def submit(self, requests: Sequence[Request]) -> AsyncIterator[tuple[int, RawResponse]]:
        """Send each request once, one after the other; the account sends many at a time."""
        for position, request in enumerate(requests):
            yield position, await self._send(request)

    def capacity(self, domain: str) -> int | None:
        """Return None: a model writes as much as it is asked for."""
        return None

    def shape(self, request: Request) -> Mapping[str, Any]:
        """Return what shapes the answer: messages, sampling parameters, schema, sample."""
        return default_shape(request)

    async def close(self) -> None:
        """Close the connections."""
        clients, self._clients, self._idle = self._clients, [], []
        await asyncio.gather(*(client.close() for client in clients))
        if clients:
            self._redaction.end()

    @property
    def batches(self) -> BatchAPI:
        """The server's batch endpoints; see `curate.calls.batch`."""
        return BatchAPI(self)

    def redact(self, text: str) -> str:
        """Return a reply without secrets."""
        return self._redaction.body(text)

    async def reach(self, act: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with the OpenAI client; what does not come about is a `RequestFailedError`."""
        return await self._reach(act, {}, max(self._timeout, FILE_TIMEOUT))

    async def _send(self, request: Request) -> RawResponse:
        body = self.body(request)
        try:
            # As text: the library's own types cost half a millisecond, and the ledger keeps what came.
            raw = await self._reach(lambda client: client.post("/chat/completions", body=body, cast_to=str), body, self._timeout)
            return RawResponse("answered", raw=self._redaction.body(raw))
        except RequestFailedError as e:
            return e.answer

    async def _reach(self, act: Callable[[Any], Awaitable[T]], body: Mapping[str, Any], seconds: float) -> T:
        import openai

        client = self._open()
        try:
            async with asyncio.timeout(seconds):
                return await act(client)
        except openai.APIStatusError as e:
            answer = self.judge(int(e.status_code), e.code, _message(e), body)
            wait = _retry_after(e.response.headers) if answer.retry_after is None else answer.retry_after
            raise RequestFailedError(replace(answer, retry_after=wait), int(e.status_code)) from e
        except (TimeoutError, openai.APITimeoutError) as e:
            unsent = type(e.__cause__).__name__ in _UNSENT
            raise RequestFailedError(RawResponse("unsent" if unsent else "lost", error=f"no reply within {seconds:g} s")) from e
        except openai.APIConnectionError as e:
            cause = e.__cause__ or e
            outcome: Outcome = "unsent" if type(cause).__name__ in _UNSENT else "lost"
            raise RequestFailedError(
                RawResponse(outcome, error=self._redaction.line(f"{type(cause).__name__}: {cause}".removesuffix(": ")))
            ) from e
        finally:
            self._idle.append(client)

    def _open(self) -> Any:
        """Take a client of this event loop that is idle, or a new one; `close` ends them all."""
        if self._idle:
            return self._idle.pop()
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        url, local = self._url, self.endpoint == "local"
        auth = (unquote(url.username), unquote(url.password or "")) if url.username else None
        client = AsyncOpenAI(
            base_url=self.address,
            default_query=dict(parse_qsl(url.query)),
            api_key=self._key or "none",
            max_retries=0,  # every sending is reserved by the account
            http_client=DefaultAsyncHttpxClient(
                auth=auth, trust_env=not local, verify=_trusted(not local), timeout=self._timeout
            ),
        )
        if self.endpoint != OPENAI_URL:  # which the library reads from the environment for any server
            client.organization = client.project = None
        if not self._clients:
            self._redaction.begin()
        self._clients.append(client)
        return client

    def body(self, request: Request) -> dict[str, Any]:
        """Return the body of a request, without what this server has refused."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(turn) for turn in request.messages],
            "temperature": request.temperature,
            "seed": request.sample,
            "max_tokens": request.max_tokens,
        }
        if request.schema:
            schema = {"name": request.purpose, "schema": dict(request.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if "max_tokens" in self._refused:
            body["max_completion_tokens"] = request.max_tokens
        return {name: value for name, value in body.items() if name not in self._refused}

    def judge(self, status: int, code: str | None, message: str, sent: Mapping[str, Any] = _OPTIONAL) -> RawResponse:
        """Say what an HTTP error means for the body that was sent, or that may have had every parameter."""
        error = self._redaction.line(f"{status} {message}")
        if status in _DENIED or code == "insufficient_quota":
            return RawResponse("denied", error=error + self._advice(status))
        if status in _UNKNOWN_FATE:
            return RawResponse("lost", error=error)
        if status in _REFUSED or status >= 500:
            return RawResponse("refused", error=error)
        if self._go_without(error.casefold(), sent):
            return RawResponse("refused", error=error, retry_after=0.0)
        return RawResponse("failed", error=error)

    def _advice(self, status: int) -> str:
        """Return what to look at first where a server refuses everybody; empty where nobody knows."""
        if status in (401, 403) and not self._key:
            return "; no key was sent: name the environment variable that holds it with --api-key-env"
        return "; is the address whole (most end in /v1), and the model's name right?" if status in (404, 405) else ""

    def _go_without(self, complaint: str, sent: Mapping[str, Any]) -> bool:
        """Leave out, from now on, the first optional parameter that a server complains of; say whether there is one."""
        for name, words in _OPTIONAL.items():
            if name in sent and any(word in complaint for word in words):
                if name not in self._refused:
                    self._refused.add(name)
                    instead = " (max_completion_tokens instead)" if name == "max_tokens" else ""
                    progress.note("teacher", f"{self.endpoint!r} does not take {name!r}; going on without it{instead}")
                return True
        return False


@cache
def _trusted(trust_env: bool) -> ssl.SSLContext:
    """Return the certificates that the HTTP library trusts; reading them takes 50 ms, which each client would take again."""
    from openai import DefaultAsyncHttpxClient

    library = import_module(DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])  # httpx2; httpx in openai 2
    context: ssl.SSLContext = library.create_ssl_context(trust_env=trust_env)
    return context


def _message(told: Any) -> str:
    """Return what a server says of an error: its message where it has OpenAI's form, else all of it."""
    body = told.body if isinstance(told.body, dict) else {}
    return str(body.get("message") or told.response.text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks us to wait, or None; as seconds, milliseconds or a date (RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        told = headers.get(name, "")
        if told.replace(".", "", 1).isdecimal():
            return float(told) * unit
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time())
    except ValueError:
        return None
