"""The hashes that identify examples: content keys, row ids and prompt keys. Reads and writes nothing.

All of them are XXH3 (https://xxhash.com), which is stable across platforms and versions. A change to any function here
changes every id in every manifest, so tests pin their values.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import polars as pl
import xxhash

__all__ = ["content_keys", "draws", "normalise", "prompt_keys", "record_ids", "row_ids"]

_CONTENT = ("prompt", "answer", "rationale", "messages", "extra")
_IDENTITY = ("content", "domain", "split")
# What lower-casing alone does not normalise: control characters, letters beyond ASCII, spaces at an end or side by side.
_UNEVEN = r"[^\x20-\x7e]|  |^ | $"
_ROWS = 1 << 16  # that are hashed together, so that the texts made for it are never there all at once


def content_keys(frame: pl.DataFrame) -> pl.Series:
    """Return the content key of every row: 128 bits of XXH3 as 32 hex digits.

    Args:
        frame: with the columns prompt, answer, rationale, messages and extra, all strings; one that is absent counts as
            null, and null differs from an empty string.
    """
    return _digests(frame, _framed(frame, _CONTENT)).rename("content")


def row_ids(frame: pl.DataFrame) -> pl.Series:
    """Return the id of every row that no source has: 128 bits of XXH3 of content, domain, split and occurrence, as 32 hex digits.

    Of rows that were read from a source it is `record_ids`. The occurrence counts equal rows from 0 in the order of the frame, so
    that two equal rows stay two rows.

    Args:
        frame: with the columns content, domain and split, all strings.
    """
    rows = frame.select(_IDENTITY).with_columns(pl.lit("0").alias("occurrence"))
    framed = _framed(rows, (*_IDENTITY, "occurrence"))
    ids = _digests(rows, framed)
    if ids.n_unique() < len(ids):  # counting is the dear part, so only repeated rows are counted
        repeated = ids.is_duplicated()
        occurrence = pl.int_range(pl.len()).over(_IDENTITY).cast(pl.String).alias("occurrence")
        counted = rows.filter(repeated).with_columns(occurrence)
        ids = ids.scatter(repeated.arg_true(), _digests(counted, framed))
    return ids.rename("id")


def record_ids(records: pl.Series, source: str) -> pl.Series:
    """Return the id of every row of a source: 128 bits of XXH3 of source, record and occurrence, as 32 hex digits.

    It depends on what the record says and on no flag that says how it is read. Equal records are counted from 0, so that two
    equal rows stay two rows.

    Args:
        records: every whole record as text, of all rows of the source.
        source: its label.
    """
    ids = _digests(records.to_frame("record"), pl.col("record"), seed=xxhash.xxh3_64_intdigest(source.encode()))
    if ids.n_unique() < len(ids):
        again = ids.is_duplicated()
        counted = ids.filter(again).to_frame("id").with_columns(pl.int_range(pl.len()).over("id").cast(pl.String).alias("n"))
        further = _digests(counted, pl.concat_str("id", pl.lit("#"), "n"))
        made = counted["id"].zip_with(counted["n"] == "0", further)
        ids = ids.scatter(again.arg_true(), made)
    return ids.rename("id")


def prompt_keys(prompts: pl.Series | Iterable[str]) -> pl.Series:
    """Return 64 bits of XXH3 of every normalised prompt, reinterpreted as a signed integer (Int64); null is as empty."""
    given = pl.Series("prompt", prompts, dtype=pl.String).to_frame()
    parts = (normalise(part["prompt"]).to_frame().select(_xxh3(pl.col("prompt")).xxh3_64()) for part in given.iter_slices(_ROWS))
    keys = pl.concat([pl.Series("prompt", [], dtype=pl.UInt64), *(part["prompt"] for part in parts)])
    return keys.reinterpret(signed=True).rename("prompt_key")


def draws(keys: pl.Series, seed: int) -> pl.Series:
    """Return a number for every key, as good as random and the same in whatever order: XXH3 of seed and key (UInt64).

    Args:
        keys: ids or prompt keys.
        seed: another seed gives other numbers.
    """
    texts = pl.concat_str(pl.lit(f"{seed}:"), pl.col("key").cast(pl.String))
    return keys.alias("key").to_frame().select(_xxh3(texts).xxh3_64().alias("draw")).to_series()


def normalise(prompts: pl.Series | Iterable[str]) -> pl.Series:
    """Return every prompt case-folded, in Unicode form NFC, with each run of white space as one space and none at the ends.

    Two prompts are the same question exactly where these are equal; null becomes an empty string.
    """
    given = pl.Series("prompt", prompts, dtype=pl.String).fill_null("")
    uneven = given.str.contains(_UNEVEN)
    even = given.str.to_lowercase()
    if not uneven.any():
        return even
    slow = pl.Series("prompt", [_normalise(text) for text in given.filter(uneven)], dtype=pl.String)
    return even.scatter(uneven.arg_true(), slow)


def _normalise(text: str) -> str:
    folded = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def _framed(frame: pl.DataFrame, columns: Iterable[str]) -> pl.Expr:
    """Join columns with their lengths in bytes before them, so that no two different rows give one text."""
    parts: list[pl.Expr] = []
    for name in columns:
        if name not in frame.columns or frame[name].null_count() == frame.height:
            parts.append(pl.lit("-:"))
            continue
        value = pl.col(name).cast(pl.String)
        parts += [value.str.len_bytes().cast(pl.String).fill_null("-"), pl.lit(":"), value.fill_null("")]
    return pl.concat_str(parts)


def _digests(frame: pl.DataFrame, texts: pl.Expr, seed: int = 0) -> pl.Series:
    """Return 128 bits of XXH3 of a text for every row, as 32 hex digits."""
    digest = _xxh3(texts).xxh3_128(seed=seed, return_binary=True, byte_order="big").bin.encode("hex").alias("digest")
    parts = [part.with_columns(digest)["digest"] for part in frame.iter_slices(_ROWS)]  # `select` of literals gives one row
    return pl.concat([pl.Series(dtype=pl.String), *parts])


def _xxh3(texts: pl.Expr) -> Any:
    """Return the hashes of polars-hash, which are imported when they are needed."""
    from polars_hash import NonCryptographicHashingNameSpace

    return NonCryptographicHashingNameSpace(texts)
