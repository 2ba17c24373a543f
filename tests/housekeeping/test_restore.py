"""An old version again: its rows, the stages that it stood on, and a log that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import curate.terminal.cli
from curate import progress
from curate.balance.balance import balance
from curate.cards.card import card
from curate.errors import ConflictError
from curate.housekeeping.restore import restore
from curate.manifest.history import diff, done_stages
from curate.manifest.manifest import Manifest, load
from curate.report.explain import explain
from curate.vectors.encoders import FakeEncoder
from tests.support.samples import ingested

ROWS: list[dict[str, Any]] = [{"prompt": f"item {i}: {i * 17} plus {i}?", "domain": "x" if i < 9 else "y"} for i in range(14)]
OPTIONS: dict[str, Any] = {"encoder": FakeEncoder(), "policy": "uniform", "auditors": ("malformed",), "stages": 2}


@pytest.fixture
def balanced(tmp_path: Path) -> Manifest:
    """Stages 0 and 1 in versions 1 and 2."""
    return balance(ingested(tmp_path, ROWS), budget=6, **OPTIONS).manifest


def test_the_rows_are_equal_and_nothing_is_lost(balanced: Manifest) -> None:
    first = load("tail@1", root=balanced.root)
    found = restore(first)
    assert (str(found.manifest), str(found.restored)) == ("tail@3", "tail@1")
    assert found.manifest.rows().equals(first.rows())
    assert (found.added, found.gone, found.changed) == (0, 0, diff(first, old=balanced).changed)
    assert found.changed > 0
    assert load("tail@2", root=balanced.root).rows().equals(balanced.rows())


def test_it_stands_on_what_the_old_version_stood_on(balanced: Manifest) -> None:
    back = restore(load("tail@1", root=balanced.root)).manifest
    assert [commit.version for commit in back.lineage()] == [0, 1, 3]
    assert list(done_stages(back)) == [0]
    again = balance(back, budget=6, **OPTIONS)
    assert [stage.reused for stage in again.stages] == [True, False]
    assert again.manifest.rows().filter(status="selected").height == 6
    assert sorted(again.manifest.rows().filter(status="selected")["id"]) == sorted(
        balanced.rows().filter(status="selected")["id"]
    )


def test_a_version_before_every_stage_has_no_stage(balanced: Manifest) -> None:
    back = restore(load("tail@0", root=balanced.root)).manifest
    assert done_stages(back) == {}
    assert "## How rows were chosen" not in card(back).text, "the card says what the rows went through, not what was undone"
    assert "## How rows were chosen" in card(balanced).text


def test_log_and_explain_say_it(balanced: Manifest) -> None:
    back = restore(load("tail@0", root=balanced.root)).manifest
    shown = CliRunner().invoke(curate.terminal.cli.app, ["log", "tail", "--root", balanced.root]).stdout
    assert "restore        version 0 again: 0 rows added, 0 gone, 14 changed" in shown
    selected = balanced.rows().filter(status="selected", stage=0)["id"][0]
    steps = {step.verb: step for step in explain(back, selected).steps}
    assert list(steps) == ["ingest", "restore", "export"]
    (line,) = steps["restore"].lines
    assert line.startswith("it is as in v0 again, in ")
    assert "status" in line


def test_explain_knows_a_row_that_was_gone(tmp_path: Path) -> None:
    start = ingested(tmp_path, ROWS[:2])
    after = start.commit(start.rows()[:1], verb="review")
    back = restore(start).manifest
    gone, kept = start.rows()["id"][1], start.rows()["id"][0]
    assert [step.lines for step in explain(back, gone).steps if step.verb == "restore"] == [("it is there again, as in v0",)]
    assert "restore" not in [step.verb for step in explain(back, kept).steps], "nothing happened to this one"
    assert diff(back, old=after).added == 1


def test_again_and_of_the_newest_nothing_is_committed(balanced: Manifest) -> None:
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        assert restore(balanced).manifest == balanced
        back = restore(load("tail@0", root=balanced.root)).manifest
        assert restore(load("tail@0", root=balanced.root)).manifest == back
    assert notes == [
        "tail@2 is the newest version, nothing was committed; name an older one, as in: curate restore tail@1",
        "tail@3 is tail@0 restored already, nothing was committed",
    ]


def test_another_commit_in_between_is_a_conflict(balanced: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(reference: str, **options: Any) -> Manifest:
        newest = load(reference, **options)
        newest.commit(newest.rows(), verb="review")
        return newest

    monkeypatch.setattr("curate.housekeeping.restore.load", late)
    with pytest.raises(ConflictError, match="another command committed tail@3"):
        restore(load("tail@0", root=balanced.root))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
@settings(max_examples=10)
def test_whatever_is_restored_in_whatever_order_rows_and_stages_are_those_of_then(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[int]
) -> None:
    root = tmp_path_factory.mktemp("restore")
    newest = balance(ingested(root, ROWS), budget=6, **OPTIONS).manifest
    for version in wanted:
        old = load(f"tail@{version % (newest.version + 1)}", root=root)
        newest = restore(old).manifest
        assert newest.rows().equals(old.rows())
        assert {k: v.version for k, v in done_stages(newest).items()} == {k: v.version for k, v in done_stages(old).items()}
        assert newest.rows().select(pl.col("id").is_unique().all()).item()
