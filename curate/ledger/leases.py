"""Owns the question who is still at work: names of processes, whether one is alive, how long one is doubted. Writes nothing."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

__all__ = ["LeaseMonitor", "is_alive", "machine", "this_process"]


_FARTHEST = 3600.0  # seconds; a lease that ends later was measured by a clock that has been set back since


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
    if not now < lease <= now + _FARTHEST:
        return False
    return _runs_here(owner) is not False


class LeaseMonitor:
    """Tells who is gone for good, however the clock jumps that leases are measured by, and however long a machine slept.

    Args:
        patience: seconds that a process which is still there may leave a lease that has run out as it is.
        steady: a clock that never jumps, in seconds.
    """

    def __init__(self, patience: float, steady: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._steady = patience, steady
        self._doubts: dict[int, tuple[float, float]] = {}  # attempt → its lease, and since when that has looked run out

    def is_gone(self, attempt: int, owner: str, lease: float, now: float) -> bool:
        """Tell whether the owner of an attempt works no more; who is there and renews its lease again is not gone."""
        if is_alive(owner, lease, now):
            return False
        if not _runs_here(owner):
            return True
        doubted, since = self._doubts.setdefault(attempt, (lease, self._steady()))
        if doubted != lease:
            self._doubts[attempt] = (lease, self._steady())
            return False
        return self._steady() - since >= self._patience


def _runs_here(owner: str) -> bool | None:
    """Tell whether the process is there; None where it cannot be seen from here: another machine, another container."""
    host, pid, started = json.loads(owner)
    if host != socket.gethostname() or os.name != "posix" or started.rpartition(":")[0] != _view():
        return None
    return _exists(pid) and _started(pid) == started


@lru_cache
def _name(pid: int) -> str:
    return json.dumps([socket.gethostname(), pid, _started(pid)])


def machine(owner: str) -> str:
    """Return the machine of an owner, a name from `this_process`."""
    return str(json.loads(owner)[0])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing; asks whether the process is there
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """Return when a process started, so that a number used again is not taken for it; "" if it ended or nobody can tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else f"{_view()}:{fields[18]}"


@lru_cache
def _view() -> str:
    """Return what tells apart the sets of processes that machines of one name can see: since which boot, in which container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
