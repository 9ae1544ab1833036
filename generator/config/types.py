"""What a `config.pbtxt` is rendered from."""

from __future__ import annotations

from dataclasses import dataclass, field

from generator.graph.types import REWRITES
from generator.types import Precision, Preprocessing, Signature, Weights


@dataclass(frozen=True)
class Described:
    """A model as its configs describe it; `preprocessing` is of networks that take one image.

    `digest` is of the files that are the graph.
    """

    name: str
    signature: Signature
    weights: Weights
    preprocessing: Preprocessing | None
    labelled: bool
    digest: str


@dataclass(frozen=True)
class ServingOptions:
    """How a model is served: what a user may say of its configs; every default is here.

    `profile` is the smallest, the best and the largest batch of TensorRT's engine. Where no level is given TensorRT
    takes its own. `accelerator` are further parameters of the `tensorrt` accelerator.
    """

    max_batch_size: int = 8
    preferred_batch_sizes: tuple[int, ...] = (4, 8)
    max_queue_delay_us: int = 100
    instance_count: int = 1
    workspace_mib: int = 1024  # the TensorRT provider's own default, written out
    profile: tuple[int, int, int] = (1, 8, 8)
    builder_optimization_level: int | None = None
    response_cache: bool = False
    warmup: bool = True
    accelerator: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ConfigTensor:
    """An input or output block of a config; `reshape` is what the graph takes where that is not `dims`."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None
    label_filename: str | None = None


@dataclass(frozen=True)
class DynamicBatching:
    """The block of that name."""

    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_us: int


@dataclass(frozen=True)
class ModelConfig:
    """Everything `config.pbtxt.j2` writes; `accelerator` and `parameters` are keys with their values."""

    name: str
    max_batch_size: int
    inputs: tuple[ConfigTensor, ...]
    outputs: tuple[ConfigTensor, ...]
    instance_count: int
    dynamic_batching: DynamicBatching | None
    response_cache: bool
    accelerator: tuple[tuple[str, str], ...]
    warmup_batch_sizes: tuple[int, ...]
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BuildOptions:
    """What a user may say of a model's build."""

    precision: Precision = "fp16"
    gpus: tuple[str, ...] = ("v100", "t4")
    tolerance: float = 1e-4
    rewrites: tuple[str, ...] = REWRITES
    serving: ServingOptions = field(default_factory=ServingOptions)
