"""Blacks out secrets (keys, user, password and query of an address) in whatever a server or a library says.

Knows the secrets of one teacher, and never says them.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from urllib.parse import SplitResult, parse_qsl, unquote

__all__ = ["Redaction"]

_LONGEST = 300  # characters of an error line
_SHORT = 4  # characters; whatever is shorter is in half of all words
_SURE = 12  # characters; a shorter secret may be a word, a number or a date that a model wrote
_LOGGERS = ("openai._base_client", "openai._legacy_response", "httpx", "httpx2")  # which log addresses


class Redaction:
    """The secrets of one teacher.

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
        self._secrets = sorted((secret for secret in found if len(secret) >= _SHORT), key=len, reverse=True)
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
        for secret in self._secrets:
            if len(secret) >= least:
                text = text.replace(secret, "***")
        return text


class _Filter(logging.Filter):
    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redaction._black_out(record.getMessage(), _SHORT), ()
        return True
