"""Combines adapters that were trained on one base model into one adapter: a soup of stages. Trains and measures nothing.

The sum of the adapters' changes is written as one adapter of all their ranks: its A matrices stand under each other, its B
matrices beside each other, each B times weight and scale. That is exact (the ``cat`` of peft's ``add_weighted_adapter``), while
averages of the matrices are not: the mean of products is not the product of means. Averaging models that were fine-tuned
from one start: Wortsman et al. 2022 (arXiv 2203.05482); of models tuned on subsets of varying imbalance: arXiv 2511.10683.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baldistill.student import adapters
from curate.errors import InputError, ModelError
from curate.files import replace_folder

__all__ = ["combine"]

_PATTERNS = ("rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "modules_to_save", "lora_bias")


def combine(folders: Sequence[Path], weights: Sequence[float], output: Path) -> Path:
    """Write the weighted sum of several LoRA adapters as one adapter.

    Args:
        folders: of the adapters, all of one base model.
        weights: one each; they need not sum to 1. An adapter of weight 0 is left out.
        output: the folder to write; what is there is replaced once the new one is whole.

    Returns:
        `output`. Its rank is the sum of the ranks, and its record names the parts.

    Raises:
        InputError: there are not as many weights as adapters, or none above or below 0.
        ModelError: an adapter is damaged, or the adapters were not made alike.
    """
    if len(folders) != len(weights):
        raise InputError(f"{len(folders)} adapters and {len(weights)} weights: give one weight for each")
    used = [(folder, float(weight)) for folder, weight in zip(folders, weights, strict=True) if weight]
    if not used:
        raise InputError("every weight is 0, so nothing of any adapter would be left; give at least one another weight")
    parts = [adapters.read(folder) for folder, _ in used]
    configs = [config for config, _ in parts]
    _check(folders, configs, [adapters.record(folder) for folder, _ in used])
    tensors = _sum([tensors for _, tensors in parts], configs, [weight for _, weight in used])
    rank = sum(int(config["r"]) for config in configs)
    newest = adapters.record(used[-1][0])
    record: dict[str, Any] = {
        **{key: newest[key] for key in ("snapshot", "rows_fingerprint", "student") if key in newest},
        "parts": [
            {"adapter": adapters.fingerprint(folder), "snapshot": adapters.record(folder).get("snapshot"), "weight": weight}
            for folder, weight in used
        ],
    }

    def make(part: Path) -> None:
        adapters.write(part, {**configs[0], "r": rank, "lora_alpha": rank, "lora_dropout": 0.0}, tensors)
        text = json.dumps({**record, "adapter": adapters.fingerprint(part)}, indent=1)
        (part / adapters.RECORD).write_text(text, encoding="utf-8")

    replace_folder(output, make)
    return output


def _check(folders: Sequence[Path], configs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> None:
    for folder, config in zip(folders, configs, strict=False):
        odd = [key for key in _PATTERNS if config.get(key)]
        if config.get("peft_type") != "LORA" or odd:
            what = f"has {', '.join(odd)}" if odd else f"is of the kind {config.get('peft_type')}"
            raise ModelError(f"adapter {folder.name!r} {what}: only plain LoRA adapters can be added up")
    bases = {json.dumps(record["student"], sort_keys=True) for record in records if "student" in record}
    if len(bases) > 1:
        raise ModelError("these adapters were trained on different students, so they cannot be added up")


def _sum(parts: Sequence[dict[str, Any]], configs: Sequence[dict[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    import torch

    names = [sorted(tensors) for tensors in parts]
    if any(found != names[0] for found in names[1:]):
        raise ModelError("these adapters are on different layers, so they cannot be added up")
    scales = [weight * config["lora_alpha"] / config["r"] for weight, config in zip(weights, configs, strict=True)]
    total = {}
    for name in names[0]:
        if ".lora_A." in name:
            total[name] = torch.cat([tensors[name].float() for tensors in parts], dim=0)
        elif ".lora_B." in name:
            scaled = [scale * tensors[name].float() for scale, tensors in zip(scales, parts, strict=True)]
            total[name] = torch.cat(scaled, dim=1)
        else:
            raise ModelError(f"an adapter holds {name}, which is no matrix of LoRA, so it cannot be added to others")
    return {name: tensor.contiguous() for name, tensor in total.items()}
