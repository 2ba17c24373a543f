"""A teacher's stand-in for tests of rounds: an `Asker` without ledger or network, and stored rows without a disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import polars as pl

from curate.manifest.manifest import Manifest
from curate.teachers.base import Reply, Request, Usage
from curate.teachers.fake import Fake
from tests.support.samples import frames

Script = Callable[[Request], Reply | str | None]


class ScriptedAsker:
    """An `Asker` that answers by a function and remembers what it was asked, call by call.

    Args:
        script: request → text of the reply, or a whole `Reply`, or None for the usual one: a right rationale, or a new example.
        answers: final answer by prompt, for the usual rationale.
    """

    def __init__(self, script: Script | None = None, answers: Mapping[str, str] | None = None) -> None:
        self.teacher, self.mode = Fake(), "live"
        self.calls: list[list[Request]] = []
        self._script, self._answers = script, dict(answers or {})
        self._next_id = 1

    @property
    def requests(self) -> list[Request]:
        """Everything that was asked, in order."""
        return [request for call in self.calls for request in call]

    @property
    def n_bought(self) -> int:
        """Every reply is new."""
        return len(self.requests)

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer each request by the script; every reply has a call id of its own."""
        self.calls.append(list(requests))
        return [self._reply(request) for request in requests]

    def _usual(self, request: Request) -> str:
        if request.purpose == "rationale":
            return f"So it is. The answer is: {self._answers[request.prompt]}"
        number = 10_000 * sum(map(ord, request.domain)) + request.sample  # other numbers are other questions to every encoder
        return example(f"There are {number} and one more comes; how many?", number + 1)

    def _reply(self, request: Request) -> Reply:
        scripted = self._script(request) if self._script else None
        said = self._usual(request) if scripted is None else scripted
        if isinstance(said, Reply):
            return said
        self._next_id += 1
        return Reply(text=said, usage=Usage(10, 5), call_id=self._next_id, finish_reason="stop")


def example(prompt: str, answer: Any, said: Any = None) -> str:
    """Return the reply of a teacher that wrote a new example; its rationale ends in `said`, or in the answer."""
    rationale = f"So it is. The answer is: {answer if said is None else said}"
    return json.dumps({"prompt": prompt, "rationale": rationale, "answer": str(answer)})


def stored(examples: Iterable[Mapping[str, Any]]) -> tuple[Manifest, pl.DataFrame]:
    """Return a manifest that holds these examples in memory, and its rows; all that rounds need of one."""
    rows, contents = frames(examples)
    return cast(Manifest, _Stored(contents)), rows


class _Stored:
    name = "tail"

    def __init__(self, contents: pl.DataFrame) -> None:
        self._contents = contents.unique("content", maintain_order=True)

    def examples(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.join(self._contents, on="content", how="left", maintain_order="left")
