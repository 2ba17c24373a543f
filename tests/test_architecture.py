"""The arrows of docs/architecture.md, read from the source: who may import whom, and what may be loaded when."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The folders of `curate` in the order in which a row walks through them, each with the folders that it may import. The modules at
# the top (`errors`, `files`, `models`, `progress`, `registry`) are everybody's.
MAY_IMPORT = {
    "manifest": set(),
    "sources": {"manifest"},
    "vectors": {"manifest"},
    "selection": {"manifest", "vectors"},
    "teachers": {"manifest"},
    "ledger": {"teachers"},
    "calls": {"ledger", "teachers"},
    "audit": {"manifest", "vectors"},
    "generation": {"audit", "manifest", "teachers"},
    "balance": {"audit", "calls", "generation", "ledger", "manifest", "selection", "teachers", "vectors"},
    "report": {"calls", "ledger", "manifest", "teachers"},
    "export": {"manifest", "report"},
    "terminal": {
        "audit",
        "balance",
        "calls",
        "export",
        "generation",
        "ledger",
        "manifest",
        "report",
        "selection",
        "sources",
        "teachers",
        "vectors",
    },
}
MOST_MODULES = 12  # in a folder of `curate`, `__init__` aside
MOST_LEVELS = 9  # of modules that import each other, in `curate`

# One module per outside library: who may import it. Frames (polars, numpy) and hashes (xxhash) are everybody's.
OWNERS = {
    "altair": {"curate.report.plot"},
    "datasets": {"baldistill.sft", "curate.sources.discover"},
    "deltalake": {"curate.manifest.delta"},
    "faiss": {"curate.vectors.neighbors"},
    "huggingface_hub": {"curate.models"},
    "jinja2": {"curate.generation.prompts"},
    "math_verify": {"curate.audit.mathematics"},
    "model2vec": {"curate.vectors.static"},
    "nncf": {"curate.vectors.backends"},
    "onnxruntime": {"curate.vectors.backends"},
    "openai": {"curate.teachers.openai"},
    "openvino": {"curate.vectors.backends"},
    "orjson": {"curate.teachers.base"},
    "peft": {"baldistill.adapters", "baldistill.sft"},
    "pyarrow": {"curate.sources.readers", "curate.ledger.transfer"},
    "rich": {"curate.terminal.console", "curate.terminal.widgets", "curate.terminal.progress_view"},
    "safetensors": {"curate.vectors.encoders", "curate.models"},
    "sentence_transformers": {"curate.vectors.encoders"},
    "sklearn": {"baldistill.evaluate"},
    "sqlite3": {"curate.ledger.ledger"},
    "torch": {
        "baldistill.sft",
        "baldistill.generate",
        "baldistill.losses",
        "baldistill.students",
        "curate.vectors.backends",
        "curate.vectors.encoders",
        "curate.models",
    },
    "transformers": {"baldistill.sft", "baldistill.generate", "baldistill.losses", "curate.models"},
    "trl": {"baldistill.sft"},
    "typer": {"baldistill.cli", "curate.terminal.cli", "curate.terminal.commands", "curate.terminal.options"},
}
EVERYBODYS = {"numpy", "polars", "xxhash"}

# What shows and reads the command line; in both packages.
TERMINAL = {"__main__", "bills", "cli", "commands", "console", "demo", "grids", "panels", "screens", "tables"}

# Slow to import (most of a second and more), so never at the top of a module.
HEAVY = {*OWNERS} - {"jinja2", "orjson", "rich", "sqlite3", "typer"} | {"accelerate", "pandas", "scipy"}


@cache
def modules() -> dict[str, Path]:
    """Return every module of the two packages by its dotted name."""
    found = {}
    for path in sorted([*ROOT.glob("curate/**/*.py"), *ROOT.glob("baldistill/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> list[tuple[str, int, bool]]:
    """Return what a module imports, wherever in it: name, line, and whether it is at the top level."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            within = isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef) or getattr(parent, "within", False)
            child.within = within or _types_only(parent)  # type: ignore[attr-defined]
    found = []
    for node in ast.walk(tree):
        top = not getattr(node, "within", False)
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name if name in modules() else str(node.module), node.lineno, top) for name in full]
    return found


def _types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def ours(module: str) -> set[str]:
    return {name for name, _, _ in imports(module) if name in modules()} - {module}


@cache
def reaches(module: str) -> frozenset[str]:
    """Return every module of ours that `module` uses, directly or through others."""
    seen: set[str] = set()
    open_ends = [module]
    while open_ends:
        fresh = ours(open_ends.pop()) - seen
        seen |= fresh
        open_ends += fresh
    return frozenset(seen)


def test_no_import_turns_in_a_circle() -> None:
    try:
        TopologicalSorter({module: ours(module) for module in modules()}).prepare()
    except CycleError as e:
        pytest.fail(f"import cycle: {' → '.join(reversed(e.args[1]))}")


def test_no_arrow_turns_round() -> None:
    turned = [
        f"{module} uses {upper}"
        for i, floor in enumerate(FLOORS)
        for module in sorted(floor & set(modules()))
        for upper in sorted(reaches(module).intersection(*[set().union(*FLOORS[i + 1 :])]))
    ]
    assert not turned, f"lower floors must not use upper ones: {turned}"


def test_every_module_on_a_floor_exists() -> None:
    assert set().union(*FLOORS) <= set(modules())


def test_the_rooms_of_the_documentation_are_the_modules() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = text.split("\n## The rooms\n")[1].split("\n## ")[0]
    described = set()
    for package, table in re.findall(r"^\| (\w+)/ \|.*\n((?:\|.*\n)+)", rooms, re.MULTILINE):
        cells = [line.split("|")[1] for line in table.splitlines()]
        described |= {f"{package}.{name}" for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert described == {module for module in modules() if "." in module and not module.endswith(".__main__")}


def test_curate_never_imports_baldistill() -> None:
    sinners = {m: [n for n, _, _ in imports(m) if n.split(".")[0] == "baldistill"] for m in modules() if m.startswith("curate")}
    assert not {m: names for m, names in sinners.items() if names}


def test_below_the_terminal_nothing_knows_of_it() -> None:
    terminal = {m for m in modules() if m.split(".")[-1] in TERMINAL}
    assert "curate.terminal.console" in terminal
    assert not {m: found for m in set(modules()) - terminal if (found := ours(m) & terminal)}


@pytest.mark.parametrize("module", modules())
def test_one_module_per_outside_library(module: str) -> None:
    for name, line, top in imports(module):
        library = name.split(".")[0]
        where = f"{module}:{line} imports {name}"
        if library in OWNERS:
            assert module in OWNERS[library], f"{where}; that is for {sorted(OWNERS[library])}"
        else:
            known = library in sys.stdlib_module_names or library in EVERYBODYS or library in {"curate", "baldistill"}
            assert known, f"{where}, which has no owner: give it one in OWNERS and in docs/architecture.md"
        assert not (top and library in HEAVY), f"{where} at the top; import it inside the function that needs it"


def test_every_owner_uses_its_library() -> None:
    uses = {(name.split(".")[0], module) for module in modules() for name, _, _ in imports(module)}
    idle = [(library, owner) for library, owners in OWNERS.items() for owner in owners if (library, owner) not in uses]
    assert not idle, "take them out of OWNERS"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import curate", HEAVY | {"polars", "typer", "rich"}),
        ("import curate.terminal.cli", HEAVY | {"polars", "sqlite3"}),
        ("import baldistill.cli", HEAVY | {"polars", "sqlite3"}),
        *[(f"import {module}", HEAVY) for module in ("curate.balance.balance", "baldistill.pipeline")],
    ],
)
def test_an_import_loads_nothing_heavy(statement: str, absent: set[str]) -> None:
    code = f"{statement}; import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}} & {absent!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
