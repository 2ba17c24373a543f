"""The battery that every registered policy passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.selection.base import policies
from curate.selection.feedback import DomainResult
from curate.selection.policies import quotas

counts_by_domain = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 3000), min_size=1, max_size=12)
results = st.integers(0, 40).flatmap(lambda n: st.builds(DomainResult, st.just(n), st.integers(0, n)))
every_policy = pytest.mark.parametrize("policy", policies.names())


@st.composite
def requests(draw: st.DrawFn) -> dict[str, object]:
    """Arguments of `quotas`, with and without bounds on the domains."""
    counts = draw(counts_by_domain)
    n_stages = draw(st.integers(1, 6))
    bounded = {d: draw(st.none() | st.integers(0, 2 * n)) for d, n in counts.items()}
    return {
        "counts": counts,
        "budget": draw(st.integers(1, 4000)),
        "n_stages": n_stages,
        "stage": draw(st.integers(0, n_stages - 1)),
        "capacity": draw(st.sampled_from([None, bounded])),
        "taken": {d: draw(st.integers(0, n)) for d, n in counts.items()},
        "metrics": draw(st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys(counts, results))),
        "seed": draw(st.integers(0, 9)),
    }


@every_policy
@given(request=requests())
def test_sums_are_exact_and_every_domain_is_named(policy: str, request: dict[str, object]) -> None:
    made = quotas(policy, **request)  # type: ignore[arg-type]
    assert set(made.wanted) == set(made.planned) == set(request["counts"])  # type: ignore[call-overload]
    assert sum(made.wanted.values()) == made.budget == request["budget"]
    assert min(*made.wanted.values(), *made.planned.values()) >= 0
    capacity = request["capacity"]
    if capacity is None:
        assert made.planned == made.wanted
    else:
        most = sum(made.budget if bound is None else bound for bound in capacity.values())  # type: ignore[attr-defined]
        assert sum(made.planned.values()) == min(made.budget, most)
        assert all(b is None or made.planned[d] <= b for d, b in capacity.items())  # type: ignore[attr-defined]


@every_policy
@given(request=requests(), shuffled=st.randoms(use_true_random=False))
def test_the_order_of_the_domains_does_not_matter(policy: str, request: dict[str, object], shuffled: object) -> None:
    counts = dict(request["counts"])  # type: ignore[call-overload]
    order = list(counts)
    shuffled.shuffle(order)  # type: ignore[attr-defined]
    again = quotas(policy, **{**request, "counts": {d: counts[d] for d in order}})  # type: ignore[arg-type]
    first = quotas(policy, **request)  # type: ignore[arg-type]
    assert again == first
    assert list(again.planned) == list(first.planned)


@every_policy
def test_one_domain_gets_everything(policy: str) -> None:
    assert quotas(policy, {"only": 3}, budget=17, stage=1, n_stages=3).wanted == {"only": 17}


@every_policy
def test_equal_domains_differ_by_one_at_most(policy: str) -> None:
    made = quotas(policy, dict.fromkeys("abcdefg", 40), budget=100, stage=2, n_stages=4)
    assert set(made.wanted.values()) == {14, 15}
