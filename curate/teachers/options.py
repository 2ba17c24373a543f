"""Declares the options with which a verb asks a teacher: who it is, how it is asked, and the hard caps. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate.settings import option

__all__ = ["CAPS", "TEACHER", "TIMEOUT", "TeacherOptions"]

TIMEOUT = 600.0  # seconds for one reply, from connecting to the last byte
TEACHER, CAPS = "The teacher", "Hard caps, over everything ever charged to this manifest's name"


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """Who is asked, how, and at what cost at most. Settings of every verb that asks a teacher have these."""

    teacher: str | Any | None = option(
        None,
        metavar="T",
        heading=TEACHER,
        help="Teacher to ask: a URL, openai, recorded:FILE or fake.",
        more="A registered name or an object with the methods of `curate.teachers.base.Teacher` does as well.",
    )
    model: str | None = option(None, heading=TEACHER, help="Name of the teacher's model.")
    api_key_env: str | None = option(
        None, metavar="VARIABLE", heading=TEACHER, help="Environment variable that holds the teacher's key."
    )
    concurrency: int = option(16, heading=TEACHER, help="Requests in flight at once, at most.")
    requests_per_minute: int | None = option(None, metavar="N", heading=TEACHER, help="Requests sent in a minute, at most.")
    tokens_per_minute: int | None = option(
        None, metavar="N", heading=TEACHER, help="Tokens of prompts and replies in a minute, at most."
    )
    timeout: float = option(TIMEOUT, metavar="SECONDS", heading=TEACHER, help="Seconds to wait for one reply.")
    mode: str = option(
        "live",
        choices=("live", "batch"),
        heading=TEACHER,
        help="live, or batch: the provider's batches, at half the price, within a day.",
    )
    max_calls: int | None = option(None, heading=CAPS, help="Calls.")
    max_tokens: int | None = option(None, heading=CAPS, help="Tokens of prompts and replies together.")
    max_usd: float | None = option(None, heading=CAPS, help="US dollars.")
