"""Frames are brought to the columns, order and types of a table, and to nothing else."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ManifestError
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, conform


@given(st.lists(st.sampled_from(SCHEMA.names()), unique=True, min_size=1))
def test_columns_come_in_the_order_and_types_of_the_schema(names: list[str]) -> None:
    given_columns = pl.DataFrame({name: [None, None] for name in names})
    made = conform(given_columns, SCHEMA)
    assert made.schema == SCHEMA
    assert made.height == 2


def test_values_are_cast_and_columns_that_lack_are_null() -> None:
    made = conform(pl.DataFrame({"stage": [1], "id": ["a"], "score": [2]}), SCHEMA)
    assert made.row(0, named=True) == {**dict.fromkeys(SCHEMA), "id": "a", "stage": 1, "score": 2.0}


def test_a_column_that_the_schema_lacks_is_an_error_or_is_dropped() -> None:
    frame = pl.DataFrame({"content": ["a"], "colour": ["red"]})
    with pytest.raises(ManifestError, match=r"columns \['colour'\] are not in the manifest's schema"):
        conform(frame, CONTENT_SCHEMA)
    assert conform(frame, CONTENT_SCHEMA, drop=True).columns == CONTENT_SCHEMA.names()
