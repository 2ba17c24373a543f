"""The commands of curate: the verb's parameters and defaults, exit statuses, one clear line for an error, quick help."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import baldistill.cli
import curate.cli
from curate import commands
from curate.errors import AuditFailedError, InputError, MistakesError

APPS = {"curate": curate.cli.app, "baldistill": baldistill.cli.app}
# Parameters that the terminal has on its own, and those that take the place of the manifest.
OF_THE_TERMINAL = {"json", "root", "name"}


def declared(app: typer.Typer) -> dict[str, Callable[..., Any]]:
    """Return every command's function by the command's name."""
    return {str(info.name): info.callback for info in app.registered_commands if info.callback is not None}


def verbs() -> Iterator[tuple[str, str, Callable[..., Any], str]]:
    for program, app in APPS.items():
        for name, function in declared(app).items():
            target = getattr(function, "verb", None)
            if target is not None:
                yield program, name, function, target


def comparable(default: Any) -> Any:
    return list(default) if isinstance(default, tuple | list) else default


@pytest.mark.parametrize(("program", "name", "function", "target"), [pytest.param(*v, id=f"{v[0]} {v[1]}") for v in verbs()])
def test_a_command_has_the_parameters_and_defaults_of_its_verb(
    program: str, name: str, function: Callable[..., Any], target: str
) -> None:
    module, _, verb_name = target.partition(":")
    assert verb_name == name
    given = {p.name: comparable(p.default) for p in inspect.signature(function).parameters.values()}
    verb = inspect.signature(getattr(importlib.import_module(module), verb_name)).parameters.values()
    wanted = {p.name: comparable(p.default) for p in verb if p.name not in ("manifest", "root")}
    assert {k: v for k, v in given.items() if k not in OF_THE_TERMINAL} == wanted
    assert [k for k in given if k in wanted] == list(wanted)
    assert {"json", "root"} <= set(given)


@pytest.mark.parametrize("program", APPS)
def test_every_command_and_option_has_a_line_of_help(program: str) -> None:
    group = typer.main.get_command(APPS[program])
    for name, found in group.commands.items():  # type: ignore[attr-defined]
        assert found.help, name
        assert len(found.help.splitlines()[0]) <= 100, name
        for parameter in found.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_a_list_is_plural_and_its_flag_singular() -> None:
    for name, function in declared(curate.cli.app).items():
        for parameter in typer.main.get_params_from_function(function).values():
            if typer.main.get_origin(parameter.annotation) is list and parameter.name != "sources":
                found = typer.main.get_command(curate.cli.app).commands[name]  # type: ignore[attr-defined]
                flags = [p.opts for p in found.params if p.name == parameter.name]
                assert flags == [[f"--{parameter.name.removesuffix('s').replace('_', '-')}"]]


@pytest.mark.parametrize("program", APPS)
def test_help_is_quick_and_loads_nothing_heavy(program: str) -> None:
    code = (
        f"import sys; sys.argv = [{program!r}, '--help']\n"
        f"from {program}.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = set(re.findall(r"'(\w+)'", done.stderr))
    assert loaded.isdisjoint({"polars", "numpy", "rich", "torch", "faiss", "transformers", "datasets", "openai", "deltalake"})
    # Of the processor, since the clock counts what else the machine does; the promise is 0.3 s on an idle one.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3
    assert "Usage: " in done.stdout


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


def test_usage_is_status_2_and_suggests_a_name() -> None:
    result = CliRunner().invoke(curate.cli.app, ["profil"])
    assert result.exit_code == 2
    assert "Did you mean 'profile'?" in result.stderr


def test_json_is_the_only_thing_on_stdout() -> None:
    def work() -> Any:
        sys.stdout.write("chatter of a library\n")
        return {"rows": 3}

    result = call(work, "--json")
    assert json.loads(result.stdout) == {"rows": 3}
    assert "chatter" in result.stderr
