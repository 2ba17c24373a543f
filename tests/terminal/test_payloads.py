"""What --json prints: plain data, unrounded, without NaN."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from curate.terminal.console import payload, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Path("a") / "b", str(Path("a") / "b")),
        (datetime(2025, 1, 2, tzinfo=UTC), "2025-01-02T00:00:00+00:00"),
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (pl.Series([1, None]), [1, None]),
        ((1, ("x",)), [1, ["x"]]),
        ({"b", "a"}, ["a", "b"]),
        ({3: True}, {"3": True}),
        (None, None),
    ],
)
def test_plain_data(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_a_result_says_itself_what_its_object_holds() -> None:
    class Own:
        def to_dict(self) -> dict[str, Any]:
            return {"rows": np.int64(3)}

    assert payload(Own()) == {"rows": 3}
