"""Tests of curate.cards.merging: what a person wrote stays, ours is renewed, and what cannot be read overwrites nothing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curate import progress
from curate.cards.merging import assemble, is_ours, merge
from curate.cards.metadata import read_header
from curate.errors import InputError

FIELDS: dict[str, Any] = {
    "license": ["mit"],
    "tags": ["long-tail", "baldistill"],
    "pretty_name": "m",
    "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
}
OLD = assemble(FIELDS, {"summary": "# m\n\n3 rows", "audit": "## Audit\n\nnone", "limits": "## Limits"})
NEWER = FIELDS | {"license": ["apache-2.0"], "tags": ["long-tail", "baldistill", "synthetic"]}
NEW = assemble(NEWER, {"summary": "# m\n\n5 rows", "domains": "## Domains", "limits": "## Limits"})


@pytest.fixture
def notes() -> Any:
    said: list[str] = []
    with progress.listen(lambda event: said.append(event.message)):
        yield said


def header(card: str) -> dict[str, Any]:
    return read_header(card).values


def test_a_new_card_stands_where_there_was_none() -> None:
    assert merge("", NEW) == NEW
    assert merge(" \n", NEW) == NEW


def test_an_untouched_card_is_renewed_as_a_whole(notes: list[str]) -> None:
    merged = merge(OLD, NEW)
    assert header(merged) == header(NEW)
    assert "3 rows" not in merged
    assert "## Audit" not in merged
    places = [merged.index(text) for text in ("5 rows", "## Domains", "## Limits")]
    assert places == sorted(places)
    assert notes == []


def test_merging_is_idempotent() -> None:
    by_hand = OLD.replace("<!-- curate:audit -->", "My words.\n\n<!-- curate:audit -->").replace("- mit", "- mit # asked")
    for old in (OLD, by_hand, "# Theirs\n\ntext", "---\nlicense: mit\n---\ntext", f"{OLD}a last word"):
        once = merge(old, NEW)
        assert merge(once, NEW) == once
    assert merge(NEW, NEW) == NEW


def test_text_outside_the_marks_stays_where_it_is() -> None:
    old = OLD.replace("<!-- curate:summary -->", "Above.\n\n<!-- curate:summary -->")
    old = old.replace("<!-- curate:limits -->", "Between.\n\n<!-- curate:limits -->") + "\n## Contact\n\nMe."
    merged = merge(old, NEW)
    places = [merged.index(text) for text in ("Above.", "5 rows", "Between.", "## Limits", "## Contact\n\nMe.")]
    assert places == sorted(places)


def test_a_part_that_was_taken_out_stays_out_and_that_is_said(notes: list[str]) -> None:
    start, end = OLD.index("<!-- curate:summary -->"), OLD.index("<!-- /curate:summary -->") + len("<!-- /curate:summary -->")
    merged = merge(OLD[:start] + "# My own title" + OLD[end:], NEW)
    assert "5 rows" not in merged
    assert "# My own title" in merged
    assert notes == ["part 'summary' was taken out of the card by hand, and stays out"]
    assert "5 rows" not in merge(merged, NEW)


def test_what_was_changed_between_the_marks_is_written_anew_and_that_is_said(notes: list[str]) -> None:
    assert "5 rows" in merge(OLD.replace("3 rows", "three rows"), NEW)
    assert notes == [
        "part 'summary' of the card was changed by hand between its marks, and is written anew: write outside of them"
    ]


def test_fields_that_a_person_added_changed_or_took_out_stay_so_and_are_said(notes: list[str]) -> None:
    old = OLD.replace("- mit", "- cc-by-4.0").replace("pretty_name: m\n", "doi: 10.1/x  # mine\n")
    merged = merge(old, NEW)
    assert header(merged)["license"] == ["cc-by-4.0"]
    assert "doi: 10.1/x  # mine\n" in merged
    assert "pretty_name" not in header(merged)
    assert notes == [
        "license of the card stays ['cc-by-4.0'], as a person wrote it; generated: ['apache-2.0']",
        "doi of the card stays 10.1/x, as a person wrote it",
        "pretty_name of the card stays out, as a person wrote it; generated: m",
    ]


def test_a_licence_that_a_person_stated_is_not_taken_away() -> None:
    without = {key: value for key, value in FIELDS.items() if key != "license"}
    old = assemble(without, {"summary": "# m"}).replace("---\n", "---\nlicense: odbl\n", 1)
    assert header(merge(old, assemble(without, {"summary": "# m"})))["license"] == "odbl"


def test_of_a_list_each_item_is_a_persons_or_ours() -> None:
    old = OLD.replace("- long-tail\n", "- finance\n")
    assert header(merge(old, NEW))["tags"] == ["baldistill", "synthetic", "finance"]


def test_files_are_described_by_the_new_card_and_other_configs_stay() -> None:
    own = "configs:\n- config_name: mine\n  data_files: mine.csv\n- config_name: default\n  data_files: old.csv\n"
    start, end = OLD.index("configs:"), OLD.index("---\n", 10)
    merged = header(merge(OLD[:start] + own + OLD[end:], NEW))["configs"]
    assert [(config["config_name"], config["data_files"]) for config in merged] == [
        ("default", FIELDS["configs"][0]["data_files"]),
        ("mine", "mine.csv"),
    ]


def test_comments_of_the_header_stay() -> None:
    old = OLD.replace("---\n", "---\n# reviewed by M.\n", 1).replace("- mit\n", "- mit  # asked the authors\n# and then:\n")
    merged = merge(old, NEW)
    for comment in ("# reviewed by M.", "# asked the authors", "# and then:"):
        assert comment in merged.split("---\n")[1]


def test_a_card_that_was_never_ours_stays_whole_and_ours_follows() -> None:
    theirs = "---\nlicense: cc0-1.0\nextra: 1\n---\n\n# Theirs\n\nTheir words, without a last line end"
    assert not is_ours(theirs)
    merged = merge(theirs, NEW)
    assert is_ours(merged)
    assert header(merged)["license"] == "cc0-1.0"
    assert header(merged)["configs"] == FIELDS["configs"]
    body = merged.split("---\n", 2)[2]
    assert body.startswith("\n# Theirs\n\nTheir words, without a last line end\n\n<!-- curate:summary -->")


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("---\nlicense: [mit\n---\ntext", "no YAML, line 2: expected ',' or ']'"),
        ("---\na: b: c\n---\n", "no YAML, line 2: mapping values are not allowed here"),
        ("---\ndate: 2024-13-45\n---\n", "no YAML"),
        ("---\n- a list\n---\n", "no list of names and values"),
        ("---\n1: x\n---\n", "no list of names and values"),
        ("---\n!!python/object/apply:os.system ['true']\n---\n", "no YAML"),
        (OLD.replace("<!-- /curate:audit -->", ""), "a mark without its counterpart, <!-- curate:audit -->"),
        (OLD.replace("<!-- curate:audit -->", ""), "a mark without its counterpart, <!-- /curate:audit -->"),
        (OLD + OLD.split("---\n", 2)[2], "the part <!-- curate:summary --> twice"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_way_out(card: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        merge(card, NEW)
    message = str(caught.value)
    assert told in message
    assert "nothing was overwritten" in message
    assert "move that README.md away" in message
    assert "\n" not in message


WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=40) | st.sampled_from(
    ["---", "```toml\n", "<!-- mine -->", "<!-- curate:other -->", "a\n---\nb", "<!-- curate-generated {} -->x", "\n\n", "# T"]
)


@given(WORDS, WORDS, WORDS, WORDS)
def test_whatever_a_person_writes_outside_the_marks_survives(first: str, second: str, third: str, last: str) -> None:
    head, body = OLD.split("---\n\n", 1)
    parts = body.split("<!-- curate:audit -->")
    tail = parts[1].split("<!-- curate:limits -->")
    record = OLD[OLD.index("<!-- curate-generated") :]
    limits = tail[1].removesuffix(record)
    old = (
        f"{head}---\n\n{first}{parts[0]}{second}<!-- curate:audit -->{tail[0]}{third}<!-- curate:limits -->{limits}{record}{last}"
    )
    merged = merge(old, NEW)
    rest = read_header(merged).text
    for text in (first, second, third, last):
        assert text.replace("<!-- curate-generated {} -->x", "x") in rest.replace("<!-- curate-generated {} -->x", "x")
    assert merge(merged, NEW) == merged
    assert "5 rows" in merged


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=10).filter(lambda key: key not in FIELDS), VALUES, max_size=4), st.booleans())
def test_whatever_a_person_adds_to_the_header_survives(added: dict[str, Any], flow: bool) -> None:
    text = yaml.dump(FIELDS | added, sort_keys=False, default_flow_style=flow)
    old = f"---\n{text}---\n{OLD.split('---' + chr(10), 2)[2]}"
    merged = merge(old, NEW)
    found = header(merged)
    assert {key: found[key] for key in added} == yaml.safe_load(yaml.dump(added))
    assert found["license"] == ["apache-2.0"]
    assert merge(merged, NEW) == merged


@given(st.text() | st.sampled_from(["-->", "--!>", "<!-- /curate:summary -->", "\u2028--\x85>"]))
def test_no_text_of_data_ends_the_record(text: str) -> None:
    card = assemble(FIELDS | {"pretty_name": text}, {"summary": "# m"})
    comment = card[card.index("<!-- curate-generated") :]
    assert comment.count("-->") == 1
    assert "\n" not in comment.removesuffix("\n")
    assert merge(card, card) == card
