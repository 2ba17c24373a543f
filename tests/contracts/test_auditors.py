"""The battery that every registered auditor passes."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.audit.base import AUDITED_ROWS, PROMPTS, Context, auditors
from curate.manifest import ids
from curate.vectors.encoders import FakeEncoder

every_auditor = pytest.mark.parametrize("auditor", auditors.names())
texts = st.sampled_from(
    [
        "",
        "What is 3 + 4?",
        "what is 3 + 4",
        "What is 5 + 6?",
        "Which?\n(A) one (B) two",
        "A story of gas and gold.",
        "I'm sorry, I cannot.",
    ]
)
words = st.sampled_from(["", "7", "A", "gas", "The answer is: 7", "The topic is 'gas'.", "Nothing.", "As an AI language model"])
row = st.fixed_dictionaries(
    {
        "domain": st.sampled_from(["sums", "choices", "news", "talk", "unknown"]),
        "source": st.sampled_from(["real", "synthetic"]),
        "prompt": st.none() | texts,
        "answer": st.none() | words,
        "rationale": st.none() | words,
        "finish_reason": st.sampled_from([None, "stop", "length"]),
    }
)
batches = st.lists(row, max_size=8).map(
    lambda rows: pl.DataFrame([{"id": f"row-{i}", **r} for i, r in enumerate(rows)], schema=AUDITED_ROWS)
)
fake = FakeEncoder()


def context() -> Context:
    frame = pl.DataFrame({"id": ["known"], "domain": ["sums"], "split": ["test"], "prompt": ["What is 3 + 4?"]})
    frame = frame.with_columns(prompt_key=ids.prompt_keys(frame["prompt"]))
    kinds = {"sums": "number", "choices": "choice", "news": "label", "talk": "text"}
    return Context(kinds, {"news": ("gas", "gold")}, frame, frame, pl.DataFrame(schema=PROMPTS), fake.encode)


@every_auditor
@given(batch=batches)
def test_findings_are_about_rows_of_the_batch_and_scored_0_to_1(auditor: str, batch: pl.DataFrame) -> None:
    for finding in auditors.get(auditor)(batch, context()):
        assert finding.auditor == auditor
        assert finding.id in set(batch["id"])
        assert 0 <= finding.score <= 1
        assert finding.message
        assert "\n" not in finding.message
        assert finding.because_of is None or finding.because_of in {"known", *batch["id"]}
        assert finding.because_of != finding.id


@every_auditor
def test_an_empty_batch_has_no_findings(auditor: str) -> None:
    assert list(auditors.get(auditor)(pl.DataFrame(schema=AUDITED_ROWS), context())) == []


@every_auditor
@given(batch=batches)
def test_the_same_batch_has_the_same_findings(auditor: str, batch: pl.DataFrame) -> None:
    judge = auditors.get(auditor)
    assert list(judge(batch, context())) == list(judge(batch, context()))


@every_auditor
@given(batch=batches, order=st.randoms(use_true_random=False))
def test_the_order_of_the_batch_does_not_matter(auditor: str, batch: pl.DataFrame, order: object) -> None:
    positions = list(range(batch.height))
    order.shuffle(positions)  # type: ignore[attr-defined]
    judge = auditors.get(auditor)
    first, second = set(judge(batch, context())), set(judge(batch[positions], context()))
    if auditor == "near_duplicate":  # keeps the first of two alike, so it promises the number of rows that it keeps, no more
        first, second = {f for f in first if f.because_of == "known"}, {f for f in second if f.because_of == "known"}
    assert first == second


@every_auditor
@given(batch=batches)
def test_the_batch_is_not_changed(auditor: str, batch: pl.DataFrame) -> None:
    before = batch.clone()
    list(auditors.get(auditor)(batch, context()))
    assert batch.equals(before)
