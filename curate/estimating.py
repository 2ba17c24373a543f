"""Owns what a stage would cost before anything is bought: calls, tokens and money from its quotas. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate import answers, prices, prompts
from curate.calls import Teacher
from curate.manifest import Manifest
from curate.policies import Quotas

__all__ = ["Estimate", "estimate"]

CHARS_PER_TOKEN = 4.0  # English prose in byte-pair vocabularies; good to about 30%, more in code and mathematics
TOKENS_PER_WORD = 1.4
_PROBE = 64  # real prompts whose rendered length is measured


@dataclass(frozen=True)
class Estimate:
    """What the teacher's work of one stage would come to if every reply were accepted.

    Attributes:
        rationales: calls for rationales of real rows.
        examples: calls for new examples.
        prompt_tokens, completion_tokens: in all.
        usd: at list price, or the price of a batch; None where the model has no price.
    """

    rationales: int
    examples: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None

    @property
    def calls(self) -> int:
        """Calls in all."""
        return self.rationales + self.examples


def estimate(
    manifest: Manifest,
    rows: pl.DataFrame,
    quotas: Quotas,
    *,
    given: Mapping[str, int],
    teacher: Teacher | None,
    parameters: Mapping[str, Any],
) -> Estimate:
    """Estimate one stage's calls, tokens and money.

    Args:
        manifest: where the prompts are read from.
        rows: the rows that the stage starts from.
        quotas: its places.
        given: places per domain that earlier stages of a dry run planned.
        teacher: who would be asked; without one, what filling the deficits would cost with `model`.
        parameters: of `curate.balancing.balance`.
    """
    candidates = rows.filter(split="train", status="candidate")
    at_hand = dict(candidates.group_by("domain").len().iter_rows())
    places = quotas.planned if teacher is not None else quotas.wanted
    room = {d: max(0, at_hand.get(d, 0) - given.get(d, 0)) for d in places}
    missing = [max(0, n - room[d]) for d, n in places.items()] if parameters["fill"] == "teacher" else []
    examples = sum(-(-n // parameters["rows_per_call"]) for n in missing)  # calls, one domain each
    real = sum(min(n, room[d]) for d, n in places.items())
    probe = manifest.examples(candidates.sort("id").head(_PROBE))
    rationales = round(real * _share_to_annotate(probe, parameters["rationales"])) if teacher is not None else 0
    per_rationale, per_example = _prompt_tokens(probe, parameters)
    words = {"rationale": 120, "example": 200}
    prompt_tokens = round(rationales * per_rationale + examples * per_example)
    completion_tokens = round(TOKENS_PER_WORD * (rationales * words["rationale"] + sum(missing) * words["example"]))
    price = teacher.price if teacher is not None else _list_price(manifest, parameters["model"])
    if price is not None and parameters["mode"] == "batch":
        price = price.batched()
    usd = None if price is None else price.usd(prompt_tokens, completion_tokens)
    return Estimate(rationales, examples, prompt_tokens, completion_tokens, usd)


def _list_price(manifest: Manifest, model: str | None) -> prices.Price | None:
    """Return the price of a model that is named without a teacher, as the provider of the official client sells it."""
    return prices.find(model, "https://api.openai.com/v1", root=manifest.root) if model else None


def _share_to_annotate(probe: pl.DataFrame, rationales: str) -> float:
    """Return the share of the probed rows whose rationale would be asked for."""
    if rationales in ("keep", "none") or probe.is_empty():
        return 0.0
    return 1.0 if rationales == "teacher" else probe["rationale"].is_null().mean() or 0.0  # type: ignore[return-value]


def _prompt_tokens(probe: pl.DataFrame, parameters: Mapping[str, Any]) -> tuple[float, float]:
    """Return the mean prompt length of one call of each kind, in tokens, from rendered prompts."""
    if probe.is_empty():
        return 0.0, 0.0
    rationale = prompts.load("rationale", parameters["rationale_prompt"])
    synthesis = prompts.load("synthesis", parameters["synthesis_prompt"])
    tasks = answers.survey(probe).tasks
    shown = probe.select("domain", "prompt", "answer", "rationale").to_dicts()
    asked = [_length(prompts.render(rationale.by_task[tasks[r["domain"]]], prompt=r["prompt"], words=120)) for r in shown]
    first = shown[0]["domain"]
    n = parameters["rows_per_call"]
    written = _length(
        prompts.render(synthesis.by_task[tasks[first]], n=n, domain=first, seeds=shown[:4], wanted=[None] * n, words=120)
    )
    return sum(asked) / len(asked) / CHARS_PER_TOKEN, written / CHARS_PER_TOKEN


def _length(messages: list[dict[str, str]]) -> int:
    return sum(len(message["content"]) for message in messages)
