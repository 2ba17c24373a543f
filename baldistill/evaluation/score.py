"""Scores how hard a student finds the completion of each candidate row: `score`. Selects nothing.

The score is instruction-following difficulty, IFD, from two mean token losses (nats) of the same completion tokens A under
the student: s(A|Q) after the whole prompt, s(A) after the header of the assistant's turn alone.

    ifd_loss   s(A|Q) / s(A)            Cherry LLM, Li et al., NAACL 2024, arXiv 2308.12032
    ifd_ppl    exp(s(A|Q) − s(A))       Superfiltering, Li et al., ACL 2024, arXiv 2402.00530: a ratio of perplexities;
                                        the form of BalDistill, Zhou et al., EMNLP 2024, arXiv 2406.13114

Above 1 the question makes the completion less likely. A row that cannot be scored gets no score, never a 0, and is reported.
Losses are kept in a journal, batch by batch (`baldistill.student.checkpoints`): a killed run continues there.
There is one commit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from baldistill.evaluation.settings import ScoreSettings
from baldistill.student import generate, losses, students
from baldistill.student.checkpoints import Journal, checkpoint_path
from baldistill.student.students import Student
from baldistill.student.tokens import Tokens, encode, header, stratify
from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.manifest.manifest import Manifest
from curate.manifest.rows import has_label, is_usable_real, per_label
from curate.settings import takes

__all__ = ["ScoreResult", "score"]

MAX_NEW_TOKENS = 200  # of the student's own generation; the released code of arXiv 2406.13114


@dataclass(frozen=True)
class ScoreResult:
    """The scores that `score` wrote.

    Attributes:
        manifest: the next version, or the same where every row had its score.
        rows: scored now.
        already: chosen rows that had a score of the same kind by the same student.
        truncated: rows that were cut at the token limit.
        unscored: ids of rows that have no completion, or whose ratio is not a number; they keep what they had.
        kinds: rows per score kind, such as ``ifd_ppl:answer``.
        scored_by: the student or its proxy: name, fingerprints of weights and adapter, precision.
    """

    manifest: Manifest
    rows: int
    already: int
    truncated: int
    unscored: tuple[str, ...]
    kinds: dict[str, int]
    scored_by: str


@takes(ScoreSettings)
def score(manifest: Manifest, settings: ScoreSettings) -> ScoreResult:
    """Score the candidates: real train rows that are neither selected nor rejected.

    Scores are comparable within one kind and student alone, so ``score_kind`` says the formula and the completion
    (``ifd_ppl:answer``), and ``scored_by`` the student. Rows that have such a score are not scored again.

    Args:
        manifest: the version whose rows are scored.

    Raises:
        UnknownNameError: there is no such kind, completion or domain.
        InputError: a number is out of range.
        ModelError: the student cannot be loaded.
    """
    _check(settings)
    student, adapter = (settings.student, settings.adapter) if settings.proxy is None else (settings.proxy, None)
    name = students.identify(student, adapter=adapter, dtype=settings.dtype)
    chosen = _choose(manifest, settings)
    has = pl.col("score").is_not_null() & (pl.col("scored_by") == name) & (pl.col("score_kind") == pl.col("wanted_kind"))
    pending = chosen.filter(~has.fill_null(False))
    already = chosen.height - pending.height
    if pending.is_empty():
        why = f"all {already} rows have this score already" if already else "there is no candidate to score"
        progress.note("score", f"{manifest}: {why}")
        return ScoreResult(manifest, 0, already, 0, (), {}, name)
    loaded = students.load(student, adapter=adapter, dtype=settings.dtype, root=manifest.root)
    limit = min(settings.max_tokens, loaded.window)
    journal = Journal(checkpoint_path(manifest.root, loaded.fingerprint, loaded.dtype))
    generated = settings.over == "generation"
    examples = _generated(loaded, pending, limit, settings.batch_size, journal) if generated else pending
    scores, truncated = _scores(loaded, examples, settings.kind, limit, settings.batch_tokens, journal)
    found = pending.select("id", score_kind="wanted_kind", score=pl.Series(scores, dtype=pl.Float64), scored_by=pl.lit(name))
    return _commit(manifest, found, name, settings, already=already, truncated=truncated)


def _check(settings: ScoreSettings) -> None:
    if settings.max_tokens < 4 or (settings.batch_size is not None and settings.batch_size < 1):
        raise InputError(f"max_tokens {settings.max_tokens} and batch_size {settings.batch_size}: use at least 4 and 1")
    if settings.batch_tokens is not None and settings.batch_tokens < 1:
        raise InputError(f"batch_tokens {settings.batch_tokens}: use at least 1, or leave it out")


def _candidates(rows: pl.DataFrame, domains: Sequence[str] | None) -> pl.DataFrame:
    pool = rows.filter(is_usable_real(), status="candidate")
    if domains is None:
        return pool
    known = set(per_label(rows)["domain"].drop_nulls())
    for domain in domains:
        if domain not in known:
            raise UnknownNameError("domain", domain, known)
    return pool.filter(has_label(domains))


def _choose(manifest: Manifest, settings: ScoreSettings) -> pl.DataFrame:
    """Return the rows to score with their content, reduced to what is scored, and ``wanted_kind``, the kind of that score."""
    pool = stratify(_candidates(manifest.rows(), settings.domains), settings.limit, seed=settings.seed)
    examples = manifest.examples(pool.select("id", "content", "score", "score_kind", "scored_by"))
    if settings.over != "rationale":
        examples = examples.with_columns(rationale=pl.lit(None, dtype=pl.String))
    reasoned = pl.col("rationale").str.strip_chars().str.len_chars().fill_null(0) > 0
    otherwise = "generation" if settings.over == "generation" else "answer"
    completion = pl.when(reasoned).then(pl.lit("rationale")).otherwise(pl.lit(otherwise))
    return examples.with_columns(wanted_kind=pl.concat_str(pl.lit(f"{settings.kind}:"), completion))


def _commit(
    manifest: Manifest, found: pl.DataFrame, name: str, settings: ScoreSettings, *, already: int, truncated: int
) -> ScoreResult:
    """Commit the scores that were found; rows without one keep what they had."""
    unscored = tuple(found.filter(pl.col("score").is_null())["id"])
    found = found.filter(pl.col("score").is_not_null())
    kinds = {str(k): int(n) for k, n in sorted(found["score_kind"].value_counts().rows())}
    if unscored:
        why = "no completion, or a ratio that is not a number"
        progress.note("score", f"{len(unscored)} rows get no score ({why}); the first is {unscored[0]}")
    if found.is_empty():
        return ScoreResult(manifest, 0, already, truncated, unscored, kinds, name)
    rows = manifest.rows().update(found, on="id", how="left", maintain_order="left")
    summary = {"scored": found.height, "already": already, "truncated": truncated, "unscored": len(unscored), "kinds": kinds}
    recorded = {key: getattr(settings, key) for key in ("kind", "over", "limit", "domains", "max_tokens")}
    parameters = {"student": name, "proxy": settings.proxy is not None, **recorded}
    following = manifest.commit(rows, verb="score", parameters=parameters, seed=settings.seed, summary=summary)
    return ScoreResult(following, found.height, already, truncated, unscored, kinds, name)


def _generated(student: Student, examples: pl.DataFrame, limit: int, batch_size: int | None, journal: Journal) -> pl.DataFrame:
    """Replace the answers by the student's own outputs."""
    prompts = [tokens.prompt[-(limit // 2) :] for tokens in encode(student.tokenizer, examples)]
    longest = min(MAX_NEW_TOKENS, limit // 2)
    outputs = generate.generate(student, prompts, max_new_tokens=longest, batch_size=batch_size, journal=journal)
    return examples.with_columns(answer=pl.Series([output.text for output in outputs], dtype=pl.String))


def _scores(
    student: Student, examples: pl.DataFrame, kind: str, limit: int, batch_tokens: int | None, journal: Journal
) -> tuple[list[float | None], int]:
    """Return a score or None for every example, and how many were cut."""
    blank = pl.concat_str(pl.col("rationale", "answer").fill_null("")).str.strip_chars() == ""
    whole = [
        Tokens(tokens.prompt, []) if empty else tokens
        for tokens, empty in zip(encode(student.tokenizer, examples), examples.select(blank).to_series(), strict=True)
    ]
    asked = [_cut(tokens, limit) for tokens in whole]
    truncated = sum(len(before) > len(after) for before, after in zip(whole, asked, strict=True))
    if truncated:
        progress.note("score", f"{truncated} rows are longer than {limit} tokens and were cut to that")
    opening = header(student.tokenizer)
    alone = [Tokens(opening, tokens.completion) for tokens in asked]
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "journal": journal}
    with_question = losses.mean_losses(student, asked, step="score", **options)
    without = losses.mean_losses(student, alone, step="score without question", **options)
    return [_ratio(a, b, kind) for a, b in zip(with_question, without, strict=True)], truncated


def _cut(tokens: Tokens, limit: int) -> Tokens:
    if len(tokens) <= limit:
        return tokens
    completion = tokens.completion[: max(limit // 2, limit - len(tokens.prompt))]
    return Tokens(tokens.prompt[-(limit - len(completion)) :], completion)


def _ratio(asked: float | None, alone: float | None, kind: str) -> float | None:
    if asked is None or alone is None:
        return None
    if kind == "ifd_ppl":
        return math.exp(min(asked - alone, 700.0))  # e^700 is near the largest float
    return asked / alone if alone > 0 else None
