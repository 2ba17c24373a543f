"""Declares the options of `export`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.settings import option

__all__ = ["ExportSettings"]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The options of `curate.export.export.export`."""

    to: str | Any = option(
        "parquet",
        metavar="FORMAT",
        help="Format to write: parquet, jsonl, chat or datasets.",
        more="Or a callable of the same contract.",
    )
    destination: str | Path | None = option(
        None,
        metavar="FOLDER",
        help="Folder to write to; default: exports/NAME-vVERSION-FORMAT beside manifests/.",
        more="It is made if missing. Files of the same names are replaced, each only once it is whole.",
    )
