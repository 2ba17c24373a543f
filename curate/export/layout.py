"""Writes Parquet: one file per split, or the folder of a data set repository, whose shards the configs of its card name.

The files of a repository are parted by source and stage, ``data/stage-0/real/train-00000-of-00002.parquet``, so that a config is
a pattern of paths and no row is written twice; rows of no stage, as held-out rows are, are in ``data/real``. Columns are typed as
`datasets` types them, and the schema carries a mark, by which `curate ingest` knows the rows again. Knows no card.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from curate import progress
from curate.audit.kinds import given_kinds, survey
from curate.export.base import Snapshot
from curate.files import write_whole
from curate.manifest import chats
from curate.manifest.manifest import Manifest
from curate.manifest.schema import EXPORT_MARK, SOURCES, SPLITS

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

__all__ = ["Layout", "write_layout", "write_parquet"]

T = TypeVar("T")

_SHARD_BYTES = 500_000_000  # of a file, and a group of rows more
_GROUP_BYTES = 64 << 20  # of the texts in a group of rows
_HELD_BYTES = 192 << 20  # of all groups that are not full yet
# As `datasets` writes them (datasets.config.DEFAULT_CDC_OPTIONS): a later version of the data shares its pages with this one.
_CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
_SURVEYED = 50_000  # rows from which the kinds of answers are recognised
_CLASSES = 1_000  # a set of more class names is no closed one
_REPEATED = ("domain", "kind", "split", "source", "stage", "reason", "cluster", "label")  # columns with few values

_TEXT = {"dtype": "string", "_type": "Value"}
_TURN = {
    "role": _TEXT,
    "content": _TEXT,
    "name": _TEXT,
    "tool_calls": [{"id": _TEXT, "type": _TEXT, "function": {"name": _TEXT, "arguments": _TEXT}}],
    "tool_call_id": _TEXT,
    "reasoning_content": _TEXT,
    "weight": {"dtype": "int64", "_type": "Value"},
}
_WHOLE = "messages_json"  # the column of what typed turns cannot hold


@dataclass(frozen=True)
class Layout:
    """A folder of a data set as it was written.

    Attributes:
        paths: of the data files.
        configs: as the card's header has them: ``config_name``, ``data_files`` (of ``split`` and ``path``, a pattern) and, of the
            first one, ``default``. A split without rows is in none, and a config without splits is not there.
        features: column → its feature, as ``datasets.Features.to_dict()`` writes it.
        rows: config → split → its number of rows.
    """

    paths: tuple[Path, ...]
    configs: list[dict[str, Any]]
    features: dict[str, Any]
    rows: dict[str, dict[str, int]]


@dataclass
class _Columns:
    """What the columns of a repository are, beside those of a snapshot.

    Attributes:
        classes: class names of the column ``label``; none, no column.
        class_domains: domains whose answers are class names; None for all.
        turns: keys of a turn in the column ``messages``; none, no column.
        tools: whether there is a column of the tools that rows offer.
        inexact: how many rows have a chat that typed turns cannot hold; where any has, there is a column of these.
    """

    classes: list[str] = field(default_factory=list)
    class_domains: list[str] | None = None
    turns: list[str] = field(default_factory=list)
    tools: bool = False
    inexact: int = 0

    def features(self, schema: pl.Schema) -> dict[str, Any]:
        """Return column → feature."""
        found: dict[str, Any] = {}
        for name, kind in schema.items():
            if name == "messages":
                if self.turns:
                    found[name] = [{key: _TURN[key] for key in self.turns}]
                if self.inexact:
                    found[_WHOLE] = _TEXT
                continue
            if name == "extra" and self.tools:
                found["tools"] = _TEXT
            found[name] = _feature(kind)
            if name == "answer" and self.classes:
                found["label"] = {"names": self.classes, "_type": "ClassLabel"}
        return found


def write_parquet(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write one file per split, zstd-compressed, with the types that `datasets` itself gives to texts and lists."""
    schema = _schema({name: _feature(kind) for name, kind in snapshot.schema.items()}, _mark(snapshot, "parquet"))

    def write(part: Path, split: str) -> None:
        with _Shard(part, schema) as shard:
            for table in _ahead(_arrow(frame, schema) for frame in snapshot.frames(split)):
                shard.write(table)

    return tuple(write_whole(destination / f"{split}.parquet", partial(write, split=split)) for split in snapshot.rows)


def write_layout(snapshot: Snapshot, destination: Path) -> Layout:
    """Write the data files of a repository below ``data/``, in shards of about 500 MB.

    What no typed column can hold is told in a note.
    """
    columns = _survey(snapshot)
    features = columns.features(snapshot.schema)
    schema = _schema(features, _mark(snapshot, "datasets"))
    rows: Counter[tuple[str, int | None, str]] = Counter()
    paths: list[Path] = []
    for split in snapshot.rows:
        parts = _Parts(destination / "data", split, schema)
        for frame in _ahead(snapshot.frames(split)):
            for (source, stage), part in _parted(frame):
                rows[split, stage, source] += part.height
                parts.write(stage, source, _typed(part, columns, schema), int(part.estimated_size()))
        paths += parts.close()
    if columns.inexact:
        progress.note(
            "export",
            f"datasets: {columns.inexact:,} chats have what typed turns cannot hold (images and other parts, further keys, or "
            f"another order of keys); they stand whole, as JSON, in {_WHOLE}",
        )
    configs, counts = _configs(rows)
    _tell(counts)
    return Layout(tuple(sorted(paths)), configs, features, counts)


# --- what there is ---


def _survey(snapshot: Snapshot) -> _Columns:
    """Look at what a snapshot's rows have: chats, tools, class names."""
    columns = _Columns()
    has_chats = False
    for split in snapshot.rows:
        for frame in snapshot.frames(split, columns=("messages", "extra")):
            has_chats = has_chats or frame["messages"].null_count() < frame.height
            columns.tools = columns.tools or any(map(chats.tools_of, frame["extra"].drop_nulls()))
    if has_chats:
        keys: dict[str, None] = {}
        for split in snapshot.rows:
            for frame in snapshot.frames(split, columns=("prompt", "answer", "rationale", "messages")):
                for turns, whole in map(_turns, frame.iter_rows()):
                    columns.inexact += whole is not None
                    keys |= {key: None for turn in turns for key in turn}
        columns.turns = [key for key in _TURN if key in keys or key in ("role", "content")]
    columns.class_domains, columns.classes = _classes(snapshot)
    return columns


def _classes(snapshot: Snapshot) -> tuple[list[str] | None, list[str]]:
    """Return the domains whose answers are names of classes (None for all), and all these names; none where they are too many.

    Which domains those are is recognised as `curate profile` does it, from a sample of the train rows.
    """
    every = max(1, -(-snapshot.rows["train"] // _SURVEYED))
    columns = [name for name in ("domain", "prompt", "answer", "kind") if name in snapshot.schema]
    sample = pl.concat(snapshot.frames("train", columns=columns, every=every))
    found = survey(sample, given=given_kinds(snapshot.manifest)).kinds
    domains = sorted(name for name, kind in found.items() if kind == "label")
    chosen = pl.col("domain").is_in(domains) if len(domains) < len(found) else pl.lit(True)
    names: set[str] = set()
    for split in snapshot.rows if domains else ():
        for frame in snapshot.frames(split, columns=("domain", "answer")):
            names.update(frame.filter(chosen, pl.col("answer") != "")["answer"].unique().to_list())
            if len(names) > _CLASSES:
                return [], []
    return domains if len(domains) < len(found) else None, sorted(names)


def _configs(rows: Mapping[tuple[str, int | None, str], int]) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Return the configs of files with these rows, and how many rows each split of them has.

    Args:
        rows: (split, stage, source) → rows.
    """
    stages = sorted({stage for _, stage, _ in rows if stage is not None})
    patterns = {"default": "data/**/{}-*.parquet"} | {source: f"data/**/{source}/{{}}-*.parquet" for source in SOURCES}
    patterns |= {f"stage-{stage}": f"data/stage-{stage}/*/{{}}-*.parquet" for stage in stages}
    counts: dict[str, dict[str, int]] = {}
    for name in patterns:
        inside = {
            split: sum(
                n for (of, stage, source), n in rows.items() if of == split and name in ("default", source, f"stage-{stage}")
            )
            for split in SPLITS
        }
        counts[name] = {split: n for split, n in inside.items() if n}
    configs: list[dict[str, Any]] = [
        {"config_name": name, "data_files": [{"split": split, "path": patterns[name].format(split)} for split in splits]}
        for name, splits in counts.items()
        if splits
    ]
    configs[0] |= {"default": True}
    return configs, {name: splits for name, splits in counts.items() if splits}


def _tell(counts: Mapping[str, Mapping[str, int]]) -> None:
    named = [f"{name} ({', '.join(f'{split} {n:,}' for split, n in splits.items())})" for name, splits in counts.items()]
    more = f" and {len(named) - 8:,} more" if len(named) > 8 else ""
    none = [name for name in SOURCES if name not in counts]
    left = f"; there are no {' and no '.join(none)} rows, and no such config" if none else ""
    progress.note("export", f"datasets: configs {', '.join(named[:8])}{more}{left}; a split without rows has no file")


# --- tables ---


def _feature(kind: Any) -> Any:
    """Return a column's type as `datasets` names it."""
    if isinstance(kind, pl.List):
        return [_feature(kind.inner)]
    names = {"String": "string", "Int32": "int32", "Int64": "int64", "Float64": "float64"}
    return {"dtype": names[str(kind)], "_type": "Value"}


def _schema(features: Mapping[str, Any], mark: Mapping[str, Any]) -> pa.Schema:
    """Return the schema of these features, with the metadata by which `datasets`, and `curate ingest`, know them."""
    import pyarrow as pa

    known = {"info": {"features": {name: _listed(feature) for name, feature in features.items()}}}
    metadata = {"huggingface": known, EXPORT_MARK: mark}
    return pa.schema(
        [(name, _type(feature)) for name, feature in features.items()],
        metadata={key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()},
    )


def _listed(feature: Any) -> Any:
    """Return a feature in which lists are written as `datasets` writes them since 4.0."""
    if isinstance(feature, list):
        return {"feature": _listed(feature[0]), "_type": "List"}
    if "_type" in feature:
        return feature
    return {name: _listed(each) for name, each in feature.items()}


def _type(feature: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(feature, list):
        return pa.list_(_type(feature[0]))
    if feature.get("_type") == "ClassLabel":
        return pa.int64()
    if "_type" not in feature:
        return pa.struct([(name, _type(each)) for name, each in feature.items()])
    return {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64()}[feature["dtype"]]


def _arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return a frame as a table of these columns, which it has."""
    return frame.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _typed(frame: pl.DataFrame, columns: _Columns, schema: pa.Schema) -> pa.Table:
    """Return rows of a snapshot as a table of a repository."""
    import pyarrow as pa

    made: dict[str, pa.Array] = {}
    if columns.turns:
        rows = [*map(_turns, frame.select("prompt", "answer", "rationale", "messages").iter_rows())]
        made["messages"] = pa.array([turns for turns, _ in rows], type=schema.field("messages").type)
        if columns.inexact:
            made[_WHOLE] = pa.array([whole for _, whole in rows], type=pa.string())
    if columns.tools:
        made["tools"] = pa.array([_tools(extra) for extra in frame["extra"]], type=pa.string())
    if columns.classes:
        numbers = dict(zip(columns.classes, range(len(columns.classes)), strict=True))
        number = pl.col("answer").replace_strict(numbers, default=None, return_dtype=pl.Int64)
        if columns.class_domains is not None:
            number = pl.when(pl.col("domain").is_in(columns.class_domains)).then(number)
        made["label"] = frame.select(number).to_series().to_arrow()
    plain = frame.select(name for name in schema.names if name not in made).to_arrow(compat_level=pl.CompatLevel.oldest())
    kept = {name: plain.column(name) for name in plain.column_names}
    return pa.table([made[name] if name in made else kept[name].cast(schema.field(name).type) for name in schema.names], schema)


def _turns(row: tuple[Any, ...]) -> tuple[list[dict[str, Any]], str | None]:
    """Return a row's chat as typed turns, and its `messages` where these cannot tell it, as JSON: a list as it is.

    Args:
        row: prompt, answer, rationale and messages.
    """
    prompt, answer, rationale, messages = row
    turns = chats.to_typed(chats.read_chat(prompt or "", answer or "", messages, rationale).all)
    again = chats.from_typed(turns, answer or "", rationale)
    exact = again is not None and (again.prompt, again.answer, again.messages) == (prompt, answer, messages)
    is_list = messages is not None and messages.startswith("[")
    return turns, None if exact else messages if is_list else json.dumps(messages)


def _tools(extra: str | None) -> str | None:
    tools = chats.tools_of(extra)
    if tools is None:
        return None
    text = json.dumps(tools, ensure_ascii=False)
    return text if text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text) else json.dumps(tools)


def _parted(frame: pl.DataFrame) -> Iterator[tuple[tuple[str, int | None], pl.DataFrame]]:
    """Yield the rows of each source and stage, in their order."""
    for (source, stage), part in frame.group_by("source", "stage", maintain_order=True):
        yield (str(source), None if stage is None else int(stage)), part


# --- files ---


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items of which the next one is made while the last one is worked on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


class _Shard:
    """One Parquet file in the writing."""

    def __init__(self, path: Path, schema: pa.Schema, *, chunked: bool = False) -> None:
        from pyarrow import parquet

        self.path, self.schema, self.chunked = path, schema, chunked
        self.sink = path.open("wb")
        repeated = [name for name in schema.names if name in _REPEATED]
        self.writer: parquet.ParquetWriter = parquet.ParquetWriter(
            self.sink,
            schema,
            compression="zstd",
            use_dictionary=repeated,
            write_statistics=repeated,  # of texts that are all different they cost more than half as much as the rest
            use_content_defined_chunking=_CHUNKING if chunked else False,
            write_page_index=chunked,
        )

    def __enter__(self) -> _Shard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, table: pa.Table) -> None:
        self.writer.write_table(table, row_group_size=max(1, table.num_rows))

    @property
    def size(self) -> int:
        """Bytes written."""
        return self.sink.tell()

    def close(self) -> None:
        if self.chunked:
            self.writer.add_key_value_metadata({"content_defined_chunking": json.dumps(_CHUNKING)})
        self.writer.close()
        self.sink.close()


class _Parts:
    """The shards of one split, by stage and source. Their names say how many there are, so they get them when all are written."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self.folder, self.split, self.schema = folder, split, schema
        self.open: dict[Path, _Shard] = {}
        self.done: dict[Path, list[Path]] = {}
        self.held: dict[Path, list[pa.Table]] = {}
        self.sizes: Counter[Path] = Counter()

    def write(self, stage: int | None, source: str, table: pa.Table, size: int) -> None:
        """Take rows; they are written as soon as they make a group of rows, or as others need their room.

        Args:
            stage, source: of the rows.
            table: of them.
            size: bytes of their texts.
        """
        folder = self.folder / source if stage is None else self.folder / f"stage-{stage}" / source
        self.held.setdefault(folder, []).append(table)
        self.sizes[folder] += size
        if self.sizes[folder] >= _GROUP_BYTES:
            self._flush(folder)
        while self.sizes.total() > _HELD_BYTES:
            self._flush(max(self.sizes, key=lambda each: (self.sizes[each], each)))

    def _flush(self, folder: Path) -> None:
        import pyarrow as pa

        if folder not in self.open:
            folder.mkdir(parents=True, exist_ok=True)
            paths = self.done.setdefault(folder, [])
            paths.append(folder / f"{self.split}-{len(paths):05d}.part")
            self.open[folder] = _Shard(paths[-1], self.schema, chunked=True)
        shard = self.open[folder]
        shard.write(pa.concat_tables(self.held.pop(folder)).combine_chunks())
        del self.sizes[folder]
        if shard.size >= _SHARD_BYTES:
            self.open.pop(folder).close()

    def close(self) -> list[Path]:
        """Write what is left, and return the paths under their last names."""
        for folder in sorted(self.held):
            self._flush(folder)
        for shard in self.open.values():
            shard.close()
        return [
            path.rename(path.with_name(f"{path.stem}-of-{len(paths):05d}.parquet"))
            for paths in self.done.values()
            for path in paths
        ]


def _mark(snapshot: Snapshot, layout: str) -> dict[str, Any]:
    """Return what an export says of itself, by which `curate ingest` knows its rows again; no local path and no time.

    The version is not in it, so that a shard whose rows a later version has as well is the same file.
    """
    manifest = snapshot.manifest
    return {
        "format": 1,
        "layout": layout,
        "manifest": manifest.name,
        "sources": _sources(manifest),
    }


def _sources(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the newest record of every source ever ingested, without what is of this machine."""
    found: dict[str, dict[str, Any]] = {}
    for commit in manifest.lineage(partial=True):
        for source in commit.summary.get("sources", []) if commit.verb == "ingest" else []:
            licence = source.get("licence") or found.get(source["address"], {}).get("licence")
            kept = {key: source.get(key) for key in ("address", "hash", "rows", "source")}
            found[source["address"]] = kept | {"licence": licence}
    return list(found.values())
