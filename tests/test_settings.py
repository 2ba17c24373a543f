"""Options declared once: a verb's keywords, its signature and its docstring come from one frozen dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pytest

from curate.audit.settings import AuditSettings
from curate.calls.client import MODES
from curate.errors import InputError, UnknownNameError
from curate.manifest.schema import SOURCES, SPLITS, STATUSES
from curate.report.profile import GROUPS
from curate.report.settings import ProfileSettings
from curate.settings import help_of, option, options_of, takes
from curate.sources.settings import IngestSettings
from curate.teachers.options import TeacherOptions


@dataclass(frozen=True, kw_only=True)
class Settings:
    rows: int = option(help="Rows to draw in all.")
    mode: str = option("fast", choices=("fast", "slow"), help="How to draw them.", more="Slow is not better.")
    order: str | None = option(None, choices=("up", "down"), help="Order of the rows; default: as they come.")
    domains: Sequence[str] = option(("a",), help="Domain to draw from; repeat for several.")
    limits: Mapping[str, float] | None = option(None, help="Limit of a domain.")


@takes(Settings)
def draw(manifest: str, settings: Settings) -> tuple[str, Settings]:
    """Draw rows.

    Args:
        manifest: to draw from.

    Raises:
        InputError: there are too few.
    """
    return manifest, settings


def test_options_are_keywords_with_their_defaults() -> None:
    assert draw("math", rows=3) == ("math", Settings(rows=3))
    assert draw(rows=3, manifest="math") == ("math", Settings(rows=3))  # type: ignore[call-arg, misc]
    assert draw("math", rows=3, order="up", domains=["b"])[1] == Settings(rows=3, order="up", domains=["b"])


def test_the_signature_lists_them_those_that_must_be_given_first() -> None:
    signature = inspect.signature(draw)
    assert list(signature.parameters) == ["manifest", "rows", "mode", "order", "domains", "limits"]
    assert signature.parameters["mode"].default == "fast"
    assert options_of(Settings)[2].annotation == str | None


def test_the_docstring_lists_them_after_the_subject() -> None:
    assert draw.__doc__ is not None
    lines = draw.__doc__.splitlines()
    assert lines[lines.index("Args:") + 1 : lines.index("Raises:") - 1] == [
        "    manifest: to draw from.",
        "    rows: Rows to draw in all.",
        "    mode (fast|slow): How to draw them. Slow is not better.",
        "    order (up|down): Order of the rows; default: as they come.",
        "    domains: Domain to draw from; repeat for several.",
        "    limits: Limit of a domain.",
    ]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rows": 3, "mod": "slow"}, r"draw\(\) has no option 'mod'; did you mean 'mode'\?"),
        ({"rows": 3, "zzz": 1}, r"draw\(\) has no option 'zzz'; it has rows, mode, order, domains, limits"),
        ({}, "missing 1 required keyword-only argument: 'rows'"),
    ],
)
def test_what_is_no_option_or_missing_is_a_type_error(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        draw("math", **given)
    with pytest.raises(TypeError, match=r"draw\(\) takes its manifest, and its options by name, such as rows=…"):
        draw("math", 3)  # type: ignore[misc, call-arg]


@pytest.mark.parametrize(("name", "value"), [("mode", "slw"), ("order", "dwn")])
def test_a_value_that_is_no_choice_is_refused_with_the_nearest(name: str, value: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown --{name} '{value}'; did you mean '(slow|down)'"):
        draw("math", rows=1, **{name: value})


@pytest.mark.parametrize(
    ("settings", "name", "known"),
    [
        (IngestSettings, "source", SOURCES),
        (ProfileSettings, "split", (*SPLITS, "all")),
        (ProfileSettings, "status", STATUSES),
        (ProfileSettings, "by", GROUPS),
        (AuditSettings, "status", ("auto", *STATUSES, "all")),
        (TeacherOptions, "mode", MODES),
    ],
)
def test_choices_written_out_for_the_help_are_those_of_the_code(settings: type[Any], name: str, known: Sequence[str]) -> None:
    choices = next(help_of(field)["choices"] for field in fields(settings) if field.name == name)
    assert set(choices) == set(known)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e300, 10**400, -(2**53) - 1])
def test_a_number_that_no_option_has_a_use_for_is_refused(number: Any) -> None:
    for given in ({"rows": number}, {"rows": 1, "limits": {"a": 1.0, "b": number}}):
        with pytest.raises(InputError, match=r"^--(rows|limits) .*: use a number between -9,007,199,254,740,992 and 9,007"):
            draw("math", **given)
