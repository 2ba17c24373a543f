"""Tests of curate.readers.text_files: cells as they are written, each record by itself, wrong quoting by its line."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.readers import text_files
from curate.readers.text_files import TextOptions

cell = st.text(st.sampled_from('ab"\\ ,;\té\ufeff\x00\x0b\u2028\n'), max_size=5)
row = st.lists(cell, min_size=2, max_size=2)
mangled = st.text(st.sampled_from('ab",\\é\r'), max_size=8)


def read(content, **options):
    raw = content if isinstance(content, bytes) else content.encode()
    given = {name: options.pop(name) for name in ("on_error", "separator") if name in options}
    return text_files.read(io.BytesIO(raw), "x.csv", options=TextOptions(**options), **given)


def rows(table):
    columns = [column.values.to_list() for column in table.columns.values()]
    return dict(zip(table.numbers.to_list(), zip(*columns, strict=True), strict=True))


def why(table):
    return {int(line.split(":")[1]): line.split(": ", 1)[1] for line in table.skipped}


def written(records):
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([("a", "b"), *records])
    return lines.getvalue()


@given(st.lists(row))
def test_what_is_written_comes_back(records):
    assert list(rows(read(written(records))).values()) == [tuple(c or None for c in cells) for cells in records]


@given(st.lists(row.filter(lambda cells: "\n" not in "".join(cells)), min_size=1), st.data())
def test_what_a_record_says_does_not_depend_on_those_beside_it(records, data):
    order = data.draw(st.permutations(range(len(records))))
    before, after = list(rows(read(written(records))).values()), list(rows(read(written([records[at] for at in order]))).values())
    assert after == [before[at] for at in order]


@given(st.lists(mangled))
@example(["a,b,a", "a"])
@example(["a,b", "", "a,b"])
@example(['a,"b', "a,b", 'a,b"'])
def test_every_line_is_kept_or_left_out_and_blocks_change_nothing(lines):
    content = "a,b\n" + "\n".join(lines) + "\n"
    found = read(content, on_error="skip")
    n_lines = {at: 1 for at, line in enumerate(lines, 2) if line.strip("\r") or "\r" in line}
    assert not set(rows(found)) & set(why(found))
    if not any("\n" in (c or "") for cells in rows(found).values() for c in cells):
        assert {*rows(found), *why(found)} >= {at for at in n_lines if lines[at - 2].strip("\r")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.readers.streams._BLOCK", 5)
        small = read(content, on_error="skip")
    assert (rows(small), small.skipped) == (rows(found), found.skipped)


@given(st.lists(mangled.filter(lambda line: '"' not in line), min_size=1))
def test_the_quick_path_takes_nothing_that_the_strict_one_refuses(lines):
    content = "a,b\n" + "\n".join(lines) + "\n"
    quick = read(content, on_error="skip")
    strict = read(content + '"x",y\n', on_error="skip")
    assert list(rows(strict).values())[:-1] == list(rows(quick).values())
    assert strict.skipped == quick.skipped


@given(st.lists(st.sampled_from(["a", "bc", ",", "\n", "\r\n", "\r", " "])).map("".join))
def test_lines_are_counted_where_none_is_empty_and_returns_end_them(content):
    plain = content.replace("\r\n", "\n")
    lines = plain.removesuffix("\n").split("\n")
    expected = len(lines) if all(lines) and "\r" not in plain else None
    assert text_files._filled_lines(content.encode()) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_without_quotation_marks_go_the_quick_way(monkeypatch, end):
    monkeypatch.setattr("curate.readers.text_files._lines", lambda block: ["a,b\n"] if block.startswith(b"a,b") else None)
    assert list(rows(read(end.join(["a,b", "1,", "x y,é", ""]))).values()) == [("1", None), ("x y", "é")]


def test_quotes_that_stand_inside_a_cell_are_text():
    assert list(rows(read('a,b\n5" screen,x"\n')).values()) == [('5" screen', 'x"')]


def test_an_empty_cell_is_no_value_quoted_or_not():
    assert list(rows(read('a,b\n"",x\n,y\n')).values()) == [(None, "x"), (None, "y")]


@pytest.mark.parametrize(
    ("content", "line", "reason", "kept"),
    [
        ('a,b\nq,r\n"x,\\"y\\"",1\ns,t\n', 3, "escaped by a backslash.*write them twice", [2, 4]),
        ('a,b\nq,r\ns,"lost\nt,u\nv,w\n', 3, "a quotation mark opens here and is never closed; .*--quote none", [2, 4, 5]),
        (
            'a,b\nq,r\ns,"lost\nt,"u"\nv,w\n',
            3,
            "a quotation mark opens here, and no delimiter or end of the line follows the next one.*--quote none",
            [2, 4, 5],
        ),
        ("a,b\nq\ns,t\n", 2, "1 field where the header has 2", [3]),
        ("a,b\nq,r,s\ns,t\n", 2, "3 fields where the header has 2", [3]),
        (b"a,b\nq,\xff\ns,t\n", 2, "not UTF-8 text", [3]),
        ("a,b\nq\rr,s\ns,t\n", 2, "a carriage return stands alone", [3]),
    ],
)
def test_a_line_that_is_no_record_is_named_and_can_be_left_out(content, line, reason, kept):
    with pytest.raises(InputError, match=rf"^x\.csv:{line}: .*{reason}.*--on-error skip"):
        read(content)
    found = read(content, on_error="skip")
    assert list(rows(found)) == kept
    assert list(why(found)) == [line]


def test_the_line_in_which_a_quotation_mark_opens_is_named():
    found = read('a,b\n"x\ny","lost\n3,4\n', on_error="skip")
    assert "opens in line 3 and is never closed" in why(found)[2]
    assert list(rows(found)) == [4]


def test_a_record_of_several_lines_with_a_wrong_number_of_fields_is_left_out_whole():
    found = read('a,b\n"x\ny,z",1,2\n3,4\n', on_error="skip")
    assert list(rows(found)) == [4]
    assert why(found) == {2: "3 fields where the header has 2", 3: "belongs to the record of line 2, which is left out"}


def test_a_quotation_mark_that_swallows_millions_of_characters_is_refused(monkeypatch):
    monkeypatch.setattr(text_files, "_LONGEST", 20)
    content = 'a,b\n1,"' + "x\n" * 30 + '"\n3,4\n'
    found = read(content, on_error="skip")
    assert why(found)[2].startswith("a quotation mark opens here")
    assert list(rows(found)) == [33]


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        ("a,b,a\n1,2,3\n", {}, r"^x\.csv:1: the header has the column 'a' twice; rename one, or add --no-header"),
        ("column_2,,x\n1,2,3\n", {}, "the column 'column_2' twice"),
        ("a;b;c\n1;2;3\n", {}, "3 with semicolon: add --delimiter semicolon"),
        ("a\tb\n1\t2\n", {}, "2 with tab: add --delimiter tab"),
        ("a,b\n1,2\n", {"separator": "\t"}, "2 with comma: add --delimiter comma"),
        ("a,b\n1,2\n", {"columns": ("x",)}, "--columns has 1 names where the header has 2: a, b"),
        ('"a,b\n1,2\n', {"on_error": "skip"}, r"^x\.csv:1: .*correct the first line"),
        ("sep=;\na;b\n1;2\n", {}, "is a note to a spreadsheet; remove that line"),
        ("sep=,\na,b\n1,2\n", {}, "is a note to a spreadsheet; remove that line"),
        ("a,b\rc,d\r", {"on_error": "skip"}, "a carriage return stands alone"),
        (b"a,\xff\n1,2\n", {"on_error": "skip"}, "not UTF-8"),
        ("", {"delimiter": ";;"}, "--delimiter ';;': give one character"),
        ("", {"quote": "ab"}, "--quote 'ab': give one character"),
        ("", {"quote": ",", "delimiter": ","}, "is the delimiter too"),
        ("", {"columns": ("a", "a")}, "the name 'a' stands twice"),
        ("", {"columns": ("a", " ")}, "a column has no name"),
    ],
)
def test_a_header_or_an_option_that_is_wrong_is_refused(content, options, reason):
    with pytest.raises(InputError, match=reason):
        read(content, **options)


@pytest.mark.parametrize(
    ("content", "options", "names", "kept"),
    [
        (",a,\n1,2,\n", {}, ["column_1", "a", "column_3"], [("1", "2", None)]),
        ("1,2\n3,4\n", {"header": False}, ["column_1", "column_2"], [("1", "2"), ("3", "4")]),
        ("1,2\n3,4\n", {"header": False, "columns": ("x", "y")}, ["x", "y"], [("1", "2"), ("3", "4")]),
        ("a,b\n3,4\n", {"columns": ("x", "y")}, ["x", "y"], [("3", "4")]),
        ("a;b\n3,1;4\n", {"delimiter": ";"}, ["a", "b"], [("3,1", "4")]),
        ("a\tb\n3\t4\n", {"delimiter": "tab"}, ["a", "b"], [("3", "4")]),
        ("a¦b\n3¦4\n", {"delimiter": "¦"}, ["a", "b"], [("3", "4")]),
        ("a;b\n3;4\n", {"delimiter": ","}, ["a;b"], [("3;4",)]),
        ('a\tb\n"3\t4\n', {"quote": "none", "separator": "\t"}, ["a", "b"], [('"3', "4")]),
        ("a,b\n'x,y','it''s'\n", {"quote": "'"}, ["a", "b"], [("x,y", "it's")]),
    ],
)
def test_options(content, options, names, kept):
    found = read(content, **options)
    assert list(found.columns) == names
    assert list(rows(found).values()) == kept


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(encoding):
    assert list(rows(read("a,b\né,2\n".encode(encoding))).values()) == [("é", "2")]


def test_a_file_without_records_keeps_its_columns():
    assert list(read("a,b\n").columns) == ["a", "b"]
    assert read("").height == 0


@pytest.mark.parametrize(
    ("header", "is_data"),
    [
        (["prompt", "answer", "domain"], False),
        (["question text (EN)", "gold answer", ""], False),
        (["What is the capital of France?", "Paris"], True),
        (["1", "x"], True),
        (["name", "-3.5e2"], True),
        (["a", "one two three four five six"], True),
    ],
)
def test_a_header_that_looks_like_data(header, is_data):
    assert text_files.looks_like_data(header) is is_data
