"""Declares the options of `audit`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.settings import option

__all__ = ["DEFAULT_AUDITORS", "AuditSettings"]

DEFAULT_AUDITORS = ("malformed", "answer_mismatch", "leakage", "near_duplicate")


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """The options of `curate.audit.audit.audit`."""

    auditors: Sequence[str | Any] = option(
        DEFAULT_AUDITORS,
        metavar="NAME",
        help="Auditor to run; repeat for several.",
        more="A name, or a callable of that contract. They judge in this order.",
    )
    apply: bool = option(False, help="Reject the rows that fail; default: only write the findings.")
    fail_on: str | None = option(
        None,
        metavar="A=F",
        help="Exit with status 3 if more than this share is rejected, such as malformed=0.01.",
        more="``SHARE`` or ``AUDITOR=SHARE[,AUDITOR=SHARE…]``, 0 to 1; checked after the commit.",
    )
    thresholds: Mapping[str, float] | None = option(
        None, metavar="A=F", help="Lowest score of an auditor that rejects, 0 to 1; repeat for several."
    )
    encoder: str | Any | None = option(
        None,
        metavar="MODEL",
        help="Embedding model for near-duplicates and leakage; default: the one used by cluster.",
        more="Or an `Encoder`.",
    )
    status: str = option(
        "auto",
        choices=("auto", "selected", "candidate", "rejected", "all"),
        metavar="STATUS",
        help="Status of the rows to audit: selected, candidate, rejected or all; auto: selected, or candidate if none is.",
    )
