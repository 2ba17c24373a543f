"""Names of teachers: what each becomes, which options its factory gets, and what is said where something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate.errors import InputError, UnknownNameError
from curate.teachers.base import Teacher
from curate.teachers.fake import Fake
from curate.teachers.options import TeacherOptions
from curate.teachers.recorded import Recorded
from curate.teachers.registry import load_teacher, teachers

SECRET = "sk-very-secret"


def load(teacher: Any, *, root: Path | None = None, to_ask: bool = True, **options: Any) -> Teacher:
    """Load a teacher by the options that a verb would have."""
    return load_teacher(TeacherOptions(teacher=teacher, **options), root=root, to_ask=to_ask)


def test_names_become_teachers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"prompt": "q", "rationale": "r"}\n')
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    live = load("openai", model="gpt-4o-mini", concurrency=3, root=tmp_path)
    assert (live.endpoint, live.model, live.concurrency) == ("https://api.openai.com/v1", "gpt-4o-mini", 3)
    assert live.price is not None
    assert isinstance(load(f"recorded:{tmp_path / 't.jsonl'}"), Recorded)
    assert isinstance(load("fake"), Fake)
    mine = Fake()
    assert load(mine) is mine
    for teacher in (live, mine, load(f"recorded:{tmp_path / 't.jsonl'}")):
        assert isinstance(teacher, Teacher)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("http://127.0.0.1:1/v1", {}, r"teacher 'local' needs the name of a model: --model NAME"),
        ("openai", {"model": "m"}, "needs a key in the environment variable 'OPENAI_API_KEY', which is not set"),
        ("http://127.0.0.1:1/v1", {"model": "m", "api_key_env": "NO_SUCH"}, "'NO_SUCH', which is not set"),
        ("http://[bad/v1", {"model": "m"}, "the address is not a URL"),
        ("recorded", {}, "recorded:FILE"),
        ("fake", {"concurrency": 0}, "--concurrency is 1 or more, got 0"),
    ],
)
def test_what_is_missing_is_one_clear_line(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(name, **options)


@pytest.mark.parametrize(
    "name", [f"127.0.0.1:1/v1?token={SECRET}", f"jo:{SECRET}@example.com", f"htps://jo:{SECRET}@example.com/v1"]
)
def test_an_address_without_its_beginning_is_not_said_again(name: str) -> None:
    with pytest.raises(InputError, match="an address begins with http:// or https://") as caught:
        load(name, model="m")
    assert SECRET not in str(caught.value)


def test_a_key_in_the_place_of_its_variables_name_is_not_said_again() -> None:
    with pytest.raises(InputError, match="takes the name of an environment variable that holds the key") as caught:
        load("openai", model="m", api_key_env=SECRET)
    assert SECRET not in str(caught.value)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'recorded'"):
        load("recoded:x.jsonl")


OPTIONS = {"model": "m", "api_key_env": "MY_KEY", "concurrency": 3, "timeout": 7.0}


@pytest.mark.parametrize("to_ask", [True, False])
def test_a_registered_factory_gets_every_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, to_ask: bool) -> None:
    given: list[Any] = []

    def mine(location: str, **options: Any) -> Teacher:
        given.append((location, options))
        return Fake(model=location)

    monkeypatch.setitem(teachers._entries, "mine", mine)
    assert load("mine:big:er", root=tmp_path, to_ask=to_ask, **OPTIONS).model == "big:er"
    assert given == [("big:er", {**OPTIONS, "root": tmp_path, "need_key": to_ask})]


def test_a_factory_that_does_not_take_every_option_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(place: str, *, model: str | None, api_key_env: str | None, concurrency: int, root: Any) -> Teacher:
        raise AssertionError("it must not be called")

    monkeypatch.setitem(teachers._entries, "old", old)
    with pytest.raises(
        InputError, match=r"teacher 'old': its factory is called as factory\(location, model=…, .*'timeout'.*\*\*options"
    ):
        load("old", timeout=7.0)


def test_a_factory_whose_signature_is_unknown_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strange:
        @property
        def __signature__(self) -> None:
            raise ValueError("no signature found")

        def __call__(self, location: str, **options: Any) -> Teacher:
            return Fake(model=location)

    monkeypatch.setitem(teachers._entries, "strange", Strange())
    assert load("strange:x").model == "x"


@pytest.mark.parametrize("name", ["fake", "openai", "recorded", "url"])
def test_the_names_of_this_package_are_known(name: str) -> None:
    assert name in teachers.names()
