"""Tests of curate.sources.expressions: columns, paths, several columns and templates, each record by itself."""

from __future__ import annotations

import json

import polars as pl
import pytest

from curate import templates
from curate.errors import InputError, UnknownNameError
from curate.readers.tables import Column, Table
from curate.sources.expressions import MOST_CHARACTERS, compile_expression, letter, options, read_template

RECORDS = [
    {"q": "Why?", "in": "ctx", "n": 1, "answers": {"text": ["a", "b"]}, "tags": ["x", None, True], "two words": "w"},
    {"q": "How?", "in": " ", "answers": {"text": []}, "two words": None},
]


def evaluate(text, records=RECORDS, numbers=None):
    names = list(dict.fromkeys(key for record in records for key in record))
    columns = {
        key: Column(pl.Series([json.dumps(r[key]) if r.get(key) is not None else None for r in records], dtype=pl.String), True)
        for key in names
    }
    for key, literals in (numbers or {}).items():
        columns[key] = Column(pl.Series(literals, dtype=pl.String), True)
    table = Table("x.jsonl", columns, pl.int_range(1, len(records) + 1, eager=True))
    found, failed = compile_expression(text, table.columns, option="--prompt", file="x.jsonl").evaluate(table)
    return failed or found.to_list()


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("q", ["Why?", "How?"]),
        ("n", ["1", None]),
        ("tags", ["x, true", None]),
        ("two words", ["w", None]),
        ("in,q", ["ctx\n\nWhy?", "How?"]),
        ("q, two words", ["Why?\n\nw", "How?"]),
        ("answers.text[0]", ["a", None]),
        ("answers.text[-1]", ["b", None]),
        ("answers.none", [None, None]),
        ("answers.text", ["a, b", ""]),
        ("{{ q }} {{ n }}", ["Why? 1", "How? "]),
        ("{% if in | trim %}{{ in }}: {% endif %}{{ q }}", ["ctx: Why?", "How?"]),
        ("{{ answers.text | options }}", ["A. a\nB. b", ""]),
        ("{{ row['two words'] }}", ["w", ""]),
        ("{{ tags }}|{{ n == 1 }}", ["x, true|true", "|false"]),
    ],
)
def test_what_an_expression_makes_of_a_record(text, texts):
    # `in` is a word of Jinja2, so a column of that name needs row["in"]
    if "{% if in" in text:
        text = text.replace("if in |", "if row['in'] |").replace("{{ in }}", "{{ row['in'] }}")
    assert evaluate(text) == texts


def test_numbers_are_shown_as_they_are_written():
    literals = {"x": ["3.10", "1e3"]}
    assert evaluate("x", numbers=literals) == ["3.10", "1e3"]
    assert evaluate("{{ x }}|{{ x > 5 }}", numbers=literals) == ["3.10|false", "1e3|true"]


def test_a_column_of_that_very_name_comes_first():
    assert evaluate("a,b", [{"a,b": "whole", "a": "1", "b": "2"}]) == ["whole"]
    assert evaluate("a.b[0]", [{"a.b[0]": "whole", "a": {"b": ["path"]}}]) == ["whole"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ quest }}", r"unknown column of x\.jsonl in the template of --prompt: 'quest'"),
        ("qq", r"unknown column of x\.jsonl for --prompt 'qq'; did you mean 'q'\?"),
        ("q,inn", r"unknown column of x\.jsonl for --prompt 'inn'; did you mean 'in'"),
        ("{{ q ", "--prompt: the template is not valid Jinja2"),
        ("{{ q | optoins }}", "--prompt: the template is not valid Jinja2: No filter named 'optoins'"),
    ],
)
def test_mistakes_are_named_before_anything_is_read(text, message):
    with pytest.raises((InputError, UnknownNameError), match=message) as caught:
        evaluate(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ n + 1 }}", "unsupported operand"),
        ("{{ q | options }}", "options are a list or an object"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_a_record_that_a_template_fails_on_is_named_with_the_reason(text, why):
    failed = evaluate(text)
    assert isinstance(failed, dict)
    assert all("the template of --prompt fails: " in line for line in failed.values())
    assert why in failed[1]


def test_templates_run_in_a_sandbox():
    assert evaluate("{{ q.__class__ }}{{ q.__class__.__mro__ }}") == ["", ""]


def test_what_a_template_writes_is_bounded():
    failed = evaluate("{{ q }}{% for i in range(99999) %}{{ 'x' * 20 }}{% endfor %}")
    assert failed[0].endswith(f"at most {MOST_CHARACTERS:,} are kept")


def test_a_template_that_loops_without_output_ends_and_is_not_tried_on_every_row(monkeypatch):
    monkeypatch.setattr(templates, "MOST_STEPS", 1_000)
    loop = "{% for a in range(999) %}{% for b in range(999) %}{% endfor %}{% endfor %}{{ q }}"
    failed = evaluate(loop)
    assert failed[0] == "the template of --prompt fails: it takes more than 1,000 steps: loop over less"
    many = [{"q": "x"}] * 500
    with pytest.raises(InputError, match=r"x\.jsonl: the template of --prompt fails in 3 rows: it takes more than 1,000 steps"):
        evaluate(loop, many)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["x", 2, True], "A. x\nB. 2\nC. true"),
        ({"A": "x", "B": "y"}, "A. x\nB. y"),
        ({"text": ["x", "y"], "label": ["1", "2"]}, "1. x\n2. y"),
        ([{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "A. x\nB. y"),
    ],
)
def test_options_of_lists_and_objects(value, text):
    assert options(value) == text


@pytest.mark.parametrize(
    ("value", "choices", "found"),
    [
        (1, ["x", "y"], "B"),
        ("1", ["x", "y"], "B"),
        (1, ["1", "2"], "B"),
        ("1", ["2", "1"], "B"),
        ("y", ["x", "y"], "B"),
        ("B", ["x", "y"], "B"),
        ("2", {"text": ["x", "y"], "label": ["1", "2"]}, "2"),
        ("something else", ["x", "y"], "something else"),
        (7, ["x", "y"], "7"),
        (0, None, "A"),
    ],
)
def test_letters_of_answers(value, choices, found):
    assert letter(value, choices) == found


def test_a_template_file_is_read_without_its_last_line_break(tmp_path):
    path = tmp_path / "t.j2"
    path.write_text("\ufeff{{ q }}\n\nSo?\n", encoding="utf-8")
    assert read_template(path) == "{{ q }}\n\nSo?"
    path.write_text("no column", encoding="utf-8")
    with pytest.raises(InputError, match=r"names no column: write {{ column }}"):
        read_template(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_template(tmp_path / "none.j2")
