"""Compares methods by the answers of their students to the same test rows: means, paired differences, intervals. Runs nothing.

Every figure is a sum over rows of weights: macro gives every domain the same weight, micro every row of the split, so that a
test set of equally many rows a domain is weighed back to its own distribution. Intervals are a paired bootstrap: in each of
`DRAWS` draws the rows of every domain (of domains with few rows together, since a single row drawn again is always itself) and
the seeds are drawn again with replacement, the same rows and seeds for both methods
(Efron and Tibshirani 1993, chapter 16). With one seed they hold for the rows alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curate.errors import InputError

__all__ = [
    "DRAWS",
    "FIGURES",
    "Difference",
    "Interval",
    "Rows",
    "Runs",
    "difference",
    "estimates",
    "groups_of",
    "rows_of",
    "runs_of",
    "sentence",
]

DRAWS = 2000
FIGURES = ("macro", "micro", "head", "middle", "tail", "macro_f1", "micro_f1")
_CONFIDENCE = (2.5, 97.5)
_FEW = 5  # rows of a domain; fewer say too little of each other, and are drawn together with those of other small domains


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another, by one figure.

    Attributes:
        method: the one.
        other: the other.
        figure: of `FIGURES`.
        value: the difference of the means over seeds; above 0 where `method` is better.
        low: lower end of its 95% interval.
        high: upper end.
        seeds: that both were run with.
        wins: seeds in which `method` is better, an equal one counting half.
        rows_needed: test rows at which a difference of this size would show, where today's rows cannot tell it from 0; None
            where they can, or where more seeds are what is missing.
        seeds_needed: the same of seeds.
        budget: accepted rows over all stages of both.
        stages: the number of stages of those that have no number of their own.
    """

    method: str
    other: str
    figure: str
    value: float
    low: float
    high: float
    seeds: int
    wins: float
    rows_needed: int | None
    seeds_needed: int | None
    budget: int = 0
    stages: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """The test rows that every student answered.

    Attributes:
        ids: sorted.
        domain: of each row, as a number.
        domains: the names.
        answer: of each row, as a number; the same number is the same answer.
        weights: figure → weight of each row; those of a figure sum to 1.
    """

    ids: tuple[str, ...]
    domain: Any
    domains: tuple[str, ...]
    answer: Any
    weights: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Runs:
    """What the students of one method answered.

    Attributes:
        seeds: one per run.
        correct: array (seeds, rows) of 0 and 1.
        predicted: array (seeds, rows): number of the answer that was given, -1 for one that is no answer of any row.
    """

    seeds: tuple[int, ...]
    correct: Any
    predicted: Any


def groups_of(counts: Mapping[str, int], budget: int) -> dict[str, str]:
    """Return which domains are head, middle and tail.

    Tail are those with fewer train rows than an even share of the budget, which need the teacher. Of the others the largest that
    hold half of all train rows are head.

    Args:
        counts: train rows of each domain.
        budget: accepted rows over all stages.
    """
    total, held, found = sum(counts.values()), 0, {}
    for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        tail = n * len(counts) < budget
        found[name] = "tail" if tail else "head" if 2 * held < total else "middle"
        held += n
    return found


def rows_of(predictions: pl.DataFrame, population: Mapping[str, int], groups: Mapping[str, str], *, classes: bool) -> Rows:
    """Return the rows that were answered, with the weights of every figure.

    Args:
        predictions: of any of the students: id, domain, answer.
        population: rows of each domain in the whole split.
        groups: of `groups_of`; domains without train rows belong to the tail.
        classes: whether answers are classes, which have an F1.
    """
    table = predictions.select("id", "domain", "answer").sort("id")
    domains = tuple(sorted(set(table["domain"].to_list())))
    number = {name: n for n, name in enumerate(domains)}
    domain = np.array([number[name] for name in table["domain"]])
    answers = {text: n for n, text in enumerate(sorted(set(table["answer"].to_list())))}
    size = np.bincount(domain, minlength=len(domains))
    share = np.array([population.get(name, int(n)) for name, n in zip(domains, size, strict=True)], dtype=float)
    natural = (share / size)[domain]
    even = (1.0 / size)[domain]
    weights = {"macro": even, "micro": natural}
    for group in ("head", "middle", "tail"):
        inside = np.array([groups.get(name, "tail") == group for name in domains])[domain]
        if inside.any():
            weights[group] = np.where(inside, even, 0.0)
    weights = {figure: values / values.sum() for figure, values in weights.items()}
    if classes:
        weights |= {"macro_f1": natural / natural.sum(), "micro_f1": natural / natural.sum()}
    return Rows(tuple(table["id"]), domain, domains, np.array([answers[text] for text in table["answer"]]), weights)


def runs_of(tables: Mapping[int, pl.DataFrame], rows: Rows, answers: Sequence[str]) -> Runs:
    """Return what a method's students answered to the rows.

    Args:
        tables: seed → predictions: id, correct, prediction.
        rows: that all of them answered.
        answers: of the rows, in their order; a right prediction counts as the row's own answer.

    Raises:
        InputError: a student was asked other rows.
    """
    number = dict(zip(answers, rows.answer.tolist(), strict=True))
    correct, predicted = [], []
    for seed, table in tables.items():
        found = table.sort("id")
        if tuple(found["id"]) != rows.ids:
            raise InputError(f"the student of seed {seed} answered other rows than the others, so they cannot be compared")
        right = found["correct"].to_numpy().astype(bool)
        given = np.array([number.get(text, -1) for text in found["prediction"].fill_null("")])
        correct.append(right.astype(float))
        predicted.append(np.where(right, rows.answer, given))
    return Runs(tuple(tables), np.array(correct), np.array(predicted))


def estimates(runs: Runs, rows: Rows, *, seed: int = 0) -> dict[str, Interval]:
    """Return the figures of a method with their intervals."""
    counts, seeds = _draws(rows, len(runs.seeds), seed)
    found = {}
    for figure in rows.weights:
        each = _each(figure, runs, rows, np.ones((1, len(rows.ids))))[0]
        drawn = (_each(figure, runs, rows, counts) * seeds).sum(axis=1)
        low, high = np.percentile(drawn, _CONFIDENCE)
        found[figure] = Interval(float(each.mean()), float(low), float(high))
    return found


def difference(
    one: Runs, other: Runs, rows: Rows, figure: str, *, names: tuple[str, str] = ("", ""), seed: int = 0
) -> Difference | None:
    """Return how much better one method is than another by a figure; None where they have no seed in common.

    Args:
        one: a method's runs.
        other: another's.
        rows: that both answered.
        figure: of `FIGURES`, one that the rows have.
        names: of the two.
        seed: of the bootstrap.
    """
    common = [n for n in one.seeds if n in other.seeds]
    if not common:
        return None
    one, other = _only(one, common), _only(other, common)
    all_rows = np.ones((1, len(rows.ids)))
    by_seed = _each(figure, one, rows, all_rows)[0] - _each(figure, other, rows, all_rows)[0]
    counts, seeds = _draws(rows, len(common), seed)
    drawn = _each(figure, one, rows, counts) - _each(figure, other, rows, counts)
    low, high = np.percentile((drawn * seeds).sum(axis=1), _CONFIDENCE)
    value = float(by_seed.mean())
    rows_needed, seeds_needed = None, None
    if low <= 0 <= high and value:
        below, above = np.percentile(drawn.mean(axis=1), _CONFIDENCE)  # of the rows alone
        by_rows, in_all = (above - below) / 2, (high - low) / 2
        if by_rows >= abs(value):
            rows_needed = math.ceil(len(rows.ids) * (by_rows / value) ** 2)
        else:
            rest = max(in_all**2 - by_rows**2, 0.0)
            seeds_needed = max(len(common) + 1, math.ceil(len(common) * rest / (value**2 - by_rows**2)))
    wins = float((by_seed > 0).sum() + (by_seed == 0).sum() / 2)
    return Difference(*names, figure, value, float(low), float(high), len(common), wins, rows_needed, seeds_needed)


def sentence(found: Difference, titles: Mapping[str, str]) -> str:
    """Return a difference as a sentence, in percentage points.

    Example:
        ``ours − random, macro: +3.1 (0.4 to 5.9), 5 seeds, better in 4``
    """
    one, other = titles.get(found.method, found.method), titles.get(found.other, found.other)
    figure = found.figure.replace("_f1", " F1")
    seeds = "1 seed, which says nothing about others" if found.seeds == 1 else f"{found.seeds} seeds, better in {found.wins:g}"
    text = f"{one} − {other}, {figure}: {100 * found.value:+.1f} ({100 * found.low:.1f} to {100 * found.high:.1f}), {seeds}"
    if found.rows_needed is not None:
        return f"{text}; the test rows cannot tell these apart: a difference of this size needs about {found.rows_needed:,}"
    if found.seeds_needed is not None:
        return f"{text}; the seeds cannot tell these apart: a difference of this size needs about {found.seeds_needed:,}"
    return text


def _only(runs: Runs, seeds: Sequence[int]) -> Runs:
    at = [runs.seeds.index(seed) for seed in seeds]
    return Runs(tuple(seeds), runs.correct[at], runs.predicted[at])


def _draws(rows: Rows, n_seeds: int, seed: int) -> tuple[Any, Any]:
    """Return how often each row is drawn, (draws, rows), and the share of each seed, (draws, seeds)."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((DRAWS, len(rows.ids)))
    few = np.bincount(rows.domain, minlength=len(rows.domains))[rows.domain] < _FEW
    together = [np.flatnonzero((rows.domain == number) & ~few) for number in range(len(rows.domains))]
    for at in filter(len, [*together, np.flatnonzero(few)]):
        counts[:, at] = rng.multinomial(at.size, np.full(at.size, 1 / at.size), size=DRAWS)
    return counts, rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=DRAWS) / n_seeds


def _each(figure: str, runs: Runs, rows: Rows, counts: Any) -> Any:
    """Return the figure of every seed in every draw, (draws, seeds)."""
    weights = counts * rows.weights[figure]
    if not figure.endswith("_f1"):
        whole = weights.sum(axis=1, keepdims=True)  # not 1 where rows of several domains were drawn together
        return np.divide(weights @ runs.correct.T, whole, out=np.zeros((len(weights), len(runs.correct))), where=whole > 0)
    n = int(rows.answer.max()) + 1
    gold = _by_class(weights, rows.answer, n)
    columns = []
    for correct, predicted in zip(runs.correct, runs.predicted, strict=True):
        hits = _by_class(weights * correct, rows.answer, n)
        given = _by_class(np.where(predicted >= 0, weights, 0.0), np.maximum(predicted, 0), n)
        if figure == "micro_f1":
            columns.append(2 * hits.sum(axis=1) / (gold + given).sum(axis=1))
        else:  # a class that a draw lacks, and nobody predicted, has no F1
            there = (gold + given) > 0
            f1 = np.divide(2 * hits, gold + given, out=np.zeros_like(hits), where=there)
            columns.append(f1.sum(axis=1) / np.maximum(there.sum(axis=1), 1))
    return np.array(columns).T


def _by_class(weights: Any, classes: Any, n: int) -> Any:
    """Return the sum of the weights of every class, (draws, classes)."""
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], np.arange(n))
    sums = np.add.reduceat(np.concatenate([weights[:, order], np.zeros((len(weights), 1))], axis=1), starts, axis=1)
    empty = np.bincount(classes, minlength=n) == 0
    sums[:, empty] = 0.0
    return sums
