"""The table of rows: what a row is, how a version is written, and what its columns mean.

Imports no other folder of `curate`. A new rule about rows goes into `rows`, a new column into `schema`.
"""

from __future__ import annotations

from curate.manifest.manifest import Commit, Manifest, load, names, new, split_reference

__all__ = ["Commit", "Manifest", "load", "names", "new", "split_reference"]
