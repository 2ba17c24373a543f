"""Declares the options of `merge` and `show`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.defaults import DTYPES
from curate.settings import option

__all__ = ["AnswersSettings", "MergeSettings"]


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    """The options of `baldistill.share.merge.merge`."""

    output: str | Path | None = option(
        None, metavar="FOLDER", help="Folder to write; default: exports/RUN-stage-K-student in the working directory."
    )
    to: str | None = option(None, metavar="hub:ORG/NAME", help="Repository of the Hub to push to; a folder is --output.")
    stage: int | None = option(None, help="Stage of the run, counted from 0; default: the last.")
    adapter_only: bool = option(False, help="Leave the adapter by itself, and merge nothing.")
    student: str | None = option(None, metavar="MODEL", help="Base model; default: the one that the adapter was trained on.")
    dtype: str = option("auto", choices=DTYPES, help="Precision of the merged weights.")
    force: bool = option(False, help="Write to a folder or repository that holds other files, which stay.")
    public: bool = option(False, help="Make the repository one that everybody sees; without it a repository is private.")
    dry_run: bool = option(False, help="Show what a push would send; push nothing.")
    root: str | Path | None = option(None, metavar="FOLDER", help="Folder that holds manifests/.")


@dataclass(frozen=True, kw_only=True)
class AnswersSettings:
    """The options of `baldistill.share.show.show`."""

    stage: int | None = option(None, help="Stage whose student answered, -1 for the base student; default: the last.")
    wrong: bool = option(False, help="Show wrong answers alone.")
    unread: bool = option(False, help="Show only outputs in which no final answer is clear.")
    domains: Sequence[str] | None = option(None, metavar="NAME", help="Domain to show; repeat for several; default: all.")
    grep: str | None = option(None, metavar="TEXT", help="Text that prompt, answer or output contain, in any case.")
    split: str | None = option(
        None, choices=("test", "validation", "train"), help="Split that was asked; default: the one of the plan."
    )
    n: int = option(5, help="At most this many answers.")
    seed: int | None = option(None, help="Draw them with this seed; default: the first.")
    root: str | Path | None = option(None, metavar="FOLDER", help="Folder that holds manifests/.")
