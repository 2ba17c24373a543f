"""What a policy gives each domain: exact sums, the formulas, capacity, and clear refusals."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.errors import InputError, UnknownNameError
from curate.selection import policies
from curate.selection.base import Quotas
from curate.selection.base import policies as registered
from curate.selection.feedback import DomainResult

MATH = {"Algebra": 1744, "Prealgebra": 845, "Number": 437, "Counting": 365, "Geometry": 312, "Inter": 235, "Precalc": 187}
counts_by_domain = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 3000), min_size=1, max_size=20)


def test_uniform_gives_each_domain_the_same_and_ties_go_by_name() -> None:
    assert policies.quotas("uniform", {"b": 900, "c": 1, "a": 9}, budget=7).wanted == {"a": 3, "b": 2, "c": 2}


def test_natural_is_proportional_to_the_counts() -> None:
    assert policies.quotas("natural", {"a": 60, "b": 30, "c": 10}, budget=20).wanted == {"a": 12, "b": 6, "c": 2}


def test_our_adaptive_schedule_runs_from_natural_to_uniform() -> None:
    def stage(k: int, schedule: str) -> dict[str, int]:
        return policies.quotas("adaptive", MATH, budget=420, stage=k, n_stages=5, schedule=schedule).wanted

    natural = policies.quotas("natural", MATH, budget=420).wanted
    assert stage(0, "ours") == stage(0, "paper") == natural
    assert set(stage(4, "ours").values()) == {60}
    algebra_natural = Fraction(420 * 1744, 4125)
    assert stage(4, "paper")["Algebra"] == round(Fraction(4, 5) * 60 + Fraction(1, 5) * algebra_natural)
    assert stage(2, "ours")["Algebra"] == round(Fraction(1, 2) * 60 + Fraction(1, 2) * algebra_natural)


def test_a_single_adaptive_stage_is_uniform_and_in_the_paper_natural() -> None:
    counts = {"a": 90, "b": 10}
    assert policies.quotas("adaptive", counts, budget=10).wanted == {"a": 5, "b": 5}
    assert policies.quotas("adaptive", counts, budget=10, schedule="paper").wanted == {"a": 9, "b": 1}


def test_temperature_flattens_by_an_exponent() -> None:
    counts = {"a": 1600, "b": 400, "c": 100}
    assert policies.quotas("temperature", counts, budget=70).wanted == {"a": 40, "b": 20, "c": 10}
    assert policies.quotas("temperature", counts, budget=21, temperature=1).wanted == {"a": 16, "b": 4, "c": 1}
    assert policies.quotas("temperature", counts, budget=30, temperature=float("inf")).wanted == {"a": 10, "b": 10, "c": 10}
    assert policies.quotas("temperature", counts, budget=30, temperature=1e-9).wanted == {"a": 30, "b": 0, "c": 0}


def test_what_a_domain_lacks_goes_to_the_others_in_proportion_and_is_reported() -> None:
    made = policies.quotas("natural", {"a": 60, "b": 30, "c": 10}, budget=30, capacity={"a": 100, "b": 100, "c": 0})
    assert made.wanted == {"a": 18, "b": 9, "c": 3}
    assert made.planned == {"a": 20, "b": 10, "c": 0}


def test_a_full_domain_passes_its_share_on() -> None:
    assert policies.water_fill({"a": 10, "b": 10, "c": 10}, {"a": 1, "b": 12, "c": None}, 30) == {"a": 1, "b": 12, "c": 17}


def test_domains_wanted_to_have_nothing_are_filled_last() -> None:
    assert policies.water_fill({"a": 4, "b": 0, "c": 0}, {"a": 1, "b": 9, "c": 1}, 4) == {"a": 1, "b": 2, "c": 1}


def test_with_less_than_the_budget_everything_there_is_gets_planned() -> None:
    made = policies.quotas("uniform", {"a": 5, "b": 2}, budget=10, capacity={"a": 5, "b": 2})
    assert made.planned == {"a": 5, "b": 2}


def test_without_a_bound_nothing_moves() -> None:
    made = policies.quotas("uniform", {"a": 5, "b": 2}, budget=10, capacity={"a": None, "b": None})
    assert made.planned == made.wanted == {"a": 5, "b": 5}


def test_the_largest_remainder_gets_what_is_left() -> None:
    shares = {"a": Fraction(13, 10), "b": Fraction(24, 10), "c": Fraction(23, 10)}
    assert policies.largest_remainder(shares, 6) == {"a": 1, "b": 3, "c": 2}


def test_shares_must_sum_to_what_is_shared_out() -> None:
    with pytest.raises(InputError, match=r"sum to 3, got a sum of 2\.0"):
        policies.largest_remainder({"a": 1, "b": 1}, 3)


@given(total=st.integers(1, 5000), n_stages=st.integers(1, 20))
def test_stage_budgets_sum_to_the_total(total: int, n_stages: int) -> None:
    if total < n_stages:
        with pytest.raises(InputError, match="leaves some of"):
            policies.stage_budget(total, 0, n_stages)
        return
    parts = [policies.stage_budget(total, k, n_stages) for k in range(n_stages)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= 1


@given(
    wanted=st.dictionaries(st.text("abc", min_size=1), st.integers(0, 40), min_size=1, max_size=8),
    bounds=st.lists(st.none() | st.integers(0, 60), min_size=8, max_size=8),
)
def test_water_filling_keeps_the_sum_and_lowers_nobody_below_what_it_can_give(
    wanted: dict[str, int], bounds: list[int | None]
) -> None:
    budget = sum(wanted.values())
    capacity = dict(zip(wanted, bounds, strict=False))
    planned = policies.water_fill(wanted, capacity, budget)
    most = sum(budget if bound is None else bound for bound in capacity.values())
    assert sum(planned.values()) == min(budget, most)
    for domain, slots in planned.items():
        bound = capacity[domain]
        assert bound is None or slots <= bound
        assert slots >= min(wanted[domain], budget if bound is None else bound)


@given(
    weights=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    bounds=st.lists(st.integers(0, 60), min_size=6, max_size=6),
)
def test_water_filling_equals_the_level_found_by_bisection(weights: list[int], bounds: list[int]) -> None:
    """The naive second version: the highest level at which min(capacity, level × wanted) fits the budget."""
    names = "abcdef"[: len(weights)]
    wanted, capacity = dict(zip(names, weights, strict=True)), dict(zip(names, bounds, strict=False))
    budget = sum(weights)
    level, step = Fraction(0), Fraction(1)
    while step > Fraction(1, 2**20):
        poured = sum(min(Fraction(capacity[d]), (level + step) * wanted[d]) for d in names)
        if poured <= budget and level < 4 * budget + 100:
            level += step
        else:
            step /= 2
    planned = policies.water_fill(wanted, capacity, budget)
    for d in names:
        assert abs(planned[d] - min(Fraction(capacity[d]), level * wanted[d])) < 1 + Fraction(1, 1000)


@given(counts=counts_by_domain, budget=st.integers(1, 500), w=st.integers(0, 4))
def test_a_larger_domain_never_gets_fewer_slots(counts: dict[str, int], budget: int, w: int) -> None:
    made = policies.quotas("adaptive", counts, budget=budget, stage=w, n_stages=6)  # before the last stage: not yet uniform
    for a in counts:
        for b in counts:
            assert counts[a] <= counts[b] or made.wanted[a] >= made.wanted[b]


def test_need_without_results_is_adaptive() -> None:
    for stage in range(3):
        made = policies.quotas("need", MATH, budget=100, stage=stage, n_stages=3)
        assert made == policies.quotas("adaptive", MATH, budget=100, stage=stage, n_stages=3)


def test_need_shifts_slots_to_where_the_student_fails_and_leaves_a_floor() -> None:
    counts = {"good": 500, "bad": 500, "tail": 20}
    metrics = {"good": DomainResult(100, 90), "bad": DomainResult(100, 10), "tail": DomainResult(4, 2)}
    given_ = {"budget": 120, "stage": 1, "n_stages": 3, "taken": {"good": 60, "bad": 60, "tail": 20}}
    usual = policies.quotas("adaptive", counts, **given_).wanted  # type: ignore[arg-type]
    made = policies.quotas("need", counts, metrics=metrics, **given_).wanted  # type: ignore[arg-type]
    alone = policies.quotas("need", counts, metrics=metrics, need_weight=1, **given_).wanted  # type: ignore[arg-type]
    assert made["good"] < usual["good"]
    assert alone["good"] < made["good"] < made["bad"] < alone["bad"]
    assert min(alone.values()) >= 120 // 3 // 4
    assert alone["tail"] > usual["tail"], "few examples spent, so the next one tells more"


@example(n=15, right=[0, 0, 0, 0, 0, 13, 12], stage=0, budget=95, weight=1.0, bound=14)
@given(
    n=st.integers(1, 60),
    right=st.lists(st.integers(0, 60), min_size=2, max_size=7),
    stage=st.integers(0, 3),
    budget=st.integers(1, 300),
    weight=st.floats(0.01, 1),
    bound=st.none() | st.integers(0, 50),
)
def test_a_worse_domain_gets_no_fewer_slots(
    n: int, right: list[int], stage: int, budget: int, weight: float, bound: int | None
) -> None:
    """All else equal: counts, rows judged, examples spent, capacity. Of slots that others cannot fill, equals differ by one."""
    metrics = {f"d{i}": DomainResult(n, min(n, k)) for i, k in enumerate(right)}
    counts = dict.fromkeys(metrics, 70)
    capacity = dict.fromkeys(metrics, bound)
    common = {"budget": budget, "stage": stage, "n_stages": 4, "taken": dict.fromkeys(metrics, 12), "capacity": capacity}
    made = policies.quotas("need", counts, metrics=metrics, need_weight=weight, **common)  # type: ignore[arg-type]
    for worse in metrics:
        for better in metrics:
            if metrics[worse].correct < metrics[better].correct:
                assert made.wanted[worse] >= made.wanted[better]
                tied = made.wanted[worse] == made.wanted[better]  # then the odd slot goes to the first by name
                assert made.planned[worse] >= made.planned[better] - tied


def test_need_refuses_a_weight_out_of_range_and_says_which_policies_look_at_results() -> None:
    with pytest.raises(InputError, match=r"need_weight must be from 0 .* got 2"):
        policies.quotas("need", MATH, budget=10, need_weight=2)
    assert [name for name in registered if policies.uses_metrics(name)] == ["need"]


def broken(counts: dict[str, int], *, budget: int, **_: object) -> Quotas:
    return Quotas(dict.fromkeys(counts, 0), dict.fromkeys(counts, 0), budget)


def greedy(counts: dict[str, int], *, budget: int, **_: object) -> Quotas:
    first = {d: budget if i == 0 else 0 for i, d in enumerate(counts)}
    return Quotas(first, first, budget)


def test_a_callable_is_welcome_and_is_held_to_the_contract() -> None:
    assert policies.quotas(greedy, {"b": 1, "a": 1}, budget=4).wanted == {"a": 4, "b": 0}
    with pytest.raises(InputError, match="policy 'greedy': planned is above the capacity of 'a'"):
        policies.quotas(greedy, {"b": 9, "a": 1}, budget=4, capacity={"a": 1, "b": 9})
    with pytest.raises(InputError, match="policy 'broken': wanted must be whole numbers that sum to 4, got 0"):
        policies.quotas(broken, {"a": 1}, budget=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "budget must be at least 1 accepted row, got 0"),
        ({"budget": -3}, "budget must be at least 1 accepted row, got -3"),
        ({"budget": 5, "stage": 5, "n_stages": 5}, "stage 5 does not exist; with --stages 5 they are 0 to 4"),
        ({"budget": 5, "stage": -1}, "stage -1 does not exist"),
        ({"budget": 5, "n_stages": 0}, "stages must be at least 1, got 0"),
        ({"budget": 5, "capacity": {"a": 1}}, "domain 'b' has no capacity"),
        ({"budget": 5, "capacity": {"a": 1, "b": -1}}, "domain 'b': capacity must be at least 0, got -1"),
    ],
)
def test_a_broken_rule_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        policies.quotas("uniform", {"a": 5, "b": 5}, **arguments)  # type: ignore[arg-type]


def test_counts_must_count_something() -> None:
    with pytest.raises(InputError, match="no domain has a real train row"):
        policies.quotas("uniform", {"a": 0}, budget=5)
    with pytest.raises(InputError, match="domain 'b': a count must be at least 0, got -2"):
        policies.quotas("uniform", {"a": 9, "b": -2}, budget=5)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown policy 'adaptiv'; did you mean 'adaptive'"):
        policies.quotas("adaptiv", {"a": 1}, budget=1)
    with pytest.raises(UnknownNameError, match="option of policy 'natural' 'shedule'; did you mean 'schedule'"):
        policies.quotas("natural", {"a": 1}, budget=1, shedule="paper")
    with pytest.raises(UnknownNameError, match="unknown schedule 'papers'; did you mean 'paper'"):
        policies.quotas("adaptive", {"a": 1}, budget=1, schedule="papers")
    with pytest.raises(InputError, match="temperature must be above 0, got 0"):
        policies.quotas("temperature", {"a": 1}, budget=1, temperature=0)
