"""Owns how the results of baldistill's verbs look on a screen. Prints nothing: it returns what rich can print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from curate import grids
from curate.grids import accuracy, count, grid, money, number, seconds
from curate.panels import quota_grid

__all__ = ["LAYOUTS"]

_HEAD, _TAIL = "cyan", "yellow"


def _trained(result: Any) -> Iterable[Any]:
    losses = result.losses
    yield from grids.facts(
        f"trained on {count(result.rows)} rows of {result.manifest}",
        [
            ("adapter", result.adapter),
            ("steps", f"{count(result.steps)} in {seconds(result.seconds)}"),
            ("loss", f"{number(losses[0])} first, {number(losses[-1])} last" if losses else None),
            ("cut at the token limit", count(result.truncated) if result.truncated else None),
            ("left out, prompt too long", count(len(result.skipped)) if result.skipped else None),
        ],
    )


def _scored(result: Any) -> Iterable[Any]:
    yield from grids.facts(
        f"{result.manifest}: {count(result.rows)} candidates scored",
        [
            ("kind", ", ".join(f"{kind} {count(n)}" for kind, n in result.kinds.items()) or None),
            ("by", result.scored_by),
            ("had their score", count(result.already) if result.already else None),
            ("cut at the token limit", count(result.truncated) if result.truncated else None),
            ("without a score", count(len(result.unscored)) if result.unscored else None),
        ],
    )


def _evaluation(result: Any) -> Iterable[Any]:
    yield from grids.facts(
        f"{result.student} on {count(result.rows)} {result.split} rows of {result.manifest}",
        [
            *((name, _rate(getattr(result, name))) for name in ("macro", "micro", "head", "tail")),
            *((name, ", ".join(f"{k} {number(v)}" for k, v in found.items())) for name, found in result.metrics.items()),
            (
                "cut",
                f"{count(result.truncated)} prompts, {count(result.unended)} answers"
                if result.truncated + result.unended
                else None,
            ),
            ("took", seconds(result.seconds)),
        ],
    )
    yield ""
    yield grid(
        ["domain", "", "rows", "right", "accuracy", ""],
        [
            [
                line["domain"],
                "head" if line["head"] else "tail",
                count(line["n"]),
                count(line["correct"]),
                accuracy(line["accuracy"], line["low"], line["high"]),
                grids.Bar([(line["accuracy"], _HEAD if line["head"] else _TAIL)], 1.0, width=20),
            ]
            for line in result.domains
        ],
        left=(0, 1, 5),
    )


def _rate(rate: Any) -> str | None:
    """Return a rate as text; it is an object in a fresh result and a mapping in a record."""
    if rate is None:
        return None
    read: Callable[[str], float] = rate.__getitem__ if isinstance(rate, Mapping) else lambda key: getattr(rate, key)
    return accuracy(read("value"), read("low"), read("high"))


def _run(result: Any) -> Iterable[Any]:
    yield from grids.facts(
        f"{result.manifest}: {len(result.balanced)} stages",
        [("record", result.folder), ("exported", ", ".join(str(path) for path in result.exported) or None)],
    )
    yield ""
    yield quota_grid(result.balanced, dry=False)
    yield ""
    yield _accuracies(result.stages)


def _accuracies(stages: Iterable[Any]) -> Any:
    """Return a row per stage: what the student learned from, what it can do, what the stage cost."""
    columns = ["student", "snapshot", "macro", "micro", "head", "tail", "calls", "cost", "replies from the ledger"]
    rows = []
    for stage in stages:
        rates = [_rate(stage.metrics.get(name)) for name in ("macro", "micro", "head", "tail")]
        spend = stage.spend
        cost = (
            [count(spend["calls"]), money(spend["usd"]) if spend["calls"] else None, count(spend["saved"])]
            if spend
            else [None] * 3
        )
        name = "base" if stage.index < 0 else f"after stage {stage.index}"
        rows.append([name, stage.snapshot if stage.index >= 0 else None, *rates, *cost])
    return grid(columns, rows, left=(0, 1))


LAYOUTS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "Evaluation": _evaluation,
    "Run": _run,
    "Scored": _scored,
    "Trained": _trained,
}
