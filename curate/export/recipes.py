"""The README and the config of an export for a trainer: the lines that train on its files. Knows no rows.

Of every trainer there is one recipe, written after the page of its documentation that it names. Where its lines are a whole
config, they stand in a file beside the data too, so that a training run is one command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent

__all__ = ["MAX_LENGTH", "STUDENT", "Recipe", "command", "files", "limit"]

STUDENT = "Qwen/Qwen2.5-0.5B-Instruct"  # an example, to be replaced
MAX_LENGTH = 2048  # tokens of a sequence, where no limit was given; in every config, since trainers cut or drop what is longer
_DROPPED = "What is longer than `sequence_len` tokens Axolotl drops: `--max-tokens` of the export counts it beforehand."
_CUT = "What is longer than `max_length` tokens TRL cuts: `--max-tokens` of the export counts it beforehand."


@dataclass(frozen=True)
class Recipe:
    """What a recipe depends on.

    Attributes:
        name: of the manifest.
        version: of the manifest, such as ``math@3``.
        splits: that have files.
        every: whether rows train on every answer of theirs.
        student: the model that the lines name.
        max_tokens: that rows were measured by, or None.
        weights: whether there is a column of weights.
    """

    name: str
    version: str
    splits: tuple[str, ...]
    every: bool = False
    student: str = STUDENT
    max_tokens: int | None = None
    weights: bool = False

    @property
    def held(self) -> str:
        """The split to validate on, or ""."""
        return next((split for split in ("validation", "test") if split in self.splits), "")

    @property
    def length(self) -> int:
        """Tokens of a sequence, at most."""
        return self.max_tokens or MAX_LENGTH


def _trl(recipe: Recipe) -> tuple[str, str, str]:
    about = (
        "Prompt and completion are turns, rendered by the student's chat template, and the loss is that of the completion alone. "
        f"{_CUT} A base model has no chat template: name a model that has one as `chat_template_path`."
    )
    config = f"""\
        model_name_or_path: {recipe.student}
        datasets:
          - path: json
            data_files: train.jsonl
        max_length: {recipe.length}
        learning_rate: 2.0e-5
        num_train_epochs: 2
        per_device_train_batch_size: 4
        bf16: false  # true on a GPU that has it
        output_dir: ../trained
        """
    return about, "yaml", config


def _trl_dpo(recipe: Recipe) -> tuple[str, str, str]:
    about = (
        "Each record is a question with a chosen and a rejected answer, as turns, rendered by the student's chat template. A "
        f"chosen one is an accepted row's, a rejected one answers wrongly; `rejected_from` says where it comes from. {_CUT}"
    )
    config = f"""\
        model_name_or_path: {recipe.student}  # best one that was trained on the accepted rows before
        datasets:
          - path: json
            data_files: train.jsonl
        max_length: {recipe.length}
        learning_rate: 1.0e-6
        num_train_epochs: 1
        per_device_train_batch_size: 4
        bf16: false  # true on a GPU that has it
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
        base_model: {recipe.student}
        datasets:
          - path: train.jsonl
            ds_type: json
            type: alpaca
        sequence_len: {recipe.length}
        micro_batch_size: 4
        num_epochs: 2
        learning_rate: 2.0e-5
        output_dir: ../trained
        """
    about = f"What a row says before its prompt is in system and history, which not every reader of alpaca takes. {_DROPPED}"
    return about, "yaml", config


def _sharegpt(recipe: Recipe) -> tuple[str, str, str]:
    config = f"""\
        base_model: {recipe.student}
        datasets:
          - path: train.jsonl
            ds_type: json
            type: chat_template
            field_messages: conversations
            message_property_mappings: {{role: from, content: value}}
            roles: {{user: [human], assistant: [gpt, function_call], tool: [observation], system: [system]}}
        sequence_len: {recipe.length}
        micro_batch_size: 4
        num_epochs: 2
        learning_rate: 2.0e-5
        output_dir: ../trained
        """
    return f"Readers of this form train on every turn of gpt unless they are told otherwise. {_DROPPED}", "yaml", config


def _llama_factory(recipe: Recipe) -> tuple[str, str, str]:
    held = f"\n        eval_dataset: {recipe.name}_{recipe.held}" if recipe.held else ""
    config = f"""\
        model_name_or_path: {recipe.student}
        template: qwen  # of the model's family
        stage: sft
        do_train: true
        finetuning_type: lora
        dataset_dir: .
        dataset: {recipe.name}_train{held}
        mask_history: {str(not recipe.every).lower()}
        cutoff_len: {recipe.length}
        num_train_epochs: 2
        output_dir: ../trained
        """
    about = "With mask_history the last answer of a chat is trained on alone. What is longer than `cutoff_len` tokens is cut."
    return about, "yaml", config


def _axolotl(recipe: Recipe) -> tuple[str, str, str]:
    config = f"""\
        base_model: {recipe.student}
        datasets:
          - path: train.jsonl
            ds_type: json
            type: chat_template
            roles_to_train: []
            message_field_training: train
        sequence_len: {recipe.length}
        micro_batch_size: 4
        num_epochs: 2
        learning_rate: 2.0e-5
        output_dir: ../trained
        """
    return f"Which turns are trained on, each says by its key train. {_DROPPED}", "yaml", config


def _unsloth(recipe: Recipe) -> tuple[str, str, str]:
    last = "" if recipe.every else ", last_response_only=True"
    config = f"""\
        from unsloth import FastLanguageModel
        from unsloth.chat_templates import train_on_responses_only
        from datasets import load_dataset
        from trl import SFTConfig, SFTTrainer

        model, tokenizer = FastLanguageModel.from_pretrained("{recipe.student}", max_seq_length={recipe.length})
        model = FastLanguageModel.get_peft_model(model, r=16)
        rows = load_dataset("json", data_files="train.jsonl", split="train")
        rows = rows.map(lambda row: {{"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)}})
        trainer = SFTTrainer(model, train_dataset=rows, processing_class=tokenizer, args=SFTConfig("../trained"))
        # as the template of the model begins a turn of either
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


@dataclass(frozen=True)
class _Trainer:
    """A trainer's recipe.

    Attributes:
        page: of its documentation.
        write: recipe → (what to know, language of the lines, the lines).
        command: that trains, from inside the folder; "" where the lines are code, or a part of a config.
        config: the file of the lines, which the command names.
        limits: whether the lines limit the tokens of a sequence.
    """

    page: str
    write: Callable[[Recipe], tuple[str, str, str]]
    command: str = ""
    config: str = ""
    limits: bool = True


_SFT = "sft.yaml"
_TRAINERS = {
    "trl": _Trainer("https://huggingface.co/docs/trl/sft_trainer", _trl, f"trl sft --config {_SFT}", _SFT),
    "trl-dpo": _Trainer("https://huggingface.co/docs/trl/dpo_trainer", _trl_dpo, "trl dpo --config dpo.yaml", "dpo.yaml"),
    "openai": _Trainer("https://developers.openai.com/api/docs/guides/supervised-fine-tuning", _openai, limits=False),
    "alpaca": _Trainer("https://docs.axolotl.ai/docs/dataset-formats/inst_tune.html", _alpaca, f"axolotl train {_SFT}", _SFT),
    "sharegpt": _Trainer(
        "https://docs.axolotl.ai/docs/dataset-formats/conversation.html", _sharegpt, f"axolotl train {_SFT}", _SFT
    ),
    "llama-factory": _Trainer(
        "https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md",
        _llama_factory,
        f"llamafactory-cli train {_SFT}",
        _SFT,
    ),
    "axolotl": _Trainer(
        "https://docs.axolotl.ai/docs/dataset-formats/conversation.html", _axolotl, f"axolotl train {_SFT}", _SFT
    ),
    "unsloth": _Trainer("https://unsloth.ai/docs/get-started/fine-tuning-llms-guide/datasets-guide", _unsloth),
    "torchtune": _Trainer("https://docs.pytorch.org/torchtune/stable/basics/chat_datasets.html", _torchtune, limits=False),
}


def command(trainer: str) -> str:
    """Return the command that trains on an export, from inside its folder; "" where its format has none."""
    return _TRAINERS[trainer].command if trainer in _TRAINERS else ""


def limit(trainer: str) -> int | None:
    """Return the tokens to which a trainer's lines limit a row unless another limit is given; None where they limit none."""
    return MAX_LENGTH if _TRAINERS[trainer].limits else None


def files(trainer: str, recipe: Recipe) -> dict[str, str]:
    """Return name → text of the files of an export beside its data: the README, and the config where there is one.

    Args:
        trainer: the name of its format.
        recipe: what the lines depend on.
    """
    known = _TRAINERS[trainer]
    about, language, lines = known.write(recipe)
    lines = (f"# {known.command}\n" if known.command else "") + dedent(lines)
    listed = ", ".join(f"`{split}.jsonl`" for split in recipe.splits)
    weights = (
        " The column `weight` is no part of what the trainer reads: it is for a sampler or a loss of your own."
        if recipe.weights
        else ""
    )
    whole = f" They are the file `{known.config}`; copy it out of the folder to change it." if known.config else ""
    text = (
        f"# {recipe.name} for {trainer}\n\nThe snapshot `{recipe.version}` as {listed}. {about}{weights}\n\n"
        f"These lines train on it ([documentation]({known.page})); the model is an example.{whole} Run them from inside this\n"
        "folder, and keep files of your own outside of it, so that a later export can replace it.\n\n"
        f"```{language}\n{lines}```\n"
    )
    return {"README.md": text} | ({known.config: lines} if known.config else {})
