"""Figures beside accuracy, and the registry of them: ``(predictions, answers, domains) -> dict`` of figures by name.

`baldistill.evaluation.evaluate` passes a prediction that equals its answer in the answer's spelling, and a missing one as an
empty text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import polars as pl

from curate.answers import answers
from curate.registry import Registry

__all__ = ["Metric", "class_f1", "label_f1", "metrics", "rouge_l", "token_f1"]

Metric = Callable[[Sequence[str], Sequence[str], Sequence[str]], Mapping[str, float]]
metrics: Registry[Metric] = Registry("metric", "baldistill.metrics")

_BETWEEN = re.compile(r"[\s\[\]\"']*[,;|\n][\s\[\]\"']*")  # labels of one answer: a, b; also of a JSON list
_WORD = re.compile(r"[^\W_]+")


@metrics.register("token_f1")
def token_f1(predictions: Sequence[str], answers_: Sequence[str], domains: Sequence[str]) -> dict[str, float]:
    """Return the mean word overlap of predictions with answers: macro over the domains, and micro over the rows."""
    return _means([answers.f1(a, b) for a, b in zip(predictions, answers_, strict=True)], domains)


@metrics.register("rouge_l")
def rouge_l(predictions: Sequence[str], answers_: Sequence[str], domains: Sequence[str]) -> dict[str, float]:
    """Return the mean ROUGE-L F of predictions and answers (Lin 2004): macro over the domains, and micro over the rows.

    Words are runs of letters and figures, in small letters, without stemming: of English the tokens of Google's ``rouge_score``.
    """
    return _means([_rouge(a, b) for a, b in zip(predictions, answers_, strict=True)], domains)


@metrics.register("class_f1")
def class_f1(predictions: Sequence[str], answers_: Sequence[str], domains: Sequence[str]) -> dict[str, float]:
    """Return F1 over the classes that occur as answers: macro (every class once) and micro, for classification."""
    from sklearn.metrics import f1_score

    classes = sorted(set(answers_))
    return {
        kind: float(f1_score(list(answers_), list(predictions), labels=classes, average=kind, zero_division=0.0))
        for kind in ("macro", "micro")
    }


@metrics.register("label_f1")
def label_f1(predictions: Sequence[str], answers_: Sequence[str], domains: Sequence[str]) -> dict[str, float]:
    """Return F1 over the labels of rows that have several, such as ``grain, wheat``: macro over labels that occur, and micro.

    The labels of a text stand between commas, semicolons, bars or lines, in any order and case. A predicted label that no answer
    has counts against micro alone.
    """
    right, said, wanted = Counter[str](), Counter[str](), Counter[str]()
    for prediction, answer in zip(predictions, answers_, strict=True):
        found, true = _labels(prediction), _labels(answer)
        right.update(found & true)
        said.update(found)
        wanted.update(true)
    return {
        "macro": fmean([2 * right[label] / (said[label] + n) for label, n in wanted.items()] or [0.0]),
        "micro": 2 * right.total() / max(1, said.total() + wanted.total()),
    }


def _means(scores: Sequence[float], domains: Sequence[str]) -> dict[str, float]:
    frame = pl.DataFrame({"domain": domains, "score": scores}, schema={"domain": pl.String, "score": pl.Float64})
    per_domain = frame.group_by("domain").agg(pl.col("score").mean())["score"]
    return {"macro": fmean(sorted(per_domain)), "micro": fmean(sorted(scores))}


def _labels(text: str) -> set[str]:
    parts = (part.strip("[]\"' \t\n").casefold() for part in _BETWEEN.split(text))
    return {part for part in parts if part}


def _rouge(prediction: str, answer: str) -> float:
    said, wanted = (_WORD.findall(text.lower()) for text in (prediction, answer))
    common = _longest_common(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, theirs in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == theirs else max(row[at], row[at - 1])
    return row[-1]
