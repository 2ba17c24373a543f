"""The manifest: versions that never change, two writers, odd roots, tags, and failures that leave it as it was."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ConflictError, InputError, ManifestError, ManifestNotFoundError, NewerSchemaError
from curate.manifest import delta, manifest
from curate.manifest.manifest import Manifest
from curate.manifest.schema import CONTENT_SCHEMA, SCHEMA
from tests.support.samples import frames, ingested

ROWS: list[dict[str, Any]] = [{"prompt": "a", "rationale": "since"}, {"prompt": "b", "split": "test"}]
ODD_ROOTS = ["My Projects", "100% real", "Jürgen", "数据", "a+b&c={d}*!", "it's"]


@pytest.fixture
def start(tmp_path: Path) -> Manifest:
    return ingested(tmp_path, ROWS)


def with_status(of: Manifest, status: str) -> pl.DataFrame:
    return of.rows().with_columns(status=pl.lit(status))


# Reading and writing


def test_a_commit_comes_back_as_it_was_written(start: Manifest) -> None:
    rows, contents = frames(ROWS)
    assert start.rows().equals(rows)
    assert start.rows().schema == SCHEMA
    assert start.contents().sort("content").equals(contents.sort("content"))


def test_columns_that_a_frame_lacks_become_null(tmp_path: Path) -> None:
    after = manifest.new("tail", root=tmp_path).commit(pl.DataFrame({"id": ["1"], "domain": ["sets"]}), verb="ingest")
    assert after.rows().schema == SCHEMA
    assert after.rows("score", "parents").row(0) == (None, None)


def test_unknown_columns_are_refused(start: Manifest) -> None:
    with pytest.raises(ManifestError, match=r"columns \['grade'\] are not in the manifest's schema"):
        start.commit(start.rows().with_columns(grade=1), verb="review")


def test_a_version_needs_rows(start: Manifest) -> None:
    with pytest.raises(InputError, match="a version needs at least one row"):
        start.commit(start.rows().clear(), verb="review")


def test_examples_keep_the_order_of_the_rows(start: Manifest) -> None:
    rows = start.rows().reverse()
    found = start.examples(rows)
    assert found["id"].equals(rows["id"])
    assert found["prompt"].to_list() == ["b", "a"]
    assert found["rationale"].to_list() == [None, "since"]


def test_contents_can_be_asked_for_by_key_and_column(start: Manifest) -> None:
    key = start.rows()["content"][0]
    assert start.contents([key, key], columns=["prompt"]).to_dicts() == [{"prompt": "a"}]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.none()


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6))
def test_any_text_survives(texts: list[tuple[Any, ...]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        written = [{"prompt": p, "answer": a, "rationale": r} for p, a, r in texts]
        start = ingested(Path(root), written)
        assert start.examples().select("prompt", "answer", "rationale").rows() == texts


# Content


def test_content_is_written_once(start: Manifest) -> None:
    _, contents = frames([*ROWS, {"prompt": "c"}, {"prompt": "c"}])
    assert start.append(contents) == 1
    assert start.append(contents) == 0
    assert start.contents().height == 3


def test_a_manifest_without_content_reads_empty(tmp_path: Path) -> None:
    assert manifest.new("tail", root=tmp_path).contents().schema == CONTENT_SCHEMA


def test_writers_who_append_at_once_lose_nothing(start: Manifest) -> None:
    def write(writer: int) -> int:
        _, contents = frames([{"prompt": f"shared {i}"} for i in range(3)] + [{"prompt": f"{writer}"}])
        return start.append(contents)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    prompts = start.contents()["prompt"].to_list()
    assert set(prompts) == {"a", "b", "shared 0", "shared 1", "shared 2", "0", "1", "2", "3"}
    assert len(prompts) == len(set(prompts)), "an appender looks again after another one was faster"


# Versions


def test_a_handle_never_changes(start: Manifest) -> None:
    after = start.commit(with_status(start, "selected"), verb="balance")
    assert (start.version, after.version) == (0, 1)
    assert start.rows()["status"].unique().to_list() == ["candidate"]
    assert after.rows()["status"].unique().to_list() == ["selected"]


def test_time_travel_by_version_and_latest(start: Manifest) -> None:
    after = start.commit(with_status(start, "selected"), verb="balance")
    assert manifest.load("tail@0", root=start.root) == start
    assert manifest.load("tail", root=start.root) == manifest.load("tail@latest", root=start.root) == after
    assert str(after) == "tail@1"


def test_the_log_of_any_version_ends_with_it(start: Manifest) -> None:
    for verb in ("cluster", "balance"):
        newest = manifest.load("tail", root=start.root)
        newest.commit(newest.rows(), verb=verb, parameters={"k": verb}, seed=7, summary={"rows": 2})
    assert [(c.version, c.verb) for c in manifest.load("tail@1", root=start.root).log()] == [(0, "ingest"), (1, "cluster")]
    last = manifest.load("tail", root=start.root).log()[-1]
    assert (last.version, last.parameters, last.seed, last.summary) == (2, {"k": "balance"}, 7, {"rows": 2})
    assert last.time.tzinfo is not None


def test_new_continues_what_is_there(start: Manifest, tmp_path: Path) -> None:
    assert manifest.new("tail", root=tmp_path).version == 0
    assert manifest.new("other", root=tmp_path).version == -1
    assert manifest.names(root=tmp_path) == ["tail"]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("tail@3", "tail@3 does not exist; the newest version is tail@0"),
        ("tail@balanced", "unknown tag of tail 'balanced'"),
        ("tial", "unknown manifest 'tial'; did you mean 'tail'"),
    ],
)
def test_what_is_not_there_says_what_is(start: Manifest, reference: str, said: str) -> None:
    with pytest.raises(ManifestNotFoundError, match=said):
        manifest.load(reference, root=start.root)


def test_an_empty_root_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ManifestNotFoundError, match=r"there is none here yet .*curate ingest FILE --to tail"):
        manifest.load("tail", root=tmp_path)


@pytest.mark.parametrize("name", ["Tail", "", "-tail", "ta il", "../tail", "runs", "ledger", "tail/x"])
def test_names_that_break_the_rule(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="use \\[a-z0-9\\]"):
        manifest.load(name, root=tmp_path)


# Two writers


def test_the_slower_of_two_writers_is_told(start: Manifest) -> None:
    start.commit(with_status(start, "selected"), verb="balance")
    with pytest.raises(
        ConflictError, match="another command committed tail@1, and this one worked on tail@0; nothing was written"
    ):
        start.commit(with_status(start, "rejected"), verb="audit")
    assert manifest.load("tail", root=start.root).rows()["status"].unique().to_list() == ["selected"]


def test_of_two_first_commits_one_wins(tmp_path: Path) -> None:
    rows, _ = frames(ROWS)
    one, other = manifest.new("tail", root=tmp_path), manifest.new("tail", root=tmp_path)
    one.commit(rows, verb="ingest")
    with pytest.raises(ConflictError):
        other.commit(rows, verb="ingest")
    assert manifest.load("tail", root=tmp_path).rows().height == 2


def test_a_writer_who_looked_just_before_is_still_told(start: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at the newest version and the write are two steps; somebody may commit between them."""
    start.commit(with_status(start, "selected"), verb="balance")
    real = delta.latest
    looks = iter([0])
    monkeypatch.setattr(
        delta, "latest", lambda location: next(looks, None) if (seen := real(location)) is None else next(looks, seen)
    )
    with pytest.raises(ConflictError, match="another command committed tail@1"):
        start.commit(with_status(start, "rejected"), verb="audit")
    monkeypatch.undo()
    assert manifest.load("tail", root=start.root).version == 1


@pytest.mark.parametrize("version", [-1, 0])
def test_of_many_writers_at_once_one_wins(tmp_path: Path, version: int) -> None:
    rows, _ = frames(ROWS)
    handle = manifest.new("tail", root=tmp_path) if version < 0 else ingested(tmp_path, ROWS)

    def write(writer: int) -> bool:
        try:
            handle.commit(rows.with_columns(reason=pl.lit(f"{writer}")), verb="review")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 1
    newest = manifest.load("tail", root=tmp_path)
    assert newest.version == version + 1
    assert newest.rows().height == 2, "writes did not merge"
    assert newest.rows()["reason"].n_unique() == 1


# Roots


@pytest.mark.parametrize("root", ODD_ROOTS)
def test_roots_may_have_any_name(tmp_path: Path, root: str) -> None:
    start = ingested(tmp_path / root, ROWS)
    after = start.commit(with_status(start, "selected"), verb="balance")
    after.tag("odd")
    again = manifest.load("tail@odd", root=tmp_path / root)
    assert again.rows()["status"].to_list() == ["selected", "selected"]
    assert [commit.verb for commit in again.log()] == ["ingest", "balance"]
    assert sorted(again.examples()["prompt"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("root", "held"), [("a%20b", "'%20'"), ("a[1]", r"'\['"), ("a|b", r"'\|'"), ("C#", "'#'"), ("a\nb", r"'\\n'")]
)
def test_roots_that_delta_cannot_address_say_so(tmp_path: Path, root: str, held: str) -> None:
    with pytest.raises(InputError, match=f"its path holds {held}, which Delta cannot address; use a folder of another name"):
        manifest.new("tail", root=tmp_path / root)


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingested(tmp_path, ROWS)
    monkeypatch.setenv("CURATE_ROOT", str(tmp_path))
    assert manifest.load("tail").version == 0


def test_the_working_directory_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingested(tmp_path, ROWS)
    monkeypatch.chdir(tmp_path)
    assert manifest.load("tail").rows().height == 2


def test_a_root_may_move(start: Manifest, tmp_path: Path) -> None:
    moved = tmp_path.with_name("moved elsewhere")
    shutil.copytree(tmp_path, moved)
    shutil.rmtree(tmp_path / "manifests")
    assert manifest.load("tail", root=moved).examples()["prompt"].to_list() == ["a", "b"]


# Tags


def test_a_tag_names_a_version(start: Manifest) -> None:
    after = start.commit(with_status(start, "selected"), verb="balance")
    start.tag("raw")
    after.tag("balanced-v1")
    assert manifest.load("tail@raw", root=start.root) == start
    assert after.tags() == {"balanced-v1": 1, "raw": 0}


def test_a_tag_moves_only_by_force(start: Manifest) -> None:
    after = start.commit(with_status(start, "selected"), verb="balance")
    start.tag("best")
    start.tag("best")
    with pytest.raises(InputError, match="tag 'best' names tail@0 already; move it with --force"):
        after.tag("best")
    after.tag("best", force=True)
    assert after.tags() == {"best": 1}


@pytest.mark.parametrize("tag", ["7", "latest", "Best", "a b", ""])
def test_tags_that_break_the_rule(start: Manifest, tag: str) -> None:
    with pytest.raises(InputError, match=f"tag '{tag}': use"):
        start.tag(tag)


# What is broken leaves the manifest as it was


def test_a_folder_that_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifests" / "tail").mkdir(parents=True)
    with pytest.raises(ManifestNotFoundError, match="is a folder without a manifest; known: none"):
        manifest.load("tail", root=tmp_path)


def test_a_log_that_cannot_be_read(start: Manifest) -> None:
    for entry in (Path(start.location) / "manifest" / "_delta_log").glob("*.json"):
        entry.write_text("not json", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"commit file .* is damaged: restore it") as caught:
        manifest.load("tail", root=start.root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["tail", "tail@0"])
def test_a_newer_schema_is_refused(start: Manifest, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(manifest, "SCHEMA_VERSION", 3)
    start.commit(start.rows(), verb="balance")
    monkeypatch.undo()
    with pytest.raises(
        NewerSchemaError, match=r"manifest 'tail' has schema 3, .* reads up to schema 2: pip install --upgrade baldistill"
    ):
        manifest.load(version, root=start.root)


def test_columns_of_a_later_schema_are_not_in_the_way(start: Manifest) -> None:
    """A file with the same columns in another order is read by name."""
    reordered = start.rows().select(reversed(SCHEMA.names()))
    assert start.commit(reordered, verb="review").rows().equals(start.rows())


FULL = """
import sys
from curate.manifest import manifest
from curate.errors import ManifestError
handle = manifest.load("tail", root=sys.argv[1])
rows = handle.rows()
import polars as pl, os
noise = [os.urandom(16384).hex() for _ in range(200)]
big = pl.concat([rows] * 100).with_columns(reason=pl.Series(noise))
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    handle.commit(big, verb="review")
except ManifestError as e:
    print(e)
"""


def test_a_disk_that_fills_up_in_a_commit(start: Manifest) -> None:
    """A limit on the size of files stands in for the full disk: the write of the rows stops half-way."""
    done = subprocess.run([sys.executable, "-c", FULL, start.root], check=False, capture_output=True, text=True)
    assert "cannot be written, nothing was changed" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1
    newest = manifest.load("tail", root=start.root)
    assert newest.version == 0
    assert newest.rows().height == 2
    assert newest.commit(newest.rows(), verb="review").version == 1, "the next command goes on as if nothing had been"


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_stops_changes_nothing(start: Manifest, monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    def stop(_: pl.DataFrame, path: Path, **__: Any) -> None:
        path.write_bytes(b"a part")
        raise raised

    files = sorted(Path(start.location, "manifest").iterdir())
    monkeypatch.setattr(pl.DataFrame, "write_parquet", stop)
    expected: type[BaseException] = ManifestError if isinstance(raised, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        start.commit(with_status(start, "selected"), verb="balance")
    assert manifest.load("tail", root=start.root).rows()["status"].to_list() == ["candidate", "candidate"]
    assert sorted(Path(start.location, "manifest").iterdir()) == files


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "manifests").write_text("a file where the folder should be", encoding="utf-8")
    rows, _ = frames(ROWS)
    with pytest.raises(ManifestError, match="cannot be written, nothing was changed"):
        manifest.new("tail", root=tmp_path).commit(rows, verb="ingest")


def test_content_without_a_commit_is_harmless(start: Manifest) -> None:
    """A crash between content and commit leaves content that nothing points at."""
    start.append(frames([{"prompt": "orphan"}])[1])
    assert manifest.load("tail", root=start.root).examples()["prompt"].to_list() == ["a", "b"]


# What others read


def test_the_table_is_plain_delta(start: Manifest) -> None:
    from deltalake import DeltaTable

    table = DeltaTable(f"{start.location}/manifest")
    assert [field.name for field in table.schema().fields] == SCHEMA.names()
    metadata = table.history(1)[0]
    assert metadata["curate.verb"] == "ingest"
    assert json.loads(metadata["curate.parameters"]) == {}
    assert pl.from_arrow(table.to_pyarrow_table()).equals(start.rows())
    newer = start.commit(with_status(start, "selected"), verb="balance")
    table.update_incremental()
    assert pl.from_arrow(table.to_pyarrow_table()).equals(newer.rows())
    assert pl.DataFrame(table.get_add_actions())["num_records"].to_list() == [2]


def test_tags_need_a_local_root() -> None:
    with pytest.raises(ManifestError, match="tags need a local root"):
        Manifest("tail", 0, "s3://bucket").tags()


def test_lineage_leaves_out_what_a_later_stage_undid(tmp_path: Path) -> None:
    first = ingested(tmp_path, ROWS)
    undone = first.commit(first.rows(), verb="balance", summary={"base": 0})
    again = undone.commit(first.rows(), verb="balance", summary={"base": 0})
    after = again.commit(first.rows(), verb="score")
    assert [commit.version for commit in after.lineage()] == [0, 2, 3]
    assert [commit.version for commit in undone.lineage()] == [0, 1]
