"""Declares the options of `ingest`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.settings import ROOT, option

__all__ = ["IngestSettings"]


@dataclass(frozen=True, kw_only=True)
class IngestSettings:
    """The options of `curate.sources.ingest.ingest`."""

    to: str = option(metavar="NAME", help="Manifest to add the rows to; made if it does not exist.")
    prompt: str | None = option(
        None,
        metavar="COL",
        help="Column of the question; default: prompt, or the last user turn of messages.",
        more="A column ``messages`` is read as a chat unless it is given.",
    )
    answer: str | None = option(None, metavar="COL", help="Column of the final answer; default: answer.")
    rationale: str | None = option(None, metavar="COL", help="Column of the reasoning; default: rationale, if there is one.")
    domain: str | None = option(
        None,
        metavar="COL",
        help="Column of the domain, or auto to make domains from clusters later; default: domain, if there is one.",
    )
    split: str | None = option(
        None,
        metavar="NAME_OR_COL",
        help="One split for all rows, or the column of the split; default: split, if there is one, else train.",
    )
    source: str = option(
        "real",
        choices=("real", "synthetic"),
        help="Whether the rows are real, or synthetic: written by a model (train rows only).",
    )
    holdout: float = option(
        0.0,
        help="Share of the new train prompts that become validation, 0 to 1.",
        more="Of the distinct prompts of new real rows, even over domains.",
    )
    seed: int = option(0, help="Seed of the choice of the hold-out.")
    licence: str | None = option(None, help="Licence of the sources, recorded as given.")
    domain_from: str | None = option(None, choices=("filename",), help="Take the domain from the name of each file.")
    domain_rule: str | None = option(
        None,
        choices=("first", "explode"),
        help="How to read a row with a list of domains: by the first, or as one row per domain (explode).",
    )
    on_error: str = option("fail", choices=("fail", "skip"), help="What to do at a bad record: fail, or skip and list it.")
    prune: bool = option(False, help="Retire the rows that a changed file no longer has.")
    root: str | Path | None = option(None, metavar="FOLDER", help=ROOT)
