"""Writes the header of a card, the YAML that the Hub reads, and reads that of an earlier one. The only importer of yaml.

Fields are those of the Hub's data set cards (https://huggingface.co/docs/hub/datasets-cards); one is stated where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.cards.markup import clean
from curate.errors import InputError

if TYPE_CHECKING:
    from curate.cards.facts import CardFacts

__all__ = ["Header", "header_of", "read_header", "write_header"]

_SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M")),
    *((100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)
# What the Hub calls a task (https://huggingface.co/tasks), by that of `curate.answers.answers.TASKS`.
_CATEGORIES = {
    "classification": ("text-classification",),
    "multiple-choice": ("multiple-choice", "question-answering"),
    "mathematics": ("text-generation",),
    "open-question": ("question-answering",),
    "instruction": ("text-generation",),
}
_ON_HUB = re.compile(r"hf://(?:datasets/)?(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:[:@/].*)?")
# The block at the beginning of a file, as the Hub finds it (`huggingface_hub.repocard.REGEX_YAML_BLOCK`).
_BLOCK = re.compile(r"\s*---(?:\r\n|\r|\n)(?P<yaml>[\S\s]*?)(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|$)")
_EMPTY = re.compile(r"\s*---(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|$)")
_WAY_OUT = "nothing was overwritten: put the header right, or move that README.md away to have a new one"
# What the library raises for a value that its tag does not fit, beside its own errors.
_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Header:
    """The header of a card that is there.

    Attributes:
        values: what it says.
        entries: top-level key → its lines as they are written, comments that follow them included.
        before: comments before the first key.
        text: the rest of the card.
    """

    values: dict[str, Any]
    entries: dict[str, str]
    before: str
    text: str


def header_of(facts: CardFacts, configs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the fields of a card's header.

    Args:
        facts: of the snapshot.
        configs: of the data set: ``config_name``, ``data_files`` (of ``split`` and ``path``) and, of one, ``default``.
    """
    from huggingface_hub import DatasetCardData

    codes = list(facts.languages.codes)
    sources = [found["name"] for source in facts.sources if (found := _ON_HUB.fullmatch(source.address))]
    tasks = [category for task in facts.tasks for category in _CATEGORIES.get(task, ())]
    written = facts.rationales or facts.synthetic
    data = DatasetCardData(
        pretty_name=clean(facts.manifest.name),
        language=codes or None,
        multilinguality=("multilingual" if len(codes) > 1 else "monolingual") if codes else None,
        task_categories=list(dict.fromkeys([*tasks, *(["text-generation"] if facts.chats else [])])) or None,
        size_categories=[next((label for limit, label in _SIZES if facts.rows < limit), "n>1T")],
        annotations_creators=["machine-generated"] if written else None,
        language_creators=["machine-generated"] if facts.synthetic else None,
        source_datasets=list(dict.fromkeys(map(clean, sources))) or None,
        tags=["long-tail", "baldistill", *(["synthetic"] if facts.synthetic else [])],
        snapshot={"manifest": str(facts.manifest), "rows": facts.fingerprint, "baldistill": clean(facts.package)},
        configs=[dict(config) for config in configs] or None,
        **facts.licences.metadata,
    )
    fields: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]
    return fields


def write_header(fields: Mapping[str, Any]) -> str:
    """Return fields as the YAML of a header, without its lines of dashes."""
    import yaml

    if not fields:
        return ""
    text: str = yaml.dump(dict(fields), allow_unicode=True, sort_keys=False)
    if yaml.safe_load(text) != fields:  # PyYAML does not read back every line end of Unicode that it writes
        text = yaml.dump(dict(fields), allow_unicode=False, sort_keys=False)
    return text


def read_header(card: str) -> Header:
    """Read the header of a card that is there; one without a header has no values.

    Raises:
        InputError: the header is no YAML, or no mapping of names.
    """
    import yaml

    card = card.removeprefix("\ufeff")
    found = _EMPTY.match(card) or _BLOCK.match(card)
    if found is None:
        return Header({}, {}, "", card)
    block = found.groupdict().get("yaml") or ""
    try:
        values, tree = yaml.safe_load(block), yaml.compose(block, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, *_FAULTS) as e:
        mark = getattr(e, "problem_mark", None)
        where = f", line {mark.line + 2}" if mark else ""
        why = getattr(e, "problem", None) or str(e)
        raise InputError(f"the card that is there has a header that is no YAML{where}: {clean(why)[:120]}; {_WAY_OUT}") from e
    if values is None:
        return Header({}, {}, f"{block}\n" if block.strip() else "", card[found.end() :])
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"the card that is there has a header that is no list of names and values; {_WAY_OUT}")
    return Header(values, *_entries(block, tree), card[found.end() :])


def _entries(block: str, tree: Any) -> tuple[dict[str, str], str]:
    """Return the lines of each top-level key, and what stands before the first; none where keys do not begin lines."""
    lines = block.splitlines(keepends=True)
    starts = [(key.value, key.start_mark.line) for key, _ in tree.value]
    own = all(key.start_mark.column == 0 for key, _ in tree.value) and len({line for _, line in starts}) == len(starts)
    if tree.flow_style or not own or len({key for key, _ in starts}) < len(starts):
        return {}, ""
    ends = [*(line for _, line in starts[1:]), len(lines)]
    texts = {key: "".join(lines[start:end]) for (key, start), end in zip(starts, ends, strict=True)}
    return {key: text if text.endswith("\n") else f"{text}\n" for key, text in texts.items()}, "".join(lines[: starts[0][1]])
