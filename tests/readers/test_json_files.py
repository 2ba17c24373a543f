"""Tests of curate.readers.json_files: literals as they are written, each record by itself, and every mistake by its line."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.readers import json_files

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
flat = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
value = st.recursive(flat, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=5)
record = st.dictionaries(st.sampled_from(["a", "b", 'ü":\\', ""]), value, min_size=1, max_size=3)
broken = st.sampled_from(
    ["{", "[1]", '{"a":NaN}', '{"a":1,"a":2}', '"x"', '{"a":"\\ud800"}', '{"a":{"b":1,"b" :[]}}', '{"a":1}{}', "x"]
)
spelling = st.sampled_from([{}, {"ensure_ascii": False}, {"separators": (",", ":")}, {"separators": (" , ", "\t: ")}])
lines = st.lists(st.builds(lambda said, how: json.dumps(said, **how), record, spelling) | broken, min_size=1, max_size=8)


def read(content, **options):
    raw = content if isinstance(content, bytes) else content.encode()
    return json_files.read(io.BytesIO(raw), "x.jsonl", **options)


def rows(table):
    """Return line → what its record says, as literals."""
    columns = {name: column.values.to_list() for name, column in table.columns.items()}
    said = ({name: values[at] for name, values in columns.items() if values[at] is not None} for at in range(table.height))
    return dict(zip(table.numbers.to_list(), said, strict=True))


def why(table):
    """Return line → why it was left out."""
    return {int(line.split(":")[1]): line.split(": ", 1)[1] for line in table.skipped}


@given(lines)
def test_what_a_line_says_does_not_depend_on_the_lines_beside_it(written):
    written = ['{"z":0}', *written]  # what a file begins with may make it a document
    together = read("\n".join(written), on_error="skip")
    for number, line in enumerate(written, 1):
        alone = read('{"z":0}\n' + line, on_error="skip")
        assert rows(together).get(number) == rows(alone).get(2)
        assert why(together).get(number) == why(alone).get(2)
        assert (number in rows(together)) != (number in why(together))


@given(st.lists(record, min_size=1, max_size=5), spelling, st.sampled_from([None, 2]))
def test_lines_and_documents_say_the_same_however_they_are_spelt(said, how, indent):
    plain = read("\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in said))
    assert rows(read("\n".join(json.dumps(row, **how) for row in said) + "\n")) == rows(plain)
    assert rows(read(json.dumps(said, indent=indent, **how))) == rows(plain)
    assert rows(read(json.dumps({"data": said}, indent=indent, **how), records="data")) == rows(plain)
    for row, found in zip(said, rows(plain).values(), strict=True):
        assert {key: json.loads(literal) for key, literal in found.items()} == {k: v for k, v in row.items() if v is not None}


def test_numbers_stay_as_they_are_written():
    numbers = ["1.0", "1e3", "-0", "3.10", "1e400", "12345678901234567890123"]
    found = read("".join(f'{{"a":{n},"l":[{n} , {n}]}}\n' for n in numbers))
    assert found.columns["a"].values.to_list() == numbers
    assert found.columns["l"].values.to_list() == [f"[{n},{n}]" for n in numbers]


MISTAKES = [
    (b'{"a": ', "not JSON"),
    (b"hello", "not JSON"),
    (b"[1, 2]", "not a JSON object"),
    (b"{ }", "an empty object, which says nothing"),
    (b'{"a": NaN}', "NaN is not a JSON value; write null"),
    (b'{"a": [-Infinity]}', "-Infinity is not a JSON value; write null"),
    (b'{"a": "\xff"}', "not UTF-8"),
    (b'{"a": "\\ud83d"}', "half of a surrogate pair"),
    (b'{"a":1}{"a":2}', "more than one value in a line"),
    (b'{"a":1,"b":2,"a":3}', "the key 'a' stands twice"),
    (b'{"b":[{"c":1,"c":1}]}', "the key 'c' stands twice"),
    (b'{"b":{"t":"\\u0022:","c":1,"c" :1}}', "the key 'c' stands twice"),
    (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "nested more than 200 levels deep"),
    (b'{"a":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "nested more than 200 levels deep"),
]
# The brackets of these do not say where an item of a list ends.
ONLY_LINES = {"not JSON", "more than one value in a line"}
FORMS = [(*m, form) for m in MISTAKES for form in ("lines", "list", "wrapped") if form == "lines" or m[1] not in ONLY_LINES]


@pytest.mark.parametrize(("line", "reason", "form"), FORMS)
def test_a_record_that_cannot_be_read_is_named_and_can_be_left_out(line, reason, form):
    good, options = b'{"a":"x"}', {"records": "data"} if form == "wrapped" else {}
    content = {"lines": b"\n".join((good, line, good)), "list": b"[" + b",\n".join((good, line, good)) + b"]"}
    content["wrapped"] = b'{"v": 1, "data": ' + content["list"] + b"}"
    with pytest.raises(InputError, match=rf"^x\.jsonl:2: .*{reason}.*--on-error skip"):
        read(content[form], **options)
    found = read(content[form], on_error="skip", **options)
    assert rows(found) == {1: {"a": '"x"'}, 3: {"a": '"x"'}}
    assert reason in why(found)[2]


def test_lines_are_counted_with_empty_ones():
    assert read('\n{"a":1}\r\n \n\n{"a":2}').numbers.to_list() == [2, 5]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(encoding):
    assert read('{"a":"é😀"}\n{"a":2}'.encode(encoding)).columns["a"].values.to_list() == ['"é😀"', "2"]


def test_utf_16_without_a_mark_is_said():
    with pytest.raises(InputError, match="byte order mark"):
        read('{"a":"é"}\n'.encode("utf-16-le"))


def test_one_object_over_several_lines_is_one_record():
    assert rows(read('{\n "a": [1,\n 2]\n}\n')) == {1: {"a": "[1,2]"}}


def test_a_list_of_strings_has_the_column_text():
    found = read('["x", "é",\n "\\u00e9"]')
    assert found.columns["text"].texts().to_list() == ["x", "é", "é"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{\n"a":1\n}\n{\n"a":2\n}', r"objects of several lines.*jq -c"),
        ('[{"a":1},\n{"a":2}', r"^x\.jsonl:2: not JSON"),
        ('{\n"a": 1,\n"b"\n}', r"^x\.jsonl:1: not JSON.*record's line 4"),
        ('{"a": 1,', r"^x\.jsonl:1: not JSON"),
    ],
)
def test_a_document_that_is_none_is_refused(content, reason):
    with pytest.raises(InputError, match=reason):
        read(content)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            {"prompt": {"0": "q", "1": "r"}, "answer": {"0": "a", "1": "b"}},
            r"table by columns \('prompt', 'answer'\).*orient='records'",
        ),
        ({"prompt": ["q", "r"], "answer": ["a", "b"]}, "table by columns"),
        ({f"id{n}": {"q": "x", "a": "y"} for n in range(30)}, r"one object that holds 30 by their keys; .*jq -c '\.\[\]'"),
    ],
)
def test_a_table_that_is_not_written_as_records_is_refused(said, reason, indent):
    with pytest.raises(InputError, match=reason):
        read(json.dumps(said, indent=indent))


def test_one_record_that_holds_objects_or_lists_is_a_record():
    for said in (
        {"q": {"text": "x"}, "a": {"text": "y"}},
        {"q": ["x"], "a": ["y"]},
        {"q": ["x", "z"], "a": ["y"]},
        {"q": {"0": "x"}},
    ):
        assert read(json.dumps(said)).height == 1


def test_keys_that_are_no_names_of_columns_are_refused(monkeypatch):
    monkeypatch.setattr(json_files, "_MOST_KEYS", 5)
    with pytest.raises(InputError, match=r"^x\.jsonl: has more than 5 different keys, such as 'k0'"):
        read("\n".join(json.dumps({f"k{n}": n}) for n in range(6)))


def test_a_first_line_that_is_broken_does_not_make_a_document():
    found = read('{"a": "x\n{"a":1}\n{"a":2}\n', on_error="skip")
    assert list(rows(found)) == [2, 3]
    assert list(why(found)) == [1]


@pytest.mark.parametrize(
    ("content", "records", "reason"),
    [
        ('{"data":[]}', "dta", "no key 'dta'; did you mean 'data'"),
        ('{"data":{"a":1}}', "data", "no list"),
        ('{"data":{"a":1}}', "data.a.b", "'data.a' is no object"),
        ('{"a":1}\n{"a":2}', "a", "not one JSON object"),
        ('{"data":[],"data":[{"a":1}]}', "data", "the key 'data' stands twice"),
    ],
)
def test_keys_that_lead_to_no_list_are_refused(content, records, reason):
    with pytest.raises(InputError, match=reason):
        read(content, records=records)


def test_records_may_lie_deep_and_keys_may_hold_dots():
    assert rows(read('{"v":{"data":[{"a":1}]}}', records="v.data")) == {1: {"a": "1"}}
    assert rows(read('{"v.data":[{"a":1}]}', records="v.data")) == {1: {"a": "1"}}


def test_the_flag_that_reads_wrapped_records_is_suggested_where_there_is_one_list():
    assert "--records rows" in json_files.records_hint(read('{"v":1,"rows":[{"a":1}],"tags":["x"]}'))
    assert json_files.records_hint(read('{"rows":[{"a":1}],"more":[{"a":1}]}')) is None
    assert json_files.records_hint(read('{"rows":[{"a":1}]}\n{"rows":[{"a":1}]}')) is None


def test_lines_longer_than_a_block_and_many_blocks(monkeypatch):
    monkeypatch.setattr("curate.readers.streams._BLOCK", 7)
    said = [{"a": "é" * n, "n": n} for n in range(30)]
    found = read("\n".join(json.dumps(row, ensure_ascii=False) for row in said))
    assert found.columns["a"].texts().to_list() == [row["a"] for row in said]
    assert found.numbers.to_list() == list(range(1, 31))


def test_whole_numbers_of_any_length_can_be_looked_at():
    digits = "7" * 5000
    column = read(f'{{"a":[{digits}]}}').columns["a"]
    assert column.texts().to_list() == [digits]
    assert str(column.objects()[0][0]) == digits
