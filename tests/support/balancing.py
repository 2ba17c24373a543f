"""Small corpora for tests of stages: questions that a fake encoder tells apart, and a fake teacher that knows the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.balance.balance import balance
from curate.balance.results import BalanceResult
from curate.manifest.manifest import Manifest
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.vectors.encoders import FakeEncoder

ENCODER = FakeEncoder()
COUNTS = {"head": 30, "middle": 8, "tail": 3}


def questions(counts: Mapping[str, int] = COUNTS) -> list[dict[str, Any]]:
    """Return examples whose questions share few words, so that the fake encoder takes none for another."""
    return [
        {"prompt": f"{domain} item {i}: what is {i * 17 + 3} plus {i * 5}?", "answer": str(i * 22 + 3), "domain": domain}
        for domain, n in counts.items()
        for i in range(n)
    ]


def teacher(*, wrong: int = 0, **options: Any) -> Fake:
    """Return a fake teacher that knows the answers; the first `wrong` samples of a rationale end in another number."""

    def mislead(request: Request, _: int) -> RawResponse | None:
        bad = request.purpose == "rationale" and request.sample < wrong
        return RawResponse.of("Some reasoning.\nThe answer is: 999999") if bad else None

    return Fake({row["prompt"]: row["answer"] for row in questions()}, **{"script": mislead, **options})


def run(manifest: Manifest, **parameters: Any) -> BalanceResult:
    """Balance uniformly, with the fake encoder."""
    return balance(manifest, **{"encoder": ENCODER, "policy": "uniform", **parameters})
