"""Asks a student that a server holds (vLLM, or any OpenAI-compatible endpoint) for its greedy answers.

The requests go the way of a teacher's: through the ledger, within the caps, and no reply is bought twice, so that a stopped
evaluation goes on where it was. A server on this machine costs nothing.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from baldistill.evaluation.settings import EvaluateSettings
from baldistill.student.generate import Output
from curate import progress
from curate.calls.client import open_metered_teacher
from curate.errors import InputError
from curate.manifest import chats
from curate.manifest.manifest import Manifest
from curate.teachers.base import Request
from curate.teachers.options import TeacherOptions

__all__ = ["ask", "check", "label"]

_OF_WEIGHTS = ("adapter", "prior", "max_prompt_tokens")  # options that need the student's weights here


def check(settings: EvaluateSettings) -> None:
    """Refuse options that a server cannot follow.

    Raises:
        InputError: there is such an option, or no model is named.
    """
    if not settings.model:
        raise InputError("--endpoint needs --model: the server's name for the student")
    if given := [f"--{name.replace('_', '-')}" for name in _OF_WEIGHTS if getattr(settings, name) is not None]:
        raise InputError(f"{', '.join(given)} with --endpoint: the student's weights are not here; leave it out")
    if settings.answers in ("score", "reason"):
        raise InputError(
            f"--answers {settings.answers} needs log P of every label, which an endpoint does not give; use --answers generate"
        )


def label(settings: EvaluateSettings, endpoint: str) -> str:
    """Return the student in records."""
    return f"{settings.model}@{endpoint}"


def ask(manifest: Manifest, examples: pl.DataFrame, settings: EvaluateSettings) -> tuple[list[Output], str]:
    """Return the answers in the order of the examples, and the name of the endpoint.

    Args:
        manifest: to whose name calls are charged.
        examples: columns of `Manifest.examples`.
        settings: endpoint, model, key, caps, and tokens per output.

    Raises:
        InputError: rows are without an answer, since a cap was reached or every try failed; what was bought is kept.
        TeacherError: nobody answers at the endpoint.
    """
    options = TeacherOptions(
        teacher=settings.endpoint,
        model=settings.model,
        api_key_env=settings.api_key_env,
        max_calls=settings.max_calls,
        max_usd=settings.max_usd,
    )
    teacher = open_metered_teacher(manifest.name, options, root=manifest.root, verb="evaluate")
    requests = [
        Request(
            "evaluation",
            _messages(chat),
            domain=domain,
            prompt=prompt or "",
            temperature=0.0,
            max_tokens=settings.max_new_tokens,
        )
        for chat, domain, prompt in zip(chats.read_chats(examples), examples["domain"], examples["prompt"], strict=True)
    ]
    replies = teacher.ask(requests)
    missing = [reply for reply in replies if reply.status in ("capped", "failed")]
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(replies):,} rows have no answer: {missing[0].error}; those that have are kept, run the "
            "command again"
        )
    if refused := sum(reply.status != "answered" for reply in replies):
        progress.note("evaluate", f"the server answers {refused:,} of the rows not at all; they count as wrong")
    outputs = [Output(r.text.strip(), r.usage.completion, r.status == "answered" and r.finish_reason == "stop") for r in replies]
    return outputs, str(teacher.teacher.endpoint)


def _messages(chat: chats.Turns) -> list[dict[str, Any]]:
    """Return the turns that lead to the answer; what is no text is JSON."""
    turns = chats.for_template(chat.leading)
    return [
        {"role": turn["role"], "content": text if isinstance(text := turn.get("content") or "", str) else json.dumps(text)}
        for turn in turns
    ]
