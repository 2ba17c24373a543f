"""Judges batches of rows with the auditors, and is the verb `audit`, which writes what they find into a manifest.

A batch is judged by each auditor in turn; a row that one has rejected is not shown to the next, so every rejected row has one
first cause, and a bad row never makes a good one its duplicate. What an auditor is stands in `curate.audit.base`. The verb
changes statuses only with ``apply``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from curate import progress
from curate.audit.base import (
    AUDITED_ROWS,
    FINDINGS,
    PROMPTS,
    Auditor,
    Context,
    Finding,
    auditors,
    compared,
)
from curate.audit.kinds import Survey, said_kind, survey_of
from curate.audit.settings import DEFAULT_AUDITORS, AuditSettings
from curate.errors import AuditFailedError, InputError, UnknownNameError
from curate.manifest import ids
from curate.manifest.manifest import Manifest
from curate.manifest.rows import per_label, read_findings, write_findings
from curate.settings import takes
from curate.vectors import embed
from curate.vectors.encoders import Encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AuditResult", "Judgement", "audit", "build_context", "judge", "with_accepted", "with_kinds"]


@dataclass(frozen=True)
class Judgement:
    """The verdict on one batch.

    Attributes:
        findings: columns of `FINDINGS`, in the order of auditors, then of the batch.
        rejected: id → the auditor that rejected it; the first and only one.
    """

    findings: pl.DataFrame
    rejected: dict[str, str]

    def by_row(self) -> dict[str, list[dict[str, Any]]]:
        """Return the findings of each row that has any, by its id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in self.findings.iter_rows(named=True):
            found.setdefault(finding["id"], []).append(finding)
        return found


@dataclass(frozen=True)
class AuditResult:
    """What `audit` found.

    Attributes:
        manifest: the next version, or the same where there was nothing to write.
        rows: that were audited.
        findings: columns of `FINDINGS`, and ``domain`` after ``id``.
        applied: whether statuses were changed.
    """

    manifest: Manifest
    rows: int
    findings: pl.DataFrame
    applied: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """Per auditor, the share of the rows that it rejects, 0 to 1."""
        rejected = self.findings.filter(decision="reject").group_by("auditor").len().sort("auditor")
        return {auditor: count / self.rows for auditor, count in rejected.iter_rows()}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that ``--json`` promises."""
        return {
            "version": self.manifest.version,
            "rows": self.rows,
            "rejected": self.shares,
            "applied": self.applied,
            "findings": self.findings.to_dicts(),
        }


def build_context(
    manifest: Manifest,
    rows: pl.DataFrame | None = None,
    *,
    encoder: str | Encoder | None = None,
    kinds: Survey | None = None,
) -> Context:
    """Return what the auditors compare with: every real, held-out and accepted row of a manifest.

    Args:
        manifest: where content is read from, and whose cache keeps the vectors.
        rows: its rows, where they are loaded already; columns of `curate.manifest.schema.SCHEMA`.
        encoder: a model's name or an `Encoder`; None for that of the clusters. Loaded when an auditor first asks for a vector.
        kinds: of answers, where they are known already; None for those of the rows.
    """
    rows = manifest.rows() if rows is None else rows
    contents = manifest.contents(rows["content"], columns=["content", "prompt", "answer", "messages"])
    full = rows.select("id", "content", "domain", "labels", "kind", "split", "source", "status", "prompt_key")
    full = compared(full.join(contents, on="content", how="left", maintain_order="left"))
    full = full.with_columns(_prompt_keys(full))
    train = full.filter(split="train")
    real = train.filter(source="real")
    columns = [*PROMPTS.names(), "conversation", "numbers"]
    empty = Context({}, {}, PROMPTS.to_frame(), PROMPTS.to_frame(), PROMPTS.to_frame(), _lazily(manifest, encoder))
    return replace(
        with_kinds(empty, kinds or survey_of(manifest, per_label(real if real.height else train))),
        real=real.select(columns),
        heldout=full.filter(pl.col("split") != "train").select(columns),
        accepted=train.filter(source="synthetic", status="selected").select(columns),
    )


def with_kinds(context: Context, found: Survey) -> Context:
    """Return a context with these kinds of answers."""
    return replace(context, **vars(found))


def _prompt_keys(rows: pl.DataFrame) -> pl.Series:
    """Return the keys of rows' questions; of a chat that of its conversation, where 0.1 wrote that of the last turn alone."""
    chats = rows["messages"].is_not_null().arg_true()
    keys = ids.prompt_keys(rows["conversation"].gather(chats))
    return rows["prompt_key"].scatter(chats, keys)


def with_accepted(context: Context, accepted: pl.DataFrame) -> Context:
    """Return a context with newly accepted synthetic rows, for later batches to be compared with; real rows it has already.

    Args:
        context: so far.
        accepted: columns ``id, domain, source, prompt`` at least.
    """
    new = accepted.filter(pl.col("source") == "synthetic")
    if new.is_empty():
        return context
    new = new.select("id", "domain", "prompt", split=pl.lit("train"), prompt_key=ids.prompt_keys(new["prompt"].fill_null("")))
    columns = [*PROMPTS.names(), "conversation", "numbers"]
    frames = [compared(frame).select(columns) for frame in (context.accepted, new)]
    return replace(context, accepted=pl.concat(frames))


def judge(
    batch: pl.DataFrame,
    context: Context,
    *,
    auditors: Sequence[str | Auditor] = DEFAULT_AUDITORS,
    thresholds: Mapping[str, float] | None = None,
) -> Judgement:
    """Judge a batch by each auditor in turn; changes nothing.

    Args:
        batch: columns of `AUDITED_ROWS`; its order matters, the first of two near-duplicates is kept.
        context: what the auditors compare with.
        auditors: names, or callables; in the order in which they judge.
        thresholds: per auditor the lowest score that rejects, 0 to 1, where it is not that of `THRESHOLDS`.

    Raises:
        UnknownNameError: an auditor or a threshold's name is not registered.
        InputError: an auditor broke its contract.
    """
    chosen = _chosen(auditors)
    _check_thresholds(thresholds, chosen)
    given = replace(context, thresholds=thresholds or {})
    context = replace(context, thresholds={name: given.threshold(name) for name in chosen})
    found: list[dict[str, Any]] = []
    rejected: dict[str, str] = {}
    for name, auditor in chosen.items():
        left = batch.filter(~pl.col("id").is_in(list(rejected))) if rejected else batch
        if left.is_empty():
            break
        for finding in _checked(name, auditor(left, context), left):
            decision = "reject" if finding.score >= context.thresholds[name] else "note"
            found.append({**vars(finding), "auditor": name, "decision": decision})
            if decision == "reject":
                rejected.setdefault(finding.id, name)
    return Judgement(pl.DataFrame(found, schema=FINDINGS), rejected)


@takes(AuditSettings)
def audit(manifest: Manifest, settings: AuditSettings) -> AuditResult:
    """Audit the train rows of a manifest and write what is found into it.

    Rows are judged in the order of stage, real before synthetic, then id. The same audit again writes nothing.

    Args:
        manifest: to audit.

    Raises:
        UnknownNameError: an auditor, or a name in `fail_on` or `thresholds`, is not known.
        InputError: the status or `fail_on` cannot be understood, or no row has that status.
        AuditFailedError: more was rejected than `fail_on` allows; the findings were written.
    """
    limits = _parse_fail_on(settings.fail_on, list(_chosen(settings.auditors)))
    rows = manifest.rows()
    picked = _pick(manifest, rows, settings.status)
    batch = manifest.examples(picked).with_columns(finish_reason=pl.lit(None, pl.String), kind=said_kind())
    batch = batch.select(*AUDITED_ROWS.names(), "messages", "kind")
    with progress.step("audit", batch.height) as counter:
        context = build_context(manifest, rows, encoder=settings.encoder)
        context = replace(context, accepted=context.accepted.join(batch, on="id", how="anti", maintain_order="left"))
        judgement = judge(batch, context, auditors=settings.auditors, thresholds=settings.thresholds)
        counter.advance(batch.height, **{"rejected" if settings.apply else "would_be_rejected": len(judgement.rejected)})
    findings = judgement.findings.join(rows.select("id", "domain"), on="id", how="left", maintain_order="left")
    updated = _updated(rows, picked, judgement, apply=settings.apply)
    result = AuditResult(manifest, batch.height, findings.select("id", "domain", *FINDINGS.names()[1:]), settings.apply)
    if not updated.equals(rows):
        parameters = {
            "auditors": list(_chosen(settings.auditors)),
            "apply": settings.apply,
            "fail_on": settings.fail_on,
            "thresholds": dict(settings.thresholds or {}),
            "encoder": settings.encoder if isinstance(settings.encoder, str | None) else settings.encoder.name,
            "status": settings.status,
        }
        summary = {"rows": batch.height, "findings": findings.height, "rejected": result.shares}
        result = replace(result, manifest=manifest.commit(updated, verb="audit", parameters=parameters, summary=summary))
    _enforce(result, limits)
    return result


def _lazily(manifest: Manifest, encoder: str | Encoder | None) -> Callable[[list[str]], NDArray[np.float32]]:
    """Return texts → vectors through the cache; the encoder is loaded at the first call."""
    loaded: list[Encoder] = []

    def vectors(texts: list[str]) -> NDArray[np.float32]:
        if not loaded:
            loaded.append(embed.encoder_of(manifest, encoder))
        return embed.vectors(texts, encoder=loaded[0], root=manifest.root)

    return vectors


def _chosen(wanted: Sequence[str | Auditor]) -> dict[str, Auditor]:
    if not wanted:
        raise InputError(f"no auditor is given: name at least one with --auditor, known are {', '.join(auditors.names())}")
    return {entry if isinstance(entry, str) else getattr(entry, "__name__", "auditor"): auditors.get(entry) for entry in wanted}


def _check_thresholds(thresholds: Mapping[str, float] | None, chosen: Mapping[str, Auditor]) -> None:
    for name, value in (thresholds or {}).items():
        if name not in chosen:
            raise UnknownNameError("auditor (of this audit)", name, chosen)
        if not 0 <= value <= 1:
            raise InputError(f"the threshold of auditor {name!r} must be from 0 to 1, got {value!r}")


def _checked(name: str, findings: Iterable[Finding], batch: pl.DataFrame) -> list[Finding]:
    """Return an auditor's findings in the order of the batch.

    Raises:
        InputError: an id that is not in the batch, or a score outside 0 to 1.
    """
    order = {id_: position for position, id_ in enumerate(batch["id"])}
    found = list(findings)
    for finding in found:
        if finding.id not in order:
            raise InputError(f"auditor {name!r} reported {finding.id!r}, which is not in its batch")
        if not 0 <= finding.score <= 1:
            raise InputError(
                f"auditor {name!r} gave row {finding.id!r} the score {finding.score!r}; scores are 0 to 1, 1 is worst"
            )
    return sorted(found, key=lambda finding: order[finding.id])


def _pick(manifest: Manifest, rows: pl.DataFrame, status: str) -> pl.DataFrame:
    train = rows.filter(split="train")
    if status == "auto":
        status = "selected" if train["status"].eq("selected").any() else "candidate"
    picked = train if status == "all" else train.filter(status=status)
    if picked.is_empty():
        raise InputError(f"manifest {manifest}: no train row has the status {status!r}; choose another with --status")
    return picked.sort("stage", "source", "id", nulls_last=True)


def _updated(rows: pl.DataFrame, picked: pl.DataFrame, judgement: Judgement, *, apply: bool) -> pl.DataFrame:
    """Return the rows with the findings, and with `apply` the statuses, of a judgement."""
    found, changed = judgement.by_row(), []
    for row in picked.select("id", "findings", "status", "reason").iter_rows(named=True):
        mine = found.get(row["id"], [])
        row["findings"] = _merged(row["findings"], mine)
        causes = [f for f in mine if f["decision"] == "reject"]
        if apply and causes:
            row["status"], row["reason"] = "rejected", f"{causes[0]['auditor']}: {causes[0]['message']}"
        changed.append(row)
    schema = {name: rows.schema[name] for name in ("id", "findings", "status", "reason")}
    return rows.update(pl.DataFrame(changed, schema=schema), on="id", how="left", maintain_order="left", include_nulls=True)


def _merged(written: str | None, found: list[dict[str, Any]]) -> str | None:
    """Return a row's findings with those of a new audit instead of those of the last one; findings of stages stay."""
    kept = [f for f in read_findings(written) if any(f.get(key) is not None for key in ("stage", "attempt", "call_id"))]
    said = {(f["auditor"], f["because_of"], f["message"]) for f in kept}
    new = [
        {**{key: f[key] for key in ("auditor", "score", "decision", "because_of", "message")}, "stage": None, "attempt": None}
        for f in found
        if (f["auditor"], f["because_of"], f["message"]) not in said
    ]
    return write_findings([*kept, *({**f, "call_id": None} for f in new)])


def _parse_fail_on(fail_on: str | None, names: list[str]) -> dict[str, float]:
    """Read ``0.05`` or ``malformed=0.01,leakage=0``; the empty name stands for all auditors together."""
    limits: dict[str, float] = {}
    for part in filter(None, (fail_on or "").replace(" ", "").split(",")):
        name, _, share = part.rpartition("=")
        if name and name not in names:
            raise UnknownNameError("auditor (of this audit)", name, names)
        try:
            limits[name] = float(share)
        except ValueError as e:
            raise InputError(
                f"--fail-on {fail_on!r}: {share!r} is not a number; write SHARE or AUDITOR=SHARE, such as malformed=0.01"
            ) from e
        if not 0 <= limits[name] <= 1:
            raise InputError(f"--fail-on {fail_on!r}: a share must be from 0 to 1, got {share}")
    return limits


def _enforce(result: AuditResult, limits: Mapping[str, float]) -> None:
    shares = {**result.shares, "": sum(result.shares.values())}
    broken = [
        f"{name or 'all auditors together'} rejected {shares.get(name, 0.0):.2%}, at most {limit:.2%} is allowed"
        for name, limit in limits.items()
        if shares.get(name, 0.0) > limit
    ]
    if broken:
        raise AuditFailedError(f"audit of {result.manifest}, {result.rows} rows: {'; '.join(broken)}; see curate explain", result)
