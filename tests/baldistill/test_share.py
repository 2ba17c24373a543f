"""A student leaves: merged weights are the adapter's student, its card says what is on record, and its answers can be read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import baldistill.cli
from baldistill.share import model_card as cards
from baldistill.share.merge import merge
from baldistill.share.show import show
from baldistill.share.trained import find_trained
from baldistill.student import students
from baldistill.training import train
from curate.cards.merging import merge as renew
from curate.cards.metadata import read_header
from curate.errors import InputError, ModelError, UnknownNameError
from curate.models import Weights
from tests.support import hub as hubs

HOSTILE = "ac|q <b>x</b> [y](http://z) ---\n# boo"


@pytest.fixture
def run(root: Path, base: str, trained: train.TrainResult, tmp_path: Path) -> Path:
    """A run of one stage with its record, metrics and answers; return its root."""
    folder = tmp_path / "manifests" / "runs" / "tiny-run" / "stage-0"
    folder.mkdir(parents=True)
    adapter = folder / "adapter"
    adapter.mkdir()
    for file in trained.adapter.iterdir():
        (adapter / file.name).write_bytes(file.read_bytes())
    (folder / "train.json").write_text(json.dumps({"inputs": {"parameters": {"student": base}}, "result": {}}))
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 4}
    domains = [{"domain": HOSTILE, "n": 4, "correct": 2, "accuracy": 0.5, "low": 0.4, "high": 0.6, "head": True}]
    metrics = {"split": "test", "rows": 4, "macro": rate, "micro": rate, "head": None, "tail": None, "domains": domains}
    metrics |= {"metrics": {"class_f1": {"macro": 0.25}}}
    line = {"snapshot": "tiny@0", "achieved": {}, "spend": {}, "metrics": metrics}
    base = {**line, "index": -1, "adapter": ""}
    stage = {**line, "index": 0, "adapter": adapter.relative_to(tmp_path).as_posix()}
    (folder.parent / "record.json").write_text(json.dumps([base, stage]))
    answers = pl.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "domain": ["sums", "sums", "other", "other"],
            "prompt": ["what is 1+1", "what is 2+2", "what is 3+3", None],
            "answer": ["2", "4", "6", "8"],
            "prediction": ["2", "5", None, "8"],
            "correct": [True, False, False, True],
            "output": ["so 2", "FIVE", "?\x1b[31m", "8"],
            "n_tokens": [2, 1, 1, 1],
            "ended": [True, True, False, True],
            "labels": [None, ["4", "5"], None, None],
            "scores": [None, [-1.0, -0.5], None, None],
        }
    )
    answers.write_parquet(folder / "predictions.parquet")
    return tmp_path


def test_merged_weights_answer_as_the_student_with_its_adapter(base: str, run: Path, trained: train.TrainResult) -> None:
    import torch

    done = merge("tiny-run", output=run / "merged", root=run, dtype="fp32")
    whole, with_adapter = (
        students.load(str(run / "merged"), dtype="fp32"),
        students.load(base, adapter=trained.adapter, dtype="fp32"),
    )
    plain = students.load(base, dtype="fp32")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        got, wanted, before = (s.model(input_ids=ids).logits for s in (whole, with_adapter, plain))
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(got, before, atol=1e-3)
    assert whole.tokenizer.chat_template == with_adapter.tokenizer.chat_template
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(done.files)
    assert not [path for path in (run / "merged").rglob("*.json") if str(run) in path.read_text()]
    assert merge("tiny-run", output=run / "merged", root=run, dtype="fp32").files == done.files  # its own work is replaced


def test_an_adapter_leaves_by_itself(run: Path, base: str, trained: train.TrainResult) -> None:
    with pytest.raises(ModelError, match="say where it is with --student FOLDER"):  # the record holds no path
        merge(str(trained.adapter), output=run / "alone", adapter_only=True, root=run)
    done = merge(str(trained.adapter), output=run / "alone", adapter_only=True, root=run, student=base)
    assert set(done.files) == {"README.md", "adapter_config.json", "adapter_model.safetensors", "snapshot.json"}
    assert "peft" in (run / "alone" / "README.md").read_text()


def test_the_card_says_what_is_on_record_and_nothing_in_it_becomes_markup(run: Path) -> None:
    trained = find_trained("tiny-run", root=run)
    weights = Weights("org/base", run, "xxh3:a", "hub")
    text = cards.model_card(trained, weights, title=trained.run, adapter=False, dtype="bf16", licence=None)
    header = read_header(text)
    assert header.values["base_model"] == "org/base"
    assert "license" not in header.values
    assert "licence of the base student is not known" in text
    assert "50.0% (40.0 to 60.0)" in text
    assert "tiny@0" in text.replace("\\", "")
    assert HOSTILE not in text
    assert "<b>x" not in text
    assert "\n# boo" not in text
    assert str(run) not in text
    named = cards.model_card(trained, weights, title=trained.run, adapter=True, dtype="bf16", licence="Apache-2.0")
    assert read_header(named).values["license"] == "apache-2.0"
    mine = text.replace("## Limits", "## Limits").rstrip() + "\n\nA note of mine.\n"
    assert "A note of mine." in renew(mine, named)


def test_the_licence_is_that_of_the_base_models_own_card(tmp_path: Path) -> None:
    assert cards.base_licence(Weights("x", tmp_path, "f", "path")) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\nhello\n")
    assert cards.base_licence(Weights("x", tmp_path, "f", "path")) == "mit"
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\nhello\n")
    assert cards.base_licence(Weights("x", tmp_path, "f", "path")) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"source": "tiny-rum"}, "did you mean 'tiny-run'"),
        ({"source": "tiny-run", "stage": 3}, r"has the stages -1, 0"),
        ({"source": "tiny-run", "stage": -1}, "has no adapter, so there is nothing to merge"),
        ({"source": "tiny-run", "to": "org/name"}, "--to org/name: is for the Hub, such as hub:ORG/NAME"),
        ({"source": "tiny-run", "public": True}, "--public is for --to hub:"),
    ],
)
def test_what_cannot_be_merged_is_one_line(run: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        merge(options.pop("source"), root=run, output=run / "out", **options)
    assert not (run / "out").exists()


def test_a_folder_of_somebody_is_not_written_over(run: Path) -> None:
    (run / "mine").mkdir()
    (run / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt', which no export wrote"):
        merge("tiny-run", output=run / "mine", adapter_only=True, root=run)
    assert (run / "mine" / "notes.txt").read_text() == "mine"


def test_a_student_is_pushed_as_a_model(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("curate.hub.client._WAITS", (0.0,) * 5)
    monkeypatch.setattr("curate.hub.client.time", SimpleNamespace(sleep=lambda _: None))
    with hubs.serving() as running:
        hubs.point(monkeypatch, running, tmp_path / "home")
        dry = merge("tiny-run", to="hub:me/student", adapter_only=True, dry_run=True, root=run)
        assert dry.pushed is not None
        assert dry.pushed.revision is None
        done = merge("tiny-run", to="hub:me/student", adapter_only=True, root=run)
        assert done.pushed is not None
        assert done.folder is None
        assert (done.pushed.repo_type, done.pushed.private, done.pushed.committed) == ("model", True, True)
        assert {file.path for file in done.pushed.files} >= {"README.md", "adapter_model.safetensors"}
        again = merge("tiny-run", to="hub:me/student", adapter_only=True, root=run)
        assert again.pushed is not None
        assert not again.pushed.committed
        import huggingface_hub

        huggingface_hub.utils.close_session()


def test_answers_are_shown_by_what_is_asked_for(run: Path) -> None:
    def ids(**options: Any) -> list[str]:
        return [answer["id"] for answer in show("tiny-run", root=run, **options).answers]

    assert ids() == ["a", "b", "c", "d"]
    assert ids(wrong=True) == ["b", "c"]
    assert ids(unread=True) == ["c"]
    assert ids(domains=["other"]) == ["c", "d"]
    assert ids(grep="five") == ["b"]
    assert ids(n=1) == ["a"]
    assert sorted(ids(seed=1)) == ["a", "b", "c", "d"]
    found = show("tiny-run", root=run, wrong=True, n=1)
    assert (found.matched, found.asked, found.correct) == (2, 4, 2)
    with pytest.raises(UnknownNameError, match="did you mean 'sums'"):
        ids(domains=["sumz"])
    with pytest.raises(InputError, match="the answers of tiny-run, base student were not kept"):
        ids(stage=-1)


def test_a_person_reads_wrong_answers_in_one_command(run: Path) -> None:
    shown = CliRunner().invoke(baldistill.cli.app, ["show", "tiny-run", "--wrong", "--root", str(run)])
    assert shown.exit_code == 0, shown.output
    assert "2 of 4 test answers are right" in shown.output
    assert "what is 2+2" in shown.output
    assert "no clear answer" in shown.output
    assert "5 -0.50, 4 -1.00" in shown.output
    assert "\x1b[31m" not in shown.output
    scripted = CliRunner().invoke(baldistill.cli.app, ["show", "tiny-run", "--wrong", "--json", "--root", str(run)])
    assert [answer["id"] for answer in json.loads(scripted.stdout)["answers"]] == ["b", "c"]
