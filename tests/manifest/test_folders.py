"""A manifest's folder: found, moved and removed as a whole, with the names that it had."""

import json
from pathlib import Path

import pytest

from curate.errors import InputError, ManifestError, ManifestNotFoundError
from curate.manifest import folders
from curate.manifest.manifest import load, names
from tests.support.samples import ingested


@pytest.fixture
def math(tmp_path: Path) -> Path:
    ingested(tmp_path, [{"prompt": "a"}], name="math")
    return tmp_path / "manifests" / "math"


def test_only_a_manifest_is_found(math: Path, tmp_path: Path) -> None:
    (math.parent / "runs").mkdir()
    (math.parent / "notes").mkdir()
    (math.parent / "ledger.sqlite").touch()
    assert folders.find_folder("math", root=tmp_path) == math
    for name in ("mat", "notes", "ledger.sqlite"):
        with pytest.raises(ManifestNotFoundError, match=f"unknown manifest '{name}'.* curate list shows what is there"):
            folders.find_folder(name, root=tmp_path)
    for name in ("runs", "ledger", "../math", ".", "", "Math"):
        with pytest.raises(InputError, match="manifest name"):
            folders.find_folder(name, root=tmp_path)
    with pytest.raises(InputError, match=r"'math@3' names a version: .* leave out what follows"):
        folders.find_folder("math@3", root=tmp_path)
    with pytest.raises(ManifestError, match="under a local root alone, got 's3://b'"):
        folders.find_folder("math", root="s3://b")


def test_a_name_is_free_where_nothing_has_it_not_even_a_broken_link(math: Path, tmp_path: Path) -> None:
    assert folders.free_folder("new", root=tmp_path) == math.with_name("new")
    math.with_name("empty").mkdir()
    math.with_name("link").symlink_to("nowhere")
    for name in ("math", "empty", "link"):
        with pytest.raises(InputError, match=f"'{name}' exists already"):
            folders.free_folder(name, root=tmp_path)


def test_a_manifest_that_is_moved_is_read_as_before_and_knows_its_names(math: Path, tmp_path: Path) -> None:
    before = load("math", root=tmp_path).rows()
    folders.move(math, math.with_name("b"))
    folders.move(math.with_name("b"), math.with_name("c"))
    assert names(root=tmp_path) == ["c"]
    assert load("c", root=tmp_path).rows().equals(before)
    assert folders.former_names(math.with_name("c")) == ("math", "b")
    folders.move(math.with_name("c"), math)
    assert folders.former_names(math) == ("b", "c"), "a name that it has again is no former one"
    assert folders.former_names(math.with_name("none")) == ()


def test_where_it_cannot_be_moved_it_stays(math: Path, tmp_path: Path) -> None:
    ingested(tmp_path, [{"prompt": "b"}], name="other")
    with pytest.raises(ManifestError, match="manifest 'math' cannot be renamed, it is as it was: 'other' exists"):
        folders.move(math, math.with_name("other"))
    assert names(root=tmp_path) == ["math", "other"]


def test_a_manifest_is_removed_as_a_whole_and_of_a_link_the_link_alone(math: Path, tmp_path: Path) -> None:
    linked = tmp_path / "elsewhere"
    math.rename(linked)
    math.symlink_to(linked)
    folders.remove(math)
    assert not math.is_symlink()
    assert (linked / "manifest").is_dir()
    linked.rename(math)
    folders.remove(math)
    assert [path.name for path in math.parent.iterdir()] == []
    with pytest.raises(ManifestError, match="cannot be removed"):
        folders.remove(math)


def test_what_is_being_removed_is_no_manifest(math: Path, tmp_path: Path) -> None:
    math.rename(math.with_name(".math.0123.part"))
    assert names(root=tmp_path) == []


def test_the_size_is_that_of_all_files(math: Path) -> None:
    before = folders.size(math)
    (math / "notes.txt").write_text(json.dumps("x" * 98), encoding="utf-8")
    assert folders.size(math) == before + 100
