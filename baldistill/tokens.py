"""Turns examples into token ids: chat prompts, completions, the boundary between them, and batches of like length.

Training, scoring and evaluation all read a student's chat template through this module, so that the boundary between
prompt and completion is the same for all three. Loads no model and knows no manifest.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.manifest.chats import to_chats

__all__ = [
    "PLAIN_TEMPLATE",
    "Tokens",
    "chunks",
    "encode",
    "fill",
    "header",
    "render",
    "stops",
    "stratify",
    "tokenize",
    "training_tokens",
]

Message = dict[str, str]

# For base models, which come without a chat template: the turns one after the other, each answer ended by EOS.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n\\n' }}{% endfor %}"
)


@dataclass(frozen=True)
class Tokens:
    """Token ids of one example.

    Attributes:
        prompt: everything up to and with the header of the assistant's turn.
        completion: what the student is to write.
    """

    prompt: list[int]
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def stratify(rows: pl.DataFrame, limit: int | None, *, seed: int) -> pl.DataFrame:
    """Choose at most `limit` rows, as evenly over the domains as they allow, at random inside each; sorted by id.

    Args:
        rows: a frame with ``id`` and ``domain``.
        limit: rows in all; None or more than there are keeps them all.
        seed: the same seed gives the same rows, whatever the order of `rows`.

    Raises:
        InputError: the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: use a number of rows above 0, or leave it out for all rows")
    rows = rows.sort("id")
    if limit is None or limit >= rows.height:
        return rows
    counts = {str(domain): int(n) for domain, n in rows["domain"].value_counts().rows()}
    shares = _even(counts, limit)
    kept: list[str] = []
    for (domain,), pool in rows.group_by("domain", maintain_order=True):
        ids = pool["id"].to_list()
        kept += random.Random(f"{seed}/{domain}").sample(ids, shares[str(domain)])
    return rows.join(pl.DataFrame({"id": kept}, schema={"id": pl.String}), on="id", how="semi", maintain_order="left")


def render(tokenizer: Any, messages: Sequence[Message], *, complete: bool = False) -> str:
    """Write messages as the student's chat template has them.

    Args:
        tokenizer: of transformers, with a chat template.
        messages: the turns, ``{"role", "content"}`` each.
        complete: the last turn is the assistant's and is closed; otherwise the assistant's turn is opened.
    """
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=not complete))


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of rendered texts; special tokens are those that the template wrote."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def encode(tokenizer: Any, examples: pl.DataFrame) -> list[Tokens]:
    """Tokenise examples for scoring: the prompt as the student is asked, the completion without the end-of-turn mark.

    The two are tokenised as one text, as in training, and split where they differ from the prompt alone: a token that
    spans the boundary counts as the completion's.

    Args:
        tokenizer: of transformers, with a chat template.
        examples: columns of `curate.manifest.chats.to_chats`; one example per row.
    """
    chats = to_chats(examples)
    prompts = [render(tokenizer, chat[:-1]) for chat in chats]
    return _split(tokenizer, prompts, [text + chat[-1]["content"] for text, chat in zip(prompts, chats, strict=True)])


def training_tokens(tokenizer: Any, examples: pl.DataFrame) -> list[Tokens]:
    """Tokenise examples for training: as `encode`, with the assistant's turn closed by the template.

    These are the ids and the boundary that TRL's ``SFTTrainer`` makes of conversational prompts and completions.
    """
    chats = to_chats(examples)
    whole = [render(tokenizer, chat, complete=True) for chat in chats]
    return _split(tokenizer, [render(tokenizer, chat[:-1]) for chat in chats], whole)


def header(tokenizer: Any) -> list[int]:
    """Return the context of a completion whose question is taken away: the header of the assistant's turn alone.

    Where the template writes no header, it is the token that begins (or, lacking that, ends) a text.
    """
    question = [{"role": "user", "content": "?"}]
    closed = str(tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=False))
    opened = render(tokenizer, question)
    ids, whole = tokenize(tokenizer, [opened.removeprefix(closed), opened])
    begins = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if not ids or (whole[0] == tokenizer.bos_token_id and ids[0] != tokenizer.bos_token_id):
        return [begins, *ids]
    return ids


def stops(tokenizer: Any, model: Any) -> list[int]:
    """Return the ids that end a student's answer: the model's own, the tokenizer's, and the template's end of turn."""
    question = [{"role": "user", "content": "?"}]
    answered = [*question, {"role": "assistant", "content": "!"}]
    closing = render(tokenizer, answered, complete=True).rpartition("!")[2].strip()
    mark = tokenize(tokenizer, [closing])[0][:1] if closing else []
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    found = [*own, tokenizer.eos_token_id, *(i for i in mark if i in special)]
    return sorted({i for i in found if i is not None})


def chunks(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Return positions in batches of at most `size`, longest first, so that little is padded and memory fails early."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[start : start + size] for start in range(0, len(order), size)]


def fill(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Return positions in batches of at most `tokens`, counted as the longest times their number, longest first.

    What is longer than `tokens` is a batch of its own.
    """
    batches: list[list[int]] = []
    width = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * width > tokens:
            batches.append([])
            width = max(1, lengths[i])
        batches[-1].append(i)
    return batches


def _even(counts: Mapping[str, int], limit: int) -> dict[str, int]:
    """Share `limit` rows so that no domain gets two fewer than another, unless it has no more rows."""
    shares: dict[str, int] = {}
    for n_done, (domain, n) in enumerate(sorted(counts.items(), key=lambda pair: (pair[1], pair[0]))):
        shares[domain] = min(n, (limit - sum(shares.values())) // (len(counts) - n_done))
    return shares


def _split(tokenizer: Any, prompts: list[str], whole: list[str]) -> list[Tokens]:
    pairs = zip(tokenize(tokenizer, prompts), tokenize(tokenizer, whole), strict=True)
    found = []
    for prompt, ids in pairs:
        boundary = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt, ids, strict=False)))
        found.append(Tokens(ids[:boundary], ids[boundary:]))
    return found
