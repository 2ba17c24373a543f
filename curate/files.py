"""Owns where the project keeps its files: the root, the cache and the ledger's path. Reads and writes no data."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "find_root", "ledger_path"]


def find_root(root: str | Path | None = None) -> str:
    """Return the folder or URL that holds ``manifests/`` and ``cache/``: `root`, CURATE_ROOT, or the working directory."""
    return str(root or os.environ.get("CURATE_ROOT") or ".")


def cache_folder(root: str) -> Path:
    """Return the folder of what can be made again; beside a root that is a URL it is in the working directory."""
    return Path("cache") if "://" in root else Path(root) / "cache"


def ledger_path(root: str) -> Path:
    """Return the place of a root's ledger; beside a root that is a URL it is in the working directory."""
    return (Path() if "://" in root else Path(root)) / "manifests" / "ledger.sqlite"
