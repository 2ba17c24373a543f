"""Tests of curate.cards.croissant: its own reader validates it and reads the rows; nothing of data leaves its string."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlcroissant
import polars as pl
import pytest

from curate.cards.croissant import CONFORMS_TO, croissant
from curate.cards.facts import read_facts
from curate.export.export import export

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its reader's own dependencies


@pytest.fixture
def folder(ingest, balance, tmp_path: Path) -> Path:
    ingest("a.jsonl", "x", "x", "y", licence="mit")
    ingest("v.jsonl", "x", split="test", licence="mit")
    handle = balance(ingest("s.jsonl", "y", source="synthetic", licence="mit"), teacher="openai", model="gpt-x")
    export(handle, to="datasets", destination=tmp_path / "out")
    return tmp_path / "out"


def described(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "croissant.json").read_text(encoding="utf-8")))


def test_the_projects_own_reader_finds_no_error_and_reads_the_rows(folder: Path) -> None:
    dataset = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    rows = [*dataset.records("default-train")]
    wanted = pl.read_parquet(folder / "data" / "**" / "train-*.parquet", missing_columns="insert")
    assert sorted(row["default-train/id"].decode() for row in rows) == sorted(wanted["id"])
    assert {name.removeprefix("default-train/") for name in rows[0]} == set(wanted.columns)


def test_it_says_how_synthetic_rows_were_made_in_the_words_of_responsible_ai(folder: Path) -> None:
    found = described(folder)
    assert found["conformsTo"] == list(CONFORMS_TO)
    assert found["license"] == ["mit"]
    assert "1 whole row of the train split" in found["rai:dataAnnotationProtocol"]
    assert found["rai:machineAnnotationTools"] == ["gpt-x"]
    assert "s.jsonl (synthetic, 1 row, licence mit)" in found["rai:dataCollection"]
    assert "Synthetic rows carry the biases" in found["rai:dataBiases"]
    assert found["rai:dataLimitations"]
    assert not [key for key, value in found.items() if value in (None, "", [])]


def test_of_real_rows_alone_no_annotation_is_told(ingest, tmp_path: Path) -> None:
    found = json.loads(croissant(read_facts(ingest("a.jsonl", "x")), [], tmp_path))
    assert "rai:dataAnnotationProtocol" not in found
    assert "license" not in found


def test_every_config_has_its_files_and_the_first_its_columns(ingest, balance, tmp_path: Path) -> None:
    facts = read_facts(balance(ingest("a.jsonl", "x")))
    pl.DataFrame({"id": ["a"], "n": [1], "messages": [[{"role": "user", "content": "x"}]], "labels": [["a"]]}).write_parquet(
        tmp_path / "a.parquet"
    )
    configs = [
        {"config_name": "default", "data_files": [{"split": "train", "path": ["a.parquet", "none/*.parquet"]}]},
        {"config_name": "real", "data_files": [{"split": "train", "path": "a.parquet"}]},
    ]
    path = tmp_path / "croissant.json"
    path.write_text(croissant(facts, configs, tmp_path))
    found = described(tmp_path)
    assert [each["@id"] for each in found["distribution"]] == ["default-train-files", "real-train-files"]
    fields = {field["name"]: field for field in found["recordSet"][0]["field"]}
    assert fields["n"]["dataType"] == "sc:Integer"
    assert [part["name"] for part in fields["messages"]["subField"]] == ["role", "content"]
    assert (fields["labels"]["dataType"], fields["labels"]["repeated"]) == ("sc:Text", True)
    assert not mlcroissant.Dataset(jsonld=path).metadata.ctx.issues.errors


HOSTILE = ["<script>", '"}], "@id": "x', "](http://e.vil)", "\u202e\x00", "{{x}}", "@type"]


def test_no_text_of_data_becomes_a_key_or_an_address(ingest, balance, tmp_path: Path) -> None:
    handle = balance(ingest("a.jsonl", *HOSTILE, licence='mit", "x": "'), teacher="t", model=HOSTILE[1])
    facts = read_facts(handle)
    found = json.loads(croissant(facts, [], tmp_path))
    plain = json.loads(
        croissant(read_facts(balance(ingest("b.jsonl", "x", licence="odd"), teacher="t", model="m")), [], tmp_path)
    )
    assert found.keys() == plain.keys()
    text = json.dumps(found["rai:dataLimitations"], ensure_ascii=False)
    assert "<script>" in text
    assert not {"\u202e", "\x00"} & set(text)
