"""Chats to examples and back: which turn is the prompt, which one is trained on, and which stay around them.

`split_chat` and `join_chat` undo each other; `to_chats` makes what a student is trained on, `conversation` what a question is
compared, embedded and shown by. Reads and writes no file.

The column `messages` holds the turns that are neither prompt nor answer, as a JSON list. Three kinds of marker may stand among
them: ``{"role": "prompt"}`` in the place of the asked turn (without one: at the end, or right before the answer),
``{"role": "answer"}`` in the place of the answer (without one: at the end), and ``{"role": "turn"}`` around a turn that looks
like a marker. ``turn`` in a marker is the turn as it came, with an empty ``content`` where that is the text of the column prompt
or answer; a turn of role and text alone has none. ``train: "all"`` in the answer's marker: every assistant turn is trained on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

__all__ = [
    "TRAINED",
    "Chat",
    "Turns",
    "calls_as_text",
    "chat_of_parts",
    "completion",
    "conversation",
    "conversations",
    "for_template",
    "from_typed",
    "history_before",
    "join_chat",
    "part_text",
    "read_chat",
    "read_chats",
    "read_turns",
    "split_chat",
    "to_chats",
    "to_typed",
    "tools_of",
    "without_answer",
]

TRAINED = ("last", "all")  # which assistant turns of a chat are trained on
ANSWER_LINE = "The answer is: "
_PROMPT, _ANSWER, _TURN = "prompt", "answer", "turn"  # roles of markers
_PLAIN_KEYS = {"role", "content"}
_MARKER_NAMES = tuple(f'"{role}"' for role in (_PROMPT, _ANSWER, _TURN))
_MARKER_KEYS = frozenset({"role", "turn", "train"})
_TEXT_PARTS = ("text", "input_text", "output_text")
_CALLS = ("tool_calls", "function_call")
_TYPED_TEXTS = ("name", "tool_call_id", "reasoning_content")
_TYPED_KEYS = ("name", "tool_calls", "tool_call_id", "reasoning_content", "weight")
_HALF = re.compile("[\ud800-\udfff]")  # halves of letters, which no column of texts holds
_SHAREGPT = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    **dict.fromkeys(("observation", "tool", "tool_response", "function_response"), "tool"),
    "system": "system",
    "function_call": "assistant",
}
_LONG = 200  # characters of a part that is no text (an image, say), above which a hash stands for it in a conversation
_DRESSED = 12  # characters, from which on a question is known again in a longer one, and an answer by itself
_CLOSING = re.compile(
    r"(?:^|(?<=\s))(?:so|thus|hence|therefore)?,?\s*the (?:final )?answer is:?\s*(?P<value>\S[^\n]*?)\s*\Z", re.I
)
_DRESS = re.compile(r"^[\s$*`'\"(]+|[\s$*`'\").]+$")


@dataclass(frozen=True)
class Chat:
    """A chat taken apart, as the columns of a row hold it.

    Attributes:
        prompt: text of the last user turn before the answer.
        answer: text of the last assistant turn that is trained on; of a turn that calls tools, the calls as JSON.
        messages: the other turns and markers as a JSON list, or None where there are none.
        after: turns that come after the answer; they are kept, and nothing is trained on them.
        answers: assistant turns up to and with the answer.
    """

    prompt: str
    answer: str
    messages: str | None
    after: int = 0
    answers: int = 1


@dataclass(frozen=True)
class Turns:
    """A chat put together, turn by turn as they came.

    Attributes:
        before: up to the asked turn.
        asked: the user's, whose text is the prompt.
        between: calls of tools and their results, between the asked turn and the answer.
        answered: the assistant's, whose text is the answer.
        after: everything behind it.
        train: ``last`` or ``all``: which assistant turns are trained on.
        unread: a text that stands in `messages` and is no chat, as manifests of earlier versions may have one.
    """

    before: tuple[dict[str, Any], ...]
    asked: dict[str, Any]
    between: tuple[dict[str, Any], ...]
    answered: dict[str, Any]
    after: tuple[dict[str, Any], ...] = ()
    train: str = "last"
    unread: str | None = None

    @property
    def leading(self) -> list[dict[str, Any]]:
        """The turns that lead to the answer."""
        return [*self.before, self.asked, *self.between]

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every turn."""
        return [*self.leading, self.answered, *self.after]

    def trained(self) -> list[int]:
        """Return which turns are trained on, as positions in the chat up to the answer, which is always the last of them.

        A turn's own ``weight`` (0 or 1, as OpenAI's fine-tuning format means it) goes before ``train``.
        """
        earlier = [n for n, turn in enumerate(self.leading) if turn.get("role") == "assistant" and self._learned(turn)]
        return [*earlier, len(self.leading)]

    def _learned(self, turn: Mapping[str, Any]) -> bool:
        weight = turn.get("weight")
        return self.train == "all" if weight is None else weight != 0


def split_chat(turns: Any, train: str = "last") -> Chat:
    """Take a chat apart; `join_chat` gives every turn back as it was.

    The answer is the last assistant turn whose ``weight`` is not 0, the prompt the last user turn before it.

    Args:
        turns: whatever `read_turns` reads.
        train: ``last`` to train on the answer alone, ``all`` for every assistant turn up to it; kept with the row.

    Raises:
        ValueError: it is no list of turns, or has no user turn that an assistant turn answers, or a number that JSON lacks.
    """
    found = read_turns(turns)
    if found is None:
        raise ValueError("the chat is not a list of turns with 'role' and 'content'")
    roles = [turn.get("role") for turn in found]
    answered = next((n for n in reversed(range(len(found))) if roles[n] == "assistant" and _weight(found[n]) != 0), -1)
    if answered < 0 and "assistant" in roles:
        raise ValueError("every assistant turn of the chat has weight 0, so there is nothing to train on")
    asked = next((n for n in reversed(range(max(answered, 0))) if roles[n] == "user"), -1)
    if answered < 0 or asked < 0:
        raise ValueError(f"the chat has no {'assistant' if answered < 0 else 'user'} turn to train on; its roles are {roles}")
    return _split_at(found, asked, answered, train)


def chat_of_parts(prompt: Any, completion: Any, train: str = "last") -> Chat:
    """Take a conversational prompt and its completion apart, as TRL has them: either may be a list of turns or a text.

    Args:
        prompt: turns that `read_turns` reads, or the user's text.
        completion: turns, or the assistant's text.
        train: as for `split_chat`.

    Raises:
        ValueError: as `split_chat`; or the completion has no assistant turn.
    """
    parts = []
    for value, role in ((prompt, "user"), (completion, "assistant")):
        turns = read_turns(value)
        if not turns and not isinstance(value, str):
            raise ValueError(f"the {'prompt' if role == 'user' else 'completion'} is neither a text nor a list of turns")
        parts.append(turns or [{"role": role, "content": value}])
    if not any(turn.get("role") == "assistant" for turn in parts[1]):
        raise ValueError("the completion has no assistant turn to train on")
    return split_chat(parts[0] + parts[1], train)


def history_before(messages: Any, prompt: str, answer: str, train: str = "last") -> Chat | None:
    """Read what stands in a column ``messages`` beside a prompt and an answer.

    One rule. A list of turns that holds the prompt and behind it the answer is the whole chat, and the turns around these two
    are kept; one that ends in the prompt is the chat up to the answer. One that ends by answering the prompt in other words, or
    in the answer to it in other words, tells the row a second time: it is no history, since that must not hold the answer. Any
    other list of turns is the history before the prompt. What is no list of turns is no history either.

    Args:
        messages: the value of the column, or the JSON text of it; a text in the form that rows keep is taken as it is.
        prompt: the row's own.
        answer: the row's own.
        train: as for `split_chat`.

    Returns:
        The row's prompt and answer with the `messages` to keep, or None where it is no history and remains a further column.
    """
    if messages is None:
        return Chat(prompt, answer, None)
    turns = read_turns(messages)
    if turns is None:
        return None
    if any(map(_is_marker, turns)):
        return Chat(prompt, answer, messages if isinstance(messages, str) else _dump(turns))
    asked, answered = _both(turns, prompt, answer)
    if answered >= 0:
        return _split_at(turns, asked, answered, train, prompt=prompt, answer=answer)
    if _tells_again(turns, prompt, answer):
        return None
    if not turns or not _asks(turns[-1], prompt):
        turns = [*turns, {"role": "user", "content": prompt}]
    reply = {"role": "assistant", "content": answer}
    found = _split_at([*turns, reply], len(turns) - 1, len(turns), train, prompt=prompt, answer=answer)
    if isinstance(messages, str) and found.messages is not None and _json(messages) == _json(found.messages):
        return replace(found, messages=messages)
    return found


def read_turns(value: Any) -> list[dict[str, Any]] | None:
    """Return the turns of a chat, or None where it is none.

    Args:
        value: a list of objects with ``role``, or with ``from`` and ``value`` as ShareGPT has them; each object, or the list,
            may be its JSON text. Turns with a role come back as they are.
    """
    found = _json(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        return None
    turns = [_json(turn) if isinstance(turn, str) else turn for turn in found]
    if not all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in turns):
        return None
    return [dict(turn) if "role" in turn else _from_sharegpt(turn) for turn in turns]


def read_chat(prompt: str, answer: str, messages: str | None, rationale: str | None = None) -> Turns:
    """Put a chat together from the columns of a row.

    Args:
        prompt: text of the asked turn.
        answer: text of the answer.
        messages: the other turns, as `split_chat` keeps them.
        rationale: where there is one, the answering turn says it before the answer, as `completion` writes it.
    """
    if messages is None:
        return Turns((), _asked(None, prompt), (), _answered(None, answer, rationale))
    kept = read_turns(messages)
    if kept is not None and not any(name in messages for name in _MARKER_NAMES):  # most often; and quicker
        return Turns(tuple(kept), _asked(None, prompt), (), _answered(None, answer, rationale))
    rest = kept or []
    reply = next((n for n, turn in enumerate(rest) if _is_marker(turn, _ANSWER)), len(rest))
    asked = next((n for n, turn in enumerate(rest[:reply]) if _is_marker(turn, _PROMPT)), None)
    before, between = (rest[:reply], []) if asked is None else (rest[:asked], rest[asked + 1 : reply])
    marker = rest[reply] if reply < len(rest) else {}
    question = {} if asked is None else rest[asked]
    return Turns(
        before=_unwrapped(before),
        asked=_asked(question.get("turn"), prompt),
        between=_unwrapped(between),
        answered=_answered(marker.get("turn"), answer, rationale),
        after=_unwrapped(rest[reply + 1 :]),
        train=str(marker.get("train", "last")),
        unread=messages if kept is None else None,
    )


def join_chat(prompt: str, answer: str, messages: str | None, rationale: str | None = None) -> list[dict[str, Any]]:
    """Put a chat together, every turn in its place; see `read_chat`."""
    return read_chat(prompt, answer, messages, rationale).all


def to_chats(examples: pl.DataFrame) -> list[list[dict[str, Any]]]:
    """Return every example as chat messages: system and history, the user's prompt, and the assistant's completion last.

    Args:
        examples: as for `read_chats`.
    """
    return [[*chat.leading, chat.answered] for chat in read_chats(examples)]


def read_chats(examples: pl.DataFrame) -> list[Turns]:
    """Return every example as a chat, see `read_chat`.

    Args:
        examples: with the columns prompt and answer, and, where there are any, rationale and messages.
    """
    columns = [pl.col(name) if name in examples.columns else pl.lit(None).alias(name) for name in ("rationale", "messages")]
    wanted = examples.select("prompt", "answer", *columns)
    return [
        read_chat(prompt or "", answer or "", messages, rationale) for prompt, answer, rationale, messages in wanted.iter_rows()
    ]


def conversation(prompt: str, messages: str | None, *, newest_first: bool = False) -> str:
    """Return the text of the conversation that leads to an answer; the prompt alone where nothing was said before.

    Args:
        prompt: of the row.
        messages: of the row.
        newest_first: the prompt first, then the other turns from the newest to the oldest: an encoder that cuts a long text
            then cuts the oldest turns. Otherwise the turns are in their order.
    """
    if messages is None:
        return prompt
    chat = read_chat(prompt, "", messages)
    if chat.unread is not None:
        return prompt
    asked = _line(chat.asked)
    if not chat.before and not chat.between:
        return asked
    before, between = ([f"{_speaker(turn)}: {_line(turn)}" for turn in part] for part in (chat.before, chat.between))
    if newest_first:
        return "\n\n".join([asked, *reversed(between), *reversed(before)])
    return "\n\n".join([*before, f"{_speaker(chat.asked)}: {asked}", *between])


def conversations(examples: pl.DataFrame, *, newest_first: bool = True) -> pl.Series:
    """Return `conversation` of every row; rows without `messages` cost nothing.

    Args:
        examples: with the column prompt and, where there is any, messages.
        newest_first: as for `conversation`; what is embedded, compared and hashed has the newest first.
    """
    prompts = examples["prompt"].cast(pl.String).fill_null("").rename("conversation")
    if "messages" not in examples.columns or examples["messages"].null_count() == examples.height:
        return prompts
    rows = examples["messages"].is_not_null().arg_true()
    pairs = zip(prompts.gather(rows), examples["messages"].gather(rows), strict=True)
    texts = [_typed_text(conversation(prompt, messages, newest_first=newest_first)) for prompt, messages in pairs]
    return prompts.scatter(rows, pl.Series(texts, dtype=pl.String))


def for_template(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return turns as chat templates of text models take them.

    A content is a text: that of its parts, and an empty one for null. Arguments of calls are objects where they are the JSON of
    one, and a `function_call` is one of the `tool_calls`.
    """
    return [dict(turn) if turn.keys() == _PLAIN_KEYS and isinstance(turn["content"], str) else _flat(turn) for turn in turns]


def calls_as_text(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return turns of `for_template` with their calls written as JSON after the content, for a template that shows none."""
    return [
        {**turn, "content": "\n".join(filter(None, [turn["content"], json.dumps(turn["tool_calls"], ensure_ascii=False)]))}
        if turn.get("tool_calls")
        else dict(turn)
        for turn in turns
    ]


def to_typed(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return turns as a column of lists of structs holds them, all keys in one order and of one type.

    ``role``, ``content``, ``name``, ``tool_call_id`` and ``reasoning_content`` are texts (of parts the text; of anything else its
    JSON), ``weight`` is a whole number, and ``tool_calls`` are of ``id``, ``type`` and ``function`` (``name`` and ``arguments``,
    texts). Keys that a turn does not have are left out, but for role and content. Other keys, images and the like are lost;
    `from_typed` tells whether anything is.
    """
    return [_typed(turn) for turn in turns]


def from_typed(turns: Iterable[Mapping[str, Any]], answer: str, rationale: str | None = None) -> Chat | None:
    """Take a chat apart whose turns are as `to_typed` makes them; None where it is none.

    Args:
        turns: as `to_typed` returns them; keys that are null are as absent.
        answer: of the row.
        rationale: of the row; where the answering turn says it, that turn is of the answer alone.
    """
    found = [{"role": turn.get("role"), "content": turn.get("content")} | _there(turn, _TYPED_KEYS) for turn in turns]
    replies = [turn for turn in found if turn["role"] == "assistant" and _weight(turn) != 0]
    if replies and rationale is not None and replies[-1]["content"] == completion(rationale, answer):
        replies[-1]["content"] = answer
    try:
        return split_chat(found)
    except ValueError:
        return None


def tools_of(extra: str | None) -> list[Any] | None:
    """Return the tools that a chat's record offers, from its columns ``tools`` or ``functions``; None where it offers none."""
    if extra is None or not ('"tools"' in extra or '"functions"' in extra):
        return None
    record = _json(extra)
    found = (
        next((record[name] for name in ("tools", "functions") if record.get(name)), None) if isinstance(record, dict) else None
    )
    found = _json(found) if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(tool, Mapping) for tool in found):
        return None
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in found] or None


def completion(rationale: str | None, answer: str) -> str:
    """Return what the student learns to write: the rationale, closed by one line ``The answer is: X``.

    Where the rationale closes with the same answer in other words or dress (``the answer is $5$.``), that sentence is
    replaced; where it has none, the line is added. Without a rationale it is the answer alone.

    Example:
        >>> completion("2 + 3 = 5.", "5")
        '2 + 3 = 5.\\nThe answer is: 5'
        >>> completion(None, "5")
        '5'
    """
    text = (rationale or "").strip()
    if not text:
        return answer
    closing = _CLOSING.search(text)
    if closing and _bare(closing["value"]) == _bare(answer):
        text = text[: closing.start()].rstrip()
    return f"{text}\n{ANSWER_LINE}{answer}" if text else f"{ANSWER_LINE}{answer}"


def without_answer(text: str) -> str:
    """Return what a reply says before it states its answer, in the form of `completion`; all of it where it states none there.

    Example:
        >>> without_answer("2 + 3 = 5.\\nThe answer is: 5")
        '2 + 3 = 5.'
    """
    text = text.strip()
    before, stated, _ = text.rpartition(ANSWER_LINE)
    text = before.rstrip() if stated else text
    closing = _CLOSING.search(text)
    return text[: closing.start()].rstrip() if closing else text


def _typed(turn: Mapping[str, Any]) -> dict[str, Any]:
    content = turn.get("content")
    found = {"role": _typed_text(turn.get("role")), "content": None if content is None else _typed_text(_text(turn))}
    calls = turn.get("tool_calls") or ([{"function": turn["function_call"]}] if turn.get("function_call") else None)
    made = [_typed_call(call) for call in calls] if isinstance(calls, list) else None
    weight = turn.get("weight")
    whole = int(weight) if isinstance(weight, int | float) and weight in (0, 1) else None
    texts = {name: _typed_text(turn.get(name)) for name in _TYPED_TEXTS}
    return found | _there({**texts, "tool_calls": made or None, "weight": whole}, _TYPED_KEYS)


def _typed_call(call: Any) -> dict[str, Any]:
    call = call if isinstance(call, Mapping) else {"function": {"name": call}}
    function = call.get("function") if isinstance(call.get("function"), Mapping) else {"name": call.get("function")}
    name, arguments = (_typed_text(function.get(key)) for key in ("name", "arguments"))
    return {
        **_there({"id": _typed_text(call.get("id")), "type": _typed_text(call.get("type"))}, ("id", "type")),
        "function": _there({"name": name, "arguments": arguments}, ("name", "arguments")),
    }


def _typed_text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def _there(record: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return the members of a record that are not null, in this order; those of calls as well."""
    kept = {key: record[key] for key in keys if record.get(key) is not None}
    if kept.get("tool_calls"):
        calls = kept["tool_calls"]
        kept["tool_calls"] = [
            _there(call, ("id", "type")) | {"function": _there(call.get("function") or {}, ("name", "arguments"))}
            for call in calls
        ]
    return kept


def _split_at(
    turns: Sequence[dict[str, Any]],
    asked: int,
    answered: int,
    train: str,
    *,
    prompt: str | None = None,
    answer: str | None = None,
) -> Chat:
    """Take a chat apart at two of its turns, whose texts are the prompt and the answer unless others are given."""
    before, between, after = turns[:asked], turns[asked + 1 : answered], turns[answered + 1 :]
    question, reply = _marker(_PROMPT, "user", turns[asked]), _marker(_ANSWER, "assistant", turns[answered])
    answers = 1 + sum(turn.get("role") == "assistant" for turn in (*before, *between))
    if train != "last" and answers > 1:
        reply["train"] = train
    rest = [*map(_wrapped, before)]
    rest += [question] if between or len(question) > 1 else []
    rest += map(_wrapped, between)
    rest += [reply] if after or len(reply) > 1 else []
    rest += map(_wrapped, after)
    return Chat(
        prompt=_text(turns[asked]) if prompt is None else prompt,
        answer=_answer(turns[answered]) if answer is None else answer,
        messages=_dump(rest) if rest else None,
        after=len(after),
        answers=answers,
    )


def _both(turns: Sequence[Mapping[str, Any]], prompt: str, answer: str) -> tuple[int, int]:
    """Return the positions of the prompt and of the answer behind it in a whole chat, or -1 twice."""
    for answered in reversed(range(len(turns))):
        if turns[answered].get("role") != "assistant" or _answer(turns[answered]).strip() != answer.strip():
            continue
        for asked in reversed(range(answered)):
            if _asks(turns[asked], prompt):
                return asked, answered
    return -1, -1


def _asks(turn: Mapping[str, Any], prompt: str) -> bool:
    return turn.get("role") == "user" and _same(_text(turn), prompt)


def _tells_again(turns: Sequence[Mapping[str, Any]], prompt: str, answer: str) -> bool:
    """Return whether a chat ends by answering the prompt, or in the answer, so that it cannot be what was said before."""
    if not turns or turns[-1].get("role") != "assistant":
        return False
    said, asked = _answer(turns[-1]).strip(), [turn for turn in turns if turn.get("role") == "user"][-1:]
    return any(_asks(turn, prompt) for turn in asked) or (said == answer.strip() and len(said) >= _DRESSED)


def _same(text: str, prompt: str) -> bool:
    """Return whether two texts are one question, of which one may stand in a longer frame."""
    short, long = sorted((" ".join(one.split()).casefold() for one in (text, prompt)), key=len)
    return short == long or (len(short) >= _DRESSED and short in long)


def _marker(role: str, speaker: str, turn: dict[str, Any]) -> dict[str, Any]:
    content = turn.get("content")
    in_place = isinstance(content, str) and not (role == _ANSWER and _calls(turn))
    if in_place and list(turn.items()) == [("role", speaker), ("content", content)]:
        return {"role": role}
    return {"role": role, "turn": {**turn, "content": ""} if in_place else turn}


def _is_marker(turn: Mapping[str, Any], role: str | None = None) -> bool:
    roles = (_PROMPT, _ANSWER, _TURN) if role is None else (role,)
    return turn.get("role") in roles and turn.keys() <= _MARKER_KEYS and isinstance(turn.get("turn", {}), Mapping)


def _wrapped(turn: dict[str, Any]) -> dict[str, Any]:
    return {"role": _TURN, "turn": turn} if _is_marker(turn) else turn


def _unwrapped(turns: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(turn["turn"] if _is_marker(turn, _TURN) and "turn" in turn else turn for turn in turns)


def _asked(turn: dict[str, Any] | None, prompt: str) -> dict[str, Any]:
    if turn is None:
        return {"role": "user", "content": prompt}
    return turn if _says(turn, prompt) else {**turn, "content": _with_text(turn.get("content"), prompt)}


def _answered(turn: dict[str, Any] | None, answer: str, rationale: str | None) -> dict[str, Any]:
    if turn is None:
        return {"role": "assistant", "content": completion(rationale, answer)}
    thought = (rationale or "").strip()
    if _calls(turn):  # the calls are the answer, and what is thought before them is said before them
        said = "\n".join(text for text in (thought, _text(turn)) if text)
        return {**turn, "content": _with_text(turn.get("content"), said)} if thought else turn
    if not thought and _says(turn, answer):
        return turn
    return {**turn, "content": _with_text(turn.get("content"), completion(rationale, answer))}


def _says(turn: Mapping[str, Any], text: str) -> bool:
    """Return whether a turn that is kept whole, since its content is no plain text, is one of this text."""
    return not isinstance(turn.get("content"), str) and _text(turn) == text


def _with_text(content: Any, text: str) -> Any:
    """Return a content that says a text; its images and the like stay."""
    others = [part for part in content if part_text(part) is None] if isinstance(content, list) else []
    return [{"type": "text", "text": text}, *others] if others else text


def _flat(turn: Mapping[str, Any]) -> dict[str, Any]:
    calls = turn.get("tool_calls") or ([{"type": "function", "function": turn["function_call"]}] if _calls(turn) else None)
    flat = {key: value for key, value in turn.items() if key not in _CALLS} | {"content": _text(turn)}
    if turn.get("role") == "function":
        flat["role"] = "tool"
    return flat | {"tool_calls": [_with_arguments(call) for call in calls]} if isinstance(calls, list) else flat


def _with_arguments(call: Any) -> Any:
    """Return a call whose arguments are an object where they are the JSON of one; templates write them as JSON themselves."""
    function = call.get("function") if isinstance(call, Mapping) else None
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    read = _json(arguments) if isinstance(arguments, str) else None
    return {**call, "function": {**function, "arguments": read}} if isinstance(read, dict) and function else call


def _answer(turn: Mapping[str, Any]) -> str:
    """Return the text of an answering turn: its calls as JSON where it has any."""
    calls = _calls(turn)
    return _text(turn) if calls is None else json.dumps(calls, ensure_ascii=False)


def _calls(turn: Mapping[str, Any]) -> Any:
    return next((turn[name] for name in _CALLS if turn.get(name)), None)


def _weight(turn: Mapping[str, Any]) -> Any:
    return turn.get("weight", 1)


def _text(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, list):
        return "\n".join(text for text in map(part_text, content) if text)
    return "" if content is None else content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def part_text(part: Any) -> str | None:
    """Return the text of a part of a turn's content; None for an image, audio and the like."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") in _TEXT_PARTS else None
    return text if isinstance(text, str) else None


def _line(turn: Mapping[str, Any]) -> str:
    """Return what a turn says, with its calls, and with its images and the like by a short name."""
    content, calls = turn.get("content"), _calls(turn)
    others = [part for part in content if part_text(part) is None] if isinstance(content, list) else []
    said = [_text(turn), *map(_named, others), "" if calls is None else json.dumps(calls, ensure_ascii=False)]
    return "\n".join(text for text in said if text)


def _named(part: Any) -> str:
    written = json.dumps(part, ensure_ascii=False, sort_keys=True)
    if len(written) <= _LONG:
        return written
    kind = part.get("type", "part") if isinstance(part, Mapping) else "part"
    return f"[{kind} {hashlib.blake2b(written.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}]"


def _speaker(turn: Mapping[str, Any]) -> str:
    name = turn.get("name")
    return f"{turn.get('role')} ({name})" if isinstance(name, str) and name else str(turn.get("role"))


def _from_sharegpt(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn of ShareGPT's form with role and content; a speaker that is not known is the role, further keys stay."""
    speaker, value = turn["from"], turn.get("value")
    others = {key: part for key, part in turn.items() if key not in ("from", "value")}
    role = _SHAREGPT.get(speaker, speaker) if isinstance(speaker, str) else speaker
    called = _json(value) if speaker == "function_call" and isinstance(value, str) else value
    calls = called if isinstance(called, list) else [called]
    if speaker == "function_call" and all(isinstance(call, Mapping) and "name" in call for call in calls):
        made = [{"type": "function", "function": call} for call in calls]
        return {"role": role, "content": None, "tool_calls": made, **others}
    return {"role": role, "content": value, **others}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _dump(turns: Sequence[Mapping[str, Any]]) -> str:
    text = json.dumps(turns, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a letter, which only an escape can hold
        return json.dumps(turns, allow_nan=False)
    return text


def _bare(value: str) -> str:
    return re.sub(r"\s+", " ", _DRESS.sub("", value)).casefold()
