"""Chooses how the students of a run's stages are combined, by their answers to validation rows: `make_soup`.

The students of K stages learned from sets that go from natural to even, so they are models of varying imbalance; a weighted
sum of their adapters lies between them (LT-Soups, arXiv 2511.10683). It needs no training and no teacher. Test rows are never
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from baldistill.evaluation import evaluate
from baldistill.student import soup
from curate import progress
from curate.errors import InputError
from curate.manifest.manifest import Manifest

__all__ = ["AIMS", "SoupResult", "make_soup", "mixtures"]

AIMS = ("macro", "micro", "both")
_MOST = 21  # mixtures that are tried; each answers all validation rows
_STEPS = (6, 5, 4, 3, 2, 1)  # parts of the whole that a weight is made of, the finest that gives no more than that


@dataclass(frozen=True)
class SoupResult:
    """An adapter made of the adapters of several stages.

    Attributes:
        manifest: whose validation rows were answered.
        adapter: its folder.
        weights: of the stages, summing to 1.
        tried: the mixtures that were tried, ``{weights, macro, micro}`` each, the best first.
    """

    manifest: Manifest
    adapter: Path
    weights: tuple[float, ...]
    tried: tuple[dict[str, Any], ...]


def make_soup(
    manifest: Manifest, adapters: Sequence[Path], output: Path, *, aim: str = "macro", split: str = "validation", **options: Any
) -> SoupResult:
    """Combine adapters with the weights that do best on held-out rows, and write the one that comes of it.

    Args:
        manifest: whose rows are asked.
        adapters: of the stages, in their order.
        output: the folder to write.
        aim: ``macro`` (each domain counts once), ``micro`` (each row), or ``both``, their mean.
        split: that the weights are chosen on; never ``test``.
        options: of `baldistill.evaluation.evaluate.evaluate`; its ``split`` and ``limit`` do not apply here.

    Raises:
        InputError: there is one adapter alone, the aim is another one, or there are no such rows.
        ModelError: the adapters cannot be added up.
    """
    if len(adapters) < 2:
        raise InputError("a soup needs the adapters of at least two stages; run the plan with stages = 2 or more")
    if aim not in AIMS:
        raise InputError(f"aim {aim!r}: use one of {', '.join(AIMS)}")
    if split == "test":
        raise InputError("the weights of a soup are never chosen on test rows; use validation rows: [ingest] holdout = 0.05")
    asked = {name: value for name, value in options.items() if name not in ("split", "limit", "output", "adapter")}
    tried: list[dict[str, Any]] = []
    progress.note("soup", f"{len(mixtures(len(adapters)))} mixtures of {len(adapters)} stages are tried on {split} rows")
    with TemporaryDirectory(prefix="soup-") as folder:
        for weights in mixtures(len(adapters)):
            part = soup.combine(adapters, weights, Path(folder) / "adapter")
            found = evaluate.evaluate(manifest, **asked, adapter=part, split=split)
            tried.append({"weights": list(weights), "macro": found.macro.value, "micro": found.micro.value})
    # Among equals the one nearest to an even mixture, which leans least on a chance of the validation rows.
    best = sorted(tried, key=lambda each: (-_worth(each, aim), sum(weight**2 for weight in each["weights"])))
    soup.combine(adapters, best[0]["weights"], output)
    return SoupResult(manifest, output, tuple(best[0]["weights"]), tuple(best))


def mixtures(n: int) -> list[tuple[float, ...]]:
    """Return the weights that are tried for `n` stages: all that are made of equal parts, no more than `_MOST` of them.

    Each sums to 1, and every stage alone is among them.
    """
    parts = next((parts for parts in _STEPS if comb(parts + n - 1, n - 1) <= _MOST), 1)
    found = []
    for bars in combinations(range(parts + n - 1), n - 1):
        edges = (-1, *bars, parts + n - 1)
        found.append(tuple((right - left - 1) / parts for left, right in pairwise(edges)))
    return found


def _worth(each: dict[str, Any], aim: str) -> float:
    return float((each["macro"] + each["micro"]) / 2 if aim == "both" else each[aim])
