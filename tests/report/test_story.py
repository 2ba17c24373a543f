"""Each verb's sentences about a row, of commits made by hand."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec, Caps, CostBound
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SCHEMA
from curate.report import explain, story
from curate.teachers.base import Usage
from tests.support.samples import frames, ingested

PARENT, CHILD, LOST = "7c1e" + "0" * 28, "aaaa" + "0" * 28, "bbbb" + "0" * 28
FINDING = {"auditor": "answer_mismatch", "score": 1.0, "decision": "reject", "message": "ends in 5, the label is 4", "attempt": 0}
QUOTAS = {"wanted": {"sets": 3}, "planned": {"sets": 3}, "budget": 3}


def changed(start: Manifest, row_id: str, **values: Any) -> pl.DataFrame:
    """Return the rows of a version with some values of one row set."""
    one = pl.col("id") == row_id
    return start.rows().with_columns(
        pl.when(one).then(pl.lit(value, dtype=SCHEMA[name])).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    )


def sentences(of: Manifest, row_id: str = PARENT) -> list[str]:
    """Return the lines of the newest commit about a row."""
    return [line for step in explain.explain(of, row_id).steps if step.version == of.version for line in step.lines]


@pytest.fixture
def start(tmp_path: Path) -> Manifest:
    rows = [
        {"prompt": "a", "id": PARENT, "domain": "sets", "origin": "math.jsonl:41"},
        {"prompt": "b", "domain": "sets"},
        *({"prompt": f"c{i}", "domain": "algebra"} for i in range(6)),
    ]
    return ingested(tmp_path, rows)


@pytest.fixture
def balanced(start: Manifest) -> Manifest:
    """Stage 1 took the row and wrote two from it, one of which the audit rejected; the ledger knows its call."""
    ledger = Ledger(ledger_path(start.root))
    spec = CallSpec(key=f"{8841:013x}", endpoint="local", model="m", purpose="rationale", domain="sets", sample=0, request="{}")
    reservation = ledger.reserve(spec, CostBound("tail", "balance", 1, tokens=900, nano_usd=900_000), Caps(), "[]")
    ledger.record(reservation.attempt, "{}")
    ledger.settle(reservation.attempt, Usage(prompt=300, completion=112), 310_000, "stop")
    ledger.close()
    born = {"domain": "sets", "source": "synthetic", "origin": "teacher:m#0", "parents": [PARENT], "stage": 1, "call_id": 7}
    rejected = {"status": "rejected", "reason": "answer_mismatch", "findings": json.dumps([FINDING | {"attempt": None}])}
    new, contents = frames(
        [
            {"prompt": "x", "id": CHILD, "status": "selected", "reason": "fills the tail", **born},
            {"prompt": "y", "id": LOST, **rejected, **born},
        ]
    )
    start.append(contents)
    rows = changed(start, PARENT, status="selected", stage=1, reason="representative: the only row", call_id=reservation.call_id)
    return start.commit(
        pl.concat([rows, new]), verb="balance", parameters={"stage": 1, "budget": 8}, summary={"quotas": QUOTAS, "base": 0}
    )


def test_ingest_names_row_and_file(start: Manifest) -> None:
    assert sentences(start) == ["row 41 of math.jsonl becomes example 7c1e0000…, domain sets, source real"]


def test_held_out_rows_name_their_split(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": "a", "id": PARENT, "split": "test"}])
    assert sentences(start)[0].endswith("source real, split test")
    assert explain.explain(start, PARENT).steps[-1].lines[0].endswith("it measures, and never steers")


def test_cluster_counts_those_of_the_domain(start: Manifest) -> None:
    rows = start.rows().with_columns(cluster=pl.int_range(pl.len(), dtype=pl.Int32), centrality=pl.lit(0.814, pl.Float32))
    after = start.commit(rows, verb="cluster")
    cluster = after.rows().filter(id=PARENT)["cluster"].item()
    assert sentences(after) == [f"cluster {cluster} of 2 in sets, cosine 0.81 to its centre (its vector is in the cache)"]


def test_balance_tells_plan_choice_children_and_cost(balanced: Manifest) -> None:
    assert sentences(balanced) == [
        "stage 1 plans 3 slots for sets; 2 real rows are left: a tail, 1 short",
        "chosen: representative: the only row",
        "2 synthetic rows are written from 7c1e0000… and others, 1 rejected by the audit (1 answer_mismatch), 1 kept",
        "the teacher writes a rationale for 7c1e0000… (call 8841, 412 tokens, $0.00031)",
    ]


def test_a_synthetic_row_is_told_from_its_parents_to_its_export(balanced: Manifest) -> None:
    assert explain.explain(balanced, CHILD).lines() == [
        "balance     stage 1 plans 3 slots for sets; 2 real rows are left: a tail, 1 short                    v1",
        "            aaaa0000…, synthetic, is written for sets from 7c1e0000… (row 41 of math.jsonl) (call 7)",
        "            kept: fills the tail",
        "export      the snapshot of v1 has it, split train: an export holds it unless its format or a flag",
        "            leaves it out, which it says",
    ]


def test_a_rejected_row_says_by_whom_and_why(balanced: Manifest) -> None:
    *_, finding, end = sentences(balanced, LOST)
    assert finding == "answer_mismatch rejects it (score 1.00): ends in 5, the label is 4"
    assert end == "rejected: answer_mismatch"
    assert explain.explain(balanced, LOST).lines()[-1] == "export      no export of v1 holds it: it is rejected"


def test_a_failed_attempt_leaves_a_candidate(start: Manifest) -> None:
    rows = changed(start, PARENT, findings=json.dumps([FINDING | {"call_id": 3}]), reason="answer_mismatch", call_id=3)
    after = start.commit(rows, verb="balance", parameters={"stage": 0, "budget": 8}, summary={"quotas": QUOTAS})
    assert sentences(after)[1:] == [
        "the teacher writes a rationale for 7c1e0000… (call 3)",
        "attempt 0: answer_mismatch rejects it (score 1.00): ends in 5, the label is 4",
        "it stays a candidate; answer_mismatch",
    ]


def test_a_second_attempt_comes_after_the_first(start: Manifest) -> None:
    first, free = FINDING | {"call_id": 3}, {"key": "0000000000004", "endpoint": "local", "model": "m", "request": "{}"}
    ledger = Ledger(ledger_path(start.root))
    reservation = ledger.reserve(
        CallSpec(purpose="rationale", domain="sets", sample=1, **free), CostBound("tail", "balance", 0, 9, 0), Caps(), "[]"
    )
    ledger.close()
    rows = changed(
        start, PARENT, findings=json.dumps([first]), reason="random", call_id=reservation.call_id, status="selected", stage=0
    )
    after = start.commit(rows, verb="balance", parameters={"stage": 0, "budget": 8}, summary={"quotas": QUOTAS})
    assert sentences(after)[1:] == [
        "chosen: random",
        "attempt 0: answer_mismatch rejects it (score 1.00): ends in 5, the label is 4",
        "the teacher writes a rationale for 7c1e0000… (call 4, 9 tokens, free)",
    ]


def test_a_row_that_failed_in_an_earlier_stage_may_be_chosen_later(start: Manifest) -> None:
    failed = start.commit(changed(start, PARENT, reason="answer_mismatch"), verb="balance", parameters={"stage": 0})
    rows = changed(failed, PARENT, status="selected", stage=1)
    after = failed.commit(rows, verb="balance", parameters={"stage": 1}, summary={"quotas": QUOTAS})
    assert sentences(after)[1] == "chosen now, after an attempt that had failed"


def test_a_head_is_called_one(start: Manifest) -> None:
    row_id = start.rows().filter(domain="algebra")["id"][0]
    rows = changed(start, row_id, reason="not chosen: 0.2, rank 6 of 6")
    after = start.commit(
        rows, verb="balance", parameters={"stage": 0, "budget": 8}, summary={"quotas": {"planned": {"algebra": 5}}}
    )
    assert sentences(after, row_id) == [
        "stage 0 plans 5 slots for algebra; 6 real rows are left: a head",
        "it stays a candidate; not chosen: 0.2, rank 6 of 6",
    ]


def test_rows_that_a_stage_left_alone_have_no_step(balanced: Manifest) -> None:
    row_id = balanced.rows().filter(domain="algebra")["id"][0]
    assert [step.verb for step in explain.explain(balanced, row_id).steps] == ["ingest", "export"]


def test_repeats_name_what_they_repeat(start: Manifest) -> None:
    new, _ = frames(
        [{"prompt": "a", "id": CHILD, "domain": "sets", "origin": "repeat:0#0", "parents": [PARENT], "status": "selected"}]
    )
    after = start.commit(pl.concat([start.rows(), new]), verb="balance", parameters={"stage": 0}, summary={"quotas": QUOTAS})
    assert sentences(after, CHILD)[1] == "aaaa0000… repeats 7c1e0000… (row 41 of math.jsonl)"


@pytest.mark.parametrize(
    ("verb", "values", "line"),
    [
        ("sample", {"status": "rejected", "reason": "sampled_out"}, "left out of the sample: sampled_out"),
        ("score", {"score": 1.23456, "score_kind": "ifd_ppl", "scored_by": "m@1"}, "ifd_ppl 1.235, scored by m@1"),
        ("profile", {"n_tokens": 84}, "84 tokens for smol"),
        ("audit", {"status": "rejected", "reason": "leakage"}, "rejected: leakage"),
        ("annotate", {"call_id": 9}, "the teacher writes a rationale for 7c1e0000… (call 9)"),
        ("review", {"domain": "logic"}, "domain: sets → logic"),
        ("ingest", {"status": "rejected", "reason": "retired"}, "status: candidate → rejected"),
    ],
)
def test_every_verb_has_its_words(start: Manifest, verb: str, values: dict[str, Any], line: str) -> None:
    after = start.commit(changed(start, PARENT, **values), verb=verb, parameters={"student": "smol"})
    assert sentences(after)[0] == line


def test_parents_beyond_four_are_counted(start: Manifest) -> None:
    parents = start.rows()["id"].to_list()
    new, _ = frames([{"prompt": "x", "id": CHILD, "source": "synthetic", "parents": parents[:6], "origin": "teacher:m#0"}])
    after = start.commit(pl.concat([start.rows(), new]), verb="synthesize")
    assert sentences(after, CHILD)[0].endswith(" and 2 more")


def test_students_that_learned_from_it_are_named(balanced: Manifest) -> None:
    folder = Path(balanced.root) / "manifests" / "runs" / "demo"
    folder.mkdir(parents=True)
    lines = [{"index": -1, "snapshot": "tail@1"}, {"index": 0, "snapshot": "tail@0"}, {"index": 1, "snapshot": "tail@1"}]
    (folder / "record.json").write_text(json.dumps([*lines, {"index": 1, "snapshot": "other@1"}]), encoding="utf-8")
    steps = {step.verb: step.lines for step in explain.explain(balanced, CHILD).steps}
    assert steps["train"] == ("the student of stage 1 of run demo learns from snapshot v1",)


def test_ids_are_cut_for_sentences() -> None:
    assert story.short(PARENT) == "7c1e0000…"
