"""Held-out rows never in training: equal questions and near copies are found, refused by training, and said by evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from baldistill.evaluation import evaluate
from baldistill.student import overlap
from baldistill.training import sft, train
from curate import progress
from curate.audit import audit
from curate.errors import InputError, ModelError
from curate.manifest import Manifest
from tests.support import tiny_student

TRAIN = ["what is 1 + 2", "name the capital of France", "What  is 3 + 4", "who wrote Faust"]
TEST = ["what is 3 + 4", "name the capital city of France", "what is 1 + 9", "where is Rome"]
ALIKE = {"name the capital of France", "name the capital city of France"}  # as an encoder has them


def make(tmp_path: Path, *, test: list[str] = TEST) -> Manifest:
    rows = [{"prompt": text, "answer": "x", "domain": "d", "status": "selected"} for text in TRAIN]
    return tiny_student.manifest(
        tmp_path, [*rows, *({"prompt": text, "answer": "x", "domain": "d", "split": "test"} for text in test)]
    )


def clustered(manifest: Manifest) -> Manifest:
    return manifest.commit(manifest.rows(), verb="cluster")


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Vectors of a made-up encoder, and the texts that it was given."""
    given: list[str] = []

    def vectors_of(texts: list[str]) -> Any:
        given.extend(texts)
        directions = {text: i for i, text in enumerate(sorted({"" if text in ALIKE else text for text in texts}))}
        found = np.zeros((len(texts), 16), dtype=np.float32)
        for i, text in enumerate(texts):
            found[i, directions["" if text in ALIKE else text]] = 1.0
        return found

    build = audit.build_context
    monkeypatch.setattr(audit, "build_context", lambda *a, **k: replace(build(*a, **k), vectors=vectors_of))
    return given


def _find(manifest: Manifest) -> overlap.Overlap:
    rows = manifest.rows()
    return overlap.find(manifest, manifest.examples(rows.filter(split="train")), rows.filter(split="test"))


def _texts(manifest: Manifest, pairs: Any) -> set[tuple[str, str]]:
    prompts = dict(manifest.examples().select("id", "prompt").iter_rows())
    return {(prompts[row], prompts[other]) for row, other in pairs.items()}


def test_equal_questions_and_near_copies_are_found(tmp_path: Path, vectors: list[str]) -> None:
    manifest = clustered(make(tmp_path))
    found = _find(manifest)
    assert _texts(manifest, found.same) == {("What  is 3 + 4", "what is 3 + 4")}
    assert _texts(manifest, found.near) == {("name the capital of France", "name the capital city of France")}
    assert len(found) == 2
    assert "what is 1 + 2" not in vectors, "no held-out row has its numbers"


def test_without_clusters_no_encoder_is_needed(tmp_path: Path, vectors: list[str]) -> None:
    found = _find(make(tmp_path))
    assert (len(found.same), len(found.near), vectors) == (1, 0, [])


def test_an_encoder_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise ModelError("no such encoder")

    monkeypatch.setattr(audit, "build_context", gone)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        assert len(_find(clustered(make(tmp_path)))) == 1
    assert heard == ["near copies of held-out rows were not looked for: no such encoder"]


def test_training_refuses_held_out_rows_unless_it_is_told(
    tmp_path: Path, vectors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(tiny_student.make(tmp_path / "student"))
    manifest = clustered(make(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "fit", None)
        with pytest.raises(
            InputError, match=r"^2 of 4 rows to train on are held-out rows too: 1 the same question, 1 a near copy"
        ):
            train.train(manifest, student=base, **tiny_student.FAST)
        with pytest.raises(InputError, match=r"curate audit tiny --auditor leakage --apply, or give --allow-overlap$"):
            train.train(manifest, student=base, **tiny_student.FAST)
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        trained = train.train(manifest, student=base, **tiny_student.FAST, allow_overlap=True)
        assert trained.rows == 4
        found = evaluate.evaluate(manifest, student=base, adapter=trained.adapter, dtype="fp32", max_new_tokens=2)
    assert any(
        text.startswith("2 of 4 rows to train on are held-out rows too") and "--allow-overlap says" in text for text in heard
    )
    assert any(text.startswith("the student learned from 2 of the rows that it is asked") for text in heard)
    assert (found.overlap, found.to_dict()["overlap"]) == (2, 2)
    again = train.train(manifest, student=base, **tiny_student.FAST)
    assert again.adapter == trained.adapter, "what is made already is not made otherwise by the option"


def test_rejected_held_out_rows_and_empty_questions_do_not_count(tmp_path: Path) -> None:
    manifest = make(tmp_path, test=["what is 1 + 2", ""])
    rows = manifest.rows().with_columns(status=pl.when(split="test").then(pl.lit("rejected")).otherwise("status"))
    train_rows = manifest.examples(rows.filter(split="train"))
    overlap.refuse(manifest.commit(rows, verb="audit"), train_rows, allow=False)
    with pytest.raises(InputError, match="1 of 4 rows"):
        overlap.refuse(manifest, train_rows, allow=False)
