"""Tests of curate.sources.open: files are read by their kind."""

from __future__ import annotations

import gzip

import polars as pl
import pytest

from curate.errors import InputError
from curate.sources import open as opening


def read(folder, name, content, **options):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return opening.read(folder / name, name=name, **options)


def texts(table):
    return {name: column.texts().to_list() for name, column in table.columns.items()}


def test_every_kind_says_the_same(tmp_path):
    frame = pl.DataFrame({"a": ["x", "y"], "b": ["1", None]})
    said = {"a": ["x", "y"], "b": ["1", None]}
    for name, content in {
        "x.jsonl": '{"a":"x","b":1}\n{"a":"y"}\n',
        "x.ndjson": '{"a":"x","b":1}\n{"a":"y","b":null}\n',
        "x.json": '[{"a":"x","b":1},{"a":"y"}]',
        "x.csv": "a,b\nx,1\ny,\n",
        "X.TSV": "a\tb\nx\t1\ny\t\n",
    }.items():
        assert texts(read(tmp_path, name, content)) == said
        assert texts(read(tmp_path, name + ".gz", gzip.compress(content.encode()))) == said
        assert texts(read(tmp_path, "stream", content, kind="")) == said
    for name, write in {"x.parquet": frame.write_parquet, "x.arrow": frame.write_ipc, "x.feather": frame.write_ipc}.items():
        write(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert texts(read(tmp_path, name, content)) == said
        assert texts(read(tmp_path, name + ".gz", gzip.compress(content))) == said
        assert texts(read(tmp_path, "stream", content, kind="")) == said


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", "hello", r"cannot tell its kind.*\.jsonl"),
        ("noname", "hello", "cannot tell its kind"),
        ("x.jsonl", b"PAR1xxxx", r"is a Parquet file by its first bytes: name it \.parquet"),
        ("x.parquet", "junk", "cannot be read as Parquet"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        read(tmp_path, name, content)


def test_names_of_kinds_that_are_read():
    names = ["x.jsonl", "a/X.CSV", "x.json.xz", "x.zip", "x.parquet.gz", "x.txt", "x.gz", "csv"]
    assert [name for name in names if opening.is_readable(name)] == names[:5]
