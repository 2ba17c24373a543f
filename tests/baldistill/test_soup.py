"""Tests of soups: the sum of adapters is exact, and its weights are chosen on held-out rows that are no test rows."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baldistill.evaluation import evaluate
from baldistill.evaluation import soup as choosing
from baldistill.student import adapters, soup, students
from baldistill.training import train
from curate.errors import InputError, ModelError
from curate.manifest import Manifest
from tests.support import tiny_student


@pytest.fixture(scope="module")
def stages(manifest: Manifest, base: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters that learned otherwise, and have other ranks and scales."""
    folder = tmp_path_factory.mktemp("stages")
    options: list[dict[str, Any]] = [{"rank": 4, "alpha": 8, "seed": 1}, {"rank": 2, "alpha": 16, "seed": 2}]
    return [
        train.train(manifest, student=base, output=folder / str(n), **{**tiny_student.FAST, **each}).adapter
        for n, each in enumerate(options)
    ]


def merged(base: str, adapter: Path | None) -> dict[str, Any]:
    return dict(students.load(base, adapter=adapter, dtype="fp32").model.state_dict())


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.25, 0.75), (1.0, 0.0), (2.0, -1.0)])
def test_the_sum_of_adapters_is_exact(base: str, stages: list[Path], tmp_path: Path, weights: tuple[float, float]) -> None:
    import torch

    made = soup.combine(stages, weights, tmp_path / "soup")
    plain, mixed, parts = merged(base, None), merged(base, made), [merged(base, stage) for stage in stages]
    assert any(not torch.equal(mixed[name], plain[name]) for name in plain)
    for name in plain:
        expected = plain[name] + sum(w * (part[name] - plain[name]) for w, part in zip(weights, parts, strict=True))
        assert torch.allclose(mixed[name], expected, atol=2e-6), name


def test_a_soup_is_an_adapter_like_any_other_and_names_its_parts(stages: list[Path], tmp_path: Path) -> None:
    made = soup.combine(stages, [0.25, 0.75], tmp_path / "soup")
    record = adapters.record(made)
    assert [part["weight"] for part in record["parts"]] == [0.25, 0.75]
    assert [part["adapter"] for part in record["parts"]] == [adapters.fingerprint(stage) for stage in stages]
    assert record["student"] == adapters.record(stages[0])["student"]
    assert adapters.is_whole(made)
    assert str(tmp_path) not in (made / adapters.RECORD).read_text()
    assert json.loads((made / "adapter_config.json").read_text())["r"] == 6


def test_what_cannot_be_added_up_is_one_line(stages: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 adapters and 1 weights"):
        soup.combine(stages, [1.0], tmp_path / "soup")
    with pytest.raises(InputError, match="every weight is 0"):
        soup.combine(stages, [0, 0], tmp_path / "soup")
    config, tensors = adapters.read(stages[0])
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    adapters.write(foreign, {**config, "use_dora": True}, tensors)
    with pytest.raises(ModelError, match="'foreign' has use_dora: only plain LoRA adapters can be added up"):
        soup.combine([foreign, stages[1]], [1, 1], tmp_path / "soup")
    adapters.write(foreign, config, dict(list(tensors.items())[:2]))
    with pytest.raises(ModelError, match="on different layers"):
        soup.combine([foreign, stages[1]], [1, 1], tmp_path / "soup")
    (foreign / adapters.RECORD).write_text(json.dumps({"student": {"name": "other", "fingerprint": "x"}}))
    with pytest.raises(ModelError, match="trained on different students"):
        soup.combine([foreign, stages[1]], [1, 1], tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_mixtures_sum_to_one_and_hold_every_stage_alone(n: int) -> None:
    found = choosing.mixtures(n)
    assert len(found) == len(set(found)) <= 21
    assert all(sum(weights) == pytest.approx(1) and min(weights) >= 0 for weights in found)
    assert {tuple(float(i == stage) for i in range(n)) for stage in range(n)} <= set(found)


def test_the_best_on_validation_rows_is_taken_and_the_evenest_among_equals(
    manifest: Manifest, stages: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(manifest: Manifest, **options: Any) -> Any:
        weights = {part["adapter"]: part["weight"] for part in adapters.record(options["adapter"])["parts"]}
        first = weights.get(adapters.fingerprint(stages[0]), 0.0)
        asked.append(options)
        return SimpleNamespace(macro=SimpleNamespace(value=min(first, 0.5)), micro=SimpleNamespace(value=first))

    monkeypatch.setattr(evaluate, "evaluate", answer)
    found = choosing.make_soup(manifest, stages, tmp_path / "soup", student="base", split="validation")
    assert found.weights == (0.5, 0.5)
    assert all(better["macro"] >= worse["macro"] for better, worse in pairwise(found.tried))
    assert {options["split"] for options in asked} == {"validation"}
    assert choosing.make_soup(manifest, stages, tmp_path / "other", aim="micro").weights == (1.0, 0.0)


def test_weights_are_never_chosen_on_test_rows(manifest: Manifest, stages: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never chosen on test rows"):
        choosing.make_soup(manifest, stages, tmp_path / "soup", split="test")
    with pytest.raises(InputError, match="at least two stages"):
        choosing.make_soup(manifest, stages[:1], tmp_path / "soup")
    with pytest.raises(InputError, match="aim 'tail'"):
        choosing.make_soup(manifest, stages, tmp_path / "soup", aim="tail")
