"""A registry hands back what was filed, a callable as it is, and what an entry point names."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from curate import registry
from curate.errors import UnknownNameError
from curate.registry import Registry

Shout = Callable[[str], str]


@pytest.fixture
def shouts() -> Registry[Shout]:
    found: Registry[Shout] = Registry("shout", "curate.shouts")

    @found.register("loud")
    def loud(text: str) -> str:
        return text.upper()

    return found


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer `textwrap.dedent` as a third party's ``quiet``."""
    points = EntryPoints(
        [EntryPoint("quiet", "textwrap:dedent", "curate.shouts"), EntryPoint("other", "json:dumps", "curate.other")]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))


def test_a_name_gives_its_callable(shouts: Registry[Shout]) -> None:
    assert shouts.get("loud")("hey") == "HEY"


def test_the_decorator_leaves_the_function_as_it_was(shouts: Registry[Shout]) -> None:
    def whisper(text: str) -> str:
        return text.lower()

    assert shouts.register("whisper")(whisper) is whisper
    assert shouts.names() == ["loud", "whisper"]


def test_a_callable_is_welcome_in_place_of_a_name(shouts: Registry[Shout]) -> None:
    assert shouts.get(str.title) is str.title


@pytest.mark.usefixtures("plugin")
def test_entry_points_of_the_group_count(shouts: Registry[Shout]) -> None:
    assert list(shouts) == ["loud", "quiet"]
    assert shouts.get("quiet")("  hey") == "hey"


@pytest.mark.usefixtures("plugin")
def test_entry_points_of_other_groups_do_not(shouts: Registry[Shout]) -> None:
    with pytest.raises(UnknownNameError, match="unknown shout 'other'"):
        shouts.get("other")


def test_an_unknown_name_suggests_the_nearest(shouts: Registry[Shout]) -> None:
    with pytest.raises(UnknownNameError, match="unknown shout 'lout'; did you mean 'loud'"):
        shouts.get("lout")


def test_two_registries_share_nothing(shouts: Registry[Shout]) -> None:
    assert Registry("shout", "curate.shouts").names() == []
