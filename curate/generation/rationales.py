"""Asks a teacher for rationales of questions that exist and returns one line for each. Judges nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from curate.answers import answers
from curate.audit.base import Context, kind_in, task_in
from curate.audit.kinds import with_said_kinds
from curate.generation import prompts
from curate.generation.parsing import unwrap
from curate.manifest.chats import conversations
from curate.teachers.base import Asker, Request

__all__ = ["RATIONALES", "write_rationales"]


RATIONALES = pl.Schema(
    {
        "id": pl.String(),
        "sample": pl.Int64(),
        "rationale": pl.String(),  # null unless answered
        "status": pl.String(),  # answered | unanswered | failed | rejected | capped
        "finish_reason": pl.String(),
        "call_id": pl.Int64(),
        "error": pl.String(),
    }
)


def write_rationales(
    rows: pl.DataFrame,
    asker: Asker,
    *,
    context: Context,
    show_answer: bool = False,
    prompt_file: str | Path | None = None,
    words: int = 120,
    temperature: float = 0.2,
    reply_tokens: int = 512,
    refills: Collection[str] = (),
) -> pl.DataFrame:
    """Ask for one rationale for each row; return one line for each, in the order of the rows.

    Args:
        rows: columns id, prompt, answer, domain; messages of chats, where there are any; kind, where something is said of it; and
            sample (number of the answer wanted, from 0; 0 where it is absent).
        asker: hands the requests to a teacher.
        context: of the corpus: each domain's kind of answer, classes and task.
        show_answer: show the right answer to the teacher; the paper hides it.
        prompt_file: template, or folder of templates, instead of the built-in ones.
        words: length asked for.
        temperature: of sampling.
        reply_tokens: length of a reply, at most; one that is cut is paid for and not asked for again.
        refills: domains where this replaces something that was rejected; for the ledger's report.

    Returns:
        A frame with the columns of `RATIONALES`.

    Raises:
        TeacherError: the teacher cannot be reached, or refuses the key or the model.
    """
    templates = prompts.load("rationale", prompt_file)
    if "sample" not in rows.columns:
        rows = rows.with_columns(sample=pl.lit(0, pl.Int64))
    rows = with_said_kinds(rows).with_columns(conversations(rows, newest_first=False).alias("prompt"))
    requests = [
        Request(
            purpose="rationale",
            messages=_messages(templates, row, context, words, show_answer),
            sample=row["sample"],
            domain=row["domain"],
            prompt=row["prompt"],
            temperature=temperature,
            max_tokens=reply_tokens,
            refill=row["sample"] > 0 or row["domain"] in refills,
        )
        for row in rows.select("prompt", "answer", "domain", "kind", "sample").iter_rows(named=True)
    ]
    lines = [
        {
            "rationale": unwrap(reply.text) if reply.status == "answered" else None,
            "status": reply.status,
            "finish_reason": reply.finish_reason or None,
            "call_id": reply.call_id,
            "error": reply.error or None,
        }
        for reply in asker.ask(requests)
    ]
    replies = pl.DataFrame(lines, schema={name: RATIONALES[name] for name in RATIONALES.names()[2:]})
    return rows.select("id", pl.col("sample").cast(pl.Int64)).hstack(replies)


def _messages(
    templates: prompts.Templates, row: Mapping[str, str | None], context: Context, words: int, show_answer: bool
) -> list[dict[str, str]]:
    domain, prompt = row["domain"] or "", row["prompt"] or ""  # of a chat the conversation, turn by turn
    own = (context, domain, prompt, row["answer"] or "", row["kind"])
    kind = kind_in(*own)
    return prompts.render(
        templates.by_task[task_in(*own)],
        prompt=prompt,
        answer=row["answer"] if show_answer else None,
        domain=domain,
        labels=context.labels_of(domain) if kind == "label" else None,
        letters=list(answers.choices(prompt)) if kind == "choice" else None,
        words=words,
    )
