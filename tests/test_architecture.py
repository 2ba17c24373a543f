"""The arrows of docs/architecture.md, read from the source: who may import whom, and what may be loaded when."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The folders of `curate` in the order in which a row walks through them, each with the folders that it may import. The modules
# at the top (`defaults`, `errors`, `escapes`, `files`, `models`, `progress`, `registry`, `settings`, `templates`) are everybody's
# and import no folder.
MAY_IMPORT = {
    "manifest": "",
    "readers": "hub manifest",
    "sources": "answers manifest readers",
    "vectors": "manifest",
    "selection": "manifest vectors",
    "teachers": "manifest",
    "ledger": "teachers",
    "calls": "ledger teachers",
    "answers": "",
    "audit": "answers manifest vectors",
    "generation": "answers audit manifest teachers",
    "balance": "audit calls generation ledger manifest selection teachers vectors",
    "report": "answers audit calls generation ledger manifest teachers",
    "cards": "audit manifest report teachers",
    "hub": "cards manifest",
    "export": "audit cards hub manifest report",
    "housekeeping": "ledger manifest report",
    "terminal": (
        "answers audit balance calls cards export generation housekeeping hub ledger manifest readers report selection sources "
        "teachers vectors"
    ),
}
# The same for `baldistill`, whose top (the command line and the demo) may import all of them, and is imported by none.
TRAINING_MAY_IMPORT = {
    "student": "",
    "training": "student",
    "evaluation": "student",
    "runs": "evaluation student training",
    "share": "student",
}
MOST_MODULES = 11  # in a folder of `curate`, `__init__` aside
MOST_LEVELS = 9  # of modules that import each other, in `curate`

# One module per outside library: who may import it. Frames (polars, numpy) and hashes (xxhash) are everybody's.
OWNERS = {
    "altair": {"curate.report.plot"},
    "datasets": {"baldistill.training.sft", "curate.readers.open"},
    "deltalake": {"curate.manifest.delta"},
    "filelock": {"curate.balance.balance"},
    "faiss": {"curate.vectors.neighbors"},
    "huggingface_hub": {"curate.cards.metadata", "curate.hub.client", "curate.hub.push", "curate.models"},
    "jinja2": {"curate.generation.prompts", "curate.sources.expressions", "curate.models", "curate.templates"},
    "license_expression": {"curate.cards.licences"},
    "latex2sympy2_extended": {"curate.answers.symbolic"},
    "math_verify": {"curate.answers.symbolic"},
    "msgspec": {"curate.readers.json_files", "curate.readers.tables"},
    "model2vec": {"curate.vectors.static"},
    "nncf": {"curate.vectors.backends"},
    "onnxruntime": {"curate.vectors.backends"},
    "openai": {"curate.teachers.openai"},
    "openvino": {"curate.vectors.backends"},
    "orjson": {"curate.teachers.base"},
    "peft": {"baldistill.student.adapters", "baldistill.training.sft"},
    "pint": {"curate.answers.quantities"},
    "polars_hash": {"curate.manifest.ids"},
    "psutil": {"curate.ledger.leases", "curate.ledger.network_disk"},
    "py3langid": {"curate.cards.languages"},
    "pyarrow": {
        "curate.export.layout",
        "curate.ledger.transfer",
        "curate.readers.streams",
        "curate.readers.typed",
    },
    "regex": {"curate.answers.texts"},
    "rich": {"curate.terminal.console", "curate.terminal.widgets", "curate.terminal.progress_view"},
    "safetensors": {"baldistill.student.adapters", "curate.vectors.encoders", "curate.models"},
    "sentence_transformers": {"curate.vectors.encoders"},
    "sklearn": {"baldistill.evaluation.metrics"},
    "sqlite3": {"curate.ledger.ledger"},
    "sympy": {"curate.answers.symbolic"},
    "torch": {
        "baldistill.student.adapters",
        "baldistill.training.sft",
        "baldistill.share.merge",
        "baldistill.student.generate",
        "baldistill.student.label_scores",
        "baldistill.student.losses",
        "baldistill.student.soup",
        "baldistill.student.students",
        "curate.vectors.backends",
        "curate.vectors.encoders",
        "curate.models",
    },
    "transformers": {
        "baldistill.training.sft",
        "baldistill.student.generate",
        "baldistill.student.label_scores",
        "baldistill.student.losses",
        "curate.models",
    },
    "trl": {"baldistill.training.sft"},
    "yaml": {"curate.cards.metadata"},
    "typer": {"baldistill.cli", "curate.terminal.cli", "curate.terminal.commands"},
}
EVERYBODYS = {"numpy", "polars", "xxhash"}

# What shows and reads the command line, beside everything in curate/terminal.
TERMINAL = {f"baldistill.{name}" for name in ("cli", "demo", "layouts")}

# Slow to import (most of a second and more), so never at the top of a module.
HEAVY = {*OWNERS} - {"jinja2", "msgspec", "orjson", "rich", "sqlite3", "typer"} | {"accelerate", "pandas", "scipy"}


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


def folder_of(module: str) -> str | None:
    """Return the folder of `curate` that a module is in; None for the top of `curate` and for `baldistill`."""
    package, _, rest = module.partition(".")
    folder = rest.partition(".")[0]
    return folder if package == "curate" and folder in MAY_IMPORT else None


def on_load(module: str) -> set[str]:
    """Return what a module imports of ours when it is loaded; what a folder's `__init__` hands on is no level of its own."""
    if modules()[module].name == "__init__.py":
        return set()
    return {name for name, _, top in imports(module) if top and name in modules()} - {module}


def ours(module: str) -> set[str]:
    return {name for name, _, _ in imports(module) if name in modules()} - {module}


def test_no_import_turns_in_a_circle() -> None:
    try:
        TopologicalSorter({module: ours(module) for module in modules()}).prepare()
    except CycleError as e:
        pytest.fail(f"import cycle: {' → '.join(reversed(e.args[1]))}")


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_what_it_may(folder: str) -> None:
    allowed = {folder, *MAY_IMPORT[folder].split()}
    mine = [m for m in modules() if m.startswith(f"curate.{folder}.")]
    turned = [f"{m} imports {other}" for m in mine for other in sorted(ours(m)) if folder_of(other) not in {*allowed, None}]
    assert not turned


@pytest.mark.parametrize("folder", TRAINING_MAY_IMPORT)
def test_a_folder_of_the_training_side_imports_what_it_may(folder: str) -> None:
    allowed = {folder, *TRAINING_MAY_IMPORT[folder].split()}
    mine = [m for m in modules() if m.startswith(f"baldistill.{folder}.")]
    others = {(m, other) for m in mine for other in ours(m) if other.startswith("baldistill.")}
    assert mine
    assert len(mine) <= MOST_MODULES
    assert not [f"{m} imports {other}" for m, other in sorted(others) if other.split(".")[1] not in allowed]


def test_every_folder_is_in_the_rules_and_small_enough_to_be_read() -> None:
    sizes = Counter(folder_of(m) for m in modules() if m.startswith("curate.") and modules()[m].name != "__init__.py")
    assert set(sizes) - {None} == set(MAY_IMPORT)
    assert not {folder: n for folder, n in sizes.items() if n > MOST_MODULES}


def test_tests_have_a_folder_for_each_folder_of_the_code() -> None:
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/**/test_*.py")}
    assert folders == {*MAY_IMPORT, "baldistill", "contracts", "fuzz"}, "support and fixtures hold no tests"


def test_the_table_of_folders_in_the_documentation_is_this_one() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    told = {folder: set(re.findall(r"`(\w+)`", cell)) for folder, cell in rows}
    told["terminal"] = set(MAY_IMPORT) - {"terminal"}  # where the page says "every other"
    assert told == {folder: set(names.split()) for folder, names in MAY_IMPORT.items()}


def test_files_that_the_documentation_names_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:curate|baldistill|tests|docs)/[\w./-]+)`", page))
    assert len(named) > 20
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_top_of_curate_imports_no_folder() -> None:
    top = [m for m in modules() if m.count(".") == 1 and folder_of(m) is None and m.startswith("curate.")]
    assert not {m: found for m in top if (found := {other for other in ours(m) if folder_of(other)})}


def test_levels_are_in_single_digits() -> None:
    above: dict[str, int] = {}
    for module in TopologicalSorter({m: on_load(m) for m in modules()}).static_order():
        above[module] = 1 + max((above[other] for other in on_load(module)), default=0)
    assert max(level for module, level in above.items() if module.startswith("curate")) <= MOST_LEVELS


def test_curate_never_imports_baldistill() -> None:
    sinners = {m: [n for n, _, _ in imports(m) if n.split(".")[0] == "baldistill"] for m in modules() if m.startswith("curate")}
    assert not {m: names for m, names in sinners.items() if names}


def test_below_the_terminal_nothing_knows_of_it() -> None:
    assert set(modules()) >= TERMINAL
    terminal = {m for m in modules() if m in TERMINAL or folder_of(m) == "terminal"}
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
        *[(f"import {module}", HEAVY) for module in ("curate.balance.balance", "baldistill.runs.pipeline")],
    ],
)
def test_an_import_loads_nothing_heavy(statement: str, absent: set[str]) -> None:
    code = f"{statement}; import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}} & {absent!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
