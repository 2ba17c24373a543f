"""Lets a student write: greedy outputs for prompts, in batches of like length. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from baldistill import tokens
from baldistill.checkpoints import Journal, key_of
from baldistill.students import Student
from curate import progress

__all__ = ["Output", "generate"]


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
    batch_size: int,
    journal: Journal | None = None,
    step: str = "generate",
) -> list[Output]:
    """Let a student go on from prompts greedily; outputs come in the order of the prompts.

    Args:
        student: as `baldistill.students.load` gives it.
        prompts: token ids, each ending with the header of the assistant's turn.
        max_new_tokens: at most, per output.
        batch_size: prompts per batch.
        journal: where outputs are kept batch by batch, and looked up first.
        step: the name under which progress is reported.
    """
    journal = Journal() if journal is None else journal
    keys = [key_of(prompt, [max_new_tokens], []) for prompt in prompts]  # three parts: no loss has this key
    with progress.step(step, len(prompts)) as counter:
        for chunk in tokens.chunks([len(prompt) for prompt in prompts], batch_size):
            missing = [i for i in chunk if keys[i] not in journal]
            if missing:
                outputs = _greedy(student, [prompts[i] for i in missing], max_new_tokens)
                journal.add({keys[i]: astuple(output) for i, output in zip(missing, outputs, strict=True)})
            counter.advance(len(chunk))
    return [Output(*journal[key]) for key in keys]


def _greedy(student: Student, prompts: list[Sequence[int]], max_new_tokens: int) -> list[Output]:
    import torch
    from transformers import GenerationConfig

    tokenizer, model = student.tokenizer, student.model
    ends = tokens.stops(tokenizer, model)
    width = max(map(len, prompts))
    padding = [width - len(prompt) for prompt in prompts]
    # Padded on the left, so that every output starts in the same column.
    ids = torch.tensor([[tokenizer.pad_token_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding])
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends
    )
    device = model.device
    with torch.inference_mode():
        out = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config)
    return [_output(tokenizer, row, ends) for row in out[:, width:].tolist()]


def _output(tokenizer: object, ids: list[int], ends: list[int]) -> Output:
    stop = next((i for i, token in enumerate(ids) if token in ends), None)
    written = ids if stop is None else ids[:stop]
    text = tokenizer.decode(written, skip_special_tokens=True)  # type: ignore[attr-defined]
    return Output(str(text).strip(), len(written) + (stop is not None), stop is not None)
