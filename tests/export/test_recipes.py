"""The lines that train on an export: keys that the trainer documents, those that it insists on, and calls that exist.

TRL's own are parsed by TRL in `test_trainers` and `test_pairs`.
"""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
import yaml

from curate.export import recipes

# https://docs.axolotl.ai/docs/config-reference.html; learning_rate has no default there
AXOLOTL = {
    "needed": {"base_model", "datasets", "learning_rate"},
    "known": {"sequence_len", "micro_batch_size", "num_epochs", "output_dir"},
    "dataset": {
        *("path", "ds_type", "type", "field_messages", "message_property_mappings", "message_field_training"),
        *("roles", "roles_to_train"),
    },
}
# https://github.com/hiyouga/LLaMA-Factory/tree/main/src/llamafactory/hparams, and of the rest transformers' TrainingArguments
LLAMA_FACTORY = {
    "needed": {"model_name_or_path", "template", "stage", "do_train", "finetuning_type", "dataset_dir", "dataset", "output_dir"},
    "known": {"eval_dataset", "mask_history", "cutoff_len", "num_train_epochs"},
}
# https://docs.pytorch.org/torchtune/stable/generated/torchtune.datasets.chat_dataset.html
TORCHTUNE = {
    "needed": {"_component_", "source", "conversation_column", "conversation_style"},
    "known": {"data_files", "split", "train_on_input"},
}


def lines(trainer: str, **options: Any) -> str:
    recipe = recipes.Recipe("rows", "rows@1", ("train", "validation"), **options)
    return recipes.files(trainer, recipe)["README.md"].split("```")[1].split("\n", 1)[1]


@pytest.mark.parametrize("max_tokens", [None, 333])
@pytest.mark.parametrize(
    ("trainer", "keys"),
    [
        ("axolotl", AXOLOTL),
        ("sharegpt", AXOLOTL),
        ("alpaca", AXOLOTL),
        ("llama-factory", LLAMA_FACTORY),
        ("torchtune", TORCHTUNE),
    ],
)
def test_a_config_has_the_keys_that_its_trainer_documents(
    trainer: str, keys: dict[str, set[str]], max_tokens: int | None
) -> None:
    config = yaml.safe_load(lines(trainer, max_tokens=max_tokens))
    config = config["dataset"] if trainer == "torchtune" else config
    assert keys["needed"] <= set(config) <= keys["needed"] | keys["known"]
    for dataset in config["datasets"] if "dataset" in keys else ():
        assert set(dataset) <= keys["dataset"]
    limits = [value for key, value in config.items() if key in ("sequence_len", "cutoff_len")]
    assert limits == ([] if trainer == "torchtune" else [max_tokens or recipes.limit(trainer)])
    rates = [value for key, value in config.items() if key == "learning_rate"]
    assert all(isinstance(rate, float) for rate in rates), "YAML reads 2e-5 as a text"


def test_the_lines_for_openai_call_what_its_library_has() -> None:
    from openai.resources.files import Files
    from openai.resources.fine_tuning.jobs import Jobs

    calls = [node for node in ast.walk(ast.parse(lines("openai"))) if isinstance(node, ast.Call) and node.keywords]
    given = {ast.unparse(call.func): {keyword.arg for keyword in call.keywords} for call in calls}
    assert set(given) == {"client.files.create", "client.fine_tuning.jobs.create"}
    assert given["client.files.create"] <= set(inspect.signature(Files.create).parameters)
    assert given["client.fine_tuning.jobs.create"] <= set(inspect.signature(Jobs.create).parameters)


def test_the_lines_for_unsloth_are_code_with_the_length() -> None:
    assert "max_seq_length=333" in ast.unparse(ast.parse(lines("unsloth", max_tokens=333)))


@pytest.mark.parametrize("trainer", ["trl", "trl-dpo", "axolotl", "sharegpt", "alpaca", "llama-factory"])
def test_the_config_is_a_file_that_the_command_names(trainer: str) -> None:
    files = recipes.files(trainer, recipes.Recipe("rows", "rows@1", ("train",), student="org/other"))
    (name,) = set(files) - {"README.md"}
    assert recipes.command(trainer).endswith(f" {name}")
    assert files[name] in files["README.md"]
    assert "org/other" in files[name]
