import json

from curate.orders import Figures, Summary


def test_a_summary_keeps_its_promise_to_scripts() -> None:
    told = Summary(calls=1, usd=0.25, by={"stage": {"0": Figures(calls=1)}}).to_dict()
    assert {"calls", "attempts", "answered", "failed", "lost", "tokens", "usd", "saved"} <= set(told)
    assert json.loads(json.dumps(told)) == told
    assert told["by"]["stage"]["0"]["calls"] == 1
