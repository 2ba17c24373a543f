"""Blacks out secrets (keys, user, password and query of an address) in whatever a server or a library says.

A secret is found however it is spelt: every escape of JSON, of addresses and of HTML is undone, one inside another too, and what
is blacked out is the stretch of the text that it came from. Base64 and hexadecimal spellings are secrets of their own; case and
line breaks do not matter. Knows the secrets of one teacher, and never says them.
"""

from __future__ import annotations

import html
import logging
import re
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, unquote

__all__ = ["Redaction"]

_LONGEST = 300  # characters of an error line
_SHORT = 4  # characters; whatever is shorter is in half of all words
_SURE = 12  # characters; a shorter secret may be a word, a number or a date that a model wrote
_LEVELS = 4  # of escapes inside escapes that are undone
_MOST = 24  # readings of one text; in most there are two or three
# One escaped character each. Only one kind is undone at a time, since what is an escape to one is two characters to another.
_ESCAPES = {  # by the byte that each begins with
    b"\\": re.compile(  # JSON and its kin
        rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[^ux]", re.DOTALL
    ),
    b"%": re.compile(rb"%[0-9a-fA-F]{2}"),  # addresses
    b"&": re.compile(rb"&(?:#[0-9]{1,9}|#[xX][0-9a-fA-F]{1,8}|[a-zA-Z][a-zA-Z0-9]{1,31});"),  # HTML
}
_WRAP = re.compile(rb"[\r\n]\s*")  # a line break, which may stand anywhere in a text that was wrapped
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_LOGGERS = ("openai._base_client", "openai._legacy_response", "httpx", "httpx2")  # which log addresses


class Redaction:
    """The secrets of one teacher, to be blacked out; see the module for the spellings that are found.

    Args:
        url: its address; user, password and the values of its query are secrets.
        key: sent to it; empty for none.
    """

    def __init__(self, url: SplitResult, key: str = "") -> None:
        user, password = url.username or "", url.password or ""
        found = {key, password, unquote(password), *(value for _, value in parse_qsl(url.query))}
        found |= {part.partition("=")[2] for part in url.query.split("&")}
        if user:
            found.add(b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
            found |= {user, unquote(user)} if not password or len(user) >= _SURE else set()
        plain = {secret.encode("utf-8", "surrogatepass").lower() for secret in found if len(secret) >= _SHORT}
        coded = {
            code.lower() for secret in found if len(secret) >= _SURE for code in _codes(secret.encode("utf-8", "surrogatepass"))
        }
        self._secrets = sorted(plain | coded, key=len, reverse=True)
        self._filter = _Filter(self)

    def redact_line(self, text: str) -> str:
        """Return a message as one line without secrets."""
        return " ".join(self._black_out(text, _SHORT).split())[:_LONGEST]

    def redact_reply(self, text: str) -> str:
        """Return a reply without secrets; short ones stay, since a reply is data that must not change by chance."""
        return self._black_out(text, _SURE)

    def install(self) -> None:
        """Keep the secrets out of what the HTTP libraries log."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)

    def uninstall(self) -> None:
        """Leave the logs of the HTTP libraries alone again."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._filter)

    def _black_out(self, text: str, least: int) -> str:
        secrets = [secret for secret in self._secrets if len(secret) >= least]
        if not secrets:
            return text
        whole = text.encode("utf-8", "surrogatepass")
        found = {_trace(stretch, path) for reading, path in _readings(whole) for stretch in _find(reading.lower(), secrets)}
        return _replace(whole, found).decode("utf-8", "surrogatepass") if found else text


_Path = tuple[tuple[bytes, re.Pattern[bytes]], ...]  # the texts on the way to a reading, and the kind of escape undone in each


def _readings(text: bytes) -> Iterator[tuple[bytes, _Path]]:
    """Yield a text as it is and as whoever undoes its escapes reads it, each with the way to it."""
    seen, waiting = {text}, [(text, _Path())]
    for reading, path in waiting:
        yield reading, path
        unwrapped = _WRAP.sub(b"", reading)
        if len(unwrapped) < len(reading):
            yield unwrapped, (*path, (reading, _WRAP))
        for begin, escape in _ESCAPES.items() if len(path) < _LEVELS else ():
            further = escape.sub(_character, reading) if begin in reading else reading
            if further not in seen and len(seen) < _MOST:
                seen.add(further)
                waiting.append((further, (*path, (reading, escape))))


def _find(text: bytes, secrets: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where a secret stands: start and end."""
    for secret in secrets:
        start = 0
        while (start := text.find(secret, start)) >= 0:
            yield start, start + len(secret)
            start += len(secret)


def _character(found: re.Match[bytes]) -> bytes:
    """Return what an escape stands for, in UTF-8; nothing for a line break."""
    return _meaning(found[0])


@lru_cache(maxsize=1024)
def _meaning(escape: bytes) -> bytes:
    if escape[:1] == b"%":
        return bytes([int(escape[1:], 16)])
    if escape[:1] == b"&":
        return html.unescape(escape.decode()).encode("utf-8", "surrogatepass")
    if escape[:2] == b"\\x":
        return bytes([int(escape[2:], 16)])
    if escape[:2] == b"\\u":
        halves = b"".join(int(half, 16).to_bytes(2, "little") for half in escape.split(b"\\u")[1:])
        return halves.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")
    if escape[:1] == b"\\":
        return _LETTERS.get(escape[1:], escape[1:])
    return b""


def _trace(stretch: tuple[int, int], path: _Path) -> tuple[int, int]:
    """Return the stretch of the text itself that a stretch of a reading came from."""
    start, end = stretch
    for text, escape in reversed(path):
        cuts = _cuts(text, escape)
        start, end = _origin(start, cuts, first=True), _origin(end - 1, cuts, first=False) + 1
    return start, end


_Cuts = list[tuple[int, int, int]]


def _cuts(text: bytes, escape: re.Pattern[bytes]) -> _Cuts:
    """Return of each escape in a text its end in the reading, and its start and end in the text."""
    cuts, here, length = [], 0, 0
    for found in escape.finditer(text):
        start, end = found.span()
        length += start - here + len(_character(found))
        cuts.append((length, start, end))
        here = end
    return cuts


def _origin(position: int, cuts: _Cuts, *, first: bool) -> int:
    """Return where a byte of a text without escapes came from: the first or the last byte of what it was written as."""
    n = bisect_right(cuts, position, key=lambda cut: cut[0])  # the escapes that end at or before it
    if n < len(cuts):
        length, start, end = cuts[n]
        before = cuts[n - 1] if n else (0, 0, 0)
        own = length - (start - before[2] + before[0])  # bytes that the next escape stands for
        if position >= length - own:
            return start if first else end - 1
    before = cuts[n - 1] if n else (0, 0, 0)
    return before[2] + position - before[0]


def _replace(text: bytes, stretches: set[tuple[int, int]]) -> bytes:
    pieces, here = [], 0
    for start, end in sorted(stretches):
        if start >= here:
            pieces += [text[here:start], b"***"]
        elif end <= here:
            continue
        here = max(here, end)
    return b"".join([*pieces, text[here:]])


def _codes(secret: bytes) -> Iterator[bytes]:
    """Yield how a secret stands in hexadecimal and in base64, of either alphabet, whatever stands before and after it."""
    yield secret.hex().encode()
    for before in range(3):
        code = b64encode(b"\0" * before + secret)
        first, last = -(-8 * before // 6), 8 * (before + len(secret)) // 6  # characters that the secret alone decides
        yield code[first:last]
        yield code[first:last].translate(bytes.maketrans(b"+/", b"-_"))


class _Filter(logging.Filter):
    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redaction._black_out(record.getMessage(), _SHORT), ()
        return True
