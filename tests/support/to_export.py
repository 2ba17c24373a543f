"""A manifest to export: three splits, and train rows of which two are selected."""

import json
from pathlib import Path

import polars as pl
import pytest

from curate.manifest.manifest import Manifest
from curate.sources import ingest

ROWS = [
    {"prompt": "2+3?", "answer": "5", "rationale": "Two and three make 5.", "domain": "sums", "level": 1},
    {"prompt": "Größe?\n\\frac", "answer": "B", "domain": "law"},
    {"prompt": "left out?", "answer": "7", "domain": "sums"},
    {"prompt": "seen later?", "answer": "8", "domain": "sums", "split": "val"},
    {"prompt": "held back?", "answer": "9", "domain": "law", "split": "test"},
]


@pytest.fixture
def candidates(tmp_path: Path) -> Manifest:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return ingest.ingest([str(path)], to="m", root=tmp_path, licence="mit").manifest


@pytest.fixture
def selected(candidates: Manifest) -> Manifest:
    rows = candidates.rows().with_columns(
        status=pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("selected")).otherwise("status"),
        stage=pl.when(pl.int_range(pl.len()) < 2).then(0),
    )
    return candidates.commit(rows, verb="balance")
