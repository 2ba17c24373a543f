"""The commands of ``baldistill``. A verb's options come from its settings class; a command with its own body is written out."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from baldistill.evaluation.settings import EvaluateSettings, ScoreSettings
from baldistill.share.settings import AnswersSettings, MergeSettings
from baldistill.training.settings import TrainSettings
from curate.terminal.commands import Json, Root, command, make_app, settings_verb

__all__ = ["app", "main"]

NOTHING: list[str] = []
RUN, STEPS, SHARE = "Whole method", "Single steps", "What a student leaves"

app = make_app(
    "baldistill",
    "Distil a student in stages on data that curate balances: Multi-Stage Balanced Distillation.",
    layouts="baldistill.layouts",
)


@command(app, RUN)
def run(
    plan: Annotated[str, Argument(metavar="PLAN", help="A plan.toml: a manifest, and one table per verb.")],
    *,
    json: Json = False,
    root: Root = None,
) -> Any:
    """Run a plan: K stages of balance, train, evaluate and score; a stopped run continues where it was."""
    from baldistill.runs import pipeline
    from baldistill.runs.plan import load
    from curate import progress

    checked = load(plan)
    for line in checked.describe():
        progress.note("plan", line)
    return pipeline.run(checked, root=root)


@command(app, RUN)
def compare(
    runs: Annotated[
        list[str],
        Argument(metavar="GRID.toml|RUN...", help="A grid of methods, or names of runs; default: all runs.", show_default=False),
    ] = NOTHING,
    *,
    show: Annotated[bool, Option("--show", help="Run nothing of the grid, and compare what is done.")] = False,
    json: Json = False,
    root: Root = None,
) -> Any:
    """Compare the methods of a grid over seeds, or show the students of several runs side by side."""
    from baldistill.runs import compare

    return compare.compare(runs, show=show, root=root)


settings_verb(
    app,
    TrainSettings,
    "baldistill.training.train:train",
    STEPS,
    "Fine-tune a student by LoRA on the selected train rows.",
)
settings_verb(
    app,
    ScoreSettings,
    "baldistill.evaluation.score:score",
    STEPS,
    "Score the candidates by how hard they are for a student.",
)
settings_verb(
    app,
    EvaluateSettings,
    "baldistill.evaluation.evaluate:evaluate",
    STEPS,
    "Let a student answer held-out rows, and measure its accuracy.",
)

settings_verb(
    app,
    AnswersSettings,
    "baldistill.share.show:show",
    SHARE,
    "Show what a student of a run answered, the wrong answers alone if you like.",
    subject=("run", Annotated[str, Argument(metavar="RUN", help="Name of the run.")]),
)
settings_verb(
    app,
    MergeSettings,
    "baldistill.share.merge:merge",
    SHARE,
    "Merge a student's adapter into its base model, as a folder with a card, or at the Hub.",
    subject=("source", Annotated[str, Argument(metavar="RUN", help="Name of a run, or the folder of an adapter.")]),
)


def main() -> None:
    """Run ``baldistill``."""
    app()
