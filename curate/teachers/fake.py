"""A deterministic, scriptable teacher for tests and for trying things out. Sends nothing.

As it is, it writes rationales that end in the answers that it is given, and new examples that differ from one another; a script
makes it refuse, hang, fail or say anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from curate.teachers.base import RawResponse, Request, Teacher, Usage, canonical_json, default_shape
from curate.teachers.prices import FREE, Price
from curate.teachers.registry import teachers

__all__ = ["Fake"]


class Fake:
    """A teacher that makes its answers up.

    Args:
        answers: right final answer by prompt; a prompt without one is answered with ``unknown``.
        wrong: of the samples of each prompt, how many at the start are wrong.
        script: ``(request, n) -> RawResponse or None`` for the n-th sending of a request, from 0; None for the usual response.
        new_examples: how many new examples a domain has; None for no bound.
        delay: seconds before each response.
        concurrency: requests at once.
        price: of its tokens.
        model: its name; part of the ledger's key.

    Example:
        >>> teacher = Fake({"What is 2 + 2?": "4"})
        >>> teacher.capacity("sums") is None
        True
    """

    def __init__(
        self,
        answers: Mapping[str, str] | None = None,
        *,
        wrong: int = 0,
        script: Callable[[Request, int], RawResponse | None] | None = None,
        new_examples: int | None = None,
        delay: float = 0.0,
        concurrency: int = 8,
        price: Price | None = FREE,
        model: str = "fake",
    ) -> None:
        self.endpoint, self.model, self.concurrency, self.price = "fake", model, concurrency, price
        self.sent: list[Request] = []  # everything that was sent, in order
        self._answers, self._wrong, self._script = dict(answers or {}), wrong, script
        self._new_examples, self._delay = new_examples, delay
        self._times: dict[str, int] = {}

    async def submit(self, requests: Sequence[Request]) -> AsyncIterator[tuple[int, RawResponse]]:
        """Yield a response to each request, after the delay."""
        for position, request in enumerate(requests):
            key = canonical_json(self.shape(request))
            n = self._times.get(key, 0)
            self._times[key] = n + 1
            self.sent.append(request)
            if self._delay:
                await asyncio.sleep(self._delay)
            scripted = self._script(request, n) if self._script else None
            yield position, scripted or self._usual(request)

    def capacity(self, domain: str) -> int | None:
        """Return how many new examples it has."""
        return self._new_examples

    def shape(self, request: Request) -> Mapping[str, Any]:
        """Return what shapes its replies: all that shapes a real teacher's, and the question and domain."""
        return {**default_shape(request), "prompt": request.prompt, "domain": request.domain, "label": request.label}

    async def close(self) -> None:
        """Do nothing; there are no connections."""

    def _usual(self, request: Request) -> RawResponse:
        if request.purpose == "synthesis":
            if self._new_examples is not None and request.sample >= self._new_examples:
                return RawResponse("unanswered")
            text = json.dumps(_new_examples(request), ensure_ascii=False)
        else:
            right = self._answers.get(request.prompt, "unknown")
            answer = f"not {right}" if request.sample < self._wrong else right
            text = f"This is reasoning number {request.sample}.\nThe answer is: {answer}"
        asked = sum(len(turn["content"]) for turn in request.messages)
        return RawResponse.of(text, usage=Usage(prompt=asked // 4 + 1, completion=len(text) // 4 + 1))


@teachers.register("fake")
def _fake(location: str, *, concurrency: int, **_: Any) -> Teacher:
    return Fake(concurrency=concurrency)


def _new_examples(request: Request) -> dict[str, Any]:
    """Return one example, or the list of those that were asked for."""
    if not request.wanted:
        return _new_example(request, request.sample, request.label)
    return {"examples": [_new_example(request, request.sample + n, label) for n, label in enumerate(request.wanted)]}


def _new_example(request: Request, sample: int, label: str | None) -> dict[str, str]:
    """Return an example whose question is a sum that no other sample asks for."""
    first, second = 100 + sample, 7 * sample + 3
    answer = label if label is not None else str(first + second)
    question = f"In {request.domain}, shelf {first} holds {first} books and {second} more come. How many are there?"
    rationale = f"{first} and {second} make {first + second}.\nThe answer is: {answer}"
    return {"prompt": question, "rationale": rationale, "answer": answer}
