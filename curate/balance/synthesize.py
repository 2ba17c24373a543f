"""Writes new examples for domains that have too few, has them audited, and commits those that pass as candidates.

The rounds are those of `curate.balance.rounds`; what is asked, and how a reply is read, is in `curate.generation.examples`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import Context
from curate.audit.base import auditors as known_auditors
from curate.audit.kinds import survey_in
from curate.balance.cost import Probe, what_is_asked, written_before
from curate.balance.pool import Pool
from curate.balance.preview import Preview, check_preview
from curate.balance.results import AskingResult
from curate.balance.rounds import RoundRunner, RoundsResult, Verdict
from curate.balance.settings import SynthesizeSettings
from curate.calls import estimates
from curate.calls.client import MeteredTeacher, check_mode, open_metered_teacher, open_teacher
from curate.calls.forecast import Task
from curate.errors import InputError, UnknownNameError
from curate.generation import prompts
from curate.manifest.manifest import Manifest
from curate.manifest.rows import next_indices, per_label
from curate.settings import takes
from curate.teachers.base import Teacher
from curate.vectors.encoders import Encoder

__all__ = ["SynthesizeResult", "synthesize"]

_PROBED = 8  # requests of each domain that an estimate is made from


@dataclass(frozen=True)
class SynthesizeResult(AskingResult):
    """What `synthesize` did.

    Attributes, beside those of `AskingResult`:
        wanted: new examples per domain.
        written: accepted ones per domain; candidates, which `balance` uses before it asks for new ones.
        rejected: per domain, how many each auditor rejected.
        complete: False where a cap or failed calls stopped the work, or left out a reply of a preview.
        tokens_per_written, usd_per_written: what one accepted example cost, rejected replies included; None where there is none.
    """

    wanted: int
    written: dict[str, int]
    rejected: dict[str, dict[str, int]]
    complete: bool = True
    tokens_per_written: float | None = None
    usd_per_written: float | None = None

    @property
    def short_by(self) -> int:
        """How many new examples are missing, over all domains."""
        return 0 if self.is_plan else sum(max(0, self.wanted - n) for n in self.written.values())


@takes(SynthesizeSettings)
def synthesize(manifest: Manifest, settings: SynthesizeSettings) -> SynthesizeResult:
    """Write new examples for some domains, audit them, and commit them as candidates.

    What an auditor rejects is kept as a rejected row and replaced, until a domain has its examples, the teacher has no more,
    or `max_attempts` replies per example were judged.

    Args:
        manifest: the newest version.

    Raises:
        UnknownNameError: no such domain or auditor.
        InputError: a parameter breaks a rule.
        TeacherError: the teacher cannot be reached, or refuses the key or the model; replies so far are in the ledger.
        ConflictError: another command committed meanwhile; run it again, the replies are in the ledger.
    """
    check_preview(settings.preview, mode=settings.mode, dry_run=settings.dry_run, teacher=settings.teacher)
    rows, auditors = manifest.rows(), tuple(settings.auditors)
    names = _checked(rows, settings.domains, settings.n, auditors)
    shaping = ("words", "temperature", "reply_tokens", "n_seeds", "rows_per_call", "seed")
    options: dict[str, Any] = {name: getattr(settings, name) for name in shaping}
    indices = next_indices(rows)
    runner = _SynthesisRunner(
        manifest=manifest,
        rows=rows,
        pools={name: Pool(name, settings.n, next_index=indices.get(name, 0)) for name in names},
        context=_context(manifest, rows, settings.encoder),
        asker=None,
        auditors=auditors,
        max_attempts=settings.max_attempts,
        example_options={**options, "prompt_file": settings.prompt_file},
    )
    if settings.dry_run:
        teacher = open_teacher(settings, root=manifest.root, to_ask=False)
        check_mode(settings.mode, teacher)
        task = _task(runner, teacher)
        estimate = estimates.estimate_tasks(manifest.name, [task], teacher, settings.mode, root=manifest.root)
        asked = what_is_asked([task], survey_in(runner.context))
        return SynthesizeResult(manifest, settings.n, dict.fromkeys(names, 0), {}, estimate=estimate, asked=asked)
    metered = open_metered_teacher(manifest.name, settings, root=manifest.root, verb="synthesize")
    if settings.preview is not None:
        runner.asker = runner.preview = Preview(metered, settings.preview)
        runner.run("preview")
        shown = runner.preview.result(metered.account.charged())
        return SynthesizeResult(manifest, settings.n, dict.fromkeys(names, 0), {}, shown.complete, preview=shown)
    parameters = {
        **{"teacher": metered.teacher.endpoint, "model": metered.teacher.model, "domains": names, "n": settings.n, **options},
        **{"max_attempts": settings.max_attempts, "auditors": list(auditors)},
        "prompt": prompts.load("synthesis", settings.prompt_file).version,
    }
    estimates.estimate_and_store(
        metered.account, [_task(runner, metered.teacher)], {**parameters, "version": manifest.version}, mode=metered.mode
    )
    runner.asker = metered
    return _commit(manifest, runner.run("synthesize"), metered, parameters)


@dataclass(kw_only=True)
class _SynthesisRunner(RoundRunner):
    """Rounds of new examples alone; what passes waits for `balance` as a candidate."""

    def accept(self, verdict: Verdict) -> None:
        """Keep a new example as a candidate."""
        self.decisions.add_candidate(verdict.row, verdict.findings)

    def on_none_passes(self, kind: str, last: Verdict) -> None:
        """Stop: there is nothing else to do."""
        progress.note("synthesize", f"{self.none_passes(kind, last)}; no more are bought: check --model and the prompt")
        self.stopped = True


def _task(runner: RoundRunner, teacher: Teacher) -> Task:
    """Return what is to be asked, with some of the requests as they will be."""
    probe, pools = Probe(teacher), runner.pools.values()
    runner.ask_examples([(pool.name, pool.next_index + n) for pool in pools for n in range(min(pool.target, _PROBED))], probe)
    judged = written_before(runner.rows.filter(split="train"), teacher.model)
    return Task("synthesis", {pool.name: pool.target for pool in pools}, probe.requests, *judged, runner.max_attempts)


def _commit(manifest: Manifest, done: RoundsResult, metered: MeteredTeacher, parameters: dict[str, Any]) -> SynthesizeResult:
    """Return what was done, committed where anything was judged."""
    tokens, usd = done.cost.per_row(done.written)
    result = SynthesizeResult(
        manifest=manifest,
        wanted=parameters["n"],
        written=done.achieved,
        rejected=done.rejected,
        complete=done.complete,
        spent=metered.account.charged(),
        tokens_per_written=tokens,
        usd_per_written=usd,
        reckoned=estimates.close_estimate(metered.account, complete=done.complete),
    )
    if not done.judged:
        return result
    manifest.append(done.decisions.contents())
    after = manifest.commit(
        done.decisions.rows(), verb="synthesize", parameters=parameters, seed=parameters["seed"], summary=result.figures
    )
    return replace(result, manifest=after)


def _context(manifest: Manifest, rows: pl.DataFrame, encoder: str | Encoder | None) -> Context:
    """Return what new examples are compared with: all rows, and the synthetic ones that wait."""
    waiting = manifest.examples(rows.filter(source="synthetic", status="candidate"))
    return audit.with_accepted(audit.build_context(manifest, rows, encoder=encoder), waiting)


def _checked(rows: pl.DataFrame, domains: Sequence[str], n: int, auditors: Sequence[str]) -> list[str]:
    """Return the domains, sorted, each once."""
    for name in auditors:
        known_auditors.get(name)
    known = set(per_label(rows.filter(pl.col("status") != "rejected", split="train"))["domain"])
    for name in domains:
        if name not in known:
            raise UnknownNameError("domain", name, known)
    if not domains:
        raise InputError("no domain is given: name at least one with --domain NAME")
    if n < 1:
        raise InputError(f"--n must be at least 1 new example per domain, got {n}")
    return sorted(set(domains))
