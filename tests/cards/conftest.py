"""Manifests to make cards of: rows of given domains, and a stage of `balance` as its commit says it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.manifest.manifest import Manifest
from curate.sources import ingest as ingestion

FINDINGS = [
    {"auditor": "answer_mismatch", "decision": "reject", "score": 1.0, "attempt": 0},
    {"auditor": "malformed", "decision": "note", "score": 0.2},
]


@pytest.fixture
def ingest(tmp_path: Path) -> Callable[..., Manifest]:
    """Return a function that ingests a file of that name, with a row for each domain, into the manifest ``m``."""

    def from_rows(name: str, *domains: str, **options: Any) -> Manifest:
        path = tmp_path / name
        records = (
            {"prompt": f"What is said of number {n} in {name}?", "answer": "a", "domain": d} for n, d in enumerate(domains)
        )
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return ingestion.ingest([str(path)], to="m", root=tmp_path, **options).manifest

    return from_rows


@pytest.fixture
def balance() -> Callable[..., Manifest]:
    """Return a function that selects every row in a stage, as `balance` would have."""

    def select(manifest: Manifest, findings: list[dict[str, Any]] | None = None, **options: Any) -> Manifest:
        rows = manifest.rows().with_columns(
            status=pl.lit("selected"), stage=pl.lit(0), findings=pl.lit(json.dumps(FINDINGS if findings is None else findings))
        )
        parameters = {"stage": 0, "stages": 1, "budget": rows.height, "policy": "adaptive", "selector": "random", "model": None}
        slots = options.pop("slots", rows.height)
        summary = {"budget": slots, "achieved": {"x": rows.height}, "synthetic": {}, "complete": options.pop("complete", True)}
        auditors = ["malformed", "answer_mismatch"]
        return manifest.commit(
            rows,
            verb="balance",
            parameters=parameters | {"teacher": None, "auditors": auditors} | options,
            seed=7,
            summary=summary | {"base": manifest.version},
        )

    return select
