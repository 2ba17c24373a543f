"""Declares the options of `ingest`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.settings import ROOT, option

__all__ = ["FORMATS", "IngestSettings"]

# Shapes of records that `curate.sources.shapes` knows, in the order in which they are tried.
FORMATS = (
    *("auto", "messages", "sharegpt", "preference", "trl", "multiple-choice", "squad", "alpaca", "question-answer"),
    *("table", "classification", "texts"),
)


@dataclass(frozen=True, kw_only=True)
class IngestSettings:
    """The options of `curate.sources.ingest.ingest`."""

    to: str = option(metavar="NAME", help="Manifest to add the rows to; made if it does not exist.")
    prompt: str | None = option(
        None,
        metavar="EXPR",
        help="What the question is: a column, columns (a,b), a path (a.b[0]) or a template; default: by the shape of the record.",
        more="A template is Jinja2, such as ``{{ instruction }}``, with the filters ``options`` and ``letter``.",
    )
    prompt_template: str | Path | None = option(None, metavar="FILE", help="File with the template of the question.")
    answer: str | None = option(
        None, metavar="EXPR", help="What the final answer is, as for --prompt; default: by the shape of the record."
    )
    answer_template: str | Path | None = option(None, metavar="FILE", help="File with the template of the answer.")
    rationale: str | None = option(
        None, metavar="EXPR", help="What the reasoning is, as for --prompt; default: rationale, if there is one."
    )
    domain: str | None = option(
        None,
        metavar="EXPR",
        help="What the domain is, as for --prompt, or auto to make domains of clusters later; default: domain, if there is one.",
    )
    kind: str | None = option(
        None,
        metavar="KIND_OR_EXPR",
        help="Kind of the answers: number, choice, label, text, a task such as instruction, or auto to recognise it; or, as for "
        "--prompt, what says it row by row; default: kind, where that holds such names.",
        more="What a teacher is asked and how replies are judged follows from it (docs/audit.md).",
    )
    format: str = option(
        "auto", choices=FORMATS, help="Shape of the records; auto: each record's own, as docs/records.md lists them."
    )
    turns: str = option(
        "last", choices=("last", "all"), help="Which assistant turns of a chat are trained on: the last one, or all."
    )
    split: str | None = option(
        None,
        metavar="NAME_OR_COL",
        help="One split for all rows, or the column of the split; default: split, if there is one, else by file name, or train.",
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
        choices=("first", "all", "explode"),
        help="How to read a row with a list of domains: by the first, with all of them, or as one row per domain (explode).",
    )
    on_error: str = option("fail", choices=("fail", "skip"), help="What to do at a bad record: fail, or skip and list it.")
    prune: bool = option(False, help="Retire the rows that a changed file no longer has.")
    known_as: str | None = option(
        None,
        metavar="NAME",
        flag="--as",
        help="Name of the source that the file is, where it was moved or renamed, or comes from a pipe.",
    )
    dry_run: bool = option(False, help="Say what would be added and changed, and write nothing.")
    no_header: bool = option(False, help="CSV and TSV: the first line is a record, not names.", heading="Text files")
    columns: str | None = option(None, metavar="A,B,C", help="CSV and TSV: names of the columns.", heading="Text files")
    delimiter: str | None = option(None, metavar="CHAR", help="CSV and TSV: what separates cells, or tab.", heading="Text files")
    quote: str = option('"', metavar="CHAR", help="CSV and TSV: what cells are quoted with, or none.", heading="Text files")
    records: str | None = option(
        None, metavar="KEY", help="JSON: key of the list of records in a document that wraps it.", heading="Text files"
    )
    root: str | Path | None = option(None, metavar="FOLDER", help=ROOT)
