"""Tests of curate.cards.plans: the plan of a version is one that `baldistill run` takes, and says again what was done."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.runs import plan as plans
from curate.cards.plans import plan_of
from curate.manifest.manifest import Commit


def commit(version: int, verb: str, seed: int | None = None, **parameters: Any) -> Commit:
    return Commit(version, datetime.now(UTC), verb, parameters, seed, {}, "0.2.0")


def test_the_plan_of_a_manifest_is_one_that_a_run_takes(ingest, balance, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    handle = balance(ingest("a.jsonl", "x", "y", licence="mit", holdout=0.1, seed=3), teacher="recorded:a.jsonl:0123456789abcdef")
    text = plan_of("m", handle.log())
    plan = plans.parse(tomllib.loads(text))
    assert plan.parameters("ingest") == {"sources": ["a.jsonl"], "licence": "mit", "holdout": 0.1, "seed": 3}
    assert plan.parameters("balance")["teacher"] == "recorded:a.jsonl"
    assert plan.parameters("balance")["seed"] == 7


def test_every_key_of_the_plan_is_one_of_its_table() -> None:
    from curate.cards.plans import _TABLES

    assert not [(verb, key) for verb, keys in _TABLES.items() for key in keys if key not in plans.parameters_of(verb)]


def test_a_seed_of_nought_is_said_and_what_is_not_set_is_not() -> None:
    text = plan_of("m", [commit(0, "cluster", 0, encoder="e", n_clusters=None, prefix=None, domains=None)])
    assert tomllib.loads(text) == {"manifest": "m", "cluster": {"encoder": "e", "seed": 0}}


def test_what_a_plan_has_no_table_for_is_said_as_commands() -> None:
    log = [
        commit(0, "ingest", sources=["a.jsonl"]),
        commit(1, "ingest", sources=["b c.jsonl"], licence="mit", source="synthetic"),
        commit(2, "select", 1, n=5, domains=["x", "y"], selector="random"),
        commit(3, "audit", auditors=["malformed"], apply=True, thresholds={"malformed": 0.9}),
        commit(4, "a_verb_of_later", option=1),
    ]
    text = plan_of("m", log)
    assert tomllib.loads(text) == {"manifest": "m", "ingest": {"sources": ["a.jsonl"]}}
    assert text.splitlines()[-4:] == [
        "# v1: curate ingest 'b c.jsonl' --to m --source synthetic --licence mit",
        "# v2: curate select m --n 5 --domain x --domain y --selector random --seed 1",
        "# v3: curate audit m --auditor malformed --apply --threshold malformed=0.9",
        "# v4: curate a_verb_of_later m",
    ]


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("http://10.1.2.3:8000/v1", "https://your-server/v1"),
        ("http://[fd00::1]:8000/v1", "https://your-server/v1"),
        ("http://gpu7:8000/v1", "https://your-server/v1"),
        ("https://llm.acme.internal/v1", "https://your-server/v1"),
        ("http://[bad", "https://your-server/v1"),
        ("openai", "openai"),
        ("local", "http://127.0.0.1:8000/v1"),
        ("local:8001/v1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_the_address_of_a_server_that_is_not_everybodys_is_not_told(endpoint: str, told: str) -> None:
    assert tomllib.loads(plan_of("m", [commit(0, "balance", 0, teacher=endpoint)]))["balance"]["teacher"] == told


@given(st.text() | st.sampled_from(["```\n# x", "<!-- /curate:reproduce -->", '"""', "\\u003c", "\x7f\x00", "a' b"]))
def test_no_text_of_data_leaves_its_string(text: str) -> None:
    log = [commit(0, "ingest", sources=[text or "a"], prompt=text), commit(1, "annotate", teacher=text, model=text)]
    made = plan_of("m", log)
    assert not set("<>`~&") & set(made)
    found = tomllib.loads(made)
    assert found["ingest"]["sources"][0] == found["ingest"].get("prompt", found["ingest"]["sources"][0])
    assert len(made.splitlines()) == 7 + ("prompt" in found["ingest"])
