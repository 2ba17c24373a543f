"""The round engine: what is asked and in which order, what is judged, what becomes of a row, and when the work ends.

No ledger, no disk, no encoder that is loaded: rows in memory, a teacher's stand-in, a context made by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from curate import progress
from curate.audit.base import Context, Finding
from curate.balance.pool import Pool
from curate.balance.rounds import ENOUGH, PILOT, RoundPlan, RoundRunner, RoundsResult, fill_slots
from curate.balance.settings import BalanceSettings
from curate.errors import TeacherError
from curate.manifest.rows import write_findings
from curate.selection.base import Quotas
from curate.teachers.base import Reply, Request
from tests.support.asking import ScriptedAsker, example, stored
from tests.support.samples import corpus

AUDITORS = ("malformed", "answer_mismatch", "near_duplicate")
WRONG = "So it is. The answer is: 99999"


def questions(domain: str, n: int, **changes: Any) -> list[dict[str, Any]]:
    """Return real candidates; their ids sort by domain and number."""
    return [
        {
            "id": f"{domain}-{i:03}",
            "origin": f"{domain}.jsonl:{i + 1}",
            "domain": domain,
            "prompt": f"{domain} {i}: {i * 17} + {i * 5}?",
            "answer": str(i * 22),
            **changes,
        }
        for i in range(n)
    ]


def right(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {row["prompt"]: row.get("answer", "") for row in rows}


class Stage:
    """One stage over rows in memory.

    Args:
        examples: that it starts from.
        planned: slots per domain.
        script: of the teacher; None for one that is right.
        asks: whether there is a teacher.
        settings: of `balance`, where they are not the usual ones.
    """

    def __init__(
        self,
        examples: Sequence[dict[str, Any]],
        planned: Mapping[str, int],
        script: Any = None,
        *,
        asks: bool = True,
        **settings: Any,
    ) -> None:
        self.manifest, self.rows = stored(examples)
        self.asker = ScriptedAsker(script, right(examples))
        self.quotas = Quotas(wanted=dict(planned), planned=dict(planned), budget=sum(planned.values()))
        usual: dict[str, Any] = {"budget": self.quotas.budget, "selector": "random", "auditors": AUDITORS}
        self.settings = BalanceSettings(**{**usual, **settings})
        self.asks = asks
        self.context = corpus(dict.fromkeys(planned, "number"))

    def run(self) -> RoundsResult:
        self.heard: list[str] = []
        with progress.listen(lambda event: self.heard.append(event.message)):
            return fill_slots(
                self.manifest,
                self.rows,
                self.quotas,
                settings=self.settings,
                stage=0,
                context=self.context,
                asker=self.asker if self.asks else None,
            )

    def asked(self) -> list[list[tuple[str, str, int]]]:
        """Return what each call of the teacher asked for: (purpose, domain, sample)."""
        return [[(r.purpose, r.domain, r.sample) for r in call] for call in self.asker.calls]


def rows_of(done: RoundsResult) -> pl.DataFrame:
    return done.decisions.rows().sort("id")


def wrong_rationales(request: Request) -> str | None:
    """Every rationale is wrong, every new example is right."""
    return WRONG if request.purpose == "rationale" else None


class TestWhatIsAsked:
    def test_real_rows_come_first_then_synthetic_ones_that_wait_then_new_examples(self) -> None:
        waits = {"id": "w", "domain": "sums", "prompt": "Boats: 5 come and 6 go?", "answer": "11", "source": "synthetic"}
        stage = Stage([*questions("sums", 2), waits], {"sums": 5})
        done = stage.run()
        assert stage.asked() == [[("rationale", "sums", 0)] * 2, [("synthesis", "sums", 0), ("synthesis", "sums", 1)]]
        assert (done.achieved, done.synthetic, done.written, done.complete) == ({"sums": 5}, {"sums": 3}, 2, True)
        assert rows_of(done).filter(id="w").select("status", "reason").rows() == [("selected", "fills the tail")]

    def test_no_more_is_asked_for_than_there_are_slots(self) -> None:
        stage = Stage(questions("sums", 9), {"sums": 4})
        assert stage.run().achieved == {"sums": 4}
        assert len(stage.asker.requests) == 4

    def test_rows_that_failed_before_come_after_fresh_ones_and_before_new_examples(self) -> None:
        tried = write_findings([{"auditor": "answer_mismatch", "attempt": 0}])
        rows = questions("sums", 3)
        rows[0]["findings"] = tried
        stage = Stage(rows, {"sums": 4})
        assert stage.run().achieved == {"sums": 4}
        assert stage.asked() == [[("rationale", "sums", 0)] * 2 + [("rationale", "sums", 1)], [("synthesis", "sums", 0)]]
        assert stage.asker.calls[0][2].prompt == rows[0]["prompt"]

    def test_requests_are_in_the_order_of_domains_whatever_the_order_of_the_rows(self) -> None:
        rows = [*questions("b", 2), *questions("a", 2), *questions("c", 2)]
        stage, turned = Stage(rows, {"c": 3, "a": 3, "b": 3}), Stage(rows[::-1], {"b": 3, "c": 3, "a": 3})
        done, again = stage.run(), turned.run()
        assert [domain for _, domain, _ in stage.asked()[0]] == ["a", "a", "b", "b", "c", "c"]
        assert [domain for _, domain, _ in stage.asked()[1]] == ["a", "b", "c"]
        assert stage.asker.requests == turned.asker.requests
        assert rows_of(done).equals(rows_of(again))

    def test_indices_of_new_examples_go_on_from_what_was_asked_before(self) -> None:
        earlier = {
            "id": "e",
            "domain": "sums",
            "prompt": "p",
            "source": "synthetic",
            "origin": "teacher:m#4",
            "status": "rejected",
        }
        stage = Stage([earlier], {"sums": 2})
        stage.run()
        assert stage.asked() == [[("synthesis", "sums", 5), ("synthesis", "sums", 6)]]

    def test_without_a_teacher_nobody_is_asked_and_rows_are_taken_as_they_are(self) -> None:
        stage = Stage(questions("sums", 2), {"sums": 3}, asks=False)
        done = stage.run()
        assert (stage.asker.calls, done.achieved, done.judged) == ([], {"sums": 2}, 0)

    def test_what_replaces_a_rejected_reply_is_marked_as_a_refill(self) -> None:
        stage = Stage([], {"a": 1, "b": 1}, lambda r: "no example" if (r.domain, r.sample) == ("a", 0) else None)
        stage.run()
        assert [(r.domain, r.sample, r.refill) for r in stage.asker.requests] == [
            ("a", 0, False),
            ("b", 0, False),
            ("a", 1, True),
        ]

    @pytest.mark.parametrize(("rationales", "asked"), [("auto", 1), ("teacher", 2), ("keep", 0), ("none", 0)])
    def test_which_rationales_are_asked_for(self, rationales: str, asked: int) -> None:
        rows = questions("sums", 2)
        rows[0]["rationale"] = f"Mine. The answer is: {rows[0]['answer']}"
        stage = Stage(rows, {"sums": 2}, rationales=rationales)
        done = stage.run()
        assert len(stage.asker.requests) == asked
        kept = {c["rationale"] for c in done.decisions.contents().to_dicts()}
        theirs = "So it is. The answer is: "
        assert (
            kept
            == {
                "auto": {rows[0]["rationale"], theirs + rows[1]["answer"]},
                "teacher": {theirs + row["answer"] for row in rows},
                "keep": {rows[0]["rationale"], None},
                "none": {None},
            }[rationales]
        )


class TestWrongRationales:
    def test_only_the_attempt_is_lost_and_the_row_is_asked_again_when_its_domain_runs_short(self) -> None:
        rows = questions("sums", 2)
        stage = Stage(rows, {"sums": 2}, lambda r: WRONG if r.sample == 0 else None)
        done = stage.run()
        assert stage.asked() == [[("rationale", "sums", 0)] * 2, [("rationale", "sums", 1)] * 2]
        assert done.achieved == {"sums": 2}
        assert done.rejected == {"sums": {"answer_mismatch": 2}}
        assert set(rows_of(done)["reason"]) == {"attempt 1: tried again, since its domain ran short"}

    def test_a_head_takes_other_rows_and_the_wrong_ones_stay_candidates_without_a_stage(self) -> None:
        """A candidate keeps no stage: it was not used, and the next stage may choose it."""
        rows = questions("sums", 6)
        odd = {row["prompt"] for row in rows[1::2]}
        done = Stage(rows, {"sums": 3}, lambda r: WRONG if r.prompt in odd else None).run()
        after = rows_of(done)
        assert after.filter(status="selected").height == 3
        left = after.filter(pl.col("findings").is_not_null())
        assert left.height == done.rejected["sums"]["answer_mismatch"] > 0
        assert set(left["status"]) == {"candidate"}
        assert left["stage"].null_count() == left.height

    def test_an_ingested_rationale_that_is_wrong_is_replaced_by_the_teachers(self) -> None:
        """A row whose own rationale was judged wrong is asked for; judging the same text again would never come to an end."""
        judged = Counter[str]()
        stage = Stage(questions("sums", 2, rationale=WRONG), {"sums": 2}, auditors=[_watching(judged), "answer_mismatch"])
        done = stage.run()
        assert stage.asked() == [[("rationale", "sums", 0)] * 2], "the ingested one was no sample of the teacher's"
        assert done.achieved == {"sums": 2}
        assert set(judged.values()) == {2}

    def test_a_wrong_rationale_that_is_to_be_kept_is_not_tried_again(self) -> None:
        stage = Stage(questions("sums", 2, rationale=WRONG), {"sums": 2}, rationales="keep", fill="none")
        done = stage.run()
        assert (stage.asker.calls, done.achieved) == ([], {"sums": 0})
        assert set(rows_of(done)["status"]) == {"candidate"}

    def test_a_row_is_asked_at_most_as_often_as_there_are_attempts(self) -> None:
        rows = questions("sums", 1)
        stage = Stage(rows, {"sums": 1}, wrong_rationales, max_attempts=3, fill="none")
        done = stage.run()
        assert stage.asked() == [[("rationale", "sums", n)] for n in range(3)]
        assert done.achieved == {"sums": 0}

    def test_hint_shows_the_answer_from_the_second_attempt_on(self) -> None:
        rows = questions("sums", 2)
        stage = Stage(rows, {"sums": 2}, lambda r: WRONG if r.sample == 0 else None, wrong_rationale="hint")
        assert stage.run().achieved == {"sums": 2}
        shown = [(r.sample, "The correct answer is" in r.messages[-1]["content"]) for r in stage.asker.requests]
        assert shown == [(0, False), (0, False), (1, True), (1, True)]

    def test_answer_only_takes_the_row_without_its_rationale(self) -> None:
        rows = questions("sums", 3)
        one = rows[1]["prompt"]
        done = Stage(rows, {"sums": 3}, lambda r: WRONG if r.prompt == one else None, wrong_rationale="answer-only").run()
        assert (done.achieved, done.rejected) == ({"sums": 3}, {})
        rationales = {c["prompt"]: c["rationale"] for c in done.decisions.contents().to_dicts()}
        assert [rationales[row["prompt"]] is None for row in rows] == [False, True, False]

    def test_a_real_row_that_is_unfit_itself_is_rejected_for_good(self) -> None:
        rows = questions("sums", 2, answer="")
        stage = Stage(rows, {"sums": 1}, rationales="none", fill="none")
        done = stage.run()
        assert done.rejected == {"sums": {"malformed": 2}}
        assert set(rows_of(done).select("status", "stage").rows()) == {("rejected", 0)}


def _watching(judged: Counter[str]) -> Any:
    """Return an auditor that finds nothing and counts how often it sees a row."""

    def watching(batch: pl.DataFrame, context: Context) -> Iterable[Finding]:
        judged.update(batch["id"])
        assert max(judged.values()) < 9, "the same rationale is judged again and again"
        return []

    return watching


class TestNewExamples:
    def test_a_duplicate_of_an_earlier_round_is_rejected(self) -> None:
        """What a round accepted is known to the next one."""
        texts = {
            0: example("Ten boats and 3?", 13),
            1: "no example",
            2: example("Ten boats and 3?", 13),
            3: example("Six cats and 1?", 7),
        }
        stage = Stage([], {"sums": 2}, lambda r: texts[r.sample])
        done = stage.run()
        assert [len(call) for call in stage.asker.calls] == [2, 1, 1]
        assert done.rejected == {"sums": {"malformed": 1, "near_duplicate": 1}}
        synthetic = done.decisions.rows()
        assert synthetic.filter(status="selected")["origin"].to_list() == ["teacher:fake#0", "teacher:fake#3"]

    def test_what_was_accepted_is_named_to_the_teacher_and_what_was_rejected_is_not(self) -> None:
        texts = {0: example("Ten boats and 3?", 13), 1: example("Nine dogs and 2?", 11, said=5), 2: example("Six cats and 1?", 7)}
        stage = Stage([], {"sums": 2}, lambda r: texts[r.sample])
        stage.run()
        last = str(stage.asker.calls[-1][0].messages)
        assert ("Ten boats" in last, "Nine dogs" in last) == (True, False)

    def test_a_domain_stops_after_its_attempts_for_each_slot_rationales_counted_with_them(self) -> None:
        rows = questions("sums", 1)
        stage = Stage(rows, {"sums": 3}, lambda r: "no example" if r.purpose == "synthesis" else None, max_attempts=2)
        done = stage.run()
        assert len(stage.asker.requests) == 2 * 3
        assert (done.achieved, done.judged) == ({"sums": 1}, 6)

    def test_a_teacher_without_a_further_example_of_a_domain_is_asked_for_none_of_it(self) -> None:
        ended = Reply(status="unanswered")
        stage = Stage([], {"a": 3, "b": 2}, lambda r: ended if r.domain == "a" and r.sample else None)
        done = stage.run()
        assert len(stage.asker.calls) == 1
        assert (done.achieved, done.unanswered, done.complete) == ({"a": 1, "b": 2}, 2, True)

    @pytest.mark.parametrize("fill", ["none", "repeat"])
    def test_without_fill_by_the_teacher_no_new_example_is_asked_for(self, fill: str) -> None:
        stage = Stage(questions("sums", 2), {"sums": 5}, fill=fill)
        done = stage.run()
        assert {purpose for call in stage.asked() for purpose, _, _ in call} == {"rationale"}
        assert done.achieved == {"sums": 5 if fill == "repeat" else 2}
        assert done.decisions.rows().height == (5 if fill == "repeat" else 2)

    def test_several_examples_of_one_reply_are_judged_one_by_one(self) -> None:
        stage = Stage([], {"sums": 4}, lambda r: _several(r), rows_per_call=2)
        done = stage.run()
        assert [(r.sample, len(r.wanted) or 1) for r in stage.asker.requests] == [(0, 2), (2, 2)]
        assert (done.achieved, done.written) == ({"sums": 4}, 4)


def _several(request: Request) -> str:
    made = [
        example(f"Heap {n} has {n} and {n * 9}?", n * 10)
        for n in range(request.sample, request.sample + (len(request.wanted) or 1))
    ]
    return made[0] if len(made) == 1 else f'{{"examples": [{", ".join(made)}]}}'


class TestTheEndOfTheWork:
    def test_slots_move_to_real_rows_of_other_domains_once(self) -> None:
        done = Stage([*questions("a", 9), *questions("b", 1)], {"a": 4, "b": 4}, asks=False).run()
        assert (done.achieved, done.moved, done.complete) == ({"a": 7, "b": 1}, {"a": 3, "b": -3}, True)

    def test_slots_that_nobody_can_fill_stay_empty(self) -> None:
        done = Stage([*questions("a", 2), *questions("b", 1)], {"a": 4, "b": 4}, asks=False).run()
        assert done.achieved == {"a": 2, "b": 1}

    def test_slots_never_move_to_be_bought_elsewhere(self) -> None:
        stage = Stage([], {"a": 3, "b": 3}, lambda r: Reply(status="unanswered") if r.domain == "a" else None)
        done = stage.run()
        assert (done.achieved, len(stage.asker.requests)) == ({"a": 0, "b": 3}, 6)

    def test_a_cap_stops_the_work_and_what_was_bought_counts(self) -> None:
        rows = questions("sums", 4)
        asked: list[Request] = []

        def script(request: Request) -> Reply | None:
            asked.append(request)
            return None if len(asked) <= 2 else Reply(status="capped", error="--max-calls 2")

        stage = Stage(rows, {"sums": 6}, script)
        done = stage.run()
        assert (done.complete, done.achieved, done.unanswered) == (False, {"sums": 2}, 0)
        assert [len(call) for call in stage.asker.calls] == [4, 2], "the round is asked for to its end, and no other is"

    def test_requests_that_the_server_rejects_are_left_out(self) -> None:
        rows = questions("sums", 3)
        failed = Reply(status="rejected", error="400: too long")
        stage = Stage(rows, {"sums": 2}, lambda r: failed if r.prompt == rows[0]["prompt"] else None, selector=_by_id)
        done = stage.run()
        assert (done.complete, done.achieved) == (True, {"sums": 2})
        assert any("rejected 1 of 2 requests, which are left out; the first: 400: too long" in line for line in stage.heard)

    def test_where_every_call_fails_nothing_was_done(self) -> None:
        stage = Stage(questions("sums", 3), {"sums": 2}, lambda r: Reply(status="failed", error="400: bad"))
        with pytest.raises(TeacherError, match="every one of 2 calls failed; the first: 400: bad"):
            stage.run()


def _by_id(pool: pl.DataFrame, *, n: int, **_: Any) -> Any:
    from curate.selection.base import partition

    ordered = pool.select("id").sort("id").with_row_index("at")
    nothing = pl.lit(None, pl.String)
    return partition(ordered.select("id", kept=pl.col("at") < n, reason=pl.lit("by id"), score=pl.lit(0.0), because_of=nothing))


class TestATeacherThatIsAlwaysWrong:
    def test_the_first_rationales_are_of_all_domains_in_turn(self) -> None:
        """The first 40 that are judged are spread over the round; a teacher may be wrong in the first domain alone."""
        rows = [*questions("a", 60), *questions("b", 60), *questions("c", 40)]
        stage = Stage(rows, {"a": 60, "b": 60, "c": 40})
        stage.run()
        pilot, rest = stage.asker.calls
        assert Counter(r.domain for r in pilot) == {"a": 15, "b": 15, "c": 10}
        assert len(pilot) == PILOT
        assert Counter(r.domain for r in [*pilot, *rest]) == {"a": 60, "b": 60, "c": 40}
        assert len({(r.domain, r.prompt) for r in [*pilot, *rest]}) == 160

    def test_the_first_new_examples_are_of_all_domains_in_turn(self) -> None:
        stage = Stage([], {"a": 60, "b": 20})
        stage.run()
        pilot, rest = stage.asker.calls
        assert Counter(r.domain for r in pilot) == {"a": 30, "b": 10}
        assert {(r.domain, r.sample) for r in [*pilot, *rest]} == {*(("a", n) for n in range(60)), *(("b", n) for n in range(20))}

    def test_a_pilot_is_bought_once(self) -> None:
        rows = questions("a", 45)
        stage = Stage(rows, {"a": 45}, lambda r: WRONG if r.sample == 0 and r.prompt != rows[44]["prompt"] else None)
        stage.run()
        assert [len(call) for call in stage.asker.calls] == [40, 5, 44]

    def test_a_small_round_has_no_pilot(self) -> None:
        stage = Stage(questions("a", PILOT), {"a": PILOT})
        stage.run()
        assert [len(call) for call in stage.asker.calls] == [PILOT]

    def test_rationales_end_the_stage(self) -> None:
        stage = Stage(questions("a", 90), {"a": 80}, wrong_rationales)
        with pytest.raises(
            TeacherError, match=r"none of the first 40 rationales passes the auditors; the last: the rationale ends in '9"
        ):
            stage.run()
        assert len(stage.asker.requests) == PILOT

    @pytest.mark.parametrize(("n", "ends"), [(ENOUGH - 1, False), (ENOUGH, True)])
    def test_after_so_many_and_not_before(self, n: int, ends: bool) -> None:
        stage = Stage(questions("a", n), {"a": n}, wrong_rationales, max_attempts=1, fill="none")
        if ends:
            with pytest.raises(TeacherError, match=f"none of the first {ENOUGH} rationales"):
                stage.run()
        else:
            assert stage.run().achieved == {"a": 0}

    def test_a_single_good_reply_is_enough_to_go_on(self) -> None:
        rows = questions("a", 50)
        good = rows[0]["prompt"]
        stage = Stage(rows, {"a": 50}, lambda r: None if r.prompt == good else WRONG, max_attempts=2, fill="none")
        assert stage.run().achieved == {"a": 1}
        assert len(stage.asker.requests) == 99

    def test_new_examples_are_given_up_in_every_domain_and_rationales_go_on(self) -> None:
        rows = questions("head", 60)
        stage = Stage(rows, {"head": 60, "a": 50, "b": 50}, lambda r: "no example" if r.purpose == "synthesis" else None)
        done = stage.run()
        asked = Counter(r.purpose for r in stage.asker.requests)
        assert asked == {"rationale": 60, "synthesis": PILOT}
        assert done.achieved == {"a": 0, "b": 0, "head": 60}
        assert done.complete
        (said,) = [line for line in stage.heard if "none of" in line]
        assert said.startswith("none of the first 40 new examples passes the auditors; the last: ")
        assert said.endswith("no more are bought in this stage")
        assert "curate ledger tail --call " in said


class TestTheEngineOfEveryVerb:
    """What `annotate` and `synthesize` leave as it is in `RoundRunner`."""

    def runner(self, script: Any, pools: dict[str, Pool], examples: Sequence[dict[str, Any]] = ()) -> RoundRunner:
        manifest, rows = stored(examples)
        self.asker = ScriptedAsker(script, right(examples))
        context = corpus(dict.fromkeys(pools, "number"))
        return RoundRunner(
            manifest=manifest, rows=rows, pools=pools, context=context, asker=self.asker, auditors=AUDITORS, max_attempts=5
        )

    def test_it_asks_for_a_pilot_first_and_goes_on_though_nothing_passes(self) -> None:
        done = self.runner(lambda r: "no example", {"a": Pool("a", 60)}).run("work")
        assert [len(call) for call in self.asker.calls] == [40, 20, 60, 60, 60, 60]
        assert (done.complete, done.achieved, done.judged) == (True, {"a": 0}, 300)

    def test_failed_calls_stop_it_and_what_came_is_judged(self) -> None:
        done = self.runner(lambda r: Reply(status="failed") if r.sample == 1 else None, {"a": Pool("a", 3)}).run("work")
        assert (done.complete, done.achieved, len(self.asker.calls)) == (False, {"a": 2}, 1)

    def test_it_chooses_no_real_rows_but_annotates_those_that_it_is_given(self) -> None:
        rows = questions("a", 3)
        runner = self.runner(None, {"a": Pool("a", 3)}, rows)
        assert not runner.choose({"a": 3})
        runner.run_round(RoundPlan(real=[row["id"] for row in rows]))
        assert [r.prompt for r in self.asker.requests] == [row["prompt"] for row in rows]
        assert runner.result().achieved == {"a": 3}

    def test_what_was_paid_is_summed_over_rejected_replies_too(self) -> None:
        done = self.runner(lambda r: "no example" if r.sample == 0 else None, {"a": Pool("a", 2)}).run("work")
        assert (done.written, done.judged, done.cost.tokens) == (2, 3, 45)

    def test_an_empty_round_changes_nothing(self) -> None:
        runner = self.runner(lambda r: Reply(status="unanswered"), {"a": Pool("a", 1)})
        context = runner.context
        runner.run_round(RoundPlan(new=[("a", 0)]))
        assert runner.context is context
        assert (runner.result().judged, runner.result().unanswered) == (0, 1)
