"""Sends requests to OpenAI-compatible servers: OpenAI, vLLM, llama.cpp, Ollama, gateways. The only importer of openai.

Knows no ledger and repeats no request: `curate.calls.client.MeteredTeacher` decides what is sent, and how often.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from time import time
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from curate import progress
from curate.errors import InputError
from curate.teachers import prices
from curate.teachers.base import (
    LOOPBACK,
    Outcome,
    RawResponse,
    Request,
    RequestFailedError,
    Teacher,
    default_shape,
    endpoint_name,
)
from curate.teachers.batch_api import BatchAPI
from curate.teachers.complaints import Complaint, Dialect, asked_wait, read_complaint, refused_parameters
from curate.teachers.options import TIMEOUT
from curate.teachers.redaction import Redaction
from curate.teachers.registry import teachers

__all__ = ["OPENAI_URL", "OpenAITeacher"]

T = TypeVar("T")

OPENAI_URL = "https://api.openai.com/v1"
MOST_BYTES = 64 * 2**20  # of one reply, unpacked; the longest that a model can write has a hundredth of it
MOST_FILE_BYTES = 2**30  # of one file of a batch
FILE_TIMEOUT = 3600.0  # seconds for one file of a batch

# Names of the HTTP library's errors after which the request never left.
_UNSENT = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
    "LocalProtocolError",
    "InvalidURL",
}
_DENIED = {401, 402, 407}
_DENIED_CODES = {"insufficient_quota", "model_not_found", "invalid_api_key", "account_deactivated", "billing_not_active"}
_BARRED = {403, 404, 405}
_UNKNOWN_FATE = {499, 502, 504, 520, 522, 524, 598, 599}  # a gateway gave up; what stands behind it may have answered, and billed
_REFUSED = {409, 425, 429}
_BUSY = {429, 503, 529}
_OF_PARAMETERS = {400, 404, 405, 406, 415, 422, 500, 501}  # with which servers complain of a parameter
_GAVE_UP = re.compile(r"time[ds]?[ -]?out|deadline[ _]?exceeded")
_NOT_ARRIVED = re.compile(
    r"in full|incomplete|never (?:arrived|received)|not (?:fully )?receive|reading (?:the )?(?:request|body)|idle"
)
_PROXIES = tuple(name for kind in ("ALL", "HTTPS", "HTTP") for name in (f"{kind}_PROXY", f"{kind.lower()}_proxy"))
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_PROXY_ADVICE = 'a proxy is http://HOST:PORT or socks5://HOST:PORT, the latter after pip install "httpx[socks]"; or unset it'
_CERTIFICATE_ADVICE = "a file or folder of certificates in PEM format; or unset it"
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1", re.DOTALL | re.IGNORECASE)
_WHOLE = "; is the address whole (most end in /v1), and the model's name right?"


class OpenAITeacher:
    """A model behind an OpenAI-compatible server.

    Args:
        url: base address, with ``/v1`` where the server has it; user and password in it are sent to that server alone.
        model: its name there.
        api_key: sent to that server alone; empty for none.
        concurrency: requests in flight, at most.
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
        self._is_local = self.endpoint == LOOPBACK
        self.concurrency, self.price = concurrency, price
        self._url, self._key, self._timeout = urlsplit(url), api_key, timeout
        netloc = self._url.netloc.rpartition("@")[2]
        self.address = self._url._replace(netloc=netloc, query="", fragment="").geturl()  # without secrets
        self._redaction = Redaction(self._url, api_key)
        self._clients: list[Any] = []  # one for each request in flight: a pool looks at all of its connections for each request
        self._idle: list[Any] = []
        self.dialect = Dialect()  # what this server takes, as far as it has said so

    async def submit(self, requests: Sequence[Request]) -> AsyncIterator[tuple[int, RawResponse]]:
        """Send each request once, one after the other; `curate.calls.live` submits many at a time."""
        for position, request in enumerate(requests):
            yield position, await self._send(request)

    @property
    def loopback_server(self) -> str:
        """Port and path of a server on loopback, such as ``"8000/v1"``, whatever the host is called; empty for any other."""
        return f"{self._url.port or 80}{self._url.path.rstrip('/')}" if self._is_local else ""

    def capacity(self, domain: str) -> int | None:
        """Return None: a model writes as much as it is asked for."""
        return None

    def shape(self, request: Request) -> Mapping[str, Any]:
        """Return what shapes the reply: messages, sampling parameters, schema, sample."""
        return default_shape(request)

    async def close(self) -> None:
        """Close the connections."""
        clients, self._clients, self._idle = self._clients, [], []
        await asyncio.gather(*(client.close() for client in clients))
        if clients:
            self._redaction.uninstall()

    @property
    def batches(self) -> BatchAPI:
        """The server's batch endpoints; see `curate.calls.batch`."""
        return BatchAPI(self)

    def redact(self, text: str) -> str:
        """Return a reply without secrets."""
        return self._redaction.redact_reply(text)

    async def call(self, act: Callable[[Any], Awaitable[T]]) -> T:
        """Call the OpenAI client.

        Raises:
            RequestFailedError: the server answered with an error, or not at all.
        """
        try:
            return await self._call(act, {}, max(self._timeout, FILE_TIMEOUT))
        except _TooLargeError as e:
            raise RequestFailedError(RawResponse("lost", error=str(e))) from e

    async def _send(self, request: Request) -> RawResponse:
        body = self.request_body(request)
        try:
            # As text: the library's own types cost half a millisecond, and the ledger keeps what came.
            raw = await self._call(lambda client: client.post("/chat/completions", body=body, cast_to=str), body, self._timeout)
        except RequestFailedError as e:
            return e.response
        except _TooLargeError as e:  # paid for, at the bound, since nobody knows its tokens; asked again it would be as large
            progress.note("teacher", f"{self.endpoint!r}: {e}; it stays charged, and counts as a reply without a text")
            message = {"role": "assistant", "content": ""}
            return RawResponse("answered", raw=json.dumps({"choices": [{"message": message, "finish_reason": "too_large"}]}))
        raw = self._redaction.redact_reply(raw)
        return RawResponse("answered", raw=raw) if '"choices"' in raw else self._read_strange(raw, body)

    def _read_strange(self, raw: str, body: Mapping[str, Any]) -> RawResponse:
        """Return what came with status 200 and has no choices: a web page and an error are no replies, and cost nothing."""
        if raw.lstrip("\ufeff \t\r\n").startswith("<"):
            title = _TITLE.search(raw)
            said = self._redaction.redact_line(f"a web page came, with status 200: {title[2] if title else raw}")
            return RawResponse("refused", raw=raw, error=said, advice=_WHOLE)
        complaint = read_complaint(200, raw)
        if complaint.message == raw or '"usage"' in raw:  # no error that one can read, or one that was billed
            return RawResponse("answered", raw=raw)
        status = int(complaint.code) if re.fullmatch("[45][0-9][0-9]", complaint.code) else 500
        response = self.classify_error(replace(complaint, status=status), body)
        error = self._redaction.redact_line(f"an error came, with status 200: {complaint.message}")
        return replace(response, raw=raw, error=error if status == 500 else response.error)

    async def _call(self, act: Callable[[Any], Awaitable[T]], body: Mapping[str, Any], seconds: float) -> T:
        import openai

        client = self._open()
        try:
            async with asyncio.timeout(seconds):
                return await act(client)
        except openai.APIStatusError as e:
            status, text = int(e.status_code), e.response.text
            response = self.classify_error(read_complaint(status, text), body)
            if response.outcome == "refused":
                response = replace(response, retry_after=asked_wait(e.response.headers, text[:4000].casefold(), time()))
            raise RequestFailedError(response, status) from e
        except (TimeoutError, openai.APITimeoutError) as e:
            unsent = type(e.__cause__).__name__ in _UNSENT
            raise RequestFailedError(RawResponse("unsent" if unsent else "lost", error=f"no reply within {seconds:g} s")) from e
        except openai.APIConnectionError as e:
            cause = e.__cause__ or e
            outcome: Outcome = "unsent" if type(cause).__name__ in _UNSENT else "lost"
            raise RequestFailedError(
                RawResponse(outcome, error=self._redaction.redact_line(f"{type(cause).__name__}: {cause}".removesuffix(": ")))
            ) from e
        finally:
            self._idle.append(client)

    def check_connection(self) -> None:
        """Make a client, as requests will, so that what is wrong with proxies or certificates is said before any is reserved.

        Raises:
            InputError: the environment names a proxy or certificates that cannot be used.
        """
        try:
            self._idle.append(self._open())
        except (ValueError, ImportError, OSError) as e:
            at_certificates = isinstance(e, OSError)
            names = _CERTIFICATES if at_certificates else _PROXIES
            found = [name for name in names if os.environ.get(name)]
            said = self._redaction.redact_line(str(e)) if at_certificates else _without_addresses(str(e))
            raise InputError(
                f"teacher {self.endpoint!r} cannot be reached as the environment says: {said or type(e).__name__}; look at "
                f"{', '.join(found) or 'the proxy settings'}: {_CERTIFICATE_ADVICE if at_certificates else _PROXY_ADVICE}"
            ) from e

    def _open(self) -> Any:
        """Take a client of this event loop that is idle, or a new one; `close` ends them all."""
        if self._idle:
            return self._idle.pop()
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        url, local = self._url, self._is_local
        auth = (unquote(url.username), unquote(url.password or "")) if url.username else None
        client = AsyncOpenAI(
            base_url=self.address,
            default_query=dict(parse_qsl(url.query)),
            api_key=self._key or "none",
            max_retries=0,  # every sending is reserved in the ledger first
            http_client=DefaultAsyncHttpxClient(
                auth=auth,
                trust_env=not local,
                verify=_trusted(not local),
                timeout=self._timeout,
                event_hooks={"response": [_read_within_limit]},
            ),
        )
        if self.address.rstrip("/") != OPENAI_URL:  # which the library reads from the environment for any server
            client.organization = client.project = None
        if not self._clients:
            self._redaction.install()
        self._clients.append(client)
        return client

    def request_body(self, request: Request, dialect: Dialect | None = None) -> dict[str, Any]:
        """Return the body of a request, as this server takes it; in another dialect where that is given."""
        return (dialect or self.dialect).body(self.model, [dict(turn) for turn in request.messages], request)

    def classify_error(self, complaint: Complaint, sent: Mapping[str, Any]) -> RawResponse:
        """Return what an error means for the request whose body was sent; what the server does not take is not sent again."""
        status = complaint.status
        error = self._redaction.redact_line(f"{status} {complaint.message}")
        if status in _DENIED or complaint.code in _DENIED_CODES:
            return RawResponse("denied", error=error, advice=self._advice(status))
        if status in _OF_PARAMETERS and (names := refused_parameters(complaint, sent)):
            return self._adapt(names, complaint, sent, error)
        if status in _BARRED:
            return RawResponse("barred", error=error, advice=self._advice(status))
        if status in _UNKNOWN_FATE or (status in (500, 503) and _GAVE_UP.search(complaint.text)):
            return RawResponse("lost", error=error)
        if status == 408 and not _NOT_ARRIVED.search(complaint.text):
            return RawResponse("lost", error=error)
        if status in _REFUSED or status == 408 or status >= 500:
            return RawResponse("refused", error=error, busy=status in _BUSY)
        return RawResponse("failed", error=error)

    def _advice(self, status: int) -> str:
        """Return what to look at first where a server refuses everybody; empty where nobody knows."""
        if status in (401, 403) and not self._key:
            return "; no key was sent: name the environment variable that holds it with --api-key-env"
        return _WHOLE if status in (404, 405) else ""

    def _adapt(self, names: Sequence[str], complaint: Complaint, sent: Mapping[str, Any], error: str) -> RawResponse:
        """Leave out, from now on, what a server complains of; others may have learned that since this body was sent."""
        after, before = self.dialect.without(self._still_sent(names, sent), complaint), self.dialect
        if after.limitless:
            return RawResponse("denied", error=f"{error}; it takes no limit of a reply's length, so that no cap would hold")
        for change in after.changes(before):
            progress.note("teacher", f"{self.endpoint!r} does not take {change}")
        self.dialect = after
        return RawResponse("adapted", error=error)

    def _still_sent(self, names: Sequence[str], sent: Mapping[str, Any]) -> list[str]:
        """Return those of the names that are still sent as they were in a body."""
        known = self.dialect
        kept = {"temperature", "seed"} - known.left_out | {known.length}
        form = sent.get("response_format")
        strict = "strict" in form.get("json_schema", {}) if form else False
        if form and known.format == (2 if form["type"] == "json_object" else 0 if strict else 1):
            kept.add("response_format")
        return [name for name in names if name in kept]


class _TooLargeError(Exception):
    """A reply is larger than any reply may be."""


async def _read_within_limit(response: Any) -> None:
    """Read a reply of the HTTP library, unpacked, and stop where it is too large: some kilobytes of gzip can be gigabytes."""
    most = MOST_BYTES if response.request.url.path.endswith("/chat/completions") else MOST_FILE_BYTES
    pieces, length = [], 0
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        length += len(piece)
        if length > most:
            raise _TooLargeError(f"the reply is larger than {most // 2**20:,} MiB, and was not read further")
    response._content = b"".join(pieces)  # where `aread` keeps it


@cache
def _trusted(trust_env: bool) -> ssl.SSLContext:
    """Return the certificates that the HTTP library trusts; reading them takes 50 ms, which each client would take again."""
    from openai import DefaultAsyncHttpxClient

    library = import_module(DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])  # httpx2; httpx in openai 2
    context: ssl.SSLContext = library.create_ssl_context(trust_env=trust_env)
    return context


def _without_addresses(text: str) -> str:
    """Return a message without what an address may hold beyond its scheme: a proxy's may have a password."""
    return " ".join(re.sub(r"(\w+://)[^\s'\")]*", r"\1…", text).split())


_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # how people name environment variables


@teachers.register("openai")
def _openai(location: str, **options: Any) -> Teacher:
    return _url(OPENAI_URL, **options)


@teachers.register("url")
def _url(
    location: str,
    *,
    model: str | None,
    api_key_env: str | None,
    concurrency: int,
    timeout: float,
    root: str | Path | None,
    need_key: bool,
) -> Teacher:
    try:
        endpoint = endpoint_name(location)
    except ValueError:
        raise InputError("teacher: the address is not a URL, such as http://127.0.0.1:8000/v1") from None  # e may tell a password
    if not model:
        raise InputError(f"teacher {endpoint!r} needs the name of a model: --model NAME")
    key = _api_key(location, endpoint, api_key_env, need_key=need_key)
    price = prices.find(model, endpoint, root=root)
    if price is None and (near := prices.nearest(model, endpoint)):
        progress.note("teacher", f"model {model!r} has no known price; the nearest that has one is {near!r}")
    return OpenAITeacher(location, model=model, api_key=key, concurrency=concurrency, price=price, timeout=timeout)


def _api_key(location: str, endpoint: str, api_key_env: str | None, *, need_key: bool) -> str:
    """Return the key for a server from the environment; OPENAI_API_KEY is read unasked for api.openai.com alone."""
    at_openai = urlsplit(location).scheme == "https" and urlsplit(location).hostname == urlsplit(OPENAI_URL).hostname
    wanted = api_key_env or ("OPENAI_API_KEY" if at_openai else None)
    key = os.environ.get(wanted, "").strip() if wanted else ""
    if wanted and not key and need_key:
        if not _VARIABLE.fullmatch(wanted):  # it may be the key itself, which must not be said again
            raise InputError(
                "--api-key-env takes the name of an environment variable that holds the key, not the key; it is not set"
            )
        raise InputError(f"teacher {endpoint!r} needs a key in the environment variable {wanted!r}, which is not set")
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the key in the environment variable {wanted!r} has characters that no key has; set it again")
    return key
