"""The models that are used unless another is named, and the precisions of a student. Imports nothing: help stays quick."""

from __future__ import annotations

__all__ = ["DEFAULT_ENCODER", "DEFAULT_STUDENT", "DTYPES"]

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_STUDENT = "HuggingFaceTB/SmolLM2-135M-Instruct"
DTYPES = ("auto", "fp32", "bf16")
