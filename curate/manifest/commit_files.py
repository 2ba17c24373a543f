"""The commit files of a Delta table on a local disk: which are there, what they say, which are damaged, and a copy of it.

Delta may remove commit files (its default is after 30 days), and with them who did what. What they say is therefore kept a
second time, in `KEPT` beside the tables, which no rule of Delta reaches. Knows files, no table and no rows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curate.errors import ManifestError
from curate.files import sync_to_disk, write_whole

__all__ = ["KEPT", "check", "keep", "kept", "latest", "log_folder", "raise_damage", "read", "sync_commit", "without_folder"]

KEPT = "commits.jsonl"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\b.*\.parquet")


def log_folder(location: str) -> Path:
    """Return the folder of a table's commit files."""
    return Path(location) / "_delta_log"


def latest(location: str) -> int:
    """Return the newest version of a table by its files' names, or -1 where there is none."""
    return max(*_numbers(location, _COMMIT), *_numbers(location, _CHECKPOINT), -1, -1)


def read(location: str, *, after: int = -1) -> list[dict[str, Any]]:
    """Return what the commit files say about their commits, oldest first; one that is gone or damaged is left out.

    Args:
        location: of the table.
        after: read the commits after this version.

    Returns:
        Of each commit its ``version``, ``timestamp`` (milliseconds since 1970) and whatever its writer put beside them.
    """
    found = []
    for number, path in sorted(_numbers(location, _COMMIT).items()):
        actions = _actions(path) if number > after else None
        info = next((action["commitInfo"] for action in actions or () if isinstance(action.get("commitInfo"), dict)), None)
        if info is not None:
            found.append({"timestamp": 0, **info, "version": number})
    return found


def kept(folder: str | Path) -> list[dict[str, Any]]:
    """Return the copy of what the commits of a manifest's folder said, oldest first, in the form of `read`."""
    path = Path(folder) / KEPT
    found: dict[int, dict[str, Any]] = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        entry = _object(line)  # None for a line that a loss of power cut
        if entry is not None and isinstance(entry.get("version"), int):
            found[entry["version"]] = entry
    return [found[version] for version in sorted(found)]


def keep(folder: str | Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Add commits to the copy; a later entry of a version stands for an earlier one.

    Raises:
        OSError: the copy cannot be written.
    """
    text = "".join(json.dumps(dict(entry), ensure_ascii=False) + "\n" for entry in entries)
    path = Path(folder) / KEPT
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            text = text if file.read(1) == b"\n" else "\n" + text
        file.write(text.encode("utf-8", errors="surrogatepass"))
        file.flush()
        os.fsync(file.fileno())
    sync_to_disk(path.parent)


def without_folder(location: str) -> None:
    """Take the folder out of a table's first commit, where deltalake puts it: a table has no need of it, and may be shared.

    Raises:
        OSError: the commit file cannot be written; it is as it was.
    """
    path = log_folder(location) / f"{0:020d}.json"
    actions = _actions(path)
    if actions is None:
        return
    for action in actions:
        parameters = action.get("commitInfo", {}).get("operationParameters")
        if isinstance(parameters, dict):
            parameters.pop("location", None)
    text = "".join(json.dumps(action, ensure_ascii=False, separators=(",", ":")) + "\n" for action in actions)
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8", errors="surrogatepass"))


def sync_commit(location: str, version: int) -> None:
    """Wait until a version is on the disk: its data files, its commit file, a checkpoint made with it, and their names."""
    log = log_folder(location)
    path = log / f"{version:020d}.json"
    added = [str(action["add"]["path"]) for action in _actions(path) or () if "add" in action]
    checkpoints = [log / f"{version:020d}.checkpoint.parquet", log / "_last_checkpoint"]
    for file in (*(Path(location) / name for name in added), path, *checkpoints):
        if file.exists():  # names of ours hold nothing that Delta would have to quote
            sync_to_disk(file)
    for folder in (log, Path(location), Path(location).parent):
        sync_to_disk(folder)


def check(location: str, version: int) -> None:
    """Refuse a version of which a commit file is missing or empty: Delta reads past an empty one, and takes wrong rows.

    Raises:
        ManifestError: names the file, what can be read all the same, and the way out.
    """
    _raise(location, version, _first_damaged(location, version, parse=False))


def raise_damage(location: str, version: int, error: BaseException) -> None:
    """Say which file of a table's log Delta could not read; `error` is what Delta said.

    Raises:
        ManifestError: always; names the file and the way out, or quotes `error` where every file looks whole.
    """
    _raise(location, version, _first_damaged(location, version, parse=True))
    whole = set(range(version + 1)) <= set(_numbers(location, _COMMIT))
    checkpoint = next((path for _, path in sorted(_numbers(location, _CHECKPOINT).items(), reverse=True)), None)
    hint = ""
    if whole and (checkpoint is not None or (log_folder(location) / "_last_checkpoint").exists()):
        named = [checkpoint.name] if checkpoint else []
        away = " and ".join([*named, "_last_checkpoint"])
        hint = f"; all its commit files are there, so nothing is lost when you move away {away}"
    raise ManifestError(f"{location!r} cannot be read as a Delta table: {_first_line(error)}{hint}") from error


def _raise(location: str, version: int, found: tuple[int, str] | None) -> None:
    if found is None:
        return
    number, what = found
    readable = _readable(location)
    others = f"; versions that can be read: {_ranges(readable)}" if readable else ""
    way_out = "restore it from a backup"
    if number == version == latest(location) and what != "missing" and number - 1 in readable:
        way_out += f", or move it away: version {number - 1}, from before the command that was cut off, is then the newest"
    name = f"{number:020d}.json"
    raise ManifestError(
        f"version {version} of {location!r} cannot be read, its commit file {name!r} is {what}: {way_out}{others}"
    )


def _first_damaged(location: str, version: int, *, parse: bool) -> tuple[int, str] | None:
    """Return the number and the state of the first commit file that a version needs and that cannot be read."""
    commits = _numbers(location, _COMMIT)
    start = max((number for number in _numbers(location, _CHECKPOINT) if number <= version), default=-1)
    for number in range(start + 1, version + 1):
        path = commits.get(number)
        if path is None:
            return number, "missing"
        if path.stat().st_size == 0:
            return number, "empty"
        if parse and _actions(path) is None:
            return number, "damaged"
    return None


def _readable(location: str) -> list[int]:
    """Return the versions that can be read: each from a checkpoint, or from the first commit, on without a gap."""
    commits, checkpoints = _numbers(location, _COMMIT), _numbers(location, _CHECKPOINT)
    found = []
    unbroken = False  # up to the version before
    for number in range(min(commits, default=0), max(commits, default=-1) + 1):
        whole = number in commits and _actions(commits[number]) is not None
        unbroken = number in checkpoints or (whole and (number == 0 or unbroken))
        if unbroken:
            found.append(number)
    return found


def _numbers(location: str, pattern: re.Pattern[str]) -> dict[int, Path]:
    """Return version → file, of the files of a log whose names match."""
    try:
        names = [path.name for path in log_folder(location).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(found[1]): log_folder(location) / name for name in names if (found := pattern.fullmatch(name))}


def _actions(path: Path) -> list[dict[str, Any]] | None:
    """Return the actions of a commit file, one a line; None where it cannot be read."""
    try:
        lines = [_object(line) for line in path.read_bytes().split(b"\n") if line.strip()]
    except OSError:
        return None
    found = [line for line in lines if line is not None]
    return found if found and len(found) == len(lines) else None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _ranges(numbers: Iterable[int]) -> str:
    """Return sorted numbers as text, such as ``"0 to 3 and 99"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else "none"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
