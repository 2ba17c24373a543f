"""Measures a student: its answers to held-out rows, compared with the right ones, per domain and over all: `evaluate`.

Answers are written greedily, and found and compared by `curate.answers.answers`, as the audit does it; or they are chosen among
the labels of a closed set (`baldistill.evaluation.closed`). Commits nothing. The caller chooses the split: validation rows may
steer later stages, test rows must not. `metrics` is the plug-in point: ``(predictions, answers, domains) -> dict`` of figures by
name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import polars as pl

from baldistill.evaluation import closed, endpoint
from baldistill.evaluation.closed import LabelSet
from baldistill.evaluation.metrics import Metric, class_f1, metrics, token_f1
from baldistill.evaluation.settings import EvaluateSettings
from baldistill.student import generate, overlap, students
from baldistill.student.checkpoints import Journal, checkpoint_path
from baldistill.student.tokens import encode, note_cut, stratify
from curate import progress
from curate.answers import answers
from curate.audit.base import kind_in
from curate.audit.kinds import Survey, survey_of, with_said_kinds
from curate.errors import InputError
from curate.files import reason, write_whole
from curate.manifest.manifest import Manifest
from curate.manifest.rows import domain_counts, head_domains, is_usable_real, per_label
from curate.report.runs import PREDICTIONS
from curate.settings import takes

__all__ = ["EvaluateResult", "Rate", "class_f1", "combine", "evaluate", "metrics", "token_f1", "wilson"]

_Z = NormalDist().inv_cdf(0.975)  # of a 95% interval


@dataclass(frozen=True)
class Rate:
    """A share with its 95% interval.

    Attributes:
        value: 0 to 1.
        low: lower end.
        high: upper end.
        n: rows that it was measured on.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class EvaluateResult:
    """What `evaluate` measured.

    Attributes:
        manifest: the version that was read; nothing is committed.
        student: its name, fingerprint and precision.
        split: that the rows are of.
        rows: that were evaluated.
        domains: one of ``{domain, n, correct, accuracy, low, high, head, unread, held}`` per domain, the largest in training
            first; `unread` answers state nothing clear, and the split holds `held` rows.
        macro: accuracy where every domain counts once.
        micro: accuracy where every row of the split counts once, also when `limit` took as many of each domain.
        head: macro over head domains; None where there are none.
        tail: macro over tail domains; None where there are none.
        metrics: figures of the further metrics that were asked for, by metric.
        truncated: prompts cut from the left to fit the student.
        unended: answers cut off by the token limit.
        seconds: that it took.
        predictions: ``id, domain, prompt, answer, prediction, correct, output, n_tokens, ended, labels, scores``, one row each.
            `prediction` is the final answer read from `output`, null where none is clear, or the label of the best score;
            `labels` and `scores` (nats, before any correction) are those of a scored row, else null.
        unread: written answers in which no final answer is clear; they count as wrong.
        overlap: rows among them from which the student learned, or from near copies of which.
        scored: rows whose answer was chosen among labels by their scores.
        prior: that scored answers were corrected to.
        label_sets: the closed sets of those answers.
        path: of predictions.parquet, where it was written.
        measured: the metrics that were asked for.
        labels: where rows of the split have several labels, one of ``{domain, n, correct}`` per label, a row counted for each of
            its labels; the policy `need` goes by it. Empty where none has.
    """

    manifest: Manifest
    student: str
    split: str
    rows: int
    domains: list[dict[str, Any]]
    macro: Rate
    micro: Rate
    head: Rate | None
    tail: Rate | None
    metrics: dict[str, dict[str, float]]
    truncated: int
    unended: int
    seconds: float
    predictions: pl.DataFrame = field(compare=False, repr=False)
    unread: int = 0
    overlap: int = 0
    scored: int = 0
    prior: str | None = None
    label_sets: tuple[LabelSet, ...] = ()
    path: Path | None = None
    measured: Mapping[str, Metric] = field(default_factory=dict, compare=False, repr=False)
    labels: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, without the predictions; of their file the name alone, without its folder."""
        left_out = ("manifest", "predictions", "measured", "path", "label_sets")
        plain = {key: value for key, value in vars(self).items() if key not in left_out}
        rates = {key: asdict(value) for key, value in plain.items() if isinstance(value, Rate)}
        sets = [asdict(found) for found in self.label_sets]
        file = None if self.path is None else self.path.name
        return {"version": str(self.manifest), **plain, **rates, "label_sets": sets, "file": file}

    def under(self, prior: str | None) -> EvaluateResult:
        """Return the figures that the same scores have under another prior, without asking the student again.

        Args:
            prior: ``natural``, ``uniform``, a temperature, or None for the scores as they are.

        Raises:
            InputError: it is none of these.
        """
        adjusted = closed.adjust(self.predictions, self.label_sets, prior)
        heads = frozenset(line["domain"] for line in self.domains if line["head"])
        population = {line["domain"]: line["held"] for line in self.domains}
        order = [line["domain"] for line in self.domains]
        figures = _measure(adjusted, order, heads, population, self.measured)
        labels = _per_label(adjusted, _held_out(self.manifest, self.split)) if self.labels else []
        return replace(self, prior=prior, predictions=adjusted, labels=labels, **figures)


@takes(EvaluateSettings)
def evaluate(manifest: Manifest, settings: EvaluateSettings) -> EvaluateResult:
    """Let a student answer the rows of a split, and count how many answers are right.

    Args:
        manifest: the version whose rows are asked.

    Raises:
        InputError: the split has no rows, a number is out of range, or a domain has no closed set of answers to score.
        UnknownNameError: there is no such metric.
        ModelError: the student cannot be loaded.
        TeacherError: nobody answers at the endpoint.
    """
    extra = {str(getattr(m, "__name__", m)): metrics.get(m) for m in settings.metrics}
    limits = {name: getattr(settings, name) for name in ("max_new_tokens", "max_prompt_tokens", "batch_size", "batch_tokens")}
    if wrong := [f"{name} {value}" for name, value in limits.items() if value is not None and value < 1]:
        raise InputError(f"{' and '.join(wrong)}: use at least 1")
    closed.check_prior(settings.prior)
    if settings.endpoint is not None:
        endpoint.check(settings)
    started = time.monotonic()
    held = _held_out(manifest, settings.split)
    drawn = stratify(held, settings.limit, seed=settings.seed).select("id", "domain", "kind", "content")
    examples = with_said_kinds(manifest.examples(drawn))
    corpus = _Corpus.of(manifest, examples)
    candidates = _candidates(examples, corpus, settings) if settings.endpoint is None else [() for _ in range(examples.height)]
    learned = closed.learned_rows(manifest, settings.adapter)
    seen = _seen(manifest, learned, examples)
    if settings.endpoint is not None:
        outputs, server = endpoint.ask(manifest, examples, settings)
        found, truncated, name = [_Answer(output) for output in outputs], 0, endpoint.label(settings, server)
    else:
        student = students.load(settings.student, adapter=settings.adapter, dtype=settings.dtype, root=manifest.root)
        found, truncated = _answers(student, manifest, examples, candidates, settings, _reasons(settings, learned))
        name = student.label
    named = {domain: corpus.labels[domain] for domain in corpus.closed if any(candidates)}
    sets = tuple(closed.label_sets(manifest, named, learned))
    if settings.prior is not None and sets and learned is None:
        progress.note("evaluate", "the base student learned no shares of labels: its scores are not corrected")
    predictions = closed.adjust(_judge(examples, found, corpus), sets, settings.prior)
    counts, population = domain_counts(manifest.rows()), _counts(held)
    if empty := sorted(set(counts) - set(population)):
        some = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        progress.note("evaluate", f"{len(empty):,} domains have no {settings.split} rows, and count in no figure: {some}")
    order = sorted(predictions["domain"].unique(), key=lambda domain: (-(counts or population).get(domain, 0), domain))
    figures = _measure(predictions, order, head_domains(counts or population, settings.budget), population, extra)
    return EvaluateResult(
        manifest=manifest,
        student=name,
        split=settings.split,
        rows=predictions.height,
        truncated=truncated,
        unended=int((~predictions["ended"]).sum()),
        overlap=seen,
        scored=int(predictions["scores"].is_not_null().sum()),
        prior=settings.prior,
        label_sets=sets,
        seconds=round(time.monotonic() - started, 3),
        path=_write(predictions, settings.output),
        predictions=predictions,
        measured=extra,
        labels=_per_label(predictions, held),
        **figures,
    )


def wilson(correct: int, n: int) -> Rate:
    """Return a share with its 95% score interval (Wilson 1927), which holds for few rows and for shares of 0 and 1.

    Raises:
        InputError: there are no rows.
    """
    if n < 1:
        raise InputError(f"a share of {n} rows is not defined")
    share, spread = correct / n, _Z * _Z / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # At 0 and at n the formula gives the share itself, but for rounding.
    return Rate(share, 0.0 if correct == 0 else max(0.0, centre - half), 1.0 if correct == n else min(1.0, centre + half), n)


def combine(domains: Sequence[Mapping[str, Any]], *, weights: Sequence[float] | None = None) -> Rate:
    """Return the weighted mean of the domains' accuracies with a 95% interval.

    The interval is made of the domains' Wilson limits (Zou, Huang & Zhang 2009, "confidence interval estimation for a
    linear function of binomial proportions"). A bootstrap within the domains collapses to a point where every
    domain is at 0 or 1, and covers less where rows are few: in a simulation of six designs of 4 to 100 rows in 3 to 12
    domains, 46% at worst, against 87%.

    Args:
        domains: each with ``n, accuracy, low, high``.
        weights: of the domains, above 0; equal unless given.
    """
    given = [1.0] * len(domains) if weights is None else list(weights)
    shares = [weight / math.fsum(given) for weight in given]
    value = math.fsum(w * line["accuracy"] for w, line in zip(shares, domains, strict=True))
    below = math.sqrt(math.fsum((w * (line["accuracy"] - line["low"])) ** 2 for w, line in zip(shares, domains, strict=True)))
    above = math.sqrt(math.fsum((w * (line["high"] - line["accuracy"])) ** 2 for w, line in zip(shares, domains, strict=True)))
    return Rate(value, max(0.0, value - below), min(1.0, value + above), sum(line["n"] for line in domains))


def _held_out(manifest: Manifest, split: str) -> pl.DataFrame:
    rows = (
        manifest.scan()
        .filter(pl.col("status") != "rejected")
        .select("id", "domain", "labels", "kind", "content", "split")
        .collect()
    )
    held = rows.filter(pl.col("split") == split)
    if held.is_empty():
        there = ", ".join(f"{name} ({n})" for name, n in sorted(rows["split"].value_counts().rows())) or "none"
        raise InputError(f"{manifest} has no rows of split {split!r}; there are: {there}. Choose one with --split")
    return held


def _per_label(predictions: pl.DataFrame, held: pl.DataFrame) -> list[dict[str, Any]]:
    """Return how many rows of each label are right, where any row has several labels."""
    if not held["labels"].count():
        return []
    each = per_label(predictions.select("id", "domain", "correct").join(held.select("id", "labels"), on="id"))
    counted = each.group_by("domain").agg(n=pl.len(), correct=pl.col("correct").sum()).sort("domain")
    return [{"domain": domain, "n": n, "correct": correct} for domain, n, correct in counted.iter_rows()]


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    return {str(domain): int(n) for domain, n in rows["domain"].value_counts().rows()}


@dataclass(frozen=True)
class _Corpus:
    """What the answers of a corpus are.

    Attributes:
        known: kinds of answers and class names per domain, from the train rows or else its own.
        kinds: per domain one of `curate.answers.answers.KINDS`.
        labels: class names per domain.
        closed: domains whose class names are known from train rows.
        letters: per domain how it spells the letters of options.
    """

    known: Survey
    kinds: dict[str, str]
    labels: dict[str, tuple[str, ...]]
    closed: frozenset[str]
    letters: dict[str, dict[str, str]]

    @classmethod
    def of(cls, manifest: Manifest, examples: pl.DataFrame) -> _Corpus:
        train = manifest.scan().filter(is_usable_real()).select("domain", "kind", "content").collect()
        columns = ["content", "domain", "prompt", "answer", "kind"]
        rows = manifest.examples(train).select(columns)
        known = survey_of(manifest, rows)
        own = survey_of(manifest, examples.filter(~pl.col("domain").is_in(list(known.kinds))).select(columns))
        kinds, labels = {**own.kinds, **known.kinds}, dict(known.labels)
        everywhere = set(known.labels.values())
        if len(everywhere) == 1:  # a domain without train rows has the classes of all, not those of its own test rows
            labels |= {domain: next(iter(everywhere)) for domain, kind in own.kinds.items() if kind == "label"}
        letters: dict[str, dict[str, str]] = {}
        options = rows.filter(pl.col("domain").is_in([domain for domain, kind in kinds.items() if kind == "choice"]))
        spelt = options.group_by("domain", "answer").len().sort("len", "answer", descending=[False, True])
        for domain, answer, _ in spelt.drop_nulls().iter_rows():  # the commonest last
            letters.setdefault(domain, {})[answer.strip(" ().:").upper()] = answer
        found = {domain: {**own.labels, **labels}.get(domain, ()) for domain in kinds}
        overruled, mixed = own.overruled | known.overruled, own.mixed | known.mixed
        return cls(Survey(kinds, found, {}, mixed=mixed, overruled=overruled), kinds, found, frozenset(labels), letters)

    def kind(self, row: Mapping[str, Any]) -> str:
        """Return the kind of answer that a row has."""
        return kind_in(self.known, row["domain"], row["prompt"] or "", row["answer"] or "", row["kind"])

    def candidates(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the labels that a row may have as its answer; none where they are not known."""
        domain = row["domain"]
        if domain in self.known.mixed and not answers.read_kind(row["kind"]):
            return ()  # whose kind is known by its answer alone
        kind = self.kind(row)
        if kind == "label" and domain not in self.closed:
            return ()
        return closed.offered(kind, self.labels[domain], row["prompt"] or "", self.letters.get(domain, {}))


@dataclass(frozen=True)
class _Answer:
    """What a student answered: a text, or the scores of the labels that a row may have; a rationale may come before these."""

    output: generate.Output | None
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


def _candidates(examples: pl.DataFrame, corpus: _Corpus, settings: EvaluateSettings) -> list[tuple[str, ...]]:
    """Return for each row the labels to score; none where its answer is written."""
    if settings.answers == "generate":
        return [() for _ in range(examples.height)]
    rows = list(examples.iter_rows(named=True))
    found = [corpus.candidates(row) for row in rows]
    open_ = sorted({row["domain"] for row, labels in zip(rows, found, strict=True) if not labels})
    if open_ and settings.answers != "auto":
        kinds = ", ".join(f"{domain} ({corpus.kinds[domain]})" for domain in open_[:5])
        more = f" and {len(open_) - 5} more" if len(open_) > 5 else ""
        raise InputError(
            f"--answers {settings.answers} needs answers from a closed set, which {kinds}{more} have not; use --answers auto, or "
            "say with curate profile --kind that they are labels"
        )
    named = [row for row, labels in zip(rows, found, strict=True) if labels and corpus.kind(row) == "label"]
    strange = sum(
        not any(answers.equal(label, row["answer"], "label") for label in corpus.labels[row["domain"]]) for row in named
    )
    if strange:
        progress.note("evaluate", f"{strange} rows have an answer that no train row has; they count as wrong")
    return found


def _seen(manifest: Manifest, learned: pl.DataFrame | None, examples: pl.DataFrame) -> int:
    """Return how many of the rows that are asked the student learned from, themselves or near copies, and say it."""
    if learned is None:
        return 0
    found = overlap.find(manifest, learned, manifest.rows().join(examples.select("id"), on="id", how="semi"))
    n = len({*found.same.values(), *found.near.values()})
    if n:
        progress.note(
            "evaluate", f"the student learned from {n:,} of the rows that it is asked: {found}; its figures are too good"
        )
    return n


def _reasons(settings: EvaluateSettings, learned: pl.DataFrame | None) -> bool:
    """Return whether labels are scored after a rationale that the student writes."""
    if settings.answers != "auto" or learned is None or learned.is_empty():
        return settings.answers == "reason"
    return int((learned["rationale"].fill_null("") != "").sum()) * 2 > learned.height


def _answers(
    student: students.Student,
    manifest: Manifest,
    examples: pl.DataFrame,
    candidates: Sequence[tuple[str, ...]],
    settings: EvaluateSettings,
    reasons: bool,
) -> tuple[list[_Answer], int]:
    """Return the answers in the order of the examples, and how many prompts were cut."""
    journal = Journal(checkpoint_path(manifest.root, student.fingerprint, student.dtype))
    written = [i for i, labels in enumerate(candidates) if reasons or not labels]
    chosen = [i for i, labels in enumerate(candidates) if labels]
    found = [_Answer(None, labels) for labels in candidates]
    cut = [0]
    if written:
        outputs, n = _generate(student, examples[written], settings, journal)
        cut.append(n)
        for i, output in zip(written, outputs, strict=True):
            found[i] = replace(found[i], output=output)
    if chosen:
        texts = [found[i].output.text for i in chosen] if reasons else None  # type: ignore[union-attr]
        scores, n = closed.score(
            student,
            examples[chosen],
            [candidates[i] for i in chosen],
            rationales=texts,
            per_token=settings.per_token,
            max_prompt_tokens=settings.max_prompt_tokens,
            batch_tokens=settings.batch_tokens,
            journal=journal,
        )
        cut.append(n)
        for i, row in zip(chosen, scores, strict=True):
            found[i] = replace(found[i], scores=tuple(row))
    return found, max(cut)


def _generate(
    student: students.Student, examples: pl.DataFrame, settings: EvaluateSettings, journal: Journal | None = None
) -> tuple[list[generate.Output], int]:
    """Return the outputs in the order of the examples, and how many prompts were cut."""
    room = student.window - settings.max_new_tokens
    if room < 1:
        raise InputError(
            f"max_new_tokens {settings.max_new_tokens} leaves no room for a prompt: {student.name} reads {student.window} tokens"
        )
    room = min(room, settings.max_prompt_tokens or room)
    prompts = [tokens.prompt for tokens in encode(student.tokenizer, examples)]
    options = {name: getattr(settings, name) for name in ("max_new_tokens", "batch_size", "batch_tokens")}
    cut = [prompt[-room:] for prompt in prompts]
    outputs = generate.generate(student, cut, **options, journal=journal, step="evaluate")
    return outputs, note_cut(prompts, room)


def _judge(examples: pl.DataFrame, found: Sequence[_Answer], corpus: _Corpus) -> pl.DataFrame:
    """Read the final answer of each output, or take the label of the best score, and compare it with the row's own."""
    predicted, correct = [], []
    for row, answer in zip(examples.iter_rows(named=True), found, strict=True):
        kind = corpus.kind(row)
        if answer.scores:
            final: str | None = answer.labels[answer.scores.index(max(answer.scores))]
        else:
            text = answer.output.text if answer.output is not None else None
            final = answers.extract(text, kind, labels=corpus.labels[row["domain"]], prompt=row["prompt"])
        predicted.append(final)
        correct.append(answers.equal(final, row["answer"], kind))
    outputs = [answer.output for answer in found]
    return examples.select("id", "domain", "prompt", "answer").with_columns(
        prediction=pl.Series(predicted, dtype=pl.String),
        correct=pl.Series(correct, dtype=pl.Boolean),
        output=pl.Series([output and output.text for output in outputs], dtype=pl.String),
        n_tokens=pl.Series([output.n_tokens if output else 0 for output in outputs], dtype=pl.Int32),
        ended=pl.Series([output.ended if output else True for output in outputs], dtype=pl.Boolean),
        labels=pl.Series([list(answer.labels) if answer.scores else None for answer in found], dtype=pl.List(pl.String)),
        scores=pl.Series([list(answer.scores) or None for answer in found], dtype=pl.List(pl.Float64)),
    )


def _measure(
    predictions: pl.DataFrame,
    order: Sequence[str],
    heads: frozenset[str],
    population: Mapping[str, int],
    extra: Mapping[str, Metric],
) -> dict[str, Any]:
    """Return the figures of `EvaluateResult` that follow from predictions."""
    grouped = predictions.group_by("domain").agg(
        n=pl.len(), correct=pl.col("correct").sum(), unread=pl.col("prediction").is_null().sum()
    )
    by_domain = {domain: figures for domain, *figures in grouped.rows()}
    domains: list[dict[str, Any]] = []
    for domain in order:
        n, correct, unread = by_domain[domain]
        rate = wilson(correct, n)
        line = {"domain": domain, "n": n, "correct": correct, "accuracy": rate.value, "low": rate.low, "high": rate.high}
        domains.append({**line, "head": domain in heads, "unread": unread, "held": population[domain]})
    groups = {flag: [line for line in domains if line["head"] is flag] for flag in (True, False)}
    return {
        "domains": domains,
        "macro": combine(domains),
        "micro": combine(domains, weights=[line["held"] for line in domains]),
        "head": combine(groups[True]) if groups[True] else None,
        "tail": combine(groups[False]) if groups[False] else None,
        "metrics": {name: _figures(metric, predictions) for name, metric in extra.items()},
        "unread": sum(line["unread"] for line in domains),
    }


def _write(predictions: pl.DataFrame, output: str | Path | None) -> Path | None:
    """Write the predictions into a folder, where one is given."""
    if output is None:
        return None
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
        return write_whole(Path(output) / PREDICTIONS, lambda part: predictions.write_parquet(part))
    except OSError as e:
        raise InputError(f"--output {str(output)!r} cannot be written: {reason(e)}; name another folder") from e


def _figures(metric: Metric, predictions: pl.DataFrame) -> dict[str, float]:
    """Apply a metric; a prediction that equals the answer is passed in the answer's spelling, a missing one as an empty text."""
    read = predictions.select(
        "answer", "domain", read=pl.when("correct").then("answer").otherwise(pl.col("prediction").fill_null(""))
    )
    figures = metric(read["read"].to_list(), read["answer"].fill_null("").to_list(), read["domain"].to_list())
    return {str(name): float(value) for name, value in figures.items()}
