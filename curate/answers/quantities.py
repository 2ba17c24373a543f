"""Numbers with what stands beside them: units, currencies, percent signs, bases; and times of day. The only importer of pint.

A unit on one side alone says nothing (``35 m/s`` is ``35``). Two units are converted where pint knows both; of unlike ones
the quantities differ; where a unit is only a noun (``eggs``), equal numbers cannot be told to be of the same thing, which is
``None``. Values are fractions, so equality is exact; where units were converted, it is to one part in 10⁹.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from curate.answers import texts

__all__ = ["Quantity", "close", "compare", "compare_times", "compound", "read", "time_of_day", "value"]

_CONVERTED = Fraction(1, 10**9)  # relative; conversion factors are floats
_MOST_CHARS = 400  # a longer text is no quantity
_MOST_DIGITS = 400  # of an exponent's value; a larger power is left to sympy
_SIGNIFICANT = 5  # a decimal with so many digits and places may be a fraction written out: 0.33333 is 1/3, 0.33 is not

_DECIMAL = r"(?:\d+\.?\d*|\.\d+)"
_FRAC = r"\\frac\s*(?:\{\s*-?\d+\s*\}|\d)\s*(?:\{\s*-?\d+\s*\}|\d)"
_MAGNITUDE = re.compile(
    rf"(?P<sign>[+-]\s?)?(?:(?P<whole>\d+)(?:\s+|-(?=\d+/\d+\s?[a-z]{{2}})|\s*(?=\\frac)|\s+and\s+)(?:(?P<top>\d+)\s*/\s*(?P<bottom>\d+)|(?P<mixed>{_FRAC}))"
    rf"|(?P<frac>{_FRAC})|(?P<plain>{_DECIMAL})(?:[eE](?P<exp>[+-]?\d{{1,4}})(?![\w]))?(?:\s?/\s?(?P<over>\d+(?:\.\d+)?)(?![\w.]))?)",
)
_POWER = re.compile(r"\s?(?:\*|x|×|·)\s?10\s?(?:\^|\*\*)\s?(?:\{\s*([+-]?\d+)\s*\}|\(\s*([+-]?\d+)\s*\)|([+-]?\d+))")
_TEN_TO = re.compile(r"([+-]?)10\s?(?:\^|\*\*)\s?(?:\{\s*([+-]?\d+)\s*\}|\(\s*([+-]?\d+)\s*\)|([+-]?\d+))")
_BASE = re.compile(r"(?P<sign>-?)\(?(?P<digits>[0-9A-Za-z]+)\)?_\{?\(?(?P<base>\d{1,2})\)?\}?(?:\s*)$")
_PREFIXED = re.compile(r"(?P<sign>-?)0(?P<letter>[xXbBoO])(?P<digits>[0-9A-Fa-f]+)$")
_WORDS_BASE = re.compile(r"(?P<sign>-?)(?P<digits>[0-9A-Za-z]+)\s*\(?(?:in\s+)?base[\s-]+(?P<base>\d{1,2})\)?$")
_SIGN_WORD = re.compile(r"^(?:negative|minus)\s+", re.IGNORECASE)
_SCALE = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "millions": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "k": 10**3,
    "mn": 10**6,
    "bn": 10**9,
}
_SHARES = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "thirds": 3,
    "quarter": 4,
    "quarters": 4,
    "fourth": 4,
    "fourths": 4,
    "fifth": 5,
    "fifths": 5,
    "sixth": 6,
    "sixths": 6,
    "seventh": 7,
    "sevenths": 7,
    "eighth": 8,
    "eighths": 8,
    "ninth": 9,
    "ninths": 9,
    "tenth": 10,
    "tenths": 10,
}
_AND_PART = re.compile(
    rf"\s+and\s+(an?|one|two|three|four|five|six|seven|eight|nine)[\s-]+({'|'.join(sorted(_SHARES, key=len, reverse=True))})\b",
    re.IGNORECASE,
)

# Currency: name → (code, part of the whole).
_CURRENCY_NAMES = {
    **dict.fromkeys(("$", "us$", "usd", "dollar", "dollars", "us dollars", "u.s. dollars", "bucks"), ("usd", Fraction(1))),
    **dict.fromkeys(("cent", "cents", "¢"), ("usd", Fraction(1, 100))),
    **dict.fromkeys(("€", "eur", "euro", "euros"), ("eur", Fraction(1))),
    **dict.fromkeys(("£", "gbp", "pound sterling", "pounds sterling"), ("gbp", Fraction(1))),
    **dict.fromkeys(("pence", "penny"), ("gbp", Fraction(1, 100))),
    **dict.fromkeys(("¥", "jpy", "yen"), ("jpy", Fraction(1))),
    **dict.fromkeys(("元", "cny", "rmb", "yuan", "cn¥"), ("cny", Fraction(1))),
    **dict.fromkeys(("₹", "inr", "rs", "rs.", "rupee", "rupees"), ("inr", Fraction(1))),
    **dict.fromkeys(("₩", "krw", "won"), ("krw", Fraction(1))),
    **dict.fromkeys(("₽", "rub", "ruble", "rubles", "roubles", "руб", "руб.", "рублей"), ("rub", Fraction(1))),
    **dict.fromkeys(("chf", "swiss francs"), ("chf", Fraction(1))),
    **dict.fromkeys(("c$", "ca$", "cad"), ("cad", Fraction(1))),
    **dict.fromkeys(("a$", "au$", "aud"), ("aud", Fraction(1))),
    **dict.fromkeys(("r$", "brl", "reais", "real"), ("brl", Fraction(1))),
    **dict.fromkeys(("₺", "try", "lira"), ("try", Fraction(1))),
    **dict.fromkeys(("₪", "ils"), ("ils", Fraction(1))),
    **dict.fromkeys(("₫", "vnd"), ("vnd", Fraction(1))),
    **dict.fromkeys(("₦", "ngn"), ("ngn", Fraction(1))),
    **dict.fromkeys(("₱", "php"), ("php", Fraction(1))),
    **dict.fromkeys(("฿", "thb"), ("thb", Fraction(1))),
    **dict.fromkeys(("sek",), ("sek", Fraction(1))),
    **dict.fromkeys(("hk$", "hkd"), ("hkd", Fraction(1))),
    **dict.fromkeys(("s$", "sgd"), ("sgd", Fraction(1))),
    **dict.fromkeys(("mx$", "mxn"), ("mxn", Fraction(1))),
}  # fmt: skip
# Names that several currencies share, or that a unit has as well: name → part of the whole, and the codes.
_SHARED_NAMES = {
    **dict.fromkeys(("pound", "pounds"), (Fraction(1), frozenset({"gbp"}))),
    **dict.fromkeys(("dollar", "dollars", "$"), (Fraction(1), frozenset({"cad", "aud", "hkd", "sgd", "mxn"}))),
    **dict.fromkeys(("cent", "cents"), (Fraction(1, 100), frozenset({"eur", "cad", "aud"}))),
    **dict.fromkeys(("peso", "pesos"), (Fraction(1), frozenset({"mxn", "php"}))),
}
_SYMBOL = re.compile(
    r"^(-?)\s*("
    + "|".join(
        re.escape(name)
        for name in sorted(_CURRENCY_NAMES, key=len, reverse=True)
        if not name.isalpha() or name.isupper() or len(name) == 3
    )
    + r"|rs)\s*(?=[-\d.])",
    re.IGNORECASE,
)
_UNIT_TEXT = re.compile(r"^[\s-]?\s*(?:[^\W\d_]|[°µμΩ%‰¢$€£¥₹])[^=<>+;:!?|\\(){}\[\]]{0,60}$")
_NOT_UNITS = {
    "pi",
    "sqrt",
    "or",
    "and",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "exp",
    "frac",
    "i",
    "to",
    "over",
    "x",
    "y",
    "z",
    "e",
    "n",
    "times",
    "plus",
    "minus",
    "but",
    "not",
    "is",
    "π",
    "remainder",
    "r",
    "mod",
    "modulo",
}
_LETTER_UNITS = set("smgLlJNWVAKCFTHhdbBt")  # one letter is a unit after a blank, and a variable without one
_COUNTED = {
    "in",
    "at",
    "a",
    "are",
    "as",
    "than",
    "then",
    "us",
    "pt",
    "count",
    "counts",
    "pair",
    "pairs",
    "of",
    "per",
    "total",
    "bar",
    "bars",
    "point",
    "points",
    "dot",
    "dots",
    "pint",
    "unit",
    "turn",
    "turns",
    "rod",
    "rods",
    "hand",
    "hands",
    "stone",
    "stones",
    "link",
    "links",
    "chain",
    "barn",
    "pixel",
    "drops",
    "bit",
    "bits",
    "cup",
    "cups",
}
_TIME = re.compile(
    r"^(?:at\s+)?(\d{1,2})(?:[:.h](\d{2})(?::(\d{2}))?)?\s*(?:([ap])\.?\s?m\.?|(?:o'?clock|hours|hrs|uhr))?"
    r"\s*(?:in the (morning|afternoon|evening)|at (night))?$"
)


@dataclass(frozen=True)
class Quantity:
    """A number as it was written.

    Attributes:
        value: in its own unit; of a based number that of its digits in that base.
        unit: as written, folded, without what only surrounds it; empty where there is none.
        percent: whether a percent sign follows.
        digits: of a based number, as written; empty for others.
        base: of a based number; 10 for others.
    """

    value: Fraction
    unit: str = ""
    percent: bool = False
    digits: str = ""
    base: int = 10


@lru_cache(maxsize=65536)
def read(text: str) -> Quantity | None:
    """Read a tidied text as one number with what belongs to it; None where it is anything else.

    Args:
        text: as `curate.answers.mathematics.tidy` leaves it, its currency signs kept.
    """
    text = text.strip()
    if len(text) > _MOST_CHARS:
        return None
    sign = -1 if (word := _SIGN_WORD.match(text)) else 1
    text = text[word.end() :] if word else text
    if based := _based(text):
        return based if sign > 0 else Quantity(-based.value, digits="-" + based.digits, base=based.base)
    currency = _SYMBOL.match(text)
    if currency:
        text = currency.group(1) + text[currency.end() :].lstrip()
    found = _magnitude(text)
    if found is None:
        return None
    number, end = found
    number *= sign
    rest = text[end:]
    scale = re.match(r"\s?(million|millions|billion|trillion|thousand|hundred|dozen|k|mn|bn)\b(?![/^])", rest, re.IGNORECASE)
    if scale:
        number, rest = number * _SCALE[scale.group(1).casefold()], rest[scale.end() :]
    if currency:
        code = currency.group(2).casefold()
        extra = _unit(rest)
        return None if extra is None else Quantity(number, f"{code} {extra}".strip() if extra.startswith(("per ", "/")) else code)
    percent = re.match(r"\s?(?:\\?%|percent\b|per cent\b|pct\b)", rest, re.IGNORECASE)
    if percent:
        rest = rest[percent.end() :]
        extra = _unit(rest)
        return None if extra is None else Quantity(number, percent=True)
    unit = _unit(rest)
    return None if unit is None else Quantity(number, unit)


def _based(text: str) -> Quantity | None:
    """Read ``1011_2``, ``1011 base 2``, ``0b1011`` or ``0xFF``."""
    if match := _PREFIXED.match(text):
        base = {"x": 16, "b": 2, "o": 8}[match["letter"].lower()]
    elif match := (_BASE.match(text) or _WORDS_BASE.match(text)):
        base = int(match["base"])
    else:
        return None
    if not 2 <= base <= 36:
        return None
    number = sum(
        int(digit, 36) * base**at for at, digit in enumerate(reversed(match["digits"]))
    )  # of digits too large for it, too
    return Quantity(Fraction(-number if match["sign"] else number), digits=match["sign"] + match["digits"].upper(), base=base)


def _magnitude(text: str) -> tuple[Fraction, int] | None:
    """Return the value of the number at the beginning of a text, and where it ends; ``two and a half`` is one number."""
    found = _single(text)
    if found and found[0].denominator == 1 and (part := _AND_PART.match(text, found[1])):
        count = texts.number_word(part[1]) if part[1].casefold() not in ("a", "an") else 1
        if count:
            return found[0] + Fraction(count, _SHARES[part[2].casefold()]) * (-1 if found[0] < 0 else 1), part.end()
    return found


def _single(text: str) -> tuple[Fraction, int] | None:
    if match := _TEN_TO.match(text):
        exponent = int(match[2] or match[3] or match[4])
        if abs(exponent) <= _MOST_DIGITS:
            return Fraction(10) ** exponent * (-1 if match[1] == "-" else 1), match.end()
        return None
    if not (match := _MAGNITUDE.match(text)):
        return _in_words(text)
    sign = -1 if (match["sign"] or "").startswith("-") else 1
    if match["whole"]:
        part = _fraction(match["mixed"]) if match["mixed"] else _ratio(match["top"], match["bottom"])
        return None if part is None else (sign * (Fraction(match["whole"]) + part), match.end())
    if match["frac"]:
        part = _fraction(match["frac"])
        return None if part is None else (sign * part, match.end())
    number = Fraction(match["plain"])
    if match["exp"]:
        if abs(int(match["exp"])) > _MOST_DIGITS:
            return None
        number *= Fraction(10) ** int(match["exp"])
    end = match.end()
    if match["over"]:
        if not Fraction(match["over"]):
            return None
        return sign * number / Fraction(match["over"]), end
    if power := _POWER.match(text, end):
        exponent = int(power[1] or power[2] or power[3])
        if abs(exponent) > _MOST_DIGITS:
            return None
        number, end = number * Fraction(10) ** exponent, power.end()
    return sign * number, end


def _in_words(text: str) -> tuple[Fraction, int] | None:
    """Read a number in English words at the beginning of a text, such as ``twenty-three`` or ``two thirds``."""
    if not re.match(r"[A-Za-z]", text):
        return None
    pieces = list(re.finditer(r"[A-Za-z]+", text[:200]))
    best: tuple[Fraction, int] | None = None
    for at, piece in enumerate(pieces[:12]):
        if texts.number_word(piece.group()) is None and piece.group().casefold() not in ("and", *_SHARES, "a", "an"):
            break
        said = text[: piece.end()].casefold()
        number = texts.number_word(said)
        if number is not None and piece.group().casefold() != "and":
            best = Fraction(number), piece.end()
        elif piece.group().casefold() in _SHARES and at <= 2:
            top = said[: piece.start()].strip(" -")
            count = 1 if top in ("", "a", "an") else texts.number_word(top)
            if count is not None:
                best = Fraction(count, _SHARES[piece.group().casefold()]), piece.end()
                break
    return best


def _fraction(text: str) -> Fraction | None:
    parts = re.findall(r"\{\s*(-?\d+)\s*\}|(\d)", text.replace("\\frac", "", 1))
    top, bottom = (int(a or b) for a, b in parts[:2])
    return _ratio(str(top), str(bottom))


def _ratio(top: str, bottom: str) -> Fraction | None:
    return Fraction(int(top), int(bottom)) if int(bottom) else None


def _unit(rest: str) -> str | None:
    """Return the unit that a number's rest is, "" for none, None where the rest is something else."""
    rest = re.sub(r"\A\s(?:of\s)?an?\s(?=[^\W\d_]{2})", " ", rest.rstrip(" .,;"))
    if not rest.strip():
        return ""
    if re.fullmatch(r"(?:st|nd|rd|th)\b.{0,40}", rest):
        return ""
    if re.fullmatch(r"\s?-?[A-Za-zµ]{1,12}\^\{-?\d\}", rest) and _physical(rest.strip(" -")):
        rest = re.sub(r"\^\{(-?\d)\}", r"^\1", rest)
    if not _UNIT_TEXT.match(rest):
        return None
    unit = " ".join(rest.strip(" -").split())
    named = re.findall(r"[^\W\d_]+", unit)
    if any(word.casefold() in _NOT_UNITS for word in named):
        return None
    if re.search(r"\d", re.sub(r"\^\{?-?\d\}?|(?<=[A-Za-z])-?[23]\b", "", unit)):
        return None
    if (
        len(named) == 1
        and len(named[0]) == 1
        and named[0].isascii()
        and (not (rest[0].isspace() or rest[0] == "°") or named[0] not in _LETTER_UNITS)
    ):
        return None
    if "*" in unit or re.search(r"\^(?!\{?-?\d)", unit):
        return None
    return unit


def value(text: str) -> Fraction | None:
    """Return the value of a number, whatever its unit; None for anything else."""
    found = read(text)
    return found.value if found else None


def compare(a: Quantity, b: Quantity, written: tuple[str, str] = ("", "")) -> bool | None:
    """Return whether two quantities are the same; None where their units cannot be compared.

    Args:
        a, b: as read.
        written: both texts, whose decimal places say how exact they are.
    """
    if a.digits or b.digits:
        return _compare_based(a, b)
    if a.percent != b.percent and not (a.unit or b.unit):  # 50% is 50 and 0.5
        share, other = (a, b) if a.percent else (b, a)
        return close(share.value, other.value, written) or close(share.value / 100, other.value, written)
    if a.percent != b.percent:
        return False
    equal = close(a.value, b.value, written)
    if not a.unit or not b.unit or texts.fold(a.unit) == texts.fold(b.unit):
        return equal
    for named, other in ((a, b), (b, a)):
        if part := _as_shared(named.unit, other.unit):
            return close(named.value * part, other.value, written)
    left, right = _known(a.unit), _known(b.unit)
    if left is None and right is None:
        return equal and (True if _same_noun(a.unit, b.unit) else None)
    if left is None or right is None:
        return None if equal else False
    if left[0] != right[0]:
        return False
    return _converted(a, b, left[1], right[1], written)


def _as_shared(unit: str, other: str) -> Fraction | None:
    """Return what part of a currency a name is that several share, where the other unit is that currency: £12 and 12 pounds."""
    part, codes = _SHARED_NAMES.get(texts.fold(unit), (None, frozenset()))
    return part if _known_code(other) in codes else None


def _known_code(unit: str) -> str:
    return _CURRENCY_NAMES.get(texts.fold(unit), ("", None))[0]


def _compare_based(a: Quantity, b: Quantity) -> bool:
    if a.value == b.value:
        return True
    if (a.base == 10) == (b.base == 10):
        return False
    based, other = (a, b) if a.base != 10 else (b, a)
    return (
        other.value.denominator == 1 and not other.unit and based.digits == str(other.value.numerator)
    )  # the base is in the question


def close(x: Fraction, y: Fraction, written: tuple[str, str] = ("", "")) -> bool:
    """Return whether two values are equal, or one is the other written out to five or more decimal places and digits."""
    return x == y or abs(x - y) < _rounding(written)


def _rounding(written: tuple[str, str]) -> Fraction:
    steps = []
    for text in written:
        if (match := re.search(r"(\d*)\.(\d+)", text)) and not re.search(r"[eE][-+]?\d|10\s?\^", text):
            places, significant = len(match[2]), len((match[1] + match[2]).lstrip("0"))
            if min(places, significant) >= _SIGNIFICANT:
                steps.append(Fraction(1, 10**places))
    return max(steps, default=Fraction(0))


def _same_noun(a: str, b: str) -> bool:
    """Return whether two nouns are one, in number or with further words: ``egg``, ``eggs``, ``eggs in all``."""
    left, right = (re.findall(r"[^\W\d_]+", texts.fold(unit)) for unit in (a, b))
    short, long = sorted(([re.sub(r"(?<=\w{2})(?:es|s)$", "", word) for word in side] for side in (left, right)), key=len)
    return long[: len(short)] == short or long[-len(short) :] == short


def _known(unit: str) -> tuple[str, Any] | None:
    """Return a unit's dimension and what converts it: a currency's code and its part, or pint's; None for a mere noun."""
    folded = texts.fold(unit)
    tokens = folded.split()
    for n in range(len(tokens), 0, -1):
        name = " ".join(tokens[:n])
        if name in _CURRENCY_NAMES:
            per = " ".join(tokens[n:])
            code, part = _CURRENCY_NAMES[name]
            return f"{code} {per}".strip() if per.startswith(("per ", "/")) else code, part
    return _physical(unit)


_SPELT = [
    (re.compile(r"(?:°|\\degree|\bdegrees?)\s*(?:c|celsius|centigrade)\b", re.IGNORECASE), "degC"),
    (re.compile(r"(?:°|\\degree|\bdegrees?)\s*(?:f|fahrenheit)\b", re.IGNORECASE), "degF"),
    (re.compile(r"°"), "degree"),
    (re.compile(r"\bsquare\s+([^\W\d_]+)", re.IGNORECASE), r"\1^2"),
    (re.compile(r"\bcubic\s+([^\W\d_]+)", re.IGNORECASE), r"\1^3"),
    (re.compile(r"\bsq\.?\s+([^\W\d_]+)", re.IGNORECASE), r"\1^2"),
    (re.compile(r"\s+per\s+", re.IGNORECASE), "/"),
    (re.compile(r"[·⋅]"), "*"),
    (re.compile(r"\{|\}"), ""),
    (re.compile(r"([A-Za-zµ])(-?[23])\b"), r"\1^\2"),
    (re.compile(r"\bmins?\b\.?"), "minute"),
    (re.compile(r"\bsecs?\b\.?"), "second"),
    (re.compile(r"\b(?:hrs?|hours?)\b\.?"), "hour"),
    (re.compile(r"\bft\b\.?"), "foot"),
    (re.compile(r"\blbs?\b\.?"), "pound"),
    (re.compile(r"\bkms?\b"), "km"),
    (re.compile(r"\bkmh\b|\bkph\b"), "km/hour"),
    (re.compile(r"\blit(?:er|re)s?\b", re.IGNORECASE), "liter"),
    (re.compile(r"met(?:er|re)s?\b", re.IGNORECASE), "meter"),
]


@lru_cache(maxsize=4096)
def _physical(unit: str) -> tuple[str, Any] | None:
    """Return the dimension and the pint unit of the longest beginning of a unit that pint knows."""
    for pattern, spelt in _SPELT:
        unit = pattern.sub(spelt, unit)
    tokens = unit.split()
    for n in range(min(len(tokens), 4), 0, -1):
        name = " ".join(tokens[:n]).rstrip(".,")
        if re.sub(r"[^a-z]", "", name.casefold()) in _COUNTED and not (name in ("in", "cup", "cups") and len(tokens) == 1):
            continue
        if found := _parsed(name):
            return found
    return None


@lru_cache(maxsize=4096)
def _parsed(name: str) -> tuple[str, Any] | None:
    import pint

    for spelling in dict.fromkeys((name, name.lower())):
        try:
            unit = _registry().parse_units(spelling)
        except (pint.PintError, ValueError, TypeError, AttributeError, ArithmeticError, SyntaxError, AssertionError):
            continue
        if not unit.dimensionless or "degree" in spelling or "radian" in spelling:
            return str(unit.dimensionality), unit
    return None


@lru_cache(maxsize=1)
def _registry() -> Any:
    import tokenize  # noqa: F401  # pint's parser raises its errors

    import pint

    return pint.UnitRegistry(cache_folder=None)


def _converted(a: Quantity, b: Quantity, left: Any, right: Any, written: tuple[str, str]) -> bool:
    if isinstance(left, Fraction):
        return close(a.value * left, b.value * right, written)
    if left == right:
        return close(a.value, b.value, written)
    registry = _registry()
    x = Fraction(registry.Quantity(float(a.value), left).to(right).magnitude)
    return abs(x - b.value) <= max(abs(x), abs(b.value)) * _CONVERTED


@lru_cache(maxsize=8192)
def compound(text: str) -> Quantity | None:
    """Read a quantity of several parts, such as ``1 hour 30 minutes`` or ``5 ft 10 in``; None for anything else."""
    if len(text) > _MOST_CHARS:
        return None
    parts = re.findall(rf"({_DECIMAL})\s*([^\W\d_]+\.?)", text)
    joined = re.sub(rf"{_DECIMAL}\s*[^\W\d_]+\.?", "", text)
    if len(parts) < 2 or not re.fullmatch(r"(?:\s|,|and)*", joined.replace("and", "")):
        return None
    found = [(Fraction(number), _physical(unit)) for number, unit in parts]
    known = [(number, unit) for number, unit in found if unit]
    if len(known) < len(found) or len({unit[0] for _, unit in known}) > 1:
        return None
    smallest = known[-1][1][1]
    registry = _registry()
    total = sum(
        (
            Fraction(registry.Quantity(1.0, unit[1]).to(smallest).magnitude).limit_denominator(10**6) * number
            for number, unit in known
        ),
        Fraction(0),
    )
    return Quantity(total, parts[-1][1])


Time = tuple[int, bool]  # seconds after midnight; whether morning or afternoon is known


def time_of_day(text: str) -> Time | None:
    """Read a time of day with a colon, or with am or pm; None for anything else."""
    text = texts.fold(text).strip(" .")
    if text in ("noon", "midday", "12 noon", "midnight", "12 midnight"):
        return (0 if "midnight" in text else 12 * 3600), True
    match = _TIME.match(text)
    if not match:
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    half = match[4] or {"morning": "a", "afternoon": "p", "evening": "p", "night": "p"}.get(match[5] or match[6] or "", "")
    if match[2] is None and not half and "clock" not in text:
        return None
    if "." in match[0].split(" ")[0] and not half:
        return None
    if minute > 59 or second > 59 or hour > 24 or (half and not 1 <= hour <= 12):
        return None
    hour = hour % 12 + (12 if half == "p" else 0) if half else hour
    return hour * 3600 + minute * 60 + second, bool(half) or hour > 12 or hour == 0 or match[1].startswith("0")


def compare_times(a: Time, b: Time) -> bool | None:
    """Return whether two times of day are one; None where one leaves morning or afternoon open and the other is afternoon."""
    if a[0] == b[0] and a[1] == b[1]:
        return True
    if a[1] and b[1]:
        return False
    if a[0] % 43200 != b[0] % 43200:
        return False
    return True if a[1] != b[1] else a[0] == b[0]
