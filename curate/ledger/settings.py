"""Declares the options of `ledger_export` and `ledger_import`, each once: type, default, help. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.settings import ROOT, option

__all__ = ["LedgerExportSettings", "LedgerImportSettings"]


@dataclass(frozen=True, kw_only=True)
class LedgerExportSettings:
    """The options of `curate.ledger.transfer.ledger_export`."""

    names: Sequence[str] | None = option(
        None,
        metavar="NAME",
        help="Manifest whose replies are written; repeat for several; default: all.",
        more="Those that were bought or used for it.",
    )
    models: Sequence[str] | None = option(
        None, metavar="MODEL", help="Teacher's model whose replies are written; repeat for several; default: all."
    )
    root: str | Path | None = option(None, metavar="FOLDER", help=ROOT)


@dataclass(frozen=True, kw_only=True)
class LedgerImportSettings:
    """The options of `curate.ledger.transfer.ledger_import`."""

    root: str | Path | None = option(None, metavar="FOLDER", help=ROOT, more="The ledger is made where it is missing.")
