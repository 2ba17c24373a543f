"""What a module hands out: `__all__` is there, sorted, true and complete."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted([*ROOT.glob("curate/**/*.py"), *ROOT.glob("baldistill/**/*.py")])
    if path.stem != "__main__"
]


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions; each in the order of the alphabet."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def definitions(module: str) -> set[str]:
    """Return the public functions and classes of a module; what a decorator files in a registry is reached by its name there."""
    path = ROOT / (module.replace(".", "/") + ".py")
    source = path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    body = ast.parse(source.read_text(encoding="utf-8")).body
    filed = {node.name for node in body if isinstance(node, ast.FunctionDef) and any(_files(d) for d in node.decorator_list)}
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")} - filed


def _files(decorator: ast.expr) -> bool:
    """Whether a decorator names a place, such as ``@exporters.register("jsonl")`` or ``@verb(app, "…")``."""
    return isinstance(decorator, ast.Call) and bool(decorator.args)


@pytest.mark.parametrize("module", MODULES)
def test_all_is_sorted_true_and_complete(module: str) -> None:
    loaded = importlib.import_module(module)
    exported = list(getattr(loaded, "__all__", []))
    assert exported == sorted(exported, key=order)
    assert len(set(exported)) == len(exported)
    assert [name for name in exported if not hasattr(loaded, name)] == []
    assert definitions(module) <= set(exported), "a public name is in __all__ or begins with an underscore"


@pytest.mark.parametrize("module", MODULES)
def test_what_is_handed_out_says_what_it_is(module: str) -> None:
    loaded = importlib.import_module(module)
    assert (loaded.__doc__ or "").strip(), "a module opens by saying what it owns"
    bare = [name for name in definitions(module) if not (getattr(loaded, name).__doc__ or "").strip()]
    assert bare == [], "public names have a docstring"
