"""Computes log P(label | prompt) for every label of a closed set, after many prompts; `baldistill.evaluation.closed` uses it.

A label's score is the sum of log p of its tokens after the prompt, up to and with the token that ends the answer. That is the
probability with which the student, sampling freely, would write this label and nothing else; scores of labels of unlike
length therefore compare as they are.

A prompt is read once. The labels share what they begin with (a tree of tokens), and the tree is read in one further pass over the
cached prompt, under a mask in which a token sees the prompt and what stands above it. The head is applied to the places alone
from which a token is predicted. Where a model's attention does not take such a mask (states in the place of attention, windows
shorter than the prompt), a trial finds it, and every label is read after its prompt by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.student import losses, tokens
from baldistill.student.checkpoints import Journal, key_of
from baldistill.student.memory import Batches
from baldistill.student.pace import paced
from baldistill.student.students import Student
from baldistill.student.tokens import Tokens
from curate import progress

__all__ = ["label_scores"]

_NODES = 512  # of a tree; more labels are read in several trees
_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 28}  # logits held at once
_TRIAL, _AGREE = 3, {"fp32": 1e-2, "bf16": 1.0}  # labels that are read in both ways, and nats by which the ways may differ
_DIGITS = 6  # decimals of a score that is kept


def label_scores(
    student: Student,
    prompts: Sequence[Sequence[int]],
    labels: Sequence[Sequence[int]],
    *,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    step: str = "labels",
) -> list[list[float]]:
    """Return log P(label | prompt), in nats: for each prompt a list in the order of the labels.

    Args:
        student: as `baldistill.student.students.load` gives it.
        prompts: token ids of at least one token, each ending where a label would begin.
        labels: token ids of each label, at least one, with the token that ends the answer.
        batch_tokens: tokens read side by side, of prompts and labels, padding included. By default 1,024 on a processor and
            32,768 on CUDA. Where memory is short they become fewer.
        journal: where scores are kept batch by batch, and looked up first.
        step: the name under which progress is reported.

    Raises:
        ModelError: a single prompt with its labels does not fit into memory.
    """
    journal = Journal() if journal is None else journal
    whole = [key_of(*labels)]
    named = [byte for key in whole for byte in key.encode()]
    keys = [key_of(prompt, named, [], []) for prompt in prompts]  # four parts: no loss and no output has this key
    distinct = list({key: i for i, key in enumerate(keys)}.values())
    shared = losses.shared_beginning([Tokens(list(prompts[i]), []) for i in distinct])
    trees = _trees(labels)
    width, nodes = max(len(tree.tokens) for tree in trees), sum(len(tree.tokens) for tree in trees)
    kind = "cuda" if student.model.device.type == "cuda" else "cpu"
    budget = batch_tokens or losses.BATCH_TOKENS[kind]
    lengths = [len(prompts[i]) - shared + width for i in distinct]
    reader: _Reader | None = None
    batches = Batches(step, "--batch-tokens", in_tokens=True)
    with paced(step, len(prompts)) as pace:
        for batch in tokens.fill(lengths, budget, shared=shared, whole=budget * losses.WHOLE[kind]):
            missing = [distinct[i] for i in batch if keys[distinct[i]] not in journal]
            if missing:
                reader = reader or _Reader(student, prompts[missing[0]], shared, labels, trees, step)
                found = batches.work(reader.read, [prompts[i] for i in missing], lambda prompt: len(prompt) + width)
                journal.add({keys[i]: [round(x, _DIGITS) for x in one] for i, one in zip(missing, found, strict=True)})
            pace.advance(len(batch), sum(len(prompts[i]) + nodes for i in missing))
        pace.advance(len(prompts) - len(distinct))
    return [list(journal[key]) for key in keys]


@dataclass(frozen=True)
class _Tree:
    """Labels as a tree of tokens; node 0 is the end of the prompt, the others are the tokens after which a label goes on.

    Attributes:
        labels: positions of the labels in it.
        tokens: of the nodes but the first.
        depths: of these, from 1.
        above: for each of these the nodes that it sees among them, itself included.
        after: for each node, the first one included, the tokens that come next in some label.
        paths: for each label the places of its tokens: (node, position in `after` of it).
    """

    labels: list[int]
    tokens: list[int]
    depths: list[int]
    above: list[list[int]]
    after: list[list[int]]
    paths: list[list[tuple[int, int]]]

    @classmethod
    def of(cls, which: Sequence[int], labels: Sequence[Sequence[int]]) -> _Tree:
        nodes: dict[tuple[int, ...], int] = {(): 0}
        for i in which:
            for end in range(1, len(labels[i])):
                nodes.setdefault(tuple(labels[i][:end]), len(nodes))
        after: list[list[int]] = [[] for _ in nodes]
        paths = []
        for i in which:
            path = []
            for end, token in enumerate(labels[i]):
                node = nodes[tuple(labels[i][:end])]
                if token not in after[node]:
                    after[node].append(token)
                path.append((node, after[node].index(token)))
            paths.append(path)
        above = [[nodes[begin[:n]] - 1 for n in range(1, len(begin) + 1)] for begin in nodes if begin]
        found = [begin for begin in nodes if begin]
        return cls(list(which), [begin[-1] for begin in found], [len(begin) for begin in found], above, after, paths)


def _trees(labels: Sequence[Sequence[int]]) -> list[_Tree]:
    """Return trees of at most about `_NODES` nodes; labels that begin alike are in one as far as that goes."""
    groups: list[list[int]] = [[]]
    seen: set[tuple[int, ...]] = set()
    for i in sorted(range(len(labels)), key=lambda i: list(labels[i])):
        begins = {tuple(labels[i][:n]) for n in range(1, len(labels[i]))}
        if groups[-1] and len(seen | begins) > _NODES:
            groups.append([])
            seen = set()
        seen |= begins
        groups[-1].append(i)
    return [_Tree.of(group, labels) for group in groups]


class _Reader:
    """A student that scores labels after batches of prompts."""

    def __init__(
        self,
        student: Student,
        longest: Sequence[int],
        shared: int,
        labels: Sequence[Sequence[int]],
        trees: Sequence[_Tree],
        step: str,
    ) -> None:
        self.student, self.model, self.pad = student, student.model, student.tokenizer.pad_token_id
        self.labels, self.trees, self.step = labels, trees, step
        self.body, self.head, self.vocabulary = losses.halves(self.model)
        self.beginning = list(longest[:shared])
        self.layers = losses.read_once(self.body, self.beginning, self.model.device) if shared else []
        if not self.layers:
            self.beginning = []
        self.by_tree = self.head is not None and self._takes_trees(longest)
        if not self.by_tree:
            progress.note(step, "the student's attention takes no tree of labels: every label is read by itself, which is slower")

    def read(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the scores of all labels after each prompt."""
        if self.by_tree:
            return self._read_trees(prompts, self.trees)
        return [self._read_apart(prompt, range(len(self.labels))) for prompt in prompts]

    def _takes_trees(self, prompt: Sequence[int]) -> bool:
        """Return whether the scores of a few labels by a tree are those that they have by themselves."""
        from transformers.cache_utils import DynamicLayer

        found = losses.cache_of(self.body, list(prompt[:1]), self.model.device)
        if not found or not all(isinstance(layer, DynamicLayer) for layer in found):
            return False
        some = sorted(range(len(self.labels)), key=lambda i: -len(self.labels[i]))[:_TRIAL]
        together = self._read_trees([prompt], [_Tree.of(some, self.labels)])[0]
        apart = self._read_apart(prompt, some)
        most = _AGREE[self.student.dtype]
        return all(abs(together[i] - score) <= most for i, score in zip(some, apart, strict=True))

    def _read_apart(self, prompt: Sequence[int], which: Sequence[int]) -> list[float]:
        texts = [Tokens(list(prompt), list(self.labels[i])) for i in which]
        read = losses.mean_losses(self.student, texts, step=f"{self.step} of one prompt")
        return [-loss * len(text.completion) for loss, text in zip(_all(read), texts, strict=True)]

    def _read_trees(self, prompts: Sequence[Sequence[int]], trees: Sequence[_Tree]) -> list[list[float]]:
        import torch

        start, device = len(self.beginning), self.model.device
        lengths = torch.tensor([len(prompt) - start for prompt in prompts], device=device)
        width = int(lengths.max())
        ids = torch.tensor(
            [list(prompt[start:]) + [self.pad] * (width + start - len(prompt)) for prompt in prompts], device=device
        )
        scores = [[0.0] * len(self.labels) for _ in prompts]
        with torch.inference_mode():
            # Padding is on the right: no token of a prompt sees it, and the mask of the tree leaves it out.
            memory = losses.spread(self.layers, len(prompts))
            hidden = self.body(input_ids=ids, past_key_values=memory, use_cache=True).last_hidden_state
            ends = hidden[torch.arange(len(prompts), device=device), lengths - 1][:, None]
            read = [(layer.keys, layer.values) for layer in memory.layers] if len(trees) > 1 else []
            for tree in trees:
                memory = losses.spread(read, len(prompts)) if read else memory
                states = torch.cat([ends, self._read_nodes(tree, memory, lengths, start + width, start)], dim=1)
                for row, found in zip(scores, self._sums(tree, states).tolist(), strict=True):
                    for i, score in zip(tree.labels, found, strict=True):
                        row[i] = score
        return scores

    def _read_nodes(self, tree: _Tree, memory: Any, lengths: Any, width: int, start: int) -> Any:
        """Return the last states of a tree's nodes (prompts, nodes, dimensions) after each prompt."""
        import torch

        n, m, device = len(lengths), len(tree.tokens), lengths.device
        if not m:
            return torch.empty((n, 0, self.model.config.get_text_config().hidden_size), dtype=self.model.dtype, device=device)
        sees = torch.zeros((n, m, width + m), dtype=torch.bool, device=device)
        sees[:, :, :width] = (torch.arange(width, device=device) < (lengths + start)[:, None])[:, None]
        among = torch.zeros((m, m), dtype=torch.bool)
        for node, above in enumerate(tree.above):
            among[node, above] = True
        sees[:, :, width:] = among.to(device)
        mask = torch.zeros(sees.shape, dtype=self.model.dtype, device=device)
        mask.masked_fill_(~sees, torch.finfo(self.model.dtype).min)
        positions = (lengths + start - 1)[:, None] + torch.tensor(tree.depths, device=device)
        nodes = torch.tensor(tree.tokens, device=device).expand(n, m)
        options = {"attention_mask": mask[:, None], "position_ids": positions, "past_key_values": memory, "use_cache": True}
        return self.body(input_ids=nodes, **options).last_hidden_state

    def _sums(self, tree: _Tree, states: Any) -> Any:
        """Return the scores of a tree's labels (prompts, labels), from the states of its nodes (prompts, nodes, dimensions)."""
        import torch

        assert self.head is not None
        (n, nodes, _), device = states.shape, states.device
        widest = max(map(len, tree.after))
        after = torch.tensor([found + [0] * (widest - len(found)) for found in tree.after], device=device).repeat(n, 1)
        made = []
        at_once = max(1, _LOGITS["cuda" if device.type == "cuda" else "cpu"] // self.vocabulary)
        for part, wanted in zip(states.flatten(0, 1).split(at_once), after.split(at_once), strict=True):
            logits = self.head(part)
            made.append(logits.gather(1, wanted).float() - losses.normalisers(logits)[:, None])
        steps = torch.cat(made).reshape(n, nodes * widest).double()  # log p of every step down the tree
        longest = max(map(len, tree.paths))
        nothing = nodes * widest  # the place of a 0
        places = [[node * widest + at for node, at in path] + [nothing] * (longest - len(path)) for path in tree.paths]
        steps = torch.cat([steps, steps.new_zeros((n, 1))], dim=1)
        return steps[:, torch.tensor(places, device=device)].sum(-1)


def _all(read: Sequence[float | None]) -> list[float]:
    """Return losses, of which one that is no number is the worst there is."""
    return [float("inf") if loss is None else loss for loss in read]
