"""Pushes to a Hub: what is there afterwards, what is sent again, and what is said when it goes wrong."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import curate.terminal.cli
from curate import progress
from curate.errors import HubError, InputError
from curate.export import export as exporting
from curate.files import ledger_path
from curate.hub import changes
from curate.hub import push as pushing
from curate.ledger.ledger import Ledger
from tests.support import hub as hubs


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr("curate.hub.client._WAITS", (0.0,) * 5)
    monkeypatch.setattr("curate.hub.client.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    with hubs.serving() as running:
        hubs.point(monkeypatch, running, tmp_path / "home")
        yield running
        import huggingface_hub

        huggingface_hub.utils.close_session()


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Return a call of `curate export m`, in a working directory of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def call(to, *flags, name="m"):
        return CliRunner().invoke(curate.terminal.cli.app, ["export", name, "--to", to, "--root", str(tmp_path), *flags])

    return call


@pytest.fixture
def folder(tmp_path):
    """Return a folder to push: a card and two files of data."""
    made = tmp_path / "folder"
    (made / "data").mkdir(parents=True)
    (made / "README.md").write_text("---\nlicense: mit\n---\n# hello\n")
    for n in range(2):
        pl.DataFrame({"a": range(n, n + 50)}).write_parquet(made / "data" / f"train-0000{n}-of-00002.parquet")
    return made


def told(folder):
    """Return the files of a folder as bytes by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(repo):
    """Return the files of a repository as bytes by name, without those of the Hub and of the push."""
    return {path: blob.data for path, blob in repo.head.files.items() if path not in (".gitattributes", pushing.RECORD)}


def select(manifest, n, *, skip=0):
    chosen = pl.int_range(pl.len()).is_between(skip, skip + n - 1) & (pl.col("split") == "train")
    rows = manifest.rows().with_columns(
        status=pl.when(chosen).then(pl.lit("selected")).otherwise(pl.lit("candidate")), stage=pl.when(chosen).then(0)
    )
    return manifest.commit(rows, verb="balance")


def test_an_export_to_the_hub_is_one_private_commit_that_loads_by_the_line_it_prints(selected, hub, cli, tmp_path):
    import datasets

    done = cli("hub:me/sums")
    assert done.exit_code == 0, done.output
    repo = hub.repos["dataset", "me/sums"]
    assert repo.private
    assert repo.log == ["m@1: 2 rows", "initial commit"]
    assert repo.head.description.splitlines() == ["law: +1", "sums: +1"]
    (tag,) = repo.tags
    assert re.fullmatch(r"m-v1-[0-9a-f]{8}", tag)
    assert repo.tags[tag] == repo.head.oid
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"pushed to {hub.url}/datasets/me/sums at revision {repo.head.oid}; load it with ")
    found = eval(last.partition("load it with ")[2], {"datasets": datasets})
    assert {split: part.num_rows for split, part in found.items()} == {"train": 2}
    local = told(tmp_path / "work" / "exports" / "m-v1-datasets")
    assert there(repo) == {path: data for path, data in local.items() if not path.startswith(".")}


def test_what_was_pushed_is_read_back_to_the_same_rows(selected, hub, cli, tmp_path):
    from curate.manifest.rows import in_snapshot
    from curate.sources import ingest

    cli("hub:me/sums", "--held-out")
    (tag,) = hub.repos["dataset", "me/sums"].tags
    back = ingest.ingest([f"hf://me/sums@{tag}"], to="back", root=tmp_path).manifest
    columns = ["id", "content", "domain", "split", "source", "origin", "status", "stage"]
    rows = [each.scan().filter(in_snapshot()).select(columns).collect().sort("id") for each in (selected, back)]
    assert rows[0].drop("status").equals(rows[1].drop("status"))
    assert rows[1].filter(split="train")["status"].to_list() == ["selected"] * 2
    (source, *_) = back.log()[-1].summary["sources"]
    assert (source["address"], source["hash"]) == ("hf://me/sums", f"revision:{hub.repos['dataset', 'me/sums'].head.oid}")


def test_a_name_without_an_organisation_is_in_the_users_own_namespace(selected, hub, cli):
    assert "repository  me/sums (private, new)" in cli("hub:sums").stdout
    assert ("dataset", "me/sums") in hub.repos


def test_the_same_snapshot_again_changes_nothing_and_says_so(selected, hub, cli):
    first = cli("hub:me/sums").stdout.splitlines()[-1]
    hub.requests.clear()
    hub.received.clear()
    again = cli("hub:me/sums")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[-1] == first.replace("pushed to", "nothing has changed since the last push to")
    assert len(hub.repos["dataset", "me/sums"].log) == 2
    assert not {"upload", "commit", "tag", "create", "preupload"} & set(hub.seen)


def test_a_newer_snapshot_is_a_commit_that_says_the_difference(candidates, hub, cli):
    before = select(candidates, 2)
    cli("hub:me/sums", name=str(before))
    after = select(before, 2, skip=1)
    assert cli("hub:me/sums", name=str(after)).exit_code == 0
    repo = hub.repos["dataset", "me/sums"]
    assert repo.log[0] == "m@2: 1 rows added, 1 removed, 0 changed since m@1"
    assert repo.head.description.splitlines() == ["sums: +1, -1"]
    assert [name[:5] for name in repo.tags] == ["m-v1-", "m-v2-"]
    record = json.loads(repo.head.files[pushing.RECORD].data)
    assert (record["manifest"], record["version"], record["domains"]) == ("m", 2, {"law": 1, "sums": 1})
    assert record["snapshot"].startswith("xxh3:")


def test_the_difference_to_a_push_of_another_machine_is_told_in_numbers(candidates, hub, cli):
    first = select(candidates, 1)
    cli("hub:me/sums", name=str(first))
    repo = hub.repos["dataset", "me/sums"]
    record = json.loads(repo.head.files[pushing.RECORD].data)
    repo.write(curate_dash_push_dot_json=json.dumps({**record, "snapshot": "xxh3:of another"}).encode())
    cli("hub:me/sums", name=str(select(first, 2)))
    assert repo.log[0] == "m@2: 1 rows more and 0 fewer than m@1"


def test_files_of_an_earlier_push_go_and_those_of_others_stay(folder, hub):
    with progress.listen(lambda _: None):
        pushing.push(folder, "me/d")
    repo = hub.repos["dataset", "me/d"]
    repo.write(LICENSE=b"mine", notes_dot_txt=b"mine too")
    (folder / "data" / "train-00001-of-00002.parquet").unlink()
    done = pushing.push(folder, "me/d")
    assert [(file.path, file.change) for file in done.files if file.change != "same"] == [
        ("curate-push.json", "changed"),
        ("data/train-00001-of-00002.parquet", "gone"),
    ]
    assert set(there(repo)) == {"README.md", "LICENSE", "notes.txt", "data/train-00000-of-00002.parquet"}
    assert len(repo.log) == 4


def test_a_file_that_somebody_changed_since_is_theirs(folder, hub):
    (folder / "notes.txt").write_text("ours")
    pushing.push(folder, "me/d")
    repo = hub.repos["dataset", "me/d"]
    repo.write(notes_dot_txt=b"theirs")
    with pytest.raises(InputError, match=r"^push to me/d: 'notes.txt' is there, no push wrote it, and it would be written over"):
        pushing.push(folder, "me/d")
    (folder / "notes.txt").unlink()
    notes = []
    with progress.listen(notes.append):
        pushing.push(folder, "me/d")
    assert repo.head.files["notes.txt"].data == b"theirs"
    assert "me/d: 'notes.txt' was changed since an earlier push wrote it, and stays" in [note.message for note in notes]


LINES = [
    ("whoami", {"status": 401}, "the token in HF_TOKEN is not valid (401)"),
    ("whoami", {"status": 500, "times": 9}, "the Hub fails (500"),
    (
        "whoami",
        {"status": 429, "headers": {"Retry-After": "900"}},
        "the Hub limits how often it is asked (429): run it again in 900 s",
    ),
    ("info", {"status": 403, "message": "no"}, "the token in HF_TOKEN may not do that in me (no)"),
    ("create", {"status": 403, "message": "no rights"}, "the token in HF_TOKEN may not do that in me (no rights)"),
    ("create", {"status": 402, "message": "pay"}, "it does not fit into what me may store or send (pay)"),
    ("preupload", {"status": 413, "message": "too much"}, "it does not fit into what me may store or send (too much)"),
    ("upload", {"status": 403, "message": "expired"}, "may not do that in me (expired)"),
    ("upload", {"status": 503}, "the Hub fails (503"),
    ("upload", {"request": 10}, "cannot be reached"),
    ("verify", {"status": 404, "message": "Object not found"}, "(404: Object not found)"),
    ("yaml", {"status": 400, "message": ""}, "the YAML at the head of README.md is not valid"),
    ("commit", {"status": 409, "message": "busy"}, "the Hub refuses it (409: busy)"),
    ("commit", {"status": 412, "message": "A commit has happened since"}, "somebody else committed to it meanwhile"),
    ("commit", {"status": 502}, "the Hub fails (502"),
    ("tag", {"status": 500, "times": 9}, "the Hub fails (500"),
]


@pytest.mark.parametrize(("kind", "fault", "line"), LINES, ids=[f"{kind}-{n}" for n, (kind, *_) in enumerate(LINES)])
def test_what_goes_wrong_is_one_line_that_says_what_is_at_the_repository(folder, hub, kind, fault, line):
    hub.break_(kind, **fault)
    with pytest.raises(HubError) as raised:
        pushing.push(folder, "me/d", tag="v1")
    error, repo = str(raised.value), hub.repos.get(("dataset", "me/d"))
    assert error.startswith("push to me/d: ")
    assert line in error
    assert "\n" not in error
    assert ("me/d was made and has no files yet" in error) == (repo is not None and kind != "tag")
    assert ("its files are there" in error) == (kind == "tag")
    hub.faults.clear()
    pushing.push(folder, "me/d", tag="v1")
    assert hub.repos["dataset", "me/d"].log == ["3 files", "initial commit"]
    assert list(hub.repos["dataset", "me/d"].tags) == ["v1"]


def test_the_command_ends_with_one_line_and_status_1(selected, hub, cli):
    hub.break_("commit", status=403, message="no rights")
    done = cli("hub:me/sums")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: push to me/sums: the token in HF_TOKEN may not do that in me (no rights): use one that may write there, of "
        f"{hub.url}/settings/tokens; me/sums was made and has no files yet; files sent and waiting for the commit, not to be "
        "sent again: 2"
    )


@pytest.mark.parametrize("kind", ["whoami", "info", "create", "preupload", "batch", "upload", "verify", "tree", "tag"])
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "headers": {"RateLimit": '"api";r=0;t=5'}}, {"response": 40}])
def test_what_passes_by_itself_is_waited_for(folder, hub, kind, fault):
    hub.break_(kind, times=2, **fault)
    notes = []
    with progress.listen(notes.append):
        pushing.push(folder, "me/d", tag="v1")
    assert any("trying again" in note.message or "waiting" in note.message for note in notes)
    assert hub.repos["dataset", "me/d"].log == ["3 files", "initial commit"]
    assert list(hub.repos["dataset", "me/d"].tags) == ["v1"]


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"response": 40}, {"request": 40}])
def test_a_commit_is_made_once_whatever_became_of_its_answer(folder, hub, fault):
    hub.break_("commit", times=2, **fault)
    pushing.push(folder, "me/d")
    assert hub.repos["dataset", "me/d"].log == ["3 files", "initial commit"]


def test_a_wait_that_the_hub_asks_for_is_kept(folder, hub, monkeypatch):
    slept = []
    monkeypatch.setattr("curate.hub.client.time", SimpleNamespace(sleep=slept.append))
    hub.break_("commit", status=429, times=1, headers={"RateLimit": '"api";r=0;t=55'})
    hub.break_("refs", status=503, times=1, headers={"Retry-After": "7"})
    pushing.push(folder, "me/d")
    pushing.push(folder, "me/d")
    assert slept == [56.0, 7.0]


def test_a_repository_without_room_is_told_of_before_anything_is_committed(folder, hub):
    hub.repo("me/d").full = True
    with pytest.raises(
        HubError, match=r"^push to me/d: it does not fit into what me may store or send \(Private repository storage"
    ):
        pushing.push(folder, "me/d")


def test_only_what_is_missing_is_sent_after_a_broken_push(folder, hub):
    for n in range(2, 12):
        pl.DataFrame({"a": range(n * 1000)}).write_parquet(folder / "data" / f"train-{n}.parquet")
    hub.break_("upload", request=10, skip=6)
    with pytest.raises(HubError, match=r"me/d was made and has no files yet; files sent and waiting for the commit, .*: \d+$"):
        pushing.push(folder, "me/d")
    stored = set(hub.repos["dataset", "me/d"].stored.values())
    assert stored
    hub.faults.clear()
    hub.requests.clear()
    pushing.push(folder, "me/d")
    assert hub.seen["upload"] == 12 - len(stored)
    assert there(hub.repos["dataset", "me/d"]) == told(folder)


def test_a_process_that_is_killed_loses_nothing_that_was_sent(folder, hub, tmp_path):
    for n in range(2, 10):
        (folder / "data" / f"train-{n}.parquet").write_bytes(random.Random(n).randbytes(200_000))
    code = f"from curate.hub.push import push; push({str(folder)!r}, 'me/d', tag='v1')"
    environment = {**hubs.environment(hub, tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    hub.arrived = lambda total: process.kill() if total > 1_000_000 else None
    assert process.wait() == -signal.SIGKILL
    hub.arrived = lambda total: None
    stored = dict(hub.repos["dataset", "me/d"].stored)
    assert stored
    hub.received.clear()
    pushing.push(folder, "me/d", tag="v1")
    missing = sum(map(len, told(folder).values())) - sum(map(len, stored.values()))
    assert hub.received["upload"] < 1.05 * missing
    assert there(hub.repos["dataset", "me/d"]) == told(folder)


def test_large_files_go_in_parts(folder, hub):
    hub.part = 300
    pushing.push(folder, "me/d")
    assert hub.seen["part"] > 4
    assert there(hub.repos["dataset", "me/d"]) == told(folder)


def test_the_token_goes_to_the_hub_alone(folder, hub):
    pushing.push(folder, "me/d")
    assert {sent for kind, _, _, sent in hub.requests if kind in ("upload", "part", "complete")} == {False}


def test_a_repository_is_as_private_as_was_asked(folder, hub):
    assert not pushing.push(folder, "me/open", private=False).private
    assert not hub.repos["dataset", "me/open"].private
    with pytest.raises(InputError, match=r"me/open: it is public, and this push is not: add --public, or change that first"):
        pushing.push(folder, "me/open")
    pushing.push(folder, "me/d")
    with pytest.raises(InputError, match=r"me/d: it is private, and this push is not: leave out --public"):
        pushing.push(folder, "me/d", private=False)


def test_a_repository_of_somebody_elses_data_is_refused_with_its_columns(folder, hub, tmp_path):
    pl.DataFrame({"question": ["a"], "label": [1]}).write_parquet(tmp_path / "x.parquet")
    repo = hub.repo("me/d")
    repo.write(other__x_dot_parquet=(tmp_path / "x.parquet").read_bytes())
    message = r"^push to me/d: it holds data that no push wrote, 'other/x.parquet' \(columns question, label\): push to another "
    with pytest.raises(InputError, match=message + r"repository, such as hub:me/d-2, or leave it there with --force$"):
        pushing.push(folder, "me/d")
    assert pushing.push(folder, "me/d", force=True).committed
    assert "other/x.parquet" in repo.head.files
    repo.write(data__deeper__train_dot_parquet=(tmp_path / "x.parquet").read_bytes())
    with pytest.raises(
        InputError, match=r"'data/deeper/train.parquet' \(columns question, label\): push to another repository, such as \S+$"
    ):
        pushing.push(folder, "me/d", force=True)


def test_the_rows_of_another_manifest_are_replaced_only_by_force(folder, hub):
    pushing.push(folder, "me/d", about={"manifest": "law"})
    with pytest.raises(
        InputError, match=r"^push to me/d: it holds the rows of 'law': push to another .* or replace them with --force$"
    ):
        pushing.push(folder, "me/d", about={"manifest": "sums"})
    assert pushing.push(folder, "me/d", about={"manifest": "sums"}, force=True).committed


@pytest.mark.parametrize(
    "record", [b"", b"[]", b"{}", b'{"curate_push": 1, "files": []}', b'{"curate_push": 1, "files": {"a": 1, "README.md": {}}}']
)
def test_a_record_that_somebody_wrote_is_none_of_ours(folder, hub, record):
    repo = hub.repo("me/d")
    repo.write(curate_dash_push_dot_json=record)
    pushing.push(folder, "me/d")
    assert set(told(folder)) <= set(there(repo))


def test_odd_numbers_in_a_record_are_left_out(candidates, hub, cli):
    first = select(candidates, 1)
    cli("hub:me/sums", name=str(first))
    repo = hub.repos["dataset", "me/sums"]
    record = json.loads(repo.head.files[pushing.RECORD].data)
    repo.write(curate_dash_push_dot_json=json.dumps({**record, "snapshot": 1, "domains": {"law": "many"}, "rows": 7}).encode())
    assert cli("hub:me/sums", name=str(select(first, 2))).exit_code == 0
    assert repo.log[0] == "m@2: 2 rows more and 0 fewer than m@1"


def test_a_repository_that_is_made_with_another_visibility_gets_nothing(folder, hub, monkeypatch):
    kept = hub._create

    def public(*given):
        answer = kept(*given)
        hub.repos["dataset", "me/d"].private = False
        return answer

    monkeypatch.setattr(hub, "_create", public)
    with pytest.raises(HubError, match=r"^push to me/d: it was made and is public, which was not asked for; nothing was sent"):
        pushing.push(folder, "me/d")
    assert not hub.repos["dataset", "me/d"].stored


def test_a_renamed_repository_is_named(folder, hub):
    pushing.push(folder, "me/d")
    hub.rename("me/d", "me/e")
    with pytest.raises(InputError, match=r"^push to me/d: it is called me/e now: push to hub:me/e$"):
        pushing.push(folder, "me/d")


def test_no_token_and_the_login_of_hf_auth(folder, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(
        HubError, match=r"^push to me/d: there is no token of the Hub: set HF_TOKEN, or log in with hf auth login$"
    ):
        pushing.push(folder, "me/d")
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "token").write_text("hf_old")
    with pytest.raises(HubError, match=r"^push to me/d: the token of hf auth login is not valid \(401\)"):
        pushing.push(folder, "me/d")
    (tmp_path / "home" / "token").write_text(hubs.TOKEN)
    assert pushing.push(folder, "me/d").committed
    monkeypatch.setenv("HF_TOKEN", hubs.READER)
    with pytest.raises(HubError, match=r"the token of 'me' may only read"):
        pushing.push(folder, "me/d")
    monkeypatch.setenv("HF_TOKEN", hubs.OTHER)
    with pytest.raises(HubError, match=r"none can be made in 'org', which is neither you \(other\) nor .* \(you have none\)"):
        pushing.push(folder, "org/d")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("HF_ENDPOINT", "huggingface.co", r"HF_ENDPOINT 'huggingface.co' is no address of a Hub"),
        ("HF_ENDPOINT", "ftp://huggingface.co", r"HF_ENDPOINT 'ftp://huggingface.co' is no address"),
        ("HF_TOKEN", "hf_\x01secret", r"the token in HF_TOKEN holds characters that no token has"),
        ("HF_TOKEN", "hf_sécret", r"the token in HF_TOKEN holds characters that no token has"),
        ("HF_TOKEN", "hf_two secret", r"the token in HF_TOKEN holds characters that no token has"),
        ("ALL_PROXY", "socks4://127.0.0.1:9", r"push to me/d: "),
        ("ALL_PROXY", "http://127.0.0.1:9", r"push to me/d: the Hub at \S+ cannot be reached"),
    ],
)
def test_odd_settings_are_one_line_that_shows_no_secret(folder, hub, monkeypatch, name, value, line):
    import huggingface_hub

    if name == "HF_ENDPOINT":
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", value)
    for proxy in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv(name, value)
    huggingface_hub.utils.close_session()
    with pytest.raises(HubError, match=f"^{line}") as raised:
        pushing.push(folder, "me/d")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    huggingface_hub.utils.close_session()


def test_no_network_is_one_line_at_once(folder, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        HubError, match=r"^push to me/d: the Hub at http://127.0.0.1:9 cannot be reached \(.*refused\): check the network"
    ):
        pushing.push(folder, "me/d")


def test_a_hub_that_says_nothing_is_given_up(folder, hub, monkeypatch):
    import socket

    monkeypatch.setattr("curate.hub.client._SILENT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(HubError, match=r"^push to me/d: the Hub at \S+ cannot be reached \(.*timed out"):
            pushing.push(folder, "me/d")


@pytest.mark.parametrize("name", ["", "a/b/c", "-a/b", "a/b-", "a--b", "a..b", "me/ü", "me/d.git", "x" * 97, "me/d@v1", "me/d:x"])
def test_names_that_the_hub_takes_for_no_repository(folder, hub, name):
    with pytest.raises(InputError, match=r"names no repository|names no revision"):
        pushing.push(folder, f"hub:{name}")
    assert not hub.requests


def test_a_dry_run_shows_all_of_it_and_does_nothing(selected, hub, cli, tmp_path):
    done = cli("hub:me/sums", "--dry-run")
    assert done.exit_code == 0, done.output
    assert re.findall(r"^(\S+) +[\d.]+ k?B +new$", done.stdout, re.MULTILINE) == [
        "README.md",
        "croissant.json",
        "data/stage-0/real/train-00000-of-00001.parquet",
        "domains.png",
        "curate-push.json",
    ]
    for line in (
        "repository  me/sums (private, new)",
        "stays here  1 train rows that are not selected",
        "stays here  2 held-out rows (--held-out takes them along)",
        "snapshot `m@1`",
        f"nothing was written or pushed; without --dry-run this goes to {hub.url}/datasets/me/sums",
    ):
        assert line in done.stdout
    assert not hub.repos
    assert not (tmp_path / "work" / "exports").exists()


def test_a_dry_run_needs_no_login(selected, hub, cli, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = cli("hub:me/sums", "--dry-run")
    assert done.exit_code == 0
    assert "push: push to me/sums: there is no token of the Hub" in done.stderr


def test_the_result_as_json(selected, hub, cli):
    told = json.loads(cli("hub:me/sums", "--json").stdout)
    pushed = told["pushed"]
    assert (pushed["repo"], pushed["private"], pushed["committed"]) == ("me/sums", True, True)
    assert pushed["revision"] == hub.repos["dataset", "me/sums"].head.oid
    assert told["left"] == {"train rows that are not selected": 1, "held-out rows (--held-out takes them along)": 2}


def test_flags_of_the_hub_are_refused_elsewhere(selected, cli):
    for flag in ("--public", "--dry-run"):
        assert f"error: {flag} is for --to hub:ORG/NAME, and this is --to parquet: leave it out" in cli("parquet", flag).stderr


def test_held_out_rows_go_only_when_asked(selected, hub, cli):
    import datasets

    done = cli("hub:me/sums")
    repo = hub.repos["dataset", "me/sums"]
    assert "1 validation rows and 1 test rows are kept back" in done.stderr
    assert [path for path in repo.head.files if path.startswith("data/")] == ["data/stage-0/real/train-00000-of-00001.parquet"]
    again = cli("hub:me/sums", "--held-out")
    assert len([path for path in repo.head.files if path.startswith("data/")]) == 3
    assert repo.log[0] == "m@1: 2 rows added, 0 removed, 0 changed since m@1"
    loaded = eval(again.stdout.splitlines()[-1].partition("load it with ")[2], {"datasets": datasets})
    assert set(loaded) == {"train", "validation", "test"}


def test_nothing_else_leaves_the_machine(selected, hub, cli, tmp_path, monkeypatch):
    Ledger(ledger_path(str(tmp_path))).close()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-neverToBeSeen")
    assert cli("hub:me/sums").exit_code == 0
    sent = b"\n".join(hub.bodies)
    for path, blob in hub.repos["dataset", "me/sums"].head.files.items():
        sent += json.dumps(pl.read_parquet(blob.data).to_dicts()).encode() if path.endswith(".parquet") else blob.data
    assert b"2+3?" in sent
    for secret in (
        str(tmp_path),
        str(Path.home()),
        hubs.TOKEN,
        "sk-neverToBeSeen",
        "SQLite",
        "left out?",
        "seen later?",
        "held back?",
    ):
        assert secret.encode() not in sent, secret


def test_a_rule_of_the_repository_that_would_leave_files_out_is_told(folder, hub):
    hub.repo("me/d").write(_dot_gitignore=b"*.parquet\n")
    with pytest.raises(HubError, match=r"its .gitignore leaves out 'data/train-00000-of-00002.parquet'"):
        pushing.push(folder, "me/d")
    assert hub.repos["dataset", "me/d"].log == ["by somebody else", "initial commit"]


def test_only_files_of_the_folder_are_pushed(folder, hub, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / ".hidden").write_text("hidden")
    pushing.push(folder, "me/d")
    assert set(there(hub.repos["dataset", "me/d"])) == {
        "README.md",
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    }
    with pytest.raises(InputError, match=r"secret.txt' is not in it, and only its files are pushed"):
        pushing.push(folder, "me/d", files=[folder / "README.md", tmp_path / "secret.txt"])


def test_a_model_is_pushed_as_well(tmp_path, hub):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights" * 100)
    (tmp_path / "adapter" / "README.md").write_text("# A student\n")
    done = pushing.push(tmp_path / "adapter", "student", repo_type="model", tag="run-1", message="run 1")
    assert (done.repo, done.url) == ("me/student", f"{hub.url}/me/student")
    assert done.load == 'huggingface_hub.snapshot_download("me/student", revision="run-1")'
    assert there(hub.repos["model", "me/student"]) == told(tmp_path / "adapter")


def test_what_is_there_is_compared_with_what_is_here_before_it_is_tagged(folder, hub, monkeypatch):
    kept = hubs.Repo.add

    def damaged(self, title, files, **options):
        cut = {path: hubs.Blob(blob.data[:-1], blob.large) if path.startswith("data/") else blob for path, blob in files.items()}
        return kept(self, title, cut, **options)

    monkeypatch.setattr(hubs.Repo, "add", damaged)
    with pytest.raises(HubError, match=r"its file 'data/train-00000-of-00002.parquet' is not as it is here .* it was not tagged"):
        pushing.push(folder, "me/d", tag="v1")
    assert not hub.repos["dataset", "me/d"].tags


def test_a_commit_of_somebody_else_in_between_is_not_lost(folder, hub):
    pushing.push(folder, "me/d")
    repo = hub.repos["dataset", "me/d"]
    (folder / "data" / "train-00000-of-00002.parquet").unlink()
    preupload = hub._preupload

    def meanwhile(*given):
        repo.write(LICENSE=b"by somebody")
        return preupload(*given)

    hub._preupload = meanwhile
    with pytest.raises(HubError, match=r"^push to me/d: somebody else committed to it meanwhile, and nothing was written over"):
        pushing.push(folder, "me/d")
    hub._preupload = preupload
    pushing.push(folder, "me/d")
    assert repo.head.files["LICENSE"].data == b"by somebody"


def test_a_tag_that_is_there_stays_where_it_is(folder, hub):
    first = pushing.push(folder, "me/d", tag="v1")
    (folder / "README.md").write_text("# changed\n")
    notes = []
    with progress.listen(notes.append):
        second = pushing.push(folder, "me/d", tag="v1")
    assert hub.repos["dataset", "me/d"].tags == {"v1": first.revision}
    assert second.load == f'datasets.load_dataset("me/d", revision="{second.revision}")'
    assert any("the tag v1 stays at commit" in note.message for note in notes)


def test_what_a_person_wrote_into_the_card_stays(candidates, hub, cli):
    first = select(candidates, 1)
    cli("hub:me/sums", name=str(first))
    repo = hub.repos["dataset", "me/sums"]
    written = repo.head.files["README.md"].data.replace(b"---\n", b"---\nlanguage: de\n", 1) + b"\nAsk Ada before you use it.\n"
    repo.write(README_dot_md=written)
    cli("hub:me/sums", name=str(select(first, 2)))
    card = repo.head.files["README.md"].data.decode()
    assert "Ask Ada before you use it." in card
    assert "m@2" in card
    again = cli("hub:me/sums", name="m@2")
    assert "nothing has changed since" in again.stdout


def test_a_card_that_cannot_be_taken_apart_is_refused_and_stays(candidates, hub, cli):
    repo = hub.repo("me/sums")
    repo.write(README_dot_md=b"---\nlicense: [mit\n---\nmine\n")
    done = cli("hub:me/sums", name=str(select(candidates, 1)))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("error: push to me/sums: README.md: ")
    assert repo.log == ["by somebody else", "initial commit"]


def test_a_readme_that_is_not_ours_is_kept_or_replaced_as_the_last_push_left_it(folder, hub):
    pushing.push(folder, "me/d")
    repo = hub.repos["dataset", "me/d"]
    (folder / "README.md").write_text("# second\n")
    pushing.push(folder, "me/d")
    assert repo.head.files["README.md"].data == b"# second\n"
    repo.write(README_dot_md=b"# a person\n")
    (folder / "README.md").write_text("# third\n")
    notes = []
    with progress.listen(notes.append):
        pushing.push(folder, "me/d")
    assert repo.head.files["README.md"].data == b"# a person\n"
    assert "me/d: the README.md that is there was written by somebody else, and stays" in [note.message for note in notes]


def test_ctrl_c_says_what_is_there(folder, hub, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", stop)
    with pytest.raises(
        KeyboardInterrupt,
        match="me/d was made and has no files yet; files sent and waiting for the commit, not to be sent again: 2",
    ):
        pushing.push(folder, "me/d")


def test_a_tag_that_git_does_not_take_is_refused_before_anything_is_asked(folder, hub):
    with pytest.raises(InputError, match=r"^tag 'a b': git takes no ' ' there"):
        pushing.push(folder, "me/d", tag="a b")
    assert not hub.requests


@given(st.text(), st.integers(0, 10**6), st.text("0123456789abcdef", min_size=8))
def test_the_tag_of_a_snapshot_is_one_for_git(name, version, digest):
    assert hubs.is_ref(changes.tag_of(name, version, digest))


@settings(max_examples=25)
@given(
    kind=st.sampled_from(["*", "create", "preupload", "batch", "upload", "verify", "yaml", "commit", "tree", "tag"]),
    side=st.sampled_from(["request", "response"]),
    at=st.integers(0, 2500),
    skip=st.integers(0, 20),
)
def test_whatever_byte_a_push_breaks_at_the_next_one_makes_it_whole(tmp_path_factory, kind, side, at, skip):
    folder = tmp_path_factory.mktemp("folder")
    (folder / "data").mkdir()
    for n in range(3):
        pl.DataFrame({"a": range(n * 100 + 1)}).write_parquet(folder / "data" / f"train-{n}.parquet")
    with pytest.MonkeyPatch.context() as patch, hubs.serving() as hub:
        patch.setattr("curate.hub.client._WAITS", ())
        patch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
        hubs.point(patch, hub, folder.parent / "home")
        hub.break_(kind, skip=skip, **{side: at})
        with contextlib.suppress(HubError):  # and nothing else
            pushing.push(folder, "me/d", tag="v1")
        hub.faults.clear()
        patch.setattr("curate.hub.client._WAITS", (0.0,))  # a connection that was kept open may be found closed
        patch.setattr("curate.hub.client.time", SimpleNamespace(sleep=lambda _: None))
        repo = hub.repos.get(("dataset", "me/d"))
        assert repo is None or there(repo) in ({}, told(folder)), "all of it or nothing"
        stored = len(repo.stored) if repo else 0
        hub.requests.clear()
        pushing.push(folder, "me/d", tag="v1")
        repo = hub.repos["dataset", "me/d"]
        assert hub.seen["upload"] == 3 - stored
        assert there(repo) == told(folder)
        assert repo.tags == {"v1": repo.head.oid}
        assert len(repo.log) == 2


@pytest.mark.network
def test_the_real_hub_takes_a_push(selected, tmp_path, monkeypatch):
    import os
    import uuid

    import datasets
    import huggingface_hub

    if not os.environ.get("HF_TOKEN"):
        pytest.skip("HF_TOKEN is not set")
    api = huggingface_hub.HfApi()
    name = f"{api.whoami()['name']}/curate-test-{uuid.uuid4().hex[:8]}"
    try:
        done = exporting.export(selected, to=f"hub:{name}", destination=tmp_path / "out")
        assert done.pushed is not None
        assert done.pushed.private
        assert eval(done.load, {"datasets": datasets})["train"].num_rows == 2
        assert not exporting.export(selected, to=f"hub:{name}", destination=tmp_path / "out").pushed.committed
    finally:
        api.delete_repo(name, repo_type="dataset", missing_ok=True)
