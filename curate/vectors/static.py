"""Static encoders (model2vec): the vector of a text is the mean of its tokens' vectors. The only importer of model2vec.

They encode hundreds of times faster than a transformer, without a GPU, and are less exact: for millions of rows.
A static encoder is named by a model2vec folder or Hub id, or as ``static:NAME``; where NAME is an ordinary encoder, it is
distilled into a static one once, under ``cache/models`` (a minute on two cores for all-MiniLM-L6-v2).
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import models, progress
from curate.errors import MissingPackageError, ModelError
from curate.files import cache_folder, find_root, make_folder_once
from curate.vectors.encoders import unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PREFIX", "StaticEncoder", "is_static"]

PREFIX = "static:"

_BATCH = 1_024


def is_static(weights: models.Weights) -> bool:
    """Return whether weights on disk are those of a model2vec model."""
    try:
        return bool(json.loads((weights.path / "config.json").read_text(encoding="utf-8"))["model_type"] == "model2vec")
    except (OSError, ValueError, KeyError, TypeError):
        return False


class StaticEncoder:
    """A model2vec model as an `Encoder` (Tulkens and van Dongen 2024, https://github.com/MinishLab/model2vec).

    Texts are read whole, however long; one without any known token has a vector of zeros.

    Args:
        weights: of a model2vec model, or of an encoder to distil.
        root: the folder that holds ``cache/``, where distilled models are kept.

    Raises:
        MissingPackageError: model2vec is not installed, or what it needs to distil.
    """

    def __init__(self, weights: models.Weights, *, root: str | Path | None = None) -> None:
        self._weights, self._root, self._distil = weights, root, not is_static(weights)
        needed = ("model2vec", "skeletoken") if self._distil else ("model2vec",)
        missing = [name for name in needed if find_spec(name) is None]
        self.name = f"{PREFIX}{weights.label}"
        if missing:
            raise MissingPackageError(" ".join(missing), f"--encoder {self.name}")
        # a distilled model depends on the version that distils it: its vectors must not mix with those of another version
        self.fingerprint = f"{weights.fingerprint}-static" + (f"-{version('model2vec')}" if self._distil else "")

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._model.dim)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 per text, (n, d) float32."""
        import numpy as np

        if not texts:
            return np.empty((0, self.dim), np.float32)
        return unit(self._model.encode(list(texts), max_length=None, batch_size=_BATCH, use_multiprocessing=False))

    @functools.cached_property
    def _model(self) -> Any:
        from model2vec import StaticModel

        folder = self._distilled() if self._distil else self._weights.path
        try:
            model = StaticModel.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as e:
            raise ModelError(f"encoder {self.name!r} cannot be loaded: {str(e).strip().splitlines()[0]}") from e
        import numpy as np

        model.tokenizer.encode_special_tokens = True  # one in a text is a text
        model.embedding = model.embedding.astype(np.float32)  # half precision is slower here, and the mean is coarser
        return model

    def _distilled(self) -> Path:
        stem = re.sub(r"[^\w.-]+", "-", f"{self._weights.path.name}-{self._weights.fingerprint.partition(':')[2][:16]}")
        folder = cache_folder(find_root(self._root)) / "models" / f"{stem}-static-{version('model2vec')}"
        if not folder.is_dir():
            progress.note("embed", f"{self.name}: distilling it once, under cache/models (a minute or so)")
        make_folder_once(folder, self._make)
        return folder

    def _make(self, part: Path) -> None:
        from model2vec.distill import distill

        try:
            with models.quiet(), contextlib.redirect_stderr(io.StringIO()):  # its bar cannot be turned off
                distill(str(self._weights.path), device="cpu").save_pretrained(part)
        except (ValueError, KeyError, AttributeError, TypeError) as e:  # what other kinds of models and tokenizers raise
            raise ModelError(f"encoder {self.name!r} cannot be distilled: {str(e).strip().splitlines()[0]}") from e
