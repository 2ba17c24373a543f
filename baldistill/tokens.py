"""Turns examples into token ids: chat prompts, completions, the boundary between them, and batches of like length.

Training, scoring and evaluation all read a student's chat template through this module, so that the boundary between
prompt and completion is the same for all three. Loads no model and knows no manifest.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import polars as pl

from curate import models
from curate.errors import InputError
from curate.manifest import chats

__all__ = [
    "PLAIN_TEMPLATE",
    "Tokens",
    "chunks",
    "encode",
    "fill",
    "header",
    "left_out",
    "render",
    "stops",
    "stratify",
    "tokenize",
    "training_tokens",
]

Message = dict[str, Any]

# For base models, which come without a chat template: the turns one after the other, each answer ended by EOS.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n\\n' }}{% endfor %}"
)
_PROBED = ("tools", "reasoning_content")  # that some templates show
_MARK = "\ue0f1\ue0f2"  # letters for private use, which stand in the place of a turn to see where a template writes it


@dataclass(frozen=True)
class Tokens:
    """Token ids of one example.

    Attributes:
        prompt: everything up to and with the header of the assistant's turn.
        completion: what the student is to write.
        learned: spans of the prompt, (start, end), that are trained on too: earlier turns of the assistant.
        missed: earlier turns that were to be trained on, and that the template does not show.
    """

    prompt: list[int]
    completion: list[int]
    learned: tuple[tuple[int, int], ...] = ()
    missed: int = 0

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


@dataclass(frozen=True)
class _Shown:
    """A chat as the template takes it: the turns up to the answer, the tools offered, positions of the turns trained on."""

    turns: list[Message]
    tools: list[Any] | None
    trained: list[int]


def render(tokenizer: Any, messages: Sequence[Message], *, complete: bool = False, tools: Any = None) -> str:
    """Write messages as the student's chat template has them.

    Args:
        tokenizer: of transformers, with a chat template.
        messages: the turns, as `curate.manifest.chats.for_template` makes them.
        complete: the last turn is the assistant's and is closed; otherwise the assistant's turn is opened.
        tools: that are offered, or None.

    Raises:
        ModelError: the template refuses the chat.
    """
    return models.render(tokenizer, messages, tools=tools, opened=not complete)


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of rendered texts; special tokens are those that the template wrote, never those of a row's text."""
    return models.tokenize(tokenizer, texts)


def encode(tokenizer: Any, examples: pl.DataFrame) -> list[Tokens]:
    """Tokenise examples for scoring: the prompt as the student is asked, the completion without the end-of-turn mark.

    The two are tokenised as one text, as in training, and split where they differ from the prompt alone: a token that
    spans the boundary counts as the completion's.

    Args:
        tokenizer: of transformers, with a chat template.
        examples: columns of `curate.manifest.chats.to_chats`, and extra where it holds tools; one example per row.
    """
    shown = _shown(tokenizer, examples)
    prompts = [render(tokenizer, chat.turns[:-1], tools=chat.tools) for chat in shown]
    return _split(tokenizer, prompts, [_unclosed(tokenizer, chat, text) for chat, text in zip(shown, prompts, strict=True)])


def training_tokens(tokenizer: Any, examples: pl.DataFrame) -> list[Tokens]:
    """Tokenise examples for training: as `encode`, with the assistant's turn closed by the template.

    These are the ids and the boundary that TRL's ``SFTTrainer`` makes of conversational prompts and completions. Which earlier
    turns of the assistant are trained on, the row says (`curate.manifest.chats.Turns.trained`).
    """
    shown = _shown(tokenizer, examples)
    whole = [render(tokenizer, chat.turns, complete=True, tools=chat.tools) for chat in shown]
    found = _split(tokenizer, [render(tokenizer, chat.turns[:-1], tools=chat.tools) for chat in shown], whole)
    return [
        tokens if len(chat.trained) == 1 else _with_learned(tokenizer, tokens, chat, text)
        for tokens, chat, text in zip(found, shown, whole, strict=True)
    ]


def left_out(tokenizer: Any, examples: pl.DataFrame) -> dict[str, int]:
    """Return what of the chats the student's template does not show, and of how many rows.

    Args:
        tokenizer: of transformers, with a chat template.
        examples: as for `encode`.
    """
    found: Counter[str] = Counter()
    for chat, extra in zip(chats.read_chats(examples), _extras(examples), strict=True):
        turns = [*chat.leading, chat.answered]
        found["tools"] += chats.tools_of(extra) is not None
        found["reasoning_content"] += bool(chat.answered.get("reasoning_content"))
        parts = [turn["content"] for turn in turns if isinstance(turn.get("content"), list)]
        found["parts that are no text"] += any(chats.part_text(part) is None for content in parts for part in content)
    shows = {part: n > 0 and models.template_shows(tokenizer, part) for part, n in found.items() if part in _PROBED}
    return {part: n for part, n in found.items() if n and not shows.get(part)}


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


def _extras(examples: pl.DataFrame) -> list[str | None]:
    return examples["extra"].to_list() if "extra" in examples.columns else [None] * examples.height


def _shown(tokenizer: Any, examples: pl.DataFrame) -> list[_Shown]:
    """Return the examples as the template takes them; calls of tools are JSON in the text where it shows none."""
    found = []
    for chat, extra in zip(chats.read_chats(examples), _extras(examples), strict=True):
        turns = chats.for_template([*chat.leading, chat.answered])
        found.append(_Shown(turns, chats.tools_of(extra), chat.trained()))
    called = any("tool_calls" in turn for chat in found for turn in chat.turns)
    if called and not models.template_shows(tokenizer, "tool_calls"):
        return [replace(chat, turns=chats.calls_as_text(chat.turns)) for chat in found]
    return found


def _unclosed(tokenizer: Any, chat: _Shown, prompt: str) -> str:
    """Return a chat without what closes its last turn."""
    answer = chat.turns[-1]
    if "tool_calls" not in answer:
        return prompt + str(models.text_only(tokenizer, answer["content"]))
    question = {"role": "user", "content": "?"}
    closing = render(tokenizer, [question, {"role": "assistant", "content": _MARK}], complete=True).rpartition(_MARK)[2]
    return render(tokenizer, chat.turns, complete=True, tools=chat.tools).removesuffix(closing)


def _with_learned(tokenizer: Any, tokens: Tokens, chat: _Shown, whole: str) -> Tokens:
    """Add the spans of earlier turns that are trained on: the text that changes with a turn, and the mark that closes it."""
    ids, spans = tokens.prompt + tokens.completion, []
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    for position in chat.trained[:-1]:
        marked = [*chat.turns[:position], {"role": "assistant", "content": _MARK}, *chat.turns[position + 1 :]]
        other = render(tokenizer, marked, complete=True, tools=chat.tools)
        first = _common(whole, other)
        last = len(whole) - min(_common(whole[::-1], other[::-1]), len(whole) - first)
        if _MARK not in other or first == last:
            continue
        start, end = (_common(ids, tokenize(tokenizer, [whole[:at]])[0]) for at in (first, last))
        closing = next((n for n in range(end, min(end + 2, len(ids))) if ids[n] in special), end - 1)
        spans.append((start, closing + 1))
    return replace(tokens, learned=tuple(spans), missed=len(chat.trained) - 1 - len(spans))


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many items two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _split(tokenizer: Any, prompts: list[str], whole: list[str]) -> list[Tokens]:
    pairs = zip(tokenize(tokenizer, prompts), tokenize(tokenizer, whole), strict=True)
    found = []
    for prompt, ids in pairs:
        boundary = _common(prompt, ids)
        found.append(Tokens(ids[:boundary], ids[boundary:]))
    return found
