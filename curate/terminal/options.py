"""Owns the options that several commands share: their types, their help, the headings they stand under. Declares no command."""

from __future__ import annotations

from typing import Annotated

from typer import Option

__all__ = [
    "CAPS",
    "PLAN",
    "TEACHER",
    "Auditors",
    "Backend",
    "Concurrency",
    "DryRun",
    "Encoder",
    "KeyEnv",
    "MaxCalls",
    "MaxTokens",
    "MaxUsd",
    "Mode",
    "Model",
    "PerMinute",
    "Precision",
    "Prefix",
    "PromptFile",
    "RationalePrompt",
    "ReplyTokens",
    "RowsPerCall",
    "SameBackend",
    "SameEncoder",
    "SamePrecision",
    "Sampling",
    "Seed",
    "Selector",
    "ShowAnswer",
    "SynthesisPrompt",
    "Task",
    "Teacher",
    "TeacherNeeded",
    "Thresholds",
    "Timeout",
    "TokensPerMinute",
    "Words",
]

PLAN, TEACHER, CAPS = "What is chosen", "The teacher", "Hard caps, over everything ever charged to this manifest's name"

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
Teacher = Annotated[
    str | None, Option(metavar="T", help="Who writes: a URL, openai, recorded:FILE or fake.", rich_help_panel=TEACHER)
]
TeacherNeeded = Annotated[
    str,
    Option(metavar="T", help="Who writes: a URL, openai, recorded:FILE or fake.", show_default=False, rich_help_panel=TEACHER),
]
PromptFile = Annotated[
    str | None, Option(metavar="FILE", help="Template, or folder of them; else those built in.", rich_help_panel=TEACHER)
]
RationalePrompt = Annotated[
    str | None, Option(metavar="FILE", help="Template of rationales, or folder of them.", rich_help_panel=TEACHER)
]
SynthesisPrompt = Annotated[
    str | None, Option(metavar="FILE", help="Template of new examples, or folder of them.", rich_help_panel=TEACHER)
]
Task = Annotated[
    str, Option(help="classification, multiple-choice, mathematics, open-question or instruction.", show_default=False)
]
ShowAnswer = Annotated[
    bool, Option("--show-answer", help="Show it the right answer when it writes a rationale.", rich_help_panel=TEACHER)
]
RowsPerCall = Annotated[int, Option(help="New examples asked for in one request.", rich_help_panel=TEACHER)]
Words = Annotated[int, Option(help="Length of a rationale asked for.", rich_help_panel=TEACHER)]
Sampling = Annotated[float, Option(help="Of sampling.", rich_help_panel=TEACHER)]
ReplyTokens = Annotated[int, Option(help="Length of a reply, per example, at most.", rich_help_panel=TEACHER)]
Model = Annotated[str | None, Option(help="The teacher's model.", rich_help_panel=TEACHER)]
KeyEnv = Annotated[str | None, Option(metavar="VARIABLE", help="Environment variable of its key.", rich_help_panel=TEACHER)]
Concurrency = Annotated[int, Option(help="Calls in flight at once.", rich_help_panel=TEACHER)]
PerMinute = Annotated[int | None, Option(metavar="N", help="Of requests, at most.", rich_help_panel=TEACHER)]
TokensPerMinute = Annotated[
    int | None, Option(metavar="N", help="Of tokens, prompts and replies together, at most.", rich_help_panel=TEACHER)
]
Timeout = Annotated[float, Option(metavar="SECONDS", help="For one reply, from the first byte sent.", rich_help_panel=TEACHER)]
Mode = Annotated[str, Option(help="live, or batch: the provider's batches, half price, within a day.", rich_help_panel=TEACHER)]
DryRun = Annotated[bool, Option("--dry-run", help="Show the plan and its cost; spend and change nothing.")]
MaxCalls = Annotated[int | None, Option(help="Calls.", rich_help_panel=CAPS)]
MaxTokens = Annotated[int | None, Option(help="Tokens, prompts and replies together.", rich_help_panel=CAPS)]
MaxUsd = Annotated[float | None, Option(help="US dollars.", rich_help_panel=CAPS)]

Selector = Annotated[str, Option(help="Who chooses: representative, ifd, random …; docs/selection.md.", rich_help_panel=PLAN)]
