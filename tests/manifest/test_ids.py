"""Tests of curate.manifest.ids: hashes are pinned, distinct where rows differ, and equal where the rules say so."""

from __future__ import annotations

import unicodedata

import polars as pl
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from curate.manifest import ids as identity

FIELDS = ("prompt", "answer", "rationale", "messages", "extra")
fields = st.tuples(*(st.none() | st.text(max_size=4) for _ in FIELDS))


def contents(*rows: tuple[str | None, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict.fromkeys(FIELDS, pl.String), orient="row")


def identities(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["content", "domain", "split"], orient="row")


def test_hashes_are_pinned():
    # These values are in every manifest that was ever written: a change here is a change of format.
    key = identity.content_keys(contents(("What is 2+3?", "5", None, None, '{"level":1}')))
    assert key.to_list() == ["041b2f661960593ce143d441bc111801"]
    assert identity.row_ids(identities(("c", "d", "train"), ("c", "d", "train"))).to_list() == [
        "ec17035ccf80fb2b75b77608c28f617f",
        "af44a310fc97b6a152a1b1692dc72c75",
    ]
    assert identity.prompt_keys(["What is  2+3?\n"]).to_list() == [8882667941588784281]


@given(st.lists(fields, min_size=1, max_size=8))
def test_content_keys_are_equal_exactly_where_rows_are(rows):
    keys = identity.content_keys(contents(*rows)).to_list()
    assert len(set(keys)) == len(set(rows))
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


@given(st.lists(fields, max_size=6), st.integers(-5, 2**64))
def test_every_hash_is_that_of_the_c_library(rows, seed):
    def framed(row: tuple[str | None, ...]) -> bytes:
        return "".join("-:" if value is None else f"{len(value.encode())}:{value}" for value in row).encode()

    frame = contents(*rows)
    assert identity.content_keys(frame).to_list() == [xxhash.xxh3_128_hexdigest(framed(row)) for row in rows]
    texts = frame["prompt"].fill_null("").unique()
    keys = [xxhash.xxh3_64_intdigest(text.encode()) for text in identity.normalise(texts)]
    assert identity.prompt_keys(texts).to_list() == [key - (key >> 63 << 64) for key in keys]
    assert identity.draws(texts, seed).to_list() == [xxhash.xxh3_64_intdigest(f"{seed}:{text}".encode()) for text in texts]
    of_source = xxhash.xxh3_64_intdigest(b"source")
    expected = [xxhash.xxh3_128_hexdigest(text.encode(), seed=of_source) for text in texts]
    assert identity.record_ids(texts, "source").to_list() == expected


def test_rows_beyond_one_slice_are_hashed_as_those_before_it(monkeypatch):
    frame = contents(*((f"q{n}", "a", None, None, None) for n in range(7)))
    whole = identity.content_keys(frame), identity.prompt_keys(frame["prompt"])
    monkeypatch.setattr(identity, "_ROWS", 3)
    assert identity.content_keys(frame).to_list() == whole[0].to_list()
    assert identity.prompt_keys(frame["prompt"]).to_list() == whole[1].to_list()


def test_an_absent_column_counts_as_null_and_null_is_not_empty():
    whole = contents(("q", "a", None, None, None), ("q", "a", "", None, None))
    keys = identity.content_keys(whole)
    assert keys[0] != keys[1]
    assert identity.content_keys(whole.select("prompt", "answer"))[0] == keys[0]


@given(st.lists(st.tuples(*[st.sampled_from("ab")] * 3), max_size=12), st.randoms())
def test_equal_rows_get_distinct_ids_and_order_does_not_change_the_set(rows, random):
    ids = identity.row_ids(identities(*rows)).to_list()
    shuffled = random.sample(rows, len(rows))
    assert len(set(ids)) == len(rows)
    assert set(identity.row_ids(identities(*shuffled)).to_list()) == set(ids)


@given(st.lists(st.text(max_size=30), max_size=6))
def test_normalise_is_idempotent_and_agrees_with_one_row_at_a_time(prompts):
    once = identity.normalise(prompts)
    assert identity.normalise(once).to_list() == once.to_list()
    naive = [" ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFD", p).casefold()).split()) for p in prompts]
    assert once.to_list() == naive


def test_prompts_that_differ_in_case_space_or_unicode_form_share_a_key():
    keys = identity.prompt_keys(["Caf\u00e9  noir?", " cafe\u0301 NOIR?\n", "STRASSE", "straße", "cafe noir?"])
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[4]
    assert keys.dtype == pl.Int64


def test_draws_go_by_key_and_seed_and_not_by_order():
    keys = pl.Series(["a", "b", "c"])
    assert identity.draws(keys.reverse(), 0).to_list() == identity.draws(keys, 0).to_list()[::-1]
    assert identity.draws(keys, 0).to_list() != identity.draws(keys, 1).to_list()


def test_null_and_nothing():
    assert identity.content_keys(contents(*[(None,) * 5] * 3)).n_unique() == 1
    assert len(identity.content_keys(contents(*[(None,) * 5] * 3))) == 3
    assert identity.normalise([None, ""]).to_list() == ["", ""]
    assert identity.prompt_keys([]).to_list() == []
    assert identity.row_ids(identities()).to_list() == []
