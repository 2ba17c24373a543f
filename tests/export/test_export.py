"""`curate export`: where it writes, which formats it takes, and what it refuses."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.export import export
from curate.export.base import exporters
from curate.terminal import cli
from tests.support import tiny_student
from tests.support.balancing import questions, run
from tests.support.samples import ingested


def test_the_default_destination_is_in_the_working_directory(selected, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    done = export.export(selected)
    assert done.folder == Path("exports") / "m-v1-trl"
    assert done.paths[0] == done.folder / "train.jsonl"
    assert (tmp_path / "work" / done.paths[0]).is_file()


@pytest.mark.parametrize("form", [name for name in exporters.names() if name != "trl-dpo"])  # of these rows there are no pairs
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
    with pytest.raises(InputError, match="is a file, and an export is a folder"):
        export.export(selected, destination=tmp_path / "file")


LONG = [
    *({"prompt": f"{n}?", "answer": "4", "domain": "short"} for n in range(4)),
    *({"prompt": f"{n} of a great many words and then some more?", "answer": "4", "domain": "long"} for n in range(3)),
    {"prompt": "short?", "answer": "4", "domain": "long"},
]
HELD = {"prompt": "how many words are in this question here?", "answer": "9", "domain": "short", "split": "test"}


def chosen(root, rows, **options):
    chosen_rows = [{"status": "selected", "stage": 0, **row} if row.get("split") != "test" else row for row in rows]
    return ingested(root, chosen_rows, **options)


@pytest.fixture
def student(tmp_path):
    return str(tiny_student.make(tmp_path / "student", window=64))


@pytest.fixture
def heard():
    messages: list[str] = []
    with progress.listen(lambda event: messages.append(event.message)):
        yield messages


def read(done, split="train"):
    return [json.loads(line) for line in (done.folder / f"{split}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("form", ["trl", "openai", "chat", "jsonl"])
def test_rows_over_a_limit_are_reported_and_kept(tmp_path, student, heard, form):
    manifest = chosen(tmp_path, [*LONG, HELD])
    done = export.export(manifest, to=form, destination=tmp_path / "x", max_tokens=25, student=student)
    assert done.rows == {"train": 8, "test": 1}
    found = {(line.split, line.domain): (line.rows, line.over) for line in done.lengths}
    assert found == {("train", "long"): (4, 3), ("train", "short"): (4, 0), ("test", "short"): (1, 1)}
    longest = max(line.longest for line in done.lengths if line.split == "train")
    assert (
        f"3 of 8 train rows have more than 25 tokens for student, the longest {longest}: they are written whole, and a trainer "
        "may cut them" in heard
    )
    assert "warning: more than half of the train rows of 'long' (3 of 4) are over the limit" in heard


def test_rows_over_a_limit_are_left_out_where_that_is_asked_for(tmp_path, student, heard):
    manifest = chosen(tmp_path, [*LONG, HELD])
    done = export.export(manifest, destination=tmp_path / "x", max_tokens=25, student=student, over_long="drop")
    assert done.rows == {"train": 5, "test": 1}, "a row that measures is never left out"
    assert sorted(row["prompt"][0]["content"] for row in read(done)) == ["0?", "1?", "2?", "3?", "short?"]
    assert any(message.endswith(": they are left out") for message in heard)
    assert "warning: more than half of the train rows of 'long' (3 of 4) are left out, being over the limit" in heard
    assert "max_length: 25\n" in (done.folder / "sft.yaml").read_text()


def test_nothing_over_a_limit_is_said_where_there_is_nothing(tmp_path, student, heard):
    done = export.export(chosen(tmp_path, LONG), destination=tmp_path / "x", max_tokens=60, student=student, over_long="drop")
    assert (done.rows, [line.over for line in done.lengths]) == ({"train": 8}, [0, 0])
    assert not [message for message in heard if "tokens" in message]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_tokens": 0}, "--max-tokens must be at least 1, got 0"),
        ({"over_long": "drop"}, "--over-long drop needs a limit: give --max-tokens N"),
        ({"max_tokens": 2, "over_long": "drop"}, "every train row has more than 2 tokens for student, so none is left: raise"),
    ],
)
def test_limits_that_make_no_sense_are_refused(tmp_path, student, options, why):
    with pytest.raises(InputError, match=why):
        export.export(chosen(tmp_path, LONG), destination=tmp_path / "x", student=student, **options)
    assert not (tmp_path / "x").exists()


@pytest.fixture
def uneven(tmp_path):
    """A balance that wanted as many rows of one domain as of the other, and got 9 and 3; and two held-out rows."""
    held = [
        {"prompt": f"held {n}?", "answer": "1", "domain": "head", "split": split}
        for n, split in enumerate(["validation", "test"])
    ]
    return run(ingested(tmp_path, [*questions({"head": 20, "tail": 3}), *held]), budget=12).manifest


@pytest.mark.parametrize(
    "form", ["trl", "axolotl", "sharegpt", "llama-factory", "unsloth", "torchtune", "alpaca", "chat", "jsonl"]
)
def test_weights_stand_beside_every_record(uneven, tmp_path, form, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    done = export.export(uneven, to=form, destination=tmp_path / "x", weights=True)
    rows = read(done)
    assert {(row["domain"], round(row["weight"], 9)) for row in rows} == {("head", round(2 / 3, 9)), ("tail", 2.0)}
    assert [row["weight"] for split in ("validation", "test") for row in read(done, split)] == [None, None]
    loaded = datasets.load_dataset(str(done.folder))
    assert sum(loaded["train"]["weight"]) == pytest.approx(len(rows))


@pytest.mark.parametrize("form", ["parquet", "datasets"])
def test_weights_are_a_column_of_parquet(uneven, tmp_path, form):
    done = export.export(uneven, to=form, destination=tmp_path / "x", weights=True)
    train = pl.read_parquet(next(path for path in done.paths if path.name.startswith("train")))
    assert (train.schema["weight"], train["weight"].mean()) == (pl.Float64, pytest.approx(1))


def test_weights_are_of_the_rows_that_are_left(uneven, tmp_path, student):
    lengths = export.export(uneven, destination=tmp_path / "x", max_tokens=1, student=student).lengths
    limit = max(line.longest for line in lengths) - 1
    done = export.export(uneven, destination=tmp_path / "y", weights=True, max_tokens=limit, student=student, over_long="drop")
    rows = read(done)
    assert len(rows) < 12
    assert sum(row["weight"] for row in rows) == pytest.approx(len(rows))
    assert sum(row["weight"] for row in rows if row["domain"] == "tail") == pytest.approx(len(rows) / 2)


def test_a_format_without_a_place_for_weights_says_so(uneven, tmp_path, heard):
    done = export.export(uneven, to="openai", destination=tmp_path / "x", weights=True)
    assert all(set(row) == {"messages"} for row in read(done))
    assert any("no place in this format for the weights of rows (12 rows)" in message for message in heard)


def test_without_a_balance_there_are_no_weights(tmp_path):
    with pytest.raises(InputError, match=r"stands on no balance.*leave out --weights"):
        export.export(chosen(tmp_path, LONG), destination=tmp_path / "x", weights=True)


@pytest.mark.slow
def test_the_last_step_of_the_readme_ends_in_a_training_run(tmp_path, student, monkeypatch):
    blocks = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split("```bash\n")
    first, last = next(text for text in blocks if "trl sft" in text).split("```")[0].splitlines()
    chosen(tmp_path, LONG, name="math").tag("balanced-v1")
    monkeypatch.chdir(tmp_path)
    _, *arguments = shlex.split(first)
    assert CliRunner().invoke(cli.app, arguments, catch_exceptions=False).exit_code == 0
    change, train = last.split(" && ")
    program, *arguments = shlex.split(train)
    options = ["--model_name_or_path", student, "--max_steps", "2", "--report_to", "none"]  # in place of the download
    trl = [sys.executable, "-c", f"from {program}.cli import main; main()", *arguments, *options]
    subprocess.run(trl, cwd=tmp_path / change.removeprefix("cd "), check=True, capture_output=True)
    assert (tmp_path / "trained" / "model.safetensors").is_file()


def test_the_card_says_what_a_weight_is_and_what_was_left_out(uneven, tmp_path, student):
    def card(**options):
        done = export.export(uneven, to="datasets", destination=tmp_path / "x", **options)
        assert done.rows["train"] == sum(pl.read_parquet(path).height for path in done.paths if path.name.startswith("train"))
        return (done.folder / "README.md").read_text(encoding="utf-8"), done

    text, done = card(max_tokens=1, student=student)
    assert "| weight |" not in text
    limit = max(line.longest for line in done.lengths if line.split == "train") - 1
    text, done = card(weights=True, max_tokens=limit, student=student, over_long="drop")
    assert "| weight |" in text
    gone = 12 - done.rows["train"]
    assert f"{gone} train row{'s' if gone > 1 else ''} of more than {limit} tokens" in text
