"""Counts how long rows are for a student, in tokens of the chat that it would be trained on. Decides nothing.

`count_tokens` fills the column `n_tokens`; `measure_lengths` says which domains have rows above a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate import models, progress
from curate.defaults import DEFAULT_STUDENT
from curate.manifest.chats import calls_as_text, for_template, to_chats, tools_of
from curate.manifest.manifest import Manifest

__all__ = ["DomainLengths", "Lengths", "count_tokens", "measure_lengths"]


_HELD, _BATCH = 100_000, 2_000  # texts read at a time, and tokenized at a time


def count_tokens(manifest: Manifest, *, student: str = DEFAULT_STUDENT) -> Manifest:
    """Fill `n_tokens` of every row that lacks it; rows counted for another student are counted again.

    Args:
        manifest: the version to start from.
        student: the model whose tokenizer and chat template count.

    Returns:
        The next version, or the same where nothing was missing.

    Raises:
        ModelError: the student has no tokenizer that can be loaded.
    """
    weights = models.find(student)
    rows = manifest.rows()
    if _counted_by(manifest) not in (None, weights.fingerprint):
        rows = rows.with_columns(n_tokens=pl.lit(None, dtype=pl.Int32))
    missing = rows.filter(pl.col("n_tokens").is_null())
    if missing.is_empty():
        return manifest
    counts = _count(manifest, missing["content"].unique(maintain_order=True), models.load_tokenizer(student, manifest.root))
    filled = rows.join(counts, on="content", how="left", maintain_order="left")
    return manifest.commit(
        filled.with_columns(n_tokens=pl.coalesce("n_tokens", "counted")).drop("counted"),
        verb="profile",
        parameters={"tokens": True, "student": weights.label, "fingerprint": weights.fingerprint},
        summary={"counted": missing.height},
    )


@dataclass(frozen=True)
class DomainLengths:
    """How many rows of a domain are above a limit of tokens.

    Attributes:
        split, domain: of the rows; one of several labels counts in each.
        rows: all of them.
        over: rows above the limit.
        longest: tokens of the longest row.
    """

    split: str
    domain: str
    rows: int
    over: int
    longest: int

    @property
    def share(self) -> float:
        """Of the domain's rows, those above the limit, 0 to 1."""
        return self.over / self.rows


@dataclass(frozen=True)
class Lengths:
    """How long rows are for a student.

    Attributes:
        student: whose tokenizer and chat template counted, as records show it.
        limit: in tokens.
        domains: by split in the order of the frames, those with the most rows above the limit first.
        over: split → positions of the rows above the limit, from 0 in the order in which they came.
    """

    student: str
    limit: int
    domains: tuple[DomainLengths, ...]
    over: dict[str, list[int]]


def measure_lengths(
    frames: Iterable[tuple[str, pl.DataFrame]], *, limit: int, student: str = DEFAULT_STUDENT, root: str | None = None
) -> Lengths:
    """Count the tokens of rows as a student's chat template renders them, a row whole, and say which are above a limit.

    Args:
        frames: split and some of its rows with texts: domain, prompt, answer, rationale, messages, extra, and ``domains`` where
            rows have several labels.
        limit: tokens that a row may have.
        student: the model whose tokenizer and chat template count.
        root: the folder that holds ``cache/``; only GGUF weights need it.

    Raises:
        ModelError: the student has no tokenizer that can be loaded, or its template refuses a chat.
    """
    label, tokenizer = models.find(student).label, models.load_tokenizer(student, root)
    rows: Counter[tuple[str, str]] = Counter()
    above: Counter[tuple[str, str]] = Counter()
    longest: dict[tuple[str, str], int] = {}
    over: dict[str, list[int]] = {}
    done: Counter[str] = Counter()
    with progress.step("tokens") as counter:
        for split, frame in frames:
            for batch in frame.iter_slices(_BATCH):
                counts = pl.Series("counted", _lengths(_texts(batch, tokenizer), tokenizer), dtype=pl.Int64)
                over.setdefault(split, []).extend(((counts > limit).arg_true() + done[split]).to_list())
                done[split] += batch.height
                labels = batch["domains"] if "domains" in batch.columns else pl.Series([[name] for name in batch["domain"]])
                for names, n in zip(labels, counts, strict=True):
                    for key in ((split, name) for name in names):
                        rows[key] += 1
                        above[key] += n > limit
                        longest[key] = max(n, longest.get(key, 0))
                counter.advance(batch.height)
    found = [DomainLengths(*key, rows=n, over=above[key], longest=longest[key]) for key, n in rows.items()]
    order = {split: n for n, split in enumerate(over)}
    return Lengths(label, limit, tuple(sorted(found, key=lambda d: (order[d.split], -d.over, d.domain))), over)


def _counted_by(manifest: Manifest) -> str | None:
    """Return the fingerprint of the student that counted last, or None where none has."""
    profiles = [commit.parameters for commit in manifest.lineage() if commit.verb == "profile"]
    prints = [parameters["fingerprint"] for parameters in profiles if "fingerprint" in parameters]
    return prints[-1] if prints else None


def _count(manifest: Manifest, keys: pl.Series, tokenizer: Any) -> pl.DataFrame:
    """Count the tokens of each content; columns content and counted."""
    parts = []
    with progress.step("tokens", len(keys)) as counter:
        for start in range(0, len(keys), _HELD):
            for batch in manifest.contents(keys[start : start + _HELD]).sort("content").iter_slices(_BATCH):
                lengths = _lengths(_texts(batch, tokenizer), tokenizer)
                parts.append(batch.select("content", counted=pl.Series(lengths, dtype=pl.Int32)))
                counter.advance(batch.height)
    return pl.concat(parts)


def _texts(contents: pl.DataFrame, tokenizer: Any) -> Sequence[str]:
    """Render every content as the student would see it; a tokenizer without a chat template sees the turns as lines."""
    chats = [for_template(chat) for chat in to_chats(contents)]
    if not getattr(tokenizer, "chat_template", None):
        return ["\n".join(models.text_only(tokenizer, turn["content"]) for turn in calls_as_text(chat)) for chat in chats]
    if any("tool_calls" in turn for chat in chats for turn in chat) and not models.template_shows(tokenizer, "tool_calls"):
        chats = [calls_as_text(chat) for chat in chats]
    tools = [tools_of(extra) for extra in contents["extra"]]
    return [models.render(tokenizer, chat, tools=offered) for chat, offered in zip(chats, tools, strict=True)]


def _lengths(texts: Sequence[str], tokenizer: Any) -> list[int]:
    """Count the tokens of texts that already hold every special token."""
    return [len(ids) for ids in models.tokenize(tokenizer, texts)]
