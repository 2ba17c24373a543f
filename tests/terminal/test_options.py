import typing

import typer
from typer.models import OptionInfo

from curate.terminal import options


def test_every_shared_option_has_a_help_of_one_sentence() -> None:
    shared = [getattr(options, name) for name in options.__all__ if not name.isupper()]
    assert shared
    for option in shared:
        _, info = typing.get_args(option)
        assert isinstance(info, OptionInfo)
        assert info.help is not None
        assert info.help.endswith(".")


def test_their_headings_are_those_of_the_help() -> None:
    from curate.balance.settings import PLAN
    from curate.teachers.options import CAPS, TEACHER
    from curate.terminal import cli

    command = typer.main.get_command(cli.app).commands["balance"]  # type: ignore[attr-defined]
    headings = {getattr(parameter, "rich_help_panel", None) for parameter in command.params}
    assert {PLAN, TEACHER, CAPS} <= headings
