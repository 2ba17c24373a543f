"""Buys a few of the replies that a verb would ask for, and keeps what became of each, so that a person can read them first.

A `Preview` stands between the rounds and the teacher: of the first requests it lets some through, as they are. The replies are in
the ledger like any other, so the verb itself takes them from there. Commits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.ledger.records import Charged
from curate.manifest.chats import to_chats
from curate.teachers.base import Asker, Reply, Request, TeacherInfo

__all__ = ["Preview", "PreviewResult", "PreviewedReply", "check_preview"]


@dataclass(frozen=True)
class PreviewedReply:
    """One reply as a person reads it.

    Attributes:
        purpose, domain: what was asked for.
        messages: that were sent.
        status: ``answered``, or why there is no reply, as in `curate.teachers.base.Reply`.
        reply: its text; what the server said instead where there is none.
        call_id: of the ledger.
        read_as: what the reply was read as: of each row its prompt, rationale and answer.
        trained: per row the messages that a student would be trained on; None where an auditor rejects it.
        findings: per row what the auditors say.
    """

    purpose: str
    domain: str
    messages: Sequence[Mapping[str, Any]]
    status: str
    reply: str
    call_id: int | None
    read_as: tuple[dict[str, str | None], ...] = ()
    trained: tuple[list[dict[str, Any]] | None, ...] = ()
    findings: tuple[list[dict[str, Any]], ...] = ()


@dataclass(frozen=True)
class PreviewResult:
    """The replies that a preview bought, and what was charged for them."""

    replies: tuple[PreviewedReply, ...]
    spent: Charged = field(default_factory=Charged)

    @property
    def complete(self) -> bool:
        """Whether no cap and no failed call left out a reply."""
        return not any(reply.status in ("capped", "failed") for reply in self.replies)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        return {"replies": [asdict(reply) for reply in self.replies], **asdict(self.spent)}


@dataclass
class Preview:
    """An `Asker` that passes on the first `n` replies' requests, half of them for new examples where both kinds are asked for.

    Args:
        asker: who is asked.
        n: replies, at least 1.
    """

    asker: Asker
    n: int
    rationales: int = field(init=False)  # replies that may be rationales
    asked: list[tuple[Request, Reply]] = field(default_factory=list, init=False)
    judged: dict[int, list[tuple[dict[str, Any], str | None, list[dict[str, Any]]]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.rationales = self.n

    @property
    def teacher(self) -> TeacherInfo:
        """Who answers."""
        return self.asker.teacher

    @property
    def mode(self) -> str:
        """How requests are sent."""
        return self.asker.mode

    @property
    def n_bought(self) -> int:
        """Replies that were bought."""
        return self.asker.n_bought

    def share(self, *, examples: bool) -> None:
        """Leave half of the replies to new examples, where some will be asked for."""
        self.rationales = self.n - self.n // 2 if examples else self.n

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Ask for some of the requests, spread over all of them, and return that the others are unanswered."""
        most = self.n if not requests or requests[0].purpose != "rationale" else self.rationales
        left = max(0, min(most - len(self.asked), len(requests)))
        places = [i * len(requests) // left for i in range(left)]
        replies = self.asker.ask([requests[i] for i in places])
        self.asked += zip([requests[i] for i in places], replies, strict=True)
        found = dict(zip(places, replies, strict=True))
        return [found.get(i, Reply(status="unanswered")) for i in range(len(requests))]

    def record(self, row: dict[str, Any], auditor: str | None, findings: list[dict[str, Any]]) -> None:
        """Keep what the auditors say of a row that a reply was read as."""
        if row["call_id"] is not None:
            self.judged.setdefault(row["call_id"], []).append((row, auditor, findings))

    def result(self, spent: Charged) -> PreviewResult:
        """Return the replies with what became of them."""
        return PreviewResult(tuple(self._reply(request, reply) for request, reply in self.asked), spent)

    def _reply(self, request: Request, reply: Reply) -> PreviewedReply:
        rows = self.judged.get(reply.call_id, []) if reply.call_id is not None else []
        return PreviewedReply(
            purpose=request.purpose,
            domain=request.domain,
            messages=tuple(request.messages),
            status=reply.status,
            reply=reply.text or reply.error,
            call_id=reply.call_id,
            read_as=tuple({name: row[name] for name in ("prompt", "rationale", "answer")} for row, _, _ in rows),
            trained=tuple(None if auditor else _trained(row) for row, auditor, _ in rows),
            findings=tuple(found for _, _, found in rows),
        )


def _trained(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns = ("prompt", "answer", "rationale", "messages")
    return to_chats(pl.DataFrame([{name: row[name] for name in columns}], schema=dict.fromkeys(columns, pl.String())))[0]


def check_preview(n: int | None, *, mode: str, dry_run: bool, teacher: object) -> None:
    """Refuse a preview that could not be one.

    Raises:
        InputError: it is of no reply, without a teacher, in batches, or beside a dry run.
    """
    if n is None:
        return
    if n < 1:
        raise InputError(f"--preview buys at least 1 reply, got {n}; --dry-run buys none")
    if dry_run:
        raise InputError("--dry-run sends nothing and --preview buys replies: leave one of them out")
    if teacher is None:
        raise InputError("--preview needs a --teacher: a URL, openai, recorded:FILE or fake")
    if mode == "batch":
        raise InputError("--preview shows replies at once and --mode batch waits up to a day: leave out --mode for the preview")
