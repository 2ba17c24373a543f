"""`profile` says what counting by hand says, on made-up rows and on real data."""

import gzip
import json
from collections import Counter
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import pytest

from curate.audit import audit
from curate.audit.kinds import Kind
from curate.errors import InputError, UnknownNameError
from curate.manifest import manifest
from curate.manifest.manifest import Manifest
from curate.report import profile
from tests.support.samples import ingested

DATA = Path(__file__).parents[3] / "shared" / "data"
KEYS = ["rows", "domains", "imbalance_ratio", "gini", "entropy", "effective_domains", "duplicates", "empty", "overlap"]
DOMAIN_KEYS = ["domain", "rows", "share", "head", "real", "synthetic", "selected", "tokens"]


@pytest.fixture
def tail(tmp_path: Path) -> Manifest:
    """6 + 2 + 1 train rows in three domains, one of them synthetic and one rejected; 2 test rows."""
    rows: list[dict[str, Any]] = [
        {"prompt": f"a{i}", "domain": "algebra", "cluster": i % 2, "centrality": 0.5, "n_tokens": 10 * i} for i in range(6)
    ]
    rows += [{"prompt": "A0 ", "domain": "sets", "status": "selected", "stage": 0, "n_tokens": 4}]
    rows += [{"prompt": "s1", "domain": "sets", "status": "selected", "stage": 1, "source": "synthetic", "n_tokens": 2000}]
    rows += [{"prompt": "l0", "domain": "logic", "answer": ""}]
    rows += [{"prompt": "s2", "domain": "sets", "status": "rejected", "stage": 1, "source": "synthetic", "reason": "leakage"}]
    rows += [{"prompt": "a1", "split": "test"}, {"prompt": "new", "split": "test", "domain": "logic"}]
    return ingested(tmp_path, rows)


def test_figures_of_a_small_tail(tail: Manifest) -> None:
    found = profile.profile(tail)
    assert (found.rows, found.split, found.splits) == (9, "train", {"train": 9, "test": 2})
    assert [(p.domain, p.rows, p.head) for p in found.domains] == [("algebra", 6, True), ("sets", 2, False), ("logic", 1, False)]
    assert found.imbalance_ratio == 6
    nats = -sum(n / 9 * log(n / 9) for n in (6, 2, 1))
    assert (found.entropy, found.effective_domains) == pytest.approx((nats / log(3), exp(nats)))
    assert (found.duplicates, found.empty, found.overlap) == (1, 1, 1)


def test_bars_add_up(tail: Manifest) -> None:
    algebra, sets, logic = profile.profile(tail).domains
    assert [p.cumulative for p in (algebra, sets, logic)] == pytest.approx([6 / 9, 8 / 9, 1])
    assert (sets.real, sets.synthetic, sets.selected, sets.rejected) == (1, 1, 2, 1)
    assert algebra.tokens == profile.Lengths(25.0, 47.5, 50)
    assert logic.tokens is None


def test_tokens_count_what_is_there(tail: Manifest) -> None:
    found = profile.profile(tail, max_tokens=45)
    assert (found.uncounted, found.too_long, found.tokens and found.tokens.max) == (1, 2, 2000)


def test_no_token_figures_without_counts(tmp_path: Path) -> None:
    found = profile.profile(ingested(tmp_path, [{"prompt": "a"}]))
    assert (found.tokens, found.too_long, found.uncounted) == (None, None, 1)


def test_stages_tell_real_from_synthetic(tail: Manifest) -> None:
    assert profile.profile(tail).stages == (profile.StageRows(0, 1, 1, 0), profile.StageRows(1, 1, 0, 1))


def test_clusters_are_bars_of_their_domain(tail: Manifest) -> None:
    found = profile.profile(tail, by="cluster")
    assert [(p.domain, p.cluster, p.rows) for p in found.domains] == [
        ("algebra", 0, 3),
        ("algebra", 1, 3),
        ("sets", None, 2),
        ("logic", None, 1),
    ]
    assert found.domains[0].head
    assert found.domains[0].chars is not None


def test_selected_rows_alone(tail: Manifest) -> None:
    found = profile.profile(tail, status="selected")
    assert [(p.domain, p.rows, p.rejected) for p in found.domains] == [("sets", 2, 1)]
    assert not found.domains[0].head, "what was selected since does not make a head"


def test_rejected_rows_alone(tail: Manifest) -> None:
    assert profile.profile(tail, status="rejected").rows == 1


def test_every_split(tail: Manifest) -> None:
    found = profile.profile(tail, split="all")
    assert (found.rows, found.duplicates, found.overlap) == (11, 2, 1)
    assert profile.profile(tail, split="test").overlap == 1


def test_all_rows_where_no_row_is_train(tmp_path: Path) -> None:
    found = profile.profile(ingested(tmp_path, [{"prompt": "a", "split": "test"}]))
    assert (found.split, found.rows) == ("all", 1)


def test_heads_are_told_by_the_budget(tail: Manifest) -> None:
    heads = {p.domain for p in profile.profile(tail, budget=3).domains if p.head}
    assert heads == {"algebra", "sets", "logic"}, "one real row reaches 3 / 3"


def test_json_keys_are_the_promised_ones(tail: Manifest) -> None:
    found = json.loads(json.dumps(profile.profile(tail).to_dict()))
    assert set(KEYS) <= set(found)
    assert all(set(DOMAIN_KEYS) <= set(part) and "cluster" not in part for part in found["domains"])
    assert found["domains"][0]["tokens"] == {"p50": 25.0, "p95": 47.5, "max": 50}
    assert "cluster" in profile.profile(tail, by="cluster").to_dict()["domains"][0]


def test_a_plot_shows_the_bars(tail: Manifest, tmp_path: Path) -> None:
    profile.profile(tail, plot=str(tmp_path / "tail.svg"))
    drawn = (tmp_path / "tail.svg").read_text(encoding="utf-8")
    assert ">algebra<" in drawn
    assert ">after<" not in drawn


def test_a_plot_of_selected_rows_shows_the_tail_before(tail: Manifest, tmp_path: Path) -> None:
    chosen = pl.when(pl.col("status") == "candidate").then(pl.lit("selected")).otherwise("status")
    after = tail.commit(tail.rows().with_columns(status=chosen).head(10), verb="balance", summary={"base": 0})
    profile.profile(after, status="selected", plot=str(tmp_path / "tail.svg"))
    drawn = (tmp_path / "tail.svg").read_text(encoding="utf-8")
    assert ">before<" in drawn
    assert "9 rows, largest to smallest 6.0 : 1" in drawn, "the version before the balance"


def test_a_plot_of_an_unknown_format_costs_nothing(tail: Manifest, tmp_path: Path, words: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"plot 'tail.gif': the ending must be one of .png, .svg"):
        profile.profile(tail, tokens=True, plot=str(tmp_path / "tail.gif"))
    assert manifest.load("tail", root=tail.root).version == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "domains"}, "unknown --by 'domains'; did you mean 'domain'"),
        ({"split": "dev"}, "unknown --split 'dev'"),
        ({"status": "select"}, "did you mean 'selected'"),
    ],
)
def test_unknown_names_suggest_the_nearest(tail: Manifest, options: dict[str, str], said: str) -> None:
    with pytest.raises(UnknownNameError, match=said):
        profile.profile(tail, **options)  # type: ignore[arg-type]


def test_nothing_selected_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tail@0 has no selected row in split 'train'; select some with: curate balance tail"):
        profile.profile(ingested(tmp_path, [{"prompt": "a"}]), status="selected")


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".gz":
        return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return pl.read_parquet(path).to_dicts()


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


@pytest.mark.parametrize(
    "file",
    ["math/longtail_train.jsonl.gz", "r52/r52.parquet", "clinc150/clinc150_imbalanced.jsonl.gz", "banking77/banking77.parquet"],
)
def test_real_data_to_the_last_row(tmp_path: Path, file: str) -> None:
    if not (DATA / file).exists():
        pytest.skip(f"{file} is not here")
    from curate.sources import ingest

    rows = _read(DATA / file)
    train = [row for row in rows if row["split"] == "train"]
    elsewhere = {_key(row["text"]) for row in rows if row["split"] != "train"}
    start = ingest.ingest([str(DATA / file)], to="real", prompt="text", answer="label", domain="domain", root=tmp_path).manifest
    found = profile.profile(start)
    sizes = Counter(row["domain"] for row in train)
    assert {p.domain: p.rows for p in found.domains} == sizes
    assert [p.rows for p in found.domains] == sorted(sizes.values(), reverse=True)
    assert found.imbalance_ratio == max(sizes.values()) / min(sizes.values())
    assert {p.domain for p in found.domains if p.head} == {d for d, n in sizes.items() if n >= len(train) / len(sizes)}
    assert found.duplicates == len(train) - len({_key(row["text"]) for row in train})
    assert found.overlap == sum(_key(row["text"]) in elsewhere for row in train)
    assert found.empty == sum(not row["text"].strip() or not str(row["label"]).strip() for row in train)
    for part in found.domains:
        lengths = [len(row["text"]) + len(str(row["label"])) for row in train if row["domain"] == part.domain]
        assert part.chars is not None
        assert (part.chars.p50, part.chars.max) == (median(lengths), max(lengths)), part.domain


def test_the_kinds_of_answers_are_shown_and_can_be_said(tmp_path: Path) -> None:
    rows = [{"prompt": f"Rate review {i} from 1 to 5", "answer": str(1 + i % 5), "domain": "ab"[i % 2]} for i in range(60)]
    tail = ingested(tmp_path, rows)
    why = "answers are steps of a scale"
    assert profile.profile(tail).kinds == (Kind("label", "classification", "recognised", why, ("a", "b"), 5),)
    found = profile.profile(tail, kind=["number", "b=text"])
    assert found.manifest.version == tail.version + 1
    assert [(kind.kind, kind.how, kind.domains) for kind in found.kinds] == [
        ("number", "given", ("a",)),
        ("text", "given", ("b",)),
    ]
    anew = profile.profile(found.manifest, kind=["a=auto", "b=instruction"])
    assert [(kind.kind, kind.task, kind.how) for kind in anew.kinds] == [
        ("label", "classification", "recognised"),
        ("text", "instruction", "given"),
    ]
    assert audit.build_context(found.manifest).kinds == {"a": "number", "b": "text"}
    assert profile.profile(found.manifest, kind=["b=text"]).manifest == found.manifest, "what is known is not said again"
    for wrong, told in (("nmber", "unknown kind of answers 'nmber'"), ("c=text", "unknown domain 'c'")):
        with pytest.raises(UnknownNameError, match=told):
            profile.profile(tail, kind=[wrong])


def test_a_column_of_kinds_in_the_source_is_taken(tmp_path: Path) -> None:
    rows = [{"prompt": f"Review {i}", "answer": str(i % 3), "extra": json.dumps({"kind": "number"})} for i in range(30)]
    assert [kind.kind for kind in profile.profile(ingested(tmp_path, rows)).kinds] == ["number"]
