"""Small manifests for tests: examples as dicts in, a committed manifest out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curate.answers import answers
from curate.audit.base import PROMPTS, Context
from curate.manifest import ids, manifest
from curate.manifest.manifest import Manifest
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA
from curate.vectors.encoders import FakeEncoder

# Rows of `changed`, before the change.
FOUR = [{"prompt": p, "domain": d} for p, d in {"a": "algebra", "b": "algebra", "c": "logic", "d": "logic"}.items()]
_DEFAULTS = {"domain": "algebra", "split": "train", "source": "real", "status": "candidate", "answer": "4"}


def frames(examples: Iterable[Mapping[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return manifest rows and contents of examples; what an example does not say is a real train candidate of algebra."""
    filled = [{**_DEFAULTS, "origin": f"rows.jsonl:{i + 1}", **example} for i, example in enumerate(examples)]
    table = pl.DataFrame(
        [{name: row.get(name) for name in {**SCHEMA, **CONTENT_SCHEMA}} for row in filled], schema={**SCHEMA, **CONTENT_SCHEMA}
    )
    table = table.with_columns(content=ids.content_keys(table))
    lengths = pl.sum_horizontal(pl.col("prompt", "answer", "rationale").str.len_chars())
    table = table.with_columns(
        id=pl.coalesce("id", ids.row_ids(table)),
        prompt_key=ids.prompt_keys(table["prompt"]),
        n_chars=pl.coalesce("n_chars", lengths.cast(pl.Int32)),
    )
    return table.select(SCHEMA.names()), table.select(CONTENT_SCHEMA.names())


def ingested(root: Path, examples: Iterable[Mapping[str, Any]], *, name: str = "tail", **commit: Any) -> Manifest:
    """Commit examples as version 0 of a new manifest under `root`."""
    rows, contents = frames(examples)
    start = manifest.new(name, root=root)
    start.append(contents)
    return start.commit(rows, verb="ingest", **commit)


def corpus(kinds: Mapping[str, str], labels: Any = (), *, tasks: Mapping[str, str] | None = None, **parts: Any) -> Context:
    """Return a context of domains with these kinds of answer, and no rows unless they are given."""
    empty = PROMPTS.to_frame()
    made = {"real": empty, "heldout": empty, "accepted": empty, "vectors": FakeEncoder().encode, **parts}
    chosen = {domain: answers.task_of(kind) for domain, kind in kinds.items()} | dict(tasks or {})
    return Context(kinds=kinds, labels=labels, tasks=chosen, **made)


def changed(root: Path) -> Manifest:
    """Return version 1 over version 0 of four rows: d gone, e new, a and c selected, c with a parent and a score."""
    start = ingested(root, FOUR)
    rows = start.rows().sort("origin")
    chosen = pl.col("origin").is_in(["rows.jsonl:1", "rows.jsonl:3"])
    third = pl.col("origin") == "rows.jsonl:3"
    rows = rows[:3].with_columns(
        status=pl.when(chosen).then(pl.lit("selected")).otherwise("status"),
        score=pl.when(third).then(pl.lit(0.5)),
        parents=pl.when(third).then(pl.concat_list(pl.lit("0" * 32))),
    )
    new, contents = frames([{"prompt": "e", "domain": "sets"}])
    start.append(contents)
    return start.commit(pl.concat([rows, new]), verb="review")
