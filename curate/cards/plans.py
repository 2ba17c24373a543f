"""Writes the plan that makes a version again, from the parameters of its commits. Runs nothing.

A plan (`baldistill run`) has a table for each of `_TABLES`; what else was done stands below them as the commands that did it.
Names of files are as the commits have them, without their folders.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from curate.cards.markup import clean, quoted, without_folder
from curate.manifest.manifest import Commit
from curate.teachers.base import LOOPBACK

__all__ = ["plan_of"]

# The tables of a plan, in its order, each with the keys of a commit's parameters that are keys of the table as well.
_TABLES: dict[str, tuple[str, ...]] = {
    "ingest": (
        *("sources", "prompt", "answer", "rationale", "domain", "split", "source", "licence", "format", "turns", "domain_from"),
        *("domain_rule", "holdout", "seed", "on_error", "prune"),
    ),
    "sample": ("rows", "exponent", "domains", "seed"),
    "cluster": ("encoder", "precision", "backend", "prefix", "n_clusters", "domains", "seed"),
    "balance": (
        *("budget", "stages", "policy", "schedule", "temperature", "need_weight", "selector", "rationales", "wrong_rationale"),
        *("fill", "teacher", "model", "max_attempts", "auditors", "encoder", "show_answer", "rows_per_call", "seed"),
    ),
}
# Commands below the plan, each with the parameters that its options are of.
_COMMANDS: dict[str, tuple[str, ...]] = {
    **_TABLES,
    "annotate": ("teacher", "model", "show_answer", "words", "temperature", "reply_tokens"),
    "audit": ("auditors", "apply", "thresholds", "encoder", "status"),
    "profile": ("kinds", "student"),
    "score": ("student", "kind"),
    "select": ("n", "domains", "selector", "encoder", "seed"),
    "synthesize": ("teacher", "model", "domains", "n", "words", "temperature", "reply_tokens", "max_attempts", "seed"),
    "unselect": ("stage", "domains", "rows", "all"),
    "restore": (),
}
_OF_MODELS = ("encoder", "student", "teacher", "model", "selector", "policy")  # that may be named by a path
_DEFAULTS = {"source": "real", "format": "auto", "turns": "last", "on_error": "fail", "holdout": 0.0}
_ADDRESS = re.compile(r"[0-9.]+|.*:.*")  # of a machine in figures, IPv4 or IPv6
_NOT_PUBLIC = (".corp", ".home", ".internal", ".intranet", ".lan", ".local", ".localdomain", ".localhost", ".private")
_YOURS, _HERE = "https://your-server/v1", "http://127.0.0.1:8000/v1"
_RECORDING = re.compile(r"(recorded:.+):[0-9a-f]{16}")  # as the ledger knows it: the file and a hash of it


def plan_of(name: str, log: Sequence[Commit]) -> str:
    """Return the plan that makes a version again, as TOML; what a plan has no table for is a comment.

    Args:
        name: of the manifest.
        log: its commits, oldest first.
    """
    plan, rest = _split(log)
    parts = [f"manifest = {quoted(name)}"]
    for verb in _TABLES:
        if verb in plan:
            parts.append("\n".join([f"[{verb}]", *_settings(verb, plan[verb])]))
    if rest:
        parts.append("\n".join(["# A plan has no table for what was done besides:", *(_command(name, each) for each in rest)]))
    return "\n\n".join(parts) + "\n"


def _split(log: Sequence[Commit]) -> tuple[dict[str, Commit], list[Commit]]:
    """Return the commit of each table, and those for which a plan has none, in their order."""
    plan: dict[str, Commit] = {}
    rest: list[Commit] = []
    for commit in log:
        if commit.verb == "balance":
            plan[commit.verb] = commit  # the newest stage; its parameters are those of all
        elif commit.verb in _TABLES and commit.verb not in plan and not rest:
            plan[commit.verb] = commit
        else:
            rest.append(commit)
    return plan, rest


def _values(verb: str, commit: Commit) -> Iterator[tuple[str, Any]]:
    """Yield the options of a commit that say something, as a user writes them."""
    given = {**commit.parameters, "seed": commit.seed}
    for key in _COMMANDS.get(verb, ()):
        value = given.get(key)
        if value in (None, [], {}, "") or value is False or (verb == "ingest" and value == _DEFAULTS.get(key)):
            continue
        if key == "teacher":
            value = _teacher(str(value))
        if key in _OF_MODELS:
            value = without_folder(str(value))
        if not (key == "model" and str(value).startswith("recorded:")):
            yield key, value


def _teacher(endpoint: str) -> str:
    """Return a teacher as a user writes it; the address of a server that is not everybody's is not said."""
    if found := _RECORDING.fullmatch(endpoint):
        return found[1]
    if endpoint.startswith(LOOPBACK):  # with a port behind it, or without
        return _HERE
    if not endpoint.startswith(("http://", "https://")):
        return endpoint
    host = _host(endpoint)
    public = "." in host and not _ADDRESS.fullmatch(host) and not host.endswith(_NOT_PUBLIC)
    return endpoint if public else _YOURS


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _settings(verb: str, commit: Commit) -> Iterator[str]:
    for key, value in _values(verb, commit):
        yield f"{key} = {_toml(value)}"
    if verb == "balance" and commit.parameters.get("metrics"):
        yield "# its slots went by the results of the student that was trained on the stages before"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return quoted(value)


def _command(name: str, commit: Commit) -> str:
    """Return the command of a commit as a comment; of a verb that is not known, its name alone."""
    words = ["baldistill" if commit.verb == "score" else "curate", commit.verb]
    options: list[str] = []
    for key, value in _values(commit.verb, commit):
        if key == "sources":
            words += [str(each) for each in value]
            continue
        flag = f"--{_flag(key, value)}"
        for each in value if isinstance(value, list | tuple) else [value]:
            options += _words(flag, each)
    words += ["--to", name] if commit.verb == "ingest" else [name]
    line = " ".join(shlex.quote(clean(word)) for word in [*words, *options])
    return f"# v{commit.version}: {quoted(line)[1:-1]}"


def _flag(key: str, value: Any) -> str:
    singular = key.removesuffix("s") if isinstance(value, list | tuple | dict) else key
    return singular.replace("_", "-")


def _words(flag: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [word for name, number in value.items() for word in (flag, f"{name}={number}")]
    return [flag] if value is True else [flag, str(value)]
