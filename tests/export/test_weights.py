"""Weights of rows: every domain counts as its balance wanted, and the mean is 1."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import progress
from curate.errors import InputError
from curate.export import weights
from curate.manifest.manifest import Manifest
from tests.support.balancing import questions, run
from tests.support.samples import ingested

domains = st.sampled_from(["a", "b", "c", "d"])


def of(monkeypatch: pytest.MonkeyPatch, wanted: dict[str, int], labels: list[list[str]]) -> list[float]:
    monkeypatch.setattr(weights, "wanted_slots", lambda manifest, *, without: wanted)
    rows = pl.DataFrame({"domain": [each[0] for each in labels], "domains": labels})
    return weights.row_weights(Manifest("m", 0), rows).to_list()


@given(st.dictionaries(domains, st.integers(1, 500), min_size=4), st.lists(domains, min_size=1, max_size=60))
def test_weighted_shares_are_the_wanted_ones(wanted: dict[str, int], rows: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = of(patch, wanted, [[name] for name in rows])
    assert sum(found) / len(found) == pytest.approx(1)
    there = sum(wanted[name] for name in set(rows))
    for name in set(rows):
        share = sum(w for w, domain in zip(found, rows, strict=True) if domain == name) / len(rows)
        assert share == pytest.approx(wanted[name] / there)


@given(
    st.dictionaries(domains, st.integers(1, 500), min_size=4),
    st.lists(st.lists(domains, min_size=1, max_size=3, unique=True), min_size=1, max_size=40),
)
def test_a_row_of_several_labels_is_a_part_of_a_row_in_each(wanted: dict[str, int], rows: list[list[str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = of(patch, wanted, rows)
    assert sum(found) / len(found) == pytest.approx(1)
    parts: Counter[str] = Counter()
    for labels in rows:
        for name in labels:
            parts[name] += 1 / len(labels)  # type: ignore[assignment]
    each = weights.weights(wanted, dict(parts))
    for name, n in parts.items():
        assert n * each[name] / len(rows) == pytest.approx(wanted[name] / sum(wanted[name] for name in parts))
    assert found == pytest.approx([sum(each[name] for name in labels) / len(labels) for labels in rows])


def test_the_balance_of_a_version_says_what_was_wanted(tmp_path: Path) -> None:
    start = ingested(tmp_path, questions({"head": 20, "tail": 3}))
    done = run(start, budget=12).manifest  # no teacher: 9 of head and 3 of tail
    assert weights.wanted_slots(done) == {"head": 6, "tail": 6}
    rows = done.rows().filter(status="selected").select("domain")
    found = dict(rows.with_columns(weights.row_weights(done, rows)).unique().iter_rows())
    assert found == pytest.approx({"head": 6 / 9, "tail": 2.0})
    with pytest.raises(InputError, match=r"tail@0 stands on no balance.*curate balance tail --budget N"):
        weights.row_weights(start, rows)


def test_what_no_weight_makes_good_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        assert of(monkeypatch, {"a": 3, "b": 2, "c": 0}, [["a"], ["c"]]) == [2.0, 0.0]
    assert any("have no row: 'b'" in message for message in heard)
    assert any("no row of 'c': their rows have the weight 0" in message for message in heard)
    with pytest.raises(InputError, match="wanted no row of the domains that it has"):
        of(monkeypatch, {"a": 3}, [["x"]])
