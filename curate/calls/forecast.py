"""Simulates planned work: its calls, tokens and money, each with an interval. Sends nothing.

The interval holds what is to come in 9 of 10 cases. It is made of `DRAWS` simulated courses of the work (a posterior
predictive interval, Gelman et al. 2013, "Bayesian Data Analysis", section 1.3), in each of which are drawn:

- the share of replies that pass, from a beta distribution: `PASSING` as if seen before, and the replies judged so far,
  which count as at most `MOST_JUDGED`, since domains differ; then how many replies it takes to fill the slots (negative
  binomial), up to `max_attempts` per slot;
- the mean length of the prompts, from the spread among really rendered ones, in characters; tokens per character, from the
  model's replies so far, else around 1/`CHARS_PER_TOKEN` within a factor of 1.3 (9 of 10);
- the mean length of the replies, from the model's replies to the same purpose under the same limit (of the same domain where
  there are `ENOUGH_OF_DOMAIN`), by Student's t; else around `REPLY_TOKENS`, within a factor of 2.5 (9 of 10), never above that
  limit. Means from replies are widened by `DRIFT`, since the next rows are no random sample of the past ones.

The figure in the middle is the median. Replies that the ledger has already are not taken off: an estimate is of the work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from curate.ledger.ledger import Ledger
from curate.teachers.base import Request
from curate.teachers.prices import Price

__all__ = ["ENOUGH", "Estimate", "ReplyLengths", "Task", "read_reply_lengths", "simulate"]

DRAWS = 2000
CHARS_PER_TOKEN = 4.0  # English prose in byte-pair vocabularies
REPLY_TOKENS = {"rationale": 170.0, "synthesis": 280.0}  # for the 120 words that the built-in templates ask for
PASSING = (4.0, 1.0)  # accepted and rejected, as if seen before: 0.8 pass, 0.47 to 0.99 in 9 of 10 cases
MOST_JUDGED = 200
ENOUGH = 8  # replies of one manifest, above which those of others are left aside
ENOUGH_OF_DOMAIN = 30
DRIFT = 0.05  # relative standard deviation
_NEWEST = 4000  # replies that are read from the ledger, at most
_WITHIN = 1.6449  # standard deviations on either side that hold 9 of 10
_LOW, _MIDDLE, _HIGH = 0.05, 0.5, 0.95


@dataclass(frozen=True)
class Task:
    """Work of one purpose.

    Attributes:
        purpose: ``"rationale"`` or ``"synthesis"``.
        slots: rows to be filled per domain.
        requests: some of what would be asked, as rendered.
        accepted, rejected: replies of this purpose judged so far.
        max_attempts: judged replies per slot; 1 where a rejected one is not replaced.
    """

    purpose: str
    slots: Mapping[str, int]
    requests: Sequence[Request]
    accepted: int = 0
    rejected: int = 0
    max_attempts: int = 1

    @property
    def rows(self) -> int:
        """Slots in all."""
        return sum(self.slots.values())

    @property
    def rows_per_call(self) -> int:
        """Rows asked for in one request."""
        return max((len(request.wanted) for request in self.requests), default=1) or 1


@dataclass(frozen=True)
class Estimate:
    """What work would come to, replies that are rejected and replaced included; ranges hold 9 of 10 cases.

    Attributes:
        rationales: real rows whose rationale is asked for.
        examples: new examples wanted.
        prompt_tokens, completion_tokens: in all.
        usd: None where the model has no price.
        calls: in all.
        calls_range, tokens_range, usd_range: low and high.
        replies: of the same model, that it rests on; 0 where nothing is known of its replies.
        priced_on: day of the list that the price was taken from; empty for the user's own price, or none.
    """

    rationales: int
    examples: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    calls: int = 0
    calls_range: tuple[int, int] = (0, 0)
    tokens_range: tuple[int, int] = (0, 0)
    usd_range: tuple[float, float] | None = None
    replies: int = 0
    priced_on: str = ""

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.prompt_tokens + self.completion_tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON can hold them."""
        return asdict(self)

    @staticmethod
    def from_dict(figures: Mapping[str, Any]) -> Estimate:
        """Return the estimate whose `to_dict` it is."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in figures.items()}
        return Estimate(**fields)


@dataclass
class _Sums:
    """What the simulated courses come to; an entry per course."""

    calls: np.ndarray = field(default_factory=lambda: np.zeros(DRAWS))
    prompt: np.ndarray = field(default_factory=lambda: np.zeros(DRAWS))
    cached: np.ndarray = field(default_factory=lambda: np.zeros(DRAWS))
    completion: np.ndarray = field(default_factory=lambda: np.zeros(DRAWS))


def simulate(tasks: Sequence[Task], past: Mapping[str, ReplyLengths], price: Price | None, *, seed: int = 0) -> Estimate:
    """Return what tasks would come to, with intervals; see the top of this module for how.

    Args:
        tasks: at most one of each purpose.
        past: the model's replies so far, by purpose.
        price: of the model's tokens, or None.
        seed: of the simulation.
    """
    rng = np.random.default_rng(seed)
    sums = _Sums()
    tokenizer = rng.standard_normal(DRAWS)  # one tokenizer reads the prompts of every purpose
    for task in tasks:
        if task.rows:
            _add(sums, task, past, tokenizer, rng)
    usd = None
    if price is not None:
        tokens = zip(sums.prompt, sums.completion, sums.cached, strict=True)
        usd = np.array([price.usd(round(p), round(c), round(h)) for p, c, h in tokens])
    rows = {task.purpose: task.rows for task in tasks}
    return Estimate(
        rationales=rows.get("rationale", 0),
        examples=rows.get("synthesis", 0),
        prompt_tokens=_middle(sums.prompt),
        completion_tokens=_middle(sums.completion),
        usd=None if usd is None else float(np.quantile(usd, _MIDDLE)),
        calls=_middle(sums.calls),
        calls_range=_whole_range(sums.calls),
        tokens_range=_whole_range(sums.prompt + sums.completion),
        usd_range=None if usd is None else (float(np.quantile(usd, _LOW)), float(np.quantile(usd, _HIGH))),
        replies=sum(len(past[task.purpose]) for task in tasks if task.rows and task.purpose in past),
        priced_on=price.as_of if price is not None else "",
    )


def _add(sums: _Sums, task: Task, past: Mapping[str, ReplyLengths], tokenizer: np.ndarray, rng: np.random.Generator) -> None:
    """Add the simulated courses of one task."""
    calls = _calls(task, rng)
    replies = past.get(task.purpose)
    per_char = _tokens_per_char(replies or next(iter(past.values()), None), tokenizer)
    prompt = np.maximum(_prompt_chars(task, calls, rng) * per_char, 0)
    sums.calls += calls
    sums.prompt += prompt
    sums.cached += prompt * (replies.cached_tokens.sum() / replies.prompt_tokens.sum() if replies else 0.0)
    sums.completion += np.maximum(_completions(task, calls, replies, rng), 0)


def _calls(task: Task, rng: np.random.Generator) -> np.ndarray:
    """Draw how many calls it takes to fill the slots."""
    weight = min(1.0, MOST_JUDGED / max(task.accepted + task.rejected, 1))
    passing = rng.beta(PASSING[0] + weight * task.accepted, PASSING[1] + weight * task.rejected, DRAWS)
    rejected = np.minimum(rng.negative_binomial(task.rows, np.clip(passing, 0.01, 1)), (task.max_attempts - 1) * task.rows)
    first = sum(-(-n // task.rows_per_call) for n in task.slots.values())  # a request is for one domain
    calls: np.ndarray = first + np.ceil(rejected / task.rows_per_call)
    return calls


def _prompt_chars(task: Task, calls: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the characters of all prompts: each domain's mean among the rendered ones, in the shares of the slots."""
    lengths: dict[str, list[int]] = {}
    for request in task.requests:
        lengths.setdefault(request.domain, []).append(sum(len(turn["content"]) for turn in request.messages))
    every = np.array([n for own in lengths.values() for n in own] or [0], dtype=float)
    within = np.concatenate([np.array(own) - np.mean(own) for own in lengths.values()]) if lengths else np.zeros(1)
    spread = float(np.sqrt(np.sum(within**2) / max(len(within) - len(lengths), 1)))
    mean, variance = 0.0, 0.0
    for domain, n in task.slots.items():
        own, share = lengths.get(domain), n / task.rows
        mean += share * (float(np.mean(own)) if own else float(every.mean()))
        variance += share**2 * (spread**2 / len(own) if own else float(every.var()))
    drawn = mean + math.sqrt(variance) * rng.standard_normal(DRAWS)
    total: np.ndarray = calls * drawn + np.sqrt(calls) * spread * rng.standard_normal(DRAWS)
    return total


def _tokens_per_char(replies: ReplyLengths | None, drawn: np.ndarray) -> np.ndarray:
    """Draw the tokens per character: the ratio of sums among replies so far, or the usual one within a factor of 1.3."""
    if replies is None or len(replies) < ENOUGH or not replies.prompt_chars.sum():
        return np.exp(drawn * math.log(1.3) / _WITHIN) / CHARS_PER_TOKEN
    chars, tokens = replies.prompt_chars.astype(float), replies.prompt_tokens.astype(float)
    ratio = float(tokens.sum() / chars.sum())
    error = float(np.std(tokens - ratio * chars)) / (math.sqrt(len(chars)) * float(chars.mean()))  # Cochran 1977, section 6.4
    return ratio + math.hypot(error, DRIFT * ratio) * drawn


def _completions(task: Task, calls: np.ndarray, replies: ReplyLengths | None, rng: np.random.Generator) -> np.ndarray:
    """Draw the tokens of all replies."""
    limit = max((request.max_tokens for request in task.requests), default=math.inf)
    alike = replies.limits == limit if replies is not None else np.zeros(0, dtype=bool)
    if replies is None or alike.sum() < ENOUGH:
        middle = REPLY_TOKENS.get(task.purpose, max(REPLY_TOKENS.values())) * task.rows_per_call
        return calls * np.minimum(middle * np.exp(rng.standard_normal(DRAWS) * math.log(2.5) / _WITHIN), limit)
    lengths, domains = replies.completion_tokens[alike].astype(float), np.array(replies.domains)[alike]
    shared = _mean(lengths, rng)
    total, variance = np.zeros(DRAWS), 0.0
    for domain, n in task.slots.items():
        own = lengths[domains == domain]
        enough = len(own) >= ENOUGH_OF_DOMAIN
        total += n / task.rows * (_mean(own, rng) if enough else shared)
        variance += n / task.rows * float(np.var(own if enough else lengths, ddof=1))
    drifted = np.minimum(total * np.exp(DRIFT * rng.standard_normal(DRAWS)), limit)
    return calls * drifted + np.sqrt(calls * variance) * rng.standard_normal(DRAWS)


def _mean(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the mean of a population from a sample of it."""
    error = float(np.std(lengths, ddof=1)) / math.sqrt(len(lengths))
    return float(np.mean(lengths)) + error * rng.standard_t(len(lengths) - 1, DRAWS)


def _middle(drawn: np.ndarray) -> int:
    return round(float(np.quantile(drawn, _MIDDLE)))


def _whole_range(drawn: np.ndarray) -> tuple[int, int]:
    return math.floor(np.quantile(drawn, _LOW)), math.ceil(np.quantile(drawn, _HIGH))


@dataclass(frozen=True)
class ReplyLengths:
    """Lengths of the replies of one model for one purpose; the arrays have an entry per reply.

    Attributes:
        domains: that they were for.
        prompt_chars: characters of the messages.
        prompt_tokens, cached_tokens, completion_tokens: as the server reported.
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


def read_reply_lengths(ledger: Ledger, endpoint: str, model: str, name: str) -> Mapping[str, ReplyLengths]:
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
        found[purpose] = ReplyLengths(tuple(row[1] for row in kept), *np.array(lengths, dtype=np.int64).T)
    return found


def _shape(request: str) -> tuple[int, int]:
    """Return the characters of a request's messages, and the limit of its reply."""
    shape = json.loads(request)
    chars = sum(len(str(turn.get("content") or "")) for turn in shape.get("messages", ()))
    return chars, int(shape.get("max_tokens") or 0)
