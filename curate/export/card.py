"""The card of an exported data set: README.md with its picture, and the files beside it. The door to `curate.cards`.

`card` returns the text and `write_card` writes it with what it shows; `merge` keeps what a person wrote in an earlier one.
Nothing is stated that the manifest, its log and the ledger do not say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.cards import markdown, metadata
from curate.cards.facts import CardFacts, read_facts
from curate.cards.markup import escape
from curate.cards.merging import assemble, is_ours, merge
from curate.files import write_whole
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SPLITS

__all__ = ["card", "escape", "is_ours", "merge", "write_card"]

PICTURE = "domains.png"


def card(
    manifest: Manifest,
    *,
    configs: Sequence[Mapping[str, Any]] | None = None,
    language: Sequence[str] = (),
    held_out_answers: bool = True,
    picture: str = "",
) -> str:
    """Return the card of a manifest's snapshot: Markdown under a YAML header.

    Where the log does not reach back to the first version, the card says so and states no licence.

    Args:
        manifest: a version that has at least one commit.
        configs: of the data set, as the header has them; one, of a file per split in ``data/``, unless given.
        language: codes of its languages; unless given, a sample of the texts is looked at, and the card says so.
        held_out_answers: whether validation and test rows have their answers in it.
        picture: of the domains before and after, a path beside the card; "" for none.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    return _text(read_facts(manifest, language=language, held_out_answers=held_out_answers), configs, picture)


def _text(facts: CardFacts, configs: Sequence[Mapping[str, Any]] | None, picture: str = "", listing: str = "") -> str:
    configs = _configs(facts) if configs is None else configs
    return assemble(metadata.header_of(facts, configs), markdown.body(facts, picture=picture, configs=configs, listing=listing))


def _configs(facts: CardFacts) -> list[dict[str, Any]]:
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS if facts.splits.get(split)]
    return [{"config_name": "default", "data_files": files}]


def write_card(
    manifest: Manifest,
    destination: Path,
    *,
    configs: Sequence[Mapping[str, Any]] | None = None,
    language: Sequence[str] = (),
    held_out_answers: bool = True,
) -> tuple[Path, ...]:
    """Write README.md and what belongs to it; return the paths, README.md first.

    Args:
        manifest: a version that has at least one commit.
        destination: the folder of the data set, in which its files are already.
        configs, language, held_out_answers: as `card` takes them.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    facts = read_facts(manifest, language=language, held_out_answers=held_out_answers)
    beside = _write_picture(facts, destination / PICTURE)
    text = _text(facts, configs, picture=PICTURE if beside else "")
    readme = write_whole(destination / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
    return (readme, *beside)


def _write_picture(facts: CardFacts, path: Path) -> tuple[Path, ...]:
    from curate.cards.picture import draw

    return draw(facts, path)
