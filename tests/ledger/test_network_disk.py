from pathlib import Path
from types import SimpleNamespace

import pytest

from curate.ledger.network_disk import network_kind, warn
from curate.progress import Event, listen

MOUNTS = [
    ("/proc", "proc"),
    ("/", "ext4"),
    ("/home", "nfs4"),
    ("/home/local", "xfs"),
    ("/My Share", "cifs"),
    ("/later", "ext4"),
    ("/later", "fuse.sshfs"),
    ("/lustre", "lustre"),
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc", None),
        ("/home/me/project/manifests", "nfs4"),
        ("/home", "nfs4"),
        ("/home/local/project", None),
        ("/homes", None),
        ("/My Share/project", "cifs"),
        ("/later/x", "fuse.sshfs"),
        ("/lustre/x", "lustre"),
    ],
)
def test_the_deepest_and_latest_mount_says_what_a_path_lies_on(path: str, kind: str | None) -> None:
    assert network_kind(path, mounts=MOUNTS) == kind


def test_the_user_is_told_of_a_network_and_of_a_disk_is_not() -> None:
    heard: list[Event] = []
    with listen(heard.append):
        warn("/etc", mounts=MOUNTS)
        warn("/home/x", mounts=MOUNTS)
    assert len(heard) == 1
    assert "network file system (nfs4)" in heard[0].message
    assert "for one machine at a time" in heard[0].message


def test_without_mounts_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError("/proc/self/mounts")

    assert network_kind("/home", mounts=[]) is None
    monkeypatch.setattr("psutil.disk_partitions", refuse)
    assert network_kind("/home") is None


def test_this_machine_has_mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs")]
    monkeypatch.setattr("psutil.disk_partitions", lambda **options: found if options == {"all": True} else [])
    assert network_kind(tmp_path / "manifests" / "ledger.sqlite") == "nfs"
    assert network_kind("/elsewhere") is None
