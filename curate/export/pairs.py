"""The format trl-dpo: for one question a chosen answer and a rejected one, as TRL's DPOTrainer reads them.

A chosen answer is an accepted row's. A rejected one was rejected because it answers wrongly: an attempt of a teacher at the
row's rationale, or a rejected row with the same question (`curate.report.attempts` finds and judges both), or what the source
itself has as ``rejected``. What was rejected for anything else, such as its form or a near-duplicate, makes no pair.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate import progress
from curate.export.base import Snapshot, exporters
from curate.export.trainers import Row, write_records
from curate.manifest import chats
from curate.report.attempts import WrongTexts, find_wrong_texts

__all__ = ["write_trl_dpo"]

_REJECTED = "rejected"  # the column of a source, and the key of a record
_NONE = "no wrong answer to their question is known"
_OTHERWISE = (
    "pairs come from a teacher's wrong attempts, whose texts the ledger has, and from sources with a column rejected; --to trl "
    "trains on the accepted rows alone"
)


@exporters.register("trl-dpo")
def write_trl_dpo(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write ``prompt``, ``chosen`` and ``rejected`` as lists of turns, with ``tools`` as JSON text where rows offer some.

    A row with several rejected answers has a record for each; ``rejected_from`` says whether it is an ``attempt``, a ``row``
    or of the ``source`` (https://huggingface.co/docs/trl/dataset_formats#preference).
    """
    wrong = find_wrong_texts(snapshot.manifest)
    if wrong.unused:
        which = ", ".join(f"{n:,} {why}" for why, n in sorted(wrong.unused.items()))
        progress.note("export", f"trl-dpo: of what was rejected, not used are {which}")
    return write_records(
        snapshot, destination, "trl-dpo", lambda row: _pairs(row, wrong), carried=(_REJECTED,), otherwise=_OTHERWISE
    )


def _pairs(row: Row, wrong: WrongTexts) -> list[dict[str, Any]]:
    """Return the pairs of a row; where there are none, the row says why."""
    found = [*_of_texts(row, wrong), *_of_source(row)]
    if not found:
        row.skipped = row.skipped or _NONE
    else:
        row.skipped = ""
        row.leading()  # counts what a pair does not hold
        row.trains_earlier()
    return found


def _of_texts(row: Row, wrong: WrongTexts) -> list[dict[str, Any]]:
    """Return a pair of each wrong text for the row's question."""
    texts = wrong.by_row.get(row.id, ())
    if not texts:
        return []
    *prompt, chosen = row.leading()
    if chosen.get("tool_calls"):
        row.skipped = "their answers are calls of tools, and the wrong ones are texts"
        return []
    rejected = {"role": "assistant", "content": ""}
    return [
        _pair(row, prompt, [{**chosen, "content": text.accepted}], [{**rejected, "content": text.text}], text.origin)
        for text in texts
    ]


def _of_source(row: Row) -> list[dict[str, Any]]:
    """Return the pair that the row's source has, as it has it: without a rationale that a teacher wrote since."""
    given = _given(row.extra)
    if given is None:
        return []
    asked = row.turns([*row.chat.before, row.chat.asked])
    answered = row.chat.answered
    if not answered.get("tool_calls") and not answered.get("function_call") and isinstance(answered.get("content"), str):
        answered = {**answered, "content": row.answer}
    chosen = row.turns([*row.chat.between, answered])
    rejected = _continuation(given, asked)
    if rejected is None:
        row.skipped = "what their source has as rejected is no answer to their question"
        return []
    if _said(rejected) == _said(chosen):
        row.skipped = "what their source has as rejected is what was chosen"
        return []
    return [_pair(row, asked, chosen, row.turns(rejected), "source")]


def _pair(row: Row, prompt: Any, chosen: Any, rejected: Any, origin: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, _REJECTED: rejected, "tools": row.tools_text, "rejected_from": origin}


def _given(extra: str | None) -> Any:
    """Return what a source has as rejected, or None."""
    if extra is None or f'"{_REJECTED}"' not in extra:
        return None
    try:
        record = json.loads(extra)
    except ValueError:
        return None
    return record.get(_REJECTED) if isinstance(record, dict) else None


def _continuation(given: Any, asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the turns of a rejected answer: those after the question where it repeats that; None where it answers another."""
    turns = chats.read_turns([given] if isinstance(given, Mapping) else given)
    if turns is None:
        return [{"role": "assistant", "content": given}] if isinstance(given, str) and given.strip() else None
    flat = chats.for_template(turns)
    if _said(flat[: len(asked)]) == _said(asked):
        turns, flat = turns[len(asked) :], flat[len(asked) :]
    roles = Counter(turn.get("role") for turn in flat)
    alone = roles["assistant"] and not roles.keys() - {"assistant", "tool"} and flat[0].get("role") == "assistant"
    return turns if alone and any(turn["content"].strip() or turn.get("tool_calls") for turn in flat) else None


def _said(turns: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(turn.get("role"), turn["content"], turn.get("tool_calls")) for turn in chats.for_template(turns)]
