"""Fine-tunes a student by LoRA on a snapshot, and keeps the adapter with a record of what it was made from.

The record (`baldistill.student.adapters`) makes a repeated command a no-op. Chooses no rows and judges no answers; the trainer
itself is in `baldistill.training.sft`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from baldistill.student import adapters, overlap, students
from baldistill.student.tokens import check_forms
from baldistill.training import sft
from baldistill.training.settings import TrainSettings
from curate import models, progress
from curate.errors import InputError
from curate.files import replace_folder, runs_folder, write_whole
from curate.manifest.manifest import Manifest
from curate.manifest.rows import in_snapshot, is_usable_real
from curate.settings import takes

__all__ = ["TrainResult", "rehearse", "train"]


@dataclass(frozen=True)
class TrainResult:
    """The adapter that `train` made.

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


@takes(TrainSettings)
def train(manifest: Manifest, settings: TrainSettings) -> TrainResult:
    """Fine-tune a student by LoRA on a snapshot: the rows that are selected, of the train split.

    The student starts from the base model (Zhou et al. 2024, section 3: a fresh student at every stage); the loss is on
    the completion alone. LoRA on every linear layer but the head (Hu et al. 2022, arXiv 2106.09685; "all-linear" as in
    Dettmers et al. 2023, arXiv 2305.14314). The same command again returns the adapter that is there.

    Args:
        manifest: the version to train on.

    Raises:
        InputError: nothing is selected, or held-out rows are; a parameter is out of range, or `output` holds something else.
        ModelError: the weights cannot be loaded, or the loss is no longer a number.
    """
    _check(settings)
    models.check_one_process()
    models.check_one_gpu()
    weights = models.find(settings.student)
    rows = _snapshot_rows(manifest)
    made_from = {
        "snapshot": str(manifest),
        "rows_fingerprint": _rows_fingerprint(rows),
        "student": {"name": weights.label, "fingerprint": weights.fingerprint},
        "parameters": _parameters(settings),
    }
    folder = Path(settings.output) if settings.output is not None else _default_output(manifest, made_from)
    done = _made_before(manifest, folder, made_from)
    if done is not None:
        progress.note("train", f"{folder.name} is there already, trained on {manifest}; nothing to do")
        return done
    overlap.refuse(manifest, manifest.examples(rows), allow=settings.allow_overlap)

    same = _learned_before(manifest, made_from)
    if same is not None:
        progress.note("train", f"{same.name} learned the same rows with the same parameters; it is copied, not trained again")

    def make(part: Path) -> None:
        if same is None:
            record = _train_into(part, manifest, rows, settings)
        else:
            shutil.copytree(same, part, dirs_exist_ok=True)
            record = adapters.record(same)
        (part / adapters.RECORD).write_text(json.dumps({**record, **made_from}, indent=1), encoding="utf-8")

    replace_folder(folder, make)
    _remember(manifest, made_from, folder)
    return _read_record(manifest, folder)


@takes(TrainSettings)
def rehearse(manifest: Manifest, settings: TrainSettings) -> None:
    """Find out, without loading a weight, whether `train` would refuse the student or the chats of a manifest.

    One chat of each sequence of roles is rendered.

    Args:
        manifest: whose train rows may come to be trained on.

    Raises:
        InputError: a parameter is out of range, or there is more than one process or GPU.
        ModelError: the student cannot be loaded or trained by LoRA, its template refuses a chat, or it has no token that ends an
            answer.
    """
    _check(settings)
    models.check_one_process()
    models.check_one_gpu()
    sft.add_adapter(models.load_skeleton(settings.student, manifest.root), settings)
    tokenizer = students.load_tokenizer(settings.student, root=manifest.root)
    rows = manifest.scan().filter(is_usable_real(), split="train").collect()
    if not rows.is_empty():
        check_forms(tokenizer, manifest.examples(rows.select("id", "content")))


def _check(settings: TrainSettings) -> None:
    positive = ("epochs", "learning_rate", "rank", "alpha", "batch_size", "gradient_accumulation", "max_tokens")
    given = {name: getattr(settings, name) for name in positive}
    wrong = [f"{name} {value!r} (above 0)" for name, value in given.items() if not value > 0]
    wrong += [] if 0 <= settings.dropout < 1 else [f"dropout {settings.dropout!r} (from 0 to below 1)"]
    if wrong:
        raise InputError(f"training parameters out of range: {', '.join(wrong)}")


def _parameters(settings: TrainSettings) -> dict[str, Any]:
    """Return what shapes the adapter beside rows and student, as it is recorded: no local path, ``auto`` resolved."""
    shaping = {name: value for name, value in asdict(settings).items() if name not in ("student", "output", "allow_overlap")}
    start = settings.warm_start
    shaping["dtype"] = models.resolve_dtype(settings.dtype)
    shaping["warm_start"] = None if start is None else adapters.fingerprint(Path(start))
    return shaping


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


def _made_before(manifest: Manifest, folder: Path, made_from: dict[str, Any]) -> TrainResult | None:
    """Return the result of an earlier run of the same command, or None where the folder may be written."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    record = adapters.record(folder)
    if "snapshot" not in record:
        raise InputError(f"output {folder.name!r} holds something other than an adapter; name another --output")
    if {key: record.get(key) for key in made_from} == made_from:
        if adapters.is_whole(folder):
            return _read_record(manifest, folder)
        progress.note("train", f"{folder.name} holds a damaged adapter of {manifest}; it is trained again")
        return None
    progress.note("train", f"{folder.name} holds an adapter of {record['snapshot']}, made otherwise; it will be replaced")
    return None


def _pointer(manifest: Manifest, made_from: dict[str, Any]) -> Path:
    """Return the file that says where the adapter is that learned these rows, whatever version of whatever manifest had them."""
    content = {key: value for key, value in made_from.items() if key != "snapshot"}
    digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
    return runs_folder(manifest.root) / "adapters" / "by-content" / digest


def _learned_before(manifest: Manifest, made_from: dict[str, Any]) -> Path | None:
    """Return the folder of a whole adapter that was made from the same rows, student and parameters, where there is one."""
    pointer = _pointer(manifest, made_from)
    if not pointer.exists():
        return None
    folder = Path(manifest.root) / pointer.read_text(encoding="utf-8")
    if not folder.is_dir() or not adapters.is_whole(folder):
        return None
    record = adapters.record(folder)
    same = all(record.get(key) == value for key, value in made_from.items() if key != "snapshot")
    return folder if same else None


def _remember(manifest: Manifest, made_from: dict[str, Any], folder: Path) -> None:
    """Keep where an adapter is that learned these rows; of one outside the root nothing is kept."""
    try:
        place = folder.resolve().relative_to(Path(manifest.root).resolve()).as_posix()
    except ValueError:
        return
    pointer = _pointer(manifest, made_from)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    write_whole(pointer, lambda part: part.write_text(place, encoding="utf-8"))


def _read_record(manifest: Manifest, folder: Path) -> TrainResult:
    record = adapters.record(folder)
    return TrainResult(
        manifest=manifest,
        adapter=folder,
        steps=record["steps"],
        losses=tuple(record["losses"]),
        rows=record["rows"],
        truncated=record["truncated"],
        skipped=tuple(record["skipped"]),
        seconds=record["seconds"],
    )


def _train_into(part: Path, manifest: Manifest, rows: pl.DataFrame, settings: TrainSettings) -> dict[str, Any]:
    """Train, save the adapter into `part`, and return the record's second half; what may be refused is, before weights load."""
    weights, start = models.find(settings.student), settings.warm_start
    skeleton = models.load_skeleton(settings.student, manifest.root)
    if start is None:
        sft.add_adapter(skeleton, settings)
    else:
        adapters.check(Path(start), weights)
    tokenizer = students.load_tokenizer(settings.student, root=manifest.root)
    data = sft.prepare(tokenizer, manifest.examples(rows), settings.max_tokens, window=models.window(skeleton.config))
    model, _ = models.load_causal(settings.student, dtype=settings.dtype, root=manifest.root)
    if start is not None:
        model = adapters.attach(model, Path(start), trainable=True)
    started = time.monotonic()
    model, losses = sft.fit(model, tokenizer, data, settings, part)
    adapters.save(model, part, base=weights.label)
    return {
        "steps": len(losses),
        "losses": losses,
        "rows": len(data.input_ids),
        "truncated": data.truncated,
        "skipped": data.skipped,
        "seconds": round(time.monotonic() - started, 3),
        "adapter": adapters.fingerprint(part),
        "packages": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
    }
