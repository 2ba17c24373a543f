"""`curate rename`: gives a manifest another name, and moves what is charged to it along.

The ledger and the folder cannot change in one step. The new name is charged first, then the folder gets its name, then the ledger
moves; so the caps count everything whatever stops the command, and the same command finishes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from curate.errors import InputError
from curate.files import find_root
from curate.housekeeping.settings import RenameSettings
from curate.ledger import names as charges
from curate.ledger.ledger import Ledger, existing_ledger
from curate.ledger.records import Charged
from curate.manifest import folders
from curate.manifest.manifest import Manifest, load
from curate.report.runs import runs_of
from curate.settings import takes

__all__ = ["RenameResult", "check_idle", "rename"]


@dataclass(frozen=True)
class RenameResult:
    """What `rename` did.

    Attributes:
        manifest: the newest version, under the new name.
        old: the name that it had.
        moved: attempts in the ledger that were charged to the old name and are charged to the new one now.
        charged: everything charged to the new name.
        before: what of that had been charged to the new name already, by a manifest that is gone.
        runs: run records whose snapshots say the old name; they are understood as this manifest's.
        finished: whether the manifest had its new name already, and what an earlier command left undone was done now.
    """

    manifest: Manifest
    old: str
    moved: int
    charged: Charged
    before: Charged
    runs: tuple[str, ...]
    finished: bool = False


@takes(RenameSettings)
def rename(old: str, settings: RenameSettings) -> RenameResult:
    """Give a manifest another name; what is charged to it counts against its caps as before.

    A rename that was interrupted is finished by the same call.

    Args:
        old: name of the manifest.

    Raises:
        InputError: a name breaks the rule for names, the new one is taken, or a command is at work on the manifest.
        ManifestNotFoundError: there is no manifest of the old name.
        ManifestError: the root is a URL, or the manifest cannot be read or renamed; it is as it was.
    """
    home = find_root(settings.root)
    ledger = existing_ledger(home)
    try:
        if (there := _renamed_before(old, settings.new, home)) is not None:
            return _finish(old, there, ledger, Charged(), finished=True)
        folder, target = folders.find_folder(old, root=home), folders.free_folder(settings.new, root=home)
        version = load(old, root=home).version
        check_idle(ledger, old)
        before = Charged() if ledger is None else ledger.charged(settings.new)
        if ledger is not None:
            charges.cover(ledger, old, settings.new)
        folders.move(folder, target)
        return _finish(old, Manifest(settings.new, version, home), ledger, before)
    finally:
        if ledger is not None:
            ledger.close()


def check_idle(ledger: Ledger | None, name: str) -> None:
    """Refuse a manifest that a running command pays for.

    Raises:
        InputError: calls of it are in flight.
    """
    if ledger is not None and charges.is_at_work(ledger, name):
        raise InputError(f"a command is at work on {name!r} and has calls in flight: wait until it has ended, or stop it first")


def _renamed_before(old: str, new: str, root: str) -> Manifest | None:
    """Return the manifest of the new name where it is the one that had the old name, and nothing has that now."""
    folder, target = folders.folder_of(old, root=root), folders.folder_of(new, root=root)
    if folder.exists() or old not in folders.former_names(target):
        return None
    return load(new, root=root)


def _finish(old: str, manifest: Manifest, ledger: Ledger | None, before: Charged, *, finished: bool = False) -> RenameResult:
    """Move the charges, and say what still has the old name."""
    moved = 0 if ledger is None else charges.move(ledger, old, manifest.name)
    charged = Charged() if ledger is None else ledger.charged(manifest.name)
    return RenameResult(manifest, old, moved, charged, before, runs_of(manifest.root, old), finished)
