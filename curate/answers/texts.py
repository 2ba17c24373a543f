"""Texts made comparable: what carries no meaning is folded away, and what does carry some is kept. Knows nothing of kinds.

`plain` is for reading (unseen letters, blanks, dashes, digits of other scripts), `fold` for comparing class names, `words` and
`signs` for free text: two texts are the same when their words *and* their other signs are (``C#`` is not ``C++``, ``AB+``
not ``AB-``), where punctuation, quotes, articles and the spelling of a date or a number word say nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["dates", "fold", "holds", "listed", "number_word", "number_words", "numbers", "plain", "same", "signs", "words"]

_UNSEEN = re.compile(r"[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufe00-\ufe0f]")
_JOINERS = {"\u200c", "\u200d"}  # they shape Persian and Indic words; dropped only where texts are compared
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d\u2043", "-"))
_HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011\ufe63\uff0d", "-"))
_QUOTES = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\uff07`\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u2033\uff02", '"'),
    }
)
_BLANKS = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_LINES = re.compile(r"\n\s*\n\s*")
_SUPER = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUB = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_RAISED = re.compile("[" + "".join(_SUPER) + "]+")
_LOWERED = re.compile("[" + "".join(_SUB) + "]+")
_STYLED = re.compile(  # mathematical bold letters, letters in circles, and full-width ones
    "[\U0001d400-\U0001d7ff\u249c-\u24e9\uff21-\uff3a\uff41-\uff5a\U0001f110-\U0001f149]+"
)
_SQUARED = {0x1F150 + at: 65 + at for at in range(26)} | {0x1F170 + at: 65 + at for at in range(26)}  # no folding knows them
_MINUS = re.compile(r"(?<![\w)] )(?<![\w)])[\u2013\u2212](?=\d)")
_DECIMALS = re.compile(r"(?![0-9])\d")  # of other scripts
_VULGAR = re.compile(r"(\d*)([¼½¾⅐-⅞])")

_EMPHASIS = re.compile(r"(\*\*|__|\*|(?<!\w)_|`)(?=\S)(.{1,400}?)(?<=\S)\1")
_MARKED = re.compile(r"[*_`]")
_LOW = re.compile(r"(?<=[^\W\d_)\]])_\{(\d{1,3})\}")  # H₂O is H2O
_ION = re.compile(r"(?<=[^\W_)\]])\^\{(\d?[+-])\}")
_HALVES = re.compile(r"(?<=\d)\s?([ap])\.?\s?m\b\.?")  # of a day
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"(?<![\w.])(?:(?<![)\w])-)?\d+(?:\.\d+)?")
_IGNORED = set(" \n.,;:!?\"'_…·、。，；：！？।؟،؛-/")  # between and around words these say nothing …
_BRACKETS = set("()[]{}")  # … and brackets only beside signs that do
_ARTICLES = {"a", "an", "the"}
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: at for at, word in enumerate(_ONES.split())} | {word: 10 * at for at, word in enumerate(_TENS.split(), 2)}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_RANKS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth twentieth"
)
_ORDINALS = {word: at for at, word in enumerate(_RANKS.split(), 1)}
_ORDINAL_WORDS = re.compile(rf"(?<![\w-])(?:{'|'.join(_ORDINALS)})(?![\w-])")
_INITIALS = re.compile(r"(?<![\w.])(?:[^\W\d_]\.\s?){1,5}[^\W\d_](?:\.|(?![\w']))")  # U.S. is US
_ABBREVIATED = {"saint": "st", "doctor": "dr", "mister": "mr", "versus": "vs", "percent": "%"}


def listed(names: str) -> frozenset[str]:
    """Return the words of a list that is written with blanks between them."""
    return frozenset(names.split())


@lru_cache(maxsize=8192)
def plain(text: str) -> str:
    """Return a text as it is read: no letters that nobody sees, one blank for many, digits of any script as 0 to 9.

    Accents are composed; superscripts become ``^{…}``, subscripts ``_{…}`` and vulgar fractions ``1/2``, which compatibility
    folding would turn into other numbers. Case, quotes and minus signs stay.
    """
    if text.isascii():
        return _folded_blanks(text)
    text = unicodedata.normalize("NFC", text)
    text = _UNSEEN.sub(lambda match: match.group() if match.group() in _JOINERS else "", text).translate(_HYPHENS)
    text = _RAISED.sub(lambda match: "^{" + "".join(_SUPER[sign] for sign in match.group()) + "}", text)
    text = _LOWERED.sub(lambda match: "_{" + "".join(_SUB[sign] for sign in match.group()) + "}", text)
    text = text.translate(_SQUARED)
    text = _VULGAR.sub(_fraction, _STYLED.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text))
    text = _MINUS.sub("-", text)
    text = _DECIMALS.sub(lambda match: str(unicodedata.digit(match.group())), text)
    return _folded_blanks(text)


def _folded_blanks(text: str) -> str:
    text = _BLANKS.sub(" ", text)
    return _LINES.sub("\n\n", text) if "\n" in text else text


def _fraction(match: re.Match[str]) -> str:
    written = unicodedata.normalize("NFKC", match.group(2)).replace("⁄", "/")
    return f"{match.group(1)} {written}" if match.group(1) else written


@lru_cache(maxsize=16384)
def fold(text: str) -> str:
    """Return a text for comparison: `plain`, composed, caseless, with one kind of quote and dash, without joiners."""
    if text.isascii():
        return " ".join(plain(text).replace("`", "'").casefold().split())
    text = unicodedata.normalize("NFKC", plain(text))
    text = "".join(sign for sign in text if sign not in _JOINERS).translate(_DASHES).translate(_QUOTES).casefold()
    return " ".join(unicodedata.normalize("NFC", text).replace("ё", "е").split())


@lru_cache(maxsize=8192)
def words(text: str) -> list[str]:
    """Return the words of a text without case, articles and punctuation; minus signs, decimal points and vowel signs stay."""
    found = _words(_unified(text))
    return [word for at, word in enumerate(found) if word not in _ARTICLES or at + 1 == len(found)]  # the last one is a letter


def _words(text: str) -> list[str]:
    return [_ABBREVIATED.get(word, word) for word in _word().findall(text)]


@lru_cache(maxsize=1)
def _word() -> Any:
    import regex  # takes 50 ms; `re` counts no vowel sign as a letter

    return regex.compile(r"(?:(?<![\w)])-)?\d+(?:\.\d+)?|[\p{L}\p{M}]+(?:'[\p{L}\p{M}]+)?|\d+")


@lru_cache(maxsize=8192)
def signs(text: str) -> str:
    """Return the signs of a text that are no words and no mere punctuation, in their order, such as ``++`` of ``C++``."""
    text = _unified(text)
    bare = text.strip().rstrip(".!?。")
    kept = [sign for at, sign in enumerate(bare) if not _says_nothing(bare, at)]
    if all(sign in _BRACKETS for sign in kept) and _words(text):
        return ""
    return "".join(kept)


def _says_nothing(text: str, at: int) -> bool:
    sign = text[at]
    if sign.isalnum() or unicodedata.category(sign)[0] == "M":
        return True
    if sign in "'\"" and text[at - 1 : at].isdigit() and text.count(sign, 0, at) % 2 == 0:
        return text.count(sign, at) > 1  # 5' is five feet, and closes no quotation
    if sign in "-/":  # between words, or a bullet; a minus, a grade's or a blood group's sign is meant
        before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
        return (before.isalnum() and after.isalnum()) or (not before.isalnum() and (after == " " or after.isdigit()))
    return sign in _IGNORED


def same(a: str, b: str) -> bool:
    """Return whether two free texts say the same: the same words in the same order, and the same signs."""
    if fold(a) == fold(b):
        return bool(fold(a))
    left, right = words(a), words(b)
    if not left or left != right or signs(a) != signs(b):
        return False
    return "[" not in a + b or _written(a) == _written(b)


def _written(text: str) -> str:
    """Return a text without blanks and quotes: within brackets every sign counts, as in ``x[1:]``."""
    return re.sub(r"[\s'\"]", "", fold(text)).strip(".")


def holds(text: str, part: str) -> bool:
    """Return whether a text says another as a whole: its words in one run, with no sign beside them that would change them."""
    wanted = re.sub(r"^(?:an?|the)\s(?=.)", "", _unified(part).strip(" .,;:!?。\"'"))
    if not wanted:
        return any(f"{quote}{part.strip()}{quote}" in text for quote in "\"'`")
    edges = [
        r"(?<![\w+#♭♯@$%^*=<>&-])" if _is_spaced(wanted[0]) else "",
        r"(?![\w+#♭♯%^*=<>&]|-(?!\w)|\.\d|'\w)" if _is_spaced(wanted[-1]) else "",
    ]
    whole = _unified(text)
    found = re.finditer(edges[0] + re.escape(wanted) + edges[1], whole)
    return any(unicodedata.category(whole[match.end() : match.end() + 1] or " ")[0] != "M" for match in found)


def _is_spaced(sign: str) -> bool:
    """Return whether a letter is of a script that writes blanks between words, without particles that cling to them."""
    return not re.match("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", sign)


def numbers(text: str) -> list[str]:
    """Return the numbers that a text names, number words included, in ascending order of their spelling."""
    return sorted(f"{float(number):.12g}" for number in _NUMBER.findall(_unified(text)))


@lru_cache(maxsize=8192)
def _unified(text: str) -> str:
    """Fold a text, and write every date, grouped number and number word in one way."""
    text = fold(text)
    if _MARKED.search(text):
        text = _EMPHASIS.sub(r"\2", _EMPHASIS.sub(r"\2", text))
    text = text.replace(" & ", " and ")
    if "{" in text:
        text = _ION.sub(r"\1", _LOW.sub(r"\1", text))
    if _DIGIT.search(text):
        text = _HALVES.sub(r" \1m", text)
        text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", _ORDINAL.sub("", _dated(text)))
        text = re.sub(r"(?<![\w.])(\d+)\.0+(?![\d.])", r"\1", text)
    text = _INITIALS.sub(lambda match: re.sub(r"[.\s]", "", match.group()) + " ", text)
    return _digits(_ORDINAL_WORDS.sub(lambda match: str(_ORDINALS[match.group()]), text))


def _digits(text: str) -> str:
    """Write English number words as digits; "one" alone stays, since it is a pronoun as well."""

    def written(match: re.Match[str]) -> str:
        value = number_word(match.group())
        return match.group() if value is None or match.group() == "one" else str(value)

    return _NUMBER_WORDS.sub(written, text)


_NUMBER_WORDS = re.compile(
    r"\b(?:{word})(?:(?:[\s-]|\sand\s)(?:{word}))*\b".format(word="|".join(sorted([*_SMALL, *_SCALES], key=len, reverse=True)))
)


def number_words(text: str) -> list[str]:
    """Return the numbers in English words that a text names, as they are written."""
    return [match.group() for match in _NUMBER_WORDS.finditer(text) if number_word(match.group()) is not None]


def number_word(text: str) -> int | None:
    """Return the value of a number in English words, such as ``twenty-three`` or ``two hundred and five``; None for others."""
    total, part = 0, None
    for at, word in enumerate(spelt := re.split(r"[\s-]+", text.strip().casefold())):
        if not at and word == "a" and spelt[1:2] and spelt[1] in _SCALES:
            continue  # a dozen
        if word == "and" and (total or part):
            continue
        if word in _SMALL:
            value = _SMALL[word]
            if part is not None and part % 100 and not (part % 100 >= 20 and part % 10 == 0 and value < 10):
                return None  # "two three" is two numbers
            part = (part or 0) + value
        elif word == "hundred":
            part = (part if part is not None else 1) * 100
        elif word in _SCALES:
            total, part = total + (part if part is not None else 1) * _SCALES[word], None
        else:
            return None
    return total + (part or 0) if total or part is not None else None


Date = tuple[int | None, int, int | None]  # year, month, day


def _table_version() -> int:
    from curate.answers import languages  # here, since only dates need the table

    return languages.version()


@lru_cache(maxsize=8)
def _months(_version: int) -> Mapping[str, int]:
    from curate.answers import languages

    return languages.months()


@lru_cache(maxsize=8)
def _date_patterns(_version: int) -> tuple[re.Pattern[str], ...]:
    name = "|".join(sorted(map(re.escape, _months(_version)), key=len, reverse=True))
    day, year = r"(?P<d>\d{1,2})(?:st|nd|rd|th|\.|er|º)?", r"(?P<y>\d{3,4})"
    return (
        re.compile(r"(?<!\d)(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?!\d)"),
        re.compile(r"(?P<y>\d{4})年(?P<m>\d{1,2})月(?P<d>\d{1,2})日"),
        re.compile(rf"\b(?P<m>{name})\.?\s+{day}(?!\d)(?:,?\s+{year}(?!\d))?"),
        re.compile(rf"(?<!\d){day}(?:\s+of|\s+de)?\s+(?P<m>{name})\b\.?(?:,?\s+(?:de\s+|del\s+)?{year}(?!\d))?"),
        re.compile(rf"\b(?P<m>{name})\.?,?\s+(?:of\s+|de\s+)?{year}(?!\d)"),
    )


def dates(text: str) -> list[Date]:
    """Return the dates that a text names: (year or None, month, day or None), where the month is plain from the spelling."""
    text, found = fold(text), []
    for pattern in _date_patterns(_table_version()):
        found += [_date(match) for match in pattern.finditer(text) if _real(match)]
        text = pattern.sub(lambda match: " # " if _real(match) else match.group(), text)  # a date has no other within it
    return found


def _date(match: re.Match[str]) -> Date:
    part = match.groupdict()
    month = part["m"] if part["m"].isdigit() else _months(_table_version())[part["m"]]
    return (int(part["y"]) if part.get("y") else None, int(month), int(part["d"]) if part.get("d") else None)


def _real(match: re.Match[str]) -> bool:
    year, month, day = _date(match)
    return 1 <= month <= 12 and (day is None or 1 <= day <= 31) and not (day is None and year is None)


def _dated(text: str) -> str:
    """Write every date of a folded text as numbers, year, month and day, so that one date has one spelling."""
    if not any(sign.isdigit() for sign in text):
        return text
    for pattern in _date_patterns(_table_version()):
        text = pattern.sub(
            lambda match: " ".join(map(str, (part for part in _date(match) if part))) if _real(match) else match.group(), text
        )
    return text
