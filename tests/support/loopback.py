"""A real HTTP server on loopback that answers as an OpenAI-compatible one does, or misbehaves as a script says."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Page:
    """What the server sends back.

    Attributes:
        status: HTTP status.
        body: text, or bytes as they are; cut off after `cut` bytes where that is given.
        headers: further headers.
        delay: seconds before anything is sent.
        reset: close the connection with RST, after `cut` bytes or at once.
        drip: seconds between two bytes of the body.
    """

    status: int = 200
    body: str | bytes = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    reset: bool = False
    drip: float = 0.0


Script = Callable[[dict[str, Any], int], Page]


def completion(text: str, *, finish_reason: str = "stop", prompt: int = 20, reply: int = 10, **message: Any) -> Page:
    """Return a page with a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
    return Page(body=json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}))


def refusal(status: int, message: str, *, code: str | None = None, **headers: str) -> Page:
    """Return a page with an error in OpenAI's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Page(status, json.dumps({"error": {"message": message, "code": code, "type": "error"}}), named)


class _Quiet(ThreadingHTTPServer):
    """A server that says nothing of clients that went away; anything else is a mistake in a script, and shown."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """A running server; `seen` holds body and headers (names in lower case) of every request, in order."""

    def __init__(self, script: Script) -> None:
        self.seen: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.answered: list[dict[str, Any]] = []  # bodies of requests that were answered in full
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                asked = self.rfile.read(length)
                if len(asked) < length:
                    return  # whoever sends was killed in the middle of it
                body = json.loads(asked)
                with lock:
                    outer.seen.append((body, {name.lower(): value for name, value in self.headers.items()}))
                    number = len(outer.seen) - 1
                page = script(body, number)
                time.sleep(page.delay)
                data = page.body if isinstance(page.body, bytes) else page.body.encode()
                if page.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    self.send_response(page.status)
                    for name, value in {"Content-Type": "application/json", **page.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    for piece in [data[i : i + 1] for i in range(len(data))] if page.drip else [data[: page.cut]]:
                        time.sleep(page.drip)
                        self.wfile.write(piece)
                        self.wfile.flush()
                except OSError:
                    return
                if page.reset or page.cut is not None:
                    self.close_connection = True
                    self.connection.close()
                elif page.status == 200:
                    with lock:
                        outer.answered.append(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.http = _Quiet(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Bodies of every request."""
        return [body for body, _ in self.seen]


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """Serve on a free port of loopback while the block runs."""
    server = Server(script)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
