"""Preference pairs: which answers stand beside which, what is said of those that do not, and that TRL trains on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate import models, progress
from curate.errors import InputError
from curate.export import export
from curate.files import ledger_path
from curate.sources import ingest
from tests.support import tiny_student
from tests.support.balancing import questions, run, teacher
from tests.support.samples import ingested


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def balanced(root: Path, **options: Any):
    return run(ingested(root, questions({"head": 6})), budget=6, teacher=teacher(**options)).manifest


@pytest.fixture
def write(tmp_path: Path):
    """Export pairs, and return them with the result and the notes."""

    def written(manifest, **options: Any):
        heard: list[progress.Event] = []
        with progress.listen(heard.append):
            done = export.export(manifest, to="trl-dpo", destination=tmp_path / "pairs", **options)
        lines = (done.folder / "train.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines], done, [event.message for event in heard if event.step == "export"]

    return written


@pytest.fixture
def source(tmp_path: Path):
    """Ingest preference data and select all of it."""

    def ingested_pairs(*rows: dict[str, Any], **more: Any):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps({"domain": "d", **row}) + "\n" for row in rows), encoding="utf-8")
        found = ingest.ingest([str(path)], to="pairs", root=tmp_path, **more).manifest
        status = found.rows("split").select(status=_selected())["status"]
        return found.commit(found.rows().with_columns(status, stage=0), verb="balance")

    return ingested_pairs


def _selected():
    import polars as pl

    return pl.when(split="train").then(pl.lit("selected")).otherwise(pl.lit("candidate"))


def test_a_wrong_attempt_stands_beside_the_accepted_rationale(tmp_path, write):
    manifest = balanced(tmp_path, wrong=1)
    pairs, done, notes = write(manifest)
    assert done.rows == {"train": 6}
    answers = dict(manifest.examples().select("prompt", "answer").iter_rows())
    for pair in pairs:
        (asked,), (chosen,), (rejected,) = pair["prompt"], pair["chosen"], pair["rejected"]
        assert chosen["content"].endswith(f"The answer is: {answers[asked['content']]}")
        assert rejected == said("assistant", "Some reasoning.\nThe answer is: 999999")
        assert pair["rejected_from"] == "attempt"
    assert not notes


def test_several_wrong_attempts_make_several_pairs(tmp_path, write):
    from curate.teachers.base import RawResponse

    def script(request, _):
        return RawResponse.of(f"Hm.\nThe answer is: 99999{request.sample}") if request.sample < 2 else None

    pairs, done, _ = write(balanced(tmp_path, script=script))
    assert done.rows == {"train": 12}, "records, not rows"
    assert len({(pair["id"], pair["rejected"][0]["content"]) for pair in pairs}) == 12


def test_without_a_ledger_pairs_are_those_of_the_source(tmp_path, write):
    questions_ = [{**row, "extra": json.dumps({"rejected": "7"})} for row in questions({"head": 6})]
    manifest = run(ingested(tmp_path, questions_), budget=6, teacher=teacher(wrong=1)).manifest
    assert {pair["rejected_from"] for pair in write(manifest)[0]} == {"attempt", "source"}
    ledger_path(str(tmp_path)).unlink()
    pairs, _, notes = write(manifest)
    assert {pair["rejected_from"] for pair in pairs} == {"source"}
    assert "trl-dpo: of what was rejected, not used are 6 whose texts are in no ledger, since there is none" in notes
    assert [len(pair["chosen"][0]["content"].split()) for pair in pairs] == [1] * 6, "as the source has it, without a rationale"


def test_where_nothing_is_left_it_says_what_to_do(tmp_path, write):
    manifest = balanced(tmp_path, wrong=1)
    ledger_path(str(tmp_path)).unlink()
    with pytest.raises(
        InputError, match=r"no train row is left: no wrong answer .*is known; pairs come from .*; --to trl trains"
    ):
        write(manifest)
    assert not (tmp_path / "pairs").exists()


QUESTION = [said("user", "Größe?")]
SYSTEM = [said("system", "Be brief."), *QUESTION]
GOOD, BAD = said("assistant", "B"), said("assistant", "C")
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = said("assistant", None, tool_calls=[{"type": "function", "function": {"name": "weather", "arguments": "{}"}}])


@pytest.mark.parametrize(
    ("row", "prompt", "rejected"),
    [
        ({"prompt": "Größe?", "chosen": "B", "rejected": "C"}, QUESTION, [BAD]),
        ({"prompt": SYSTEM, "chosen": [GOOD], "rejected": [BAD]}, SYSTEM, [BAD]),
        ({"chosen": [*SYSTEM, GOOD], "rejected": [*SYSTEM, BAD]}, SYSTEM, [BAD]),
        ({"prompt": "Größe?", "chosen": [*QUESTION, GOOD], "rejected": [*QUESTION, BAD]}, QUESTION, [BAD]),
        ({"prompt": SYSTEM, "chosen": [GOOD], "rejected": [CALL, said("tool", "5C"), BAD]}, SYSTEM, None),
    ],
)
def test_pairs_of_a_source_are_as_the_source_has_them(source, write, row, prompt, rejected):
    (pair,), done, _ = write(source({**row, "tools": TOOLS}))
    assert pair["prompt"] == prompt
    assert pair["chosen"] == [GOOD]
    assert rejected is None or pair["rejected"] == rejected
    assert [turn["role"] for turn in pair["rejected"]][-1] == "assistant"
    assert json.loads(pair["tools"]) == TOOLS
    assert done.rows == {"train": 1}


@pytest.mark.parametrize(
    ("rejected", "why"),
    [
        ("B", "what their source has as rejected is what was chosen"),
        ("", "no answer to their question"),
        ([said("user", "Another?"), BAD], "no answer to their question"),
        ([*QUESTION, BAD, said("user", "And?")], "no answer to their question"),
        (7, "no answer to their question"),
    ],
)
def test_rows_without_a_pair_are_left_out_and_counted(source, write, rejected, why):
    good = {"prompt": "1?", "chosen": "1", "rejected": "2"}
    pairs, done, notes = write(source(good, {"prompt": "Größe?", "chosen": "B", "rejected": rejected}, format="preference"))
    assert [pair["prompt"][0]["content"] for pair in pairs] == ["1?"]
    assert done.rows == {"train": 1}
    assert any(note.startswith("trl-dpo: 1 rows are left out, since ") and why in note for note in notes)


def test_held_out_rows_have_pairs_too_and_columns_are_named(source, write):
    row = {"prompt": "Größe?", "chosen": "B", "rejected": "C", "rating": 3}
    _, done, notes = write(source(row, {**row, "prompt": "Held?", "split": "test"}))
    assert done.rows == {"train": 1, "test": 1}
    assert notes == ["trl-dpo: no place in this format for the column rating (2 rows); --to jsonl keeps everything"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of TRL itself
def test_trl_trains_on_pairs(tmp_path, write, monkeypatch):
    import datasets
    import yaml
    from transformers import HfArgumentParser
    from trl import DatasetMixtureConfig, DPOConfig, DPOTrainer, ModelConfig, ScriptArguments, get_dataset

    rows = [{**row, "extra": json.dumps({"rejected": "7", "tools": TOOLS})} for row in questions({"head": 6})]
    _, done, _ = write(run(ingested(tmp_path, rows), budget=6, teacher=teacher(wrong=1)).manifest)
    monkeypatch.chdir(done.folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    config = yaml.safe_load((done.folder / "dpo.yaml").read_text(encoding="utf-8"))
    kinds = (ScriptArguments, DPOConfig, ModelConfig, DatasetMixtureConfig)
    ours = {"max_steps": 2, "use_cpu": True, "activation_checkpointing": False, "report_to": "none"}
    _, options, _, mixture = HfArgumentParser(kinds).parse_dict(config | ours | {"output_dir": str(tmp_path / "out")})
    model, tokenizer = models.load_causal(str(tiny_student.make(tmp_path / "student", template=tiny_student.CALLING)))
    trainer = DPOTrainer(model, args=options, train_dataset=get_dataset(mixture)["train"], processing_class=tokenizer)
    one = trainer.train_dataset[0]
    parts = {name: tokenizer.decode(one[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")}
    assert parts["prompt"].startswith("weather:<|start|>user\nhead item")
    assert parts["prompt"].endswith("<|start|>assistant\n")
    assert parts["chosen"].endswith("<|end|>\n")
    assert parts["chosen"] != parts["rejected"]
    assert trainer.train().global_step == 2
