r"""What the table of languages becomes: the patterns by which a statement of an answer is found, of all languages at once.

They are made anew when a language is added or taken out. Every one is linear in the text: blanks are folded before, and whatever
a pattern repeats is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from curate.answers import languages, texts
from curate.answers.languages import ALPHABETS, Language

__all__ = ["LETTERS", "SHOULD", "Grammar", "has_blanks", "patterns"]

_FOREIGN = "".join(alphabet for alphabet in ALPHABETS if not alphabet.isascii())
LETTERS = "A-Za-z" + _FOREIGN  # by which options may be marked


@dataclass(frozen=True)
class Grammar:
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


SHOULD = (
    r"(?:(?:it|that|this|the\s(?:correct\s|right\s|final\s)?answer)\s(?:should|must|would|has\sto|ought\sto)(?:\s(?:actually|really|in\sfact))?\sbe"
    r"|(?:it|that|this)\sis(?:\s(?:actually|really|in\sfact))?|it's(?:\sactually)?|that's|make\s(?:it|that)|i\sme(?:an|ant))"
)


def patterns() -> Grammar:
    """Return the patterns of the languages that are known now; made once for each version of the table."""
    return _build(languages.version())


@lru_cache(maxsize=2)
def _build(_version: int) -> Grammar:
    known = languages.known()

    def every(field: str) -> str:
        return _either([word for language in known.values() for word in getattr(language, field)])

    def pattern(*parts: str) -> re.Pattern[str]:
        return re.compile("".join(parts), re.IGNORECASE | re.MULTILINE)

    option, joins, corrects = every("option"), every("joins"), every("corrects")
    letter = rf"[(\[\"'“*`]{{0,3}}(?P<letter>[{LETTERS}])[)\]\"'”*`.:]{{0,3}}"
    is_, between = r"(?:is|would\sbe|must\sbe|should\sbe|seems|looks|est|es|é|ist|это|adalah|是|が|है)", r"(?:[,:;.—–-]|\s){1,3}"
    value = r"(?=[-+$\\(\[\"'*]{0,3}(?:\d|[A-Za-z]\b|negative\b|minus\b|\\))"
    announcements = [_announcement(code, language) for code, language in known.items()]
    commas = [f"{kind}_{code}" for kind in ("says", "direct") for code, language in known.items() if language.decimal_comma]
    return Grammar(
        announced=pattern("|".join(announcements), r"|^\s*(?P<short>A:)(?=\s)"),
        heading=pattern(rf"^[#*\s]{{0,8}}(?:the\s)?(?:final\s|correct\s)?{every('answer')}[*:：\s]{{0,4}}\n"),
        decimal_comma=frozenset(commas),
        denied_after=pattern(rf"^.{{1,60}}?{every('denies_after')}"),
        instead=pattern(
            r"(?:[,;.—–-]\s?|\s)(?:(?:but|rather|instead|sondern|mais|sino|mas|melainkan|а)(?:\s(?:rather|instead|que|sim))?",
            rf"[,:]?\s(?:{SHOULD}\s)?|而是|बल्कि\s|بل\s|{SHOULD}\s)",
        ),
        corrected=pattern(
            rf"(?:[,;.?!—–(…-]\s?|\s|^)(?:(?:but|so|{corrects}){between}(?:(?:{corrects}){between})?{SHOULD}[\s:]{{1,2}}",
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
            rf"{every('chooses')}\s?[:：]?\s?(?=(?:{option}\s?)?(?:[(\[\"'“*`]{{1,3}}[{LETTERS}]|(?-i:[A-Z])|[{_FOREIGN}])(?!\w))"
        ),
        reason=pattern(rf"(?:\A|[\s,;(]){every('reasons')}\s"),
        concluded=pattern(
            rf"(?:\A|[\s,;:—–-]){every('concludes')}(?:[\s,:]{{1,2}})",
            r"(?:(?:it\sis|it's|it\smust\sbe|we\s(?:get|choose|pick)|i\s(?:choose|pick)|only|the|that\sleaves)\s){0,2}",
        ),
        joined=pattern(
            rf"[\s\"'“”‘’*`)\]]{{0,4}}(?:,|/|;|&|{joins}){{1,2}}[\s\"'“”‘’*`(\[]{{0,4}}(?:{joins}\s?)?(?:{option}\s)?",
            rf"[(\[\"'*]{{0,2}}(?P<letter>[{LETTERS}])(?!\w)",
        ),
        ending=pattern(rf"\s?{every('ends')}\s?\Z"),
        new_question=pattern(
            rf"^\s{{0,3}}(?:#{{1,6}}\s?)?\*{{0,2}}(?:next\s|new\s|another\s)?{every('question')}\s?\d{{0,3}}\s?\*{{0,2}}",
            r"(?:[:：]|(?<=\d)[.)])|^\s{0,3}#{2,4}\s?(?:instruction|input|question|problem)s?\b",
        ),
        alone=pattern(
            rf"{_dress(option)}([{LETTERS}])(?:\s?[).:,;*\"'”’`$\]\\—–-]|\s?\Z|(?=[。，、」।؟۔]|입니다|이다|です|である|だ|が)",
            r"|\s(?=(?:because|since|as|for|is|was|and|or|but|not|with|in|y|o|ist|est|es|है|weil|car|porque)(?!\w)))",
        ),
        bracketed=pattern(rf"{_dress(option)}[(（\[]\s?([{LETTERS}])\s?[)）\]]|{_dress(option)}\*\*\s?([{LETTERS}])\s?\*\*"),
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
    first, last = (r"\b" if has_blanks(sign) else "" for sign in (name[0], name[-1]))
    return first + re.escape(name).replace(r"\ ", r"\s") + last


def has_blanks(sign: str) -> bool:
    """Return whether ``\\b`` finds the edges of words in a letter's script: it has blanks between them, and no vowel signs."""
    return sign.isalpha() and not re.match(
        "[\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", sign
    )
