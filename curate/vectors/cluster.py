"""Clusters each domain and measures centrality, and makes domains from clusters: `cluster`. Selects nothing.

Centres are trained on real train rows alone: held-out rows get no cluster, rejected rows have no influence, and synthetic rows
are assigned to their nearest centre, so that the clusters of a domain do not move when its tail is filled.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from curate import progress
from curate.errors import InputError
from curate.manifest.chats import conversations
from curate.manifest.manifest import Manifest
from curate.manifest.rows import is_usable_real
from curate.manifest.schema import AUTO
from curate.settings import takes
from curate.vectors import naming, neighbors
from curate.vectors.embed import fill_cache, load_encoder, vectors
from curate.vectors.encoders import Encoder
from curate.vectors.settings import ClusterSettings

__all__ = ["ClusterResult", "cluster", "default_clusters", "default_domains"]


_NUMBERED = rf"^{AUTO}(-\d+)?$"  # domains to be made, or made without a word or by versions that numbered them
_MAX_CLUSTERS = 1_000
_MIN_DOMAINS, _MAX_DOMAINS = 2, 20
_SAME = 1e-4  # centralities that differ by less are equal: processors differ in the last digits
_COLUMNS = ("domain", "cluster", "centrality")


@dataclass(frozen=True)
class ClusterResult:
    """The clusters that `cluster` made.

    Attributes:
        manifest: the next version; the same one where nothing changed.
        clusters: number of clusters per domain.
        rows: train rows that have a cluster.
        domains: domains made from clusters, in order of size; empty where none were asked for.
        words: the most telling words of each of those, best first; its name is made of the first ones.
        made: rows of each of those, of every split.
    """

    manifest: Manifest
    clusters: dict[str, int]
    rows: int
    domains: tuple[str, ...] = ()
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)


def default_clusters(n: int) -> int:
    """Return the number of clusters for a domain of n rows: √(n/2), rounded, from 1 to 1,000.

    The rule of thumb of Mardia, Kent and Bibby (Multivariate Analysis, 1979, page 365). A cluster then has √(2n) rows, and
    clusters and their size grow together: 7 of 14 for 100 rows, 71 of 141 for 10,000.
    """
    return max(1, min(round(math.sqrt(n / 2)), _MAX_CLUSTERS, n))


def default_domains(n: int) -> int:
    """Return the number of domains for n rows without one: √(n/2) as for clusters, but from 2 to 20.

    A person reads domains in a table and a budget is shared over them, so there are few.
    """
    return max(1, min(max(_MIN_DOMAINS, round(math.sqrt(n / 2))), _MAX_DOMAINS, n))


@takes(ClusterSettings)
def cluster(manifest: Manifest, settings: ClusterSettings) -> ClusterResult:
    """Cluster the prompts of each domain's train rows by spherical k-means and commit cluster and centrality.

    Rows that were ingested with the domain ``auto`` first get domains, also from k-means, each named by its most telling words
    such as ``oil-crude-barrels`` (`curate.vectors.naming`); centres are trained and names are made on train rows, and held-out
    rows are assigned to the nearest. When more such rows come, all made domains are made anew. The same parameters again change
    nothing and commit nothing; the order of the rows does not matter.

    Args:
        manifest: whose rows are clustered.

    Raises:
        InputError: a number below 1, no train rows, or `domains` where every row was ingested with a domain of its own.
        ModelError: the encoder cannot be loaded.
    """
    for option, value in (("n_clusters", settings.n_clusters), ("domains", settings.domains)):
        if value is not None and value < 1:
            raise InputError(f"{option} must be at least 1, got {value}")
    rows = manifest.rows()
    work = _work(manifest, rows)
    needed = (pl.col("split") == "train") | (pl.col("domain") == AUTO)  # in one pass: texts are sorted by length over all
    texts = work.filter(needed)["conversation"].to_list()
    chosen = load_encoder(
        settings.encoder,
        precision=settings.precision,
        backend=settings.backend,
        prefix=settings.prefix,
        texts=texts,
        root=manifest.root,
    )
    fill_cache(texts, encoder=chosen, root=manifest.root)
    work, words = _make_domains(work, chosen, manifest, settings.domains, settings.seed)
    made = _sizes(work, words)
    work, clusters = _cluster_domains(work, chosen, manifest.root, settings.n_clusters, settings.seed)
    changed = rows.drop(_COLUMNS).join(work.select("id", *_COLUMNS), on="id", how="left", maintain_order="left")
    done = work["cluster"].count()
    if _same(rows, changed):
        progress.note("cluster", f"{manifest}: these clusters exist already, nothing was committed")
        return ClusterResult(manifest, clusters, done, tuple(words), words, made)
    how = {"encoder": chosen.name, "precision": getattr(chosen, "precision", settings.precision)}
    how |= {"backend": getattr(chosen, "backend", settings.backend), "prefix": settings.prefix}
    parameters: dict[str, Any] = {**how, "n_clusters": settings.n_clusters, "domains": settings.domains}
    summary = {"rows": done, "clusters": clusters, "domains": tuple(words), "fingerprint": chosen.fingerprint}
    summary |= {"words": words, "made": made} if words else {}
    if made:
        progress.note("cluster", f"{len(made)} domains are made of {sum(made.values())} rows, named by their most telling words")
    after = manifest.commit(changed, verb="cluster", parameters=parameters, seed=settings.seed, summary=summary)
    return ClusterResult(after, clusters, done, tuple(words), words, made)


def _work(manifest: Manifest, rows: pl.DataFrame) -> pl.DataFrame:
    """Return what clustering needs of the rows, sorted by id: also the text to embed, and whether centres are trained on it."""
    work = rows.select("id", "content", "domain", "split", training=is_usable_real()).sort("id")
    if not (work["split"] == "train").any():
        raise InputError(f"{manifest} has no train rows: clusters are made of train rows alone")
    texts = manifest.contents(work["content"], columns=["content", "prompt", "messages"])
    work = work.join(texts, on="content", how="left", maintain_order="left")
    return work.with_columns(conversations(work)).drop("prompt", "messages")


def _make_domains(
    work: pl.DataFrame, encoder: Encoder, manifest: Manifest, wanted: int | None, seed: int
) -> tuple[pl.DataFrame, dict[str, tuple[str, ...]]]:
    """Give rows without a domain one, where there are such rows or a number of domains is asked for.

    Returns:
        The rows with their domain; and of each domain that was made, largest first, its most telling words.
    """
    mine = work["domain"].is_in(_made_before(manifest)) | work["domain"].str.contains(_NUMBERED)
    if wanted is not None and not mine.any():
        raise InputError(f"--domains {wanted}: every row has a domain of its own; ingest with --domain {AUTO} to have them made")
    if not mine.any() or (wanted is None and not (work["domain"] == AUTO).any()):
        return work, {}
    part = work.filter(mine)
    training = _training_rows(part)
    found = vectors(part["conversation"].to_list(), encoder=encoder, root=manifest.root)
    made = neighbors.kmeans(found, wanted or default_domains(int(training.sum())), seed=seed, training=training.to_numpy())
    labels = pl.Series("group", made.labels, dtype=pl.Int64)
    read = naming.telling_words(part["conversation"].filter(training), labels.filter(training))
    words = {group: read.get(group, ()) for group in range(len(made.centres))}
    names = naming.name_groups(words, prefix=AUTO, taken={AUTO, *work.filter(~mine)["domain"].drop_nulls()})
    given = part.select("id", domain=labels.replace_strict(dict(enumerate(names)), return_dtype=pl.String))
    return work.update(given, on="id", how="left", maintain_order="left"), {names[group]: words[group] for group in words}


def _made_before(manifest: Manifest) -> list[str]:
    """Return the domains that were made from clusters so far, by the log."""
    commits = [commit for commit in manifest.lineage(partial=True) if commit.verb == "cluster"]
    return sorted({name for commit in commits for name in commit.summary.get("domains", ())})


def _sizes(work: pl.DataFrame, domains: Collection[str]) -> dict[str, int]:
    sizes = dict(work.group_by("domain").len().iter_rows())
    return {name: sizes.get(name, 0) for name in domains}


def _cluster_domains(
    work: pl.DataFrame, encoder: Encoder, root: str, n_clusters: int | None, seed: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Cluster the train rows of each domain; add ``cluster`` and ``centrality``, null on held-out rows."""
    train = work.filter(pl.col("split") == "train").partition_by("domain", as_dict=True)
    parts, clusters = [], {}
    with progress.step("cluster", total=len(train)) as counter:
        for (domain,), part in sorted(train.items()):
            training = _training_rows(part)
            found = vectors(part["conversation"].to_list(), encoder=encoder, root=root)
            k = n_clusters or default_clusters(int(training.sum()))
            made = neighbors.kmeans(found, k, seed=seed, training=training.to_numpy())
            columns = [pl.Series("cluster", made.labels, pl.Int32), pl.Series("centrality", made.similarity, pl.Float32)]
            parts.append(part.select("id", *columns))
            clusters[str(domain)] = len(made.centres)
            counter.advance()
    return work.join(pl.concat(parts), on="id", how="left", maintain_order="left"), clusters


def _training_rows(part: pl.DataFrame) -> pl.Series:
    """Return which rows centres are trained on: real train rows not rejected; where there are none, train rows, else all."""
    train = part["split"] == "train"
    return next((mask for mask in (part["training"], train) if mask.any()), train | True)


def _same(before: pl.DataFrame, after: pl.DataFrame) -> bool:
    """Return whether domain, cluster and centrality are unchanged; the rows of both are in one order."""
    if not all(before[column].equals(after[column], null_equal=True) for column in ("domain", "cluster")):
        return False
    old, new = before["centrality"], after["centrality"]
    return old.is_null().equals(new.is_null()) and bool(((old - new).abs().fill_null(0) < _SAME).all())
