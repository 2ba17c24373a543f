"""Tests of curate.selection.sample: the tail is exact, drawn by seed, and nothing vanishes."""

from __future__ import annotations

import itertools

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError, UnknownNameError
from curate.manifest.manifest import Manifest, load, new
from curate.selection import sample

SIZES = {"a": 40, "b": 30, "c": 20, "d": 10}


def made(root, sizes=None, **columns) -> Manifest:
    pairs = [(domain, n) for domain, size in (sizes or SIZES).items() for n in range(size)]
    rows = pl.DataFrame({"id": [f"{domain}{n:03d}" for domain, n in pairs], "domain": [domain for domain, _ in pairs]})
    fields = {"content": "c", "split": "train", "source": "real", "status": "candidate", **columns}
    return new("m", root=root).commit(rows.with_columns(**{k: pl.lit(v) for k, v in fields.items()}), verb="ingest")


def candidates(manifest: Manifest) -> dict[str, set[str]]:
    kept = manifest.rows().filter(pl.col("status") == "candidate")
    return {domain: set(rows["id"]) for (domain,), rows in kept.group_by("domain")}


@given(st.integers(1, 30), st.integers(0, 400), st.floats(0, 20))
def test_zipf_is_exact_ordered_and_leaves_no_domain_empty(n_domains, spare, exponent):
    names = [f"d{n:02d}" for n in range(n_domains)]
    counts = sample.zipf(names, rows=n_domains + spare, exponent=exponent)
    sizes = list(counts.values())
    assert list(counts) == names
    assert sum(sizes) == n_domains + spare
    assert min(sizes) >= 1
    assert all(before >= after for before, after in itertools.pairwise(sizes))


def test_zipf_agrees_with_the_law_by_hand():
    # 1 + 1/2 + 1/3 + 1/4 = 25/12, so of 50 rows the head gets 24
    assert sample.zipf(list("abcd"), rows=50, exponent=1) == {"a": 24, "b": 12, "c": 8, "d": 6}
    assert sample.zipf(list("abcd"), rows=8, exponent=0) == dict.fromkeys("abcd", 2)


def test_rows_not_drawn_stay_with_a_reason(tmp_path):
    before = made(tmp_path)
    done = sample.sample(before, rows=50, exponent=1)
    rows = done.manifest.rows()
    assert done.counts == {"a": 24, "b": 12, "c": 8, "d": 6}
    assert {domain: len(ids) for domain, ids in candidates(done.manifest).items()} == done.counts
    assert rows["id"].to_list() == before.rows()["id"].to_list()
    assert rows.filter(pl.col("status") == "rejected")["reason"].unique().to_list() == ["sampled_out"]
    commit = done.manifest.log()[-1]
    assert (commit.verb, commit.seed, commit.summary["drawn"], commit.summary["left_out"]) == ("sample", 0, 50, 50)


def test_the_same_call_again_is_nothing_and_another_draws_from_all_rows(tmp_path):
    first = sample.sample(made(tmp_path), rows=50, exponent=1)
    assert sample.sample(first.manifest, rows=50, exponent=1).manifest.version == first.manifest.version
    wider = sample.sample(first.manifest, rows=80, exponent=1)
    assert sum(wider.counts.values()) == 80
    assert all(ids <= candidates(wider.manifest)[domain] for domain, ids in candidates(first.manifest).items())
    other = sample.sample(wider.manifest, rows=50, exponent=1, seed=1)
    assert candidates(other.manifest) != candidates(first.manifest)


def test_the_draw_does_not_depend_on_the_order_of_rows(tmp_path):
    first = sample.sample(made(tmp_path / "x"), rows=50, exponent=1).manifest
    base = made(tmp_path / "y")
    turned = base.commit(base.rows().reverse(), verb="turn")
    assert candidates(sample.sample(turned, rows=50, exponent=1).manifest) == candidates(first)


def test_named_domains_are_ranked_as_named_and_others_left_out(tmp_path):
    done = sample.sample(made(tmp_path), rows=15, exponent=1, domains=["c", "a"])
    assert done.counts == {"c": 10, "a": 5}
    assert set(candidates(done.manifest)) == {"a", "c"}


def test_held_out_and_synthetic_rows_are_left_alone(tmp_path):
    base = made(tmp_path)
    mixed = base.commit(
        base.rows().with_columns(
            split=pl.when(pl.col("id").str.ends_with("1")).then(pl.lit("test")).otherwise("split"),
            source=pl.when(pl.col("id").str.ends_with("2")).then(pl.lit("synthetic")).otherwise("source"),
        ),
        verb="mix",
    )
    done = sample.sample(mixed, rows=20, exponent=1).manifest.rows()
    others = done.filter((pl.col("split") != "train") | (pl.col("source") != "real"))
    assert others["status"].unique().to_list() == ["candidate"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rows": 90, "exponent": 1}, "domain 'd' has 10 rows and its share of --rows 90 is 11: at most about 81 rows"),
        ({"rows": 3, "exponent": 1}, "--rows 3: needs at least one row for each of the 4 domains"),
        ({"rows": 9, "exponent": -1}, "--exponent -1"),
        ({"rows": 9, "exponent": 1, "domains": ["a", "a"]}, "each one once"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path, options, reason):
    base = made(tmp_path)
    with pytest.raises(InputError, match=reason):
        sample.sample(base, **options)
    assert load("m", root=tmp_path).version == base.version


def test_unknown_domains_and_selected_rows_are_refused(tmp_path):
    base = made(tmp_path, {"algebra": 4})
    with pytest.raises(UnknownNameError, match="unknown domain 'algebre'; did you mean 'algebra'"):
        sample.sample(base, rows=2, exponent=1, domains=["algebre"])
    chosen = base.commit(base.rows().with_columns(status=pl.lit("selected")), verb="balance")
    with pytest.raises(InputError, match="sample before balance: ingest the same source --to another name"):
        sample.sample(chosen, rows=2, exponent=1)
