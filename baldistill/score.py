"""Owns difficulty scores: how hard a student finds the completion of each candidate row. Selects nothing.

The score is instruction-following difficulty, IFD, from two mean token losses (nats) of the same completion tokens A under
the student: s(A|Q) after the whole prompt, s(A) after the header of the assistant's turn alone.

    ifd_loss   s(A|Q) / s(A)            Cherry LLM, Li et al., NAACL 2024, arXiv 2308.12032
    ifd_ppl    exp(s(A|Q) − s(A))       Superfiltering, Li et al., ACL 2024, arXiv 2402.00530: a ratio of perplexities;
                                        the form of BalDistill, Zhou et al., EMNLP 2024, arXiv 2406.13114

Above 1 the question makes the completion less likely. What cannot be scored has no score, never a 0, and is reported.
What was read is in a journal, batch by batch (`baldistill.checkpoints`): a killed run goes on from there; there is one commit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from baldistill import generate, losses, students
from baldistill import tokens as batching
from baldistill.checkpoints import Journal, place
from baldistill.students import DEFAULT_STUDENT, Student
from baldistill.tokens import Tokens
from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.manifest.manifest import Manifest
from curate.manifest.rows import is_usable_real

__all__ = ["FORMULAS", "OVER", "Scored", "score"]

FORMULAS = ("ifd_loss", "ifd_ppl")
OVER = ("answer", "generation", "rationale")
MAX_NEW_TOKENS = 200  # of the student's own generation; the released code of arXiv 2406.13114


@dataclass(frozen=True)
class Scored:
    """What `score` did.

    Attributes:
        manifest: the next version, or the same where every row had its score.
        rows: scored now.
        already: rows of the choice that had a score of the same kind by the same student.
        truncated: rows that were cut at the token limit.
        unscored: ids of rows that have no completion, or whose ratio is no number; they keep what they had.
        kinds: rows per score kind, such as ``ifd_ppl:answer``.
        scored_by: who scored, the student or its proxy: name, fingerprints of weights and adapter, precision.
    """

    manifest: Manifest
    rows: int
    already: int
    truncated: int
    unscored: tuple[str, ...]
    kinds: dict[str, int]
    scored_by: str


def score(
    manifest: Manifest,
    *,
    student: str = DEFAULT_STUDENT,
    adapter: str | Path | None = None,
    proxy: str | None = None,
    kind: str = "ifd_ppl",
    over: str = "rationale",
    limit: int | None = None,
    domains: Sequence[str] | None = None,
    max_tokens: int = 1024,
    batch_tokens: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
    dtype: str = "auto",
) -> Scored:
    """Score the candidates: real train rows that are neither selected nor rejected.

    Scores are comparable within one kind and student alone, so ``score_kind`` says the formula and the completion
    (``ifd_ppl:answer``), and ``scored_by`` the student. Rows that have such a score are not scored again.

    Args:
        manifest: the version whose rows are scored.
        student: the base model.
        adapter: folder of the adapter that the last stage trained.
        proxy: another model, smaller as a rule, that scores in the student's place, without the adapter: small and large models
            find much the same rows hard (Superfiltering), and its scores stay good from stage to stage.
        kind: the formula, ``ifd_ppl`` or ``ifd_loss``.
        over: the completion: ``rationale`` (with the answer, as in training; the answer alone where a row has no
            rationale), ``answer``, or ``generation`` (up to 200 tokens of the student's own, as in the paper).
        limit: rows in all, spread evenly over the domains; all unless given.
        domains: only rows of these; all unless given.
        max_tokens: of prompt and completion; a longer completion is cut at half of it, then the prompt from the left.
        batch_tokens: tokens read side by side; by default 1,024 on a processor and 32,768 on CUDA.
        batch_size: rows answered side by side, for ``generation``.
        seed: of the choice under `limit`.
        dtype: of the weights, ``auto``, ``bf16`` or ``fp32``.

    Raises:
        UnknownNameError: there is no such kind, completion or domain.
        InputError: a number is out of range.
        ModelError: the student cannot be loaded.
    """
    _check(kind, over, max_tokens, batch_tokens, batch_size)
    student, adapter = (student, adapter) if proxy is None else (proxy, None)
    name = students.identify(student, adapter=adapter, dtype=dtype)
    chosen = _choose(manifest, kind, over, domains=domains, limit=limit, seed=seed)
    has = pl.col("score").is_not_null() & (pl.col("scored_by") == name) & (pl.col("score_kind") == pl.col("wanted_kind"))
    pending = chosen.filter(~has.fill_null(False))
    already = chosen.height - pending.height
    if pending.is_empty():
        why = f"all {already} rows have this score already" if already else "there is no candidate to score"
        progress.note("score", f"{manifest}: {why}")
        return Scored(manifest, 0, already, 0, (), {}, name)
    loaded = students.load(student, adapter=adapter, dtype=dtype, root=manifest.root)
    limit_tokens = min(max_tokens, loaded.window)
    journal = Journal(place(manifest.root, loaded.fingerprint, loaded.dtype))
    examples = _say(loaded, pending, limit_tokens, batch_size, journal) if over == "generation" else pending
    scores, truncated = _scores(loaded, examples, kind, limit_tokens, batch_tokens, journal)
    found = pending.select("id", score_kind="wanted_kind", score=pl.Series(scores, dtype=pl.Float64), scored_by=pl.lit(name))
    parameters = {
        "student": name,
        "proxy": proxy is not None,
        "kind": kind,
        "over": over,
        "limit": limit,
        "domains": domains,
        "max_tokens": max_tokens,
    }
    return _commit(manifest, found, parameters, seed=seed, already=already, truncated=truncated)


def _check(kind: str, over: str, max_tokens: int, batch_tokens: int | None, batch_size: int) -> None:
    if kind not in FORMULAS:
        raise UnknownNameError("score kind", kind, FORMULAS)
    if over not in OVER:
        raise UnknownNameError("completion to score", over, OVER)
    if max_tokens < 4 or batch_size < 1:
        raise InputError(f"max_tokens {max_tokens} and batch_size {batch_size}: use at least 4 and 1")
    if batch_tokens is not None and batch_tokens < 1:
        raise InputError(f"batch_tokens {batch_tokens}: use at least 1, or leave it out")


def _candidates(rows: pl.DataFrame, domains: Sequence[str] | None) -> pl.DataFrame:
    pool = rows.filter(is_usable_real(), status="candidate")
    if domains is None:
        return pool
    known = set(rows["domain"].drop_nulls())
    for domain in domains:
        if domain not in known:
            raise UnknownNameError("domain", domain, known)
    return pool.filter(pl.col("domain").is_in(list(domains)))


def _choose(
    manifest: Manifest, kind: str, over: str, *, domains: Sequence[str] | None, limit: int | None, seed: int
) -> pl.DataFrame:
    """Return the rows to score with their content, cut to what is read, and ``wanted_kind``, which says what that is."""
    pool = batching.stratify(_candidates(manifest.rows(), domains), limit, seed=seed)
    examples = manifest.examples(pool.select("id", "content", "score", "score_kind", "scored_by"))
    if over != "rationale":
        examples = examples.with_columns(rationale=pl.lit(None, dtype=pl.String))
    reasoned = pl.col("rationale").str.strip_chars().str.len_chars().fill_null(0) > 0
    completion = pl.when(reasoned).then(pl.lit("rationale")).otherwise(pl.lit("generation" if over == "generation" else "answer"))
    return examples.with_columns(wanted_kind=pl.concat_str(pl.lit(f"{kind}:"), completion))


def _commit(
    manifest: Manifest, found: pl.DataFrame, parameters: Mapping[str, object], *, seed: int, already: int, truncated: int
) -> Scored:
    """Write the scores that there are; rows without one keep what they had."""
    unscored = tuple(found.filter(pl.col("score").is_null())["id"])
    found = found.filter(pl.col("score").is_not_null())
    name, kinds = str(parameters["student"]), {str(k): int(n) for k, n in sorted(found["score_kind"].value_counts().rows())}
    if unscored:
        progress.note(
            "score", f"{len(unscored)} rows have no completion, or a ratio that is no number: no score; first {unscored[0]}"
        )
    if found.is_empty():
        return Scored(manifest, 0, already, truncated, unscored, kinds, name)
    rows = manifest.rows().update(found, on="id", how="left", maintain_order="left")
    summary = {"scored": found.height, "already": already, "truncated": truncated, "unscored": len(unscored), "kinds": kinds}
    following = manifest.commit(rows, verb="score", parameters=parameters, seed=seed, summary=summary)
    return Scored(following, found.height, already, truncated, unscored, kinds, name)


def _say(student: Student, examples: pl.DataFrame, limit: int, batch_size: int, journal: Journal) -> pl.DataFrame:
    """Put the student's own words in the place of the answers."""
    prompts = [tokens.prompt[-(limit // 2) :] for tokens in batching.encode(student.tokenizer, examples)]
    longest = min(MAX_NEW_TOKENS, limit // 2)
    said = generate.generate(student, prompts, max_new_tokens=longest, batch_size=batch_size, journal=journal)
    return examples.with_columns(answer=pl.Series([answer.text for answer in said], dtype=pl.String))


def _scores(
    student: Student, examples: pl.DataFrame, kind: str, limit: int, batch_tokens: int | None, journal: Journal
) -> tuple[list[float | None], int]:
    """Return a score or None for every example, and how many were cut."""
    blank = pl.concat_str(pl.col("rationale", "answer").fill_null("")).str.strip_chars() == ""
    whole = [
        Tokens(tokens.prompt, []) if empty else tokens
        for tokens, empty in zip(batching.encode(student.tokenizer, examples), examples.select(blank).to_series(), strict=True)
    ]
    asked = [_cut(tokens, limit) for tokens in whole]
    truncated = sum(len(before) > len(after) for before, after in zip(whole, asked, strict=True))
    if truncated:
        progress.note("score", f"{truncated} rows are longer than {limit} tokens and were cut to that")
    header = batching.header(student.tokenizer)
    alone = [Tokens(header, tokens.completion) for tokens in asked]
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
