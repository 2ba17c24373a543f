"""Reads the letter of the option that a text gives as its answer, and the options that a prompt offers; see `statements`."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from functools import lru_cache

from curate.answers.grammar import LETTERS, Grammar, patterns
from curate.answers.languages import ALPHABETS
from curate.answers.statements import (
    ALONE_WORDS,
    DRESS,
    HALF_CHARS,
    MOST_STATEMENTS,
    STATED_CHARS,
    Statement,
    corrections,
    first_sentence,
    split_sentences,
    standing,
    statements,
    without_negated,
)
from curate.answers.texts import fold, words

__all__ = ["choices", "letter"]

_LETTER_CUE = re.compile(r"\b(?:answer|option|choice|correct|choose|select)", re.IGNORECASE)
_LOOKALIKES = frozenset("АВСЕНКМОРТХΑΒΕΗΙΚΜΝΟΡΤΧΖ")


@lru_cache(maxsize=4096)
def choices(prompt: str) -> Mapping[str, str]:
    """Return the options that a prompt offers, letter → text: ``(A) …``, ``A) …``, ``A. …`` or ``A: …``, from A on.

    Letters of other alphabets, small letters and figures are options where they stand at the beginnings of lines, or in brackets.
    """
    found = _options(prompt, string.ascii_uppercase, _OPTION)
    if found:
        return found
    for alphabet in (*ALPHABETS[1:], "123456789"):
        if alphabet[0] in prompt and alphabet[1] in prompt and (found := _options(prompt, alphabet, _line_options(alphabet))):
            return found
    return {}


_OPTION = re.compile(
    r"(?:(?<=\s)|^)(?:\(([A-Z])\)|([A-Z])[.):](?=\s))\s*([^\n]*?)(?=\s(?:\([A-Z]\)|[A-Z][.):]\s)|\n|$)", re.MULTILINE
)


@lru_cache(maxsize=64)
def _line_options(alphabet: str) -> re.Pattern[str]:
    marks = re.escape(alphabet)
    one = rf"(?:[(（]([{marks}])[)）]|([{marks}])[.):：．）、])" if alphabet[0] not in "①" else rf"(?:([{marks}])|(?!))"
    after = r"\s?" if not alphabet.isascii() else r"(?=\s)\s?"
    empty = "()" if alphabet[0] == "①" else ""
    return re.compile(
        rf"(?:^\s{{0,3}}|(?<=\s)){one}{empty}{after}([^\n]*?)(?=\s(?:[(（]?[{marks}][.):：．）、]|[①-⑨])|\n|$)", re.MULTILINE
    )


def _options(prompt: str, alphabet: str, pattern: re.Pattern[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in pattern.finditer(prompt):
        mark = match.group(1) or match.group(2)
        if len(found) < len(alphabet) and mark == alphabet[len(found)]:
            found[mark] = match.group(3).strip().rstrip(".")
        elif mark == alphabet[0]:  # an earlier "A." was part of the passage
            found = {mark: match.group(3).strip().rstrip(".")}
    return found if len(found) > 1 else {}


def letter(text: str, prompt: str) -> str | None:
    """Return the letter of the option that a text gives as its answer; None where it is not clear."""
    grammar, offered = patterns(), choices(prompt)
    text = DRESS.sub(lambda match: match.group(1), text)
    found = [s for s in statements(text) if not (s.rule in ("announced", "denied") and _NAMED.match(text, s.start))]
    announced = any(s.holds and s.rule in ("boxed", "hashes", "field", "announced") for s in found)
    favoured = [s for s in _favoured(text, grammar, offered) if not (announced and s.holds)]
    if not found:
        found += corrections(text, min((s.start for s in favoured), default=0))
    found += favoured
    reading = standing(sorted(found, key=lambda s: s.start), lambda s: _letter_in(s, prompt), bool)
    if reading.value is not None:
        return reading.value
    if _several(_judged(text, grammar, offered)):
        return None
    left = [mark for mark in offered if mark not in reading.denied]
    if len(left) == 1 and len(offered) > 2:
        return left[0]  # the others are denied
    if not reading.stated or reading.denied or reading.withdrawn >= 0:
        rest = text[reading.withdrawn :] if reading.withdrawn >= 0 else text
        one = (None if reading.stated and not reading.denied else _opening_letter(text, prompt)) or _concluded_letter(
            rest, grammar, prompt
        )
        if one is None and not reading.stated:
            one = _only_letter(text, prompt, grammar)
        return one if one not in reading.denied else None
    return None


def _judged(text: str, grammar: Grammar, offered: Mapping[str, str]) -> list[re.Match[str]]:
    """Return the verdicts beside options: ``A: no. B: yes.``"""
    found = (match for match in grammar.judged.finditer(text) if match["letter"] in offered)
    return [match for match in found if _BEGINS.search(text[max(0, match.start() - 5) : match.start()])][-MOST_STATEMENTS:]


def _several(judged: list[re.Match[str]]) -> bool:
    return len({match["letter"] for match in judged if match["yes"]}) > 1


def _favoured(text: str, grammar: Grammar, offered: Mapping[str, str]) -> Iterator[Statement]:
    """Yield "B is correct" and "(A) is wrong", and "I choose B"."""
    for match in list(grammar.favoured.finditer(text))[-MOST_STATEMENTS:]:
        group = "letter" if match["letter"] else "figure"
        mark = match[group]
        bracketed = (
            text[match.start(group) - 1 : match.start(group)] in ("(", "[", "*", '"', "'") or text[match.end(group) :][:1] == ")"
        )
        if not (mark.isupper() or mark.isdigit() or not mark.isascii() or bracketed) or (
            offered and mark not in offered and mark.upper() not in offered
        ):
            continue
        wrong = bool(match["unfit"]) or (match["what"] or "").casefold() in ("wrong", "incorrect", "false", "falsch", "错")
        holds = wrong == bool(match["deny"])
        clause = re.split(r"[.!?;,\n]", text[max(0, match.start() - 120) : match.start()])[-1]
        if (wrong and match["deny"]) or (holds and grammar.reason.match(f"{clause.strip()} ")):
            continue
        yield Statement("favoured" if holds else "denied", f"({mark})", match.start(group), holds)
    judged = _judged(text, grammar, offered)
    several = _several(judged)
    for match in judged:
        holds = bool(match["yes"])
        if not (holds and several):
            yield Statement("favoured" if holds else "denied", f"({match['letter']})", match.start("letter"), holds)
    for match in list(grammar.chosen.finditer(text))[-MOST_STATEMENTS:]:
        rest = text[match.end() : match.end() + STATED_CHARS]
        if offered and rest[:1] in offered and not re.match(r"[AI]\s[a-z]", rest):
            rest = f"({rest[0]}){rest[1:]}"
        before = text[max(0, match.start() - 60) : match.start()]
        doubted = grammar.doubts.search(before) and grammar.doubted.search(before)
        yield Statement("denied" if doubted else "favoured", rest, match.start(), not doubted)


def _letter_in(statement: Statement, prompt: str) -> str | None:
    line = statement.text.strip().split("\n", 1)[0].strip()
    if _ASKED.match(line):
        return None
    if statement.rule == "denied" or statement.rule == "corrected":
        line = first_sentence(line)
        found = _letter_at_start(line, prompt)
        return found if found or statement.rule == "corrected" else _letter_of(line, prompt)
    return _letter_of(line, prompt)


def _as_offered(mark: str, prompt: str) -> str:
    """Return a letter in the case in which it is offered, else as a capital."""
    offered = choices(prompt)
    return mark if mark in offered or not mark.isascii() else mark.lower() if mark.lower() in offered else mark.upper()


def _letter_at_start(stated: str, prompt: str) -> str | None:
    """Read ``(B) Carousel``, ``B``, ``"B"``, ``option B`` or ``B. Carousel`` at the beginning; None for several."""
    grammar = patterns()
    match = grammar.bracketed.match(stated) or grammar.alone.match(stated)
    if not match:
        return _digit_at_start(stated, prompt)
    mark = next(group for group in match.groups() if group)
    if stated[match.end(match.lastindex or 1) :].lstrip(" )]*\"'")[:1] == "?":
        return None  # a question
    if (offered := choices(prompt)) and mark.isascii() and _as_offered(mark, prompt) not in offered:
        return None  # "I was …"
    end = match.end(match.lastindex or 1)
    if _is_joined(stated, end, mark, prompt):
        return None
    mark = _as_offered(mark, prompt)
    rest = words(first_sentence(stated[end:].lstrip(" )].:*-）】")))
    others = [other for other, option in offered.items() if rest and words(option) == rest]
    if others and mark not in others and mark in offered:
        return None  # the letter of one option, and the text of another
    return _placed(mark, rest, offered)


def _placed(mark: str, said: list[str], offered: Mapping[str, str]) -> str | None:
    """Return the offered letter that one of another alphabet stands for: by the option's text, or by its place in the alphabet.

    A letter that looks like a Latin one (Cyrillic В) has two places, and stands for none without the text.
    """
    if mark in offered or mark.isascii() or not offered or not all(letter.isascii() for letter in offered):
        return mark
    named = [letter for letter, option in offered.items() if words(option) and words(option) == said]
    place = next((alphabet.index(mark) for alphabet in ALPHABETS if mark in alphabet), len(offered))
    if named or mark.upper() in _LOOKALIKES or place >= len(offered):
        return named[0] if len(named) == 1 else None
    return list(offered)[place]


def _digit_at_start(stated: str, prompt: str) -> str | None:
    offered = choices(prompt)
    if "1" not in offered:
        return None
    match = re.match(rf"[\s\"'*`$(_]{{0,4}}(?:{patterns().option}\s)?[(\[]?(\d)(?![\d.]\d|\d)", stated, re.IGNORECASE)
    return match.group(1) if match and match.group(1) in offered else None


def _is_joined(stated: str, end: int, mark: str, prompt: str) -> bool:
    """Return whether another option's letter is joined to one: ``A, B``, ``(A) hive, (B) nest``, ``A or B``."""
    grammar = patterns()
    joined = grammar.joined.match(stated, end)
    article = joined and joined["letter"] in "aAI" and re.match(r"\s\w", stated[joined.end() : joined.end() + 2])
    if joined and joined["letter"].upper() != mark.upper() and not article:
        return True
    text = choices(prompt).get(_as_offered(mark, prompt), "")
    skipped = _after(stated, end, text) if text else None
    joined = grammar.joined.match(stated, skipped) if skipped else None
    return bool(joined and joined["letter"].upper() != mark.upper() and stated[joined.start("letter") - 1] in "([")


def _after(stated: str, start: int, text: str) -> int | None:
    """Return where an option's text ends that follows its letter, after a bracket or a stop; None where it does not follow."""
    marks = next((n for n, sign in enumerate(stated[start : start + 4]) if not (sign.isspace() or sign in ")].:*-")), 4)
    ends = (start + n + len(text) for n in range(marks, -1, -1))
    return next((end for end in ends if stated[end - len(text) : end].casefold() == text.casefold()), None)


_ASKED = re.compile(r"\(?[A-Z]\)?\?")
_BEGINS = re.compile(r"(?:\A|\n|[.;,!]\s)[(*]{0,3}\Z")  # a sentence, before the letter
_NAMED = re.compile(
    r"A:|[A-Za-z]{3,12}\s\(?[A-Z]\)?\s(?:is|was|would|must|seems|ist|est|es|é|adalah)\b"
)  # "answer C is …" is about the letter
_ALONE = re.compile(rf"[\s\"'“*`(\[]{{0,4}}([{LETTERS}])[\s)\].:,;!*\"'”`]{{0,4}}")
_CAPITAL = re.compile(
    r"(?<![\w'-])(?:(?!A\s(?!(?:and|or|nor|is|was|und|oder|et|ou|y|o|e|dan|atau)\b)[^\W\dA-Z_])([A-Z]))(?![\w'-])"
)
_ANY_BRACKET = re.compile(rf"[(\[]\s?([{LETTERS}])\s?[)\]]|\*\*\s?\(?([A-Z])\)?\s?\*\*")


def _letter_of(stated: str, prompt: str) -> str | None:
    """Read the letter that a statement names, at its beginning, in brackets within it, or by the option's text."""
    stated = without_negated(stated[:HALF_CHARS])
    offered = choices(prompt)
    said = words(first_sentence(stated))
    exact = [mark for mark, option in offered.items() if words(option) and words(option) == said]
    if len(exact) == 1 and len(said) > 1:
        return exact[0]
    if re.match(r"[\s*]{0,3}(?:either|neither|both|none|any)\b", stated, re.IGNORECASE):
        return None
    grammar = patterns()
    if grammar.bracketed.match(stated) or grammar.alone.match(stated) or "1" in offered:
        found = _letter_at_start(stated, prompt)
        if found or grammar.bracketed.match(stated) or grammar.alone.match(stated):
            return found
    brackets = list(_ANY_BRACKET.finditer(stated))
    if brackets:
        marks = [(m.group(1) or m.group(2)) for m in brackets]
        if _is_joined(stated, brackets[0].end(brackets[0].lastindex or 1), marks[0], prompt):
            return None
        between = stated[brackets[0].end() : brackets[1].start()] if len(brackets) > 1 else ""
        if any(mark.upper() != marks[0].upper() for mark in marks) and re.search(r"(?:,|/|;|&|\bor|\band)\s?$", between):
            return None
        return _as_offered(marks[0], prompt)
    matches = exact or [mark for mark, option in offered.items() if words(option) and _contains(said, words(option))]
    if not exact:
        longest = max((len(words(offered[mark])) for mark in matches), default=0)
        matches = [mark for mark in matches if len(words(offered[mark])) == longest]
    return matches[0] if len(matches) == 1 else None


def _opening_letter(text: str, prompt: str) -> str | None:
    """Read a first line, or a first sentence, that is a letter and nothing else, or an option as it is offered."""
    first = text.split("\n", 1)[0].strip()
    offered = choices(prompt)
    match = re.match(rf"[\s\"'“*`(\[]{{0,3}}([{LETTERS}\d])(?P<mark>[)\].:,;*\"'”`]{{0,3}})(?P<rest>.*)$", first)
    if not match:
        return None
    mark, rest = _as_offered(match.group(1), prompt), match["rest"].strip()
    if offered and mark not in offered:
        return None
    if match.group(1).isdigit() and not offered:
        return None
    if rest and (
        (not match["mark"] and not re.match(r"(?:[-–—]\s|because\b|since\b)", rest))
        or (
            match["mark"] in (",", ";")
            and not patterns().reason.match(rest)
            and not re.match(r"(?:because|since|as|for)\b", rest, re.IGNORECASE)
        )
    ):
        return None
    if rest and _is_joined(first, match.end(1), mark, prompt):
        return None
    other = [m for m, option in offered.items() if words(option) and words(option) == words(first_sentence(rest))]
    return None if other and mark not in other else mark


def _concluded_letter(text: str, grammar: Grammar, prompt: str) -> str | None:
    """Read the letter after the last "so", "therefore" or the like, where it closes the text: ``A and C do not cut, so B.``"""
    tail = text[-300:]
    for match in reversed(list(grammar.concluded.finditer(tail))):
        rest = tail[match.end() :].strip()
        found = _letter_at_start(rest, prompt)
        if found and len(first_sentence(rest).split()) <= ALONE_WORDS:
            return found
    return None


def _only_letter(text: str, prompt: str, grammar: Grammar) -> str | None:
    """Read the one letter of a short text, or of a last sentence about the answer, that is not named in a reason or a denial."""
    parts = split_sentences(text)
    whole = len(parts) == 1 and len(text) <= 200
    last = text if whole else parts[-1] if parts else ""
    last_part = re.split(r"[;:—–]\s", last)[-1]
    if (yes := re.match(r"(\w+),\s", last_part)) and fold(yes[1]) in grammar.yes:
        last_part = last_part[yes.end() :]
    if (alone := _ALONE.fullmatch(last_part)) and _as_offered(alone[1], prompt) in choices(prompt):
        return _as_offered(alone[1], prompt)
    if not whole and (closing := _closing_letter(last, prompt)):
        return closing
    if not whole and not _LETTER_CUE.search(last[-HALF_CHARS:]):
        return None
    clauses = [c for c in re.split(r"[,;—–]\s", last[-HALF_CHARS:]) if not grammar.reason.match(c.lstrip())]
    kept = ", ".join(clause[: reason.start()] if (reason := grammar.reason.search(clause)) else clause for clause in clauses)
    if re.search(r"\b(?:not|isn't|cannot|can't|wrong|incorrect|don't|doesn't|neither|nor)\b", kept, re.IGNORECASE):
        return None
    found = {_as_offered(a or b, prompt) for a, b in _ANY_BRACKET.findall(kept)} | _capitals(kept, prompt)
    if len(found) == 1:
        return found.pop()
    return _letter_of(kept, prompt) if whole and not found else None


def _closing_letter(last: str, prompt: str) -> str | None:
    """Read the one letter of a last sentence where it closes it (``so cork, C``), or the one option's text after "is"."""
    grammar, offered = patterns(), choices(prompt)
    if grammar.negated.search(last) or "n't" in last:
        return None
    named = {_as_offered(a or b, prompt) for a, b in _ANY_BRACKET.findall(last)} | _capitals(last, prompt)
    if len(named) == 1 and re.search(r"[\s(\[*]([A-Z])[)\]*]{0,3}\s?[.!]?\s?\Z", last):
        return named.pop() if named <= offered.keys() else None
    ends = [mark for mark, option in offered.items() if option and fold(last).rstrip(" .!").endswith(" " + fold(option))]
    if len(ends) != 1 or named:
        return None
    before = fold(last).rstrip(" .!").removesuffix(fold(offered[ends[0]]))
    return ends[0] if grammar.predicate.search(before) else None


def _capitals(text: str, prompt: str) -> set[str]:
    """Return the offered letters that stand alone in a text; A before a small letter is an article."""
    return {m for m in _CAPITAL.findall(text) if m in choices(prompt)}


def _contains(words: list[str], part: list[str]) -> bool:
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))
