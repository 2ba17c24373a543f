"""Reads licences as sources were ingested with them: the Hub's identifiers, and what does not go together. Invents none.

The only importer of license-expression. What is said of two licences is a table, `_RULES`, with the page that says it; it is no
legal advice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

from curate.cards.markup import clean

__all__ = ["Conflict", "Licences", "read_licences"]

# What the Hub takes for `license` (https://huggingface.co/docs/hub/repositories-licenses).
_HUB = frozenset(
    (
        *("apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0"),
        *("bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause"),
        *("bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
        *("cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0"),
        *("etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1"),
        *("lgpl-3.0", "isc", "h-research", "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0"),
        *("odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl"),
        *("lgpl-lr", "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1"),
        *("llama3.2", "llama3.3", "llama4", "grok2-community", "gemma"),
    )
)
# Where the Hub's identifier is not SPDX's in small letters.
_SHORTER = {"c-uda-1.0": "c-uda", "odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}
_VARIANTS = ("-only", "-or-later", "+")
_LONGEST = 200  # characters of a licence that is parsed
_CC_CHART = "https://wiki.creativecommons.org/wiki/Wiki/cc_license_compatibility"
_CC_FAQ = "https://creativecommons.org/faq/"
_CC_LIST = "https://creativecommons.org/compatiblelicenses/"
_GNU_LIST = "https://www.gnu.org/licenses/license-list.html"
_ODBL = "https://opendatacommons.org/licenses/odbl/summary/"


@dataclass(frozen=True)
class Conflict:
    """Two licences, what is said of them together, and where.

    Attributes:
        licences: their identifiers; one where it says something of the whole by itself.
        about: one sentence of ours.
        page: the address that says so.
    """

    licences: tuple[str, ...]
    about: str
    page: str


@dataclass(frozen=True)
class Licences:
    """The licences of a data set.

    Attributes:
        stated: as they were given, each once, sorted.
        metadata: the fields of a card's header; empty unless every source has a licence.
        missing: how many sources have none.
        unknown: those that the Hub has no identifier for, as given.
        choices: expressions with OR, as given: one of their licences may be chosen.
        conflicts: what does not go together, or binds the whole.
    """

    stated: tuple[str, ...]
    metadata: dict[str, Any]
    missing: int
    unknown: tuple[str, ...]
    choices: tuple[str, ...]
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True)
class _Reading:
    """One licence as it was given: the Hub's identifiers in it, whether they are alternatives, and whether all of it is known."""

    identifiers: tuple[str, ...]
    is_choice: bool = False
    is_known: bool = True


def read_licences(given: Sequence[str | None]) -> Licences:
    """Return what the licences of all sources come to.

    Args:
        given: per source its licence: an SPDX expression, an identifier of the Hub, any other name, or None.
    """
    names = [clean(name) if name else "" for name in given]
    stated = tuple(sorted({name for name in names if name}))
    readings = {name: _read(name) for name in stated}
    unknown = tuple(name for name in stated if not readings[name].is_known)
    identifiers = sorted({one for reading in readings.values() for one in reading.identifiers})
    metadata: dict[str, Any] = {}
    if names and all(names):
        metadata = {"license": "other", "license_name": " and ".join(stated)} if unknown else {"license": identifiers}
    bound = {name: readings[name].identifiers for name in stated if not readings[name].is_choice}
    return Licences(
        stated=stated,
        metadata=metadata,
        missing=sum(not name for name in names),
        unknown=unknown,
        choices=tuple(name for name in stated if readings[name].is_choice),
        conflicts=_conflicts(sorted({one for each in bound.values() for one in each})),
    )


def _read(name: str) -> _Reading:
    hub = _hub_identifier(name)
    if hub is not None:
        return _Reading((hub,))
    from license_expression import ExpressionError, ParseError

    try:
        parsed = _spdx().parse(name) if len(name) <= _LONGEST else None
        keys = [] if parsed is None else [str(each.render()) for each in _spdx().license_symbols(parsed, decompose=False)]
    except (ExpressionError, ParseError):
        keys = []
    identifiers = [_hub_identifier(key) for key in keys]
    return _Reading(
        tuple(sorted({each for each in identifiers if each is not None})),
        is_choice=bool(keys) and " OR " in str(parsed),
        is_known=bool(identifiers) and None not in identifiers,
    )


@lru_cache(maxsize=1)
def _spdx() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _hub_identifier(name: str) -> str | None:
    """Return the Hub's identifier of one licence; None where it has none."""
    small = name.lower()
    if small in _HUB:
        return small
    for variant in _VARIANTS:
        small = small.removesuffix(variant)
    small = "gfdl" if small.startswith("gfdl-1.") else _SHORTER.get(small, small)
    return small if small in _HUB else None


def _family(licence: str) -> str:
    """Return what kind of terms a licence has, as far as `_RULES` tells them apart."""
    if licence.startswith("cc-by"):
        parts = licence.split("-")
        return "-".join(part for part in parts if part in ("by", "nc", "nd", "sa"))
    return licence.rpartition("-")[0] if licence.startswith(("gpl-", "agpl-", "lgpl-")) else licence


def _conflicts(identifiers: Sequence[str]) -> tuple[Conflict, ...]:
    found = []
    for a, b in combinations(identifiers, 2):
        rule = next((rule for rule in _RULES if _matches(rule, a, b)), None)
        if rule is not None:
            found.append(Conflict((a, b), rule[2], rule[3]))
    for licence in identifiers if len(identifiers) > 1 else ():
        told = _ALONE.get(_family(licence))
        found += [Conflict((licence,), *told)] if told else []
    return tuple(found)


def _matches(rule: tuple[frozenset[str], frozenset[str], str, str], a: str, b: str) -> bool:
    first, second = {a, _family(a)}, {b, _family(b)}
    if _family(a) == _family(b):
        return False
    return bool((first & rule[0] and second & rule[1]) or (second & rule[0] and first & rule[1]))


_CC = frozenset({"by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd", "cc0-1.0"})
_NC = frozenset({"by-nc", "by-nc-sa", "by-nc-nd"})
_ND = frozenset({"by-nd", "by-nc-nd"})
_GNU = frozenset({"gpl", "agpl", "lgpl", "gfdl"})
_SHARED_ALIKE = frozenset({"by-sa", "by-nc-sa", "odbl", "cdla-sharing-1.0", *_GNU})

# (families or identifiers, those beside them, what is said of the two, where); the first that matches a pair is taken.
_RULES: tuple[tuple[frozenset[str], frozenset[str], str, str], ...] = (
    (
        _ND,
        _CC - _ND,
        "NoDerivatives: what is made of it and of anything else may not be shared",
        _CC_CHART,
    ),
    (_GNU, _NC | _ND, "the GNU list calls NonCommercial and NoDerivatives licences not free, and so not compatible", _GNU_LIST),
    (
        frozenset({"by-sa"}),
        frozenset({"by-nc", "by-nc-sa"}),
        "ShareAlike asks for the same terms, which NonCommercial is not: the chart has no licence for the two in one work",
        _CC_CHART,
    ),
    (frozenset({"gpl-2.0"}), frozenset({"apache-2.0"}), "the GNU list calls them not compatible (version 3 is)", _GNU_LIST),
    (frozenset({"gpl", "lgpl", "agpl"}), frozenset({"by-sa"}), "one way alone: CC BY-SA 4.0 may go into GPL version 3", _CC_LIST),
    (
        _SHARED_ALIKE,
        _SHARED_ALIKE,
        "each asks for its own terms for what is made of it, and no page says that they agree",
        _CC_LIST,
    ),
)
# What one licence says of the whole.
_ALONE = {
    **dict.fromkeys(_NC, ("no commercial use of what is made with it, whatever the other licences allow", _CC_FAQ)),
    "by-nd": ("nothing adapted from it may be shared; whether a selection with new rows is adapted, a lawyer says", _CC_FAQ),
    "by-sa": ("what is adapted from it is to be shared under the same licence", _CC_FAQ),
    "odbl": ("a database made of it is to be shared under the same licence", _ODBL),
    **dict.fromkeys(("gpl", "agpl"), ("what is derived from it is to be shared under the same licence", _GNU_LIST)),
}
