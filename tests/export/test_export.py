"""`curate export`: where it writes, which formats it takes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.export import export
from curate.export.base import exporters


def test_the_default_destination_is_in_the_working_directory(selected, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    done = export.export(selected)
    assert done.folder == Path("exports") / "m-v1-parquet"
    assert done.paths[0] == done.folder / "train.parquet"
    assert (tmp_path / "work" / done.paths[0]).is_file()


@pytest.mark.parametrize("form", exporters.names())
def test_the_command_that_loads_it_loads_it(selected, tmp_path, form, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    done = export.export(selected, to=form, destination=tmp_path / "it's ü")
    loaded = eval(done.load, {"datasets": datasets})  # what a user types
    assert {split: len(part) for split, part in loaded.items()} == done.rows


def test_a_callable_is_a_format(selected, tmp_path):
    def count(found, destination):
        path = destination / "count.txt"
        path.write_text(str(found.splits["train"].height))
        return (path,)

    assert export.export(selected, to=count, destination=tmp_path / "x").paths[0].read_text() == "2"


def test_what_is_kept_back_or_was_cut_short_is_told(candidates, tmp_path):
    rows = candidates.rows().with_columns(status=pl.when(pl.col("split") == "train").then(pl.lit("selected")).otherwise("status"))
    rows = rows.with_columns(stage=pl.when(pl.col("split") == "train").then(pl.int_range(pl.len()).clip(0, 1)))
    for stage, complete in ((0, True), (1, False)):
        candidates = candidates.commit(rows, verb="balance", parameters={"stage": stage}, summary={"complete": complete})
    heard: list[progress.Event] = []
    with progress.listen(heard.append):
        done = export.export(candidates, to="jsonl", destination=tmp_path / "x", held_out=False, complete_only=True)
        export.export(candidates, to="jsonl", destination=tmp_path / "y")
    assert done.rows == {"train": 1}
    assert [path.name for path in done.paths] == ["train.jsonl"]
    told = [event.message for event in heard if event.step == "export" and "rationale" not in event.message]
    completed = "and the same balance with larger caps completes it"
    assert told == [
        "1 validation rows and 1 test rows are kept back, questions and answers; --held-out takes them along",
        f"a cap cut stage 1 short: its 2 rows are left out, {completed}",
        f"a cap cut stage 1 short: its 2 rows are in the export; --complete-only leaves them out, {completed}",
    ]


def test_unknown_formats_and_places_that_cannot_be_written(selected, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown export format 'parket'; did you mean 'parquet'"):
        export.export(selected, to="parket")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"export of m@1: .*cannot be written"):
        export.export(selected, destination=tmp_path / "file")
