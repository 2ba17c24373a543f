"""Every manifest of a root is listed, also one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import curate.terminal.cli
from curate.errors import ManifestError
from curate.housekeeping.listing import describe, list_manifests
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SCHEMA_VERSION
from tests.support.samples import frames, ingested


def test_rows_version_and_the_last_commit_are_of_the_newest_version(tmp_path: Path) -> None:
    ingested(tmp_path, [{"prompt": "a"}], name="z")
    start = ingested(tmp_path, [{"prompt": "a"}, {"prompt": "b"}], name="a.b-c")
    more, contents = frames([{"prompt": "c"}])
    start.append(contents)
    after = start.commit(more, verb="review")
    found = list_manifests(root=tmp_path)
    assert [(m.name, m.rows, m.last and m.last.version) for m in found.manifests] == [("a.b-c", 1, 1), ("z", 1, 0)]
    files = [path for path in Path(after.location).rglob("*") if path.is_file()]
    assert found.manifests[0].bytes == sum(path.stat().st_size for path in files)
    told = found.manifests[0].to_dict()
    assert (told["verb"], told["time"], told["problem"]) == ("review", after.log()[-1].time.isoformat(), None)


def damage_log(at: Manifest) -> None:
    """Make a log that says nothing."""
    (Path(at.location) / "manifest" / "_delta_log" / "00000000000000000000.json").write_text("{", encoding="utf-8")


def damage_metadata(at: Manifest) -> None:
    """Make a log whose commit has metadata of ours that is no JSON."""
    path = Path(at.location) / "manifest" / "_delta_log" / "00000000000000000000.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"curate.summary":"{}"', '"curate.summary":"{"'), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text


def empty_log(at: Manifest) -> None:
    """Leave a log without a commit."""
    for path in (Path(at.location) / "manifest" / "_delta_log").iterdir():
        path.unlink()


def remove_data(at: Manifest) -> None:
    """Remove the files that the log names."""
    for path in (Path(at.location) / "manifest").glob("*.parquet"):
        path.unlink()


def newer(at: Manifest) -> None:
    """Say that a newer version wrote it."""
    path = Path(at.location) / "manifest" / "_delta_log" / "00000000000000000000.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace(f'"curate.schema":"{SCHEMA_VERSION}"', '"curate.schema":"9"'), encoding="utf-8"
    )


@pytest.mark.parametrize("damage", [damage_log, damage_metadata, empty_log, remove_data, newer])
def test_one_that_cannot_be_read_is_listed_with_the_reason(tmp_path: Path, damage: object) -> None:
    broken, _ = ingested(tmp_path, [{"prompt": "a"}], name="broken"), ingested(tmp_path, [{"prompt": "a"}], name="good")
    assert callable(damage)
    damage(broken)
    first, second = list_manifests(root=tmp_path).manifests
    assert (first.name, first.rows, first.last, bool(first.problem)) == ("broken", None, None, True)
    assert (second.name, second.rows, second.problem) == ("good", 1, None)
    shown = CliRunner().invoke(curate.terminal.cli.app, ["list", "--root", str(tmp_path)])
    assert shown.exit_code == 0, shown.stderr
    assert "cannot be read: " in " ".join(shown.stdout.split())


def test_what_is_no_manifest_is_not_listed(tmp_path: Path) -> None:
    ingested(tmp_path, [{"prompt": "a"}], name="math")
    for name in ("runs/x", "adapters", ".math.0123.part/manifest/_delta_log"):
        (tmp_path / "manifests" / name).mkdir(parents=True)
    assert [found.name for found in list_manifests(root=tmp_path).manifests] == ["math"]
    with pytest.raises(ManifestError, match="listed under a local root alone, got 's3://b'"):
        list_manifests(root="s3://b")


def test_the_command_has_a_line_each_and_says_how_to_make_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    empty = CliRunner().invoke(curate.terminal.cli.app, ["list"])
    assert empty.stdout == "no manifest in '.'; make one with: curate ingest FILE --to NAME\n"
    ingested(tmp_path, [{"prompt": "a"}], name="math", summary={"added": 1})
    lines = [" ".join(line.split()) for line in CliRunner().invoke(curate.terminal.cli.app, ["list"]).stdout.splitlines()]
    assert lines[0] == "manifest rows size version time (UTC) done last"
    assert lines[1].startswith("math 1 ")
    assert lines[1].endswith("ingest: added 1")
    told = json.loads(CliRunner().invoke(curate.terminal.cli.app, ["list", "--json"]).stdout)
    assert [list(found) for found in told["manifests"]] == [["name", "rows", "bytes", "version", "verb", "time", "problem"]]


def test_one_manifest_is_described_in_words(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": "a"}], name="math")
    assert describe("math", root=str(tmp_path)).summary().startswith("1 rows, 1 versions and ")
    damage_log(start)
    assert "and cannot be read: " in describe("math", root=str(tmp_path)).summary()
