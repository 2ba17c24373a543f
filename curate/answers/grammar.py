r"""What the table of languages becomes: the rules by which a statement of an answer is found, of all languages at once.

They are made anew when a language is added or taken out. Every one is linear in the text: blanks are folded before, and whatever
a pattern repeats is bounded. A `Rule` is tried only where one of its words stands, since most places of a text hold none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from curate.answers import languages, texts
from curate.answers.languages import ALPHABETS, Language

__all__ = ["LETTERS", "SHOULD", "UNSPACED", "Grammar", "Rule", "has_blanks", "patterns", "rule"]

_FOREIGN = "".join(alphabet for alphabet in ALPHABETS if not alphabet.isascii())
LETTERS = "A-Za-z" + _FOREIGN  # by which options may be marked
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # letters of scripts without blanks
_INDIC = "[\u0900-\u0963\u0966-\u0dff]"  # letters and vowel signs of scripts with blanks, of which \b knows no edges
_QUOTED = r"\"'“”‘’«»‹›„「」『』*`_"  # quotes and signs of emphasis
_TOKEN = re.compile(r"[^\W_]+")
_NO_TOKEN = {sign: " " for sign in range(128) if not chr(sign).isalnum()}
_FLAGS = re.IGNORECASE | re.MULTILINE


@dataclass(frozen=True)
class Rule:
    """A pattern that is tried only where one of its words stands; it finds what the pattern alone would find.

    Attributes:
        pattern: begins with one of the words or signs; what stands before them it only looks at.
        words: its words, up to a blank, by their first token, in small letters; of scripts that write blanks between words.
        signs: finds words of other scripts, and what is no word; None where there are none.
        everywhere: whether `signs` finds something in a text of ASCII.
        back: how many characters before a sign the pattern may begin.
    """

    pattern: re.Pattern[str]
    words: Mapping[str, tuple[str, ...]]
    signs: re.Pattern[str] | None = None
    everywhere: bool = False
    back: int = 0

    def finditer(self, text: str, start: int = 0) -> Iterator[re.Match[str]]:
        """Yield the matches of the pattern, from left to right, none within another."""
        for place in self.places(text):
            if place >= start and (match := self.pattern.match(text, place)):
                yield match
                start = max(match.end(), place + 1)

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first match, None where there is none."""
        return next(self.finditer(text), None)

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        """Return the match that begins at a place, None where none does."""
        return self.pattern.match(text, start)

    def sub(self, written: str, text: str) -> str:
        """Return a text with something else in the place of every match."""
        parts, end = [], 0
        for match in self.finditer(text):
            parts += [text[end : match.start()], written]
            end = match.end()
        return "".join([*parts, text[end:]])

    def places(self, text: str) -> list[int]:
        """Return where the pattern may begin."""
        small = _small(text)
        begun = [word for token in _tokens(small) & self.words.keys() for word in self.words[token]]
        found = {at for word in begun for at in _found(small, word)}
        if self.signs and (self.everywhere or not text.isascii()):
            found |= {max(0, match.start() - back) for match in self.signs.finditer(text) for back in {0, self.back}}
        return sorted(found)


def _found(text: str, word: str) -> Iterator[int]:
    """Yield where a word begins in a text, and no longer word that ends in it."""
    at = text.find(word)
    while at >= 0:
        if not at or not text[at - 1].isalnum():
            yield at
        at = text.find(word, at + 1)


@lru_cache(maxsize=64)
def _tokens(small: str) -> frozenset[str]:
    """Return the tokens of a text in small letters."""
    return frozenset(small.translate(_NO_TOKEN).split() if small.isascii() else _TOKEN.findall(small))


@lru_cache(maxsize=64)
def _small(text: str) -> str:
    """Return a text in small letters, each in its place."""
    small = text.replace("İ", "i").lower()  # two letters in small, and the i of `re.IGNORECASE`
    if len(small) != len(text):
        small = "".join(sign.lower() if len(sign.lower()) == 1 else sign for sign in text)
    return small.replace("ς", "σ")


def rule(pattern: str, words: Iterable[str], *, signs: str = "", back: int = 0) -> Rule:
    """Return a rule, in any case and with ``^`` at every line.

    Args:
        pattern: a regular expression.
        words: that it begins with.
        signs: a pattern of further places where it may begin.
        back: how many characters before those.
    """
    tokens: dict[str, tuple[str, ...]] = {}
    others = [signs] if signs else []
    for word in dict.fromkeys(words):
        first = _TOKEN.match(word)
        if first and all(has_blanks(sign) or sign.isdigit() for sign in (word[0], first.group()[-1])):
            token = _small(first.group())
            tokens[token] = tuple({*tokens.get(token, ()), _small(word.split()[0])})
        else:
            others.append(re.escape(word))
    found = re.compile("|".join(others), _FLAGS) if others else None
    return Rule(re.compile(pattern, _FLAGS), tokens, found, any(map(str.isascii, others)), back)


@dataclass(frozen=True)
class Grammar:
    """The rules that are made of the table of languages."""

    announced: Rule
    heading: re.Pattern[str]
    decimal_comma: frozenset[str]  # groups of `announced`
    denies_after: Rule
    denied_after: re.Pattern[str]  # a value and such a word
    instead: re.Pattern[str]
    corrected: Rule
    mended: Rule  # of words: a sentence that begins with a word of correction
    favoured: Rule
    chosen: Rule
    reason: Rule
    doubts: Rule
    judged: Rule  # an option with a verdict beside it: "A: no. B: yes."
    doubted: re.Pattern[str]  # ends where an answer is announced or chosen
    negated: Rule  # what says that the value after it is not the answer
    concluded: Rule
    joined: re.Pattern[str]
    ending: re.Pattern[str]
    new_question: re.Pattern[str]
    alone: re.Pattern[str]  # an option's letter that opens a statement
    bracketed: re.Pattern[str]  # the same, in brackets
    option: str
    minus: Rule
    class_is: Rule
    denied_before: re.Pattern[str]  # ends where a denied class name begins
    fits: re.Pattern[str]  # follows the class name that is the right one
    predicate: re.Pattern[str]  # ends where the class name begins that a sentence comes to
    class_noun: re.Pattern[str]  # stands after a class name, and closes a sentence …
    class_noun_before: re.Pattern[str]  # … or has something after it
    yes: frozenset[str]
    no: frozenset[str]


SHOULD = (
    r"(?:(?:it|that|this|the\s(?:correct\s|right\s|final\s)?answer)\s(?:should|must|would|has\sto|ought\sto)(?:\s(?:actually|really|in\sfact))?\sbe"
    r"|(?:it|that|this)\sis(?:\s(?:actually|really|in\sfact))?|it's(?:\sactually)?|that's|make\s(?:it|that)|i\sme(?:an|ant))"
)


_INSTEAD = r"(?:but|rather|instead|sondern|mais|sino|mas|melainkan|а)"  # after a denial


_DOCUMENT = r"(?:article|text|review|message|tweet|post|comment|story|question|sentence|e?mail|news|relation(?:ship)?|case)\b"


class _Words:
    """The words of every language, by what they are for."""

    def __init__(self, known: Mapping[str, Language]) -> None:
        self.known = known

    def of(self, field: str) -> list[str]:
        """Return the words of a field of `Language`."""
        return [word for language in self.known.values() for word in getattr(language, field)]

    def either(self, field: str) -> str:
        """Return a pattern of any of them."""
        return _either(self.of(field))


def patterns() -> Grammar:
    """Return the rules of the languages that are known now; made once for each version of the table."""
    return _build(languages.version())


@lru_cache(maxsize=2)
def _build(_version: int) -> Grammar:
    words = _Words(languages.known())
    return Grammar(
        announced=_announced(words),
        heading=_pattern(rf"^[#*\s]{{0,8}}(?:the\s)?(?:final\s|correct\s)?{words.either('answer')}[*:：\s]{{0,4}}\n"),
        decimal_comma=frozenset(
            f"{kind}_{code}" for kind in ("says", "direct") for code, language in words.known.items() if language.decimal_comma
        ),
        denies_after=rule(words.either("denies_after"), words.of("denies_after")),
        denied_after=_pattern(rf"^.{{1,60}}?{words.either('denies_after')}"),
        instead=_instead(words),
        mended=_mended(words),
        corrected=_corrected(words),
        favoured=_favoured(words),
        chosen=_chosen(words),
        reason=_reason(words),
        doubts=rule(words.either("doubts"), words.of("doubts")),
        judged=_judged(words),
        doubted=_pattern(
            rf"{words.either('doubts')}(?:,?\s(?:that|daß|dass|it|the|this|correct|right|final|la|el|le|die|der|a|o)){{0,4}}\s?$"
        ),
        negated=rule(words.either("negates") + r"\s?", words.of("negates")),
        concluded=_concluded(words),
        joined=_joined(words),
        ending=_pattern(rf"\s?{words.either('ends')}\s?\Z"),
        new_question=_new_question(words),
        alone=_alone(words),
        bracketed=_bracketed(words),
        option=words.either("option"),
        minus=rule(rf"(?<![\d)]\s)(?<![\d)]){words.either('minus')}\s?(?=[\d$])", words.of("minus")),
        class_is=_class_is(words),
        denied_before=_denied_before(words),
        fits=_pattern(rf"[{_QUOTED})]{{0,3}}\s(?:{words.either('remains')}|(?:is|seems)\s(?:the\s)?{words.either('correct')})"),
        predicate=_predicate(words),
        class_noun=_pattern(rf"{_class_noun(words)}\Z"),
        class_noun_before=_pattern(_class_noun(words)),
        yes=frozenset(texts.fold(word) for word in words.of("yes")),
        no=frozenset(texts.fold(word) for word in words.of("no")),
    )


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile("".join(parts), _FLAGS)


def _announced(words: _Words) -> Rule:
    announcements = [_announcement(code, language) for code, language in words.known.items()]
    return rule("|".join([*announcements, r"(?:^|(?<=^\s))(?P<short>A:)(?=\s)"]), [*words.of("answer"), "a:"])


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


def _instead(words: _Words) -> re.Pattern[str]:
    return _pattern(
        rf"(?:[,;.，；、—–-]\s?|\s)(?:{_INSTEAD}(?:\s(?:rather|instead|que|sim))?",
        rf"[,:]?\s(?:{SHOULD}\s)?|而是|बल्कि\s|بل\s|{SHOULD}\s)|{words.either('denies_after')}[,、،]?\s?(?:बल्कि\s)?(?=\S)",
    )


def _mended(words: _Words) -> Rule:
    corrects, joint = words.either("corrects"), r"\s?[,:—–-]\s?"
    others = r"(?!(?:that|it|this|i|we|he|she|they|there|let|the|my|you|what|if|no)\b)"
    return rule(
        rf"(?:^|(?<=[.!?;,—–-]\s)){corrects}{joint}(?:{corrects}(?:{joint}|\s)){{0,2}}{others}(?=\S)",
        words.of("corrects"),
    )


def _corrected(words: _Words) -> Rule:
    corrects, between = words.either("corrects"), r"(?:[,:;.—–-]|\s){1,3}"
    value = r"(?=[-+$\\(\[\"'*]{0,3}(?:\d|[A-Za-z]\b|negative\b|minus\b|\\))"
    return rule(
        rf"(?<![^\s,;.?!—–(…-])(?:(?:but|so|{corrects}){between}(?:(?:{corrects}){between})?{SHOULD}[\s:]{{1,2}}"
        rf"|(?:{corrects})\s?[,:—–-]\s?(?:(?:{corrects})[\s,:]{{1,2}})?(?:to\s)?{value}"
        r"|(?:i\sme(?:an|ant)|or\srather|make\s(?:it|that)|actually|correction)[:,]?\s)"
        r"|(?:^|(?<=[.!?]\s))(?:it|that)\s(?:should|must)\s(?:actually\s|really\s|instead\s)?be\s",
        ["but", "so", *words.of("corrects"), "i", "or", "make", "actually", "correction", "it", "that"],
    )


def _favoured(words: _Words) -> Rule:
    letter = rf"(?P<letter>[{LETTERS}])(?![^\W{UNSPACED}])[)\]\"'”»“*`.:]{{0,3}}"
    is_ = r"(?:is|would\sbe|must\sbe|should\sbe|seems|looks|est|es|é|ist|это|adalah|是|が|है|(?=正确|正確|错|錯|正しい|正解))"
    unspaced = "|".join(["正", "错", "錯", *(word for word in words.of("remains") if not has_blanks(word[0]))])
    return rule(
        rf"(?:(?<!\w){words.either('option')}\s\(?(?P<figure>\d)\)?|(?<!\w)(?<!{_INDIC})(?:{letter}))\s?(?:{is_}\s?(?P<deny>(?:not|never|no|nicht|pas|не)\s)?"
        r"(?:(?:the|a|clearly|definitely|obviously|therefore|thus|most|only|la|el|le|die|der|das|o|likely)\s){0,3}"
        rf"(?P<what>{words.either('correct')}|wrong\b|incorrect\b|false\b|falsch\b|错)(?!\sif\b)|\s?{words.either('remains')}|it\sis(?=\s?(?:[.,;!]|\Z))"
        r"|(?P<unfit>(?:(?:does|do|did|is|was|can|could|would|will|has|had)\s?(?:not\b|n't\b)|cannot\b|can't\b|won't\b)))",
        [*"".join(ALPHABETS), *words.of("option")],
        signs=rf"(?<=[{LETTERS}])[)\]\"'”*`.:]{{0,3}}\s?(?:是|が|है|{unspaced})",
        back=1,
    )


def _judged(words: _Words) -> Rule:
    verdict = rf"(?:(?P<yes>{words.either('yes')}|{words.either('correct')})|{words.either('no')}|wrong\b|incorrect\b|false\b)"
    return rule(
        rf"(?<!\w)(?P<letter>[{LETTERS}])(?![^\W{UNSPACED}])[).:*]{{0,3}}\s?(?:[^\n.;:?]{{1,80}}?\s?)??(?:(?<=:)|[:—–-])\s?{verdict}(?=\s?(?:[.,;!]|$))",
        "".join(ALPHABETS),
        signs=rf"^[(*]{{0,3}}(?=[{LETTERS}])",
    )


def _chosen(words: _Words) -> Rule:
    letter = rf"(?:[(\[\"'“*`]{{1,3}}[{LETTERS}]|(?-i:[A-Z])|[{_FOREIGN}]|\d|[a-z](?=\)))(?![^\W{UNSPACED}])"
    is_ = r"(?:is|would\sbe|must\sbe|est|es|é|ist|adalah|это)"
    return rule(
        rf"(?:{words.either('chooses')}\s?[:：]?|(?<!thing\s)(?<!all\s)(?<!none\s)\b{_INSTEAD}\b|{words.either('correct')}\s{is_}(?:\s(?:la|el|le|die|o|a))?)"
        rf"\s?(?=(?:{words.either('option')}\s?)?{letter})",
        [*words.of("chooses"), *words.of("correct"), *_INSTEAD[3:-1].split("|")],
    )


def _reason(words: _Words) -> Rule:
    return rule(rf"(?<![^\s,;(，、；（]){words.either('reasons')}(?:\s|(?<=[{UNSPACED}]))", words.of("reasons"))


def _concluded(words: _Words) -> Rule:
    return rule(
        rf"(?<![^\s,;:—–-]){words.either('concludes')}(?:[\s,:]{{1,2}})"
        r"(?:(?:it\sis|it's|it\smust\sbe|we\s(?:get|choose|pick)|i\s(?:choose|pick)|only|the|that\sleaves)\s){0,2}",
        words.of("concludes"),
    )


def _joined(words: _Words) -> re.Pattern[str]:
    joins = words.either("joins")
    return _pattern(
        rf"[\s\"'“”‘’*`)\]]{{0,4}}(?:,|/|;|&|{joins}){{1,2}}[\s\"'“”‘’*`(\[]{{0,4}}(?:{joins}\s?)?(?:{words.either('option')}\s)?",
        rf"[(\[\"'*]{{0,2}}(?P<letter>[{LETTERS}])(?!\w)",
    )


def _new_question(words: _Words) -> re.Pattern[str]:
    return _pattern(
        rf"^\s{{0,3}}(?:#{{1,6}}\s?)?\*{{0,2}}(?:next\s|new\s|another\s)?{words.either('question')}\s?\d{{0,3}}\s?\*{{0,2}}",
        r"(?:[:：]|(?<=\d)[.)])|^\s{0,3}#{2,4}\s?(?:instruction|input|question|problem)s?\b",
    )


def _alone(words: _Words) -> re.Pattern[str]:
    return _pattern(
        rf"{_dress(words.either('option'))}([{LETTERS}])(?:\s?[).:,;!*\"'”’»›`$\]\\—–-]|\s?\Z|(?=[。，、」।؟۔]|입니다|이다|です|である|だ|が)",
        r"|\s(?=(?:because|since|as|for|is|was|and|or|but|not|with|in|y|o|ist|est|es|है|weil|car|porque)(?!\w)))",
    )


def _bracketed(words: _Words) -> re.Pattern[str]:
    dress = _dress(words.either("option"))
    return _pattern(rf"{dress}[(（\[]\s?([{LETTERS}])\s?[)）\]]|{dress}\*\*\s?([{LETTERS}])\s?\*\*")


def _class_is(words: _Words) -> Rule:
    return rule(
        rf"{words.either('label')}(?:\s?(?:{words.either('says')}|[:：])\s?|(?P<direct>\s)(?=[{_QUOTED}(]{{0,3}}\S)"
        rf"|\s(?=[^\n.।]{{1,60}}?{words.either('ends')}(?!\w)))[\s{_QUOTED}(]{{0,4}}",
        words.of("label"),
    )


def _class_noun(words: _Words) -> str:
    return rf"(?:{words.either('label')}|stars?\b|points?\b|★{{1,5}}|[类類](?:别|別)?|的|{_DOCUMENT})"


def _denied_before(words: _Words) -> re.Pattern[str]:
    small = r"be|an?|the|about|really|in|of|as|like|to|under|it|this|eine?|de|une?|una|uma?"
    verbs = r"look|seem|sound|appear|belong|fall|call|consider"
    return _pattern(
        rf"(?:{words.either('negates')}|n't)(?:\s(?:{small}|{verbs}|{words.either('label')})){{0,4}}\s?[{_QUOTED}(]{{0,3}}$"
    )


def _predicate(words: _Words) -> re.Pattern[str]:
    article = r"the|an?|clearly|definitely|mostly|mainly|likely|best|overall|der|die|das|eine?|el|la|le|une?|una|uma?|o"
    before = rf"{words.either('says')}|{words.either('belongs')}|{words.either('chooses')}|\b{_INSTEAD}\b|而是"
    return _pattern(
        rf"(?:{before}|[:：=→⇒;—]|[-=]>)(?:\s(?:{article}|{words.either('label')})){{0,3}}",
        rf"\s?[{_QUOTED}(]{{0,3}}$",
    )


def _dress(option: str) -> str:
    """Return the pattern of what may stand before an option's letter: quotes, an article, "option"."""
    article = r"(?:(?:the|la|el|le|l'|die|der|das|o|a(?=\s(?:letra|alternativa|opção)))\s)?"
    return rf"[\s{_QUOTED}$:>-]{{0,6}}{article}(?:{option}[\s:]{{0,2}}){{0,2}}[\s{_QUOTED}$]{{0,6}}"


def _either(names: Sequence[str]) -> str:
    """Return a pattern of any of some words, the longest first; bounded where a script has blanks between words."""
    ordered = sorted(set(names), key=lambda name: (-len(name), name))
    return "(?:" + "|".join(map(_bounded, ordered)) + ")" if ordered else "(?!)"


def _bounded(name: str) -> str:
    first, last = (r"\b" if has_blanks(sign) else "" for sign in (name[0], name[-1]))
    if re.match(_INDIC, name[0]):
        first = f"(?<!{_INDIC})"
    if re.match(_INDIC, name[-1]):
        last = f"(?!{_INDIC})"
    return first + re.escape(name).replace(r"\ ", r"\s") + last


def has_blanks(sign: str) -> bool:
    """Return whether ``\\b`` finds the edges of words in a letter's script: it has blanks between them, and no vowel signs."""
    return sign.isalpha() and not re.match(f"[\u0900-\u0dff{UNSPACED}]", sign)
