"""Owns new examples for domains that have too few: written by a teacher in rounds, judged, and replaced where rejected.

What is asked, and how a reply is read, is in `curate.generation.examples`; `curate.balance.balance` fills its own places with
the same steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from curate import progress
from curate.audit import audit
from curate.audit.base import Context
from curate.audit.base import auditors as known_auditors
from curate.balance import cost as estimating
from curate.balance.cost import Probe
from curate.balance.decisions import Settled, as_batch
from curate.balance.settings import SynthesizeSettings
from curate.calls import estimates
from curate.calls.client import check_mode, open_metered_teacher
from curate.calls.estimates import EstimateVsActual
from curate.calls.forecast import Estimate, Task
from curate.errors import InputError, UnknownNameError
from curate.generation import prompts
from curate.generation.examples import Cost, cost, write_examples
from curate.ledger.records import Charged
from curate.manifest.manifest import Manifest
from curate.manifest.rows import may_be_shown, next_indices
from curate.settings import takes
from curate.teachers.base import Asker
from curate.teachers.registry import load_teacher
from curate.vectors.encoders import Encoder

__all__ = ["Synthesized", "synthesize"]

_ENOUGH = 32  # judged replies of which none passes end the work
_PROBED = 8  # requests of each domain that an estimate is made from


@dataclass(frozen=True)
class Synthesized:
    """What `synthesize` did.

    Attributes:
        manifest: the next version, or the same where nothing came.
        wanted: new examples per domain.
        written: accepted ones per domain; candidates, which `balance` uses before it calls anybody.
        rejected: per domain, how many each auditor rejected.
        complete: False where a cap or failed calls stopped the work.
        spent: what was charged.
        tokens_per_written, usd_per_written: what one accepted example cost, rejected replies included; None where there is none.
        reckoned: what it was estimated to cost, and what was billed.
        estimate: what it would cost; of a dry run alone.
    """

    manifest: Manifest
    wanted: int
    written: dict[str, int]
    rejected: dict[str, dict[str, int]]
    complete: bool = True
    spent: Charged = field(default_factory=Charged)
    tokens_per_written: float | None = None
    usd_per_written: float | None = None
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


@takes(SynthesizeSettings)
def synthesize(manifest: Manifest, settings: SynthesizeSettings) -> Synthesized:
    """Write new examples for some domains, audit them, and commit them as candidates.

    What an auditor rejects is kept as a rejected row and replaced, until a domain has its examples, the teacher has no more,
    or `max_attempts` replies per example were judged.

    Args:
        manifest: the newest version.

    Raises:
        UnknownNameError: no such domain or auditor.
        InputError: a parameter breaks a rule.
        TeacherError: nobody answers, or the teacher refuses the key or the model; replies so far are in the ledger.
        ConflictError: another command committed meanwhile; run it again, the replies are in the ledger.
    """
    rows, n, auditors = manifest.rows(), settings.n, tuple(settings.auditors)
    names = _checked(rows, settings.domains, n, auditors)
    shaping = ("words", "temperature", "reply_tokens", "n_seeds", "rows_per_call", "seed")
    options: dict[str, Any] = {name: getattr(settings, name) for name in shaping}
    indices = next_indices(rows)
    tallies = {name: _Tally(n, settings.max_attempts * n, indices.get(name, 0)) for name in names}
    known = _known(manifest, rows, settings.encoder)

    def writer_of(asker: Asker) -> _Writer:
        return _Writer(manifest, rows, names, asker, known, auditors, {**options, "prompt_file": settings.prompt_file})

    if settings.dry_run:
        teacher = load_teacher(settings, root=manifest.root, to_ask=False)
        check_mode(settings.mode, teacher)
        task = writer_of(Probe(teacher)).task(tallies, settings.max_attempts)
        estimate = estimates.estimate_tasks(manifest.name, [task], teacher, settings.mode, root=manifest.root)
        return Synthesized(manifest, n, dict.fromkeys(names, 0), {}, estimate=estimate)
    account = open_metered_teacher(manifest.name, settings, root=manifest.root, verb="synthesize")
    writer = writer_of(account)
    parameters = {
        **{"teacher": account.teacher.endpoint, "model": account.teacher.model, "domains": names, "n": n, **options},
        **{"max_attempts": settings.max_attempts, "auditors": list(auditors)},
        "prompt": prompts.load("synthesis", settings.prompt_file).version,
    }
    task = writer.task(tallies, settings.max_attempts)
    estimates.estimate_and_store(account.account, [task], {**parameters, "version": manifest.version}, mode=account.mode)
    writer.write_all(tallies)
    return writer.commit(tallies, parameters)


@dataclass
class _Tally:
    """What one domain still lacks."""

    wanted: int
    limit: int  # replies that may be judged
    index: int  # of the next request
    written: int = 0
    asked: int = 0
    dry: bool = False  # the teacher has no further example
    rejected: Counter[str] = field(default_factory=Counter)

    def order(self) -> list[int]:
        """Return the numbers of the next requests."""
        n = 0 if self.dry else min(self.wanted - self.written, self.limit - self.asked)
        numbers = list(range(self.index, self.index + n))
        self.index += n
        self.asked += n
        return numbers


@dataclass
class _Writer:
    """Writes and judges in rounds; replies are judged in the order of the requests, never in that of arrival."""

    manifest: Manifest
    rows: pl.DataFrame
    domains: list[str]
    account: Any
    known: Context
    auditors: tuple[str, ...]
    options: dict[str, Any]
    stopped: bool = False
    judged: int = 0
    passed: int = 0
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        self.settled = Settled(self.rows, stage=None)
        self.seeds = self.manifest.examples(may_be_shown(self.rows, self.domains))

    def task(self, tallies: dict[str, _Tally], max_attempts: int) -> Task:
        """Return what is to be asked, with some of the requests as they will be."""
        probe = Probe(self.account.teacher)
        first = [(name, own.index + n) for name, own in tallies.items() for n in range(min(own.wanted, _PROBED))]
        self._ask(first, probe)
        judged = estimating.written_before(self.rows.filter(split="train"), self.account.teacher.model)
        return Task("synthesis", {name: own.wanted for name, own in tallies.items()}, probe.requests, *judged, max_attempts)

    def write_all(self, tallies: dict[str, _Tally]) -> None:
        """Ask until every domain has its examples, or nothing is left to try."""
        with progress.step("synthesize", sum(own.wanted for own in tallies.values())) as counter:
            while not self.stopped:
                orders = [(name, number) for name, own in tallies.items() for number in own.order()]
                if not orders:
                    break
                counter.advance(self._round(orders, tallies), rejected=sum(own.rejected.total() for own in tallies.values()))

    def _ask(self, orders: list[tuple[str, int]], account: Asker, refills: Sequence[str] = ()) -> pl.DataFrame:
        frame = pl.DataFrame(orders, schema={"domain": pl.String, "index": pl.Int64}, orient="row")
        return write_examples(frame, account, seeds=self.seeds, context=self.known, refills=refills, **self.options)

    def commit(self, tallies: dict[str, _Tally], parameters: dict[str, Any]) -> Synthesized:
        """Return what was done, committed where anything was judged."""
        tokens, usd = self.cost.per_row(sum(own.written for own in tallies.values()))
        result = Synthesized(
            manifest=self.manifest,
            wanted=parameters["n"],
            written={name: own.written for name, own in tallies.items()},
            rejected={name: dict(sorted(own.rejected.items())) for name, own in tallies.items() if own.rejected},
            complete=not self.stopped,
            spent=self.account.account.charged(),
            tokens_per_written=tokens,
            usd_per_written=usd,
            reckoned=estimates.close_estimate(self.account.account, complete=not self.stopped),
        )
        if not self.judged:
            return result
        self.manifest.append(self.settled.contents())
        after = self.manifest.commit(
            self.settled.rows(), verb="synthesize", parameters=parameters, seed=parameters["seed"], summary=result.figures
        )
        return replace(result, manifest=after)

    def _round(self, orders: list[tuple[str, int]], tallies: dict[str, _Tally]) -> int:
        """Have examples written and judged; return how many were accepted."""
        replies = self._ask(orders, self.account, [name for name, own in tallies.items() if own.rejected])
        self.cost += cost(replies)
        self.stopped = replies["status"].is_in(["capped", "failed"]).any()
        for name in replies.filter(status="unanswered")["domain"].unique():
            tallies[name].dry = True
        batch = as_batch(replies, self.account.teacher.model)
        judgement = audit.judge(batch, self.known, auditors=self.auditors)
        found = {key[0]: part.to_dicts() for key, part in judgement.findings.partition_by("id", as_dict=True).items()}
        for line in batch.iter_rows(named=True):
            auditor, own = judgement.rejected.get(line["id"]), tallies[line["domain"]]
            if auditor is None:
                self.settled.offer(line, found.get(line["id"], []))
                own.written += 1
            else:
                self.settled.reject(line, auditor, found[line["id"]], keep_candidate=False)
                own.rejected[auditor] += 1
        self.judged += batch.height
        self.passed += batch.height - len(judgement.rejected)
        if self.judged >= _ENOUGH and not self.passed:
            self.stopped = True
            message = judgement.findings["message"].to_list()[-1]
            note = f"none of {self.judged} replies passes the auditors; the last: {message}; no more are bought"
            progress.note(
                "synthesize", f"{note}: look at the reply (curate ledger {self.manifest.name} --calls) and at the prompt"
            )
        self.known = audit.remember(self.known, batch.filter(~pl.col("id").is_in(list(judgement.rejected))))
        return batch.height - len(judgement.rejected)


def _known(manifest: Manifest, rows: pl.DataFrame, encoder: str | Encoder | None) -> Context:
    """Return what new examples are compared with: all rows, and the synthetic ones that wait."""
    waiting = manifest.examples(rows.filter(source="synthetic", status="candidate"))
    return audit.remember(audit.context(manifest, rows, encoder=encoder), waiting)


def _checked(rows: pl.DataFrame, domains: Sequence[str], n: int, auditors: Sequence[str]) -> list[str]:
    """Return the domains, sorted, each once."""
    for name in auditors:
        known_auditors.get(name)
    known = set(rows.filter(pl.col("status") != "rejected", split="train")["domain"])
    for name in domains:
        if name not in known:
            raise UnknownNameError("domain", name, known)
    if not domains:
        raise InputError("name at least one domain to write for: --domain NAME")
    if n < 1:
        raise InputError(f"the number of new examples is 1 or more, got {n}")
    return sorted(set(domains))
