"""Reads and checks a grid: one plan, and the methods that are compared on it, over seeds, budgets and stages. Runs nothing.

    name = "r52"
    plan = "plan.toml"          # what all methods have in common
    seeds = [0, 1, 2]
    budgets = [520]             # unless given, the plan's
    stages = [3]                # unless given, the plan's
    reference = "random"        # the method that the others are compared with; unless given, the first

    [methods.random]
    title = "Random"
    balance = { policy = "natural", selector = "random" }

    [methods.ours]
    balance = { policy = "adaptive", selector = "representative" }

    [methods.ours-natural]
    of = "ours"                 # the same student, asked otherwise
    evaluate = { prior = "natural" }

    [methods.ours-soup]
    of = "ours"
    soup = true                 # the adapters of its stages, combined

A method's tables stand above the plan's, key by key. A grid is checked as a whole before anything runs, every method as the plan
that it makes; all mistakes are in one report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from baldistill.runs.plan import VERBS, Plan, parse, read_toml, suggestion
from curate.errors import MistakesError

__all__ = ["Cell", "Grid", "Method", "load_grid"]

_SHARED = ("ingest", "sample", "cluster", "export")  # done once for all methods, or not at all
_OWN = tuple(verb for verb in VERBS if verb not in _SHARED)
_SEEDED = ("balance", "train", "score")  # the tables that a cell's seed goes to; evaluations ask every student the same rows
_KEYS = {"name": str, "plan": str, "seeds": list, "budgets": list, "stages": list, "reference": str, "methods": dict}
_METHOD_KEYS = {"title": str, "of": str, "soup": bool, "stages": int}
_METHOD = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Method:
    """One method of a grid.

    Attributes:
        name: its key.
        title: what tables and plots call it.
        tables: verb → the parameters that it sets above the plan's.
        of: the method whose students it asks otherwise or combines; empty where it trains its own.
        soup: whether the adapters of the stages are combined.
        stages: its own number of stages, whatever the grid's; None where it has those.
    """

    name: str
    title: str
    tables: dict[str, dict[str, Any]]
    of: str = ""
    soup: bool = False
    stages: int | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a method.

    Attributes:
        method: that is run.
        budget: accepted rows over all stages.
        stages: their number.
        seed: of every random choice but the evaluation's.
    """

    method: Method
    budget: int
    stages: int
    seed: int

    @property
    def key(self) -> str:
        """The cell's name within its grid; of the method that trains, for one that only asks otherwise."""
        return f"{self.method.of or self.method.name}-b{self.budget}-k{self.stages}-s{self.seed}"


@dataclass(frozen=True)
class Grid:
    """A checked grid.

    Attributes:
        name: of the comparison; the file's stem unless the grid has a ``name``.
        base: the plan that all methods share.
        methods: in the order of the file.
        seeds: of the cells.
        budgets: accepted rows over all stages.
        stages: numbers of stages.
        reference: the method that the others are compared with.
        path: of the file.
    """

    name: str
    base: Plan
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    stages: tuple[int, ...]
    reference: str
    path: str = ""

    def cells(self) -> list[Cell]:
        """Return all cells, in the order in which they are run: seed by seed, so that early results are a comparison already."""
        found: dict[tuple[Any, ...], Cell] = {}  # a method of its own number of stages has one cell, whatever the grid's are
        for seed, budget, stages in product(self.seeds, self.budgets, self.stages):
            for method in self.methods:
                parent = self.method(method.of) if method.of else method
                cell = Cell(method, budget, parent.stages or stages, seed)
                found.setdefault((method.name, budget, cell.stages, seed), cell)
        return list(found.values())

    def method(self, name: str) -> Method:
        """Return the method of a name that is there."""
        return next(method for method in self.methods if method.name == name)

    def plan(self, cell: Cell, manifest: str) -> Plan:
        """Return the plan of a cell: the base, the method's tables above it, and the cell's budget, stages and seed."""
        parent = self.method(cell.method.of) if cell.method.of else cell.method
        tables = {verb: dict(table) for verb, table in self.base.tables.items() if verb not in _SHARED}
        for verb, table in parent.tables.items():
            tables[verb] = {**tables.get(verb, {}), **table}
        for verb in _SEEDED:
            tables[verb] = {**tables.get(verb, {}), "seed": cell.seed}
        tables["balance"] |= {"budget": cell.budget, "stages": cell.stages}
        return replace(self.base, name=f"{self.name}.{cell.key}", manifest=manifest, tables=tables)


def load_grid(path: str | Path) -> Grid:
    """Read and check a grid file, and the plan that it names.

    Raises:
        InputError: a file cannot be read or is not TOML.
        MistakesError: the grid, or the plan that one of its methods makes, has mistakes; all of them are listed.
    """
    path = Path(path)
    data = read_toml(path, "grid")
    mistakes = list(_shape(data))
    given = data.get("plan")
    file = path.parent / given if isinstance(given, str) else None
    base: Mapping[str, Any] = {}
    if file is not None and not file.is_file():
        mistakes.append(f"plan: no such file {str(file)!r}")
    elif file is not None:
        base = read_toml(file, "plan")
    methods = data.get("methods")
    named = {name: table for name, table in methods.items() if isinstance(table, dict)} if isinstance(methods, dict) else {}
    for name, table in named.items():
        mistakes += [f"[methods.{name}] {mistake}" for mistake in _method(name, table, named)]
        if base and not table.get("of"):
            mistakes += _as_plan(f"[methods.{name}]", base, table, file)
    if base and not named:
        mistakes += _as_plan("plan", base, {}, file)
    if mistakes:
        raise MistakesError(f"grid {str(path)!r}", list(dict.fromkeys(mistakes)))
    plan = parse(base, name=Path(str(file)).stem, path=str(file))
    balance = plan.parameters("balance")
    found = tuple(_made(name, table, plan, file) for name, table in named.items())
    return Grid(
        name=str(data.get("name", path.stem)),
        base=plan,
        methods=found,
        seeds=tuple(data.get("seeds", [balance.get("seed", 0)])),
        budgets=tuple(data.get("budgets", [balance["budget"]])),
        stages=tuple(data.get("stages", [balance.get("stages", 1)])),
        reference=str(data.get("reference", found[0].name)),
        path=str(path),
    )


def _shape(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the mistakes at the top of a grid."""
    for key, value in data.items():
        if key not in _KEYS:
            yield f"unknown key {key!r}{suggestion(key, _KEYS)}"
        elif not isinstance(value, _KEYS[key]):
            yield f"{key}: must be {_WORDS[_KEYS[key]]}, got {value!r}"
    if "plan" not in data:
        yield 'plan: missing; name the file that the methods share, such as plan = "plan.toml"'
    if not data.get("methods"):
        yield "[methods]: missing; a grid needs at least one, such as [methods.random]"
    if isinstance(name := data.get("name"), str) and not _METHOD.fullmatch(name):
        yield f"name: {name!r} must be lower-case letters, digits, - and _"
    for key, least in (("seeds", 0), ("budgets", 1), ("stages", 1)):
        values = data.get(key)
        if isinstance(values, list):
            if not values:
                yield f"{key}: the list is empty"
            for value in values:
                if not isinstance(value, int) or isinstance(value, bool) or value < least:
                    yield f"{key}: must be whole numbers from {least} up, got {value!r}"
            if len({str(value) for value in values}) < len(values):
                yield f"{key}: {values} names one twice"
    methods = data.get("methods")
    reference = data.get("reference")
    if isinstance(methods, dict) and isinstance(reference, str) and reference not in methods:
        yield f"reference: no method {reference!r}{suggestion(reference, methods)}"


def _method(name: str, table: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the mistakes of one method, those of its verbs' tables aside."""
    if not _METHOD.fullmatch(name):
        yield "a method's name must be lower-case letters, digits, - and _"
    for key, value in table.items():
        if key in _METHOD_KEYS:
            if not isinstance(value, _METHOD_KEYS[key]) or (
                isinstance(value, int) and key == "stages" and (isinstance(value, bool) or value < 1)
            ):
                yield f"{key}: must be {_WORDS[_METHOD_KEYS[key]]}, got {value!r}"
        elif key in _SHARED:
            yield f"{key}: is the same for all methods; set it in the plan"
        elif key not in _OWN:
            yield f"unknown key {key!r}{suggestion(key, [*_METHOD_KEYS, *_OWN])}"
        elif not isinstance(value, dict):
            yield f"{key}: must be a table, got {value!r}"
        else:
            taken = {"budget", "stages", "seed"} & value.keys() if key in _SEEDED else set()
            yield from (
                f"{key}: {inner}: the grid sets this; use seeds, budgets and stages at its top" for inner in sorted(taken)
            )
    of = table.get("of")
    if isinstance(of, str):
        if of not in methods or of == name:
            yield f"of: no other method {of!r}{suggestion(of, [other for other in methods if other != name])}"
        elif methods[of].get("of"):
            yield f"of: {of!r} trains no students of its own; name the method that does, {methods[of]['of']!r}"
        others = sorted(set(table) & set(_OWN) - {"evaluate"})
        if others:
            yield f"{', '.join(others)}: a method of another method's students can change evaluate alone"
        if "stages" in table:
            yield f"stages: are those of {of!r}"
    elif table.get("soup"):
        yield 'soup: needs of = "METHOD", the method whose stages are combined'


def _as_plan(where: str, base: Mapping[str, Any], table: Mapping[str, Any], file: Path | None) -> list[str]:
    """Return the mistakes of the plan that a method makes."""
    try:
        parse(_merged(base, table), name="grid", path=str(file))
    except MistakesError as e:
        return [f"{where} {mistake}" for mistake in e.mistakes]
    return []


def _merged(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for verb in _OWN:
        if isinstance(table.get(verb), dict):
            merged[verb] = {**(base[verb] if isinstance(base.get(verb), dict) else {}), **table[verb]}
    return merged


def _made(name: str, table: Mapping[str, Any], plan: Plan, file: Path | None) -> Method:
    """Return a checked method; the files that it names are found from the plan's folder, as the plan's are."""
    found = parse(_merged({"manifest": plan.manifest, "balance": {"budget": 1}}, table), name="grid", path=str(file)).tables
    tables = {verb: {key: found[verb][key] for key in table[verb]} for verb in _OWN if isinstance(table.get(verb), dict)}
    return Method(
        name,
        str(table.get("title", name)),
        tables,
        of=str(table.get("of", "")),
        soup=bool(table.get("soup", False)),
        stages=table.get("stages"),
    )


_WORDS: dict[type, str] = {str: "text", list: "a list", dict: "a table", bool: "true or false", int: "a whole number from 1 up"}
