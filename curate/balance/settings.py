"""Declares the options of `balance`, `annotate` and `synthesize`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.audit.settings import DEFAULT_AUDITORS
from curate.settings import option
from curate.teachers.options import TEACHER, TeacherOptions

__all__ = ["PLAN", "AnnotateSettings", "BalanceSettings", "SynthesizeSettings"]

PLAN = "Selection"

_TEACHER = "Teacher to ask: a URL, openai, recorded:FILE or fake."
_ENCODER = "Embedding model for near-duplicates and leakage; default: the one used by cluster."
_AUDITORS = "Auditor that every row must pass; repeat for several."
_PREVIEW = "Buy only N of the replies (5 where no number follows), show them, and change nothing; the verb itself then has them."
_PROMPT = "Prompt template, or a folder of them; default: the built-in ones."


@dataclass(frozen=True, kw_only=True)
class BalanceSettings(TeacherOptions):
    """The options of `curate.balance.balance.balance`."""

    budget: int = option(heading=PLAN, help="Accepted rows over all stages.", more="Stage k of K gets B(k+1)//K − Bk//K of them.")
    stages: int = option(1, heading=PLAN, help="Number of stages, K.")
    stage: int | None = option(None, heading=PLAN, help="Run only this stage, counted from 0; default: all unfinished stages.")
    policy: str | Any = option(
        "adaptive",
        metavar="POLICY",
        heading=PLAN,
        help="How many rows each domain gets: natural, uniform, adaptive, temperature or need.",
        more="Or a callable of that contract.",
    )
    schedule: str = option(
        "ours",
        choices=("ours", "paper"),
        heading=PLAN,
        help="Schedule of the policies adaptive and need: ours makes the last increment uniform.",
    )
    temperature: float = option(2.0, metavar="T", heading=PLAN, help="T of the policy temperature.")
    need_weight: float = option(
        0.5, heading=PLAN, help="How far the last student's results shift the slots of the policy need, 0 to 1."
    )
    metrics: str | Mapping[str, Any] | None = option(
        None,
        metavar="FILE",
        heading=PLAN,
        help="Validation results for the policy need, from `baldistill evaluate --split validation --json`.",
        more="Or the same as a mapping. They hold for the stages that this call runs; name one with `stage`.",
    )
    selector: str | Any = option(
        "representative",
        metavar="SELECTOR",
        heading=PLAN,
        help="Which real rows are selected: representative, ifd, random and others; see docs/selection.md.",
        more="Or a callable of that contract.",
    )
    rationales: str = option(
        "auto",
        choices=("auto", "teacher", "keep", "none"),
        heading=TEACHER,
        help="Ask for missing rationales (auto), for all (teacher) or for none (keep), or train on answers alone (none).",
    )
    wrong_rationale: str = option(
        "drop",
        choices=("drop", "hint", "answer-only"),
        heading=TEACHER,
        help="What happens to a real row whose rationale is wrong: it is dropped (and tried again if its domain runs short), "
        "asked about again with the answer shown (hint), or kept without a rationale (answer-only).",
        more="A rationale is wrong if it ends in another answer than the row's.",
    )
    fill: str = option(
        "teacher",
        choices=("teacher", "repeat", "none"),
        heading=PLAN,
        help="How to complete a domain with too few rows: new examples by the teacher, repeated rows, or not at all.",
    )
    max_attempts: int = option(5, heading=TEACHER, help="Judged replies per open slot before a domain stops.")
    auditors: Sequence[str] = option(DEFAULT_AUDITORS, metavar="NAME", help=_AUDITORS)
    encoder: str | Any | None = option(None, metavar="MODEL", help=_ENCODER)
    show_answer: bool = option(
        False,
        heading=TEACHER,
        help="Show the right answer to a teacher that writes a rationale.",
        more="The paper hides it.",
    )
    rationale_prompt: str | None = option(
        None,
        metavar="FILE",
        heading=TEACHER,
        help="Prompt template for rationales, or a folder of them; default: the built-in ones.",
    )
    synthesis_prompt: str | None = option(
        None,
        metavar="FILE",
        heading=TEACHER,
        help="Prompt template for new examples, or a folder of them; default: the built-in ones.",
    )
    rows_per_call: int = option(1, heading=TEACHER, help="New examples requested per call.")
    preview: int | None = option(None, metavar="[N]", heading=TEACHER, help=_PREVIEW, bare=5)
    dry_run: bool = option(False, help="Show the plan and its cost; send and change nothing.")
    seed: int = option(0, help="Seed of every random choice.")


@dataclass(frozen=True, kw_only=True)
class AnnotateSettings(TeacherOptions):
    """The options of `curate.balance.annotate.annotate`."""

    teacher: str | Any = option(metavar="TEACHER", heading=TEACHER, help=_TEACHER)
    show_answer: bool = option(False, heading=TEACHER, help="Show the right answer to the teacher.", more="The paper hides it.")
    prompt_file: str | None = option(None, metavar="FILE", heading=TEACHER, help=_PROMPT)
    words: int = option(120, heading=TEACHER, help="Length of a rationale to ask for, in words.")
    temperature: float = option(0.2, metavar="T", heading=TEACHER, help="Sampling temperature of the teacher.")
    reply_tokens: int = option(512, heading=TEACHER, help="Longest reply, in tokens.")
    preview: int | None = option(None, metavar="[N]", heading=TEACHER, help=_PREVIEW, bare=5)
    dry_run: bool = option(False, help="Show what it would cost; send and change nothing.")


@dataclass(frozen=True, kw_only=True)
class SynthesizeSettings(TeacherOptions):
    """The options of `curate.balance.synthesize.synthesize`."""

    domains: Sequence[str] = option(metavar="NAME", help="Domain to write examples for; repeat for several.")
    n: int = option(help="Accepted examples per domain.")
    teacher: str | Any = option(metavar="TEACHER", heading=TEACHER, help=_TEACHER)
    prompt_file: str | None = option(None, metavar="FILE", heading=TEACHER, help=_PROMPT)
    words: int = option(120, heading=TEACHER, help="Length of a rationale to ask for, in words.")
    temperature: float = option(0.8, metavar="T", heading=TEACHER, help="Sampling temperature of the teacher.")
    reply_tokens: int = option(1024, heading=TEACHER, help="Longest reply per example, in tokens.")
    n_seeds: int = option(4, heading=TEACHER, help="At most this many examples are shown in each request.")
    rows_per_call: int = option(1, heading=TEACHER, help="New examples requested per call.")
    max_attempts: int = option(5, heading=TEACHER, help="Judged replies per example before a domain stops.")
    auditors: Sequence[str] = option(DEFAULT_AUDITORS, metavar="NAME", help=_AUDITORS)
    encoder: str | Any | None = option(None, metavar="MODEL", help=_ENCODER)
    preview: int | None = option(None, metavar="[N]", heading=TEACHER, help=_PREVIEW, bare=5)
    dry_run: bool = option(False, help="Show what it would cost; send and change nothing.")
    seed: int = option(0, help="Seed of the choice of the examples shown.")
