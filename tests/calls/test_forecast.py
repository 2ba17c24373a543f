"""Estimates: what is drawn is what was said, and the intervals hold what is to come as often as they promise."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.balance.cost import Probe
from curate.calls.client import MeteredTeacher
from curate.calls.forecast import (
    CHARS_PER_TOKEN,
    ENOUGH,
    REPLY_TOKENS,
    Estimate,
    ReplyLengths,
    Task,
    read_reply_lengths,
    simulate,
)
from curate.ledger.ledger import Ledger
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.fake import Fake
from curate.teachers.prices import FREE, Price

LIMIT = 2000
PRICE = Price(1.0, 4.0, 0.5, as_of="2025-01-01")


def asked(chars: int, domain: str = "a", purpose: str = "rationale", limit: int = LIMIT) -> Request:
    return Request(purpose, [{"role": "user", "content": "x" * chars}], domain=domain, max_tokens=limit)


def replies(completion: Any, *, chars: int = 400, per_char: float = 0.3, cached: float = 0.0, domain: str = "a") -> ReplyLengths:
    lengths = np.array(completion)
    prompt = np.full(len(lengths), round(chars * per_char))
    limits = np.full(len(lengths), LIMIT)
    return ReplyLengths(
        (domain,) * len(lengths), np.full(len(lengths), chars), prompt, np.int64(cached * prompt), lengths, limits
    )


def task(n: int = 100, **changes: Any) -> Task:
    told: dict[str, Any] = {"purpose": "rationale", "slots": {"a": n}, "requests": [asked(400)] * 20}
    return Task(**{**told, **changes})


def test_without_replies_an_estimate_is_what_is_usual_and_wide() -> None:
    told = simulate([task()], {}, PRICE)
    assert (told.rationales, told.examples, told.calls, told.calls_range, told.replies) == (100, 0, 100, (100, 100), 0)
    assert told.prompt_tokens == pytest.approx(100 * 400 / CHARS_PER_TOKEN, rel=0.05)
    assert told.completion_tokens == pytest.approx(100 * REPLY_TOKENS["rationale"], rel=0.1)
    low, high = told.tokens_range
    assert high / low > 2.5
    assert told.usd is not None
    assert told.usd == pytest.approx((told.prompt_tokens + 4 * told.completion_tokens) * 1e-6, rel=0.1)
    assert told.priced_on == "2025-01-01"


def test_replies_narrow_it_and_replace_what_is_usual() -> None:
    told = simulate([task()], {"rationale": replies([80, 120] * 50)}, PRICE)
    assert told.prompt_tokens == pytest.approx(100 * 120, rel=0.02)
    assert told.completion_tokens == pytest.approx(100 * 100, rel=0.02)
    low, high = told.tokens_range
    assert 1.05 < high / low < 1.3
    assert told.replies == 100


def test_a_domain_with_replies_enough_goes_by_its_own() -> None:
    past = replies([100] * 200)
    long = replies([500] * 40, domain="b")
    every = ReplyLengths(
        past.domains + long.domains, *(np.concatenate(p) for p in zip(_arrays(past), _arrays(long), strict=True))
    )
    told = simulate([task(slots={"b": 100})], {"rationale": every}, None)
    assert told.completion_tokens == pytest.approx(100 * 500, rel=0.05)
    few = simulate([task(slots={"c": 100})], {"rationale": every}, None)
    assert few.completion_tokens == pytest.approx(100 * (200 * 100 + 40 * 500) / 240, rel=0.05)


def _arrays(past: ReplyLengths) -> tuple[np.ndarray, ...]:
    return past.prompt_chars, past.prompt_tokens, past.cached_tokens, past.completion_tokens, past.limits


def test_rejected_replies_are_asked_for_again() -> None:
    half = simulate([task(accepted=1000, rejected=1000, max_attempts=5)], {}, None)
    assert half.calls == pytest.approx(200, rel=0.05)
    assert simulate([task(accepted=1000, rejected=0, max_attempts=5)], {}, None).calls <= 103
    unknown = simulate([task(max_attempts=5)], {}, None)
    assert unknown.calls_range[0] < 110
    assert unknown.calls_range[1] > 160
    assert simulate([task(accepted=0, rejected=1000, max_attempts=3)], {}, None).calls_range[1] == 300


def test_several_rows_in_a_call_are_fewer_calls() -> None:
    five = replace(asked(400, purpose="synthesis"), wanted=[None] * 5)
    assert simulate([task(purpose="synthesis", requests=[five])], {}, None).calls == 20
    assert simulate([task(purpose="synthesis", requests=[five], slots={"a": 6, "b": 1})], {}, None).calls == 3


def test_prompts_are_weighed_by_the_places_of_their_domains() -> None:
    requests = [asked(100, "short")] * 10 + [asked(1000, "long")] * 10
    told = simulate([task(slots={"short": 90, "long": 10}, requests=requests)], {}, None)
    assert told.prompt_tokens == pytest.approx((90 * 100 + 10 * 1000) / CHARS_PER_TOKEN, rel=0.05)


def test_what_the_server_had_cached_costs_less() -> None:
    dear = simulate([task()], {"rationale": replies([100] * 50)}, PRICE)
    cheap = simulate([task()], {"rationale": replies([100] * 50, cached=1.0)}, PRICE)
    assert dear.usd is not None
    assert cheap.usd is not None
    assert dear.usd - cheap.usd == pytest.approx(dear.prompt_tokens * 0.5e-6, rel=0.05)


def test_replies_under_another_limit_tell_nothing_of_lengths() -> None:
    past = {"rationale": replies([10] * 50)}
    other = simulate([task(requests=[asked(400, limit=LIMIT + 1)])], past, None)
    assert other.completion_tokens == pytest.approx(100 * REPLY_TOKENS["rationale"], rel=0.1)
    assert other.prompt_tokens == simulate([task(requests=[asked(400)])], past, None).prompt_tokens


def test_a_reply_is_never_longer_than_its_limit() -> None:
    told = simulate([task(requests=[asked(400, limit=50)])], {}, None)
    assert told.completion_tokens <= 100 * 50
    assert told.tokens_range[1] - told.prompt_tokens * 1.5 <= 100 * 50


def test_nothing_to_do_costs_nothing() -> None:
    told = simulate([task(0), task(0, purpose="synthesis")], {}, PRICE)
    assert (told.calls, told.tokens, told.usd, told.calls_range) == (0, 0, 0.0, (0, 0))
    assert simulate([], {}, None).usd is None


def test_an_unknown_price_is_not_invented_and_a_free_one_is_zero() -> None:
    assert simulate([task()], {}, None).usd is None
    assert simulate([task()], {}, None).usd_range is None
    assert simulate([task()], {}, FREE).usd_range == (0.0, 0.0)


def test_the_same_seed_tells_the_same() -> None:
    told = simulate([task()], {}, PRICE, seed=3)
    assert told == simulate([task()], {}, PRICE, seed=3)
    assert Estimate.from_dict(told.to_dict()) == told


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 400),
    lengths=st.lists(st.integers(1, 1500), max_size=60),
    accepted=st.integers(0, 500),
    rejected=st.integers(0, 500),
    attempts=st.integers(1, 6),
)
def test_the_middle_is_within_the_range(n: int, lengths: list[int], accepted: int, rejected: int, attempts: int) -> None:
    past = {"rationale": replies(lengths)} if lengths else {}
    told = simulate([task(n, accepted=accepted, rejected=rejected, max_attempts=attempts)], past, PRICE)
    assert n <= told.calls_range[0] <= told.calls <= told.calls_range[1] <= attempts * n
    assert 0 <= told.tokens_range[0] <= told.tokens_range[1]
    assert told.usd_range is not None
    assert told.usd is not None
    assert told.usd_range[0] <= told.usd <= told.usd_range[1]


def _future(rng: np.random.Generator, n: int, mean: float, passing: float, per_char: float) -> tuple[float, float]:
    """Return the calls and tokens that filling n places came to in a made-up world."""
    calls = n + rng.negative_binomial(n, passing)
    chars = rng.lognormal(np.log(600), 0.4, calls)
    tokens = chars * per_char * rng.normal(1, 0.08, calls) + rng.gamma(4, mean / 4, calls)
    return float(calls), float(tokens.sum())


def _coverage(worlds: int, seen: int, seed: int) -> Mapping[str, float]:
    """Return how often the intervals held what came, over made-up worlds with `seen` replies before."""
    rng, held = np.random.default_rng(seed), {"calls": 0, "tokens": 0}
    for world in range(worlds):
        mean, passing, per_char = rng.uniform(60, 400), rng.beta(4, 1), rng.uniform(0.2, 0.35)
        chars = rng.lognormal(np.log(600), 0.4, max(seen, 1))
        prompt = np.int64(chars * per_char * rng.normal(1, 0.08, len(chars)))
        lengths = np.int64(rng.gamma(4, mean / 4, len(chars)))
        past = ReplyLengths(("a",) * len(chars), np.int64(chars), prompt, prompt * 0, lengths, np.full(len(chars), LIMIT))
        judged = int(rng.binomial(seen, passing))
        requests = [asked(int(size)) for size in rng.lognormal(np.log(600), 0.4, 32)]
        work = task(120, requests=requests, accepted=judged, rejected=seen - judged, max_attempts=50)
        told = simulate([work], {"rationale": past} if seen else {}, None, seed=world)
        calls, tokens = _future(rng, 120, mean, passing, per_char)
        held["calls"] += told.calls_range[0] <= calls <= told.calls_range[1]
        held["tokens"] += told.tokens_range[0] <= tokens <= told.tokens_range[1]
    return {name: n / worlds for name, n in held.items()}


@pytest.mark.parametrize("seen", [0, 10, 60, 600])
def test_intervals_hold_what_comes_in_nine_of_ten_worlds(seen: int) -> None:
    held = _coverage(300, seen, seed=seen + 1)
    assert held["calls"] >= 0.86
    assert held["tokens"] >= 0.86


def test_a_probe_sends_nothing() -> None:
    teacher = Fake()
    probe = Probe(teacher)
    told = probe.ask([asked(4), asked(5)])
    assert [reply.status for reply in told] == ["unanswered"] * 2
    assert (len(probe.requests), teacher.sent) == (2, [])


# Past replies, from the ledger


def ask(ledger: Ledger, n: int, name: str, *, purpose: str = "rationale", prompt: int = 10, model: str = "fake") -> None:
    used = Usage(prompt, 20, 4, 0)
    teacher = Fake(script=lambda request, _: RawResponse.of("four", usage=used), model=model)
    messages = [{"role": "system", "content": "s" * 10}, {"role": "user", "content": "u" * 30}]
    requests = [Request(purpose, messages, sample=i + 1000 * (name == "other"), domain=f"d{i % 2}") for i in range(n)]
    MeteredTeacher(teacher, ledger, name).ask(requests)


def test_lengths_are_told_by_purpose(ledger: Ledger) -> None:
    ask(ledger, 9, "math")
    ask(ledger, 12, "math", purpose="synthesis", model="another")
    found = read_reply_lengths(ledger, "fake", "fake", "math")
    assert set(found) == {"rationale"}
    told = found["rationale"]
    assert (len(told), set(told.domains)) == (9, {"d0", "d1"})
    assert (set(told.prompt_chars), set(told.limits)) == ({40}, {512})
    assert (set(told.prompt_tokens), set(told.cached_tokens), set(told.completion_tokens)) == ({10}, {4}, {20})
    assert set(read_reply_lengths(ledger, "fake", "another", "math")) == {"synthesis"}
    assert read_reply_lengths(ledger, "fake", "unheard-of", "math") == {}


def test_a_manifests_own_replies_come_before_those_of_others_once_they_are_enough(ledger: Ledger) -> None:
    ask(ledger, ENOUGH - 1, "math", prompt=10)
    ask(ledger, 30, "other", prompt=99)
    assert len(read_reply_lengths(ledger, "fake", "fake", "math")["rationale"]) == ENOUGH - 1 + 30
    assert set(read_reply_lengths(ledger, "fake", "fake", "other")["rationale"].prompt_tokens) == {99}


def test_replies_without_figures_tell_nothing(ledger: Ledger) -> None:
    MeteredTeacher(Fake(), ledger, "math").ask([Request("rationale", [{"role": "user", "content": "2 + 2?"}], prompt="2 + 2?")])
    assert all(0 not in told.prompt_tokens for told in read_reply_lengths(ledger, "fake", "fake", "math").values())
