"""Declares the options of `rename`, `delete` and `unselect`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.settings import ROOT, option

__all__ = ["DeleteSettings", "RenameSettings", "UnselectSettings"]


@dataclass(frozen=True, kw_only=True)
class RenameSettings:
    """The options of `curate.housekeeping.rename.rename`."""

    new: str = option(positional=True, metavar="NEW", help="New name of the manifest, which nothing may have yet.")
    root: str | Path | None = option(None, metavar="FOLDER", help=ROOT)


@dataclass(frozen=True, kw_only=True)
class DeleteSettings:
    """The options of `curate.housekeeping.delete.delete`."""

    yes: bool = option(False, flag="--yes", help="Delete without asking, as scripts must.")
    root: str | Path | None = option(None, metavar="FOLDER", help=ROOT)


@dataclass(frozen=True, kw_only=True)
class UnselectSettings:
    """The options of `curate.housekeeping.unselect.unselect`."""

    stage: int | None = option(None, help="Take back the rows that this stage selected, from 0.")
    domains: Sequence[str] | None = option(
        None, metavar="NAME", help="Take back the selected rows of this domain; repeat for several."
    )
    ids: Sequence[str] | None = option(
        None, metavar="ROW", help="Take back the selected row of this id, or of its first digits; repeat for several."
    )
    all: bool = option(False, flag="--all", help="Take back every selected row.")
