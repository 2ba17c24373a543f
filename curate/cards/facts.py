"""Reads what a card states, once: from the rows of a version, from its log, and from the ledger. Writes no text.

`read_facts` is all that looks at a manifest; the card, its header, Croissant and the summary for the EU are made of what it
returns, so that they never differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import xxhash

from curate.cards.languages import SAMPLE, Languages, find_languages
from curate.cards.licences import Licences, read_licences
from curate.cards.markup import without_folder
from curate.errors import ManifestError
from curate.manifest import ids
from curate.manifest.manifest import Commit, Manifest
from curate.manifest.rows import counts_as_ingested, in_snapshot, is_repeat, is_written_by, parse_origin, per_label, read_findings
from curate.manifest.schema import SPLITS

if TYPE_CHECKING:
    from curate.report.costs import CostSummary

__all__ = ["COLUMNS", "AuditorFacts", "CardFacts", "DomainRows", "SourceFacts", "StageFacts", "fingerprint", "read_facts"]

# Of the manifest, that facts of a snapshot are read from.
COLUMNS = ("id", "content", "domain", "labels", "split", "source", "origin", "status", "stage", "n_chars", "call_id", "findings")
_ASKING = ("balance", "annotate", "synthesize")  # verbs that ask a teacher


@dataclass(frozen=True)
class DomainRows:
    """Train rows of a domain: as they were ingested, and in the data set, of which real and synthetic."""

    domain: str
    before: int
    after: int
    real: int
    synthetic: int


@dataclass(frozen=True)
class SourceFacts:
    """A source as it was ingested the last time.

    Attributes:
        address: a file's, folder's or glob's own name, or ``hf://…``; no local path.
        kind: ``real`` or ``synthetic``.
        rows: read of it.
        licence: as given, or None.
        fingerprint: ``sha256:…`` or ``revision:…``.
    """

    address: str
    kind: str
    rows: int
    licence: str | None
    fingerprint: str


@dataclass(frozen=True)
class StageFacts:
    """What a stage of `balance` came to; slots that stayed empty are `slots` - `filled`.

    Attributes:
        stage: from 0.
        version: that it made.
        slots: of its budget.
        filled: of them; a row of several labels fills one of each.
        synthetic: of the filled ones.
        complete: False where a cap stopped it.
    """

    stage: int
    version: int
    slots: int
    filled: int
    synthetic: int
    complete: bool


@dataclass(frozen=True)
class AuditorFacts:
    """What one auditor found, over all rows and attempts of the manifest.

    Attributes:
        auditor: its name.
        threshold: lowest score that rejects, 0 to 1.
        rejected, noted: findings.
        standing: rows of the data set that it would reject, and that an audit without ``--apply`` left there.
    """

    auditor: str
    threshold: float
    rejected: int
    noted: int
    standing: int


@dataclass(frozen=True)
class CardFacts:
    """Everything that is known of a snapshot.

    Attributes:
        manifest: the version that it is of.
        fingerprint: of the ids and contents of its rows: equal for equal snapshots.
        package: version of this package that made the newest commit.
        unknown: versions at the start of which the log tells nothing.
        log: the commits that the version stands on, oldest first.
        splits: rows per split.
        real, synthetic, repeats: train rows; repeats are among the real ones.
        rationales: real train rows whose rationale a teacher wrote.
        characters: of prompts, rationales and answers of the train rows together.
        domains: largest before first.
        several: whether rows have several labels.
        sources: in the order of their first ingest.
        licences: of them; nothing is stated where `unknown`.
        stages: of `balance`, in order.
        planned_stages: that the newest stage's command was for.
        cut: commands of other verbs that a cap stopped: ``annotate (v5)``.
        tasks: task → how many domains have it (`curate.answers.answers.TASKS`), most first.
        chats: whether a sampled row has further turns.
        languages: of a sample of the texts.
        teachers: models that were asked, sorted.
        prompts: purpose → versions of the templates.
        auditors: that found something, sorted.
        audited: whether a verb of the log judged any row.
        costs: what the ledger says was charged to the manifest's name, or None where there is no ledger.
        kept_back: split → held-out rows that are not in the data set, since they were not asked for.
        complete_only: whether rows of stages that a cap cut short are left out.
        max_tokens: by which rows were measured, or None.
        too_long: train rows over it that are left out.
    """

    manifest: Manifest
    fingerprint: str
    package: str
    unknown: int
    log: tuple[Commit, ...]
    splits: dict[str, int]
    real: int
    synthetic: int
    repeats: int
    rationales: int
    characters: int
    domains: tuple[DomainRows, ...]
    several: bool
    sources: tuple[SourceFacts, ...]
    licences: Licences
    stages: tuple[StageFacts, ...]
    planned_stages: int
    cut: tuple[str, ...]
    tasks: dict[str, int]
    chats: bool
    languages: Languages
    teachers: tuple[str, ...]
    prompts: dict[str, tuple[str, ...]]
    auditors: tuple[AuditorFacts, ...]
    audited: bool
    costs: CostSummary | None
    kept_back: dict[str, int]
    complete_only: bool
    max_tokens: int | None
    too_long: int

    @property
    def train(self) -> int:
        """Train rows."""
        return self.splits.get("train", 0)

    @property
    def rows(self) -> int:
        """Rows of every split."""
        return sum(self.splits.values())

    @property
    def held_out(self) -> int:
        """Validation and test rows."""
        return self.rows - self.train

    @property
    def newest(self) -> Mapping[str, Any]:
        """Parameters of the newest `balance`, else of the newest `select`; empty where neither was run."""
        for verb in ("balance", "select"):
            found = [commit for commit in self.log if commit.verb == verb]
            if found:
                return {"verb": verb, **found[-1].parameters, "seed": found[-1].seed}
        return {}


def read_facts(
    manifest: Manifest,
    *,
    language: Sequence[str] = (),
    held_out: bool = True,
    complete_only: bool = False,
    within: tuple[int, pl.LazyFrame] | None = None,
) -> CardFacts:
    """Read everything that a card states.

    Args:
        manifest: a version that has at least one commit.
        language: codes that somebody gave; unless there are any, a sample of the texts is looked at.
        held_out: whether validation and test rows are in the data set.
        complete_only: whether the rows of stages that a cap cut short are left out.
        within: a limit of tokens by which rows were measured, and the rows that are in the data set (columns `COLUMNS`).

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    from curate.audit.kinds import read_kinds

    log = tuple(manifest.lineage(partial=True))  # what the rows went through, without what was undone
    if not log:
        raise ManifestError(
            f"the log of {manifest} is gone, so no card can say where its rows come from: restore it from a backup, or export "
            "with --to jsonl, which has no card"
        )
    rows, stages = manifest.scan(), _stages(log)
    short = [stage.stage for stage in stages["stages"] if not stage.complete]
    kept = rows.filter(in_snapshot(held_out=held_out, without=short if complete_only else ()))
    whole = _counts(kept)
    kept = kept if within is None else within[1]
    counts = whole if within is None else _counts(kept)
    held = {} if held_out else _counts(rows.filter(in_snapshot()))
    unknown = log[0].base + 1
    sources = _sources(log)
    texts = _texts(manifest, kept)
    return CardFacts(
        manifest=manifest,
        fingerprint=fingerprint(kept),
        package=log[-1].package,
        unknown=unknown,
        log=log,
        splits={split: n for split in SPLITS if (n := counts[split])},
        real=counts["real"],
        synthetic=counts["synthetic"],
        repeats=counts["repeats"],
        rationales=counts["rationales"],
        characters=counts["characters"],
        domains=_domains(rows, kept),
        several=bool(counts["several"]),
        sources=sources,
        licences=read_licences([] if unknown else [source.licence for source in sources]),
        **stages,
        tasks=_tasks(read_kinds(manifest)),
        chats=bool(texts["messages"].count()),
        languages=find_languages(texts.select("prompt", "answer", "rationale"), given=language),
        teachers=_teachers(log, kept),
        prompts=_prompts(log),
        auditors=_auditors(rows, kept, log),
        audited=any(commit.verb in ("audit", "balance", "annotate", "synthesize") for commit in log),
        costs=_costs(manifest),
        kept_back={split: n for split in SPLITS[1:] if (n := held.get(split, 0))},
        complete_only=complete_only and bool(short),
        max_tokens=None if within is None else within[0],
        too_long=whole["train"] - counts["train"],
    )


def _counts(kept: pl.LazyFrame) -> dict[str, int]:
    train, real = pl.col("split") == "train", pl.col("source") == "real"
    found = kept.select(
        *((pl.col("split") == split).sum().alias(split) for split in SPLITS),
        real=(train & real).sum(),
        synthetic=(train & ~real).sum(),
        repeats=(train & is_repeat()).sum(),
        rationales=(train & real & pl.col("call_id").is_not_null()).sum(),
        several=pl.col("labels").count(),
        characters=pl.col("n_chars").filter(train).cast(pl.Int64).sum(),
    )
    return {name: int(n) for name, n in found.collect(engine="streaming").row(0, named=True).items()}


def fingerprint(kept: pl.LazyFrame) -> str:
    """Return a hash over the rows of a snapshot, whatever their order: id, content, domain, split, source and stage."""
    parts = (pl.col(name).cast(pl.String).fill_null("") for name in ("id", "content", "domain", "split", "source", "stage"))
    lines = kept.select(pl.concat_str(*parts, separator="\x1f")).collect(engine="streaming").to_series()
    return f"xxh3:{xxhash.xxh3_128_hexdigest(ids.draws(lines, 0).sort().to_numpy().tobytes())}"


def _domains(rows: pl.LazyFrame, kept: pl.LazyFrame) -> tuple[DomainRows, ...]:
    real = pl.col("source") == "real"
    before = per_label(rows.filter(counts_as_ingested())).group_by("domain").agg(before=pl.len())
    train = per_label(kept.filter(split="train"))
    after = train.group_by("domain").agg(after=pl.len(), real=real.sum(), synthetic=(~real).sum())
    both = before.join(after, on="domain", how="full", coalesce=True, nulls_equal=True).collect(engine="streaming")
    both = both.with_columns(pl.col("domain").fill_null(""), pl.exclude("domain").fill_null(0))
    ordered = both.sort(["before", "after", "domain"], descending=[True, True, False])
    return tuple(DomainRows(**row) for row in ordered.select("domain", "before", "after", "real", "synthetic").to_dicts())


def _sources(log: Iterable[Commit]) -> tuple[SourceFacts, ...]:
    """Return the newest record of every source ever ingested, with the newest licence that was given for it."""
    found: dict[str, SourceFacts] = {}
    for commit in log:
        for source in commit.summary.get("sources", []) if commit.verb == "ingest" else []:
            address, licence = str(source["address"]), source.get("licence")
            earlier = found.get(address)
            found[address] = SourceFacts(
                address=address,
                kind=str(source.get("source", "")),
                rows=int(source.get("rows", 0)),
                licence=licence or (earlier.licence if earlier else None),
                fingerprint=str(source.get("hash", "")),
            )
    return tuple(found.values())


def _stages(log: Sequence[Commit]) -> dict[str, Any]:
    """Return the stages that stand, as `curate.manifest.history.done_stages` has them, of a log that may be partial."""
    done: dict[int, Commit] = {}
    for commit in log:
        if commit.verb == "balance" and "achieved" in commit.summary:
            done[int(commit.parameters.get("stage", 0))] = commit
        for stage in commit.summary.get("undone", ()) if commit.verb == "unselect" else ():
            done.pop(int(stage), None)
    others = [c for c in log if c.verb in ("annotate", "synthesize") and c.summary.get("complete") is False]
    return {
        "stages": tuple(_stage(stage, commit) for stage, commit in sorted(done.items())),
        "planned_stages": int(done[max(done)].parameters.get("stages", 1)) if done else 0,
        "cut": tuple(f"{commit.verb} (v{commit.version})" for commit in others),
    }


def _stage(stage: int, commit: Commit) -> StageFacts:
    summary = commit.summary
    return StageFacts(
        stage=stage,
        version=commit.version,
        slots=int(summary["budget"]),
        filled=sum(summary["achieved"].values()),
        synthetic=sum(summary["synthetic"].values()),
        complete=bool(summary["complete"]),
    )


def _tasks(kinds: Iterable[Any]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for kind in kinds:
        found[kind.task] += len(kind.domains)
    return dict(found.most_common())


def _texts(manifest: Manifest, kept: pl.LazyFrame) -> pl.DataFrame:
    """Return the texts of some rows of the snapshot: those of the lowest ids, which are as good as drawn, being hashes."""
    some = kept.select("id", "content").sort("id").head(SAMPLE).collect(engine="streaming")
    return manifest.contents(some["content"], columns=["content", "prompt", "answer", "rationale", "messages"]).sort("content")


def _teachers(log: Iterable[Commit], kept: pl.LazyFrame) -> tuple[str, ...]:
    """Return the models that were asked, and those that the rows say wrote them."""
    named = {str(commit.parameters["model"]) for commit in log if commit.verb in _ASKING and commit.parameters.get("model")}
    written = kept.filter(is_written_by()).select(pl.col("origin").str.replace(r"#[0-9]+$", "").unique()).collect()
    names = named | {parse_origin(f"{origin}#0").name for origin in written["origin"]}
    return tuple(sorted({without_folder(name) for name in names}))


def _prompts(log: Iterable[Commit]) -> dict[str, tuple[str, ...]]:
    """Return per purpose which versions of prompts were sent; those of a verb that asked no teacher do not count."""
    found: dict[str, set[str]] = {"rationale": set(), "synthesis": set()}
    for commit in log:
        if commit.verb not in _ASKING or not commit.parameters.get("model"):
            continue
        purpose = {"annotate": "rationale", "synthesize": "synthesis"}.get(commit.verb)
        if purpose is not None and commit.parameters.get("prompt"):
            found[purpose].add(str(commit.parameters["prompt"]))
        for each in found if purpose is None else ():
            if commit.parameters.get(f"{each}_prompt"):
                found[each].add(str(commit.parameters[f"{each}_prompt"]))
    return {purpose: tuple(sorted(versions)) for purpose, versions in found.items() if versions}


def _auditors(rows: pl.LazyFrame, kept: pl.LazyFrame, log: Sequence[Commit]) -> tuple[AuditorFacts, ...]:
    from curate.audit.base import OTHER_THRESHOLD, THRESHOLDS

    counts: Counter[tuple[str, str]] = Counter()
    for text in _findings(rows):
        counts.update((str(f.get("auditor")), str(f.get("decision"))) for f in read_findings(text))
    standing: Counter[str] = Counter()
    for text in _findings(kept):
        found = (f for f in read_findings(text) if f.get("decision") == "reject" and f.get("attempt") is None)
        standing.update({str(f.get("auditor")) for f in found})
    given: dict[str, float] = {}
    for commit in log:
        given |= (commit.parameters.get("thresholds") or {}) if commit.verb == "audit" else {}
    used = {str(name) for commit in log for name in commit.parameters.get("auditors") or ()}
    return tuple(
        AuditorFacts(
            auditor=name,
            threshold=float(given.get(name, THRESHOLDS.get(name, OTHER_THRESHOLD))),
            rejected=counts[name, "reject"],
            noted=counts[name, "note"],
            standing=standing[name],
        )
        for name in sorted(used | {auditor for auditor, _ in counts})
    )


def _findings(rows: pl.LazyFrame) -> pl.Series:
    return rows.select(pl.col("findings").drop_nulls()).collect(engine="streaming")["findings"]


def _costs(manifest: Manifest) -> CostSummary | None:
    from curate.files import ledger_path
    from curate.report.costs import read_costs

    return None if "://" in manifest.root or not ledger_path(manifest.root).exists() else read_costs(manifest)
