"""Owns the commands of ``baldistill``: one declaration per verb, with the verb's parameters, defaults and a line of help each.

A declaration has no body: `curate.terminal.commands.verb` calls the verb with exactly these parameters. Tests compare both lists.
"""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from curate.terminal.commands import Json, Name, Root, command, make_app, verb

__all__ = ["app", "main"]

STUDENT = "HuggingFaceTB/SmolLM2-135M-Instruct"
NOTHING: list[str] = []
RUN, STEPS = "The whole method", "Its steps, alone"

Seed = Annotated[int, Option(help="Of every random choice.")]
Dtype = Annotated[str, Option(help="Of the base weights: auto, bf16 or fp32.")]
Student = Annotated[str, Option(metavar="MODEL", help="A path, a Hub id or package:NAME.")]
Adapter = Annotated[str | None, Option(metavar="FOLDER", help="A trained adapter; else the base student.")]

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
    """Run a plan: K stages of balance, train, score and evaluate; a stopped run goes on where it was."""
    from baldistill import pipeline
    from baldistill import plan as plans
    from curate import progress

    checked = plans.load(plan)
    for line in checked.describe():
        progress.note("plan", line)
    return pipeline.run(checked, root=root)


@verb(app, "baldistill.compare:compare", RUN, on_manifest=False)
def compare(
    runs: Annotated[list[str], Argument(metavar="RUN...", help="Names of runs; else all of them.", show_default=False)] = NOTHING,
    *,
    json: Json = False,
    root: Root = None,
) -> None:
    """Put the students of several runs side by side."""


@verb(app, "baldistill.students:train", STEPS)
def train(
    name: Name,
    *,
    student: Student = STUDENT,
    output: Annotated[str | None, Option(metavar="FOLDER", help="Of the adapter; else under manifests/runs/adapters.")] = None,
    epochs: Annotated[int, Option(help="Passes over the rows.")] = 3,
    learning_rate: Annotated[float, Option(help="Peak.")] = 2e-4,
    rank: Annotated[int, Option(help="LoRA's r.")] = 16,
    alpha: Annotated[int, Option(help="LoRA's scale, over the rank.")] = 32,
    dropout: Annotated[float, Option(help="On the adapter's input, 0 to 1.")] = 0.05,
    batch_size: Annotated[int, Option(help="Rows in one pass.")] = 4,
    gradient_accumulation: Annotated[int, Option(help="Passes to one optimiser step.")] = 4,
    max_tokens: Annotated[int, Option(help="Of prompt and completion together.")] = 512,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    warm_start: Annotated[str | None, Option(metavar="FOLDER", help="An adapter to go on from.")] = None,
    json: Json = False,
    root: Root = None,
) -> None:
    """Fine-tune a student by LoRA on the selected train rows."""


@verb(app, "baldistill.score:score", STEPS)
def score(
    name: Name,
    *,
    student: Student = STUDENT,
    adapter: Adapter = None,
    proxy: Annotated[str | None, Option(metavar="MODEL", help="A small model that scores in the student's place.")] = None,
    kind: Annotated[str, Option(help="ifd_ppl or ifd_loss.")] = "ifd_ppl",
    over: Annotated[str, Option(help="The completion: rationale, answer or generation.")] = "rationale",
    limit: Annotated[int | None, Option(help="Rows in all, even over domains.")] = None,
    domains: Annotated[list[str] | None, Option("--domain", metavar="NAME", help="Only these; give it several times.")] = None,
    max_tokens: Annotated[int, Option(help="Of prompt and completion together.")] = 1024,
    batch_tokens: Annotated[int | None, Option(help="Tokens read side by side; else 1,024, on CUDA 32,768.")] = None,
    batch_size: Annotated[int, Option(help="Rows answered side by side, for generation.")] = 8,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    json: Json = False,
    root: Root = None,
) -> None:
    """Score the candidates by how hard they are for a student."""


@verb(app, "baldistill.evaluate:evaluate", STEPS)
def evaluate(
    name: Name,
    *,
    student: Student = STUDENT,
    adapter: Adapter = None,
    split: Annotated[str, Option(help="test, validation or train.")] = "test",
    limit: Annotated[int | None, Option(help="Rows in all, even over domains.")] = None,
    seed: Seed = 0,
    max_new_tokens: Annotated[int, Option(help="Of one answer.")] = 96,
    batch_size: Annotated[int, Option(help="Prompts answered side by side.")] = 16,
    budget: Annotated[int | None, Option(help="Accepted rows in all, which tells heads from tails.")] = None,
    dtype: Dtype = "auto",
    metrics: Annotated[list[str], Option("--metric", help="Further figures: class_f1 or token_f1.")] = NOTHING,
    json: Json = False,
    root: Root = None,
) -> None:
    """Let a student answer held-out rows, and count what is right."""


def main() -> None:
    """Run ``baldistill``."""
    app()
