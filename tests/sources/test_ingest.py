"""Tests of curate.sources.ingest: ids are stable, twice is nothing, what is new and gone is said, and mistakes change nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate import progress
from curate.audit import audit
from curate.errors import InputError, UnknownNameError
from curate.manifest import ids
from curate.manifest import manifest as manifests
from curate.manifest.schema import CONTENT_SCHEMA
from curate.sources.ingest import ingest

SHARED = Path(__file__).parents[3] / "shared" / "data"


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(number: int, domain: str = "d", **more: object) -> dict[str, object]:
    return {"prompt": f"Question {number}?", "answer": str(number), "domain": domain, **more}


@pytest.fixture
def write(tmp_path):
    def to(name: str, *rows: dict[str, object]) -> str:
        path = tmp_path / "private folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines(*rows), encoding="utf-8")
        return str(path)

    return to


@pytest.fixture
def take(tmp_path):
    def into(*sources: str, to: str = "m", **options: object):
        return ingest(list(sources), to=to, root=tmp_path, **options)

    return into


def test_rows_arrive_with_all_that_is_known_of_them(write, take):
    done = take(write("a.jsonl", row(1, rationale="Count.", level=3), row(2, split="test")), licence="mit")
    first, second = done.manifest.examples().to_dicts()
    assert (done.manifest.version, done.added, done.already, done.domains) == (0, 2, 0, {"d": 2})
    assert (first["origin"], first["split"], first["status"], first["source"]) == ("a.jsonl:1", "train", "candidate", "real")
    assert (first["prompt"], first["answer"], first["rationale"], first["extra"]) == ("Question 1?", "1", "Count.", '{"level":3}')
    assert first["n_chars"] == len("Question 1?") + len("1") + len("Count.")
    assert second["split"] == "test"
    assert {first[name] for name in ("cluster", "score", "stage", "reason", "n_tokens", "parents")} == {None}


def test_the_commit_says_where_rows_came_from_and_holds_no_local_path(write, take, tmp_path):
    path = write("a.jsonl", row(1))
    commit = take(path, licence="CC BY 4.0").manifest.log()[0]
    [record] = commit.summary["sources"]
    assert (commit.verb, commit.seed, commit.parameters["sources"]) == ("ingest", 0, ["a.jsonl"])
    assert (record["address"], record["rows"], record["licence"], record["source"]) == ("a.jsonl", 1, "CC BY 4.0", "real")
    assert record["hash"].startswith("sha256:")
    assert "private folder" not in repr(commit)
    assert str(tmp_path) not in repr(commit)


def test_the_same_file_again_is_nothing_and_a_licence_later_is_recorded(write, take):
    path = write("a.jsonl", row(1), row(1), row(2))
    take(path)
    again = take(path)
    assert (again.manifest.version, again.added, again.already, again.gone) == (0, 0, 3, 0)
    assert take(path, licence="mit").manifest.version == 1
    assert take(path, licence="mit").manifest.version == 1


def test_two_equal_rows_stay_two_rows(write, take):
    rows = take(write("a.jsonl", row(1), row(1))).manifest.rows()
    assert rows["id"].n_unique() == 2
    assert rows["content"].n_unique() == rows["prompt_key"].n_unique() == 1


def test_equal_rows_of_two_files_are_two_rows_and_it_is_said(write, take):
    first, second = write("data/a.jsonl", row(1)), write("data/b.jsonl", row(1), row(2))
    heard = []
    with progress.listen(heard.append):
        both = take(first, second)
    assert (both.added, both.already) == (3, 0)
    assert any("2 of the new rows say the same as a row of another file" in event.message for event in heard)
    assert take(str(Path(first).parent), to="whole").added == 3


def test_the_order_of_rows_does_not_change_ids(write, take):
    rows = [row(n % 5, domain=f"d{n % 2}") for n in range(12)]
    ids = set(take(write("a.jsonl", *rows)).manifest.rows()["id"])
    shuffled = random.Random(1).sample(rows, len(rows))
    assert take(write("a.jsonl", *shuffled)).added == 0
    assert set(take(write("again/a.jsonl", *shuffled), to="other").manifest.rows()["id"]) == ids


def test_a_changed_file_says_what_is_new_and_what_is_gone(write, take):
    take(write("a.jsonl", row(1), row(2), row(3)))
    changed = take(write("a.jsonl", row(1), row(3), row(4), row(5)))
    assert (changed.added, changed.already, changed.gone, changed.retired) == (2, 2, 1, 0)
    assert changed.manifest.rows()["status"].unique().to_list() == ["candidate"]
    assert changed.manifest.log()[-1].summary["gone"] == 1


def test_prune_retires_what_is_gone_and_a_row_that_returns_comes_back(write, take):
    full = write("a.jsonl", row(1), row(2), row(3))
    take(full)
    pruned = take(write("a.jsonl", row(1), row(3)), prune=True)
    assert (pruned.added, pruned.gone, pruned.retired) == (0, 1, 1)
    [retired] = pruned.manifest.rows().filter(pl.col("status") == "rejected").to_dicts()
    assert (retired["origin"], retired["reason"]) == ("a.jsonl:2", "retired: no longer in a.jsonl")
    assert take(full, prune=True).gone == 0
    back = take(write("a.jsonl", row(1), row(2), row(3)))
    assert (back.added, back.already) == (1, 2)
    assert back.manifest.rows()["status"].unique().to_list() == ["candidate"]


def test_another_file_of_the_same_name_retires_nothing(write, take):
    take(write("train/data.jsonl", row(1), row(2), row(3)))
    heard = []
    with progress.listen(heard.append):
        other = take(write("test/data.jsonl", row(7), row(8), row(9)), split="test", prune=True)
    assert (other.added, other.gone, other.retired) == (3, 0, 0)
    assert any("another file of this name is there already" in event.message for event in heard)
    assert other.manifest.rows()["origin"].to_list()[-1] == "test/data.jsonl:3"
    assert take(str(Path(write("train/data.jsonl", row(1), row(3)))), prune=True).retired == 1


def test_another_flag_updates_the_rows_and_adds_none(write, take):
    path = write("a.jsonl", *(row(n, topic=f"t{n % 2}") for n in range(6)))
    first = take(path).manifest.rows()
    done = take(path, split="test", domain="topic")
    assert (done.added, done.already, done.gone) == (0, 6, 0)
    assert done.updated == {"domain": 6, "split": 6, "extra": 6}
    assert ("split", "train", "test", 6) in done.changes
    rows = done.manifest.rows()
    assert rows["id"].to_list() == first["id"].to_list()
    assert rows["domain"].to_list() == ["t0", "t1"] * 3
    assert set(rows["split"]) == {"test"}
    assert done.manifest.log()[-1].summary["updated"] == done.updated
    assert take(path, split="test", domain="topic").manifest.version == done.manifest.version


def test_a_kind_is_said_for_all_rows_or_row_by_row_and_is_committed(write, take):
    path = write("a.jsonl", row(1, task="Mathematics"), row(2, task=""), row(3))
    done = take(path, kind="label")
    assert (done.kinds, done.manifest.rows()["kind"].to_list()) == ({"label": 3}, ["label"] * 3)
    each = take(path, kind="task")
    assert (each.added, each.updated, each.kinds) == (0, {"kind": 1}, {"mathematics": 1})
    assert each.manifest.rows()["kind"].to_list() == ["mathematics", "label", "label"], (
        "where nothing is said, what was said stays"
    )
    commit = each.manifest.log()[-1]
    assert (commit.parameters["kind"], commit.summary["kinds"]) == ("task", {"mathematics": 1})
    assert take(path).manifest == each.manifest
    assert take(path, kind="auto").manifest.rows()["kind"].to_list() == ["auto"] * 3
    assert audit.build_context(take(path).manifest).given == frozenset()
    templated = take(path, kind="{{ 'choice' if task else 'number' }}")
    assert templated.kinds == {"number": 2, "choice": 1}


def test_a_kind_that_is_none_is_an_error_of_its_line(write, take):
    path = write("a.jsonl", row(1, task="text"), row(2, task="mcq"))
    with pytest.raises(
        InputError, match=r"a\.jsonl:2: --kind 'task' is 'mcq', which is none of number, choice, label, text, .*empty"
    ):
        take(path, kind="task")
    assert take(path, kind="task", on_error="skip").manifest.rows()["kind"].to_list() == ["text"]
    with pytest.raises(UnknownNameError, match=r"unknown --kind, a kind or a column of a\.jsonl: 'numbr'; did you mean 'number'"):
        take(path, kind="numbr")


def test_a_column_kind_counts_where_it_holds_kinds_alone(write, take):
    first = take(write("a.jsonl", row(1, kind="number"), row(2, kind="Label"), row(3)))
    assert first.manifest.rows()["kind"].to_list() == ["number", "label", None]
    assert first.kinds == {"number": 1, "label": 1}
    media = take(write("b.jsonl", row(1, kind="text"), row(2, kind="image"), row(3)), to="media")
    assert (media.kinds, media.manifest.rows()["kind"].to_list()) == ({}, ["auto", "auto", None])
    assert audit.build_context(media.manifest).given == frozenset()


def test_the_rule_for_lists_of_domains_can_be_corrected(write, take):
    path = write("a.jsonl", *({"prompt": f"q{n}", "answer": "a", "tags": ["x", f"y{n}"]} for n in range(3)))
    first = take(path, domain="tags", domain_rule="first").manifest.rows()
    done = take(path, domain="tags", domain_rule="all")
    assert (done.added, done.updated) == (0, {"domain": 3})
    rows = done.manifest.rows()
    assert rows["id"].to_list() == first["id"].to_list()
    assert rows["labels"].to_list() == [["x", f"y{n}"] for n in range(3)]
    apart = take(path, domain="tags", domain_rule="explode")
    assert (apart.added, apart.already, apart.updated) == (3, 3, {"domain": 3})
    assert take(path, domain="tags", domain_rule="first").gone == 3


def test_a_dry_run_says_the_changes_and_writes_nothing(write, take, tmp_path):
    path = write("a.jsonl", row(1), row(2))
    fresh = take(path, to="none", dry_run=True)
    assert (fresh.added, fresh.splits, fresh.dry_run) == (2, {"train": 2}, True)
    assert not (tmp_path / "manifests").exists()
    before = take(path).manifest
    told = take(path, split="validation", dry_run=True)
    assert (told.updated, told.changes) == ({"split": 2}, (("split", "train", "validation", 2),))
    assert manifests.load("m", root=tmp_path).version == before.version
    assert set(before.rows()["split"]) == {"train"}


def test_a_template_changes_the_text_and_not_the_id(write, take):
    path = write("a.jsonl", *({"instruction": f"Say {n}.", "input": f"in {n}", "output": "o", "domain": "d"} for n in range(3)))
    first = take(path, prompt="instruction", answer="output").manifest
    marked = first.commit(
        first.rows().with_columns(status=pl.lit("selected"), stage=pl.lit(0), reason=pl.lit("why"), cluster=pl.lit(1)),
        verb="mark",
    )
    done = take(path, prompt="{{ instruction }} ({{ input }})", answer="output")
    assert (done.updated, done.unselected) == ({"text": 3}, 3)
    rows = done.manifest.examples()
    assert rows["id"].to_list() == marked.rows()["id"].to_list()
    assert rows["prompt"].to_list() == [f"Say {n}. (in {n})" for n in range(3)]
    assert rows.select("status", "stage", "reason", "cluster").unique().rows() == [("candidate", None, None, None)]
    assert set(rows["prompt_key"]).isdisjoint(set(marked.rows()["prompt_key"]))
    assert done.manifest.log()[-1].parameters["prompt"] == "{{ instruction }} ({{ input }})"


def test_a_teachers_rationale_stays_while_its_question_does(write, take):
    path = write("a.jsonl", row(1, topic="t"), row(2, topic="u"))
    first = take(path).manifest
    content = first.examples().with_columns(rationale=pl.lit("Bought."))
    content = content.drop("content").with_columns(ids.content_keys(content))
    first.append(content.select(CONTENT_SCHEMA.names()))
    bought = content.with_columns(call_id=pl.lit(7)).select(first.rows().columns)
    first.commit(bought, verb="annotate")
    done = take(path, domain="topic")
    assert done.updated == {"domain": 2, "extra": 2}
    rows = done.manifest.examples()
    assert set(rows["rationale"]) == {"Bought."}
    assert set(rows["call_id"]) == {7}
    assert rows["extra"].to_list() == ['{"domain":"d"}', '{"domain":"d"}']
    assert take(path, domain="topic").manifest.version == done.manifest.version


def test_rows_held_out_stay_held_out(write, take):
    path = write("a.jsonl", *(row(n, topic="t") for n in range(20)))
    held = set(take(path, holdout=0.2).manifest.rows().filter(split="validation")["id"])
    done = take(path, domain="topic")
    assert set(done.manifest.rows().filter(split="validation")["id"]) == held
    assert "split" not in done.updated


def test_a_moved_or_renamed_file_is_asked_about(write, take, tmp_path):
    take(write("a.jsonl", row(1), row(2), row(3)))
    assert take(write("elsewhere/a.jsonl", row(1), row(2), row(3))).added == 0  # the same name and bytes
    renamed = write("b.jsonl", row(1), row(2), row(3))
    with pytest.raises(InputError, match=r"^b\.jsonl has the content of 'a\.jsonl'.*--as 'a\.jsonl' if .*--as 'b\.jsonl' if"):
        take(renamed)
    changed = write("third/a.jsonl", row(1), row(2), row(4))
    with pytest.raises(InputError, match=r"a\.jsonl has most of the prompts of 'a\.jsonl'.*--as 'third/a\.jsonl'"):
        take(changed)
    assert manifests.load("m", root=tmp_path).version == 0
    assert (take(changed, known_as="a.jsonl").added, take(renamed, known_as="twice").added) == (1, 3)
    with pytest.raises(InputError, match="--as 'x': names one file"):
        take(renamed, changed, known_as="x")


def test_same_named_files_of_two_folders_are_two_sources(write, take):
    first, second = write("en/train.jsonl", row(1), row(2)), write("de/train.jsonl", row(11), row(12))
    assert take(first, second).added == 4
    again = take(first, prune=True)
    assert (again.added, again.gone, again.retired) == (0, 0, 0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 2**16))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_row_says_and_its_id_do_not_depend_on_other_rows(tmp_path_factory, numbers, seed):
    kinds = [{"score": 1}, {"score": "1.2.3"}, {"score": [1.0, "x"]}, {"score": 1e3, "tags": ["a"]}, {"late": {"k": None}}, {}]
    records = [row(n, **kinds[n]) for n in numbers]

    def said(rows):
        root = tmp_path_factory.mktemp("m")
        (root / "a.jsonl").write_text(lines(*rows), encoding="utf-8")
        found = ingest([root / "a.jsonl"], to="m", root=root).manifest.examples()
        return found.select("id", "prompt", "answer", "domain", "extra").rows()

    whole = said(records)
    chance = random.Random(seed)
    some = chance.sample(records, chance.randint(1, len(records)))
    texts = {line[1:] for line in whole}
    assert {line[1:] for line in said(some)} <= texts
    assert {line[0] for line in said(some)} <= {line[0] for line in whole}
    assert sorted(said(chance.sample(records, len(records)))) == sorted(whole)


def test_rows_keep_what_verbs_said_of_them(write, take):
    first = take(write("a.jsonl", row(1), row(2))).manifest
    marked = first.commit(first.rows().with_columns(cluster=pl.lit(3), status=pl.lit("selected")), verb="mark")
    later = take(write("a.jsonl", row(1), row(2), row(3))).manifest
    assert later.version == marked.version + 1
    assert later.rows()["cluster"].to_list() == [3, 3, None]
    assert later.rows()["status"].to_list() == ["selected", "selected", "candidate"]


@pytest.fixture
def tail(write):
    sizes = {"head": 60, "middle": 25, "tail": 3, "one": 1}
    return write("a.jsonl", *(row(1000 * i + n, d) for i, (d, size) in enumerate(sizes.items()) for n in range(size)))


def test_holdout_takes_its_share_evenly_and_spares_the_tail(tail, take):
    rows = take(tail, holdout=0.1).manifest.rows()
    held = rows.filter(pl.col("split") == "validation")
    assert held.height == round(0.1 * 89)
    assert dict(held.group_by("domain").len().iter_rows()) == {"head": 6, "middle": 3}
    assert set(held["reason"]) == {"held out: share 0.1, seed 0"}


def test_holdout_does_not_change_ids_and_is_kept_when_it_is_forgotten(tail, take):
    plain = take(tail, to="plain").manifest.rows()
    held = take(tail, holdout=0.2).manifest
    assert set(held.rows()["id"]) == set(plain["id"])
    assert take(tail).added == take(tail, holdout=0.5, seed=3).added == 0


def test_holdout_goes_by_prompt_and_follows_the_prompts_held_out_before(write, take):
    first = take(write("a.jsonl", *(row(n) for n in range(40))), holdout=0.25).manifest
    held = set(first.rows().filter(pl.col("split") == "validation")["prompt_key"])
    again = take(write("b.jsonl", *(row(n, answer="another") for n in range(40)))).manifest.rows()
    assert len(held) == 10
    assert set(again.filter(pl.col("split") == "validation")["prompt_key"]) == held
    assert "held out: as its prompt was before" in again["reason"].to_list()
    assert again.filter(pl.col("prompt_key").is_in(list(held)))["split"].unique().to_list() == ["validation"]


@given(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abc")), min_size=1, max_size=30),
    st.floats(0.01, 0.9),
    st.integers(0, 3),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_holdout_is_exact_in_prompts_whatever_the_rows(tmp_path_factory, pairs, share, seed):
    root = tmp_path_factory.mktemp("m")
    (root / "a.jsonl").write_text(lines(*(row(n, d) for n, d in pairs)))
    rows = ingest([root / "a.jsonl"], to="m", root=root, holdout=share, seed=seed).manifest.rows()
    held = set(rows.filter(pl.col("split") == "validation")["prompt_key"])
    assert len(held) == round(share * rows["prompt_key"].n_unique())
    assert not held & set(rows.filter(pl.col("split") == "train")["prompt_key"])


def test_synthetic_rows_are_candidates_for_training_alone(write, take):
    take(write("a.jsonl", row(1), row(2)), holdout=0.5)
    rows = take(write("s.jsonl", row(1), row(2), row(9)), source="synthetic", holdout=0.5).manifest.rows()
    assert rows.filter(pl.col("source") == "synthetic").select("split", "status").unique().rows() == [("train", "candidate")]
    with pytest.raises(InputError, match=r"^t\.jsonl:1: synthetic rows are for training, and this one is of split 'test'"):
        take(write("t.jsonl", row(3, split="test")), source="synthetic")


def test_a_folder_gives_splits_by_name_unless_names_are_domains(write, take):
    folder = str(Path(write("data/train.jsonl", row(1))).parent)
    write("data/test.jsonl", row(2))
    rows = take(folder).manifest.rows()
    assert dict(rows.select("origin", "split").iter_rows()) == {"test.jsonl:1": "test", "train.jsonl:1": "train"}
    named = take(folder, to="named", domain_from="filename").manifest.rows()
    assert named.select("domain", "split").sort("domain").rows() == [("test", "train"), ("train", "train")]


def test_skipped_rows_are_counted_and_listed(tmp_path, take):
    (tmp_path / "a.jsonl").write_text(lines(row(1)) + "oops\n" + lines({"prompt": "q", "answer": "a", "domain": None}), "utf-8")
    done = take(str(tmp_path / "a.jsonl"), on_error="skip")
    assert done.added == 1
    assert [line.split(": ")[0] for line in done.skipped] == ["a.jsonl:2", "a.jsonl:3"]
    summary = done.manifest.log()[0].summary
    assert (summary["skipped"], summary["sources"][0]["skipped"], summary["skipped_rows"]) == (2, 2, list(done.skipped))
    (tmp_path / "b.jsonl").write_text("oops\n", "utf-8")
    with pytest.raises(InputError, match=r"b\.jsonl: there are no rows in it; b\.jsonl:1: not JSON"):
        take(str(tmp_path / "b.jsonl"), on_error="skip")
    (tmp_path / "c.jsonl").write_text(lines({"prompt": "q", "answer": "a", "domain": ""}), "utf-8")
    with pytest.raises(
        InputError, match=r"no example is left of c\.jsonl; the first skipped: c\.jsonl:1: column 'domain' is empty"
    ):
        take(str(tmp_path / "c.jsonl"), on_error="skip")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"holdout": 1.0}, "--holdout 1.0"),
        ({"holdout": -0.1}, "--holdout -0.1"),
        ({"domain": "domain", "domain_from": "filename"}, "choose one of the two"),
        ({"source": "sythetic"}, "unknown --source 'sythetic'; did you mean 'synthetic'"),
        ({"domain_rule": "frist"}, "--domain-rule 'frist'; did you mean 'first'"),
        ({"on_error": "ignore"}, "unknown --on-error 'ignore'"),
        ({"domain_from": "folder"}, "unknown --domain-from 'folder'"),
        ({"to": "m@3"}, "leave out what follows the '@'"),
        ({"to": "Not A Name"}, "manifest name 'Not A Name'"),
        ({"prompt": "promt"}, "did you mean 'prompt'"),
    ],
)
def test_mistakes_are_one_line_and_the_manifest_is_as_it_was(write, take, tmp_path, options, reason):
    take(write("a.jsonl", row(1)))
    with pytest.raises(InputError, match=reason) as caught:
        take(write("b.jsonl", row(2)), **options)
    assert "\n" not in str(caught.value)
    assert manifests.load("m", root=tmp_path).version == 0


def test_sources_are_a_list(take):
    with pytest.raises(InputError, match="one or more files"):
        take()
    with pytest.raises(InputError, match="one or more files"):
        ingest("a.jsonl", to="m")


def test_an_unknown_value_is_an_unknown_name(take, write):
    with pytest.raises(UnknownNameError):
        take(write("a.jsonl", row(1)), source="reel")


REAL = {
    "math": (["math/longtail_train.jsonl.gz", "math/test.jsonl.gz"], {"rationale": "solution"}, {"train": 4125, "test": 5000}, 7),
    "r52": (["r52/r52.parquet"], {}, {"train": 6561, "test": 2569}, 52),
    "clinc": (["clinc150/clinc150_imbalanced.jsonl.gz"], {}, {"train": 10625, "validation": 3100, "test": 5500}, 11),
    "banking": (["banking77/banking77.parquet"], {}, {"train": 10003, "test": 3080}, 77),
    "dolly": (["dolly15k/dolly15k.jsonl.gz"], {}, {"train": 13440, "test": 1571}, 8),
    "gsm8k": (["gsm8k/gsm8k.jsonl.gz"], {"rationale": "solution"}, {"train": 7473, "test": 1319}, 8),
    "choice": (["multichoice_qa/multichoice_qa.jsonl.gz"], {}, {"train": 4737, "test": 4445}, 10),
    "pairs": (
        ["reuters90/reuters90.jsonl.gz"],
        {"answer": "labels", "domain": "labels", "domain_rule": "explode"},
        {"train": 9585, "test": 3744},
        90,
    ),
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data pack is not beside the repository")
@pytest.mark.parametrize("name", REAL)
def test_real_data_sets_come_in_by_flags_alone(tmp_path, name):
    files, options, splits, n_domains = REAL[name]
    flags = {"prompt": "text", "answer": "label", "domain": "domain", **options}
    done = ingest([str(SHARED / file) for file in files], to=name, root=tmp_path, **flags)
    rows = done.manifest.rows()
    assert dict(rows.group_by("split").len().iter_rows()) == splits
    assert rows.filter(pl.col("split") == "train")["domain"].n_unique() == n_domains
    again = ingest([str(SHARED / file) for file in files], to=name, root=tmp_path, **flags)
    assert (again.manifest.version, again.added, again.already) == (0, 0, rows.height)
