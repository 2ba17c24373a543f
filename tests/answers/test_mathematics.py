"""Mathematical equality, and that it ends."""

from __future__ import annotations

import threading
from fractions import Fraction

import pytest

from curate.answers import mathematics, symbolic
from curate.answers.mathematics import same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3", "3.0"),
        ("1,234.50", "$1234.5"),
        ("10,\\!236", "10236"),
        ("50\\%", "50"),
        ("50%", "0.5"),
        ("18 eggs", "18"),
        ("18 dollars per day", "18"),
        ("12 \\text{ cm}^2", "12"),
        ("50^{\\circ}", "50"),
        ("90°", "90 degrees"),
        ("\\frac{7}{3}", "7/3"),
        ("\\dfrac73", "7/3"),
        ("5\\frac12", "5.5"),
        ("1 3/4", "1.75"),
        ("0.3333333", "1/3"),
        ("x = 5", "5"),
        ("-2, 2", "2,-2"),
        ("1103_6", "1103"),
        ("\\text{CBAD}", "CBAD"),
        ("−3", "-3"),
        ("8.", "8"),
    ],
)
def test_numbers_that_are_equal(a: str, b: str) -> None:
    assert same(a, b)
    assert same(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3", "4"),
        ("3", "-3"),
        ("12", "1,2"),
        ("5/0", "5"),
        ("2x", "2"),
        ("no such chord exists", "3"),
        ("", "0"),
        ("0.33", "1/3"),
        ("999999", "1000000"),
        ("5 pi", "5"),
    ],
)
def test_numbers_that_differ(a: str, b: str) -> None:
    assert not same(a, b)
    assert not same(b, a)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("\\sqrt{8}", "2\\sqrt2", True),
        ("-\\frac{\\sqrt{3}}{3}", "-\\frac{1}{\\sqrt{3}}", True),
        ("7-2\\pi", "-2\\pi+7", True),
        ("(3, \\pi/2)", "\\left(3,\\frac{\\pi}{2}\\right)", True),
        ("(-\\infty, 2]", "(-\\infty,2]", True),
        ("(1,2)", "(2,1)", False),
        ("(1,2)", "[1,2]", False),
        ("x^2+1", "x^2-1", False),
    ],
)
def test_latex_is_compared_by_value(a: str, b: str, equal: bool) -> None:
    assert same(a, b) is equal


def test_a_comparison_without_end_is_cut_off_in_any_thread() -> None:
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append((same("9^{9^{9}}", "2"), same("\\sqrt{9}", "3"))))
    thread.start()
    thread.join()
    assert verdicts == [(False, True)]


def test_numbers_are_read_as_fractions() -> None:
    assert mathematics.number("1,234.5 km/day") == Fraction(2469, 2)
    assert mathematics.number("-1\\frac{1}{2}") == Fraction(-3, 2)
    assert mathematics.number("3/0") is None
    assert mathematics.number("3 pi") is None


@pytest.mark.parametrize("text", ["12", "-x", "\\frac{1}{2}", "2\\pi", "(3, 4)", "x^2 + 1", "5 meters", "x = 5"])
def test_mathematics_is_told_from_words(text: str) -> None:
    assert mathematics.is_mathematical(text)
    assert not mathematics.is_mathematical(f"it was {text} and nobody knew why")
    assert not mathematics.is_mathematical("Evelyn")


def test_a_process_that_died_is_started_again() -> None:
    assert same("\\sqrt{12}", "2\\sqrt{3}")
    symbolic._process._process.kill()  # type: ignore[union-attr]
    symbolic._process._process.wait()  # type: ignore[union-attr]
    assert same("\\sqrt{20}", "2\\sqrt{5}")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("2^{64}", "18446744073709551616", True),
        ("2^{64}", "18446744073709551615", False),
        ("\\cos 60^\\circ", "\\frac{1}{2}", True),
        ("\\cos 60^\\circ", "\\cos 61^\\circ", False),
        ("5' 6\"", "66 inches", True),
        ("5'", '5"', False),
        ("two and a half", "2.5", True),
        ("a dozen", "12", True),
        ("£12", "12 pounds", True),
        ("£12", "12 kg", False),
        ("€0.50", "50 cents", True),
        ("16 cm³", "16 cubic centimeters", True),
        ("98.6°F", "37°C", True),
        ("3 \\pm \\sqrt{2}", "3+\\sqrt{2}, 3-\\sqrt{2}", True),
    ],
)
def test_values_are_exact_and_units_are_read_in_any_spelling(a: str, b: str, same: bool) -> None:
    assert mathematics.same(a, b) is same
