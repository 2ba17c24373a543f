"""Declares the options of `balance`, `annotate` and `synthesize`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.audit.settings import DEFAULT_AUDITORS
from curate.settings import option
from curate.teachers.options import TEACHER, TeacherOptions

__all__ = ["PLAN", "AnnotateSettings", "BalanceSettings", "SynthesizeSettings"]

PLAN = "What is chosen"

_TEACHER = "Teacher to ask: a URL, openai, recorded:FILE or fake."


@dataclass(frozen=True, kw_only=True)
class BalanceSettings(TeacherOptions):
    """The options of `curate.balance.balance.balance`."""

    budget: int = option(heading=PLAN, help="Accepted rows over all stages.", more="Stage k of K gets B(k+1)//K − Bk//K of them.")
    stages: int = option(1, heading=PLAN, help="Number of stages, K.")
    stage: int | None = option(None, heading=PLAN, help="Do this stage alone, from 0; else every stage that is not done.")
    policy: str | Any = option(
        "adaptive", heading=PLAN, help="natural, uniform, adaptive, temperature or need.", more="Or a callable of that contract."
    )
    schedule: str = option(
        "ours",
        choices=("ours", "paper"),
        heading=PLAN,
        help="Of adaptive and need: ours (the last increment is uniform) or paper.",
    )
    temperature: float = option(2.0, heading=PLAN, help="T of the temperature policy.")
    need_weight: float = option(
        0.5, heading=PLAN, help="Of need, 0 to 1: how far the last student's results shift the adaptive slots."
    )
    metrics: str | Mapping[str, Any] | None = option(
        None,
        metavar="FILE",
        heading=PLAN,
        help="Of need: what `baldistill evaluate --split validation --json` wrote.",
        more="Or the same as a mapping. It holds for the stages that this call does; name one with `stage`.",
    )
    selector: str | Any = option(
        "representative",
        heading=PLAN,
        help="Selector of real rows: representative, ifd, random …; see docs/selection.md.",
        more="Or a callable of that contract.",
    )
    rationales: str = option(
        "auto",
        choices=("auto", "teacher", "keep", "none"),
        heading=TEACHER,
        help="auto asks for missing rationales; teacher asks for all, keep for none; none drops them.",
        more="With none, the answer alone is trained on.",
    )
    wrong_rationale: str = option(
        "drop",
        choices=("drop", "hint", "answer-only"),
        heading=TEACHER,
        help="Of a real row: drop (try again if its domain runs short), hint (then show the answer) or answer-only.",
        more="What to do where a rationale ends in another answer than the row's; answer-only takes the row without one.",
    )
    fill: str = option(
        "teacher",
        choices=("teacher", "repeat", "none"),
        heading=PLAN,
        help="What completes a short domain: teacher, repeat or none.",
    )
    max_attempts: int = option(5, heading=TEACHER, help="Judged replies per open slot before a domain stops.")
    auditors: Sequence[str] = option(DEFAULT_AUDITORS, metavar="NAME", help="Auditor that must find nothing; repeat for several.")
    encoder: str | Any | None = option(
        None, metavar="MODEL", help="Encoder for near-duplicates and leakage; else that of the clusters."
    )
    show_answer: bool = option(
        False,
        heading=TEACHER,
        help="Show the right answer to a teacher that writes a rationale.",
        more="The paper hides it.",
    )
    rationale_prompt: str | None = option(
        None, metavar="FILE", heading=TEACHER, help="Prompt template of rationales, or a folder; else the built-in ones."
    )
    synthesis_prompt: str | None = option(
        None,
        metavar="FILE",
        heading=TEACHER,
        help="Prompt template of new examples, or a folder; else the built-in ones.",
    )
    rows_per_call: int = option(1, heading=TEACHER, help="New examples asked for in one request.")
    dry_run: bool = option(False, help="Show the plan and its cost; spend and change nothing.")
    seed: int = option(0, help="Seed of every random choice.")


@dataclass(frozen=True, kw_only=True)
class AnnotateSettings(TeacherOptions):
    """The options of `curate.balance.annotate.annotate`."""

    teacher: str | Any = option(metavar="T", heading=TEACHER, help=_TEACHER)
    show_answer: bool = option(False, heading=TEACHER, help="Show the right answer to the teacher.", more="The paper hides it.")
    prompt_file: str | None = option(
        None, metavar="FILE", heading=TEACHER, help="Prompt template, or a folder of them; else the built-in ones."
    )
    words: int = option(120, heading=TEACHER, help="Length of a rationale that is asked for, in words.")
    temperature: float = option(0.2, heading=TEACHER, help="Sampling temperature of the teacher.")
    reply_tokens: int = option(512, heading=TEACHER, help="Length of a reply, at most, in tokens.")
    dry_run: bool = option(False, help="Show what it would cost; spend and change nothing.")


@dataclass(frozen=True, kw_only=True)
class SynthesizeSettings(TeacherOptions):
    """The options of `curate.balance.synthesize.synthesize`."""

    domains: Sequence[str] = option(metavar="NAME", help="Domain to write for; repeat for several.")
    n: int = option(help="Accepted examples per domain.")
    teacher: str | Any = option(metavar="T", heading=TEACHER, help=_TEACHER)
    prompt_file: str | None = option(
        None, metavar="FILE", heading=TEACHER, help="Prompt template, or a folder of them; else the built-in ones."
    )
    words: int = option(120, heading=TEACHER, help="Length of a rationale that is asked for, in words.")
    temperature: float = option(0.8, heading=TEACHER, help="Sampling temperature of the teacher.")
    reply_tokens: int = option(1024, heading=TEACHER, help="Length of a reply, per example, at most, in tokens.")
    n_seeds: int = option(4, heading=TEACHER, help="Examples shown in each request, at most.")
    rows_per_call: int = option(1, heading=TEACHER, help="New examples asked for in one request.")
    max_attempts: int = option(5, heading=TEACHER, help="Judged replies per example before a domain stops.")
    auditors: Sequence[str] = option(DEFAULT_AUDITORS, metavar="NAME", help="Auditor that must find nothing; repeat for several.")
    encoder: str | Any | None = option(
        None, metavar="MODEL", help="Encoder for near-duplicates and leakage; else that of the clusters."
    )
    dry_run: bool = option(False, help="Show what it would cost; spend and change nothing.")
    seed: int = option(0, help="Seed of the choice of the examples shown.")
