"""Tests of curate.cards.eu_summary: the template's sections in their order, what is known in them, and nothing beyond that."""

from __future__ import annotations

import re

from curate.cards.card import card
from curate.cards.eu_summary import TEMPLATE

SECTIONS = [
    "## 1. General information",
    "### 1.1. Provider identification",
    "### 1.2. Model identification",
    "### 1.3. Modalities, overall training data size and other characteristics",
    "## 2. List of data sources",
    "### 2.1. Publicly available datasets",
    "### 2.2. Private non-publicly available datasets obtained from third parties",
    "### 2.3. Data crawled and scraped from online sources",
    "### 2.4. User data",
    "### 2.5. Synthetic data",
    "### 2.6. Other sources of data",
    "## 3. Data processing aspects",
    "### 3.1. Respect of reservation of rights from text and data mining exception or limitation",
    "### 3.2. Removal of illegal content",
    "### 3.3. Other information (optional)",
]


def test_it_follows_the_sections_of_the_template_and_is_marked(ingest) -> None:
    text = card(ingest("a.jsonl", "x"), eu_summary=True).text
    assert [line for line in text.splitlines() if line.startswith("##")] == SECTIONS
    assert "no legal advice" in text.split("## 1.")[0]
    assert TEMPLATE in text
    assert text.count("Not known to this tool") >= 8


def test_it_says_what_is_known(ingest, balance) -> None:
    ingest("a.jsonl", "x", "y", licence="mit")
    handle = balance(ingest("s.jsonl", "y", source="synthetic"), teacher="openai", model="gpt-x")
    text = card(handle, eu_summary=True, language=["en"]).text
    for line in (
        "less than 1 billion tokens",
        "Linguistic characteristics: en (as given).",
        "| a.jsonl | mit | 2 |",
        "| s.jsonl | not stated | 1 |",
        "AI models used to generate it: gpt-x.",
        "2 real rows and 1 synthetic.",
    ):
        assert line in text
    assert re.search(r"files were read last in \d\d/\d{4}", text)


def test_names_of_data_are_shown_and_are_no_markup(ingest, balance) -> None:
    handle = balance(ingest("a|<b>.jsonl", "x", licence="[x](http://e.vil)\n# h"), teacher="t", model="<img src=x>")
    text = card(handle, eu_summary=True).text
    for raw in ("<b>", "<img", "](http://e.vil)", "\n# h"):
        assert raw not in text
