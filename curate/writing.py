"""Owns what a teacher is asked when a new example is wanted, and what came of it. Judges nothing that was written.

Seeds come from different clusters of the domain, so that new examples differ from each other; a label is asked for by name.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate import prompts
from curate.accounts import Account
from curate.annotation import labels_of
from curate.calls import Reply, Request
from curate.prompts import NewExample
from curate.settling import BATCH, Settled

__all__ = ["EXAMPLES", "as_batch", "pick_seeds", "write_examples"]

EXAMPLES = pl.Schema(
    {
        "domain": pl.String(),
        "index": pl.Int64(),
        "prompt": pl.String(),  # empty where the reply could not be read; null unless answered
        "rationale": pl.String(),
        "answer": pl.String(),
        "parents": pl.List(pl.String()),  # ids of the rows that it was written from
        "status": pl.String(),  # answered | unanswered | failed | capped
        "finish_reason": pl.String(),
        "call_id": pl.Int64(),
        "error": pl.String(),
        "raw": pl.String(),  # text of the reply
    }
)


def write_examples(
    orders: pl.DataFrame,
    account: Account,
    *,
    seeds: pl.DataFrame,
    kinds: Mapping[str, str],
    labels: Sequence[str] | Mapping[str, Sequence[str]] = (),
    prompt_file: str | Path | None = None,
    words: int = 120,
    temperature: float = 0.8,
    reply_tokens: int = 1024,
    n_seeds: int = 4,
    seed: int = 0,
    refills: Collection[str] = (),
) -> pl.DataFrame:
    """Ask for one new example for each order; return one line for each, in the order of the orders.

    The same order with the same seeds asks the same, so that it is bought once. Seeds come from different clusters, so that
    new examples differ from each other; a label is asked for by name, in turn, so that no class is favoured.

    Args:
        orders: columns domain and index (which new example of the domain, from 0), and label where one is wanted.
        account: the teacher behind its ledger.
        seeds: real train rows of those domains: id, domain, cluster, prompt, answer, rationale.
        kinds: kind of answer per domain, see `curate.answers`.
        labels: class names, of all domains or per domain; for the kind ``label``.
        prompt_file: template in place of the built-in one.
        words: length of the rationale asked for.
        temperature: of sampling.
        reply_tokens: length of a reply, at most; one that is cut is paid for and not asked for again.
        n_seeds: examples shown in each request, at most.
        seed: of the choice of seeds.
        refills: domains where something was rejected, which this is asked in place of; for the ledger's report.

    Returns:
        A frame with the columns of `EXAMPLES`.

    Raises:
        TeacherError: nobody answers, or the teacher refuses the key or the model.
    """
    template, schema = prompts.load("synthesis", prompt_file), prompts.synthesis_schema()
    by_domain = _by_domain(seeds)
    requests, shown = [], []
    for order in orders.iter_rows(named=True):
        domain, kind = order["domain"], kinds.get(order["domain"], "text")
        own = by_domain.get(domain, [])
        label = order.get("label") or _label_in_turn(domain, order["index"], own, kind)
        chosen = pick_seeds(own, n_seeds, seed=f"{seed}/{domain}/{order['index']}", label=label)
        messages = prompts.render(
            template,
            domain=domain,
            seeds=chosen,
            label=label,
            labels=labels_of(labels, domain) if kind == "label" else None,
            choices=kind == "choice",
            words=words,
        )
        requests.append(
            Request(
                "synthesis", messages, order["index"], domain, "", label, temperature, reply_tokens, schema, domain in refills
            )
        )
        shown.append(chosen)
    replies = account.ask(requests)
    ids = {(row["domain"], row["prompt"]): row["id"] for rows in by_domain.values() for row in rows}
    lines = [
        {"domain": request.domain, "index": request.sample, **_line(reply, _parents(reply, request.domain, chosen, ids))}
        for request, chosen, reply in zip(requests, shown, replies, strict=True)
    ]
    return pl.DataFrame(lines, schema=EXAMPLES)


def pick_seeds(rows: Sequence[Mapping[str, Any]], n: int, *, seed: str, label: str | None = None) -> list[Mapping[str, Any]]:
    """Choose up to `n` rows, each from another cluster as long as there are clusters left; rows of the label come first.

    Args:
        rows: with id, cluster and answer, in any order.
        n: how many.
        seed: of the choice.
        label: answer that is wanted of the new example, or None.
    """
    rng = random.Random(seed)  # a string seeds by its hash of its bytes, the same on every machine
    ordered = sorted(rows, key=lambda row: str(row["id"]))
    rng.shuffle(ordered)
    seen: dict[Any, int] = {}
    ranked: list[tuple[bool, int, int]] = []
    for row in ordered:  # the second row of a cluster comes after the first of every other
        other = label is not None and row["answer"] != label
        turn = seen.get((other, row["cluster"]), 0)
        seen[other, row["cluster"]] = turn + 1
        ranked.append((other, turn, len(ranked)))
    return [ordered[position] for _, _, position in sorted(ranked)[:n]]


def _by_domain(seeds: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    columns = ("id", "domain", "cluster", "prompt", "answer", "rationale")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in seeds.select(columns).sort("id").iter_rows(named=True):
        found.setdefault(row["domain"], []).append(row)
    return found


def _label_in_turn(domain: str, index: int, own: Sequence[Mapping[str, Any]], kind: str) -> str | None:
    """Return the label that the new example shall have: the domain's own classes, one after the other."""
    if kind != "label":
        return None
    classes = sorted({row["answer"] for row in own if row["answer"]})
    return classes[index % len(classes)] if classes else domain


def _parents(reply: Reply, domain: str, chosen: Sequence[Mapping[str, Any]], ids: Mapping[tuple[str, str], str]) -> list[str]:
    """Return the ids that an example was written from: the seeds shown, or those that a recording names."""
    if reply.seeds is None:
        return [row["id"] for row in chosen]
    return [ids[domain, prompt] for prompt in reply.seeds if (domain, prompt) in ids]


def _line(reply: Reply, parents: list[str]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "status": reply.status,
        "finish_reason": reply.finish_reason or None,
        "call_id": reply.call_id,
        "error": reply.error or None,
        "parents": parents if reply.status == "answered" else None,
    }
    if reply.status == "answered":
        example = prompts.parse_example(reply.text) or NewExample("", "", "")
        line |= {"prompt": example.prompt, "rationale": example.rationale, "answer": example.answer, "raw": reply.text}
    return line


def as_batch(replies: pl.DataFrame, model: str) -> pl.DataFrame:
    """Return answered replies as new synthetic rows to be judged; one that could not be read keeps its text in `extra`.

    Args:
        replies: columns of `EXAMPLES`.
        model: the teacher's name, for the rows' origin.

    Returns:
        A frame with the columns of `curate.settling.BATCH`.
    """
    answered = replies.filter(status="answered").with_columns(
        origin=pl.format("teacher:{}#{}", pl.lit(model), "index"),
        source=pl.lit("synthetic"),
        messages=pl.lit(None, pl.String),
        extra=pl.when(pl.col("prompt") == "").then(pl.struct(reply="raw").struct.json_encode()),
        attempt=pl.lit(None, pl.Int64),
        new=pl.lit(True),
    )
    return answered.with_columns(id=Settled.new_ids(answered)).select(BATCH.names())
