"""Turns verbs into commands: late imports, help, exit statuses, what Ctrl-C leaves. Knows no verb by name.

`settings_verb` adds the command of a verb whose options are a settings class: it loads the manifest, calls the verb with
these options and shows the result. `command` adds one that has a body of its own. Nothing is imported before a command runs,
so that help is quick.

Exit status: 0 done, 1 an error that the user can put right, 2 usage, 3 an audit that failed, 4 stopped early (by a cap, say),
130 interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from curate.errors import AuditFailedError, CurateError, MistakesError
from curate.files import reason
from curate.settings import ROOT, check_numbers, help_of, options_of

__all__ = [
    "INTERRUPTED",
    "STOPPED",
    "App",
    "Json",
    "Name",
    "Root",
    "command",
    "guarded",
    "make_app",
    "settings_verb",
    "strip_userinfo",
]

FAILED, AUDIT_FAILED, STOPPED, INTERRUPTED = 1, 3, 4, 130
TRACEBACK = "CURATE_TRACEBACK"  # an environment variable; set, what a library could not do keeps its traceback

Name = Annotated[str, typer.Argument(metavar="NAME", help="Manifest: NAME, NAME@VERSION or NAME@TAG.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")]
Root = Annotated[str | None, typer.Option(metavar="FOLDER", help=ROOT)]

Ask = Callable[[dict[str, Any]], None]

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_COMPLETION = {
    "install_completion": "Install completion for this shell.",
    "show_completion": "Print the completion script instead.",
}
_METAVARS = {int: "N", float: "F", str: "TEXT"}  # what help shows in the place of a value that has no name of its own
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


class _Command(TyperCommand):
    """A command whose help lists options under the headings that they name, in plain text: rich's takes too long to load.

    Arguments are shown by their metavar alone, without Typer's braces and Python types.
    """

    bare: Mapping[str, int] = types.MappingProxyType({})  # flag → the number that it stands for where none follows

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line, with the number that a bare flag stands for."""
        return super().parse_args(ctx, _with_numbers(args, self.bare))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        names = [(_shown(p), p.required) for p in self.get_params(ctx) if p.param_type_name == "argument"]
        return ["[OPTIONS]", *(name if required else f"[{name}]" for name, required in names)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                if parameter.param_type_name == "argument":
                    sections["Arguments"].append((_shown(parameter), record[1]))
                    continue
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        sections["Options"] = sections.pop("Options")  # the general ones come last
        _write_sections(formatter, sections)


def _with_numbers(args: list[str], bare: Mapping[str, int]) -> list[str]:
    """Return a command line in which a number follows each flag of `bare`; Typer knows no option whose value may be left out."""
    found: list[str] = []
    for at, given in enumerate(args):
        found.append(given)
        if given == "--":
            return [*found, *args[at + 1 :]]
        follows = args[at + 1] if at + 1 < len(args) else ""
        if given in bare and not re.fullmatch(r"[-+]?[\d.]+", follows):
            found.append(str(bare[given]))
    return found


def _shown(argument: Any) -> str:
    """Return what help shows for an argument."""
    return str(argument.metavar or argument.name.upper())


class _Group(TyperGroup):
    """An application whose help lists commands under the headings that they name, and has one line for each general option."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the general options; Typer's own help for those of shell completion is longer than a line."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name in _COMPLETION:
                parameter.__dict__["help"] = _COMPLETION[parameter.name]
        return parameters

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, found in self.commands.items():
            heading = getattr(found, "rich_help_panel", None)
            line = (name.ljust(max(map(len, self.commands))), found.get_short_help_str(300))
            sections.setdefault(heading if isinstance(heading, str) else "Commands", []).append(line)
        _write_sections(formatter, sections)


def _write_sections(formatter: Any, sections: dict[str, list[tuple[str, str]]]) -> None:
    for heading, records in sections.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records, col_max=40)


class App(typer.Typer):
    """A program: its commands, and the module whose ``LAYOUTS`` say how their results look."""

    def __init__(self, name: str, *, layouts: str | None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self.layouts = layouts


def make_app(name: str, about: str, *, layouts: str | None = None) -> App:
    """Return a program without commands, whose ``--version`` and help are as in every other one of ours.

    Args:
        name: what is typed to call it.
        about: one sentence for the help.
        layouts: module whose ``LAYOUTS`` say how the results of its commands look, imported when one is shown; None for curate's.
    """
    app = App(
        name,
        layouts=layouts,
        help=about,
        cls=_Group,
        context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(help=about)(_options)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from curate import __version__
        from curate.terminal import console

        console.say(__version__)
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None: ...


def settings_verb(
    app: App,
    settings: type[Any],
    target: str,
    heading: str,
    about: str,
    *,
    subject: tuple[str, Any] = ("name", Name),
    ask: Ask | None = None,
) -> Callable[..., None]:
    """Add the command of a verb whose options are a settings class (`curate.settings`); return its function.

    Args:
        app: the program.
        settings: the class, from a module that imports nothing slow.
        target: the verb, as ``"package.module:function"``.
        heading: what the help lists the command under.
        about: one sentence for the help.
        subject: name and type, as Typer reads it, of the command's argument. ``name`` is that of a manifest, which is loaded
            for the verb; any other goes to the verb as it is, whose settings then have a ``root`` of their own.
        ask: as in `command`.
    """
    parameter, kind = subject

    def call(**options: Any) -> Any:
        module, _, function = target.partition(":")
        work = getattr(importlib.import_module(module), function)
        options |= {key: _mapping(options[key]) for key in mappings}
        first = options.pop(parameter)
        if parameter == "name":
            from curate.manifest import manifest

            first = manifest.load(first, root=options.pop("root"))
        return work(first, **options)

    given = options_of(settings)
    mappings = [option.name for option in given if _is_mapping(option.annotation)]
    fields = {field.name: field for field in dataclasses.fields(settings)}
    flags = {option.name: _flag(option, fields[option.name]) for option in given}
    json = inspect.Parameter("json", _KEYWORD, default=False, annotation=Json)
    root = flags.pop("root", inspect.Parameter("root", _KEYWORD, default=None)).replace(annotation=Root)
    first = inspect.Parameter(parameter, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
    parameters = [first, *flags.values(), json, root]
    call.__name__, call.__doc__ = target.partition(":")[2], about
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    numbers = {f"--{name}": help_of(field)["bare"] for name, field in fields.items() if help_of(field)["bare"] is not None}
    call.__dict__ |= {"verb": target, "bare": numbers, "__signature__": inspect.Signature(parameters)}
    return command(app, heading, ask=ask)(call)


def _flag(parameter: inspect.Parameter, field: dataclasses.Field[Any]) -> inspect.Parameter:
    """Return an option of a settings class as typer wants it: a type of the command line, a flag or a place, a help."""
    about, kind = help_of(field), _terminal_type(parameter.annotation)
    optional = type(None) in _members(parameter.annotation)
    singular = parameter.name.removesuffix("s") if kind == list[str] else parameter.name
    made = (
        typer.Argument(help=about["help"], metavar=about["metavar"] or parameter.name.upper(), show_default=False)
        if about["positional"]
        else typer.Option(
            about["flag"] or f"--{singular.replace('_', '-')}",
            help=about["help"],
            metavar=about["metavar"] or _METAVARS.get(kind),
            rich_help_panel=about["heading"],
            show_default=parameter.default is not inspect.Parameter.empty,
        )
    )
    default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    return parameter.replace(annotation=Annotated[kind | None if optional else kind, made], default=default)


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union; a type that is none is its own only member."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _terminal_type(annotation: Any) -> Any:
    """Return the type that a shell can give: of a union the plain member, text for what is repeated."""
    return next((member for member in _members(annotation) if member in _METAVARS or member is bool), list[str])


def _is_mapping(annotation: Any) -> bool:
    """Return whether a shell gives an option as repeated ``NAME=NUMBER``: a mapping to numbers and nothing plainer."""
    return any(typing.get_origin(member) is Mapping and float in typing.get_args(member) for member in _members(annotation))


def command(
    app: App, heading: str, *, name: str | None = None, ask: Ask | None = None
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Return a decorator that adds a function as a command, which shows what the function returns.

    The function keeps its parameters, except ``json``, which is taken off before it is called.

    Args:
        app: the program.
        heading: what the help lists it under.
        name: of the command, where it is not the function's.
        ask: called with the options before any work, which may ask on the terminal and change them.
    """

    def add(function: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**options: Any) -> None:
            from curate.terminal import console

            as_json = bool(options.pop("json", False))
            with guarded(as_json=as_json):
                check_numbers(options)
                if ask is not None:
                    ask(options)
                with console.watch(as_json=as_json):
                    result = function(**options)
                console.show(result, as_json=as_json, layouts=app.layouts)
            if not getattr(result, "complete", True) or getattr(result, "short_by", None):
                raise SystemExit(STOPPED)

        kind = type("_Command", (_Command,), {"bare": getattr(function, "bare", {})})
        app.command(name or function.__name__.replace("_", "-"), cls=kind, rich_help_panel=heading)(run)
        return run

    return add


@contextlib.contextmanager
def guarded(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error of ours, or Ctrl-C, in the enclosed work into a line on stderr and an exit status; bugs pass through.

    Args:
        as_json: how the result of an audit that failed is shown.
    """
    try:
        yield
    except CurateError as e:
        raise SystemExit(_report(e, as_json=as_json)) from e
    except KeyboardInterrupt as e:
        kept = str(e) or "every reply that was bought is kept; run the same command again to continue"
        from curate.terminal import console

        console.error(f"interrupted; manifests are as their last commit left them; {kept}")
        raise SystemExit(INTERRUPTED) from e
    except BaseException as e:
        told = None if os.environ.get(TRACEBACK) else _library_fault(e)
        if told is None:
            raise
        from curate.terminal import console

        console.error(f"{told}; manifests are as their last commit left them; {TRACEBACK}=1 shows where it happened")
        raise SystemExit(FAILED) from e


def _library_fault(error: BaseException) -> str | None:
    """Say in words what the machine or a library could not do, for data or a disk that no check of ours knew; None for a bug."""
    kind = type(error)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return f"{reason(error)}: {error.filename!r}" if error.filename else f"a file cannot be read or written: {reason(error)}"
    if isinstance(error, MemoryError):
        return "there is not enough memory for this"
    if kind.__name__ == "PanicException":  # of libraries written in Rust: no Exception, and of no common class
        return f"a library failed on this data: {_first_line(error)}"
    damaged = kind.__name__ == "ComputeError" or (kind.__name__ == "SchemaError" and "in file" in str(error))
    if kind.__module__ == "polars.exceptions" and damaged:  # named, since help loads no Polars
        return f"a table cannot be read: {_first_line(error)}"
    return None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _report(error: CurateError, *, as_json: bool) -> int:
    """Print an error and return its exit status."""
    from curate.terminal import console

    if isinstance(error, AuditFailedError) and error.result is not None:
        console.show(error.result, as_json=as_json)
    mistakes = error.mistakes if isinstance(error, MistakesError) else ()
    summary = error.summary if isinstance(error, MistakesError) else str(error)
    console.error(strip_userinfo(summary), mistakes)
    return AUDIT_FAILED if isinstance(error, AuditFailedError) else FAILED


def strip_userinfo(text: str) -> str:
    """Return `text` without the user names and passwords of its URLs."""
    return _USERINFO.sub("", text)


def _mapping(values: list[str] | None) -> dict[str, float] | None:
    found = {}
    for value in values or ():
        name, _, number = value.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise typer.BadParameter(f"{value!r} is not NAME=NUMBER, such as malformed=0.5")
    return found or None
