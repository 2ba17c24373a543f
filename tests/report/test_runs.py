"""The records of training runs are read as `baldistill run` writes them."""

import json
from pathlib import Path

import pytest

from curate.errors import InputError
from curate.files import runs_folder
from curate.manifest.manifest import Manifest
from curate.report.runs import RECORD, LearnedSnapshot, learned_snapshots, read_run, run_names


def write(root: Path, run: str, *pairs: tuple[int, str]) -> None:
    folder = runs_folder(str(root)) / run
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps([{"index": index, "snapshot": snapshot} for index, snapshot in pairs]))


def test_students_that_learned_from_a_manifest_are_found_in_every_run(tmp_path: Path) -> None:
    write(tmp_path, "b", (-1, "math@3"), (0, "math@4"), (1, "math@9"))
    write(tmp_path, "a", (0, "other@4"), (1, "math@4"))
    (runs_folder(str(tmp_path)) / "adapters").mkdir()
    assert run_names(str(tmp_path)) == ["a", "b"]
    found = list(learned_snapshots(Manifest("math", 9, str(tmp_path))))
    assert found == [LearnedSnapshot("a", 1, 4), LearnedSnapshot("b", 0, 4), LearnedSnapshot("b", 1, 9)]


def test_where_nothing_was_trained_there_is_nothing(tmp_path: Path) -> None:
    assert run_names(str(tmp_path)) == []
    assert list(learned_snapshots(Manifest("math", 0, str(tmp_path)))) == []


def test_a_record_that_cannot_be_read_names_its_run(tmp_path: Path) -> None:
    write(tmp_path, "broken")
    (runs_folder(str(tmp_path)) / "broken" / RECORD).write_text("{")
    with pytest.raises(InputError, match="the record of run 'broken' cannot be read"):
        read_run(str(tmp_path), "broken")
    with pytest.raises(InputError, match="the record of run 'gone' cannot be read"):
        read_run(str(tmp_path), "gone")
