"""Choosing as a step of its own, and selectors side by side."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curate.errors import InputError, UnknownNameError
from curate.manifest.manifest import Manifest, load
from curate.report import explain
from curate.selection import select
from curate.selection.base import Selection, partition, selectors
from curate.terminal import layouts
from curate.vectors.encoders import FakeEncoder
from tests.support.samples import ingested

FAKE = FakeEncoder()


@pytest.fixture
def sums(tmp_path: Path) -> Manifest:
    long = [{"prompt": f"What is {n} plus {n * n}?", "domain": "sums"} for n in range(40)]
    short = [{"prompt": f"Name a river of country {n}.", "domain": "rivers"} for n in range(3)]
    held = [{"prompt": "What is 1 plus 99?", "domain": "sums", "split": "test"}]
    return ingested(tmp_path, [*long, *short, *held])


def test_each_domain_gets_its_rows_and_says_why(sums: Manifest) -> None:
    encoder = FakeEncoder()
    made = select.select(sums, n=5, selector="random", encoder=encoder)
    assert (made.chosen, made.short) == ({"rivers": 3, "sums": 5}, {"rivers": 2})
    rows = made.manifest.rows()
    assert rows.filter(status="selected")["reason"].str.starts_with("random: drawn").all()
    assert rows.filter(pl.col("status") == "candidate", split="train")["reason"].str.starts_with("not chosen: random").all()
    assert rows.filter(split="test")["status"].to_list() == ["candidate"]
    assert encoder.encoded == 0, "random asks for no vector"


def test_the_same_command_again_changes_nothing(sums: Manifest) -> None:
    once = select.select(sums, n=5, encoder=FAKE)
    again = select.select(once.manifest, n=5, encoder=FAKE)
    assert (again.manifest, again.chosen["sums"], again.already["sums"]) == (once.manifest, 0, 5)


def test_a_larger_number_completes_what_was_chosen(sums: Manifest) -> None:
    once = select.select(sums, n=5, domains=["sums"], encoder=FAKE)
    more = select.select(once.manifest, n=8, domains=["sums"], encoder=FAKE)
    before = set(once.manifest.rows().filter(status="selected")["id"])
    after = set(more.manifest.rows().filter(status="selected")["id"])
    assert before < after
    assert len(after) == 8


def test_the_choice_is_told_in_the_story_of_a_row(sums: Manifest) -> None:
    made = select.select(sums, n=5, domains=["sums"], selector="random", encoder=FAKE).manifest
    rows = made.rows()
    chosen, other = (rows.filter(domain="sums", split="train", status=s)["id"][0] for s in ("selected", "candidate"))
    assert "select      chosen: random: drawn, 5 of 40" in "\n".join(explain.explain(made, chosen).lines())
    assert "it stays a candidate; not chosen: random: not drawn, 5 of 40" in "\n".join(explain.explain(made, other).lines())


def test_a_comparison_measures_every_selector_and_writes_nothing(sums: Manifest) -> None:
    made = select.select(sums, n=6, domains=["sums"], compare=True, encoder=FAKE)
    by_name = {line.selector: line for line in made.compared}
    assert set(by_name) == set(selectors.names())
    assert load(sums.name, root=sums.root).version == 0
    draws = by_name["random"]
    assert draws.spread is not None
    assert draws.spread[0] > 0
    assert all(line.spread is None for name, line in by_name.items() if name != "random")
    assert all(0 <= share <= 1 for line in by_name.values() for share in line.overlap.values())
    assert by_name["random"].overlap["representative"] == pytest.approx(by_name["representative"].overlap["random"])
    shown = [str(part) for part in layouts.render(made)]
    assert "random: mean of ten draws" in "\n".join(shown)


def first_ones(pool: pl.DataFrame, *, n: int, **_: object) -> Selection:
    """Keep the first ids."""
    kept = pl.int_range(pl.len()) < n
    return partition(pool.with_columns(kept=kept, reason=pl.lit("first"), because_of=pl.lit(None, pl.String)))


def test_a_callable_is_compared_under_its_name(sums: Manifest) -> None:
    made = select.select(sums, n=6, domains=["sums"], selector=first_ones, compare=True, encoder=FAKE)
    assert "first_ones" in {line.selector for line in made.compared}


def test_a_choice_that_covers_more_measures_better(tmp_path: Path) -> None:
    """Four groups of equal prompts: one of each group covers all, four of one group do not."""
    groups = [{"prompt": text, "domain": "all", "id": f"{g}{i}" * 16} for g, text in enumerate("abcd") for i in range(4)]
    made = ingested(tmp_path, [{**row, "prompt": row["prompt"] * 30} for row in groups])

    def spread(pool: pl.DataFrame, *, n: int, **_: object) -> Selection:
        ordered = pool.sort(pl.col("id").str.slice(1, 1), "id")
        kept = pl.int_range(pl.len()) < n
        return partition(ordered.with_columns(kept=kept, reason=pl.lit("one of each"), because_of=pl.lit(None, pl.String)))

    lines = {}
    for one in (spread, first_ones):
        found = select.select(made, n=4, selector=one, compare=True, encoder=FakeEncoder(256)).compared
        lines |= {line.selector: line for line in found}
    assert lines["spread"].coverage == pytest.approx(0, abs=1e-6)
    assert lines["first_ones"].coverage > 0.3
    assert lines["spread"].diversity > 3 > 1.5 > lines["first_ones"].diversity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "--n must be at least 1, got 0"),
        ({"n": 3, "domains": ["smus"]}, "unknown domain 'smus'; did you mean 'sums'"),
        ({"n": 3, "selector": "randon"}, "did you mean 'random'"),
        ({"n": 3, "compare": True}, "--compare is of one domain, and there are 2: name it with --domain, such as 'rivers'"),
    ],
)
def test_bad_input_is_named(sums: Manifest, options: dict[str, object], message: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        select.select(sums, encoder=FAKE, **options)


def test_an_old_version_is_refused(sums: Manifest) -> None:
    select.select(sums, n=2, encoder=FAKE)
    with pytest.raises(InputError, match="works on the newest version, tail@1, got tail@0"):
        select.select(sums, n=3, encoder=FAKE)


def test_nothing_left_to_compare_is_said(sums: Manifest) -> None:
    made = select.select(sums, n=3, domains=["rivers"], encoder=FAKE).manifest
    with pytest.raises(InputError, match="'rivers' has 3 selected rows and 0 candidates"):
        select.select(made, n=5, domains=["rivers"], compare=True, encoder=FAKE)
