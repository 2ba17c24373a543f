"""Declares the options of `train`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.defaults import DEFAULT_STUDENT, DTYPES
from curate.settings import option

__all__ = ["TrainSettings"]

_STUDENT = "Base model: a path, a Hub id or package:NAME."
_DTYPE = "Precision of the base weights."
_SEED = "Seed of every random choice."


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The options of `baldistill.training.train.train`."""

    student: str = option(DEFAULT_STUDENT, metavar="MODEL", help=_STUDENT)
    output: str | Path | None = option(
        None,
        metavar="FOLDER",
        help="Folder for the adapter; default: one under manifests/runs/adapters.",
        more="That one is named after what is trained. An adapter there that was made from something else is replaced, once the "
        "new one is whole.",
    )
    epochs: int = option(3, help="Passes over the rows.")
    learning_rate: float = option(2e-4, help="Learning rate, constant.")
    rank: int = option(16, help="Rank of the adapter's matrices, LoRA's r.")
    alpha: int = option(32, help="Scale of the adapter, over the rank: LoRA's alpha.")
    dropout: float = option(0.05, help="Dropout on the adapter's input, 0 to 1.")
    batch_size: int = option(4, help="Rows in one forward pass.")
    gradient_accumulation: int = option(4, help="Forward passes per optimiser step.")
    max_tokens: int = option(
        512,
        help="At most this many tokens of prompt and completion together.",
        more="A longer completion is cut at its end; a row whose prompt alone is as long is left out. Both are counted.",
    )
    seed: int = option(0, help=_SEED, more="These are the adapter's first weights, the order of the rows and the dropout.")
    dtype: str = option(
        "auto", choices=DTYPES, help=_DTYPE, more="As in `baldistill.student.students.load`; the adapter itself is always fp32."
    )
    warm_start: str | Path | None = option(
        None,
        metavar="FOLDER",
        help="Adapter to train on, instead of a new one.",
        more="With that adapter's rank, alpha and dropout.",
    )
    allow_overlap: bool = option(
        False, help="Train on rows that are held-out rows too, or near copies of such; they are counted."
    )
