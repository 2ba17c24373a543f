"""Another name for a manifest: its charges go along, whatever stops the command, and its runs are still known."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import curate.terminal.cli
from curate.errors import InputError, ManifestError, ManifestNotFoundError
from curate.files import ledger_path, runs_folder
from curate.housekeeping import rename as module
from curate.housekeeping.rename import rename
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps, Charged
from curate.manifest.manifest import Manifest, load, names
from curate.report.explain import explain
from curate.report.runs import version_identity
from tests.support.charges import ELSEWHERE, bound, buy, spec
from tests.support.samples import ingested


class Killed(BaseException):
    """Stands for the end of the process."""


def killed(*_: Any) -> Any:
    raise Killed


@pytest.fixture
def math(tmp_path: Path) -> Manifest:
    return ingested(tmp_path, [{"prompt": "a"}, {"prompt": "b", "status": "selected"}], name="math")


def test_the_manifest_and_its_charges_have_the_new_name(math: Manifest, tmp_path: Path, ledger: Ledger) -> None:
    math.tag("first")
    buy(ledger, 0, "math")
    buy(ledger, 1, "other")
    found = rename("math", new="algebra", root=tmp_path)
    assert (str(found.manifest), found.old, found.moved, found.finished) == ("algebra@0", "math", 1, False)
    assert found.charged == Charged(1, 15, 7e-9)
    assert names(root=tmp_path) == ["algebra"]
    assert load("algebra@first", root=tmp_path).rows().equals(found.manifest.rows())
    assert (ledger.charged("math"), ledger.charged("other")) == (Charged(), Charged(1, 15, 7e-9))
    assert buy(ledger, 2, "algebra", caps=Caps(calls=1)) == "capped"


def test_without_a_ledger_none_is_made(math: Manifest, tmp_path: Path) -> None:
    assert rename("math", new="algebra", root=tmp_path).charged == Charged()
    assert not ledger_path(str(tmp_path)).exists()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("math", "Math", "manifest name 'Math': use"),
        ("math", "runs", "manifest name 'runs': use"),
        ("math", "algebra@2", "'algebra@2' names a version"),
        ("math@0", "algebra", "'math@0' names a version"),
        ("math", "other", "'other' exists already"),
        ("math", "math", "'math' exists already"),
        ("../x", "algebra", "manifest name '../x'"),
        ("maths", "algebra", "unknown manifest 'maths'; did you mean 'math'"),
    ],
)
def test_names_that_break_a_rule_change_nothing(
    math: Manifest, tmp_path: Path, ledger: Ledger, old: str, new: str, reason: str
) -> None:
    ingested(tmp_path, [{"prompt": "c"}], name="other")
    buy(ledger, 0, "math")
    with pytest.raises((InputError, ManifestNotFoundError), match=reason):
        rename(old, new=new, root=tmp_path)
    assert names(root=tmp_path) == ["math", "other"]
    assert ledger.query("SELECT name, calls FROM accounts") == [("math", 1)]


def test_a_url_and_a_manifest_that_cannot_be_read_are_refused(math: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="under a local root alone"):
        rename("math", new="algebra", root="s3://b")
    for path in (Path(math.location) / "manifest" / "_delta_log").iterdir():
        path.write_text("{", encoding="utf-8")
    with pytest.raises(ManifestError, match="cannot be read"):
        rename("math", new="algebra", root=tmp_path)
    assert names(root=tmp_path) == ["math"]


def test_a_manifest_that_a_command_pays_for_keeps_its_name(math: Manifest, tmp_path: Path, ledger: Ledger) -> None:
    ledger.reserve(spec(0), bound("math"), Caps(), ELSEWHERE)
    with pytest.raises(InputError, match="a command is at work on 'math'"):
        rename("math", new="algebra", root=tmp_path)
    assert ledger.query("SELECT name FROM accounts") == [("math",)]


STEPS = {"cover": (module.charges, "cover"), "folder": (module.folders, "move"), "move": (module.charges, "move")}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_whatever_stops_it_the_caps_count_everything_and_the_same_command_finishes_it(
    math: Manifest, tmp_path: Path, ledger: Ledger, step: str, after: bool
) -> None:
    buy(ledger, 0, "math")
    owner, name = STEPS[step]
    real: Callable[..., Any] = getattr(owner, name)

    def stop(*given: Any) -> None:
        if after:
            real(*given)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(Killed):
            rename("math", new="algebra", root=tmp_path)
    (there,) = names(root=tmp_path)
    assert ledger.charged(there) == Charged(1, 15, 7e-9)
    assert buy(ledger, 1, there, caps=Caps(calls=1)) == "capped"
    buy(ledger, 2, there)
    found = rename("math", new="algebra", root=tmp_path)
    assert (str(found.manifest), found.charged) == ("algebra@0", Charged(2, 30, 14e-9))
    assert found.finished == (there == "algebra")
    assert ledger.query("SELECT name, calls FROM accounts") == [("algebra", 2)]
    assert ledger.query("SELECT DISTINCT name FROM attempts") == [("algebra",)]
    assert rename("math", new="algebra", root=tmp_path).charged == Charged(2, 30, 14e-9), "once more does no harm"


def test_a_rename_that_was_stopped_may_be_given_up_for_another_name(math: Manifest, tmp_path: Path, ledger: Ledger) -> None:
    buy(ledger, 0, "math")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.folders, "move", killed)
        with pytest.raises(Killed):
            rename("math", new="algebra", root=tmp_path)
    assert rename("math", new="sums", root=tmp_path).charged == Charged(1, 15, 7e-9)
    assert ledger.charged("sums") == Charged(1, 15, 7e-9)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", *STEPS]), st.booleans(), st.integers(0, 2)), min_size=1, max_size=6
    )
)
@settings(max_examples=15)
def test_no_money_is_lost_over_many_renames_and_kills(
    tmp_path_factory: pytest.TempPathFactory, course: list[tuple[str, str, bool, int]]
) -> None:
    """One manifest: each step renames it, is stopped somewhere, and then some calls are bought under the name that it has."""
    root = tmp_path_factory.mktemp("renames")
    ingested(root, [{"prompt": "a"}], name="start")
    ledger = Ledger(ledger_path(str(root)))
    bought = 0
    for new, step, after, calls in course:
        (there,) = names(root=root)
        if there == new:
            continue
        with pytest.MonkeyPatch.context() as patch:
            if step:
                owner, name = STEPS[step]
                real = getattr(owner, name)
                patch.setattr(owner, name, lambda *given, real=real, after=after: ((real(*given) if after else None), killed()))
            with contextlib.suppress(Killed):
                rename(there, new=new, root=root)
        (there,) = names(root=root)
        for _ in range(calls):
            bought += 1
            buy(ledger, bought, there)
        assert ledger.charged(there).calls >= bought
    ledger.close()


def record(root: Path, run: str, snapshot: str, identity: str | None) -> None:
    """Write what a run leaves of one stage."""
    folder = runs_folder(str(root)) / run / "stage-0"
    folder.mkdir(parents=True)
    (folder.parent / "record.json").write_text(json.dumps([{"index": 0, "snapshot": snapshot}]), encoding="utf-8")
    if identity is not None:
        (folder / "train.json").write_text(json.dumps({"inputs": {"snapshot": identity}}), encoding="utf-8")


def test_runs_that_say_the_old_name_are_known_and_said(math: Manifest, tmp_path: Path) -> None:
    row_id = math.rows().filter(status="selected")["id"].item()
    record(tmp_path, "kept", "math@0", version_identity(math))
    record(tmp_path, "bare", "math@0", None)
    found = rename("math", new="algebra", root=tmp_path)
    assert found.runs == ("bare", "kept")
    uses = [line for step in explain(found.manifest, row_id).steps if step.verb == "train" for line in step.lines]
    assert [line.split(" of run ")[1] for line in uses] == ["bare learns from snapshot v0", "kept learns from snapshot v0"]
    again = ingested(tmp_path, [{"prompt": "b", "status": "selected"}], name="math")
    record(tmp_path, "new", "math@0", version_identity(again))
    uses = [line for step in explain(found.manifest, row_id).steps if step.verb == "train" for line in step.lines]
    assert not [line for line in uses if "run new" in line], "that is the student of another manifest of the name"
    newer = [line for step in explain(again, row_id).steps if step.verb == "train" for line in step.lines]
    assert [line.split(" of run ")[1].split()[0] for line in newer] == ["bare", "new"]


def test_the_command_says_what_is_charged_and_what_still_has_the_old_name(math: Manifest, tmp_path: Path, ledger: Ledger) -> None:
    buy(ledger, 0, "math")
    buy(ledger, 1, "algebra")  # of a manifest that is gone
    record(tmp_path, "first", "math@0", None)
    done = CliRunner().invoke(curate.terminal.cli.app, ["rename", "math", "algebra", "--root", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert words == (
        "math is algebra now charged to it 2 calls, 30 tokens, $0.000000014 "
        "1 call, 15 tokens, $0.0000000070 of it by an earlier manifest of that name "
        "still say math the records of first, which are read as algebra's plans, exports and adapters that were made before"
    )
    told = CliRunner().invoke(curate.terminal.cli.app, ["rename", "math", "algebra", "--root", str(tmp_path), "--json"])
    assert json.loads(told.stdout)["finished"] is True
