"""The values that flow between the steps: frozen, with units in the field names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import onnx

Precision = Literal["fp16", "fp32"]
NEW = "it is not there"  # why a model is made for the first time
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")
SCHEME = "s3://"
# Names of generator.rewrites.
REWRITES = ("slice-of-conv", "slice-of-concat", "concat-of-concat")


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
class ImageInput:
    """What is said of a network that takes one image; None is ImageNet's way. The crop is the input's size."""

    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize_short_px: int | None = None


@dataclass(frozen=True)
class TorchNetwork:
    """A torch network of the user's own: a function that returns the module, and its inputs without the batch.

    `labels` is a file with a class a line, `target` how the function is called in messages.
    """

    create: Callable[[], Any]
    inputs: tuple[TensorSpec, ...]
    image: ImageInput = field(default_factory=ImageInput)
    labels: Path | None = None
    target: str = ""


@dataclass(frozen=True)
class Plugin:
    """An entry point of the group `tritongen.networks`; `load` imports it and gives a TorchNetwork."""

    value: str
    load: Callable[[], Any]


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file of the user's own, and the dims of inputs that it leaves open."""

    path: Path
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    image: ImageInput = field(default_factory=ImageInput)


@dataclass(frozen=True)
class Published:
    """What the PaddleClas page on DPN and DenseNet prints of a network."""

    top1: float
    top5: float
    reference_top1: float
    reference_top5: float | None
    flops_g: float
    params_m: float


@dataclass(frozen=True)
class Network:
    """One network: its folder's name, its title, what it is made of, and its row of the page, where it has one."""

    name: str
    title: str
    shape: DenseNetShape | DPNShape | TorchNetwork | Plugin | OnnxFile
    published: Published | None


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
    def random(self) -> bool:
        """Whether the labels it gives mean nothing."""
        return self.source == "random"


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the served model; `dims` without the batch, `datatype` in config.pbtxt's words."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Exported:
    """A network as ONNX, and what wrote it.

    `sidecars` are files of external data, by the location that the graph names, of a model too large to be read
    into memory; such a graph is served as it is.
    """

    model: onnx.ModelProto
    exporter: str
    sidecars: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Simplified:
    """The graph after onnxsim and our rewrites; node counts before and after, and what each rewrite replaced.

    `unsimplified` says why it is the graph as it was.
    """

    model: onnx.ModelProto
    nodes_before: int
    nodes_after: int
    rewrites: Mapping[str, int] = field(default_factory=dict)
    sidecars: Mapping[str, Path] = field(default_factory=dict)
    unsimplified: str | None = None


@dataclass(frozen=True)
class Signature:
    """The tensors of a graph. Their dims are without the batch, unless `unbatched` says why there is none."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unbatched: str | None = None

    @property
    def classes(self) -> int | None:
        """How many classes it tells apart: the only length above 1 of its only output, where that is of floats."""
        if len(self.outputs) != 1 or self.outputs[0].datatype not in ("TYPE_FP16", "TYPE_FP32", "TYPE_FP64"):
            return None
        lengths = [length for length in self.outputs[0].dims if length != 1]
        return lengths[0] if len(lengths) == 1 and lengths[0] > 1 else None


@dataclass(frozen=True)
class BatchError:
    """An answer against its reference on one batch; the outputs have no unit.

    `max_abs_logit` is the largest value of the reference over all images that were tried, those of larger batches too.
    The `top` counts are of images whose first class, or whose set of first five, is the reference's, and of those
    where it is another although the reference's own margin exceeds the error; None where the output is no classes.
    """

    batch_size: int
    max_abs_error: float
    rms_error: float
    max_abs_logit: float
    top1_agree: int | None = None
    top5_agree: int | None = None
    top1_flips: int | None = None
    top5_flips: int | None = None

    @property
    def relative_error(self) -> float:
        """Largest difference over largest value, both absolute."""
        return ratio(self.max_abs_error, self.max_abs_logit)

    @property
    def relative_rms(self) -> float:
        """Root of the mean square of the differences over the largest absolute value."""
        return ratio(self.rms_error, self.max_abs_logit)


def ratio(error: float, scale: float) -> float:
    """An error relative to a scale; no error is none on any scale."""
    if error == 0:
        return 0.0
    return error / scale if scale else float("inf")


@dataclass(frozen=True)
class Certificate:
    """What was compared before a model was published, and the bound it was held to.

    `inputs` says what it was tried on. `fp64` is the reference's own distance from itself in fp64, `fp16` the distance
    of an FP16 cast of the graph, run by ONNX Runtime on the CPU: an estimate of TensorRT's. Both at batch 1, and held
    to nothing.
    """

    reference: str
    inputs: str
    tolerance: float
    batches: tuple[BatchError, ...]
    fp64: BatchError | None = None
    fp16: BatchError | None = None

    @property
    def worst(self) -> BatchError:
        """The batch with the largest relative error."""
        return max(self.batches, key=lambda batch: batch.relative_error)


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


@dataclass(frozen=True)
class GraphFacts:
    """What became of a graph on its way into the repository: counts of nodes, and what each rewrite replaced."""

    exporter: str | None
    ir_version: int
    opset: dict[str, int]
    nodes_exported: int
    nodes: int
    rewrites: dict[str, int]
    unsimplified: str | None


@dataclass(frozen=True)
class S3Url:
    """A bucket and what its keys begin with, without slashes at its ends; `endpoint` where the URL names one."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None

    def __str__(self) -> str:
        """As it is written; Triton takes the same."""
        start = f"{self.endpoint}/" if self.endpoint else ""
        return f"{SCHEME}{start}{self.path}"

    def __truediv__(self, name: str) -> S3Url:
        """What is below it."""
        return S3Url(self.bucket, f"{self.prefix}/{name}" if self.prefix else name, self.endpoint)

    @property
    def path(self) -> str:
        """`bucket/prefix`, as fsspec takes it."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    @property
    def parent(self) -> S3Url:
        """What it is in."""
        return S3Url(self.bucket, self.prefix.rpartition("/")[0], self.endpoint)


@dataclass(frozen=True)
class BuiltModel:
    """A model that is in the repository, for the summary; `size_bytes` is of its graph."""

    network: Network
    weights: Weights
    folder: Path | S3Url
    size_bytes: int
    variants: tuple[str, ...]
    signature: Signature
    graph: GraphFacts
    certificate: Certificate
