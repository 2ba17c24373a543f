"""Tests of curate.cards.card: the card says what the log says, names no licence that nobody stated, and no local path."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curate.cards.card import card
from curate.cards.markup import escape
from curate.errors import ManifestError
from curate.manifest import delta
from curate.manifest.manifest import Manifest
from curate.sources import ingest as ingestion

FINDINGS = json.dumps(
    [
        {"auditor": "answer_mismatch", "decision": "reject", "score": 1.0},
        {"auditor": "malformed", "decision": "note", "score": 0.2},
    ]
)


@pytest.fixture
def ingest(tmp_path):
    def from_rows(name, *domains, **options) -> Manifest:
        path = tmp_path / name
        path.write_text(
            "".join(json.dumps({"prompt": f"{name} {n}", "answer": "a", "domain": d}) + "\n" for n, d in enumerate(domains))
        )
        return ingestion.ingest([str(path)], to="m", root=tmp_path, **options).manifest

    return from_rows


def balanced(manifest: Manifest) -> Manifest:
    rows = manifest.rows().with_columns(status=pl.lit("selected"), findings=pl.lit(FINDINGS))
    parameters = {
        "stage": 0,
        "budget": 4,
        "policy": "adaptive",
        "teacher": "recorded:teacher.jsonl",
        "model": None,
        "selector": "random",
    }
    summary = {"budget": rows.height, "achieved": {"x": rows.height}, "synthetic": {}, "complete": True}
    return manifest.commit(rows, verb="balance", parameters=parameters, seed=7, summary=summary | {"base": manifest.version})


def header(text: str) -> dict[str, object]:
    return yaml.safe_load(text.split("---\n")[1])


def test_a_licence_is_named_only_where_every_source_has_one(ingest):
    first = ingest("a.jsonl", "x", licence="MIT")
    assert header(card(first).text)["license"] == ["mit"]
    second = ingest("b.jsonl", "x")
    assert "license" not in header(card(second).text)
    assert "not stated" in card(second).text
    third = ingest("b.jsonl", "x", licence="for research only")
    assert header(card(third).text)["license"] == "other"
    assert header(card(third).text)["license_name"] == "MIT and for research only"


def test_the_header_names_splits_and_size(ingest):
    ingest("a.jsonl", "x", "x")
    found = header(card(ingest("t.jsonl", "x", split="test")).text)
    assert found["configs"][0]["data_files"] == [{"split": "test", "path": "data/test-*.parquet"}]
    assert found["size_categories"] == ["n<1K"]


def test_the_card_tells_domains_sources_balancing_and_audit(ingest, tmp_path):
    ingest("a.jsonl", "x", "x", "x", "y|z", licence="mit")
    text = card(balanced(ingest("s.jsonl", "y|z", source="synthetic", licence="mit"))).text
    assert "| x | 3 | 3 | 3 | 0 |" in text
    assert "| y\\|z | 1 | 2 | 1 | 1 |" in text
    assert re.search(r"\| a.jsonl \| real \| mit \| sha256:[0-9a-f]{16} \| 4 \|", text)
    assert re.search(r"\| s.jsonl \| synthetic \| mit \| sha256:[0-9a-f]{16} \| 1 \|", text)
    assert "By `curate balance`: budget 4, policy adaptive, selector random, seed 7." in text
    assert 'teacher = "recorded:teacher.jsonl"' in text
    assert "| answer_mismatch | 0.5 | 5 | 0 |" in text
    assert "| malformed | 0.5 | 0 | 5 |" in text
    assert str(tmp_path) not in text


def test_what_did_not_happen_is_not_told(ingest):
    text = card(ingest("a.jsonl", "x")).text
    for heading in ("## How rows were chosen", "## What a teacher wrote"):
        assert heading not in text
    assert "No auditor judged these rows." in text


def test_no_licence_is_stated_where_the_log_does_not_reach_back(ingest) -> None:
    ingest("secret.jsonl", "a")
    handle = balanced(ingest("free.jsonl", "a", "b", licence="mit"))
    assert "license" not in card(handle).text
    delta.open_table(f"{handle.location}/manifest", None).create_checkpoint()
    log = Path(handle.location) / "manifest" / "_delta_log"
    for version in (0, 1):
        (log / f"{version:020d}.json").rename(log / f"{version}.gone")
    assert re.search(r"secret.jsonl \|.* not stated", card(handle).text)  # from the copy of the log
    kept = Path(handle.location) / "commits.jsonl"
    kept.write_bytes(kept.read_bytes().partition(b"\n")[2])
    text = card(handle).text
    assert "license" not in text
    assert "What was done up to version 0 is not in the log any more" in text
    kept.unlink()
    (log / f"{2:020d}.json").unlink()
    with pytest.raises(ManifestError, match="export with --to jsonl"):
        card(handle)


# What would be structure in Markdown or HTML, and controls of terminals.
PIECES = (
    "\r",
    "\n",
    "# ",
    "|",
    "<img src=x onerror=alert(1)>",
    "<b>",
    "&lt;",
    "[a](http://x.y)",
    "![",
    "`",
    "**",
    "_a_",
    "---",
    "\\\\",
)
LINKS = (
    "https://evil.example",
    "www.evil.example",
    "x@evil.example",
    "mailto:x@y.zz",
    "$$",
    "~~",
    "\x1b[2J",
    "\u202e",
    "> ",
    "* ",
)
HOSTILE = st.lists(st.sampled_from([*PIECES, *LINKS]) | st.text(max_size=3), max_size=6).map("".join)


def shown(tokens) -> set[str]:
    """Return the kinds of everything that a rendered text consists of."""
    return {kind for token in tokens for kind in [token.type, *shown(token.children or ())]}


@given(HOSTILE)
def test_a_text_of_data_is_shown_and_is_no_structure(text) -> None:
    from markdown_it import MarkdownIt

    escaped = escape(text)
    assert not [c for c in escaped if c in "\r\n\x1b\u202e\u2028"]
    table = f"| a | b |\n| --- | --- |\n| {escaped} | end |"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(table)
    assert shown(tokens) <= shown(MarkdownIt("gfm-like", {"linkify": False}).parse("| a | b |\n| --- | --- |\n| x | end |")) | {
        "text_special"
    }
    cells = [token for token in tokens if token.type == "inline"]
    assert [cell.content for cell in cells[:2] + cells[-1:]] == ["a", "b", "end"]
    assert len(cells) == 4
    if text.isprintable():
        assert "".join(child.content for child in cells[2].children or ()) == " ".join(text.split())


def test_the_card_of_hostile_names_has_the_structure_of_any_card(ingest) -> None:
    from markdown_it import MarkdownIt

    names = ["x\r\r# Certified\r\r<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "a|b`c`", "[x](http://e.vil)"]
    text = card(balanced(ingest("r<b>.jsonl", *names, licence="mit\n---\n# h"))).text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"
    body = text.split("---\n", 2)[2]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert re.findall(r"<h1>.*?</h1>", page) == ["<h1>m</h1>"]
    for tag in ("<script", "<img", "<b>", "<a ", "<code>a", "onerror=alert(1)>"):
        assert tag not in page
