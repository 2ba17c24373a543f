"""The contract of auditors: what they are given and hand back, their registry, and the scores from which a row is rejected.

An auditor is ``(batch, context) -> iterable of Finding`` and registers itself where it stands: ``@auditors.register("name")``, or
the entry-point group ``curate.auditors``. It decides nothing; `curate.audit.audit.judge` compares its scores with the thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import polars as pl

from curate.answers import answers
from curate.manifest.chats import conversations
from curate.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


__all__ = [
    "AUDITED_ROWS",
    "FINDINGS",
    "NUMBERS",
    "PROMPTS",
    "THRESHOLDS",
    "Auditor",
    "Context",
    "Finding",
    "KnownKinds",
    "as_they_are",
    "auditors",
    "compared",
    "kind_in",
    "kind_or_task",
    "task_in",
]

# The lowest score that rejects, 0 to 1.
THRESHOLDS = {"malformed": 0.5, "answer_mismatch": 0.5, "leakage": 0.95, "near_duplicate": 0.95}
OTHER_THRESHOLD = 0.5  # of an auditor that is not named there

# What an auditor is given, one row per example; a frame may have further columns: of chats `messages`, the other turns; and
# `kind`, what is said of the row's kind of answer.
AUDITED_ROWS = pl.Schema(
    {name: pl.String() for name in ("id", "domain", "source", "prompt", "answer", "rationale", "finish_reason")},
)

FINDINGS = pl.Schema(
    {
        "id": pl.String(),
        "auditor": pl.String(),
        "score": pl.Float64(),
        "decision": pl.String(),  # reject | note
        "because_of": pl.String(),
        "message": pl.String(),
    }
)

# Rows that a batch is compared with; a frame may have further columns.
PROMPTS = pl.Schema(
    {"id": pl.String(), "domain": pl.String(), "split": pl.String(), "prompt": pl.String(), "prompt_key": pl.Int64()}
)
NUMBERS = r"\d+(?:[.,]\d+)*"


@dataclass(frozen=True)
class Finding:
    """What one auditor says about one row.

    Attributes:
        auditor: that says it.
        id: of the row, from the batch.
        score: 0 to 1; 1 is worst, always.
        because_of: id of the row that is the cause, where there is one.
        message: one sentence, with the values.
    """

    auditor: str
    id: str
    score: float
    because_of: str | None
    message: str


@dataclass(frozen=True)
class Context:
    """What auditors may compare a batch with.

    Attributes:
        kinds: kind of answer per domain, see `curate.answers.answers`; ``text`` where a domain is not named.
        labels: class names of the domains of kind ``label``, per domain or for all.
        real: real train rows; columns of `PROMPTS`, as in the next two.
        heldout: validation and test rows.
        accepted: synthetic rows that were accepted before.
        vectors: texts → (n, d) float32, rows of length 1; slow when a text is new, so asked only for what is needed.
        thresholds: per auditor the lowest score that rejects; set by `curate.audit.audit.judge`, and read by `threshold`.
        tasks: what is asked for per domain, one of `curate.answers.answers.TASKS`; chooses the teacher's prompt.
        mixed: domains of texts among which are other kinds; `kind_in` says which a row has.
        own: domains with rows that say their own kind.
        given: domains whose kind somebody said.
        overruled: domains whose kind was said by name; what their rows say does not count.
        why: by what the kind of a domain is recognised, or who said it; one phrase.
    """

    kinds: Mapping[str, str]
    labels: Sequence[str] | Mapping[str, Sequence[str]]
    real: pl.DataFrame
    heldout: pl.DataFrame
    accepted: pl.DataFrame
    vectors: Callable[[list[str]], NDArray[np.float32]]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)
    mixed: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()
    overruled: frozenset[str] = frozenset()
    why: Mapping[str, str] = field(default_factory=dict)

    def threshold(self, auditor: str) -> float:
        """Return the lowest score of an auditor that rejects, 0 to 1."""
        return self.thresholds.get(auditor, THRESHOLDS.get(auditor, OTHER_THRESHOLD))

    def kind(self, domain: str) -> str:
        """Return the kind of answer of a domain."""
        return self.kinds.get(domain, "text")

    def task(self, domain: str) -> str:
        """Return what is asked for in a domain; by its kind of answer where `tasks` does not name it."""
        return self.tasks.get(domain) or answers.task_of(self.kind(domain))

    def labels_of(self, domain: str) -> tuple[str, ...]:
        """Return the class names of a domain; empty where none are known."""
        return tuple(self.labels.get(domain, ()) if isinstance(self.labels, Mapping) else self.labels)


class KnownKinds(Protocol):
    """What is known of kinds of answers: a `Context`, or a `curate.audit.kinds.Survey`."""

    @property
    def mixed(self) -> frozenset[str]: ...

    @property
    def overruled(self) -> frozenset[str]: ...

    def kind(self, domain: str) -> str: ...

    def labels_of(self, domain: str) -> tuple[str, ...]: ...


def kind_in(context: KnownKinds, domain: str, prompt: str, answer: str, said: str | None = None) -> str:
    """Return the kind of a row's answer: what is said of it, else its domain's, or its own where the domain has several.

    Args:
        context: of the corpus, or what is known of its kinds.
        domain, prompt, answer: of the row.
        said: what is said of the row, one of `curate.answers.answers.SAYABLE` or None.
    """
    told = None if domain in context.overruled else answers.read_kind(said)
    if told is not None:
        return told[0]
    return answers.row_kind(prompt, answer, context.labels_of(domain)) if domain in context.mixed else context.kind(domain)


def task_in(context: Context, domain: str, prompt: str, answer: str, said: str | None = None) -> str:
    """Return what is asked for a row, one of `curate.answers.answers.TASKS`; the arguments are those of `kind_in`."""
    told = None if domain in context.overruled else answers.read_kind(said)
    if told is not None and told[1] is not None:
        return told[1]
    kind = kind_in(context, domain, prompt, answer, said)
    if kind == context.kind(domain):
        return context.task(domain)
    if told is None and kind == "number" and context.task(domain) == "open-question" and answer.strip() in prompt:
        return "open-question"  # a number that is read in the question's passage, as the short texts beside it are
    return answers.task_of(kind, [answer])


def kind_or_task(context: Context, domain: str, prompt: str, answer: str, said: str | None = None) -> str:
    """Return what may be said of a row so that it is judged and asked for as it is: what is said, else its kind, or its task.

    The arguments are those of `kind_in`; what comes back is one of `curate.answers.answers.SAYABLE`.
    """
    if said is not None and answers.read_kind(said) and domain not in context.overruled:
        return said
    kind, task = kind_in(context, domain, prompt, answer), task_in(context, domain, prompt, answer)
    return kind if kind == "text" or answers.task_of(kind) == task else task


def as_they_are(context: Context, rows: pl.DataFrame) -> pl.Series:
    """Return which rows are instructions with long answers: each is what a student learns, and needs no rationale before it.

    Args:
        context: of the corpus.
        rows: columns ``domain, prompt, answer``, and ``kind`` where something is said of it.
    """
    several = context.mixed | context.own
    whole = [domain for domain, task in context.tasks.items() if task == "instruction"]
    found = rows["domain"].is_in(whole)
    if not several or not rows["domain"].is_in(list(several)).any():
        return found
    said = rows["kind"] if "kind" in rows.columns else pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    each = zip(rows["domain"], rows["prompt"].fill_null(""), rows["answer"].fill_null(""), said, strict=True)
    return pl.Series([task_in(context, *row) == "instruction" for row in each], dtype=pl.Boolean)


def compared(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what rows are compared by; a frame that has it comes back as it is.

    That is ``conversation``, what leads to the answer (`curate.manifest.chats.conversations`: the prompt, and of a chat the turns
    before it, from its column ``messages``), and ``numbers``, the numbers in it in their order.
    """
    if "numbers" in frame.columns:
        return frame
    whole = frame.with_columns(conversations(frame))
    return whole.with_columns(numbers=pl.col("conversation").str.extract_all(NUMBERS).list.join(" "))


Auditor = Callable[[pl.DataFrame, Context], Iterable[Finding]]

auditors: Registry[Auditor] = Registry("auditor", "curate.auditors", builtin=("curate.audit.auditors",))
