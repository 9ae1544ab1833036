"""What a network is made of: a row of ours, or a network of the user's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from generator.types import TensorSpec


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
