"""Compares mathematical answers by value. The only importer of math_verify; called by `curate.audit.answers`.

Plain numbers, fractions, units, percentages and lists of numbers are compared here, exactly. Everything else goes to
math-verify in a process of its own, because sympy can compute for hours (``9^{9^9}``), and math-verify's own time limit
uses signals, which do not exist outside the main thread. The process is started when it is first needed, serves every
thread, and is killed and started again when one comparison passes `LIMIT_SECONDS` of processor time (so that a busy machine
gives the same verdicts); such a comparison counts as unequal.

This file is also that process's program, so at its top it imports the standard library alone.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
import sys
import threading
import unicodedata
from fractions import Fraction
from functools import lru_cache

__all__ = ["LIMIT_SECONDS", "is_mathematical", "number", "same", "tidy"]

LIMIT_SECONDS = 2.0  # of processor time, for one comparison
_WALL_SECONDS = 60.0  # by the clock, where a process cannot limit its own processor time, or sleeps
_START_SECONDS = 120.0  # for the process to import sympy, on a busy machine
_MOST_CHARS = 400  # longer answers are compared as text
_DECIMALS = 5  # a decimal with so many places may be a fraction written out: 0.33333 is 1/3, 0.33 is not

_WRAPPED = re.compile(r"^(?:\$\$?(.*?)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\])$", re.DOTALL)
_SPACING = re.compile(r"\\(?:[!,;: ]|q?quad\b|displaystyle\b|left\b\.?|right\b\.?|limits\b)")
_DEGREES = re.compile(r"\^?\{?\\circ\}?|°|\bdegrees?\b")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm|mathbf|textbf)\s*\{([^{}]*)\}")
_GROUPED = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_DECIMAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?"
_PLAIN = re.compile(rf"({_DECIMAL})(?:\s*/\s*(\d+(?:\.\d+)?))?")
_FRACTION = re.compile(r"([+-]?)\s*(\d+\s*)?\\frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(-?\d+)\s*\}|(\d))")
_MIXED = re.compile(r"([+-]?)(\d+)(?:\s+|\s*-\s*)(\d+)/(\d+)")
_BASE = re.compile(r"^([+-]?\w+)_\{?\d+\}?$")
_UNIT_NAME = r"[A-Za-zµ]{2,}\.?(?:\s?\^\{?[23]\}?|[23])?"
_UNIT = re.compile(rf"^({_DECIMAL}(?:\s*/\s*\d+)?)[\s-]*({_UNIT_NAME}(?:(?:\s+|\s?/\s?){_UNIT_NAME})*)$")
_NOT_UNITS = {"pi", "sqrt", "or", "and", "sin", "cos", "tan", "log", "ln", "exp", "frac", "i", "to", "over"}
_NAMED = re.compile(r"^[A-Za-z]\w{0,3}(?:\([a-z]\))?\s*=\s*([^=]+)$")
_WORDS = re.compile(r"[A-Za-z]{3,}")
_FUNCTIONS = {"sqrt", "sin", "cos", "tan", "log", "exp", "arcsin", "arccos", "arctan", "max", "min", "sec", "csc", "cot", "inf"}


def same(found: str, gold: str) -> bool:
    """Return whether two mathematical answers have the same value; symmetric, and never longer than a minute.

    Numbers are equal as fractions, or to the last of five or more decimal places; units, currency signs, thousands
    separators and degree signs are ignored; ``50%`` equals both ``50`` and ``0.5``; lists without brackets have no order,
    tuples have one.
    """
    a, b = tidy(found), tidy(gold)
    if not a or not b:
        return False
    if _folded(a) == _folded(b):
        return True
    if max(len(a), len(b)) > _MOST_CHARS:
        return False
    if ("=" in a) != ("=" in b):
        a, b = _NAMED.sub(r"\1", a).strip(), _NAMED.sub(r"\1", b).strip()
    left, right = number(a), number(b)
    if left is not None and right is not None:
        scales = [(left, right)]
        if a.endswith("%") != b.endswith("%"):
            scales.append((left / 100, right) if a.endswith("%") else (left, right / 100))
        return any(abs(x - y) < _rounding(a, b) or x == y for x, y in scales)
    lists = _numbers(a), _numbers(b)
    if lists[0] is not None and lists[1] is not None:
        return lists[0] == lists[1]
    if not is_mathematical(a) or not is_mathematical(b):
        return False
    return _verified(*sorted((a, b)))


def number(text: str) -> Fraction | None:
    """Return the value of a plain number, a fraction, a mixed number or a number with a unit; None for anything else."""
    text = tidy(text).removesuffix("%").strip()
    unit = _UNIT.match(text)
    if unit and not _NOT_UNITS & set(re.findall(r"[a-z]+", unit.group(2).casefold())):
        text = unit.group(1)
    based = _BASE.match(text)
    text = based.group(1) if based and based.group(1).isdigit() else text
    if match := _PLAIN.fullmatch(text):
        bottom = Fraction(match.group(2) or 1)
        return Fraction(match.group(1)) / bottom if bottom else None
    if match := _FRACTION.fullmatch(text):
        sign, whole, *parts = match.groups()
        return _mixed(sign, whole, parts[0] or parts[1], parts[2] or parts[3])
    if match := _MIXED.fullmatch(text):
        return _mixed(*match.groups())
    return None


def is_mathematical(text: str) -> bool:
    """Return whether an answer reads as mathematics: digits, symbols, LaTeX or single letters, and no ordinary words."""
    if len(text) > _MOST_CHARS:
        return False
    text = tidy(text)
    words = _WORDS.findall(re.sub(r"\\[A-Za-z]+", " ", text))
    mathematics = bool(re.search(r"[\d\\^=+*/<>∞π√]", text)) or bool(re.fullmatch(r"[-(]*[A-Za-z][)]*", text))
    return mathematics and (number(text) is not None or all(word.casefold() in _FUNCTIONS for word in words))


@lru_cache(maxsize=65536)
def tidy(text: str) -> str:
    """Return an answer without what carries no value: delimiters, spacing, currency, degrees, final full stop."""
    text = unicodedata.normalize("NFKC", text).replace("−", "-").replace("–", "-").strip(" *`\"'“”\n\t")
    text = text.rstrip(".").strip() if not re.search(r"\d\.$", text) else text.removesuffix(".")
    while match := _WRAPPED.match(text):
        text = next(group for group in match.groups() if group is not None).strip()
    text = re.sub(r"\\[()\[\]$]", "", text).replace("\\%", "%").replace("$", "").replace("€", "").replace("£", "")
    text = _TEXT.sub(lambda match: f" {match.group(1).strip()} ", _DEGREES.sub("", _SPACING.sub(" ", text)))
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text).replace("\\cdot ", "*").replace("\\times", "*")
    return re.sub(r"\s+", " ", _ungrouped(text)).strip().rstrip(".")


def _ungrouped(text: str) -> str:
    """Drop thousands separators: ``1,234`` and ``10,\\!236`` (``10, 236`` by now), where the whole is one number."""
    joined = (
        re.sub(r"(?<=\d),\s?(?=\d{3}(?!\d))", ",", text) if re.fullmatch(r"\D*\d{1,3}(?:,\s?\d{3})+(?:\.\d+)?\D*", text) else text
    )
    whole = re.fullmatch(r"\D*\d{1,3}(?:(?:,|\{,\})\d{3})+(?:\.\d+)?[^,\d]*", joined)
    return _GROUPED.sub("", joined) if whole and not re.search(r"[(\[{]\s*\d", joined) else text


def _mixed(sign: str, whole: str | None, top: str, bottom: str) -> Fraction | None:
    if int(bottom) == 0:
        return None
    value = Fraction(int(whole or 0)) + Fraction(int(top), int(bottom))
    return -value if sign == "-" else value


def _rounding(*texts: str) -> Fraction:
    """Return by how much two numbers may differ, from the decimal places that are written: below one unit of the last."""
    places = [len(match.group(1)) for match in map(re.compile(r"\.(\d+)").search, texts) if match]
    long = [n for n in places if n >= _DECIMALS]
    return Fraction(1, 10 ** min(long)) if long else Fraction(0)


def _numbers(text: str) -> list[Fraction] | None:
    """Return the values of a list without brackets, ascending; None for anything else."""
    parts = re.split(r"\s*(?:,|;|\band\b)\s*", re.sub(r",\s*and\b", ",", text))
    values = [number(part) for part in parts]
    return sorted(v for v in values if v is not None) if len(parts) > 1 and None not in values else None


def _folded(text: str) -> str:
    return re.sub(r"\s+", "", text).casefold() if _WORDS.search(re.sub(r"\\[A-Za-z]+", "", text)) else re.sub(r"\s+", "", text)


@lru_cache(maxsize=65536)
def _verified(a: str, b: str) -> bool:
    return _checker.ask(a, b)


class _Checker:
    """One process that runs math-verify, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def ask(self, a: str, b: str) -> bool:
        """Return the process's verdict; False when it takes too long or dies on the question."""
        with self._lock:
            if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
                self.close()
                self._start()
            return self._exchange(json.dumps([a, b]), _WALL_SECONDS) == "1"

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._owner = os.getpid()
        if self._exchange("", _START_SECONDS) != "ready":
            raise RuntimeError("the process that runs math-verify did not start; is the package math-verify installed?")

    def _exchange(self, line: str, seconds: float) -> str:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = threading.Timer(seconds, process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            reply = process.stdout.readline().strip()
        except OSError:
            reply = ""
        finally:
            alarm.cancel()
        if not reply:
            self.close()
        return reply

    def close(self) -> None:
        """End the process, if it is ours, and close its pipes."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._owner == os.getpid():
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


_checker = _Checker()
atexit.register(_checker.close)


def _serve() -> None:
    """Answer questions, one JSON line each, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; our input then ends
    replies, sys.stdout = sys.stdout, sys.stderr
    from math_verify import parse, verify

    for line in sys.stdin:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)  # SIGPROF ends this process, inside sympy's loops too
        verdict = "ready"
        if line.strip():
            a, b = (parse(f"${text}$", parsing_timeout=None) for text in json.loads(line))
            verdict = "1" if verify(a, b, timeout_seconds=None) or verify(b, a, timeout_seconds=None) else "0"
        replies.write(verdict + "\n")
        replies.flush()


if __name__ == "__main__":
    _serve()
