"""Draws the domains of a card before and after, from its facts, by `curate.report.plot`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from curate.manifest.manifest import Manifest

if TYPE_CHECKING:
    from curate.cards.facts import CardFacts

__all__ = ["draw"]


@dataclass(frozen=True)
class _Bar:
    domain: str
    rows: int
    real: int
    synthetic: int
    cluster: int | None = None


@dataclass(frozen=True)
class _Tail:
    """A `curate.report.plot.Tail` of counts that are known."""

    manifest: Manifest
    rows: int
    domains: Sequence[_Bar]
    imbalance_ratio: float
    gini: float
    by: str = "domain"


def draw(facts: CardFacts, path: Path) -> tuple[Path, ...]:
    """Draw the train rows per domain before and after; return the path, or nothing where there is nothing to compare.

    Args:
        facts: of the snapshot.
        path: of a file that ends in ``.png`` or ``.svg``.
    """
    before = [_Bar(domain.domain, domain.before, domain.before, 0) for domain in facts.domains if domain.before]
    after = [_Bar(domain.domain, domain.after, domain.real, domain.synthetic) for domain in facts.domains if domain.after]
    if not after:
        return ()
    from curate.report.plot import plot_tail

    panels = [(title, _tail(facts, bars)) for title, bars in (("before", before), ("after", after)) if bars]
    return (plot_tail([tail for _, tail in panels], path, titles=[title for title, _ in panels]),)


def _tail(facts: CardFacts, bars: Sequence[_Bar]) -> _Tail:
    from curate.report.tail import imbalance

    ordered = sorted(bars, key=lambda bar: (-bar.rows, bar.domain))
    found = imbalance([bar.rows for bar in bars])
    return _Tail(facts.manifest, sum(bar.rows for bar in bars), ordered, found["imbalance_ratio"], found["gini"])
