"""The rows that each label chooses from, and the order in which labels choose. Chooses nothing itself.

A row of several labels is in the pool of each, and counts for each of its labels once it is chosen. Clusters were made within the
domain that a row is filed under, so in the pool of another label they get numbers of their own, after that label's.
"""

from __future__ import annotations

import polars as pl

from curate.manifest.rows import domain_counts, labels_of, per_label, rarest_first

__all__ = ["filling_order", "label_view"]


def label_view(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows once for each of their labels, with that label as ``domain`` and clusters numbered within it.

    Rows come back as they are where none has several labels.

    Args:
        rows: columns of `curate.manifest.schema.SCHEMA`, all the rows that pools will be made of.
    """
    if per_label(rows) is rows:
        return rows
    view = rows.with_columns(filed="domain", domain=labels_of()).explode("domain", empty_as_null=True, keep_nulls=True)
    foreign = (pl.col("filed") != pl.col("domain")) & pl.col("cluster").is_not_null()
    own = view.filter(pl.col("filed") == pl.col("domain")).group_by("domain").agg(own=pl.col("cluster").max() + 1)
    numbered = view.filter(foreign).select("domain", "filed", "cluster").unique().sort("domain", "filed", "cluster")
    numbered = numbered.with_columns(number=pl.int_range(pl.len()).over("domain")).join(own, on="domain", how="left")
    numbered = numbered.select("domain", "filed", "cluster", number=pl.col("own").fill_null(0) + pl.col("number"))
    view = view.join(numbered, on=["domain", "filed", "cluster"], how="left", maintain_order="left")
    cluster = pl.coalesce("number", "cluster").cast(rows.schema["cluster"])
    return view.with_columns(cluster=cluster, labels=pl.lit(None, dtype=rows.schema["labels"])).select(rows.columns)


def filling_order(rows: pl.DataFrame, labels: list[str]) -> list[str]:
    """Return labels in the order in which their slots are filled: from the rarest to the commonest, ties by name.

    So rows of several labels are chosen where they are scarce, and count for the common labels when these come. Where no row has
    several labels the order makes no difference, and stays as it is.

    Args:
        rows: every row of a version, columns of `curate.manifest.schema.SCHEMA`.
        labels: to order.
    """
    if per_label(rows) is rows:
        return labels
    counts = domain_counts(rows)
    return rarest_first({label: counts.get(label, 0) for label in labels})
