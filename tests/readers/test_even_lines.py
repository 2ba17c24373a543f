"""Tests of curate.readers.even_lines: a block read as a whole says what its records say one by one; others are left alone."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.readers import even_lines, json_files

letters = st.sampled_from([*'aZ0 {}[]:,"\\/\n\t\x00\x1f\x7f', "\x85", "é", "\u2028", "\ufeff", "\U0001f600", "null", '":', "\\u"])
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.lists(letters, max_size=5).map("".join)
number = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
string = st.builds(json.dumps, text, ensure_ascii=st.booleans()) | st.builds(
    lambda said: '"' + said + '"',
    st.lists(st.sampled_from(["a", "\\/", "\\u0041", "\\u00e9", "\\n", '\\"', "\\\\", "\\ud83d\\ude00"]), max_size=4).map(
        "".join
    ),
)
value = string | number | st.sampled_from(["true", "false", "null"])
blank = st.sampled_from(["", " ", "\t", "  "])
keys = st.lists(st.sampled_from(["a", "b", "a b", "ü", "(x)", "a.b", "$", "\\d", "", 'q"', "tab\t"]), min_size=1, unique=True)


@st.composite
def alike(draw):
    """Return lines whose records have the same keys in the same order."""
    names = draw(keys)
    before, after = draw(blank), draw(blank)

    def line():
        pairs = (f"{json.dumps(name)}{before}:{after}{draw(value)}" for name in names)
        return "{" + f"{after},{before}".join(pairs) + "}" + draw(st.sampled_from(["", "", " ", "\r"]))

    return [line() for _ in range(draw(st.integers(1, 4)))]


def outcome(content, *, whole):
    """Return what is read of the content, or the error, with or without reading whole blocks."""
    with pytest.MonkeyPatch.context() as patch:
        if not whole:
            patch.setattr(even_lines, "columns", lambda block: None)
        try:
            table = json_files.read(io.BytesIO(content), "x.jsonl", on_error="skip")
        except InputError as e:
            return str(e)
    columns = {name: (column.values.to_list(), column.is_json) for name, column in table.columns.items()}
    return list(columns), columns, table.numbers.to_list(), table.skipped


@given(alike(), st.booleans())
@example(['{"a":1E400,"b":-0.0}', '{"a":null,"b":"\\ud800"}'], True)
@example(['{"a":1}', '{"a":1,"a":2}'], True)
@example(['{"a":1}', '\ufeff{"a":1}'], True)
def test_lines_that_are_alike_are_read_as_they_are_one_by_one(lines, ends):
    content = ("\n".join(lines) + "\n" * ends).encode()
    assert outcome(content, whole=True) == outcome(content, whole=False)


@given(alike(), st.data())
def test_a_byte_that_is_changed_changes_nothing_of_that(lines, data):
    content = bytearray("\n".join(lines).encode())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 2))] = data.draw(
        st.binary(max_size=2) | st.sampled_from([b"\\", b'"', b"\n", b"\x1f"])
    )
    assert outcome(bytes(content), whole=True) == outcome(bytes(content), whole=False)


@given(alike())
def test_flat_records_of_plain_keys_are_read_as_a_whole(lines):
    names = json.loads(lines[0])
    assume(not any(mark in name for name in names for mark in '"\\\t'))
    found = even_lines.columns("\n".join(lines).encode())
    assert found is not None
    assert list(found) == list(names)


@pytest.mark.parametrize(
    "lines",
    [
        ['{"a":1}', '{"b":1}'],
        ['{"a":1,"b":2}', '{"b":2,"a":1}'],
        ['{"a":1}', '{"a":[1]}'],
        ['{"a":1}', "", '{"a":1}'],
        ['{"a":1}', " "],
        ['{"a":1}', '{"a":01}'],
        ['{"a":1}', '{"a":"\t"}'],
        ['{"a":1}', '{"a":"\\x"}'],
        ['{"a":1}', '{"a":NaN}'],
        ['{"a":1}', '{"a":1}{"a":1}'],
        ["{}", "{}"],
        ["[1]"],
        ["x"],
    ],
)
def test_other_lines_are_left_to_be_read_one_by_one(lines):
    assert even_lines.columns("\n".join(lines).encode()) is None


def test_records_of_many_and_long_keys_are_read_in_several_steps():
    row = {f"key {n} {'k' * (n % 5 * 60)}": (n if n % 2 else f"text {n}") for n in range(70)}
    block = "\n".join(json.dumps(row) for _ in range(3)).encode()
    found = even_lines.columns(block)
    assert found is not None
    assert {key: json.loads(values[1]) for key, values in found.items()} == row
