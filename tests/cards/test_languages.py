"""Tests of curate.cards.languages: found in a sample where a program is sure, not stated where it is not, taken where given."""

from __future__ import annotations

import polars as pl
import pytest

from curate.cards.languages import Languages, find_languages
from curate.errors import InputError

ENGLISH = "Which of these towns has the longest bridge over a river, and when was it built?"
GERMAN = "Welche dieser Städte hat die längste Brücke über einen Fluss, und wann wurde sie gebaut?"
CHINESE = "这些城市中哪一个有最长的跨河大桥，它是什么时候建成的？"


def texts(*lines: str) -> pl.DataFrame:
    return pl.DataFrame({"prompt": [f"{line} {n}" for n, line in enumerate(lines)], "answer": [None] * len(lines)})


@pytest.mark.parametrize(("line", "code"), [(ENGLISH, "en"), (GERMAN, "de"), (CHINESE, "zh")])
def test_a_language_is_found(line: str, code: str) -> None:
    found = find_languages(texts(*[line] * 20))
    assert (found.codes, found.given, found.looked_at) == ((code,), False, 20)


def test_several_come_with_their_shares_and_rare_ones_are_left_out() -> None:
    found = find_languages(texts(*[ENGLISH] * 60, *[GERMAN] * 38, *[CHINESE] * 2))
    assert found.codes == ("en", "de")
    assert dict(found.shares) == {"en": 0.6, "de": 0.38}


@pytest.mark.parametrize("lines", [["2 + 3?"] * 50, [ENGLISH] * 3, ["x = y; f(x, y) => z_1 | q * k // 2 && !r"] * 50, []])
def test_nothing_is_stated_where_a_program_is_not_sure(lines: list[str]) -> None:
    assert find_languages(texts(*lines)).codes == ()


def test_what_is_given_is_taken_and_nothing_looked_at() -> None:
    assert find_languages(texts(ENGLISH), given=["pt-BR", "code", "pt-BR"]) == Languages(("pt-BR", "code"), given=True)


@pytest.mark.parametrize("code", ["English", "", "e", "en us", "EN", "en\n- x"])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(InputError, match="--language"):
        find_languages(texts(ENGLISH), given=[code])


def test_controls_are_read_over() -> None:
    assert find_languages(texts(*[f"{ENGLISH} \x00\x1b[2J"] * 12)).codes == ("en",)
