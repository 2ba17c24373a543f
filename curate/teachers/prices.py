"""What a model's tokens cost: a small dated table, and the user's own file before it; how dollars are written. Charges nobody.

A price is known for a model at its own provider only. Anything else (gateways, own servers) has none until the user writes
it into ``prices.toml`` beside ``manifests/``::

    ["my-model"]            # or "host/my-model" for one server alone
    input = 0.10            # USD per million tokens
    output = 0.40
    cached = 0.05           # optional; input where it is left out
    batch = 0.5             # optional; what a batch costs as a share of these, 0.5 where it is left out
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curate.errors import InputError

__all__ = ["AS_OF", "FREE", "NANO", "PRICE_FILE", "Price", "find", "format_usd", "nearest"]

AS_OF = "2025-08-07"  # the day of which the table is, where a price has no day of its own
PRICE_FILE = "prices.toml"
NANO = 1_000_000_000  # money is counted in whole billionths of a dollar, so that sums are exact

_DEAREST = 1_000_000  # USD per million tokens; sums of dearer ones do not fit into the ledger
_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


@dataclass(frozen=True)
class Price:
    """USD per million tokens.

    Attributes:
        input: of a prompt token.
        output: of a completion token, reasoning included.
        cached: of a prompt token that the provider had in its cache; `input` where it is None.
        as_of: day of the list that it was taken from; empty for the user's own price.
        batch: what the same tokens cost in a batch, as a share of these prices.
    """

    input: float
    output: float
    cached: float | None = None
    batch: float = 0.5
    as_of: str = field(default="", compare=False)

    def batched(self) -> Price:
        """Return the price of tokens in a batch; https://platform.openai.com/docs/guides/batch halves every price."""
        cached = None if self.cached is None else self.cached * self.batch
        return Price(self.input * self.batch, self.output * self.batch, cached, batch=1.0, as_of=self.as_of)

    def nano_usd(self, prompt: int, completion: int, cached: int = 0) -> int:
        """Return what tokens cost, in billionths of a dollar, rounded up.

        Args:
            prompt: tokens of the prompt, cached ones included.
            completion: tokens of the reply.
            cached: those of the prompt that were cached.
        """
        new = max(prompt - cached, 0)
        per_cached = self.input if self.cached is None else self.cached
        micro_usd = new * self.input + min(cached, prompt) * per_cached + completion * self.output
        return -int(-round(micro_usd * 1000, 6) // 1)

    def usd(self, prompt: int, completion: int, cached: int = 0) -> float:
        """Return what tokens cost, in dollars."""
        return self.nano_usd(prompt, completion, cached) / NANO


FREE = Price(0.0, 0.0)


def format_usd(usd: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return an amount in US dollars in words, the less money the more digits; the one format of money in this package.

    Args:
        usd: dollars; None where no price is known.
        low, high: ends of a range around it, written with as many digits.

    Example:
        >>> format_usd(1234.5), format_usd(0.049), format_usd(0.00031)
        ('$1,234.50', '$0.049', '$0.00031')
        >>> format_usd(1.2, 0.9, 1.6)
        '$1.20 ($0.90–$1.60)'
    """
    if usd is None:
        return "no price known"
    digits = 2 if usd >= 1 or usd <= 0 else 3 if usd >= 0.01 else max(5, 1 - math.floor(math.log10(usd)))
    ends = "" if low is None or high is None else f" (${low:,.{digits}f}–${high:,.{digits}f})"
    return f"${usd:,.{digits}f}{ends}"


# host → model → price
_TABLE: dict[str, dict[str, Price]] = {
    "api.openai.com": {
        "gpt-4o": Price(2.50, 10.00, 1.25),
        "gpt-4o-2024-05-13": Price(5.00, 15.00),
        "gpt-4o-mini": Price(0.15, 0.60, 0.075),
        "gpt-4.1": Price(2.00, 8.00, 0.50),
        "gpt-4.1-mini": Price(0.40, 1.60, 0.10),
        "gpt-4.1-nano": Price(0.10, 0.40, 0.025),
        "gpt-5": Price(1.25, 10.00, 0.125),
        "gpt-5-mini": Price(0.25, 2.00, 0.025),
        "gpt-5-nano": Price(0.05, 0.40, 0.005),
        # second-hand: as articles of that day quote the provider's page
        "gpt-5.4": Price(2.50, 15.00, 0.25, as_of="2026-03-20"),
        "gpt-5.4-mini": Price(0.75, 4.50, 0.075, as_of="2026-03-20"),
        "gpt-5.4-nano": Price(0.20, 1.25, 0.02, as_of="2026-03-20"),
        "o3": Price(2.00, 8.00, 0.50),
        "o4-mini": Price(1.10, 4.40, 0.275),
    },
}

# Snapshots that cost the same as the model that is named without a date; any other may cost more, and has no price.
_SAME_PRICE = {
    *("gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14"),
    *("gpt-4.1-nano-2025-04-14", "gpt-5-2025-08-07", "gpt-5-mini-2025-08-07", "gpt-5-nano-2025-08-07", "o3-2025-04-16"),
    "o4-mini-2025-04-16",
}


def find(model: str, endpoint: str = "", *, root: str | Path | None = None) -> Price | None:
    """Return the price of a model at an endpoint, or None where it is not known.

    Args:
        model: as the endpoint names it; a snapshot with a date has the price of the model without it only where it is known
            to cost the same.
        endpoint: address of the server, or ``"local"``; the model's own provider where it is left out.
        root: folder whose ``prices.toml`` comes before the table; the working directory unless given.

    Raises:
        InputError: ``prices.toml`` cannot be read, or a price in it is not a number of 0 or more.
    """
    host = urlsplit(endpoint).hostname or endpoint
    own = _own(Path(root or ".") / PRICE_FILE)
    table = _TABLE.get(host, {}) if endpoint else {model: price for models in _TABLE.values() for model, price in models.items()}
    for name in (model, _DATED.sub("", model)) if model in _SAME_PRICE else (model,):
        for found in (own.get(f"{host}/{name}"), own.get(name)):
            if found is not None:
                return found
        if name in table:
            return replace(table[name], as_of=table[name].as_of or AS_OF)
    return None


def nearest(model: str, endpoint: str) -> str | None:
    """Return the model of an endpoint's provider whose name is nearest, for one without a price; None where none is near."""
    known = list(_TABLE.get(urlsplit(endpoint).hostname or endpoint, {}))
    found = get_close_matches(model, known, 1, cutoff=0.8) or get_close_matches(_DATED.sub("", model), known, 1, cutoff=0.8)
    return found[0] if found else None


def _own(path: Path) -> dict[str, Price]:
    try:
        prices = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as e:
        raise InputError(f"{path.name!r} cannot be read as TOML: {e}") from e
    return {name: _price(path.name, name, entry) for name, entry in prices.items()}


def _price(file: str, name: str, entry: Any) -> Price:
    known = {"input", "output", "cached", "batch"}
    wrong = not isinstance(entry, dict) or not {"input", "output"} <= set(entry) <= known
    if wrong or not all(isinstance(value, int | float) and 0 <= value <= _DEAREST for value in entry.values()):
        raise InputError(
            f"{file!r}, [{name!r}]: needs input and output (cached, batch) in USD per million tokens, from 0 to {_DEAREST:,}, "
            f"got {entry!r}"
        )
    return Price(**entry)
