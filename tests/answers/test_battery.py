"""The battery: a table of answers as models write them, with what is right about each; docs/audit.md has its figures.

A line has a kind, a group (what is tried), a text, the right answer, and whether the audit lets the text pass for it
(``accept``); with class names, or the prompt with its options, where the kind needs them.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from curate.answers import answers, texts
from curate.audit import auditors
from curate.audit.base import PROMPTS, THRESHOLDS, Context

NOTHING = pl.DataFrame(schema=PROMPTS)
TABLES = ("battery.jsonl", "battery_unseen.jsonl")  # the second was written by somebody who had not seen the rules


def rows_of(table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(__file__).parent / table).read_text(encoding="utf-8").splitlines()]


ROWS = [row for table in TABLES for row in rows_of(table)]
PROSE = rows_of("battery_prose.jsonl")
MISSED = {"number": 1, "choice": 3, "label": 1, "text": 3}  # of PROSE, known; docs/audit.md has the parts and their first runs


def no_vectors(texts: list[str]) -> np.ndarray:
    raise AssertionError("answers need no vectors")


def mentioned(row: dict[str, Any]) -> bool:
    """Return whether a free text that states no answer mentions it; a long answer that is not mentioned is not judged."""
    return texts.holds(row["text"], row["reference"])


def accepts(row: dict[str, Any]) -> bool:
    """Return whether the audit lets a text pass for an answer; for all kinds but free text it must be equal as well."""
    labels, prompt = tuple(row.get("labels", ())), row.get("prompt", "")
    given = Context(
        {"d": row["kind"]}, {"d": labels}, NOTHING, NOTHING, NOTHING, vectors=lambda texts: np.zeros((0, 1), np.float32)
    )
    shown = {"id": "r", "domain": "d", "source": "real", "prompt": prompt, "answer": row["reference"], "rationale": row["text"]}
    findings = list(auditors.answer_mismatch(pl.DataFrame([{**shown, "finish_reason": None}]), given))
    passed = all(finding.score < THRESHOLDS["answer_mismatch"] for finding in findings)
    found = answers.extract(row["text"], row["kind"], labels=labels, prompt=prompt)
    if row["kind"] != "text" or found is None:
        return passed and (answers.equal(found, row["reference"], row["kind"]) or (row["kind"] == "text" and mentioned(row)))
    return passed and answers.text_distance(found, row["reference"]) < THRESHOLDS["answer_mismatch"]


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['kind']}-{row['group']}-{row['text'][:30]!a}-{row['reference'][:12]!a}"
)
def test_every_line_of_the_battery(row: dict[str, Any]) -> None:
    assert accepts(row) is row["accept"]


def test_the_battery_in_prose_keeps_its_level() -> None:
    missed = Counter(row["kind"] for row in PROSE if accepts(row) is not row["accept"])
    assert missed <= Counter(MISSED)
    assert [row for row in PROSE if not row["accept"] and accepts(row)] == []  # no wrong one is accepted


def test_the_battery_has_right_and_wrong_answers_of_every_kind() -> None:
    verdicts = Counter((row["kind"], row["accept"]) for row in ROWS)
    assert {kind for kind, _ in verdicts} == set(answers.KINDS)
    assert min(verdicts.values()) >= 15
