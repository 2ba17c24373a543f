"""Finds one row by its id or by the beginning of it, as people type it. Changes nothing."""

from __future__ import annotations

import re

import polars as pl

from curate.errors import InputError, ManifestNotFoundError
from curate.manifest.manifest import Manifest

__all__ = ["find_id"]

_PREFIX = re.compile(r"[0-9a-f]{1,32}")


def find_id(manifest: Manifest, row: str, *, example: str) -> str:
    """Return the one id that begins with `row`.

    Args:
        manifest: the version that is searched.
        row: the row's id, or the beginning of it; ``…`` at its end is ignored.
        example: a command that names a row, for the error, such as ``"curate explain math 7c1e"``.

    Raises:
        InputError: it is no hex number, or several rows have an id that begins like that.
        ManifestNotFoundError: no row has.
    """
    prefix = row.strip().removesuffix("…").lower()
    if not _PREFIX.fullmatch(prefix):
        raise InputError(f"row {row!r}: give the id, or the beginning of it, in hex digits, as in: {example}")
    begins = pl.col("id").str.starts_with(prefix)
    found = manifest.scan().filter(begins).select("id", "domain", "origin").head(6).collect().sort("id")
    if found.is_empty():
        raise ManifestNotFoundError(
            f"{manifest} has no row whose id begins with {prefix!r}; curate show {manifest.name} shows rows with their ids"
        )
    if found.height > 1:
        some = ", ".join(f"{i[: len(prefix) + 6]}… ({domain}, {origin})" for i, domain, origin in found.head(5).iter_rows())
        n = "several" if found.height > 5 else str(found.height)
        raise InputError(f"{prefix!r} begins the ids of {n} rows of {manifest}: {some}; give more digits")
    return str(found["id"].item())
