"""Tests of adapter folders: whole or not at all, refused where they do not belong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baldistill import adapters
from curate.errors import ModelError
from curate.models import Weights

WEIGHTS = Weights("org/base", Path("base"), "xxh3:aaaa", "hub")


def _adapter(folder: Path, *, student: dict[str, str] | None = None, weights: bytes = b"w") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    if student:
        (folder / adapters.RECORD).write_text(json.dumps({"snapshot": "math@3", "student": student}))
    return folder


def test_fingerprint_changes_with_the_weights_alone(tmp_path: Path) -> None:
    one = _adapter(tmp_path / "one", student={"name": "a", "fingerprint": "f"})
    same, other = _adapter(tmp_path / "same"), _adapter(tmp_path / "other", weights=b"v")
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


def test_record_of_a_folder_without_one_is_empty(tmp_path: Path) -> None:
    assert adapters.record(tmp_path) == {}
