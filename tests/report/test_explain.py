"""What differs between two versions, which commits a version stands on, and the story of a row."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError, ManifestNotFoundError
from curate.manifest import manifest
from curate.manifest.history import DomainChanges, _differences, diff
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SCHEMA
from curate.report import explain
from tests.support.samples import frames, ingested

ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "domain": "algebra"},
    {"prompt": "b", "domain": "algebra"},
    {"prompt": "c", "domain": "logic"},
    {"prompt": "d", "domain": "logic"},
]


@pytest.fixture
def two(tmp_path: Path) -> Manifest:
    """Version 1 over version 0: d gone, e new, a and c selected, c with a parent and a score."""
    start = ingested(tmp_path, ROWS)
    rows = start.rows().sort("origin")
    chosen = pl.col("origin").is_in(["rows.jsonl:1", "rows.jsonl:3"])
    third = pl.col("origin") == "rows.jsonl:3"
    rows = rows[:3].with_columns(
        status=pl.when(chosen).then(pl.lit("selected")).otherwise("status"),
        score=pl.when(third).then(pl.lit(0.5)),
        parents=pl.when(third).then(pl.concat_list(pl.lit("0" * 32))),
    )
    new, contents = frames([{"prompt": "e", "domain": "sets"}])
    start.append(contents)
    return start.commit(pl.concat([rows, new]), verb="review")


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
        diff(ingested(tmp_path, ROWS))


def test_an_unknown_version_is_an_error(two: Manifest) -> None:
    with pytest.raises(ManifestNotFoundError, match="tail@7 does not exist"):
        diff(two, old="7")


STATES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from(["x", "y", None]), st.integers(0, 2)), max_size=6)


@given(STATES, STATES)
def test_differences_are_those_of_two_dicts(old: dict[str, Any], new: dict[str, Any]) -> None:
    def frame(state: dict[str, Any]) -> pl.DataFrame:
        rows = [{**dict.fromkeys(SCHEMA), "id": i, "domain": d, "stage": s, "parents": [i] * s} for i, (d, s) in state.items()]
        return pl.DataFrame(rows, schema=SCHEMA)

    found = {row["id"]: (row["change"], set(row["columns"])) for row in _differences(frame(old), frame(new)).to_dicts()}
    expected = {i: ("added", set[str]()) for i in new.keys() - old.keys()} | {
        i: ("gone", set[str]()) for i in old.keys() - new.keys()
    }
    for i in old.keys() & new.keys():
        changed = {"domain"} if old[i][0] != new[i][0] else set[str]()
        changed |= {"stage", "parents"} if old[i][1] != new[i][1] else set()
        if changed:
            expected[i] = ("changed", changed)
    assert found == expected


def test_lineage_leaves_out_what_a_later_stage_undid(tmp_path: Path) -> None:
    first = ingested(tmp_path, ROWS)
    undone = first.commit(first.rows(), verb="balance", summary={"base": 0})
    again = undone.commit(first.rows(), verb="balance", summary={"base": 0})
    after = again.commit(first.rows(), verb="score")
    assert [commit.version for commit in after.lineage()] == [0, 2, 3]
    assert [commit.version for commit in undone.lineage()] == [0, 1]


def test_an_id_may_be_cut_short(two: Manifest) -> None:
    row_id = two.rows().sort("id")["id"][0]
    assert explain.explain(two, row_id).id == explain.explain(two, f"{row_id[:12].upper()}…").id == row_id


def test_a_beginning_of_several_ids_names_them(tmp_path: Path) -> None:
    ids = [f"7c1e{i}" + "0" * 27 for i in range(3)]
    start = ingested(tmp_path, [{"prompt": str(i), "id": row_id} for i, row_id in enumerate(ids)])
    with pytest.raises(InputError, match=r"'7c1e' begins the ids of 3 rows of tail@0: 7c1e000000… \(algebra, rows.jsonl:1\)"):
        explain.explain(start, "7c1e")


def test_unknown_and_impossible_ids_say_so(two: Manifest) -> None:
    with pytest.raises(ManifestNotFoundError, match="tail@1 has no row whose id begins with '0123456789'"):
        explain.explain(two, "0123456789")
    with pytest.raises(InputError, match=r"row 'math.jsonl:41': give the id, or the beginning of it, in hex digits"):
        explain.explain(two, "math.jsonl:41")


def test_a_row_that_came_later_starts_its_story_there(two: Manifest) -> None:
    row_id = two.rows().filter(domain="sets")["id"].item()
    assert [step.version for step in explain.explain(two, row_id).steps] == [1, None]


def test_the_story_is_printed_in_three_columns(two: Manifest) -> None:
    row_id = two.rows().filter(domain="algebra", status="selected")["id"].item()
    first, *_, last = explain.explain(two, row_id).lines()
    assert first.startswith(f"ingest      row 1 of rows.jsonl becomes example {row_id[:8]}…, domain algebra, source real")
    assert first.endswith(" v0")
    assert last.startswith("export      every export of v1 holds it")


def test_a_story_is_data_too(two: Manifest) -> None:
    found = explain.explain(two, two.rows()["id"][0]).to_dict()
    assert found["manifest"] == "tail@1"
    assert found["steps"][0]["verb"] == "ingest"
