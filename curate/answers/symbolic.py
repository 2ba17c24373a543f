"""Compares two LaTeX expressions by value, in a process of its own. The only importer of latex2sympy2 and math_verify.

Sympy can compute for hours (``9^{9^9}``), and math-verify's own time limit uses signals, which do not exist outside the main
thread. The process is started when it is first needed, serves every thread, and is killed and started again when one comparison
passes `LIMIT_SECONDS` of processor time (so that a busy machine gives the same verdicts).

latex2sympy2 reads an expression whole or refuses it; what it refuses is ``None`` here (math-verify would go on with a piece of
it). Expressions are the same when their values are, at points drawn once for all, to a *relative* difference of `RELATIVE`: an
absolute one would make every small constant equal to every other.

This file is also that process's program, so at its top it imports the standard library alone.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

__all__ = ["LIMIT_SECONDS", "RELATIVE", "compare"]

LIMIT_SECONDS = 2.0  # of processor time, for one comparison
RELATIVE = 1e-10  # by which two values may differ, as a fraction of the larger
_EXACT = 1e-30  # … where both are written without decimals
_DIGITS = 40  # that are computed
_UNSURE_BITS = 8  # a value of which sympy vouches for fewer bits is 0
_POINTS = 12  # at which expressions with variables are compared …
_ENOUGH = 3  # … of which so many must give finite values
_INTEGERS = {"n", "k", "m"}  # variables that usually stand for whole numbers
_NO_VALUE = (
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    NotImplementedError,
)  # of sympy's, where there is none
_WALL_SECONDS = 60.0  # by the clock, where a process cannot limit its own processor time, or sleeps
_START_SECONDS = 120.0  # for the process to import sympy, on a busy machine


@lru_cache(maxsize=65536)
def compare(a: str, b: str, relative: float = RELATIVE) -> bool | None:
    """Return whether two LaTeX expressions have the same value; None where one cannot be read whole, or takes too long.

    Args:
        a, b: LaTeX without delimiters.
        relative: by how much the values may differ, as a fraction of the larger.
    """
    return _process.ask(a, b, relative)


class _Process:
    """One process that runs sympy, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def ask(self, a: str, b: str, relative: float) -> bool | None:
        """Return the process's verdict; None when it takes too long or dies on the question."""
        with self._lock:
            if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
                self.close()
                self._start()
            return {"1": True, "0": False}.get(self._exchange(json.dumps([a, b, relative]), _WALL_SECONDS))

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


_process = _Process()
atexit.register(_process.close)


def _serve() -> None:
    """Answer questions, one JSON line each, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; our input then ends
    replies, sys.stdout = sys.stdout, sys.stderr
    import math_verify  # noqa: F401  # before the time limit

    for line in sys.stdin:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)  # SIGPROF ends this process, inside sympy's loops too
        verdict = "ready"
        if line.strip():
            verdict = {True: "1", False: "0", None: "?"}[_verdict(*json.loads(line))]
        replies.write(verdict + "\n")
        replies.flush()


def _verdict(a: str, b: str, relative: float) -> bool | None:
    import sympy

    left, right = _read(a), _read(b)
    if left is None or right is None:
        return None
    if isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr):
        return _same_value(left, right, relative)
    if isinstance(left, sympy.core.relational.Relational) and isinstance(right, sympy.core.relational.Relational):
        found = _same_relation(left, right, relative)
        if found is not None:
            return found
    return _verified(left, right)


def _read(text: str) -> Any:
    """Return the sympy object of a LaTeX text, or None where it cannot be read whole."""
    from latex2sympy2_extended import latex2sympy
    from sympy import E, I, Symbol

    try:
        found = latex2sympy(text)
        return found.subs({Symbol("i"): I, Symbol("e"): E}) if hasattr(found, "subs") else None
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # noqa: BLE001  # the parser raises plain Exception, and sympy whatever its code meets
        return None


def _same_value(left: Any, right: Any, relative: float) -> bool | None:
    """Compare two expressions at points; None where there is no value, as of an unknown function."""
    import sympy

    symbols = sorted({*left.free_symbols, *right.free_symbols}, key=str)
    if not symbols:
        values = _value(left, {}), _value(right, {})
        if None in values:
            return _equal_by_rules(left, right)
        exact = relative == RELATIVE and not (left.has(sympy.Float) or right.has(sympy.Float))
        return _near(*values, _EXACT if exact else relative)
    draw, agreed, drawn = random.Random(0), 0, 0
    for _ in range(_POINTS):
        point = {s: draw.randint(1, 9) if str(s) in _INTEGERS else draw.randint(-4000, 4000) / 1000 + 0.0005 for s in symbols}
        values = _value(left, point), _value(right, point)
        if None in values:
            continue
        drawn += 1
        agreed += _near(*values, relative)
        if drawn > agreed:
            return False
        if agreed == _ENOUGH + len(symbols):
            return True
    return True if agreed >= _ENOUGH else _equal_by_rules(left, right)


def _value(expression: Any, point: dict[Any, Any]) -> Any:
    """Return an expression's value at a point, a sympy number or infinity; None where it has none."""
    import sympy

    try:
        found = sympy.N(expression.subs(point), _DIGITS)
    except _NO_VALUE:
        return None
    if found in (sympy.oo, -sympy.oo):
        return found
    if not found.is_number or not found.is_finite:
        return None
    unsure = [part for part in found.atoms(sympy.Float) if part._prec <= _UNSURE_BITS]  # what is left of a sum that is 0
    return found.subs(dict.fromkeys(unsure, sympy.Integer(0))) if unsure else found


def _near(a: Any, b: Any, relative: float) -> bool:
    import sympy

    if a == b or a in (sympy.oo, -sympy.oo) or b in (sympy.oo, -sympy.oo):
        return bool(a == b)
    size = max(abs(a), abs(b))
    return bool(abs(a - b) <= size * sympy.Float(relative, _DIGITS))


def _equal_by_rules(left: Any, right: Any) -> bool | None:
    """Return True where sympy can show that two expressions are equal, None where it cannot."""
    import sympy

    try:
        return True if left == right or sympy.simplify(left - right) == 0 else None
    except _NO_VALUE:
        return None


def _same_relation(left: Any, right: Any, relative: float) -> bool | None:
    """Compare two equations or inequalities of one kind: by the ratio of what they put to 0, constant and of the right sign."""
    import sympy

    kinds = {sympy.Eq: 0, sympy.Ne: 1, sympy.Lt: 2, sympy.Gt: 2, sympy.Le: 3, sympy.Ge: 3}
    signs = [-1 if type(side) in (sympy.Gt, sympy.Ge) else 1 for side in (left, right)]
    if kinds.get(type(left)) != kinds.get(type(right)):
        return False
    try:
        zeros = [sign * (side.lhs - side.rhs) for sign, side in zip(signs, (left, right), strict=True)]
    except TypeError:
        return None
    symbols, draw, ratios = sorted({*zeros[0].free_symbols, *zeros[1].free_symbols}, key=str), random.Random(1), []
    for _ in range(_POINTS):
        point = {s: draw.randint(-4000, 4000) / 1000 + 0.0005 for s in symbols}
        values = [_value(zero, point) for zero in zeros]
        if None not in values and values[1] != 0:
            ratios.append(values[0] / values[1])
    if len(ratios) < _ENOUGH:
        return None
    constant = all(_near(ratio, ratios[0], relative) for ratio in ratios[1:])
    return constant and ratios[0] != 0 and (type(left) in (sympy.Eq, sympy.Ne) or bool(sympy.re(ratios[0]) > 0))


def _verified(left: Any, right: Any) -> bool | None:
    """Compare sets, intervals, conditions and the like by math-verify."""
    from math_verify import verify

    return bool(verify([left], [right], timeout_seconds=None) or verify([right], [left], timeout_seconds=None))


if __name__ == "__main__":
    _serve()
