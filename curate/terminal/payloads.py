"""Owns what ``--json`` prints: a result as plain dicts, lists, strings and numbers. Prints nothing.

The keys are a promise to scripts: they are the fields of the result, numbers are not rounded, a manifest is named as
``math@7``, a frame becomes a list of objects, and what is not a number (NaN, infinity) is null.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Set
from datetime import date, datetime
from pathlib import Path
from typing import Any

__all__ = ["payload", "plain"]


def payload(result: Any) -> dict[str, Any]:
    """Return a result as one JSON object.

    Args:
        result: a result of a verb; where it has ``to_dict()``, that says what the object holds.
    """
    found = plain(result)
    return found if isinstance(found, dict) else {"result": found}


def plain(value: Any) -> Any:
    """Return `value` as JSON-able data."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_dict") and not isinstance(value, type):
        return plain(_named(value))
    return _container(value)


def _named(value: Any) -> Any:
    """Return what `value` says of itself; a Polars frame says it as rows."""
    return value.to_dicts() if hasattr(value, "to_dicts") else value.to_dict()


def _container(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if _is_manifest(value):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # a NumPy array or number
        return plain(value.tolist())
    if isinstance(value, Set):  # in an order that does not change from run to run
        return sorted((plain(item) for item in value), key=str)
    if hasattr(value, "__iter__"):
        return [plain(item) for item in value]
    return str(value)


def _is_manifest(value: Any) -> bool:
    return type(value).__module__ == "curate.manifest.manifest" and type(value).__name__ == "Manifest"
