"""Balance: what a stage promises, with a fake teacher and a fake encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from curate import progress
from curate.balance.balance import _Kept, _refill
from curate.balance.results import BalanceResult
from curate.errors import InputError, TeacherError, UnknownNameError
from curate.manifest import manifest as manifests
from curate.manifest.manifest import Manifest
from curate.manifest.rows import domain_counts
from curate.selection.base import Quotas
from curate.selection.select import select
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.terminal import commands
from tests.support.balancing import COUNTS, questions, run, teacher
from tests.support.samples import ingested


def achieved(result: BalanceResult) -> dict[str, int]:
    return {line["domain"]: line["achieved"] for line in result.to_dict()["domains"]}


@pytest.fixture
def start(tmp_path: Path) -> Manifest:
    return ingested(tmp_path, questions())


def results(**right: int) -> dict[str, Any]:
    """Return an evaluation on ten validation rows of each domain."""
    lines = [{"domain": domain, "n": 10, "correct": k} for domain, k in right.items()]
    return {"split": "validation", "domains": lines}


class TestNeed:
    def test_the_results_shape_the_stage_and_are_part_of_what_it_is(self, start: Manifest) -> None:
        common = {"budget": 20, "stages": 2, "policy": "need", "selector": "random"}
        first = run(start, stage=0, **common)
        again = run(first.manifest, stage=1, metrics=results(head=9, middle=1, tail=5), **common)
        other = run(again.manifest, stage=1, metrics=results(head=1, middle=9, tail=5), **common)
        same = run(other.manifest, stage=1, metrics=results(tail=5, middle=9, head=1), **common)
        assert again.stages[0].quotas.wanted["head"] < other.stages[0].quotas.wanted["head"]
        assert again.stages[0].quotas.wanted["middle"] > other.stages[0].quotas.wanted["middle"]
        assert (same.stages[0].reused, same.manifest) == (True, other.manifest)
        assert other.manifest.lineage()[-1].parameters["metrics"] == [["head", 10, 1], ["middle", 10, 9], ["tail", 10, 5]]

    def test_without_results_a_later_stage_says_that_it_is_adaptive(self, start: Manifest) -> None:
        heard: list[str] = []
        with progress.listen(lambda event: heard.append(event.message)):
            needy = run(start, budget=20, stages=2, policy="need", dry_run=True)
        usual = run(start, budget=20, stages=2, policy="adaptive", dry_run=True)
        assert [s.quotas for s in needy.stages] == [s.quotas for s in usual.stages]
        assert [line for line in heard if "no --metrics" in line] == [
            "stage 1: policy need has no --metrics, so its slots are those of adaptive"
        ]

    def test_results_that_nobody_looks_at_are_refused(self, start: Manifest) -> None:
        with pytest.raises(InputError, match="policy 'uniform' does not use --metrics; leave them out, or use --policy need"):
            run(start, budget=20, metrics=results(head=1))


class TestWithoutATeacher:
    def test_what_a_tail_lacks_goes_to_the_others_and_the_deficit_is_told(self, start: Manifest) -> None:
        result = run(start, budget=24)
        assert achieved(result) == {"head": 13, "middle": 8, "tail": 3}
        quotas = result.stages[0].quotas
        assert {d: n - quotas.planned[d] for d, n in quotas.wanted.items() if n > quotas.planned[d]} == {"tail": 5}
        assert result.manifest.rows().filter(status="selected").height == 24

    def test_every_row_is_still_there_and_says_why(self, start: Manifest) -> None:
        rows = run(start, budget=12, selector="random").manifest.rows()
        assert sorted(rows["id"]) == sorted(start.rows()["id"])
        assert rows["reason"].null_count() == 0
        passed = rows.filter(status="candidate")
        assert passed["reason"].str.starts_with("not chosen: ").all()

    def test_a_budget_above_what_exists_names_the_next_step(self, start: Manifest) -> None:
        with pytest.raises(InputError, match=r"only 41 are available; lower --budget, or name a --teacher"):
            run(start, budget=42)
        assert manifests.load("tail", root=start.root).version == 0

    def test_rows_of_other_splits_are_never_taken(self, tmp_path: Path) -> None:
        held = [{**row, "prompt": f"held out {row['prompt']}", "split": "test"} for row in questions()]
        start = ingested(tmp_path, [*questions(), *held])
        rows = run(start, budget=20, auditors=["malformed"]).manifest.rows()
        assert set(rows.filter(status="selected")["split"]) == {"train"}

    def test_a_tail_is_repeated_only_when_told(self, start: Manifest) -> None:
        result = run(start, budget=24, fill="repeat")
        assert achieved(result) == {"head": 8, "middle": 8, "tail": 8}
        repeats = result.manifest.rows().filter(pl.col("origin").str.starts_with("repeat:"))
        assert repeats.height == 5
        assert set(repeats["parents"].explode()) == set(start.rows().filter(domain="tail")["id"])
        assert result.manifest.rows()["id"].n_unique() == result.manifest.rows().height


class TestWithATeacher:
    def test_the_tail_keeps_its_real_rows_and_is_completed(self, start: Manifest) -> None:
        result = run(start, budget=24, teacher=teacher())
        assert achieved(result) == {"head": 8, "middle": 8, "tail": 8}
        tail = result.manifest.rows().filter(domain="tail", status="selected")
        assert tail["source"].value_counts().sort("source").rows() == [("real", 3), ("synthetic", 5)]
        assert tail["call_id"].null_count() == 0
        written = result.manifest.examples(tail.filter(source="synthetic"))
        assert written["parents"].list.len().min() >= 1
        assert written["rationale"].str.contains("The answer is: ").all()

    def test_a_rationale_that_came_is_a_new_content_row_under_the_same_id(self, start: Manifest) -> None:
        result = run(start, budget=9, teacher=teacher())
        chosen = result.manifest.examples(result.manifest.rows().filter(status="selected"))
        before = start.examples().select("id", "content", "prompt", old="rationale")
        both = chosen.join(before, on="id", suffix="_before")
        assert both.height == 9
        assert (both["content"] != both["content_before"]).all()
        assert both["old"].null_count() == 9
        assert both["prompt"].equals(both["prompt_before"])

    def test_a_wrong_rationale_costs_the_attempt_and_not_the_row(self, start: Manifest) -> None:
        result = run(start, budget=24, teacher=teacher(wrong=1))
        tail = result.manifest.rows().filter(domain="tail", source="real")
        assert set(tail["status"]) == {"selected"}
        assert set(tail["reason"]) == {"attempt 1: tried again, since its domain ran short"}
        found = json.loads(tail["findings"][0])
        assert [(f["auditor"], f["attempt"], f["stage"]) for f in found] == [("answer_mismatch", 0, 0)]
        assert result.stages[0].rejected["tail"] == {"answer_mismatch": 3}

    def test_a_head_passes_over_wrong_rows_without_losing_them(self, start: Manifest) -> None:
        wrong_first = {row["prompt"]: row["answer"] for row in questions() if row["domain"] != "head"}
        right = {row["prompt"]: row["answer"] for row in questions()}
        odd = {p: a if i % 2 else "0" for i, (p, a) in enumerate(right.items()) if p not in wrong_first}
        result = run(start, budget=24, teacher=Fake(right | odd))
        rows = result.manifest.rows().filter(domain="head")
        assert rows.filter(status="selected").height == 8
        assert rows.filter(status="rejected").is_empty()
        tried = rows.filter(status="candidate").filter(pl.col("findings").is_not_null())
        assert tried.height == result.stages[0].rejected["head"]["answer_mismatch"]

    def test_answer_only_takes_the_row_without_the_rationale(self, start: Manifest) -> None:
        result = run(start, budget=9, teacher=teacher(wrong=9), wrong_rationale="answer-only", fill="none")
        chosen = result.manifest.examples(result.manifest.rows().filter(status="selected"))
        assert chosen.height == 9
        assert chosen["rationale"].null_count() == 9

    def test_answer_only_does_not_save_a_row_that_leaks(self, tmp_path: Path) -> None:
        leaked = {**questions()[0], "split": "test"}
        start = ingested(tmp_path, [*questions(), leaked])
        result = run(start, budget=40, policy="natural", teacher=teacher(wrong=9), wrong_rationale="answer-only", fill="none")
        row = result.manifest.examples().filter(pl.col("prompt") == leaked["prompt"], pl.col("split") == "train")
        assert row.select("status", "reason").rows() == [("rejected", "leakage")]
        assert result.manifest.rows().filter(status="selected").height == 40

    def test_one_request_that_the_server_rejects_stops_nothing(self, start: Manifest) -> None:
        odd = questions()[3]["prompt"]

        def reject(request: Request, _: int) -> RawResponse | None:
            return RawResponse("failed", error="400: too long") if request.prompt == odd else None

        result = run(start, budget=30, policy="natural", teacher=teacher(script=reject))
        assert result.complete
        assert result.manifest.rows().filter(status="selected").height == 30

    def test_a_hint_shows_the_answer_at_the_second_try(self, start: Manifest) -> None:
        asked = teacher(wrong=1)
        run(start, budget=24, teacher=asked, wrong_rationale="hint")
        shown = [r for r in asked.sent if r.purpose == "rationale" and "The correct answer is" in r.messages[-1]["content"]]
        assert shown
        assert all(r.sample > 0 for r in shown)

    def test_a_domain_stops_after_its_attempts_and_its_places_move_to_real_rows(self, start: Manifest) -> None:
        def refuse(request: Request, _: int) -> RawResponse | None:
            return RawResponse.of("I cannot help with that.") if request.purpose == "synthesis" else None

        asked = teacher(script=refuse)
        result = run(start, budget=24, teacher=asked, max_attempts=2)
        stage = result.stages[0]
        assert sum(r.purpose == "synthesis" for r in asked.sent) == 13  # 2 for each of 8 places, less the 3 rationales
        assert stage.achieved == {"head": 13, "middle": 8, "tail": 3}
        assert stage.moved == {"head": 5, "tail": -5}
        refused = result.manifest.rows().filter(source="synthetic")
        assert set(refused["status"]) == {"rejected"}
        assert set(refused["reason"]) == {"malformed"}
        assert result.manifest.examples(refused)["extra"].str.contains("cannot help").all()

    def test_a_recorded_pool_that_ends_is_no_rejection(self, start: Manifest) -> None:
        stage = run(start, budget=24, teacher=teacher(new_examples=2)).stages[0]
        assert stage.quotas.planned == {"head": 10, "middle": 9, "tail": 5}
        assert stage.rejected == {}

    def test_every_call_failing_is_an_error_and_changes_nothing(self, start: Manifest) -> None:
        def fail(request: Request, _: int) -> RawResponse | None:
            return RawResponse("failed", error="400: context length exceeded")

        with pytest.raises(TeacherError, match="context length exceeded"):
            run(start, budget=9, teacher=teacher(script=fail))
        assert manifests.load("tail", root=start.root).version == 0

    def test_a_cap_commits_what_was_bought_and_the_same_command_goes_on(self, start: Manifest) -> None:
        first = run(start, budget=24, teacher=teacher(), max_calls=10)
        assert not first.complete
        assert first.stages[0].calls == 10
        assert sum(achieved(first).values()) <= 10
        asked = teacher()
        second = run(first.manifest, budget=24, teacher=asked)
        assert second.complete
        assert achieved(second) == {"head": 8, "middle": 8, "tail": 8}
        assert second.stages[0].saved == 10
        undisturbed = run(ingested(Path(start.root) / "other", questions()), budget=24, teacher=teacher())
        assert _story(second.manifest) == _story(undisturbed.manifest)

    def test_synthetic_rows_at_hand_are_used_before_any_is_bought(self, tmp_path: Path) -> None:
        own = [
            {
                "prompt": f"At the harbour {n} boats lie and {n} leave; how many stay?",
                "answer": "0",
                "domain": "tail",
                "source": "synthetic",
            }
            for n in (11, 12)
        ]
        start = ingested(tmp_path, [*questions(), *own])
        asked = teacher()
        result = run(start, budget=24, teacher=asked)
        assert sum(r.purpose == "synthesis" for r in asked.sent) == 3
        tail = result.manifest.rows().filter(domain="tail", status="selected", source="synthetic")
        assert tail.height == 5

    def test_keep_asks_nobody_for_rationales(self, start: Manifest) -> None:
        asked = teacher()
        run(start, budget=9, teacher=asked, rationales="keep")
        assert not asked.sent


def test_a_teacher_that_is_always_wrong_comes_to_an_end_within_its_allowance(start: Manifest) -> None:
    asked = teacher(wrong=99, new_examples=0)
    with pytest.raises(
        TeacherError, match="none of the first 48 rationales passes the auditors; the last: the rationale ends in"
    ):
        run(start, budget=24, teacher=asked, max_attempts=2)
    assert len(asked.sent) == 2 * 24
    assert manifests.load(start.name, root=start.root) == start


def test_a_teacher_that_is_always_wrong_costs_few_calls_however_many_are_wanted(tmp_path: Path) -> None:
    start = ingested(tmp_path, questions({"head": 90, "middle": 30}))
    asked = teacher(wrong=99)
    with pytest.raises(TeacherError, match="none of the first 40 rationales passes"):
        run(start, budget=100, teacher=asked)
    assert len(asked.sent) == 40
    with pytest.raises(TeacherError, match="none of the first 40 rationales passes"):
        run(start, budget=100, teacher=asked)
    assert len(asked.sent) == 40, "the replies are at hand"


def test_new_examples_that_are_always_wrong_are_given_up_and_rationales_go_on(tmp_path: Path) -> None:
    start = ingested(tmp_path, questions({"head": 90, "tail": 2}))

    def script(request: Request, _: int) -> RawResponse | None:
        return RawResponse.of("no example at all") if request.schema else None

    asked = Fake({row["prompt"]: row["answer"] for row in questions({"head": 90, "tail": 2})}, script=script)
    said: list[str] = []
    with progress.listen(lambda event: said.append(event.message)):
        done = run(start, budget=140, teacher=asked)
    assert sum(bool(request.schema) for request in asked.sent) == 40
    assert any("none of the first 40 new examples passes" in line for line in said)
    assert achieved(done) == {"head": 90, "tail": 2}
    assert done.complete


class TestStages:
    def test_stages_sum_to_the_budget_and_never_take_a_row_twice(self, start: Manifest) -> None:
        result = run(start, budget=31, stages=3, policy="adaptive", teacher=teacher())
        assert [stage.budget for stage in result.stages] == [10, 10, 11]
        rows = result.manifest.rows().filter(status="selected")
        assert rows.height == 31
        assert rows["id"].n_unique() == 31
        assert rows["stage"].value_counts().sort("stage").rows() == [(0, 10), (1, 10), (2, 11)]

    def test_what_a_bounded_teacher_wrote_for_earlier_stages_is_used_up(self, start: Manifest) -> None:
        result = run(start, budget=30, stages=2, teacher=teacher(new_examples=4))
        first, second = result.stages
        assert (first.quotas.planned["tail"], first.synthetic["tail"], first.version) == (5, 2, start.version + 1)
        assert (second.quotas.planned["tail"], second.synthetic["tail"], second.version) == (2, 2, start.version + 2)
        assert sum(second.achieved.values()) == 15

    def test_the_same_again_is_a_no_op(self, start: Manifest) -> None:
        once = run(start, budget=24, stages=2, teacher=teacher())
        asked = teacher()
        again = run(once.manifest, budget=24, stages=2, teacher=asked)
        assert again.manifest == once.manifest
        assert all(stage.reused for stage in again.stages)
        assert not asked.sent

    def test_other_parameters_start_again_and_say_what_they_undo(self, start: Manifest) -> None:
        once = run(start, budget=20, stages=2)
        again = run(once.manifest, budget=20, stages=2, stage=0, selector="random")
        assert again.undone == (1,)
        assert [c.parameters["stage"] for c in again.manifest.lineage() if c.verb == "balance"] == [0]
        assert again.manifest.rows().filter(status="selected").height == 10
        assert again.manifest.version == once.manifest.version + 1

    def test_nothing_is_bought_twice_when_a_stage_is_done_again(self, start: Manifest) -> None:
        once = run(start, budget=24, teacher=teacher())
        asked = teacher()
        run(once.manifest, budget=24, teacher=asked, max_attempts=4)
        assert not asked.sent

    def test_a_commit_meanwhile_is_kept_and_the_stage_is_replayed_on_top(self, start: Manifest) -> None:
        meanwhile: list[Manifest] = []

        def intrude(request: Request, _: int) -> RawResponse | None:
            if not meanwhile:
                rows = start.rows().with_columns(score=pl.lit(0.5))
                meanwhile.append(start.commit(rows, verb="annotate"))
            return None

        asked = teacher(script=intrude)
        result = run(start, budget=24, teacher=asked)
        assert [c.verb for c in result.manifest.log()] == ["ingest", "annotate", "balance"]
        assert set(result.manifest.rows().filter(source="real")["score"]) == {0.5}
        assert len(asked.sent) == len({(r.purpose, r.domain, r.prompt, r.sample) for r in asked.sent})  # nothing twice

    def test_a_stage_before_its_time_names_the_one_that_is_missing(self, start: Manifest) -> None:
        with pytest.raises(InputError, match="comes after stage 0, which is not done"):
            run(start, budget=20, stages=2, stage=1)

    def test_counts_stay_what_was_ingested(self, start: Manifest) -> None:
        result = run(start, budget=24, teacher=teacher(wrong=1))
        assert domain_counts(result.manifest.rows()) == COUNTS


class TestDryRun:
    def test_it_plans_what_the_run_does_also_after_a_first_run(self, start: Manifest) -> None:
        once = run(start, budget=24, teacher=teacher())
        dry = run(once.manifest, budget=30, teacher=teacher(), dry_run=True)
        real = run(once.manifest, budget=30, teacher=teacher())
        assert dry.stages[0].quotas == real.stages[0].quotas
        assert run(real.manifest, budget=30, teacher=teacher(), dry_run=True).stages[0].reused

    def test_it_needs_no_key(self, start: Manifest) -> None:
        estimate = run(start, budget=24, teacher="openai", model="gpt-4o-mini", dry_run=True).stages[0].estimate
        assert estimate is not None
        assert estimate.usd is not None
        assert estimate.usd > 0

    def test_it_plans_and_prices_and_changes_nothing(self, start: Manifest) -> None:
        asked = teacher()
        result = run(start, budget=24, stages=2, teacher=asked, dry_run=True)
        assert not asked.sent
        assert result.manifest == start
        planned = [stage.quotas.planned for stage in result.stages]
        assert sum(planned[0].values()) + sum(planned[1].values()) == 24
        estimates = [stage.estimate for stage in result.stages if stage.estimate]
        assert sum(e.examples for e in estimates) == 5
        assert sum(e.rationales for e in estimates) == 19
        assert all(e.usd == 0 for e in estimates)

    def test_without_a_teacher_it_says_what_filling_the_tail_would_take(self, start: Manifest) -> None:
        estimate = run(start, budget=24, dry_run=True, model="unheard-of").stages[0].estimate
        assert estimate is not None
        assert (estimate.examples, estimate.usd) == (5, None)


def test_an_old_version_is_refused(start: Manifest) -> None:
    run(start, budget=9)
    with pytest.raises(InputError, match="works on the newest version, tail@1, got tail@0"):
        run(start, budget=12)


def test_repeats_do_not_count_as_what_was_ingested(start: Manifest) -> None:
    assert domain_counts(run(start, budget=24, fill="repeat").manifest.rows()) == COUNTS


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"budget": 0}, InputError, "budget"),
        ({"budget": 9, "policy": "unifrom"}, UnknownNameError, "did you mean 'uniform'"),
        ({"budget": 9, "selector": "represent"}, UnknownNameError, "did you mean 'representative'"),
        ({"budget": 9, "auditors": ["leekage"]}, UnknownNameError, "did you mean 'leakage'"),
        ({"budget": 9, "rationales": "all"}, UnknownNameError, "--rationales"),
        ({"budget": 9, "rationales": "teacher"}, InputError, "needs a --teacher"),
        ({"budget": 9, "max_attempts": 0}, InputError, "--max-attempts"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_read(
    start: Manifest, parameters: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(start, **parameters)


@settings(max_examples=15)
@given(
    budget=st.integers(4, 60),
    stages=st.integers(1, 4),
    wrong=st.integers(0, 1),
    policy=st.sampled_from(["natural", "uniform", "adaptive"]),
)
def test_the_budget_comes_exactly_while_real_rows_last_and_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, budget: int, stages: int, wrong: int, policy: str
) -> None:
    start = ingested(tmp_path_factory.mktemp("root"), questions())
    try:
        result = run(start, budget=budget, stages=stages, policy=policy, teacher=teacher(wrong=wrong))
    except TeacherError:
        if wrong:  # and nothing else than wrong answers came for long
            return
        raise
    rows = result.manifest.rows()
    chosen = rows.filter(status="selected")
    real = start.rows().height
    if wrong:  # a domain stops after its judged replies, however many rows are left
        assert chosen.height <= budget
    else:
        assert chosen.height == budget or (budget > real and chosen.height >= real)
    assert set(start.rows()["id"]) <= set(rows["id"])
    assert rows["id"].n_unique() == rows.height


@given(
    st.dictionaries(st.sampled_from("abcde"), st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=1),
    st.integers(0, 3),
)
def test_what_a_stage_kept_is_taken_off_its_slots_and_together_they_are_the_budget(
    domains: dict[str, tuple[int, int]], extra: int
) -> None:
    planned = {domain: n for domain, (n, _) in domains.items()}
    budget = sum(planned.values()) + extra  # where not all slots can be filled, fewer are planned
    kept = {domain: n for domain, (_, n) in domains.items() if n}
    if sum(kept.values()) > budget:
        return
    refill = _refill(Quotas(dict(planned), dict(planned), budget), _Kept(sum(kept.values()), kept))
    assert refill.budget == budget - sum(kept.values())
    assert sum(refill.planned.values()) == min(
        refill.budget, sum(max(0, n - kept.get(domain, 0)) for domain, n in planned.items())
    )
    assert all(0 <= n <= planned[domain] for domain, n in refill.planned.items())
    if not kept:
        assert refill == Quotas(planned, planned, budget)


def _story(manifest: Manifest) -> list[dict[str, Any]]:
    """Return rows without what the order of buying decides (the ledger's call numbers)."""
    strip: Callable[[str | None], Any] = lambda text: [  # noqa: E731
        {k: v for k, v in f.items() if k != "call_id"} for f in json.loads(text or "[]")
    ]
    rows = manifest.rows().drop("call_id").sort("id").to_dicts()
    return [{**row, "findings": strip(row["findings"])} for row in rows]


class TestPrompts:
    def test_several_examples_per_call_fill_the_same_places_and_cost_is_told_per_row(self, tmp_path: Path) -> None:
        start = ingested(tmp_path, questions())
        asked = teacher()
        done = run(start, budget=36, teacher=asked, rows_per_call=4, selector="random")
        assert achieved(done) == {"head": 12, "middle": 12, "tail": 12}
        orders = [(request.domain, request.sample, len(request.wanted) or 1) for request in asked.sent if request.schema]
        assert orders == [("middle", 0, 4), ("tail", 0, 4), ("tail", 4, 4), ("tail", 8, 1)]
        told = done.to_dict()
        assert told["written"] == 13
        assert told["tokens_per_written"] == done.stages[0].tokens_per_written
        assert 0 < told["tokens_per_written"] * 13 < told["tokens"]
        assert told["usd_per_written"] == 0.0
        again = run(done.manifest, budget=36, teacher=asked, rows_per_call=4, selector="random")
        assert again.stages[0].reused
        assert again.to_dict()["tokens_per_written"] == told["tokens_per_written"]
        with pytest.raises(InputError, match="--rows-per-call must be at least 1, got 0"):
            run(done.manifest, budget=36, teacher=asked, rows_per_call=0)

    def test_the_same_rows_come_of_a_replay(self, tmp_path: Path) -> None:
        common = {"budget": 36, "rows_per_call": 3, "selector": "random"}
        one = run(ingested(tmp_path / "one", questions()), teacher=teacher(wrong=1, concurrency=1), **common)
        two = run(ingested(tmp_path / "two", questions()), teacher=teacher(wrong=1, concurrency=8), **common)
        assert one.manifest.rows().equals(two.manifest.rows())

    def test_the_answer_is_shown_on_request(self, start: Manifest) -> None:
        for show in (False, True):
            asked = teacher()
            run(start, budget=6, teacher=asked, show_answer=show, selector="random", dry_run=False)
            turns = [request.messages[-1]["content"] for request in asked.sent if request.purpose == "rationale"]
            assert turns
            assert all(("The correct answer is" in turn) == show for turn in turns)
            start = manifests.load(start.name, root=start.root)


# What was selected counts, and nothing better is replaced


@given(n=st.integers(1, 6), budget=st.integers(2, 41), stages=st.integers(1, 2))
@settings(max_examples=12, deadline=None)
def test_what_select_chose_counts_towards_the_budget(
    tmp_path_factory: pytest.TempPathFactory, n: int, budget: int, stages: int
) -> None:
    root = tmp_path_factory.mktemp("selected")
    chosen = select(ingested(root, questions()), n=n, selector="random").manifest
    there = chosen.rows().filter(status="selected").height
    options = {"budget": budget, "stages": stages, "fill": "none", "rationales": "none", "selector": "random"}
    if there > budget // stages:
        with pytest.raises(InputError, match=r"are selected without a stage, as by curate select, already: .*unselect --all"):
            run(chosen, **options)
        return
    rows = run(chosen, **options).manifest.rows()
    assert rows.filter(status="selected").height == budget
    before = chosen.rows().filter(status="selected")["id"]
    assert rows.filter(pl.col("id").is_in(before.implode()))["status"].unique().to_list() == ["selected"]


def test_a_stage_that_a_cap_stopped_takes_the_place_of_no_better_one(start: Manifest) -> None:
    options = {"budget": 9, "selector": "random", "rationales": "teacher", "teacher": teacher()}
    done = run(start, **options)
    assert sum(achieved(done).values()) == 9
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        stopped = run(done.manifest, **options | {"seed": 1, "max_calls": 12})
    assert not stopped.complete
    assert manifests.load("tail", root=start.root).version == done.manifest.version == stopped.manifest.version
    assert any(f"and {done.manifest} has 9 of it: that one stays" in note for note in notes)
    again = run(stopped.manifest, **options | {"seed": 1})
    assert again.complete
    assert again.manifest.version == done.manifest.version + 1


# Long answers are what is trained on


def _letters(tmp_path: Path) -> Manifest:
    """Return a manifest of instructions whose answers are long texts, no two alike."""
    rows = [
        {
            "prompt": f"Write a letter of a {word} to a friend about the {word}s that were seen in {i + 3} villages.",
            "answer": f"Dear friend, on my way I saw {' and '.join([word] * (i + 9))}, and of each I drew a picture for you.",
            "domain": "letters",
        }
        for i, word in enumerate(["stork", "miller", "fiddler", "sailor", "poacher", "weaver"])
    ]
    return ingested(tmp_path, rows, name="letters")


def _asked(start: Manifest, **options: Any) -> tuple[BalanceResult, list[Request], str]:
    """Return a stage of six rows of a manifest, what its teacher was asked, and the notes."""
    notes: list[str] = []
    fake = Fake()
    with progress.listen(lambda event: notes.append(event.message)):
        done = run(start, budget=6, selector="random", auditors=["malformed"], teacher=fake, **options)
    return done, fake.sent, "\n".join(notes)


def test_a_long_answer_is_trained_on_as_it_is_unless_rationales_are_asked_for(tmp_path: Path) -> None:
    start = _letters(tmp_path)
    plan, sent, notes = _asked(start, dry_run=True)
    assert sent == []
    assert "long answers of 'letters' are trained on as they are; --rationales teacher asks" in notes
    assert plan.stages[0].estimate is not None
    assert plan.stages[0].estimate.calls == 0
    done, sent, _ = _asked(start)
    chosen = done.manifest.examples(done.manifest.rows().filter(status="selected"))
    assert (sent, chosen.height, chosen["rationale"].null_count()) == ([], 6, 6)


def test_the_plan_shows_what_is_asked_and_what_is_trained_on(tmp_path: Path) -> None:
    start = _letters(tmp_path)
    _, _, notes = _asked(start, rationales="teacher", dry_run=True)
    assert "--rationales teacher asks, for example: Write a letter of a " in notes
    assert "and the student is then trained on: [the teacher's reply] The answer is: Dear friend" in notes
    _, sent, _ = _asked(start, rationales="teacher")
    assert {request.purpose for request in sent} == {"rationale"}
    assert len({request.prompt for request in sent}) == 6


def test_a_stage_that_could_not_fill_its_slots_ends_with_status_4_and_says_so(start: Manifest) -> None:
    def refuse(request: Request, _: int) -> RawResponse | None:
        return RawResponse.of("I cannot help with that.") if request.purpose == "synthesis" else None

    def go() -> BalanceResult:
        newest = manifests.load(start.name, root=start.root)
        return run(newest, budget=sum(COUNTS.values()) + 4, teacher=teacher(script=refuse), max_attempts=2)

    app = commands.make_app("t", "A test.")
    commands.command(app, "Work", name="go")(go)
    commands.command(app, "Work", name="other")(lambda: None)
    for _ in range(2):  # the second time the stage is there already, and as short as it was
        ended = CliRunner().invoke(app, ["go"])
        assert ended.exit_code == commands.STOPPED
        assert "slots stay empty, so this ends with exit status 4" in " ".join(ended.stdout.split())
