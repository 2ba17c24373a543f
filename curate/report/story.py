"""Owns the sentences about one row: what each verb did to it, and what holds it. Reads versions; changes nothing.

One function per verb, in `TELLERS`; a verb that is not there is told by the columns that it changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from curate.files import ledger_path
from curate.ledger.ledger import Ledger
from curate.manifest.manifest import Commit, Manifest
from curate.manifest.rows import domain_counts, head_domains, is_usable_real, parse_origin, read_findings, snapshot_holds
from curate.manifest.schema import SCHEMA
from curate.teachers.prices import NANO

__all__ = ["TELLERS", "Moment", "short", "tell", "tell_use"]

_SHORT = 8  # hex digits of an id in a sentence
_PARENTS = 4  # named in a sentence


@dataclass(frozen=True)
class Moment:
    """One commit, as one row saw it.

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
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Column → value before and after, of the columns that changed; empty where the row is new or gone."""
        if self.before is None or self.after is None:
            return {}
        return {name: (self.before[name], self.after[name]) for name in SCHEMA if self.before[name] != self.after[name]}

    @cached_property
    def new_findings(self) -> list[dict[str, Any]]:
        """What auditors and attempts found in this commit."""
        had, now = (read_findings(row["findings"]) if row else [] for row in (self.before, self.after))
        return [finding for finding in now if finding not in had]


def tell(moment: Moment) -> list[str]:
    """Return what a commit did to the row, as sentences; none where it left the row as it was."""
    if moment.before is None and moment.after is None:
        return []
    if moment.after is None:
        return ["the row is gone"]
    return list(TELLERS.get(moment.commit.verb, _tell_changes)(moment))


def tell_use(moments: Sequence[Moment]) -> Iterator[tuple[str, list[str]]]:
    """Yield what holds the row at the end, as (verb, sentences): the snapshots that students learned from, and exports.

    Args:
        moments: every commit that the version stands on, oldest first.
    """
    holding = {m.end.version for m in moments if m.after and m.after["split"] == "train" and snapshot_holds(m.after)}
    learned = [
        f"the student of stage {index} of run {run} learns from snapshot v{version}"
        for run, index, version in _runs(moments[-1].end)
        if version in holding
    ]
    if learned:
        yield "train", learned
    yield "export", [_tell_export(moments[-1])]


def short(row_id: str) -> str:
    """Return the beginning of an id, as it stands in sentences."""
    return f"{row_id[:_SHORT]}…"


def _tell_ingest(moment: Moment) -> Iterator[str]:
    if not moment.is_new:
        yield from _tell_changes(moment)
        return
    row = moment.row
    split = "" if row["split"] == "train" else f", split {row['split']}"
    yield f"{_origin(row)} becomes example {short(row['id'])}, domain {row['domain']}, source {row['source']}{split}"


def _tell_cluster(moment: Moment) -> Iterator[str]:
    if "domain" in moment.changes:
        yield f"its domain is found by its cluster: {moment.row['domain']}"
    if moment.changes.keys() & {"cluster", "centrality"} and moment.row["cluster"] is not None:
        mine = (pl.col("domain") == moment.row["domain"]) & pl.col("cluster").is_not_null()
        n = moment.end.scan().filter(mine).select(pl.col("cluster").n_unique()).collect().item()
        place = f"cluster {moment.row['cluster']} of {n} in {moment.row['domain']}"
        yield f"{place}, cosine {moment.row['centrality']:.2f} to its centre (its vector is in the cache)"


def _tell_sample(moment: Moment) -> Iterator[str]:
    if "status" in moment.changes:
        left_out = moment.row["status"] == "rejected"
        yield f"{'left out of' if left_out else 'drawn into'} the sample: {_because(moment.row)}"


def _tell_profile(moment: Moment) -> Iterator[str]:
    if "n_tokens" in moment.changes:
        yield f"{moment.row['n_tokens']} tokens for {moment.commit.parameters.get('student', 'the student')}"


def _tell_score(moment: Moment) -> Iterator[str]:
    if moment.changes.keys() & {"score", "score_kind", "scored_by"} and moment.row["score"] is not None:
        yield f"{moment.row['score_kind']} {moment.row['score']:.4g}, scored by {moment.row['scored_by']}"


def _tell_audit(moment: Moment) -> Iterator[str]:
    yield from _tell_findings(moment)
    if "status" in moment.changes:
        yield f"{moment.row['status']}: {_because(moment.row)}"


def _tell_annotate(moment: Moment) -> Iterator[str]:
    if moment.is_new:
        yield from _tell_birth(moment)
    elif moment.changes.keys() & {"content", "call_id"}:
        yield f"the teacher writes a rationale for {short(moment.row['id'])}{_cost(moment, moment.row['call_id'])}"
    yield from _tell_findings(moment)
    if "status" in moment.changes:
        yield f"{moment.row['status']}: {_because(moment.row)}"


def _tell_synthesize(moment: Moment) -> Iterator[str]:
    if moment.is_new:
        yield from _tell_birth(moment)
        yield from _tell_findings(moment)
        yield f"{moment.row['status']}: {_because(moment.row)}"
    else:
        yield from _tell_changes(moment)


def _tell_balance(moment: Moment) -> Iterator[str]:
    stage, row = int(moment.commit.parameters.get("stage", -1)), moment.row
    if row["split"] != "train" or not (moment.is_new or moment.changes):
        return
    yield _plan(moment, stage)
    if moment.is_new:
        yield from _tell_birth(moment)
    if row["status"] == "selected" and not moment.is_new:
        yield f"chosen: {_because(row)}" if "reason" in moment.changes else "chosen now, after an attempt that had failed"
    yield from _written(moment)
    yield from _tell_rationales(moment)
    if moment.is_new or row["status"] == "rejected":
        yield f"{'kept' if row['status'] == 'selected' else row['status']}: {_because(row)}"
    elif row["status"] == "candidate":
        yield f"it stays a candidate; {_because(row)}"


def _tell_select(moment: Moment) -> Iterator[str]:
    if moment.changes.keys() & {"status", "reason"}:
        chosen = moment.row["status"] == "selected"
        yield f"chosen: {_because(moment.row)}" if chosen else f"it stays a candidate; {_because(moment.row)}"


def _tell_rationales(moment: Moment) -> Iterator[str]:
    """Tell the attempts at a rationale in order: what was found in earlier ones, the last one, what was found in it."""
    call = moment.row["call_id"]
    earlier = [f for f in moment.new_findings if f.get("attempt") is not None and f.get("call_id") != call]
    yield from map(_tell_finding, earlier)
    if not moment.is_new and "call_id" in moment.changes:
        yield f"the teacher writes a rationale for {short(moment.row['id'])}{_cost(moment, call)}"
    yield from (_tell_finding(finding) for finding in moment.new_findings if finding not in earlier)


def _plan(moment: Moment, stage: int) -> str:
    """Say what the stage planned for the row's domain, and whether its real rows reach."""
    domain = moment.row["domain"]
    planned = moment.commit.summary.get("quotas", {}).get("planned", {}).get(domain, 0)
    rows = moment.start.rows("domain", "split", "source", "origin", "status", "stage")
    heads = head_domains(domain_counts(rows), moment.commit.parameters.get("budget"))
    left = rows.filter(is_usable_real(), domain=domain, status="candidate").height
    short_by = f", {planned - left} short" if planned > left else ""
    kind = "head" if domain in heads else "tail"
    return f"stage {stage} plans {planned} places for {domain}; {left} real rows are left: a {kind}{short_by}"


def _written(moment: Moment) -> Iterator[str]:
    """Say what the teacher wrote from this row in this commit, and what the audit kept of it."""
    from_it = pl.col("parents").list.contains(moment.row["id"]) & (pl.col("source") == "synthetic")
    columns = ("id", "status", "reason", "findings")
    children = moment.end.scan().filter(from_it).select(columns).collect()
    if moment.start.version >= 0 and children.height:
        known = moment.start.scan().filter(from_it).select("id").collect()
        children = children.join(known, on="id", how="anti")
    if children.is_empty():
        return
    kept = children.filter(status="selected").height
    lost = Counter(children.filter(status="rejected")["reason"].fill_null("audit").to_list())
    names = ", ".join(f"{n} {reason}" for reason, n in sorted(lost.items()))
    rejected = f", {lost.total()} rejected by the audit ({names})" if lost else ""
    noun = "row is" if children.height == 1 else "rows are"
    yield f"{children.height} synthetic {noun} written from {short(moment.row['id'])} and others{rejected}, {kept} kept"


def _tell_birth(moment: Moment) -> Iterator[str]:
    """Say from what a row was written, with its parents' beginnings."""
    row, parents = moment.row, moment.row["parents"] or []
    known = moment.end.scan().filter(pl.col("id").is_in(parents)).select("id", "origin", "domain", "source").collect()
    by_id = {parent["id"]: parent for parent in known.to_dicts()}
    named = [f"{short(i)} ({_origin(by_id[i])})" if i in by_id else short(i) for i in parents[:_PARENTS]]
    more = f" and {len(parents) - _PARENTS} more" if len(parents) > _PARENTS else ""
    if parse_origin(row["origin"]).kind == "repeat":
        yield f"{short(row['id'])} repeats {', '.join(named)}"
        return
    source = f"from {', '.join(named)}{more}" if named else f"as {row['origin'] or ''}"
    yield f"{short(row['id'])}, {row['source']}, is written for {row['domain']} {source}{_cost(moment, row['call_id'])}"


def _tell_findings(moment: Moment) -> Iterator[str]:
    return map(_tell_finding, moment.new_findings)


def _tell_finding(finding: dict[str, Any]) -> str:
    attempt = "" if finding.get("attempt") is None else f"attempt {finding['attempt']}: "
    cause = f", because of {short(finding['because_of'])}" if finding.get("because_of") else ""
    score = "" if finding.get("score") is None else f" (score {finding['score']:.2f})"
    return f"{attempt}{finding['auditor']} {_verdict(finding)}{score}: {finding.get('message') or 'no message'}{cause}"


def _verdict(finding: dict[str, Any]) -> str:
    return "rejects it" if finding.get("decision") == "reject" else "notes"


def _tell_changes(moment: Moment) -> Iterator[str]:
    """Tell a commit of any verb by the columns that it changed."""
    if moment.is_new:
        yield f"example {short(moment.row['id'])} comes in, domain {moment.row['domain']}, source {moment.row['source']}"
    plain = [name for name in moment.changes if name not in ("findings", "reason")]
    for name in plain:
        old, new = moment.changes[name]
        yield f"{name}: {'none' if old is None else old} → {'none' if new is None else new}"
    if "status" in plain and moment.row["reason"]:
        yield f"reason: {moment.row['reason']}"
    yield from _tell_findings(moment)


def _tell_export(moment: Moment) -> str:
    row, name = moment.row, f"v{moment.end.version}"
    held = snapshot_holds(row)
    if held and row["split"] != "train":
        use = "it may steer training" if row["split"] == "validation" else "it measures, and never steers"
        return f"every export of {name} holds it in split {row['split']}; no student learns from it, {use}"
    if held:
        return f"every export of {name} holds it in split train, with its source, stage, reason and parents"
    return f"no export of {name} holds it: it is {row['status']}"


def _because(row: dict[str, Any]) -> str:
    return str(row["reason"] or "no reason was written down")


def _origin(row: dict[str, Any]) -> str:
    """Say where a row came from: ``row 41 of math.jsonl``, or the origin as it is."""
    origin = parse_origin(row["origin"])
    if origin.kind == "file":
        return f"row {origin.number} of {origin.name}"
    return row["origin"] or "a source without a name"


def _cost(moment: Moment, call_id: int | None) -> str:
    """Say which call it was, and what it took; the figures only where the ledger is at hand."""
    path = ledger_path(moment.end.root)
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
    price = "" if nano is None else f", ${nano / NANO:.5f}" if nano else ", free"
    return f" (call {call_id}, {tokens} tokens{price})"


def _runs(manifest: Manifest) -> Iterator[tuple[str, int, int]]:
    """Yield (run, stage, version) of every student that learned from a version of this manifest."""
    folder = Path(manifest.root) / "manifests" / "runs"
    for path in sorted(folder.glob("*/record.json")):
        for line in json.loads(path.read_text(encoding="utf-8")):
            name, _, version = str(line["snapshot"]).partition("@")
            if name == manifest.name and line["index"] >= 0:
                yield path.parent.name, int(line["index"]), int(version)


TELLERS: dict[str, Callable[[Moment], Iterator[str]]] = {
    "annotate": _tell_annotate,
    "audit": _tell_audit,
    "balance": _tell_balance,
    "cluster": _tell_cluster,
    "ingest": _tell_ingest,
    "profile": _tell_profile,
    "sample": _tell_sample,
    "score": _tell_score,
    "select": _tell_select,
    "synthesize": _tell_synthesize,
}
