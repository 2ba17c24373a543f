r"""Finds where a text states its final answer: one grammar of named rules for every kind. Compares nothing.

A text is read in three steps. `reply_of` leaves what is the reply itself: what thinks aloud before it, what comes after an end
mark, and a new question with its own answer are not. `statements` finds every place where the rest says what the answer is, or is
not, in order; each has the name of its rule. The reader of a kind then takes the last statement that stands, and reads the value
in it; without one it looks at how the text opens and closes. What is not clear is None, and a value that a text denies is never
its answer.

The words come from `curate.answers.languages`; callers go through `curate.answers.answers`. Every rule is linear in the text:
blanks are folded first, and whatever a pattern repeats is bounded. A text of more than `MOST_CHARS` is not read.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from curate.answers import languages, mathematics, texts
from curate.answers.languages import ALPHABETS, Language
from curate.answers.texts import words

__all__ = [
    "MOST_CHARS",
    "RULES",
    "Statement",
    "bare",
    "choices",
    "denials",
    "is_stated",
    "label",
    "last_sentence",
    "letter",
    "number",
    "reply_of",
    "sentence",
    "statements",
    "words",
]

MOST_CHARS = 200_000  # a longer text is no reply to one question

# How a text states an answer. The first five give a value, the last two take one back.
RULES = {
    "boxed": r"what stands in \boxed or \fbox; boxes of one sentence that are joined are one answer",
    "hashes": "what follows ####",
    "announced": 'what follows "the answer is", "Answer:" or the like, in any language of the table',
    "favoured": '"B is correct", "option B is the best answer", "I choose B": letters alone',
    "corrected": '"…, but it should be 6", "no, 6", "not 5 but 6", after a statement',
    "denied": '"the answer is not 5", "it cannot be (A)", "(A) is wrong": that value is not the answer',
    "withdrawn": '"that is wrong", after a statement, which no longer stands',
}

_QUOTES = "\"'“”‘’«»「」『』<>*`_"
_END_MARK = re.compile(
    r"</s>|<\|(?:im_end|im_start|eot_id|eom_id|endoftext|end_of_text|end_of_turn|end|user|assistant)\|>|<end_of_turn>|<eos>"
    r"|<｜end▁of▁sentence｜>|\[/?INST\]"
)
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
_MATH_SPAN = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$\n]+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(\w))")
_BOX_JOIN = re.compile(
    r"(?:\\text\s?\{\s?(?:and|or)\s?\}|\\[()]|\\q?quad|[\s$,;]|\band\b|\bor\b|\b[A-Za-z](?:_\{?\d\}?)?\s?=){1,14}"
)
_HASHES = re.compile(r"####+")
_UNWRAP = re.compile(r"(?<!\\)\$(?!\s?\d[\d,.]*(?:[^$]*)$)|\\[()\[\]]")
_OPENS_VALUE = re.compile(r"[\s:*\"'“]{0,9}(?:(?!a\s)[A-Za-z]\b|[$\\\d(\[+.€£¥₹-]|negative\b|minus\b)")
_ASIDE = re.compile(
    r"(?:,\s?|\s)\(?(?:or\s(?:simply|about|approx\w*|equivalently|roughly)|which|that\sis|i\.e\.|approximately|where|since|because"
    r"|when|rounded)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?:\b(?:negative|minus)\s)?(?<![\w.^])(?<!\^\{)[-−+]?(?:US)?[$€£¥₹]?\s?(?:0[xXbB][0-9A-Fa-f]+|\d{1,2}(?:,\d{2})+,\d{3}|\d+_\{?\d+\}?)"
    r"|(?:\b(?:negative|minus)\s)?(?<![\w.^])(?<!\^\{)[-−+]?(?:US)?[$€£¥₹]?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?(?:\s?/\s?\d+)?%?",
    re.IGNORECASE,
)
_ROOTS = re.compile(r"\b([A-Za-z])\s?=\s?-?[\d./]+(?:,?\s(?:or|and)\s\1\s?=\s?-?[\d./]+){1,8}(?=\W*$)")
_TIME = re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?|\b\d{1,2}\s?[ap]\.?m\b\.?", re.IGNORECASE)
_TAGGED = re.compile(r"<(answer|final_answer|final)>\s?(.{1,2000}?)\s?</\1>", re.IGNORECASE | re.DOTALL)
_CLAUSE = re.compile(
    r"(.{1,400}?)[,;]\s(?!(?:and|or|und|oder|et|ou|y|o|e)\b)(?=[^\W\d_]{2,}\s)"
)  # an answer, then words about it
_CUE = re.compile(
    r"\b(?:topics?|labell?ed|labels?|categor(?:y|ies|i[sz]ed)|class(?:ed|es|ified|ification)?|intents?|answers?"
    r"|(?:sentiment|output|prediction|verdict|result|rating|score)(?=\s?[*_]{0,2}:))\b",
    re.IGNORECASE,
)
_LETTER_CUE = re.compile(r"\b(?:answer|option|choice|correct|choose|select)", re.IGNORECASE)
_JOIN = re.compile(r"[\s\"'“”‘’*`]{0,6}(?:,|/|;|&|\bor\b|\band\b)[\s\"'“”‘’*`]{0,6}(?:and|or)?[\s\"'“”‘’*`]{0,6}")
_IDIOM = re.compile(
    r"\b(?:no\s(?:doubt|question|way|matter|reason|wonder|longer|one|evidence)|without\s(?:a\s)?doubt)\b", re.IGNORECASE
)
_DRESS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit|mathit|rm|bf)\s?\{([^{}]*)\}")
_ALONE_WORDS = 12  # a longer sentence argues; it is not an answer
_SHORT_WORDS = 5  # a class name, or an answer given instead of one, is no longer than this
_FOREIGN = "".join(alphabet for alphabet in ALPHABETS if not alphabet.isascii())
_LETTERS = "A-Za-z" + _FOREIGN  # by which options may be marked
_LOOKALIKES = frozenset("АВСЕНКМОРТХΑΒΕΗΙΚΜΝΟΡΤΧΖ")
_MOST_STATEMENTS = 200  # of a text, from its end: a loop states the same for ever
_STATED_CHARS = 4_000  # of what follows "the answer is" and the like, that are kept
_HALF_CHARS = 4_000  # on either side of which a long sentence is searched for its letters


@dataclass(frozen=True)
class Statement:
    """One place where a text says what its answer is, or is not.

    Attributes:
        rule: one of `RULES`.
        text: what is stated: of a box its content, of other rules what follows, up to 4,000 characters.
        start: where in the reply the statement begins.
        holds: False for a denial.
        comma: whether a comma in its numbers is the decimal sign of its language.
        firm: whether it is put as an answer, by a box or a colon, and so counts even where no value can be read in it.
    """

    rule: str
    text: str
    start: int
    holds: bool = True
    comma: bool = False
    firm: bool = True


@dataclass(frozen=True)
class _Grammar:
    """The patterns that are made of the table of languages."""

    announced: re.Pattern[str]
    heading: re.Pattern[str]
    decimal_comma: frozenset[str]  # groups of `announced`
    denied_after: re.Pattern[str]
    instead: re.Pattern[str]
    corrected: re.Pattern[str]
    favoured: re.Pattern[str]
    chosen: re.Pattern[str]
    reason: re.Pattern[str]
    concluded: re.Pattern[str]
    joined: re.Pattern[str]
    ending: re.Pattern[str]
    new_question: re.Pattern[str]
    alone: re.Pattern[str]  # an option's letter that opens a statement
    bracketed: re.Pattern[str]  # the same, in brackets
    option: str
    minus: re.Pattern[str]
    class_is: re.Pattern[str]
    yes: frozenset[str]
    no: frozenset[str]


_WITHDRAWN = re.compile(
    r"\b(?:that|this|it)(?:'s|\s(?:is|was|can't\sbe|cannot\sbe|must\sbe))\s(?:(?:actually|clearly|obviously)\s)?"
    r"(?:(?:wrong|incorrect|mistaken|a\smistake|an\serror)|not\s(?:right|correct))\b(?=\s?(?:[.,;!?—–-]|$|\n))"
    r"|\bi\s(?:made|have\smade)\s(?:a\s|an\s)?(?:mistake|error)|\bthat\s(?:isn't|wasn't)\s(?:right|correct)\b|\bscratch\sthat\b",
    re.IGNORECASE,
)
_VERDICT = re.compile(r"\s?(?:not|wrong|incorrect|mistaken|right|correct|a\smistake|an\serror)\b", re.IGNORECASE)
_SHOULD = (
    r"(?:(?:it|that|this|the\s(?:correct\s|right\s|final\s)?answer)\s(?:should|must|would|has\sto|ought\sto)(?:\s(?:actually|really|in\sfact))?\sbe"
    r"|(?:it|that|this)\sis(?:\s(?:actually|really|in\sfact))?|it's(?:\sactually)?|that's|make\s(?:it|that)|i\sme(?:an|ant))"
)


def _grammar() -> _Grammar:
    return _build(languages.version())


@lru_cache(maxsize=2)
def _build(_version: int) -> _Grammar:
    known = languages.known()

    def every(field: str) -> str:
        return _either([word for language in known.values() for word in getattr(language, field)])

    def pattern(*parts: str) -> re.Pattern[str]:
        return re.compile("".join(parts), re.IGNORECASE | re.MULTILINE)

    option, joins, corrects = every("option"), every("joins"), every("corrects")
    letter = rf"[(\[\"'“*`]{{0,3}}(?P<letter>[{_LETTERS}])[)\]\"'”*`.:]{{0,3}}"
    is_, between = r"(?:is|would\sbe|must\sbe|should\sbe|seems|looks|est|es|é|ist|это|adalah|是|が|है)", r"(?:[,:;.—–-]|\s){1,3}"
    value = r"(?=[-+$\\(\[\"'*]{0,3}(?:\d|[A-Za-z]\b|negative\b|minus\b|\\))"
    announcements = [_announcement(code, language) for code, language in known.items()]
    commas = [f"{kind}_{code}" for kind in ("says", "direct") for code, language in known.items() if language.decimal_comma]
    return _Grammar(
        announced=pattern("|".join(announcements), r"|^\s*(?P<short>A:)(?=\s)"),
        heading=pattern(rf"^[#*\s]{{0,8}}(?:the\s)?(?:final\s|correct\s)?{every('answer')}[*:：\s]{{0,4}}\n"),
        decimal_comma=frozenset(commas),
        denied_after=pattern(rf"^.{{1,60}}?{every('denies_after')}"),
        instead=pattern(
            r"(?:[,;.—–-]\s?|\s)(?:(?:but|rather|instead|sondern|mais|sino|mas|melainkan|а)(?:\s(?:rather|instead|que|sim))?",
            rf"[,:]?\s(?:{_SHOULD}\s)?|而是|बल्कि\s|بل\s|{_SHOULD}\s)",
        ),
        corrected=pattern(
            rf"(?:[,;.?!—–(…-]\s?|\s|^)(?:(?:but|so|{corrects}){between}(?:(?:{corrects}){between})?{_SHOULD}[\s:]{{1,2}}",
            rf"|(?:{corrects})\s?[,:—–-]\s?(?:(?:{corrects})[\s,:]{{1,2}})?(?:to\s)?{value}",
            r"|(?:i\sme(?:an|ant)|or\srather|make\s(?:it|that)|actually|correction)[:,]?\s)",
            r"|(?:^|[.!?]\s)(?:it|that)\s(?:should|must)\s(?:actually\s|really\s|instead\s)?be\s",
        ),
        favoured=pattern(
            rf"(?:{option}\s?)?(?<![\w(\[\"'“*`])(?:{letter})\s?{is_}\s?(?P<deny>(?:not|never|no|nicht|pas|не)\s)?",
            r"(?:(?:the|a|clearly|definitely|obviously|therefore|thus|most|only|la|el|le|die|der|das|o|likely)\s){0,3}",
            rf"(?P<what>{every('correct')}|wrong\b|incorrect\b|false\b|falsch\b|错)",
        ),
        chosen=pattern(
            rf"{every('chooses')}\s?[:：]?\s?(?=(?:{option}\s?)?(?:[(\[\"'“*`]{{1,3}}[{_LETTERS}]|(?-i:[A-Z])|[{_FOREIGN}])(?!\w))"
        ),
        reason=pattern(rf"(?:\A|[\s,;(]){every('reasons')}\s"),
        concluded=pattern(
            rf"(?:\A|[\s,;:—–-]){every('concludes')}(?:[\s,:]{{1,2}})",
            r"(?:(?:it\sis|it's|it\smust\sbe|we\s(?:get|choose|pick)|i\s(?:choose|pick)|only|the|that\sleaves)\s){0,2}",
        ),
        joined=pattern(
            rf"[\s\"'“”‘’*`)\]]{{0,4}}(?:,|/|;|&|{joins}){{1,2}}[\s\"'“”‘’*`(\[]{{0,4}}(?:{joins}\s?)?(?:{option}\s)?",
            rf"[(\[\"'*]{{0,2}}(?P<letter>[{_LETTERS}])(?!\w)",
        ),
        ending=pattern(rf"\s?{every('ends')}\s?\Z"),
        new_question=pattern(
            rf"^\s{{0,3}}(?:#{{1,6}}\s?)?\*{{0,2}}(?:next\s|new\s|another\s)?{every('question')}\s?\d{{0,3}}\s?\*{{0,2}}",
            r"(?:[:：]|(?<=\d)[.)])|^\s{0,3}#{2,4}\s?(?:instruction|input|question|problem)s?\b",
        ),
        alone=pattern(
            rf"{_dress(option)}([{_LETTERS}])(?:\s?[).:,;*\"'”’`$\]\\—–-]|\s?\Z|(?=[。，、」।؟۔]|입니다|이다|です|である|だ|が)",
            r"|\s(?=(?:because|since|as|for|is|was|and|or|but|not|with|in|y|o|ist|est|es|है|weil|car|porque)(?!\w)))",
        ),
        bracketed=pattern(rf"{_dress(option)}[(（\[]\s?([{_LETTERS}])\s?[)）\]]|{_dress(option)}\*\*\s?([{_LETTERS}])\s?\*\*"),
        option=option,
        minus=pattern(rf"(?<![\d)]\s)(?<![\d)]){every('minus')}\s?(?=[\d$])"),
        class_is=pattern(
            rf"{every('label')}(?:\s?(?:{every('says')}|[:：])\s?|\s(?=[^\n.।]{{1,60}}?{every('ends')}(?!\w)))[\s\"'“‘*`「(]{{0,4}}"
        ),
        yes=frozenset(texts.fold(word) for language in known.values() for word in language.yes),
        no=frozenset(texts.fold(word) for language in known.values() for word in language.no),
    )


def _dress(option: str) -> str:
    """Return the pattern of what may stand before an option's letter: quotes, an article, "option"."""
    article = r"(?:(?:the|la|el|le|l'|die|der|das|o|a(?=\s(?:letra|alternativa|opção)))\s)?"
    return rf"[\s\"'“”‘’*`$_:>-]{{0,6}}{article}(?:{option}[\s:]{{0,2}}){{0,2}}[\s\"'“”‘’*`$_]{{0,6}}"


def _announcement(code: str, language: Language) -> str:
    """Return the pattern of one language's "the answer is", "Answer:" and the like.

    Its groups are ``says_`` and the language's code, ``deny_`` for a denial, and ``direct_`` where the value follows at once.
    """
    noun = _either(language.answer)
    between = r"(?:\s(?:choice|option|here|to|for|of)\b[^.\n:]{0,60}?|(?:\s[^\s.:,;=()\[\]\"“\d]{1,24}){1,3}?)??"
    hedge = r"(?:,?\s(?:therefore|then|thus|however|hence|so)\b,?)?"
    denies, says = (_either(words) for words in (language.denies, language.says))
    direct = [r"[\d(（\"“«「-]", r"[A-Z](?!\w)"] if language.direct else []
    if language.ends:
        direct.append(rf"(?!\s?{says})[^.\n:：।]{{1,60}}?{_either(language.ends)}(?!\w)")
    parts = [rf"{noun}\s?(?P<direct_{code}>(?={'|'.join(direct)}))"] if direct else []
    parts.append(
        rf"{noun}{between}(?:\s?(?P<deny_{code}>{denies})|[*_\"')\]]{{0,3}}{hedge}\s?(?P<says_{code}>{says}\s?[:：]?|[:：]))"
    )
    return "|".join(parts)


def _either(names: Sequence[str]) -> str:
    """Return a pattern of any of some words, the longest first; bounded where a script has blanks between words."""
    ordered = sorted(set(names), key=lambda name: (-len(name), name))
    return "(?:" + "|".join(map(_bounded, ordered)) + ")" if ordered else "(?!)"


def _bounded(name: str) -> str:
    first, last = (r"\b" if _has_blanks(sign) else "" for sign in (name[0], name[-1]))
    return first + re.escape(name).replace(r"\ ", r"\s") + last


def _has_blanks(sign: str) -> bool:
    """Return whether ``\\b`` finds the edges of words in a letter's script: it has blanks between them, and no vowel signs."""
    return sign.isalpha() and not re.match(
        "[\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", sign
    )


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


def reply_of(text: str) -> str:
    """Return what of a text is the reply to its question, made readable by `texts.plain`.

    Left out are thoughts in tags, what follows an end mark, and a new question after an answer, with whatever follows it.
    """
    return _reply_of(text, languages.version())


@lru_cache(maxsize=4096)
def _reply_of(text: str, _version: int) -> str:
    if len(text) > MOST_CHARS:
        return ""
    text = texts.plain(text).replace("’", "'").strip()
    thoughts = list(_THOUGHT.finditer(text))
    if thoughts and text[thoughts[-1].end() :].strip():
        text = text[thoughts[-1].end() :].strip()
    for mark in _END_MARK.finditer(text):
        if text[: mark.start()].strip():
            text = text[: mark.start()]
            break
    for question in _grammar().new_question.finditer(text):
        head = text[: question.start()].strip()
        if head and (_is_answer(head) or any(s.holds for s in statements(head))):
            return head
    return text.strip()


def _is_answer(text: str) -> bool:
    return "\n" not in text and len(text.split()) <= _ALONE_WORDS and not text.endswith(":")


def statements(text: str) -> tuple[Statement, ...]:
    """Return every place where a reply says what its answer is or is not, in order; see `RULES`."""
    return _statements(text, languages.version())


def denials(text: str) -> tuple[str, ...]:
    """Return the sentences by which a text says what its answer is not, from the value on."""
    return tuple(_first_sentence(statement.text) for statement in statements(reply_of(text)) if statement.rule == "denied")


@lru_cache(maxsize=1024)
def _statements(text: str, _version: int) -> tuple[Statement, ...]:
    grammar = _grammar()
    found = [
        *_boxes(text),
        *(Statement("hashes", text[m.end() : m.end() + _STATED_CHARS].strip(), m.start()) for m in _HASHES.finditer(text)),
    ]
    last_box = max((s.start + len(s.text) for s in found if s.rule == "boxed"), default=-1)
    for match in grammar.announced.finditer(text):
        group = match.lastgroup or ""
        rest = text[match.end() : match.end() + _STATED_CHARS]
        begin = match.end() + len(rest) - len(rest.lstrip())
        rest = rest.strip()
        if last_box >= 0 and (match.end() <= last_box or not _OPENS_VALUE.match(text, match.end())):
            continue  # words about a box, such as "so our answer is correct"
        if rest.startswith("\\boxed"):
            continue
        holds = not group.startswith("deny") and not grammar.denied_after.match(_first_sentence(rest[:200]))
        found.append(
            Statement(
                "announced" if holds else "denied",
                rest.lstrip(":：").strip(),
                match.start(),
                holds,
                group in grammar.decimal_comma,
                match.group().endswith((":", "：")),
            )
        )
        if not holds and (instead := grammar.instead.search(_first_sentence(rest))):
            found.append(Statement("corrected", rest[instead.end() :].strip(), begin + instead.end()))
    found += [Statement("announced", m.group(2).strip(), m.start()) for m in _TAGGED.finditer(text)]
    for match in grammar.heading.finditer(text):
        if rest := text[match.end() : match.end() + _STATED_CHARS].strip():
            found.append(Statement("announced", rest, match.start()))
    if found:
        first = min(s.start for s in found)
        for match in grammar.corrected.finditer(text, first):
            if not _VERDICT.match(text, match.end()):
                found.append(Statement("corrected", text[match.end() : match.end() + _STATED_CHARS].strip(), match.end()))
        found += [Statement("withdrawn", "", m.start(), False) for m in _WITHDRAWN.finditer(text, first)]
    return tuple(sorted(found, key=lambda s: s.start)[-_MOST_STATEMENTS:])


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
class _Reading:
    """What the statements of a text come to."""

    stated: bool
    value: str | None
    denied: tuple[str, ...] = ()
    withdrawn: int = -1  # where the last withdrawal is, if nothing was stated after it


def _standing(found: Sequence[Statement], read: Callable[[Statement], str | None], is_value: Callable[[str], bool]) -> _Reading:
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
    return _Reading(stated, value, tuple(denied), withdrawn)


def sentence(text: str) -> str | None:
    """Return the words that a text states as its answer, or a short text of one sentence itself; None where it is not clear."""
    found = [s for s in statements(text) if s.rule != "corrected" or _is_correction(text, s)]
    reading = _standing(found, lambda s: _tail(s) or None, bool)
    if reading.stated:
        return reading.value
    alone = len(text.split()) <= _ALONE_WORDS and not any(_ends(text.rstrip(".!?。 "), names=True))
    return text if alone else None


def _is_correction(text: str, statement: Statement) -> bool:
    """Return whether words, not figures, were corrected: only "it should be" and the like say so, and "not … but"."""
    return bool(
        re.search(
            rf"{_SHOULD}[\s:]{{0,2}}$|\b(?:but|sondern|mais|sino|а)\s$|而是$",
            text[max(0, statement.start - 60) : statement.start],
            re.IGNORECASE,
        )
    )


def _tail(statement: Statement) -> str:
    text = statement.text
    if statement.rule == "boxed":
        return _undressed(text)
    cut = _first_sentence(text, names=True)
    cut = _grammar().ending.sub("", cut)
    parts = re.split(r",\s(?=(?:not|and\snot|rather\sthan|instead\sof|because|since|which\sis\swhy)\b)", cut, maxsplit=1)
    corrected = _grammar().corrected.search(parts[0])
    return (
        parts[0][: corrected.start()]
        if corrected and corrected.start() > 0 and re.search(_SHOULD + r"[\s:]{0,2}$", corrected.group(), re.IGNORECASE)
        else parts[0]
    ).strip()


def _undressed(text: str) -> str:
    return _DRESS.sub(lambda match: match.group(1), text).strip(_QUOTES + " $").strip()


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


def _first_sentence(text: str, *, names: bool = False) -> str:
    """Return the text up to its first full stop or line end, without quotes around it."""
    end = next(_ends(text, names=names), None)
    found = (text[: end.start()] if end else text).strip()
    if not re.search(r"\w", found):
        found = text.split("\n", 1)[0].strip().removesuffix(".")  # an answer of signs, such as ?!
    return found.strip(_QUOTES + " ").strip() or found


def number(text: str) -> str | None:
    """Return the number or expression that a text gives as its answer, as it is written; None where it is not clear."""
    reading = _standing(statements(text), _number_in, _has_number)
    if reading.withdrawn >= 0 and reading.value is None:
        return _last_number(last_sentence(text[reading.withdrawn :]))
    if not reading.stated:
        return _last_number(last_sentence(text))
    if reading.value is None and reading.denied:  # "The answer is not 64. Hence the count is 63."
        last = last_sentence(text)
        found = _last_number(last) if not any(last.find(denied) >= 0 for denied in reading.denied) else None
        return found if found not in reading.denied else None
    return reading.value


def _has_number(text: str) -> bool:
    return mathematics.is_mathematical(text) or bool(re.search(r"\d", text))


def _number_in(statement: Statement) -> str | None:
    if statement.rule == "boxed":
        return statement.text or None
    line = _grammar().minus.sub("-", _line(statement.text))
    if statement.comma:
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
    stated = _first_sentence(_UNWRAP.sub("", line))
    aside = _ASIDE.search(stated)
    stated = _side(_grammar().ending.sub("", stated[: aside.start()] if aside else stated))
    if not stated:
        return None
    if mathematics.is_mathematical(stated):
        return stated
    clause = _CLAUSE.match(stated)
    if clause and mathematics.is_mathematical(clause.group(1)):
        return clause.group(1)
    numbers = _NUMBER.findall(stated)
    if not numbers:
        return stated if len(stated.split()) <= _SHORT_WORDS else None
    return numbers[0].strip() if len(set(numbers)) == 1 and "\\" not in stated else stated


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
    sentence = _grammar().minus.sub("-", sentence)
    if roots := _ROOTS.search(sentence):
        return roots.group()
    numbers, times = list(_NUMBER.finditer(sentence)), list(_TIME.finditer(sentence))
    if not numbers:
        return None
    if times and times[-1].end() >= numbers[-1].end():
        return times[-1].group().strip()
    rest = sentence[numbers[-1].start() :].strip(" .*_`\"'")
    measured = len(rest.split()) <= _SHORT_WORDS and mathematics.quantity(rest) is not None
    return rest if measured else numbers[-1].group().strip()


def letter(text: str, prompt: str) -> str | None:
    """Return the letter of the option that a text gives as its answer; None where it is not clear."""
    grammar, offered = _grammar(), choices(prompt)
    text = _DRESS.sub(lambda match: match.group(1), text)
    found = [s for s in statements(text) if not (s.rule == "announced" and text.startswith("A:", s.start))]
    announced = any(s.holds and s.rule in ("boxed", "hashes", "announced") for s in found)
    found += [s for s in _favoured(text, grammar, offered) if not (announced and s.holds)]
    reading = _standing(sorted(found, key=lambda s: s.start), lambda s: _letter_in(s, prompt), bool)
    if reading.value is not None:
        return reading.value
    if not reading.stated or reading.denied or reading.withdrawn >= 0:
        rest = text[reading.withdrawn :] if reading.withdrawn >= 0 else text
        one = (None if reading.stated else _opening_letter(text, prompt)) or _concluded_letter(rest, grammar, prompt)
        if one is None and not reading.stated:
            one = _only_letter(text, prompt, grammar)
        return one if one not in reading.denied else None
    return None


def _favoured(text: str, grammar: _Grammar, offered: Mapping[str, str]) -> Iterator[Statement]:
    """Yield "B is correct" and "(A) is wrong", and "I choose B"."""
    for match in list(grammar.favoured.finditer(text))[-_MOST_STATEMENTS:]:
        mark = match["letter"]
        bracketed = text[match.start("letter") - 1 : match.start("letter")] in ("(", "[", "*", '"', "'")
        if not (mark.isupper() or not mark.isascii() or bracketed) or (
            offered and mark not in offered and mark.upper() not in offered
        ):
            continue
        wrong = match["what"].casefold() in ("wrong", "incorrect", "false", "falsch", "错")
        holds = wrong == bool(match["deny"])
        clause = re.split(r"[.!?;,\n]", text[max(0, match.start() - 120) : match.start()])[-1]
        if (wrong and match["deny"]) or (holds and grammar.reason.match(f" {clause.strip()} ")):
            continue
        yield Statement("favoured" if holds else "denied", f"({mark})", match.start("letter"), holds)
    for match in list(grammar.chosen.finditer(text))[-_MOST_STATEMENTS:]:
        yield Statement("favoured", text[match.end() : match.end() + _STATED_CHARS], match.start())


def _letter_in(statement: Statement, prompt: str) -> str | None:
    line = statement.text.strip().split("\n", 1)[0].strip()
    if statement.rule == "denied" or statement.rule == "corrected":
        line = _first_sentence(line)
        found = _letter_at_start(line, prompt)
        return found if found or statement.rule == "corrected" else _letter_of(line, prompt)
    return _letter_of(line, prompt)


def _as_offered(mark: str, prompt: str) -> str:
    """Return a letter in the case in which it is offered, else as a capital."""
    offered = choices(prompt)
    return mark if mark in offered or not mark.isascii() else mark.lower() if mark.lower() in offered else mark.upper()


def _letter_at_start(stated: str, prompt: str) -> str | None:
    """Read ``(B) Carousel``, ``B``, ``"B"``, ``option B`` or ``B. Carousel`` at the beginning; None for several."""
    grammar = _grammar()
    match = grammar.bracketed.match(stated) or grammar.alone.match(stated)
    if not match:
        return _digit_at_start(stated, prompt)
    mark = next(group for group in match.groups() if group)
    end = match.end(match.lastindex or 1)
    if _is_joined(stated, end, mark, prompt):
        return None
    mark = _as_offered(mark, prompt)
    offered, rest = choices(prompt), words(_first_sentence(stated[end:].lstrip(" )].:*-）】")))
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
    match = re.match(rf"[\s\"'*`$(_]{{0,4}}(?:{_grammar().option}\s)?[(\[]?(\d)(?![\d.]\d|\d)", stated, re.IGNORECASE)
    return match.group(1) if match and match.group(1) in offered else None


def _is_joined(stated: str, end: int, mark: str, prompt: str) -> bool:
    """Return whether another option's letter is joined to one: ``A, B``, ``(A) hive, (B) nest``, ``A or B``."""
    grammar = _grammar()
    joined = grammar.joined.match(stated, end)
    if joined and joined["letter"].upper() != mark.upper() and not re.match(r"\s\w", stated[joined.end() : joined.end() + 2]):
        return True
    text = choices(prompt).get(_as_offered(mark, prompt), "")
    skipped = (
        re.match(rf"[\s)\].:*-]{{0,4}}{re.escape(text)}", stated[end : end + len(text) + 5], re.IGNORECASE) if text else None
    )
    joined = grammar.joined.match(stated, end + skipped.end()) if skipped else None
    return bool(joined and joined["letter"].upper() != mark.upper() and stated[joined.start("letter") - 1] in "([")


_ANY_BRACKET = re.compile(rf"[(\[]\s?([{_LETTERS}])\s?[)\]]|\*\*\s?\(?([A-Z])\)?\s?\*\*")


def _letter_of(stated: str, prompt: str) -> str | None:
    """Read the letter that a statement names, at its beginning, in brackets within it, or by the option's text."""
    stated = stated[:_HALF_CHARS]
    if re.match(r"[\s*]{0,3}(?:either|neither|both|none|any)\b", stated, re.IGNORECASE):
        return None
    offered = choices(prompt)
    said = words(_first_sentence(stated))
    exact = [mark for mark, option in offered.items() if words(option) and words(option) == said]
    if len(exact) == 1 and len(said) > 1:
        return exact[0]
    grammar = _grammar()
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
    match = re.match(rf"[\s\"'“*`(\[]{{0,3}}([{_LETTERS}\d])(?P<mark>[)\].:,;*\"'”`]{{0,3}})(?P<rest>.*)$", first)
    if not match:
        return None
    mark, rest = _as_offered(match.group(1), prompt), match["rest"].strip()
    if offered and mark not in offered:
        return None
    if match.group(1).isdigit() and not offered:
        return None
    if rest and (
        not match["mark"]
        or (
            match["mark"] in (",", ";")
            and not re.match(_grammar().reason.pattern + r"|" + r"(?:because|since|as|for)\b", rest, re.IGNORECASE)
        )
    ):
        return None
    if rest and _is_joined(first, match.end(1), mark, prompt):
        return None
    other = [m for m, option in offered.items() if words(option) and words(option) == words(_first_sentence(rest))]
    return None if other and mark not in other else mark


def _concluded_letter(text: str, grammar: _Grammar, prompt: str) -> str | None:
    """Read the letter after the last "so", "therefore" or the like, where it closes the text: ``A and C do not cut, so B.``"""
    tail = text[-300:]
    for match in reversed(list(grammar.concluded.finditer(tail))):
        rest = tail[match.end() :].strip()
        found = _letter_at_start(rest, prompt)
        if found and len(_first_sentence(rest).split()) <= _ALONE_WORDS:
            return found
    return None


def _only_letter(text: str, prompt: str, grammar: _Grammar) -> str | None:
    """Read the one letter of a short text, or of a last sentence about the answer, that is not named in a reason or a denial."""
    parts = _split_sentences(text)
    whole = len(parts) == 1 and len(text) <= 200
    last = text if whole else parts[-1] if parts else ""
    if not whole and not _LETTER_CUE.search(last[-_HALF_CHARS:]):
        return None
    clauses = [c for c in re.split(r"[,;—–]\s", last[-_HALF_CHARS:]) if not grammar.reason.match(" " + c)]
    kept = ", ".join(grammar.reason.split(clause)[0] for clause in clauses)
    if re.search(r"\b(?:not|isn't|cannot|can't|wrong|incorrect|don't|doesn't|neither|nor)\b", kept, re.IGNORECASE):
        return None
    found = {_as_offered(a or b, prompt) for a, b in _ANY_BRACKET.findall(kept)}
    named = {m.upper() for m in re.findall(r"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s([A-Z])\b", kept)}
    one = found or named
    if len(one) == 1:
        return one.pop()
    return _letter_of(kept, prompt) if whole and not one else None


def _contains(words: list[str], part: list[str]) -> bool:
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))


@dataclass(frozen=True)
class _Names:
    """Class names, ready to be found."""

    whole: re.Pattern[str]  # as a whole word
    after_colon: re.Pattern[str]  # "the topic would be:gold", where the next sentence may follow without a space
    by_key: Mapping[str, str]
    aliases: Mapping[str, str]  # yes and no in other languages, by which a reply may open or state its answer

    def found(self, match: re.Match[str], group: int = 0) -> str:
        return self.by_key[_key(match.group(group))]


@lru_cache(maxsize=256)
def _names(labels: tuple[str, ...], _version: int) -> _Names:
    names = sorted((label for label in labels if label.strip()), key=len, reverse=True)  # the longest name wins
    by_key: dict[str, str] = {}
    for name in names:
        by_key.setdefault(_key(name), name)
    spelt = "|".join(_spelt(name) for name in names) or r"(?!)"
    whole = re.compile(rf"(?:{spelt})", re.IGNORECASE)
    cue = rf"{_CUE.pattern}[^.:!?\n]{{0,160}}:[\s\"'“‘*-]{{0,6}}"
    after_colon = re.compile(
        rf"{cue}({'|'.join(_loose(name) for name in names) or '(?!)'})(?=(?-i:[A-Z])|(?![\w-]))", re.IGNORECASE
    )
    grammar = _grammar()
    folded = {texts.fold(name): name for name in names}
    yes, no = ([folded[word] for word in folded if word in side] for side in (grammar.yes, grammar.no))
    aliases = {}
    if len(yes) == len(no) == 1 and yes != no:
        aliases = {**dict.fromkeys(grammar.yes - grammar.no, yes[0]), **dict.fromkeys(grammar.no - grammar.yes, no[0])}
    return _Names(whole, after_colon, by_key, aliases)


def _loose(name: str) -> str:
    parts = re.split(r"(?<=\w)[\s_-]+(?=\w)", texts.plain(name).replace("’", "'").strip())
    return r"[\s_-]{1,3}".join(map(re.escape, parts))


def _spelt(name: str) -> str:
    """Return a pattern of a class name as a whole word: no part of a longer word, number or name, in scripts that part words."""
    plain = texts.plain(name).strip()
    before = (
        r"(?<![\w-])(?<!\d[.,/])(?<!\bout\sof\s)"
        if _has_blanks(plain[0]) or plain[0].isdigit()
        else r"(?<![\d-])"
        if plain[0] in "+-."
        else ""
    )
    after = (
        r"(?!\w|-\w|\.\d|,\d|[+#])"
        if _has_blanks(plain[-1]) or plain[-1].isdigit()
        else r"(?![+#\d])"
        if plain[-1] in "+-#"
        else ""
    )
    return f"{before}{_loose(name)}{after}"


def _key(name: str) -> str:
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", texts.plain(name).replace("’", "'")).strip().casefold()


def label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the class name that a text gives as its answer, or the few words given instead of one; None where unclear."""
    names = _names(labels, languages.version())
    text = _IDIOM.sub(lambda match: "-" * len(match.group()), text)
    found = statements(text)
    reading = _standing(found, lambda s: _label_in(s, names), lambda said: _key(bare(said)) in names.by_key)
    if reading.value is not None:
        return reading.value
    if found and found[-1].rule == "announced" and not found[-1].text:
        return None  # it breaks off there
    lines = text.split("\n") if not reading.stated else []
    alone = {key for line in (*lines[:1], *lines[-1:]) if (key := _key(bare(line))) in names.by_key}
    if len(alone) == 1:
        return names.by_key[alone.pop()]
    if not reading.stated and (opens := _opening_label(text, names)):
        return opens
    rest = text[max(reading.withdrawn, 0) :]
    concluded = _called(rest, names) or _concluded(rest, names) or (None if reading.denied else _closing_label(rest, names))
    return concluded if concluded not in reading.denied else None


def _called(text: str, names: _Names) -> str | None:
    """Return the class name that follows "the category is" or the like last; None where it is one of a list, or denied."""
    for cue in reversed(list(_grammar().class_is.finditer(text))):
        match = names.whole.match(text, cue.end())
        if match and _not_denied(text, [match]) and not _JOIN.match(text, match.end()):
            after = _grammar().denied_after.match(text[match.end() - 1 : match.end() + 12])
            return None if after else names.found(match)
    return None


def _closing_label(text: str, names: _Names) -> str | None:
    """Return the one class name of a last sentence that concludes, or says "it is …"; or a grade such as 4 of 5."""
    last = last_sentence(text)[-_HALF_CHARS:]
    if grade := re.search(r"(?<![\d/.])(\d{1,2})\s?(?:/|out\sof)\s?\d{1,2}\b", last):
        return names.by_key.get(grade.group(1))
    found = _not_denied(last, _outside_lists(last, list(names.whole.finditer(last))))
    if len({names.found(match) for match in found}) != 1:
        return None
    after = last[found[-1].end() :].strip(_QUOTES + " .!。")
    closes = (
        not after
        or bool(_grammar().ending.fullmatch(after))
        or bool(_DENIED_BEFORE.match(after.lstrip(", ") + "") or after.startswith(", not"))
    )
    concludes = (
        _grammar().concluded.search(" " + last)
        or re.match(r"(?:it|this|that)(?:'s|\sis)\s", last, re.IGNORECASE)
        or (after and closes)
    )
    return names.found(found[-1]) if closes and concludes else None


def _label_in(statement: Statement, names: _Names) -> str | None:
    said = _undressed(statement.text) if statement.rule == "boxed" else statement.text.lstrip(_QUOTES + " (")
    match = names.whole.match(said)
    stated = _first_sentence(said)
    if match and match.end() > len(stated):
        return names.found(match)  # a name with a full stop in it
    if statement.rule == "denied":
        match = names.whole.search(stated)
        return names.found(match) if match else None
    stated = _grammar().ending.sub("", stated)
    if alias := names.aliases.get(texts.fold(re.split(r"[\s,.;:!]", stated + " ", maxsplit=1)[0])):
        return alias
    found = _not_denied(stated, list(names.whole.finditer(stated[:_HALF_CHARS])))
    if statement.rule == "corrected":
        return names.found(found[0]) if found and found[0].start() <= 2 else None
    if found:
        return _one_of(stated, found, names)
    if len(stated.split()) <= _SHORT_WORDS and not names.whole.search(stated):
        return stated or None  # an answer outside the list, or one that was cut off
    return None


_DENIED_BEFORE = re.compile(
    r"(?:\bnot|\bhardly|n't|\bnever|\bnor|\bneither|\bno\slonger|\brather\sthan|\binstead\sof|\bunlike|\bnicht|\bkein\w{0,2}|\bpas|\bне|不是|并非)(?:\s(?:be|a|an|the|about|really|in|of|as|label|class|category|topic)){0,3}\s?[\"'“‘(*`]{0,3}$",
    re.IGNORECASE,
)


def _not_denied(text: str, found: list[re.Match[str]]) -> list[re.Match[str]]:
    """Drop the names that a denial stands before, or after as in Japanese, and those that such a name is joined to."""
    kept: list[re.Match[str]] = []
    last: re.Match[str] | None = None
    for match in found:
        follows = last is not None and bool(_JOIN.fullmatch(text, last.end(), match.start()))
        if (
            _DENIED_BEFORE.search(text[max(0, match.start() - 60) : match.start()])
            or follows
            or _grammar().denied_after.match(text[match.end() - 1 : match.end() + 12])
        ):
            last = match
        else:
            kept.append(match)
    return kept


def _opening_label(text: str, names: _Names) -> str | None:
    """Read a class name that opens a text before a comma, a stop or a reason, or closes it after "so"; None where they differ."""
    start = text.lstrip(_QUOTES + " ")
    match = names.whole.match(start)
    opens = (
        names.found(match)
        if match
        and re.match(
            r"[\"'”*`]{0,3}(?:[,.;:!—–。，]|\s[—–-]\s|\s(?:because|since|as)\b|$)", start[match.end() : match.end() + 12]
        )
        else None
    )
    if opens is None and names.aliases and (word := re.match(r"([^\s,.;:!。，]+)[,.;:!。，]", start)):
        opens = names.aliases.get(texts.fold(word.group(1)))
    tail = text[-300:]
    closes = None
    for conclusion in reversed(list(_grammar().concluded.finditer(tail))):
        rest = tail[conclusion.end() :].lstrip(_QUOTES + " ")
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
    starts = not sentence[: found[0].start()].strip(_QUOTES + " :")
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


def _split_sentences(text: str) -> list[str]:
    parts, start = [], 0
    for match in _ends(text):
        parts.append(text[start : match.start()].strip())
        start = match.end()
    return [part for part in (*parts, text[start:].strip()) if part]


def last_sentence(text: str) -> str:
    """Return the last sentence of a text; empty where there is none."""
    return next(reversed(_split_sentences(text)), "")


def is_stated(text: str) -> bool:
    """Return whether a text says "the answer is" or the like, or puts its answer in a box."""
    return any(statement.rule in ("boxed", "hashes", "announced") for statement in statements(text))


def bare(text: str) -> str:
    """Return a letter or class name without brackets, quotes and final punctuation around it."""
    return text.strip(_QUOTES + " ()[].,:;。，") or text.strip()
