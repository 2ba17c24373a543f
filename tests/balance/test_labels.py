"""Rows of several labels: each is asked for once, counts for all of its labels, and never more rows than slots are taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.balance import cost, rounds
from curate.balance.decisions import CANDIDATE_ROWS
from curate.balance.pool import open_pools
from curate.balance.rounds import RoundsResult, Verdict
from curate.balance.settings import BalanceSettings
from curate.errors import UnknownNameError
from curate.export.export import export
from curate.housekeeping.unselect import unselect
from curate.manifest.history import diff
from curate.manifest.manifest import Manifest
from curate.manifest.rows import count_labels, file_labels, several_labels
from curate.manifest.schema import conform
from curate.report.explain import explain
from curate.report.profile import profile
from curate.report.show import show
from curate.selection import feedback
from curate.selection.base import Quotas, selectors
from curate.selection.select import select
from curate.terminal import layouts
from tests.support.balancing import ENCODER, questions, run, teacher
from tests.support.samples import frames, ingested
from tests.terminal.test_layouts import seen, words

LABELS = st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=3), min_size=1, max_size=25)
SLOTS = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 8), min_size=1)
POLICIES = ("natural", "uniform", "adaptive", "temperature")


def labelled(labels: Sequence[Sequence[str]], **more: Any) -> list[dict[str, Any]]:
    filed = file_labels(pl.Series([list(mine) for mine in labels], dtype=pl.List(pl.String))).rows()
    texts = questions({"x": len(filed)})
    return [{**text, "domain": d, "labels": all_of, **more} for text, (d, all_of) in zip(texts, filed, strict=True)]


class _Judged(rounds._StageRunner):
    """A stage without texts: rows whose position by id is in `unfit` are rejected."""

    unfit: frozenset[int] = frozenset()

    def stored(self, ids: Sequence[str]) -> pl.DataFrame:
        order = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String})
        rows = order.join(self.rows, on="id", maintain_order="left").with_columns(new=pl.lit(False))
        return conform(rows, CANDIDATE_ROWS, drop=True)

    def judge(self, batch: pl.DataFrame) -> list[Verdict]:
        position = {row_id: n for n, row_id in enumerate(self.rows["id"].sort())}
        unfit = {row_id for row_id, n in position.items() if n in self.unfit}
        return [Verdict(row, "malformed" if row["id"] in unfit else None, []) for row in batch.iter_rows(named=True)]


def filled(rows: pl.DataFrame, slots: dict[str, int], *, unfit: frozenset[int] = frozenset(), fill: str = "none") -> RoundsResult:
    settings = BalanceSettings(budget=sum(slots.values()), fill=fill, rationales="none", selector="random")
    pools, attempts = open_pools(rows, Quotas(slots, slots, sum(slots.values())))
    given: dict[str, Any] = {"manifest": None, "context": None}
    runner = _Judged(
        rows=rows, pools=pools, asker=None, auditors=(), stage=0, attempts=attempts, settings=settings, max_attempts=5,
        labels=several_labels(rows), **given,
    )  # fmt: skip
    runner.unfit = unfit
    return runner.run("stage 0")


def accepted(found: RoundsResult, rows: pl.DataFrame) -> list[str]:
    return [row_id for row_id, line in found.decisions._decided.items() if line["status"] == "selected"]


@given(LABELS, SLOTS, st.frozensets(st.integers(0, 24)))
def test_every_label_has_its_slots_where_rows_suffice_with_no_row_twice(
    labels: list[list[str]], slots: dict[str, int], unfit: frozenset[int]
) -> None:
    rows = frames(labelled(labels))[0]
    names = {name for mine in labels for name in mine}
    slots = {name: slots.get(name, 0) for name in names | set(slots)}
    found = filled(rows, slots, unfit=unfit)
    taken = rows.filter(pl.col("id").is_in(accepted(found, rows)))
    assert found.rows == taken.height == len(accepted(found, rows)) <= sum(slots.values())
    counted = count_labels(taken)
    assert found.achieved == {name: counted.get(name, 0) for name in slots}
    ordered = rows.sort("id").with_row_index("n").with_columns(fit=~pl.col("n").is_in(list(unfit)))
    fit = count_labels(ordered.filter("fit"))
    assert all(found.achieved[name] >= min(n, fit.get(name, 0)) for name, n in slots.items())


@given(LABELS, SLOTS)
def test_repeats_count_for_every_label_of_what_they_repeat(labels: list[list[str]], slots: dict[str, int]) -> None:
    rows = frames(labelled(labels))[0]
    names = {name for mine in labels for name in mine}
    slots = {name: slots.get(name, 0) for name in names}
    found = filled(rows, slots, fill="repeat")
    result = found.decisions.rows().filter(status="selected")
    assert result["id"].n_unique() == result.height == found.rows <= sum(slots.values())
    counted = count_labels(result)
    assert found.achieved == {name: counted.get(name, 0) for name in slots}
    assert all(found.achieved[name] >= n for name, n in slots.items())


def test_shared_rows_are_taken_for_the_rare_label_and_count_for_the_common_one() -> None:
    rows = frames(labelled([["common", "rare"]] * 2 + [["common"]] * 20))[0]
    found = filled(rows, {"common": 5, "rare": 2})
    assert (found.rows, found.achieved) == (5, {"rare": 2, "common": 5})


@pytest.mark.parametrize("policy", POLICIES)
def test_stages_of_every_policy_meet_their_quotas_with_fewer_rows(tmp_path: Path, policy: str) -> None:
    labels = [["a", "b"]] * 12 + [["a"]] * 20 + [["b", "c"]] * 6 + [["c"]] * 2
    start = ingested(tmp_path, labelled(labels))
    done = run(start, budget=24, stages=2, policy=policy, fill="none", rationales="none", selector="random")
    selected = done.manifest.rows().filter(status="selected")
    for stage in done.stages:
        mine = selected.filter(stage=stage.stage)
        assert stage.rows == stage.n_rows == mine.height <= stage.budget == sum(stage.quotas.planned.values())
        counted = count_labels(mine)
        assert stage.achieved == {name: counted.get(name, 0) for name in "abc"}
        assert all(counted.get(name, 0) >= n for name, n in stage.quotas.planned.items())
    assert done.to_dict()["rows"] == selected.height < sum(sum(stage.achieved.values()) for stage in done.stages)
    assert f"a row counts for each of its labels, so {done.stages[0].rows} rows count as" in words(seen(done))
    again = run(done.manifest, budget=24, stages=2, policy=policy, fill="none", rationales="none", selector="random")
    assert [(stage.reused, stage.rows) for stage in again.stages] == [(True, stage.rows) for stage in done.stages]
    assert f"{done.stages[1].rows} of 12 rows" in layouts._what(done.manifest.log()[-1])


@pytest.mark.parametrize("by", ["unselect", "select"])
def test_rows_that_are_selected_already_fill_slots_of_all_their_labels(tmp_path: Path, by: str) -> None:
    start = ingested(tmp_path, labelled([["a", "b"]] * 8 + [["a"]] * 20 + [["b", "c"]] * 4))
    options: dict[str, Any] = {"budget": 18, "fill": "none", "rationales": "none", "selector": "random"}
    if by == "unselect":
        before = unselect(run(start, **options).manifest, domains=["c"]).manifest
    else:
        before = select(start, n=3, selector="random", encoder=ENCODER).manifest
    kept = set(before.rows().filter(status="selected")["id"])
    done = run(before, **options)
    selected = done.manifest.rows().filter(status="selected")
    assert kept
    assert kept <= set(selected["id"])
    (stage,) = done.stages
    assert stage.rows == selected.height <= 18
    counted = count_labels(selected)
    assert stage.achieved == counted
    assert all(counted[name] >= n for name, n in stage.quotas.planned.items())


def test_a_teacher_writes_for_a_label_under_which_no_row_is_filed(tmp_path: Path) -> None:
    start = ingested(tmp_path, labelled([["head", "tail"]] * 2 + [["head"]] * 20))
    done = run(start, budget=12, teacher=teacher(), rationales="keep")
    (stage,) = done.stages
    assert stage.achieved["tail"] == 6 == stage.synthetic["tail"] + 2
    written = done.manifest.rows().filter(source="synthetic", status="selected")
    assert set(written["domain"]) == {"tail"}
    assert written["labels"].null_count() == written.height
    assert stage.rows == done.manifest.rows().filter(status="selected").height <= 12


def test_a_dry_run_asks_for_a_shared_row_once() -> None:
    rows = frames(labelled([["a", "b"]] * 10))[0]
    real, examples = cost._split(rows, {"a": 4, "b": 4}, {})
    assert (sum(real.values()), sum(examples.values())) == (4, 0)


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=9), st.integers(0, 9))
def test_a_dry_run_without_several_labels_counts_slots(domains: list[str], n: int) -> None:
    rows = frames({"domain": domain, "prompt": f"{i}"} for i, domain in enumerate(domains))[0]
    counts = Counter(domains)
    assert cost._split(rows, {"a": n, "b": n}, {})[0] == {name: min(n, counts[name]) for name in "ab"}


def test_select_gives_each_label_its_rows_and_says_how_many_rows_these_are(tmp_path: Path) -> None:
    start = ingested(tmp_path, labelled([["a", "b"]] * 3 + [["a"]] * 9 + [["b", "c"]]))
    made = select(start, n=4, selector="random", encoder=ENCODER)
    rows = made.manifest.rows()
    selected = rows.filter(status="selected")
    assert made.chosen == {"a": 4, "b": 4, "c": 1} == count_labels(selected)
    assert (made.rows, made.short) == (5, {"c": 3})
    assert selected["reason"].str.starts_with("random").all()
    assert rows.filter(status="candidate")["reason"].str.starts_with("not chosen: ").all()
    assert "a row counts for each of its labels, so 5 rows count as 9" in words(seen(made))
    again = select(made.manifest, n=4, selector="random", encoder=ENCODER)
    assert (again.manifest, again.rows, again.already) == (made.manifest, 0, made.chosen)


@given(LABELS, st.integers(1, 6))
def test_select_never_needs_more_rows_than_slots(labels: list[list[str]], n: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = select(ingested(Path(folder), labelled(labels)), n=n, selector="random", encoder=ENCODER)
        selected = made.manifest.rows().filter(status="selected")
    there = Counter(name for mine in labels for name in set(mine))
    assert all(made.chosen[name] >= min(n, there[name]) for name in there)
    assert made.rows == selected.height <= sum(min(n, there[name]) for name in there)
    assert made.chosen == {**dict.fromkeys(there, 0), **count_labels(selected)}


@pytest.fixture
def chosen(tmp_path: Path) -> Manifest:
    rows = labelled([["a", "b"], ["a"], ["c"]], status="selected")
    return ingested(tmp_path, [*rows, {"prompt": "z", "domain": "a"}])


def test_rows_are_taken_back_by_any_of_their_labels(chosen: Manifest) -> None:
    made = unselect(chosen, domains=["b"])
    assert (made.rows, made.domains) == (1, {"a": 1, "b": 1})


def test_rows_are_shown_and_compared_by_any_of_their_labels(chosen: Manifest) -> None:
    found = show(chosen, domains=["b"])
    assert found.matched == 1
    assert "labels a, b" in words(seen(found))
    with pytest.raises(UnknownNameError, match="unknown domain 'bb'"):
        show(chosen, domains=["bb"])
    changed = chosen.commit(chosen.rows().with_columns(status=pl.lit("candidate")), verb="review")
    counts = {line.domain: line.changed for line in diff(changed).domains}
    assert counts == {"a": 2, "b": 1, "c": 1}
    assert diff(changed).changed == 3


def test_a_profile_counts_per_label_and_its_rows_once(chosen: Manifest) -> None:
    found = profile(chosen)
    assert (found.rows, found.several, found.splits) == (4, 1, {"train": 4})
    assert {part.domain: (part.rows, part.selected) for part in found.domains} == {"a": (3, 2), "b": (1, 1), "c": (1, 1)}
    assert sum(part.share for part in found.domains) == pytest.approx(1)
    assert found.domains[-1].cumulative == pytest.approx(1)
    assert found.uncounted == 4
    lengths = chosen.rows()["n_chars"].to_list()
    assert (found.chars and found.chars.max, found.chars and found.chars.p50) == (max(lengths), pl.Series(lengths).median())
    assert "several labels 1 rows; a row counts for each of its labels" in words(seen(found))
    by_cluster = profile(chosen, by="cluster")
    assert {part.domain: part.rows for part in by_cluster.domains} == {"a": 3, "c": 1}


def test_the_story_of_a_row_names_its_labels_and_what_was_planned_for_each(tmp_path: Path) -> None:
    start = ingested(tmp_path, labelled([["a", "b"]] * 2))
    done = run(start, budget=2, fill="none", rationales="none", selector="random").manifest
    story = "\n".join(line for step in explain(done, done.rows()["id"][0]).steps for line in step.lines)
    assert "domain a (labels a, b: it counts in each)" in story
    assert "stage 0 plans 1 slots for a; 2 real rows are left" in story
    assert "stage 0 plans 1 slots for b; 2 real rows are left" in story


def test_exports_name_all_domains_of_a_row(chosen: Manifest, tmp_path: Path) -> None:
    for form in ("jsonl", "chat", "parquet", "datasets"):
        export(chosen, to=form, destination=str(tmp_path / form))
    table = pl.read_ndjson(tmp_path / "jsonl" / "train.jsonl")
    assert sorted(table["domains"].to_list()) == [["a"], ["a", "b"], ["c"]]
    assert sorted(pl.read_ndjson(tmp_path / "chat" / "train.jsonl")["domains"].to_list()) == [["a"], ["a", "b"], ["c"]]
    assert sorted(pl.read_parquet(tmp_path / "parquet" / "train.parquet")["domains"].to_list()) == [["a"], ["a", "b"], ["c"]]
    card = (tmp_path / "datasets" / "README.md").read_text(encoding="utf-8")
    assert "A row of several domains counts in each." in card
    assert "| a | 3 | 2 | 2 | 0 |" in card
    assert "| b | 1 | 1 | 1 | 0 |" in card


@pytest.mark.parametrize("selector", selectors.names())
def test_every_selector_fills_the_slots_of_every_label_with_rows_that_count_for_all_of_theirs(
    tmp_path: Path, selector: str
) -> None:
    rows = labelled([["a", "b"]] * 10 + [["a"]] * 20 + [["b", "c"]] * 5 + [["c"]] * 4)
    scored = [
        {**row, "cluster": n % 4, "centrality": n / 50, "score": n % 7 / 7, "score_kind": "ifd_ppl:answer", "scored_by": "s"}
        for n, row in enumerate(rows)
    ]
    start = ingested(tmp_path, scored)
    options: dict[str, Any] = {"budget": 16, "stages": 2, "fill": "none", "rationales": "none", "selector": selector}
    done = run(start, **options)
    selected = done.manifest.rows().filter(status="selected")
    for stage in done.stages:
        mine = selected.filter(stage=stage.stage)
        counted = count_labels(mine)
        assert mine.height == stage.rows <= stage.budget
        assert all(counted.get(name, 0) >= n for name, n in stage.quotas.planned.items())
    again = run(ingested(tmp_path / "again", scored[::-1]), **options).manifest.rows().filter(status="selected")
    assert set(again["prompt_key"]) == set(selected["prompt_key"]), "the order of the rows makes no difference"


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_need_shifts_slots_to_the_labels_where_the_student_is_wrong(tmp_path: Path, weight: float) -> None:
    start = ingested(tmp_path, labelled([["a", "b"]] * 12 + [["a"]] * 20 + [["b", "c"]] * 8 + [["c"]] * 6))
    options: dict[str, Any] = {
        "budget": 20,
        "stages": 2,
        "policy": "need",
        "fill": "none",
        "rationales": "none",
        "selector": "random",
    }
    first = run(start, **options, stage=0).manifest
    lines = [{"domain": "a", "n": 20, "correct": 18}, {"domain": "c", "n": 20, "correct": 2}]  # nothing is known of b
    (usual,) = run(first, **{**options, "policy": "adaptive"}, stage=1, dry_run=True).stages
    done = run(first, **options, stage=1, need_weight=weight, metrics={"split": "validation", "domains": lines})
    (stage,) = done.stages
    assert sum(stage.quotas.wanted.values()) == sum(stage.quotas.planned.values()) == 10
    counted = count_labels(done.manifest.rows().filter(status="selected", stage=1))
    assert stage.achieved == {name: counted.get(name, 0) for name in "abc"}
    assert all(counted.get(name, 0) >= n for name, n in stage.quotas.planned.items())
    if weight:
        assert stage.quotas.wanted["c"] >= usual.quotas.wanted["c"]
        assert stage.quotas.wanted["c"] > stage.quotas.wanted["a"]


def test_metrics_per_label_go_before_those_of_the_domain_that_rows_are_filed_under() -> None:
    filed = [{"domain": "a", "n": 9, "correct": 5}]
    labels = [{"domain": "a", "n": 9, "correct": 5}, {"domain": "b", "n": 4, "correct": 0}]
    found = feedback.read({"split": "validation", "domains": filed, "labels": labels})
    assert found == {"a": feedback.DomainResult(9, 5), "b": feedback.DomainResult(4, 0)}
    assert feedback.read({"split": "validation", "domains": filed, "labels": []}) == {"a": feedback.DomainResult(9, 5)}
