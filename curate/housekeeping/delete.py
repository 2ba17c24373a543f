"""`curate delete`: removes a whole manifest, and nothing else: no reply, no run, no other manifest."""

from __future__ import annotations

from dataclasses import dataclass

from curate.errors import InputError
from curate.files import find_root
from curate.housekeeping.listing import ListedManifest, describe
from curate.housekeeping.rename import check_idle
from curate.housekeeping.settings import DeleteSettings
from curate.ledger.ledger import existing_ledger
from curate.ledger.records import Charged
from curate.manifest import folders
from curate.report.runs import runs_of
from curate.settings import takes

__all__ = ["DeleteResult", "delete"]


@dataclass(frozen=True)
class DeleteResult:
    """What `delete` removed, and what is left of it.

    Attributes:
        removed: the manifest as it was listed.
        charged: what the ledger keeps: a new manifest of this name counts it against its caps.
        runs: run records whose snapshots say this name.
    """

    removed: ListedManifest
    charged: Charged
    runs: tuple[str, ...]


@takes(DeleteSettings)
def delete(target: str, settings: DeleteSettings) -> DeleteResult:
    """Remove a manifest: all its versions, tags and texts. The ledger keeps every reply that was bought for it.

    Args:
        target: name of the manifest.

    Raises:
        InputError: `yes` is not given, the name breaks the rule for names, or a command is at work on the manifest.
        ManifestNotFoundError: there is no manifest of that name.
        ManifestError: the root is a URL, or the folder cannot be removed; nothing was changed.
    """
    home = find_root(settings.root)
    folder = folders.find_folder(target, root=home)
    if not settings.yes:
        raise InputError(f"{target!r} was not deleted: say that it shall be with --yes, as in: curate delete {target} --yes")
    found = describe(target, root=home)
    ledger = existing_ledger(home)
    try:
        check_idle(ledger, target)
        folders.remove(folder)
        return DeleteResult(found, Charged() if ledger is None else ledger.charged(target), runs_of(home, target))
    finally:
        if ledger is not None:
            ledger.close()
