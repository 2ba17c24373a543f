"""Runs rounds: rows are annotated, missing ones are written, all are judged, and what is still short is asked for again.

`RoundRunner` is the one engine of every verb that asks a teacher. A `RoundPlan` says what a round asks for, the auditors judge
what comes back, and `RoundRunner.accept` and `RoundRunner.reject` record what becomes of each row. `fill_slots` runs it for one
stage of `balance`; `curate.balance.annotate` and `curate.balance.synthesize` change the few methods in which they differ.

A round's requests are made in the order of domain and index, and its replies are judged in that order, never in the order of
arrival, so the same ledger gives the same rows. Nothing here sets a stage's quotas or commits (`curate.balance.balance` does).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import Auditor, Context, as_they_are
from curate.audit.kinds import with_said_kinds
from curate.balance.decisions import CANDIDATE_ROWS, Decisions, as_candidate_rows
from curate.balance.pool import Pool, open_pools
from curate.balance.preview import Preview
from curate.balance.settings import BalanceSettings
from curate.errors import TeacherError
from curate.generation.examples import Cost, cost, write_examples
from curate.generation.rationales import RATIONALES, write_rationales
from curate.manifest.chats import conversations
from curate.manifest.manifest import Manifest
from curate.manifest.rows import may_be_shown, not_chosen, several_labels
from curate.manifest.schema import conform
from curate.selection import policies
from curate.selection.base import Quotas
from curate.selection.selectors import choose_each
from curate.teachers.base import Asker

__all__ = ["RoundPlan", "RoundRunner", "RoundsResult", "Verdict", "fill_slots"]

PILOT = 40  # replies of a kind that a stage has judged before it buys the rest of a round
ENOUGH = 32  # judged replies of a kind; where none of so many passes, no more are bought
_KINDS = 3  # of refusals, whose words are shown
_NUMBERS = re.compile(r"\d+")
_OF_RATIONALES = ("answer_mismatch", "malformed")  # auditors that may find fault with the rationale and not with the row


@dataclass
class RoundPlan:
    """What one round does.

    Attributes:
        real: ids of real rows, to be judged with the rationale that they have or that is asked for.
        waiting: ids of synthetic candidates to be judged.
        new: (domain, index) of new examples to be asked for.
    """

    real: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    new: list[tuple[str, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.real or self.waiting or self.new)


@dataclass(frozen=True)
class Verdict:
    """What the auditors say of one row.

    Attributes:
        row: a row of `CANDIDATE_ROWS`.
        auditor: that rejects it, or None.
        findings: of every auditor that saw it, as `curate.audit.base.FINDINGS` has them.
    """

    row: dict[str, Any]
    auditor: str | None
    findings: list[dict[str, Any]]

    @property
    def kind(self) -> str | None:
        """Which kind of reply was judged, ``"rationales"`` or ``"new examples"``; None where no teacher was asked."""
        if self.row["call_id"] is None:
            return None
        return "new examples" if self.row["new"] else "rationales"


@dataclass(frozen=True)
class RoundsResult:
    """What the rounds achieved.

    Attributes:
        decisions: the rows that changed and the content to append first.
        achieved: rows accepted per domain; a row of several labels counts in each.
        synthetic: those of them that are synthetic, per domain.
        rejected: per domain, how often each auditor rejected a reply or a row.
        moved: slots per domain that it was given, or gave up, because some domains could not fill theirs.
        unanswered: requests that a recorded teacher had no answer for.
        complete: False where a cap stopped the work.
        judged: replies of the teacher that were judged.
        written: new examples of the teacher that were accepted.
        cost: of all that it wrote of them, rejected ones included.
        rows: rows accepted, each once.
    """

    decisions: Decisions
    achieved: dict[str, int]
    synthetic: dict[str, int]
    rejected: dict[str, dict[str, int]]
    moved: dict[str, int]
    unanswered: int
    complete: bool
    judged: int
    written: int
    cost: Cost
    rows: int


@dataclass(kw_only=True)
class RoundRunner:
    """Runs the rounds of one verb over the pools of its domains.

    Verbs differ in the methods `choose` (which real rows), `parts` (how much at once), `wants_rationale`, `judge`, `accept`,
    `reject`, `on_failed` and `on_none_passes`; what a method does here is what `synthesize` and `annotate` share.

    Attributes:
        manifest: where content is read from.
        rows: every row that the rounds start from, columns of `curate.manifest.schema.SCHEMA`.
        pools: per domain, in the order in which it is asked for.
        context: what the auditors compare with; grows with each round by what was accepted.
        asker: takes requests to a teacher; None where there is none.
        auditors: names or callables, in the order in which they judge.
        stage: its index, from 0; None outside stages.
        attempts: how many rationales of each real row were judged so far, by id: the number of the next sample.
        max_attempts: judged replies per slot before a domain stops.
        rationale_options: keyword arguments of `write_rationales`.
        example_options: keyword arguments of `write_examples`.
        labels: id → labels of the rows that are in the pools of several; each is asked for once and counts for all of them.
        preview: keeps the replies of a preview, which ends after one round.
        answered_before: the model answered in an earlier run, so that it is the rows' fault where every request is refused.
        stopped: a cap, failed calls or a teacher that is always wrong ended the work.
    """

    manifest: Manifest
    rows: pl.DataFrame
    pools: dict[str, Pool]
    context: Context
    asker: Asker | None
    auditors: Sequence[str | Auditor]
    stage: int | None = None
    attempts: Counter[str] = field(default_factory=Counter)
    max_attempts: int = 1
    rationale_options: Mapping[str, Any] = field(default_factory=dict)
    example_options: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    preview: Preview | None = None
    answered_before: bool = False
    stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.decisions = Decisions(self.rows, stage=self.stage)
        self.judged, self.passed = Counter[str](), Counter[str]()  # by kind of reply
        self.moved = Counter[str]()
        self.unanswered = self.written = self.accepted = 0
        self.cost = Cost()
        self.chosen_for: dict[str, str] = {}  # id of a row of several labels → the one whose slot it is to fill

    # --- the rounds ---

    def run(self, label: str) -> RoundsResult:
        """Run rounds until every domain has its slots filled, has nothing left to try, or the work is stopped.

        Args:
            label: of the progress.
        """
        with progress.step(label, sum(pool.target for pool in self.pools.values())) as counter:
            while not self.stopped:
                plan = self.plan_round()
                if self.preview is not None:
                    self.preview.share(examples=bool(plan.new))
                if plan:
                    for part in self.parts(plan):
                        before = self._n_accepted()
                        self.run_round(part)
                        rejected = sum(pool.rejected.total() for pool in self.pools.values())
                        counter.advance(self._n_accepted() - before, rejected=rejected)
                    self.stopped |= self.preview is not None
                elif not self.move_slots():
                    break
        self.check_answered()
        return self.result()

    def check_answered(self) -> None:
        """Refuse to end as if all were well where a teacher has no answer to anything that was asked.

        Raises:
            TeacherError: names the teacher; nothing was changed.
        """
        if self.preview is None and self.asker is not None and self.unanswered and not self.judged and not self._n_accepted():
            raise TeacherError(
                f"none of the {self.unanswered:,} requests has an answer in {self.asker.teacher.model!r}, so nothing was done "
                "and nothing was changed: was it recorded for other questions or domains?"
            )

    def plan_round(self) -> RoundPlan:
        """Plan untried real rows first, then synthetic rows that wait, then real rows again, then new examples.

        A row of several labels is planned for the first of them that has an open slot, and fills one of each.
        """
        plan, promised = RoundPlan(), Counter[str]()
        # Domains that share rows choose one by one, all others at once.
        at_once = {} if self.labels else self.choose({name: self._missing(pool) for name, pool in self.pools.items()})
        for pool in self.pools.values():
            missing = self._missing(pool, promised[pool.name])
            chosen = at_once.get(pool.name, []) if not self.labels else self.choose({pool.name: missing}).get(pool.name, [])
            missing -= len(chosen)
            waiting, pool.waiting = pool.waiting[:missing], pool.waiting[missing:]
            missing -= len(waiting)
            again, pool.retry = pool.retry[:missing], pool.retry[missing:]
            missing -= len(again)
            promised += self._share(pool, [*chosen, *waiting, *again])
            plan.real += chosen + again
            plan.waiting += waiting
            if self.asker is not None and not pool.exhausted:
                plan.new += [(pool.name, pool.next_index + n) for n in range(missing)]
                pool.next_index += missing
        return plan

    def _missing(self, pool: Pool, promised: int = 0) -> int:
        """Return how many rows a domain tries for; it stops after so many judged replies per slot, of rows and new examples."""
        return max(0, min(pool.open_slots - promised, self.max_attempts * pool.target - pool.judged))

    def _share(self, pool: Pool, ids: Sequence[str]) -> Counter[str]:
        """Take rows that a domain has chosen out of the pools of their other labels; return how many each is promised."""
        others: dict[str, set[str]] = {}
        for row_id in ids:
            if row_id in self.labels:
                self.chosen_for[row_id] = pool.name
                for other in set(self.labels[row_id]) & set(self.pools) - {pool.name}:
                    others.setdefault(other, set()).add(row_id)
        for other, of_it in others.items():
            self.pools[other].take_out(of_it)
        return Counter({other: len(of_it) for other, of_it in others.items()})

    def _pools_of(self, row: Mapping[str, Any]) -> list[Pool]:
        """Return the pools of a row's labels."""
        return [self.pools[label] for label in self.labels.get(row["id"], (row["domain"],)) if label in self.pools]

    def run_round(self, plan: RoundPlan) -> None:
        """Have a round's rows annotated and written, judge them in order, and accept or reject each."""
        batch = pl.concat([self.annotated(plan.real), self.stored(plan.waiting), self._new(plan.new)])
        if batch.is_empty():
            return
        verdicts = self.judge(batch)
        for verdict in verdicts:
            if self.preview is not None:
                self.preview.record(verdict.row, verdict.auditor, verdict.findings)
            self._settle(verdict)
        for kind, last in {verdict.kind: verdict for verdict in verdicts}.items():
            if self.preview is None and kind is not None and self.judged[kind] >= ENOUGH and not self.passed[kind]:
                self.on_none_passes(kind, last)
        accepted = [verdict.row["id"] for verdict in verdicts if verdict.auditor is None]
        self.context = audit.with_accepted(self.context, batch.filter(pl.col("id").is_in(accepted)))

    def move_slots(self) -> bool:
        """Give the slots that some domains cannot fill to rows left in others; return whether any is open again.

        A domain that could not fill its slots is closed: it gets no further ones, so this comes to an end.
        """
        short = [pool for pool in self.pools.values() if pool.open_slots]
        if not short:
            return False
        for pool in short:
            pool.closed = True
        capacity: dict[str, int | None] = {
            pool.name: pool.accepted + (0 if pool.closed else pool.n_left) for pool in self.pools.values()
        }
        wanted = {pool.name: pool.target for pool in self.pools.values()}
        slots = policies.water_fill(wanted, capacity, sum(wanted.values()))
        for name, pool in self.pools.items():
            self.moved[name] += slots[name] - pool.target
            pool.target = slots[name]
        return any(pool.open_slots for pool in self.pools.values())

    def result(self) -> RoundsResult:
        """Return what the rounds achieved so far."""
        pools = self.pools.values()
        return RoundsResult(
            decisions=self.decisions,
            achieved={pool.name: pool.accepted for pool in pools},
            synthetic={pool.name: pool.synthetic for pool in pools},
            rejected={pool.name: dict(sorted(pool.rejected.items())) for pool in pools if pool.rejected},
            moved={name: n for name, n in self.moved.items() if n},
            unanswered=self.unanswered,
            complete=not self.stopped,
            judged=self.judged.total(),
            written=self.written,
            cost=self.cost,
            rows=self.accepted,
        )

    def _n_accepted(self) -> int:
        """Return how many slots are filled."""
        return sum(min(pool.accepted, pool.target) for pool in self.pools.values())

    # --- what is asked ---

    def choose(self, wanted: Mapping[str, int]) -> dict[str, list[str]]:
        """Take ids out of the untried rows of domains, of each up to so many as are wanted; one that has none may be left out."""
        return {}

    def parts(self, plan: RoundPlan) -> Iterator[RoundPlan]:
        """Yield a pilot of all domains first, of rationales and of new examples: a teacher may be wrong every time."""
        if self.asker is not None and not self.judged["rationales"] and len(plan.real) > PILOT:
            pilot = plan.real[:: len(plan.real) // PILOT][:PILOT]
            yield RoundPlan(real=pilot)
            plan = RoundPlan([row_id for row_id in plan.real if row_id not in pilot], plan.waiting, plan.new)
        if self.asker is not None and not self.judged["new examples"] and len(plan.new) > PILOT and not self.stopped:
            first = plan.new[:: len(plan.new) // PILOT][:PILOT]
            yield RoundPlan(plan.real, plan.waiting, first)
            plan = RoundPlan(new=[new for new in plan.new if new not in first and not self.pools[new[0]].exhausted])
        if plan and not self.stopped:
            yield plan

    def wants_rationale(self, rows: pl.DataFrame) -> pl.Series:
        """Return for which real rows, columns of `CANDIDATE_ROWS`, a rationale is asked."""
        return rows["rationale"].is_null()

    def ask_rationales(self, rows: pl.DataFrame, asker: Asker) -> pl.DataFrame:
        """Ask for the next sample of each row's rationale; return columns of `RATIONALES`, in the order of the rows."""
        return self._ask_rationales(rows, asker, **self.rationale_options)

    def _ask_rationales(self, rows: pl.DataFrame, asker: Asker, **options: Any) -> pl.DataFrame:
        if rows.is_empty():
            return pl.DataFrame(schema=RATIONALES)
        sample = pl.Series([self.attempts[row_id] for row_id in rows["id"]], dtype=pl.Int64)
        asked = rows.select("id", "prompt", "answer", "messages", "domain", "kind", sample=sample)
        return write_rationales(asked, asker, context=self.context, refills=self._refills(), **options)

    def ask_examples(self, new: Sequence[tuple[str, int]], asker: Asker) -> pl.DataFrame:
        """Ask for new examples, each a (domain, index); return columns of `curate.generation.examples.EXAMPLES`."""
        return write_examples(
            pl.DataFrame(new, schema={"domain": pl.String, "index": pl.Int64}, orient="row"),
            asker,
            seeds=self.manifest.examples(may_be_shown(self.rows, {domain for domain, _ in new})),
            context=self.context,
            refills=self._refills(),
            **self.example_options,
        )

    def _refills(self) -> set[str]:
        """Return the domains where something was rejected, so that what is asked now replaces it."""
        return {pool.name for pool in self.pools.values() if pool.rejected}

    # --- what is judged, as frames of CANDIDATE_ROWS ---

    def stored(self, ids: Sequence[str]) -> pl.DataFrame:
        """Return rows of the manifest with their content, in the order of `ids`."""
        if not ids:
            return pl.DataFrame(schema=CANDIDATE_ROWS)
        order = pl.DataFrame({"id": ids}, schema={"id": pl.String})
        rows = order.join(self.rows, on="id", maintain_order="left")
        examples = self.manifest.examples(rows).with_columns(new=pl.lit(False), call_id=pl.lit(None, pl.Int64))
        return conform(with_said_kinds(examples), CANDIDATE_ROWS, drop=True)

    def annotated(self, ids: Sequence[str]) -> pl.DataFrame:
        """Return real rows with the rationale to judge; a row whose rationale was asked for and did not come is left out."""
        rows = self.stored(ids)
        if self.asker is None or rows.is_empty():
            return rows
        asked = rows.filter(self.wants_rationale(rows))
        replies = self.ask_rationales(asked, self.asker)
        self._count_statuses(replies)
        self.on_refused(asked, replies.filter(status="rejected"))
        answered = replies.filter(status="answered").select("id", "rationale", "finish_reason", "call_id", attempt="sample")
        annotated = asked.drop("rationale", "finish_reason", "call_id", "attempt").join(answered, on="id", maintain_order="left")
        kept = rows.join(asked, on="id", how="anti", maintain_order="left")
        return pl.concat([kept, annotated.select(CANDIDATE_ROWS.names())])

    def _new(self, new: Sequence[tuple[str, int]]) -> pl.DataFrame:
        """Have new examples written; a reply that cannot be read becomes a row too, with the raw reply kept."""
        if not new or self.asker is None:
            return pl.DataFrame(schema=CANDIDATE_ROWS)
        replies = self.ask_examples(new, self.asker)
        self._count_statuses(replies)
        self.cost += cost(replies)
        for name in replies.filter(status="unanswered")["domain"].unique():
            self.pools[name].exhausted = True
        for name in replies.filter(status="rejected")["domain"]:
            self.pools[name].judged += 1  # an attempt, so that a domain whose requests are all rejected comes to an end
        return as_candidate_rows(replies, self.asker.teacher.model)

    def _count_statuses(self, replies: pl.DataFrame) -> None:
        """Count what was not answered, and stop at a cap."""
        counts = Counter(replies["status"].to_list())
        self.unanswered += counts["unanswered"]
        self.stopped |= counts["capped"] > 0
        if self.preview is not None:  # which shows what each server said
            return
        if n := counts["rejected"]:
            if n == replies.height and not self.judged.total() and not self.answered_before:
                raise TeacherError(f"every one of {n} requests was rejected; the first: {_errors(replies, 'rejected')[0]}")
            self.on_rejected(_errors(replies, "rejected"), replies.height)
        if counts["failed"]:
            self.on_failed(_errors(replies, "failed"), replies.height)

    def on_rejected(self, errors: Sequence[str], n: int) -> None:
        """Pass over what the server rejects, and say why; what it never takes is no work that is left.

        Args:
            errors: what the server said, of each.
            n: requests of the round.
        """
        kinds: dict[str, list[str]] = {}
        for error in errors:
            kinds.setdefault(_NUMBERS.sub("", error), []).append(error)
        for alike in sorted(kinds.values(), key=len, reverse=True)[:_KINDS]:
            progress.note(
                "teacher", f"the server rejected {len(alike)} of {n} requests, which are left out; the first: {alike[0]}"
            )

    def on_refused(self, asked: pl.DataFrame, replies: pl.DataFrame) -> None:
        """Record which rows' rationales the server rejects; by default nothing.

        Args:
            asked: the rows, columns of `CANDIDATE_ROWS`.
            replies: of those that were rejected, columns of `curate.generation.rationales.RATIONALES`.
        """

    def on_failed(self, errors: Sequence[str], n: int) -> None:
        """Stop where requests fail however often they are sent; what was answered is still judged.

        Args:
            errors: of each.
            n: requests of the round.
        """
        progress.note("teacher", f"{len(errors)} of {n} requests failed at every try; the first: {errors[0]}")
        self.stopped = True

    # --- who decides ---

    def judge(self, batch: pl.DataFrame) -> list[Verdict]:
        """Return the auditors' verdict on each row of a batch, in its order."""
        judgement = audit.judge(batch, self.context, auditors=self.auditors)
        found = judgement.by_row()
        return [Verdict(row, judgement.rejected.get(row["id"]), found.get(row["id"], [])) for row in batch.iter_rows(named=True)]

    def _settle(self, verdict: Verdict) -> None:
        """Count a verdict, and record what becomes of its row."""
        pool = self.pools[self.chosen_for.get(verdict.row["id"], verdict.row["domain"])]
        if verdict.kind is not None:
            pool.judged += 1
            self.judged[verdict.kind] += 1
            self.passed[verdict.kind] += verdict.auditor is None
        if verdict.auditor is None:
            self.accepted += 1
            for counted in self._pools_of(verdict.row):
                counted.accepted += 1
                counted.synthetic += verdict.row["source"] == "synthetic"
            self.written += verdict.row["new"]
            self.accept(verdict)
        else:
            pool.rejected[verdict.auditor] += 1
            self.reject(verdict, verdict.auditor)

    def accept(self, verdict: Verdict) -> None:
        """Record a row that every auditor lets pass."""
        self.decisions.accept(verdict.row, verdict.findings)

    def reject(self, verdict: Verdict, auditor: str) -> None:
        """Record a row that an auditor rejects."""
        self.decisions.reject(verdict.row, auditor, verdict.findings, keep_candidate=False)

    def on_none_passes(self, kind: str, last: Verdict) -> None:
        """React to a kind of reply of which none has passed so far, `ENOUGH` of them or more; by default go on.

        Args:
            kind: ``"rationales"`` or ``"new examples"``.
            last: the last verdict on one.
        """

    def none_passes(self, kind: str, last: Verdict) -> str:
        """Return a sentence for `on_none_passes`: how many were judged, why the last was rejected, and how to see it."""
        shown = f"curate ledger {self.manifest.name} --call {last.row['call_id']} shows it"
        reason = f"the last: {last.findings[0]['message']} ({shown})"
        old = self.asker is not None and not self.asker.n_bought
        cached = "; all of them were bought before, and --fresh asks for them again" if old else ""
        return f"none of the first {self.judged[kind]} {kind} passes the auditors; {reason}{cached}"


def _errors(replies: pl.DataFrame, status: str) -> list[str]:
    return [error or "" for error in replies.filter(status=status)["error"]]


def fill_slots(
    manifest: Manifest,
    rows: pl.DataFrame,
    quotas: Quotas,
    *,
    settings: BalanceSettings,
    stage: int,
    context: Context,
    asker: Asker | None,
    preview: Preview | None = None,
) -> RoundsResult:
    """Run the rounds of one stage until every domain has its planned slots filled, has nothing left to try, or a cap is reached.

    Args:
        manifest: where content is read from.
        rows: the rows that the stage starts from, columns of `curate.manifest.schema.SCHEMA`.
        quotas: slots per domain.
        settings: how to fill them.
        stage: its index, from 0.
        context: what the auditors compare with.
        asker: takes requests to the teacher; None where there is none.
        preview: keeps the replies of a preview, and is the asker then.

    Raises:
        TeacherError: every call of a round failed, or none of the first rationales passes; nothing was changed.
    """
    pools, attempts = open_pools(rows, quotas)
    return _StageRunner(
        settings=settings,
        manifest=manifest,
        rows=rows,
        pools=pools,
        context=context,
        asker=preview or asker,
        preview=preview,
        auditors=settings.auditors,
        stage=stage,
        attempts=attempts,
        max_attempts=settings.max_attempts,
        labels=several_labels(rows),
        rationale_options={"show_answer": settings.show_answer, "prompt_file": settings.rationale_prompt},
        example_options={
            "prompt_file": settings.synthesis_prompt,
            "rows_per_call": settings.rows_per_call,
            "seed": settings.seed,
        },
    ).run(f"stage {stage}")


@dataclass(kw_only=True)
class _StageRunner(RoundRunner):
    """The rounds of one stage of `balance`: a selector chooses real rows, and a rationale that is wrong costs the attempt alone.

    Attributes:
        settings: of `balance`.
    """

    settings: BalanceSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tried = set(self.attempts)  # ids of real rows with a rationale that was judged wrong
        if self.settings.fill != "teacher":
            self._ask_no_new_examples()

    def run(self, label: str) -> RoundsResult:
        """Run the rounds; with ``--fill repeat`` repeat a domain's own rows for the slots that are still open."""
        super().run(label)
        if self.settings.fill == "repeat":
            for pool in self.pools.values():
                for row in self.decisions.repeat(pool.name, pool.open_slots):
                    self.accepted += 1
                    for counted in self._pools_of(row):
                        counted.accepted += 1
        return self.result()

    def move_slots(self) -> bool:
        """Give slots to other domains, unless rows are to be repeated for them."""
        return self.settings.fill != "repeat" and super().move_slots()

    def choose(self, wanted: Mapping[str, int]) -> dict[str, list[str]]:
        """Take the selector's choice out of domains' untried rows."""
        pools = [self.pools[name] for name, n in wanted.items() if n and not self.pools[name].untried.is_empty()]
        made = choose_each(
            {pool.name: (pool.untried, pool.taken, min(wanted[pool.name], pool.untried.height)) for pool in pools},
            selector=self.settings.selector,
            seed=self.settings.seed,
            stage=self.stage or 0,
            vectors=self._vectors,
        )
        if not made:
            return {}
        kept = pl.concat([choice.kept.select("id", "reason") for choice in made.values()])
        dropped = pl.concat([choice.dropped.select("id", "reason") for choice in made.values()])
        self.decisions.explain(kept)
        self.decisions.explain(dropped.select("id", reason=not_chosen()))
        return {name: self.pools[name].take(choice.kept["id"].to_list()) for name, choice in made.items()}

    def _vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the unit vectors of rows' prompts, for selectors that ask for them."""  # (n, d) float32
        return self.context.vectors(conversations(self.stored(ids)).to_list())

    def wants_rationale(self, rows: pl.DataFrame) -> pl.Series:
        """Return which rows ``--rationales`` asks the teacher for; one that was judged wrong is always asked for again.

        Of itself (``auto``) it asks for none where the answer is a long text: that is what is trained on.
        """
        if self.settings.rationales in ("keep", "none"):
            return pl.repeat(False, rows.height, eager=True)
        if self.settings.rationales == "teacher":
            return pl.repeat(True, rows.height, eager=True)
        missing = super().wants_rationale(rows) & ~as_they_are(self.context, rows)
        return missing | rows["id"].is_in(list(self.tried))

    def annotated(self, ids: Sequence[str]) -> pl.DataFrame:
        """Return real rows with the rationale to judge; with ``--rationales none`` without any."""
        rows = super().annotated(ids)
        return rows.with_columns(rationale=pl.lit(None, pl.String)) if self.settings.rationales == "none" else rows

    def ask_rationales(self, rows: pl.DataFrame, asker: Asker) -> pl.DataFrame:
        """Ask for rationales; with ``--wrong-rationale hint`` the teacher is shown the answer of a row that it got wrong."""
        if self.settings.wrong_rationale != "hint":
            return super().ask_rationales(rows, asker)
        again = pl.col("id").is_in([row_id for row_id in rows["id"] if self.attempts[row_id]])
        hinted = {**self.rationale_options, "show_answer": True}
        first = super().ask_rationales(rows.filter(~again), asker)
        return pl.concat([first, self._ask_rationales(rows.filter(again), asker, **hinted)])

    def on_failed(self, errors: Sequence[str], n: int) -> None:
        """Pass over what fails, unless everything does."""
        if len(errors) == n:
            raise TeacherError(f"every one of {n} calls failed; the first: {errors[0]}")
        progress.note("teacher", f"{len(errors)} of {n} requests failed at every try and are left out; the first: {errors[0]}")

    def judge(self, batch: pl.DataFrame) -> list[Verdict]:
        """Judge a batch; with ``--wrong-rationale answer-only`` once more without the rationales that are wrong."""
        verdicts = super().judge(batch)
        wrong = [v.row["id"] for v in verdicts if v.row["source"] == "real" and v.auditor in _OF_RATIONALES]
        if not wrong or self.settings.wrong_rationale != "answer-only":
            return verdicts
        return super().judge(batch.with_columns(rationale=pl.when(~pl.col("id").is_in(wrong)).then("rationale")))

    def reject(self, verdict: Verdict, auditor: str) -> None:
        """Reject a synthetic row or an unfit real one for good; of a real row with a wrong rationale only the attempt."""
        row = verdict.row
        attempt_only = row["source"] == "real" and row["rationale"] is not None and auditor in _OF_RATIONALES
        self.decisions.reject(row, auditor, verdict.findings, keep_candidate=attempt_only)
        if not attempt_only or self.asker is None or self.settings.rationales == "keep":
            return
        self.tried.add(row["id"])
        if row["attempt"] is not None:
            self.attempts[row["id"]] += 1
        if self.attempts[row["id"]] < self.max_attempts:
            for pool in self._pools_of(row):
                pool.retry.append(row["id"])

    def on_none_passes(self, kind: str, last: Verdict) -> None:
        """Buy no more of what has been wrong every time; without a single good rationale the stage itself ends."""
        found = self.none_passes(kind, last)
        if kind == "rationales":
            raise TeacherError(f"{found}; no more are bought and nothing is changed: check --model, the prompt and the answers")
        progress.note("balance", f"{found}; no more are bought in this stage")
        self._ask_no_new_examples()

    def _ask_no_new_examples(self) -> None:
        for pool in self.pools.values():
            pool.exhausted = True
