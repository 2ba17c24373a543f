"""Rows of several labels stand in the pool of each, with clusters that tell apart what is different there."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curate.manifest.rows import file_labels
from curate.selection.pools import filling_order, label_view
from tests.support.samples import frames

ROWS = st.lists(
    st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3), st.integers(0, 2) | st.none()), min_size=1, max_size=25
)


def rows(*examples: tuple[list[str], int | None]) -> pl.DataFrame:
    filed = file_labels(pl.Series([labels for labels, _ in examples])).rows()
    lines: list[dict[str, Any]] = [
        {"prompt": f"p{n}", "domain": domain, "labels": labels, "cluster": cluster}
        for n, ((domain, labels), (_, cluster)) in enumerate(zip(filed, examples, strict=True))
    ]
    return frames(lines)[0]


@given(ROWS)
def test_each_label_sees_its_rows_once_and_no_two_clusters_as_one(examples: list[tuple[list[str], int | None]]) -> None:
    table = rows(*examples)
    view = label_view(table)
    assert sorted(view.select("id", "domain").rows()) == sorted(
        (row_id, label)
        for row_id, domain, labels in table.select("id", "domain", "labels").rows()
        for label in labels or [domain]
    )
    both = view.join(table.select("id", filed="domain", of_domain="cluster"), on="id")
    own = both.filter(pl.col("domain") == pl.col("filed"))
    assert own["cluster"].equals(own["of_domain"]), "its own clusters keep their numbers"
    assert both["cluster"].is_null().equals(both["of_domain"].is_null())
    for _, mine in both.filter(pl.col("cluster").is_not_null()).group_by("domain"):
        assert mine.select("filed", "of_domain").n_unique() == mine["cluster"].n_unique()
        assert mine.select("filed", "of_domain", "cluster").n_unique() == mine["cluster"].n_unique()


def test_without_several_labels_rows_and_order_stay_as_they_are() -> None:
    table = rows((["b"], 1), (["a"], 0))
    assert label_view(table) is table
    assert filling_order(table, ["a", "b"]) == ["a", "b"]


def test_labels_are_filled_from_the_rarest_to_the_commonest() -> None:
    table = rows((["a", "c"], None), (["a"], None), (["a", "b"], None), (["b"], None))
    assert filling_order(table, ["a", "b", "c", "new"]) == ["new", "c", "b", "a"]
