"""Encoders turn texts into vectors: the `Encoder` protocol, sentence-transformers models behind it, `FakeEncoder` for tests.

Stores no vector and knows no manifest. A batch holds texts of like length, as many as a budget of tokens allows, the longest
first: there is little padding, and memory peaks in the first batch. The transformer may run at a lower precision; pooling
and whatever follows it run in fp32, by the model's own modules. bf16 under torch is autocast: matrix products are bf16, sums
from layer to layer stay fp32, which keeps more of the neighbours than bf16 throughout (top-10 overlap 0.995 against 0.992).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from curate import models
from curate.errors import ModelError
from curate.files import cache_folder, find_root
from curate.vectors import backends

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Encoder", "FakeEncoder", "SentenceEncoder", "unit"]

_BATCH_TOKENS = 2_048  # on a processor; more leaves its caches
_BATCH_TOKENS_CUDA = 65_536
_TEXT = "text"


class Encoder(Protocol):
    """Anything that turns texts into unit vectors.

    Attributes:
        name: for records and logs; never a local path.
        fingerprint: differs whenever the vectors of a text would, or their length.
    """

    name: str
    fingerprint: str

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 per text, (n, d) float32, in the order of the texts."""
        ...


class SentenceEncoder:
    """A sentence-transformers model as an `Encoder`.

    The model is loaded when the first text is encoded: where every vector is cached, nothing heavy is imported. Texts longer
    than the model's limit (256 tokens for the default) are truncated, as in its training. A CUDA device is used where
    torch has one.

    Args:
        weights: of the model.
        precision: ``fp32``, ``bf16`` or ``int8``, as the backend has it.
        backend: ``torch``, ``onnx`` or ``openvino``.
        prefix: put before every text; None is the model's own default prompt, which most models do not have.
        root: the folder that holds ``cache/``, where exported models are kept.

    Attributes:
        cut: texts truncated at the model's limit so far.
        limit: in tokens; None where the model is not loaded or has none.

    Raises:
        InputError: the backend does not have the precision.
        MissingPackageError: the backend is not installed.
    """

    def __init__(
        self,
        weights: models.Weights,
        *,
        precision: str = "fp32",
        backend: str = "torch",
        prefix: str | None = None,
        root: str | Path | None = None,
    ) -> None:
        backends.check(backend, precision)
        self.name, self.precision, self.backend = weights.label, precision, backend
        self.prefix = _own_prompt(weights.path) if prefix is None else prefix
        named = "" if backend == "torch" else f"-{backend}"
        prefixed = f"-prefix-{_short_hash(self.prefix)}" if self.prefix else ""
        self.fingerprint = f"{weights.fingerprint}{named}-{precision}{prefixed}"
        self.cut, self.limit = 0, None
        self._weights, self._root = weights, root

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._model.get_embedding_dimension())

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 per text, (n, d) float32."""
        import numpy as np
        import torch

        if not texts:
            return np.empty((0, self.dim), np.float32)
        half = self.precision == "bf16" and self.backend == "torch"
        # one autocast around all batches, since it caches the weights that it has cast
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            if not self._plain:
                found = self._model.encode(
                    list(texts), prompt=self.prefix or None, convert_to_tensor=True, show_progress_bar=False
                )
                return unit(found.float().cpu().numpy())
            parts = [(rows, self._pooled(features)) for rows, features in self._batches(texts)]
        out = np.zeros((len(texts), self.dim), np.float32)
        for rows, vectors in parts:  # after the loop, which would wait for a CUDA device at every batch
            out[rows] = vectors.cpu().numpy()
        return unit(out)

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], dict[str, NDArray[np.int64]]]]:
        """Tokenize once; yield rows and their padded features, the longest texts first."""
        import numpy as np

        tokenizer = self._model[0].tokenizer
        # Special tokens in a text are text: they would end it, or mask a part of it.
        tokens = tokenizer([self.prefix + text for text in texts], truncation="longest_first", split_special_tokens=True)
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        full = (lengths >= (self.limit or np.inf)).nonzero()[0]
        self.cut += sum(bool(tokens.encodings[row].overflowing) for row in full)
        order = np.argsort(-lengths, kind="stable")
        order = order[: int((lengths > 0).sum())]  # a text without any token keeps a vector of zeros
        budget = _BATCH_TOKENS_CUDA if self._device.type == "cuda" else _BATCH_TOKENS
        while len(order):
            width = int(lengths[order[0]])
            rows, order = np.split(order, [max(1, budget // width)])
            yield rows, {name: _padded([tokens[name][row] for row in rows], width, tokenizer, name) for name in tokens}

    def _pooled(self, features: dict[str, NDArray[np.int64]]) -> Any:
        """Return the vectors of one batch, (n, d) fp32 on the model's device."""
        import torch

        first, *rest = self._model.children()
        given: dict[str, Any] = {name: torch.from_numpy(ids).to(self._device) for name, ids in features.items()}
        given |= {"modality": _TEXT, "prompt_length": self._prompt_length}
        if self._run is None:
            given = first(given)
        else:
            given["token_embeddings"] = torch.from_numpy(self._run(features))
        given["token_embeddings"] = given["token_embeddings"].float()
        with torch.autocast(self._device.type, enabled=False):
            for module in rest:
                given = module(given)
        return given["sentence_embedding"].float()

    @functools.cached_property
    def _device(self) -> Any:
        return self._model.device

    @functools.cached_property
    def _prompt_length(self) -> int:
        """Tokens of the prefix, which some models leave out when they pool."""
        found = self._model[0].preprocess(["x"], prompt=self.prefix or None).get("prompt_length")
        return int(found or 0)

    @functools.cached_property
    def _plain(self) -> bool:
        """Whether the model is a transformer for texts that returns token vectors; others encode in their own way."""
        first = self._model[0]
        if type(first).__name__ != "Transformer" or first.module_output_name != "token_embeddings" or first.processing_kwargs:
            return False
        return "message" not in first.modality_config and _TEXT in first.modality_config

    @functools.cached_property
    def _run(self) -> backends.Run | None:
        """The backend that replaces the torch transformer, whose weights are dropped."""
        if self.backend == "torch":
            return None
        if not self._plain:
            raise ModelError(f"encoder {self.name!r} is no plain transformer for texts; use --backend torch")
        stem = re.sub(r"[^\w.-]+", "-", f"{self._weights.path.name}-{self._weights.fingerprint.partition(':')[2][:16]}")
        folder = cache_folder(find_root(self._root)) / "models" / stem
        run = backends.start(self.backend, self.precision, self._model[0], folder=folder, label=self.name)
        self._device  # noqa: B018 - cached before the model's weights go
        self._model[0].model.to("meta")
        return run

    @functools.cached_property
    def _model(self) -> Any:
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer

        # weights that were published in half precision need no more memory than that for bf16
        dtype = "auto" if self.precision == "bf16" and self.backend == "torch" else torch.float32
        device = None if self.backend == "torch" else "cpu"
        try:
            with models.quiet():
                options = {"dtype": dtype, "use_safetensors": True}
                model = SentenceTransformer(str(self._weights.path), model_kwargs=options, device=device)
        except (OSError, ValueError, KeyError, SafetensorError) as e:
            raise ModelError(f"encoder {self.name!r} cannot be loaded: {str(e).strip().splitlines()[0]}") from e
        model.default_prompt_name = None  # `encode` adds the prefix itself
        self.limit = model.max_seq_length
        if next(model.parameters()).dtype == torch.float16:
            model.to(torch.bfloat16)
        return model.eval()


class FakeEncoder:
    """A public encoder for tests: hashed character trigrams, so that similar texts are near. Needs no weights.

    Args:
        dim: length of a vector.

    Attributes:
        encoded: how many texts it was asked to encode so far.
    """

    def __init__(self, dim: int = 64) -> None:
        self.name, self.dim, self.encoded = "fake", dim, 0
        self.fingerprint = f"fake-{dim}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 per text, (n, d) float32."""
        import numpy as np
        import xxhash

        found = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            padded = f" {text.casefold()} "
            for start in range(len(padded) - 1):
                hashed = xxhash.xxh3_64_intdigest(padded[start : start + 3].encode())
                found[row, (hashed >> 1) % self.dim] += 1 if hashed & 1 else -1
        self.encoded += len(texts)
        return unit(found)


def unit(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows, (n, d) float32, to length 1; a row of zeros stays one."""
    import numpy as np

    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


def _own_prompt(folder: Path) -> str:
    """Return the prompt that the model puts before every text by default, or an empty string."""
    try:
        settings = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str((settings.get("prompts") or {}).get(settings.get("default_prompt_name"), ""))


def _short_hash(text: str) -> str:
    import xxhash

    return str(xxhash.xxh3_64_hexdigest(text.encode()))


def _padded(ids: list[list[int]], width: int, tokenizer: Any, name: str) -> NDArray[np.int64]:
    """Return token ids as a matrix (n, width), padded on the tokenizer's side."""
    import numpy as np

    fill = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}.get(name, 0)
    out = np.full((len(ids), width), fill, np.int64)
    for row, one in enumerate(ids):
        if tokenizer.padding_side == "left":
            out[row, width - len(one) :] = one
        else:
            out[row, : len(one)] = one
    return out
