"""Declares the options of `card`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curate.settings import option

__all__ = ["EU_SUMMARY", "LANGUAGE", "CardSettings"]

LANGUAGE = "Language of the data, as a code such as en; repeat for several; default: detected in a sample, and said to be."
EU_SUMMARY = "what the data adds to a summary of training content, after the EU's template; no legal advice."


@dataclass(frozen=True, kw_only=True)
class CardSettings:
    """The options of `curate.cards.card.card`."""

    language: Sequence[str] | None = option(None, metavar="CODE", help=LANGUAGE)
    held_out: bool = option(True, help="Whether validation and test rows are in the data set.", flag="--held-out/--no-held-out")
    complete_only: bool = option(False, help="Leave out the rows of stages that a cap cut short.")
    eu_summary: bool = option(False, help=f"Show instead {EU_SUMMARY}")
