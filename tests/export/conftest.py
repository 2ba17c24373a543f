"""The manifest to export of `tests.support.to_export`, as fixtures."""

from tests.support.to_export import candidates, selected

__all__ = ["candidates", "selected"]
