"""Tests of curate.cards.licences: what sources were ingested with, in the Hub's words; what does not go together is said."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curate.cards import licences
from curate.cards.licences import read_licences


@pytest.mark.parametrize(
    ("name", "identifiers"),
    [
        ("MIT", ["mit"]),
        ("apache-2.0", ["apache-2.0"]),
        ("GPL-3.0-or-later", ["gpl-3.0"]),
        ("LGPL-2.1-only", ["lgpl-2.1"]),
        ("ODC-By-1.0", ["odc-by"]),
        ("PDDL-1.0", ["pddl"]),
        ("openrail++", ["openrail++"]),
        ("llama3.1", ["llama3.1"]),
        ("GFDL-1.3-only", ["gfdl"]),
        ("MIT AND CC-BY-4.0", ["cc-by-4.0", "mit"]),
    ],
)
def test_identifiers_of_spdx_and_expressions_become_those_of_the_hub(name: str, identifiers: list[str]) -> None:
    assert read_licences([name]).metadata == {"license": identifiers}


@pytest.mark.parametrize(
    "name",
    ["for research only", "MIT License", "GPL-2.0-only WITH Classpath-exception-2.0", "MIT AND (", "LicenseRef-x", "x" * 999],
)
def test_a_name_that_nobody_knows_is_other_and_named(name: str) -> None:
    found = read_licences([name, "MIT"])
    assert found.metadata["license"] == "other"
    assert name in found.metadata["license_name"]
    assert found.unknown == (name,)


def test_nothing_is_stated_where_a_source_has_no_licence() -> None:
    assert read_licences(["MIT", None]).metadata == {}
    assert read_licences(["MIT", "  "]).missing == 1
    assert read_licences([]).metadata == {}


def test_several_are_listed_and_a_choice_is_told_apart() -> None:
    found = read_licences(["MIT", "MIT OR Apache-2.0", "MIT"])
    assert found.metadata == {"license": ["apache-2.0", "mit"]}
    assert found.choices == ("MIT OR Apache-2.0",)
    assert found.conflicts == ()


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["CC-BY-NC-4.0", "MIT"], ("cc-by-nc-4.0",)),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0"], ("cc-by-nc-4.0", "cc-by-sa-4.0")),
        (["GPL-3.0-only", "CC-BY-NC-4.0"], ("cc-by-nc-4.0", "gpl-3.0")),
        (["CC-BY-ND-4.0", "CC-BY-4.0"], ("cc-by-4.0", "cc-by-nd-4.0")),
        (["GPL-2.0-only", "Apache-2.0"], ("apache-2.0", "gpl-2.0")),
        (["CC-BY-SA-4.0", "ODbL-1.0"], ("cc-by-sa-4.0", "odbl")),
        (["MIT AND CC-BY-NC-SA-4.0"], ("cc-by-nc-sa-4.0",)),
    ],
)
def test_licences_that_do_not_go_together_are_pointed_out_with_a_page(names: list[str], pair: tuple[str, ...]) -> None:
    found = {conflict.licences: conflict for conflict in read_licences(names).conflicts}
    assert found[pair].page.startswith("https://")


@pytest.mark.parametrize("names", [["MIT", "Apache-2.0"], ["CC-BY-4.0", "MIT"], ["CC-BY-NC-4.0"], ["GPL-3.0-only", "Apache-2.0"]])
def test_licences_that_go_together_have_no_pair_in_the_table(names: list[str]) -> None:
    assert not [conflict for conflict in read_licences(names).conflicts if len(conflict.licences) == 2]


def test_what_is_said_has_a_page_each() -> None:
    told = [*licences._RULES, *licences._ALONE.values()]
    assert all(re.fullmatch(r"https://[\w./-]+", entry[-1]) for entry in told)


@given(st.lists(st.text() | st.none() | st.sampled_from(["MIT", "MIT OR ", "GPL-3.0-only WITH x", "(", "AND"]), max_size=3))
def test_any_text_is_read_and_can_be_written_as_yaml(names: list[str | None]) -> None:
    found = read_licences(names)
    assert yaml.safe_load(yaml.dump(found.metadata, allow_unicode=True)) == found.metadata
    assert ("license" in found.metadata) == (bool(names) and not found.missing)
