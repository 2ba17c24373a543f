"""Owns the options that several commands share: their types, their help, the headings they stand under. Declares no command."""

from __future__ import annotations

from typing import Annotated

from typer import Option

__all__ = [
    "Auditors",
    "Backend",
    "Encoder",
    "Precision",
    "Prefix",
    "SameBackend",
    "SameEncoder",
    "SamePrecision",
    "Seed",
    "Selector",
    "Task",
    "Thresholds",
]

Seed = Annotated[int, Option(help="Of every random choice.")]
Encoder = Annotated[str, Option(metavar="MODEL", help="Makes the vectors: a path, a Hub id, package:NAME or static:NAME.")]
Precision = Annotated[str, Option(help="Of the encoder: fp32, bf16, int8 or auto.")]
Backend = Annotated[str, Option(help="What runs the encoder: torch, onnx, openvino or auto.")]
SameEncoder = Annotated[str | None, Option(metavar="MODEL", help="Makes the vectors; else the one of cluster.")]
SamePrecision = Annotated[str | None, Option(help="fp32, bf16, int8 or auto; else that of cluster.")]
SameBackend = Annotated[str | None, Option(help="torch, onnx, openvino or auto; else that of cluster.")]
Prefix = Annotated[str | None, Option(metavar="TEXT", help="Before every text, such as 'query: '; else the model's own.")]
Auditors = Annotated[list[str], Option("--auditor", metavar="NAME", help="Who judges; give it several times for several.")]
Thresholds = Annotated[
    list[str] | None,
    Option("--threshold", metavar="A=F", help="Of an auditor: the lowest score that rejects, 0 to 1."),
]
Task = Annotated[
    str,
    Option(
        metavar="KIND",
        help="Kind of task: classification, multiple-choice, mathematics, open-question or instruction.",
        show_default=False,
    ),
]

Selector = Annotated[
    str, Option(help="Who chooses: representative, ifd, random …; docs/selection.md.", rich_help_panel="What is chosen")
]
