"""The contract of selectors: order, reasons, vectors."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curate.errors import InputError
from curate.selection import base

POOL = pl.DataFrame({"id": ["a", "b", "c", "d"]})


def test_rows_come_in_the_order_of_choice_and_then_by_score() -> None:
    made = base.decide(
        POOL,
        [2, 0],
        score=np.array([0.5, 0.1, np.nan, 0.7]),
        reason=pl.format("kept as {}: {}", "choice", "weight"),
        dropped=pl.format("dropped at {}", "score"),
        because_of=np.array([-1, 2, -1, -1]),
        weight=np.array([1, 2, 3, 4]),
    )
    assert made.kept.rows() == [("c", "kept as 1: 3", None), ("a", "kept as 2: 1", 0.5)]
    assert made.dropped.rows() == [("d", "dropped at 0.7", 0.7, None), ("b", "dropped at 0.1", 0.1, "c")]


def test_without_a_slot_every_row_is_dropped() -> None:
    made = base.drop_all(POOL, "k_center")
    assert made.kept.is_empty()
    assert made.dropped.rows()[0] == ("a", "k_center: 0 places", None, None)


def test_vectors_are_checked_when_they_are_loaded() -> None:
    def load(found: object) -> np.ndarray:
        return base.unit_vectors(POOL, lambda ids: found, "herding")  # type: ignore[arg-type, return-value]

    assert load(np.eye(4, dtype=np.float32)).tolist() == (2048 * np.eye(4)).tolist()
    with pytest.raises(InputError, match="selector 'herding' compares vectors: pass `vectors`"):
        base.unit_vectors(POOL, None, "herding")
    with pytest.raises(InputError, match=r"one vector per row is needed, got shape \(3, 4\) for 4 rows"):
        load(np.eye(3, 4, dtype=np.float32))
    with pytest.raises(InputError, match="row 2 of the vectors holds NaN or infinity"):
        load(np.where(np.arange(4)[:, None] == 2, np.nan, np.eye(4, dtype=np.float32)))
    with pytest.raises(InputError, match="row 0 of the vectors is longer than 1: scale rows to length 1"):
        load(2 * np.eye(4, dtype=np.float32))
