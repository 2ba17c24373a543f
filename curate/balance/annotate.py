"""Owns rationales for questions that exist: what is asked of a teacher, and what came of it. Judges nothing it wrote.

`write_rationales` asks and hands frames back; `annotate` is the verb that has them audited and writes them into a manifest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from curate.audit import audit
from curate.audit.base import Context
from curate.balance.cost import Probe
from curate.balance.decisions import BATCH, Settled
from curate.balance.settings import AnnotateSettings
from curate.calls import estimates
from curate.calls.client import MeteredTeacher, check_mode, open_metered_teacher
from curate.calls.estimates import EstimateVsActual
from curate.calls.forecast import Estimate, Task
from curate.generation import prompts
from curate.generation.rationales import write_rationales
from curate.ledger.records import Charged
from curate.manifest.manifest import Manifest
from curate.manifest.rows import n_attempts
from curate.manifest.schema import conform
from curate.settings import takes
from curate.teachers.base import Asker, Teacher
from curate.teachers.registry import load_teacher

__all__ = ["Annotated", "annotate"]

_PROBED = 512  # rows whose prompts an estimate is made from
AUDITORS = ("malformed", "answer_mismatch")  # what a rationale can have wrong


@dataclass(frozen=True)
class Annotated:
    """What `annotate` did.

    Attributes:
        manifest: the next version, or the same where nothing came.
        rows: selected real rows without a rationale, before.
        written: rationales that were accepted.
        rejected: per auditor, how many it rejected; those rows can be asked for again.
        unanswered: rows that a recorded teacher had no answer for.
        complete: False where a cap or failed calls stopped the work.
        spent: what was charged.
        reckoned: what it was estimated to cost, and what was billed.
        estimate: what it would cost; of a dry run alone.
    """

    manifest: Manifest
    rows: int
    written: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    complete: bool = True
    spent: Charged = field(default_factory=Charged)
    reckoned: EstimateVsActual | None = None
    estimate: Estimate | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """What was done, in figures."""
        told = {key: value for key, value in asdict(self).items() if key not in ("manifest", "spent", "reckoned", "estimate")}
        return {**told, **asdict(self.spent)}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        reckoned = None if self.reckoned is None else self.reckoned.to_dict()
        estimate = None if self.estimate is None else self.estimate.to_dict()
        return {"version": self.manifest.version, **self.figures, "reckoned": reckoned, "estimate": estimate}


@takes(AnnotateSettings)
def annotate(manifest: Manifest, settings: AnnotateSettings) -> Annotated:
    """Write rationales for the selected real train rows that lack one, audit them, and commit those that pass.

    A rationale that an auditor rejects leaves its row selected and without one, with a finding; the same command again asks
    for another sample.

    Args:
        manifest: the newest version.

    Raises:
        InputError: a parameter breaks a rule.
        TeacherError: nobody answers, or the teacher refuses the key or the model; replies so far are in the ledger.
        ConflictError: another command committed meanwhile; run it again, the replies are in the ledger.
    """
    rows = manifest.rows()
    batch, context = _unannotated(manifest, rows), audit.context(manifest, rows)
    asked = batch.select("id", "prompt", "answer", "domain", sample="attempt")
    options: dict[str, Any] = {name: getattr(settings, name) for name in ("show_answer", "words", "temperature", "reply_tokens")}

    def ask(some: pl.DataFrame, asker: Asker) -> pl.DataFrame:
        return write_rationales(some, asker, context=context, prompt_file=settings.prompt_file, **options)

    def task(teacher: Teacher) -> Task:
        ask(asked.head(_PROBED), probe := Probe(teacher))
        return Task("rationale", dict(asked.group_by("domain").len().iter_rows()), probe.requests)

    if settings.dry_run:
        teacher = load_teacher(settings, root=manifest.root, to_ask=False)
        check_mode(settings.mode, teacher)
        estimate = estimates.estimate_tasks(manifest.name, [task(teacher)], teacher, settings.mode, root=manifest.root)
        return Annotated(manifest, batch.height, estimate=estimate)
    account = open_metered_teacher(manifest.name, settings, root=manifest.root, verb="annotate")
    parameters = {
        **{"teacher": account.teacher.endpoint, "model": account.teacher.model, **options},
        "prompt": prompts.load("rationale", settings.prompt_file).version,
    }
    task_of = task(account.teacher)
    estimates.estimate_and_store(account.account, [task_of], {**parameters, "version": manifest.version}, mode=account.mode)
    told = ask(asked, account)
    settled, rejected = _settle(rows, batch, told, context)
    result = _result(manifest, told, rejected, account)
    if not told["status"].eq("answered").any():
        return result
    manifest.append(settled.contents())
    after = manifest.commit(settled.rows(), verb="annotate", parameters=parameters, summary=result.figures)
    return replace(result, manifest=after)


def _unannotated(manifest: Manifest, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the selected real train rows without a rationale as a batch; `attempt` is the next sample to ask for."""
    selected = rows.filter(status="selected", split="train", source="real").sort("id")
    examples = manifest.examples(selected).filter(pl.col("rationale").is_null()).drop("call_id")
    return conform(examples.with_columns(attempt=n_attempts(), new=pl.lit(False)), BATCH, drop=True)


def _settle(rows: pl.DataFrame, batch: pl.DataFrame, told: pl.DataFrame, context: Context) -> tuple[Settled, Counter[str]]:
    """Take the rationales that pass; a row whose rationale does not stays as it was, with the finding."""
    answered = told.filter(status="answered").select("id", "rationale", "finish_reason", "call_id")
    judged = batch.drop("rationale", "finish_reason", "call_id").join(answered, on="id", maintain_order="left")
    judged = judged.select(BATCH.names())
    judgement = audit.judge(judged, context, auditors=AUDITORS)
    found = {key[0]: part.to_dicts() for key, part in judgement.findings.partition_by("id", as_dict=True).items()}
    settled = Settled(rows, stage=None)
    for line in judged.iter_rows(named=True):
        kept = line if line["id"] not in judgement.rejected else {**line, "rationale": None}
        settled.accept(kept, found.get(line["id"], []))
    return settled, Counter(judgement.rejected.values())


def _result(manifest: Manifest, told: pl.DataFrame, rejected: Counter[str], account: MeteredTeacher) -> Annotated:
    counts = Counter(told["status"].to_list())
    complete = not counts["capped"] + counts["failed"]
    return Annotated(
        manifest=manifest,
        rows=told.height,
        written=counts["answered"] - rejected.total(),
        rejected=dict(sorted(rejected.items())),
        unanswered=counts["unanswered"],
        complete=complete,
        spent=account.account.charged(),
        reckoned=estimates.close_estimate(account.account, complete=complete),
    )
