"""Estimates where one more example helps a student most, from its results on validation rows; the policy `need` uses it.

Two things make a raw error rate a bad guide: in a tail domain it is measured on a handful of rows, and a domain that had
many examples already gains less from one more. So the error rate is shrunk (`error_rates`), and divided by the examples that
the domain has had (`shares`). All arithmetic is exact, on fractions of counts: the order of the domains never matters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from curate.errors import InputError

__all__ = ["DomainResult", "error_rates", "read", "shares"]

SPLIT = "validation"  # what steers training may look at validation rows, never at test rows
MAX_STRENGTH = Fraction(1000)  # rows that the common rate counts for, where chance explains every difference


@dataclass(frozen=True)
class DomainResult:
    """A student's answers to the validation rows of one domain.

    Attributes:
        n: rows that it answered.
        correct: answers that are right.
    """

    n: int
    correct: int


def read(metrics: str | Path | Mapping[str, Any] | None) -> dict[str, DomainResult] | None:
    """Return the results of an evaluation per domain, sorted by domain; None for None.

    Args:
        metrics: a file that ``baldistill evaluate NAME --split validation --json`` wrote, or the same as a mapping: ``split``
            and ``domains``, a list of ``{domain, n, correct}``; where rows have several labels ``labels``, the same with a row
            counted for each of its labels, which goes before. Further keys are ignored.

    Raises:
        InputError: it cannot be read, is of another split, or holds something else.
    """
    if metrics is None:
        return None
    what = "metrics" if isinstance(metrics, Mapping) else f"metrics {Path(metrics).name!r}"
    found = metrics if isinstance(metrics, Mapping) else _load(Path(metrics), what)
    if not isinstance(found, Mapping) or not isinstance(found.get("domains"), list | tuple):
        raise InputError(f"{what}: 'domains' is missing; write the file with: baldistill evaluate NAME --split validation --json")
    labels = found.get("labels")
    lines = labels if isinstance(labels, list | tuple) and labels else found["domains"]
    if found.get("split") != SPLIT:
        raise InputError(f"{what}: must be of split 'validation', got {found.get('split')!r}; test rows never steer a stage")
    results = dict(_domain_result(line, what) for line in lines)
    if len(results) != len(lines):
        raise InputError(f"{what}: a domain comes twice in 'domains'; give each one line")
    return dict(sorted(results.items()))


def error_rates(results: Mapping[str, DomainResult]) -> dict[str, Fraction]:
    """Return each domain's error rate, shrunk towards that of all domains, the more the fewer rows it has.

    Empirical Bayes: accuracies are draws of one Beta distribution with mean μ, and a domain's estimate is its posterior
    mean (correct + s·μ) / (n + s). The strength s, in rows, is fitted over the domains by moments (Kleinman, JASA 68, 1973): the
    spread of the accuracies beyond what so few rows show by chance gives the intra-class correlation ρ, and s = (1 − ρ)/ρ.
    Where the spread is all chance s is 1,000 rows: every domain has nearly the common rate, in the order of the raw rates.
    μ has half a row right and half a row wrong added, and s is at least 1, so that no rate is 0 or 1.

    Args:
        results: domain → its validation results; a domain with no rows gets the common rate.
    """
    rows = sum(r.n for r in results.values())
    mean = (sum(r.correct for r in results.values()) + Fraction(1, 2)) / (rows + 1)
    strength = _strength(results, rows, mean)
    return {d: 1 - (r.correct + strength * mean) / (r.n + strength) for d, r in results.items()}


def shares(results: Mapping[str, DomainResult], spent: Mapping[str, int]) -> dict[str, Fraction]:
    """Return the share of a stage that each domain needs: its error rate per example spent on it, made to sum to 1.

    Errors fall with examples as a power law, e(m) = a·m^(−β) (Hestness et al. 2017, arXiv 1712.00409). With one β for all
    domains the next example takes β·e/m off a domain's error: the gain is large where much is wrong and little was spent.
    The mean number of examples a domain has had is added to m, so that a domain with none does not take everything.

    Args:
        results: domain → its validation results; a domain that is missing has no rows.
        spent: domain → examples that the student was trained on; these domains share.
    """
    rates = error_rates({d: results.get(d, DomainResult(0, 0)) for d in spent})
    usual = max(Fraction(sum(spent.values()), len(spent)), Fraction(1))
    gains = {d: rates[d] / (m + usual) for d, m in spent.items()}
    whole = sum(gains.values())
    return {d: gain / whole for d, gain in gains.items()}


def _strength(results: Mapping[str, DomainResult], rows: int, mean: Fraction) -> Fraction:
    """Return the strength of the prior, in rows."""
    known = [r for r in results.values() if r.n]
    freedom = len(known) - 1
    if freedom < 1:
        return MAX_STRENGTH
    spread = sum(r.n * (Fraction(r.correct, r.n) - mean) ** 2 for r in known) / (mean * (1 - mean))
    # E[spread] = (1 − ρ)·freedom + ρ·effective
    effective = rows - Fraction(sum(r.n**2 for r in known), rows)
    if effective <= freedom or spread <= freedom:
        return MAX_STRENGTH
    rho = (spread - freedom) / (effective - freedom)
    return min(max(Fraction(1), (1 - rho) / rho), MAX_STRENGTH)


def _load(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{what} cannot be read: {e.strerror}; name a file of baldistill evaluate --json") from e
    except ValueError as e:
        raise InputError(f"{what} is not JSON: {e}; write it with: baldistill evaluate NAME --split validation --json") from e


def _domain_result(line: Any, what: str) -> tuple[str, DomainResult]:
    if not isinstance(line, Mapping) or not isinstance(line.get("domain"), str):
        raise InputError(f"{what}: every line of 'domains' needs domain, n and correct, got {line!r}")
    n, correct = line.get("n"), line.get("correct")
    if not isinstance(n, int) or not isinstance(correct, int) or not 0 <= correct <= n:
        raise InputError(f"{what}: domain {line['domain']!r} needs whole numbers 0 ≤ correct ≤ n, got {correct!r} of {n!r}")
    return line["domain"], DomainResult(n, correct)
