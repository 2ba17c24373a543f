"""`curate export`: where it writes, which formats it takes, and what it refuses."""

from __future__ import annotations

import pytest

from curate.errors import InputError, UnknownNameError
from curate.export import export


def test_the_default_destination_is_beside_the_manifests(selected, tmp_path):
    done = export.export(selected)
    assert done.paths[0] == tmp_path / "exports" / "m-v1-parquet" / "train.parquet"


def test_a_callable_is_a_format(selected, tmp_path):
    def count(found, destination):
        path = destination / "count.txt"
        path.write_text(str(found.splits["train"].height))
        return (path,)

    assert export.export(selected, to=count, destination=tmp_path / "x").paths[0].read_text() == "2"


def test_unknown_formats_and_places_that_cannot_be_written(selected, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown export format 'parket'; did you mean 'parquet'"):
        export.export(selected, to="parket")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"export of m@1: .*cannot be written"):
        export.export(selected, destination=tmp_path / "file")
