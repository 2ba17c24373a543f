"""The contract of auditors: what they are given and hand back, their registry, and the scores from which a row is rejected.

An auditor is ``(batch, context) -> iterable of Finding`` and registers itself where it stands: ``@auditors.register("name")``, or
the entry-point group ``curate.auditors``. It decides nothing; `curate.audit.audit.judge` compares its scores with the thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    "auditors",
    "compared",
    "kind_in",
]

# The lowest score that rejects, 0 to 1.
THRESHOLDS = {"malformed": 0.5, "answer_mismatch": 0.5, "leakage": 0.95, "near_duplicate": 0.95}
OTHER_THRESHOLD = 0.5  # of an auditor that is not named there

# What an auditor is given, one row per example; a frame may have further columns: of chats `messages`, the other turns.
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
        mixed: domains whose rows have several kinds of answers; `kind_in` says which a row has.
        tasks: what is asked for per domain, one of `curate.answers.answers.TASKS`; chooses the teacher's prompt.
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

    def threshold(self, auditor: str) -> float:
        """Return the lowest score of an auditor that rejects, 0 to 1."""
        return self.thresholds.get(auditor, THRESHOLDS.get(auditor, OTHER_THRESHOLD))

    def kind(self, domain: str) -> str:
        """Return the kind of answer of a domain."""
        return self.kinds.get(domain, "text")

    def task(self, domain: str) -> str:
        """Return what is asked for in a domain; by its kind of answer where `tasks` does not name it."""
        return self.tasks.get(domain) or answers.task_of(self.kind(domain))

    @property
    def trained_as_they_are(self) -> frozenset[str]:
        """Domains of instructions with long answers: each is what a student learns, and needs no rationale before it."""
        return frozenset(domain for domain, task in self.tasks.items() if task == "instruction" and domain not in self.mixed)

    def labels_of(self, domain: str) -> tuple[str, ...]:
        """Return the class names of a domain; empty where none are known."""
        return tuple(self.labels.get(domain, ()) if isinstance(self.labels, Mapping) else self.labels)


def kind_in(context: Context, domain: str, prompt: str, answer: str) -> str:
    """Return the kind of a row's answer: its domain's, or its own where the domain has several."""
    return answers.row_kind(prompt, answer) if domain in context.mixed else context.kind(domain)


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
