"""The sentences about one row: what each verb did to it, and which exports and students use it. Changes nothing.

One function per verb, in `DESCRIBERS`; of a verb that is not there, the columns that it changed are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.manifest.manifest import Commit, Manifest
from curate.manifest.rows import (
    domain_counts,
    has_label,
    head_domains,
    is_usable_real,
    parse_origin,
    read_findings,
    snapshot_holds,
)
from curate.manifest.schema import SCHEMA
from curate.report.runs import learned_snapshots
from curate.teachers.prices import NANO, format_usd

__all__ = ["DESCRIBERS", "RowChange", "describe", "describe_finding", "describe_use", "short"]

_SHORT = 8  # hex digits of an id in a sentence
_PARENTS = 4  # named in a sentence
_EXPORTED = "an export holds it unless its format or a flag leaves it out, which it says"


@dataclass(frozen=True)
class RowChange:
    """What one commit did to one row.

    Attributes:
        commit: what was done.
        start: the version that it stood on; -1 before the first.
        end: the version that it made.
        before, after: the row in those versions, columns of `curate.manifest.schema.SCHEMA`; None where it is not there.
    """

    commit: Commit
    start: Manifest
    end: Manifest
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @property
    def row(self) -> dict[str, Any]:
        """The row after the commit, or what it was before where it is gone."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def is_new(self) -> bool:
        """Whether the commit brought the row."""
        return self.before is None

    @cached_property
    def columns(self) -> dict[str, tuple[Any, Any]]:
        """Column → value before and after, of the columns that changed; empty where the row is new or gone."""
        if self.before is None or self.after is None:
            return {}
        return {name: (self.before[name], self.after[name]) for name in SCHEMA if self.before[name] != self.after[name]}

    @cached_property
    def new_findings(self) -> list[dict[str, Any]]:
        """What auditors and attempts found in this commit."""
        had, now = (read_findings(row["findings"]) if row else [] for row in (self.before, self.after))
        return [finding for finding in now if finding not in had]


def describe(change: RowChange) -> list[str]:
    """Return what a commit did to the row, as sentences; none where it left the row as it was."""
    if change.before is None and change.after is None:
        return []
    if change.after is None:
        return ["the row is gone"]
    return list(DESCRIBERS.get(change.commit.verb, _describe_changes)(change))


def describe_use(history: Sequence[RowChange]) -> Iterator[tuple[str, list[str]]]:
    """Yield what uses the row at the end, as (verb, sentences): students that learned from it, and exports that hold it.

    Args:
        history: every commit that the version stands on, oldest first.
    """
    holding = {c.end.version for c in history if c.after and c.after["split"] == "train" and snapshot_holds(c.after)}
    uses = [
        f"the student of stage {learned.stage} of run {learned.run} learns from snapshot v{learned.version}"
        for learned in learned_snapshots(history[-1].end)
        if learned.version in holding
    ]
    if uses:
        yield "train", uses
    yield "export", [_describe_export(history[-1])]


def short(row_id: str) -> str:
    """Return the beginning of an id, as it stands in sentences."""
    return f"{row_id[:_SHORT]}…"


def _describe_ingest(change: RowChange) -> Iterator[str]:
    if not change.is_new:
        yield from _describe_changes(change)
        return
    row = change.row
    split = "" if row["split"] == "train" else f", split {row['split']}"
    several = f" (labels {', '.join(row['labels'])}: it counts in each)" if row["labels"] else ""
    yield f"{_origin(row)} becomes example {short(row['id'])}, domain {row['domain']}{several}, source {row['source']}{split}"


def _describe_cluster(change: RowChange) -> Iterator[str]:
    if "domain" in change.columns:
        yield f"its domain is found by its cluster: {change.row['domain']}"
    if change.columns.keys() & {"cluster", "centrality"} and change.row["cluster"] is not None:
        mine = (pl.col("domain") == change.row["domain"]) & pl.col("cluster").is_not_null()
        n = change.end.scan().filter(mine).select(pl.col("cluster").n_unique()).collect().item()
        where = f"cluster {change.row['cluster']} of {n} in {change.row['domain']}"
        yield f"{where}, cosine {change.row['centrality']:.2f} to its centre (its vector is in the cache)"


def _describe_sample(change: RowChange) -> Iterator[str]:
    if "status" in change.columns:
        left_out = change.row["status"] == "rejected"
        yield f"{'left out of' if left_out else 'drawn into'} the sample: {_because(change.row)}"


def _describe_profile(change: RowChange) -> Iterator[str]:
    if "n_tokens" in change.columns:
        yield f"{change.row['n_tokens']} tokens for {change.commit.parameters.get('student', 'the student')}"


def _describe_score(change: RowChange) -> Iterator[str]:
    if change.columns.keys() & {"score", "score_kind", "scored_by"} and change.row["score"] is not None:
        yield f"{change.row['score_kind']} {change.row['score']:.4g}, scored by {change.row['scored_by']}"


def _describe_audit(change: RowChange) -> Iterator[str]:
    yield from _describe_findings(change)
    if "status" in change.columns:
        yield f"{change.row['status']}: {_because(change.row)}"


def _describe_annotate(change: RowChange) -> Iterator[str]:
    if change.is_new:
        yield from _describe_writing(change)
    elif change.columns.keys() & {"content", "call_id"}:
        yield f"the teacher writes a rationale for {short(change.row['id'])}{_cost(change, change.row['call_id'])}"
    yield from _describe_findings(change)
    if "status" in change.columns:
        yield f"{change.row['status']}: {_because(change.row)}"


def _describe_synthesize(change: RowChange) -> Iterator[str]:
    if change.is_new:
        yield from _describe_writing(change)
        yield from _describe_findings(change)
        yield f"{change.row['status']}: {_because(change.row)}"
    else:
        yield from _describe_changes(change)


def _describe_balance(change: RowChange) -> Iterator[str]:
    stage, row = int(change.commit.parameters.get("stage", -1)), change.row
    if row["split"] != "train" or not (change.is_new or change.columns):
        return
    yield from (_plan(change, stage, label) for label in row["labels"] or (row["domain"],))
    if change.is_new:
        yield from _describe_writing(change)
    if row["status"] == "selected" and not change.is_new:
        yield f"chosen: {_because(row)}" if "reason" in change.columns else "chosen now, after an attempt that had failed"
    yield from _written(change)
    yield from _describe_rationales(change)
    if change.is_new or row["status"] == "rejected":
        yield f"{'kept' if row['status'] == 'selected' else row['status']}: {_because(row)}"
    elif row["status"] == "candidate":
        yield f"it stays a candidate; {_because(row)}"


def _describe_select(change: RowChange) -> Iterator[str]:
    if change.columns.keys() & {"status", "reason"}:
        chosen = change.row["status"] == "selected"
        yield f"chosen: {_because(change.row)}" if chosen else f"it stays a candidate; {_because(change.row)}"


def _describe_restore(change: RowChange) -> Iterator[str]:
    """Compare with the version before in time, not with the one that is restored, which is equal."""
    before = Manifest(change.end.name, change.end.version - 1, change.end.root)
    found = before.scan().filter(pl.col("id") == change.row["id"]).collect()
    base = f"v{change.commit.summary['base']}"
    if found.is_empty():
        yield f"it is there again, as in {base}"
    elif different := [name for name in SCHEMA if found[name].to_list() != [change.row[name]]]:
        yield f"it is as in {base} again, in {', '.join(different)}; what came after {base} is undone"


def _describe_unselect(change: RowChange) -> Iterator[str]:
    if "status" in change.columns and change.before is not None:
        stage = change.before["stage"]
        yield f"taken back: it was selected{'' if stage is None else f' in stage {stage}'}, and is a candidate again"


def _describe_rationales(change: RowChange) -> Iterator[str]:
    """Describe the attempts at a rationale in order: what was found in earlier ones, the last one, what was found in it."""
    call = change.row["call_id"]
    earlier = [f for f in change.new_findings if f.get("attempt") is not None and f.get("call_id") != call]
    yield from map(describe_finding, earlier)
    if not change.is_new and "call_id" in change.columns:
        yield f"the teacher writes a rationale for {short(change.row['id'])}{_cost(change, call)}"
    yield from (describe_finding(finding) for finding in change.new_findings if finding not in earlier)


def _plan(change: RowChange, stage: int, domain: str) -> str:
    """Say what the stage planned for a label of the row, and whether its real rows reach."""
    planned = change.commit.summary.get("quotas", {}).get("planned", {}).get(domain, 0)
    rows = change.start.rows("domain", "labels", "split", "source", "origin", "status", "stage")
    heads = head_domains(domain_counts(rows), change.commit.parameters.get("budget"))
    left = rows.filter(is_usable_real(), has_label([domain]), status="candidate").height
    short_by = f", {planned - left} short" if planned > left else ""
    kind = "head" if domain in heads else "tail"
    return f"stage {stage} plans {planned} slots for {domain}; {left} real rows are left: a {kind}{short_by}"


def _written(change: RowChange) -> Iterator[str]:
    """Say what the teacher wrote from this row in this commit, and what the audit kept of it."""
    from_it = pl.col("parents").list.contains(change.row["id"]) & (pl.col("source") == "synthetic")
    columns = ("id", "status", "reason", "findings")
    children = change.end.scan().filter(from_it).select(columns).collect()
    if change.start.version >= 0 and children.height:
        known = change.start.scan().filter(from_it).select("id").collect()
        children = children.join(known, on="id", how="anti")
    if children.is_empty():
        return
    kept = children.filter(status="selected").height
    lost = Counter(children.filter(status="rejected")["reason"].fill_null("audit").to_list())
    names = ", ".join(f"{n} {reason}" for reason, n in sorted(lost.items()))
    rejected = f", {lost.total()} rejected by the audit ({names})" if lost else ""
    noun = "row is" if children.height == 1 else "rows are"
    yield f"{children.height} synthetic {noun} written from {short(change.row['id'])} and others{rejected}, {kept} kept"


def _describe_writing(change: RowChange) -> Iterator[str]:
    """Say from what a row was written, with its parents' beginnings."""
    row, parents = change.row, change.row["parents"] or []
    known = change.end.scan().filter(pl.col("id").is_in(parents)).select("id", "origin", "domain", "source").collect()
    by_id = {parent["id"]: parent for parent in known.to_dicts()}
    named = [f"{short(i)} ({_origin(by_id[i])})" if i in by_id else short(i) for i in parents[:_PARENTS]]
    more = f" and {len(parents) - _PARENTS} more" if len(parents) > _PARENTS else ""
    if parse_origin(row["origin"]).kind == "repeat":
        yield f"{short(row['id'])} repeats {', '.join(named)}"
        return
    source = f"from {', '.join(named)}{more}" if named else f"as {row['origin'] or ''}"
    yield f"{short(row['id'])}, {row['source']}, is written for {row['domain']} {source}{_cost(change, row['call_id'])}"


def _describe_findings(change: RowChange) -> Iterator[str]:
    return map(describe_finding, change.new_findings)


def describe_finding(finding: dict[str, Any]) -> str:
    """Return one finding as a sentence: the attempt if there was one, the auditor, what it says, and why."""
    attempt = "" if finding.get("attempt") is None else f"attempt {finding['attempt']}: "
    cause = f", because of {short(finding['because_of'])}" if finding.get("because_of") else ""
    score = "" if finding.get("score") is None else f" (score {finding['score']:.2f})"
    return f"{attempt}{finding['auditor']} {_verdict(finding)}{score}: {finding.get('message') or 'no message'}{cause}"


def _verdict(finding: dict[str, Any]) -> str:
    return "rejects it" if finding.get("decision") == "reject" else "notes"


def _describe_changes(change: RowChange) -> Iterator[str]:
    """Describe a commit of any verb by the columns that it changed."""
    if change.is_new:
        yield f"example {short(change.row['id'])} is added, domain {change.row['domain']}, source {change.row['source']}"
    plain = [name for name in change.columns if name not in ("findings", "reason")]
    for name in plain:
        old, new = change.columns[name]
        yield f"{name}: {'none' if old is None else old} → {'none' if new is None else new}"
    if "status" in plain and change.row["reason"]:
        yield f"reason: {change.row['reason']}"
    yield from _describe_findings(change)


def _describe_export(change: RowChange) -> str:
    row, name = change.row, f"v{change.end.version}"
    held = snapshot_holds(row)
    if held and row["split"] != "train":
        use = "it may steer training" if row["split"] == "validation" else "it measures, and never steers"
        return f"the snapshot of {name} has it, split {row['split']}: {_EXPORTED}; no student learns from it, {use}"
    if held:
        return f"the snapshot of {name} has it, split train: {_EXPORTED}"
    return f"no export of {name} holds it: it is {row['status']}"


def _because(row: dict[str, Any]) -> str:
    return str(row["reason"] or "no reason was written down")


def _origin(row: dict[str, Any]) -> str:
    """Say where a row came from: ``row 41 of math.jsonl``, or the origin as it is."""
    origin = parse_origin(row["origin"])
    if origin.kind == "file":
        return f"row {origin.number} of {origin.name}"
    return row["origin"] or "a source without a name"


def _cost(change: RowChange, call_id: int | None) -> str:
    """Say which call it was, and what it took; the figures only where there is a ledger."""
    path = ledger_path(change.end.root)
    if call_id is None:
        return ""
    if not path.exists():
        return f" (call {call_id})"
    ledger = Ledger(path)
    try:
        spent = ledger.query("SELECT SUM(tokens), SUM(nano_usd) FROM attempts WHERE call = ?", (call_id,))
    finally:
        ledger.close()
    tokens, nano = spent[0]
    if tokens is None:
        return f" (call {call_id})"
    price = "" if nano is None else f", {format_usd(nano / NANO)}" if nano else ", free"
    return f" (call {call_id}, {tokens} tokens{price})"


DESCRIBERS: dict[str, Callable[[RowChange], Iterator[str]]] = {
    "annotate": _describe_annotate,
    "audit": _describe_audit,
    "balance": _describe_balance,
    "cluster": _describe_cluster,
    "ingest": _describe_ingest,
    "profile": _describe_profile,
    "restore": _describe_restore,
    "sample": _describe_sample,
    "score": _describe_score,
    "select": _describe_select,
    "synthesize": _describe_synthesize,
    "unselect": _describe_unselect,
}
