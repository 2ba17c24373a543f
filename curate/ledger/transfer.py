"""Moves replies between ledgers: from a ledger into one file, and from there into another ledger. Buys nothing.

The file is JSON Lines, packed where its name ends in ``.gz`` or ``.zst``: a first line that says what it is, one line for
each answered call, and a last line that counts them, so that a file that was cut short is recognised. Every line carries a
digest of itself, and its key must be that of its request; so no line can put a reply under another request. The file holds
requests and replies: no API key, no header, no name of a machine, no path.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from curate import progress
from curate.errors import InputError, MistakesError
from curate.files import find_root, ledger_path, write_whole
from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec
from curate.ledger.settings import LedgerExportSettings, LedgerImportSettings
from curate.settings import takes
from curate.teachers.base import Usage, call_key, canonical_json
from curate.teachers.responses import parse_response

__all__ = ["LedgerExportResult", "LedgerImportResult", "ledger_export", "ledger_import"]

FORMAT = "curate ledger"
VERSION = 1
_PACKED = {".gz": "gzip", ".zst": "zstd"}
_TEXTS = ("key", "endpoint", "model", "purpose", "domain", "raw", "finish_reason", "digest")
_MISTAKES = 20  # listed at most
_STEP = 1000  # lines between two events


@dataclass(frozen=True)
class LedgerExportResult:
    """What `ledger_export` did.

    Attributes:
        path: of the file.
        calls: answered calls in it.
        left_out: calls whose request is not that of their key, because something else changed the ledger.
    """

    path: Path
    calls: int
    left_out: int


@dataclass(frozen=True)
class LedgerImportResult:
    """What `ledger_import` did.

    Attributes:
        path: of the file.
        new: replies that can be used here from now on, at no cost.
        already: replies that were here.
        conflicting: calls that have another reply here, which stays.
    """

    path: Path
    new: int
    already: int
    conflicting: int


@takes(LedgerExportSettings)
def ledger_export(destination: str | Path, settings: LedgerExportSettings) -> LedgerExportResult:
    """Write the ledger's replies into one file, which `ledger_import` reads on another machine.

    Args:
        destination: file to write; ``.gz`` or ``.zst`` at its end packs it.

    Raises:
        InputError: there is no ledger, or the file cannot be written.
    """
    path, stored_at = Path(destination), ledger_path(find_root(settings.root))
    if not stored_at.exists():
        raise InputError(
            f"there is no ledger under {str(settings.root or '.')!r}: no teacher was asked yet; --root names another folder"
        )
    ledger = Ledger(stored_at)
    counts: Counter[bool] = Counter()

    def write(part: Path) -> None:
        with _written(part) as file, progress.step("ledger-export", None) as step:
            file.write(_line({"format": FORMAT, "version": VERSION}))
            for line in _reply_lines(ledger, settings.names, settings.models):
                sound = call_key(line["endpoint"], line["model"], canonical_json(line["request"])) == line["key"]
                counts[sound] += 1
                if sound:
                    file.write(_line({**line, "digest": _digest(line)}))
                if counts.total() % _STEP == 0:
                    step.advance(_STEP)
            file.write(_line({"calls": counts[True]}))

    try:
        write_whole(path, write, sync=True)
    except OSError as e:
        raise InputError(f"{str(path)!r} cannot be written: {e.strerror or e}") from e
    finally:
        ledger.close()
    return LedgerExportResult(path, counts[True], counts[False])


@takes(LedgerImportSettings)
def ledger_import(source: str | Path, settings: LedgerImportSettings) -> LedgerImportResult:
    """Take in the replies of another ledger, from a file that `ledger_export` wrote: all of them, or none where a line is wrong.

    They answer the same calls here from now on, and no manifest is charged for them. A call that has a reply here keeps it.

    Args:
        source: the file.

    Raises:
        MistakesError: lines that are broken, by number; nothing was taken in.
        InputError: the file cannot be read, is another kind of file, or was cut short; nothing was taken in.
    """
    path = Path(source)
    mistakes: list[str] = []
    counts: Counter[str] = Counter()
    with _read(path) as lines:
        numbered = enumerate(lines, 1)
        _check_head(path, next(numbered, (0, b""))[1])
        ledger = Ledger(ledger_path(find_root(settings.root)))
        try:
            with ledger.transaction(), progress.step("ledger-import", None) as step:
                for line in _checked(path, numbered, mistakes):
                    counts[ledger.adopt(*_adoptable(line))] += 1
                    if counts.total() % _STEP == 0:
                        step.advance(_STEP)
                if mistakes:
                    raise MistakesError(f"{path.name!r}, of which nothing was taken in,", mistakes)
        finally:
            ledger.close()
    return LedgerImportResult(path, counts["new"], counts["already"], counts["conflicting"])


def _reply_lines(ledger: Ledger, names: Sequence[str] | None, models: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the answered calls in the order of their keys, so that the same replies make the same file."""
    sql = (
        "SELECT c.key, c.endpoint, c.model, c.purpose, c.domain, c.sample, c.request, r.raw, a.nano_usd FROM calls c "
        "JOIN attempts a ON a.id = c.answer JOIN replies r ON r.attempt = c.answer WHERE c.key > ?"
    )
    chosen: list[Any] = []
    if models:
        sql += f" AND c.model IN ({','.join('?' * len(models))})"
        chosen += models
    if names:
        marks = ",".join("?" * len(names))
        sql += f" AND (c.id IN (SELECT call FROM attempts WHERE name IN ({marks}))"
        sql += f" OR c.id IN (SELECT call FROM hits WHERE name IN ({marks})))"
        chosen += [*names, *names]
    last = ""
    while rows := ledger.query(f"{sql} ORDER BY c.key LIMIT {_STEP}", (last, *chosen)):
        for key, endpoint, model, purpose, domain, sample, request, raw, nano in rows:
            parsed = parse_response(raw)
            if parsed.error:  # it was never read; whoever reads it will reject it
                continue
            asked = {"key": key, "endpoint": endpoint, "model": model, "purpose": purpose, "domain": domain, "sample": sample}
            usage = None if parsed.usage is None else parsed.usage._asdict()
            reported = {"usage": usage, "nano_usd": nano, "finish_reason": parsed.finish_reason}
            yield {**asked, "request": json.loads(request), "raw": raw, **reported}
        last = rows[-1][0]


def _adoptable(line: Mapping[str, Any]) -> tuple[CallSpec, str, Usage | None, int | None, str]:
    """Return a line as the arguments of `Ledger.adopt`."""
    columns = ("key", "endpoint", "model", "purpose", "domain", "sample")
    spec = CallSpec(**{name: line[name] for name in columns}, request=canonical_json(line["request"]))
    parsed = parse_response(line["raw"])
    return spec, line["raw"], parsed.usage, line["nano_usd"], parsed.finish_reason


def _checked(path: Path, numbered: Iterable[tuple[int, bytes]], mistakes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the lines that are sound, and note the others; a file without its last line was cut short."""
    n, ended = 0, False
    for number, text in numbered:
        line = _parsed(text)
        if line is not None and set(line) == {"calls"} and not ended:
            ended = True
            if line["calls"] != n + len(mistakes):
                mistakes.append(f"line {number}: it ends after {line['calls']} calls, and {n + len(mistakes)} are here")
            continue
        wrong = "it comes after the end" if ended else "it is not a JSON object" if line is None else _wrong(line)
        if wrong:
            mistakes.append(f"line {number}: {wrong}")
            if len(mistakes) == _MISTAKES:
                return
        elif line is not None:
            n += 1
            yield line
    if not ended:
        raise InputError(f"{path.name!r} ends before its last line: it was cut short, nothing was taken in; copy it again")


def _wrong(line: dict[str, Any]) -> str:
    """Return what is wrong with a line; empty where it is sound."""
    if not all(isinstance(line.get(name), str) for name in _TEXTS):
        return f"it needs {', '.join(_TEXTS)} as texts"
    rest = {name: value for name, value in line.items() if name != "digest"}
    if _digest(rest) != line["digest"]:
        return "its content is not what was exported"
    nano = line.get("nano_usd")
    if not isinstance(line.get("request"), dict) or not _whole(line.get("sample")) or not (nano is None or _whole(nano)):
        return "its request, sample or nano_usd is not what a ledger holds"
    if call_key(line["endpoint"], line["model"], canonical_json(line["request"])) != line["key"]:
        return f"its key {line['key'][:8]!r}… is not the key of its request"
    parsed = parse_response(line["raw"])
    return parsed.error if parsed.usage is None else ""  # one that a server broke off was a reply when it was exported


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_head(path: Path, text: bytes) -> None:
    head = _parsed(text) or {}
    if head.get("format") != FORMAT:
        raise InputError(f"{path.name!r} is not a ledger's export: its first line has no format {FORMAT!r}")
    if head.get("version") != VERSION:
        raise InputError(f"{path.name!r} has version {head.get('version')!r}, not {VERSION}: pip install --upgrade baldistill")


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode("ascii") + b"\n"


def _digest(line: Mapping[str, Any]) -> str:
    return hashlib.blake2b(canonical_json(line).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    import pyarrow

    with pyarrow.output_stream(str(path), compression=_PACKED.get(path.suffix)) as file:
        yield file


@contextmanager
def _read(path: Path) -> Iterator[Iterator[bytes]]:
    """Yield the lines of a file, which may be packed."""
    import pyarrow

    try:
        with io.BufferedReader(pyarrow.input_stream(str(path), compression=_PACKED.get(path.suffix))) as file:
            yield iter(file)
    except OSError as e:
        raise InputError(f"{str(path)!r} cannot be read: {e.strerror or e}") from e
