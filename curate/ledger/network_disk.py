"""Owns the question where a folder lies: on this machine, or on a network. Writes nothing.

SQLite's write-ahead log keeps its index in memory that all processes share, which two machines do not
(https://sqlite.org/wal.html); so a ledger on a network file system is written another way. The mount table is Linux's
``/proc/self/mountinfo`` (https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html); elsewhere nobody knows.
"""

from __future__ import annotations

import re
from pathlib import Path

from curate import progress

__all__ = ["MOUNTS", "network_kind", "warn"]

MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ncpfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre"),
    *("beegfs", "ocfs2", "orangefs", "pvfs2", "wekafs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "fuse.davfs"),
}
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the table writes spaces, tabs and backslashes


def network_kind(path: str | Path, *, mounts: str | Path = MOUNTS) -> str | None:
    """Return the kind of network file system that a path lies on, such as ``"nfs4"``; None where it is local or unknown.

    Args:
        path: of a file or folder, which need not exist yet.
        mounts: a mount table in the form of ``/proc/self/mountinfo``.
    """
    try:
        table = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    place, depth, kind = Path(path).resolve(), -1, ""
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5:
            continue
        point = Path(_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        if place.is_relative_to(point) and len(point.parts) >= depth:  # of two mounts at one place the later hides the other
            depth, kind = len(point.parts), kinds[0]
    return kind if kind in _NETWORK else None


def warn(path: str | Path, *, mounts: str | Path = MOUNTS) -> None:
    """Tell the user what is different about a ledger at `path`; nothing where it is on a disk of this machine."""
    kind = network_kind(path, mounts=mounts)
    if kind is not None:
        progress.note(
            "ledger",
            f"it lies on a network file system ({kind}) and is written with a rollback journal: slower, and one machine may ask "
            "at a time; a --root on a local disk is quicker, and curate ledger-export moves the answers",
        )
