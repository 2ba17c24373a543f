"""Reads the class name that a text gives as its answer, among those of its domain; see `statements` for the steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from curate.answers import languages, texts
from curate.answers.grammar import Rule, has_blanks, patterns, rule
from curate.answers.statements import (
    HALF_CHARS,
    QUOTES,
    SHORT_WORDS,
    Statement,
    bare,
    corrections,
    first_sentence,
    last_sentence,
    mended,
    standing,
    statements,
    undressed,
)

__all__ = ["label"]

_CUE = re.compile(
    r"\b(?:topics?|labell?ed|labels?|categor(?:y|ies|i[sz]ed)|class(?:ed|es|ified|ification)?|intents?|answers?"
    r"|(?:sentiment|output|prediction|verdict|result|rating|score)(?=\s?[*_]{0,2}:))\b",
    re.IGNORECASE,
)
_JOIN = re.compile(r"[\s\"'“”‘’*`]{0,6}(?:,|/|;|&|\bor\b|\band\b)[\s\"'“”‘’*`]{0,6}(?:and|or)?[\s\"'“”‘’*`]{0,6}")
_IDIOM = rule(
    r"\b(?:no\s(?:doubt|question|way|matter|reason|wonder|longer|one|evidence)|without\s(?:a\s)?doubt)\b", ("no", "without")
)

_STEP = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten)\b(?=[\s-](?:stars?|points?|out\sof)\b)", re.IGNORECASE
)
_LAST_WORD = re.compile(r",\s(\w+)[.!]?\Z")
_DENIAL_CHARS = 60  # before a class name, in which it may be denied
_ABBREVIATION = 3  # letters; a shorter part of a name is no beginning of a word
_DRESS_CHARS = 60  # of quotes, emphasis and blanks around a class name


@dataclass(frozen=True)
class _Names:
    """Class names, ready to be found."""

    whole: Rule  # as a whole word
    after_colon: re.Pattern[str]  # "the topic would be:gold", where the next sentence may follow without a space
    by_key: Mapping[str, str]
    most_chars: int  # of a line that is a class name alone
    aliases: Mapping[str, str]  # yes and no in other languages, by which a reply may open or state its answer

    def found(self, match: re.Match[str], group: int = 0) -> str:
        key = _key(match.group(group))
        if key not in self.by_key:  # its first parts are written out
            return next(name for name in self.by_key.values() if re.fullmatch(_written_out(name) or "(?!)", key, re.IGNORECASE))
        return self.by_key[key]


@lru_cache(maxsize=256)
def _names(labels: tuple[str, ...], _version: int) -> _Names:
    names = sorted((label for label in labels if label.strip()), key=len, reverse=True)  # the longest name wins
    by_key: dict[str, str] = {}
    for name in names:
        by_key.setdefault(_key(name), name)
    spelt = "|".join(_spelt(name) for name in names) or r"(?!)"
    longer = "|".join(rf"\b{pattern}" for name in names if (pattern := _written_out(name)))
    whole = rule(rf"(?:{spelt})", [_parts(name)[0] for name in names], signs=longer)
    cue = rf"{_CUE.pattern}[^.:!?\n]{{0,160}}:[\s\"'“‘*-]{{0,6}}"
    after_colon = re.compile(
        rf"{cue}({'|'.join(_loose(name) for name in names) or '(?!)'})(?=(?-i:[A-Z])|(?![\w-]))", re.IGNORECASE
    )
    grammar = patterns()
    folded = {texts.fold(name): name for name in names}
    yes, no = ([folded[word] for word in folded if word in side] for side in (grammar.yes, grammar.no))
    aliases = {}
    if len(yes) == len(no) == 1 and yes != no:
        aliases = {**dict.fromkeys(grammar.yes - grammar.no, yes[0]), **dict.fromkeys(grammar.no - grammar.yes, no[0])}
    return _Names(whole, after_colon, by_key, max(map(len, names), default=0) + _DRESS_CHARS, aliases)


def _loose(name: str) -> str:
    """Return a pattern of a name with any signs between its parts; the first may be written out: ``natural gas`` of nat-gas."""
    joined, longer = r"[\s_-]{1,3}".join(map(re.escape, _parts(name))), _written_out(name)
    return f"(?:{joined}|{longer})" if longer else joined


def _written_out(name: str) -> str:
    """Return a pattern of a name of several parts whose first ones are longer words; empty where it has no such parts."""
    *first, last = _parts(name)
    if not first or not all(part.isalpha() and len(part) >= _ABBREVIATION for part in first):
        return ""
    return r"\s".join([*(rf"{re.escape(part)}[^\W\d_]{{0,12}}" for part in first), re.escape(last)])


def _parts(name: str) -> list[str]:
    return re.split(r"(?<=\w)[\s_-]+(?=\w)", texts.plain(name).replace("’", "'").strip())


def _spelt(name: str) -> str:
    """Return a pattern of a class name as a whole word: no part of a longer word, number or name, in scripts that part words."""
    plain = texts.plain(name).strip()
    before = (
        r"(?<![\w-])(?<!\d[.,/])(?<!\bout\sof\s)"
        if has_blanks(plain[0]) or plain[0].isdigit()
        else r"(?<![\d-])"
        if plain[0] in "+-."
        else ""
    )
    after = (
        r"(?!\w|-\w|\.\d|,\d|[+#])"
        if has_blanks(plain[-1]) or plain[-1].isdigit()
        else r"(?![+#\d])"
        if plain[-1] in "+-#"
        else ""
    )
    return f"{before}{_loose(name)}{after}"


@lru_cache(maxsize=4096)
def _key(name: str) -> str:
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", texts.plain(name).replace("’", "'")).strip().casefold()


def label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the class name that a text gives as its answer, or the few words given instead of one; None where unclear."""
    names = _names(labels, languages.version())
    for idiom in _IDIOM.finditer(text):
        text = text[: idiom.start()] + "-" * len(idiom.group()) + text[idiom.end() :]
    if "4" in names.by_key or "1" in names.by_key:
        text = _STEP.sub(lambda match: str(texts.number_word(match.group())), text)
    found = list(statements(text)) or corrections(text, 0)
    found = sorted([*found, *mended(text, found[0].start if found else 1)], key=lambda s: s.start)
    reading = standing(found, lambda s: _label_in(s, names), lambda said: _key(bare(said)) in names.by_key)
    if reading.value is not None:
        return reading.value
    if found and found[-1].rule == "announced" and not found[-1].text:
        return None  # it breaks off there
    lines = [*text.split("\n"), last_sentence(text)] if not reading.stated else []
    short = (line for line in (*lines[:1], *lines[-1:]) if len(line) <= names.most_chars)
    alone = {key for line in short if (key := _key(bare(line))) in names.by_key}
    if len(alone) == 1:
        return names.by_key[alone.pop()]
    if not reading.stated and (opens := _opening_label(text, names)):
        return opens
    rest = text[max(reading.withdrawn, 0) :]
    concluded = _called(rest, names) or _concluded(rest, names) or (None if reading.denied else _closing_label(rest, names))
    if concluded is None and len(set(reading.denied)) == 1 and len(names.by_key) == 2:
        return next((name for name in names.by_key.values() if name not in reading.denied), None)
    return concluded if concluded not in reading.denied else None


def _called(text: str, names: _Names) -> str | None:
    """Return the class name that follows "the category is" or the like last; None where it is one of a list, or denied."""
    for cue in reversed(list(patterns().class_is.finditer(text))):
        match = names.whole.match(text, cue.end())
        if not match or not _not_denied(text, [match]) or _goes_on(text, match.end(), names):
            continue
        if cue["direct"] and not _CLOSED.match(text, match.end()):
            continue  # "level B2, …", but not "label gold does not fit"
        after = patterns().denied_after.match(text[match.end() - 1 : match.end() + 12])
        return None if after else names.found(match)
    return None


def _closing_label(text: str, names: _Names) -> str | None:
    """Return the class name that a last sentence comes to: its one name, after "is", "as" or the like; or a grade such as 4 of 5.

    Of two classes, the other one where the sentence denies one.
    """
    last = last_sentence(text)[-HALF_CHARS:]
    if grade := re.search(r"(?<![\d/.])(\d{1,2})\s?(?:/|out\sof)\s?\d{1,2}\b", last):
        return names.by_key.get(grade.group(1))
    if patterns().reason.match(last) and ", " in last:
        last = last.partition(", ")[2]  # "While … plays a role, this is about …"
    reason = patterns().reason.search(last)
    if reason and names.whole.search(last[: reason.start()]):
        last = last[: reason.start()].rstrip(" ,;(，；（")
    named = _outside_lists(last, list(names.whole.finditer(last)))
    found = _not_denied(last, named)
    distinct = {names.found(match) for match in found}
    if named and not found and len(names.by_key) == 2:
        denied = {names.found(match) for match in named}
        return next(name for name in names.by_key.values() if name not in denied) if _closes(last, named[-1]) else None
    fitting = {names.found(match) for match in found if patterns().fits.match(last, match.end())}
    if len(fitting) == 1:
        return fitting.pop()
    if len(distinct) != 1 or not _closes(last, found[-1]):
        return None
    concludes = (
        not last[: found[-1].start()].strip(QUOTES + " (")
        or patterns().concluded.search(last)
        or re.match(r"(?:it|this|that)(?:'s|\sis)\s", last, re.IGNORECASE)
        or patterns().predicate.search(last[max(0, found[-1].start() - 60) : found[-1].start()])
        or last[found[-1].end() :].strip(QUOTES + " .!。")
    )
    return names.found(found[-1]) if concludes else None


def _goes_on(text: str, end: int, names: _Names) -> bool:
    """Return whether another class name is joined to one that ends there."""
    joined = _JOIN.match(text, end)
    return bool(joined and ";" not in joined.group() and names.whole.match(text, joined.end()))


_CLOSED = re.compile(rf"[{re.escape(QUOTES)})]{{0,3}}\s?(?:[,.;:!?。，；、)\n]|\Z)")


def _closes(last: str, match: re.Match[str]) -> bool:
    """Return whether nothing follows a class name in its sentence but a noun for a class, a verb, or what it is not."""
    grammar, after = patterns(), last[match.end() :].strip(QUOTES + " .!。,;(")
    if not after or grammar.ending.fullmatch(after) or grammar.class_noun.match(after):
        return True
    if noun := grammar.class_noun_before.match(after):
        after = after[noun.end() :]
    negated = grammar.negated.search(after[:60])
    return bool(negated and not after[: negated.start()].strip(" ,;，、-—–(").removeprefix("and").strip())


def _label_in(statement: Statement, names: _Names) -> str | None:
    said = undressed(statement.text) if statement.rule in ("boxed", "field") else statement.text.lstrip(QUOTES + " (")
    match = names.whole.match(said)
    stated = first_sentence(said)
    if match and match.end() > len(stated):
        return names.found(match)  # a name with a full stop in it
    if statement.rule == "denied":
        match = names.whole.search(stated)
        return names.found(match) if match else None
    stated = patterns().ending.sub("", stated)
    if alias := names.aliases.get(texts.fold(re.split(r"[\s,.;:!]", stated + " ", maxsplit=1)[0])):
        return alias
    found = _not_denied(stated, list(names.whole.finditer(stated[:HALF_CHARS])))
    if statement.rule == "corrected":
        return names.found(found[0]) if found and found[0].start() <= 2 else None
    if found:
        return _one_of(stated, found, names)
    if len(stated.split()) <= SHORT_WORDS and not names.whole.search(stated):
        return stated or None  # an answer outside the list, or one that was cut off
    return None


def _not_denied(text: str, found: list[re.Match[str]]) -> list[re.Match[str]]:
    """Drop the names that a denial stands before, or after as in Japanese, and those that such a name is joined to."""
    kept: list[re.Match[str]] = []
    last: re.Match[str] | None = None
    marks = _marks_of_denial(text) if found else []
    for match in found:
        follows = last is not None and bool(_JOIN.fullmatch(text, last.end(), match.start()))
        if _is_denied(text, match, marks) or follows or patterns().denied_after.match(text[match.end() - 1 : match.end() + 12]):
            last = match
        else:
            kept.append(match)
    return kept


def _marks_of_denial(text: str) -> list[int]:
    """Return where words stand that may deny or doubt what follows them."""
    grammar = patterns()
    short = [match.start() for match in re.finditer("n't", text, re.IGNORECASE)]
    return sorted([*short, *grammar.negated.places(text), *grammar.doubts.places(text)])


def _is_denied(text: str, match: re.Match[str], marks: list[int]) -> bool:
    start = max(0, match.start() - _DENIAL_CHARS)
    if not any(start <= mark < match.start() for mark in marks):
        return False
    before = text[start : match.start()]
    return bool(patterns().denied_before.search(before) or patterns().doubts.search(before))


def _opening_label(text: str, names: _Names) -> str | None:
    """Read a class name that opens a text before a comma, a stop or a reason, or closes it after "so"; None where they differ."""
    start = text.lstrip(QUOTES + " ")
    match = names.whole.match(start)
    opens = (
        names.found(match)
        if match
        and re.match(
            r"[\"'”*`]{0,3}(?:[,.;:!—–。，]|\s[—–-]\s|\s(?:because|since|as)\b|\s(?:is|was)\s(?:the|my|an?)\b|$)",
            start[match.end() : match.end() + 16],
        )
        else None
    )
    if opens is None and names.aliases and (word := re.match(r"([^\s,.;:!。，]+)[,.;:!。，]", start)):
        opens = names.aliases.get(texts.fold(word.group(1)))
    tail = text[-300:]
    closes = names.aliases.get(texts.fold(word.group(1))) if (word := _LAST_WORD.search(tail)) else None
    for conclusion in reversed(list(patterns().concluded.finditer(tail))):
        rest = tail[conclusion.end() :].lstrip(QUOTES + " ")
        end = names.whole.match(rest)
        if end and not re.sub(r"[\s.!\"'”*`。]", "", rest[end.end() :]):
            closes = names.found(end)
            break
    return closes if opens is None else opens if closes in (None, opens) else None


def _one_of(sentence: str, found: list[re.Match[str]], names: _Names) -> str | None:
    """Return the one class name of a sentence, or the first where the others only explain it."""
    distinct = list(dict.fromkeys(map(names.found, found)))
    if len(distinct) == 1:
        return distinct[0]
    starts = not sentence[: found[0].start()].strip(QUOTES + " :")
    joined = _JOIN.fullmatch(sentence[found[0].end() : found[1].start()])
    return distinct[0] if starts and not joined else None


def _concluded(text: str, names: _Names) -> str | None:
    """Return the class name that a text without "the answer is" comes to: quoted, after a colon, or in its last words on it."""
    dotted = [match for match in names.after_colon.finditer(text) if "." in names.found(match, 1)]
    if dotted:
        return names.found(dotted[-1], 1)
    parts = [s for s in re.split(r"[.!?。](?=[\"'”’)]{0,4}(?:\s|$|[A-Z][a-z]))|\n", text) if _CUE.search(s)]
    for sentence in reversed(parts):
        named = _outside_lists(sentence, _not_denied(sentence, list(names.whole.finditer(sentence))))
        distinct = {names.found(match) for match in named if _is_quoted(sentence, match)}
        if not distinct and (stated := names.after_colon.search(sentence)):
            listed = re.match(r"[\"'”’]{0,3}\s?(?:,|/(?!\d)|or\b)", sentence[stated.end() :])
            distinct = set() if listed else {names.found(stated, 1)}
        if distinct:
            return distinct.pop() if len(distinct) == 1 else None
    for sentence in reversed(parts):
        distinct = {
            names.found(match) for match in _outside_lists(sentence, _not_denied(sentence, list(names.whole.finditer(sentence))))
        }
        if len(distinct) == 1:
            return distinct.pop()
    return None


def _is_quoted(sentence: str, match: re.Match[str]) -> bool:
    before, after = sentence[: match.start()][-1:], sentence[match.end() :].lstrip(".,;:")[:1]
    return bool(before) and before in QUOTES and (after in QUOTES or not after)


def _outside_lists(sentence: str, found: list[re.Match[str]]) -> list[re.Match[str]]:
    """Drop class names that are part of a list of three or more: they name what was offered, not what was chosen."""
    runs: list[list[re.Match[str]]] = []
    for match in found:
        if runs and _JOIN.fullmatch(sentence[runs[-1][-1].end() : match.start()]):
            runs[-1].append(match)
        else:
            runs.append([match])
    return [match for run in runs if len(run) < 3 for match in run]
