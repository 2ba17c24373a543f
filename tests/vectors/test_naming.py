"""Groups are named by what tells them apart, in any script, with a name of their own each."""

from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.escapes import drawable
from curate.vectors.naming import TELLING, name_groups, telling_words

TEXTS = st.lists(st.tuples(st.integers(0, 3), st.text(max_size=40)), min_size=1, max_size=30)


def words(*groups: list[str]) -> list[tuple[str, ...]]:
    rows = [(number, text) for number, texts in enumerate(groups) for text in texts]
    told = telling_words(pl.Series([text for _, text in rows]), pl.Series([number for number, _ in rows]))
    assert list(told) == list(range(len(groups)))
    return list(told.values())


def test_what_every_group_says_names_none() -> None:
    weather = ["What is the rain like in the north?", "Is the rain the cause of the wind?", "the wind and the rain"]
    money = ["What is the bank like in the north?", "Is the bank the cause of the loan?", "the loan and the bank"]
    assert [found[:2] for found in words(weather, money)] == [("rain", "wind"), ("bank", "loan")]


def test_one_long_text_does_not_name_its_group() -> None:
    assert words(["rain rain", "rain", "noise " * 500], ["bank", "bank"])[0] == ("rain", "noise")


@pytest.mark.parametrize(
    ("mine", "others", "word"),
    [
        (["Погода дождь", "дождь идёт"], ["банк", "банк"], "дождь"),
        (["मौसम बारिश", "बारिश है"], ["बैंक है", "बैंक"], "बारिश"),
        (["天气怎么样", "今日天气好"], ["银行在哪里", "银行好"], "天气"),
        (["天気はどう", "天気がいい"], ["銀行はどこ", "銀行がいい"], "天気"),
        (["الطقس اليوم", "كيف الطقس"], ["البنك اليوم", "كيف البنك"], "الطقس"),
        (["ein Cafe\u0301", "Café da"], ["ein Haus", "Haus da"], "café"),
    ],
)
def test_words_of_any_script(mine: list[str], others: list[str], word: str) -> None:
    assert words(mine, others)[0][0] == word


def test_groups_without_words_have_none_and_are_numbered() -> None:
    told = words(["1 + 1", "2"], ["rain", "rain"])
    assert told == [(), ("rain",)]
    assert name_groups(dict(enumerate(told)), prefix="auto", taken={"rain"}) == ["auto-00", "rain-2"]


def test_a_name_grows_until_it_is_its_own() -> None:
    same = ("a", "b", "c", "d", "e")
    told = dict(enumerate([same, same, same, same]))
    assert name_groups(told, prefix="auto", taken=()) == ["a-b-c", "a-b-c-d", "a-b-c-d-e", "a-b-c-2"]


@given(TEXTS, st.randoms())
def test_names_are_unique_and_depend_on_the_rows_alone(rows: list[tuple[int, str]], random: object) -> None:
    def named(some: list[tuple[int, str]]) -> list[str]:
        told = telling_words(pl.Series([t for _, t in some], dtype=pl.String), pl.Series([g for g, _ in some]))
        assert all(len(of_it) <= TELLING for of_it in told.values())
        return name_groups(told, prefix="auto", taken={"auto"})

    names = named(rows)
    assert len(set(names)) == len(names) == len({group for group, _ in rows})
    assert all(unicodedata.is_normalized("NFC", name) and drawable(name) == name == name.strip() for name in names)
    assert named(sorted(rows, key=lambda _: random.random())) == names  # type: ignore[attr-defined]
