"""Loads a student: a causal language model with its tokenizer, and the adapter that was trained on it merged into it.

`identify` names the same student without loading it. Trains nothing (`baldistill.training.train`) and reads no manifest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baldistill.student import adapters
from baldistill.student.tokens import plain_template
from curate import models, progress
from curate.defaults import DEFAULT_STUDENT

__all__ = ["Student", "identify", "load", "load_base", "load_tokenizer"]


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
        """Tokens of its context window: prompt and completion together."""
        return models.window(self.model.config)


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
        InputError: a launcher started several processes.
    """
    import torch

    models.check_one_process()
    weights = models.find(name)
    model, tokenizer = load_base(name, dtype=dtype, root=root)
    if adapter is not None:
        adapters.check(Path(adapter), weights)
        model = adapters.merge(model, Path(adapter))
    if torch.cuda.is_available():
        model = model.to("cuda")
    return Student(model, tokenizer, weights.label, _fingerprint(weights, adapter), models.resolve_dtype(dtype))


def load_base(name: str, *, dtype: str, root: str | Path | None = None) -> tuple[Any, Any]:
    """Load a base model and its tokenizer, without an adapter, on the CPU; a tokenizer without a chat template gets a plain one.

    Args:
        name, dtype, root: as in `load`.

    Returns:
        ``(model, tokenizer)`` of transformers.

    Raises:
        ModelError: the weights cannot be loaded.
    """
    model, tokenizer = models.load_causal(name, dtype=dtype, root=root)
    return model, _with_template(tokenizer, name)


def load_tokenizer(name: str, *, root: str | Path | None = None) -> Any:
    """Load a student's tokenizer alone, as `load_base` gives it.

    Raises:
        ModelError: the weights cannot be found, or hold no tokenizer.
    """
    return _with_template(models.load_tokenizer(name, root), name)


def identify(name: str = DEFAULT_STUDENT, *, adapter: str | Path | None = None, dtype: str = "auto") -> str:
    """Return the label that a student would have in records, without loading it.

    Raises:
        ModelError: the weights cannot be found, or the adapter was trained on others.
    """
    weights = models.find(name)
    if adapter is not None:
        adapters.check(Path(adapter), weights)
    return _label(weights.label, _fingerprint(weights, adapter), models.resolve_dtype(dtype))


def _with_template(tokenizer: Any, name: str) -> Any:
    if tokenizer.chat_template is None:
        label = models.find(name).label
        progress.note("students", f"{label} has no chat template; its turns are written one after the other")
        tokenizer.chat_template = plain_template(tokenizer)
    return tokenizer


def _fingerprint(weights: models.Weights, adapter: str | Path | None) -> str:
    return weights.fingerprint if adapter is None else f"{weights.fingerprint}+{adapters.fingerprint(Path(adapter))}"


def _label(name: str, fingerprint: str, dtype: str) -> str:
    digits = "+".join(part.rpartition(":")[2][:12] for part in fingerprint.split("+"))
    return f"{name}@{digits}:{dtype}"
