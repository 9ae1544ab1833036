"""DenseNet and DPN by their hyper-parameters: their layers, counts and torch modules.

The layers are listed here without torch, so that counting is immediate. The tests compare them with the operations that
the torch modules run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from generator.imagenet import CLASS_NAMES, CLASSES, SIDE_PX
from generator.networks.types import BASE_BYTES, BN_EPS, BOTTLENECK, COPIES, Counts, Definition, Family, Layer

if TYPE_CHECKING:
    from torch import nn


class Architecture(Definition):
    """A network of the table: an ImageNet classifier whose weights are chosen at build time."""

    own_weights: ClassVar[bool] = False

    @property
    def labels(self) -> Path | None:
        """ImageNet's classes."""
        return CLASS_NAMES

    def layers(self) -> Iterator[Layer]:
        """Yield the layers, for one image."""
        raise NotImplementedError

    def count(self, name: str) -> Counts:  # noqa: ARG002
        """Add up the layers."""
        layers = tuple(self.layers())
        return Counts(sum(layer.parameters for layer in layers), sum(layer.flops for layer in layers), layers)

    def memory_bytes(self) -> int:
        """Estimate from the parameters, four bytes each."""
        return BASE_BYTES + COPIES * 4 * sum(layer.parameters for layer in self.layers())


@dataclass(frozen=True)
class DenseNetShape(Architecture):
    """The hyper-parameters of a DenseNet (Huang et al. 2017, arXiv:1608.06993, table 1)."""

    family: ClassVar[Family] = "densenet"

    stem: int
    growth: int
    blocks: tuple[int, int, int, int]

    def record(self) -> dict[str, Any]:
        """Return the hyper-parameters."""
        return {"stem": self.stem, "growth": self.growth, "layers": self.blocks}

    def module(self, name: str, *, bn_eps: float = BN_EPS) -> nn.Module:  # noqa: ARG002
        """Return the torch module on the meta device."""
        import torch

        from generator.networks.densenet import DenseNet

        with torch.device("meta"):
            return DenseNet(self, classes=CLASSES, bn_eps=bn_eps).eval()

    def layers(self) -> Iterator[Layer]:
        """Yield the layers, for one image."""
        side, channels = SIDE_PX // 4, self.stem
        yield from stem(channels, 7)
        for block, depth in enumerate(self.blocks):
            if block:
                yield from bn_relu_conv(channels, channels // 2, side)
                side, channels = side // 2, channels // 2
                yield Layer("pool", channels, side, kernel=2)
            for _ in range(depth):
                yield from bn_relu_conv(channels, BOTTLENECK * self.growth, side)
                yield from bn_relu_conv(BOTTLENECK * self.growth, self.growth, side, kernel=3)
                channels += self.growth
        yield from head(channels, side)


@dataclass(frozen=True)
class DPNShape(Architecture):
    """The hyper-parameters of a DPN (Chen et al. 2017, arXiv:1707.01629, table 1).

    `width` is the residual channels of the first stage, `bottleneck` the channels of its grouped 3x3 convolution; both
    double per stage. `growth` is what each block of a stage adds to the dense path.
    """

    family: ClassVar[Family] = "dpn"

    stem: int
    stem_kernel: int
    width: int
    bottleneck: int
    groups: int
    blocks: tuple[int, int, int, int]
    growth: tuple[int, int, int, int]

    def record(self) -> dict[str, Any]:
        """Return the hyper-parameters."""
        return asdict(self)

    def module(self, name: str, *, bn_eps: float = BN_EPS) -> nn.Module:  # noqa: ARG002
        """Return the torch module on the meta device."""
        import torch

        from generator.networks.dpn import DPN

        with torch.device("meta"):
            return DPN(self, classes=CLASSES, bn_eps=bn_eps).eval()

    def layers(self) -> Iterator[Layer]:
        """Yield the layers, for one image."""
        before, channels = SIDE_PX // 4, self.stem
        yield from stem(channels, self.stem_kernel)
        for stage, (blocks, growth) in enumerate(zip(self.blocks, self.growth, strict=True)):
            side = SIDE_PX // 4 // 2**stage
            width, middle = self.width * 2**stage, self.bottleneck * 2**stage
            for block in range(blocks):
                if not block:
                    yield from bn_relu_conv(channels, width + 2 * growth, before, side)
                yield from bn_relu_conv(channels, middle, before)
                yield from bn_relu_conv(middle, middle, before, side, kernel=3, groups=self.groups)
                yield from bn_relu_conv(middle, width + growth, side)
                channels = channels + growth if block else width + 3 * growth
                before = side
        yield from head(channels, before)


def stem(channels: int, kernel: int) -> Iterator[Layer]:
    """Yield the first convolution and max pool, which halve height and width each."""
    side = SIDE_PX // 2
    yield Layer("convolution", channels, side, 3, kernel)
    yield from bn_relu(channels, side)
    yield Layer("pool", channels, side // 2, kernel=3)


def bn_relu(channels: int, side: int) -> Iterator[Layer]:
    """Yield a batch norm and a ReLU."""
    yield Layer("batch norm", channels, side)
    yield Layer("relu", channels, side)


def bn_relu_conv(
    inputs: int, channels: int, before: int, side: int | None = None, kernel: int = 1, groups: int = 1
) -> Iterator[Layer]:
    """Yield a convolution after its batch norm and ReLU; `before` and `side` are the sides of its input and output."""
    yield from bn_relu(inputs, before)
    yield Layer("convolution", channels, side or before, inputs, kernel, groups)


def head(channels: int, side: int) -> Iterator[Layer]:
    """Yield the last batch norm and ReLU, the global average pool and the classifier."""
    yield from bn_relu(channels, side)
    yield Layer("pool", channels, kernel=side)
    yield Layer("linear", CLASSES, inputs=channels)


def recount(layers: Iterable[Layer]) -> Counts:
    """Return parameters and FLOPs by the formula behind the figures of the PaddleClas page, before rounding.

    The formula is that of Paddle 1.x's `fluid/contrib/model_stat.py` under Python 2, where integer division rounds
    down. It divides the channels of a filter, which are Cin/groups already, by the groups a second time. So a grouped
    convolution with fewer channels per group than groups counts zero: all grouped convolutions of the DPNs but the
    last three of DPN68.
    """
    parameters, flops = zip(*map(figures, layers), strict=True)
    return Counts(sum(parameters), sum(flops))


def figures(layer: Layer) -> tuple[int, int]:
    """Return the parameters and FLOPs of one layer by that formula."""
    match layer.kind:
        case "convolution":
            parameters = layer.channels * layer.kernel**2 * (layer.inputs // layer.groups // layer.groups)
            return parameters, 2 * parameters * layer.side**2
        case "linear":  # one parameter for all biases, and a multiply-add is one
            return layer.inputs * layer.channels + 1, layer.inputs * layer.channels
        case "batch norm":
            return 2 * layer.channels, 2 * layer.elements
        case "relu":  # the product of the output's shape, in which the unknown batch is -1
            return 0, -layer.elements
        case "pool":
            return 0, layer.elements * layer.kernel**2
