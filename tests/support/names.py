"""Dotted names, as strings hold them, looked up; and the registries of all plug-in points."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from curate.registry import Registry

_ROOT = Path(__file__).parents[2]


def missing(reference: str) -> str | None:
    """Return what a dotted name, with or without an attribute after a colon, lacks; None where it leads to something."""
    module, _, attribute = reference.partition(":")
    names = [*module.split("."), *([attribute] if attribute else [])]
    found, rest = importlib.import_module(names[0]), names[1:]
    for i, name in enumerate(rest):
        if not hasattr(found, name):
            try:
                importlib.import_module(".".join(names[: i + 2]))
            except ModuleNotFoundError:
                return f"{reference}: no {name!r}"
        found = getattr(found, name)
    return None


def registries() -> list[tuple[str, Registry[Any]]]:
    """Return (module, registry) of every registry that a module of ours makes."""
    found = []
    for path in sorted([*_ROOT.glob("curate/**/*.py"), *_ROOT.glob("baldistill/**/*.py")]):
        name = ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")
        for variable in re.findall(r"^(\w+): Registry\[.*\] = Registry\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.append((name, getattr(importlib.import_module(name), variable)))
    return found
