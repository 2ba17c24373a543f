"""Computes the mean loss of a student on each completion after its prompt, in batches; `baldistill.evaluation.score` uses it.

What makes it fast, on a processor and on CUDA alike, without changing the figures:

- Batches are filled by tokens and not by rows, the longest texts first, so that hardly anything is padded. Padding is on the
  right and needs no mask: under causal attention no token sees what comes after it.
- The head, which costs as much as half a small model, is applied to the positions of completions alone, and its losses are summed
  up in slices that stay in a processor's cache.
- Tokens with which every text begins (system prompt, chat header) are read once, where that saves time.
- Equal texts are read once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from baldistill.student import tokens
from baldistill.student.checkpoints import Journal, key_of
from baldistill.student.memory import Batches
from baldistill.student.pace import paced
from baldistill.student.students import Student
from baldistill.student.tokens import Tokens

__all__ = ["BATCH_TOKENS", "WHOLE", "cache_of", "halves", "mean_losses", "normalisers", "read_once", "shared_beginning", "spread"]

# Texts that share fewer tokens, or less than an eighth of their length, are read whole: a row that continues a cached beginning
# needs a mask, which costs about a tenth of the time on a processor.
MIN_SHARED, SHARE = 8, 8
WHOLE = {"cpu": 16, "cuda": 1}  # times as many with the shared beginning, of which every row keeps keys and values
BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}  # in one batch; more does not fit a processor's cache, and less leaves a GPU idle
_LOGITS = {"cpu": 1 << 24, "cuda": 1 << 28}  # logits held at once
_ROWS = 8  # positions whose losses a processor sums up at once: 8 × 49,152 logits are 1.5 MB


def mean_losses(
    student: Student,
    texts: Sequence[Tokens],
    *,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    step: str = "score",
) -> list[float | None]:
    """Return the mean loss per completion token of each text, in nats; None where there is no completion or no number.

    Args:
        student: as `baldistill.student.students.load` gives it.
        texts: prompts of at least one token, and the completions whose loss is computed.
        batch_tokens: tokens read side by side, padding included; a longer text is read alone. By default 1,024 on a processor
            and 32,768 on CUDA. Where memory is short they become fewer.
        journal: where losses are kept batch by batch, and looked up first.
        step: the name under which progress is reported.

    Raises:
        ModelError: a single text does not fit into memory.
    """
    journal = Journal() if journal is None else journal
    keys = [key_of(text.prompt, text.completion) for text in texts]
    filled = list({key: i for i, key in enumerate(keys) if texts[i].completion}.values())
    shared = shared_beginning([texts[i] for i in filled])
    kind = "cuda" if student.model.device.type == "cuda" else "cpu"
    budget = batch_tokens or BATCH_TOKENS[kind]
    lengths = [len(texts[i]) - shared for i in filled]
    reader: _Reader | None = None
    batches = Batches(step, "--batch-tokens", in_tokens=True)
    with paced(step, len(filled)) as pace:
        # Batches are made of all texts, cached or not, so that a resumed run reads the same batches as one that never stopped.
        for batch in tokens.fill(lengths, budget, shared=shared, whole=budget * WHOLE[kind]):
            missing = [filled[i] for i in batch if keys[filled[i]] not in journal]
            if missing:
                reader = reader or _Reader(student, texts[missing[0]].prompt[:shared])
                found = batches.work(reader.read, [texts[i] for i in missing], len)
                kept = {keys[i]: loss if math.isfinite(loss) else None for i, loss in zip(missing, found, strict=True)}
                journal.add(kept)
            pace.advance(len(batch), sum(len(texts[i]) for i in missing))
    return [journal[key] if text.completion else None for key, text in zip(keys, texts, strict=True)]


def shared_beginning(texts: Sequence[Tokens]) -> int:
    """Return how many tokens are read once for all texts: those with which every prompt begins; 0 where that saves no time.

    The last token of a prompt is never among them, since the first of the completion is predicted from it.
    """
    if len(texts) < 2:
        return 0
    first, last = min(text.prompt for text in texts), max(text.prompt for text in texts)
    most = min(min(len(text.prompt) for text in texts) - 1, len(first), len(last))
    same = next((i for i in range(most) if first[i] != last[i]), most)
    return same if same >= MIN_SHARED and same * SHARE * len(texts) >= sum(map(len, texts)) else 0


class _Reader:
    """A student that reads batches, with the shared beginning in its cache."""

    def __init__(self, student: Student, beginning: Sequence[int]) -> None:
        self.model, self.pad = student.model, student.tokenizer.pad_token_id
        self.body, self.head, self.vocabulary = halves(self.model)
        self.beginning = list(beginning)
        self.layers = read_once(self.body, self.beginning, self.model.device) if beginning else []
        if not self.layers:
            self.beginning = []

    def read(self, texts: Sequence[Tokens]) -> list[float]:
        """Return the mean loss of each text."""
        import torch

        sizes = [len(text.completion) for text in texts]
        wanted = torch.tensor([token for text in texts for token in text.completion], device=self.model.device)
        with torch.inference_mode():
            losses = torch.cat([_losses(logits, of) for logits, of in self._logits(texts, wanted)])
            return [float(part.mean()) for part in losses.cpu().split(sizes)]

    def _logits(self, texts: Sequence[Tokens], wanted: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the logits that predict completions, and the true tokens, a chunk of positions at a time."""
        import torch

        start = len(self.beginning)
        width = max(map(len, texts)) - start
        ids = torch.tensor([(text.prompt + text.completion)[start:] + [self.pad] * (width + start - len(text)) for text in texts])
        ends = [len(text) - start - 1 for text in texts]  # the logits of a position are of the token after it
        spans = [(row, end - len(text.completion), end) for row, (text, end) in enumerate(zip(texts, ends, strict=True))]
        options = {"past_key_values": spread(self.layers, len(texts)), "use_cache": True} if self.layers else {"use_cache": False}
        ids = ids.to(self.model.device)
        if self.head is None:  # the model applies it, from the first position that is needed
            first = min(a for _, a, _ in spans)
            keep = torch.arange(first, width, device=ids.device)
            made = self.model(input_ids=ids, logits_to_keep=keep, **options).logits
            found = torch.cat([made[row, a - first : b - first] for row, a, b in spans])
            yield found, wanted
            return
        hidden = self.body(input_ids=ids, **options).last_hidden_state
        hidden = torch.cat([hidden[row, a:b] for row, a, b in spans])
        kind = "cuda" if ids.device.type == "cuda" else "cpu"
        at_once = max(1, _LOGITS[kind] // self.vocabulary)
        for part, of in zip(hidden.split(at_once), wanted.split(at_once), strict=True):
            yield self.head(part), of


def spread(layers: Sequence[tuple[Any, Any]], rows: int) -> Any:
    """Return a cache in which every row has read a beginning; its tensors are shared until the model adds to them.

    Args:
        layers: keys and values of one row, as `read_once` returns them.
        rows: that go on from there.
    """
    from transformers import DynamicCache

    return DynamicCache(
        ddp_cache_data=[(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in layers]
    )


def _losses(logits: Any, wanted: Any) -> Any:
    """Return −log p of each wanted token, in fp32."""
    import torch

    if logits.device.type == "cuda":
        return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    return normalisers(logits) - logits.gather(1, wanted[:, None])[:, 0].float()


def normalisers(logits: Any) -> Any:
    """Return the logarithm of the sum of exponentials of each row, in fp32; on a processor in slices that stay in its cache."""
    import torch

    if logits.device.type == "cuda":
        return logits.float().logsumexp(-1)
    sums = []
    for part in logits.split(_ROWS):
        raised = part.to(torch.float32, copy=True)
        most = raised.amax(-1, keepdim=True)
        sums.append(raised.sub_(most).exp_().sum(-1).log_() + most[:, 0])
    return torch.cat(sums)


def halves(model: Any) -> tuple[Any, Callable[[Any], Any] | None, int]:
    """Return a model's body, its head, which makes logits of the body's last states (positions, width), and how many logits.

    The head is a plain product where both ways agree to the bit on a few tokens. Some models scale or cap their logits after it;
    then the model itself applies it, to states in the place of its own, if that agrees, and else there is no head.
    """
    import torch

    body, head = model.base_model, model.get_output_embeddings()
    probe = torch.arange(1, 5, device=model.device)[None] % model.config.get_text_config().vocab_size
    ways = [head] if isinstance(head, torch.nn.Linear) else []
    with torch.inference_mode():
        whole = model(input_ids=probe, use_cache=False).logits[0]
        states = body(input_ids=probe, use_cache=False).last_hidden_state[0]
        agree = (way for way in [*ways, partial(_through, model, body)] if torch.equal(way(states), whole))
        return body, next(agree, None), int(whole.shape[-1])


def _through(model: Any, body: Any, states: Any) -> Any:
    """Return what a model makes of last states (positions, width) in the place of those that its body computes."""

    def replace(_module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = states[None]
        return output

    hook = body.register_forward_hook(replace)
    try:
        return model(input_ids=states.new_zeros((1, 1), dtype=int), use_cache=False).logits[0]
    finally:
        hook.remove()


def read_once(body: Any, beginning: list[int], device: Any) -> list[tuple[Any, Any]]:
    """Return each layer's keys and values of the beginning; none where a layer keeps anything else (a window, a state)."""
    from transformers.cache_utils import DynamicLayer

    layers = cache_of(body, beginning, device)
    plain = all(type(layer) is DynamicLayer for layer in layers)
    return [(layer.keys, layer.values) for layer in layers] if plain else []


def cache_of(body: Any, read: list[int], device: Any) -> list[Any]:
    """Return the layers of the cache that a model makes of some tokens; none where it keeps them otherwise."""
    import torch

    with torch.inference_mode():
        memory = getattr(body(input_ids=torch.tensor([read], device=device), use_cache=True), "past_key_values", None)
    return list(getattr(memory, "layers", []))
