"""A whole comparison with a tiny real student: what cells share, what a stopped one goes on with, and what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from baldistill.evaluation import evaluate
from baldistill.runs import pipeline
from baldistill.runs.grid import Grid, load_grid
from baldistill.runs.methods import BASE, MethodsResult, compare_methods
from baldistill.training import train
from curate import progress
from curate.errors import InputError, ModelError
from curate.manifest.manifest import load, names

GRID = """
name = "small"
plan = "plan.toml"
seeds = [0, 1]
[methods.random]
title = "Random"
stages = 1
balance = { policy = "natural", selector = "random" }
[methods.even]
title = "Even"
balance = { policy = "uniform", selector = "random" }
[methods.even-soup]
of = "even"
soup = true
"""


def write(folder: Path, student: str, grid: str = GRID) -> Grid:
    answers = ["red", "blue", "green"]
    rows = [
        {"question": f"what is {n} plus {split} ?", "answer": answers[n % 3 if n < 9 else 0], "split": split}
        for split, many in (("train", 24), ("validation", 6), ("test", 9))
        for n in range(many)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps({**row, "topic": row["answer"]}) + "\n" for row in rows))
    (folder / "plan.toml").write_text(
        f"""
manifest = "colours"
[ingest]
sources = ["rows.jsonl"]
prompt = "question"
answer = "answer"
domain = "topic"
split = "split"
[balance]
budget = 12
stages = 2
fill = "repeat"
auditors = ["malformed"]
[train]
student = "{student}"
epochs = 1
max_tokens = 128
dtype = "fp32"
[score]
dtype = "fp32"
[evaluate]
answers = "score"
dtype = "fp32"
"""
    )
    path = folder / "grid.toml"
    path.write_text(grid)
    return load_grid(path)


@pytest.fixture(scope="module")
def done(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Grid, MethodsResult]:
    folder = tmp_path_factory.mktemp("grid")
    grid = write(folder, base)
    return grid, compare_methods(grid, root=folder)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose students are really trained."""
    found: list[str] = []
    real = train._train_into

    def note(part: Path, manifest: Any, *args: Any) -> Any:
        found.append(str(manifest))
        return real(part, manifest, *args)

    monkeypatch.setattr(train, "_train_into", note)
    return found


def test_every_method_has_a_line_with_its_seeds_beside_the_base_student(done: tuple[Grid, MethodsResult]) -> None:
    _, result = done
    assert result.complete
    assert (result.done, result.cells, result.failed) == (6, 6, {})
    assert [(line.method, line.seeds, line.rows) for line in result.lines] == [
        (BASE, (), 0),
        ("random", (0, 1), 12),
        ("even", (0, 1), 12),
        ("even-soup", (0, 1), 12),
    ]
    assert result.test_rows == 9
    for line in result.lines:
        assert {"macro", "micro", "macro_f1"} <= line.figures.keys()
        assert line.domains.keys() == {"red", "blue", "green"}
    pairs = {(d.method, d.other) for d in result.differences}
    assert pairs == {("even", "random"), ("even-soup", "random"), ("even-soup", "even")}
    assert any(told.startswith("even-soup − Random, macro:") for told in result.sentences)
    assert result.figure is not None
    assert result.figure.stat().st_size > 5_000


def test_a_figure_is_that_of_the_evaluations(done: tuple[Grid, MethodsResult]) -> None:
    _, result = done
    record = json.loads(result.record.read_text())
    for line in result.lines[1:]:
        macro = [cell["metrics"]["macro"]["value"] for cell in record["cells_done"] if cell["method"] == line.method]
        assert line.figures["macro"].value == pytest.approx(sum(macro) / 2)
        micro = [cell["metrics"]["micro"]["value"] for cell in record["cells_done"] if cell["method"] == line.method]
        assert line.figures["micro"].value == pytest.approx(sum(micro) / 2)


def test_answers_join_the_manifest_by_id(done: tuple[Grid, MethodsResult]) -> None:
    _, result = done
    record = json.loads(result.record.read_text())
    for cell in record["cells_done"]:
        table = pl.read_parquet(Path(result.manifest.root) / cell["predictions"])
        assert result.manifest.rows("id", "split").join(table, on="id")["split"].to_list() == ["test"] * 9


def test_a_comparison_that_is_done_runs_nothing_again(done: tuple[Grid, MethodsResult], monkeypatch: pytest.MonkeyPatch) -> None:
    grid, result = done
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: pytest.fail("a cell was run again"))
    for run in (True, False):
        again = compare_methods(grid, root=result.manifest.root, run=run)
        assert again.lines == result.lines


def test_cells_balance_copies_and_leave_the_manifest_as_it_was(done: tuple[Grid, MethodsResult]) -> None:
    _, result = done
    assert load("colours", root=result.manifest.root).version == result.manifest.version
    assert {name for name in names(root=result.manifest.root) if name != "colours"} == {
        f"small.{method}-b12-k{k}-s{seed}" for method, k in (("random", 1), ("even", 2)) for seed in (0, 1)
    }


def test_students_that_learn_the_same_are_trained_once(base: str, tmp_path: Path, trained: list[str]) -> None:
    same = '[methods.twin]\nbalance = { policy = "uniform", selector = "random" }\n'
    grid = write(tmp_path, base, GRID.replace("seeds = [0, 1]", "seeds = [0]").partition("[methods.even-soup]")[0] + same)
    result = compare_methods(grid, root=tmp_path)
    assert [name.partition("@")[0] for name in trained] == ["small.random-b12-k1-s0"] + ["small.even-b12-k2-s0"] * 2
    even, twin = (line for line in result.lines if line.method in ("even", "twin"))
    assert even.figures == twin.figures


def test_a_stopped_comparison_goes_on_where_it_was(
    base: str, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = write(tmp_path, base, GRID.replace("seeds = [0, 1]", "seeds = [0]"))
    real = evaluate.evaluate

    def stop(manifest: Any, **options: Any) -> Any:
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(manifest, **options)

    monkeypatch.setattr(evaluate, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        compare_methods(grid, root=tmp_path)
    early = compare_methods(grid, root=tmp_path, run=False)
    assert (early.done, early.complete) == (1, False)
    monkeypatch.setattr(evaluate, "evaluate", real)
    result = compare_methods(grid, root=tmp_path)
    assert result.complete
    assert len(trained) == 3  # nothing was trained twice
    assert [line.method for line in result.lines] == [BASE, "random", "even", "even-soup"]


def test_a_cell_that_fails_is_told_and_the_others_go_on(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = write(tmp_path, base, GRID.replace("seeds = [0, 1]", "seeds = [0]"))
    real = pipeline.run

    def fail(plan: Any, **options: Any) -> Any:
        if "even" in plan.name:
            raise ModelError("the loss is nan at step 3")
        return real(plan, **options)

    monkeypatch.setattr(pipeline, "run", fail)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        result = compare_methods(grid, root=tmp_path)
    assert not result.complete
    assert result.failed == dict.fromkeys(("even-b12-k2-s0", "even-soup-b12-k2-s0"), "the loss is nan at step 3")
    assert any("even-b12-k2-s0 failed, the others go on: the loss is nan" in line for line in heard)


def test_a_grid_that_was_changed_runs_the_cells_that_it_changes(base: str, tmp_path: Path, trained: list[str]) -> None:
    one_seed = GRID.replace("seeds = [0, 1]", "seeds = [0]").partition("[methods.even-soup]")[0]
    compare_methods(write(tmp_path, base, one_seed), root=tmp_path)
    before = list(trained)
    longer = one_seed.replace('title = "Random"', 'title = "Random"\ntrain = { epochs = 2 }')
    grid = write(tmp_path, base, longer)
    assert compare_methods(grid, root=tmp_path, run=False).done == 1  # what was done otherwise does not count
    assert compare_methods(grid, root=tmp_path).complete
    assert [name.partition("@")[0] for name in trained[len(before) :]] == ["small.random-b12-k1-s0"]


def test_what_cannot_be_compared_is_one_line(base: str, tmp_path: Path) -> None:
    grid = write(tmp_path, base)
    pipeline.prepare(grid.base, tmp_path)
    with pytest.raises(InputError, match="no cell of grid 'small' is done; run it with: baldistill compare"):
        compare_methods(grid, root=tmp_path, run=False)


def test_a_manifest_that_was_made_again_is_not_mixed_with_old_cells(base: str, tmp_path: Path) -> None:
    grid = write(tmp_path, base, GRID.replace("seeds = [0, 1]", "seeds = [0]").partition("[methods.even]")[0])
    result = compare_methods(grid, root=tmp_path)
    shutil.rmtree(Path(result.manifest.root) / "manifests" / "colours")
    with pytest.raises(InputError, match="started from another manifest 'colours' than today's"):
        compare_methods(grid, root=tmp_path)
