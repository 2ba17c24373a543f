"""What a user should hear of examples that were read: forgotten columns, letters without options, domains that look alike.

Each function returns lines, most often none; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import polars as pl

__all__ = ["letters", "similar_domains", "unused"]

_LISTED = 5
_SOME = 1_000  # rows that are looked at first
_OPTION = r"(?m)^\s*[\(\[]?[A-Ea-e][\).:\]]\s*\S"  # a line that offers an option


def unused(name: str, columns: Sequence[str], prompt: str | None) -> list[str]:
    """Say which columns look like a part of the question and are used by nothing.

    Args:
        name: of the file.
        columns: that nothing uses.
        prompt: what the user gave as ``--prompt``.
    """
    if not columns:
        return []
    listed = ", ".join(map(repr, columns))
    options = [column for column in columns if column in ("options", "choices")]
    asked = prompt if prompt and "{" not in prompt and "," not in prompt else "prompt"
    if options:
        flag = f"--prompt '{{{{ {asked} }}}}\n\n{{{{ {options[0]} | options }}}}'".replace("\n", "\\n")
        flag = flag.replace("\\n\\n", " ")
    else:
        flag = f"--prompt {','.join([*columns, asked] if columns[0] in ('context', 'passage', 'history') else [asked, *columns])}"
    verb = "looks" if len(columns) == 1 else "look"
    return [f"{name}: {listed} {verb} like a part of the question and is not in the prompt; to put it there: {flag}"]


def letters(name: str, examples: pl.DataFrame, columns: Collection[str]) -> list[str]:
    """Say that answers are letters of options that the prompts do not have.

    Args:
        name: of the file.
        examples: columns ``prompt, answer``.
        columns: of the file.
    """
    letter = r"^\(?[A-E]\)?\.?$"
    some = examples["answer"].head(_SOME)
    if (some.str.strip_chars().str.contains(letter) | (some == "")).sum() < 0.5 * len(some):
        return []  # most answers are of another kind
    answers = examples.filter(pl.col("answer") != "")
    if answers.height < 2:
        return []
    is_letter = pl.col("answer").str.strip_chars().str.contains(letter)
    offered = pl.col("prompt").str.count_matches(_OPTION) >= 2
    n, lacking = answers.select(is_letter.sum().alias("n"), (is_letter & ~offered).sum().alias("lacking")).row(0)
    if n < 0.95 * answers.height or lacking < 0.5 * n or answers["answer"].n_unique() > 10:
        return []
    asked = next((column for column in ("question", "prompt", "query") if column in columns), "question")
    single = [letter for letter in "ABCDE" if letter in columns]
    named = [column for column in ("choices", "options") if column in columns]
    options = named[0] if named else f"[{', '.join(single)}]" if len(single) > 1 else "[A, B, C, D]"
    return [
        f"{name}: {lacking:,} of {answers.height:,} answers are letters of options that their prompts do not show; put the "
        f"options into the prompt with a template such as --prompt '{{{{ {asked} }}}} {{{{ {options} | options }}}}'"
    ]


def similar_domains(names: Iterable[str]) -> list[str]:
    """Say which domains differ by case or white space alone.

    Args:
        names: of domains, with or without repeats.
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault("".join(name.casefold().split()), set()).add(name)
    alike = [sorted(group) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    shown = "; ".join(" and ".join(map(repr, group)) for group in sorted(alike)[:_LISTED])
    more = f", and {len(alike) - _LISTED} more" if len(alike) > _LISTED else ""
    return [f"domains that differ by case or spaces alone are domains of their own: {shown}{more}"]
