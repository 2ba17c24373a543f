"""Reads JSON Lines and JSON documents: every value as the literal that its file writes, each record by itself.

Strings are written in one way (``\\u00e9`` and ``é`` are one), and blanks between values are left out; numbers stay as they are
written. The only importer of msgspec beside `curate.readers.tables`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import IO, Any

import msgspec
import polars as pl

from curate.errors import InputError, nearest
from curate.readers import even_lines
from curate.readers.streams import Mistake, blocks, read_ahead, refuse_or_list
from curate.readers.tables import Column, Table

__all__ = ["checked", "compact", "problem", "read", "records_hint"]

_DEEPEST = 200  # levels
_NOTHING = pl.Series([None], dtype=pl.String)
_NULL = msgspec.Raw(b"null")
_RECORD = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[\[\]{},]')
_MEMBER = re.compile(rb'("(?:[^"\\\n]|\\.)*")\s*:\s*(.*)', re.DOTALL)
_SPACED = (b" :", b"\t:", b"\r:", b"\n:")
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')
_ESCAPES = re.compile(rb"\\(?:\\|u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*|/)")  # an escaped backslash is stepped over
_ESCAPED_END = re.compile(rb"\\u00(?:22|3[aA])")  # a quotation mark or a colon, which could make up the end of a key
_UTF16 = "; UTF-16 is read where the file begins with a byte order mark"
_AS_RECORDS = "write one object for each record (pandas: to_json(orient='records', lines=True))"
_MOST_KEYS = 5000  # beyond which they are no names of columns
_FEW = 20  # objects that one record may hold under keys of its own
_PER_BLOCK = 20_000  # items of a document that are read together


def read(file: IO[bytes], name: str, *, on_error: str = "fail", records: str | None = None) -> Table:
    """Read JSON Lines, or a document: a list of objects or of strings (column ``text``), one object, or one that wraps a list.

    Args:
        file: its bytes.
        name: what origins and messages call it.
        on_error: ``fail`` at the first record that cannot be read, or ``skip`` those and list them.
        records: key, or keys with dots between them, of the list in a document that wraps it.

    Returns:
        A table of JSON literals; its numbers are lines, or the places of items in their list, from 1.

    Raises:
        InputError: a record or the whole document cannot be read, or there is no such list.
    """
    parts = blocks(file)
    first = next(parts, b"")
    found = _Records(name)
    if records is not None or _begins_document(first):
        content = b"".join((first, *parts))
        items = _items_of_document(content, name, records)
        if items is None:
            found.add_lines(content, 1)
        else:
            for at in range(0, len(items), _PER_BLOCK):
                texts = [_record_text(item) for item in items[at : at + _PER_BLOCK]]
                found.add(texts, list(range(at + 1, at + 1 + len(texts))))
    else:
        line = 1
        for block, columns in read_ahead(chain((first,), parts), _columns_at_once):
            if columns is not None:
                found.add_columns(columns, line)
            else:
                found.add_lines(block, line)
            line += block.count(b"\n")
    return found.table(on_error)


def records_hint(table: Table) -> str | None:
    """Return what to add where a table's only record wraps the records: the flag that reads them; None where it does not."""
    if table.height != 1:
        return None
    lists = [key for key, column in table.columns.items() if column.is_json and (column.values[0] or "").startswith("[{")]
    return f"its one record holds a list of objects: read those with --records {lists[0]}" if len(lists) == 1 else None


def compact(literals: Sequence[bytes]) -> list[bytes]:
    """Return JSON literals without blanks between values, their strings with the escapes that JSON needs and no others.

    Raises:
        ValueError: one of them is not JSON.
    """
    joined = msgspec.json.format(b"[" + b",".join(literals) + b"]", indent=-1)
    if b"\\u" in joined or b"\\/" in joined:
        joined = _ESCAPES.sub(_plainly_escaped, joined)
    return [bytes(item) for item in _ITEMS.decode(joined)]


def checked(literals: Sequence[bytes]) -> list[bytes | None]:
    """Return JSON literals as `compact` does; None for each that is not JSON, or has a key twice."""
    texts = [b'{"v":' + literal + b"}" for literal in literals]
    found = _all_or_none(texts)
    if found is not None and all(len(record) == 1 for record in found):
        return list(compact(literals))
    return [None if problem(text) or len(_RECORD.decode(text)) > 1 else compact([text])[0][5:-1] for text in texts]


def _plainly_escaped(escapes: re.Match[bytes]) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(b'"' + escapes[0] + b'"'))[1:-1]


class _Records:
    """Records found so far, in parts: columns of literals and the records' numbers; and the mistakes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[dict[str, pl.Series]] = []
        self.numbers: list[pl.Series] = []
        self.mistakes: list[Mistake] = []

    def table(self, on_error: str) -> Table:
        skipped = refuse_or_list(self.mistakes, self.name, on_error=on_error)
        keys = dict.fromkeys(chain.from_iterable(self.parts))
        self._check(keys)
        columns = {key: Column(self._column(key), True) for key in keys}
        height = sum(map(len, self.numbers))
        if height == 1 and not skipped and (wrong := _sideways({key: column.values[0] for key, column in columns.items()})):
            raise InputError(f"{self.name}: {wrong}")
        return Table(self.name, columns, pl.concat([pl.Series(dtype=pl.Int64), *self.numbers]), skipped)

    def _check(self, keys: Collection[str]) -> None:
        if len(keys) > _MOST_KEYS:
            some = next(iter(keys))
            raise InputError(f"{self.name}: has more than {_MOST_KEYS} different keys, such as {some!r}; {_AS_RECORDS}")

    def _column(self, key: str) -> pl.Series:
        """Return a column of all parts; null in those that do not have it."""
        found = (part.get(key, _NOTHING.new_from_index(0, len(n))) for part, n in zip(self.parts, self.numbers, strict=True))
        return pl.concat([part.alias(key) for part in found])

    def add_columns(self, columns: dict[str, pl.Series], first: int) -> None:
        """Add the columns of lines of text, of which the first has the number `first`."""
        self._check(columns)
        self.parts.append(columns)
        n = len(next(iter(columns.values())))
        self.numbers.append(pl.int_range(first, first + n, dtype=pl.Int64, eager=True))

    def add_lines(self, block: bytes, first: int) -> None:
        """Add lines of text, of which the first has the number `first`."""
        if (found := _all_of_lines(block)) is not None:
            plain = b"\\u" not in block and b"\\/" not in block and b"[" not in block and block.count(b"{") == len(found)
            self._keep(found, pl.int_range(first, first + len(found), dtype=pl.Int64, eager=True), plain=plain)
            return
        lines = block.split(b"\n")
        kept = [at for at, line in enumerate(lines) if line and not line.isspace()]
        self.add(lines if len(kept) == len(lines) else [lines[at] for at in kept], [first + at for at in kept])

    def add(self, texts: list[bytes], numbers: list[int]) -> None:
        """Add records, one text for each: all at once where nothing is wrong with them, else one by one."""
        found = _all_or_none(texts)
        if found is None:
            found, kept = [], []
            for text, number in zip(texts, numbers, strict=True):
                wrong = problem(text)
                if wrong is None:
                    found.append(_RECORD.decode(text))
                    kept.append(number)
                else:
                    self.mistakes.append(Mistake(number, wrong))
            numbers = kept
        self._keep(found, pl.Series(numbers, dtype=pl.Int64))

    def _keep(self, found: list[dict[str, msgspec.Raw]], numbers: pl.Series, *, plain: bool = False) -> None:
        if found:
            keys = dict.fromkeys(chain.from_iterable(found))
            self._check(keys)
            self.parts.append({key: _series(key, found, plain=plain) for key in keys})
            self.numbers.append(numbers)


def _sideways(record: dict[str, str | None]) -> str | None:
    """Return what is wrong where the only record of a file is a table by columns, or records by their keys; None elsewhere."""
    values = [value.encode() for value in record.values() if value is not None]
    if len(values) < 2:
        return None
    by_columns = f"is a table by columns ({', '.join(map(repr, list(record)[:3]))}), and not records; {_AS_RECORDS}"
    if all(value.startswith(b"{") for value in values):
        inner = [set(_RECORD.decode(value)) for value in values]
        if inner[0] and all(keys == inner[0] for keys in inner) and all(key.isdigit() for key in inner[0]):
            return by_columns
        return (
            f"is one object that holds {len(values)} by their keys; make lines: jq -c '.[]' FILE" if len(values) > _FEW else None
        )
    if all(value.startswith(b"[") for value in values):
        items = [[bytes(item) for item in _ITEMS.decode(value)] for value in values]
        flat = not any(item.startswith((b"[", b"{")) for item in chain.from_iterable(items))
        return by_columns if flat and len(items[0]) > 1 and len({len(column) for column in items}) == 1 else None
    return None


def problem(text: bytes) -> str | None:
    """Return what is wrong with the text of one record; None where nothing is."""
    try:
        shown = text.decode()
    except UnicodeDecodeError as e:
        return f"not UTF-8 text: {e.reason}{_UTF16 if bytes(1) in text else ''}"
    if _depth(text) > _DEEPEST:
        return f"nested more than {_DEEPEST} levels deep"
    try:
        if not _RECORD.decode(text):
            return "an empty object, which says nothing"
    except (ValueError, RecursionError) as e:
        return _reason(shown, e)
    try:
        json.loads(shown, object_pairs_hook=_once, parse_int=float)
    except ValueError as e:
        return str(e)
    return None


def _reason(text: str, error: Exception) -> str:
    """Return in plain words why a text is no record."""
    try:
        found = json.loads(text, parse_constant=_no_constant, parse_int=float)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "not UTF-8 text: half of a surrogate pair (\\ud800 to \\udfff) stands alone; such a character cannot be written"
    except RecursionError:
        return f"nested more than {_DEEPEST} levels deep"
    except json.JSONDecodeError as e:
        if e.msg == "Extra data" and text.lstrip().startswith("{"):
            return f"not JSON: more than one value in a line (from column {e.pos + 1}); write each record on a line of its own"
        return f"not JSON: {e.msg.removesuffix(' at')} at column {e.colno}" + (
            f" of the record's line {e.lineno}" if e.lineno > 1 else ""
        )
    except ValueError as e:
        return str(e)
    return f"not JSON: {error}" if isinstance(found, dict) else f"not a JSON object: {text.strip()[:40]}"


def _no_constant(name: str) -> Any:
    raise ValueError(f"not JSON: {name} is not a JSON value; write null, or leave the key out")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice in one object; keep one of the two")
    return found


def _columns_at_once(block: bytes) -> dict[str, pl.Series] | None:
    """Return the columns of a block of lines that are written alike, or None where they are not, or something may be wrong."""
    found = even_lines.columns(block) or {}
    escaped = b"\\" in block
    try:
        return {key: _plainly_written(literals, nested=False, escaped=escaped) for key, literals in found.items()} or None
    except ValueError:  # half of a letter
        return None


def _all_of_lines(block: bytes) -> list[dict[str, msgspec.Raw]] | None:
    """Return the records of a block in which each line holds a flat one, or None where that is not sure.

    A line that begins with ``{`` and ends with ``}`` cannot end inside a record: strings hold no line breaks, and after a ``}``
    inside a record no ``{`` may follow. So where there are as many records as lines, each line is one.
    """
    n = block.count(b"\n") + (not block.endswith(b"\n"))
    between = b"}\r\n{" if b"\r" in block else b"}\n{"
    if not block.startswith(b"{") or not block.endswith((b"}", between[:-1])) or block.count(between) != n - 1:
        return None
    try:
        if not block.isascii():
            block.decode()
        found = _RECORD.decode_lines(block)
    except (ValueError, RecursionError):
        return None
    spaced = len(_SPACED_KEY.findall(block)) if any(mark in block for mark in _SPACED) else 0
    flat = len(found) == n and all(found) and block.count(b'":') + spaced == sum(map(len, found))
    return found if flat and block.count(b"[") <= _DEEPEST else None


def _all_or_none(texts: list[bytes]) -> list[dict[str, msgspec.Raw]] | None:
    """Return the records of all texts, or None where there may be something wrong with one; `problem` says exactly."""
    joined = b"\n".join(texts)
    try:
        if not joined.isascii():
            joined.decode()
        found = [_RECORD.decode(text) for text in texts]
    except (ValueError, RecursionError):
        return None
    if not all(found):
        return None
    if joined.count(b"{") + joined.count(b"[") > len(texts) + _DEEPEST and any(
        text.count(b"{") + text.count(b"[") > _DEEPEST < _depth(text) for text in texts
    ):
        return None
    spaced = len(_SPACED_KEY.findall(joined))
    keys = joined.count(b'":') + spaced
    if keys == sum(map(len, found)):  # every key is counted, also those that stand twice
        return found
    if not spaced and not _ESCAPED_END.search(joined) and keys == _count_keys(texts):
        return found
    return None if any(problem(text) for text, record in zip(texts, found, strict=True) if not _is_flat(text, record)) else found


def _count_keys(texts: list[bytes]) -> int:
    """Count what ends a key, ``":``, in texts that are read and written again, where one is left of two equal keys."""
    try:
        return msgspec.json.encode([msgspec.json.decode(text) for text in texts]).count(b'":')
    except ValueError:  # a number that is too large
        return -1


def _is_flat(text: bytes, record: dict[str, msgspec.Raw]) -> bool:
    return text.count(b'":') == len(record) and not _SPACED_KEY.search(text)


def _depth(text: bytes) -> int:
    """Return how deep the values of a text are nested."""
    depth = deepest = 0
    for token in _TOKEN.finditer(text):
        mark = text[token.start()]
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


def _series(key: str, records: list[dict[str, msgspec.Raw]], *, plain: bool = False) -> pl.Series:
    """Return one value of every record as a literal; null where it is null or not there.

    Args:
        key: of the value.
        records: that may have it.
        plain: whether no value is nested, and no string has an escape that could be written otherwise.
    """
    try:
        literals = list(map(bytes, map(itemgetter(key), records)))
    except KeyError:
        literals = [bytes(record.get(key, _NULL)) for record in records]
    texts = pl.Series(key, literals, dtype=pl.Binary).cast(pl.String)
    return _plainly_written(texts, nested=not plain, escaped=not plain)


def _plainly_written(literals: pl.Series, *, nested: bool, escaped: bool) -> pl.Series:
    """Return literals without blanks between values and with no escapes that JSON does not need; null where one is null.

    Args:
        literals: as they are written.
        nested: whether there may be lists and objects among them.
        escaped: whether there may be escapes in them.

    Raises:
        ValueError: half of a letter.
    """
    nulls = literals == "null"
    values = literals.scatter(nulls.arg_true(), None) if nulls.any() else literals
    signs = [values.str.contains(r"^[\[{]")] if nested else []
    signs += [values.str.contains(mark, literal=True) for mark in ("\\u", "\\/")] if escaped else []
    if not any(sign.any() for sign in signs):
        return values
    other = pl.select(pl.any_horizontal(sign.alias(str(at)) for at, sign in enumerate(signs))).to_series().arg_true()
    made = compact(values.gather(other).cast(pl.Binary).to_list())
    return values.scatter(other, pl.Series(made, dtype=pl.Binary).cast(pl.String))


def _begins_document(block: bytes) -> bool:
    """Return whether a file begins like a document: with a list, or with an object that does not end in its first line."""
    start = block.lstrip()
    return start.startswith(b"[") or (start.startswith(b"{") and not _is_json(start.split(b"\n", 1)[0]))


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def _items_of_document(content: bytes, name: str, records: str | None) -> list[bytes] | None:
    """Return the texts of a document's records; None where the content is no document but lines.

    Raises:
        InputError: the document is broken, or `records` does not lead to a list.
    """
    content = content.strip()
    if records is not None:
        content = _wrapped(content, name, records)
    elif content.startswith(b"{"):
        return [content] if _is_whole(content, name) else None
    items = _parts(content)
    if items is None and not _is_json(content.split(b"\n", 1)[0]):
        raise _broken(content, name)
    return items


def _is_whole(content: bytes, name: str) -> bool:
    """Return whether a content that begins with an object over several lines is that object, and not lines."""
    if _is_json(content):
        return True
    if any(_is_json(line) for line in content.split(b"\n") if line.lstrip().startswith(b"{")):
        return False
    if _parts(content) is not None:
        return True
    end = _end(content)
    if end is not None and b"\n" not in content[:end]:
        return False
    if end is not None and content[end:].lstrip().startswith(b"{"):
        raise InputError(
            f"{name}: holds objects of several lines, one after the other; write one on each line (jq -c . FILE), or a list"
        )
    raise _broken(content, name)


def _wrapped(content: bytes, name: str, records: str) -> bytes:
    """Return the list that the keys of `records` lead to."""
    path = [records] if records in (_members(content) or {}) else records.split(".")
    for at, key in enumerate(path):
        members = _members(content)
        if members is None:
            what = f"{'.'.join(path[:at])!r} is no object" if at else "it is not one JSON object"
            raise InputError(f"--records {records!r}: {name}: {what}; records are read so where one document wraps them")
        if key not in members:
            guess = nearest(key, members)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise InputError(f"--records {records!r}: {name} has no key {key!r}{hint} Keys: {', '.join(map(repr, members))}")
        around = content.replace(members[key], b"0", 1)
        if wrong := problem(around):
            raise InputError(f"{name}: {wrong}")
        content = members[key]
    if not content.startswith(b"["):
        raise InputError(f"--records {records!r}: {name}: no list but {content[:40].decode(errors='replace')}")
    return content


def _members(content: bytes) -> dict[str, bytes] | None:
    """Return the values of an object by their keys; None where the content is no object."""
    try:
        return {key: bytes(value) for key, value in _RECORD.decode(content).items()}
    except (ValueError, RecursionError):
        parts = _parts(content) if content.startswith(b"{") else None
    pairs = [match for part in parts or () if (match := _MEMBER.fullmatch(part))]
    return {json.loads(match[1]): match[2] for match in pairs} if parts is not None and len(pairs) == len(parts) else None


def _parts(content: bytes) -> list[bytes] | None:
    """Return what stands between the commas of a list or an object; None where the content is not one list or object."""
    try:
        return [bytes(item) for item in _ITEMS.decode(content)]
    except (ValueError, RecursionError):  # whatever is wrong inside an item, its brackets still say where it ends
        ends = list(_commas(content))
    if not ends or ends[-1][1] != 0 or ends[-1][0] != len(content) - 1:
        return None
    starts = [0, *(at for at, _ in ends)]
    return [content[start + 1 : end].strip() for start, (end, _) in zip(starts, ends, strict=False)]


def _end(content: bytes) -> int | None:
    """Return where the first list or object of a content ends; None where it does not."""
    return next((at + 1 for at, depth in _commas(content) if depth == 0), None)


def _commas(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield place and depth of each comma of the outermost list or object, and of its end, where the depth is 0."""
    depth = 0
    for token in _TOKEN.finditer(content):
        mark = token[0]
        depth += (mark in (b"[", b"{")) - (mark in (b"]", b"}"))
        if depth <= 0 or (depth == 1 and mark == b","):
            yield token.start(), depth
        if depth <= 0:
            return


def _record_text(item: bytes) -> bytes:
    """Return an item of a list as the text of a record on one line; of a string, the record that has it as ``text``."""
    text = b'{"text":' + item + b"}" if item.startswith(b'"') else item
    try:
        return msgspec.json.format(text, indent=-1)
    except (ValueError, RecursionError):
        return text


def _broken(content: bytes, name: str) -> InputError:
    """Return the error of a document that cannot be read, with the line where reading it ends."""
    if b"\0" in content[:4]:
        return InputError(f"{name}: not UTF-8 text{_UTF16}")
    try:
        json.loads(content.decode(errors="replace"), parse_int=float)
    except json.JSONDecodeError as e:
        return InputError(f"{name}:{e.lineno}: not JSON: {e.msg.removesuffix(' at')} at column {e.colno}; correct the file")
    except RecursionError:
        return InputError(f"{name}: nested more than {_DEEPEST} levels deep; correct the file")
    return InputError(f"{name}: not one JSON document; correct the file")
