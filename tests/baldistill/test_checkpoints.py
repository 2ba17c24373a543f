"""Journals: what is kept, what a torn line costs, which keys differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.student.checkpoints import Journal, checkpoint_path, key_of
from curate import progress


def test_what_is_added_is_there_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "scores" / "a.jsonl"
    first = Journal(path)
    first.add({"a": 1.5, "b": None})
    first.add({"c": ["so, «3»", 4, True]})
    again = Journal(path)
    assert (len(again), again["a"], again["b"], again["c"]) == (3, 1.5, None, ["so, «3»", 4, True])
    assert "d" not in again
    with pytest.raises(KeyError):
        again["d"]


@given(cut=st.integers(0, 200), data=st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines_and_can_be_gone_on_with(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journals") / "a.jsonl"
    batches: list[dict[str, Any]] = [{f"{i}": i / 3, f"{i}b": None} for i in range(5)]
    for batch in batches:
        Journal(path).add(batch)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(path.read_bytes()[:cut])
    ends = [sum(map(len, lines[: i + 1])) - 1 for i in range(5)]  # a line without its last mark is whole too
    whole = [batch for batch, end in zip(batches, ends, strict=True) if end <= cut]
    found = Journal(path)
    assert len(found) == 2 * len(whole)
    found.add({"new": 1})
    again = Journal(path)
    assert len(again) == 2 * len(whole) + 1
    assert again["new"] == 1


def test_a_line_that_was_changed_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    Journal(path).add({"a": 1.25})
    Journal(path).add({"b": 2.5})
    path.write_bytes(path.read_bytes().replace(b"1.25", b"9.25"))
    assert ("a" in Journal(path), "b" in Journal(path)) == (False, True)


def test_a_file_that_cannot_be_written_is_reported_once_and_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    journal = Journal(tmp_path / "cache" / "scores" / "a.jsonl")
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        journal.add({"a": 1})
        journal.add({"b": 2})
    assert (journal["a"], journal["b"]) == (1, 2)
    assert len(heard) == 1
    assert heard[0].startswith("cache/scores cannot be written (")


def test_another_student_precision_or_adapter_has_another_journal(tmp_path: Path) -> None:
    root = str(tmp_path)
    students = [("xxh3:1", "fp32"), ("xxh3:1", "bf16"), ("xxh3:1+2", "fp32")]
    paths = {checkpoint_path(root, fingerprint, dtype) for fingerprint, dtype in students}
    assert len(paths) == 3
    assert {p.parent for p in paths} == {tmp_path / "cache" / "scores"}


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=3), st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=3)
)
def test_a_key_tells_apart_what_is_read_and_where_it_is_split(one: list[list[int]], other: list[list[int]]) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)
