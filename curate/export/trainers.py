"""The formats of other trainers: trl, openai, alpaca, sharegpt, llama-factory, axolotl, unsloth and torchtune.

Each is one function from a row's chat to the record that the trainer reads; `write_records` does the rest, with a README of the
lines that train on it (`curate.export.recipes`). What a record cannot carry is counted and named in one note. A row that the
trainer skips or stops at, or whose chat the format has no form for, is left out, and a note says how many and why.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError
from curate.export import recipes
from curate.export.base import WEIGHT, Snapshot, exporters, json_text
from curate.files import write_whole
from curate.manifest import chats

__all__ = ["Row", "dataset_info", "write_records"]

_TOKEN_BYTES = 3  # of a text; with more bytes for each token of a limit it may be over that
_SLICE = 10_000  # rows put together at a time
_HERE = ("id", "domain", "domains", WEIGHT)  # columns that stand beside the chat, which no trainer reads
# Of OpenAI's fine-tuning: https://developers.openai.com/api/docs/guides/supervised-fine-tuning#formatting-your-data and the
# reference of files (bytes) and of chat completions (tools, names).
_OPENAI_ROWS, _OPENAI_BYTES, _OPENAI_TOOLS = 10, 512 * 10**6, 128
# Of an example, of the models that are tuned today: https://developers.openai.com/api/docs/guides/fine-tuning-best-practices
_OPENAI_TOKENS = 65_536
_OPENAI_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OPENAI_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "weight", "refusal")
_OPENAI_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_SHAREGPT = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}


@dataclass
class Row:
    """A row as its trainer's function sees it, and what that says of it.

    Attributes:
        chat: put together.
        tools: that it offers.
        id: of the row.
        answer: without the rationale that may stand before it in the chat.
        extra: further columns of its source, as JSON.
        lost: what the record does not carry, by name.
        skipped: why the row is left out, or "".
        refused: why the trainer would refuse it, or "".
        cut: beyond what the trainer would cut it, or "".
    """

    chat: chats.Turns
    tools: list[Any] | None
    id: str = ""
    answer: str = ""
    extra: str | None = None
    lost: set[str] = field(default_factory=set)
    skipped: str = ""
    refused: str = ""
    cut: str = ""

    def leading(self, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return the turns up to the answer as templates take them.

        Args:
            keys: of a turn that the format has a place for; every one unless given. What is left out is counted.
        """
        if self.chat.after:
            self.lost.add("turns after the answer")
        return self.turns([*self.chat.leading, self.chat.answered], keys)

    def turns(self, turns: Sequence[Mapping[str, Any]], keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return turns as templates take them, with their calls; see `leading`."""
        found = chats.for_template(turns)
        for before, turn in zip(turns, found, strict=True):
            parts = before.get("content")
            if isinstance(parts, list) and any(chats.part_text(part) is None for part in parts):
                self.lost.add("images and other parts that are no text")
            self.lost.update(f"the key {key} of turns" for key in turn if keys and key not in keys and turn[key] is not None)
        return [{key: value for key, value in turn.items() if key in keys} for turn in found] if keys else found

    def trains_earlier(self) -> None:
        """Count a row of whose earlier answers some are trained on, which a format with one completion does not say."""
        if len(self.chat.trained()) > 1:
            self.lost.add("earlier answers that are trained on (they are context)")

    def trains_every(self) -> None:
        """Count a row of which a trainer that trains on every answer trains on more than is meant."""
        if self.trained in ("last", "some"):
            self.lost.add("that earlier answers are not trained on (all are)")

    @property
    def n_bytes(self) -> int:
        """Size of its texts in UTF-8."""
        texts = (turn.get("content") for turn in self.chat.all)
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if isinstance(text, str))

    @property
    def tools_text(self) -> str | None:
        """The tools that the row offers as JSON, or None."""
        return None if self.tools is None else json.dumps(self.tools, ensure_ascii=False)

    @property
    def trained(self) -> str:
        """Which answers of several are trained on: ``last``, ``all``, ``some``; ``one`` where there are no several."""
        answers = 1 + sum(turn.get("role") == "assistant" for turn in self.chat.leading)
        trained = len(self.chat.trained())
        return "one" if answers == 1 else "all" if trained == answers else "last" if trained == 1 else "some"


Make = Callable[[Row], dict[str, Any] | list[dict[str, Any]]]  # several records of a row, or one


def _trl(row: Row) -> dict[str, Any]:
    row.trains_earlier()
    turns = row.leading()
    return {"prompt": turns[:-1], "completion": turns[-1:], "tools": row.tools_text}


@exporters.register("trl")
def write_trl(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write prompt and completion, as TRL's SFTTrainer takes them and trains on the completion alone.

    Both are lists of turns, which it renders by the student's chat template, with ``tools`` as JSON text beside them where rows
    offer some (https://huggingface.co/docs/trl/dataset_formats).
    """
    return write_records(snapshot, destination, "trl", _trl)


def _openai(row: Row) -> dict[str, Any]:
    if row.chat.after:
        row.lost.add("turns after the answer")
    trained = set(row.chat.trained())
    turns = [*row.chat.leading, row.chat.answered]
    messages = []
    for n, turn in enumerate(turns):
        row.lost.update(f"the key {key} of turns" for key in turn if key not in _OPENAI_KEYS and turn[key] is not None)
        kept = {key: value for key, value in turn.items() if key in _OPENAI_KEYS and key != "weight"}
        if turn.get("tool_calls"):
            kept["tool_calls"] = _with_texts(turn["tool_calls"])
        if turn.get("role") == "assistant" and (n not in trained or "weight" in turn):
            kept["weight"] = int(n in trained)
        messages.append(kept)
    row.refused = _refused_by_openai(messages, row.tools or [])
    record = {"messages": messages} | ({"tools": row.tools} if row.tools else {})
    if len(json_text(record).encode()) > _OPENAI_TOKENS:  # no tokenizer makes more tokens than there are bytes
        row.cut = f"more than {_OPENAI_TOKENS:,} bytes, and are cut if these are as many tokens"
    return record


def _refused_by_openai(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> str:
    """Return the first limit that a record breaks, or ""."""
    if len(tools) > _OPENAI_TOOLS:
        return f"more than {_OPENAI_TOOLS} tools"
    names = [tool["function"].get("name") if isinstance(tool.get("function"), Mapping) else None for tool in tools]
    if any(not isinstance(name, str) or not _OPENAI_NAME.fullmatch(name) for name in names):
        return "a tool whose name is not of 1 to 64 letters, digits, _ and -"
    for message in messages:
        if message.get("role") not in _OPENAI_ROLES:
            return f"the role {message.get('role')!r:.40}"
        if not message.get("content") and not any(message.get(key) for key in ("tool_calls", "function_call", "refusal")):
            return "a turn without content"
        if message.get("role") == "tool" and not message.get("tool_call_id"):
            return "a result of a tool without tool_call_id"
        if message.get("role") == "assistant" and isinstance(message.get("content"), list):
            parts = [part for part in message["content"] if chats.part_text(part) is None]
            if parts:
                return "an answer with an image or the like"
    return ""


@exporters.register("openai")
def write_openai(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write OpenAI's fine-tuning JSON Lines: ``messages``, ``tools`` where a row offers them, and nothing else.

    An earlier answer that is not trained on has ``weight`` 0. What a fine-tuning job would refuse is named in a note
    (https://developers.openai.com/api/docs/guides/supervised-fine-tuning#formatting-your-data).
    """
    paths = write_records(snapshot, destination, "openai", _openai, beside=False)
    for path in paths:
        if path.suffix == ".jsonl" and path.stat().st_size > _OPENAI_BYTES:
            size = path.stat().st_size / 1e6
            progress.note(
                "export", f"openai: {path.name} has {size:,.0f} MB, and files of up to {_OPENAI_BYTES // 10**6} MB are taken"
            )
    train = snapshot.rows["train"] - snapshot.left_out["train"]
    if train < _OPENAI_ROWS:
        progress.note("export", f"openai: {train} train rows, and a fine-tuning job takes {_OPENAI_ROWS} or more")
    return paths


def _axolotl(row: Row) -> dict[str, Any]:
    trained = set(row.chat.trained())
    messages = row.turns(row.chat.all)
    for n, turn in enumerate(messages):
        turn.pop("weight", None)  # said by `train`
        if turn.get("tool_calls"):
            turn["tool_calls"] = _with_texts(turn["tool_calls"])
        turn["train"] = n in trained
    tools = [_with_schema_text(tool) for tool in row.tools] if row.tools else None
    return {"messages": messages, "tools": tools}


@exporters.register("axolotl")
def write_axolotl(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write whole chats of which every turn says by ``train`` whether it is trained on, for Axolotl's ``chat_template``.

    See https://docs.axolotl.ai/docs/dataset-formats/conversation.html; arguments and parameters are JSON texts, which it reads.
    """
    return write_records(snapshot, destination, "axolotl", _axolotl)


def _texts(row: Row) -> dict[str, Any]:
    if row.tools:
        row.lost.add("tools that a row offers")
    turns = chats.calls_as_text(row.leading(("role", "content", "tool_calls", "weight")))
    return {"messages": [{"role": turn["role"], "content": turn["content"]} for turn in turns]}


@exporters.register("unsloth")
def write_unsloth(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write ``messages`` of role and text, which Unsloth's notebooks and Studio read (https://unsloth.ai/docs, Datasets Guide).

    Calls of tools are their JSON in the text.
    """
    return write_records(snapshot, destination, "unsloth", _texts, masks=True)


def _torchtune(row: Row) -> dict[str, Any]:
    row.trains_every()
    record = _texts(row)
    roles = [turn["role"] for turn in record["messages"]]
    talk = roles[1:] if roles[0] == "system" else roles
    if talk != ["user", "assistant"] * (len(talk) // 2):
        row.skipped = "torchtune stops at chats in which user and assistant do not take turns"
    return record


@exporters.register("torchtune")
def write_torchtune(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write ``messages`` of role and text for ``torchtune.datasets.chat_dataset`` with ``conversation_style: openai``.

    See https://docs.pytorch.org/torchtune/stable/basics/chat_datasets.html. A chat that `validate_messages` refuses is left out.
    """
    return write_records(snapshot, destination, "torchtune", _torchtune)


def _alpaca(row: Row) -> dict[str, Any]:
    turns = chats.calls_as_text(row.leading(("role", "content", "tool_calls", "weight")))
    row.trains_earlier()
    if row.tools:
        row.lost.add("tools that a row offers")
    *before, asked, answered = turns
    system = before.pop(0)["content"] if before and before[0]["role"] == "system" else None
    if [turn["role"] for turn in before] != ["user", "assistant"] * (len(before) // 2) or asked["role"] != "user":
        row.skipped = "alpaca's history is of pairs of a question and its answer"
    texts = [turn["content"] for turn in before]
    history = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=False)] or None
    return {"instruction": asked["content"], "input": "", "output": answered["content"], "system": system, "history": history}


@exporters.register("alpaca")
def write_alpaca(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write instruction, input (empty), output and, where rows have them, ``system`` and ``history``, a list of pairs.

    See https://github.com/tatsu-lab/stanford_alpaca#data-release and, of system and history,
    https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md#alpaca-format.
    """
    return write_records(snapshot, destination, "alpaca", _alpaca)


def _sharegpt(row: Row) -> dict[str, Any]:
    row.trains_every()
    return _conversations(row)


def _conversations(row: Row) -> dict[str, Any]:
    turns = []
    for turn in row.leading(("role", "content", "tool_calls", "weight")):
        calls = turn.get("tool_calls")
        if not calls:
            turns.append({"from": _SHAREGPT.get(turn["role"], turn["role"]), "value": turn["content"]})
            continue
        made = [call["function"] if isinstance(call, Mapping) and "function" in call else call for call in calls]
        if turn["content"]:
            row.lost.add("the text beside a call of tools")
        if any(isinstance(call, Mapping) and call.get("id") for call in calls):
            row.lost.add("ids of calls")
        value = json.dumps(made[0] if len(made) == 1 else made, ensure_ascii=False)
        turns.append({"from": "function_call", "value": value})
    tools = None if row.tools is None else json.dumps([tool["function"] for tool in row.tools], ensure_ascii=False)
    return {"conversations": turns, "tools": tools}


@exporters.register("sharegpt")
def write_sharegpt(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write ``conversations`` of ``from`` (system, human, gpt, function_call, observation) and ``value``, with ``tools`` as JSON.

    See https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md#sharegpt-format.
    """
    return write_records(snapshot, destination, "sharegpt", _sharegpt)


def _llama_factory(row: Row) -> dict[str, Any]:
    record = _conversations(row)
    speakers = [turn["from"] for turn in record["conversations"]]
    talk = speakers[1:] if speakers[0] == "system" else speakers
    sides = [("human", "observation"), ("gpt", "function_call")]
    if len(talk) % 2 or any(speaker not in sides[n % 2] for n, speaker in enumerate(talk)):
        row.skipped = "LLaMA-Factory skips chats in which human (or observation) and gpt (or function_call) do not take turns"
    return record


@exporters.register("llama-factory")
def write_llama_factory(snapshot: Snapshot, destination: Path) -> tuple[Path, ...]:
    """Write the files of ``sharegpt`` with a ``dataset_info.json`` that names them, so that the folder is a ``dataset_dir``.

    See https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md. A chat that it would skip is left out.
    """
    paths = write_records(snapshot, destination, "llama-factory", _llama_factory, masks=True)
    info = json.dumps(dataset_info(snapshot), ensure_ascii=False, indent=2) + "\n"
    path = write_whole(destination / "dataset_info.json", lambda part: part.write_text(info, encoding="utf-8"))
    return (*paths, path)


def dataset_info(snapshot: Snapshot) -> dict[str, Any]:
    """Return what LLaMA-Factory must know of the files of an export: one data set per split, named ``NAME_SPLIT``.

    Example:
        ``{"math_train": {"file_name": "train.jsonl", "formatting": "sharegpt", "columns": {"messages": "conversations"}}}``
    """
    tools = any(
        any(map(chats.tools_of, frame["extra"].drop_nulls()))
        for split in snapshot.rows
        for frame in snapshot.frames(split, columns=("extra",))
    )
    columns = {"messages": "conversations"} | ({"tools": "tools"} if tools else {})
    return {
        f"{snapshot.manifest.name}_{split}": {"file_name": f"{split}.jsonl", "formatting": "sharegpt", "columns": columns}
        for split, rows in snapshot.rows.items()
        if snapshot.left_out[split] < rows
    }


@dataclass
class _Tally:
    """What the first pass over a snapshot finds, before anything is written.

    Attributes:
        lost: what has no place in the format → rows.
        skipped: why rows are left out → rows.
        refused: what the trainer would refuse → rows.
        cut: beyond what the trainer would cut → rows.
        limit: in tokens, for which nothing was counted; None where that is known, or there is none.
        long: rows that may be over it.
        answers: rows of several answers, by which of them are trained on (`Row.trained`).
        used: keys that are not null in every record.
        written: split → records.
    """

    lost: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    limit: int | None = None
    long: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    used: dict[str, None] = field(default_factory=dict)
    written: Counter[str] = field(default_factory=Counter)

    def add(self, split: str, row: Row, records: Sequence[Mapping[str, Any]], carried: Collection[str]) -> None:
        """Count a row and its records."""
        self.lost.update(f"the column {key}" for key in _columns(row.extra) if key not in carried)
        self.lost.update(row.lost)
        if row.chat.unread is not None:
            self.lost["messages, which is no chat"] += 1
        if row.refused:
            self.refused[row.refused] += 1
        if row.cut:
            self.cut[row.cut] += 1
        if row.skipped:
            self.skipped[row.skipped] += 1
            return
        self.long += self.limit is not None and row.n_bytes > _TOKEN_BYTES * self.limit
        self.written[split] += len(records)
        self.answers[row.trained] += 1
        for record in records:
            self.used.update(dict.fromkeys(key for key, value in record.items() if value is not None))

    def tell(self, name: str) -> None:
        """Say what the files do not hold, in one note for each kind."""
        if self.lost:
            which = ", ".join(f"{what} ({n:,} rows)" for what, n in sorted(self.lost.items()))
            progress.note("export", f"{name}: no place in this format for {which}; --to jsonl keeps everything")
        for what, n in sorted(self.skipped.items()):
            progress.note("export", f"{name}: {n:,} rows are left out, since {what}; --to chat has them")
        for what, n in sorted(self.refused.items()):
            progress.note("export", f"{name}: {n:,} rows have {what}, for which the trainer refuses the file")
        for what, n in sorted(self.cut.items()):
            progress.note("export", f"{name}: {n:,} rows have {what}; --max-tokens counts them for a student")
        if self.limit is not None and self.long:
            progress.note(
                "export",
                f"{name}: {self.long:,} rows have more than {_TOKEN_BYTES * self.limit:,} bytes, and may be longer than "
                f"the {self.limit:,} tokens to which the lines in its README limit them; --max-tokens N counts them and sets it",
            )


def write_records(
    snapshot: Snapshot,
    destination: Path,
    name: str,
    make: Make,
    *,
    beside: bool = True,
    masks: bool = False,
    carried: Collection[str] = (),
    otherwise: str = "--to chat has all",
) -> tuple[Path, ...]:
    """Write one JSON Lines file per split, the README and the config.

    The rows are read twice: once to count, and once to write. What is lost is told in one note; rows that are left out are
    counted in the snapshot, and a split of them alone has no file.

    Args:
        snapshot: to write.
        destination: the folder.
        name: of the format.
        make: a row's record, or its records.
        beside: whether id, domain and weight stand beside it, and every record has the same keys, since readers take them from
            the first; a key that is null in every row is left out.
        masks: whether the recipe says which answers are trained on: the last, or all.
        carried: further columns of the source that the records hold.
        otherwise: what to do where no train row is left.

    Raises:
        InputError: no train row is left.
    """
    limit = recipes.limit(name) if snapshot.max_tokens is None else None
    tally = _tally(snapshot, make, limit, beside=beside, carried=carried)
    answers = tally.answers
    if masks and (unsaid := answers["some"] + (answers["last"] if answers["all"] else 0)):
        tally.lost["that some answers are not trained on (all are)"] = unsaid
    tally.tell(name)
    if not tally.written["train"]:
        why = next(iter(tally.skipped))
        raise InputError(f"export of {snapshot.manifest} to {name}: no train row is left: {why}; {otherwise}")
    splits = tuple(split for split in snapshot.rows if tally.written[split])
    snapshot.records.update({split: tally.written[split] for split in splits})
    paths = []
    for split in splits:
        lines = _lines(snapshot.frames(split), make, tally.used if beside else None)
        paths.append(write_whole(destination / f"{split}.jsonl", partial(_write_lines, lines=lines)))
    recipe = recipes.Recipe(
        name=snapshot.manifest.name,
        version=str(snapshot.manifest),
        splits=splits,
        every=bool(answers["all"] + answers["some"]),
        student=snapshot.student or recipes.STUDENT,
        max_tokens=snapshot.max_tokens,
        weights=beside and WEIGHT in snapshot.schema,
    )
    for file, text in recipes.files(name, recipe).items():
        paths.append(write_whole(destination / file, partial(Path.write_text, data=text, encoding="utf-8")))
    return tuple(paths)


def _tally(snapshot: Snapshot, make: Make, limit: int | None, *, beside: bool, carried: Collection[str]) -> _Tally:
    tally = _Tally(limit=limit)
    for split in snapshot.rows:
        for _, row, records in _records(snapshot.frames(split), make):
            tally.add(split, row, records, carried)
            snapshot.left_out[split] += bool(row.skipped)
    if WEIGHT in snapshot.schema and not beside:
        tally.lost["the weights of rows"] = snapshot.rows["train"]
    return tally


def _lines(frames: Iterable[pl.DataFrame], make: Make, used: Iterable[str] | None) -> Iterator[str]:
    """Yield the line of every record: with the keys beside it and those that are used, or as it is."""
    for here, row, records in _records(frames, make):
        for record in () if row.skipped else records:
            yield json_text(record if used is None else here | {key: record.get(key) for key in used}) + "\n"


def _write_lines(part: Path, lines: Iterable[str]) -> None:
    with part.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def _records(frames: Iterable[pl.DataFrame], make: Make) -> Iterator[tuple[dict[str, Any], Row, Sequence[dict[str, Any]]]]:
    """Yield for every row the keys that stand beside its records, the row and the records."""
    for piece in (piece for frame in frames for piece in frame.iter_slices(_SLICE)):
        here = piece.select(name for name in _HERE if name in piece.columns).iter_rows(named=True)
        for beside, answer, extra, chat in zip(here, piece["answer"], piece["extra"], chats.read_chats(piece), strict=True):
            row = Row(chat, chats.tools_of(extra), beside["id"], answer or "", extra)
            made = make(row)
            yield beside, row, made if isinstance(made, list) else [made]


def _columns(extra: str | None) -> list[str]:
    """Return the further columns of a row, tools aside."""
    if extra is None:
        return []
    try:
        found = json.loads(extra)
    except ValueError:
        return ["extra"]
    return [key for key in found if key not in ("tools", "functions")] if isinstance(found, dict) else ["extra"]


def _with_texts(calls: Any) -> Any:
    """Return calls whose arguments are JSON texts."""
    if not isinstance(calls, list):
        return calls
    return [
        {**call, "function": {**call["function"], "arguments": _as_text(call["function"].get("arguments"))}}
        if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping)
        else call
        for call in calls
    ]


def _with_schema_text(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, Mapping) or "parameters" not in function:
        return dict(tool)
    return {**tool, "function": {**function, "parameters": _as_text(function["parameters"])}}


def _as_text(value: Any) -> str:
    """Return the JSON text of a value; one that is such a text as it is."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return json.dumps(value, ensure_ascii=False)
        return value
    return json.dumps({} if value is None else value, ensure_ascii=False)
