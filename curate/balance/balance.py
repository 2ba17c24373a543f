"""The verb `balance`: for each stage, quotas → selection → annotation and synthesis → audit → refill → one commit.

Decides what a stage starts from, whether it is done already, what a change of parameters undoes, and what it would cost;
the rounds themselves are in `curate.balance.rounds`. A stage that is run again replays its replies from the ledger at no cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import auditors as known_auditors
from curate.audit.kinds import Survey, survey_in, survey_rows
from curate.balance import cost, rounds
from curate.balance.preview import Preview, check_preview
from curate.balance.results import BalanceResult, StageResult
from curate.balance.settings import BalanceSettings
from curate.calls import estimates
from curate.calls.client import MeteredTeacher, check_mode, open_teacher
from curate.calls.throttle import RateLimit
from curate.errors import ConflictError, InputError
from curate.files import ledger_path
from curate.generation import prompts
from curate.ledger import network_disk
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps, Charged
from curate.manifest.history import done_stages
from curate.manifest.manifest import Commit, Manifest, load
from curate.manifest.rows import comparable_scores, count_labels, domain_counts, is_written_by
from curate.selection import feedback, policies
from curate.selection.base import Quotas, selectors
from curate.selection.base import policies as known_policies
from curate.selection.feedback import DomainResult
from curate.settings import takes
from curate.teachers.base import Teacher

__all__ = ["balance"]

_POLL = 0.2  # seconds between looks whether another process has ended
_NOT_SHAPING = {
    *("max_calls", "max_tokens", "max_usd", "concurrency", "requests_per_minute", "tokens_per_minute", "mode"),
    *("api_key_env", "timeout", "dry_run", "stage", "endpoint_name", "fresh", "preview"),
}
# The parameters that are options of a policy; to another policy they say nothing.
_OPTIONS_OF = {"adaptive": ("schedule",), "need": ("schedule", "need_weight"), "temperature": ("temperature",)}
_NOT_IN_COMMIT = {"stage", "version", "estimate", "asked", "reckoned", "reused"}


@takes(BalanceSettings)
def balance(manifest: Manifest, settings: BalanceSettings) -> BalanceResult:
    """Select, annotate and complete the train rows of every domain, stage by stage, within a budget.

    Args:
        manifest: the newest version; clusters, centrality and scores are used where they are there.

    Raises:
        InputError: a parameter breaks a rule, or the budget is above what exists and nothing can be written.
        ConflictError: other commands kept committing in between; nothing is lost, replies are in the ledger.
        TeacherError: the teacher cannot be reached; the manifest is as it was.

    The method is Multi-Stage BalanceResult Distillation (Zhou et al. 2024, arXiv 2406.13114, section 3) with the differences
    that docs/method.md lists.
    """
    _check(settings)
    metrics = feedback.read(settings.metrics)
    _check_newest(manifest)
    teacher = open_teacher(settings, root=manifest.root, to_ask=not settings.dry_run) if settings.teacher is not None else None
    check_mode(settings.mode, teacher)
    caps = Caps(calls=settings.max_calls, tokens=settings.max_tokens, usd=settings.max_usd)
    run = _BalanceRun(
        settings, metrics, teacher, caps, RateLimit(settings.requests_per_minute, settings.tokens_per_minute), set()
    )
    wanted = range(settings.stages) if settings.stage is None else [settings.stage]
    if settings.preview is not None:
        return _preview(manifest, run, wanted, settings.preview)
    return _dry_run(manifest, run, wanted) if settings.dry_run else _run_alone(manifest, run, wanted)


@dataclass(frozen=True)
class _BalanceRun:
    """One call of `balance`: its settings, checked, with the teacher loaded and the metrics read."""

    settings: BalanceSettings
    metrics: Mapping[str, DomainResult] | None
    teacher: Teacher | None
    caps: Caps
    pace: RateLimit  # of all stages together
    renewed: set[str]  # keys of calls that were asked for afresh

    def identity(self) -> dict[str, Any]:
        """Return the parameters that shape the result, as they are recorded: no cap, no secret, no local path."""
        settings = self.settings
        shaping = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in _NOT_SHAPING}
        shaping["rationale_prompt"] = prompts.load("rationale", settings.rationale_prompt).version
        shaping["synthesis_prompt"] = prompts.load("synthesis", settings.synthesis_prompt).version
        shaping["auditors"] = list(settings.auditors)
        shaping["metrics"] = self.metrics and [[domain, j.n, j.correct] for domain, j in self.metrics.items()]
        shaping["teacher"] = None if self.teacher is None else self.teacher.endpoint
        shaping["model"] = None if self.teacher is None else self.teacher.model
        return {
            k: v if isinstance(v, str | int | float | list | None) else getattr(v, "__name__", str(v)) for k, v in shaping.items()
        }

    def same(self, commit: Commit) -> bool:
        """Whether a stage's commit was made with these parameters."""
        return {k: v for k, v in commit.parameters.items() if k != "stage"} == self.identity()

    def made(self, commit: Commit) -> bool:
        """Whether a stage's commit was made with these parameters, no cap stopped the stage, and nothing is to be asked again."""
        return self.same(commit) and bool(commit.summary["complete"]) and not self.settings.fresh

    def metered_teacher(self, manifest: Manifest, stage: int) -> MeteredTeacher | None:
        """Return the teacher behind the ledger, or None."""
        if self.teacher is None:
            return None
        ledger = Ledger(ledger_path(manifest.root))
        return MeteredTeacher(
            self.teacher,
            ledger,
            manifest.name,
            self.caps,
            verb="balance",
            stage=stage,
            rate_limit=self.pace,
            mode=self.settings.mode,
            renewed=self.renewed if self.settings.fresh else None,
        )


def _run_alone(manifest: Manifest, run: _BalanceRun, wanted: Iterable[int]) -> BalanceResult:
    """Do the stages while no other process balances the same manifest; whoever waited finds what the other one did."""
    from filelock import FileLock, Timeout

    lock = FileLock(ledger_path(manifest.root).parent / f".{manifest.name}.balance.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.note("balance", f"another process balances {manifest.name!r}; waiting until it has ended")
        lock.acquire(poll_interval=_POLL)
        manifest = load(manifest.name, root=manifest.root)
    try:
        return _run(manifest, run, wanted)
    finally:
        lock.release()


def _run(manifest: Manifest, run: _BalanceRun, wanted: Iterable[int]) -> BalanceResult:
    results, undone = [], set()
    if run.teacher is not None:
        network_disk.warn(ledger_path(manifest.root))
    for stage in wanted:
        done = done_stages(manifest)
        same = stage in done and run.same(done[stage])
        if same and run.made(done[stage]):
            results.append(_reuse(done[stage]))
            continue
        if stage and stage - 1 not in done:
            raise InputError(
                f"stage {stage} of {manifest.name!r} comes after stage {stage - 1}, which is not done: leave out --stage"
            )
        if stage in done and not same:
            undone |= {later for later in done if later > stage}
            progress.note(
                "balance", f"stage {stage} starts again from {manifest.name}@{done[stage].summary['base']}: other parameters"
            )
        base = int(done[stage].summary["base"]) if stage in done else manifest.version
        manifest, result = _run_stage(manifest, run, stage, base)
        results.append(result)
        if not result.complete:
            break
    undone -= {result.stage for result in results}
    if undone:
        progress.note("balance", f"this undoes stages {sorted(undone)}: run them again")
    return BalanceResult(manifest, run.settings.budget, tuple(results), tuple(sorted(undone)))


def _run_stage(manifest: Manifest, run: _BalanceRun, stage: int, base: int) -> tuple[Manifest, StageResult]:
    """Do one stage from version `base`; where another command committed meanwhile, once more on top of that.

    The second time costs nothing: the replies are in the ledger.
    """
    try:
        return _do_stage(manifest, run, stage, base)
    except ConflictError:
        newest = load(manifest.name, root=manifest.root)
        progress.note("balance", f"{newest} was committed meanwhile: stage {stage} is done again on top of it, from the ledger")
        return _do_stage(newest, run, stage, newest.version if base == manifest.version else base)


def _do_stage(manifest: Manifest, run: _BalanceRun, stage: int, base: int) -> tuple[Manifest, StageResult]:
    """Do one stage from version `base` and commit it on top."""
    start = Manifest(manifest.name, base, manifest.root)
    rows = comparable_scores(start, start.rows())
    kept = _kept(rows, stage)
    whole = _plan(rows, run, stage, kept=kept)
    quotas = _refill(whole, kept)
    context = audit.build_context(start, rows, encoder=run.settings.encoder)
    metered = run.metered_teacher(manifest, stage)
    if metered is not None:
        teacher, kinds = metered.teacher, survey_in(context)
        estimate, _ = cost.estimate(start, rows, quotas, given={}, teacher=teacher, settings=run.settings, kinds=kinds)
        estimates.store_estimate(metered.account, estimate, run.identity())
    filled = rounds.fill_slots(start, rows, quotas, settings=run.settings, stage=stage, context=context, asker=metered)
    spend = metered.account.charged() if metered is not None else Charged()
    tokens_per_written, usd_per_written = filled.cost.per_row(filled.written)
    result = StageResult(
        stage=stage,
        version=manifest.version + 1,  # one more where the commit upgrades an old table, see below
        budget=whole.budget,
        quotas=whole,
        achieved=_sum(filled.achieved, kept.per_label),
        synthetic=_sum(filled.synthetic, _kept(rows, stage, source="synthetic").per_label),
        rejected=filled.rejected,
        moved=filled.moved,
        unanswered=filled.unanswered,
        complete=filled.complete,
        calls=spend.calls,
        tokens=spend.tokens,
        usd=spend.usd,
        saved=spend.saved,
        written=filled.written,
        tokens_per_written=tokens_per_written,
        usd_per_written=usd_per_written,
        rows=filled.rows + kept.rows,
        reckoned=None if metered is None else estimates.close_estimate(metered.account, complete=filled.complete),
    )
    if (better := _better(manifest, result)) is not None:
        progress.note(
            "balance",
            f"stage {stage} was stopped at {result.n_rows:,} rows, and {manifest.name}@{better.version} has "
            f"{better.n_rows:,} of it: that one stays; every reply that was bought is in the ledger, and the "
            "same command with larger caps goes on",
        )
        return manifest, replace(result, version=manifest.version)
    summary = {k: v for k, v in asdict(result).items() if k not in _NOT_IN_COMMIT} | {"base": base}
    manifest.append(filled.decisions.contents())
    committed = manifest.commit(
        filled.decisions.rows(),
        verb="balance",
        parameters={"stage": stage, **run.identity()},
        seed=run.settings.seed,
        summary=summary,
    )
    return committed, replace(result, version=committed.version)


def _better(manifest: Manifest, result: StageResult) -> StageResult | None:
    """Return the stage as it is, where it has more rows than a stage that was stopped early and would take its place."""
    done = done_stages(manifest).get(result.stage)
    there = None if done is None or result.complete else _reuse(done)
    return there if there is not None and there.n_rows > result.n_rows else None


def _reuse(commit: Commit) -> StageResult:
    """Read a stage's result back from its commit; what it cost was charged then, so it costs nothing now."""
    kept = {f.name: commit.summary[f.name] for f in fields(StageResult) if f.name in commit.summary}
    kept["quotas"] = Quotas(**kept["quotas"])
    kept |= {"calls": 0, "tokens": 0, "usd": 0.0 if kept["usd"] is not None else None}
    return StageResult(stage=int(commit.parameters["stage"]), version=commit.version, reused=True, **kept)


@dataclass(frozen=True)
class _Kept:
    """What is selected of a stage before it is done, each row once and per label.

    It is what `unselect` left of it, and in the first stage what `select` or a person chose: the budget is of all rows.
    """

    rows: int = 0
    per_label: Mapping[str, int] = field(default_factory=dict)


def _kept(rows: pl.DataFrame, stage: int, **only: str) -> _Kept:
    of_stage = pl.col("stage").is_null() | (pl.col("stage") == 0) if stage == 0 else pl.col("stage") == stage
    mine = rows.filter(of_stage, split="train", status="selected", **only)
    return _Kept(mine.height, count_labels(mine))


def _refill(whole: Quotas, kept: _Kept) -> Quotas:
    """Return the slots that a stage has yet to fill: its own without the rows that it kept, together what it lacks.

    A domain that kept more than its slots leaves that many fewer to the others; those with the most open slots give way first.
    """
    budget = whole.budget - kept.rows
    open_slots = {
        name: {domain: max(0, n - kept.per_label.get(domain, 0)) for domain, n in slots.items()}
        for name, slots in (("wanted", whole.wanted), ("planned", whole.planned))
    }
    for slots in open_slots.values() if kept.rows else ():
        for _ in range(sum(slots.values()) - budget):
            slots[max(sorted(slots), key=lambda domain: slots[domain])] -= 1
    return Quotas(open_slots["wanted"], open_slots["planned"], budget)


def _sum(filled: Mapping[str, int], kept: Mapping[str, int]) -> dict[str, int]:
    return {domain: n + kept.get(domain, 0) for domain, n in filled.items()}


def _plan(
    rows: pl.DataFrame,
    run: _BalanceRun,
    stage: int,
    *,
    given: Mapping[str, int] | None = None,
    kept: _Kept | None = None,
) -> Quotas:
    """Return the stage's slots per domain.

    Args:
        given: in a dry run, slots that earlier stages planned and that no row fills yet.
        kept: rows that the stage has already, and that fill slots of it.
    """
    counts = domain_counts(rows)
    given, kept = given or {}, kept or _Kept()
    train = rows.filter(split="train")
    # Later stages may have kept rows when this one was undone; what no stage selected is kept by the first.
    earlier = (pl.col("stage").is_null() & (stage > 0)) | (pl.col("stage") < stage)
    selected = count_labels(train.filter(earlier, status="selected"))
    candidates = count_labels(train.filter(status="candidate"))
    counts |= {domain: 0 for domain in {*candidates, *selected, *kept.per_label} if domain not in counts}
    used = count_labels(train.filter(is_written_by(), source="synthetic"))
    there = {d: candidates.get(d, 0) + kept.per_label.get(d, 0) for d in counts}
    capacity = {d: _capacity(run, d, there[d], used.get(d, 0) + given.get(d, 0)) for d in counts}
    budget = policies.stage_budget(run.settings.budget, stage, run.settings.stages)
    if kept.rows > budget:
        unstaged = train.filter(pl.col("stage").is_null(), status="selected").height if stage == 0 else 0
        by = "without a stage, as by curate select," if unstaged else "by it"
        back = "--all" if unstaged else f"--stage {stage}"
        raise InputError(
            f"stage {stage} has a budget of {budget} rows, and {kept.rows} are selected {by} already: take them back "
            f"with curate unselect {back}, or give a --budget and --stages that they fit into"
        )
    obtainable = sum(c for c in capacity.values() if c is not None)
    if None not in capacity.values() and obtainable < budget:
        raise InputError(
            f"stage {stage} has a budget of {budget} rows, but only {obtainable} are available; lower --budget, or name a "
            "--teacher that can write what is missing"
        )
    if stage and run.settings.policy == "need" and run.metrics is None:
        progress.note("balance", f"stage {stage}: policy need has no --metrics, so its slots are those of adaptive")
    options = {name: getattr(run.settings, name) for name in _OPTIONS_OF.get(str(run.settings.policy), ())}
    return policies.quotas(
        run.settings.policy,
        counts,
        budget=budget,
        stage=stage,
        n_stages=run.settings.stages,
        taken={d: selected.get(d, 0) + given.get(d, 0) for d in counts},
        capacity=capacity,
        metrics=run.metrics,
        seed=run.settings.seed,
        **options,
    )


def _capacity(run: _BalanceRun, domain: str, candidates: int, used: int) -> int | None:
    """Return how many rows a domain can still give: candidates, and what the teacher can yet write (None: no bound)."""
    if run.settings.fill == "repeat":
        return None
    written = run.teacher.capacity(domain) if run.teacher is not None and run.settings.fill == "teacher" else 0
    return None if written is None else max(0, candidates + written - used)


def _dry_run(manifest: Manifest, run: _BalanceRun, wanted: Iterable[int]) -> BalanceResult:
    """Plan every stage as if the earlier ones had come out as planned, and estimate their cost; spend and change nothing."""
    done = done_stages(manifest)
    results: list[StageResult] = []
    given: Counter[str] = Counter()
    rows: pl.DataFrame | None = None  # that the first stage which is not done would start from
    kinds = Survey({}, {}, {})
    for stage in wanted:
        if rows is None and stage in done and run.made(done[stage]):
            results.append(_reuse(done[stage]))
            continue
        if rows is None:
            base = int(done[stage].summary["base"]) if stage in done else manifest.version
            rows = Manifest(manifest.name, base, manifest.root).rows()
            kinds = survey_rows(manifest, rows)
        kept = _kept(rows, stage)
        whole = _plan(rows, run, stage, given=given, kept=kept)
        quotas = _refill(whole, kept)
        estimate, asked = cost.estimate(
            manifest, rows, quotas, given=given, teacher=run.teacher, settings=run.settings, kinds=kinds
        )
        given.update(quotas.planned)
        planned = StageResult(stage, None, whole.budget, whole, {}, {}, {}, {}, estimate=estimate, usd=estimate.usd)
        results.append(replace(planned, asked=asked))
    return BalanceResult(manifest, run.settings.budget, tuple(results), asks=run.teacher is not None)


def _preview(manifest: Manifest, run: _BalanceRun, wanted: Iterable[int], n: int) -> BalanceResult:
    """Buy some of the replies that the next stage asks for; change nothing."""
    done = done_stages(manifest)
    stage = next((stage for stage in wanted if not (stage in done and run.made(done[stage]))), None)
    if stage is None:
        raise InputError(f"every stage of {manifest.name!r} is done with these parameters, so no reply is missing")
    start = Manifest(manifest.name, int(done[stage].summary["base"]) if stage in done else manifest.version, manifest.root)
    rows = comparable_scores(start, start.rows())
    kept = _kept(rows, stage)
    quotas = _refill(_plan(rows, run, stage, kept=kept), kept)
    metered = run.metered_teacher(manifest, stage)
    assert metered is not None, "check_preview refuses a preview without a teacher"
    preview = Preview(metered, n)
    context = audit.build_context(start, rows, encoder=run.settings.encoder)
    rounds.fill_slots(start, rows, quotas, settings=run.settings, stage=stage, context=context, asker=metered, preview=preview)
    return BalanceResult(manifest, run.settings.budget, (), preview=preview.result(metered.account.charged()))


def _check_newest(manifest: Manifest) -> None:
    """Refuse an old version: a stage that is done again finds its own base, and anything else builds on what is there."""
    newest = load(manifest.name, root=manifest.root)
    if newest.version != manifest.version:
        raise InputError(f"balance works on the newest version, {newest}, got {manifest}: leave out the version")


def _check(settings: BalanceSettings) -> None:
    """Refuse parameters that break a rule, before anything is read or spent."""
    check_preview(settings.preview, mode=settings.mode, dry_run=settings.dry_run, teacher=settings.teacher)
    for option in ("max_attempts", "rows_per_call"):
        if getattr(settings, option) < 1:
            raise InputError(f"--{option.replace('_', '-')} must be at least 1, got {getattr(settings, option)}")
    policies.stage_budget(settings.budget, settings.stage or 0, settings.stages)
    if settings.metrics is not None and not policies.uses_metrics(settings.policy):
        raise InputError(f"policy {settings.policy!r} does not use --metrics; leave them out, or use --policy need")
    known_policies.get(settings.policy)
    selectors.get(settings.selector)
    for name in settings.auditors:
        known_auditors.get(name)
    if settings.rationales == "teacher" and settings.teacher is None:
        raise InputError("--rationales teacher needs a --teacher: a URL, openai, recorded:FILE or fake")
