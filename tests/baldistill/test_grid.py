"""Tests of grid files: what cells they make, and that every mistake is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.runs.grid import load_grid
from curate.errors import InputError, MistakesError

PLAN = """
manifest = "tiny"
[ingest]
sources = ["rows.jsonl"]
[balance]
budget = 60
stages = 3
policy = "natural"
[train]
epochs = 2
[evaluate]
limit = 50
"""
GRID = """
plan = "plan.toml"
seeds = [0, 1]
[methods.random]
title = "Random"
balance = { selector = "random" }
[methods.ours]
balance = { policy = "uniform" }
[methods.ours-soup]
of = "ours"
soup = true
[methods.once]
stages = 1
train = { epochs = 6 }
"""


def write(folder: Path, grid: str = GRID, plan: str = PLAN) -> Path:
    (folder / "rows.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    (folder / "plan.toml").write_text(plan)
    path = folder / "r52.toml"
    path.write_text(grid)
    return path


def mistakes(folder: Path, grid: str) -> list[str]:
    with pytest.raises(MistakesError) as caught:
        load_grid(write(folder, grid))
    return caught.value.mistakes


def test_cells_come_seed_by_seed_so_that_early_results_compare(tmp_path: Path) -> None:
    grid = load_grid(write(tmp_path))
    names = [(cell.method.name, cell.seed, cell.stages) for cell in grid.cells()]
    one_seed = [("random", 3), ("ours", 3), ("ours-soup", 3), ("once", 1)]
    assert names == [(name, seed, stages) for seed in (0, 1) for name, stages in one_seed]
    assert (grid.name, grid.reference, grid.budgets) == ("r52", "random", (60,))


def test_a_method_of_its_own_stages_has_one_cell_whatever_the_grids_are(tmp_path: Path) -> None:
    grid = load_grid(write(tmp_path, GRID.replace("seeds = [0, 1]", "stages = [3, 5]\nbudgets = [60, 90]")))
    once = [cell for cell in grid.cells() if cell.method.name == "once"]
    assert [(cell.budget, cell.stages) for cell in once] == [(60, 1), (90, 1)]
    assert len(grid.cells()) == 3 * 2 * 2 + 2


def test_a_plan_of_a_cell_has_the_methods_tables_above_the_shared_ones(tmp_path: Path) -> None:
    grid = load_grid(write(tmp_path))
    cells = {(cell.method.name, cell.seed): cell for cell in grid.cells()}
    plan = grid.plan(cells["once", 1], "copy")
    assert plan.manifest == "copy"
    assert plan.name == "r52.once-b60-k1-s1"
    assert plan.tables == {
        "balance": {"budget": 60, "stages": 1, "policy": "natural", "seed": 1},
        "train": {"epochs": 6, "seed": 1},
        "score": {"seed": 1},
        "evaluate": {"limit": 50},
    }
    asked_otherwise = grid.plan(cells["ours-soup", 0], "copy")
    assert asked_otherwise.name == "r52.ours-b60-k3-s0"  # the students of the other method
    assert asked_otherwise.tables["balance"]["policy"] == "uniform"


def test_all_mistakes_are_told_at_once_with_the_nearest_names(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """
plan = "plan.toml"
seed = [0]
seeds = [0, 0, -1, true]
budgets = []
reference = "randon"
[methods.random]
balance = { selektor = "random", budget = 3, policy = "natrual" }
[methods.soup]
soup = true
[methods.Other]
of = "rando"
[methods.more]
of = "soup"
train = { epochs = 3 }
ingest = { prompt = "x" }
trian = 1
""",
    )
    told = "\n".join(found)
    for expected in (
        "unknown key 'seed'; did you mean 'seeds'?",
        "seeds: must be whole numbers from 0 up, got -1",
        "seeds: must be whole numbers from 0 up, got True",
        "names one twice",
        "budgets: the list is empty",
        "reference: no method 'randon'; did you mean 'random'?",
        "[methods.random] balance: budget: the grid sets this",
        "[methods.random] [balance] unknown key 'selektor'; did you mean 'selector'?",
        "'natrual'",
        '[methods.soup] soup: needs of = "METHOD"',
        "[methods.Other] a method's name must be lower-case letters",
        "[methods.Other] of: no other method 'rando'; did you mean 'random'?",
        "[methods.more] train: a method of another method's students can change evaluate alone",
        "[methods.more] ingest: is the same for all methods",
        "[methods.more] unknown key 'trian'; did you mean 'train'?",
    ):
        assert expected in told, expected
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ("[methods.a]\n", "plan: missing"),
        ('plan = "gone.toml"\n[methods.a]\n', "plan: no such file"),
        ('plan = "plan.toml"\n', "[methods]: missing"),
        ('plan = "plan.toml"\nmethods = 3\n', "methods: must be a table, got 3"),
        ('plan = "plan.toml"\n[methods.a]\nbalance = 3\n', "[methods.a] balance: must be a table, got 3"),
        ('plan = "plan.toml"\n[methods.a]\nstages = 0\n', "[methods.a] stages: must be a whole number from 1 up, got 0"),
        ('plan = "plan.toml"\nname = "A B"\n[methods.a]\n', "name: 'A B' must be lower-case letters"),
        ('plan = "plan.toml"\n[methods.a]\n[methods.b]\nof = "a"\n[methods.c]\nof = "b"\n', "trains no students of its own"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, grid: str, told: str) -> None:
    assert any(told in mistake for mistake in mistakes(tmp_path, grid))


@pytest.mark.parametrize(("text", "told"), [("a = [", "is not TOML"), (None, "cannot be read")])
def test_a_file_that_is_no_grid_is_one_line(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "grid.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=told):
        load_grid(path)


def test_a_mistake_in_the_shared_plan_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path, plan=PLAN.replace("epochs", "epoch"))
    with pytest.raises(MistakesError) as caught:
        load_grid(path)
    assert sum("unknown key 'epoch'" in mistake for mistake in caught.value.mistakes) <= 3  # of each method that trains
