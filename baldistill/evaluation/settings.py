"""Declares the options of `score` and `evaluate`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.defaults import DEFAULT_STUDENT, DTYPES
from curate.settings import option

__all__ = ["ANSWERS", "FORMULAS", "EvaluateSettings", "ScoreSettings"]

FORMULAS = ("ifd_ppl", "ifd_loss")  # of difficulty scores
# How answers are found: written freely, chosen among the labels of a closed set by their likelihood (behind a rationale that is
# written freely, too), or chosen wherever a domain has a closed set.
ANSWERS = ("generate", "score", "reason", "auto")
_STUDENT = "Base model: a path, a Hub id or package:NAME."
_ADAPTER = "Folder of a trained adapter; default: none, the base student."
_DTYPE = "Precision of the base weights."
_SEED = "Seed of every random choice."
_LIMIT = "Rows in all, spread evenly over the domains; default: all."


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """The options of `baldistill.evaluation.score.score`."""

    student: str = option(DEFAULT_STUDENT, metavar="MODEL", help=_STUDENT)
    adapter: str | Path | None = option(None, metavar="FOLDER", help=_ADAPTER)
    proxy: str | None = option(
        None,
        metavar="MODEL",
        help="Model, usually smaller, that scores in the student's place, without the adapter.",
        more="Small and large models find much the same rows hard (Superfiltering); its scores stay valid from stage to stage.",
    )
    kind: str = option("ifd_ppl", choices=FORMULAS, help="Formula of the score.")
    over: str = option(
        "rationale",
        choices=("rationale", "answer", "generation"),
        help="Completion that is scored: the rationale with the answer, the answer alone, or what the student generates.",
        more="A row without a rationale is scored by its answer; "
        "``generation`` is up to 200 tokens of the student's own, as in the paper.",
    )
    limit: int | None = option(None, help=_LIMIT)
    domains: Sequence[str] | None = option(None, metavar="NAME", help="Domain to score; repeat for several; default: all.")
    max_tokens: int = option(
        1024,
        help="At most this many tokens of prompt and completion together.",
        more="A longer completion is cut at half of it, then the prompt from the left.",
    )
    batch_tokens: int | None = option(None, help="Tokens per batch; default: 1,024, on CUDA 32,768.")
    batch_size: int | None = option(None, help="At most this many rows per batch when the student generates.")
    seed: int = option(0, help=_SEED)
    dtype: str = option("auto", choices=DTYPES, help=_DTYPE)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """The options of `baldistill.evaluation.evaluate.evaluate`."""

    student: str = option(DEFAULT_STUDENT, metavar="MODEL", help=_STUDENT)
    adapter: str | Path | None = option(None, metavar="FOLDER", help=_ADAPTER)
    endpoint: str | None = option(
        None,
        metavar="URL",
        help="OpenAI-compatible server that holds the student, such as vLLM; instead of weights.",
        more="Answers are greedy, go through the ledger and are not asked for twice; labels cannot be scored there.",
    )
    model: str | None = option(None, metavar="MODEL", help="Name that the endpoint has for the student.")
    api_key_env: str | None = option(None, metavar="VARIABLE", help="Environment variable that holds the endpoint's API key.")
    max_calls: int | None = option(None, help="At most this many calls, over everything ever charged to this manifest's name.")
    max_usd: float | None = option(None, metavar="USD", help="At most this many US dollars, in the same way.")
    split: str = option("test", choices=("test", "validation", "train"), help="Split whose rows the student answers.")
    limit: int | None = option(None, help=_LIMIT)
    seed: int = option(0, help=_SEED)
    answers: str = option(
        "generate",
        choices=ANSWERS,
        help="How answers are found: written, or the likeliest label of a closed set, at once or after a rationale.",
        more="``score`` and ``reason`` need domains whose answers are class names or letters of options. ``auto`` scores where "
        "they are, after a rationale where most rows that the student was trained on have one; other answers are written.",
    )
    prior: str | None = option(
        None,
        metavar="natural|uniform|T",
        help="Shares of the labels that scored answers are corrected to; default: none, the scores as they are.",
        more="``natural`` are those of all real train rows, T their power 1/T. The base student is not corrected.",
    )
    per_token: bool = option(False, help="Divide a label's score by its tokens.")
    output: str | Path | None = option(
        None, metavar="FOLDER", help="Folder for predictions.parquet, a row for each answer; default: none is written."
    )
    max_new_tokens: int = option(96, help="At most this many tokens per output.")
    max_prompt_tokens: int | None = option(
        None,
        help="At most this many tokens of a prompt; a longer one is cut at its beginning, and counted.",
        more="Unless given, what the student's window leaves beside the output or the longest label.",
    )
    batch_tokens: int | None = option(
        None, help="Tokens per batch, of prompts and outputs; default: 4,096 (1,024 where labels are scored), on CUDA more."
    )
    batch_size: int | None = option(None, help="At most this many prompts per batch, however short.")
    budget: int | None = option(
        None,
        help="Accepted rows over all stages, B: a domain with at least B over the number of domains is a head.",
        more="Unless given, N takes the place of B.",
    )
    dtype: str = option("auto", choices=DTYPES, help=_DTYPE)
    metrics: Sequence[str | Any] = option(
        (),
        metavar="NAME",
        help="Additional metric: class_f1, label_f1, token_f1 or rouge_l; repeat for several.",
        more="Or a callable.",
    )
