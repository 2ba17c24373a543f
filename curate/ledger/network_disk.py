"""Tells whether a path lies on a disk of this machine or on a network file system. Writes nothing.

SQLite's write-ahead log keeps its index in memory that all processes share, which two machines do not
(https://sqlite.org/wal.html); so a ledger on a network file system is written another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from curate import progress

__all__ = ["network_kind", "warn"]

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ncpfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre"),
    *("beegfs", "ocfs2", "orangefs", "pvfs2", "wekafs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "fuse.davfs"),
}


def network_kind(path: str | Path, *, mounts: Iterable[tuple[str, str]] | None = None) -> str | None:
    """Return the kind of network file system that a path lies on, such as ``"nfs4"``; None where it is local or unknown.

    Args:
        path: of a file or folder, which need not exist yet.
        mounts: (mount point, kind) in the order of mounting; those of this machine unless given.
    """
    resolved, depth, found = Path(path).resolve(), -1, ""
    for point, kind in _mounted() if mounts is None else mounts:
        parts = Path(point).parts
        if resolved.is_relative_to(point) and len(parts) >= depth:  # of two mounts at one point the later hides the other
            depth, found = len(parts), kind
    return found if found in _NETWORK else None


def _mounted() -> list[tuple[str, str]]:
    import psutil

    try:
        return [(disk.mountpoint, disk.fstype) for disk in psutil.disk_partitions(all=True)]
    except OSError:  # no table of mounts, as in some containers
        return []


def warn(path: str | Path, *, mounts: Iterable[tuple[str, str]] | None = None) -> None:
    """Tell the user what is different about a ledger at `path`; nothing where it is on a disk of this machine."""
    kind = network_kind(path, mounts=mounts)
    if kind is not None:
        progress.note(
            "ledger",
            f"it is on a network file system ({kind}) and is written with a rollback journal: slower, and for one machine "
            "at a time; a --root on a local disk is quicker, and curate ledger-export moves the replies",
        )
