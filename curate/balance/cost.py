"""Estimates what a stage will cost: its tasks, from its slots and from prompts that are really rendered. Sends nothing.

The arithmetic is in `curate.calls.forecast`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import Context, as_they_are
from curate.audit.kinds import Survey, kinds_of, with_said_kinds
from curate.balance.results import AskedKind
from curate.balance.settings import BalanceSettings
from curate.calls import estimates
from curate.calls.forecast import Estimate, Task
from curate.generation.examples import write_examples
from curate.generation.rationales import write_rationales
from curate.manifest.chats import to_chats
from curate.manifest.manifest import Manifest
from curate.manifest.rows import count_labels, is_written_by, may_be_shown, n_attempts, per_label, several_labels
from curate.selection.base import Quotas
from curate.selection.pools import filling_order
from curate.teachers import prices
from curate.teachers.base import Reply, Request, Teacher, TeacherInfo
from curate.teachers.prices import Price

__all__ = ["Probe", "estimate", "stage_tasks", "what_is_asked", "written_before"]

_PROBE = 512  # rows that prompts are rendered for, in all
_OF_DOMAIN = 16  # of one domain, at most
_ORDERS = 4  # new examples of one domain
_NAMED = 5  # domains that a note names
_SHOWN = 500  # characters of a text that a note shows
_PROVIDER = "https://api.openai.com/v1"  # whose price and replies count where a model is named without a teacher


@dataclass(frozen=True)
class _NamedModel:
    """The `TeacherInfo` of a model that is named without a teacher."""

    model: str
    price: Price | None
    endpoint: str = _PROVIDER

    def capacity(self, domain: str) -> None:
        """Return that there is no bound."""


def estimate(
    manifest: Manifest,
    rows: pl.DataFrame,
    quotas: Quotas,
    *,
    given: Mapping[str, int],
    teacher: Teacher | None,
    settings: BalanceSettings,
    kinds: Survey,
) -> tuple[Estimate, tuple[AskedKind, ...]]:
    """Estimate one stage's calls, tokens and money; return that, and what would be asked for in which domains.

    Args:
        manifest: where the prompts are read from.
        rows: the rows that the stage starts from.
        quotas: its slots per domain.
        given: slots per domain that earlier stages of a dry run planned.
        teacher: that would be asked; without one, what filling the deficits would cost with `--model`.
        settings: of `balance`.
        kinds: of answers, of all rows.
    """
    tasks = stage_tasks(manifest, rows, quotas, given=given, teacher=teacher, settings=settings, kinds=kinds)
    asked = teacher or _named_model(settings.model, manifest)
    estimated = estimates.estimate_tasks(manifest.name, tasks, asked, settings.mode, root=manifest.root)
    return estimated, what_is_asked(tasks, kinds)


def what_is_asked(tasks: Sequence[Task], kinds: Survey) -> tuple[AskedKind, ...]:
    """Return what a teacher would be asked for in which domains, and why that; the kind of most replies first.

    Args:
        tasks: what is to be asked.
        kinds: of answers, of all rows.
    """
    slots = {purpose: Counter[str]() for purpose in ("rationale", "synthesis")}
    for task in tasks:
        slots[task.purpose].update({domain: n for domain, n in task.slots.items() if n})
    found = kinds_of(kinds, {domain for of_it in slots.values() for domain in of_it})
    asked = [
        AskedKind(
            each.kind,
            each.task,
            each.how,
            each.why,
            each.domains,
            sum(slots["rationale"][domain] for domain in each.domains),
            sum(slots["synthesis"][domain] for domain in each.domains),
        )
        for each in found
    ]
    return tuple(sorted(asked, key=lambda each: -(each.rationales + each.examples)))


def _named_model(model: str | None, manifest: Manifest) -> TeacherInfo:
    return _NamedModel(model or "", prices.find(model, _PROVIDER, root=manifest.root) if model else None)


def stage_tasks(
    manifest: Manifest,
    rows: pl.DataFrame,
    quotas: Quotas,
    *,
    given: Mapping[str, int],
    teacher: Teacher | None,
    settings: BalanceSettings,
    kinds: Survey,
) -> list[Task]:
    """Return what a stage would ask for; the arguments are those of `estimate`.

    Real rows come first, then synthetic candidates, then new examples.
    """
    train = rows.filter(split="train")
    slots = quotas.planned if teacher is not None else quotas.wanted
    candidates = train.filter(status="candidate")
    real, examples = _split(candidates, slots, given)
    if settings.fill != "teacher":
        examples = {}
    probe = manifest.examples(_sample(per_label(candidates.filter(source="real")), list(slots)))
    short = [domain for domain, n in examples.items() if n]
    seeds = manifest.examples(_sample(may_be_shown(train, short), short))
    shown = pl.concat([probe, seeds]).unique(["id", "domain"], maintain_order=True)
    known = audit.build_context(manifest, shown, encoder=settings.encoder, kinds=kinds)
    probe = with_said_kinds(probe)
    whole = as_they_are(known, probe)
    if teacher is None or settings.rationales in ("keep", "none"):
        real = {}
    elif settings.rationales == "auto":
        missing = probe.with_columns(whole=whole, missing=pl.col("rationale").is_null() & ~whole)
        lacking = dict(missing.group_by("domain").agg(pl.col("missing").mean()).iter_rows())
        said = missing.filter("whole")["domain"].unique().sort().to_list()
        _say_what_is_trained_on([domain for domain in said if real.get(domain)])
        real = {domain: round(n * lacking.get(domain, 1.0)) for domain, n in real.items()}
    asked = _render(probe, seeds, teacher or _named_model(settings.model, manifest), real, examples, known, settings)
    if settings.rationales == "teacher" and teacher is not None:
        _say_what_is_asked(probe, asked["rationale"])
    judged = written_before(train, teacher.model) if teacher is not None else (0, 0)
    attempts = settings.max_attempts
    return [
        Task("rationale", real, asked["rationale"], *_answered_before(train), attempts),
        Task("synthesis", examples, asked["synthesis"], *judged, attempts),
    ]


def written_before(train: pl.DataFrame, model: str) -> tuple[int, int]:
    """Return how many new examples of a model were accepted and rejected so far, by the rows of a manifest."""
    written = train.filter(is_written_by(model), source="synthetic")
    rejected = written.filter(status="rejected").height
    return written.height - rejected, rejected


def _answered_before(train: pl.DataFrame) -> tuple[int, int]:
    """Return how many rationales of real rows were accepted and rejected so far."""
    real = train.filter(source="real")
    accepted = real.filter(pl.col("call_id").is_not_null(), status="selected").height
    return accepted, int(real.select(n_attempts().sum()).item())


def _split(candidates: pl.DataFrame, slots: Mapping[str, int], given: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Return per domain the slots that real rows fill, and those that need new examples.

    A real row that fills slots of several labels is counted for the first of them in the order in which they are filled.
    """
    n_candidates = count_labels(candidates)
    n_real = count_labels(candidates.filter(source="real"))
    real, examples = {}, {}
    for domain, n in slots.items():
        before = given.get(domain, 0)
        real[domain] = min(n, max(0, n_real.get(domain, 0) - before))
        examples[domain] = max(0, n - max(0, n_candidates.get(domain, 0) - before))
    return _once_each(candidates.filter(source="real"), real), examples


def _once_each(candidates: pl.DataFrame, slots: dict[str, int]) -> dict[str, int]:
    """Return how many rows each label has yet to take for these slots, where a row counts for each of its labels.

    Labels take in the order in which they are filled, of rows with several labels as large a part as of all their rows.
    """
    several = several_labels(candidates)
    if not several:
        return slots
    shared: dict[str, list[str]] = {}
    for row_id in sorted(several):
        for label in several[row_id]:
            shared.setdefault(label, []).append(row_id)
    n_all, needed, taken, filled = count_labels(candidates), dict.fromkeys(slots, 0), set[str](), Counter[str]()
    for label in filling_order(candidates, sorted(slots)):
        needed[label] = max(0, slots[label] - filled[label])
        mine = [row_id for row_id in shared.get(label, ()) if row_id not in taken]
        left = n_all.get(label, 0) - len(shared.get(label, ())) + len(mine)
        chosen = mine[: round(needed[label] * len(mine) / left)] if left else []
        taken.update(chosen)
        filled.update(other for row_id in chosen for other in several[row_id])
    return needed


def _sample(rows: pl.DataFrame, domains: list[str]) -> pl.DataFrame:
    """Return some rows of each domain, by their ids, which are hashes and so in no order."""
    each = max(1, min(_OF_DOMAIN, _PROBE // max(len(domains), 1)))
    return rows.filter(pl.col("domain").is_in(domains)).sort("id").group_by("domain", maintain_order=True).head(each)


def _render(
    probe: pl.DataFrame,
    seeds: pl.DataFrame,
    teacher: TeacherInfo,
    real: Mapping[str, int],
    examples: Mapping[str, int],
    known: Context,
    settings: BalanceSettings,
) -> dict[str, list[Request]]:
    """Return some of what would be asked, by purpose."""
    asked = Probe(teacher)
    shown = probe.filter(pl.col("domain").is_in([d for d, n in real.items() if n]))
    if not shown.is_empty():
        write_rationales(
            shown.select("id", "prompt", "answer", "messages", "domain", "kind"),
            asked,
            context=known,
            show_answer=settings.show_answer,
            prompt_file=settings.rationale_prompt,
        )
    each = max(_ORDERS, settings.rows_per_call)
    orders = [(domain, index) for domain, n in examples.items() for index in range(min(n, each))]
    if orders:
        write_examples(
            pl.DataFrame(orders, schema={"domain": pl.String, "index": pl.Int64}, orient="row"),
            asked,
            seeds=seeds,
            context=known,
            prompt_file=settings.synthesis_prompt,
            rows_per_call=settings.rows_per_call,
            seed=settings.seed,
        )
    return {purpose: [r for r in asked.requests if r.purpose == purpose] for purpose in ("rationale", "synthesis")}


def _say_what_is_trained_on(domains: Sequence[str]) -> None:
    if domains:
        named = ", ".join(map(repr, domains[:_NAMED])) + (f" and {len(domains) - _NAMED} more" if len(domains) > _NAMED else "")
        progress.note(
            "balance",
            f"long answers of {named} are trained on as they are; --rationales teacher asks for thinking before them",
        )


def _say_what_is_asked(probe: pl.DataFrame, requests: Sequence[Request]) -> None:
    """Show the first request for a rationale, and the text that a student would be trained on."""
    if requests:
        asked = " ".join(str(requests[0].messages[-1]["content"]).split())
        first = probe.filter(domain=requests[0].domain).head(1).with_columns(rationale=pl.lit("[the teacher's reply]"))
        learned = " ".join(str(to_chats(first)[0][-1]["content"]).split())
        progress.note("balance", f"--rationales teacher asks, for example: {_cut(asked)}")
        progress.note("balance", f"and the student is then trained on: {_cut(learned)}")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} … ({len(text):,} characters)"


class Probe:
    """An `Asker` that sends nothing and keeps the requests, so that an estimate sees the prompts as they will be.

    Args:
        teacher: that would be asked.
    """

    def __init__(self, teacher: TeacherInfo) -> None:
        self.teacher, self.mode, self.n_bought = teacher, "live", 0
        self.requests: list[Request] = []

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Keep the requests, and return that each is unanswered."""
        self.requests += requests
        return [Reply(status="unanswered") for _ in requests]
