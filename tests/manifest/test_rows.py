"""Rules about rows: each holds on frames and on single rows alike, and what is written is read again."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.manifest import rows
from curate.manifest.manifest import Manifest
from curate.manifest.rows import Origin, parse_origin, read_findings, write_findings
from curate.manifest.schema import SCHEMA, SPLITS, STATUSES
from tests.support.samples import frames, ingested

FINDING = {"auditor": "answer_mismatch", "score": 1.0, "decision": "reject", "because_of": None, "message": "12 is not 13"}

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
numbers = st.integers(min_value=0, max_value=2**62)
findings = st.lists(
    st.fixed_dictionaries(
        {"auditor": names, "score": st.floats(0, 1), "message": st.none() | names | st.just('"attempt": 3 ] [ {')},
        optional={"attempt": st.none() | st.integers(0, 99), "call_id": st.none() | numbers, "because_of": st.none() | names},
    ),
    max_size=4,
)


def kept(rule: pl.Expr, *examples: dict[str, Any]) -> list[str]:
    """Return the prompts of the rows that a rule keeps."""
    table, contents = frames([{"prompt": f"row {n}", **example} for n, example in enumerate(examples)])
    found = table.filter(rule).join(contents, on="content", maintain_order="left")
    return found["prompt"].to_list()


# --- status, split and source ---


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_snapshot_holds_selected_train_rows_and_held_out_rows_that_were_not_rejected(split: str, status: str) -> None:
    expected = status == "selected" if split == "train" else status != "rejected"
    assert rows.snapshot_holds({"split": split, "status": status}) is expected
    assert bool(kept(rows.in_snapshot(), {"split": split, "status": status})) is expected


def test_rejected_before_stages_is_what_no_stage_decided() -> None:
    examples = [{"status": "rejected"}, {"status": "rejected", "stage": 0}, {"status": "candidate"}]
    assert kept(rows.is_rejected_before_stages(), *examples) == ["row 0"]


def test_what_counts_as_ingested_is_real_and_stays_so_whatever_a_stage_decides() -> None:
    examples = [
        {"prompt": "candidate"},
        {"prompt": "selected", "status": "selected", "stage": 0},
        {"prompt": "rejected by a stage", "status": "rejected", "stage": 1},
        {"prompt": "sampled out", "status": "rejected", "reason": "sampled_out"},
        {"prompt": "repeat", "status": "selected", "stage": 0, "origin": "repeat:0#1"},
        {"prompt": "synthetic", "source": "synthetic"},
        {"prompt": "held out", "split": "validation"},
        {"prompt": "without an origin", "origin": None},
    ]
    assert kept(rows.counts_as_ingested(), *examples) == ["candidate", "selected", "rejected by a stage", "without an origin"]
    table, _ = frames([*examples, {"prompt": "other", "domain": "zoo"}])
    assert rows.domain_counts(table) == {"algebra": 4, "zoo": 1}


def test_usable_real_rows_are_train_rows_that_were_not_rejected() -> None:
    examples = [{}, {"status": "selected"}, {"status": "rejected", "stage": 0}, {"source": "synthetic"}, {"split": "test"}]
    assert kept(rows.is_usable_real(), *examples) == ["row 0", "row 1"]


def test_a_head_has_at_least_its_even_share_of_the_budget() -> None:
    counts = {"a": 100, "b": 20, "c": 10}
    assert rows.head_domains(counts, 60) == {"a", "b"}
    assert rows.head_domains(counts) == {"a"}
    assert rows.head_domains({"a": 3, "b": 3}) == {"a", "b"}


def test_a_teacher_sees_real_train_rows_once_each_and_none_that_was_taken_out() -> None:
    table, contents = frames(
        [
            {"prompt": "candidate"},
            {"prompt": "selected", "status": "selected"},
            {"prompt": "leaked", "status": "rejected"},
            {"prompt": "held out", "split": "test"},
            {"prompt": "written", "source": "synthetic"},
            {"prompt": "again", "origin": "repeat:0#1", "status": "selected"},
            {"prompt": "other", "domain": "geometry"},
        ]
    )
    shown = rows.may_be_shown(table, ["algebra"]).join(contents, on="content")
    assert sorted(shown["prompt"]) == ["candidate", "selected"]


def test_scores_are_compared_within_the_newest_scorer_and_its_commonest_kind(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": str(n)} for n in range(4)])
    assert rows.comparable_scores(start, start.rows()).equals(start.rows())
    scored = start.rows().with_columns(
        score=pl.Series([1.0, 2.0, 3.0, 4.0]),
        score_kind=pl.Series(["ifd", "ifd", "nll", "ifd"]),
        scored_by=pl.Series(["new", "new", "new", "old"]),
    )
    parameters: dict[str, Any] = {"verb": "score", "parameters": {"student": "new"}, "summary": {"kinds": {"ifd": 2, "nll": 1}}}
    end: Manifest = start.commit(scored, **parameters)
    assert rows.comparable_scores(end, end.rows())["score"].to_list() == [1.0, 2.0, None, None]


# --- reason ---


def test_a_sample_draws_candidates_and_what_an_earlier_one_left_out() -> None:
    examples = [
        {},
        {"status": "rejected", "reason": rows.SAMPLED_OUT},
        {"status": "rejected", "reason": "leakage"},
        {"status": "selected"},
    ]
    assert kept(rows.may_be_drawn(), *examples) == ["row 0", "row 1"]


def test_reasons_that_are_states_are_known_again() -> None:
    table, _ = frames([{"prompt": "a", "origin": "math.jsonl:7", "reason": "rank 6 of 6"}, {"prompt": "b"}])
    retired = table.with_columns(reason=rows.retired())
    assert retired["reason"].to_list() == ["retired: no longer in math.jsonl", "retired: no longer in rows.jsonl"]
    assert retired.select(rows.is_retired()).to_series().all()
    assert table.select(rows.is_retired()).to_series().to_list() == [False, False]
    held = table.with_columns(reason=pl.lit(rows.held_out("share 0.1, seed 0")))
    assert held["reason"][0] == "held out: share 0.1, seed 0"
    assert held.filter(rows.is_held_out()).height == 2
    assert table.filter(rows.is_held_out()).is_empty()
    assert table.select(rows.not_chosen()).to_series().to_list() == ["not chosen: rank 6 of 6", None]


# --- origin ---


@given(st.lists(st.tuples(names, numbers), min_size=1, max_size=5))
def test_origins_are_read_as_they_were_written(pairs: list[tuple[str, int]]) -> None:
    for name, number in pairs:
        frame = pl.DataFrame({"n": [number]}, schema={"n": pl.Int64})
        file, teacher = (
            frame.with_columns(origin=rows.file_origin(name, "n")),
            frame.with_columns(origin=rows.teacher_origin(name, "n")),
        )
        repeat = frame.with_columns(origin=rows.repeat_origin(3, "n"))
        assert parse_origin(file["origin"].item()) == Origin("file", name, number)
        assert parse_origin(teacher["origin"].item()) == Origin("teacher", name, number)
        assert parse_origin(repeat["origin"].item()) == Origin("repeat", "3", number)
        assert file.select(rows.origin_file()).item() == name
        assert teacher.select(rows.origin_index()).item() == number
        every = pl.concat([file, teacher, repeat])
        assert every.select(rows.is_repeat()).to_series().to_list() == [False, False, True]
        assert every.select(rows.is_written_by()).to_series().to_list() == [False, True, False]
        assert every.select(rows.is_written_by(name)).to_series().to_list() == [False, True, False]


def test_an_origin_that_nothing_of_ours_wrote_is_kept_whole() -> None:
    assert parse_origin("by hand") == Origin("other", "by hand", None)
    assert parse_origin(None) == Origin("other", "", None)


def test_a_model_whose_name_begins_like_another_is_another() -> None:
    frame = pl.DataFrame({"origin": ["teacher:m#0", "teacher:m#x#0", "teacher:mm#0", None]})
    assert frame.filter(rows.is_written_by("m"))["origin"].to_list() == ["teacher:m#0"]
    assert frame.filter(rows.is_written_by("m.*")).is_empty()
    assert frame.filter(rows.is_written_by()).height == 3


def test_requests_go_on_behind_the_last_example_of_their_domain() -> None:
    synthetic = {"source": "synthetic"}
    table, _ = frames(
        [
            {"prompt": "a", "domain": "sets", "origin": "teacher:m#2", **synthetic},
            {"prompt": "b", "domain": "sets", "origin": "teacher:other#11", "status": "rejected", **synthetic},
            {"prompt": "c", "domain": "rings", "origin": "notes.jsonl:5", **synthetic},
            {"prompt": "d", "domain": "fields", "origin": "rows.jsonl:9"},
        ]
    )
    assert rows.next_indices(table) == {"sets": 12, "rings": 0}
    assert rows.next_indices(table.clear()) == {}


# --- findings ---


@given(findings, findings)
def test_findings_are_read_as_they_were_written_and_appended_in_order(
    mine: list[dict[str, Any]], further: list[dict[str, Any]]
) -> None:
    schema = {"findings": pl.String, "further": pl.String}
    frame = pl.DataFrame([[write_findings(mine), write_findings(further)]], schema=schema, orient="row")
    assert read_findings(frame["findings"].item()) == mine
    both = frame.select(rows.append_findings("findings", "further")).to_series().item()
    assert read_findings(both) == mine + further
    counted = pl.DataFrame({"findings": [both]}, schema={"findings": pl.String}).select(rows.n_attempts()).item()
    assert counted == sum(finding.get("attempt") is not None for finding in mine + further)


def test_without_findings_there_is_no_text() -> None:
    assert write_findings([]) is None
    assert read_findings(None) == []
    found = write_findings([FINDING])
    empty = pl.DataFrame({"findings": ["[]", "[]", None], "further": ["[]", found, None]})
    assert empty.select(rows.append_findings("findings", "further")).to_series().to_list() == [
        None,
        write_findings([FINDING]),
        None,
    ]


def test_findings_of_a_version_without_spaces_are_counted_too() -> None:
    frame = pl.DataFrame({"findings": ['[{"attempt":0},{"attempt":null},{"attempt": 1}]']})
    assert frame.select(rows.n_attempts()).item() == 2
    assert SCHEMA["findings"] == pl.String()


LABELS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", " a ", "", "e\u0301"]) | st.none(), max_size=4) | st.none(), max_size=12
)


@given(LABELS)
def test_a_row_is_filed_under_the_first_of_its_labels_whatever_other_rows_say(labels: list[list[str | None] | None]) -> None:
    found = rows.file_labels(pl.Series(labels, dtype=pl.List(pl.String))).rows()
    for given_labels, (domain, kept) in zip(labels, found, strict=True):
        clean = list(dict.fromkeys(name.strip() for name in given_labels or [] if name and name.strip()))
        assert (domain, kept) == (clean[0] if clean else None, clean if len(clean) > 1 else None)
        assert rows.file_labels(pl.Series([given_labels], dtype=pl.List(pl.String))).rows() == [(domain, kept)]


@given(LABELS)
def test_a_row_counts_once_for_each_of_its_labels(labels: list[list[str | None] | None]) -> None:
    filed = rows.file_labels(pl.Series(labels, dtype=pl.List(pl.String))).filter(pl.col("domain").is_not_null())
    table = filed.with_row_index("id").with_columns(pl.col("id").cast(pl.String))
    of_each = [set(kept or [domain]) for domain, kept in filed.rows()]
    expected = {name: sum(name in mine for mine in of_each) for name in sorted(set().union(*of_each))}
    assert rows.count_labels(table) == expected
    assert rows.per_label(table).equals(rows.per_label(rows.per_label(table))), "twice is as once"
    assert rows.per_label(table.lazy()).collect().equals(rows.per_label(table))
    for name in expected:
        assert table.filter(rows.has_label([name])).height == expected[name]
    assert set(rows.several_labels(table)) == set(table.filter(pl.col("labels").is_not_null())["id"])


def test_rows_without_several_labels_are_the_rows_themselves() -> None:
    table, _ = frames([{"prompt": "a"}, {"prompt": "b", "domain": "logic"}])
    assert rows.per_label(table) is table
    plain = table.drop("labels")
    assert rows.per_label(plain) is plain
    assert rows.several_labels(plain) == {}


def test_a_row_of_several_labels_is_shown_for_each_and_counts_in_each() -> None:
    table, _ = frames([{"domain": "wheat", "labels": ["wheat", "grain"], "prompt": "a"}, {"domain": "grain", "prompt": "b"}])
    assert rows.domain_counts(table) == {"grain": 2, "wheat": 1}
    assert rows.may_be_shown(table, ["grain"])["domain"].to_list() == ["grain", "grain"]
    assert rows.rarest_first({"b": 2, "a": 2, "c": 1}) == ["c", "a", "b"]
