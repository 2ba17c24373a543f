"""Tests of curate.readers.typed: one rule for each type, at every depth, and damaged files are one line."""

from __future__ import annotations

import datetime as dt
import io
import json
import uuid
from contextlib import suppress
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import progress
from curate.errors import InputError
from curate.readers import json_files, typed

DAY, TIME = dt.date(2024, 1, 2), dt.time(3, 4, 5)
NOON = dt.datetime(2024, 1, 2, 12, 0, 0, 250000)
TYPES = {
    "text": (pa.string(), "é\"'\n", "é\"'\n"),
    "large text": (pa.large_string(), "x", "x"),
    "text view": (pa.string_view(), "x", "x"),
    "category": (pa.dictionary(pa.int32(), pa.string()), "x", "x"),
    "whole": (pa.int8(), -3, "-3"),
    "unsigned": (pa.uint64(), 2**64 - 1, "18446744073709551615"),
    "half": (pa.float16(), 0.5, "0.5"),
    "single": (pa.float32(), 0.1, "0.1"),
    "double": (pa.float64(), 3.0, "3.0"),
    "truth": (pa.bool_(), True, "true"),
    "decimal": (pa.decimal128(10, 2), Decimal("3.10"), "3.10"),
    "small decimal": (pa.decimal256(60, 10), Decimal("1e-10"), "0.0000000001"),
    "day": (pa.date32(), DAY, "2024-01-02"),
    "time": (pa.time64("us"), TIME, "03:04:05"),
    "moment": (pa.timestamp("ns"), NOON, "2024-01-02T12:00:00.25"),
    "moment of a zone": (pa.timestamp("us", "Europe/Berlin"), NOON, "2024-01-02T13:00:00.25+01:00"),
    "day in milliseconds": (pa.date64(), DAY, "2024-01-02"),
    "time of seconds": (pa.time32("s"), TIME, "03:04:05"),
    "moment of an offset": (pa.timestamp("us", "+05:30"), NOON, "2024-01-02T12:00:00.25+00:00"),
    "moment of seconds": (pa.timestamp("s"), NOON.replace(microsecond=0), "2024-01-02T12:00:00"),
    "first moment": (pa.timestamp("us"), dt.datetime.min, "0001-01-01T00:00:00"),
    "last moment": (pa.timestamp("us"), dt.datetime.max, "9999-12-31T23:59:59.999999"),
    "duration of seconds": (pa.duration("s"), dt.timedelta(days=-2), "-P2D"),
    "duration": (pa.duration("ms"), dt.timedelta(seconds=90), "PT1M30S"),
    "list": (pa.list_(pa.float64()), [1.0, None], "[1.0,null]"),
    "large list": (pa.large_list(pa.date32()), [DAY], '["2024-01-02"]'),
    "list view": (pa.list_view(pa.string()), ["a\\"], '["a\\\\"]'),
    "array": (pa.list_(pa.list_(pa.int64(), 2), 1), [[1, 2]], "[[1,2]]"),
    "struct": (pa.struct({"ü": pa.decimal128(3, 1), "b": pa.string()}), {"ü": Decimal("1.0")}, '{"ü":1.0,"b":null}'),
    "no struct": (pa.struct([]), {}, "{}"),
    "map": (pa.map_(pa.int64(), pa.list_(pa.string())), [(1, ["x"]), (2, None)], '{"1":["x"],"2":null}'),
    "map, a key twice": (pa.map_(pa.string(), pa.int64()), [("a", 1), ("b", 2), ("a", 3)], '{"b":2,"a":3}'),
    "JSON": (pa.json_(), '{"a": 1.0}', '{"a":1.0}'),
    "JSON that is none": (pa.json_(), "{nope", '"{nope"'),
    "JSON, a key twice": (pa.json_(), '{"a":1,"a":2}', '"{\\"a\\":1,\\"a\\":2}"'),
    "UUID": (pa.uuid(), uuid.UUID(int=5).bytes, "00000000-0000-0000-0000-000000000005"),
}


def table(columns, **features):
    made = pa.table(columns)
    return typed.from_batches(made.to_batches(), made.schema, "x", features=features)


def said(column):
    return column.values.to_list()


@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_written_by_its_rule_at_every_depth(name):
    kind, value, text = TYPES[name]
    array = pa.array([value, None, value], kind)
    found = table({"x": array}).columns["x"]
    assert said(found) == [text, None, text]
    literal = found.literals()[0]
    json.loads(literal)
    nested = pa.LargeListArray.from_arrays([0, 2, 2, 3], array)
    struct = pa.StructArray.from_arrays([array], ["k"])
    assert said(table({"x": nested}).columns["x"]) == [f"[{literal},null]", "[]", f"[{literal}]"]
    assert said(table({"x": struct}).columns["x"]) == [f'{{"k":{value}}}' for value in (literal, "null", literal)]
    assert said(table({"x": array.slice(1)}).columns["x"]) == [None, text]
    assert said(table({"x": nested.slice(1)}).columns["x"]) == ["[]", f"[{literal}]"]


value = st.recursive(
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
people = st.fixed_dictionaries(
    {"role": st.text('ab"\\', max_size=3), "n": st.none() | st.floats(allow_nan=False, allow_infinity=False)}
)


@given(st.lists(st.none() | st.lists(st.none() | people, max_size=3), min_size=1, max_size=6), st.data())
def test_what_a_row_says_does_not_depend_on_the_rows_beside_it(chats, data):
    kind = pa.list_(pa.struct({"role": pa.string(), "n": pa.float64()}))
    together = said(table({"x": pa.array(chats, kind)}).columns["x"])
    assert [None if text is None else json.loads(text) for text in together] == chats
    order = data.draw(st.permutations(range(len(chats))))
    assert said(table({"x": pa.array([chats[at] for at in order], kind)}).columns["x"]) == [together[at] for at in order]
    buffer = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array(chats, kind)}), buffer, row_group_size=2)
    assert said(typed.read_parquet(buffer, "x").columns["x"]) == together


def test_rows_say_the_same_as_in_json_lines():
    rows = [{"s": 'é"', "n": 1, "f": 0.1, "b": False, "l": [["x"], []], "o": {"k": 1.5}}]
    lines = json_files.read(io.BytesIO("\n".join(map(json.dumps, rows)).encode()), "x")
    found = table(pa.Table.from_pylist(rows).to_pydict() | {"o": pa.array([rows[0]["o"]])})
    assert {k: c.literals().to_list() for k, c in found.columns.items()} == {k: said(c) for k, c in lines.columns.items()}
    assert {k: c.texts().to_list() for k, c in found.columns.items()} == {
        k: c.texts().to_list() for k, c in lines.columns.items()
    }


def test_columns_without_a_text_are_left_out_and_named():
    heard = []
    with progress.listen(heard.append):
        found = table(
            {
                "p": ["x"],
                "raw": [b"x"],
                "image": [{"bytes": b"x", "path": "a.png"}],
                "months": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
                "twice": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
            }
        )
    assert list(found.columns) == ["p"]
    assert sorted(event.message for event in heard) == [
        "x: columns of bytes are left out: image, raw",
        "x: columns of structs with two fields of one name are left out: twice",
        "x: columns of type month_day_nano_interval are left out: months",
    ]


def test_numbers_that_json_has_not_are_left_empty_which_is_said():
    heard = []
    with progress.listen(heard.append):
        found = table({"f": [1.0, float("nan"), float("-inf")], "l": [[float("nan")], [2.0], None]})
    assert said(found.columns["f"]) == ["1.0", None, None]
    assert said(found.columns["l"]) == ["[null]", "[2.0]", None]
    assert [event.message for event in heard] == [
        "x: column 'f': 2 values are NaN or infinite, and left empty",
        "x: column 'l': 1 values are NaN or infinite, and left empty",
    ]


def test_dates_that_nobody_can_mean_are_left_empty_which_is_said():
    heard = []
    with progress.listen(heard.append):
        found = table(
            {
                "date": pa.array([1, 2**31 - 1], pa.date32()),
                "moment": pa.array([1, 2**60], pa.timestamp("s")),
                "long": pa.array([1, 2**62], pa.duration("s")),
                "longest": pa.array([1, 2**63 - 1], pa.duration("ns")),
            }
        )
    assert {name: said(column)[1] for name, column in found.columns.items()} == dict.fromkeys(("date", "moment", "long")) | {
        "longest": "P106751DT23H47M16.854775807S"
    }
    assert len(heard) == 3
    assert heard[0].message == "x: column 'date': 1 values are no dates or times, and left empty"


def test_names_of_classes_are_known_at_every_depth_and_in_the_metadata_of_files():
    import datasets

    mood = datasets.ClassLabel(names=["joy", "fear"])
    features = datasets.Features(
        {"one": mood, "many": datasets.List(mood), "deep": {"k": [{"mood": mood}]}, "n": datasets.Value("int64")}
    )
    rows = {"one": [1, -1], "many": [[0, 1], None], "deep": [{"k": [{"mood": 0}]}, {"k": []}], "n": [7, 8]}
    made = datasets.Dataset.from_dict(rows, features=features)
    expected = {
        "one": ["fear", None],
        "many": ['["joy","fear"]', None],
        "deep": ['{"k":[{"mood":"joy"}]}', '{"k":[]}'],
        "n": ["7", "8"],
    }
    buffer, stream = io.BytesIO(), io.BytesIO()
    made.to_parquet(buffer)
    with pa.ipc.new_stream(stream, made.data.schema) as writer:
        writer.write_table(made.data.table)
    stream.seek(0)
    for found in (typed.read_parquet(buffer, "x"), typed.read_arrow(stream, "x")):
        assert {column: said(values) for column, values in found.columns.items()} == expected


def test_names_of_classes_in_a_sequence_of_structs():
    kind = {"_type": "Sequence", "feature": {"mood": {"_type": "ClassLabel", "names": ["joy", "fear"]}}}
    found = table({"x": [{"mood": [1, 0]}]}, x=kind)
    assert said(found.columns["x"]) == ['{"mood":["fear","joy"]}']


def test_features_of_datasets_that_are_no_plain_types():
    import datasets

    features = datasets.Features(
        {"j": datasets.Json(), "t": datasets.List(datasets.Json()), "a": datasets.Array2D((2, 2), "float32")}
    )
    rows = {"j": [{"k": 1}, "none"], "t": [[{"role": "user"}], []], "a": [[[0, 1], [2, 3]], None]}
    made = datasets.Dataset.from_dict(rows, features=features)
    buffer = io.BytesIO()
    made.to_parquet(buffer)
    found = typed.read_parquet(buffer, "x")
    assert {column: said(values) for column, values in found.columns.items()} == {
        "j": ['{"k":1}', '"none"'],
        "t": ['[{"role":"user"}]', "[]"],
        "a": ["[[0.0,1.0],[2.0,3.0]]", None],
    }


def test_what_polars_writes_is_read(tmp_path):
    frame = pl.DataFrame({"c": ["x", "y"], "e": ["a", "b"], "d": ["1.50", None], "t": [1, None]}).with_columns(
        pl.col("c").cast(pl.Categorical),
        pl.col("e").cast(pl.Enum(["a", "b"])),
        pl.col("d").cast(pl.Decimal(10, 2)),
        pl.duration(seconds="t").alias("t"),
    )
    frame.write_parquet(tmp_path / "x [1].parquet")
    frame.write_ipc(tmp_path / "x.arrow")
    for found in (typed.read_parquet(tmp_path / "x [1].parquet", "x"), typed.read_arrow(tmp_path / "x.arrow", "x")):
        assert [said(column) for column in found.columns.values()] == [["x", "y"], ["a", "b"], ["1.50", None], ["PT1S", None]]
        assert found.numbers.to_list() == [1, 2]


def damaged(content, at, by):
    return content[:at] + by + content[at + len(by) :]


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_damaged_files_are_one_line(compression):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"s": ["abc", "é"] * 50, "n": [1.5, None] * 50}), buffer, compression=compression)
    whole = buffer.getvalue()
    for at in range(4, len(whole) - 4, 7):
        with suppress(InputError):  # or nothing, where what is damaged is not needed
            typed.read_parquet(io.BytesIO(damaged(whole, at, b"\xff\x80\xff")), "x")
    for content in (b"", b"PAR1", whole[:-20], b"junk" * 9):
        with pytest.raises(InputError, match=r"^x: cannot be read as Parquet"):
            typed.read_parquet(io.BytesIO(content), "x")
        with pytest.raises(InputError, match=r"^x: cannot be read as Arrow"):
            typed.read_arrow(io.BytesIO(content), "x")


def test_text_that_is_not_utf_8_is_refused():
    raw = pa.array([b"x", b"\xff"]).view(pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table({"x": raw}), buffer)
    with pytest.raises(InputError, match=r"^x: cannot be read as Parquet: .*UTF8"):
        typed.read_parquet(buffer, "x")


def test_a_panic_is_one_line():
    with (
        pytest.raises(InputError, match=r"^x: cannot be read as Parquet: it broke; it may be damaged"),
        typed.one_line("x", "Parquet"),
    ):
        raise pl.exceptions.PanicException("it broke\nand a long story")


def test_two_columns_of_one_name_are_refused():
    made = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InputError, match="the column 'a' is there twice"):
        typed.from_batches(made.to_batches(), made.schema, "x", features={})


def test_a_file_without_rows_keeps_its_columns():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"p": pa.array([], pa.string()), "amount": pa.array([], pa.decimal256(60, 2))}), buffer)
    found = typed.read_parquet(buffer, "x")
    assert list(found.columns) == ["p", "amount"]
    assert found.height == 0
