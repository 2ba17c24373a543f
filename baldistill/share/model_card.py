"""The card of a student that leaves: what it was trained from and on, what it scored, and how to load it. States nothing else.

The licence is that of the base student where its own card says one, and is never invented. No path of this machine is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from baldistill.share.trained import Trained
from curate.cards.markup import escape, table
from curate.cards.merging import assemble
from curate.cards.metadata import read_header
from curate.errors import InputError
from curate.models import Weights

__all__ = ["base_licence", "model_card"]

_SHOWN = 40  # domains in the table
_TRAINING = (
    "epochs",
    "learning_rate",
    "rank",
    "alpha",
    "dropout",
    "batch_size",
    "gradient_accumulation",
    "max_tokens",
    "seed",
    "dtype",
)
_FIGURES = ("macro", "micro", "head", "tail")


def base_licence(weights: Weights) -> str | None:
    """Return the licence of a base model as its own card says it, or the package of its weights; None where neither does."""
    folder = weights.path if weights.path.is_dir() else weights.path.parent
    card = folder / "README.md"
    if card.is_file():
        try:
            named = read_header(card.read_text(encoding="utf-8", errors="replace")).values.get("license")
        except InputError:
            named = None
        if isinstance(named, str) and named.strip():
            return named.strip()
    if weights.origin.startswith("package:"):
        try:
            about = metadata(weights.origin.removeprefix("package:").replace("_", "-"))
        except PackageNotFoundError:
            return None
        named = [about[field] for field in ("License-Expression", "License") if field in about]
        return named[0] if named else None
    return None


def model_card(trained: Trained, weights: Weights, *, title: str, adapter: bool, dtype: str, licence: str | None) -> str:
    """Return the card of a student: Markdown under the header that the Hub reads, in parts that keep what a person writes.

    Args:
        trained: the student.
        weights: of its base model.
        title: of the card.
        adapter: whether the folder holds the adapter alone, or merged weights.
        dtype: precision of merged weights.
        licence: of the base student; None where it is not known.
    """
    hub = weights.origin == "hub" or ("/" in weights.name and weights.origin.startswith("package:"))
    fields: dict[str, Any] = {
        **({"license": licence.lower() if licence.isascii() else licence} if licence else {}),
        **({"base_model": weights.name, "base_model_relation": "adapter" if adapter else "finetune"} if hub else {}),
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["baldistill", "distillation", "long-tail", *(["lora"] if adapter else [])],
    }
    parts = {
        "title": f"# {escape(title)}\n\n{_what(trained, weights, adapter=adapter, dtype=dtype)}",
        "use": _use(weights, adapter=adapter, hub=hub),
        "results": _results(trained),
        "training": _training(trained),
        "limits": _limits(trained, licence),
    }
    return assemble(fields, {name: text for name, text in parts.items() if text})


def _what(trained: Trained, weights: Weights, *, adapter: bool, dtype: str) -> str:
    form = "A LoRA adapter for" if adapter else f"Full weights ({escape(dtype)}), made of"
    told = f"{form} `{escape(weights.label)}`" + ("" if adapter else " and a LoRA adapter")
    snapshot = trained.record.get("snapshot")
    learned = f", fine-tuned on the balanced snapshot `{escape(snapshot)}`" if snapshot else ""
    return f"{told}{learned}. This card is made from the records of the training."


def _use(weights: Weights, *, adapter: bool, hub: bool) -> str:
    base = escape(weights.name) if hub else "BASE"
    if adapter:
        lines = [
            "```python",
            "from peft import AutoPeftModelForCausalLM",
            "",
            'model = AutoPeftModelForCausalLM.from_pretrained("THIS_FOLDER_OR_REPOSITORY")',
            "```",
            "",
            "```bash",
            f"vllm serve {base} --enable-lora --lora-modules student=THIS_FOLDER",
            "```",
        ]
        return "## Use\n\n" + "\n".join(lines)
    lines = [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER_OR_REPOSITORY")',
        'model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER_OR_REPOSITORY")',
        "```",
        "",
        "```bash",
        "vllm serve THIS_FOLDER_OR_REPOSITORY",
        "python convert_hf_to_gguf.py THIS_FOLDER --outfile student.gguf     # of llama.cpp",
        "```",
    ]
    return "## Use\n\n" + "\n".join(lines)


def _results(trained: Trained) -> str:
    found = trained.metrics
    if not found:
        return "## Results\n\nNo evaluation of this student is on record."
    lines = [(name, _rate(found[name])) for name in _FIGURES if isinstance(found.get(name), Mapping)]
    for metric, figures in (found.get("metrics") or {}).items():
        lines += [(f"{metric}, {name}", f"{value:.3f}") for name, value in figures.items()]
    head = (
        f"## Results\n\nOn {found.get('rows', '?'):,} rows of the {escape(found.get('split', 'test'))} split, with 95% intervals."
    )
    text = f"{head}\n\n{table(('figure', 'value'), lines)}"
    domains = found.get("domains") or []
    shown = [
        (line["domain"], "head" if line["head"] else "tail", line["n"], _rate(line, "accuracy")) for line in domains[:_SHOWN]
    ]
    if shown:
        more = f"\n\nThe first {_SHOWN} of {len(domains):,} domains." if len(domains) > _SHOWN else ""
        inner = table(("domain", "", "rows", "accuracy"), shown)
        text += f"\n\n<details><summary>Per domain</summary>\n\n{inner}{more}\n\n</details>"
    return text


def _rate(rate: Mapping[str, Any], key: str = "value") -> str:
    return f"{100 * rate[key]:.1f}% ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"


def _training(trained: Trained) -> str:
    record = trained.record
    parameters = record.get("parameters") or {}
    lines = [(name.replace("_", " "), parameters[name]) for name in _TRAINING if parameters.get(name) is not None]
    lines += [(name, record[key]) for key, name in (("rows", "rows"), ("steps", "steps")) if record.get(key)]
    lines += (
        [("stages combined", ", ".join(f"{part['weight']:g} of {part['snapshot']}" for part in record["parts"]))]
        if (record.get("parts"))
        else []
    )
    lines += [(name, version) for name, version in (record.get("packages") or {}).items()]
    return f"## Training\n\n{table(('parameter', 'value'), lines)}" if lines else ""


def _limits(trained: Trained, licence: str | None) -> str:
    found = []
    if licence is None:
        found.append(
            "The licence of the base student is not known to this tool, so none is stated: look it up before you share this."
        )
    found.append("Synthetic training rows were checked for agreeing with themselves, not for being true.")
    if not trained.record:
        found.append("The adapter came without a record: what it was trained on is not known.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in found)
