"""Chooses rows as a step of its own, or compares the selectors on one domain: `select`.

`balance` chooses for every domain within a budget, stage by stage; `select` takes a number of rows per domain, asks no
teacher, and commits the choice. With `compare` it commits nothing and measures every selector beside `random`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from curate import progress
from curate.errors import InputError, UnknownNameError
from curate.manifest.chats import conversations
from curate.manifest.manifest import Manifest, load
from curate.manifest.rows import comparable_scores, count_labels, is_usable_real, not_chosen, per_label, several_labels
from curate.selection.base import POOL, Selection, selectors
from curate.selection.measures import measure
from curate.selection.pools import filling_order, label_view
from curate.selection.selectors import choose, choose_each
from curate.selection.settings import SelectSettings
from curate.settings import takes
from curate.vectors import embed
from curate.vectors.encoders import Encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SelectResult", "SelectorComparison", "select"]

_DRAWS = 10  # of `random`, whose figures are means with a standard deviation


@dataclass(frozen=True)
class SelectorComparison:
    """One selector's choice in one domain, measured together with the rows selected before.

    Attributes:
        selector: its name.
        coverage, farthest, diversity: as in `curate.selection.measures.Measures`; means over ten draws for ``random``.
        spread: standard deviations of those three over the draws, for ``random`` alone.
        score: mean difficulty score of the chosen rows that have one; None where none has.
        overlap: by selector, the share of the chosen rows that it chose too, 0 to 1.
        seconds: wall time of the choice, with the vectors in memory.
    """

    selector: str
    coverage: float
    farthest: float
    diversity: float
    score: float | None
    overlap: dict[str, float]
    seconds: float
    spread: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class SelectResult:
    """The rows that `select` chose.

    Attributes:
        manifest: the next version; the same one where nothing was chosen, and after a comparison.
        n: selected rows per domain that were asked for; in a comparison, rows that each selector chose.
        selector: its name.
        chosen: rows selected now, per domain; a row of several labels counts in each.
        already: rows that were selected before, per domain.
        short: rows that a domain has too few for, per domain that has.
        compared: one per selector; only in a comparison.
        rows: rows selected now, each once.
    """

    manifest: Manifest
    n: int
    selector: str
    chosen: dict[str, int]
    already: dict[str, int]
    short: dict[str, int]
    compared: tuple[SelectorComparison, ...] = field(default=())
    rows: int = 0


@takes(SelectSettings)
def select(manifest: Manifest, settings: SelectSettings) -> SelectResult:
    """Select candidates until each domain has `n` selected rows, or compare how the selectors would.

    Rows that are selected already count towards `n`, so the same command again changes nothing. A row of several labels is in the
    pool of each and counts for each once it is chosen; labels choose from the rarest to the commonest, so fewer rows may do.

    Args:
        manifest: the newest version.

    Raises:
        UnknownNameError: no such domain or selector.
        InputError: `n` is below 1, the version is not the newest, or a comparison is not of one domain with rows to choose.
    """
    if settings.n < 1:
        raise InputError(f"--n must be at least 1, got {settings.n}")
    selectors.get(settings.selector)
    rows = comparable_scores(manifest, manifest.rows())
    train = rows.filter(is_usable_real()).sort("id")
    names = _checked(settings.domains, train)
    chosen = embed.encoder_of(
        manifest, settings.encoder, precision=settings.precision, backend=settings.backend, prefix=settings.prefix
    )
    loader = _Loader(manifest, train, chosen)
    if settings.compare:
        return _compare(manifest, train, names, settings.n, settings.selector, loader, settings.seed)
    newest = load(manifest.name, root=manifest.root)
    if newest.version != manifest.version:
        raise InputError(f"select works on the newest version, {newest}, got {manifest}: leave out the version")
    ordered = filling_order(rows, names)
    return _select(manifest, train, ordered, settings.n, settings.selector, loader, settings.seed)


@dataclass
class _Loader:
    """Loads the vectors of rows by id, through the cache."""

    manifest: Manifest
    rows: pl.DataFrame
    encoder: Encoder

    def __call__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of rows, (n, d) float32 unit rows, in the order of `ids`."""
        wanted = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String})
        contents = wanted.join(self.rows.select("id", "content"), on="id", how="left", maintain_order="left")
        texts = self.manifest.contents(contents["content"], columns=["content", "prompt", "messages"])
        asked = conversations(contents.join(texts, on="content", how="left", maintain_order="left"))
        return embed.vectors(asked.to_list(), encoder=self.encoder, root=self.manifest.root)


def _checked(domains: Sequence[str] | None, train: pl.DataFrame) -> list[str]:
    known = sorted(set(per_label(train)["domain"].drop_nulls()))
    for domain in domains or ():
        if domain not in known:
            raise UnknownNameError("domain", domain, known)
    if not known:
        raise InputError("there are no real train rows to choose from")
    return known if domains is None else sorted(set(domains))


class _Parts:
    """Of each domain the pool and the rows taken from it before, with the columns of `POOL`; the rows are divided once."""

    def __init__(self, train: pl.DataFrame) -> None:
        columns, keys = [*POOL.names(), "domain", "status"], ["domain", "status"]
        self._parts = label_view(train).select(columns).partition_by(keys, as_dict=True, include_key=False, maintain_order=True)

    def of(self, domain: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the candidates and the selected rows of a domain."""
        none = pl.DataFrame(schema=POOL)
        return self._parts.get((domain, "candidate"), none), self._parts.get((domain, "selected"), none)


def _select(
    manifest: Manifest, train: pl.DataFrame, ordered: list[str], n: int, selector: Any, loader: _Loader, seed: int
) -> SelectResult:
    """Choose for one label after the other; `ordered` is in the order in which they choose."""
    name, names, parts = _name(selector), sorted(ordered), _Parts(train)
    several, shared = several_labels(train), set[str]()  # shared: rows of several labels picked so far
    kept, dropped = [], []
    with progress.step("select", len(names)) as counter:
        for group in [[domain] for domain in ordered] if several else [ordered]:  # labels that share rows choose one by one
            asked = {}
            for domain in group:
                pool, taken = parts.of(domain)
                if shared:
                    is_picked = pl.col("id").is_in(list(shared))
                    pool, taken = pool.filter(~is_picked), pl.concat([taken, pool.filter(is_picked)])
                wanted = max(0, n - taken.height)
                if wanted and pool.height:
                    asked[domain] = (pool, taken, wanted)
            for made in choose_each(asked, selector=selector, seed=seed, vectors=loader).values():
                kept.append(made.kept.select("id", "reason"))
                dropped.append(made.dropped)
                shared.update(several.keys() & set(made.kept["id"]) if several else ())
            counter.advance(len(group))
    picked = pl.concat([pl.Series("id", [], dtype=pl.String), *(rows["id"] for rows in kept)])
    before = count_labels(train.filter(status="selected"))
    now = count_labels(train.filter(pl.col("id").is_in(picked.implode())))
    already, chosen = ({domain: found.get(domain, 0) for domain in names} for found in (before, now))
    short = {domain: n - already[domain] - chosen[domain] for domain in names if already[domain] + chosen[domain] < n}
    if not kept:
        progress.note("select", f"{manifest}: every domain has {n} selected rows, or no candidate is left; nothing was committed")
        return SelectResult(manifest, n, name, chosen, already, short)
    passed_over = pl.concat(dropped).unique("id", keep="last").filter(~pl.col("id").is_in(picked.implode()))
    found = [
        pl.concat(kept).select("id", "reason", status=pl.lit("selected")),
        passed_over.select("id", reason=not_chosen(), status=pl.lit("candidate")),
    ]
    rows = manifest.rows().update(pl.concat(found), on="id", how="left", maintain_order="left")
    parameters = {"n": n, "domains": names, "selector": name, "encoder": loader.encoder.name}
    summary = {"selected": len(picked), "short": sum(short.values()), "per_domain": chosen}
    after = manifest.commit(rows, verb="select", parameters=parameters, seed=seed, summary=summary)
    return SelectResult(after, n, name, chosen, already, short, rows=len(picked))


def _compare(
    manifest: Manifest, train: pl.DataFrame, names: list[str], n: int, selector: Any, loader: _Loader, seed: int
) -> SelectResult:
    """Run every registered selector, and the one asked for, on one domain."""
    if len(names) != 1:
        raise InputError(f"--compare is of one domain, and there are {len(names)}: name it with --domain, such as {names[0]!r}")
    (domain,) = names
    pool, taken = _Parts(train).of(domain)
    wanted = min(n - taken.height, pool.height)
    if wanted < 1:
        raise InputError(
            f"domain {domain!r} has {taken.height} selected rows and {pool.height} candidates: nothing to choose for --n {n}"
        )
    ids = pl.concat([pool["id"], taken["id"]])
    table = _VectorTable(ids, loader(ids.to_list()))
    others = [selector] if callable(selector) else []
    makers = {**{name: name for name in sorted(selectors.names())}, **{_name(one): one for one in others}}
    picks: dict[str, list[Selection]] = {}
    seconds: dict[str, float] = {}
    with progress.step("compare", len(makers)) as counter:
        for name, maker in makers.items():
            started = time.perf_counter()
            picks[name] = [
                choose(pool, selector=maker, n=wanted, taken=taken, seed=seed + draw, domain=domain, vectors=table)
                for draw in range(_DRAWS if name == "random" else 1)
            ]
            seconds[name] = (time.perf_counter() - started) / len(picks[name])
            counter.advance()
    lines = tuple(_line(name, picks, table, taken, pool, seconds[name]) for name in makers)
    return SelectResult(manifest, wanted, _name(selector), {}, {domain: taken.height}, {}, lines)


def _name(selector: Any) -> str:
    return selector if isinstance(selector, str) else getattr(selector, "__name__", repr(selector))


class _VectorTable:
    """The vectors of one domain in memory, by id."""

    def __init__(self, ids: pl.Series, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self._positions = {name: position for position, name in enumerate(ids)}

    def __call__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        return self.vectors[[self._positions[name] for name in ids]]

    def mask(self, ids: pl.Series) -> NDArray[np.bool_]:
        import numpy as np

        mask = np.zeros(len(self.vectors), bool)
        mask[[self._positions[name] for name in ids]] = True
        return mask


def _line(
    name: str, picks: dict[str, list[Selection]], table: _VectorTable, taken: pl.DataFrame, pool: pl.DataFrame, seconds: float
) -> SelectorComparison:
    import numpy as np

    kept = [pick.kept["id"] for pick in picks[name]]
    measures = [measure(table.vectors, table.mask(pl.concat([ids, taken["id"]]))) for ids in kept]
    figures = np.array([(m.coverage, m.farthest, m.diversity) for m in measures])
    means, deviations = figures.mean(axis=0), figures.std(axis=0, ddof=1 if len(figures) > 1 else 0)
    scores = [pool.filter(pl.col("id").is_in(ids.implode()))["score"].mean() for ids in kept]
    known = [float(score) for score in scores if isinstance(score, float)]
    return SelectorComparison(
        selector=name,
        coverage=float(means[0]),
        farthest=float(means[1]),
        diversity=float(means[2]),
        score=sum(known) / len(known) if known else None,
        overlap={other: _overlap(picks[name], picks[other]) for other in picks if other != name},
        seconds=seconds,
        spread=(float(deviations[0]), float(deviations[1]), float(deviations[2])) if len(figures) > 1 else None,
    )


def _overlap(some: list[Selection], others: list[Selection]) -> float:
    """Return the mean share of rows in common over all pairs of draws."""
    shares = [len(set(one.kept["id"]) & set(other.kept["id"])) / one.kept.height for one in some for other in others]
    return sum(shares) / len(shares)
