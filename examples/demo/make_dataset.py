"""Make the demo's data: short reasoning questions in 12 domains whose train split has a Zipf tail.

    pip install reasoning-gym==0.1.25
    python make_dataset.py questions.jsonl

The questions come from the generators of reasoning-gym (Apache-2.0), seed 13; every answer is verified by construction.
Train counts follow rank^-2 (639 … 4); validation and test have the same number of rows in every domain, so that the
tail can be measured.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import reasoning_gym

SEED = 13
TRAIN_ROWS = 1_000
ZIPF_EXPONENT = 2.0  # that of the multiple-choice set of arXiv 2406.13114
HELD_OUT = {"validation": 16, "test": 64}  # rows per domain

# Domain → generator and its settings, from the head to the tail; small numbers, so that a small student can learn them.
DOMAINS = {
    "sums": ("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}),
    "products": ("products", {"min_digits": 1, "max_digits": 2}),
    "sorting": ("number_sorting", {"min_numbers": 3, "max_numbers": 4, "max_decimals": 0, "min_value": 0, "max_value": 99}),
    "letters": ("letter_counting", {"min_words": 3, "max_words": 4}),
    "equations": ("simple_equations", {"min_terms": 2, "max_terms": 2, "min_value": 1, "max_value": 12}),
    "family": ("family_relationships", {"min_family_size": 3, "max_family_size": 3}),
    "angles": ("simple_geometry", {"min_sides": 3, "max_sides": 4}),
    "sequences": ("number_sequence", {"min_terms": 4, "max_terms": 5, "max_complexity": 1}),
    "divisors": ("gcd", {"min_value": 2, "max_value": 60}),
    "legs": ("leg_counting", {"min_animals": 2, "max_animals": 2, "max_instances": 6}),
    "syllogisms": ("syllogism", {}),
    "siblings": ("aiw", {"task_type_weights": [1.0, 0.0, 0.0]}),
}

# What the generators say about the form of a bare answer; the demo asks for a rationale instead.
FORM = re.compile(
    r"(Give only .*? as your final answer\.|Return only the angle as your answer\.|Do not give the units in your answer\."
    r"|Respond only with .*?\.|Answer with a single word\.|Provide the relationship in one word\."
    r"|\nPlease follow the instruction below:.*|State the final answer to the following arithmetic problem: "
    r"|Your task is to count how many legs .*? list of animals\.|Now, )",
    re.DOTALL,
)


def zipf_counts(n_domains: int, rows: int, exponent: float) -> list[int]:
    """Return counts in proportion to rank^-exponent that sum to `rows`, by largest remainder."""
    weights = [(rank + 1) ** -exponent for rank in range(n_domains)]
    exact = [rows * weight / sum(weights) for weight in weights]
    counts = [int(value) for value in exact]
    order = sorted(range(n_domains), key=lambda i: counts[i] - exact[i])
    for i in order[: rows - sum(counts)]:
        counts[i] += 1
    return counts


def questions(generator: str, settings: dict[str, object], n: int) -> list[tuple[str, str]]:
    """Return `n` different (question, answer) pairs of one generator, in its own order."""
    found: dict[str, str] = {}
    size = 4 * n
    while len(found) < n:
        for item in reasoning_gym.create_dataset(generator, size=size, seed=SEED, **settings):
            text, answer = FORM.sub("", item["question"]), str(item["answer"])
            text = re.sub(r"[ \t]+", " ", re.sub(r"\s*\n\s*", "\n", text)).strip()
            text = text[0].upper() + text[1:]
            if generator == "number_sequence":
                text = f"What number comes next? {text}"
            elif generator == "chain_sum":
                text = f"What is {text.removesuffix(' =')}?"
            elif generator == "number_sorting":
                text = text.replace(".0", "")
                answer = ", ".join(str(round(float(number))) for number in ast.literal_eval(answer))
            found.setdefault(text, answer)
        if size > 1_000 * n:
            raise SystemExit(f"{generator} has only {len(found)} different questions, {n} are needed")
        size *= 4
    return list(found.items())[:n]


def main(path: Path) -> None:
    held = sum(HELD_OUT.values())
    counts = zipf_counts(len(DOMAINS), TRAIN_ROWS, ZIPF_EXPONENT)
    with path.open("w", encoding="utf-8") as out:
        for (domain, (generator, settings)), n_train in zip(DOMAINS.items(), counts, strict=True):
            # Held-out rows come from further on, so that the train split can grow without taking one of them.
            pairs = questions(generator, settings, 2 * n_train + held)
            pairs = pairs[:n_train] + pairs[2 * n_train :]
            splits = ["train"] * n_train + [s for s, n in HELD_OUT.items() for _ in range(n)]
            for (question, answer), split in zip(pairs, splits, strict=True):
                row = {"question": question, "answer": answer, "domain": domain, "split": split}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "questions.jsonl"))
