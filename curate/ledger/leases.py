"""Names processes, and tells whether the owner of a lease is still at work. Writes nothing."""

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
    """Return whether an owner may still be at work: its lease runs, and if it is of this machine, its process is there.

    Args:
        owner: a name from `this_process`.
        lease: end of its lease, seconds since 1970.
        now: seconds since 1970.
    """
    if not now < lease <= now + _FARTHEST:
        return False
    return _runs_here(owner) is not False


class LeaseMonitor:
    """Tells which owners are gone for good, however the clock jumps that leases are measured by, however long a machine slept.

    Args:
        patience: seconds after which a process that is still there, and has not renewed its lease that ran out, is gone.
        steady: a clock that never jumps, in seconds.
    """

    def __init__(self, patience: float, steady: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._steady = patience, steady
        self._suspects: dict[int, tuple[float, float]] = {}  # attempt → its lease, and since when that has looked run out

    def is_gone(self, attempt: int, owner: str, lease: float, now: float) -> bool:
        """Return whether the owner of an attempt is at work no more; one that renews its lease again is not gone."""
        if is_alive(owner, lease, now):
            return False
        if not _runs_here(owner):
            return True
        suspected, since = self._suspects.setdefault(attempt, (lease, self._steady()))
        if suspected != lease:
            self._suspects[attempt] = (lease, self._steady())
            return False
        return self._steady() - since >= self._patience


def _runs_here(owner: str) -> bool | None:
    """Return whether the process is there; None where it cannot be seen from here: another machine, another container."""
    import psutil

    host, pid, started = json.loads(owner)
    if host != socket.gethostname() or os.name != "posix" or started.rpartition(":")[0] != _view():
        return None
    return bool(psutil.pid_exists(pid)) and _started(pid) == started


@lru_cache
def _name(pid: int) -> str:
    return json.dumps([socket.gethostname(), pid, _started(pid)])


def machine(owner: str) -> str:
    """Return the machine of an owner, a name from `this_process`."""
    return str(json.loads(owner)[0])


def _started(pid: int) -> str:
    """Return when a process started, so that a reused number is not taken for it; "" if it ended, waited for or not.

    That is in clock ticks since the boot. The time of day at which it started is not used: it moves when the clock is set.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return ""
        since_boot = process.create_time() - psutil.boot_time()
    except psutil.Error:
        return ""
    return f"{_view()}:{round(since_boot * os.sysconf('SC_CLK_TCK'))}"


@lru_cache
def _view() -> str:
    """Return what tells apart the process numbers of machines of one name: since which boot, in which container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
