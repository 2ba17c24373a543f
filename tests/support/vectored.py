"""Pools whose rows have vectors, for the tests of selectors that compare them: many equal rows, many ties."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import strategies as st

from curate.selection.base import Vectors
from curate.vectors import neighbors

Vectored = tuple[pl.DataFrame, pl.DataFrame, int, dict[str, np.ndarray]]


@st.composite
def vectored(draw: st.DrawFn) -> Vectored:
    """Return a pool, what was taken before, how many rows are wanted, and the vector of each id."""
    size = draw(st.integers(1, 24))
    coordinate = st.integers(-3, 3) if draw(st.booleans()) else st.floats(-1, 1, width=32)
    rows = np.array([draw(st.tuples(coordinate, coordinate, coordinate)) for _ in range(size)], np.float32).reshape(size, 3)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    ids = [f"{i:02}" for i in draw(st.permutations(range(size)))]
    score = draw(st.lists(st.none() | st.integers(0, 4), min_size=size, max_size=size))
    frame = pl.DataFrame({"id": ids, "score": pl.Series(score, dtype=pl.Float64)})
    gone = draw(st.integers(0, size - 1))
    return frame[gone:], frame[:gone], draw(st.integers(0, size - gone)), dict(zip(ids, rows, strict=True))


def loader(known: dict[str, np.ndarray]) -> Vectors:
    """Return the function from ids to vectors that selectors are handed."""
    return lambda ids: np.array([known[i] for i in ids], np.float32).reshape(len(ids), -1)


def whole(frame: pl.DataFrame, known: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """Return the vectors of a frame's rows in whole numbers, by id."""
    return {i: [round(float(x) * neighbors.GRID) for x in known[i]] for i in sorted(frame["id"])}


def dot(a: list[int], b: list[int]) -> int:
    """Return the inner product, in whole numbers of any size."""
    return sum(x * y for x, y in zip(a, b, strict=True))
