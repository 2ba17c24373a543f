"""Makes the two files that the plans in this folder read: the stories of R52, shortened, and a teacher's recorded replies.

    python prepare.py r52.parquet r52_teacher.parquet --words 70

R52: a table with the columns text, label, domain and split (train, test). Teacher: a table with the columns text, rationale,
label, domain and kind (real, synthetic). Parquet, or JSON lines. Written beside this file: stories.jsonl, teacher.parquet.

A topic is told by the first words of a story, and a small student reads short texts in a fraction of the time; so every
text is cut to its first words, those of the recorded replies in the same way, and ends in the question. From the train rows
of each topic with at least four, one to eight are set aside for validation, a tenth where that lies between; the cut
leaves some stories equal, and a train row whose text is also that of a held-out one is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

QUESTION = "\n\nWhich topic is this story about?"


def main() -> None:
    """Write both files."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("stories", type=Path)
    given.add_argument("teacher", type=Path)
    given.add_argument("--words", type=int, default=70, help="of a text that are kept (70)")
    args = given.parse_args()
    here = Path(__file__).parent

    text = _shortened("text", args.words)
    stories = _read(args.stories).select("label", "domain", "split", text=text)
    test = stories.filter(split="test")
    train = stories.filter(split="train").join(test, on="text", how="anti").sample(fraction=1.0, shuffle=True, seed=0)
    place, size = pl.int_range(pl.len()).over("domain"), pl.len().over("domain")
    held = (size >= 4) & (place < (size / 10).round().clip(1, 8))
    train = train.with_columns(split=pl.when(held).then(pl.lit("validation")).otherwise("split"))
    validation = train.filter(split="validation")
    learned = train.filter(split="train").join(validation, on="text", how="anti")
    kept = pl.concat([learned, validation.unique("text", keep="first", maintain_order=True), test])
    kept.write_ndjson(here / "stories.jsonl")

    replies = _read(args.teacher).with_columns(text=text)
    replies.filter(~(pl.col("kind").eq("synthetic") & pl.col("text").is_in(kept["text"].implode()))).write_parquet(
        here / "teacher.parquet"
    )
    counts = kept["split"].value_counts(sort=True)
    print(f"{', '.join(f'{n:,} {split}' for split, n in counts.iter_rows())} rows; {replies.height:,} recorded replies")
    print(f"{stories.height - kept.height:,} stories were left out, since their first words are those of a held-out one")


def _read(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)


def _shortened(column: str, words: int) -> pl.Expr:
    return pl.col(column).str.replace_all(r"\s+", " ").str.strip_chars().str.split(" ").list.head(words).list.join(" ") + QUESTION


if __name__ == "__main__":
    main()
