"""Makes the README card of an exported data set, from the manifest and its log alone. States nothing that they do not say.

The YAML header follows the Hub's data set cards (https://huggingface.co/docs/hub/datasets-cards). A licence is named only
where every source was ingested with one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from curate.errors import ManifestError
from curate.manifest.manifest import Commit, Manifest
from curate.manifest.rows import in_snapshot, is_repeat, per_label, read_findings
from curate.manifest.schema import SPLITS

__all__ = ["card", "escape"]

# Identifiers that the Hub knows and data sets use; any other licence is written as `other` with its name.
_LICENCES = re.compile(
    r"apache-2\.0|mit|bsd-[23]-clause|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.[05]|odc-by|odbl|pddl|unlicense|gfdl|mpl-2\.0"
    r"|cdla-(permissive|sharing)-[12]\.0|[al]?gpl-[23]\.0"
)
# What Markdown reads as structure: an underscore only at the edge of a word.
_MARKUP = re.compile(r"[\\`*\[\]<>#!|~$&]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_ADDRESS = re.compile(r":(?=//)|(?<=\bmailto):|(?<=\bxmpp):|(?<=\bwww)\.|@", re.IGNORECASE)  # would become a link by itself
# Controls, overrides of the direction of a text, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))


def card(manifest: Manifest) -> str:
    """Return the card of a manifest's snapshot: Markdown under a YAML header.

    Where the log does not reach back to the first version, the card says so and states no licence.

    Args:
        manifest: a version that has at least one commit.

    Raises:
        ManifestError: nothing of the log is left.
    """
    rows = manifest.rows("domain", "labels", "split", "source", "origin", "status", "stage", "findings")
    kept = rows.filter(in_snapshot())
    log = manifest.lineage(partial=True)  # what the rows went through, without what was undone
    if not log:
        raise ManifestError(
            f"the log of {manifest} is gone, so no card can say where its rows come from: restore it from a backup, or export "
            "with --to jsonl, which has no card"
        )
    sources = _sources(log)
    unknown = log[0].base + 1  # versions at the start, of which nothing is known
    parts = [
        _header(manifest, kept, [] if unknown else sources),
        f"# {manifest.name}\n\nA snapshot of the manifest `{manifest}`, balanced and exported with "
        f"baldistill {escape(log[-1].package)}. This card is made from the manifest's log.",
        f"What was done up to version {unknown - 1} is not in the log any more: of the rows that came before, neither source nor "
        "licence is known, so no licence is stated here."
        if unknown
        else "",
        _sizes(kept),
        _domains(rows, kept),
        _origin(sources),
        _balancing(log),
        _audit(rows),
        _columns(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(manifest: Manifest, kept: pl.DataFrame, sources: Sequence[Mapping[str, Any]]) -> str:
    """Return the YAML block that the Hub reads, with its two lines of dashes."""
    from huggingface_hub import DatasetCardData

    splits = set(kept["split"].to_list())
    data = DatasetCardData(
        pretty_name=manifest.name,
        task_categories=["text-generation"],
        size_categories=[next((label for limit, label in _SIZES if kept.height < limit), "n>10M")],
        tags=["long-tail", "baldistill"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS if split in splits],
            }
        ],
        **_licence(sources),
    )
    return f"---\n{data.to_yaml()}\n---"


def _licence(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of the licence; none unless every source was ingested with one."""
    named = [" ".join(str(source.get("licence") or "").split()) for source in sources]  # a line of dashes would end the header
    if not named or not all(named):
        return {}
    known = sorted({str(name).lower() for name in named})
    if all(_LICENCES.fullmatch(name) for name in known):
        return {"license": known}
    return {"license": "other", "license_name": " and ".join(sorted({str(name) for name in named}))}


def _sizes(kept: pl.DataFrame) -> str:
    counts = Counter(kept["split"].to_list())
    return "## Size\n\n" + _table(("split", "rows"), [(split, counts[split]) for split in SPLITS if counts[split]])


def _domains(rows: pl.DataFrame, kept: pl.DataFrame) -> str:
    train = pl.col("split") == "train"
    real = pl.col("source") == "real"
    before = per_label(rows.filter(train & real & ~is_repeat())).group_by("domain").agg(pl.len().alias("before"))
    after = (
        per_label(kept.filter(train))
        .group_by("domain")
        .agg(pl.len().alias("after"), real.sum().alias("real"), (~real).sum().alias("synthetic"))
    )
    table = before.join(after, on="domain", how="full", coalesce=True).fill_null(0)
    table = table.sort(["before", "domain"], descending=[True, False]).select("domain", "before", "after", "real", "synthetic")
    title = "## Domains\n\nTrain rows: before (real rows ingested) and after (in this data set), of which real and synthetic."
    repeats = rows.filter(is_repeat(), status="selected").height
    title += f" {repeats} of the real ones repeat others." if repeats else ""
    title += " A row of several domains counts in each." if rows["labels"].count() else ""
    return f"{title}\n\n" + _table(("domain", "before", "after", "real", "synthetic"), table.iter_rows())


def _sources(log: Iterable[Commit]) -> list[dict[str, Any]]:
    """Return the newest record of every source ever ingested, in the order of their first."""
    found: dict[str, dict[str, Any]] = {}
    for commit in log:
        for source in commit.summary.get("sources", []) if commit.verb == "ingest" else []:
            earlier = found.get(source["address"], {})
            found[source["address"]] = source | {"licence": source.get("licence") or earlier.get("licence")}
    return list(found.values())


def _origin(sources: Sequence[Mapping[str, Any]]) -> str:
    if not sources:
        return ""
    lines = [
        (s["address"], s.get("source", ""), s.get("rows", ""), s.get("licence") or "not stated", s.get("hash", ""))
        for s in sources
    ]
    return "## Sources\n\n" + _table(("source", "kind", "rows read", "licence", "hash"), lines)


def _balancing(log: Iterable[Commit]) -> str:
    keys = ("budget", "stages", "policy", "schedule", "temperature", "selector", "rationales", "teacher", "model", "seed")
    commits = [commit for commit in log if commit.verb == "balance"]
    if not commits:
        return ""
    values = commits[-1].parameters | {"seed": commits[-1].seed}
    lines = [(key, values[key]) for key in keys if values.get(key) is not None]
    return "## Balancing\n\n" + _table(("parameter", "value"), lines)


def _audit(rows: pl.DataFrame) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for text in rows["findings"].drop_nulls().to_list():
        counts.update((str(f.get("auditor")), str(f.get("decision"))) for f in read_findings(text))
    if not counts:
        return ""
    names = sorted({auditor for auditor, _ in counts})
    lines = [(name, counts[name, "reject"], counts[name, "note"]) for name in names]
    title = "## Audit\n\nFindings over all rows and attempts of the manifest; what was rejected is not in this data set."
    return f"{title}\n\n" + _table(("auditor", "rejected", "noted"), lines)


def _columns() -> str:
    lines = (
        ("id, split", "the row's name, which never changes, and train, validation or test"),
        ("prompt, answer", "the question and its final answer"),
        ("rationale", "the reasoning that leads to the answer, where there is one"),
        (
            "messages",
            "JSON: the other turns of a chat, where there are any; turn in a marker is that of the prompt or answer",
        ),
        ("domain, source, stage", "the kind of question, real or synthetic, and the stage that chose it (from 0)"),
        ("reason, origin, parents", "why the row was chosen, where it came from, and the ids it was written from"),
        ("cluster, score", "its cluster within the domain and its newest difficulty score"),
        ("extra", "JSON: the further columns of its source"),
    )
    return "## Columns\n\n" + _table(("column", "meaning"), lines)


def escape(text: object) -> str:
    """Return a text that comes from data as one line of Markdown that shows it, and does nothing else.

    No character of it begins a heading, a cell, a link, an image, HTML or another line; controls are shown as ``\ufffd``.
    """
    line = " ".join(_CONTROL.sub("\ufffd", " ".join(str(text).split())).split())
    return _ADDRESS.sub(r"\\\g<0>", _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line))


def _table(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a table; head is ours, and the cells are escaped."""
    cells = [head, ["---"] * len(head), *([escape(cell) for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
