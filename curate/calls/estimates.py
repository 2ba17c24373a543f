"""Estimates of planned work, stored when the work starts and compared with what was billed when it has ended. Asks nobody.

The arithmetic is in `curate.calls.forecast`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate import progress
from curate.calls import forecast
from curate.calls.account import Account
from curate.calls.forecast import Estimate, Task, read_reply_lengths
from curate.ledger.ledger import BILLED, HITS, Ledger, existing_ledger
from curate.teachers.base import TeacherInfo
from curate.teachers.prices import NANO, format_usd

__all__ = ["EstimateVsActual", "close_estimate", "compare_with_bill", "estimate_and_store", "estimate_tasks", "store_estimate"]


@dataclass(frozen=True)
class EstimateVsActual:
    """An estimate, and what was billed since it was made.

    Attributes:
        verb: that asked.
        stage: from 0, or None.
        estimate: made when the work started; a run that goes on with the same work keeps it.
        calls, tokens: billed since; what was lost or is in flight is not in them.
        usd: the same in dollars, or None without a price.
        at_hand: replies that were taken from the ledger instead of being bought.
        ended: whether the work is done; until then the figures are those so far.
        off: what was billed divided by what was estimated, less 1: 0.09 is 9% above. Of money, else of tokens, else of
            calls; None where nothing was billed.
    """

    verb: str
    stage: int | None
    estimate: Estimate
    calls: int
    tokens: int
    usd: float | None
    at_hand: int
    ended: bool = True

    @property
    def unit(self) -> str:
        """What is compared: ``"usd"``, ``"tokens"`` or ``"calls"``."""
        if self.estimate.usd and self.usd:
            return "usd"
        return "tokens" if self.estimate.tokens and self.tokens else "calls"

    @property
    def off(self) -> float | None:
        wanted, billed = getattr(self.estimate, self.unit), getattr(self, self.unit)
        return billed / wanted - 1 if wanted and billed else None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        return {**asdict(self), "off": self.off}


def estimate_and_store(account: Account, tasks: Sequence[Task], parameters: Mapping[str, Any], *, mode: str) -> Estimate:
    """Estimate what an account's work will come to, and store that; see `store_estimate`."""
    return store_estimate(account, _simulate(tasks, account.teacher, account.ledger, account.name, mode), parameters)


def estimate_tasks(name: str, tasks: Sequence[Task], teacher: TeacherInfo, mode: str, *, root: str) -> Estimate:
    """Estimate what work would come to; nothing is stored or made, not even a ledger.

    Args:
        name: of the manifest that would pay.
        tasks: at most one of each purpose.
        teacher: who would be asked.
        mode: ``"live"`` or ``"batch"``.
        root: whose ledger is read.
    """
    ledger = existing_ledger(root)
    try:
        return _simulate(tasks, teacher, ledger, name, mode)
    finally:
        if ledger is not None:
            ledger.close()


def _simulate(tasks: Sequence[Task], teacher: TeacherInfo, ledger: Ledger | None, name: str, mode: str) -> Estimate:
    past = {} if ledger is None else read_reply_lengths(ledger, teacher.endpoint, teacher.model, name)
    price = teacher.price
    return forecast.simulate(tasks, past, price.batched() if price is not None and mode == "batch" else price)


def store_estimate(account: Account, estimate: Estimate, parameters: Mapping[str, Any]) -> Estimate:
    """Store an estimate, and return it; where the same work was begun before, return the estimate of then.

    Args:
        account: of the work; its manifest's name, verb and stage.
        estimate: of the whole of it.
        parameters: what shapes the work; the same parameters are the same work.
    """
    text = json.dumps(parameters, sort_keys=True, default=str)
    work = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    whose = (account.name, account.verb, account.stage_number)
    with account.ledger.transaction() as db:
        sql = "SELECT work, told FROM estimates WHERE name = ? AND verb = ? AND stage = ? ORDER BY id DESC LIMIT 1"
        last = db.execute(sql, whose).fetchone()
        if last and last[0] == work:
            return Estimate.from_dict(json.loads(last[1]))
        calls, tokens, nano = db.execute(BILLED, whose).fetchone()
        (hits,) = db.execute(HITS, whose).fetchone()
        db.execute(
            "INSERT INTO estimates (name, verb, stage, work, made, told, had_calls, had_tokens, had_nano_usd, had_hits) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*whose, work, time.time(), json.dumps(estimate.to_dict()), calls, tokens, nano or 0, hits),
        )
    if estimate.calls and estimate.usd != 0:  # what is free needs no warning
        progress.note(account.verb, f"{'' if account.stage is None else f'stage {account.stage}: '}about {_words(estimate)}")
    return estimate


def _words(estimate: Estimate) -> str:
    low, high = estimate.calls_range
    if estimate.usd is None or estimate.usd_range is None:
        least, most = estimate.tokens_range
        price = f"{estimate.tokens:,} tokens ({least:,}–{most:,}), no price known"
    else:
        price = format_usd(estimate.usd, *estimate.usd_range)
    return f"{estimate.calls:,} calls ({low:,}–{high:,}), {price}; in brackets: 90% range"


def close_estimate(account: Account, *, complete: bool) -> EstimateVsActual | None:
    """Return the newest estimate of an account's work, with what was billed since; None where none was stored.

    Args:
        account: of the work.
        complete: whether the work is done; it may also have been stopped, by a cap for instance.
    """
    if complete:
        with account.ledger.transaction() as db:
            db.execute(
                "UPDATE estimates SET ended = ? WHERE ended IS NULL AND name = ? AND verb = ? AND stage = ?",
                (time.time(), account.name, account.verb, account.stage_number),
            )
    found = compare_with_bill(account.ledger, account.name)
    return next((each for each in found if (each.verb, each.stage) == (account.verb, account.stage)), None)


def compare_with_bill(ledger: Ledger, name: str) -> list[EstimateVsActual]:
    """Return the newest estimate of each verb and stage of a manifest, with what was billed since.

    Args:
        ledger: where they are.
        name: of the manifest.
    """
    rows = ledger.query(
        "SELECT verb, stage, told, ended, had_calls, had_tokens, had_nano_usd, had_hits FROM estimates WHERE id IN "
        "(SELECT MAX(id) FROM estimates WHERE name = ? GROUP BY verb, stage) ORDER BY verb, stage",
        (name,),
    )
    found = []
    for verb, stage, text, ended, had_calls, had_tokens, had_nano, had_hits in rows:
        calls, tokens, nano = ledger.query(BILLED, (name, verb, stage))[0]
        hits = ledger.query(HITS, (name, verb, stage))[0][0]
        estimate = Estimate.from_dict(json.loads(text))
        priced = estimate.usd is not None and (nano is not None or not calls)
        found.append(
            EstimateVsActual(
                verb=verb,
                stage=None if stage < 0 else stage,
                estimate=estimate,
                calls=calls - had_calls,
                tokens=tokens - had_tokens,
                usd=((nano or 0) - had_nano) / NANO if priced else None,
                at_hand=hits - had_hits,
                ended=ended is not None,
            )
        )
    return found
