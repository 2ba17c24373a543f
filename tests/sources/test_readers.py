"""Tests of curate.sources.readers: every kind of file says the same, and a mistake is named with its file and line."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate import progress
from curate.errors import InputError
from curate.sources import readers

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
flat = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text
value = st.recursive(flat, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=5)
records = st.lists(st.dictionaries(st.sampled_from(["a", "b", 'ü"\\']), value, min_size=1), min_size=1, max_size=6)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(folder, name, content, **options):
    return readers.read(write(folder, name, content), name=name, **options)


def back(found: readers.Table) -> list[dict[str, object]]:
    """What the records said, read back from text."""
    return [
        {key: json.loads(v) if key in found.json else v for key, v in row.items() if v is not None}
        for row in found.frame.to_dicts()
    ]


@given(records)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_json_lines_come_back_as_they_were(tmp_path, rows):
    found = table(tmp_path, "x.jsonl", "\n".join(json.dumps(row) for row in rows))
    for got, row in zip(back(found), rows, strict=True):
        for key, said in row.items():
            if said is None:
                assert key not in got
            elif key in found.json or isinstance(said, str):
                assert got[key] == said
            else:  # a column of strings and others: the others are written as JSON
                assert json.loads(got[key]) == said
    assert found.numbers.to_list() == list(range(1, len(rows) + 1))


def test_a_value_does_not_depend_on_the_rows_beside_it(tmp_path):
    found = table(tmp_path, "x.jsonl", '{"a":3}\n{"a":2.5}\n{"a":4,"late":true}\n' + '{"a":1}\n' * 200 + '{"z":"only here"}\n')
    assert found.frame["a"].to_list()[:3] == ["3", "2.5", "4"]
    assert found.frame["z"].to_list()[-1] == "only here"
    assert found.json == {"a", "late"}


@pytest.mark.parametrize(
    ("late", "column", "said"),
    [
        ('{"a":1,"b":"x","z":"new"}', "z", "new"),
        ('{"a":"one","b":"x"}', "a", "one"),
        ('{"a":[1,"\\\\"],"b":"x"}', "a", '[1,"\\\\"]'),
        ('{"a":1,"b":["\\\\"]}', "b", '["\\\\"]'),
        ('{"a":null,"b":"x","z":true}', "z", "true"),
        ('{"a":1,"b":"x\\":y"}', "b", 'x":y'),
    ],
)
def test_what_comes_late_in_a_long_file_is_not_lost(tmp_path, late, column, said):
    found = table(tmp_path, "x.jsonl", '{"a":1,"b":"x"}\n' * 1500 + late + "\n")
    assert found.frame[column][-1] == said
    assert found.frame.height == 1501
    texts = found.frame["a"].drop_nulls()
    assert "a" not in found.json or all(json.loads(text) for text in texts)


def test_nested_backslashes_survive(tmp_path):
    said = {"messages": [{"role": "user", "content": 'x\\ "y" \\frac{1}{2}\\'}]}
    assert back(table(tmp_path, "x.jsonl", json.dumps(said)))[0] == said


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_files_read_as_plain_ones(tmp_path, packed):
    content = b'{"a":"x","n":[1]}\n\n{"a":"y"}\n'
    pack = gzip.compress if packed == ".gz" else lambda raw: pyarrow.compress(raw, codec="zstd", asbytes=True)
    for name, raw in (("x.jsonl", content), ("y.jsonl", b'{"a":"x"}\n'), ("z.csv", b"a,b\nx,1\n")):
        plain, other = table(tmp_path, name, raw), table(tmp_path, name + packed, pack(raw))
        assert plain.frame.equals(other.frame)
    with pytest.raises(InputError, match=r"cut\.jsonl.*cannot be read"):
        table(tmp_path, "cut.jsonl" + packed, pack(content * 50)[:-12])


def test_line_numbers_count_blank_lines_where_records_are_read_one_by_one(tmp_path):
    found = table(tmp_path, "x.jsonl", '{"a":[1]}\n\n{"a":[2]}\n')
    assert found.numbers.to_list() == [1, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": ', "not JSON"),
        (b"hello", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\\ud83d"}', "not UTF-8"),
        (b'{"a":1}{"a":2}', "not JSON"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line, reason):
    content = b'{"a":"x"}\n' + line + b'\n{"a":"y"}\n'
    with pytest.raises(InputError, match=rf"^x\.jsonl:2: .*{reason}.*--on-error skip"):
        table(tmp_path, "x.jsonl", content)
    found = table(tmp_path, "x.jsonl", content, on_error="skip")
    assert found.frame["a"].to_list() == ["x", "y"]
    assert found.numbers.to_list() == [1, 3]
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("x.jsonl:2: ")


def test_csv_and_tsv_keep_text_as_it_is(tmp_path):
    content = 'a,b\r\n"x, ""y""\nz",007\r\n\r\n\\frac,\r\n'
    for name, said in (
        ("x.csv", content),
        ("x.tsv", content.replace('",007', '"\t007').replace("a,b", "a\tb").replace("c,", "c\t")),
    ):
        found = table(tmp_path, name, "\ufeff" + said)
        assert found.frame.to_dicts() == [{"a": 'x, "y"\nz', "b": "007"}, {"a": "\\frac", "b": None}]
        assert not found.json


def test_a_row_with_too_many_fields_is_named(tmp_path):
    content = "a,b\nx,1\ny,2,3\nz,4\n"
    with pytest.raises(InputError, match=r"^x\.csv:3: 3 fields where the header has 2"):
        table(tmp_path, "x.csv", content)
    found = table(tmp_path, "x.csv", content, on_error="skip")
    assert found.frame["a"].to_list() == ["x", "z"]


def test_csv_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(InputError, match=r"^x\.csv:3: not UTF-8"):
        table(tmp_path, "x.csv", b"a\nx\n\xff\n")


def test_parquet_types_become_text(tmp_path):
    frame = pl.DataFrame(
        {
            "s": ["x", None],
            "n": [3, None],
            "f": [2.5, float("nan")],
            "l": [["a\\"], None],
            "b": [b"x", b"y"],
            "day": ["2024-01-02"] * 2,
        }
    ).with_columns(pl.col("day").str.to_date(), pl.col("s").cast(pl.Categorical).alias("c"))
    path = tmp_path / "x [1].parquet"
    frame.write_parquet(path)
    heard = []
    with progress.listen(heard.append):
        found = readers.read(path, name="x.parquet")
    row = {"s": "x", "n": "3", "f": "2.5", "l": '["a\\\\"]', "day": "2024-01-02", "c": "x"}
    assert found.frame.to_dicts() == [row, {**dict.fromkeys(row), "day": "2024-01-02"}]
    assert found.json == {"n", "f", "l"}
    assert [event.message for event in heard] == ["x.parquet: columns of bytes are left out: b"]


def test_json_arrays_and_lines_under_one_suffix(tmp_path):
    assert table(tmp_path, "x.json", '[{"a":"x"},\n {"a":"y"}]').frame["a"].to_list() == ["x", "y"]
    assert table(tmp_path, "y.json", '{"a":"x"}\n{"a":"y"}').frame["a"].to_list() == ["x", "y"]
    with pytest.raises(InputError, match="not a JSON object: 3"):
        table(tmp_path, "z.json", '[{"a":"x"}, 3]')
    with pytest.raises(InputError, match="not JSON"):
        table(tmp_path, "z.json", '[{"a":"x"}')


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", "hello", "cannot tell its kind"),
        ("noname", "hello", "cannot tell its kind"),
        ("x.parquet", "junk that is no parquet", "cannot be read as Parquet"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        table(tmp_path, name, content)


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.json"])
def test_an_empty_file_is_an_empty_table(tmp_path, name):
    assert len(table(tmp_path, name, "").numbers) == 0


def test_stem():
    assert [readers.stem(name) for name in ("a.jsonl", "d/a.b.csv.gz", "a")] == ["a", "a.b", "a"]
