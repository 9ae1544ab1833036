"""Options of a build, and the values that a `config.pbtxt` is rendered from."""

from dataclasses import dataclass, field

from generator.graph.types import REWRITES
from generator.types import Precision, Preprocessing, Signature, Weights


@dataclass(frozen=True)
class Described:
    """A model as its configs describe it; `digest` is that of the graph's files."""

    name: str
    signature: Signature
    weights: Weights
    preprocessing: Preprocessing | None
    labelled: bool
    digest: str


@dataclass(frozen=True)
class ServingOptions:
    """Serving options of a model, with their defaults.

    `profile` holds the smallest, the optimal and the largest batch size of TensorRT's engine. Without a
    `builder_optimization_level` TensorRT uses its default. `accelerator` holds further `tensorrt` parameters.
    """

    max_batch_size: int = 8
    preferred_batch_sizes: tuple[int, ...] = (4, 8)
    max_queue_delay_us: int = 100
    instance_count: int = 1
    workspace_mib: int = 1024  # the default of the TensorRT provider
    profile: tuple[int, int, int] = (1, 8, 8)
    builder_optimization_level: int | None = None
    response_cache: bool = False
    warmup: bool = True
    accelerator: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ConfigTensor:
    """An input or output block of a config; `reshape` is the shape in the graph, if it differs from `dims`."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None
    label_filename: str | None = None


@dataclass(frozen=True)
class DynamicBatching:
    """The `dynamic_batching` block of a config."""

    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_us: int


@dataclass(frozen=True)
class ModelConfig:
    """The values in `config.pbtxt.j2`; `accelerator` and `parameters` are pairs of key and value."""

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
    """Options of a build that apply to one model."""

    precision: Precision = "fp16"
    gpus: tuple[str, ...] = ("v100", "t4")
    tolerance: float = 1e-4
    rewrites: tuple[str, ...] = REWRITES
    serving: ServingOptions = field(default_factory=ServingOptions)
