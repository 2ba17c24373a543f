"""A snapshot is the selected train rows and the held-out rows, split by split, read frame by frame in the manifest's order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError, ManifestError
from curate.export import base
from curate.export.base import COLUMNS, read_snapshot
from curate.manifest import ids
from curate.manifest import manifest as manifests
from curate.manifest.manifest import Manifest
from curate.manifest.rows import in_snapshot
from curate.manifest.schema import SPLITS, conform


def test_nothing_selected_names_the_next_step(candidates: Manifest) -> None:
    with pytest.raises(InputError, match=r"m@0 has no selected rows.*curate balance m --budget N"):
        read_snapshot(candidates)


def test_a_snapshot_is_the_selected_rows_and_the_held_out_splits(selected: Manifest) -> None:
    found = read_snapshot(selected)
    assert found.rows == {"train": 2, "validation": 1, "test": 1}
    assert {split: frame["prompt"].to_list() for split, frame in found.splits.items()} == {
        "train": ["2+3?", "Größe?\n\\frac"],
        "validation": ["seen later?"],
        "test": ["held back?"],
    }


def made(root: Path, texts: Sequence[int], order: Sequence[int], splits: Sequence[str]) -> Manifest:
    """Return a manifest of rows with these texts (by number), which were written in another order."""
    numbers = sorted(set(texts), key=lambda n: order[n])
    contents = pl.DataFrame({"prompt": [f"{n}" * (1 + n % 3) for n in numbers], "answer": [f"{n}" for n in numbers]})
    contents = contents.with_columns(ids.content_keys(contents), rationale=pl.lit(None, dtype=pl.String))
    keys = dict(zip(numbers, contents["content"], strict=True))
    rows = pl.DataFrame({"content": [keys[n] for n in texts], "split": splits, "domain": "d", "source": "real"})
    rows = rows.with_columns(ids.row_ids(rows), status=pl.lit("selected"), n_chars=pl.lit(2), stage=pl.int_range(pl.len()))
    manifest = manifests.new("m", root=root)
    manifest.append(contents)
    return manifest.commit(rows, verb="balance")


@given(st.data())
def test_rows_come_in_the_order_of_the_manifest_whatever_the_order_of_their_texts(tmp_path_factory, data) -> None:
    texts = data.draw(st.lists(st.integers(0, 19), min_size=1, max_size=30))
    order = data.draw(st.permutations(range(20)))
    splits = data.draw(st.lists(st.sampled_from(SPLITS), min_size=len(texts) - 1, max_size=len(texts) - 1))
    small = {"_FRAME_ROWS": 4, "_FIRST_ROWS": 2, "_REGION": 3, "_FRAME_BYTES": data.draw(st.sampled_from([1, 100, 1 << 20]))}
    manifest = made(tmp_path_factory.mktemp("m"), texts, order, ["train", *splits])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(base, name, value)
        found = read_snapshot(manifest)
        frames = {split: [*found.frames(split)] for split in found.rows}
        some = {split: pl.concat(found.frames(split, columns=("answer", "id"))) for split in found.rows}
        stages = {split: pl.concat(found.frames(split, columns=("stage",))) for split in found.rows}
    whole = manifest.examples(manifest.rows().filter(in_snapshot())).select(COLUMNS)
    for split in found.rows:
        assert all(frame.height <= 4 and frame.schema == found.schema for frame in frames[split])
        wanted = whole.filter(split=split)
        assert pl.concat(frames[split]).equals(wanted)
        assert some[split].equals(wanted.select("answer", "id"))
        assert stages[split].equals(wanted.select("stage"))
        assert found.without_rationale[split] == found.rows[split] == wanted.height


@given(st.data())
def test_rows_that_are_left_out_take_their_weights_along(tmp_path_factory, data) -> None:
    texts = data.draw(st.lists(st.integers(0, 19), min_size=2, max_size=20))
    manifest = made(tmp_path_factory.mktemp("m"), texts, data.draw(st.permutations(range(20))), ["train"] * len(texts))
    gone = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=len(texts) - 1, unique=True))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_FRAME_ROWS": 4, "_FIRST_ROWS": 2, "_REGION": 3}.items():
            patch.setattr(base, name, value)
        weighted = read_snapshot(manifest).weighted(pl.Series(range(len(texts)), dtype=pl.Float64))
        whole, found = weighted.collect("train"), weighted.without("train", gone)
        part = found.collect("train")
    assert whole[base.WEIGHT].to_list() == [*range(len(texts))]
    assert part.equals(whole[[n for n in range(len(texts)) if n not in gone]])
    assert (found.rows["train"], part.schema) == (part.height, found.schema)


def test_texts_in_any_order_are_read_in_few_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 200
    order = [(7919 * k) % n for k in range(n)]
    manifest = made(tmp_path, range(n), order, ["train"] * n)
    for name, value in {"_FRAME_ROWS": 8, "_FIRST_ROWS": 8, "_REGION": 64}.items():
        monkeypatch.setattr(base, name, value)
    read = []
    take = base._take

    def counted(table, places, *, window=8):
        read.append(1 + int((np.diff(places) > window).sum()))
        return take(table, places, window=window)

    monkeypatch.setattr(base, "_take", counted)
    found = pl.concat(read_snapshot(manifest).frames("train", columns=("answer",)))
    assert found["answer"].to_list() == [str(k) for k in range(n)]
    assert sum(read) < n / 2, "and not each by itself"


def test_frames_of_long_texts_have_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pl.DataFrame({"prompt": ["p"] * 40, "extra": [f'{{"n":{n},"pad":"{"x" * 5000}"}}' for n in range(40)]})
    contents = rows.with_columns(ids.content_keys(rows))
    narrow = conform(contents.select("content", split=pl.lit("train"), status=pl.lit("selected")), base.SCHEMA)
    manifest = manifests.new("m", root=tmp_path)
    manifest.append(contents)
    monkeypatch.setattr(base, "_FRAME_BYTES", 20_000)
    monkeypatch.setattr(base, "_FIRST_ROWS", 2)
    found = [frame.height for frame in read_snapshot(manifest.commit(narrow, verb="x")).frames("train")]
    assert sum(found) == 40
    assert found[:2] == [2, 3]
    assert max(found) <= 4


def test_a_row_without_texts_is_an_error(selected: Manifest) -> None:
    rows = selected.rows().with_columns(content=pl.lit("0" * 32))
    with pytest.raises(ManifestError, match=r"row [0-9a-f]{32} and 3 others have no texts in .*examples'.*restore"):
        read_snapshot(selected.commit(rows, verb="x"))


def cut(manifest: Manifest, *stages: tuple[int, bool]) -> Manifest:
    """Return the manifest as stages of `balance` leave it, of which a cap stopped some; the n-th selected row is of the n-th."""
    for stage, complete in stages:
        nth = pl.int_range(pl.len()) == stage
        rows = manifest.rows().with_columns(
            status=pl.when(nth).then(pl.lit("selected")).otherwise("status"), stage=pl.when(nth).then(stage).otherwise("stage")
        )
        manifest = manifest.commit(rows, verb="balance", parameters={"stage": stage}, summary={"complete": complete})
    return manifest


def test_rows_of_a_stage_that_a_cap_cut_short_are_told_and_left_out_when_asked(candidates: Manifest) -> None:
    manifest = cut(candidates, (0, True), (1, False))
    whole, complete = read_snapshot(manifest), read_snapshot(manifest, complete_only=True)
    assert whole.cut_short == complete.cut_short == {1: 1}
    assert (whole.rows["train"], complete.rows["train"]) == (2, 1)
    assert complete.splits["train"]["stage"].to_list() == [0]
    assert complete.rows["test"] == 1
    again = cut(manifest, (1, True))
    assert read_snapshot(again, complete_only=True).rows["train"] == 2, "the newest commit of a stage counts"


def test_where_every_stage_was_cut_short_nothing_is_complete(candidates: Manifest) -> None:
    with pytest.raises(InputError, match=r"m@1: a cap cut every stage short.*larger caps, or leave out --complete-only"):
        read_snapshot(cut(candidates, (0, False)), complete_only=True)


def test_held_out_rows_are_kept_back_and_counted(selected: Manifest) -> None:
    found = read_snapshot(selected, held_out=False)
    assert (found.rows, found.kept_back) == ({"train": 2}, {"validation": 1, "test": 1})
    assert read_snapshot(selected).kept_back == {}
