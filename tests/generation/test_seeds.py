from collections import Counter
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curate.generation.seeds import answers_in_turn, openings, pick_seeds

ROW = st.fixed_dictionaries(
    {
        "id": st.uuids().map(str),
        "cluster": st.one_of(st.none(), st.integers(0, 3)),
        "answer": st.sampled_from("AB"),
        "prompt": st.just("p"),
        "rationale": st.none(),
    }
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
    rows = [row(n) for n in range(9)]
    assert [row["id"] for row in pick_seeds(rows, 4, seed="0/sums/0")] == ["06", "03", "00", "04"]


def test_rows_that_would_make_every_request_dear_come_last_within_their_label() -> None:
    rows = [row(n, rationale="so " * 3000 if n % 2 else None) for n in range(6)]
    assert {row["id"] for row in pick_seeds(rows, 3, seed="0")} == {"00", "02", "04"}
    assert "01" in {row["id"] for row in pick_seeds(rows, 2, seed="0", label="1")}


def row(n: int, rationale: str | None = None) -> dict[str, Any]:
    return {"id": f"{n:02d}", "cluster": n // 3, "answer": str(n), "prompt": "Which?", "rationale": rationale}


def test_every_class_has_its_turn_and_the_seed_draws_the_order() -> None:
    rows = [{"prompt": "", "answer": answer} for answer in ("tin", "tea", "tin", "zinc", None)]
    turns = answers_in_turn(rows, "label", domain="d", seed=0)
    assert sorted(turns) == ["tea", "tin", "zinc"]
    assert turns == answers_in_turn(rows[::-1], "label", domain="d", seed=0)
    assert len({answers_in_turn(rows, "label", domain="d", seed=seed) for seed in range(20)}) > 1
    assert answers_in_turn([], "label", domain="cpu", seed=0) == ("cpu",)
    assert answers_in_turn(rows, "number", domain="d", seed=0) == ()


def test_the_letters_are_those_that_most_questions_offer() -> None:
    rows = [{"prompt": f"Q? {options}", "answer": "A"} for options in ("(A) x (B) y", "A. x B. y", "(A) x (B) y (C) z")]
    turns = Counter(answers_in_turn(rows, "choice", domain="d", seed=seed) for seed in range(20))
    assert set(turns) == {("A", "B"), ("B", "A")}
    assert answers_in_turn([], "choice", domain="d", seed=0) == ()


def test_openings_are_the_last_ones_and_short() -> None:
    written = pl.DataFrame({"domain": ["a"] * 10 + ["b"], "prompt": [f"{n} " + "w " * 30 for n in range(10)] + [None]})
    found = openings(written)
    assert [text.split()[0] for text in found["a"]] == [str(n) for n in range(2, 10)]
    assert {len(text.split()) for text in found["a"]} == {12}
    assert "b" not in found
    assert openings(written.clear()) == {}
