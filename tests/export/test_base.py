"""A snapshot is the selected train rows and the held-out rows, split by split."""

import pytest

from curate.errors import InputError
from curate.export.base import read_snapshot
from curate.manifest.manifest import Manifest


def test_nothing_selected_names_the_next_step(candidates: Manifest) -> None:
    with pytest.raises(InputError, match=r"m@0 has no selected rows.*curate balance m --budget N"):
        read_snapshot(candidates)


def test_a_snapshot_is_the_selected_rows_and_the_held_out_splits(selected: Manifest) -> None:
    found = read_snapshot(selected).splits
    assert {split: frame["prompt"].to_list() for split, frame in found.items()} == {
        "train": ["2+3?", "Größe?\n\\frac"],
        "validation": ["seen later?"],
        "test": ["held back?"],
    }
