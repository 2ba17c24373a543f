"""Owns two small readings of a manifest: its log and its tags. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from curate.manifest.manifest import Commit, Manifest

__all__ = ["Log", "Tags", "log", "tags"]


@dataclass(frozen=True)
class Log:
    """What was done to a manifest.

    Attributes:
        manifest: up to which version.
        commits: oldest first.
        tags: version → the tags that name it.
    """

    manifest: Manifest
    commits: tuple[Commit, ...]
    tags: dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class Tags:
    """The tags of a manifest.

    Attributes:
        manifest: whose tags they are.
        tags: tag → version.
    """

    manifest: Manifest
    tags: dict[str, int]


def log(manifest: Manifest) -> Log:
    """Return the commits up to a version, oldest first, and which tags name them.

    Args:
        manifest: the version to stop at.
    """
    named: dict[int, tuple[str, ...]] = {}
    if "://" not in manifest.root:  # tags live beside a local root alone
        for tag, version in sorted(manifest.tags().items()):
            named[version] = (*named.get(version, ()), tag)
    return Log(manifest, tuple(manifest.log()), named)


def tags(manifest: Manifest) -> Tags:
    """Return the tags of a manifest, of every version.

    Args:
        manifest: any version of it.
    """
    return Tags(manifest, manifest.tags())
