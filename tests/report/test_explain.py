"""The story of one row: which one is meant, and how it is printed."""

from pathlib import Path

import pytest

from curate.errors import InputError, ManifestNotFoundError
from curate.manifest.manifest import Manifest
from curate.report import explain
from tests.support.samples import changed, ingested


@pytest.fixture
def two(tmp_path: Path) -> Manifest:
    return changed(tmp_path)


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
    first, *_, last, _ = explain.explain(two, row_id).lines()
    assert first.startswith(f"ingest      row 1 of rows.jsonl becomes example {row_id[:8]}…, domain algebra, source real")
    assert first.endswith(" v0")
    assert last.startswith("export      the snapshot of v1 has it, split train: an export holds it unless")


def test_a_story_is_data_too(two: Manifest) -> None:
    found = explain.explain(two, two.rows()["id"][0]).to_dict()
    assert found["manifest"] == "tail@1"
    assert found["steps"][0]["verb"] == "ingest"
