"""Which kind of answer each domain and each row has: as somebody said, else as it is recognised; and by what.

A teacher is asked, and a reply is judged, by what stands here. `curate.answers.answers` knows the kinds and recognises one in
examples; here are domains of several kinds, and what was said of a domain (``profile --kind``) or of a row (the column ``kind``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import polars as pl

from curate.answers import answers
from curate.answers.answers import KINDS, TASKS
from curate.manifest.manifest import Manifest
from curate.manifest.rows import per_label

if TYPE_CHECKING:
    from curate.audit.base import Context

__all__ = [
    "Kind",
    "Survey",
    "given_kinds",
    "kinds_of",
    "read_kinds",
    "said_kind",
    "survey",
    "survey_in",
    "survey_of",
    "survey_rows",
    "with_said_kinds",
]

_JUDGED, _OF_DOMAIN = 50_000, 50  # rows that kinds are recognised from, in all and of each domain at least
_MIXED_ROWS = 10  # fewer say nothing of a mixture
_SHARES = {"choice": 0.1, "number": 0.2, "label": 0.1}  # of the rows, from which a domain of texts is a mixture
_MOST_CLASSES, _ROWS_OF_CLASS, _CLASS_CHARS = 50, 4, 40  # names that a mixture may have, rows of each, characters of one
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")


@dataclass(frozen=True)
class Survey:
    """What kind of answer each domain of a corpus has.

    Attributes:
        kinds: per domain one of `KINDS`: that of the rows of which nothing is said, where there are any; ``text`` of a mixture.
        labels: class names of the domains that have rows of kind ``label``, sorted.
        tasks: per domain one of `TASKS`, of the same rows.
        mixed: domains of texts among which are many letters, numbers or class names; `answers.row_kind` says what a row has.
        own: domains with rows that say another kind or task than the domain's.
        given: domains whose kind somebody said, of the domain or of all of its rows.
        overruled: those of which it was said by name, or for all domains; what their rows say does not count.
        why: by what the kind of each domain is recognised, or who said it; one phrase.
    """

    kinds: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]
    tasks: Mapping[str, str]
    mixed: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()
    overruled: frozenset[str] = frozenset()
    why: Mapping[str, str] = field(default_factory=dict)

    def kind(self, domain: str) -> str:
        """Return the kind of answer of a domain."""
        return self.kinds.get(domain, "text")

    def labels_of(self, domain: str) -> tuple[str, ...]:
        """Return the class names of a domain; empty where none are known."""
        return self.labels.get(domain, ())


@dataclass(frozen=True)
class Kind:
    """A kind of answers, and the domains that have it.

    Attributes:
        kind: one of `KINDS`; ``text`` of a mixed domain.
        task: one of `TASKS`, for which a teacher is asked.
        how: ``recognised``, ``given`` by somebody, or ``mixed``: each row goes by its own.
        why: by what it is recognised, or who said it.
        domains: by name.
        classes: class names of a domain of the kind ``label``, at most; 0 for others.
    """

    kind: str
    task: str
    how: str
    why: str
    domains: tuple[str, ...]
    classes: int


@dataclass(frozen=True)
class _Found:
    """What is known of one domain; attributes as in `Survey`."""

    kind: str
    task: str
    why: str
    mixed: bool = False
    own: bool = False
    given: bool = False
    labels: frozenset[str] = frozenset()


def survey(rows: pl.DataFrame, *, given: Mapping[str, str] | None = None) -> Survey:
    """Return what kind of answer each domain has, judged from the corpus as a whole.

    Where answers are the domains' own names, or few short values over the whole corpus, every domain is of kind ``label``
    with the class names of all; so a class with a single row is recognised too. Otherwise each domain is judged by its own rows.
    What is said overrules: of a domain, and of a row by its column ``kind``. Of many rows `_JUDGED` are looked at, evenly spaced.

    Args:
        rows: columns ``domain, prompt, answer``, and where there is one ``kind``, of each row one of `answers.SAYABLE` or null;
            the real train rows.
        given: domain → one of `answers.SAYABLE`; the empty name stands for every domain that has none of its own.
    """
    rows, told = _with_own(rows, given or {})
    unsaid = rows.filter(pl.col("kind").is_null() & ~pl.col("domain").is_in(list(told)))
    seen = _evenly_spaced(unsaid)
    classes, why = _classes_of_all(unsaid, seen)
    found = {}
    for domain, prompts, said in _texts(seen).iter_rows():
        found[domain] = _Found("label", "classification", why) if classes else _recognised(prompts, said)
    for domain, _, said in _texts(rows.filter(pl.col("domain").is_in(list(told)))).iter_rows():
        found[domain] = _as_said(told[domain], said, "as given by --kind")
    for domain, kinds, said in _of_rows(rows).iter_rows():
        found[domain] = _with_rows_of_their_own(found.get(domain), kinds, said)
    return Survey(
        kinds={domain: it.kind for domain, it in found.items()},
        labels=_labels(rows, found, classes),
        tasks={domain: it.task for domain, it in found.items()},
        mixed=frozenset(domain for domain, it in found.items() if it.mixed),
        own=frozenset(domain for domain, it in found.items() if it.own),
        given=frozenset(domain for domain, it in found.items() if it.given),
        overruled=frozenset(told),
        why={domain: it.why for domain, it in found.items()},
    )


def _with_own(rows: pl.DataFrame, given: Mapping[str, str]) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the rows with what each says of its kind, where that counts, and what was said of domains."""
    told = {}
    for domain in rows["domain"].unique().to_list():
        said = given.get(domain, given.get("", answers.AUTO))
        if said != answers.AUTO:
            told[str(domain)] = said
    rows = rows if "kind" in rows.columns else rows.with_columns(kind=pl.lit(None, pl.String))
    counts = pl.col("kind").is_in([*KINDS, *TASKS]) & ~pl.col("domain").is_in(list(told))
    texts = (pl.col("answer").fill_null(""), pl.col("prompt").fill_null(""))
    return rows.with_columns(*texts, kind=pl.when(counts).then("kind")), told


def _evenly_spaced(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows, or of too many each domain's share of `_JUDGED` rows, evenly spaced, and at least `_OF_DOMAIN`."""
    if rows.height <= _JUDGED:
        return rows
    place, size = pl.int_range(pl.len()).over("domain"), pl.len().over("domain").cast(pl.Int64)
    share = pl.max_horizontal(size * _JUDGED // rows.height, pl.lit(_OF_DOMAIN))
    return rows.filter((place + 1) * share // size > place * share // size)


def _texts(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("domain").group_by("domain", maintain_order=True).agg("prompt", "answer")


def _of_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return of each domain with rows that say their kind what they say, and their answers."""
    said = rows.filter(pl.col("kind").is_not_null())
    return said.sort("domain").group_by("domain", maintain_order=True).agg("kind", "answer")


def _classes_of_all(rows: pl.DataFrame, seen: pl.DataFrame) -> tuple[frozenset[str], str]:
    """Return the class names of a corpus that is one classification, and by what it is recognised; none of any other."""
    named = (rows["answer"].str.to_lowercase() == rows["domain"].str.to_lowercase()).sum()
    if rows.height and named >= 0.95 * rows.height:
        kind, why = "label", "answers are names of domains"
    else:
        kind, why = answers.recognise(seen["prompt"].to_list(), seen["answer"].to_list())
    filled = rows.filter(pl.col("answer").str.strip_chars() != "")["answer"].unique().to_list() if kind == "label" else ()
    return frozenset(filled), why


def _recognised(prompts: Sequence[str], said: Sequence[str]) -> _Found:
    kind, why = answers.recognise(prompts, said)
    classes, counts = _mixture(prompts, said) if kind == "text" else (frozenset[str](), Counter[str]())
    if not counts:
        return _Found(kind, answers.task_of(kind, said), why)
    texts = [a for p, a in zip(prompts, said, strict=True) if a.strip() and answers.row_kind(p, a, classes) == "text"]
    why = f"of several kinds: {', '.join(f'{kind} {n / counts.total():.0%}' for kind, n in _ranked(counts))} of the rows"
    return _Found("text", answers.task_of("text", texts), why, mixed=True, labels=classes)


def _mixture(prompts: Sequence[str], said: Sequence[str]) -> tuple[frozenset[str], Counter[str]]:
    """Return the class names among texts and the rows of each kind; no rows where too few have another kind than ``text``."""
    classes = _named_classes(prompts, said)
    counts = Counter(answers.row_kind(p, a, classes) for p, a in zip(prompts, said, strict=True) if a.strip())
    n = counts.total()
    several = n >= _MIXED_ROWS and any(counts[kind] >= share * n for kind, share in _SHARES.items())
    return (classes, counts) if several else (frozenset(), Counter())


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return what was counted, the most first; equal counts by name, since the order of rows means nothing."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _named_classes(prompts: Sequence[str], said: Sequence[str]) -> frozenset[str]:
    """Return short answers of many rows whose prompts name them beside another such answer: "Is this positive or negative?"."""
    counts = Counter(a.strip() for a in said if 0 < len(a.strip()) <= _CLASS_CHARS and not re.fullmatch(r"\W*\w?\W*|.*\d.*", a))
    often = {a for a, n in _ranked(counts)[:_MOST_CLASSES] if n >= _ROWS_OF_CLASS}
    words = {a: tuple(_WORD.findall(a.casefold())) for a in often}
    named = Counter[str]()
    for prompt, answer in zip(prompts, said, strict=True):
        if answer.strip() in often and len(often) > 1:
            text = " ".join(("", *_WORD.findall(prompt.casefold()), ""))
            there = [a for a in often if f" {' '.join(words[a])} " in text]
            named[answer.strip()] += answer.strip() in there and len(there) > 1
    return frozenset(a for a, n in named.items() if n >= _ROWS_OF_CLASS)


def _as_said(said: str, texts: Sequence[str], why: str) -> _Found:
    kind, task = answers.read_kind(said) or ("text", None)
    return _Found(kind, task or answers.task_of(kind, texts), why, given=True)


def _with_rows_of_their_own(found: _Found | None, said: Sequence[str], texts: Sequence[str]) -> _Found:
    """Return a domain with the rows that say their kind: it is theirs where all say it, else that of the others."""
    most = max(sorted(set(said)), key=Counter(said).__getitem__)
    if found is None:
        own = len(set(said)) > 1
        counts = ", ".join(f"{kind} {n / len(said):.0%}" for kind, n in _ranked(Counter(said)))
        why = f"as the rows say: {counts}" if own else "as the rows say"
        mine = [text for text, kind in zip(texts, said, strict=True) if kind == most]
        return _Found(**{**vars(_as_said(most, mine, why)), "own": own})
    differ = [said_of for said_of in set(said) if said_of not in (found.kind, found.task)]
    if not differ:
        return found
    return _Found(**{**vars(found), "own": True, "why": f"{found.why}; {len(said):,} rows say their own"})


def _labels(rows: pl.DataFrame, found: Mapping[str, _Found], classes: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the class names of each domain: the answers of its rows of kind ``label``, of a classification those of all."""
    of_kind = [domain for domain, it in found.items() if it.kind == "label"]
    are_labels = pl.col("kind").is_in(["label", "classification"]) | (pl.col("kind").is_null() & pl.col("domain").is_in(of_kind))
    mine = rows.filter(are_labels & (pl.col("answer").str.strip_chars() != "")).select("domain", "answer").unique()
    names: dict[str, set[str]] = {domain: set(it.labels) for domain, it in found.items() if it.labels}
    given = rows.filter(pl.col("domain").is_in([domain for domain in of_kind if found[domain].given]))
    together = _classes_of_all(given, _evenly_spaced(given))[0]  # one classification, whose domains may be its classes
    names |= {domain: set(together if found[domain].given else classes) for domain in of_kind}
    for domain, answer in mine.iter_rows():
        names.setdefault(domain, set()).add(answer)
    return {domain: tuple(sorted(each)) for domain, each in sorted(names.items())}


def survey_of(manifest: Manifest, rows: pl.DataFrame) -> Survey:
    """Return what kind of answer each domain of some rows has: as was said, else as it is recognised.

    What was said is each row's column ``kind`` (`said_kind`), and over it `curate profile --kind`.

    Args:
        manifest: the version that the rows are of.
        rows: columns ``content, domain, prompt, answer``, and ``kind`` where it was read.
    """
    extra = manifest.scan_contents().filter(pl.col("extra").str.contains('"kind"', literal=True)).select("content", "extra")
    of_source = extra.select("content", "extra").collect().unique("content")
    rows = rows if "kind" in rows.columns else rows.with_columns(kind=pl.lit(None, pl.String))
    if of_source.height:
        rows = rows.drop("extra", strict=False).join(of_source, on="content", how="left", maintain_order="left")
        rows = rows.with_columns(kind=said_kind())
    return survey(rows, given=given_kinds(manifest))


def said_kind() -> pl.Expr:
    """Return what is said of each row's kind, one of `answers.SAYABLE` or null, from the columns ``kind`` and ``extra``.

    Rows that were ingested before there was a column ``kind`` have that of their source in ``extra``, where it says one.
    """
    of_source = pl.col("extra").str.json_path_match("$.kind").str.to_lowercase()
    return pl.coalesce("kind", pl.when(of_source.is_in(answers.SAYABLE)).then(of_source))


def survey_rows(manifest: Manifest, rows: pl.DataFrame) -> Survey:
    """Return what kind of answer each domain of a manifest has: of its real train rows, or of all train rows where none is real.

    Args:
        manifest: where the texts are read from.
        rows: every row of a version, columns ``content, domain, labels, kind, split, source``.
    """
    train = rows.filter(split="train")
    real = train.filter(source="real")
    counted = per_label((real if real.height else train).select("content", "domain", "labels", "kind")).drop("labels")
    contents = manifest.contents(counted["content"], columns=["content", "prompt", "answer"])
    return survey_of(manifest, counted.join(contents, on="content", how="left", maintain_order="left"))


def survey_in(context: Context) -> Survey:
    """Return what a context knows of kinds of answers."""
    shared = {each.name: getattr(context, each.name) for each in fields(Survey)}
    return Survey(**{**shared, "labels": {domain: context.labels_of(domain) for domain in context.kinds}})


def kinds_of(found: Survey, domains: Collection[str] | None = None) -> tuple[Kind, ...]:
    """Return the kinds of answers, that of most domains first.

    Args:
        found: from `survey_rows` or `survey_in`.
        domains: to look at; None for all.
    """
    ways: dict[tuple[str, str, str, str], list[str]] = {}
    for domain, kind in found.kinds.items():
        if domains is None or domain in domains:
            several = domain in found.mixed | found.own
            how = "mixed" if several else "given" if domain in found.given else "recognised"
            ways.setdefault((kind, found.tasks[domain], how, found.why.get(domain, "")), []).append(domain)
    ordered = sorted(ways.items(), key=lambda way: (-len(way[1]), way[0]))
    return tuple(
        Kind(*way, tuple(sorted(of_it)), max((len(found.labels.get(domain, ())) for domain in of_it), default=0))
        for way, of_it in ordered
    )


def read_kinds(manifest: Manifest) -> tuple[Kind, ...]:
    """Return the kinds of answers in a version, that of most domains first."""
    return kinds_of(survey_rows(manifest, manifest.rows("content", "domain", "labels", "kind", "split", "source")))


def with_said_kinds(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with a column ``kind``, of what is said of each (`said_kind`); null where a frame has neither column."""
    missing = [pl.lit(None, pl.String).alias(name) for name in ("kind", "extra") if name not in rows.columns]
    return rows.with_columns(*missing).with_columns(kind=said_kind())


def given_kinds(manifest: Manifest) -> dict[str, str]:
    """Return the kinds that `curate profile --kind` was told, by domain; under the empty name that of every other domain."""
    found: dict[str, str] = {}
    for commit in manifest.log():
        found |= commit.parameters.get("kinds") or {} if commit.verb == "profile" else {}
    return found
