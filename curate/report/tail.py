"""The record of a tail, `Profile`, and the passes over a manifest's rows that its figures come from. Commits nothing.

Every pass streams and reads only the columns that it needs. Lengths are counted into a histogram, which gives exact
quantiles without holding ten million values; prompt keys are sorted once, for duplicates and overlap together. No text is read,
except answers that may be blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from curate.audit.kinds import Kind
from curate.manifest import ids
from curate.manifest.manifest import Manifest
from curate.manifest.rows import is_rejected_before_stages
from curate.manifest.schema import SPLITS

__all__ = [
    "ENDS",
    "MOST_LISTED",
    "Lengths",
    "Part",
    "Profile",
    "PromptCounts",
    "RankRange",
    "StageRows",
    "count_empty",
    "count_parts",
    "count_prompts",
    "count_splits",
    "count_stages",
    "histogram",
    "imbalance",
    "quantiles",
]


MOST_LISTED = 500  # parts that are shown one by one; of more, the ends by name and the rest as a distribution
ENDS = 10  # parts at each end that a distribution names

_BLANK_BELOW = "!"  # a text of white space alone sorts before it, so the statistics of a file rule nearly every file out
Keys = npt.NDArray[np.int64]


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
        rows: in the profile; a row of several labels counts in each.
        share: of the rows of all parts together, 0 to 1.
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
class RankRange:
    """Parts that follow each other in a tail, largest first.

    Attributes:
        first, last: their ranks, from 1.
        parts: themselves.
    """

    first: int
    last: int
    parts: tuple[Part, ...]


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
        budget: by which heads are defined, or None.
        rows: in the profile, each once.
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
        kinds: of answers, with their domains, the one of most domains first; from the real train rows.
        several: rows that have several labels, and so count in several domains; by cluster a row counts where it is filed.
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
    kinds: tuple[Kind, ...] = ()
    several: int = 0

    @property
    def is_listed(self) -> bool:
        """Whether the parts are few enough to be shown one by one: `MOST_LISTED`."""
        return len(self.domains) <= MOST_LISTED

    def by_rank(self) -> tuple[RankRange, ...]:
        """Return the parts by ranges of ranks: each alone; of many only `ENDS` at either end, the others by powers of ten."""
        n = len(self.domains)
        if self.is_listed:
            return tuple(RankRange(rank, rank, (part,)) for rank, part in enumerate(self.domains, start=1))
        powers = [10**exponent for exponent in range(1, len(str(n)))]
        lasts = sorted({rank for rank in (*range(1, ENDS + 1), *powers, *range(n - ENDS, n + 1)) if 1 <= rank <= n})
        firsts = [1, *(last + 1 for last in lasts[:-1])]
        return tuple(RankRange(first, last, self.domains[first - 1 : last]) for first, last in zip(firsts, lasts, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able data with stable keys, unrounded; the manifest is named as ``math@7``."""
        fields = {name: value for name, value in vars(self).items() if name not in {"manifest", "domains", "stages", "kinds"}}
        for part_of in ("chars", "tokens"):
            fields[part_of] = asdict(fields[part_of]) if fields[part_of] else None
        parts = [asdict(part) for part in self.domains]
        if self.by == "domain":
            for part in parts:
                del part["cluster"]
        return {
            "manifest": str(self.manifest),
            **fields,
            "domains": parts,
            "stages": [asdict(stage) for stage in self.stages],
            "kinds": [asdict(kind) for kind in self.kinds],
        }


@dataclass(frozen=True)
class PromptCounts:
    """How many rows repeat a prompt (`duplicates`), and how many have a prompt that is in another split as well (`overlap`)."""

    duplicates: int
    overlap: int


def count_splits(rows: pl.LazyFrame) -> dict[str, int]:
    """Return the number of rows in each split that has any."""
    counts = rows.select((pl.col("split") == split).sum().alias(split) for split in SPLITS).collect(engine="streaming")
    return {split: n for split, n in counts.row(0, named=True).items() if n}


def count_parts(rows: pl.LazyFrame, keys: Sequence[str], in_split: pl.Expr, wanted: pl.Expr) -> pl.DataFrame:
    """Count the rows of every part, in one pass over all rows of a version.

    Args:
        rows: of every split and status.
        keys: the columns that make a part.
        in_split: true for rows of the profiled split.
        wanted: true for rows of the profiled status.

    Returns:
        One row per part, in no order: the keys, rows, real, synthetic, selected, counted (with a number of tokens), all
        among the profiled rows; rejected, those of the split; train and train_real, the train rows as they were ingested.
    """
    chosen = in_split & wanted
    real, train = pl.col("source") == "real", pl.col("split") == "train"
    # Repeats count like the rows that they repeat; to know them would take every origin, the longest of the columns.
    ingested = train & ~is_rejected_before_stages()
    return (
        rows.group_by(*keys)
        .agg(
            rows=chosen.sum(),
            real=(chosen & real).sum(),
            selected=(chosen & (pl.col("status") == "selected")).sum(),
            rejected=(in_split & (pl.col("status") == "rejected")).sum(),
            counted=(chosen & pl.col("n_tokens").is_not_null()).sum(),
            train=ingested.sum(),
            train_real=(ingested & real).sum(),
        )
        .with_columns(synthetic=pl.col("rows") - pl.col("real"))
        .collect(engine="streaming")
    )


def histogram(rows: pl.LazyFrame, keys: Sequence[str], column: str) -> pl.DataFrame:
    """Count the rows of every part and value of an integer column; nulls are left out.

    Returns:
        Columns `keys`, ``value`` and ``n``, sorted by them.
    """
    counted = rows.select(*keys, pl.col(column).alias("value")).group_by(*keys, "value").agg(n=pl.len())
    return counted.collect(engine="streaming").filter(pl.col("value").is_not_null()).sort(*keys, "value")


def quantiles(counts: pl.DataFrame, keys: Sequence[str] = ()) -> pl.DataFrame:
    """Return p50, p95 and max of every part of a histogram, exactly.

    A quantile that falls between two rows is interpolated linearly, as NumPy and pandas do by default.

    Args:
        counts: as `histogram` returns it.
        keys: the columns that make a part; none for all rows together.
    """
    every = keys or ["every"]
    source = counts if keys else counts.group_by("value").agg(pl.col("n").sum()).sort("value").with_columns(every=pl.lit(0))
    ranked = source.with_columns(upto=pl.col("n").cum_sum().over(*every), total=pl.col("n").sum().over(*every))
    found = ranked.group_by(*every).agg(p50=_quantile(0.5), p95=_quantile(0.95), max=pl.col("value").last())
    return found if keys else found.drop("every")


def _quantile(q: float) -> pl.Expr:
    rank = (pl.col("total").first() - 1) * q
    below = pl.col("value").filter(pl.col("upto") > rank.floor()).first()
    above = pl.col("value").filter(pl.col("upto") > rank.ceil()).first()
    return below + (above - below) * (rank - rank.floor())


def count_prompts(rows: pl.LazyFrame, split: str) -> PromptCounts:
    """Count duplicates in a split, and its rows whose prompt is in another split as well.

    Args:
        rows: of every split.
        split: a split, or ``"all"``: then the duplicates are among all rows and the overlap is that of train rows.
    """
    own_split = "train" if split == "all" else split
    frame = rows.select("prompt_key", own=pl.col("split") == own_split).collect(engine="streaming")
    keys = frame["prompt_key"].to_numpy()  # (n,) int64
    own_mask = frame["own"].to_numpy()
    own = np.sort(keys[own_mask])
    others = np.unique(keys[~own_mask])
    first, last = np.searchsorted(own, others, side="left"), np.searchsorted(own, others, side="right")
    return PromptCounts(duplicates=_repeats(np.sort(keys) if split == "all" else own), overlap=int((last - first).sum()))


def _repeats(ordered: Keys) -> int:
    return int((ordered[1:] == ordered[:-1]).sum())


def count_empty(manifest: Manifest, rows: pl.LazyFrame) -> int:
    """Count the rows whose prompt or answer is missing or blank.

    Args:
        manifest: that the rows are of.
        rows: the profiled ones.
    """
    answer = pl.col("answer")
    blank = answer.is_null() | ((answer < _BLANK_BELOW) & (answer.str.strip_chars() == ""))
    without = manifest.scan_contents().filter(blank).select("content").collect(engine="streaming")
    no_prompt = pl.col("prompt_key") == ids.prompt_keys([""])[0]
    if without.is_empty():
        return int(rows.filter(no_prompt).select(pl.len()).collect(engine="streaming").item())
    marked = rows.select("content", "prompt_key").join(without.lazy().unique().with_columns(blank=True), on="content", how="left")
    return int(marked.filter(no_prompt | pl.col("blank")).select(pl.len()).collect(engine="streaming").item())


def count_stages(rows: pl.LazyFrame) -> pl.DataFrame:
    """Return what each stage selected: columns stage, rows, real and synthetic, sorted by stage."""
    real = pl.col("source") == "real"
    selected = rows.filter((pl.col("status") == "selected") & pl.col("stage").is_not_null())
    counts = selected.group_by("stage").agg(rows=pl.len(), real=real.sum(), synthetic=(~real).sum())
    return counts.collect(engine="streaming").sort("stage")


def imbalance(counts: Sequence[int]) -> dict[str, Any]:
    """Return how uneven a tail is: imbalance_ratio, gini, entropy (over its maximum) and effective_domains.

    Gini is half the mean absolute difference between two parts over the mean size (Gini, 1912; no correction for small M);
    the effective number is exp of Shannon's entropy in nats, the Hill number of order 1 (Hill, Ecology 54, 1973).

    Args:
        counts: rows per part, each at least 1.
    """
    ranked, total, n_parts = sorted(counts), sum(counts), len(counts)
    weighted = sum(rank * n for rank, n in enumerate(ranked, start=1))
    nats = -sum(n / total * log(n / total) for n in counts)
    return {
        "imbalance_ratio": ranked[-1] / ranked[0],
        "gini": (2 * weighted - (n_parts + 1) * total) / (n_parts * total),
        "entropy": nats / log(n_parts) if n_parts > 1 else 1.0,
        "effective_domains": exp(nats),
    }
