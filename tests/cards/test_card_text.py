"""Tests of the text of curate.cards.card: what a card says of what happened, short, and with nothing of data as markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from curate.cards import card as cards
from curate.cards.card import card, text_of
from curate.cards.facts import read_facts
from curate.cards.licences import read_licences
from curate.cards.merging import assemble
from curate.cards.metadata import header_of, read_header
from curate.manifest.manifest import Manifest

ROOT = Path(__file__).parents[2]


def test_a_stage_that_a_cap_cut_short_is_in_the_first_lines(ingest, balance) -> None:
    text = card(balance(ingest("a.jsonl", "x", "x"), complete=False, slots=5)).text
    assert re.search(r"# m\n\n> \*\*Not complete.\*\* A cap cut stage 0 short, at 2 of 5 slots.", text)
    assert "| 0 | cut short |" in text


def test_empty_slots_and_stages_that_are_missing_are_told(ingest, balance) -> None:
    text = card(balance(ingest("a.jsonl", "x", "x"), slots=3, stages=3)).text
    assert "Stage 0 ended with 1 empty slot of 3. Of 3 stages, 1, 2 are not done." in text


def test_a_whole_set_has_no_such_line(ingest, balance) -> None:
    assert "Not complete" not in card(balance(ingest("a.jsonl", "x", "x"))).text


def test_held_out_rows_are_told_in_or_out(ingest, balance) -> None:
    handle = ingest("a.jsonl", "x", "x")
    handle = ingest("t.jsonl", "x", split="test")
    assert "1 test row with their answers" in card(handle).text
    out = card(handle, held_out=False).text
    assert "kept back, questions and answers: 1 test row" in out
    assert "split: test" not in out


def test_rows_that_an_audit_would_reject_and_left_there_are_told(ingest, balance) -> None:
    finding = {"auditor": "leakage", "decision": "reject", "score": 1.0}
    text = card(balance(ingest("a.jsonl", "x", "x"), findings=[finding])).text
    assert "**Rows that an auditor would reject are in it all the same**" in text
    assert "2 rows (leakage)" in text


def test_many_domains_are_folded_and_the_sums_stay(ingest, balance) -> None:
    text = card(balance(ingest("a.jsonl", *(f"d{n:02}" for n in range(40))))).text
    assert "| … 24 more … | 24 | 24 | 24 | 0 |" in text
    assert "| **total** | **40** | **40** | **40** | **0** |" in text
    assert "<details><summary>All 40 domains</summary>" in text
    assert text.count("| d20 |") == 1


def test_too_many_domains_are_in_a_file(ingest, balance, monkeypatch) -> None:
    monkeypatch.setattr(cards, "MOST_LISTED", 30)
    facts = read_facts(balance(ingest("a.jsonl", *(f"d{n:02}" for n in range(40)))))
    text = text_of(facts, listing="domains.md")
    assert "All 40 are in [domains.md](domains.md)." in text
    assert "| d20 |" not in text


def test_recorded_answers_are_used_and_others_billed(ingest, balance) -> None:
    from dataclasses import replace

    from curate.ledger.records import CostTotals
    from curate.report.costs import CostSummary

    facts = read_facts(balance(ingest("a.jsonl", "x"), teacher="recorded:t", model="recorded:t"))
    costs = CostSummary(
        by={"model": {"recorded:t": CostTotals(calls=3, tokens=1200, usd=0.0), "gpt": CostTotals(calls=2, usd=1.5)}}
    )
    text = text_of(replace(facts, costs=costs))
    assert "| recorded:t | used | 3 | 1,200 | nothing |" in text
    assert r"| gpt | billed | 2 | 0 | \$1.50 |" in text


def test_what_is_said_to_be_measured_is_what_the_documentation_says() -> None:
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `(?:number|choice|label|text)` \| [^|]+ \| (\d+) of (\d+) \([^|]+ \| (\d+) of (\d+) \|$", page, re.M)
    assert len(lines) == 4
    right, cases, now, all_now = (sum(map(int, column)) for column in zip(*lines, strict=True))
    accepted, wrong, left, _ = map(
        int,
        re.search(r"wrong ones accepted \| [^|]+ \| (\d+) of (\d+) \| (\d+) of (\d+) \|", page).groups(),  # type: ignore[union-attr]
    )
    assert (now, left) == (all_now, 0)
    said = cards.MEASURED["answer_mismatch"]
    assert [int(n) for n in re.findall(r"\d+", said)] == [cases, right, accepted, wrong, cases]


PIECES = [
    *("\r", "\n", "# ", "|", "<img src=x onerror=alert(1)>", "<b>", "[a](http://x.y)", "![", "`", "**", "_a_", "---", "\\"),
    *("<!-- /curate:summary -->", "-->", "```", "https://evil.example", "www.evil.example", "$$", "~~", "\x1b[2J", "\u202e"),
    *("> ", "* ", ": ", "!!python/x", "&a", "*a", "{", "%", "\u2028", "\x85", "---\n# h", "</details>"),
]
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=5).map("".join)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from curate.sources import ingest

    root = tmp_path_factory.mktemp("root")
    (root / "a.jsonl").write_text("".join(json.dumps({"prompt": f"{n}?", "answer": "a", "domain": "x"}) + "\n" for n in range(3)))
    handle = ingest.ingest([str(root / "a.jsonl")], to="m", root=root, licence="odd").manifest
    rows = handle.rows().with_columns(status=__import__("polars").lit("selected"))
    summary = {"budget": 3, "achieved": {"x": 3}, "synthetic": {}, "complete": True, "base": 0}
    parameters = {"stage": 0, "model": "m", "teacher": "t", "rationale_prompt": "p", "auditors": ["a"], "policy": "p"}
    return read_facts(handle.commit(rows, verb="balance", parameters=parameters, seed=1, summary=summary))


def shape(text: str) -> list[str]:
    """Return the kinds of all blocks of a rendered card, and of what is in them, texts aside."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    inside = [[child.type for child in token.children or () if child.type not in ("text", "text_special")] for token in tokens]
    return [f"{token.type} {kinds}" for token, kinds in zip(tokens, inside, strict=True)]


@given(text=HOSTILE)
def test_no_field_of_data_changes_the_structure_of_a_card(made, text: str) -> None:
    from dataclasses import replace

    def with_texts(name: str) -> Any:
        name = name if name.strip() else "x"
        return replace(
            made,
            domains=(replace(made.domains[0], domain=name),),
            sources=(replace(made.sources[0], address=name, licence=name, fingerprint=name, kind=name),),
            licences=read_licences([name]),
            teachers=(name,),
            package=name,
            prompts={"rationale": (name,)},
            auditors=(replace(made.auditors[0], auditor=name),),
            log=tuple(
                replace(
                    commit, parameters={**commit.parameters, "teacher": name, "policy": name, "sources": [name], "prompt": name}
                )
                for commit in made.log
            ),
        )

    def parts(facts: Any) -> dict[str, str]:
        return cards.body(facts, configs=[{"config_name": "a", "data_files": []}, {"config_name": "b", "data_files": []}])

    hostile, plain = parts(with_texts(text)), parts(with_texts("some unknown licence"))
    assert hostile.keys() == plain.keys()
    for name in plain:
        assert shape(hostile[name]) == shape(plain[name]), name
    fields = header_of(with_texts(text))
    whole = assemble(fields, hostile)
    assert (
        read_header(whole).values
        == fields
        == yaml.safe_load(whole.split("---\n")[1] if text.isascii() else yaml.safe_dump(fields))
    )
    assert not {"\x1b", "\u202e", "\u2028"} & set(whole)


def test_a_manifest_of_held_out_rows_alone_has_a_card(ingest) -> None:
    text = card(ingest("t.jsonl", "x", split="test")).text
    assert "No train row is selected, and 1 test row" in text
    assert "1 test row with their answers" in text


def test_a_local_path_is_nowhere_in_a_card(ingest, balance, tmp_path: Path) -> None:
    at = f"{tmp_path}/models/qwen"
    handle: Manifest = balance(ingest("a.jsonl", "x"), teacher=at, model=at, encoder=at)
    assert "qwen" in card(handle).text
    for text in (card(handle).text, card(handle, eu_summary=True).text):
        assert str(tmp_path) not in text
        assert tmp_path.name not in text
