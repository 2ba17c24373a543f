"""`curate restore`: makes an old version the newest again. Nothing is lost: the versions between stay in the log."""

from __future__ import annotations

from dataclasses import dataclass

from curate import progress
from curate.manifest.history import diff
from curate.manifest.manifest import Manifest, load

__all__ = ["RestoreResult", "restore"]


@dataclass(frozen=True)
class RestoreResult:
    """What `restore` did.

    Attributes:
        manifest: the next version; the same one where the old version is the newest.
        restored: the version that it is equal to.
        added, gone, changed: rows, against the newest version before.
    """

    manifest: Manifest
    restored: Manifest
    added: int = 0
    gone: int = 0
    changed: int = 0


def restore(manifest: Manifest) -> RestoreResult:
    """Commit an old version again, as the newest.

    It stands on the old version (`Manifest.lineage`), so what came after that is undone: stages of `balance` that were done
    later are done again when they are asked for, at no cost where the ledger has their replies.

    Args:
        manifest: the version to restore.

    Raises:
        ConflictError: another command committed meanwhile; nothing was written.
    """
    newest = load(manifest.name, root=manifest.root)
    last = newest.log()[-1]
    if newest.version == manifest.version:
        example = f", as in: curate restore {manifest.name}@{max(0, manifest.version - 1)}"
        progress.note("restore", f"{manifest} is the newest version, nothing was committed; name an older one{example}")
        return RestoreResult(newest, manifest)
    if last.verb == "restore" and last.summary["base"] == manifest.version:
        progress.note("restore", f"{newest} is {manifest} restored already, nothing was committed")
        return RestoreResult(newest, manifest)
    found = diff(manifest, old=newest)
    figures = {"added": found.added, "gone": found.gone, "changed": found.changed}
    after = newest.commit(
        manifest.rows(), verb="restore", parameters={"version": manifest.version}, summary={"base": manifest.version, **figures}
    )
    return RestoreResult(after, manifest, **figures)
