"""Fixtures of the training tests: a tiny base student, a manifest of sums, and the student trained on it, once for each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.training import train
from curate.manifest import Manifest
from tests.support import tiny_student


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_student.make(tmp_path_factory.mktemp("students") / "tiny"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def manifest(root: Path) -> Manifest:
    rows = tiny_student.sums(8, status="selected", rationale=True)
    others = [*tiny_student.sums(5, domain="other"), *tiny_student.sums(3, split="test")]
    return tiny_student.manifest(root, [*rows, *others])


@pytest.fixture(scope="module")
def trained(manifest: Manifest, base: str) -> train.TrainResult:
    return train.train(manifest, student=base, **tiny_student.FAST)
