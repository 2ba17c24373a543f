"""Compares mathematical answers by value: numbers, quantities, times, dates, lists, sets, matrices, and LaTeX.

What can be read exactly is compared here; single expressions go whole to `curate.answers.symbolic`. Equality is exact or
relative, never absolute, and is of the whole answer or not at all. What cannot be compared is None: no part of it is compared
instead.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from curate.answers import quantities, symbolic, texts

__all__ = ["compare", "is_mathematical", "number", "quantity", "same", "tidy"]

_MOST_CHARS = 400  # longer answers are compared as text
_MOST_ITEMS = 40  # of a list whose order does not matter, where its items are no numbers

_PRIMES = re.compile(
    r"\A\s*(?:(?P<feet>\d+(?:\.\d+)?)\s?['’′](?:\s?(?P<inches>\d+(?:\.\d+)?)\s?(?:[\"”″]|''))?|(?P<alone>\d+(?:\.\d+)?)\s?[\"”″])\s*\Z"
)
_WRAPPED = re.compile(
    r"^(?:\$\$(.*)\$\$|\$([^$]*)\$|\\\((.*)\\\)|\\\[(.*)\\\]|\\boxed\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\})$", re.DOTALL
)
_SPACING = re.compile(r"(?<!\\)\\(?:[!,;: ]|q?quad\b|displaystyle\b|big+[lr]?\b|Big+[lr]?\b|limits\b|left\b\.?|right\b\.?)")
_DEGREES = re.compile(r"\^?\s*\{?\s*\\circ\s*\}?|\\degree\b")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm|mathbf|textbf|textit|mathit|operatorname|rm)\s*\{([^{}]*)\}")
_GROUPED = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_NAMED = re.compile(r"^[A-Za-z]\w{0,3}(?:\([a-z]\))?\s*(?:=|\\in(?![a-z]))\s*([^=]+)$")
_REPEATING = re.compile(r"(?<![\d.])(\d{1,20})?\.(\d{0,20})(?:\\(?:overline|bar)\s*\{?(\d{1,20})\}?|\((\d{1,20})\))")
_UNIT_AFTER = re.compile(r"^(.*[\d})\]])\s+((?:[A-Za-z]{2,}\.?(?:\^?\{?[23]\}?)?(?:\s|/|$)\s?){1,4})$")
_WORDS = re.compile(r"[^\W\d_]{3,}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
_TRIGONOMETRIC = re.compile(r"(?<![A-Za-z])(?:arc)?(?:sin|cos|tan|sec|csc|cot)(?![A-Za-z])")  # whose degrees say something
_FUNCTIONS = {"sqrt", "sin", "cos", "tan", "log", "exp", "arcsin", "arccos", "arctan", "max", "min", "sec", "csc", "cot", "inf",
              "mod", "gcd", "lcm", "sinh", "cosh", "tanh", "det"}  # fmt: skip
_ENVIRONMENTS = re.compile(r"\\(begin|end)\s*\{(?:[pbvBV]?(?:small)?matrix\*?|array|cases)\}(?:\s*\{[lcr| ]*\})?")
_MATRIX = re.compile(
    r"^(?:[(\[|]|\\[lr]vert\s*)?\s*\\begin\s*\{([pbvBV]?(?:small)?matrix|array)\}(?:\s*\{[lcr| ]*\})?"
    r"(.*?)\\end\s*\{\1\}\s*[)\]|]?$",
    re.DOTALL,
)
_SIGNS = {"≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "×": "*", "÷": "/", "·": "*", "∞": "\\infty ", "π": "\\pi ", "∪": "\\cup ",
          "∩": "\\cap ",
          "∈": "\\in ", "±": "\\pm ", "√": "\\sqrt ", "≡": "\\equiv ", "→": "\\to ", "∅": "\\emptyset ", "θ": "\\theta ",
          "α": "\\alpha ",
          "β": "\\beta ", "λ": "\\lambda ", "∼": "\\sim ", "…": "\\ldots ", "′": "'"}  # fmt: skip


def same(found: str, gold: str) -> bool:
    """Return whether two mathematical answers have the same value, for certain; symmetric, and never longer than a minute."""
    return compare(found, gold) is True


def compare(found: str, gold: str) -> bool | None:
    """Return whether two mathematical answers have the same value; None where they cannot be compared.

    Numbers are equal as fractions, or to the last of five or more decimal places; a unit on one side alone, thousands separators
    and degree signs are ignored, and other units are converted; ``50%`` equals both ``50`` and ``0.5``; lists without brackets
    and sets have no order, tuples have one; ``1011_2`` equals ``11``, and ``1011`` where the base is in the question.
    """
    a, b = tidy(found), tidy(gold)
    if not a or not b:
        return False
    if _folded(a) == _folded(b):
        return True
    if max(len(a), len(b)) > _MOST_CHARS:
        return None
    if bool(re.search(r"[=]|\\in(?![a-z])", a)) != bool(re.search(r"[=]|\\in(?![a-z])", b)):
        a, b = _NAMED.sub(r"\1", a).strip(), _NAMED.sub(r"\1", b).strip()
    return _compare(*sorted((a, b)))


@lru_cache(maxsize=65536)
def _compare(a: str, b: str) -> bool | None:
    if _folded(a) == _folded(b):
        return True
    for rule in (_as_quantities, _as_moments, _as_matrices, _as_lists, _as_congruences):
        applies, verdict = rule(a, b)
        if applies:
            return verdict
    a, unit = _unit_off(a)
    b, other = _unit_off(b)
    if not is_mathematical(a) or not is_mathematical(b):
        return _as_words(a, b)
    if unit and other and unit != other:
        return None  # of expressions, units are not converted
    left, right = _latex(a), _latex(b)
    if left.replace(" ", "") == right.replace(" ", ""):
        return True
    verdict = symbolic.compare(*sorted((left, right)), relative=_relative(a, b))
    return _as_shapes(left, right) if verdict is None else verdict


Verdict = tuple[bool, bool | None]  # whether a rule applies, and what it says
_OTHER: Verdict = (False, None)


def _as_quantities(a: str, b: str) -> Verdict:
    x, y = (quantities.read(text) or quantities.compound(text) for text in (a, b))
    if x is None or y is None:
        return _OTHER
    return True, quantities.compare(x, y, (a, b))


def _as_moments(a: str, b: str) -> Verdict:
    """Compare dates, and times of day; a ratio such as 3:2 is none where neither side says am or pm, and is compared as such."""
    days = [found[0] if len(found := texts.dates(text)) == 1 else None for text in (a, b)]
    if days[0] and days[1]:
        return True, days[0] == days[1]
    ratios = [re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?::|\bto\b|\\colon)\s*(\d+(?:\.\d+)?)", text) for text in (a, b)]
    times = [quantities.time_of_day(text) for text in (a, b)]
    if times[0] and times[1] and not (ratios[0] and ratios[1]):
        return True, quantities.compare_times(times[0], times[1])
    if ratios[0] and ratios[1]:
        (p, q), (r, s) = (map(Fraction, ratio.groups()) for ratio in ratios if ratio)
        return True, p * s == q * r and bool(q) == bool(s)
    return _OTHER


def _as_matrices(a: str, b: str) -> Verdict:
    x, y = _matrix(a), _matrix(b)
    if x is None and y is None:
        return _OTHER
    if x is None or y is None:
        rows = x or y or ()
        if len(rows) == 1 and len(rows[0]) == 1:
            return True, compare(rows[0][0], b if x else a)
        other = _split(b if x else a)
        if other and len(rows) == 1 and other[0] == "[]":  # [1, 2] in brackets is a row as well
            return True, _each(rows[0], other[1])
        return True, False if other or quantities.read(b if x else a) else None
    if [len(row) for row in x] != [len(row) for row in y]:
        return True, False
    return True, _each([cell for row in x for cell in row], [cell for row in y for cell in row])


def _matrix(text: str) -> tuple[tuple[str, ...], ...] | None:
    """Read a matrix in an environment of LaTeX, or as rows in brackets: ``[[1, 2], [3, 4]]``, ``[1 2; 3 4]``."""
    text = re.sub(r"^(?:\\?(?:Matrix|matrix|np\.array|array))\s*\((.*)\)$", r"\1", text.strip())
    if match := _MATRIX.match(text):
        if match[1].startswith(("v", "V")) or text.startswith(("|", "\\lvert")):
            return None  # a determinant is a number
        rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr\b", match[2]) if row.replace("\\hline", "").strip()]
        return tuple(tuple(cell.replace("\\hline", "").strip() for cell in row.split("&")) for row in rows)
    outer = _split(text)
    if outer and outer[0] in ("[]", "()"):
        inner = [_split(item) for item in outer[1]]
        if len(inner) and all(item and item[0] == outer[0] for item in inner) and outer[0] == "[]":
            return tuple(tuple(item[1]) for item in inner if item)
    if match := re.fullmatch(r"\[([^\[\]]*;[^\[\]]*)\]", text):
        return tuple(tuple(re.split(r"\s*,\s*|\s+", row.strip())) for row in match[1].split(";"))
    return None


def _as_lists(a: str, b: str) -> Verdict:
    """Compare lists: tuples and intervals in order and with their brackets, sets and bare lists in any order."""
    unions = [_top_level(text, "\\cup") for text in (a, b)]
    if len(unions[0]) > 1 and len(unions[1]) > 1:
        return True, _any_order(*unions)
    x, y = _split(a), _split(b)
    if x is None or y is None or (not x[1] and not y[1]):
        single = x or y
        other = b if x else a
        if (
            single and single[0] in ("", "{}") and single[1] and "=" not in other
        ):  # several spellings of one value, or several values
            verdicts = [compare(item, other) for item in single[1]]
            return True, False if False in verdicts else None if None in verdicts else True
        return _OTHER
    brackets = {x[0], y[0]}
    if brackets <= {"", "{}"}:
        return True, _any_order(_distinct(x[1]), _distinct(y[1]))
    if len(x[1]) != len(y[1]) or ("{}" in brackets and len(brackets) > 1) or (len(brackets) > 1 and "" not in brackets):
        return True, False
    return True, _each(x[1], y[1])


def _split(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the brackets of a list, such as ``()`` or ``(]``, and its items; "" for a bare one, None for no list."""
    text = text.strip()
    text = (
        re.sub(r"\\(?:langle|lparen)\b", "(", re.sub(r"\\(?:rangle|rparen)\b", ")", text)).replace("\\{", "{").replace("\\}", "}")
    )
    text = re.sub(r"\\l?brace\b", "{", re.sub(r"\\rbrace\b", "}", text)).replace("⟨", "(").replace("⟩", ")").strip()
    if text in ("\\emptyset", "\\varnothing", "{}", "empty set", "the empty set"):
        return "{}", ()
    if text.startswith("\\pm") and (items := _top_level(text[3:], ",")) and len(items) == 1 and items[0]:
        return "", (items[0], f"-{items[0]}" if re.fullmatch(r"[\w./]+|\\sqrt\{\w+\}", items[0]) else f"-({items[0]})")
    if text.count("\\pm") == 1 and not re.search(r"[,;=]|\bor\b|\band\b", text):  # 3 ± √2, two values
        return "", (text.replace("\\pm", "+"), text.replace("\\pm", "-"))
    if len(text) > 1 and text[0] in "([{" and text[-1] in ")]}" and _closes_at_end(text):
        items = _top_level(text[1:-1], ",;" if ";" in text and "," not in text else ",")
        if len(items) > 1 or text[0] + text[-1] in ("{}", "[]"):
            return text[0] + text[-1], tuple(items)
        return None
    if "\\begin" in text or "\\ldots" in text or "\\cdots" in text:
        return None
    joined = re.sub(r",?\s+(?:and|or|und|oder|et|ou)\s+|(?<=\d)\s*(?:\s[yoeи]\s|или|[和或与、])\s*(?=[-\d])", ",", text)
    items = _top_level(joined, ",;")
    flat = [
        item for part in items if part for item in ((_split(part) or ("", (part,)))[1] if part.startswith("\\pm") else (part,))
    ]
    return ("", tuple(flat)) if len(items) > 1 and all(items) else None


def _closes_at_end(text: str) -> bool:
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0:
            return at == len(text) - 1
    return False


def _top_level(text: str, separators: str) -> list[str]:
    """Split a text where no bracket is open; by a command such as ``\\cup``, or at any of several signs."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        sign = text[at]
        depth += (sign in "([{") - (sign in ")]}")
        if depth <= 0 and (text.startswith(separators, at) if separators.startswith("\\") else sign in separators):
            parts.append(text[start:at].strip())
            start = at = at + (len(separators) if separators.startswith("\\") else 1)
            continue
        at += 1
    return [*parts, text[start:].strip()]


def _distinct(items: tuple[str, ...]) -> tuple[str, ...]:
    """Drop items that are written twice: a set has them once."""
    return tuple(dict.fromkeys(items))


def _each(left: list[str] | tuple[str, ...], right: list[str] | tuple[str, ...]) -> bool | None:
    if len(left) != len(right):
        return False
    verdicts = [compare(x, y) for x, y in zip(left, right, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _any_order(left: list[str] | tuple[str, ...], right: list[str] | tuple[str, ...]) -> bool | None:
    if len(left) != len(right):
        return False
    numbers = [[quantities.read(item) for item in side] for side in (left, right)]
    if all(item and not item.unit and not item.digits for side in numbers for item in side):
        values = [sorted(item.value for item in side if item) for side in numbers]
        if values[0] == values[1]:
            return True
    if len(left) > _MOST_ITEMS:
        return None
    rest, unsure = list(right), False
    for item in left:
        verdicts = [compare(item, other) for other in rest]
        if True in verdicts:
            del rest[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


def _as_congruences(a: str, b: str) -> Verdict:
    """Compare ``x ≡ 3 (mod 7)`` part by part, which sympy has no notion of."""
    parts = []
    for text in (a, b):
        text = re.sub(r"\\[bp]?mod\b|\bmod\b", " mod ", text)
        match = re.fullmatch(r"(.+?)\\equiv(.+?)[({\s]*mod[\s{]*(.+?)[)}\s]*", text)
        parts.append([part.strip(" {}()") for part in match.groups()] if match else None)
    if parts[0] is None or parts[1] is None:
        return _OTHER
    moduli = [quantities.value(part[2]) for part in parts if part]
    residues = [quantities.value(part[1]) for part in parts if part]
    if moduli[0] and moduli[0] == moduli[1] and None not in residues and parts[0][0] == parts[1][0]:
        return True, (residues[0] - residues[1]) % moduli[0] == 0  # type: ignore[operator]
    return True, _each(parts[0], parts[1])


def _as_words(a: str, b: str) -> bool | None:
    """Compare answers of which one is no mathematics: words are the same or not, and a number is no word."""
    if texts.same(a, b):
        return True
    if is_mathematical(a) != is_mathematical(b):
        return False
    return None if re.search(r"[\\^=<>]", a + b) else False


def _unit_off(text: str) -> tuple[str, str]:
    """Split a unit in words from an expression: ``12\\sqrt{13} feet``."""
    match = _UNIT_AFTER.match(text)
    if (
        match
        and re.search(r"[\\^+*]", match[1])
        and not any(w.casefold() in _FUNCTIONS | {"and", "or"} for w in re.findall(r"[A-Za-z]+", match[2]))
    ):
        return match[1].strip(), match[2].casefold()
    return text, ""


def _as_shapes(a: str, b: str) -> bool | None:
    """Compare formulas that sympy cannot read: unequal where they differ in plain numbers alone, else unknown."""
    shapes = [re.sub(r"\d+(?:\.\d+)?", "#", re.sub(r"\s+", "", text)) for text in (a, b)]
    if shapes[0] != shapes[1] or re.search(r"\d*/\d|\\frac", a):
        return None
    found = [[Fraction(n) for n in re.findall(r"\d+(?:\.\d+)?", text)] for text in (a, b)]
    return None if found[0] == found[1] else False


def _relative(a: str, b: str) -> float:
    """Return by how much values may differ, as a fraction: a decimal of five or more places and digits may be rounded."""
    for text in (a, b):
        if match := re.fullmatch(r"-?(\d*)\.(\d{5,})", text):
            significant = len((match[1] + match[2]).lstrip("0"))
            if significant >= 5:
                return 10.0 ** (1 - significant) / max(1, int((match[1] + match[2]).lstrip("0")[0]))
    return symbolic.RELATIVE


def quantity(text: str) -> quantities.Quantity | None:
    """Return a text as one number with what belongs to it; None for anything else."""
    return quantities.read(tidy(text))


def number(text: str) -> Fraction | None:
    """Return the value of a plain number, a fraction, a mixed number or a number with a unit; None for anything else."""
    found = quantity(text)
    return found.value if found else None


@lru_cache(maxsize=16384)
def is_mathematical(text: str) -> bool:
    """Return whether an answer reads as mathematics: digits, symbols, LaTeX or single letters, and no ordinary words."""
    if len(text) > _MOST_CHARS:
        return False
    text = _ENVIRONMENTS.sub(" ", tidy(text))
    if quantities.read(text) is not None:
        return bool(re.search(r"\d", text)) or quantities.read(text).unit == ""  # type: ignore[union-attr]
    words = _WORDS.findall(re.sub(r"\\[A-Za-z]+", " ", text))
    mathematics = bool(re.search(r"[\d\\^=+*/<>∞π√]", text)) or bool(re.fullmatch(r"[-(]*[A-Za-z][)]*", text))
    return mathematics and all(word.casefold() in _FUNCTIONS for word in words)


@lru_cache(maxsize=65536)
def tidy(text: str) -> str:
    """Return an answer without what carries no value: delimiters, spacing, emphasis, final full stop; currency signs stay."""
    text = texts.plain(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = text.replace("−", "-").replace("–", "-").replace("—", "-")
        text = "".join(_SIGNS.get(sign, sign) for sign in text)
    text = re.sub(r"\A\s*(?:~|≈|\\approx\b|\\sim\b)\s?(?=[\d$.-])", "", text)
    text = _PRIMES.sub(_feet, text)
    text = text.strip(" *`\"'“”‘’\n\t_")
    text = text.rstrip(".。").strip() if not re.search(r"\d\.$", text) else text.removesuffix(".")
    while match := _WRAPPED.match(text):
        text = next(group for group in match.groups() if group is not None).strip().removesuffix(".")
    text = re.sub(r"(?<!\\)\\[()\[\]]", "", text).replace("\\%", "%").replace("\\$", "$")
    if text.count("$") > 1:  # formulas among words, not currency
        text = re.sub(
            r"\$([^$]*)\$", lambda match: match[0] if re.search(r"(?<![\\A-Za-z])[A-Za-z]{2,}", match[1]) else match[1], text
        )
    text = text.removesuffix("$") if text.count("$") == 1 and "\\" in text else text
    text = _DEGREES.sub("°", _SPACING.sub(" ", text))
    text = _TEXT.sub(
        lambda match: (
            match.group(1).strip()
            if len(match.group(1).strip()) == 1 and match.group(1) == match.group(1).strip()
            else f" {match.group(1).strip()} "
        ),
        text,
    )
    text = re.sub(r"(?<=\d)\s?:\s?(?=\d)", ":", _REPEATING.sub(_repeated, text))
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text)
    text = re.sub(r"\\(?:cdot|times)(?![A-Za-z])\s?", "*", text)
    if "°" in text and not _TRIGONOMETRIC.search(text):
        text = re.sub(r"(\d)°(?!\s*[CFcf]\b)", r"\1 ", text)
    text = re.sub(r"\s+", " ", _ungrouped(text)).strip().rstrip(".")
    return re.sub(r"(?<=\d)\s+degrees?$", "", text)


def _feet(match: re.Match[str]) -> str:
    feet, inches = match["feet"], match["inches"] or match["alone"]
    return " ".join([*([f"{feet} ft"] if feet else []), *([f"{inches} in"] if inches else [])])


def _latex(text: str) -> str:
    """Write an expression as latex2sympy2 reads it: powers, roots, fractions and functions with braces and backslashes."""
    text = re.sub(r"(\d+(?:\.\d+)?)\s?°", r"{\1*\\frac{\\pi}{180}}", text.replace("**", "^"))
    text = text.replace("°", "^{\\circ}")
    text = re.sub(r"\\sqrt\s*(\d|[A-Za-z](?![A-Za-z]))", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\sqrt\[(\d*[13579])\]\{-(\d+)\}", r"(-\\sqrt[\1]{\2})", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*(\d|[A-Za-z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\{)", r"\\frac{\1}\2", text)
    text = re.sub(r"\\frac\s*(\\[a-z]+|[A-Za-z0-9])\s*(\\[a-z]+|[A-Za-z0-9])(?![A-Za-z])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<![\d.}])(\d+)\s+(\d+)/(\d+)", r"(\1+\2/\3)", text)
    text = re.sub(
        r"(?<![\\A-Za-z])(pi|infinity|inf|arcsin|arccos|arctan|sin|cos|tan|sec|csc|cot|ln|log)(?![a-z])", _function, text
    )
    text = re.sub(r"\be\^", "e^", text)
    return re.sub(r"(?<=\d)\{,\}(?=\d{3})", "", text).strip()


def _function(match: re.Match[str]) -> str:
    name = match.group(1)
    return {"infinity": "\\infty ", "inf": "\\infty ", "pi": "\\pi "}.get(name, f"\\{name} ")


def _ungrouped(text: str) -> str:
    """Drop thousands separators where the whole is one number: ``1,234``, ``10,\\!236``, ``1.234,56``, ``1 234 567``."""
    if re.fullmatch(r"\D*\d{1,3}(?:\.\d{3})+,\d{1,2}\D*", text) or re.fullmatch(r"\D*\d{1,3}(?:\.\d{3}){2,}\D*", text):
        return text.replace(".", "").replace(",", ".")
    if re.fullmatch(r"\D*\d{1,3}(?:['’ ]\d{3})+(?:\.\d+)?[^\d,]*", text) and not re.search(r"[\d][,(\[{]", text):
        return re.sub(r"(?<=\d)['’ ](?=\d{3}(?!\d))", "", text)
    if re.fullmatch(r"[^\d(\[{]*\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?[^,\d]*", text):
        return re.sub(r"(?<=\d),(?=\d)", "", text)
    joined = (
        re.sub(r"(?<=\d),\s?(?=\d{3}(?!\d))", ",", text) if re.fullmatch(r"\D*\d{1,3}(?:,\s?\d{3})+(?:\.\d+)?\D*", text) else text
    )
    whole = re.fullmatch(r"\D*\d{1,3}(?:(?:,|\{,\})\d{3})+(?:\.\d+)?[^,\d]*", joined)
    return _GROUPED.sub("", joined) if whole and not re.search(r"[(\[{]\s*\d", joined) else text


def _repeated(match: re.Match[str]) -> str:
    """Write a repeating decimal, ``0.\\overline{3}`` or ``0.(3)``, as a fraction."""
    whole, fixed, period = match[1] or "0", match[2], match[3] or match[4]
    value = (
        int(whole)
        + Fraction(int(fixed or 0), 10 ** len(fixed))
        + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    )
    return f"{value.numerator}/{value.denominator}"


def _folded(text: str) -> str:
    bare = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)  # 1 1/2 is not 11/2
    return bare.casefold() if _WORDS.search(re.sub(r"\\[A-Za-z]+", "", text)) else bare
