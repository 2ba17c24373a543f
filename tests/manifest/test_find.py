"""A row is found by the beginning of its id, or the error says what to type."""

from pathlib import Path

import pytest

from curate.errors import InputError, ManifestNotFoundError
from curate.manifest.find import find_id
from tests.support.samples import ingested


def test_a_beginning_is_enough_and_every_error_has_the_next_step(tmp_path: Path) -> None:
    ids = [f"7c1e{i}" + "0" * 27 for i in range(7)]
    start = ingested(tmp_path, [{"prompt": str(i), "id": row_id} for i, row_id in enumerate(ids)])
    assert find_id(start, " 7C1E3…", example="") == ids[3]
    assert find_id(start, ids[0], example="") == ids[0]
    with pytest.raises(InputError, match=r"begins the ids of several rows of tail@0: .*; give more digits"):
        find_id(start, "7c1e", example="")
    with pytest.raises(InputError, match=r"row 'q': give the id, .* as in: curate do tail 7c1e"):
        find_id(start, "q", example="curate do tail 7c1e")
    with pytest.raises(ManifestNotFoundError, match=r"no row whose id begins with '8'; curate show tail shows rows"):
        find_id(start, "8", example="")
