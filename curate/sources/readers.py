"""Reads one file into a table of text: JSON Lines, JSON, CSV, TSV and Parquet, plain or compressed. Knows no examples.

A table holds every value as text and says which columns are JSON (numbers, booleans, lists, objects) rather than plain
strings, so that what a row says does not depend on the rows beside it: a number is not read as 3.0 because another row
has 2.5. Files of flat records are read by Polars; the rest, and files with mistakes, line by line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import polars as pl

from curate import progress
from curate.errors import InputError

__all__ = ["SUFFIXES", "Table", "from_frame", "is_readable", "json_text", "read", "stem"]

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_COMPRESSED = (".gz", ".zst")
_SCALAR = r"^(-?[0-9.]+([eE][+-]?[0-9]+)?|true|false)$"
_EARLY = 1000  # rows, whose keys are nearly always all the keys of a file


@dataclass(frozen=True)
class Table:
    """The records of one file.

    Attributes:
        name: of the file, as origins and messages show it.
        frame: one row per record, every column a string; null where the record has no such value.
        json: names of the columns whose text is JSON rather than a plain string.
        numbers: the row number of each record in its file, from 1; lines, for JSON Lines and CSV with mistakes.
        skipped: ``file:row: why`` of every record that was left out.
    """

    name: str
    frame: pl.DataFrame
    json: frozenset[str]
    numbers: pl.Series
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Mistake:
    """A record that cannot be read: its line number, from 1, and what is wrong with it."""

    line: int
    message: str


def read(path: Path, *, name: str, on_error: str = "fail") -> Table:
    """Read one file.

    Args:
        path: of the file; its suffix says what it holds (`SUFFIXES`, further ``.gz`` or ``.zst``).
        name: what origins and messages call it.
        on_error: ``fail`` at the first record that cannot be read, or ``skip`` those and list them.

    Raises:
        InputError: a record cannot be read, the file is broken, or it is of an unknown kind.
    """
    kind = _kind(path)
    if kind not in SUFFIXES:
        raise InputError(f"{name}: cannot tell its kind from the name; use one of {', '.join(SUFFIXES)}, also with .gz or .zst")
    try:
        table = SUFFIXES[kind](path, name)
    except OSError as e:
        raise InputError(f"{name}: cannot be read: {e.strerror or e}") from e
    if table.skipped and on_error == "fail":
        more = f"; {len(table.skipped)} rows in all" if len(table.skipped) > 1 else ""
        raise InputError(f"{table.skipped[0]}{more} (correct the file, or leave such rows out with --on-error skip)")
    return table


def is_readable(path: Path) -> bool:
    """Return whether a file's name is of a kind that `read` knows."""
    return _kind(path) in SUFFIXES


def stem(name: str) -> str:
    """Return a file's name without its folder and without the suffixes of kind and compression."""
    path = Path(name)
    return Path(path.stem).stem if path.suffix in _COMPRESSED else path.stem


def from_frame(frame: pl.DataFrame, name: str) -> Table:
    """Turn typed columns into text; columns of bytes are left out.

    Args:
        frame: any columns.
        name: what origins and messages call it.
    """
    kept = [column for column in frame.columns if not _holds_bytes(frame.schema[column])]
    if len(kept) < len(frame.columns):
        progress.note("read", f"{name}: columns of bytes are left out: {', '.join(sorted(set(frame.columns) - set(kept)))}")
    texts, json_columns = [], []
    for column in kept:
        dtype = frame.schema[column]
        if dtype.is_numeric() or dtype.is_nested() or dtype == pl.Boolean:
            json_columns.append(column)
            texts.append(json_text(column).alias(column))
        else:
            texts.append(pl.col(column).cast(pl.String))
    return Table(name, frame.select(texts), frozenset(json_columns), _count(frame.height))


def json_text(column: str) -> pl.Expr:
    """Return the expression that writes a column as JSON text; null stays null."""
    whole = pl.struct(pl.col(column).alias("v")).struct.json_encode()  # {"v":…}; of a number that JSON has not, {"v":null}
    return pl.when(whole != '{"v":null}').then(whole.str.slice(5).str.strip_suffix("}"))


def _holds_bytes(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
    if isinstance(dtype, pl.List | pl.Array):
        return _holds_bytes(dtype.inner)  # type: ignore[arg-type]
    return dtype in (pl.Binary, pl.Object)


def _read_json_lines(path: Path, name: str) -> Table:
    try:
        return _flat_json_lines(path, name) or _records(_json_lines(path), name)
    except pl.exceptions.PolarsError:  # of which line, only reading line by line can say
        return _records(_json_lines(path), name)


def _flat_json_lines(path: Path, name: str) -> Table | None:
    """Read records of plain values; None where a value is nested or may be, which Polars cannot turn into text faithfully."""
    schema = pl.scan_ndjson(path, infer_schema_length=_EARLY).collect_schema()
    if any(dtype.is_nested() for dtype in schema.dtypes()):
        return None
    frame = _read_strings(path, schema)
    if not _is_all_of(path, frame, schema):
        schema = pl.scan_ndjson(path, infer_schema_length=None).collect_schema()
        if any(dtype.is_nested() for dtype in schema.dtypes()):
            return None
        frame = _read_strings(path, schema)
    strings = [column for column, dtype in schema.items() if dtype == pl.String]
    if strings and frame.select(pl.any_horizontal(_doubtful(column).any() for column in strings)).item():
        return None
    plain = {column for column, dtype in schema.items() if dtype in (pl.String, pl.Null)}
    return Table(name, frame, frozenset(set(schema) - plain), _count(frame.height))


def _read_strings(path: Path, columns: Iterable[str]) -> pl.DataFrame:
    return pl.read_ndjson(path, schema=dict.fromkeys(columns, pl.String))


def _is_all_of(path: Path, frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> bool:
    """Return whether the early rows had every key and every type: no key ends unseen, and what was a number stays one."""
    if _count_keys(path) != sum(frame.height - column.null_count() for column in frame):  # nulls, or keys that come later
        return False
    scalars = [column for column, dtype in schema.items() if dtype not in (pl.String, pl.Null)]
    return not scalars or bool(frame.select(pl.all_horizontal(pl.col(scalars).str.contains(_SCALAR).all())).item())


def _count_keys(path: Path) -> int:
    """Count what ends a key, ``":``; exact for flat records whose texts do not hold it, and a fraction of what parsing costs."""
    found, before = 0, b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            found += chunk.count(b'":') + (before + chunk[:1] == b'":')
            before = chunk[-1:]
    return found


def _doubtful(column: str) -> pl.Expr:
    """Return where a string may be a nested value of a column of mixed types, or holds what Polars makes of half a character."""
    text = pl.col(column).str
    return text.starts_with("[") | text.starts_with("{") | text.contains("\0", literal=True)


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]] | _Mistake]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        found = _parse(line)
        yield _Mistake(number, found) if isinstance(found, str) else (number, found)


def _parse(line: bytes) -> dict[str, Any] | str:
    """Return the object of a line, or what is wrong with it."""
    try:
        text = line.decode("utf-8-sig")
        found = json.loads(text, parse_constant=_no_constant)
        json.dumps(found, ensure_ascii=False).encode()  # a lone half of a surrogate pair cannot be written
    except (UnicodeDecodeError, UnicodeEncodeError) as e:
        return f"not UTF-8 text: {e.reason}"
    except RecursionError:
        return "nested too deeply"
    except ValueError as e:
        return f"not JSON: {e}"
    return found if isinstance(found, dict) else f"not a JSON object: {text.strip()[:40]}"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _read_json(path: Path, name: str) -> Table:
    with _open(path) as file:
        content = file.read()
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return _read_json_lines(path, name)
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_no_constant)
    except ValueError as e:
        raise InputError(f"{name}: not JSON: {e}") from e
    return _records(
        (
            (number, item) if isinstance(item, dict) else _Mistake(number, f"not a JSON object: {json.dumps(item)[:40]}")
            for number, item in enumerate(found, 1)
        ),
        name,
    )


def _read_csv(path: Path, name: str, *, separator: str = ",") -> Table:
    try:
        frame = pl.read_csv(path, separator=separator, infer_schema=False)
    except pl.exceptions.NoDataError:
        return _records((), name)
    except pl.exceptions.PolarsError:  # of which row, only reading row by row can say
        return _records(_csv_rows(path, separator), name)
    table = Table(name, frame, frozenset(), _count(frame.height))
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()  # an empty line is no record
    return table if filled.all() else Table(name, frame.filter(filled), table.json, table.numbers.filter(filled))


def _read_tsv(path: Path, name: str) -> Table:
    return _read_csv(path, name, separator="\t")


def _csv_rows(path: Path, separator: str) -> Iterator[tuple[int, Mapping[str, Any]] | _Mistake]:
    wrong: list[_Mistake] = []
    limit = csv.field_size_limit(2**31 - 1)
    try:
        rows = csv.reader(_decoded(path, wrong), delimiter=separator, strict=True)
        head: list[str] = []
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                break
            except csv.Error as e:
                yield _Mistake(rows.line_num, f"not CSV: {e}")
                continue
            if not head:
                head = cells
            elif len(cells) > len(head):
                yield _Mistake(rows.line_num, f"{len(cells)} fields where the header has {len(head)}")
            elif cells:
                yield rows.line_num, dict(zip(head, (cell or None for cell in cells), strict=False))
        yield from wrong
    finally:
        csv.field_size_limit(limit)


def _decoded(path: Path, wrong: list[_Mistake]) -> Iterator[str]:
    for number, line in enumerate(_lines(path), 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as e:
            wrong.append(_Mistake(number, f"not UTF-8 text: {e.reason}"))
            yield "\n"


def _read_parquet(path: Path, name: str) -> Table:
    try:
        return from_frame(pl.read_parquet(path, glob=False), name)
    except pl.exceptions.PolarsError as e:
        raise InputError(f"{name}: cannot be read as Parquet: {str(e).splitlines()[0]}") from e


def _records(found: Iterable[tuple[int, Mapping[str, Any]] | _Mistake], name: str) -> Table:
    """Make a table of records; a column is JSON where none of its values is a string."""
    numbers: list[int] = []
    columns: dict[str, list[Any]] = {}
    skipped: list[str] = []
    for item in found:
        if isinstance(item, _Mistake):
            skipped.append(f"{name}:{item.line}: {item.message}")
            continue
        number, record = item
        for key, value in record.items():
            column = columns.setdefault(key, [])
            column.extend([None] * (len(numbers) - len(column)))
            column.append(value)
        numbers.append(number)
    plain = {key for key, values in columns.items() if any(isinstance(v, str) for v in values) or all(v is None for v in values)}
    texts = {
        key: pl.Series(key, [_text(v) for v in values] + [None] * (len(numbers) - len(values)), dtype=pl.String)
        for key, values in columns.items()
    }
    return Table(name, pl.DataFrame(texts), frozenset(set(columns) - plain), pl.Series(numbers, dtype=pl.Int64), tuple(skipped))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _lines(path: Path) -> Iterator[bytes]:
    with _open(path) as file:
        yield from file


def _open(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed where its first bytes say that it is compressed."""
    import pyarrow

    with path.open("rb") as file:
        first = file.read(4)
    kind = next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), None)
    return io.BufferedReader(pyarrow.input_stream(str(path), compression=kind)) if kind else path.open("rb")


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return (suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in _COMPRESSED else suffixes[-1]) if suffixes else ""


def _count(height: int) -> pl.Series:
    return pl.int_range(1, height + 1, eager=True)


SUFFIXES: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}
