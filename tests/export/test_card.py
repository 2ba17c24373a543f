"""What an export writes beside its data: the card and its picture, a list of many domains, Croissant, the summary for the EU."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate import progress
from curate.errors import InputError
from curate.export import card as cards
from curate.export import export
from curate.manifest.manifest import Manifest
from curate.terminal.cli import app


@pytest.fixture
def notes():
    said: list[str] = []
    with progress.listen(lambda event: said.append(event.message)):
        yield said


def test_the_card_shows_the_picture_that_stands_beside_it(selected: Manifest, tmp_path: Path) -> None:
    folder = export.export(selected, to="datasets", destination=tmp_path / "x").folder
    text = (folder / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert shown == ["domains.png"]
    assert (folder / shown[0]).read_bytes()[:4] == b"\x89PNG"
    assert json.loads((folder / "croissant.json").read_text(encoding="utf-8"))["name"] == "m"


def test_the_same_snapshot_gives_the_same_bytes(selected: Manifest, tmp_path: Path) -> None:
    folders = [export.export(selected, to="datasets", destination=tmp_path / name, eu_summary=True).folder for name in "ab"]
    names = {path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file()}
    assert {Path("README.md"), Path("domains.png"), Path("croissant.json"), Path("eu-training-content.md")} < names
    assert not [name for name in names if (folders[0] / name).read_bytes() != (folders[1] / name).read_bytes()]


def test_many_domains_are_listed_in_a_file_that_no_reader_takes_for_data(selected, tmp_path, monkeypatch) -> None:
    for module in ("curate.export.card", "curate.cards.card"):
        monkeypatch.setattr(f"{module}.MOST_LISTED", 1)
    monkeypatch.setattr("curate.cards.card._LONG", 1)
    folder = export.export(selected, to="datasets", destination=tmp_path / "x").folder
    assert "[domains.md](domains.md)" in (folder / "README.md").read_text(encoding="utf-8")
    assert "| sums | " in (folder / "domains.md").read_text(encoding="utf-8")


def test_the_summary_is_written_in_every_format_when_asked_for(selected: Manifest, tmp_path: Path) -> None:
    for name in ("trl", "jsonl"):
        done = export.export(selected, to=name, destination=tmp_path / name, eu_summary=True)
        assert "no legal advice" in (done.folder / "eu-training-content.md").read_text(encoding="utf-8")
    assert not (export.export(selected, to="jsonl", destination=tmp_path / "y").folder / "eu-training-content.md").exists()


def test_a_language_that_is_given_is_stated_and_one_that_nothing_states_is_told(selected, tmp_path, notes) -> None:
    folder = export.export(selected, to="datasets", destination=tmp_path / "x", language=["de", "en"]).folder
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "language:\n- de\n- en\n" in text
    assert "Language, as given: de, en." in text
    assert not [note for note in notes if "--language" in note]
    export.export(selected, to="jsonl", destination=tmp_path / "y", language=["de"])
    assert [note for note in notes if "--language is said by the card" in note]
    with pytest.raises(InputError, match="--language 'German'"):
        export.export(selected, to="datasets", destination=tmp_path / "z", language=["German"])
    assert not (tmp_path / "z").exists()


def test_configs_are_taken_as_they_are_given(selected: Manifest, tmp_path: Path) -> None:
    from curate.export.base import read_snapshot

    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/*.parquet"}]} for name in ("default", "real")
    ]
    paths = cards.write_card(read_snapshot(selected), tmp_path, configs=configs)
    text = paths[0].read_text(encoding="utf-8")
    assert paths[0].name == "README.md"
    assert "| real | train | the real rows alone |" in text
    assert "path: real/*.parquet" in text


def test_the_command_shows_the_card_as_it_is_written(selected: Manifest) -> None:
    def run(*options: str) -> str:
        done = CliRunner().invoke(app, ["card", "m", "--root", selected.root, *options])
        assert done.exit_code == 0, done.output
        return done.stdout

    text = run()
    assert text.startswith("---\n")
    assert "# m\n" in text
    assert json.loads(run("--json"))["text"] == text
    assert "kept back, questions and answers: 1 validation row and 1 test row" in run("--no-held-out")
    assert run("--eu-summary").startswith("# Training content")
    assert "- fr\n" in run("--language", "fr")
