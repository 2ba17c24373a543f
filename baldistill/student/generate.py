"""Lets a student write: greedy outputs for prompts, in batches filled by tokens, the longest first. Judges nothing.

Greedy means the likeliest token, again and again, whatever the checkpoint's generation_config.json says: while a student writes,
it has a generation config of its own, with nothing in it but the tokens at which it stops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

from baldistill.student import tokens
from baldistill.student.checkpoints import Journal, key_of
from baldistill.student.memory import Batches
from baldistill.student.pace import Pace, paced
from baldistill.student.students import Student

__all__ = ["Output", "generate"]

_TOKENS = {"cpu": 4096, "cuda": 65536}  # in one batch, of prompts and outputs


@dataclass(frozen=True)
class Output:
    """What a student wrote after a prompt.

    Attributes:
        text: without special tokens, stripped.
        n_tokens: generated, the mark that ended it included.
        ended: whether the student ended it; otherwise the token limit cut it off.
    """

    text: str
    n_tokens: int
    ended: bool


def generate(
    student: Student,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    step: str = "generate",
) -> list[Output]:
    """Let a student go on from prompts greedily; outputs come in the order of the prompts.

    Args:
        student: as `baldistill.student.students.load` gives it.
        prompts: token ids, each ending with the header of the assistant's turn.
        max_new_tokens: at most, per output.
        batch_size: at most this many prompts per batch, however short.
        batch_tokens: tokens per batch, of prompts and outputs, padding included; a longer prompt is alone. By default 4,096 on a
            processor and 65,536 on CUDA. Where memory is short they become fewer.
        journal: where outputs are kept batch by batch, and looked up first.
        step: the name under which progress is reported.

    Raises:
        ModelError: the student has no token that ends an answer, or a single prompt does not fit into memory.
    """
    if not prompts:
        return []
    journal = Journal() if journal is None else journal
    ends = tokens.stops(student.tokenizer, student.model)
    keys = [key_of(prompt, [max_new_tokens], ends) for prompt in prompts]  # three parts: no loss has this key
    budget = batch_tokens or _TOKENS["cuda" if student.model.device.type == "cuda" else "cpu"]
    batches = Batches(step, "--batch-size")
    widths = [len(prompt) + max_new_tokens for prompt in prompts]

    with paced(step, len(prompts)) as pace:

        def write(batch: Sequence[int]) -> list[Output]:
            return _greedy(student, [prompts[i] for i in batch], max_new_tokens, ends, pace)

        for chunk in tokens.fill(widths, budget, rows=batch_size):
            missing = [i for i in chunk if keys[i] not in journal]
            n_tokens = 0
            if missing:
                outputs = batches.work(write, missing, lambda i: widths[i])
                n_tokens = sum(len(prompts[i]) + output.n_tokens for i, output in zip(missing, outputs, strict=True))
                journal.add({keys[i]: astuple(output) for i, output in zip(missing, outputs, strict=True)})
            pace.advance(len(chunk), n_tokens)
    return [Output(*journal[key]) for key in keys]


def _greedy(student: Student, prompts: list[Sequence[int]], max_new_tokens: int, ends: list[int], pace: Pace) -> list[Output]:
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    tokenizer, model = student.tokenizer, student.model
    width = max(map(len, prompts))
    padding = [width - len(prompt) for prompt in prompts]
    # Padded on the left, so that every output starts in the same column.
    ids = torch.tensor([[tokenizer.pad_token_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding])
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends
    )
    device, read = model.device, sum(map(len, prompts))

    def beat(ids: Any, _scores: Any, **_options: Any) -> Any:
        """Be asked after every token whether to stop, and never do."""
        pace.beat(read + len(prompts) * (ids.shape[1] - width))
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    options = {"generation_config": config, "stopping_criteria": StoppingCriteriaList([beat])}
    with torch.inference_mode(), _own_config(model):
        out = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), **options)
    return [_output(tokenizer, row, ends) for row in out[:, width:].tolist()]


@contextmanager
def _own_config(model: Any) -> Iterator[None]:
    """Replace the generation config of a model's checkpoint, from which `generate` fills what it is not told, by an empty one."""
    from transformers import GenerationConfig

    found, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = found


def _output(tokenizer: object, ids: list[int], ends: list[int]) -> Output:
    stop = next((i for i, token in enumerate(ids) if token in ends), None)
    written = ids if stop is None else ids[:stop]
    text = tokenizer.decode(written, skip_special_tokens=True)  # type: ignore[attr-defined]
    return Output(str(text).strip(), len(written) + (stop is not None), stop is not None)
