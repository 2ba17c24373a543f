"""How fast `baldistill score` reads, beside a naive loop in fp32 and beside the model's forward pass alone.

Run it with ``python benchmarks/scoring.py``: 500 rows of MATH (where ``../shared/data`` is absent, generated
sums) and SmolLM2-135M on the processor. ``--device cuda`` does the same on a GPU; ``--rows`` and ``--student`` change the size.
The rows are cut into slices; in each slice the contestants take turns in another order, so that what disturbs the machine
disturbs all:

    naive   fp32, one text at a time, the whole model's logits: what the formula says and no more
    fp32    ours in fp32: must equal the naive scores within 1e-3
    bf16    ours in bf16: must rank the rows as they do (Spearman ≥ 0.99), 1.8 times as fast as naive on a processor
    single  on CUDA: ours in bf16, one text at a time
    limit   the bf16 model's forward pass over the same tokens, without a head and without losses: nothing can be faster

naive and bf16 read every slice, the others one of five. ``--rows 100`` gives a first look.
Loading and tokenising are outside the clocks. tok/s counts the tokens of both passes, shared beginnings included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

MATH = Path(__file__).resolve().parents[2] / "shared/data/math/full_7500_5000.parquet"
MAX_TOKENS = 1024
EVERY = 5  # the slices of which one is read by fp32, single and limit too; naive and bf16 read them all


def rows(n: int) -> tuple[str, pl.DataFrame]:
    """Return `n` rows with a prompt, a rationale and an answer, of mixed lengths, and what they are."""
    if MATH.exists():
        found = pl.read_parquet(MATH).filter(split="train").sort("id").sample(n, seed=0, shuffle=True)
        named = found.select(prompt="text", answer="label", rationale="solution")
        return "MATH", named.with_columns(messages=pl.lit(None, dtype=pl.String))
    made = []
    for i in range(n):
        terms = [(i * 37 + 11 * j) % 97 for j in range(2 + i % 23)]
        steps = [f"{sum(terms[:j])} + {terms[j]} = {sum(terms[: j + 1])}" for j in range(1, len(terms))]
        question = f"What is {' + '.join(map(str, terms))}?"
        made.append({"prompt": question, "answer": str(sum(terms)), "rationale": "We add. " + ", then ".join(steps) + "."})
    return "generated sums", pl.DataFrame(made).with_columns(messages=pl.lit(None, dtype=pl.String))


def naive(student: Any, asked: list[Any], alone: list[Any]) -> list[float]:
    """Score one text at a time."""
    import torch

    def loss(text: Any) -> float:
        ids = torch.tensor([text.prompt + text.completion], device=student.model.device)
        with torch.inference_mode():
            logits = student.model(ids, use_cache=False).logits[0, len(text.prompt) - 1 : -1]
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(text.completion, device=logits.device)))

    return [math.exp(loss(a) - loss(b)) for a, b in zip(asked, alone, strict=True)]


def ours(student: Any, asked: list[Any], alone: list[Any], **options: Any) -> list[float]:
    """Score as `baldistill score` does, without a journal."""
    from baldistill.student import losses

    pairs = zip(losses.mean_losses(student, asked, **options), losses.mean_losses(student, alone, **options), strict=True)
    return [math.exp(a - b) for a, b in pairs]  # type: ignore[operator]


def limit(student: Any, asked: list[Any], alone: list[Any]) -> list[float]:
    """Read the same tokens without a head, in batches filled as ours are."""
    import torch

    from baldistill.student import losses, tokens

    device = student.model.device
    for texts in (asked, alone):
        for batch in tokens.fill(list(map(len, texts)), losses.BATCH_TOKENS[device.type]):
            width = max(len(texts[i]) for i in batch)
            ids = [(texts[i].prompt + texts[i].completion) + [0] * (width - len(texts[i])) for i in batch]
            with torch.inference_mode():
                student.model.base_model(input_ids=torch.tensor(ids, device=device), use_cache=False)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return []


def spearman(a: list[float], b: list[float]) -> float:
    """Return the rank correlation."""
    frame = pl.DataFrame({"a": a, "b": b}).select(pl.corr("a", "b", method="spearman"))
    return float(frame.item())


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Let the contestants take turns, slice by slice; return scores, seconds and tokens."""
    from baldistill.student import tokens

    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the verb takes CUDA where there is one
    from baldistill.evaluation import score
    from baldistill.student import students

    what, examples = rows(arguments.rows)
    loaded = {dtype: students.load(arguments.student, dtype=dtype, root=arguments.root) for dtype in ("fp32", "bf16")}
    if loaded["bf16"].model.device.type != arguments.device:
        sys.exit(f"there is no {arguments.device} here")
    tokenizer, header = loaded["fp32"].tokenizer, tokens.header(loaded["fp32"].tokenizer)
    asked = [score._cut(text, min(MAX_TOKENS, loaded["fp32"].window)) for text in tokens.encode(tokenizer, examples)]
    alone = [tokens.Tokens(header, text.completion) for text in asked]
    contestants: dict[str, Callable[..., list[float]]] = {
        "naive": lambda a, b: naive(loaded["fp32"], a, b),
        "fp32": lambda a, b: ours(loaded["fp32"], a, b),
        "bf16": lambda a, b: ours(loaded["bf16"], a, b),
        "limit": lambda a, b: limit(loaded["bf16"], a, b),
    }
    if arguments.device == "cuda":
        contestants["single"] = lambda a, b: ours(loaded["bf16"], a, b, batch_tokens=1)
    for contest in contestants.values():
        contest(asked[:2], alone[:2])  # first calls allocate and choose kernels
    slices = [list(range(i, len(asked), arguments.slices)) for i in range(arguments.slices)]
    found: dict[str, Any] = {"what": what, "rows": list(map(len, slices)), "scores": {}, "wall": {}, "cpu": {}, "tokens": []}
    found["tokens"] = [sum(len(asked[i]) + len(alone[i]) for i in part) for part in slices]
    found["completion_tokens"] = sum(len(text.completion) for text in asked)
    for turn, part in enumerate(slices):
        names = [name for name in contestants if name in ("naive", "bf16") or turn % EVERY == 0]
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            wall, cpu = time.perf_counter(), time.process_time()
            scores = contestants[name]([asked[i] for i in part], [alone[i] for i in part])
            found["wall"].setdefault(name, {})[turn] = time.perf_counter() - wall
            found["cpu"].setdefault(name, {})[turn] = time.process_time() - cpu
            found["scores"].setdefault(name, {}).update(zip(part, scores, strict=False))
        print(f"slice {turn + 1} of {len(slices)}", file=sys.stderr)
    return found


def report(found: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Print the figures and the promises; return them."""
    import torch

    scores = found["scores"]
    table = {}
    for name, wall in found["wall"].items():
        ratios = [found["wall"]["naive"][turn] / wall[turn] for turn in wall]
        table[name] = {
            "rows_per_s": sum(found["rows"][turn] for turn in wall) / sum(wall.values()),
            "tokens_per_s": sum(found["tokens"][turn] for turn in wall) / sum(wall.values()),
            "slices": len(wall),
            "of_naive": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
            "of_naive_cpu": statistics.median(found["cpu"]["naive"][turn] / found["cpu"][name][turn] for turn in wall),
        }
    error = max(abs(score - scores["naive"][i]) for i, score in scores["fp32"].items())
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "rows": f"{sum(found['rows'])} of {found['what']}, {sum(found['tokens'])} tokens in both passes",
        "student": arguments.student,
        "contestants": table,
        "spearman": spearman(*([scores[name][i] for i in sorted(scores["naive"])] for name in ("bf16", "naive"))),
        "largest_difference_fp32": error,
        "of_limit": statistics.median(wall / found["wall"]["bf16"][turn] for turn, wall in found["wall"]["limit"].items()),
    }
    print(f"{result['machine']}; {result['threads']} threads; {result['device']}; {result['versions']}")
    print(f"{result['rows']}; {arguments.student}\n")
    print(f"{'':8} {'rows/s':>8} {'tok/s':>9}   of naive: median (low to high), of its processor time")
    for name, line in table.items():
        of = line["of_naive"]
        spread = (
            f"{of['median']:5.2f} ({of['low']:.2f} to {of['high']:.2f} in {line['slices']} slices), {line['of_naive_cpu']:.2f}"
        )
        print(f"{name:8} {line['rows_per_s']:8.2f} {line['tokens_per_s']:9.0f}   {spread}")
    faster = table["bf16"]["of_naive"]["median"]
    print(f"\nbf16 is {faster:.2f} times as fast as naive (promised on a processor: 1.8)")
    print(f"and at {result['of_limit']:.2f} of the speed of its forward pass alone")
    print(f"rank correlation of bf16 with naive {result['spearman']:.4f} (promised: 0.99)")
    print(f"largest difference of fp32 from naive {error:.1e} (promised: 1e-3)")
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--student", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--root", default=None, help="the folder that holds cache/")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.json:
        stdout, sys.stdout = sys.stdout, sys.stderr
        result = report(measure(arguments), arguments)
        print(json.dumps(result), file=stdout)
    else:
        report(measure(arguments), arguments)


if __name__ == "__main__":
    main()
