"""Nothing of a manifest's past is removed; what is damaged is named with the way out; a copy of the log is kept beside it."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ManifestError
from curate.manifest import commit_files, delta
from curate.manifest.history import diff
from curate.manifest.manifest import Manifest, load
from tests.support.samples import ingested

OFTEN = {"delta.checkpointInterval": "5"}  # versions; deltalake cleans up with each checkpoint
ROWS = [{"prompt": f"q{i}", "answer": str(i), "domain": "a"} for i in range(3)]


def again(handle: Manifest, times: int) -> Manifest:
    for i in range(times):
        handle = handle.commit(handle.rows().with_columns(reason=pl.lit(f"c{i}")), verb="select", summary={"selected": i})
    return handle


def make_old(folder: Path, days: int = 400) -> None:
    then = time.time() - days * 86400
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def with_checkpoints(handle: Manifest) -> Manifest:
    delta.open_table(f"{handle.location}/manifest", None).alter.set_table_properties(OFTEN)
    return load(handle.name, root=handle.root)


def commit_file(handle: Manifest, version: int) -> Path:
    return Path(handle.location) / "manifest" / "_delta_log" / f"{version:020d}.json"


def made_by_an_older_version(tmp_path: Path) -> Manifest:
    """Return a manifest whose table has none of the properties that keep its log."""
    from deltalake import DeltaTable, write_deltalake

    handle = ingested(tmp_path, ROWS)
    location = f"{handle.location}/manifest"
    rows = handle.rows()
    shutil.rmtree(location)
    write_deltalake(location, rows, configuration=OFTEN)
    (Path(handle.location) / commit_files.KEPT).unlink()
    assert DeltaTable(location).metadata().configuration == OFTEN
    return load("tail", root=tmp_path)


@pytest.mark.parametrize("old", [False, True])
def test_commits_do_not_expire_however_old_they_are(tmp_path: Path, old: bool) -> None:
    first = made_by_an_older_version(tmp_path) if old else with_checkpoints(ingested(tmp_path, ROWS))
    handle = again(first, 7)
    make_old(tmp_path)
    handle = again(handle, 6)
    assert len([*commit_file(handle, 0).parent.glob("*.checkpoint.parquet")]) >= 2
    numbers = [entry["version"] for entry in delta.history(f"{handle.location}/manifest")]
    assert numbers == list(range(handle.version + 1))
    assert load("tail@3", root=tmp_path).rows().height == 3
    assert diff(handle, old="3").changed == 3
    assert [commit.version for commit in handle.lineage()] == numbers


def test_both_tables_say_that_nothing_expires_and_an_old_one_says_so_from_its_next_version_on(tmp_path: Path) -> None:
    new = ingested(tmp_path / "new", ROWS)
    old = made_by_an_older_version(tmp_path / "old")
    after = again(old, 1)
    assert (old.version, after.version) == (0, 2)
    assert [commit.verb for commit in after.log()][1:] == ["upgrade", "select"]
    assert again(after, 1).version == 3
    for handle, table in ((new, "manifest"), (new, "examples"), (after, "manifest")):
        configuration = delta.open_table(f"{handle.location}/{table}", None).metadata().configuration
        assert configuration.items() >= delta.KEEP_FOR_EVER.items()


def test_the_log_is_known_where_delta_has_removed_its_files(tmp_path: Path) -> None:
    handle = again(with_checkpoints(ingested(tmp_path, ROWS)), 5)
    before = handle.lineage()
    for version in range(3):
        commit_file(handle, version).unlink()
    assert load("tail", root=tmp_path).lineage() == before
    with pytest.raises(ManifestError, match=r"version 2 of .* is missing: restore it from a backup; .*: 4 to 6"):
        load("tail@2", root=tmp_path)
    (Path(handle.location) / commit_files.KEPT).unlink()
    with pytest.raises(ManifestError, match=r"stands on version 2, .* curate export tail --to jsonl"):
        load("tail", root=tmp_path).lineage()
    assert [commit.version for commit in handle.lineage(partial=True)] == list(range(3, 7))


@pytest.mark.parametrize(
    ("broken", "version", "told"),
    [
        ("missing", 2, "'00000000000000000002.json' is missing: restore it from a backup; versions that can be read: 0 to 1"),
        ("empty", 2, "'00000000000000000002.json' is empty: restore it from a backup; versions that can be read: 0 to 1"),
        ("cut", 2, "'00000000000000000002.json' is damaged: restore"),
        ("bytes", 2, "'00000000000000000002.json' is damaged: restore"),
        ("missing", 0, "'00000000000000000000.json' is missing"),
        ("empty", 5, "is empty: restore it from a backup, or move it away: version 4, from before"),
        ("cut", 5, "is damaged: restore it from a backup, or move it away: version 4, from before"),
    ],
)
def test_a_commit_file_that_cannot_be_read_is_one_line_with_the_way_out(
    tmp_path: Path, broken: str, version: int, told: str
) -> None:
    handle = again(ingested(tmp_path, ROWS), 5)
    path = commit_file(handle, version)
    if broken == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[:-20], "bytes": b"\xff\x00"}[broken])
    with pytest.raises(ManifestError) as caught:
        load("tail", root=tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    for readable in range(version):
        assert load(f"tail@{readable}", root=tmp_path).rows().height == 3
    if broken != "missing" and version == 5:
        path.unlink()
        assert load("tail", root=tmp_path).version == 4


def test_a_damaged_checkpoint_is_named_and_can_be_moved_away(tmp_path: Path) -> None:
    handle = again(with_checkpoints(ingested(tmp_path, ROWS)), 4)
    [checkpoint] = commit_file(handle, 0).parent.glob("*.checkpoint.parquet")
    checkpoint.write_bytes(b"junk")
    with pytest.raises(ManifestError, match=f"nothing is lost when you move away {checkpoint.name} and _last_checkpoint"):
        load("tail", root=tmp_path)
    checkpoint.unlink()
    (checkpoint.parent / "_last_checkpoint").unlink()
    assert load("tail", root=tmp_path).rows().height == 3


def test_a_data_file_that_is_missing_or_cut_is_named(tmp_path: Path) -> None:
    handle = ingested(tmp_path, ROWS)
    [file] = (Path(handle.location) / "manifest").glob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ManifestError, match=f"{file.name}' has .* bytes, its commit says"):
        handle.rows()
    file.unlink()
    with pytest.raises(ManifestError, match=f"{file.name}' is missing: restore it from a backup"):
        handle.rows()


def test_what_a_commit_promises_is_on_the_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(commit_files, "sync_to_disk", lambda path: synced.append(Path(path).name))
    handle = ingested(tmp_path, ROWS)
    data = {path.name for path in Path(handle.location).glob("*/*.parquet")}
    assert len(data) == 2
    assert {*data, "00000000000000000000.json", "_delta_log", "manifest", "examples"} <= set(synced)


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=3), max_size=6), st.binary(max_size=30))
def test_the_copy_gives_back_what_was_kept_and_passes_over_a_line_that_was_cut(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, str]], cut: bytes
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    numbered = [{**entry, "version": i} for i, entry in enumerate(entries)]
    commit_files.keep(folder, numbered[:2])
    with (folder / commit_files.KEPT).open("ab") as file:
        file.write(b'{"x": "' + cut.replace(b"\n", b"").replace(b"\r", b""))
    commit_files.keep(folder, numbered[2:])
    assert [entry for entry in commit_files.kept(folder) if entry in numbered] == numbered


def test_a_commit_that_the_copy_lacks_is_added_by_the_next_one(tmp_path: Path) -> None:
    handle = again(ingested(tmp_path, ROWS), 2)
    path = Path(handle.location) / commit_files.KEPT
    path.write_text("", encoding="utf-8")
    handle = again(handle, 1)
    assert [json.loads(line)["version"] for line in path.read_text(encoding="utf-8").splitlines()] == [0, 1, 2, 3]
