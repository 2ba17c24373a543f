"""Adapter folders: LoRA weights, the record of what they were made from, and how they are attached to a model.

``snapshot.json`` names the manifest's version, the hash of its rows, the student's fingerprint, every parameter and the
loss of each step. It holds no path of this machine. Trains nothing.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.errors import ModelError
from curate.models import Weights

__all__ = ["RECORD", "attach", "check", "fingerprint", "merge", "quiet", "record", "save"]

RECORD = "snapshot.json"
_FILES = ("adapter_config.json", "adapter_model.safetensors")


def record(folder: Path) -> dict[str, Any]:
    """Return the folder's record; empty where it has none."""
    path = folder / RECORD
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def fingerprint(folder: Path) -> str:
    """Return 32 hex digits that change with the adapter's weights or configuration.

    Raises:
        ModelError: the folder holds no adapter.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in _FILES:
        path = folder / name
        if not path.is_file():
            raise ModelError(f"adapter {folder.name!r} holds no {name}; name the folder that baldistill train wrote")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check(folder: Path, weights: Weights) -> None:
    """Refuse an adapter whose record says that it was trained on other weights.

    Raises:
        ModelError: it was, or the folder holds no adapter.
    """
    fingerprint(folder)
    made_on = record(folder).get("student")
    if made_on is not None and made_on["fingerprint"] != weights.fingerprint:
        raise ModelError(
            f"adapter {folder.name!r} was trained on {made_on['name']} ({made_on['fingerprint']}), not on {weights.label} "
            f"({weights.fingerprint}); name the student that it belongs to"
        )


def attach(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Put an adapter on a model of transformers, and return the model of peft.

    Raises:
        ModelError: the adapter does not fit the model.
    """
    from peft import PeftModel

    try:
        with quiet():
            return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (ValueError, RuntimeError) as e:
        raise ModelError(f"adapter {folder.name!r} does not fit the model: {str(e).splitlines()[0]}") from e


def save(model: Any, folder: Path, *, base: str) -> None:
    """Write the adapter of a model of peft.

    Args:
        model: of peft.
        folder: that exists.
        base: what the record calls the base model, no local path.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = base  # peft would write the local path,
        config.target_modules = sorted(config.target_modules)  # and a set in whatever order it has today
    model.save_pretrained(folder, save_embedding_layers=False)  # they stay as they were
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card


def merge(model: Any, folder: Path) -> Any:
    """Return a model of transformers with an adapter's weights added to its own; it reads and answers as fast as before.

    Raises:
        ModelError: the adapter does not fit the model.
    """
    with quiet():
        return attach(model, folder).merge_and_unload().eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the deprecation warnings that peft, trl and transformers cause in each other; no user can act on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
