"""Final answers: what kind a domain has, which one a text states, and when two are equal.

Audits and evaluations use the same functions, so that a student is graded by the rule that graded its teacher. There are
four kinds: ``number`` (anything mathematical, LaTeX included), ``choice`` (the letter of an option offered in the prompt),
``label`` (one of few class names) and ``text`` (the rest). What cannot be read is None; nothing is guessed.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from curate.audit import extraction, mathematics
from curate.audit.extraction import bare, choices, words

__all__ = ["KINDS", "TASKS", "Survey", "choices", "equal", "extract", "f1", "kind_of", "survey", "task_of", "words"]

KINDS = ("number", "choice", "label", "text")

# What a teacher or a student is asked to do; follows from the kind of answer, and for texts from their length.
TASKS = ("classification", "multiple-choice", "mathematics", "open-question", "instruction")
_TASK_OF = {"label": "classification", "choice": "multiple-choice", "number": "mathematics"}
_LONG_ANSWER = 12  # words; where the middle answer of a domain has more, it follows an instruction

_SHORT_WORDS, _SHORT_CHARS = 5, 40  # a class name is no longer than this


@dataclass(frozen=True)
class Survey:
    """What kind of answer each domain of a corpus has.

    Attributes:
        kinds: per domain one of `KINDS`.
        labels: per domain of kind ``label`` its class names, sorted.
        tasks: per domain one of `TASKS`.
    """

    kinds: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]
    tasks: Mapping[str, str]


def survey(rows: pl.DataFrame) -> Survey:
    """Return what kind of answer each domain has, judged from the corpus as a whole.

    Where answers are the domains' own names, or few short values over the whole corpus, every domain is of kind ``label``
    with the class names of all; so a class with a single row is recognised too. Otherwise each domain is judged by its own rows.

    Args:
        rows: columns ``domain, prompt, answer``; the real train rows.
    """
    rows = rows.with_columns(pl.col("answer").fill_null(""), pl.col("prompt").fill_null(""))
    named = (rows["answer"].str.to_lowercase() == rows["domain"].str.to_lowercase()).sum()
    if named >= max(1, 0.95 * rows.height) or kind_of(rows["prompt"].to_list(), rows["answer"].to_list()) == "label":
        names = tuple(sorted({answer for answer in rows["answer"].to_list() if answer.strip()}))
        domains = rows["domain"].unique().to_list()
        tasks = dict.fromkeys(domains, _TASK_OF["label"])
        return Survey(dict.fromkeys(domains, "label"), dict.fromkeys(domains, names), tasks)
    kinds, labels, tasks = {}, {}, {}
    for (domain,), group in rows.sort("domain").group_by("domain", maintain_order=True):
        answers = group["answer"].to_list()
        kinds[str(domain)] = kind_of(group["prompt"].to_list(), answers)
        if kinds[str(domain)] == "label":
            labels[str(domain)] = tuple(sorted({answer for answer in answers if answer.strip()}))
        tasks[str(domain)] = task_of(kinds[str(domain)], answers)
    return Survey(kinds, labels, tasks)


def task_of(kind: str, answers: Sequence[str] = ()) -> str:
    """Return which of `TASKS` a domain is: by its kind of answer, and texts by the length of the middle one."""
    lengths = [len(answer.split()) for answer in answers if answer.strip()]
    long = bool(lengths) and statistics.median(lengths) > _LONG_ANSWER
    return _TASK_OF.get(kind) or ("instruction" if long else "open-question")


def kind_of(prompts: Sequence[str], answers: Sequence[str]) -> str:
    """Return the kind of answer that these examples have: ``number``, ``choice``, ``label`` or ``text``.

    ``choice``: 95% of the answers are single letters and 80% of the prompts offer lettered options. ``number``: 80% are
    mathematical and fewer than half are lists (a sorted list has an order, which sets of solutions have not, so lists are
    ``text``). ``label``: 95% are short, and there are at most as many different ones as a quarter of the rows.
    """
    filled = [(prompt, answer.strip()) for prompt, answer in zip(prompts, answers, strict=True) if answer and answer.strip()]
    if not filled:
        return "text"
    distinct = Counter(answer for _, answer in filled)
    n = len(filled)
    if sum(bool(re.fullmatch(r"\(?[A-Za-z]\)?\.?", a)) for _, a in filled) >= 0.95 * n:
        if sum(len(choices(prompt)) > 1 for prompt, _ in filled) >= 0.8 * n:
            return "choice"
    elif sum(mathematics.is_mathematical(a) * c for a, c in distinct.items()) >= 0.8 * n:
        lists = sum(c for a, c in distinct.items() if re.fullmatch(r"[\[(]?-?[\d.]+(?:\s*[, ]\s*-?[\d.]+)+[\])]?", a))
        return "number" if lists < 0.5 * n else "text"
    short = sum(len(a.split()) <= _SHORT_WORDS and len(a) <= _SHORT_CHARS for _, a in filled)
    return "label" if short >= 0.95 * n and len(distinct) <= max(1, n // 4, 2 if n >= 4 else 1) else "text"


def extract(text: str | None, kind: str, *, labels: Sequence[str] = (), prompt: str = "") -> str | None:
    """Return the final answer that a rationale or a student's reply states, or None where it is not clear.

    What follows the last "the answer is", ``\\boxed`` or ``####`` counts first. Without one: for ``number`` the last number
    of the last sentence; for ``choice`` the one letter that the last sentence names as the answer; for ``label`` the class name
    that is quoted, or that the last sentence about topic, label or category names, or a line of its own; for ``text`` a
    reply of one short sentence.

    Args:
        text: what was written.
        kind: one of `KINDS`.
        labels: class names, for ``label``; matched as whole words, the longest first, in any case.
        prompt: the question with its options, for ``choice``: an option's text stands for its letter.
    """
    text = (text or "").strip()
    if not text:
        return None
    if kind == "label":
        return extraction.label(text, tuple(labels))
    if kind == "choice":
        return extraction.letter(text, prompt)
    return extraction.number(text) if kind == "number" else extraction.sentence(text)


def equal(a: str | None, b: str | None, kind: str) -> bool:
    """Return whether two final answers are the same one.

    Numbers and LaTeX by value (`mathematics.same`), letters and class names in any case, text without case, articles and
    punctuation (the normalisation of SQuAD, arXiv:1606.05250, which keeps minus signs and decimal points here).
    """
    if a is None or b is None or not a.strip() or not b.strip():
        return False
    if kind == "number":
        return mathematics.same(a, b)
    if kind == "choice":
        a, b = bare(a).casefold(), bare(b).casefold()
        return a[:1] == b[:1] if min(len(a), len(b)) == 1 else a == b  # "B" is the letter of "B. nest"
    if kind == "label":
        return bare(a).casefold() == bare(b).casefold()
    return words(a) == words(b) and bool(words(a))


def f1(a: str | None, b: str | None) -> float:
    """Return the overlap of two texts' words, 0 to 1: harmonic mean of precision and recall (SQuAD, arXiv:1606.05250)."""
    left, right = words(a or ""), words(b or "")
    common = sum((Counter(left) & Counter(right)).values())
    return 2 * common / (len(left) + len(right)) if common else float(not left and not right)
