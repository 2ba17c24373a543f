"""Owns the question who is still at work: names of processes, and whether one is alive. Writes nothing."""

from __future__ import annotations

import json
import os
import socket
from functools import lru_cache
from pathlib import Path

__all__ = ["is_alive", "this_process"]


def this_process() -> str:
    """Return the name of this process: machine, number and start, as JSON."""
    return _name(os.getpid())


def is_alive(owner: str, lease: float, now: float) -> bool:
    """Tell whether an owner may still be at work: its lease runs, and if it is of this machine, its process is there.

    Args:
        owner: a name from `this_process`.
        lease: end of its lease, seconds since 1970.
        now: seconds since 1970.
    """
    host, pid, started = json.loads(owner)
    if lease <= now:
        return False
    if host != socket.gethostname() or os.name != "posix":
        return True
    return _exists(pid) and _started(pid) == started


@lru_cache
def _name(pid: int) -> str:
    return json.dumps([socket.gethostname(), pid, _started(pid)])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing; asks whether the process is there
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """Return when a process started, so that a number used again is not taken for it; "" where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
