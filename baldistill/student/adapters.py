"""Adapter folders: LoRA weights, the record of what they were made from, and how they are attached to a model.

``snapshot.json`` names the manifest's version, the hash of its rows, the student's fingerprint, every parameter and the
loss of each step, and the adapter's own fingerprint, by which damage is seen. It holds no path of this machine. Trains nothing.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate import progress
from curate.errors import ModelError
from curate.models import Weights

__all__ = ["RECORD", "attach", "check", "fingerprint", "is_whole", "merge", "quiet", "read", "record", "save", "write"]

RECORD = "snapshot.json"
_FILES = ("adapter_config.json", "adapter_model.safetensors")


def record(folder: Path) -> dict[str, Any]:
    """Return the folder's record; empty where it has none.

    Raises:
        ModelError: it is damaged.
    """
    path = folder / RECORD
    return _json(path) if path.is_file() else {}


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
    """Refuse an adapter that is damaged, or whose record says that it was trained on other weights; loads no model.

    An adapter without a record, made by others, says no more of its base than a name; another name is noted.

    Raises:
        ModelError: it was, or the folder holds no adapter.
    """
    _check_whole(folder)
    made_on = record(folder).get("student")
    if made_on is None:
        named = str(_json(folder / _FILES[0]).get("base_model_name_or_path") or "")
        if named and _last(named) not in {_last(weights.name), _last(weights.label)}:
            progress.note(
                "students",
                f"adapter {folder.name!r} says that it was trained on {named}, not on {weights.label}; it is used as long as its "
                "tensors fit",
            )
    elif made_on["fingerprint"] != weights.fingerprint:
        raise ModelError(
            f"adapter {folder.name!r} was trained on {made_on['name']} ({made_on['fingerprint']}), not on {weights.label} "
            f"({weights.fingerprint}); name the student that it belongs to"
        )


def is_whole(folder: Path) -> bool:
    """Return whether an adapter is what its record says, as far as that can be seen without a model."""
    try:
        _check_whole(folder)
    except ModelError:
        return False
    return True


def attach(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Put an adapter on a model of transformers, and return the model of peft.

    Raises:
        ModelError: the adapter does not fit the model, or holds numbers that are none.
    """
    import torch
    from peft import PeftModel, get_peft_model_state_dict

    try:
        with quiet():
            found = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (ValueError, RuntimeError, TypeError, LookupError, OSError) as e:
        raise ModelError(f"adapter {folder.name!r} does not fit the model: {' '.join(str(e).split())[:300]}") from e
    places = get_peft_model_state_dict(found, save_embedding_layers=False)
    held = _tensors(folder)
    homeless = {name for name in held - places.keys() if "lora_" in name}
    if homeless or places.keys() - held:
        raise ModelError(
            f"adapter {folder.name!r} does not fit the model: {len(homeless)} of its {len(held)} tensors have no place there, "
            f"and {len(places.keys() - held)} places stay empty; name the student that it belongs to"
        )
    broken = [name for name, tensor in places.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ModelError(f"adapter {folder.name!r} holds numbers that are not finite, in {len(broken)} tensors; train it again")
    return found


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


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an adapter's configuration, and its tensors by name.

    Raises:
        ModelError: it is damaged.
    """
    from safetensors.torch import load_file

    _check_whole(folder)
    return _json(folder / _FILES[0]), dict(load_file(folder / _FILES[1]))


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write an adapter's two files into a folder that exists."""
    from safetensors.torch import save_file

    (folder / _FILES[0]).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    save_file(tensors, folder / _FILES[1], metadata={"format": "pt"})


def merge(model: Any, folder: Path) -> Any:
    """Return a model of transformers with an adapter's weights added to its own; it reads and answers as fast as before.

    Raises:
        ModelError: the adapter does not fit the model, or is of a kind that cannot be merged.
    """
    attached = attach(model, folder)
    if not hasattr(attached.base_model, "merge_and_unload"):
        kind = _json(folder / _FILES[0]).get("peft_type")
        raise ModelError(
            f"adapter {folder.name!r} is of the kind {kind}, which cannot be merged into its base; use a LoRA adapter"
        )
    with quiet():
        return attached.merge_and_unload().eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what peft, trl and transformers warn of in each other, on which no user can act.

    These are deprecations, how the layers of GPT-2 are turned, and missing tensors, which `attach` refuses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out|Found missing adapter keys")
        yield


def _check_whole(folder: Path) -> None:
    """Refuse an adapter whose files are damaged, or are not those that its record was written with."""
    digest = fingerprint(folder)
    _json(folder / _FILES[0])
    _tensors(folder)
    if record(folder).get("adapter", digest) != digest:
        raise ModelError(f"adapter {folder.name!r} is damaged: its files are not those that {RECORD} is of; train it again")


def _tensors(folder: Path) -> set[str]:
    """Return the names of an adapter's tensors; its file must be as long as they say."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / _FILES[1], framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as e:
        raise ModelError(f"adapter {folder.name!r} is damaged: {_FILES[1]} cannot be read ({e}); train it again") from e


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as e:  # of a file that was cut, and of another type
        raise ModelError(f"adapter {path.parent.name!r} is damaged: {path.name} cannot be read ({e}); train it again") from e


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()
