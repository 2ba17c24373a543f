"""Answers from a closed set: which labels a row may have, how likely the student finds each, and the correction for a prior.

Where the answers of a domain are class names, or letters of options, the student need not write freely: `score` asks for
log P(label | prompt) of every label (`baldistill.student.label_scores`), and the likeliest is the prediction. All scores are
kept, so that `adjust` can choose again under any prior without the student.

A student that was trained on a set with label shares p has learnt p with everything else. Under another target q the best label
is that of the largest log P(y | x) − log p(y) + log q(y) (logit adjustment, Menon et al., ICLR 2021, arXiv 2007.07314). Shares
are counted with half a row more for each label, so that a label of which nothing was trained on has one too (Krichevsky
and Trofimov 1981).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from baldistill.student import adapters, label_scores, tokens
from baldistill.student.checkpoints import Journal
from baldistill.student.students import Student
from curate import progress
from curate.answers import answers
from curate.errors import CurateError, InputError
from curate.manifest import chats
from curate.manifest.folders import former_names
from curate.manifest.manifest import Manifest, load
from curate.manifest.rows import counts_as_ingested, in_snapshot

__all__ = ["PRIORS", "LabelSet", "adjust", "check_prior", "label_sets", "learned_rows", "offered", "score", "shift"]

PRIORS = ("natural", "uniform")  # besides a number, the temperature T of natural^(1/T)

_ALIKE = 4  # last tokens of a prompt; where these are the same, a label behind it has the same tokens


@dataclass(frozen=True)
class LabelSet:
    """The closed set of some domains' answers.

    Attributes:
        domains: whose rows have these answers.
        labels: the answers, sorted.
        learned: of how many rows that the student was trained on each is the answer; None for the base student.
        natural: the same of all real train rows, as ingested.
    """

    domains: tuple[str, ...]
    labels: tuple[str, ...]
    learned: tuple[int, ...] | None
    natural: tuple[int, ...]


def check_prior(prior: str | None) -> float | None:
    """Return the temperature of a prior: 1 of ``natural``, infinity of ``uniform``; None where there is none.

    Raises:
        InputError: it is neither of these nor a number above 0.
    """
    if prior is None or prior in PRIORS:
        return None if prior is None else 1.0 if prior == "natural" else math.inf
    try:
        found = float(prior)
    except ValueError:
        found = math.nan
    if not found > 0:
        raise InputError(f"--prior {prior!r}: use natural, uniform or a temperature above 0, such as 2")
    return found


def shift(labels: LabelSet, prior: str | None) -> list[float]:
    """Return what a prior adds to each label's score, in nats; nothing for a student that learnt no shares.

    Raises:
        InputError: as `check_prior`.
    """
    temperature = check_prior(prior)
    if temperature is None or labels.learned is None:
        return [0.0] * len(labels.labels)
    logs = [math.log(share) / temperature for share in _shares(labels.natural)]
    whole = math.log(math.fsum(map(math.exp, logs)))
    return [q - whole - math.log(p) for q, p in zip(logs, _shares(labels.learned), strict=True)]


def adjust(predictions: pl.DataFrame, sets: Sequence[LabelSet], prior: str | None) -> pl.DataFrame:
    """Return predictions as they are under another prior: scored rows whose domain has a label set get the best label anew.

    Args:
        predictions: columns ``domain, answer, labels, scores, prediction, correct``, as `evaluate` keeps them.
        sets: of the same evaluation.
        prior: see `check_prior`; None for the scores as they are.

    Raises:
        InputError: as `check_prior`.
    """
    shifts = {domain: dict(zip(found.labels, shift(found, prior), strict=True)) for found in sets for domain in found.domains}
    chosen, right = [], []
    columns = ("domain", "answer", "labels", "scores", "prediction", "correct")
    for domain, answer, labels, scores, prediction, correct in predictions.select(columns).iter_rows():
        if labels is not None and domain in shifts:
            added = shifts[domain]
            prediction = max(zip(labels, scores, strict=True), key=lambda pair: pair[1] + added.get(pair[0], 0.0))[0]
            correct = answers.equal(prediction, answer, "label")
        chosen.append(prediction)
        right.append(correct)
    return predictions.with_columns(prediction=pl.Series(chosen, dtype=pl.String), correct=pl.Series(right, dtype=pl.Boolean))


def label_sets(manifest: Manifest, labels: Mapping[str, tuple[str, ...]], learned: pl.DataFrame | None) -> list[LabelSet]:
    """Return the label sets of some domains, each with how often its labels were learned, and occur.

    Args:
        manifest: whose real train rows say what is natural.
        labels: domain → its class names.
        learned: rows that the student was trained on, with content; None for the base student.
    """
    rows = manifest.scan().filter(counts_as_ingested()).select("domain", "content").collect()
    natural = manifest.examples(rows.filter(pl.col("domain").is_in(list(labels))))
    found: dict[tuple[str, ...], list[str]] = {}
    for domain in sorted(labels):
        found.setdefault(labels[domain], []).append(domain)
    return [
        LabelSet(
            tuple(domains), names, None if learned is None else _counts(learned, domains, names), _counts(natural, domains, names)
        )
        for names, domains in found.items()
        if names
    ]


def learned_rows(manifest: Manifest, adapter: str | Path | None) -> pl.DataFrame | None:
    """Return the rows that an adapter was trained on, with content: of the snapshot that its record names; None without one.

    Where that cannot be found, the manifest's own selected train rows stand for them, and a note says so.
    """
    if adapter is None:
        return None
    named = str(adapters.record(Path(adapter)).get("snapshot") or "")
    snapshot = _snapshot(manifest, named)
    if snapshot is None:
        what = f"the adapter's snapshot, {named}, is not here" if named else "the adapter does not say what it was trained on"
        progress.note("evaluate", f"{what}: the selected train rows of {manifest} stand for it")
        snapshot = manifest
    rows = snapshot.scan().filter(in_snapshot(), split="train").collect()
    return snapshot.examples(rows)


def offered(kind: str, labels: tuple[str, ...], prompt: str, spelling: Mapping[str, str]) -> tuple[str, ...]:
    """Return the labels that a row may have: class names, or the letters of the options that its prompt offers; else none.

    Args:
        kind: of its domain's answers, one of `curate.answers.answers.KINDS`.
        labels: class names of the domain.
        prompt: of the row.
        spelling: of letters, where the domain's answers dress them.
    """
    if kind == "choice":
        return tuple(spelling.get(letter, letter) for letter in answers.choices(prompt))
    return labels if kind == "label" else ()


def score(
    student: Student,
    examples: pl.DataFrame,
    candidates: Sequence[tuple[str, ...]],
    *,
    rationales: Sequence[str] | None = None,
    per_token: bool = False,
    max_prompt_tokens: int | None = None,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
) -> tuple[list[list[float]], int]:
    """Return the scores of each row's candidates, in nats, in their order, and how many prompts were cut from the left.

    Args:
        student: that is asked.
        examples: columns ``id, prompt, answer, messages, extra``; one row each.
        candidates: of each row, at least one.
        rationales: what the student wrote before its answer, for each row; an empty one is left out.
        per_token: divide a score by the label's tokens.
        max_prompt_tokens: at most, of a prompt with its rationale; unless given, what the longest label leaves of the window.
        batch_tokens, journal: as for `baldistill.student.label_scores.label_scores`.

    Raises:
        InputError: a label leaves no room for a prompt in the student's window.
        ModelError: as there.
    """
    ends = tokens.stops(student.tokenizer, student.model)
    before = ["" for _ in candidates] if rationales is None else [chats.without_answer(text) for text in rationales]
    bare = examples.with_columns(rationale=pl.lit(None, dtype=pl.String))
    prompts = [found.prompt for found in tokens.encode(student.tokenizer, bare)]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, (labels, prompt) in enumerate(zip(candidates, prompts, strict=True)):
        groups.setdefault((labels, bool(before[row]), *prompt[-_ALIKE:]), []).append(row)
    scores: list[list[float]] = [[] for _ in candidates]
    truncated = 0
    for (labels, *_), rows in groups.items():
        written = tokens.label_tokens(student.tokenizer, bare[rows[0]], labels, ends, rationale=before[rows[0]] or None)
        shared = _common(written) if before[rows[0]] and len(labels) > 1 else 0
        completions = [found[shared:] for found in written]
        asked = [
            [*prompts[row], *_reasoning(student, bare[row], labels[0], before[row], ends, completions[0])]
            if shared
            else prompts[row]
            for row in rows
        ]
        room = student.window - max(map(len, completions))
        if room < 1:
            longest = max(zip(completions, labels, strict=True), key=lambda pair: len(pair[0]))
            raise InputError(
                f"label {longest[1][:40]!r} has {len(longest[0])} tokens, and {student.name} reads {student.window} with the "
                "prompt; use --answers generate, or a student with a longer window"
            )
        room = min(room, max_prompt_tokens or room)
        truncated += tokens.note_cut(asked, room)
        found = label_scores.label_scores(
            student,
            [prompt[-room:] for prompt in asked],
            completions,
            batch_tokens=batch_tokens,
            journal=journal,
            step="evaluate",
        )
        for row, values in zip(rows, found, strict=True):
            scores[row] = [x / len(of) for x, of in zip(values, completions, strict=True)] if per_token else values
    return scores, truncated


def _reasoning(
    student: Student, example: pl.DataFrame, label: str, rationale: str, ends: Sequence[int], completion: Sequence[int]
) -> list[int]:
    """Return the tokens of a rationale and of what announces the answer, without the label itself."""
    whole = tokens.label_tokens(student.tokenizer, example, [label], ends, rationale=rationale)[0]
    return whole[: len(whole) - len(completion)]


def _common(written: Sequence[Sequence[int]]) -> int:
    """Return with how many tokens all labels begin, the last of each left aside."""
    most = min(map(len, written)) - 1
    return next((i for i in range(most) if len({found[i] for found in written}) > 1), most)


def _shares(counts: Sequence[int]) -> list[float]:
    whole = sum(counts) + len(counts) / 2
    return [(n + 0.5) / whole for n in counts]


def _counts(rows: pl.DataFrame, domains: Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    found = Counter(rows.filter(pl.col("domain").is_in(list(domains)))["answer"].to_list())
    return tuple(found[label] for label in labels)


def _snapshot(manifest: Manifest, named: str) -> Manifest | None:
    name, _, version = named.partition("@")
    if name in former_names(manifest.location):
        name = manifest.name
    try:
        return load(f"{name}@{version}", root=manifest.root) if name and version else None
    except CurateError:
        return None
