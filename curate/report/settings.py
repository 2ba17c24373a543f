"""Declares the options of `profile` and `show`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curate.defaults import DEFAULT_STUDENT
from curate.settings import option

__all__ = ["ProfileSettings", "ShowSettings"]


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """The options of `curate.report.profile.profile`."""

    by: str = option("domain", choices=("domain", "cluster"), help="Show one bar per domain, or per cluster of every domain.")
    split: str | None = option(
        None,
        choices=("train", "validation", "test", "all"),
        help="Split of the rows to look at; default: train, or all if there are no train rows.",
    )
    status: str | None = option(
        None,
        choices=("candidate", "selected", "rejected"),
        help="Status of the rows to look at; default: candidate and selected.",
    )
    tokens: bool = option(False, help="Count the tokens of rows that have no count yet, and commit the counts.")
    student: str = option(DEFAULT_STUDENT, metavar="MODEL", help="Model whose tokenizer counts the tokens.")
    max_tokens: int = option(1024, help="Token limit of the student; longer rows are reported.")
    budget: int | None = option(
        None,
        help="Accepted rows over all stages, B: a domain with at least B over the number of domains is a head.",
        more="Unless given, all rows take the place of B.",
    )
    kind: Sequence[str] | None = option(
        None,
        metavar="[DOMAIN=]KIND",
        help="Kind of answers in place of the recognised one: number, choice, label, text, a task such as instruction, or auto "
        "to recognise it again; repeat for several domains.",
        more="Commits it, and every later verb goes by it, over what ``ingest --kind`` says of rows.",
    )
    plot: str | None = option(
        None,
        metavar="FILE",
        help="Draw the bars into a .png or .svg file; with --status selected, beside those before the selection.",
    )


@dataclass(frozen=True, kw_only=True)
class ShowSettings:
    """The options of `curate.report.show.show`."""

    row: str | None = option(
        None, positional=True, metavar="ROW", help="Id of one row, or its first digits, in place of the filters."
    )
    domains: Sequence[str] | None = option(None, metavar="NAME", help="Domain of the rows; repeat for several.")
    status: str | None = option(None, choices=("candidate", "selected", "rejected"), help="Status of the rows.")
    stage: int | None = option(None, help="Stage that selected or rejected the rows, from 0.")
    finding: str | None = option(None, metavar="AUDITOR", help="Auditor that found something in the rows.")
    split: str | None = option(None, choices=("train", "validation", "test"), help="Split of the rows.")
    source: str | None = option(None, choices=("real", "synthetic"), help="Source of the rows.")
    grep: str | None = option(
        None,
        help="Text that the rows contain, letter by letter, in the chat, the rationale, the answer or another column.",
    )
    ignore_case: bool = option(False, help="Let --grep find the text in upper and lower case.")
    n: int = option(5, help="Rows to show.")
    seed: int | None = option(None, help="Draw the rows at random, by this seed; default: the first in the manifest.")
