"""Runs an encoder's transformer by torch, ONNX Runtime or OpenVINO, at a precision. The only importer of the latter two and of
what they need. Token ids go in, token vectors come out; tokenizing and pooling are the encoder's.

For ONNX Runtime and OpenVINO the transformer is exported once, under ``cache/models``. int8 is made there without calibration
texts, so that a model is the same for everybody: OpenVINO compresses the weights (8 bits, per channel) and quantises
activations as they come; ONNX Runtime does both for matrix products (dynamic quantization, per channel).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import models, progress
from curate.errors import InputError, MissingPackageError, ModelError, UnknownNameError
from curate.files import make_folder_once

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AUTO", "BACKENDS", "PRECISIONS", "Run", "check", "installed", "start"]

AUTO = "auto"
PRECISIONS = ("fp32", "bf16", "int8")

# Precisions of each backend on a processor, and the packages that it needs.
BACKENDS = {"torch": ("fp32", "bf16"), "onnx": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}
_PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
}
_INT8_PACKAGES = {"openvino": ("nncf",)}
_RECIPE = "1"  # of the export; raise it and models are exported again

Run = Callable[[Mapping[str, "NDArray[np.int64]"]], "NDArray[np.float32]"]  # features (n, t) → token vectors (n, t, d)


def check(backend: str, precision: str) -> None:
    """Refuse names that are unknown, pairs that do not go together, and packages that are missing.

    Args:
        backend: one of `BACKENDS`, or ``auto``.
        precision: one of `PRECISIONS`, or ``auto``.

    Raises:
        InputError: an unknown name, or a precision that the backend does not have.
        MissingPackageError: the backend's packages are not installed.
    """
    if backend not in (*BACKENDS, AUTO):
        raise UnknownNameError("backend", backend, (*BACKENDS, AUTO))
    if precision not in (*PRECISIONS, AUTO):
        raise UnknownNameError("precision", precision, (*PRECISIONS, AUTO))
    if backend == AUTO:
        return
    if precision != AUTO and precision not in BACKENDS[backend]:
        others = " or ".join(f"--backend {name}" for name, offers in BACKENDS.items() if precision in offers)
        offered = ", ".join(BACKENDS[backend])
        raise InputError(f"--backend {backend} has no --precision {precision}, only {offered}; take {others}")
    missing = _missing(backend, precision)
    if missing:
        option = f"--backend {backend}" + (f" --precision {precision}" if precision == "int8" else "")
        raise MissingPackageError(" ".join(missing), option)


def installed() -> list[tuple[str, str]]:
    """Return every (backend, precision) that can run here, torch first; on CUDA that is torch alone."""
    if models.has_cuda():
        return [("torch", precision) for precision in BACKENDS["torch"]]
    pairs = [(backend, precision) for backend, offers in BACKENDS.items() for precision in offers]
    return [(backend, precision) for backend, precision in pairs if not _missing(backend, precision)]


def start(backend: str, precision: str, module: Any, *, folder: Path, label: str) -> Run:
    """Export a transformer unless that is done, and return the function that runs it; its torch weights may be dropped then.

    Args:
        backend: ``onnx`` or ``openvino``.
        precision: that the backend has.
        module: the ``Transformer`` of sentence-transformers, in fp32 on the processor.
        folder: for the exported model, named after the weights; backend and precision are added to the name.
        label: of the encoder, for errors and notes.

    Returns:
        features by name (input_ids, attention_mask …), each (n, t) int64, → token vectors (n, t, d) float32.

    Raises:
        ModelError: this transformer cannot be exported.
    """
    params = module.modality_config["text"]
    if params["method"] != "forward" or params["method_output_name"] not in ("last_hidden_state", ("last_hidden_state",)):
        raise ModelError(f"encoder {label!r} gives no token vectors that can be exported; use --backend torch")
    folder = folder.with_name(f"{folder.name}-{backend}{_RECIPE}-{'int8' if precision == 'int8' else 'fp32'}")
    names = [name for name in module.tokenizer.model_input_names if name in ("input_ids", "attention_mask", "token_type_ids")]
    export, run = (_export_onnx, _run_onnx) if backend == "onnx" else (_export_openvino, _run_openvino)
    if not folder.is_dir():
        progress.note("embed", f"{label}: exporting it for {backend} once, under cache/models")
    with _silence():
        make_folder_once(folder, lambda part: _guard(label, export, module.model, names, precision == "int8", part))
        return run(folder, names, precision)


def _guard(label: str, export: Callable[..., None], model: Any, names: list[str], int8: bool, part: Path) -> None:
    try:
        export(_traceable(model, names), names, int8, part)
    except (RuntimeError, ValueError, TypeError) as e:  # what tracing raises where a model cannot be traced
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise ModelError(f"encoder {label!r} cannot be exported ({reason}); use --backend torch") from e


def _missing(backend: str, precision: str) -> list[str]:
    needed = _PACKAGES[backend] + (_INT8_PACKAGES.get(backend, ()) if precision == "int8" else ())
    return [name for name in needed if find_spec(name) is None]


def _traceable(model: Any, names: list[str]) -> Any:
    """Return a torch module that takes the features in order and gives the token vectors alone."""
    import torch

    class Tokens(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, *features: Any) -> Any:
            return self.model(**dict(zip(names, features, strict=True))).last_hidden_state

    return Tokens()


def _example(names: list[str]) -> tuple[Any, ...]:
    import torch

    return tuple(torch.zeros(2, 8, dtype=torch.long) if name == "token_type_ids" else torch.ones(2, 8).long() for name in names)


def _export_openvino(model: Any, names: list[str], int8: bool, part: Path) -> None:
    import openvino
    import torch

    with torch.no_grad():
        exported = openvino.convert_model(model, example_input=_example(names))
    if int8:
        import nncf

        exported = nncf.compress_weights(exported, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(exported, part / "model.xml", compress_to_fp16=False)


def _run_openvino(folder: Path, names: list[str], precision: str) -> Run:
    import openvino

    hint = "f32" if precision == "fp32" else "bf16"  # int8 weights meet bf16 where a layer has no int8 form
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": _threads()}
    if precision == "int8":
        options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "32"
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", options)
    return lambda features: compiled([features[name] for name in names])[0].copy()


def _export_onnx(model: Any, names: list[str], int8: bool, part: Path) -> None:
    import torch

    file = part / ("whole.onnx" if int8 else "model.onnx")
    shape = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        model,
        _example(names),
        file,
        input_names=names,
        output_names=["tokens"],
        dynamic_shapes=((shape,) * len(names),),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        options = {"weight_type": QuantType.QInt8, "per_channel": True, "op_types_to_quantize": ["MatMul"]}
        quantize_dynamic(file, part / "model.onnx", **options)
        file.unlink()


def _run_onnx(folder: Path, names: list[str], precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda features: session.run(None, {name: features[name] for name in names})[0]


def _threads() -> int:
    """Return torch's number of threads, which OMP_NUM_THREADS sets; all backends use as many."""
    import torch

    return int(torch.get_num_threads())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence what exporters print and warn about: progress is reported by `curate.progress` alone."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(before)
