from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from curate.calls.estimates import EstimateVsActual
from curate.calls.forecast import Estimate
from curate.ledger.records import CostTotals
from curate.ledger.transfer import LedgerExportResult, LedgerImportResult
from curate.report.costs import Call, CostSummary, OpenBatch, Receipt, Receipts
from curate.terminal import layouts, layouts_costs

PART = CostTotals(calls=3, attempts=4, answered=3, lost=1, tokens=900, usd=0.02)
WHOLE = CostSummary(calls=3, attempts=4, answered=3, lost=1, tokens=900, usd=0.02, lost_tokens=90, lost_usd=0.01, billed_usd=0.01)
RECEIPT = Receipt(
    call_id=7,
    sent="2026-01-02T03:04:05+00:00",
    verb="balance",
    stage=0,
    domain="algebra",
    purpose="rationale",
    sample=0,
    cause="new",
    model="gpt-4o-mini",
    status="answered",
    finish_reason="stop",
    tokens=412,
    usd=0.00031,
    error=None,
    reply="Add them.\nThe answer is: 4",
)


def seen(result: Any, width: int = 110) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        for piece in layouts.render(result):
            console.print(piece, markup=False, highlight=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_ledger_shows_outcomes_and_what_was_saved() -> None:
    text = words(seen(replace(WHOLE, saved=0.5, saved_calls=2, saved_tokens=50)))
    assert text.startswith("3 calls, 900 tokens, $0.020 attempts 4: 3 answered, 1 lost")
    assert "billed $0.010 lost in flight 1 call, charged at the upper bound: 90 tokens, $0.010" in text
    assert "saved 2 calls, 50 tokens, $0.500 for replies already in the ledger" in text
    assert seen(CostSummary()) == "no teacher was asked for this manifest"


def test_a_side_with_one_part_needs_no_table_and_no_column_is_all_zeros() -> None:
    by = {"stage": {"-1": PART}, "model": {"m": PART}, "purpose": {"rationale": PART, "synthesis": replace(PART, lost=0)}}
    lines = [words(line) for line in seen(replace(WHOLE, by=by)).splitlines()]
    assert "all of it model m" in lines
    assert "by purpose calls attempts lost tokens cost" in lines
    assert "rationale 3 4 1 900 $0.020" in lines
    assert not any(line.startswith("by stage") for line in lines)


def test_where_every_reply_was_stored_nothing_else_is_counted() -> None:
    free = CostTotals(saved_calls=4)
    text = seen(CostSummary(saved_calls=4, saved_tokens=80, by={"stage": {"0": free, "1": free}, "cause": {}}))
    assert [words(line) for line in text.splitlines()] == [
        *("nothing was charged", "saved 4 calls, 80 tokens for replies already in the ledger", ""),
        *("by stage from the ledger", "0 4", "1 4"),
    ]


def test_replies_that_ended_badly_are_shown() -> None:
    assert "replies ended" not in seen(replace(WHOLE, finish_reasons={"stop": 3}))
    text = words(seen(replace(WHOLE, finish_reasons={"stop": 3, "length": 2, "refusal": 1}), width=160))
    assert "stop 3, length 2 (cut by the token limit), refusal 1 (declined by the model)" in text


def test_a_list_price_has_its_day() -> None:
    assert "of 20" in seen(replace(WHOLE, listed={"gpt-4o-mini": "2025-08-07"}))
    assert "list prices" not in seen(WHOLE)


def test_calls_are_listed_with_their_replies() -> None:
    lost = replace(RECEIPT, call_id=8, domain="geometry", status="lost", finish_reason=None, error="connection reset", reply=None)
    lines = [words(line) for line in seen(Receipts("math", (RECEIPT, lost))).splitlines()]
    assert lines[0] == "2 calls sent for math"
    assert lines[1] == "all of them stage 0, purpose rationale, cause new, model gpt-4o-mini"
    assert lines[3:] == [
        "call domain tokens cost ended reply or error",
        "7 algebra 412 $0.00031 stop Add them. The answer is: 4",
        "8 geometry 412 $0.00031 lost connection reset",
    ]
    assert seen(Receipts("math", ())) == "no teacher was asked for this manifest"


def test_a_long_list_is_cut_and_says_so() -> None:
    text = seen(Receipts("math", (replace(RECEIPT, reply="x" * 200),) * 50))
    assert text.endswith("and 10 more; --json has them all")
    assert "x" * 110 not in text


@pytest.mark.parametrize("width", [60, 110])
def test_a_call_is_shown_in_full(width: int) -> None:
    request = {"messages": [{"role": "user", "content": "What is [2] + 2?"}], "temperature": 0.2, "schema": None}
    text = words(seen(Call(7, "local", "gpt-4o-mini", "ab" * 16, request, "{}", (RECEIPT,)), width=width))
    assert "asked gpt-4o-mini at local for rationale, domain algebra" in text
    assert "settings temperature 0.2 [user] What is [2] + 2? [reply] Add them. The answer is: 4" in text


def test_what_was_moved_is_shown() -> None:
    assert words(seen(LedgerExportResult(Path("a.jsonl"), 1200, 0))) == "a.jsonl: replies to 1,200 calls"
    assert "2 calls, whose content is not that of their key" in seen(LedgerExportResult(Path("a.jsonl"), 1200, 2))
    text = words(seen(LedgerImportResult(Path("a.jsonl"), 3, 4, 1)))
    assert text == "a.jsonl: 3 new replies already here 4 not taken 1 call, with another reply here, which is kept"


ESTIMATE = Estimate(7, 3, 1000, 200, 0.5, 10, (8, 15), (900, 1600), (0.4, 0.7), 40)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "stage 1: estimated $0.500 ($0.400–$0.700), billed $0.450: 10% below"),
        ({"usd": 0.5}, "stage 1: estimated $0.500 ($0.400–$0.700), billed $0.500: as estimated"),
        ({"usd": 0.9}, "stage 1: estimated $0.500 ($0.400–$0.700), billed $0.900: 80% above, outside the range"),
        ({"usd": None}, "stage 1: estimated 1,200 tokens (900–1,600), billed 1,500 tokens: 25% above"),
        ({"usd": 0.0, "tokens": 0}, "stage 1: estimated 10 calls (8–15), billed 11 calls: 10% above"),
        (
            {"usd": 0.0, "tokens": 0, "calls": 0, "at_hand": 10},
            "stage 1: estimated $0.500 ($0.400–$0.700), nothing was billed; 10 replies were already in the ledger",
        ),
        ({"ended": False}, "stage 1: estimated $0.500 ($0.400–$0.700), billed $0.450 so far"),
        ({"stage": None}, "balance: estimated $0.500 ($0.400–$0.700), billed $0.450: 10% below"),
    ],
)
def test_how_far_off_an_estimate_was(changes: dict[str, Any], told: str) -> None:
    made = replace(EstimateVsActual("balance", 1, ESTIMATE, calls=11, tokens=1500, usd=0.45, at_hand=0), **changes)
    assert layouts_costs.compared(made) == told
    assert told in words(seen(replace(WHOLE, estimates=[made]), width=160))


def test_an_estimate_without_a_price_or_for_nothing() -> None:
    assert layouts_costs.estimated(replace(ESTIMATE, usd=None, usd_range=None), "usd") == "no price known"
    assert layouts_costs.estimated(replace(ESTIMATE, usd=0.0, usd_range=(0.0, 0.0)), "usd") == "$0.00"


def test_batches_at_the_provider_are_listed() -> None:
    batches = [OpenBatch("batch_7", "m", 400, "2026-01-02T03:04:05+00:00"), OpenBatch(None, "m", 1, "2026-01-02T03:05:05+00:00")]
    text = words(seen(replace(WHOLE, batches=batches), width=160))
    assert "400 calls of m since 2026-01-02T03:04:05+00:00, at the provider as batch_7" in text
    assert "1 call of m since 2026-01-02T03:05:05+00:00, not created yet" in text
