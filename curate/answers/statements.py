r"""Finds where a text states its final answer: one grammar of named rules for every kind. Compares nothing.

A text is read in three steps. `reply_of` leaves what is the reply itself: what thinks aloud before it, what comes after an end
mark, and a new question with its own answer are not. `statements` finds every place where the rest says what the answer is, or is
not, in order; each has the name of its rule. The reader of a kind (`numbers`, `letters`, `labels`; of free text `sentence`) then
takes the last statement that stands (`standing`), and reads the value in it; without one it looks at how the text opens and
closes. What is not clear is None, and a value that a text denies is never its answer.

The words come from `curate.answers.languages`, through `grammar`; callers go through `curate.answers.answers`. Every rule is
linear in the text: blanks are folded first, and whatever a pattern repeats is bounded. A text of more than `MOST_CHARS` is not
read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from curate.answers import languages, texts
from curate.answers.grammar import SHOULD, patterns, rule

__all__ = [
    "ALONE_WORDS",
    "DRESS",
    "HALF_CHARS",
    "MOST_CHARS",
    "MOST_STATEMENTS",
    "QUOTES",
    "RULES",
    "SHORT_WORDS",
    "STATED_CHARS",
    "Reading",
    "Statement",
    "bare",
    "corrections",
    "denials",
    "first_sentence",
    "is_stated",
    "last_sentence",
    "mended",
    "reply_of",
    "sentence",
    "split_sentences",
    "standing",
    "statements",
    "undressed",
    "without_negated",
]

MOST_CHARS = 200_000  # a longer text is no reply to one question

# How a text states an answer. All but the last two give a value, the last two take one back.
RULES = {
    "boxed": r"what stands in \boxed or \fbox; boxes of one sentence that are joined are one answer",
    "hashes": "what follows ####",
    "field": 'what a reply in JSON has under "answer", "label" or the like',
    "announced": 'what follows "the answer is", "Answer:" or the like, in any language of the table',
    "favoured": '"B is correct", "option B is the best answer", "I choose B": letters alone',
    "corrected": '"…, but it should be 6", "no, 6", "not 5 but 6", after a statement',
    "denied": '"the answer is not 5", "it cannot be (A)", "(A) is wrong": that value is not the answer',
    "withdrawn": '"that is wrong", after a statement, which no longer stands',
}

QUOTES = "\"'“”‘’«»「」『』<>*`_"  # and signs of emphasis, around a value
_END_MARK = re.compile(
    r"</s>|<\|(?:im_end|im_start|eot_id|eom_id|endoftext|end_of_text|end_of_turn|end|user|assistant)\|>|<end_of_turn>|<eos>"
    r"|<｜end▁of▁sentence｜>|\[/?INST\]"
)
_MARKUP = re.compile(
    r"</?(?:strong|em|span|div|p|ul|ol|li|code|center|h[1-6])>|<br\s?/?>|<([biu])>(?=[^<\n]{1,400}</\1>)|</[biu]>", re.IGNORECASE
)
_SCRIPT = re.compile(r"<(sub|sup)>([^<>\n]{1,20})</\1>", re.IGNORECASE)
_FENCE = re.compile(r"^\s?```\w{0,12}\s?(?:\n|\Z)", re.MULTILINE)
_THOUGHT = re.compile(r"</(?:think|thinking|thought|reasoning|reflection)>", re.IGNORECASE)
_ABBREVIATIONS = texts.listed(
    "dr mr mrs ms prof st sr jr vs vol fig eq gen col lt sgt capt rev hon pres gov sen rep messrs mt ft inc ltd co "
    "corp dept univ approx est e.g i.e cf jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k u.n u.s.a p.m "
    "a.m ph.d b.c a.d d.c l.a"
)
_OPENERS = texts.listed(
    "it the this that these those he she they we i you a an in on at so because since as for therefore thus hence "
    "here there however if when while but and or not option choice answer explanation its his her their our my to "
    "by from with"
)
_STOP = re.compile(r"[.!?](?=[\"'”’)\]*`]{0,4}(?:\s|$))|[。！？।؟۔]|\n")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(\w))")
_BOX_JOIN = re.compile(
    r"(?:\\text\s?\{\s?(?:and|or)\s?\}|\\[()]|\\q?quad|[\s$,;]|\band\b|\bor\b|\b[A-Za-z](?:_\{?\d\}?)?\s?=){1,14}"
)
_HASHES = re.compile(r"####+")
_OPENS_VALUE = re.compile(r"[\s:*\"'“]{0,9}(?:(?!a\s)[A-Za-z]\b|[$\\\d(\[+.€£¥₹-]|negative\b|minus\b)")
_TAGGED = re.compile(r"<(answer|final_answer|final)>\s?(.{1,2000}?)\s?</\1>", re.IGNORECASE | re.DOTALL)
_FIELD = re.compile(
    r"[\"'](?:the_|final_|correct_|predicted_)?(?:answer|label|class|category|prediction|sentiment|choice|option|result|intent)[\"']\s?:\s?"
    r"(?:\"((?:[^\"\\\n]|\\.){0,2000})\"|'([^'\n]{0,2000})'|(\[[^\]\n]{0,2000}\]|[^\"',}\s][^,}\n]{0,400}))",
    re.IGNORECASE,
)
_ITEMS = re.compile(r"(?:[-*•–]|\d{1,2}[.)])\s[^\n]{1,400}(?:\n{1,2}(?:[-*•–]|\d{1,2}[.)])\s[^\n]{1,400}){1,40}")
_ITEM = re.compile(r"^(?:[-*•–]|\d{1,2}[.)])\s", re.MULTILINE)
DRESS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit|mathit|rm|bf)\s?\{([^{}]*)\}")  # of words in LaTeX
ALONE_WORDS = 12  # a longer sentence argues; it is not an answer
SHORT_WORDS = 5  # a class name, or an answer given instead of one, is no longer than this
MOST_STATEMENTS = 200  # of a text, from its end: a loop states the same for ever
STATED_CHARS = 4_000  # of what follows "the answer is" and the like, that are kept
HALF_CHARS = 4_000  # on either side of which a long sentence is searched for its letters


@dataclass(frozen=True)
class Statement:
    """One place where a text says what its answer is, or is not.

    Attributes:
        rule: one of `RULES`.
        text: what is stated: of a box its content, of other rules what follows, up to 4,000 characters.
        start: where in the reply the statement begins.
        holds: False for a denial.
        comma: whether a comma in its numbers is the decimal sign of its language.
        instead: of a correction, whether a denial says it in the same breath: "not 5 but 6".
        firm: whether it is put as an answer, by a box or a colon, and so counts even where no value can be read in it.
    """

    rule: str
    text: str
    start: int
    holds: bool = True
    comma: bool = False
    firm: bool = True
    instead: bool = False


_WITHDRAWN = rule(
    r"\b(?:that|this|it)(?:'s|\s(?:is|was|can't\sbe|cannot\sbe|must\sbe))\s(?:(?:actually|clearly|obviously)\s)?"
    r"(?:(?:wrong|incorrect|mistaken|a\smistake|an\serror)|not\s(?:right|correct))\b(?=\s?(?:[.,;!?—–-]|$|\n))"
    r"|\bi\s(?:made|have\smade)\s(?:a\s|an\s)?(?:mistake|error)|\bthat\s(?:isn't|wasn't)\s(?:right|correct)\b|\bscratch\sthat\b",
    ("that", "this", "it", "i", "scratch"),
)
_NEGATION = re.compile(r"(?:\s?[,;(—–，；、-]\s?|\s)(?:(?:and|but|und|et|y|e|a|dan)\s)?$")  # what joins "not …" to a value
_NEGATION_CHARS = 12
_DOUBT_CHARS = 60  # before an announcement, in which it may be doubted
_VERDICT = re.compile(r"\s?(?:not|wrong|incorrect|mistaken|right|correct|a\smistake|an\serror)\b", re.IGNORECASE)


def reply_of(text: str) -> str:
    """Return what of a text is the reply to its question, made readable by `texts.plain`.

    Left out are thoughts in tags, what follows an end mark, and a new question after an answer, with whatever follows it.
    """
    return _reply_of(text, languages.version())


@lru_cache(maxsize=4096)
def _reply_of(text: str, _version: int) -> str:
    if len(text) > MOST_CHARS:
        return ""
    text = _undecorated(texts.plain(text).replace("’", "'")).strip()
    thoughts = list(_THOUGHT.finditer(text))
    if thoughts and text[thoughts[-1].end() :].strip():
        text = text[thoughts[-1].end() :].strip()
    for mark in _END_MARK.finditer(text):
        if text[: mark.start()].strip():
            text = text[: mark.start()]
            break
    for question in patterns().new_question.finditer(text):
        head = text[: question.start()].strip()
        if head and (_is_answer(head) or any(s.holds for s in statements(head))):
            return head
    return text.strip()


def _undecorated(text: str) -> str:
    """Return a text without HTML tags of emphasis and structure, and without the fences of code."""
    if "<" in text:
        text = _MARKUP.sub("", _SCRIPT.sub(lambda match: ("_{" if match[1].casefold() == "sub" else "^{") + match[2] + "}", text))
    return _FENCE.sub("", text) if "```" in text else text


def _is_answer(text: str) -> bool:
    return "\n" not in text and len(text.split()) <= ALONE_WORDS and not text.endswith(":")


def statements(text: str) -> tuple[Statement, ...]:
    """Return every place where a reply says what its answer is or is not, in order; see `RULES`."""
    return _statements(text, languages.version())


def denials(text: str) -> tuple[str, ...]:
    """Return the sentences by which a text says what its answer is not, from the value on."""
    return tuple(first_sentence(statement.text) for statement in statements(reply_of(text)) if statement.rule == "denied")


@lru_cache(maxsize=1024)
def _statements(text: str, _version: int) -> tuple[Statement, ...]:
    found = list(_boxes(text))
    boxed = max((s.start + len(s.text) for s in found), default=-1)
    if "##" in text:
        found += [Statement("hashes", text[m.end() : m.end() + STATED_CHARS].strip(), m.start()) for m in _HASHES.finditer(text)]
    fields = list(_FIELD.finditer(text)) if "{" in text else []
    found += [Statement("field", next(g for g in m.groups() if g is not None).strip(), m.start()) for m in fields]
    found += _announcements(text, boxed, [match.span() for match in fields])
    if "<" in text:
        found += [Statement("announced", m.group(2).strip(), m.start()) for m in _TAGGED.finditer(text)]
    for match in patterns().heading.finditer(text) if "\n" in text else ():
        if rest := text[match.end() : match.end() + STATED_CHARS].strip():
            found.append(Statement("announced", rest, match.start()))
    if found:
        found += corrections(text, min(s.start for s in found))
    return tuple(sorted(found, key=lambda s: s.start)[-MOST_STATEMENTS:])


def _announcements(text: str, boxed: int, fields: Sequence[tuple[int, int]]) -> Iterator[Statement]:
    """Yield "the answer is …" and its denials, with what these put in the place of the denied value.

    Args:
        text: a reply.
        boxed: where its last box ends; words about a box, such as "so our answer is correct", announce nothing.
        fields: where JSON has its fields.
    """
    grammar = patterns()
    for match in grammar.announced.finditer(text):
        rest = text[match.end() : match.end() + STATED_CHARS]
        begin = match.end() + len(rest) - len(rest.lstrip())
        rest = rest.strip()
        if boxed >= 0 and (match.end() <= boxed or not _OPENS_VALUE.match(text, match.end())):
            continue
        if rest.startswith("\\boxed") or any(start <= match.start() < end for start, end in fields):
            continue
        group = match.lastgroup or ""
        holds = not group.startswith("deny") and not _is_denied(text, match.start(), first_sentence(rest[:200]))
        said = _listed(rest.lstrip(":：").strip())
        comma, firm = group in grammar.decimal_comma, match.group().endswith((":", "："))
        yield Statement("announced" if holds else "denied", said, match.start(), holds, comma, firm)
        if not holds and (instead := grammar.instead.search(first_sentence(rest))):
            yield Statement("corrected", rest[instead.end() :].strip(), begin + instead.end(), instead=True)


def _is_denied(text: str, start: int, said: str) -> bool:
    """Return whether an announcement is doubted before it, or denied after its value, as in Japanese."""
    grammar = patterns()
    if grammar.denies_after.places(said) and grammar.denied_after.match(said):
        return True
    before = text[max(0, start - _DOUBT_CHARS) : start]
    return bool(grammar.doubts.search(before) and grammar.doubted.search(before))


def corrections(text: str, first: int) -> list[Statement]:
    """Return the places after the first statement of a text where it puts another value in its place, or takes it back."""
    found = [
        Statement("corrected", text[match.end() : match.end() + STATED_CHARS].strip(), match.end())
        for match in patterns().corrected.finditer(text, first)
        if not _VERDICT.match(text, match.end())
    ]
    return found + [Statement("withdrawn", "", m.start(), False) for m in _WITHDRAWN.finditer(text, first)]


def _listed(text: str) -> str:
    """Return a text that begins with the items of a list, each on its line, as one line of them."""
    items = _ITEMS.match(text)
    return _ITEM.sub("", items.group()).replace("\n\n", "\n").replace("\n", ", ") + text[items.end() :] if items else text


def _boxes(text: str) -> Iterator[Statement]:
    """Yield the boxes of a text; those of one sentence that are joined by a comma, "and" or "or" as one."""
    run: list[str] = []
    start = end = 0
    for match in _BOXED.finditer(text):
        if match.start() < end:
            continue  # inside the last one
        content, after = (match.group(1), match.end()) if match.group(1) else _braced(text, match.end())
        if run and not _BOX_JOIN.fullmatch(text, end, match.start()):
            yield Statement("boxed", _joined_boxes(run), start)
            run = []
        start = start if run else match.start()
        run, end = [*run, content], after
    if run:
        yield Statement("boxed", _joined_boxes(run), start)


def _joined_boxes(run: list[str]) -> str:
    return ", ".join(dict.fromkeys(run))


def _braced(text: str, start: int) -> tuple[str, int]:
    """Return what stands before the brace that closes at depth 1, and where that ends; an empty text where none closes."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position].strip(), position + 1
    return "", len(text)


@dataclass(frozen=True)
class Reading:
    """What the statements of a text come to."""

    stated: bool
    value: str | None
    denied: tuple[str, ...] = ()
    withdrawn: int = -1  # where the last withdrawal is, if nothing was stated after it


def standing(found: Sequence[Statement], read: Callable[[Statement], str | None], is_value: Callable[[str], bool]) -> Reading:
    """Return the value that stands after all statements of a text.

    The last statement counts; one without a value, such as "I hope the answer is clear", does not take the place of one that
    has one. A denial, or a withdrawal, ends the statement that it is of.
    """
    value: str | None = None
    stated, withdrawn = False, -1
    denied: list[str] = []
    for statement in found:
        if statement.rule == "withdrawn":
            if stated:
                value, withdrawn = None, statement.start
            continue
        said = read(statement)
        if not statement.holds:
            stated = True
            if said is not None:
                denied.append(said)
                value = None if value == said else value
        elif statement.rule == "corrected":
            if said is not None and is_value(said):
                stated, value, withdrawn = True, said, -1
        else:
            if value is None or statement.firm or (said is not None and is_value(said)):
                value = said
            stated, withdrawn = True, -1
    if value in denied and value is not None and not is_value(value):
        value = None
    return Reading(stated, value, tuple(denied), withdrawn)


def sentence(text: str) -> str | None:
    """Return the words that a text states as its answer, or a short text of one sentence itself; None where it is not clear."""
    found = [s for s in statements(text) if s.rule != "corrected" or _is_correction(text, s)]
    if found:
        found = sorted([*found, *mended(text, found[0].start)], key=lambda s: s.start)
    reading = standing(found, lambda s: _tail(s) or None, bool)
    if reading.stated:
        return reading.value
    if (items := _ITEMS.match(text)) and items.end() == len(text):
        return _listed(text)
    alone = len(text.split()) <= ALONE_WORDS and not any(_ends(text.rstrip(".!?。 "), names=True))
    return without_negated(text) if alone else None


def _is_correction(text: str, statement: Statement) -> bool:
    """Return whether words, not figures, were corrected: only "it should be" and the like say so, and "not … but"."""
    before = text[max(0, statement.start - 60) : statement.start]
    return statement.instead or bool(
        re.search(rf"{SHOULD}[\s:]{{0,2}}$|\b(?:but|sondern|mais|sino|а)\s$|而是$", before, re.IGNORECASE)
    )


def mended(text: str, first: int) -> list[Statement]:
    """Return the short sentences after a statement that begin with a word of correction: ``No, sorry, Milan.``"""
    found = ((match.end(), text[match.end() : match.end() + STATED_CHARS]) for match in patterns().mended.finditer(text, first))
    return [
        Statement("corrected", rest, at) for at, rest in found if len(first_sentence(rest, names=True).split()) <= SHORT_WORDS
    ]


def _tail(statement: Statement) -> str:
    text = statement.text
    if statement.rule in ("boxed", "field"):
        return undressed(text)
    cut = first_sentence(text, names=True)
    cut = patterns().ending.sub("", cut)
    parts = [without_negated(re.split(r",\s(?=(?:because|since|which\sis\swhy)\b)", cut, maxsplit=1)[0])]
    corrected = patterns().corrected.search(parts[0])
    return (
        parts[0][: corrected.start()].rstrip(" ,;?!—–(…-")
        if corrected and corrected.start() > 0 and re.search(SHOULD + r"[\s:]{0,2}$", corrected.group(), re.IGNORECASE)
        else parts[0]
    ).strip()


def without_negated(text: str) -> str:
    """Return a statement up to where it goes on to say what the answer is not: ``12, not 21``, ``12 rather than 21``."""
    for match in patterns().negated.finditer(text):
        before = _NEGATION.search(text, max(0, match.start() - _NEGATION_CHARS), match.start())
        if before and match.group().strip().casefold() == "no" and "," not in before.group():
            continue  # Spanish for "not"; English where no comma stands before it
        if before and text[: before.start()].strip():
            return text[: before.start()].strip()
    return text


def undressed(text: str) -> str:
    """Return a text without LaTeX's text commands, and without quotes and dollar signs around it."""
    return DRESS.sub(lambda match: match.group(1), text).strip(QUOTES + " $").strip()


def _ends(text: str, *, names: bool = False) -> Iterator[re.Match[str]]:
    """Yield where sentences end; a stop after a title, an abbreviation or, with `names`, an initial ends none."""
    for match in _STOP.finditer(text):
        if match.group() == "." and _is_abbreviation(text, match.start(), names=names):
            continue
        yield match


def _is_abbreviation(text: str, stop: int, *, names: bool) -> bool:
    before = re.search(r"([^\W\d_](?:[^\W\d_.]|\.(?=[^\W\d_])){0,10})$", text[max(0, stop - 14) : stop])
    after = re.match(r"\.\s([^\W\d_]+)", text[stop : stop + 24])
    if not before or not after:
        return False
    token, following = before.group(1), after.group(1)
    if token.casefold() in _ABBREVIATIONS:
        return (
            following[0].isupper() or token.casefold() in ("e.g", "i.e", "vs", "approx", "u.s", "u.k", "u.n")
            if following.casefold() not in _OPENERS
            else False
        )
    if not names or (len(token) > 1 and not re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", token)):
        return False
    previous = text[: stop - len(token)].rstrip()
    if len(following) == 1 and token[0].isupper() and len(token) == 1 and text[stop + 3 : stop + 4] == ".":
        return True  # J. R. R.
    begins = not previous or previous[-1] in ".:\"'“(*" or previous.split()[-1][:1].isupper()
    return token[0].isupper() and following[0].isupper() and begins and following.casefold() not in _OPENERS


def first_sentence(text: str, *, names: bool = False) -> str:
    """Return the text up to its first full stop or line end, without quotes around it."""
    end = next(_ends(text, names=names), None)
    found = (text[: end.start()] if end else text).strip()
    if not re.search(r"\w", found):
        found = text.split("\n", 1)[0].strip().removesuffix(".")  # an answer of signs, such as ?!
    return found.strip(QUOTES + " ").strip() or found


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, without the signs that end them; no empty ones."""
    parts, start = [], 0
    for match in _ends(text):
        parts.append(text[start : match.start()].strip())
        start = match.end()
    return [part for part in (*parts, text[start:].strip()) if part]


def last_sentence(text: str) -> str:
    """Return the last sentence of a text; empty where there is none."""
    return next(reversed(split_sentences(text)), "")


def is_stated(text: str) -> bool:
    """Return whether a text says "the answer is" or the like, or puts its answer in a box."""
    return any(statement.rule in ("boxed", "hashes", "field", "announced") for statement in statements(text))


def bare(text: str) -> str:
    """Return a letter or class name without brackets, quotes and final punctuation around it."""
    return text.strip(QUOTES + " ()[].,:;。，") or text.strip()
