"""Declares the options of `export`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.cards.settings import EU_SUMMARY, LANGUAGE
from curate.settings import option

__all__ = ["ExportSettings"]

_HUB = "To the Hub"  # heading of the options

OVER_LONG = ("keep", "drop")


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The options of `curate.export.export.export`."""

    to: str | Any = option(
        "trl",
        metavar="FORMAT",
        help="Format to write: a trainer's (trl, trl-dpo, openai, alpaca, sharegpt, llama-factory, axolotl, unsloth, torchtune), "
        "or parquet, jsonl, chat, datasets.",
        more="Or a callable of the same contract.",
    )
    destination: str | Path | None = option(
        None,
        metavar="FOLDER",
        help="Folder to write to; default: exports/NAME-vVERSION-FORMAT in the working directory.",
        more="It is made if missing. An earlier export in it is replaced once the new one is whole; other files are refused.",
    )
    force: bool = option(
        False,
        help="Write to a folder that holds other files; only what an earlier export wrote is replaced, and they stay.",
    )
    held_out: bool | None = option(
        None,
        help="Take validation and test rows, with their answers; default: for a folder yes, for the Hub no.",
        flag="--held-out/--no-held-out",
    )
    language: Sequence[str] | None = option(None, metavar="CODE", help=LANGUAGE)
    eu_summary: bool = option(False, help=f"Write beside the data {EU_SUMMARY}")
    complete_only: bool = option(False, help="Leave out the rows of stages that a cap cut short.")
    weights: bool = option(
        False,
        help="Add a column weight, by which every domain counts as much as the balance wanted.",
        more="Of train rows, with the mean 1; docs/commands.md has the formula.",
    )
    max_tokens: int | None = option(
        None, metavar="N", help="Report the rows of more than N tokens, as the student's chat template renders them, per domain."
    )
    student: str | None = option(
        None,
        metavar="MODEL",
        help="Model whose tokens --max-tokens counts, and that a trainer's lines name; default: the built-in one.",
    )
    over_long: str = option(
        "keep",
        choices=OVER_LONG,
        help="What becomes of train rows over --max-tokens: they are written whole (keep), or left out (drop).",
    )
    public: bool = option(
        False,
        help="Make the repository one that everybody sees; without it a repository is private.",
        heading=_HUB,
    )
    dry_run: bool = option(
        False,
        help="Show repository, files, sizes and card of a push, and what would not go; write and push nothing.",
        heading=_HUB,
    )
