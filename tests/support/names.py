"""Dotted names, as strings hold them, looked up."""

from __future__ import annotations

import importlib


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
