"""A preview buys a few of the replies that the verb itself asks for; the verb finds them in the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.balance.annotate import annotate
from curate.balance.preview import PreviewResult
from curate.balance.synthesize import synthesize
from curate.errors import InputError
from curate.manifest import manifest as manifests
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.terminal import console
from curate.vectors.encoders import FakeEncoder
from tests.support.balancing import questions, run, teacher
from tests.support.samples import ingested

SELECTED = [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n), "status": "selected"} for n in range(100)]
ANSWERS = {row["prompt"]: row["answer"] for row in SELECTED} | {"What is 0 + 0?": "1"}


def shown(result: Any) -> PreviewResult:
    assert result.preview is not None
    return result.preview


def body(request: Request) -> str:
    return json.dumps([request.messages, request.sample])


def test_annotate_buys_n_shows_them_and_never_again(tmp_path: Path) -> None:
    start = ingested(tmp_path, SELECTED)
    first, again, whole = Fake(ANSWERS), Fake(ANSWERS), Fake(ANSWERS)
    preview = shown(annotate(start, teacher=first, preview=5))
    assert (len(first.sent), preview.spent.calls, preview.complete) == (5, 5, True)
    assert manifests.load("tail", root=tmp_path).version == start.version
    for reply in preview.replies:
        assert reply.messages[-1]["content"] == reply.read_as[0]["prompt"]
        assert reply.reply == reply.read_as[0]["rationale"]
        assert reply.trained[0] is None or reply.reply in reply.trained[0][-1]["content"]
    assert shown(annotate(start, teacher=again, preview=5)).spent.saved == 5
    assert not again.sent
    done = annotate(start, teacher=whole)
    assert (done.written, done.spent.saved) == (99, 5)
    assert not {body(r) for r in first.sent} & {body(r) for r in whole.sent}


def test_what_an_auditor_rejects_is_trained_on_nothing_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = annotate(ingested(tmp_path, SELECTED[:2]), teacher=Fake(ANSWERS), preview=2)
    wrong = next(reply for reply in shown(result).replies if "0 + 0" in str(reply.messages))
    assert wrong.trained == (None,)
    assert [finding["auditor"] for finding in wrong.findings[0]] == ["answer_mismatch"]
    console.show(result)
    text = capsys.readouterr().out
    assert "What is 1 + 1?" in text
    assert "nothing: an auditor rejects it" in text
    assert "[assistant, of the row that is trained on]" in text
    assert json.loads(json.dumps(result.to_dict()))["preview"]["calls"] == 2


def test_synthesize_shows_replies_that_cannot_be_read_too(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n), "domain": "sums"} for n in range(6)])
    asked = Fake(script=lambda request, n: RawResponse.of("I cannot."))
    options: dict[str, Any] = {"domains": ["sums"], "n": 60, "encoder": FakeEncoder()}
    preview = shown(synthesize(start, teacher=asked, preview=3, **options))
    assert [reply.reply for reply in preview.replies] == ["I cannot."] * 3
    assert [reply.trained for reply in preview.replies] == [(None,)] * 3
    assert manifests.load("tail", root=tmp_path).version == start.version


def test_balance_shows_rationales_and_new_examples_of_the_next_stage(tmp_path: Path) -> None:
    start = ingested(tmp_path, questions())
    first, whole = teacher(), teacher()
    preview = shown(run(start, budget=24, teacher=first, preview=5))
    assert sorted(reply.purpose for reply in preview.replies) == ["rationale"] * 3 + ["synthesis"] * 2
    assert manifests.load(start.name, root=tmp_path).version == start.version
    done = run(start, budget=24, teacher=whole)
    assert done.stages[0].saved == 5
    with pytest.raises(InputError, match="every stage of"):
        run(done.manifest, budget=24, teacher=whole, preview=5)


def test_a_cap_leaves_replies_out_and_that_is_no_complete_preview(tmp_path: Path) -> None:
    preview = shown(annotate(ingested(tmp_path, SELECTED), teacher=Fake(ANSWERS), preview=5, max_calls=2))
    assert sorted(reply.status for reply in preview.replies) == ["answered"] * 2 + ["capped"] * 3
    assert not preview.complete


@pytest.mark.parametrize(
    ("options", "words"), [({"preview": 0}, "at least 1"), ({"dry_run": True}, "--dry-run"), ({"mode": "batch"}, "--mode batch")]
)
def test_what_cannot_be_a_preview_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        annotate(ingested(tmp_path, SELECTED[:1]), teacher=Fake(ANSWERS), **{"preview": 1, **options})


def test_balance_needs_a_teacher_for_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--preview needs a --teacher"):
        run(ingested(tmp_path, questions()), budget=24, teacher=None, preview=5)
