"""Reads and checks plan.toml: a manifest, and one table per verb whose keys are that verb's parameters. Runs nothing.

    manifest = "math"

    [balance]
    budget = 2100
    stages = 5
    policy = "adaptive"

    [train]
    epochs = 3

A plan is checked as a whole before anything runs: tables, keys, types of values, registered names and files that are named.
All mistakes are in one report. Files that a plan reads are relative to its own folder; what a run writes goes where
``manifests/`` is. A parameter that the plan leaves out has the verb's own default; `Plan.settings` lists which is which.
"""

from __future__ import annotations

import importlib
import inspect
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curate.errors import CurateError, InputError, MistakesError, nearest
from curate.manifest.manifest import split_reference
from curate.registry import Registry
from curate.settings import check_numbers, wrong_choices

__all__ = [
    "ALLOW_SHORT",
    "VERBS",
    "Plan",
    "Setting",
    "fits",
    "load",
    "parameters_of",
    "parse",
    "read_toml",
    "spell",
    "suggestion",
]

# table → the verb whose parameters it sets, and those of them that a run sets itself
VERBS: dict[str, tuple[str, frozenset[str]]] = {
    "ingest": ("curate.sources.ingest:ingest", frozenset({"to", "root", "dry_run"})),
    "sample": ("curate.selection.sample:sample", frozenset()),
    "cluster": ("curate.vectors.cluster:cluster", frozenset()),
    "balance": ("curate.balance.balance:balance", frozenset({"stage", "dry_run", "preview", "metrics"})),
    "train": ("baldistill.training.train:train", frozenset({"output"})),
    "score": ("baldistill.evaluation.score:score", frozenset({"adapter"})),
    "evaluate": (
        "baldistill.evaluation.evaluate:evaluate",
        frozenset(
            {"adapter", "output", "endpoint", "model", "api_key_env", "max_calls", "max_usd"}
        ),  # its student is the trained one
    ),
    "export": ("curate.export.export:export", frozenset()),
}

# (table, key) → the registry whose names it takes
REGISTRIES: dict[tuple[str, str], str] = {
    ("balance", "policy"): "curate.selection.base:policies",
    ("balance", "selector"): "curate.selection.base:selectors",
    ("balance", "auditors"): "curate.audit.audit:auditors",
    ("export", "to"): "curate.export.export:exporters",
}

# (table, key) of files that are read; a relative path is taken from the plan's folder
INPUTS: frozenset[tuple[str, str]] = frozenset(
    {
        ("ingest", "sources"),
        ("ingest", "prompt_template"),
        ("ingest", "answer_template"),
        ("balance", "teacher"),
        ("balance", "rationale_prompt"),
        ("balance", "synthesis_prompt"),
        ("train", "warm_start"),
    }
)
NEEDED = "balance"  # the table without which there is nothing to run
ALLOW_SHORT = "allow_short"  # the key at the top that has short stages trained on
TAKEN = "adapters"  # the name of a folder beside those of the runs

_WORDS: dict[Any, str] = {
    **{int: "a whole number", float: "a number", bool: "true or false"},
    **{str: "text", Path: "text", dict: "a table", list: "a list"},
}


@dataclass(frozen=True)
class Setting:
    """One effective parameter of a run.

    Attributes:
        verb: the table.
        key: the parameter.
        value: what will be used.
        origin: ``"plan"`` or ``"default"``.
    """

    verb: str
    key: str
    value: Any
    origin: Literal["plan", "default"]


@dataclass(frozen=True)
class Plan:
    """A checked plan.

    Attributes:
        name: of the run; the file's stem unless the plan has a top-level ``name``.
        manifest: name of the manifest, as the plan has it.
        tables: verb → the parameters that the plan sets, with the paths of files to read found from its folder.
        path: the file, or empty for a plan made in Python.
        allow_short: train on stages that a cap cut short or that could not fill their slots.
    """

    name: str
    manifest: str
    tables: dict[str, dict[str, Any]]
    path: str = ""
    allow_short: bool = False

    def __contains__(self, verb: str) -> bool:
        return verb in self.tables

    def parameters(self, verb: str) -> dict[str, Any]:
        """Return the parameters that the plan sets for a verb; empty without such a table."""
        return dict(self.tables.get(verb, {}))

    def settings(self) -> list[Setting]:
        """Return every effective parameter of the verbs that the plan names, and where it comes from."""
        found = []
        for verb, given in self.tables.items():
            for key, parameter in parameters_of(verb).items():
                if key in given:
                    found.append(Setting(verb, key, given[key], "plan"))
                elif parameter.default is not inspect.Parameter.empty:
                    found.append(Setting(verb, key, parameter.default, "default"))
        return found

    def describe(self) -> list[str]:
        """Return a line per verb with every effective value: those of the plan, then the verb's defaults."""
        lines = []
        for verb in self.tables:
            mine = [setting for setting in self.settings() if setting.verb == verb]
            values = {o: ", ".join(f"{s.key}={s.value!r}" for s in mine if s.origin == o) for o in ("plan", "default")}
            lines.append(f"[{verb}] from the plan: {values['plan'] or 'nothing'}; by default: {values['default'] or 'nothing'}")
        return lines


def load(path: str | Path) -> Plan:
    """Read and check a plan file.

    Raises:
        InputError: the file cannot be read or is not TOML.
        MistakesError: it has mistakes; all of them are listed.
    """
    path = Path(path)
    return parse(read_toml(path, "plan"), name=path.stem, path=str(path))


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return what a file of TOML holds; `what` it is, messages say.

    Raises:
        InputError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{what} {str(path)!r} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise InputError(f"{what} {str(path)!r} is not UTF-8 text: byte {e.start}") from e
    except tomllib.TOMLDecodeError as e:
        raise InputError(f"{what} {str(path)!r} is not TOML: {e}") from e


def parse(data: Mapping[str, Any], *, name: str = "run", path: str = "") -> Plan:
    """Check a plan that is given as data.

    Args:
        data: what the TOML file holds.
        name: of the run, where `data` has no ``name``.
        path: of the file, for messages; its folder is where relative paths start.

    Raises:
        MistakesError: it has mistakes; all of them are listed.
    """
    folder = Path(path).parent
    tables = {verb: _locate(verb, data[verb], folder) for verb in VERBS if isinstance(data.get(verb), dict)}
    mistakes = [*_top_level(data)]
    for verb in data:  # in the order of the file
        mistakes.extend(_table(verb, tables[verb]) if verb in tables else ())
    if mistakes:
        raise MistakesError(f"plan {path or name!r}", mistakes)
    allow_short = bool(data.get(ALLOW_SHORT, False))
    return Plan(str(data.get("name", name)), str(data["manifest"]), tables, path, allow_short=allow_short)


def parameters_of(verb: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a verb that a plan may set, in the verb's order."""
    target, reserved = VERBS[verb]
    found = inspect.signature(_import(target)).parameters.values()
    return {p.name: p for p in found if p.name != "manifest" and p.name not in reserved}


def _locate(verb: str, table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a table whose files to read are found from `folder`; addresses and names of teachers stay as they are."""

    def find(value: Any) -> Any:
        if isinstance(value, list):
            return [find(item) for item in value]
        if not isinstance(value, str) or "://" in value:
            return value
        kind, _, file = value.partition(":")
        if verb == "balance" and kind == "recorded":
            return f"{kind}:{folder / file}"
        return str(folder / value)

    named = {name for name in table if (verb, name) in INPUTS}
    named -= {"teacher"} if not str(table.get("teacher")).startswith("recorded:") else set()
    return {name: find(value) if name in named else value for name, value in table.items()}


def _top_level(data: Mapping[str, Any]) -> Iterator[str]:
    if "manifest" not in data:
        yield 'manifest: missing; name one at the top, such as manifest = "math"'
    if NEEDED not in data:
        yield f"[{NEEDED}]: missing; a run needs at least its budget"
    for key in ("manifest", "name"):
        if key in data:
            yield from _name(key, data[key])
    if not isinstance(data.get(ALLOW_SHORT, False), bool):
        yield f"{ALLOW_SHORT}: must be true or false, got {data[ALLOW_SHORT]!r}"
    known = ("manifest", "name", ALLOW_SHORT, *VERBS)
    for key, value in data.items():
        if key not in known:
            what = f"unknown table [{key}]" if isinstance(value, dict) else f"unknown key {key!r} at the top"
            yield f"{what}{suggestion(key, known)}"
        elif key in VERBS and not isinstance(value, dict):
            yield f"{key}: must be a table, [{key}], got {value!r}"


def _name(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{key}: must be text, got {value!r}"
        return
    if (key, value) == ("name", TAKEN):
        yield f"name: {value!r} is taken; choose another"
    try:
        split_reference(value)
    except InputError as e:
        yield f"{key}: {e}"


def _table(verb: str, table: Mapping[str, Any]) -> Iterator[str]:
    allowed = parameters_of(verb)
    hints = _types(verb)
    for key, value in table.items():
        if key in VERBS[verb][1]:
            yield f"[{verb}] {key}: a run sets this itself; leave it out"
        elif key not in allowed:
            yield f"[{verb}] unknown key {key!r}{suggestion(key, allowed)}"
        elif not fits(value, hints.get(key, Any)):
            yield f"[{verb}] {key}: must be {spell(hints[key])}, got {value!r}"
        else:
            yield from (f"[{verb}] {key}: {mistake}" for mistake in _value(verb, key, value))
    for key, parameter in allowed.items():
        if parameter.default is inspect.Parameter.empty and key not in table:
            yield f"[{verb}] {key}: missing; it has no default"


def _types(verb: str) -> dict[str, Any]:
    """Return the type of each parameter of a verb, of its options from its settings class."""
    function = _import(VERBS[verb][0])
    return typing.get_type_hints(function) | typing.get_type_hints(getattr(function, "settings", function))


def _value(verb: str, key: str, value: Any) -> Iterator[str]:
    """Yield the mistakes in a value of the right type: a name that is not registered, a file that does not exist."""
    if (verb, key) in REGISTRIES:
        registry: Registry[Callable[..., object]] = _import(REGISTRIES[verb, key])
        for name in [value] if isinstance(value, str) else value:
            try:
                registry.get(name)
            except CurateError as e:
                yield str(e)
    settings = getattr(_import(VERBS[verb][0]), "settings", None)
    if settings is not None:
        yield from map(str, wrong_choices(settings, {key: value}))
        try:
            check_numbers({key: value})
        except InputError as e:
            yield str(e)
    if (verb, key) in INPUTS:
        for item in [value] if isinstance(value, str) else value:
            file = item.removeprefix("recorded:")
            if (key != "teacher" or file != item) and not _is_there(file):
                yield f"no such file {file!r}"


def _is_there(file: str) -> bool:
    return "://" in file or any(sign in file for sign in "*?[") or Path(file).exists()


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a TOML value is of an annotated type; what TOML cannot write, such as a callable, never fits."""
    if annotation is Any:
        return True
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in inner if option is not Any)
    if origin is Literal:
        return value in inner
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, dict) and (not inner or all(fits(item, inner[1]) for item in value.values()))
    if isinstance(origin, type) and issubclass(origin, Collection):
        return isinstance(value, list) and (not inner or all(fits(item, inner[0]) for item in value))
    return _fits_plain(value, annotation)


def _fits_plain(value: Any, annotation: Any) -> bool:
    if isinstance(value, bool) or annotation is bool:
        return isinstance(value, bool) and annotation is bool
    if annotation is float:
        return isinstance(value, int | float)
    if annotation is Path:
        return isinstance(value, str)
    return annotation in (int, str, dict, list) and isinstance(value, annotation)


def spell(annotation: Any) -> str:
    """Return an annotated type in words that a reader of TOML knows."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(spell(option) for option in inner if _writable(option)))
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"a list of {spell(inner[0])}" if inner else "a list"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _writable(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if annotation is type(None) or origin is Callable:
        return False
    return origin is not None or annotation in _WORDS


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about a name that is not known: the nearest one, or all that are."""
    known = list(known)
    guess = nearest(name, known)
    return f"; did you mean {guess!r}?" if guess else f". Known: {', '.join(known)}"


def _import(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
