"""Fills `n_tokens`: how long each row is for a student, in tokens of the chat that it would be trained on. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from curate import models, progress
from curate.defaults import DEFAULT_STUDENT
from curate.manifest.chats import calls_as_text, for_template, to_chats, tools_of
from curate.manifest.manifest import Manifest

__all__ = ["count_tokens"]


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
