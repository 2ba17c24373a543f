import json
from pathlib import Path

import pytest

from curate.calls.client import MeteredTeacher
from curate.errors import InputError
from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.manifest import manifest
from curate.report.costs import read_call, read_receipts
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.fake import Fake
from curate.teachers.prices import Price
from tests.support.samples import ingested


def asked(n: int) -> Request:
    return Request("rationale", [{"role": "user", "content": f"question {n}"}], domain="sums", prompt=f"question {n}")


@pytest.fixture
def bought(tmp_path: Path) -> manifest.Manifest:
    handle = ingested(tmp_path, [{"prompt": "2 + 2?"}])

    def script(request: Request, _: int) -> RawResponse | None:
        if request.prompt == "question 1":
            return RawResponse("failed", error="400 too long")
        return RawResponse.of("Add.\nFour.", usage=Usage(100, 50), finish_reason="length")

    account = MeteredTeacher(
        Fake(script=script, price=Price(1, 2)), Ledger(ledger_path(handle.root)), handle.name, verb="balance", stage=0
    )
    account.ask([asked(0), asked(1)])
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
    told = json.loads(json.dumps(call.to_dict()))
    assert told["raw"]["choices"][0]["message"]["content"] == "Add.\nFour."


def test_an_unknown_call_names_the_next_step(bought: manifest.Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no call 5: curate ledger tail@0 --calls lists them"):
        read_call(bought, 5)
    with pytest.raises(InputError, match="no call 5"):
        read_call("math", 5, root=tmp_path / "empty")


def test_a_root_without_a_ledger_is_left_without_one(tmp_path: Path) -> None:
    assert read_receipts("math", root=tmp_path).receipts == ()
    assert list(tmp_path.iterdir()) == []
