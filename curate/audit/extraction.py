"""Finds where a text states its final answer, kind by kind. Compares nothing; callers go through `curate.audit.answers`.

The cases that shaped these rules are in ``tests/audit/test_extraction.py``: replies of real teachers, which announce an answer
and then give several, list the options, break off, or quote the name that they decided against.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from curate.audit import mathematics

__all__ = ["bare", "choices", "is_stated", "label", "last_sentence", "letter", "number", "sentence", "words"]

_MARKER = re.compile(
    r"\banswers?(?:\s+(?:choice|option|here|to|for|of)\b[^.\n:]{0,60}?)?\s*(?:(?:\s(?:is|are|would\s+be|should\s+be|will\s+be)\b(?!\s+not\b))\s*:?|:)"
    r"|####|^\s*A:(?=\s)",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(\w+))")
_VALUE = re.compile(r"[\s:*\"'“]*(?:(?!a\s)[A-Za-z]\b|[$\\\d(\[+.-])")
_SENTENCE_END = re.compile(r"[.!?](?=[\"'”’)]*(?:\s|$))|\n")
_MATH_SPAN = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$\n]+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_UNWRAP = re.compile(r"\\?\$|\\[()\[\]]")
_ASIDE = re.compile(
    r",?\s+\(?(?:or\s+(?:simply|about|approx\w*|equivalently|roughly)|which|that\s+is|i\.e\.|approximately|where|since|because|when"
    r"|rounded)\b.*$",
    re.DOTALL | re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.])[-−+]?[$€£]?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?(?:\s*/\s*\d+)?%?")
_OPTION = re.compile(
    r"(?:(?<=\s)|^)(?:\(([A-Z])\)|([A-Z])[.):](?=\s))\s*(.*?)(?=\s+(?:\([A-Z]\)|[A-Z][.):]\s)|\n|$)", re.MULTILINE
)
_LETTER_IN_BRACKETS = re.compile(r"[(\[]\s*([A-Za-z])\s*[)\]]|\*\*\s*([A-Z])\s*\*\*")
_LETTER_ALONE = re.compile(r"^\W*([A-Za-z])(?:\s*[).:,;*]|\s*$|\s+(?:because|since|as|for|[-–—])\b)")
_CUE = re.compile(
    r"\b(?:topics?|labell?ed|labels?|categor(?:y|ies|i[sz]ed)|class(?:ed|es|ified|ification)?|intents?|answers?)\b", re.IGNORECASE
)
_LETTER_CUE = re.compile(r"\b(?:answer|option|choice|correct|choose|select)", re.IGNORECASE)
_QUOTES = "\"'“”‘’«»<>*`_"
_JOIN = re.compile(r"[\s\"'“”‘’*`]*(?:,|/|;|&|\bor\b|\band\b)[\s\"'“”‘’*`]*(?:and|or)?[\s\"'“”‘’*`]*")
_JOINED = re.compile(r"(?:,|/|;|&|\bor|\band)\s*$")
_ALONE_WORDS = 12  # a longer sentence argues; it is not an answer
_SHORT_WORDS = 5  # a class name, or an answer given instead of one, is no longer than this


@lru_cache(maxsize=4096)
def choices(prompt: str) -> Mapping[str, str]:
    """Return the options that a prompt offers, letter → text: ``(A) …``, ``A) …``, ``A. …`` or ``A: …``, from A on."""
    found: dict[str, str] = {}
    for match in _OPTION.finditer(prompt):
        letter = match.group(1) or match.group(2)
        if letter == string.ascii_uppercase[len(found) % 26]:
            found[letter] = match.group(3).strip().rstrip(".")
        elif letter == "A":  # an earlier "A." was part of the passage
            found = {"A": match.group(3).strip().rstrip(".")}
    return found if len(found) > 1 else {}


def _stated(text: str) -> str | None:
    """Return what follows the last statement of an answer; empty where the text breaks off there; None without one.

    A box counts before later words about it, such as "so our answer is correct".
    """
    boxes = list(_BOXED.finditer(text))
    markers = [m for m in _MARKER.finditer(text) if not boxes or (m.end() > boxes[-1].end() and _VALUE.match(text, m.end()))]
    if boxes and not markers:
        return boxes[-1].group(1) or _braced(text, boxes[-1].end())
    return text[markers[-1].end() :].strip().lstrip(":").strip() if markers else None


def _braced(text: str, start: int) -> str:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position].strip()
    return ""


def sentence(text: str) -> str | None:
    """Return the words that a text states as its answer, or a short text of one sentence itself; None where it is not clear."""
    stated = _stated(text)
    if stated is not None:
        return _first_sentence(stated, joined=True) or None
    alone = len(text.split()) <= _ALONE_WORDS and not _SENTENCE_END.search(text.rstrip(".!? "))
    return text if alone else None


def _first_sentence(text: str, *, joined: bool = False) -> str:
    """Return the text up to its first full stop or line end, without quotes around it."""
    end = _SENTENCE_END.search(text)
    sentence = (text[: end.start()] if end else text).strip()
    if joined and end and not re.match(r"\s|$", text[end.end() : end.end() + 1] or " "):
        sentence = text.strip()
    return sentence.strip(_QUOTES + " ").strip()


def number(text: str) -> str | None:
    """Return the number or expression that a text gives as its answer, as it is written; None where it is not clear."""
    stated = _stated(text)
    if stated is None:
        return _last_number(last_sentence(text))
    line = re.sub(r"\\text\s*\{\s*(or|and)\s*\}", r" \1 ", _line(stated))
    spans = list(_MATH_SPAN.finditer(line))
    if len(spans) == 1 and not re.search(r"[\d\[({=]", line[: spans[0].start()]):
        return _side(next(str(group) for group in spans[0].groups() if group))
    sentence = _side(_ASIDE.sub("", _first_sentence(_UNWRAP.sub("", line))))
    if not sentence:
        return None
    numbers = _NUMBER.findall(sentence)
    if mathematics.is_mathematical(sentence):
        return sentence
    if not numbers:
        return sentence if len(sentence.split()) <= _SHORT_WORDS else None
    return numbers[0] if len(set(numbers)) == 1 and "\\" not in sentence else sentence


def _line(text: str) -> str:
    """Return the first line; all of it where mathematics is set off on lines of its own."""
    return text if text.startswith(("$$", "\\[")) else text.split("\n", 1)[0]


def _side(expression: str) -> str:
    """Return what a chain such as ``3 + 4 = 7`` comes to; an equation in a variable stays whole."""
    parts = expression.split("=")
    if re.search(r",|;|\b(?:and|or)\b", expression):
        return expression.strip()
    return (
        parts[-1].strip() if len(parts) > 2 or (len(parts) == 2 and not re.search(r"[A-Za-z]", parts[0])) else expression.strip()
    )


def _last_number(sentence: str) -> str | None:
    spans = [next(g for g in match.groups() if g) for match in _MATH_SPAN.finditer(sentence)]
    if spans and not _NUMBER.search(sentence[sentence.rindex(spans[-1]) + len(spans[-1]) :]):
        return spans[-1].split("=")[-1].strip()
    if mathematics.is_mathematical(sentence):
        return sentence.split("=")[-1].strip()
    numbers = _NUMBER.findall(sentence)
    return numbers[-1] if numbers else None


def letter(text: str, prompt: str) -> str | None:
    """Return the letter of the option that a text gives as its answer; None where it is not clear."""
    stated = _stated(text)
    if stated is None:
        sentences = [s for s in _SENTENCE_END.split(text) if s.strip()]
        whole = len(sentences) == 1 and len(text) <= 200
        last = text if whole else sentences[-1] if sentences else ""
        if not whole and not _LETTER_CUE.search(last):
            return None
        found = {(a or b).upper() for a, b in _LETTER_IN_BRACKETS.findall(last)}
        named = {m.upper() for m in re.findall(r"\b(?:option|choice|answer)\s+([A-Z])\b", last)}
        one = found or named
        if len(one) == 1:
            return str(one.pop())
        return _letter_of(text, prompt) if whole and not one else None
    return _letter_of(_first_line(stated), prompt)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0].strip()


def _letter_of(stated: str, prompt: str) -> str | None:
    """Read an answer such as ``(B) Carousel``, ``B``, ``B. Carousel`` or ``Carousel``."""
    brackets = list(_LETTER_IN_BRACKETS.finditer(stated))
    if brackets:
        first, *rest = ((m.group(1) or m.group(2)).upper() for m in brackets)
        both = any(letter != first for letter in rest) and _JOINED.search(stated[brackets[0].end() : brackets[1].start()])
        return None if both else first
    if alone := _LETTER_ALONE.match(stated):
        return alone.group(1).upper()
    offered = choices(prompt)
    said = words(stated)
    matches = [letter for letter, option in offered.items() if words(option) and words(option) == said]
    if not matches:
        matches = [letter for letter, option in offered.items() if words(option) and _contains(said, words(option))]
        longest = max((len(words(offered[letter])) for letter in matches), default=0)
        matches = [letter for letter in matches if len(words(offered[letter])) == longest]
    return matches[0] if len(matches) == 1 else None


def _contains(words: list[str], part: list[str]) -> bool:
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))


@dataclass(frozen=True)
class _Names:
    """Class names, ready to be found."""

    whole: re.Pattern[str]  # as a whole word
    after_colon: re.Pattern[str]  # "the topic would be:gold", where the next sentence may follow without a space
    by_key: Mapping[str, str]

    def found(self, match: re.Match[str], group: int = 0) -> str:
        return self.by_key[_key(match.group(group))]


@lru_cache(maxsize=256)
def _names(labels: tuple[str, ...]) -> _Names:
    names = sorted((label for label in labels if label.strip()), key=len, reverse=True)  # the longest name wins
    spelt = "|".join(r"[\s_]+".join(map(re.escape, re.split(r"[\s_]+", name.strip()))) for name in names) or r"(?!)"
    whole = re.compile(rf"(?<![\w-])(?:{spelt})(?![\w]|-\w)", re.IGNORECASE)
    cue = rf"{_CUE.pattern}[^.:!?\n]{{0,160}}:[\s\"'“‘*-]*"
    after_colon = re.compile(rf"{cue}({spelt})(?=(?-i:[A-Z])|(?![\w-]))", re.IGNORECASE)
    return _Names(whole, after_colon, {_key(name): name for name in names})


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().casefold()


def label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the class name that a text gives as its answer, or the few words given instead of one; None where unclear."""
    names = _names(labels)
    stated = _stated(text)
    lines = text.split("\n") if stated is None else []
    alone = {_key(bare(line)) for line in (*lines[:1], *lines[-1:])} & set(names.by_key)
    if len(alone) == 1:
        return names.by_key[alone.pop()]
    if stated is not None:
        sentence = _first_sentence(stated)
        found = list(names.whole.finditer(sentence))
        if found:
            return _one_of(sentence, found, names)
        if len(sentence.split()) <= _SHORT_WORDS:
            return sentence or None  # an answer outside the list, or one that was cut off
    return _concluded(text, names)


def _one_of(sentence: str, found: list[re.Match[str]], names: _Names) -> str | None:
    """Return the one class name of a sentence, or the first where the others only explain it."""
    distinct = list(dict.fromkeys(map(names.found, found)))
    if len(distinct) == 1:
        return distinct[0]
    starts = not sentence[: found[0].start()].strip(_QUOTES + " :")
    joined = _JOIN.fullmatch(sentence[found[0].end() : found[1].start()])
    return distinct[0] if starts and not joined else None


def _concluded(text: str, names: _Names) -> str | None:
    """Return the class name that a text without "the answer is" comes to: quoted, after a colon, or in its last words on it."""
    sentences = [s for s in re.split(r"[.!?](?=[\"'”’)]*(?:\s|$|[A-Z][a-z]))|\n", text) if _CUE.search(s)]
    for sentence in reversed(sentences):
        named = _outside_lists(sentence, list(names.whole.finditer(sentence)))
        distinct = {names.found(match) for match in named if _is_quoted(sentence, match)}
        if not distinct and (stated := names.after_colon.search(sentence)):
            listed = re.match(r"[\"'”’]*\s*(?:,|/|or\b)", sentence[stated.end() :])
            distinct = set() if listed else {names.found(stated, 1)}
        if distinct:
            return distinct.pop() if len(distinct) == 1 else None
    for sentence in reversed(sentences):
        distinct = {names.found(match) for match in _outside_lists(sentence, list(names.whole.finditer(sentence)))}
        if len(distinct) == 1:
            return distinct.pop()
    return None


def _is_quoted(sentence: str, match: re.Match[str]) -> bool:
    before, after = sentence[: match.start()][-1:], sentence[match.end() :].lstrip(".,;:")[:1]
    return bool(before) and before in _QUOTES and (after in _QUOTES or not after)


def _outside_lists(sentence: str, found: list[re.Match[str]]) -> list[re.Match[str]]:
    """Drop class names that are part of a list of three or more: they name what was offered, not what was chosen."""
    runs: list[list[re.Match[str]]] = []
    for match in found:
        if runs and _JOIN.fullmatch(sentence[runs[-1][-1].end() : match.start()]):
            runs[-1].append(match)
        else:
            runs.append([match])
    return [match for run in runs if len(run) < 3 for match in run]


def last_sentence(text: str) -> str:
    """Return the last sentence of a text; empty where there is none."""
    return next((part.strip() for part in reversed(_SENTENCE_END.split(text)) if part.strip()), "")


def is_stated(text: str) -> bool:
    """Return whether a text says "the answer is" or the like, or puts its answer in a box."""
    return _stated(text) is not None


def bare(text: str) -> str:
    """Return a letter or class name without brackets, quotes and final punctuation around it."""
    return text.strip(_QUOTES + " ()[].,:;")


@lru_cache(maxsize=8192)
def words(text: str) -> list[str]:
    """Return the words of a text without case, articles and punctuation; minus signs and decimal points stay."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return [
        w for w in re.findall(r"(?:(?<![\w)])-)?\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)?|\d+", text) if w not in {"a", "an", "the"}
    ]
