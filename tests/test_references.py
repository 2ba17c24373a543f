"""Names of our modules, and what is taken from them: in code, and in strings, which no linter follows.

Strings are entry points, late imports, and programs of child processes.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.names import missing, registries

ROOT = Path(__file__).parents[1]
FOLDERS = ("curate", "baldistill", "tests", "benchmarks", "examples")
SOURCES = sorted({path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")} - {Path(__file__)})

NAMED = re.compile(r"(?:curate|baldistill|tests)(?:\.\w+)+(?::\w+)?")
FROM = re.compile(r"^\s*from ((?:curate|baldistill|tests)\b[\w.]*) import ([\w, ]+)", re.MULTILINE)
# Dotted names in strings that are no modules: groups of entry points, and what a commit's metadata are called.
OTHERS = {"curate.languages", "curate.parameters", "curate.shouts", "curate.other", "curate.verb"}


def strings(path: Path) -> Iterator[str]:
    """Return every string of a file; what an f-string fills in is left empty."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def used(text: str) -> Iterator[str]:
    """Return as dotted names what a program in a string imports of ours, and what it takes from the modules that it imports."""
    for module, names in FROM.findall(text):
        for name, _, alias in (part.strip().partition(" as ") for part in names.split(",")):
            yield f"{module}.{name}"
            if missing(f"{module}.{name}") is None and f"{module}.{name}" in sys.modules:
                yield from (f"{module}.{name}.{attribute}" for attribute in re.findall(rf"\b{alias or name}\.(\w+)", text))


def imported(tree: ast.AST) -> Iterator[str]:
    """Return as dotted names what code imports of ours, and what it takes from modules whose names mean nothing else in it."""
    others = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    others |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in FOLDERS:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules.keys() - others:
            yield f"{modules[node.value.id]}.{node.attr}"


def test_what_code_takes_from_our_modules_exists() -> None:
    """Benchmarks too, which no test runs."""
    lacking = {}
    for path in SOURCES:
        names = sorted(set(imported(ast.parse(path.read_text(encoding="utf-8")))))
        lacking[str(path.relative_to(ROOT))] = [lack for name in names if (lack := missing(name))]
    assert {path: lacks for path, lacks in lacking.items() if lacks} == {}


def test_what_strings_name_exists() -> None:
    known = OTHERS | {registry.group for _, registry in registries()}
    lacking = {}
    for path in SOURCES:
        named = [text for text in strings(path) if NAMED.fullmatch(text) and text not in known]
        programs = [name for text in strings(path) for name in used(text)]
        lacking[str(path.relative_to(ROOT))] = [lack for name in [*named, *programs] if (lack := missing(name))]
    assert len(lacking) > 200
    assert {path: lacks for path, lacks in lacking.items() if lacks} == {}


def test_a_wrong_name_would_be_noticed() -> None:
    assert missing("curate.manifest.manifest:load") is None
    assert missing("curate.manifest.manifest:lode") == "curate.manifest.manifest:lode: no 'lode'"
    assert missing("curate.manifests.manifest") == "curate.manifests.manifest: no 'manifests'"
    program = "import sys\nfrom curate.manifest import manifest as m, lost\nm.load(sys.argv[1])\nm.lode()\n"
    assert [missing(name) for name in used(program)] == [
        None,
        None,
        "curate.manifest.manifest.lode: no 'lode'",
        "curate.manifest.lost: no 'lost'",
    ]


def test_the_commands_lead_to_functions() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert sorted(scripts) == ["baldistill", "curate"]
    assert [missing(target) for target in scripts.values()] == [None, None]
