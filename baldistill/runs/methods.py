"""Runs the cells of a grid, one after the other, and compares its methods: `compare_methods`.

All cells start from one manifest, which is ingested, sampled and clustered once; each balances a copy of its own. What cells have
in common is done once: replies are in the ledger, vectors in the cache, and a student that learned the same rows with the same
parameters, or was asked the same rows, is found by content. A cell that is done leaves its result in its folder, so a
comparison that was stopped goes on where it was; a cell that fails is told, and the others go on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from baldistill.evaluation import evaluate
from baldistill.evaluation.soup import make_soup
from baldistill.runs import comparison, pipeline
from baldistill.runs.grid import Cell, Grid
from baldistill.runs.plan import Plan
from curate import progress
from curate.defaults import DEFAULT_STUDENT
from curate.errors import CurateError, InputError
from curate.files import runs_folder
from curate.manifest import folders
from curate.manifest.manifest import Manifest, load
from curate.manifest.rows import domain_counts, in_snapshot
from curate.report.plot import FrontPoint, plot_front
from curate.report.runs import PREDICTIONS, stage_folder, version_identity

__all__ = ["BASE", "CellResult", "MethodLine", "MethodsResult", "compare_methods"]

BASE = "base"  # the student before any training, which stands in every table
_RESULT = "cell.json"
_SENTENCES = ("macro", "macro_f1", "tail", "micro")  # figures whose differences are told in words


@dataclass(frozen=True)
class CellResult:
    """What one cell left.

    Attributes:
        method: name of the method.
        budget: accepted rows over all stages.
        stages: their number.
        seed: of every random choice.
        rows: selected in the end.
        synthetic: of them, written by the teacher.
        calls: of the teacher, charged.
        saved: replies that the ledger had already.
        tokens: charged.
        usd: charged, or None where a model had no price.
        seconds: that this computer took for it, those for what it found done not counted.
        metrics: what the last student's evaluation found.
        stage_metrics: macro and micro of every stage's student.
        predictions: the file of the student's answers, relative to the root.
        choice: how stages were combined: their weights, and what they had on validation rows.
    """

    method: str
    budget: int
    stages: int
    seed: int
    rows: int
    synthetic: int
    calls: int
    saved: int
    tokens: int
    usd: float | None
    seconds: float
    metrics: dict[str, Any]
    stage_metrics: list[dict[str, Any]]
    predictions: str
    choice: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodLine:
    """One method in the table, over its seeds.

    Attributes:
        method: name; `BASE` is the student before any training.
        title: what it is called.
        budget: accepted rows over all stages; None of the base student.
        stages: their number; None of the base student.
        seeds: that are done.
        figures: figure → mean over seeds and its 95% interval.
        domains: domain → share of right answers, the mean over seeds.
        rows: the mean of the rows that were selected.
        synthetic: of them, written by the teacher.
        replies: of the teacher that were used: the mean of those charged and those of the ledger.
        usd: charged, all seeds together; None where a model had no price.
        seconds: the mean that a cell took.
    """

    method: str
    title: str
    budget: int | None
    stages: int | None
    seeds: tuple[int, ...]
    figures: dict[str, comparison.Interval]
    domains: dict[str, float]
    rows: float = 0.0
    synthetic: float = 0.0
    replies: float = 0.0
    usd: float | None = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class MethodsResult:
    """The comparison of a grid's methods, of the cells that are done.

    Attributes:
        manifest: that all cells started from.
        grid: the grid's name.
        split: that the students answered.
        test_rows: how many of it.
        groups: how many domains are head, middle and tail.
        lines: the base student, then the methods.
        differences: of every method to the reference, and of the last method that trains to every other.
        sentences: the most important of them in words.
        done: cells that are done.
        cells: in all.
        failed: cell → why it has no result.
        figure: the plot of macro over micro, or None before two methods are done.
        record: the file of these figures.
    """

    manifest: Manifest
    grid: str
    split: str
    test_rows: int
    groups: dict[str, int]
    lines: tuple[MethodLine, ...]
    differences: tuple[comparison.Difference, ...]
    sentences: tuple[str, ...]
    done: int
    cells: int
    failed: dict[str, str]
    figure: Path | None
    record: Path

    @property
    def complete(self) -> bool:
        """Whether every cell is done."""
        return self.done == self.cells


def compare_methods(grid: Grid, *, root: str | Path | None = None, run: bool = True) -> MethodsResult:
    """Run the cells of a grid that are not done, and compare its methods by all that are.

    Args:
        grid: of `baldistill.runs.grid.load_grid`.
        root: the folder that holds ``manifests/`` and ``cache/``.
        run: whether cells are run; else those that are done are compared.

    Raises:
        InputError: no cell is done, the manifest has changed since the first cell, or students answered different rows.
        CurateError: the manifest cannot be prepared.
    """
    start = pipeline.prepare(grid.base, root) if run else load(grid.base.manifest, root=root)
    home = runs_folder(start.root) / grid.name
    start = _fixed(start, home, run=run)
    cells, failed = grid.cells(), {}
    results: dict[str, CellResult] = {}
    for number, cell in enumerate(cells, 1):
        name = _name(cell)
        known = _read_result(grid, cell, home)
        if known is None and run:
            progress.note("compare", f"cell {number} of {len(cells)}: {cell.method.title}, {_where(cell)}")
            try:
                known = _run(grid, cell, start, home)
            except CurateError as e:
                failed[name] = str(e)
                progress.note("compare", f"{name} failed, the others go on: {e}")
            else:
                shown = {figure: known.metrics[figure]["value"] for figure in ("macro", "micro")}
                progress.note("compare", f"{name}: macro {100 * shown['macro']:.1f}, micro {100 * shown['micro']:.1f}")
        if known is not None:
            results[name] = known
    if not results:
        why = f": {next(iter(failed.values()))}" if failed else f"; run it with: baldistill compare {grid.path}"
        raise InputError(f"no cell of grid {grid.name!r} is done{why}")
    return _compared(grid, start, home, results, failed)


def _fixed(start: Manifest, home: Path, *, run: bool) -> Manifest:
    """Return the version that all cells start from: the one that the first cell started from, which must still be there."""
    path = home / "start.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        there = Manifest(start.name, int(known["version"]), start.root)
        if start.version < there.version or version_identity(there) != known["identity"]:
            raise InputError(
                f"the cells in {str(home)!r} started from another manifest {start.name!r} than today's: name another grid, or "
                "remove that folder"
            )
        if run and start.version != there.version:
            progress.note("compare", f"{start} is newer than {there}, which the cells of this grid start from")
        return there
    if run:
        home.mkdir(parents=True, exist_ok=True)
        pipeline.write_json(path, {"version": start.version, "identity": version_identity(start)})
    return start


def _run(grid: Grid, cell: Cell, start: Manifest, home: Path) -> CellResult:
    """Run a cell: balance, train and evaluate in stages, or ask the students of another method's cell otherwise."""
    began = time.monotonic()
    plan = grid.plan(cell, f"{grid.name}.{cell.key}")
    copied = folders.folder_of(plan.manifest, root=start.root)
    if not copied.exists():
        if load(start.name, root=start.root).version != start.version:
            raise InputError(f"{start.name!r} has newer versions than {start}: bring it back first, curate restore {start}")
        folders.copy(folders.find_folder(start.name, root=start.root), copied)
    outcome = pipeline.run(plan, root=start.root)
    last = outcome.stages[-1]
    rows = outcome.manifest.rows("source", "status", "split").filter(in_snapshot(), split="train")
    folder = home / cell.key / cell.method.name
    metrics = last.metrics
    choice: dict[str, Any] = {}
    predictions = stage_folder(start.root, plan.name, last.index) / PREDICTIONS
    if cell.method.of:
        metrics, choice = _asked_otherwise(plan, cell, outcome, folder)
        predictions = folder / PREDICTIONS
    spend = [stage.spend for stage in outcome.stages if stage.spend]
    usd = [each["usd"] for each in spend]
    result = CellResult(
        method=cell.method.name,
        budget=cell.budget,
        stages=cell.stages,
        seed=cell.seed,
        rows=rows.height,
        synthetic=rows.filter(source="synthetic").height,
        calls=sum(each["calls"] for each in spend),
        saved=sum(each["saved"] for each in spend),
        tokens=sum(each["tokens"] for each in spend),
        usd=None if any(u is None for u in usd) else sum(usd),
        seconds=round(time.monotonic() - began, 1),
        metrics=metrics,
        stage_metrics=[{key: stage.metrics[key] for key in ("macro", "micro")} for stage in outcome.stages],
        predictions=predictions.relative_to(start.root).as_posix(),
        choice=choice,
    )
    _save_base(plan, home, start)
    pipeline.write_json(folder / _RESULT, {"inputs": _inputs(grid, cell), "result": asdict(result)})
    return result


def _asked_otherwise(plan: Plan, cell: Cell, outcome: pipeline.RunResult, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluate the students of another method's cell: their soup, or the last one with other parameters."""
    table = {"budget": cell.budget, **plan.parameters("evaluate")} | cell.method.tables.get("evaluate", {})
    student = {"student": plan.parameters("train").get("student", DEFAULT_STUDENT)}
    trained = [stage for stage in outcome.stages if stage.index >= 0]
    snapshot = Manifest(outcome.manifest.name, int(trained[-1].snapshot.rpartition("@")[2]), outcome.manifest.root)
    adapters = [Path(snapshot.root) / stage.adapter for stage in trained]
    choice: dict[str, Any] = {}
    adapter = adapters[-1]
    if cell.method.soup:
        made = make_soup(snapshot, adapters, folder / "adapter", **{**student, **table})
        adapter, choice = made.adapter, {"weights": list(made.weights), "validation": made.tried}
    found = evaluate.evaluate(snapshot, **{**student, **table}, adapter=adapter, output=folder)
    return found.to_dict(), choice


def _save_base(plan: Plan, home: Path, start: Manifest) -> None:
    """Keep where the base student's answers are; every cell has them."""
    path = home / f"{BASE}.json"
    if not path.exists():
        there = stage_folder(start.root, plan.name, -1) / PREDICTIONS
        pipeline.write_json(path, {"predictions": there.relative_to(start.root).as_posix()})


def _inputs(grid: Grid, cell: Cell) -> dict[str, Any]:
    """Return what shapes the result of a cell, as JSON has it."""
    tables = grid.plan(cell, "").tables
    shaping = {"tables": tables, "of": cell.method.of, "soup": cell.method.soup, "own": cell.method.tables}
    return dict(json.loads(json.dumps(shaping, default=str)))


def _read_result(grid: Grid, cell: Cell, home: Path) -> CellResult | None:
    """Return the result of a cell that was done with the same parameters."""
    path = home / cell.key / cell.method.name / _RESULT
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return CellResult(**found["result"]) if found["inputs"] == _inputs(grid, cell) else None


def _name(cell: Cell) -> str:
    return f"{cell.method.name}-b{cell.budget}-k{cell.stages}-s{cell.seed}"


def _where(cell: Cell) -> str:
    return f"budget {cell.budget}, {cell.stages} stages, seed {cell.seed}"


@dataclass(frozen=True)
class _Block:
    """The cells of one budget and one number of stages, which are compared with each other.

    Attributes:
        budget: of the cells.
        stages: of those methods that have no number of their own.
        groups: of the domains.
        rows: that the students answered.
        base: the base student's answers to them.
        cells: method → its cells, in the order of the grid.
        runs: method → what its students answered.
    """

    budget: int
    stages: int
    groups: dict[str, str]
    rows: comparison.Rows
    base: comparison.Runs
    cells: dict[str, list[CellResult]]
    runs: dict[str, comparison.Runs]


def _compared(
    grid: Grid, start: Manifest, home: Path, results: Mapping[str, CellResult], failed: Mapping[str, str]
) -> MethodsResult:
    """Put the results side by side, for every budget and number of stages, and write the record and the plot."""
    split = str(grid.base.parameters("evaluate").get("split", "test"))
    blocks = list(_blocks(grid, start, home, list(results.values()), split))
    titles = {method.name: method.title for method in grid.methods} | {BASE: "base student"}
    lines = _lines(blocks, titles)
    differences = _differences(grid, blocks)
    several = len(grid.budgets) * len(grid.stages) > 1
    said = [
        (f"{d.budget:,} rows, {d.stages} stages: " if several else "") + comparison.sentence(d, titles)
        for d in differences
        if d.figure in _SENTENCES
    ]
    result = MethodsResult(
        manifest=start,
        grid=grid.name,
        split=split,
        test_rows=len(blocks[0].rows.ids),
        groups={group: sum(g == group for g in blocks[0].groups.values()) for group in ("head", "middle", "tail")},
        lines=tuple(lines),
        differences=tuple(differences),
        sentences=tuple(said),
        done=len(results),
        cells=len(grid.cells()),
        failed=dict(failed),
        figure=_plot(grid, lines, home),
        record=home / "comparison.json",
    )
    cells = [asdict(cell) for cell in results.values()]
    pipeline.write_json(result.record, asdict(replace(result, figure=None)) | {"cells_done": cells})
    return result


def _blocks(grid: Grid, start: Manifest, home: Path, cells: Sequence[CellResult], split: str) -> Iterator[_Block]:
    held = start.rows("domain", "split", "status").filter(pl.col("status") != "rejected", split=split)
    population = {str(name): int(n) for name, n in held["domain"].value_counts().rows()}
    counts = domain_counts(start.rows())
    base = _predictions(start, json.loads((home / f"{BASE}.json").read_text(encoding="utf-8"))["predictions"])
    answers = base.sort("id")["answer"].to_list()
    for budget, stages in product(grid.budgets, grid.stages):
        wanted = {method.name: (budget, _own_stages(grid, method.name) or stages) for method in grid.methods}
        mine = {name: [c for c in cells if c.method == name and (c.budget, c.stages) == at] for name, at in wanted.items()}
        mine = {name: found for name, found in mine.items() if found}
        if not mine:
            continue
        groups = comparison.groups_of(counts, budget)
        rows = comparison.rows_of(base, population, groups, classes=_are_classes(base))
        runs = {
            name: comparison.runs_of({cell.seed: _predictions(start, cell.predictions) for cell in found}, rows, answers)
            for name, found in mine.items()
        }
        yield _Block(budget, stages, groups, rows, comparison.runs_of({0: base}, rows, answers), mine, runs)


def _lines(blocks: Sequence[_Block], titles: Mapping[str, str]) -> list[MethodLine]:
    """Return the base student and every method, once where it has its own number of stages."""
    first = blocks[0]
    lines = {(BASE, 0, 0): _line(BASE, titles[BASE], first.base, first.rows, [])}
    for block in blocks:
        for name, cells in block.cells.items():
            at = (name, block.budget, cells[0].stages)
            if at not in lines:
                lines[at] = _line(name, titles[name], block.runs[name], block.rows, cells, budget=at[1], stages=at[2])
    return list(lines.values())


def _differences(grid: Grid, blocks: Sequence[_Block]) -> list[comparison.Difference]:
    """Return the differences of every block; those between methods of their own numbers of stages once for a budget."""
    found: dict[tuple[Any, ...], comparison.Difference] = {}
    for block in blocks:
        for one, other in _pairs(grid, block.runs):
            at = tuple((name, block.cells[name][0].stages) for name in (one, other))
            for figure in block.rows.weights:
                each = comparison.difference(block.runs[one], block.runs[other], block.rows, figure, names=(one, other))
                if each is not None:
                    found.setdefault((block.budget, at, figure), replace(each, budget=block.budget, stages=block.stages))
    return list(found.values())


def _own_stages(grid: Grid, name: str) -> int | None:
    method = grid.method(name)
    return grid.method(method.of).stages if method.of else method.stages


def _pairs(grid: Grid, methods: Collection[str]) -> list[tuple[str, str]]:
    """Return which methods are compared: each with the reference, and the last with each other one."""
    there = [method.name for method in grid.methods if method.name in methods]
    pairs = [(name, grid.reference) for name in there if name != grid.reference] if grid.reference in there else []
    return list(dict.fromkeys([*pairs, *((there[-1], name) for name in there[:-1])]))


def _line(
    name: str,
    title: str,
    runs: comparison.Runs,
    rows: comparison.Rows,
    cells: Sequence[CellResult],
    *,
    budget: int | None = None,
    stages: int | None = None,
) -> MethodLine:
    figures = comparison.estimates(runs, rows)
    right = runs.correct.mean(axis=0)
    domains = {domain: float(right[rows.domain == n].mean()) for n, domain in enumerate(rows.domains)}
    n = max(len(cells), 1)
    usd = [cell.usd for cell in cells]
    return MethodLine(
        name,
        title,
        budget,
        stages,
        runs.seeds if cells else (),
        figures,
        domains,
        rows=sum(cell.rows for cell in cells) / n,
        synthetic=sum(cell.synthetic for cell in cells) / n,
        replies=sum(cell.calls + cell.saved for cell in cells) / n,
        usd=None if any(u is None for u in usd) else sum(u for u in usd if u is not None),
        seconds=sum(cell.seconds for cell in cells) / n,
    )


def _predictions(start: Manifest, path: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(Path(start.root) / path)
    except OSError as e:
        raise InputError(f"the answers in {path!r} are gone ({e}): remove that cell's folder, and run the grid again") from e


def _are_classes(predictions: pl.DataFrame) -> bool:
    """Return whether answers are classes: several rows for each, on average."""
    return 2 * predictions["answer"].n_unique() <= predictions.height


def _plot(grid: Grid, lines: Sequence[MethodLine], home: Path) -> Path | None:
    points = [
        FrontPoint(
            name=line.title,
            group=grid.method(line.method).of or line.method if line.method != BASE else BASE,
            x=line.figures["micro"],
            y=line.figures["macro"],
        )
        for line in lines
    ]
    if len(points) < 2:
        return None
    return plot_front(points, home / "front.png", x="micro: each row counts once", y="macro: each domain counts once")
