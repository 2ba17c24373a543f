"""Speaks the Batch API: the files and batches endpoints, and the lines of their files. Knows no ledger.

This is OpenAI's Batch API (https://platform.openai.com/docs/guides/batch), which gateways copy: a file of requests is
uploaded, a batch is made of it, and answers come as two files, one of replies and one of errors, in any order.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from curate.teachers.base import RawResponse, Request
from curate.teachers.complaints import Complaint, Dialect, read_complaint
from curate.teachers.responses import find_reply

__all__ = ["BatchAPI", "BatchState", "HTTPClient", "ResultLine"]

T = TypeVar("T")

ENDPOINT = "/v1/chat/completions"
WINDOW = "24h"  # the only one there is; what is not answered by then expires, and is not billed
_MARK = "curate_batch"  # in a batch's metadata: the name that we gave it
_PAGE, _PAGES = 100, 50  # batches on one page of the list, and pages that are looked through
_OVER = {"completed", "failed", "expired", "cancelled"}
# What providers call these, in lower case; see `_status`.
_SYNONYMS = {
    **dict.fromkeys(("complete", "succeeded", "success", "ended", "done", "finished", "partially_succeeded"), "completed"),
    **dict.fromkeys(("failure", "error", "errored"), "failed"),
    **dict.fromkeys(("canceled", "aborted"), "cancelled"),
    "timed_out": "expired",
}
_RUNNING = {"validating", "in_progress", "finalizing", "cancelling", "pending", "queued", "running", "created", "submitted"}
_NOT_READY = {"pending", "running", "processing", "queued", "uploading", "validating", "importing", "notrunning", "not_running"}
_UNRUN = {"batch_expired", "batch_cancelled"}  # codes of requests that were never run
_ID = re.compile(rb'"([0-9a-f]{32})"')  # a key of ours, under whatever name


@dataclass(frozen=True)
class BatchState:
    """What the provider says of a batch.

    Attributes:
        id: the provider's name of it.
        status: ``validating``, ``in_progress``, ``finalizing``, ``completed``, ``failed``, ``expired``, ``cancelling`` …
        total, done: requests in it, and those with a reply or an error.
        answered: those with a reply.
        output, errors: names of the files of replies and of errors; empty where there is none yet.
        problems: why the whole batch failed: (code, message).
    """

    id: str
    status: str
    total: int = 0
    done: int = 0
    answered: int = 0
    output: str = ""
    errors: str = ""
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come: by its status, or where that is unknown, by all requests being counted."""
        counted = bool(self.output) and 0 < self.total <= self.done and self.status not in _RUNNING
        return self.status in _OVER or counted

    @property
    def words(self) -> str:
        """The state in words, such as ``in progress 12/300``."""
        counted = f" {self.done:,}/{self.total:,}" if self.total else ""
        return self.status.replace("_", " ") + counted


@dataclass(frozen=True)
class ResultLine:
    """One line of a result file: the key of the call, and its reply or what came instead.

    Attributes:
        key: of the call; empty where the line names none.
        raw: body of the reply as JSON; the whole line where it has another form than OpenAI's; empty for an error.
        status: of HTTP; 0 where the request was not run.
        code, message: of the error.
        error: the error whole, as JSON.
        line: the line as it came, of an error.
    """

    key: str
    raw: str = ""
    status: int = 0
    code: str = ""
    message: str = ""
    error: str = field(default="", compare=False)
    line: str = field(default="", compare=False)

    @property
    def unrun(self) -> bool:
        """Whether the request was never run, and so is not billed."""
        return self.code in _UNRUN


class HTTPClient(Protocol):
    """What a `BatchAPI` needs of a client."""

    @property
    def dialect(self) -> Dialect:
        """Which parameters the server takes."""
        ...

    def request_body(self, request: Request, dialect: Dialect | None = None) -> dict[str, Any]:
        """Return the body of a request, in another dialect than the present one where that is given."""
        ...

    def classify_error(self, complaint: Complaint, sent: Mapping[str, Any]) -> RawResponse:
        """Return what an error means for the request whose body was sent."""
        ...

    def redact(self, text: str) -> str:
        """Return a reply without secrets."""
        ...

    async def call(self, act: Callable[[Any], Awaitable[T]]) -> T:
        """Call the OpenAI client; raises `RequestFailedError`."""
        ...


class BatchAPI:
    """The batch endpoints behind one client.

    Args:
        client: that holds the connections.
    """

    def __init__(self, client: HTTPClient) -> None:
        self._client = client
        self._not_ready: set[str] = set()  # files that the provider said to be still at work on

    def input_line(self, key: str, request: Request) -> bytes:
        """Return the line of the input file for one request."""
        line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": self._client.request_body(request)}
        return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"

    async def upload(self, name: str, content: bytes) -> str:
        """Upload an input file; return the provider's name of it."""
        file = (f"curate-{name}.jsonl", content)
        made = await self._client.call(lambda client: client.files.create(file=file, purpose="batch"))
        self._note_status(made)
        return str(made.id)

    async def is_ready(self, file: str) -> bool:
        """Return whether a batch can be made of an uploaded file; asks where the provider said that it cannot yet."""
        if file in self._not_ready:
            self._note_status(await self._client.call(lambda client: client.files.retrieve(file)))
        return file not in self._not_ready

    def _note_status(self, file: Any) -> None:
        busy = str(getattr(file, "status", None) or "").casefold() in _NOT_READY
        (self._not_ready.add if busy else self._not_ready.discard)(str(file.id))

    async def create(self, name: str, file: str) -> BatchState:
        """Have a batch made of an input file.

        Args:
            name: ours, by which `find` knows it.
            file: from `upload`.
        """
        made = await self._client.call(
            lambda client: client.batches.create(
                completion_window=WINDOW,
                endpoint=ENDPOINT,
                input_file_id=file,
                metadata={_MARK: name},
                extra_headers={"Idempotency-Key": name},  # for gateways that heed it
            )
        )
        return _state(made)

    async def find(self, name: str, file: str | None) -> BatchState | None:
        """Return the batch of that name, or of that input file, or None where the provider's list has neither."""

        async def seek(client: Any) -> BatchState | None:
            async for batch in _first(client.batches.list(limit=_PAGE), _PAGE * _PAGES):
                named = dict(getattr(batch, "metadata", None) or {}).get(_MARK)
                if named == name or (file and getattr(batch, "input_file_id", None) == file):
                    return _state(batch)
            return None

        return await self._client.call(seek)

    async def retrieve(self, provider: str) -> BatchState:
        """Return what the provider says of a batch now."""
        return _state(await self._client.call(lambda client: client.batches.retrieve(provider)))

    async def cancel(self, provider: str) -> None:
        """Have a batch cancelled."""
        await self._client.call(lambda client: client.batches.cancel(provider))

    async def download(self, file: str) -> Iterator[ResultLine]:
        """Return the lines of a result file."""
        content: bytes = (await self._client.call(lambda client: client.files.content(file))).content
        # Not by str.splitlines or an iterator of text lines: those cut at U+2028 and others, which JSON strings may hold.
        lines = (_line(line) for line in _lines(content) if line.strip())
        redact = self._client.redact
        return (replace(line, raw=redact(line.raw), line=redact(line.line)) for line in lines)

    @property
    def dialect(self) -> Dialect:
        """Which parameters the server takes, as far as it has said so."""
        return self._client.dialect

    def classify(self, line: ResultLine, request: Request | None = None, dialect: Dialect | None = None) -> RawResponse:
        """Return what a line's error means for its request, which was sent in a dialect; where they are not known, for any."""
        if line.unrun:
            return RawResponse("unsent", error=f"{line.code}: {line.message}".strip(": "))
        status = line.status if line.status >= 400 else 500
        complaint = read_complaint(status, line.error or json.dumps({"code": line.code, "message": line.message}))
        return self._client.classify_error(complaint, self._client.request_body(request, dialect) if request else {})

    def classify_failed_batch(
        self, state: BatchState, request: Request | None = None, dialect: Dialect | None = None
    ) -> RawResponse:
        """Return what it means for its requests, one of which is given, that a whole batch failed."""
        code, message = state.problems[0] if state.problems else ("", "")
        error = f"{code}: {message}".strip(": ") or "the batch failed, and the server does not say why"
        sent = self._client.request_body(request, dialect) if request else {}
        return self._client.classify_error(replace(read_complaint(400, json.dumps({"message": error})), code=code), sent)


async def _first(items: AsyncIterator[Any], n: int) -> AsyncIterator[Any]:
    seen = 0
    async for item in items:
        if (seen := seen + 1) > n:
            return
        yield item


def _state(batch: Any) -> BatchState:
    """Read a provider's batch; gateways leave fields out."""
    counts = getattr(batch, "request_counts", None)
    total, completed, failed = (int(getattr(counts, name, None) or 0) for name in ("total", "completed", "failed"))
    problems = getattr(getattr(batch, "errors", None), "data", None) or []
    return BatchState(
        id=str(batch.id),
        status=_status(str(getattr(batch, "status", None) or "")),
        total=total,
        done=completed + failed,
        answered=completed,
        output=str(getattr(batch, "output_file_id", None) or ""),
        errors=str(getattr(batch, "error_file_id", None) or ""),
        problems=tuple((str(p.code or ""), str(p.message or "")) for p in problems),
    )


def _status(said: str) -> str:
    """Return a provider's status in OpenAI's word, whatever its case and form; one that nobody knows as it is, in lower case."""
    word = said.casefold().replace("-", "_").replace(" ", "_").removeprefix("job_state_").removeprefix("batch_state_")
    return _SYNONYMS.get(word, word)


def _lines(content: bytes) -> list[bytes]:
    """Return the lines of a result file; one that is a single JSON list has a line for each of its items."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.lstrip()[:1] == b"[":
        try:
            return [json.dumps(item, ensure_ascii=False).encode("utf-8", "replace") for item in json.loads(content)]
        except (ValueError, RecursionError):
            pass
    return content.split(b"\n")


def _line(line: bytes) -> ResultLine:
    """Read one line of a result file; where it has another form than OpenAI's, it is the raw reply of the call that it names."""
    text = line.decode("utf-8", "replace")
    found = _ID.search(line)
    named = found[1].decode() if found else ""
    try:
        body = json.loads(line)
        key = str(body["custom_id"]) if "custom_id" in body else named
        response, error = body.get("response") or {}, body.get("error") or {}
        status = int(response.get("status_code") or 0)
        if 200 <= status < 300:
            return ResultLine(key, raw=json.dumps(response["body"], ensure_ascii=False), status=200)
        if find_reply(body) is not None:
            return ResultLine(key, raw=text, status=200)
        error = (response.get("body") or {}).get("error") or error
        if not key or (response and not error and not status):
            return ResultLine(key, raw=text)
        said = json.dumps({"error": error})
        return ResultLine(key, "", status, str(error.get("code") or ""), str(error.get("message") or ""), said, text)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ResultLine(named, raw=text)
