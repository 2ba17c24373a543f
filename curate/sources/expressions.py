"""What ``--prompt``, ``--answer``, ``--rationale`` and ``--domain`` may say: a column, a path, columns, or a template.

An expression is compiled once and evaluated for every record of a table, each by itself. Reads template files, no data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import InputError, UnknownNameError
from curate.readers.tables import Number, Table, value_text
from curate.templates import TooManyStepsError, bounded, make_environment

__all__ = ["MOST_CHARACTERS", "Expression", "compile_expression", "is_template", "letter", "options", "read_template"]

MOST_CHARACTERS = 1_000_000  # that a template may write for one row

_PATH = re.compile(r"(?P<head>[^\W\d]\w*)(?P<rest>(?:\.\w+|\[-?\d+\])+)")
_STEP = re.compile(r"\.(\w+)|\[(-?\d+)\]")
_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)  # of a template's own code
_ENDLESS = 3  # rows of which a template takes too many steps; then no further row is tried
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Expression:
    """How a text is made of a record.

    Attributes:
        text: as the user wrote it, or the text of the template file.
        whole: the one column that it takes as it is, or None.
        columns: every column that it draws on.
        evaluate: table → (n,) texts, null where a record has none, and why a template fails, by the index of the record.
    """

    text: str
    whole: str | None
    columns: frozenset[str]
    evaluate: Callable[[Table], tuple[pl.Series, dict[int, str]]]


def is_template(text: str) -> bool:
    """Return whether an expression is a Jinja2 template rather than names of columns."""
    return "{{" in text or "{%" in text


def read_template(path: str | Path) -> str:
    """Return the text of a template file, without the line break at its end.

    Raises:
        InputError: it cannot be read, or is no template.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"template {str(path)!r} cannot be read: {getattr(e, 'strerror', None) or e}") from e
    if not is_template(text):
        raise InputError(f"template {str(path)!r} names no column: write {{{{ column }}}} where its text is to stand")
    return text


def compile_expression(text: str, columns: Iterable[str], *, option: str, file: str) -> Expression:
    """Compile what the user wrote, for a table with the given columns.

    A column of exactly this name comes first; then a template (``{{ instruction }}``), several columns with commas between them
    (joined by an empty line, empty ones left out), and a path into a column (``answers.text[0]``).

    Args:
        text: as the user wrote it.
        columns: names of the table's columns.
        option: that it was given to, such as ``"--prompt"``.
        file: name of the table.

    Raises:
        UnknownNameError: it names a column that the table does not have; the nearest is named.
        InputError: it is no valid template.
    """
    names = list(columns)
    if text in names:
        return Expression(text, text, frozenset({text}), lambda table: (table.columns[text].texts(), {}))
    if is_template(text):
        return _template(text, names, option, file)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1 and any(part in names for part in parts):
        made = [compile_expression(part, names, option=option, file=file) for part in parts]
        used = frozenset().union(*(part.columns for part in made))
        return Expression(text, None, used, lambda table: (_joined([part.evaluate(table)[0] for part in made]), {}))
    path = _PATH.fullmatch(text)
    if path and path["head"] in names:
        head, steps = path["head"], [name or int(number) for name, number in _STEP.findall(path["rest"])]
        return Expression(text, None, frozenset({head}), lambda table: (_along(table, head, steps), {}))
    raise UnknownNameError(f"column of {file} for {option}", text, names)


def options(value: Any) -> str:
    """Return answer options, one to a line, each after its letter: ``A. …``.

    Args:
        value: a list of texts; an object label → text; or an object with two lists, ``text`` and ``label``.
    """
    labels, texts = _labelled(value)
    return "\n".join(f"{label}. {value_text(text) or ''}" for label, text in zip(labels, texts, strict=False))


def letter(value: Any, choices: Any = None) -> str:
    """Return the letter of an answer option: of its number from 0, or of its text among `choices`; a letter stays as it is."""
    labels, texts = _labelled(choices) if choices is not None else (list(_LETTERS), [])
    text = (value_text(value) or "").strip()
    if text in [str(label) for label in labels]:
        return text
    known = [(value_text(option) or "").strip() for option in texts]
    if text in known and not (isinstance(value, int) and not isinstance(value, bool)):
        return str(labels[known.index(text)])
    if re.fullmatch(r"\d+", text) and int(text) < (len(texts) or len(labels)):
        return str(labels[int(text)])
    return text


def _labelled(value: Any) -> tuple[list[Any], list[Any]]:
    if isinstance(value, Mapping):
        texts, labels = value.get("text"), value.get("label")
        if isinstance(texts, list) and isinstance(labels, list):
            return labels, texts
        return list(value), list(value.values())
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"options are a list or an object, and this is {value!r:.60}")
    if all(isinstance(item, Mapping) and {"label", "text"} <= set(item) for item in value) and value:
        return [item["label"] for item in value], [item["text"] for item in value]
    return list(_LETTERS), list(value)


def _joined(parts: Sequence[pl.Series]) -> pl.Series:
    frame = pl.DataFrame([part.alias(str(i)) for i, part in enumerate(parts)])
    filled = [pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)) for name in frame.columns]
    return frame.select(pl.concat_str(filled, separator="\n\n", ignore_nulls=True)).to_series()


def _along(table: Table, head: str, steps: Sequence[str | int]) -> pl.Series:
    found = []
    for value in table.columns[head].objects():
        at = value
        for step in steps:
            if isinstance(step, int):
                at = at[step] if isinstance(at, list) and -len(at) <= step < len(at) else None
            else:
                at = at.get(step) if isinstance(at, dict) else None
        found.append(value_text(at))
    return pl.Series(found, dtype=pl.String)


def _template(text: str, names: Sequence[str], option: str, file: str) -> Expression:
    import jinja2
    from jinja2 import meta

    environment = _environment()
    try:
        used = meta.find_undeclared_variables(environment.parse(text)) - {"row"}
        compiled = environment.from_string(text)
    except jinja2.TemplateError as e:
        raise InputError(f"{option}: the template is not valid Jinja2: {str(e).splitlines()[0]}") from e
    for name in sorted(used - set(names)):
        raise UnknownNameError(f"column of {file} in the template of {option}:", name, names)
    drawn = frozenset(used) or frozenset(names)  # ``row["a name"]`` may be any

    def evaluate(table: Table) -> tuple[pl.Series, dict[int, str]]:
        wanted = names if "row" in text else drawn
        objects = {name: table.columns[name].objects() for name in wanted if name in table.columns}
        found: list[str | None] = []
        failed, endless = {}, 0
        for i in range(table.height):
            record = {name: values[i] for name, values in objects.items()}
            try:
                with bounded():
                    made = compiled.render({"row": record, **record})
                why = f"it writes {len(made):,} characters, at most {MOST_CHARACTERS:,} are kept"
            except (
                jinja2.TemplateError,
                ArithmeticError,
                LookupError,
                TypeError,
                ValueError,
                AttributeError,
                RecursionError,
            ) as e:
                made, why = None, str(e).splitlines()[0] if str(e) else type(e).__name__
                endless += isinstance(e, TooManyStepsError)
                if endless == _ENDLESS:  # each takes a second or two, and there may be a million
                    raise InputError(f"{file}: the template of {option} fails in {endless} rows: {why}") from e
            if made is None or len(made) > MOST_CHARACTERS:
                made, failed[i] = None, f"the template of {option} fails: {why}"
            found.append(made)
        return pl.Series(found, dtype=pl.String), failed

    return Expression(text, None, drawn, evaluate)


@lru_cache(1)
def _environment() -> Any:
    import jinja2

    environment = make_environment(
        most=MOST_CHARACTERS,
        immutable=True,
        undefined=jinja2.ChainableUndefined,
        finalize=_shown,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"options": options, "letter": letter}
    return environment


def _shown(value: Any) -> Any:
    """Return how a value is written into a template's output: null is nothing, a list or an object is as elsewhere."""
    if value is None:
        return ""
    return value_text(value) if isinstance(value, bool | list | dict | Number) else value
