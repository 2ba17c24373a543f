"""The rules of all languages: each is tried where one of its words stands, and finds what its pattern finds."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.answers import grammar, languages
from curate.answers.grammar import Rule, rule

RULES = {
    field.name: value
    for field in dataclasses.fields(grammar.Grammar)
    if isinstance(value := getattr(grammar.patterns(), field.name), Rule)
}
WORDS = [
    word
    for language in languages.known().values()
    for field in dataclasses.fields(language)
    if isinstance(words := getattr(language, field.name), tuple)
    for word in words
]
PARTS = [*WORDS, *"ABiaБबB", *"(),.:;-–\"'*\n", " ", "12", "-7", "it should be", "it is", "not", "wrong", "是", "が", "_x", "İ"]


@pytest.mark.parametrize("name", sorted(RULES))
@given(parts=st.lists(st.sampled_from(PARTS), max_size=12), joint=st.sampled_from([" ", "", "\n"]))
def test_a_rule_finds_what_its_pattern_finds(name: str, parts: list[str], joint: str) -> None:
    text = joint.join(parts)
    for written in (text, text.upper(), text.title()):
        found = [match.span() for match in RULES[name].finditer(written)]
        assert found == [match.span() for match in RULES[name].pattern.finditer(written)]


@given(st.text(alphabet="aAbB -_.1+", max_size=30))
@example("+1 a-b")
def test_names_of_any_signs_are_found(text: str) -> None:
    names = rule(r"(?:\ba\b|\+1|\bb1\b)", ("a", "+1", "b1"))
    assert [m.span() for m in names.finditer(text)] == [m.span() for m in names.pattern.finditer(text)]


def test_a_rule_replaces_what_it_finds() -> None:
    minus = grammar.patterns().minus
    assert minus.sub("-", "it is minus 7, not negative 8 or Minus 9") == "it is -7, not -8 or -9"
    assert minus.sub("-", "no sign") == "no sign"
    assert minus.search("no sign") is None
