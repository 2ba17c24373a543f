"""Writes rationales for selected real rows that have none, has them audited, and commits those that pass.

It is one round of `curate.balance.rounds`; what is asked is in `curate.generation.rationales`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.kinds import survey_in
from curate.balance.cost import Probe, what_is_asked
from curate.balance.pool import Pool
from curate.balance.preview import Preview, check_preview
from curate.balance.results import AskingResult
from curate.balance.rounds import RoundPlan, RoundRunner, Verdict
from curate.balance.settings import AnnotateSettings
from curate.calls import estimates
from curate.calls.client import MeteredTeacher, check_mode, open_metered_teacher, open_teacher
from curate.calls.forecast import Task
from curate.errors import TeacherError
from curate.generation import prompts
from curate.manifest.manifest import Manifest
from curate.manifest.rows import has_finding, n_attempts, read_findings
from curate.settings import takes
from curate.teachers.base import Teacher, TeacherInfo

__all__ = ["AnnotateResult", "annotate"]

_PROBED = 512  # rows whose prompts an estimate is made from
REFUSED = "refused"  # of the findings with what a server said
AUDITORS = ("malformed", "answer_mismatch")  # what a rationale can have wrong


@dataclass(frozen=True)
class AnnotateResult(AskingResult):
    """What `annotate` did.

    Attributes, beside those of `AskingResult`:
        rows: selected real rows without a rationale, before.
        written: rationales that were accepted.
        rejected: per auditor, how many it rejected; those rows can be asked for again.
        refused: rows that the server refused; each has a finding with its words, and is not sent again without `--fresh`.
        unanswered: rows that a recorded teacher had no answer for.
        complete: False where a cap or failed calls stopped the work, or left out a reply of a preview.
    """

    rows: int
    written: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    complete: bool = True
    refused: int = 0

    @property
    def short_by(self) -> int:
        """How many rows still have no rationale."""
        return 0 if self.is_plan else self.rows - self.written


@takes(AnnotateSettings)
def annotate(manifest: Manifest, settings: AnnotateSettings) -> AnnotateResult:
    """Write rationales for the selected real train rows that lack one, audit them, and commit those that pass.

    A rationale that an auditor rejects leaves its row selected and without one, with a finding; the same command again asks
    for another sample.

    Args:
        manifest: the newest version.

    Raises:
        InputError: a parameter breaks a rule.
        TeacherError: the teacher cannot be reached, refuses the key, the model or every request, or none of the first
            rationales passes; replies so far are in the ledger.
        ConflictError: another command committed meanwhile; run it again, the replies are in the ledger.
    """
    check_preview(settings.preview, mode=settings.mode, dry_run=settings.dry_run, teacher=settings.teacher)
    rows = manifest.rows()
    metered = None if settings.dry_run else open_metered_teacher(manifest.name, settings, root=manifest.root, verb="annotate")
    teacher = open_teacher(settings, root=manifest.root, to_ask=False) if metered is None else metered.teacher
    unannotated = _unannotated(manifest, rows)
    if not settings.fresh:
        unannotated = _not_refused(unannotated, teacher)
    options: dict[str, Any] = {name: getattr(settings, name) for name in ("show_answer", "words", "temperature", "reply_tokens")}
    runner = _AnnotationRunner(
        manifest=manifest,
        rows=rows,
        pools={name: Pool(name, n) for name, n in sorted(Counter(unannotated["domain"].to_list()).items())},
        context=audit.build_context(manifest, rows),
        asker=None,
        auditors=AUDITORS,
        attempts=Counter(dict(unannotated.select("id", n_attempts()).iter_rows())),
        rationale_options={**options, "prompt_file": settings.prompt_file},
    )
    ids = unannotated["id"].to_list()
    if metered is None:
        check_mode(settings.mode, teacher)
        task = _task(runner, ids, teacher)
        estimate = estimates.estimate_tasks(manifest.name, [task], teacher, settings.mode, root=manifest.root)
        return AnnotateResult(manifest, len(ids), estimate=estimate, asked=what_is_asked([task], survey_in(runner.context)))
    if settings.preview is not None:
        runner.asker = runner.preview = Preview(metered, settings.preview)
        runner.run_round(next(runner.parts(RoundPlan(real=ids)), RoundPlan()))
        shown = runner.preview.result(metered.account.charged())
        return AnnotateResult(manifest, len(ids), complete=shown.complete, preview=shown)
    parameters = {
        **{"teacher": metered.teacher.endpoint, "model": metered.teacher.model, **options},
        "prompt": prompts.load("rationale", settings.prompt_file).version,
    }
    task = _task(runner, ids, metered.teacher)
    estimates.estimate_and_store(metered.account, [task], {**parameters, "version": manifest.version}, mode=metered.mode)
    runner.asker, runner.answered_before = metered, metered.account.refusals.answered
    for part in runner.parts(RoundPlan(real=ids)):
        runner.run_round(part)
    runner.check_answered()
    return _commit(runner, metered, parameters)


@dataclass(kw_only=True)
class _AnnotationRunner(RoundRunner):
    """One round of rationales; a row whose rationale is rejected stays selected and without one.

    Attributes:
        refused: rows that the server refused.
    """

    refused: int = field(default=0, init=False)

    def on_refused(self, asked: pl.DataFrame, replies: pl.DataFrame) -> None:
        """Keep the server's words as a finding; it counts as no attempt, so that `--fresh` sends the same request."""
        if self.asker is None or self.preview is not None:
            return
        whose, rows = _refused_by(self.asker.teacher), {row["id"]: row for row in asked.iter_rows(named=True)}
        for line in replies.iter_rows(named=True):
            said = {"auditor": REFUSED, "score": 1.0, "decision": "note", "because_of": None, "message": whose + line["error"]}
            row = {**rows[line["id"]], "rationale": None, "call_id": line["call_id"], "attempt": None}
            self.decisions.accept(row, [said])
            self.refused += 1

    def reject(self, verdict: Verdict, auditor: str) -> None:
        """Keep the row as it was, with the finding."""
        self.decisions.accept({**verdict.row, "rationale": None}, verdict.findings)

    def on_none_passes(self, kind: str, last: Verdict) -> None:
        """End: a model, a prompt or a server that is always wrong is not asked for more."""
        found = self.none_passes(kind, last)
        raise TeacherError(f"{found}; no more are bought and nothing is changed: check --model, the prompt and the answers")


def _refused_by(teacher: TeacherInfo) -> str:
    """Return how the finding of a refused row begins, which holds for this server and model alone."""
    return f"{teacher.model} at {teacher.endpoint}: "


def _not_refused(rows: pl.DataFrame, teacher: TeacherInfo) -> pl.DataFrame:
    """Return the rows that the server has not refused yet."""
    marked = rows.filter(has_finding(REFUSED).fill_null(False)).select("id", "findings")
    whose = _refused_by(teacher)
    refused = [
        row_id
        for row_id, findings in marked.iter_rows()
        if any(f["auditor"] == REFUSED and f["message"].startswith(whose) for f in read_findings(findings))
    ]
    if refused:
        progress.note("annotate", f"{len(refused):,} rows that the server refused before are left out; --fresh sends them again")
    return rows.filter(~pl.col("id").is_in(refused))


def _unannotated(manifest: Manifest, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the selected real train rows without a rationale, sorted by id."""
    selected = rows.filter(status="selected", split="train", source="real").sort("id")
    rationales = manifest.contents(selected["content"], columns=["content", "rationale"])
    return selected.join(rationales.filter(pl.col("rationale").is_null()), on="content", how="semi", maintain_order="left")


def _task(runner: RoundRunner, ids: list[str], teacher: Teacher) -> Task:
    """Return what is to be asked, with some of the requests as they will be."""
    probe = Probe(teacher)
    runner.ask_rationales(runner.stored(ids[:_PROBED]), probe)
    return Task("rationale", {pool.name: pool.target for pool in runner.pools.values()}, probe.requests)


def _commit(runner: _AnnotationRunner, metered: MeteredTeacher, parameters: dict[str, Any]) -> AnnotateResult:
    """Return what was done, committed where anything was judged."""
    manifest, done = runner.manifest, runner.result()
    result = AnnotateResult(
        manifest=manifest,
        rows=sum(pool.target for pool in runner.pools.values()),
        written=sum(done.achieved.values()),
        rejected=dict(sorted(sum((Counter(by) for by in done.rejected.values()), Counter[str]()).items())),
        unanswered=done.unanswered,
        complete=done.complete,
        refused=runner.refused,
        spent=metered.account.charged(),
        reckoned=estimates.close_estimate(metered.account, complete=done.complete),
    )
    if not done.judged and not runner.refused:
        return result
    manifest.append(done.decisions.contents())
    after = manifest.commit(done.decisions.rows(), verb="annotate", parameters=parameters, summary=result.figures)
    return replace(result, manifest=after)
