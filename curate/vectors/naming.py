"""Names groups of texts by their most telling words. Knows no language, no list of words and no vectors.

The measure is class-based TF-IDF (Grootendorst, BERTopic, 2022, arXiv 2203.05794, section 3.3): with s the share of a group's
texts that have a word, and Σ s over all groups, its weight there is s · log(1 + 1 / Σ s). A word counts once per text, so that
one long text does not name its group. In place of a list of stop words the weight is multiplied by the logarithm of the lift,
how many times as frequent a word is as in the average group: what every group says tells nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import count

import polars as pl

__all__ = ["TELLING", "name_groups", "telling_words"]

TELLING = 5  # words that are told of each group
_IN_NAME = 3
_LIFT = 1.5  # how many times as frequent as in the average group a word must be
_MOST_TEXTS = 2_000  # of each group, the first ones
_MOST_CHARS, _LONGEST = 2_000, 30  # that are read of a text; of a word

# Runs of letters and marks of any script; of Chinese and of kanji, which are written without spaces, pairs of characters.
_WORD = r"[\p{L}&&[^\p{Han}\p{Hiragana}]][\p{L}\p{M}\p{N}&&[^\p{Han}\p{Hiragana}]]+"
_PAIR, _FIRST = r"\p{Han}{2}", r"\p{Han}(\p{Han}*)"


def telling_words(texts: pl.Series, groups: pl.Series) -> dict[int, tuple[str, ...]]:
    """Return the most telling words of each group, best first, at most `TELLING`; ties go to the word that sorts first.

    Args:
        texts: in an order that does not depend on what is added to the others, such as that of ids.
        groups: (n,) the group of each text, from 0.

    Returns:
        Group → words, for every group; empty for one whose texts have no word that tells it from the others.
    """
    cut = pl.col("text").str.slice(0, _MOST_CHARS).str.replace(r"[\p{L}\p{M}\p{N}]+$", "")  # not in the middle of a word
    frame = pl.DataFrame({"group": groups, "text": texts}).with_row_index("text_number")
    frame = frame.with_columns(text=pl.when(pl.col("text").str.len_chars() > _MOST_CHARS).then(cut).otherwise("text"))
    read = frame.group_by("group", maintain_order=True).head(_MOST_TEXTS)
    sizes = read.group_by("group").agg(size=pl.len())
    low = read["text"].str.to_lowercase().str.normalize("NFC")
    words = (
        read.select("group", "text_number", word=_words(low)).explode("word", empty_as_null=True, keep_nulls=True).drop_nulls()
    )
    words = words.filter(pl.col("word").str.len_chars() <= _LONGEST).unique(["text_number", "word"])
    found = words.group_by("group", "word").agg(texts=pl.len()).join(sizes, on="group")
    found = found.sort("word", "group").with_columns(share=pl.col("texts") / pl.col("size"))  # sums are of one order
    total = pl.col("share").sum().over("word")
    weight = pl.col("share") * (1 + 1 / total).log()
    if sizes.height > 1:
        lift = pl.col("share") * sizes.height / total
        found, weight = found.filter(lift >= _LIFT), weight * lift.log()
    found = found.with_columns(weight=weight.round(9))
    ranked = found.sort(pl.min_horizontal("texts", 2), "weight", "word", descending=[True, True, False])
    best = ranked.group_by("group", maintain_order=True).agg(pl.col("word").head(TELLING))
    told = dict.fromkeys(sizes["group"].sort().to_list(), ()) | {group: tuple(mine) for group, mine in best.iter_rows()}
    return dict(sorted(told.items()))


def _words(texts: pl.Series) -> pl.Series:
    """Return the words of lower-case texts, a list per text."""
    of_letters = texts.str.extract_all(_WORD)
    if not texts.str.contains(r"\p{Han}").any():
        return of_letters
    pairs = texts.str.extract_all(_PAIR), texts.str.replace_all(_FIRST, " $1 ").str.extract_all(_PAIR)
    return pl.select(pl.concat_list(of_letters, *pairs)).to_series()


def name_groups(words: dict[int, tuple[str, ...]], *, prefix: str, taken: Collection[str]) -> list[str]:
    """Return a name for each group, each another one: its first three words, more where another group has these.

    Args:
        words: as `telling_words` returns them.
        prefix: of the numbered name of a group without words.
        taken: names that none may get.
    """
    used, names = set(taken), list[str]()
    width = max(2, len(str(len(words) - 1)))
    for number, (_, mine) in enumerate(sorted(words.items())):
        name = next(name for name in _candidates(mine, f"{prefix}-{number:0{width}d}") if name not in used)
        used.add(name)
        names.append(name)
    return names


def _candidates(words: tuple[str, ...], numbered: str) -> Iterable[str]:
    stem = "-".join(words[:_IN_NAME]) or numbered
    yield stem
    yield from ("-".join(words[:n]) for n in range(_IN_NAME + 1, len(words) + 1))
    yield from (f"{stem}-{number}" for number in count(2))
