"""A few rows of every kind of task, annotated and written by a real model behind a real server.

Start one (any OpenAI-compatible server, such as llama.cpp's) and name it::

    CURATE_TEST_TEACHER=http://127.0.0.1:8110/v1 CURATE_TEST_MODEL=teacher pytest -m slow tests/test_real_teacher.py -s

What the model writes is its own; what is tested is that every reply is accounted for and none is bought twice.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.audit.audit import build_context
from curate.balance.annotate import annotate
from curate.balance.synthesize import synthesize
from curate.manifest.manifest import Manifest
from curate.report import costs
from curate.vectors.encoders import FakeEncoder
from tests.support.samples import ingested

URL, MODEL = os.environ.get("CURATE_TEST_TEACHER", ""), os.environ.get("CURATE_TEST_MODEL", "teacher")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not URL, reason="CURATE_TEST_TEACHER names no server, such as http://127.0.0.1:8110/v1"),
]

TIN = (
    "The International Tin Council said tin prices rose 2 pct in London on lower stocks in Malaysia, Reuters reported on March 3."
)
ZINC = "Cominco said it cut its zinc price by one cent to 41 cents a pound, effective immediately, because of weak demand."
ESSAY = (
    "Write to the staff that the office is closed on Friday for repairs, that the work must be done at home, and whom to call."
)
DONE = (
    "Dear all, on Friday the office is closed because the heating is repaired. Please work from home that day. "
    "If you need anything from the building, call Ms. Ward at the front desk before Thursday noon."
)
# task → (domain, prompt, answer); the first row lacks its rationale, the others are there to be shown
ROWS: dict[str, list[tuple[str, str, str]]] = {
    "classification": [
        ("tin", TIN, "tin"),
        ("tin", TIN.replace("rose 2", "fell 3").replace("Malaysia", "Bolivia"), "tin"),
        ("zinc", ZINC, "zinc"),
        ("zinc", ZINC.replace("Cominco", "Noranda").replace("41", "43"), "zinc"),
    ],
    "multiple-choice": [
        ("science", "Which gas do plants take in? (A) oxygen (B) carbon dioxide (C) helium (D) neon", "B"),
        ("science", "What pulls a stone to the ground? (A) light (B) sound (C) gravity (D) heat", "C"),
        ("science", "Which of these is a mammal? (A) whale (B) shark (C) trout (D) crab", "A"),
    ],
    "mathematics": [
        ("sums", "A train has 4 cars with 12 seats each, and 9 seats are taken. How many are free?", "39"),
        ("sums", "What is the remainder when 47 is divided by 6?", "5"),
        ("sums", "Ann buys 3 pens at 2 dollars each and pays with 10 dollars. How many dollars come back?", "4"),
    ],
    "open-question": [
        ("passages", "Ada lives in a red house by the lake with her dog Rex. What is the dog called?", "Rex"),
        ("passages", "The mill closed in spring because the river was too low. Why did the mill close?", "the river was too low"),
        ("passages", "Tom took the night bus to Leeds after the show. When did Tom travel?", "after the show"),
    ],
    "instruction": [
        ("letters", ESSAY, DONE),
        ("letters", ESSAY.replace("Friday", "Monday"), DONE.replace("Friday", "Monday")),
    ],
}


def start(root: Path, task: str) -> Manifest:
    """A manifest whose first row is selected and lacks its rationale."""
    rows = [{"domain": domain, "prompt": prompt, "answer": answer} for domain, prompt, answer in ROWS[task]]
    first = {**rows[0], "status": "selected"}
    return ingested(root, [first, *rows[1:]], name="real")


def asked(root: Path, task: str) -> tuple[Any, Any]:
    """Annotate the first row, and write for its domain one example alone and two in one reply."""
    handle = start(root, task)
    domain = ROWS[task][0][0]
    assert build_context(handle, encoder=FakeEncoder()).task(domain) == task
    told = annotate(handle, teacher=URL, model=MODEL, words=60, reply_tokens=256)
    common: dict[str, Any] = {"teacher": URL, "model": MODEL, "words": 60, "reply_tokens": 384, "encoder": FakeEncoder()}
    done = [synthesize(told.manifest, domains=[domain], n=1, max_attempts=1, **common)]
    done += [synthesize(done[0].manifest, domains=[domain], n=2, max_attempts=1, rows_per_call=2, **common)]
    return told, done


@pytest.mark.parametrize("task", ROWS)
def test_every_reply_of_a_real_model_is_accounted_for_and_bought_once(tmp_path: Path, task: str) -> None:
    told, done = asked(tmp_path / "first", task)
    assert told.rows == 1 == told.written + sum(told.rejected.values()) + told.unanswered
    assert (told.complete, told.spent.calls) == (True, 1)
    for result, n in zip(done, (1, 2), strict=True):
        judged = sum(result.written.values()) + sum(sum(by.values()) for by in result.rejected.values())
        assert (judged, result.complete, result.spent.calls) == (n, True, 1)
    last = done[-1].manifest
    rows = last.examples().filter(source="synthetic").sort("origin")
    assert rows["origin"].to_list() == [f"teacher:{MODEL}#{index}" for index in range(3)]
    assert set(rows["status"]) <= {"candidate", "rejected"}
    assert rows.filter(status="candidate")["prompt"].str.len_chars().min() != 0
    figures = costs.read_costs(last)
    assert (figures.calls, figures.failed, figures.lost) == (3, 0, 0)
    assert figures.tokens == told.spent.tokens + sum(result.spent.tokens for result in done)
    print()
    for row in last.examples().filter(pl.col("call_id").is_not_null()).iter_rows(named=True):
        print({name: row[name] for name in ("source", "status", "reason", "prompt", "rationale", "answer", "extra")})

    again = tmp_path / "again"
    (again / "manifests").mkdir(parents=True)
    for file in (tmp_path / "first" / "manifests").glob("ledger.sqlite*"):
        shutil.copy(file, again / "manifests")
    told, done = asked(again, task)
    assert [result.spent.calls for result in (told, *done)] == [0, 0, 0]
    assert done[-1].manifest.rows().equals(last.rows())
