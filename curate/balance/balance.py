"""Owns `balance`: for each stage, quotas → selection → annotation and synthesis → audit → refill → one commit.

Says what a stage starts from, whether it is done already, what a change of parameters undoes, and what it would cost;
the rounds themselves are in `curate.balance.rounds`. A stage that is run again replays its answers from the ledger at no cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import DEFAULT_AUDITORS
from curate.audit.base import auditors as known_auditors
from curate.balance import cost, rounds
from curate.balance.results import Balanced, StageResult
from curate.calls import estimates
from curate.calls.client import MeteredTeacher, check_mode
from curate.calls.throttle import RateLimit
from curate.errors import ConflictError, InputError, UnknownNameError
from curate.files import ledger_path
from curate.generation import prompts
from curate.ledger import network_disk
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps, Charged
from curate.manifest.manifest import Commit, Manifest, load
from curate.manifest.rows import comparable_scores, domain_counts, is_written_by
from curate.selection import feedback, policies
from curate.selection.base import selectors
from curate.teachers.base import TIMEOUT, Teacher
from curate.teachers.registry import load_teacher

__all__ = ["balance"]

RATIONALES = ("auto", "teacher", "keep", "none")
WRONG_RATIONALES = ("drop", "hint", "answer-only")
FILLS = ("teacher", "repeat", "none")
_NOT_SHAPING = {
    *("max_calls", "max_tokens", "max_usd", "concurrency", "requests_per_minute", "tokens_per_minute", "mode"),
    *("api_key_env", "timeout", "dry_run", "stage"),
}
# The parameters that are options of a policy; to another policy they say nothing.
_OPTIONS_OF = {"adaptive": ("schedule",), "need": ("schedule", "need_weight"), "temperature": ("temperature",)}
_NOT_IN_COMMIT = {"stage", "version", "estimate", "reckoned", "reused"}


def balance(
    manifest: Manifest,
    *,
    budget: int,
    stages: int = 1,
    stage: int | None = None,
    policy: str | Any = "adaptive",
    schedule: str = "ours",
    temperature: float = 2.0,
    need_weight: float = 0.5,
    metrics: str | Mapping[str, Any] | None = None,
    selector: str | Any = "representative",
    teacher: str | Any = None,
    model: str | None = None,
    api_key_env: str | None = None,
    rationales: str = "auto",
    wrong_rationale: str = "drop",
    fill: str = "teacher",
    max_attempts: int = 5,
    max_calls: int | None = None,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    auditors: Sequence[str] = DEFAULT_AUDITORS,
    encoder: str | Any = None,
    show_answer: bool = False,
    rationale_prompt: str | None = None,
    synthesis_prompt: str | None = None,
    rows_per_call: int = 1,
    concurrency: int = 16,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    timeout: float = TIMEOUT,
    mode: str = "live",
    dry_run: bool = False,
    seed: int = 0,
) -> Balanced:
    """Select, annotate and complete the train rows of every domain, stage by stage, within a budget.

    Args:
        manifest: the newest version; clusters, centrality and scores are used where they are there.
        budget: accepted examples over all stages, B. Stage k gets B(k+1)//K − Bk//K.
        stages: K.
        stage: do this stage alone, from 0; without it every stage that is not done.
        policy: a registered name or a callable, see `curate.selection.policies`.
        schedule: of the adaptive policy, ``"ours"`` (the last increment is uniform) or ``"paper"``.
        temperature: T of the temperature policy.
        need_weight: of the need policy, 0 to 1: how far the last student's results shift the adaptive places.
        metrics: the last student's results on validation rows, for the need policy: a file of
            ``baldistill evaluate NAME --split validation --json``, or the same as a mapping. It holds for the stages that this
            call does; name one with `stage`.
        selector: a registered name or a callable, see `curate.selection.selectors`.
        teacher: a URL, ``"openai"``, ``"recorded:FILE"``, ``"fake"``, or a teacher object; None selects real rows alone.
        model: the teacher's model name.
        api_key_env: the environment variable that holds its key.
        rationales: ``"auto"`` keeps what was ingested and asks for what is missing, ``"teacher"`` asks for all, ``"keep"``
            asks for none, ``"none"`` trains on the answer alone.
        wrong_rationale: a real row whose rationale ends in another answer is passed over and tried again when its domain
            runs short (``"drop"``), then with the answer shown (``"hint"``), or taken without a rationale (``"answer-only"``).
        fill: what completes a short domain: the ``"teacher"``, a ``"repeat"`` of its rows, or ``"none"``.
        max_attempts: judged replies per missing place before a domain stops.
        max_calls, max_tokens, max_usd: hard caps over everything ever charged to this manifest's name.
        auditors: names that must find nothing.
        encoder: for near-duplicates and leakage; None for that of the clusters.
        show_answer: show the right answer to a teacher that writes a rationale; the paper hides it.
        rationale_prompt, synthesis_prompt: template files, or folders of them, in place of the built-in ones.
        rows_per_call: new examples asked for in one request.
        concurrency: calls in flight at once.
        requests_per_minute, tokens_per_minute: limits of the server; None for none.
        timeout: seconds for one reply.
        mode: ``"live"``, or ``"batch"``: the provider's batches, at half the price, within a day.
        dry_run: plan and estimate; spend and change nothing.
        seed: of every random choice.

    Raises:
        InputError: a parameter breaks a rule, or the budget is above what exists and nothing can be written.
        ConflictError: other commands kept committing in between; nothing is lost, answers are in the ledger.
        TeacherError: the teacher cannot be reached; the manifest is as it was.

    The method is Multi-Stage Balanced Distillation (Zhou et al. 2024, arXiv 2406.13114, section 3) with the differences
    that docs/method.md lists.
    """
    parameters = {name: value for name, value in locals().items() if name != "manifest"}
    _check(parameters)
    parameters["metrics"] = feedback.read(metrics)
    _check_newest(manifest)
    asked = None
    if teacher is not None:
        asked = load_teacher(
            teacher,
            model=model,
            api_key_env=api_key_env,
            concurrency=concurrency,
            timeout=timeout,
            root=manifest.root,
            to_ask=not dry_run,
        )
    check_mode(mode, asked)
    caps = Caps(calls=max_calls, tokens=max_tokens, usd=max_usd)
    job = _Job(parameters=parameters, teacher=asked, caps=caps, pace=RateLimit(requests_per_minute, tokens_per_minute))
    wanted = range(stages) if stage is None else [stage]
    return _dry_run(manifest, job, wanted) if dry_run else _run(manifest, job, wanted)


@dataclass(frozen=True)
class _Job:
    """One call of `balance`: its parameters, checked, with the teacher loaded."""

    parameters: Mapping[str, Any]
    teacher: Teacher | None
    caps: Caps
    pace: RateLimit  # of all stages together

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]

    def identity(self) -> dict[str, Any]:
        """Return the parameters that shape the result, as they are recorded: no cap, no secret, no local path."""
        shaping = {k: v for k, v in self.parameters.items() if k not in _NOT_SHAPING}
        for prompt in ("rationale_prompt", "synthesis_prompt"):
            name = prompt.removesuffix("_prompt")
            shaping[prompt] = prompts.load(name, self.parameters[prompt]).version
        shaping["auditors"] = list(self["auditors"])
        shaping["metrics"] = self["metrics"] and [[domain, j.n, j.correct] for domain, j in self["metrics"].items()]
        shaping["teacher"] = None if self.teacher is None else self.teacher.endpoint
        shaping["model"] = None if self.teacher is None else self.teacher.model
        return {
            k: v if isinstance(v, str | int | float | list | None) else getattr(v, "__name__", str(v)) for k, v in shaping.items()
        }

    def same(self, commit: Commit) -> bool:
        """Whether a stage's commit was made with these parameters."""
        return {k: v for k, v in commit.parameters.items() if k != "stage"} == self.identity()

    def made(self, commit: Commit) -> bool:
        """Whether a stage's commit was made with these parameters, and the stage came to its end."""
        return self.same(commit) and bool(commit.summary["complete"])

    def terms(self, stage: int) -> rounds.Terms:
        """Return what a stage is filled by."""
        names = [f.name for f in fields(rounds.Terms) if f.name != "stage"]
        return rounds.Terms(stage=stage, **{name: self.parameters[name] for name in names})

    def account(self, manifest: Manifest, stage: int) -> MeteredTeacher | None:
        """Return the teacher behind the ledger, or None."""
        if self.teacher is None:
            return None
        ledger = Ledger(ledger_path(manifest.root))
        return MeteredTeacher(
            self.teacher, ledger, manifest.name, self.caps, verb="balance", stage=stage, pace=self.pace, mode=self["mode"]
        )


def _done(manifest: Manifest) -> dict[int, Commit]:
    """Return the stages that this version stands on, with the commit of each."""
    return {int(c.parameters["stage"]): c for c in manifest.lineage() if c.verb == "balance"}


def _run(manifest: Manifest, job: _Job, wanted: Iterable[int]) -> Balanced:
    results, undone = [], set()
    if job.teacher is not None:
        network_disk.warn(ledger_path(manifest.root))
    for stage in wanted:
        done = _done(manifest)
        same = stage in done and job.same(done[stage])
        if same and job.made(done[stage]):
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
        manifest, result = _run_stage(manifest, job, stage, base)
        results.append(result)
        if not result.complete:
            break
    undone -= {result.stage for result in results}
    if undone:
        progress.note("balance", f"this undoes stages {sorted(undone)}: run them again")
    return Balanced(manifest, job["budget"], tuple(results), tuple(sorted(undone)))


def _run_stage(manifest: Manifest, job: _Job, stage: int, base: int) -> tuple[Manifest, StageResult]:
    """Do one stage from version `base`; where somebody else committed meanwhile, once more on top of that.

    The second time costs nothing: the answers are in the ledger.
    """
    try:
        return _do_stage(manifest, job, stage, base)
    except ConflictError:
        newest = load(manifest.name, root=manifest.root)
        progress.note("balance", f"{newest} was committed meanwhile: stage {stage} is done again on top of it, from the ledger")
        return _do_stage(newest, job, stage, newest.version if base == manifest.version else base)


def _do_stage(manifest: Manifest, job: _Job, stage: int, base: int) -> tuple[Manifest, StageResult]:
    """Do one stage from version `base` and commit it on top."""
    start = Manifest(manifest.name, base, manifest.root)
    rows = comparable_scores(start, start.rows())
    quotas = _plan(rows, job, stage)
    account = job.account(manifest, stage)
    terms = job.terms(stage)
    if account is not None:
        estimate = cost.estimate(start, rows, quotas, given={}, teacher=account.teacher, parameters=job.parameters)
        estimates.store_estimate(account, estimate, job.identity())
    context = audit.context(start, rows, encoder=job["encoder"])
    filled = rounds.fill(start, rows, quotas, terms=terms, context=context, account=account)
    spend = account.spend() if account is not None else Charged(0, 0, 0.0, 0)
    tokens_per_written, usd_per_written = filled.cost.per_row(filled.written)
    result = StageResult(
        stage=stage,
        version=manifest.version + 1,
        budget=quotas.budget,
        quotas=quotas,
        achieved=filled.achieved,
        synthetic=filled.synthetic,
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
        reckoned=None if account is None else estimates.close_estimate(account, complete=filled.complete),
    )
    summary = {k: v for k, v in asdict(result).items() if k not in _NOT_IN_COMMIT} | {"base": base}
    manifest.append(filled.settled.contents())
    committed = manifest.commit(
        filled.settled.rows(), verb="balance", parameters={"stage": stage, **job.identity()}, seed=job["seed"], summary=summary
    )
    return committed, result


def _reuse(commit: Commit) -> StageResult:
    """Read a stage's result back from its commit; what it cost was charged then, so it costs nothing now."""
    kept = {f.name: commit.summary[f.name] for f in fields(StageResult) if f.name in commit.summary}
    kept["quotas"] = policies.Quotas(**kept["quotas"])
    kept |= {"calls": 0, "tokens": 0, "usd": 0.0 if kept["usd"] is not None else None}
    return StageResult(stage=int(commit.parameters["stage"]), version=commit.version, reused=True, **kept)


def _plan(rows: pl.DataFrame, job: _Job, stage: int, *, given: Mapping[str, int] | None = None) -> policies.Quotas:
    """Return the stage's places per domain.

    Args:
        given: in a dry run, places that earlier stages planned and that no row shows yet.
    """
    counts = domain_counts(rows)
    given = given or {}
    train = rows.filter(split="train")
    selected = dict(train.filter(status="selected").group_by("domain").len().iter_rows())
    candidates = dict(train.filter(status="candidate").group_by("domain").len().iter_rows())
    counts |= {domain: 0 for domain in {*candidates, *selected} if domain not in counts}
    written = train.filter(is_written_by(), source="synthetic")
    used = dict(written.group_by("domain").len().iter_rows())
    capacity = {d: _capacity(job, d, candidates.get(d, 0), used.get(d, 0) + given.get(d, 0)) for d in counts}
    budget = policies.stage_budget(job["budget"], stage, job["stages"])
    obtainable = sum(c for c in capacity.values() if c is not None)
    if None not in capacity.values() and obtainable < budget:
        raise InputError(
            f"stage {stage} has a budget of {budget} rows, but only {obtainable} can be had; lower --budget, or name a --teacher "
            "that can write what is missing"
        )
    if stage and job["policy"] == "need" and job["metrics"] is None:
        progress.note("balance", f"stage {stage}: policy need has no --metrics to go by, so its places are those of adaptive")
    options = {name: job[name] for name in _OPTIONS_OF.get(str(job["policy"]), ())}
    return policies.quotas(
        job["policy"],
        counts,
        budget=budget,
        stage=stage,
        n_stages=job["stages"],
        taken={d: selected.get(d, 0) + given.get(d, 0) for d in counts},
        capacity=capacity,
        metrics=job["metrics"],
        seed=job["seed"],
        **options,
    )


def _capacity(job: _Job, domain: str, candidates: int, used: int) -> int | None:
    """Return how many rows a domain can still give: candidates, and what the teacher can yet write (None: no bound)."""
    if job["fill"] == "repeat":
        return None
    written = job.teacher.capacity(domain) if job.teacher is not None and job["fill"] == "teacher" else 0
    return None if written is None else max(0, candidates + written - used)


def _dry_run(manifest: Manifest, job: _Job, wanted: Iterable[int]) -> Balanced:
    """Plan every stage as if the earlier ones had come out as planned, and estimate their cost; spend and change nothing."""
    done = _done(manifest)
    results: list[StageResult] = []
    given: Counter[str] = Counter()
    rows: pl.DataFrame | None = None  # that the first stage which is not done would start from
    for stage in wanted:
        if rows is None and stage in done and job.made(done[stage]):
            results.append(_reuse(done[stage]))
            continue
        if rows is None:
            base = int(done[stage].summary["base"]) if stage in done else manifest.version
            rows = Manifest(manifest.name, base, manifest.root).rows()
        quotas = _plan(rows, job, stage, given=given)
        estimate = cost.estimate(manifest, rows, quotas, given=given, teacher=job.teacher, parameters=job.parameters)
        given.update(quotas.planned)
        results.append(StageResult(stage, None, quotas.budget, quotas, {}, {}, {}, {}, estimate=estimate, usd=estimate.usd))
    return Balanced(manifest, job["budget"], tuple(results), asks=job.teacher is not None)


def _check_newest(manifest: Manifest) -> None:
    """Refuse an old version: a stage that is done again finds its own base, and anything else builds on what is there."""
    newest = load(manifest.name, root=manifest.root)
    if newest.version != manifest.version:
        raise InputError(f"balance works on the newest version, {newest}, got {manifest}: leave out the version")


def _check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that break a rule, before anything is read or spent."""
    for option, known in (("rationales", RATIONALES), ("wrong_rationale", WRONG_RATIONALES), ("fill", FILLS)):
        if parameters[option] not in known:
            raise UnknownNameError(f"--{option.replace('_', '-')}", parameters[option], known)
    for option in ("max_attempts", "rows_per_call"):
        if parameters[option] < 1:
            raise InputError(f"--{option.replace('_', '-')} must be at least 1, got {parameters[option]}")
    policies.stage_budget(parameters["budget"], parameters["stage"] or 0, parameters["stages"])
    if parameters["metrics"] is not None and not policies.steered(parameters["policy"]):
        raise InputError(f"policy {parameters['policy']!r} looks at no --metrics; leave them out, or use --policy need")
    policies.policies.get(parameters["policy"])
    selectors.get(parameters["selector"])
    for name in parameters["auditors"]:
        known_auditors.get(name)
    if parameters["rationales"] == "teacher" and parameters["teacher"] is None:
        raise InputError("--rationales teacher needs a --teacher: a URL, openai, recorded:FILE or fake")
