"""A provider of batches on loopback: files and batches endpoints that count, and that misbehave as a script says.

A batch is done when it has been looked at `looks` times after it was made. `event` is called with the name of each thing
that happens, before (``create?``) and after (``create``) the server does it; what it does then (kill somebody, say) is the
test's own.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from curate.calls.batch_steps import BatchSettings
from curate.calls.client import MeteredTeacher
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers.base import Reply, Request
from curate.teachers.openai import OpenAITeacher
from curate.teachers.prices import Price

Answerer = Callable[[dict[str, Any]], dict[str, Any] | str | None]


def answer(text: str, *, prompt: int = 20, reply: int = 10, status: int = 200) -> dict[str, Any]:
    """Return the response of a result line: a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "1", "choices": [choice], "usage": {"prompt_tokens": prompt, "completion_tokens": reply}}
    return {"response": {"status_code": status, "body": body}, "error": None}


def problem(status: int, message: str, code: str = "") -> dict[str, Any]:
    """Return the response of a result line: an HTTP error."""
    return {"response": {"status_code": status, "body": {"error": {"message": message, "code": code}}}, "error": None}


def unrun(code: str = "batch_expired") -> dict[str, Any]:
    """Return the response of a result line: never run."""
    return {"response": None, "error": {"code": code, "message": "This request could not be executed in time."}}


def echo(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with the question."""
    return answer(f"re: {request['body']['messages'][-1]['content']}")


class LateError(Exception):
    """Raised in a step that was taken, to have it answered with 502."""


@dataclass
class Provider:
    """A running provider.

    Attributes:
        reply: the response to one request of a batch; text is put into the file as it is, None leaves the line out.
        final: status that a batch ends in, by its number from 0.
        looks: looks at a batch before it is over.
        event: called with what happens.
        refuse: (method, path) -> (status, message) or None, for every request.
        shuffle: put result lines in the reverse order, and the first twice.
        problems: errors of a batch that failed.
        listed: whether batches show in the list.
        live: whether chat completions are answered at once too, by `reply`.
    """

    reply: Answerer = echo
    final: Callable[[int], str] = lambda number: "completed"
    looks: int = 1
    event: Callable[[str], None] = lambda name: None
    refuse: Callable[[str, str], tuple[int, str] | None] = lambda method, path: None
    shuffle: bool = False
    problems: list[dict[str, Any]] = field(default_factory=list)
    listed: bool = True
    live: bool = False
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=threading.RLock)

    @property
    def sizes(self) -> list[int]:
        """Requests in each batch, in the order of making."""
        return [len(self.lines(batch)) for batch in self.batches.values()]

    def lines(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the requests of a batch."""
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def create(self, told: dict[str, Any]) -> dict[str, Any]:
        """Make a batch."""
        name = f"batch_{len(self.batches)}"
        total = len(self.files[told["input_file_id"]].splitlines())
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": told["endpoint"],
            "completion_window": told["completion_window"],
            "created_at": 1_700_000_000 + len(self.batches),
            "input_file_id": told["input_file_id"],
            "status": "validating",
            "metadata": told.get("metadata"),
            "request_counts": {"total": total, "completed": 0, "failed": 0},
            "looked": 0,
        }
        return self.batches[name]

    def look(self, name: str) -> dict[str, Any]:
        """Look at a batch; it comes to its end when it has been looked at often enough."""
        batch = self.batches[name]
        batch["looked"] += 1
        if batch["looked"] > self.looks and batch["status"] in ("validating", "in_progress"):
            self.finish(batch)
        elif batch["status"] == "validating":
            batch["status"] = "in_progress"
        return batch

    def finish(self, batch: dict[str, Any]) -> None:
        """Bring a batch to its end."""
        batch["status"] = self.final(list(self.batches).index(batch["id"]))
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": self.problems}
            return
        output, errors = [], []
        for request in self.lines(batch):
            told = self.reply(request)
            if isinstance(told, str):
                output.append(told)
            elif told is not None:
                good = (told["response"] or {}).get("status_code") == 200
                (output if good else errors).append(json.dumps({"custom_id": request["custom_id"], **told}))
        if self.shuffle:
            output = [*output[::-1], *output[:1]]
        batch["request_counts"] |= {"completed": len(output), "failed": len(errors)}
        for kind, lines in (("output", output), ("error", errors)):
            if lines:
                batch[f"{kind}_file_id"] = f"file_{kind}_{batch['id']}"
                self.files[f"file_{kind}_{batch['id']}"] = ("\n".join(lines) + "\n").encode()

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of a response."""
        kind = _kind(method, path)
        self.event(f"{kind}?")
        with self.lock:
            self.seen[kind] += 1
            refused = self.refuse(method, path)
            if refused:
                return refused[0], json.dumps({"error": {"message": refused[1]}}).encode()
            if kind == "chat" and self.live:
                response = self.reply({"custom_id": "live", "body": json.loads(body)})["response"]  # type: ignore[index,call-overload]
                return response["status_code"], json.dumps(response["body"]).encode()
            try:
                told = self._do(kind, path, body)
            except LateError:
                return 502, b'{"error": {"message": "bad gateway"}}'
        self.event(kind)
        if told is None:
            return 404, b'{"error": {"message": "there is no such thing"}}'
        return 200, told if isinstance(told, bytes) else json.dumps(told).encode()

    def _do(self, kind: str, path: str, body: bytes) -> Any:
        name = path.split("/")[3].partition("?")[0] if path.count("/") > 2 else ""
        if kind == "upload":
            found = re.search(rb'filename="([^"]+)".*?\r\n\r\n(.*?)\r\n--', body, re.DOTALL)
            assert found, body[:500]
            file = f"file_{len(self.files)}_{found[1].decode()}"
            self.files[file] = found[2]
            return {"id": file, "object": "file", "bytes": len(found[2]), "filename": found[1].decode(), "purpose": "batch"}
        if kind == "create":
            return self.create(json.loads(body))
        if kind == "list":
            shown = list(self.batches.values())[::-1] if self.listed else []
            return {"object": "list", "data": shown, "has_more": False}
        if kind == "fetch":
            return self.files.get(name)
        if name not in self.batches:
            return None
        if kind == "cancel":
            self.batches[name]["status"] = "cancelled"
            return self.batches[name]
        return self.look(name)


def _kind(method: str, path: str) -> str:
    path = path.partition("?")[0]
    if path == "/v1/files":
        return "upload"
    if path.startswith("/v1/files/"):
        return "fetch"
    if path == "/v1/batches":
        return "create" if method == "POST" else "list"
    if path.startswith("/v1/batches/"):
        return "cancel" if path.endswith("/cancel") else "look"
    return "chat"


QUICK = BatchSettings(first=0.005, longest=0.01, grace=0.05, ask_first=False)
PRICE = Price(1.0, 2.0)
BOUND = 50 + 10 + 16 + 128  # tokens that one of the requests below may take


def asked(n: int = 0, **changes: Any) -> Request:
    """Return a request; `echo` answers it with its own text."""
    text = f"question {n}"
    return Request("rationale", [{"role": "user", "content": text}], **{"prompt": text, "max_tokens": 50, **changes})


def good(n: int) -> list[str]:
    """Return the right answers to the first `n` requests."""
    return [f"re: question {k}" for k in range(n)]


def metered(provider: Provider, ledger: Ledger, *, caps: Caps = Caps(), mode: str = "batch", **options: Any) -> MeteredTeacher:  # noqa: B008
    """Return an account with the provider's model."""
    settings = options.pop("settings", QUICK)
    teacher = OpenAITeacher(provider.url, **{"model": "m", "price": PRICE, **options})
    return MeteredTeacher(teacher, ledger, "math", caps, "balance", 0, mode=mode, batch_settings=settings)


def ask(provider: Provider, ledger: Ledger, n: int, **options: Any) -> list[Reply]:
    """Ask the first `n` requests."""
    return metered(provider, ledger, **options).ask([asked(k) for k in range(n)])


def statuses(ledger: Ledger) -> list[tuple[Any, ...]]:
    """Return what the ledger says of each attempt: status, calls, tokens, nano-dollars, error."""
    return ledger.query("SELECT status, calls, tokens, nano_usd, error FROM attempts ORDER BY id")


@contextmanager
def providing(provider: Provider) -> Iterator[Provider]:
    """Run a provider on a free port of loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, body = provider.handle(self.command, self.path, self.rfile.read(int(self.headers["Content-Length"] or 0)))
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # whoever asked is gone
                self.close_connection = True

        def do_GET(self) -> None:
            self.headers["Content-Length"] = "0"
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
