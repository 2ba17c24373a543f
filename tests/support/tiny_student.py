"""The tiny student of the tests: a real LLaMA of 20,000 weights with a tokenizer and a chat template, made in a second."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.manifest import ids
from curate.manifest.manifest import Manifest, new

TEMPLATE = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
)
# One that shows tools and calls of them.
CALLING = (
    "{% if tools %}{{ tools[0].function.name }}:{% endif %}{% for message in messages %}{{ '<|start|>' + message.role + '\\n' }}"
    "{{ message.content }}{% for call in message.tool_calls or [] %}{{ call.function.name + (call.function.arguments | tojson) }}"
    "{% endfor %}{{ '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
)
# Options of `baldistill.training.train.train` with which it learns something in a second.
FAST: dict[str, Any] = {"dtype": "fp32", "learning_rate": 1e-2, "epochs": 2, "rank": 4, "alpha": 8, "gradient_accumulation": 1}
WORDS = "what is plus minus the answer 0 1 2 3 4 5 6 7 8 9 so we add take a b c ( ) . : + - = user assistant system"


def make_tokenizer(template: str | None = TEMPLATE, *, begins: bool = False, marks: bool = True, window: int = 256) -> Any:
    """Return the tiny student's tokenizer.

    Args:
        template: for chats.
        begins: it begins every text with BOS by itself.
        marks: it names its tokens for beginning, end and padding.
        window: tokens that the student reads.
    """
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    backend = _bytes_bpe()
    if begins:
        first = ("<|start|>", backend.token_to_id("<|start|>"))
        backend.post_processor = processors.TemplateProcessing(single="<|start|> $A", pair=None, special_tokens=[first])
    named = {"bos_token": "<|start|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"} if marks else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=window, **named)
    tokenizer.chat_template = template
    return tokenizer


def make(
    folder: Path,
    *,
    template: str | None = TEMPLATE,
    seed: int = 0,
    window: int = 256,
    begins: bool = False,
    marks: bool = True,
) -> Path:
    """Write a tiny student as a folder of safetensors, with random weights, and return the folder."""
    from transformers import LlamaConfig

    tokenizer = make_tokenizer(template, begins=begins, marks=marks, window=window)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,  # wide, so that random weights have opinions
    )
    return save(folder, config, tokenizer, seed=seed)


def save(folder: Path, config: Any, tokenizer: Any, *, seed: int = 0) -> Path:
    """Write a student of a configuration of transformers, with random weights, and return the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_adapter(folder: Path, value: int = 0) -> None:
    """Write the files of an adapter of one number, which fits no model."""
    head = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes([value]))


def manifest(root: Path, rows: Sequence[dict[str, Any]], *, name: str = "tiny") -> Manifest:
    """Commit rows with their content as version 0.

    Args:
        root: of the manifest.
        rows: prompt, answer and, where they differ from the defaults here, rationale, messages, domain, split, source, status,
            kind.
        name: of the manifest.
    """
    defaults = {"rationale": None, "messages": None, "domain": "sums", "split": "train", "source": "real", "status": "candidate"}
    defaults |= {"kind": None}
    schema = dict.fromkeys(("prompt", "answer", *defaults), pl.String)
    frame = pl.DataFrame([{**defaults, **row} for row in rows], schema=schema)
    frame = frame.with_columns(extra=pl.lit(None, dtype=pl.String))
    frame = frame.with_columns(content=ids.content_keys(frame), prompt_key=ids.prompt_keys(frame["prompt"]))
    frame = frame.with_columns(id=ids.row_ids(frame))
    handle = new(name, root=root)
    handle.append(frame.select("content", "prompt", "answer", "rationale", "messages", "extra"))
    kept = frame.select("id", "content", "prompt_key", "domain", "kind", "split", "source", "status")
    return handle.commit(kept, verb="ingest")


def sums(
    n: int, *, domain: str = "sums", split: str = "train", status: str = "candidate", rationale: bool = False
) -> list[dict[str, Any]]:
    """Return `n` different little sums."""
    rows = []
    for i in range(n):
        a, b = i % 7, i // 7 + (11 if split == "test" else 0)
        row = {"prompt": f"what is {a} + {b}", "answer": str(a + b), "domain": domain, "split": split, "status": status}
        rows.append({**row, "rationale": f"we add {a} and {b}, so it is {a + b}." if rationale else None})
    return rows


def _bytes_bpe() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|start|>", "<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in ("<|start|>", "<|end|>", "<|pad|>")])
    return tokenizer
