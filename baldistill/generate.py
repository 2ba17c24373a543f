"""Owns a student's own words: greedy answers to prompts, in batches of like length. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from baldistill import tokens
from baldistill.checkpoints import Journal, key_of
from baldistill.students import Student
from curate import progress

__all__ = ["Answer", "generate"]


@dataclass(frozen=True)
class Answer:
    """What a student said.

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
) -> list[Answer]:
    """Let a student answer prompts greedily; answers come in the order of the prompts.

    Args:
        student: as `baldistill.students.load` gives it.
        prompts: token ids, each ending with the header of the assistant's turn.
        max_new_tokens: at most so many tokens an answer.
        batch_size: prompts that are answered side by side.
        journal: where answers are kept batch by batch, and looked up first.
        step: the name that progress is told under.
    """
    journal = Journal() if journal is None else journal
    keys = [key_of(prompt, [max_new_tokens], []) for prompt in prompts]  # three parts: no loss has this key
    with progress.step(step, len(prompts)) as counter:
        for chunk in tokens.chunks([len(prompt) for prompt in prompts], batch_size):
            missing = [i for i in chunk if keys[i] not in journal]
            if missing:
                said = _greedy(student, [prompts[i] for i in missing], max_new_tokens)
                journal.add({keys[i]: astuple(answer) for i, answer in zip(missing, said, strict=True)})
            counter.advance(len(chunk))
    return [Answer(*journal[key]) for key in keys]


def _greedy(student: Student, prompts: list[Sequence[int]], max_new_tokens: int) -> list[Answer]:
    import torch
    from transformers import GenerationConfig

    tokenizer, model = student.tokenizer, student.model
    ends = tokens.stops(tokenizer, model)
    width = max(map(len, prompts))
    padding = [width - len(prompt) for prompt in prompts]
    # Padded on the left, so that every answer starts in the same column.
    ids = torch.tensor([[tokenizer.pad_token_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding])
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends
    )
    device = model.device
    with torch.inference_mode():
        out = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config)
    return [_answer(tokenizer, row, ends) for row in out[:, width:].tolist()]


def _answer(tokenizer: object, ids: list[int], ends: list[int]) -> Answer:
    stop = next((i for i, token in enumerate(ids) if token in ends), None)
    said = ids if stop is None else ids[:stop]
    text = tokenizer.decode(said, skip_special_tokens=True)  # type: ignore[attr-defined]
    return Answer(str(text).strip(), len(said) + (stop is not None), stop is not None)
