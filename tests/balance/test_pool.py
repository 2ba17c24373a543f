"""The pools of a stage: what is left to try in each domain, and in which order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.balance.pool import Pool, open_pools
from curate.manifest.rows import write_findings
from curate.selection.base import POOL, Quotas
from tests.support.samples import frames

WRONG = write_findings([{"auditor": "answer_mismatch", "attempt": 0}])
TWICE = write_findings([{"auditor": "answer_mismatch", "attempt": 0}, {"auditor": "answer_mismatch", "attempt": 1}])


def quotas(**planned: int) -> Quotas:
    return Quotas(wanted=planned, planned=planned, budget=sum(planned.values()))


def rows(*examples: dict[str, Any], domain: str = "sums") -> pl.DataFrame:
    return frames({"domain": domain, "prompt": f"{domain} {n}?", **example} for n, example in enumerate(examples))[0]


def pool(*examples: dict[str, Any]) -> Pool:
    return open_pools(rows(*examples), quotas(sums=1))[0]["sums"]


def test_domains_stand_in_the_order_of_their_names_with_their_planned_slots() -> None:
    pools, _ = open_pools(rows({"domain": "b"}, {"domain": "c"}, {"domain": "a"}), quotas(c=1, a=2, b=3))
    assert [(name, own.name, own.target, own.open_slots) for name, own in pools.items()] == [
        ("a", "a", 2, 2),
        ("b", "b", 3, 3),
        ("c", "c", 1, 1),
    ]


def test_a_domain_without_rows_has_an_empty_pool() -> None:
    pools, attempts = open_pools(rows({"domain": "a"}), quotas(a=1, none=2))
    empty = pools["none"]
    assert (empty.untried.height, empty.taken.height, empty.waiting, empty.retry, empty.next_index) == (0, 0, [], [], 0)
    assert empty.untried.schema == empty.taken.schema == POOL
    assert attempts == Counter()


def test_real_candidates_are_untried_and_selected_rows_are_taken() -> None:
    found = pool({"id": "a"}, {"id": "b", "status": "selected"}, {"id": "c", "status": "rejected"}, {"id": "d", "split": "test"})
    assert found.untried["id"].to_list() == ["a"]
    assert found.taken["id"].to_list() == ["b"]
    assert found.untried.schema == POOL


def test_a_selected_synthetic_row_is_taken_too_and_does_not_wait() -> None:
    found = pool(
        {"id": "a", "source": "synthetic", "status": "selected"}, {"id": "b", "source": "synthetic", "status": "rejected"}
    )
    assert (found.taken["id"].to_list(), found.waiting) == (["a"], [])


@given(st.permutations("abcdefgh"))
def test_the_order_of_the_rows_does_not_matter(order: list[str]) -> None:
    """Untried rows and rows to retry are sorted by id, so that the same rows in another order make the same requests."""
    found = pool(*({"id": name, "findings": WRONG if name in "bdfh" else None} for name in order))
    assert found.untried["id"].to_list() == ["a", "c", "e", "g"]
    assert found.retry == ["b", "d", "f", "h"]


@given(st.permutations(["file.jsonl:1", "file.jsonl:2", "teacher:m#0", "teacher:m#1"]))
def test_synthetic_candidates_wait_in_the_order_of_their_origin(origins: list[str]) -> None:
    ids = dict(zip(sorted(origins), "dbca", strict=True))
    found = pool(*({"id": ids[origin], "origin": origin, "source": "synthetic"} for origin in origins))
    assert found.waiting == ["d", "b", "c", "a"]


def test_a_row_with_rejected_attempts_is_retried_and_its_replies_are_counted() -> None:
    examples = [{"id": "a", "findings": TWICE}, {"id": "b", "findings": WRONG}, {"id": "c"}]
    pools, attempts = open_pools(rows(*examples), quotas(sums=1))
    assert (pools["sums"].retry, pools["sums"].untried["id"].to_list()) == (["a", "b"], ["c"])
    assert attempts == {"a": 2, "b": 1}


def test_findings_without_an_attempt_leave_a_row_untried() -> None:
    noted = write_findings([{"auditor": "leakage", "attempt": None}])
    assert pool({"id": "a", "findings": noted}).untried["id"].to_list() == ["a"]


def test_new_examples_go_on_after_the_last_that_was_asked_for_even_if_it_was_rejected() -> None:
    found = pool(
        {"origin": "teacher:m#3", "source": "synthetic"},
        {"origin": "teacher:m#7", "source": "synthetic", "status": "rejected"},
        {"origin": "teacher:m#5", "source": "synthetic", "status": "selected"},
    )
    assert found.next_index == 8


@pytest.mark.parametrize(("target", "accepted", "open_slots"), [(3, 1, 2), (3, 3, 0), (2, 3, 0)])
def test_open_slots_are_never_below_none(target: int, accepted: int, open_slots: int) -> None:
    assert Pool("sums", target, accepted=accepted).open_slots == open_slots


def test_what_is_left_counts_untried_waiting_and_retried_rows() -> None:
    untried = pl.DataFrame({"id": ["a", "b", "k"]})
    assert Pool("sums", 1, untried=untried, waiting=list("cdefg"), retry=list("hi")).n_left == 10
