"""The known shapes of records: which column is the prompt, the answer, the domain, where nobody says it. Reads no file.

`recognise` looks at one record's own keys and the kinds of its values, so that a record is read in the same way whatever the
records beside it look like. `SHAPES` is the table of docs/records.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from curate.manifest import chats

__all__ = ["NAMES", "QUESTION_PARTS", "SHAPES", "Shape", "chat_of_parts", "recognise"]

# Kinds of a value: text, a list of turns (objects), another list, an object, a number or a truth value.
Kinds = Mapping[str, str]
ReadChat = Callable[[Mapping[str, Any], str], chats.Chat]
TEXT, TURNS, LIST, OBJECT, SCALAR = "s", "t", "l", "o", "n"

_LETTERS = ("A", "B", "C", "D", "E")
_OPTIONS = ("choices", "options")
_KEYS = ("answerKey", "answer_key", "answer", "label", "answer_idx", "answer_index")
_TEXTS = ("text", "sentence")
# Columns that look like a part of the question; one that nothing uses is pointed out.
QUESTION_PARTS = ("options", "choices", "input", "context", "passage", "history")


@dataclass(frozen=True)
class Shape:
    """How records of one shape are read.

    Attributes:
        name: as ``--format`` names it.
        prompt: expression of the prompt (see `curate.sources.expressions`), or None for chats.
        answer: expression of the answer, or None: it has none yet.
        rationale: expression of the reasoning, or None.
        domain: expression of the domain where no flag and no column ``domain`` says it, or None.
        chat: (record, turns to train on) → the chat taken apart; None where it is no chat. A ValueError says what is wrong.
        used: columns that the chat holds whole.
        about: how such a record is read, where the expressions do not say it by themselves.
    """

    name: str
    prompt: str | None = None
    answer: str | None = None
    rationale: str | None = None
    domain: str | None = None
    chat: ReadChat | None = None
    used: tuple[str, ...] = ()
    about: str = ""

    def reading(self) -> str:
        """Return how such a record is read, in one line."""
        if self.about:
            return self.about
        if self.chat is not None:
            return f"a chat in {' and '.join(self.used)}" if self.used else "a chat"
        named = (("prompt", self.prompt), ("rationale", self.rationale), ("answer", self.answer), ("domain", self.domain))
        return ", ".join(f"{name} from {text}" for name, text in named if text)


def _messages(kinds: Kinds) -> Shape | None:
    beside = {"prompt", "answer"} <= set(kinds)  # it is the history before them, or says the same
    if kinds.get("messages") not in (TURNS, LIST) or beside:
        return None
    return Shape("messages", chat=lambda record, train: chats.split_chat(record["messages"], train), used=("messages",))


def _sharegpt(kinds: Kinds) -> Shape | None:
    for name in ("conversations", "conversation"):
        if kinds.get(name) in (TURNS, LIST):
            return Shape("sharegpt", chat=_sharegpt_chat(name), used=(name, "system") if "system" in kinds else (name,))
    return None


def _preference(kinds: Kinds) -> Shape | None:
    if not {"chosen", "rejected"} <= set(kinds):
        return None
    if kinds["chosen"] in (TURNS, LIST) or kinds.get("prompt") in (TURNS, LIST):
        chat = chat_of_parts("prompt" if "prompt" in kinds else None, "chosen")
        return Shape("preference", chat=chat, used=("prompt", "chosen") if "prompt" in kinds else ("chosen",))
    name = next((name for name in ("prompt", "question", "instruction", "input") if kinds.get(name) == TEXT), None)
    return Shape("preference", prompt=name, answer="chosen") if name else None


def _trl(kinds: Kinds) -> Shape | None:
    if not {"prompt", "completion"} <= set(kinds):
        return None
    if TURNS in (kinds["prompt"], kinds["completion"]):
        return Shape("trl", chat=chat_of_parts("prompt", "completion"), used=("prompt", "completion"))
    return Shape("trl", prompt="prompt", answer="completion")


def _multiple_choice(kinds: Kinds) -> Shape | None:
    question = next((name for name in ("question", "prompt", "query", "goal") if kinds.get(name) in (TEXT, OBJECT)), None)
    key = next((name for name in _KEYS if kinds.get(name) in (TEXT, SCALAR)), None)
    if question is None or key is None:
        return None
    domain = "subject" if kinds.get("subject") in (TEXT, SCALAR) else None
    name = next((name for name in _OPTIONS if kinds.get(name) in (LIST, TURNS, OBJECT)), None)
    if kinds[question] == OBJECT:  # of CommonsenseQA's own files: question.stem, question.choices
        options, stem = f"{question}.choices", f"{question}.stem"
    elif name is not None:
        options, stem = name, question
    elif {"A", "B", "C"} <= set(kinds):
        options, stem = "[" + ", ".join(letter for letter in _LETTERS if letter in kinds) + "]", question
    else:
        return None
    prompt = f"{{{{ {stem} }}}}\n\n{{{{ {options} | options }}}}"
    about = f"prompt from {stem} and the options in {options}, answer from {key} as a letter" + (
        ", domain from subject" if domain else ""
    )
    return Shape("multiple-choice", prompt, f"{{{{ {key} | letter({options}) }}}}", domain=domain, about=about)


def _squad(kinds: Kinds) -> Shape | None:
    if kinds.get("question") != TEXT or kinds.get("context") != TEXT or kinds.get("answers") != OBJECT:
        return None
    return Shape("squad", prompt="context,question", answer="answers.text[0]")


def _alpaca(kinds: Kinds) -> Shape | None:
    answer = next((name for name in ("output", "response") if name in kinds), None)
    if "instruction" not in kinds or answer is None:
        return None
    further = next((name for name in ("input", "context") if kinds.get(name) == TEXT), None)
    prompt = f"instruction,{further}" if further else "instruction"
    domain = "category" if kinds.get("category") == TEXT else None
    if kinds.get("history") == LIST or kinds.get("system") == TEXT:
        return Shape("alpaca", chat=_alpaca_chat(further, answer), domain=domain)
    return Shape("alpaca", prompt=prompt, answer=answer, domain=domain)


def _question_answer(kinds: Kinds) -> Shape | None:
    if kinds.get("question") != TEXT or "answer" not in kinds or "prompt" in kinds:
        return None
    parts = "{% set parts = (answer ~ '').rsplit('\n#### ', 1) %}"  # of GSM8K: the reasoning, then #### and the answer
    answer = parts + "{{ parts[-1] | trim if parts | length > 1 else answer }}"
    rationale = parts + "{{ parts[0] if parts | length > 1 }}"
    about = "prompt from question, answer from answer (what follows ####, where it has that; the rationale is before it)"
    return Shape("question-answer", "question", answer, rationale, about=about)


def _table(kinds: Kinds) -> Shape | None:
    return Shape("table", prompt="prompt", answer="answer") if kinds.keys() & {"prompt", "answer"} else None


def _classification(kinds: Kinds) -> Shape | None:
    text = next((name for name in _TEXTS if kinds.get(name) == TEXT), None)
    label = next((name for name in ("label", "labels") if name in kinds), None)
    return Shape("classification", prompt=text, answer=label, domain=label) if text and label else None


def _texts(kinds: Kinds) -> Shape | None:
    return Shape("texts", prompt="text") if kinds.get("text") == TEXT and set(kinds) <= {"text", "domain", "split"} else None


# In the order in which they are tried: what says more comes first.
SHAPES: dict[str, Callable[[Kinds], Shape | None]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "preference": _preference,
    "trl": _trl,
    "multiple-choice": _multiple_choice,
    "squad": _squad,
    "alpaca": _alpaca,
    "question-answer": _question_answer,
    "table": _table,
    "classification": _classification,
    "texts": _texts,
}
NAMES = frozenset(
    {
        *("prompt", "answer", "messages", "conversations", "conversation", "system", "chosen", "rejected", "completion"),
        *("question", "query", "goal", "subject", "context", "answers", "instruction", "input", "output", "response"),
        *("category", "history", "domain", "split", "labels", *_LETTERS, *_OPTIONS, *_KEYS, *_TEXTS),
    }
)


def recognise(kinds: Kinds, wanted: str = "auto") -> Shape | None:
    """Return the shape of a record, or None where it has no known one.

    Args:
        kinds: the record's columns that are not null, of `NAMES`, and the kind of each value.
        wanted: the only shape to try, unless ``"auto"``.
    """
    tried: Collection[Callable[[Kinds], Shape | None]] = SHAPES.values() if wanted == "auto" else [SHAPES[wanted]]
    return next((shape for take in tried if (shape := take(kinds)) is not None), None)


def chat_of_parts(prompt: str | None, answer: str) -> ReadChat:
    """Return the function that makes one chat of a record's two columns, each a list of turns or a text.

    Args:
        prompt: column of the turns before the answer; None where the answer's column holds them as well.
        answer: column of the answer.
    """

    def chat(record: Mapping[str, Any], train: str) -> chats.Chat:
        before = record.get(prompt) if prompt else None
        said = chats.read_turns(record.get(answer))
        if before is None or (said and said[0].get("role") in ("user", "system")):  # the answer's column has the whole chat
            return chats.split_chat(record.get(answer), train)
        return chats.chat_of_parts(before, record.get(answer), train)

    return chat


def _sharegpt_chat(name: str) -> ReadChat:
    def chat(record: Mapping[str, Any], train: str) -> chats.Chat:
        turns = chats.read_turns(record[name])
        system = record.get("system")
        if turns and isinstance(system, str) and system and turns[0].get("role") != "system":
            turns = [{"role": "system", "content": system}, *turns]
        return chats.split_chat(turns, train)

    return chat


def _alpaca_chat(further: str | None, answer: str) -> ReadChat:
    def chat(record: Mapping[str, Any], train: str) -> chats.Chat:
        turns = [{"role": "system", "content": record["system"]}] if record.get("system") else []
        for pair in record.get("history") or []:
            if not isinstance(pair, list) or len(pair) != 2:
                raise ValueError(f"history is a list of pairs of question and answer, and one of it is {pair!r:.60}")
            turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
        asked = [str(record[name]) for name in ("instruction", further) if name and record.get(name)]
        turns.append({"role": "user", "content": "\n\n".join(asked)})
        return chats.split_chat([*turns, {"role": "assistant", "content": record.get(answer)}], train)

    return chat
