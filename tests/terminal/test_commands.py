"""Commands: an exit status for each kind of end, one clear line for an error, one object with --json."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from curate.errors import AuditFailedError, InputError, MistakesError
from curate.settings import option
from curate.terminal import commands


def one(work: Callable[[], Any]) -> typer.Typer:
    """Return a program with one command that does `work`, beside another so that its name is needed."""
    app = commands.make_app("t", "A test.")

    @commands.command(app, "Work")
    def work_(*, json: commands.Json = False) -> Any:
        """Do the work."""
        return work()

    @commands.command(app, "Work")
    def other() -> Any:
        """Do nothing."""

    return app


def call(work: Callable[[], Any], *flags: str) -> Any:
    return CliRunner().invoke(one(work), ["work-", *flags])


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


def test_a_command_may_ask_before_any_work_and_be_called_by_another_name() -> None:
    app, order = commands.make_app("t", "A test."), []

    def ask(options: dict[str, Any]) -> None:
        order.append("asked")
        if options["number"] < 0:
            raise InputError("not below 0")
        options["number"] += 1

    @commands.command(app, "Work", name="list", ask=ask)
    def list_them(*, number: int = 0, json: commands.Json = False) -> Any:
        """Do the work."""
        order.append(number)
        return str(number)

    assert CliRunner().invoke(app, ["list", "--number", "4"]).stdout == "5\n"
    assert order == ["asked", 5]
    refused = CliRunner().invoke(app, ["list", "--number", "-4"])
    assert (refused.exit_code, refused.stderr) == (1, "error: not below 0\n")
    assert order == ["asked", 5, "asked"]
    assert [info.name for info in app.registered_commands] == ["list"]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """The options of a command with arguments after its subject."""

    new: str = option(positional=True, metavar="NEW", help="New name.")
    row: str | None = option(None, positional=True, help="Row.")
    loud: bool = option(False, help="Whether to shout.")
    root: str | None = option(None, help="Folder.")


def test_a_positional_option_is_an_argument_after_the_subject() -> None:
    app = commands.make_app("t", "A test.")
    subject = ("old", Annotated[str, typer.Argument(metavar="OLD", help="Old name.")])
    commands.settings_verb(app, Placed, "tests.terminal.test_commands:place", "Work", "Do the work.", subject=subject)
    assert CliRunner().invoke(app, ["place", "a", "b", "--loud"]).stdout == "a b None True\n"
    assert CliRunner().invoke(app, ["place", "a", "b", "c"]).stdout == "a b c False\n"
    assert CliRunner().invoke(app, ["place", "a"]).exit_code == 2
    assert "OLD NEW [ROW]" in CliRunner().invoke(app, ["place", "--help"]).stdout


def place(old: str, *, new: str, row: str | None, loud: bool, root: str | None) -> str:
    """Return what was given."""
    return f"{old} {new} {row} {loud}"


@pytest.mark.parametrize(
    ("error", "status"),
    [(InputError("no column 'promt'"), 1), (AuditFailedError("malformed 3.0% > 1%"), 3)],
)
def test_an_error_of_ours_is_one_line(error: Exception, status: int) -> None:
    result = call(raising(error))
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr == f"error: {error}\n"


def test_all_mistakes_are_listed() -> None:
    result = call(raising(MistakesError("plan 'x.toml'", ["a is wrong", "b is wrong"])))
    assert result.stderr == "error: plan 'x.toml' has 2 mistakes\n  - a is wrong\n  - b is wrong\n"


def test_an_interrupt_says_what_is_kept() -> None:
    result = call(raising(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert result.stderr.startswith("error: interrupted; manifests are as their last commit left them")


def test_a_bug_keeps_its_traceback() -> None:
    result = call(raising(ZeroDivisionError("bug")))
    assert isinstance(result.exception, ZeroDivisionError)


def test_passwords_in_addresses_are_not_shown() -> None:
    result = call(raising(InputError("https://me:secret@host/v1 and s3://key:s@b/x cannot be reached")))
    assert result.stderr == "error: https://host/v1 and s3://b/x cannot be reached\n"


def test_json_is_the_only_thing_on_stdout() -> None:
    def work() -> Any:
        sys.stdout.write("chatter of a library\n")
        return {"rows": 3}

    result = call(work, "--json")
    assert json.loads(result.stdout) == {"rows": 3}
    assert "chatter" in result.stderr


def test_a_real_ctrl_c_is_status_130() -> None:
    code = (
        "import time\nfrom curate.terminal import commands\napp = commands.make_app('t', 'A test.')\n"
        "@commands.command(app, 'Work')\ndef work():\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "@commands.command(app, 'Work')\ndef other():\n    pass\napp(['work'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "every reply that was bought is kept" in err
    assert "Traceback" not in err


@dataclass(frozen=True, kw_only=True)
class Several:
    """Options of a made-up verb."""

    some: int | None = option(None, help="How many.", bare=5)
    dry_run: bool = option(False, help="Send nothing.")
    root: str | None = option(None, help="A folder.")


@pytest.mark.parametrize(
    ("given", "some"),
    [
        (["a"], None),
        (["a", "--some"], 5),
        (["a", "--some", "7"], 7),
        (["a", "--some=3"], 3),
        (["--some", "a"], 5),
        (["a", "--some", "--dry-run"], 5),
        (["a", "--some", "-1"], -1),
        (["--", "--some"], None),
    ],
)
def test_a_flag_may_stand_for_a_number(given: list[str], some: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def verb(subject: str, **options: Any) -> None:
        seen.append(options["some"])

    monkeypatch.setitem(sys.modules, "made_up", types.SimpleNamespace(verb=verb))
    app = commands.make_app("t", "A test.")
    about = "Do some."
    commands.settings_verb(app, Several, "made_up:verb", "Work", about, subject=("subject", Annotated[str, typer.Argument()]))
    commands.command(app, "Work", name="other")(lambda: None)
    result = CliRunner().invoke(app, ["verb", *given])
    assert (result.exit_code, seen) == (0, [some]), result.output
