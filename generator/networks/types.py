"""A network, and the questions that every kind of definition answers about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from torch import nn

Family = Literal["densenet", "dpn", "other"]
BN_EPS = 1e-5
BOTTLENECK = 4  # a DenseNet's 1x1 convolution makes 4k maps

# Peak memory of a build: a fixed part for torch, and so many copies of the weights. Measured, proportional set sizes:
# 0.63 GB for DPN68, 1.0 for DenseNet161, 1.7 for DPN98, 2.4 for DPN107.
BASE_BYTES = 350_000_000
COPIES = 6
UNKNOWN_WEIGHTS_BYTES = 350_000_000  # those of DPN107


@dataclass(frozen=True)
class Layer:
    """One operation on one image; `side` is the height and width of its output, `kernel` those of its window."""

    kind: Literal["convolution", "linear", "batch norm", "relu", "pool"]
    channels: int
    side: int = 1
    inputs: int = 0
    kernel: int = 1
    groups: int = 1

    @property
    def elements(self) -> int:
        """Elements of the output."""
        return self.channels * self.side**2

    @property
    def weights(self) -> int:
        """Values of the filters or the matrix: none without `inputs`."""
        return self.channels * self.kernel**2 * (self.inputs // self.groups)

    @property
    def parameters(self) -> int:
        """Trained values: weights, the biases of a linear layer, scale and shift of a batch norm."""
        return self.weights + {"linear": 1, "batch norm": 2}.get(self.kind, 0) * self.channels

    @property
    def flops(self) -> int:
        """FLOPs of convolutions and matrix products; a multiply-add is two. Other layers count zero."""
        return 2 * self.weights * self.side**2


@dataclass(frozen=True)
class Counts:
    """Parameters, FLOPs of one image or row, and the layers, if the definition knows them."""

    parameters: int
    flops: int
    layers: tuple[Layer, ...] = ()


class Definition:
    """The source of a network: an architecture, a function, a plugin or a file.

    `family` is the architecture. `own_weights` says that the network brings its weights, so that none can be chosen.
    `reproducible` says that the record, the files and the weights determine the graph.
    """

    family: ClassVar[Family] = "other"
    own_weights: ClassVar[bool] = True
    reproducible: ClassVar[bool] = True

    @property
    def labels(self) -> Path | None:
        """The file that names the classes, one per line."""
        return None

    def record(self) -> dict[str, Any]:
        """Return the fields of provenance.json that identify the definition."""
        raise NotImplementedError

    def files(self) -> dict[str, Path]:
        """Return the files whose contents identify the definition, by name."""
        return {}

    def check(self) -> None:
        """Raise BadValue if a file of the definition is missing."""

    def resolve(self) -> Definition:
        """Return the definition that a plugin loads; other definitions return themselves."""
        return self

    def module(self, name: str, *, bn_eps: float = BN_EPS) -> nn.Module:
        """Return the torch module in evaluation mode; `name` is the network's, for error messages."""
        raise NotImplementedError

    def count(self, name: str) -> Counts:
        """Count parameters and FLOPs of one image, or of one row of the inputs."""
        raise NotImplementedError

    def memory_bytes(self) -> int:
        """Estimate the peak memory of a process that builds the network."""
        return BASE_BYTES + COPIES * UNKNOWN_WEIGHTS_BYTES


@dataclass(frozen=True)
class Published:
    """A network's row of the PaddleClas page on DPN and DenseNet."""

    top1: float
    top5: float
    reference_top1: float
    reference_top5: float | None
    flops_g: float
    params_m: float


@dataclass(frozen=True)
class Network:
    """A network: `name` is its folder's, `published` its row of the PaddleClas page, if it has one."""

    name: str
    title: str
    definition: Definition
    published: Published | None

    def module(self, *, bn_eps: float = BN_EPS) -> nn.Module:
        """Return the torch module in evaluation mode; parameters of our own networks are on the meta device."""
        return self.definition.module(self.name, bn_eps=bn_eps)

    def count(self) -> Counts:
        """Count parameters and FLOPs of one image, or of one row of the inputs."""
        return self.definition.count(self.name)

    def record(self) -> dict[str, Any]:
        """Return what identifies the network in provenance.json, in JSON's types."""
        record: dict[str, Any] = json.loads(json.dumps({"name": self.name, **self.definition.record()}))
        return record
