"""The columns of both tables of a manifest, their types (docs/manifest.md is their dictionary), and the names that they may hold.

What the values mean, `curate.manifest.rows` says.
"""

from __future__ import annotations

import polars as pl

from curate.errors import ManifestError

__all__ = ["AUTO", "CONTENT_SCHEMA", "EXPORT_MARK", "SCHEMA", "SCHEMA_VERSION", "SOURCES", "SPLITS", "STATUSES", "conform"]

SCHEMA_VERSION = 2

SPLITS = ("train", "validation", "test")
SOURCES = ("real", "synthetic")
STATUSES = ("candidate", "selected", "rejected")
EXPORT_MARK = "curate_export"  # key in the metadata of a Parquet file by which an export is known again
AUTO = "auto"  # the domain of rows whose domains `curate cluster` will make


# One narrow row per example. Delta takes no Enum, Categorical or unsigned column, so each has an explicit plain type.
SCHEMA = pl.Schema(
    {
        "id": pl.String(),  # 32 hex digits; never changes
        "content": pl.String(),  # key into examples/
        "prompt_key": pl.Int64(),  # 64-bit hash of the normalised prompt
        "domain": pl.String(),
        "labels": pl.List(pl.String()),  # of a row of several domains all of them, `domain` first; else null
        "kind": pl.String(),  # of answer, as somebody said; null where nothing is said
        "split": pl.String(),  # train | validation | test
        "source": pl.String(),  # real | synthetic
        "origin": pl.String(),  # file and row, or teacher and request
        "record_key": pl.String(),  # by which a later ingest finds it again; null where that is the id
        "parents": pl.List(pl.String()),  # ids that it was written from
        "cluster": pl.Int32(),  # within its domain
        "centrality": pl.Float32(),  # cosine to the cluster's centre, -1 to 1
        "n_chars": pl.Int32(),  # of prompt, rationale and answer together
        "n_tokens": pl.Int32(),
        "score": pl.Float64(),
        "score_kind": pl.String(),
        "scored_by": pl.String(),
        "stage": pl.Int32(),  # that selected or rejected it, from 0
        "status": pl.String(),  # candidate | selected | rejected
        "reason": pl.String(),
        "call_id": pl.Int64(),  # of the teacher ledger
        "findings": pl.String(),  # JSON list of what auditors and attempts found
    }
)


# What was written; `content` is the hash of the other five.
CONTENT_SCHEMA = pl.Schema(
    {
        "content": pl.String(),  # 32 hex digits
        "prompt": pl.String(),
        "answer": pl.String(),
        "rationale": pl.String(),
        "messages": pl.String(),  # JSON; system turn and history of chat data
        "extra": pl.String(),  # JSON; the source's other columns
    }
)


def conform(frame: pl.DataFrame, schema: pl.Schema, *, drop: bool = False) -> pl.DataFrame:
    """Bring a frame to a schema's columns, order and types; columns that it lacks become null.

    Args:
        frame: of any columns.
        schema: of a table of the manifest, or of what is on its way there.
        drop: leave out columns that the schema does not have.

    Raises:
        ManifestError: the frame has a column that the schema does not have, and `drop` is not set.
    """
    unknown = set(frame.columns) - set(schema)
    if unknown and not drop:
        raise ManifestError(f"columns {sorted(unknown)} are not in the manifest's schema {list(schema)}")
    return frame.select(
        (pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name))
        for name, dtype in schema.items()
    )
