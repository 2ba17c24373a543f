"""Supervised fine-tuning: TRL's trainer, set up for LoRA on completions, on CUDA and on a processor. The only importer of trl.

Knows no manifest and no folder but the one it is given; `baldistill.training.train` keeps the record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from baldistill.student import adapters
from baldistill.student.memory import lacks_memory
from baldistill.student.tokens import left_out, training_tokens
from baldistill.training.settings import TrainSettings
from curate import models, progress
from curate.errors import InputError, ModelError

__all__ = ["TrainingData", "add_adapter", "completion_loss", "fit", "prepare"]

_MAX_GRAD_NORM = 0.3  # Zhou et al. 2024 (arXiv 2406.13114), released code; its learning rate is constant in effect, too
_IGNORED = -100  # label of a token that has no part in the loss


@dataclass(frozen=True)
class TrainingData:
    """Tokenised examples.

    Attributes:
        input_ids: prompt and completion of each row.
        labels: the same with -100 in place of what is not trained on: the prompt's ids but for the answers in it that a row
            says are trained on, too.
        truncated: rows whose completion was cut at the token limit.
        skipped: ids of rows that were left out, since their prompt alone fills the limit.
    """

    input_ids: list[list[int]]
    labels: list[list[int]]
    truncated: int
    skipped: list[str]


def prepare(tokenizer: Any, examples: pl.DataFrame, max_tokens: int, *, window: int | None = None) -> TrainingData:
    """Tokenise examples for training on their completions alone.

    Args:
        tokenizer: of transformers, with a chat template.
        examples: ``id`` and the columns of `curate.manifest.chats.to_chats`.
        max_tokens: of prompt and completion; what is beyond it is cut off, or left out where it would be the whole
            completion. A note says how many of each.
        window: tokens that the student reads at most, where it is known; the smaller of the two holds.

    Raises:
        InputError: no row is left.
        ModelError: the template refuses a row, or the student has no token that ends an answer.
    """
    small = window is not None and window < max_tokens
    max_tokens = min(max_tokens, window) if window is not None else max_tokens
    input_ids, labels, truncated, skipped, missed = [], [], 0, [], 0
    for row, tokens in zip(examples["id"], training_tokens(tokenizer, examples), strict=True):
        if len(tokens.prompt) >= max_tokens and not any(start < max_tokens for start, _ in tokens.learned):
            skipped.append(row)
            continue
        truncated += len(tokens) > max_tokens
        missed += tokens.missed
        ids = tokens.prompt + tokens.completion
        wanted = [_IGNORED] * len(tokens.prompt) + tokens.completion
        for start, end in tokens.learned:
            wanted[start:end] = ids[start:end]
        input_ids.append(ids[:max_tokens])
        labels.append(wanted[:max_tokens])
    if not input_ids:
        way = "use a student that reads more" if small else "raise --max-tokens"
        raise InputError(f"every prompt fills the limit of {max_tokens} tokens, nothing is left to train on; {way}")
    if truncated or skipped:
        why = " (the student reads no more)" if small else ""
        progress.note(
            "train", f"{truncated} rows were cut at {max_tokens} tokens{why}, {len(skipped)} left out: the prompt fills it"
        )
    unseen = left_out(tokenizer, examples) | ({"earlier turns of the assistant": missed} if missed else {})
    if unseen:
        what = ", ".join(f"{part} ({n:,} times)" for part, n in unseen.items())
        progress.note("train", f"the student's chat template does not show {what}: nothing is learned from these")
    return TrainingData(input_ids, labels, truncated, skipped)


def add_adapter(model: Any, settings: TrainSettings) -> Any:
    """Return a model of transformers with a new LoRA adapter on every linear layer but the head, as a model of peft.

    Raises:
        ModelError: it has no such layer, or one that LoRA does not fit.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    lora = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
    )
    set_seed(settings.seed)
    try:
        with adapters.quiet():
            return get_peft_model(model, lora)
    except (ValueError, NotImplementedError) as e:
        kind = getattr(model.config, "model_type", type(model).__name__)
        why = " ".join(str(e).split()).partition(". ")[0]
        raise ModelError(
            f"LoRA does not fit the student, a model of the type {kind!r}: {why}; name a student whose layers it fits (evaluate "
            "and score need none)"
        ) from e


def fit(model: Any, tokenizer: Any, data: TrainingData, settings: TrainSettings, scratch: Path) -> tuple[Any, list[float]]:
    """Fine-tune a model, and return it as a model of peft, with the mean loss per completion token of each step.

    Where memory is short it starts again with half as many rows in a forward pass and twice as many passes per step, which
    makes the same steps.

    Args:
        model: of transformers, which gets a new adapter; or of peft, whose adapter is trained on.
        tokenizer: that belongs to it.
        data: to train on.
        settings: of the adapter and the optimiser.
        scratch: a folder that the trainer may use; nothing stays in it.

    Raises:
        ModelError: LoRA does not fit the model, the loss is no longer a number, or a single row does not fit into memory.
    """
    from peft import PeftModel

    adapted = model if isinstance(model, PeftModel) else add_adapter(model, settings)
    start = {name: part.detach().clone() for name, part in adapted.named_parameters() if part.requires_grad}
    while True:
        try:
            with adapters.quiet():
                trainer = _trainer(adapted, tokenizer, data, settings, scratch)
                losses = _run(trainer)
            return trainer.model, losses
        except (RuntimeError, MemoryError) as e:
            if not lacks_memory(e):
                raise
        trainer = None
        settings = _halved(settings, data)
        for name, part in adapted.named_parameters():
            if name in start:
                part.data.copy_(start[name])
        models.release_memory()


def _halved(settings: TrainSettings, data: TrainingData) -> TrainSettings:
    """Return settings of the same steps with half as many rows at once."""
    n, longest = settings.batch_size, max(map(len, data.input_ids))
    if n == 1:
        raise ModelError(
            f"out of memory with a single row of up to {longest:,} tokens (train): lower --max-tokens, use --dtype bf16, or a "
            "smaller student"
        )
    rows, passes = n // 2, math.ceil(n * settings.gradient_accumulation / (n // 2))
    progress.note(
        "train",
        f"out of memory with {n} rows of up to {longest:,} tokens side by side: starting again with {rows}, in {passes} passes "
        f"per step; --batch-size {rows} --gradient-accumulation {passes} begins so",
    )
    return replace(settings, batch_size=rows, gradient_accumulation=passes)


def _trainer(model: Any, tokenizer: Any, data: TrainingData, settings: TrainSettings, scratch: Path) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback

    trainer = _trainer_class()(
        model=model,
        args=_config(settings, scratch, bf16=_is_bf16(model)),
        train_dataset=Dataset.from_dict({"input_ids": data.input_ids, "labels": data.labels}),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _is_bf16(model: Any) -> bool:
    import torch

    return bool(model.dtype == torch.bfloat16)


def completion_loss(model: Any, inputs: Mapping[str, Any], n_tokens: Any = None) -> Any:
    """Return the mean loss per completion token of a batch, with the head applied to the completions' columns alone.

    On a processor the head of a small model is a third of the work, and TRL's applies it to the prompts as well. Under
    autocast the adapters compute in bf16 like the weights around them; peft would cast every input to fp32 and back.

    Args:
        model: of peft.
        inputs: ``input_ids``, ``attention_mask`` and ``labels`` (rows, tokens), padded on the right.
        n_tokens: to divide by; those of the batch unless given.
    """
    import torch
    from peft.helpers import disable_input_dtype_casting

    labels = inputs["labels"]
    in_loss = labels != _IGNORED
    first = int(in_loss.int().argmax(dim=1).min()) - 1  # the column before the first is what predicts it
    # As an index, since the slice that an int asks for makes the head copy its weights once per row.
    keep = torch.arange(first, labels.shape[1], device=labels.device)
    bf16 = _is_bf16(model)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), disable_input_dtype_casting(model, active=bf16):
        found = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=keep, use_cache=False
        )
    in_loss = in_loss[:, first + 1 :]
    logits, wanted = found.logits[:, :-1][in_loss], labels[:, first + 1 :][in_loss]
    loss = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
    return loss / (len(wanted) if n_tokens is None else n_tokens)


def _config(settings: TrainSettings, scratch: Path, *, bf16: bool) -> Any:
    import torch
    from trl import SFTConfig

    cuda = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=_MAX_GRAD_NORM,
        train_sampling_strategy="group_by_length",
        seed=settings.seed,
        max_length=None,  # cut in `prepare`, where it is counted
        bf16=cuda and bf16,  # autocast: adapters compute in bf16 beside bf16 weights; `completion_loss` has its own
        activation_checkpointing=cuda,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show the last good loss instead
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _trainer_class() -> Any:
    """Return TRL's trainer on CUDA, and one with `completion_loss` on a processor."""
    import torch
    from trl import SFTTrainer

    class OnProcessor(SFTTrainer):  # type: ignore[misc]
        """TRL's trainer with `completion_loss`, which does less work on a processor."""

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            return completion_loss(model, inputs, num_items_in_batch)

    return SFTTrainer if torch.cuda.is_available() else OnProcessor


def _run(trainer: Any) -> list[float]:
    """Run the trainer, report progress, and return the loss of each step."""
    from transformers import TrainerCallback

    losses: list[float] = []

    class Progress(TrainerCallback):  # type: ignore[misc]
        """Reports the loss of every step, and stops where the loss is no longer a number."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs is None or "loss" not in logs:
                return
            losses.append(logs["loss"])
            if not math.isfinite(logs["loss"]):
                raise ModelError(f"the loss is {logs['loss']} at step {len(losses)}: lower --learning-rate, or use --dtype fp32")
            counter.advance(loss=logs["loss"])

    batches = len(trainer.get_train_dataloader())
    steps = math.ceil(batches / trainer.args.gradient_accumulation_steps) * int(trainer.args.num_train_epochs)
    with progress.step("train", steps) as counter:
        trainer.add_callback(Progress())
        trainer.train()
    return losses
