"""The log and the tags of a manifest, and what differs between two of its versions."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError, ManifestNotFoundError
from curate.manifest import manifest
from curate.manifest.history import DomainChanges, _differences, diff, done_stages, log, tags
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SCHEMA
from tests.support.samples import FOUR, changed, ingested


@pytest.fixture
def two(tmp_path: Path) -> Manifest:
    return changed(tmp_path)


def test_the_log_ends_at_its_version_and_names_the_tags(two: Manifest) -> None:
    first = manifest.load("tail@0", root=two.root)
    first.tag("raw")
    first.tag("before")
    two.tag("reviewed")
    found = log(two)
    assert [(commit.version, commit.verb) for commit in found.commits] == [(0, "ingest"), (1, "review")]
    assert found.tags == {0: ("before", "raw"), 1: ("reviewed",)}
    assert [commit.version for commit in log(first).commits] == [0]
    assert tags(first).tags == tags(two).tags == {"before": 0, "raw": 0, "reviewed": 1}


def test_a_manifest_without_tags_has_none(tmp_path: Path) -> None:
    start = ingested(tmp_path, FOUR)
    assert log(start).tags == {}
    assert tags(start).tags == {}


def test_diff_counts_rows_by_column_and_domain(two: Manifest) -> None:
    found = diff(two)
    assert (found.added, found.gone, found.changed) == (1, 1, 2)
    assert found.columns == {"status": 2, "parents": 1, "score": 1}
    assert found.domains == (
        DomainChanges("algebra", 0, 0, 1),
        DomainChanges("logic", 0, 1, 1),
        DomainChanges("sets", 1, 0, 0),
    )
    lines = {(row["domain"], row["change"], *row["columns"]) for row in found.rows.to_dicts()}
    assert ("logic", "changed", "parents", "score", "status") in lines
    assert ("sets", "added") in lines


def test_diff_goes_both_ways(two: Manifest) -> None:
    back = diff(manifest.load("tail@0", root=two.root), old=two)
    assert (back.added, back.gone, back.changed) == (1, 1, 2)
    assert back.to_dict()["old"] == "tail@1"


@pytest.mark.parametrize("old", ["0", "tail@0", "first"])
def test_diff_takes_versions_and_tags(two: Manifest, old: str) -> None:
    manifest.load("tail@0", root=two.root).tag("first")
    assert diff(two, old=old).changed == 2


def test_nothing_differs_from_itself(two: Manifest) -> None:
    found = diff(two, old=two)
    assert found.to_dict() == {
        "old": "tail@1",
        "new": "tail@1",
        "added": 0,
        "gone": 0,
        "changed": 0,
        "columns": {},
        "domains": [],
    }


def test_the_first_version_has_none_before(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tail@0 is the first version"):
        diff(ingested(tmp_path, FOUR))


def test_an_unknown_version_is_an_error(two: Manifest) -> None:
    with pytest.raises(ManifestNotFoundError, match="tail@7 does not exist"):
        diff(two, old="7")


STATES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from(["x", "y", None]), st.integers(0, 2)), max_size=6)


@given(STATES, STATES)
def test_differences_are_those_of_two_dicts(old: dict[str, Any], new: dict[str, Any]) -> None:
    def frame(state: dict[str, Any]) -> pl.DataFrame:
        rows = [{**dict.fromkeys(SCHEMA), "id": i, "domain": d, "stage": s, "parents": [i] * s} for i, (d, s) in state.items()]
        return pl.DataFrame(rows, schema=SCHEMA)

    found = {
        row["id"]: (row["change"], set(row["columns"])) for row in _differences(frame(old).select, frame(new).select).to_dicts()
    }
    expected = {i: ("added", set[str]()) for i in new.keys() - old.keys()} | {
        i: ("gone", set[str]()) for i in old.keys() - new.keys()
    }
    for i in old.keys() & new.keys():
        changed = {"domain"} if old[i][0] != new[i][0] else set[str]()
        changed |= {"stage", "parents"} if old[i][1] != new[i][1] else set()
        if changed:
            expected[i] = ("changed", changed)
    assert found == expected


def test_stages_are_done_by_balance_and_undone_by_unselect(tmp_path: Path) -> None:
    def after(before: Manifest, verb: str, **commit: Any) -> Manifest:
        return before.commit(before.rows(), verb=verb, **commit)

    start = ingested(tmp_path, [{"prompt": "a"}])
    first = after(start, "balance", parameters={"stage": 0}, summary={"base": 0})
    second = after(first, "balance", parameters={"stage": 1}, summary={"base": 1})
    back = after(second, "unselect", summary={"undone": [1, 2]})
    again = after(back, "balance", parameters={"stage": 1}, summary={"base": 3})
    anew = after(again, "balance", parameters={"stage": 0}, summary={"base": 0})
    found = [{stage: commit.version for stage, commit in done_stages(m).items()} for m in (start, second, back, again, anew)]
    assert found == [{}, {0: 1, 1: 2}, {0: 1}, {0: 1, 1: 4}, {0: 5}]
