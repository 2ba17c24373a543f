"""Runs side by side: every student of every run, spend added up, and a warning where figures do not compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from baldistill.runs.compare import compare
from curate.errors import InputError, UnknownNameError


def record(root: Path, run: str, *, rows: int = 100, usd: float | None = 0.5) -> None:
    metrics = {"split": "test", "rows": rows, "macro": {"value": 0.3, "low": 0.2, "high": 0.4, "n": rows}}
    spend: dict[str, Any] = {"calls": 10, "tokens": 1000, "usd": usd, "saved": 0}
    base = {"index": -1, "snapshot": "math@1", "achieved": {}, "spend": {}, "metrics": metrics}
    stages = [
        {"index": k, "snapshot": f"math@{k + 2}", "achieved": {"a": 30, "b": 20}, "spend": spend, "metrics": metrics}
        for k in (0, 1)
    ]
    folder = root / "manifests" / "runs" / run
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps([base, *stages]), encoding="utf-8")


def test_spend_and_rows_add_up_over_the_stages(tmp_path: Path) -> None:
    record(tmp_path, "ours")
    lines = compare(["ours"], root=tmp_path).lines
    assert [(line.stage, line.rows, line.calls, line.tokens, line.usd) for line in lines] == [
        (-1, 0, 0, 0, 0.0),
        (0, 50, 10, 1000, 0.5),
        (1, 100, 20, 2000, 1.0),
    ]


def test_spend_without_a_price_is_unknown(tmp_path: Path) -> None:
    record(tmp_path, "local", usd=None)
    assert [line.usd for line in compare(root=tmp_path).lines] == [0.0, None, None]


def test_all_runs_unless_some_are_named_in_the_order_given(tmp_path: Path) -> None:
    for run in ("b", "a", "c"):
        record(tmp_path, run)
    assert [line.run for line in compare(root=tmp_path).lines][::3] == ["a", "b", "c"]
    assert [line.run for line in compare(["c", "a", "c"], root=tmp_path).lines][::3] == ["c", "a"]


def test_runs_that_were_measured_on_other_rows_are_told_apart(tmp_path: Path) -> None:
    record(tmp_path, "a")
    record(tmp_path, "b", rows=50)
    assert compare(["a"], root=tmp_path).differing == ()
    assert compare(root=tmp_path).differing == ("100 test rows of math", "50 test rows of math")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run has a record"):
        compare(root=tmp_path)
    record(tmp_path, "ours")
    with pytest.raises(UnknownNameError, match="did you mean 'ours'"):
        compare(["our"], root=tmp_path)
    (tmp_path / "manifests/runs/ours/record.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="the record of run 'ours' cannot be read"):
        compare(root=tmp_path)


def test_a_grid_is_named_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compare: grid\.toml, other: name one grid, or only runs"):
        compare(["grid.toml", "other"], root=tmp_path)
    with pytest.raises(InputError, match="compare --show: is about a grid"):
        compare(["other"], show=True, root=tmp_path)
