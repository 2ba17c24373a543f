"""Knows what chat templates and reasoning models leave in a text: thoughts between tags, control tokens, marks of roles.

Takes them apart and names what is left; decides nothing about rows. Everything here is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["find_mark", "split_thoughts"]

_THOUGHT = (
    "think(?:ing)?|thoughts?|thinking_process|thought_process|reasoning|reflection|scratch_?pad|inner_(?:monologue|thoughts?)|"
    "internal_monologue|monologue|ant_?thinking|chain_of_thought|cot"
)
_TAG = re.compile(
    rf"<\s*(?P<a>/)?\s*(?i:(?:\w{{1,16}}[:_])?(?:{_THOUGHT}))(?:\s[^<>\n]{{0,80}})?>"  # <think>, </seed:think>
    r"|\[(?P<b>/)?(?:THINK|THINKING|THOUGHT|REASONING)\]"
    r"|◁(?P<c>/)?(?i:think(?:ing)?)▷"
    rf"|<\|(?i:(?P<d>/|end_of_|end_)?(?:begin_of_|start_of_|start_|begin_)?(?:{_THOUGHT}))\|>"
    r"|<\|channel>thought\b|(?P<e><channel\|>)|<unused94>(?:thought)?|(?P<f><unused95>)"
)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]{0,80}(?:<\|constrain\|>\w{0,20})?<\|message\|>")
_WRAPPED = re.compile(
    r"<(answer|response|final_answer|solution|\|begin_of_solution\|)>(.*?)(?:</\1>|<\|end_of_solution\|>)?\s*\Z", re.DOTALL
)

_TOKEN = re.compile(
    r"<\|[^|<>\s][^|<>\n]{0,39}\|>|<｜[^｜<>\n]{1,40}｜>|</?s>|\[/?INST\]|\[/?SYSTEM_PROMPT\]|<</?SYS>>"
    r"|\[(?:EOS|BOS|PAD|gMASK|sMASK)\]|<(?:eos|bos|pad|sop|eop|eod|EOT|eot|end_of_turn|start_of_turn|end_of_utterance|end_of_text)>"
    r"|<(?:endoftext|startoftext|begin_of_text|start_of_role|end_of_role|extra_id_\d+)>"
)
_START = re.compile(r"[<\[◁]")  # how tags and tokens begin
_OPENS = re.compile(  # tokens with which a turn begins or ends; whatever comes after the first of them in a reply is another turn
    r"im_(?:end|start)|eo[tms]_id|eos|eot|EOT|end_?of|end▁of|endoftext|</s>|<s>|start_(?:header|of)|\[INST\]|\|end\||return"
    r"|begin|user|User|assistant|Assistant|system|human|turn"
)
_ROLE = r"(?:assistant|model|bot|gpt|ai)\b\s*:?"
_LEADING = re.compile(rf"\s*(?:(?:{_TOKEN.pattern})\s*(?:{_ROLE}\s*)?)+")
_LABEL = re.compile(r"\s*(?:(?:###\s*)?(?:Assistant|ASSISTANT)\s*:|### Response\s*:|assistant\n)\s*")
_ROLES_ONLY = re.compile(r"(?:assistant|model|user|system|human|bot)?\s*:?\s*", re.IGNORECASE)
_ROLE_MARKS = ("###", "Human:", "HUMAN:", "USER:")
_NEXT_TURN = re.compile(r"\n\s*(?:###\s*(?:Instruction|Human|User|Input)\s*:|(?:Human|HUMAN|USER):\s)")
_CUT_TOKEN = re.compile(r"<[|｜][\w▁]{1,30}[|｜]?\Z")


def split_thoughts(text: str) -> tuple[str, str]:
    """Return what a reply says and what it shows of its thoughts, both without tags, control tokens and marks of roles.

    A control token in the middle of a text that is no end of a turn stays, since nobody knows what stood there; see `find_mark`.

    Example:
        >>> split_thoughts("<think>2 and 2</think>It is 4.<|im_end|>")
        ('It is 4.', '2 and 2')
    """
    if "<" not in text and "[" not in text and "◁" not in text and not text[:24].lstrip().casefold().startswith(_PLAIN):
        return (_without_next_turn(text) if "\n" in text else text), ""
    said, first = _split_channels(text)
    said, more = _split_tags(said)
    thoughts = [part for part in (*first, *more) if part.strip()]
    if thoughts and (wrapped := _WRAPPED.match(said.strip())):
        said = wrapped[2]
    return _without_tokens(said), "\n".join(_TOKEN.sub("", part).strip() for part in thoughts)


_PLAIN = ("analysis", "assistant", "###", "human", "user")  # how replies begin that need a look though they have no bracket


def find_mark(text: str) -> str | None:
    """Return the first control token or tag of thoughts in a text; None where there is none."""
    if "<" not in text and "[" not in text and "◁" not in text:
        return None
    html = _crossed_out(text)
    found = next(_find_each(_TAG, text), None)
    found = found or next((token for token in _find_each(_TOKEN, text) if token[0] not in html), None)
    return found[0] if found else None


def _find_each(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield the matches of tags or tokens, looked for only where one can begin."""
    at = 0
    while start := _START.search(text, at):
        found = pattern.match(text, start.start())
        at = found.end() if found else start.end()
        if found:
            yield found


def _split_channels(text: str) -> tuple[str, list[str]]:
    """Take apart a reply in channels (``<|channel|>analysis<|message|>…``), also one whose tokens were taken out."""
    if text.lstrip().startswith("analysis") and "assistantfinal" in text:
        thought, _, said = text.lstrip().removeprefix("analysis").rpartition("assistantfinal")
        return said, [thought]
    marks = list(_CHANNEL.finditer(text))
    if not marks:
        return text, []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    parts = [(mark[1], text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
    final = [part for channel, part in parts if channel == "final"]
    return (final[-1] if final else ""), [part for channel, part in parts if channel != "final"]


def _split_tags(text: str) -> tuple[str, list[str]]:
    said: list[str] = []
    thoughts: list[str] = []
    at, inside = 0, False
    for tag in _find_each(_TAG, text):
        (thoughts if inside else said).append(text[at : tag.start()])
        closes = tag.lastgroup is not None
        if closes and not inside:  # it was opened in the prompt, or a thought in a thought
            thoughts, said = thoughts + said, []
        inside, at = not closes, tag.end()
    (thoughts if inside else said).append(text[at:])
    return "".join(said), thoughts


def _without_tokens(text: str) -> str:
    leading, html = _LEADING.match(text), _crossed_out(text)
    if leading and leading[0].strip() not in html:
        text = text[leading.end() :]
    text = _without_next_turn(text)
    for token in _find_each(_TOKEN, text):
        if token[0] in html:
            continue
        rest = _TOKEN.sub("", text[token.end() :])
        if _OPENS.search(token[0]) or _ROLES_ONLY.fullmatch(rest.strip()):
            return text[: token.start()]
        return text
    return _CUT_TOKEN.sub("", text)


def _without_next_turn(text: str) -> str:
    label = _LABEL.match(text)
    text = text[label.end() :] if label else text
    following = _NEXT_TURN.search(text) if any(mark in text for mark in _ROLE_MARKS) else None
    return text[: following.start()] if following and text[: following.start()].strip() else text


def _crossed_out(text: str) -> tuple[str, ...]:
    """Return ``<s>`` and ``</s>`` where they are the two ends of crossed-out passages, and so no tokens."""
    ends = ("<s>", "</s>")
    stripped = text.strip()
    whole = stripped.startswith(ends[0]) and stripped.endswith(ends[1])
    return ends if not whole and text.count(ends[0]) == text.count(ends[1]) else ()
