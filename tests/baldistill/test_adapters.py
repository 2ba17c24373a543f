"""Tests of adapter folders: whole or not at all, refused where they do not belong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baldistill.student import adapters
from curate import progress
from curate.errors import ModelError
from curate.models import Weights
from tests.support import tiny_student

WEIGHTS = Weights("org/base", Path("base"), "xxh3:aaaa", "hub")


def _adapter(folder: Path, *, student: dict[str, str] | None = None, weights: int = 0) -> Path:
    folder.mkdir()
    tiny_student.write_adapter(folder, weights)
    if student:
        (folder / adapters.RECORD).write_text(json.dumps({"snapshot": "math@3", "student": student}))
    return folder


def test_fingerprint_changes_with_the_weights_alone(tmp_path: Path) -> None:
    one = _adapter(tmp_path / "one", student={"name": "a", "fingerprint": "f"})
    same, other = _adapter(tmp_path / "same"), _adapter(tmp_path / "other", weights=1)
    assert adapters.fingerprint(one) == adapters.fingerprint(same) != adapters.fingerprint(other)
    assert len(adapters.fingerprint(one)) == 32


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"adapter 'empty' holds no adapter_config\.json; name the folder that baldistill train"):
        adapters.fingerprint(tmp_path / "empty")


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    ours = _adapter(tmp_path / "ours", student={"name": "org/base", "fingerprint": "xxh3:aaaa"})
    other = _adapter(tmp_path / "other", student={"name": "org/large", "fingerprint": "xxh3:bbbb"})
    adapters.check(ours, WEIGHTS)
    adapters.check(_adapter(tmp_path / "foreign"), WEIGHTS)  # made by others, who keep no record
    with pytest.raises(ModelError, match=r"'other' was trained on org/large \(xxh3:bbbb\), not on org/base"):
        adapters.check(other, WEIGHTS)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", adapters.RECORD])
@pytest.mark.parametrize("keep", [0, 1, -1])
def test_a_damaged_file_is_one_line_and_not_whole(tmp_path: Path, name: str, keep: int) -> None:
    ours = _adapter(tmp_path / "ours", student={"name": "org/base", "fingerprint": "xxh3:aaaa"})
    assert adapters.is_whole(ours)
    path = ours / name
    path.write_bytes(path.read_bytes()[:keep])
    assert not adapters.is_whole(ours)
    with pytest.raises(ModelError, match=rf"^adapter 'ours' is damaged: {name} cannot be read \([^\n]*\); train it again$"):
        adapters.check(ours, WEIGHTS)


def test_one_changed_byte_is_seen_where_there_is_a_record(tmp_path: Path) -> None:
    ours = _adapter(tmp_path / "ours")
    record = {"snapshot": "math@3", "student": {"name": "org/base", "fingerprint": "xxh3:aaaa"}}
    (ours / adapters.RECORD).write_text(json.dumps({**record, "adapter": adapters.fingerprint(ours)}))
    adapters.check(ours, WEIGHTS)
    tiny_student.write_adapter(ours, 1)
    with pytest.raises(ModelError, match=r"^adapter 'ours' is damaged: its files are not those that snapshot\.json is of"):
        adapters.check(ours, WEIGHTS)


def test_an_adapter_of_others_that_names_another_base_is_noted(tmp_path: Path) -> None:
    foreign = _adapter(tmp_path / "foreign")
    heard: list[str] = []
    for named in ("/models/base", "Org/Base", None, "org/other"):
        (foreign / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
        with progress.listen(lambda event: heard.append(event.message)):
            adapters.check(foreign, WEIGHTS)
    assert heard == [
        "adapter 'foreign' says that it was trained on org/other, not on org/base; it is used as long as its tensors fit"
    ]


def test_record_of_a_folder_without_one_is_empty(tmp_path: Path) -> None:
    assert adapters.record(tmp_path) == {}
