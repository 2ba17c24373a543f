"""The whole card in the documentation is the one that the demo's files give today.

To write it anew: ``CARD_EXAMPLE=write python -m pytest tests/cards/test_example.py``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from curate.balance.balance import balance
from curate.cards.card import text_of
from curate.cards.facts import read_facts
from curate.export.card import draw
from curate.sources.ingest import ingest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "card_example.md"
PICTURE = ROOT / "docs" / "tail.png"  # that the page shows elsewhere too
DEMO = ROOT / "examples" / "demo"


def test_the_card_in_the_documentation_is_that_of_the_demo(tmp_path: Path) -> None:
    handle = ingest(
        [DEMO / "questions.jsonl"],
        to="demo",
        root=tmp_path,
        prompt="question",
        answer="answer",
        domain="domain",
        licence="Apache-2.0",
    ).manifest
    done = balance(
        handle,
        budget=240,
        stages=2,
        selector="random",
        auditors=("malformed", "answer_mismatch"),
        teacher=f"recorded:{DEMO / 'teacher.jsonl'}",
    )
    facts = replace(read_facts(done.manifest), package="VERSION")
    text = text_of(facts, picture=PICTURE.name)
    if os.environ.get("CARD_EXAMPLE") == "write":
        EXAMPLE.write_text(text, encoding="utf-8")
        draw(facts, PICTURE)
    assert text == EXAMPLE.read_text(encoding="utf-8")
