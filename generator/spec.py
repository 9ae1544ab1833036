"""The values that flow between the steps: frozen, with units in the field names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

Precision = Literal["fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")


@dataclass(frozen=True)
class DenseNetShape:
    """The hyper-parameters of a DenseNet (Huang et al. 2017, arXiv:1608.06993, table 1)."""

    stem: int
    growth: int
    layers: tuple[int, int, int, int]


@dataclass(frozen=True)
class DPNShape:
    """The hyper-parameters of a DPN (Chen et al. 2017, arXiv:1707.01629, table 1).

    `width` is the residual channels of the first stage (they double a stage), `bottleneck` the channels of
    its grouped 3x3 convolution, `growth` what each block of a stage adds to the dense path.
    """

    stem: int
    stem_kernel: int
    width: int
    bottleneck: int
    groups: int
    blocks: tuple[int, int, int, int]
    growth: tuple[int, int, int, int]


@dataclass(frozen=True)
class Published:
    """What the PaddleClas page on DPN and DenseNet prints of a network."""

    top1: float
    top5: float
    flops_g: float
    params_m: float


@dataclass(frozen=True)
class Network:
    """One network: its folder's name, its published title, and what it is made of."""

    name: str
    title: str
    shape: DenseNetShape | DPNShape
    published: Published


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input tensor; mean and std are of RGB values in 0..1."""

    resize_short_px: int = 256
    crop_px: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Weights:
    """Where a network's parameters come from; `bn_eps` is the epsilon of their batch norms."""

    source: str
    seed: int | None = None
    file: str | None = None
    sha256: str | None = None
    bn_eps: float | None = None

    @property
    def label(self) -> str:
        """As it is written everywhere: `random (seed 0)`, `timm (dpn92.safetensors)`."""
        of = f"seed {self.seed}" if self.seed is not None else self.file
        return self.source if of is None else f"{self.source} ({of})"

    @property
    def trained(self) -> bool:
        """Whether the labels it gives mean anything."""
        return self.source != "random"


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the served model; `dims` without the batch, `datatype` in config.pbtxt's words."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Exported:
    """A torch network as ONNX, and which exporter wrote it."""

    model: onnx.ModelProto
    exporter: str


@dataclass(frozen=True)
class Simplified:
    """The graph after onnxsim; node counts before and after."""

    model: onnx.ModelProto
    nodes_before: int
    nodes_after: int


@dataclass(frozen=True)
class BatchError:
    """ONNX Runtime against torch on one batch; logits have no unit."""

    batch_size: int
    max_abs_error: float
    max_abs_logit: float
    top1_flips: int

    @property
    def relative_error(self) -> float:
        """Largest difference over largest logit, both absolute."""
        return self.max_abs_error / self.max_abs_logit


@dataclass(frozen=True)
class Certificate:
    """What was compared before a model was published, and the bound it was held to."""

    tolerance: float
    batches: tuple[BatchError, ...]

    @property
    def worst(self) -> BatchError:
        """The batch with the largest relative error."""
        return max(self.batches, key=lambda batch: batch.relative_error)


@dataclass(frozen=True)
class TensorRT:
    """The `tensorrt` execution accelerator of one config."""

    precision: Precision
    cache_path: str
    workspace_bytes: int
    opt_batch_size: int


@dataclass(frozen=True)
class ModelConfig:
    """Everything `config.pbtxt.j2` writes."""

    name: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_us: int
    instance_count: int
    label_filename: str
    tensorrt: TensorRT
    warmup_batch_sizes: tuple[int, ...]
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BuildOptions:
    """What a user may say of a build."""

    precision: Precision = "fp16"
    gpus: tuple[str, ...] = ("v100", "t4")
    seed: int = 0
    max_batch_size: int = 8


@dataclass(frozen=True)
class BuiltModel:
    """A model that was published, for the summary."""

    network: Network
    weights: Weights
    folder: Path
    size_bytes: int
    nodes: int
    certificate: Certificate


@dataclass(frozen=True)
class Ports:
    """The three ports of a Triton on loopback."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    @property
    def http_url(self) -> str:
        """`host:port` of the HTTP service."""
        return f"127.0.0.1:{self.http}"

    @property
    def grpc_url(self) -> str:
        """`host:port` of the gRPC service."""
        return f"127.0.0.1:{self.grpc}"


@dataclass(frozen=True)
class ServedModel:
    """A model as the server says it runs it."""

    name: str
    version: str
    max_batch_size: int
    device: Literal["cpu", "gpu"]
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    parameters: dict[str, str] = field(default_factory=dict)
