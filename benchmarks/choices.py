"""What a classifier learns from each selector's choice, beside random and beside all rows.

    python benchmarks/choices.py --data FOLDER [--root FOLDER] [--draws 5] [--precision fp32]

For each data set, every selector chooses n rows per domain from the train rows; it never sees the labels, which are finer
than the domains. A logistic regression on the same vectors then learns those labels from the chosen rows and is asked for the
test rows: accuracy, and macro accuracy (the mean over labels, each counting once). The figures say how much of what is inside a
domain a choice keeps. They say nothing of a language model's taste for difficulty, for which there is `baldistill`.

FOLDER holds ``clinc150/clinc150_imbalanced.jsonl.gz``, ``hwu64/hwu64.jsonl.gz`` and ``banking77/banking77.parquet``, each with
text, label, domain and split; banking77 is taken as one domain.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from curate.selection.base import selectors
from curate.selection.selectors import choose
from curate.vectors import cluster, embed, neighbors

SETS = {
    "clinc150 (imbalanced), 10 domains, 150 labels": ("clinc150/clinc150_imbalanced.jsonl.gz", (30, 75, 150)),
    "hwu64, 18 domains, 64 labels": ("hwu64/hwu64.jsonl.gz", (10, 25, 50)),
    "banking77, one domain, 77 labels": ("banking77/banking77.parquet", (154, 385, 770)),
}
NEED_SCORES = ("ifd", "ifd_below_1", "ifd_middle", "quality_diversity")  # without difficulty scores they are others


def main() -> None:
    """Print a table per data set."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--root", default=".", help="whose cache/ keeps the vectors")
    options.add_argument("--draws", type=int, default=5, help="of the selectors that draw")
    options.add_argument("--precision", default="fp32")
    args = options.parse_args()
    encoder = embed.load_encoder(precision=args.precision)
    for title, (file, sizes) in SETS.items():
        rows = read(args.data / file)
        rows = rows.with_columns(position=pl.int_range(pl.len()))
        vectors = embed.vectors(rows["text"].to_list(), encoder=encoder, root=args.root)
        print(f"\n{title}: {rows.filter(split='train').height:,} train rows, macro accuracy (accuracy) on test rows, %\n")
        print("| selector | " + " | ".join(f"{n} per domain" for n in sizes) + " |\n| --- |" + " --- |" * len(sizes))
        for name, cells in lines(rows, vectors, sizes, args.draws):
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def read(path: Path) -> pl.DataFrame:
    """Return id, text, label, domain and split; rows out of scope are left out."""
    rows = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)
    if path.stem == "banking77":
        rows = rows.with_columns(domain=pl.lit("banking"))
    return rows.filter(pl.col("label") != "oos", pl.col("split").is_in(["train", "test"])).unique("id").sort("id")


def lines(rows: pl.DataFrame, vectors: np.ndarray, sizes: tuple[int, ...], draws: int) -> Iterator[tuple[str, list[str]]]:
    """Yield each selector's name and its cells."""
    train = rows.filter(split="train")
    pools = {str(key[0]): pooled(part, vectors) for key, part in train.partition_by("domain", as_dict=True).items()}
    for name in sorted(set(selectors) - set(NEED_SCORES), key=lambda n: (n != "random", n)):
        times = draws if name == "random" else 1
        cells = []
        for n in sizes:
            found = [figures(rows, vectors, chosen(pools, vectors, name, n, seed)) for seed in range(times)]
            cells.append(cell(np.array(found)))
        yield name, cells
    yield "all rows", [cell(np.array([figures(rows, vectors, train["position"].to_numpy())]))] * len(sizes)


def pooled(part: pl.DataFrame, vectors: np.ndarray) -> pl.DataFrame:
    """Give a domain's rows their clusters."""
    mine = vectors[part["position"].to_numpy()]
    found = neighbors.kmeans(mine, cluster.default_clusters(part.height))
    return part.select("id", "position", cluster=pl.Series(found.labels), centrality=pl.Series(found.similarity))


def chosen(pools: dict[str, pl.DataFrame], vectors: np.ndarray, name: str, n: int, seed: int) -> np.ndarray:
    """Return the positions of the rows that a selector chooses, n per domain."""
    positions = []
    for domain, pool in pools.items():
        at = dict(pool.select("id", "position").iter_rows())
        load = lambda ids, at=at: vectors[[at[i] for i in ids]]  # noqa: E731
        made = choose(pool.drop("position"), selector=name, n=n, seed=seed, domain=domain, vectors=load)
        positions += [at[i] for i in made.kept["id"]]
    return np.array(positions)


def figures(rows: pl.DataFrame, vectors: np.ndarray, positions: np.ndarray) -> tuple[float, float]:
    """Return macro accuracy and accuracy on the test rows of a classifier of the chosen rows, in per cent."""
    labels = rows["label"].to_numpy()
    test = rows.filter(split="test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=10.0, max_iter=300).fit(vectors[positions], labels[positions])
    right = pl.DataFrame(
        {"label": test["label"], "right": model.predict(vectors[test["position"].to_numpy()]) == test["label"].to_numpy()}
    )
    return 100 * float(right.group_by("label").agg(pl.col("right").mean())["right"].mean()), 100 * float(right["right"].mean())


def cell(found: np.ndarray) -> str:
    """Return the mean, and the standard deviation where there are several draws."""
    macro, micro = found.mean(axis=0)
    spread = f" ± {found[:, 0].std(ddof=1):.1f}" if len(found) > 1 else ""
    return f"{macro:.1f}{spread} ({micro:.1f})"


if __name__ == "__main__":
    main()
