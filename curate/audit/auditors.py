"""The built-in auditors; add yours here, or register it from a package of your own. They decide nothing (`curate.audit.audit`).

``malformed``        no prompt, answer or rationale; a refusal; a reply that was cut off, did not end as whole ones do, holds
                     control tokens or repeats the question; an answer
                     that the question does not offer or that is no class name
``answer_mismatch``  the rationale's final answer is another one than the row's, or cannot be read
``leakage``          the question is one of the validation or test rows
``near_duplicate``   a synthetic question is one of the real rows, of the accepted ones, or of the earlier ones of the batch

Two questions are the same when their normalised texts are (`prompt_key`), or when the cosine of their vectors reaches the
threshold (0.95) *and* they hold the same numbers in the same order: "What is 3 + 4?" and "What is 5 + 9?" are neighbours
for an encoder, and two examples for a student. Vectors are asked for only where the numbers agree.

An encoder reads the beginning of a long text alone, which may be the same instructions in every row. So long texts are searched
by their ends, and are the same only where, beside their beginnings, the parts in which they differ are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from curate.answers import answers, statements, texts
from curate.audit.base import Context, Finding, auditors, compared, kind_in
from curate.manifest import ids
from curate.manifest.markup import find_mark
from curate.vectors import neighbors

__all__ = ["READ_CHARS", "UNCOMPARED", "UNREADABLE", "UNSTATED", "answer_mismatch", "leakage", "malformed", "near_duplicate"]

UNREADABLE = 0.6  # score of a rationale without a final answer; a wrong one scores 1
UNCOMPARED = 0.3  # score where two answers cannot be compared, such as 5 eggs and 5 apples: a note, neither right nor wrong
UNSTATED = 0.4  # score where the answer is not put as an answer; below the usual threshold, so a note

_REFUSAL = re.compile(
    r"^\W*(?:i(?:['’]m|\s+am)\s+(?:sorry|unable|not\s+able)|i\s+apologi[sz]e|i\s+(?:can(?:not|['’]t|\s+not)|won['’]t|must\s+decline)"
    r"|(?:i['’]m\s+)?sorry\b|as\s+an\s+(?:ai|artificial|language\s+model)|unfortunately,?\s+i\s+can)"
    r"|\bas\s+an\s+ai\s+(?:language\s+)?model\b",
    re.IGNORECASE,
)
_CUT = {  # by the finish reason of a reply that is no whole one
    "length": "the reply was cut off by its token limit",
    "content_filter": "the reply was held back by the server's content filter",
    "refusal": "the teacher declined to answer",
}
READ_CHARS = 500  # that every encoder reads of a text: the default one reads 256 tokens, of two characters at the least
_ROUNDING = 1e-6  # of float32
_SENTENCE_END = re.compile(r"[.!?。]\s|\n")
_FEW_WORDS = 4  # a shorter text can repeat a part of the question without echoing it


@auditors.register("malformed")
def malformed(batch: pl.DataFrame, context: Context) -> Iterator[Finding]:
    """Find rows that are no examples.

    A null rationale means that none was asked for; an empty one, that the reply had none.
    """
    for row in batch.iter_rows(named=True):
        message = _malformation(row, context)
        if message:
            yield Finding("malformed", row["id"], 1.0, None, message)


def _malformation(row: Mapping[str, Any], context: Context) -> str | None:
    prompt, answer, rationale = ((row[column] or "").strip() for column in ("prompt", "answer", "rationale"))
    if row["finish_reason"] not in (None, "", "stop"):
        return _CUT.get(row["finish_reason"], f"the reply ended with {_short(row['finish_reason'])!r}, so it may not be whole")
    if not prompt or not answer:
        return "the prompt is empty" if not prompt else "the answer is empty"
    if row["rationale"] is not None and not rationale:
        return "the rationale is empty"
    for column, text in (("rationale", rationale), ("answer", answer), ("prompt", prompt)):
        if row["source"] == "real" and column != "rationale":
            continue  # what people wrote may well begin with "I'm sorry"
        if mark := find_mark(text):
            return f"the {column} holds {mark!r}, a mark of the model's chat template"
        if _REFUSAL.search(text):
            return f"the {column} is a refusal: {_short(text)!r}"
    if _echoes(rationale, prompt) or (row["source"] != "real" and _echoes(answer, prompt)):
        return "the reply repeats the question"
    return _not_offered(row, context, answer)


def _echoes(text: str, prompt: str) -> bool:
    said, asked = _fold(text), _fold(prompt)
    if len(said.split()) < _FEW_WORDS:
        return False
    return said in asked or (asked in said and len(said.replace(asked, "").split()) < _FEW_WORDS and "answer" not in said)


def _fold(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _not_offered(row: Mapping[str, Any], context: Context, answer: str) -> str | None:
    domain = row["domain"]
    kind = kind_in(context, domain, row["prompt"] or "", answer, row.get("kind"))
    if kind == "choice":
        offered = answers.choices(row["prompt"])
        if not offered:
            return "the prompt offers no lettered choices"
        if not any(answers.equal(answer, letter, "choice") for letter in offered):
            return f"the answer {_short(answer)!r} is none of the choices {', '.join(offered)}"
    labels = context.labels_of(domain) if kind == "label" else ()
    if labels and not any(answers.equal(answer, label, "label") for label in labels):
        return f"the answer {_short(answer)!r} is none of the {len(labels)} class names of {domain!r}"
    if row["source"] == "synthetic" and domain in labels and not answers.equal(answer, domain, "label"):
        return f"the answer {_short(answer)!r} is another class than {domain!r}, for which it was written"
    return None


@auditors.register("answer_mismatch")
def answer_mismatch(batch: pl.DataFrame, context: Context) -> Iterator[Finding]:
    """Find rationales that end in another answer than the row's, or in none that can be read.

    Another answer scores 1, none `UNREADABLE`, one that cannot be compared `UNCOMPARED`, with two exceptions. A synthetic
    rationale was written together with its answer and need not say "The answer is": it passes where it mentions the answer, and
    scores `UNSTATED` where the answer is a class name, or a number that its last sentence mentions before another. In free text,
    short answers must be mentioned, and long ones are not judged where none is stated; what is stated scores by
    `answers.text_distance`.
    """
    for row in batch.iter_rows(named=True):
        if not (row["rationale"] or "").strip():
            continue
        gold = (row["answer"] or "").strip()
        kind = kind_in(context, row["domain"], row["prompt"] or "", gold, row.get("kind"))
        labels = context.labels_of(row["domain"])
        found = answers.extract(row["rationale"], kind, labels=labels, prompt=row["prompt"] or "")
        if found is None:
            score, message = _unreadable(row, kind, gold), "no final answer can be read in the rationale"
        else:
            score, message = _distance(row, kind, found, gold)
        if score > 0:
            yield Finding("answer_mismatch", row["id"], score, None, message)


def _unreadable(row: Mapping[str, Any], kind: str, gold: str) -> float:
    said, short = answers.words(gold), len(answers.words(gold)) <= answers.SHORT_ANSWER
    if any(_contains(answers.words(denied), said) for denied in statements.denials(row["rationale"])):
        return UNREADABLE
    if kind == "text" and not short and len(answers.words(row["rationale"])) <= 2 * len(said):
        return float(answers.contradicts(row["rationale"], gold))  # as long as the answer, so it is one
    if kind == "text" or row["source"] == "synthetic":
        whole = statements.reply_of(row["rationale"])
        if (texts.holds(whole, gold) if kind == "text" else _contains(answers.words(whole), said)) or (
            kind == "text" and not short
        ):
            return 0.0
        return UNSTATED if kind == "label" else UNREADABLE
    return UNREADABLE


def _distance(row: Mapping[str, Any], kind: str, found: str, gold: str) -> tuple[float, str]:
    """Return how far a final answer is from the row's, 0 to 1, and what to say of it."""
    message = f"the rationale ends in {_short(found)!r}, the answer is {_short(gold)!r}"
    same = answers.compare(found, gold, kind)
    if same is True:
        return 0.0, message
    if same is None:
        return UNCOMPARED, f"{message}; the two cannot be compared, so the answer is not checked"
    if kind == "number" and row["source"] == "synthetic" and not statements.is_stated(row["rationale"]):
        last = answers.words(statements.last_sentence(row["rationale"]))
        return (UNSTATED if _contains(last, answers.words(gold)) else 1.0), message
    if kind != "text":
        return 1.0, message
    return answers.text_distance(found, gold, stated=statements.is_stated(row["rationale"])), message


def _contains(words: list[str], part: list[str]) -> bool:
    return bool(part) and f" {' '.join(part)} " in f" {' '.join(words)} "


@auditors.register("leakage")
def leakage(batch: pl.DataFrame, context: Context) -> Iterable[Finding]:
    """Find questions, real or synthetic, that are among the validation or test rows."""
    if batch.is_empty() or context.heldout.is_empty():
        return []
    rows, heldout = _keyed(batch), compared(context.heldout)
    findings = []
    for row, other, score in _matches(rows, heldout, context, context.threshold("leakage")):
        how = "is" if score == 1 else f"has a cosine of {score:.2f} to"
        message = f"the prompt {how} that of {heldout['split'][other]} row {heldout['id'][other][:8]}"
        findings.append(Finding("leakage", rows["id"][row], score, heldout["id"][other], message))
    return findings


@auditors.register("near_duplicate")
def near_duplicate(batch: pl.DataFrame, context: Context) -> Iterable[Finding]:
    """Find synthetic questions that repeat a real row, an accepted one or an earlier one of the batch.

    The batch is read in its order: the first of two alike is kept, and what is found does not count against later ones.
    """
    rows = _keyed(batch.filter(pl.col("source") == "synthetic"))
    if rows.is_empty():
        return []
    columns = ["id", "conversation", "prompt_key", "numbers"]
    known = [compared(frame).select(columns) for frame in (context.real, context.accepted)]
    corpus = pl.concat([*known, rows.select(columns)]).with_columns(pl.col("prompt_key").cast(pl.Int64))
    n_known, n_real = corpus.height - rows.height, context.real.height
    threshold = context.threshold("near_duplicate")
    findings: dict[int, Finding] = {}
    for row, other, score in _matches(rows, corpus, context, threshold, best=False):
        if row in findings or (other >= n_known and (other - n_known >= row or other - n_known in findings)):
            continue
        what = "real row" if other < n_real else "synthetic row"
        how = "is" if score == 1 else f"has a cosine of {score:.2f} to"
        message = f"the prompt {how} that of {what} {corpus['id'][other][:8]}"
        findings[row] = Finding("near_duplicate", rows["id"][row], score, corpus["id"][other], message)
    return list(findings.values())


def _keyed(batch: pl.DataFrame) -> pl.DataFrame:
    rows = compared(batch)
    return rows.with_columns(prompt_key=ids.prompt_keys(rows["conversation"]))


def _matches(
    rows: pl.DataFrame, corpus: pl.DataFrame, context: Context, threshold: float, *, best: bool = True
) -> list[tuple[int, int, float]]:
    """Return (position in rows, position in corpus, score) of the same questions, by row, then the most alike first.

    Args:
        rows, corpus: columns ``id, conversation, prompt_key, numbers``; a row is not compared with its own id.
        best: only the first match of each row.
    """
    left = rows.select("id", "conversation", "prompt_key", "numbers").with_row_index("row")
    right = corpus.select("id", "conversation", "prompt_key", "numbers").with_row_index("other")
    equal = left.join(right, on="prompt_key", suffix="_other").filter(pl.col("id") != pl.col("id_other"))
    equal = equal.select("row", "other", score=pl.lit(1.0))
    left = left.filter(pl.col("conversation").str.strip_chars() != "")
    left = left.join(right, on="numbers", how="semi").join(_shared(left, right), on="numbers", how="semi")
    near = _neighbors(left, right.join(left, on="numbers", how="semi"), context, threshold)
    found = pl.concat([equal, near]).group_by("row", "other").agg(pl.col("score").max())
    found = found.sort("row", "score", "other", descending=[False, True, False])
    found = found.unique("row", keep="first", maintain_order=True) if best else found
    return [(int(row), int(other), float(score)) for row, other, score in found.iter_rows()]


def _shared(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Return the numbers that two rows or more hold: no vector is made of a row that would be compared with itself alone."""
    both = pl.concat([frame.select("numbers", "id") for frame in (left, right)]).unique()
    return both.group_by("numbers").len().filter(pl.col("len") > 1).select("numbers")


def _neighbors(left: pl.DataFrame, right: pl.DataFrame, context: Context, threshold: float) -> pl.DataFrame:
    """Return row, other and cosine (0 to 1) of the pairs with equal numbers whose cosine reaches the threshold.

    Each group of equal numbers is searched alone: templates such as "What is _ + _?" are all neighbours of each other.
    """
    schema = pl.Schema({"row": pl.UInt32(), "other": pl.UInt32(), "score": pl.Float64()})
    if left.is_empty() or (left.height == 1 and left["id"].to_list() == right["id"].to_list()):
        return pl.DataFrame(schema=schema)
    texts = pl.concat([left["conversation"], right["conversation"]]).to_list()
    vectors = context.vectors([_end(text) for text in texts])  # (n, d) float32
    corpora = right.with_row_index("at", offset=left.height).partition_by("numbers", as_dict=True)
    found = [pl.DataFrame(schema=schema)]
    for numbers, rows in left.with_row_index("at").partition_by("numbers", as_dict=True, maintain_order=True).items():
        corpus = corpora[numbers]
        query, position, cosine = neighbors.pairs_within(vectors[corpus["at"]], vectors[rows["at"]], threshold)
        pairs = [rows[query].select("row", "id"), corpus[position].select("other", id_other="id")]
        score = pl.Series("score", cosine, dtype=pl.Float64)
        ends = [rows[query].select(text="conversation"), corpus[position].select(text_other="conversation")]
        near = pl.concat([*pairs, *ends], how="horizontal").with_columns(score).filter(pl.col("id") != pl.col("id_other"))
        near = _whole(near, context).filter(pl.col("score") >= threshold - _ROUNDING)
        found.append(near.with_columns(pl.col("score").clip(0.0, 0.9999)).select(schema.names()).cast(schema))  # 1: equal texts
    return pl.concat(found)


def _whole(pairs: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Lower the score of pairs with a long text to the least cosine of their beginnings and of the parts that differ.

    Args:
        pairs: columns ``text, text_other, score``; the score is the cosine of the texts' ends.
    """
    long = pl.max_horizontal(pl.col("text", "text_other").str.len_chars()) > READ_CHARS
    cut, read = pairs.filter(long), pairs.filter(~long)
    if cut.is_empty():
        return pairs
    parts = [(a[:READ_CHARS], b[:READ_CHARS], *_differing(a, b)) for a, b in cut.select("text", "text_other").iter_rows()]
    index = {text: at for at, text in enumerate(dict.fromkeys(text for part in parts for text in part))}
    vectors = context.vectors(list(index))
    least = [
        min(score, float(vectors[index[a]] @ vectors[index[b]]), float(vectors[index[c]] @ vectors[index[d]]))
        for score, (a, b, c, d) in zip(cut["score"], parts, strict=True)
    ]
    return pl.concat([read, cut.with_columns(score=pl.Series(least, dtype=pl.Float64))])


def _end(text: str) -> str:
    """Return a text that an encoder reads whole, or the last part of one that it would cut."""
    return text if len(text) <= READ_CHARS else text[-READ_CHARS:]


def _differing(a: str, b: str) -> tuple[str, str]:
    """Return the lines or sentences of two texts from the first in which they differ to the last, as long as an encoder reads."""
    most = min(len(a), len(b))
    start = next((at for at in range(most) if a[at] != b[at]), most)
    end = next((at for at in range(most - start) if a[-1 - at] != b[-1 - at]), most - start)
    before = max((match.end() for match in _SENTENCE_END.finditer(a, max(0, start - READ_CHARS), start)), default=0)
    parts = []
    for text in (a, b):
        stop = _SENTENCE_END.search(text, len(text) - end)
        parts.append(text[before : stop.end() if stop else len(text)][:READ_CHARS] or text[-READ_CHARS:])
    return parts[0], parts[1]


def _short(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
