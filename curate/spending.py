"""Owns what was spent, read from the ledger: sums per manifest name, and what is known of single calls. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from curate.ledger import Ledger, ledger_path
from curate.manifest import Manifest, find_root
from curate.orders import Bought, Figures, Summary

__all__ = ["look_up", "summary"]

_COUNTED = """COUNT(DISTINCT a.call), COUNT(*), COUNT(*) FILTER (WHERE a.status = 'answered'),
    COUNT(*) FILTER (WHERE a.status = 'failed'), COUNT(*) FILTER (WHERE a.status = 'lost'),
    COUNT(*) FILTER (WHERE a.status = 'sent'), COALESCE(SUM(a.tokens), 0), SUM(a.nano_usd) / 1e9,
    COALESCE(SUM(a.prompt_tokens), 0), COALESCE(SUM(a.cached_tokens), 0), COALESCE(SUM(a.completion_tokens), 0),
    COALESCE(SUM(a.reasoning_tokens), 0)"""
_SIDES = {
    "stage": "a.stage",
    "domain": "c.domain",
    "model": "c.model",
    "verb": "a.verb",
    "purpose": "c.purpose",
    "cause": "a.cause",
}


def summary(manifest: Manifest | str, *, root: str | Path | None = None) -> Summary:
    """Return what was charged to a manifest's name; nothing where no teacher was ever asked.

    Args:
        manifest: a handle, or a name.
        root: folder that holds ``manifests/``, for a name.
    """
    name, place = (manifest, find_root(root)) if isinstance(manifest, str) else (manifest.name, manifest.root)
    if not ledger_path(place).exists():
        return Summary()
    ledger = Ledger(ledger_path(place))
    sql = f"SELECT {{}}, {_COUNTED} FROM attempts a JOIN calls c ON c.id = a.call WHERE a.name = ? GROUP BY 1 ORDER BY 1"
    by = {
        side: {str(row[0]): Figures(*row[1:]) for row in ledger.query(sql.format(column), (name,))}
        for side, column in _SIDES.items()
    }
    total = [Figures(*row[1:]) for row in ledger.query(sql.format("0"), (name,))] or [Figures()]
    hits = "SELECT SUM(h.n * a.nano_usd) / 1e9, SUM(h.n), SUM(h.n * a.tokens) FROM hits h JOIN calls c ON c.id = h.call "
    usd, calls, tokens = ledger.query(hits + "JOIN attempts a ON a.id = c.answer WHERE h.name = ?", (name,))[0]
    ledger.close()
    return Summary(**asdict(total[0]), saved=usd, saved_calls=calls or 0, saved_tokens=tokens or 0, by=by)


def look_up(call_ids: Iterable[int], *, root: str | Path | None = None) -> dict[int, Bought]:
    """Return what the ledger knows of calls; those that it does not know are left out."""
    path = ledger_path(find_root(root))
    if not path.exists():
        return {}
    ledger = Ledger(path)
    sql = (
        "SELECT c.id, c.endpoint, c.model, c.purpose, c.domain, c.sample, a.tokens, a.nano_usd / 1e9 FROM calls c "
        "JOIN attempts a ON a.id = c.answer WHERE c.id = ?"
    )
    rows = [row for call in dict.fromkeys(call_ids) for row in ledger.query(sql, (call,))]
    ledger.close()
    return {row[0]: Bought(*row) for row in rows}
