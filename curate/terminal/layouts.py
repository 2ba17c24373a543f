"""Lays out the results of curate's verbs for a terminal: returns what rich can print, and prints nothing.

`LAYOUTS` maps the class of a result, as ``"module:Class"``, to the function that lays it out, so that no verb is imported for
another one's result. A program with verbs of its own names a module with such a mapping to `make_app`, as `baldistill.cli` does.
A result without a layout is shown field by field.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from curate.escapes import printable
from curate.terminal import layouts_balance, layouts_costs, layouts_rows, widgets
from curate.terminal.widgets import ABSENT, count, grid, number, share

__all__ = ["LAYOUTS", "PAGED", "Layout", "layout_of", "render"]

Layout = Callable[[Any], Iterable[Any]]
_SHOWN = 40  # rows of a long list
_TEMPLATE, _READING = 60, 160  # characters of a template, and of how records are read
_CHANGES = 10  # changes of domains and splits
PAGED = frozenset({"curate.report.show:ShowResult"})  # classes whose results are read from end to end, in a pager


def render(result: Any, layouts: Mapping[str, Layout] | None = None) -> list[Any]:
    """Return what rich prints for a result of any verb, from top to bottom.

    Args:
        result: what the verb returned; None is shown as nothing.
        layouts: ``"module:Class"`` → layout; `LAYOUTS` unless given.
    """
    if result is None:
        return []
    parts = layout_of(type(result), LAYOUTS if layouts is None else layouts)(result)
    return [printable(part) if type(part) is str else part for part in parts]  # a Verbatim stays as it is


def layout_of(kind: type[Any], layouts: Mapping[str, Layout]) -> Layout:
    """Return the layout of a class, or of the nearest class that it is made from; `_fields` where there is none."""
    names = (f"{parent.__module__}:{parent.__qualname__}" for parent in kind.__mro__)
    return next((layouts[name] for name in names if name in layouts), _fields)


def _fields(result: Any) -> list[Any]:
    if not dataclasses.is_dataclass(result):
        return [str(result)]
    pairs = [(f.name.replace("_", " "), getattr(result, f.name)) for f in dataclasses.fields(result) if f.name != "manifest"]
    return widgets.facts(str(getattr(result, "manifest", type(result).__name__)), ((k, _short(v)) for k, v in pairs))


def _short(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items()) or ABSENT
    if isinstance(value, tuple | list):
        return ", ".join(str(_short(v)) for v in value) or ABSENT
    return str(value)


def _ingested(result: Any) -> Iterable[Any]:
    done = "rows would be added (dry run, nothing is written)" if result.dry_run else "rows added"
    yield from widgets.facts(
        f"{result.manifest.name if result.manifest.version < 0 else result.manifest}: {count(result.added)} {done}",
        [
            *(
                (f"read as {name}", f"{count(n)}: {_one_line(result.readings[name], _READING)}")
                for name, n in result.shapes.items()
            ),
            ("splits read", _counts(result.splits)),
            ("kinds said", _counts(result.kinds) if result.kinds else None),
            ("already there", count(result.already) if result.already else None),
            ("changed", _counts(result.updated) if result.updated else None),
            *((f"  {what}", f"{before} → {after}: {count(n)}") for what, before, after, n in result.changes[:_CHANGES]),
            ("candidates again", f"{count(result.unselected)} selected rows; run balance again" if result.unselected else None),
            ("no longer in the files", _gone(result) if result.gone else None),
            ("left out", count(len(result.skipped)) if result.skipped else None),
        ],
    )
    yield from (f"  {line}" for line in result.skipped[:_SHOWN])
    yield from _more(len(result.skipped), "rows")
    yield ""
    largest = max([*result.domains.values(), 1])
    lines = [(d, count(n), widgets.Bar([(n, "cyan")], largest)) for d, n in list(result.domains.items())[:_SHOWN]]
    yield grid(["domain", "rows read", ""], lines, left=(0, 2))
    yield from _more(len(result.domains), "domains")


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count(n)}" for name, n in found.items())


def _gone(result: Any) -> str:
    if result.retired:
        return f"{count(result.gone)}, {count(result.retired)} of them retired now"
    return f"{count(result.gone)}, kept as they are; --prune retires them"


def _more(n: int, what: str) -> Iterable[str]:
    return [f"  and {count(n - _SHOWN)} more {what}"] if n > _SHOWN else []


def _embedded(result: Any) -> Iterable[Any]:
    how = f"{result.encoder} ({result.backend}, {result.precision})" if result.backend else result.encoder
    yield from widgets.facts(
        f"{result.manifest}: {count(result.rows)} rows have vectors of {count(result.dim)} numbers",
        [
            ("encoder", how),
            ("texts encoded", count(result.new)),
            ("cut at its limit", count(result.cut) if result.cut else None),
            ("from the cache", count(result.cached)),
        ],
    )


def _clustered(result: Any) -> Iterable[Any]:
    named = f"{count(len(result.domains))} made of {count(sum(result.made.values()))} rows, named by their most telling words"
    yield from widgets.facts(
        f"{result.manifest}: {count(result.rows)} train rows in {count(sum(result.clusters.values()))} clusters",
        [("domains", named if result.domains else None)],
    )
    yield ""
    lines = [
        (domain, count(n), *_made(result, domain)) for domain, n in sorted(result.clusters.items(), key=lambda i: (-i[1], i[0]))
    ]
    more = ["rows of it", "most telling words"] if result.domains else []
    yield grid(["domain", "clusters", *more], lines[:_SHOWN], left=(0, 3))
    yield from _more(len(lines), "domains")


def _made(result: Any, domain: str) -> list[Any]:
    """Return what is said of a domain beside its clusters, where some domains were made."""
    if not result.domains:
        return []
    return [count(result.made[domain]), ", ".join(result.words[domain])] if domain in result.made else ["", ""]


def _sampled(result: Any) -> Iterable[Any]:
    yield from widgets.facts(f"{result.manifest}: {count(sum(result.counts.values()))} train rows drawn", [])
    largest = max([*result.counts.values(), 1])
    lines = [(d, count(n), widgets.Bar([(n, "cyan")], largest)) for d, n in result.counts.items()]
    yield grid(["domain", "rows", ""], lines, left=(0, 2))


def _exported(result: Any) -> Iterable[Any]:
    if result.pushed is not None:
        yield from _pushed(result, result.pushed)
        return
    rows = ", ".join(f"{split} {count(n)}" for split, n in result.rows.items())
    yield from widgets.facts(f"{result.manifest}: {rows}", [("written", path) for path in result.paths])
    over = [line for line in result.lengths if line.over]
    if over:
        lines = [
            (line.domain, line.split, count(line.rows), count(line.over), share(line.share), count(line.longest))
            for line in over[:_SHOWN]
        ]
        yield grid(["domain", "split", "rows", "over --max-tokens", "share", "longest"], lines, left=(0, 1))
        yield from _more(len(over), "domains; --json has them all")
    yield f"{result.folder} is complete" + (f"; load it with {result.load}" if result.load else "")
    if result.train:  # a line of its own, to be copied
        yield f"cd {shlex.quote(str(result.folder))} && {result.train}"


def _pushed(result: Any, pushed: Any) -> Iterable[Any]:
    names = {"new": "new", "changed": "changed", "same": "there already", "gone": "deleted"}
    rows = ", ".join(f"{split} {count(n)}" for split, n in result.rows.items())
    who = "private" if pushed.private else "public: everybody sees it"
    yield from widgets.facts(
        f"{result.manifest}: {rows}",
        [
            ("written", None if pushed.dry_run else result.folder),
            ("repository", f"{pushed.repo} ({who}{', new' if pushed.created else ''})"),
            ("tag", pushed.tag),
        ],
    )
    lines = [(file.path, widgets.size(file.size), names[file.change]) for file in pushed.files]
    yield grid(["file", "size", ""], lines[:_SHOWN], left=(0, 2))
    yield from _more(len(lines), "files; --json has them all")
    stays = [("stays here", f"{count(n)} {what}") for what, n in result.left.items()]
    yield from widgets.facts(
        "", [*stays, ("never sent", "keys, replies of the ledger, local paths, whatever is not listed above")]
    )
    if pushed.dry_run:
        yield widgets.rule("README.md")
        yield widgets.Verbatim(pushed.card if pushed.card.endswith("\n") else f"{pushed.card}\n")
        yield f"nothing was written or pushed; without --dry-run this goes to {pushed.url}"
        return
    done = "pushed to" if pushed.committed else "nothing has changed since the last push to"
    yield widgets.Verbatim(f"{done} {pushed.url} at revision {pushed.revision}; load it with {result.load}\n")


def _card(result: Any) -> Iterable[Any]:
    yield widgets.Verbatim(printable(result.text))


def _audit(result: Any) -> Iterable[Any]:
    rejected = result.findings.filter(decision="reject")
    what = "rejected" if result.applied else "to reject (with --apply)"
    yield from widgets.facts(f"{result.manifest}: {count(result.rows)} rows audited", [])
    if result.findings.is_empty():
        yield "no findings"
        return
    notes = dict(result.findings.filter(decision="note").group_by("auditor").len().iter_rows())
    rejects = dict(rejected.group_by("auditor").len().iter_rows())
    lines = [
        (a, count(rejects.get(a, 0)), share(result.shares.get(a, 0.0)), count(notes.get(a, 0)))
        for a in sorted({*notes, *rejects})
    ]
    yield grid(["auditor", what, "of the rows", "notes"], lines)
    yield ""
    worst = result.findings.sort("decision", "score", descending=[True, True]).head(_SHOWN).iter_rows(named=True)
    cells = [
        (widgets.short_id(f["id"]), f["domain"], f["auditor"], f["decision"], number(f["score"]), f["message"]) for f in worst
    ]
    yield grid(["row", "domain", "auditor", "", "score", "why"], cells, left=(0, 1, 2, 3, 5))
    yield from _more(result.findings.height, "findings; --json has them all")


def _log(result: Any) -> Iterable[Any]:
    lines = [
        (c.version, c.time.strftime("%Y-%m-%d %H:%M"), c.verb, ", ".join(result.tags.get(c.version, ())), _what(c))
        for c in result.commits
    ]
    yield grid(["version", "time (UTC)", "verb", "tags", "what it did"], lines, left=(1, 2, 3, 4))


def _what(commit: Any) -> str:
    """Return what a commit did, in short."""
    done, given = commit.summary, commit.parameters
    if commit.verb == "restore":
        return f"version {done['base']} again: " + _changes(done["added"], done["gone"], done["changed"])
    if commit.verb == "ingest":
        said = ((name, given.get(name)) for name in ("prompt", "answer", "rationale", "domain", "split"))
        flags = [f"{name} {_one_line(str(value))!r}" for name, value in said if value]
        updated = f"updated {_counts(done['updated'])}" if done.get("updated") else ""
        return ", ".join(filter(None, (_summary(done), updated, *flags)))
    if commit.verb != "balance" or "achieved" not in done:
        return _summary(done)
    rows = sum(done["achieved"].values()) if done.get("rows") is None else done["rows"]
    new = sum(done["synthetic"].values())
    stage = f"stage {given.get('stage')} of {given.get('stages')}, {given.get('policy')}, from version {done.get('base')}"
    return f"{stage}: {count(rows)} of {count(done['budget'])} rows, {count(new)} of them synthetic, {count(done['calls'])} calls"


def _one_line(text: str, most: int = _TEMPLATE) -> str:
    short = " ".join(text.split())
    return short if len(short) <= most else f"{short[: most - 1]}…"


def _summary(summary: Mapping[str, Any]) -> str:
    """Return the figures of a commit that are not 0; the rest is left to ``--json``."""
    plain = {k: v for k, v in summary.items() if isinstance(v, int | float) and not isinstance(v, bool) and v}
    return ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in plain.items())


def _changes(added: int, gone: int, changed: int) -> str:
    return f"{count(added)} rows added, {count(gone)} gone, {count(changed)} changed"


def _diff(result: Any) -> Iterable[Any]:
    yield from widgets.facts(
        f"{result.old} → {result.manifest}: {_changes(result.added, result.gone, result.changed)}",
        [("changed in", ", ".join(f"{column} {count(n)}" for column, n in result.columns.items()) or None)],
    )
    if result.domains:
        yield ""
        lines = [(d.domain, count(d.added), count(d.gone), count(d.changed)) for d in result.domains]
        yield grid(["domain", "added", "gone", "changed"], lines)


def _explanation(result: Any) -> Iterable[Any]:
    yield from widgets.facts(f"{result.manifest}: row {result.id}", [])
    yield from result.lines()


def _annotated(result: Any) -> Iterable[Any]:
    if result.estimate is not None:
        yield from _planned(f"{result.manifest}: plan for {count(result.rows)} rationales", result)
        return
    title = f"{result.manifest}: {count(result.written)} rationales for {count(result.rows)} rows that had none"
    found = layouts_balance.rejections(result.rejected)
    refused = f"{count(result.refused)} by the server, as a finding of each row says" if result.refused else None
    yield from widgets.facts(
        title, [("rejected", found or None), ("refused", refused), ("unanswered", count(result.unanswered)), *_spent(result)]
    )
    if result.short_by:
        rest = result.short_by - sum(result.rejected.values()) - result.refused - result.unanswered
        whys = {"rejected": sum(result.rejected.values()), "refused by the server": result.refused}
        whys |= {"not in the recording": result.unanswered, "not asked or not answered": rest}
        told = ", ".join(f"{count(n)} {why}" for why, n in whys.items() if n > 0)
        yield (
            f"{count(result.short_by)} of {count(result.rows)} rows have no rationale ({told}), so this ends with exit status 4: "
            f"{_way_out(result, 'run the same command again to ask for others' if result.rejected else _OTHERS)}"
        )


_OTHERS = "ask another model for them, or unselect them"


def _way_out(result: Any, otherwise: str) -> str:
    return otherwise if result.complete else "raise the cap, or mend what failed, and run the same command again"


def _synthesized(result: Any) -> Iterable[Any]:
    if result.estimate is not None:
        wanted = f"{count(result.wanted)} new examples of {', '.join(result.written)}"
        yield from _planned(f"{result.manifest}: plan for {wanted}", result)
        return
    title = f"{result.manifest}: {count(sum(result.written.values()))} new examples"
    yield from widgets.facts(title, [*_spent(result), ("per example", layouts_balance.per_written(result))])
    yield ""
    lines = [
        (d, count(result.wanted), count(n), layouts_balance.rejections(result.rejected.get(d))) for d, n in result.written.items()
    ]
    yield grid(["domain", "wanted", "written", "rejected"], lines, left=(0, 3))
    if result.short_by:
        wanted = count(result.wanted * len(result.written))
        yield (
            f"{count(result.short_by)} of {wanted} new examples are missing, so this ends with exit status 4: "
            f"{_way_out(result, 'raise --max-attempts, or ask another model')}"
        )


def _or_preview(layout: Callable[[Any], Iterable[Any]]) -> Callable[[Any], Iterable[Any]]:
    """Return the layout of a verb that asks a teacher: of the replies of a preview, else its own."""
    return lambda result: layout(result) if result.preview is None else layouts_rows.previewed(result)


def _planned(title: str, result: Any) -> Iterable[Any]:
    """Lay out a dry run."""
    estimate = result.estimate
    units = {"calls": "calls", "tokens": "tokens", "cost": "usd"} if estimate.calls else {}
    yield from widgets.facts(title, [(name, layouts_costs.estimated(estimate, unit)) for name, unit in units.items()])
    yield from layouts_balance.asked(result.asked, result.manifest.name)
    yield from layouts_balance.estimate_remarks([estimate])


def _spent(result: Any) -> list[tuple[str, Any]]:
    spent = result.spent
    stopped = None if result.complete else "by a cap or failed calls; what was bought is kept, run the same command to continue"
    charged = f"{count(spent.calls)} calls, {count(spent.tokens)} tokens, {layouts_costs.cost(spent)}" if spent.calls else None
    stored = f"{count(spent.saved)} replies" if spent.saved else None
    estimated = result.reckoned is not None and result.reckoned.estimate.calls
    estimate = layouts_costs.compared(result.reckoned) if estimated else None
    return [("charged", charged), ("estimate", estimate), ("from the ledger", stored), ("stopped", stopped)]


def _listed(result: Any) -> Iterable[Any]:
    if not result.manifests:
        yield f"no manifest in {result.root!r}; make one with: curate ingest FILE --to NAME"
        return
    lines = [
        (found.name, count(found.rows), widgets.size(found.bytes), *_last(found.last, found.problem))
        for found in result.manifests
    ]
    yield grid(["manifest", "rows", "size", "version", "time (UTC)", "done last"], lines, left=(0, 4, 5))


def _last(commit: Any, problem: str | None) -> tuple[Any, ...]:
    if commit is None:
        return None, None, f"cannot be read: {problem}"
    what = _what(commit)
    return commit.version, commit.time.strftime("%Y-%m-%d %H:%M"), f"{commit.verb}: {what}" if what else commit.verb


def _renamed(result: Any) -> Iterable[Any]:
    name = result.manifest.name
    before = f"{layouts_costs.charged(result.before)} of it by an earlier manifest of that name" if result.before.calls else None
    runs = f"the records of {', '.join(result.runs)}, which are read as {name}'s" if result.runs else None
    done = f"{result.old} was {name} already, and its charges are too now" if result.finished else f"{result.old} is {name} now"
    yield from widgets.facts(
        done,
        [
            ("charged to it", layouts_costs.charged(result.charged) if result.charged.calls else None),
            ("", before),
            (f"still say {result.old}", runs),
            ("" if runs else f"still say {result.old}", "plans, exports and adapters that were made before"),
        ],
    )


def _deleted(result: Any) -> Iterable[Any]:
    found = result.removed
    kept = f"{layouts_costs.charged(result.charged)}: a new manifest named {found.name} counts it against its caps"
    yield from widgets.facts(
        f"{found.name} is deleted",
        [
            ("removed", found.summary()),
            ("the ledger keeps", f"every reply; {kept}" if result.charged.calls else None),
            ("still name it", f"the records of {', '.join(result.runs)}" if result.runs else None),
        ],
    )


def _restored(result: Any) -> Iterable[Any]:
    changes = _changes(result.added, result.gone, result.changed)
    yield from widgets.facts(f"{result.manifest} is {result.restored} again: {changes}", [])


def _unselected(result: Any) -> Iterable[Any]:
    stages = ", ".join(map(str, result.undone))
    yield from widgets.facts(
        f"{result.manifest}: {count(result.rows)} rows are candidates again",
        [
            ("synthetic", count(result.synthetic) if result.synthetic else None),
            ("repeats, gone", count(result.repeats) if result.repeats else None),
            ("undone", f"stages {stages}: curate balance fills them again" if stages else None),
        ],
    )
    if result.domains:
        yield ""
        yield grid(["domain", "rows"], [(domain, count(n)) for domain, n in list(result.domains.items())[:_SHOWN]])
        yield from _more(len(result.domains), "domains")


def _tags(result: Any) -> Iterable[Any]:
    if not result.tags:
        yield f"{result.manifest.name} has no tags"
        return
    lines = sorted(result.tags.items(), key=lambda item: (item[1], item[0]))
    yield grid(["tag", "version"], [(tag, f"{result.manifest.name}@{version}") for tag, version in lines], left=(0, 1))


LAYOUTS: Mapping[str, Layout] = {
    "curate.audit.audit:AuditResult": _audit,
    "curate.balance.annotate:AnnotateResult": _or_preview(_annotated),
    "curate.balance.results:BalanceResult": _or_preview(layouts_balance.balanced),
    "curate.balance.synthesize:SynthesizeResult": _or_preview(_synthesized),
    "curate.cards.card:CardResult": _card,
    "curate.export.export:ExportResult": _exported,
    "curate.generation.prompts:Template": lambda result: [widgets.Verbatim(result.text)],
    "curate.housekeeping.delete:DeleteResult": _deleted,
    "curate.housekeeping.listing:ListResult": _listed,
    "curate.housekeeping.rename:RenameResult": _renamed,
    "curate.housekeeping.restore:RestoreResult": _restored,
    "curate.housekeeping.unselect:UnselectResult": _unselected,
    "curate.ledger.transfer:LedgerExportResult": layouts_costs.exported,
    "curate.ledger.transfer:LedgerImportResult": layouts_costs.imported,
    "curate.manifest.history:Diff": _diff,
    "curate.manifest.history:Log": _log,
    "curate.manifest.history:Tags": _tags,
    "curate.report.costs:Call": layouts_costs.call,
    "curate.report.costs:Receipts": layouts_costs.receipts,
    "curate.report.costs:CostSummary": layouts_costs.summary,
    "curate.report.explain:Explanation": _explanation,
    "curate.report.show:ShowResult": layouts_rows.shown,
    "curate.report.tail:Profile": layouts_balance.profile,
    "curate.selection.sample:SampleResult": _sampled,
    "curate.selection.select:SelectResult": layouts_balance.selected,
    "curate.sources.ingest:IngestResult": _ingested,
    "curate.vectors.cluster:ClusterResult": _clustered,
    "curate.vectors.embed:EmbedResult": _embedded,
}
