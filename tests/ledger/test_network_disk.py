from pathlib import Path

import pytest

from curate.ledger.network_disk import network_kind, warn
from curate.progress import Event, listen

TABLE = r"""22 28 0:21 / /proc rw,nosuid - proc proc rw
28 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 28 0:40 / /home rw,relatime shared:3 - nfs4 server:/home rw,vers=4.2
41 40 8:1 / /home/local rw - xfs /dev/sda1 rw
42 28 0:41 / /My\040Share rw - cifs //server/share rw
43 28 0:42 / /later rw - ext4 /dev/sdb rw
44 28 0:43 / /later rw - fuse.sshfs me@server:/ rw
45 28 0:44 /sub /lustre master:1 rw - lustre mds:/ rw
broken line
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return path


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
def test_the_deepest_and_latest_mount_says_what_a_path_lies_on(mounts: Path, path: str, kind: str | None) -> None:
    assert network_kind(path, mounts=mounts) == kind


def test_the_user_is_told_of_a_network_and_of_a_disk_is_not(mounts: Path) -> None:
    heard: list[Event] = []
    with listen(heard.append):
        warn("/etc", mounts=mounts)
        warn("/home/x", mounts=mounts)
    assert len(heard) == 1
    assert "network file system (nfs4)" in heard[0].message
    assert "one machine may ask at a time" in heard[0].message


def test_without_a_mount_table_nobody_knows(tmp_path: Path) -> None:
    assert network_kind("/home", mounts=tmp_path / "none") is None
