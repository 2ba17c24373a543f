"""Lays out costs: sums, single calls, estimates, and replies moved between ledgers. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from curate.teachers.prices import format_usd
from curate.terminal import widgets
from curate.terminal.widgets import ABSENT, count, grid

__all__ = ["call", "charged", "compared", "cost", "estimated", "exported", "imported", "receipts", "summary"]

_SHOWN = 40  # calls of a long list
_LETTERS = 200  # of a reply in a list, at most
_ENDS = {
    "length": "cut by the token limit",
    "content_filter": "stopped by the server's filter",
    "refusal": "declined by the model",
}


def summary(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.report.costs.CostSummary`."""
    if not result.attempts and not result.saved_calls:
        yield "no teacher was asked for this manifest"
        return
    tables = {side: parts for side, parts in result.by.items() if len(parts) > 1}
    yield from widgets.facts(
        f"{_calls(result.calls)}, {count(result.tokens)} tokens, {format_usd(result.usd)}"
        if result.attempts
        else "nothing was charged",
        [
            ("attempts", f"{count(result.attempts)}: {_outcomes(result)}" if result.attempts else None),
            ("tokens of prompts", _part(result.prompt_tokens, result.cached_tokens, "from the server's cache")),
            ("tokens of replies", _part(result.completion_tokens, result.reasoning_tokens, "for reasoning")),
            ("billed", format_usd(result.billed_usd) if result.billed_usd and (result.lost or result.under_way) else None),
            ("lost in flight", _bound(result.lost, result.lost_tokens, result.lost_usd, "charged")),
            ("under way", _bound(result.under_way, result.under_way_tokens, result.under_way_usd, "reserved")),
            *(("batch", _batch(batch)) for batch in result.batches),
            ("saved", _saved(result) if result.saved_calls else None),
            ("replies ended with", _ends(result.finish_reasons)),
            ("all of it", _single_parts(result) or None),
            ("list prices", ", ".join(f"of {day} for {model}" for model, day in result.listed.items()) or None),
            *(("estimate", compared(estimate)) for estimate in result.estimates),
        ],
    )
    for side, parts in tables.items():
        yield ""
        yield _side(side, parts)


def charged(found: Any) -> str:
    """Return a `curate.ledger.records.Charged` in words."""
    return f"{_calls(found.calls)}, {count(found.tokens)} tokens" + (f", {format_usd(found.usd)}" if found.usd else "")


def compared(result: Any) -> str:
    """Return how an estimate compares with the bill, in words, from a `curate.calls.estimates.EstimateVsActual`."""
    stage = result.verb if result.stage is None else f"stage {result.stage}"
    stored = f"; {count(result.at_hand)} replies were already in the ledger" if result.at_hand else ""
    if result.off is None:
        what = "usd" if result.estimate.usd else "tokens"
        return f"{stage}: estimated {estimated(result.estimate, what)}, nothing was billed{stored}"
    unit, billed = result.unit, getattr(result, result.unit)
    low, high = getattr(result.estimate, f"{unit}_range") or (billed, billed)
    bill = {"usd": format_usd(billed), "tokens": f"{count(billed)} tokens", "calls": _calls(billed)}[unit]
    if not result.ended:
        return f"{stage}: estimated {estimated(result.estimate, unit)}, billed {bill} so far{stored}"
    if result.at_hand:  # the estimate counts these too, so the difference says nothing about it
        return f"{stage}: estimated {estimated(result.estimate, unit)}, billed {bill}{stored}"
    off = round(abs(result.off) * 100)
    how = "as estimated" if off == 0 else f"{off}% {'above' if result.off > 0 else 'below'}"
    outside = "" if low <= billed <= high else ", outside the range"
    return f"{stage}: estimated {estimated(result.estimate, unit)}, billed {bill}: {how}{outside}"


def estimated(estimate: Any, unit: str) -> str:
    """Return an estimate and its range, such as ``$1.20 ($0.90–$1.60)``.

    Args:
        estimate: a `curate.calls.forecast.Estimate`.
        unit: ``"usd"``, ``"tokens"`` or ``"calls"``.
    """
    middle, ends = getattr(estimate, unit), getattr(estimate, f"{unit}_range")
    if unit != "usd":
        low, high = map(count, ends)
        return f"{count(middle)} {unit}" + (f" ({low}–{high})" if low != high else "")
    if ends is None or not ends[1]:
        return format_usd(middle)
    return format_usd(middle, *ends)


def _calls(n: int) -> str:
    return "1 call" if n == 1 else f"{count(n)} calls"


def _outcomes(result: Any) -> str:
    names = ("answered", "failed", "lost", "under_way")
    return ", ".join(f"{count(getattr(result, name))} {name.replace('_', ' ')}" for name in names if getattr(result, name))


def _part(all_of_it: int, part: int, what: str) -> str | None:
    if not all_of_it:
        return None
    return f"{count(all_of_it)}, {count(part)} of them {what}" if part else count(all_of_it)


def _bound(n: int, tokens: int, usd: float | None, what: str) -> str | None:
    if not n:
        return None
    return f"{_calls(n)}, {what} at the upper bound: {count(tokens)} tokens" + (f", {format_usd(usd)}" if usd else "")


def _batch(batch: Any) -> str:
    """Return an open batch in words, a `curate.report.costs.OpenBatch`."""
    where = f"at the provider as {batch.provider}" if batch.provider else "not created yet"
    return f"{_calls(batch.calls)} of {batch.model} since {batch.created}, {where}"


def _saved(result: Any) -> str:
    price = f", {format_usd(result.saved)}" if result.saved else ""
    return f"{_calls(result.saved_calls)}, {count(result.saved_tokens)} tokens{price} for replies already in the ledger"


def _ends(reasons: dict[str, int]) -> str | None:
    if not set(reasons) - {"stop"}:  # that is how a reply should end
        return None
    return ", ".join(f"{reason} {count(n)}" + (f" ({_ENDS[reason]})" if reason in _ENDS else "") for reason, n in reasons.items())


def _single_parts(result: Any) -> str:
    """Return the groupings that have only one part, which need no table."""
    single = {side: next(iter(parts)) for side, parts in result.by.items() if len(parts) == 1}
    return ", ".join(f"{side} {name}" for side, name in single.items() if name and (side, name) != ("stage", "-1"))


def _side(side: str, parts: dict[str, Any]) -> Any:
    """Return a line per part; a column that would hold nothing but zeros is left out."""
    columns: list[tuple[str, Callable[[Any], Any], bool]] = [
        ("calls", lambda f: count(f.calls), any(f.calls for f in parts.values())),
        ("attempts", lambda f: count(f.attempts), any(f.attempts != f.calls for f in parts.values())),
        ("failed", lambda f: count(f.failed), any(f.failed for f in parts.values())),
        ("lost", lambda f: count(f.lost), any(f.lost for f in parts.values())),
        ("tokens", lambda f: count(f.tokens), any(f.tokens for f in parts.values())),
        ("of prompts", lambda f: count(f.prompt_tokens), any(f.prompt_tokens for f in parts.values())),
        ("of replies", lambda f: count(f.completion_tokens), any(f.completion_tokens for f in parts.values())),
        ("reasoning", lambda f: count(f.reasoning_tokens), any(f.reasoning_tokens for f in parts.values())),
        ("cost", cost, any(f.usd is not None for f in parts.values())),
        ("from the ledger", lambda f: count(f.saved_calls), any(f.saved_calls for f in parts.values())),
    ]
    shown = [(heading, cell) for heading, cell, is_shown in columns if is_shown]
    lines = [[_name(side, name), *(cell(figures) for _, cell in shown)] for name, figures in parts.items()]
    return grid([f"by {side}", *(heading for heading, _ in shown)], lines)


def _name(side: str, name: str) -> str:
    return ABSENT if side == "stage" and name == "-1" else name or ABSENT


def cost(figures: Any) -> str:
    """Return what calls cost, for a cell of a table; a dash where no price is known."""
    return ABSENT if figures.usd is None else format_usd(figures.usd)


def receipts(result: Any) -> Iterable[Any]:
    """Return the layout of `curate.report.costs.Receipts`: a line per sending, columns that never differ left out."""
    found = result.receipts
    if not found:
        yield "no teacher was asked for this manifest"
        return
    several = {name: len({getattr(r, name) for r in found}) > 1 for name in ("stage", "domain", "purpose", "cause", "model")}
    columns = [name for name, differs in several.items() if differs]
    same = ", ".join(f"{name} {getattr(found[0], name)}" for name in several if name not in columns and _text(found[0], name))
    yield from widgets.facts(f"{_calls(len(found))} sent for {result.name}", [("all of them", same or None)])
    yield ""
    priced = any(r.usd for r in found)
    headings = ["call", *columns, "tokens", *(["cost"] if priced else []), "ended", "reply or error"]
    lines = [
        [
            str(r.call_id),
            *(_text(r, name) for name in columns),
            count(r.tokens),
            *([cost(r)] if priced else []),
            _end(r),
            _reply(r),
        ]
        for r in found[:_SHOWN]
    ]
    left = {0, *range(1, len(columns) + 1), len(headings) - 2, len(headings) - 1}
    yield grid(headings, lines, left=left)
    if len(found) > _SHOWN:
        yield f"  and {count(len(found) - _SHOWN)} more; --json has them all"


def _text(receipt: Any, name: str) -> str:
    value = getattr(receipt, name)
    return "" if value is None else str(value)


def _end(receipt: Any) -> str:
    return receipt.finish_reason or "" if receipt.status == "answered" else receipt.status.replace("sent", "under way")


def _reply(receipt: Any) -> Any:
    text = receipt.reply if receipt.status == "answered" else receipt.error
    return widgets.line((text or "")[:_LETTERS])


def call(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.report.costs.Call`: the request, turn by turn, and the reply."""
    sendings = [
        f"{r.sent}: {r.status.replace('sent', 'under way')}, {r.cause}, {count(r.tokens)} tokens, {format_usd(r.usd)}"
        + (f": {r.error}" if r.error else "")
        for r in result.receipts
    ]
    last = result.receipts[-1] if result.receipts else None
    settings = {k: v for k, v in result.request.items() if k not in ("messages", "schema") and v is not None}
    yield from widgets.facts(
        f"call {result.call_id}",
        [
            ("asked", f"{result.model} at {result.endpoint}"),
            ("for", f"{last.purpose}, domain {last.domain}" if last else None),
            *(("sent", line) for line in sendings),
            ("ended with", last.finish_reason if last else None),
            ("settings", ", ".join(f"{k} {v}" for k, v in settings.items() if isinstance(v, int | float | str)) or None),
        ],
    )
    for turn in result.request.get("messages", ()):
        yield ""
        yield from widgets.facts(f"[{turn.get('role')}]", [])
        yield str(turn.get("content"))
    reply = next((r.reply for r in reversed(result.receipts) if r.reply is not None), None)
    yield ""
    yield from widgets.facts("[reply]" if reply is not None else "no reply", [])
    if reply is not None:
        yield reply


def exported(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.ledger.transfer.LedgerExportResult`."""
    left_out = f"{_calls(result.left_out)}, whose content is not that of their key" if result.left_out else None
    yield from widgets.facts(f"{result.path}: replies to {_calls(result.calls)}", [("left out", left_out)])


def imported(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.ledger.transfer.LedgerImportResult`."""
    other = f"{_calls(result.conflicting)}, with another reply here, which is kept" if result.conflicting else None
    already = count(result.already) if result.already else None
    yield from widgets.facts(f"{result.path}: {count(result.new)} new replies", [("already here", already), ("not taken", other)])
