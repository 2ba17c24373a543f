"""Every error is in the one tree, and unknown names suggest the nearest."""

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import errors
from curate.errors import CurateError, UnknownNameError, nearest

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, CurateError)]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawing = errors.__doc__ or ""
    lines = [line for line in drawing.splitlines() if re.search(r"^ {4}(│   |├── |└── )*[A-Z]\w+Error", line)]
    drawn, path = {}, []
    for line in lines:
        name = re.search(r"[A-Z]\w+Error", line)
        assert name
        depth = (name.start() - 4) // 4
        path = [*path[:depth], name.group()]
        drawn[name.group()] = path[-2] if depth else "Exception"
    assert drawn == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_says_what_it_is(cls: type[CurateError]) -> None:
    assert cls.__doc__
    assert cls.__name__ in errors.__all__


def test_an_unknown_name_suggests_and_lists() -> None:
    error = UnknownNameError("policy", "adaptiv", ["uniform", "adaptive"])
    assert str(error) == "unknown policy 'adaptiv'; did you mean 'adaptive'? Known: adaptive, uniform"
    assert (error.kind, error.name, error.known) == ("policy", "adaptiv", ["adaptive", "uniform"])


def test_nothing_near_is_not_suggested() -> None:
    assert str(UnknownNameError("policy", "zzz", ["uniform"])) == "unknown policy 'zzz'. Known: uniform"
    assert str(UnknownNameError("tag", "v1", [])).endswith("Known: none")


def test_long_lists_are_cut() -> None:
    said = str(UnknownNameError("column", "x", (f"column{i:02d}" for i in range(40))))
    assert said.endswith("column11, … (40 in all)")


@given(st.lists(st.text(min_size=1), max_size=8), st.text())
def test_the_nearest_is_among_the_known(known: list[str], name: str) -> None:
    found = nearest(name, known)
    assert found is None or found in known
    if name in known:
        assert found is not None
        assert found.casefold() == name.casefold()


@given(st.text(), st.lists(st.text(max_size=30), max_size=20))
def test_messages_are_one_line(name: str, known: list[str]) -> None:
    said = str(UnknownNameError("column", name, known))
    assert "\n" not in said.replace("\n".join(known), "") or any("\n" in k for k in known)


def test_spelling_is_compared_without_case() -> None:
    assert nearest("DOMAIN", ["domain", "source"]) == "domain"


def test_a_missing_package_says_the_command() -> None:
    assert (
        str(errors.MissingPackageError("zstandard", "--to x.zst"))
        == "--to x.zst needs the package 'zstandard': pip install zstandard"
    )
