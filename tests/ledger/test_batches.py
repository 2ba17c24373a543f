"""The ledger's rows of batches: planned all or nothing, held by one run at a time, closed once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ledger.batches import BatchStore
from curate.ledger.ledger import LEASE, Ledger
from curate.ledger.records import CallSpec, Caps, Charged, CostBound
from curate.teachers.base import RawResponse, Request, Usage

BOUND = CostBound("math", "balance", 0, 100, 1000)
SHAPE = '{"max_tokens":50,"messages":[{"content":"q","role":"user"}],"sample":2,"schema":null,"temperature":0.2}'


def spec(n: int) -> CallSpec:
    return CallSpec(f"{n:032x}", "local", "m", "rationale", "d", 2, SHAPE)


def group(*numbers: int) -> list[tuple[CallSpec, CostBound]]:
    return [(spec(n), BOUND) for n in numbers]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_a_plan_reserves_every_call_and_keeps_what_is_asked(ledger: Ledger) -> None:
    store = BatchStore(ledger)
    planned = store.plan([group(0, 1), group(2)], Caps())
    assert (planned.n, planned.cap, ledger.charged("math")) == (3, "", Charged(3, 300, 3e-6))
    first, second = (batch.id for batch in store.open_batches("local", "m"))
    assert (first, second) == planned.batches
    assert store.keys(first) == {spec(0).key, spec(1).key}
    call = store.pending(first)[0]
    assert call.request == Request(
        "rationale", [{"role": "user", "content": "q"}], sample=2, domain="d", temperature=0.2, max_tokens=50
    )
    assert (call.key, call.bound) == (spec(0).key, BOUND)
    assert store.open_batches("local", "another") == []
    unpriced = CostBound("math", "balance", 0, 100, None)
    (third,) = store.plan([[(spec(3), unpriced)]], Caps()).batches
    assert [call.bound for call in store.pending(third)] == [unpriced]


def test_what_others_have_under_way_or_have_bought_is_left_out(ledger: Ledger) -> None:
    store, other = BatchStore(ledger), BatchStore(ledger)
    other.plan([group(0)], Caps())
    reservation = ledger.reserve(spec(1), BOUND, Caps(), '["host", 1, ""]')
    ledger.record(reservation.attempt, RawResponse.of("x", usage=Usage(1, 1)).raw)
    planned = store.plan([group(0, 1, 2)], Caps())
    assert planned.n == 1
    assert store.keys(planned.batches[0]) == {spec(2).key}
    assert store.plan([group(0, 1, 2)], Caps()).batches == ()


def test_a_cap_takes_what_fits_or_nothing_where_that_is_too_little(ledger: Ledger) -> None:
    store = BatchStore(ledger)
    planned = store.plan([group(0, 1), group(2, 3)], Caps(calls=3))
    assert (len(planned.batches), planned.n, "--max-calls 3 is reached" in planned.cap) == (2, 3, True)
    before = ledger.charged("math")
    again = store.plan([group(4, 5, 6)], Caps(calls=5), least=3)
    assert (again.batches, again.n, bool(again.cap), ledger.charged("math")) == ((), 0, True, before)


def test_one_holds_a_batch_at_a_time_and_who_lost_it_writes_nothing(tmp_path: Path) -> None:
    now = [1e9]
    ledger = Ledger(tmp_path / "ledger.sqlite", clock=lambda: now[0])
    store, other = BatchStore(ledger), BatchStore(ledger)
    (name,) = store.plan([group(0)], Caps()).batches
    assert store.claim(name) is not None
    assert other.claim(name) is None
    now[0] += LEASE * 0.9
    store.renew()
    now[0] += LEASE * 0.9
    assert other.claim(name) is None
    store.release()
    assert other.claim(name) is not None
    assert store.claim(name) is None
    assert not store.update(name, status="creating")
    assert not store.close(name, [])
    assert store.record(name, [(spec(0).key, "raw")]) == 0
    assert other.update(name, status="submitted", provider="batch_7")
    assert store.provider_id(name) == "batch_7"
    assert other.record(name, [(spec(0).key, "raw"), (spec(0).key, "second"), ("f" * 32, "strange")]) == 1
    assert other.close(name, [])
    assert other.claim(name) is None
    assert not other.close(name, [])


def test_the_attempts_of_a_batch_are_not_lost_when_their_process_is_gone(tmp_path: Path) -> None:
    now = [1e9]
    ledger = Ledger(tmp_path / "ledger.sqlite", clock=lambda: now[0])
    BatchStore(ledger).plan([group(0)], Caps())
    now[0] += 10 * LEASE
    assert ledger.sweep("math") == 0
    assert ledger.reserve(spec(0), BOUND, Caps(), '["host", 1, ""]').status == "busy"


@given(fates=st.lists(st.sampled_from(["answered", "failed", "unrun", "lost"]), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_when_a_batch_is_over_nothing_stays_reserved(tmp_path_factory: pytest.TempPathFactory, fates: list[str]) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("l") / "ledger.sqlite")
    store = BatchStore(ledger)
    (name,) = store.plan([group(*range(len(fates)))], Caps()).batches
    store.record(name, [(spec(n).key, RawResponse.of("x").raw) for n, fate in enumerate(fates) if fate == "answered"])
    for attempt, _, _ in store.unread(name, 100):
        ledger.settle(attempt, Usage(20, 10), 60, "stop")
    left = [fate for fate in fates if fate != "answered"]
    assert store.close(name, [(call.attempt, fate, "why", "") for call, fate in zip(store.pending(name), left, strict=True)])
    n_answered, n_lost = fates.count("answered"), fates.count("lost")
    assert ledger.charged("math").calls == len(fates) - fates.count("unrun")
    assert ledger.charged("math").tokens == 30 * n_answered + 100 * n_lost
    assert ledger.query("SELECT COUNT(*) FROM attempts WHERE status = 'sent'") == [(0,)]
    assert (store.pending(name), store.unread(name, 100), store.open_batches("local", "m")) == ([], [], [])
