"""Makes examples of a source's table: which column is what, chats, lists of labels, names of splits.

Each record is read by its own shape (`curate.sources.shapes`) unless the user's flags say otherwise. What is not used whole is
kept in `extra`. Reads no data file and writes none.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from curate.answers.answers import AUTO as ANY_KIND
from curate.answers.answers import SAYABLE
from curate.errors import InputError, UnknownNameError, nearest
from curate.manifest import chats
from curate.manifest.rows import file_labels
from curate.manifest.schema import AUTO, SPLITS
from curate.readers.discover import split_of, stem
from curate.readers.json_files import records_hint
from curate.readers.tables import Column, Table, value_text
from curate.readers.text_files import looks_like_data
from curate.sources import remarks as remarks_of
from curate.sources import shapes
from curate.sources.expressions import Expression, compile_expression, is_template
from curate.sources.shapes import QUESTION_PARTS, Shape

__all__ = ["FIELDS", "Columns", "Examples", "to_examples"]

KIND_COLUMN = "kind"  # of a source, where no option says what says the kind
FIELDS = ("prompt", "answer", "rationale", "messages", "extra", "domain", "labels", "kind", "split", "number", "record")


@dataclass(frozen=True)
class Columns:
    """How a source is read, as the user says; None is the default of each.

    Attributes:
        prompt: expression of the question (see `curate.sources.expressions`).
        answer: expression of the final answer.
        rationale: expression of the reasoning.
        domain: expression of the domain, or ``auto``.
        kind: one of `curate.answers.answers.SAYABLE` for all rows, or the expression of one; None: column ``kind``, where that
            holds such names.
        split: a column (``split``, where there is one), or the name of a split for all rows.
        domain_from: ``filename`` where each file is one domain.
        domain_rule: ``first``, ``explode`` or ``all``, for a domain column that holds lists.
        format: a shape of `curate.sources.shapes`, or ``auto``.
        turns: ``last`` or ``all``: which turns of a chat are trained on.
    """

    prompt: str | None = None
    answer: str | None = None
    rationale: str | None = None
    domain: str | None = None
    kind: str | None = None
    split: str | None = None
    domain_from: str | None = None
    domain_rule: str | None = None
    format: str = "auto"
    turns: str = "last"


@dataclass(frozen=True)
class Examples:
    """The examples of one table.

    Attributes:
        frame: columns `FIELDS`, strings but for ``labels``, a list of them; ``number`` is the record's in its file, ``record``
            the whole record as its file has it, by which it is known again.
        skipped: ``file:row: why`` of every record that is no example.
        shapes: how many records were read in which shape.
        readings: shape → how such records were read, in one line.
        remarks: what a user may want to know of them: one line each.
    """

    frame: pl.DataFrame
    skipped: tuple[str, ...]
    shapes: Mapping[str, int] = field(default_factory=dict)
    readings: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Draft:
    """Records in the making.

    Attributes:
        table: what the records say.
        made: the fields made so far.
        used: columns that are taken as they are, and need not be kept in `extra`.
        drawn: columns that the prompt or the chat has, or that another field takes as they are.
        wrong: index of a record that is no example → why.
    """

    table: Table
    made: Mapping[str, pl.Series] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    drawn: frozenset[str] = frozenset()
    wrong: Mapping[int, str] = field(default_factory=dict)

    def put(self, name: str, values: pl.Series, *, used: str | None = None) -> _Draft:
        return replace(self, made={**self.made, name: values}, used=self.used | ({used} if used else set()))

    def take(self, name: str, expression: Expression) -> _Draft:
        """Make a field by an expression; a column that it takes as it is, is used up."""
        values, failed = expression.evaluate(self.table)
        draft = self.put(name, values, used=expression.whole)
        drawn = expression.columns if name == "prompt" or expression.whole else set()
        return replace(draft, drawn=draft.drawn | drawn, wrong={**failed, **draft.wrong})

    def refuse(self, bad: pl.Series, why: str | Callable[[int], str]) -> _Draft:
        found = {i: why if isinstance(why, str) else why(i) for i in bad.fill_null(True).arg_true().to_list()}
        return replace(self, wrong={**found, **self.wrong})


def to_examples(table: Table, columns: Columns, *, split: str | None = None, on_error: str = "fail") -> Examples:
    """Return the examples of a table.

    Args:
        table: what a file says.
        columns: how it is read.
        split: of all rows where no column and no option says it.
        on_error: ``fail`` at the first record that is no example, or ``skip`` those and list them.

    Raises:
        InputError: a column is missing (the nearest is named), a domain is a list and no rule says which to take, a
            split's name is unknown, or a record has no domain or, for chats, nothing to train on.
    """
    records = _records(table)
    parts, skipped, counts, drawn = [], dict[int, str](), dict[str, int](), set[str]()
    readings: dict[str, str] = {}
    for shape, index in _by_shape(table, columns):
        part = table if len(index) == table.height else _pick(table, index)
        draft = _read(_Draft(part), shape, columns, split)
        counts[shape.name] = counts.get(shape.name, 0) + part.height
        readings.setdefault(shape.name, shape.reading())
        drawn |= draft.drawn | draft.used
        skipped |= {part.numbers[i]: why for i, why in draft.wrong.items()}
        parts.append(_finish(draft, index, records, columns.domain_rule))
    if skipped and on_error == "fail":
        first = min(skipped)
        more = f" ({len(skipped)} rows in all)" if len(skipped) > 1 else ""
        raise InputError(
            f"{table.name}:{first}: {skipped[first]}{more}; correct the source, or leave such rows out with --on-error skip"
        )
    frame = pl.concat(parts).sort("index", maintain_order=True) if len(parts) > 1 else parts[0]
    lines = tuple(f"{table.name}:{number}: {skipped[number]}" for number in sorted(skipped))
    frame = frame.select(FIELDS)
    unused = [name for name in QUESTION_PARTS if name in table.columns and name not in drawn]
    remarks = [*remarks_of.unused(table.name, unused, columns.prompt), *remarks_of.letters(table.name, frame, table.columns)]
    return Examples(frame, lines, counts, readings, tuple(remarks))


# --- shapes ---


def _by_shape(table: Table, columns: Columns) -> Iterator[tuple[Shape, pl.Series]]:
    """Yield the shapes of a table's records, each with the indices of its records."""
    named = [name for name in (columns.prompt, columns.answer) if name in table.columns]
    names = [name for name in table.columns if name in shapes.NAMES or name in named]
    codes = pl.DataFrame([_kinds(table.columns[name]).alias(name) for name in names]) if names else pl.DataFrame()
    groups: dict[Shape | None, list[pl.Series]] = {}
    found = codes.with_row_index("\0").group_by(names, maintain_order=True).agg("\0") if names else codes
    for at, row in enumerate(found.select(names).iter_rows(named=True)):
        kinds = {name: kind for name, kind in row.items() if kind is not None}
        groups.setdefault(_shape(kinds, table, columns), []).append(found["\0"][at])
    if not set(groups) - {None}:
        raise InputError(_no_shape(table, columns))
    unknown = Shape("unknown")
    for shape, indices in groups.items():
        yield shape or unknown, pl.concat(indices).sort() if len(indices) > 1 else indices[0]


def _kinds(column: Column) -> pl.Series:
    """Return the kind of each value (see `curate.sources.shapes`); null where there is none."""
    values = column.values.to_frame("v")
    value = pl.col("v")
    if not column.is_json or column.values.str.starts_with('"').all():  # of the values that there are
        return values.select(pl.when(value.is_not_null()).then(pl.lit(shapes.TEXT))).to_series()
    return values.select(
        pl.when(value.is_null())
        .then(None)
        .when(value.str.starts_with('"'))
        .then(pl.lit(shapes.TEXT))
        .when(value.str.contains(r"^\[\s*\{"))
        .then(pl.lit(shapes.TURNS))
        .when(value.str.starts_with("["))
        .then(pl.lit(shapes.LIST))
        .when(value.str.starts_with("{"))
        .then(pl.lit(shapes.OBJECT))
        .otherwise(pl.lit(shapes.SCALAR))
    ).to_series()


def _shape(kinds: Mapping[str, str], table: Table, columns: Columns) -> Shape | None:
    """Return the shape of records with these kinds of values, with what the user's flags say of prompt, answer and rationale."""
    found = shapes.recognise(kinds, columns.format)
    if columns.prompt is not None and columns.prompt in kinds and kinds[columns.prompt] == shapes.TURNS:
        if columns.answer in kinds or columns.prompt != "messages":
            completed = columns.answer or (found.answer if found and found.answer else "completion")
            chat = shapes.chat_of_parts(columns.prompt, completed)
            return Shape("trl", chat=chat, used=(columns.prompt, completed), rationale=_rationale(columns, found, table))
        return found
    if columns.prompt is None and (found is None or found.chat is not None):
        return replace(found, rationale=_rationale(columns, found, table)) if found else None
    known = found if found is not None and found.chat is None else Shape("table")
    answer = columns.answer or known.answer or ("answer" if "answer" in table.columns else None)
    prompt = columns.prompt or known.prompt
    by_name = [(prompt, columns.prompt), (answer, columns.answer)] if known.name == "table" else []
    if (answer is None and known.name != "texts") or any(text not in table.columns and not given for text, given in by_name):
        return None
    name = "table" if columns.prompt else known.name
    known = replace(known, about="" if columns.prompt or columns.answer else known.about)
    return replace(known, name=name, prompt=prompt, answer=answer, rationale=_rationale(columns, known, table))


def _rationale(columns: Columns, found: Shape | None, table: Table) -> str | None:
    there = "rationale" if "rationale" in table.columns else None
    return columns.rationale or there or (found.rationale if found else None)


def _names_for(cells: Sequence[str]) -> str:
    """Return names for the columns of a file without a header, to be corrected by the user."""
    if len(cells) > 4 and re.fullmatch("[A-E]", cells[-1].strip()):  # a question, its options, a letter
        return ",".join(["question", *"ABCDEFGH"[: len(cells) - 2], "answer"])
    return ",".join(["prompt", "answer", *(f"column_{n}" for n in range(3, len(cells) + 1))][: max(len(cells), 1)])


def _no_shape(table: Table, columns: Columns) -> str:
    there = list(table.columns)
    missing = "prompt" if columns.prompt is None and "prompt" not in there else "answer"
    if columns.format != "auto":
        return f"{table.name}: no record has the shape of --format {columns.format}. Columns: {', '.join(sorted(there))}"
    if wraps := records_hint(table):
        return f"{table.name} has no column {missing!r}; {wraps}"
    if looks_like_data(there):
        return (
            f"{table.name} has no column {missing!r}, and its first line looks like a record, not like names: add --no-header "
            f"--columns {_names_for(there)} (its first line: {', '.join(there)[:80]})"
        )
    guess = nearest(missing, there)
    hint = f"; did you mean {guess!r}?" if guess else "."
    return f"{table.name} has no column {missing!r}: name it with --{missing}{hint} Columns: {', '.join(sorted(there))}"


# --- fields ---


def _read(draft: _Draft, shape: Shape, columns: Columns, split: str | None) -> _Draft:
    if shape.chat is not None:
        draft = _take_chat(draft, shape, columns)
    elif shape.prompt is None and shape.answer is None:
        draft = draft.refuse(pl.Series([True] * draft.table.height), "it has neither prompt and answer nor a chat")
        empty = pl.Series([None] * draft.table.height, dtype=pl.String)
        for name in ("prompt", "answer", "messages"):
            draft = draft.put(name, empty)
    else:
        draft = _take_texts(draft, shape)
    draft = _take_rationale(draft, shape)
    draft = _take_split(draft, columns, split)
    draft = _take_kind(draft, columns)
    return _take_domain(draft, shape, columns)


def _expression(draft: _Draft, text: str, option: str) -> Expression:
    return compile_expression(text, draft.table.columns, option=option, file=draft.table.name)


def _take_chat(draft: _Draft, shape: Shape, columns: Columns) -> _Draft:
    assert shape.chat is not None
    names = [name for name in draft.table.columns if name in shapes.NAMES or name in shape.used]
    objects = {name: draft.table.columns[name].objects() for name in names}
    found: list[chats.Chat | None] = []
    wrong = {}
    for i in range(draft.table.height):
        try:
            found.append(shape.chat({name: values[i] for name, values in objects.items()}, columns.turns))
        except ValueError as e:
            found.append(None)
            wrong[i] = str(e)
    for name in ("prompt", "answer", "messages"):
        draft = draft.put(name, pl.Series([getattr(chat, name, None) for chat in found], dtype=pl.String))
    return replace(draft, used=draft.used | set(shape.used), drawn=draft.drawn | set(names), wrong={**wrong, **draft.wrong})


def _take_texts(draft: _Draft, shape: Shape) -> _Draft:
    for name, wanted in (("prompt", shape.prompt), ("answer", shape.answer)):
        if wanted is None:
            draft = draft.put(name, pl.Series([""] * draft.table.height, dtype=pl.String))
            continue
        text, expression = wanted, _expression(draft, wanted, f"--{name}")
        draft = draft.take(name, expression)
        values = draft.made[name].fill_null("")
        if expression.whole is None and draft.table.height and (values.str.strip_chars() == "").all():
            raise InputError(f"{draft.table.name}: --{name} {text!r} gives nothing in any of its {draft.table.height} rows")
        draft = draft.put(name, values)
    return _take_history(draft)


def _take_history(draft: _Draft) -> _Draft:
    """Take the history that a column ``messages`` has before prompt and answer; what is no history stays in `extra`."""
    column = draft.table.columns.get("messages")
    if column is None or "messages" in draft.used:
        return draft.put("messages", pl.Series([None] * draft.table.height, dtype=pl.String))
    rows = zip(column.objects(), draft.made["prompt"], draft.made["answer"], strict=True)
    found = [None if value is None else chats.history_before(value, prompt, answer) for value, prompt, answer in rows]
    read = pl.Series([chat is not None for chat in found], dtype=pl.Boolean)
    table = replace(
        draft.table, columns={**draft.table.columns, "messages": Column(_emptied(column.values, read), column.is_json)}
    )
    return replace(draft, table=table).put("messages", pl.Series([chat and chat.messages for chat in found], dtype=pl.String))


def _take_rationale(draft: _Draft, shape: Shape) -> _Draft:
    if shape.rationale is None:
        return draft.put("rationale", pl.Series([None] * draft.table.height, dtype=pl.String))
    draft = draft.take("rationale", _expression(draft, shape.rationale, "--rationale"))
    values = draft.made["rationale"]
    return draft.put("rationale", _emptied(values, (values.str.strip_chars() == "").fill_null(False)))


def _take_split(draft: _Draft, columns: Columns, split: str | None) -> _Draft:
    named = columns.split or "split"
    there = draft.table.columns
    if named not in there:
        fixed = split_of(columns.split) if columns.split else split or "train"
        if fixed is None:
            guess = nearest(named, [*there, *SPLITS])
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise InputError(
                f"--split {named!r}: {draft.table.name} has no such column, and it is none of {', '.join(SPLITS)}{hint}"
            )
        return draft.put("split", pl.Series([fixed] * draft.table.height, dtype=pl.String))
    values = there[named].texts().fill_null(split or "train")
    known = {value: split_of(value) for value in values.unique().to_list()}
    draft = draft.put("split", values.replace_strict(known, return_dtype=pl.String), used=named)
    expected = f"which is none of {', '.join(SPLITS)}, val, dev"
    return draft.refuse(draft.made["split"].is_null(), lambda i: f"column {named!r} is {values[i]!r}, {expected}")


def _take_kind(draft: _Draft, columns: Columns) -> _Draft:
    """Take what the records say of their kinds of answers; the column stays in `extra`, since it may mean more than that.

    A column `KIND_COLUMN` that no option names counts where all of its values are kinds; else it means something else.
    """
    text, there, n = columns.kind or KIND_COLUMN, draft.table.columns, draft.table.height
    if text not in there and columns.kind in (None, *SAYABLE):
        return draft.put("kind", pl.repeat(columns.kind, n, dtype=pl.String, eager=True))
    try:
        values, failed = _expression(draft, text, "--kind").evaluate(draft.table)
    except UnknownNameError as e:
        if is_template(text):
            raise
        raise UnknownNameError(f"--kind, a kind or a column of {draft.table.name}:", text, [*SAYABLE, *there]) from e
    said = values.str.strip_chars().str.to_lowercase()
    said = _emptied(said, (said == "").fill_null(False))
    known = said.is_in(SAYABLE).fill_null(True)
    if columns.kind is None:
        return draft.put("kind", said if known.all() else _emptied(pl.repeat(ANY_KIND, n, eager=True), said.is_null()))
    expected = f"which is none of {', '.join(SAYABLE)}; leave it empty where the kind is to be recognised"
    draft = replace(draft, wrong={**failed, **draft.wrong}).put("kind", _emptied(said, ~known))
    return draft.refuse(~known, lambda i: f"--kind {text!r} is {values[i]!r}, {expected}")


def _take_domain(draft: _Draft, shape: Shape, columns: Columns) -> _Draft:
    n = draft.table.height
    there = draft.table.columns
    text = columns.domain or ("domain" if "domain" in there else shape.domain) or AUTO
    if columns.domain_from or (text == AUTO and AUTO not in there):
        fixed = stem(draft.table.name) if columns.domain_from else AUTO
        return draft.put("domain", pl.Series([_clean(fixed)] * n, dtype=pl.String))
    expression = _expression(draft, text, "--domain")
    answers = columns.answer or shape.answer
    lists = _kinds(there[text]).is_in([shapes.LIST, shapes.TURNS]).fill_null(False) if text in there else pl.Series([False] * n)
    if lists.any():
        draft = _take_labels(draft, text, lists, columns)
        if answers == text:  # the label taken is the answer too, and the whole list stays in `extra`
            draft = draft.put("labels are answers", lists)
        draft = replace(draft, drawn=draft.drawn | {text})
        draft = replace(draft, used=draft.used - {text}) if answers == text else draft
    else:
        draft = draft.take("domain", expression)
    domain = draft.made["domain"]
    if domain.dtype == pl.String:
        draft = draft.put("domain", _cleaned(domain))
        empty = draft.made["domain"].fill_null("") == ""
    else:
        empty = domain.list.len().fill_null(0) == 0
    return draft.refuse(empty, f"column {text!r} is empty; every row needs a domain")


def _take_labels(draft: _Draft, name: str, lists: pl.Series, columns: Columns) -> _Draft:
    """Take the domains from a column in which some records hold lists; a list stays in `extra` as a whole."""
    column = draft.table.columns[name]
    if columns.domain_rule is None:
        shown = column.values.filter(lists)[0]
        raise InputError(
            f"{draft.table.name}: column {name!r} holds lists, such as {shown[:60]}: use --domain-rule first to take the first "
            f"of each, all to keep several domains of one row, or explode for one row per label"
        )
    labels = [_labels(value) for value in column.objects()]
    if columns.domain_rule == "first":
        labels = [found[:1] for found in labels]
    made = draft.put("domain", pl.Series(labels, dtype=pl.List(pl.String)))
    # A record with a plain value is used up like any other; a list is not.
    rest = Column(_emptied(column.values, ~lists), column.is_json)
    return replace(made, table=replace(made.table, columns={**made.table.columns, name: rest}))


def _labels(value: Any) -> list[str]:
    texts = [value_text(item) for item in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(clean for text in texts if text is not None and (clean := _clean(text))))


_UNCLEAN = r"[^\x20-\x7e]|  |^ | $"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]+")


def _cleaned(domains: pl.Series) -> pl.Series:
    """Return names of domains in Unicode form NFC, without control characters, each run of white space as one space."""
    unclean = domains.str.contains(_UNCLEAN).fill_null(False)
    if not unclean.any():
        return domains
    names = domains.filter(unclean)
    known = {name: _clean(name) for name in names.unique().to_list()}
    return domains.clone().scatter(unclean.arg_true(), names.replace_strict(known, return_dtype=pl.String))


def _clean(name: str) -> str:
    return " ".join(_CONTROLS.sub(" ", unicodedata.normalize("NFC", name)).split())


def _emptied(values: pl.Series, where: pl.Series) -> pl.Series:
    return (
        values.to_frame("v").with_columns(where.alias("w")).select(pl.when(~pl.col("w")).then("v").alias(values.name)).to_series()
    )


# --- the whole row ---


def _finish(draft: _Draft, index: pl.Series, records: pl.Series, rule: str | None) -> pl.DataFrame:
    """Return the rows of a draft that are examples, one for each label where labels are exploded, with their indices."""
    table = draft.table
    names = ("prompt", "answer", "rationale", "messages", "kind", "split", "domain")
    frame = pl.DataFrame({name: draft.made[name] for name in names})
    frame = frame.with_columns(
        pl.lit(None, dtype=pl.List(pl.String)).alias("labels"),
        _extra(draft).alias("extra"),
        table.numbers.alias("number"),
        index.alias("index"),
        (records if len(index) == len(records) else records.gather(index)).alias("record"),
    )
    if "labels are answers" in draft.made:
        frame = frame.with_columns(draft.made["labels are answers"].alias("labelled"))
    if draft.wrong:
        frame = frame.filter(~pl.int_range(pl.len()).is_in(list(draft.wrong)))
    several = frame.schema["domain"] != pl.String
    if several and rule == "all":
        filed = file_labels(frame["domain"])
        joined = pl.coalesce(pl.col("labels").list.join(", "), "domain")
        frame = frame.with_columns(filed["domain"], filed["labels"])
        if "labelled" in frame.columns:
            frame = frame.with_columns(answer=pl.when("labelled").then(joined).otherwise("answer"))
    elif several:
        frame = frame.with_columns(first=pl.col("domain").list.first()).explode("domain", empty_as_null=True, keep_nulls=True)
        # The first label's row is known again whatever the rule is; a further one by its label.
        further = pl.concat_str("record", pl.lit("\2"), "domain")
        frame = frame.with_columns(record=pl.when(pl.col("domain") == pl.col("first")).then("record").otherwise(further))
        if "labelled" in frame.columns:
            frame = frame.with_columns(answer=pl.when("labelled").then("domain").otherwise("answer"))
    texts = (pl.col(name).cast(pl.String) for name in FIELDS if name != "labels")
    return frame.select("index", "labels", *texts)


def _extra(draft: _Draft) -> pl.Series:
    """Return the columns that are left as a JSON object, their names in order; values that are null are left out."""
    left = sorted(set(draft.table.columns) - draft.used)
    columns = {name: draft.table.columns[name].literals() for name in left}
    columns = {name: values for name, values in columns.items() if values.null_count() < len(values)}
    if not columns:
        return pl.Series([None] * draft.table.height, dtype=pl.String)
    frame = pl.DataFrame([values.alias(name) for name, values in columns.items()])
    keys = [json.dumps(name, ensure_ascii=False) + ":" for name in columns]
    if not any(values.null_count() for values in columns.values()):  # one pass over the texts in place of two
        pairs = [part for key, name in zip(keys, columns, strict=True) for part in (pl.lit("," + key), pl.col(name))]
        return frame.select(pl.concat_str(pl.lit("{" + keys[0]), *pairs[1:], pl.lit("}"))).to_series()
    body = pl.concat_str(
        [pl.concat_str(pl.lit(key), pl.col(name)) for key, name in zip(keys, columns, strict=True)],
        separator=",",
        ignore_nulls=True,
    )
    return frame.select(pl.when(body != "").then(pl.concat_str(pl.lit("{"), body, pl.lit("}")))).to_series()


def _records(table: Table) -> pl.Series:
    """Return every record as one text, its columns in order of their names; null values are left out.

    Two records give one text only where they are equal: JSON literals hold no control characters, and plain text that holds one
    of those that stand between values is written as JSON.
    """
    names = sorted(table.columns)
    frame = pl.DataFrame([_unmistakable(table.columns[name]).alias(name) for name in names])
    parts: list[pl.Expr] = []
    for name in names:
        key = pl.lit("\1" + json.dumps(name) + "\0")
        pair = pl.concat_str(key, pl.col(name)).fill_null("")
        parts += [pair] if frame[name].has_nulls() else [key, pl.col(name)]
    return frame.select(pl.concat_str(parts).str.slice(1)).to_series()


def _unmistakable(column: Column) -> pl.Series:
    odd = pl.Series([False]) if column.is_json else column.values.str.contains("[\0\1\2]").fill_null(False)
    if not odd.any():
        return column.values
    return column.values.clone().scatter(odd.arg_true(), "\2" + Column(column.values.filter(odd), False).literals())


def _pick(table: Table, index: pl.Series) -> Table:
    columns = {name: Column(column.values.gather(index), column.is_json) for name, column in table.columns.items()}
    return replace(table, columns=columns, numbers=table.numbers.gather(index))
