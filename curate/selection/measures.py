"""Measures how well chosen rows represent their domain: coverage and diversity. Chooses nothing and reads no manifest.

Coverage is the mean distance of every row to the nearest chosen one, which k-median and facility location minimise.
Diversity is the Vendi score: how many rows, all different, would be as diverse as the chosen ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from curate.errors import InputError
from curate.vectors import neighbors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Measures", "measure", "vendi"]

_BLOCK = 65_536  # rows whose share of the covariance is added at a time
_NOISE = 1e-12  # an eigenvalue below this is rounding


@dataclass(frozen=True)
class Measures:
    """How well a choice represents its domain.

    Attributes:
        coverage: mean cosine distance (1 − cosine, 0 to 2) of the domain's rows to their nearest chosen row; less is better.
        farthest: the largest of these distances; less is better.
        diversity: the Vendi score of the chosen rows, from 1 (all alike) to their number (all different).
    """

    coverage: float
    farthest: float
    diversity: float


def measure(vectors: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Measures:
    """Measure a choice of rows.

    Args:
        vectors: (n, d) float32 unit rows of the whole domain.
        chosen: (n,) which of them are chosen.

    Raises:
        InputError: nothing is chosen.
    """
    kept = vectors[chosen]
    if not len(kept):
        raise InputError(f"none of {len(vectors)} rows is chosen: there is nothing to measure")
    similarity, _ = neighbors.nearest(kept, vectors, 1)
    distances = (1 - similarity[:, 0].astype("float64")).clip(min=0)
    return Measures(float(distances.mean()), float(distances.max()), vendi(kept))


def vendi(vectors: NDArray[np.float32]) -> float:
    """Return the Vendi score: exp of the entropy of the eigenvalues of K/n, with K the cosines between rows.

    Friedman and Dieng, The Vendi Score, TMLR 2023, arXiv 2210.02410. K/n has the eigenvalues of XᵀX/n and zeros, so that
    a million rows cost no more than a d × d matrix.

    Args:
        vectors: (n, d) float32 unit rows, n at least 1.
    """
    import numpy as np

    n, width = vectors.shape
    if n <= width:
        kernel = np.asarray(vectors @ vectors.T, np.float64)
    else:
        kernel = np.zeros((width, width))
        for start in range(0, n, _BLOCK):
            block = vectors[start : start + _BLOCK]
            kernel += block.T @ block
    values = np.linalg.eigvalsh(kernel / n)
    values = values[values > _NOISE]
    return float(np.exp(-(values * np.log(values)).sum()))
