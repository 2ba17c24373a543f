"""Asks a teacher for new examples and returns one line for each that was asked for. Judges nothing.

Which rows are shown and which answer is asked for is in `curate.generation.seeds`; how a reply is parsed, in
`curate.generation.parsing`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.audit.base import Context, kind_in, kind_or_task, task_in
from curate.audit.kinds import with_said_kinds
from curate.errors import InputError
from curate.generation import parsing, prompts
from curate.generation.parsing import NewExample
from curate.generation.seeds import answers_in_turn, kinds_in_turn, openings, pick_seeds
from curate.manifest.chats import conversations
from curate.teachers.base import Asker, Reply, Request
from curate.teachers.prices import NANO

__all__ = ["EXAMPLES", "Cost", "cost", "write_examples"]

EXAMPLES = pl.Schema(
    {
        "domain": pl.String(),
        "index": pl.Int64(),
        "prompt": pl.String(),  # empty where the reply could not be read; null unless answered
        "rationale": pl.String(),
        "answer": pl.String(),
        "kind": pl.String(),  # of answer, where the domain has several: what was asked for
        "parents": pl.List(pl.String()),  # ids of the rows that it was written from
        "status": pl.String(),  # answered | unanswered | failed | rejected | capped
        "finish_reason": pl.String(),
        "call_id": pl.Int64(),
        "error": pl.String(),
        "raw": pl.String(),  # text of the reply; of several examples in one reply, with the first that cannot be read
        "tokens": pl.Int64(),  # of the prompt and the reply; of several examples in one reply, with the first
        "usd": pl.Float64(),  # for these tokens; null where the model has no price
    }
)

_Row = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What replies cost when they were bought, by whichever command; sendings without a reply are not in it.

    Attributes:
        tokens: of prompts and replies.
        usd: dollars, at the price of the mode in use; None where the model has no price.
    """

    tokens: int = 0
    usd: float | None = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, None if self.usd is None or other.usd is None else self.usd + other.usd)

    def per_row(self, rows: int) -> tuple[float | None, float | None]:
        """Return tokens and dollars per accepted row; None where there is no such row, or no price."""
        if not rows:
            return None, None
        return self.tokens / rows, None if self.usd is None else self.usd / rows


def cost(written: pl.DataFrame) -> Cost:
    """Return what replies cost, from columns of `EXAMPLES`."""
    answered = written.filter(status="answered")
    return Cost(int(answered["tokens"].sum()), None if answered["usd"].null_count() else float(answered["usd"].sum()))


def write_examples(
    orders: pl.DataFrame,
    asker: Asker,
    *,
    seeds: pl.DataFrame,
    context: Context,
    prompt_file: str | Path | None = None,
    words: int = 120,
    temperature: float = 0.8,
    reply_tokens: int = 1024,
    n_seeds: int = 4,
    rows_per_call: int = 1,
    seed: int = 0,
    refills: Collection[str] = (),
) -> pl.DataFrame:
    """Ask for a new example for each order; return one line for each, in their order.

    The same order with the same seeds makes the same request, so that it is bought once. Seeds come from different clusters, so
    that new examples differ from each other; a class or letter is asked for by name, in turn, so that none is favoured. In a
    domain of several kinds each request is for one of them, as often as its rows are, and shows rows of that kind.

    Args:
        orders: columns domain and index (which new example of the domain, from 0), and label where a certain answer is wanted.
        asker: hands the requests to a teacher.
        seeds: rows of those domains that may be shown: id, domain, cluster, prompt, answer, rationale, messages of chats, and
            kind, where something is said of it.
        context: of the corpus: each domain's kind of answer, classes and task, and what was written already.
        prompt_file: template, or folder of templates, instead of the built-in ones.
        words: length of the rationale asked for.
        temperature: of sampling.
        reply_tokens: length of a reply per example, at most; one that is cut is paid for and not asked for again.
        n_seeds: examples shown in each request, at most.
        rows_per_call: examples asked for in one request; a teacher that has a fixed number of them is asked for one at a time.
        seed: of the choice of seeds.
        refills: domains where this replaces something that was rejected; for the ledger's report.

    Returns:
        A frame with the columns of `EXAMPLES`.

    Raises:
        InputError: `rows_per_call` is below 1.
        TeacherError: the teacher cannot be reached, or refuses the key or the model.
    """
    if rows_per_call < 1:
        raise InputError(f"--rows-per-call must be at least 1, got {rows_per_call}")
    rows = _by_domain(seeds)
    of_kind = _by_kind(rows, context)
    writer = _ExampleWriter(
        templates=prompts.load("synthesis", prompt_file),
        context=context,
        rows=rows,
        kinds={domain: kinds_in_turn(_kinds_of(found), domain=domain, seed=seed) for domain, found in of_kind.items()},
        of_kind=of_kind,
        avoid=openings(context.accepted),
        words=words,
        n_seeds=n_seeds,
        seed=seed,
        sampling={"temperature": temperature, "reply_tokens": reply_tokens},
        refills=frozenset(refills),
    )
    calls = [writer.call(domain, part) for domain, part in _parts(orders, asker, rows_per_call)]
    replies = zip(calls, asker.ask([call.request for call in calls]), strict=True)
    return pl.DataFrame([line for call, reply in replies for line in writer.lines(call, reply, asker)], schema=EXAMPLES)


def _by_domain(seeds: pl.DataFrame) -> dict[str, list[_Row]]:
    """Return the rows that may be shown, by domain; ``prompt`` is of a chat the conversation, ``asked`` its last turn."""
    shown = with_said_kinds(seeds).with_columns(
        pl.col("prompt").alias("asked"), conversations(seeds, newest_first=False).alias("prompt")
    )
    columns = ("id", "domain", "cluster", "prompt", "asked", "answer", "rationale", "kind")
    found: dict[str, list[_Row]] = {}
    for row in shown.select(columns).sort("id").iter_rows(named=True):
        found.setdefault(row["domain"], []).append(row)
    return found


def _by_kind(rows: Mapping[str, Sequence[_Row]], context: Context) -> dict[str, dict[str, list[_Row]]]:
    """Return the rows of each domain of several kinds by what may be said of their kinds."""
    found: dict[str, dict[str, list[_Row]]] = {}
    for domain in sorted(set(rows) & (context.mixed | context.own)):
        for row in rows[domain]:
            said = kind_or_task(context, domain, row["prompt"] or "", row["answer"] or "", row["kind"])
            found.setdefault(domain, {}).setdefault(said, []).append(row)
    return found


def _kinds_of(found: Mapping[str, Sequence[_Row]]) -> list[str]:
    return [kind for kind, rows in found.items() for _ in rows]


def _parts(orders: pl.DataFrame, asker: Asker, most: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the orders of each request: up to `most` that follow one another in a domain."""
    part: list[dict[str, Any]] = []
    for order in orders.iter_rows(named=True):
        alone = asker.teacher.capacity(order["domain"]) is not None
        if part and (alone or len(part) >= most or order["domain"] != part[0]["domain"]):
            yield part[0]["domain"], part
            part = []
        part.append(order)
    if part:
        yield part[0]["domain"], part


@dataclass(frozen=True)
class _Call:
    """One request, the numbers of the examples that it asks for, and the rows that it shows."""

    request: Request
    indices: list[int]
    shown: list[Mapping[str, Any]]
    kind: str | None  # what was asked for in a domain of several kinds


@dataclass(frozen=True)
class _ExampleWriter:
    """Turns orders into requests, and their replies into lines of `EXAMPLES`."""

    templates: prompts.Templates
    context: Context
    rows: Mapping[str, list[_Row]]  # by domain
    kinds: Mapping[str, Sequence[str]]  # in turn, by domain; none where it has one kind
    of_kind: Mapping[str, Mapping[str, list[_Row]]]  # by domain and kind, of domains of several
    avoid: Mapping[str, list[str]]  # by domain
    words: int
    n_seeds: int
    seed: int
    sampling: Mapping[str, Any]
    refills: frozenset[str]

    def call(self, domain: str, orders: list[dict[str, Any]]) -> _Call:
        """Return the request for some orders of one domain."""
        kinds, n = self.kinds.get(domain, ()), len(orders)
        said = kinds[int(orders[0]["index"]) % len(kinds)] if kinds else None
        own = self.rows.get(domain, []) if said is None else self.of_kind[domain][said]
        kind = kind_in(self.context, domain, "", "", said)
        turns = answers_in_turn(own, kind, domain=domain, seed=self.seed)
        wanted = [order.get("label") or (turns[order["index"] % len(turns)] if turns else None) for order in orders]
        indices = [int(order["index"]) for order in orders]
        alike = wanted[0] if len(set(wanted)) == 1 else None  # examples of the answer wanted teach it better than words
        shown = pick_seeds(own, self.n_seeds, seed=f"{self.seed}/{domain}/{indices[0]}", label=alike)
        messages = prompts.render(
            self.templates.by_task[task_in(self.context, domain, "", "", said)],
            n=n,
            domain=domain,
            seeds=shown,
            label=wanted[0],
            wanted=wanted,
            labels=self.context.labels_of(domain) if kind == "label" else None,
            letters=sorted(turns) if kind == "choice" else None,
            avoid=self.avoid.get(domain, []),
            words=self.words,
        )
        allowed = turns if kind == "choice" else sorted({label for label in wanted if label})
        request = Request(
            purpose="synthesis",
            messages=messages,
            sample=indices[0],
            domain=domain,
            label=wanted[0],
            temperature=self.sampling["temperature"],
            max_tokens=n * self.sampling["reply_tokens"],
            schema=parsing.schema(n, sorted(allowed)),
            refill=domain in self.refills,
            wanted=tuple(wanted) if n > 1 else (),
        )
        return _Call(request, indices, shown, said)

    def lines(self, call: _Call, reply: Reply, asker: Asker) -> list[dict[str, Any]]:
        """Return a line for each example that was asked for, whether the reply has it or not."""
        common = {
            "domain": call.request.domain,
            "status": reply.status,
            "finish_reason": reply.finish_reason or None,
            "call_id": reply.call_id,
            "error": reply.error or None,
        }
        if reply.status != "answered":
            return [{**common, "index": index} for index in call.indices]
        price, usage, n = asker.teacher.price, reply.usage, len(call.indices)
        if price is not None and asker.mode == "batch":
            price = price.batched()
        usd = None if price is None else price.nano_usd(usage.prompt, usage.completion, usage.cached) / NANO
        found = parsing.parse_examples(reply.text, n)
        lines: list[dict[str, Any]] = []
        for index, example in zip(call.indices, found, strict=True):
            line = {**common, "index": index, **vars(example or NewExample("", "", "")), "parents": self._parents(call, reply)}
            line["kind"] = (
                None if asker.teacher.capacity(call.request.domain) is not None else call.kind
            )  # a recording has its own
            line |= {"tokens": 0 if lines else usage.total, "usd": 0.0 if lines and usd is not None else usd}
            if n > 1 and example:
                line["finish_reason"] = None  # this one is whole, whatever became of those after it
            lines.append(line)
        kept = next((position for position, example in enumerate(found) if example is None), 0)
        lines[kept]["raw"] = reply.text
        return lines

    def _parents(self, call: _Call, reply: Reply) -> list[str]:
        """Return the ids that an example was written from: the rows shown, or those that a recording names."""
        if reply.seeds is None:
            return [row["id"] for row in call.shown]
        ids = {row["asked"]: row["id"] for row in self.rows.get(call.request.domain, [])}
        return [ids[prompt] for prompt in reply.seeds if prompt in ids]
