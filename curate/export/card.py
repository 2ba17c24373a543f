"""The card of an exported data set with the files that belong to it: its picture, its Croissant description, its list of domains.

What they say is made in `curate.cards`; `merge` keeps what a person wrote in an earlier card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.cards.card import MOST_LISTED, Configs, configs_of, text_of
from curate.cards.croissant import columns_of, croissant
from curate.cards.eu_summary import eu_summary
from curate.cards.facts import COLUMNS, CardFacts, read_facts
from curate.cards.markup import escape, table
from curate.cards.merging import is_ours, merge
from curate.export.base import Snapshot
from curate.files import write_whole
from curate.manifest.manifest import Manifest

__all__ = ["draw", "escape", "is_ours", "merge", "write_card", "write_eu_summary"]

_PICTURE, _LISTING, _CROISSANT, _EU_SUMMARY = "domains.png", "domains.md", "croissant.json", "eu-training-content.md"


def write_card(snapshot: Snapshot, destination: Path, *, configs: Configs | None = None) -> tuple[Path, ...]:
    """Write README.md and what belongs to it; return the paths, README.md first.

    Args:
        snapshot: whose card it is.
        destination: the folder of the data set, in which its files are already.
        configs: of the data set, as the header has them: ``config_name``, ``data_files`` (of ``split`` and ``path``) and, of one,
            ``default``; the first is described column by column. Unless given there is one, of a file per split in ``data/``.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    facts = _facts(snapshot)
    configs = configs_of(facts) if configs is None else configs
    picture = draw(facts, destination / _PICTURE)
    listing = _write_listing(facts, destination / _LISTING)
    beside = {"picture": _PICTURE if picture else "", "listing": _LISTING if listing else ""}
    text = text_of(facts, configs, **beside, columns=columns_of(configs, destination))
    described = _write(destination / _CROISSANT, croissant(facts, configs, destination))
    return (_write(destination / "README.md", text), *picture, *listing, described)


def write_eu_summary(snapshot: Snapshot, destination: Path) -> Path:
    """Write what a snapshot adds to a summary of training content; return the path.

    Args:
        snapshot: that is exported.
        destination: the folder of the export.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    return _write(destination / _EU_SUMMARY, eu_summary(_facts(snapshot)))


def _facts(snapshot: Snapshot) -> CardFacts:
    limit = snapshot.max_tokens  # rows over it may have been left out
    return read_facts(
        snapshot.manifest,
        language=snapshot.language,
        held_out=not snapshot.kept_back,
        complete_only=snapshot.complete_only,
        within=None if limit is None else (limit, snapshot.narrow(*COLUMNS).lazy()),
    )


def _write_listing(facts: CardFacts, path: Path) -> tuple[Path, ...]:
    """Write all domains, where they are too many for the card; as Markdown, which no reader takes for data."""
    if len(facts.domains) <= MOST_LISTED:
        return ()

    head = ("domain", "before", "after", "real", "synthetic")
    lines = ((d.domain or "(none)", d.before, d.after, d.real, d.synthetic) for d in facts.domains)
    return (_write(path, f"# Domains of {facts.manifest}\n\n{table(head, lines, numbers=4)}\n"),)


def _write(path: Path, text: str) -> Path:
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


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
    """Draw the train rows per domain before and after; return the path, or nothing where there is nothing to draw.

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
