"""``python -m baldistill.demo``: the whole method on a small long tail, offline, with a recorded teacher.

Runs the plan in ``examples/demo`` and puts its figures side by side; every figure is one that a verb reports.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baldistill.runs.plan import load
from curate.errors import InputError
from curate.terminal import console
from curate.terminal.commands import guarded

__all__ = ["DemoResult", "demo", "files", "main"]

PRICED_AS = ("gpt-4o-mini", "https://api.openai.com/v1")  # whose list price the recorded tokens are shown at


@dataclass(frozen=True)
class DemoResult:
    """The results of the demo.

    Attributes:
        run: the run of the plan.
        before: profile of the train rows as ingested.
        after: profile of the selected rows.
        heads: domains with at least B/M real rows.
        plot: picture of the tail before and after.
        tokens: prompt and completion tokens of the teacher's replies that were used.
        usd: what they would have cost at the list price of `priced_as`, or None.
        priced_as: the model whose list price it is.
    """

    run: Any
    before: Any
    after: Any
    plot: Path
    tokens: int
    usd: float | None
    priced_as: str


def files() -> Path:
    """Return the folder with the demo's plan, questions and recorded replies."""
    packaged = Path(__file__).parent / "demo_files"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "examples" / "demo"


def demo(*, root: str | Path | None = None, teacher: str | None = None, model: str | None = None) -> DemoResult:
    """Run the demo.

    Args:
        root: the folder that holds ``manifests/`` and ``cache/``.
        teacher: a live server's URL, instead of the recorded replies.
        model: that server's name for its model.

    Raises:
        CurateError: a step failed; what was done stands, and the same call continues from there.
    """
    from baldistill.runs import pipeline
    from curate.manifest.manifest import Manifest
    from curate.report import costs, profile
    from curate.report.plot import plot_tail
    from curate.teachers import prices

    plan = load(files() / "plan.toml")
    if teacher is not None:
        plan = dataclasses.replace(
            plan, tables=plan.tables | {"balance": plan.parameters("balance") | {"teacher": teacher, "model": model}}
        )
    run = pipeline.run(plan, root=root)
    ingested = Manifest(run.manifest.name, 0, run.manifest.root)
    before = profile.profile(ingested, budget=plan.parameters("balance")["budget"])
    after = profile.profile(run.manifest, status="selected")
    plot = plot_tail([before, after], run.folder / "tail.png")
    bought = costs.read_costs(run.manifest)
    price = prices.find(*PRICED_AS)
    usd = None if price is None else price.usd(bought.prompt_tokens, bought.completion_tokens)
    return DemoResult(run, before, after, Path(plot), bought.tokens, usd, PRICED_AS[0])


def main(arguments: list[str] | None = None) -> None:
    """Run ``python -m baldistill.demo``."""
    parser = argparse.ArgumentParser(
        prog="python -m baldistill.demo", description="Run the whole method on a small long tail, offline."
    )
    parser.add_argument(
        "--root", help="folder that holds manifests/ and cache/; default: CURATE_ROOT, else the working directory"
    )
    parser.add_argument("--teacher", metavar="URL", help="a live OpenAI-compatible server, instead of the recorded replies")
    parser.add_argument("--model", help="name of that server's model")
    options = parser.parse_args(arguments)
    with guarded():
        if options.teacher and not options.model:
            raise InputError("--teacher needs --model: the server's name for its model")
        with console.watch():
            result = demo(root=options.root, teacher=options.teacher, model=options.model)
        console.show(result, layouts="baldistill.layouts")


if __name__ == "__main__":
    from baldistill.demo import main as run  # run as a module this file is `__main__`; layouts are found by the class's package

    run(sys.argv[1:])
