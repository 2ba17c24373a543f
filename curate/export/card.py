"""The card of an exported data set: README.md with its picture, and the files beside it. The door to `curate.cards`.

`card` returns the text and `write_card` writes it with what it shows; `merge` keeps what a person wrote in an earlier one.
Nothing is stated that the manifest, its log and the ledger do not say.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.cards import markdown, metadata
from curate.cards.croissant import croissant
from curate.cards.eu_summary import eu_summary
from curate.cards.facts import CardFacts, read_facts
from curate.cards.markup import escape
from curate.cards.merging import assemble, is_ours, merge
from curate.cards.picture import draw
from curate.export.base import Snapshot
from curate.files import write_whole
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SPLITS

__all__ = ["EU_SUMMARY", "card", "escape", "is_ours", "merge", "summary_for_eu", "write_card", "write_eu_summary"]

Configs = Sequence[Mapping[str, Any]]
EU_SUMMARY = "eu-training-content.md"
_PICTURE, _LISTING, _CROISSANT = "domains.png", "domains.csv", "croissant.json"


def card(
    manifest: Manifest,
    *,
    configs: Configs | None = None,
    language: Sequence[str] = (),
    held_out: bool = True,
    complete_only: bool = False,
    picture: str = "",
) -> str:
    """Return the card of a manifest's snapshot: Markdown under a YAML header.

    Where the log does not reach back to the first version, the card says so and states no licence.

    Args:
        manifest: a version that has at least one commit.
        configs: of the data set, as the header has them: ``config_name``, ``data_files`` and, of one, ``default``; one of a file
            per split in ``data/``, unless given.
        language: codes of its languages; unless given, a sample of the texts is looked at, and the card says so.
        held_out: whether validation and test rows are in it.
        complete_only: whether the rows of stages that a cap cut short are left out.
        picture: of the domains before and after, a path beside the card; "" for none.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    facts = read_facts(manifest, language=language, held_out=held_out, complete_only=complete_only)
    return _text(facts, configs, picture=picture)


def write_card(snapshot: Snapshot, destination: Path, *, configs: Configs | None = None) -> tuple[Path, ...]:
    """Write README.md and what belongs to it; return the paths, README.md first.

    Args:
        snapshot: whose card it is.
        destination: the folder of the data set, in which its files are already.
        configs: as `card` takes them.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    facts = _facts_of(snapshot)
    configs = _configs(facts) if configs is None else configs
    picture = draw(facts, destination / _PICTURE)
    listing = _write_listing(facts, destination / _LISTING)
    text = _text(facts, configs, picture=_PICTURE if picture else "", listing=_LISTING if listing else "")
    described = croissant(facts, configs, destination)
    return (
        _write(destination / "README.md", text),
        *picture,
        *listing,
        _write(destination / _CROISSANT, described),
    )


def summary_for_eu(
    manifest: Manifest, *, language: Sequence[str] = (), held_out: bool = True, complete_only: bool = False
) -> str:
    """Return what a data set adds to a summary of training content, after the European Commission's template.

    Args:
        manifest, language, held_out, complete_only: as `card` takes them.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    return eu_summary(read_facts(manifest, language=language, held_out=held_out, complete_only=complete_only))


def write_eu_summary(snapshot: Snapshot, destination: Path) -> Path:
    """Write `summary_for_eu` of a snapshot as a file of an export; return its path."""
    return _write(destination / EU_SUMMARY, eu_summary(_facts_of(snapshot)))


def _write(path: Path, text: str) -> Path:
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _facts_of(snapshot: Snapshot) -> CardFacts:
    return read_facts(
        snapshot.manifest,
        language=snapshot.language,
        held_out=not snapshot.kept_back,
        complete_only=snapshot.complete_only,
    )


def _text(facts: CardFacts, configs: Configs | None, *, picture: str = "", listing: str = "") -> str:
    configs = _configs(facts) if configs is None else configs
    parts = markdown.body(facts, picture=picture, configs=configs, listing=listing)
    return assemble(metadata.header_of(facts, configs), parts)


def _configs(facts: CardFacts) -> list[dict[str, Any]]:
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS if facts.splits.get(split)]
    return [{"config_name": "default", "data_files": files}]


def _write_listing(facts: CardFacts, path: Path) -> tuple[Path, ...]:
    """Write all domains, where they are too many for the card."""
    if len(facts.domains) <= markdown.MOST_LISTED:
        return ()

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("domain", "before", "after", "real", "synthetic"))
            rows.writerows((d.domain, d.before, d.after, d.real, d.synthetic) for d in facts.domains)

    return (write_whole(path, write),)
