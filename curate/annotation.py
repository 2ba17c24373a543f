"""Owns rationales for questions that exist: what is asked of a teacher, and what came of it. Judges nothing it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from curate import prompts
from curate.accounts import Account
from curate.calls import Request
from curate.prompts import Template

__all__ = ["RATIONALES", "TASKS", "labels_of", "write_rationales"]

# What the rationale template calls the task, by the kind of answer (see `curate.answers`).
TASKS = {
    "number": "mathematics problems",
    "choice": "multiple-choice questions",
    "label": "text classification tasks",
    "text": "questions",
}

RATIONALES = pl.Schema(
    {
        "id": pl.String(),
        "sample": pl.Int64(),
        "rationale": pl.String(),  # null unless answered
        "status": pl.String(),  # answered | unanswered | failed | capped
        "finish_reason": pl.String(),
        "call_id": pl.Int64(),
        "error": pl.String(),
    }
)


def write_rationales(
    rows: pl.DataFrame,
    account: Account,
    *,
    kinds: Mapping[str, str],
    labels: Sequence[str] | Mapping[str, Sequence[str]] = (),
    show_answer: bool = False,
    prompt_file: str | Path | None = None,
    words: int = 120,
    temperature: float = 0.2,
    reply_tokens: int = 512,
) -> pl.DataFrame:
    """Ask for one rationale for each row; return one line for each, in the order of the rows.

    Args:
        rows: columns id, prompt, answer, domain, and sample (number of the answer wanted, from 0; 0 where it is absent).
        account: the teacher behind its ledger.
        kinds: kind of answer per domain, see `curate.answers`.
        labels: class names, of all domains or per domain; for the kind ``label``.
        show_answer: show the right answer to the teacher; the paper hides it.
        prompt_file: template in place of the built-in one.
        words: length asked for.
        temperature: of sampling.
        reply_tokens: length of a reply, at most; one that is cut is paid for and not asked for again.

    Returns:
        A frame with the columns of `RATIONALES`.

    Raises:
        TeacherError: nobody answers, or the teacher refuses the key or the model.
    """
    template = prompts.load("rationale", prompt_file)
    if "sample" not in rows.columns:
        rows = rows.with_columns(sample=pl.lit(0, pl.Int64))
    requests = [
        Request(
            purpose="rationale",
            messages=_messages(template, row, kinds.get(row["domain"], "text"), labels, words, show_answer),
            sample=row["sample"],
            domain=row["domain"],
            prompt=row["prompt"] or "",
            temperature=temperature,
            max_tokens=reply_tokens,
        )
        for row in rows.select("prompt", "answer", "domain", "sample").iter_rows(named=True)
    ]
    lines = [
        {
            "rationale": reply.text if reply.status == "answered" else None,
            "status": reply.status,
            "finish_reason": reply.finish_reason or None,
            "call_id": reply.call_id,
            "error": reply.error or None,
        }
        for reply in account.ask(requests)
    ]
    told = pl.DataFrame(lines, schema={name: RATIONALES[name] for name in RATIONALES.names()[2:]})
    return rows.select("id", pl.col("sample").cast(pl.Int64)).hstack(told)


def labels_of(labels: Sequence[str] | Mapping[str, Sequence[str]], domain: str) -> list[str]:
    """Return the class names of a domain."""
    return list(labels.get(domain, ()) if isinstance(labels, Mapping) else labels)


def _messages(
    template: Template,
    row: Mapping[str, str | None],
    kind: str,
    labels: Sequence[str] | Mapping[str, Sequence[str]],
    words: int,
    show_answer: bool,
) -> list[dict[str, str]]:
    return prompts.render(
        template,
        prompt=row["prompt"] or "",
        answer=row["answer"] if show_answer else None,
        task=TASKS.get(kind, TASKS["text"]),
        labels=labels_of(labels, str(row["domain"])) if kind == "label" else None,
        choices=kind == "choice",
        words=words,
    )
