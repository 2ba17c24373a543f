"""Owns how a verb becomes a command: imported late, its exit status, what Ctrl-C leaves. Knows no verb by name.

A command is a declaration: a function whose parameters are the verb's, with help for each. `verb` gives it a body that
loads the manifest, calls the verb with exactly those parameters and shows what comes back; `command` is for the few whose
body is their own. Nothing is imported before a command runs, so help is quick.

Exit status: 0 done, 1 an error that the user can put right, 2 usage, 3 an audit that failed, 130 interrupted.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from curate.errors import AuditFailedError, CurateError, MistakesError

__all__ = ["INTERRUPTED", "Json", "Name", "Root", "command", "make_app", "strip_userinfo", "verb"]

FAILED, AUDIT_FAILED, INTERRUPTED = 1, 3, 130

Name = Annotated[str, typer.Argument(metavar="NAME", help="The manifest: NAME, NAME@VERSION or NAME@TAG.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]
Root = Annotated[str | None, typer.Option(help="Folder or URL that holds manifests/; else CURATE_ROOT, else the working directory.")]

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def make_app(name: str, about: str) -> typer.Typer:
    """Return an empty application whose ``--version`` and help are as in every other one of ours."""
    app = typer.Typer(name=name, help=about, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

    @app.callback()
    def options(version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version)] = False) -> None: ...

    options.__doc__ = about
    return app


def verb(app: typer.Typer, target: str, *, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that files a declaration as a command which calls a verb on a manifest.

    Args:
        app: where the command is filed.
        target: the verb, as ``"package.module:function"``; it takes a manifest and the declaration's options.
        name: of the command; the declaration's name unless given.
    """

    def file(declaration: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(declaration)
        def call(**options: Any) -> Any:
            from curate import manifest

            reference, root = options.pop("name"), options.pop("root")
            function = _load(target)
            return function(manifest.load(reference, root=root), **options)

        return command(app, name=name)(call)

    return file


def command(app: typer.Typer, *, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Return a decorator that files a function as a command and shows what it returns.

    The function keeps its parameters, except ``json``, which is taken off before it is called.
    """

    def file(function: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**options: Any) -> None:
            as_json = bool(options.pop("json", False))
            _run(lambda: function(**options), as_json=as_json)

        app.command(name=name or function.__name__.replace("_", "-"))(run)
        return run

    return file


def strip_userinfo(text: str) -> str:
    """Return `text` without the user names and passwords of its URLs."""
    return _USERINFO.sub("", text)


def _run(work: Callable[[], Any], *, as_json: bool) -> None:
    from curate import console

    try:
        with console.watch(as_json=as_json):
            result = work()
        console.show(result, as_json=as_json)
    except CurateError as e:
        summary = e.summary if isinstance(e, MistakesError) else str(e)
        console.error(strip_userinfo(summary), e.mistakes if isinstance(e, MistakesError) else ())
        raise typer.Exit(AUDIT_FAILED if isinstance(e, AuditFailedError) else FAILED) from e
    except KeyboardInterrupt as e:
        console.error("interrupted; manifests are as their last commit left them, and every teacher reply that was bought is kept")
        raise typer.Exit(INTERRUPTED) from e


def _load(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _version(wanted: bool) -> None:
    if wanted:
        from curate import __version__, console

        console.say(__version__)
        raise typer.Exit
