"""Puts several runs side by side, from the records that `baldistill.runs.pipeline` wrote, or hands on a grid: `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baldistill.runs import grid, methods
from curate.errors import InputError, UnknownNameError
from curate.files import find_root, runs_folder
from curate.report.runs import read_run, run_names

__all__ = ["CompareResult", "Line", "compare"]


@dataclass(frozen=True)
class Line:
    """One student of one run.

    Attributes:
        run: the run's name.
        stage: the last stage that it was trained on; -1 for the base student.
        snapshot: ``name@version`` that it was trained on.
        rows: in that snapshot; 0 for the base student.
        calls: charged up to this stage.
        tokens: charged up to this stage.
        usd: charged up to this stage, or None where a model had no price.
        metrics: what `baldistill.evaluation.evaluate.evaluate` found.
    """

    run: str
    stage: int
    snapshot: str
    rows: int
    calls: int
    tokens: int
    usd: float | None
    metrics: dict[str, Any]


@dataclass(frozen=True)
class CompareResult:
    """Several runs side by side.

    Attributes:
        lines: every student of every run, in the order of the runs, then of the stages.
        differing: the rows that the evaluations were made on, where they are not the same for all; such figures do not compare.
    """

    lines: tuple[Line, ...]
    differing: tuple[str, ...]


def compare(
    runs: Sequence[str] = (), *, show: bool = False, root: str | Path | None = None
) -> CompareResult | methods.MethodsResult:
    """Put the students of several runs side by side, or compare the methods of a grid over seeds.

    Args:
        runs: names of runs; all that are there unless given. Or one file of a grid, ``GRID.toml``.
        show: of a grid: run nothing, compare the cells that are done.
        root: the folder that holds ``manifests/``.

    Raises:
        UnknownNameError: no run of that name.
        InputError: there is no run at all, a record cannot be read, or the grid cannot be compared.
    """
    if any(name.endswith(".toml") for name in runs):
        if len(runs) > 1:
            raise InputError(f"compare: {', '.join(runs)}: name one grid, or only runs")
        return methods.compare_methods(grid.load_grid(runs[0]), root=root, run=not show)
    if show:
        raise InputError("compare --show: is about a grid; name its file, such as grid.toml")
    home = find_root(root)
    known = run_names(home)
    if not known:
        raise InputError(f"no run has a record under {str(runs_folder(home))!r}; make one with: baldistill run PLAN")
    for name in runs:
        if name not in known:
            raise UnknownNameError("run", name, known)
    lines = [line for name in dict.fromkeys(runs or known) for line in _lines(name, read_run(home, name))]
    measured = {f"{line.metrics.get('rows')} {line.metrics.get('split')} rows of {_name(line)}" for line in lines}
    return CompareResult(tuple(lines), tuple(sorted(measured)) if len(measured) > 1 else ())


def _name(line: Line) -> str:
    return line.snapshot.partition("@")[0]


def _lines(run: str, record: Sequence[Mapping[str, Any]]) -> list[Line]:
    lines: list[Line] = []
    rows, calls, tokens, usd = 0, 0, 0, 0.0
    priced = True
    for stage in record:
        spend = stage["spend"]
        rows += stage["rows"] if "rows" in stage else sum(stage["achieved"].values())
        calls, tokens = calls + spend.get("calls", 0), tokens + spend.get("tokens", 0)
        priced = priced and (spend.get("usd") is not None or not spend.get("calls"))
        usd += spend.get("usd") or 0.0
        lines.append(Line(run, stage["index"], stage["snapshot"], rows, calls, tokens, usd if priced else None, stage["metrics"]))
    return lines
