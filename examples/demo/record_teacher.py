"""Record a teacher's replies to the demo's questions: a rationale for every train row, new questions for the tail.

    python record_teacher.py questions.jsonl teacher.jsonl --url http://127.0.0.1:8110/v1 --model teacher

The server is any OpenAI-compatible one. Replies are appended as they come, and a second start goes on where the first
one stopped. The file is in the form that ``--teacher recorded:FILE`` reads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
from openai import AsyncOpenAI

from curate.audit.kinds import survey
from curate.generation import parsing, prompts

TAIL_AT_MOST = 30  # train rows; a domain with fewer gets new questions
WORDS = 50
SAMPLES = {"tail": 3, "head": 1}  # answers per train row
SEEDS_PER_CALL = 4


def tasks_of(rows: list[dict[str, str]]) -> dict[str, str]:
    """What each domain asks for, which chooses its prompt."""
    frame = pl.DataFrame([{"domain": r["domain"], "prompt": r["question"], "answer": r["answer"]} for r in rows])
    return dict(survey(frame).tasks)


def rationale_jobs(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """One job per train row and sample, the tail first."""
    tasks = tasks_of(rows)
    counts = Counter(row["domain"] for row in rows)
    return [
        {
            "kind": "real",
            "prompt": row["question"],
            "label": row["answer"],
            "domain": row["domain"],
            "index": sample,
            "messages": prompts.render(prompts.built_in("rationale", tasks[row["domain"]]), prompt=row["question"], words=WORDS),
        }
        for row in sorted(rows, key=lambda row: counts[row["domain"]])
        for sample in range(SAMPLES["tail" if counts[row["domain"]] <= TAIL_AT_MOST else "head"])
    ]


def synthesis_jobs(rows: list[dict[str, str]], per_domain: int) -> list[dict[str, Any]]:
    """`per_domain` jobs for each tail domain, each with its own few-shot seeds."""
    tasks, jobs = tasks_of(rows), []
    for domain, n in Counter(row["domain"] for row in rows).items():
        if n > TAIL_AT_MOST:
            continue
        own = [row for row in rows if row["domain"] == domain]
        for index in range(per_domain):
            chosen = random.Random(f"{domain}/{index}").sample(own, min(SEEDS_PER_CALL, len(own)))
            seeds = [{"prompt": row["question"], "answer": row["answer"]} for row in chosen]
            template = prompts.built_in("synthesis", tasks[domain])
            messages = prompts.render(template, domain=domain, seeds=seeds, words=WORDS)
            parents = [row["question"] for row in chosen]
            jobs.append({"kind": "synthetic", "domain": domain, "index": index, "parents": parents, "messages": messages})
    return jobs


def key(record: dict[str, Any]) -> str:
    """What tells one job from another."""
    asked = record["prompt"] if record["kind"] == "real" else None
    return json.dumps([record["kind"], record["domain"], record["index"], asked])


async def record(jobs: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Ask for every job that is not in the file yet, four at a time."""
    client = AsyncOpenAI(base_url=args.url, api_key=args.api_key, timeout=600)
    gate = asyncio.Semaphore(4)
    schema = {"type": "json_schema", "json_schema": {"name": "example", "schema": parsing.schema()}}

    async def one(job: dict[str, Any]) -> None:
        async with gate:
            new = job["kind"] == "synthetic"
            reply = await client.chat.completions.create(
                model=args.model,
                messages=job["messages"],
                max_tokens=320 if new else 200,
                temperature=0.7 if new or job["index"] else 0.2,
                seed=job["index"],
                **({"response_format": schema} if new else {}),
            )
        text = reply.choices[0].message.content or ""
        entry = {k: job[k] for k in ("kind", "domain", "prompt", "label", "index", "parents") if k in job}
        if new:
            example = parsing.parse_examples(text, 1)[0]
            entry |= vars(example) if example else {"prompt": "", "rationale": text, "answer": ""}
        else:
            entry["rationale"] = text.strip()
        entry["finish_reason"] = reply.choices[0].finish_reason
        if reply.usage:
            entry |= {"prompt_tokens": reply.usage.prompt_tokens, "completion_tokens": reply.usage.completion_tokens}
        with args.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")

    await asyncio.gather(*(one(job) for job in jobs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--per-domain", type=int, default=24)
    args = parser.parse_args()
    lines = args.questions.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "train"]
    done = {key(json.loads(line)) for line in args.out.read_text(encoding="utf-8").splitlines()} if args.out.exists() else set()
    jobs = [*synthesis_jobs(rows, args.per_domain), *rationale_jobs(rows)]
    asyncio.run(record([job for job in jobs if key(job) not in done], args))


if __name__ == "__main__":
    main()
