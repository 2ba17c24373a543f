"""The contract of exporters: what a `Snapshot` holds, how its rows are read, and the registry. Writes nothing that stays.

An exporter is ``(snapshot, destination, **options) -> paths``: it writes files below the folder `destination`, which exists,
and returns their paths. It registers itself where it stands.

A snapshot is read frame by frame: what is held of all its rows are two numbers each, where the row stands in the manifest and
where its texts stand in the table of contents. Rows come in the order of the manifest.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.errors import InputError, ManifestError
from curate.manifest.history import done_stages
from curate.manifest.manifest import Manifest
from curate.manifest.rows import in_snapshot, labels_of
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA, SPLITS
from curate.registry import Registry

__all__ = ["COLUMNS", "WEIGHT", "Exporter", "Snapshot", "exporters", "json_text", "read_snapshot"]


# What a user of the files may want to know of a row; the rest of the manifest's columns steer the work on it.
COLUMNS = (
    *("id", "prompt", "answer", "rationale", "messages", "domain", "split", "source", "stage"),
    *("reason", "origin", "parents", "cluster", "score", "extra"),
)

WEIGHT = "weight"  # the column of `Snapshot.weighted`

_TEXTS = tuple(name for name in CONTENT_SCHEMA if name != "content")
_FRAME_BYTES = 64 << 20  # of texts in a frame, as far as the rows before it tell
_FRAME_ROWS = 1 << 16
_FIRST_ROWS = 1 << 11  # of the first frame, which tells how large rows are; a frame has at most 4 times the rows of the last one
_REGION = 1 << 17  # rows of the table of contents, within each of which rows are read in one direction
_ROW_BYTES = 64  # of a row beside its texts


@dataclass(frozen=True)
class _Places:
    """Where the rows of a split and their texts stand.

    Attributes:
        rows: (n,) uint32, positions in the manifest, rising.
        contents: (n,) uint32, positions in the table of contents, in any order.
        weights: (n,) float64, or None.
    """

    rows: np.ndarray
    contents: np.ndarray
    weights: np.ndarray | None = None

    def sample(self, every: int) -> _Places:
        """Return one of so many rows."""
        weights = None if self.weights is None else self.weights[::every]
        return _Places(self.rows[::every], self.contents[::every], weights)

    def weight(self, start: int, end: int) -> pl.Series:
        """Return the weights of some rows, which are null where there are none."""
        values = [None] * (end - start) if self.weights is None else self.weights[start:end]
        return pl.Series(WEIGHT, values, dtype=pl.Float64)


@dataclass(frozen=True)
class Snapshot:
    """The rows of a manifest that leave it, by split.

    Attributes:
        manifest: the version that it is of.
        rows: split → its number of rows; only splits that have rows, in the order of `curate.manifest.schema.SPLITS`.
        schema: columns of the frames and their types: `COLUMNS`; ``domains``, a list, where rows have several labels; ``kind``
            where it is said of rows what kind of answer they have; `WEIGHT` where they have weights.
        kept_back: split → held-out rows that are not in it, because they were not asked for.
        cut_short: stage → selected rows, of the stages of `balance` that a cap stopped before they were full.
        complete_only: whether the rows of such stages are left out.
        language: codes of its languages, as somebody gave them; nothing unless they did.
        left_out: split → rows that the format has no form for; an exporter that leaves some out counts them here.
        records: split → records that were written, where an exporter writes another number of them than of rows.
        without_rationale: split → rows without one, of the last pass over its frames that read that column.
        student: Hub id of the model that the export is for; "" where none was named.
        max_tokens: that rows were measured by, or None.
    """

    manifest: Manifest
    rows: dict[str, int]
    schema: pl.Schema
    kept_back: dict[str, int] = field(default_factory=dict)
    cut_short: dict[int, int] = field(default_factory=dict)
    complete_only: bool = False
    language: tuple[str, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    records: dict[str, int] = field(default_factory=dict)
    without_rationale: Counter[str] = field(default_factory=Counter)
    student: str = ""
    max_tokens: int | None = None
    _places: dict[str, _Places] = field(default_factory=dict, repr=False)
    _contents: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=CONTENT_SCHEMA), repr=False)

    @property
    def splits(self) -> dict[str, pl.DataFrame]:
        """Every split as one frame. All of it is held in memory: for small snapshots alone; see `frames`."""
        return {split: self.collect(split) for split in self.rows}

    def without(self, split: str, positions: Sequence[int]) -> Snapshot:
        """Return the snapshot without some rows of a split, at least one of which stays.

        Args:
            split: a key of `rows`.
            positions: of the rows, in the order of `frames`, from 0.
        """
        old = self._places[split]
        weights = None if old.weights is None else np.delete(old.weights, positions)
        kept = _Places(np.delete(old.rows, positions), np.delete(old.contents, positions), weights)
        rows = {**self.rows, split: len(kept.rows)}
        return replace(self, rows=rows, _places={**self._places, split: kept}, without_rationale=Counter())

    def weighted(self, weights: pl.Series) -> Snapshot:
        """Return the snapshot with a column `WEIGHT` in its train rows; it is null in held-out ones.

        Args:
            weights: (n,) Float64, in the order of `frames`.
        """
        train = replace(self._places["train"], weights=weights.to_numpy())
        schema = pl.Schema({**self.schema, WEIGHT: pl.Float64()})
        return replace(self, schema=schema, _places={**self._places, "train": train})

    def narrow(self, *columns: str) -> pl.DataFrame:
        """Return columns of the manifest of all of its rows, split by split; no texts are read.

        Args:
            columns: of `curate.manifest.schema.SCHEMA`.
        """
        rows = self.manifest.scan().select(columns)
        return pl.concat(_take(rows, places.rows) for places in self._places.values())

    def collect(self, split: str) -> pl.DataFrame:
        """Return the rows of a split as one frame, which is held in memory whole."""
        return pl.concat(self.frames(split))

    def frames(self, split: str, *, columns: Sequence[str] | None = None, every: int = 1) -> Iterator[pl.DataFrame]:
        """Yield the rows of a split in the order of the manifest, some tens of thousands at a time.

        A frame has at most 65,536 rows, and fewer where rows are long, for about 64 MiB of texts; memory does not grow with the
        number of frames. Every call reads the tables anew. Rows whose texts were written in another order than that of the
        manifest are put in order through a file in the folder for temporary files.

        Args:
            split: a key of `rows`.
            columns: of `schema`, in this order; all of them unless given. Columns that are not asked for are not read.
            every: 1 for every row, 2 for every second one, and so on: a sample.

        Raises:
            ManifestError: a data file of the manifest is missing or cut.
        """
        wanted = tuple(self.schema) if columns is None else tuple(columns)
        narrow = [name for name in wanted if name in SCHEMA] + ["n_chars"]
        several = [labels_of().alias("domains")] if "domains" in wanted else []
        rows = self.manifest.scan().select(*narrow, *several)
        texts = self._contents.select(name for name in wanted if name in _TEXTS)
        places = self._places[split]
        places = places if every == 1 else places.sample(every)
        n = without = 0
        with tempfile.TemporaryDirectory(prefix="curate-export-") as folder:
            reader = _Texts(texts, places.contents, Path(folder))
            while n < len(places.rows):
                frame = _take(rows, places.rows[n : n + reader.most])
                frame = frame.head(reader.fitting(frame["n_chars"]))
                found = frame.hstack(reader.read(n, frame))
                if WEIGHT in wanted:
                    found = found.with_columns(places.weight(n, n + found.height))
                found = found.select(wanted)
                without += found["rationale"].null_count() if "rationale" in wanted else 0
                n += found.height
                yield found
        if "rationale" in wanted and every == 1:
            self.without_rationale[split] = without


class _Texts:
    """Reads the texts of rows in the order of the rows, some at a time.

    Most rows have their texts in the order of the manifest, or in a few such orders one after another. What stands against it
    (a text that an earlier row has as well, say) is first copied to a file in the right order.
    """

    def __init__(self, table: pl.LazyFrame, places: np.ndarray, folder: Path) -> None:
        self.table, self.places, self.folder = table, places, folder
        self.most = min(_FIRST_ROWS, _FRAME_ROWS)
        self.weight = 2.0  # bytes of texts for each character that a row is known to have
        self.names = table.collect_schema().names()
        self.aside = _against_the_order(places) if self.names else np.zeros(len(places), dtype=bool)
        self.copies = [*self._copied()]

    def fitting(self, lengths: pl.Series) -> int:
        """Return how many of the next rows to read, at least one, by their characters (n,)."""
        sizes = (lengths.fill_null(0).to_numpy().astype(np.float64) + _ROW_BYTES) * self.weight
        return max(1, int(np.searchsorted(np.cumsum(sizes), _FRAME_BYTES, side="right")))

    def read(self, start: int, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the texts of the rows from `start` on, as many as there are rows."""
        if not self.names:
            self.most = _FRAME_ROWS
            return pl.DataFrame()
        here = np.arange(start, start + rows.height)
        aside = self.aside[start : start + rows.height]
        parts = [self._at(here[~aside])] if not aside.all() else []
        order = [here[~aside]]
        for indices, copy in self.copies:
            first, last = np.searchsorted(indices, [start, start + rows.height])
            if last > first:
                parts.append(copy.slice(first, last - first).collect())
                order.append(indices[first:last])
        found = pl.concat(parts)
        if len(parts) > 1:
            found = found[np.argsort(np.concatenate(order))]
        size = int(found.estimated_size())
        known = int(rows["n_chars"].fill_null(0).sum()) + _ROW_BYTES * rows.height
        self.weight = max(size / known, self.weight / 2, 0.1)
        self.most = min(_FRAME_ROWS, 4 * rows.height)
        return found

    def _at(self, indices: np.ndarray) -> pl.DataFrame:
        """Return the texts of some rows, in their order."""
        wanted, back = np.unique(self.places[indices], return_inverse=True)
        found = _take(self.table, wanted, window=max(self.most, _FIRST_ROWS))
        return found if len(wanted) == len(back) and bool((np.diff(back) > 0).all()) else found[back]

    def _copied(self) -> Iterator[tuple[np.ndarray, pl.LazyFrame]]:
        """Copy what stands against the order to files; yield of each the rows that it has, rising, and the file."""
        indices = np.flatnonzero(self.aside)
        indices = indices[np.argsort(self.places[indices], kind="stable")]
        n, step = 0, _FIRST_ROWS
        held: list[pl.DataFrame] = []
        begin = size = 0
        while n < len(indices):
            held.append(self._at(indices[n : n + step]))
            n, size = n + held[-1].height, size + int(held[-1].estimated_size())
            step = min(_FRAME_ROWS, 4 * step, max(1, _FRAME_BYTES * held[-1].height // max(1, int(held[-1].estimated_size()))))
            if size >= 2 * _FRAME_BYTES or n == len(indices):
                order = np.argsort(indices[begin:n])
                path = self.folder / f"{begin}.arrow"
                pl.concat(held)[order].write_ipc(path, compression="uncompressed")
                yield indices[begin:n][order], pl.scan_ipc(path)
                held, begin, size = [], n, 0


def _against_the_order(places: np.ndarray) -> np.ndarray:
    """Return which texts stand before one that an earlier row has, within a region of the table, (n,) bool."""
    if len(places) < 2 or bool((np.diff(places.astype(np.int64)) > 0).all()):
        return np.zeros(len(places), dtype=bool)
    order = np.argsort(places // _REGION, kind="stable")  # the rows of a region together, in their own order
    highest = np.maximum.accumulate(places[order])  # those of a later region are higher
    against = np.empty(len(places), dtype=bool)
    against[order] = places[order] < highest
    return against


def _take(table: pl.LazyFrame, places: np.ndarray, *, window: int = _FRAME_ROWS) -> pl.DataFrame:
    """Return the rows of a table at some places, which rise; what lies between them is read in windows of so many rows."""
    parts, n = [], 0
    while n < len(places):
        first = int(places[n])
        end = int(np.searchsorted(places, first + window))
        part = table.slice(first, int(places[end - 1]) - first + 1).collect()
        parts.append(part if part.height == end - n else part[places[n:end].astype(np.int64) - first])
        n = end
    return pl.concat(parts) if len(parts) != 1 else parts[0]


Exporter = Callable[..., tuple[Path, ...]]


exporters: Registry[Exporter] = Registry(
    "export format", "curate.exporters", builtin=("curate.export.files", "curate.export.trainers", "curate.export.pairs")
)


def read_snapshot(manifest: Manifest, *, held_out: bool = True, complete_only: bool = False) -> Snapshot:
    """Return the selected train rows of a manifest, and its validation and test rows that were not rejected.

    Args:
        manifest: the version.
        held_out: take validation and test rows; otherwise they are counted alone.
        complete_only: leave out the rows of stages that a cap stopped before they were full.

    Raises:
        InputError: no train row is selected, or `complete_only` leaves none.
        ManifestError: a row has no texts in the table of contents.
    """
    rows = manifest.scan().filter(in_snapshot())
    counts = dict(rows.group_by("split").len().collect().iter_rows())
    if not counts.get("train"):
        raise InputError(
            f"{manifest} has no selected rows, so there is nothing to export: choose some first with "
            f"curate balance {manifest.name} --budget N"
        )
    short = _cut_short(manifest)
    kept = in_snapshot(held_out=held_out, without=[*short] if complete_only else ())
    if complete_only and counts["train"] == sum(short.values()):
        raise InputError(
            f"{manifest}: a cap cut every stage short, so --complete-only leaves nothing: give the same balance larger caps, "
            "or leave out --complete-only"
        )
    contents = manifest.scan_contents()
    found = _places(manifest, kept, contents)
    places = {split: found[split] for split in SPLITS if split in found}
    said = rows.select(pl.col("labels", "kind").is_not_null().any()).collect().row(0)
    further = [name for name, there in zip(("domains", "kind"), said, strict=True) if there]
    kinds = {**SCHEMA, **CONTENT_SCHEMA, "domains": SCHEMA["labels"]}  # trainers read `labels` as something else
    return Snapshot(
        manifest,
        {split: len(each.rows) for split, each in places.items()},
        pl.Schema({name: kinds[name] for name in (*COLUMNS, *further)}),
        kept_back={} if held_out else {split: counts[split] for split in SPLITS[1:] if split in counts},
        cut_short=short,
        complete_only=complete_only,
        _places=places,
        _contents=contents,
    )


def _cut_short(manifest: Manifest) -> dict[int, int]:
    """Return stage → selected rows, of the stages that a cap stopped before they were full."""
    stages = [stage for stage, commit in done_stages(manifest, partial=True).items() if not commit.summary.get("complete", True)]
    if not stages:
        return {}
    chosen = manifest.scan().filter(in_snapshot(), pl.col("stage").is_in(stages), split="train")
    return dict(chosen.group_by("stage").len().sort("stage").collect().iter_rows())


def _places(manifest: Manifest, kept: pl.Expr, contents: pl.LazyFrame) -> dict[str, _Places]:
    """Return of each split where the rows that are kept and their texts stand."""
    key = pl.col("content").hash()  # 8 bytes in place of 32; all different, as the keys are, in tables of any size
    there = contents.with_row_index("at").select("at", key).collect(engine="streaming")
    if there["content"].n_unique() < there.height:
        key = pl.col("content")
        there = contents.with_row_index("at").select("at", key).collect().unique("content", keep="first")
    split = pl.col("split").cast(pl.Enum(SPLITS), strict=False)
    rows = manifest.scan().with_row_index("row").filter(kept).select("row", split, key).collect(engine="streaming")
    found = rows.join(there, on="content", how="left").select("row", "split", "at").sort("row")
    missing = found.filter(pl.col("at").is_null())
    if not missing.is_empty():
        lost = manifest.scan().select("id").slice(int(missing["row"][0]), 1).collect().item()
        raise ManifestError(
            f"{manifest}: row {lost} and {missing.height - 1:,} others have no texts in {f'{manifest.location}/examples'!r}: "
            "restore that table from a backup"
        )
    return {
        str(split): _Places(part["row"].to_numpy(), part["at"].to_numpy())
        for (split,), part in found.group_by("split", maintain_order=True)
    }


def json_text(record: Mapping[str, Any]) -> str:
    """Return a record as JSON that can be written as UTF-8: halves of letters, which only an escape can hold, are escaped."""
    text = json.dumps(record, ensure_ascii=False)
    return text if text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text) else json.dumps(record)
