"""Owns students: loads a causal language model, fine-tunes it by LoRA on a snapshot, saves the adapter.

Beside the adapter lies a record of what it was made from (`baldistill.adapters`), which makes a repeated command a no-op.
Chooses no rows and judges no answers.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from baldistill import adapters, sft, tokens
from curate import models, progress
from curate.errors import InputError
from curate.files import replace_folder, runs_folder
from curate.manifest.manifest import Manifest
from curate.manifest.rows import in_snapshot

__all__ = ["DEFAULT_STUDENT", "Student", "Trained", "identify", "load", "train"]

DEFAULT_STUDENT = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Student:
    """A causal language model, ready to read and answer.

    Attributes:
        model: of transformers, in evaluation mode, an adapter merged into it.
        tokenizer: of transformers, with a chat template and a padding token.
        name: of the base model; a path is cut to its last part.
        fingerprint: of the weights, with the adapter's after a ``+``.
        dtype: ``fp32`` or ``bf16``.
    """

    model: Any = field(compare=False, repr=False)
    tokenizer: Any = field(compare=False, repr=False)
    name: str
    fingerprint: str
    dtype: str

    @property
    def label(self) -> str:
        """The student in records: its name, the first digits of each fingerprint, and its precision."""
        return _label(self.name, self.fingerprint, self.dtype)

    @property
    def window(self) -> int:
        """Tokens that it reads and writes in all."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1_000_000)


@dataclass(frozen=True)
class Trained:
    """What `train` made.

    Attributes:
        manifest: the version that was trained on.
        adapter: folder of the adapter and its record.
        steps: optimiser steps.
        losses: mean loss per completion token of each step.
        rows: trained on.
        truncated: rows whose completion was cut at the token limit.
        skipped: ids of rows whose prompt alone fills the token limit; they were left out.
        seconds: the training took.
    """

    manifest: Manifest
    adapter: Path
    steps: int
    losses: tuple[float, ...]
    rows: int
    truncated: int
    skipped: tuple[str, ...]
    seconds: float


def load(
    name: str = DEFAULT_STUDENT, *, adapter: str | Path | None = None, dtype: str = "auto", root: str | Path | None = None
) -> Student:
    """Load a student, on CUDA where there is one.

    Args:
        name: of the base model: a path, a Hub id or ``package:NAME``.
        adapter: folder of a LoRA adapter to merge into it.
        dtype: ``auto`` (bf16 where the processor computes in it), ``bf16`` or ``fp32``.
        root: the folder that holds ``cache/``.

    Raises:
        ModelError: the weights cannot be loaded, or the adapter was trained on others.
    """
    import torch

    weights = models.find(name)
    model, tokenizer = models.load_causal(name, dtype=dtype, root=root)
    if adapter is not None:
        adapters.check(Path(adapter), weights)
        model = adapters.merge(model, Path(adapter))
    if torch.cuda.is_available():
        model = model.to("cuda")
    fingerprint = _fingerprint(weights, adapter)
    return Student(model, _with_template(tokenizer, weights.label), weights.label, fingerprint, _precision(dtype))


def identify(name: str = DEFAULT_STUDENT, *, adapter: str | Path | None = None, dtype: str = "auto") -> str:
    """Return the label that a student would have in records, without loading it.

    Raises:
        ModelError: the weights cannot be found, or the adapter was trained on others.
    """
    weights = models.find(name)
    if adapter is not None:
        adapters.check(Path(adapter), weights)
    return _label(weights.label, _fingerprint(weights, adapter), _precision(dtype))


def train(
    manifest: Manifest,
    *,
    student: str = DEFAULT_STUDENT,
    output: str | Path | None = None,
    epochs: int = 3,
    learning_rate: float = 2e-4,
    rank: int = 16,
    alpha: int = 32,
    dropout: float = 0.05,
    batch_size: int = 4,
    gradient_accumulation: int = 4,
    max_tokens: int = 512,
    seed: int = 0,
    dtype: str = "auto",
    warm_start: str | Path | None = None,
) -> Trained:
    """Fine-tune a student by LoRA on a snapshot: the rows that are selected, of the train split.

    The student starts from the base model (Zhou et al. 2024, section 3: a fresh student at every stage); the loss is on
    the completion alone. LoRA on every linear layer but the head (Hu et al. 2022, arXiv 2106.09685; "all-linear" as in
    Dettmers et al. 2023, arXiv 2305.14314). The same command again returns what stands.

    Args:
        manifest: the version to train on.
        student: the base model.
        output: folder for the adapter; by default one under ``manifests/runs/adapters``, named after what is trained. An
            adapter that stands there with another record is replaced, once the new one is whole.
        epochs: passes over the rows.
        learning_rate: constant.
        rank: of the adapter's matrices.
        alpha: LoRA's scale, over the rank.
        dropout: on the adapter's input, 0 to 1.
        batch_size: rows in one pass.
        gradient_accumulation: passes to one optimiser step.
        max_tokens: of prompt and completion; longer completions are cut at the end, and counted.
        seed: of the adapter's first weights, the order of the rows and the dropout.
        dtype: of the base weights, as in `load`; the adapter itself is always fp32.
        warm_start: folder of an adapter to go on from, with that adapter's rank, alpha and dropout.

    Raises:
        InputError: nothing is selected, a parameter is out of range, or `output` holds something else.
        ModelError: the weights cannot be loaded, or the loss is no longer a number.
    """
    parameters = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "rank": rank,
        "alpha": alpha,
        "dropout": dropout,
        "batch_size": batch_size,
        "gradient_accumulation": gradient_accumulation,
        "max_tokens": max_tokens,
        "seed": seed,
        "dtype": _precision(dtype),
        "warm_start": adapters.fingerprint(Path(warm_start)) if warm_start is not None else None,
    }
    _check_parameters(parameters)
    weights = models.find(student)
    rows = _snapshot_rows(manifest)
    made_from = {
        "snapshot": str(manifest),
        "rows_fingerprint": _rows_fingerprint(rows),
        "student": {"name": weights.label, "fingerprint": weights.fingerprint},
        "parameters": parameters,
    }
    folder = Path(output) if output is not None else _default_output(manifest, made_from)
    standing = _standing(manifest, folder, made_from)
    if standing is not None:
        progress.note("train", f"{folder.name} stands already, trained on {manifest}; nothing to do")
        return standing

    def make(part: Path) -> None:
        record = _train_into(part, manifest, rows, student, warm_start, parameters)
        (part / adapters.RECORD).write_text(json.dumps({**made_from, **record}, indent=1), encoding="utf-8")

    replace_folder(folder, make)
    return _read_record(manifest, folder)


def _check_parameters(parameters: dict[str, Any]) -> None:
    positive = ("epochs", "learning_rate", "rank", "alpha", "batch_size", "gradient_accumulation", "max_tokens")
    wrong = [f"{key} {parameters[key]!r} (above 0)" for key in positive if not parameters[key] > 0]
    wrong += [] if 0 <= parameters["dropout"] < 1 else [f"dropout {parameters['dropout']!r} (from 0 to below 1)"]
    if wrong:
        raise InputError(f"training parameters out of range: {', '.join(wrong)}")


def _snapshot_rows(manifest: Manifest) -> pl.DataFrame:
    rows = manifest.scan().filter(in_snapshot(), split="train").sort("id").collect()
    if rows.is_empty():
        raise InputError(f"{manifest} has no selected train rows to learn from; select some: curate balance {manifest.name}")
    return rows


def _rows_fingerprint(rows: pl.DataFrame) -> str:
    pairs = rows.select(pl.concat_str("id", "content", separator=":")).to_series().sort()
    return hashlib.blake2b("\n".join(pairs.to_list()).encode(), digest_size=16).hexdigest()


def _default_output(manifest: Manifest, made_from: dict[str, Any]) -> Path:
    digest = hashlib.blake2b(json.dumps(made_from, sort_keys=True).encode(), digest_size=4).hexdigest()
    return runs_folder(manifest.root) / "adapters" / f"{manifest.name}-{manifest.version}-{digest}"


def _standing(manifest: Manifest, folder: Path, made_from: dict[str, Any]) -> Trained | None:
    """Return what an earlier run of the same command left, or None where the folder may be written."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    record = adapters.record(folder)
    if "snapshot" not in record:
        raise InputError(f"output {folder.name!r} holds something else than an adapter of ours; name another --output")
    if {key: record.get(key) for key in made_from} == made_from:
        return _read_record(manifest, folder)
    progress.note("train", f"{folder.name} holds an adapter of {record['snapshot']} with another record, and will be replaced")
    return None


def _read_record(manifest: Manifest, folder: Path) -> Trained:
    record = adapters.record(folder)
    return Trained(
        manifest=manifest,
        adapter=folder,
        steps=record["steps"],
        losses=tuple(record["losses"]),
        rows=record["rows"],
        truncated=record["truncated"],
        skipped=tuple(record["skipped"]),
        seconds=record["seconds"],
    )


def _train_into(
    part: Path, manifest: Manifest, rows: pl.DataFrame, student: str, warm_start: str | Path | None, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Train, save the adapter into `part`, and return the record's second half."""
    weights = models.find(student)
    model, tokenizer = models.load_causal(student, dtype=parameters["dtype"], root=manifest.root)
    tokenizer = _with_template(tokenizer, weights.label)
    lessons = sft.prepare(tokenizer, manifest.examples(rows), parameters["max_tokens"])
    if warm_start is not None:
        adapters.check(Path(warm_start), weights)
        model = adapters.attach(model, Path(warm_start), trainable=True)
    started = time.monotonic()
    model, losses = sft.fit(model, tokenizer, lessons, parameters, part)
    adapters.save(model, part, base=weights.label)
    return {
        "steps": len(losses),
        "losses": losses,
        "rows": len(lessons.input_ids),
        "truncated": lessons.truncated,
        "skipped": lessons.skipped,
        "seconds": round(time.monotonic() - started, 3),
        "packages": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
    }


def _fingerprint(weights: models.Weights, adapter: str | Path | None) -> str:
    return weights.fingerprint if adapter is None else f"{weights.fingerprint}+{adapters.fingerprint(Path(adapter))}"


def _label(name: str, fingerprint: str, dtype: str) -> str:
    digits = "+".join(part.rpartition(":")[2][:12] for part in fingerprint.split("+"))
    return f"{name}@{digits}:{dtype}"


def _precision(dtype: str) -> str:
    return "bf16" if str(models.pick_dtype(dtype)).endswith("bfloat16") else "fp32"


def _with_template(tokenizer: Any, name: str) -> Any:
    """Give a base model, which has no chat template, the plain one."""
    if tokenizer.chat_template is None:
        progress.note("students", f"{name} has no chat template; its turns are written one after the other")
        tokenizer.chat_template = tokens.PLAIN_TEMPLATE
    return tokenizer
