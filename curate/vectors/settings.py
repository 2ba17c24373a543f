"""Declares the options of `embed` and `cluster`, and of any verb that names an encoder, each once. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate.defaults import DEFAULT_ENCODER
from curate.settings import option

__all__ = ["ClusterSettings", "EmbedSettings", "EncoderOptions", "SameEncoderOptions"]

PRECISIONS, BACKENDS = ("fp32", "bf16", "int8", "auto"), ("torch", "onnx", "openvino", "auto")
_BY_NAME = "Only for an encoder given by name."


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Which encoder makes the vectors, and how it is run; see `curate.vectors.embed.load_encoder`."""

    encoder: str | Any = option(
        DEFAULT_ENCODER,
        metavar="MODEL",
        help="Embedding model: a path, a Hub id, package:NAME or static:NAME.",
        more="Or an `Encoder`.",
    )
    precision: str = option("fp32", choices=PRECISIONS, help="Precision of the embedding model.", more=_BY_NAME)
    backend: str = option("torch", choices=BACKENDS, help="Runtime of the embedding model.", more=_BY_NAME)
    prefix: str | None = option(
        None, help="Text put before every prompt, such as 'query: '; default: the model's own.", more=_BY_NAME
    )


@dataclass(frozen=True, kw_only=True)
class SameEncoderOptions:
    """The same options for a verb that comes after `cluster`: what is not given is as it was there."""

    encoder: str | Any | None = option(
        None, metavar="MODEL", help="Embedding model; default: the one used by cluster.", more="Or an `Encoder`."
    )
    precision: str | None = option(
        None, choices=PRECISIONS, help="Precision of the embedding model; default: as in cluster.", more=_BY_NAME
    )
    backend: str | None = option(
        None, choices=BACKENDS, help="Runtime of the embedding model; default: as in cluster.", more=_BY_NAME
    )
    prefix: str | None = option(
        None, help="Text put before every prompt, such as 'query: '; default: as in cluster.", more=_BY_NAME
    )


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(EncoderOptions):
    """The options of `curate.vectors.embed.embed`."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings(EncoderOptions):
    """The options of `curate.vectors.cluster.cluster`."""

    n_clusters: int | None = option(
        None, help="Clusters per domain; default: the square root of half its rows.", more="At most the rows of the domain."
    )
    domains: int | None = option(
        None, help="Number of domains to make of rows without one.", more="By `default_domains` unless given."
    )
    seed: int = option(0, help="Seed of k-means.")
