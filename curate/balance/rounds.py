"""Owns the rounds of one stage: choose rows, have them annotated, have missing ones written, audit, and again for what is short.

Works on frames and hands back what changed; plans nothing and commits nothing (that is `curate.balance.balance`). A round's
requests are made in the order of domain and index and its replies are judged in that order, never in the order of arrival,
so the same ledger gives the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import Context
from curate.balance import pool
from curate.balance.decisions import BATCH, Settled, as_batch
from curate.balance.pool import Pool
from curate.balance.settings import BalanceSettings
from curate.errors import TeacherError
from curate.generation import examples as writing
from curate.generation.rationales import write_rationales
from curate.manifest.manifest import Manifest
from curate.manifest.rows import may_be_shown, not_chosen
from curate.manifest.schema import conform
from curate.selection import policies
from curate.selection.base import Quotas
from curate.selection.selectors import choose
from curate.teachers.base import Asker

__all__ = ["Filled", "fill"]

_PILOT, _ENOUGH = 40, 32  # replies judged before more are bought; so many of which none passes end the work
_OF_RATIONALES = ("answer_mismatch", "malformed")  # auditors that may find fault with the rationale and not with the row


@dataclass(frozen=True)
class Filled:
    """What the rounds of one stage came to.

    Attributes:
        settled: the rows that changed and the content to append first.
        achieved: rows accepted per domain.
        synthetic: those of them that are synthetic, per domain.
        rejected: per domain, how often each auditor rejected a reply or a row.
        moved: places per domain that it got, or gave up, because some could not fill theirs.
        unanswered: requests that a recorded teacher had no answer for.
        complete: False where a cap stopped the work.
        written: new examples of the teacher that were accepted.
        cost: of all that it wrote of them, rejected ones included.
    """

    settled: Settled
    achieved: dict[str, int]
    synthetic: dict[str, int]
    rejected: dict[str, dict[str, int]]
    moved: dict[str, int]
    unanswered: int
    complete: bool
    written: int
    cost: writing.Cost


@dataclass
class _Work:
    """What one round does: ids of real rows, ids of synthetic candidates, (domain, index) of new examples."""

    real: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    orders: list[tuple[str, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.real or self.written or self.orders)


def fill(
    manifest: Manifest,
    rows: pl.DataFrame,
    quotas: Quotas,
    *,
    settings: BalanceSettings,
    stage: int,
    context: Context,
    account: Asker | None,
) -> Filled:
    """Run rounds until every domain has its planned places, has nothing left to try, or a cap is reached.

    Args:
        manifest: where content is read from.
        rows: the rows that the stage starts from, columns of `curate.manifest.schema.SCHEMA`.
        quotas: places per domain.
        settings: how to fill them.
        stage: its index, from 0.
        context: what the auditors compare with.
        account: the teacher behind its ledger, or None.

    Raises:
        TeacherError: every call of a round failed, or none of the first replies passes; nothing was changed.
    """
    filler = _Filler(manifest, rows, quotas, settings, stage, context, account)
    with progress.step(f"stage {stage}", sum(quotas.planned.values())) as counter:
        while not filler.stopped:
            work = filler.plan_round()
            if work:
                for part in filler.parts(work):
                    before = filler.n_accepted
                    filler.do_round(part)
                    counter.advance(filler.n_accepted - before, rejected=sum(d.rejected.total() for d in filler.domains.values()))
            elif not filler.move_places():
                break
    if settings.fill == "repeat":
        filler.repeat()
    return filler.result()


class _Filler:
    def __init__(
        self,
        manifest: Manifest,
        rows: pl.DataFrame,
        quotas: Quotas,
        settings: BalanceSettings,
        stage: int,
        context: Context,
        account: Asker | None,
    ) -> None:
        self.manifest, self.settings, self.context, self.account = manifest, settings, context, account
        self.stage = stage
        self.rows = rows
        self.settled = Settled(rows, stage=stage)
        self.domains, self.attempts = pool.open_pools(rows, quotas)
        self.tried = set(self.attempts)  # real rows with a rationale that was judged wrong
        self.unanswered = 0
        self.written, self.cost = 0, writing.Cost()
        self.judged, self.passed = Counter[str](), Counter[str]()  # replies of the teacher: rationales, new examples
        self.stopped = False
        self.moved: Counter[str] = Counter()

    @property
    def n_accepted(self) -> int:
        return sum(d.accepted for d in self.domains.values())

    def plan_round(self) -> _Work:
        """Plan fresh real rows first, then synthetic rows at hand, then failed rows again, then new examples."""
        work = _Work()
        for domain in self.domains.values():
            # A domain stops after so many judged replies per place, real rows' rationales and new examples together.
            missing = min(domain.short, max(0, self.settings.max_attempts * domain.target - domain.judged))
            chosen = self._choose(domain, missing)
            missing -= len(chosen)
            at_hand, domain.written = domain.written[:missing], domain.written[missing:]
            missing -= len(at_hand)
            again, domain.failed = domain.failed[:missing], domain.failed[missing:]
            missing -= len(again)
            work.real += chosen + again
            work.written += at_hand
            work.orders += self._order(domain, missing)
        return work

    def _choose(self, domain: Pool, n: int) -> list[str]:
        """Take the selector's choice out of the domain's fresh rows."""
        if not n or domain.fresh.is_empty():
            return []
        choice = choose(
            domain.fresh,
            selector=self.settings.selector,
            n=min(n, domain.fresh.height),
            taken=domain.taken,
            seed=self.settings.seed,
            domain=domain.name,
            stage=self.stage,
            vectors=self._vectors,
        )
        self.settled.explain(choice.kept.select("id", "reason"))
        self.settled.explain(choice.dropped.select("id", reason=not_chosen()))
        kept = domain.fresh.join(choice.kept, on="id", how="semi")
        domain.taken = pl.concat([domain.taken, kept])
        domain.fresh = domain.fresh.join(choice.kept, on="id", how="anti", maintain_order="left")
        return choice.kept["id"].to_list()

    def _vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the unit vectors of rows' prompts, for selectors that ask for them."""  # (n, d) float32
        return self.context.vectors(self._at_hand(list(ids))["prompt"].to_list())

    def _order(self, domain: Pool, missing: int) -> list[tuple[str, int]]:
        """Return the (domain, index) of up to `missing` new examples."""
        if self.account is None or self.settings.fill != "teacher" or domain.dry:
            return []
        first = domain.next_index
        domain.next_index += missing
        return [(domain.name, index) for index in range(first, first + missing)]

    def move_places(self) -> bool:
        """Give the places that some domains cannot fill to real rows left in others; say whether any moved.

        A domain that could not fill its places is closed: it gets no further ones, so this comes to an end.
        """
        short = [d for d in self.domains.values() if d.short]
        if not short or self.settings.fill == "repeat":
            return False
        for domain in short:
            domain.closed = True
        capacity: dict[str, int | None] = {
            d.name: d.accepted + (0 if d.closed else d.fresh.height + len(d.written) + len(d.failed))
            for d in self.domains.values()
        }
        wanted = {d.name: d.target for d in self.domains.values()}
        places = policies.water_fill(wanted, capacity, sum(wanted.values()))
        for name, domain in self.domains.items():
            self.moved[name] += places[name] - domain.target
            domain.target = places[name]
        return any(d.short for d in self.domains.values())

    def parts(self, work: _Work) -> Iterator[_Work]:
        """Yield the round's work; of rationales, and of new examples, a few first: a teacher may be wrong all along."""
        if self.account is not None and not self.judged["rationales"] and len(work.real) > _PILOT:
            few = work.real[:: len(work.real) // _PILOT][:_PILOT]  # of all domains
            yield _Work(real=few)
            work = _Work([row for row in work.real if row not in few], work.written, work.orders)
        if self.account is not None and not self.judged["new examples"] and len(work.orders) > _PILOT and not self.stopped:
            first = work.orders[:: len(work.orders) // _PILOT][:_PILOT]
            yield _Work(work.real, work.written, first)
            work = _Work(orders=[o for o in work.orders if o not in first and not self.domains[o[0]].dry])
        if work and not self.stopped:
            yield work

    def do_round(self, work: _Work) -> None:
        """Have the round's rows annotated and written, judge them in order, and take or reject each."""
        batch = pl.concat([self._real_batch(work.real), self._at_hand(work.written), self._new_batch(work.orders)])
        if batch.is_empty():
            return
        accepted, last = [], {}
        for row, auditor, findings in self._judge(batch):
            domain = self.domains[row["domain"]]
            domain.judged += row["call_id"] is not None
            if row["call_id"] is not None:
                replies = "new examples" if row["new"] else "rationales"
                self.judged[replies] += 1
                self.passed[replies] += auditor is None
                last[replies] = (row, findings)
            if auditor is None:
                self.settled.accept(row, findings)
                domain.accepted += 1
                domain.synthetic += row["source"] == "synthetic"
                self.written += row["new"]
                accepted.append(row["id"])
            else:
                domain.rejected[auditor] += 1
                self._reject(row, auditor, findings)
        for replies, (row, findings) in last.items():
            if self.judged[replies] >= _ENOUGH and not self.passed[replies]:
                self._give_up(replies, row, findings)
        self.context = audit.remember(self.context, batch.filter(pl.col("id").is_in(accepted)))

    def _give_up(self, replies: str, row: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> None:
        """Buy no more of what has been wrong every time; without a single good rationale the stage itself ends."""
        last = f"{findings[0]['message']} (curate ledger {self.manifest.name} --call {row['call_id']} shows it)"
        told = f"none of the first {self.judged[replies]} {replies} passes the auditors; the last: {last}"
        if replies == "rationales":
            raise TeacherError(f"{told}; no more is bought and nothing is changed: look at --model, the prompt, the answers")
        progress.note("balance", f"{told}; no more are bought in this stage")
        for domain in self.domains.values():
            domain.dry = True

    def _judge(self, batch: pl.DataFrame) -> Iterator[tuple[dict[str, Any], str | None, list[dict[str, Any]]]]:
        """Yield each row in order, who rejects it, what was found; with ``answer-only`` a bad rationale is taken off first."""
        judgement = audit.judge(batch, self.context, auditors=self.settings.auditors)
        if self.settings.wrong_rationale == "answer-only":
            bare = [row_id for row_id, auditor in judgement.rejected.items() if auditor in _OF_RATIONALES]
            off = pl.col("id").is_in(bare) & (pl.col("source") == "real")
            batch = batch.with_columns(rationale=pl.when(~off).then("rationale"))
            judgement = audit.judge(batch, self.context, auditors=self.settings.auditors)
        found = {key[0]: part.to_dicts() for key, part in judgement.findings.partition_by("id", as_dict=True).items()}
        for row in batch.iter_rows(named=True):
            yield row, judgement.rejected.get(row["id"]), found.get(row["id"], [])

    def _reject(self, row: dict[str, Any], auditor: str, findings: list[dict[str, Any]]) -> None:
        """Reject a synthetic row or an unfit real one for good; of a real row with a bad rationale only the attempt."""
        attempt_only = row["source"] == "real" and row["rationale"] is not None and auditor in _OF_RATIONALES
        self.settled.reject(row, auditor, findings, keep_candidate=attempt_only)
        if not attempt_only or self.account is None or self.settings.rationales == "keep":
            return
        self.tried.add(row["id"])
        if row["attempt"] is not None:
            self.attempts[row["id"]] += 1
        if self.attempts[row["id"]] < self.settings.max_attempts:
            self.domains[row["domain"]].failed.append(row["id"])

    def _real_batch(self, ids: list[str]) -> pl.DataFrame:
        """Return the round's real rows with the rationale to judge; rows that no teacher answered are left out."""
        frame = self._at_hand(ids)
        if self.settings.rationales == "none":
            return frame.with_columns(rationale=pl.lit(None, pl.String))
        if self.account is None or self.settings.rationales == "keep":
            return frame
        wants = pl.col("rationale").is_null() | (self.settings.rationales == "teacher") | pl.col("id").is_in(list(self.tried))
        asks = frame.filter(wants)
        answered = self._ask_rationales(asks, self.account)
        return pl.concat([frame.join(asks, on="id", how="anti", maintain_order="left"), answered])

    def _ask_rationales(self, asks: pl.DataFrame, account: Asker) -> pl.DataFrame:
        """Ask the teacher for the next sample of each row's rationale; return the rows that were answered."""
        if asks.is_empty():
            return asks
        asks = asks.with_columns(attempt=pl.Series([self.attempts[i] for i in asks["id"]], dtype=pl.Int64))
        hint = pl.col("attempt") > 0 if self.settings.wrong_rationale == "hint" else pl.lit(False)
        replies = [
            write_rationales(
                part.select("id", "prompt", "answer", "domain", sample="attempt"),
                account,
                context=self.context,
                show_answer=shown,
                prompt_file=self.settings.rationale_prompt,
                refills=self._refills(),
            )
            for shown, part in ((self.settings.show_answer, asks.filter(~hint)), (True, asks.filter(hint)))
            if not part.is_empty()
        ]
        told = pl.concat(replies)
        self._heed(told)
        told = told.filter(status="answered").select("id", "rationale", "finish_reason", "call_id")
        return asks.drop("rationale", "finish_reason", "call_id").join(told, on="id", maintain_order="left").select(BATCH.names())

    def _refills(self) -> set[str]:
        return {d.name for d in self.domains.values() if d.rejected}

    def _at_hand(self, ids: list[str]) -> pl.DataFrame:
        """Return rows of the manifest with their content, in the order of `ids`, as a batch."""
        if not ids:
            return pl.DataFrame(schema=BATCH)
        order = pl.DataFrame({"id": ids}, schema={"id": pl.String})
        rows = order.join(self.rows, on="id", maintain_order="left")
        examples = self.manifest.examples(rows).with_columns(new=pl.lit(False), call_id=pl.lit(None, pl.Int64))
        return conform(examples, BATCH, drop=True)

    def _new_batch(self, orders: list[tuple[str, int]]) -> pl.DataFrame:
        """Have new examples written; a reply that cannot be read becomes a row too, with the raw reply kept."""
        if not orders or self.account is None:
            return pl.DataFrame(schema=BATCH)
        frame = pl.DataFrame(orders, schema={"domain": pl.String, "index": pl.Int64}, orient="row")
        replies = writing.write_examples(
            frame,
            self.account,
            seeds=self.manifest.examples(may_be_shown(self.rows, frame["domain"].unique().to_list())),
            context=self.context,
            prompt_file=self.settings.synthesis_prompt,
            rows_per_call=self.settings.rows_per_call,
            seed=self.settings.seed,
            refills=self._refills(),
        )
        self._heed(replies)
        self.cost += writing.cost(replies)
        for name in replies.filter(status="unanswered")["domain"].unique():
            self.domains[name].dry = True
        return as_batch(replies, self.account.teacher.model)

    def _heed(self, replies: pl.DataFrame) -> None:
        """Count what was not answered; stop at a cap; pass over what the server rejects, unless it rejects everything."""
        counts = dict(replies["status"].value_counts().iter_rows())
        self.unanswered += counts.get("unanswered", 0)
        self.stopped |= counts.get("capped", 0) > 0
        if failed := counts.get("failed", 0):
            first = replies.filter(status="failed")["error"].to_list()[0]
            if failed == replies.height:
                raise TeacherError(f"every one of {failed} calls failed; the first: {first}")
            progress.note("balance", f"rejected by the server and passed over: {failed}; the first: {first}")

    def repeat(self) -> None:
        """Fill what is still short with repeats of the domain's own accepted rows (``--fill repeat``)."""
        for domain in self.domains.values():
            done = self.settled.repeat(domain.name, domain.short)
            domain.accepted += done

    def result(self) -> Filled:
        """Return what the rounds came to."""
        domains = self.domains.values()
        return Filled(
            settled=self.settled,
            achieved={d.name: d.accepted for d in domains},
            synthetic={d.name: d.synthetic for d in domains},
            rejected={d.name: dict(sorted(d.rejected.items())) for d in domains if d.rejected},
            moved={name: n for name, n in self.moved.items() if n},
            unanswered=self.unanswered,
            complete=not self.stopped,
            written=self.written,
            cost=self.cost,
        )
