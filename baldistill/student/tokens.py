"""Turns examples into token ids: chat prompts, completions, the boundary between them, and batches of like length.

A row has one rendering, which training, asking and scoring share. What is asked is the context: what the student's chat template
writes alike before an answer, whether it opens the assistant's turn or shows it whole. What is learnt follows that context,
and ends in a token at which generation stops. What is scored is what is learnt, without what closes the turn. Loads no model and
knows no manifest.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import polars as pl

from curate import models, progress
from curate.errors import InputError, ModelError
from curate.manifest import chats

__all__ = [
    "PLAIN_TEMPLATE",
    "Tokens",
    "check_forms",
    "encode",
    "fill",
    "header",
    "label_tokens",
    "left_out",
    "note_cut",
    "plain_template",
    "render",
    "stops",
    "stratify",
    "tokenize",
    "training_tokens",
]

Message = dict[str, Any]

# For base models, which come without a chat template: the turns one after the other, each answer ended by EOS. Where the
# tokenizer begins a text with BOS by itself, so does `plain_template`.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n\\n' }}{% endfor %}"
)
_PROBED = ("tools", "reasoning_content")  # that some templates show
_INSTRUCTING = ("system", "developer")  # roles of a first turn that says how to answer
_OVERLAP = 8  # characters by which the place before an answer is known again
_MARK = "\ue0f1\ue0f2"  # letters for private use, which stand in the place of a turn to see where a template writes it


@dataclass(frozen=True)
class Tokens:
    """Token ids of one example.

    Attributes:
        prompt: everything up to and with the header of the assistant's turn.
        completion: what the student is to write.
        learned: spans of the prompt, (start, end), that are trained on too: earlier turns of the assistant.
        missed: earlier turns that were to be trained on, and that the template does not show, or not whole.
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
    """A chat as the template takes it: the turns up to the answer, the tools offered, positions of the turns trained on.

    `moved` is the role of the first turn where what it says was put before the user's.
    """

    turns: list[Message]
    tools: list[Any] | None
    trained: list[int]
    moved: str | None = None


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


def plain_template(tokenizer: Any) -> str:
    """Return the chat template of a base model that has none: `PLAIN_TEMPLATE`, after BOS where its tokenizer adds it."""
    begins = tokenizer("a")["input_ids"][:1]
    return ("{{ bos_token }}" if begins == [tokenizer.bos_token_id] else "") + PLAIN_TEMPLATE


def encode(tokenizer: Any, examples: pl.DataFrame) -> list[Tokens]:
    """Tokenise examples for asking and scoring: as `training_tokens`, without what closes the assistant's turn.

    The prompt depends on nothing that the answer says.

    Args:
        tokenizer: of transformers, with a chat template.
        examples: columns of `curate.manifest.chats.to_chats`, and extra where it holds tools; one example per row, with an id
            where errors are to name it.

    Raises:
        ModelError: the template refuses a chat, or shows no answers.
    """
    return [Tokens(row.context, row.written[: len(row.written) - row.n_closing]) for row in _rows(tokenizer, examples)]


def training_tokens(tokenizer: Any, examples: pl.DataFrame) -> list[Tokens]:
    """Tokenise examples for training, with the assistant's turn closed by the template, and by EOS where it writes no mark.

    These are the ids and the boundary that TRL's ``SFTTrainer`` makes of conversational prompts and completions, as long as the
    template shows the answer whole, after what it asks with, and closes it. Which earlier turns of the assistant are trained on,
    the row says (`curate.manifest.chats.Turns.trained`).

    Raises:
        ModelError: as for `encode`, or the student has no token that ends an answer.
    """
    rows = _rows(tokenizer, examples)
    ends = set(_ends(tokenizer))
    found, unclosed = [], 0
    for row in rows:
        closed = bool(ends.intersection(row.written[len(row.written) - row.n_closing :]))
        unclosed += not closed
        tokens = Tokens(row.context, row.written + ([] if closed else [_eos(tokenizer)]))
        found.append(tokens if len(row.chat.trained) == 1 else _with_learned(tokenizer, tokens, row))
    if unclosed:
        progress.note(
            "students",
            f"the student's chat template ends an answer with no mark at which it stops: {tokenizer.eos_token} is put behind "
            f"{unclosed:,} of them",
        )
    return found


def label_tokens(
    tokenizer: Any, example: pl.DataFrame, labels: Sequence[str], ends: Sequence[int], *, rationale: str | None = None
) -> list[list[int]]:
    """Return what the student would write for each label as the answer to a row, up to and with the token that ends it.

    Args:
        tokenizer, example: as for `encode`, of one row.
        labels: answers.
        ends: ids at which generation stops, as `stops` returns them.
        rationale: that comes before each of them.

    Raises:
        ModelError: as for `training_tokens`.
    """
    rows = pl.concat([example] * len(labels)).with_columns(
        answer=pl.Series(labels, dtype=pl.String), rationale=pl.lit(rationale, dtype=pl.String)
    )
    found = []
    for row in training_tokens(tokenizer, rows):
        end = next((i for i, token in enumerate(row.completion) if token in ends), len(row.completion) - 1)
        found.append(row.completion[: end + 1])
    return found


def check_forms(tokenizer: Any, examples: pl.DataFrame) -> None:
    """Render the first example of each sequence of roles, with and without tools, on which templates differ.

    Args:
        tokenizer, examples: as for `encode`.

    Raises:
        ModelError: as for `training_tokens`.
    """
    forms: dict[tuple[Any, ...], int] = {}
    for n, (chat, extra) in enumerate(zip(chats.read_chats(examples), _extras(examples), strict=True)):
        forms.setdefault((*(turn.get("role") for turn in chat.leading), chats.tools_of(extra) is not None), n)
    some = examples[list(forms.values())]
    _texts(tokenizer, some, _shown(tokenizer, some))
    if not _ends(tokenizer):
        _eos(tokenizer)


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
    closed = render(tokenizer, question, complete=True)
    opened = _Text.of(tokenizer, _Shown([*question, {"role": "assistant", "content": "!"}], None, [])).context
    ids, whole = tokenize(tokenizer, [opened.removeprefix(closed), opened])
    begins = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) if i is not None), 0)
    if not ids or (whole[0] == tokenizer.bos_token_id and ids[0] != tokenizer.bos_token_id):
        return [begins, *ids]
    return ids


def stops(tokenizer: Any, model: Any) -> list[int]:
    """Return the ids that end a student's answer: the model's own, the tokenizer's, and the template's end of turn.

    Raises:
        ModelError: there are none.
    """
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    found = sorted({i for i in [*own, *_ends(tokenizer)] if i is not None})
    return found or [_eos(tokenizer)]


def note_cut(prompts: Sequence[Sequence[int]], room: int) -> int:
    """Return how many prompts are longer than `room` tokens, and say that they are cut from the left."""
    n = sum(len(prompt) > room for prompt in prompts)
    if n:
        progress.note("evaluate", f"{n:,} of {len(prompts):,} prompts are longer than {room:,} tokens and were cut from the left")
    return n


def fill(
    lengths: Sequence[int], tokens: int, *, shared: int = 0, whole: int | None = None, rows: int | None = None
) -> list[list[int]]:
    """Return positions in batches of at most `tokens`, counted as the longest times their number, longest first.

    What is longer than `tokens` is a batch of its own.

    Args:
        lengths: of the texts.
        tokens: in a batch.
        shared: further tokens that every text begins with.
        whole: at most this many tokens with the shared ones, counted in the same way.
        rows: at most this many in a batch.
    """
    batches: list[list[int]] = []
    width = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        n = len(batches[-1]) + 1 if batches else 0
        full = n * width > tokens or (whole is not None and n * (width + shared) > whole) or (rows is not None and n > rows)
        if not n or full:
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
    """Return the examples as the template takes them.

    Calls of tools are JSON in the text where it shows none, and what a system turn says stands before the user's first turn
    where it shows no such turn, or refuses it.
    """
    found = []
    for chat, extra in zip(chats.read_chats(examples), _extras(examples), strict=True):
        turns = chats.for_template([*chat.leading, chat.answered])
        found.append(_Shown(turns, chats.tools_of(extra), chat.trained()))
    called = sum(any("tool_calls" in turn for turn in chat.turns) for chat in found)
    if called and not models.template_shows(tokenizer, "tool_calls"):
        progress.note(
            "students", f"the student's chat template shows no calls of tools: in {called:,} rows they are read as JSON"
        )
        found = [replace(chat, turns=chats.calls_as_text(chat.turns)) for chat in found]
    homeless = {role for role in _INSTRUCTING if any(chat.turns[0]["role"] == role for chat in found)}
    homeless = {role for role in homeless if not _takes(tokenizer, role)}
    return [_without_instructing_turn(chat) if chat.turns[0]["role"] in homeless else chat for chat in found]


def _takes(tokenizer: Any, role: str) -> bool:
    """Return whether a chat template shows a turn of a role before the user's."""
    try:
        return _MARK in render(tokenizer, [{"role": role, "content": _MARK}, {"role": "user", "content": "?"}])
    except ModelError:
        return False


def _without_instructing_turn(chat: _Shown) -> _Shown:
    """Put what the first turn says before the user's first turn, or into a turn of the user where none follows it."""
    first, *others = chat.turns
    if others[0]["role"] != "user":
        return replace(chat, turns=[{**first, "role": "user"}, *others], moved=first["role"])
    joined = "\n\n".join(filter(None, [first["content"], others[0]["content"]]))
    turns = [{**others[0], "content": joined}, *others[1:]]
    return replace(chat, turns=turns, trained=[n - 1 for n in chat.trained], moved=first["role"])


@dataclass(frozen=True)
class _Text:
    """A chat as text: what the student is asked with, what it is to write then, and the end of that, which closes a turn.

    `whole_answer` says that the template shows the answer whole, and `alike` that it writes the chat in the same way to ask.
    Where it does not, what the student is to write is put together here.
    """

    context: str
    written: str
    closing: str
    whole_answer: bool
    alike: bool

    @classmethod
    def of(cls, tokenizer: Any, chat: _Shown) -> _Text:
        asked = render(tokenizer, chat.turns[:-1], tools=chat.tools)
        marked = render(tokenizer, [*chat.turns[:-1], {"role": "assistant", "content": _MARK}], complete=True, tools=chat.tools)
        before, shown, closing = marked.rpartition(_MARK)
        if not shown:
            raise ModelError("the student's chat template does not show what the assistant says")
        context = _shared_context(tokenizer, chat, asked, before)
        alike = before.startswith(context)
        whole = render(tokenizer, chat.turns, complete=True, tools=chat.tools) if alike else ""
        content = str(models.text_only(tokenizer, chat.turns[-1]["content"]))
        whole_answer = not alike or (whole.startswith(context) and _bare(content) in _bare(whole[len(context) :]))
        if alike and whole_answer:
            return cls(context, whole[len(context) :], closing, True, True)
        opening = before[len(context) :] if alike else _after(before, context[-_OVERLAP:])
        return cls(context, f"{opening}{content}{closing}", closing, whole_answer, alike)


@dataclass(frozen=True)
class _Row:
    """A chat as token ids; the last `n_closing` of what is written do nothing but close the turn."""

    chat: _Shown
    text: str
    context: list[int]
    written: list[int]
    n_closing: int


def _rows(tokenizer: Any, examples: pl.DataFrame) -> list[_Row]:
    """Render and tokenise examples; what had to be put together otherwise than the template has it is noted."""
    shown = _shown(tokenizer, examples)
    texts = _texts(tokenizer, examples, shown)
    roles = Counter(chat.moved for chat in shown if chat.moved)
    notes = [(n, f"has no {role} turn: what it says stands before the user's turn") for role, n in sorted(roles.items())]
    notes.append((sum(not text.whole_answer for text in texts), "leaves out a part of the answer, which is put back"))
    otherwise = "shows the chat otherwise when it asks, and they are read as they are asked"
    notes.append((sum(not text.alike for text in texts), otherwise))
    for n, what in notes:
        if n:
            progress.note("students", f"in {n:,} rows the student's chat template {what}")
    contexts = tokenize(tokenizer, [text.context for text in texts])
    wholes = tokenize(tokenizer, [text.context + text.written for text in texts])
    endings = sorted({text.closing for text in texts})
    closings = dict(zip(endings, tokenize(tokenizer, endings), strict=True))
    found = []
    for chat, text, context, whole in zip(shown, texts, contexts, wholes, strict=True):
        # A token across the boundary is not read as one: it would change what was asked with what is answered.
        apart = whole[: len(context)] != context
        written = tokenize(tokenizer, [text.written])[0] if apart else whole[len(context) :]
        n_closing = _common(written[::-1], closings[text.closing][::-1])
        found.append(_Row(chat, text.context + text.written, context, written, n_closing))
    return found


def _texts(tokenizer: Any, examples: pl.DataFrame, shown: Sequence[_Shown]) -> list[_Text]:
    texts = []
    for n, chat in enumerate(shown):
        try:
            texts.append(_Text.of(tokenizer, chat))
        except ModelError as e:
            row = f"row {examples['id'][n]}: " if "id" in examples.columns else ""
            raise ModelError(f"{row}{e}; change the row's turns, leave it out, or name another student") from e
    return texts


def _shared_context(tokenizer: Any, chat: _Shown, asked: str, before: str) -> str:
    """Return what a template writes before an answer, both when it asks for it and when it shows it.

    Some open an answer with more than they show it with (``<think>``): then the shared part is the context. Some write the
    question itself otherwise when it is the last turn: then the context is what they ask with.
    """
    if before.startswith(asked):
        return asked
    n = _common(asked, before)
    if n < len(render(tokenizer, chat.turns[:-1], complete=True, tools=chat.tools).rstrip()):
        return asked
    ids = tokenize(tokenizer, [asked])[0]
    while n and (part := tokenize(tokenizer, [asked[:n]])[0]) != ids[: len(part)]:  # a token is not cut
        n -= 1
    return asked[:n]


def _after(text: str, ending: str) -> str:
    """Return what follows the last occurrence of `ending`; an empty text where there is none."""
    return text.rpartition(ending)[2] if ending in text else ""


def _bare(text: str) -> str:
    return "".join(text.split())


def _ends(tokenizer: Any) -> list[int]:
    """Return the ids that end an answer by tokenizer and template: EOS, and the first special token that closes a turn."""
    answered = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
    closing = render(tokenizer, answered, complete=True).rpartition(_MARK)[2]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    mark = next((i for i in tokenize(tokenizer, [closing])[0] if i in special), None)
    return [i for i in (tokenizer.eos_token_id, mark) if i is not None]


def _eos(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the student has no token that ends an answer: its tokenizer names no eos_token, and its chat template closes a turn "
            "with no special token; give tokenizer_config.json an eos_token that the model knows"
        )
    return int(tokenizer.eos_token_id)


def _with_learned(tokenizer: Any, tokens: Tokens, row: _Row) -> Tokens:
    """Add the spans of earlier turns that are trained on: the text that changes with a turn, and the mark that closes it."""
    chat, whole = row.chat, row.text
    ids, spans, missed = tokens.prompt + tokens.completion, [], 0
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    for position in chat.trained[:-1]:
        marked = [*chat.turns[:position], {"role": "assistant", "content": _MARK}, *chat.turns[position + 1 :]]
        text = _Text.of(tokenizer, replace(chat, turns=marked))
        other = text.context + text.written
        first = _common(whole, other)
        last = len(whole) - min(_common(whole[::-1], other[::-1]), len(whole) - first)
        content = _bare(str(models.text_only(tokenizer, chat.turns[position]["content"])))
        missed += _MARK not in other or first == last or content not in _bare(whole[first:last])
        if _MARK not in other or first == last:
            continue
        start, end = (_common(ids, tokenize(tokenizer, [whole[:at]])[0]) for at in (first, last))
        closing = next((n for n in range(end, min(end + 2, len(ids))) if ids[n] in special), end - 1)
        spans.append((start, closing + 1))
    return replace(tokens, learned=tuple(spans), missed=missed)


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many items two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
