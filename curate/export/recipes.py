"""The README of an export for a trainer: the lines of config or code that train on its files. Knows no rows.

Of every trainer there is one recipe, written after the page of its documentation that it names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent

__all__ = ["Recipe", "readme"]

_STUDENT = "Qwen/Qwen2.5-0.5B-Instruct"  # an example, to be replaced


@dataclass(frozen=True)
class Recipe:
    """What a recipe depends on.

    Attributes:
        name: of the manifest.
        version: of the manifest, such as ``math@3``.
        splits: that have files.
        chat: whether records are lists of turns.
        every: whether rows train on every answer of theirs.
    """

    name: str
    version: str
    splits: tuple[str, ...]
    chat: bool
    every: bool

    @property
    def held(self) -> str:
        """The split to validate on, or ""."""
        return next((split for split in ("validation", "test") if split in self.splits), "")


def _trl(recipe: Recipe) -> tuple[str, str, str]:
    about = "The loss is that of the completion alone. " + (
        "Prompt and completion are turns, rendered by the student's chat template."
        if recipe.chat
        else "Prompt and completion are texts, which TRL joins as they are and renders by no chat template; for a "
        "student that has one, `--to axolotl`, `unsloth` or `chat` hold turns."
    )
    config = f"""\
        # trl sft --config ../sft.yaml
        model_name_or_path: {_STUDENT}
        datasets:
          - path: json
            data_files: train.jsonl
        learning_rate: 2.0e-5
        num_train_epochs: 2
        per_device_train_batch_size: 4
        output_dir: ../trained
        """
    return about, "yaml", config


def _openai(recipe: Recipe) -> tuple[str, str, str]:
    held = (
        f'\n        held = client.files.create(file=open("{recipe.held}.jsonl", "rb"), purpose="fine-tune")'
        if recipe.held
        else ""
    )
    option = ", validation_file=held.id" if recipe.held else ""
    config = f"""\
        from openai import OpenAI

        client = OpenAI()
        train = client.files.create(file=open("train.jsonl", "rb"), purpose="fine-tune"){held}
        job = client.fine_tuning.jobs.create(
            model="gpt-4.1-mini-2025-04-14", training_file=train.id{option}, method={{"type": "supervised"}}
        )
        """
    return "An upload and a job cost money. Answers with weight 0 are not trained on.", "python", config


def _alpaca(recipe: Recipe) -> tuple[str, str, str]:
    config = f"""\
        # axolotl train ../sft.yaml
        base_model: {_STUDENT}
        datasets:
          - path: train.jsonl
            ds_type: json
            type: alpaca
        sequence_len: 2048
        micro_batch_size: 4
        num_epochs: 2
        learning_rate: 2.0e-5
        output_dir: ../trained
        """
    return "What a row says before its prompt is in system and history, which not every reader of alpaca takes.", "yaml", config


def _sharegpt(recipe: Recipe) -> tuple[str, str, str]:
    config = f"""\
        # axolotl train ../sft.yaml
        base_model: {_STUDENT}
        datasets:
          - path: train.jsonl
            ds_type: json
            type: chat_template
            field_messages: conversations
            message_property_mappings: {{role: from, content: value}}
            roles: {{user: [human], assistant: [gpt, function_call], tool: [observation], system: [system]}}
        sequence_len: 2048
        micro_batch_size: 4
        num_epochs: 2
        output_dir: ../trained
        """
    return "Readers of this form train on every turn of gpt unless they are told otherwise.", "yaml", config


def _llama_factory(recipe: Recipe) -> tuple[str, str, str]:
    held = f"\n        eval_dataset: {recipe.name}_{recipe.held}" if recipe.held else ""
    config = f"""\
        # llamafactory-cli train ../sft.yaml
        model_name_or_path: {_STUDENT}
        template: qwen
        stage: sft
        do_train: true
        finetuning_type: lora
        dataset_dir: .
        dataset: {recipe.name}_train{held}
        mask_history: {str(not recipe.every).lower()}
        num_train_epochs: 2
        output_dir: ../trained
        """
    return "With mask_history the last answer of a chat is trained on alone.", "yaml", config


def _axolotl(recipe: Recipe) -> tuple[str, str, str]:
    config = f"""\
        # axolotl train ../sft.yaml
        base_model: {_STUDENT}
        datasets:
          - path: train.jsonl
            ds_type: json
            type: chat_template
            roles_to_train: []
            message_field_training: train
        sequence_len: 2048
        micro_batch_size: 4
        num_epochs: 2
        output_dir: ../trained
        """
    return "Which turns are trained on, each says by its key train.", "yaml", config


def _unsloth(recipe: Recipe) -> tuple[str, str, str]:
    last = "" if recipe.every else ", last_response_only=True"
    config = f"""\
        from unsloth import FastLanguageModel
        from unsloth.chat_templates import train_on_responses_only
        from datasets import load_dataset
        from trl import SFTConfig, SFTTrainer

        model, tokenizer = FastLanguageModel.from_pretrained("{_STUDENT}", max_seq_length=2048)
        model = FastLanguageModel.get_peft_model(model, r=16)
        rows = load_dataset("json", data_files="train.jsonl", split="train")
        rows = rows.map(lambda row: {{"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)}})
        trainer = SFTTrainer(model, train_dataset=rows, processing_class=tokenizer, args=SFTConfig("../trained"))
        parts = {{"instruction_part": "<|im_start|>user\\n", "response_part": "<|im_start|>assistant\\n"}}
        train_on_responses_only(trainer, **parts{last}).train()
        """
    return "In Unsloth Studio choose train.jsonl as a local data set; no code is needed there.", "python", config


def _torchtune(recipe: Recipe) -> tuple[str, str, str]:
    config = """\
        # tune run lora_finetune_single_device --config, with these lines in place of its data set
        dataset:
          _component_: torchtune.datasets.chat_dataset
          source: json
          data_files: train.jsonl
          split: train
          conversation_column: messages
          conversation_style: openai
          train_on_input: false
        """
    return "It trains on every turn of the assistant.", "yaml", config


# trainer → the page of its documentation, and its recipe: (what to know, language, the lines)
_RECIPES: dict[str, tuple[str, Callable[[Recipe], tuple[str, str, str]]]] = {
    "trl": ("https://huggingface.co/docs/trl/sft_trainer", _trl),
    "openai": ("https://developers.openai.com/api/docs/guides/supervised-fine-tuning", _openai),
    "alpaca": ("https://docs.axolotl.ai/docs/dataset-formats/inst_tune.html", _alpaca),
    "sharegpt": ("https://docs.axolotl.ai/docs/dataset-formats/conversation.html", _sharegpt),
    "llama-factory": ("https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md", _llama_factory),
    "axolotl": ("https://docs.axolotl.ai/docs/dataset-formats/conversation.html", _axolotl),
    "unsloth": ("https://unsloth.ai/docs/get-started/fine-tuning-llms-guide/datasets-guide", _unsloth),
    "torchtune": ("https://docs.pytorch.org/torchtune/stable/basics/chat_datasets.html", _torchtune),
}


def readme(trainer: str, recipe: Recipe) -> str:
    """Return the README of an export: what the files are and the lines that train on them, from inside the folder.

    Args:
        trainer: the name of its format.
        recipe: what the lines depend on.
    """
    page, write = _RECIPES[trainer]
    about, language, lines = write(recipe)
    files = ", ".join(f"`{split}.jsonl`" for split in recipe.splits)
    return (
        f"# {recipe.name} for {trainer}\n\nThe snapshot `{recipe.version}` as {files}. {about}\n\n"
        f"These lines train on it ([documentation]({page})); the model is an example. Run them from inside this folder, and\n"
        "keep files of your own outside of it, so that a later export can replace it.\n\n"
        f"```{language}\n{dedent(lines)}```\n"
    )
