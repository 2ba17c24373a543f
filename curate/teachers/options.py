"""Declares the options with which a verb asks a teacher: who it is, how it is asked, and the hard caps. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate.settings import option

__all__ = ["CAPS", "TEACHER", "TIMEOUT", "TeacherOptions"]

TIMEOUT = 600.0  # seconds for one reply, from connecting to the last byte
TEACHER, CAPS = "Teacher", "Hard caps over everything ever charged to this manifest's name"


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """Which teacher is asked, how, and at what cost at most. Settings of every verb that asks a teacher have these."""

    teacher: str | Any | None = option(
        None,
        metavar="TEACHER",
        heading=TEACHER,
        help="Teacher to ask: a URL, openai, recorded:FILE or fake.",
        more="Or a registered name, or an object with the methods of `curate.teachers.base.Teacher`.",
    )
    model: str | None = option(None, metavar="MODEL", heading=TEACHER, help="Name of the teacher's model.")
    api_key_env: str | None = option(
        None, metavar="VARIABLE", heading=TEACHER, help="Environment variable that holds the teacher's API key."
    )
    endpoint_name: str | None = option(
        None,
        metavar="NAME",
        heading=TEACHER,
        help="Name under which the ledger knows the server; servers of one name share their replies.",
        more="Without it an address is its own name; servers on loopback are told apart by port and path.",
    )
    fresh: bool = option(
        False, heading=TEACHER, help="Ask again for replies that the ledger has, as of a server that was repaired; charged again."
    )
    concurrency: int = option(16, heading=TEACHER, help="At most this many requests in flight at once.")
    requests_per_minute: int | None = option(None, heading=TEACHER, help="At most this many requests per minute.")
    tokens_per_minute: int | None = option(
        None, heading=TEACHER, help="At most this many tokens per minute, of prompts and replies together."
    )
    timeout: float = option(TIMEOUT, metavar="SECONDS", heading=TEACHER, help="Seconds to wait for one reply.")
    mode: str = option(
        "live",
        choices=("live", "batch"),
        heading=TEACHER,
        help="How requests are sent: live, or in the provider's batches (half the price, within a day).",
    )
    max_calls: int | None = option(None, heading=CAPS, help="At most this many calls.")
    max_tokens: int | None = option(None, heading=CAPS, help="At most this many tokens, of prompts and replies together.")
    max_usd: float | None = option(None, metavar="USD", heading=CAPS, help="At most this many US dollars.")
