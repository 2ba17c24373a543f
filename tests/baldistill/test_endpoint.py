"""A server as the student: greedy, through the ledger, asked once, and every row answered or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baldistill.evaluation import evaluate
from curate.errors import InputError
from curate.manifest.manifest import Manifest
from tests.support import tiny_student
from tests.support.loopback import Page, completion, serving


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return tiny_student.manifest(tmp_path, [*tiny_student.sums(20), *tiny_student.sums(4, split="test")])


def answer(body: dict[str, Any], _: int) -> Page:
    a, b = body["messages"][-1]["content"].removeprefix("what is ").split(" + ")
    right = int(a) + int(b)
    return completion(f"The answer is: {right}" if right % 2 else "hm", finish_reason="stop" if right % 2 else "length")


def test_answers_are_greedy_and_asked_for_once(manifest: Manifest) -> None:
    with serving(answer) as server:
        options = {"endpoint": server.url, "model": "m", "max_new_tokens": 9, "answers": "auto"}
        found = evaluate.evaluate(manifest, **options)
        assert (found.rows, found.macro.value, found.unread, found.unended) == (4, 0.5, 2, 2)
        assert {(body["temperature"], body["model"]) for body in server.bodies} == {(0.0, "m")}
        assert all(body["messages"] == [{"role": "user", "content": body["messages"][0]["content"]}] for body in server.bodies)
        again = evaluate.evaluate(manifest, **options)
        assert len(server.seen) == 4
    assert again.predictions.equals(found.predictions)
    assert found.student == "m@local"


def test_rows_that_a_cap_leaves_are_an_error_and_the_others_are_kept(manifest: Manifest) -> None:
    with serving(answer) as server:
        options = {"endpoint": server.url, "model": "m"}
        with pytest.raises(
            InputError, match=r"^1 of 4 rows have no answer: .*; those that have are kept, run the command again$"
        ):
            evaluate.evaluate(manifest, **options, max_calls=3)
        assert evaluate.evaluate(manifest, **options, max_calls=4).rows == 4
        assert len(server.seen) == 4


@pytest.mark.parametrize(("given", "said"), [
    ({"model": None}, "--endpoint needs --model: the server's name for the student"),
    ({"adapter": "x"}, "--adapter with --endpoint: the student's weights are not here; leave it out"),
    ({"answers": "score"}, "--answers score needs log P of every label, which an endpoint does not give; use --answers generate"),
])  # fmt: skip
def test_what_needs_the_weights_is_refused(manifest: Manifest, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate.evaluate(manifest, **{"endpoint": "http://127.0.0.1:9/v1", "model": "m", **given})
    assert str(caught.value) == said
