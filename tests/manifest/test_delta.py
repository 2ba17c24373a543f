"""One Delta table: a write stands on the version that was read, or fails and changes nothing."""

import errno
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import ConflictError, ManifestError
from curate.manifest import delta
from curate.manifest.schema import CONTENT_SCHEMA

ONE = pl.DataFrame({"content": ["a"], "prompt": ["p"]}, schema_overrides=CONTENT_SCHEMA)
SCHEMA = ONE.schema


@pytest.fixture
def location(tmp_path: Path) -> str:
    return str(tmp_path / "My Projects 100% ü" / "table")


def contents(location: str, version: int | None = None) -> list[str]:
    return sorted(delta.scan(location, version, SCHEMA).collect()["content"].to_list())


def test_versions_count_from_0_and_stay_as_they_were_written(location: str) -> None:
    assert delta.latest(location) == -1
    delta.write(location, ONE, -1, mode="overwrite", metadata={"curate.verb": "ingest"})
    delta.write(location, ONE.with_columns(content=pl.lit("b")), 0, mode="append", metadata={})
    delta.write(location, ONE.with_columns(content=pl.lit("c")), 1, mode="overwrite", metadata={})
    assert delta.latest(location) == 2
    assert [contents(location, version) for version in (0, 1, 2)] == [["a"], ["a", "b"], ["c"]]
    assert contents(location) == ["c"]
    assert delta.open_table(location, None).history()[-1]["curate.verb"] == "ingest"


def test_a_write_on_an_older_version_changes_nothing(location: str) -> None:
    delta.write(location, ONE, -1, mode="overwrite", metadata={})
    delta.write(location, ONE, 0, mode="overwrite", metadata={})
    for version in (-1, 0):
        with pytest.raises(ConflictError):
            delta.write(location, ONE.with_columns(content=pl.lit("lost")), version, mode="overwrite", metadata={})
    assert contents(location) == ["a"]


def test_what_is_no_table_and_what_cannot_be_written_say_so(tmp_path: Path) -> None:
    log = tmp_path / "broken" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020d}.json").write_text("not a log")
    with pytest.raises(ManifestError, match=r"commit file .* is damaged"):
        delta.open_table(str(tmp_path / "broken"), None)
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot be written, nothing was changed"):
        delta.write(str(tmp_path / "file" / "table"), ONE, -1, mode="overwrite", metadata={})


def test_rows_come_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    location = str(tmp_path / "t")
    for n in range(4):
        delta.write(location, pl.DataFrame({"id": [f"{n}a", f"{n}b"]}), n - 1, mode="append", metadata={})
    found = delta.scan(location, None, pl.Schema({"id": pl.String()})).collect()
    assert found["id"].to_list() == [f"{n}{letter}" for n in range(4) for letter in "ab"]


def test_a_full_disk_is_said_whatever_the_writer_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(self: pl.DataFrame, path: Path, **_: Any) -> None:
        Path(path).touch()
        raise pl.exceptions.ComputeError("parquet: File out of specification: Invalid thrift: transport error")

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", damaged)
    with pytest.raises(ManifestError, match="nothing was changed: parquet: File out of specification"):
        delta.write(str(tmp_path / "t"), pl.DataFrame({"a": [1]}), -1, mode="overwrite", metadata={})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ManifestError, match="nothing was changed: the disk is full"):
        delta.write(str(tmp_path / "t"), pl.DataFrame({"a": [1]}), -1, mode="overwrite", metadata={})
    assert list((tmp_path / "t").iterdir()) == []
