"""What an export replaces: files that an export wrote, all of them at once, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curate import progress
from curate.errors import InputError
from curate.export import export
from curate.export.destination import MARKER, open_destination


def texts(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def files_of(**named: str):
    """Return a format that writes these files, ``_`` standing for a dot."""

    def write(snapshot, destination):
        for name, text in named.items():
            (destination / name.replace("_", ".")).write_text(text)
        return [destination / name.replace("_", ".") for name in named]

    return write


def test_the_marker_lists_the_files(selected, tmp_path):
    done = export.export(selected, to="datasets", destination=tmp_path / "x")
    marker = json.loads((tmp_path / "x" / MARKER).read_text())
    assert set(marker["files"]) == {path.relative_to(tmp_path / "x").as_posix() for path in done.paths}
    assert (marker["manifest"], marker["version"], marker["format"]) == ("m", 1, "datasets")


def test_an_export_takes_the_place_of_another_as_a_whole(selected, tmp_path):
    export.export(selected, to="datasets", destination=tmp_path / "x")
    done = export.export(selected, to="jsonl", destination=tmp_path / "x")
    assert set(texts(tmp_path / "x")) == {MARKER, *(path.name for path in done.paths)}


@pytest.mark.parametrize("name", ["train.jsonl", "README.md", "notes.txt", "data/mine.parquet", ".hidden", MARKER, "a/b/c"])
def test_a_folder_with_files_of_somebody_else_is_refused_and_left_alone(selected, tmp_path, name):
    mine = tmp_path / "x" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"no export wrote.*--destination, or .*--force") as refused:
        export.export(selected, to="jsonl", destination=tmp_path / "x")
    assert repr(name) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert texts(tmp_path / "x") == {name: "mine"}


def test_a_link_and_an_empty_folder_are_somebody_elses(selected, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for make in (lambda p: p.symlink_to(tmp_path / "elsewhere"), lambda p: p.mkdir()):
        folder = tmp_path / f"x{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        make(folder / "inside")
        with pytest.raises(InputError, match="'inside'"):
            export.export(selected, to="jsonl", destination=folder)
        export.export(selected, to="jsonl", destination=folder, force=True)
        assert os.path.lexists(folder / "inside")
        assert (folder / "inside").is_dir()


def test_a_file_that_was_changed_since_is_somebody_elses(selected, tmp_path):
    export.export(selected, to="datasets", destination=tmp_path / "x")
    (tmp_path / "x" / "README.md").write_text("what a person wrote")
    for force, why in ((False, "changed since"), (True, "is not written over")):
        with pytest.raises(InputError, match=why):
            export.export(selected, to="datasets", destination=tmp_path / "x", force=force)
        assert (tmp_path / "x" / "README.md").read_text() == "what a person wrote"
    export.export(selected, to="jsonl", destination=tmp_path / "x", force=True)  # has no README of its own
    assert (tmp_path / "x" / "README.md").read_text() == "what a person wrote"
    assert not (tmp_path / "x" / "data").exists()


def test_what_a_person_wrote_in_a_card_stays_in_every_later_one(selected, tmp_path):
    card = tmp_path / "x" / "README.md"
    export.export(selected, to="datasets", destination=tmp_path / "x")
    first = card.read_text()
    card.write_text(
        first.replace("<!-- curate:audit -->", "My words.\n\n<!-- curate:audit -->").replace("- mit\n", "- mit\n# asked\n")
    )
    for _ in range(2):
        export.export(selected, to="datasets", destination=tmp_path / "x")
        assert "My words.\n\n<!-- curate:audit -->" in card.read_text()
        assert "- mit\n# asked\n" in card.read_text()
    with pytest.raises(InputError, match="no card to keep it in"):
        export.export(selected, to="jsonl", destination=tmp_path / "x")
    assert "My words." in card.read_text()
    card.write_text(first)
    export.export(selected, to="jsonl", destination=tmp_path / "x")
    assert not card.exists()


def test_a_card_whose_header_or_marks_are_broken_is_left_alone(selected, tmp_path):
    card = tmp_path / "x" / "README.md"
    export.export(selected, to="datasets", destination=tmp_path / "x")
    before = card.read_text()
    for broken in (before.replace("license:", "license: ["), before.replace("<!-- /curate:audit -->", "")):
        card.write_text(broken)
        with pytest.raises(InputError, match="nothing was overwritten"):
            export.export(selected, to="datasets", destination=tmp_path / "x")
        assert card.read_text() == broken


def test_force_replaces_what_an_export_wrote_and_keeps_the_rest(selected, tmp_path):
    folder = tmp_path / "x"
    export.export(selected, to=files_of(a_txt="1", b_txt="1"), destination=folder)
    (folder / "notes").mkdir()
    (folder / "notes" / "one.txt").write_text("mine")
    with pytest.raises(InputError, match=r"'notes/one.txt'"):
        export.export(selected, to=files_of(a_txt="2"), destination=folder)
    export.export(selected, to=files_of(a_txt="2"), destination=folder, force=True)
    found = texts(folder)
    assert {**found, MARKER: ""} == {"a.txt": "2", "notes/one.txt": "mine", MARKER: ""}
    assert set(json.loads(found[MARKER])["files"]) == {"a.txt"}, "what is kept does not become an export's"


def test_a_file_that_a_reader_would_take_for_a_split_is_refused_even_so(selected, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "validation-old.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"'validation-old.jsonl', which a reader would take for a part"):
        export.export(selected, to="jsonl", destination=tmp_path / "x", force=True)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_export_that_stops_leaves_the_earlier_one_whole(selected, tmp_path, error):
    export.export(selected, to="jsonl", destination=tmp_path / "x")
    before = texts(tmp_path / "x")

    def stops(snapshot, destination):
        (destination / "train.jsonl").write_text("half")
        raise error

    with pytest.raises((InputError, KeyboardInterrupt)) as told:
        export.export(selected, to=stops, destination=tmp_path / "x")
    assert "the disk is full" in str(told.value) or isinstance(error, KeyboardInterrupt)
    assert texts(tmp_path / "x") == before
    with pytest.raises((InputError, KeyboardInterrupt)):
        export.export(selected, to=stops, destination=tmp_path / "new")
    assert {p.name for p in tmp_path.iterdir()} == {"a.jsonl", "manifests", "x"} | (
        {"cache"} & {p.name for p in tmp_path.iterdir()}
    )


def test_a_link_to_a_folder_stays_one(selected, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    done = export.export(selected, to="jsonl", destination=tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "train.jsonl").is_file()
    assert done.paths[0] == tmp_path / "link" / "train.jsonl"


@pytest.mark.parametrize("place", [".", "manifests", "manifests/m", "manifests/new", "..", "work"])
def test_folders_of_the_project_are_no_destination(selected, tmp_path, monkeypatch, place):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work" if place in ("work", "..") else tmp_path)
    folder = tmp_path / "work" if place == "work" else Path(place)
    with pytest.raises(InputError, match=r"is a folder of the (manifests|working directory), and an export needs one of its own"):
        export.export(selected, to="jsonl", destination=folder, force=True)


def test_the_export_of_another_manifest_is_replaced_and_it_is_said(selected, tmp_path):
    export.export(selected, to="jsonl", destination=tmp_path / "x")
    marker = json.loads((tmp_path / "x" / MARKER).read_text())
    (tmp_path / "x" / MARKER).write_text(json.dumps(marker | {"manifest": "law"}))
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        export.export(selected, to="jsonl", destination=tmp_path / "x")
    assert any("held an export of 'law'" in message for message in heard)


def test_a_folder_that_is_not_there_may_be_written(tmp_path):
    assert open_destination(tmp_path / "a" / "b", manifests=None).others == ()


KILLED = """
import os, signal, sys
from curate.export.export import export
from curate.export.trainers import write_trl
from curate.manifest.manifest import load

def stops(snapshot, destination):
    paths = write_trl(snapshot, destination)
    paths[0].write_text("half")
    os.kill(os.getpid(), int(sys.argv[2]))

export(load("m", root=sys.argv[1]), to=stops, destination=sys.argv[1] + "/x")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_an_export_that_is_killed_leaves_the_earlier_one_whole(selected, tmp_path, sent):
    done = export.export(selected, destination=tmp_path / "x")
    before = texts(tmp_path / "x")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(int(sent))], check=False, capture_output=True, cwd=tmp_path
    )
    assert killed.returncode == -sent or (sent == signal.SIGINT and killed.returncode in (1, 130))
    assert b"KeyboardInterrupt" in killed.stderr or sent == signal.SIGKILL
    assert texts(tmp_path / "x") == before
    again = export.export(selected, destination=tmp_path / "x")
    assert again.paths == done.paths
    assert texts(tmp_path / "x") == before


@pytest.mark.parametrize("name", ["file", "link to a file"])
def test_a_file_is_no_destination(selected, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link to a file").symlink_to(tmp_path / "file")
    with pytest.raises(InputError, match=rf"'.*{name}' is a file, and an export is a folder: name another --destination"):
        export.export(selected, destination=tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_to_nothing_is_followed_and_a_link_to_itself_is_refused(selected, tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    export.export(selected, destination=tmp_path / "dangling")
    assert (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "new" / "train.jsonl").is_file()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"'.*loop' cannot be written: Too many levels of symbolic links"):
        export.export(selected, destination=tmp_path / "loop")


def test_a_folder_that_cannot_be_written_is_left_alone(selected, tmp_path, monkeypatch):
    def refuses(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "shut").mkdir()
    monkeypatch.setattr(Path, "mkdir", refuses)
    with pytest.raises(InputError, match=r"export of m@1: '.*shut' cannot be written: Permission denied"):
        export.export(selected, destination=tmp_path / "shut")
    assert not list((tmp_path / "shut").iterdir())


def test_an_empty_name_is_no_default(selected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"is a folder of the (manifests|working directory)"):
        export.export(selected, destination="")
