"""The documents are true: commands exist as they are written, every command has an example, tables equal the schema."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

import baldistill.cli
import curate.terminal.cli
from baldistill.runs import grid, plan
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
GROUPS: dict[str, Any] = {
    "curate": typer.main.get_command(curate.terminal.cli.app),
    "baldistill": typer.main.get_command(baldistill.cli.app),
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """Return (page, text) of every fenced block in one of the languages."""
    for page in PAGES:
        for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                yield page.name, text


def command_lines() -> Iterator[tuple[str, str]]:
    """Return (page, command line) of every line that calls one of our programs, in blocks and between backticks."""
    for name, text in blocks("bash", "sh", "console", "shell", ""):
        for line in text.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ")
            if words.partition(" ")[0] in GROUPS:
                yield name, words


def parse(line: str) -> None:
    """Parse a command line as the program would, without running it."""
    words = shlex.split(line, comments=True)
    for stop in ("|", ">", "&&", ";"):
        words = words[: words.index(stop)] if stop in words else words
    program, *arguments = words
    if not arguments or arguments[0].startswith("-"):
        return
    command = GROUPS[program].commands.get(arguments[0])
    assert command is not None, f"no command {arguments[0]!r}"
    context = command.make_context(
        arguments[0], [a for a in arguments[1:] if a != "--help"], resilient_parsing="--help" in arguments
    )
    assert not context.args


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_every_command_line_in_the_documents_is_understood(page: str, line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", ["curate profil math", "curate profile math --budgt 3", "curate balance math", "curate tag"])
def test_a_command_line_that_is_wrong_would_be_noticed(line: str) -> None:
    with pytest.raises((AssertionError, typer.TyperException, Exception), match=r"no command|No such option|Missing|missing"):
        parse(line)


@pytest.mark.parametrize("program", GROUPS)
def test_every_command_has_an_example(program: str) -> None:
    shown = {line.split()[1] for _, line in command_lines() if line.split()[0] == program and len(line.split()) > 1}
    assert shown >= set(GROUPS[program].commands)


def columns_of(section: str) -> list[tuple[str, str]]:
    """Return (column, type) of the table under a heading of the data dictionary."""
    page = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
    under = page.split(f"\n## {section}", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `(\w+)` \| ([\w()]+) \| \S.* \|$", under, re.MULTILINE)


@pytest.mark.parametrize(("section", "schema"), [("Rows: `manifest/`", SCHEMA), ("Texts: `examples/`", CONTENT_SCHEMA)])
def test_the_data_dictionary_is_the_schema(section: str, schema: pl.Schema) -> None:
    assert columns_of(section) == [(name, str(dtype)) for name, dtype in schema.items()]


def python_names() -> Iterator[tuple[str, str, str]]:
    """Return (page, module, name) of everything of ours that python blocks import or take from a module of ours."""
    for page, text in blocks("python", "py"):
        code = "\n".join(line.removeprefix(">>> ").removeprefix("... ") for line in text.splitlines())
        tree = ast.parse(code)
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in GROUPS:
                for alias in node.names:
                    yield page, str(node.module), alias.name
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                yield page, modules[node.value.id], node.attr


@pytest.mark.parametrize(("page", "module", "name"), sorted(set(python_names())))
def test_what_python_blocks_use_exists(page: str, module: str, name: str) -> None:
    try:
        owner = importlib.import_module(module)
    except ModuleNotFoundError:  # a class or a function, whose attribute is used
        package, _, attribute = module.rpartition(".")
        owner = getattr(importlib.import_module(package), attribute)
    assert hasattr(owner, name) or importlib.util.find_spec(f"{module}.{name}")


@pytest.mark.parametrize(("page", "text"), list(blocks("toml")))
def test_plans_in_the_documents_are_good(page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tomllib.loads(text)
    if "methods" in data:
        (tmp_path / "plan.toml").write_text('manifest = "math"\n[balance]\nbudget = 9\n', encoding="utf-8")
        (tmp_path / "grid.toml").write_text(text, encoding="utf-8")
        assert grid.load_grid(tmp_path / "grid.toml").name == data["name"]
        return
    if "manifest" not in data:
        pytest.skip("not a plan")
    monkeypatch.chdir(tmp_path)
    teacher = data.get("balance", {}).get("teacher", "")
    if teacher.startswith("recorded:"):
        Path(teacher.removeprefix("recorded:")).touch()
    for source in data.get("ingest", {}).get("sources", ()):
        Path(source).touch()
    assert plan.parse(data).manifest == data["manifest"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/*.toml")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_plans_and_grids_in_examples_are_good(path: Path, tmp_path: Path) -> None:
    for file in path.parent.glob("*.toml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in ("questions.jsonl", "stories.jsonl", "teacher.jsonl", "teacher.parquet"):  # some are made by a script beside them
        (tmp_path / name).touch()
    copy = tmp_path / path.name
    if "methods" in tomllib.loads(path.read_text(encoding="utf-8")):
        assert grid.load_grid(copy).cells()
    else:
        assert "balance" in plan.load(copy)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_our_files_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_architecture_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", page))
    files = [*ROOT.glob("curate/**/*.py"), *ROOT.glob("baldistill/**/*.py")]
    assert {path.stem for path in files if not path.stem.startswith("_")} - named == set()
