"""Shares a stage's budget over the domains: `quotas`, which calls a registered policy, and the built-in policies.

A policy says how many slots each domain should get (`wanted`); capacity says how many it can fill (`planned`). Shares are exact
fractions until they are rounded at the end, so that no row is lost to rounding and the order of the domains never matters. Reads
no manifest and selects no row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from fractions import Fraction
from math import floor
from typing import Any, TypeVar

from curate.errors import InputError, UnknownNameError
from curate.selection import feedback
from curate.selection.base import Capacity, Quotas, policies
from curate.selection.feedback import DomainResult

__all__ = [
    "OPTIONS",
    "adaptive",
    "largest_remainder",
    "natural",
    "need",
    "plan",
    "quotas",
    "stage_budget",
    "temperature",
    "uniform",
    "uses_metrics",
    "water_fill",
]

K = TypeVar("K", bound=Hashable)


# Options of the built-in policies beside the contract. Every policy is given all of them and ignores those of others.
OPTIONS = frozenset({"need_weight", "schedule", "temperature"})

NEED_FLOOR = Fraction(1, 4)  # of a uniform share, which the policy `need` leaves every domain


def quotas(
    policy: str | Callable[..., Quotas],
    counts: Mapping[str, int],
    *,
    budget: int,
    stage: int = 0,
    n_stages: int = 1,
    taken: Mapping[str, int] | None = None,
    capacity: Capacity | None = None,
    metrics: Mapping[str, DomainResult] | None = None,
    seed: int = 0,
    **options: Any,
) -> Quotas:
    """Return the slots of each domain in one stage, by a policy.

    Args:
        policy: a registered name or a callable of the same contract.
        counts: domain → real train rows as ingested.
        budget: accepted rows of this stage alone (see `stage_budget`).
        stage: from 0.
        n_stages: stages in all.
        taken: domain → rows that earlier stages accepted; a domain that is not named has none.
        capacity: domain → rows it can still give in this stage, None for no bound; without it every domain can give
            what is wanted, as with a teacher that writes the missing rows.
        metrics: domain → the last student's results on validation rows, where there is a student.
        seed: for policies that draw; the built-in ones do not.
        options: the policy's own, such as `schedule`, `temperature` or `need_weight`.

    Raises:
        UnknownNameError: no policy or option of that name.
        InputError: a budget, stage, count or capacity breaks a rule, or a plug-in's slots do not add up.

    Example:
        >>> quotas("uniform", {"algebra": 50, "topology": 2}, budget=10).wanted
        {'algebra': 5, 'topology': 5}
    """
    name = policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__)
    chosen = policies.get(policy)
    _check_request(counts, budget=budget, stage=stage, n_stages=n_stages, capacity=capacity)
    known = OPTIONS | set(inspect.signature(chosen).parameters)
    for option in options:
        if option not in known:
            raise UnknownNameError(f"option of policy {name!r}", option, OPTIONS)
    made = chosen(
        dict(sorted(counts.items())),
        budget=budget,
        stage=stage,
        n_stages=n_stages,
        taken=dict.fromkeys(counts, 0) | dict(taken or {}),
        capacity=capacity,
        metrics=metrics,
        seed=seed,
        **options,
    )
    _check_result(made, name, counts, capacity=capacity, budget=budget)
    return made


@policies.register("natural")
def natural(counts: Mapping[str, int], *, budget: int, capacity: Capacity | None = None, **_: Any) -> Quotas:
    """Give each domain its share of the data: q = b·n_d/N. Arguments as in `quotas`."""
    return plan(_shares(counts, 0, budget), budget=budget, capacity=capacity)


@policies.register("uniform")
def uniform(counts: Mapping[str, int], *, budget: int, capacity: Capacity | None = None, **_: Any) -> Quotas:
    """Give each domain the same: q = b/M, the paper's naive policy "BalDistill (N)". Arguments as in `quotas`."""
    return plan(_shares(counts, 1, budget), budget=budget, capacity=capacity)


@policies.register("adaptive")
def adaptive(
    counts: Mapping[str, int],
    *,
    budget: int,
    stage: int,
    n_stages: int,
    capacity: Capacity | None = None,
    schedule: str = "ours",
    **_: Any,
) -> Quotas:
    """Go from natural to uniform over the stages: q = w·b/M + (1−w)·b·n_d/N.

    Args:
        counts, budget, stage, n_stages, capacity: as in `quotas`.
        schedule: ``"ours"``: w = k/(K−1), so that the last stage is uniform (1 where K = 1); ``"paper"``: w = k/K, with
            which the last stage is (K−1)/K of the way. The paper counts a sample of b rows where we take its
            expectation b·n_d/N.

    Source: "BalDistill (A)", Zhou et al., Findings of EMNLP 2024, section 3 (arXiv 2406.13114).
    """
    return plan(_shares(counts, _schedule(schedule, stage, n_stages), budget), budget=budget, capacity=capacity)


@policies.register("need")
def need(
    counts: Mapping[str, int],
    *,
    budget: int,
    stage: int,
    n_stages: int,
    taken: Mapping[str, int] | None = None,
    capacity: Capacity | None = None,
    metrics: Mapping[str, DomainResult] | None = None,
    schedule: str = "ours",
    need_weight: float = 0.5,
    **_: Any,
) -> Quotas:
    """Shift the adaptive slots to where the last student does worst per example spent: q = φ·b/M + (1−φ)·((1−w)·a + w·h).

    a are the slots of `adaptive`; h shares the budget by `curate.selection.feedback.shares`, where error rates are estimated,
    and shrunk for domains of few rows; φ is a quarter, so that every domain keeps a quarter of a uniform share. Of two domains
    that differ in their results alone the worse never gets fewer slots. Without `metrics` (before there is a student) it is
    `adaptive`.

    Args:
        counts, budget, stage, n_stages, taken, capacity, metrics: as in `quotas`.
        schedule: of the adaptive part.
        need_weight: w, 0 to 1; how far the results shift the slots.
    """
    if not 0 <= need_weight <= 1:
        raise InputError(f"need_weight must be from 0 (adaptive) to 1 (need alone), got {need_weight!r}")
    usual = _shares(counts, _schedule(schedule, stage, n_stages), budget)
    if metrics is None:
        return plan(usual, budget=budget, capacity=capacity)
    spent = dict.fromkeys(counts, 0) | {d: n for d, n in (taken or {}).items() if d in counts}
    wanting, weight, floor_ = feedback.shares(metrics, spent), Fraction(need_weight), NEED_FLOOR
    shares = {
        d: floor_ * Fraction(budget, len(counts)) + (1 - floor_) * ((1 - weight) * usual[d] + weight * budget * wanting[d])
        for d in counts
    }
    return plan(shares, budget=budget, capacity=capacity)


@policies.register("temperature")
def temperature(
    counts: Mapping[str, int], *, budget: int, capacity: Capacity | None = None, temperature: float = 2.0, **_: Any
) -> Quotas:
    """Flatten the tail by an exponent: q ∝ n_d^(1/T).

    Args:
        counts, budget, capacity: as in `quotas`.
        temperature: T above 0; 1 is natural, infinity is uniform. The default 2 is square-root sampling, the middle
            course of Kang et al., ICLR 2020, section 3.1 (arXiv 1910.09217).
    """
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, got {temperature!r}; 1 is natural, larger is flatter")
    largest = max(counts.values())
    weights = {d: Fraction(float(n / largest) ** (1 / temperature)) for d, n in counts.items()}
    total = sum(weights.values())
    return plan({d: budget * w / total for d, w in weights.items()}, budget=budget, capacity=capacity)


def uses_metrics(policy: str | Callable[..., Quotas]) -> bool:
    """Return whether a policy uses the last student's results: it has a parameter `metrics`.

    Raises:
        UnknownNameError: no policy of that name.
    """
    return "metrics" in inspect.signature(policies.get(policy)).parameters


def plan(shares: Mapping[str, Fraction | int], *, budget: int, capacity: Capacity | None = None) -> Quotas:
    """Turn fractional shares that sum to the budget into `Quotas`; a policy ends with this call.

    Args:
        shares: domain → slots, fractional.
        budget: of the stage; the sum of `shares`.
        capacity: as in `quotas`.
    """
    wanted = largest_remainder(shares, budget)
    return Quotas(wanted, water_fill(wanted, capacity, budget), budget)


def largest_remainder(shares: Mapping[K, Fraction | int], total: int) -> dict[K, int]:
    """Round shares to integers that sum to `total`: floors first, then one each by the largest remainder.

    Ties go to the key that sorts first, so that the order of the mapping never matters. The larger of two shares never
    gets less. This is Hamilton's apportionment.

    Args:
        shares: key → share, at least 0; their sum is `total`.
        total: what is shared out, at least 0.

    Raises:
        InputError: the shares do not sum to `total`.
    """
    if sum(shares.values()) != total or any(share < 0 for share in shares.values()):
        raise InputError(f"shares must be at least 0 and sum to {total}, got a sum of {float(sum(shares.values()))}")
    floors = {key: floor(share) for key, share in sorted(shares.items(), key=lambda item: _sortable(item[0]))}
    by_remainder = sorted(floors, key=lambda key: floors[key] - shares[key])  # stable: ties keep the order of the keys
    for key in by_remainder[: total - sum(floors.values())]:
        floors[key] += 1
    return floors


def water_fill(wanted: Mapping[str, int], capacity: Capacity | None, budget: int) -> dict[str, int]:
    """Give the slots that some domains cannot fill to the others, in proportion to their wanted slots.

    All domains rise together, each at the rate of its wanted slots, and stop at their capacity: weighted max-min
    fairness by progressive filling (Bertsekas and Gallager, Data Networks, section 6.5.2). No domain gets less than the
    smaller of wanted and capacity; domains with no wanted slots come last, at an equal rate.

    Args:
        wanted: domain → slots; sums to `budget`.
        capacity: domain → rows it can give, None for no bound; None for no bound anywhere.
        budget: of the stage.

    Returns:
        Domain → slots, sorted by domain. They sum to `budget`, or to the whole capacity where that is less.
    """
    if capacity is None or all(_fits(w, capacity[d]) for d, w in wanted.items()):
        return dict(sorted(wanted.items()))
    filled = _raise_level({d: w for d, w in wanted.items() if w > 0}, capacity, budget)
    left = budget - sum(filled.values())
    idle = {d: 1 for d, w in wanted.items() if w == 0}
    return dict(sorted((filled | _raise_level(idle, capacity, left)).items()))


def stage_budget(total: int, stage: int, n_stages: int) -> int:
    """Return the accepted rows of one stage, B(k+1)//K − Bk//K, so that the stages sum to `total`.

    Args:
        total: accepted rows over all stages, B.
        stage: from 0, k.
        n_stages: stages in all, K.

    Raises:
        InputError: the stage does not exist, or the budget leaves a stage with nothing.
    """
    _check_stage(stage, n_stages)
    if total < 1:
        raise InputError(f"budget must be at least 1 accepted row, got {total}")
    if total < n_stages:
        raise InputError(f"budget {total} leaves some of {n_stages} stages with no row; use --stages {total} or fewer")
    return total * (stage + 1) // n_stages - total * stage // n_stages


def _schedule(schedule: str, stage: int, n_stages: int) -> Fraction:
    """Return the weight of the uniform part in one stage of the adaptive policy."""
    if schedule == "ours":
        return Fraction(stage, n_stages - 1) if n_stages > 1 else Fraction(1)
    if schedule == "paper":
        return Fraction(stage, n_stages)
    raise UnknownNameError("schedule", schedule, ["ours", "paper"])


def _shares(counts: Mapping[str, int], weight: Fraction | int, budget: int) -> dict[str, Fraction]:
    """Mix uniform (`weight` of it) and natural shares of the budget."""
    n_rows, n_domains = sum(counts.values()), len(counts)
    return {d: budget * (Fraction(weight, n_domains) + (1 - weight) * Fraction(n, n_rows)) for d, n in counts.items()}


def _raise_level(weights: Mapping[str, int], capacity: Capacity, slots: int) -> dict[str, int]:
    """Share `slots` in proportion to `weights`, none above its capacity."""
    full: dict[str, int] = {}
    rising = dict(weights)
    while rising:
        level = Fraction(slots - sum(full.values()), sum(rising.values()))
        reached = {d: bound for d, w in rising.items() if (bound := capacity[d]) is not None and bound <= level * w}
        if not reached:
            shares = {d: level * w for d, w in rising.items()}
            return full | largest_remainder(shares, slots - sum(full.values()))
        full |= reached
        rising = {d: w for d, w in rising.items() if d not in reached}
    return full


def _fits(slots: int, bound: int | None) -> bool:
    return bound is None or slots <= bound


def _sortable(key: Hashable) -> tuple[bool, Any]:
    """Sort None, the cluster of rows that have none, after every other key."""
    return (key is None, 0 if key is None else key)


def _check_stage(stage: int, n_stages: int) -> None:
    if n_stages < 1:
        raise InputError(f"stages must be at least 1, got {n_stages}")
    if not 0 <= stage < n_stages:
        raise InputError(f"stage {stage} does not exist; with --stages {n_stages} they are 0 to {n_stages - 1}")


def _check_request(counts: Mapping[str, int], *, budget: int, stage: int, n_stages: int, capacity: Capacity | None) -> None:
    _check_stage(stage, n_stages)
    if budget < 1:
        raise InputError(f"budget must be at least 1 accepted row, got {budget}")
    if sum(counts.values()) < 1:
        raise InputError("no domain has a real train row to count; ingest rows with split train first")
    for domain, n in counts.items():
        if n < 0:
            raise InputError(f"domain {domain!r}: a count must be at least 0, got {n}")
    if capacity is None:
        return
    for domain in counts:
        if domain not in capacity:
            raise InputError(f"domain {domain!r} has no capacity; give a number of rows, or None for no bound")
        if (bound := capacity[domain]) is not None and bound < 0:
            raise InputError(f"domain {domain!r}: capacity must be at least 0, got {bound}")


def _check_result(made: Quotas, name: str, counts: Mapping[str, int], *, capacity: Capacity | None, budget: int) -> None:
    """Check a policy's result: the same domains, whole numbers, exact sums, no domain above its capacity."""
    bounds = [capacity[d] if capacity else None for d in counts]
    reachable = min(budget, sum(b for b in bounds if b is not None)) if all(b is not None for b in bounds) else budget
    for what, slots, total in (("wanted", made.wanted, budget), ("planned", made.planned, reachable)):
        if set(slots) != set(counts):
            raise InputError(f"policy {name!r}: {what} names other domains than were given; return every one of them, 0 included")
        if any(not isinstance(n, int) or n < 0 for n in slots.values()) or sum(slots.values()) != total:
            raise InputError(f"policy {name!r}: {what} must be whole numbers that sum to {total}, got {sum(slots.values())}")
    over = [d for d, bound in zip(counts, bounds, strict=True) if not _fits(made.planned[d], bound)]
    if over:
        raise InputError(
            f"policy {name!r}: planned is above the capacity of {over[0]!r}; end the policy with curate.selection.policies.plan"
        )
