"""Declares the options of `select` and `sample`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curate.settings import option
from curate.vectors.settings import SameEncoderOptions

__all__ = ["SampleSettings", "SelectSettings"]


@dataclass(frozen=True, kw_only=True)
class SelectSettings(SameEncoderOptions):
    """The options of `curate.selection.select.select`."""

    n: int = option(
        help="Selected rows per domain afterwards.",
        more="A domain with fewer real candidates gives all it has, and the result says how many it lacks.",
    )
    domains: Sequence[str] | None = option(
        None,
        metavar="NAME",
        help="Domain to select from; repeat for several; default: all.",
        more="All that have train rows. A comparison is of one.",
    )
    selector: str | Any = option(
        "representative",
        metavar="SELECTOR",
        help="Which rows are selected: representative, ifd, random and others; see docs/selection.md.",
        more="Or a callable, see `curate.selection.base`.",
    )
    compare: bool = option(False, help="Measure every selector on one domain instead; nothing is written.")
    seed: int = option(0, help="Seed of every random choice.")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """The options of `curate.selection.sample.sample`."""

    rows: int = option(help="Rows to draw in all.")
    exponent: float = option(1.0, help="Exponent of Zipf's law: 0 is uniform, 1 the classic law, more is steeper.")
    seed: int = option(0, help="Seed of the draw.")
    domains: Sequence[str] | None = option(
        None,
        metavar="NAME",
        help="Domain to draw from; repeat for several, from head to tail; default: all, by size.",
        more="Rows of domains not named are not drawn.",
    )
