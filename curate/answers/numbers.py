"""Reads the number or expression that a text gives as its answer, as it is written; see `statements` for the steps."""

from __future__ import annotations

import re

from curate.answers import mathematics, texts
from curate.answers.grammar import UNSPACED, patterns
from curate.answers.statements import SHORT_WORDS, Statement, first_sentence, last_sentence, standing, statements, without_negated

__all__ = ["number"]

_MATH_SPAN = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$\n]+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_UNWRAP = re.compile(r"(?<!\\)\$(?!\s?\d[\d,.]*(?:[^$]*)$)|\\[()\[\]]")
_ASIDE = re.compile(
    r"(?:,\s?|\s)\(?(?:or\s(?:simply|about|approx\w*|equivalently|roughly)|which|that\sis|i\.e\.|approximately|where|since|because"
    r"|when|rounded)\b",
    re.IGNORECASE,
)
_EDGE = rf"(?<![^\W{UNSPACED}])(?<![.^])"  # no figure of a longer number or name; scripts without blanks may stand before it
_NUMBER = re.compile(
    r"(?:\b(?:negative|minus)\s)?"
    + _EDGE
    + r"(?<!\^\{)[-−+]?(?:US)?[$€£¥₹]?\s?(?:0[xXbB][0-9A-Fa-f]+|\d{1,2}(?:,\d{2})+,\d{3}|\d+_\{?\d+\}?)"
    r"|(?:\b(?:negative|minus)\s)?" + _EDGE + r"(?<!\^\{)[-−+]?(?:US)?[$€£¥₹]?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?(?:\s?/\s?\d+)?%?",
    re.IGNORECASE,
)
_ROOTS = re.compile(r"\b([A-Za-z])\s?=\s?-?[\d./]+(?:,?\s(?:or|and)\s\1\s?=\s?-?[\d./]+){1,8}(?=\W*$)")
_IT_IS = re.compile(r"\A(?:(?:so|thus|then|hence)\s)?(?:it|that|this)(?:'s|\sis)\s", re.IGNORECASE)
_FILLER = re.compile(r"(?:(?:the|a|all|just|exactly|really|by)\s){0,3}", re.IGNORECASE)  # between "not" and a number
_CONDITION = re.compile(r",?\s(?:when|if|where|since|because)\s", re.IGNORECASE)
_OPENING = re.compile(r"\s?[*_]{0,2}([-+]?[$€£¥₹]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)[*_]{0,2}(?:[.!]\s|\n)\s?(?=[^\W\d_])")
_STEP = re.compile(r"^\s?(?:\d{1,2}[.)]|[-*•])\s", re.MULTILINE)  # of a list
_TIME = re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?|\b\d{1,2}\s?[ap]\.?m\b\.?", re.IGNORECASE)
_CLAUSE = re.compile(
    r"(.{1,400}?)(?:[,;]\s(?!(?:and|or|und|oder|et|ou|y|o|e)\b)(?=[^\W\d_]{2,}\s)|[，；](?=[^\W\d_]))"
)  # an answer, then words about it


def number(text: str) -> str | None:
    """Return the number or expression that a text gives as its answer, as it is written; None where it is not clear."""
    reading = standing(statements(text), _number_in, _has_number)
    if reading.withdrawn >= 0 and reading.value is None:
        return _last_number(last_sentence(text[reading.withdrawn :]))
    if not reading.stated:
        return _opening_number(text) or _last_number(last_sentence(text))
    if reading.value is None and reading.denied:  # "The answer is not 64. Hence the count is 63."
        last = last_sentence(text)
        found = _last_number(last) if not any(last.find(denied) >= 0 for denied in reading.denied) else None
        return found if found not in reading.denied else None
    return reading.value


def _opening_number(text: str) -> str | None:
    """Read a first sentence that is a number and nothing else, before reasons: ``42. She had 50.``; no step of a list."""
    match = _OPENING.match(text)
    return match[1] if match and not _STEP.search(text, match.end()) else None


def _has_number(text: str) -> bool:
    return mathematics.is_mathematical(text) or bool(re.search(r"\d", text))


def _number_in(statement: Statement) -> str | None:
    if statement.rule in ("boxed", "field"):
        return statement.text.strip("[]") if statement.rule == "field" else statement.text or None
    line = patterns().minus.sub("-", _line(statement.text))
    if statement.comma:
        line = re.sub(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?=,\d{1,2}(?![\d,]))", lambda match: match.group().replace(".", ""), line)
        line = re.sub(r"(?<![\d,])(\d+),(\d{1,2}|\d{4,})(?![\d,])", r"\1.\2", line)
    line = re.sub(r"\\text\s?\{\s?(or|and)\s?\}", r" \1 ", line)
    if statement.rule == "corrected" and not re.match(r"[-+$\\(\[\"'*\s]{0,4}(?:\d|negative\b|minus\b|\\)", line):
        return None
    spans = list(_MATH_SPAN.finditer(line))
    if (
        len(spans) == 1
        and not re.search(r"[\d\[({=]", line[: spans[0].start()])
        and not re.search(r"\b(?:negative|minus)\s?$", line[: spans[0].start()])
    ):
        return _side(next(str(group) for group in spans[0].groups() if group))
    stated = first_sentence(_UNWRAP.sub("", line))
    aside = _ASIDE.search(stated)
    stated = _side(patterns().ending.sub("", stated[: aside.start()] if aside else stated))
    stated = without_negated(stated)
    if not stated:
        return None
    if mathematics.is_mathematical(stated):
        return stated
    stated = _affirmed(stated)
    if mathematics.is_mathematical(stated):
        return stated
    clause = _CLAUSE.match(stated)
    if clause and mathematics.is_mathematical(clause.group(1)):
        return clause.group(1)
    numbers = _NUMBER.findall(stated)
    if not numbers:
        return stated if len(stated.split()) <= SHORT_WORDS else None
    return numbers[0].strip() if len(set(numbers)) == 1 and "\\" not in stated else stated


def _affirmed(stated: str) -> str:
    """Return a statement up to its reason, where a figure stands before it."""
    reason = patterns().reason.search(stated)
    return stated[: reason.start()].strip(" ,;(，；") if reason and re.search(r"\d", stated[: reason.start()]) else stated


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
    sentence = _IT_IS.sub("", sentence)
    spans = [next(g for g in match.groups() if g) for match in _MATH_SPAN.finditer(sentence)]
    if spans and not _NUMBER.search(sentence[sentence.rindex(spans[-1]) + len(spans[-1]) :]):
        return spans[-1].split("=")[-1].strip()
    if mathematics.is_mathematical(sentence):
        return sentence.split("=")[-1].strip()
    sentence = patterns().minus.sub("-", sentence)
    if roots := _ROOTS.search(sentence):
        return roots.group()
    condition = _CONDITION.search(sentence)
    if condition and _NUMBER.search(sentence[: condition.start()]):
        sentence = sentence[: condition.start()]
    denied = {_FILLER.match(sentence, match.end()).end() for match in patterns().negated.finditer(sentence)}  # type: ignore[union-attr]
    numbers = [match for match in _NUMBER.finditer(sentence) if match.start() not in denied]
    times = list(_TIME.finditer(sentence))
    if not numbers:
        return None if denied or _NUMBER.search(sentence) else _number_in_words(sentence)
    if times and times[-1].end() >= numbers[-1].end():
        return times[-1].group().strip()
    rest = sentence[numbers[-1].start() :].strip(" .*_`\"'")
    measured = len(rest.split()) <= SHORT_WORDS and mathematics.quantity(rest) is not None
    return rest if measured else numbers[-1].group().strip()


def _number_in_words(sentence: str) -> str | None:
    """Return the one number that a sentence without figures names in words; None for several, and for a mere "one"."""
    found = texts.number_words(sentence)
    return found[0] if len(found) == 1 and found[0].casefold() != "one" else None
