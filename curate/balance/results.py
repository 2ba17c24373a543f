"""Result types of the verbs that ask a teacher: `balance`, one stage and all; `annotate` and `synthesize`, what they share."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from curate.balance.preview import PreviewResult
from curate.calls.estimates import EstimateVsActual
from curate.calls.forecast import Estimate
from curate.ledger.records import Charged
from curate.manifest.manifest import Manifest
from curate.selection.base import Quotas

__all__ = ["AskedKind", "AskingResult", "BalanceResult", "StageResult"]


@dataclass(frozen=True)
class AskedKind:
    """What a teacher would be asked for in some domains, and why that.

    Attributes:
        kind, task, how, why, domains: as in `curate.audit.kinds.Kind`.
        rationales, examples: how many replies of these domains are wanted.
    """

    kind: str
    task: str
    how: str
    why: str
    domains: tuple[str, ...]
    rationales: int
    examples: int


@dataclass(frozen=True)
class AskingResult:
    """What `annotate` and `synthesize` both return.

    Attributes:
        manifest: the next version, or the same where no reply was judged.
        spent: what was charged.
        reckoned: what it was estimated to cost, and what was billed.
        estimate: what it would cost; of a dry run alone.
        preview: the replies that were bought; of a preview alone.
        asked: what would be asked for in which domains; of a dry run alone.
    """

    manifest: Manifest
    spent: Charged = field(default_factory=Charged, kw_only=True)
    reckoned: EstimateVsActual | None = field(default=None, kw_only=True)
    estimate: Estimate | None = field(default=None, kw_only=True)
    preview: PreviewResult | None = field(default=None, kw_only=True)
    asked: tuple[AskedKind, ...] = field(default=(), kw_only=True)

    @property
    def is_plan(self) -> bool:
        """Whether nothing was to be done: of a dry run or a preview."""
        return self.estimate is not None or self.preview is not None

    @property
    def short_by(self) -> int:
        """How many of the rationales or examples that were asked for are not there; 0 of a dry run or a preview."""
        return 0

    @property
    def figures(self) -> dict[str, Any]:
        """What was done, in figures, for the commit's summary."""
        others = ("manifest", "spent", "reckoned", "estimate", "preview", "asked")
        return {**{k: v for k, v in asdict(self).items() if k not in others}, **asdict(self.spent)}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        reckoned = None if self.reckoned is None else self.reckoned.to_dict()
        estimate = None if self.estimate is None else self.estimate.to_dict()
        if self.preview is not None:
            return {"version": self.manifest.version, "preview": self.preview.to_dict()}
        asked = {"asked": [asdict(kind) for kind in self.asked]} if self.asked else {}
        figures = {**self.figures, "short_by": self.short_by}
        return {"version": self.manifest.version, **figures, "reckoned": reckoned, "estimate": estimate, **asked}


@dataclass(frozen=True)
class StageResult:
    """One stage, as planned and as achieved.

    Attributes:
        stage: from 0.
        version: of the manifest after it; None in a dry run.
        budget: accepted rows of this stage.
        quotas: wanted and planned slots per domain.
        achieved, synthetic: rows accepted per domain, and how many of them are synthetic; a row of several labels counts in each.
        rejected: per domain, how often each auditor rejected.
        moved: slots per domain gained or given up because some domains could not fill theirs.
        unanswered: requests that a recorded teacher had no answer for.
        complete: False where a cap stopped the work; the same command goes on.
        calls, tokens, usd: charged in this stage; usd is None without a price.
        saved: replies taken from the ledger without a call.
        written: new examples of the teacher that were accepted.
        tokens_per_written, usd_per_written: what one of them cost, rejected replies included, whenever they were bought.
        rows: rows accepted, each once: fewer than `achieved` sums to, and maybe than the slots, where rows have several labels.
            None of a stage that is to come, or that a version before 0.2 did.
        reused: the stage was done before with the same parameters, and nothing was changed.
        estimate: what it would cost; dry runs alone.
        asked: what would be asked for in which domains; dry runs alone.
        reckoned: what it was estimated to cost when it began, and what was billed since; None without a teacher.
    """

    stage: int
    version: int | None
    budget: int
    quotas: Quotas
    achieved: dict[str, int]
    synthetic: dict[str, int]
    rejected: dict[str, dict[str, int]]
    moved: dict[str, int]
    unanswered: int = 0
    complete: bool = True
    calls: int = 0
    tokens: int = 0
    usd: float | None = None
    saved: int = 0
    written: int = 0
    tokens_per_written: float | None = None
    usd_per_written: float | None = None
    rows: int | None = None
    reused: bool = False
    estimate: Estimate | None = None
    asked: tuple[AskedKind, ...] = ()
    reckoned: EstimateVsActual | None = None

    @property
    def n_rows(self) -> int:
        """Rows accepted, each once."""
        return sum(self.achieved.values()) if self.rows is None else self.rows

    @property
    def short_by(self) -> int:
        """How many slots are empty; 0 of a stage that is to come. A row of several labels fills one of each."""
        return max(0, self.budget - sum(self.achieved.values())) if self.version is not None else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        return {**asdict(self), "reckoned": None if self.reckoned is None else self.reckoned.to_dict()}


@dataclass(frozen=True)
class BalanceResult:
    """What `balance` did.

    Attributes:
        manifest: the next version.
        budget: accepted rows over all stages.
        stages: one result per stage asked for, in order.
        undone: stages after a changed one that have to be done again.
        asks: whether a teacher was named.
        preview: the replies that were bought; of a preview alone, which does no stage.
    """

    manifest: Manifest
    budget: int
    stages: tuple[StageResult, ...]
    undone: tuple[int, ...] = ()
    asks: bool = True
    preview: PreviewResult | None = None

    @property
    def complete(self) -> bool:
        """Whether no stage was stopped by a cap."""
        return all(stage.complete for stage in self.stages) and (self.preview is None or self.preview.complete)

    @property
    def short_by(self) -> int:
        """How many slots of the stages that were done are empty; 0 of a dry run."""
        return sum(stage.short_by for stage in self.stages)

    def _per_written(self, name: str) -> float | None:
        """Return a stage's figure as the mean over the new examples of all stages; None where a stage has none."""
        figures = [(stage.written, getattr(stage, name)) for stage in self.stages if stage.written]
        if not figures or any(figure is None for _, figure in figures):
            return None
        return float(sum(n * figure for n, figure in figures) / sum(n for n, _ in figures))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that ``--json`` promises, summed over the stages."""
        if self.preview is not None:
            return {"version": self.manifest.version, "preview": self.preview.to_dict()}
        total: dict[str, Counter[str]] = {key: Counter() for key in ("wanted", "planned", "achieved", "synthetic", "rejected")}
        for stage in self.stages:
            total["wanted"].update(stage.quotas.wanted)
            total["planned"].update(stage.quotas.planned)
            total["achieved"].update(stage.achieved)
            total["synthetic"].update(stage.synthetic)
            total["rejected"].update({domain: sum(by.values()) for domain, by in stage.rejected.items()})
        usd = [stage.usd for stage in self.stages]
        return {
            "version": self.manifest.version,
            "budget": self.budget,
            "rows": sum(stage.n_rows for stage in self.stages),
            "domains": [
                {
                    "domain": domain,
                    "wanted": total["wanted"][domain],
                    "planned": total["planned"][domain],
                    "achieved": total["achieved"][domain],
                    "real": total["achieved"][domain] - total["synthetic"][domain],
                    "synthetic": total["synthetic"][domain],
                    "rejected": total["rejected"][domain],
                }
                for domain in sorted(total["wanted"])
            ],
            "calls": sum(stage.calls for stage in self.stages),
            "tokens": sum(stage.tokens for stage in self.stages),
            "usd": None if None in usd else sum(u for u in usd if u is not None),
            "written": sum(stage.written for stage in self.stages),
            "tokens_per_written": self._per_written("tokens_per_written"),
            "usd_per_written": self._per_written("usd_per_written"),
            "complete": self.complete,
            "short_by": self.short_by,
            "stages": [stage.to_dict() for stage in self.stages],
        }
