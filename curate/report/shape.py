"""Owns the shape of a profile: `Profile`, its bars and its lengths. Computes nothing (`curate.report.profile`), draws nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from curate.manifest.manifest import Manifest

__all__ = ["Lengths", "Part", "Profile", "StageRows"]


@dataclass(frozen=True)
class Lengths:
    """Quantiles of a length over rows, interpolated linearly between neighbours.

    Attributes:
        p50: the median.
        p95: 95 of 100 rows are not longer.
        max: the longest.
    """

    p50: float
    p95: float
    max: int


@dataclass(frozen=True)
class Part:
    """One bar of the tail: a domain, or a cluster of a domain.

    Attributes:
        domain: its name; empty where the rows have none.
        cluster: its number where the profile is by cluster; None there for rows that are in no cluster.
        rows: in the profile.
        share: of all rows in the profile, 0 to 1.
        cumulative: share of this and every larger part, 0 to 1.
        head: whether its real rows reach B/M (N/M without a budget).
        real: rows that were ingested as real.
        synthetic: rows that a teacher wrote.
        selected: rows of the snapshot.
        rejected: rows left out of `rows`, unless the profile is of rejected rows.
        chars: lengths of prompt, rationale and answer together, in characters.
        tokens: the same in tokens; None where they were not counted.
    """

    domain: str
    cluster: int | None
    rows: int
    share: float
    cumulative: float
    head: bool
    real: int
    synthetic: int
    selected: int
    rejected: int
    chars: Lengths | None
    tokens: Lengths | None


@dataclass(frozen=True)
class StageRows:
    """What one stage selected: `real` and `synthetic` rows."""

    stage: int
    rows: int
    real: int
    synthetic: int


@dataclass(frozen=True)
class Profile:
    """The tail of one version of a manifest.

    Attributes:
        manifest: that was profiled; the next version where tokens had to be counted.
        by: ``"domain"`` or ``"cluster"``.
        split: whose rows these are; ``"all"`` for every split.
        status: whose rows these are; None for all but the rejected.
        budget: that heads were told by, or None.
        rows: in the profile.
        splits: rows of that status in each split.
        domains: the parts, largest first; ties by name.
        imbalance_ratio: largest part over smallest.
        gini: of the parts' rows, 0 (balanced) to 1.
        entropy: of the parts' shares over its maximum log M, 0 to 1 (balanced).
        effective_domains: exp of the entropy in nats, the Hill number of order 1: as many equal parts have that entropy.
        duplicates: rows whose prompt an earlier row has.
        empty: rows whose prompt or answer is missing or blank.
        overlap: rows whose prompt is in another split as well.
        stages: what each stage selected.
        chars: lengths in characters.
        tokens: lengths in tokens, or None where they were not counted.
        uncounted: rows that have no count of tokens.
        max_tokens: the student's limit.
        too_long: rows above it, or None where tokens were not counted.
    """

    manifest: Manifest
    by: str
    split: str
    status: str | None
    budget: int | None
    rows: int
    splits: dict[str, int]
    domains: tuple[Part, ...]
    imbalance_ratio: float
    gini: float
    entropy: float
    effective_domains: float
    duplicates: int
    empty: int
    overlap: int
    stages: tuple[StageRows, ...]
    chars: Lengths | None
    tokens: Lengths | None
    uncounted: int
    max_tokens: int
    too_long: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able data with stable keys, unrounded; the manifest is named as ``math@7``."""
        fields = {name: value for name, value in vars(self).items() if name not in {"manifest", "domains", "stages"}}
        for part_of in ("chars", "tokens"):
            fields[part_of] = asdict(fields[part_of]) if fields[part_of] else None
        parts = [asdict(part) for part in self.domains]
        if self.by == "domain":
            for part in parts:
                del part["cluster"]
        return {"manifest": str(self.manifest), **fields, "domains": parts, "stages": [asdict(stage) for stage in self.stages]}
