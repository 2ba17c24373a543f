import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import writing
from curate.calls import Answer, Request
from curate.fakes import Fake
from curate.ledger import Caps, Ledger
from curate.prompts import synthesis_schema
from curate.settling import BATCH
from curate.teachers import Account, Recorded
from curate.writing import as_batch, pick_seeds, write_examples

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


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "manifests" / "ledger.sqlite")


def write(ledger: Ledger, teacher: Any, *pairs: tuple[str, int], caps: Caps | None = None, **options: Any) -> pl.DataFrame:
    account = Account(teacher, ledger, "math", caps or Caps())
    return write_examples(orders(*pairs), account, **{"seeds": SEEDS, "kinds": {}, **options})


def test_one_line_comes_back_for_each_order_in_their_order(ledger: Ledger) -> None:
    told = write(ledger, Fake(), ("sums", 7), ("tea", 0), ("sums", 6))
    assert told.schema == writing.EXAMPLES
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
    told = write(ledger, teacher, *(("tea", n) for n in range(4)), kinds={"tea": "label"}, labels=["coffee", "tea"])
    assert [request.label for request in teacher.sent] == ["coffee", "tea", "coffee", "tea"]
    assert told["answer"].to_list() == ["coffee", "tea", "coffee", "tea"]
    assert 'whose answer is "coffee"' in teacher.sent[0].messages[-1]["content"]
    ordered = orders(("tea", 9)).with_columns(label=pl.lit("tea"))
    account = Account(teacher, ledger, "math")
    write_examples(ordered, account, seeds=SEEDS, kinds={"tea": "label"})
    assert teacher.sent[-1].label == "tea"


def test_the_reply_follows_a_schema(ledger: Ledger) -> None:
    teacher = Fake()
    write(ledger, teacher, ("sums", 0), reply_tokens=99, temperature=0.3)
    request = teacher.sent[0]
    assert (request.schema, request.max_tokens, request.temperature) == (synthesis_schema(), 99, 0.3)
    assert (request.purpose, request.sample) == ("synthesis", 0)


def test_a_domain_without_rows_is_written_for_all_the_same(ledger: Ledger) -> None:
    told = write(ledger, Fake(), ("nothing", 0), kinds={"nothing": "label"})
    assert (told["status"][0], told["parents"].to_list(), told["answer"][0]) == ("answered", [[]], "nothing")


def test_a_reply_that_cannot_be_read_keeps_its_text(ledger: Ledger) -> None:
    teacher = Fake(script=lambda request, n: Answer.of("Sorry, I can't.", finish_reason="stop"))
    told = write(ledger, teacher, ("sums", 0))
    assert told.select("prompt", "rationale", "answer", "status", "raw").row(0) == ("", "", "", "answered", "Sorry, I can't.")
    batch = as_batch(told, "fake")
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
    same = Answer.of('{"prompt": "again", "rationale": "r", "answer": "1"}')
    told = write(ledger, Fake(script=lambda request, n: same), ("sums", 0), ("sums", 1), ("tea", 0))
    batch = as_batch(told, "fake")
    assert batch.schema == BATCH
    assert batch["id"].n_unique() == 3
    assert batch["origin"].to_list() == ["teacher:fake#0", "teacher:fake#1", "teacher:fake#0"]
    assert batch.select("source", "new").unique().rows() == [("synthetic", True)]


ROW = st.fixed_dictionaries(
    {"id": st.uuids().map(str), "cluster": st.one_of(st.none(), st.integers(0, 3)), "answer": st.sampled_from("AB")}
)


@given(
    st.lists(ROW, max_size=20, unique_by=lambda row: row["id"]), st.integers(0, 8), st.text(), st.sampled_from([None, "A", "C"])
)
def test_picking_spreads_over_clusters_and_does_not_depend_on_the_order(
    rows: list[dict[str, Any]], n: int, seed: str, label: str | None
) -> None:
    chosen = pick_seeds(rows, n, seed=seed, label=label)
    assert chosen == pick_seeds(rows[::-1], n, seed=seed, label=label)
    assert len(chosen) == min(n, len(rows)) == len({row["id"] for row in chosen})
    fitting = [row for row in rows if label is None or row["answer"] == label]
    assert sum(row in fitting for row in chosen) == min(n, len(fitting))
    clusters = {row["cluster"] for row in fitting}
    assert len({row["cluster"] for row in chosen if row in fitting}) == min(n, len(clusters))


def test_requests_do_not_depend_on_the_process() -> None:
    rows = SEEDS.filter(domain="sums").to_dicts()
    assert [row["id"] for row in pick_seeds(rows, 4, seed="0/sums/0")] == ["06", "03", "00", "04"]


def test_a_request_is_not_shaped_by_what_was_asked_before(ledger: Ledger) -> None:
    def sent(*pairs: tuple[str, int]) -> list[Request]:
        teacher = Fake(model="-".join(str(index) for _, index in pairs))
        write(ledger, teacher, *pairs)
        return teacher.sent

    assert sent(("sums", 4)) == sent(("sums", 0), ("sums", 4))[1:]
