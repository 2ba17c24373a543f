"""Chooses what a new example is written from: which rows are shown, which answer is asked for, which questions to avoid.

Everything is a function of rows, seed and the number of the request, so that the same order makes the same request. Sends
nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curate.answers import answers

__all__ = ["answers_in_turn", "kinds_in_turn", "openings", "pick_seeds"]

LONG = 6_000  # characters of a question with its rationale, about 1,500 tokens
_AVOIDED, _OPENING = 8, 12  # questions of a domain that are named as written already, and words of each


def pick_seeds(rows: Sequence[Mapping[str, Any]], n: int, *, seed: str, label: str | None = None) -> list[Mapping[str, Any]]:
    """Choose up to `n` rows, each from another cluster as long as there are clusters left; rows of the label come first.

    A row of more than `LONG` characters comes after the others of its label: it would be paid for in every request.

    Args:
        rows: with id, cluster, answer, prompt and rationale, in any order.
        n: how many.
        seed: of the choice.
        label: answer that is wanted of the new example, or None.
    """
    rng = random.Random(seed)  # a string seeds by its hash of its bytes, the same on every machine
    ordered = sorted(rows, key=lambda row: str(row["id"]))
    rng.shuffle(ordered)
    seen: dict[Any, int] = {}
    ranked: list[tuple[bool, bool, int, int]] = []
    for row in ordered:  # the second row of a cluster comes after the first of every other
        long = len(row["prompt"] or "") + len(row["rationale"] or "") > LONG
        other = label is not None and row["answer"] != label
        turn = seen.get((other, long, row["cluster"]), 0)
        seen[other, long, row["cluster"]] = turn + 1
        ranked.append((other, long, turn, len(ranked)))
    return [ordered[position] for *_, position in sorted(ranked)[:n]]


def answers_in_turn(rows: Sequence[Mapping[str, Any]], kind: str, *, domain: str, seed: int) -> tuple[str, ...]:
    """Return the answers to ask for, one after the other and from the start again, so that none is favoured.

    Of the kind ``label`` they are the domain's own classes, or its name where it has no row; of the kind ``choice`` the
    letters that most of its questions offer; of other kinds there are none. The order is drawn by the seed.

    Args:
        rows: the domain's rows, with prompt and answer.
        kind: of answer, see `curate.answers.answers`.
        domain: its name.
        seed: of the order.
    """
    found: list[str] = []
    if kind == "label":
        found = sorted({row["answer"] for row in rows if row["answer"]}) or [domain]
    elif kind == "choice":
        offered = Counter(tuple(answers.choices(row["prompt"] or "")) for row in rows)
        found = list(max(sorted(offered.items()), key=lambda item: item[1])[0]) if offered else []
    return tuple(random.Random(f"{seed}/{domain}").sample(found, len(found)))


def kinds_in_turn(kinds: Sequence[str], *, domain: str, seed: int) -> tuple[str, ...]:
    """Return the kinds of a domain's rows in the order in which new examples of them are asked for, and from the start again.

    Args:
        kinds: of each row, in any order.
        domain: its name.
        seed: of the order.
    """
    return tuple(random.Random(f"{seed}/{domain}/kinds").sample(sorted(kinds), len(kinds)))


def openings(written: pl.DataFrame) -> dict[str, list[str]]:
    """Return per domain the first words of the questions that were written last, for a teacher to stay away from.

    Args:
        written: columns domain and prompt, in the order of writing.
    """
    last = written.group_by("domain", maintain_order=True).tail(_AVOIDED)
    found: dict[str, list[str]] = {}
    for domain, prompt in last.select("domain", "prompt").iter_rows():
        if prompt:
            found.setdefault(domain, []).append(" ".join(prompt.split()[:_OPENING]))
    return found
