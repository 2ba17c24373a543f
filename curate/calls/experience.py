"""Owns what a model's replies so far tell about the next: lengths of prompts and of replies, from the ledger. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curate.ledger.ledger import Ledger

__all__ = ["Replies", "read_replies"]

ENOUGH = 8  # replies of one manifest before those of others are left aside
_NEWEST = 4000  # replies that are read, at most


@dataclass(frozen=True)
class Replies:
    """Lengths of the replies of one model for one purpose; the arrays have an entry per reply.

    Attributes:
        domains: that they were for.
        prompt_chars: characters of the messages.
        prompt_tokens, cached_tokens, completion_tokens: as the server told.
        limits: tokens that the reply might have had; several examples in one reply have a higher limit than one.
    """

    domains: tuple[str, ...]
    prompt_chars: np.ndarray  # (n,) int64
    prompt_tokens: np.ndarray  # (n,) int64
    cached_tokens: np.ndarray  # (n,) int64
    completion_tokens: np.ndarray  # (n,) int64
    limits: np.ndarray  # (n,) int64

    def __len__(self) -> int:
        return len(self.domains)


def read_replies(ledger: Ledger, endpoint: str, model: str, name: str) -> Mapping[str, Replies]:
    """Return the newest replies of a model by purpose: a manifest's own, or everybody's where it has fewer than `ENOUGH`.

    Args:
        ledger: where they are.
        endpoint, model: who answered.
        name: of the manifest.
    """
    rows = ledger.query(
        "SELECT c.purpose, a.name, c.domain, c.request, a.prompt_tokens, a.cached_tokens, a.completion_tokens FROM attempts a "
        "JOIN calls c ON c.id = a.call WHERE c.endpoint = ? AND c.model = ? AND a.status = 'answered' AND a.prompt_tokens > 0 "
        "ORDER BY a.id DESC LIMIT ?",
        (endpoint, model, _NEWEST),
    )
    found = {}
    for purpose in sorted({row[0] for row in rows}):
        every = [row[1:] for row in rows if row[0] == purpose]
        own = [row for row in every if row[0] == name]
        kept = own if len(own) >= ENOUGH else every
        shapes = [_shape(request) for _, _, request, *_ in kept]
        lengths = [(chars, *tokens, limit) for (chars, limit), (_, _, _, *tokens) in zip(shapes, kept, strict=True)]
        found[purpose] = Replies(tuple(row[1] for row in kept), *np.array(lengths, dtype=np.int64).T)
    return found


def _shape(request: str) -> tuple[int, int]:
    """Return the characters of a request's messages, and the limit of its reply."""
    told = json.loads(request)
    return sum(len(str(turn.get("content") or "")) for turn in told.get("messages", ())), int(told.get("max_tokens") or 0)
