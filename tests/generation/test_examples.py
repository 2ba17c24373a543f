import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.audit.audit import with_kinds
from curate.audit.kinds import survey
from curate.balance.decisions import CANDIDATE_ROWS, as_candidate_rows
from curate.calls.client import MeteredTeacher
from curate.errors import InputError
from curate.generation import examples
from curate.generation.examples import Cost, cost, write_examples
from curate.generation.parsing import schema
from curate.generation.rationales import write_rationales
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps
from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.teachers.prices import Price
from curate.teachers.recorded import Recorded
from tests.support.samples import corpus

SEEDS = pl.DataFrame(
    {
        "id": [f"{n:02d}" for n in range(12)],
        "domain": ["sums"] * 9 + ["tea"] * 3,
        "cluster": [0, 0, 0, 1, 1, 1, 2, 2, 2, None, None, None],
        "prompt": [f"question {n}" for n in range(12)],
        "answer": [str(n) for n in range(9)] + ["tea", "tea", "coffee"],
        "rationale": [None] * 12,
    },
    schema_overrides={"rationale": pl.String},
)


def orders(*pairs: tuple[str, int]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"domain": pl.String, "index": pl.Int64}, orient="row")


TEA = corpus({"tea": "label"}, ("coffee", "tea"))


def write(ledger: Ledger, teacher: Any, *pairs: tuple[str, int], caps: Caps | None = None, **options: Any) -> pl.DataFrame:
    metered = MeteredTeacher(teacher, ledger, "math", caps or Caps())
    return write_examples(orders(*pairs), metered, **{"seeds": SEEDS, "context": corpus({}), **options})


def test_one_line_comes_back_for_each_order_in_their_order(ledger: Ledger) -> None:
    told = write(ledger, Fake(), ("sums", 7), ("tea", 0), ("sums", 6))
    assert told.schema == examples.EXAMPLES
    assert told.select("domain", "index", "status").rows() == [
        ("sums", 7, "answered"),
        ("tea", 0, "answered"),
        ("sums", 6, "answered"),
    ]
    assert told["prompt"].n_unique() == 3
    assert json.loads(told["raw"][0])["prompt"] == told["prompt"][0]


def test_the_same_order_asks_the_same_and_is_bought_once(ledger: Ledger) -> None:
    teacher = Fake()
    first = write(ledger, teacher, ("sums", 0), ("sums", 1))
    again = write(ledger, teacher, ("sums", 1), ("sums", 0), caps=Caps(calls=2))
    assert first.sort("index").equals(again.sort("index"))
    assert len(teacher.sent) == 2
    write(ledger, teacher, ("sums", 0), seeds=SEEDS.reverse())
    assert len(teacher.sent) == 2
    write(ledger, teacher, ("sums", 0), seed=1)
    assert len(teacher.sent) == 3


def test_seeds_come_from_different_clusters_and_are_the_parents(ledger: Ledger) -> None:
    teacher = Fake()
    told = write(ledger, teacher, *(("sums", n) for n in range(8)), n_seeds=3)
    clusters = dict(SEEDS.select("id", "cluster").iter_rows())
    for parents, request in zip(told["parents"], teacher.sent, strict=True):
        assert {clusters[parent] for parent in parents} == {0, 1, 2}
        shown = [f"question {int(parent)}" in request.messages[-1]["content"] for parent in parents]
        assert shown == [True] * 3
    assert len({tuple(sorted(parents)) for parents in told["parents"]}) > 1


def test_classes_are_asked_for_by_name_in_turn(ledger: Ledger) -> None:
    teacher = Fake()
    told = write(ledger, teacher, *(("tea", n) for n in range(4)), context=TEA)
    asked = [str(request.label) for request in teacher.sent]
    assert asked in (["coffee", "tea"] * 2, ["tea", "coffee"] * 2)
    assert told["answer"].to_list() == asked
    assert f'of the class "{asked[0]}"' in teacher.sent[0].messages[-1]["content"]
    assert teacher.sent[0].schema == schema(1, [asked[0]])
    ordered = orders(("tea", 9)).with_columns(label=pl.lit("tea"))
    metered = MeteredTeacher(teacher, ledger, "math")
    write_examples(ordered, metered, seeds=SEEDS, context=TEA)
    assert teacher.sent[-1].label == "tea"


def test_the_reply_follows_a_schema(ledger: Ledger) -> None:
    teacher = Fake()
    write(ledger, teacher, ("sums", 0), reply_tokens=99, temperature=0.3)
    request = teacher.sent[0]
    assert (request.schema, request.max_tokens, request.temperature) == (schema(), 99, 0.3)
    assert (request.purpose, request.sample) == ("synthesis", 0)


def test_a_domain_without_rows_is_written_for_all_the_same(ledger: Ledger) -> None:
    told = write(ledger, Fake(), ("nothing", 0), context=corpus({"nothing": "label"}))
    assert (told["status"][0], told["parents"].to_list(), told["answer"][0]) == ("answered", [[]], "nothing")


def test_a_reply_that_cannot_be_read_keeps_its_text(ledger: Ledger) -> None:
    teacher = Fake(script=lambda request, n: RawResponse.of("Sorry, I can't.", finish_reason="stop"))
    told = write(ledger, teacher, ("sums", 0))
    assert told.select("prompt", "rationale", "answer", "status", "raw").row(0) == ("", "", "", "answered", "Sorry, I can't.")
    batch = as_candidate_rows(told, "fake")
    assert json.loads(batch["extra"][0]) == {"reply": "Sorry, I can't."}


def test_what_is_not_answered_has_no_prompt_and_no_parents(ledger: Ledger) -> None:
    told = write(ledger, Fake(new_examples=1), ("sums", 0), ("sums", 1))
    assert told["status"].to_list() == ["answered", "unanswered"]
    assert told.row(1, named=True)["prompt"] is None
    assert told["parents"][1] is None
    assert write(ledger, Fake(model="x"), ("sums", 2), caps=Caps(calls=0))["status"].to_list() == ["capped"]


def test_a_recordings_parents_are_those_that_it_names(ledger: Ledger, tmp_path: Path) -> None:
    common = {"rationale": "r", "answer": "1", "domain": "sums", "kind": "synthetic"}
    records = [{"prompt": "new", **common, "parents": ["question 3", "no"]}, {"prompt": "newer", **common, "parents": None}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    told = write(ledger, Recorded(tmp_path / "t.jsonl"), ("sums", 0), ("sums", 1))
    assert told["parents"].to_list() == [["03"], []]


def test_a_batch_has_new_rows_with_ids_of_their_own(ledger: Ledger) -> None:
    same = RawResponse.of('{"prompt": "again", "rationale": "r", "answer": "1"}')
    told = write(ledger, Fake(script=lambda request, n: same), ("sums", 0), ("sums", 1), ("tea", 0))
    batch = as_candidate_rows(told, "fake")
    assert batch.schema == CANDIDATE_ROWS
    assert batch["id"].n_unique() == 3
    assert batch["origin"].to_list() == ["teacher:fake#0", "teacher:fake#1", "teacher:fake#0"]
    assert batch.select("source", "new").unique().rows() == [("synthetic", True)]


def test_a_request_is_not_shaped_by_what_was_asked_before(ledger: Ledger) -> None:
    def sent(*pairs: tuple[str, int]) -> list[Request]:
        teacher = Fake(model="-".join(str(index) for _, index in pairs))
        write(ledger, teacher, *pairs)
        return teacher.sent

    assert sent(("sums", 4)) == sent(("sums", 0), ("sums", 4))[1:]


LETTERED = pl.DataFrame(
    {
        "id": [f"{n:02d}" for n in range(5)],
        "domain": ["quiz"] * 5,
        "cluster": [0, 1, 2, 3, 4],
        "prompt": [f"Question {n}? (A) one (B) two (C) three" for n in range(4)] + ["Yes? (A) yes (B) no"],
        "answer": ["A"] * 5,
        "rationale": [None] * 5,
    },
    schema_overrides={"rationale": pl.String},
)


def test_letters_are_asked_for_in_turn_and_no_other_may_come(ledger: Ledger) -> None:
    teacher = Fake()
    write(ledger, teacher, *(("quiz", n) for n in range(6)), seeds=LETTERED, context=corpus({"quiz": "choice"}))
    asked = [request.label for request in teacher.sent]
    assert sorted(asked[:3]) == ["A", "B", "C"]
    assert asked[3:] == asked[:3]
    for request in teacher.sent:
        assert request.schema == schema(1, ["A", "B", "C"])
        assert f"stands at ({request.label})" in request.messages[-1]["content"]
        assert "Exactly 3 options, lettered A, B, C" in request.messages[-1]["content"]


def test_what_is_written_already_is_named(ledger: Ledger) -> None:
    teacher = Fake()
    written = pl.DataFrame({"domain": ["sums"], "prompt": ["A shelf of " + "books " * 20]})
    write(ledger, teacher, ("sums", 0), ("tea", 0), context=corpus({}, accepted=written))
    asked = [request.messages[-1]["content"] for request in teacher.sent]
    assert ["- A shelf of " + "books " * 9 + "…" in text for text in asked] == [True, False]


def test_several_examples_come_in_one_reply_each_with_its_own_number(ledger: Ledger) -> None:
    teacher = Fake()
    pairs = [("sums", n) for n in range(3, 8)] + [("tea", 0), ("tea", 1)]
    told = write(ledger, teacher, *pairs, context=TEA, rows_per_call=2, reply_tokens=100)
    assert told.select("domain", "index").rows() == pairs
    assert [(request.domain, request.sample, request.max_tokens) for request in teacher.sent] == [
        ("sums", 3, 200),
        ("sums", 5, 200),
        ("sums", 7, 100),
        ("tea", 0, 200),
    ]
    assert told["prompt"].n_unique() == 7
    assert sorted(told["answer"][5:]) == ["coffee", "tea"]
    assert told["call_id"].n_unique() == 4
    assert as_candidate_rows(told, "fake")["origin"].to_list() == [f"teacher:fake#{index}" for _, index in pairs]
    again = write(ledger, teacher, *pairs, context=TEA, rows_per_call=2, reply_tokens=100)
    assert again.equals(told)
    assert len(teacher.sent) == 4


def test_of_a_reply_that_is_partly_there_the_whole_examples_count(ledger: Ledger) -> None:
    text = json.dumps({"examples": [{"prompt": f"q{n}", "rationale": "r", "answer": "1"} for n in range(3)]})[:-41]
    teacher = Fake(script=lambda request, n: RawResponse.of(text, finish_reason="length"))
    told = write(ledger, teacher, *(("sums", n) for n in range(4)), rows_per_call=4)
    assert told["prompt"].to_list() == ["q0", "q1", "", ""]
    assert told["finish_reason"].to_list() == [None, None, "length", "length"]
    assert told["raw"].to_list() == [None, None, text, None]
    batch = as_candidate_rows(told, "fake")
    assert [extra and json.loads(extra) for extra in batch["extra"]] == [None, None, {"reply": text}, None]
    assert batch["id"].n_unique() == 4


def test_a_teacher_with_a_fixed_number_of_examples_is_asked_for_one_at_a_time(ledger: Ledger) -> None:
    teacher = Fake(new_examples=3)
    told = write(ledger, teacher, *(("sums", n) for n in range(4)), rows_per_call=4)
    assert told["status"].to_list() == ["answered"] * 3 + ["unanswered"]
    assert [request.sample for request in teacher.sent] == [0, 1, 2, 3]


def test_what_replies_cost_does_not_depend_on_who_bought_them(ledger: Ledger) -> None:
    teacher = Fake(price=Price(1.0, 2.0))
    pairs = [("sums", n) for n in range(4)]
    told = write(ledger, teacher, *pairs, rows_per_call=2)
    paid = MeteredTeacher(teacher, ledger, "math")
    again = write_examples(orders(*pairs), paid, seeds=SEEDS, context=corpus({}), rows_per_call=2)
    assert paid.account.charged().calls == 0
    assert cost(told) == cost(again)
    first = cost(told)
    assert first.usd is not None
    assert 0 < first.usd < 1e-2
    assert first.per_row(2) == (first.tokens / 2, first.usd / 2)
    assert first.per_row(0) == (None, None)
    assert (first + Cost(10, None)) == Cost(first.tokens + 10, None)
    assert cost(write(ledger, Fake(price=None), ("sums", 0))).usd is None


def test_rows_per_call_is_one_or_more(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="--rows-per-call must be at least 1, got 0"):
        write(ledger, Fake(), ("sums", 0), rows_per_call=0)


def test_a_chat_is_shown_with_the_turns_before_its_question(ledger: Ledger) -> None:
    history = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])
    seeds = SEEDS.with_columns(messages=pl.lit(history))[:1]
    kept: list[Request] = []

    class Keeping(Fake):
        async def submit(self, requests: Any) -> Any:
            kept.extend(requests)
            async for answer in super().submit(requests):
                yield answer

    told = write(ledger, Keeping(), ("sums", 0), seeds=seeds)
    assert json.dumps("user: hi\n\nassistant: hello\n\nuser: question 0") in kept[0].messages[-1]["content"]
    assert told["parents"].to_list() == [["00"]]
    asked = SEEDS[:2].with_columns(messages=pl.Series([None, history]))
    write_rationales(asked, MeteredTeacher(Keeping(), ledger, "math", Caps()), context=corpus({}))
    assert [request.prompt for request in kept[1:]] == ["question 0", "user: hi\n\nassistant: hello\n\nuser: question 1"]
    assert kept[2].prompt in kept[2].messages[-1]["content"]


def of_three_kinds() -> tuple[pl.DataFrame, Any]:
    """Seeds of a domain of choices, sums and texts, two, four and eight, and their context."""
    rows = [
        *((f"Which is it, {n}?\n(A) this\n(B) that", "AB"[n], None) for n in range(2)),
        *((f"What is {n} times 9?", str(9 * n), "number") for n in range(4)),
        *((f"Tell of town {n}.", f"a town of {n} houses by the sea", None) for n in range(8)),
    ]
    frame = pl.DataFrame(rows, schema=["prompt", "answer", "kind"], orient="row").with_columns(
        id=pl.int_range(pl.len()).cast(pl.String),
        domain=pl.lit("all"),
        cluster=0,
        rationale=pl.lit(None, pl.String),
        messages=None,
    )
    return frame.with_columns(pl.col("messages").cast(pl.String)), survey(frame)


def test_in_a_domain_of_several_kinds_each_request_is_for_one_and_shows_rows_of_it(ledger: Ledger) -> None:
    seeds, found = of_three_kinds()
    assert (found.mixed, found.own) == ({"all"}, {"all"})
    teacher = Fake()
    told = write(ledger, teacher, *(("all", n) for n in range(14)), seeds=seeds, context=with_kinds(corpus({}), found))
    assert sorted(told["kind"]) == ["choice"] * 2 + ["number"] * 4 + ["text"] * 8
    kinds = dict(zip(seeds["id"], ["choice"] * 2 + ["number"] * 4 + ["text"] * 8, strict=True))
    for parents, kind, request in zip(told["parents"], told["kind"], teacher.sent, strict=True):
        assert {kinds[parent] for parent in parents} == {kind}
        words = {"choice": "lettered", "number": "problem", "text": "question"}[kind]
        assert words in " ".join(str(message["content"]) for message in request.messages).casefold()
    assert as_candidate_rows(told, "fake")["kind"].to_list() == told["kind"].to_list()
    assert write(ledger, Fake(), ("sums", 0))["kind"].to_list() == [None]


def test_a_recordings_examples_are_of_the_kind_that_they_have(ledger: Ledger, tmp_path: Path) -> None:
    seeds, found = of_three_kinds()
    record = {"prompt": "new", "rationale": "r", "answer": "1", "domain": "all", "kind": "synthetic", "parents": None}
    (tmp_path / "t.jsonl").write_text(json.dumps(record) + "\n")
    told = write(ledger, Recorded(tmp_path / "t.jsonl"), ("all", 0), seeds=seeds, context=with_kinds(corpus({}), found))
    assert (told["status"].to_list(), told["kind"].to_list()) == (["answered"], [None])
