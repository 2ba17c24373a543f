"""What `curate ledger` says: sums that add up on every side, and single calls with their replies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from curate.calls.client import MeteredTeacher
from curate.calls.throttle import Backoff
from curate.errors import InputError
from curate.files import ledger_path
from curate.ledger.batches import BatchStore
from curate.ledger.leases import this_process
from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec, Caps, CostBound, CostTotals
from curate.manifest import manifest
from curate.report import costs
from curate.report.costs import CostSummary, read_call, read_receipts
from curate.teachers import prices
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.fake import Fake
from curate.teachers.prices import Price
from curate.terminal import layouts
from tests.support.samples import ingested

ME = this_process()


def spec(n: int = 0, **changes: object) -> CallSpec:
    values = {"endpoint": "local", "model": "m", "purpose": "rationale", "domain": "algebra", "sample": 0, "request": "{}"}
    return CallSpec(key=f"{n:032x}", **{**values, **changes})  # type: ignore[arg-type]


def bound(nano_usd: int | None = 50, *, stage: int = 0, refill: bool = False) -> CostBound:
    return CostBound("math", "balance", stage, 100, nano_usd, refill)


def buy(ledger: Ledger, n: int = 0, **changes: object) -> None:
    reservation = ledger.reserve(spec(n, **changes), bound(), Caps(), ME)
    ledger.record(reservation.attempt, "raw")
    ledger.settle(reservation.attempt, Usage(10, 5), 7, "stop")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "manifests" / "ledger.sqlite")
    yield opened
    opened.close()


def test_the_summary_adds_up_on_every_side(ledger: Ledger) -> None:
    root = ledger.path.parents[1]
    assert costs.read_costs("math", root=root).to_dict()["calls"] == 0
    buy(ledger, 0)
    buy(ledger, 1)
    ledger.lose(ledger.reserve(spec(2, domain="tail"), bound(stage=1), Caps(), ME).attempt, "reset")
    ledger.fail(ledger.reserve(spec(2), bound(stage=1), Caps(), ME).attempt, "500")
    ledger.reserve(spec(3, purpose="synthesis"), bound(nano_usd=None), Caps(), ME)
    stored = ledger.find([spec(0).key])[spec(0).key]
    ledger.hit([stored.call_id, stored.call_id], "math", "balance", -1)
    found = costs.read_costs("math", root=root)
    promised = found.to_dict()
    assert {
        k: promised[k] for k in ("calls", "attempts", "answered", "failed", "lost", "tokens", "saved_calls", "saved_tokens")
    } == {
        "calls": 5,
        "attempts": 5,
        "answered": 2,
        "failed": 1,
        "lost": 1,
        "tokens": 15 + 15 + 100 + 0 + 100,
        "saved_calls": 1,
        "saved_tokens": 15,
    }
    assert promised["usd"] == pytest.approx((7 + 7 + 50) * 1e-9)
    assert promised["saved"] == pytest.approx(7e-9)
    assert (found.under_way, found.prompt_tokens, found.completion_tokens) == (1, 20, 10)
    for side in ("stage", "domain", "model", "verb", "purpose", "cause"):
        assert sum(figures.attempts for figures in found.by[side].values()) == 5
        assert sum(figures.tokens for figures in found.by[side].values()) == found.tokens
    assert found.by["cause"]["retry"].attempts == 1
    assert found.by["purpose"]["synthesis"].usd is None
    assert found.by["domain"]["tail"].lost == 1


def test_an_attempt_is_new_a_retry_or_a_refill(ledger: Ledger) -> None:
    ledger.fail(ledger.reserve(spec(0), bound(), Caps(), ME).attempt, "500")
    ledger.reserve(spec(0), bound(refill=True), Caps(), ME)
    ledger.reserve(spec(1), bound(refill=True), Caps(), ME)
    causes = costs.read_costs("math", root=ledger.path.parents[1]).by["cause"]
    assert {cause: figures.attempts for cause, figures in causes.items()} == {"new": 1, "retry": 1, "refill": 1}


def test_a_root_without_a_ledger_is_left_without_one(tmp_path: Path) -> None:
    assert costs.read_costs("math", root=tmp_path).calls == 0
    assert list(tmp_path.iterdir()) == []


def test_a_summary_keeps_its_promise_to_scripts() -> None:
    found = CostSummary(calls=1, usd=0.25, by={"stage": {"0": CostTotals(calls=1)}}).to_dict()
    assert {"calls", "attempts", "answered", "failed", "lost", "tokens", "usd", "saved"} <= set(found)
    assert json.loads(json.dumps(found)) == found
    assert found["by"]["stage"]["0"]["calls"] == 1


def test_money_that_is_lost_or_under_way_is_not_billed(ledger: Ledger) -> None:
    buy(ledger, 0)
    ledger.lose(ledger.reserve(spec(1), bound(), Caps(), ME).attempt, "reset")
    ledger.reserve(spec(2), bound(), Caps(), ME)
    found = costs.read_costs("math", root=ledger.path.parents[1])
    assert (found.lost_tokens, found.under_way_tokens, found.tokens) == (100, 100, 215)
    assert (found.billed_usd, found.lost_usd, found.under_way_usd) == tuple(pytest.approx(n * 1e-9) for n in (7, 50, 50))
    assert found.finish_reasons == {"stop": 1}


def test_what_was_saved_is_told_on_every_side_also_where_nothing_was_bought(ledger: Ledger) -> None:
    buy(ledger, 0, domain="head")
    call = ledger.find([spec(0).key])[spec(0).key].call_id
    ledger.hit([call, call], "chats", "balance", 3)
    found = costs.read_costs("chats", root=ledger.path.parents[1])
    assert (found.attempts, found.saved_calls, found.by["cause"]) == (0, 1, {})
    assert {side: {name: f.saved_calls for name, f in parts.items()} for side, parts in found.by.items() if parts} == {
        "stage": {"3": 1},
        "domain": {"head": 1},
        "model": {"m": 1},
        "verb": {"balance": 1},
        "purpose": {"rationale": 1},
    }


def test_models_with_a_list_price_are_named(ledger: Ledger) -> None:
    buy(ledger, 0, model="gpt-4o-mini", endpoint="https://api.openai.com/v1")
    buy(ledger, 1, model="mine")
    root = ledger.path.parents[1]
    assert costs.read_costs("math", root=root).listed == {"gpt-4o-mini": prices.AS_OF}
    (root / "prices.toml").write_text('["gpt-4o-mini"]\ninput = 9\noutput = 10\n')
    assert costs.read_costs("math", root=root).listed == {}


def test_what_a_process_that_is_no_more_had_under_way_is_told_as_lost(ledger: Ledger) -> None:
    gone = json.dumps(["elsewhere", 1, ""])  # of another machine, so that its lease alone says whether it is at work
    ledger.reserve(spec(0), bound(), Caps(), gone)
    ledger.reserve(spec(1), bound(), Caps(), ME)
    with ledger.transaction() as db:
        db.execute("UPDATE attempts SET lease = 1 WHERE owner = ?", (gone,))
    found = costs.read_costs("math", root=ledger.path.parents[1])
    assert (found.under_way, found.lost, found.lost_tokens) == (1, 1, 100)


def test_batches_at_the_provider_are_named(ledger: Ledger) -> None:
    store = BatchStore(ledger)
    (name,) = store.plan([[(spec(0), bound()), (spec(1), bound())]], Caps()).batches
    root = ledger.path.parents[1]
    (batch,) = costs.read_costs("math", root=root).batches
    assert (batch.provider, batch.model, batch.calls) == (None, "m", 2)
    assert store.claim(name)
    store.update(name, status="submitted", provider="batch_7")
    found = costs.read_costs("math", root=root)
    assert [batch.provider for batch in found.batches] == ["batch_7"]
    assert found.to_dict()["batches"][0]["calls"] == 2
    assert (found.under_way, found.lost) == (2, 0)
    store.close(name, [(attempt, "unrun", "why", "") for (attempt,) in ledger.query("SELECT id FROM attempts")])
    assert costs.read_costs("math", root=root).batches == []


def asked(n: int) -> Request:
    return Request("rationale", [{"role": "user", "content": f"question {n}"}], domain="sums", prompt=f"question {n}")


@pytest.fixture
def bought(tmp_path: Path) -> manifest.Manifest:
    handle = ingested(tmp_path, [{"prompt": "2 + 2?"}])

    def script(request: Request, _: int) -> RawResponse | None:
        if request.prompt == "question 1":
            return RawResponse("failed", error="400 too long")
        return RawResponse.of("Add.\nFour.", usage=Usage(100, 50), finish_reason="length")

    metered = MeteredTeacher(
        Fake(script=script, price=Price(1, 2)), Ledger(ledger_path(handle.root)), handle.name, verb="balance", stage=0
    )
    metered.ask([asked(0), asked(1)])
    return handle


def test_every_sending_has_its_receipt(bought: manifest.Manifest) -> None:
    first, second = sorted(read_receipts(bought).receipts, key=lambda receipt: receipt.status)
    assert (first.status, first.reply, first.tokens, first.usd) == ("answered", "Add.\nFour.", 150, pytest.approx(200e-6))
    assert (first.finish_reason, first.stage, first.verb, first.cause, first.domain) == ("length", 0, "balance", "new", "sums")
    assert (second.status, second.error, second.reply, second.tokens) == ("failed", "400 too long", None, 0)
    assert read_receipts("another", root=bought.root).receipts == ()


def test_a_call_has_its_prompt_and_its_reply(bought: manifest.Manifest) -> None:
    receipt = next(r for r in read_receipts(bought).receipts if r.status == "answered")
    call = read_call(bought, receipt.call_id)
    assert call.request["messages"] == [{"role": "user", "content": "question 0"}]
    assert call.receipts == (receipt,)
    found = json.loads(json.dumps(call.to_dict()))
    assert found["raw"]["choices"][0]["message"]["content"] == "Add.\nFour."


def test_an_unknown_call_names_the_next_step(bought: manifest.Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no call 5: curate ledger tail@0 --calls lists them"):
        read_call(bought, 5)
    with pytest.raises(InputError, match="no call 5"):
        read_call("math", 5, root=tmp_path / "empty")


def test_without_a_ledger_there_are_no_receipts_and_none_is_made(tmp_path: Path) -> None:
    assert read_receipts("math", root=tmp_path).receipts == ()
    assert list(tmp_path.iterdir()) == []


FATES = {
    "good": RawResponse.of("x", usage=Usage(20, 30)),
    "silent": RawResponse("answered", raw='{"choices": [{"message": {}}]}'),
}
FATES |= {fate: RawResponse(fate, error=fate) for fate in ("failed", "lost")}  # type: ignore[arg-type]


def test_a_price_that_is_not_known_is_nowhere_a_price_of_nothing(ledger: Ledger) -> None:
    """From the reservation to the screen: 0 would say that a model without a known price is free."""
    teacher = Fake(script=lambda request, n: FATES[request.prompt] if n == 0 else None, price=None)
    metered = MeteredTeacher(teacher, ledger, "math", verb="balance", backoff=Backoff(0.0, 0.0, 2))
    asked = [Request("rationale", [{"role": "user", "content": fate}], domain="sums", prompt=fate) for fate in FATES]
    metered.ask(asked)
    MeteredTeacher(teacher, ledger, "math", verb="annotate").ask(asked[:1])
    ledger.reserve(metered.account.call_spec(asked[2]), metered.account.bound(asked[2]), Caps(), ME)  # and one is in flight
    assert set(ledger.query("SELECT status, billed FROM attempts")) == {("answered", 1), ("failed", 1), ("lost", 0), ("sent", 0)}
    assert set(ledger.query("SELECT nano_usd, reserved_nano_usd FROM attempts")) == {(None, None)}
    assert (metered.account.charged().usd, metered.account.progress_facts()["usd"]) == (None, None)

    root = ledger.path.parents[1]
    found = costs.read_costs("math", root=root)
    assert found.calls > found.answered > 0
    assert (found.usd, found.billed_usd, found.lost_usd, found.under_way_usd, found.saved) == (None,) * 5
    assert (found.saved_calls, found.listed) == (1, {})
    assert {(part.usd, part.saved) for parts in found.by.values() for part in parts.values()} == {(None, None)}
    receipts = read_receipts("math", root=root)
    assert {receipt.usd for receipt in receipts.receipts} == {None}

    assert "no price known" in shown(found)
    for result in (found, receipts, read_call("math", receipts.receipts[0].call_id, root=root)):
        assert "$" not in shown(result)


def shown(result: Any) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        for piece in layouts.render(result):
            console.print(piece, markup=False, highlight=False)
    return capture.get()


def test_an_imported_reply_whose_price_was_not_known_saves_an_unknown_amount(ledger: Ledger) -> None:
    ledger.adopt(spec(0), "raw", Usage(10, 5), None, "stop")
    ledger.hit([ledger.find([spec(0).key])[spec(0).key].call_id], "math", "balance", 0)
    found = costs.read_costs("math", root=ledger.path.parents[1])
    assert (found.saved_calls, found.saved_tokens, found.saved, found.usd) == (1, 15, None, None)
