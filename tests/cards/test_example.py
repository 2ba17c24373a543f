"""The whole card in the documentation is the one that is made today, of rows and commits that are written here.

To write it anew, and its picture: ``CARD_EXAMPLE=write python -m pytest tests/cards/test_example.py``.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from curate.cards.card import text_of
from curate.cards.facts import read_facts
from curate.export.card import draw
from curate.ledger.records import CostTotals
from curate.manifest import ids
from curate.manifest.manifest import Manifest
from curate.manifest.rows import teacher_origin
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, conform
from curate.report.costs import CostSummary
from curate.sources.ingest import ingest

DOCS = Path(__file__).parents[2] / "docs"
MODEL = "gpt-4o-mini"
SIZES = {"sums": 120, "products": 40, "fractions": 14, "angles": 5, "primes": 2}
SLOTS, STAGES = 24, 2  # of a stage
MISMATCH = {"auditor": "answer_mismatch", "decision": "reject", "score": 1.0, "attempt": 0}
PARAMETERS: dict[str, Any] = {
    **{"budget": 48, "stages": STAGES, "policy": "adaptive", "schedule": "ours", "selector": "representative"},
    **{
        "rationales": "auto",
        "wrong_rationale": "drop",
        "fill": "teacher",
        "teacher": "https://api.openai.com/v1",
        "model": MODEL,
    },
    **{"auditors": ["malformed", "answer_mismatch", "leakage", "near_duplicate"], "rows_per_call": 1, "max_attempts": 5},
    **{"rationale_prompt": "e53a4fb6b8ac", "synthesis_prompt": "539cf796332b", "show_answer": False},
}


def ingested(root: Path) -> Manifest:
    """Return the rows of a long tail, of which some are held out."""
    records = [
        {"question": f"Which number comes out of task {n} about {domain}?", "answer": str(n % 17), "domain": domain}
        for domain, size in SIZES.items()
        for n in range(size)
    ]
    (root / "questions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    options: dict[str, Any] = {"prompt": "question", "licence": "CC-BY-4.0", "holdout": 0.1, "seed": 0}
    return ingest([str(root / "questions.jsonl")], to="tail", root=root, **options).manifest


def written(domain: str, n: int) -> pl.DataFrame:
    """Return new examples of a domain with their contents."""
    contents = pl.DataFrame(
        {
            "prompt": [f"Which number comes out of new task {i} about {domain}?" for i in range(n)],
            "answer": [str(i) for i in range(n)],
            "rationale": [f"The answer is: {i}" for i in range(n)],
        }
    )
    contents = conform(contents.with_columns(content=ids.content_keys(contents)), CONTENT_SCHEMA)
    labelled = contents.with_columns(domain=pl.lit(domain), split=pl.lit("train"), index=pl.int_range(pl.len()))
    return labelled.with_columns(ids.row_ids(labelled).alias("id"), origin=teacher_origin(MODEL), call_id=pl.col("index"))


def stage(handle: Manifest, number: int, quotas: dict[str, int], *, filled: int = SLOTS) -> Manifest:
    """Commit a stage that takes the first candidates of each domain, and has what is missing written."""
    rows = handle.rows()
    free = rows.filter(split="train", status="candidate").with_columns(turn=pl.int_range(pl.len()).over("domain"))
    quota = pl.col("domain").replace_strict(quotas, default=0, return_dtype=pl.Int64)
    chosen = free.filter(pl.col("turn") < quota)["id"]
    mine = pl.col("id").is_in(chosen.implode())
    rows = rows.with_columns(
        status=pl.when(mine).then(pl.lit("selected")).otherwise("status"),
        stage=pl.when(mine).then(number).otherwise("stage"),
        call_id=pl.when(mine).then(pl.int_range(pl.len())).otherwise("call_id"),
        findings=pl.when(mine & (pl.col("domain") == "fractions")).then(pl.lit(json.dumps([MISMATCH]))).otherwise("findings"),
    )
    missing = {d: n - free.filter(pl.col("id").is_in(chosen.implode()), domain=d).height for d, n in quotas.items()}
    new = pl.concat([written(domain, n) for domain, n in missing.items() if n > 0] or [written("sums", 0)])
    handle.append(new.select(CONTENT_SCHEMA.names()))
    made = new.with_columns(source=pl.lit("synthetic"), status=pl.lit("selected"), stage=pl.lit(number))
    made = made.with_columns(prompt_key=ids.prompt_keys(made["prompt"]), n_chars=pl.col("prompt").str.len_chars() + 16)
    summary = {"budget": SLOTS, "achieved": {"all": filled}, "synthetic": {"all": new.height}, "complete": filled == SLOTS}
    return handle.commit(
        pl.concat([rows, conform(made, SCHEMA, drop=True)]),
        verb="balance",
        parameters={"stage": number, **PARAMETERS},
        seed=0,
        summary=summary | {"base": handle.version},
    )


def test_the_card_in_the_documentation_is_the_one_that_is_made_today(tmp_path: Path) -> None:
    first = stage(ingested(tmp_path), 0, {"sums": 13, "products": 5, "fractions": 3, "angles": 2, "primes": 1})
    last = stage(first, 1, {"sums": 4, "products": 5, "fractions": 5, "angles": 4, "primes": 3}, filled=21)
    costs = CostSummary(by={"model": {MODEL: CostTotals(calls=53, answered=52, failed=1, tokens=21_480, usd=0.0064)}})
    facts = replace(read_facts(last), costs=costs, package="0.2.0")
    text = text_of(facts, picture="domains.png")
    if os.environ.get("CARD_EXAMPLE") == "write":
        (DOCS / "card_example.md").write_text(text, encoding="utf-8")
        draw(facts, DOCS / "domains.png")
    assert text == (DOCS / "card_example.md").read_text(encoding="utf-8")
