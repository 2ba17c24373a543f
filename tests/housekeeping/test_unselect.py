"""Selected rows back to candidates: as they were before, and `balance` fills exactly what is open, from the ledger."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import progress
from curate.balance.results import BalanceResult
from curate.errors import InputError, ManifestNotFoundError, UnknownNameError
from curate.files import ledger_path
from curate.housekeeping.unselect import unselect
from curate.ledger.ledger import Ledger
from curate.manifest.history import done_stages
from curate.manifest.manifest import Manifest, load
from curate.manifest.rows import append_findings, read_findings
from curate.report.explain import explain
from curate.selection import policies
from curate.selection.select import select
from tests.support.balancing import ENCODER, questions, run, teacher
from tests.support.samples import ingested

COUNTS = {"head": 20, "middle": 8, "tail": 2}
AUDITORS = ("malformed", "answer_mismatch")


def balanced(root: Path, *, budget: int = 18, stages: int = 2, **options: Any) -> BalanceResult:
    """Balance with a teacher that writes rationales, and new examples of the tail."""
    return again(ingested(root, questions(COUNTS)), budget=budget, stages=stages, **options)


def again(manifest: Manifest, *, budget: int = 18, stages: int = 2, **options: Any) -> BalanceResult:
    return run(manifest, **{"budget": budget, "stages": stages, "teacher": teacher(), "auditors": AUDITORS, **options})


def selected(manifest: Manifest) -> pl.DataFrame:
    return manifest.rows().filter(status="selected")


def attempts(manifest: Manifest) -> int:
    """Return how often a teacher was asked."""
    ledger = Ledger(ledger_path(manifest.root))
    try:
        return int(ledger.query("SELECT COUNT(*) FROM attempts")[0][0])
    finally:
        ledger.close()


def test_a_real_row_is_as_before_it_was_selected_and_a_synthetic_one_stays(tmp_path: Path) -> None:
    done = balanced(tmp_path).manifest
    first = load("tail@0", root=tmp_path)
    found = unselect(done, all=True)
    rows = found.manifest.rows()
    real, synthetic = rows.filter(source="real"), rows.filter(source="synthetic")
    back = pl.col("id").is_in(selected(done)["id"].implode())
    columns = ["id", "content", "n_chars", "status", "stage", "call_id"]
    assert real.filter(back).sort("id").select(columns).equals(first.rows().filter(back).sort("id").select(columns))
    assert real.filter(back)["reason"].null_count() == real.filter(back).height == 18 - found.synthetic
    kept = selected(done).filter(source="synthetic")
    assert (
        synthetic.sort("id")
        .select("id", "content", "call_id")
        .equals(done.rows().filter(source="synthetic").sort("id").select("id", "content", "call_id"))
    )
    assert set(synthetic.filter(pl.col("id").is_in(kept["id"].implode()))["status"]) == {"candidate"}
    assert (found.rows, found.synthetic, found.undone) == (18, kept.height, (0, 1))
    assert found.synthetic > 0
    assert rows.height == done.rows().height, "no row is lost"


@pytest.mark.parametrize(
    "what",
    [{"all": True}, {"stage": 0}, {"stage": 1}, {"domains": ["tail"]}, {"domains": ["head", "middle"]}, {"domains": ["middle"]}],
)
def test_balance_fills_exactly_what_is_open_and_buys_nothing_that_it_has(tmp_path: Path, what: dict[str, Any]) -> None:
    before = balanced(tmp_path)
    bought = attempts(before.manifest)
    found = unselect(before.manifest, **what)
    assert set(done_stages(found.manifest)) == {0, 1} - set(found.undone)
    after = again(found.manifest)
    assert selected(after.manifest).height == 18
    assert Counter(selected(after.manifest)["stage"]) == {0: 9, 1: 9}
    assert Counter(selected(after.manifest)["domain"]) == Counter(selected(before.manifest)["domain"])
    assert attempts(after.manifest) == bought, "every reply is in the ledger"
    assert [stage.reused for stage in after.stages] == [stage not in found.undone for stage in (0, 1)]
    assert sum(sum(stage.achieved.values()) for stage in after.stages) == 18
    assert after.manifest.rows()["id"].is_unique().all()
    settled = again(after.manifest)
    assert settled.manifest == after.manifest, "and then it is done"


def test_the_rows_that_stay_selected_stay_as_they_are(tmp_path: Path) -> None:
    before = balanced(tmp_path).manifest
    after = again(unselect(before, domains=["middle"]).manifest).manifest
    same = ["id", "content", "stage", "status", "call_id"]
    others = pl.col("domain") != "middle"
    assert selected(before).filter(others).sort("id").select(same).equals(selected(after).filter(others).sort("id").select(same))


def test_a_stage_may_be_filled_otherwise_after_that(tmp_path: Path) -> None:
    before = balanced(tmp_path).manifest
    back = unselect(before, stage=0).manifest
    assert Counter(selected(back)["stage"]) == {1: 9}
    first = again(back, seed=5, selector="random")
    assert Counter(selected(first.manifest)["stage"]) == {0: 9, 1: 9}
    second = again(first.manifest, seed=6, selector="random")
    assert Counter(selected(second.manifest)["stage"]) == {0: 9, 1: 9}
    assert list(done_stages(second.manifest)) == [0, 1]
    assert {commit.parameters["selector"] for commit in done_stages(second.manifest).values()} == {"random"}


def test_a_stage_is_planned_as_if_nothing_of_it_or_of_later_ones_were_there(tmp_path: Path) -> None:
    taken: list[int] = []

    def spying(counts: Any, **given: Any) -> Any:
        taken.append(sum(given["taken"].values()))
        return policies.uniform(counts, **given)

    before = balanced(tmp_path, policy=spying).manifest
    back = unselect(before, domains=["middle"]).manifest
    again(back, policy=spying)
    assert taken == [0, 9, 0, 9]


def test_the_plan_says_the_whole_stage_and_costs_only_what_is_open(tmp_path: Path) -> None:
    before = balanced(tmp_path).manifest
    back = unselect(before, domains=["tail"]).manifest
    plan = again(back, dry_run=True)
    assert [sum(stage.quotas.planned.values()) for stage in plan.stages] == [9, 9]
    assert sum(stage.estimate.calls for stage in plan.stages if stage.estimate is not None) <= 2 * 6


def test_a_smaller_budget_than_what_stayed_says_what_to_do(tmp_path: Path) -> None:
    back = unselect(balanced(tmp_path).manifest, domains=["tail"]).manifest
    with pytest.raises(InputError, match=r"stage 0 has a budget of 2 rows, and 6 are selected .* curate unselect --stage 0"):
        again(back, budget=4)


def test_a_rationale_that_a_row_came_with_is_kept_and_a_written_one_goes(tmp_path: Path) -> None:
    rows = [{**row, "rationale": f"Well. The answer is: {row['answer']}" if n % 2 else None} for n, row in enumerate(questions())]
    start = ingested(tmp_path, rows)
    done = again(start, budget=30, stages=1, fill="none").manifest
    back = unselect(done, all=True).manifest
    assert sorted(back.rows()["content"]) == sorted(start.rows()["content"])
    assert sorted(done.rows()["content"]) != sorted(start.rows()["content"])


def test_wrong_rationales_are_not_bought_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"budget": 15, "stages": 1, "fill": "none", "teacher": teacher(wrong=1), "max_attempts": 3}
    before = again(ingested(tmp_path, questions()), **options).manifest
    assert selected(before)["findings"].is_not_null().any()
    bought, back = attempts(before), unselect(before, all=True).manifest
    assert back.rows()["findings"].null_count() == back.rows().height
    after = again(back, **options).manifest
    assert attempts(after) == bought
    columns = ["id", "content", "status", "reason", "call_id", "findings"]
    assert after.rows().sort("id").select(columns).equals(before.rows().sort("id").select(columns)), "it is all as it was"


def test_what_others_found_and_what_was_found_in_other_domains_stays(tmp_path: Path) -> None:
    options: dict[str, Any] = {"budget": 15, "stages": 1, "fill": "none", "teacher": teacher(wrong=1), "max_attempts": 3}
    before = again(ingested(tmp_path, questions()), **options).manifest
    noted = json.dumps([{"auditor": "leakage", "score": 0.1, "decision": "note", "because_of": None, "message": "far"}])
    rows = (
        before.rows().with_columns(noted=pl.lit(noted)).with_columns(findings=append_findings("noted", "findings")).drop("noted")
    )
    back = unselect(before.commit(rows, verb="audit"), domains=["tail"]).manifest.rows()
    stages: dict[bool, set[int | None]] = {True: set(), False: set()}
    for domain, text in back.select("domain", "findings").iter_rows():
        stages[domain == "tail"] |= {finding.get("stage") for finding in read_findings(text)}
    assert stages == {True: {None}, False: {None, 0}}


def test_repeats_go_and_are_made_anew(tmp_path: Path) -> None:
    options: dict[str, Any] = {"fill": "repeat", "teacher": None, "auditors": ("malformed",), "rationales": "none"}
    before = balanced(tmp_path, **options).manifest
    repeats = before.rows().filter(pl.col("origin").str.starts_with("repeat:"))
    assert repeats.height > 0
    found = unselect(before, domains=["tail"])
    assert (found.repeats, found.rows) == (repeats.height, 2)
    assert not found.manifest.rows()["origin"].str.starts_with("repeat:").any()
    after = again(found.manifest, **options).manifest
    assert selected(after).height == 18
    assert after.rows()["id"].is_unique().all()


def test_rows_that_select_chose_have_no_stage_to_undo(tmp_path: Path) -> None:
    start = ingested(tmp_path, questions())
    chosen = select(start, n=2, selector="random", encoder=ENCODER).manifest
    found = unselect(chosen, all=True)
    assert (found.rows, found.undone) == (6, ())
    assert set(found.manifest.rows()["status"]) == {"candidate"}


def test_single_rows_by_their_ids(tmp_path: Path) -> None:
    done = balanced(tmp_path).manifest
    one, two = selected(done)["id"][0], selected(done)["id"][5]
    found = unselect(done, ids=[one, two[:12]])
    assert set(selected(done)["id"]) - set(selected(found.manifest)["id"]) == {one, two}
    assert found.manifest.log()[-1].parameters["ids"] == [one, two[:12]]
    with pytest.raises(InputError, match=f"row {one} of tail@3 is not selected but candidate: leave it out"):
        unselect(found.manifest, ids=[one])
    with pytest.raises(ManifestNotFoundError, match="no row whose id begins with '0123456789'"):
        unselect(found.manifest, ids=["0123456789"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "takes one of --stage, --domain, --id and --all, got 0 of them"),
        ({"all": True, "stage": 0}, "got 2 of them"),
        ({"stage": 5}, r"--stage 5: rows are selected by stages \[0, 1\]"),
        ({"domains": ["tial"]}, "unknown domain 'tial'; did you mean 'tail'"),
    ],
)
def test_what_cannot_be_meant_is_an_error_and_changes_nothing(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    done = balanced(tmp_path).manifest
    with pytest.raises((InputError, UnknownNameError), match=reason):
        unselect(done, **given)
    with pytest.raises(InputError, match="works on the newest version, tail@2, got tail@1"):
        unselect(load("tail@1", root=tmp_path), all=True)
    assert load("tail", root=tmp_path) == done


def test_where_nothing_is_selected_nothing_is_committed(tmp_path: Path) -> None:
    start = ingested(tmp_path, questions())
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        assert unselect(start, all=True).manifest == start
    assert notes == ["tail@0: no selected row is among them, nothing was committed"]
    with pytest.raises(InputError, match="--stage 0: no row is selected by a stage"):
        unselect(start, stage=0)


def test_explain_says_it(tmp_path: Path) -> None:
    done = balanced(tmp_path).manifest
    row_id = selected(done).filter(stage=1, source="real")["id"][0]
    found = unselect(done, stage=1).manifest
    lines = {step.verb: step.lines for step in explain(found, row_id).steps}
    assert lines["unselect"] == ("taken back: it was selected in stage 1, and is a candidate again",)


@given(
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"stage": st.integers(0, 2)}),
            st.fixed_dictionaries({"domains": st.lists(st.sampled_from(list(COUNTS)), min_size=1, unique=True)}),
            st.fixed_dictionaries({"ids": st.lists(st.integers(0, 20), min_size=1, max_size=4)}),
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=8)
def test_whatever_is_taken_back_the_budget_comes_out_exactly(
    tmp_path_factory: pytest.TempPathFactory, course: list[dict[str, Any]]
) -> None:
    manifest = balanced(tmp_path_factory.mktemp("unselect"), budget=17, stages=3).manifest
    options = {"budget": 17, "stages": 3}
    for what in course:
        if "ids" in what:
            ids = selected(manifest)["id"].to_list()
            what = {"ids": sorted({ids[n] for n in what["ids"] if n < len(ids)})}
        if what.get("ids") == []:
            continue
        if what.get("stage") not in (None, *selected(manifest)["stage"]):
            continue
        manifest = unselect(manifest, **what).manifest
    after = again(manifest, **options).manifest
    assert Counter(selected(after)["stage"]) == {0: 5, 1: 6, 2: 6}
    assert after.rows()["id"].is_unique().all()
    assert Counter(selected(after)["domain"])["tail"] >= 5, "and each domain has its share"
