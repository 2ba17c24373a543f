"""`baldistill show`: what a student of a run answered, as a person reads it: question, right answer, output. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from baldistill.share.settings import AnswersSettings
from baldistill.share.trained import find_trained
from curate.errors import InputError, UnknownNameError
from curate.report.runs import PREDICTIONS, evaluation_folder
from curate.settings import takes

__all__ = ["AnswersResult", "show"]


@dataclass(frozen=True)
class AnswersResult:
    """Answers of a student.

    Attributes:
        student: the run and its stage.
        split: that was asked.
        answers: one of ``{id, domain, prompt, answer, prediction, correct, output, ended, labels, scores}`` each.
        matched: answers that the filters let through.
        asked: answers in all.
        correct: of them, that are right.
    """

    student: str
    split: str
    answers: tuple[Mapping[str, Any], ...]
    matched: int
    asked: int
    correct: int


@takes(AnswersSettings)
def show(run: str, settings: AnswersSettings) -> AnswersResult:
    """Return what a student of a run answered.

    Args:
        run: name of the run.

    Raises:
        InputError: there is no such run or stage, or its answers were not kept.
        UnknownNameError: no row is of that domain.
    """
    if settings.n < 1:
        raise InputError(f"--n must be at least 1, got {settings.n}")
    trained = find_trained(run, stage=settings.stage, root=settings.root)
    if not trained.run:
        raise InputError(
            f"{run!r} is an adapter, whose answers are nowhere kept: name a run, or see baldistill evaluate --output"
        )
    path = evaluation_folder(trained.folder, settings.split) / PREDICTIONS
    if not path.is_file():
        others = sorted(p.parent.name.removeprefix("evaluate-") for p in trained.folder.glob(f"evaluate-*/{PREDICTIONS}"))
        way = f"of the splits {', '.join(others)} there are some" if others else "run its plan again to have them"
        raise InputError(f"the answers of {trained.name} were not kept ({PREDICTIONS}): {way}")
    table = pl.read_parquet(path)
    domains = sorted(set(table["domain"].to_list()))
    for domain in settings.domains or ():
        if domain not in domains:
            raise UnknownNameError("domain", domain, domains)
    chosen = table.filter(_wanted(settings)) if _wanted(settings) else table
    if settings.seed is not None:
        chosen = chosen.sample(fraction=1.0, shuffle=True, seed=settings.seed)
    return AnswersResult(
        trained.name,
        settings.split or str(trained.metrics.get("split", "test")),
        tuple(chosen.head(settings.n).iter_rows(named=True)),
        chosen.height,
        table.height,
        int(table["correct"].sum()),
    )


def _wanted(settings: AnswersSettings) -> list[pl.Expr]:
    found = []
    if settings.wrong:
        found.append(~pl.col("correct"))
    if settings.unread:
        found.append(pl.col("prediction").is_null())
    if settings.domains:
        found.append(pl.col("domain").is_in(list(settings.domains)))
    if settings.grep is not None:
        texts = pl.concat_str("prompt", "answer", "output", separator="\n", ignore_nulls=True).str.to_lowercase()
        found.append(texts.str.contains(settings.grep.lower(), literal=True))
    return found
