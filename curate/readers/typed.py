"""Reads Parquet, Arrow and data sets of `datasets`: typed values become text or JSON by one rule for each type, at every depth.

Text, names of classes, dates, times and durations (ISO 8601) and UUIDs are plain text. Numbers are their digits (a float the
shortest that reads back, with ``.0``; NaN and infinity are no values), structs and maps are objects, lists and arrays are lists,
and JSON stays what it says. Columns of bytes (images, sound) are left out, which a note says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from curate import progress
from curate.errors import InputError
from curate.manifest.schema import EXPORT_MARK
from curate.readers import json_files
from curate.readers.tables import Column, Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["from_batches", "one_line", "read_arrow", "read_export_mark", "read_parquet"]

_ROWS = 1 << 16  # in a batch
_DAY = 86_400  # seconds
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_YEARS = (-62_135_596_800, 253_402_300_799)  # seconds from 1970 to the begin of the year 1 and the end of the year 9999
_LONGEST = 10**15  # seconds of a duration, more than thirty million years
_FRACTION = r"(\.\d*?)0+($|[-+Z])"  # a fraction of a second, and the zeros at its end


def read_parquet(file: Path | IO[bytes], name: str) -> Table:
    """Read a Parquet file; names of classes come from its ``huggingface`` metadata.

    Args:
        file: a path, or bytes that can be read from any place.
        name: what origins and messages call it.

    Raises:
        InputError: it is damaged, or has two columns of one name.
    """
    import pyarrow.parquet as pq

    with one_line(name, "Parquet"), pq.ParquetFile(file) as source:
        schema = source.schema_arrow
        table = from_batches(source.iter_batches(_ROWS), schema, name, features=_features(schema))
        return replace(table, export=_export_mark(schema))


def read_arrow(file: Path | IO[bytes], name: str) -> Table:
    """Read an Arrow file or stream (Feather is the former); names of classes come from its ``huggingface`` metadata.

    Args:
        file: a path, or bytes that can be read from any place.
        name: what origins and messages call it.

    Raises:
        InputError: it is damaged, or has two columns of one name.
    """
    import pyarrow as pa

    with one_line(name, "Arrow"), pa.memory_map(str(file)) if isinstance(file, Path) else pa.PythonFile(file, mode="r") as raw:
        try:
            source = pa.ipc.open_file(raw)
            batches: Iterable[Any] = map(source.get_batch, range(source.num_record_batches))
        except pa.ArrowInvalid:
            raw.seek(0)
            batches = source = pa.ipc.open_stream(raw)
        return from_batches(batches, source.schema, name, features=_features(source.schema))


def from_batches(batches: Iterable[Any], schema: pa.Schema, name: str, *, features: Mapping[str, Any]) -> Table:
    """Turn batches of typed columns into a table.

    Args:
        batches: record batches or tables of Arrow.
        schema: of all of them.
        name: what origins and messages call it.
        features: column → its feature, as ``datasets.Features.to_dict()`` writes it; columns may be missing.

    Raises:
        InputError: two columns have one name. What a library says about damaged values `one_line` is for.
    """
    twice = [column for column, n in Counter(schema.names).items() if n > 1]
    if twice:
        raise InputError(f"{name}: the column {twice[0]!r} is there twice; rename one of the two")
    kept = _kept(schema, name)
    writers = {column: _Writer(features.get(column)) for column in kept}
    parts: dict[str, list[Column]] = {column: [] for column in kept}
    height = 0
    for batch in batches:
        height += batch.num_rows
        for column, writer in writers.items():
            array = batch.column(batch.schema.get_field_index(column))
            parts[column] += [writer.column(chunk) for chunk in getattr(array, "chunks", [array])]
    for column, writer in writers.items():
        if writer.lost:
            progress.note("read", f"{name}: column {column!r}: {writer.lost} values are NaN or infinite, and left empty")
        if writer.outside:
            progress.note("read", f"{name}: column {column!r}: {writer.outside} values are no dates or times, and left empty")
    columns = {column: _joined(found) for column, found in parts.items()}
    return Table(name, columns, pl.int_range(1, height + 1, eager=True, dtype=pl.Int64))


@contextmanager
def one_line(name: str, kind: str) -> Iterator[None]:
    """Make an `InputError` of whatever a library says about damaged data; a panic of Rust is no `Exception`."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as e:
        if isinstance(e, InputError):
            raise
        said = (str(e).splitlines() or [type(e).__name__])[0]
        raise InputError(f"{name}: cannot be read as {kind}: {said[:200]}; it may be damaged: make or fetch it again") from e


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return the features that `datasets` writes into the metadata of a schema."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def read_export_mark(path: Path) -> dict[str, Any] | None:
    """Return what a Parquet file of an export says of itself; None of any other file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _export_mark(pq.read_schema(path))
    except (OSError, pa.ArrowException):
        return None


def _export_mark(schema: pa.Schema) -> dict[str, Any] | None:
    """Return what an export of this package says of itself in the metadata of a schema."""
    try:
        found = json.loads((schema.metadata or {}).get(EXPORT_MARK.encode(), b"null"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _kept(schema: pa.Schema, name: str) -> list[str]:
    """Return the columns that can be written as text, and say which cannot."""
    wrong = {field.name: why for field in schema if (why := _unwritable(field.type))}
    by_reason: dict[str, list[str]] = {}
    for column, why in sorted(wrong.items()):
        by_reason.setdefault(why, []).append(column)
    for why, columns in by_reason.items():
        progress.note("read", f"{name}: columns of {why} are left out: {', '.join(columns)}")
    return [column for column in schema.names if column not in wrong]


def _unwritable(kind: Any) -> str | None:
    """Return what of a type cannot be written as text; None where all of it can."""
    import pyarrow.types as t

    if _is_uuid(kind):
        return None
    if hasattr(kind, "storage_type"):
        return _unwritable(kind.storage_type)
    if t.is_dictionary(kind) or t.is_run_end_encoded(kind) or _is_list(kind):
        return _unwritable(kind.value_type)
    if t.is_map(kind):
        return _unwritable(kind.key_type) or _unwritable(kind.item_type)
    if t.is_struct(kind):
        names = [kind.field(at).name for at in range(kind.num_fields)]
        if len(set(names)) < len(names):
            return "structs with two fields of one name"
        return next((why for at in range(kind.num_fields) if (why := _unwritable(kind.field(at).type))), None)
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind):
        return "bytes"
    known = t.is_null(kind) or t.is_boolean(kind) or _is_text(kind) or t.is_integer(kind) or t.is_floating(kind)
    known = known or t.is_decimal(kind) or t.is_date(kind) or t.is_time(kind) or t.is_timestamp(kind) or t.is_duration(kind)
    return None if known else f"type {kind}"


def _is_uuid(kind: Any) -> bool:
    return getattr(kind, "extension_name", None) == "arrow.uuid"


def _is_text(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def _is_list(kind: Any) -> bool:
    import pyarrow.types as t

    lists = (t.is_list, t.is_large_list, t.is_fixed_size_list, t.is_list_view, t.is_large_list_view)
    return any(is_kind(kind) for is_kind in lists)


class _Writer:
    """Writes one column: arrays of its type become text or JSON literals.

    Attributes:
        lost: how many floats were NaN or infinite.
        outside: how many dates, times and durations nobody could mean. Both are left empty.
    """

    def __init__(self, feature: Any) -> None:
        self.lost = self.outside = 0
        self._feature = feature

    def column(self, array: Any) -> Column:
        array.validate(full=True)
        return self._column(array, self._feature)

    def _column(self, array: Any, feature: Any) -> Column:
        import pyarrow.compute as pc
        import pyarrow.types as t

        kind = array.type
        if getattr(kind, "extension_name", None) == "arrow.json" or (_type_of(feature) == "Json" and _is_text(kind)):
            return _json(_texts(getattr(array, "storage", array)))
        if _is_uuid(kind):
            return Column(
                pl.Series([None if value is None else str(value) for value in array.to_pylist()], dtype=pl.String), False
            )
        if hasattr(kind, "storage_type"):
            return self._column(array.storage, feature)
        if t.is_dictionary(kind):
            entries = self._column(array.dictionary, feature)
            return Column(entries.values.gather(_series(array.indices).cast(pl.UInt32)), entries.is_json)
        if t.is_run_end_encoded(kind):
            return self._column(pc.run_end_decode(array), feature)
        if t.is_integer(kind) and _type_of(feature) == "ClassLabel" and feature.get("names"):
            names = dict(enumerate(feature["names"]))
            return Column(_series(array).cast(pl.Int64).replace_strict(names, default=None, return_dtype=pl.String), False)
        if t.is_map(kind):
            return Column(self._map(array), True)
        if t.is_struct(kind):
            return Column(self._struct(array, feature), True)
        if _is_list(kind):
            return Column(self._list(array, feature), True)
        return self._plain(array)

    def _plain(self, array: Any) -> Column:
        """Write an array of a type that holds no other."""
        import pyarrow.types as t

        kind = array.type
        if _is_text(kind):
            return Column(_texts(array), False)
        if t.is_floating(kind):
            floats = _series(array.cast("float32") if t.is_float16(kind) else array)
            numbers = floats.is_finite().fill_null(True)
            self.lost += len(floats) - int(numbers.sum())
            return Column(pl.select(pl.when(numbers).then(floats.cast(pl.String))).to_series(), True)
        if t.is_decimal(kind):
            return Column(_digits(_texts(array)), True)
        if t.is_temporal(kind):
            return Column(self._moments(array), False)
        if t.is_null(kind):
            return Column(pl.Series([None] * len(array), dtype=pl.String), True)
        return Column(_texts(array), True)  # whole numbers, true and false

    def _moments(self, array: Any) -> pl.Series:
        """Write dates, times and durations by ISO 8601, an instant with the offset of its zone (UTC, if that is not known).

        Polars panics at years that are far from ours, and multiplies seconds until they overflow; so those are taken out first.
        """
        import pyarrow.types as t

        kind = array.type
        unit: Any = getattr(kind, "unit", "ms")
        if t.is_date32(kind):
            counts, unit = _series(array.cast("int32")).cast(pl.Int64) * _DAY, "s"
        else:
            counts = _series(array.cast("int32" if t.is_time32(kind) else "int64")).cast(pl.Int64)
        low, high = (-_LONGEST, _LONGEST) if t.is_duration(kind) else _YEARS
        inside = (counts // _PER_SECOND[unit]).is_between(low, high).fill_null(True)
        self.outside += len(counts) - int(inside.sum())
        counts = pl.select(pl.when(inside).then(counts)).to_series()
        if unit == "s":
            counts, unit = counts * 1000, "ms"
        if t.is_time(kind):
            moments = (counts * (10**9 // _PER_SECOND[unit])).cast(pl.Time)
        elif t.is_duration(kind):
            return counts.cast(pl.Duration(unit)).dt.to_string("iso")
        elif t.is_date(kind):
            moments = counts.cast(pl.Datetime(unit)).dt.date()
        elif kind.tz is None:
            moments = counts.cast(pl.Datetime(unit))
        else:
            moments = counts.cast(pl.Datetime(unit, "UTC"))
            with suppress(pl.exceptions.ComputeError):
                moments = moments.dt.convert_time_zone(kind.tz)
        return moments.dt.to_string("iso:strict").str.replace(_FRACTION, "$1$2").str.replace(r"\.($|[-+Z])", "$1")

    def _list(self, array: Any, feature: Any) -> pl.Series:
        inner = feature[0] if isinstance(feature, list) and feature else None
        if isinstance(feature, Mapping):
            inner = feature.get("feature") if "_type" in feature else None
        return _bracketed(_joined_items(array, self._column(array.flatten(), inner).literals()), "[", "]")

    def _struct(self, array: Any, feature: Any) -> pl.Series:
        features = feature if isinstance(feature, Mapping) and "_type" not in feature else {}
        inner = feature.get("feature") if _type_of(feature) in ("Sequence", "List", "LargeList") else None
        if isinstance(inner, Mapping) and "_type" not in inner:  # a sequence of structs is stored as a struct of lists
            features = {name: {"_type": "List", "feature": of_one} for name, of_one in inner.items()}
        pairs = []
        for at, field in enumerate(array.type):
            value = self._column(array.field(at), features.get(field.name)).literals().fill_null("null")
            pairs.append(json.dumps(field.name, ensure_ascii=False) + ":" + value)
        body = pl.select(pl.concat_str(pairs, separator=",")).to_series() if pairs else pl.Series([""] * len(array))
        return _bracketed(_where(array.is_valid(), body), "{", "}")

    def _map(self, array: Any) -> pl.Series:
        """Write a map as an object; of equal keys the last counts, as Parquet has it."""
        offsets = _series(array.offsets).cast(pl.Int64)
        lengths = offsets.diff().slice(1)
        begin, n = int(offsets[0]), int(lengths.sum())
        keys = self._column(array.keys.slice(begin, n), None)
        texts = Column(Column(keys.literals(), True).texts(), False).literals()
        values = self._column(array.items.slice(begin, n), None).literals().fill_null("null")
        rows = pl.int_range(len(array), eager=True).alias("row")
        pairs = pl.DataFrame([rows.repeat_by(lengths).explode(), texts.alias("key"), values.alias("value")])
        pairs = pairs.unique(["row", "key"], keep="last", maintain_order=True)
        body = pairs.group_by("row").agg(pl.concat_str("key", pl.lit(":"), "value").str.join(",").alias("body"))
        bodies = rows.to_frame().join(body, on="row", how="left", maintain_order="left")["body"].fill_null("")
        return _bracketed(_where(array.is_valid(), bodies), "{", "}")


def _type_of(feature: Any) -> str | None:
    return feature.get("_type") if isinstance(feature, Mapping) else None


def _series(array: Any) -> pl.Series:
    found = pl.from_arrow(array)
    assert isinstance(found, pl.Series)
    return found


def _texts(array: Any) -> pl.Series:
    return _series(array.cast("large_string"))


def _digits(decimals: pl.Series) -> pl.Series:
    """Return decimals without an exponent, which Arrow writes where there are many zeros after the point."""
    if not decimals.str.contains("E").any():
        return decimals
    written = [None if text is None else format(Decimal(text), "f") for text in decimals.to_list()]
    return pl.Series(written, dtype=pl.String)


def _json(texts: pl.Series) -> Column:
    """Return values that are JSON each; one that is not is a string."""
    values = json_files.checked(texts.fill_null("null").cast(pl.Binary).to_list())
    wrong = pl.Series([value is None for value in values], dtype=pl.Boolean)
    found = pl.Series(values, dtype=pl.Binary).cast(pl.String)
    strings = Column(texts, False).literals()
    return Column(pl.select(pl.when(wrong).then(strings).when(found != "null").then(found)).to_series(), True)


def _joined_items(array: Any, items: pl.Series) -> pl.Series:
    """Return the items of each list with commas between them; null where there is no list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = _series(pc.list_value_length(array)).cast(pl.Int64).fill_null(0)
    offsets = pl.concat([pl.Series([0], dtype=pl.Int64), lengths.cum_sum()])
    lists = pa.LargeListArray.from_arrays(offsets.to_arrow(), items.fill_null("null").to_arrow().cast("large_string"))
    return _where(array.is_valid(), _series(lists).list.join(","))


def _where(valid: Any, values: pl.Series) -> pl.Series:
    return pl.select(pl.when(_series(valid)).then(values)).to_series()


def _bracketed(bodies: pl.Series, begin: str, end: str) -> pl.Series:
    return begin + bodies + end


def _joined(parts: list[Column]) -> Column:
    if not parts:
        return Column(pl.Series(dtype=pl.String), False)
    return Column(pl.concat([part.values.alias("") for part in parts]), parts[0].is_json)
